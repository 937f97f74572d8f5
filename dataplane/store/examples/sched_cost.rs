//! What the scheduler costs in processor time where the device is fast: 4 KiB random reads of a
//! `memory` device, straight and through the queue, in one process, in turns. Medians of seven
//! rounds.
//!
//! `cargo run --release -p isotherm-store --example sched_cost`

use std::cell::Cell;
use std::hint::black_box;
use std::rc::Rc;

use isotherm_block::{Memory, Shape};
use isotherm_host::{HostClock, ThreadPark};
use isotherm_reactor::{Disk, Reactor, ReactorConfig};
use isotherm_seam::{BlockDevice, BufPool, Domain, Draws, Lba, PoolLayout};
use isotherm_store::sched::{Class, DiskProfile, DiskQueue, SchedConfig};

const DEVICE_BYTES: u64 = 64 << 20;
const IO_BYTES: usize = 4096;
const IOS: u64 = 1_000_000;
const ROUNDS: usize = 7;

fn main() {
    println!("{IOS} reads of {IO_BYTES} bytes a round, {ROUNDS} rounds, processor time");
    println!("| lanes | room | straight ns | through the queue ns | more ns |");
    println!("|---:|---:|---:|---:|---:|");
    // Room for all: nothing ever waits. Room for fewer: the pump works.
    for (lanes, room) in [(1, 32), (32, 32), (128, 128), (128, 32)] {
        let (mut plain, mut queued, mut more) = (Vec::new(), Vec::new(), Vec::new());
        for _ in 0..ROUNDS {
            let (a, b) = (round(lanes, None), round(lanes, Some(room)));
            plain.push(a);
            queued.push(b);
            more.push(b - a);
        }
        println!(
            "| {lanes} | {room} | {:.0} | {:.0} | {:.0} |",
            median(&mut plain),
            median(&mut queued),
            median(&mut more)
        );
    }
}

/// Time that this thread has had a processor, to a few milliseconds: what others do on the
/// machine counts less.
fn cpu_ns() -> u64 {
    let stat = std::fs::read_to_string("/proc/thread-self/schedstat").expect("Linux tells");
    let first = stat.split(' ').next().and_then(|first| first.parse().ok());
    first.expect("the time comes first")
}

/// Nanoseconds of processor time for each read.
fn round(lanes: u32, room: Option<u16>) -> f64 {
    let memory = Memory::new(&Shape::new(DEVICE_BYTES).with_depth(128)).expect("memory");
    let device: Box<dyn BlockDevice> = Box::new(memory);
    let pool = BufPool::new(&PoolLayout::uniform(IO_BYTES as u32, lanes)).expect("buffers");
    let mut reactor = Reactor::new(ThreadPark::new(), HostClock::new(), ReactorConfig::default());
    let disk = reactor.attach(device);
    let handle = reactor.handle().clone();
    let queue = room.map(|room| {
        let profile = DiskProfile::flat(room);
        DiskQueue::new(&handle, disk.clone(), profile, SchedConfig::default())
    });
    let left = Rc::new(Cell::new(IOS));
    let start = cpu_ns();
    let tasks: Vec<_> = (0..lanes)
        .map(|lane| {
            let draws = Draws::new(1, Domain::new("sched_cost"), lane.into());
            let lane = reads(disk.clone(), queue.clone(), pool.clone(), draws, left.clone());
            reactor.spawn("reads", lane)
        })
        .collect();
    reactor.run(async move {
        for task in tasks {
            task.await;
        }
    });
    (cpu_ns() - start) as f64 / IOS as f64
}

async fn reads(
    disk: Disk,
    queue: Option<DiskQueue>,
    pool: BufPool,
    mut draws: Draws,
    left: Rc<Cell<u64>>,
) {
    let mut buf = pool.alloc(IO_BYTES).expect("a buffer for each");
    while left.get() > 0 {
        left.set(left.get() - 1);
        let lba = Lba(draws.below(DEVICE_BYTES / IO_BYTES as u64) * (IO_BYTES as u64 / 512));
        buf = match &queue {
            None => {
                let (result, buf) = disk.read(lba, buf).await;
                result.expect("memory does not fail");
                buf
            }
            Some(queue) => {
                let (result, buf) = queue.read(Class::ForegroundRead, None, lba, buf).await;
                result.expect("memory does not fail");
                buf
            }
        };
        black_box(buf[0]);
    }
}

fn median(values: &mut [f64]) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

//! What a future per I/O costs over poll mode: both on one `memory` device, in one process, in
//! turns, 4 KiB random reads. Prints medians of five rounds, in processor time.
//!
//! `cargo run --release -p isotherm-reactor --example async_cost`

use std::cell::Cell;
use std::hint::black_box;
use std::rc::Rc;

use isotherm_block::{Memory, Shape};
use isotherm_host::{HostClock, ThreadPark};
use isotherm_reactor::{Disk, Reactor, ReactorConfig};
use isotherm_seam::{
    BlockDevice, BufPool, Clock, Domain, Draws, Lba, Op, Persist, PoolLayout, Request, Tag,
};
use nix::sys::time::TimeValLike;
use nix::time::ClockId;

const DEVICE_BYTES: u64 = 64 << 20;
const IO_BYTES: usize = 4096;
const IOS: u64 = 1_000_000;
const ROUNDS: usize = 5;
const SEED: u64 = 1;

fn main() {
    let clock = HostClock::new();
    println!("{IOS} reads of {IO_BYTES} bytes a round, {ROUNDS} rounds, {:?}", clock.source());
    println!("{:>6} {:>12} {:>12} {:>12}", "depth", "poll ns/io", "async ns/io", "more ns/io");
    for depth in [1, 32, 128] {
        let mut device = device(depth);
        let (mut polls, mut asyncs, mut mores) = (Vec::new(), Vec::new(), Vec::new());
        for _ in 0..ROUNDS {
            let poll = poll_mode(&mut *device, &clock, depth);
            let with_futures;
            (with_futures, device) = async_mode(device, &clock, depth);
            polls.push(poll);
            asyncs.push(with_futures);
            mores.push(with_futures - poll);
        }
        let (poll, with_futures) = (median(&mut polls), median(&mut asyncs));
        println!("{depth:>6} {poll:>12.1} {with_futures:>12.1} {:>12.1}", median(&mut mores));
    }
}

/// Time that this thread has had a processor: what others do on the machine counts less.
fn cpu_ns() -> i64 {
    let time = ClockId::CLOCK_THREAD_CPUTIME_ID.now().expect("every Linux has it");
    time.num_nanoseconds()
}

fn median(values: &mut [f64]) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

fn device(depth: u32) -> Box<dyn BlockDevice> {
    let shape = Shape::new(DEVICE_BYTES).with_depth(depth);
    let mut memory = Memory::new(&shape).expect("memory for the device");
    // Every page is written once, or reads would all find the one page of zeros.
    let pool = BufPool::new(&PoolLayout::uniform(1 << 20, 1)).expect("a buffer");
    let mut done = Vec::with_capacity(1);
    let now = isotherm_seam::Mono::ZERO;
    for lba in (0..DEVICE_BYTES / 512).step_by(2048) {
        let mut buf = pool.alloc(1 << 20).expect("the buffer");
        buf.fill(lba as u8);
        let op = Op::Write { lba: Lba(lba), buf, persist: Persist::Flush };
        memory.submit(now, Request { tag: Tag(0), op }).expect("an empty queue");
        memory.poll(now, &mut done);
        done.clear();
    }
    Box::new(memory)
}

fn pool(depth: u32) -> BufPool {
    BufPool::new(&PoolLayout::uniform(IO_BYTES as u32, depth)).expect("buffers")
}

fn lba(draws: &mut Draws) -> Lba {
    Lba(draws.below(DEVICE_BYTES / IO_BYTES as u64) * (IO_BYTES as u64 / 512))
}

fn poll_mode(device: &mut dyn BlockDevice, clock: &HostClock, depth: u32) -> f64 {
    let pool = pool(depth);
    let mut draws = Draws::new(SEED, Domain::new("async_cost"), 0);
    let mut done = Vec::with_capacity(256);
    let (mut sent, mut completed) = (0, 0);
    let (start, start_ns) = (clock.mono(), cpu_ns());
    for tag in 0..u64::from(depth) {
        let buf = pool.alloc(IO_BYTES).expect("a buffer for each");
        let op = Op::Read { lba: lba(&mut draws), buf };
        device.submit(start, Request { tag: Tag(tag), op }).expect("room for each");
        sent += 1;
    }
    while completed < IOS {
        let now = clock.mono();
        device.poll(now, &mut done);
        for completion in done.drain(..) {
            completion.result.expect("memory does not fail");
            let buf = completion.buf.expect("a read's buffer");
            black_box(buf[0]);
            completed += 1;
            if sent < IOS {
                let op = Op::Read { lba: lba(&mut draws), buf };
                device.submit(now, Request { tag: completion.tag, op }).expect("room");
                sent += 1;
            }
        }
    }
    (cpu_ns() - start_ns) as f64 / IOS as f64
}

fn async_mode(
    device: Box<dyn BlockDevice>,
    clock: &HostClock,
    depth: u32,
) -> (f64, Box<dyn BlockDevice>) {
    let pool = pool(depth);
    let mut reactor = Reactor::new(ThreadPark::new(), *clock, ReactorConfig::default());
    let disk = reactor.attach(device);
    let left = Rc::new(Cell::new(IOS));
    let start_ns = cpu_ns();
    let tasks: Vec<_> = (0..depth)
        .map(|task| {
            let draws = Draws::new(SEED, Domain::new("async_cost"), task.into());
            reactor.spawn("reads", reads(disk.clone(), pool.clone(), draws, left.clone()))
        })
        .collect();
    reactor.run(async move {
        for task in tasks {
            task.await;
        }
    });
    let ns_per_io = (cpu_ns() - start_ns) as f64 / IOS as f64;
    let Ok(device) = disk.detach() else { panic!("every read is done") };
    (ns_per_io, device)
}

async fn reads(disk: Disk, pool: BufPool, mut draws: Draws, left: Rc<Cell<u64>>) {
    let mut buf = pool.alloc(IO_BYTES).expect("a buffer for each");
    while left.get() > 0 {
        left.set(left.get() - 1);
        let (result, back) = disk.read(lba(&mut draws), buf).await;
        result.expect("memory does not fail");
        black_box(back[0]);
        buf = back;
    }
}

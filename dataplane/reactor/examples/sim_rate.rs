//! How fast the simulator is: disk events per second of processor time, through the reactor, on
//! simulated disks with real content of 4 KiB. A completed request counts as one event; with
//! the trace on, each is hashed with its content and recorded.
//!
//! `cargo run --release -p isotherm-reactor --example sim_rate`

use isotherm_reactor::{Disk, Handle, Order, Reactor, ReactorConfig};
use isotherm_seam::{BufPool, DiskId, Domain, Draws, Lba, Nanos, Persist, PoolLayout};
use isotherm_sim::{SimClock, SimDisk, SimDiskConfig, SimPark, Trace};
use nix::sys::time::TimeValLike;
use nix::time::ClockId;

const DISKS: u32 = 8;
const LANES: u64 = 4;
const BLOCKS: u64 = 8_192;
const REQUESTS: u64 = 20_000;
const ROUNDS: usize = 5;

fn main() {
    println!("{DISKS} disks, {LANES} tasks each, {REQUESTS} requests of 4 KiB a task");
    for traced in [false, true] {
        let mut rates = [0.0; ROUNDS];
        let mut virtual_s = 0.0;
        for (round, rate) in rates.iter_mut().enumerate() {
            (*rate, virtual_s) = run(round as u64, traced);
        }
        rates.sort_by(f64::total_cmp);
        println!(
            "{}: {:.0} disk events per processor second (median of {ROUNDS}; {:.0} to {:.0}), \
             {virtual_s:.2} s of virtual time",
            if traced { "with trace   " } else { "without trace" },
            rates[ROUNDS / 2],
            rates[0],
            rates[ROUNDS - 1],
        );
    }
}

fn cpu_ns() -> i64 {
    ClockId::CLOCK_THREAD_CPUTIME_ID.now().expect("every Linux has it").num_nanoseconds()
}

fn run(seed: u64, traced: bool) -> (f64, f64) {
    let clock = SimClock::new();
    let config = ReactorConfig { order: Order::Seeded(seed), ..ReactorConfig::default() };
    let mut reactor = Reactor::new(SimPark::new(clock.clone()), clock.clone(), config);
    let trace = Trace::new();
    let pool = BufPool::new(&PoolLayout::uniform(4096, DISKS * LANES as u32)).expect("buffers");
    let handle = reactor.handle().clone();
    let mut tasks = Vec::new();
    for disk in 0..DISKS {
        let mut config = SimDiskConfig::new(seed, DiskId(disk), BLOCKS);
        config.trace = traced.then(|| trace.clone());
        let disk = reactor.attach(Box::new(SimDisk::new(config)));
        for lane in 0..LANES {
            let draws =
                Draws::new(seed, Domain::new("sim_rate"), u64::from(disk.id().0) << 8 | lane);
            let job = work(handle.clone(), disk.clone(), pool.clone(), draws, lane);
            tasks.push(reactor.spawn("work", job));
        }
    }
    let start_ns = cpu_ns();
    let end = reactor.run(async move {
        for task in tasks {
            task.await;
        }
        handle.now()
    });
    let seconds = (cpu_ns() - start_ns) as f64 / 1e9;
    let events = reactor.counters().completions;
    (events as f64 / seconds, end.0 as f64 / 1e9)
}

/// Half reads, half writes, a flush now and then; every write has its own content.
async fn work(handle: Handle, disk: Disk, pool: BufPool, mut draws: Draws, lane: u64) {
    let mut buf = pool.alloc(4096).expect("one for each task");
    for number in 0..REQUESTS {
        // Blocks of its own: never two writes in flight over one.
        let lba = Lba(lane + LANES * draws.below(BLOCKS / LANES));
        let (result, back) = if number % 2 == 0 {
            for word in buf.chunks_exact_mut(8) {
                word.copy_from_slice(&(number ^ lba.0).to_le_bytes());
            }
            disk.write(lba, buf, Persist::Flush).await
        } else {
            disk.read(lba, buf).await
        };
        result.expect("no faults are planned");
        buf = back;
        match number % 64 {
            31 => disk.flush().await.expect("no faults are planned"),
            63 => handle.sleep(Nanos(draws.below(100_000))).await,
            _ => {}
        }
    }
}

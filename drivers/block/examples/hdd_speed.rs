//! How many disk events the mechanical model does in a second of CPU time, in virtual time.
//!
//! `cargo run --release -p isotherm-block --example hdd_speed`
//!
//! An event is one request: submit, place, choose, seek, turn, transfer, complete, over a `null`
//! device. CPU time is what the kernel has counted for this thread, so other load on the machine
//! counts only by the caches that it spoils. Medians of 5.

use isotherm_block::hdd::{Hdd, HddOptions, Order};
use isotherm_block::{Null, Shape};
use isotherm_seam::{
    BlockDevice, BufPool, Domain, Draws, Due, Lba, Mono, Op, Persist, PoolLayout, Request, Tag,
};

const CHOICE: Domain = Domain::new("example.hdd_speed");

#[derive(Clone, Copy)]
enum Load {
    RandomRead,
    RandomWrite,
    SequentialRead,
}

fn main() {
    println!("{:<34} {:>14} {:>10}", "load", "events/CPU s", "ns/event");
    let aged = Order::Aged(Order::AGE_WEIGHT);
    for (name, load, order, depth) in [
        ("random read, depth 1", Load::RandomRead, aged, 1),
        ("random read, depth 4", Load::RandomRead, aged, 4),
        ("random read, depth 16", Load::RandomRead, aged, 16),
        ("random read, depth 32", Load::RandomRead, aged, 32),
        ("random read, depth 32, fifo", Load::RandomRead, Order::Fifo, 32),
        ("random write, cached, depth 4", Load::RandomWrite, aged, 4),
        ("sequential read, depth 1", Load::SequentialRead, aged, 1),
    ] {
        let mut rates: Vec<f64> =
            (0..5).map(|seed| events_per_cpu_s(load, order, depth, seed)).collect();
        rates.sort_by(f64::total_cmp);
        println!("{name:<34} {:>14.0} {:>10.0}", rates[2], 1e9 / rates[2]);
    }
}

fn events_per_cpu_s(load: Load, order: Order, depth: u64, seed: u64) -> f64 {
    let events: u64 = match load {
        Load::RandomWrite => 100_000,
        _ => 500_000,
    };
    let options = HddOptions { order, ..HddOptions::default() };
    let null = Null::new(&Shape::new(options.profile.capacity_bytes));
    let mut hdd = Hdd::new(Box::new(null), &options, seed).expect("a drive over null");
    let pool = BufPool::new(&PoolLayout::uniform(4096, depth as u32)).expect("a few pages");
    let mut draws = Draws::new(seed, CHOICE, 0);
    let places = hdd.geometry().blocks / 8;
    let mut next = 0;
    let mut lba = move || {
        Lba(8 * match load {
            Load::SequentialRead => {
                next += 1;
                next
            }
            _ => draws.below(places),
        })
    };
    let mut op = |buf| match load {
        Load::RandomWrite => Op::Write { lba: lba(), buf, persist: Persist::Flush },
        _ => Op::Read { lba: lba(), buf },
    };
    let mut now = Mono::ZERO;
    let mut done = Vec::with_capacity(depth as usize);
    for tag in 0..depth {
        let buf = pool.alloc(4096).expect("one each");
        hdd.submit(now, Request { tag: Tag(tag), op: op(buf) }).expect("room");
    }
    let before = cpu_ns();
    let mut count = 0;
    while count < events {
        if let Due::At(at) = hdd.due() {
            now = now.max(at);
        }
        hdd.poll(now, &mut done);
        for completion in done.drain(..) {
            count += 1;
            let buf = completion.buf.expect("it had one");
            hdd.submit(now, Request { tag: completion.tag, op: op(buf) }).expect("room");
        }
    }
    count as f64 / ((cpu_ns() - before) as f64 / 1e9)
}

/// CPU time of this thread, in nanoseconds.
fn cpu_ns() -> u64 {
    let stat = std::fs::read_to_string("/proc/thread-self/schedstat").expect("Linux");
    stat.split(' ').next().and_then(|ns| ns.parse().ok()).expect("nanoseconds on the CPU")
}

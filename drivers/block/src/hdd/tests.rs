//! The drive as a whole, in virtual time: a rig that drives it, and what is expected of it.

mod below;
mod caching;
mod figures;

use isotherm_seam::{
    BlockDevice, BufPool, Completion, Domain, Draws, Due, Lba, Mono, Nanos, Op, OpKind, Persist,
    PoolLayout, Request, Tag,
};

use super::queue::bits;
use super::{Command, Drive, EXOS_X24, FUTURE_200T, HC670, Hdd, HddOptions, Order, PROFILES, Slow};
use crate::{Null, Shape};

const CHOICE: Domain = Domain::new("test.hdd.choice");

const FULL: u64 = 24_000_000_000_000;
const SMALL: u64 = 256 << 20;
const BLOCK: u64 = 512;

fn null(options: &HddOptions, bytes: u64) -> Hdd {
    Hdd::new(Box::new(Null::new(&Shape::new(bytes))), options, 1).unwrap()
}

/// Without retries, so that a figure needs fewer samples.
fn healthy() -> HddOptions {
    HddOptions { retries: 0.0, ..HddOptions::default() }
}

fn ordered(order: Order) -> HddOptions {
    HddOptions { order, ..healthy() }
}

const AGED: Order = Order::Aged(Order::AGE_WEIGHT);

/// One device and its virtual clock.
struct Rig {
    hdd: Hdd,
    now: Mono,
    pool: BufPool,
    done: Vec<Completion>,
}

impl Rig {
    fn new(hdd: Hdd) -> Rig {
        let pool = BufPool::new(&PoolLayout::uniform(1 << 20, 64)).unwrap();
        Rig { hdd, now: Mono::ZERO, pool, done: Vec::with_capacity(64) }
    }

    fn read(&mut self, tag: u64, lba: u64, bytes: usize) {
        let op = Op::Read { lba: Lba(lba), buf: self.pool.alloc(bytes).unwrap() };
        self.submit(tag, op);
    }

    fn write(&mut self, tag: u64, lba: u64, bytes: usize, persist: Persist) {
        let op = Op::Write { lba: Lba(lba), buf: self.pool.alloc(bytes).unwrap(), persist };
        self.submit(tag, op);
    }

    fn submit(&mut self, tag: u64, op: Op) {
        self.hdd.submit(self.now, Request { tag: Tag(tag), op }).unwrap();
    }

    /// Lets time pass until something completes.
    fn wait(&mut self) -> Vec<Completion> {
        for _ in 0..1_000 {
            match self.hdd.due() {
                Due::At(at) => self.now = self.now.max(at),
                Due::Now => {}
                due => panic!("{due:?} with {} in flight", self.hdd.inflight()),
            }
            if self.hdd.poll(self.now, &mut self.done) > 0 {
                return self.done.drain(..).collect();
            }
        }
        panic!("time passes and nothing completes");
    }

    /// Waits for one request, alone in flight: how long it took.
    fn alone(&mut self) -> Nanos {
        let began = self.now;
        let done = self.wait();
        assert_eq!((done.len(), self.hdd.inflight()), (1, 0));
        assert_eq!(done[0].result, Ok(()));
        self.now.since(began)
    }

    /// Keeps `depth` requests in flight until `count` have completed; `next` says what.
    fn keep_busy(&mut self, depth: u64, count: usize, mut next: impl FnMut(&mut Rig, u64)) -> Seen {
        let start = self.now;
        let mut began = vec![start; depth as usize];
        let mut latencies = Vec::with_capacity(count);
        for tag in 0..depth {
            next(self, tag);
        }
        while latencies.len() < count {
            for completion in self.wait() {
                assert_eq!(completion.result, Ok(()));
                let tag = completion.tag;
                drop(completion);
                latencies.push(self.now.since(began[tag.0 as usize]));
                began[tag.0 as usize] = self.now;
                next(self, tag.0);
            }
        }
        let per_second = latencies.len() as f64 / self.now.since(start).as_secs_f64();
        latencies.sort();
        Seen { per_second, latencies }
    }
}

/// What a closed loop saw.
struct Seen {
    per_second: f64,
    /// Sorted.
    latencies: Vec<Nanos>,
}

impl Seen {
    fn ms(&self, quantile: f64) -> f64 {
        let at = (self.latencies.len() as f64 * quantile) as usize;
        self.latencies[at.min(self.latencies.len() - 1)].as_millis_f64()
    }
}

fn random(hdd: Hdd, kind: OpKind, depth: u64, count: usize) -> Seen {
    let mut draws = Draws::new(7, CHOICE, 0);
    let places = hdd.geometry().blocks / 8;
    Rig::new(hdd).keep_busy(depth, count, |rig, tag| {
        let lba = draws.below(places) * 8;
        match kind {
            OpKind::Write => rig.write(tag, lba, 4096, Persist::Flush),
            _ => rig.read(tag, lba, 4096),
        }
    })
}

fn random_reads(options: &HddOptions, bytes: u64, depth: u64) -> Seen {
    random(null(options, bytes), OpKind::Read, depth, 20_000)
}

/// Sequential transfers over `region_bytes` from `start_bytes` on, once: MB/s.
fn sequential(
    hdd: Hdd,
    kind: OpKind,
    depth: u64,
    io_bytes: usize,
    start_bytes: u64,
    region_bytes: u64,
) -> f64 {
    let mut lba = start_bytes / BLOCK;
    let end = (start_bytes + region_bytes) / BLOCK;
    let count = (region_bytes / io_bytes as u64 - depth) as usize;
    let seen = Rig::new(hdd).keep_busy(depth, count, |rig, tag| {
        if lba < end {
            match kind {
                OpKind::Write => rig.write(tag, lba, io_bytes, Persist::Flush),
                _ => rig.read(tag, lba, io_bytes),
            }
            lba += io_bytes as u64 / BLOCK;
        }
    });
    seen.per_second * io_bytes as f64 / 1e6
}

/// Within a range, or 2 % beyond it: chance moves a figure of these samples by up to 1 %.
fn within(figure: f64, from: f64, to: f64) {
    assert!((from * 0.98..=to * 1.02).contains(&figure), "{figure} is not in {from}..{to}");
}

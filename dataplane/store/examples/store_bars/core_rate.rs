//! What one core does: gets and durable puts of 4 KiB shards on a `memory` device, every byte
//! checked. In wall-clock time; medians of a few rounds.

use std::cell::Cell;
use std::future::Future;
use std::rc::Rc;

use isotherm_block::{Memory, Shape};
use isotherm_seam::{
    BlockDevice, BufPool, Draws, Lba, Mono, Op, Persist, PoolLayout, Request, Tag,
};
use isotherm_store::{Options, Store, World};

use crate::report::{Row, Want};
use crate::rig::{DRAWS, cpu_s, fresh, host, key, pool, put, wall_s};

const DEVICE_BYTES: u64 = 4 << 30;
const SHARDS: u64 = 100_000;
const GETS: u64 = 1_000_000;
const PUTS: u64 = 60_000;
const GET_LANES: u64 = 16;
const PUT_LANES: u64 = 128;
const ROUNDS: u64 = 5;

/// Gets alone.
pub(crate) fn gets() -> Vec<Row> {
    on_core(async |world, store| {
        let mut rates = Vec::new();
        for round in 0..ROUNDS {
            rates.push(get_round(&world, &store, round).await);
        }
        Rate::rows("gets of 4 KiB on one core", rates, 600e3)
    })
}

/// Durable puts alone.
pub(crate) fn puts() -> Vec<Row> {
    on_core(async |world, store| {
        let mut rates = Vec::new();
        for round in 0..ROUNDS {
            rates.push(put_round(&world, &store, SHARDS + round * PUTS, PUTS).await);
        }
        Rate::rows("durable puts of 4 KiB on one core", rates, 250e3)
    })
}

fn on_core<F: Future<Output = Vec<Row>> + 'static>(
    bar: impl FnOnce(World, Store) -> F + 'static,
) -> Vec<Row> {
    host(touched(), pool(1024, 16, 8, true), async move |world, disk| {
        let options = Options { entries_max: 4 << 20, ..Options::default() };
        let store = fresh(&world, &disk, 16_384, options).await;
        put_round(&world, &store, 0, SHARDS).await;
        bar(world, store).await
    })
}

/// A device every page of which was written once: the kernel's zeroing of pages is not the
/// store's work.
fn touched() -> Box<dyn BlockDevice> {
    let mut memory = Memory::new(&Shape::new(DEVICE_BYTES)).expect("memory for the device");
    let pool = BufPool::new(&PoolLayout::uniform(1 << 20, 1)).expect("a buffer");
    let mut done = Vec::with_capacity(1);
    for lba in (0..DEVICE_BYTES / 512).step_by(2048) {
        let mut buf = pool.alloc(1 << 20).expect("the buffer");
        buf.fill(lba as u8);
        let op = Op::Write { lba: Lba(lba), buf, persist: Persist::Flush };
        memory.submit(Mono::ZERO, Request { tag: Tag(0), op }).expect("an empty queue");
        memory.poll(Mono::ZERO, &mut done);
        done.clear();
    }
    Box::new(memory)
}

#[derive(Clone, Copy)]
struct Rate {
    per_s: f64,
    cpu_ns: f64,
}

impl Rate {
    fn rows(name: &str, mut rates: Vec<Rate>, least: f64) -> Vec<Row> {
        rates.sort_by(|a, b| a.per_s.total_cmp(&b.per_s));
        let median = rates[rates.len() / 2];
        let told =
            |what: &str, value, unit| Row::new(format!("{name}: {what}"), value, unit, Want::Told);
        vec![
            Row::new(name, median.per_s, "a second", Want::AtLeast(least)),
            told("best round", rates[rates.len() - 1].per_s, "a second"),
            told("processor time", median.cpu_ns, "ns"),
        ]
    }
}

async fn get_round(world: &World, store: &Store, round: u64) -> Rate {
    let left = Rc::new(Cell::new(GETS));
    let (start, start_cpu) = (wall_s(world), cpu_s());
    let tasks: Vec<_> = (0..GET_LANES)
        .map(|lane| {
            let (store, left) = (store.clone(), Rc::clone(&left));
            let mut draws = Draws::new(round, DRAWS, lane);
            world.handle.spawn("gets", async move {
                while left.get() > 0 {
                    left.set(left.get() - 1);
                    let shard = store.read(key(draws.below(SHARDS))).await.expect("it was put");
                    assert_eq!(shard.pieces().map(<[u8]>::len).sum::<usize>(), 4096);
                }
            })
        })
        .collect();
    for task in tasks {
        task.await;
    }
    rate(world, start, start_cpu, GETS)
}

async fn put_round(world: &World, store: &Store, first: u64, count: u64) -> Rate {
    let left = Rc::new(Cell::new(count));
    let (start, start_cpu) = (wall_s(world), cpu_s());
    let tasks: Vec<_> = (0..PUT_LANES)
        .map(|_| {
            let (store, left) = (store.clone(), Rc::clone(&left));
            world.handle.spawn("puts", async move {
                while left.get() > 0 {
                    left.set(left.get() - 1);
                    put(&store, first + left.get(), 4096).await.expect("room");
                }
            })
        })
        .collect();
    for task in tasks {
        task.await;
    }
    rate(world, start, start_cpu, count)
}

fn rate(world: &World, start: f64, start_cpu: f64, count: u64) -> Rate {
    Rate {
        per_s: count as f64 / (wall_s(world) - start),
        cpu_ns: (cpu_s() - start_cpu) * 1e9 / count as f64,
    }
}

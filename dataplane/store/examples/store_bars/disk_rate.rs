//! What the store leaves of a mechanical disk's rate: puts beside raw sequential writes, and
//! random gets.

use std::cell::{Cell, RefCell};
use std::future::Future;
use std::rc::Rc;

use isotherm_reactor::Disk;
use isotherm_seam::{Draws, Lba, Nanos, Persist};
use isotherm_store::sched::{CalibrateOptions, Class, calibrate};
use isotherm_store::{Get, Options, Store, World};

use crate::report::{Row, Want, verbose};
use crate::rig::{DRAWS, device, fresh, key, pool, put, simulate, wall_s};

const ON: &str = "hdd:exos-x24,memory:16G";
const OFF: &str = "hdd:exos-x24:cache=off,memory:16G";
/// The disk that is filled for the gets: small, so that the shards are all over it.
const FULL: &str = "hdd:exos-x24,memory:2G";
const LANES: u64 = 32;
const PUT_BYTES: u64 = 1 << 30;
const GET_LANES: u64 = 16;
const GETS: u64 = 40_000;
/// Extents that are left free.
const LEFT: u32 = 4;

pub(crate) fn run() -> Vec<Row> {
    let raw_on = raw(ON);
    let raw_off = raw(OFF);
    let large = puts(ON, 1 << 20);
    let large_off = puts(OFF, 1 << 20);
    let small_off = puts(OFF, 64 << 10);
    let small_on = puts(ON, 64 << 10);
    let mb = |rate| rate / 1e6;
    let of = |rate, raw| rate / raw * 100.0;
    let told = |name, value, unit| Row::new(name, value, unit, Want::Told);
    let least = |name, value, unit, want| Row::new(name, value, unit, Want::AtLeast(want));
    let mut rows = vec![
        told("raw sequential writes of 1 MiB, cache on", mb(raw_on), "MB/s"),
        told("raw sequential writes of 1 MiB, cache off", mb(raw_off), "MB/s"),
        least(
            "puts of 1 MiB, 32 in flight, cache on, of the raw rate",
            of(large, raw_on),
            "%",
            90.0,
        ),
        least(
            "puts of 1 MiB, 32 in flight, cache off, of the raw rate",
            of(large_off, raw_off),
            "%",
            90.0,
        ),
        least(
            "puts of 64 KiB, 32 in flight, cache off, of the raw rate",
            of(small_off, raw_off),
            "%",
            45.0,
        ),
        least("the same, cache on", of(small_on, raw_on), "%", 60.0),
    ];
    let (latency, throughput) = gets();
    rows.push(least("random gets of 4 KiB, 16 queued", latency.per_second, "a second", 120.0));
    rows.push(Row::new("their p99.9", latency.p999_ms, "ms", Want::AtMost(260.0)));
    rows.push(least("the same, throughput class", throughput.per_second, "a second", 145.0));
    rows.push(told("their p99.9", throughput.p999_ms, "ms"));
    rows
}

/// Lanes of tasks that take numbers until there are none left.
async fn lanes<F: Future<Output = ()> + 'static>(
    world: &World,
    lanes: u64,
    count: u64,
    mut each: impl FnMut(u64) -> F + Clone + 'static,
) {
    let next = Rc::new(Cell::new(0));
    let tasks: Vec<_> = (0..lanes)
        .map(|_| {
            let next = Rc::clone(&next);
            let mut each = each.clone();
            world.handle.spawn("lane", async move {
                loop {
                    let number = next.get();
                    if number >= count {
                        return;
                    }
                    next.set(number + 1);
                    each(number).await;
                }
            })
        })
        .collect();
    let _ = &mut each;
    for task in tasks {
        task.await;
    }
}

/// Bytes a second of the same region without a store: 16 writes of 1 MiB in flight, one flush.
fn raw(spec: &str) -> f64 {
    simulate(device(spec), pool(8, 8, 64, false), async |world, disk| {
        let blocks = (1u64 << 20) / u64::from(disk.geometry().logical.bytes());
        let first = (256u64 << 20) / u64::from(disk.geometry().logical.bytes());
        let start = wall_s(&world);
        // Submitted in order by one task, so that they arrive as a sequence.
        let mut under_way = std::collections::VecDeque::new();
        for at in 0..PUT_BYTES >> 20 {
            if under_way.len() == 16 {
                wait(under_way.pop_front()).await;
            }
            let buf = world.pool.alloc(1 << 20).expect("a buffer");
            under_way.push_back(disk.write(Lba(first + at * blocks), buf, Persist::Flush));
        }
        while !under_way.is_empty() {
            wait(under_way.pop_front()).await;
        }
        disk.flush().await.expect("a healthy disk");
        PUT_BYTES as f64 / (wall_s(&world) - start)
    })
}

async fn wait(transfer: Option<isotherm_reactor::Transfer>) {
    let (result, _) = transfer.expect("there is one").await;
    result.expect("a healthy disk");
}

/// Payload bytes a second of durable puts.
fn puts(spec: &'static str, len: usize) -> f64 {
    simulate(device(spec), pool(64, 64, 96, false), async move |world, disk| {
        let profile = profile(&world, &disk).await;
        let options = Options { entries_max: 1 << 20, profile, ..Options::default() };
        let store = fresh(&world, &disk, 65_536, options).await;
        let start = wall_s(&world);
        let own = store.clone();
        lanes(&world, LANES, PUT_BYTES / len as u64, move |number| {
            let store = own.clone();
            async move { put(&store, number, len).await.expect("room") }
        })
        .await;
        let seconds = wall_s(&world) - start;
        verbose(&format!(
            "{spec}, {len} bytes: {:?}\n{:?}",
            store.status().counters,
            store.sched_stats()
        ));
        PUT_BYTES as f64 / seconds
    })
}

async fn profile(world: &World, disk: &Disk) -> Option<isotherm_store::sched::DiskProfile> {
    let options = CalibrateOptions::default();
    Some(calibrate(&world.handle, disk, &world.pool, options).await.expect("a healthy disk"))
}

struct Gets {
    per_second: f64,
    p999_ms: f64,
}

/// Random gets over a full disk, as the foreground and as the throughput class.
fn gets() -> (Gets, Gets) {
    simulate(device(FULL), pool(1024, 64, 64, false), async |world, disk| {
        let profile = profile(&world, &disk).await;
        let options =
            Options { entries_max: 1 << 20, profile, reclaims: false, ..Options::default() };
        let store = fresh(&world, &disk, 4096, options).await;
        let mut count = 0;
        while store.status().room_extents > LEFT {
            let puts: Vec<_> = (0..512)
                .map(|_| {
                    count += 1;
                    let buf = store.buffer(4096).expect("a buffer");
                    store.put(isotherm_store::Put::new(key(count - 1)), buf)
                })
                .collect();
            for put in puts {
                put.await.expect("room");
            }
        }
        let latency = random_gets(&world, &store, Class::ForegroundRead, count).await;
        let throughput = random_gets(&world, &store, Class::Throughput, count).await;
        (latency, throughput)
    })
}

async fn random_gets(world: &World, store: &Store, class: Class, count: u64) -> Gets {
    let times: Rc<RefCell<Vec<Nanos>>> = Rc::default();
    let draws = Rc::new(RefCell::new(Draws::new(3, DRAWS, 1)));
    let start = wall_s(world);
    let (store, seen, handle) = (store.clone(), Rc::clone(&times), world.handle.clone());
    lanes(world, GET_LANES, GETS, move |_| {
        let number = draws.borrow_mut().below(count);
        let (store, seen, handle) = (store.clone(), Rc::clone(&seen), handle.clone());
        async move {
            let before = handle.now();
            let get = Get { key: key(number), range: None, deadline: None };
            store.get_for(class, get).await.expect("it was put");
            seen.borrow_mut().push(handle.now().since(before));
        }
    })
    .await;
    let seconds = wall_s(world) - start;
    let mut times = times.take();
    times.sort_unstable();
    let p999_ms = times[times.len() * 999 / 1000].as_millis_f64();
    Gets { per_second: GETS as f64 / seconds, p999_ms }
}

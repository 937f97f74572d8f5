//! How often the disk is asked: once for a get, one append and one flush for a batch of puts. Where
//! room is short and part of the batch has a lane of its own, one append more.

use isotherm_seam::Draws;
use isotherm_store::{Options, Put};

use crate::report::{Row, Want};
use crate::rig::{Counting, DRAWS, device, fresh, key, pool, put, simulate};

const GETS: u64 = 2_000;
const BATCHES: u64 = 200;
/// Puts of a batch.
const TOGETHER: u64 = 64;

pub(crate) fn run() -> Vec<Row> {
    let mut rows = in_one_lane();
    rows.extend(in_two_lanes());
    rows
}

fn in_one_lane() -> Vec<Row> {
    let (device, counts) = Counting::over(device("hdd:exos-x24,memory:16G"));
    simulate(device, pool(1024, 64, 64, false), async move |world, disk| {
        // No checkpoint comes in between.
        let options = Options { entries_max: 1 << 20, changes_max: 1 << 20, ..Options::default() };
        let store = fresh(&world, &disk, 65_536, options).await;
        for number in 0..256 {
            put(&store, number, 1 << 20).await.expect("room");
        }
        for number in 256..1280 {
            put(&store, number, 4096).await.expect("room");
        }
        store.checkpoint().await.expect("a sound disk");
        let mut draws = Draws::new(1, DRAWS, 0);
        let before = counts.get();
        for _ in 0..GETS {
            let number = 256 + draws.below(1024);
            store.read(key(number)).await.expect("it was put");
        }
        let small = counts.get();
        for _ in 0..GETS {
            store.read(key(draws.below(256))).await.expect("it was put");
        }
        let large = counts.get();
        for _ in 0..GETS {
            let segment = draws.below(4) as u32 * (256 << 10);
            let start = draws.below(128 << 10) as u32;
            let len = 1 + draws.below(128 << 10) as u32;
            let range = segment + start..segment + start + len;
            store.read_range(key(draws.below(256)), range).await.expect("it was put");
        }
        let ranges = counts.get();
        for batch in 0..BATCHES {
            let puts: Vec<_> = (0..TOGETHER)
                .map(|at| {
                    let buf = store.buffer(4096).expect("a buffer");
                    store.put(Put::new(key(10_000 + batch * TOGETHER + at)), buf)
                })
                .collect();
            for put in puts {
                put.await.expect("room");
            }
        }
        let puts = counts.get();
        let per = |reads: u64, count| reads as f64 / count as f64;
        let exactly = |name: &str, value| Row::new(name, value, "", Want::AtMost(1.0));
        vec![
            exactly("device reads per get of 4 KiB", per(small.reads - before.reads, GETS)),
            exactly("device reads per get of 1 MiB", per(large.reads - small.reads, GETS)),
            exactly("device reads per range in a segment", per(ranges.reads - large.reads, GETS)),
            exactly(
                "device writes per batch of 64 puts",
                per(puts.writes - ranges.writes, BATCHES),
            ),
            exactly("flushes per batch of 64 puts", per(puts.flushes - ranges.flushes, BATCHES)),
        ]
    })
}

/// Room is short, and half of each batch is new while half replaces what the batch before has put.
fn in_two_lanes() -> Vec<Row> {
    const BATCHES: u64 = 6;
    const HALF: u64 = TOGETHER / 2;
    let (device, counts) = Counting::over(device("hdd:exos-x24,memory:512M"));
    simulate(device, pool(1024, 64, 64, false), async move |world, disk| {
        let options = Options {
            entries_max: 1 << 20,
            changes_max: 1 << 20,
            reclaims: false,
            ..Options::default()
        };
        let store = fresh(&world, &disk, 512, options).await;
        let mut filled = 0;
        while store.status().room_extents > 3 {
            put(&store, filled, 60 << 10).await.expect("room");
            filled += 1;
        }
        for number in filled..filled + HALF {
            put(&store, number, 4096).await.expect("room");
        }
        let before = counts.get();
        for batch in 1..=BATCHES {
            let first = filled + batch * HALF;
            let puts: Vec<_> = (first - HALF..first + HALF)
                .map(|number| {
                    let buf = store.buffer(4096).expect("a buffer");
                    store.put(Put::new(key(number)), buf)
                })
                .collect();
            for put in puts {
                put.await.expect("room");
            }
        }
        let after = counts.get();
        let per = |count: u64| count as f64 / BATCHES as f64;
        let row = |name, count, most| Row::new(name, per(count), "", Want::AtMost(most));
        vec![
            row("device writes per batch in two lanes", after.writes - before.writes, 2.0),
            row("flushes per batch in two lanes", after.flushes - before.flushes, 1.0),
        ]
    })
}

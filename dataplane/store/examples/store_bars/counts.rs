//! How often the disk is asked: once for a get, one append and one flush for a batch of puts.

use isotherm_seam::Draws;
use isotherm_store::{Options, Put};

use crate::report::{Row, Want};
use crate::rig::{Counting, DRAWS, device, fresh, key, pool, put, simulate};

const GETS: u64 = 2_000;
const BATCHES: u64 = 200;
/// Puts of a batch.
const TOGETHER: u64 = 64;

pub(crate) fn run() -> Vec<Row> {
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
        // Half of each batch is new and half replaces what the batch before has put: two lanes.
        for batch in 0..=BATCHES {
            let half = TOGETHER / 2;
            let first = 100_000 + batch * half;
            let numbers = (first..first + half).chain(first - half..first);
            let puts: Vec<_> = numbers
                .map(|number| {
                    let buf = store.buffer(4096).expect("a buffer");
                    store.put(Put::new(key(number)), buf)
                })
                .collect();
            for put in puts {
                put.await.expect("room");
            }
        }
        let mixed = counts.get();
        let mixed_batches = BATCHES + 1;
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
            Row::new(
                "device writes per batch that goes to two lanes",
                per(mixed.writes - puts.writes, mixed_batches),
                "",
                Want::AtMost(2.0),
            ),
            exactly(
                "flushes per batch that goes to two lanes",
                per(mixed.flushes - puts.flushes, mixed_batches),
            ),
        ]
    })
}

//! What the cleaner writes on top: all device bytes over the payload bytes that were put, with
//! 80 % of all extents full, once the disk has been overwritten several times.

use isotherm_block::{Memory, Shape};
use isotherm_seam::Draws;
use isotherm_store::{Options, Put, PutError, Store};

use crate::report::{Row, Want, verbose};
use crate::rig::{Counting, DRAWS, fresh, key, pool, put, simulate};

const EXTENT_BLOCKS: u32 = 512;
const EXTENTS: u64 = 1000;
/// With its check block a record of 16 blocks.
const PAYLOAD: usize = 60 << 10;
const FULL: f64 = 0.8;
/// Times that all that is live is overwritten before it is measured, and then.
const WARM_UP: f64 = 3.0;
const MEASURED: f64 = 2.0;
const TOGETHER: u64 = 32;

pub(crate) fn run() -> Vec<Row> {
    let uniform = measure(None);
    let zipf = measure(Some(0.9));
    vec![
        Row::new("write amplification, uniform replacement", uniform, "", Want::AtMost(2.8)),
        Row::new("write amplification, Zipf 0.9", zipf, "", Want::AtMost(2.3)),
    ]
}

fn measure(skew: Option<f64>) -> f64 {
    let bytes = EXTENTS * u64::from(EXTENT_BLOCKS) * 4096;
    let memory = Memory::new(&Shape::new(bytes)).expect("memory for the device");
    let (device, counts) = Counting::over(Box::new(memory));
    simulate(device, pool(64, 512, 8, false), async move |world, disk| {
        let options = Options { entries_max: 1 << 20, reclaims: false, ..Options::default() };
        let store = fresh(&world, &disk, EXTENT_BLOCKS, options).await;
        let mut shards = 0;
        let total = EXTENTS as f64;
        while f64::from(store.status().extents.free) > total * (1.0 - FULL) {
            put(&store, shards, PAYLOAD).await.expect("room");
            shards += 1;
        }
        let mut keys = Keys::new(shards, skew);
        overwrite(&store, &mut keys, (shards as f64 * WARM_UP) as u64).await;
        let before = counts.get().write_bytes;
        let count = (shards as f64 * MEASURED) as u64;
        overwrite(&store, &mut keys, count).await;
        let written = counts.get().write_bytes - before;
        verbose(&format!("{:?}", store.status()));
        written as f64 / (count * PAYLOAD as u64) as f64
    })
}

async fn overwrite(store: &Store, keys: &mut Keys, count: u64) {
    let mut left = count;
    while left > 0 {
        let puts: Vec<_> = (0..left.min(TOGETHER))
            .map(|_| {
                let number = keys.next();
                let buf = store.buffer(PAYLOAD).expect("a buffer");
                (number, store.put(Put::new(key(number)), buf))
            })
            .collect();
        left -= puts.len() as u64;
        for (number, first) in puts {
            let mut result = first.await.map(drop);
            // The device takes no time, so the cleaner is called when there is no room.
            while result == Err(PutError::Full) {
                store.reclaim_once().await.expect("something to clean");
                result = put(store, number, PAYLOAD).await;
            }
            result.expect("the cleaner makes room");
        }
    }
}

/// Which key is put next.
struct Keys {
    draws: Draws,
    count: u64,
    /// The sum of the weights of all keys up to each; empty where all weigh the same.
    sums: Vec<f64>,
    /// Where the heavy ones are: all over the disk.
    order: Vec<u64>,
}

impl Keys {
    fn new(count: u64, skew: Option<f64>) -> Keys {
        let mut draws = Draws::new(5, DRAWS, 7);
        let mut sums = Vec::new();
        let mut order: Vec<u64> = (0..count).collect();
        for at in (1..order.len()).rev() {
            order.swap(at, draws.below(at as u64 + 1) as usize);
        }
        if let Some(skew) = skew {
            let mut sum = 0.0;
            for rank in 1..=count {
                sum += (rank as f64).powf(-skew);
                sums.push(sum);
            }
        }
        Keys { draws, count, sums, order }
    }

    fn next(&mut self) -> u64 {
        let Some(total) = self.sums.last() else { return self.draws.below(self.count) };
        let at = self.draws.next_f64() * total;
        let rank = self.sums.partition_point(|sum| *sum <= at);
        self.order[rank.min(self.order.len() - 1)]
    }
}

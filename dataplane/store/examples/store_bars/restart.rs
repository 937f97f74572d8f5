//! Memory and restart at 25 million shards on a 26 TB disk: virtual time of the mechanical disk
//! plus processor time.
//!
//! The disk is filled past the mechanics with shards without payload, under keys in no order, and
//! at the end with 4 GB of 1 MiB shards, so that a crash leaves full extents to be read.

use std::cell::RefCell;
use std::rc::Rc;

use isotherm_block::hdd::{Hdd, HddOptions};
use isotherm_seam::{BufPool, draw};
use isotherm_store::sched::DiskProfile;
use isotherm_store::{FormatOptions, Key, Options, Put, ScannedDisk, Store, World, format};

use crate::report::{Row, Want, verbose};
use crate::rig::{DRAWS, cpu_s, pool, simulate, wall_s};
use crate::sparse::Sparse;

const BYTES: u64 = 26_000_000_000_000;
const EXTENT_BLOCKS: u32 = 65_536;
const LARGE: u64 = 4_000;
const TOGETHER: u64 = 512;

/// 25 million; fewer where `STORE_BARS_SHARDS` says so, for a quick look.
fn shards() -> u64 {
    let named = std::env::var("STORE_BARS_SHARDS").ok();
    named.and_then(|text| text.parse().ok()).unwrap_or(25_000_000)
}

pub(crate) fn run() -> Vec<Row> {
    let disk = Sparse::new(BYTES, u64::from(EXTENT_BLOCKS));
    fill(&disk, true);
    let clean = restart(&disk, true);
    fill(&disk, false);
    let crash = restart(&disk, false);
    let seconds = |name: &str, restart: &Restart, most| {
        let Steps { disk_s, cpu_s } = restart.total();
        let mut rows = vec![
            Row::new(name, disk_s + cpu_s, "s", Want::AtMost(most)),
            Row::new(format!("{name}: disk"), disk_s, "s", Want::Told),
            Row::new(format!("{name}: processor"), cpu_s, "s", Want::Told),
        ];
        for (step, took) in ["scan", "recover", "start"].iter().zip(restart.steps) {
            let told = |what, s| Row::new(format!("{name}: {step}, {what}"), s, "s", Want::Told);
            rows.extend([told("disk", took.disk_s), told("processor", took.cpu_s)]);
        }
        rows
    };
    let mut rows = seconds("restart after a close", &clean, 10.0);
    rows.extend(seconds("restart after a crash", &crash, 30.0));
    rows.push(Row::new("shards", clean.shards as f64, "", Want::Told));
    let each = clean.resident_bytes as f64 / clean.shards as f64;
    rows.push(Row::new("resident memory of a shard", each, "bytes", Want::AtMost(16.0)));
    rows
}

/// A key like those that hashes of objects make.
fn key(number: u64) -> Key {
    Key { group: 1, object: u128::from(draw(9, DRAWS, 2, number)), stripe: 0, position: 0 }
}

/// Formats and fills the disk and closes it, or puts more and stops without a word.
fn fill(disk: &Rc<RefCell<Sparse>>, whole: bool) {
    let device = Sparse::open(disk);
    simulate(device, pool(1024, 64, 64, false), async move |world, disk| {
        if whole {
            let options = FormatOptions::new([9; 16]);
            format(&world, &disk, &options).await.expect("an empty disk");
        }
        let options = Options { profile: Some(DiskProfile::flat(32)), ..Options::default() };
        let (store, _) = Store::open(&world, &disk, options).await.expect("it was formatted");
        let first = if whole { 0 } else { shards() + LARGE };
        if whole {
            put_all(&store, 0..shards(), 0).await;
        }
        put_all(&store, first + shards()..first + shards() + LARGE, 1 << 20).await;
        verbose(&format!("{:?}", store.status()));
        if whole {
            // Merges that are due belong to the filling.
            world.handle.sleep(isotherm_seam::Nanos::from_secs(60)).await;
            store.close().await.expect("a sound disk");
        }
    });
}

async fn put_all(store: &Store, numbers: std::ops::Range<u64>, len: usize) {
    let together = if len == 0 { TOGETHER } else { 16 };
    for first in numbers.clone().step_by(together as usize) {
        let puts: Vec<_> = (first..(first + together).min(numbers.end))
            .map(|number| {
                let mut buf = store.buffer(len).expect("a buffer");
                (0..len.div_ceil(256 << 10)).for_each(|piece| buf.piece_mut(piece).fill(0));
                store.put(Put::new(key(number)), buf)
            })
            .collect();
        for put in puts {
            put.await.expect("room");
        }
    }
}

/// Virtual time of the disk and processor time.
#[derive(Clone, Copy, Default)]
struct Steps {
    disk_s: f64,
    cpu_s: f64,
}

struct Restart {
    /// Scan, recover, start.
    steps: [Steps; 3],
    resident_bytes: u64,
    shards: u64,
}

impl Restart {
    fn total(&self) -> Steps {
        let sum = |of: fn(&Steps) -> f64| self.steps.iter().map(of).sum();
        Steps { disk_s: sum(|step| step.disk_s), cpu_s: sum(|step| step.cpu_s) }
    }
}

fn restart(sparse: &Rc<RefCell<Sparse>>, clean: bool) -> Restart {
    let hdd = Hdd::new(Sparse::open(sparse), &HddOptions::default(), 1).expect("large enough");
    let sparse = Rc::clone(sparse);
    simulate(Box::new(hdd), touched(pool(64, 64, 64, false)), async move |world: World, disk| {
        let now = || Steps { disk_s: wall_s(&world), cpu_s: cpu_s() - sparse.borrow().cpu_s() };
        let (mut before, resident) = (now(), resident_bytes());
        let mut steps = [Steps::default(); 3];
        let mut step = |at: usize| {
            let (now, was) = (now(), before);
            before = now;
            steps[at] = Steps { disk_s: now.disk_s - was.disk_s, cpu_s: now.cpu_s - was.cpu_s };
        };
        let options = Options { profile: Some(DiskProfile::nearline()), ..Options::default() };
        let scanned = ScannedDisk::scan(&world, &disk).await.expect("it was formatted");
        step(0);
        let recovered = scanned.recover(options).await.expect("it was closed, or it recovers");
        step(1);
        let (store, report) = recovered.start().await.expect("a sound disk");
        step(2);
        let resident_bytes = resident_bytes().saturating_sub(resident);
        verbose(&format!("{report:?}\n{:?}", store.status()));
        assert_eq!(report.clean, clean, "it was closed, or not");
        assert!(report.holes.is_empty(), "nothing was lost");
        Restart { steps, resident_bytes, shards: store.status().entries }
    })
}

/// Buffers that are in memory already: they are not the index's.
fn touched(pool: BufPool) -> BufPool {
    let bufs: Vec<_> = std::iter::from_fn(|| pool.alloc(4096).ok()).collect();
    bufs.into_iter().for_each(|mut buf| {
        buf.set_len(buf.capacity());
        buf.fill(1);
    });
    pool
}

/// Memory of this process that is in use.
fn resident_bytes() -> u64 {
    let statm = std::fs::read_to_string("/proc/self/statm").expect("a Linux");
    let pages: u64 = statm.split(' ').nth(1).and_then(|text| text.parse().ok()).expect("pages");
    pages * 4096
}

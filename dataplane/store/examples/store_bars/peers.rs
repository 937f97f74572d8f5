//! Durable puts beside redb and fjall, all in files of one file system, each batch made durable
//! before the next: puts a second, and processor time of the whole process.
//!
//! The peers lay out files of their own, as they do in service. This store owns a disk, and a disk
//! has no unwritten blocks whose first use a file system must note, so its file is written once
//! before. All three spill what they keep in memory while they are measured.

use std::fs::File;
use std::io::Write;
use std::path::Path;

use isotherm_host::HostClock;
use isotherm_seam::{Clock, Draws, Mono};
use isotherm_store::{Options, Put, Store};
use nix::sys::time::TimeValLike;
use nix::time::ClockId;

use crate::report::{Row, Want};
use crate::rig::{DRAWS, fresh, host_file, key, pool};

/// One kind of load.
#[derive(Clone, Copy)]
struct Load {
    bytes: usize,
    /// Puts that become durable together.
    together: u64,
    batches: u64,
}

const SMALL: Load = Load { bytes: 4 << 10, together: 64, batches: 600 };
const LARGE: Load = Load { bytes: 64 << 10, together: 16, batches: 300 };
const ROUNDS: usize = 5;
/// So that the 4 KiB load has two checkpoints.
const CHANGES_MAX: usize = 1 << 14;
const FILE_BYTES: u64 = 1 << 30;

/// What a store has done.
#[derive(Clone, Copy)]
struct Rate {
    per_s: f64,
    cpu_us: f64,
}

pub(crate) fn run() -> Vec<Row> {
    let mut rows = Vec::new();
    for (load, name, least) in [(SMALL, "4 KiB", 0.9), (LARGE, "64 KiB", 2.0)] {
        let mut rates = [Vec::new(), Vec::new(), Vec::new()];
        for _ in 0..ROUNDS {
            let folder = tempfile::tempdir().expect("a folder");
            rates[0].push(isotherm(folder.path(), load));
            rates[1].push(redb(folder.path(), load));
            rates[2].push(fjall(folder.path(), load));
        }
        let [own, redb, fjall] = rates.map(median);
        let better = if redb.per_s > fjall.per_s { redb } else { fjall };
        for (who, rate) in [("isotherm", own), ("redb", redb), ("fjall", fjall)] {
            let told = |what: &str, value, unit| {
                Row::new(format!("{who}: durable puts of {name}{what}"), value, unit, Want::Told)
            };
            rows.push(told("", rate.per_s, "a second"));
            rows.push(told(", processor time", rate.cpu_us, "µs"));
        }
        let times = |value, want| {
            Row::new(format!("puts of {name}: times the better peer"), value, "", want)
        };
        rows.push(times(own.per_s / better.per_s, Want::AtLeast(least)));
        let cpu = own.cpu_us / better.cpu_us;
        rows.push(Row::new(
            format!("puts of {name}: processor time, of the better peer's"),
            cpu,
            "",
            Want::AtMost(1.0 / 3.0),
        ));
    }
    rows
}

fn median(mut rates: Vec<Rate>) -> Rate {
    rates.sort_by(|a, b| a.per_s.total_cmp(&b.per_s));
    rates[rates.len() / 2]
}

/// Processor time of all threads, in seconds.
fn process_cpu_s() -> f64 {
    let time = ClockId::CLOCK_PROCESS_CPUTIME_ID.now().expect("every Linux has it");
    time.num_nanoseconds() as f64 / 1e9
}

/// When a load began.
struct Started {
    clock: HostClock,
    at: Mono,
    cpu_s: f64,
}

impl Started {
    fn now() -> Started {
        let clock = HostClock::new();
        Started { at: clock.mono(), clock, cpu_s: process_cpu_s() }
    }

    fn rate(&self, load: Load) -> Rate {
        let puts = (load.batches * load.together) as f64;
        Rate {
            per_s: puts / self.clock.mono().since(self.at).as_secs_f64(),
            cpu_us: (process_cpu_s() - self.cpu_s) * 1e6 / puts,
        }
    }
}

/// Bytes that do not compress.
fn value(load: Load) -> Vec<u8> {
    let mut draws = Draws::new(1, DRAWS, 9);
    (0..load.bytes / 8).flat_map(|_| draws.below(u64::MAX).to_le_bytes()).collect()
}

/// A file that was written once from end to end, as a disk in service was.
fn written(path: &Path) {
    let mut file = File::create(path).expect("a new file");
    let zeros = vec![0; 1 << 20];
    for _ in 0..FILE_BYTES >> 20 {
        file.write_all(&zeros).expect("room");
    }
    file.sync_all().expect("durable");
}

fn isotherm(folder: &Path, load: Load) -> Rate {
    let path = folder.join("isotherm");
    written(&path);
    host_file(&path, pool(256, 64, 8, true), async move |world, disk| {
        let options =
            Options { entries_max: 1 << 17, changes_max: CHANGES_MAX, ..Options::default() };
        let store = fresh(&world, &disk, 8192, options).await;
        batches(&store, load, 0, 10).await;
        let start = Started::now();
        batches(&store, load, 10, load.batches).await;
        start.rate(load)
    })
}

async fn batches(store: &Store, load: Load, first: u64, count: u64) {
    let value = value(load);
    for batch in first..first + count {
        let puts: Vec<_> = (0..load.together)
            .map(|at| {
                let mut buf = store.buffer(load.bytes).expect("a buffer");
                buf.fill(&value);
                store.put(Put::new(key(batch * load.together + at)), buf)
            })
            .collect();
        for put in puts {
            put.await.expect("room");
        }
    }
}

fn redb(folder: &Path, load: Load) -> Rate {
    const TABLE: redb::TableDefinition<'_, &[u8], &[u8]> = redb::TableDefinition::new("shards");
    let database = redb::Database::create(folder.join("redb")).expect("a new file");
    let value = value(load);
    let batch = |number: u64| {
        let transaction = database.begin_write().expect("one writer");
        {
            let mut table = transaction.open_table(TABLE).expect("a table");
            for at in 0..load.together {
                let key = key(number * load.together + at).to_bytes();
                table.insert(key.as_slice(), value.as_slice()).expect("room");
            }
        }
        transaction.commit().expect("durable");
    };
    (0..10).for_each(batch);
    let start = Started::now();
    (10..10 + load.batches).for_each(batch);
    start.rate(load)
}

fn fjall(folder: &Path, load: Load) -> Rate {
    let database = fjall::Database::builder(folder.join("fjall")).open().expect("a new folder");
    let shards =
        database.keyspace("shards", fjall::KeyspaceCreateOptions::default).expect("a new keyspace");
    let value = value(load);
    let batch = |number: u64| {
        let mut batch = database.batch().durability(Some(fjall::PersistMode::SyncData));
        for at in 0..load.together {
            let key = key(number * load.together + at).to_bytes();
            batch.insert(&shards, key.as_slice(), value.as_slice());
        }
        batch.commit().expect("durable");
    };
    (0..10).for_each(batch);
    let start = Started::now();
    (10..10 + load.batches).for_each(batch);
    start.rate(load)
}

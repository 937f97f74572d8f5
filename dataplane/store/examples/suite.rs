//! The soak: random sequences on all cores, one JSON line a minute and one for each failure.
//!
//! `cargo run --release -p isotherm-store --example suite -- --sequences 2000000 [--first 0]`

#[path = "../tests/suite/mod.rs"]
mod suite;

use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use isotherm_store::Planted;
use suite::plan::Plan;
use suite::run::{Marks, run};

/// Sequences that a thread takes at a time.
const BATCH: u64 = 500;

/// What has happened so far.
#[derive(Default)]
struct Tally {
    sequences: u64,
    operations: u64,
    with_crashes: u64,
    failures: u64,
    cpu_ns: u64,
    marks: Marks,
    reported: u64,
}

fn argument(name: &str, default: u64) -> u64 {
    let mut args = std::env::args().skip_while(|arg| arg != name);
    match args.nth(1) {
        Some(text) => text.parse().unwrap_or_else(|_| panic!("{name} {text} is not a number")),
        None => default,
    }
}

fn main() {
    let first = argument("--first", 0);
    let count = argument("--sequences", 2_000_000);
    let threads =
        argument("--threads", std::thread::available_parallelism().map_or(1, |n| n.get() as u64));
    let every = argument("--report", 50_000);
    let next = AtomicU64::new(first);
    let tally = Mutex::new(Tally::default());
    std::panic::set_hook(Box::new(|_| {}));
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                loop {
                    let from = next.fetch_add(BATCH, Ordering::Relaxed);
                    if from >= first + count {
                        return;
                    }
                    batch(from, (from + BATCH).min(first + count), every, &tally);
                }
            });
        }
    });
    let tally = tally.into_inner().expect("no thread has died");
    print(&tally, "done");
    if tally.failures > 0 {
        std::process::exit(1);
    }
}

fn batch(from: u64, to: u64, every: u64, tally: &Mutex<Tally>) {
    let mut own = Tally::default();
    let before = suite::cpu_ns();
    for seed in from..to {
        let plan = Plan::new(seed);
        own.sequences += 1;
        own.operations += plan.ops() as u64;
        own.with_crashes += u64::from(plan.has_crash());
        match run(&plan, Planted::default()) {
            Ok(marks) => own.marks.count(&marks),
            Err(failure) => {
                own.failures += 1;
                println!(
                    "{{\"failure\":{:?},\"seed\":{seed},\"step\":{}, \"again\":\
                     \"ISOTHERM_SEED={seed} cargo test -p isotherm-store --test sequences\"}}",
                    failure.what, failure.step as i64
                );
            }
        }
    }
    own.cpu_ns = suite::cpu_ns() - before;
    let mut tally = tally.lock().expect("no thread has died");
    tally.sequences += own.sequences;
    tally.operations += own.operations;
    tally.with_crashes += own.with_crashes;
    tally.failures += own.failures;
    tally.cpu_ns += own.cpu_ns;
    tally.marks.add(&own.marks);
    if tally.sequences / every > tally.reported {
        tally.reported = tally.sequences / every;
        print(&tally, "so_far");
    }
}

fn print(tally: &Tally, name: &str) {
    let marks: Vec<String> =
        tally.marks.named().iter().map(|(name, count)| format!("\"{name}\":{count}")).collect();
    println!(
        "{{\"{name}\":{},\"operations\":{},\"with_crashes\":{},\"failures\":{},\
         \"per_cpu_second\":{:.0},\"reached\":{{{}}}}}",
        tally.sequences,
        tally.operations,
        tally.with_crashes,
        tally.failures,
        tally.sequences as f64 / (tally.cpu_ns as f64 / 1e9),
        marks.join(",")
    );
}

//! The simulator by hand.
//!
//! ```text
//! cargo run --release -p isotherm-simulator --example sim -- run 17
//!     ... replay FILE          a plan from a file
//!     ... print 17             the plan of a seed
//!     ... shrink 17 [--runs N] cuts the plan of a seed, or of a file, that fails down
//!     ... soak [--first N] [--seeds N] [--threads N]
//!     ... planted [--seeds N]  looks for each deliberate bug (needs --features planted)
//!     --watch N: tells the story of object N; --brief: two eras of 15 s instead of three of 200 s
//!     --beyond: more harm than objects survive
//!     --quic: over the product's QUIC and datagrams, instead of single messages
//! ```

use std::collections::BTreeMap;
use std::process::ExitCode;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use isotherm_simulator::{Plan, Report, RunOptions, Tier, keep_memory, run_safely, shrink};
use nix::sys::time::TimeValLike;
use nix::time::ClockId;

/// One seed of so many is run twice, and the two compared event by event.
const TWICE: u64 = 20;
/// Seeds between two lines that say how far it is.
const PROGRESS: u64 = 250;

fn cpu_s() -> f64 {
    let now = ClockId::CLOCK_THREAD_CPUTIME_ID.now().expect("every Linux has it");
    now.num_nanoseconds() as f64 / 1e9
}

/// The time on the wall, for a report only.
struct Stopwatch(i64);

impl Stopwatch {
    fn start() -> Stopwatch {
        Stopwatch(Stopwatch::now_ns())
    }

    fn now_ns() -> i64 {
        ClockId::CLOCK_MONOTONIC.now().expect("every Linux has it").num_nanoseconds()
    }

    fn elapsed_s(&self) -> f64 {
        (Stopwatch::now_ns() - self.0) as f64 / 1e9
    }
}

fn number(name: &str, default: u64) -> u64 {
    let mut args = std::env::args().skip_while(|arg| arg != name);
    match args.nth(1) {
        Some(text) => text.parse().unwrap_or_else(|_| panic!("{name} {text} is not a number")),
        None => default,
    }
}

fn has(name: &str) -> bool {
    std::env::args().any(|arg| arg == name)
}

fn options(digest: bool) -> RunOptions {
    let tier = if has("--quic") { Tier::Quic } else { Tier::Messages };
    let watched = has("--watch").then(|| number("--watch", 0));
    RunOptions { digest, tier, watched, ..RunOptions::default() }
}

fn plan_of(seed: u64) -> Plan {
    let (eras, era_ms) = if has("--brief") { (2, 15_000) } else { (3, 200_000) };
    match has("--beyond") {
        true => Plan::drawn_beyond(seed, eras, era_ms),
        false => Plan::drawn_for(seed, eras, era_ms),
    }
}

fn main() -> ExitCode {
    keep_memory();
    let args: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = args.iter().map(String::as_str).collect();
    let seed = |text: &str| text.parse::<u64>().expect("a seed is a number");
    match words[..] {
        ["run", text, ..] => one(&plan_of(seed(text))),
        ["print", text, ..] => {
            print!("{}", plan_of(seed(text)));
            ExitCode::SUCCESS
        }
        ["replay", file, ..] => {
            let text = std::fs::read_to_string(file).expect("the file can be read");
            one(&text.parse().expect("a plan"))
        }
        ["shrink", text, ..] => match text.parse() {
            Ok(seed) => cut_down(&plan_of(seed)),
            Err(_) => {
                let text = std::fs::read_to_string(text).expect("a seed or a file of a plan");
                cut_down(&text.parse().expect("a plan"))
            }
        },
        ["soak", ..] => soak(),
        #[cfg(feature = "planted")]
        ["planted", ..] => planted::hunt(number("--seeds", 50)),
        _ => {
            eprintln!("run SEED | print SEED | replay FILE | shrink SEED | soak | planted");
            ExitCode::from(2)
        }
    }
}

fn one(plan: &Plan) -> ExitCode {
    let before = cpu_s();
    let mut report = run_safely(plan, &options(true));
    for line in report.story.drain(..) {
        println!("{line}");
    }
    println!("{report:#?}");
    let seconds = cpu_s() - before;
    println!(
        "{seconds:.2} CPU seconds; in each {:.0} events, {:.0} datagrams and {:.0} virtual seconds; \
         {:.0} events in a virtual second",
        report.events as f64 / seconds,
        report.datagrams as f64 / seconds,
        report.virtual_s / seconds,
        report.events as f64 / report.virtual_s,
    );
    if report.failures.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn cut_down(plan: &Plan) -> ExitCode {
    let options = options(false);
    let report = run_safely(plan, &options);
    let Some(failure) = report.failures.first() else {
        println!("seed {} does not fail", plan.seed);
        return ExitCode::SUCCESS;
    };
    eprintln!("{failure}");
    std::panic::set_hook(Box::new(|_| {}));
    let small = shrink(plan, &options, failure.rule, number("--runs", 400) as u32);
    for failure in run_safely(&small, &options).failures {
        println!("# {failure}");
    }
    print!("{small}");
    ExitCode::FAILURE
}

#[derive(Default)]
struct Soak {
    seeds: u64,
    failed: u64,
    twice: u64,
    cpu_s: f64,
    virtual_s: f64,
    events: u64,
    operations: Vec<u64>,
    faults: Vec<u64>,
    mended: u64,
    given_up: u64,
    scanned: u64,
    lost: u64,
    datagrams: u64,
    undecided: u64,
    rules: BTreeMap<&'static str, u64>,
}

fn soak() -> ExitCode {
    let (first, seeds) = (number("--first", 0), number("--seeds", 100));
    let begun = Stopwatch::start();
    let next = AtomicU64::new(first);
    let sum = Mutex::new(Soak::default());
    std::panic::set_hook(Box::new(|_| {}));
    std::thread::scope(|scope| {
        for _ in 0..number("--threads", 1) {
            scope.spawn(|| {
                loop {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= first + seeds {
                        return;
                    }
                    let plan = plan_of(seed);
                    let twice = seed.is_multiple_of(TWICE);
                    let options = options(twice);
                    let before = cpu_s();
                    let report = run_safely(&plan, &options);
                    let spent = cpu_s() - before;
                    let again = twice.then(|| run_safely(&plan, &options).digest);
                    tell(seed, &report, again);
                    let sum = &mut *sum.lock().expect("no thread has died");
                    add(sum, &report, spent, again);
                    if sum.seeds.is_multiple_of(PROGRESS) {
                        eprintln!("{} of {seeds} seeds, {} failed", sum.seeds, sum.failed);
                    }
                }
            });
        }
    });
    let wall_s = begun.elapsed_s();
    let mut sum = sum.into_inner().expect("no thread has died");
    sum.operations.sort_unstable();
    sum.faults.sort_unstable();
    let median = |all: &[u64]| all.get(all.len() / 2).copied().unwrap_or(0);
    println!(
        "{{\"seeds\":{},\"failed\":{},\"run_twice\":{},\"wall_s\":{wall_s:.1},\"virtual_s\":{:.0},\
         \"cpu_s\":{:.1},\"events_per_cpu_s\":{:.0},\"datagrams_per_cpu_s\":{:.0},\
         \"virtual_per_cpu\":{:.0},\"virtual_per_wall\":{:.0},\"events_per_virtual_s\":{:.0},\
         \"operations_median\":{},\"faults_median\":{},\"cells_mended\":{},\"disks_given_up\":{},\
         \"disks_scanned\":{},\"lost\":{},\"undecided\":{},\"rules\":{:?}}}",
        sum.seeds,
        sum.failed,
        sum.twice,
        sum.virtual_s,
        sum.cpu_s,
        sum.events as f64 / sum.cpu_s,
        sum.datagrams as f64 / sum.cpu_s,
        sum.virtual_s / sum.cpu_s,
        sum.virtual_s / wall_s,
        sum.events as f64 / sum.virtual_s,
        median(&sum.operations),
        median(&sum.faults),
        sum.mended,
        sum.given_up,
        sum.scanned,
        sum.lost,
        sum.undecided,
        sum.rules,
    );
    if sum.failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// What of the command line makes the run what it is.
fn flags() -> String {
    let flags = ["--brief", "--beyond", "--quic"];
    flags.into_iter().filter(|flag| has(flag)).map(|flag| format!(" {flag}")).collect()
}

fn tell(seed: u64, report: &Report, again: Option<Option<u64>>) {
    if let Some(failure) = report.failures.first() {
        println!(
            "{{\"seed\":{seed},\"failure\":{:?},\"again\":\"sim -- run {seed}{}\"}}",
            failure.to_string(),
            flags(),
        );
    }
    if again.is_some_and(|digest| digest != report.digest) {
        println!("{{\"seed\":{seed},\"failure\":\"two runs of it differ\"}}");
    }
}

fn add(sum: &mut Soak, report: &Report, spent: f64, again: Option<Option<u64>>) {
    sum.seeds += 1;
    sum.twice += u64::from(again.is_some());
    let differs = again.is_some_and(|digest| digest != report.digest);
    sum.failed += u64::from(differs || !report.failures.is_empty());
    if let Some(failure) = report.failures.first() {
        *sum.rules.entry(failure.rule).or_default() += 1;
    }
    sum.cpu_s += spent;
    sum.virtual_s += report.virtual_s;
    sum.events += report.events;
    sum.operations.push(report.tally.begun);
    sum.faults.push(report.faults);
    sum.mended += report.cells_mended;
    sum.given_up += report.disks_given_up;
    sum.scanned += report.disks_scanned;
    sum.lost += report.lost;
    sum.datagrams += report.datagrams;
    sum.undecided += report.undecided;
}

#[cfg(feature = "planted")]
mod planted {
    use super::*;

    /// A deliberate bug, by whose it is.
    fn all() -> Vec<(String, RunOptions)> {
        use isotherm_client::Bug as ClientBug;
        use isotherm_node::Bug as NodeBug;
        let mut all = Vec::new();
        for bug in ClientBug::ALL {
            let client = isotherm_client::Planted::new(bug);
            all.push((format!("client {bug:?}"), RunOptions { client, ..options(false) }));
        }
        for bug in NodeBug::ALL {
            let node = isotherm_node::Planted::new(bug);
            all.push((format!("node {bug:?}"), RunOptions { node, ..options(false) }));
        }
        all
    }

    /// Runs seeds with each bug until it is found, at most so many.
    pub(super) fn hunt(seeds: u64) -> ExitCode {
        std::panic::set_hook(Box::new(|_| {}));
        let first = number("--first", 0);
        let (mut counts, mut missed) = (Vec::new(), 0);
        for (name, options) in all() {
            let before = cpu_s();
            let found = (first..first + seeds).find_map(|seed| {
                let plan = plan_of(seed);
                let failure = run_safely(&plan, &options).failures.into_iter().next()?;
                // What fails without the bug, too, says nothing of it.
                let is_clean = run_safely(&plan, &RunOptions { ..super::options(false) });
                is_clean.failures.is_empty().then_some((seed - first + 1, failure))
            });
            let seconds = cpu_s() - before;
            match found {
                Some((count, failure)) => {
                    let mut what = failure.to_string();
                    what.truncate(what.floor_char_boundary(100));
                    println!("{name:>24}: after {count} seeds, {seconds:.1} s: {what}");
                    counts.push(count);
                }
                None => {
                    println!("{name:>24}: not within {seeds} seeds, {seconds:.1} s");
                    missed += 1;
                    counts.push(u64::MAX);
                }
            }
        }
        counts.sort_unstable();
        let median = counts[counts.len() / 2];
        println!("{} of {} found, median {median} seeds", counts.len() - missed, counts.len());
        if missed == 0 && median <= 10 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
    }
}

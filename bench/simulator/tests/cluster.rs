//! The cluster as a whole, from a few seeds and from every plan that once failed.
//!
//! `cargo run --release -p isotherm-simulator --example sim -- soak --seeds 200` for more.

use isotherm_simulator::{Plan, Report, RunOptions, Tier, run, run_safely};

/// Eras of 15 virtual seconds: the whole of a run in a second.
const ERA_MS: u64 = 15_000;
const SEEDS: u64 = 10;

fn brief(seed: u64) -> Plan {
    Plan::drawn_for(seed, 2, ERA_MS)
}

fn demand(plan: &Plan, report: &Report, again: &str) {
    let failures: Vec<String> = report.failures.iter().map(ToString::to_string).collect();
    assert!(failures.is_empty(), "{again}: {failures:#?}\n{plan}");
}

#[test]
fn nothing_is_lost_wrong_or_stuck() {
    let mut total = Report::default();
    for seed in 0..SEEDS {
        let plan = brief(seed);
        let report = run_safely(&plan, &RunOptions::default());
        demand(&plan, &report, &format!("seed {seed}"));
        total.tally.good += report.tally.good;
        total.faults += report.faults;
        total.cells_mended += report.cells_mended;
        total.undecided += report.undecided;
    }
    // That it looked at something.
    assert!(total.tally.good > 200 * SEEDS, "{total:?}");
    assert!(total.faults > 5 * SEEDS && total.cells_mended > 0, "{total:?}");
    assert_eq!(total.undecided, 0, "each object's order is decided");
}

#[test]
fn one_seed_is_one_run() {
    let options = RunOptions { digest: true, ..RunOptions::default() };
    for seed in [3, 8] {
        let plan = brief(seed);
        let (one, two) = (run(&plan, &options), run(&plan, &options));
        assert!(one.digest.is_some());
        assert_eq!(one, two, "seed {seed}");
    }
    assert_ne!(run(&brief(3), &options).digest, run(&brief(4), &options).digest);
}

#[test]
fn over_quic_one_seed_is_one_run() {
    let options = RunOptions { digest: true, tier: Tier::Quic, ..RunOptions::default() };
    for seed in [2, 5] {
        let plan = brief(seed);
        let report = run_safely(&plan, &options);
        demand(&plan, &report, &format!("seed {seed} --quic"));
        assert!(report.datagrams > 1_000, "{report:?}");
        assert_eq!(report, run(&plan, &options), "seed {seed} --quic");
    }
}

#[test]
fn what_failed_once_does_not_fail_again() {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/plans");
    let mut paths: Vec<_> = std::fs::read_dir(folder)
        .expect("the folder of plans")
        .map(|entry| entry.expect("it can be read").path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "plan"))
        .collect();
    paths.sort();
    for path in paths {
        let text = std::fs::read_to_string(&path).expect("it can be read");
        let plan: Plan = text.parse().unwrap_or_else(|error| panic!("{path:?}: {error}"));
        assert!(plan.is_fair(), "{path:?} harms more than a stripe survives");
        demand(&plan, &run_safely(&plan, &RunOptions::default()), &format!("{path:?}"));
    }
}

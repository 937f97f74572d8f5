//! The suite against a store with a deliberate bug: each of the twelve must be found.
//!
//! `cargo test --release -p isotherm-store --features planted --test planted -- --nocapture`
#![cfg(feature = "planted")]

mod suite;

use isotherm_store::{Bug, Planted};
use suite::plan::Plan;
use suite::run::run;

/// Sequences before a bug counts as missed.
const SEQUENCES_MAX: u64 = 5_000;
/// Each bug is looked for anew from so many first seeds.
const HUNTS: u64 = if cfg!(debug_assertions) { 1 } else { 5 };

/// How many sequences it takes, from a first seed on; with what gave it away.
fn hunt(bug: Bug, first: u64) -> Option<(u64, String)> {
    (0..SEQUENCES_MAX).find_map(|number| {
        let plan = Plan::new(first + number);
        let failure = run(&plan, Planted::new(bug)).err()?;
        // What fails without the bug, too, says nothing of it.
        run(&plan, Planted::default()).ok()?;
        Some((number + 1, failure.what))
    })
}

#[test]
fn every_planted_bug_is_found() {
    // The store says what it finds by panics too, thousands of times here.
    let hook = std::panic::take_hook();
    std::panic::set_hook(Box::new(|_| {}));
    let mut medians = Vec::new();
    let mut missed = Vec::new();
    let mut lines = Vec::new();
    for bug in Bug::ALL {
        let mut found: Vec<u64> = Vec::new();
        let mut example = String::new();
        for hunt_number in 0..HUNTS {
            match hunt(bug, 1_000_000 * (1 + hunt_number)) {
                Some((sequences, what)) => {
                    found.push(sequences);
                    example = what;
                }
                None => missed.push(bug),
            }
        }
        found.sort_unstable();
        let median = found.get(found.len() / 2).copied().unwrap_or(SEQUENCES_MAX);
        medians.push(median);
        let name = format!("{bug:?}");
        example.truncate(example.floor_char_boundary(120));
        lines.push(format!("{name:>24}: after {median} sequences {found:?}: {example}"));
    }
    std::panic::set_hook(hook);
    medians.sort_unstable();
    lines.iter().for_each(|line| println!("{line}"));
    println!("median over the bugs: {} sequences", medians[medians.len() / 2]);
    assert!(missed.is_empty(), "never found: {missed:?}");
    assert!(medians[medians.len() / 2] <= 200, "the median is {medians:?}");
}

//! The bars of the shard store: each is measured and held against what is wanted of it.
//!
//! `cargo run --release -p isotherm-store --example store_bars [-- BAR ...]`
//!
//! `--features peers` adds `peers`: durable puts beside redb and fjall.
//!
//! Bars that run on the mechanical disk are in virtual time from one seed, so they are the same on
//! every machine; those of one core are in wall-clock time and want a quiet machine.

mod amplification;
mod core_rate;
mod counts;
mod disk_rate;
#[cfg(feature = "peers")]
mod peers;
mod report;
mod restart;
mod rig;
mod scrub;
mod sparse;

use report::Row;

/// A group of bars.
struct Group {
    name: &'static str,
    run: fn() -> Vec<Row>,
}

const GROUPS: &[Group] = &[
    Group { name: "counts", run: counts::run },
    Group { name: "disk", run: disk_rate::run },
    Group { name: "gets", run: core_rate::gets },
    Group { name: "puts", run: core_rate::puts },
    Group { name: "amplification", run: amplification::run },
    Group { name: "scrub", run: scrub::run },
    Group { name: "restart", run: restart::run },
    #[cfg(feature = "peers")]
    Group { name: "peers", run: peers::run },
];

fn main() {
    let wanted: Vec<String> = std::env::args().skip(1).filter(|arg| arg != "--").collect();
    if let Some(name) = wanted.iter().find(|name| GROUPS.iter().all(|g| g.name != **name)) {
        let names: Vec<&str> = GROUPS.iter().map(|group| group.name).collect();
        eprintln!("no bar {name}: there are {}", names.join(", "));
        std::process::exit(2);
    }
    report::head();
    let mut missed = 0;
    for group in GROUPS {
        if wanted.is_empty() || wanted.iter().any(|name| name == group.name) {
            for row in (group.run)() {
                row.print();
                missed += u32::from(!row.is_met());
            }
        }
    }
    std::process::exit(i32::from(missed > 0));
}

//! How long reads take under each policy, beside the bound: nodes, clients and schedulers as they
//! are, on modelled disks, in virtual time.
//!
//! ```text
//! cargo run --release -p isotherm-simulator --example tails -- --policy late,random --load 60
//!     --nodes 20 --disks 5      disks of each node
//!     --codec 10+4 --cell 65536 bytes of a cell
//!     --copies                  objects are copies of one cell each (m + 1 of them)
//!     --range 65536             reads of ranges of so many bytes within one cell
//!     --load 40,60,80           percent: disk reads a second x service at depth 1 / disks
//!     --rate 60,75,90           instead: reads of a disk a second
//!     --clients 20 --seconds 120 --warmup 30 --seed 1,2,3
//!     --slow 5                  one disk in a hundred takes so many times as long
//!     --dying                   a client goes dark every second, and another takes its place
//!     --appends 12              shards of 1 MiB that are put on each disk a second
//!     --delay-us 100            one way
//!     --hedges 30               of a thousand reads so many may ask for one cell more
//!     --depth 4                 in order of arrival, so many in the drive at once
//!     --claim-ahead-us 1000     how long before the arm is free a reservation is claimed
//!     --bounds 200000           reads by which the bound is measured
//! ```
//!
//! One line of JSON a run. `bound_ms`: the cells of a read each on an idle disk.
//!
//! | file       | what it holds                                                          |
//! |------------|------------------------------------------------------------------------|
//! | `setup.rs` | what is asked for                                                      |
//! | `thin.rs`  | a disk that takes little memory                                        |
//! | `rig.rs`   | the cluster, and what it is filled with                                |
//! | `bound.rs` | what no policy can beat                                                |
//! | `pass.rs`  | a run                                                                  |

mod bound;
mod pass;
mod rig;
mod setup;
mod thin;

use bound::Bound;
use pass::pass;
use setup::Setup;

fn main() {
    isotherm_simulator::keep_memory();
    let asked = Setup::from_args();
    for &seed in &asked.seeds {
        let setup = Setup { seed, ..asked.clone() };
        let bound = Bound::new(&setup);
        let load = |load: &f64| (format!("{load}%"), load / 100.0 * 1000.0 / bound.service_ms);
        let per_disk: Vec<(String, f64)> = match setup.rates.is_empty() {
            true => setup.loads.iter().map(load).collect(),
            false => setup.rates.iter().map(|rate| (format!("{rate}/s"), *rate)).collect(),
        };
        println!(
            "{{\"setup\":{:?},\"service_ms\":{:.3},\"bound_ms\":[{:.1},{:.1},{:.1}]}}",
            format!("{setup:?}"),
            bound.service_ms,
            bound.ms(0.5),
            bound.ms(0.99),
            bound.ms(0.999)
        );
        for policy in &setup.policies {
            for (name, rate) in &per_disk {
                println!("{}", pass(&setup, *policy, name, *rate, &bound));
            }
        }
    }
}

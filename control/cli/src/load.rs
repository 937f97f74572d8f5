//! `isotherm load`: an open loop of puts, reads and deletes of objects, against a cluster or
//! against one in virtual time.
//!
//! ```text
//! flags ─> plan ─> ground: a link to a cluster | a cluster in virtual time
//!                    fill ─> a pass for each policy ─> results ─> clear
//! ```
//!
//! What must always hold: standard output holds the results and nothing else; what ran is told,
//! however the run ends; the objects of the load are deleted at the end, and what can't be is said.
//! Exit code 0 only if something was done and every byte that was read is the one that was put.
//!
//! | file        | what it holds                                              |
//! |-------------|------------------------------------------------------------|
//! | `flags.rs`  | what may be asked for                                      |
//! | `ground.rs` | where it runs                                              |
//! | `admin.rs`  | nodes asked how busy their disks are                       |
//! | `live.rs`   | how it goes, a line a second                               |
//! | `told.rs`   | results as a table                                         |

mod admin;
mod flags;
mod ground;
mod live;
pub(crate) mod told;

use std::fs;
use std::path::Path;
use std::process::ExitCode;
use std::sync::atomic::Ordering;

use anyhow::{Context, bail};
use isotherm_host::{HostClock, OsEntropy};
use isotherm_objects::{Header, Kind, document};
use isotherm_seam::{Clock, Domain, Entropy};
use serde_json::Value;

use crate::store::words;
pub(crate) use flags::LoadCommand;
pub(crate) use ground::{Course, Ground};
pub(crate) use live::Live;

const SEED: Domain = Domain::new("cli.load.seed");

/// The exit code of a run that Ctrl-C ended, by convention.
pub(crate) const INTERRUPTED: u8 = 130;

impl LoadCommand {
    pub(crate) fn run(self) -> anyhow::Result<ExitCode> {
        let seed = self.seed.map_or_else(drawn_seed, Ok)?;
        let plan = self.plan(seed)?;
        plan.check()?;
        let policies = self.policies()?;
        let stop = crate::stop::on_signal()?;
        let mut ground = Ground::new(&self, seed)?;
        ground.check(&plan)?;
        eprintln!("isotherm: {}; --seed {seed}", ground.target());
        let began = HostClock::new().wall();
        let course = ground.begin(&plan, self.run_config(), Live::new(self.live), &stop);
        let error = ground.fill(&course).err();
        let mut passes = Vec::new();
        for policy in policies.into_iter().filter(|_| error.is_none()) {
            if !stop.load(Ordering::Relaxed) {
                passes.push(ground.pass(&course, policy, &policy.to_string()));
            }
        }
        let was_stopped = stop.load(Ordering::Relaxed);

        let mut messages = Vec::new();
        if let Some(error) = &error {
            messages.push(error.to_string());
        }
        let header = Header {
            began,
            time: words::date(u32::try_from(began.0 / 1_000_000_000).unwrap_or(0)),
            is_virtual: ground.is_virtual(),
            target: ground.target().to_owned(),
            messages,
        };
        let found = document(&header, &plan, &passes);
        if self.json {
            println!("{}", isotherm_load::json_text(&found).trim_end());
        } else if !passes.is_empty() {
            print!("{}", told::table(&found, &passes));
        }
        for message in found["messages"].as_array().into_iter().flatten() {
            eprintln!("isotherm: {}", message.as_str().unwrap_or_default());
        }
        let written = self.report.as_deref().map_or(Ok(()), |path| {
            if passes.is_empty() {
                eprintln!("isotherm: {}: not written, as nothing was measured", path.display());
                return Ok(());
            }
            write_page(path, &told::each(&found))
        });
        if self.keep {
            eprintln!("isotherm: the objects are kept: `isotherm ls` lists them");
        } else {
            let left = ground.clear(&course);
            if left > 0 {
                eprintln!(
                    "isotherm: {left} objects could not be deleted: `isotherm repair` finishes \
                     deletes that were begun"
                );
            }
        }
        // Whether or not there is a page, the objects are gone by now.
        written?;
        let wrong: u64 = passes.iter().map(|(pass, _)| pass.wrong).sum();
        let done: u64 =
            passes.iter().flat_map(|(pass, _)| Kind::ALL.map(|kind| pass.kind(kind).done())).sum();
        if let Some(error) = error {
            if was_stopped {
                return Ok(ExitCode::from(INTERRUPTED));
            }
            bail!("{error}: is there room, and do all nodes answer? `isotherm cluster status`");
        }
        Ok(match (wrong, was_stopped, done) {
            (1.., ..) => ExitCode::FAILURE,
            (0, true, _) => ExitCode::from(INTERRUPTED),
            (0, false, 0) => ExitCode::FAILURE,
            (0, false, _) => ExitCode::SUCCESS,
        })
    }
}

/// Writes the page of some passes, each with its name.
pub(crate) fn write_page(path: &Path, each: &[(String, Value)]) -> anyhow::Result<()> {
    let page = isotherm_report::page(each)?;
    fs::write(path, page).with_context(|| format!("{}: can't be written", path.display()))
}

/// A seed by chance, short enough to be typed again.
pub(crate) fn drawn_seed() -> anyhow::Result<u64> {
    Ok(OsEntropy::new()?.next_u64(SEED, 0) % 1_000_000)
}

//! `isotherm store scan`: what the records say, without the checkpoints; and whether the index
//! says the same.

use std::process::ExitCode;

use isotherm_store::offline::{Difference, Survey};
use isotherm_store::{OpenError, Options, ScannedDisk};
use serde_json::{Value, json};

use super::check::hole_json;
use super::rig::{Setup, Watcher, run};
use super::{On, explain, words};

/// Differences that are told one by one in text; JSON has all of them.
const TOLD: usize = 100;

/// Reads every check block and compares what counts with the index. Writes nothing.
///
/// Trusts no checkpoint: what an extent holds is what its own blocks say. Needs some 100 bytes of
/// memory for each shard.
#[derive(clap::Args)]
#[command(after_help = "Exit codes: 0 records and index agree; 1 they differ, something is lost, \
or there is no index to compare with; 2 no store, or the disk can't be read; 130 stopped.

Examples:
  isotherm store scan /dev/sdb
  isotherm store scan --json /tmp/disk.img")]
pub(super) struct ScanCommand {
    #[command(flatten)]
    on: On,
}

/// What was found, and why there was no index to compare with.
struct Told {
    survey: Survey,
    no_index: Option<OpenError>,
}

impl ScanCommand {
    pub(super) fn run(self) -> anyhow::Result<ExitCode> {
        let spec = self.on.spec()?;
        let watcher = Watcher::new("reading the index")?;
        let watch = watcher.clone();
        let told = run(&spec, &Setup::reading(), &watcher, move |world, disk| async move {
            let scanned = ScannedDisk::scan(&world, &disk).await?;
            let index = ScannedDisk::scan(&world, &disk).await?.recover(Options::default()).await;
            let (index, no_index) = match index {
                Ok(index) => (Some(index), None),
                Err(error @ OpenError::Walk(_)) => return Err(error),
                Err(error) => (None, Some(error)),
            };
            let survey = scanned.survey(index.as_ref(), &|at| watch.at("scanning", at)).await?;
            Ok(Told { survey, no_index })
        });
        let unjudged = |text: String| {
            if self.on.json {
                println!("{:#}", json!({"verdict": "not judged", "why": text}));
            } else {
                println!("not judged: {text}");
            }
            Ok(ExitCode::from(2))
        };
        match told {
            Err(error) => unjudged(format!("{error:#}")),
            Ok(Some(Err(OpenError::NotAStore))) => {
                match self.on.json {
                    true => println!("{:#}", json!({"verdict": "not a store"})),
                    false => println!("not a store"),
                }
                Ok(ExitCode::from(2))
            }
            Ok(Some(Err(error))) => unjudged(format!("{:#}", explain(&self.on.device, error))),
            Ok(None) => {
                eprintln!("isotherm: stopped while the index was read");
                Ok(ExitCode::from(130))
            }
            Ok(Some(Ok(told))) => {
                let (verdict, code) = told.verdict();
                if self.on.json {
                    println!("{:#}", told.to_json(verdict));
                } else {
                    told.print(verdict);
                }
                Ok(ExitCode::from(code))
            }
        }
    }
}

impl Told {
    fn verdict(&self) -> (&'static str, u8) {
        let survey = &self.survey;
        match () {
            () if survey.stopped => ("stopped", 130),
            () if self.no_index.is_some() => ("no index", 1),
            () if !survey.differences.is_empty() => ("they differ", 1),
            () if !survey.holes.is_empty() => ("holes", 1),
            () => ("records and index agree", 0),
        }
    }

    fn print(&self, verdict: &str) {
        let survey = &self.survey;
        println!("{verdict}");
        if let Some(error) = &self.no_index {
            println!("no index to compare with: {error}");
        }
        println!(
            "{} extents, {} in use: {} committed records; {} shards and {} tombstones count",
            survey.extents, survey.holding, survey.records, survey.shards, survey.tombstones
        );
        println!(
            "{} records behind the last commit of their extent, {} dropped tombstones that are \
             still there: both are harmless",
            survey.torn, survey.tombstones_dropped
        );
        if survey.unreadable_blocks > 0 {
            println!("{} blocks can't be read", survey.unreadable_blocks);
        }
        for hole in &survey.holes {
            println!("hole: {} blocks from {}:{}", hole.blocks, hole.extent.0, hole.block);
        }
        for difference in survey.differences.iter().take(TOLD) {
            println!("{}", text(difference));
        }
        if let Some(more) = survey.differences.len().checked_sub(TOLD + 1) {
            println!("and {} more (--json tells all)", more + 1);
        }
    }

    fn to_json(&self, verdict: &str) -> Value {
        let survey = &self.survey;
        let holes: Vec<Value> = survey.holes.iter().map(hole_json).collect();
        let differences: Vec<Value> = survey.differences.iter().map(difference_json).collect();
        json!({
            "verdict": verdict,
            "no_index": self.no_index.as_ref().map(OpenError::to_string),
            "extents": survey.extents,
            "extents_in_use": survey.holding,
            "records": survey.records,
            "records_torn": survey.torn,
            "shards": survey.shards,
            "tombstones": survey.tombstones,
            "tombstones_dropped": survey.tombstones_dropped,
            "unreadable_blocks": survey.unreadable_blocks,
            "holes": holes,
            "differences": differences,
            "stopped": survey.stopped,
        })
    }
}

fn text(difference: &Difference) -> String {
    match difference {
        Difference::NotIndexed { key, place, sequence } => {
            format!("{key}: #{sequence} lies at {}, the index has nothing", words::place(place))
        }
        Difference::NotFound { key, place, sequence } => {
            format!("{key}: #{sequence} is not at {}, where the index has it", words::place(place))
        }
        Difference::Outdated { key, indexed, found, sequence } => format!(
            "{key}: #{sequence} lies at {}, the index has an earlier one at {}",
            words::place(found),
            words::place(indexed)
        ),
    }
}

fn difference_json(difference: &Difference) -> Value {
    let (kind, key, indexed, found, sequence) = match difference {
        Difference::NotIndexed { key, place, sequence } => {
            ("not indexed", key, None, Some(place), sequence)
        }
        Difference::NotFound { key, place, sequence } => {
            ("not found", key, Some(place), None, sequence)
        }
        Difference::Outdated { key, indexed, found, sequence } => {
            ("outdated", key, Some(indexed), Some(found), sequence)
        }
    };
    json!({
        "kind": kind, "key": key.to_string(), "sequence": sequence,
        "indexed": indexed.map(words::place), "found": found.map(words::place),
    })
}

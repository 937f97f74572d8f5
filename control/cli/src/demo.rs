//! `isotherm demo`: a cluster on emulated disks, read in two ways under the same load, and then
//! with a node gone.
//!
//! ```text
//! seed ─> what is drawn: the limping disk, the hot object, every arrival, the node that dies
//! up ─> put ─> pass: random ─> pass: late ─> kill -9 a node ─> pass: late ─> read all ─> report
//! ```
//!
//! What must always hold: every byte that is read is compared with what was put; however the run
//! ends, what was measured is told and written, and neither nodes nor disks are left behind. Exit
//! code 0 only if nothing that was read is wrong and all of it could be read with a node gone; 130
//! after Ctrl-C.
//!
//! | file      | what it holds                                         |
//! |-----------|-------------------------------------------------------|
//! | `plan.rs` | what is drawn from the seed                           |
//! | `told.rs` | what came of it, in words and as a document           |

mod plan;
mod told;

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::{Context, ensure};
use isotherm_client::{ClientConfig, ReadPolicy};
use isotherm_host::HostClock;
use isotherm_objects::{Busy, Check, Pass, RunConfig};
use isotherm_seam::{Clock, Mono, Nanos, Wall};

use crate::cluster::{Attached, Folder};
use crate::load::{Course, Ground, INTERRUPTED, Live, drawn_seed, write_page};
use plan::{DISKS, Drawn, NODES, OBJECT_BYTES, OBJECTS};

/// Puts and checks under way at once.
const AT_ONCE: usize = 16;
/// The last reads of a pass are waited for no longer: the whole is to be over soon.
const DRAIN: Nanos = Nanos::from_secs(10);

/// Brings a cluster up on emulated disks, measures two ways to read from it, and kills a node.
///
/// Six nodes with four disks each, real processes on loopback; the disks are models of a 24 TB
/// drive in real time, over sparse files in a temporary folder. One disk limps, and one object is
/// hot: both are drawn from the seed. The same schedule of reads is run with the disks chosen by
/// chance, and then with late binding, where a read goes to the disks whose arms come to it first.
/// Then one node is killed, the load goes on, and every object is read and compared. Takes little more
/// than a minute, no root and no disk, and leaves nothing behind but the report. It is about
/// disks: on a machine that is busy with other things they wait for the processor too.
#[derive(clap::Args)]
#[command(after_help = "Examples:
  isotherm demo                         writes report.html and out.json
  isotherm demo --seed 7                the same draws again
  isotherm demo --healthy               no disk limps: what is left is chance and the hot object
  isotherm demo --rate 100 --seconds 30
  isotherm demo --json | jq '.jobs[] | {jobname, p99: .read.rt_ns.percentile[\"99.000000\"]}'

  isotherm load                         such a load on a cluster of your own
  isotherm fleet                        twelve disks, two of them sick: which, and by what evidence")]
pub(crate) struct DemoCommand {
    /// Decides everything that is drawn; by chance where absent, and told
    #[arg(long, value_name = "N")]
    seed: Option<u64>,
    /// No disk limps
    #[arg(long)]
    healthy: bool,
    /// Reads of 256 KiB offered a second: four cells of 64 KiB each
    #[arg(long, value_name = "N", default_value_t = 200.0)]
    rate: f64,
    /// Objects that are put. Fewer lie closer together than on a full drive, and are read sooner
    #[arg(long, value_name = "N", default_value_t = OBJECTS,
          value_parser = clap::value_parser!(u64).range(10..=OBJECTS))]
    objects: u64,
    /// How long each of the three passes is counted
    #[arg(long, value_name = "SECONDS", default_value_t = 15.0)]
    seconds: f64,
    /// Where the cluster's folder is made, about 1 GB; the system's temporary folder where absent
    #[arg(long, value_name = "FOLDER")]
    dir: Option<PathBuf>,
    /// Where the page goes
    #[arg(long, value_name = "FILE", default_value = "report.html")]
    report: PathBuf,
    /// Where the document goes
    #[arg(long, value_name = "FILE", default_value = "out.json")]
    out: PathBuf,
    /// Print the document on standard output, and the tables on standard error
    #[arg(long)]
    json: bool,
}

/// What came of a demo. What it did not come to is not there.
struct Outcome {
    drawn: Drawn,
    target: String,
    began: Wall,
    passes: Vec<(Pass, Option<Busy>)>,
    /// The node that was killed.
    killed: Option<String>,
    check: Option<Check>,
    was_stopped: bool,
    /// Seconds that each part took.
    parts: Vec<(&'static str, f64)>,
}

impl DemoCommand {
    pub(crate) fn run(self) -> anyhow::Result<ExitCode> {
        self.check()?;
        let seed = self.seed.map_or_else(drawn_seed, Ok)?;
        let runtime = Nanos::from_secs_f64(self.seconds);
        let drawn = Drawn::new(seed, self.objects, self.rate, runtime, self.healthy);
        let stop = crate::stop::on_signal()?;
        let healthy = if self.healthy { " --healthy" } else { "" };
        eprintln!("isotherm demo --seed {seed}{healthy}");
        let outcome = self.go(drawn, &stop)?;
        self.tell(&outcome)
    }

    fn check(&self) -> anyhow::Result<()> {
        ensure!(
            self.rate.is_finite() && (1.0..=2_000.0).contains(&self.rate),
            "--rate {}: expected reads a second, from 1 to 2000",
            self.rate
        );
        ensure!(
            self.seconds.is_finite() && (1.0..=3_600.0).contains(&self.seconds),
            "--seconds {}: expected seconds, from 1 to 3600",
            self.seconds
        );
        for (flag, path) in [("--report", &self.report), ("--out", &self.out)] {
            let folder = path.parent().filter(|p| !p.as_os_str().is_empty());
            ensure!(
                folder.unwrap_or(Path::new(".")).is_dir() && !path.is_dir(),
                "{flag} {}: expected a file in a folder that exists",
                path.display()
            );
        }
        Ok(())
    }

    /// Runs all of it. The cluster is gone when this returns.
    fn go(&self, drawn: Drawn, stop: &Arc<AtomicBool>) -> anyhow::Result<Outcome> {
        let parent = self.dir.clone().unwrap_or_else(std::env::temp_dir);
        let place = tempfile::Builder::new().prefix("isotherm-demo-").tempdir_in(&parent);
        let place = place.with_context(|| format!("{}: no folder there", parent.display()))?;
        let folder = Folder::new(&place.path().join("cluster"));
        let mut outcome = Outcome {
            drawn,
            target: format!("{NODES} nodes with {DISKS} emulated disks each, on this machine"),
            began: HostClock::new().wall(),
            passes: Vec::new(),
            killed: None,
            check: None,
            was_stopped: false,
            parts: Vec::new(),
        };
        let mut watch = Watch::new();
        let raised = Attached::up(&folder, &outcome.drawn.shape(), stop);
        let mut cluster = match raised {
            Ok(cluster) => cluster,
            Err(_) if stop.load(Ordering::Relaxed) => {
                outcome.was_stopped = true;
                return Ok(outcome);
            }
            Err(error) => return Err(error),
        };
        watch.part(&mut outcome, "up", &told::up(&folder.map()?));
        let ran = run_passes(&mut outcome, &folder, &mut cluster, &mut watch, stop);
        outcome.was_stopped = stop.load(Ordering::Relaxed);
        for name in cluster.down() {
            eprintln!("isotherm: {name} did not stop in time, and was killed");
        }
        let left = place.path().to_owned();
        place.close().with_context(|| format!("{}: can't be removed", left.display()))?;
        watch.part(&mut outcome, "down", "stopped and removed");
        // What was measured until it failed is of no use without the rest, unless it was stopped.
        if !outcome.was_stopped {
            ran?;
        }
        Ok(outcome)
    }

    /// Writes and prints what came of it.
    fn tell(&self, outcome: &Outcome) -> anyhow::Result<ExitCode> {
        let document = told::document(outcome);
        let json = isotherm_load::json_text(&document);
        let written = std::fs::write(&self.out, &json)
            .with_context(|| format!("{}: can't be written", self.out.display()))
            .and_then(|()| match outcome.passes.is_empty() {
                // There is nothing to draw.
                true => Ok(()),
                false => write_page(&self.report, &crate::load::told::each(&document)),
            });
        let mut text = told::table(outcome, &document);
        if written.is_ok() && !outcome.passes.is_empty() {
            text.push_str(&format!(
                "The picture is in {}, all numbers in {}.\n",
                self.report.display(),
                self.out.display()
            ));
        }
        // Where nothing can be written, what was measured is still told.
        if self.json {
            eprint!("{text}");
            print!("{json}");
        } else {
            print!("{text}");
        }
        written?;
        Ok(match (told::is_wrong(outcome), outcome.was_stopped) {
            (true, _) => ExitCode::FAILURE,
            (false, true) => ExitCode::from(INTERRUPTED),
            (false, false) => ExitCode::SUCCESS,
        })
    }
}

/// From the first put to the last byte that is compared. A stop ends it wherever it is.
fn run_passes(
    outcome: &mut Outcome,
    folder: &Folder,
    cluster: &mut Attached,
    watch: &mut Watch,
    stop: &Arc<AtomicBool>,
) -> anyhow::Result<()> {
    // Objects of this length would be kept in copies: one movement of one arm, and no choice that
    // a picture could show.
    let config = ClientConfig { striped_from_bytes: OBJECT_BYTES, ..ClientConfig::default() };
    let mut ground = Ground::linked(folder, config)?;
    let config = RunConfig { fill_at_once: AT_ONCE, drain: DRAIN, ..RunConfig::default() };
    let course = ground.begin(&outcome.drawn.load, config, Live::new(false), stop);
    ground.fill(&course).context("the objects could not be put")?;
    watch.part(outcome, "put", &told::put(&outcome.drawn.load));
    for (policy, part) in [(ReadPolicy::Random, "random"), (ReadPolicy::Late, "late")] {
        if !pass(&mut ground, &course, policy, part, outcome, watch, stop) {
            return Ok(());
        }
    }
    let victim = outcome.drawn.victim_name();
    cluster.kill(&victim)?;
    eprintln!("isotherm: {victim} was killed (SIGKILL)");
    outcome.killed = Some(victim);
    if !pass(&mut ground, &course, ReadPolicy::Late, told::WITHOUT, outcome, watch, stop) {
        return Ok(());
    }
    let check = ground.check_all(&course, ReadPolicy::Direct);
    watch.part(outcome, "checked", &told::checked(&check));
    outcome.check = Some(check);
    Ok(())
}

/// One pass; false if it was stopped.
fn pass(
    ground: &mut Ground,
    course: &Course,
    policy: ReadPolicy,
    name: &'static str,
    outcome: &mut Outcome,
    watch: &mut Watch,
    stop: &AtomicBool,
) -> bool {
    if stop.load(Ordering::Relaxed) {
        return false;
    }
    let (pass, busy) = ground.pass(course, policy, name);
    watch.part(outcome, name, &told::passed(&pass));
    outcome.passes.push((pass, busy));
    !stop.load(Ordering::Relaxed)
}

/// Says on standard error what is done, and how long it took.
struct Watch {
    clock: HostClock,
    begin: Mono,
    last: Mono,
}

impl Watch {
    fn new() -> Watch {
        let clock = HostClock::new();
        let now = clock.mono();
        Watch { clock, begin: now, last: now }
    }

    fn part(&mut self, outcome: &mut Outcome, part: &'static str, says: &str) {
        let now = self.clock.mono();
        let (took, at) = (now.since(self.last), now.since(self.begin));
        self.last = now;
        outcome.parts.push((part, took.as_secs_f64()));
        eprintln!("{:>6.1} s  {says}", at.as_secs_f64());
    }
}

//! `isotherm fleet`: twelve emulated disks under load, two of them sick; it names them.
//!
//! What must always hold: the exit code is 0 only if just the planted disks were flagged, each
//! for what it is; 130 after Ctrl-C, with the tables and the document of what was measured.
//! Nothing is left behind but the document.

use std::io::{IsTerminal, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, ensure};
use clap::ValueEnum;
use isotherm_fleet::{
    LoadConfig, Outcome, Plan, PlanConfig, Progress, Rig, TimeKind, document, table,
};
use isotherm_host::HostClock;
use isotherm_seam::{Clock, Nanos};

/// Fewer reads of each disk do not show a bad region for certain.
const READS_MIN: f64 = 400.0;
/// Fewer disks leave too few peers: the two sick ones must stay a minority.
const DISKS_MIN: u32 = 6;
/// So many disks are driven by one thread without being late.
const DISKS_MAX: u32 = 256;
/// More disks than this do not fit a small terminal: their progress is told in lines.
const TABLE_DISKS_MAX: usize = 20;
/// Between two lines where the progress does not go to a terminal.
const LINE_EVERY: Nanos = Nanos::from_secs(5);

/// Runs twelve emulated disks under load and finds the two sick ones.
///
/// Needs no root and no disk: the disks are sparse files in a temporary folder under a model of
/// a 24 TB drive. One limps and one has a bad region; both are drawn from the seed. Exits with
/// 0 only if just those two were found.
#[derive(clap::Args)]
pub(crate) struct FleetCommand {
    /// Decides everything that is drawn; from the clock where absent
    #[arg(long, value_name = "N")]
    seed: Option<u64>,
    /// Plant nothing: no disk may be flagged
    #[arg(long)]
    healthy: bool,
    /// How many disks
    #[arg(long, value_name = "N", default_value_t = 12,
          value_parser = clap::value_parser!(u32).range(DISKS_MIN as i64..=DISKS_MAX as i64))]
    disks: u32,
    /// Reads a second of each disk
    #[arg(long, value_name = "IOPS", default_value_t = 40.0)]
    rate: f64,
    /// Seconds of load
    #[arg(long, value_name = "SECONDS", default_value_t = 25.0)]
    duration: f64,
    /// Real time over files, or virtual time over memory (about a second)
    #[arg(long, value_enum, default_value_t = ClockArg::Wall)]
    clock: ClockArg,
    /// Where the files go; the system's temporary folder where absent
    #[arg(long, value_name = "FOLDER")]
    dir: Option<PathBuf>,
    /// Where the document goes
    #[arg(long, value_name = "FILE", default_value = "out.json")]
    out: PathBuf,
    /// Print the document on standard output, and the tables on standard error
    #[arg(long)]
    json: bool,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum ClockArg {
    /// Real time
    Wall,
    /// Virtual time
    Virtual,
}

impl FleetCommand {
    pub(crate) fn run(self) -> anyhow::Result<ExitCode> {
        self.check()?;
        let seed = self.seed.unwrap_or_else(|| HostClock::new().wall().0 as u64 % 1_000_000);
        let config = PlanConfig {
            seed,
            disks: self.disks,
            healthy: self.healthy,
            reads_per_disk: self.rate * self.duration,
        };
        let plan = Plan::draw(&config);
        let load = LoadConfig::new(self.rate, Nanos::from_secs_f64(self.duration), seed);
        let stop = crate::stop::on_signal()?;

        let rig = match self.clock {
            ClockArg::Wall => {
                let parent = self.dir.clone().unwrap_or_else(std::env::temp_dir);
                Rig::on_files(&plan, &load, &parent)?
            }
            ClockArg::Virtual => Rig::in_memory(&plan, &load)?,
        };
        let (place, began) = (rig.place().clone(), HostClock::new().wall());
        eprintln!("isotherm fleet --seed {seed}{}", if self.healthy { " --healthy" } else { "" });
        eprintln!("{}, driven by {}", place.sentence, place.drivers.join(", "));
        for note in &place.notes {
            eprintln!("note: {note}");
        }
        eprintln!(
            "{} reads of {} KiB a second on each, for {} s; {}\n",
            self.rate,
            load.read_bytes >> 10,
            self.duration,
            if self.healthy { "nothing is planted" } else { "two sick disks are planted" },
        );

        let mut screen = Screen::new(place.time);
        let measured = rig.run(&load, &stop, &mut |progress| screen.show(progress))?;
        screen.clear();
        let outcome = Outcome::new(plan, place, began, measured);
        self.report(&outcome)
    }

    fn check(&self) -> anyhow::Result<()> {
        let finite = self.rate.is_finite() && self.duration.is_finite();
        ensure!(
            finite && self.rate > 0.0 && self.rate <= 10_000.0,
            "--rate {}: expected reads a second, above 0 and at most 10000",
            self.rate
        );
        ensure!(
            self.duration > 0.0 && self.duration <= 86_400.0,
            "--duration {}: expected seconds, above 0 and at most a day",
            self.duration
        );
        let reads = self.rate * self.duration;
        ensure!(
            reads >= READS_MIN,
            "--rate {} for --duration {} s makes {reads:.0} reads a disk: it takes \
             {READS_MIN:.0} to tell a sick one",
            self.rate,
            self.duration
        );
        let folder = self.out.parent().filter(|p| !p.as_os_str().is_empty());
        let folder = folder.unwrap_or(Path::new("."));
        ensure!(
            folder.is_dir() && !self.out.is_dir(),
            "--out {}: expected a file in a folder that exists",
            self.out.display()
        );
        Ok(())
    }

    fn report(&self, outcome: &Outcome) -> anyhow::Result<ExitCode> {
        let json = serde_json::to_string_pretty(&document(outcome))? + "\n";
        let written = std::fs::write(&self.out, &json);
        let mut text = table::summary(outcome) + &table::grade(outcome);
        if outcome.measured.stopped {
            let span = outcome.measured.span.as_secs_f64();
            text.push_str(&format!("Stopped after {span:.1} s: this is what was measured.\n"));
        }
        if written.is_ok() {
            text.push_str(&format!("All of it is in {}.\n", self.out.display()));
        }
        // Where the document can't be written, what was measured is still told.
        if self.json {
            eprint!("{text}");
            std::io::stdout().write_all(json.as_bytes())?;
        } else {
            std::io::stdout().write_all(text.as_bytes())?;
        }
        written
            .with_context(|| format!("{}: the document can't be written", self.out.display()))?;
        Ok(if outcome.measured.stopped {
            ExitCode::from(130)
        } else if outcome.grade.is_right() {
            ExitCode::SUCCESS
        } else {
            ExitCode::FAILURE
        })
    }
}

/// Progress on standard error: a table drawn in place on a terminal, otherwise a line now and
/// then; nothing in virtual time, which is over at once.
struct Screen {
    terminal: bool,
    silent: bool,
    lines: usize,
    next_line: Nanos,
}

impl Screen {
    fn new(time: TimeKind) -> Screen {
        Screen {
            terminal: std::io::stderr().is_terminal(),
            silent: time == TimeKind::Virtual,
            lines: 0,
            next_line: LINE_EVERY,
        }
    }

    fn show(&mut self, progress: &Progress) {
        if self.silent {
            return;
        }
        if self.terminal && progress.lanes.len() <= TABLE_DISKS_MAX {
            let text = table::live(progress);
            self.clear();
            self.lines = text.lines().count();
            eprint!("{text}");
        } else if progress.elapsed >= self.next_line {
            self.next_line += LINE_EVERY;
            eprintln!("{}", table::live_line(progress));
        }
    }

    /// Takes the live table off the terminal: up so many lines, and all below erased.
    fn clear(&mut self) {
        if self.lines > 0 {
            eprint!("\x1b[{}A\x1b[J", self.lines);
            self.lines = 0;
        }
    }
}

//! `isotherm bench`: fio's job files and flags on our drivers.
//!
//! What must always hold: standard output, or the file named with `--output`, carries the
//! results and nothing else, and always a whole document; the exit code is zero only if every
//! job ran to its end without a failed request. A flag is ours ([`flags`]) or an option of the
//! job ([`isotherm_workload::options`]); any other is an error.

mod flags;
mod help;
mod knee;
mod live;
mod repeat;
mod select;
mod writer;

use std::path::Path;
use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, Ordering};

use isotherm_host::{HostClock, OsEntropy};
use isotherm_load::{Report, Setup};
use isotherm_seam::{Clock, Domain, Entropy};
use isotherm_workload::{Environment, Parsed, Script};

use self::flags::Line;
use self::live::Live;
use self::select::Selected;
use self::writer::{Beside, Outlet};
use crate::machine;

/// Measures disks under a workload, as fio does.
#[derive(clap::Args)]
#[command(
    override_usage = "isotherm bench [--FLAG=VALUE]... [JOBFILE]...",
    after_long_help = help::long_help(),
    after_help = "`isotherm bench --help` lists the options of a job, with examples."
)]
pub(crate) struct BenchCommand {
    /// Flags in fio's manner, and job files; a flag before the first --name holds for all jobs
    #[arg(value_name = "FLAG OR JOBFILE", allow_hyphen_values = true, trailing_var_arg = true)]
    arguments: Vec<String>,
}

/// What scripts that ask for fio's version are told by a link of that name: the version whose
/// output is written, and what wrote it.
const AS_FIO: &str = concat!("fio-3.33-isotherm-", env!("CARGO_PKG_VERSION"));

const SEED: Domain = Domain::new("cli.bench.seed");

impl BenchCommand {
    /// The command that a link called `fio` stands for.
    pub(crate) fn as_fio(arguments: Vec<String>) -> anyhow::Result<ExitCode> {
        BenchCommand { arguments }.run_as(Some(AS_FIO))
    }

    /// Runs the jobs and writes the results.
    pub(crate) fn run(self) -> anyhow::Result<ExitCode> {
        self.run_as(None)
    }

    fn run_as(self, version: Option<&str>) -> anyhow::Result<ExitCode> {
        let mut line = Line::read(self.arguments, OsEntropy::new()?.next_u64(SEED, 0))?;
        if let Some(version) = version {
            line.style.version = version.to_owned();
        }
        if line.version {
            println!("{}", line.style.version);
            return Ok(ExitCode::SUCCESS);
        }
        if line.help || line.rest.is_empty() {
            print!("{}", help::long_help());
            return Ok(if line.help { ExitCode::SUCCESS } else { ExitCode::FAILURE });
        }
        if line.parse_only || line.show {
            let (script, parsed) = line.parse()?;
            if line.show {
                script.command_lines().iter().for_each(|command| println!("{command}"));
            }
            parsed.messages.iter().for_each(|message| eprintln!("{message}"));
            return Ok(ExitCode::SUCCESS);
        }
        let style = line.style.clone();
        let mut outlet = Outlet::open(line.formats.clone(), style, line.output.as_deref())?;
        match line.measure(&mut outlet) {
            Ok(code) => Ok(code),
            Err(error) => {
                // Whoever reads the results finds a document in any case.
                outlet.write_failure(HostClock::new().wall(), &format!("{error:#}"))?;
                Err(error)
            }
        }
    }
}

impl Line {
    fn parse(&self) -> anyhow::Result<(Script, Parsed)> {
        let environment =
            Environment { variable: &|name| std::env::var(name).ok(), machine: machine::read()? };
        let mut script = Script::from_arguments(&self.rest, &environment)?;
        script.keep(&self.sections)?;
        let parsed = Parsed::from_script(&script)?;
        Ok((script, parsed))
    }

    fn measure(&mut self, outlet: &mut Outlet) -> anyhow::Result<ExitCode> {
        let (_, parsed) = self.parse()?;
        match self.disks.as_deref().map(select::select).transpose()? {
            None => {}
            Some(Selected::Count(count)) => self.setup.disks = count,
            Some(Selected::Names(names)) => {
                self.setup.disks = names.len() as u32;
                self.setup.disk_names = names;
            }
        }
        let stop = crate::stop::on_signal()?;
        let (report, beside) = match self.knee {
            Some(knee) => {
                let seed = self.setup.seed;
                let mut count = 0;
                knee.search(&parsed, self.repeat, &mut |parsed| {
                    let setup = Setup { seed: seed + count, ..self.setup.clone() };
                    count += 1;
                    once(parsed, &setup, &stop, self.progress, &mut |_| Ok(()))
                })?
            }
            None if self.repeat > 1 => {
                let mut reports = Vec::new();
                for number in 0..u64::from(self.repeat) {
                    let setup = Setup { seed: self.setup.seed + number, ..self.setup.clone() };
                    reports.push(once(&parsed, &setup, &stop, self.progress, &mut |_| Ok(()))?);
                    if stop.load(Ordering::Relaxed) {
                        break;
                    }
                }
                let (middle, beside) = repeat::summarise(&reports);
                (reports.swap_remove(middle), beside)
            }
            None => {
                let mut status = |report: &Report| outlet.write(report, &Beside::default());
                let report = once(&parsed, &self.setup, &stop, self.progress, &mut status)?;
                (report, Beside::default())
            }
        };
        outlet.write(&report, &beside)?;
        complain(&report, outlet.is_for_people());
        let logs = write_logs(&report, &self.aux);
        let ran = report.failures().next().is_none() && !report.interrupted;
        let whole = ran && logs && outlet.is_whole();
        Ok(if whole { ExitCode::SUCCESS } else { ExitCode::FAILURE })
    }
}

/// One run, with its progress shown and its results so far written.
fn once(
    parsed: &Parsed,
    setup: &Setup,
    stop: &AtomicBool,
    progress: Option<bool>,
    status: &mut dyn FnMut(&Report) -> anyhow::Result<()>,
) -> anyhow::Result<Report> {
    let whole = parsed.jobs.iter().filter_map(|job| Some(job.runtime? + job.ramp)).max();
    let mut live = Live::new(progress, whole);
    let setup = Setup { show_disks: live.wants_disks(), ..setup.clone() };
    let mut failed = None;
    let report = isotherm_load::run(parsed, &setup, stop, &mut |sight| {
        if let Some(Err(error)) = sight.report.as_deref().map(&mut *status) {
            failed.get_or_insert(error);
        }
        live.show(&sight);
    });
    live.clear();
    match failed {
        Some(error) => Err(error),
        None => Ok(report?),
    }
}

/// Whether all logs that were asked for are there.
fn write_logs(report: &Report, folder: &Path) -> bool {
    match report.write_logs(folder) {
        Ok(_) => true,
        Err((path, error)) => {
            eprintln!("isotherm: the log {} could not be written: {error}", path.display());
            false
        }
    }
}

/// What the results say, once more where people look; a document carries it too.
fn complain(report: &Report, said: bool) {
    if !said {
        report.messages.iter().for_each(|message| eprintln!("note: {message}"));
    }
    for failure in report.failures() {
        eprintln!("isotherm: {failure}");
    }
    if report.interrupted {
        eprintln!("isotherm: stopped before its end; the results are of what ran");
    }
}

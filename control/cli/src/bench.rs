//! `isotherm bench`: fio's job files and flags on our drivers.
//!
//! What must always hold: standard output, or the file named with `--output`, carries the
//! results and nothing else; the exit code is zero only if every job ran to its end without a
//! failed request. A flag is ours (the table below) or an option of the job
//! ([`isotherm_workload::options`]); any other is an error.

use std::io::{IsTerminal, Write};
use std::process::ExitCode;

use anyhow::{Context, bail};
use isotherm_host::OsEntropy;
use isotherm_load::{Report, Setup, Sight, Style, TimeSource};
use isotherm_seam::{Domain, Entropy};
use isotherm_workload::{Environment, Kind, Parsed, Script, options};

use crate::machine;

/// Measures disks under a workload, as fio does.
#[derive(clap::Args)]
#[command(
    override_usage = "isotherm bench [--FLAG=VALUE]... [JOBFILE]...",
    after_long_help = long_help(),
    after_help = "`isotherm bench --help` lists the options of a job, with examples."
)]
pub(crate) struct BenchCommand {
    /// Flags in fio's manner, and job files; a flag before the first --name holds for all jobs
    #[arg(value_name = "FLAG OR JOBFILE", allow_hyphen_values = true, trailing_var_arg = true)]
    arguments: Vec<String>,
}

/// How results are written.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Format {
    Normal,
    Json,
}

/// The command line, taken apart.
#[derive(Debug)]
struct Line {
    setup: Setup,
    format: Format,
    output: Option<String>,
    /// Not told: whatever the terminal says.
    progress: Option<bool>,
    parse_only: bool,
    show: bool,
    /// Of job files; all if there are none.
    sections: Vec<String>,
    help: bool,
    /// Options of jobs, and job files.
    rest: Vec<String>,
}

/// A flag of the run, beside the options of a job.
struct Flag {
    name: &'static str,
    /// What its value looks like; a switch where empty.
    value: &'static str,
    help: &'static str,
    set: fn(&mut Line, &str) -> Option<()>,
}

const FLAGS: &[Flag] = &[
    Flag {
        name: "output-format",
        value: "normal|json",
        help: "how the results are written [normal]",
        set: |line, value| {
            line.format = match value {
                "normal" => Format::Normal,
                "json" => Format::Json,
                _ => return None,
            };
            Some(())
        },
    },
    Flag {
        name: "json",
        value: "",
        help: "short for --output-format=json",
        set: |line, _| {
            line.format = Format::Json;
            Some(())
        },
    },
    Flag {
        name: "output",
        value: "FILE",
        help: "write the results to FILE",
        set: |line, value| {
            line.output = Some(value.to_owned());
            Some(())
        },
    },
    Flag {
        name: "disks",
        value: "N",
        help: "N disks of the one spec that a job names, a copy of the job on each; {} in a path \
               is the number of the disk",
        set: |line, value| {
            line.setup.disks = value.parse().ok().filter(|n| (1..=4096).contains(n))?;
            Some(())
        },
    },
    Flag {
        name: "cores",
        value: "N",
        help: "use at most N cores [all]; a lane stays on one core",
        set: |line, value| {
            line.setup.cores = Some(value.parse().ok().filter(|&n| n > 0)?);
            Some(())
        },
    },
    Flag {
        name: "clock",
        value: "host|virtual",
        help: "virtual: models over memory run as fast as they compute, always the same [host]",
        set: |line, value| {
            line.setup.time = match value {
                "host" => TimeSource::Host,
                "virtual" => TimeSource::Virtual,
                _ => return None,
            };
            Some(())
        },
    },
    Flag {
        name: "seed",
        value: "N",
        help: "what made-up disks do by chance, and the addresses of jobs with randrepeat=0",
        set: |line, value| {
            line.setup.seed = value.parse().ok()?;
            Some(())
        },
    },
    Flag {
        name: "destroy",
        value: "DISK",
        help: "this block device (its path or serial) may be overwritten although it holds \
               something; may be repeated",
        set: |line, value| {
            line.setup.destroy.push(value.to_owned());
            Some(())
        },
    },
    Flag {
        name: "readonly",
        value: "",
        help: "refuse every job that writes",
        set: |line, _| {
            line.setup.read_only = true;
            Some(())
        },
    },
    Flag {
        name: "parse-only",
        value: "",
        help: "read the jobs, say what is wrong with them, run nothing",
        set: |line, _| {
            line.parse_only = true;
            Some(())
        },
    },
    Flag {
        name: "showcmd",
        value: "",
        help: "write the job files as command lines of fio, run nothing",
        set: |line, _| {
            line.show = true;
            Some(())
        },
    },
    Flag {
        name: "section",
        value: "NAME",
        help: "of the job files, only the section NAME, and what is global; may be repeated",
        set: |line, value| {
            line.sections.push(value.to_owned());
            Some(())
        },
    },
    Flag {
        name: "eta",
        value: "auto|always|never",
        help: "a line of progress on standard error [auto: if it is a terminal]",
        set: |line, value| {
            line.progress = match value {
                "auto" => None,
                "always" => Some(true),
                "never" => Some(false),
                _ => return None,
            };
            Some(())
        },
    },
    Flag {
        name: "help",
        value: "",
        help: "this text",
        set: |line, _| {
            line.help = true;
            Some(())
        },
    },
];

impl BenchCommand {
    /// Runs the jobs and writes the results.
    pub(crate) fn run(self) -> anyhow::Result<ExitCode> {
        let line = Line::read(self.arguments, OsEntropy::new()?.next_u64(SEED, 0))?;
        if line.help || line.rest.is_empty() {
            print!("{}", long_help());
            return Ok(if line.help { ExitCode::SUCCESS } else { ExitCode::FAILURE });
        }
        let environment =
            Environment { variable: &|name| std::env::var(name).ok(), machine: machine::read()? };
        let mut script = Script::from_arguments(&line.rest, &environment)?;
        script.keep(&line.sections)?;
        let parsed = Parsed::from_script(&script)?;
        if line.parse_only || line.show {
            if line.show {
                script.command_lines().iter().for_each(|command| println!("{command}"));
            }
            parsed.messages.iter().for_each(|message| eprintln!("{message}"));
            return Ok(ExitCode::SUCCESS);
        }
        // Opened first: a run whose results can't be kept should not begin.
        let output = line.output.as_ref().map(|path| {
            std::fs::File::create(path)
                .with_context(|| format!("can't write the results to {path}"))
        });
        let output = output.transpose()?;
        let stop = crate::stop::on_signal()?;
        let mut progress = Progress::new(line.progress);
        let report = isotherm_load::run(&parsed, &line.setup, &stop, &mut |sight| {
            progress.show(&sight);
        });
        progress.clear();
        let report = report?;
        let text = match line.format {
            Format::Normal => report.to_string(),
            Format::Json => isotherm_load::json_text(&report.to_json(&Style::default(), false)),
        };
        match output {
            Some(mut file) => file.write_all(text.as_bytes())?,
            None => std::io::stdout().lock().write_all(text.as_bytes())?,
        }
        complain(&report, line.format);
        let whole = report.failures().next().is_none() && !report.interrupted;
        Ok(if whole { ExitCode::SUCCESS } else { ExitCode::FAILURE })
    }
}

const SEED: Domain = Domain::new("cli.bench.seed");

impl Line {
    fn read(arguments: Vec<String>, seed: u64) -> anyhow::Result<Line> {
        let mut line = Line {
            setup: Setup { seed, ..Setup::default() },
            format: Format::Normal,
            output: None,
            progress: None,
            parse_only: false,
            show: false,
            sections: Vec::new(),
            help: false,
            rest: Vec::new(),
        };
        let mut arguments = arguments.into_iter();
        while let Some(argument) = arguments.next() {
            let text = argument.strip_prefix("--").unwrap_or("");
            let (name, value) = match text.split_once('=') {
                Some((name, value)) => (name, Some(value.to_owned())),
                None => (text, None),
            };
            let Some(flag) = FLAGS.iter().find(|flag| flag.name == name) else {
                line.rest.push(argument);
                continue;
            };
            let value = match (flag.value, value) {
                ("", None) => String::new(),
                ("", Some(_)) => bail!("--{name} takes no value"),
                (_, Some(value)) => value,
                (shape, None) => {
                    arguments.next().with_context(|| format!("--{name} needs a value: {shape}"))?
                }
            };
            if (flag.set)(&mut line, &value).is_none() {
                bail!("--{name}={value} is not understood: {} is expected", flag.value);
            }
        }
        Ok(line)
    }
}

/// What the results say, once more where people look; JSON carries it too.
fn complain(report: &Report, format: Format) {
    if format == Format::Json {
        report.messages.iter().for_each(|message| eprintln!("note: {message}"));
    }
    for failure in report.failures() {
        eprintln!("isotherm: {failure}");
    }
    if report.interrupted {
        eprintln!("isotherm: stopped before its end; the results are of what ran");
    }
}

/// One line on standard error that is written over each second.
struct Progress {
    shown: bool,
    width: usize,
}

impl Progress {
    fn new(wanted: Option<bool>) -> Progress {
        Progress { shown: wanted.unwrap_or_else(|| std::io::stderr().is_terminal()), width: 0 }
    }

    fn show(&mut self, sight: &Sight) {
        if !self.shown {
            return;
        }
        let seconds = sight.elapsed.as_secs_f64();
        let [reads, writes] = sight.iops;
        let text = format!(
            "Lanes: {}  read {reads:.0} IOPS  write {writes:.0} IOPS  {seconds:.0} s",
            sight.lanes
        );
        self.width = self.width.max(text.len());
        eprint!("\r{text:<width$}", width = self.width);
    }

    fn clear(&self) {
        if self.width > 0 {
            eprint!("\r{:width$}\r", "", width = self.width);
        }
    }
}

fn long_help() -> String {
    let mut text = String::from(
        "isotherm bench [--FLAG=VALUE]... [JOBFILE]...\n\n\
         Flags of the run:\n",
    );
    for flag in FLAGS {
        let shape = match flag.value {
            "" => format!("--{}", flag.name),
            value => format!("--{}={value}", flag.name),
        };
        text.push_str(&format!("  {shape:<30} {}\n", flag.help));
    }
    text.push_str(
        "\nOptions of a job, as --NAME=VALUE or as NAME=VALUE in a job file. A --name begins a\n\
         job; what stands before the first one holds for all jobs:\n",
    );
    for row in options() {
        if row.without_effect().is_some() {
            continue;
        }
        let names = match row.alias {
            Some(alias) => format!("{}, {alias}", row.name),
            None => row.name.to_owned(),
        };
        text.push_str(&format!("  {names:<30} {}\n", row.help));
        if let Kind::Word(words) | Kind::Pattern(words) = row.kind {
            let words: Vec<&str> = words.iter().map(|(word, _)| *word).collect();
            text.push_str(&format!("  {:<30} one of {}\n", "", words.join(" ")));
        }
    }
    let noted = options().filter(|row| row.without_effect().is_some());
    let noted: Vec<&str> = noted.map(|row| row.name).collect();
    text.push_str(&format!("  Accepted without effect, with a note: {}\n", noted.join(" ")));
    text.push_str(
        "\nA size suffix counts as in fio: k, kb are 1024, kib is 1000. A time is in seconds\n\
         unless it says us, ms, m, h or d.\n\n\
         A filename is the spec of a device if it begins with a kind of device or holds a `?`;\n\
         otherwise it is a path, or paths joined by `:` (`\\:` is a colon of the path). A job on\n\
         several files goes through them in turn, and they share its size and its iodepth. To\n\
         measure many disks at once, each with a depth of its own, use one job per disk, or\n\
         --disks. A spec is one filename, so repeat --filename for several.\n\n",
    );
    text.push_str(&isotherm_block::spec::help());
    text.push_str(
        "\nExamples:\n  \
         isotherm bench --filename=/dev/sdb --rw=randread --bs=4k --iodepth=4 --direct=1 --runtime=30\n  \
         isotherm bench --filename=null:1T --disks=256 --rw=randread --iodepth=32 --time_based --runtime=5\n  \
         isotherm bench --filename=hdd:exos-x24,null:24T --clock=virtual --rw=randread --number_ios=10000\n  \
         isotherm bench --filename='hdd:exos-x24,file:/tmp/d{}.img?size=1G' --disks=12 --rw=randread --runtime=20\n  \
         isotherm bench --output-format=json --output=out.json job.fio\n  \
         isotherm bench --filename=/dev/sdb --destroy=SERIAL --rw=write --bs=1m --iodepth=4 --direct=1\n",
    );
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(line: &str) -> anyhow::Result<Line> {
        Line::read(line.split_whitespace().map(str::to_owned).collect(), 7)
    }

    #[test]
    fn flags_of_the_run_and_of_jobs_part() {
        let line = read(
            "--rw=randread --output-format=json --disks 8 --bs 4k --destroy=a --destroy b x.fio",
        );
        let line = line.unwrap();
        assert_eq!((line.format, line.setup.disks), (Format::Json, 8));
        assert_eq!(line.setup.destroy, ["a", "b"]);
        assert_eq!(line.rest, ["--rw=randread", "--bs", "4k", "x.fio"]);
        assert_eq!(line.setup.seed, 7);
        let line = read("--showcmd --section=a --section b --parse-only x.fio").unwrap();
        assert!(line.show && line.parse_only);
        assert_eq!(
            (line.sections, line.rest),
            (vec!["a".into(), "b".into()], vec!["x.fio".into()])
        );
    }

    #[test]
    fn a_wrong_flag_says_what_was_expected() {
        let error = |line| read(line).unwrap_err().to_string();
        assert_eq!(error("--disks=0"), "--disks=0 is not understood: N is expected");
        assert_eq!(error("--json=1"), "--json takes no value");
        assert_eq!(error("--output"), "--output needs a value: FILE");
    }

    #[test]
    fn no_flag_of_the_run_is_also_an_option_of_a_job() {
        for flag in FLAGS {
            assert!(isotherm_workload::find_option(flag.name).is_none(), "{}", flag.name);
        }
    }

    #[test]
    fn the_help_names_every_option() {
        let help = long_help();
        assert!(options().all(|row| help.contains(row.name)));
    }
}

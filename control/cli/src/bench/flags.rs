//! The flags of a run: a table of them, and the command line taken apart.
//!
//! What must always hold: a flag is a row of [`FLAGS`] or left to the options of a job; what a
//! flag does not understand is an error that says what was expected.

use std::path::PathBuf;

use anyhow::{Context, bail};
use isotherm_load::{Setup, Style, TimeSource};
use isotherm_seam::Nanos;

use super::knee::Knee;
use super::writer::Writer;

/// The command line, taken apart.
pub(super) struct Line {
    pub(super) setup: Setup,
    pub(super) formats: Vec<Writer>,
    append_terse: bool,
    pub(super) style: Style,
    pub(super) output: Option<String>,
    /// Where logs are written.
    pub(super) aux: PathBuf,
    /// Which disks, as written.
    pub(super) disks: Option<String>,
    pub(super) repeat: u32,
    pub(super) knee: Option<Knee>,
    /// Not told: whatever the terminal says.
    pub(super) progress: Option<bool>,
    pub(super) parse_only: bool,
    pub(super) show: bool,
    /// Of job files; all if there are none.
    pub(super) sections: Vec<String>,
    pub(super) version: bool,
    pub(super) help: bool,
    /// Options of jobs, and job files.
    pub(super) rest: Vec<String>,
}

/// A flag of the run, beside the options of a job.
pub(super) struct Flag {
    pub(super) name: &'static str,
    /// What its value looks like; a switch where empty.
    pub(super) value: &'static str,
    pub(super) help: &'static str,
    set: fn(&mut Line, &str) -> Option<()>,
}

pub(super) const FLAGS: &[Flag] = &[
    Flag {
        name: "output-format",
        value: "FORMAT[,FORMAT]...",
        help: "how the results are written: normal terse json json+ jsonl csv html [normal]",
        set: |line, value| {
            line.formats = value.split(',').map(Writer::named).collect::<Option<Vec<_>>>()?;
            Some(())
        },
    },
    Flag {
        name: "json",
        value: "",
        help: "short for --output-format=json",
        set: |line, _| {
            line.formats = vec![Writer::named("json")?];
            Some(())
        },
    },
    Flag {
        name: "minimal",
        value: "",
        help: "short for --output-format=terse",
        set: |line, _| {
            line.formats = vec![Writer::named("terse")?];
            Some(())
        },
    },
    Flag {
        name: "append-terse",
        value: "",
        help: "write the terse format too",
        set: |line, _| {
            line.append_terse = true;
            Some(())
        },
    },
    Flag {
        name: "terse-version",
        value: "2|3|4|5",
        help: "which of fio's terse formats [3]",
        set: |line, value| {
            line.style.terse_version = value.parse().ok().filter(|n| (2..=5).contains(n))?;
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
        name: "aux-path",
        value: "FOLDER",
        help: "where logs are written [here]",
        set: |line, value| {
            line.aux = value.into();
            Some(())
        },
    },
    Flag {
        name: "status-interval",
        value: "TIME",
        help: "write the results so far, whole, every so often (seconds, or ms, m)",
        set: |line, value| {
            line.setup.status_every = Some(time(value)?);
            Some(())
        },
    },
    Flag {
        name: "disks",
        value: "N|GLOB|@rotational|@all|FILE",
        help: "N: N disks of the one spec that a job names, {} in a path is the number of the disk; \
               else the disks by name (FILE has one on each line), in place of filename or of its {}; \
               a copy of the job on each",
        set: |line, value| {
            line.disks = Some(value.to_owned());
            Some(())
        },
    },
    Flag {
        name: "repeat",
        value: "N",
        help: "run N times: median and spread of each number",
        set: |line, value| {
            line.repeat = value.parse().ok().filter(|n| (1..=1000).contains(n))?;
            Some(())
        },
    },
    Flag {
        name: "find-knee",
        value: "pN=TIME",
        help: "search the offered rate up to which a percentile of the response time stays below \
               TIME, such as p99=50ms; says one number only with --repeat=3 or more",
        set: |line, value| {
            line.knee = Some(Knee::read(value)?);
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
        help: "progress on standard error, for several disks a bar for each, worst first \
               [auto: if it is a terminal]",
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
        name: "eta-newline",
        value: "TIME",
        help: "taken, and without effect: progress is a line each second where it is no terminal",
        set: |_, value| time(value).map(drop),
    },
    Flag {
        name: "version",
        value: "",
        help: "the version, and nothing else",
        set: |line, _| {
            line.version = true;
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

impl Line {
    pub(super) fn read(arguments: Vec<String>, seed: u64) -> anyhow::Result<Line> {
        let mut line = Line {
            setup: Setup { seed, ..Setup::default() },
            formats: Vec::new(),
            append_terse: false,
            style: Style::default(),
            output: None,
            aux: PathBuf::new(),
            disks: None,
            repeat: 1,
            knee: None,
            progress: None,
            parse_only: false,
            show: false,
            sections: Vec::new(),
            version: false,
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
        if line.formats.is_empty() {
            line.formats.extend(Writer::named("normal"));
        }
        if line.append_terse && !line.formats.iter().any(|format| format.name == "terse") {
            line.formats.extend(Writer::named("terse"));
        }
        line.formats.sort_by_key(Writer::turn);
        Ok(line)
    }
}

/// A time as fio writes it: seconds, unless a unit is given.
pub(super) fn time(text: &str) -> Option<Nanos> {
    let digits = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let ns = match unit {
        "us" => 1e3,
        "ms" => 1e6,
        "" | "s" => 1e9,
        "m" => 60e9,
        "h" => 3600e9,
        _ => return None,
    };
    let ns = number.parse::<f64>().ok()? * ns;
    (ns >= 1.0).then_some(Nanos(ns as u64))
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
        assert_eq!(line.formats.iter().map(|f| f.name).collect::<Vec<_>>(), ["json"]);
        assert_eq!(line.disks.as_deref(), Some("8"));
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
        let error = |line| read(line).err().expect("it is wrong").to_string();
        assert_eq!(error("--repeat=0"), "--repeat=0 is not understood: N is expected");
        assert_eq!(error("--json=1"), "--json takes no value");
        assert_eq!(error("--output"), "--output needs a value: FILE");
    }

    #[test]
    fn several_formats_are_written_in_fios_order() {
        let names = |line| {
            let line = read(line).unwrap();
            line.formats.iter().map(|format| format.name).collect::<Vec<_>>()
        };
        assert_eq!(names("--output-format=normal,json+,terse"), ["terse", "json+", "normal"]);
        assert_eq!(names("--append-terse --output-format normal"), ["terse", "normal"]);
        assert_eq!(names("--minimal"), ["terse"]);
        assert!(read("--output-format=xml").is_err());
    }

    #[test]
    fn times_are_seconds_unless_they_say_otherwise() {
        let cases = [("2", 2_000_000_000), ("50ms", 50_000_000), ("1.5s", 1_500_000_000)];
        for (text, ns) in cases {
            assert_eq!(time(text), Some(Nanos(ns)));
        }
        assert_eq!((time("0"), time("x"), time("1y")), (None, None, None));
    }

    #[test]
    fn no_flag_of_the_run_is_also_an_option_of_a_job() {
        for flag in FLAGS {
            assert!(isotherm_workload::find_option(flag.name).is_none(), "{}", flag.name);
        }
    }
}

//! From arguments and job files to jobs.
//!
//! What must always hold: every error and every message says where its cause stands, as file
//! and line or as the flag; an option is applied, noted or refused, never dropped. Defaults
//! come first, then what is global, then the section's own, in the order of writing.

use core::fmt;
use std::sync::Arc;

use crate::option::{self, Kind, OptionRow};
use crate::quantity::{self, Expected};
use crate::{Job, jobfile};

/// Where values of `${NAME}` come from: the environment of the process, or a test's.
pub type Environment<'a> = &'a dyn Fn(&str) -> Option<String>;

/// Where an option stands.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Place {
    /// In a job file.
    File {
        /// As the user named it.
        file: Arc<str>,
        /// Counted from 1; 0 is the file as a whole.
        line: u32,
    },
    /// On the command line.
    Flag {
        /// The argument as it was given.
        argument: Arc<str>,
    },
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Place::File { file, line: 0 } => write!(f, "{file}"),
            Place::File { file, line } => write!(f, "{file}:{line}"),
            Place::Flag { argument } => write!(f, "{argument}"),
        }
    }
}

/// What could not be understood, and where it stands. Nothing was run.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("{place}: {cause}")]
pub struct ParseError {
    /// Where.
    pub place: Place,
    /// What.
    pub cause: ParseCause,
}

impl ParseError {
    /// `cause` stands at `place`.
    pub(crate) fn new(place: Place, cause: ParseCause) -> ParseError {
        ParseError { place, cause }
    }
}

/// What could not be understood.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum ParseCause {
    /// No such option.
    #[error("unknown option {name:?}{}", near.map_or(String::new(), |n| format!(": did you mean {n}?")))]
    UnknownOption {
        /// As written.
        name: String,
        /// What may have been meant.
        near: Option<&'static str>,
    },
    /// An option of fio's that is not built here.
    #[error("the option {name:?} of fio is not supported")]
    NotSupported {
        /// As written.
        name: String,
    },
    /// A value that the option does not take.
    #[error("{option}={value} is not understood: {expected} is expected")]
    BadValue {
        /// The option's name.
        option: &'static str,
        /// As written; empty if there was none.
        value: String,
        /// What it takes.
        expected: Expected,
    },
    /// An option of a job file that stands in no section.
    #[error("an option before the first [section]")]
    NoSection,
    /// A line that begins a section and does not end it.
    #[error("a section begins with [name]")]
    BadSection,
    /// `${` without its end.
    #[error("${{ without its }}")]
    OpenVariable,
    /// A variable that the environment has not.
    #[error("the environment has no {name}")]
    UndefinedVariable {
        /// Its name.
        name: String,
    },
    /// A file that can't be read.
    #[error("can't read the job file: {}", std::io::Error::from(*kind))]
    Unreadable {
        /// As the system said.
        kind: std::io::ErrorKind,
    },
    /// A file, or a command line, without any job.
    #[error("there is no job in it")]
    NoJob,
    /// `time_based` without an end.
    #[error("time_based needs a runtime")]
    Endless,
    /// fio's short flags have no meaning here.
    #[error("a single dash begins no option here: write --{name}")]
    SingleDash {
        /// Without the dash.
        name: String,
    },
}

/// Something accepted that the user should know of.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Message {
    /// Where its cause stands.
    pub place: Place,
    /// A sentence for people.
    pub text: String,
}

impl fmt::Display for Message {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.place, self.text)
    }
}

/// Jobs, and what is to be said about how they were read.
#[derive(Clone, Debug, Default)]
pub struct Parsed {
    /// In the order of writing.
    pub jobs: Vec<Job>,
    /// The settings of global sections, as written.
    pub global: Vec<(String, String)>,
    /// What was accepted and has no effect, or another than it seems.
    pub messages: Vec<Message>,
}

pub(crate) struct Section {
    pub(crate) name: String,
    pub(crate) settings: Vec<Setting>,
}

#[derive(Clone)]
pub(crate) struct Setting {
    pub(crate) name: String,
    pub(crate) value: Option<String>,
    pub(crate) place: Place,
}

/// What a command line without `--name` calls its job.
const UNNAMED: &str = "bench";

impl Parsed {
    /// Reads a command line in fio's manner: flags `--option=value` or `--option value`, each
    /// `--name` beginning a job, what stands before the first being global; anything that does
    /// not begin with a dash is a job file. Between the jobs of several files is a stonewall.
    pub fn from_arguments(
        arguments: &[String],
        environment: Environment<'_>,
    ) -> Result<Parsed, ParseError> {
        let (mut sections, files) = cut_arguments(arguments)?;
        let only_global = sections.len() == 1;
        if only_global && files.is_empty() {
            // They are the job's own: there is no other.
            sections[0].name = UNNAMED.to_owned();
        }
        let mut parsed = Parsed::default();
        let mut global = Vec::new();
        parsed.resolve(sections, &mut global)?;
        for (index, path) in files.iter().enumerate() {
            let file: Arc<str> = path.as_str().into();
            let text = std::fs::read_to_string(path).map_err(|error| {
                let place = Place::File { file: Arc::clone(&file), line: 0 };
                ParseError::new(place, ParseCause::Unreadable { kind: error.kind() })
            })?;
            let first = parsed.jobs.len();
            parsed.add_file(&file, &text, environment, &mut global.clone())?;
            if index > 0 {
                parsed.jobs[first].stonewall = true;
            }
        }
        Ok(parsed)
    }

    /// Reads the text of a job file; `file` is what messages call it.
    pub fn from_text(
        file: &str,
        text: &str,
        environment: Environment<'_>,
    ) -> Result<Parsed, ParseError> {
        let mut parsed = Parsed::default();
        parsed.add_file(&file.into(), text, environment, &mut Vec::new())?;
        Ok(parsed)
    }

    fn add_file(
        &mut self,
        file: &Arc<str>,
        text: &str,
        environment: Environment<'_>,
        global: &mut Vec<Setting>,
    ) -> Result<(), ParseError> {
        let before = self.jobs.len();
        self.resolve(jobfile::sections(file, text, environment)?, global)?;
        if self.jobs.len() == before {
            let place = Place::File { file: Arc::clone(file), line: 0 };
            return Err(ParseError::new(place, ParseCause::NoJob));
        }
        Ok(())
    }

    /// Turns sections into jobs. `global` is what holds so far, and grows.
    fn resolve(
        &mut self,
        sections: Vec<Section>,
        global: &mut Vec<Setting>,
    ) -> Result<(), ParseError> {
        for section in sections {
            if section.name.starts_with("global") {
                for setting in section.settings {
                    // Read once for its errors and notes, whether or not a job follows.
                    self.apply(&mut Job::new(""), &setting)?;
                    self.global.push(as_written(&setting));
                    global.push(setting);
                }
                continue;
            }
            let mut job = Job::new(&section.name);
            for setting in global.iter() {
                // Its notes were taken when it was read.
                let noted = self.messages.len();
                self.apply(&mut job, setting)?;
                self.messages.truncate(noted);
            }
            job.name.clone_from(&section.name);
            if section.settings.iter().any(|setting| setting.name == "filename") {
                // A section's own files replace the global ones.
                job.filenames.clear();
            }
            for setting in &section.settings {
                self.apply(&mut job, setting)?;
                job.given.push(as_written(setting));
            }
            if job.time_based && job.runtime.is_none() {
                let place = job.places["time_based"].clone();
                return Err(ParseError::new(place, ParseCause::Endless));
            }
            self.jobs.push(job);
        }
        Ok(())
    }

    fn apply(&mut self, job: &mut Job, setting: &Setting) -> Result<(), ParseError> {
        let Setting { name, value, place } = setting;
        let fail = |cause| Err(ParseError::new(place.clone(), cause));
        let Some(row) = option::find(name) else {
            if option::NOT_BUILT.split_whitespace().any(|known| known == name) {
                return fail(ParseCause::NotSupported { name: name.clone() });
            }
            return fail(ParseCause::UnknownOption {
                name: name.clone(),
                near: option::nearest(name),
            });
        };
        if let Err(expected) = row.apply(job, value.as_deref()) {
            let value = value.clone().unwrap_or_default();
            return fail(ParseCause::BadValue { option: row.name, value, expected });
        }
        job.places.insert(row.name, place.clone());
        self.note(row, value.as_deref(), place);
        Ok(())
    }

    fn note(&mut self, row: &OptionRow, value: Option<&str>, place: &Place) {
        let mut say = |text| self.messages.push(Message { place: place.clone(), text });
        if let Kind::Noted(why) = row.kind {
            say(format!("{} has no effect: {why}", row.name));
        }
        if matches!(row.kind, Kind::Extent(_) | Kind::BlockSize(_))
            && let Some(value) = value.filter(|value| quantity::is_decimal_trap(value))
        {
            say(format!("{}={value} counts in thousands, as in fio: kib is 1000", row.name));
        }
    }
}

fn as_written(setting: &Setting) -> (String, String) {
    let value = setting.value.clone().unwrap_or_else(|| "1".to_owned());
    (setting.name.clone(), value)
}

/// Flags as sections, the first being what is global, and the job files.
fn cut_arguments(arguments: &[String]) -> Result<(Vec<Section>, Vec<String>), ParseError> {
    let mut sections = vec![Section { name: "global".to_owned(), settings: Vec::new() }];
    let mut files = Vec::new();
    let mut rest = arguments.iter().peekable();
    while let Some(argument) = rest.next() {
        let place = Place::Flag { argument: argument.as_str().into() };
        let Some(flag) = argument.strip_prefix("--") else {
            if let Some(name) = argument.strip_prefix('-') {
                let cause = ParseCause::SingleDash { name: name.to_owned() };
                return Err(ParseError::new(place, cause));
            }
            files.push(argument.clone());
            continue;
        };
        let (name, value) = match flag.split_once('=') {
            Some((name, value)) => (name, Some(value.to_owned())),
            None => {
                let wants_value = option::find(flag).is_some_and(|row| !row.value_is_optional());
                let next = wants_value.then(|| rest.next_if(|next| !next.starts_with("--")));
                (flag, next.flatten().cloned())
            }
        };
        // fio takes dashes for underscores on the command line.
        let name = name.replace('-', "_");
        let setting = Setting { name, value, place };
        if setting.name == "name" {
            let name = setting.value.clone().unwrap_or_default();
            sections.push(Section { name, settings: Vec::new() });
        }
        sections.last_mut().expect("the global one at least").settings.push(setting);
    }
    Ok((sections, files))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Engine, Extent, Pattern};
    use isotherm_seam::Nanos;

    fn empty(_: &str) -> Option<String> {
        None
    }

    fn flags(line: &str) -> Result<Parsed, ParseError> {
        let arguments: Vec<String> = line.split_whitespace().map(str::to_owned).collect();
        Parsed::from_arguments(&arguments, &empty)
    }

    #[test]
    fn a_plain_job_file() {
        let text = "[global]\nioengine=libaio\nbs=8k\n[one]\nrw=randread\nsize=50%\niodepth=32\n\
                    [global2]\nruntime=10\n[two]\nrw=write\nbs=1m\nstonewall\ntime_based\n";
        let parsed = Parsed::from_text("a.fio", text, &empty).unwrap();
        let [one, two] = &parsed.jobs[..] else { panic!("{parsed:?}") };
        assert_eq!((one.name.as_str(), one.block_bytes, one.depth), ("one", 8192, 32));
        assert_eq!(one.size, Some(Extent::Percent(50)));
        assert_eq!(one.engine, Engine::Async("libaio"));
        assert_eq!((one.runtime, two.runtime), (None, Some(Nanos::from_secs(10))));
        assert_eq!((two.block_bytes, two.stonewall, two.time_based), (1 << 20, true, true));
        assert_eq!(two.pattern, Pattern { random: false, reads: false, writes: true });
        assert_eq!(two.given[2], ("stonewall".to_owned(), "1".to_owned()));
        assert_eq!(parsed.global.len(), 3);
        assert_eq!(one.place("rw").unwrap().to_string(), "a.fio:5");
    }

    #[test]
    fn a_command_line_is_a_job() {
        let parsed = flags("--rw=randread --bs 4k --filename=null:1t --time_based --runtime=1");
        let parsed = parsed.unwrap();
        let [job] = &parsed.jobs[..] else { panic!("{parsed:?}") };
        assert_eq!((job.name.as_str(), job.time_based), ("bench", true));
        assert_eq!(job.filenames, ["null:1t"]);
        assert_eq!(job.given.len(), 5);
        assert!(parsed.global.is_empty());
    }

    #[test]
    fn flags_before_the_first_name_are_global() {
        let parsed = flags("--bs=8k --name=a --rw=write --name=b --bs=16k").unwrap();
        let sizes: Vec<(String, u64)> =
            parsed.jobs.into_iter().map(|j| (j.name, j.block_bytes)).collect();
        assert_eq!(sizes, [("a".to_owned(), 8192), ("b".to_owned(), 16_384)]);
        assert_eq!(parsed.global, [("bs".to_owned(), "8k".to_owned())]);
    }

    #[test]
    fn several_files_are_walled_off_and_share_the_flags() {
        let dir = std::env::temp_dir().join(format!("isotherm-workload-{}", std::process::id()));
        std::fs::create_dir_all(&dir).unwrap();
        let paths = ["a", "b"].map(|name| {
            let path = dir.join(name);
            std::fs::write(&path, format!("[{name}]\nrw=read\n")).unwrap();
            path.to_str().unwrap().to_owned()
        });
        let mut arguments = vec!["--iodepth=7".to_owned()];
        arguments.extend(paths);
        let parsed = Parsed::from_arguments(&arguments, &empty);
        std::fs::remove_dir_all(&dir).unwrap();
        let jobs = parsed.unwrap().jobs;
        assert_eq!(
            jobs.iter().map(|j| (j.depth, j.stonewall)).collect::<Vec<_>>(),
            [(7, false), (7, true)]
        );
    }

    #[test]
    fn files_add_up_and_a_sections_own_replace_the_global_ones() {
        let text = "[global]\nfilename=g\n[a]\n[b]\nfilename=x\nfilename=y:z\n";
        let jobs = Parsed::from_text("a.fio", text, &empty).unwrap().jobs;
        assert_eq!(jobs[0].filenames, ["g"]);
        assert_eq!(jobs[1].filenames, ["x", "y:z"]);
    }

    #[test]
    fn what_has_no_effect_is_said_once() {
        let text = "[global]\nthread\n[a]\nbs=4kib\n[b]\n";
        let messages = Parsed::from_text("a.fio", text, &empty).unwrap().messages;
        let texts: Vec<String> = messages.iter().map(Message::to_string).collect();
        assert_eq!(texts.len(), 2, "{texts:?}");
        assert!(texts[0].starts_with("a.fio:2: thread has no effect"), "{texts:?}");
        assert_eq!(texts[1], "a.fio:4: bs=4kib counts in thousands, as in fio: kib is 1000");
    }

    #[test]
    fn each_error_names_its_place() {
        let cases = [
            ("[a]\niodpeth=3\n", "a.fio:2: unknown option \"iodpeth\": did you mean iodepth?"),
            ("[a]\nxyzzy=3\n", "a.fio:2: unknown option \"xyzzy\""),
            ("[a]\nverify=md5\n", "a.fio:2: the option \"verify\" of fio is not supported"),
            (
                "[a]\n\nbs=4x\n",
                "a.fio:3: bs=4x is not understood: a size such as 4096, 4k or 1m is expected",
            ),
            (
                "[global]\niodepth=0\n[a]",
                "a.fio:2: iodepth=0 is not understood: a whole number from 1 to 4096 is expected",
            ),
            ("[a]\nruntime=0\ntime_based=1\n", "a.fio:3: time_based needs a runtime"),
            ("[global]\nbs=4k\n", "a.fio: there is no job in it"),
        ];
        for (text, expected) in cases {
            let error = Parsed::from_text("a.fio", text, &empty).unwrap_err();
            assert_eq!(error.to_string(), expected);
        }
        let error = Parsed::from_text("a.fio", "[a]\nrw=trim\n", &empty).unwrap_err().to_string();
        assert!(error.contains("one of read, write, randread"), "{error}");
        assert_eq!(
            flags("--iodpeth=3").unwrap_err().to_string(),
            "--iodpeth=3: unknown option \"iodpeth\": did you mean iodepth?"
        );
        assert_eq!(
            flags("nowhere.fio").unwrap_err().to_string(),
            "nowhere.fio: can't read the job file: entity not found"
        );
        assert!(flags("-rw=read").is_err());
    }
}

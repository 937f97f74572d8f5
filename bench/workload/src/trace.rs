//! Recorded I/O: fio's iologs, versions 2 and 3, read line by line.
//!
//! ```text
//! fio version 3 iolog
//! 0 /dev/sda add
//! 12 /dev/sda read 8192 4096      microseconds since the start, file, what, offset, bytes
//! ```
//!
//! Version 2 has no times, but lines that wait: `FILE wait N 0` is, in what fio does and not in
//! what its manual says, until N milliseconds after the start.
//!
//! What must always hold: a log is never held in memory; times never run backwards, as in fio,
//! where what seems to is taken for now; what a line may not be is told with its number.

use std::io::{self, BufRead};

use isotherm_seam::Nanos;

/// How a log is replayed.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ReplayPlan {
    /// Logs, one for each copy of the job in turn.
    pub logs: Vec<String>,
    /// As fast as it goes; the order is kept.
    pub no_stall: bool,
    /// All goes to this device.
    pub redirect: Option<String>,
    /// Recorded names and what stands for them here.
    pub map: Vec<(String, String)>,
    /// Speed, in percent of the recorded one.
    pub speed_percent: u32,
    /// Offsets are brought down to a multiple of this, a power of two.
    pub align: u64,
    /// And divided by this first.
    pub shrink: u64,
    /// What is left out.
    pub skip: Skip,
}

/// What is left out of a log.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Skip {
    /// Reads.
    pub reads: bool,
    /// Writes.
    pub writes: bool,
    /// Trims.
    pub trims: bool,
    /// Flushes.
    pub syncs: bool,
}

impl Default for ReplayPlan {
    fn default() -> ReplayPlan {
        ReplayPlan {
            logs: Vec::new(),
            no_stall: false,
            redirect: None,
            map: Vec::new(),
            speed_percent: 100,
            align: 0,
            shrink: 1,
            skip: Skip::default(),
        }
    }
}

impl ReplayPlan {
    /// The file that stands for a recorded one.
    pub fn file<'a>(&'a self, recorded: &'a str) -> &'a str {
        let mapped = self.map.iter().find(|(from, _)| from == recorded).map(|(_, to)| to.as_str());
        self.redirect.as_deref().or(mapped).unwrap_or(recorded)
    }
}

/// What one line asks for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Act {
    /// These bytes.
    Read {
        /// Where, in bytes.
        offset: u64,
        /// How many.
        bytes: u32,
    },
    /// These bytes.
    Write {
        /// Where, in bytes.
        offset: u64,
        /// How many.
        bytes: u32,
    },
    /// All that was written so far.
    Sync,
}

/// One request of a log.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Step {
    /// When, since the start; `None` is as soon as can be.
    pub at: Option<Nanos>,
    /// Which file, in the order in which they were added.
    pub file: usize,
    /// What.
    pub act: Act,
}

/// What is wrong with a log.
#[derive(Debug, thiserror::Error)]
#[error("line {line}: {cause}")]
pub struct TraceError {
    /// From 1.
    pub line: u64,
    /// Why.
    pub cause: TraceCause,
}

/// Why a line is refused.
#[derive(Debug, thiserror::Error)]
pub enum TraceCause {
    /// The first line.
    #[error("\"{found}\" is not the head of an iolog: \"fio version 2 iolog\" or 3 is expected")]
    Head {
        /// As it stands.
        found: String,
    },
    /// Neither of the forms.
    #[error("\"{found}\" is not a line of version {version}: {expected}")]
    Form {
        /// As it stands.
        found: String,
        /// Of the log.
        version: u8,
        /// The forms.
        expected: &'static str,
    },
    /// An action that is not built.
    #[error("the action {action} is not supported: leave it out with replay_skip={action}")]
    Action {
        /// Its name.
        action: String,
    },
    /// A file that no line has added.
    #[error("{file} was not added")]
    NotAdded {
        /// Its name.
        file: String,
    },
    /// It can't be read.
    #[error(transparent)]
    Io(#[from] io::Error),
}

/// A log, line by line.
pub struct Trace<R> {
    input: R,
    plan: ReplayPlan,
    version: u8,
    line: u64,
    text: String,
    /// Names after mapping, each once.
    files: Vec<String>,
    /// The latest time.
    at: Option<Nanos>,
    /// The last time of the log, in microseconds.
    recorded_us: Option<u64>,
}

/// What a log has in it.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct TraceSurvey {
    /// The files that it uses, as they are called here.
    pub files: Vec<FileSurvey>,
    /// Requests that carry bytes.
    pub ios: u64,
    /// Flushes.
    pub syncs: u64,
    /// The longest request, in bytes.
    pub longest: u32,
    /// Whether times are kept.
    pub timed: bool,
    /// From its start to its last request.
    pub span: Nanos,
}

/// What a log does with a file.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct FileSurvey {
    /// Its name here.
    pub name: String,
    /// Bytes read.
    pub read_bytes: u64,
    /// Bytes written.
    pub written_bytes: u64,
    /// Behind the last byte.
    pub end: u64,
    /// What all offsets and lengths are multiples of.
    pub unit: u64,
}

const FORM_2: &str = "FILE ACTION, or FILE ACTION OFFSET LENGTH";
const FORM_3: &str = "MICROSECONDS FILE ACTION, or MICROSECONDS FILE ACTION OFFSET LENGTH";

impl<R: BufRead> Trace<R> {
    /// Reads the head.
    pub fn new(input: R, plan: &ReplayPlan) -> Result<Trace<R>, TraceError> {
        let mut trace = Trace {
            input,
            plan: plan.clone(),
            version: 0,
            line: 0,
            text: String::new(),
            files: Vec::new(),
            at: None,
            recorded_us: None,
        };
        trace.read_line()?;
        trace.version = match trace.text.trim() {
            "fio version 2 iolog" => 2,
            "fio version 3 iolog" => 3,
            found => {
                let found = found.chars().take(40).collect();
                return Err(trace.fail(TraceCause::Head { found }));
            }
        };
        Ok(trace)
    }

    fn fail(&self, cause: TraceCause) -> TraceError {
        TraceError { line: self.line, cause }
    }

    /// The next line into `text`; whether there was one.
    fn read_line(&mut self) -> Result<bool, TraceError> {
        self.text.clear();
        self.line += 1;
        let bytes = self.input.read_line(&mut self.text).map_err(|e| self.fail(e.into()))?;
        Ok(bytes > 0)
    }

    /// The next request. `None` at the end.
    pub fn next_step(&mut self) -> Result<Option<Step>, TraceError> {
        while self.read_line()? {
            if let Some(step) = self.take_line()? {
                return Ok(Some(step));
            }
        }
        Ok(None)
    }

    fn take_line(&mut self) -> Result<Option<Step>, TraceError> {
        let text = std::mem::take(&mut self.text);
        let step = self.parse(text.trim());
        self.text = text;
        step
    }

    fn parse(&mut self, text: &str) -> Result<Option<Step>, TraceError> {
        if text.is_empty() {
            return Ok(None);
        }
        let mut words = text.split_ascii_whitespace();
        let (version, line) = (self.version, self.line);
        let form = || {
            let expected = if version == 2 { FORM_2 } else { FORM_3 };
            let found = text.chars().take(80).collect();
            TraceError { line, cause: TraceCause::Form { found, version, expected } }
        };
        if self.version == 3 {
            let time = words.next().and_then(|word| word.parse().ok()).ok_or_else(form)?;
            self.pass_time(time);
        }
        let (Some(file), Some(action)) = (words.next(), words.next()) else { return Err(form()) };
        let numbers: Vec<u64> =
            words.map(str::parse).collect::<Result<_, _>>().map_err(|_| form())?;
        match (action, &numbers[..]) {
            ("add", []) => {
                let name = self.plan.file(file);
                if !self.files.iter().any(|known| known == name) {
                    self.files.push(name.to_owned());
                }
                Ok(None)
            }
            ("open" | "close", []) => self.number(file).map(|_| None),
            ("wait", [until_ms, _]) if self.version == 2 => {
                let until = Nanos::from_millis(*until_ms);
                if !self.plan.no_stall {
                    self.at = Some(self.at.map_or(until, |at| at.max(until)));
                }
                Ok(None)
            }
            ("read" | "write" | "sync" | "datasync" | "trim", [offset, bytes]) => {
                let file = self.number(file)?;
                let bytes = u32::try_from(*bytes).map_err(|_| form())?;
                self.step(file, action, *offset, bytes)
            }
            _ => Err(form()),
        }
    }

    fn step(
        &self,
        file: usize,
        action: &str,
        offset: u64,
        bytes: u32,
    ) -> Result<Option<Step>, TraceError> {
        let (plan, skip) = (&self.plan, self.plan.skip);
        let mut offset = offset / plan.shrink.max(1);
        if plan.align > 0 {
            offset &= !(plan.align - 1);
        }
        let (left_out, act) = match action {
            "read" => (skip.reads, Act::Read { offset, bytes }),
            "write" => (skip.writes, Act::Write { offset, bytes }),
            "trim" if skip.trims => return Ok(None),
            "trim" => return Err(self.fail(TraceCause::Action { action: action.to_owned() })),
            _ => (skip.syncs, Act::Sync),
        };
        // As in fio, a request of no bytes is none.
        let empty = bytes == 0 && act != Act::Sync;
        Ok((!left_out && !empty).then_some(Step { at: self.at, file, act }))
    }

    fn number(&self, recorded: &str) -> Result<usize, TraceError> {
        let name = self.plan.file(recorded);
        let known = self.files.iter().position(|known| known == name);
        known.ok_or_else(|| self.fail(TraceCause::NotAdded { file: recorded.to_owned() }))
    }

    /// A line of version 3 has this time.
    fn pass_time(&mut self, recorded_us: u64) {
        let since = recorded_us.saturating_sub(self.recorded_us.unwrap_or(0));
        self.recorded_us = Some(recorded_us);
        if !self.plan.no_stall {
            let speed = u128::from(self.plan.speed_percent.max(1));
            let scaled = u128::from(since) * 1_000 * 100 / speed;
            let scaled = Nanos(u64::try_from(scaled).unwrap_or(u64::MAX));
            self.at = Some(self.at.map_or(scaled, |at| at + scaled));
        }
    }

    /// Reads all of it, and tells what is in it.
    pub fn survey(mut self) -> Result<TraceSurvey, TraceError> {
        let mut survey = TraceSurvey::default();
        while let Some(step) = self.next_step()? {
            let known = |index: usize| FileSurvey {
                name: self.files[index].clone(),
                ..FileSurvey::default()
            };
            while survey.files.len() <= step.file {
                survey.files.push(known(survey.files.len()));
            }
            survey.timed |= step.at.is_some();
            survey.span = survey.span.max(step.at.unwrap_or_default());
            let (offset, bytes) = match step.act {
                Act::Read { offset, bytes } | Act::Write { offset, bytes } => (offset, bytes),
                Act::Sync => {
                    survey.syncs += 1;
                    continue;
                }
            };
            survey.ios += 1;
            survey.longest = survey.longest.max(bytes);
            let file = &mut survey.files[step.file];
            match step.act {
                Act::Read { .. } => file.read_bytes += u64::from(bytes),
                _ => file.written_bytes += u64::from(bytes),
            }
            file.end = file.end.max(offset.saturating_add(u64::from(bytes)));
            for number in [offset, u64::from(bytes)] {
                file.unit = common(file.unit, number);
            }
        }
        Ok(survey)
    }
}

/// The greatest common divisor; 0 counts for nothing.
fn common(mut a: u64, mut b: u64) -> u64 {
    while b > 0 {
        (a, b) = (b, a % b);
    }
    a
}

#[cfg(test)]
mod tests {
    use super::*;

    fn steps(log: &str, plan: &ReplayPlan) -> Result<Vec<Step>, TraceError> {
        let mut trace = Trace::new(log.as_bytes(), plan)?;
        let mut steps = Vec::new();
        while let Some(step) = trace.next_step()? {
            steps.push(step);
        }
        Ok(steps)
    }

    const V3: &str = "fio version 3 iolog\n0 /a add\n5 /b add\n10 /a open\n\
                      1000 /a read 8192 4096\n3000 /b write 0 512\n2000 /a sync 0 0\n\
                      4000 /b read 1000 0\n5000 /a close\n";

    #[test]
    fn times_files_and_acts_of_version_3() {
        let us = |us: u64| Some(Nanos::from_micros(us));
        let read = Act::Read { offset: 8192, bytes: 4096 };
        let write = Act::Write { offset: 0, bytes: 512 };
        let expected = [
            Step { at: us(1000), file: 0, act: read },
            Step { at: us(3000), file: 1, act: write },
            // It went backwards, and is taken for now.
            Step { at: us(3000), file: 0, act: Act::Sync },
        ];
        assert_eq!(steps(V3, &ReplayPlan::default()).unwrap(), expected);
    }

    #[test]
    fn speed_skips_offsets_and_devices_are_as_asked() {
        let plan = ReplayPlan {
            speed_percent: 200,
            shrink: 2,
            align: 4096,
            skip: Skip { syncs: true, ..Skip::default() },
            map: vec![("/b".into(), "/c".into())],
            ..ReplayPlan::default()
        };
        let found = steps(V3, &plan).unwrap();
        assert_eq!(found[0].act, Act::Read { offset: 4096, bytes: 4096 });
        assert_eq!((found.len(), found[1].at), (2, Some(Nanos::from_micros(1500))));
        let survey = Trace::new(V3.as_bytes(), &plan).unwrap().survey().unwrap();
        let names: Vec<&str> = survey.files.iter().map(|file| file.name.as_str()).collect();
        assert_eq!(names, ["/a", "/c"]);
        let one =
            ReplayPlan { redirect: Some("/d".into()), no_stall: true, ..ReplayPlan::default() };
        let survey = Trace::new(V3.as_bytes(), &one).unwrap().survey().unwrap();
        let file = FileSurvey {
            name: "/d".into(),
            read_bytes: 4096,
            written_bytes: 512,
            end: 12_288,
            unit: 512,
        };
        let whole = TraceSurvey {
            files: vec![file],
            ios: 2,
            syncs: 1,
            longest: 4096,
            timed: false,
            span: Nanos::ZERO,
        };
        assert_eq!(survey, whole);
    }

    #[test]
    fn version_2_waits_until_a_time() {
        let log = "fio version 2 iolog\n/a add\n/a read 0 512\n/a wait 7 0\n/a read 512 512\n";
        let found = steps(log, &ReplayPlan::default()).unwrap();
        assert_eq!((found[0].at, found[1].at), (None, Some(Nanos::from_millis(7))));
        let plan = ReplayPlan { no_stall: true, ..ReplayPlan::default() };
        assert_eq!(steps(log, &plan).unwrap()[1].at, None);
    }

    #[test]
    fn a_line_that_is_none_is_named() {
        let said = |log: &str| steps(log, &ReplayPlan::default()).unwrap_err().to_string();
        assert!(said("fio version 9 iolog\n").starts_with("line 1: \"fio version 9 iolog\""));
        assert!(said("").starts_with("line 1: \"\" is not the head"));
        let v3 = |line: &str| said(&format!("fio version 3 iolog\n0 /a add\n{line}\n"));
        assert_eq!(v3("1 /b read 0 512"), "line 3: /b was not added");
        assert!(v3("1 /a wait 5 0").contains("is not a line of version 3: MICROSECONDS FILE"));
        assert!(v3("x /a read 0 1").starts_with("line 3: \"x /a read 0 1\""));
        assert!(v3("1 /a read 0").starts_with("line 3"));
        assert!(v3("1 /a read 0 5000000000").starts_with("line 3"));
        assert!(v3("1 /a trim 0 512").contains("replay_skip=trim"));
    }
}

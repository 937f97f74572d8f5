//! Jobs that replay a log: what must be known of it before anything is opened.
//!
//! What must always hold: a log is read through once before its run, so that a line that can't be
//! is told before anything is sent, and every file is there and long enough.

use std::fs::File;
use std::io::BufReader;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use isotherm_workload::{Job, SizeLaw, Trace, TraceError, TraceSurvey};

use crate::setup::{SetupCause, SetupError};

/// The log of one copy of a job.
#[derive(Clone, Debug)]
pub(crate) struct Replay {
    pub(crate) log: PathBuf,
    pub(crate) survey: Arc<TraceSurvey>,
}

/// The logs of a job, read through; none if it replays none. The job is made one that fits them:
/// what a pattern would say of it, the logs say.
pub(crate) fn prepare(job: &mut Job) -> Result<Vec<Replay>, SetupError> {
    let logs = job.replay.logs.iter().map(|log| {
        let log = PathBuf::from(log);
        let fail = |cause| SetupError::new(job, "read_iolog", cause);
        let survey = open(&log, job).and_then(|trace| {
            let survey = trace.survey();
            survey.map_err(|error| broken(&log, error))
        });
        let survey = survey.map_err(fail)?;
        if survey.ios == 0 {
            return Err(fail(SetupCause::EmptyTrace { log }));
        }
        Ok(Replay { log, survey: Arc::new(survey) })
    });
    let replays: Vec<Replay> = logs.collect::<Result<_, _>>()?;
    if replays.is_empty() {
        return Ok(replays);
    }
    if job.check.kind().is_some() {
        return Err(SetupError::new(job, "verify", SetupCause::CheckedReplay));
    }
    let files = || replays.iter().flat_map(|replay| &replay.survey.files);
    job.pattern.random = false;
    job.pattern.reads = files().any(|file| file.read_bytes > 0);
    job.pattern.writes = files().any(|file| file.written_bytes > 0);
    let longest = replays.iter().map(|replay| replay.survey.longest).max().unwrap_or(0);
    let shortest = files().map(|file| file.unit).filter(|unit| *unit > 0).min().unwrap_or(512);
    job.block_bytes = u64::from(longest);
    let law = SizeLaw::Range { min: shortest, max: u64::from(longest) };
    job.sizes = [law.clone(), law];
    (job.rate_iops, job.rate_bytes) = ([None; 2], [None; 2]);
    Ok(replays)
}

/// Opens the log of a job.
pub(crate) fn open(log: &Path, job: &Job) -> Result<Trace<BufReader<File>>, SetupCause> {
    let file = File::open(log)
        .map_err(|error| SetupCause::NoTrace { log: log.to_owned(), kind: error.kind() })?;
    Trace::new(BufReader::new(file), &job.replay).map_err(|error| broken(log, error))
}

fn broken(log: &Path, error: TraceError) -> SetupCause {
    SetupCause::Trace { log: log.to_owned(), error: Box::new(error) }
}

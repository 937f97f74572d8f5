//! Whether what was written is read back and compared, and how.

use isotherm_verify::{Kind, Pattern};

/// fio's `verify`, with all that belongs to it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct CheckPlan {
    /// How blocks are sealed and checked; without it nothing is.
    pub kind: Option<Kind>,
    /// What blocks hold under their headers, if not what other writes hold.
    pub pattern: Option<Pattern>,
    /// From one header to the next, in bytes; of the shortest request if not given.
    pub interval: Option<u32>,
    /// From the start of an interval to its header, in bytes.
    pub offset: u32,
    /// What a job wrote is read back and checked when it has written all.
    pub after: bool,
    /// Nothing is written: what an earlier run of the job wrote is checked.
    pub only: bool,
    /// The first flaw ends the job.
    pub fatal: bool,
    /// Flaws are counted, and the job has not failed.
    pub pass: bool,
    /// Blocks with flaws are kept in files, as they were read.
    pub dump: bool,
    /// Check after so many writes, and not only at the end.
    pub backlog: Option<u64>,
    /// Then check so many; all if not given.
    pub backlog_batch: Option<u64>,
}

impl Default for CheckPlan {
    fn default() -> CheckPlan {
        CheckPlan {
            kind: None,
            pattern: None,
            interval: None,
            offset: 0,
            after: true,
            only: false,
            fatal: false,
            pass: false,
            dump: false,
            backlog: None,
            backlog_batch: None,
        }
    }
}

impl CheckPlan {
    /// How blocks are sealed and checked. A pattern alone stands behind headers, as in fio.
    pub fn kind(&self) -> Option<Kind> {
        self.kind.or(self.pattern.as_ref().map(|_| Kind::PatternHeader))
    }
}

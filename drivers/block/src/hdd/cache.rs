//! The drive's write cache: what it has promised and not yet put on the medium.
//!
//! What must always hold: entries and bytes have a limit, beyond which the host waits; a flush
//! is over when everything that was in the cache when it came is on the medium.
//!
//! Only time is modelled here. The data is in the inner device as soon as a write is taken, and
//! it is the inner device that says what a crash makes of it.

use isotherm_seam::Mono;

use super::arm::Job;
use super::geometry::Span;
use super::queue::{View, Weight};

/// Most runs of dirty blocks. [estimate]
const RUNS_MAX: usize = 512;

/// Writes that follow each other are put on the medium as one, up to this stream time: as long
/// as a reader may have to wait for it.
const RUN_NS_MAX: u64 = 8_000_000;

/// Dirty runs, waiting for the arm.
#[derive(Debug)]
pub(super) struct WriteCache {
    runs: Vec<Run>,
    /// The run that the arm is writing.
    writing: Option<Run>,
    bytes: u64,
    bytes_max: u64,
    /// `seq` of the newest write taken.
    newest: u64,
}

#[derive(Clone, Copy, Debug)]
struct Run {
    job: Job,
    bytes: u64,
}

impl WriteCache {
    /// An empty cache of so many bytes.
    pub(super) fn new(bytes_max: u64) -> WriteCache {
        WriteCache {
            runs: Vec::with_capacity(RUNS_MAX),
            writing: None,
            bytes: 0,
            bytes_max,
            newest: 0,
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.runs.is_empty()
    }

    /// `seq` of the newest write: what a flush has to wait for.
    pub(super) fn newest(&self) -> u64 {
        self.newest
    }

    /// Takes a write of `bytes`, or not: then it has to wait until a run is on the medium.
    pub(super) fn admit(&mut self, job: &Job, bytes: u64) -> bool {
        let empty = self.runs.is_empty() && self.writing.is_none();
        if self.bytes + bytes > self.bytes_max && !empty {
            return false;
        }
        for run in &mut self.runs {
            let span = &mut run.job.span;
            if span.first <= job.span.first && job.span.end <= span.end {
                self.newest = job.seq;
                return true;
            }
            let length_ns = job.span.stream_end_ns.wrapping_sub(span.stream_ns);
            if span.end == job.span.first && length_ns <= RUN_NS_MAX {
                span.end = job.span.end;
                span.stream_end_ns = job.span.stream_end_ns;
                span.track_end = job.span.track_end;
                run.bytes += bytes;
                self.bytes += bytes;
                self.newest = job.seq;
                return true;
            }
        }
        if self.runs.len() == RUNS_MAX {
            return false;
        }
        self.runs.push(Run { job: *job, bytes });
        self.bytes += bytes;
        self.newest = job.seq;
        true
    }

    /// Whether a read can be answered from here.
    pub(super) fn covers(&self, span: &Span) -> bool {
        let within = |run: &Run| run.job.span.first <= span.first && span.end <= run.job.span.end;
        self.runs.iter().any(within) || self.writing.as_ref().is_some_and(within)
    }

    /// The run to write next, of those up to `seq`. Nobody cares which of them goes first, so
    /// all have been waited for since the same `since`.
    pub(super) fn best(&self, view: &View<'_>, since: Mono, seq: u64) -> Option<(usize, Weight)> {
        let mut best: Option<(usize, Weight)> = None;
        for (i, run) in self.runs.iter().enumerate().filter(|(_, run)| run.job.seq <= seq) {
            let weight = view.weigh(&run.job, since);
            if best.is_none_or(|(_, least)| weight.score < least.score) {
                best = Some((i, weight));
            }
        }
        best
    }

    /// The job of a run.
    pub(super) fn job(&self, index: usize) -> &Job {
        &self.runs[index].job
    }

    /// Hands a run to the arm.
    pub(super) fn take(&mut self, index: usize) -> Job {
        debug_assert!(self.writing.is_none(), "one arm");
        let run = self.runs.swap_remove(index);
        self.writing = Some(run);
        run.job
    }

    /// The arm has written the run that it took.
    pub(super) fn written(&mut self) {
        let run = self.writing.take().expect("a run was being written");
        self.bytes -= run.bytes;
    }

    /// Whether every write up to `seq` is on the medium.
    pub(super) fn clean_up_to(&self, seq: u64) -> bool {
        self.runs.iter().chain(&self.writing).all(|run| run.job.seq > seq)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn write(seq: u64, first: u64, count: u64) -> Job {
        let span = Span {
            first,
            end: first + count,
            stream_ns: first * 1_000,
            stream_end_ns: (first + count) * 1_000,
            ..Span::default()
        };
        Job { span, write: true, arrived: Mono(seq), seq }
    }

    #[test]
    fn writes_that_follow_become_one_run_of_bounded_length() {
        let mut cache = WriteCache::new(1 << 30);
        for i in 0..20 {
            assert!(cache.admit(&write(i + 1, i * 1_000, 1_000), 1));
        }
        // 1 ms each, 8 ms a run.
        assert_eq!(cache.runs.len(), 3);
        assert!(cache.covers(&write(0, 7_990, 10).span));
        assert!(!cache.covers(&write(0, 7_990, 20).span), "across two runs");
    }

    #[test]
    fn a_full_cache_takes_nothing_until_a_run_is_written() {
        let mut cache = WriteCache::new(100);
        assert!(cache.admit(&write(1, 0, 1), 60));
        assert!(!cache.admit(&write(2, 50, 1), 60));
        let _ = cache.take(0);
        assert!(!cache.admit(&write(2, 50, 1), 60), "not on the medium yet");
        cache.written();
        assert!(cache.admit(&write(2, 50, 1), 60));
        cache.take(0);
        cache.written();
        assert!(cache.admit(&write(3, 90, 1), 1_000), "an empty cache takes anything");
    }

    #[test]
    fn a_rewrite_of_dirty_blocks_costs_nothing() {
        let mut cache = WriteCache::new(100);
        assert!(cache.admit(&write(1, 0, 10), 60));
        assert!(cache.admit(&write(2, 3, 2), 40));
        assert_eq!((cache.runs.len(), cache.bytes), (1, 60));
    }

    #[test]
    fn a_flush_waits_for_the_writes_before_it_only() {
        let mut cache = WriteCache::new(100);
        cache.admit(&write(1, 0, 1), 1);
        let flush = cache.newest();
        cache.admit(&write(2, 50, 1), 1);
        assert!(!cache.clean_up_to(flush));
        cache.take(0);
        assert!(!cache.clean_up_to(flush), "under way is not written");
        cache.written();
        assert!(cache.clean_up_to(flush) && !cache.clean_up_to(cache.newest()));
    }
}

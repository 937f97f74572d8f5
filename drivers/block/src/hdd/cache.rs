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
    /// The runs that wait, by their first block, and so by radius.
    by_place: Vec<u16>,
    free: Vec<u16>,
    /// The run that the arm is writing.
    writing: Option<u16>,
    bytes: u64,
    bytes_max: u64,
    /// `seq` of the newest write taken.
    newest: u64,
}

#[derive(Clone, Copy, Default, Debug)]
struct Run {
    job: Job,
    bytes: u64,
}

impl WriteCache {
    /// An empty cache of so many bytes.
    pub(super) fn new(bytes_max: u64) -> WriteCache {
        WriteCache {
            runs: vec![Run::default(); RUNS_MAX],
            by_place: Vec::with_capacity(RUNS_MAX),
            free: (0..RUNS_MAX as u16).rev().collect(),
            writing: None,
            bytes: 0,
            bytes_max,
            newest: 0,
        }
    }

    /// Whether nothing waits; the arm may be at the last run.
    pub(super) fn is_empty(&self) -> bool {
        self.by_place.is_empty()
    }

    /// `seq` of the newest write: what a flush has to wait for.
    pub(super) fn newest(&self) -> u64 {
        self.newest
    }

    /// Takes a write of `bytes`, or not: then it has to wait until a run is on the medium.
    pub(super) fn admit(&mut self, job: &Job, bytes: u64) -> bool {
        let unused = self.by_place.is_empty() && self.writing.is_none();
        if self.bytes + bytes > self.bytes_max && !unused {
            return false;
        }
        let after = self.first_from(job.span.first + 1);
        if let Some(before) = after.checked_sub(1) {
            let run = &mut self.runs[usize::from(self.by_place[before])];
            let span = &mut run.job.span;
            if job.span.end <= span.end {
                self.newest = job.seq; // Dirty already: it goes there with the others.
                return true;
            }
            let length_ns = job.span.stream_end_ns - span.stream_ns;
            if span.end == job.span.first && length_ns <= RUN_NS_MAX {
                span.end = job.span.end;
                span.stream_end_ns = job.span.stream_end_ns;
                span.track_end = job.span.track_end;
                span.radius_end = job.span.radius_end;
                run.bytes += bytes;
                self.bytes += bytes;
                self.newest = job.seq;
                return true;
            }
        }
        let Some(index) = self.free.pop() else { return false };
        self.runs[usize::from(index)] = Run { job: *job, bytes };
        self.by_place.insert(after, index);
        self.bytes += bytes;
        self.newest = job.seq;
        true
    }

    /// Whether a read can be answered from here.
    pub(super) fn covers(&self, span: &Span) -> bool {
        let before = self.first_from(span.first + 1).checked_sub(1);
        let waiting = before.map(|at| self.by_place[at]);
        waiting.into_iter().chain(self.writing).any(|index| {
            let run = &self.job(usize::from(index)).span;
            run.first <= span.first && span.end <= run.end
        })
    }

    /// The run to write next, of those up to `seq`. Nobody cares which of them goes first, so
    /// all have been waited for since the same `since`.
    pub(super) fn best(&self, view: &View<'_>, since: Mono, seq: u64) -> Option<(usize, Weight)> {
        let mut best: Option<(usize, Weight)> = None;
        // From the arm outwards, both ways, until travel alone takes longer than the best.
        let arm = self.first_from(view.arm_at());
        let (inwards, outwards) = (&self.by_place[arm..], &self.by_place[..arm]);
        let mut look = |index: u16| {
            let job = self.job(usize::from(index));
            if best.is_some_and(|(_, least)| view.least(job, since) > least.score) {
                return false;
            }
            if job.seq <= seq {
                let weight = view.weigh(job, since);
                if best.is_none_or(|(_, least)| weight.score < least.score) {
                    best = Some((usize::from(index), weight));
                }
            }
            true
        };
        let _ = inwards.iter().all(|&index| look(index));
        let _ = outwards.iter().rev().all(|&index| look(index));
        best
    }

    /// The job of a run.
    pub(super) fn job(&self, index: usize) -> &Job {
        &self.runs[index].job
    }

    /// Hands a run to the arm.
    pub(super) fn take(&mut self, index: usize) -> Job {
        debug_assert!(self.writing.is_none(), "one arm");
        let job = *self.job(index);
        // Several runs may begin at one block, where a longer write came after a shorter.
        let mut at = self.first_from(job.span.first);
        while usize::from(self.by_place[at]) != index {
            at += 1;
        }
        self.by_place.remove(at);
        self.writing = Some(index as u16);
        job
    }

    /// The arm has written the run that it took.
    pub(super) fn written(&mut self) {
        let index = self.writing.take().expect("a run was being written");
        self.bytes -= self.runs[usize::from(index)].bytes;
        self.free.push(index);
    }

    /// Whether every write up to `seq` is on the medium.
    pub(super) fn clean_up_to(&self, seq: u64) -> bool {
        let dirty = self.by_place.iter().copied().chain(self.writing);
        dirty.into_iter().all(|index| self.job(usize::from(index)).seq > seq)
    }

    /// Index in `by_place` of the first run that begins at `block` or beyond.
    fn first_from(&self, block: u64) -> usize {
        self.by_place.partition_point(|&index| self.job(usize::from(index)).span.first < block)
    }
}

#[cfg(test)]
mod tests {
    use isotherm_seam::{BlockSize, Domain, Draws};

    use super::super::HddOptions;
    use super::super::arm::Arm;
    use super::super::geometry::Tracks;
    use super::super::queue::Order;
    use super::super::trouble::Trouble;
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

    /// The search that stops early finds what a search of everything finds.
    #[test]
    fn the_next_run_is_the_best_of_all() {
        let options = HddOptions { retries: 0.0, ..HddOptions::default() };
        let blocks = 1 << 28;
        let tracks = Tracks::new(&options.profile, BlockSize::B4096, blocks);
        let quiet = Trouble::new(0, 0.0, None, 0..0, options.profile.turn());
        let mut arm = Arm::new(&options.profile, BlockSize::B4096, &tracks, quiet, 1);
        let mut draws = Draws::new(5, Domain::new("test.hdd.cache"), 0);
        let mut cache = WriteCache::new(u64::MAX);
        for order in [Order::Fifo, Order::Sptf, Order::Aged(0.06)] {
            for seq in 0..3_000 {
                let near = if draws.happens(0.3) { 10_000 } else { blocks - 8 };
                let span = tracks.span(draws.below(near), 1 + draws.below(4));
                cache.admit(&Job { span, write: true, arrived: Mono(seq), seq }, 4096);
                if seq < 500 || cache.is_empty() {
                    continue;
                }
                let now = arm.free_at();
                let view = View::new(order, &arm, now, now);
                let upto = if seq % 3 == 0 { seq - 50 } else { u64::MAX };
                let all = cache.by_place.iter().map(|&index| cache.job(usize::from(index)));
                let least = all
                    .filter(|job| job.seq <= upto)
                    .map(|job| view.weigh(job, Mono::ZERO).score)
                    .min_by(f64::total_cmp);
                let best = cache.best(&view, Mono::ZERO, upto);
                assert_eq!(best.map(|(_, weight)| weight.score), least, "{order:?} {seq}");
                if let Some((index, _)) = best {
                    let job = cache.take(index);
                    let goes_on = arm.goes_on(now, &job);
                    arm.start(now, &job, goes_on);
                    cache.written();
                }
            }
        }
    }

    #[test]
    fn writes_that_follow_become_one_run_of_bounded_length() {
        let mut cache = WriteCache::new(1 << 30);
        for i in 0..20 {
            assert!(cache.admit(&write(i + 1, i * 1_000, 1_000), 1));
        }
        // 1 ms each, 8 ms a run.
        assert_eq!(cache.by_place.len(), 3);
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
        assert_eq!((cache.by_place.len(), cache.bytes), (1, 60));
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

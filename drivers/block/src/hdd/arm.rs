//! The arm and the spindle: where the head is, and how long each command takes from there.
//!
//! What must always hold: the arm does one command at a time and is never interrupted; the
//! angle of the spindle is a function of absolute time alone, so the same commands at the same
//! times take the same time, by whatever clock.
//!
//! ```text
//! service = overhead + move + settle + wait for the block + transfer (switches included)
//! ```
//! with no overhead, move or wait for a command that goes on where the head is: a read within
//! the read-ahead, or a write that was queued behind the one that ends where it begins.

use isotherm_seam::{BlockSize, Domain, Mono, Nanos, draw};

use super::geometry::{Span, Tracks};
use super::profile::Profile;
use super::read_ahead::{Held, ReadAhead};
use super::seek::SeekCurve;
use super::trouble::Trouble;

const PHASE: Domain = Domain::new("hdd.phase");

/// One command for the arm.
#[derive(Clone, Copy, Default, Debug)]
pub(super) struct Job {
    pub(super) span: Span,
    pub(super) write: bool,
    pub(super) arrived: Mono,
    /// Order of arrival.
    pub(super) seq: u64,
}

/// What the arm has done so far.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct ArmStats {
    /// Commands that moved or waited for the medium, cache destages included.
    pub commands: u64,
    /// Of those, commands that went on where the head was.
    pub continued: u64,
    /// Reads answered from the buffer, without the arm.
    pub buffer_hits: u64,
    /// Commands that met a retry or a recalibration.
    pub retried: u64,
    /// Time spent on commands. The arm's share of busy time is the scarce thing.
    pub busy: Nanos,
}

/// The mechanics of one drive.
#[derive(Debug)]
pub(super) struct Arm {
    seek: SeekCurve,
    turn_ns: u32,
    /// The spindle's angle at time zero: drives of a fleet do not turn in step.
    phase_ns: u64,
    overhead_ns: u32,
    settle_ns: u32,
    write_settle_ns: u32,
    answer: Nanos,
    block_bus_ns: f64,
    /// Blocks on one track have to be nearer than this to need no seek.
    near_blocks: u64,
    trouble: Trouble,

    /// Where the last command ended: it is its span.
    at: Span,
    wrote: bool,
    /// When it became free.
    free_at: Mono,
    ahead: ReadAhead,
    stats: ArmStats,
}

impl Arm {
    pub(super) fn new(
        profile: &Profile,
        block: BlockSize,
        tracks: &Tracks,
        trouble: Trouble,
        seed: u64,
    ) -> Arm {
        let turn = profile.turn();
        let ns = |ms| Nanos::from_millis_f64(ms).0 as u32;
        Arm {
            seek: profile.seek,
            turn_ns: turn.0 as u32,
            phase_ns: draw(seed, PHASE, 0, 0) % turn.0,
            overhead_ns: ns(profile.overhead_ms),
            settle_ns: ns(profile.settle_ms),
            write_settle_ns: ns(profile.write_settle_ms),
            answer: Nanos::from_millis_f64(profile.answer_ms),
            block_bus_ns: f64::from(block.bytes()) * 1e3 / profile.bus_mb_s,
            near_blocks: tracks.near_blocks(),
            trouble,
            at: Span::default(),
            wrote: false,
            free_at: Mono::ZERO,
            ahead: ReadAhead::new(u64::from(profile.read_ahead_turns) * turn.0),
            stats: ArmStats::default(),
        }
    }

    pub(super) fn stats(&self) -> ArmStats {
        self.stats
    }

    /// When the last command ended, or the one under way will.
    pub(super) fn free_at(&self) -> Mono {
        self.free_at
    }

    /// Takes from the buffer what it holds of a read. `false`: the medium is needed, for what
    /// then remains in `span`.
    #[inline]
    pub(super) fn buffered(&mut self, span: &mut Span) -> bool {
        match self.ahead.claim(span) {
            Held::Nothing => false,
            Held::All => {
                self.stats.buffer_hits += 1;
                true
            }
            Held::UpTo(stream_ns) => {
                span.stream_ns = stream_ns;
                span.angle_ns = (stream_ns % u64::from(self.turn_ns)) as u32;
                false
            }
        }
    }

    /// The spindle's angle at a time.
    #[inline]
    pub(super) fn angle(&self, at: Mono) -> u32 {
        (at.0.wrapping_add(self.phase_ns) % u64::from(self.turn_ns)) as u32
    }

    /// Time until the transfer of `job` can begin, counted from the controller's overhead on,
    /// when the spindle's angle was `angle`.
    #[inline]
    pub(super) fn approach(&self, now: Mono, angle: u32, job: &Job) -> u32 {
        if self.goes_on(now, job) {
            return 0;
        }
        let travel = self.overhead_ns + self.travel(job);
        travel + self.wait(angle + travel, job.span.angle_ns)
    }

    /// The least that [`approach`](Self::approach) could be, were the block there just in time.
    #[inline]
    pub(super) fn least(&self, job: &Job) -> u32 {
        self.overhead_ns + self.travel(job)
    }

    /// The block after the last command.
    pub(super) fn at(&self) -> u64 {
        self.at.end
    }

    /// Whether the head is where the job begins, so that it needs neither overhead nor travel.
    #[inline]
    pub(super) fn goes_on(&self, now: Mono, job: &Job) -> bool {
        if job.write {
            let follows = self.wrote && job.span.first == self.at.end;
            // One that comes as the head leaves the last block is too late.
            follows && now == self.free_at && job.arrived < now
        } else {
            self.ahead.continues(job.span.first)
        }
    }

    #[inline]
    fn travel(&self, job: &Job) -> u32 {
        let near = job.span.first.abs_diff(self.at.end) < self.near_blocks;
        if near && job.span.track == self.at.track_end {
            return 0;
        }
        let settle = self.settle_ns + if job.write { self.write_settle_ns } else { 0 };
        let distance = f64::from((job.span.radius - self.at.radius_end).abs());
        self.seek.time(distance.max(f64::MIN_POSITIVE)).0 as u32 + settle
    }

    /// From the angle `from`, which may be some turns on, to the angle `to`.
    #[inline]
    fn wait(&self, from: u32, to: u32) -> u32 {
        let from = from % self.turn_ns;
        if to >= from { to - from } else { to + self.turn_ns - from }
    }

    /// Begins a command; the arm is free. It is so again at [`free_at`](Self::free_at).
    /// `now` is when the controller's overhead began.
    pub(super) fn start(&mut self, now: Mono, job: &Job, goes_on: bool) {
        debug_assert!(self.free_at <= now, "the arm is free");
        let pace = self.trouble.pace(now);
        let extra = self.trouble.extra(&job.span, job.write, job.arrived);
        let done = if goes_on && !job.write {
            let (phase_ns, turn_ns) = (self.phase_ns, u64::from(self.turn_ns));
            let ready = now + Nanos(u64::from(self.overhead_ns));
            let resume = |stream_ns: u64| {
                let angle = (ready.0 + phase_ns) % turn_ns;
                ready + Nanos((stream_ns % turn_ns + turn_ns - angle) % turn_ns)
            };
            let passed = self.ahead.read_on(now, &job.span, pace, resume);
            // Data that was there first crosses the bus now; otherwise that overlaps with reading.
            let bus_ns = if passed <= job.arrived {
                (job.span.end - job.span.first) as f64 * self.block_bus_ns
            } else {
                0.0
            };
            passed.max(job.arrived + self.answer + Nanos(bus_ns as u64)).max(now)
        } else {
            let (before, from_ns) = if goes_on {
                (0, self.at.stream_end_ns)
            } else {
                (self.approach(now, self.angle(now), job), job.span.stream_ns)
            };
            let transfer = job.span.stream_end_ns - from_ns;
            let length = (u64::from(before) + transfer) as f64 * pace;
            now + Nanos(length as u64)
        };
        let done = done + extra;
        if job.write {
            self.ahead.leave(now, pace);
            self.ahead.forget(&job.span);
        } else if goes_on {
            self.ahead.delay(extra);
        } else {
            self.ahead.leave(now, pace);
            self.ahead.begin(&job.span, done);
        }
        self.at = job.span;
        self.wrote = job.write;
        self.free_at = done;
        self.stats.commands += 1;
        self.stats.continued += u64::from(goes_on);
        self.stats.retried += u64::from(extra > Nanos::ZERO);
        self.stats.busy += done.since(now);
    }
}

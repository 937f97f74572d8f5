//! The real clock: one instruction and one multiplication.
//!
//! What must always hold: all clocks of a process tell the same time, since they are copies of
//! one line, ns = (ticks − origin) × rate, that is measured once. On one thread time never goes
//! back. Between cores it never goes back either with [`HostClock::mono_fenced`]; a plain
//! [`Clock::mono`] may be executed ahead of a load that is still under way, so right after a
//! message from another core it may lie behind that message by as long as the load took, about
//! 0.1 µs. `Mono::since` takes such a difference as zero.
//!
//! What may go wrong: the line is not bent later, since a clock whose rate changes under a
//! measurement is worse than one that is constantly wrong by a known bit. It runs apart from
//! CLOCK_MONOTONIC by its own error ([`HostClock::rate_error_ppm`], a few ppm) and by what NTP
//! does to the kernel's clock afterwards (at most 500 ppm, adjtimex(2)). Lengths of time are
//! right to that degree, and nothing compares it with another machine's. [`HostClock::drift`]
//! measures it at any time; only a machine that was suspended, or moved under a running process
//! to a processor with another rate, shows more than those bounds.

use std::sync::OnceLock;

use isotherm_seam::{Clock, Mono, Nanos, Wall};
use nix::time::{ClockId, clock_gettime};

use crate::tsc;

/// How long the rate of the counter is measured. The error of each end is below 0.1 µs, so
/// 20 ms give the rate to some ppm. Once per process.
const CALIBRATION_NS: u64 = 20_000_000;

/// The clock of this process. Copies are free and all tell the same time, which starts near
/// [`Mono::ZERO`] with the first [`HostClock::new`].
#[derive(Clone, Copy, Debug)]
pub struct HostClock {
    line: Line,
}

/// What a [`HostClock`] reads.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ClockSource {
    /// The processor's cycle counter: about 10 ns a reading.
    Tsc {
        /// Ticks a second, as measured.
        hertz: u64,
    },
    /// The kernel's CLOCK_MONOTONIC: about 50 ns a reading, more where there is no vDSO.
    Monotonic,
}

/// How far a clock and CLOCK_MONOTONIC have run apart since both started.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Drift {
    /// Since the start, by the kernel.
    pub elapsed: Nanos,
    /// Ours minus the kernel's.
    pub ahead_ns: i64,
}

impl Drift {
    /// The drift per time, in millionths.
    pub fn ppm(&self) -> f64 {
        self.ahead_ns as f64 * 1e6 / (self.elapsed.0.max(1)) as f64
    }
}

/// ns = (ticks − origin) × rate.
#[derive(Clone, Copy, Debug)]
struct Line {
    /// Ticks at Mono zero: of the counter, or nanoseconds of CLOCK_MONOTONIC.
    origin: u64,
    /// CLOCK_MONOTONIC at Mono zero, in nanoseconds.
    kernel_origin: u64,
    /// Nanoseconds per tick × 2^32; zero where the kernel is read.
    rate: u64,
    /// By how much `rate` may be wrong, in millionths.
    error_ppm: f32,
}

impl HostClock {
    /// The clock of this process. The first call takes 20 ms to measure the counter's rate.
    pub fn new() -> HostClock {
        static LINE: OnceLock<Line> = OnceLock::new();
        HostClock { line: *LINE.get_or_init(|| Line::measure(tsc::usable())) }
    }

    /// What is read underneath.
    pub fn source(&self) -> ClockSource {
        match self.line.rate {
            0 => ClockSource::Monotonic,
            rate => {
                let hertz = (1_000_000_000u128 << 32) / u128::from(rate);
                ClockSource::Tsc { hertz: hertz as u64 }
            }
        }
    }

    /// Bound of the error made when the rate was measured, in millionths; zero where the kernel
    /// is read.
    pub fn rate_error_ppm(&self) -> f64 {
        f64::from(self.line.error_ppm)
    }

    /// Like [`Clock::mono`], and after all loads before it: never behind a time that was read
    /// on another core before the message that brought it here. Costs twice as much.
    #[inline]
    pub fn mono_fenced(&self) -> Mono {
        match self.line.rate {
            0 => self.line.kernel_now(),
            _ => self.line.at(tsc::read_fenced()),
        }
    }

    /// Compares with CLOCK_MONOTONIC.
    pub fn drift(&self) -> Drift {
        if self.line.rate == 0 {
            return Drift { elapsed: Nanos(self.line.kernel_now().0), ahead_ns: 0 };
        }
        let pair = Pair::read();
        let ours = self.line.at(pair.ticks);
        let elapsed = Nanos(pair.kernel_ns.saturating_sub(self.line.kernel_origin));
        Drift { elapsed, ahead_ns: ours.0 as i64 - elapsed.0 as i64 }
    }
}

impl Default for HostClock {
    fn default() -> HostClock {
        HostClock::new()
    }
}

impl Clock for HostClock {
    #[inline]
    fn mono(&self) -> Mono {
        match self.line.rate {
            0 => self.line.kernel_now(),
            _ => self.line.at(tsc::read()),
        }
    }

    fn wall(&self) -> Wall {
        Wall(kernel_ns(ClockId::CLOCK_REALTIME))
    }
}

impl Line {
    fn measure(counter: bool) -> Line {
        if !counter {
            let origin = monotonic_ns();
            return Line { origin, kernel_origin: origin, rate: 0, error_ppm: 0.0 };
        }
        let from = Pair::read();
        let to = loop {
            let pair = Pair::read();
            if pair.kernel_ns >= from.kernel_ns + CALIBRATION_NS {
                break pair;
            }
        };
        let (ns, ticks) = (to.kernel_ns - from.kernel_ns, to.ticks - from.ticks);
        let rate = (u128::from(ns) << 32) / u128::from(ticks);
        let rate = u64::try_from(rate).expect("a counter above 1 Hz");
        // Each end lies within half of its bracket.
        let error_ticks = (from.width_ticks + to.width_ticks) / 2;
        let error_ppm = error_ticks as f32 * 1e6 / ticks as f32;
        Line { origin: from.ticks, kernel_origin: from.kernel_ns, rate, error_ppm }
    }

    /// The counter is never behind `origin` on a machine where it serves as a clock at all;
    /// were it so, time stands still at zero.
    #[inline(always)]
    fn at(&self, ticks: u64) -> Mono {
        let ticks = ticks.saturating_sub(self.origin);
        Mono(((u128::from(ticks) * u128::from(self.rate)) >> 32) as u64)
    }

    fn kernel_now(&self) -> Mono {
        Mono(monotonic_ns() - self.origin)
    }
}

/// The counter and the kernel's clock at the same moment, to within `width_ticks` / 2.
#[derive(Clone, Copy)]
struct Pair {
    ticks: u64,
    kernel_ns: u64,
    width_ticks: u64,
}

impl Pair {
    /// The narrowest of some brackets: an interrupt widens one, seldom all.
    fn read() -> Pair {
        let one = || {
            let before = tsc::read_fenced();
            let kernel_ns = monotonic_ns();
            let after = tsc::read_fenced();
            let width_ticks = after.saturating_sub(before);
            Pair { ticks: before + width_ticks / 2, kernel_ns, width_ticks }
        };
        (0..16).map(|_| one()).min_by_key(|pair| pair.width_ticks).expect("more than none")
    }
}

fn monotonic_ns() -> u64 {
    u64::try_from(kernel_ns(ClockId::CLOCK_MONOTONIC)).expect("CLOCK_MONOTONIC starts at boot")
}

fn kernel_ns(clock: ClockId) -> i64 {
    let now = clock_gettime(clock).expect("a clock that POSIX requires");
    now.tv_sec() * 1_000_000_000 + now.tv_nsec()
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU64, Ordering};

    use super::*;

    fn sources() -> Vec<HostClock> {
        let kernel = HostClock { line: Line::measure(false) };
        if tsc::usable() {
            vec![HostClock { line: Line::measure(true) }, kernel]
        } else {
            println!("no usable cycle counter here: only CLOCK_MONOTONIC is tested");
            vec![kernel]
        }
    }

    #[test]
    fn it_starts_near_zero_and_copies_agree() {
        let first = HostClock::new();
        assert!(first.mono().since(Mono::ZERO) < Nanos::from_secs(30), "{:?}", first.mono());
        let a = first.mono();
        let b = HostClock::new().mono();
        let c = first.mono();
        assert!(a <= b && b <= c, "{a:?} {b:?} {c:?}");
    }

    #[test]
    fn the_source_is_the_one_that_was_measured() {
        for clock in sources() {
            match clock.source() {
                ClockSource::Tsc { hertz } => {
                    assert!((100_000_000..20_000_000_000).contains(&hertz), "{hertz}");
                    assert!(clock.line.rate > 0 && clock.rate_error_ppm() > 0.0);
                }
                ClockSource::Monotonic => assert_eq!(clock.rate_error_ppm(), 0.0),
            }
        }
    }

    #[test]
    fn a_line_converts_ticks_exactly_for_centuries() {
        // 2.5 GHz: 0.4 ns a tick. 0.4 × 2^32 is cut off by 0.4 of one: 1e-10 of the rate.
        let rate = (2u64 << 32) / 5;
        let line = Line { origin: 1_000, kernel_origin: 0, rate, error_ppm: 0.0 };
        assert_eq!(line.at(1_000), Mono(0));
        assert_eq!(line.at(999), Mono(0), "time stands still, it does not wrap");
        let century_ns = 100 * 365 * 86_400 * 1_000_000_000u64;
        let error = century_ns.abs_diff(line.at(1_000 + century_ns / 2 * 5).0);
        assert!(error < century_ns / 1_000_000_000, "{error}");
    }

    #[test]
    fn it_follows_the_kernel() {
        for clock in sources() {
            let before = monotonic_ns();
            let ours = clock.mono_fenced();
            let after = monotonic_ns();
            // Within what was allowed for the rate, and the bracket of the origin.
            let slack = 1_000_000;
            let origin = clock.line.kernel_origin;
            assert!(ours.0 + slack >= before - origin && ours.0 <= after - origin + slack);
            let drift = clock.drift();
            assert!(drift.ahead_ns.unsigned_abs() < slack, "{drift:?}");
        }
    }

    #[test]
    fn time_never_goes_back_on_a_thread() {
        for clock in sources() {
            let mut last = clock.mono();
            for _ in 0..1_000_000 {
                let now = clock.mono();
                assert!(now >= last, "{now:?} after {last:?}");
                last = now;
            }
        }
    }

    /// Threads hand the latest time around; whoever takes it reads a later one.
    #[test]
    fn time_never_goes_back_between_cores() {
        let threads = std::thread::available_parallelism().map_or(2, usize::from).clamp(2, 8);
        for clock in sources() {
            let latest = AtomicU64::new(0);
            std::thread::scope(|scope| {
                for _ in 0..threads {
                    scope.spawn(|| {
                        for _ in 0..200_000 {
                            let seen = latest.load(Ordering::Acquire);
                            let now = clock.mono_fenced().0;
                            assert!(now >= seen, "{now} after {seen} of another core");
                            latest.fetch_max(now, Ordering::AcqRel);
                        }
                    });
                }
            });
        }
    }

    #[test]
    fn the_wall_clock_is_in_this_era() {
        // 2024-01-01 .. 2262, where 64 bits of nanoseconds end.
        assert!(HostClock::new().wall().0 > 1_704_067_200_000_000_000);
    }
}

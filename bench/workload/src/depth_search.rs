//! The greatest number of requests in flight that keeps a latency: fio's `latency_target`.
//!
//! What must always hold: the depth stays between 1 and the greatest allowed; a window counts
//! only what completed within it. As in fio it doubles from 1 until a window fails, then bisects;
//! before it goes down all in flight is waited for, so that requests of the old depth don't fail
//! the new one; and where the answer stands for three windows it tries one more.

use isotherm_seam::{Mono, Nanos};

/// What latency is to be kept, and how it is judged.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct LatencyTarget {
    /// No slower than this.
    pub latency: Nanos,
    /// Judged over windows of this length.
    pub window: Nanos,
    /// So many requests of a window, in percent. With 100 the first slow one fails it at once.
    pub percent: f64,
    /// Go on when the depth is found, and follow the device.
    pub keep_running: bool,
}

/// What a search has to say.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Found {
    /// Nothing new.
    Searching,
    /// The depth that it has now is the answer, and it was held for one window more.
    Depth,
    /// One request in flight is too slow already.
    Unreachable,
}

/// A search under way.
#[derive(Clone, Debug)]
pub struct DepthSearch {
    target: LatencyTarget,
    depth_max: u32,
    depth: u32,
    /// Held so far, and failed: the answer lies between.
    low: u32,
    high: u32,
    window_start: Mono,
    ios: u64,
    slow: u64,
    /// Windows held in a row just below the failed depth.
    stable: u32,
    /// Nothing is sent before all is back.
    draining: bool,
    last_window: bool,
    unreachable: bool,
}

impl DepthSearch {
    /// A search up to `depth_max` that begins now.
    pub fn new(target: LatencyTarget, depth_max: u32, now: Mono) -> DepthSearch {
        assert!(depth_max > 0, "one request at least");
        DepthSearch {
            target,
            depth_max,
            depth: 1,
            low: 1,
            high: depth_max,
            window_start: now,
            ios: 0,
            slow: 0,
            stable: 0,
            draining: false,
            last_window: false,
            unreachable: false,
        }
    }

    /// Requests that may be in flight now.
    pub fn depth(&self) -> u32 {
        self.depth
    }

    /// What it looks for.
    pub fn target(&self) -> &LatencyTarget {
        &self.target
    }

    /// Whether one more may be sent, with so many in flight.
    #[inline]
    pub fn may_send(&mut self, now: Mono, inflight: u32) -> bool {
        if self.draining {
            if inflight > 0 {
                return false;
            }
            self.draining = false;
            self.begin_window(now);
        }
        inflight < self.depth
    }

    /// Counts a request that took so long.
    #[inline]
    pub fn completed(&mut self, now: Mono, latency: Nanos) {
        if self.draining {
            return;
        }
        self.ios += 1;
        if latency > self.target.latency {
            self.slow += 1;
            if self.target.percent >= 100.0 {
                self.fail(now);
            }
        }
    }

    /// Judges the window if it is over.
    #[inline]
    pub fn check(&mut self, now: Mono) -> Found {
        if self.unreachable {
            return Found::Unreachable;
        }
        if self.draining || now.since(self.window_start) < self.target.window || self.ios == 0 {
            return Found::Searching;
        }
        self.judge(now)
    }

    fn judge(&mut self, now: Mono) -> Found {
        let held = (self.ios - self.slow) as f64 * 100.0 / self.ios as f64;
        if held < self.target.percent {
            self.fail(now);
            return if self.unreachable { Found::Unreachable } else { Found::Searching };
        }
        if self.last_window {
            return Found::Depth;
        }
        let before = self.depth;
        self.low = self.depth;
        if self.depth + 1 == self.high {
            self.stable += 1;
            if self.stable == 3 {
                // What is held with ease may be a little too low.
                self.high = (self.high + 1).min(self.depth_max);
                self.stable = 0;
            }
        }
        self.depth = match self.high == self.depth_max {
            true => self.depth * 2,
            false => self.depth.midpoint(self.high),
        };
        self.depth = self.depth.min(self.depth_max);
        if self.depth == before && !self.target.keep_running {
            // Once more, so that what is told is of this depth.
            self.last_window = true;
        }
        self.begin_window(now);
        Found::Searching
    }

    fn fail(&mut self, now: Mono) {
        if self.depth == 1 {
            self.unreachable = true;
            return;
        }
        self.high = self.depth;
        if self.depth == self.low {
            self.low -= 1;
        }
        self.depth = self.depth.midpoint(self.low);
        self.stable = 0;
        self.last_window = false;
        self.draining = true;
        self.begin_window(now);
    }

    fn begin_window(&mut self, now: Mono) {
        self.window_start = now;
        (self.ios, self.slow) = (0, 0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn target(percent: f64) -> LatencyTarget {
        let (latency, window) = (Nanos(1_000), Nanos(100_000));
        LatencyTarget { latency, window, percent, keep_running: false }
    }

    /// A device on which each request in flight adds 100 ns.
    fn run(target: LatencyTarget, depth_max: u32, per_request: u64) -> (u32, Found, Vec<u32>) {
        let mut search = DepthSearch::new(target, depth_max, Mono(0));
        let (mut now, mut inflight) = (Mono(0), 0);
        let mut depths = vec![search.depth()];
        for _ in 0..1_000_000 {
            while search.may_send(now, inflight) {
                inflight += 1;
            }
            let latency = u64::from(inflight) * per_request;
            now = now + Nanos(100);
            inflight -= 1;
            search.completed(now, Nanos(latency));
            let found = search.check(now);
            if depths.last() != Some(&search.depth()) {
                depths.push(search.depth());
            }
            if found != Found::Searching {
                return (search.depth(), found, depths);
            }
        }
        panic!("it finds no end: {depths:?}");
    }

    #[test]
    fn it_finds_the_depth_that_keeps_the_latency() {
        for percent in [100.0, 99.0] {
            let (depth, found, depths) = run(target(percent), 128, 100);
            assert_eq!(found, Found::Depth, "{depths:?}");
            assert_eq!(depth, 10, "{depths:?}");
            assert_eq!(depths[..5], [1, 2, 4, 8, 16], "it doubles until it fails: {depths:?}");
        }
    }

    #[test]
    fn the_greatest_depth_may_do() {
        let (depth, found, depths) = run(target(99.0), 8, 100);
        assert_eq!((depth, found), (8, Found::Depth), "{depths:?}");
        assert_eq!(run(target(99.0), 1, 100).0, 1);
    }

    #[test]
    fn what_one_request_can_not_keep_is_unreachable() {
        assert_eq!(run(target(99.0), 64, 2_000).1, Found::Unreachable);
        assert_eq!(run(target(100.0), 64, 2_000).1, Found::Unreachable);
    }
}

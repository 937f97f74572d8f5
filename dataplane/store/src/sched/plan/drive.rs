//! What the plan knows of the drive: how much is in it, and when it will be done with that.
//!
//! What must always hold: disk time is given to exactly one request: from the later of its
//! start and the end of the request before it, to its own end. The sums are then the time in
//! which the drive had something to do.
//!
//! A *unit* is what is handed over as one piece: a read, or writes that follow each other.

use std::collections::VecDeque;

use isotherm_seam::{Mono, Nanos};

use super::super::class::Tier;
use super::Entry;

#[derive(Debug, Default)]
pub(super) struct Drive {
    foreground: u32,
    appends: u32,
    background: u32,
    /// Each with how many of its requests are in the drive.
    units: VecDeque<(u32, u32)>,
    unit_next: u32,
    /// Sums over what is in the drive.
    floor: Nanos,
    likely: Nanos,
    earliest_end: Mono,
    likely_end: Mono,
    last_done: Mono,
}

impl Drive {
    #[inline]
    pub(super) fn requests(&self) -> u32 {
        self.foreground + self.appends + self.background
    }

    pub(super) fn units(&self) -> usize {
        self.units.len()
    }

    pub(super) fn background(&self) -> u32 {
        self.background
    }

    /// Whether all that is in the drive may wait.
    pub(super) fn only_background(&self) -> bool {
        self.foreground == 0 && self.appends == 0
    }

    /// The drive can't be done with what is in it before this.
    pub(super) fn earliest_end(&self) -> Mono {
        self.earliest_end
    }

    /// How long what is in the drive will likely take. What is overdue is expected to take as
    /// long again as it is overdue: a drive in its retries gives no other sign.
    pub(super) fn rest(&self, now: Mono) -> Nanos {
        if self.requests() == 0 {
            return Nanos::ZERO;
        }
        self.likely_end.since(now).max(now.since(self.likely_end))
    }

    /// A request that never was in the queue enters a device without an arm.
    #[inline]
    pub(super) fn pass(&mut self, tier: Tier) {
        *self.count(tier) += 1;
    }

    /// A request enters; its unit. `goes_on`: that of the one before it.
    pub(super) fn enter(&mut self, now: Mono, entry: &Entry, goes_on: bool) -> u32 {
        *self.count(entry.class.tier()) += 1;
        self.floor += entry.floor;
        self.likely += entry.likely;
        self.earliest_end = self.earliest_end.max(now) + entry.floor;
        self.likely_end = self.likely_end.max(now) + entry.likely;
        match self.units.back_mut() {
            Some((unit, requests)) if goes_on => {
                *requests += 1;
                *unit
            }
            _ => {
                self.unit_next = self.unit_next.wrapping_add(1).max(1);
                self.units.push_back((self.unit_next, 1));
                self.unit_next
            }
        }
    }

    /// A request leaves; what it took of the disk.
    #[inline]
    pub(super) fn leave(&mut self, now: Mono, entry: &Entry) -> Nanos {
        *self.count(entry.class.tier()) -= 1;
        let service = now.since(self.last_done.max(entry.started));
        self.last_done = now;
        // Zero: it has never been in the queue.
        if entry.unit != 0 {
            self.leave_unit(now, entry);
        }
        service
    }

    fn leave_unit(&mut self, now: Mono, entry: &Entry) {
        self.floor = self.floor - entry.floor;
        self.likely = self.likely - entry.likely;
        // What remains begins now.
        self.earliest_end = now + self.floor;
        self.likely_end = now + self.likely;
        let at = self.units.iter().position(|(unit, _)| *unit == entry.unit);
        let at = at.expect("a request in the drive has its unit there");
        self.units[at].1 -= 1;
        if self.units[at].1 == 0 {
            self.units.remove(at);
        }
    }

    fn count(&mut self, tier: Tier) -> &mut u32 {
        match tier {
            Tier::Foreground => &mut self.foreground,
            Tier::Append => &mut self.appends,
            Tier::Background => &mut self.background,
        }
    }
}

//! What a lane sends next.

use isotherm_seam::{Lba, Mono};
use isotherm_workload::{Direction, Gate};

use super::disk::Next;
use super::{Lane, Rate};

impl Lane {
    /// What to send now, and to which disk; that disk holds nothing back.
    #[inline(always)]
    pub(super) fn next(&mut self, now: Mono) -> Option<(usize, Next)> {
        if now >= self.stop_at {
            self.stop(self.stop_at);
            return None;
        }
        if self.rules.is_some() && !self.is_allowed(now) {
            return None;
        }
        self.pick(now)
    }

    /// What comes next, whether or not it may be sent.
    #[inline(always)]
    pub(super) fn pick(&mut self, now: Mono) -> Option<(usize, Next)> {
        if self.trace.is_some() {
            return self.next_traced(now);
        }
        if self.disks.len() == 1 {
            return self.next_for(0, now).map(|next| (0, next));
        }
        if self.service.is_some() {
            return self.next_in_service(now);
        }
        // In turn; one that can take nothing now is passed over.
        for _ in 0..self.disks.len() {
            let disk = self.next_disk;
            self.next_disk = if disk + 1 == self.disks.len() { 0 } else { disk + 1 };
            if let Some(next) = self.next_for(disk, now) {
                return Some((disk, next));
            }
        }
        None
    }

    /// Asks the rules.
    fn is_allowed(&mut self, now: Mono) -> bool {
        let rules = self.rules.as_mut().expect("looked at by the caller");
        self.shut = match rules.gate(now, self.inflight) {
            Gate::Shut(due) => Some(due),
            Gate::Open => None,
        };
        if self.shut.is_none()
            && let Some(pause) = rules.pause_to_skip(now)
        {
            self.arrivals.iter_mut().flatten().for_each(|arrivals| arrivals.postpone(pause));
        }
        self.shut.is_none()
    }

    /// What to send to the file whose turn it is. What is held back goes first.
    fn next_in_service(&mut self, now: Mono) -> Option<(usize, Next)> {
        let service = self.service.as_ref().expect("looked at by the caller");
        let held = self.held_on.take();
        let disk = held.unwrap_or_else(|| service.file());
        let next = self.next_for(disk, now);
        if self.disks[disk].held.is_some() {
            self.held_on = Some(disk);
        }
        let drawn = next.or(self.disks[disk].held);
        if let (None, Some(drawn)) = (held, drawn) {
            let service = self.service.as_mut().expect("as above");
            if !service.is_sequential() {
                service.served();
            } else if self.disks[disk].gone_through(drawn.bytes) {
                service.pass();
            }
        }
        next.map(|next| (disk, next))
    }

    #[inline(always)]
    fn next_for(&mut self, disk: usize, now: Mono) -> Option<Next> {
        let next = match self.disks[disk].held.take() {
            Some(held) => held,
            None => {
                if self.left == 0 {
                    return None;
                }
                let (direction, intended) = self.due_direction(now)?;
                let (lba, bytes) = self.disks[disk].draw(direction, &self.order);
                if let Some(arrivals) = &mut self.arrivals[direction.index()] {
                    arrivals.advance_by(match self.order.rates[direction.index()] {
                        Some(Rate::Bytes(_)) => u64::from(bytes),
                        _ => 1,
                    });
                }
                self.left -= 1;
                if self.fixed.is_none() {
                    self.bytes_left = self.bytes_left.saturating_sub(u64::from(bytes));
                    if self.bytes_left == 0 {
                        self.left = 0;
                    }
                }
                Next { direction, lba, bytes, intended }
            }
        };
        let on = &mut self.disks[disk];
        if next.direction == Direction::Write {
            let Lba(first) = next.lba;
            if on.overlaps(first, first + (u64::from(next.bytes) >> on.block.shift())) {
                on.held = Some(next);
                return None;
            }
        }
        Some(next)
    }

    /// Which way the next request goes and when it was to be sent, if it is time.
    #[inline(always)]
    fn due_direction(&mut self, now: Mono) -> Option<(Direction, Mono)> {
        match &self.arrivals {
            [None, None] => Some((self.mix(), now)),
            arrivals => {
                let due = |direction: &Direction| {
                    arrivals[direction.index()].as_ref().map(|a| (a.peek(), *direction))
                };
                let (at, direction) = Direction::ALL.iter().filter_map(due).min()?;
                (at <= now).then_some((direction, at))
            }
        }
    }

    #[inline(always)]
    fn mix(&mut self) -> Direction {
        match self.order.read_percent {
            0 => Direction::Write,
            100 => Direction::Read,
            _ if self.rng.next_u64() < self.read_below => Direction::Read,
            _ => Direction::Write,
        }
    }
}

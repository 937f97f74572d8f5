//! How a lane ends: as it has failed, as it was told, or as all is done.
//!
//! What must always hold: nothing is sent after the end, and what is in flight is waited for.

use isotherm_seam::{IoError, Lba, Mono};

use super::rules::Verdict;
use super::{Lane, Rate};
use crate::Failure;
use crate::failure::Trouble;

impl Lane {
    #[cold]
    pub(super) fn request_failed(&mut self, disk: usize, index: u32, error: IoError, now: Mono) {
        let slot = self.slots[index as usize];
        let on = &mut self.disks[disk];
        on.tallies[slot.direction.index()].errors += 1;
        // Where the device says which block it was, that one; else the first of the request. As in
        // fio, an error of the medium may be passed over, and no other.
        let lba = match error {
            IoError::Media { lba } => lba,
            _ => slot.lba,
        };
        let passable = matches!(error, IoError::Media { .. });
        if passable && self.rules.as_ref().is_some_and(|rules| rules.past_error(slot.direction)) {
            return;
        }
        let failure = Failure {
            disk: on.device.info().name,
            direction: slot.direction,
            sector: on.block.byte_offset(lba) / 512,
            cause: Trouble::Request(error),
        };
        self.fail(now, failure);
    }

    /// Ends it as its rules say.
    #[inline]
    pub(super) fn obey(&mut self, verdict: Verdict, disk: usize, lba: Lba, now: Mono) {
        match verdict {
            Verdict::GoOn => {}
            Verdict::Done => self.stop(now),
            Verdict::Failed(direction, cause) => {
                let on = &self.disks[disk];
                let sector = on.block.byte_offset(lba) / 512;
                let disk = on.device.info().name;
                self.fail(now, Failure { disk, direction, sector, cause });
            }
        }
    }

    #[cold]
    pub(super) fn fail(&mut self, now: Mono, failure: Failure) {
        self.failure.get_or_insert(failure);
        if let Some(flushes) = &mut self.flushes {
            flushes.give_up();
        }
        self.leave_unchecked();
        self.stop(now);
    }

    /// Whether it is to end because of others.
    pub(crate) fn is_called_off(&self) -> bool {
        self.standing.company.is_over(self.standing.group)
    }

    /// Looks up at what is decided over time. Called every now and then. Tells whether it was
    /// stopped.
    pub(crate) fn tick(&mut self, now: Mono) -> bool {
        let before = self.left;
        if let Some(rules) = &mut self.rules
            && self.left > 0
        {
            let verdict = rules.tick(now);
            self.obey(verdict, 0, Lba(0), now);
        }
        if self.is_called_off() {
            self.leave_unchecked();
            self.stop(now);
        }
        before > 0 && self.left == 0
    }

    /// Sends nothing any more. What is in flight is still waited for.
    #[cold]
    pub(crate) fn stop(&mut self, now: Mono) {
        for (direction, arrivals) in self.arrivals.iter_mut().enumerate() {
            let Some(arrivals) = arrivals.take() else { continue };
            let open = &mut self.disks[0].tallies[direction].open_loop;
            let open = open.as_mut().expect("a direction with arrivals is counted as such");
            let worth = match self.order.rates[direction] {
                Some(Rate::Bytes(_)) => self.order.sizes[direction].max(),
                _ => 1,
            };
            open.unsent_ios += arrivals.count_before(now, worth).min(self.left);
        }
        self.left = 0;
        if let Some(flushes) = &mut self.flushes {
            flushes.forget();
        }
        self.disks.iter_mut().for_each(|disk| disk.held = None);
        self.held_on = None;
    }

    /// Whether nothing waits to be sent.
    pub(super) fn is_drained(&self) -> bool {
        let demanded = self.flushes.as_ref().is_some_and(|flushes| flushes.is_demanded());
        self.left == 0 && !demanded && self.disks.iter().all(|disk| disk.held.is_none())
    }

    /// Whether all is done that will be.
    pub(crate) fn is_done(&self) -> bool {
        self.inflight == 0 && self.is_drained() && !self.owes_flush() && !self.owes_check()
    }
}

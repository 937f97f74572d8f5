//! Completions that are taken back in groups.
//!
//! What must always hold: no fewer are taken than are wanted at a time, unless no more are in
//! flight; none is kept that could be taken.

use isotherm_seam::{Clock, Completion, Mono};

use super::Lane;

/// Completions that wait until they are enough.
pub(super) struct Back {
    pub(super) min: usize,
    pub(super) max: usize,
    pub(super) waiting: Vec<(usize, Completion)>,
}

impl Lane {
    /// Reaps once there are as many completions as are wanted at a time.
    pub(super) fn reap_enough<C: Clock>(
        &mut self,
        clock: &C,
        now: &mut Mono,
        done: &mut Vec<Completion>,
    ) -> usize {
        let mut back = self.back.take().expect("looked at by the caller");
        for (number, disk) in self.disks.iter_mut().enumerate() {
            disk.device.poll(*now, done);
            back.waiting.extend(done.drain(..).map(|completion| (number, completion)));
        }
        let mut reaped = 0;
        if back.is_enough(self.inflight) {
            reaped = back.waiting.len().min(back.max);
            self.depths.reaped(reaped);
            for (disk, mut completion) in back.waiting.drain(..reaped) {
                *now = clock.mono();
                self.complete(clock, disk, &mut completion, *now);
            }
        }
        self.back = Some(back);
        reaped
    }
}

impl Back {
    /// Whether those that wait are to be taken, with so many in flight, themselves included.
    #[inline]
    pub(super) fn is_enough(&self, inflight: u32) -> bool {
        let waiting = self.waiting.len();
        waiting > 0 && waiting >= self.min.min(inflight as usize)
    }
}

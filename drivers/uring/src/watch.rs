//! Which sockets of a ring have something to read, or room to write again.
//!
//! What must always hold: readiness is told when it begins (the kernel posts a poll's event when
//! data comes, not while it lies there), so a socket counts as readable until a read of it has
//! found nothing; an event that comes between that read and the next look is seen at the next
//! look. So an idle look costs no system call, and no datagram is slept over.
//!
//! ```text
//!          armed: multishot POLL_ADD            read finds nothing
//! [new] ------------------------> not readable <------------------.
//!                                       | event                   |
//!                                       '----------> readable ----'
//! ```

use std::os::fd::RawFd;

use crate::raw::RawRing;

/// High half of the user data of polls; disks are numbered from zero, the ring's own requests
/// from above.
const WATCH: u64 = 0xffff_fffe;

/// What a socket can be ready for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Side {
    /// Something may be there to read.
    Read,
    /// Nothing is known against writing.
    Write,
}

#[derive(Debug)]
struct Watch {
    fd: RawFd,
    /// Reads have not yet found nothing since the last event.
    is_readable: bool,
    /// A write found no room, and no event has come since.
    is_full: bool,
    /// Room came back, and nobody has written since.
    has_room_again: bool,
    read: Poll,
    write: Poll,
    /// Its owner is gone: nothing is armed any more.
    is_closed: bool,
}

/// A poll in the kernel.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Poll {
    Off,
    ToArm,
    Armed,
}

/// The sockets of one ring.
#[derive(Default)]
pub(crate) struct Watches {
    slots: Vec<Option<Watch>>,
    to_arm: bool,
}

impl Watches {
    /// Takes a socket in. It counts as readable until a read has told otherwise.
    pub(crate) fn add(&mut self, fd: RawFd) -> u32 {
        let watch = Watch {
            fd,
            is_readable: true,
            is_full: false,
            has_room_again: false,
            read: Poll::ToArm,
            write: Poll::Off,
            is_closed: false,
        };
        self.to_arm = true;
        let index = self.slots.iter().position(Option::is_none).unwrap_or(self.slots.len());
        if index == self.slots.len() {
            self.slots.push(Some(watch));
        } else {
            self.slots[index] = Some(watch);
        }
        index as u32
    }

    fn slot(&mut self, index: u32) -> &mut Watch {
        self.slots[index as usize].as_mut().expect("a watch lives as long as its socket")
    }

    fn slot_ref(&self, index: u32) -> &Watch {
        self.slots[index as usize].as_ref().expect("a watch lives as long as its socket")
    }

    #[inline]
    pub(crate) fn is_ready(&self, index: u32, side: Side) -> bool {
        let watch = self.slot_ref(index);
        match side {
            Side::Read => watch.is_readable,
            Side::Write => !watch.is_full,
        }
    }

    /// Whether room came back that nobody has used yet.
    #[inline]
    pub(crate) fn has_room_again(&self, index: u32) -> bool {
        self.slot_ref(index).has_room_again
    }

    /// A read found nothing.
    #[inline]
    pub(crate) fn drained(&mut self, index: u32) {
        self.slot(index).is_readable = false;
    }

    /// A write found no room.
    pub(crate) fn full(&mut self, index: u32) {
        let watch = self.slot(index);
        watch.is_full = true;
        watch.has_room_again = false;
        if watch.write == Poll::Off {
            watch.write = Poll::ToArm;
            self.to_arm = true;
        }
    }

    /// Something is written: the news of room is used up.
    #[inline]
    pub(crate) fn written(&mut self, index: u32) {
        self.slot(index).has_room_again = false;
    }

    /// Whether polls wait to be handed to the kernel.
    #[inline]
    pub(crate) fn to_arm(&self) -> bool {
        self.to_arm
    }

    /// Hands them over as far as there is room. True if anything was handed over.
    pub(crate) fn arm(&mut self, ring: &RawRing) -> bool {
        let mut moved = false;
        self.to_arm = false;
        for (index, slot) in self.slots.iter_mut().enumerate() {
            let Some(watch) = slot else { continue };
            let data = WATCH << 32 | (index as u64) << 1;
            if watch.read == Poll::ToArm {
                if ring.push_watch(watch.fd, data) {
                    watch.read = Poll::Armed;
                    moved = true;
                } else {
                    self.to_arm = true;
                }
            }
            if watch.write == Poll::ToArm {
                if ring.push_watch_room(watch.fd, data | 1) {
                    watch.write = Poll::Armed;
                    moved = true;
                } else {
                    self.to_arm = true;
                }
            }
        }
        moved
    }

    /// Whether a completion belongs to a socket.
    #[inline]
    pub(crate) fn is_theirs(user_data: u64) -> bool {
        user_data >> 32 == WATCH
    }

    /// A poll has completed, for the last time unless `more` follow.
    pub(crate) fn event(&mut self, user_data: u64, more: bool) {
        let index = (user_data as u32) >> 1;
        let watch = self.slot(index);
        if user_data & 1 == 1 {
            watch.is_full = false;
            watch.has_room_again = true;
            watch.write = Poll::Off;
            return;
        }
        watch.is_readable = true;
        if !more {
            watch.read = if watch.is_closed { Poll::Off } else { Poll::ToArm };
            self.to_arm |= !self.slot_ref(index).is_closed;
        }
    }

    /// Its owner lets it go. What is armed in the kernel must be cancelled.
    pub(crate) fn close(&mut self, index: u32) -> RawFd {
        let watch = self.slot(index);
        watch.is_closed = true;
        for poll in [&mut watch.read, &mut watch.write] {
            if *poll == Poll::ToArm {
                *poll = Poll::Off;
            }
        }
        watch.fd
    }

    /// Whether the kernel has let go of it.
    pub(crate) fn is_gone(&self, index: u32) -> bool {
        let watch = self.slot_ref(index);
        watch.read == Poll::Off && watch.write == Poll::Off
    }

    /// Frees the place of a socket that is gone. One that the kernel still holds keeps it, so
    /// that a late event finds no stranger there.
    pub(crate) fn forget(&mut self, index: u32) {
        if self.is_gone(index) {
            self.slots[index as usize] = None;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_socket_is_readable_from_an_event_until_a_read_finds_nothing() {
        let mut watches = Watches::default();
        let a = watches.add(5);
        assert!(watches.to_arm() && watches.is_ready(a, Side::Read));
        watches.drained(a);
        assert!(!watches.is_ready(a, Side::Read));
        watches.event(WATCH << 32 | u64::from(a) << 1, true);
        assert!(watches.is_ready(a, Side::Read));
    }

    #[test]
    fn a_poll_that_the_kernel_ended_is_armed_again() {
        let mut watches = Watches::default();
        let a = watches.add(5);
        watches.to_arm = false;
        watches.slot(a).read = Poll::Armed;
        watches.event(WATCH << 32 | u64::from(a) << 1, false);
        assert!(watches.to_arm() && watches.slot(a).read == Poll::ToArm);
        watches.close(a);
        assert!(watches.is_gone(a));
        watches.forget(a);
        assert_eq!(watches.add(6), a, "the place is used again");
    }

    #[test]
    fn no_room_is_over_with_the_event() {
        let mut watches = Watches::default();
        let a = watches.add(5);
        watches.full(a);
        assert!(!watches.is_ready(a, Side::Write));
        watches.event(WATCH << 32 | u64::from(a) << 1 | 1, false);
        assert!(watches.is_ready(a, Side::Write) && watches.has_room_again(a));
        watches.written(a);
        assert!(!watches.has_room_again(a));
    }
}

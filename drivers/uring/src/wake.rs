//! Waking a core that sleeps in its ring, from any thread.
//!
//! What must always hold: after an unpark the ring sees at least one event that it had not
//! seen when the unpark began. The ring polls the event counter with one multishot request, so
//! the counter is only ever written: each write is an event, and it would take 2^64 of them to
//! fill it.

use std::os::fd::{AsRawFd, RawFd};
use std::sync::atomic::{AtomicBool, Ordering};

use isotherm_seam::Unpark;
use nix::sys::eventfd::{EfdFlags, EventFd};

/// The bell of one ring.
pub(crate) struct Wake {
    bell: EventFd,
    /// It was rung, and the ring has not yet seen that: no need to ring again.
    rung: AtomicBool,
}

impl Wake {
    pub(crate) fn new() -> Result<Wake, i32> {
        let flags = EfdFlags::EFD_CLOEXEC | EfdFlags::EFD_NONBLOCK;
        let bell = EventFd::from_value_and_flags(0, flags).map_err(|errno| errno as i32)?;
        Ok(Wake { bell, rung: AtomicBool::new(false) })
    }

    pub(crate) fn fd(&self) -> RawFd {
        self.bell.as_raw_fd()
    }

    /// The ring has seen the event; what was written before the unpark is visible from here on.
    pub(crate) fn seen(&self) {
        self.rung.swap(false, Ordering::AcqRel);
    }
}

impl Unpark for Wake {
    fn unpark(&self) {
        if !self.rung.swap(true, Ordering::AcqRel) {
            self.bell.write(1).expect("an event counter far from full");
        }
    }
}

//! What a result from the kernel means for a request: pure, so that short transfers, retries
//! and errors are tested without a device that makes them.
//!
//! What must always hold: a request ends with success only when all of it was moved, and a
//! request that makes no progress ends.

use isotherm_seam::{BlockSize, IoError, Lba};

/// Answers in a row without progress (EAGAIN, EINTR) after which a request fails.
const TRIES_MAX: u8 = 100;

/// How far a request has come.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) struct Progress {
    /// Bytes to move; 0 for an operation that moves none.
    pub(crate) len_bytes: u32,
    /// Bytes moved so far.
    pub(crate) moved_bytes: u32,
    tries: u8,
}

/// What to do with a request after an answer.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Verdict {
    /// All of it is done.
    Done,
    /// Send the rest again.
    Again,
    /// The file ends here although the geometry says that it goes on: it shrank, or is gone.
    Ended,
    /// The kernel says no.
    Failed {
        /// Its errno.
        errno: i32,
    },
}

impl Progress {
    /// A request of `len_bytes`, at its start.
    #[inline]
    pub(crate) fn new(len_bytes: u32) -> Progress {
        Progress { len_bytes, moved_bytes: 0, tries: 0 }
    }

    /// Takes the kernel's answer: bytes moved, or a negative errno. Transfers go on at
    /// multiples of `unit_bytes` only.
    #[inline]
    pub(crate) fn take(&mut self, answer: i32, unit_bytes: u32) -> Verdict {
        if answer as u32 == self.len_bytes && self.moved_bytes == 0 {
            self.moved_bytes = self.len_bytes;
            return Verdict::Done;
        }
        self.take_odd(answer, unit_bytes)
    }

    /// Everything but a whole transfer at the first try.
    #[cold]
    fn take_odd(&mut self, answer: i32, unit_bytes: u32) -> Verdict {
        match answer {
            0 => Verdict::Ended,
            moved if moved > 0 => {
                let moved = moved as u32;
                assert!(moved <= self.len_bytes - self.moved_bytes, "more bytes than asked for");
                self.moved_bytes += moved;
                self.tries = 0;
                if self.moved_bytes == self.len_bytes {
                    Verdict::Done
                } else if !self.moved_bytes.is_multiple_of(unit_bytes) {
                    Verdict::Ended
                } else {
                    Verdict::Again
                }
            }
            errno => {
                let errno = -errno;
                self.tries += 1;
                let transient = errno == libc::EAGAIN || errno == libc::EINTR;
                if transient && self.tries < TRIES_MAX {
                    Verdict::Again
                } else {
                    Verdict::Failed { errno }
                }
            }
        }
    }

    /// The first block not moved, for a request that started at `start_bytes`.
    pub(crate) fn stopped_at(&self, start_bytes: u64, size: BlockSize) -> Lba {
        size.lba_of(start_bytes + u64::from(self.moved_bytes))
    }
}

/// The cause of a failure. `shrunk` tells whether the device is smaller than when it was
/// opened: one that was pulled out says EIO, ENOSPC or end of file, and has no size any more.
pub(crate) fn cause(verdict: Verdict, at: Lba, shrunk: impl Fn() -> bool) -> IoError {
    match verdict {
        Verdict::Done | Verdict::Again => unreachable!("not a failure"),
        Verdict::Ended => {
            if shrunk() {
                IoError::Gone
            } else {
                IoError::Media { lba: at }
            }
        }
        Verdict::Failed { errno } => match errno {
            libc::EIO | libc::ENOSPC if shrunk() => IoError::Gone,
            _ => IoError::from_errno(errno, at),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_whole_transfer_is_done_and_a_short_one_goes_on() {
        let mut p = Progress::new(8192);
        assert_eq!(p.take(8192, 512), Verdict::Done);

        let mut p = Progress::new(8192);
        assert_eq!(p.take(4096, 512), Verdict::Again);
        assert_eq!(p.moved_bytes, 4096);
        assert_eq!(p.take(-libc::EIO, 512), Verdict::Failed { errno: libc::EIO });
        assert_eq!(p.stopped_at(1 << 20, BlockSize::B512), Lba((1 << 20) / 512 + 8));

        let mut p = Progress::new(8192);
        assert_eq!(p.take(4096, 512), Verdict::Again);
        assert_eq!(p.take(4096, 512), Verdict::Done);
    }

    #[test]
    fn an_operation_without_bytes_is_done_at_zero() {
        assert_eq!(Progress::new(0).take(0, 512), Verdict::Done);
        let failed = Verdict::Failed { errno: libc::EIO };
        assert_eq!(Progress::new(0).take(-libc::EIO, 512), failed);
    }

    #[test]
    fn the_end_of_the_file_ends_a_transfer() {
        let mut p = Progress::new(8192);
        assert_eq!(p.take(4096, 512), Verdict::Again);
        assert_eq!(p.take(0, 512), Verdict::Ended);
        // Direct I/O can't go on from the middle of a block; buffered I/O can.
        assert_eq!(Progress::new(8192).take(100, 512), Verdict::Ended);
        assert_eq!(Progress::new(8192).take(100, 1), Verdict::Again);
    }

    #[test]
    fn a_transient_refusal_is_tried_again_but_not_for_ever() {
        for errno in [libc::EAGAIN, libc::EINTR] {
            let mut p = Progress::new(4096);
            let again = (0..).take_while(|_| p.take(-errno, 512) == Verdict::Again).count();
            assert_eq!(again, usize::from(TRIES_MAX) - 1);
        }
        // Progress in between starts the count again.
        let mut p = Progress::new(1 << 20);
        for _ in 0..255 {
            assert_eq!(p.take(-libc::EAGAIN, 512), Verdict::Again);
            assert_eq!(p.take(512, 512), Verdict::Again);
        }
    }

    #[test]
    fn a_device_that_lost_its_size_is_gone() {
        let eio = Verdict::Failed { errno: libc::EIO };
        assert_eq!(cause(eio, Lba(7), || true), IoError::Gone);
        assert_eq!(cause(eio, Lba(7), || false), IoError::Media { lba: Lba(7) });
        assert_eq!(cause(Verdict::Ended, Lba(7), || true), IoError::Gone);
        assert_eq!(cause(Verdict::Ended, Lba(7), || false), IoError::Media { lba: Lba(7) });
        let full = Verdict::Failed { errno: libc::ENOSPC };
        assert_eq!(cause(full, Lba(7), || false), IoError::NoSpace);
    }
}

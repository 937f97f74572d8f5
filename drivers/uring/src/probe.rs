//! Would the kernel punt this file's reads to its workers, and would we rather make them
//! ourselves?
//!
//! io_uring submits without waiting only where the file can promise not to wait. Where it
//! can't (zram, tmpfs), each request goes to a kernel thread and back, which costs more than
//! reading from memory does: on zram 292 k reads a second through the ring against 515 k
//! plain ones. A disk that really waits stays on the ring, punted or not.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::time::Instant;

use isotherm_seam::Region;

use crate::sys;

/// A read faster than this is memory's, not a medium's.
const FAST_NS: u64 = 20_000;
/// Reads timed.
const READS: usize = 9;

/// How a file's reads are best made.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Reads {
    /// Through the ring; the kernel starts them without waiting.
    Ring,
    /// Through the ring, though the kernel punts them to its workers: they take this long.
    Punted {
        /// Median time of a plain read.
        read_ns: u64,
    },
    /// By the core itself: memory-like.
    Plain {
        /// Median time of a plain read.
        read_ns: u64,
    },
}

/// Asks the kernel, and times a few plain reads if it would punt them. `len_bytes` is the
/// file's, `unit_bytes` what offsets, lengths and memory must be aligned to.
pub(crate) fn reads_of(file: &File, len_bytes: u64, unit_bytes: u32) -> Reads {
    let unit = unit_bytes.max(4096);
    // The region starts on a page; direct I/O asks for no more than that.
    let Ok(mut region) = Region::new(unit as usize, false) else { return Reads::Ring };
    let block = &mut region[..unit as usize];
    // At the end there is nothing to read, so nothing to wait for: the answer is about the
    // promise alone.
    let end = len_bytes.next_multiple_of(u64::from(unit));
    if sys::read_nowait(file, block, end) != Err(libc::EOPNOTSUPP) {
        return Reads::Ring;
    }
    let units = (len_bytes / u64::from(unit)).max(1);
    let read_ns = time_reads(|i| {
        let offset = units * i as u64 / READS as u64 * u64::from(unit);
        // An error takes its time too; the disk will report it when asked in earnest.
        let _ = file.read_at(block, offset);
    });
    if read_ns < FAST_NS { Reads::Plain { read_ns } } else { Reads::Punted { read_ns } }
}

/// The median of a few reads, in nanoseconds. A few slow ones on a busy machine do not change
/// it; once so many are slow that it must be, no more are made.
#[expect(clippy::disallowed_methods, reason = "the real half of a seam: times the device")]
fn time_reads(mut read: impl FnMut(usize)) -> u64 {
    let mut times = Vec::with_capacity(READS);
    let mut slow = 0;
    for i in 0..READS {
        let start = Instant::now();
        read(i);
        let ns = start.elapsed().as_nanos() as u64;
        times.push(ns);
        slow += usize::from(ns >= FAST_NS);
        if slow > READS / 2 {
            break;
        }
    }
    times.sort_unstable();
    times[times.len() / 2]
}

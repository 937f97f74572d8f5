//! What was asked of a disk and how long it took: plain numbers, taken without a lock because
//! they belong to one core.

use isotherm_seam::Nanos;
use isotherm_wire::{Ask, Failure};

/// Bins of a latency: two to each doubling, from a microsecond to some 70 minutes.
pub const LATENCY_BINS: usize = 64;

/// The shortest time in a bin, in nanoseconds.
pub fn bin_floor(bin: usize) -> u64 {
    let octave = 1000u64 << (bin / 2);
    if bin.is_multiple_of(2) { octave } else { octave.saturating_add(octave / 2) }
}

fn bin_of(length: Nanos) -> usize {
    let micros = length.0 / 1000;
    if micros == 0 {
        return 0;
    }
    let octave = micros.ilog2() as usize;
    let bin = (2 * octave).min(LATENCY_BINS - 2);
    bin + usize::from(length.0 >= bin_floor(bin + 1))
}

/// What was asked of one disk since its node was started.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Tally {
    /// Answered well, by verb: see [`Tally::VERBS`].
    pub done: [u64; Tally::VERBS.len()],
    /// Answered with a failure, by its number on the wire less one.
    pub failed: [u64; Failure::ALL.len()],
    /// Payload bytes given.
    pub given_bytes: u64,
    /// Payload bytes taken.
    pub taken_bytes: u64,
    /// Requests that nobody waited for any more when they had their turn.
    pub unwanted: u64,
    /// Reservations that ended without an answer: served elsewhere, or nobody waits for them.
    pub dropped: u64,
    /// From the arrival of a get to its answer.
    pub get_latency: [u64; LATENCY_BINS],
    /// From the arrival of a put to its answer.
    pub put_latency: [u64; LATENCY_BINS],
    /// Sum of the former, in nanoseconds.
    pub get_ns: u64,
    /// Sum of the latter, in nanoseconds.
    pub put_ns: u64,
}

impl Tally {
    /// The verbs, in the order of `done`.
    pub const VERBS: [&str; 10] =
        ["put", "get", "delete", "release", "stat", "verify", "list", "scrub", "status", "vouch"];

    pub(crate) fn done(&mut self, verb: usize, took: Nanos) {
        self.done[verb] += 1;
        match verb {
            PUT => {
                self.put_latency[bin_of(took)] += 1;
                self.put_ns += took.0;
            }
            GET => {
                self.get_latency[bin_of(took)] += 1;
                self.get_ns += took.0;
            }
            _ => {}
        }
    }

    pub(crate) fn failed(&mut self, failure: Failure) {
        let same =
            |other: &Failure| core::mem::discriminant(other) == core::mem::discriminant(&failure);
        let index = Failure::ALL.iter().position(|(_, other)| same(other));
        self.failed[index.expect("each failure has a number")] += 1;
    }
}

impl Default for Tally {
    fn default() -> Tally {
        Tally {
            done: [0; Tally::VERBS.len()],
            failed: [0; Failure::ALL.len()],
            given_bytes: 0,
            taken_bytes: 0,
            unwanted: 0,
            dropped: 0,
            get_latency: [0; LATENCY_BINS],
            put_latency: [0; LATENCY_BINS],
            get_ns: 0,
            put_ns: 0,
        }
    }
}

const PUT: usize = 0;
const GET: usize = 1;

/// The place of a verb in [`Tally::VERBS`]; `None` for what is asked of no disk.
pub(crate) fn verb_of(ask: &Ask) -> Option<usize> {
    Some(match ask {
        Ask::Ping => return None,
        Ask::Put { .. } => PUT,
        Ask::Get { .. } | Ask::Reserve { .. } => GET,
        Ask::Delete { .. } => 2,
        Ask::Release { .. } => 3,
        Ask::Stat { .. } => 4,
        Ask::Verify { .. } => 5,
        Ask::List { .. } => 6,
        Ask::Scrub => 7,
        Ask::Status => 8,
        Ask::Vouch { .. } => 9,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_length_lies_in_its_bin() {
        for bin in 0..LATENCY_BINS - 1 {
            assert_eq!(bin_of(Nanos(bin_floor(bin))), bin);
            assert_eq!(bin_of(Nanos(bin_floor(bin + 1) - 1)), bin);
        }
        assert_eq!(bin_of(Nanos(0)), 0);
        assert_eq!(bin_of(Nanos(u64::MAX)), LATENCY_BINS - 1);
    }
}

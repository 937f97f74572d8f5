//! Lifetimes: what will soon be replaced lies apart from what will stay, and the cleaner waits for
//! it to die.
//!
//! What must always hold: these are hints. Whatever they say, nothing is lost and nothing is
//! wrong; the cleaner only has more or less to move.
//!
//! Ages are counted in changes of the store and in lives of extents, never in seconds: a disk that
//! nobody writes to does not age.
//!
//! The figures below are from a model of this store (1,000 extents of 31 records, 77 % of the room
//! live, Zipf 0.9; records written for each that is put):
//!
//! | puts              | moves                   | victim              |      |
//! |-------------------|-------------------------|---------------------|------|
//! | one lane          | first move, later moves | the emptiest        | 2.45 |
//! | one lane          | first move, later moves | by age, square root | 2.16 |
//! | one lane          | young, old              | by age, square root | 2.16 |
//! | brief, others     | one lane                | by age, square root | 2.02 |
//! | brief, others     | first move, later moves | by age, square root | 1.96 |
//! | brief, others     | young, old              | by age, square root | 1.93 |
//! | brief, others     | four ages               | by age, square root | 1.92 |
//! | two brief, others | young, old              | by age, square root | 1.88 |
//!
//! Each lane costs an open extent and, on a mechanical disk, a seek per batch. So two of each it is,
//! and puts have one lane as long as the cleaner has nothing to do. With thresholds half or twice as
//! high 1.93 becomes 1.96 at most.

use crate::ExtentId;
use crate::append::Aim;

/// A put is brief if what it replaces has lived for less than so many changes per shard of the disk.
/// Who died young will again. Under Zipf 0.9 these are 61 % of the puts, and of their extents a fifth
/// is still live when the cleaner comes.
const BRIEF_LIFETIME: f64 = 0.25;
/// What is moved is old if it has lived for so many changes per shard of the disk.
const OLD_AGE: f64 = 0.5;

/// Where a put goes while room is short, by the changes since that of what it replaces (`None` if
/// nothing is known to be replaced) and the entries of the store.
pub(crate) fn aim_of_put(lifetime: Option<u64>, entries: u64) -> Aim {
    match lifetime {
        Some(lifetime) if (lifetime as f64) < BRIEF_LIFETIME * entries as f64 => Aim::Brief,
        _ => Aim::Fresh,
    }
}

/// Where the cleaner moves what was put so many changes ago.
pub(crate) fn aim_of_move(age: u64, entries: u64) -> Aim {
    if (age as f64) < OLD_AGE * entries as f64 { Aim::Warm } else { Aim::Cold }
}

/// What the cleaner sees of an extent.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Candidate {
    /// Which.
    pub extent: ExtentId,
    /// Its live part, 0 to 1.
    pub live: f64,
    /// Lives of extents that have begun since its own.
    pub age: u64,
}

/// The extent that is best emptied next: what is gained for what it costs, (1 − u) / (1 + u), and
/// the older it is the longer the gain will last: what is left in a young one may yet die by
/// itself. Rosenblum and Ousterhout (1992) take the age as it is; its square root is better on all
/// loads that were tried, and near the emptiest-first rule where all shards are alike.
pub fn victim(candidates: impl Iterator<Item = Candidate>) -> Option<Candidate> {
    let score = |candidate: &Candidate| {
        let gain = (1.0 - candidate.live) / (1.0 + candidate.live);
        gain * (candidate.age as f64 + 1.0).sqrt()
    };
    candidates
        .filter(|candidate| candidate.live < 1.0)
        .max_by(|a, b| score(a).total_cmp(&score(b)).then(b.extent.cmp(&a.extent)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn candidate(extent: u32, live: f64, age: u64) -> Candidate {
        Candidate { extent: ExtentId(extent), live, age }
    }

    #[test]
    fn the_emptier_and_the_older_go_first() {
        let pick = |candidates: &[Candidate]| {
            victim(candidates.iter().copied()).map(|candidate| candidate.extent.0)
        };
        assert_eq!(pick(&[candidate(1, 0.5, 10), candidate(2, 0.2, 10)]), Some(2));
        assert_eq!(pick(&[candidate(1, 0.5, 100), candidate(2, 0.5, 10)]), Some(1));
        // Old and fuller may be worth more than young and emptier.
        assert_eq!(pick(&[candidate(1, 0.75, 1000), candidate(2, 0.2, 10)]), Some(1));
        assert_eq!(pick(&[candidate(1, 1.0, 1000)]), None);
    }

    #[test]
    fn who_replaces_the_young_is_brief() {
        assert_eq!(aim_of_put(None, 100), Aim::Fresh);
        assert_eq!(aim_of_put(Some(24), 100), Aim::Brief);
        assert_eq!(aim_of_put(Some(25), 100), Aim::Fresh);
        assert_eq!(aim_of_put(Some(0), 0), Aim::Fresh);
    }

    #[test]
    fn the_old_are_moved_apart() {
        assert_eq!(aim_of_move(49, 100), Aim::Warm);
        assert_eq!(aim_of_move(50, 100), Aim::Cold);
    }
}

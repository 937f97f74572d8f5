//! Where the replicas of a small object lie within its group.
//!
//! What must always hold: the answer for an object and a codec never changes, in no version of
//! this software, for the replicas lie there. So the mixing is written out here and shared with
//! nothing, and a test pins what it answers.

use core::ops::Deref;

use isotherm_erasure::Scheme;

use crate::map::MEMBERS_MAX;

/// Positions within a group, all different.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Positions {
    positions: [u8; MEMBERS_MAX],
    len: u8,
}

impl Deref for Positions {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.positions[..usize::from(self.len)]
    }
}

impl core::fmt::Debug for Positions {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_list().entries(self.iter()).finish()
    }
}

/// The m+1 positions of a group that hold the replicas of `object`, in the order in which they
/// were drawn: each position is equally likely at each place, and so is each set of positions.
///
/// m is what the codec survives whichever disks are lost, so replicas survive as much as stripes
/// do. The codec has at most [`MEMBERS_MAX`] cells, as that of every valid map has.
///
/// The first m+1 steps of a Fisher-Yates shuffle of 0..k+m. The draws are SplitMix64 (Steele,
/// Lea, Flood 2014) from a start that mixes both halves of the id, brought into range by the high
/// half of a product (bias below 64 / 2^64).
#[must_use]
pub fn replica_positions(object: u128, scheme: Scheme) -> Positions {
    let (cells, copies) = (scheme.cells(), scheme.tolerated_losses() + 1);
    assert!(copies <= cells && cells <= MEMBERS_MAX, "{scheme} is wider than a group");
    let mut positions = [0; MEMBERS_MAX];
    for (at, position) in positions[..cells].iter_mut().enumerate() {
        *position = at as u8;
    }
    let mut state = mix((object as u64).wrapping_add(GOLDEN)) ^ (object >> 64) as u64;
    for at in 0..copies {
        state = state.wrapping_add(GOLDEN);
        let left = (cells - at) as u128;
        let step = ((u128::from(mix(state)) * left) >> 64) as usize;
        positions.swap(at, at + step);
    }
    positions[copies..].fill(0);
    Positions { positions, len: copies as u8 }
}

/// 2^64 over the golden ratio.
const GOLDEN: u64 = 0x9e37_79b9_7f4a_7c15;

/// Stafford's variant 13 of the 64-bit finaliser.
const fn mix(mut z: u64) -> u64 {
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;

    fn scheme(text: &str) -> Scheme {
        text.parse().unwrap()
    }

    #[test]
    fn each_set_of_positions_is_equally_likely() {
        // Ids that count up, in the low half and in the high one: 20 sets of three of six, so
        // each is Binomial with mean 3,000 and deviation 53.
        for shift in [0, 64, 100] {
            let mut sets: BTreeMap<Vec<u8>, u32> = BTreeMap::new();
            let mut first = [0u32; 6];
            for object in 0..60_000u128 {
                let drawn = replica_positions(object << shift, scheme("4+2"));
                first[usize::from(drawn[0])] += 1;
                let mut set = drawn.to_vec();
                set.sort_unstable();
                *sets.entry(set).or_default() += 1;
            }
            assert_eq!(sets.len(), 20, "shift {shift}: all sets, and none with a position twice");
            for (set, count) in sets {
                assert!((2_760..=3_240).contains(&count), "shift {shift}: {set:?} {count}");
            }
            for count in first {
                assert!((9_600..=10_400).contains(&count), "shift {shift}: first {first:?}");
            }
        }
    }

    #[test]
    fn as_many_copies_as_survive_what_stripes_survive() {
        for (text, copies) in [("4+2", 3), ("10+4", 5), ("3x", 3), ("lrc12+2+2", 4), ("1+1", 2)] {
            let scheme = scheme(text);
            for object in 0..500 {
                let drawn = replica_positions(object, scheme);
                let mut set = drawn.to_vec();
                set.sort_unstable();
                set.dedup();
                assert_eq!(set.len(), copies, "{text}: {drawn:?}");
                assert!(set.iter().all(|&p| usize::from(p) < scheme.cells()), "{text}: {drawn:?}");
            }
        }
    }
}

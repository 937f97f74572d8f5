//! The memory of a table: slots of twelve bytes, and where each lies.
//!
//! What must always hold: a slot never moves, and its address follows from its partition and its
//! number alone, so that finding it waits for no list in memory.
//!
//! ```text
//! slot, three words:  | rest 47..16 | rest 15..0, place 47..32 | place 31..0 |
//!                                                   ^ bit 15: the slot is taken
//!
//! memory:  segment 0               segment 1               ..   segment 32
//!          | p0 | p1 | .. | p4095 | p0 | p1 | .. | p4095 | .. | p0 p0 | p1 p1 | .. a page: 32 slots
//! ```
//!
//! A partition's slots come in pages, pages in segments, 16 segments to each doubling. A segment
//! is made for all partitions at once: fingerprints spread so evenly that all will want it soon
//! (of 6,100 entries each, 4,096 partitions have 5,800 to 6,400). Memory that is not used yet is
//! only addresses.

use std::fmt;

use isotherm_seam::Region;
use zerocopy::FromBytes;

use super::PARTITIONS;
use crate::Place;

pub(super) const REST_BITS: u32 = 48;

/// Three words rather than one number: an entry is 12 bytes and needs no alignment to 8.
pub(super) type Slot = [u32; 3];

pub(super) const FREE: Slot = [0; 3];

const TAKEN: u64 = 1 << 47;

const PAGE_SLOTS: usize = 32;
const PAGE_SHIFT: u32 = PAGE_SLOTS.trailing_zeros();
/// Segments per doubling.
const STEP_SEGMENTS: usize = 16;
const STEP_SHIFT: u32 = STEP_SEGMENTS.trailing_zeros();
/// Segments that are asked of the system together: 6 MiB of addresses at first.
const REGION_SEGMENTS: usize = 4;

const _: () = assert!(size_of::<Slot>() == 12);
const _: () = assert!(STEP_SEGMENTS.is_multiple_of(REGION_SEGMENTS));

pub(super) fn slot_of(rest: u64, place: u64) -> Slot {
    assert!(place < TAKEN, "a place has 47 bits and less");
    let place = place | TAKEN;
    [(rest >> 16) as u32, (rest << 16) as u32 | (place >> 32) as u32, place as u32]
}

pub(super) fn rest_of(slot: Slot) -> u64 {
    (u64::from(slot[0]) << 32 | u64::from(slot[1])) >> 16
}

pub(super) fn place_of(slot: Slot) -> Place {
    Place::unpack((u64::from(slot[1]) << 32 | u64::from(slot[2])) & (TAKEN - 1))
}

pub(super) fn is_free(slot: Slot) -> bool {
    slot[1] & (TAKEN >> 32) as u32 == 0
}

/// The segment of a partition's page, and which page of the segment it is.
///
/// Pages 0..32 are segments of their own, 32..64 are in segments of two, 64..128 in segments of
/// four, …: page 70 is the third of segment 49.
fn segment_of(page: usize) -> (usize, usize) {
    let octave = (page | STEP_SEGMENTS).ilog2() - STEP_SHIFT;
    let segment = STEP_SEGMENTS * octave as usize + (page >> octave);
    (segment, page & ((1 << octave) - 1))
}

/// Pages of a segment.
fn segment_pages(segment: usize) -> usize {
    1 << (segment >> STEP_SHIFT).saturating_sub(1)
}

/// The slots of all partitions.
#[derive(Default)]
pub(super) struct Slots {
    /// Segments 0 to 3, 4 to 7, and so on, of every partition.
    regions: Vec<Region>,
    /// Slots given out.
    given: usize,
}

impl Slots {
    /// The slots of a partition from one on, as far as they lie in one row.
    #[inline]
    pub(super) fn row(&self, partition: usize, slot: usize) -> &[Slot] {
        let (region, from, to) = locate(partition, slot);
        let bytes = &self.regions[region][from * size_of::<Slot>()..to * size_of::<Slot>()];
        <[Slot]>::ref_from_bytes(bytes).expect("whole slots")
    }

    /// As [`Slots::row`], to change them.
    #[inline]
    pub(super) fn row_mut(&mut self, partition: usize, slot: usize) -> &mut [Slot] {
        let (region, from, to) = locate(partition, slot);
        let bytes = &mut self.regions[region][from * size_of::<Slot>()..to * size_of::<Slot>()];
        <[Slot]>::mut_from_bytes(bytes).expect("whole slots")
    }

    /// Gives a partition of so many slots one segment more. How many slots that is.
    pub(super) fn extend(&mut self, slots: u32) -> u32 {
        let (segment, page) = segment_of(slots as usize >> PAGE_SHIFT);
        assert!(page == 0, "a partition has whole segments");
        let pages = segment_pages(segment);
        if segment / REGION_SEGMENTS == self.regions.len() {
            let bytes = REGION_SEGMENTS * PARTITIONS * pages * PAGE_SLOTS * size_of::<Slot>();
            // A small table touches little here and there: huge pages would cost it more memory
            // than it has entries for.
            let huge = segment > 0;
            self.regions.push(Region::new(bytes, huge).expect("memory for the index"));
        }
        let more = pages * PAGE_SLOTS;
        self.given += more;
        u32::try_from(more).expect("a segment of fewer than 2^32 slots")
    }

    /// Bytes of memory in use.
    pub(super) fn bytes(&self) -> usize {
        self.given * size_of::<Slot>() + self.regions.capacity() * size_of::<Region>()
    }
}

impl fmt::Debug for Slots {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Slots").field("given", &self.given).finish_non_exhaustive()
    }
}

/// The region of a slot, which of its slots it is, and where the partition's segment ends.
#[inline]
fn locate(partition: usize, slot: usize) -> (usize, usize, usize) {
    let (segment, page) = segment_of(slot >> PAGE_SHIFT);
    let pages = segment_pages(segment);
    let first = ((segment % REGION_SEGMENTS) * PARTITIONS + partition) * pages;
    let from = ((first + page) << PAGE_SHIFT) + (slot & (PAGE_SLOTS - 1));
    (segment / REGION_SEGMENTS, from, (first + pages) << PAGE_SHIFT)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn segments_are_laid_end_to_end() {
        let mut page = 0;
        for segment in 0..200 {
            for offset in 0..segment_pages(segment) {
                assert_eq!(segment_of(page), (segment, offset));
                page += 1;
            }
        }
        assert_eq!(segment_of(70), (49, 2));
    }

    #[test]
    fn no_slot_lies_where_another_does() {
        let mut slots = Slots::default();
        let mut count = 0;
        while count < 40 * PAGE_SLOTS as u32 {
            count += slots.extend(count);
        }
        let partitions = [0, 1, 17, PARTITIONS - 1];
        let name = |partition: usize, slot: usize| [partition as u32, slot as u32, 1];
        for partition in partitions {
            for slot in 0..count as usize {
                assert_eq!(slots.row(partition, slot)[0], FREE);
                slots.row_mut(partition, slot)[0] = name(partition, slot);
            }
        }
        for partition in partitions {
            let mut slot = 0;
            while slot < count as usize {
                for own in slots.row(partition, slot) {
                    assert_eq!(*own, name(partition, slot));
                    slot += 1;
                }
            }
            assert_eq!(slot, count as usize, "a row ends where the partition does");
        }
    }
}

//! A record as it was read: the one place that says whether it is whole.
//!
//! What must always hold: a check block counts only if it is sound, lies where it must, is of this
//! life of its extent, and is the segment that was looked for; a payload only with its checksums.
//! All segments of a record have one key, one length and one number. No block is summed twice.

use std::ops::Range;

use crate::BLOCK_BYTES;
use crate::layout::{
    Block, BlockError, CRC_BYTES, Kind, Origin, RecordHead, SEGMENT_BYTES, Segments, Shape,
};

/// A sound block of this kind that lies where it must, of this life of the extent (of any, for
/// the planted bug).
pub(crate) fn sound<'a>(
    bytes: &'a [u8],
    origin: &Origin,
    kind: Kind,
    any_life: bool,
) -> Result<&'a Block, BlockError> {
    let (block, own) = Block::check(bytes)?;
    match block.check_origin(origin) {
        Err(BlockError::Stale) if any_life => {}
        result => result?,
    }
    if own != kind {
        return Err(BlockError::Kind);
    }
    Ok(block)
}

/// A record from one of its segments on, of which the first check block was checked.
pub(crate) struct ReadRecord<'a> {
    bytes: &'a [u8],
    origin: Origin,
    kind: Kind,
    any_life: bool,
    /// The segment that the bytes begin with.
    first: u32,
    pub(crate) head: RecordHead,
    pub(crate) shape: Shape,
    pub(crate) sequence: u64,
}

impl<'a> ReadRecord<'a> {
    /// The record of which a segment should begin here.
    pub(crate) fn new(
        bytes: &'a [u8],
        origin: &Origin,
        kind: Kind,
        first: u32,
        any_life: bool,
    ) -> Result<ReadRecord<'a>, BlockError> {
        let front = bytes.get(..BLOCK_BYTES).ok_or(BlockError::Contradiction)?;
        let block = sound(front, origin, kind, any_life)?;
        let (head, shape) = RecordHead::read(block)?;
        if block.segment().0 != first {
            return Err(BlockError::Contradiction);
        }
        let sequence = block.sequence();
        Ok(ReadRecord { bytes, origin: *origin, kind, any_life, first, head, shape, sequence })
    }

    /// Whether these bytes are just the whole record, all of it unharmed.
    pub(crate) fn check_whole(&self) -> Result<(), BlockError> {
        if self.first != 0 || self.shape.blocks() as usize * BLOCK_BYTES != self.bytes.len() {
            return Err(BlockError::Contradiction);
        }
        self.check(&(0..self.shape.payload_bytes))
    }

    /// Whether every segment that a range of the payload touches is of this record, and the
    /// range, to whole units of the checksums, unharmed.
    pub(crate) fn check(&self, range: &Range<u32>) -> Result<(), BlockError> {
        let base = self.shape.segment_block(self.first);
        let last = range.end.saturating_sub(1) / SEGMENT_BYTES as u32;
        for segment in self.first..=last.min(self.shape.segments() - 1) {
            let ahead = self.shape.segment_block(segment) - base;
            let bytes = self.bytes.get(ahead as usize * BLOCK_BYTES..).unwrap_or_default();
            if segment > self.first {
                let origin = Origin { block: self.origin.block + ahead, ..self.origin };
                let own = ReadRecord::new(bytes, &origin, self.kind, segment, self.any_life)?;
                let is_ours = own.head.key == self.head.key
                    && own.shape == self.shape
                    && own.sequence == self.sequence;
                if !is_ours {
                    return Err(BlockError::Contradiction);
                }
            }
            let (front, payload) = bytes.split_at(BLOCK_BYTES);
            let start = segment as usize * SEGMENT_BYTES;
            let from = (range.start as usize).max(start) - start;
            let to = (range.end as usize).clamp(start, start + SEGMENT_BYTES) - start;
            let units = from / CRC_BYTES..to.div_ceil(CRC_BYTES);
            if !Segments::check_units(Block::over(front), payload, units.start, units.end) {
                return Err(BlockError::Checksum);
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{ExtentId, Key};

    const ORIGIN: Origin = Origin { uuid: [5; 16], extent: ExtentId(3), block: 7, incarnation: 9 };

    /// A record of three segments.
    fn written() -> (Vec<u8>, Shape) {
        let shape = Shape { payload_bytes: 2 * SEGMENT_BYTES as u32 + 70_000 };
        let mut bytes = vec![0; shape.blocks() as usize * BLOCK_BYTES];
        let head = RecordHead {
            key: Key { object: 77, ..Key::MIN },
            epoch: 1,
            codec: 2,
            put_s: 3,
            expires_s: 4,
            kills: crate::layout::Kills::default(),
            supersedes: None,
        };
        for segment in 0..shape.segments() {
            let at = shape.segment_block(segment) as usize * BLOCK_BYTES;
            let (front, payload) = bytes[at..].split_at_mut(BLOCK_BYTES);
            let payload = &mut payload[..shape.segment_bytes(segment) as usize];
            payload.fill(segment as u8 + 1);
            let block = Block::over_mut(front);
            head.write(Kind::Data, shape, segment, payload, block);
            let origin = Origin { block: ORIGIN.block + shape.segment_block(segment), ..ORIGIN };
            block.seal(&origin, 11, 0);
        }
        (bytes, shape)
    }

    fn whole(bytes: &[u8]) -> Result<(), BlockError> {
        ReadRecord::new(bytes, &ORIGIN, Kind::Data, 0, false)?.check_whole()
    }

    #[test]
    fn any_byte_that_counts_is_missed() {
        let (good, shape) = written();
        assert_eq!(whole(&good), Ok(()));
        // The padding of the last segment is not covered.
        let end = shape.payload_at(shape.segments() - 1).end;
        for at in (0..end).step_by(997).chain([0, BLOCK_BYTES - 1, BLOCK_BYTES, end - 1]) {
            let mut bytes = good.clone();
            bytes[at] ^= 1;
            assert!(whole(&bytes).is_err(), "byte {at}");
        }
        for len in [0, 1, BLOCK_BYTES, good.len() - BLOCK_BYTES] {
            assert!(whole(&good[..len]).is_err(), "{len} bytes");
        }
    }

    #[test]
    fn a_range_is_checked_from_its_segment_on() {
        let (good, shape) = written();
        let at = shape.segment_block(1);
        let origin = Origin { block: ORIGIN.block + at, ..ORIGIN };
        let mut bytes = good[at as usize * BLOCK_BYTES..].to_vec();
        let second = SEGMENT_BYTES as u32;
        let check = |bytes: &[u8], range: Range<u32>| {
            ReadRecord::new(bytes, &origin, Kind::Data, 1, false)?.check(&range)
        };
        assert_eq!(check(&bytes, second..shape.payload_bytes), Ok(()));
        // Damage in another unit of the checksums than the range's is not looked at.
        bytes[BLOCK_BYTES + CRC_BYTES] ^= 1;
        assert_eq!(check(&bytes, second + 1..second + 2), Ok(()));
        let unit = second + CRC_BYTES as u32;
        assert_eq!(check(&bytes, unit - 1..unit + 1), Err(BlockError::Checksum));
        let third = 2 * second..2 * second + 1;
        assert_eq!(check(&bytes, third), Ok(()));
    }

    #[test]
    fn a_segment_of_another_record_is_none_of_this() {
        let (good, shape) = written();
        let at = shape.segment_block(1) as usize * BLOCK_BYTES;
        let origin = Origin { block: ORIGIN.block + shape.segment_block(1), ..ORIGIN };
        let mut bytes = good.clone();
        Block::over_mut(&mut bytes[at..at + BLOCK_BYTES]).seal(&origin, 12, 0);
        assert_eq!(whole(&bytes), Err(BlockError::Contradiction));
        let stale = Origin { incarnation: 8, ..origin };
        Block::over_mut(&mut bytes[at..at + BLOCK_BYTES]).seal(&stale, 11, 0);
        assert_eq!(whole(&bytes), Err(BlockError::Stale));
        let front = ReadRecord::new(&bytes[at..], &stale, Kind::Data, 0, false);
        assert_eq!(front.err(), Some(BlockError::Contradiction));
    }
}

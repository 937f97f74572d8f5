//! The bytes of objects, and whether they are still the same.
//!
//! What must always hold: every sector of 512 bytes follows from the seed, the object, its version
//! and its place, so a range can be checked without its neighbours, and a byte of another object,
//! another version or another place is seen as wrong.

use core::ops::Range;

use bytes::Bytes;
use isotherm_seam::{BlockSize, Domain, Lba, draw};
use isotherm_workload::Content;

use crate::objects::ObjectId;

const BYTES: Domain = Domain::new("objects.bytes");
const SECTOR: u64 = 512;

fn sectors(seed: u64, object: ObjectId, range: &Range<u64>) -> Vec<u8> {
    let first = range.start / SECTOR;
    let count = range.end.div_ceil(SECTOR) - first;
    let mut bytes = vec![0; (count * SECTOR) as usize];
    let content = Content::new(draw(seed, BYTES, object.slot, 0), object.version.into());
    content.fill(BlockSize::B512, Lba(first), &mut bytes);
    bytes
}

/// The bytes of an object.
pub(crate) fn fill(seed: u64, object: ObjectId, len_bytes: u64) -> Bytes {
    let mut bytes = sectors(seed, object, &(0..len_bytes));
    bytes.truncate(len_bytes as usize);
    Bytes::from(bytes)
}

/// What is wrong with bytes that were read.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub(crate) enum Wrong {
    #[error("{found} bytes came where {wanted} were asked for")]
    Length { wanted: u64, found: u64 },
    #[error("byte {at} is not the one that was put")]
    Byte { at: u64 },
}

/// Whether these are the bytes of a range of an object.
pub(crate) fn check(
    seed: u64,
    object: ObjectId,
    range: &Range<u64>,
    found: &[u8],
) -> Result<(), Wrong> {
    let wanted = range.end - range.start;
    if found.len() as u64 != wanted {
        return Err(Wrong::Length { wanted, found: found.len() as u64 });
    }
    let bytes = sectors(seed, object, range);
    let skip = (range.start % SECTOR) as usize;
    let expected = &bytes[skip..skip + found.len()];
    if expected == found {
        return Ok(());
    }
    let at = expected.iter().zip(found).position(|(a, b)| a != b).expect("they differ");
    Err(Wrong::Byte { at: range.start + at as u64 })
}

#[cfg(test)]
mod tests {
    use super::*;

    const OBJECT: ObjectId = ObjectId { slot: 7, version: 2 };

    #[test]
    fn what_was_put_is_right_in_every_range() {
        let bytes = fill(1, OBJECT, 5_000);
        assert_eq!(bytes.len(), 5_000);
        for range in [0..5_000, 0..0, 511..513, 1_000..4_999, 512..1024, 4_999..5_000] {
            let part = &bytes[range.start as usize..range.end as usize];
            assert_eq!(check(1, OBJECT, &range, part), Ok(()));
        }
    }

    #[test]
    fn what_is_wrong_is_named() {
        let bytes = fill(1, OBJECT, 5_000);
        let mut bad = bytes[1_000..3_000].to_vec();
        bad[700] ^= 1;
        assert_eq!(check(1, OBJECT, &(1_000..3_000), &bad), Err(Wrong::Byte { at: 1_700 }));
        let short = Wrong::Length { wanted: 2_000, found: 1_999 };
        assert_eq!(check(1, OBJECT, &(1_000..3_000), &bad[1..]), Err(short));
        // Another place, version, object and seed.
        assert!(check(1, OBJECT, &(1_001..3_001), &bytes[1_000..3_000]).is_err());
        for (seed, object) in [
            (1, ObjectId { version: 1, ..OBJECT }),
            (1, ObjectId { slot: 8, ..OBJECT }),
            (2, OBJECT),
        ] {
            assert!(check(seed, object, &(0..5_000), &bytes).is_err());
        }
    }
}

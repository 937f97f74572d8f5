//! A repair note: a cell of a stripe could not be put, and the stripe counts as put without it.
//!
//! ```text
//!  | magic 8 | stripe's bytes 8 | cell bytes 4 | cell 2 | k 2 | m 2 | 0 2 | stripe's CRC 4 |
//! ```
//!
//! It is a shard of the stripe's own group, beside the stripe's cells in the order of keys, so
//! whoever lists the group to repair it meets the note with the cells. Two members hold each.

use isotherm_erasure::Scheme;
use isotherm_placement::GroupId;
use isotherm_seam::Key;
use zerocopy::byteorder::little_endian::{U16, U32, U64};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use crate::layout::{NOTE, StripeRef};

const MAGIC: [u8; 8] = *b"IsoNot01";

/// The codec number of a note: no codec has it.
pub(crate) const NOTE_CODEC: u8 = 0xff;

/// Members that hold each note.
pub(crate) const NOTE_COPIES: usize = 2;

#[derive(FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned, Clone, Copy)]
#[repr(C)]
struct Raw {
    magic: [u8; 8],
    len_bytes: U64,
    cell_bytes: U32,
    cell: U16,
    data_cells: U16,
    parity_cells: U16,
    pad: U16,
    crc: U32,
}

/// The name of the note of a missing cell.
pub(crate) fn key(stripe: &StripeRef, cell: usize) -> Key {
    let key = stripe.key(cell);
    Key { position: key.position | NOTE, ..key }
}

/// Its bytes.
pub(crate) fn encode(stripe: &StripeRef, cell: usize, crc: u32) -> Vec<u8> {
    let raw = Raw {
        magic: MAGIC,
        len_bytes: U64::new(stripe.len_bytes),
        cell_bytes: U32::new(stripe.cell_bytes as u32),
        cell: U16::new(cell as u16),
        data_cells: U16::new(stripe.scheme.data_cells() as u16),
        parity_cells: U16::new(stripe.scheme.parity_cells() as u16),
        pad: U16::new(0),
        crc: U32::new(crc),
    };
    raw.as_bytes().to_vec()
}

/// The stripe that a note is about; `None` for what is no note.
pub(crate) fn decode(key: Key, bytes: &[u8], group_scheme: Scheme) -> Option<StripeRef> {
    let raw = Raw::read_from_bytes(bytes).ok()?;
    if raw.magic != MAGIC || key.position & NOTE == 0 {
        return None;
    }
    let (data, parity) = (raw.data_cells.get(), raw.parity_cells.get());
    let (group, len_bytes) = (GroupId(key.group), raw.len_bytes.get());
    let crc = Some(raw.crc.get());
    let stripe = match data {
        0 => return None,
        1 => StripeRef::copies(group, key.object, key.stripe, len_bytes, group_scheme, crc),
        _ => {
            let scheme = Scheme::for_cells(data, parity);
            StripeRef::coded(group, key.object, key.stripe, len_bytes, scheme, crc)
        }
    };
    (stripe.cell_bytes == u64::from(raw.cell_bytes.get())).then_some(stripe)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_note_tells_of_its_stripe() {
        let scheme: Scheme = "4+2".parse().unwrap();
        let coded = StripeRef::coded(GroupId(3), 9, 5, 4_000_000, scheme, Some(77));
        let copies = StripeRef::copies(GroupId(3), 9, 0, 5_000, scheme, Some(78));
        for stripe in [coded, copies] {
            let bytes = encode(&stripe, 1, stripe.crc.unwrap());
            assert_eq!(decode(key(&stripe, 1), &bytes, scheme), Some(stripe));
            assert_eq!(decode(stripe.key(1), &bytes, scheme), None, "the key of a cell");
            assert_eq!(decode(key(&stripe, 1), &bytes[1..], scheme), None);
        }
    }
}

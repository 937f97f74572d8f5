//! How an object is cut: copies, one stripe, or many.
//!
//! ```text
//! below 1 MiB         m + 1 copies                    one arm movement a read
//! up to k MiB         one stripe, cells of len / k
//! beyond              stripes of k MiB, cells of 1 MiB; the last one has what is left
//! ```
//!
//! What must always hold: how an object is cut follows from its class, its length and its codec
//! alone, for ever: it is what its bytes are found by. The class stands in its locator; from which
//! length on it is a stripe is for whoever puts it.

use std::ops::Range;

use isotherm_erasure::{Descriptor, Scheme};
use isotherm_placement::{GroupId, replica_positions};
use isotherm_seam::Key;

use crate::locator::Class;

/// The longest cell.
pub const CELL_BYTES_MAX: u64 = 1 << 20;

/// An object of fewer bytes is kept in copies.
pub const STRIPED_FROM_BYTES: u64 = 1 << 20;

/// Cells are a whole number of these.
const CELL_UNIT_BYTES: u64 = 64;

/// The stripe number of a manifest.
pub(crate) const MANIFEST_STRIPE: u32 = u32::MAX;

/// Set in the position of a repair note: it stands beside the cells it is about.
pub(crate) const NOTE: u16 = 0x8000;

/// Bytes of an object that a whole stripe holds.
pub fn stripe_bytes(scheme: Scheme) -> u64 {
    scheme.data_cells() as u64 * CELL_BYTES_MAX
}

/// How an object of this length is kept.
pub fn class_of(len_bytes: u64, scheme: Scheme) -> Class {
    class_from(len_bytes, scheme, STRIPED_FROM_BYTES)
}

/// The same where objects are cut from another length on.
pub(crate) fn class_from(len_bytes: u64, scheme: Scheme, striped_from_bytes: u64) -> Class {
    if len_bytes < striped_from_bytes {
        Class::Replicas
    } else if len_bytes <= stripe_bytes(scheme) {
        Class::Stripe
    } else {
        Class::Manifest
    }
}

/// Length of the cells of a stripe that holds so many bytes; at least one.
pub(crate) fn cell_bytes(stripe_len: u64, scheme: Scheme) -> u64 {
    let cell = stripe_len.div_ceil(scheme.data_cells() as u64);
    cell.next_multiple_of(CELL_UNIT_BYTES).clamp(CELL_UNIT_BYTES, CELL_BYTES_MAX)
}

/// The bytes of an object of this length that lie in one cell with the byte `at`: what one movement
/// of one arm can give. Of an object that is kept in copies, all of them.
pub fn cell_range(len_bytes: u64, scheme: Scheme, at: u64) -> Range<u64> {
    assert!(at < len_bytes, "byte {at} of {len_bytes}");
    if class_of(len_bytes, scheme) == Class::Replicas {
        return 0..len_bytes;
    }
    let stripe = at / stripe_bytes(scheme) * stripe_bytes(scheme);
    let end = len_bytes.min(stripe + stripe_bytes(scheme));
    let cell = cell_bytes(end - stripe, scheme);
    let from = stripe + (at - stripe) / cell * cell;
    from..end.min(from + cell)
}

/// A stripe, or copies, of one object in one group: what one read, write or delete is about.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct StripeRef {
    pub(crate) group: GroupId,
    pub(crate) object: u128,
    pub(crate) stripe: u32,
    /// Bytes of the object in it.
    pub(crate) len_bytes: u64,
    /// How the cells depend on each other: copies are `Replication`.
    pub(crate) scheme: Scheme,
    /// Length of a cell.
    pub(crate) cell_bytes: u64,
    /// CRC32C of its data cells, one after the other, padding and all; `None` where nobody who
    /// refers to it knows it.
    pub(crate) crc: Option<u32>,
    /// The codec of the groups, whose positions copies are spread over.
    pub(crate) group_scheme: Scheme,
}

impl StripeRef {
    /// Copies of `len_bytes`.
    pub(crate) fn copies(
        group: GroupId,
        object: u128,
        stripe: u32,
        len_bytes: u64,
        group_scheme: Scheme,
        crc: Option<u32>,
    ) -> StripeRef {
        let copies = group_scheme.tolerated_losses() as u16 + 1;
        let scheme = Scheme::Replication { copies };
        StripeRef {
            group,
            object,
            stripe,
            len_bytes,
            scheme,
            cell_bytes: len_bytes,
            crc,
            group_scheme,
        }
    }

    /// A stripe of `len_bytes`.
    pub(crate) fn coded(
        group: GroupId,
        object: u128,
        stripe: u32,
        len_bytes: u64,
        scheme: Scheme,
        crc: Option<u32>,
    ) -> StripeRef {
        let cell_bytes = cell_bytes(len_bytes, scheme);
        StripeRef {
            group,
            object,
            stripe,
            len_bytes,
            scheme,
            cell_bytes,
            crc,
            group_scheme: scheme,
        }
    }

    pub(crate) fn is_copies(&self) -> bool {
        matches!(self.scheme, Scheme::Replication { .. })
    }

    /// Cells that suffice to read it.
    pub(crate) fn needed(&self) -> usize {
        self.scheme.data_cells()
    }

    pub(crate) fn cells(&self) -> usize {
        self.scheme.cells()
    }

    /// The member of the group that holds a cell.
    pub(crate) fn position(&self, cell: usize) -> u16 {
        match self.is_copies() {
            true => u16::from(replica_positions(self.object, self.group_scheme)[cell]),
            false => cell as u16,
        }
    }

    /// The name of a cell.
    pub(crate) fn key(&self, cell: usize) -> Key {
        Key {
            group: self.group.0,
            object: self.object,
            stripe: self.stripe,
            position: self.position(cell),
        }
    }

    /// Columns of a cell as a request names them: `None` for all.
    pub(crate) fn range(&self, columns: &Range<u64>) -> Option<Range<u32>> {
        let is_whole = *columns == (0..self.cell_bytes);
        (!is_whole).then_some(columns.start as u32..columns.end as u32)
    }

    /// The number of its codec, as it stands in its records.
    pub(crate) fn codec_id(&self) -> u8 {
        self.scheme.codec_id() as u8
    }

    /// All that coding needs. Panics for copies without bytes, which need no coding.
    pub(crate) fn descriptor(&self, columns: u64) -> Descriptor {
        Descriptor::new(self.scheme, columns as u32).expect("a cell has bytes, a scheme cells")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_object_is_cut_by_its_length_alone() {
        let scheme: Scheme = "4+2".parse().unwrap();
        const MIB: u64 = 1 << 20;
        assert_eq!(class_of(0, scheme), Class::Replicas);
        assert_eq!(class_of(MIB - 1, scheme), Class::Replicas);
        assert_eq!(class_of(MIB, scheme), Class::Stripe);
        assert_eq!(class_of(4 * MIB, scheme), Class::Stripe);
        assert_eq!(class_of(4 * MIB + 1, scheme), Class::Manifest);
        // A quarter each, in whole units of 64 bytes.
        assert_eq!(cell_bytes(MIB, scheme), MIB / 4);
        assert_eq!(cell_bytes(MIB + 1, scheme), MIB / 4 + 64);
        assert_eq!(cell_bytes(4 * MIB, scheme), MIB);
        assert_eq!(cell_bytes(1, scheme), 64);
    }

    #[test]
    fn the_cells_of_an_object_lie_side_by_side() {
        let scheme: Scheme = "4+2".parse().unwrap();
        const MIB: u64 = 1 << 20;
        assert_eq!(cell_range(MIB - 1, scheme, 5), 0..MIB - 1);
        assert_eq!(cell_range(MIB, scheme, MIB / 2), MIB / 2..MIB / 4 * 3);
        // The last cell of a stripe may be shorter, and those of the last stripe are.
        assert_eq!(cell_range(MIB + 1, scheme, MIB), 3 * (MIB / 4 + 64)..MIB + 1);
        assert_eq!(cell_range(5 * MIB, scheme, 3 * MIB), 3 * MIB..4 * MIB);
        assert_eq!(cell_range(5 * MIB, scheme, 4 * MIB), 4 * MIB..4 * MIB + MIB / 4);
        for len in [1, 1000, MIB, 3_000_001, 9_500_000] {
            let mut at = 0;
            while at < len {
                let range = cell_range(len, scheme, at);
                assert!(
                    range.start == at && range.end > at && range.end <= len,
                    "{len}: {range:?}"
                );
                assert_eq!(cell_range(len, scheme, range.end - 1), range);
                at = range.end;
            }
        }
    }
}

//! Which group each stripe of a long object went to: an object of its own, kept in copies.
//!
//! ```text
//!  | magic 8 | length 8 | stripe bytes 8 | stripes 4 | 0 4 |  then for each: | group 4 | CRC 4 |
//! ```
//!
//! Little-endian. What must always hold: a manifest that was read has the CRC that its locator
//! says, and describes an object of the locator's length, or nothing of it is believed.

use isotherm_placement::GroupId;
use zerocopy::byteorder::little_endian::{U32, U64};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

const MAGIC: [u8; 8] = *b"IsoMan01";

/// Stripes of one object at most: the manifest is one shard.
pub const STRIPES_MAX: usize = ((1 << 20) - 1 - size_of::<Head>()) / size_of::<RawStripe>();

/// The stripes of an object.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Manifest {
    pub(crate) len_bytes: u64,
    /// Bytes of the object in each stripe but the last.
    pub(crate) stripe_bytes: u64,
    pub(crate) stripes: Vec<Stripe>,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Stripe {
    pub(crate) group: GroupId,
    /// Of the data cells with their padding.
    pub(crate) crc: u32,
}

#[derive(FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned, Clone, Copy)]
#[repr(C)]
struct Head {
    magic: [u8; 8],
    len_bytes: U64,
    stripe_bytes: U64,
    stripes: U32,
    pad: U32,
}

#[derive(FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned, Clone, Copy)]
#[repr(C)]
struct RawStripe {
    group: U32,
    crc: U32,
}

impl Manifest {
    /// Its length in bytes for an object of so many stripes.
    pub(crate) fn bytes_for(stripes: u64) -> u64 {
        size_of::<Head>() as u64 + stripes * size_of::<RawStripe>() as u64
    }

    pub(crate) fn encode(&self) -> Vec<u8> {
        assert!(self.stripes.len() <= STRIPES_MAX, "its writer has counted");
        let head = Head {
            magic: MAGIC,
            len_bytes: U64::new(self.len_bytes),
            stripe_bytes: U64::new(self.stripe_bytes),
            stripes: U32::new(self.stripes.len() as u32),
            pad: U32::new(0),
        };
        let mut out = head.as_bytes().to_vec();
        for stripe in &self.stripes {
            let raw = RawStripe { group: U32::new(stripe.group.0), crc: U32::new(stripe.crc) };
            out.extend_from_slice(raw.as_bytes());
        }
        out
    }

    /// `None` for what is no manifest of an object of this length.
    pub(crate) fn decode(bytes: &[u8], len_bytes: u64) -> Option<Manifest> {
        let (head, rest) = Head::read_from_prefix(bytes).ok()?;
        let raw = <[RawStripe]>::ref_from_bytes(rest).ok()?;
        let stripe_bytes = head.stripe_bytes.get();
        let is_whole = head.magic == MAGIC
            && head.len_bytes.get() == len_bytes
            && stripe_bytes > 0
            && head.stripes.get() as usize == raw.len()
            && len_bytes.div_ceil(stripe_bytes) == raw.len() as u64;
        let stripe =
            |raw: &RawStripe| Stripe { group: GroupId(raw.group.get()), crc: raw.crc.get() };
        is_whole.then(|| Manifest {
            len_bytes,
            stripe_bytes,
            stripes: raw.iter().map(stripe).collect(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_manifest_is_read_as_it_was_written_or_not_at_all() {
        let stripes = (0..5).map(|i| Stripe { group: GroupId(i * 7), crc: i + 100 }).collect();
        let manifest = Manifest { len_bytes: 4_500, stripe_bytes: 1_000, stripes };
        let bytes = manifest.encode();
        assert_eq!(Manifest::decode(&bytes, 4_500), Some(manifest));
        assert_eq!(Manifest::decode(&bytes, 4_501), None);
        for cut in 0..bytes.len() {
            assert_eq!(Manifest::decode(&bytes[..cut], 4_500), None, "{cut}");
        }
        let mut other = bytes.clone();
        other[0] ^= 1;
        assert_eq!(Manifest::decode(&other, 4_500), None);
        assert_eq!(Manifest::decode(&[&bytes[..], &[0; 8]].concat(), 4_500), None);
    }
}

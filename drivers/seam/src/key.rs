//! The name of a shard.
//!
//! What must always hold: keys compare in the order of their fields, and so do their encoded
//! bytes. All that a group holds on a disk is then one range, and so is all of one object.

use core::fmt;

/// One cell of one stripe of one object.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub struct Key {
    /// The placement group.
    pub group: u32,
    /// The object; never reused.
    pub object: u128,
    /// Which stripe of the object.
    pub stripe: u32,
    /// Which cell of the stripe.
    pub position: u16,
}

impl Key {
    /// Encoded size.
    pub const BYTES: usize = 26;

    /// The least key.
    pub const MIN: Key = Key { group: 0, object: 0, stripe: 0, position: 0 };

    /// The greatest key.
    pub const MAX: Key =
        Key { group: u32::MAX, object: u128::MAX, stripe: u32::MAX, position: u16::MAX };

    /// Big-endian fields, so that bytes compare as keys do.
    pub fn to_bytes(self) -> [u8; Key::BYTES] {
        let mut bytes = [0; Key::BYTES];
        bytes[0..4].copy_from_slice(&self.group.to_be_bytes());
        bytes[4..20].copy_from_slice(&self.object.to_be_bytes());
        bytes[20..24].copy_from_slice(&self.stripe.to_be_bytes());
        bytes[24..26].copy_from_slice(&self.position.to_be_bytes());
        bytes
    }

    /// The inverse of [`Key::to_bytes`]; every 26 bytes are a key.
    pub fn from_bytes(bytes: &[u8; Key::BYTES]) -> Key {
        Key {
            group: u32::from_be_bytes(bytes[0..4].try_into().expect("4 bytes")),
            object: u128::from_be_bytes(bytes[4..20].try_into().expect("16 bytes")),
            stripe: u32::from_be_bytes(bytes[20..24].try_into().expect("4 bytes")),
            position: u16::from_be_bytes(bytes[24..26].try_into().expect("2 bytes")),
        }
    }

    /// The next key in order, `None` after the last.
    pub fn successor(self) -> Option<Key> {
        let mut next = self;
        if let Some(position) = self.position.checked_add(1) {
            next.position = position;
            return Some(next);
        }
        next.position = 0;
        if let Some(stripe) = self.stripe.checked_add(1) {
            next.stripe = stripe;
            return Some(next);
        }
        next.stripe = 0;
        if let Some(object) = self.object.checked_add(1) {
            next.object = object;
            return Some(next);
        }
        next.object = 0;
        next.group = self.group.checked_add(1)?;
        Some(next)
    }

    /// 64 well mixed bits of the key, under a seed that no other disk has. Only for tables in
    /// memory: nothing durable depends on it.
    pub fn fingerprint(&self, seed: u64) -> u64 {
        let low = self.object as u64;
        let high = (self.object >> 64) as u64;
        let rest = u64::from(self.stripe) << 16 | u64::from(self.position);
        let a = fold(low ^ seed, high ^ 0x9e37_79b9_7f4a_7c15);
        let b = fold(rest ^ 0xd6e8_feb8_6659_fd93, u64::from(self.group) ^ seed.rotate_left(32));
        fold(a ^ 0xa076_1d64_78bd_642f, b ^ 0xe703_7ed1_a0b4_28db)
    }
}

/// The two halves of the full product, folded (as in wyhash; Wang Yi 2019).
fn fold(a: u64, b: u64) -> u64 {
    let product = u128::from(a) * u128::from(b);
    // The operands keep an all-zero product from swallowing one of them.
    (product as u64) ^ ((product >> 64) as u64) ^ a.rotate_left(29) ^ b
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{:032x}/{}/{}", self.group, self.object, self.stripe, self.position)
    }
}

/// Why a text is not a key.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("a key is GROUP/OBJECT/STRIPE/POSITION with the object in hexadecimal, such as 7/2a/0/3")]
pub struct KeyParseError;

impl core::str::FromStr for Key {
    type Err = KeyParseError;

    fn from_str(text: &str) -> Result<Key, KeyParseError> {
        let mut parts = text.split('/');
        let mut next = || parts.next().ok_or(KeyParseError);
        let (group, object, stripe, position) = (next()?, next()?, next()?, next()?);
        if parts.next().is_some() {
            return Err(KeyParseError);
        }
        Ok(Key {
            group: group.parse().map_err(|_| KeyParseError)?,
            object: u128::from_str_radix(object, 16).map_err(|_| KeyParseError)?,
            stripe: stripe.parse().map_err(|_| KeyParseError)?,
            position: position.parse().map_err(|_| KeyParseError)?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_compare_as_keys_do() {
        let keys = [
            Key::MIN,
            Key { position: 1, ..Key::MIN },
            Key { stripe: 1, ..Key::MIN },
            Key { object: 1, ..Key::MIN },
            Key { object: 1 << 64, ..Key::MIN },
            Key { group: 1, ..Key::MIN },
            Key::MAX,
        ];
        assert!(keys.is_sorted());
        assert!(keys.map(Key::to_bytes).is_sorted());
        for key in keys {
            assert_eq!(Key::from_bytes(&key.to_bytes()), key);
            assert_eq!(key.to_string().parse(), Ok(key));
            assert!(key.successor().is_none_or(|next| next > key));
        }
    }

    #[test]
    fn fingerprints_of_neighbours_differ_in_half_their_bits() {
        let mut bits = 0;
        for i in 0..1000u32 {
            let a = Key { stripe: i, ..Key::MIN }.fingerprint(7);
            let b = Key { stripe: i + 1, ..Key::MIN }.fingerprint(7);
            bits += (a ^ b).count_ones();
        }
        assert!((29_000..35_000).contains(&bits), "{bits}");
    }
}

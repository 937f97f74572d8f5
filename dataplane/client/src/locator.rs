//! What a frontend keeps of an object: a short printable string with all that is needed to find
//! it. The tier keeps no names.
//!
//! ```text
//!  0         1       2       18     26      30    32    34     38     42
//!  | version | class | object | length | group | k   | m   | CRC  | sum |   -> "iso-" + base 32
//! ```
//!
//! Big-endian; the sum is the CRC32C of the 38 bytes before it, so that a locator that was cut or
//! mistyped is told from one whose object is gone.

use core::fmt;
use core::str::FromStr;

use isotherm_erasure::Scheme;
use isotherm_placement::GroupId;
use isotherm_wire::crc32c;

const VERSION: u8 = 1;
const BYTES: usize = 42;
const PREFIX: &str = "iso-";
/// Crockford's base 32: no letter that is taken for another.
const ALPHABET: &[u8; 32] = b"0123456789abcdefghjkmnpqrstvwxyz";

/// How an object is kept.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
#[repr(u8)]
pub enum Class {
    /// m + 1 whole copies in one group.
    Replicas = 1,
    /// One stripe of k + m cells in one group.
    Stripe = 2,
    /// Many stripes, each in a group of its own choice, and a manifest in copies.
    Manifest = 3,
}

/// Where an object is, and what it is like.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Locator {
    /// The object's number, never used again.
    pub object: u128,
    /// How it is kept.
    pub class: Class,
    /// Length in bytes.
    pub len_bytes: u64,
    /// The group of its copies, its stripe or its manifest.
    pub group: GroupId,
    /// Data cells of a stripe.
    pub data_cells: u16,
    /// Parity cells of a stripe.
    pub parity_cells: u16,
    /// CRC32C: of the object (copies), of the stripe's data cells with their padding, or of the
    /// manifest.
    pub crc: u32,
}

/// Why a text is not a locator.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum LocatorError {
    /// It does not begin as one, or has another length or other letters.
    #[error("a locator begins with \"{PREFIX}\" and has {} letters and digits after it", (BYTES * 8).div_ceil(5))]
    Form,
    /// Its sum does not fit: it was mistyped or cut.
    #[error("the locator is damaged: its check sum does not fit")]
    Sum,
    /// A field can't be.
    #[error("the locator is from another version of the software")]
    Version,
}

impl Locator {
    /// How its stripes are coded.
    pub fn scheme(&self) -> Scheme {
        Scheme::for_cells(self.data_cells, self.parity_cells)
    }

    fn to_bytes(self) -> [u8; BYTES] {
        let mut bytes = [0; BYTES];
        bytes[0] = VERSION;
        bytes[1] = self.class as u8;
        bytes[2..18].copy_from_slice(&self.object.to_be_bytes());
        bytes[18..26].copy_from_slice(&self.len_bytes.to_be_bytes());
        bytes[26..30].copy_from_slice(&self.group.0.to_be_bytes());
        bytes[30..32].copy_from_slice(&self.data_cells.to_be_bytes());
        bytes[32..34].copy_from_slice(&self.parity_cells.to_be_bytes());
        bytes[34..38].copy_from_slice(&self.crc.to_be_bytes());
        let sum = crc32c(&bytes[..38]);
        bytes[38..].copy_from_slice(&sum.to_be_bytes());
        bytes
    }

    fn from_bytes(bytes: &[u8; BYTES]) -> Result<Locator, LocatorError> {
        fn part<const N: usize>(bytes: &[u8], at: usize) -> [u8; N] {
            *bytes[at..].first_chunk().expect("within the locator")
        }
        if crc32c(&bytes[..38]) != u32::from_be_bytes(part(bytes, 38)) {
            return Err(LocatorError::Sum);
        }
        let class = match (bytes[0], bytes[1]) {
            (VERSION, 1) => Class::Replicas,
            (VERSION, 2) => Class::Stripe,
            (VERSION, 3) => Class::Manifest,
            _ => return Err(LocatorError::Version),
        };
        let locator = Locator {
            object: u128::from_be_bytes(part(bytes, 2)),
            class,
            len_bytes: u64::from_be_bytes(part(bytes, 18)),
            group: GroupId(u32::from_be_bytes(part(bytes, 26))),
            data_cells: u16::from_be_bytes(part(bytes, 30)),
            parity_cells: u16::from_be_bytes(part(bytes, 32)),
            crc: u32::from_be_bytes(part(bytes, 34)),
        };
        match locator.data_cells {
            0 => Err(LocatorError::Version),
            _ => Ok(locator),
        }
    }
}

impl fmt::Display for Locator {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(PREFIX)?;
        let (mut bits, mut count) = (0u32, 0);
        let mut write = |bits: u32| write!(f, "{}", char::from(ALPHABET[(bits & 31) as usize]));
        for byte in self.to_bytes() {
            bits = bits << 8 | u32::from(byte);
            count += 8;
            while count >= 5 {
                count -= 5;
                write(bits >> count)?;
            }
        }
        if count > 0 {
            write(bits << (5 - count))?;
        }
        Ok(())
    }
}

impl FromStr for Locator {
    type Err = LocatorError;

    fn from_str(text: &str) -> Result<Locator, LocatorError> {
        let text = text.trim().strip_prefix(PREFIX).ok_or(LocatorError::Form)?;
        if text.len() != (BYTES * 8).div_ceil(5) {
            return Err(LocatorError::Form);
        }
        let mut bytes = [0; BYTES];
        let (mut at, mut bits, mut count) = (0, 0u32, 0);
        for letter in text.bytes() {
            let letter = letter.to_ascii_lowercase();
            let digit = ALPHABET.iter().position(|&other| other == letter);
            bits = bits << 5 | digit.ok_or(LocatorError::Form)? as u32;
            count += 5;
            if count >= 8 {
                count -= 8;
                if at < BYTES {
                    bytes[at] = (bits >> count) as u8;
                    at += 1;
                }
            }
        }
        // What is left over of the last letter is zero, so that each locator has one text.
        if bits & ((1 << count) - 1) != 0 {
            return Err(LocatorError::Sum);
        }
        Locator::from_bytes(&bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn example() -> Locator {
        Locator {
            object: 0x0123_4567_89ab_cdef_0011_2233_4455_6677,
            class: Class::Stripe,
            len_bytes: 5_000_000,
            group: GroupId(77),
            data_cells: 4,
            parity_cells: 2,
            crc: 0xdead_beef,
        }
    }

    #[test]
    fn a_locator_is_its_text() {
        let text = example().to_string();
        let kept = "iso-041028t5cy4tqkff008j4ct4ank7e00000000k2b8000002d002000pynpzey6xn3f70";
        assert_eq!(text, kept, "the text of a locator never changes");
        assert_eq!(text.parse(), Ok(example()));
        assert_eq!(text.to_uppercase().replace("ISO-", "iso-").parse(), Ok(example()));
    }

    #[test]
    fn what_was_mistyped_is_told() {
        let text = example().to_string();
        for at in PREFIX.len()..text.len() {
            let mut wrong = text.clone().into_bytes();
            wrong[at] = if wrong[at] == b'0' { b'1' } else { b'0' };
            let wrong = String::from_utf8(wrong).unwrap();
            assert_eq!(wrong.parse::<Locator>(), Err(LocatorError::Sum), "{wrong}");
        }
        assert_eq!("iso-123".parse::<Locator>(), Err(LocatorError::Form));
        assert_eq!(text[1..].parse::<Locator>(), Err(LocatorError::Form));
        assert_eq!(text.replace('0', "!").parse::<Locator>(), Err(LocatorError::Form));
    }
}

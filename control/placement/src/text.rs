//! How ids and codecs stand in the map file: 32 hexadecimal digits, `4+2`.

/// Sixteen bytes as 32 lower-case hexadecimal digits.
pub(crate) mod hex16 {
    use serde::de::Error;
    use serde::{Deserialize, Deserializer, Serializer};
    use std::fmt::Write;

    pub(crate) fn serialize<S: Serializer>(id: &[u8; 16], to: S) -> Result<S::Ok, S::Error> {
        let mut text = String::with_capacity(32);
        for byte in id {
            write!(text, "{byte:02x}").expect("a string takes all");
        }
        to.serialize_str(&text)
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<[u8; 16], D::Error> {
        let text = String::deserialize(from)?;
        let digit = |at: usize| match text.as_bytes()[at] {
            byte @ b'0'..=b'9' => Some(byte - b'0'),
            byte @ b'a'..=b'f' => Some(byte - b'a' + 10),
            _ => None,
        };
        let mut id = [0; 16];
        if text.len() != 32 {
            return Err(D::Error::custom("an id has 32 hexadecimal digits"));
        }
        for (at, byte) in id.iter_mut().enumerate() {
            let (Some(high), Some(low)) = (digit(2 * at), digit(2 * at + 1)) else {
                return Err(D::Error::custom("an id has lower-case hexadecimal digits only"));
            };
            *byte = high << 4 | low;
        }
        Ok(id)
    }
}

/// A codec by its text form.
pub(crate) mod scheme {
    use isotherm_erasure::Scheme;
    use serde::de::Error;
    use serde::{Deserialize, Deserializer, Serializer};

    pub(crate) fn serialize<S: Serializer>(scheme: &Scheme, to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(scheme)
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Scheme, D::Error> {
        String::deserialize(from)?.parse().map_err(D::Error::custom)
    }
}

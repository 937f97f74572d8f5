//! Sizes, times and counts as fio writes them.
//!
//! What must always hold: a suffix means here what it means in fio. With fio's default
//! `kb_base=1024` that is a trap, kept on purpose by fio and so by us: `k` and `kb` are 1024,
//! `kib` is **1000**; likewise for m, g, t and p.

use core::fmt;

use isotherm_seam::Nanos;

use crate::Extent;

/// What a value should have looked like.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Expected {
    /// A size in bytes.
    Bytes,
    /// A size, or a part of the whole.
    Extent,
    /// A length of time.
    Time,
    /// A switch.
    Flag,
    /// A whole number in a range.
    Count {
        /// Least.
        min: u64,
        /// Greatest.
        max: u64,
    },
    /// One block size for both directions.
    OneBlockSize,
    /// I/Os per second, one number or one for each direction.
    Rates,
    /// One of these words.
    OneOf(Vec<&'static str>),
    /// Anything, but not nothing.
    Text,
}

impl fmt::Display for Expected {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Expected::Bytes => write!(f, "a size such as 4096, 4k or 1m"),
            Expected::Extent => write!(f, "a size such as 4k, 10g or 25%"),
            Expected::Time => write!(f, "a time such as 30 (seconds), 500ms or 2m"),
            Expected::Flag => write!(f, "0 or 1"),
            Expected::Count { min, max: u64::MAX } => write!(f, "a whole number from {min} on"),
            Expected::Count { min, max } => write!(f, "a whole number from {min} to {max}"),
            Expected::OneBlockSize => write!(f, "one size for all directions, such as 4k"),
            Expected::Rates => write!(f, "I/Os per second: 100, or reads,writes as in 100,50"),
            Expected::OneOf(words) => write!(f, "one of {}", words.join(", ")),
            Expected::Text => write!(f, "a value"),
        }
    }
}

/// A number of bytes, or any count, with fio's suffixes.
pub(crate) fn bytes(text: &str) -> Option<u64> {
    let (number, suffix) = split_number(text)?;
    number.checked_mul(byte_multiplier(suffix)?)
}

/// Whether the size has a suffix that reads as IEC but counts in thousands.
pub(crate) fn is_decimal_trap(text: &str) -> bool {
    let lower = text.trim().to_ascii_lowercase();
    split_number(text).is_some()
        && ["kib", "mib", "gib", "tib", "pib"].iter().any(|s| lower.ends_with(s))
}

/// A size or a percentage.
pub(crate) fn extent(text: &str) -> Option<Extent> {
    match text.trim().strip_suffix('%') {
        None => bytes(text).map(Extent::Bytes),
        Some(number) => {
            let percent = number.trim().parse::<u32>().ok()?;
            (percent <= 100).then_some(Extent::Percent(percent))
        }
    }
}

/// A length of time; a bare number is in seconds.
pub(crate) fn time(text: &str) -> Option<Nanos> {
    let (number, suffix) = split_number(text)?;
    let unit_ns: u64 = match suffix.to_ascii_lowercase().as_str() {
        "us" | "usec" => 1_000,
        "ms" | "msec" => 1_000_000,
        "" | "s" | "sec" => 1_000_000_000,
        "m" | "min" => 60_000_000_000,
        "h" | "hour" => 3_600_000_000_000,
        "d" | "day" => 86_400_000_000_000,
        _ => return None,
    };
    number.checked_mul(unit_ns).map(Nanos)
}

/// A switch; given without a value it is on.
pub(crate) fn flag(text: Option<&str>) -> Option<bool> {
    match text.map(str::trim) {
        None | Some("1") => Some(true),
        Some("0") => Some(false),
        Some(_) => None,
    }
}

fn byte_multiplier(suffix: &str) -> Option<u64> {
    let suffix = suffix.to_ascii_lowercase();
    let (letter, rest) = match suffix.chars().next() {
        None => return Some(1),
        Some('b') if suffix.len() == 1 => return Some(1),
        Some(letter) => (letter, &suffix[letter.len_utf8()..]),
    };
    let power = 1 + "kmgtp".find(letter)? as u32;
    match rest {
        "" | "b" => Some(1024u64.pow(power)),
        "ib" => Some(1000u64.pow(power)),
        _ => None,
    }
}

/// The digits and what follows them. Hexadecimal with `0x`.
fn split_number(text: &str) -> Option<(u64, &str)> {
    let text = text.trim();
    let hex = text.strip_prefix("0x").or_else(|| text.strip_prefix("0X"));
    let (digits, radix) = match hex {
        Some(rest) => (rest, 16),
        None => (text, 10),
    };
    let end = digits.find(|c: char| !c.is_digit(radix)).unwrap_or(digits.len());
    let number = u64::from_str_radix(&digits[..end], radix).ok()?;
    Some((number, digits[end..].trim()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_follow_fio_the_trap_included() {
        let cases = [
            ("4096", 4096),
            ("4k", 4096),
            ("4K", 4096),
            ("4kb", 4096),
            ("4KiB", 4000),
            ("1m", 1 << 20),
            ("1mib", 1_000_000),
            ("2g", 2 << 30),
            ("1t", 1 << 40),
            ("1p", 1 << 50),
            ("512b", 512),
            ("0x10", 16),
            ("0x10k", 16_384),
            (" 8k ", 8192),
        ];
        for (text, expected) in cases {
            assert_eq!(bytes(text), Some(expected), "{text}");
        }
        for bad in ["", "k", "4x", "4kk", "-1", "1.5k", "99999999999999999999", "99999999p", "4é"]
        {
            assert_eq!(bytes(bad), None, "{bad}");
        }
        assert!(is_decimal_trap("4KiB") && !is_decimal_trap("4kb") && !is_decimal_trap("kib"));
    }

    #[test]
    fn times_default_to_seconds() {
        let cases = [("10", 10_000_000_000), ("10s", 10_000_000_000), ("5ms", 5_000_000)];
        for (text, expected) in cases {
            assert_eq!(time(text), Some(Nanos(expected)), "{text}");
        }
        assert_eq!(time("2m"), Some(Nanos::from_secs(120)));
        assert_eq!(time("1d"), Some(Nanos::from_secs(86_400)));
        for bad in ["", "s", "10x", "-3", "9999999999d"] {
            assert_eq!(time(bad), None, "{bad}");
        }
    }

    #[test]
    fn extents_and_flags() {
        assert_eq!(extent("25%"), Some(Extent::Percent(25)));
        assert_eq!(extent("4k"), Some(Extent::Bytes(4096)));
        assert_eq!(extent("101%"), None);
        assert_eq!(
            (flag(None), flag(Some("0")), flag(Some("yes"))),
            (Some(true), Some(false), None)
        );
    }
}

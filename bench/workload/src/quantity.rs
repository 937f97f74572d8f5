//! Sizes, times and counts as fio writes them.
//!
//! What must always hold: a suffix means here what it means in fio. With fio's default
//! `kb_base=1024` that is a trap, kept on purpose by fio and so by us: `k` and `kb` are 1024,
//! `kib` is **1000**; likewise for m, g, t and p. With `kb_base=1000` it is the other way round.
//! Where fio reads the digits and drops what it does not know (`4x`, `1.5k`, `1m30s`, `0x10k`),
//! the value is refused here: nobody means that.

use core::fmt;

use isotherm_seam::Nanos;

use crate::Extent;
use crate::arithmetic;

/// The `kb_base` that fio has unless told otherwise.
pub(crate) const KB_BASE: u64 = 1024;

/// What a value should have looked like.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Expected {
    /// A size in bytes.
    Bytes,
    /// Some percentiles.
    Percents {
        /// How many at most.
        max: usize,
    },
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
    /// Something that the option's own row describes.
    Shape(&'static str),
    /// Directions and order, with how to step.
    Pattern(Vec<&'static str>),
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
            Expected::Shape(shape) => write!(f, "{shape}"),
            Expected::Pattern(words) => write!(
                f,
                "one of {}, with :8 (random: so many in a row) or :-4k (in order: a skip)",
                words.join(", ")
            ),
            Expected::Percents { max } => {
                write!(f, "at most {max} percentiles such as 50:99:99.9")
            }
            Expected::Rates => write!(f, "I/Os per second: 100, or reads,writes as in 100,50"),
            Expected::OneOf(words) => write!(f, "one of {}", words.join(", ")),
            Expected::Text => write!(f, "a value"),
        }
    }
}

/// A number of bytes, or any count, with fio's suffixes, or a sum of them in parentheses.
pub(crate) fn bytes(text: &str, kb_base: u64) -> Option<u64> {
    let text = text.trim();
    if text.starts_with('(') {
        let sum = arithmetic::evaluate(text, &|number| one_of_bytes(number, kb_base))?;
        return u64::try_from(sum).ok();
    }
    one_of_bytes(text, kb_base)
}

/// Whether the size has a suffix that reads as IEC but counts in thousands.
pub(crate) fn is_decimal_trap(text: &str) -> bool {
    let lower = text.to_ascii_lowercase();
    let numbers = lower.split(|c: char| !c.is_ascii_alphanumeric());
    numbers
        .filter_map(split_number)
        .any(|(_, suffix)| matches!(suffix, "kib" | "mib" | "gib" | "tib" | "pib"))
}

/// A size or a percentage.
pub(crate) fn extent(text: &str, kb_base: u64) -> Option<Extent> {
    match text.trim().strip_suffix('%') {
        None => bytes(text, kb_base).map(Extent::Bytes),
        Some(number) => {
            let percent = number.parse::<u32>().ok()?;
            (percent <= 100).then_some(Extent::Percent(percent))
        }
    }
}

/// A length of time; a bare number is in microseconds.
pub(crate) fn micros(text: &str) -> Option<Nanos> {
    match text.trim().parse::<u64>() {
        Ok(micros) => micros.checked_mul(1_000).map(Nanos),
        Err(_) => time(text),
    }
}

/// A length of time; a bare number is in seconds. In a sum, so are its bare
/// numbers: `(1m+30)` is 90 seconds.
pub(crate) fn time(text: &str) -> Option<Nanos> {
    let text = text.trim();
    if text.starts_with('(') {
        let leaf = |number: &str| one_time(number).map(|time| time.0);
        let sum = arithmetic::evaluate(text, &leaf)?;
        return u64::try_from(sum).ok().map(Nanos);
    }
    one_time(text)
}

/// A number of bytes that may go backwards.
pub(crate) fn skip(text: &str, kb_base: u64) -> Option<i64> {
    let text = text.trim();
    match text.strip_prefix('-') {
        None => i64::try_from(one_of_bytes(text, kb_base)?).ok(),
        Some(back) => i64::try_from(one_of_bytes(back, kb_base)?).ok().map(|bytes| -bytes),
    }
}

/// 0 or 1.
pub(crate) fn flag(text: &str) -> Option<bool> {
    match text.trim() {
        "1" => Some(true),
        "0" => Some(false),
        _ => None,
    }
}

fn one_of_bytes(text: &str, kb_base: u64) -> Option<u64> {
    let (number, suffix) = split_number(text)?;
    number.checked_mul(byte_multiplier(suffix, kb_base)?)
}

fn one_time(text: &str) -> Option<Nanos> {
    let (number, suffix) = split_number(text)?;
    // fio takes a hexadecimal time for microseconds, and so one in `sec` or `min`: 30sec is
    // 30 us. Neither is what the user means.
    if text.len() > 1 && text[1..].starts_with(['x', 'X']) {
        return None;
    }
    let unit_ns: u64 = match suffix.to_ascii_lowercase().as_str() {
        "us" | "usec" => 1_000,
        "ms" | "msec" => 1_000_000,
        "" | "s" => 1_000_000_000,
        "m" => 60_000_000_000,
        "h" => 3_600_000_000_000,
        "d" => 86_400_000_000_000,
        _ => return None,
    };
    number.checked_mul(unit_ns).map(Nanos)
}

fn byte_multiplier(suffix: &str, kb_base: u64) -> Option<u64> {
    let suffix = suffix.to_ascii_lowercase();
    let (letter, rest) = match suffix.chars().next() {
        None => return Some(1),
        Some('b') if suffix.len() == 1 => return Some(1),
        Some(letter) => (letter, &suffix[letter.len_utf8()..]),
    };
    let power = 1 + "kmgtp".find(letter)? as u32;
    let (plain, iec): (u64, u64) = if kb_base == 1000 { (1000, 1024) } else { (1024, 1000) };
    match rest {
        "" | "b" | "i" => Some(plain.pow(power)),
        "ib" => Some(iec.pow(power)),
        _ => None,
    }
}

/// The digits and what follows them. Hexadecimal with `0x`, which takes no suffix.
fn split_number(text: &str) -> Option<(u64, &str)> {
    if let Some(hex) = text.strip_prefix("0x").or_else(|| text.strip_prefix("0X")) {
        let digits = hex.bytes().all(|b| b.is_ascii_hexdigit());
        return Some((u64::from_str_radix(hex, 16).ok().filter(|_| digits)?, ""));
    }
    let end = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    Some((text[..end].parse().ok()?, &text[end..]))
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
            ("4ki", 4096),
            ("(4k*2)", 8192),
            ("(1m-512)", (1 << 20) - 512),
            (" 8k ", 8192),
        ];
        for (text, expected) in cases {
            assert_eq!(bytes(text, 1024), Some(expected), "{text}");
        }
        let bad = "|k|4x|4kk|-1|1.5k|99999999999999999999|99999999p|4é|4 k|0x10k|0x+1|(1-2)|(2)k";
        for bad in bad.split('|') {
            assert_eq!(bytes(bad, 1024), None, "{bad}");
        }
        assert!(is_decimal_trap("4KiB") && !is_decimal_trap("4kb") && !is_decimal_trap("kib"));
        assert!(is_decimal_trap("4k,8kib") && is_decimal_trap("(2*4kib)"));
    }

    #[test]
    fn the_other_base_swaps_the_senses() {
        let cases = [("4k", 4000), ("4kb", 4000), ("4kib", 4096), ("1m", 1_000_000), ("7", 7)];
        for (text, expected) in cases {
            assert_eq!(bytes(text, 1000), Some(expected), "{text}");
        }
    }

    #[test]
    fn a_skip_has_a_sign() {
        assert_eq!((skip("4k", 1024), skip("-8k", 1024)), (Some(4096), Some(-8192)));
        assert_eq!((skip("x", 1024), skip("--1", 1024), skip("", 1024)), (None, None, None));
    }

    #[test]
    fn times_default_to_seconds() {
        let cases = [("10", 10_000_000_000), ("10s", 10_000_000_000), ("5ms", 5_000_000)];
        for (text, expected) in cases {
            assert_eq!(time(text), Some(Nanos(expected)), "{text}");
        }
        assert_eq!(time("2m"), Some(Nanos::from_secs(120)));
        assert_eq!(time("(1m+30)"), Some(Nanos::from_secs(90)));
        assert_eq!(time("1d"), Some(Nanos::from_secs(86_400)));
        for bad in ["", "s", "10x", "-3", "9999999999d", "1m30s", "0x10", "1 s", "1sec", "1min"] {
            assert_eq!(time(bad), None, "{bad}");
        }
    }

    #[test]
    fn some_times_default_to_microseconds() {
        assert_eq!((micros("500"), micros("2ms")), (Some(Nanos(500_000)), Some(Nanos(2_000_000))));
        assert_eq!((micros("3s"), micros("x")), (Some(Nanos::from_secs(3)), None));
    }

    #[test]
    fn extents_and_flags() {
        assert_eq!(extent("25%", 1024), Some(Extent::Percent(25)));
        assert_eq!(extent("4k", 1024), Some(Extent::Bytes(4096)));
        assert_eq!(extent("101%", 1024), None);
        assert_eq!((flag("1"), flag("0"), flag("yes")), (Some(true), Some(false), None));
    }
}

//! The Range header, as RFC 9110 has it (14.1, 14.2): one range of bytes.

use std::ops::Range;

/// What a Range header asks for.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Wanted {
    /// Everything: there is no header, or one that is to be ignored: of another unit, of several
    /// ranges, or not well formed.
    Whole,
    /// These bytes.
    Part(Range<u64>),
    /// Nothing of it is within the object.
    Beyond,
}

/// Reads the header's value for an object of this length.
pub(super) fn read(value: Option<&str>, len_bytes: u64) -> Wanted {
    let Some((unit, set)) = value.and_then(|value| value.split_once('=')) else {
        return Wanted::Whole;
    };
    if !unit.trim().eq_ignore_ascii_case("bytes") {
        return Wanted::Whole;
    }
    let Some((first, last)) = set.trim().split_once('-') else { return Wanted::Whole };
    // Only digits: "+5" is a number for Rust and not for HTTP.
    let number = |text: &str| -> Option<Option<u64>> {
        if text.is_empty() {
            return Some(None);
        }
        if !text.bytes().all(|byte| byte.is_ascii_digit()) {
            return None;
        }
        // More digits than a number has are beyond every object.
        Some(Some(text.parse().unwrap_or(u64::MAX)))
    };
    match (number(first), number(last)) {
        (Some(Some(first)), Some(Some(last))) if first > last => Wanted::Whole,
        (Some(Some(first)), Some(last)) if first < len_bytes => {
            let until = last.map_or(len_bytes, |last| last.saturating_add(1).min(len_bytes));
            Wanted::Part(first..until)
        }
        (Some(Some(_)), Some(_)) => Wanted::Beyond,
        // The last so many bytes.
        (Some(None), Some(Some(count))) => match count.min(len_bytes) {
            0 => Wanted::Beyond,
            count => Wanted::Part(len_bytes - count..len_bytes),
        },
        _ => Wanted::Whole,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_are_read_as_the_rfc_says() {
        for (value, wanted) in [
            ("bytes=0-0", Wanted::Part(0..1)),
            ("bytes=0-499", Wanted::Part(0..500)),
            ("Bytes = 500-999", Wanted::Part(500..1000)),
            ("bytes=500-", Wanted::Part(500..1000)),
            ("bytes=-1", Wanted::Part(999..1000)),
            ("bytes=-5000", Wanted::Part(0..1000)),
            ("bytes=999-100000", Wanted::Part(999..1000)),
            ("bytes=999-99999999999999999999999999", Wanted::Part(999..1000)),
            ("bytes=1000-", Wanted::Beyond),
            ("bytes=99999999999999999999999999-", Wanted::Beyond),
            ("bytes=-0", Wanted::Beyond),
            ("bytes=7-3", Wanted::Whole),
            ("bytes=0-1,5-6", Wanted::Whole),
            ("bytes=-", Wanted::Whole),
            ("bytes=+1-5", Wanted::Whole),
            ("bytes=a-b", Wanted::Whole),
            ("bytes=5", Wanted::Whole),
            ("lines=1-2", Wanted::Whole),
            ("", Wanted::Whole),
        ] {
            assert_eq!(read(Some(value), 1000), wanted, "{value}");
        }
        assert_eq!(read(None, 1000), Wanted::Whole);
        assert_eq!(read(Some("bytes=0-"), 0), Wanted::Beyond);
    }
}

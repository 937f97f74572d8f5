//! What a buffer is filled with: fio's `buffer_pattern`.
//!
//! Items that stand side by side are joined: `"text"`, `0x` and digits, the bytes as they are
//! written, and decimal numbers, the least byte first: a negative one has four, another as many
//! as it needs.

use isotherm_verify::Pattern;

use crate::option::Misread;

/// The longest pattern, as in fio.
const PATTERN_MAX: usize = 512;

/// The bytes of a pattern.
pub(crate) fn pattern(text: &str) -> Result<Vec<u8>, Misread> {
    let mut bytes = Vec::new();
    let mut rest = text;
    while !rest.is_empty() {
        rest = item(rest, &mut bytes)?;
    }
    if bytes.is_empty() || bytes.len() > PATTERN_MAX { Err(Misread::Nonsense) } else { Ok(bytes) }
}

/// A pattern in which `%o` is the place of the block: eight bytes.
pub(crate) fn placed_pattern(text: &str) -> Result<Pattern, Misread> {
    let (mut bytes, mut places) = (Vec::new(), Vec::new());
    let mut rest = text;
    while !rest.is_empty() {
        rest = match rest.strip_prefix("%o") {
            Some(after) => {
                places.push(bytes.len());
                bytes.extend([0; 8]);
                after
            }
            None => item(rest, &mut bytes)?,
        };
    }
    if bytes.is_empty() || bytes.len() > PATTERN_MAX {
        return Err(Misread::Nonsense);
    }
    Ok(Pattern::new(bytes, places))
}

/// Adds one item and returns what follows it.
fn item<'a>(text: &'a str, bytes: &mut Vec<u8>) -> Result<&'a str, Misread> {
    if let Some(rest) = text.strip_prefix('"') {
        let (string, rest) = rest.split_once('"').ok_or(Misread::Nonsense)?;
        bytes.extend_from_slice(string.as_bytes());
        return Ok(rest);
    }
    // The content of a file, and the place of the block, which only a check makes sense of.
    if text.starts_with('\'') || text.starts_with('%') {
        return Err(Misread::NotBuilt);
    }
    if let Some(rest) = text.strip_prefix("0x").or_else(|| text.strip_prefix("0X")) {
        let end = rest.find(|c: char| !c.is_ascii_hexdigit()).unwrap_or(rest.len());
        let (digits, rest) = rest.split_at(end);
        if digits.is_empty() {
            return Err(Misread::Nonsense);
        }
        let even = if digits.len() % 2 == 0 { digits.to_owned() } else { format!("0{digits}") };
        let byte = |pair: &[u8]| {
            let digit = |d: u8| (d as char).to_digit(16).expect("looked at above") as u8;
            digit(pair[0]) << 4 | digit(pair[1])
        };
        bytes.extend(even.as_bytes().chunks(2).map(byte));
        return Ok(rest);
    }
    let digits = text.strip_prefix('-').unwrap_or(text);
    let digits = digits.find(|c: char| !c.is_ascii_digit()).unwrap_or(digits.len());
    let (number, rest) = text.split_at(digits + usize::from(text.starts_with('-')));
    let number: i32 = number.parse().map_err(|_| Misread::Nonsense)?;
    let needed = match number {
        ..0 => 4,
        number => (32 - number.leading_zeros()).div_ceil(8).max(1) as usize,
    };
    bytes.extend_from_slice(&number.to_le_bytes()[..needed]);
    Ok(rest)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As fio 3.33 writes them.
    #[test]
    fn items_are_the_bytes_that_fio_writes() {
        let cases: [(&str, &[u8]); 11] = [
            ("0xdeadbeef", &[0xde, 0xad, 0xbe, 0xef]),
            ("0xabc", &[0x0a, 0xbc]),
            ("1234", &[0xd2, 0x04]),
            ("-12", &[0xf4, 0xff, 0xff, 0xff]),
            ("255", &[0xff]),
            ("256", &[0x00, 0x01]),
            ("65536", &[0x00, 0x00, 0x01]),
            ("0", &[0]),
            ("\"abcd\"-12", &[0x61, 0x62, 0x63, 0x64, 0xf4, 0xff, 0xff, 0xff]),
            ("\"ab\"0x12-5\"c\"", &[0x61, 0x62, 0x12, 0xfb, 0xff, 0xff, 0xff, 0x63]),
            ("\"x\\ny\"", b"x\\ny"),
        ];
        for (text, expected) in cases {
            assert_eq!(pattern(text).as_deref(), Ok(expected), "{text}");
        }
        for bad in ["abcd", "\"abc", "0x", "4294967295", "", "\"\"", "1.5", "-"] {
            assert_eq!(pattern(bad), Err(Misread::Nonsense), "{bad}");
        }
        let placed = placed_pattern("\"ab\"%o0xff").unwrap();
        assert_eq!(placed, Pattern::new(b"ab\0\0\0\0\0\0\0\0\xff".to_vec(), vec![2]));
        assert_eq!(pattern("'file'"), Err(Misread::NotBuilt));
        assert_eq!(pattern("%o"), Err(Misread::NotBuilt));
        assert_eq!(pattern(&format!("\"{}\"", "x".repeat(600))), Err(Misread::Nonsense));
    }
}

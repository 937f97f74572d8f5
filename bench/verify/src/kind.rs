//! The kinds of check: one row each.

/// How a block is checked.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Kind {
    /// The header alone: place, number, and a pattern if there is one.
    Meta,
    /// MD5.
    Md5,
    /// CRC-64 by Jones's polynomial, as Redis has it.
    Crc64,
    /// CRC-32 by Ethernet's polynomial, not reflected, from zero.
    Crc32,
    /// CRC-32C, not inverted at the end.
    Crc32c,
    /// The same; fio's word for having the processor do it.
    Crc32cIntel,
    /// CRC-16 of ARC.
    Crc16,
    /// CRC-7 of memory cards.
    Crc7,
    /// What fio stores for SHA-256: see `digest`.
    Sha256,
    /// What fio stores for SHA-512: see `digest`.
    Sha512,
    /// XXH32 with seed 1.
    Xxhash,
    /// A header, and a pattern behind it.
    PatternHeader,
    /// A pattern, and no header.
    Pattern,
    /// Nothing.
    Null,
}

impl Kind {
    /// All, by fio's word.
    pub const ALL: &[(&str, Kind)] = &[
        ("meta", Kind::Meta),
        ("md5", Kind::Md5),
        ("crc64", Kind::Crc64),
        ("crc32", Kind::Crc32),
        ("crc32c", Kind::Crc32c),
        ("crc32c-intel", Kind::Crc32cIntel),
        ("crc16", Kind::Crc16),
        ("crc7", Kind::Crc7),
        ("sha256", Kind::Sha256),
        ("sha512", Kind::Sha512),
        ("xxhash", Kind::Xxhash),
        ("pattern_hdr", Kind::PatternHeader),
        ("pattern", Kind::Pattern),
        ("null", Kind::Null),
    ];

    /// The kind that fio calls so.
    pub fn find(word: &str) -> Option<Kind> {
        Kind::ALL.iter().find(|(name, _)| *name == word).map(|(_, kind)| *kind)
    }

    /// fio's word for it.
    pub fn word(self) -> &'static str {
        Kind::ALL.iter().find(|(_, kind)| *kind == self).expect("all are listed").0
    }

    /// Its number in a header.
    pub(crate) fn code(self) -> u16 {
        match self {
            Kind::Meta => 1,
            Kind::Md5 => 2,
            Kind::Crc64 => 3,
            Kind::Crc32 => 4,
            Kind::Crc32c => 5,
            Kind::Crc32cIntel => 6,
            Kind::Crc16 => 7,
            Kind::Crc7 => 8,
            Kind::Sha256 => 9,
            Kind::Sha512 => 10,
            Kind::Xxhash => 15,
            Kind::PatternHeader => 17,
            Kind::Pattern => 18,
            Kind::Null => 19,
        }
    }

    /// Bytes that stand between the header and the data.
    pub(crate) fn digest_bytes(self) -> usize {
        match self {
            Kind::Meta | Kind::PatternHeader | Kind::Pattern | Kind::Null => 0,
            Kind::Md5 => 16,
            Kind::Crc64 => 8,
            Kind::Crc32 | Kind::Crc32c | Kind::Crc32cIntel | Kind::Xxhash => 4,
            Kind::Crc16 => 2,
            Kind::Crc7 => 1,
            Kind::Sha256 => 64,
            Kind::Sha512 => 128,
        }
    }

    /// Whether blocks have headers.
    pub fn has_header(self) -> bool {
        !matches!(self, Kind::Pattern | Kind::Null)
    }

    /// Whether it says nothing without a pattern.
    pub fn needs_pattern(self) -> bool {
        matches!(self, Kind::Pattern | Kind::PatternHeader)
    }
}

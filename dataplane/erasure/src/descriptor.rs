//! What is recorded about a stripe so that it can be decoded for ever.
//!
//! Nothing about a stripe's coding is inferred: the codec's id, its field, the version of its
//! matrix, the checksum kind and the geometry are written down with every stripe. Ids and
//! versions once used are never reused, and an unknown one is refused, never guessed at.
//!
//! ```text
//!  0        1       2        3          4        6          8          10      11     12       16
//!  +--------+-------+--------+----------+--------+----------+----------+-------+------+--------+
//!  | codec  | field | matrix | checksum | data   | parity   | groups   | rate  | zero | cell   |
//!  | id u8  | u8    | u8     | kind u8  | u16    | u16      | u16      | u8    | u8   | u32    |
//!  +--------+-------+--------+----------+--------+----------+----------+-------+------+--------+
//! ```
//!
//! Little-endian. `parity` counts local and global parities; `groups` is 0 but for LRC; `rate`
//! is 0 but for Leopard; `cell` is in bytes.

use crate::leopard::Rate;
use crate::matrix::Matrix;
use std::fmt;
use std::str::FromStr;

/// The stable number of a codec, as recorded per stripe.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub enum CodecId {
    /// Whole copies.
    Replication = 0,
    /// Systematic Reed-Solomon over GF(2^8)/0x11D.
    ReedSolomon = 1,
    /// The Leopard code of `reed-solomon-simd` over GF(2^16)/0x1002D.
    Leopard = 2,
    /// Locally repairable: XOR groups, and globals over GF(2^8)/0x11D.
    Local = 3,
}

/// How a stripe's cells depend on each other.
///
/// Written `3x`, `10+4` (Reed-Solomon), `300+40` (Leopard, as it has more than 256 cells),
/// `leopard10+4` (Leopard although it has fewer) and `lrc12+2+2` (data, local groups, globals).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Scheme {
    /// Each cell is a whole copy; one data cell and `copies - 1` parity cells.
    Replication {
        /// Copies, the first included: 2 to 256.
        copies: u16,
    },
    /// Any `data` of all cells suffice; at most 256 cells.
    ReedSolomon {
        /// Data cells.
        data: u16,
        /// Parity cells; the first is the XOR of the data.
        parity: u16,
    },
    /// Any `data` of all cells suffice; for stripes of more than 256 cells.
    Leopard {
        /// Data cells.
        data: u16,
        /// Parity cells.
        parity: u16,
    },
    /// Each group of `data / groups` cells has an XOR parity; `globals` span all data.
    Local {
        /// Data cells, a multiple of `groups`.
        data: u16,
        /// Local groups, each with one parity cell.
        groups: u16,
        /// Parity cells over all data.
        globals: u16,
    },
}

/// What protects a stripe's cells against silent change.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub enum ChecksumKind {
    /// CRC32C (Castagnoli) of every 64 KiB of a cell.
    #[default]
    Crc32cPer64Kib = 1,
}

/// All that has to be known to decode a stripe.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Descriptor {
    scheme: Scheme,
    cell_bytes: u32,
    checksum: ChecksumKind,
}

/// Why a geometry is none.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum GeometryError {
    /// There are no data cells, no parity cells or no bytes in a cell.
    #[error("a stripe needs data cells, parity cells and cells of at least one byte")]
    Empty,
    /// The codec can't number that many cells.
    #[error("{cells} cells are more than the {max} that this codec can number")]
    TooManyCells {
        /// Cells asked for.
        cells: u32,
        /// Cells that the codec can number.
        max: u32,
    },
    /// Groups must be of one size and have at least two cells each.
    #[error("{data} data cells don't make {groups} equal groups of two or more")]
    UnequalGroups {
        /// Data cells.
        data: u16,
        /// Local groups.
        groups: u16,
    },
    /// The Leopard code is frozen for cells of whole 64-byte chunks only.
    #[error("cells of {cell_bytes} bytes: this codec needs a multiple of 64")]
    RaggedCell {
        /// Bytes of a cell.
        cell_bytes: u32,
    },
}

/// Why a recorded descriptor can't be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum DescriptorError {
    /// No codec has this id (yet): the stripe was written by newer software.
    #[error("unknown codec id {0}")]
    UnknownCodec(u8),
    /// The codec has no such field.
    #[error("unknown field {0}")]
    UnknownField(u8),
    /// The codec has no matrix of this version.
    #[error("unknown matrix version {0}")]
    UnknownMatrix(u8),
    /// No checksum has this number.
    #[error("unknown checksum kind {0}")]
    UnknownChecksum(u8),
    /// The codec has no such rate, or another for this geometry.
    #[error("unknown rate {0}")]
    UnknownRate(u8),
    /// A byte that must be zero is not.
    #[error("reserved bytes are not zero")]
    Reserved,
    /// The numbers make no stripe.
    #[error(transparent)]
    Geometry(#[from] GeometryError),
}

/// Text that names no scheme.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is no geometry: write 3x, 10+4 or lrc12+2+2")]
pub struct ParseSchemeError(pub String);

impl Scheme {
    /// Reed-Solomon over GF(2^8) up to 256 cells, the Leopard code beyond.
    #[must_use]
    pub fn for_cells(data: u16, parity: u16) -> Scheme {
        if u32::from(data) + u32::from(parity) <= 256 {
            Scheme::ReedSolomon { data, parity }
        } else {
            Scheme::Leopard { data, parity }
        }
    }

    /// The id of its codec.
    #[must_use]
    pub const fn codec_id(&self) -> CodecId {
        match self {
            Scheme::Replication { .. } => CodecId::Replication,
            Scheme::ReedSolomon { .. } => CodecId::ReedSolomon,
            Scheme::Leopard { .. } => CodecId::Leopard,
            Scheme::Local { .. } => CodecId::Local,
        }
    }

    /// Cells that hold user bytes: k.
    #[must_use]
    pub fn data_cells(&self) -> usize {
        match *self {
            Scheme::Replication { .. } => 1,
            Scheme::ReedSolomon { data, .. }
            | Scheme::Leopard { data, .. }
            | Scheme::Local { data, .. } => data.into(),
        }
    }

    /// Cells that are computed: m; local and global ones for LRC.
    #[must_use]
    pub fn parity_cells(&self) -> usize {
        match *self {
            Scheme::Replication { copies } => usize::from(copies) - 1,
            Scheme::ReedSolomon { parity, .. } | Scheme::Leopard { parity, .. } => parity.into(),
            Scheme::Local { groups, globals, .. } => usize::from(groups) + usize::from(globals),
        }
    }

    /// All cells: n = k + m.
    #[must_use]
    pub fn cells(&self) -> usize {
        self.data_cells() + self.parity_cells()
    }

    /// Cells whose loss is survived, whichever they are.
    #[must_use]
    pub fn tolerated_losses(&self) -> usize {
        match *self {
            Scheme::Local { globals, .. } => usize::from(globals) + 1,
            _ => self.parity_cells(),
        }
    }

    /// The parity matrix; none for the Leopard code.
    pub(crate) fn matrix(&self) -> Option<Matrix> {
        match *self {
            Scheme::Replication { .. } => Some(Matrix::replication(self.parity_cells())),
            Scheme::ReedSolomon { data, parity } => {
                Some(Matrix::reed_solomon(data.into(), parity.into()))
            }
            Scheme::Local { data, groups, globals } => {
                Some(Matrix::local(data.into(), groups.into(), globals.into()))
            }
            Scheme::Leopard { .. } => None,
        }
    }

    /// The field's number: none, GF(2^8)/0x11D, GF(2^16)/0x1002D.
    fn field(&self) -> u8 {
        match self.codec_id() {
            CodecId::Replication => 0,
            CodecId::ReedSolomon | CodecId::Local => 1,
            CodecId::Leopard => 2,
        }
    }

    /// The version of the matrix (for the Leopard code, of its bytes); none for copies.
    fn matrix_version(&self) -> u8 {
        u8::from(self.codec_id() != CodecId::Replication)
    }

    fn check(&self, cell_bytes: u32) -> Result<(), GeometryError> {
        let empty = match *self {
            Scheme::Replication { copies } => copies < 2,
            Scheme::Local { data, groups, globals } => data == 0 || groups == 0 || globals == 0,
            Scheme::ReedSolomon { data, parity } | Scheme::Leopard { data, parity } => {
                data == 0 || parity == 0
            }
        };
        if empty || cell_bytes == 0 {
            return Err(GeometryError::Empty);
        }
        let too_many = |max| GeometryError::TooManyCells { cells: self.cells() as u32, max };
        match *self {
            Scheme::Leopard { data, parity } => {
                if !Rate::supports(data, parity) {
                    return Err(too_many(65_536));
                }
                if !cell_bytes.is_multiple_of(64) {
                    return Err(GeometryError::RaggedCell { cell_bytes });
                }
            }
            Scheme::Local { data, groups, globals } => {
                if !data.is_multiple_of(groups) || data / groups < 2 {
                    return Err(GeometryError::UnequalGroups { data, groups });
                }
                if !Matrix::local_fits(data.into(), globals.into()) || self.cells() > 256 {
                    return Err(too_many(256));
                }
            }
            Scheme::Replication { .. } | Scheme::ReedSolomon { .. } => {
                if self.cells() > 256 {
                    return Err(too_many(256));
                }
            }
        }
        Ok(())
    }
}

impl fmt::Display for Scheme {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Scheme::Replication { copies } => write!(f, "{copies}x"),
            Scheme::Leopard { data, parity } if self.cells() <= 256 => {
                write!(f, "leopard{data}+{parity}")
            }
            Scheme::ReedSolomon { data, parity } | Scheme::Leopard { data, parity } => {
                write!(f, "{data}+{parity}")
            }
            Scheme::Local { data, groups, globals } => write!(f, "lrc{data}+{groups}+{globals}"),
        }
    }
}

impl FromStr for Scheme {
    type Err = ParseSchemeError;

    fn from_str(text: &str) -> Result<Scheme, ParseSchemeError> {
        let parse = || {
            if let Some(copies) = text.strip_suffix('x') {
                let copies = copies.parse().ok()?;
                return (copies > 0).then_some(Scheme::Replication { copies });
            }
            let digits = text.find(|c: char| c.is_ascii_digit())?;
            let (prefix, numbers) = text.split_at(digits);
            let mut numbers = numbers.split('+').map(|n| n.parse::<u16>().ok());
            let (first, second, third) = (numbers.next()??, numbers.next()??, numbers.next());
            match (prefix, third, numbers.next()) {
                ("lrc", Some(globals), None) => {
                    Some(Scheme::Local { data: first, groups: second, globals: globals? })
                }
                ("leopard", None, None) => Some(Scheme::Leopard { data: first, parity: second }),
                ("", None, None) => Some(Scheme::for_cells(first, second)),
                _ => None,
            }
        };
        parse().ok_or_else(|| ParseSchemeError(text.to_owned()))
    }
}

impl Descriptor {
    /// Bytes of a recorded descriptor.
    pub const ENCODED_BYTES: usize = 16;

    /// Describes stripes of `scheme` with cells of `cell_bytes` bytes.
    ///
    /// # Errors
    /// If there can be no such stripe.
    pub fn new(scheme: Scheme, cell_bytes: u32) -> Result<Descriptor, GeometryError> {
        scheme.check(cell_bytes)?;
        Ok(Descriptor { scheme, cell_bytes, checksum: ChecksumKind::default() })
    }

    /// How the cells depend on each other.
    #[must_use]
    pub fn scheme(&self) -> Scheme {
        self.scheme
    }

    /// Bytes of each cell.
    #[must_use]
    pub fn cell_bytes(&self) -> usize {
        self.cell_bytes as usize
    }

    /// What protects the cells.
    #[must_use]
    pub fn checksum(&self) -> ChecksumKind {
        self.checksum
    }

    /// The recorded form, as drawn at the top of this file.
    #[must_use]
    pub fn to_bytes(&self) -> [u8; Descriptor::ENCODED_BYTES] {
        let (groups, rate) = match self.scheme {
            Scheme::Local { groups, .. } => (groups, 0),
            Scheme::Leopard { data, parity } => (0, Rate::of(data, parity) as u8),
            _ => (0, 0),
        };
        let mut bytes = [0; Descriptor::ENCODED_BYTES];
        bytes[0] = self.scheme.codec_id() as u8;
        bytes[1] = self.scheme.field();
        bytes[2] = self.scheme.matrix_version();
        bytes[3] = self.checksum as u8;
        bytes[4..6].copy_from_slice(&(self.scheme.data_cells() as u16).to_le_bytes());
        bytes[6..8].copy_from_slice(&(self.scheme.parity_cells() as u16).to_le_bytes());
        bytes[8..10].copy_from_slice(&groups.to_le_bytes());
        bytes[10] = rate;
        bytes[12..16].copy_from_slice(&self.cell_bytes.to_le_bytes());
        bytes
    }

    /// Reads the recorded form.
    ///
    /// # Errors
    /// If anything in it is unknown to this version or contradicts the rest.
    pub fn from_bytes(
        bytes: &[u8; Descriptor::ENCODED_BYTES],
    ) -> Result<Descriptor, DescriptorError> {
        let word = |at: usize| u16::from_le_bytes([bytes[at], bytes[at + 1]]);
        let (data, parity, groups) = (word(4), word(6), word(8));
        let cell_bytes = u32::from_le_bytes([bytes[12], bytes[13], bytes[14], bytes[15]]);
        let scheme = match bytes[0] {
            0 => Scheme::Replication { copies: parity.saturating_add(1) },
            1 => Scheme::ReedSolomon { data, parity },
            2 => Scheme::Leopard { data, parity },
            3 => {
                let globals = parity.checked_sub(groups).ok_or(GeometryError::Empty)?;
                Scheme::Local { data, groups, globals }
            }
            unknown => return Err(DescriptorError::UnknownCodec(unknown)),
        };
        if bytes[1] != scheme.field() {
            return Err(DescriptorError::UnknownField(bytes[1]));
        }
        if bytes[2] != scheme.matrix_version() {
            return Err(DescriptorError::UnknownMatrix(bytes[2]));
        }
        if bytes[3] != ChecksumKind::Crc32cPer64Kib as u8 {
            return Err(DescriptorError::UnknownChecksum(bytes[3]));
        }
        let descriptor = Descriptor::new(scheme, cell_bytes)?;
        if bytes[10] != descriptor.to_bytes()[10] {
            return Err(DescriptorError::UnknownRate(bytes[10]));
        }
        if descriptor.to_bytes() != *bytes {
            return Err(DescriptorError::Reserved);
        }
        Ok(descriptor)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SCHEMES: [&str; 7] =
        ["3x", "10+4", "32+8", "300+40", "40+300", "leopard10+4", "lrc12+2+2"];

    #[test]
    fn recorded_bytes_never_change() {
        let bytes =
            |text: &str, cell| Descriptor::new(text.parse().unwrap(), cell).unwrap().to_bytes();
        assert_eq!(bytes("3x", 4096), [0, 0, 0, 1, 1, 0, 2, 0, 0, 0, 0, 0, 0, 16, 0, 0]);
        assert_eq!(bytes("10+4", 65536), [1, 1, 1, 1, 10, 0, 4, 0, 0, 0, 0, 0, 0, 0, 1, 0]);
        assert_eq!(bytes("300+40", 4096), [2, 2, 1, 1, 44, 1, 40, 0, 0, 0, 1, 0, 0, 16, 0, 0]);
        assert_eq!(bytes("40+300", 4096), [2, 2, 1, 1, 40, 0, 44, 1, 0, 0, 2, 0, 0, 16, 0, 0]);
        assert_eq!(bytes("lrc12+2+2", 1), [3, 1, 1, 1, 12, 0, 4, 0, 2, 0, 0, 0, 1, 0, 0, 0]);
    }

    #[test]
    fn text_and_bytes_lead_back() {
        for text in SCHEMES {
            let scheme: Scheme = text.parse().unwrap();
            assert_eq!(scheme.to_string(), text);
            let descriptor = Descriptor::new(scheme, 4096).unwrap();
            assert_eq!(Descriptor::from_bytes(&descriptor.to_bytes()), Ok(descriptor));
        }
        for text in ["", "x", "0x", "10", "10+", "+4", "1+2+3", "lrc12+2", "lrc1+2+3+4", "10+4x"] {
            assert!(text.parse::<Scheme>().is_err(), "{text}");
        }
    }

    #[test]
    fn no_flipped_bit_reads_as_the_same_stripe() {
        for text in SCHEMES {
            let descriptor = Descriptor::new(text.parse().unwrap(), 4096).unwrap();
            for bit in 0..128 {
                let mut bytes = descriptor.to_bytes();
                bytes[bit / 8] ^= 1 << (bit % 8);
                assert_ne!(Descriptor::from_bytes(&bytes), Ok(descriptor), "{text}: bit {bit}");
                if bit < 32 || (80..96).contains(&bit) {
                    assert!(Descriptor::from_bytes(&bytes).is_err(), "{text}: bit {bit}");
                }
            }
        }
    }

    #[test]
    fn impossible_geometries_are_refused() {
        let check = |scheme, cell| Descriptor::new(scheme, cell).unwrap_err();
        let rs = |data, parity| Scheme::ReedSolomon { data, parity };
        assert_eq!(check(rs(0, 2), 4096), GeometryError::Empty);
        assert_eq!(check(rs(2, 0), 4096), GeometryError::Empty);
        assert_eq!(check(rs(4, 2), 0), GeometryError::Empty);
        assert_eq!(check(Scheme::Replication { copies: 1 }, 1), GeometryError::Empty);
        assert_eq!(check(rs(200, 57), 1), GeometryError::TooManyCells { cells: 257, max: 256 });
        assert_eq!(
            check(Scheme::Local { data: 12, groups: 5, globals: 2 }, 1),
            GeometryError::UnequalGroups { data: 12, groups: 5 }
        );
        assert_eq!(
            check(Scheme::Leopard { data: 300, parity: 40 }, 100),
            GeometryError::RaggedCell { cell_bytes: 100 }
        );
        let huge = Scheme::Leopard { data: 65_535, parity: 2 };
        assert!(matches!(check(huge, 64), GeometryError::TooManyCells { .. }));
    }
}

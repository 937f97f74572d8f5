//! What stands behind a header, by kind.
//!
//! Four of them are what fio stores and not what the name says: its CRC-32C is not inverted at the
//! end; its SHA-256 counts the bits in the wrong order of bytes and keeps only the lowest byte of
//! each word of the state, with the last block of input behind them; its SHA-512 is never finished
//! and is the buffer of input itself. They are what its own check compares, so they are what is
//! compared here. What the last two are worth against damage: of SHA-256 the eight bytes of state
//! tell any, of SHA-512 only damage to the first and the last bytes is told; a message says so.

use crc::{Algorithm, CRC_7_MMC, CRC_16_ARC, CRC_64_REDIS, Crc};
use crc_fast::CrcAlgorithm;
use md5::{Digest, Md5};
use sha2::block_api::compress256;
use xxhash_rust::xxh32::xxh32;

use crate::Kind;

/// The longest, of SHA-512.
pub(crate) const DIGEST_BYTES_MAX: usize = 128;

static CRC_64: Crc<u64> = Crc::<u64>::new(&CRC_64_REDIS);
static CRC_32: Crc<u32> = Crc::<u32>::new(&Algorithm {
    width: 32,
    poly: 0x04c1_1db7,
    init: 0,
    refin: false,
    refout: false,
    xorout: 0,
    check: 0x89a1_897f,
    residue: 0,
});
static CRC_16: Crc<u16> = Crc::<u16>::new(&CRC_16_ARC);
static CRC_7: Crc<u8> = Crc::<u8>::new(&CRC_7_MMC);

/// CRC-32C as fio has it: not inverted at the end.
pub(crate) fn crc32c(data: &[u8]) -> u32 {
    !(crc_fast::checksum(CrcAlgorithm::Crc32Iscsi, data) as u32)
}

/// Writes the digest of `data` to the start of `out`, which is as long as the kind's digest.
pub(crate) fn digest(kind: Kind, data: &[u8], out: &mut [u8]) {
    match kind {
        Kind::Meta | Kind::PatternHeader | Kind::Pattern | Kind::Null => {}
        Kind::Md5 => out.copy_from_slice(&Md5::digest(data)),
        Kind::Crc64 => out.copy_from_slice(&CRC_64.checksum(data).to_le_bytes()),
        Kind::Crc32 => out.copy_from_slice(&CRC_32.checksum(data).to_le_bytes()),
        Kind::Crc32c | Kind::Crc32cIntel => out.copy_from_slice(&crc32c(data).to_le_bytes()),
        Kind::Crc16 => out.copy_from_slice(&CRC_16.checksum(data).to_le_bytes()),
        Kind::Crc7 => out[0] = CRC_7.checksum(data),
        Kind::Sha256 => out.copy_from_slice(&sha256(data)),
        Kind::Sha512 => sha512(data, out),
        Kind::Xxhash => out.copy_from_slice(&xxh32(data, 1).to_le_bytes()),
    }
}

/// The initial state of SHA-256 (FIPS 180-4).
const SHA256_START: [u32; 8] = [
    0x6a09_e667,
    0xbb67_ae85,
    0x3c6e_f372,
    0xa54f_f53a,
    0x510e_527f,
    0x9b05_688c,
    0x1f83_d9ab,
    0x5be0_cd19,
];

fn sha256(data: &[u8]) -> [u8; 64] {
    let mut state = SHA256_START;
    let (blocks, tail) = data.as_chunks::<64>();
    compress256(&mut state, blocks);
    let mut last = [0; 64];
    last[..tail.len()].copy_from_slice(tail);
    last[tail.len()] = 0x80;
    if tail.len() >= 56 {
        compress256(&mut state, &[last]);
        last = [0; 64];
    }
    // FIPS 180-4 has the most significant byte first.
    last[56..].copy_from_slice(&((data.len() as u64) << 3).to_le_bytes());
    compress256(&mut state, &[last]);
    for (byte, word) in last.iter_mut().zip(state) {
        *byte = word as u8;
    }
    last
}

/// `out` is the 128 bytes in which input is gathered: the first block of it, and over that what
/// is left after the last whole one.
fn sha512(data: &[u8], out: &mut [u8]) {
    let first = data.len().min(out.len());
    out[..first].copy_from_slice(&data[..first]);
    if data.len() > out.len() {
        let tail = &data[data.len() / out.len() * out.len()..];
        out[..tail.len()].copy_from_slice(tail);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CHECK: &[u8] = b"123456789";

    fn of(kind: Kind) -> Vec<u8> {
        let mut out = vec![0; kind.digest_bytes()];
        digest(kind, CHECK, &mut out);
        out
    }

    /// The check values of the catalogue of CRCs, and of the documents of the others.
    #[test]
    fn digests_are_what_they_are_called_where_they_are() {
        assert_eq!(of(Kind::Crc32c), (!0xe306_9283u32).to_le_bytes());
        assert_eq!(of(Kind::Crc64), 0xe9c6_d914_c4b8_d9cau64.to_le_bytes());
        assert_eq!(of(Kind::Crc32), 0x89a1_897fu32.to_le_bytes());
        assert_eq!(of(Kind::Crc16), 0xbb3du16.to_le_bytes());
        assert_eq!(of(Kind::Crc7), [0x75]);
        assert_eq!(of(Kind::Md5)[..4], [0x25, 0xf9, 0xe7, 0x94]);
        assert_eq!(of(Kind::Xxhash), xxh32(CHECK, 1).to_le_bytes());
    }

    #[test]
    fn of_sha512_the_ends_are_kept() {
        let data: Vec<u8> = (0..300).map(|i| i as u8).collect();
        let mut out = [0xff; 128];
        digest(Kind::Sha512, &data, &mut out);
        assert_eq!((&out[..44], &out[44..]), (&data[256..], &data[44..128]));
    }
}

//! Real chance: a ChaCha20 stream whose key comes from the operating system.
//!
//! What must always hold: no two streams share a key, and a draw depends on nothing but the key
//! and the draws before it. Domain and entity only matter to the simulator, which must be able
//! to leave a draw out; here they are ignored.

use std::cell::RefCell;

use chacha20::ChaCha20Rng;
use chacha20::rand_core::{Rng, SeedableRng};
use isotherm_seam::{Domain, Entropy};

/// A stream of chance for one thread: sent, not shared.
pub struct OsEntropy {
    stream: RefCell<ChaCha20Rng>,
}

/// The operating system gives no random bytes: a sandbox forbids getrandom(2).
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("the operating system gives no random bytes: {cause}")]
pub struct EntropyError {
    cause: getrandom::Error,
}

impl OsEntropy {
    /// A new stream with a key of its own. Waits until the kernel's own chance is ready, which
    /// it is long before a disk is.
    pub fn new() -> Result<OsEntropy, EntropyError> {
        let mut key = [0u8; 32];
        getrandom::fill(&mut key).map_err(|cause| EntropyError { cause })?;
        Ok(OsEntropy::from_key(key))
    }

    fn from_key(key: [u8; 32]) -> OsEntropy {
        OsEntropy { stream: RefCell::new(ChaCha20Rng::from_seed(key)) }
    }
}

impl Entropy for OsEntropy {
    fn next_u64(&self, _domain: Domain, _entity: u64) -> u64 {
        self.stream.borrow_mut().next_u64()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DOMAIN: Domain = Domain::new("test.os-entropy");

    #[test]
    fn two_streams_differ_and_none_repeats() {
        let (a, b) = (OsEntropy::new().unwrap(), OsEntropy::new().unwrap());
        let draws: std::collections::BTreeSet<u64> =
            (0..10_000).flat_map(|i| [a.next_u64(DOMAIN, i), b.next_u64(DOMAIN, i)]).collect();
        // 20,000 draws of 64 bits repeat one with probability 1e-11.
        assert_eq!(draws.len(), 20_000);
    }

    /// The stream is ChaCha20 with nonce zero: RFC 8439, appendix A.1, vectors 1 and 2.
    #[test]
    fn the_stream_is_chacha20() {
        let stream = OsEntropy::from_key([0; 32]);
        let block: Vec<u8> =
            (0..16).flat_map(|_| stream.next_u64(DOMAIN, 0).to_le_bytes()).collect();
        assert_eq!(block[..8], [0x76, 0xb8, 0xe0, 0xad, 0xa0, 0xf1, 0x3d, 0x90]);
        assert_eq!(block[64..72], [0x9f, 0x07, 0xe7, 0xbe, 0x55, 0x51, 0x38, 0x7a]);
    }

    #[test]
    fn a_stream_can_move_to_its_core() {
        fn sent<T: Send>(_: &T) {}
        sent(&OsEntropy::new().unwrap());
    }
}

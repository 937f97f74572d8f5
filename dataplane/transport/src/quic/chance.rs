//! The chance that QUIC needs, drawn from the seam: so that one seed gives one run.
//!
//! What must always hold: nothing here asks the operating system. Connection ids are a keyed hash
//! of a counter: to who has not the key they are as good as random.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use aws_lc_rs::{hkdf, hmac};
use isotherm_seam::{Domain, Entropy, Mono};
use quinn_proto::{ConnectionId, ConnectionIdGenerator, TimeSource};

/// Length of our connection ids.
const CID_BYTES: usize = 8;

/// Length of the first connection id of an outgoing connection, which only has to be hard to
/// guess (RFC 9000, 7.2: at least 8).
const FIRST_CID_BYTES: usize = 16;

const CHANCE: Domain = Domain::new("quic.chance");

/// Keys that all cores of a node share, and its next life too where they are kept: a node that
/// was started anew can then tell its old peers so at once.
#[derive(Clone)]
pub struct NodeKeys {
    reset: [u8; 64],
    token: [u8; 64],
}

impl NodeKeys {
    /// New ones.
    pub fn draw(entropy: &dyn Entropy) -> NodeKeys {
        NodeKeys { reset: bytes(entropy), token: bytes(entropy) }
    }

    /// From 128 bytes that were drawn by chance and kept.
    pub fn from_bytes(kept: &[u8; 128]) -> NodeKeys {
        let (reset, token) = kept.split_at(64);
        let half = |bytes: &[u8]| bytes.try_into().expect("half of 128");
        NodeKeys { reset: half(reset), token: half(token) }
    }

    pub(crate) fn reset_key(&self) -> Arc<hmac::Key> {
        Arc::new(hmac::Key::new(hmac::HMAC_SHA256, &self.reset))
    }

    pub(crate) fn token_key(&self) -> Arc<hkdf::Prk> {
        Arc::new(hkdf::Salt::new(hkdf::HKDF_SHA256, &[]).extract(&self.token))
    }
}

/// Bytes by chance.
pub(crate) fn bytes<const N: usize>(entropy: &dyn Entropy) -> [u8; N] {
    let mut out = [0; N];
    for chunk in out.chunks_mut(8) {
        let word = entropy.next_u64(CHANCE, 0).to_le_bytes();
        chunk.copy_from_slice(&word[..chunk.len()]);
    }
    out
}

/// Where connection ids come from. Clones draw from the same stream.
#[derive(Clone)]
pub(crate) struct Cids(Arc<Mutex<CidStream>>);

struct CidStream {
    key: hmac::Key,
    drawn: u64,
}

impl Cids {
    pub(crate) fn new(entropy: &dyn Entropy) -> Cids {
        let key = hmac::Key::new(hmac::HMAC_SHA256, &bytes::<32>(entropy));
        Cids(Arc::new(Mutex::new(CidStream { key, drawn: 0 })))
    }

    /// The first id of an outgoing connection.
    pub(crate) fn first(&self) -> ConnectionId {
        self.next(FIRST_CID_BYTES)
    }

    fn next(&self, len: usize) -> ConnectionId {
        let stream = &mut *self.0.lock().expect("nobody panics with it");
        stream.drawn += 1;
        let tag = hmac::sign(&stream.key, &stream.drawn.to_le_bytes());
        ConnectionId::new(&tag.as_ref()[..len])
    }
}

impl ConnectionIdGenerator for Cids {
    fn generate_cid(&mut self) -> ConnectionId {
        self.next(CID_BYTES)
    }

    fn cid_len(&self) -> usize {
        CID_BYTES
    }

    fn cid_lifetime(&self) -> Option<Duration> {
        None
    }
}

/// The time of the core, for the age of tokens. They live for seconds and are read where they
/// were made, so when it began does not matter.
#[derive(Default)]
pub(crate) struct CoreTime(AtomicU64);

impl CoreTime {
    pub(crate) fn set(&self, now: Mono) {
        self.0.store(now.0, Ordering::Relaxed);
    }
}

impl TimeSource for CoreTime {
    fn now(&self) -> SystemTime {
        UNIX_EPOCH + Duration::from_nanos(self.0.load(Ordering::Relaxed))
    }
}

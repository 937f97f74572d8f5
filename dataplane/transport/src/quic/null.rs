//! A stand-in for TLS, for the simulator: the same steps, no secrets, no chance but the seam's.
//!
//! What must always hold: it gives the same bytes for the same draws; a packet that was changed
//! on its way, or is of another connection, is refused; names and versions are compared as TLS
//! would, so that refusals can be simulated. It protects against nobody: every name is believed.
//!
//! ```text
//! client                                                server
//! Initial    hello: nonce, version, names, parameters ->
//!            <- welcome: nonce                                    (keys from both nonces)
//! Handshake  <- self: name, parameters
//!            done ->
//! 1-RTT      <-> calls
//!
//! message: | kind, 1 byte | length, 2 bytes LE | payload |
//! text:    | length, 1 byte | bytes |
//! ```

use std::any::Any;
use std::sync::Arc;

use bytes::BytesMut;
use quinn_proto::crypto::{
    ClientConfig, CryptoError, ExportKeyingMaterialError, HeaderKey, KeyPair, Keys, PacketKey,
    ServerConfig, Session, UnsupportedVersion,
};
use quinn_proto::transport_parameters::TransportParameters;
use quinn_proto::{ConnectError, ConnectionId, Side, TransportError, TransportErrorCode};

use crate::quic::chance::Cids;

const TAG_BYTES: usize = 16;
const NONCE_BYTES: usize = 16;

/// The version of our protocol that this build speaks, as in ALPN.
const PROTOCOL: u8 = 2;

const HELLO: u8 = 1;
const WELCOME: u8 = 2;
const SELF: u8 = 3;
const DONE: u8 = 4;

/// Alerts of TLS (RFC 8446, 6) that say the same.
const BAD_CERTIFICATE: u8 = 42;
const DECODE_ERROR: u8 = 50;
const NO_APPLICATION_PROTOCOL: u8 = 120;

/// The name that a peer says it has.
pub(crate) struct NullName(pub(crate) String);

/// For both sides.
pub(crate) struct NullConfig {
    name: String,
    chance: Cids,
}

impl NullConfig {
    pub(crate) fn new(name: &str, chance: Cids) -> NullConfig {
        assert!(name.len() < 256, "a name as a certificate has it");
        NullConfig { name: name.into(), chance }
    }

    fn session(&self, side: Side, wanted: &str, params: &TransportParameters) -> Box<NullSession> {
        let mut own_params = Vec::new();
        params.write(&mut own_params);
        Box::new(NullSession {
            side,
            name: self.name.clone(),
            wanted: wanted.into(),
            nonce: self.chance.first()[..].try_into().expect("16 bytes"),
            own_params,
            unread: Vec::new(),
            peer_nonce: None,
            peer_name: None,
            peer_params: None,
            written: 0,
            is_done: false,
            key_phase: 0,
        })
    }
}

impl ClientConfig for NullConfig {
    fn start_session(
        self: Arc<Self>,
        _version: u32,
        server_name: &str,
        params: &TransportParameters,
    ) -> Result<Box<dyn Session>, ConnectError> {
        if server_name.len() > 255 {
            return Err(ConnectError::InvalidServerName(server_name.into()));
        }
        Ok(self.session(Side::Client, server_name, params))
    }
}

impl ServerConfig for NullConfig {
    fn initial_keys(
        &self,
        _version: u32,
        dst_cid: &ConnectionId,
    ) -> Result<Keys, UnsupportedVersion> {
        Ok(initial_keys(dst_cid, Side::Server))
    }

    fn retry_tag(&self, _version: u32, orig_dst_cid: &ConnectionId, packet: &[u8]) -> [u8; 16] {
        NullKey::derive(&[b"retry", orig_dst_cid]).tag(0, packet, &[])
    }

    fn start_session(
        self: Arc<Self>,
        _version: u32,
        params: &TransportParameters,
    ) -> Box<dyn Session> {
        self.session(Side::Server, "", params)
    }
}

struct NullSession {
    side: Side,
    name: String,
    /// Whom we want to talk to; empty takes anybody.
    wanted: String,
    nonce: [u8; NONCE_BYTES],
    own_params: Vec<u8>,
    /// Bytes of a message that has not come whole.
    unread: Vec<u8>,
    peer_nonce: Option<[u8; NONCE_BYTES]>,
    peer_name: Option<String>,
    peer_params: Option<Vec<u8>>,
    /// Steps written so far.
    written: u32,
    is_done: bool,
    key_phase: u64,
}

impl NullSession {
    fn keys(&self, label: &[u8], phase: u64) -> KeyPair<Box<dyn PacketKey>> {
        let peer = self.peer_nonce.expect("keys come after the nonces");
        let (client, server) = match self.side {
            Side::Client => (self.nonce, peer),
            Side::Server => (peer, self.nonce),
        };
        let key = |from: Side| -> Box<dyn PacketKey> {
            let phase = phase.to_le_bytes();
            Box::new(NullKey::derive(&[label, &[from as u8], &client, &server, &phase]))
        };
        KeyPair { local: key(self.side), remote: key(!self.side) }
    }

    /// One whole message from the peer.
    fn take(&mut self, kind: u8, payload: &[u8]) -> Result<(), TransportError> {
        let mut rest = payload;
        let done = match (self.side, kind) {
            (Side::Server, HELLO) if self.peer_nonce.is_none() => (|| {
                self.peer_nonce = Some(take(&mut rest, NONCE_BYTES)?.try_into().ok()?);
                let protocol = take(&mut rest, 1)?[0];
                self.peer_name = Some(take_text(&mut rest)?);
                let wanted = take_text(&mut rest)?;
                self.peer_params = Some(rest.to_vec());
                Some(match () {
                    () if protocol != PROTOCOL => Err(alert(NO_APPLICATION_PROTOCOL)),
                    () if !wanted.is_empty() && wanted != self.name => Err(alert(BAD_CERTIFICATE)),
                    () => Ok(()),
                })
            })(),
            (Side::Client, WELCOME) if self.peer_nonce.is_none() => (|| {
                self.peer_nonce = Some(rest.try_into().ok()?);
                Some(Ok(()))
            })(),
            (Side::Client, SELF) if self.peer_params.is_none() => (|| {
                let name = take_text(&mut rest)?;
                let is_it = self.wanted.is_empty() || name == self.wanted;
                self.peer_name = Some(name);
                self.peer_params = Some(rest.to_vec());
                Some(if is_it { Ok(()) } else { Err(alert(BAD_CERTIFICATE)) })
            })(),
            (Side::Server, DONE) => {
                self.is_done = true;
                Some(Ok(()))
            }
            _ => None,
        };
        done.unwrap_or_else(|| Err(alert(DECODE_ERROR)))
    }
}

impl Session for NullSession {
    fn initial_keys(&self, dst_cid: &ConnectionId, side: Side) -> Keys {
        initial_keys(dst_cid, side)
    }

    fn handshake_data(&self) -> Option<Box<dyn Any>> {
        self.peer_params.as_ref().map(|_| Box::new(PROTOCOL) as Box<dyn Any>)
    }

    fn peer_identity(&self) -> Option<Box<dyn Any>> {
        let name = self.peer_name.clone()?;
        Some(Box::new(NullName(name)))
    }

    fn early_crypto(&self) -> Option<(Box<dyn HeaderKey>, Box<dyn PacketKey>)> {
        None
    }

    fn early_data_accepted(&self) -> Option<bool> {
        (self.side == Side::Client).then_some(false)
    }

    fn is_handshaking(&self) -> bool {
        !self.is_done
    }

    fn read_handshake(&mut self, buf: &[u8]) -> Result<bool, TransportError> {
        let had_params = self.peer_params.is_some();
        self.unread.extend_from_slice(buf);
        while let &[kind, low, high, ref rest @ ..] = &self.unread[..] {
            let len = usize::from(u16::from_le_bytes([low, high]));
            if rest.len() < len {
                break;
            }
            let payload = rest[..len].to_vec();
            self.unread.drain(..3 + len);
            self.take(kind, &payload)?;
        }
        Ok(!had_params && self.peer_params.is_some())
    }

    fn transport_parameters(&self) -> Result<Option<TransportParameters>, TransportError> {
        let Some(params) = &self.peer_params else { return Ok(None) };
        Ok(Some(TransportParameters::read(self.side, &mut &params[..])?))
    }

    fn write_handshake(&mut self, buf: &mut Vec<u8>) -> Option<Keys> {
        let with_header = |packet| Keys {
            header: KeyPair { local: Box::new(NullHeader), remote: Box::new(NullHeader) },
            packet,
        };
        match (self.side, self.written) {
            (Side::Client, 0) => {
                let mut hello = self.nonce.to_vec();
                hello.push(PROTOCOL);
                put_text(&mut hello, &self.name);
                put_text(&mut hello, &self.wanted);
                hello.extend_from_slice(&self.own_params);
                put(buf, HELLO, &hello);
                self.written = 1;
                None
            }
            (Side::Client, 1) if self.peer_nonce.is_some() => {
                self.written = 2;
                Some(with_header(self.keys(b"handshake", 0)))
            }
            (Side::Client, 2) if self.peer_params.is_some() => {
                put(buf, DONE, &[]);
                self.written = 3;
                self.is_done = true;
                Some(with_header(self.keys(b"calls", 0)))
            }
            (Side::Server, 0) if self.peer_params.is_some() => {
                put(buf, WELCOME, &self.nonce);
                self.written = 1;
                Some(with_header(self.keys(b"handshake", 0)))
            }
            (Side::Server, 1) => {
                let mut own = Vec::new();
                put_text(&mut own, &self.name);
                own.extend_from_slice(&self.own_params);
                put(buf, SELF, &own);
                self.written = 2;
                Some(with_header(self.keys(b"calls", 0)))
            }
            _ => None,
        }
    }

    fn next_1rtt_keys(&mut self) -> Option<KeyPair<Box<dyn PacketKey>>> {
        self.key_phase += 1;
        Some(self.keys(b"calls", self.key_phase))
    }

    fn is_valid_retry(&self, orig_dst_cid: &ConnectionId, header: &[u8], payload: &[u8]) -> bool {
        let Some(end) = payload.len().checked_sub(TAG_BYTES) else { return false };
        let packet = [header, &payload[..end]].concat();
        NullKey::derive(&[b"retry", orig_dst_cid]).tag(0, &packet, &[]) == payload[end..]
    }

    fn export_keying_material(
        &self,
        _output: &mut [u8],
        _label: &[u8],
        _context: &[u8],
    ) -> Result<(), ExportKeyingMaterialError> {
        Err(ExportKeyingMaterialError)
    }
}

fn alert(code: u8) -> TransportError {
    TransportError {
        code: TransportErrorCode::crypto(code),
        frame: None,
        reason: "refused by the stand-in for TLS".into(),
    }
}

fn put(buf: &mut Vec<u8>, kind: u8, payload: &[u8]) {
    buf.push(kind);
    buf.extend_from_slice(&(payload.len() as u16).to_le_bytes());
    buf.extend_from_slice(payload);
}

fn put_text(buf: &mut Vec<u8>, text: &str) {
    buf.push(text.len() as u8);
    buf.extend_from_slice(text.as_bytes());
}

fn take<'a>(rest: &mut &'a [u8], len: usize) -> Option<&'a [u8]> {
    let (taken, left) = rest.split_at_checked(len)?;
    *rest = left;
    Some(taken)
}

fn take_text(rest: &mut &[u8]) -> Option<String> {
    let len = take(rest, 1)?[0];
    String::from_utf8(take(rest, len.into())?.to_vec()).ok()
}

fn initial_keys(dst_cid: &ConnectionId, side: Side) -> Keys {
    let key = |from: Side| -> Box<dyn PacketKey> {
        Box::new(NullKey::derive(&[b"initial", &[from as u8], dst_cid]))
    };
    Keys {
        header: KeyPair { local: Box::new(NullHeader), remote: Box::new(NullHeader) },
        packet: KeyPair { local: key(side), remote: key(!side) },
    }
}

/// Leaves headers as they are.
struct NullHeader;

impl HeaderKey for NullHeader {
    fn decrypt(&self, _pn_offset: usize, _packet: &mut [u8]) {}

    fn encrypt(&self, _pn_offset: usize, _packet: &mut [u8]) {}

    fn sample_size(&self) -> usize {
        TAG_BYTES
    }
}

/// Tags packets, so that damage and strangers are seen.
#[derive(Clone, Copy)]
struct NullKey([u64; 2]);

impl NullKey {
    fn derive(parts: &[&[u8]]) -> NullKey {
        let mut key = NullKey([0x243f_6a88_85a3_08d3, 0x1319_8a2e_0370_7344]);
        for part in parts {
            let tag = key.tag(part.len() as u64, part, &[]);
            let half = |bytes: &[u8]| u64::from_le_bytes(bytes.try_into().expect("8 bytes"));
            key = NullKey([half(&tag[..8]), half(&tag[8..])]);
        }
        key
    }

    /// 16 bytes over number, header and payload. Two lanes of multiply-and-fold, eight bytes at a
    /// time: a flipped bit changes every bit of the tag with probability a half.
    fn tag(&self, number: u64, header: &[u8], payload: &[u8]) -> [u8; TAG_BYTES] {
        let [mut a, mut b] = self.0;
        let mut absorb = |word: u64| {
            a = fold(a ^ word, 0x9e37_79b9_7f4a_7c15);
            b = fold(b.rotate_left(23) ^ word, 0xd1b5_4a32_d192_ed03);
        };
        absorb(number);
        for part in [header, payload] {
            absorb(part.len() as u64);
            let (words, tail) = part.as_chunks::<8>();
            words.iter().for_each(|word| absorb(u64::from_le_bytes(*word)));
            let mut last = [0; 8];
            last[..tail.len()].copy_from_slice(tail);
            absorb(u64::from_le_bytes(last));
        }
        let mut tag = [0; TAG_BYTES];
        tag[..8].copy_from_slice(&fold(a, b | 1).to_le_bytes());
        tag[8..].copy_from_slice(&fold(b, a | 1).to_le_bytes());
        tag
    }
}

/// Both halves of a product.
fn fold(x: u64, y: u64) -> u64 {
    let product = u128::from(x.wrapping_add(0x2545_f491_4f6c_dd1d)) * u128::from(y);
    (product as u64) ^ (product >> 64) as u64
}

impl PacketKey for NullKey {
    fn encrypt(&self, packet: u64, buf: &mut [u8], header_len: usize) {
        let (header, rest) = buf.split_at_mut(header_len);
        let (payload, tag) = rest.split_at_mut(rest.len() - TAG_BYTES);
        tag.copy_from_slice(&self.tag(packet, header, payload));
    }

    fn decrypt(
        &self,
        packet: u64,
        header: &[u8],
        payload: &mut BytesMut,
    ) -> Result<(), CryptoError> {
        let end = payload.len().checked_sub(TAG_BYTES).ok_or(CryptoError)?;
        if self.tag(packet, header, &payload[..end]) != payload[end..] {
            return Err(CryptoError);
        }
        payload.truncate(end);
        Ok(())
    }

    fn tag_len(&self) -> usize {
        TAG_BYTES
    }

    fn confidentiality_limit(&self) -> u64 {
        u64::MAX
    }

    fn integrity_limit(&self) -> u64 {
        u64::MAX
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_flipped_bit_of_a_packet_is_seen() {
        let key = NullKey::derive(&[b"test"]);
        let mut packet = vec![7u8; 20 + 50 + TAG_BYTES];
        key.encrypt(9, &mut packet, 20);
        let open = |packet: &[u8], number| {
            let (header, payload) = packet.split_at(20);
            let mut payload = BytesMut::from(payload);
            key.decrypt(number, header, &mut payload).map(|()| payload.len())
        };
        assert_eq!(open(&packet, 9).ok(), Some(50));
        assert!(open(&packet, 8).is_err(), "another number");
        for bit in 0..packet.len() * 8 {
            let mut bad = packet.clone();
            bad[bit / 8] ^= 1 << (bit % 8);
            assert!(open(&bad, 9).is_err(), "bit {bit}");
        }
        assert!(open(&packet[..30], 9).is_err(), "cut");
    }

    #[test]
    fn keys_differ_by_each_of_their_parts() {
        let tag = |parts: &[&[u8]]| NullKey::derive(parts).tag(1, b"h", b"p");
        let base = tag(&[b"a", b"bc"]);
        assert_eq!(base, tag(&[b"a", b"bc"]));
        for other in [tag(&[b"ab", b"c"]), tag(&[b"a", b"bd"]), tag(&[b"a"])] {
            assert_ne!(base, other);
        }
    }
}

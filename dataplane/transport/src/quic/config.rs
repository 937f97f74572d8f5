//! How an endpoint is set up. The reasons, with measurements, stand in docs/TRANSPORT.md.

use std::sync::Arc;
use std::time::Duration;

use isotherm_seam::Nanos;
use isotherm_wire::{BODY_BYTES_MAX, HEADER_BYTES};
use quinn_proto::congestion::CubicConfig;
use quinn_proto::{IdleTimeout, MtuDiscoveryConfig, TransportConfig, VarInt};

use crate::Identities;
use crate::quic::chance::NodeKeys;

/// What protects a connection.
#[derive(Clone)]
pub enum Crypto {
    /// Mutual TLS 1.3.
    Tls(Arc<Identities>),
    /// Nothing is secret and everybody is who they say: for the simulator. Damage is noticed.
    Null {
        /// The name that peers see, and that they may ask for.
        name: String,
    },
    /// Whatever else speaks quinn-proto's language: for tests that break it.
    Custom {
        /// For connections that are dialled.
        client: Arc<dyn quinn_proto::crypto::ClientConfig>,
        /// For those that are accepted.
        server: Arc<dyn quinn_proto::crypto::ServerConfig>,
    },
}

/// How an endpoint is made.
#[derive(Clone)]
pub struct QuicConfig {
    /// What protects it.
    pub crypto: Crypto,
    /// Shared by the cores of a node.
    pub keys: NodeKeys,
    /// Bytes of UDP payload that the network carries: 1,452 with 1,500-byte frames, 8,952 with
    /// jumbo frames of 9,000. Used from the start; where the path has less, that is found out.
    pub mtu: u16,
    /// Incoming connections at most.
    pub connections_max: usize,
    /// Incoming handshakes under way at most.
    pub half_open_max: usize,
    /// With more handshakes than this under way, a peer must show that it receives at its
    /// address before it costs anything.
    pub retry_above: usize,
    /// Bytes of requests that nobody has taken yet, over all connections; one connection holds a
    /// quarter of it at most. Requests beyond are refused.
    pub held_bytes_max: u64,
    /// A handshake takes no longer.
    pub handshake_timeout: Nanos,
    /// A peer that is not heard of for so long is gone.
    pub idle_timeout: Nanos,
    /// Who dialled says something after so much silence.
    pub keep_alive: Nanos,
}

impl QuicConfig {
    /// The usual: 1,452 bytes, 1,024 connections, 256 MiB of requests, 10 s of silence.
    pub fn new(crypto: Crypto, keys: NodeKeys) -> QuicConfig {
        QuicConfig {
            crypto,
            keys,
            mtu: 1452,
            connections_max: 1024,
            half_open_max: 256,
            retry_above: 64,
            held_bytes_max: 256 << 20,
            handshake_timeout: Nanos::from_secs(5),
            idle_timeout: Nanos::from_secs(10),
            keep_alive: Nanos::from_secs(3),
        }
    }

    /// With datagrams of another size.
    pub fn with_mtu(mut self, mtu: u16) -> QuicConfig {
        assert!((1200..=65_000).contains(&mtu), "QUIC needs 1,200 bytes, a send takes 65,000");
        self.mtu = mtu;
        self
    }
}

/// Calls of one side under way at once. quinn-proto reserves a place for each on every
/// connection: 65,536 would be 5 MB a connection.
pub(crate) const CALLS_MAX: u32 = 128;

/// What a peer may send on one stream before it is read: one message, so its sender never
/// waits, and not a byte more than that is ever kept of it.
const STREAM_WINDOW: u32 = (HEADER_BYTES + BODY_BYTES_MAX) as u32;

/// What a peer may send unread on all streams. All is read as it comes, so this only ever holds
/// what came out of order; a peer of our kind has no more than its send window under way.
const RECEIVE_WINDOW: u32 = 8 << 20;
const _: () = assert!(RECEIVE_WINDOW as u64 >= SEND_WINDOW, "or a sender waits for it");

/// What is kept for a peer that has not acknowledged it: 2 ms at 32 Gb/s.
const SEND_WINDOW: u64 = 8 << 20;

/// Congestion window at the start. In a cluster's network the common 14 kB only make the first
/// answers slow; below the datagram's size nothing would move at all.
const INITIAL_WINDOW: u64 = 2 << 20;
const _: () = assert!(INITIAL_WINDOW > u16::MAX as u64, "below the MTU a connection stalls");

/// Round trip that is assumed before one was measured.
const INITIAL_RTT: Duration = Duration::from_millis(20);

/// The transport's settings for one side.
pub(crate) fn transport(config: &QuicConfig, dials: bool) -> TransportConfig {
    let mut discovery = MtuDiscoveryConfig::default();
    discovery.upper_bound(config.mtu);
    let mut cubic = CubicConfig::default();
    cubic.initial_window(INITIAL_WINDOW);
    let idle = IdleTimeout::try_from(duration(config.idle_timeout)).expect("less than centuries");

    let mut transport = TransportConfig::default();
    transport
        .max_concurrent_bidi_streams(CALLS_MAX.into())
        .max_concurrent_uni_streams(VarInt::from_u32(1))
        .stream_receive_window(STREAM_WINDOW.into())
        .receive_window(RECEIVE_WINDOW.into())
        .send_window(SEND_WINDOW)
        // Strict order by priority. Without "fairness" quinn-proto finishes a stream that it has
        // begun whatever else comes; with it and a priority for each, the oldest goes first and
        // what is told overtakes it.
        .send_fairness(true)
        .initial_mtu(config.mtu)
        .mtu_discovery_config(Some(discovery))
        .initial_rtt(INITIAL_RTT)
        .congestion_controller_factory(Arc::new(cubic))
        .max_idle_timeout(Some(idle))
        .keep_alive_interval(dials.then(|| duration(config.keep_alive)))
        .datagram_receive_buffer_size(None)
        .allow_spin(false)
        .enable_segmentation_offload(true);
    transport
}

pub(crate) fn duration(length: Nanos) -> Duration {
    Duration::from_nanos(length.0)
}

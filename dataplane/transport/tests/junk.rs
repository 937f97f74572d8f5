//! What strangers and broken peers can do: nothing that others would notice.

mod common;

use std::any::Any;
use std::future::poll_fn;
use std::net::UdpSocket;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use bytes::BytesMut;
use common::{identity, named, now, null, open, real_core, sim_addr, sim_pair, tls, virtual_core};
use isotherm_seam::{Domain, Draws, Nanos};
use isotherm_sim::{HostId, SimEntropy, SimNetworkConfig};
use isotherm_transport::conformance::{message, pattern};
use isotherm_transport::quic::{Crypto, NodeKeys, Quic, QuicConfig};
use isotherm_transport::{Body, Ca, CallError, Closed, Connection, Frame, Network};
use quinn_proto::crypto;
use quinn_proto::transport_parameters::TransportParameters;
use quinn_proto::{ConnectError, ConnectionId, Side, TransportError};

async fn accept(quic: &Rc<Quic>) -> Connection {
    poll_fn(|cx| quic.poll_accept(cx)).await
}

async fn echo(session: Connection) {
    while let Ok((ticket, request)) = session.request().await {
        session.answer(ticket, message(2, request.body));
    }
}

fn rss_bytes() -> usize {
    let statm = std::fs::read_to_string("/proc/self/statm").unwrap();
    statm.split(' ').nth(1).unwrap().parse::<usize>().unwrap() * 4096
}

/// A first packet of a client, as bytes: what a real endpoint sends when it dials.
fn first_packets(count: u64) -> Vec<Vec<u8>> {
    let mut reactor = virtual_core();
    let net = isotherm_sim::SimNetwork::new(SimNetworkConfig::new(1));
    let quic = Quic::open(
        reactor.handle(),
        Box::new(net.open(HostId(1), sim_addr(1))),
        null("stranger", 1),
        &SimEntropy::new(1),
    );
    let mut sink = net.open(HostId(2), sim_addr(2));
    let handle = reactor.handle().clone();
    reactor.run(async move {
        let mut packets = Vec::new();
        let mut buf = vec![0; isotherm_seam::Datagram::limits(&sink).recv_bytes_max];
        for _ in 0..count {
            let session =
                quic.dial(&isotherm_transport::PeerAddr { addr: sim_addr(2), name: String::new() });
            handle.sleep(Nanos::from_millis(1)).await;
            let received =
                isotherm_seam::Datagram::recv(&mut sink, handle.now(), &mut buf).unwrap();
            packets.push(buf[..received.len_bytes.min(received.stride_bytes)].to_vec());
            session.close();
        }
        packets
    })
}

#[test]
fn ten_thousand_half_open_handshakes_cost_bounded_memory_and_a_good_client_goes_on() {
    let (mut reactor, ring) = real_core();
    let entropy = isotherm_host::OsEntropy::new().unwrap();
    let config =
        |name: &str| QuicConfig::new(Crypto::Null { name: name.into() }, NodeKeys::draw(&entropy));
    let far = open(&reactor, &ring, config("far"));
    let near = open(&reactor, &ring, config("near"));
    let packets = first_packets(10_000);
    let addr = far.local();
    let (handle, to) = (reactor.handle().clone(), named(&far, "far"));
    reactor.run(async move {
        let session = near.dial(&to);
        let _server = handle.spawn("echo", echo(accept(&far).await));
        let call = async |i: u8| {
            let call = session.call(message(1, Body::from(pattern(20_000, i))));
            let answer = handle.timeout(Nanos::from_secs(5), call).await;
            assert_eq!(answer.expect("in time").unwrap().body.len(), 20_000);
        };
        call(0).await;
        let strangers: Vec<UdpSocket> =
            (0..50).map(|_| UdpSocket::bind("127.0.0.1:0").unwrap()).collect();
        let (before, begun) = (rss_bytes(), handle.now());
        for (i, packet) in packets.iter().enumerate() {
            strangers[i % strangers.len()].send_to(packet, addr).unwrap();
            if i % 100 == 99 {
                call(i as u8).await;
                assert!(far.counters().half_open <= 256, "{:?}", far.counters());
            }
        }
        let took = handle.now().since(begun);
        let grown = rss_bytes().saturating_sub(before);
        let counters = far.counters();
        assert!(took < Nanos::from_secs(20), "{took:?}");
        assert!(grown < 64 << 20, "{} KiB", grown >> 10);
        // 64 handshakes are begun, all others are asked to show that they receive.
        assert!(counters.retries > 9_000, "{counters:?}");
        assert_eq!(counters.panics, 0);
        // Who does not go on is forgotten after the time of a handshake.
        handle.sleep(Nanos::from_secs(6)).await;
        assert_eq!(far.counters().half_open, 0, "{:?}", far.counters());
        call(1).await;
    });
}

#[test]
fn a_good_client_gets_in_while_strangers_are_asked_to_retry() {
    let mut reactor = virtual_core();
    let net = isotherm_sim::SimNetwork::new(SimNetworkConfig::new(4));
    let mut config = null("far", 2);
    config.retry_above = 0;
    let entropy = SimEntropy::new(2);
    let socket = Box::new(net.open(HostId(2), sim_addr(2)));
    let far = Quic::open(reactor.handle(), socket, config, &entropy);
    let socket = Box::new(net.open(HostId(1), sim_addr(1)));
    let near = Quic::open(reactor.handle(), socket, null("near", 1), &SimEntropy::new(1));
    let to = named(&far, "far");
    reactor.run(async move {
        let session = near.dial(&to);
        session.ready().await.unwrap();
        accept(&far).await;
        let counters = far.counters();
        assert_eq!((counters.retries, counters.handshakes), (1, 1));
    });
}

#[test]
fn with_tls_too_a_client_shows_that_it_receives() {
    let (mut reactor, ring) = real_core();
    let ca = Ca::create("c", now()).unwrap();
    let mut config = tls(identity(&ca, "far"));
    config.retry_above = 0;
    let far = open(&reactor, &ring, config);
    let near = open(&reactor, &ring, tls(identity(&ca, "near")));
    let to = named(&far, "far");
    reactor.run(async move {
        near.dial(&to).ready().await.unwrap();
        assert_eq!(far.counters().retries, 1);
    });
}

#[test]
fn a_full_endpoint_says_so() {
    let mut reactor = virtual_core();
    let net = isotherm_sim::SimNetwork::new(SimNetworkConfig::new(4));
    let mut config = null("far", 2);
    config.connections_max = 3;
    let socket = Box::new(net.open(HostId(2), sim_addr(2)));
    let far = Quic::open(reactor.handle(), socket, config, &SimEntropy::new(2));
    let socket = Box::new(net.open(HostId(1), sim_addr(1)));
    let near = Quic::open(reactor.handle(), socket, null("near", 1), &SimEntropy::new(1));
    let (handle, to) = (reactor.handle().clone(), named(&far, "far"));
    reactor.run(async move {
        let sessions: Vec<_> = (0..4).map(|_| near.dial(&to)).collect();
        for session in &sessions[..3] {
            session.ready().await.unwrap();
        }
        assert_eq!(sessions[3].ready().await, Err(Closed::Full));
        assert_eq!(far.counters().refused_full, 1);
        sessions[0].close();
        handle.sleep(Nanos::from_secs(1)).await;
        near.dial(&to).ready().await.unwrap();
    });
}

#[test]
fn malformed_datagrams_are_counted_and_change_nothing() {
    let mut reactor = virtual_core();
    let (net, near, far) = sim_pair(&reactor, SimNetworkConfig::new(6));
    let mut stranger = net.open(HostId(3), sim_addr(3));
    let firsts = first_packets(20);
    let (handle, to) = (reactor.handle().clone(), named(&far, "far"));
    reactor.run(async move {
        let session = near.dial(&to);
        let _server = handle.spawn("echo", echo(accept(&far).await));
        session.ready().await.unwrap();
        let mut draws = Draws::new(8, Domain::new("test.junk"), 0);
        for i in 0..20_000u64 {
            // Random bytes, and first packets with a few bytes changed or cut.
            let mut bytes: Vec<u8> = if i % 2 == 0 {
                (0..draws.below(1400)).map(|_| draws.next_u64() as u8).collect()
            } else {
                firsts[draws.below(20) as usize].clone()
            };
            for _ in 0..draws.below(4) {
                if let Some(at) = bytes.len().checked_sub(1) {
                    let at = draws.below(at as u64 + 1) as usize;
                    bytes[at] = draws.next_u64() as u8;
                }
            }
            if draws.happens(0.3) {
                bytes.truncate(draws.below(bytes.len() as u64 + 1) as usize);
            }
            let transmit = isotherm_seam::Transmit {
                to: far.local(),
                from_ip: None,
                ecn: None,
                contents: &bytes,
                segment_bytes: None,
            };
            let _ = isotherm_seam::Datagram::send(&mut stranger, handle.now(), &transmit);
            if i % 50 == 0 {
                handle.sleep(Nanos::from_millis(1)).await;
            }
        }
        let answer = session.call(message(1, Body::from(pattern(9000, 1)))).await.unwrap();
        assert_eq!(answer.body.len(), 9000);
        let counters = far.counters();
        assert!(counters.junk > 5_000, "{counters:?}");
        assert_eq!((counters.panics, counters.garbled), (0, 0), "{counters:?}");
        assert!(counters.half_open <= 64, "{counters:?}");
    });
}

#[test]
fn messages_that_are_none_are_refused_and_the_session_lives() {
    let mut reactor = virtual_core();
    let (_net, near, far) = sim_pair(&reactor, SimNetworkConfig::new(6));
    let (handle, to) = (reactor.handle().clone(), named(&far, "far"));
    reactor.run(async move {
        let session = near.dial(&to);
        let served = accept(&far).await;
        let _server = handle.spawn("echo", echo(served.clone()));
        let good = message(1, Body::from(pattern(100_000, 1)));
        // A header that was changed; a body that is shorter, and one that is longer than announced.
        let mut changed = good.header;
        changed[77] ^= 1;
        let body = |len| Body::from(pattern(len, 1));
        let bad = [
            Frame { header: changed, body: body(100_000) },
            Frame { header: [0; 128], body: Body::Empty },
            Frame { header: good.header, body: body(99_999) },
            Frame { header: good.header, body: body(100_001) },
            Frame { header: good.header, body: body(1_000_000) },
            Frame { header: good.header, body: Body::Empty },
        ];
        let count = bad.len() as u64;
        for (i, frame) in bad.into_iter().enumerate() {
            let end = session.call(frame).await.err();
            assert_eq!(end, Some(CallError::Refused), "{i}");
        }
        assert_eq!(far.counters().garbled, count);
        session.call(good).await.unwrap();

        // The same as answers.
        let ask = session.clone();
        let call =
            handle.spawn("caller", async move { ask.call(message(9, Body::Empty)).await.err() });
        handle.sleep(Nanos::from_millis(1)).await;
        // `echo` answers requests of `near`; this one is asked of `near` by `far`.
        call.await;
        let back = served.call(message(1, Body::Empty));
        let (ticket, _) = session.request().await.unwrap();
        session.answer(ticket, Frame { header: changed, body: Body::Empty });
        assert!(matches!(back.await.err(), Some(CallError::Garbled(_))));
        assert_eq!(session.closed(), None);
    });
}

/// The stand-in for TLS, but panicking on demand where packets of one side are opened.
struct Fuse {
    is_lit: Arc<AtomicBool>,
}

/// A session whose keys blow the fuse. It protects nothing at all.
struct FuseSession {
    side: Side,
    params: Vec<u8>,
    peer: Option<Vec<u8>>,
    steps: u32,
    done: bool,
    is_lit: Arc<AtomicBool>,
}

struct FuseKey(Arc<AtomicBool>);

impl crypto::PacketKey for FuseKey {
    fn encrypt(&self, _packet: u64, _buf: &mut [u8], _header_len: usize) {}

    fn decrypt(&self, _: u64, _: &[u8], payload: &mut BytesMut) -> Result<(), crypto::CryptoError> {
        assert!(!self.0.load(Ordering::Relaxed), "the fuse is lit");
        let end = payload.len().checked_sub(16).ok_or(crypto::CryptoError)?;
        payload.truncate(end);
        Ok(())
    }

    fn tag_len(&self) -> usize {
        16
    }

    fn confidentiality_limit(&self) -> u64 {
        u64::MAX
    }

    fn integrity_limit(&self) -> u64 {
        u64::MAX
    }
}

impl crypto::HeaderKey for FuseKey {
    fn decrypt(&self, _: usize, _: &mut [u8]) {}

    fn encrypt(&self, _: usize, _: &mut [u8]) {}

    fn sample_size(&self) -> usize {
        16
    }
}

fn fuse_keys(is_lit: &Arc<AtomicBool>) -> crypto::Keys {
    let off = Arc::new(AtomicBool::new(false));
    crypto::Keys {
        header: crypto::KeyPair {
            local: Box::new(FuseKey(off.clone())),
            remote: Box::new(FuseKey(off.clone())),
        },
        packet: crypto::KeyPair {
            local: Box::new(FuseKey(off)),
            remote: Box::new(FuseKey(is_lit.clone())),
        },
    }
}

impl Fuse {
    fn session(&self, side: Side, params: &TransportParameters) -> Box<FuseSession> {
        let mut own = Vec::new();
        params.write(&mut own);
        let is_lit = self.is_lit.clone();
        Box::new(FuseSession { side, params: own, peer: None, steps: 0, done: false, is_lit })
    }
}

impl crypto::ClientConfig for Fuse {
    fn start_session(
        self: Arc<Self>,
        _: u32,
        _: &str,
        params: &TransportParameters,
    ) -> Result<Box<dyn crypto::Session>, ConnectError> {
        Ok(self.session(Side::Client, params))
    }
}

impl crypto::ServerConfig for Fuse {
    fn initial_keys(
        &self,
        _: u32,
        _: &ConnectionId,
    ) -> Result<crypto::Keys, crypto::UnsupportedVersion> {
        Ok(fuse_keys(&Arc::default()))
    }

    fn retry_tag(&self, _: u32, _: &ConnectionId, _: &[u8]) -> [u8; 16] {
        [0; 16]
    }

    fn start_session(
        self: Arc<Self>,
        _: u32,
        params: &TransportParameters,
    ) -> Box<dyn crypto::Session> {
        self.session(Side::Server, params)
    }
}

impl crypto::Session for FuseSession {
    fn initial_keys(&self, _: &ConnectionId, _: Side) -> crypto::Keys {
        fuse_keys(&Arc::default())
    }

    fn handshake_data(&self) -> Option<Box<dyn Any>> {
        None
    }

    fn peer_identity(&self) -> Option<Box<dyn Any>> {
        let ca = Ca::create("c", now()).unwrap();
        let cert = common::leaf(&ca, "anybody").cert_pem;
        let der = rustls::pki_types::pem::PemObject::from_pem_slice(cert.as_bytes()).unwrap();
        let chain: Vec<rustls::pki_types::CertificateDer<'static>> = vec![der];
        Some(Box::new(chain))
    }

    fn early_crypto(&self) -> Option<(Box<dyn crypto::HeaderKey>, Box<dyn crypto::PacketKey>)> {
        None
    }

    fn early_data_accepted(&self) -> Option<bool> {
        Some(false)
    }

    fn is_handshaking(&self) -> bool {
        !self.done
    }

    fn read_handshake(&mut self, buf: &[u8]) -> Result<bool, TransportError> {
        let is_first = self.peer.is_none();
        if is_first {
            self.peer = Some(buf.to_vec());
        } else {
            self.done = true;
        }
        Ok(is_first)
    }

    fn transport_parameters(&self) -> Result<Option<TransportParameters>, TransportError> {
        let Some(peer) = &self.peer else { return Ok(None) };
        Ok(Some(TransportParameters::read(self.side, &mut &peer[..])?))
    }

    /// Each side's parameters in the first space, one byte in the second.
    fn write_handshake(&mut self, buf: &mut Vec<u8>) -> Option<crypto::Keys> {
        let step = self.steps;
        let is_server = self.side == Side::Server;
        match step {
            0 if !is_server || self.peer.is_some() => {
                buf.extend_from_slice(&self.params);
                self.steps = 1;
                is_server.then(|| fuse_keys(&Arc::default()))
            }
            1 if !is_server && self.peer.is_some() => {
                self.steps = 2;
                Some(fuse_keys(&Arc::default()))
            }
            1 if is_server => {
                buf.push(1);
                self.steps = 2;
                Some(fuse_keys(&self.is_lit))
            }
            2 if !is_server && self.done => {
                buf.push(1);
                self.steps = 3;
                Some(fuse_keys(&self.is_lit))
            }
            _ => None,
        }
    }

    fn next_1rtt_keys(&mut self) -> Option<crypto::KeyPair<Box<dyn crypto::PacketKey>>> {
        Some(fuse_keys(&self.is_lit).packet)
    }

    fn is_valid_retry(&self, _: &ConnectionId, _: &[u8], _: &[u8]) -> bool {
        true
    }

    fn export_keying_material(
        &self,
        _: &mut [u8],
        _: &[u8],
        _: &[u8],
    ) -> Result<(), crypto::ExportKeyingMaterialError> {
        Err(crypto::ExportKeyingMaterialError)
    }
}

#[test]
fn a_panic_in_one_connection_ends_it_and_no_other() {
    let mut reactor = virtual_core();
    let net = isotherm_sim::SimNetwork::new(SimNetworkConfig::new(4));
    // Two dialling endpoints with a fuse each, one endpoint that is dialled by both.
    let quic = |host: u32| {
        let fuse = Arc::new(Fuse { is_lit: Arc::default() });
        let lit = fuse.is_lit.clone();
        let keys = NodeKeys::draw(&SimEntropy::new(host.into()));
        let crypto = Crypto::Custom { client: fuse.clone(), server: fuse };
        let socket = Box::new(net.open(HostId(host), sim_addr(host)));
        let config = QuicConfig::new(crypto, keys);
        (Quic::open(reactor.handle(), socket, config, &SimEntropy::new(host.into())), lit)
    };
    let ((a, lit), (b, _), (far, _)) = (quic(1), quic(2), quic(3));
    let (handle, to) = (reactor.handle().clone(), named(&far, "anybody"));
    reactor.run(async move {
        let (one, other, third) = (a.dial(&to), b.dial(&to), a.dial(&to));
        for _ in 0..3 {
            let served = accept(&far).await;
            handle.spawn("echo", echo(served));
        }
        for session in [&one, &other, &third] {
            session.call(message(1, Body::from(pattern(3000, 1)))).await.unwrap();
        }
        lit.store(true, Ordering::Relaxed);
        let end = one.call(message(1, Body::from(pattern(3000, 1)))).await.err();
        assert_eq!(end, Some(CallError::Closed(Closed::Protocol)));
        lit.store(false, Ordering::Relaxed);
        assert_eq!(a.counters().panics, 1);
        for session in [&other, &third] {
            session.call(message(1, Body::from(pattern(3000, 1)))).await.unwrap();
        }
        let again = a.dial(&to);
        again.ready().await.unwrap();
        assert_eq!(a.counters().connections, 2, "{:?}", a.counters());
    });
}

#[test]
fn what_requests_hold_that_nobody_takes_is_bounded_over_all_connections() {
    const MIB: u64 = 1 << 20;
    const CALLS: u64 = 12;
    let mut reactor = virtual_core();
    let net = isotherm_sim::SimNetwork::new(SimNetworkConfig::new(8));
    let open = |host: u32, name: &str| {
        let mut config = null(name, host.into());
        config.held_bytes_max = 16 * MIB;
        let socket = Box::new(net.open(HostId(host), sim_addr(host)));
        Quic::open(reactor.handle(), socket, config, &SimEntropy::new(host.into()))
    };
    let far = open(100, "far");
    let clients: Vec<Rc<Quic>> = (1..=8).map(|host| open(host, "near")).collect();
    let (handle, to) = (reactor.handle().clone(), named(&far, "far"));
    reactor.run(async move {
        let body = || Body::from(vec![7; MIB as usize]);
        // One that is greedy alone has its share, and the others still theirs.
        let sessions: Vec<Connection> = clients.iter().map(|near| near.dial(&to)).collect();
        let mut calls = Vec::new();
        for (i, session) in sessions.iter().enumerate() {
            session.ready().await.unwrap();
            for _ in 0..CALLS {
                calls.push((i, session.call(message(1, body()))));
            }
            handle.sleep(Nanos::from_millis(100)).await;
            let counters = far.counters();
            assert!(counters.held_bytes <= 16 * MIB, "{counters:?}");
            // Three of a MiB and their headers are within a quarter.
            let served = (i as u64 + 1).min(5);
            assert_eq!(counters.held_bytes / MIB, 3 * served, "{counters:?}");
        }
        // Five had their share of 3, one more room for nothing: 16 MiB less five times 3 and
        // their headers is less than one.
        assert_eq!(far.counters().refused_held, 8 * CALLS - 15);
        let mut servers = Vec::new();
        for _ in 0..sessions.len() {
            servers.push(handle.spawn("echo", echo(accept(&far).await)));
        }
        let mut done = [(0, 0); 8];
        for (i, call) in calls {
            match call.await {
                Ok(answer) => {
                    assert_eq!(answer.body.len() as u64, MIB);
                    done[i].0 += 1;
                }
                Err(error) => {
                    assert_eq!(error, CallError::Refused);
                    done[i].1 += 1;
                }
            }
        }
        for (i, done) in done.into_iter().enumerate() {
            let served = if i < 5 { 3 } else { 0 };
            assert_eq!(done, (served, CALLS - served), "client {i}");
        }
        // What was handed over or cut holds nothing; all get in again.
        assert_eq!(far.counters().held_bytes, 0);
        for session in &sessions {
            session.call(message(1, body())).await.unwrap();
        }
        // Nor does what dies with its connection.
        let closing = clients[0].dial(&to);
        closing.ready().await.unwrap();
        let _last = accept(&far).await;
        let call = closing.call(message(1, body()));
        handle.sleep(Nanos::from_millis(100)).await;
        assert_eq!(far.counters().held_bytes / MIB, 1);
        closing.close();
        assert_eq!(call.await.err(), Some(CallError::Closed(Closed::Here)));
        handle.sleep(Nanos::from_millis(100)).await;
        assert_eq!(far.counters().held_bytes, 0);
    });
}

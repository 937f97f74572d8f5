//! What a get of a shard costs end to end: a client, mutual TLS over QUIC on loopback, a node, its
//! store on a memory device. One core each side.
//!
//! ```text
//! cargo run --release -p isotherm-node --example get_cost [SECONDS [MTU KIB DEPTH]]
//! ```
//!
//! Without the last three: the whole table. The threads are called `node` and `client`, so that a
//! profiler tells them apart.
#![allow(clippy::disallowed_methods, reason = "a bench: it makes its own threads")]

use std::cell::{Cell, RefCell};
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::mpsc;

use isotherm_block::{OpenContext, Spec};
use isotherm_host::{HostClock, OsEntropy, pin};
use isotherm_node::{Node, NodeConfig};
use isotherm_reactor::{Reactor, ReactorConfig};
use isotherm_seam::{
    BlockSize, BufPool, Clock, CoreId, Key, Nanos, OpenOptions, Park, PoolClass, PoolLayout,
};
use isotherm_store::{FormatOptions, Options, World, format};
use isotherm_transport::quic::{Crypto, NodeKeys, Quic, QuicConfig};
use isotherm_transport::{
    Body, Ca, Connection, Frame, Identities, LeafRequest, Network, PeerAddr, TlsIdentity,
};
use isotherm_uring::{Ring, RingConfig};
use isotherm_wire::{Answer, Ask, Request, crc32c};

const UUID: [u8; 16] = [5; 16];
const SHARDS: u64 = 512;

fn main() {
    let number = |text: String| text.parse::<usize>().expect("a number");
    let args: Vec<usize> = std::env::args().skip(1).map(number).collect();
    let seconds = args.first().map_or(2, |&seconds| seconds as u64);
    let mut cases = Vec::new();
    match args[..] {
        [] | [_] => {
            for (kib, depth) in [4, 64, 1024].into_iter().flat_map(|kib| [(kib, 1), (kib, 16)]) {
                cases.push(Case { bytes: kib << 10, depth });
            }
        }
        [_, _, kib, depth] => cases.push(Case { bytes: kib << 10, depth }),
        _ => panic!("nothing, SECONDS, or SECONDS MTU KIB DEPTH"),
    }
    println!("| mtu | shard | depth | gets/s | p50 us | p99 us | Gb/s |");
    println!("|---|---|---|---|---|---|---|");
    for mtu in args.get(1).map_or(vec![1452, 8972], |&mtu| vec![mtu as u16]) {
        let ca = Ca::create("bench", HostClock::new().wall()).expect("an authority");
        let (server, client) = (identity(&ca, "node"), identity(&ca, "client"));
        let (tell, told) = mpsc::channel();
        let named = |name: &str| std::thread::Builder::new().name(name.into());
        let node = named("node").spawn(move || serve(server, mtu, tell)).expect("a thread");
        let addr = told.recv().expect("the node listens");
        let cases = cases.clone();
        let client = named("client").spawn(move || measure(client, mtu, addr, seconds, &cases));
        client.expect("a thread").join().expect("the client ends");
        node.join().expect("the node ends");
    }
}

/// One row of the table.
#[derive(Clone, Copy)]
struct Case {
    bytes: usize,
    depth: usize,
}

fn identity(ca: &Ca, name: &str) -> TlsIdentity {
    let now = HostClock::new().wall();
    let leaf = ca.issue(&LeafRequest { name, dns: &[], ips: &[], now, days: 1 }).expect("a leaf");
    let roots = ca.roots_pem();
    TlsIdentity::from_pem(leaf.cert_pem.as_bytes(), leaf.key_pem.as_bytes(), roots.as_bytes())
        .expect("an identity")
}

struct Core {
    reactor: Reactor<Ring, HostClock>,
    ring: Ring,
    quic: Rc<Quic>,
    pool: BufPool,
}

/// A core of its own, that spins where that pays.
fn core(cpu: u32, identity: TlsIdentity, mtu: u16) -> Core {
    pin(CoreId(cpu)).expect("a processor to be pinned to");
    let class = |buf_bytes, count| PoolClass { buf_bytes, count };
    let layout = PoolLayout {
        classes: vec![
            class(4 << 10, 300),
            class(16 << 10, 64),
            class(80 << 10, 64),
            class(1100 << 10, 64),
        ],
        align: BlockSize::B4096,
        huge: false,
    };
    let pool = BufPool::new(&layout).expect("memory");
    let ring = Ring::new(&RingConfig { entries: 1024, pool: pool.clone() }).expect("io_uring");
    let config = ReactorConfig {
        exclusive: true,
        spin_max: Nanos::from_micros(200),
        ..ReactorConfig::default()
    };
    let reactor = Reactor::new(ring.clone(), HostClock::new(), config);
    let socket = ring.udp("127.0.0.1:0".parse().expect("an address")).expect("a socket");
    let entropy = OsEntropy::new().expect("entropy");
    let crypto = Crypto::Tls(Identities::new(identity));
    let config = QuicConfig::new(crypto, NodeKeys::draw(&entropy)).with_mtu(mtu);
    let quic = Quic::open(reactor.handle(), Box::new(socket), config, &entropy);
    Core { reactor, ring, quic, pool }
}

fn serve(identity: TlsIdentity, mtu: u16, tell: mpsc::Sender<SocketAddr>) {
    let Core { mut reactor, ring, quic, pool } = core(0, identity, mtu);
    let spec = Spec::parse("memory:1G").expect("a device");
    let options = OpenOptions { write: true, ..OpenOptions::default() };
    let context = OpenContext { options, unparker: ring.unparker(), seed: 1, leaves: &mut [] };
    let disk = reactor.attach(spec.open(context).expect("a device"));
    let handle = reactor.handle().clone();
    let world = World { handle: handle.clone(), pool, clock: Rc::new(HostClock::new()) };
    let network = Rc::clone(&quic) as Rc<dyn Network>;
    reactor.run(async move {
        let options = FormatOptions { extent_blocks: Some(4096), ..FormatOptions::new(UUID) };
        format(&world, &disk, &options).await.expect("a fresh disk");
        let store = Options { entries_max: 100_000, ..Options::default() };
        let node = Node::new(world, network, NodeConfig { store, ..NodeConfig::default() });
        node.add_disk(UUID, "memory", disk);
        while !node.is_settled() {
            handle.sleep(Nanos::from_millis(1)).await;
        }
        tell.send(quic.local()).expect("the client waits");
        let mut is_begun = false;
        loop {
            handle.sleep(Nanos::from_millis(50)).await;
            let sessions = node.report().sessions;
            is_begun |= sessions > 0;
            if is_begun && sessions == 0 {
                return;
            }
        }
    });
}

fn key(kind: u32, number: u64) -> Key {
    Key { group: kind, object: u128::from(number), stripe: 0, position: 0 }
}

fn measure(identity: TlsIdentity, mtu: u16, addr: SocketAddr, seconds: u64, cases: &[Case]) {
    let Core { mut reactor, quic, .. } = core(1, identity, mtu);
    let connection = quic.dial(&PeerAddr { addr, name: "node".into() });
    let mut filled = 0;
    for &case in cases {
        let bytes = case.bytes;
        let kind = (bytes >> 10) as u32;
        let count = if bytes >= 1 << 20 { 64 } else { SHARDS };
        let is_filled = std::mem::replace(&mut filled, bytes) == bytes;
        let fill = connection.clone();
        reactor.run(async move {
            for number in 0..if is_filled { 0 } else { count } {
                let payload = vec![number as u8; bytes];
                let ask =
                    Ask::Put { key: key(kind, number), epoch: 0, codec: 0, expires_s: 0, cells: 0 };
                let header = Request::new(UUID, ask).encode(bytes as u32, crc32c(&payload));
                let answer = fill.call(Frame { header, body: Body::from(payload) }).await;
                let (answer, _) = Answer::decode(&answer.expect("an answer").header).expect("ours");
                answer.outcome.expect("a put");
            }
        });
        run(&mut reactor, &connection, kind, count, case, mtu, seconds);
    }
    connection.close();
    let handle = reactor.handle().clone();
    reactor.run(async move { handle.sleep(Nanos::from_millis(20)).await });
}

fn run(
    reactor: &mut Reactor<Ring, HostClock>,
    connection: &Connection,
    kind: u32,
    count: u64,
    Case { bytes, depth }: Case,
    mtu: u16,
    seconds: u64,
) {
    let clock = HostClock::new();
    let start = clock.mono();
    let until = start + Nanos::from_secs(seconds);
    let times: Rc<RefCell<Vec<u64>>> = Rc::default();
    let next = Rc::new(Cell::new(0u64));
    let mut tasks = Vec::new();
    for _ in 0..depth {
        let (connection, times, next) = (connection.clone(), Rc::clone(&times), Rc::clone(&next));
        tasks.push(reactor.spawn("get", async move {
            loop {
                let begun = clock.mono();
                if begun >= until {
                    return;
                }
                let number = next.get();
                next.set(number + 1);
                let key = key(kind, number * 7 % count);
                let ask = Ask::Get { key, range: None };
                let header = Request::new(UUID, ask).encode(0, 0);
                let frame = connection.call(Frame::bare(header)).await.expect("an answer");
                let (answer, envelope) = Answer::decode(&frame.header).expect("ours");
                assert_eq!(answer.outcome.expect("a get").shard.key, key);
                assert_eq!((frame.body.len(), frame.body.crc()), (bytes, envelope.body_crc));
                times.borrow_mut().push(clock.mono().since(begun).0);
            }
        }));
    }
    reactor.run(async move {
        for task in tasks {
            task.await;
        }
    });
    let took = clock.mono().since(start).as_secs_f64();
    let mut times = times.take();
    times.sort_unstable();
    let at = |p: f64| times[((times.len() - 1) as f64 * p) as usize] as f64 / 1000.0;
    let rate = times.len() as f64 / took;
    println!(
        "| {mtu} | {} KiB | {depth} | {rate:.0} | {:.1} | {:.1} | {:.1} |",
        bytes / 1024,
        at(0.5),
        at(0.99),
        rate * bytes as f64 * 8.0 / 1e9
    );
}

//! What a call costs: a server on core 0, a client on core 1, real sockets on loopback, mutual TLS.
//!
//! ```text
//! cargo run --release -p isotherm-transport --example rpc_bench            # the table
//! cargo run --release -p isotherm-transport --example rpc_bench -- MTU BYTES DEPTH SECONDS [null]
//! cargo run --release -p isotherm-transport --example rpc_bench -- idle CONNECTIONS SECONDS
//! cargo run --release -p isotherm-transport --example rpc_bench -- floor BYTES SECONDS
//! cargo run --release -p isotherm-transport --example rpc_bench -- raw MTU SECONDS
//! cargo run --release -p isotherm-transport --example rpc_bench -- cores SECONDS
//! ```
//!
//! `floor` sends one bare datagram there and one of so many bytes back, over the same sockets and
//! cores: what the machine allows, to compare with on a machine that is not quiet. `raw` is the
//! same for bulk: full sends of bare datagrams one way. `cores` hands 64 KiB of memory from core 1
//! to core 0 and back, without the kernel: two processors of a virtual machine may share a cache or
//! lie far apart, from one minute to the next, and nothing else explains as much of what the other
//! rows say. `null` leaves the cipher away.
//!
//! A request is a header and 128 bytes; the answer comes from a buffer of the server's pool, as a
//! node's does. CRCs of bodies are not taken: that is for those who read and write them.
#![allow(clippy::disallowed_methods, reason = "a bench: it makes its own threads")]

use std::cell::{Cell, RefCell};
use std::io::IoSliceMut;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::mpsc;
use std::thread::JoinHandle;

use isotherm_host::{HostClock, OsEntropy, pin};
use isotherm_reactor::{Handle, Reactor, ReactorConfig};
use isotherm_seam::{BufPool, Clock, CoreId, Datagram, Mono, Nanos, PoolLayout, Transmit};
use isotherm_transport::quic::{Crypto, NodeKeys, Quic, QuicConfig, QuicCounters};
use isotherm_transport::{
    Body, Ca, Connection, Frame, Identities, LeafRequest, Network, PeerAddr, SPANS_MAX, TlsIdentity,
};
use isotherm_uring::{Ring, RingConfig, Udp};
use isotherm_wire::{Envelope, HEADER_BYTES, VERSION};
use nix::time::{ClockId, clock_gettime};

/// Where a request says how long its answer is to be.
const WANTED_AT: usize = 20;

fn main() {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let number = |i: usize| args[i].parse::<u64>().expect("a number");
    match args.len() {
        0 => table(),
        3 if args[0] == "idle" => idle(number(1) as usize, number(2)),
        3 if args[0] == "floor" => floor(number(1) as usize, number(2)),
        2 if args[0] == "cores" => cores(number(1)),
        3 if args[0] == "raw" => raw(number(1) as usize, number(2)),
        4 | 5 => Run {
            mtu: number(0) as u16,
            bytes: number(1) as usize,
            depth: number(2) as usize,
            is_null: args.get(4).is_some_and(|arg| arg == "null"),
        }
        .print(number(3)),
        _ => panic!("no arguments, or one of the forms at the top of this file"),
    }
}

fn table() {
    println!("| mtu | answer | depth | calls/s | p50 us | p99 us | Gb/s | cpu server, client |");
    println!("|---|---|---|---|---|---|---|---|");
    for (bytes, depth) in [(4096, 1), (4096, 16), (65_536, 1), (65_536, 16), (1 << 20, 16)] {
        for mtu in [1452, 8972] {
            Run { mtu, bytes, depth, is_null: false }.print(2);
        }
    }
    idle(100, 10);
    floor(4096, 2);
    [1452, 8972].into_iter().for_each(|mtu| raw(mtu, 2));
    cores(1);
}

/// A thread that a profiler can tell from the other.
fn thread<T: Send + 'static>(
    name: &str,
    run: impl FnOnce() -> T + Send + 'static,
) -> JoinHandle<T> {
    std::thread::Builder::new().name(name.into()).spawn(run).expect("a thread")
}

#[derive(Clone, Copy)]
struct Run {
    mtu: u16,
    bytes: usize,
    depth: usize,
    is_null: bool,
}

struct Done {
    /// Of each call, in nanoseconds.
    latencies: Vec<u64>,
    wall_s: f64,
    cpu_s: f64,
    counters: QuicCounters,
}

impl Run {
    fn print(self, seconds: u64) {
        let Run { mtu, bytes, depth, is_null } = self;
        let (addr, ca, server) = start_server(mtu, is_null);
        let client = thread("client", move || self.client(seconds, addr, &ca));
        let mut client = client.join().expect("the client");
        let server = server.join().expect("the server");
        client.latencies.sort_unstable();
        let at =
            |q: f64| client.latencies[(client.latencies.len() as f64 * q) as usize] as f64 / 1e3;
        let rate = client.latencies.len() as f64 / client.wall_s;
        println!(
            "| {mtu} | {bytes} | {depth} | {rate:.0} | {:.1} | {:.1} | {:.2} | {:.2}, {:.2} |",
            at(0.5),
            at(0.99),
            rate * bytes as f64 * 8.0 / 1e9,
            server.cpu_s / server.wall_s,
            client.cpu_s / client.wall_s,
        );
        if std::env::var_os("RPC_BENCH_COUNTERS").is_some() {
            println!("server {:?}\nclient {:?}", server.counters, client.counters);
        }
    }

    fn client(self, seconds: u64, addr: SocketAddr, ca: &Ca) -> Done {
        let pool = BufPool::new(&PoolLayout::uniform(4096, 4)).expect("memory");
        let (mut reactor, ring) = core(pool, 1);
        let quic = endpoint(reactor.handle(), &ring, ca, "client", self.mtu, self.is_null);
        let session = quic.dial(&PeerAddr { addr, name: "server".into() });
        let latencies = Rc::new(RefCell::new(Vec::with_capacity(1 << 20)));
        let (core, kept, times) = (reactor.handle().clone(), session.clone(), latencies.clone());
        let (wall_s, cpu_s) = reactor.run(async move {
            session.ready().await.expect("a handshake");
            // Until the windows are open.
            for _ in 0..200 {
                self.call(&session).await;
            }
            let clock = Rc::new(HostClock::new());
            let (start, cpu) = (clock.mono(), cpu_s(ClockId::CLOCK_THREAD_CPUTIME_ID));
            let end = start + Nanos::from_secs(seconds);
            let caller = || {
                let (session, times, clock) = (session.clone(), times.clone(), clock.clone());
                core.spawn("caller", async move {
                    let mut begun = clock.mono();
                    while begun < end {
                        self.call(&session).await;
                        let now = clock.mono();
                        times.borrow_mut().push(now.since(begun).0);
                        begun = now;
                    }
                })
            };
            let callers: Vec<_> = (0..self.depth).map(|_| caller()).collect();
            for caller in callers {
                caller.await;
            }
            let wall_s = clock.mono().since(start).0 as f64 / 1e9;
            (wall_s, crate::cpu_s(ClockId::CLOCK_THREAD_CPUTIME_ID) - cpu)
        });
        let counters = quic.counters();
        kept.close();
        let handle = reactor.handle().clone();
        reactor.run(async move { handle.sleep(Nanos::from_millis(20)).await });
        Done { latencies: latencies.take(), wall_s, cpu_s, counters }
    }

    async fn call(self, session: &Connection) {
        let request =
            sealed(1, self.bytes as u32, Body::from(bytes::Bytes::from_static(&[7; 128])));
        let answer = session.call(request).await.expect("an answer");
        assert_eq!(answer.body.len(), self.bytes);
    }
}

fn cpu_s(clock: ClockId) -> f64 {
    let time = clock_gettime(clock).expect("Linux has it");
    time.tv_sec() as f64 + time.tv_nsec() as f64 / 1e9
}

fn core(pool: BufPool, at: u32) -> (Reactor<Ring, HostClock>, Ring) {
    pin(CoreId(at)).expect("a core");
    let ring = Ring::new(&RingConfig { entries: 1024, pool }).expect("a ring");
    let spin_max = Nanos::from_micros(200);
    let config = ReactorConfig { exclusive: true, spin_max, ..ReactorConfig::default() };
    (Reactor::new(ring.clone(), HostClock::new(), config), ring)
}

fn endpoint(core: &Handle, ring: &Ring, ca: &Ca, name: &str, mtu: u16, is_null: bool) -> Rc<Quic> {
    let now = HostClock::new().wall();
    let leaf = ca.issue(&LeafRequest { name, dns: &[], ips: &[], now, days: 1 }).expect("a leaf");
    let identity = TlsIdentity::from_pem(
        leaf.cert_pem.as_bytes(),
        leaf.key_pem.as_bytes(),
        ca.roots_pem().as_bytes(),
    );
    let entropy = OsEntropy::new().expect("chance");
    let crypto = match is_null {
        true => Crypto::Null { name: name.into() },
        false => Crypto::Tls(Identities::new(identity.expect("an identity"))),
    };
    let config = QuicConfig::new(crypto, NodeKeys::draw(&entropy)).with_mtu(mtu);
    let socket = ring.udp("127.0.0.1:0".parse().expect("an address")).expect("a socket");
    socket.notes().iter().for_each(|note| eprintln!("note: {note}"));
    Quic::open(core, Box::new(socket), config, &entropy)
}

/// Serves until every session that came is over.
fn start_server(mtu: u16, is_null: bool) -> (SocketAddr, Ca, JoinHandle<Done>) {
    let (tell, told) = mpsc::channel();
    let thread = thread("server", move || {
        let pool = BufPool::new(&PoolLayout::uniform(1 << 20, 48)).expect("memory");
        // The pages are there before they are timed.
        let bufs: Vec<_> = (0..48).flat_map(|_| pool.alloc(1 << 20)).collect();
        bufs.into_iter().for_each(|mut buf| buf.fill(7));
        let (mut reactor, ring) = core(pool.clone(), 0);
        let clock = HostClock::new();
        let ca = Ca::create("bench", clock.wall()).expect("an authority");
        let quic = endpoint(reactor.handle(), &ring, &ca, "server", mtu, is_null);
        tell.send((quic.local(), ca)).expect("the main thread waits");
        let (handle, served, came) =
            (reactor.handle().clone(), quic.clone(), Rc::new(Cell::new(0)));
        let (cpu, start) = (cpu_s(ClockId::CLOCK_THREAD_CPUTIME_ID), clock.mono());
        let (core, sessions) = (handle.clone(), came.clone());
        let _accepting = reactor.spawn("accept", async move {
            loop {
                let session = std::future::poll_fn(|cx| served.poll_accept(cx)).await;
                sessions.set(sessions.get() + 1);
                let pool = pool.clone();
                core.spawn("serve", async move { serve(&session, &pool).await });
            }
        });
        let watched = quic.clone();
        reactor.run(async move {
            while came.get() == 0 || watched.counters().connections > 0 {
                handle.sleep(Nanos::from_millis(200)).await;
            }
        });
        let wall_s = clock.mono().since(start).0 as f64 / 1e9;
        let cpu_s = cpu_s(ClockId::CLOCK_THREAD_CPUTIME_ID) - cpu;
        Done { latencies: Vec::new(), wall_s, cpu_s, counters: quic.counters() }
    });
    let (addr, ca) = told.recv().expect("a server");
    (addr, ca, thread)
}

async fn serve(session: &Connection, pool: &BufPool) {
    while let Ok((ticket, request)) = session.request().await {
        let wanted = &request.header[WANTED_AT..WANTED_AT + 4];
        let len = u32::from_le_bytes(wanted.try_into().expect("4 bytes"));
        let buf = pool.alloc(1 << 20).expect("a buffer for each call");
        let mut spans = [(0, 0); SPANS_MAX];
        spans[0] = (0, len);
        session.answer(ticket, sealed(2, len, Body::Buffer(buf, spans)));
    }
}

fn sealed(kind: u8, wanted: u32, body: Body) -> Frame {
    let mut header = [0; HEADER_BYTES];
    header[WANTED_AT..WANTED_AT + 4].copy_from_slice(&wanted.to_le_bytes());
    let body_bytes = body.len() as u32;
    Envelope { version: VERSION, kind, flags: 0, body_bytes, body_crc: 0 }.write(&mut header);
    Frame { header, body }
}

/// Many connections on which nothing happens: processor time and memory.
fn idle(connections: usize, seconds: u64) {
    let (addr, ca, server) = start_server(1452, false);
    let client = thread("client", move || {
        let pool = BufPool::new(&PoolLayout::uniform(4096, 4)).expect("memory");
        let (mut reactor, ring) = core(pool, 1);
        let quic = endpoint(reactor.handle(), &ring, &ca, "client", 1452, false);
        let core = reactor.handle().clone();
        reactor.run(async move {
            let first = quic.dial(&PeerAddr { addr, name: "server".into() });
            first.ready().await.expect("a handshake");
            let before = rss_bytes();
            let mut sessions = vec![first];
            while sessions.len() < connections {
                let session = quic.dial(&PeerAddr { addr, name: "server".into() });
                session.ready().await.expect("a handshake");
                sessions.push(session);
            }
            core.sleep(Nanos::from_secs(1)).await;
            // Both ends of each are in this process.
            let each = (rss_bytes() - before) / (2 * connections.max(2) - 2) as f64;
            let thread = || cpu_s(ClockId::CLOCK_THREAD_CPUTIME_ID);
            let process = || cpu_s(ClockId::CLOCK_PROCESS_CPUTIME_ID);
            let (own, all) = (thread(), process());
            core.sleep(Nanos::from_secs(seconds)).await;
            let (own, all) = (thread() - own, process() - all);
            let percent = |cpu: f64| cpu / seconds as f64 * 100.0;
            println!(
                "idle, {connections} connections: {:.1} KiB an end; server {:.3} %, client {:.3} % of a core",
                each / 1024.0,
                percent(all - own),
                percent(own),
            );
            sessions.iter().for_each(|session| session.close());
            core.sleep(Nanos::from_millis(50)).await;
        });
    });
    client.join().expect("the client");
    server.join().expect("the server");
}

/// A bare socket on a core.
fn bare_socket(at: u32) -> Udp {
    pin(CoreId(at)).expect("a core");
    let pool = BufPool::new(&PoolLayout::uniform(4096, 4)).expect("memory");
    let ring = Ring::new(&RingConfig { entries: 64, pool }).expect("a ring");
    ring.udp("127.0.0.1:0".parse().expect("an address")).expect("a socket")
}

/// Bare datagrams, both sides spinning.
fn floor(bytes: usize, seconds: u64) {
    let open = bare_socket;
    let send = |socket: &mut Udp, to, contents: &[u8]| {
        let transmit = Transmit { to, from_ip: None, ecn: None, contents, segment_bytes: None };
        socket.send(Mono::ZERO, &transmit).expect("room for one");
    };
    let (tell, told) = mpsc::channel();
    let server = thread("server", move || {
        let mut socket = open(0);
        tell.send(socket.local()).expect("the main thread waits");
        let (mut buf, answer) = (vec![0; 65_536], vec![7; bytes]);
        loop {
            let Some(received) = socket.recv(Mono::ZERO, &mut buf) else { continue };
            if received.len_bytes == 1 {
                return;
            }
            send(&mut socket, received.from, &answer);
        }
    });
    let to = told.recv().expect("a server");
    let client = thread("client", move || {
        let (mut socket, clock) = (open(1), HostClock::new());
        let (mut buf, mut times) = (vec![0; 65_536], Vec::with_capacity(1 << 20));
        let end = clock.mono() + Nanos::from_secs(seconds);
        let mut begun = clock.mono();
        while begun < end {
            send(&mut socket, to, &[7; 256]);
            while socket.recv(Mono::ZERO, &mut buf).is_none() {}
            let now = clock.mono();
            times.push(now.since(begun).0);
            begun = now;
        }
        send(&mut socket, to, &[0]);
        times
    });
    let mut times = client.join().expect("the client");
    server.join().expect("the server");
    times.sort_unstable();
    let at = |q: f64| times[(times.len() as f64 * q) as usize] as f64 / 1e3;
    println!("floor, {bytes} bytes: p50 {:.1} us, p99 {:.1} us", at(0.5), at(0.99));
}

/// Bare datagrams one way, as many in a call as fit; what the receiver was too slow for is lost.
fn raw(mtu: usize, seconds: u64) {
    let (tell, told) = mpsc::channel();
    let server = thread("server", move || {
        let (mut socket, clock) = (bare_socket(0), HostClock::new());
        tell.send(socket.local()).expect("the main thread waits");
        let mut bufs: Vec<_> = (0..4).map(|_| vec![0; 65_536]).collect();
        let (mut received, mut bytes, mut begun) = (Vec::with_capacity(4), 0, None);
        loop {
            let mut slices: Vec<_> = bufs.iter_mut().map(|buf| IoSliceMut::new(buf)).collect();
            received.clear();
            socket.recv_batch(Mono::ZERO, &mut slices, &mut received);
            let now = clock.mono();
            let begun = *begun.get_or_insert(now);
            bytes += received.iter().map(|one| one.len_bytes).sum::<usize>();
            if now.since(begun) > Nanos::from_secs(seconds) {
                return bytes as f64 * 8.0 / now.since(begun).0 as f64;
            }
        }
    });
    let to = told.recv().expect("a server");
    let contents = vec![7; 65_000 / mtu * mtu];
    let client = thread("client", move || {
        let (mut socket, clock) = (bare_socket(1), HostClock::new());
        let segment_bytes = Some(mtu);
        let transmit =
            Transmit { to, from_ip: None, ecn: None, contents: &contents, segment_bytes };
        let (end, mut bytes) = (clock.mono() + Nanos::from_secs(seconds), 0);
        while clock.mono() < end {
            bytes += socket.send(Mono::ZERO, &transmit).map_or(0, |()| contents.len());
        }
        bytes as f64 * 8.0 / 1e9 / seconds as f64
    });
    let sent = client.join().expect("the client");
    let received = server.join().expect("the server");
    println!("raw, {mtu} bytes a datagram: {sent:.1} Gb/s sent, {received:.1} Gb/s received");
}

/// One buffer of 64 KiB, filled by one core and read by the other, in turns.
fn cores(seconds: u64) {
    const BYTES: usize = 64 << 10;
    let (there, came) = mpsc::sync_channel::<Vec<u8>>(1);
    let (back, returned) = mpsc::sync_channel(1);
    let reader = thread("server", move || {
        pin(CoreId(0)).expect("a core");
        let mut own = vec![0; BYTES];
        loop {
            match came.try_recv() {
                Ok(buf) => {
                    own.copy_from_slice(&buf);
                    std::hint::black_box(&own);
                    if back.send(buf).is_err() {
                        return;
                    }
                }
                Err(mpsc::TryRecvError::Empty) => std::hint::spin_loop(),
                Err(mpsc::TryRecvError::Disconnected) => return,
            }
        }
    });
    let writer = thread("client", move || {
        pin(CoreId(1)).expect("a core");
        let (clock, own) = (HostClock::new(), vec![7; BYTES]);
        let (mut buf, mut rounds, begun) = (vec![0; BYTES], 0, clock.mono());
        while clock.mono().since(begun) < Nanos::from_secs(seconds) {
            buf.copy_from_slice(&own);
            there.send(buf).expect("the reader lives");
            buf = loop {
                match returned.try_recv() {
                    Ok(buf) => break buf,
                    Err(_) => std::hint::spin_loop(),
                }
            };
            rounds += 1;
        }
        (rounds * BYTES * 8) as f64 / clock.mono().since(begun).0 as f64
    });
    let rate = writer.join().expect("the writer");
    reader.join().expect("the reader");
    println!("cores, 64 KiB there and back: {rate:.1} Gb/s");
}

fn rss_bytes() -> f64 {
    let statm = std::fs::read_to_string("/proc/self/statm").expect("Linux");
    statm.split(' ').nth(1).expect("resident").parse::<f64>().expect("pages") * 4096.0
}

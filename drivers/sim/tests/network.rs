//! The simulated network: each of its troubles, by itself and by numbers.

use std::net::{Ipv4Addr, SocketAddr};

use isotherm_seam::{Datagram, Due, Ecn, Mono, Nanos, SendRefused, Transmit};
use isotherm_sim::{HostId, LinkShape, SimNetwork, SimNetworkConfig, SimSocket, Trace};

const A: HostId = HostId(1);
const B: HostId = HostId(2);
const C: HostId = HostId(3);

fn addr(host: HostId) -> SocketAddr {
    (Ipv4Addr::new(10, 0, 0, host.0 as u8), 4000).into()
}

/// A link without any time but its delay.
fn plain() -> LinkShape {
    LinkShape { jitter: Nanos::ZERO, bytes_per_s: 0, ..LinkShape::default() }
}

fn network(shape: LinkShape) -> SimNetwork {
    SimNetwork::new(SimNetworkConfig { shape, ..SimNetworkConfig::new(7) })
}

fn pair(shape: LinkShape) -> (SimNetwork, SimSocket, SimSocket) {
    let net = network(shape);
    let (a, b) = (net.open(A, addr(A)), net.open(B, addr(B)));
    (net, a, b)
}

fn to(host: HostId, contents: &[u8]) -> Transmit<'_> {
    Transmit { to: addr(host), from_ip: None, ecn: None, contents, segment_bytes: None }
}

/// Sends datagram number `n`, which says so.
fn send(socket: &mut SimSocket, now: Mono, host: HostId, n: u64) {
    socket.send(now, &to(host, &n.to_le_bytes())).expect("there is room");
}

/// What has arrived by `now`, each with the length of its batch.
fn batches(socket: &mut SimSocket, now: Mono) -> Vec<(usize, Vec<u8>)> {
    let mut buf = vec![0; socket.limits().recv_bytes_max];
    let mut out = Vec::new();
    while let Some(received) = socket.recv(now, &mut buf) {
        out.push((received.stride_bytes, buf[..received.len_bytes].to_vec()));
    }
    out
}

/// The numbers that have arrived by `now`.
fn numbers(socket: &mut SimSocket, now: Mono) -> Vec<u64> {
    let number = |bytes: &[u8]| u64::from_le_bytes(bytes.try_into().expect("8 bytes"));
    let all = batches(socket, now);
    all.iter().flat_map(|(_, bytes)| bytes.chunks(8).map(number)).collect()
}

const LATE: Mono = Mono(1 << 60);

#[test]
fn a_datagram_arrives_after_the_delay_and_not_before() {
    let (net, mut a, mut b) = pair(LinkShape { delay: Nanos(500), ..plain() });
    assert_eq!(b.due(), Due::Event);
    send(&mut a, Mono(100), B, 9);
    assert_eq!(b.due(), Due::At(Mono(600)));
    assert_eq!(net.next_arrival(), Some(Mono(600)));
    assert_eq!(net.take_touched().into_iter().collect::<Vec<_>>(), [B]);
    assert_eq!(numbers(&mut b, Mono(599)), []);
    assert_eq!(numbers(&mut b, Mono(600)), [9]);
    assert_eq!((b.due(), net.next_arrival()), (Due::Event, None));
}

#[test]
fn jitter_has_its_mean_and_lets_datagrams_overtake() {
    let shape = LinkShape { delay: Nanos(1_000), jitter: Nanos(10_000), ..plain() };
    let (_, mut a, mut b) = pair(shape);
    let mut sum = 0;
    let mut turned = 0;
    const COUNT: u64 = 4_000;
    for n in 0..COUNT {
        // Far apart: the time of each is its own.
        let now = Mono(n * 1_000_000_000);
        send(&mut a, now, B, n);
        send(&mut a, now + Nanos(1_000), B, n + COUNT);
        let Due::At(first) = b.due() else { panic!("one is under way") };
        assert!(first >= now + Nanos(1_000));
        let order = numbers(&mut b, LATE);
        turned += u64::from(order[0] != n);
        sum += first.since(now).0;
    }
    // The least of X and Y + 1, X and Y exponential of mean 10 (in µs, after the delay): the
    // integral of P(X > t) P(Y > t - 1) is 10 (1 - e^-0.1) + 5 e^-0.1 = 5.476; so 6,476 ns, and
    // the deviation of the mean of 4,000 below 90.
    let mean = sum / COUNT;
    assert!((6_200..=6_750).contains(&mean), "{mean}");
    // The second is first with probability e^-0.1 / 2 = 0.452: 1,810 of 4,000, deviation 31.
    assert!((1_680..=1_940).contains(&turned), "{turned}");
}

#[test]
fn loss_doubles_and_flips_come_at_their_rates() {
    let shape = LinkShape { loss: 0.1, duplication: 0.2, bit_flip: 0.05, ..plain() };
    let (net, mut a, mut b) = pair(shape);
    let (mut arrived, mut wrong) = (0, 0);
    for n in 0..10_000u64 {
        let now = Mono(n * 1_000_000);
        a.send(now, &to(B, &[0x55; 100])).expect("there is room");
        for (stride, bytes) in batches(&mut b, now + Nanos(900_000)) {
            for one in bytes.chunks(stride) {
                arrived += 1;
                let flipped: u32 = one.iter().map(|byte| (byte ^ 0x55).count_ones()).sum();
                assert!(flipped <= 1, "one bit at most");
                wrong += u64::from(flipped);
            }
        }
    }
    let counters = net.counters();
    assert_eq!(counters.sent, 10_000);
    assert_eq!(counters.received, arrived);
    assert_eq!(arrived, 10_000 - counters.lost + counters.doubled);
    // Binomial: 1,000 ± 30, then 1,800 ± 39 of what is left, 450 ± 21.
    assert!((880..=1_120).contains(&counters.lost), "{counters:?}");
    assert!((1_640..=1_960).contains(&counters.doubled), "{counters:?}");
    assert!((360..=540).contains(&counters.flipped), "{counters:?}");
    assert!(wrong >= counters.flipped, "{wrong} arrived of {counters:?}");
}

#[test]
fn bandwidth_spreads_datagrams_and_a_full_queue_drops_them() {
    let shape = LinkShape { bytes_per_s: 8_000_000, queue_bytes_max: 80, ..plain() };
    let (net, mut a, mut b) = pair(shape);
    (0..15).for_each(|n| send(&mut a, Mono(0), B, n));
    // Eight bytes take a microsecond; ten datagrams fit.
    assert_eq!(numbers(&mut b, Mono(0) + shape.delay + Nanos(3_000)), [0, 1, 2]);
    assert_eq!(numbers(&mut b, LATE), (3..10).collect::<Vec<_>>());
    assert_eq!(net.counters().queue_full, 5);
}

#[test]
fn a_socket_that_is_full_takes_no_more_until_its_queue_has_moved() {
    let shape = LinkShape { bytes_per_s: 8_000_000, ..plain() };
    let config = SimNetworkConfig { shape, send_buffer_bytes: 24, ..SimNetworkConfig::new(1) };
    let net = SimNetwork::new(config);
    let (mut a, _b) = (net.open(A, addr(A)), net.open(B, addr(B)));
    (0..3).for_each(|n| send(&mut a, Mono(0), B, n));
    assert_eq!(a.send(Mono(0), &to(B, &[0; 8])), Err(SendRefused::Full));
    assert_eq!(a.due(), Due::At(Mono(1_000)));
    assert_eq!(a.send(Mono(999), &to(B, &[0; 8])), Err(SendRefused::Full));
    assert_eq!(a.send(Mono(1_000), &to(B, &[0; 8])), Ok(()));
    assert_eq!(net.counters().refused, 2);
}

#[test]
fn a_receiver_that_does_not_read_loses_what_comes_last() {
    let config =
        SimNetworkConfig { shape: plain(), recv_buffer_bytes: 80, ..SimNetworkConfig::new(1) };
    let net = SimNetwork::new(config);
    let (mut a, mut b) = (net.open(A, addr(A)), net.open(B, addr(B)));
    (0..15).for_each(|n| send(&mut a, Mono(n), B, n));
    assert_eq!(numbers(&mut b, LATE), (0..10).collect::<Vec<_>>());
    assert_eq!(net.counters().buffer_full, 5);
}

#[test]
fn a_batch_is_split_and_each_part_has_its_own_fate() {
    let (net, mut a, mut b) = pair(LinkShape { loss: 0.3, ..plain() });
    let mut lost_whole = 0;
    for round in 0..200u64 {
        let contents: Vec<u8> = (0..10).flat_map(|n| [n; 100]).take(950).collect();
        let transmit = Transmit { segment_bytes: Some(100), ..to(B, &contents) };
        let transmit = Transmit { ecn: Some(Ecn::Ect0), ..transmit };
        a.send(Mono(round * 1_000_000), &transmit).expect("there is room");
        let got = batches(&mut b, LATE);
        let count: usize = got.iter().map(|(stride, bytes)| bytes.len().div_ceil(*stride)).sum();
        lost_whole += usize::from(count == 0 || count == 10);
        for (stride, bytes) in got {
            for part in bytes.chunks(stride) {
                assert!(part.len() == 100 || (part.len() == 50 && part[0] == 9));
                assert!(part.iter().all(|byte| *byte == part[0]));
            }
        }
    }
    assert_eq!(net.counters().sent, 2_000);
    // 0.7^10 is 2.8 %, so about six rounds of 200 lose nothing, and none loses all.
    assert!(lost_whole < 20, "{lost_whole}");
    assert!((500..=700).contains(&net.counters().lost), "{:?}", net.counters());
}

#[test]
fn marks_and_addresses_pass_and_batches_are_of_one_kind() {
    let net = network(plain());
    let (mut a, mut c) = (net.open(A, addr(A)), net.open(C, addr(C)));
    let mut b = net.open(B, addr(B));
    let sent = |socket: &mut SimSocket, at, ecn, len: usize| {
        socket.send(Mono(at), &Transmit { ecn, ..to(B, &[1; 64][..len]) }).expect("room");
    };
    sent(&mut a, 1, Some(Ecn::Ect0), 20);
    sent(&mut a, 2, Some(Ecn::Ect0), 20);
    sent(&mut a, 3, Some(Ecn::Ect0), 10);
    sent(&mut a, 4, Some(Ecn::Ect0), 10);
    sent(&mut a, 5, Some(Ecn::Ce), 10);
    sent(&mut c, 6, Some(Ecn::Ce), 10);
    sent(&mut c, 7, None, 12);
    let mut buf = vec![0; b.limits().recv_bytes_max];
    let mut got = Vec::new();
    while let Some(r) = b.recv(LATE, &mut buf) {
        got.push((r.from, r.ecn, r.len_bytes, r.stride_bytes));
    }
    let expected = [
        (addr(A), Some(Ecn::Ect0), 50, 20),
        (addr(A), Some(Ecn::Ect0), 10, 10),
        (addr(A), Some(Ecn::Ce), 10, 10),
        (addr(C), Some(Ecn::Ce), 10, 10),
        (addr(C), None, 12, 12),
    ];
    assert_eq!(got, expected);
}

#[test]
fn a_cut_has_a_direction_and_ends_what_is_under_way() {
    let (net, mut a, mut b) = pair(LinkShape { delay: Nanos(1_000), ..plain() });
    send(&mut a, Mono(0), B, 1);
    send(&mut a, Mono(500), B, 2);
    send(&mut b, Mono(500), A, 3);
    net.cut(Mono(1_200), A, B);
    send(&mut a, Mono(1_300), B, 4);
    send(&mut b, Mono(1_300), A, 5);
    assert_eq!(numbers(&mut b, LATE), [1], "the first had arrived, though nobody had read it");
    assert_eq!(numbers(&mut a, LATE), [3, 5]);
    assert_eq!(net.counters().cut, 2);
    net.heal();
    send(&mut a, Mono(2_000), B, 6);
    assert_eq!(numbers(&mut b, LATE), [6]);
}

#[test]
fn a_partition_parts_two_sets_and_nothing_else() {
    let net = network(plain());
    let hosts: Vec<HostId> = (1..=5).map(HostId).collect();
    let mut sockets: Vec<SimSocket> =
        hosts.iter().map(|&host| net.open(host, addr(host))).collect();
    net.partition(Mono(0), &hosts[..2], &hosts[2..4]);
    net.mend(hosts[0], hosts[2]);
    for (n, socket) in sockets.iter_mut().enumerate() {
        hosts.iter().for_each(|&host| send(socket, Mono(1), host, n as u64));
    }
    let heard: Vec<Vec<u64>> = sockets.iter_mut().map(|socket| numbers(socket, LATE)).collect();
    let expected: [&[u64]; 5] =
        [&[0, 1, 4], &[0, 1, 4], &[0, 2, 3, 4], &[2, 3, 4], &[0, 1, 2, 3, 4]];
    assert_eq!(heard, expected);
}

#[test]
fn a_clog_delays_and_loses_nothing() {
    let (net, mut a, mut b) = pair(LinkShape { delay: Nanos(10), ..plain() });
    net.clog(A, B, Mono(5_000));
    send(&mut a, Mono(100), B, 1);
    assert_eq!(b.due(), Due::At(Mono(5_010)));
    send(&mut a, Mono(6_000), B, 2);
    assert_eq!(numbers(&mut b, Mono(6_010)), [1, 2]);
}

#[test]
fn a_host_that_is_down_loses_all_and_comes_back_empty() {
    let (net, mut a, mut b) = pair(plain());
    send(&mut a, Mono(0), B, 1);
    net.down(B);
    assert_eq!(numbers(&mut b, LATE), []);
    send(&mut b, Mono(1), A, 2);
    send(&mut a, Mono(1), B, 3);
    net.up(B);
    let mut again = net.open(B, addr(B));
    send(&mut a, Mono(2), B, 4);
    assert_eq!(numbers(&mut again, LATE), [4]);
    assert_eq!((numbers(&mut a, LATE), b.due()), (vec![], Due::Event));
    // The old socket goes without taking the new one with it.
    drop(b);
    send(&mut a, Mono(3), B, 5);
    assert_eq!(numbers(&mut again, LATE), [5]);
    let counters = net.counters();
    assert_eq!((counters.down, counters.nobody), (2, 1));
}

#[test]
fn too_long_for_the_link_is_lost() {
    let (net, mut a, mut b) = pair(LinkShape { mtu_bytes: 1_200, ..plain() });
    a.send(Mono(0), &to(B, &[0; 1_201])).expect("taken, as by a kernel");
    a.send(Mono(0), &to(B, &[0; 1_200])).expect("taken");
    assert_eq!(batches(&mut b, LATE).len(), 1);
    assert_eq!(net.counters().too_long, 1);
}

/// A storm between three hosts; A sends on without B if `mute`. Returns the digest, and what C
/// heard of A.
fn storm(seed: u64, mute: bool) -> (u64, Vec<(u64, u64)>) {
    let trace = Trace::new();
    let shape = LinkShape {
        jitter: Nanos::from_micros(50),
        bytes_per_s: 10_000_000,
        loss: 0.05,
        duplication: 0.05,
        bit_flip: 0.02,
        ..LinkShape::default()
    };
    let config =
        SimNetworkConfig { shape, trace: Some(trace.clone()), ..SimNetworkConfig::new(seed) };
    let net = SimNetwork::new(config);
    let mut sockets: Vec<SimSocket> =
        [A, B, C].iter().map(|&host| net.open(host, addr(host))).collect();
    let mut heard = Vec::new();
    let mut buf = vec![0; sockets[0].limits().recv_bytes_max];
    for n in 0..3_000u64 {
        let now = Mono(n * 3_000);
        for (from, to_host) in [(0, B), (0, C), (1, C), (2, A)] {
            if !(mute && from == 1) {
                send(&mut sockets[from], now, to_host, n);
            }
        }
        for (which, socket) in sockets.iter_mut().enumerate() {
            while let Some(received) = socket.recv(now, &mut buf) {
                if which == 2 && received.from == addr(A) {
                    let words = buf[..received.len_bytes].chunks(8);
                    let word = |b: &[u8]| u64::from_le_bytes(b.try_into().expect("8 bytes"));
                    heard.extend(words.map(|b| (n, word(b))));
                }
            }
        }
    }
    (trace.digest(), heard)
}

#[test]
fn one_seed_is_one_run_and_links_do_not_disturb_each_other() {
    let (digest, heard) = storm(5, false);
    assert_eq!(storm(5, false).0, digest);
    assert_ne!(storm(6, false).0, digest);
    let (other, same) = storm(5, true);
    assert_ne!(other, digest);
    assert_eq!(same, heard, "what B says changes nothing between A and C");
}

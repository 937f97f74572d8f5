//! The real socket on loopback: what the datagram seam promises, and that the core sleeps.
#![allow(clippy::disallowed_methods, reason = "tests of the real half: they time it")]

use std::io::IoSliceMut;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use isotherm_seam::{
    BufPool, Datagram, Due, Ecn, Mono, OpenCause, Park, PoolLayout, Received, SendRefused, Transmit,
};
use isotherm_uring::{Ring, RingConfig, Udp};

fn ring() -> Ring {
    let pool = BufPool::new(&PoolLayout::uniform(4096, 4)).unwrap();
    Ring::new(&RingConfig { entries: 256, pool }).unwrap()
}

fn any_port() -> SocketAddr {
    "127.0.0.1:0".parse().unwrap()
}

fn to(addr: SocketAddr, contents: &[u8], segment_bytes: Option<usize>) -> Transmit<'_> {
    Transmit { to: addr, from_ip: None, ecn: Some(Ecn::Ect0), contents, segment_bytes }
}

/// Sleeps until something comes.
fn wait(ring: &mut Ring, socket: &mut Udp, buf: &mut [u8]) -> Received {
    loop {
        if let Some(received) = socket.recv(Mono::ZERO, buf) {
            return received;
        }
        if socket.due() != Due::Now {
            ring.park(Mono::ZERO, None);
        }
    }
}

#[test]
fn a_datagram_comes_as_it_was_sent() {
    let mut ring = ring();
    let (mut a, mut b) = (ring.udp(any_port()).unwrap(), ring.udp(any_port()).unwrap());
    let mut buf = vec![0; b.limits().recv_bytes_max];
    for (from, back) in [(1u8, 2u8), (3, 4)] {
        a.send(Mono::ZERO, &to(b.local(), &[from; 100], None)).unwrap();
        let there = wait(&mut ring, &mut b, &mut buf);
        assert_eq!((there.from, there.len_bytes, there.stride_bytes), (a.local(), 100, 100));
        assert_eq!(there.to_ip, Some(b.local().ip()));
        assert_eq!(there.ecn, Some(Ecn::Ect0), "the mark comes through");
        assert_eq!(buf[..100], [from; 100]);
        b.send(Mono::ZERO, &to(there.from, &[back; 50], None)).unwrap();
        assert_eq!(wait(&mut ring, &mut a, &mut buf).len_bytes, 50);
        assert_eq!(buf[..50], [back; 50]);
    }
}

#[test]
fn several_datagrams_go_and_come_in_one_call() {
    let mut ring = ring();
    let (mut a, mut b) = (ring.udp(any_port()).unwrap(), ring.udp(any_port()).unwrap());
    let limits = a.limits();
    assert!(limits.send_segments_max > 1, "this kernel segments");
    // Seven of 8,972 bytes and a shorter one; and as many small ones as one call takes.
    for (bytes, count) in [(8_972, 7), (100, limits.send_segments_max)] {
        let len = bytes * (count - 1) + bytes / 2;
        assert!(len <= limits.send_bytes_max);
        let sent: Vec<u8> = (0..len).map(|i| (i / 7) as u8).collect();
        a.send(Mono::ZERO, &to(b.local(), &sent, Some(bytes))).unwrap();
        let mut buf = vec![0; limits.recv_bytes_max];
        let mut got = Vec::new();
        let mut calls = 0;
        while got.len() < len {
            let received = wait(&mut ring, &mut b, &mut buf);
            assert_eq!(received.stride_bytes, bytes.min(received.len_bytes));
            got.extend_from_slice(&buf[..received.len_bytes]);
            calls += 1;
        }
        assert_eq!(got, sent);
        assert!(calls < count, "{calls} calls for {count} datagrams");
    }
}

#[test]
fn one_call_fills_several_buffers() {
    let ring = ring();
    let (mut a, mut b) = (ring.udp(any_port()).unwrap(), ring.udp(any_port()).unwrap());
    for i in 0..5u8 {
        a.send(Mono::ZERO, &to(b.local(), &[i; 30], None)).unwrap();
    }
    let mut bufs = vec![vec![0; 65_536]; 4];
    let mut received = Vec::new();
    let mut slices: Vec<IoSliceMut<'_>> = bufs.iter_mut().map(|b| IoSliceMut::new(b)).collect();
    assert_eq!(b.recv_batch(Mono::ZERO, &mut slices, &mut received), 4);
    assert_eq!(b.due(), Due::Now, "there may be more");
    assert_eq!(b.recv_batch(Mono::ZERO, &mut slices, &mut received), 1);
    assert_eq!(received.len(), 5);
    assert_eq!((bufs[0][0], bufs[3][29]), (4, 3), "each into its own");
    assert_eq!(b.recv(Mono::ZERO, &mut bufs[0]), None);
}

#[test]
fn a_sleeping_core_is_woken_by_each_datagram() {
    let mut ring = ring();
    let mut server = ring.udp(any_port()).unwrap();
    let addr = server.local();
    let client = std::thread::spawn(move || {
        let socket = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
        for i in 0..20u8 {
            std::thread::sleep(Duration::from_millis(3));
            socket.send_to(&[i], addr).unwrap();
        }
    });
    let mut buf = vec![0; 65_536];
    let before = ring.enters();
    for i in 0..20u8 {
        wait(&mut ring, &mut server, &mut buf);
        assert_eq!(buf[0], i);
    }
    client.join().unwrap();
    assert!(ring.enters() - before < 100, "it slept: {} entries", ring.enters() - before);
}

#[test]
fn looking_at_an_idle_socket_costs_no_system_call() {
    let mut ring = ring();
    let mut socket = ring.udp(any_port()).unwrap();
    let mut buf = vec![0; 65_536];
    // The first look reads, the second arms the poll.
    assert!(socket.recv(Mono::ZERO, &mut buf).is_none());
    assert!(socket.recv(Mono::ZERO, &mut buf).is_none());
    let before = ring.enters();
    for _ in 0..10_000 {
        assert_eq!(socket.recv(Mono::ZERO, &mut buf), None);
    }
    assert_eq!(ring.enters(), before);
    let start = Instant::now();
    ring.park(Mono(0), Some(Mono(20_000_000)));
    assert!(start.elapsed() > Duration::from_millis(15), "nothing wakes it");
}

#[test]
fn a_flood_is_read_to_its_end_and_wakes_again() {
    let mut ring = ring();
    let (mut a, mut b) = (ring.udp(any_port()).unwrap(), ring.udp(any_port()).unwrap());
    let mut buf = vec![0; 65_536];
    for round in 0..50 {
        for _ in 0..64 {
            a.send(Mono::ZERO, &to(b.local(), &[round; 1000], None)).unwrap();
        }
        let mut bytes = 0;
        while bytes < 64_000 {
            bytes += wait(&mut ring, &mut b, &mut buf).len_bytes;
            assert_eq!(buf[0], round);
        }
    }
}

#[test]
fn a_closed_socket_frees_its_port_at_once_and_a_taken_one_is_named() {
    let mut ring = ring();
    let mut buf = vec![0; 65_536];
    let mut socket = ring.udp(any_port()).unwrap();
    let addr = socket.local();
    for _ in 0..200 {
        assert_eq!(socket.recv(Mono::ZERO, &mut buf), None);
        ring.park(Mono(0), Some(Mono(1)));
        let taken = ring.udp(addr).err().unwrap();
        assert!(matches!(taken.cause, OpenCause::Busy { .. }), "{taken}");
        drop(socket);
        socket = ring.udp(addr).unwrap();
    }
}

#[test]
fn where_nothing_can_be_sent_is_told_and_others_go_on() {
    let mut ring = ring();
    let (mut a, mut b) = (ring.udp(any_port()).unwrap(), ring.udp(any_port()).unwrap());
    let v6 = "[2001:db8::1]:9".parse().unwrap();
    let refused = a.send(Mono::ZERO, &to(v6, &[1], None));
    assert!(matches!(refused, Err(SendRefused::Unreachable { .. })), "{refused:?}");
    a.send(Mono::ZERO, &to(b.local(), &[2], None)).unwrap();
    assert_eq!(wait(&mut ring, &mut b, &mut [0; 65_536]).len_bytes, 1);
}

#[test]
#[should_panic(expected = "the kernel would drop all of it")]
fn a_batch_above_the_limit_never_reaches_the_kernel() {
    let ring = ring();
    let mut a = ring.udp(any_port()).unwrap();
    let _ = a.send(Mono::ZERO, &to(a.local(), &[0; 65_001], Some(8_972)));
}

#[test]
fn segments_that_the_kernel_refuses_go_one_by_one_from_then_on() {
    let mut ring = ring();
    let (mut a, mut b) = (ring.udp(any_port()).unwrap(), ring.udp(any_port()).unwrap());
    let before = a.limits();
    assert!(before.send_segments_max > 1);
    let mut buf = vec![0; before.recv_bytes_max];
    // More segments than the kernel takes: it refuses as a card without offload does.
    for (bytes, segment) in [(50_000, 50), (5_000, 1_000)] {
        let sent: Vec<u8> = (0..bytes).map(|i| (i / 50) as u8).collect();
        a.send(Mono::ZERO, &to(b.local(), &sent, Some(segment))).unwrap();
        assert_eq!(a.limits().send_segments_max, 1);
        let mut got = Vec::new();
        while got.len() < sent.len() {
            let received = wait(&mut ring, &mut b, &mut buf);
            assert_eq!(received.stride_bytes, segment);
            got.extend_from_slice(&buf[..received.len_bytes]);
        }
        assert_eq!(got, sent, "nothing of the refused batch is lost");
    }
}

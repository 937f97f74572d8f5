//! The gateway in front of a real cluster: processes on loopback, disks in memory.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use isotherm_seam::{Domain, Draws};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;

fn isotherm() -> Command {
    Command::new(env!("CARGO_BIN_EXE_isotherm"))
}

/// A cluster of three nodes, until it is dropped.
struct Cluster {
    home: tempfile::TempDir,
}

impl Cluster {
    fn up() -> Cluster {
        let cluster = Cluster { home: tempfile::tempdir().expect("a folder") };
        let up = isotherm()
            .args(["cluster", "up", "--memory", "--size", "256M", "--codec", "2+1"])
            .args(["--nodes", "3", "--dir"])
            .arg(cluster.path())
            .output()
            .expect("it runs");
        assert!(up.status.success(), "{}", String::from_utf8_lossy(&up.stderr));
        cluster
    }

    fn path(&self) -> std::path::PathBuf {
        self.home.path().join("cluster")
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        let _ = isotherm().args(["cluster", "down", "--dir"]).arg(self.path()).output();
    }
}

/// A gateway, until it is dropped.
struct Gateway {
    child: Child,
    addr: SocketAddr,
}

impl Gateway {
    fn start(cluster: &Path, requests: &str) -> Gateway {
        let mut child = isotherm()
            .args(["gateway", "--requests", requests, "--cluster"])
            .arg(cluster)
            .stdout(Stdio::piped())
            .spawn()
            .expect("it runs");
        let mut line = String::new();
        let stdout = child.stdout.as_mut().expect("it is piped");
        BufReader::new(stdout).read_line(&mut line).expect("an address");
        let addr = line.trim().strip_prefix("http://").expect("an address");
        Gateway { addr: addr.parse().expect("an address"), child }
    }

    fn signal(&self) {
        kill(Pid::from_raw(self.child.id() as i32), Signal::SIGINT).expect("it runs");
    }

    fn connect(&self) -> TcpStream {
        let stream = TcpStream::connect(self.addr).expect("it listens");
        stream.set_read_timeout(Some(Duration::from_secs(60))).expect("a socket");
        stream
    }

    fn ask(&self, head: &str, body: &[u8]) -> Reply {
        let mut stream = self.connect();
        let len = body.len();
        let head =
            format!("{head}\r\nhost: x\r\nconnection: close\r\ncontent-length: {len}\r\n\r\n");
        stream.write_all(head.as_bytes()).expect("it reads");
        stream.write_all(body).expect("it reads");
        Reply::read(stream)
    }

    fn get(&self, path: &str) -> Reply {
        self.ask(&format!("GET {path} HTTP/1.1"), &[])
    }

    /// The highest memory use so far.
    fn peak_bytes(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id()));
        let status = status.expect("it runs");
        let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).expect("Linux");
        let kib: u64 = line.trim().trim_end_matches("kB").trim().parse().expect("a number");
        kib << 10
    }
}

impl Drop for Gateway {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

struct Reply {
    status: u16,
    head: String,
    body: Vec<u8>,
}

impl Reply {
    fn read(mut stream: TcpStream) -> Reply {
        let mut all = Vec::new();
        stream.read_to_end(&mut all).expect("it answers");
        let end = all.windows(4).position(|four| four == b"\r\n\r\n").expect("a head");
        let head = String::from_utf8(all[..end].to_vec()).expect("text").to_lowercase();
        let status = head[9..12].parse().expect("a status");
        Reply { status, head, body: all.split_off(end + 4) }
    }

    fn header(&self, name: &str) -> Option<&str> {
        self.head.lines().find_map(|line| line.strip_prefix(&format!("{name}: ")))
    }

    fn json(&self) -> Value {
        serde_json::from_slice(&self.body).expect("JSON")
    }
}

fn content(seed: u64, len: usize) -> Vec<u8> {
    let mut draws = Draws::new(seed, Domain::new("test.content"), 0);
    let mut bytes: Vec<u8> =
        (0..len.div_ceil(8)).flat_map(|_| draws.next_u64().to_le_bytes()).collect();
    bytes.truncate(len);
    bytes
}

#[test]
fn objects_live_and_die_over_http() {
    let cluster = Cluster::up();
    let gateway = Gateway::start(&cluster.path(), "4");
    let mut locators = Vec::new();
    for len in [0, 10, 100_000, 1_500_000, 9_000_001] {
        let bytes = content(len as u64, len);
        let reply = gateway.ask("PUT /objects HTTP/1.1", &bytes);
        assert_eq!(reply.status, 201, "{}", reply.head);
        let told = reply.json();
        assert_eq!(told["len"], len);
        let path = format!("/objects/{}", told["locator"].as_str().expect("a locator"));
        assert_eq!(reply.header("location"), Some(path.as_str()));

        let reply = gateway.get(&path);
        assert_eq!(reply.status, 200, "{}", reply.head);
        assert_eq!(reply.header("content-length"), Some(len.to_string().as_str()));
        assert!(reply.body == bytes, "{len} bytes: others came back");

        let head = gateway.ask(&format!("HEAD {path} HTTP/1.1"), &[]);
        assert_eq!((head.status, head.body.len()), (200, 0));
        assert_eq!(head.header("content-length"), Some(len.to_string().as_str()));
        assert_eq!(head.header("etag").map(|tag| tag.len()), Some(34));

        for (range, part) in [
            (format!("bytes=0-{}", len / 2), 0..(len / 2 + 1).min(len)),
            (format!("bytes={}-", len / 3), len / 3..len),
            ("bytes=-5".to_owned(), len.saturating_sub(5)..len),
        ] {
            let reply = gateway.ask(&format!("GET {path} HTTP/1.1\r\nrange: {range}"), &[]);
            if len == 0 {
                assert_eq!((reply.status, reply.header("content-range")), (416, Some("bytes */0")));
                continue;
            }
            assert_eq!(reply.status, 206, "{range}: {}", reply.head);
            let shown = format!("bytes {}-{}/{len}", part.start, part.end - 1);
            assert_eq!(reply.header("content-range"), Some(shown.as_str()));
            assert!(reply.body == bytes[part], "{range} of {len}");
        }
        // Whoever has a part of something else gets the whole.
        let other = "range: bytes=0-1\r\nif-range: \"something else\"";
        let reply = gateway.ask(&format!("GET {path} HTTP/1.1\r\n{other}"), &[]);
        assert_eq!((reply.status, reply.body.len()), (200, len));
        let stat = gateway.get(&format!("{path}?stat")).json();
        assert_eq!((&stat["survives_losses"], &stat["cells_bad"]), (&1.into(), &0.into()));
        locators.push((path, told["id"].clone()));
    }

    // Without a length, in chunks.
    let mut stream = gateway.connect();
    let head = "POST /objects HTTP/1.1\r\nhost: x\r\nconnection: close\r\n";
    write!(stream, "{head}transfer-encoding: chunked\r\n\r\n").unwrap();
    for chunk in [&b"first "[..], b"second"] {
        write!(stream, "{:x}\r\n", chunk.len()).unwrap();
        stream.write_all(chunk).unwrap();
        stream.write_all(b"\r\n").unwrap();
    }
    stream.write_all(b"0\r\n\r\n").unwrap();
    let told = Reply::read(stream).json();
    let path = format!("/objects/{}", told["locator"].as_str().expect("a locator"));
    assert_eq!(gateway.get(&path).body, b"first second");

    // The listing has them all, page by page.
    let mut listed = std::collections::BTreeSet::new();
    let mut from = String::new();
    loop {
        let page = gateway.get(&format!("/objects?limit=3&from={from}")).json();
        let objects = page["objects"].as_array().expect("a list");
        assert!(objects.len() <= 3);
        listed.extend(objects.iter().map(|object| object["id"].to_string()));
        match page["next"].as_str() {
            Some(next) => from = next.to_owned(),
            None => break,
        }
    }
    assert_eq!(listed.len(), 6);
    assert!(locators.iter().all(|(_, id)| listed.contains(&id.to_string())));

    for (path, _) in &locators {
        assert_eq!(gateway.ask(&format!("DELETE {path} HTTP/1.1"), &[]).status, 204);
        let reply = gateway.get(path);
        assert_eq!((reply.status, &reply.json()["kind"]), (410, &"deleted".into()));
        assert_eq!(gateway.ask(&format!("HEAD {path} HTTP/1.1"), &[]).status, 410);
        assert_eq!(gateway.ask(&format!("DELETE {path} HTTP/1.1"), &[]).status, 204);
    }

    for (head, status) in [
        ("GET /objects/iso-nothing HTTP/1.1", 400),
        ("GET /else HTTP/1.1", 404),
        ("DELETE /objects HTTP/1.1", 405),
        ("GET /objects?limit=0 HTTP/1.1", 400),
        ("GET /objects?from=nowhere HTTP/1.1", 400),
        ("GET / HTTP/1.1", 200),
    ] {
        assert_eq!(gateway.ask(head, &[]).status, status, "{head}");
    }
}

/// An object goes through in pieces: the gateway's memory does not grow with it. One that is cut
/// off leaves nothing.
#[test]
fn long_objects_pass_through_and_cut_ones_leave_nothing() {
    const LEN: usize = 160 << 20;
    let cluster = Cluster::up();
    let gateway = Gateway::start(&cluster.path(), "2");
    let piece = content(1, 1 << 20);
    let mut stream = gateway.connect();
    let head = "PUT /objects HTTP/1.1\r\nhost: x\r\nconnection: close\r\n";
    write!(stream, "{head}content-length: {LEN}\r\n\r\n").unwrap();
    for _ in 0..LEN >> 20 {
        stream.write_all(&piece).unwrap();
    }
    let reply = Reply::read(stream);
    assert_eq!(reply.status, 201, "{}", reply.head);
    let locator = reply.json()["locator"].as_str().expect("a locator").to_owned();
    let mut stream = gateway.connect();
    write!(stream, "GET /objects/{locator} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n")
        .unwrap();
    let mut stream = BufReader::new(stream);
    let mut line = String::new();
    while stream.read_line(&mut line).unwrap() > 2 {
        line.clear();
    }
    let mut got = vec![0; 1 << 20];
    for number in 0..LEN >> 20 {
        stream.read_exact(&mut got).unwrap();
        assert!(got == piece, "other bytes in MiB {number}");
    }
    let peak = gateway.peak_bytes();
    assert!(peak < 80 << 20, "{} MB for an object of {} MB", peak >> 20, LEN >> 20);

    // A body that is cut off: what was kept of it is deleted again.
    let mut stream = gateway.connect();
    write!(stream, "{head}content-length: {LEN}\r\n\r\n").unwrap();
    for _ in 0..20 {
        stream.write_all(&piece).unwrap();
    }
    drop(stream);
    let mut others = usize::MAX;
    for _ in 0..200 {
        let told = gateway.get("/objects").json();
        let alive = |object: &&Value| object["cells"].as_u64() > Some(0);
        let objects = told["objects"].as_array().expect("a list").iter().filter(alive);
        let ids: std::collections::BTreeSet<_> = objects.map(|o| o["id"].to_string()).collect();
        others = ids.len() - 1;
        if others == 0 {
            break;
        }
        wait(50);
    }
    assert_eq!(others, 0, "cells that nobody can read or delete");
}

/// Ctrl-C: what is under way comes to its end, nothing new begins.
#[test]
fn a_stop_lets_uploads_end() {
    let cluster = Cluster::up();
    let mut gateway = Gateway::start(&cluster.path(), "2");
    let bytes = content(7, 3 << 20);
    let mut stream = gateway.connect();
    let head = "PUT /objects HTTP/1.1\r\nhost: x\r\nconnection: close\r\n";
    write!(stream, "{head}content-length: {}\r\nexpect: 100-continue\r\n\r\n", bytes.len())
        .unwrap();
    // It asks for the body: the upload has begun.
    let mut begun = [0; 25];
    stream.read_exact(&mut begun).unwrap();
    assert!(begun.starts_with(b"HTTP/1.1 100"), "{}", String::from_utf8_lossy(&begun));
    stream.write_all(&bytes[..1 << 20]).unwrap();
    gateway.signal();
    wait(300);
    stream.write_all(&bytes[1 << 20..]).unwrap();
    let reply = Reply::read(stream);
    assert_eq!(reply.status, 201, "{}", reply.head);
    assert!(gateway.child.wait().expect("it ends").success());
    let again = Gateway::start(&cluster.path(), "2");
    let locator = reply.json()["locator"].as_str().expect("a locator").to_owned();
    assert!(again.get(&format!("/objects/{locator}")).body == bytes);
}

#[expect(clippy::disallowed_methods, reason = "waits for processes")]
fn wait(millis: u64) {
    std::thread::sleep(Duration::from_millis(millis));
}

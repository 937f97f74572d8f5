//! The interface over a real socket, with cores whose answers are known.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;

use isotherm_host::{HostClock, ThreadPark};
use isotherm_node::{NodeReport, ShelfReport, ShelfState, Tally};
use isotherm_reactor::{Counters, Reactor, ReactorConfig};
use isotherm_seam::Nanos;
use isotherm_store::{ExtentCounts, ExtentId, Hole, RecoveryReport, Status};
use isotherm_transport::quic::QuicCounters;
use isotherm_wire::Doubt;
use serde_json::Value;

use super::*;
use crate::http::tests::{Reply, ask, get};

/// How a core of a test behaves.
#[derive(Clone)]
enum Behaviour {
    Answers(Vec<ShelfReport>),
    /// It takes questions and never answers.
    Hangs,
}

struct Cores {
    senders: Vec<Sender<Order>>,
    threads: Vec<JoinHandle<()>>,
    over: Arc<AtomicBool>,
}

impl Cores {
    fn start(behaviours: Vec<Behaviour>) -> Cores {
        let over = Arc::new(AtomicBool::new(false));
        let (mut senders, mut threads) = (Vec::new(), Vec::new());
        for (number, behaviour) in behaviours.into_iter().enumerate() {
            let (tell, told) = sync_channel(1);
            let over = Arc::clone(&over);
            let run = move || {
                let mut core =
                    Reactor::new(ThreadPark::new(), HostClock::new(), ReactorConfig::default());
                let (sender, mut orders) = core.mailbox::<Order>(2);
                tell.send(sender).unwrap();
                let disks = match behaviour {
                    Behaviour::Answers(disks) => disks,
                    Behaviour::Hangs => {
                        while !over.load(Ordering::Relaxed) {
                            std::thread::park_timeout(Duration::from_millis(10));
                        }
                        return;
                    }
                };
                core.run(async move {
                    while let Some(order) = orders.recv().await {
                        match order {
                            Order::Report(to) => {
                                let _ = to.try_send(report(number as u16, disks.clone()));
                            }
                            Order::Stop(done) => {
                                let _ = done.try_send(());
                                return;
                            }
                            Order::Panic => panic!("as a bug would"),
                        }
                    }
                });
            };
            threads.push(std::thread::Builder::new().spawn(run).unwrap());
            senders.push(told.recv().unwrap());
        }
        Cores { senders, threads, over }
    }

    fn end(self) {
        self.over.store(true, Ordering::Relaxed);
        drop(self.senders);
        for thread in self.threads {
            thread.join().unwrap();
        }
    }
}

fn report(core: u16, disks: Vec<ShelfReport>) -> CoreReport {
    CoreReport {
        core,
        addr: "127.0.0.1:7000".parse().unwrap(),
        node: NodeReport { disks, sessions: 3, requests: 7, refused: 1, stopping: false },
        reactor: Counters { turns: 1000, busy_ns: 1_500_000_000, ..Counters::default() },
        quic: QuicCounters { datagrams_in: 10, datagrams_out: 20, ..QuicCounters::default() },
    }
}

fn disk(number: u8, state: ShelfState) -> ShelfReport {
    let mut tally = Tally { get_ns: 25_000_000, given_bytes: 8192, ..Tally::default() };
    // A get of 1 µs, and one that took longer than any bin ends.
    (tally.get_latency[0], tally.get_latency[63]) = (1, 1);
    tally.done[1] = 2;
    tally.failed[0] = 4;
    let (expected_wait, disk_time) = (Nanos::from_millis(12), Nanos::from_secs(5));
    let name = format!("slot \"{number}\"");
    ShelfReport {
        uuid: [number; 16],
        name,
        state,
        doubt: Doubt::None,
        releases: 0,
        stuck: None,
        tally,
        reserved: 0,
        requests: 9,
        expected_wait,
        disk_time,
        append_time: Nanos::from_secs(1),
    }
}

fn open() -> ShelfState {
    let status = Status {
        extent_bytes: 1 << 20,
        extents: ExtentCounts { meta: 2, free: 10, sealed: 4, ..ExtentCounts::default() },
        room_extents: 8,
        entries: 123,
        ..Status::default()
    };
    let hole = Hole { extent: ExtentId(5), block: 6, blocks: 7 };
    let recovery = RecoveryReport { holes: vec![hole], ..RecoveryReport::default() };
    ShelfState::Open(Box::new((status, recovery)))
}

fn start(behaviours: Vec<Behaviour>) -> (Cores, AdminHandle) {
    let cores = Cores::start(behaviours);
    let loopback = "127.0.0.1:0".parse().unwrap();
    let admin = serve(loopback, "node7".to_owned(), cores.senders.clone()).unwrap();
    (cores, admin)
}

fn end(cores: Cores, admin: AdminHandle) {
    drop(admin);
    cores.end();
}

#[test]
fn a_node_that_is_well_says_so() {
    let answers = |disks| Behaviour::Answers(disks);
    let (cores, admin) =
        start(vec![answers(vec![disk(1, open()), disk(2, open())]), answers(vec![])]);
    let reply = get(admin.addr(), "/health");
    assert_eq!(reply.status, 200);
    let told = reply.json();
    assert_eq!((&told["well"], &told["disks_open"]), (&Value::from(true), &Value::from(2)));
    assert_eq!(told["cores_stuck"], Value::from(Vec::<u8>::new()));
    end(cores, admin);
}

#[test]
fn a_disk_that_is_not_open_makes_a_node_unwell() {
    let failed = || ShelfState::Failed("no such device".to_owned());
    for state in [failed(), ShelfState::Opening, ShelfState::Closed] {
        let (cores, admin) = start(vec![Behaviour::Answers(vec![disk(1, open()), disk(2, state)])]);
        let reply = get(admin.addr(), "/health");
        assert_eq!(reply.status, 503);
        assert_eq!(reply.json()["disks_open"], 1);
        end(cores, admin);
    }
}

#[test]
fn a_disk_that_is_stuck_makes_a_node_unwell() {
    let stuck = ShelfReport { stuck: Some(Nanos::from_secs(7)), ..disk(2, open()) };
    let (cores, admin) = start(vec![Behaviour::Answers(vec![disk(1, open()), stuck])]);
    let reply = get(admin.addr(), "/health");
    assert_eq!(reply.status, 503);
    let told = reply.json();
    assert_eq!((&told["disks_open"], &told["disks_stuck"]), (&Value::from(2), &Value::from(1)));
    assert_eq!(get(admin.addr(), "/disks").json()["disks"][1]["stuck_seconds"], 7.0);
    end(cores, admin);
}

#[test]
fn disks_queues_and_histograms_tell_what_the_cores_said() {
    let failed = ShelfState::Failed("no such device".to_owned());
    let (cores, admin) = start(vec![Behaviour::Answers(vec![disk(1, open()), disk(2, failed)])]);
    let told = get(admin.addr(), "/disks").json();
    let row = &told["disks"][0];
    assert_eq!((&row["state"], &row["core"]), (&Value::from("open"), &Value::from(0)));
    assert_eq!(row["uuid"], "01".repeat(16));
    assert_eq!(row["space"]["capacity_bytes"], 16 << 20);
    assert_eq!(row["space"]["free_bytes"], 8 << 20);
    assert_eq!(row["recovery"]["holes"][0]["blocks"], 7);
    assert_eq!(
        (&row["tally"]["done"]["get"], &row["tally"]["failed"]["not_found"]),
        (&Value::from(2), &Value::from(4))
    );
    assert_eq!(row["expected_wait_seconds"], 0.012);
    let row = &told["disks"][1];
    assert_eq!((&row["state"], &row["why"]), (&"failed".into(), &"no such device".into()));

    let told = get(admin.addr(), "/queues").json();
    let core = &told["cores"][0];
    assert_eq!((&core["sessions"], &core["requests"]), (&Value::from(3), &Value::from(7)));
    assert_eq!(core["disks"][0]["requests"], 9);

    let told = get(admin.addr(), "/histograms").json();
    let gets = &told["disks"][0]["get"];
    assert_eq!((&gets["count"], &gets["sum_seconds"]), (&Value::from(2), &Value::from(0.025)));
    assert_eq!(gets["bins"][0]["from_seconds"], 0.0);
    assert_eq!(gets["bins"][0]["until_seconds"], 1.5e-6);
    assert_eq!(gets["bins"][1]["until_seconds"], Value::Null);
    end(cores, admin);
}

#[test]
fn a_stuck_core_and_one_that_ended_hide_nothing_of_the_others() {
    let (mut cores, mut admin) =
        start(vec![Behaviour::Hangs, Behaviour::Answers(vec![disk(1, open())])]);
    // A core that has ended: its mailbox is gone.
    let gone = Cores::start(vec![Behaviour::Answers(Vec::new())]);
    let (tell, told) = sync_channel(1);
    gone.senders[0].try_send(Order::Stop(tell)).unwrap();
    told.recv().unwrap();
    cores.senders.push(gone.senders[0].clone());
    gone.end();
    drop(admin);
    let loopback = "127.0.0.1:0".parse().unwrap();
    admin = serve(loopback, "node7".to_owned(), cores.senders.clone()).unwrap();

    // More often than the stuck core's mailbox has room.
    for _ in 0..3 {
        let reply = get(admin.addr(), "/health");
        assert_eq!(reply.status, 503);
        let told = reply.json();
        assert_eq!((&told["cores_stuck"][0], &told["cores_ended"][0]), (&0.into(), &2.into()));
        assert_eq!(told["disks_open"], 1);
    }
    let told = get(admin.addr(), "/queues").json();
    assert_eq!(told["cores"][0]["state"], "stuck");
    assert_eq!(told["cores"][1]["disks"][0]["requests"], 9);
    let text = String::from_utf8(get(admin.addr(), "/metrics").body).unwrap();
    check(&text);
    assert!(text.contains("isotherm_core_up{core=\"0\"} 0\n"), "{text}");
    assert!(text.contains("isotherm_core_up{core=\"1\"} 1\n"), "{text}");
    end(cores, admin);
}

#[test]
fn metrics_are_as_prometheus_wants_them() {
    let (cores, admin) = start(vec![
        Behaviour::Answers(vec![disk(1, open()), disk(2, ShelfState::Opening)]),
        Behaviour::Answers(vec![disk(3, open())]),
    ]);
    let reply = get(admin.addr(), "/metrics");
    assert!(reply.header("content-type").unwrap().starts_with("text/plain; version=0.0.4"));
    let text = String::from_utf8(reply.body).unwrap();
    let samples = check(&text);
    assert!(samples > 300, "{samples} samples");
    let disk = "core=\"0\",disk=\"slot \\\"1\\\"\",uuid=\"01010101010101010101010101010101\"";
    for line in [
        "isotherm_core_busy_seconds_total{core=\"0\"} 1.5".to_owned(),
        "isotherm_quic_datagrams_total{core=\"1\",direction=\"out\"} 20".to_owned(),
        format!("isotherm_disk_state{{{disk},state=\"open\"}} 1"),
        format!("isotherm_disk_state{{{disk},state=\"failed\"}} 0"),
        format!("isotherm_disk_capacity_bytes{{{disk}}} 16777216"),
        format!("isotherm_disk_requests_failed_total{{{disk},cause=\"not_found\"}} 4"),
        format!("isotherm_disk_get_duration_seconds_bucket{{{disk},le=\"0.000002\"}} 1"),
        format!("isotherm_disk_get_duration_seconds_bucket{{{disk},le=\"+Inf\"}} 2"),
        format!("isotherm_disk_get_duration_seconds_sum{{{disk}}} 0.025"),
    ] {
        assert!(text.lines().any(|other| other == line), "{line} is not in\n{text}");
    }
    end(cores, admin);
}

#[test]
fn what_is_not_there_or_not_allowed_is_told() {
    let (cores, admin) = start(vec![Behaviour::Answers(Vec::new())]);
    let index = get(admin.addr(), "/");
    assert_eq!(index.status, 200);
    let index = String::from_utf8(index.body).unwrap();
    for line in index.lines() {
        let path = line.split(' ').next().unwrap();
        assert_eq!(get(admin.addr(), path).status, 200, "{path}");
    }
    assert_eq!(get(admin.addr(), "/etc/passwd").status, 404);
    let post = b"POST /disks HTTP/1.1\r\nhost: x\r\ncontent-length: 0\r\nconnection: close\r\n\r\n";
    let reply: Reply = ask(admin.addr(), post);
    assert_eq!((reply.status, reply.header("allow")), (405, Some("get, head")));
    let head = b"HEAD /disks HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n";
    let reply = ask(admin.addr(), head);
    assert_eq!((reply.status, reply.body.len()), (200, 0));
    end(cores, admin);
}

/// What `promtool check metrics` looks at, and what the format says. How many samples there are.
fn check(text: &str) -> usize {
    assert!(text.ends_with('\n'), "the last line ends");
    let is_name = |name: &str| {
        name.starts_with(|first: char| first.is_ascii_lowercase())
            && name.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_')
    };
    let mut families: BTreeMap<String, String> = BTreeMap::new();
    let mut series = BTreeSet::new();
    let mut buckets: BTreeMap<String, (f64, f64)> = BTreeMap::new();
    let mut counts: BTreeMap<String, f64> = BTreeMap::new();
    let (mut current, mut helped, mut samples) = (String::new(), String::new(), 0);
    for line in text.lines() {
        if let Some(rest) = line.strip_prefix("# HELP ") {
            let (name, help) = rest.split_once(' ').expect("a name and a help text");
            assert!(help.ends_with('.') && help.len() > 5, "{line}");
            helped = name.to_owned();
            continue;
        }
        if let Some(rest) = line.strip_prefix("# TYPE ") {
            let (name, kind) = rest.split_once(' ').expect("a name and a type");
            assert_eq!(name, helped, "its help comes just before");
            assert!(is_name(name) && name.starts_with("isotherm_"), "{name}");
            assert!(["counter", "gauge", "histogram"].contains(&kind), "{line}");
            assert_eq!(kind == "counter", name.ends_with("_total"), "{line}");
            let is_reserved = ["_bucket", "_sum", "_count"].iter().any(|end| name.ends_with(end));
            assert!(!is_reserved, "{name} looks like a part of a histogram");
            for unit in ["_ms", "_us", "_ns", "milli", "micro", "nano", "_kb", "mib", "percent"] {
                assert!(!name.contains(unit), "{name}: not a base unit");
            }
            let before = families.insert(name.to_owned(), kind.to_owned());
            assert!(before.is_none(), "{name} stands twice");
            current = name.to_owned();
            continue;
        }
        let (series_text, value) = line.rsplit_once(' ').expect("a series and a value");
        let value: f64 = value.parse().expect("a number");
        assert!(value.is_finite() && value >= 0.0, "{line}");
        assert!(series.insert(series_text.to_owned()), "{series_text} stands twice");
        let (name, labels) = series_text.split_once('{').unwrap_or((series_text, ""));
        samples += 1;
        let Some(part) = name.strip_prefix(&current) else { panic!("{name} within {current}") };
        let mut rest = labels.strip_suffix('}').unwrap_or(labels);
        let mut without_le = String::new();
        let mut le = None;
        let mut seen = BTreeSet::new();
        while !rest.is_empty() {
            let (label, after) = rest.split_once("=\"").expect("a label");
            assert!(is_name(label) && seen.insert(label.to_owned()), "{line}");
            let bytes = after.as_bytes();
            let end = (0..bytes.len())
                .find(|&at| bytes[at] == b'"' && (at == 0 || bytes[at - 1] != b'\\'))
                .expect("the value's end");
            match label {
                "le" => le = Some(after[..end].to_owned()),
                _ => without_le.push_str(&rest[..label.len() + end + 3]),
            }
            rest = after[end + 1..].strip_prefix(',').unwrap_or(&after[end + 1..]);
        }
        let key = format!("{current}{{{without_le}");
        match (families[&current].as_str(), part) {
            ("histogram", "_bucket") => {
                let le = match le.expect("a bucket has an upper end").as_str() {
                    "+Inf" => f64::INFINITY,
                    number => number.parse().expect("a number"),
                };
                let before = buckets.insert(key, (le, value));
                if let Some((before_le, before)) = before {
                    assert!(le > before_le && value >= before, "{line}: not cumulative");
                }
            }
            ("histogram", "_sum") => {}
            ("histogram", "_count") => {
                counts.insert(key, value);
            }
            ("counter" | "gauge", "") => assert!(le.is_none()),
            _ => panic!("{line}: no such part of {current}"),
        }
    }
    assert_eq!(buckets.len(), counts.len());
    for (key, (le, value)) in buckets {
        assert!(le.is_infinite() && counts[&key] == value, "{key}: +Inf is the count");
    }
    samples
}

/// The check itself finds what it should.
#[test]
fn the_check_of_metrics_can_fail() {
    let good = "# HELP isotherm_a_total Things done.\n# TYPE isotherm_a_total counter\n\
                isotherm_a_total{x=\"1\"} 2\n";
    assert_eq!(check(good), 1);
    for bad in [
        good.replace("_total", ""),
        good.replace("counter", "gauge"),
        good.replace("# TYPE isotherm_a_total counter\n", ""),
        good.replace("# HELP isotherm_a_total Things done.\n", ""),
        format!("{good}{good}"),
        format!("{good}isotherm_a_total{{x=\"1\"}} 3\n"),
        good.replace("} 2", "} two"),
        good.replace("isotherm_a", "isotherm_a_ms"),
        good.replace("x=", "X="),
        good.trim_end().to_owned(),
    ] {
        assert!(std::panic::catch_unwind(|| check(&bad)).is_err(), "this passed:\n{bad}");
    }
}

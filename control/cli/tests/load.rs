//! `isotherm load` as a program: against processes on loopback, and in virtual time.

use std::io::{BufRead, BufReader, Read};
use std::path::PathBuf;
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;

/// A cluster of three nodes with a disk in memory each, until it is dropped.
struct Cluster {
    home: tempfile::TempDir,
}

impl Cluster {
    fn up() -> Cluster {
        let cluster = Cluster { home: tempfile::tempdir().unwrap() };
        let up = cluster.run(&[
            "cluster", "up", "--memory", "--size", "256M", "--codec", "2+1", "--nodes", "3",
        ]);
        assert!(up.status.success(), "{}", said(&up));
        cluster
    }

    fn path(&self) -> PathBuf {
        self.home.path().join("cluster")
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_isotherm"));
        command.env("ISOTHERM_CLUSTER", self.path()).args(arguments);
        command
    }

    fn run(&self, arguments: &[&str]) -> Output {
        self.command(arguments).output().unwrap()
    }

    /// Objects that are there.
    fn objects(&self) -> usize {
        let output = self.run(&["ls"]);
        assert!(output.status.success(), "{}", said(&output));
        String::from_utf8(output.stdout).unwrap().lines().filter(|l| l.contains("iso-")).count()
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        let output = self.run(&["cluster", "down"]);
        if !std::thread::panicking() {
            assert!(output.status.success(), "{}", said(&output));
        }
    }
}

fn load(arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_isotherm"));
    command.env_remove("ISOTHERM_CLUSTER").arg("load").args(arguments).output().unwrap()
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// The one document on standard output, and nothing else.
fn document(output: &Output) -> Value {
    let text = String::from_utf8(output.stdout.clone()).unwrap();
    serde_json::from_str(&text).unwrap_or_else(|error| panic!("{error}: {text}\n{}", said(output)))
}

fn count(value: &Value) -> u64 {
    value.as_u64().unwrap_or_else(|| panic!("{value} is no count"))
}

/// What must hold of every pass, whatever ran.
fn check(document: &Value) {
    let jobs = document["jobs"].as_array().unwrap();
    assert!(!jobs.is_empty());
    for (job, line) in jobs.iter().zip(document["isotherm"]["timelines"].as_array().unwrap()) {
        assert_eq!(count(&job["isotherm"]["broken_promises"]), 0, "{job:#}");
        assert_eq!(line["job"], job["jobname"]);
        for word in ["read", "write", "delete"] {
            let way = &job[word];
            let done = count(&way["total_ios"]);
            assert_eq!(count(&way["rt_ns"]["N"]), done);
            assert_eq!(count(&way["lat_ns"]["N"]), done);
            // What was to begin then can't have been answered sooner than what began then.
            let mean = |family: &str| way[family]["mean"].as_f64().unwrap();
            assert!(mean("rt_ns") >= mean("lat_ns"), "{way:#}");
            if done > 0 {
                let columns = line[word]["ios"].as_array().unwrap();
                assert_eq!(columns.iter().map(count).sum::<u64>(), done);
                let p = &way["rt_ns"]["percentile"];
                assert!(count(&p["50.000000"]) <= count(&p["99.900000"]));
                assert!(count(&p["99.900000"]) <= count(&way["rt_ns"]["max"]));
            }
        }
    }
}

#[test]
fn everything_at_once_against_processes_reads_what_was_put() {
    let cluster = Cluster::up();
    let page = cluster.home.path().join("page.html");
    let output = cluster.run(&[
        "load",
        "--json",
        "--live",
        "--seed",
        "5",
        "--objects",
        "60",
        "--rate",
        "150",
        "--size",
        "lognormal:96k:1:4k-2m",
        "--striped-from",
        "64k",
        "--mix",
        "80:14:6",
        "--arrivals",
        "bursty",
        "--tenants",
        "6",
        "--burst",
        "500ms",
        "--duty",
        "0.4",
        "--common",
        "0.2",
        "--zipf",
        "0.8",
        "--hot",
        "0.1",
        "--warmup",
        "500ms",
        "--runtime",
        "3",
        "--policy",
        "direct,late",
        "--report",
        page.to_str().unwrap(),
    ]);
    assert!(output.status.success(), "{}", said(&output));
    let document = document(&output);
    check(&document);
    let jobs = document["jobs"].as_array().unwrap();
    assert_eq!(jobs.iter().map(|job| &job["jobname"]).collect::<Vec<_>>(), ["direct", "late"]);
    // The schedule is the same for both, whatever came of it.
    let asked = |job: &Value, word: &str| {
        let way = &job[word];
        count(&way["total_ios"]) + count(&way["failed_ios"]) + count(&way["unsent_ios"])
    };
    for word in ["read", "write"] {
        let each = jobs.iter().map(|job| asked(job, word)).collect::<Vec<_>>();
        assert!(each[0] > 5 && each[0] == each[1], "{word}: {each:?}");
    }
    assert!(count(&jobs[0]["read"]["total_ios"]) > 20, "{:#}", jobs[0]["read"]);
    for (key, value) in [("hot", "0.1"), ("mix", "80:14:6"), ("common", "0.2"), ("seed", "5")] {
        assert_eq!(jobs[0]["job options"][key], value);
    }
    // How it went was told on standard error, line by line.
    let told = said(&output);
    assert!(told.contains("late: [") && told.contains("/s][p99 "), "{told}");
    let page = std::fs::read_to_string(page).unwrap();
    assert!(page.contains("direct against late") && page.ends_with("</html>\n"));
    assert_eq!(cluster.objects(), 0, "it has deleted what it had put");
}

/// Raises Ctrl-C once the load says that it passes, and waits for its end.
#[expect(clippy::disallowed_methods, reason = "it watches a process")]
fn interrupted(mut command: Command, once: &str) -> (Output, Duration) {
    let mut child: Child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut stderr = BufReader::new(child.stderr.take().unwrap());
    let mut told = String::new();
    while !told.contains(once) {
        let before = told.len();
        stderr.read_line(&mut told).unwrap();
        assert!(told.len() > before, "it ended before \"{once}\": {told}");
    }
    kill(Pid::from_raw(child.id() as i32), Signal::SIGINT).unwrap();
    let begin = Instant::now();
    let rest = std::thread::spawn(move || {
        let mut rest = String::new();
        stderr.read_to_string(&mut rest).map(|_| rest)
    });
    let mut output = child.wait_with_output().unwrap();
    told.push_str(&rest.join().unwrap().unwrap());
    output.stderr = told.into_bytes();
    (output, begin.elapsed())
}

#[test]
fn ctrl_c_ends_a_pass_reports_it_and_leaves_nothing() {
    let cluster = Cluster::up();
    let load = ["load", "--json", "--live", "--objects", "30", "--size", "100k", "--rate", "50"];
    let command = cluster.command(&[&load[..], &["--warmup", "0", "--runtime", "300"]].concat());
    let (output, took) = interrupted(command, "late: [");
    assert_eq!(output.status.code(), Some(130), "{}", said(&output));
    assert!(took < Duration::from_secs(20), "{took:?}");
    let document = document(&output);
    check(&document);
    assert_eq!(document["jobs"][0]["isotherm"]["interrupted"], true);
    assert!(count(&document["jobs"][0]["read"]["total_ios"]) > 0);
    assert!(count(&document["jobs"][0]["job_runtime"]) < 60_000);
    assert_eq!(cluster.objects(), 0);
}

#[test]
fn ctrl_c_ends_virtual_time_too() {
    let mut command = Command::new(env!("CARGO_BIN_EXE_isotherm"));
    let load =
        ["load", "--simulate", "6x1", "--json", "--live", "--device", "hdd:exos-x24,memory:256M"];
    command.args(load).args(["--objects", "20", "--runtime", "100000", "--rate", "20"]);
    let (output, took) = interrupted(command, "late: [");
    assert_eq!(output.status.code(), Some(130), "{}", said(&output));
    assert!(took < Duration::from_secs(20), "{took:?}");
    let document = document(&output);
    assert_eq!(document["jobs"][0]["isotherm"]["interrupted"], true);
    check(&document);
}

const SIMULATED: [&str; 14] = [
    "--simulate",
    "6x2",
    "--device",
    "hdd:exos-x24,memory:64M",
    "--objects",
    "150",
    "--size",
    "256k",
    "--striped-from",
    "256k",
    "--rate",
    "60",
    "--warmup",
    "1",
];

#[test]
fn virtual_time_gives_the_same_document_again_and_late_binding_avoids_what_limps() {
    let run = || {
        let more = ["--runtime", "20", "--limp", "3=3", "--policy", "random,late", "--seed", "4"];
        let output = load(&[&SIMULATED[..], &more, &["--json"]].concat());
        assert!(output.status.success(), "{}", said(&output));
        document(&output)
    };
    let (one, other) = (run(), run());
    check(&one);
    assert_eq!(one["jobs"], other["jobs"]);
    assert_eq!(one["isotherm"]["timelines"], other["isotherm"]["timelines"]);
    assert_eq!(one["isotherm"]["disk_busy"], other["isotherm"]["disk_busy"]);
    assert_eq!(one["isotherm"]["disk_busy"][0]["disks"].as_array().unwrap().len(), 12);
    let p99 = |job: usize| count(&one["jobs"][job]["read"]["rt_ns"]["percentile"]["99.000000"]);
    assert!(p99(1) * 10 < p99(0) * 7, "late {} against {} by chance", p99(1), p99(0));
    let busy = |pass: usize| one["isotherm"]["disk_busy"][pass]["mean"][3].as_f64().unwrap();
    assert!(busy(1) < busy(0), "the limping disk is asked less: {} {}", busy(1), busy(0));
}

/// One disk gives a wrong bit in one read of five, one fails one read of five: what users see is
/// what they have put.
#[test]
fn disks_that_lie_and_fail_break_no_promise() {
    let more = [
        "--runtime",
        "10",
        "--policy",
        "direct,late",
        "--seed",
        "9",
        "--json",
        "--sick",
        "1=fault:flip=0.2,hdd:exos-x24,memory:64M",
        "--sick",
        "2=fault:eio-read=0.2,hdd:exos-x24,memory:64M",
    ];
    let output = load(&[&SIMULATED[..], &more].concat());
    assert!(output.status.success(), "{}", said(&output));
    let document = document(&output);
    check(&document);
    for job in document["jobs"].as_array().unwrap() {
        assert!(count(&job["read"]["total_ios"]) > 300, "{:#}", job["read"]);
        assert_eq!(count(&job["read"]["failed_ios"]), 0, "{:#}", job["read"]["failures"]);
    }
}

#[test]
fn what_cannot_be_done_is_refused_with_what_to_do() {
    let simulated = |more: &[&'static str]| [&["--simulate", "6x1"][..], more].concat();
    let cases: [(Vec<&str>, &str); 18] = [
        (vec!["--cluster", "/nowhere"], "isotherm cluster up"),
        (vec!["--simulate", "6"], "such as 6x4"),
        (vec!["--limp", "1=2"], "--simulate"),
        (simulated(&["--mix", "1:2"]), "such as 90:8:2"),
        (simulated(&["--mix", "0:0:0"]), "no operation"),
        (simulated(&["--size", "much"]), "such as lognormal"),
        (simulated(&["--read", "some"]), "whole, cell"),
        (simulated(&["--read", "cell", "--striped-from", "64k"]), "give the bytes"),
        (simulated(&["--policy", "fastest"]), "there are direct, random"),
        (simulated(&["--policy", "late,late"]), "twice"),
        (simulated(&["--rate", "0"]), "above zero"),
        (simulated(&["--common", "0.5"]), "needs --arrivals bursty"),
        (simulated(&["--arrivals", "bursty", "--duty", "1"]), "between 0 and 1"),
        (simulated(&["--zipf", "1"]), "take 0.99"),
        (simulated(&["--hot", "1.5"]), "0 to 1 are possible"),
        (simulated(&["--tenants", "500"]), "each tenant needs one"),
        (simulated(&["--limp", "6=2"]), "disks 0 to 5"),
        (simulated(&["--limp", "1=2", "--device", "memory:256M"]), "no layer hdd"),
    ];
    for (arguments, hint) in cases {
        let output = load(&arguments);
        let said = said(&output);
        assert!(!output.status.success(), "{arguments:?}");
        assert!(output.stdout.is_empty(), "{arguments:?}");
        assert!(said.contains(hint), "{arguments:?}: {said}");
        assert!(!said.contains("panicked"), "{said}");
    }
}

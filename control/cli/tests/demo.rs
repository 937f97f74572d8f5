//! `isotherm demo` as a program: whatever happens, it tells what it has and leaves nothing behind.

use std::io::{BufRead, BufReader, Read};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;

fn demo(home: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_isotherm"));
    std::fs::create_dir(home.join("work")).unwrap();
    command.current_dir(home).args(["demo", "--dir", "work"]).args(arguments);
    command
}

/// Neither a node nor a file of it is there any more.
fn assert_gone(home: &Path) {
    assert_eq!(std::fs::read_dir(home.join("work")).unwrap().count(), 0);
    let home = home.to_str().unwrap();
    for process in std::fs::read_dir("/proc").unwrap().flatten() {
        // One that has just ended has no arguments.
        let arguments = std::fs::read(process.path().join("cmdline")).unwrap_or_default();
        let arguments = String::from_utf8_lossy(&arguments).into_owned();
        assert!(!arguments.contains(home), "still runs: {arguments}");
    }
}

fn read(path: &Path) -> Value {
    serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap()
}

#[test]
fn a_short_one_reads_every_byte_with_a_node_gone() {
    let home = tempfile::tempdir().unwrap();
    let output = demo(
        home.path(),
        &["--seed", "7", "--objects", "300", "--seconds", "1", "--rate", "40", "--json"],
    );
    let output = { output }.output().unwrap();
    let told = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{told}");
    let document: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(document, read(&home.path().join("out.json")));
    let demo = &document["isotherm"]["demo"];
    assert_eq!((&demo["seed"], &demo["checked"]["objects_right"]), (&7.into(), &300.into()));
    assert_eq!(demo["checked"]["bytes"], 300 << 18);
    assert_eq!(
        (&demo["checked"]["objects_wrong"], &demo["interrupted"]),
        (&0.into(), &false.into())
    );
    let names: Vec<&str> = document["jobs"]
        .as_array()
        .unwrap()
        .iter()
        .map(|job| {
            assert_eq!(job["isotherm"]["broken_promises"], 0);
            job["jobname"].as_str().unwrap()
        })
        .collect();
    assert_eq!(names, ["random", "late", "late, a node gone"]);
    let limping = demo["limping"].as_str().unwrap();
    let killed = demo["killed"].as_str().unwrap();
    assert!(!limping.starts_with(killed), "{limping} was to be there to the end");
    assert!(told.contains("isotherm demo --seed 7") && told.contains(limping), "{told}");
    assert!(told.contains("all 300 objects were read and are what was put"), "{told}");
    let page = std::fs::read_to_string(home.path().join("report.html")).unwrap();
    assert!(page.contains("random against late against late, a node gone"));
    assert_gone(home.path());
}

#[test]
#[expect(clippy::disallowed_methods, reason = "it watches a process")]
fn ctrl_c_reports_what_there_is_and_leaves_nothing() {
    let home = tempfile::tempdir().unwrap();
    let mut command =
        demo(home.path(), &["--objects", "300", "--seconds", "300", "--rate", "40", "--healthy"]);
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut stderr = BufReader::new(child.stderr.take().unwrap());
    let mut told = String::new();
    while !told.contains("put: 300 objects") {
        let before = told.len();
        stderr.read_line(&mut told).unwrap();
        assert!(told.len() > before, "it has ended: {told}");
    }
    std::thread::sleep(Duration::from_secs(4));
    kill(Pid::from_raw(child.id() as i32), Signal::SIGINT).unwrap();
    let begin = Instant::now();
    stderr.read_to_string(&mut told).unwrap();
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(130), "{told}");
    assert!(begin.elapsed() < Duration::from_secs(30), "{:?}", begin.elapsed());
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(text.contains("Stopped: ") && text.contains("Nothing planted"), "{text}");
    let document = read(&home.path().join("out.json"));
    assert_eq!(document["jobs"][0]["jobname"], "random");
    assert_eq!(document["jobs"][0]["isotherm"]["interrupted"], true);
    assert!(document["jobs"][0]["read"]["total_ios"].as_u64().unwrap() > 0);
    assert_eq!(document["isotherm"]["demo"]["killed"], Value::Null);
    assert_gone(home.path());
}

/// Who is killed can't clean up; his nodes end all the same.
#[test]
#[expect(clippy::disallowed_methods, reason = "it watches a process")]
fn nodes_end_with_a_demo_that_is_killed() {
    let home = tempfile::tempdir().unwrap();
    let mut command = demo(home.path(), &["--seconds", "300", "--rate", "40"]);
    let mut child = command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
    let mut stderr = BufReader::new(child.stderr.take().unwrap());
    let mut told = String::new();
    while !told.contains("up: 6 nodes") {
        let before = told.len();
        stderr.read_line(&mut told).unwrap();
        assert!(told.len() > before, "it has ended: {told}");
    }
    child.kill().unwrap();
    child.wait().unwrap();
    let begin = Instant::now();
    let folder = home.path().join("work");
    let is_open = || {
        let nodes = std::fs::read_dir("/proc").unwrap().flatten().filter(|process| {
            let arguments = std::fs::read(process.path().join("cmdline")).unwrap_or_default();
            String::from_utf8_lossy(&arguments).contains(folder.to_str().unwrap())
        });
        nodes.count() > 0
    };
    while is_open() {
        assert!(begin.elapsed() < Duration::from_secs(30), "nodes go on without their demo");
        std::thread::sleep(Duration::from_millis(100));
    }
}

#[test]
fn what_cannot_be_done_is_refused_before_anything_is_made() {
    let home = tempfile::tempdir().unwrap();
    std::fs::create_dir(home.path().join("work")).unwrap();
    for (arguments, hint) in [
        (["--rate", "0"], "from 1 to 2000"),
        (["--seconds", "nan"], "from 1 to 3600"),
        (["--report", "no/such/page.html"], "a folder that exists"),
        (["--out", "."], "a folder that exists"),
    ] {
        let mut command = Command::new(env!("CARGO_BIN_EXE_isotherm"));
        let output = command.current_dir(home.path()).args(["demo", "--dir", "work"]);
        let output = output.args(arguments).output().unwrap();
        let told = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(!output.status.success() && told.contains(hint), "{arguments:?}: {told}");
        assert_eq!(std::fs::read_dir(home.path().join("work")).unwrap().count(), 0);
    }
}

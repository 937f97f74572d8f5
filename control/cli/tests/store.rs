//! The `store` verbs as a person uses them: their answers and their exit codes.

use std::path::PathBuf;
use std::process::{Command, Output, Stdio};

use std::io::Write;

use tempfile::TempDir;

struct Disk {
    dir: TempDir,
}

impl Disk {
    /// A store of 64 extents of 128 KiB.
    fn formatted() -> Disk {
        let disk = Disk { dir: tempfile::tempdir().expect("a folder") };
        let spec = format!("{}?size=8M", disk.device());
        let made = disk.isotherm(&["format", &spec, "--uuid", &"7".repeat(32)], b"");
        assert_eq!(made.status.code(), Some(0), "{made:?}");
        disk
    }

    fn path(&self) -> PathBuf {
        self.dir.path().join("disk.img")
    }

    fn device(&self) -> String {
        self.path().display().to_string()
    }

    /// `isotherm store` with these arguments.
    fn isotherm(&self, arguments: &[&str], input: &[u8]) -> Output {
        let mut command = Command::new(env!("CARGO_BIN_EXE_isotherm"));
        command.arg("store").args(arguments).current_dir(self.dir.path());
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().expect("it runs");
        // A verb that reads no input may be gone already.
        let _ = child.stdin.take().expect("piped").write_all(input);
        child.wait_with_output().expect("it ends")
    }

    /// A verb on this disk: its exit code and standard output.
    fn verb(&self, verb: &str, arguments: &[&str], input: &[u8]) -> (i32, String) {
        let device = self.device();
        let arguments = [&[verb, device.as_str()], arguments].concat();
        let output = self.isotherm(&arguments, input);
        let code = output.status.code().expect("it ends by itself");
        (code, String::from_utf8_lossy(&output.stdout).into_owned())
    }

    fn json(&self, verb: &str, arguments: &[&str]) -> (i32, serde_json::Value) {
        let (code, text) = self.verb(verb, &[arguments, &["--json"]].concat(), b"");
        (code, serde_json::from_str(&text).unwrap_or_else(|error| panic!("{error}: {text}")))
    }

    fn put(&self, key: &str, payload: &[u8]) {
        assert_eq!(self.verb("put", &[key, "-"], payload).0, 0, "put of {key}");
    }

    /// Inverts one byte of a block of an extent.
    fn harm(&self, extent: u64, block: u64, byte: u64) {
        let at = ((extent * 32 + block) * 4096 + byte) as usize;
        let mut bytes = std::fs::read(self.path()).expect("the disk");
        bytes[at] ^= 0xff;
        std::fs::write(self.path(), bytes).expect("the disk");
    }
}

#[test]
fn a_shard_is_put_listed_given_and_deleted() {
    let disk = Disk::formatted();
    let payload: Vec<u8> = (0..50_000u32).map(|i| (i % 253) as u8).collect();
    disk.put("7/2a/0/3", &payload);
    disk.put("7/2a/0/4", b"hello");
    disk.put("8/1/0/0", b"");
    let before = std::fs::read(disk.path()).expect("the disk");
    let (code, listed) = disk.json("ls", &["--group", "7"]);
    assert_eq!((code, listed["entries"].as_array().map(Vec::len)), (0, Some(2)));
    assert_eq!(listed["entries"][1]["key"], format!("7/{:032x}/0/4", 0x2a));
    let (code, page) = disk.json("ls", &["--limit", "1"]);
    assert_eq!((code, page["next"].as_str()), (0, listed["entries"][1]["key"].as_str()));
    let device = disk.device();
    let got = disk.isotherm(&["get", &device, "7/2a/0/3"], b"");
    assert!(got.status.success() && got.stdout == payload);
    let got = disk.isotherm(&["get", &device, "7/2a/0/3", "--range", "1000..1007"], b"");
    assert_eq!(got.stdout, &payload[1000..1007]);
    assert_eq!(disk.verb("get", &["7/2a/0/4", "-o", "out"], b""), (0, String::new()));
    assert_eq!(std::fs::read(disk.dir.path().join("out")).expect("written"), b"hello");
    for verb in ["info", "check", "scrub", "scan"] {
        assert_eq!(disk.json(verb, &[]).0, 0, "{verb}");
    }
    assert_eq!(disk.json("dump", &["1"]).0, 0);
    assert!(std::fs::read(disk.path()).expect("the disk") == before, "reading has written");

    assert_eq!(disk.verb("rm", &["7/2a/0/3"], b"").0, 0);
    assert_eq!(disk.verb("get", &["7/2a/0/3"], b""), (1, String::new()));
    assert_eq!(disk.json("ls", &["--all"]).1["entries"][0]["tombstone"], true);
    assert_eq!(disk.json("ls", &[]).1["entries"].as_array().map(Vec::len), Some(2));
    let (_, info) = disk.json("info", &["--extents"]);
    assert_eq!((&info["entries"], &info["clean"]), (&3.into(), &true.into()));
    assert!(info["extent_rows"].as_array().is_some_and(|rows| rows.len() == 64));
}

#[test]
fn a_disk_that_holds_a_store_is_not_made_one_again() {
    let disk = Disk::formatted();
    disk.put("1/1/0/0", b"kept");
    let device = disk.device();
    let refused = disk.isotherm(&["format", &device], b"");
    assert_eq!(refused.status.code(), Some(1));
    let said = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(said.contains("holds a store already") && said.contains("--destroy"), "{said}");
    assert_eq!(disk.verb("get", &["1/1/0/0"], b""), (0, "kept".to_owned()));
    let other = disk.isotherm(&["format", &device, "--destroy", "/no/such"], b"");
    assert_eq!(other.status.code(), Some(1));
    let forced = disk.isotherm(&["format", &device, "--destroy", &device], b"");
    assert_eq!(forced.status.code(), Some(0), "{forced:?}");
    assert_eq!(disk.json("ls", &["--all"]).1["entries"].as_array().map(Vec::len), Some(0));
}

#[test]
fn the_verdict_comes_first_and_is_the_exit_code() {
    let disk = Disk::formatted();
    disk.put("7/2a/0/3", &[1; 9000]);
    let (code, text) = disk.verb("check", &["--full"], b"");
    assert_eq!((code, text.lines().next()), (0, Some("sound")));
    let (_, listed) = disk.json("ls", &[]);
    let place = |field: &str| listed["entries"][0][field].as_u64().expect("a number");
    disk.harm(place("extent"), place("block") + 1, 77);
    let (code, text) = disk.verb("check", &[], b"");
    assert_eq!((code, text.lines().next()), (0, Some("sound")), "payloads are not read");
    let (code, text) = disk.verb("scrub", &[], b"");
    assert_eq!(code, 1);
    assert!(text.starts_with("damaged: 1 shards"), "{text}");
    assert!(text.contains(&format!("{:032x}", 0x2a)), "{text}");
    assert_eq!(disk.json("check", &["--full"]).1["findings"]["faults"][0]["kind"], "damaged");
    let (code, text) = disk.verb("scan", &[], b"");
    assert_eq!(code, 1, "{text}");
    assert_eq!(disk.verb("get", &["7/2a/0/3"], b""), (1, String::new()));

    // Every check block of both meta extents.
    for extent in [0, 32] {
        for block in 0..32 {
            disk.harm(extent, block, 100);
        }
    }
    let (code, text) = disk.verb("check", &[], b"");
    assert_eq!(code, 2, "nothing says any more that it is a store: {text}");
    assert_eq!(text, "not a store\n");
}

/// What was durable and is gone is a hole: without the index nobody knows what was there.
#[test]
fn a_hole_is_told_as_one() {
    let disk = Disk::formatted();
    disk.put("7/2a/0/3", b"lost");
    disk.put("7/2b/0/3", b"kept");
    disk.harm(1, 1, 100);
    let (code, text) = disk.verb("check", &["--full-scan"], b"");
    assert_eq!(code, 1);
    assert!(text.starts_with("holes: ") && text.contains("from 1:1"), "{text}");
    let (code, told) = disk.json("check", &["--full"]);
    assert_eq!((code, &told["verdict"]), (1, &"damaged".into()));
    assert_eq!(told["findings"]["faults"][0]["kind"], "missing");
    assert_eq!(disk.verb("get", &["7/2b/0/3"], b""), (0, "kept".to_owned()));
}

#[test]
fn what_is_no_store_is_not_judged_and_not_written() {
    let disk = Disk { dir: tempfile::tempdir().expect("a folder") };
    std::fs::write(disk.path(), vec![0xabu8; 8 << 20]).expect("a file");
    for verb in ["check", "scrub", "scan"] {
        let (code, told) = disk.json(verb, &[]);
        assert_eq!((code, &told["verdict"]), (2, &"not a store".into()), "{verb}");
    }
    for arguments in [&["info"][..], &["ls"], &["dump", "0"], &["get", "1/1/0/0"]] {
        assert_eq!(disk.verb(arguments[0], &arguments[1..], b"").0, 1, "{arguments:?}");
    }
    assert_eq!(disk.verb("put", &["1/1/0/0", "-"], b"x").0, 1);
    assert_eq!(disk.verb("rm", &["1/1/0/0"], b"").0, 1);
    assert!(std::fs::read(disk.path()).expect("there").iter().all(|byte| *byte == 0xab));
    assert_eq!(disk.isotherm(&["check", "/no/such.img"], b"").status.code(), Some(2));
    assert_eq!(disk.isotherm(&["put", &disk.device(), "1/1/0", "-"], b"").status.code(), Some(2));
}

#[test]
fn checkpoints_that_are_lost_are_got_round_by_a_full_scan() {
    let disk = Disk::formatted();
    disk.put("7/2a/0/3", b"found again");
    // The payloads of all checkpoints; their check blocks still say that this is a store.
    for extent in [0, 32] {
        for block in (1..32).step_by(2) {
            disk.harm(extent, block, 10);
        }
    }
    let (code, text) = disk.verb("check", &[], b"");
    assert_eq!(code, 1);
    assert!(text.starts_with("damaged: ") && text.contains("--full-scan"), "{text}");
    let (code, told) = disk.json("scan", &[]);
    assert_eq!((code, &told["verdict"], &told["shards"]), (1, &"no index".into(), &1.into()));
    let got = disk.verb("get", &["7/2a/0/3", "--full-scan"], b"");
    assert_eq!(got, (0, "found again".to_owned()));
    assert_eq!(disk.verb("put", &["7/2b/0/3", "-", "--full-scan"], b"more").0, 0);
    let (code, text) = disk.verb("check", &["--full"], b"");
    assert_eq!((code, text.lines().next()), (0, Some("sound")), "{text}");
}

#[test]
fn a_dump_tells_a_block_in_full() {
    let disk = Disk::formatted();
    disk.put("7/2a/0/3", b"hello");
    let (code, text) = disk.verb("dump", &["1"], b"");
    assert_eq!(code, 0);
    let kinds: Vec<&str> = text.lines().filter_map(|line| line.split_whitespace().nth(1)).collect();
    assert_eq!(kinds, ["head", "data", "mark", "zeros"], "{text}");
    let (code, text) = disk.verb("dump", &["1:1", "--hex"], b"");
    assert_eq!(code, 0);
    assert!(text.contains("kills nothing") && text.contains("0000  49736f42"), "{text}");
    assert_eq!(disk.verb("dump", &["64"], b"").0, 1);
    assert_eq!(disk.verb("dump", &["1:32"], b"").0, 1);
}

#[test]
fn a_bench_in_virtual_time_is_the_same_each_time() {
    let disk = Disk { dir: tempfile::tempdir().expect("a folder") };
    let run = |device: &str, more: &[&str]| {
        let arguments =
            [&["bench", device, "--shard-bytes", "4k..64k", "--inflight", "4", "--json"][..], more]
                .concat();
        let output = disk.isotherm(&arguments, b"");
        assert_eq!(output.status.code(), Some(0), "{output:?}");
        let mut told: serde_json::Value =
            serde_json::from_slice(&output.stdout).expect("a document");
        for phase in told["phases"].as_array_mut().expect("phases") {
            phase["cpu_us_per_op"] = serde_json::Value::Null;
        }
        told
    };
    let more = ["--virtual", "--ops", "put,get,mixed", "--runtime", "2", "--fill", "20"];
    let first = run("hdd:exos-x24,memory:64M", &more);
    assert_eq!(first, run("hdd:exos-x24,memory:64M", &more));
    let phases = first["phases"].as_array().expect("phases");
    assert_eq!(phases.len(), 3);
    assert_eq!(phases[1]["device_reads_per_get"], 1.0, "one seek for a read");
    assert!(phases[0]["puts"]["count"].as_u64().is_some_and(|count| count > 0));
    assert_eq!(phases[2]["wrong_bytes"], 0);

    // A file is not made a store unless it is new, or that is said.
    let spec = format!("{}?size=32M", disk.device());
    run(&spec, &["--runtime", "0.1", "--keys", "20", "--ops", "get"]);
    let listed = disk.json("ls", &[]).1;
    assert_eq!(listed["entries"].as_array().map(Vec::len), Some(20));
    assert_eq!(disk.verb("check", &["--full"], b"").0, 0);
    std::fs::write(disk.path(), vec![0; 32 << 20]).expect("a file");
    assert_eq!(
        disk.isotherm(&["bench", &disk.device(), "--runtime", "0.1"], b"").status.code(),
        Some(1)
    );
    assert!(std::fs::read(disk.path()).expect("there").iter().all(|byte| *byte == 0));
    assert_eq!(disk.isotherm(&["bench", "null:1G"], b"").status.code(), Some(1));
}

#[test]
fn a_reader_that_stops_is_no_reason_to_complain() {
    let disk = Disk::formatted();
    let (reader, writer) = std::io::pipe().expect("a pipe");
    drop(reader);
    let output = Command::new(env!("CARGO_BIN_EXE_isotherm"))
        .args(["store", "info", &disk.device()])
        .stdout(writer)
        .output()
        .expect("it runs");
    assert_eq!(String::from_utf8_lossy(&output.stderr), "");
}

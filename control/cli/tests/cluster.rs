//! A cluster of real processes on loopback: files in, files out, nodes killed.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use serde_json::Value;

/// A cluster that goes with its test.
struct Cluster {
    folder: tempfile::TempDir,
}

fn isotherm(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_isotherm")).args(arguments).output().unwrap()
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

impl Cluster {
    fn up(arguments: &[&str]) -> Cluster {
        let cluster = Cluster { folder: tempfile::tempdir().unwrap() };
        let dir = cluster.dir();
        let dir = dir.to_str().unwrap();
        let output = isotherm(&[&["cluster", "up", "--dir", dir], arguments].concat());
        assert!(output.status.success(), "{}", said(&output));
        cluster
    }

    fn dir(&self) -> PathBuf {
        self.folder.path().join("cluster")
    }

    fn run(&self, arguments: &[&str]) -> Output {
        let dir = self.dir();
        let program = env!("CARGO_BIN_EXE_isotherm");
        Command::new(program).env("ISOTHERM_CLUSTER", dir).args(arguments).output().unwrap()
    }

    fn put(&self, path: &Path) -> String {
        let output = self.run(&["put", path.to_str().unwrap()]);
        assert!(output.status.success(), "{}", said(&output));
        String::from_utf8(output.stdout).unwrap().trim().to_owned()
    }

    fn get(&self, locator: &str) -> Result<Vec<u8>, String> {
        let output = self.run(&["get", locator]);
        if output.status.success() { Ok(output.stdout) } else { Err(said(&output)) }
    }

    fn pid(&self, node: &str) -> String {
        std::fs::read_to_string(self.dir().join(node).join("pid")).unwrap()
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

fn bytes(len: usize) -> Vec<u8> {
    (0..len as u32).flat_map(|i| i.wrapping_mul(0x9e37_79b9).to_le_bytes()).take(len).collect()
}

#[test]
fn files_go_in_and_come_out_through_death_and_repair() {
    let cluster = Cluster::up(&["--size", "256M"]);
    let file = cluster.folder.path().join("file");
    let mut kept = Vec::new();
    for len in [0, 5_000, 1 << 20, 9_000_000] {
        std::fs::write(&file, bytes(len)).unwrap();
        kept.push((cluster.put(&file), len));
    }
    for (locator, len) in &kept {
        assert!(cluster.get(locator) == Ok(bytes(*len)), "{len}");
    }
    let (long, len) = kept.last().unwrap();
    let output = cluster.run(&["get", long, "--range", "1000000-8000000"]);
    assert!(output.stdout == bytes(*len)[1_000_000..8_000_000]);

    assert!(Command::new("kill").args(["-9", &cluster.pid("node3")]).status().unwrap().success());
    for (locator, len) in &kept {
        assert!(cluster.get(locator) == Ok(bytes(*len)), "{len}, with a node gone");
    }
    let status = cluster.run(&["cluster", "status", "--json"]);
    assert!(!status.status.success(), "a disk is gone");
    std::fs::write(&file, bytes(3_000_000)).unwrap();
    let written_without = cluster.put(&file);

    let output = cluster.run(&["cluster", "up"]);
    assert!(output.status.success(), "{}", said(&output));
    let output = cluster.run(&["repair", "--json"]);
    assert!(output.status.success(), "{}", said(&output));
    let stat = cluster.run(&["stat", &written_without, "--json"]);
    let stat: Value = serde_json::from_slice(&stat.stdout).unwrap();
    assert_eq!((&stat["cells_bad"], &stat["survives_losses"]), (&0.into(), &2.into()), "{stat:#}");

    // The cluster grows under what it holds.
    let output = cluster.run(&["cluster", "grow", "--nodes", "1", "--size", "256M"]);
    assert!(output.status.success(), "{}", said(&output));
    assert!(String::from_utf8_lossy(&output.stdout).starts_with("map version 2: 7 nodes"));
    for (locator, len) in &kept {
        assert!(cluster.get(locator) == Ok(bytes(*len)), "{len}, in a cluster that has grown");
    }

    let (gone, _) = &kept[1];
    let output = cluster.run(&["rm", gone]);
    assert!(output.status.success(), "{}", said(&output));
    assert!(cluster.get(gone).unwrap_err().contains("deleted"));
    assert!(cluster.get("iso-nonsense").unwrap_err().contains("locator"));
}

#[test]
fn nodes_are_killed_under_load_and_nothing_is_lost() {
    let cluster = Cluster::up(&["--size", "512M"]);
    let rounds = std::env::var("ISOTHERM_ROUNDS").unwrap_or_else(|_| "3".to_owned());
    let output = cluster.run(&["cluster", "drill", "--rounds", &rounds, "--load", "0.6", "--json"]);
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{text}\n{}", said(&output));
    let verdict: Value = serde_json::from_str(&text).unwrap();
    assert_eq!(verdict["broken_promises"].as_array().unwrap().len(), 0);
    assert!(verdict["puts_with_a_node_gone"].as_u64().unwrap() > 0, "{text}");
    assert!(verdict["gets_with_a_node_gone"].as_u64().unwrap() > 0, "{text}");
}

#[test]
fn a_folder_that_is_no_cluster_is_left_alone() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("mine"), "mine").unwrap();
    let dir = folder.path().to_str().unwrap();
    let output = isotherm(&["cluster", "up", "--dir", dir]);
    assert!(!output.status.success() && said(&output).contains("not empty"), "{}", said(&output));
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
    let output = isotherm(&["get", "iso-x", "--cluster", dir]);
    assert!(!output.status.success());
    let output = isotherm(&["cluster", "status", "--dir", dir]);
    assert!(said(&output).contains("cluster up"), "{}", said(&output));
}

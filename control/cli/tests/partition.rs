//! A cluster whose nodes are cut off one after the other. Needs root, network namespaces and
//! iproute2, so it is ignored unless asked for; where something is missing it says so and returns.

use std::path::Path;
use std::process::{Command, Output};

use serde_json::Value;

fn isotherm(dir: &Path, arguments: &[&str]) -> Output {
    let program = env!("CARGO_BIN_EXE_isotherm");
    Command::new(program).env("ISOTHERM_CLUSTER", dir).args(arguments).output().unwrap()
}

/// The cluster's processes end with the test, however it ends.
struct Down<'a>(&'a Path);

impl Drop for Down<'_> {
    fn drop(&mut self) {
        let output = isotherm(self.0, &["cluster", "down"]);
        if !std::thread::panicking() {
            assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        }
    }
}

#[test]
#[ignore = "needs root and network namespaces"]
fn root_a_node_is_cut_off_and_nothing_is_lost() {
    let path = format!("{}:/usr/sbin:/sbin", std::env::var("PATH").unwrap_or_default());
    let tools = "command -v ip >/dev/null || { echo 'iproute2 is missing'; exit 1; }; \
                 unshare --net ip link add name a type veth peer name b";
    let probe = Command::new("sh").args(["-c", tools]).env("PATH", path).output().unwrap();
    if !probe.status.success() {
        let said = [probe.stdout, probe.stderr].concat();
        println!("skipped: {}", String::from_utf8_lossy(&said).trim());
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let dir = folder.path().join("cluster");
    let output = isotherm(&dir, &["cluster", "up", "--size", "512M"]);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let _down = Down(&dir);
    let rounds = std::env::var("ISOTHERM_ROUNDS").unwrap_or_else(|_| "4".to_owned());
    let drill = ["cluster", "drill", "--partition", "--rounds", &rounds, "--load", "0.6", "--json"];
    let output = isotherm(&dir, &drill);
    let (text, said) =
        (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{text}\n{said}");
    let verdict: Value = serde_json::from_str(&text).unwrap();
    assert_eq!(verdict["broken_promises"].as_array().unwrap().len(), 0, "{text}");
    let count = |name: &str| verdict[name].as_u64().unwrap();
    // It goes on while one of six is cut off.
    assert!(count("puts_with_a_node_gone") > 10 * count("puts_refused"), "{text}");
    assert!(count("gets_with_a_node_gone") > 10 * count("gets_refused"), "{text}");
    assert!(count("deletes_with_a_node_gone") > 0, "{text}");
    // The cluster is where it was.
    let output = isotherm(&dir, &["cluster", "status"]);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
    assert!(!dir.join("partition").exists());
}

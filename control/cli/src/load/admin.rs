//! How busy disks are, as their nodes say over HTTP, asked once a second by a thread of its own.
//!
//! What must always hold: a node that does not answer holds up nobody for long: its disks say
//! nothing for that second. Nothing is asked once the run is over.

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, sync_channel};
use std::time::Duration;

use anyhow::Context;
use isotherm_objects::Worked;
use isotherm_placement::{ClusterMap, NodeNo};
use isotherm_seam::Nanos;
use serde_json::Value;

const EVERY: Duration = Duration::from_secs(1);
/// How long a node may take to answer.
const PATIENCE: Duration = Duration::from_millis(300);
/// Answers that wait to be looked at; more are dropped.
const ANSWERS: usize = 8;
/// An answer is no longer: some hundred disks.
const ANSWER_BYTES_MAX: u64 = 4 << 20;

/// Asks the nodes of a cluster. It ends when this is dropped.
pub(super) struct Admin {
    names: Vec<String>,
    asked: Rc<Receiver<Vec<Worked>>>,
    is_over: Arc<AtomicBool>,
}

impl Admin {
    /// Begins to ask the nodes that have an address for it.
    pub(super) fn start(map: &ClusterMap) -> anyhow::Result<Admin> {
        let mut names = Vec::new();
        // By number of the disk as its node writes it: which place it has.
        let mut places: BTreeMap<String, usize> = BTreeMap::new();
        let admins: BTreeMap<NodeNo, SocketAddr> =
            map.nodes.iter().filter_map(|node| Some((node.no, node.admin?))).collect();
        for disk in map.disks.iter().filter(|disk| admins.contains_key(&disk.node)) {
            let node = map.node(disk.node).map_or("", |node| node.name.as_str());
            places.insert(isotherm_store::uuid_text(&disk.uuid), names.len());
            names.push(format!("{node} {}", disk.name));
        }
        let (tell, asked) = sync_channel(ANSWERS);
        let is_over = Arc::new(AtomicBool::new(false));
        let over = Arc::clone(&is_over);
        if !names.is_empty() {
            let count = names.len();
            std::thread::Builder::new()
                .name("admin".to_owned())
                .spawn(move || {
                    while !over.load(Ordering::Relaxed) {
                        let mut worked = vec![None; count];
                        for admin in admins.values() {
                            take(&ask(*admin).unwrap_or(Value::Null), &places, &mut worked);
                        }
                        // Nobody looks: these are of no use.
                        let _ = tell.try_send(worked);
                        pause();
                    }
                })
                .context("no thread to ask the nodes")?;
        }
        Ok(Admin { names, asked: Rc::new(asked), is_over })
    }

    /// The disks that are asked.
    pub(super) fn names(&self) -> &[String] {
        &self.names
    }

    /// What they said, in the order of their names.
    pub(super) fn asked(&self) -> Rc<Receiver<Vec<Worked>>> {
        Rc::clone(&self.asked)
    }
}

impl Drop for Admin {
    fn drop(&mut self) {
        self.is_over.store(true, Ordering::Relaxed);
    }
}

#[expect(clippy::disallowed_methods, reason = "a thread of the binary's own, beside the run")]
fn pause() {
    std::thread::sleep(EVERY);
}

/// The disks of a node as it tells them.
fn ask(admin: SocketAddr) -> Option<Value> {
    let mut stream = TcpStream::connect_timeout(&admin, PATIENCE).ok()?;
    stream.set_read_timeout(Some(PATIENCE)).ok()?;
    stream.set_write_timeout(Some(PATIENCE)).ok()?;
    stream.write_all(b"GET /disks HTTP/1.1\r\nhost: node\r\nconnection: close\r\n\r\n").ok()?;
    let mut answer = Vec::new();
    stream.take(ANSWER_BYTES_MAX).read_to_end(&mut answer).ok()?;
    let body = answer.windows(4).position(|four| four == b"\r\n\r\n")? + 4;
    serde_json::from_slice(&answer[body..]).ok()
}

fn take(told: &Value, places: &BTreeMap<String, usize>, worked: &mut [Worked]) {
    for disk in told["disks"].as_array().into_iter().flatten() {
        let place = disk["uuid"].as_str().and_then(|uuid| places.get(uuid));
        let seconds = disk["disk_time_seconds"].as_f64().filter(|_| disk["state"] == "open");
        if let (Some(&place), Some(seconds)) = (place, seconds) {
            worked[place] = Some(Nanos::from_secs_f64(seconds));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn disks_are_known_by_their_number() {
        let places = BTreeMap::from([("aa".to_owned(), 1), ("bb".to_owned(), 0)]);
        let mut worked = vec![None; 3];
        let told = json!({ "disks": [
            { "uuid": "aa", "state": "open", "disk_time_seconds": 1.5 },
            { "uuid": "bb", "state": "failed", "disk_time_seconds": 0.0 },
            { "uuid": "cc", "state": "open", "disk_time_seconds": 9.0 },
        ] });
        take(&told, &places, &mut worked);
        assert_eq!(worked, [None, Some(Nanos::from_millis(1_500)), None]);
        take(&Value::Null, &places, &mut worked);
        assert_eq!(worked[1], Some(Nanos::from_millis(1_500)));
    }
}

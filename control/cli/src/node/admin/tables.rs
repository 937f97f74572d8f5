//! Reports as JSON. Every unit stands in its name; times are in seconds, sizes in bytes.

use isotherm_node::{LATENCY_BINS, ShelfReport, ShelfState, Tally, bin_floor};
use isotherm_seam::Nanos;
use isotherm_store::{RecoveryReport, Status, uuid_text};
use isotherm_wire::Failure;
use serde_json::{Map, Value, json};

use super::{Heard, Seen};

/// Seconds of a time.
pub(super) fn seconds(length: Nanos) -> f64 {
    length.0 as f64 / 1e9
}

/// The word for how a disk is.
pub(super) fn state_word(state: &ShelfState) -> &'static str {
    match state {
        ShelfState::Opening => "opening",
        ShelfState::Open(_) => "open",
        ShelfState::Failed(_) => "failed",
        ShelfState::Closed => "closed",
    }
}

/// The word for a failure: `NotFound` is `not_found`.
pub(super) fn failure_word(failure: Failure) -> String {
    let name = format!("{failure:?}");
    let name = name.split(' ').next().unwrap_or_default();
    let mut word = String::new();
    for (at, letter) in name.char_indices() {
        if at > 0 && letter.is_ascii_uppercase() {
            word.push('_');
        }
        word.push(letter.to_ascii_lowercase());
    }
    word
}

/// Bytes of the disk, and of the extents that puts may still open.
pub(super) fn space(status: &Status) -> (u64, u64) {
    let extents = &status.extents;
    let all = extents.meta
        + extents.free
        + extents.open
        + extents.sealed
        + extents.dead
        + extents.offline
        + extents.suspect;
    (u64::from(all) * status.extent_bytes, u64::from(status.room_extents) * status.extent_bytes)
}

/// How the cores are that gave no report.
fn silent(seen: &Seen) -> (Vec<usize>, Vec<usize>) {
    let numbers = |is: fn(&Heard) -> bool| {
        let cores = seen.cores.iter().enumerate();
        cores.filter(|(_, core)| is(core)).map(|(number, _)| number).collect()
    };
    (numbers(|core| matches!(core, Heard::Stuck)), numbers(|core| matches!(core, Heard::Ended)))
}

fn with_silent(seen: &Seen, mut told: Map<String, Value>) -> Value {
    let (stuck, ended) = silent(seen);
    told.insert("cores_stuck".into(), json!(stuck));
    told.insert("cores_ended".into(), json!(ended));
    Value::Object(told)
}

fn object(value: Value) -> Map<String, Value> {
    match value {
        Value::Object(map) => map,
        _ => Map::new(),
    }
}

pub(super) fn health(seen: &Seen) -> Value {
    let count =
        |word: &str| seen.disks().filter(|(_, disk)| state_word(&disk.state) == word).count();
    let open = |test: fn(&Status) -> bool| {
        let is = |disk: &ShelfReport| match &disk.state {
            ShelfState::Open(open) => test(&open.0),
            _ => false,
        };
        seen.disks().filter(|(_, disk)| is(disk)).count()
    };
    let told = json!({
        "name": seen.name,
        "well": seen.is_well(),
        "disks": seen.disks().count(),
        "disks_open": count("open"),
        "disks_opening": count("opening"),
        "disks_failed": count("failed"),
        "disks_closed": count("closed"),
        "disks_stuck": seen.disks().filter(|(_, disk)| disk.stuck.is_some()).count(),
        "disks_fenced": open(|status| status.fenced),
        "disks_retired": open(|status| status.retired),
        "stopping": seen.reports().any(|report| report.node.stopping),
        "cores": seen.cores.len(),
    });
    with_silent(seen, object(told))
}

pub(super) fn disks(seen: &Seen) -> Value {
    let disks: Vec<Value> = seen.disks().map(|(core, disk)| row(core, disk)).collect();
    with_silent(seen, object(json!({ "name": seen.name, "disks": disks })))
}

fn row(core: u16, disk: &ShelfReport) -> Value {
    let mut told = object(json!({
        "name": disk.name,
        "uuid": uuid_text(&disk.uuid),
        "core": core,
        "state": state_word(&disk.state),
        "requests": disk.requests,
        "expected_wait_seconds": seconds(disk.expected_wait),
        "disk_time_seconds": seconds(disk.disk_time),
        "tally": tally(&disk.tally),
    }));
    if let Some(stuck) = disk.stuck {
        told.insert("stuck_seconds".into(), json!(seconds(stuck)));
    }
    match &disk.state {
        ShelfState::Failed(why) => {
            told.insert("why".into(), json!(why));
        }
        ShelfState::Open(open) => {
            let (status, recovery) = &**open;
            told.insert("space".into(), space_row(status));
            told.insert("fenced".into(), json!(status.fenced));
            told.insert("retired".into(), json!(status.retired));
            told.insert("doubt".into(), json!(disk.doubt.word()));
            told.insert("recovery".into(), recovery_row(recovery));
        }
        ShelfState::Opening | ShelfState::Closed => {}
    }
    Value::Object(told)
}

fn space_row(status: &Status) -> Value {
    let (capacity_bytes, free_bytes) = space(status);
    let extents = &status.extents;
    json!({
        "capacity_bytes": capacity_bytes,
        "free_bytes": free_bytes,
        "live_bytes": status.live_bytes,
        "shards": status.entries,
        "shards_room": status.entries_left,
        "index_memory_bytes": status.index_bytes,
        "index_runs": status.runs,
        "extent_bytes": status.extent_bytes,
        "extents": {
            "meta": extents.meta,
            "free": extents.free,
            "open": extents.open,
            "sealed": extents.sealed,
            "dead": extents.dead,
            "offline": extents.offline,
            "suspect": extents.suspect,
        },
    })
}

fn recovery_row(recovery: &RecoveryReport) -> Value {
    let holes = |holes: &[isotherm_store::Hole]| -> Vec<Value> {
        let hole = |hole: &isotherm_store::Hole| json!({ "extent": hole.extent.0, "block": hole.block, "blocks": hole.blocks });
        holes.iter().map(hole).collect()
    };
    json!({
        "clean": recovery.clean,
        "checkpoint": recovery.checkpoint,
        "checkpoint_damaged": recovery.checkpoint_damaged,
        "full_scan": recovery.full_scan,
        "run_entries": recovery.run_entries,
        "extents_read": recovery.extents_read,
        "records_replayed": recovery.records_replayed,
        "records_torn": recovery.records_torn,
        "unreadable_blocks": recovery.unreadable_blocks,
        "holes": holes(&recovery.holes),
        "broken": holes(&recovery.broken),
    })
}

fn tally(tally: &Tally) -> Value {
    let done = Tally::VERBS.iter().zip(tally.done);
    let done: Map<String, Value> =
        done.map(|(verb, count)| ((*verb).to_owned(), json!(count))).collect();
    let failed = Failure::ALL.iter().zip(tally.failed);
    let failed: Map<String, Value> = failed
        .filter(|(_, count)| *count > 0)
        .map(|((_, failure), count)| (failure_word(*failure), json!(count)))
        .collect();
    json!({
        "done": done,
        "failed": failed,
        "given_bytes": tally.given_bytes,
        "taken_bytes": tally.taken_bytes,
        "unwanted": tally.unwanted,
    })
}

pub(super) fn queues(seen: &Seen) -> Value {
    let core = |(number, core): (usize, &Heard)| {
        let report = match core {
            Heard::Report(report) => report,
            Heard::Stuck => return json!({ "core": number, "state": "stuck" }),
            Heard::Ended => return json!({ "core": number, "state": "ended" }),
        };
        let disk = |disk: &ShelfReport| {
            json!({
                "name": disk.name,
                "uuid": uuid_text(&disk.uuid),
                "requests": disk.requests,
                "expected_wait_seconds": seconds(disk.expected_wait),
            })
        };
        json!({
            "core": number,
            "state": if report.node.stopping { "stopping" } else { "serving" },
            "address": report.addr.to_string(),
            "sessions": report.node.sessions,
            "requests": report.node.requests,
            "refused": report.node.refused,
            "busy_seconds": report.reactor.busy_ns as f64 / 1e9,
            "idle_seconds": report.reactor.idle_ns as f64 / 1e9,
            "stalls": report.reactor.stalls,
            "connections": report.quic.connections,
            "handshakes_under_way": report.quic.half_open,
            "disks": report.node.disks.iter().map(disk).collect::<Vec<_>>(),
        })
    };
    let cores: Vec<Value> = seen.cores.iter().enumerate().map(core).collect();
    with_silent(seen, object(json!({ "name": seen.name, "cores": cores })))
}

pub(super) fn histograms(seen: &Seen) -> Value {
    let disks: Vec<Value> = seen
        .disks()
        .map(|(core, disk)| {
            let tally = &disk.tally;
            json!({
                "name": disk.name,
                "uuid": uuid_text(&disk.uuid),
                "core": core,
                "get": histogram(&tally.get_latency, tally.get_ns),
                "put": histogram(&tally.put_latency, tally.put_ns),
            })
        })
        .collect();
    with_silent(seen, object(json!({ "name": seen.name, "disks": disks })))
}

/// Only the bins that hold something; the last has no upper end.
fn histogram(bins: &[u64; LATENCY_BINS], sum_ns: u64) -> Value {
    let seconds_of = |bin| bin_floor(bin) as f64 / 1e9;
    let filled: Vec<Value> = (0..LATENCY_BINS)
        .filter(|&bin| bins[bin] > 0)
        .map(|bin| {
            let from = if bin == 0 { 0.0 } else { seconds_of(bin) };
            let until = (bin + 1 < LATENCY_BINS).then(|| seconds_of(bin + 1));
            json!({ "from_seconds": from, "until_seconds": until, "count": bins[bin] })
        })
        .collect();
    json!({
        "count": bins.iter().sum::<u64>(),
        "sum_seconds": sum_ns as f64 / 1e9,
        "bins": filled,
    })
}

//! Reports as Prometheus reads them: text format 0.0.4, base units, one family after the other.
//!
//! What must always hold: a family has one HELP and one TYPE before all its samples; totals end in
//! `_total`; no series stands twice. `check` in the tests says it in code.

use std::fmt::{Display, Write};

use isotherm_node::{LATENCY_BINS, ShelfReport, ShelfState, Tally, bin_floor};
use isotherm_seam::Nanos;
use isotherm_store::{Status, uuid_text};
use isotherm_wire::Failure;

use super::super::core::CoreReport;
use super::tables::{failure_word, seconds, space, state_word};
use super::{Heard, Seen};

const STATES: [&str; 4] = ["opening", "open", "failed", "closed"];

/// The page under construction.
struct Page(String);

/// A label and its value.
type Label<'a> = (&'a str, &'a str);

impl Page {
    fn family(&mut self, name: &str, kind: &str, help: &str) {
        let _ = writeln!(self.0, "# HELP {name} {help}\n# TYPE {name} {kind}");
    }

    fn sample(&mut self, name: &str, labels: &[Label<'_>], value: impl Display) {
        self.0.push_str(name);
        for (at, (label, text)) in labels.iter().enumerate() {
            self.0.push(if at == 0 { '{' } else { ',' });
            let _ = write!(self.0, "{label}=\"{}\"", escaped(text));
        }
        let end = if labels.is_empty() { "" } else { "}" };
        let _ = writeln!(self.0, "{end} {value}");
    }
}

fn escaped(text: &str) -> String {
    text.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
}

/// The whole page.
pub(super) fn text(seen: &Seen) -> String {
    let mut page = Page(String::with_capacity(64 << 10));
    page.family("isotherm_core_up", "gauge", "1 if the core answers.");
    for (number, core) in seen.cores.iter().enumerate() {
        let up = u8::from(matches!(core, Heard::Report(_)));
        page.sample("isotherm_core_up", &[("core", &number.to_string())], up);
    }
    cores(&mut page, seen);
    network(&mut page, seen);
    disks(&mut page, seen);
    open_disks(&mut page, seen);
    requests(&mut page, seen);
    latencies(&mut page, seen);
    page.0
}

/// A family with one number of each core.
type OfCore = (&'static str, &'static str, &'static str, fn(&CoreReport) -> f64);

fn cores(page: &mut Page, seen: &Seen) {
    const FAMILIES: [OfCore; 11] = [
        ("isotherm_core_sessions", "gauge", "Sessions that are open.", |r| r.node.sessions as f64),
        ("isotherm_core_requests", "gauge", "Requests under way.", |r| f64::from(r.node.requests)),
        (
            "isotherm_core_refused_total",
            "counter",
            "Requests and sessions refused because they made no sense or there was no room.",
            |r| r.node.refused as f64,
        ),
        ("isotherm_core_stopping", "gauge", "1 while the core is being stopped.", |r| {
            f64::from(u8::from(r.node.stopping))
        }),
        ("isotherm_core_turns_total", "counter", "Turns of the loop.", |r| r.reactor.turns as f64),
        ("isotherm_core_polls_total", "counter", "Times that a task was run.", |r| {
            r.reactor.polls as f64
        }),
        ("isotherm_core_parks_total", "counter", "Times that the core slept.", |r| {
            r.reactor.parks as f64
        }),
        (
            "isotherm_core_spins_total",
            "counter",
            "Turns taken where the core could have slept.",
            |r| r.reactor.spins as f64,
        ),
        (
            "isotherm_core_stalls_total",
            "counter",
            "Times that a task held the core for longer than allowed.",
            |r| r.reactor.stalls as f64,
        ),
        (
            "isotherm_core_busy_seconds_total",
            "counter",
            "Time in turns that found something to do.",
            |r| r.reactor.busy_ns as f64 / 1e9,
        ),
        (
            "isotherm_core_idle_seconds_total",
            "counter",
            "Time asleep, and in turns that found nothing.",
            |r| r.reactor.idle_ns as f64 / 1e9,
        ),
    ];
    of_cores(page, seen, &FAMILIES);
}

fn of_cores(page: &mut Page, seen: &Seen, families: &[OfCore]) {
    for (name, kind, help, value) in families {
        page.family(name, kind, help);
        for report in seen.reports() {
            page.sample(name, &[("core", &report.core.to_string())], value(report));
        }
    }
}

fn network(page: &mut Page, seen: &Seen) {
    const FAMILIES: [OfCore; 9] = [
        ("isotherm_quic_connections", "gauge", "Connections now.", |r| r.quic.connections as f64),
        ("isotherm_quic_half_open", "gauge", "Incoming handshakes under way.", |r| {
            r.quic.half_open as f64
        }),
        ("isotherm_quic_requests_total", "counter", "Requests handed over.", |r| {
            r.quic.requests as f64
        }),
        (
            "isotherm_quic_held_bytes",
            "gauge",
            "Bytes of requests that nobody has taken yet.",
            |r| r.quic.held_bytes as f64,
        ),
        (
            "isotherm_quic_refused_held_total",
            "counter",
            "Requests refused for want of room.",
            |r| r.quic.refused_held as f64,
        ),
        ("isotherm_quic_garbled_total", "counter", "Requests that could not be read.", |r| {
            r.quic.garbled as f64
        }),
        ("isotherm_quic_streams_reset_total", "counter", "Streams that a peer cut.", |r| {
            r.quic.streams_reset as f64
        }),
        ("isotherm_quic_packets_lost_total", "counter", "Packets declared lost.", |r| {
            r.quic.packets_lost as f64
        }),
        ("isotherm_quic_sends_full_total", "counter", "Times that the socket had no room.", |r| {
            r.quic.sends_full as f64
        }),
    ];
    of_cores(page, seen, &FAMILIES);
    let both = [
        ("isotherm_quic_datagrams_total", "Datagrams, junk included."),
        ("isotherm_quic_bytes_total", "Bytes of datagrams."),
    ];
    for (name, help) in both {
        page.family(name, "counter", help);
        for report in seen.reports() {
            let (core, quic) = (report.core.to_string(), &report.quic);
            let (received, sent) = match name {
                "isotherm_quic_datagrams_total" => (quic.datagrams_in, quic.datagrams_out),
                _ => (quic.bytes_in, quic.bytes_out),
            };
            page.sample(name, &[("core", &core), ("direction", "in")], received);
            page.sample(name, &[("core", &core), ("direction", "out")], sent);
        }
    }
    let handshakes = "isotherm_quic_handshakes_total";
    page.family(handshakes, "counter", "Handshakes by how they ended.");
    for report in seen.reports() {
        let (core, quic) = (report.core.to_string(), &report.quic);
        let outcomes = [
            ("done", quic.handshakes),
            ("untrusted", quic.refused_untrusted),
            ("protocol", quic.refused_protocol),
            ("silent", quic.refused_silent),
            ("full", quic.refused_full),
            ("half_open", quic.ignored_half_open),
            ("retry", quic.retries),
        ];
        for (outcome, count) in outcomes {
            page.sample(handshakes, &[("core", &core), ("outcome", outcome)], count);
        }
    }
    let lost = "isotherm_quic_connections_lost_total";
    page.family(lost, "counter", "Connections that ended, by why.");
    for report in seen.reports() {
        let (core, quic) = (report.core.to_string(), &report.quic);
        let causes = [
            ("closed", quic.lost_closed),
            ("silent", quic.lost_silent),
            ("reset", quic.lost_reset),
            ("protocol", quic.lost_protocol),
            ("panic", quic.panics),
        ];
        for (cause, count) in causes {
            page.sample(lost, &[("core", &core), ("cause", cause)], count);
        }
    }
}

/// The labels that name a disk.
struct DiskLabels {
    core: String,
    disk: String,
    uuid: String,
}

impl DiskLabels {
    fn of(core: u16, disk: &ShelfReport) -> DiskLabels {
        DiskLabels { core: core.to_string(), disk: disk.name.clone(), uuid: uuid_text(&disk.uuid) }
    }

    fn with<'a>(&'a self, more: &[Label<'a>]) -> Vec<Label<'a>> {
        let own = [("core", &*self.core), ("disk", &*self.disk), ("uuid", &*self.uuid)];
        own.into_iter().chain(more.iter().copied()).collect()
    }
}

fn disks(page: &mut Page, seen: &Seen) {
    let name = "isotherm_disk_state";
    page.family(name, "gauge", "1 for the state that the disk is in.");
    for (core, disk) in seen.disks() {
        let labels = DiskLabels::of(core, disk);
        for state in STATES {
            let is = u8::from(state_word(&disk.state) == state);
            page.sample(name, &labels.with(&[("state", state)]), is);
        }
    }
    /// A family with one number of each disk.
    type OfDisk = (&'static str, &'static str, &'static str, fn(&ShelfReport) -> f64);
    const FAMILIES: [OfDisk; 6] = [
        ("isotherm_disk_requests", "gauge", "Requests of the disk under way.", |disk| {
            f64::from(disk.requests)
        }),
        (
            "isotherm_disk_expected_wait_seconds",
            "gauge",
            "How long a read would wait now.",
            |disk| seconds(disk.expected_wait),
        ),
        (
            "isotherm_disk_busy_seconds_total",
            "counter",
            "Time that the disk has worked since it was opened.",
            |disk| seconds(disk.disk_time),
        ),
        ("isotherm_disk_given_bytes_total", "counter", "Payload bytes given.", |disk| {
            disk.tally.given_bytes as f64
        }),
        ("isotherm_disk_taken_bytes_total", "counter", "Payload bytes taken.", |disk| {
            disk.tally.taken_bytes as f64
        }),
        (
            "isotherm_disk_unwanted_total",
            "counter",
            "Requests that nobody waited for any more when they had their turn.",
            |disk| disk.tally.unwanted as f64,
        ),
    ];
    for (name, kind, help, value) in FAMILIES {
        page.family(name, kind, help);
        for (core, disk) in seen.disks() {
            page.sample(name, &DiskLabels::of(core, disk).with(&[]), value(disk));
        }
    }
}

fn open_disks(page: &mut Page, seen: &Seen) {
    /// A family with one number of each disk that is open.
    type OfOpen = (&'static str, &'static str, &'static str, fn(&Status) -> f64);
    const FAMILIES: [OfOpen; 17] = [
        ("isotherm_disk_capacity_bytes", "gauge", "Size of the disk.", |s| space(s).0 as f64),
        ("isotherm_disk_free_bytes", "gauge", "Empty extents that puts may use.", |s| {
            space(s).1 as f64
        }),
        ("isotherm_disk_live_bytes", "gauge", "Records neither replaced nor deleted.", |s| {
            s.live_bytes as f64
        }),
        ("isotherm_disk_shards", "gauge", "Shards and kept tombstones.", |s| s.entries as f64),
        ("isotherm_disk_shards_room", "gauge", "Shards for which the index has room.", |s| {
            s.entries_left as f64
        }),
        ("isotherm_disk_index_memory_bytes", "gauge", "Memory of the index.", |s| {
            s.index_bytes as f64
        }),
        ("isotherm_disk_fenced", "gauge", "1 if it takes no writes after an error.", |s| {
            f64::from(u8::from(s.fenced))
        }),
        ("isotherm_disk_retired", "gauge", "1 while it is taken out of service.", |s| {
            f64::from(u8::from(s.retired))
        }),
        ("isotherm_disk_appended_bytes_total", "counter", "Written to the disk.", |s| {
            s.counters.appended_bytes as f64
        }),
        ("isotherm_disk_flushes_total", "counter", "Flushes of the disk.", |s| {
            s.counters.flushes as f64
        }),
        ("isotherm_disk_batches_total", "counter", "Groups of changes made durable.", |s| {
            s.counters.batches as f64
        }),
        ("isotherm_disk_checkpoints_total", "counter", "Checkpoints written.", |s| {
            s.counters.checkpoints as f64
        }),
        ("isotherm_disk_moved_bytes_total", "counter", "Moved by the cleaner.", |s| {
            s.counters.moved_bytes as f64
        }),
        ("isotherm_disk_emptied_total", "counter", "Extents emptied by the cleaner.", |s| {
            s.counters.emptied as f64
        }),
        ("isotherm_disk_damaged_total", "counter", "Records found damaged.", |s| {
            s.counters.damaged as f64
        }),
        ("isotherm_disk_scrubbed_total", "counter", "Records read to check them.", |s| {
            s.counters.scrubbed as f64
        }),
        ("isotherm_disk_extents_suspect", "gauge", "Extents of which a read failed.", |s| {
            f64::from(s.extents.suspect)
        }),
    ];
    for (name, kind, help, value) in FAMILIES {
        page.family(name, kind, help);
        for (core, disk) in seen.disks() {
            if let ShelfState::Open(open) = &disk.state {
                page.sample(name, &DiskLabels::of(core, disk).with(&[]), value(&open.0));
            }
        }
    }
    let name = "isotherm_disk_recovery_holes";
    page.family(name, "gauge", "Places where the last start found that something may be lost.");
    for (core, disk) in seen.disks() {
        if let ShelfState::Open(open) = &disk.state {
            page.sample(name, &DiskLabels::of(core, disk).with(&[]), open.1.holes.len());
        }
    }
}

fn requests(page: &mut Page, seen: &Seen) {
    let name = "isotherm_disk_requests_done_total";
    page.family(name, "counter", "Requests answered well.");
    for (core, disk) in seen.disks() {
        let labels = DiskLabels::of(core, disk);
        for (verb, count) in Tally::VERBS.iter().zip(disk.tally.done) {
            page.sample(name, &labels.with(&[("verb", verb)]), count);
        }
    }
    let name = "isotherm_disk_requests_failed_total";
    page.family(name, "counter", "Requests answered with a failure.");
    for (core, disk) in seen.disks() {
        let labels = DiskLabels::of(core, disk);
        for ((_, failure), count) in Failure::ALL.iter().zip(disk.tally.failed) {
            page.sample(name, &labels.with(&[("cause", &failure_word(*failure))]), count);
        }
    }
}

/// How long gets took, or puts.
type OfTally = (&'static str, &'static str, fn(&Tally) -> (&[u64; LATENCY_BINS], u64));

fn latencies(page: &mut Page, seen: &Seen) {
    const FAMILIES: [OfTally; 2] = [
        (
            "isotherm_disk_get_duration_seconds",
            "From the arrival of a get to its answer.",
            |tally| (&tally.get_latency, tally.get_ns),
        ),
        (
            "isotherm_disk_put_duration_seconds",
            "From the arrival of a put to its answer.",
            |tally| (&tally.put_latency, tally.put_ns),
        ),
    ];
    for (name, help, of) in FAMILIES {
        page.family(name, "histogram", help);
        for (core, disk) in seen.disks() {
            let labels = DiskLabels::of(core, disk);
            let (bins, sum_ns) = of(&disk.tally);
            let mut count = 0;
            let bucket = format!("{name}_bucket");
            // One bucket for each doubling: two bins.
            for pair in 0..LATENCY_BINS / 2 {
                count += bins[2 * pair] + bins[2 * pair + 1];
                let until = 2 * pair + 2;
                let le = match until {
                    LATENCY_BINS => "+Inf".to_owned(),
                    bin => seconds(Nanos(bin_floor(bin))).to_string(),
                };
                page.sample(&bucket, &labels.with(&[("le", &le)]), count);
            }
            page.sample(&format!("{name}_sum"), &labels.with(&[]), sum_ns as f64 / 1e9);
            page.sample(&format!("{name}_count"), &labels.with(&[]), count);
        }
    }
}

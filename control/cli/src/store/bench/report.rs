//! What came out, as text and as JSON.
//!
//! What must always hold: a ratio whose divisor is zero is not told at all.

use std::fmt::Write;

use hdrhistogram::Histogram;
use serde_json::{Value, json};

use super::super::words;
use super::Ops;
use super::lanes::Phase;

/// What was asked for.
pub(super) struct Setting {
    pub(super) device: String,
    pub(super) driver: String,
    pub(super) keys: u64,
    pub(super) shard_bytes: String,
    pub(super) inflight: u32,
    pub(super) reads_percent: f64,
    pub(super) zipf: f64,
    pub(super) seed: u64,
    pub(super) virtual_time: bool,
    pub(super) payload_max: u32,
}

/// A run.
pub(super) struct Outcome {
    pub(super) setting: Setting,
    pub(super) index_bytes: u64,
    pub(super) phases: Vec<Phase>,
    pub(super) stopped: bool,
}

const PERCENTILES: [(&str, f64); 5] =
    [("p50", 50.0), ("p90", 90.0), ("p99", 99.0), ("p999", 99.9), ("max", 100.0)];

fn ratio(a: u64, b: u64) -> Option<f64> {
    (b > 0).then(|| a as f64 / b as f64)
}

/// Two digits behind the point, or a dash.
fn shown(value: Option<f64>) -> String {
    value.map_or_else(|| "-".to_owned(), |value| format!("{value:.2}"))
}

/// What is worked out of a phase.
struct Figures {
    seconds: f64,
    puts: u64,
    gets: u64,
    batches: u64,
    reads_per_get: Option<f64>,
    puts_per_batch: Option<f64>,
    writes_per_batch: Option<f64>,
    flushes_per_batch: Option<f64>,
    write_amplification: Option<f64>,
    cpu_us_per_op: Option<f64>,
}

impl Figures {
    fn of(phase: &Phase) -> Figures {
        let (tally, traffic) = (&phase.tally, &phase.traffic);
        let (puts, gets) = (tally.puts.len(), tally.gets.len());
        let batches = phase.after.batches - phase.before.batches;
        Figures {
            seconds: phase.elapsed.as_secs_f64(),
            puts,
            gets,
            batches,
            reads_per_get: ratio(traffic.reads, gets),
            puts_per_batch: ratio(puts, batches),
            writes_per_batch: ratio(traffic.writes, batches),
            flushes_per_batch: ratio(traffic.flushes, batches),
            write_amplification: ratio(traffic.write_bytes, tally.put_bytes),
            cpu_us_per_op: phase.cpu.and_then(|cpu| ratio(cpu.0, puts + gets)).map(|ns| ns / 1e3),
        }
    }

    fn rate(&self, count: u64) -> f64 {
        count as f64 / self.seconds.max(1e-9)
    }
}

impl Outcome {
    /// Requests that failed, or gave wrong bytes.
    pub(super) fn failures(&self) -> u64 {
        self.phases.iter().map(|phase| phase.tally.failed).sum()
    }

    pub(super) fn to_text(&self) -> String {
        let Setting { device, driver, keys, shard_bytes, inflight, seed, .. } = &self.setting;
        let mut text = String::new();
        let time = if self.setting.virtual_time { "virtual time" } else { "real time" };
        let mut line = |what: String| writeln!(text, "{what}").expect("a string takes it");
        line(format!("{device} ({driver}), {time}, seed {seed}"));
        line(format!("{keys} shards of {shard_bytes}, {inflight} requests under way"));
        for phase in &self.phases {
            let figures = Figures::of(phase);
            let tally = &phase.tally;
            let mixed = match phase.ops {
                Ops::Mixed => {
                    let Setting { reads_percent, zipf, .. } = self.setting;
                    format!(", {reads_percent} % gets, zipf {zipf}")
                }
                Ops::Get if self.setting.zipf > 0.0 => format!(", zipf {}", self.setting.zipf),
                _ => String::new(),
            };
            let loaded = match phase.loaded {
                0 => String::new(),
                count => format!(" (after {count} shards were put)"),
            };
            line(format!("\n{} for {:.2} s{mixed}{loaded}", phase.ops.word(), figures.seconds));
            for (name, histogram, bytes) in
                [("puts", &tally.puts, tally.put_bytes), ("gets", &tally.gets, tally.get_bytes)]
            {
                let count = histogram.len();
                if count == 0 {
                    continue;
                }
                let rate = figures.rate(count);
                let megabytes = bytes as f64 / 1e6 / figures.seconds.max(1e-9);
                line(format!("  {name}     {count}: {rate:.1} a second, {megabytes:.1} MB/s"));
                let percentiles: Vec<String> = PERCENTILES
                    .iter()
                    .map(|(name, p)| {
                        format!("{name} {:.3}", histogram.value_at_percentile(*p) as f64 / 1e6)
                    })
                    .collect();
                let mean = histogram.mean() / 1e6;
                line(format!("    ms     mean {mean:.3}, {}", percentiles.join(", ")));
            }
            let traffic = &phase.traffic;
            line(format!(
                "  disk     {} reads ({}), {} writes ({}), {} flushes",
                traffic.reads,
                words::size(traffic.read_bytes),
                traffic.writes,
                words::size(traffic.write_bytes),
                traffic.flushes
            ));
            if figures.puts > 0 {
                line(format!(
                    "  batches  {}: {} puts, {} writes, {} flushes each; write amplification {}",
                    figures.batches,
                    shown(figures.puts_per_batch),
                    shown(figures.writes_per_batch),
                    shown(figures.flushes_per_batch),
                    shown(figures.write_amplification),
                ));
            }
            if figures.gets > 0 {
                line(format!(
                    "  reads    {} of the disk for each get",
                    shown(figures.reads_per_get)
                ));
            }
            let (before, after) = (&phase.before, &phase.after);
            line(format!(
                "  store    {} checkpoints, {} records moved, {} extents emptied",
                after.checkpoints - before.checkpoints,
                after.moved - before.moved,
                after.emptied - before.emptied
            ));
            line(format!(
                "  cpu      {} us for each request{}",
                shown(figures.cpu_us_per_op),
                if self.setting.virtual_time { ", with the model's own" } else { "" }
            ));
            if tally.full > 0 {
                line(format!(
                    "  full     {} times a put was refused, and asked again 1 ms later",
                    tally.full
                ));
            }
            if tally.failed > 0 {
                let first = tally.first_failure.as_deref().unwrap_or_default();
                line(format!("  FAILED   {} requests, the first: {first}", tally.failed));
            }
        }
        if self.stopped {
            line("\nstopped: this is what ran".to_owned());
        }
        text
    }

    pub(super) fn to_json(&self) -> Value {
        let setting = &self.setting;
        let phases: Vec<Value> = self.phases.iter().map(phase_json).collect();
        json!({
            "device": setting.device,
            "driver": setting.driver,
            "clock": if setting.virtual_time { "virtual" } else { "host" },
            "seed": setting.seed,
            "keys": setting.keys,
            "shard_bytes": setting.shard_bytes,
            "payload_bytes_max": setting.payload_max,
            "inflight": setting.inflight,
            "reads_percent": setting.reads_percent,
            "zipf": setting.zipf,
            "index_bytes": self.index_bytes,
            "stopped": self.stopped,
            "phases": phases,
        })
    }
}

fn phase_json(phase: &Phase) -> Value {
    let figures = Figures::of(phase);
    let (tally, traffic) = (&phase.tally, &phase.traffic);
    let (before, after) = (&phase.before, &phase.after);
    let latencies = |histogram: &Histogram<u64>, bytes: u64| {
        if histogram.is_empty() {
            return Value::Null;
        }
        let mut told = json!({
            "count": histogram.len(),
            "bytes": bytes,
            "per_second": figures.rate(histogram.len()),
            "mb_per_second": bytes as f64 / 1e6 / figures.seconds.max(1e-9),
            "mean_ns": histogram.mean(),
        });
        for (name, percentile) in PERCENTILES {
            told[format!("{name}_ns")] = histogram.value_at_percentile(percentile).into();
        }
        told
    };
    json!({
        "ops": phase.ops.word(),
        "seconds": figures.seconds,
        "loaded_before": phase.loaded,
        "puts": latencies(&tally.puts, tally.put_bytes),
        "gets": latencies(&tally.gets, tally.get_bytes),
        "device": {
            "reads": traffic.reads, "read_bytes": traffic.read_bytes,
            "writes": traffic.writes, "write_bytes": traffic.write_bytes,
            "flushes": traffic.flushes,
        },
        "device_reads_per_get": figures.reads_per_get,
        "batches": figures.batches,
        "puts_per_batch": figures.puts_per_batch,
        "writes_per_batch": figures.writes_per_batch,
        "flushes_per_batch": figures.flushes_per_batch,
        "write_amplification": figures.write_amplification,
        "cpu_us_per_op": figures.cpu_us_per_op,
        "checkpoints": after.checkpoints - before.checkpoints,
        "records_moved": after.moved - before.moved,
        "bytes_moved": after.moved_bytes - before.moved_bytes,
        "extents_emptied": after.emptied - before.emptied,
        "refused_full": tally.full,
        "failed": tally.failed,
        "wrong_bytes": tally.wrong,
        "first_failure": tally.first_failure,
    })
}

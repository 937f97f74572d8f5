//! The curves and tables of docs/HDD-MODEL.md, from the model's own run.
//!
//! `cargo run --release -p isotherm-block --example hdd_curves [FOLDER]`
//!
//! Prints the tables as Markdown. Writes the plots as SVG to the folder, docs/img where none is
//! given. All of it is in virtual time and from one seed: the same on every machine.

mod plot;
mod runs;

use std::path::{Path, PathBuf};

use isotherm_block::hdd::{EXOS_X24, HddOptions, Order, PROFILES};
use isotherm_seam::{BlockSize, OpKind};

use plot::{Axis, Plot, Style};
use runs::{ordered, random_reads, random_writes, sequential};

const AGED: Order = Order::Aged(Order::AGE_WEIGHT);
const ORDERS: [(&str, Order); 3] = [("fifo", Order::Fifo), ("sptf", Order::Sptf), ("aged", AGED)];
const DEPTHS: [usize; 7] = [1, 2, 3, 4, 8, 16, 32];
const FULL: u64 = EXOS_X24.capacity_bytes;
const COUNT: usize = 100_000;

fn main() -> std::io::Result<()> {
    let default = || Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/img");
    let folder = std::env::args().nth(1).map_or_else(default, PathBuf::from);
    std::fs::create_dir_all(&folder)?;
    for (name, plot) in [
        ("seek", seek()),
        ("layout", layout()),
        ("rate", rate()),
        ("depth", depth()),
        ("tail", tail()),
        ("latency", latency()),
        ("size", size()),
        ("write", write()),
    ] {
        std::fs::write(folder.join(format!("hdd-{name}.svg")), plot.svg())?;
    }
    profiles_table();
    depth_table();
    age_table();
    scaling_table();
    write_table();
    Ok(())
}

fn seek() -> Plot {
    let mut plot = Plot::new(
        "Seek",
        Axis::linear("distance, fraction of the full stroke", (0.0, 1.0), 0.1),
        Axis::linear("time until the head may read or write, ms", (0.0, 20.0), 2.0),
    );
    let curve = |settle_ms: f64| {
        (0..=400)
            .map(|i| f64::from(i * i) / 160_000.0) // Denser where the root is steep.
            .map(|d| (d, EXOS_X24.seek.time(d.max(1e-9)).as_millis_f64() + settle_ms))
            .collect()
    };
    let settle = EXOS_X24.settle_ms;
    plot.curve("reads", Style::Line, curve(settle));
    plot.curve("writes", Style::Line, curve(settle + EXOS_X24.write_settle_ms));
    // The vendors' average is that of a seek over about a third of the stroke.
    let constellation = vec![(0.0, 0.23), (1.0 / 3.0, 7.5), (1.0, 17.06)];
    plot.curve("Constellation.2, reads", Style::Marks, constellation);
    plot.curve("DC HC310, writes", Style::Marks, vec![(0.0, 0.32), (1.0 / 3.0, 8.2)]);
    plot.curve("Deskstar 60GXP, reads", Style::Marks, vec![(1.0, 14.7)]);
    plot
}

fn layout() -> Plot {
    let mut plot = Plot::new(
        "From address to radius",
        Axis::linear("address, % of the capacity", (0.0, 100.0), 10.0),
        Axis::linear("radius, 0 the rim, 1 the hub", (0.0, 1.0), 0.1),
    );
    let formula = (0..=100).map(|p| (f64::from(p), EXOS_X24.radius_of(f64::from(p) / 100.0)));
    plot.curve("formula", Style::Line, formula.collect());
    for (bytes, offset) in [(FULL, 0), (256 << 20, 2)] {
        let drive = runs::drive(&HddOptions::default(), bytes);
        let (blocks, tracks) = (bytes >> 12, f64::from(drive.tracks().count()));
        let points = (offset..100).step_by(4).map(|p| {
            let span = drive.tracks().span(blocks * p / 100, 1);
            (p as f64, f64::from(span.track) / tracks)
        });
        let name = if bytes == FULL { "tracks of 24 TB" } else { "tracks of 256 MiB" };
        plot.curve(name, Style::Marks, points.collect());
    }
    plot
}

fn rate() -> Plot {
    let mut plot = Plot::new(
        "Sustained rate of sequential reads",
        Axis::linear("address, % of the capacity", (0.0, 100.0), 10.0),
        Axis::linear("MB/s", (0.0, 600.0), 100.0),
    );
    for profile in PROFILES {
        let options = HddOptions { retries: 0.0, ..HddOptions::of(profile) };
        let points = (0..=48).map(|i| f64::from(i) / 49.0).map(|from| {
            (from * 100.0, sequential(&options, profile.capacity_bytes, from, 1, false))
        });
        plot.curve(profile.name, Style::Line, points.collect());
    }
    plot.curve("X24 datasheet", Style::Marks, vec![(0.0, 285.0)]);
    plot
}

fn depth() -> Plot {
    let mut plot = Plot::new(
        "4 KiB random reads by queue depth",
        Axis::log("commands in the drive", &[1.0, 2.0, 4.0, 8.0, 16.0, 32.0]),
        Axis::linear("reads a second", (60.0, 220.0), 20.0),
    );
    for (name, order) in ORDERS {
        let iops = |depth| random_reads(&ordered(order), FULL, 4096, depth, COUNT).iops;
        let points = DEPTHS.iter().map(|&depth| (depth as f64, iops(depth)));
        plot.curve(format!("order={name}"), Style::Dotted, points.collect());
    }
    let published =
        [(1.0, 85.0, 95.0), (3.0, 120.0, 128.0), (4.0, 120.0, 128.0), (16.0, 150.0, 181.0)];
    plot.ranges("published", &published);
    plot.curve("X24 datasheet", Style::Marks, vec![(16.0, 168.0)]);
    plot
}

fn tail() -> Plot {
    let mut plot = Plot::new(
        "Tail of 4 KiB random reads by queue depth",
        Axis::log("commands in the drive", &[1.0, 2.0, 4.0, 8.0, 16.0, 32.0]),
        Axis::log("latency, ms", &[10.0, 20.0, 50.0, 100.0, 200.0, 500.0, 1_000.0, 2_000.0]),
    );
    for (name, order) in ORDERS {
        let tail = |depth| random_reads(&ordered(order), FULL, 4096, depth, COUNT).ms(0.999);
        let points = DEPTHS.iter().map(|&depth| (depth as f64, tail(depth)));
        plot.curve(format!("order={name}, p99.9"), Style::Dotted, points.collect());
    }
    let median = |depth| random_reads(&ordered(AGED), FULL, 4096, depth, COUNT).ms(0.5);
    let points = DEPTHS.iter().map(|&depth| (depth as f64, median(depth)));
    plot.curve("order=aged, p50", Style::Dashed, points.collect());
    plot
}

fn latency() -> Plot {
    let mut plot = Plot::new(
        "Distribution of the latency of 4 KiB random reads",
        Axis::log("latency, ms", &[2.0, 5.0, 10.0, 20.0, 50.0, 100.0, 200.0, 500.0, 1_000.0]),
        Axis::linear("reads that take no longer, %", (0.0, 100.0), 10.0),
    );
    for (name, order, depth) in [
        ("depth 1", AGED, 1),
        ("depth 4, aged", AGED, 4),
        ("depth 16, fifo", Order::Fifo, 16),
        ("depth 16, aged", AGED, 16),
        ("depth 16, sptf", Order::Sptf, 16),
    ] {
        let seen = random_reads(&ordered(order), FULL, 4096, depth, COUNT);
        let points = (0..=500).map(|i| f64::from(i) / 500.0).map(|q| (seen.ms(q), q * 100.0));
        plot.curve(name, Style::Line, points.filter(|&(ms, _)| ms >= 2.0).collect());
    }
    plot
}

fn size() -> Plot {
    let mut plot = Plot::new(
        "Random reads by size, depth 1",
        Axis::log("size of a read, KiB", &[4.0, 16.0, 64.0, 256.0, 1_024.0, 4_096.0, 16_384.0]),
        Axis::linear("MB/s", (0.0, 200.0), 20.0),
    );
    let sizes: Vec<u64> = (2..=14).map(|power| 1 << power).collect();
    let model = sizes.iter().map(|&kib| {
        let bytes = kib << 10;
        let seen = random_reads(&ordered(AGED), FULL, bytes, 1, 10_000);
        (kib as f64, seen.iops * bytes as f64 / 1e6)
    });
    plot.curve("model", Style::Dotted, model.collect());
    let mean = sizes.iter().map(|&kib| {
        let bytes = kib << 10;
        let service = EXOS_X24.mean_service(bytes, OpKind::Read).as_secs_f64();
        (kib as f64, bytes as f64 / service / 1e6)
    });
    plot.curve("Profile::mean_service", Style::Dashed, mean.collect());
    let baleen = sizes.iter().map(|&kib| {
        let bytes = (kib << 10) as f64;
        (kib as f64, bytes / (11.5e-3 + bytes / 143e6) / 1e6)
    });
    plot.curve("Baleen's constants", Style::Dashed, baleen.collect());
    plot
}

fn write() -> Plot {
    let mut plot = Plot::new(
        "4 KiB random writes at depth 4, from an empty cache",
        Axis::linear("time, s", (0.0, 6.0), 1.0),
        Axis::log(
            "latency, median of 100 ms, ms",
            &[0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 20.0, 50.0, 100.0],
        ),
    );
    for (name, write_cache) in [("cache=on", true), ("cache=off", false)] {
        let options = HddOptions { write_cache, ..ordered(AGED) };
        let seen = random_writes(&options, FULL, 4, 4_000);
        let points = (0..60).filter_map(|i| {
            let window = |&&(at, _): &&(isotherm_seam::Mono, _)| at.0 / 100_000_000 == i;
            let mut ms: Vec<f64> =
                seen.by_time.iter().filter(window).map(|(_, l)| l.as_millis_f64()).collect();
            ms.sort_by(f64::total_cmp);
            ms.get(ms.len() / 2).map(|&median| ((i as f64 + 0.5) / 10.0, median))
        });
        plot.curve(name, Style::Line, points.collect());
    }
    plot
}

fn profiles_table() {
    let names: Vec<&str> = PROFILES.iter().map(|profile| profile.name).collect();
    println!("| | {} |", names.join(" | "));
    println!("|---|{}", "---:|".repeat(PROFILES.len()));
    row("4 KiB random reads a second, depth 1", |options, bytes| {
        format!("{:.1}", random_reads(options, bytes, 4096, 1, COUNT).iops)
    });
    row("the same at depth 4", |options, bytes| {
        format!("{:.1}", random_reads(options, bytes, 4096, 4, COUNT).iops)
    });
    row("1 MiB random reads a second, depth 1", |options, bytes| {
        format!("{:.1}", random_reads(options, bytes, 1 << 20, 1, COUNT / 5).iops)
    });
    row("sequential reads at the rim, MB/s", |options, bytes| {
        format!("{:.0}", sequential(options, bytes, 0.0, 1, false))
    });
    row("sequential reads at the hub, MB/s", |options, bytes| {
        format!("{:.0}", sequential(options, bytes, 0.9999, 1, false))
    });
    row("tracks on a surface", |options, bytes| {
        let drive = runs::drive(options, bytes);
        format!("{:.0} k", f64::from(drive.tracks().count() / options.profile.surfaces) / 1e3)
    });
    row("bytes of a track, rim to hub", |options, _| {
        let track = |radius| options.profile.track_bytes_at(radius) / 1e6;
        format!("{:.2} to {:.2} M", track(0.0), track(1.0))
    });
    row("whole drive read end to end, h", |options, bytes| {
        let blocks = bytes >> BlockSize::B4096.shift();
        let span = runs::drive(options, bytes).tracks().span(0, blocks);
        format!("{:.1}", span.stream_end_ns as f64 / 3.6e12)
    });
    row("smallest backing, MiB", |options, _| {
        format!("{}", options.profile.smallest_backing_bytes() >> 20)
    });
    println!();
}

fn row(name: &str, figure: impl Fn(&HddOptions, u64) -> String) {
    let figures = PROFILES.iter().map(|profile| {
        let options = HddOptions { retries: 0.0, ..HddOptions::of(profile) };
        figure(&options, profile.capacity_bytes)
    });
    println!("| {name} | {} |", figures.collect::<Vec<_>>().join(" | "));
}

fn depth_table() {
    println!(
        "| depth | fifo IOPS | p99.9 ms | sptf IOPS | p99.9 ms | aged IOPS | p50 ms | p99 ms | p99.9 ms |"
    );
    println!("|{}", "---:|".repeat(9));
    for depth in DEPTHS {
        let [fifo, sptf, aged] =
            ORDERS.map(|(_, order)| random_reads(&ordered(order), FULL, 4096, depth, COUNT));
        println!(
            "| {depth} | {:.1} | {:.0} | {:.1} | {:.0} | {:.1} | {:.1} | {:.0} | {:.0} |",
            fifo.iops,
            fifo.ms(0.999),
            sptf.iops,
            sptf.ms(0.999),
            aged.iops,
            aged.ms(0.5),
            aged.ms(0.99),
            aged.ms(0.999),
        );
    }
    let alone = random_reads(&ordered(AGED), FULL, 4096, 1, COUNT);
    let mean = EXOS_X24.mean_service(4096, OpKind::Read).as_millis_f64();
    println!(
        "\nservice: mean {mean:.2} ms by formula, {:.2} ms in the run; coefficient of variation {:.2}",
        1e3 / alone.iops,
        alone.variation()
    );
    println!(
        "average seek by the vendors' definition: {:.2} ms, with settling {:.2} ms\n",
        EXOS_X24.seek.vendor_mean().as_millis_f64(),
        EXOS_X24.seek.vendor_mean().as_millis_f64() + EXOS_X24.settle_ms
    );
}

fn age_table() {
    println!("| age weight | depth 4 IOPS | p99.9 ms | depth 16 IOPS | p99.9 ms |");
    println!("|{}", "---:|".repeat(5));
    for weight in [0.0, 0.01, 0.02, 0.03, 0.04, 0.06, 0.1, 0.2, 0.5, 1.0] {
        let [four, sixteen] = [4, 16]
            .map(|depth| random_reads(&ordered(Order::Aged(weight)), FULL, 4096, depth, COUNT));
        println!(
            "| {weight} | {:.1} | {:.0} | {:.1} | {:.0} |",
            four.iops,
            four.ms(0.999),
            sixteen.iops,
            sixteen.ms(0.999)
        );
    }
    println!();
}

fn scaling_table() {
    println!(
        "| backing | tracks | depth 1 | aged, 4 | aged, 16 | sptf, 16 | sptf, 16, p99.9 ms | first 16 MiB, MB/s |"
    );
    println!("|---|{}", "---:|".repeat(7));
    for (name, bytes) in [
        ("24 TB", FULL),
        ("10 GiB", 10 << 30),
        ("1 GiB", 1 << 30),
        ("256 MiB", 256 << 20),
        ("64 MiB", 64 << 20),
        ("smallest", EXOS_X24.smallest_backing_bytes()),
    ] {
        let reads = |order, depth| random_reads(&ordered(order), bytes, 4096, depth, COUNT);
        let deep = reads(Order::Sptf, 16);
        let tracks = runs::drive(&HddOptions::default(), bytes).tracks().count();
        let mut first = 0;
        let start = runs::closed_loop(runs::drive(&ordered(AGED), bytes), 1, 16, || {
            first += 256;
            isotherm_block::hdd::Command::Read { first: first - 256, count: 256 }
        });
        println!(
            "| {name} | {tracks} | {:.1} | {:.1} | {:.1} | {:.1} | {:.0} | {:.0} |",
            reads(AGED, 1).iops,
            reads(AGED, 4).iops,
            reads(AGED, 16).iops,
            deep.iops,
            deep.ms(0.999),
            start.iops * (1 << 20) as f64 / 1e6,
        );
    }
    println!();
}

fn write_table() {
    println!("| 4 KiB random writes a second | depth 1 | depth 4 | depth 16 |");
    println!("|---|---:|---:|---:|");
    for (name, write_cache) in [("cache=on, once it is full", true), ("cache=off", false)] {
        let options = HddOptions { write_cache, ..ordered(AGED) };
        let iops = |depth| random_writes(&options, FULL, depth, COUNT / 2).iops;
        println!("| {name} | {:.0} | {:.0} | {:.0} |", iops(1), iops(4), iops(16));
    }
    println!();
    println!("| sequential writes of 1 MiB, MB/s | depth 1 | depth 4 |");
    println!("|---|---:|---:|");
    for (name, write_cache) in [("cache=on", true), ("cache=off", false)] {
        let options = HddOptions { write_cache, ..ordered(AGED) };
        let rate = |depth| sequential(&options, FULL, 0.0, depth, true);
        println!("| {name} | {:.0} | {:.0} |", rate(1), rate(4));
    }
}

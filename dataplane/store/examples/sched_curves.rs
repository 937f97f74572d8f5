//! What the scheduler makes of a disk: the tables of docs/IO-SCHEDULER.md, in virtual time, the
//! same on every machine.
//!
//! `cargo run --release -p isotherm-store --example sched_curves`

#[path = "../tests/sched/rig.rs"]
mod rig;

use isotherm_seam::Nanos;
use isotherm_store::sched::{Class, SchedConfig};

use rig::{HEALTHY, Load, Reads, Rig, Until, device, gather};

const COUNT: u64 = 100_000;

fn main() {
    calibration();
    depth();
    open();
    scrub();
}

fn rig() -> Rig {
    Rig::calibrated(device(HEALTHY), SchedConfig::default())
}

fn calibration() {
    let mut rig = rig();
    let profile = rig.load.queue.profile();
    println!(
        "measured in {:.1} s: {profile:?}\n",
        rig.run(|l| async move { l.handle.now().0 as f64 / 1e9 })
    );
}

fn depth() {
    println!("4 KiB random reads, closed loop, {COUNT} each");
    println!("| class | queued | a second | p50 ms | p99 ms | p99.9 ms | max ms |");
    println!("|---|---:|---:|---:|---:|---:|---:|");
    for (class, stage_ahead) in
        [(Class::ForegroundRead, true), (Class::ForegroundRead, false), (Class::Throughput, true)]
    {
        for lanes in [1, 2, 4, 8, 16, 32, 64] {
            let config = SchedConfig { stage_ahead, ..SchedConfig::default() };
            let mut rig = Rig::calibrated(device(HEALTHY), config);
            let seen = rig.run(|load| load.closed(Reads::of(class), lanes, COUNT));
            let name = match stage_ahead {
                true => class.name().to_string(),
                false => format!("{}, not staged", class.name()),
            };
            println!(
                "| {name} | {lanes} | {:.1} | {:.1} | {:.1} | {:.1} | {:.1} |",
                seen.per_second(),
                seen.ms(0.5),
                seen.ms(0.99),
                seen.ms(0.999),
                seen.ms(1.0),
            );
        }
    }
}

fn open() {
    println!("\n4 KiB random foreground reads that arrive by chance, {COUNT} each");
    println!(
        "| a second | p50 ms | p99 ms | p99.9 ms | with 100 ms of patience: answered | p99.9 ms |"
    );
    println!("|---:|---:|---:|---:|---:|---:|");
    for rate in [30.0, 45.0, 60.0, 75.0, 90.0, 100.0, 110.0, 150.0] {
        let reads = Reads::of(Class::ForegroundRead);
        let patient = (rate < 120.0).then(|| rig().run(|load| load.open(reads, rate, COUNT, None)));
        let patience = Some(Nanos::from_millis(100));
        let hasty = rig().run(|load| load.open(reads, rate, COUNT, patience));
        let ms = |quantile| {
            patient.as_ref().map_or("-".into(), |seen| format!("{:.1}", seen.ms(quantile)))
        };
        println!(
            "| {rate} | {} | {} | {} | {:.2} % | {:.1} |",
            ms(0.5),
            ms(0.99),
            ms(0.999),
            hasty.latencies.len() as f64 / COUNT as f64 * 100.0,
            hasty.ms(0.999),
        );
    }
}

fn scrub() {
    println!("\nscrub in I/Os of 256 KiB beside 4 KiB foreground reads that arrive by chance");
    println!("| foreground a second | scrub | of disk time | p50 ms | p99 ms | p99.9 ms |");
    println!("|---:|---|---:|---:|---:|---:|");
    for rate in [30.0, 45.0, 75.0] {
        for lanes in [0, 1, 4] {
            let mut rig = rig();
            let (seen, share) = rig.run(|load| beside_scrub(load, rate, lanes));
            println!(
                "| {rate} | {lanes} queued | {:.2} % | {:.1} | {:.1} | {:.1} |",
                share * 100.0,
                seen.ms(0.5),
                seen.ms(0.99),
                seen.ms(0.999),
            );
        }
    }
}

async fn beside_scrub(load: Load, rate: f64, lanes: u32) -> (rig::Seen, f64) {
    let until = Until::stopped();
    let reads = Reads { class: Class::Scrub, bytes: 256 << 10, seed: 5 };
    let tasks = load.lanes(reads, lanes, &until);
    let start = load.handle.now();
    let before = load.queue.stats().of(Class::Scrub).disk_time;
    let foreground = Reads::of(Class::ForegroundRead);
    let seen = load.clone().open(foreground, rate, COUNT, None).await;
    let spent = load.queue.stats().of(Class::Scrub).disk_time - before;
    let share = spent.as_secs_f64() / load.handle.now().since(start).as_secs_f64();
    until.stop();
    gather(tasks, start, &load.handle).await;
    (seen, share)
}

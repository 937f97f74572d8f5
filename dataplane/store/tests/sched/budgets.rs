//! Background classes: their shares, and what they cost the foreground.

use isotherm_seam::Nanos;
use isotherm_store::sched::{Class, SchedConfig};

use crate::rig::{HEALTHY, Load, Reads, Rig, Seen, Until, device, gather};

fn rig() -> Rig {
    Rig::calibrated(device(HEALTHY), SchedConfig::default())
}

const SCRUB: Reads = Reads { class: Class::Scrub, bytes: 256 << 10, seed: 5 };

/// A foreground load beside lanes of background; the shares of disk time of both.
async fn beside(
    load: Load,
    background: Vec<(Reads, u32)>,
    foreground: impl AsyncFnOnce(Load) -> Seen,
) -> (Seen, Vec<f64>) {
    let until = Until::stopped();
    let tasks = background.iter().flat_map(|&(reads, lanes)| load.lanes(reads, lanes, &until));
    let tasks: Vec<_> = tasks.collect();
    let (start, before) = (load.handle.now(), load.queue.stats());
    let seen = foreground(load.clone()).await;
    let (length, after) = (load.handle.now().since(start), load.queue.stats());
    until.stop();
    gather(tasks, start, &load.handle).await;
    let shares = background.iter().map(|(reads, _)| {
        let spent = after.of(reads.class).disk_time - before.of(reads.class).disk_time;
        spent.as_secs_f64() / length.as_secs_f64()
    });
    (seen, shares.collect())
}

/// The bar: 2 % of disk time at half load, for 5 % of the foreground's p99.
#[test]
fn scrub_gets_its_share_and_costs_the_foreground_little() {
    let run = |lanes| {
        rig().run(|load| {
            beside(load, vec![(SCRUB, lanes)], async |load: Load| {
                load.open(Reads::of(Class::ForegroundRead), 45.0, 40_000, None).await
            })
        })
    };
    let (alone, _) = run(0);
    for lanes in [1, 4] {
        let (seen, shares) = run(lanes);
        assert!(shares[0] >= 0.02, "scrub got {} of disk time", shares[0]);
        let cost = seen.ms(0.99) / alone.ms(0.99) - 1.0;
        assert!(cost <= 0.05, "{lanes} lanes of scrub cost p99 {} %", cost * 100.0);
    }
}

/// The foreground asks for more than the disk has, for ever: background is paused, and yet gets
/// what it was promised.
#[test]
fn no_overload_starves_scrub() {
    let (seen, shares) = rig().run(|load| {
        beside(load, vec![(SCRUB, 1)], async |load: Load| {
            load.closed(Reads::of(Class::ForegroundRead), 32, 20_000).await
        })
    });
    assert!(seen.ms(0.5) > 100.0, "background is paused");
    assert!((0.02..0.04).contains(&shares[0]), "scrub got {} of disk time", shares[0]);
}

/// A short overload is the foreground's alone.
#[test]
fn background_pauses_while_reads_wait_for_too_long() {
    let config = SchedConfig { pause_max: Nanos::from_secs(60), ..SchedConfig::default() };
    let mut rig = Rig::calibrated(device(HEALTHY), config);
    let (_, shares) = rig.run(|load| {
        beside(load, vec![(SCRUB, 1)], async |load: Load| {
            load.closed(Reads::of(Class::ForegroundRead), 32, 3_000).await
        })
    });
    // 23 s: a little at the start, while no read has waited for long.
    assert!(shares[0] < 0.005, "{}", shares[0]);
}

/// A fraction is a fraction: of a busy disk each class gets its own.
#[test]
fn budgets_are_kept_by_class() {
    let repair = Reads { class: Class::Repair, bytes: 256 << 10, seed: 6 };
    let (_, shares) = rig().run(|load| {
        load.queue.set_budget(Class::Repair, 0.15);
        load.queue.set_budget(Class::Scrub, 0.05);
        beside(load, vec![(repair, 2), (SCRUB, 2)], async |load: Load| {
            load.closed(Reads::of(Class::ForegroundRead), 4, 20_000).await
        })
    });
    assert!((0.13..0.17).contains(&shares[0]), "repair {}", shares[0]);
    assert!((0.04..0.06).contains(&shares[1]), "scrub {}", shares[1]);
}

/// Nobody else wants the disk: all of it is shared by weight, and deep.
#[test]
fn a_quiet_disk_is_shared_by_weight() {
    let repair = Reads { class: Class::Repair, bytes: 64 << 10, seed: 6 };
    let scrub = Reads { bytes: 64 << 10, ..SCRUB };
    let (_, shares) = rig().run(|load| {
        beside(load, vec![(repair, 16), (scrub, 16)], async |load: Load| {
            load.handle.sleep(Nanos::from_secs(100)).await;
            Seen::default()
        })
    });
    assert!(shares[0] + shares[1] > 0.99, "{shares:?}");
    let ratio = shares[0] / shares[1];
    assert!((7.0..9.0).contains(&ratio), "8 to 1: {ratio}");
}

/// After the quiet the first read finds some background in the drive, and then no more.
#[test]
fn a_read_that_breaks_the_quiet_waits_for_what_is_in_the_drive_only() {
    let bulk = Reads { class: Class::Throughput, ..SCRUB };
    let (seen, _) = rig().run(|load| {
        beside(load, vec![(bulk, 32)], async |load: Load| {
            let mut all = Seen::default();
            for seed in 0..200 {
                load.handle.sleep(Nanos::from_secs(1)).await;
                let reads = Reads { seed, ..Reads::of(Class::ForegroundRead) };
                all.latencies.extend(load.clone().closed(reads, 1, 1).await.latencies);
            }
            all.latencies.sort_unstable();
            all
        })
    });
    // Eight of 256 KiB in the drive are about 70 ms; 32 in a queue would be 300.
    assert!(seen.ms(0.5) < 80.0 && seen.ms(0.99) < 150.0, "{} {}", seen.ms(0.5), seen.ms(0.99));
}

//! Reads on a rotating drive: rate, tail, and how much is in the drive.

use isotherm_store::sched::{Class, DiskProfile, SchedConfig};

use crate::rig::{HEALTHY, Reads, Rig, device};
use crate::watch::Watched;

const COUNT: u64 = 60_000;

fn rig() -> Rig {
    Rig::calibrated(device(HEALTHY), SchedConfig::default())
}

/// Both bars of the foreground, with what the drive does wrong now and then included.
#[test]
fn sixteen_queued_reads_are_fast_and_none_starves() {
    for (class, seed) in [
        (Class::ForegroundRead, 1),
        (Class::ForegroundRead, 2),
        (Class::ForegroundRead, 3),
        (Class::LateRead, 4),
    ] {
        let mut rig = rig();
        let reads = Reads { seed, ..Reads::of(class) };
        let seen = rig.run(|load| load.closed(reads, 16, COUNT));
        let (iops, tail) = (seen.per_second(), seen.ms(0.999));
        let name = format!("{}, seed {seed}", class.name());
        println!("{name}: {iops:.1} a second, p99.9 of {tail:.1} ms");
        assert!(iops >= 120.0, "{name}: {iops} a second");
        assert!(tail <= 260.0, "{name}: p99.9 of {tail} ms");
    }
}

#[test]
fn throughput_uses_the_order_of_the_drive() {
    let mut rig = rig();
    let seen = rig.run(|load| load.closed(Reads::of(Class::Throughput), 16, COUNT));
    assert!(seen.per_second() >= 145.0, "{} a second", seen.per_second());
}

/// The bound on age grows with the queue, so overload does not become first come, first served.
#[test]
fn a_longer_queue_is_not_slower() {
    let mut last = 0.0;
    for lanes in [1, 4, 16, 64] {
        let mut rig = rig();
        let reads = Reads::of(Class::ForegroundRead);
        let seen = rig.run(|load| load.closed(reads, lanes, COUNT / 2));
        assert!(seen.per_second() > last, "{lanes} queued: {} a second", seen.per_second());
        last = seen.per_second();
        // Half as much again as the queue takes, and a service or two.
        let mean = f64::from(lanes) / seen.per_second() * 1e3;
        let tail = seen.ms(0.999);
        assert!(tail <= (mean * 1.5).max(100.0) + 100.0, "{lanes} queued: {tail} ms");
    }
}

/// One in the drive and one staged, and that one only when the drive can't reorder any more.
#[test]
fn the_drive_holds_one_read_and_the_staged_one() {
    for stage_ahead in [false, true] {
        let (device, log) = Watched::over(device("hdd:exos-x24:retries=0,null:24T"));
        let config = SchedConfig { stage_ahead, ..SchedConfig::default() };
        let mut rig = Rig::new(device, Some(DiskProfile::nearline()), config);
        log.take();
        rig.run(|load| load.closed(Reads::of(Class::ForegroundRead), 16, 2_000));
        let given = log.take();
        let most = given.iter().map(|given| given.inflight).max();
        assert_eq!(most, Some(usize::from(stage_ahead)));
        if stage_ahead {
            let staged = given.iter().filter(|given| given.inflight == 1).count();
            assert!(staged > 1_900, "the next one waits in the drive: {staged} of 2000");
            // Overhead and the shortest seek lie behind the one in the drive.
            for pair in given.windows(2).filter(|pair| pair[1].inflight == 1) {
                let gap = pair[1].at.since(pair[0].at).as_millis_f64();
                assert!(gap > 0.0, "never two at once");
            }
        }
    }
}

/// What the queue says it spent is what the drive was busy.
#[test]
fn disk_time_adds_up() {
    let mut rig = rig();
    let (seen, spent) = rig.run(|load| async move {
        let before = load.queue.stats().disk_time();
        let seen = load.clone().closed(Reads::of(Class::ForegroundRead), 4, 5_000).await;
        (seen, load.queue.stats().disk_time() - before)
    });
    // With four lanes the drive is never idle.
    let ratio = spent.as_secs_f64() / seen.length.as_secs_f64();
    assert!((0.999..1.001).contains(&ratio), "{ratio}");
    // At a third of the load it is busy for a third of the time.
    let mut rig = Rig::calibrated(device(HEALTHY), SchedConfig::default());
    let reads = Reads::of(Class::ForegroundRead);
    let (length, spent) = rig.run(|load| async move {
        let before = load.queue.stats().disk_time();
        let seen = load.clone().open(reads, 30.0, 5_000, None).await;
        (seen.length, load.queue.stats().disk_time() - before)
    });
    let ratio = spent.as_secs_f64() / length.as_secs_f64();
    assert!((0.29..0.36).contains(&ratio), "{ratio}");
}

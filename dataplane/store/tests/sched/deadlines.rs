//! Deadlines, refusal, and withdrawal.

use isotherm_seam::{Lba, Nanos, OpKind};
use isotherm_store::sched::{Class, DiskProfile, QueueError, SchedConfig};

use crate::rig::{Reads, Rig, SMALL, device};
use crate::watch::{Log, Watched};

const SOUND: &str = "hdd:exos-x24:retries=0,null:24T";

fn watched(config: SchedConfig) -> (Rig, Log) {
    let (device, log) = Watched::over(device(SOUND));
    (Rig::new(device, Some(DiskProfile::nearline()), config), log)
}

#[test]
fn what_would_be_late_is_refused_at_once() {
    let (mut rig, log) = watched(SchedConfig::default());
    let (waited, error, expected) = rig.run(|load| async move {
        let class = Class::ForegroundRead;
        let reads: Vec<_> =
            (0..16).map(|i| load.queue.read(class, None, Lba(i << 30), load.buf(SMALL))).collect();
        let expected = load.queue.expected_wait(class);
        let start = load.handle.now();
        let deadline = Some(start + Nanos::from_millis(100));
        let (result, buf) = load.queue.read(class, deadline, Lba(0), load.buf(SMALL)).await;
        assert_eq!(buf.len(), SMALL, "the buffer comes back");
        let waited = load.handle.now().since(start);
        // Where there is time enough it waits.
        let deadline = Some(start + Nanos::from_secs(1));
        load.queue.read(class, deadline, Lba(8), load.buf(SMALL)).await.0.unwrap();
        for read in reads {
            read.await.0.unwrap();
        }
        assert_eq!(load.queue.stats().of(class).refused, 1);
        (waited, result, expected)
    });
    assert_eq!(waited, Nanos::ZERO);
    assert_eq!(error, Err(QueueError::Busy { expected }));
    // 16 random reads, 11 ms each.
    assert!((140.0..200.0).contains(&expected.as_millis_f64()), "{expected:?}");
    assert_eq!(log.take().len(), 17);
}

#[test]
fn the_expected_wait_is_about_right() {
    let mut rig = Rig::calibrated(device(SOUND), SchedConfig::default());
    let (expected, waited) = rig.run(|load| async move {
        let reads = Reads::of(Class::ForegroundRead);
        load.clone().closed(reads, 16, 2_000).await;
        let (mut expected, mut waited) = (0.0, 0.0);
        let until = crate::rig::Until::stopped();
        let tasks = load.lanes(Reads { seed: 7, ..reads }, 16, &until);
        for i in 0..300u64 {
            load.handle.sleep(Nanos::from_millis(37)).await;
            expected += load.queue.expected_wait(Class::ForegroundRead).as_millis_f64();
            let before = load.handle.now();
            let lba = Lba(i * 0x2000_0001 % (24_000_000_000_000 / 512 - 8));
            load.queue.read(Class::ForegroundRead, None, lba, load.buf(SMALL)).await.0.unwrap();
            waited += load.handle.now().since(before).as_millis_f64();
        }
        until.stop();
        for task in tasks {
            task.await;
        }
        (expected, waited)
    });
    let ratio = expected / waited;
    assert!((0.8..1.2).contains(&ratio), "expected {expected} ms in all, waited {waited}");
}

/// The deadline passes in the queue: the answer comes then, and the disk never hears of it.
#[test]
fn what_is_late_costs_no_disk_time() {
    let (mut rig, log) = watched(SchedConfig::default());
    let late_by = rig.run(|load| async move {
        let class = Class::ForegroundRead;
        // A long read, and appends that go first when they have waited.
        let long = load.queue.read(class, None, Lba(0), load.buf(1 << 20));
        let start = load.handle.now();
        // The least that could be: refused if it were nearer than what the drive still needs.
        let deadline = start + load.queue.expected_wait(class) + Nanos(1);
        let mine = load.queue.read(class, Some(deadline), Lba(40 << 30), load.buf(SMALL));
        let near: Vec<_> = (0..12)
            .map(|i| load.queue.read(class, None, Lba(2048 + i * 8), load.buf(SMALL)))
            .collect();
        let (result, _) = mine.await;
        assert!(matches!(result, Err(QueueError::Late { .. })), "{result:?}");
        let late_by = load.handle.now().since(deadline);
        long.await.0.unwrap();
        for read in near {
            read.await.0.unwrap();
        }
        let stats = *load.queue.stats().of(class);
        assert_eq!((stats.late, stats.done, stats.waiting), (1, 13, 0));
        late_by
    });
    assert!(late_by <= Nanos::from_micros(10), "told when it is late: {late_by:?}");
    assert!(log.take().iter().all(|given| given.lba != Lba(40 << 30)));
}

/// However long its patience. Who has no deadline has nowhere else to go, and waits.
#[test]
fn one_too_many_is_refused() {
    let (mut rig, _) = watched(SchedConfig { waiting_max: 4, ..SchedConfig::default() });
    rig.run(|load| async move {
        let patience = load.handle.now() + Nanos::from_secs(3600);
        let read = |deadline, i: u64| {
            load.queue.read(Class::Scrub, deadline, Lba(i << 20), load.buf(SMALL))
        };
        // A foreground read keeps the scrubs from the drive.
        let first = load.queue.read(Class::ForegroundRead, None, Lba(0), load.buf(SMALL));
        let mut waiting: Vec<_> = (0..4).map(|i| read(Some(patience), i)).collect();
        let (result, buf) = read(Some(patience), 4).await;
        assert!(matches!(result, Err(QueueError::Busy { .. })), "{result:?}");
        assert_eq!(buf.len(), SMALL);
        waiting.push(read(None, 5));
        first.await.0.unwrap();
        for read in waiting {
            read.await.0.unwrap();
        }
    });
}

/// A dropped future takes its request with it, unless the drive has it.
#[test]
fn a_dropped_read_is_withdrawn() {
    let (mut rig, log) = watched(SchedConfig::default());
    let pool = rig.load.pool.clone();
    let free = pool.free_count();
    rig.run(|load| async move {
        let class = Class::LateRead;
        let read = |i: u64| load.queue.read(class, None, Lba(i << 30), load.buf(SMALL));
        let in_drive = read(1);
        let waiting: Vec<_> = (2..10).map(read).collect();
        drop(in_drive);
        drop(waiting);
        let stats = *load.queue.stats().of(class);
        assert_eq!((stats.in_device, stats.waiting, stats.withdrawn), (1, 0, 8));
        // The drive is busy with what nobody waits for; it counts until it is done.
        read(11).await.0.unwrap();
        let stats = *load.queue.stats().of(class);
        assert_eq!((stats.in_device, stats.done), (0, 2));
    });
    assert_eq!(log.take().iter().filter(|given| given.kind == OpKind::Read).count(), 2);
    assert_eq!(pool.free_count(), free, "every buffer is back");
}

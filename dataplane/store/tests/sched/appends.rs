//! Appends: in order, together, and beside reads.

use isotherm_seam::{IoBuf, Lba, Nanos, OpKind, Persist, ZoneId};
use isotherm_store::sched::{Class, DiskProfile, SchedConfig};

use crate::rig::{Load, Reads, Rig, SMALL, Until, device, gather};
use crate::watch::{Log, Watched};

const UNCACHED: &str = "hdd:exos-x24:cache=off:retries=0,null:24T";
const MIB: usize = 1 << 20;
/// In blocks of 512 bytes.
const MIB_BLOCKS: u64 = 2048;

fn watched(spec: &str) -> (Rig, Log) {
    let (device, log) = Watched::over(device(spec));
    (Rig::new(device, Some(DiskProfile::nearline()), SchedConfig::default()), log)
}

/// Appends of 1 MiB one after the other on the medium, `depth` of them at once.
async fn appends(load: Load, depth: usize, count: u64) -> f64 {
    let start = load.handle.now();
    let mut under_way = std::collections::VecDeque::new();
    let mut bufs: Vec<IoBuf> = (0..depth).map(|_| load.buf(MIB)).collect();
    for i in 0..count {
        let buf = bufs.pop().expect("one is free");
        let lba = Lba(i * MIB_BLOCKS);
        under_way.push_back(load.queue.write(Class::Append, lba, buf, Persist::Flush));
        if under_way.len() == depth {
            let (result, buf) = under_way.pop_front().expect("some are").await;
            result.unwrap();
            bufs.push(buf);
        }
    }
    for write in under_way {
        write.await.0.unwrap();
    }
    (count << 20) as f64 / 1e6 / load.handle.now().since(start).as_secs_f64()
}

/// What is queued together streams, although nothing is cached.
#[test]
fn adjacent_appends_reach_the_drive_together() {
    let rate = |depth| watched(UNCACHED).0.run(move |load| appends(load, depth, 200));
    let (single, eight) = (rate(1), rate(8));
    assert!(single < 100.0, "each loses a turn: {single} MB/s");
    assert!(eight > 220.0, "{eight} MB/s");
}

/// Zones: a write out of order would be refused by the device.
#[test]
fn appends_keep_their_order_on_a_zoned_drive() {
    let (mut rig, log) = watched("hdd:hc670,zoned:zone=4M,memory:128M");
    rig.run(|load| async move {
        let mut writes = Vec::new();
        // Two classes, a zone each, one call after the other.
        for i in 0..64 {
            for (class, zone) in [(Class::Append, 3), (Class::Rebalance, 7)] {
                let lba = Lba((zone << 13) + i * 128);
                let write = load.queue.write(class, lba, load.buf(64 << 10), Persist::Flush);
                writes.push(write);
            }
        }
        for write in writes {
            write.await.0.unwrap();
        }
        load.queue.flush().await.unwrap();
        // Reads of what is written, and appends to a third zone among them.
        let mut reads = Vec::new();
        let mut writes = Vec::new();
        for i in 0..64u64 {
            let from = Lba((3 << 13) + (i * 37 % 64) * 128);
            let class = Class::ForegroundRead;
            reads.push(load.queue.read(class, None, from, load.buf(SMALL)));
            let lba = Lba((9 << 13) + i * 128);
            let buf = load.buf(64 << 10);
            writes.push(load.queue.write(Class::Append, lba, buf, Persist::Flush));
            if i % 8 == 7 {
                load.handle.sleep(Nanos::from_millis(20)).await;
            }
        }
        for transfer in reads.into_iter().chain(writes) {
            transfer.await.0.unwrap();
        }
        load.queue.zone_finish(ZoneId(9)).await.unwrap();
        load.queue.zone_reset(ZoneId(9)).await.unwrap();
        let report = load.queue.zone_report(ZoneId(9), load.buf(SMALL)).await;
        report.0.unwrap();
        let stats = load.queue.stats();
        assert_eq!(stats.of(Class::Append).done, 64 + 1 + 64 + 3);
    });
    let writes: Vec<_> = log.take().into_iter().filter(|g| g.kind == OpKind::Write).collect();
    assert_eq!(writes.len(), 192);
}

/// While reads wait, appends wait for company; not for ever.
#[test]
fn appends_wait_for_company_and_not_for_long() {
    let (mut rig, log) = watched(UNCACHED);
    let waited = rig.run(|load| async move {
        let until = Until::stopped();
        let lanes = load.lanes(Reads::of(Class::ForegroundRead), 4, &until);
        let start = load.handle.now();
        load.handle.sleep(Nanos::from_millis(200)).await;
        let mut writes = Vec::new();
        let mut waited = Vec::new();
        for round in 0..20u64 {
            let called = load.handle.now();
            for i in 0..3 {
                let lba = Lba((round * 3 + i) * 128);
                let buf = load.buf(64 << 10);
                writes.push(load.queue.write(Class::Append, lba, buf, Persist::Flush));
            }
            for write in writes.drain(..) {
                write.await.0.unwrap();
            }
            waited.push(load.handle.now().since(called).as_millis_f64());
        }
        until.stop();
        gather(lanes, start, &load.handle).await;
        waited
    });
    // 50 ms, the end of what is in the drive and is staged, and the batch itself.
    let longest = waited.iter().copied().fold(0.0, f64::max);
    assert!((60.0..110.0).contains(&longest), "{waited:?}");
    // Each three reach the drive in one piece.
    let given = log.take();
    let writes: Vec<usize> =
        given.iter().enumerate().filter(|(_, g)| g.kind == OpKind::Write).map(|(i, _)| i).collect();
    assert_eq!(writes.len(), 60);
    for batch in writes.chunks(3) {
        assert_eq!(batch[2] - batch[0], 2, "no read between");
        assert_eq!(given[batch[0]].at, given[batch[2]].at);
    }
}

/// A flood of appends takes every second turn of the disk and not all of them.
#[test]
fn a_flood_of_appends_leaves_room_for_reads() {
    let (mut rig, _) = watched(UNCACHED);
    let seen = rig.run(|load| async move {
        let flood = load.handle.spawn("flood", appends(load.clone(), 16, 4_000));
        let seen = load.clone().closed(Reads::of(Class::ForegroundRead), 4, 500).await;
        flood.await;
        seen
    });
    // A batch of 4 MiB and a read are 35 ms; four lanes.
    assert!(seen.per_second() > 20.0, "{} a second", seen.per_second());
    assert!(seen.ms(0.99) < 350.0, "{} ms", seen.ms(0.99));
}

/// An idle disk is written at once.
#[test]
fn alone_an_append_does_not_wait() {
    let (mut rig, log) = watched(UNCACHED);
    let at = rig.run(|load| async move {
        load.handle.sleep(Nanos::from_secs(1)).await;
        let at = load.handle.now();
        load.queue.write(Class::Append, Lba(0), load.buf(SMALL), Persist::Flush).await.0.unwrap();
        at
    });
    assert_eq!(log.take()[0].at, at);
}

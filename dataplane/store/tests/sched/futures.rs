//! Requests as futures, on devices without an arm.

use isotherm_seam::{DiskId, IoError, Lba, Mono, Nanos, Persist};
use isotherm_sim::{FaultPlan, FaultRates, SimDisk, SimDiskConfig};
use isotherm_store::sched::{Class, DiskProfile, QueueError, SchedConfig};

use crate::rig::{Reads, Rig, SMALL, device};
use crate::watch::Watched;

fn flat(spec: &str, depth: u16) -> Rig {
    Rig::new(device(spec), Some(DiskProfile::flat(depth)), SchedConfig::default())
}

#[test]
fn what_is_written_is_read() {
    let mut rig = flat("memory:64M", 4);
    rig.run(|load| async move {
        let mut writes = Vec::new();
        for i in 0..20u8 {
            let mut buf = load.buf(SMALL);
            buf.fill(i + 1);
            let lba = Lba(u64::from(i) * 8);
            writes.push(load.queue.write(Class::Append, lba, buf, Persist::Flush));
        }
        for write in writes {
            write.await.0.unwrap();
        }
        load.queue.flush().await.unwrap();
        for i in (0..20u8).rev() {
            let lba = Lba(u64::from(i) * 8);
            let (result, buf) = load.queue.read(Class::Repair, None, lba, load.buf(SMALL)).await;
            result.unwrap();
            assert!(buf.iter().all(|&byte| byte == i + 1));
        }
    });
}

/// More than fit, and the last is awaited first: nobody polls those that hold the room.
#[test]
fn unpolled_requests_hold_up_nobody() {
    let mut rig = flat("delay:1ms,memory:64M", 4);
    rig.run(|load| async move {
        let reads: Vec<_> = (0..40)
            .map(|i| load.queue.read(Class::ForegroundRead, None, Lba(i * 8), load.buf(SMALL)))
            .collect();
        let start = load.handle.now();
        for read in reads.into_iter().rev() {
            read.await.0.unwrap();
        }
        // Ten rounds of four.
        let took = load.handle.now().since(start).as_millis_f64();
        assert!((9.9..10.5).contains(&took), "{took} ms");
    });
}

/// A future that moves to another task while its request is in the device is woken there.
#[test]
fn a_future_may_move_between_tasks() {
    let mut rig = flat("delay:1ms,memory:64M", 4);
    rig.run(|load| async move {
        let mut read = load.queue.read(Class::ForegroundRead, None, Lba(0), load.buf(SMALL));
        let early = load.handle.timeout(Nanos::from_micros(10), &mut read).await;
        assert!(early.is_err(), "it is under way, and this task is registered");
        let task = load.handle.spawn("other", async move { read.await.0 });
        // A crowd meanwhile, so that the pump takes over.
        let crowd = load.clone().closed(Reads::of(Class::ForegroundRead), 9, 90);
        crowd.await;
        task.await.unwrap();
    });
}

#[test]
fn depth_is_that_of_the_profile() {
    for depth in [1, 4, 16] {
        let (device, log) = Watched::over(device("delay:1ms,memory:64M"));
        let profile = DiskProfile::flat(depth);
        let mut rig = Rig::new(device, Some(profile), SchedConfig::default());
        let seen = rig.run(|load| load.closed(Reads::of(Class::ForegroundRead), 32, 1_600));
        let most = log.take().iter().map(|given| given.inflight + 1).max();
        assert_eq!(most, Some(usize::from(depth)));
        let expected = f64::from(depth) * 1e3;
        let rate = seen.per_second();
        assert!((expected * 0.95..expected * 1.05).contains(&rate), "{rate}");
    }
}

/// Errors come through with their cause, and the buffer with them.
#[test]
fn errors_come_with_the_buffer() {
    let mut config = SimDiskConfig::new(1, DiskId(0), 1_000);
    let rates = FaultRates { read_error: 1.0, ..FaultRates::default() };
    config.faults = FaultPlan { rates, ..FaultPlan::default() };
    let device = Box::new(SimDisk::new(config));
    let mut rig = Rig::new(device, Some(DiskProfile::flat(2)), SchedConfig::default());
    rig.run(|load| async move {
        let (result, buf) =
            load.queue.read(Class::ForegroundRead, None, Lba(5), load.buf(SMALL)).await;
        assert!(matches!(result, Err(QueueError::Io(IoError::Media { .. }))), "{result:?}");
        assert_eq!(buf.len(), SMALL);
        let beyond = load.queue.read(Class::Scrub, None, Lba(1 << 40), load.buf(SMALL)).await;
        assert!(matches!(beyond.0, Err(QueueError::Io(IoError::Misfit(_)))), "{:?}", beyond.0);
        let stats = load.queue.stats();
        assert_eq!(stats.of(Class::ForegroundRead).done, 1);
    });
}

/// The last handle takes the pump with it.
#[test]
fn the_queue_leaves_nothing_behind() {
    let mut rig = flat("memory:64M", 4);
    rig.run(|load| load.closed(Reads::of(Class::ForegroundRead), 8, 100));
    let Rig { mut reactor, load } = rig;
    let (handle, pool) = (load.handle.clone(), load.pool.clone());
    assert_eq!(handle.tasks(), 1, "the pump");
    drop(load);
    let late = handle.clone();
    reactor.run(async move { late.sleep_until(Mono(1 << 40)).await });
    assert_eq!(handle.tasks(), 0);
    assert_eq!(pool.free_count(), 2048 + 160 + 64);
}

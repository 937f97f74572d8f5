//! Reservations on a disk in virtual time: claimed, granted, parked, given up.

use std::future::poll_fn;

use isotherm_seam::{Domain, Draws, Lba, Nanos};
use isotherm_store::sched::{Class, QueueError, SchedConfig};

use crate::rig::{HEALTHY, Rig, SMALL, device};

const CHANCE: f32 = 0.7;

#[test]
fn a_reserved_read_is_claimed_then_read() {
    let mut rig = Rig::calibrated(device(HEALTHY), SchedConfig::default());
    rig.run(|load| async move {
        let queue = &load.queue;
        let mut reserved = queue.reserve(None, Lba(1 << 20), 1, CHANCE).unwrap();
        poll_fn(|cx| reserved.poll_claim(cx)).await.unwrap();
        let (result, buf) = reserved.grant(load.buf(SMALL)).await;
        result.unwrap();
        assert_eq!(buf.len(), SMALL);
        let stats = *queue.stats().of(Class::LateRead);
        assert_eq!((stats.done, stats.waiting, stats.in_device), (1, 0, 0));
    });
}

/// Nobody answers: the arm is lost for three patiences and no more, and others are served.
#[test]
fn a_dead_reservation_costs_three_patiences() {
    let mut rig = Rig::calibrated(device(HEALTHY), SchedConfig::default());
    rig.run(|load| async move {
        let queue = load.queue.clone();
        let mut dead = queue.reserve(None, Lba(1 << 20), 1, CHANCE).unwrap();
        let mut claims = 0;
        let gone = loop {
            match poll_fn(|cx| dead.poll_claim(cx)).await {
                Ok(()) => claims += 1,
                Err(gone) => break gone,
            }
            let (result, _) =
                queue.read(Class::ForegroundRead, None, Lba(9), load.buf(SMALL)).await;
            result.unwrap();
        };
        assert!(matches!(gone, QueueError::Late { .. }));
        assert_eq!(claims, 3);
        assert_eq!(queue.stats().of(Class::LateRead).unanswered, 1);
    });
}

/// Whatever becomes of them, each ends and nothing is left behind.
#[test]
fn every_reservation_ends() {
    for seed in 0..20 {
        let mut rig = Rig::calibrated(device(HEALTHY), SchedConfig::default());
        rig.run(move |load| async move {
            let mut tasks = Vec::new();
            for number in 0..60u64 {
                let (queue, handle) = (load.queue.clone(), load.handle.clone());
                let buf = load.buf(SMALL);
                tasks.push(load.handle.spawn("reader", async move {
                    let mut draws = Draws::new(seed, Domain::new("test.sched.reserved"), number);
                    handle.sleep(Nanos::from_millis(draws.below(300))).await;
                    let patience = Nanos::from_millis(20 + draws.below(500));
                    let until = draws.happens(0.5).then(|| handle.now() + patience);
                    let lba = Lba(draws.below(1 << 30));
                    let Ok(mut reserved) = queue.reserve(until, lba, 1, CHANCE) else { return 0 };
                    if draws.happens(0.2) {
                        reserved.park();
                        handle.sleep(Nanos::from_millis(draws.below(50))).await;
                        reserved.wake();
                    }
                    loop {
                        if poll_fn(|cx| reserved.poll_claim(cx)).await.is_err() {
                            return 0;
                        }
                        match draws.below(5) {
                            0 => return 0,
                            1 => handle.sleep(Nanos::from_millis(draws.below(9))).await,
                            2 => {
                                reserved.park();
                                handle.sleep(Nanos::from_millis(draws.below(50))).await;
                                reserved.wake();
                            }
                            _ => return u64::from(reserved.grant(buf).await.0.is_ok()),
                        }
                    }
                }));
            }
            let mut served = 0;
            for task in tasks {
                served += task.await;
            }
            let stats = *load.queue.stats().of(Class::LateRead);
            assert!(served > 20, "seed {seed}: {served}");
            assert_eq!((stats.done, stats.waiting, stats.in_device), (served, 0, 0), "seed {seed}");
        });
    }
}

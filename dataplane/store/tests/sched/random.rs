//! Anything at any time: requests of every class, futures that are dropped at any point, tasks
//! that run in any order. Nothing is lost, nothing hangs, writes keep their order.
//!
//! `ISOTHERM_SEED=17 cargo test -p isotherm-store --test sched random` repeats one run;
//! `ISOTHERM_SEEDS=3000` makes so many.

use std::collections::BTreeMap;

use isotherm_reactor::Order;
use isotherm_seam::{Domain, Draws, Lba, Nanos, OpKind, Persist};
use isotherm_store::sched::{Class, DiskProfile, QueueError, SchedConfig};

use crate::rig::{Load, Rig, SMALL, device};
use crate::watch::Watched;

const SHAPE: Domain = Domain::new("test.sched.random.shape");
const WORK: Domain = Domain::new("test.sched.random.work");

const LANES: u64 = 12;
const STEPS: u64 = 40;
/// In blocks of 512 bytes: where each class writes.
const REGION_BLOCKS: u64 = 1 << 20;

#[test]
fn nothing_is_lost_and_nothing_hangs() {
    let number = |name| std::env::var(name).ok().map(|text| text.parse::<u64>().expect("a number"));
    let seeds = match number("ISOTHERM_SEED") {
        Some(seed) => seed..seed + 1,
        None => 0..number("ISOTHERM_SEEDS").unwrap_or(60),
    };
    for seed in seeds {
        println!("ISOTHERM_SEED={seed} cargo test -p isotherm-store --test sched random");
        run(seed);
    }
}

fn run(seed: u64) {
    let mut draws = Draws::new(seed, SHAPE, 0);
    let (spec, profile) = match draws.below(4) {
        0 => ("hdd:exos-x24,null:24T", DiskProfile::nearline()),
        1 => ("hdd:exos-x24:cache=off:depth=2,null:24T", DiskProfile::nearline()),
        2 => ("delay:10us-3ms,null:24T", DiskProfile::flat(4)),
        // A wrong profile may cost time, and nothing else.
        _ => ("null:24T", DiskProfile::nearline()),
    };
    let (device, log) = Watched::over(device(spec));
    let config = SchedConfig {
        waiting_max: if draws.happens(0.5) { 16 } else { 1024 },
        stage_ahead: draws.happens(0.8),
        ..SchedConfig::default()
    };
    let mut rig = Rig::turning(Order::Seeded(seed), device, Some(profile), config);
    let free = rig.load.pool.free_count();
    rig.run(|load| async move {
        let lanes: Vec<_> = (0..LANES)
            .map(|lane| load.handle.spawn("lane", walk(load.clone(), seed, lane)))
            .collect();
        let all = async {
            for lane in lanes {
                lane.await;
            }
        };
        load.handle.timeout(Nanos::from_secs(600), all).await.expect("no request hangs");
        // What was dropped in the device comes to its end as well.
        load.handle.sleep(Nanos::from_secs(5)).await;
        let stats = load.queue.stats();
        for class in &stats.classes {
            assert_eq!((class.waiting, class.in_device), (0, 0), "{stats:?}");
            assert_eq!(class.started, class.done);
        }
        assert_eq!(load.queue.disk().inflight(), 0);
    });
    assert_eq!(rig.load.pool.free_count(), free, "every buffer is back");
    // Each class has written its region from the front, with gaps where one was withdrawn.
    let mut next = BTreeMap::new();
    for given in log.take().into_iter().filter(|given| given.kind == OpKind::Write) {
        let at = next.entry(given.lba.0 / REGION_BLOCKS).or_insert(0);
        assert!(given.lba.0 >= *at, "a write has overtaken another");
        *at = given.lba.0 + 1;
    }
}

/// Steps by chance. For each class that writes there is one lane that does.
async fn walk(load: Load, seed: u64, lane: u64) {
    let mut draws = Draws::new(seed, WORK, lane);
    let mine = Class::ALL[lane as usize % Class::ALL.len()];
    let mut writes = 0;
    let mut held = Vec::new();
    for _ in 0..STEPS {
        let class = Class::ALL[draws.below(8) as usize];
        match draws.below(10) {
            0..4 => {
                let deadline =
                    draws.happens(0.4).then(|| load.handle.now() + Nanos(draws.below(80_000_000)));
                let lba = load.place(SMALL, &mut draws);
                held.push(load.queue.read(class, deadline, lba, load.buf(SMALL)));
            }
            4..7 if (2..8).contains(&lane) => {
                let lba = Lba((lane * REGION_BLOCKS) + writes * 8);
                writes += if draws.happens(0.8) { 1 } else { 10 };
                held.push(load.queue.write(mine, lba, load.buf(SMALL), Persist::Flush));
            }
            7 => load.queue.flush().await.unwrap(),
            8 => load.handle.sleep(Nanos(draws.below(400_000_000))).await,
            _ if held.is_empty() => {}
            // One of those that are under way: awaited, given up after a while, or dropped.
            _ => {
                let mut one = held.swap_remove(draws.below(held.len() as u64) as usize);
                match draws.below(3) {
                    0 => fine(one.await.0),
                    1 => {
                        let patience = Nanos(draws.below(20_000_000));
                        if let Ok((result, _)) = load.handle.timeout(patience, &mut one).await {
                            fine(result);
                        }
                    }
                    _ => drop(one),
                }
            }
        }
    }
    for one in held {
        fine(one.await.0);
    }
}

fn fine(result: Result<(), QueueError>) {
    if let Err(QueueError::Io(error)) = result {
        panic!("a healthy disk: {error}");
    }
}

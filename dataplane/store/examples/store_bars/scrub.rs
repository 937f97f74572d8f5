//! What a scrub costs those who read: gets that arrive by chance at half of the disk's rate, with
//! and without a scrub that goes on all the time.

use std::cell::{Cell, RefCell};
use std::rc::Rc;

use isotherm_seam::{Draws, Nanos};
use isotherm_store::sched::{CalibrateOptions, Class, calibrate};
use isotherm_store::{Get, Options, Put, Store, World};

use crate::report::{Row, Want};
use crate::rig::{DRAWS, device, fresh, key, pool, simulate, wall_s};

const DISK: &str = "hdd:exos-x24,memory:2G";
/// Half of what random gets one at a time reach.
const PER_SECOND: f64 = 45.0;
const GETS: u64 = 60_000;
/// Extents that are left free.
const LEFT: u32 = 4;

pub(crate) fn run() -> Vec<Row> {
    simulate(device(DISK), pool(1024, 64, 64, false), async |world, disk| {
        let options = CalibrateOptions::default();
        let profile = calibrate(&world.handle, &disk, &world.pool, options).await;
        let profile = Some(profile.expect("a healthy disk"));
        let options =
            Options { entries_max: 1 << 20, profile, reclaims: false, ..Options::default() };
        let store = fresh(&world, &disk, 4096, options).await;
        let count = fill(&store).await;
        let (alone, _) = gets(&world, &store, count, false).await;
        let (beside, share) = gets(&world, &store, count, true).await;
        let cost = (beside / alone - 1.0) * 100.0;
        vec![
            Row::new("scrub's share of disk time", share * 100.0, "%", Want::AtLeast(2.0)),
            Row::new("p99 of gets without a scrub", alone, "ms", Want::Told),
            Row::new("p99 of gets beside a scrub", beside, "ms", Want::Told),
            Row::new("what the scrub adds to p99", cost, "%", Want::AtMost(5.0)),
        ]
    })
}

async fn fill(store: &Store) -> u64 {
    let mut count = 0;
    while store.status().room_extents > LEFT {
        let puts: Vec<_> = (count..count + 512)
            .map(|number| store.put(Put::new(key(number)), store.buffer(4096).expect("a buffer")))
            .collect();
        count += 512;
        for put in puts {
            put.await.expect("room");
        }
    }
    count
}

/// p99 of gets in ms, and the scrub's share of disk time.
async fn gets(world: &World, store: &Store, count: u64, scrubs: bool) -> (f64, f64) {
    let goes_on = Rc::new(Cell::new(scrubs));
    let scrub = {
        let (goes_on, store) = (Rc::clone(&goes_on), store.clone());
        world.handle.spawn("scrub", async move {
            while goes_on.get() {
                store.scrub_step().await.expect("a healthy disk");
            }
        })
    };
    let start = wall_s(world);
    let before = store.sched_stats().of(Class::Scrub).disk_time;
    let times: Rc<RefCell<Vec<Nanos>>> = Rc::default();
    let mut draws = Draws::new(6, DRAWS, 3);
    let mut next = world.handle.now();
    let left = Rc::new(Cell::new(GETS));
    for _ in 0..GETS {
        next = next + Nanos::from_secs_f64(-(1.0 - draws.next_f64()).ln() / PER_SECOND);
        world.handle.sleep_until(next).await;
        let get = Get { key: key(draws.below(count)), range: None, deadline: None };
        let (store, times, left) = (store.clone(), Rc::clone(&times), Rc::clone(&left));
        let handle = world.handle.clone();
        drop(world.handle.spawn("get", async move {
            store.get(get).await.expect("it was put");
            times.borrow_mut().push(handle.now().since(next));
            left.set(left.get() - 1);
        }));
    }
    while left.get() > 0 {
        world.handle.sleep(Nanos::from_millis(10)).await;
    }
    let spent = store.sched_stats().of(Class::Scrub).disk_time - before;
    let share = spent.as_secs_f64() / (wall_s(world) - start);
    goes_on.set(false);
    scrub.await;
    let mut times = times.take();
    times.sort_unstable();
    (times[times.len() * 99 / 100].as_millis_f64(), share)
}

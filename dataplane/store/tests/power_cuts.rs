//! Every image that a power cut may leave, at small scope: each unflushed sector old, new or
//! unreadable, at every completion of the disk; and again inside the recovery that follows.
//!
//! Up to 3^8 images of a moment are walked one by one; above that a sample is drawn.

mod suite;

use std::rc::Rc;

use isotherm_sim::SimDiskConfig;
use isotherm_store::model::Model;
use isotherm_store::{Options, Planted};
use suite::plan::{Op, Setup, Trouble};
use suite::rig::{Drive, Rig};
use suite::run::{Shared, format_options, options, perform};
use suite::start;

/// Images of a moment that are walked one by one: three outcomes of eight sectors.
const ALL_MAX: u64 = if cfg!(debug_assertions) { 81 } else { 6_561 };
/// Images that are drawn where there are more.
const SAMPLE: u64 = if cfg!(debug_assertions) { 24 } else { 300 };
/// Images of a moment inside a recovery.
const INSIDE: u64 = if cfg!(debug_assertions) { 6 } else { 9 };
/// Of so many images one is recovered with further power cuts on the way.
const OFTEN: usize = if cfg!(debug_assertions) { 97 } else { 307 };

fn setup(zoned: bool) -> Setup {
    Setup {
        zoned,
        short_zones: false,
        small_sectors: false,
        volatile_cache: true,
        cache_versions_max: 1 << 16,
        unreadable_p: 0.3,
        extents: 16,
        extent_blocks: 16,
        depth_max: 8,
        auto_reclaim: false,
        checkpoint_entries: 8,
        keys: 8,
        payload_max: 8_192,
        fills: false,
        trouble: Trouble::default(),
    }
}

fn put(key: u8, version: u32, len: u32) -> Op {
    Op::Put { key, version, len, expires: false }
}

/// What happens before, one after the other, and what is under way when the power fails.
struct Script {
    name: &'static str,
    before: Vec<Op>,
    last: Vec<Op>,
}

fn scripts() -> Vec<Script> {
    let delete = |key| Op::Delete { key, hold: false };
    // Five extents' worth of shards, most of them replaced: something for the cleaner.
    let worn = |rounds: u32| -> Vec<Op> {
        (0..rounds).map(|n| put((n % 3) as u8, 100 + n, 3_000 + n)).collect()
    };
    vec![
        Script { name: "a put", before: vec![], last: vec![put(0, 1, 100)] },
        Script { name: "an overwrite", before: vec![put(0, 1, 5_000)], last: vec![put(0, 2, 9)] },
        Script { name: "a delete", before: vec![put(0, 1, 100)], last: vec![delete(0)] },
        Script {
            name: "several at once",
            before: vec![put(0, 1, 100), put(1, 2, 4_096)],
            last: vec![put(2, 3, 10), delete(0), put(1, 4, 4_097), put(2, 5, 20)],
        },
        Script {
            name: "a put after a delete",
            before: vec![put(0, 1, 100), delete(0), Op::Release { key: 0 }],
            last: vec![put(1, 2, 1), Op::Flush, put(0, 3, 1)],
        },
        Script {
            name: "a checkpoint",
            before: vec![put(0, 1, 100), put(1, 2, 100), delete(1)],
            last: vec![Op::Checkpoint, put(2, 3, 1)],
        },
        Script { name: "a cleaning", before: worn(30), last: vec![Op::Reclaim] },
        Script {
            name: "a cleaning among puts",
            before: worn(24),
            last: vec![Op::Reclaim, put(5, 1, 50), delete(0), Op::Get { key: 1 }],
        },
    ]
}

/// The rig at the moment when so many requests of the last operations have completed; `None`
/// once they are all done before that.
fn at_moment(script: &Script, setup: &Setup, seed: u64, after: u32) -> Option<Rig> {
    let mut rig = Rig::new(setup.disk(seed), false);
    let (world, disk) = (rig.world(), rig.disk().clone());
    let format = format_options(setup, seed);
    rig.run(async move { isotherm_store::format(&world, &disk, &format).await })
        .expect("it ends")
        .expect("it formats");
    let store = start::opened(&mut rig, &options(setup, Planted::default()), false)
        .expect("it ends")
        .expect("it opens");
    let shared = Shared::new(&rig.model);
    for op in &script.before {
        rig.run(perform(Rc::clone(&shared), store.clone(), op.clone())).expect("it ends");
    }
    let mut tasks: Vec<_> = script
        .last
        .iter()
        .map(|op| rig.spawn(perform(Rc::clone(&shared), store.clone(), op.clone())))
        .collect();
    let drive = rig.drive(Some(after), || {
        tasks.retain_mut(|task| task.try_take().is_none());
        tasks.is_empty()
    });
    assert_eq!(shared.take_wrong(), None, "{} before the power cut", script.name);
    assert_ne!(drive, Drive::Stuck, "{} never ends", script.name);
    (drive == Drive::Cut).then_some(rig)
}

#[derive(Default)]
struct Count {
    moments: u64,
    exhaustive: u64,
    images: u64,
    inside: u64,
}

/// All images of one moment.
fn walk(
    rig: &Rig,
    disk: &SimDiskConfig,
    options: &Options,
    count: &mut Count,
) -> Result<(), String> {
    let model: &Model = &rig.model;
    let unsettled = rig.control.unsettled();
    let max = if unsettled.combinations() <= ALL_MAX { ALL_MAX } else { SAMPLE };
    let images = unsettled.images(max, disk.seed);
    count.moments += 1;
    count.exhaustive += u64::from(images.is_exhaustive());
    for (number, image) in images.enumerate() {
        count.images += 1;
        let rig = start::rig_over(disk, image.clone(), model);
        let full_scan = number % 5 == 4;
        start::check(rig, options, full_scan).map_err(|e| format!("image {number}: {e}"))?;
        if number % OFTEN != 3 {
            continue;
        }
        // The power fails again while the store recovers, at every completion.
        for after in 0.. {
            let mut rig = start::rig_over(disk, image.clone(), model);
            if !start::begin_opening(&mut rig, options, false, after)? {
                start::give_up(rig)?;
                break;
            }
            for again in rig.control.unsettled().images(INSIDE, disk.seed) {
                count.inside += 1;
                let rig = start::rig_over(disk, again, model);
                start::check(rig, options, false)
                    .map_err(|e| format!("image {number}, again after {after}: {e}"))?;
            }
            start::give_up(rig)?;
        }
    }
    Ok(())
}

fn every_image(zoned: bool) {
    let setup = setup(zoned);
    let (disk, options) = (setup.disk(1), options(&setup, Planted::default()));
    for script in scripts() {
        let mut count = Count::default();
        for after in 0.. {
            let Some(rig) = at_moment(&script, &setup, 1, after) else { break };
            if let Err(what) = walk(&rig, &disk, &options, &mut count) {
                panic!("{}, after {after} completions: {what}", script.name);
            }
            start::give_up(rig).expect("all buffers come back");
        }
        println!(
            "{:>22}{}: {} moments, all images of {}; {} images, {} inside recovery",
            script.name,
            if zoned { ", zoned" } else { "" },
            count.moments,
            count.exhaustive,
            count.images,
            count.inside
        );
        assert!(count.moments > 1 && count.images > 2 * count.moments, "{}", script.name);
    }
}

#[test]
fn every_image_of_a_power_cut_recovers() {
    every_image(false);
}

#[test]
fn every_image_of_a_power_cut_of_a_zoned_disk_recovers() {
    every_image(true);
}

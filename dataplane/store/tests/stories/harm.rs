//! Stories of disks that lose, misplace and forget.

use super::*;

/// The newest checkpoints could not be read for a moment. A full scan went on from the numbers of
/// older ones, and at the next restart, when all could be read again, one of the old ones had the
/// greater number: what was put since was gone.
#[test]
fn a_checkpoint_that_comes_back_is_not_the_newest() {
    const META: [u64; 2] = [0, 8 * EXTENT_BLOCKS as u64];
    for hidden_from in 1..EXTENT_BLOCKS as u64 {
        let config = small_disk(4);
        let mut rig = formatted(config.clone());
        let store = open(&mut rig);
        rig.run(put(store.clone(), 1, 100)).expect("it ends").expect("there is room");
        for _ in 0..5 {
            rig.run(checkpoint(store.clone())).expect("it ends").expect("it is written");
        }
        rig.run(store.close()).expect("it ends").expect("it closes");
        let before = rig.control.image();
        rig.end().expect("all buffers are back");
        let hidden: Vec<u64> = META
            .iter()
            .flat_map(|meta| meta + hidden_from..meta + u64::from(EXTENT_BLOCKS))
            .filter(|&block| !matches!(before.sector(block), Sector::Blank))
            .collect();
        let mut image = before.clone();
        hidden.iter().for_each(|&block| image.set(block, Sector::Unreadable));
        let mut rig = Rig::with_image(config.clone(), image, Model::default());
        let opened = start::opened(&mut rig, &options(), true).expect("it ends");
        let Ok(store) = opened else { continue };
        rig.run(put(store.clone(), 2, 100)).expect("it ends").expect("there is room");
        drop(store);
        rig.crash(CrashStyle::All);
        let mut image = rig.control.image();
        rig.end().expect("all buffers are back");
        for block in hidden {
            if matches!(image.sector(block), Sector::Unreadable) {
                image.set(block, before.sector(block).clone());
            }
        }
        let mut rig = Rig::with_image(config, image, Model::default());
        let store = open(&mut rig);
        for number in [1, 2] {
            let found = rig.run(read(store.clone(), number)).expect("it ends");
            assert!(found.is_ok(), "hidden from {hidden_from}: shard {number}: {:?}", found.err());
        }
        rig.run(store.close()).expect("it ends").expect("it closes");
        rig.end().expect("all buffers are back");
    }
}

/// The first write to an extent was lost as a whole. Recovery looked at the first blocks, found
/// nothing of this life of the extent and took it for unused: what had been written behind was
/// lost as well.
#[test]
fn a_lost_write_does_not_hide_what_lies_behind_it() {
    for is_zoned in [false, true] {
        let mut config = SimDiskConfig::new(5, DiskId(0), 16 * 32);
        config.geometry.io_bytes_max = 2 << 20;
        if is_zoned {
            config.geometry.discard = false;
            config.geometry.zones = Some(ZoneGeometry {
                zone_blocks: 32,
                capacity_blocks: 32,
                zones: 16,
                conventional: 0,
                open_max: 0,
            });
        }
        let mut rig = Rig::new(config, true);
        let format = FormatOptions {
            extent_blocks: (!is_zoned).then_some(32),
            ..FormatOptions::new([7; 16])
        };
        let (world, disk) = (rig.world(), rig.disk().clone());
        rig.run(async move { isotherm_store::format(&world, &disk, &format).await })
            .expect("it ends")
            .expect("it formats");
        let store = open(&mut rig);
        rig.control.inject(rig.now(), Fault::LoseNextWrite);
        let many = store.clone();
        // With the head of the extent and the mark thirty blocks; the last two are left.
        let both_at_once = async move {
            let puts: Vec<_> = (1..3)
                .map(|number| {
                    let mut buf = many.buffer(53_248).expect("the pool is large");
                    buf.fill(&content(number, 1, 53_248));
                    many.put(Put::new(key(number)), buf)
                })
                .collect();
            for put in puts {
                put.await.expect("there is room");
            }
        };
        rig.run(both_at_once).expect("it ends");
        rig.run(put(store.clone(), 40, 0)).expect("it ends").expect("there is room");
        drop(store);
        rig.crash(CrashStyle::All);
        let store = open(&mut rig);
        let found = rig.run(read(store.clone(), 40)).expect("it ends");
        assert_eq!(found, Ok(Vec::new()), "zoned: {is_zoned}");
        drop(store);
        rig.crash(CrashStyle::All);
        rig.end().expect("all buffers are back");
    }
}

/// A block that could be read at the third try was a hole after the second.
#[test]
fn what_can_be_read_at_some_try_is_no_hole() {
    for (reads, is_found) in [(3, true), (6, false)] {
        let mut rig = formatted(small_disk(6));
        let store = open(&mut rig);
        rig.run(put(store.clone(), 1, 100)).expect("it ends").expect("there is room");
        drop(store);
        rig.crash(CrashStyle::All);
        let record = rig.log.borrow().record(&key(1));
        record.into_iter().for_each(|block| rig.log.borrow_mut().be_stubborn(block, reads));
        let store = open(&mut rig);
        let found = rig.run(read(store.clone(), 1)).expect("it ends");
        assert_eq!(found.is_ok(), is_found, "{reads} reads fail: {found:?}");
        drop(store);
        rig.crash(CrashStyle::All);
        rig.end().expect("all buffers are back");
    }
}

/// A record of the last batch of an extent was harmed. Nothing behind it said that it had been
/// durable, so it was taken for torn and nobody was told.
#[test]
fn a_batch_that_is_not_what_its_mark_says_is_told_of() {
    for harms in [false, true] {
        let mut rig = formatted(small_disk(7));
        let store = open(&mut rig);
        for number in 1..4 {
            rig.run(put(store.clone(), number, 100)).expect("it ends").expect("there is room");
        }
        drop(store);
        rig.crash(CrashStyle::All);
        let record = rig.log.borrow().record(&key(3));
        if harms {
            let now = rig.now();
            rig.log.borrow_mut().harm(record[0], true, 0, now);
        }
        let (world, disk) = (rig.world(), rig.disk().clone());
        let opening = suite::run::open(world, disk, options(), false);
        let (store, report) = rig.run(opening).expect("it ends").expect("it opens");
        assert!(report.holes.is_empty(), "{:?}", report.holes);
        assert_eq!(report.broken.len(), usize::from(harms), "{:?}", report.broken);
        for number in 1..3 {
            assert!(rig.run(read(store.clone(), number)).expect("it ends").is_ok());
        }
        drop(store);
        rig.crash(CrashStyle::All);
        rig.end().expect("all buffers are back");
    }
}

/// An extent could not be emptied: the write that says so failed. It was no longer counted as a
/// place where a shard may lie, so the tombstones of what lay in it were dropped, and a full scan
/// brought deleted shards back.
#[test]
fn what_could_not_be_emptied_keeps_its_tombstones() {
    for is_mended in [false, true] {
        let mut rig = formatted(small_disk(8));
        let store = open(&mut rig);
        rig.run(put(store.clone(), 1, 100)).expect("it ends").expect("there is room");
        // All that is open is closed by a power cut.
        drop(store);
        rig.crash(CrashStyle::All);
        let store = open(&mut rig);
        let record = rig.log.borrow().record(&key(1))[0];
        let front = record - record % u64::from(EXTENT_BLOCKS);
        rig.log.borrow_mut().be_unwritable(front, true);
        rig.run(store.delete(Delete::new(key(1)))).expect("it ends").expect("deleted");
        for _ in 0..3 {
            rig.run(checkpoint(store.clone())).expect("it ends").expect("it is written");
        }
        assert_eq!(store.status().extents.offline, 1, "{:?}", store.status());
        drop(store);
        rig.crash(CrashStyle::All);
        // A write that failed once may do at the next start.
        rig.log.borrow_mut().be_unwritable(front, !is_mended);
        let store = open(&mut rig);
        assert_eq!(store.status().extents.offline, u32::from(!is_mended));
        // The tombstone's own extent is emptied, for which it is moved or dropped.
        for _ in 0..2 {
            rig.run(put(store.clone(), 2, 100)).expect("it ends").expect("there is room");
            let cleaning = store.clone();
            let cleaning = async move { cleaning.reclaim_once().await };
            rig.run(cleaning).expect("it ends").expect("it cleans");
        }
        assert_eq!(store.status().entries, 1 + u64::from(!is_mended));
        drop(store);
        rig.crash(CrashStyle::All);
        let opened = start::opened(&mut rig, &options(), true).expect("it ends");
        let store = opened.expect("it opens");
        let found = rig.run(read(store.clone(), 1)).expect("it ends");
        let gone = if is_mended { GetError::NotFound } else { GetError::Deleted };
        assert_eq!(found, Err(gone), "mended: {is_mended}");
        drop(store);
        rig.crash(CrashStyle::All);
        rig.end().expect("all buffers are back");
    }
}

/// The write of a checkpoint was lost without a word. The next one went to the zone with the last that
/// was whole; that write failed, so the zone was reset for another try, which failed as well: there was
/// no checkpoint on the disk any more. The same befell where a zone was full and begun again.
#[test]
fn the_last_but_one_checkpoint_is_not_given_up_for_one_that_is_lost() {
    for before in 0..20 {
        let mut rig = formatted(zoned(small_disk(12)));
        let store = open(&mut rig);
        rig.run(put(store.clone(), 1, 100)).expect("it ends").expect("there is room");
        for _ in 0..=before {
            rig.run(checkpoint(store.clone())).expect("it ends").expect("it is written");
        }
        rig.control.inject(rig.now(), Fault::LoseNextWrite);
        rig.run(checkpoint(store.clone())).expect("it ends").expect("as far as it knows");
        let meta = |block: &u64| (block / u64::from(EXTENT_BLOCKS)).is_multiple_of(8);
        let all: Vec<u64> = (0..16 * u64::from(EXTENT_BLOCKS)).filter(meta).collect();
        all.iter().for_each(|block| rig.log.borrow_mut().be_unwritable(*block, true));
        let refused = rig.run(checkpoint(store.clone())).expect("it ends");
        assert_eq!(refused, Err(PutError::Fenced), "{before} before");
        all.iter().for_each(|block| rig.log.borrow_mut().be_unwritable(*block, false));
        drop(store);
        rig.crash(CrashStyle::All);
        let store = open(&mut rig);
        let found = rig.run(read(store.clone(), 1)).expect("it ends");
        assert!(found.is_ok(), "{before} before: {:?}", found.err());
        rig.run(store.close()).expect("it ends").expect("it closes");
        rig.end().expect("all buffers are back");
    }
}

/// Both zones with checkpoints were empty, or could not be read, and the disk was said to hold no store:
/// format it first. All shards were there.
#[test]
fn a_zoned_disk_without_any_checkpoint_is_a_store() {
    for is_empty in [true, false] {
        let mut rig = formatted(zoned(small_disk(13)));
        let store = open(&mut rig);
        rig.run(put(store.clone(), 1, 100)).expect("it ends").expect("there is room");
        rig.run(store.close()).expect("it ends").expect("it closes");
        for meta in [0, 8] {
            if is_empty {
                let resetting = rig.disk().zone_reset(ZoneId(meta));
                rig.run(resetting).expect("it ends").expect("it is empty");
            } else {
                let start = Lba(u64::from(meta * EXTENT_BLOCKS));
                let blocks = start..start.offset(u64::from(EXTENT_BLOCKS));
                rig.control.inject(rig.now(), Fault::Unreadable(blocks));
            }
        }
        let opened = start::opened(&mut rig, &options(), false).expect("it ends");
        assert_eq!(opened.err(), Some(OpenError::NoCheckpoint));
        let (world, disk) = (rig.world(), rig.disk().clone());
        let format = FormatOptions::new([8; 16]);
        let made = rig.run(async move { isotherm_store::format(&world, &disk, &format).await });
        assert_eq!(made.expect("it ends"), Err(FormatError::Occupied { uuid: [7; 16] }));
        let opened = start::opened(&mut rig, &options(), true).expect("it ends");
        let mut store = opened.expect("it opens");
        for _ in 0..2 {
            let found = rig.run(read(store.clone(), 1)).expect("it ends");
            assert!(found.is_ok(), "{:?}", found.err());
            drop(store);
            rig.crash(CrashStyle::All);
            store = open(&mut rig);
        }
        rig.run(store.close()).expect("it ends").expect("it closes");
        rig.end().expect("all buffers are back");
    }
}

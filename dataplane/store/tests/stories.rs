//! What once went wrong, told as short as it can be: one test for each bug.

mod suite;

use isotherm_seam::{BlockSize, DiskId, Domain, Draws, Lba, ZoneGeometry, ZoneId};
use isotherm_sim::{CrashStyle, Fault, FaultRates, Sector, SimDiskConfig};
use isotherm_store::layout::Kind;
use isotherm_store::model::Model;
use isotherm_store::{
    Delete, FormatError, FormatOptions, GetError, OpenError, Options, Put, PutError, Reserve, Store,
};
use suite::plan::{content, key};
use suite::rig::{Drive, Rig};
use suite::start;

const EXTENT_BLOCKS: u32 = 16;

/// A conventional disk of the fewest and smallest extents.
fn small_disk(seed: u64) -> SimDiskConfig {
    let mut config = SimDiskConfig::new(seed, DiskId(0), u64::from(16 * EXTENT_BLOCKS));
    config.geometry.logical = BlockSize::B4096;
    config.geometry.io_bytes_max = 2 << 20;
    config.unreadable_p = 0.0;
    config
}

/// The same with a zone for each extent.
fn zoned(mut config: SimDiskConfig) -> SimDiskConfig {
    let zone_blocks = u64::from(EXTENT_BLOCKS);
    config.geometry.discard = false;
    config.geometry.zones = Some(ZoneGeometry {
        zone_blocks,
        capacity_blocks: zone_blocks,
        zones: 16,
        conventional: 0,
        open_max: 0,
    });
    config
}

fn options() -> Options {
    Options { entries_max: 4_096, changes_max: 16, batch_bytes: 160 << 10, ..Options::default() }
}

fn formatted(config: SimDiskConfig) -> Rig {
    let mut rig = Rig::new(config, true);
    let (world, disk) = (rig.world(), rig.disk().clone());
    let is_zoned = rig.disk().geometry().zones.is_some();
    let extent_blocks = (!is_zoned).then_some(EXTENT_BLOCKS);
    let format = FormatOptions { extent_blocks, ..FormatOptions::new([7; 16]) };
    rig.run(async move { isotherm_store::format(&world, &disk, &format).await })
        .expect("it ends")
        .expect("it formats");
    rig
}

fn open(rig: &mut Rig) -> Store {
    start::opened(rig, &options(), false).expect("it ends").expect("it opens")
}

async fn put(store: Store, number: u8, len: u32) -> Result<(), PutError> {
    let mut buf = store.buffer(len as usize).expect("the pool is large");
    buf.fill(&content(number, 1, len));
    store.put(Put::new(key(number)), buf).await.map(drop)
}

async fn read(store: Store, number: u8) -> Result<Vec<u8>, GetError> {
    store.read(key(number)).await.map(|shard| shard.to_vec())
}

async fn checkpoint(store: Store) -> Result<(), PutError> {
    store.checkpoint().await
}

async fn flush(store: Store) {
    store.flush().await;
}

/// A cleaning that waited for another began when the store had written its clean mark already:
/// it read and wrote on, while the next store was opened on the same disk.
#[test]
fn nothing_of_a_store_goes_on_when_it_is_closed() {
    for seed in 0..60 {
        let mut rig = formatted(small_disk(seed));
        let store = open(&mut rig);
        for number in 0..10 {
            rig.run(put(store.clone(), number, 9_000)).expect("it ends").expect("there is room");
        }
        for number in (0..10).step_by(2) {
            rig.run(store.delete(Delete::new(key(number)))).expect("it ends").expect("deleted");
        }
        let cleanings: Vec<_> = (0..3)
            .map(|_| {
                let store = store.clone();
                rig.spawn(async move { store.reclaim_once().await.map(drop) })
            })
            .collect();
        let checkpoint = rig.spawn(checkpoint(store.clone()));
        // As far as the first cleaning's reads.
        assert_eq!(rig.drive(Some(seed as u32 % 12), || false), Drive::Cut);
        rig.run(store.close()).expect("it ends").expect("it closes");
        let requests = |rig: &Rig| rig.world().handle.counters().completions;
        let before = requests(&rig);
        assert_eq!(rig.drive(None, || false), Drive::Stuck, "nothing is left to do");
        assert_eq!(requests(&rig), before, "seed {seed}: requests of a store that was closed");
        drop((cleanings, checkpoint));
        rig.end().expect("all buffers are back");
    }
}

/// Each restart after a power cut left a small run of the index in an extent of its own. They
/// were not merged, as all of them together looked as if they would need three extents, and puts
/// and deletes were refused on a disk that was nearly empty.
#[test]
fn restarts_do_not_fill_a_disk_with_runs() {
    let mut rig = formatted(small_disk(1));
    let mut store = open(&mut rig);
    for round in 0..40u8 {
        let number = round % 8;
        rig.run(put(store.clone(), number, 100)).expect("it ends").expect("there is room");
        if round % 3 == 2 {
            let gone = Delete::new(key(number));
            rig.run(store.delete(gone)).expect("it ends").expect("a delete finds room");
        }
        drop(store);
        rig.crash(CrashStyle::None);
        store = open(&mut rig);
        assert_eq!(rig.drive(None, || false), Drive::Stuck, "the cleaner comes to an end");
        let status = store.status();
        assert!(status.room_extents > 0, "round {round}: {status:?}");
    }
    rig.run(store.close()).expect("it ends").expect("it closes");
    rig.end().expect("all buffers are back");
}

/// A delete waited for a put of its key. The flush of that put failed, so that nobody knows what
/// became of it; the index had never heard of it, and the delete was answered as done: there was
/// nothing to delete. After a restart the shard was there.
#[test]
fn a_delete_behind_a_put_of_unknown_fate_is_not_acknowledged() {
    let mut rig = formatted(small_disk(3));
    let store = open(&mut rig);
    rig.control.set_rates(FaultRates { flush_error: 1.0, ..FaultRates::default() });
    let same = store.clone();
    let both = async move {
        let mut buf = same.buffer(100).expect("the pool is large");
        buf.fill(&content(1, 1, 100));
        let (put, delete) = (same.put(Put::new(key(1)), buf), same.delete(Delete::new(key(1))));
        (put.await.map(drop), delete.await)
    };
    let (put, delete) = rig.run(both).expect("they end");
    assert_eq!((put, delete), (Err(PutError::Fenced), Err(PutError::Fenced)));
    drop(store);
    rig.crash(CrashStyle::All);
    rig.control.set_rates(FaultRates::default());
    let store = open(&mut rig);
    let found = rig.run(read(store.clone(), 1)).expect("it ends");
    assert!(found.is_ok_and(|shard| shard.len() == 100), "the put was written");
    drop(store);
    rig.crash(CrashStyle::All);
    rig.end().expect("all buffers are back");
}

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

/// The keeper tried to merge runs, one of which could not be read. Meanwhile a put asked for a
/// checkpoint that names extents, was not heard, and waited for ever.
#[test]
fn who_asks_for_a_checkpoint_during_a_merge_that_fails_gets_one() {
    for seed in 0..20 {
        let mut rig = formatted(small_disk(seed));
        let options = Options { named: 2, ..options() };
        let opened = start::opened(&mut rig, &options, false).expect("it ends");
        let store = opened.expect("it opens");
        for number in 0..7 {
            rig.run(put(store.clone(), number, 100)).expect("it ends").expect("there is room");
            rig.run(checkpoint(store.clone())).expect("it ends").expect("it is written");
        }
        let runs = rig.log.borrow().of_kinds(&[Kind::Run]);
        let now = rig.now();
        for block in runs {
            rig.log.borrow_mut().harm(block, true, 0, now);
        }
        for round in 0..12 {
            let puts: Vec<_> = (0..6)
                .map(|number| {
                    let len = 4_096 * (1 + number + round) % 20_000;
                    rig.spawn(put(store.clone(), 10 + number as u8, len))
                })
                .collect();
            let is_over = rig.run(flush(store.clone()));
            assert!(is_over.is_some(), "seed {seed}, round {round}: puts that never end");
            drop(puts);
        }
        let gone = rig.run(read(store.clone(), 47)).expect("it ends");
        assert!(matches!(gone, Err(GetError::NotFound)));
        drop(store);
        rig.crash(CrashStyle::All);
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

/// A disk that is filled as far as it goes, and on which something died.
fn filled(config: SimDiskConfig) -> Rig {
    let mut rig = formatted(config);
    let store = open(&mut rig);
    let mut number = 0;
    while rig.run(put(store.clone(), number % 44, 9_000)).expect("it ends").is_ok() {
        number += 1;
        assert!(number < 250, "it is never full");
    }
    let longest = 3 * EXTENT_BLOCKS as usize;
    for number in (0..44).step_by(longest / 12) {
        // One that finds no room any more is none the worse for this story.
        let _ = rig.run(store.delete(Delete::new(key(number)))).expect("it ends");
    }
    drop(store);
    rig.crash(CrashStyle::None);
    rig
}

/// Each recovery that a power cut ended had taken an extent for the run of its first checkpoint, and
/// in a zone that is written to something else can't be begun. On a full disk there were soon no
/// more, and the disk did not open: what was dead already could be emptied only behind a
/// checkpoint, which had no room for its run.
#[test]
fn a_full_disk_opens_however_often_recovery_was_cut() {
    for (is_zoned, is_full_scan) in [(true, false), (false, false), (true, true), (false, true)] {
        for seed in 0..12 {
            let mut config = small_disk(seed);
            if is_zoned {
                config = zoned(config);
            }
            let mut rig = filled(config);
            // A full scan reads much before it writes.
            for after in 0..if is_full_scan { 240 } else { 60 } {
                let style = CrashStyle::ALL[after as usize % CrashStyle::ALL.len()];
                start::begin_opening(&mut rig, &options(), is_full_scan, after).expect("it ends");
                rig.crash(style);
            }
            let opened = start::opened(&mut rig, &options(), is_full_scan).expect("it ends");
            let store = opened.unwrap_or_else(|e| panic!("zoned: {is_zoned}, seed {seed}: {e}"));
            rig.run(store.close()).expect("it ends").expect("it closes");
            rig.end().expect("all buffers are back");
        }
    }
}

/// The last empty extents were taken for the run of a checkpoint, as writes of it failed. There was
/// none for the next one, although several were dead: they could be emptied only behind the
/// checkpoint that found no room. From then on each was refused, that of a clean stop too.
#[test]
fn a_checkpoint_finds_the_room_that_only_a_checkpoint_gives() {
    let mut reached = 0;
    for spills in 0..8 {
        let mut rig = formatted(small_disk(9));
        let reserve = Reserve { moves: 0, index: 2, tombs: 1 };
        let options = Options { reserve, reclaims: false, changes_max: 1_000, ..options() };
        let opened = start::opened(&mut rig, &options, false).expect("it ends");
        let store = opened.expect("it opens");
        // The extent for the index is full sooner or later.
        for number in 0..spills {
            rig.run(put(store.clone(), number, 100)).expect("it ends").expect("there is room");
            rig.run(checkpoint(store.clone())).expect("it ends").expect("it is written");
        }
        let mut last = 8;
        while rig.run(put(store.clone(), last, 9_000)).expect("it ends").is_ok() {
            last += 1;
        }
        // Together: it is one batch, and many extents die by it.
        let many = store.clone();
        let deletes = async move {
            let deletes: Vec<_> =
                (8..20).map(|number| many.delete(Delete::new(key(number)))).collect();
            for delete in deletes {
                delete.await.expect("there is room");
            }
        };
        rig.run(deletes).expect("it ends");
        checkpoint_at_second_try(&mut rig, &store);
        assert!(store.status().extents.dead > 0, "{:?}", store.status());
        rig.run(store.delete(Delete::new(key(20)))).expect("it ends").expect("there is room");
        let before = store.status().counters.checkpoints;
        checkpoint_at_second_try(&mut rig, &store);
        // The last one was written once more.
        reached += u32::from(store.status().counters.checkpoints == before + 2);
        rig.run(store.close()).expect("it ends").expect("it closes");
        rig.end().expect("all buffers are back");
    }
    assert!(reached > 0, "the disk was never so full");
}

/// A checkpoint whose first write fails.
fn checkpoint_at_second_try(rig: &mut Rig, store: &Store) {
    let mut writing = rig.spawn(checkpoint(store.clone()));
    rig.control.set_rates(FaultRates { write_error: 1.0, ..FaultRates::default() });
    assert_eq!(rig.drive(Some(1), || false), Drive::Cut);
    rig.control.set_rates(FaultRates::default());
    let mut result = None;
    rig.drive(None, || {
        result = writing.try_take();
        result.is_some()
    });
    result.expect("it ends").expect("it is written");
}

/// Recoveries after power cuts had left runs of the index in extents of their own, until there was one
/// empty extent. To merge them took one, and one to spare: so nothing was merged, nothing could be
/// moved, and a delete was refused on a disk of which less than a quarter was live.
#[test]
fn the_index_is_merged_into_the_last_extent() {
    for seed in [0, 1, 2, 1_621] {
        let mut draws = Draws::new(seed, Domain::new("store.stories"), 0);
        let mut rig = formatted(zoned(small_disk(seed)));
        let options = Options { changes_max: 4, ..options() };
        let opened = start::opened(&mut rig, &options, false).expect("it ends");
        let mut store = opened.expect("it opens");
        for _ in 0..60 {
            let number = draws.below(40) as u8;
            match draws.below(10) {
                kind @ 0..7 => {
                    let is_long = kind < 4 && number < 6;
                    let (number, len) =
                        if is_long { (number, 14_336) } else { (6 + number % 6, 100) };
                    // A disk of so few extents may well be full.
                    let _ = rig.run(put(store.clone(), number, len)).expect("it ends");
                }
                7..9 => {
                    let gone = Delete { hold: draws.happens(0.3), ..Delete::new(key(number)) };
                    let result = rig.run(store.delete(gone)).expect("it ends");
                    let status = store.status();
                    let is_roomy = 4 * status.live_bytes < 14 * status.extent_bytes;
                    assert!(result.is_ok() || !is_roomy, "seed {seed}: {result:?}, {status:?}");
                }
                _ => {
                    drop(store);
                    rig.crash(CrashStyle::ALL[draws.below(6) as usize]);
                    let opened = start::opened(&mut rig, &options, false).expect("it ends");
                    store = opened.expect("it opens");
                }
            }
        }
        drop(store);
        rig.crash(CrashStyle::All);
        rig.end().expect("all buffers are back");
    }
}

/// What could no longer be written again was given up at once: the write of a delete failed on a disk
/// that had no extent left but the reserve of the index, and the disk was fenced by that one failure,
/// although the cleaner was about to empty several extents.
#[test]
fn what_is_to_be_written_again_waits_for_the_cleaner() {
    for config in [small_disk(10), zoned(small_disk(10))] {
        let mut rig = formatted(config);
        let reserve = Reserve { moves: 0, index: 2, tombs: 0 };
        let opened = start::opened(&mut rig, &Options { reserve, ..options() }, false);
        let store = opened.expect("it ends").expect("it opens");
        let mut count = 0;
        while rig.run(put(store.clone(), count, 9_000)).expect("it ends").is_ok() {
            count += 1;
        }
        assert!((20..40).contains(&count), "{count} puts");
        // All that is in some extents dies by one batch, and they are empty two checkpoints later.
        let many = store.clone();
        let deletes = async move {
            let deletes: Vec<_> =
                (0..8).map(|number| many.delete(Delete::new(key(number)))).collect();
            for delete in deletes {
                delete.await.expect("there is room");
            }
        };
        rig.run(deletes).expect("they end");
        let status = store.status();
        assert_eq!((status.room_extents, status.extents.free), (0, 2), "{status:?}");
        let tombs = rig.log.borrow().of_kinds(&[Kind::Tombs]);
        let next = tombs.last().expect("there are some") + 2;
        rig.log.borrow_mut().be_unwritable(next, true);
        let deleted = rig.run(store.delete(Delete::new(key(10)))).expect("it ends");
        assert_eq!(deleted, Ok(()), "{:?}", store.status());
        drop(store);
        rig.crash(CrashStyle::None);
        let store = open(&mut rig);
        assert_eq!(rig.run(read(store.clone(), 10)).expect("it ends"), Err(GetError::Deleted));
        rig.run(store.close()).expect("it ends").expect("it closes");
        rig.end().expect("all buffers are back");
    }
}

/// A disk that has one empty extent, and many runs of the index, each in an extent of its own, that
/// could not be merged as one of them could not be read for a while. No run can be written behind
/// another any more. The number of shards in it.
fn full_of_runs(config: SimDiskConfig) -> (Rig, Store, u8) {
    let mut rig = formatted(config);
    let options = Options { reclaims: false, changes_max: 1_000, ..options() };
    let opened = start::opened(&mut rig, &options, false).expect("it ends");
    let store = opened.expect("it opens");
    rig.run(put(store.clone(), 0, 100)).expect("it ends").expect("there is room");
    rig.run(checkpoint(store.clone())).expect("it ends").expect("it is written");
    let first = rig.log.borrow().of_kinds(&[Kind::Run])[0];
    rig.log.borrow_mut().be_stubborn(first, u32::MAX);
    let mut count = 1;
    let store_extents = (0..16).filter(|extent| extent % 8 > 0);
    let behind: Vec<u64> = store_extents
        .flat_map(|extent| {
            let start = extent * u64::from(EXTENT_BLOCKS);
            // The last block says that an extent was emptied.
            start + 4..start + u64::from(EXTENT_BLOCKS) - 1
        })
        .collect();
    while store.status().extents.free > 1 {
        rig.run(put(store.clone(), count, 0)).expect("it ends").expect("there is room");
        count += 1;
        behind.iter().for_each(|block| rig.log.borrow_mut().be_unwritable(*block, true));
        rig.run(checkpoint(store.clone())).expect("it ends").expect("it is written");
        behind.iter().for_each(|block| rig.log.borrow_mut().be_unwritable(*block, false));
    }
    rig.log.borrow_mut().be_stubborn(first, 0);
    rig.run(put(store.clone(), count, 0)).expect("it ends").expect("there is room");
    behind.iter().for_each(|block| rig.log.borrow_mut().be_unwritable(*block, true));
    (rig, store, count + 1)
}

/// A checkpoint without room made one run of many, in the last extent, and could not write its own
/// behind it, as that write failed. From then on all checkpoints were refused: what the many runs had
/// lain in could be given up only by a checkpoint that found no room.
#[test]
fn a_checkpoint_names_merged_runs_before_it_has_room_for_its_own() {
    for config in [small_disk(11), zoned(small_disk(11))] {
        for cut in (0..60).map(Some).chain([None]) {
            let (mut rig, store, count) = full_of_runs(config.clone());
            let mut writing = rig.spawn(checkpoint(store.clone()));
            let mut written = None;
            rig.drive(cut, || {
                written = writing.try_take();
                written.is_some()
            });
            assert_eq!(written.unwrap_or(Ok(())), Ok(()), "cut: {cut:?}");
            drop((store, writing));
            rig.crash(CrashStyle::ALL[cut.unwrap_or(0) as usize % CrashStyle::ALL.len()]);
            let store = open(&mut rig);
            for number in 0..count {
                let found = rig.run(read(store.clone(), number)).expect("it ends");
                assert!(found.is_ok(), "cut: {cut:?}, shard {number}: {:?}", found.err());
            }
            rig.run(store.close()).expect("it ends").expect("it closes");
            rig.end().expect("all buffers are back");
        }
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

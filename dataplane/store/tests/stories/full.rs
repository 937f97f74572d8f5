//! Stories of full disks.

use super::*;

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

/// A node notes on its disk what it has found there, and that it is over. On a full disk the note was
/// refused, and a disk in doubt stayed so, or was believed after its next start.
#[test]
fn a_full_disk_takes_what_is_vital() {
    for is_zoned in [false, true] {
        let config = small_disk(5);
        let mut rig = filled(if is_zoned { zoned(config) } else { config });
        let mut store = open(&mut rig);
        let mut number = 50;
        for round in 0..12 {
            while rig.run(put(store.clone(), number, 9_000)).expect("it ends").is_ok() {
                number += 1;
            }
            let result = rig.run(note(store.clone(), 10 + round)).expect("it ends");
            assert_eq!(result, Ok(()), "zoned: {is_zoned}, round {round}");
            if round % 3 == 2 {
                drop(store);
                rig.crash(CrashStyle::None);
                store = open(&mut rig);
            }
            let noted = rig.run(read(store.clone(), NOTED)).expect("it ends").expect("it is there");
            assert_eq!(noted[..], content(NOTED, 1, 10 + round)[..]);
        }
        rig.run(store.close()).expect("it ends").expect("it closes");
        rig.end().expect("all buffers are back");
    }
}

/// The number of the note.
const NOTED: u8 = 200;

async fn note(store: Store, len: u32) -> Result<(), PutError> {
    let mut buf = store.buffer(len as usize).expect("the pool is large");
    buf.fill(&content(NOTED, 1, len));
    store.put(Put { vital: true, ..Put::new(key(NOTED)) }, buf).await.map(drop)
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

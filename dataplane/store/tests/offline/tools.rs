//! Checks, scans, listings and dumps: they see what is wrong, and write nothing.

use isotherm_store::offline::{Difference, Fault, Meaning, PayloadState, Sound};
use isotherm_store::{
    Delete, ExtentId, GetError, Key, Options, Place, RecoveredDisk, ScannedDisk, Store, World,
};

use crate::rig::{EXTENT_BLOCKS, EXTENTS, Rig, key, payload, put};

const LENGTHS: [usize; 6] = [0, 1, 4096, 5000, 20_000, 40_000];

fn len_of(object: u128) -> usize {
    LENGTHS[object as usize % LENGTHS.len()]
}

/// A store with thirty shards, of which three were deleted and one was put twice.
fn filled(closed: bool) -> Rig {
    let rig = Rig::formatted();
    rig.run(true, move |world, disk| async move {
        let (store, _) = Store::open(&world, &disk, Options::default()).await.expect("it opens");
        for object in 0..15 {
            put(&store, object, len_of(object)).await;
        }
        store.checkpoint().await.expect("a checkpoint");
        for object in 15..30 {
            put(&store, object, len_of(object)).await;
        }
        put(&store, 4, len_of(4)).await;
        for object in [2, 3, 20] {
            store.delete(Delete::new(key(object))).await.expect("it is deleted");
        }
        if closed {
            store.close().await.expect("it closes");
        }
    });
    rig
}

async fn recovered(world: &World, disk: &isotherm_reactor::Disk) -> RecoveredDisk {
    let scanned = ScannedDisk::scan(world, disk).await.expect("a store");
    scanned.recover(Options::default()).await.expect("it recovers")
}

/// Runs a job that must not change a byte of the disk, which is not even opened for writing.
fn look<T: 'static, F: Future<Output = T> + 'static>(
    rig: &Rig,
    job: impl FnOnce(World, isotherm_reactor::Disk) -> F,
) -> T {
    let before = rig.bytes();
    let answer = rig.run(false, job);
    assert!(rig.bytes() == before, "a tool that only reads has written");
    answer
}

fn place_of(rig: &Rig, key: Key) -> Place {
    look(rig, move |world, disk| async move {
        recovered(&world, &disk).await.find(&key).expect("it is there")
    })
}

#[test]
fn a_sound_disk_is_found_sound_and_all_of_it_is_listed() {
    for closed in [true, false] {
        let rig = filled(closed);
        look(&rig, move |world, disk| async move {
            let disk = recovered(&world, &disk).await;
            assert_eq!(disk.report().clean, closed);
            let heads = disk.check_heads().await.expect("heads");
            assert_eq!(heads.faults, []);
            assert_eq!(heads.extents > 0, closed, "only a clean stop leaves extents open");
            let checked = disk.check_records(&|_| true).await.expect("it is read");
            assert_eq!(checked.faults, []);
            assert_eq!((checked.shards, checked.tombstones), (27, 3));
            assert_eq!(checked.superseded, 4, "three deleted, one replaced");
            assert!(!checked.stopped && checked.unreadable_blocks == 0);

            let mut entries = disk.entries_from(key(10));
            let mut seen = Vec::new();
            while let Some(entry) = entries.next().await.expect("the index") {
                seen.push(entry.key);
            }
            assert_eq!(seen, (10..30).map(key).collect::<Vec<_>>());
            for object in 0..30 {
                let bytes = payload(object, len_of(object));
                match disk.get(&key(object), None).await {
                    Ok(shard) => assert_eq!(shard.to_vec(), bytes),
                    Err(error) => {
                        assert!([2, 3, 20].contains(&object), "{object}: {error}");
                        assert_eq!(error, GetError::Deleted);
                    }
                }
            }
            let part = disk.get(&key(29), Some(4000..9000)).await.expect("a range");
            assert_eq!(part.to_vec(), &payload(29, len_of(29))[4000..9000]);
            let beyond = disk.get(&key(29), Some(0..50_000)).await.err();
            assert_eq!(beyond, Some(GetError::OutOfRange { len_bytes: 40_000 }));
            assert_eq!(disk.get(&key(99), None).await.err(), Some(GetError::NotFound));
        });
    }
}

#[test]
fn a_harmed_payload_is_named_by_its_key() {
    let rig = filled(true);
    let place = place_of(&rig, key(22));
    rig.harm(place.extent.0, place.block + 1, 17);
    look(&rig, move |world, disk| async move {
        let disk = recovered(&world, &disk).await;
        let checked = disk.check_records(&|_| true).await.expect("it is read");
        assert_eq!(checked.faults, [Fault::Damaged { key: key(22), place }]);
        assert_eq!(checked.shards, 26);
        assert!(matches!(disk.get(&key(22), None).await, Err(GetError::Damaged { .. })));
    });
}

#[test]
fn a_harmed_check_block_is_missed_and_named() {
    let rig = filled(true);
    let place = place_of(&rig, key(22));
    rig.harm(place.extent.0, place.block, 200);
    look(&rig, move |world, disk| async move {
        let scanned = ScannedDisk::scan(&world, &disk).await.expect("a store");
        let disk = recovered(&world, &disk).await;
        let checked = disk.check_records(&|_| true).await.expect("it is read");
        assert_eq!(checked.faults, [Fault::Missing { key: key(22), place }]);
        let survey = scanned.survey(Some(&disk), &|_| true).await.expect("it is read");
        let sequence = match survey.differences[..] {
            [Difference::NotFound { key: lost, place: at, sequence }] => {
                assert_eq!((lost, at), (key(22), place));
                sequence
            }
            ref other => panic!("{other:?}"),
        };
        assert!(sequence > 0);
        assert!(!survey.holes.is_empty(), "what was durable is gone");
    });
}

#[test]
fn a_harmed_head_of_an_open_extent_is_seen_without_reading_all() {
    let rig = filled(true);
    let open = look(&rig, |world, disk| async move {
        let disk = recovered(&world, &disk).await;
        let open = disk.extents().find(|info| {
            info.row.state == isotherm_store::layout::State::Open && info.row.written > 0
        });
        open.expect("one is open").id
    });
    rig.harm(open.0, 0, 100);
    look(&rig, move |world, disk| async move {
        let disk = recovered(&world, &disk).await;
        let heads = disk.check_heads().await.expect("heads");
        assert!(matches!(heads.faults[..], [Fault::Head { extent, .. }] if extent == open));
        let checked = disk.check_records(&|_| true).await.expect("it is read");
        assert_eq!(checked.faults, [], "its records need no head");
    });
}

#[test]
fn records_and_index_agree_before_and_after_a_crash() {
    for closed in [true, false] {
        let rig = filled(closed);
        look(&rig, |world, disk| async move {
            let scanned = ScannedDisk::scan(&world, &disk).await.expect("a store");
            let alone = scanned.survey(None, &|_| true).await.expect("it is read");
            assert_eq!((alone.shards, alone.tombstones), (27, 3));
            assert_eq!(alone.records, 34);
            let index = recovered(&world, &disk).await;
            let survey = scanned.survey(Some(&index), &|_| true).await.expect("it is read");
            assert_eq!(survey.differences, []);
            assert_eq!((survey.holes.len(), survey.tombstones_dropped), (0, 0));
            let stopped = scanned.survey(Some(&index), &|at| at.done < 3).await.expect("read");
            assert!(stopped.stopped && stopped.extents < EXTENTS);
        });
    }
}

/// An index that was taken before the last changes is behind the records: the scan says so.
#[test]
fn an_index_that_is_behind_is_found_out() {
    let rig = filled(true);
    let old = rig.bytes();
    rig.run(true, |world, disk| async move {
        let (store, _) = Store::open(&world, &disk, Options::default()).await.expect("it opens");
        put(&store, 5, 123).await;
        put(&store, 77, 77).await;
        store.close().await.expect("it closes");
    });
    // The checkpoints of before, the records of now.
    let mut mixed = rig.bytes();
    for extent in [0, EXTENTS / 2] {
        let extent_bytes = EXTENT_BLOCKS as usize * 4096;
        let at = extent as usize * extent_bytes;
        mixed[at..at + extent_bytes].copy_from_slice(&old[at..at + extent_bytes]);
    }
    let rig = Rig::of_bytes(&mixed);
    look(&rig, |world, disk| async move {
        let scanned = ScannedDisk::scan(&world, &disk).await.expect("a store");
        let index = recovered(&world, &disk).await;
        let survey = scanned.survey(Some(&index), &|_| true).await.expect("it is read");
        let keys: Vec<_> = survey
            .differences
            .iter()
            .map(|difference| match difference {
                Difference::Outdated { key, .. } => ("outdated", *key),
                Difference::NotIndexed { key, .. } => ("not indexed", *key),
                Difference::NotFound { key, .. } => ("not found", *key),
            })
            .collect();
        assert_eq!(keys, [("outdated", key(5)), ("not indexed", key(77))]);
    });
}

#[test]
fn a_dump_tells_every_block_once() {
    let rig = filled(true);
    let place = place_of(&rig, key(22));
    rig.harm(place.extent.0, place.block + 2, 5);
    look(&rig, move |world, disk| async move {
        let scanned = ScannedDisk::scan(&world, &disk).await.expect("a store");
        let mut seen_kinds = std::collections::BTreeSet::new();
        for extent in (0..EXTENTS).map(ExtentId) {
            let mut dump = scanned.dump(extent, 0..EXTENT_BLOCKS);
            let mut at = 0;
            while let Some(told) = dump.next().await.expect("it is read") {
                assert_eq!(told.block, at, "{extent:?}");
                at += told.blocks;
                if let Meaning::Block { kind, body, stray, .. } = &told.meaning {
                    assert_eq!(*stray, None);
                    seen_kinds.insert(*kind);
                    if let Ok(Sound::Segment { payload, .. }) = body {
                        let harmed = extent == place.extent && told.block == place.block;
                        let expected = match harmed {
                            true => PayloadState::Damaged { unit: 0 },
                            false => PayloadState::Whole,
                        };
                        assert_eq!(*payload, expected);
                    }
                }
            }
            assert_eq!(at, EXTENT_BLOCKS);
        }
        assert_eq!(seen_kinds.len(), 6, "every kind: {seen_kinds:?}");
        let bytes = scanned.block_bytes(ExtentId(0), 0).await.expect("it is read");
        assert_eq!(&bytes.expect("readable")[..4], b"IsoB");
    });
}

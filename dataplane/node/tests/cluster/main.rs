//! Client and nodes together, in virtual time: objects survive what their codec promises.

mod died;
mod doubt;
mod rig;
mod steered;
mod stuck;

use bytes::Bytes;
use isotherm_client::{Class, ClientConfig, ClientError, ListFrom, Locator, Refusal, RepairReport};
use isotherm_node::ShelfState;
use isotherm_seam::{Domain, Draws, Lba, Nanos};
use isotherm_sim::{Fault, Slow};
use isotherm_wire::{Doubt, Failure};

use rig::{DISK_BLOCKS, EXTENT_BLOCKS, Rig};

/// Bytes that follow from the object's number alone.
fn content(object: u128, len: usize) -> Bytes {
    let mut draws =
        Draws::new(object as u64 ^ (object >> 64) as u64, Domain::new("test.content"), 0);
    let mut bytes = Vec::with_capacity(len + 8);
    while bytes.len() < len {
        bytes.extend_from_slice(&draws.next_u64().to_le_bytes());
    }
    bytes.truncate(len);
    Bytes::from(bytes)
}

fn put(rig: &mut Rig, len: usize) -> Locator {
    try_put(rig, len).unwrap()
}

fn try_put(rig: &mut Rig, len: usize) -> Result<Locator, ClientError> {
    let client = rig.client.clone();
    rig.run(async move {
        let object = client.new_id();
        client.put(object, content(object, len)).await
    })
}

fn check(rig: &mut Rig, locator: Locator) {
    let client = rig.client.clone();
    let got = rig.run(async move { client.get(&locator, None).await }).unwrap();
    assert!(got == content(locator.object, locator.len_bytes as usize), "{locator}: other bytes");
}

fn get(rig: &mut Rig, locator: Locator) -> Result<Vec<u8>, ClientError> {
    let client = rig.client.clone();
    rig.run(async move { client.get(&locator, None).await })
}

/// What was deleted and is not given, though not all who could say so are there.
fn check_withheld(result: Result<Vec<u8>, ClientError>) {
    let error = result.unwrap_err();
    let is_honest = matches!(
        error,
        ClientError::Deleted | ClientError::NotFound | ClientError::Unavailable { .. }
    );
    assert!(is_honest, "{error}");
}

/// Lengths around every edge: copies, one stripe, many.
const LENGTHS: [usize; 9] =
    [0, 1, 4096, (1 << 20) - 1, 1 << 20, 3_000_001, 4 << 20, (4 << 20) + 1, 9_500_000];

#[test]
fn objects_of_every_size_come_back_whole_and_in_ranges() {
    let mut rig = Rig::new(1, 6, 1, "4+2");
    for len in LENGTHS {
        let locator = put(&mut rig, len);
        let class = match len {
            0..1_048_576 => Class::Replicas,
            1_048_576..=4_194_304 => Class::Stripe,
            _ => Class::Manifest,
        };
        assert_eq!(locator.class, class, "{len}");
        assert_eq!(locator.to_string().parse(), Ok(locator));
        check(&mut rig, locator);
        let mut draws = Draws::new(len as u64, Domain::new("test.ranges"), 0);
        for _ in 0..8 {
            let from = draws.below(len as u64 + 1);
            let until = from + draws.below(len as u64 - from + 1);
            let client = rig.client.clone();
            let got =
                rig.run(async move { client.get(&locator, Some(from..until)).await }).unwrap();
            let all = content(locator.object, len);
            assert!(got == all[from as usize..until as usize], "{len}: {from}..{until}");
        }
        let client = rig.client.clone();
        let beyond = Some(0..len as u64 + 1);
        let error = rig.run(async move { client.get(&locator, beyond).await }).unwrap_err();
        assert_eq!(error, ClientError::OutOfRange { len_bytes: len as u64 });
    }
    let counters = rig.client.counters();
    assert_eq!((counters.read_degraded, counters.cells_bad, counters.hedged), (0, 0, 0));
    assert_eq!(counters.asked_twice, 0, "nobody is in doubt");
}

#[test]
fn reads_go_on_without_as_many_machines_as_the_codec_says() {
    let mut rig = Rig::new(2, 6, 1, "4+2");
    let locators: Vec<Locator> = LENGTHS.iter().map(|&len| put(&mut rig, len)).collect();
    for gone in [0, 3] {
        rig.kill(gone);
        for &locator in &locators {
            check(&mut rig, locator);
        }
    }
    assert!(rig.client.counters().read_degraded > 0);
    // One more than the codec survives: an honest refusal, never other bytes.
    rig.kill(5);
    for &locator in &locators {
        match get(&mut rig, locator) {
            Ok(bytes) => assert!(bytes == content(locator.object, locator.len_bytes as usize)),
            Err(ClientError::Unavailable { .. }) => {}
            Err(error) => panic!("{locator}: {error}"),
        }
    }
    for machine in [0, 3, 5] {
        rig.start(machine, false);
    }
    let handle = rig.handle();
    rig.run(async move { handle.sleep(Nanos::from_secs(10)).await });
    for &locator in &locators {
        check(&mut rig, locator);
    }
}

/// All bytes of a short stripe lie in fewer cells than are needed to decode, and none of these had heard of
/// the delete: the object was read whole although that was acknowledged.
#[test]
fn a_short_stripe_that_was_deleted_is_not_read_from_those_who_missed_it() {
    let config = ClientConfig { striped_from_bytes: 1, ..ClientConfig::default() };
    let mut rig = Rig::with(66, 6, 1, "4+2", config);
    for len in [1, 64, 100, 566, 700] {
        let locator = put(&mut rig, len);
        assert_eq!(locator.class, Class::Stripe);
        check(&mut rig, locator);
        let map = rig.client.map();
        let members = &map.group(locator.group).unwrap().members;
        let missed: Vec<usize> = members[..3].iter().map(|disk| disk.0 as usize).collect();
        for &machine in &missed {
            rig.kill(machine);
        }
        let client = rig.client.clone();
        rig.run(async move { client.delete(&locator).await }).unwrap();
        for &machine in &missed {
            rig.start(machine, false);
        }
        let handle = rig.handle();
        rig.run(async move { handle.sleep(Nanos::from_secs(10)).await });
        assert_eq!(get(&mut rig, locator), Err(ClientError::Deleted), "{len} bytes");
    }
}

/// While a delete is under way some members have the tombstone and others still give their cells. One
/// reader was told that the object is gone, and the next one was given it.
#[test]
fn what_one_reader_was_told_is_gone_no_later_one_is_given() {
    for (seed, len) in [(60, 900), (61, 900), (62, 900), (63, 2 << 20), (64, 2 << 20)] {
        let mut rig = Rig::new(seed, 6, 1, "4+2");
        let locator = put(&mut rig, len);
        let when = rig.now()..rig.now() + Nanos::from_secs(1);
        for machine in [0, 2, 3, 5] {
            let slow = Slow { when: when.clone(), blocks: None, factor: 500.0 };
            rig.machines[machine].disks[0].slow_down(slow);
        }
        let (client, handle) = (rig.client.clone(), rig.handle());
        let seen: Vec<bool> = rig.run(async move {
            let deleter = client.clone();
            let delete =
                handle.spawn("delete", async move { deleter.delete(&locator).await.unwrap() });
            handle.sleep(Nanos::from_millis(20)).await;
            let mut seen = Vec::new();
            for _ in 0..20 {
                match client.get(&locator, None).await {
                    Ok(_) => seen.push(true),
                    Err(ClientError::Deleted) => seen.push(false),
                    Err(error) => panic!("{error}"),
                }
            }
            delete.await;
            seen
        });
        assert!(seen.is_sorted_by(|a, b| a >= b), "seed {seed}: {seen:?}");
        assert_eq!(seen.last(), Some(&false), "seed {seed}");
    }
}

/// A put that could not leave its cell on a full disk was acknowledged with a note of it, one loss short of
/// what the codec promises, and no repair could make it whole.
#[test]
fn what_a_cluster_acknowledges_until_it_is_full_is_whole() {
    let disk_blocks = |machine| u64::from(EXTENT_BLOCKS) * if machine == 1 { 16 } else { 24 };
    let mut rig = Rig::sized(65, 3, 1, "2+1", ClientConfig::default(), disk_blocks);
    let mut locators = Vec::new();
    let error = loop {
        match try_put(&mut rig, 2 << 20) {
            Ok(locator) => locators.push(locator),
            Err(error) => break error,
        }
        assert!(locators.len() < 100, "it is never full");
    };
    let why = Refusal::Failed(Failure::Full);
    assert_eq!(error, ClientError::NoGroup { why });
    assert!(locators.len() > 5, "{}", locators.len());
    assert_eq!(rig.client.counters().put_with_note, 0);
    rig.kill(2);
    for &locator in &locators {
        check(&mut rig, locator);
    }
}

#[test]
fn writes_go_on_with_one_machine_gone_and_repair_makes_them_whole() {
    let mut rig = Rig::new(3, 6, 1, "4+2");
    rig.kill(2);
    let locators: Vec<Locator> = LENGTHS.iter().map(|&len| put(&mut rig, len)).collect();
    assert!(rig.client.counters().put_with_note > 0);
    for &locator in &locators {
        check(&mut rig, locator);
    }
    rig.start(2, false);
    let report = repair_all(&mut rig);
    assert!(report.mended > 0 && report.later == 0 && report.remains == 0, "{report:?}");
    assert_eq!(repair_all(&mut rig).mended, 0, "the second time there is nothing to do");
    // Whole again: any two may go.
    rig.kill(0);
    rig.kill(4);
    for &locator in &locators {
        check(&mut rig, locator);
    }
}

fn repair_all(rig: &mut Rig) -> RepairReport {
    let client = rig.client.clone();
    rig.run(async move {
        let mut total = RepairReport::default();
        let mut from = Some(ListFrom::default());
        while let Some(at) = from {
            let page = client.list(at, 5).await.unwrap();
            assert!(page.silent.is_empty());
            for object in &page.objects {
                total.join(client.repair(object, true).await);
            }
            from = page.next;
        }
        total
    })
}

#[test]
fn what_was_deleted_stays_deleted() {
    let mut rig = Rig::new(4, 6, 1, "4+2");
    let locators: Vec<Locator> = LENGTHS.iter().map(|&len| put(&mut rig, len)).collect();
    for &locator in &locators {
        let client = rig.client.clone();
        rig.run(async move { client.delete(&locator).await }).unwrap();
        assert_eq!(get(&mut rig, locator), Err(ClientError::Deleted), "{locator}");
        // Of a range without bytes, too, it is asked whether the object is there.
        let client = rig.client.clone();
        let nothing = rig.run(async move { client.get(&locator, Some(0..0)).await });
        assert_eq!(nothing, Err(ClientError::Deleted), "{locator}");
        let client = rig.client.clone();
        rig.run(async move { client.delete(&locator).await }).unwrap();
    }
    // Long after, when the tombstones are gone too.
    let handle = rig.handle();
    rig.run(async move { handle.sleep(Nanos::from_secs(120)).await });
    for &locator in &locators {
        let error = get(&mut rig, locator).unwrap_err();
        assert!(matches!(error, ClientError::Deleted | ClientError::NotFound), "{error}");
    }
}

#[test]
fn a_machine_that_missed_a_delete_does_not_bring_the_object_back() {
    let mut rig = Rig::new(5, 6, 1, "4+2");
    let long = put(&mut rig, 2 << 20);
    let short = put(&mut rig, 10_000);
    rig.kill(1);
    let delete = |rig: &mut Rig, locator: Locator| {
        let client = rig.client.clone();
        rig.run(async move { client.delete(&locator).await })
    };
    delete(&mut rig, long).unwrap();
    // Copies: only if none of them is on the machine that is gone.
    let of_short = delete(&mut rig, short);
    rig.start(1, false);
    let handle = rig.handle();
    rig.run(async move { handle.sleep(Nanos::from_secs(10)).await });
    assert_eq!(get(&mut rig, long), Err(ClientError::Deleted));
    if let Err(error) = of_short {
        assert!(matches!(error, ClientError::Unfinished { .. }), "{error}");
        delete(&mut rig, short).unwrap();
    }
    assert_eq!(get(&mut rig, short), Err(ClientError::Deleted));
    let report = repair_all(&mut rig);
    assert_eq!((report.mended, report.remains, report.later), (0, 0, 0), "{report:?}");
    // Whichever machines go next, and whoever is asked: nothing of it is left to be read.
    for gone in [0, 2] {
        rig.kill(gone);
    }
    for locator in [long, short] {
        check_withheld(get(&mut rig, locator));
    }
    // Once it is known who is gone nobody waits for them.
    let begun = rig.now();
    for locator in [long, short] {
        check_withheld(get(&mut rig, locator));
    }
    let took = rig.now().since(begun);
    assert!(took < Nanos::from_millis(100), "{} ms", took.as_millis_f64());
}

#[test]
fn the_note_of_an_object_that_was_deleted_goes_with_the_next_repair() {
    let mut rig = Rig::new(10, 6, 1, "4+2");
    rig.kill(3);
    let locators: Vec<Locator> = (0..6).map(|_| put(&mut rig, 2 << 20)).collect();
    rig.start(3, false);
    let notes = |rig: &mut Rig| {
        let client = rig.client.clone();
        let page = rig.run(async move { client.list(ListFrom::default(), 100).await }).unwrap();
        page.objects.iter().map(|object| object.notes).sum::<u32>()
    };
    assert_eq!(notes(&mut rig), 12, "two for each object");
    let (early, late) = locators.split_at(3);
    for &locator in early {
        let client = rig.client.clone();
        rig.run(async move { client.delete(&locator).await }).unwrap();
    }
    let report = repair_all(&mut rig);
    assert_eq!((report.deleted, report.mended), (3, 3), "{report:?}");
    assert_eq!(notes(&mut rig), 0);
    for &locator in late {
        check(&mut rig, locator);
    }
}

#[test]
fn damage_is_read_around_and_mended() {
    let mut rig = Rig::new(6, 6, 1, "4+2");
    let locators: Vec<Locator> = LENGTHS[1..].iter().map(|&len| put(&mut rig, len)).collect();
    // Everything that one disk holds rots.
    let now = rig.now();
    // All but the first extent.
    let rot = Fault::Rot(Lba(u64::from(EXTENT_BLOCKS))..Lba(DISK_BLOCKS));
    rig.machines[1].disks[0].inject(now, rot);
    for &locator in &locators {
        check(&mut rig, locator);
    }
    let counters = rig.client.counters();
    assert!(counters.cells_bad > 0 && counters.read_degraded > 0, "{counters:?}");
    repair_all(&mut rig);
    rig.kill(0);
    rig.kill(5);
    for &locator in &locators {
        check(&mut rig, locator);
    }
}

#[test]
fn a_disk_whose_index_is_damaged_writes_itself_another() {
    let mut rig = Rig::new(14, 6, 1, "4+2");
    let locators: Vec<Locator> = LENGTHS[1..].iter().map(|&len| put(&mut rig, len)).collect();
    // A clean stop writes what the index holds to the disk.
    rig.stop(1);
    rig.start(1, false);
    let now = rig.now();
    let rot = Fault::Rot(Lba(u64::from(EXTENT_BLOCKS))..Lba(DISK_BLOCKS));
    rig.machines[1].disks[0].inject(now, rot);
    // Listings leave the disk out until its node has read all of it.
    let is_listed = |rig: &mut Rig| {
        let (client, handle) = (rig.client.clone(), rig.handle());
        rig.run(async move {
            handle.sleep(Nanos::from_secs(5)).await;
            client.list(ListFrom::default(), 100).await.unwrap().silent.is_empty()
        })
    };
    assert!(!is_listed(&mut rig), "its index is damaged");
    assert!((0..10).any(|_| is_listed(&mut rig)), "it never gives a listing again");
    let disk = rig.machines[1].node.as_ref().unwrap().report().disks[0].clone();
    assert_eq!(disk.doubt, Doubt::Harmed);
    assert!(matches!(disk.state, ShelfState::Open(open) if open.1.full_scan));
    doubt::repair_and_vouch(&mut rig);
    rig.kill(0);
    rig.kill(5);
    for &locator in &locators {
        check(&mut rig, locator);
    }
}

#[test]
fn a_cluster_that_can_take_nothing_says_why() {
    let mut rig = Rig::new(7, 6, 1, "4+2");
    let kept = put(&mut rig, 3 << 20);
    for gone in [1, 2] {
        rig.kill(gone);
    }
    let error = try_put(&mut rig, 3 << 20).unwrap_err();
    assert!(matches!(error, ClientError::NoGroup { .. } | ClientError::Late), "{error}");
    check(&mut rig, kept);
}

#[test]
fn a_put_that_was_cut_off_can_be_swept() {
    let mut rig =
        Rig::with(8, 6, 1, "4+2", ClientConfig { stripes_at_once: 1, ..ClientConfig::default() });
    let client = rig.client.clone();
    let object = rig.run(async move {
        let object = client.new_id();
        let mut upload = client.upload(object);
        upload.write(content(object, 14 << 20)).await.unwrap();
        object
    });
    let handle = rig.handle();
    rig.run(async move { handle.sleep(Nanos::from_secs(5)).await });
    let client = rig.client.clone();
    let swept = rig.run(async move {
        let mut swept = 0;
        let mut from = Some(ListFrom::default());
        while let Some(at) = from {
            let page = client.list(at, 100).await.unwrap();
            for listed in page.objects.iter().filter(|listed| listed.object == object) {
                assert!(!listed.has_manifest);
                client.delete_id(object, &listed.entries).await.unwrap();
                swept += listed.cells;
            }
            from = page.next;
        }
        swept
    });
    assert!(swept >= 6, "{swept}");
    let client = rig.client.clone();
    let left = rig.run(async move { client.list(ListFrom::default(), 100).await }).unwrap();
    assert_eq!(left.objects.iter().map(|listed| listed.cells).sum::<u32>(), 0);
}

#[test]
fn a_node_that_stops_in_good_order_loses_nothing_and_says_so() {
    let mut rig = Rig::new(9, 6, 2, "4+2");
    let locators: Vec<Locator> = LENGTHS.iter().map(|&len| put(&mut rig, len)).collect();
    rig.stop(4);
    for &locator in &locators {
        check(&mut rig, locator);
    }
    rig.start(4, false);
    let node = rig.machines[4].node.as_ref().unwrap();
    for disk in node.report().disks {
        let isotherm_node::ShelfState::Open(open) = &disk.state else {
            panic!("{}: {:?}", disk.name, disk.state)
        };
        assert!(open.1.clean, "it was closed: {:?}", open.1);
    }
}

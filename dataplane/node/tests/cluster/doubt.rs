//! Disks that lost a tombstone: what was deleted stays deleted, and what was not can be read.

use isotherm_client::{ClientError, ListFrom, Locator};
use isotherm_placement::{DiskNo, DiskState};
use isotherm_seam::Nanos;
use isotherm_sim::{FaultRates, Slow};
use isotherm_wire::{Doubt, Entry};

use super::{LENGTHS, check, check_withheld, content, get, put, repair_all};
use crate::rig::Rig;

/// The machines of a group, in order: each has one disk.
fn members(rig: &Rig, locator: Locator) -> Vec<usize> {
    let map = rig.client.map();
    let group = map.group(locator.group).unwrap();
    group.members.iter().map(|disk| disk.0 as usize).collect()
}

/// Those that hold something of an object.
fn holders(rig: &mut Rig, locator: Locator) -> Vec<usize> {
    let client = rig.client.clone();
    let listed = rig.run(async move { client.list_object(locator.group, locator.object).await });
    listed.unwrap().unwrap().entries.iter().map(|(disk, _)| disk.0 as usize).collect()
}

fn delete(rig: &mut Rig, locator: Locator) -> Result<(), ClientError> {
    let client = rig.client.clone();
    rig.run(async move { client.delete(&locator).await })
}

fn doubt(rig: &Rig, machine: usize) -> Doubt {
    rig.machines[machine].node.as_ref().unwrap().report().disks[0].doubt
}

/// While this goes on nothing that a disk says it has written is written.
fn losing<T>(rig: &mut Rig, machine: usize, job: impl FnOnce(&mut Rig) -> T) -> T {
    let lost = FaultRates { lost_write: 1.0, ..FaultRates::default() };
    rig.machines[machine].disks[0].set_rates(lost);
    let value = job(rig);
    rig.machines[machine].disks[0].set_rates(FaultRates::default());
    value
}

/// The power of a machine goes, and it starts again.
fn cut(rig: &mut Rig, machine: usize) {
    rig.kill(machine);
    rig.start(machine, false);
}

fn sleep(rig: &mut Rig, seconds: u64) {
    let handle = rig.handle();
    rig.run(async move { handle.sleep(Nanos::from_secs(seconds)).await });
}

/// Repairs everything and says so to the disks that were in doubt.
pub(super) fn repair_and_vouch(rig: &mut Rig) -> usize {
    let client = rig.client.clone();
    let doubted = rig.run(async move { client.doubted_disks().await });
    let report = repair_all(rig);
    assert_eq!(report.later, 0, "{report:?}");
    let client = rig.client.clone();
    rig.run(async move {
        for disk in &doubted {
            client.vouch(disk).await.unwrap();
        }
        doubted.len()
    })
}

/// An object in copies that was deleted, and a holder of it whose disk forgot that it was: it finds
/// a hole where the tombstone was.
fn harmed(rig: &mut Rig) -> (Locator, usize) {
    let gone = put(rig, 10_000);
    let holder = holders(rig, gone)[0];
    losing(rig, holder, |rig| delete(rig, gone).unwrap());
    // What is written behind it shows that something is missing.
    for _ in 0..30 {
        put(rig, 5000);
    }
    cut(rig, holder);
    assert_eq!(doubt(rig, holder), Doubt::Harmed);
    sleep(rig, 5);
    (gone, holder)
}

#[test]
fn a_disk_that_lost_a_tombstone_does_not_bring_the_object_back() {
    let mut rig = Rig::new(30, 6, 1, "4+2");
    let (gone, holder) = harmed(&mut rig);
    let kept = put(&mut rig, 20_000);
    // Stopped in good order or not, it is not forgotten.
    rig.stop(holder);
    rig.start(holder, false);
    assert_eq!(doubt(&rig, holder), Doubt::Harmed);
    sleep(&mut rig, 5);
    for _ in 0..20 {
        assert_eq!(get(&mut rig, gone), Err(ClientError::Deleted));
        check(&mut rig, kept);
    }
    let client = rig.client.clone();
    let stat = rig.run(async move { client.stat(&gone).await });
    assert_eq!(stat, Err(ClientError::Deleted));
}

#[test]
fn a_disk_that_lost_a_tombstone_is_not_believed_when_it_is_alone() {
    let mut rig = Rig::new(31, 6, 1, "4+2");
    let (gone, holder) = harmed(&mut rig);
    let all: Vec<usize> = members(&rig, gone);
    let others: Vec<usize> = all.into_iter().filter(|&member| member != holder).collect();
    for &other in &others {
        rig.kill(other);
    }
    for _ in 0..3 {
        let error = get(&mut rig, gone).unwrap_err();
        assert!(matches!(error, ClientError::Unavailable { .. }), "{error}");
        let client = rig.client.clone();
        let stat = rig.run(async move { client.stat(&gone).await });
        assert!(matches!(stat, Err(ClientError::Unavailable { .. })), "{stat:?}");
    }
    // A repair does not believe it either.
    let client = rig.client.clone();
    rig.run(async move {
        let listed = client.list_object(gone.group, gone.object).await.unwrap().unwrap();
        let report = client.repair(&listed, false).await;
        assert_eq!((report.later, report.mended), (1, 0), "{report:?}");
    });
    for &other in &others {
        rig.start(other, false);
    }
    sleep(&mut rig, 5);
    assert!(repair_and_vouch(&mut rig) >= 1);
    assert_eq!(doubt(&rig, holder), Doubt::None);
    // Whoever is asked now: it has the tombstone again.
    for &other in &others {
        rig.kill(other);
    }
    let client = rig.client.clone();
    let listed = rig.run(async move { client.list_object(gone.group, gone.object).await });
    let entries = listed.unwrap().unwrap().entries;
    let is_dead = |(disk, entry): &(DiskNo, Entry)| disk.0 as usize == holder && entry.is_tombstone;
    assert!(entries.iter().any(is_dead), "{entries:?}");
    check_withheld(get(&mut rig, gone));
}

#[test]
fn a_vouch_for_an_earlier_start_is_refused() {
    let mut rig = Rig::new(32, 6, 1, "4+2");
    let (_, holder) = harmed(&mut rig);
    let client = rig.client.clone();
    let doubted = rig.run(async move { client.doubted_disks().await });
    cut(&mut rig, holder);
    sleep(&mut rig, 5);
    let client = rig.client.clone();
    rig.run(async move {
        for disk in doubted {
            client.vouch(&disk).await.unwrap_err();
        }
    });
    assert_eq!(doubt(&rig, holder), Doubt::Harmed);
}

#[test]
fn the_last_copy_is_given_when_the_other_holders_were_given_up() {
    let mut rig = Rig::new(33, 6, 1, "4+2");
    let kept = put(&mut rig, 10_000);
    let three = holders(&mut rig, kept);
    let holder = three[0];
    let gone = put(&mut rig, 300);
    losing(&mut rig, holder, |rig| {
        // Whatever is written there is lost.
        for _ in 0..10 {
            put(rig, 300);
        }
        delete(rig, gone).unwrap();
    });
    for _ in 0..30 {
        put(&mut rig, 5000);
    }
    cut(&mut rig, holder);
    assert_eq!(doubt(&rig, holder), Doubt::Harmed);
    for &other in &three[1..] {
        rig.kill(other);
    }
    sleep(&mut rig, 5);
    let error = get(&mut rig, kept).unwrap_err();
    assert!(matches!(error, ClientError::Unavailable { .. }), "{error}");
    // The operator says that they won't come back.
    let mut map = (*rig.client.map()).clone();
    map.version += 1;
    for disk in &mut map.disks {
        if three[1..].contains(&(disk.no.0 as usize)) {
            disk.state = DiskState::Out;
        }
    }
    rig.client.set_map(map);
    check(&mut rig, kept);
}

/// The last write before a power cut is lost without a trace: the disk can't know it, and yet it
/// was not stopped in good order.
#[test]
fn a_tombstone_that_was_lost_without_a_trace_is_asked_for_elsewhere() {
    let mut rig = Rig::new(34, 6, 1, "4+2");
    let gone = put(&mut rig, 10_000);
    let kept = put(&mut rig, 10_000);
    let three = holders(&mut rig, gone);
    losing(&mut rig, three[0], |rig| delete(rig, gone).unwrap());
    cut(&mut rig, three[0]);
    assert_eq!(doubt(&rig, three[0]), Doubt::Unclean);
    sleep(&mut rig, 5);
    rig.kill(three[1]);
    for _ in 0..20 {
        check_withheld(get(&mut rig, gone));
        check(&mut rig, kept);
    }
}

#[test]
fn after_a_power_cut_of_the_whole_cluster_everything_is_read_and_two_machines_may_go() {
    let mut rig = Rig::new(35, 6, 1, "4+2");
    let locators: Vec<Locator> = LENGTHS.iter().map(|&len| put(&mut rig, len)).collect();
    for machine in 0..6 {
        rig.kill(machine);
    }
    for machine in 0..6 {
        rig.start(machine, false);
        assert_eq!(doubt(&rig, machine), Doubt::Unclean);
    }
    sleep(&mut rig, 5);
    for &locator in &locators {
        check(&mut rig, locator);
    }
    assert!(rig.client.counters().asked_twice > 0);
    for gone in [1, 4] {
        rig.kill(gone);
        for &locator in &locators {
            check(&mut rig, locator);
        }
    }
    for machine in [1, 4] {
        rig.start(machine, false);
    }
    sleep(&mut rig, 5);
    assert_eq!(repair_and_vouch(&mut rig), 6);
    let before = rig.client.counters().asked_twice;
    for &locator in &locators {
        check(&mut rig, locator);
    }
    assert_eq!(rig.client.counters().asked_twice, before, "nobody is in doubt any more");
    let client = rig.client.clone();
    let page = rig.run(async move { client.list(ListFrom::default(), 1000).await }).unwrap();
    let own = page.objects.iter().any(|object| object.group.0 == u32::MAX);
    assert!(!own, "what a node keeps for itself is nobody's object");
}

/// Three of six have the tombstone, which is enough, and one of these forgets it: four cells
/// without one are left, and four can be read.
#[test]
fn a_stripe_that_was_deleted_with_three_tombstones_does_not_come_back_for_one_that_is_lost() {
    let mut rig = Rig::new(36, 6, 1, "4+2");
    let gone = put(&mut rig, 2 << 20);
    let members = members(&rig, gone);
    let holder = members[3];
    for &away in &members[..3] {
        rig.kill(away);
    }
    losing(&mut rig, holder, |rig| delete(rig, gone).unwrap());
    for &back in &members[..3] {
        rig.start(back, false);
    }
    sleep(&mut rig, 5);
    for _ in 0..30 {
        put(&mut rig, 5000);
    }
    cut(&mut rig, holder);
    assert_eq!(doubt(&rig, holder), Doubt::Harmed);
    // A client that has heard of nothing reads the four data cells, which are all there.
    sleep(&mut rig, 5);
    let fresh =
        rig.run_mortal(u64::MAX, move |client| async move { client.get(&gone, None).await });
    assert_eq!(fresh, Some(Err(ClientError::Deleted)));
    rig.kill(members[4]);
    rig.kill(members[5]);
    let fresh =
        rig.run_mortal(u64::MAX, move |client| async move { client.get(&gone, None).await });
    let fresh = fresh.unwrap();
    assert!(
        matches!(fresh, Err(ClientError::Unavailable { .. } | ClientError::Deleted)),
        "{fresh:?}"
    );
    let kept = put(&mut rig, 5000);
    assert_eq!(get(&mut rig, kept).unwrap(), content(kept.object, 5000));
}

#[test]
fn a_disk_that_finds_harm_once_more_is_doubted_once_more() {
    let mut rig = Rig::new(37, 6, 1, "4+2");
    let (_, holder) = harmed(&mut rig);
    assert!(repair_and_vouch(&mut rig) >= 1);
    assert_eq!(doubt(&rig, holder), Doubt::None);
    losing(&mut rig, holder, |rig| {
        for _ in 0..10 {
            put(rig, 300);
        }
    });
    for _ in 0..30 {
        put(&mut rig, 5000);
    }
    cut(&mut rig, holder);
    assert_eq!(doubt(&rig, holder), Doubt::Harmed);
    sleep(&mut rig, 5);
    // The note was once deleted with the first doubt, and the second one could not be noted.
    rig.stop(holder);
    rig.start(holder, false);
    assert_eq!(doubt(&rig, holder), Doubt::Harmed);
}

/// A copy on a disk that found harm, of an object of which the others know nothing any more.
fn forgotten(rig: &mut Rig) -> Locator {
    // What the others know is lost without a trace, as if they had dropped their tombstones.
    let gone = put(rig, 10_000);
    let three = holders(rig, gone);
    let gone = loop {
        let gone = losing(rig, three[1], |rig| losing(rig, three[2], |rig| put(rig, 900)));
        cut(rig, three[1]);
        cut(rig, three[2]);
        sleep(rig, 5);
        // Of the objects that are put some have the same holders.
        if holders(rig, gone) == [three[0]] {
            break gone;
        }
    };
    losing(rig, three[0], |rig| {
        for _ in 0..10 {
            put(rig, 300);
        }
    });
    for _ in 0..30 {
        put(rig, 5000);
    }
    cut(rig, three[0]);
    assert_eq!(doubt(rig, three[0]), Doubt::Harmed);
    assert!(doubt(rig, three[1]) < Doubt::Harmed && doubt(rig, three[2]) < Doubt::Harmed);
    sleep(rig, 5);
    gone
}

#[test]
fn what_harmed_disks_have_and_no_other_knows_was_deleted_long_ago() {
    let mut rig = Rig::new(38, 6, 1, "4+2");
    let gone = forgotten(&mut rig);
    assert_eq!(get(&mut rig, gone), Err(ClientError::Deleted));
    repair_and_vouch(&mut rig);
    assert_eq!(get(&mut rig, gone), Err(ClientError::Deleted));
    let client = rig.client.clone();
    let listed = rig.run(async move { client.list_object(gone.group, gone.object).await });
    assert!(listed.unwrap().is_none_or(|listed| listed.cells == 0));
}

/// To a repair a put that is under way looks as what was deleted long ago and forgotten where the harm
/// is: a disk in doubt has its copy, and the others have none yet.
#[test]
fn a_put_that_is_under_way_is_not_taken_for_forgotten() {
    let mut rig = Rig::new(39, 6, 1, "4+2");
    let (_, holder) = harmed(&mut rig);
    let when = rig.now()..rig.now() + Nanos::from_secs(1);
    for machine in (0..6).filter(|&machine| machine != holder) {
        let slow = Slow { when: when.clone(), blocks: None, factor: SLOWER };
        rig.machines[machine].disks[0].slow_down(slow);
    }
    let (client, handle) = (rig.client.clone(), rig.handle());
    let (puts, seen) = rig.run(async move {
        let puts: Vec<_> = (0..20)
            .map(|_| {
                let client = client.clone();
                handle.spawn("put", async move {
                    let object = client.new_id();
                    client.put(object, content(object, 900)).await
                })
            })
            .collect();
        handle.sleep(Nanos::from_millis(200)).await;
        let page = client.list(ListFrom::default(), 1000).await.unwrap();
        let repairs: Vec<_> = page
            .objects
            .into_iter()
            .filter(|listed| listed.entries.iter().all(|(disk, _)| disk.0 as usize == holder))
            .map(|listed| {
                let client = client.clone();
                handle.spawn("repair", async move { client.repair(&listed, false).await })
            })
            .collect();
        let mut seen = 0;
        for repair in repairs {
            seen += u64::from(repair.await.stripes > 0);
        }
        let mut locators = Vec::new();
        for put in puts {
            locators.push(put.await.unwrap());
        }
        (locators, seen)
    });
    assert!(seen > 3, "a repair has met {seen} puts that were under way");
    for locator in puts {
        check(&mut rig, locator);
    }
}

/// Of the disk's usual time: a write takes about half a second then.
const SLOWER: f64 = 2000.0;

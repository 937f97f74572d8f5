//! Reads by every policy: the same bytes, with machines gone and cells lost, and nothing left
//! behind on any node.

use isotherm_client::{ClientConfig, ClientError, Locator, ReadPolicy};
use isotherm_seam::{Clock, Lba, Nanos};
use isotherm_sim::Fault;

use crate::rig::{DISK_BLOCKS, EXTENT_BLOCKS, Rig};
use crate::{LENGTHS, content, put};

fn rig(seed: u64, policy: ReadPolicy) -> Rig {
    let config = ClientConfig { read_policy: policy, ..ClientConfig::default() };
    Rig::with(seed, 6, 1, "4+2", config)
}

fn check(rig: &mut Rig, policy: ReadPolicy, locator: Locator) {
    let client = rig.client.clone();
    let got = rig.run(async move { client.get(&locator, None).await });
    let all = content(locator.object, locator.len_bytes as usize);
    assert!(got.as_ref() == Ok(&all.to_vec()), "{policy}, {locator}: {:?}", got.map(|b| b.len()));
}

/// Whatever was reserved is served, dropped or over.
fn is_quiet(rig: &mut Rig, free: &[usize]) {
    let handle = rig.handle();
    rig.run(async move { handle.sleep(Nanos::from_secs(3)).await });
    assert_eq!(rig.idle_buffers(), free);
}

#[test]
fn every_policy_reads_what_was_put() {
    for policy in ReadPolicy::ALL {
        let mut rig = rig(1, policy);
        let free = rig.idle_buffers();
        for len in LENGTHS {
            let locator = put(&mut rig, len);
            check(&mut rig, policy, locator);
            for range in [0..len as u64 / 2, len as u64 / 3..len as u64] {
                let (client, wanted) = (rig.client.clone(), range.clone());
                let got = rig.run(async move { client.get(&locator, Some(range)).await }).unwrap();
                let all = content(locator.object, len);
                assert!(got == all[wanted.start as usize..wanted.end as usize], "{policy} {len}");
            }
        }
        is_quiet(&mut rig, &free);
        let counters = rig.client.counters();
        assert_eq!((counters.cells_bad, counters.hedged), (0, 0), "{policy}");
    }
}

#[test]
fn every_policy_reads_without_as_many_machines_as_the_codec_says() {
    for policy in ReadPolicy::ALL {
        let mut rig = rig(2, policy);
        let locators: Vec<Locator> = LENGTHS.iter().map(|&len| put(&mut rig, len)).collect();
        for gone in [0, 3] {
            rig.kill(gone);
            for &locator in &locators {
                check(&mut rig, policy, locator);
            }
        }
        rig.kill(5);
        for &locator in &locators {
            let client = rig.client.clone();
            match rig.run(async move { client.get(&locator, None).await }) {
                Ok(bytes) => assert!(bytes == content(locator.object, bytes.len()), "{policy}"),
                Err(ClientError::Unavailable { .. }) => {}
                Err(error) => panic!("{policy}, {locator}: {error}"),
            }
        }
        for machine in [0, 3, 5] {
            rig.start(machine, false);
        }
        let handle = rig.handle();
        rig.run(async move { handle.sleep(Nanos::from_secs(10)).await });
        for &locator in &locators {
            check(&mut rig, policy, locator);
        }
    }
}

#[test]
fn every_policy_reads_around_what_is_damaged() {
    for policy in ReadPolicy::ALL {
        let mut rig = rig(3, policy);
        let locators: Vec<Locator> = LENGTHS.iter().map(|&len| put(&mut rig, len)).collect();
        let now = rig.now();
        for machine in [1, 4] {
            let rot = Fault::Rot(Lba(u64::from(EXTENT_BLOCKS))..Lba(DISK_BLOCKS));
            rig.machines[machine].disks[0].inject(now, rot);
        }
        for &locator in &locators {
            check(&mut rig, policy, locator);
        }
        assert!(rig.client.counters().cells_bad > 0, "{policy}");
    }
}

/// Who reserves a thousand reads at once waits for itself, and not everybody else for it.
#[test]
fn a_flood_of_one_client_does_not_keep_another_waiting() {
    let mut rig = rig(5, ReadPolicy::Late);
    let locators: Vec<Locator> = (0..8).map(|_| put(&mut rig, 3000)).collect();
    let (client, handle) = (rig.client.clone(), rig.handle());
    let began = rig.now();
    let flood: Vec<_> = (0..400)
        .map(|n| {
            let (client, locator) = (client.clone(), locators[n % locators.len()]);
            handle.spawn("flood", async move { client.get(&locator, None).await.map(|_| ()) })
        })
        .collect();
    let wanted = locators[3];
    let clock = rig.clock.clone();
    let first = rig.run_mortal(u64::MAX, |other| async move {
        let mut longest = Nanos::ZERO;
        for _ in 0..5 {
            let began = clock.mono();
            other.get(&wanted, None).await.expect("it is there");
            longest = longest.max(clock.mono().since(began));
        }
        longest
    });
    let one = first.expect("it does not die");
    rig.run(async move {
        for read in flood {
            assert_eq!(read.await, Ok(()));
        }
    });
    let all = rig.now().since(began);
    assert!(one.0 * 2 < all.0, "{one:?} of {all:?} for all of the flood");
}

/// From which length on objects are cut is for whoever puts them; who reads goes by the locator.
#[test]
fn short_objects_may_be_stripes_too() {
    let config = ClientConfig { striped_from_bytes: 10_000, ..ClientConfig::default() };
    let mut rig = Rig::with(4, 6, 1, "4+2", config);
    let lengths = [9_999, 10_000, 100_001, (1 << 20) - 1];
    let locators: Vec<Locator> = lengths.iter().map(|&len| put(&mut rig, len)).collect();
    let classes = locators.iter().map(|locator| locator.class).collect::<Vec<_>>();
    let stripe = isotherm_client::Class::Stripe;
    assert_eq!(classes, [isotherm_client::Class::Replicas, stripe, stripe, stripe]);
    for gone in [0, 3] {
        rig.kill(gone);
        for &locator in &locators {
            check(&mut rig, ReadPolicy::Direct, locator);
        }
    }
}

/// Whoever reads around a machine that says nothing gives his question up long before it is too late
/// to be answered. All the same it is soon known to be gone, and asked first no more.
#[test]
fn a_machine_that_says_nothing_is_soon_left_out() {
    for policy in [ReadPolicy::Direct, ReadPolicy::Random, ReadPolicy::LeastLoaded] {
        let mut rig = rig(5, policy);
        let locators: Vec<Locator> = (0..10).map(|_| put(&mut rig, 3 << 20)).collect();
        rig.freeze(2);
        let begun = rig.now();
        let round = |rig: &mut Rig| {
            for &locator in &locators {
                check(rig, policy, locator);
            }
        };
        while rig.now().since(begun) < Nanos::from_secs(2) {
            round(&mut rig);
        }
        let hedged = rig.client.counters().hedged;
        assert!(hedged > 0, "{policy}: nobody waited");
        for _ in 0..3 {
            round(&mut rig);
        }
        assert_eq!(rig.client.counters().hedged, hedged, "{policy}");
        rig.thaw(2);
        let handle = rig.handle();
        rig.run(async move { handle.sleep(Nanos::from_secs(3)).await });
        let served =
            |rig: &Rig| rig.machines[2].node.as_ref().unwrap().report().disks[0].tally.done[1];
        let before = served(&rig);
        round(&mut rig);
        assert!(served(&rig) > before, "{policy}: it is asked again");
    }
}

/// What is offered to disks that stand still begins without a grant, and nothing else is read; a
/// machine that says nothing is waited for a little, and offered nothing once that is known.
#[test]
fn offers_read_nothing_for_nothing_and_wait_little_for_who_says_nothing() {
    let mut rig = rig(7, ReadPolicy::Late);
    let locators: Vec<Locator> = (0..10).map(|_| put(&mut rig, 3 << 20)).collect();
    let read = |rig: &Rig| -> u64 {
        let nodes = rig.machines.iter().filter_map(|machine| machine.node.as_ref());
        nodes.flat_map(|node| node.report().disks).map(|disk| disk.tally.done[1]).sum()
    };
    let round = |rig: &mut Rig| {
        let mut longest = Nanos::ZERO;
        for &locator in &locators {
            let began = rig.now();
            check(rig, ReadPolicy::Late, locator);
            longest = longest.max(rig.now().since(began));
        }
        longest
    };
    for &locator in &locators {
        let client = rig.client.clone();
        let got = async move { client.get_by(ReadPolicy::Direct, &locator, None).await };
        rig.run(got).expect("it is there");
    }
    let direct = read(&rig);
    let usual = round(&mut rig);
    assert_eq!(read(&rig) - direct, direct, "as many cells as are needed");
    rig.freeze(2);
    let begun = rig.now();
    while rig.now().since(begun) < Nanos::from_secs(3) {
        let longest = round(&mut rig);
        assert!(longest < usual + Nanos::from_millis(50), "{longest:?}, without it {usual:?}");
    }
    let known = round(&mut rig);
    assert!(known < usual + Nanos::from_millis(4), "{known:?}, without it {usual:?}");
}

/// Claims that a busy client did not answer in time are no fault of the disks: the read is asked for
/// plainly, though every cell that is left is needed.
#[test]
fn a_client_that_stalls_still_reads() {
    for policy in [ReadPolicy::Late, ReadPolicy::Tied] {
        let mut rig = rig(6, policy);
        let locator = put(&mut rig, 3 << 20);
        check(&mut rig, policy, locator);
        rig.kill(0);
        rig.kill(3);
        check(&mut rig, policy, locator);
        let client = rig.client.clone();
        let mut reading = rig.begin(async move { client.get(&locator, None).await });
        rig.stall(Nanos::from_millis(500));
        let handle = rig.handle();
        rig.run(async move { handle.sleep(Nanos::from_secs(3)).await });
        let got = reading.try_take().expect("it ends soon").map(|bytes| bytes.len());
        assert_eq!(got, Ok(3 << 20), "{policy}");
    }
}

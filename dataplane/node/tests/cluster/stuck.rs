//! A disk that never answers again: its siblings, its node and the cluster go on.

use isotherm_client::Locator;
use isotherm_node::ShelfReport;
use isotherm_seam::{Mono, Nanos};
use isotherm_sim::Slow;
use isotherm_wire::Failure;

use super::{LENGTHS, check, put};
use crate::rig::Rig;

const MACHINE: usize = 2;

fn disks(rig: &Rig) -> Vec<ShelfReport> {
    rig.machines[MACHINE].node.as_ref().unwrap().report().disks
}

fn failed(disk: &ShelfReport, failure: Failure) -> u64 {
    let same = |other: &Failure| std::mem::discriminant(other) == std::mem::discriminant(&failure);
    let at = Failure::ALL.iter().position(|(_, other)| same(other)).unwrap();
    disk.tally.failed[at]
}

#[test]
fn a_disk_that_never_answers_is_felt_by_nobody_who_does_not_need_it() {
    let mut rig = Rig::new(40, 6, 2, "4+2");
    let mut locators: Vec<Locator> = Vec::new();
    for _ in 0..3 {
        locators.extend(LENGTHS.iter().map(|&len| put(&mut rig, len)));
    }
    let before = disks(&rig)[1].tally.clone();
    let when = rig.now()..Mono(u64::MAX);
    rig.machines[MACHINE].disks[0].slow_down(Slow { when, blocks: None, factor: 1e12 });
    for round in 0..3 {
        let begun = rig.now();
        for &locator in &locators {
            check(&mut rig, locator);
        }
        // At most each read learns for itself that it has to ask elsewhere.
        let took = rig.now().since(begun);
        assert!(took < Nanos::from_secs(10), "round {round}: {} ms", took.as_millis_f64());
        let new: Vec<Locator> = LENGTHS.iter().map(|&len| put(&mut rig, len)).collect();
        locators.extend(new);
        let handle = rig.handle();
        rig.run(async move { handle.sleep(Nanos::from_secs(10)).await });
    }
    let now = disks(&rig);
    let (stuck, sibling) = (&now[0], &now[1]);
    // It is seen, and what was asked of it was answered by its deadline; then it was asked no more.
    assert!(stuck.stuck.is_some_and(|still| still > Nanos::from_secs(20)), "{stuck:?}");
    assert!(failed(stuck, Failure::Late) > 0, "{stuck:?}");
    assert!(failed(stuck, Failure::Busy { expected: Nanos::ZERO }) > 0, "{stuck:?}");
    assert!(stuck.requests > 0 && stuck.requests < 64, "{} are held", stuck.requests);
    assert_eq!(sibling.stuck, None);
    assert!(sibling.tally.done[0] > before.done[0] && sibling.tally.done[1] > before.done[1]);
    assert_eq!(failed(sibling, Failure::Late), 0, "{sibling:?}");
    // It is not waited for longer than for any other: the requests that it holds are answered.
    let begun = rig.now();
    rig.stop(MACHINE);
    let took = rig.now().since(begun);
    assert!(took <= Nanos::from_secs(11), "{} ms", took.as_millis_f64());
    for &locator in &locators {
        check(&mut rig, locator);
    }
}

//! Stories of changes that lie on the disk twice.

use super::*;

/// A tombstone was released, and the cleaner wrote a copy that nobody holds. A full scan went by the one
/// that was moved, which is held: so to hold it again changed nothing and wrote nothing. The next full
/// scan went by the copy, and the tombstone went although it was held.
#[test]
fn a_tombstone_that_is_held_again_stays() {
    let mut both = 0;
    for cut in 0..40 {
        let mut rig = formatted(small_disk(cut.into()));
        let scan = |rig: &mut Rig, style| {
            rig.crash(style);
            start::opened(rig, &options(), true).expect("it ends").expect("it opens")
        };
        let held = Delete { hold: true, ..Delete::new(key(1)) };
        let store = open(&mut rig);
        // What it kills lies in another extent, with something that lives.
        rig.run(put(store.clone(), 1, 100)).expect("it ends").expect("there is room");
        for number in 4..6 {
            rig.run(put(store.clone(), number, 20_000)).expect("it ends").expect("there is room");
        }
        drop(store);
        let store = scan(&mut rig, CrashStyle::All);
        rig.run(store.delete(held)).expect("it ends").expect("there is room");
        rig.run(put(store.clone(), 3, 100)).expect("it ends").expect("there is room");
        drop(store);
        let store = scan(&mut rig, CrashStyle::All);
        store.release(key(1));
        let cleaning = rig.spawn({
            let store = store.clone();
            async move { store.reclaim_once().await.map(drop) }
        });
        rig.drive(Some(cut), || false);
        drop((cleaning, store));
        let mut store = scan(&mut rig, CrashStyle::Prefix);
        both += u32::from(rig.log.borrow().of_kinds(&[Kind::Tombs]).len() > 1);
        rig.run(store.delete(held)).expect("it ends").expect("it is held again");
        for round in 0..6 {
            rig.run({
                let store = store.clone();
                async move { store.reclaim_once().await.map(drop) }
            })
            .expect("it ends")
            .expect("it cleans");
            if round == 2 {
                // Then nothing is left that it kills.
                for number in 4..6 {
                    let gone = Delete::new(key(number));
                    rig.run(store.delete(gone)).expect("it ends").expect("there is room");
                }
            }
            let refused = rig.run(put(store.clone(), 1, 100)).expect("it ends");
            assert_eq!(refused, Err(PutError::Deleted), "cut {cut}, round {round}");
            drop(store);
            store = scan(&mut rig, CrashStyle::All);
        }
        drop(store);
        rig.crash(CrashStyle::All);
        rig.end().expect("all buffers are back");
    }
    assert!(both > 5, "two copies of the tombstone in {both} of 40");
}

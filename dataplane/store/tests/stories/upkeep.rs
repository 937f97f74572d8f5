//! Stories of what the store does by itself.

use super::*;

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

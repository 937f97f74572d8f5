//! The write cache, flushes, and the read buffer.

use isotherm_seam::{BlockDevice, Draws, Due, Nanos, Op, OpKind, Persist, Tag};

use super::*;

#[test]
fn without_the_cache_a_write_that_comes_late_loses_a_turn() {
    let off = HddOptions { write_cache: false, ..healthy() };
    let rate = |depth| sequential(null(&off, FULL), OpKind::Write, depth, 64 << 10, 0, 64 << 20);
    // One every turn: 64 KiB / 8.33 ms.
    within(rate(1), 7.5, 7.9);
    assert!(rate(4) > 250.0, "queued in time, it goes on: {}", rate(4));
}

#[test]
fn a_cached_write_is_answered_at_once_until_the_cache_is_full() {
    let mut rig = Rig::new(null(&healthy(), SMALL));
    rig.write(0, 0, 4096, Persist::Flush);
    let answer = rig.alone();
    within(answer.as_millis_f64(), 0.2, 0.21);
    rig.write(0, 8, 4096, Persist::Fua);
    let medium = rig.alone();
    assert!(medium > Nanos::from_millis(1), "FUA goes to the medium: {medium:?}");

    // Many random writes: as fast as the arm puts them on the medium, sorted by position.
    let seen = random(null(&healthy(), FULL), OpKind::Write, 16, 20_000);
    assert!((250.0..600.0).contains(&seen.per_second), "{}", seen.per_second);
    let off = HddOptions { write_cache: false, ..healthy() };
    let through = random(null(&off, FULL), OpKind::Write, 16, 20_000);
    within(through.per_second, 135.0, 155.0);
}

#[test]
fn no_write_overtakes_one_that_waits_for_room() {
    let mut rig = Rig::new(null(&healthy(), SMALL)); // It may hold 16 MiB.
    for tag in 0..16 {
        rig.write(tag, tag * 20_000, (1 << 20) - 4096, Persist::Flush);
    }
    rig.write(16, 400_000, 1 << 20, Persist::Flush);
    rig.write(17, 450_000, 4096, Persist::Flush); // There would be room for this one.
    let mut order = Vec::new();
    while rig.hdd.inflight() > 0 {
        order.extend(rig.wait().iter().map(|done| done.tag.0));
    }
    assert_eq!(order, (0..18).collect::<Vec<u64>>());
}

#[test]
fn a_flush_waits_for_what_is_dirty_and_for_no_more() {
    let mut rig = Rig::new(null(&healthy(), FULL));
    rig.submit(0, Op::Flush);
    assert!(rig.alone() < Nanos::from_millis(1), "nothing is dirty");
    for i in 0..20 {
        rig.write(0, i * 1_000_003 * 8, 4096, Persist::Flush);
        rig.alone();
    }
    let began = rig.now;
    rig.submit(1, Op::Flush);
    // Writes that come later do not delay it for ever.
    let mut after = 0;
    let flushed = 'flush: loop {
        rig.write(2, (after + 50) * 1_000_003 * 8, 4096, Persist::Flush);
        for done in rig.wait() {
            if done.tag == Tag(1) {
                break 'flush rig.now;
            }
        }
        after += 1;
        assert!(after < 10_000, "a flush that never ends");
    };
    let took = flushed.since(began).as_millis_f64();
    assert!((40.0..400.0).contains(&took), "20 destages took {took} ms");
}

#[test]
fn reads_do_not_starve_a_flush_nor_the_other_way_round() {
    let mut rig = Rig::new(null(&healthy(), FULL));
    let mut draws = Draws::new(3, CHOICE, 1);
    let places = rig.hdd.geometry().blocks / 8;
    for _ in 0..100 {
        rig.write(0, draws.below(places) * 8, 4096, Persist::Flush);
        rig.alone();
    }
    rig.submit(31, Op::Flush);
    for tag in 0..8 {
        rig.read(tag, draws.below(places) * 8, 4096);
    }
    let mut reads = 0;
    'flush: loop {
        for done in rig.wait() {
            if done.tag == Tag(31) {
                break 'flush;
            }
            reads += 1;
            assert!(reads < 3_000, "reads starve the flush");
            rig.read(done.tag.0, draws.below(places) * 8, 4096);
        }
    }
    assert!(reads >= 5, "the flush starves reads: {reads} in {:?}", rig.now);
}

#[test]
fn the_cache_is_cleaned_while_nobody_looks() {
    let mut rig = Rig::new(null(&healthy(), FULL));
    for i in 0..50 {
        rig.write(0, i * 1_000_003 * 8, 4096, Persist::Flush);
        rig.alone();
    }
    assert_eq!(rig.hdd.due(), Due::Idle, "nobody waits for the cache");
    rig.now = rig.now + Nanos::from_secs(2);
    rig.submit(0, Op::Flush);
    assert!(rig.alone() < Nanos::from_millis(1), "it is clean by now");
    assert_eq!(rig.hdd.drive().stats().commands, 50);
}

#[test]
fn what_was_written_is_not_read_from_an_old_buffer() {
    let second_read = |written: u64| {
        let mut rig = Rig::new(null(&healthy(), FULL));
        rig.read(0, 0, 64 << 10);
        rig.alone();
        rig.now = rig.now + Nanos::from_millis(5); // It reads ahead.
        rig.write(0, written, 4096, Persist::Fua);
        rig.alone();
        rig.read(0, 128, 64 << 10);
        rig.alone()
    };
    let (elsewhere, there) = (second_read(1 << 30), second_read(160));
    assert!(elsewhere < Nanos::from_micros(350), "from the buffer: {elsewhere:?}");
    assert!(there > Nanos::from_millis(1), "from the medium: {there:?}");
}

#[test]
fn a_slow_sequential_reader_is_answered_from_the_buffer() {
    let mut rig = Rig::new(null(&healthy(), FULL));
    rig.read(0, 0, 256 << 10);
    rig.alone();
    for i in 1..200 {
        rig.now = rig.now + Nanos::from_millis(10); // 26 MB/s of a medium that does 285.
        rig.read(0, i * 512, 256 << 10);
        // 0.2 ms, and 256 KiB over the bus.
        within(rig.alone().as_millis_f64(), 0.677, 0.677);
    }
    // Small reads one by one are as fast as the answers, not as the medium.
    let rate = sequential(null(&healthy(), FULL), OpKind::Read, 1, 4096, 0, 8 << 20);
    within(rate, 4096.0 / 0.207e-3 / 1e6, 4096.0 / 0.2e-3 / 1e6);
}

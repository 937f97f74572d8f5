//! What has been published about such drives, and what the model must not depend on.

use isotherm_seam::{BlockDevice, BlockSize, Draws, Due, Mono, Nanos, OpKind};

use super::*;

#[test]
fn random_reads_come_as_fast_as_published() {
    for bytes in [FULL, SMALL] {
        for order in [Order::Sptf, AGED] {
            let iops = |depth| random_reads(&ordered(order), bytes, depth).per_second;
            within(iops(1), 85.0, 95.0);
            within(iops(3), 120.0, 128.0);
            within(iops(4), 120.0, 128.0);
            within(iops(16), 150.0, 181.0);
        }
        // Without reordering, depth gains nothing.
        let fifo = |depth| random_reads(&ordered(Order::Fifo), bytes, depth).per_second;
        within(fifo(16), fifo(1), fifo(1));
    }
}

#[test]
fn pure_shortest_first_starves_at_depth_16_and_not_at_4() {
    let tail = |order, depth| random_reads(&ordered(order), FULL, depth).ms(0.999);
    let deep = tail(Order::Sptf, 16);
    assert!((500.0..1_000.0).contains(&deep), "{deep} ms");
    let shallow = tail(Order::Sptf, 4);
    assert!(shallow < 250.0, "{shallow} ms");
    let aged = tail(AGED, 16);
    assert!(aged < 250.0, "ageing bounds the wait: {aged} ms");
}

#[test]
fn service_times_are_far_from_exponential() {
    let seen = random_reads(&healthy(), FULL, 1);
    let n = seen.latencies.len() as f64;
    let mean = seen.latencies.iter().map(|l| l.as_millis_f64()).sum::<f64>() / n;
    let square = seen.latencies.iter().map(|l| (l.as_millis_f64() - mean).powi(2)).sum::<f64>();
    let variation = (square / n).sqrt() / mean;
    assert!((0.31..0.35).contains(&variation), "{variation}");
    let formula = EXOS_X24.mean_service(4096, OpKind::Read).as_millis_f64();
    within(mean, formula, formula);
}

#[test]
fn sequential_transfers_run_at_the_rate_of_the_medium() {
    for kind in [OpKind::Read, OpKind::Write] {
        for (depth, io_bytes) in [(1, 1 << 20), (1, 256 << 10), (4, 64 << 10), (32, 128 << 10)] {
            let rate =
                |start| sequential(null(&healthy(), FULL), kind, depth, io_bytes, start, 600 << 20);
            let (outer, inner) = (rate(0), rate(FULL - (600 << 20)));
            let name = format!("{kind:?} of {io_bytes} at depth {depth}: {outer}, {inner} MB/s");
            // Writes: 64 MiB of the 600 go into the cache and no farther.
            let more = if kind == OpKind::Write { 1.13 } else { 1.01 };
            assert!((285.0 * 0.97..285.0 * more).contains(&outer), "{name}");
            assert!((0.46..0.54).contains(&(inner / outer)), "{name}");
        }
    }
}

#[test]
fn a_scaled_drive_behaves_as_the_whole_one() {
    for order in [Order::Fifo, Order::Sptf, AGED] {
        for depth in [1, 4, 16, 32] {
            let full = random_reads(&ordered(order), FULL, depth);
            for bytes in [EXOS_X24.smallest_backing_bytes(), SMALL, 10 << 30] {
                let scaled = random_reads(&ordered(order), bytes, depth);
                let ratio = scaled.per_second / full.per_second;
                let name = format!("{order:?} at depth {depth} on {bytes} bytes");
                assert!((0.98..1.02).contains(&ratio), "{name}: {ratio}");
                let tail = scaled.ms(0.99) / full.ms(0.99);
                assert!((0.92..1.08).contains(&tail), "{name}: {tail} in p99");
            }
        }
    }
    // 16 MiB are 6 tracks, hence a little farther in than the first 16 MiB of the real one.
    let rate = |bytes| sequential(null(&healthy(), bytes), OpKind::Read, 1, 1 << 20, 0, 16 << 20);
    let ratio = rate(SMALL) / rate(FULL);
    assert!((0.95..1.01).contains(&ratio), "{ratio}");
}

#[test]
fn a_drive_to_come_has_the_same_arm() {
    let options = HddOptions { profile: FUTURE_200T, ..healthy() };
    let seen = random_reads(&options, FUTURE_200T.capacity_bytes, 1);
    within(seen.per_second, 85.0, 95.0);
}

#[test]
fn a_slow_drive_is_as_slow_as_told() {
    let normal = random_reads(&healthy(), SMALL, 1).per_second;
    let slow = HddOptions { slow: Some(Slow::always(4.0)), ..healthy() };
    let limping = random_reads(&slow, SMALL, 1).per_second;
    within(normal / limping, 3.9, 4.1);
    let rate = sequential(null(&slow, FULL), OpKind::Read, 1, 1 << 20, 0, 100 << 20);
    within(rate, 285.0 / 4.0 * 0.97, 285.0 / 4.0);
}

#[test]
fn a_weak_region_shows_in_its_tail_only() {
    let weak = HddOptions { weak: Some((0.5, 0.1)), ..healthy() };
    let mut rig = Rig::new(null(&weak, FULL));
    let blocks = rig.hdd.geometry().blocks;
    let mut draws = Draws::new(9, CHOICE, 3);
    let mut median = |from: f64| {
        let start = (blocks as f64 * from) as u64 / 8;
        let seen = rig.keep_busy(1, 1_001, |rig, tag| {
            rig.read(tag, (start + draws.below(blocks / 200)) * 8, 4096);
        });
        (seen.ms(0.25), seen.ms(0.75))
    };
    let (_, healthy) = median(0.2);
    let (low, high) = median(0.52);
    assert!(healthy < 15.0 && low < 15.0 && high > 20.0, "{healthy} {low} {high}");
}

#[test]
fn another_seed_turns_another_spindle() {
    let latencies = |seed| {
        let hdd = Hdd::new(Box::new(Null::new(&Shape::new(SMALL))), &healthy(), seed).unwrap();
        random(hdd, OpKind::Read, 1, 100).latencies
    };
    assert_eq!(latencies(1), latencies(1));
    assert_ne!(latencies(1), latencies(2));
}

#[test]
fn when_it_is_polled_changes_nothing() {
    // The same arrivals, polled only when it is due, and every 50 us, as a spinning core would.
    let times = |step: Option<Nanos>| {
        let mut draws = Draws::new(11, CHOICE, 2);
        let options = HddOptions { retries: 100.0, ..HddOptions::default() };
        let mut drive = Drive::new(&options, BlockSize::B512, FULL / BLOCK, 5);
        let mut now = Mono::ZERO;
        let mut done = Vec::new();
        let mut slots = 0u32;
        for i in 0..4_000 {
            let arrival = now + Nanos(draws.below(20_000_000));
            while let Some(at) = step.map(|step| now + step).filter(|at| *at < arrival) {
                now = at;
                drive.advance(now);
            }
            now = arrival;
            drive.advance(now);
            for slot in bits(drive.timed()).filter(|&slot| drive.done_at(slot) <= now) {
                done.push((drive.done_at(slot), slot));
                slots &= !(1 << slot);
            }
            for slot in bits(!slots & drive.timed()) {
                drive.release(slot);
            }
            let slot = (!slots).trailing_zeros() as usize;
            if slot >= 32 {
                continue;
            }
            slots |= 1 << slot;
            let first = draws.below(FULL / BLOCK / 8) * 8;
            let command = match i % 7 {
                0 => Command::Flush,
                1 | 2 => Command::Write { first, count: 8, through: i % 2 == 0 },
                _ => Command::Read { first, count: 8 },
            };
            drive.submit(now, slot, command);
        }
        done
    };
    let lazy = times(None);
    assert!(lazy.len() > 3_500);
    assert_eq!(lazy, times(Some(Nanos::from_micros(50))));
    assert_eq!(lazy, times(None), "the same seed, the same times");
}

#[test]
fn an_idle_drive_asks_for_nothing() {
    let mut rig = Rig::new(null(&healthy(), SMALL));
    assert_eq!(rig.hdd.due(), Due::Idle);
    assert_eq!(rig.hdd.poll(Mono(5), &mut rig.done), 0);
    rig.read(0, 0, 4096);
    rig.alone();
    assert_eq!(rig.hdd.due(), Due::Idle);
}

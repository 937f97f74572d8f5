//! Injected faults: what the owner of the disk sees, and what the world knows.

use std::collections::BTreeSet;

use isotherm_seam::{BlockDevice, IoError, Lba, Mono, Nanos, Op};
use isotherm_sim::{
    Content, CrashStyle, Fault, FaultEvent, FaultKind, FaultPlan, FaultRates, Harm, SimDisk, Slow,
    Stall,
};

use crate::rig::{Rig, config, even, zoned};

fn with_rates(seed: u64, rates: FaultRates) -> Rig<SimDisk> {
    let mut config = config(seed);
    config.faults.rates = rates;
    Rig::new(SimDisk::new(config))
}

const WHOLE: std::ops::Range<Lba> = Lba(0)..Lba(256);

#[test]
fn a_transient_error_leaves_no_harm() {
    let mut rig = with_rates(1, FaultRates { read_error: 0.5, ..FaultRates::default() });
    rig.write(5, 1, 7).unwrap();
    let mut outcomes = BTreeSet::new();
    for _ in 0..40 {
        match rig.read(5) {
            Ok(byte) => assert_eq!(byte, 7),
            Err(error) => assert_eq!(error, IoError::Media { lba: Lba(5) }),
        }
        outcomes.insert(rig.read(5).is_ok());
    }
    assert_eq!(outcomes.len(), 2, "it fails at times and works at times");
    assert_eq!(rig.device.control().harm(WHOLE), []);
}

#[test]
fn a_latent_error_lasts_until_the_sector_is_rewritten() {
    let mut rig = with_rates(2, FaultRates::default());
    let control = rig.device.control();
    rig.write(4, 3, 7).unwrap();
    control.inject(Mono(0), Fault::Unreadable(Lba(5)..Lba(6)));
    for _ in 0..3 {
        let buf = rig.buf(3, 0);
        let (result, _) = rig.call(Op::Read { lba: Lba(4), buf });
        assert_eq!(result, Err(IoError::Media { lba: Lba(5) }), "the first bad block is named");
    }
    assert_eq!((rig.read(4), rig.read(6)), (Ok(7), Ok(7)));
    assert_eq!(control.harm(WHOLE), [(Lba(5), Harm::Unreadable)]);
    rig.write(5, 1, 8).unwrap();
    assert_eq!(rig.read(5), Ok(8));
    assert_eq!(control.harm(WHOLE), []);
}

#[test]
fn reads_find_latent_errors_and_rot_at_their_rates() {
    let rates = FaultRates { latent: 0.05, rot: 0.05, ..FaultRates::default() };
    let mut rig = with_rates(3, rates);
    let control = rig.device.control();
    rig.write(0, 16, 7).unwrap();
    for lba in (0..16).cycle().take(400) {
        let buf = rig.buf(1, 0);
        let _ = rig.call(Op::Read { lba: Lba(lba), buf });
    }
    let of = |kind| control.faults().iter().filter(|fault| fault.kind == kind).count();
    // 400 draws of 0.05: mean 20, deviation 4.4. What is unreadable can't rot any more.
    assert!((5..=40).contains(&of(FaultKind::Unreadable)), "{}", of(FaultKind::Unreadable));
    assert!(of(FaultKind::Rot) > 0);
    assert!(!control.harm(WHOLE).is_empty());
}

#[test]
fn rot_flips_one_bit_of_each_sector() {
    let mut rig = with_rates(4, FaultRates::default());
    let control = rig.device.control();
    rig.write(5, 1, 0).unwrap();
    control.inject(Mono(0), Fault::Rot(Lba(5)..Lba(6)));
    let buf = rig.buf(1, 0);
    let (result, buf) = rig.call(Op::Read { lba: Lba(5), buf });
    result.unwrap();
    let ones: u32 = buf.unwrap().iter().map(|byte| byte.count_ones()).sum();
    assert_eq!(ones, 1);
    assert_eq!(control.harm(WHOLE), [(Lba(5), Harm::Rotten)]);
}

#[test]
fn a_lost_write_is_acknowledged_and_leaves_the_old() {
    let mut rig = with_rates(5, FaultRates::default());
    let control = rig.device.control();
    rig.write(5, 2, 1).unwrap();
    control.inject(Mono(0), Fault::LoseNextWrite);
    rig.write(5, 2, 2).unwrap();
    rig.flush().unwrap();
    assert_eq!((rig.read(5), rig.read(6)), (Ok(1), Ok(1)));
    assert_eq!(control.harm(WHOLE), [(Lba(5), Harm::Lost), (Lba(6), Harm::Lost)]);
    rig.write(5, 2, 3).unwrap();
    assert_eq!((rig.read(5), control.harm(WHOLE)), (Ok(3), vec![]));
}

#[test]
fn a_misdirected_write_harms_two_places() {
    let mut rig = with_rates(6, FaultRates::default());
    let control = rig.device.control();
    rig.write(5, 1, 1).unwrap();
    rig.write(90, 1, 9).unwrap();
    control.inject(Mono(0), Fault::MisdirectNextWrite(Lba(90)));
    rig.write(5, 1, 2).unwrap();
    assert_eq!((rig.read(5), rig.read(90)), (Ok(1), Ok(2)));
    assert_eq!(control.harm(WHOLE), [(Lba(5), Harm::Lost), (Lba(90), Harm::Overwritten)]);
    let last = *control.faults().last().unwrap();
    assert_eq!((last.lba, last.kind), (Lba(5), FaultKind::MisdirectedWrite { to: Lba(90) }));
}

#[test]
fn writes_go_astray_by_chance_to_addresses_with_one_wrong_bit() {
    let mut rig = with_rates(7, FaultRates { misdirected_write: 0.5, ..FaultRates::default() });
    let control = rig.device.control();
    for lba in 0..64 {
        rig.write(lba, 1, 1).unwrap();
    }
    let astray: Vec<(u64, u64)> = control
        .faults()
        .iter()
        .filter_map(|fault| match fault.kind {
            FaultKind::MisdirectedWrite { to } => Some((fault.lba.0, to.0)),
            _ => None,
        })
        .collect();
    assert!(astray.len() > 10);
    assert!(astray.iter().all(|(from, to)| (from ^ to).is_power_of_two() && *to < 256));
}

#[test]
fn a_failed_write_leaves_each_sector_old_new_or_unreadable() {
    let mut found = BTreeSet::new();
    for seed in 0..40 {
        let mut rig = with_rates(seed, FaultRates::default());
        rig.write(0, 3, 1).unwrap();
        let rates = FaultRates { write_error: 1.0, ..FaultRates::default() };
        rig.device.control().set_rates(rates);
        assert_eq!(rig.write(0, 3, 2), Err(IoError::Media { lba: Lba(0) }));
        for lba in 0..3 {
            found.insert(rig.read(lba).ok());
        }
    }
    assert_eq!(found, BTreeSet::from([None, Some(1), Some(2)]));
}

#[test]
fn a_failed_write_to_a_zone_stops_those_behind_it() {
    for seed in 0..20 {
        let mut rig = Rig::new(SimDisk::new(zoned(seed)));
        rig.write(0, 2, 1).unwrap();
        rig.device.control().set_rates(FaultRates { write_error: 1.0, ..FaultRates::default() });
        let failing = rig.submit_write(2, 4, 2);
        rig.device.control().set_rates(FaultRates::default());
        let behind = rig.submit_write(6, 1, 3);
        assert!(matches!(rig.wait(failing).result, Err(IoError::Media { .. })));
        assert!(matches!(rig.wait(behind).result, Err(IoError::Zone(_))));
        let buf = rig.buf(1, 0);
        let (_, buf) = rig.call(Op::ZoneReport { zone: isotherm_seam::ZoneId(0), buf });
        let pointer = isotherm_seam::ZoneReport::get(&buf.unwrap(), 0).write_pointer;
        assert!((2..=6).contains(&pointer.0));
        rig.write(pointer.0, 1, 4).unwrap();
    }
}

#[test]
fn a_lying_flush_keeps_nothing() {
    let mut rig = with_rates(8, FaultRates { lying_flush: 1.0, ..FaultRates::default() });
    rig.write(5, 1, 1).unwrap();
    rig.flush().unwrap();
    assert_eq!(rig.device.control().unsettled().combinations(), 2);
    rig.device.control().set_rates(FaultRates::default());
    rig.flush().unwrap();
    assert_eq!(rig.device.control().unsettled().combinations(), 1);
}

#[test]
fn slowness_and_stalls_take_their_time() {
    let mut config = config(9);
    config.latency = even(Nanos(100));
    config.faults = FaultPlan {
        slow: vec![Slow {
            when: Mono(1_000)..Mono(2_000),
            blocks: Some(Lba(100)..Lba(200)),
            factor: 7.0,
        }],
        stalls: vec![Stall { from: Mono(5_000), length: Nanos(900), every: None }],
        ..FaultPlan::default()
    };
    let mut rig = Rig::new(SimDisk::new(config));
    let mut read_at = |at: u64, lba| {
        rig.now = Mono(at);
        rig.read(lba).unwrap();
        rig.now.0 - at
    };
    assert_eq!(read_at(900, 150), 100, "not yet");
    assert_eq!(read_at(1_000, 150), 700);
    assert_eq!(read_at(1_800, 250), 100, "elsewhere");
    assert_eq!(read_at(2_000, 150), 100, "no longer");
    assert_eq!(read_at(4_950, 0), 950, "caught by the stall");
}

#[test]
fn a_time_out_takes_long_and_ends() {
    let mut rig = with_rates(10, FaultRates { time_out: 1.0, ..FaultRates::default() });
    assert_eq!(rig.read(5), Err(IoError::TimedOut));
    assert_eq!(rig.now, Mono(30_000_000_000));
}

#[test]
fn a_disk_that_is_gone_says_so_and_comes_back_with_old_content() {
    let mut config = config(11);
    config.latency = even(Nanos(100));
    config.faults.events = vec![
        FaultEvent { at: Mono(3_000), fault: Fault::Back(Content::Remembered) },
        FaultEvent { at: Mono(1_000), fault: Fault::Remember },
        FaultEvent { at: Mono(2_000), fault: Fault::Gone(CrashStyle::All) },
    ];
    let mut rig = Rig::new(SimDisk::new(config));
    let control = rig.device.control();
    rig.write(5, 1, 1).unwrap();
    rig.flush().unwrap();
    rig.now = Mono(1_500);
    rig.write(5, 1, 2).unwrap();
    rig.write(6, 1, 2).unwrap();
    rig.flush().unwrap();
    rig.now = Mono(1_950);
    let in_flight = rig.submit_write(7, 1, 3);
    assert_eq!(rig.wait(in_flight).result, Err(IoError::Gone));
    assert!(!control.is_present());
    rig.now = Mono(2_500);
    assert_eq!(rig.read(5), Err(IoError::Gone));
    rig.now = Mono(3_500);
    assert_eq!(rig.read(5), Err(IoError::Gone), "it must be opened anew");
    rig.device = control.open();
    assert_eq!((rig.read(5), rig.read(6)), (Ok(1), Ok(0)), "well-formed and outdated");
    let harm = control.harm(Lba(5)..Lba(7));
    assert_eq!(harm, [(Lba(5), Harm::Outdated), (Lba(6), Harm::Outdated)]);
}

/// Draws are keyed: a fault more or less leaves what befalls all other requests as it was.
#[test]
fn taking_one_fault_out_changes_nothing_else() {
    let run = |events: Vec<FaultEvent>| -> Vec<(bool, Mono)> {
        let mut config = config(12);
        config.faults.rates =
            FaultRates { read_error: 0.1, lost_write: 0.1, ..FaultRates::default() };
        config.faults.events = events;
        let mut rig = Rig::new(SimDisk::new(config));
        (0..200)
            .map(|step| {
                let ok = match step % 2 {
                    0 => rig.write(step % 17, 1, 1).is_ok(),
                    // From a place that the event does not touch.
                    _ => rig.read(200 + step % 7).is_ok(),
                };
                (ok, rig.now)
            })
            .collect()
    };
    let event = FaultEvent { at: Mono(1_000_000), fault: Fault::Unreadable(Lba(3)..Lba(5)) };
    assert_eq!(run(vec![event]), run(vec![]));
}

#[test]
fn a_read_over_a_write_in_flight_mixes_old_and_new_blocks() {
    let mut config = config(13);
    config.latency = even(Nanos(100));
    config.latency.read = (Nanos(10), Nanos(10));
    let mut rig = Rig::new(SimDisk::new(config));
    rig.write(0, 16, 1).unwrap();
    rig.submit_write(0, 16, 2);
    let buf = rig.buf(16, 0);
    let (result, buf) = rig.call(Op::Read { lba: Lba(0), buf });
    result.unwrap();
    let blocks: Vec<u8> = buf.unwrap().chunks(4096).map(|block| block[0]).collect();
    assert!(blocks.contains(&1) && blocks.contains(&2), "{blocks:?}");
    assert_eq!(rig.device.inflight(), 1);
}

#[test]
fn each_request_has_its_own_latency() {
    let mut rig = Rig::new(SimDisk::new(config(14)));
    let taken: Vec<u64> = (0..200)
        .map(|lba| {
            let start = rig.now;
            rig.read(lba).unwrap();
            rig.now.0 - start.0
        })
        .collect();
    // 4 KiB at 1 GB/s are 4,096 ns on top of 50 to 150 µs.
    assert!(taken.iter().all(|ns| (54_096..=154_096).contains(ns)));
    let distinct: BTreeSet<&u64> = taken.iter().collect();
    assert!(distinct.len() > 190, "{} of 200", distinct.len());
    let early = taken.iter().filter(|ns| **ns < 104_096).count();
    assert!((70..=130).contains(&early), "uniform: {early} of 200 in the lower half");
}

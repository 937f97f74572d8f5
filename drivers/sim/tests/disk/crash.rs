//! Power cuts: every image that the contract allows, and no other.

use std::collections::BTreeSet;

use isotherm_seam::{BlockDevice, Domain, Draws, Lba, Nanos, Op, Persist, ZoneId};
use isotherm_sim::{CrashStyle, Image, Sector, SimDisk, Unsettled};

use crate::rig::{BLOCK, Rig, config, even, zoned};

const TEST: Domain = Domain::new("test.crash");

/// The byte that fills each of these sectors; `None` where it can't be read.
fn bytes(image: &Image, sectors: &[u64]) -> Vec<Option<u8>> {
    sectors
        .iter()
        .map(|&sector| {
            let mut content = [0; BLOCK];
            let readable = image.read(sector, 0, &mut content);
            assert!(content.iter().all(|&byte| byte == content[0]), "sector {sector} is torn");
            readable.then_some(content[0])
        })
        .collect()
}

fn outcomes(unsettled: &Unsettled, sectors: &[u64]) -> BTreeSet<Vec<Option<u8>>> {
    let images = unsettled.images(4096, 1);
    assert!(images.is_exhaustive());
    let mut seen = BTreeSet::new();
    for image in images {
        assert!(seen.insert(bytes(&image, sectors)), "an image came twice");
    }
    seen
}

#[test]
fn each_unflushed_sector_ends_old_or_any_later_version() {
    let mut rig = Rig::new(SimDisk::new(config(1)));
    rig.write(7, 1, 1).unwrap();
    rig.write(9, 1, 1).unwrap();
    rig.flush().unwrap();
    rig.write(7, 1, 2).unwrap();
    rig.write(7, 1, 3).unwrap();
    rig.write(8, 1, 4).unwrap();
    let unsettled = rig.device.control().unsettled();
    assert_eq!(unsettled.combinations(), 6);
    let mut expected = BTreeSet::new();
    for seven in [1, 2, 3] {
        for eight in [0, 4] {
            expected.insert(vec![Some(seven), Some(eight), Some(1)]);
        }
    }
    assert_eq!(outcomes(&unsettled, &[7, 8, 9]), expected);
    let dying = unsettled.with_unreadable(0.5);
    let with_dead = outcomes(&dying, &[7, 8, 9]);
    assert_eq!(with_dead.len(), 12);
    assert!(with_dead.contains(&vec![None, None, Some(1)]));
    assert!(with_dead.iter().all(|image| image[2] == Some(1)), "what was flushed is safe");
}

#[test]
fn a_write_in_flight_may_be_there() {
    let mut rig = Rig::new(SimDisk::new(config(2)));
    rig.submit_write(3, 2, 9);
    let unsettled = rig.device.control().unsettled();
    assert_eq!(outcomes(&unsettled, &[3, 4]).len(), 4);
}

#[test]
fn a_flush_covers_what_completed_before_it_was_submitted() {
    let mut config = config(3);
    config.latency = even(Nanos(100));
    let mut rig = Rig::new(SimDisk::new(config));
    rig.write(1, 1, 1).unwrap();
    let late = rig.submit_write(2, 1, 2);
    let flush = rig.submit(Op::Flush);
    rig.wait(late).result.unwrap();
    rig.wait(flush).result.unwrap();
    let found = outcomes(&rig.device.control().unsettled(), &[1, 2]);
    assert_eq!(found, BTreeSet::from([vec![Some(1), Some(0)], vec![Some(1), Some(2)]]));
}

#[test]
fn a_forced_write_is_durable_by_itself() {
    let mut rig = Rig::new(SimDisk::new(config(4)));
    rig.write(1, 1, 1).unwrap();
    let buf = rig.buf(1, 2);
    rig.call(Op::Write { lba: Lba(1), buf, persist: Persist::Fua }).0.unwrap();
    let found = outcomes(&rig.device.control().unsettled(), &[1]);
    assert_eq!(found, BTreeSet::from([vec![Some(2)]]));
}

#[test]
fn versions_that_read_the_same_are_one() {
    let mut rig = Rig::new(SimDisk::new(config(5)));
    rig.write(1, 1, 7).unwrap();
    rig.flush().unwrap();
    rig.write(1, 1, 7).unwrap();
    rig.write(2, 1, 0).unwrap(); // As blank as before.
    assert_eq!(rig.device.control().unsettled().combinations(), 1);
}

#[test]
fn every_style_gives_an_allowed_image_and_chance_gives_them_all() {
    for seed in 0..20 {
        let mut rig = Rig::new(SimDisk::new(config(seed)));
        let mut draws = Draws::new(seed, TEST, 0);
        for step in 0..12 {
            let (lba, byte) = (draws.below(5), 1 + step);
            match draws.below(4) {
                0 => rig.flush().unwrap(),
                1 => rig.write(lba, 2, byte).unwrap(),
                _ => rig.write(lba, 1, byte).unwrap(),
            }
        }
        let sectors = [0, 1, 2, 3, 4, 5];
        let unsettled = rig.device.control().unsettled().with_unreadable(0.2);
        let allowed = outcomes(&unsettled, &sectors);
        let mut found = BTreeSet::new();
        for cut in 0..3_000 {
            let style = CrashStyle::ALL[cut as usize % 6];
            let (image, report) = unsettled.crash(style, &mut Draws::new(seed, TEST, cut));
            let image = bytes(&image, &sectors);
            assert!(allowed.contains(&image), "seed {seed}: {style:?} gave {image:?}");
            let decided = report.old + report.newer + report.unreadable;
            assert_eq!(decided, unsettled.sectors() as u64);
            found.insert(image);
        }
        if allowed.len() < 60 {
            assert_eq!(found, allowed, "seed {seed}: chance reaches every image");
        }
    }
}

#[test]
fn the_styles_do_what_they_say() {
    let mut rig = Rig::new(SimDisk::new(config(6)));
    for lba in 0..6 {
        rig.write(lba, 1, 10 + lba as u8).unwrap();
    }
    let unsettled = rig.device.control().unsettled();
    let written = |style, cut| -> Vec<bool> {
        let (image, _) = unsettled.crash(style, &mut Draws::new(6, TEST, cut));
        bytes(&image, &[0, 1, 2, 3, 4, 5]).iter().map(|byte| *byte != Some(0)).collect()
    };
    let kept = |written: &[bool]| written.iter().filter(|kept| **kept).count();
    let (mut prefixes, mut suffixes) = (BTreeSet::new(), BTreeSet::new());
    for cut in 0..200 {
        assert_eq!(written(CrashStyle::All, cut), [true; 6]);
        assert_eq!(written(CrashStyle::None, cut), [false; 6]);
        let (prefix, suffix) = (written(CrashStyle::Prefix, cut), written(CrashStyle::Suffix, cut));
        assert!(prefix.is_sorted_by(|a, b| a >= b) && suffix.is_sorted());
        prefixes.insert(kept(&prefix));
        suffixes.insert(kept(&suffix));
        assert_eq!(written(CrashStyle::OneHole, cut).iter().filter(|kept| !**kept).count(), 1);
    }
    assert_eq!(prefixes, (0..=6).collect(), "from nothing to everything");
    assert_eq!(suffixes, (0..=6).collect(), "from nothing to everything");
}

#[test]
fn beyond_the_limit_images_are_sampled_and_differ() {
    let mut rig = Rig::new(SimDisk::new(config(7)));
    for lba in 0..40 {
        rig.write(lba, 1, 1).unwrap();
    }
    let sectors: Vec<u64> = (0..40).collect();
    let unsettled = rig.device.control().unsettled();
    assert_eq!(unsettled.combinations(), 1 << 40);
    let images = unsettled.images(200, 3);
    assert!(!images.is_exhaustive());
    let found: Vec<_> = images.map(|image| bytes(&image, &sectors)).collect();
    let distinct: BTreeSet<_> = found.iter().collect();
    assert!(distinct.len() == found.len() && (100..=200).contains(&found.len()));
    assert!(distinct.contains(&vec![Some(0); 40]) && distinct.contains(&vec![Some(1); 40]));
}

#[test]
fn a_zone_ends_anywhere_from_what_is_durable_to_what_was_sent() {
    let mut rig = Rig::new(SimDisk::new(zoned(8)));
    rig.write(16, 1, 1).unwrap();
    rig.flush().unwrap();
    rig.write(17, 1, 2).unwrap();
    rig.submit_write(18, 1, 3);
    let unsettled = rig.device.control().unsettled();
    let mut pointers = BTreeSet::new();
    let mut images = 0;
    for image in unsettled.images(4096, 1) {
        let pointer = image.pointer(ZoneId(1));
        for (sector, content) in image.written(0..256) {
            assert!(Lba(sector) < pointer, "{content:?} beyond the write pointer");
        }
        assert_eq!(bytes(&image, &[16]), [Some(1)]);
        pointers.insert(pointer);
        images += 1;
    }
    assert_eq!(pointers, BTreeSet::from([Lba(17), Lba(18), Lba(19)]));
    // Up to 17: one. Up to 18: block 17 old or new. Up to 19: each of two old or new.
    assert_eq!(images, 1 + 2 + 4);
    for cut in 0..600 {
        let style = CrashStyle::ALL[cut as usize % 6];
        let (image, _) = unsettled.crash(style, &mut Draws::new(8, TEST, cut));
        let pointer = image.pointer(ZoneId(1));
        assert!(pointers.contains(&pointer));
        assert_eq!(image.written(pointer.0..256).count(), 0, "{style:?} left some beyond");
    }
}

#[test]
fn a_reset_in_flight_has_happened_or_not() {
    let mut rig = Rig::new(SimDisk::new(zoned(9)));
    rig.write(0, 3, 1).unwrap();
    rig.flush().unwrap();
    rig.submit(Op::ZoneReset { zone: ZoneId(0) });
    let unsettled = rig.device.control().unsettled();
    let pointers: BTreeSet<Lba> =
        unsettled.images(100, 1).map(|image| image.pointer(ZoneId(0))).collect();
    assert_eq!(pointers, BTreeSet::from([Lba(0), Lba(3)]));
}

#[test]
fn what_a_reset_forgot_never_returns() {
    let mut rig = Rig::new(SimDisk::new(zoned(14)));
    rig.write(0, 2, 1).unwrap();
    rig.call(Op::ZoneReset { zone: ZoneId(0) }).0.unwrap();
    rig.write(0, 1, 2).unwrap();
    let images: Vec<Image> = rig.device.control().unsettled().images(100, 1).collect();
    // The write pointer at 0; or at 1, with the new content or nothing.
    assert_eq!(images.len(), 3);
    assert!(images.iter().all(|image| bytes(image, &[0]) != [Some(1)]));
    rig.call(Op::ZoneFinish { zone: ZoneId(0) }).0.unwrap();
    assert_eq!(rig.read(1), Ok(0), "blank, where the first life had written");
}

#[test]
fn a_disk_opened_after_a_power_cut_holds_what_the_cut_left() {
    for seed in 0..30 {
        let mut rig = Rig::new(SimDisk::new(zoned(seed)));
        let control = rig.device.control();
        rig.write(0, 4, 5).unwrap();
        rig.submit_write(4, 4, 6);
        let free = rig.pool.free_count();
        control.crash(CrashStyle::drawn(seed, 1));
        assert_eq!(rig.pool.free_count(), free + 1, "the buffer in flight is back");
        assert_eq!(rig.device.inflight(), 0);
        assert!(rig.write(8, 1, 1).is_err(), "the old handle is dead");
        let pointer = control.image().pointer(ZoneId(0));
        rig.device = control.open();
        if pointer.0 < 16 {
            rig.write(pointer.0, 1, 7).unwrap();
            assert_eq!(rig.read(pointer.0), Ok(7));
        }
    }
}

/// A log that acknowledges a record when it is written, with or without the flush that makes it
/// durable: the walk over all images finds the one that loses it.
#[test]
fn a_missing_flush_is_found() {
    for flushes in [true, false] {
        let mut rig = Rig::new(SimDisk::new(config(10)));
        for record in 0..4 {
            rig.write(record, 1, 1 + record as u8).unwrap();
            if flushes {
                rig.flush().unwrap();
            }
        }
        let unsettled = rig.device.control().unsettled();
        let lost = unsettled.images(4096, 1).any(|image| {
            let kept: Vec<Sector> = image.written(0..4).map(|(_, s)| s.clone()).collect();
            kept.len() < 4
        });
        assert_eq!(lost, !flushes);
    }
}

#[test]
#[should_panic(expected = "the caller broke the contract")]
fn two_writes_in_flight_over_one_block_are_a_bug() {
    let mut rig = Rig::new(SimDisk::new(config(11)));
    rig.submit_write(3, 2, 1);
    rig.submit_write(4, 1, 2);
}

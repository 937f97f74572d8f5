//! The recorder: what it makes of its log is what the disk itself knows.

use std::sync::Arc;

use isotherm_block::File;
use isotherm_seam::{
    BlockDevice, BlockSize, Domain, Draws, Lba, Op, OpenOptions, Persist, Unpark, ZoneId,
};
use isotherm_sim::{
    Blank, CrashStyle, DiskControl, FaultRates, Image, Recorder, Recording, SimDisk, SimDiskConfig,
    Unsettled,
};

use crate::rig::{BLOCK, Rig, config, zoned};

const TEST: Domain = Domain::new("test.recorder");

fn record(config: SimDiskConfig, data_bytes_max: usize) -> (Rig<Recorder>, Recording, DiskControl) {
    let geometry = config.geometry.clone();
    let base = Image::new(geometry.physical, Blank::Zeros, geometry.zones);
    let disk = SimDisk::new(config);
    let control = disk.control();
    let (recorder, recording) = Recorder::new(Box::new(disk), base, data_bytes_max);
    (Rig::new(recorder), recording, control)
}

fn images(unsettled: &Unsettled) -> Vec<Image> {
    let images = unsettled.images(1 << 16, 1);
    assert!(images.is_exhaustive(), "{} combinations", unsettled.combinations());
    images.collect()
}

fn assert_same(a: &Unsettled, b: &Unsettled, seed: u64) {
    let (a, b) = (images(a), images(b));
    assert_eq!(a.len(), b.len(), "seed {seed}");
    assert!(a.iter().all(|image| b.contains(image)), "seed {seed}");
}

/// Random writes and flushes, in zones resets too; the last write stays in flight. Now and then
/// a write is on its way while a flush is: the flush does not cover it.
fn work<D: BlockDevice>(rig: &mut Rig<D>, seed: u64, is_zoned: bool) {
    let mut draws = Draws::new(seed, TEST, 0);
    let mut pointer = 0;
    for step in 0..14u8 {
        let byte = step + 1;
        let persist = if draws.happens(0.2) { Persist::Fua } else { Persist::Flush };
        let lba = Lba(if is_zoned { pointer } else { draws.below(4) });
        match draws.below(6) {
            0 => rig.flush().unwrap(),
            1 if is_zoned => {
                rig.call(Op::ZoneReset { zone: ZoneId(0) }).0.unwrap();
                pointer = 0;
            }
            choice => {
                let buf = rig.buf(1, byte);
                let write = rig.submit(Op::Write { lba, buf, persist });
                if choice == 2 {
                    let flush = rig.submit(Op::Flush);
                    rig.wait(write).result.unwrap();
                    rig.wait(flush).result.unwrap();
                } else {
                    rig.wait(write).result.unwrap();
                }
                pointer += 1;
            }
        }
    }
    rig.submit_write(if is_zoned { pointer } else { 10 }, 1, 99);
}

#[test]
fn the_log_allows_just_what_the_disk_allows() {
    for seed in 0..40 {
        for (config, is_zoned) in [(config(seed), false), (zoned(seed), true)] {
            let (mut rig, recording, control) = record(config, 1 << 30);
            work(&mut rig, seed, is_zoned);
            let told = recording.unsettled(*recording.moments().end()).expect("it is held");
            assert_same(&told, &control.unsettled(), seed);
        }
    }
}

#[test]
fn a_short_log_forgets_the_past_and_nothing_else() {
    for seed in 0..20 {
        let (mut long, all, _) = record(config(seed), 1 << 30);
        let (mut short, recent, _) = record(config(seed), 3 * BLOCK);
        work(&mut long, seed, false);
        work(&mut short, seed, false);
        assert_eq!(all.moments().end(), recent.moments().end());
        let start = *recent.moments().start();
        assert!(start > 0 && recent.data_bytes() <= 3 * BLOCK);
        assert!(recent.unsettled(start - 1).is_none());
        assert!(recent.unsettled(recent.moments().end() + 1).is_none());
        for moment in recent.moments() {
            let (a, b) = (all.unsettled(moment), recent.unsettled(moment));
            assert_same(&a.expect("it is held"), &b.expect("it is held"), seed);
        }
    }
}

/// Moment by moment: nothing that was flushed is ever missing from an image made later.
#[test]
fn every_moment_of_a_run_can_be_cut() {
    let (mut rig, recording, _) = record(config(3), 1 << 30);
    let mut durable = Vec::new();
    for record in 0..4 {
        rig.write(record, 1, 1 + record as u8).unwrap();
        rig.flush().unwrap();
        durable.push(*recording.moments().end());
    }
    for moment in recording.moments() {
        let safe = durable.iter().filter(|flushed| **flushed <= moment).count();
        for image in images(&recording.unsettled(moment).expect("it is held")) {
            let kept = image.written(0..4).count();
            assert!(kept >= safe && kept <= safe + 1, "moment {moment}: {kept} of {safe}");
        }
    }
}

#[test]
fn a_failed_write_may_be_there_until_it_is_overwritten() {
    let (mut rig, recording, control) = record(config(4), 1 << 30);
    rig.write(5, 1, 1).unwrap();
    rig.flush().unwrap();
    control.set_rates(FaultRates { write_error: 1.0, ..FaultRates::default() });
    rig.write(5, 1, 2).unwrap_err();
    control.set_rates(FaultRates::default());
    let now = |recording: &Recording| recording.unsettled(*recording.moments().end()).unwrap();
    rig.flush().unwrap();
    assert_eq!(now(&recording).combinations(), 2, "a flush does not settle it");
    rig.write(5, 1, 3).unwrap();
    rig.flush().unwrap();
    assert_eq!(now(&recording).combinations(), 1);
}

#[test]
fn what_was_refused_is_in_no_image() {
    let (mut rig, recording, _) = record(zoned(5), 1 << 30);
    rig.write(0, 1, 1).unwrap();
    rig.write(7, 1, 2).unwrap_err();
    rig.write(300, 1, 2).unwrap_err();
    let told = recording.unsettled(*recording.moments().end()).unwrap();
    assert!(images(&told).iter().all(|image| image.written(1..300).count() == 0));
}

struct Nobody;

impl Unpark for Nobody {
    fn unpark(&self) {}
}

/// A real run, over a file: the image of a kind power cut is what the file holds.
#[test]
fn a_real_run_gives_images() {
    let file = tempfile::NamedTempFile::new().unwrap();
    let options =
        OpenOptions { write: true, direct: false, create_bytes: Some(64 * BLOCK as u64), depth: 8 };
    let device = File::open(file.path(), &options, 2, Arc::new(Nobody)).unwrap();
    let per_sector =
        u64::from(device.geometry().physical.bytes() / device.geometry().logical.bytes());
    assert_eq!(device.geometry().physical, BlockSize::B4096, "the test writes whole sectors");
    let base = Image::new(BlockSize::B4096, Blank::Zeros, None);
    let (recorder, recording) = Recorder::new(Box::new(device), base, 1 << 30);
    let mut rig = Rig::new(recorder);
    for sector in 0..8 {
        rig.write(sector * per_sector, 1, 1 + sector as u8).unwrap();
        if sector == 4 {
            rig.flush().unwrap();
        }
    }
    let unsettled = recording.unsettled(*recording.moments().end()).unwrap();
    assert!(unsettled.images(256, 1).all(|image| image.written(0..5).count() == 5));
    let (image, _) = unsettled.crash(CrashStyle::All, &mut Draws::new(1, TEST, 0));
    let content = std::fs::read(file.path()).unwrap();
    for sector in 0..64 {
        let mut expected = [0; BLOCK];
        assert!(image.read(sector, 0, &mut expected));
        assert_eq!(content[sector as usize * BLOCK..][..BLOCK], expected, "sector {sector}");
    }
    // And a simulated disk goes on from there.
    let mut again = Rig::new(SimDisk::with_image(config(6), image));
    assert_eq!((again.read(7), again.read(9)), (Ok(8), Ok(0)));
}

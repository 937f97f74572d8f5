use super::*;
use crate::{Memory, Shape};
use isotherm_seam::{BufPool, IoBuf, Persist, PoolLayout};

/// A device under faults, driven one request at a time.
struct Bench {
    device: Fault,
    pool: BufPool,
    now: Mono,
}

impl Bench {
    fn new(faults: Faults) -> Bench {
        Bench::seeded(faults, 1)
    }

    fn seeded(faults: Faults, seed: u64) -> Bench {
        let inner = Box::new(Memory::new(&Shape::new(8 << 20)).unwrap());
        let device = Fault::new(inner, faults, seed).unwrap();
        Bench { device, pool: BufPool::new(&PoolLayout::uniform(65_536, 8)).unwrap(), now: Mono(7) }
    }

    fn call(&mut self, op: Op) -> (Result<(), IoError>, Option<IoBuf>) {
        self.device.submit(self.now, Request { tag: Tag(5), op }).unwrap();
        let mut done = Vec::with_capacity(1);
        while self.device.poll(self.now, &mut done) == 0 {
            if let Due::At(time) = self.device.due() {
                self.now = time;
            }
        }
        let completion = done.pop().unwrap();
        assert_eq!((completion.tag, self.device.inflight()), (Tag(5), 0));
        (completion.result, completion.buf)
    }

    fn read(&mut self, lba: u64, blocks: usize) -> Result<IoBuf, IoError> {
        let buf = self.pool.alloc(blocks * 512).unwrap();
        let (result, buf) = self.call(Op::Read { lba: Lba(lba), buf });
        result.map(|()| buf.unwrap())
    }

    fn write(&mut self, lba: u64, blocks: usize, byte: u8) -> Result<(), IoError> {
        let mut buf = self.pool.alloc(blocks * 512).unwrap();
        buf.fill(byte);
        let (result, buf) = self.call(Op::Write { lba: Lba(lba), buf, persist: Persist::Flush });
        let buf = buf.unwrap();
        assert!(buf.len() == blocks * 512 && buf.iter().all(|b| *b == byte), "as it went");
        result
    }
}

fn media(lba: u64) -> IoError {
    IoError::Media { lba: Lba(lba) }
}

#[test]
fn bad_blocks_fail_for_good_and_name_the_first() {
    let mut bench = Bench::new(Faults { bad: vec![100..=107], ..Faults::default() });
    assert_eq!(bench.read(90, 20).unwrap_err(), media(100));
    assert_eq!(bench.read(104, 1).unwrap_err(), media(104));
    assert!(bench.read(92, 8).is_ok() && bench.read(108, 8).is_ok());
    // Whole sectors before the bad one are written: blocks 80 to 95 here.
    assert_eq!(bench.write(80, 32, 7), Err(media(100)));
    assert!(bench.read(80, 16).unwrap().iter().all(|b| *b == 7));
    assert!(bench.read(96, 4).unwrap().iter().all(|b| *b == 0));
    assert_eq!(bench.read(104, 1).unwrap_err(), media(104), "a write does not heal it");
}

#[test]
fn latent_sectors_heal_when_written_whole() {
    let mut bench = Bench::new(Faults { latent: 0.02, ..Faults::default() });
    let sick: Vec<u64> =
        (0..2048).map(|s| s * 8).filter(|lba| bench.read(*lba, 8).is_err()).collect();
    // Binomial with mean 41 and deviation 6.3.
    assert!((16..=66).contains(&sick.len()), "{}", sick.len());
    let lba = sick[0];
    assert_eq!(bench.read(lba.saturating_sub(8), 16).unwrap_err(), media(lba));
    assert_eq!(bench.write(lba, 4, 1), Ok(()));
    assert_eq!(bench.read(lba + 4, 1).unwrap_err(), media(lba + 4), "half a sector heals nothing");
    assert_eq!(bench.write(lba, 8, 1), Ok(()));
    assert!(bench.read(lba, 8).is_ok());
    assert!(sick[1..].iter().all(|lba| bench.read(*lba, 8).is_err()), "the others stay");
}

#[test]
fn errors_come_as_often_as_planned_and_leave_no_data() {
    let mut bench = Bench::new(Faults { eio_read: 0.1, ..Faults::default() });
    let mut failed = 0;
    for visit in 0..4_000u64 {
        let lba = visit % 500 * 16;
        let buf = bench.pool.alloc(16 * 512).unwrap();
        let (result, buf) = bench.call(Op::Read { lba: Lba(lba), buf });
        if let Err(IoError::Media { lba: at }) = result {
            assert!((lba..lba + 16).contains(&at.0));
            assert!(buf.unwrap().iter().all(|b| *b == POISON));
            failed += 1;
        }
    }
    // Binomial with mean 400 and deviation 19.
    assert!((320..=480).contains(&failed), "{failed}");
    assert!(bench.write(0, 8, 1).is_ok());
}

#[test]
fn a_flip_is_one_bit_and_on_the_way_only() {
    let mut bench = Bench::new(Faults { flip: 0.5, ..Faults::default() });
    bench.write(0, 8, 0).unwrap();
    let mut seen = BTreeSet::new();
    let mut flipped = 0;
    for _ in 0..400 {
        let buf = bench.read(0, 8).unwrap();
        let ones: u32 = buf.iter().map(|b| b.count_ones()).sum();
        assert!(ones <= 1, "never more than one bit");
        flipped += ones;
        seen.extend(buf.iter().position(|b| *b != 0));
    }
    assert!((140..=260).contains(&flipped), "{flipped}");
    assert!(seen.len() > 100, "all over the buffer");
}

#[test]
fn a_lost_write_is_acknowledged_and_missing() {
    let mut bench = Bench::new(Faults { lost: 0.5, ..Faults::default() });
    let mut missing = 0;
    for lba in 0..400 {
        bench.write(lba * 8, 8, 9).unwrap();
        missing += u32::from(bench.read(lba * 8, 8).unwrap()[0] == 0);
    }
    assert!((140..=260).contains(&missing), "{missing}");
}

#[test]
fn a_misdirected_write_is_somewhere_else_whole() {
    let mut bench = Bench::new(Faults { misdirect: 1.0, ..Faults::default() });
    bench.write(1_000, 8, 9).unwrap();
    assert!(bench.read(1_000, 8).unwrap().iter().all(|b| *b == 0));
    let mut found = Vec::new();
    for sector in 0..2048 {
        let buf = bench.read(sector * 8, 8).unwrap();
        if buf.iter().any(|b| *b != 0) {
            assert!(buf.iter().all(|b| *b == 9), "whole, and on a sector");
            found.push(sector);
        }
    }
    assert_eq!(found.len(), 1);
}

#[test]
fn a_stall_stops_everything_for_its_time() {
    let stall = Some((1.0, Nanos::from_millis(500)));
    let mut bench = Bench::new(Faults { stall, ..Faults::default() });
    let start = bench.now;
    bench.read(0, 8).unwrap();
    assert_eq!(bench.now.since(start), Nanos::from_millis(500));
}

#[test]
fn slow_blocks_take_longer_by_their_time() {
    let slow = vec![(100..=199, Nanos::from_millis(50))];
    let mut bench = Bench::new(Faults { slow, ..Faults::default() });
    let start = bench.now;
    bench.read(0, 8).unwrap();
    assert_eq!(bench.now, start);
    bench.read(192, 8).unwrap();
    assert_eq!(bench.now.since(start), Nanos::from_millis(50));
}

#[test]
fn a_disk_that_is_gone_stays_gone() {
    let mut bench = Bench::new(Faults { gone: Some(3), ..Faults::default() });
    for _ in 0..3 {
        assert!(bench.read(0, 8).is_ok());
    }
    // In flight when it goes: it does not come back either.
    let mut done = Vec::with_capacity(4);
    let mut bench_gone = Bench::new(Faults { gone: Some(1), ..Faults::default() });
    for tag in 0..2 {
        let op = Op::Flush;
        bench_gone.device.submit(Mono(9), Request { tag: Tag(tag), op }).unwrap();
    }
    bench_gone.device.poll(Mono(9), &mut done);
    assert!(done.len() == 2 && done.iter().all(|c| c.result == Err(IoError::Gone)));
    for _ in 0..3 {
        assert_eq!(bench.read(0, 8).unwrap_err(), IoError::Gone);
        assert_eq!(bench.write(0, 8, 1), Err(IoError::Gone));
    }
}

#[test]
fn a_request_less_leaves_the_faults_of_other_blocks_alone() {
    let faults = Faults { eio_read: 0.3, flip: 0.3, ..Faults::default() };
    let outcomes = |skip: u64, seed: u64| -> Vec<(u64, Option<IoError>, u32)> {
        let mut bench = Bench::seeded(faults.clone(), seed);
        let order = (0..300u64).map(|i| i * 37 % 100 * 64);
        order
            .filter(|lba| *lba != skip)
            .map(|lba| match bench.read(lba, 8) {
                Ok(buf) => (lba, None, buf.iter().map(|b| b.count_ones()).sum()),
                Err(error) => (lba, Some(error), 0),
            })
            .collect()
    };
    let all = outcomes(u64::MAX, 1);
    // Blocks that share the skipped one's counter may change, and no others.
    let skipped = 37 * 64;
    let bench = Bench::new(faults.clone());
    let shared = |lba: u64| bench.device.visit(Lba(lba)) == bench.device.visit(Lba(skipped));
    let others = |all: Vec<(u64, Option<IoError>, u32)>| -> Vec<_> {
        all.into_iter().filter(|(lba, ..)| !shared(*lba)).collect()
    };
    assert_eq!(others(outcomes(skipped, 1)), others(all.clone()));
    assert_eq!(outcomes(u64::MAX, 1), all);
    assert_ne!(outcomes(u64::MAX, 2), all, "another seed, other faults");
}

#[test]
fn faults_that_can_not_be_are_refused() {
    let inner = || Box::new(Memory::new(&Shape::new(1 << 20)).unwrap());
    let faults = Faults { bad: vec![2_000..=2_048], ..Faults::default() };
    let beyond = BadFaults::BeyondEnd { first: 2_000, last: 2_048, end: 2_047 };
    assert_eq!(Fault::new(inner(), faults, 1).err(), Some(beyond));
    let plan = crate::zoned::Zones {
        zone_bytes: 65_536,
        capacity_bytes: 65_536,
        conventional: 0,
        open_max: 0,
    };
    let zoned = Box::new(crate::Zoned::new(inner(), &plan).unwrap());
    let faults = Faults { lost: 0.1, ..Faults::default() };
    assert_eq!(Fault::new(zoned, faults, 1).err(), Some(BadFaults::Zones));
}

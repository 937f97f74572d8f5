//! What a loss of power may leave: each unflushed physical sector old, new or unreadable, on
//! its own; each durable one as it was.

use std::collections::BTreeMap;

use isotherm_seam::{
    BlockDevice, BufPool, Completion, IoBuf, IoError, Lba, Mono, Op, Park, Persist, Tag,
};

use super::Expect;
use super::blocks::{Version, fill, version_of};
use super::rig::Rig;

/// A device that can lose power.
pub trait Crash: BlockDevice {
    /// Loses power and comes back: what was in flight is gone with its buffers and completes no
    /// more; what the cache held survives as `seed` has it, within the contract.
    fn crash(&mut self, seed: u64);
}

/// Physical sectors under test.
const SECTORS: usize = 96;
/// Losses of power.
const ROUNDS: u64 = 12;
/// Operations between two of them.
const OPERATIONS: u64 = 120;

/// Writes, flushes and loses power in turns, and checks after each loss that every sector holds
/// what the contract allows. Overwrites the device; panics where it breaks the contract.
pub fn run_crash(device: &mut dyn Crash, park: &mut dyn Park, pool: &BufPool, seed: u64) {
    eprintln!("crash conformance of {} with seed {seed}", device.info().driver);
    let free = pool.free_count();
    let mut model = Model { sectors: vec![Sector::default(); SECTORS], versions: 0 };
    // Time goes on through losses of power.
    let mut now = Mono(1_000);
    for round in 0..ROUNDS {
        let expect = Expect { fails: true, ..Expect::default() };
        let stream = seed.wrapping_mul(ROUNDS).wrapping_add(round);
        let mut rig = Rig::new(device, park, pool, stream, expect).at(now);
        model.write_and_flush(&mut rig, seed);
        now = rig.now();
        drop(rig);
        device.crash(stream);
        assert_eq!(device.inflight(), 0, "nothing is in flight after a crash");
        assert_eq!(pool.free_count(), free, "a crash gives every buffer back");
        let mut rig = Rig::new(device, park, pool, stream, expect).at(now);
        model.survey(&mut rig, seed);
        now = rig.now();
    }
}

struct Model {
    sectors: Vec<Sector>,
    versions: Version,
}

#[derive(Clone, Copy, Default)]
struct Sector {
    /// The version that must survive, or a later one; `None` while nothing is known of it.
    durable: Option<Version>,
    /// The last that completed.
    completed: Option<Version>,
    /// The newest that was sent.
    newest: Version,
    writing: bool,
}

enum Out {
    Write {
        first: usize,
        count: usize,
        version: Version,
        persist: Persist,
    },
    /// With what had completed when it was sent.
    Flush(Vec<Option<Version>>),
}

impl Model {
    fn write_and_flush(&mut self, rig: &mut Rig<'_>, seed: u64) {
        let per_sector = per_sector(rig);
        let reach = SECTORS.min((rig.geometry.blocks / per_sector) as usize);
        let mut out: BTreeMap<Tag, Out> = BTreeMap::new();
        for _ in 0..OPERATIONS {
            let first = rig.draws.below(reach as u64) as usize;
            let count = (1 + rig.draws.below(4) as usize).min(reach - first);
            let choice = rig.draws.below(100);
            let free = self.sectors[first..first + count].iter().all(|sector| !sector.writing);
            if choice < 60 && free {
                let Some(mut buf) = rig.buf(count as u64 * per_sector) else { continue };
                self.versions += 1;
                let version = self.versions;
                fill_sectors(&mut buf, rig, seed, first, version);
                let persist = if choice < 50 { Persist::Flush } else { Persist::Fua };
                let op = Op::Write { lba: Lba(first as u64 * per_sector), buf, persist };
                if let Ok(tag) = rig.submit(op) {
                    for sector in &mut self.sectors[first..first + count] {
                        sector.newest = version;
                        sector.writing = true;
                    }
                    out.insert(tag, Out::Write { first, count, version, persist });
                }
            } else if choice < 68 {
                let completed = self.sectors.iter().map(|sector| sector.completed).collect();
                if let Ok(tag) = rig.submit(Op::Flush) {
                    out.insert(tag, Out::Flush(completed));
                }
            } else if rig.inflight() > 0 {
                for completion in rig.turn() {
                    let sent = out.remove(&completion.tag).expect("sent by this test");
                    self.arrived(sent, completion);
                }
            }
        }
        // The rest is in flight when the power goes.
        for sector in &mut self.sectors {
            sector.writing = false;
        }
    }

    fn arrived(&mut self, sent: Out, completion: Completion) {
        let ok = completion.result.is_ok();
        match sent {
            Out::Write { first, count, version, persist } => {
                for sector in &mut self.sectors[first..first + count] {
                    sector.writing = false;
                    if ok {
                        sector.completed = Some(version);
                    }
                    if ok && persist == Persist::Fua {
                        sector.durable = Some(version);
                    }
                }
            }
            Out::Flush(completed) => {
                assert!(ok, "a flush failed: {:?}", completion.result);
                for (sector, version) in self.sectors.iter_mut().zip(completed) {
                    sector.durable = sector.durable.max(version);
                }
            }
        }
    }

    /// Reads every sector after a crash, and takes what it finds for the new truth.
    fn survey(&mut self, rig: &mut Rig<'_>, seed: u64) {
        let per_sector = per_sector(rig);
        let volatile = rig.geometry.volatile_cache;
        for (index, sector) in self.sectors.iter_mut().enumerate() {
            if sector.newest == 0 {
                continue;
            }
            if !volatile {
                sector.durable = sector.durable.max(sector.completed);
            }
            let lba = Lba(index as u64 * per_sector);
            let buf = rig.buf(per_sector).expect("a buffer");
            let (result, buf) = rig.call(Op::Read { lba, buf });
            let settled = sector.durable == Some(sector.newest);
            match result {
                Ok(()) => {
                    let buf = buf.expect("a read's buffer");
                    let found = sector_version(&buf, rig, seed, lba);
                    // A sector that was never durable may hold what was there before the test.
                    if let Some(durable) = sector.durable {
                        let found = found.unwrap_or_else(|| {
                            panic!("sector {index} at {lba} is torn, or holds something foreign")
                        });
                        assert!(
                            (durable..=sector.newest).contains(&found),
                            "sector {index} at {lba} holds version {found}: {durable} was durable"
                        );
                    }
                    *sector = Sector { durable: found, completed: found, ..*sector };
                    sector.newest = found.unwrap_or(0);
                }
                Err(IoError::Media { .. }) => {
                    assert!(!settled, "sector {index} at {lba} was durable and is unreadable");
                    *sector = Sector::default();
                }
                Err(error) => panic!("sector {index} at {lba}: {error}"),
            }
        }
    }
}

fn per_sector(rig: &Rig<'_>) -> u64 {
    u64::from(rig.geometry.physical.bytes() / rig.geometry.logical.bytes())
}

fn fill_sectors(buf: &mut IoBuf, rig: &Rig<'_>, seed: u64, first: usize, version: Version) {
    let size = rig.geometry.logical.bytes() as usize;
    let lba = Lba(first as u64 * per_sector(rig));
    for (index, block) in buf.chunks_exact_mut(size).enumerate() {
        fill(block, seed, lba.offset(index as u64), version);
    }
}

/// The version of a sector, if all its blocks are of one.
fn sector_version(buf: &IoBuf, rig: &Rig<'_>, seed: u64, lba: Lba) -> Option<Version> {
    let size = rig.geometry.logical.bytes() as usize;
    let mut blocks = buf.chunks_exact(size).enumerate();
    let (_, first) = blocks.next()?;
    let version = version_of(first, seed, lba)?;
    let same = |(index, block)| version_of(block, seed, lba.offset(index as u64)) == Some(version);
    blocks.all(same).then_some(version)
}

//! What becomes of a request, and when: decided from the plan and keyed draws.
//!
//! What must always hold: a decision depends on the seed, the disk, the request's number and
//! the request; never on what became of others.

use std::ops::Range;

use isotherm_seam::{Domain, Draws, IoError, Lba, Mono, Nanos, Op, OpKind, draw};

use crate::faults::TIME_OUT;
use crate::{FaultPlan, FaultRates, Latency, SimDiskConfig, Slow};

const LATENCY: Domain = Domain::new("sim.disk.latency");
const ERROR: Domain = Domain::new("sim.disk.error");
const TIMED_OUT: Domain = Domain::new("sim.disk.timeout");
const LOST: Domain = Domain::new("sim.disk.lost");
const MISDIRECTED: Domain = Domain::new("sim.disk.misdirected");
const LIES: Domain = Domain::new("sim.disk.lies");
const LATENT: Domain = Domain::new("sim.disk.latent");
const ROT: Domain = Domain::new("sim.disk.rot");

/// What becomes of a request.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Fate {
    /// It does what it should.
    Sound,
    /// Answered with an error, without any effect.
    Refused(IoError),
    /// Answered with an error; a write may have reached the medium in part.
    Fails(IoError),
    /// Answered well, and not done.
    Lost,
    /// Answered well, and done elsewhere.
    Misdirected(Lba),
    /// A flush answered well, and not done.
    Lies,
}

pub(crate) struct Fates {
    seed: u64,
    disk: u64,
    latency: Latency,
    plan: FaultPlan,
    /// For addresses gone astray.
    blocks: u64,
    blocks_per_sector: u64,
    next_write: Option<Fate>,
}

impl Fates {
    pub(crate) fn new(config: &SimDiskConfig) -> Fates {
        let geometry = &config.geometry;
        Fates {
            seed: config.seed,
            disk: u64::from(config.disk.0),
            latency: config.latency,
            plan: config.faults.clone(),
            blocks: geometry.blocks,
            blocks_per_sector: u64::from(geometry.physical.bytes() / geometry.logical.bytes()),
            next_write: None,
        }
    }

    pub(crate) fn set_rates(&mut self, rates: FaultRates) {
        self.plan.rates = rates;
    }

    /// What has passed is forgotten, so that the list does not grow with the run.
    pub(crate) fn slow_down(&mut self, slow: Slow) {
        self.plan.slow.retain(|old| old.when.end > slow.when.start);
        self.plan.slow.push(slow);
    }

    pub(crate) fn set_next_write(&mut self, fate: Fate) {
        self.next_write = Some(fate);
    }

    /// The fate of an admitted request over `blocks`.
    pub(crate) fn decide(&mut self, number: u64, op: &Op, blocks: &Range<Lba>) -> Fate {
        if op.kind() == OpKind::Write
            && let Some(fate) = self.next_write.take()
        {
            return match fate {
                Fate::Misdirected(to) => self.astray(to, blocks),
                fate => fate,
            };
        }
        let rates = self.plan.rates;
        if rates.is_zero() {
            return Fate::Sound;
        }
        let happens = |domain, p| self.chance(domain, number, p);
        let failed = Fate::Fails(IoError::Media { lba: blocks.start });
        match op.kind() {
            OpKind::Read if happens(ERROR, rates.read_error) => failed,
            OpKind::Write if happens(ERROR, rates.write_error) => failed,
            OpKind::Flush if happens(ERROR, rates.flush_error) => failed,
            OpKind::Read | OpKind::Write if happens(TIMED_OUT, rates.time_out) => {
                Fate::Fails(IoError::TimedOut)
            }
            OpKind::Write if happens(LOST, rates.lost_write) => Fate::Lost,
            OpKind::Write if happens(MISDIRECTED, rates.misdirected_write) => {
                let sectors = self.blocks / self.blocks_per_sector;
                let bits = u64::from(64 - (sectors - 1).leading_zeros()).max(1);
                let bit = self.draw(MISDIRECTED, !number) % bits;
                self.astray(Lba(blocks.start.0 ^ (self.blocks_per_sector << bit)), blocks)
            }
            OpKind::Flush if happens(LIES, rates.lying_flush) => Fate::Lies,
            _ => Fate::Sound,
        }
    }

    /// A write that goes elsewhere; beyond the end of the disk it goes nowhere.
    fn astray(&self, to: Lba, blocks: &Range<Lba>) -> Fate {
        let end = to.0.saturating_add(blocks.end.0 - blocks.start.0);
        if end <= self.blocks { Fate::Misdirected(to) } else { Fate::Lost }
    }

    /// Whether a read finds that one of its sectors has become unreadable: which.
    pub(crate) fn latent(&self, number: u64, sectors: Range<u64>) -> Option<u64> {
        let hit = self.chance(LATENT, number, self.plan.rates.latent);
        hit.then(|| sectors.start + self.draw(LATENT, !number) % (sectors.end - sectors.start))
    }

    /// Whether a read finds that a bit of one of its sectors has flipped: which sector, and a
    /// number to choose the bit by.
    pub(crate) fn rot(&self, number: u64, sectors: Range<u64>) -> Option<(u64, u64)> {
        let hit = self.chance(ROT, number, self.plan.rates.rot);
        hit.then(|| {
            let by = self.draw(ROT, !number);
            (sectors.start + by % (sectors.end - sectors.start), by >> 24)
        })
    }

    /// When a request completes that is submitted now.
    pub(crate) fn completion_time(
        &self,
        now: Mono,
        number: u64,
        op: &Op,
        blocks: &Range<Lba>,
        fate: Fate,
    ) -> Mono {
        match fate {
            Fate::Refused(_) => return now,
            Fate::Fails(IoError::TimedOut) => return now + TIME_OUT,
            _ => {}
        }
        let (low, high) = match op.kind() {
            OpKind::Read | OpKind::ZoneReport => self.latency.read,
            OpKind::Flush => self.latency.flush,
            OpKind::Write | OpKind::Discard | OpKind::ZoneReset | OpKind::ZoneFinish => {
                self.latency.write
            }
        };
        let mut takes = low.0;
        if high > low {
            takes += self.draw(LATENCY, number) % (high.0 - low.0 + 1);
        }
        if self.latency.bytes_per_s > 0
            && let Op::Read { buf, .. } | Op::Write { buf, .. } = op
        {
            takes += (buf.len() as u64).saturating_mul(1_000_000_000) / self.latency.bytes_per_s;
        }
        if !self.plan.slow.is_empty() {
            let factors = self.plan.slow.iter().map(|slow| slow.factor_for(now, blocks));
            takes = (takes as f64 * factors.product::<f64>()) as u64;
        }
        self.plan.stalls.iter().fold(now + Nanos(takes), |at, stall| stall.delay(at))
    }

    /// Whether something of probability `p` happens to request `number`.
    fn chance(&self, domain: Domain, number: u64, p: f64) -> bool {
        p > 0.0 && Draws::new(self.draw(domain, number), domain, 0).happens(p)
    }

    fn draw(&self, domain: Domain, number: u64) -> u64 {
        draw(self.seed, domain, self.disk, number)
    }
}

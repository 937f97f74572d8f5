//! `fault`: what disks do wrong, by plan.
//!
//! What must always hold: a fault depends on the seed, the block and how often that block (or
//! one that shares its counter) was asked for, never on what other blocks did; so taking one
//! request out of a failing run leaves the other faults as they were. Every request completes,
//! with its buffer. What fails openly keeps the contract; lost and misdirected writes and
//! flipped bits are lies, which is what they are for: a misdirected write may even overlap
//! another one below.

use std::collections::BTreeSet;
use std::sync::Arc;

use isotherm_seam::{
    BlockDevice, Completion, DeviceInfo, Domain, Due, Geometry, IoError, Lba, Mono, Nanos, Op,
    Request, Tag, draw,
};

use crate::held::Held;
use crate::slots::Slots;
use crate::spec::LayerKind;

mod plan;

pub use plan::{BadFaults, Faults};

pub(crate) const KIND: LayerKind = LayerKind {
    name: "fault",
    summary: "what disks do wrong, drawn from the seed; ranges are of blocks, both ends included",
    options: plan::OPTIONS,
    example: "fault:eio=1e-3:latent=1e-3:bad=100-107:slow=200-299/5ms,memory:64M",
    parse: |args| {
        let faults = Faults::parse(args)?;
        Ok(Arc::new(move |inner, seed| Ok(Box::new(Fault::new(inner, faults.clone(), seed)?))))
    },
};

const EIO: Domain = Domain::new("block.fault.eio");
const EIO_WHERE: Domain = Domain::new("block.fault.eio.where");
const LATENT: Domain = Domain::new("block.fault.latent");
const FLIP: Domain = Domain::new("block.fault.flip");
const FLIP_WHERE: Domain = Domain::new("block.fault.flip.where");
const LOST: Domain = Domain::new("block.fault.lost");
const MISDIRECT: Domain = Domain::new("block.fault.misdirect");
const MISDIRECT_WHERE: Domain = Domain::new("block.fault.misdirect.where");
const STALL: Domain = Domain::new("block.fault.stall");

/// Counters of visits; blocks that fall on the same one share it.
const VISIT_COUNTERS: usize = 1024;

/// What a failed read leaves in the buffer, so that nobody gets away with using it.
const POISON: u8 = 0xe5;

/// A layer of faults.
pub struct Fault {
    inner: Box<dyn BlockDevice>,
    faults: Faults,
    seed: u64,
    /// How often the blocks of each counter were asked for.
    visits: Box<[u32]>,
    /// Sectors that were unreadable and have been written since.
    healed: BTreeSet<u64>,
    requests: u64,
    gone: bool,
    /// The time that the caller last told.
    now: Mono,
    stalled_until: Mono,
    /// Below.
    slots: Slots<Flight>,
    held: Held,
    arrived: Vec<Completion>,
}

/// A request below, and what it shall come to.
struct Flight {
    tag: Tag,
    /// Where it goes below, and how far.
    lba: Lba,
    blocks: u64,
    write: bool,
    /// The buffer's length when it came; a write that fails goes down cut short.
    len_bytes: usize,
    fate: Fate,
    slower: Nanos,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Fate {
    /// As the device below has it.
    Plain,
    /// Fails, whatever the device below says.
    Fails(IoError),
    /// One bit is wrong: this one, modulo the length.
    Flips(u64),
    /// Fine, and what it wrote is somewhere else.
    Misdirected,
}

/// What to do with a request.
enum Plan {
    /// Answer it here.
    Answer(Result<(), IoError>),
    /// Send it down: so many blocks of it, to there.
    Down { lba: Lba, blocks: u64, fate: Fate },
}

impl Fault {
    /// Puts these faults over `inner`.
    pub fn new(inner: Box<dyn BlockDevice>, faults: Faults, seed: u64) -> Result<Fault, BadFaults> {
        faults.check(inner.geometry())?;
        let depth = inner.geometry().depth_max;
        Ok(Fault {
            inner,
            faults,
            seed,
            visits: vec![0; VISIT_COUNTERS].into_boxed_slice(),
            healed: BTreeSet::new(),
            requests: 0,
            gone: false,
            now: Mono::ZERO,
            stalled_until: Mono::ZERO,
            slots: Slots::new(depth),
            held: Held::new(depth),
            arrived: Vec::with_capacity(depth as usize),
        })
    }

    fn happens(&self, domain: Domain, lba: Lba, visit: u32, probability: f64) -> bool {
        // A comparison in floating point would draw in vain for the faults that are off.
        probability > 0.0 && {
            let uniform = draw(self.seed, domain, lba.0, visit.into()) >> 11;
            (uniform as f64) < probability * (1u64 << 53) as f64
        }
    }

    fn pick(&self, domain: Domain, lba: Lba, visit: u32) -> u64 {
        draw(self.seed, domain, lba.0, visit.into())
    }

    fn plan_read(&self, lba: Lba, blocks: u64, visit: u32) -> Plan {
        let bad = self.faults.first_bad(lba.0, blocks).into_iter();
        let bad = bad.chain(self.first_latent(lba.0, blocks)).min().or_else(|| {
            let fails = self.happens(EIO, lba, visit, self.faults.eio_read);
            fails.then(|| lba.0 + self.pick(EIO_WHERE, lba, visit) % blocks)
        });
        let fate = if let Some(bad) = bad {
            Fate::Fails(IoError::Media { lba: Lba(bad) })
        } else if self.happens(FLIP, lba, visit, self.faults.flip) {
            Fate::Flips(self.pick(FLIP_WHERE, lba, visit))
        } else {
            Fate::Plain
        };
        Plan::Down { lba, blocks, fate }
    }

    fn plan_write(&self, lba: Lba, blocks: u64, visit: u32) -> Plan {
        let bad = self.faults.first_bad(lba.0, blocks).or_else(|| {
            let fails = self.happens(EIO, lba, visit, self.faults.eio_write);
            fails.then(|| lba.0 + self.pick(EIO_WHERE, lba, visit) % blocks)
        });
        if let Some(bad) = bad {
            let error = IoError::Media { lba: Lba(bad) };
            // Whole physical sectors before the bad block reach the medium.
            let sector = self.sector_blocks();
            let blocks = (bad / sector * sector).saturating_sub(lba.0);
            return match blocks {
                0 => Plan::Answer(Err(error)),
                _ => Plan::Down { lba, blocks, fate: Fate::Fails(error) },
            };
        }
        if self.happens(LOST, lba, visit, self.faults.lost) {
            return Plan::Answer(Ok(()));
        }
        if self.happens(MISDIRECT, lba, visit, self.faults.misdirect) {
            return match self.elsewhere(lba, blocks, visit) {
                Some(lba) => Plan::Down { lba, blocks, fate: Fate::Misdirected },
                // No other place is free on so small or busy a disk: it hits nothing.
                None => Plan::Answer(Ok(())),
            };
        }
        Plan::Down { lba, blocks, fate: Fate::Plain }
    }

    /// Another place for a write, on a sector boundary where this one is, not over a write that
    /// is in flight.
    fn elsewhere(&self, lba: Lba, blocks: u64, visit: u32) -> Option<Lba> {
        const TRIES: u64 = 8;
        let sector = self.sector_blocks();
        let room = (self.geometry().blocks - blocks) / sector + 1;
        let overlaps = |a: Lba, b: Lba, length: u64| a.0 < b.0 + length && b.0 < a.0 + blocks;
        let first = self.pick(MISDIRECT_WHERE, lba, visit);
        (0..TRIES).map(|step| first.wrapping_add(step * (room / TRIES).max(1)) % room).find_map(
            |place| {
                let there = Lba(place * sector + lba.0 % sector);
                let inside = there.0 + blocks <= self.geometry().blocks;
                let free = !overlaps(there, lba, blocks)
                    && self.slots.iter().all(|f| !f.write || !overlaps(there, f.lba, f.blocks));
                (inside && free).then_some(there)
            },
        )
    }

    fn sector_blocks(&self) -> u64 {
        u64::from(self.geometry().physical.bytes() / self.geometry().logical.bytes())
    }

    /// The first block of a transfer that lies in an unreadable sector.
    fn first_latent(&self, first: u64, blocks: u64) -> Option<u64> {
        if self.faults.latent == 0.0 {
            return None;
        }
        let sector = self.sector_blocks();
        let mut sectors = first / sector..=(first + blocks - 1) / sector;
        sectors.find(|s| self.is_latent(*s)).map(|s| first.max(s * sector))
    }

    fn is_latent(&self, sector: u64) -> bool {
        self.happens(LATENT, Lba(sector), 0, self.faults.latent) && !self.healed.contains(&sector)
    }

    /// A sector that is written whole can be read again.
    fn heal(&mut self, lba: Lba, blocks: u64) {
        if self.faults.latent == 0.0 {
            return;
        }
        let sector = self.sector_blocks();
        for sector in lba.0.div_ceil(sector)..(lba.0 + blocks) / sector {
            if self.is_latent(sector) {
                self.healed.insert(sector);
            }
        }
    }

    /// The counter of a block.
    fn visit(&self, lba: Lba) -> usize {
        (lba.0.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 54) as usize % VISIT_COUNTERS
    }

    fn arrive(&mut self, now: Mono, mut completion: Completion) {
        let flight = self.slots.empty(completion.tag.0);
        completion.tag = flight.tag;
        if let Some(buf) = completion.buf.as_mut().filter(|_| flight.write) {
            buf.set_len(flight.len_bytes);
        }
        if completion.result.is_ok() {
            match flight.fate {
                Fate::Plain if flight.write => self.heal(flight.lba, flight.blocks),
                Fate::Plain | Fate::Misdirected => {}
                Fate::Fails(error) => completion.result = Err(error),
                Fate::Flips(bit) => {
                    let buf = completion.buf.as_mut().expect("a read's buffer");
                    let bit = (bit % (8 * buf.len() as u64)) as usize;
                    buf[bit / 8] ^= 1 << (bit % 8);
                }
            }
        }
        if self.gone {
            completion.result = Err(IoError::Gone);
        }
        let failed = matches!(completion.result, Err(IoError::Media { .. } | IoError::Gone));
        if let Some(buf) = completion.buf.as_mut().filter(|_| failed && !flight.write) {
            buf.fill(POISON);
        }
        self.held.push(now + flight.slower, completion);
    }
}

impl BlockDevice for Fault {
    fn geometry(&self) -> &Geometry {
        self.inner.geometry()
    }

    fn info(&self) -> DeviceInfo {
        self.inner.info().under("fault")
    }

    fn submit(&mut self, now: Mono, mut request: Request) -> Result<(), Request> {
        self.now = now;
        if self.inflight() >= self.geometry().depth_max as usize {
            return Err(request);
        }
        let fits = self.geometry().check(&request.op).is_ok();
        let logical = self.geometry().logical;
        let (lba, blocks, write) = match &request.op {
            Op::Read { lba, buf } if fits => (*lba, logical.blocks_in(buf.len() as u64), false),
            Op::Write { lba, buf, .. } if fits => (*lba, logical.blocks_in(buf.len() as u64), true),
            _ => (Lba(0), 0, false),
        };
        let transfer = blocks > 0;
        let counter = self.visit(lba);
        let visit = self.visits[counter];
        let flushes = matches!(request.op, Op::Flush);
        let plan = if self.gone || self.faults.gone == Some(self.requests) {
            self.gone = true;
            Plan::Answer(Err(IoError::Gone))
        } else if transfer && write {
            self.plan_write(lba, blocks, visit)
        } else if transfer {
            self.plan_read(lba, blocks, visit)
        } else if flushes && self.happens(EIO, lba, visit, self.faults.eio_flush) {
            Plan::Answer(Err(IoError::Media { lba }))
        } else {
            // What does not fit is refused below, in the words of the device.
            Plan::Down { lba, blocks, fate: Fate::Plain }
        };
        let slower = if transfer { self.faults.slowness(lba.0, blocks) } else { Nanos::ZERO };
        match plan {
            Plan::Answer(result) => self.held.push(now + slower, request.complete(result)),
            Plan::Down { lba: there, blocks: part, fate } => {
                let tag = request.tag;
                let mut len_bytes = 0;
                if let Op::Write { lba, buf, .. } = &mut request.op
                    && write
                {
                    *lba = there;
                    len_bytes = buf.len();
                    buf.set_len((part << logical.shift()) as usize);
                }
                let flight =
                    Flight { tag, lba: there, blocks: part, write, len_bytes, fate, slower };
                request.tag = Tag(self.slots.fill(flight).into());
                if let Err(mut back) = self.inner.submit(now, request) {
                    self.slots.empty(back.tag.0);
                    back.tag = tag;
                    if let Op::Write { lba: at, buf, .. } = &mut back.op
                        && write
                    {
                        *at = lba;
                        buf.set_len(len_bytes);
                    }
                    return Err(back);
                }
            }
        }
        self.requests += 1;
        if transfer || flushes {
            self.visits[counter] = visit.wrapping_add(1);
        }
        if let Some((probability, length)) = self.faults.stall
            && self.happens(STALL, lba, visit, probability)
        {
            self.stalled_until = self.stalled_until.max(now + length);
        }
        Ok(())
    }

    fn poll(&mut self, now: Mono, done: &mut Vec<Completion>) -> usize {
        self.now = now;
        if now < self.stalled_until {
            return 0;
        }
        if self.slots.len() > 0 {
            let mut arrived = std::mem::take(&mut self.arrived);
            self.inner.poll(now, &mut arrived);
            for completion in arrived.drain(..) {
                self.arrive(now, completion);
            }
            self.arrived = arrived;
        }
        let before = done.len();
        self.held.release(now, done);
        done.len() - before
    }

    fn due(&self) -> Due {
        if self.inflight() == 0 {
            Due::Idle
        } else if self.now < self.stalled_until {
            Due::At(self.stalled_until)
        } else {
            self.inner.due().min(self.held.due())
        }
    }

    fn inflight(&self) -> usize {
        self.slots.len() + self.held.len()
    }
}

#[cfg(test)]
mod tests;

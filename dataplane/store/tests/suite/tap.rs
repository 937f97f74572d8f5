//! A layer between the store and its simulated disk that notes what is written where.
//!
//! What must always hold: it changes nothing. What it notes serves to harm the disk with
//! precision, and to know whose shards a harm may have cost.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use std::rc::Rc;

use isotherm_seam::{
    BlockDevice, Completion, DeviceInfo, Due, Geometry, IoError, Lba, Mono, Op, Request,
};
use isotherm_sim::{DiskControl, Fault, SimDisk};
use isotherm_store::layout::{Block, Kind, RecordHead, Tombs};
use isotherm_store::model::Model;
use isotherm_store::{BLOCK_BYTES, Key};

/// Whether flushes lie: never two in a row, as no store could live with that.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Lie {
    Idle,
    Next,
    /// It has lied; the next flush is honest.
    Told,
}

/// The store's blocks on a disk, and who wrote them.
pub struct Log {
    control: DiskControl,
    model: Rc<Model>,
    per_block: u64,
    sectors_per_block: u64,
    /// Nothing is noted where nothing will be harmed.
    is_kept: bool,
    blocks: BTreeMap<u64, Owner>,
    writes: Vec<Vec<Key>>,
    next: Option<Stray>,
    /// How many more reads of a block fail.
    stubborn: BTreeMap<u64, u32>,
    /// Blocks that take no write.
    unwritable: BTreeSet<u64>,
    /// Writes that the last flush covers, at most.
    flushed: u32,
    lie: Lie,
    /// Flushes that lied.
    pub lies: u64,
    /// Where a write that went astray may land as long as it is in flight.
    astray: Option<Range<u64>>,
    /// What the store keeps of itself was harmed.
    pub meta_is_harmed: Rc<Cell<bool>>,
    /// Each request is told on the standard error, for whoever looks for a cause.
    is_told: bool,
}

/// What a block of 4 KiB holds.
#[derive(Clone, Copy, Debug)]
pub struct Owner {
    write: u32,
    pub kind: Kind,
    key: Option<Key>,
    /// Sequence of the record.
    sequence: u64,
}

/// What becomes of the next write.
enum Stray {
    Lost,
    To(u64),
}

impl Log {
    pub fn new(control: &DiskControl, geometry: &Geometry, model: &Rc<Model>, keep: bool) -> Log {
        Log {
            control: control.clone(),
            model: Rc::clone(model),
            per_block: BLOCK_BYTES as u64 / u64::from(geometry.logical.bytes()),
            sectors_per_block: BLOCK_BYTES as u64 / u64::from(geometry.physical.bytes()),
            is_kept: keep,
            blocks: BTreeMap::new(),
            writes: Vec::new(),
            next: None,
            stubborn: BTreeMap::new(),
            unwritable: BTreeSet::new(),
            flushed: 0,
            lie: Lie::Idle,
            lies: 0,
            astray: None,
            meta_is_harmed: Rc::default(),
            is_told: std::env::var_os("ISOTHERM_TRACE").is_some(),
        }
    }

    /// The blocks of the newest record of a key.
    pub fn record(&self, key: &Key) -> Vec<u64> {
        let of_key = |owner: &&Owner| owner.kind == Kind::Data && owner.key.as_ref() == Some(key);
        let newest = self.blocks.values().filter(of_key).map(|o| (o.sequence, o.write)).max();
        let is_newest =
            |owner: &Owner| of_key(&owner) && Some((owner.sequence, owner.write)) == newest;
        self.blocks.iter().filter(|(_, owner)| is_newest(owner)).map(|(&at, _)| at).collect()
    }

    /// All blocks of these kinds.
    pub fn of_kinds(&self, kinds: &[Kind]) -> Vec<u64> {
        let matches = |owner: &Owner| kinds.contains(&owner.kind);
        self.blocks.iter().filter(|(_, owner)| matches(owner)).map(|(&at, _)| at).collect()
    }

    /// Harms a block: one of its sectors, by `choice`. All shards of the append that it was
    /// part of may be lost by it.
    pub fn harm(&mut self, block: u64, unreadable: bool, choice: u64, now: Mono) {
        self.blame(block);
        let first = Lba(block * self.per_block + choice % self.per_block);
        let sectors = first..first.offset(1);
        let fault = if unreadable { Fault::Unreadable(sectors) } else { Fault::Rot(sectors) };
        self.control.inject(now, fault);
    }

    /// The next so many reads of a block fail.
    pub fn be_stubborn(&mut self, block: u64, reads: u32) {
        self.stubborn.insert(block, reads);
    }

    /// From now on writes to a block fail and change nothing; or no longer.
    pub fn be_unwritable(&mut self, block: u64, fails: bool) {
        match fails {
            true => self.unwritable.insert(block),
            false => self.unwritable.remove(&block),
        };
    }

    /// Whether a request fails, and where; counts.
    fn refuses(&mut self, op: &Op) -> Option<Lba> {
        let (lba, len, is_write) = match op {
            Op::Read { lba, buf } => (lba, buf.len(), false),
            Op::Write { lba, buf, .. } => (lba, buf.len(), true),
            _ => return None,
        };
        let first = lba.0 / self.per_block;
        let blocks = first..first + (len / BLOCK_BYTES) as u64;
        let at = |block: &u64| Lba(block * self.per_block);
        if is_write {
            return self.unwritable.range(blocks).next().map(at);
        }
        let mut refused = None;
        for (block, left) in self.stubborn.range_mut(blocks).filter(|(_, left)| **left > 0) {
            *left -= 1;
            refused = refused.or(Some(at(block)));
        }
        refused
    }

    /// The next flush makes nothing durable.
    pub fn lie_next(&mut self) {
        if self.lie == Lie::Idle {
            self.lie = Lie::Next;
        }
    }

    pub fn lose_next(&mut self) {
        self.next = Some(Stray::Lost);
    }

    pub fn misdirect_next(&mut self, block: u64) {
        self.next = Some(Stray::To(block));
    }

    /// Power is about to be cut, and flushes have lied: what a flush covered, and what is unsettled
    /// nevertheless, may be lost. `extent` gives the blocks of the extent of a block.
    pub fn blame_lies(&mut self, extent: impl Fn(u64) -> Range<u64>) {
        let unsettled = self.control.unsettled();
        let blocks: BTreeSet<u64> =
            unsettled.indexes().map(|sector| sector / self.sectors_per_block).collect();
        for block in blocks {
            let Some(owner) = self.blocks.get(&block).copied() else { continue };
            if owner.write >= self.flushed {
                continue;
            }
            self.blame(block);
            if owner.kind == Kind::Head {
                // It said that an extent was emptied: what it held may count again.
                let all: Vec<u64> = self.blocks.range(extent(block)).map(|(at, _)| *at).collect();
                all.into_iter().for_each(|block| self.blame(block));
            }
        }
    }

    /// Power was cut: a write still to come is an honest one.
    pub fn forget_stray(&mut self) {
        self.next = None;
        self.lie = Lie::Idle;
    }

    fn tell(&self, now: Mono, op: &Op) {
        if !self.is_told {
            return;
        }
        match op {
            Op::Read { lba, buf } => {
                eprintln!("{:>12} read {} +{}", now.0, lba.0 / self.per_block, buf.len() / 4096);
            }
            Op::Write { lba, buf, .. } => {
                let kinds: Vec<_> = buf
                    .chunks_exact(BLOCK_BYTES)
                    .map(|bytes| match Block::check(bytes) {
                        Ok((block, kind)) => format!("{kind:?}#{}", block.sequence()),
                        Err(_) => "-".into(),
                    })
                    .collect();
                eprintln!("{:>12} write {} {kinds:?}", now.0, lba.0 / self.per_block);
            }
            other => eprintln!("{:>12} {other:?}", now.0),
        }
    }

    /// Tells of something that is no request.
    pub fn remark(&self, what: impl FnOnce() -> String) {
        if self.is_told {
            eprintln!("{}", what());
        }
    }

    fn blame(&mut self, block: u64) {
        let Some(owner) = self.blocks.get(&block) else { return };
        if matches!(owner.kind, Kind::Run | Kind::Checkpoint) {
            self.meta_is_harmed.set(true);
        }
        self.writes[owner.write as usize].iter().for_each(|&key| self.model.doubt(key));
    }

    fn note(&mut self, now: Mono, lba: Lba, bytes: &[u8]) {
        if !self.is_kept {
            return;
        }
        let write = self.writes.len() as u32;
        let first = lba.0 / self.per_block;
        let mut keys = Vec::new();
        let mut owner = Owner { write, kind: Kind::Mark, key: None, sequence: 0 };
        let stray = self.next.take();
        let count = (bytes.len() / BLOCK_BYTES) as u64;
        for (at, bytes) in (first..).zip(bytes.chunks_exact(BLOCK_BYTES)) {
            if let Ok((block, kind)) = Block::check(bytes) {
                owner = Owner { write, kind, key: None, sequence: block.sequence() };
                match kind {
                    Kind::Data => {
                        owner.key = RecordHead::read(block).ok().map(|(head, _)| head.key)
                    }
                    Kind::Tombs => {
                        keys.extend(Tombs::read(block).into_iter().flatten().map(|tomb| tomb.key));
                    }
                    Kind::Mark | Kind::Head | Kind::Run | Kind::Checkpoint => {}
                }
                keys.extend(owner.key);
            }
            if stray.is_none() {
                self.blocks.insert(at, owner);
            }
            if stray.is_some() && matches!(owner.kind, Kind::Run | Kind::Checkpoint) {
                self.meta_is_harmed.set(true);
            }
        }
        self.writes.push(keys);
        let meets = |range: &Range<u64>| range.start < first + count && first < range.end;
        if self.astray.as_ref().is_some_and(meets) {
            (first..first + count).for_each(|block| self.blame(block));
        }
        match stray {
            None => return,
            Some(Stray::Lost) => self.control.inject(now, Fault::LoseNextWrite),
            Some(Stray::To(block)) => {
                (block..block + count).for_each(|block| self.blame(block));
                self.astray = Some(block..block + count);
                let to = Lba(block * self.per_block);
                self.control.inject(now, Fault::MisdirectNextWrite(to));
            }
        }
        self.writes[write as usize].iter().for_each(|&key| self.model.doubt(key));
    }
}

/// The layer.
pub struct Tap {
    disk: SimDisk,
    /// Requests that the disk below never saw.
    answered: Vec<Completion>,
    log: Rc<RefCell<Log>>,
}

impl Tap {
    pub fn new(disk: SimDisk, log: &Rc<RefCell<Log>>) -> Tap {
        Tap { disk, answered: Vec::new(), log: Rc::clone(log) }
    }
}

impl BlockDevice for Tap {
    fn geometry(&self) -> &Geometry {
        self.disk.geometry()
    }

    fn info(&self) -> DeviceInfo {
        self.disk.info()
    }

    fn submit(&mut self, now: Mono, request: Request) -> Result<(), Request> {
        if self.inflight() >= self.geometry().depth_max as usize {
            return Err(request);
        }
        self.log.borrow().tell(now, &request.op);
        if let Some(lba) = self.log.borrow_mut().refuses(&request.op) {
            self.answered.push(request.complete(Err(IoError::Media { lba })));
            return Ok(());
        }
        match &request.op {
            Op::Write { lba, buf, .. } => self.log.borrow_mut().note(now, *lba, buf),
            Op::Flush => {
                let log = &mut *self.log.borrow_mut();
                log.flushed = log.writes.len() as u32;
                if std::mem::replace(&mut log.lie, Lie::Idle) == Lie::Next {
                    log.lie = Lie::Told;
                    log.lies += 1;
                    self.answered.push(request.complete(Ok(())));
                    return Ok(());
                }
            }
            _ => {}
        }
        self.disk.submit(now, request)
    }

    fn poll(&mut self, now: Mono, done: &mut Vec<Completion>) -> usize {
        let before = done.len();
        while done.len() < done.capacity()
            && let Some(answered) = self.answered.pop()
        {
            done.push(answered);
        }
        self.disk.poll(now, done);
        if self.disk.inflight() == 0 {
            self.log.borrow_mut().astray = None;
        }
        done.len() - before
    }

    fn due(&self) -> Due {
        if self.answered.is_empty() { self.disk.due() } else { Due::Now }
    }

    fn inflight(&self) -> usize {
        self.disk.inflight() + self.answered.len()
    }
}

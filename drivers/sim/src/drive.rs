//! The inside of a simulated disk: requests in flight, the cache, the medium, the faults.
//!
//! What must always hold: a request takes effect when it completes, and completes when it is
//! polled for, in the order of completion times; a request refused has no effect at all.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap, VecDeque};
use std::ops::Range;
use std::rc::Rc;

use isotherm_seam::{
    Completion, Domain, Draws, Due, IoError, Lba, Mono, Nanos, Op, OpKind, Persist, Request,
    ZoneError, ZoneId, ZoneReport, draw,
};

use crate::cache::WriteCache;
use crate::faults::TIME_OUT;
use crate::zones::Zones;
use crate::{
    Content, CrashReport, CrashStyle, Fault, FaultEvent, FaultKind, FaultRates, FaultRecord, Harm,
    Image, Sector, SimDiskConfig, TraceEvent, Unsettled, hash64,
};

const LATENCY: Domain = Domain::new("sim.disk.latency");
const ERROR: Domain = Domain::new("sim.disk.error");
const TIMED_OUT: Domain = Domain::new("sim.disk.timeout");
const LOST: Domain = Domain::new("sim.disk.lost");
const MISDIRECTED: Domain = Domain::new("sim.disk.misdirected");
const LIES: Domain = Domain::new("sim.disk.lies");
const LATENT: Domain = Domain::new("sim.disk.latent");
const ROT: Domain = Domain::new("sim.disk.rot");
const TORN: Domain = Domain::new("sim.disk.torn");
const RACE: Domain = Domain::new("sim.disk.race");
const DISCARD: Domain = Domain::new("sim.disk.discard");
const CRASH: Domain = Domain::new("sim.disk.crash");

/// Fault records kept.
const FAULTS_KEPT: usize = 1 << 16;

pub(crate) struct Drive {
    config: SimDiskConfig,
    blocks_per_sector: u64,
    /// Only the last opening is answered; the others are told that the disk is gone.
    session: u64,
    open: bool,
    present: bool,
    now: Mono,
    cache: WriteCache,
    zones: Option<Zones>,
    flights: Vec<Option<Flight>>,
    free: Vec<u32>,
    queue: BinaryHeap<Reverse<(Mono, u64, u32)>>,
    /// Slots of the writes in flight.
    writing: Vec<u32>,
    requests: u64,
    crashes: u64,
    events: VecDeque<FaultEvent>,
    next_write: Option<Fate>,
    remembered: Option<Image>,
    /// Answers for sessions that have ended.
    stale: VecDeque<(u64, Completion)>,
    harm: BTreeMap<u64, Harm>,
    faults: VecDeque<FaultRecord>,
    faults_total: u64,
}

struct Flight {
    request: Request,
    number: u64,
    /// For a flush: the writes it covers.
    covers: u64,
    fate: Fate,
}

/// What will become of a request, decided when it is submitted.
#[derive(Clone, Copy)]
enum Fate {
    Sound,
    /// Answered with an error, without any effect.
    Refused(IoError),
    /// Answered with an error; a write may have reached the medium in part.
    Fails(IoError),
    Lost,
    Misdirected(Lba),
    Lies,
}

impl Drive {
    pub(crate) fn new(config: SimDiskConfig, image: Image) -> Drive {
        let mut events = config.faults.events.clone();
        events.sort_by_key(|event| event.at);
        let geometry = &config.geometry;
        Drive {
            blocks_per_sector: u64::from(geometry.physical.bytes() / geometry.logical.bytes()),
            session: 0,
            open: false,
            present: true,
            now: Mono::ZERO,
            zones: Zones::new(&image),
            cache: WriteCache::new(image, config.cache_versions_max),
            flights: Vec::new(),
            free: Vec::new(),
            queue: BinaryHeap::new(),
            writing: Vec::new(),
            requests: 0,
            crashes: 0,
            events: events.into(),
            next_write: None,
            remembered: None,
            stale: VecDeque::new(),
            harm: BTreeMap::new(),
            faults: VecDeque::new(),
            faults_total: 0,
            config,
        }
    }

    pub(crate) fn open(&mut self) -> u64 {
        self.finish_all();
        self.session += 1;
        self.open = true;
        self.session
    }

    pub(crate) fn close(&mut self, session: u64) {
        if session == self.session {
            self.finish_all();
            self.open = false;
        }
        self.stale.retain(|(whose, _)| *whose != session);
    }

    pub(crate) fn submit(
        &mut self,
        session: u64,
        now: Mono,
        request: Request,
    ) -> Result<(), Request> {
        self.now = self.now.max(now);
        while self.events.front().is_some_and(|event| event.at <= self.now) {
            self.next_event();
        }
        if self.inflight(session) >= self.config.geometry.depth_max as usize {
            return Err(request);
        }
        if session != self.session || !self.present {
            self.stale.push_back((session, request.complete(Err(IoError::Gone))));
            return Ok(());
        }
        let number = self.requests;
        self.requests += 1;
        let fate = self.fate(number, &request.op);
        let at = self.completion_time(number, &request.op, fate);
        let slot = self.free.pop().unwrap_or_else(|| {
            self.flights.push(None);
            (self.flights.len() - 1) as u32
        });
        if request.op.kind() == OpKind::Write && !matches!(fate, Fate::Refused(_)) {
            self.assert_alone(&request.op);
            self.writing.push(slot);
        }
        let covers = self.cache.writes();
        self.flights[slot as usize] = Some(Flight { request, number, covers, fate });
        self.queue.push(Reverse((at, number, slot)));
        Ok(())
    }

    pub(crate) fn poll(&mut self, session: u64, now: Mono, done: &mut Vec<Completion>) -> usize {
        self.now = self.now.max(now);
        let before = done.len();
        loop {
            let next = match self.queue.peek() {
                Some(&Reverse((at, ..))) if session == self.session => at,
                _ => Mono(u64::MAX),
            };
            let event = self.events.front().map_or(Mono(u64::MAX), |event| event.at);
            if event <= self.now && event <= next {
                self.next_event();
            } else if next <= self.now && done.len() < done.capacity() {
                let completion = self.finish_next();
                done.push(completion);
            } else {
                break;
            }
        }
        while done.len() < done.capacity()
            && let Some(at) = self.stale.iter().position(|(whose, _)| *whose == session)
        {
            done.extend(self.stale.remove(at).map(|(_, completion)| completion));
        }
        done.len() - before
    }

    pub(crate) fn due(&self, session: u64) -> Due {
        if self.stale.iter().any(|(whose, _)| *whose == session) {
            return Due::Now;
        }
        match self.queue.peek() {
            Some(&Reverse((at, ..))) if session == self.session => {
                let at = self.events.front().map_or(at, |event| event.at.min(at));
                if at <= self.now { Due::Now } else { Due::At(at) }
            }
            _ => Due::Idle,
        }
    }

    pub(crate) fn inflight(&self, session: u64) -> usize {
        let stale = self.stale.iter().filter(|(whose, _)| *whose == session).count();
        stale + if session == self.session { self.queue.len() } else { 0 }
    }

    fn assert_alone(&self, op: &Op) {
        let Some(blocks) = self.blocks_of(op) else { return };
        for &slot in &self.writing {
            let other = self.flights[slot as usize].as_ref().expect("it is in flight");
            let theirs = self.blocks_of(&other.request.op).expect("a write has blocks");
            assert!(
                blocks.end <= theirs.start || theirs.end <= blocks.start,
                "two writes in flight over {}: the caller broke the contract",
                blocks.start.max(theirs.start)
            );
        }
    }

    fn blocks_of(&self, op: &Op) -> Option<Range<Lba>> {
        let (lba, blocks) = match op {
            Op::Read { lba, buf } | Op::Write { lba, buf, .. } => {
                (*lba, self.config.geometry.logical.blocks_in(buf.len() as u64))
            }
            Op::Discard { lba, blocks } => (*lba, *blocks),
            Op::Flush | Op::ZoneReport { .. } | Op::ZoneReset { .. } | Op::ZoneFinish { .. } => {
                return None;
            }
        };
        Some(lba..lba.offset(blocks))
    }

    // What becomes of a request.

    fn fate(&mut self, number: u64, op: &Op) -> Fate {
        if let Err(misfit) = self.config.geometry.check(op) {
            return Fate::Refused(misfit.into());
        }
        if let Err(error) = self.admit_to_zones(op) {
            return Fate::Refused(error.into());
        }
        if op.kind() == OpKind::Write
            && let Some(fate) = self.next_write.take()
        {
            return fate;
        }
        let rates = self.config.faults.rates;
        if rates.is_zero() {
            return Fate::Sound;
        }
        let lba = self.blocks_of(op).map_or(Lba(0), |blocks| blocks.start);
        let failed = Fate::Fails(IoError::Media { lba });
        match op {
            Op::Read { .. } if self.chance(ERROR, number, rates.read_error) => failed,
            Op::Write { .. } if self.chance(ERROR, number, rates.write_error) => failed,
            Op::Flush if self.chance(ERROR, number, rates.flush_error) => failed,
            Op::Read { .. } | Op::Write { .. }
                if self.chance(TIMED_OUT, number, rates.time_out) =>
            {
                Fate::Fails(IoError::TimedOut)
            }
            Op::Write { .. } if self.chance(LOST, number, rates.lost_write) => Fate::Lost,
            Op::Write { lba, buf, .. }
                if self.chance(MISDIRECTED, number, rates.misdirected_write) =>
            {
                self.stray(number, *lba, buf.len() as u64)
            }
            Op::Flush if self.chance(LIES, number, rates.lying_flush) => Fate::Lies,
            _ => Fate::Sound,
        }
    }

    fn admit_to_zones(&mut self, op: &Op) -> Result<(), ZoneError> {
        let Some(zones) = &mut self.zones else { return Ok(()) };
        let blocks = |bytes: usize| self.config.geometry.logical.blocks_in(bytes as u64);
        match op {
            Op::Read { lba, buf } => zones.admit_read(*lba, blocks(buf.len())),
            Op::Write { lba, buf, .. } => zones.admit_write(*lba, blocks(buf.len())),
            Op::ZoneReset { zone } | Op::ZoneFinish { zone } => zones.admit_change(*zone),
            Op::Flush | Op::Discard { .. } | Op::ZoneReport { .. } => Ok(()),
        }
    }

    /// Whether something of probability `p` happens to request `number`.
    fn chance(&self, domain: Domain, number: u64, p: f64) -> bool {
        p > 0.0 && Draws::new(self.draw(domain, number), domain, 0).happens(p)
    }

    fn draw(&self, domain: Domain, number: u64) -> u64 {
        draw(self.config.seed, domain, u64::from(self.config.disk.0), number)
    }

    /// Another place for a write: its address with one bit wrong, where that lies on the disk.
    fn stray(&self, number: u64, lba: Lba, bytes: u64) -> Fate {
        let sectors = self.config.geometry.blocks / self.blocks_per_sector;
        let bits = 64 - (sectors - 1).leading_zeros();
        let bit = self.draw(MISDIRECTED, !number) % u64::from(bits.max(1));
        let to = Lba(lba.0 ^ (self.blocks_per_sector << bit));
        let end = to.offset(self.config.geometry.logical.blocks_in(bytes));
        if end.0 <= self.config.geometry.blocks { Fate::Misdirected(to) } else { Fate::Lost }
    }

    fn completion_time(&mut self, number: u64, op: &Op, fate: Fate) -> Mono {
        let now = self.now;
        if matches!(fate, Fate::Refused(_)) {
            return now;
        }
        if matches!(fate, Fate::Fails(IoError::TimedOut)) {
            return now + TIME_OUT;
        }
        let latency = &self.config.latency;
        let (low, high) = match op.kind() {
            OpKind::Read | OpKind::ZoneReport => latency.read,
            OpKind::Flush => latency.flush,
            OpKind::Write | OpKind::Discard | OpKind::ZoneReset | OpKind::ZoneFinish => {
                latency.write
            }
        };
        let mut takes = low.0;
        if high > low {
            takes += self.draw(LATENCY, number) % (high.0 - low.0 + 1);
        }
        if latency.bytes_per_s > 0
            && let Op::Read { buf, .. } | Op::Write { buf, .. } = op
        {
            takes += (buf.len() as u64).saturating_mul(1_000_000_000) / latency.bytes_per_s;
        }
        let faults = &self.config.faults;
        if !faults.slow.is_empty() {
            let blocks = self.blocks_of(op).unwrap_or(Lba(u64::MAX)..Lba(u64::MAX));
            let factors = faults.slow.iter().map(|slow| slow.factor_for(now, &blocks));
            takes = (takes as f64 * factors.product::<f64>()) as u64;
        }
        let at = faults.stalls.iter().fold(now + Nanos(takes), |at, stall| stall.delay(at));
        match (&mut self.zones, op) {
            (Some(zones), Op::Write { lba, .. }) => zones.in_order(*lba, at),
            _ => at,
        }
    }

    // Taking effect.

    fn finish_next(&mut self) -> Completion {
        let Reverse((_, _, slot)) = self.queue.pop().expect("called with something in flight");
        let Flight { mut request, number, covers, fate } =
            self.flights[slot as usize].take().expect("what is queued is in flight");
        self.free.push(slot);
        if let Some(at) = self.writing.iter().position(|&other| other == slot) {
            self.writing.swap_remove(at);
        }
        let result = self.take_effect(&mut request.op, number, covers, fate);
        self.record(&request, number, result);
        request.complete(result)
    }

    fn finish_all(&mut self) {
        while !self.queue.is_empty() {
            let completion = self.finish_next();
            self.stale.push_back((self.session, completion));
        }
    }

    fn record(&self, request: &Request, number: u64, result: Result<(), IoError>) {
        let Some(trace) = &self.config.trace else { return };
        let content = match (&request.op, result) {
            (Op::Read { buf, .. } | Op::Write { buf, .. } | Op::ZoneReport { buf, .. }, Ok(())) => {
                hash64(buf)
            }
            (_, Ok(())) => 0,
            (_, Err(error)) => hash64(error.to_string().as_bytes()),
        };
        trace.record(TraceEvent {
            at: self.now,
            entity: u64::from(self.config.disk.0),
            kind: request.op.kind() as u32,
            id: number,
            content,
        });
    }

    fn take_effect(
        &mut self,
        op: &mut Op,
        number: u64,
        covers: u64,
        fate: Fate,
    ) -> Result<(), IoError> {
        if let Fate::Refused(error) = fate {
            return Err(error);
        }
        if let Fate::Fails(error) = fate {
            let lba = self.blocks_of(op).map_or(Lba(0), |blocks| blocks.start);
            let kind = match error {
                IoError::TimedOut => FaultKind::TimedOut,
                _ => FaultKind::Error,
            };
            self.note(lba, kind);
            match op {
                Op::Write { lba, buf, .. } => self.tear(number, *lba, buf),
                Op::Read { buf, .. } => buf.fill(0xee),
                _ => {}
            }
            return Err(error);
        }
        match op {
            Op::Read { lba, buf } => self.read(number, *lba, buf),
            Op::Write { lba, buf, persist } => {
                let durable = *persist == Persist::Fua || !self.config.geometry.volatile_cache;
                match fate {
                    Fate::Lost => {
                        self.note(*lba, FaultKind::LostWrite);
                        self.mark(*lba, buf.len(), Harm::Lost);
                        Ok(())
                    }
                    Fate::Misdirected(to) => {
                        self.note(*lba, FaultKind::MisdirectedWrite { to });
                        self.mark(*lba, buf.len(), Harm::Lost);
                        let result = self.write(to, buf, durable);
                        self.mark(to, buf.len(), Harm::Overwritten);
                        result
                    }
                    _ => self.write(*lba, buf, durable),
                }
            }
            Op::Flush => {
                match fate {
                    Fate::Lies => self.note(Lba(0), FaultKind::LyingFlush),
                    _ => self.cache.settle(covers),
                }
                Ok(())
            }
            Op::Discard { lba, blocks } => {
                self.discard(number, *lba, *blocks);
                Ok(())
            }
            Op::ZoneReport { zone, buf } => {
                let zones = self.zones.as_ref().expect("checked at submission");
                let room = ZoneReport::entries_in(buf.len());
                let entries = room.min((zones.geometry().zones - zone.0) as usize);
                for (at, number) in (zone.0..).take(entries).enumerate() {
                    ZoneReport::put(buf, at, &zones.info(ZoneId(number)));
                }
                buf.set_len(entries * ZoneReport::ENTRY_BYTES);
                Ok(())
            }
            Op::ZoneReset { zone } => {
                let zones = self.zones.as_mut().expect("checked at submission");
                let start = zones.geometry().start(*zone);
                let sectors = start.0..start.0 + zones.geometry().zone_blocks;
                zones.set_pointer(*zone, start);
                self.cache.forget(sectors.clone());
                self.cache.image_mut().set_pointer(*zone, start);
                self.harm.retain(|sector, _| !sectors.contains(sector));
                Ok(())
            }
            Op::ZoneFinish { zone } => {
                let zones = self.zones.as_mut().expect("checked at submission");
                let end = zones.end(*zone);
                zones.set_pointer(*zone, end);
                self.cache.image_mut().set_pointer(*zone, end);
                Ok(())
            }
        }
    }

    /// The pieces of a range by sector: (sector, offset in the sector, range in the buffer).
    fn pieces(
        &self,
        lba: Lba,
        bytes: usize,
    ) -> impl Iterator<Item = (u64, usize, Range<usize>)> + use<> {
        let physical = u64::from(self.config.geometry.physical.bytes());
        let start = self.config.geometry.logical.byte_offset(lba);
        let end = start + bytes as u64;
        (start / physical..end.div_ceil(physical)).map(move |sector| {
            let from = start.max(sector * physical);
            let to = end.min((sector + 1) * physical);
            let range = (from - start) as usize..(to - start) as usize;
            (sector, (from - sector * physical) as usize, range)
        })
    }

    /// A sector with these bytes written into it; `None` if the rest of it can't be read.
    fn merged(&self, sector: u64, offset: usize, bytes: &[u8]) -> Option<Sector> {
        let physical = self.config.geometry.physical.bytes() as usize;
        if bytes.len() == physical {
            return Some(Sector::Data(Rc::from(bytes)));
        }
        let mut whole = vec![0; physical];
        let image = self.cache.image();
        if !image.render(sector, self.cache.visible(sector), 0, &mut whole) {
            return None;
        }
        whole[offset..offset + bytes.len()].copy_from_slice(bytes);
        Some(Sector::Data(whole.into()))
    }

    fn write(&mut self, lba: Lba, bytes: &[u8], durable: bool) -> Result<(), IoError> {
        self.cache.begin_write();
        for (sector, offset, range) in self.pieces(lba, bytes.len()) {
            let Some(content) = self.merged(sector, offset, &bytes[range]) else {
                return Err(IoError::Media { lba: self.first_block(sector).max(lba) });
            };
            if durable {
                self.cache.put_durable(sector, content);
            } else {
                self.cache.put(sector, content);
            }
            if !self.harm.is_empty() {
                self.harm.remove(&sector);
            }
        }
        Ok(())
    }

    fn first_block(&self, sector: u64) -> Lba {
        Lba(sector * self.blocks_per_sector)
    }

    /// A write that fails: each sector old, new or unreadable. In a sequential zone the write
    /// pointer ends within it, and the writes behind it are refused.
    fn tear(&mut self, number: u64, lba: Lba, bytes: &[u8]) {
        let mut draws = Draws::new(self.draw(TORN, number), TORN, 0);
        self.cache.begin_write();
        let mut reach = bytes.len();
        if let Some(zone) = self.sequential_zone(lba) {
            let blocks = self.config.geometry.logical.blocks_in(bytes.len() as u64);
            let written = draws.below(blocks + 1);
            reach = self.config.geometry.logical.byte_offset(Lba(written)) as usize;
            let write_pointer = lba.offset(written);
            let refused = IoError::Zone(ZoneError::NotAtWritePointer { write_pointer });
            for &slot in &self.writing {
                let flight = self.flights[slot as usize].as_mut().expect("it is in flight");
                let Op::Write { lba: behind, .. } = &flight.request.op else { continue };
                let zones = self.zones.as_ref().expect("it has a zone");
                if *behind > lba && zones.geometry().zone_of(*behind) == zone {
                    flight.fate = Fate::Refused(refused);
                }
            }
            self.zones.as_mut().expect("it has a zone").set_pointer(zone, write_pointer);
        }
        for (sector, offset, range) in self.pieces(lba, reach) {
            match draws.below(3) {
                0 => {}
                1 => {
                    if let Some(content) = self.merged(sector, offset, &bytes[range]) {
                        self.cache.put(sector, content);
                    }
                }
                _ => {
                    self.cache.put(sector, Sector::Unreadable);
                    self.harm.insert(sector, Harm::Unreadable);
                }
            }
        }
    }

    fn sequential_zone(&self, lba: Lba) -> Option<ZoneId> {
        let zones = self.zones.as_ref()?.geometry();
        let zone = zones.zone_of(lba);
        zones.is_sequential(zone).then_some(zone)
    }

    fn read(&mut self, number: u64, lba: Lba, buf: &mut [u8]) -> Result<(), IoError> {
        let rates = self.config.faults.rates;
        let sectors: Range<u64> = {
            let blocks = self.config.geometry.logical.blocks_in(buf.len() as u64);
            let end = lba.offset(blocks).0.div_ceil(self.blocks_per_sector);
            lba.0 / self.blocks_per_sector..end
        };
        if self.chance(LATENT, number, rates.latent) {
            let hit = self.draw(LATENT, !number) % (sectors.end - sectors.start);
            self.make_unreadable(sectors.start + hit);
        }
        if self.chance(ROT, number, rates.rot) {
            let hit = self.draw(ROT, !number) % (sectors.end - sectors.start);
            self.rot(sectors.start + hit);
        }
        if let Err(error) = self.peek(lba, buf) {
            buf.fill(0xee);
            return Err(error);
        }
        if !self.writing.is_empty() {
            self.mix_in_flight(number, lba, buf);
        }
        Ok(())
    }

    /// A read over writes in flight sees, of each block, the old or the new content.
    fn mix_in_flight(&self, number: u64, lba: Lba, buf: &mut [u8]) {
        let logical = self.config.geometry.logical;
        let end = lba.offset(logical.blocks_in(buf.len() as u64));
        let mut draws = Draws::new(self.draw(RACE, number), RACE, 0);
        for &slot in &self.writing {
            let flight = self.flights[slot as usize].as_ref().expect("it is in flight");
            let Op::Write { lba: theirs, buf: bytes, .. } = &flight.request.op else { continue };
            if !matches!(flight.fate, Fate::Sound | Fate::Fails(_)) {
                continue;
            }
            let their_end = theirs.offset(logical.blocks_in(bytes.len() as u64));
            for block in lba.max(*theirs).0..end.min(their_end).0 {
                if draws.happens(0.5) {
                    let to = logical.byte_offset(Lba(block - lba.0)) as usize;
                    let from = logical.byte_offset(Lba(block - theirs.0)) as usize;
                    let len = logical.bytes() as usize;
                    buf[to..to + len].copy_from_slice(&bytes[from..from + len]);
                }
            }
        }
    }

    /// What is discarded reads as it did, as zeros or as noise. Sectors discarded in part stay.
    fn discard(&mut self, number: u64, lba: Lba, blocks: u64) {
        if !self.config.geometry.discard {
            return;
        }
        let start = lba.0.div_ceil(self.blocks_per_sector);
        let sectors = start..start.max(lba.offset(blocks).0 / self.blocks_per_sector);
        let zeros: Rc<[u8]> = vec![0; self.config.geometry.physical.bytes() as usize].into();
        let noise = self.draw(DISCARD, !number);
        let mut written: Vec<u64> =
            self.cache.image().written(sectors.clone()).map(|(index, _)| index).collect();
        written.extend(self.cache.dirty().range(sectors).map(|(&index, _)| index));
        written.sort_unstable();
        written.dedup();
        self.cache.begin_write();
        for sector in written {
            let content = match self.draw(DISCARD, number) % 3 {
                0 => continue,
                1 => Sector::Data(Rc::clone(&zeros)),
                _ => Sector::Noise(noise),
            };
            self.cache.put(sector, content);
            self.harm.remove(&sector);
        }
    }

    // Faults.

    fn note(&mut self, lba: Lba, kind: FaultKind) {
        if self.faults.len() == FAULTS_KEPT {
            self.faults.pop_front();
        }
        self.faults.push_back(FaultRecord { at: self.now, lba, kind });
        self.faults_total += 1;
    }

    fn mark(&mut self, lba: Lba, bytes: usize, harm: Harm) {
        let sectors: Vec<u64> = self.pieces(lba, bytes).map(|(sector, ..)| sector).collect();
        for sector in sectors {
            self.harm.insert(sector, harm);
        }
    }

    fn make_unreadable(&mut self, sector: u64) {
        self.cache.corrupt(sector, Sector::Unreadable);
        self.harm.insert(sector, Harm::Unreadable);
        self.note(self.first_block(sector), FaultKind::Unreadable);
    }

    fn rot(&mut self, sector: u64) {
        let mut bytes = vec![0; self.config.geometry.physical.bytes() as usize];
        if !self.cache.image().render(sector, self.cache.visible(sector), 0, &mut bytes) {
            return;
        }
        let bit = self.draw(ROT, sector) as usize % (bytes.len() * 8);
        bytes[bit / 8] ^= 1 << (bit % 8);
        self.cache.corrupt(sector, Sector::Data(bytes.into()));
        self.harm.insert(sector, Harm::Rotten);
        self.note(self.first_block(sector), FaultKind::Rot);
    }

    fn next_event(&mut self) {
        let event = self.events.pop_front().expect("called with an event");
        self.inject(event.at, &event.fault);
    }

    pub(crate) fn inject(&mut self, now: Mono, fault: &Fault) {
        self.now = self.now.max(now);
        let per_sector = self.blocks_per_sector;
        let sectors =
            |blocks: &Range<Lba>| blocks.start.0 / per_sector..blocks.end.0.div_ceil(per_sector);
        match fault {
            Fault::Unreadable(blocks) => sectors(blocks).for_each(|s| self.make_unreadable(s)),
            Fault::Rot(blocks) => sectors(blocks).for_each(|s| self.rot(s)),
            Fault::LoseNextWrite => self.next_write = Some(Fate::Lost),
            Fault::MisdirectNextWrite(to) => self.next_write = Some(Fate::Misdirected(*to)),
            Fault::Remember => self.remembered = Some(self.cache.image().clone()),
            Fault::Gone(style) => {
                if self.present {
                    self.present = false;
                    self.cut_power(*style);
                }
            }
            Fault::Back(content) => self.come_back(*content),
        }
    }

    /// Requests in flight are answered `Gone`.
    fn cut_power(&mut self, style: CrashStyle) -> CrashReport {
        self.note(Lba(0), FaultKind::PowerCut);
        let mut draws = Draws::new(self.draw(CRASH, self.crashes), CRASH, 0);
        self.crashes += 1;
        let (image, report) = self.unsettled().crash(style, &mut draws);
        self.load(image);
        self.queue.clear();
        self.writing.clear();
        self.free.clear();
        let mut flights: Vec<Flight> = self.flights.drain(..).flatten().collect();
        flights.sort_by_key(|flight| flight.number);
        for flight in flights {
            self.stale.push_back((self.session, flight.request.complete(Err(IoError::Gone))));
        }
        report
    }

    fn come_back(&mut self, content: Content) {
        if content == Content::Remembered
            && let Some(image) = self.remembered.clone()
        {
            let now: Vec<u64> =
                self.cache.image().written(0..u64::MAX).map(|(index, _)| index).collect();
            for index in now {
                if self.cache.image().sector(index) != image.sector(index) {
                    self.harm.insert(index, Harm::Outdated);
                }
            }
            self.load(image);
        }
        // Whoever had it open before the power went must open it anew.
        self.session += u64::from(!self.present);
        self.present = true;
        self.note(Lba(0), FaultKind::Back(content));
    }

    fn load(&mut self, image: Image) {
        self.zones = Zones::new(&image);
        self.cache = WriteCache::new(image, self.config.cache_versions_max);
    }

    // The world's side.

    pub(crate) fn crash(&mut self, style: CrashStyle) -> CrashReport {
        let report = self.cut_power(style);
        self.stale.clear();
        self.session += 1;
        self.open = false;
        report
    }

    pub(crate) fn unsettled(&self) -> Unsettled {
        let mut flights: Vec<&Flight> = self.flights.iter().flatten().collect();
        flights.sort_by_key(|flight| flight.number);
        let mut in_flight = Vec::new();
        let mut changes = Vec::new();
        for flight in flights {
            match (&flight.request.op, flight.fate) {
                (_, Fate::Refused(_)) | (Op::Write { .. }, Fate::Lost) => {}
                (Op::Write { lba, buf, .. }, fate) => {
                    let lba = if let Fate::Misdirected(to) = fate { to } else { *lba };
                    for (sector, offset, range) in self.pieces(lba, buf.len()) {
                        let content = self.merged(sector, offset, &buf[range]);
                        in_flight.extend(content.map(|content| (sector, content)));
                    }
                }
                (Op::ZoneReset { zone }, _) => changes.push((*zone, true)),
                (Op::ZoneFinish { zone }, _) => changes.push((*zone, false)),
                _ => {}
            }
        }
        let mut unsettled = Unsettled::new(&self.cache, in_flight);
        if let Some(zones) = &self.zones {
            for zone in zones.touched() {
                let durable = self.cache.image().pointer(zone);
                let mut pointers: Vec<Lba> = (durable.0..=zones.pointer(zone).0).map(Lba).collect();
                for &(_, reset) in changes.iter().filter(|(changed, _)| *changed == zone) {
                    let start = zones.geometry().start(zone);
                    pointers.push(if reset { start } else { zones.end(zone) });
                }
                if pointers.len() > 1 {
                    unsettled.add_zone(zone, pointers);
                }
            }
        }
        unsettled.with_unreadable(self.config.unreadable_p)
    }

    pub(crate) fn image(&self) -> &Image {
        self.cache.image()
    }

    pub(crate) fn replace(&mut self, image: Image) {
        assert!(!self.open || !self.present, "the disk is in use");
        self.load(image);
        self.harm.clear();
    }

    pub(crate) fn set_rates(&mut self, rates: FaultRates) {
        self.config.faults.rates = rates;
    }

    pub(crate) fn is_present(&self) -> bool {
        self.present
    }

    pub(crate) fn peek(&self, lba: Lba, out: &mut [u8]) -> Result<(), IoError> {
        let image = self.cache.image();
        for (sector, offset, range) in self.pieces(lba, out.len()) {
            if !image.render(sector, self.cache.visible(sector), offset, &mut out[range]) {
                return Err(IoError::Media { lba: self.first_block(sector).max(lba) });
            }
        }
        Ok(())
    }

    pub(crate) fn harm(&self, blocks: Range<Lba>) -> Vec<(Lba, Harm)> {
        let end = blocks.end.0.div_ceil(self.blocks_per_sector);
        let sectors = blocks.start.0 / self.blocks_per_sector..end;
        self.harm.range(sectors).map(|(&sector, &harm)| (self.first_block(sector), harm)).collect()
    }

    pub(crate) fn faults(&self) -> Vec<FaultRecord> {
        self.faults.iter().copied().collect()
    }

    pub(crate) fn faults_total(&self) -> u64 {
        self.faults_total
    }
}

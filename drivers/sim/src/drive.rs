//! The inside of a simulated disk: requests in flight, in virtual time.
//!
//! What must always hold: a request takes effect when it completes, and completes when it is
//! polled for, in the order of completion times. What becomes of it was decided when it was
//! submitted.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, VecDeque};
use std::ops::Range;

use isotherm_seam::{
    Completion, Domain, Draws, Due, IoError, Lba, Mono, Op, Persist, Request, draw,
};

use crate::fate::{Fate, Fates};
use crate::medium::{Discarded, InFlight, Medium};
use crate::{
    Content, CrashReport, CrashStyle, Fault, FaultEvent, FaultKind, FaultRates, FaultRecord, Harm,
    Image, SimDiskConfig, Slow, TraceEvent, Unsettled, hash64,
};

const TORN: Domain = Domain::new("sim.disk.torn");
const RACE: Domain = Domain::new("sim.disk.race");
const DISCARD: Domain = Domain::new("sim.disk.discard");
const CRASH: Domain = Domain::new("sim.disk.crash");
const ROT: Domain = Domain::new("sim.disk.rot.event");

/// Fault records kept.
const FAULTS_KEPT: usize = 1 << 16;

pub(crate) struct Drive {
    config: SimDiskConfig,
    fates: Fates,
    medium: Medium,
    /// Only the last opening is answered; the others are told that the disk is gone.
    session: u64,
    is_open: bool,
    is_present: bool,
    now: Mono,
    flights: Vec<Option<Flight>>,
    free: Vec<u32>,
    queue: BinaryHeap<Reverse<(Mono, u64, u32)>>,
    /// Slots of the writes in flight.
    writing: Vec<u32>,
    requests: u64,
    crashes: u64,
    events: VecDeque<FaultEvent>,
    remembered: Option<Image>,
    /// Answers for sessions that have ended.
    stale: VecDeque<(u64, Completion)>,
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

impl Drive {
    pub(crate) fn new(config: SimDiskConfig, image: Image) -> Drive {
        let mut events = config.faults.events.clone();
        events.sort_by_key(|event| event.at);
        Drive {
            fates: Fates::new(&config),
            medium: Medium::new(&config.geometry, image, config.cache_versions_max),
            session: 0,
            is_open: false,
            is_present: true,
            now: Mono::ZERO,
            flights: Vec::new(),
            free: Vec::new(),
            queue: BinaryHeap::new(),
            writing: Vec::new(),
            requests: 0,
            crashes: 0,
            events: events.into(),
            remembered: None,
            stale: VecDeque::new(),
            faults: VecDeque::new(),
            faults_total: 0,
            config,
        }
    }

    pub(crate) fn open(&mut self) -> u64 {
        self.finish_all();
        self.session += 1;
        self.is_open = true;
        self.session
    }

    pub(crate) fn close(&mut self, session: u64) {
        if session == self.session {
            self.finish_all();
            self.is_open = false;
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
        if session != self.session || !self.is_present {
            self.stale.push_back((session, request.complete(Err(IoError::Gone))));
            return Ok(());
        }
        let number = self.requests;
        self.requests += 1;
        let blocks = self.blocks_of(&request.op);
        let fate = match self.medium.admit(&request.op) {
            Ok(()) => self.fates.decide(number, &request.op, &blocks),
            Err(error) => Fate::Refused(error),
        };
        let mut at = self.fates.completion_time(self.now, number, &request.op, &blocks, fate);
        let slot = self.free.pop().unwrap_or_else(|| {
            self.flights.push(None);
            (self.flights.len() - 1) as u32
        });
        if let Op::Write { lba, .. } = request.op
            && !matches!(fate, Fate::Refused(_))
        {
            self.assert_alone(&blocks);
            self.writing.push(slot);
            at = self.medium.in_order(lba, at);
        }
        let covers = self.medium.writes();
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

    fn assert_alone(&self, blocks: &Range<Lba>) {
        for &slot in &self.writing {
            let other = self.flights[slot as usize].as_ref().expect("it is in flight");
            let theirs = self.blocks_of(&other.request.op);
            assert!(
                blocks.end <= theirs.start || theirs.end <= blocks.start,
                "two writes in flight over {}: the caller broke the contract",
                blocks.start.max(theirs.start)
            );
        }
    }

    /// The blocks of a request; none for one that has no address, or a bad one.
    fn blocks_of(&self, op: &Op) -> Range<Lba> {
        let (lba, blocks) = match op {
            Op::Read { lba, buf } | Op::Write { lba, buf, .. } => {
                (*lba, buf.len() as u64 >> self.config.geometry.logical.shift())
            }
            Op::Discard { lba, blocks } => (*lba, *blocks),
            Op::Flush | Op::ZoneReport { .. } | Op::ZoneReset { .. } | Op::ZoneFinish { .. } => {
                (Lba(0), 0)
            }
        };
        lba..Lba(lba.0.saturating_add(blocks))
    }

    // Taking effect.

    fn finish_next(&mut self) -> Completion {
        let Reverse((_, _, slot)) = self.queue.pop().expect("called with something in flight");
        let mut flight = self.flights[slot as usize].take().expect("what is queued is in flight");
        self.free.push(slot);
        if let Some(at) = self.writing.iter().position(|&other| other == slot) {
            self.writing.swap_remove(at);
        }
        let result = self.take_effect(&mut flight);
        self.record(&flight, result);
        flight.request.complete(result)
    }

    fn finish_all(&mut self) {
        while !self.queue.is_empty() {
            let completion = self.finish_next();
            self.stale.push_back((self.session, completion));
        }
    }

    fn record(&self, flight: &Flight, result: Result<(), IoError>) {
        let Some(trace) = &self.config.trace else { return };
        let content = match (&flight.request.op, result) {
            (Op::Read { buf, .. } | Op::Write { buf, .. } | Op::ZoneReport { buf, .. }, Ok(())) => {
                hash64(buf)
            }
            (_, Ok(())) => 0,
            (_, Err(error)) => hash64(error.to_string().as_bytes()),
        };
        trace.record(TraceEvent {
            at: self.now,
            entity: u64::from(self.config.disk.0),
            kind: flight.request.op.kind() as u32,
            id: flight.number,
            content,
        });
    }

    fn take_effect(&mut self, flight: &mut Flight) -> Result<(), IoError> {
        let number = flight.number;
        match (flight.fate, &mut flight.request.op) {
            (Fate::Refused(error), _) => Err(error),
            (Fate::Fails(error), op) => {
                self.fail(number, op, error);
                Err(error)
            }
            (fate, Op::Write { lba, buf, persist }) => {
                let durable = self.is_durable(*persist);
                match fate {
                    Fate::Lost => {
                        self.note(*lba, FaultKind::LostWrite);
                        self.medium.mark(*lba, buf.len(), Harm::Lost);
                        Ok(())
                    }
                    Fate::Misdirected(to) => {
                        self.note(*lba, FaultKind::MisdirectedWrite { to });
                        self.medium.mark(*lba, buf.len(), Harm::Lost);
                        if self.medium.is_writable_at(to, buf.len()) {
                            // Whether it arrived there is not what its owner hears of.
                            let _ = self.medium.write(to, buf, durable);
                            self.medium.mark(to, buf.len(), Harm::Overwritten);
                        }
                        Ok(())
                    }
                    _ => self.medium.write(*lba, buf, durable),
                }
            }
            (_, Op::Read { lba, buf }) => self.read(number, *lba, buf),
            (Fate::Lies, _) => {
                self.note(Lba(0), FaultKind::LyingFlush);
                Ok(())
            }
            (_, op) => {
                match op {
                    Op::Flush => self.medium.flush(flight.covers),
                    Op::Discard { lba, blocks } => {
                        let becomes = match self.draw(DISCARD, number) % 3 {
                            0 => Discarded::Unchanged,
                            1 => Discarded::Zeros,
                            _ => Discarded::Noise(self.draw(DISCARD, !number)),
                        };
                        self.medium.discard(*lba, *blocks, becomes);
                    }
                    Op::ZoneReport { zone, buf } => self.medium.report(*zone, buf),
                    Op::ZoneReset { zone } => self.medium.reset(*zone),
                    Op::ZoneFinish { zone } => self.medium.finish(*zone),
                    Op::Read { .. } | Op::Write { .. } => unreachable!("above"),
                }
                Ok(())
            }
        }
    }

    fn is_durable(&self, persist: Persist) -> bool {
        persist == Persist::Fua || !self.config.geometry.volatile_cache
    }

    fn fail(&mut self, number: u64, op: &mut Op, error: IoError) {
        let timed_out = error == IoError::TimedOut;
        let lba = self.blocks_of(op).start;
        self.note(lba, if timed_out { FaultKind::TimedOut } else { FaultKind::Error });
        match op {
            Op::Read { buf, .. } => buf.fill(0xee),
            Op::Write { lba, buf, persist } => {
                let durable = self.is_durable(*persist);
                let mut draws = self.draws(TORN, number);
                let stopped = self.medium.tear(*lba, buf, durable, &mut draws);
                let Some((zone, pointer)) = stopped else { return };
                let (flights, medium) = (&mut self.flights, &self.medium);
                self.writing.retain(|&slot| {
                    let behind = flights[slot as usize].as_mut().expect("it is in flight");
                    let is_stopped = match behind.request.op {
                        Op::Write { lba: theirs, .. } => {
                            theirs > *lba && medium.sequential_zone(theirs) == Some(zone)
                        }
                        _ => false,
                    };
                    if is_stopped {
                        behind.fate = Fate::Refused(Medium::refused_behind(pointer));
                    }
                    !is_stopped
                });
            }
            _ => {}
        }
    }

    fn read(&mut self, number: u64, lba: Lba, buf: &mut [u8]) -> Result<(), IoError> {
        let sectors = self.medium.sectors(lba, buf.len());
        if let Some(sector) = self.fates.latent(number, sectors.clone()) {
            self.make_unreadable(sector);
        }
        if let Some((sector, bit)) = self.fates.rot(number, sectors) {
            self.rot(sector, bit);
        }
        if let Err(error) = self.medium.read(lba, buf) {
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
        let mut draws = self.draws(RACE, number);
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

    fn draw(&self, domain: Domain, number: u64) -> u64 {
        draw(self.config.seed, domain, u64::from(self.config.disk.0), number)
    }

    fn draws(&self, domain: Domain, number: u64) -> Draws {
        Draws::new(self.draw(domain, number), domain, 0)
    }

    // Faults.

    fn note(&mut self, lba: Lba, kind: FaultKind) {
        if self.faults.len() == FAULTS_KEPT {
            self.faults.pop_front();
        }
        self.faults.push_back(FaultRecord { at: self.now, lba, kind });
        self.faults_total += 1;
    }

    fn make_unreadable(&mut self, sector: u64) {
        self.medium.make_unreadable(sector);
        self.note(self.medium.first_block(sector), FaultKind::Unreadable);
    }

    fn rot(&mut self, sector: u64, bit: u64) {
        if self.medium.rot(sector, bit) {
            self.note(self.medium.first_block(sector), FaultKind::Rot);
        }
    }

    fn next_event(&mut self) {
        let event = self.events.pop_front().expect("called with an event");
        self.inject(event.at, &event.fault);
    }

    pub(crate) fn inject(&mut self, now: Mono, fault: &Fault) {
        self.now = self.now.max(now);
        let bytes = |blocks: &Range<Lba>| {
            self.config.geometry.logical.byte_offset(Lba(blocks.end.0 - blocks.start.0)) as usize
        };
        match fault {
            Fault::Unreadable(blocks) => {
                let sectors = self.medium.sectors(blocks.start, bytes(blocks));
                sectors.for_each(|sector| self.make_unreadable(sector));
            }
            Fault::Rot(blocks) => {
                let sectors = self.medium.sectors(blocks.start, bytes(blocks));
                sectors.for_each(|sector| self.rot(sector, self.draw(ROT, sector)));
            }
            Fault::LoseNextWrite => self.fates.set_next_write(Fate::Lost),
            Fault::MisdirectNextWrite(to) => self.fates.set_next_write(Fate::Misdirected(*to)),
            Fault::Remember => self.remembered = Some(self.medium.image().clone()),
            Fault::Gone(style) => {
                if self.is_present {
                    self.is_present = false;
                    self.cut_power(*style);
                }
            }
            Fault::Back(content) => self.come_back(*content),
        }
    }

    /// Requests in flight are answered `Gone`.
    fn cut_power(&mut self, style: CrashStyle) -> CrashReport {
        self.note(Lba(0), FaultKind::PowerCut);
        let mut draws = self.draws(CRASH, self.crashes);
        self.crashes += 1;
        let (image, report) = self.unsettled().crash(style, &mut draws);
        self.medium.load(image);
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
            self.medium.mark_outdated(&image);
            self.medium.load(image);
        }
        // Whoever had it open before the power went must open it anew.
        self.session += u64::from(!self.is_present);
        self.is_present = true;
        self.note(Lba(0), FaultKind::Back(content));
    }

    // The world's side.

    pub(crate) fn crash(&mut self, style: CrashStyle) -> CrashReport {
        let report = self.cut_power(style);
        self.stale.clear();
        self.session += 1;
        self.is_open = false;
        report
    }

    pub(crate) fn unsettled(&self) -> Unsettled {
        let mut flights: Vec<&Flight> = self.flights.iter().flatten().collect();
        flights.sort_by_key(|flight| flight.number);
        let in_flight = flights.into_iter().filter_map(|flight| {
            Some(match (&flight.request.op, flight.fate) {
                (_, Fate::Refused(_)) | (Op::Write { .. }, Fate::Lost) => return None,
                (Op::Write { buf, .. }, Fate::Misdirected(lba)) => {
                    InFlight::Write { lba, bytes: buf }
                }
                (Op::Write { lba, buf, .. }, _) => InFlight::Write { lba: *lba, bytes: buf },
                (Op::ZoneReset { zone }, _) => InFlight::Reset(*zone),
                (Op::ZoneFinish { zone }, _) => InFlight::Finish(*zone),
                _ => return None,
            })
        });
        self.medium.unsettled(in_flight).with_unreadable(self.config.unreadable_p)
    }

    pub(crate) fn image(&self) -> &Image {
        self.medium.image()
    }

    pub(crate) fn replace(&mut self, image: Image) {
        assert!(!self.is_open || !self.is_present, "the disk is in use");
        self.medium.load(image);
        self.medium.forget_harm();
    }

    pub(crate) fn set_rates(&mut self, rates: FaultRates) {
        self.fates.set_rates(rates);
    }

    pub(crate) fn slow_down(&mut self, slow: Slow) {
        self.fates.slow_down(slow);
    }

    pub(crate) fn is_present(&self) -> bool {
        self.is_present
    }

    pub(crate) fn peek(&self, lba: Lba, out: &mut [u8]) -> Result<(), IoError> {
        self.medium.read(lba, out)
    }

    pub(crate) fn harm(&self, blocks: Range<Lba>) -> Vec<(Lba, Harm)> {
        self.medium.harm(blocks)
    }

    pub(crate) fn faults(&self) -> Vec<FaultRecord> {
        self.faults.iter().copied().collect()
    }

    pub(crate) fn faults_total(&self) -> u64 {
        self.faults_total
    }
}

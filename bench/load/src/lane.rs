//! One running copy of a job: it keeps so many requests in flight on its disks, takes the time
//! of each, and counts.
//!
//! What must always hold: every request has its own start and its own completion time. The
//! completion time of one may serve as the start of the one that takes its place, for they are
//! the same instant. No two writes of a lane overlap in flight. Nothing is allocated per
//! request, and a request's buffer goes on to the next one. After a failure no new request is
//! sent, unless the job says to go on, and what is in flight is waited for.

mod back;
mod checks;
mod disk;
mod ending;
mod flush;
mod next;
mod order;
mod rules;
mod sight;
mod trace;

use isotherm_seam::{Clock, Completion, Due, IoBuf, Lba, Mono, Nanos, Op, Request, Tag};
use isotherm_workload::{Arrivals, Direction, FastRng, Filling, Service, ServicePlan};

use crate::meter::Meter;
use crate::tally::Moments;
use crate::{Depths, Failure, Tally};
use back::Back;
use checks::Checks;
use disk::{NOT_WRITING, Next};
use flush::Flushes;
use rules::Rules;

pub(crate) use checks::CheckOrder;
pub(crate) use disk::LaneDisk;
pub(crate) use order::{LaneOrder, Rate, RuleOrder, Standing};
pub(crate) use trace::LaneTrace;

const MIX: isotherm_seam::Domain = isotherm_seam::Domain::new("load.mix");

#[derive(Clone, Copy)]
struct Slot {
    start: Mono,
    intended: Mono,
    /// When its device had it: the start, where that is not timed.
    issued: Mono,
    lba: Lba,
    bytes: u32,
    direction: Direction,
    /// It is no transfer.
    flush: bool,
    /// It reads back what was written.
    check: bool,
}

/// A running copy of a job.
pub(crate) struct Lane {
    pub(crate) standing: Standing,
    pub(crate) order: LaneOrder,
    pub(crate) disks: Vec<LaneDisk>,
    slots: Box<[Slot]>,
    /// Slots without a request, each with its buffer.
    idle: Vec<(u32, IoBuf)>,
    rng: FastRng,
    /// A draw below it is a read.
    read_below: u64,
    arrivals: [Option<Arrivals>; 2],
    next_disk: usize,
    /// How its files take turns, where that is not one request each.
    service: Option<Service>,
    /// The file that holds a request back, of files that take such turns.
    held_on: Option<usize>,
    /// Fills each write, where that is not done once.
    filling: Option<Box<Filling>>,
    flushes: Option<Box<Flushes>>,
    trace: Option<Box<LaneTrace>>,
    checks: Option<Box<Checks>>,
    /// Checks among what is in flight.
    checking: u32,
    rules: Option<Box<Rules>>,
    /// Until when the rules forbid to send.
    shut: Option<Due>,
    back: Option<Box<Back>>,
    /// The one length of all its requests, in bytes.
    fixed: Option<u64>,
    /// No kernel underneath: nothing happens before it is due.
    modelled: bool,
    /// One disk, a closed loop, nothing written, one length, no rules, nothing timed or logged
    /// beside it.
    plain: bool,
    /// The handing over of a request to its device is timed apart.
    timed: bool,
    inflight: u32,
    /// Requests not yet drawn.
    left: u64,
    /// Bytes not yet drawn, where requests differ in length.
    bytes_left: u64,
    stop_at: Mono,
    measure_from: Option<Mono>,
    started: Mono,
    ended: Mono,
    pub(crate) meter: Meter,
    pub(crate) depths: Depths,
    pub(crate) failure: Option<Failure>,
    /// The depth that keeps the latency that was asked for.
    pub(crate) found_depth: Option<u32>,
}

impl Lane {
    /// A lane at rest. `bufs` are as many as the depth, of the length of the longest request, and
    /// filled with what is to be written.
    pub(crate) fn new(
        standing: Standing,
        order: LaneOrder,
        disks: Vec<LaneDisk>,
        bufs: Vec<IoBuf>,
        trace: Option<LaneTrace>,
    ) -> Lane {
        assert!(!disks.is_empty() && bufs.len() == order.depth as usize && order.depth > 0);
        assert!(bufs.iter().all(|buf| buf.len() == order.io_bytes() as usize));
        let slot = Slot {
            start: Mono::ZERO,
            intended: Mono::ZERO,
            issued: Mono::ZERO,
            lba: Lba(0),
            bytes: order.io_bytes(),
            direction: Direction::Read,
            flush: false,
            check: false,
        };
        // The lowest slot is taken first.
        let idle = bufs.into_iter().enumerate().rev().map(|(i, buf)| (i as u32, buf)).collect();
        let modelled = disks.iter().all(|disk| disk.device.info().path.is_none());
        let results = &order.results;
        // Reading the clock once more is nothing beside a kernel, and much beside `null`.
        let timed = results.slat.told && (!modelled || results.slat.percentiles)
            || results.logs.latency.is_some();
        let closed = disks.len() == 1 && order.read_percent == 100 && order.rates[0].is_none();
        let queue = &order.queue;
        let rules =
            Rules::new(&order.rules, (queue.batch, queue.low), order.depth, &standing.company);
        let batches = queue.complete_min > 1 || queue.complete_max.is_some();
        let back = batches.then(|| Back {
            min: queue.complete_min.max(1) as usize,
            max: queue.complete_max.map_or(usize::MAX, |max| max.max(queue.complete_min) as usize),
            waiting: Vec::with_capacity(order.depth as usize),
        });
        let turns = disks.len() > 1 && order.service != ServicePlan::default();
        let at_end = order.flush_at_end && order.writes();
        let every = order.flush_every.filter(|_| order.writes());
        let fixed = order.fixed();
        Lane {
            plain: closed
                && !timed
                && !results.logs.any()
                && fixed.is_some()
                && rules.is_none()
                && back.is_none()
                && order.check.is_none()
                && trace.is_none(),
            timed,
            modelled,
            slots: vec![slot; order.depth as usize].into(),
            idle,
            rng: FastRng::new(order.seed, MIX, 0),
            read_below: u64::MAX / 100 * u64::from(order.read_percent),
            arrivals: [None, None],
            next_disk: 0,
            service: turns.then(|| Service::new(&order.service, disks.len(), order.seed)),
            held_on: None,
            filling: (order.writes() && (order.filling.refills() || order.check.is_some()))
                .then(|| Box::new(Filling::new(&order.filling, order.seed))),
            // A log says by itself when it flushes.
            flushes: Flushes::new(every.or(trace.as_ref().map(|_| u64::MAX)), at_end, order.depth)
                .map(Box::new),
            trace: trace.map(Box::new),
            checks: order.check.as_ref().map(|check| Box::new(Checks::new(check, order.depth))),
            checking: 0,
            rules: rules.map(Box::new),
            shut: None,
            back: back.map(Box::new),
            fixed,
            inflight: 0,
            left: order.ios,
            bytes_left: order.bytes,
            stop_at: Mono(u64::MAX),
            measure_from: None,
            started: Mono::ZERO,
            ended: Mono::ZERO,
            meter: Meter::new(&order.results),
            depths: Depths::default(),
            failure: None,
            found_depth: None,
            disks,
            standing,
            order,
        }
    }

    /// Starts the clock of this lane; the first requests go out at the next turn.
    pub(crate) fn start(&mut self, now: Mono) {
        self.recall();
        for direction in Direction::ALL {
            let seed = self.order.seed ^ direction.index() as u64;
            let rate = self.order.rates[direction.index()].map(|rate| match rate {
                Rate::Requests(rate) | Rate::Bytes(rate) => rate as f64,
            });
            self.arrivals[direction.index()] =
                rate.map(|rate| Arrivals::new(now, rate, self.order.process, seed));
        }
        if let Some(trace) = &mut self.trace {
            trace.start(now);
        }
        self.begin_measuring(now);
        if let Some(book) = &mut self.meter.book {
            book.begin(now);
        }
        if let Some(rules) = &mut self.rules {
            rules.start(now);
            rules.join();
        }
        if self.order.ramp > Nanos::ZERO {
            self.measure_from = Some(now + self.order.ramp);
            self.stop_at = Mono(u64::MAX);
        }
    }

    fn begin_measuring(&mut self, now: Mono) {
        self.measure_from = None;
        self.started = now;
        self.ended = now;
        self.meter.begin(now);
        self.depths = Depths::default();
        let timed = self.timed;
        for disk in &mut self.disks {
            disk.tallies = self.order.opens().map(|open| Tally::new(open, timed));
        }
        if let Some(runtime) = self.order.runtime {
            self.stop_at = now + runtime;
        }
    }

    /// Reaps what has completed and sends what is to be sent. Returns how many were reaped.
    /// `now` is moved on to the latest time that was read.
    #[inline]
    pub(crate) fn turn<C: Clock>(
        &mut self,
        clock: &C,
        now: &mut Mono,
        done: &mut Vec<Completion>,
    ) -> usize {
        let resting = self.idle.len();
        let reaped = if self.plain {
            self.reap_plain(clock, now, done)
        } else {
            self.reap(clock, now, done)
        };
        let mut sent = (reaped + resting) - self.idle.len();
        if !self.idle.is_empty() {
            sent += self.fill(clock, now);
        }
        self.depths.sent(sent);
        reaped
    }

    /// Reaps the one disk of a plain lane.
    #[inline(always)]
    fn reap_plain<C: Clock>(
        &mut self,
        clock: &C,
        now: &mut Mono,
        done: &mut Vec<Completion>,
    ) -> usize {
        let count = self.disks[0].device.poll(*now, done);
        if count > 0 {
            self.depths.reaped(count);
            // In place: a completion is moved by no more than its buffer, straight into the next
            // request. Each copy of it would wait for the stores of the one before.
            for completion in done.iter_mut() {
                *now = clock.mono();
                self.complete_plain(clock, completion, *now);
            }
            done.clear();
        }
        count
    }

    /// Reaps all disks.
    fn reap<C: Clock>(&mut self, clock: &C, now: &mut Mono, done: &mut Vec<Completion>) -> usize {
        if let Some(book) = &mut self.meter.book {
            book.prepare(self.slots.len());
        }
        if let Some(rules) = &mut self.rules {
            rules.turn();
        }
        if self.back.is_some() {
            return self.reap_enough(clock, now, done);
        }
        let mut reaped = 0;
        for disk in 0..self.disks.len() {
            let count = self.disks[disk].device.poll(*now, done);
            if count > 0 {
                reaped += count;
                self.depths.reaped(count);
                for completion in done.iter_mut() {
                    *now = clock.mono();
                    self.complete(clock, disk, completion, *now);
                }
                done.clear();
            }
        }
        reaped
    }

    /// As [`Lane::complete`], for the lane that shows what a driver itself costs. All that such a
    /// lane can't meet is left out, which makes a third of the time of a request on `null`; at
    /// the first thing out of the ordinary it is left to `complete`.
    #[inline(always)]
    fn complete_plain<C: Clock>(&mut self, clock: &C, completion: &mut Completion, now: Mono) {
        let on = &mut self.disks[0];
        let over = now >= self.stop_at || self.left == 0 || on.held.is_some();
        let Some(buf) = completion.buf.take_if(|_| completion.result.is_ok() && !over) else {
            return self.complete(clock, 0, completion, now);
        };
        let index = completion.tag.0 as u32;
        let slot = &mut self.slots[index as usize];
        on.tallies[Direction::Read.index()].latencies.record(now.since(slot.start));
        let lba = on.addresses.next(Direction::Read);
        (slot.start, slot.lba) = (now, lba);
        self.left -= 1;
        let request = Request { tag: completion.tag, op: Op::Read { lba, buf } };
        if let Err(refused) = on.device.submit(now, request) {
            let (direction, bytes) = (Direction::Read, slot.bytes);
            on.held = Some(Next { direction, lba, bytes, intended: now });
            self.inflight -= 1;
            self.idle.push((index, refused.op.into_buf().expect("unchanged")));
            return;
        }
        self.depths.level(self.inflight);
    }

    /// Counts a completion and puts the next request in its place.
    #[inline(never)]
    fn complete<C: Clock>(
        &mut self,
        clock: &C,
        disk: usize,
        completion: &mut Completion,
        now: Mono,
    ) {
        let index = completion.tag.0 as u32;
        let slot = &self.slots[index as usize];
        let on = &mut self.disks[disk];
        self.inflight -= 1;
        self.checking -= u32::from(slot.check);
        if let Some(writing) = on.writing.get_mut(index as usize) {
            *writing = NOT_WRITING;
        }
        match completion.result {
            _ if slot.flush => self.complete_flush(disk, completion, now),
            Ok(()) => {
                let Slot { intended, start, issued, lba, bytes, direction, .. } = *slot;
                let at = Moments { intended, start, issued, done: now };
                let tally = &mut on.tallies[direction.index()];
                tally.record(&at);
                let bytes = u64::from(bytes);
                if self.fixed.is_none() {
                    tally.bytes += bytes;
                }
                if let Some(book) = &mut self.meter.book {
                    book.note(&at, direction, on.block.byte_offset(lba), bytes);
                }
                if let Some(rules) = &mut self.rules {
                    let verdict = rules.completed(now, direction, bytes, now.since(start));
                    self.obey(verdict, disk, lba, now);
                }
                if self.checks.is_some() {
                    let buf = completion.buf.as_mut().expect("it comes back");
                    self.checked(disk, index, buf, now);
                }
            }
            Err(error) => self.request_failed(disk, index, error, now),
        }
        if !self.send_next(clock, index, &mut completion.buf, now) {
            let buf = completion.buf.take().expect("a read or a write brings its buffer back");
            self.idle.push((index, buf));
        }
    }

    /// Sends what is to be sent from idle slots. Returns how many.
    fn fill<C: Clock>(&mut self, clock: &C, now: &mut Mono) -> usize {
        let mut sent = 0;
        while let Some((index, buf)) = self.idle.pop() {
            *now = clock.mono();
            let mut buf = Some(buf);
            if !self.send_next(clock, index, &mut buf, *now) {
                self.idle.push((index, buf.expect("what was not sent stays")));
                break;
            }
            sent += 1;
        }
        if self.left == 0 && self.inflight == 0 && self.is_drained() && !self.owes_check() {
            sent += self.send_end(*now);
        }
        sent
    }

    /// Sends the next request from this slot, with this buffer. If there is none to send now,
    /// or its disk takes none, the buffer stays.
    #[inline(always)]
    fn send_next<C: Clock>(
        &mut self,
        clock: &C,
        index: u32,
        buf: &mut Option<IoBuf>,
        now: Mono,
    ) -> bool {
        let flushes = self.flushes.as_ref();
        if flushes.is_some_and(|f| f.is_due() && (self.left > 0 || f.is_demanded())) {
            return self.send_flush(index, buf, now);
        }
        if self.checks.is_some() && self.is_to_check() {
            return self.send_check(index, buf, now);
        }
        let Some((disk, next)) = self.next(now) else {
            // What a log has next may be a flush.
            let demanded = self.flushes.as_ref().is_some_and(|flushes| flushes.is_demanded());
            return demanded && self.send_flush(index, buf, now);
        };
        let on = &mut self.disks[disk];
        let Next { direction, lba, bytes, intended } = next;
        self.slots[index as usize] = Slot {
            start: now,
            intended,
            issued: now,
            lba,
            bytes,
            direction,
            flush: false,
            check: false,
        };
        let mut buffer = buf.take().expect("a read or a write brings its buffer back");
        if self.fixed.is_none() {
            buffer.set_len(bytes as usize);
        }
        let op = match direction {
            Direction::Read => Op::Read { lba, buf: buffer },
            Direction::Write => {
                let end = lba.0 + (u64::from(bytes) >> on.block.shift());
                on.writing[index as usize] = (lba.0, end);
                if let Some(filling) = &mut self.filling {
                    filling.fill(on.block, lba, &mut buffer);
                }
                if let Some(checks) = &mut self.checks {
                    checks.seal(
                        index,
                        on.block.byte_offset(lba),
                        self.order.seed,
                        now,
                        &mut buffer,
                    );
                }
                Op::Write { lba, buf: buffer, persist: self.order.persist }
            }
        };
        let Err(refused) = on.device.submit(now, Request { tag: Tag(u64::from(index)), op }) else {
            if self.timed {
                self.slots[index as usize].issued = clock.mono();
            }
            self.inflight += 1;
            self.depths.level(self.inflight);
            if let Some(rules) = &mut self.rules {
                rules.sent(self.inflight);
            }
            if direction == Direction::Write
                && let Some(flushes) = &mut self.flushes
            {
                flushes.wrote(disk);
            }
            return true;
        };
        *buf = refused.op.into_buf();
        if let Some(writing) = on.writing.get_mut(index as usize) {
            *writing = NOT_WRITING;
        }
        on.held = Some(next);
        if self.service.is_some() || self.trace.is_some() {
            self.held_on = Some(disk);
        }
        false
    }

    /// When the next turn can be of use.
    #[inline]
    pub(crate) fn due(&self) -> Due {
        if self.plain && self.idle.is_empty() {
            return self.disks[0].device.due();
        }
        let mut due = self.disks.iter().map(|disk| disk.device.due()).min().unwrap_or(Due::Idle);
        if let Some(back) = &self.back
            && back.is_enough(self.inflight)
        {
            return Due::Now;
        }
        if let Some(shut) = self.shut
            && !self.idle.is_empty()
            && !self.is_drained()
        {
            // A gate that waits for completions is asked again when there are none to come.
            let shut = if shut == Due::Idle && self.inflight == 0 { Due::Now } else { shut };
            return due.min(shut).min(Due::At(self.stop_at));
        }
        let waits = self.trace.as_ref().is_some_and(|trace| trace.due() != Due::Idle);
        if due == Due::Idle
            && !self.is_done()
            && self.arrivals.iter().all(Option::is_none)
            && !waits
        {
            // Held back by a device that has nothing in flight: try again.
            due = Due::Now;
        }
        if !self.idle.is_empty() && self.left > 0 {
            let arrival = self.arrivals.iter().flatten().map(Arrivals::peek).min();
            due = due.min(arrival.map_or(Due::Idle, Due::At)).min(Due::At(self.stop_at));
            due = due.min(self.trace.as_ref().map_or(Due::Idle, |trace| trace.due()));
        }
        due
    }

    /// Until when a turn is sure to be of no use, of a lane that is next due at `due`: a model has
    /// nothing before, a disk with a kernel underneath may have completed something at any time.
    #[inline]
    pub(crate) fn rests_until(&self, due: Due) -> Mono {
        match due {
            Due::At(at) if self.modelled => at,
            _ => Mono::ZERO,
        }
    }
}

#[cfg(test)]
mod tests;

//! One running copy of a job: it keeps so many requests in flight on its disks, takes the time
//! of each, and counts.
//!
//! What must always hold: every request has its own start and its own completion time. The
//! completion time of one may serve as the start of the one that takes its place, for they are
//! the same instant. No two writes of a lane overlap in flight. Nothing is allocated per
//! request, and a request's buffer goes on to the next one. After a failure no new request is
//! sent, and what is in flight is waited for.

use isotherm_seam::{
    BlockDevice, BlockSize, Clock, Completion, Due, IoBuf, IoError, Lba, Mono, Nanos, Op, Persist,
    Request, Tag,
};
use isotherm_workload::{
    Addresses, ArrivalProcess, Arrivals, Content, Direction, FastRng, Results,
};

use crate::drive::DiskSight;
use crate::meter::Meter;
use crate::tally::Moments;
use crate::timeline::Timeline;
use crate::{Depths, Failure, Tally};

const MIX: isotherm_seam::Domain = isotherm_seam::Domain::new("load.mix");

/// What a lane is to do, with everything resolved against its devices.
#[derive(Clone, Debug)]
pub(crate) struct LaneOrder {
    /// Length of each request, in bytes.
    pub(crate) io_bytes: u32,
    /// Requests in flight.
    pub(crate) depth: u32,
    /// Share of reads, in percent: 0 writes only, 100 reads only.
    pub(crate) read_percent: u32,
    /// Arrivals per second by direction: an open loop if any.
    pub(crate) rate_iops: [Option<u64>; 2],
    pub(crate) process: ArrivalProcess,
    /// What each write is filled with, if not what its buffer held from the start.
    pub(crate) refill: Option<Content>,
    /// Requests to send at most.
    pub(crate) ios: u64,
    /// Stop so long after measuring began.
    pub(crate) runtime: Option<Nanos>,
    /// Measure only after so long.
    pub(crate) ramp: Nanos,
    pub(crate) seed: u64,
    /// What is told of it.
    pub(crate) results: Results,
}

/// One disk of a lane.
pub(crate) struct LaneDisk {
    pub(crate) device: Box<dyn BlockDevice>,
    /// What this lane could not have of it, one sentence each.
    pub(crate) notes: Vec<String>,
    addresses: Addresses,
    block: BlockSize,
    pub(crate) tallies: [Tally; 2],
    /// By slot, the first block of a write in flight; `NOT_WRITING` otherwise. Empty where the
    /// lane never writes.
    writing: Box<[u64]>,
    /// Decided and not yet sent: it overlaps a write in flight, or the device was full.
    held: Option<Next>,
}

const NOT_WRITING: u64 = u64::MAX;

/// The next request.
#[derive(Clone, Copy, Debug)]
struct Next {
    direction: Direction,
    lba: Lba,
    /// When it was to be sent; for a closed loop, when it is.
    intended: Mono,
}

#[derive(Clone, Copy)]
struct Slot {
    start: Mono,
    intended: Mono,
    /// When its device had it: the start, where that is not timed.
    issued: Mono,
    lba: Lba,
    direction: Direction,
}

/// A running copy of a job.
pub(crate) struct Lane {
    /// Which seat of its core it came from.
    pub(crate) seat: usize,
    /// The job of that seat, and where the seat stands among all.
    pub(crate) job: usize,
    rank: u64,
    order: LaneOrder,
    pub(crate) disks: Vec<LaneDisk>,
    slots: Box<[Slot]>,
    /// Slots without a request, each with its buffer.
    idle: Vec<(u32, IoBuf)>,
    rng: FastRng,
    /// A draw below it is a read.
    read_below: u64,
    arrivals: [Option<Arrivals>; 2],
    next_disk: usize,
    /// No kernel underneath: nothing happens before it is due.
    modelled: bool,
    /// One disk, a closed loop, nothing written, nothing timed or logged beside it.
    plain: bool,
    /// The handing over of a request to its device is timed apart.
    timed: bool,
    inflight: u32,
    /// Requests not yet drawn.
    left: u64,
    stop_at: Mono,
    measure_from: Option<Mono>,
    started: Mono,
    ended: Mono,
    pub(crate) meter: Meter,
    pub(crate) depths: Depths,
    pub(crate) failure: Option<Failure>,
}

impl LaneDisk {
    pub(crate) fn new(
        device: Box<dyn BlockDevice>,
        addresses: Addresses,
        order: &LaneOrder,
    ) -> LaneDisk {
        let writes = order.read_percent < 100;
        LaneDisk {
            block: device.geometry().logical,
            device,
            notes: Vec::new(),
            addresses,
            tallies: order.rate_iops.map(|rate| Tally::new(rate.is_some(), false)),
            writing: vec![NOT_WRITING; if writes { order.depth as usize } else { 0 }].into(),
            held: None,
        }
    }

    /// Whether a write of `blocks` blocks from `lba` on would overlap one in flight.
    #[inline]
    fn overlaps(&self, lba: Lba, blocks: u64) -> bool {
        // NOT_WRITING is farther from every block of a device than any request is long.
        self.writing.iter().any(|&other| other.abs_diff(lba.0) < blocks)
    }
}

impl Lane {
    /// A lane at rest. `bufs` are as many as the depth, of the length of a request, and filled
    /// with what is to be written.
    pub(crate) fn new(
        seat: usize,
        (job, rank): (usize, u64),
        order: LaneOrder,
        disks: Vec<LaneDisk>,
        bufs: Vec<IoBuf>,
    ) -> Lane {
        assert!(!disks.is_empty() && bufs.len() == order.depth as usize && order.depth > 0);
        assert!(bufs.iter().all(|buf| buf.len() == order.io_bytes as usize));
        let slot = Slot {
            start: Mono::ZERO,
            intended: Mono::ZERO,
            issued: Mono::ZERO,
            lba: Lba(0),
            direction: Direction::Read,
        };
        // The lowest slot is taken first.
        let idle = bufs.into_iter().enumerate().rev().map(|(i, buf)| (i as u32, buf)).collect();
        let modelled = disks.iter().all(|disk| disk.device.info().path.is_none());
        let results = &order.results;
        // Reading the clock once more is nothing beside a kernel, and much beside `null`.
        let timed = results.slat.told && (!modelled || results.slat.percentiles)
            || results.logs.latency.is_some();
        let closed = disks.len() == 1 && order.read_percent == 100 && order.rate_iops[0].is_none();
        Lane {
            seat,
            job,
            rank,
            plain: closed && !timed && !results.logs.any(),
            timed,
            modelled,
            disks,
            slots: vec![slot; order.depth as usize].into(),
            idle,
            rng: FastRng::new(order.seed, MIX, 0),
            read_below: u64::MAX / 100 * u64::from(order.read_percent),
            arrivals: [None, None],
            next_disk: 0,
            inflight: 0,
            left: order.ios,
            stop_at: Mono(u64::MAX),
            measure_from: None,
            started: Mono::ZERO,
            ended: Mono::ZERO,
            meter: Meter::new(&order.results),
            depths: Depths::default(),
            failure: None,
            order,
        }
    }

    /// Starts the clock of this lane; the first requests go out at the next turn.
    pub(crate) fn start(&mut self, now: Mono) {
        for direction in Direction::ALL {
            let rate = self.order.rate_iops[direction.index()];
            let seed = self.order.seed ^ direction.index() as u64;
            self.arrivals[direction.index()] =
                rate.map(|rate| Arrivals::new(now, rate as f64, self.order.process, seed));
        }
        self.begin_measuring(now);
        if let Some(book) = &mut self.meter.book {
            book.begin(now);
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
            disk.tallies = self.order.rate_iops.map(|rate| Tally::new(rate.is_some(), timed));
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
        let mut reaped = 0;
        let resting = self.idle.len();
        if let Some(book) = &mut self.meter.book {
            book.prepare(self.slots.len());
        }
        for disk in 0..self.disks.len() {
            let count = self.disks[disk].device.poll(*now, done);
            if count > 0 {
                reaped += count;
                self.depths.reaped(count);
                // In place: a completion is moved by no more than its buffer, straight into
                // the next request. Each copy of it would wait for the stores of the one before.
                for completion in done.iter_mut() {
                    *now = clock.mono();
                    if self.plain {
                        self.complete_plain(clock, completion, *now);
                    } else {
                        self.complete(clock, disk, completion, *now);
                    }
                }
                done.clear();
            }
        }
        let mut sent = (reaped + resting) - self.idle.len();
        if !self.idle.is_empty() {
            sent += self.fill(clock, now);
        }
        self.depths.sent(sent);
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
            on.held = Some(Next { direction: Direction::Read, lba, intended: now });
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
        if let Some(writing) = on.writing.get_mut(index as usize) {
            *writing = NOT_WRITING;
        }
        match completion.result {
            Ok(()) => {
                let Slot { intended, start, issued, lba, direction } = *slot;
                let at = Moments { intended, start, issued, done: now };
                on.tallies[direction.index()].record(&at);
                if let Some(book) = &mut self.meter.book {
                    let bytes = u64::from(self.order.io_bytes);
                    book.note(&at, direction, on.block.byte_offset(lba), bytes);
                }
            }
            Err(error) => self.fail(disk, index, error, now),
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
        let Some((disk, next)) = self.next(now) else { return false };
        let on = &mut self.disks[disk];
        let Next { direction, lba, intended } = next;
        self.slots[index as usize] = Slot { start: now, intended, issued: now, lba, direction };
        let bring = "a read or a write brings its buffer back";
        let op = match direction {
            Direction::Read => Op::Read { lba, buf: buf.take().expect(bring) },
            Direction::Write => {
                on.writing[index as usize] = lba.0;
                let mut buf = buf.take().expect(bring);
                if let Some(content) = &self.order.refill {
                    content.fill(on.block, lba, &mut buf);
                }
                Op::Write { lba, buf, persist: Persist::Flush }
            }
        };
        let Err(refused) = on.device.submit(now, Request { tag: Tag(u64::from(index)), op }) else {
            if self.timed {
                self.slots[index as usize].issued = clock.mono();
            }
            self.inflight += 1;
            self.depths.level(self.inflight);
            return true;
        };
        *buf = refused.op.into_buf();
        if let Some(writing) = on.writing.get_mut(index as usize) {
            *writing = NOT_WRITING;
        }
        on.held = Some(next);
        false
    }

    /// What to send now, and to which disk; that disk holds nothing back.
    #[inline(always)]
    fn next(&mut self, now: Mono) -> Option<(usize, Next)> {
        if now >= self.stop_at {
            self.stop(self.stop_at);
            return None;
        }
        if self.disks.len() == 1 {
            return self.next_for(0, now).map(|next| (0, next));
        }
        // In turn; one that can take nothing now is passed over.
        for _ in 0..self.disks.len() {
            let disk = self.next_disk;
            self.next_disk = if disk + 1 == self.disks.len() { 0 } else { disk + 1 };
            if let Some(next) = self.next_for(disk, now) {
                return Some((disk, next));
            }
        }
        None
    }

    #[inline(always)]
    fn next_for(&mut self, disk: usize, now: Mono) -> Option<Next> {
        let next = match self.disks[disk].held.take() {
            Some(held) => held,
            None => {
                if self.left == 0 {
                    return None;
                }
                let (direction, intended) = self.due_direction(now)?;
                self.left -= 1;
                Next { direction, lba: self.disks[disk].addresses.next(direction), intended }
            }
        };
        let on = &mut self.disks[disk];
        let blocks = u64::from(self.order.io_bytes) >> on.block.shift();
        if next.direction == Direction::Write && on.overlaps(next.lba, blocks) {
            on.held = Some(next);
            return None;
        }
        Some(next)
    }

    /// Which way the next request goes and when it was to be sent, if it is time.
    #[inline(always)]
    fn due_direction(&mut self, now: Mono) -> Option<(Direction, Mono)> {
        match &mut self.arrivals {
            [None, None] => Some((self.mix(), now)),
            arrivals => {
                let due = |direction: &Direction| {
                    arrivals[direction.index()].as_ref().map(|a| (a.peek(), *direction))
                };
                let (at, direction) = Direction::ALL.iter().filter_map(due).min()?;
                if at > now {
                    return None;
                }
                arrivals[direction.index()].as_mut().expect("it was due").advance();
                Some((direction, at))
            }
        }
    }

    #[inline(always)]
    fn mix(&mut self) -> Direction {
        match self.order.read_percent {
            0 => Direction::Write,
            100 => Direction::Read,
            _ if self.rng.next_u64() < self.read_below => Direction::Read,
            _ => Direction::Write,
        }
    }

    #[cold]
    fn fail(&mut self, disk: usize, index: u32, error: IoError, now: Mono) {
        let slot = self.slots[index as usize];
        let on = &mut self.disks[disk];
        on.tallies[slot.direction.index()].errors += 1;
        // Where the device says which block it was, that one; else the first of the request.
        let lba = match error {
            IoError::Media { lba } => lba,
            _ => slot.lba,
        };
        if self.failure.is_none() {
            self.failure = Some(Failure {
                disk: on.device.info().name,
                direction: slot.direction,
                sector: on.block.byte_offset(lba) / 512,
                error,
            });
        }
        self.stop(now);
    }

    /// Sends nothing any more. What is in flight is still waited for.
    #[cold]
    pub(crate) fn stop(&mut self, now: Mono) {
        for (direction, arrivals) in self.arrivals.iter_mut().enumerate() {
            let Some(arrivals) = arrivals.take() else { continue };
            let open = &mut self.disks[0].tallies[direction].open_loop;
            let open = open.as_mut().expect("a direction with arrivals is counted as such");
            open.unsent_ios += arrivals.count_before(now).min(self.left);
        }
        self.left = 0;
        self.disks.iter_mut().for_each(|disk| disk.held = None);
    }

    /// Requests that it may have in flight.
    pub(crate) fn depth(&self) -> u32 {
        self.order.depth
    }

    /// Whether all is done that will be.
    pub(crate) fn is_done(&self) -> bool {
        self.inflight == 0 && self.left == 0 && self.disks.iter().all(|disk| disk.held.is_none())
    }

    /// When the next turn can be of use.
    #[inline]
    pub(crate) fn due(&self) -> Due {
        let mut due = self.disks.iter().map(|disk| disk.device.due()).min().unwrap_or(Due::Idle);
        if due == Due::Idle && !self.is_done() && self.arrivals.iter().all(Option::is_none) {
            // Held back by a device that has nothing in flight: try again.
            due = Due::Now;
        }
        if !self.idle.is_empty() && self.left > 0 {
            let arrival = self.arrivals.iter().flatten().map(Arrivals::peek).min();
            due = due.min(arrival.map_or(Due::Idle, Due::At)).min(Due::At(self.stop_at));
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

    /// Begins to measure when the ramp is over. Called every now and then.
    pub(crate) fn ramp(&mut self, now: Mono) {
        if self.measure_from.is_some_and(|from| now >= from) {
            self.begin_measuring(now);
        }
    }

    /// Takes samples for what is told over time, unless measuring has not begun.
    pub(crate) fn sample(&mut self, now: Mono, timeline: &mut Timeline, end: bool) {
        if self.measure_from.is_some() {
            return;
        }
        for direction in Direction::ALL {
            let so_far = (self.ios(direction), self.bytes(direction));
            let tallies = self.disks.iter().map(|disk| &disk.tallies[direction.index()]);
            let mut histograms = tallies.map(|tally| &tally.latencies.histogram);
            self.meter.sample(now, direction, so_far, &mut histograms, timeline, end);
        }
    }

    /// Requests completed without error since measuring began.
    pub(crate) fn ios(&self, direction: Direction) -> u64 {
        self.disks.iter().map(|disk| disk.tallies[direction.index()].ios()).sum()
    }

    /// How its disks do.
    pub(crate) fn sights(&self) -> Vec<DiskSight> {
        let sight = |(number, disk): (usize, &LaneDisk)| DiskSight {
            name: disk.device.info().name,
            order: (self.rank, number),
            ios: disk.tallies.iter().map(Tally::ios).sum(),
            errors: disk.tallies.iter().map(|tally| tally.errors).sum(),
            p99_ns: self.meter.p99_ns(),
        };
        self.disks.iter().enumerate().map(sight).collect()
    }

    /// What those carried.
    pub(crate) fn bytes(&self, direction: Direction) -> u64 {
        self.ios(direction) * u64::from(self.order.io_bytes)
    }

    /// Adds up what is not counted per request. Called before results are taken.
    pub(crate) fn settle(&mut self, now: Mono) {
        self.ended = now;
        let io_bytes = u64::from(self.order.io_bytes);
        for tally in self.disks.iter_mut().flat_map(|disk| &mut disk.tallies) {
            tally.bytes = tally.ios() * io_bytes;
        }
    }

    /// Closes the books: the last request has completed.
    pub(crate) fn end(&mut self, now: Mono, timeline: &mut Timeline) {
        self.settle(now);
        self.sample(now, timeline, true);
        if let Some(book) = &mut self.meter.book {
            book.end(now);
        }
    }

    /// How long it was measured.
    pub(crate) fn elapsed(&self) -> Nanos {
        self.ended.since(self.started)
    }
}

#[cfg(test)]
mod tests;

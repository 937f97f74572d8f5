//! One disk under load: its arrivals, its queue, what it holds, what it did.
//!
//! What must always hold: every arrival is answered (a read or an error), waits (queue), is in
//! the device, was refused (queue full, or disk gone), or was left over at the end; [`Lane::end`]
//! checks that the sum is right. The disk holds at most `depth` reads and their buffers, so a
//! stuck disk takes nothing from its siblings.

use std::collections::VecDeque;

use isotherm_heat::{DiskReport, PeerGroup};
use isotherm_seam::{
    BlockDevice, BufPool, Completion, DiskId, Domain, Draws, Due, IoBuf, Lba, Mono, Nanos, Op,
    PoolExhausted, Request, Tag, draw,
};
use isotherm_workload::{ArrivalProcess, Arrivals};

use crate::load::LoadConfig;
use crate::measure::{Answer, Measure};
use crate::progress::LaneProgress;

const ADDRESS: Domain = Domain::new("fleet.address");
const ARRIVAL: Domain = Domain::new("fleet.arrival");

/// A disk and its load.
pub(crate) struct Lane {
    pub(crate) disk: DiskId,
    pub(crate) device: Box<dyn BlockDevice>,
    pub(crate) measure: Measure,
    config: LoadConfig,
    arrivals: Arrivals,
    addresses: Draws,
    /// Whole reads that fit the disk.
    places: u64,
    blocks_per_read: u64,
    queue: VecDeque<Waiting>,
    slots: Vec<Option<Flight>>,
    bufs: Vec<IoBuf>,
    done: Vec<Completion>,
    busy_since: Option<Mono>,
    busy: Nanos,
    offered: u64,
    refused: u64,
    left_over: u64,
}

/// An arrival that the disk does not yet hold.
#[derive(Clone, Copy)]
struct Waiting {
    intended: Mono,
    lba: Lba,
}

/// A read that the disk holds.
#[derive(Clone, Copy)]
struct Flight {
    intended: Mono,
    submitted: Mono,
    lba: Lba,
}

/// What came of the arrivals of one disk.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Arrived {
    /// All.
    pub offered: u64,
    /// Answered with data.
    pub reads: u64,
    /// Answered with an error.
    pub errors: u64,
    /// Turned away: the queue was full, or the disk gone.
    pub refused: u64,
    /// Still waiting when the load ended.
    pub left_over: u64,
    /// Handed to the device and never answered.
    pub unanswered: u64,
}

impl Lane {
    /// A disk whose load begins at `start`. Takes its buffers from `pool`.
    pub(crate) fn new(
        disk: DiskId,
        device: Box<dyn BlockDevice>,
        config: &LoadConfig,
        pool: &BufPool,
        start: Mono,
    ) -> Result<Lane, PoolExhausted> {
        let geometry = device.geometry();
        let read_bytes = u64::from(config.read_bytes);
        assert!(geometry.logical.divides(read_bytes), "a read is whole blocks");
        let places = geometry.capacity_bytes() / read_bytes;
        assert!(places > 0, "a read fits the disk");
        let depth = config.depth.min(geometry.depth_max) as usize;
        let bufs = (0..depth)
            .map(|_| pool.alloc(config.read_bytes as usize))
            .collect::<Result<Vec<_>, _>>()?;
        let entity = u64::from(disk.0);
        let seed = draw(config.seed, ARRIVAL, entity, 0);
        Ok(Lane {
            disk,
            measure: Measure::new(geometry.blocks, config.windows),
            arrivals: Arrivals::new(start, config.rate_per_s, ArrivalProcess::Poisson, seed),
            addresses: Draws::new(config.seed, ADDRESS, entity),
            places,
            blocks_per_read: geometry.logical.blocks_in(read_bytes),
            queue: VecDeque::with_capacity(config.queue_max),
            slots: vec![None; depth],
            bufs,
            done: Vec::with_capacity(depth),
            busy_since: None,
            busy: Nanos::ZERO,
            offered: 0,
            refused: 0,
            left_over: 0,
            config: *config,
            device,
        })
    }

    /// Collects what is done, takes in what is due, hands over what the disk may hold.
    /// `arrivals_until` is when the load ends; `lag` is how much later than planned this comes.
    pub(crate) fn turn(&mut self, now: Mono, arrivals_until: Mono, lag: Nanos) {
        self.collect(now, lag);
        self.admit(now, arrivals_until);
        self.submit(now);
    }

    /// When this lane next has something to do.
    pub(crate) fn due(&self, arrivals_until: Mono) -> Due {
        let next = self.arrivals.peek();
        let arrival = if next < arrivals_until { Due::At(next) } else { Due::Idle };
        arrival.min(self.device.due())
    }

    fn collect(&mut self, now: Mono, lag: Nanos) {
        if self.device.inflight() == 0 {
            return;
        }
        self.device.poll(now, &mut self.done);
        for completion in self.done.drain(..) {
            let flight = self.slots[completion.tag.0 as usize].take();
            let flight = flight.expect("a device completes each request once");
            self.bufs.push(completion.buf.expect("a read's buffer comes back"));
            self.measure.record(&Answer {
                lba: flight.lba,
                intended: flight.intended,
                submitted: flight.submitted,
                now,
                lag,
                result: completion.result,
            });
        }
        if self.device.inflight() == 0
            && let Some(since) = self.busy_since.take()
        {
            self.busy += now.since(since);
        }
    }

    fn admit(&mut self, now: Mono, arrivals_until: Mono) {
        while self.arrivals.peek() <= now && self.arrivals.peek() < arrivals_until {
            let intended = self.arrivals.peek();
            self.arrivals.advance();
            let lba = Lba(self.addresses.below(self.places) * self.blocks_per_read);
            self.offered += 1;
            if self.measure.gone || self.queue.len() == self.config.queue_max {
                self.refused += 1;
            } else {
                self.queue.push_back(Waiting { intended, lba });
            }
        }
        if self.measure.gone {
            self.refused += self.queue.len() as u64;
            self.queue.clear();
        }
    }

    fn submit(&mut self, now: Mono) {
        while let Some(&Waiting { intended, lba }) = self.queue.front() {
            let Some(buf) = self.bufs.pop() else { return };
            let free = self.slots.iter().position(Option::is_none);
            let slot = free.expect("as many slots as buffers");
            let request = Request { tag: Tag(slot as u64), op: Op::Read { lba, buf } };
            if let Err(request) = self.device.submit(now, request) {
                // Its queue is shorter than it said: the read keeps its place.
                self.bufs.push(request.op.into_buf().expect("a read has a buffer"));
                return;
            }
            self.queue.pop_front();
            self.slots[slot] = Some(Flight { intended, submitted: now, lba });
            self.busy_since.get_or_insert(now);
        }
    }

    /// The load is over: what waits is left over; what the device holds may still come.
    pub(crate) fn stop(&mut self) {
        self.left_over += self.queue.len() as u64;
        self.queue.clear();
    }

    pub(crate) fn is_idle(&self) -> bool {
        self.device.inflight() == 0
    }

    /// Closes the books.
    pub(crate) fn end(&mut self, now: Mono) -> Arrived {
        if let Some(since) = self.busy_since.take() {
            self.busy += now.since(since);
        }
        let arrived = Arrived {
            offered: self.offered,
            reads: self.measure.reads(),
            errors: self.measure.errors,
            refused: self.refused,
            left_over: self.left_over,
            unanswered: self.device.inflight() as u64,
        };
        let Arrived { offered, reads, errors, refused, left_over, unanswered } = arrived;
        assert_eq!(
            offered,
            reads + errors + refused + left_over + unanswered,
            "every arrival is accounted for"
        );
        arrived
    }

    /// Time during which the device held a read.
    pub(crate) fn busy(&self, now: Mono) -> Nanos {
        self.busy + self.busy_since.map_or(Nanos::ZERO, |since| now.since(since))
    }

    /// What the verdict wants to know.
    pub(crate) fn report(&self, peers: PeerGroup, now: Mono, span: Nanos) -> DiskReport {
        let oldest = self.slots.iter().flatten().map(|flight| flight.submitted).min();
        DiskReport {
            disk: self.disk,
            peers,
            blocks: self.device.geometry().blocks,
            offered_per_s: self.offered as f64 / span.as_secs_f64().max(1e-9),
            depth_max: self.slots.len() as u32,
            reads: self.measure.reads(),
            errors: self.measure.errors,
            gone: self.measure.gone,
            unanswered: oldest.map_or(Nanos::ZERO, |submitted| now.since(submitted)),
            service: self.measure.quantiles(),
            windows: self.measure.windows.clone(),
            slowest: self.measure.slowest(),
            failed: self.measure.failed.clone(),
            coverage: self.measure.coverage.clone(),
        }
    }

    /// How it stands.
    pub(crate) fn progress(&self, now: Mono, since_start: Nanos) -> LaneProgress {
        let measure = &self.measure;
        LaneProgress {
            disk: self.disk,
            reads: measure.reads(),
            errors: measure.errors,
            refused: self.refused,
            waiting: self.queue.len() + self.device.inflight(),
            response_p50: measure.response.quantile(0.5),
            response_p99: measure.response.quantile(0.99),
            service_p50: measure.service.quantile(0.5),
            busy_share: self.busy(now).as_secs_f64() / since_start.as_secs_f64().max(1e-9),
            gone: measure.gone,
        }
    }
}

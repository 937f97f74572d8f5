//! When a lane may not send although it could, and what ends it before its time.
//!
//! What must always hold: a lane without rules has none of this. The counts here are not set back
//! when measuring begins: a pause or a rate is of the load, not of what is told of it.

use std::sync::Arc;

use isotherm_seam::{Due, Mono, Nanos};
use isotherm_workload::{DepthSearch, Direction, Floor, Found, Gate, Think};

use super::order::RuleOrder;
use crate::company::{Company, SteadyKey};
use crate::failure::Trouble;

/// What who is ahead in a flow rests at least: another core can have gone on by then.
const FLOW_REST: Nanos = Nanos(20_000);
const SECOND: Nanos = Nanos::from_secs(1);

/// The rules of one lane.
pub(super) struct Rules {
    order: RuleOrder,
    company: Arc<Company>,
    think: Option<Think>,
    /// Since when it pauses.
    paused: Option<Mono>,
    floor: Option<Floor>,
    search: Option<DepthSearch>,
    /// Once full, nothing is sent before no more than this are in flight.
    low: u32,
    depth: u32,
    draining: bool,
    /// Requests that may be sent in one turn, and how many were.
    batch: u32,
    batched: u32,
    sent: u64,
    /// Requests and bytes, by direction.
    completed: [(u64, u64); 2],
    /// Those when the least rates were looked at last.
    looked_at: [(u64, u64); 2],
    flow_until: Mono,
    steady: Option<SteadyLane>,
}

struct SteadyLane {
    key: SteadyKey,
    /// When its ramp is over.
    from: Mono,
    /// Which second is counted, and since when; none during the ramp.
    second: Option<u64>,
    since: Mono,
    before: (u64, u64),
}

/// What is to be done about a lane.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Verdict {
    GoOn,
    /// It has done what it was to do.
    Done,
    /// It has failed.
    Failed(Direction, Trouble),
}

impl Rules {
    /// The rules of a lane that may have so many requests in flight; none, if it has none.
    pub(super) fn new(
        order: &RuleOrder,
        (batch, low): (Option<u32>, Option<u32>),
        depth: u32,
        company: &Arc<Company>,
    ) -> Option<Rules> {
        let mut rules = Rules {
            order: order.clone(),
            company: Arc::clone(company),
            think: Think::new(order.think, Mono::ZERO),
            paused: None,
            floor: Floor::new(order.floor, Mono::ZERO),
            search: None,
            low: low.map_or(depth, |low| low.min(depth)),
            depth,
            draining: false,
            batch: batch.unwrap_or(u32::MAX),
            batched: 0,
            sent: 0,
            completed: [(0, 0); 2],
            looked_at: [(0, 0); 2],
            flow_until: Mono::ZERO,
            steady: None,
        };
        let any = rules.think.is_some()
            || rules.floor.is_some()
            || order.target.is_some()
            || order.max_latency != [None; 2]
            || order.flow.weight > 0
            || order.steady.is_some()
            || rules.low < depth
            || batch.is_some()
            || order.past_errors != [false; 2];
        rules.start(Mono::ZERO);
        any.then_some(rules)
    }

    /// The lane starts.
    pub(super) fn start(&mut self, now: Mono) {
        self.think = Think::new(self.order.think, now);
        self.floor = Floor::new(self.order.floor, now);
        let depth = self.depth;
        self.search = self.order.target.map(|target| DepthSearch::new(target, depth, now));
        self.steady = self.order.steady.map(|(key, plan)| SteadyLane {
            key,
            from: now + plan.ramp,
            second: None,
            since: now,
            before: (0, 0),
        });
    }

    /// It takes part in its flow from now on.
    pub(super) fn join(&self) {
        let flow = &self.order.flow;
        if flow.weight > 0 {
            self.company.join_flow(flow.id, flow.weight);
        }
    }

    /// It has ended.
    pub(super) fn leave(&mut self) {
        let flow = &self.order.flow;
        if flow.weight > 0 {
            self.company.leave_flow(flow.id, flow.weight, self.sent);
        }
        if let Some(steady) = self.steady.take() {
            self.company.leave_steady(steady.key);
        }
    }

    /// A turn begins.
    pub(super) fn turn(&mut self) {
        self.batched = 0;
    }

    /// The depth that a search has come to.
    pub(super) fn found_depth(&self) -> Option<u32> {
        self.search.as_ref().map(DepthSearch::depth)
    }

    /// Whether one more may be sent, with so many in flight.
    pub(super) fn gate(&mut self, now: Mono, inflight: u32) -> Gate {
        if self.batched >= self.batch {
            return Gate::Shut(Due::Now);
        }
        if self.draining {
            if inflight > self.low {
                return Gate::Shut(Due::Idle);
            }
            self.draining = false;
        }
        if let Some(search) = &mut self.search
            && !search.may_send(now, inflight)
        {
            return Gate::Shut(Due::Idle);
        }
        if let Some(think) = &mut self.think {
            let completed = self.completed.iter().map(|(ios, _)| ios).sum();
            let gate = think.gate(now, self.sent, completed, inflight);
            if gate != Gate::Open {
                self.paused.get_or_insert(now);
                return gate;
            }
        }
        let flow = &self.order.flow;
        if flow.weight > 0 && now < self.flow_until {
            return Gate::Shut(Due::At(self.flow_until));
        }
        if flow.weight > 0 && !self.company.may_flow(flow.id, flow.weight, self.sent) {
            // As in fio, who is told to rest waits for what is in flight first.
            if inflight > 0 && flow.rest > Nanos::ZERO {
                return Gate::Shut(Due::Idle);
            }
            self.flow_until = now + flow.rest.max(FLOW_REST);
            return Gate::Shut(Due::At(self.flow_until));
        }
        Gate::Open
    }

    /// How long the pause was that has just ended, if arrivals are to leave it out.
    pub(super) fn pause_to_skip(&mut self, now: Mono) -> Option<Nanos> {
        let paused = self.paused.take()?;
        self.order.think_off_rate.then(|| now.since(paused))
    }

    /// A request was sent; now so many are in flight.
    #[inline]
    pub(super) fn sent(&mut self, inflight: u32) {
        self.sent += 1;
        self.batched += 1;
        self.draining |= inflight == self.depth && self.low < self.depth;
        let flow = &self.order.flow;
        if flow.weight > 0 {
            self.company.flowed(flow.id);
        }
    }

    /// A request of so many bytes took so long.
    #[inline]
    pub(super) fn completed(
        &mut self,
        now: Mono,
        direction: Direction,
        bytes: u64,
        took: Nanos,
    ) -> Verdict {
        let (ios, sum) = &mut self.completed[direction.index()];
        *ios += 1;
        *sum += bytes;
        if let Some(limit) = self.order.max_latency[direction.index()]
            && took > limit
        {
            return Verdict::Failed(direction, Trouble::TooLong { took, limit });
        }
        if let Some(search) = &mut self.search {
            search.completed(now, took);
            match search.check(now) {
                Found::Searching => {}
                Found::Depth => return Verdict::Done,
                Found::Unreachable => {
                    let target = search.target().latency;
                    return Verdict::Failed(direction, Trouble::Unreachable { target });
                }
            }
        }
        Verdict::GoOn
    }

    /// Looks up, ten times a second.
    pub(super) fn tick(&mut self, now: Mono) -> Verdict {
        if let Some(floor) = &mut self.floor
            && self.looked_at != self.completed
        {
            // As in fio, only when something has completed: a rate of less than one request a
            // cycle is kept too.
            self.looked_at = self.completed;
            if let Err(slow) = floor.check(now, self.completed) {
                return Verdict::Failed(slow.direction, Trouble::TooSlow(slow));
            }
        }
        let Some(steady) = &mut self.steady else { return Verdict::GoOn };
        let [reads, writes] = self.completed;
        let done = (reads.0 + writes.0, reads.1 + writes.1);
        match steady.second {
            None if now < steady.from => return Verdict::GoOn,
            None => (steady.second, steady.since, steady.before) = (Some(0), now, done),
            Some(second) if now >= steady.since + SECOND => {
                let seconds = now.since(steady.since).as_secs_f64();
                let iops = (done.0 - steady.before.0) as f64 / seconds;
                let bytes = (done.1 - steady.before.1) as f64 / seconds;
                self.company.tell_steady(steady.key, second, iops, bytes);
                (steady.second, steady.since, steady.before) = (Some(second + 1), now, done);
            }
            Some(_) => {}
        }
        if self.company.is_steady(steady.key) { Verdict::Done } else { Verdict::GoOn }
    }

    /// Whether it goes on after a failed request.
    pub(super) fn past_error(&self, direction: Direction) -> bool {
        self.order.past_errors[direction.index()]
    }
}

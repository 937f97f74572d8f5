//! What a lane is to do.

use std::sync::Arc;

use isotherm_seam::{Nanos, Persist};
use isotherm_workload::{
    ArrivalProcess, ExitPlan, FillingPlan, FloorPlan, FlowPlan, Job, LatencyTarget, QueuePlan,
    Results, ServicePlan, SizeLaw, SteadyPlan, ThinkPlan,
};

use super::CheckOrder;
use crate::company::{Company, SteadyKey};

/// What a lane is to do, with everything resolved against its devices.
#[derive(Clone, Debug)]
pub(crate) struct LaneOrder {
    /// Lengths of requests, by direction, in bytes.
    pub(crate) sizes: [SizeLaw; 2],
    /// Requests in flight.
    pub(crate) depth: u32,
    /// Share of reads, in percent: 0 writes only, 100 reads only.
    pub(crate) read_percent: u32,
    /// Arrivals by direction: an open loop if any.
    pub(crate) rates: [Option<Rate>; 2],
    /// Its requests have times of their own: an open loop too.
    pub(crate) recorded: bool,
    pub(crate) process: ArrivalProcess,
    /// What writes leave behind.
    pub(crate) filling: FillingPlan,
    /// Whether it is sealed, and what is read is checked.
    pub(crate) check: Option<CheckOrder>,
    /// When a write is durable.
    pub(crate) persist: Persist,
    /// Flush after so many writes.
    pub(crate) flush_every: Option<u64>,
    /// Flush at the end.
    pub(crate) flush_at_end: bool,
    /// Requests to send at most.
    pub(crate) ios: u64,
    /// Bytes to send at least, unless something else ends it.
    pub(crate) bytes: u64,
    /// Stop so long after measuring began.
    pub(crate) runtime: Option<Nanos>,
    /// Measure only after so long.
    pub(crate) ramp: Nanos,
    /// How its files take turns.
    pub(crate) service: ServicePlan,
    /// How requests go out and come back.
    pub(crate) queue: QueuePlan,
    /// When nothing may be sent, and what ends it.
    pub(crate) rules: RuleOrder,
    pub(crate) seed: u64,
    /// What is told of it.
    pub(crate) results: Results,
}

/// A rate of one direction, a second.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Rate {
    Requests(u64),
    Bytes(u64),
}

/// When a lane may not send, and what ends it before its time.
#[derive(Clone, Debug)]
pub(crate) struct RuleOrder {
    pub(crate) think: ThinkPlan,
    /// What would have come during a pause is left out.
    pub(crate) think_off_rate: bool,
    pub(crate) floor: FloorPlan,
    pub(crate) target: Option<LatencyTarget>,
    pub(crate) max_latency: [Option<Nanos>; 2],
    /// Go on after failed requests, by direction.
    pub(crate) past_errors: [bool; 2],
    pub(crate) flow: FlowPlan,
    pub(crate) steady: Option<(SteadyKey, SteadyPlan)>,
}

/// How a lane stands to the others.
#[derive(Clone, Debug)]
pub(crate) struct Standing {
    /// Which seat of its core it comes from.
    pub(crate) seat: usize,
    /// The job of that seat, and its group.
    pub(crate) job: usize,
    pub(crate) group: u32,
    /// Where the seat stands among all.
    pub(crate) rank: u64,
    /// So long after the run began.
    pub(crate) delay: Nanos,
    /// And when no lane of these jobs runs any more.
    pub(crate) after: Vec<usize>,
    pub(crate) exit: ExitPlan,
    pub(crate) company: Arc<Company>,
}

impl LaneOrder {
    /// The longest request, in bytes.
    pub(crate) fn io_bytes(&self) -> u32 {
        let [reads, writes] = &self.sizes;
        let longest = match self.read_percent {
            0 => writes.max(),
            100 => reads.max(),
            _ => reads.max().max(writes.max()),
        };
        longest as u32
    }

    /// The one length of all its requests, where there is but one.
    pub(crate) fn fixed(&self) -> Option<u64> {
        let [reads, writes] = self.sizes.each_ref().map(SizeLaw::fixed);
        match self.read_percent {
            0 => writes,
            100 => reads,
            _ => reads.filter(|_| reads == writes),
        }
    }

    /// Whether requests of a direction are to go out at a time, whatever completes.
    pub(crate) fn opens(&self) -> [bool; 2] {
        self.rates.map(|rate| rate.is_some() || self.recorded)
    }

    /// Whether it writes.
    pub(crate) fn writes(&self) -> bool {
        self.read_percent < 100
    }
}

impl RuleOrder {
    /// As a job has them; how steady it is, is told under this key.
    pub(crate) fn of(job: &Job, key: SteadyKey) -> RuleOrder {
        RuleOrder {
            think: job.think,
            think_off_rate: job.think_off_rate,
            floor: job.floor,
            target: job.latency_target(),
            max_latency: job.max_latency,
            past_errors: job.past_errors,
            flow: job.flow,
            steady: job.steady_plan().map(|plan| (key, plan)),
        }
    }
}

//! Lanes on a device that is hard to please, in virtual time.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use isotherm_block::Shape;
use isotherm_seam::{BlockDevice, BufPool, DeviceInfo, Geometry, Persist, PoolLayout};
use isotherm_sim::{SimClock, SimPark};
use isotherm_workload::{
    AddressPlan, Addresses, ArrivalProcess, ExitPlan, Job, LatencyTarget, Measure, QueuePlan,
    Results, ServicePlan, SizeLaw, SizeShare, SteadyPlan, ThinkPlan, Turn,
};

use super::*;
use crate::company::{Company, SteadyKey};
use crate::drive::{Onlookers, Progress, drive};
use crate::failure::Trouble;

const IO_BYTES: u32 = 4096;
const SERVICE: Nanos = Nanos::from_millis(3);

/// Takes 3 ms for each request, hands back every third submission, completes out of order,
/// and fails the test when two writes overlap.
struct Picky {
    geometry: Geometry,
    flying: Vec<(Mono, Request)>,
    submissions: u64,
    /// It takes whatever it has room for.
    calm: bool,
}

impl Picky {
    fn boxed(blocks: u64, calm: bool) -> Box<dyn BlockDevice> {
        let geometry = Shape::new(blocks * 512).geometry();
        Box::new(Picky { geometry, flying: Vec::new(), submissions: 0, calm })
    }
}

fn written(request: &Request) -> Option<(u64, u64)> {
    match &request.op {
        Op::Write { lba, buf, .. } => Some((lba.0, lba.0 + buf.len() as u64 / 512)),
        _ => None,
    }
}

impl BlockDevice for Picky {
    fn geometry(&self) -> &Geometry {
        &self.geometry
    }

    fn info(&self) -> DeviceInfo {
        let (name, driver) = ("picky".into(), "picky".into());
        DeviceInfo { name, driver, path: None, direct: None, notes: Vec::new() }
    }

    fn submit(&mut self, now: Mono, request: Request) -> Result<(), Request> {
        self.submissions += 1;
        if self.submissions.is_multiple_of(3) && !self.flying.is_empty() && !self.calm {
            return Err(request);
        }
        assert_eq!(self.geometry.check(&request.op), Ok(()));
        if let Some((start, end)) = written(&request) {
            for (from, to) in self.flying.iter().filter_map(|(_, other)| written(other)) {
                assert!(end <= from || to <= start, "{start}..{end} over {from}..{to}");
            }
        }
        assert!(self.flying.iter().all(|(_, other)| other.tag != request.tag));
        self.flying.push((now + SERVICE, request));
        Ok(())
    }

    fn poll(&mut self, now: Mono, done: &mut Vec<Completion>) -> usize {
        let before = done.len();
        for (_, request) in self.flying.extract_if(.., |(at, _)| *at <= now) {
            done.push(request.complete(Ok(())));
        }
        done[before..].reverse();
        done.len() - before
    }

    fn due(&self) -> Due {
        self.flying.iter().map(|(at, _)| Due::At(*at)).min().unwrap_or(Due::Idle)
    }

    fn inflight(&self) -> usize {
        self.flying.len()
    }
}

fn order(depth: u32, read_percent: u32, ios: u64) -> LaneOrder {
    let job = Job::new("j");
    LaneOrder {
        sizes: [SizeLaw::Fixed(u64::from(IO_BYTES)), SizeLaw::Fixed(u64::from(IO_BYTES))],
        depth,
        read_percent,
        rates: [None; 2],
        recorded: false,
        process: ArrivalProcess::Linear,
        filling: job.filling.clone(),
        check: None,
        persist: Persist::Flush,
        flush_every: None,
        flush_at_end: false,
        ios,
        bytes: u64::MAX,
        runtime: None,
        ramp: Nanos::ZERO,
        service: job.files.service.clone(),
        queue: job.queue,
        rules: RuleOrder::of(&job, SteadyKey::Lane(0)),
        seed: 5,
        results: Results::default(),
    }
}

/// Runs a lane on so many picky disks of 12 requests each.
fn run(order: LaneOrder, disks: usize, random: bool) -> Lane {
    run_on(order, disks, random, false)
}

/// As `run`, on disks that are easy to please.
fn run_calmly(order: LaneOrder, disks: usize) -> Lane {
    run_on(order, disks, true, true)
}

fn run_on(order: LaneOrder, disks: usize, random: bool, calm: bool) -> Lane {
    let pool = BufPool::new(&PoolLayout::uniform(order.io_bytes(), order.depth)).unwrap();
    let bufs = (0..order.depth).map(|_| pool.alloc(order.io_bytes() as usize).unwrap()).collect();
    let plan =
        AddressPlan { random, revisit: random, seed: 5, ..AddressPlan::in_order(Lba(4), 8, 12) };
    let disk = |_| {
        let region_bytes = 12 * u64::from(IO_BYTES);
        LaneDisk::new(Picky::boxed(100, calm), Addresses::new(&plan), None, region_bytes, &order)
    };
    let disks = (0..disks).map(disk).collect();
    let mut company = Company::new(1, 1);
    let flow = order.rules.flow;
    company.expect(0, (flow.weight > 0).then_some(flow.id));
    if let Some((key, plan)) = order.rules.steady {
        company.expect_steady(key, plan);
    }
    let standing = Standing {
        seat: 0,
        job: 0,
        group: 0,
        rank: 0,
        delay: Nanos::ZERO,
        after: Vec::new(),
        exit: ExitPlan::default(),
        company: Arc::new(company),
    };
    let lane = Lane::new(standing, order, disks, bufs, None);
    let clock = SimClock::new();
    let mut park = SimPark::new(clock.clone());
    let stop = AtomicBool::new(false);
    let progress = Progress::default();
    let result = |_: &Lane| unreachable!("nobody asks for results");
    let onlookers = Onlookers { stop: &stop, progress: &progress, result: &result };
    let (mut ended, _) = drive(vec![lane], &clock, &mut park, &onlookers, Nanos::ZERO);
    ended.pop().expect("the one lane")
}

#[test]
fn writes_never_overlap_and_none_is_lost() {
    for random in [false, true] {
        // 12 places for up to 16 writes: most draws meet one in flight.
        let lane = run(order(16, 0, 2_000), 1, random);
        assert_eq!(lane.ios(Direction::Write), 2_000);
    }
}

#[test]
fn a_full_device_is_asked_again_and_every_request_counts_once() {
    let lane = run(order(5, 60, 3_000), 3, true);
    assert_eq!(lane.ios(Direction::Read) + lane.ios(Direction::Write), 3_000);
    assert_eq!(lane.depths.level.iter().sum::<u64>(), 3_000);
    let latencies = &lane.disks[0].tallies[0].latencies;
    assert_eq!((latencies.min_ns(), latencies.max_ns()), (SERVICE.0, SERVICE.0));
    let plain = run(order(5, 100, 3_000), 1, true);
    assert_eq!(plain.ios(Direction::Read), 3_000);
    assert_eq!(plain.depths.level.iter().sum::<u64>(), 3_000);
}

#[test]
fn runtime_ends_a_lane_and_what_is_in_flight_is_counted() {
    let lane = run(
        LaneOrder { runtime: Some(Nanos::from_millis(100)), ..order(2, 100, u64::MAX) },
        1,
        true,
    );
    // 100 ms of 3 ms each, at most two at a time, some of them handed back at first.
    assert!((34..=68).contains(&lane.ios(Direction::Read)), "{}", lane.ios(Direction::Read));
    assert!(lane.elapsed() >= Nanos::from_millis(100));
    assert!(lane.elapsed() <= Nanos::from_millis(103));
}

#[test]
fn an_open_loop_sends_by_its_own_clock() {
    let rates = [Some(Rate::Requests(100)), None];
    let lane = run(LaneOrder { rates, ..order(4, 100, 50) }, 1, true);
    let tally = &lane.disks[0].tallies[0];
    let open = tally.open_loop.as_ref().unwrap();
    // The first at once, the last after 490 ms and its service.
    assert_eq!(lane.elapsed(), Nanos::from_millis(493));
    assert_eq!((open.response.max_ns(), open.lag.max_ns()), (SERVICE.0, 0));
}

#[test]
fn a_rate_of_bytes_counts_lengths() {
    let rates = [Some(Rate::Bytes(400 * 1024)), None];
    let lane = run(LaneOrder { rates, ..order(4, 100, 50) }, 1, true);
    assert_eq!(lane.elapsed(), Nanos::from_millis(493), "100 requests a second");
}

fn ruled(rules: impl FnOnce(&mut RuleOrder), order: LaneOrder) -> LaneOrder {
    let mut order = order;
    rules(&mut order.rules);
    order
}

#[test]
fn a_lane_that_thinks_waits_for_all_and_then_pauses() {
    let pause = Nanos::from_millis(10);
    let think = ThinkPlan { pause, every: Some(4), at_issue: true, ..ThinkPlan::default() };
    let lane = run_calmly(ruled(|rules| rules.think = think, order(4, 100, 40)), 1);
    // Ten rounds of four at once, each with a pause but the last.
    assert_eq!(lane.ios(Direction::Read), 40);
    assert_eq!(lane.elapsed(), Nanos::from_millis(9 * 13 + 3));
}

#[test]
fn pauses_are_left_out_of_a_rate_or_made_up_for() {
    let pause = Nanos::from_millis(95);
    let think = ThinkPlan { pause, every: Some(10), ..ThinkPlan::default() };
    let rates = [Some(Rate::Requests(200)), None];
    let took = |off: bool| {
        let rules = |rules: &mut RuleOrder| (rules.think, rules.think_off_rate) = (think, off);
        run_calmly(LaneOrder { rates, ..ruled(rules, order(1, 100, 40)) }, 1).elapsed()
    };
    // 40 requests at 200 a second are 198 ms; what three pauses hold up is made up for at 3 ms
    // each, or comes on top.
    let (made_up, left_out) = (took(false), took(true));
    assert_eq!(made_up, Nanos::from_millis(48 + 3 * 95 + 3 * 30));
    assert_eq!(left_out, Nanos::from_millis(198 + 3 * 95));
}

#[test]
fn a_full_queue_is_filled_again_from_its_low_mark_on() {
    let queue = QueuePlan { low: Some(2), ..QueuePlan::default() };
    let lane = run_calmly(LaneOrder { queue, ..order(8, 100, 800) }, 1);
    assert_eq!(lane.ios(Direction::Read), 800);
    let sent = &lane.depths.submit;
    assert_eq!(sent[2], 100, "in groups of eight: {sent:?}");
}

#[test]
fn completions_are_taken_in_groups() {
    let queue = QueuePlan { complete_min: 6, complete_max: Some(7), ..QueuePlan::default() };
    let lane = run_calmly(LaneOrder { queue, ..order(8, 100, 800) }, 1);
    assert_eq!(lane.ios(Direction::Read) + lane.ios(Direction::Write), 800);
    let taken = &lane.depths.complete;
    // The last may be fewer.
    assert!(taken[2] >= 100 && taken[1] <= 2 + 100 && taken[3] == 0, "{taken:?}");
    let queue = QueuePlan { batch: Some(2), ..QueuePlan::default() };
    let lane = run_calmly(LaneOrder { queue, ..order(8, 100, 800) }, 1);
    assert!(lane.depths.submit[2..].iter().all(|n| *n == 0), "{:?}", lane.depths.submit);
}

#[test]
fn flushes_come_after_so_many_writes_and_at_the_end() {
    let order = order(4, 0, 100);
    let lane = run(LaneOrder { flush_every: Some(10), ..order.clone() }, 1, false);
    let syncs = lane.meter.syncs.as_ref().unwrap();
    assert_eq!((lane.ios(Direction::Write), syncs.count()), (100, 9), "as in fio, none at the end");
    let at_the_end = run(LaneOrder { flush_at_end: true, ..order.clone() }, 3, false);
    assert!(at_the_end.meter.syncs.is_none() && at_the_end.is_done());
    let without = run(order, 3, false);
    assert_eq!(at_the_end.elapsed(), without.elapsed() + SERVICE, "one more, on all disks at once");
}

fn several_lengths() -> [SizeLaw; 2] {
    let share = |blocks: u64, percent| SizeShare { bytes: blocks * 512, percent };
    let law = SizeLaw::Split(vec![share(8, 50), share(16, 30), share(40, 20)]);
    [law.clone(), law]
}

#[test]
fn requests_of_several_lengths_fit_never_overlap_and_count_their_bytes() {
    for random in [false, true] {
        let sizes = several_lengths();
        let order = LaneOrder { sizes, bytes: 40 << 20, ..order(6, 50, u64::MAX) };
        let lane = run(order, 2, random);
        let bytes: u64 = Direction::ALL.map(|direction| lane.bytes(direction)).iter().sum();
        assert!(((40 << 20)..(40 << 20) + 40 * 512).contains(&bytes), "{bytes}");
        let ios: u64 = Direction::ALL.map(|direction| lane.ios(direction)).iter().sum();
        assert!((4_096..16_384).contains(&(bytes / ios)), "{}", bytes / ios);
    }
}

#[test]
fn files_are_gone_through_one_by_one_or_served_in_groups() {
    let service = |turn, ios| ServicePlan { turn, ios };
    for (plan, each) in [(service(Turn::Sequential, 1), 12), (service(Turn::RoundRobin, 6), 12)] {
        // Two whole rounds of three files of 12.
        let order = LaneOrder { service: plan, ..order(4, 30, 72) };
        let lane = run(order, 3, false);
        let counts: Vec<u64> =
            lane.disks.iter().map(|disk| disk.tallies.iter().map(Tally::ios).sum()).collect();
        assert_eq!(counts, [2 * each; 3]);
    }
}

#[test]
fn a_request_that_takes_too_long_ends_the_lane() {
    let limit = Some(Nanos::from_millis(2));
    let lane = run(ruled(|rules| rules.max_latency = [limit, None], order(2, 100, 100)), 1, true);
    let failure = lane.failure.as_ref().unwrap();
    assert_eq!(failure.errno(), 110);
    assert!(failure.to_string().contains("took 3.000 ms; max_latency is 2.000"), "{failure}");
    assert!(lane.ios(Direction::Read) <= 2);
    let fine = run(ruled(|rules| rules.max_latency = [None, limit], order(2, 100, 100)), 1, true);
    assert!(fine.failure.is_none());
}

#[test]
fn a_latency_that_is_kept_is_searched_for_up_to_the_depth() {
    let target = |ms| LatencyTarget {
        latency: Nanos::from_millis(ms),
        window: Nanos::from_millis(50),
        percent: 99.0,
        keep_running: false,
    };
    let kept =
        run(ruled(|rules| rules.target = Some(target(4)), order(16, 100, u64::MAX)), 1, true);
    assert_eq!((kept.found_depth, kept.failure.is_none()), (Some(16), true));
    let not = run(ruled(|rules| rules.target = Some(target(2)), order(16, 100, u64::MAX)), 1, true);
    assert!(matches!(not.failure.unwrap().cause, Trouble::Unreachable { .. }));
}

#[test]
fn a_lane_that_is_steady_ends() {
    let plan = SteadyPlan {
        measure: Measure::Iops,
        slope: false,
        limit: 5.0,
        percent: true,
        duration: Nanos::from_secs(4),
        ramp: Nanos::from_secs(2),
    };
    let rules = |rules: &mut RuleOrder| rules.steady = Some((SteadyKey::Lane(0), plan));
    let lane = run(ruled(rules, order(1, 100, u64::MAX)), 1, true);
    let seconds = lane.elapsed().as_secs_f64();
    assert!((6.0..6.3).contains(&seconds), "{seconds}");
    let steady = lane.standing.company.steady(SteadyKey::Lane(0));
    assert!(steady.attained() && (300.0..340.0).contains(&steady.iops_mean()), "{steady:?}");
}

#[test]
fn a_rate_below_the_least_ends_the_lane() {
    let rules = |rules: &mut RuleOrder| rules.floor.ios = [Some(400), None];
    let lane = run(ruled(rules, order(1, 100, u64::MAX)), 1, true);
    let failure = lane.failure.unwrap();
    assert!(matches!(failure.cause, Trouble::TooSlow(slow) if (300..340).contains(&slow.got)));
    assert_eq!(failure.errno(), 5);
}

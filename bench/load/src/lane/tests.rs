//! Lanes on a device that is hard to please, in virtual time.

use std::sync::atomic::AtomicBool;

use isotherm_block::Shape;
use isotherm_seam::{BufPool, DeviceInfo, Geometry, PoolLayout};
use isotherm_sim::{SimClock, SimPark};
use isotherm_workload::AddressPlan;

use super::*;
use crate::drive::{Onlookers, Progress, drive};

const IO_BYTES: u32 = 4096;
const SERVICE: Nanos = Nanos::from_millis(3);

/// Takes 3 ms for each request, hands back every third submission, completes out of order,
/// and fails the test when two writes overlap.
struct Picky {
    geometry: Geometry,
    flying: Vec<(Mono, Request)>,
    submissions: u64,
}

impl Picky {
    fn boxed(blocks: u64) -> Box<dyn BlockDevice> {
        let geometry = Shape::new(blocks * 512).geometry();
        Box::new(Picky { geometry, flying: Vec::new(), submissions: 0 })
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
        if self.submissions.is_multiple_of(3) && !self.flying.is_empty() {
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
    LaneOrder {
        io_bytes: IO_BYTES,
        depth,
        read_percent,
        rate_iops: [None; 2],
        process: ArrivalProcess::Linear,
        refill: None,
        ios,
        runtime: None,
        ramp: Nanos::ZERO,
        seed: 5,
        results: Results::default(),
    }
}

/// Runs a lane on so many picky disks of 12 requests each.
fn run(order: LaneOrder, disks: usize, random: bool) -> Lane {
    let pool = BufPool::new(&PoolLayout::uniform(IO_BYTES, order.depth)).unwrap();
    let bufs = (0..order.depth).map(|_| pool.alloc(IO_BYTES as usize).unwrap()).collect();
    let plan =
        AddressPlan { random, revisit: random, seed: 5, ..AddressPlan::in_order(Lba(4), 8, 12) };
    let disk = |_| LaneDisk::new(Picky::boxed(100), Addresses::new(&plan), &order);
    let disks = (0..disks).map(disk).collect();
    let lane = Lane::new(0, (0, 0), order, disks, bufs);
    let clock = SimClock::new();
    let mut park = SimPark::new(clock.clone());
    let stop = AtomicBool::new(false);
    let progress = Progress::default();
    let result = |_: &Lane| unreachable!("nobody asks for results");
    let onlookers = Onlookers { stop: &stop, progress: &progress, result: &result };
    let (mut ended, _) = drive(vec![lane], &clock, &mut park, &onlookers);
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
    let rate_iops = [Some(100), None];
    let lane = run(LaneOrder { rate_iops, ..order(4, 100, 50) }, 1, true);
    let tally = &lane.disks[0].tallies[0];
    let open = tally.open_loop.as_ref().unwrap();
    // The first at once, the last after 490 ms and its service.
    assert_eq!(lane.elapsed(), Nanos::from_millis(493));
    assert_eq!((open.response.max_ns(), open.lag.max_ns()), (SERVICE.0, 0));
}

//! The drive as a whole: the published figures, and what it owes its caller. All in virtual
//! time.

use isotherm_seam::{
    BufPool, Completion, Domain, Draws, Due, IoError, Lba, Mono, Nanos, Op, OpKind, Persist,
    PoolLayout, Tag,
};

use super::*;
use crate::{Memory, Null, Shape};

const CHOICE: Domain = Domain::new("test.hdd.choice");

const FULL: u64 = 24_000_000_000_000;
const SMALL: u64 = 256 << 20;
const BLOCK: u64 = 512;

fn null(options: &HddOptions, bytes: u64) -> Hdd {
    Hdd::new(Box::new(Null::new(&Shape::new(bytes))), options, 1).unwrap()
}

/// Without retries, so that a figure needs fewer samples.
fn healthy() -> HddOptions {
    HddOptions { retries: 0.0, ..HddOptions::default() }
}

fn ordered(order: Order) -> HddOptions {
    HddOptions { order, ..healthy() }
}

const AGED: Order = Order::Aged(Order::AGE_WEIGHT);

/// One device and its virtual clock.
struct Rig {
    hdd: Hdd,
    now: Mono,
    pool: BufPool,
    done: Vec<Completion>,
}

impl Rig {
    fn new(hdd: Hdd) -> Rig {
        let pool = BufPool::new(&PoolLayout::uniform(1 << 20, 64)).unwrap();
        Rig { hdd, now: Mono::ZERO, pool, done: Vec::with_capacity(64) }
    }

    fn read(&mut self, tag: u64, lba: u64, bytes: usize) {
        let op = Op::Read { lba: Lba(lba), buf: self.pool.alloc(bytes).unwrap() };
        self.submit(tag, op);
    }

    fn write(&mut self, tag: u64, lba: u64, bytes: usize, persist: Persist) {
        let op = Op::Write { lba: Lba(lba), buf: self.pool.alloc(bytes).unwrap(), persist };
        self.submit(tag, op);
    }

    fn submit(&mut self, tag: u64, op: Op) {
        self.hdd.submit(self.now, Request { tag: Tag(tag), op }).unwrap();
    }

    /// Lets time pass until something completes.
    fn wait(&mut self) -> Vec<Completion> {
        for _ in 0..1_000 {
            match self.hdd.due() {
                Due::At(at) => self.now = self.now.max(at),
                Due::Now => {}
                due => panic!("{due:?} with {} in flight", self.hdd.inflight()),
            }
            if self.hdd.poll(self.now, &mut self.done) > 0 {
                return self.done.drain(..).collect();
            }
        }
        panic!("time passes and nothing completes");
    }

    /// Waits for one request, alone in flight: how long it took.
    fn alone(&mut self) -> Nanos {
        let began = self.now;
        let done = self.wait();
        assert_eq!((done.len(), self.hdd.inflight()), (1, 0));
        assert_eq!(done[0].result, Ok(()));
        self.now.since(began)
    }

    /// Keeps `depth` requests in flight until `count` have completed; `next` says what.
    fn keep_busy(&mut self, depth: u64, count: usize, mut next: impl FnMut(&mut Rig, u64)) -> Seen {
        let start = self.now;
        let mut began = vec![start; depth as usize];
        let mut latencies = Vec::with_capacity(count);
        for tag in 0..depth {
            next(self, tag);
        }
        while latencies.len() < count {
            for completion in self.wait() {
                assert_eq!(completion.result, Ok(()));
                let tag = completion.tag;
                drop(completion);
                latencies.push(self.now.since(began[tag.0 as usize]));
                began[tag.0 as usize] = self.now;
                next(self, tag.0);
            }
        }
        let per_second = latencies.len() as f64 / self.now.since(start).as_secs_f64();
        latencies.sort();
        Seen { per_second, latencies }
    }
}

/// What a closed loop saw.
struct Seen {
    per_second: f64,
    /// Sorted.
    latencies: Vec<Nanos>,
}

impl Seen {
    fn ms(&self, quantile: f64) -> f64 {
        let at = (self.latencies.len() as f64 * quantile) as usize;
        self.latencies[at.min(self.latencies.len() - 1)].as_millis_f64()
    }
}

fn random(hdd: Hdd, kind: OpKind, depth: u64, count: usize) -> Seen {
    let mut draws = Draws::new(7, CHOICE, 0);
    let places = hdd.geometry().blocks / 8;
    Rig::new(hdd).keep_busy(depth, count, |rig, tag| {
        let lba = draws.below(places) * 8;
        match kind {
            OpKind::Write => rig.write(tag, lba, 4096, Persist::Flush),
            _ => rig.read(tag, lba, 4096),
        }
    })
}

fn random_reads(options: &HddOptions, bytes: u64, depth: u64) -> Seen {
    random(null(options, bytes), OpKind::Read, depth, 20_000)
}

/// Sequential transfers over `region_bytes` from `start_bytes` on, once: MB/s.
fn sequential(
    hdd: Hdd,
    kind: OpKind,
    depth: u64,
    io_bytes: usize,
    start_bytes: u64,
    region_bytes: u64,
) -> f64 {
    let mut lba = start_bytes / BLOCK;
    let end = (start_bytes + region_bytes) / BLOCK;
    let count = (region_bytes / io_bytes as u64 - depth) as usize;
    let seen = Rig::new(hdd).keep_busy(depth, count, |rig, tag| {
        if lba < end {
            match kind {
                OpKind::Write => rig.write(tag, lba, io_bytes, Persist::Flush),
                _ => rig.read(tag, lba, io_bytes),
            }
            lba += io_bytes as u64 / BLOCK;
        }
    });
    seen.per_second * io_bytes as f64 / 1e6
}

/// Within a range, or 2 % beyond it: chance moves a figure of these samples by up to 1 %.
fn within(figure: f64, from: f64, to: f64) {
    assert!((from * 0.98..=to * 1.02).contains(&figure), "{figure} is not in {from}..{to}");
}

#[test]
fn random_reads_come_as_fast_as_published() {
    for bytes in [FULL, SMALL] {
        for order in [Order::Sptf, AGED] {
            let iops = |depth| random_reads(&ordered(order), bytes, depth).per_second;
            within(iops(1), 85.0, 95.0);
            within(iops(3), 120.0, 128.0);
            within(iops(4), 120.0, 128.0);
            within(iops(16), 150.0, 181.0);
        }
        // Without reordering, depth gains nothing.
        let fifo = |depth| random_reads(&ordered(Order::Fifo), bytes, depth).per_second;
        within(fifo(16), fifo(1), fifo(1));
    }
}

#[test]
fn pure_shortest_first_starves_at_depth_16_and_not_at_4() {
    let tail = |order, depth| random_reads(&ordered(order), FULL, depth).ms(0.999);
    let deep = tail(Order::Sptf, 16);
    assert!((500.0..1_000.0).contains(&deep), "{deep} ms");
    let shallow = tail(Order::Sptf, 4);
    assert!(shallow < 250.0, "{shallow} ms");
    let aged = tail(AGED, 16);
    assert!(aged < 250.0, "ageing bounds the wait: {aged} ms");
}

#[test]
fn service_times_are_far_from_exponential() {
    let seen = random_reads(&healthy(), FULL, 1);
    let n = seen.latencies.len() as f64;
    let mean = seen.latencies.iter().map(|l| l.as_millis_f64()).sum::<f64>() / n;
    let square = seen.latencies.iter().map(|l| (l.as_millis_f64() - mean).powi(2)).sum::<f64>();
    let variation = (square / n).sqrt() / mean;
    assert!((0.31..0.35).contains(&variation), "{variation}");
    let formula = EXOS_X24.mean_service(4096, OpKind::Read).as_millis_f64();
    within(mean, formula, formula);
}

#[test]
fn sequential_transfers_run_at_the_rate_of_the_medium() {
    for kind in [OpKind::Read, OpKind::Write] {
        for (depth, io_bytes) in [(1, 1 << 20), (1, 256 << 10), (4, 64 << 10), (32, 128 << 10)] {
            let rate =
                |start| sequential(null(&healthy(), FULL), kind, depth, io_bytes, start, 600 << 20);
            let (outer, inner) = (rate(0), rate(FULL - (600 << 20)));
            let name = format!("{kind:?} of {io_bytes} at depth {depth}: {outer}, {inner} MB/s");
            // Writes: 64 MiB of the 600 go into the cache and no farther.
            let more = if kind == OpKind::Write { 1.13 } else { 1.01 };
            assert!((285.0 * 0.97..285.0 * more).contains(&outer), "{name}");
            assert!((0.46..0.54).contains(&(inner / outer)), "{name}");
        }
    }
}

#[test]
fn a_scaled_drive_behaves_as_the_whole_one() {
    for order in [Order::Fifo, Order::Sptf, AGED] {
        for depth in [1, 4, 16, 32] {
            let full = random_reads(&ordered(order), FULL, depth);
            for bytes in [EXOS_X24.smallest_backing_bytes(), SMALL, 10 << 30] {
                let scaled = random_reads(&ordered(order), bytes, depth);
                let ratio = scaled.per_second / full.per_second;
                let name = format!("{order:?} at depth {depth} on {bytes} bytes");
                assert!((0.98..1.02).contains(&ratio), "{name}: {ratio}");
                let tail = scaled.ms(0.99) / full.ms(0.99);
                assert!((0.92..1.08).contains(&tail), "{name}: {tail} in p99");
            }
        }
    }
    // 16 MiB are 6 tracks, hence a little farther in than the first 16 MiB of the real one.
    let rate = |bytes| sequential(null(&healthy(), bytes), OpKind::Read, 1, 1 << 20, 0, 16 << 20);
    let ratio = rate(SMALL) / rate(FULL);
    assert!((0.95..1.01).contains(&ratio), "{ratio}");
}

#[test]
fn a_drive_to_come_has_the_same_arm() {
    let options = HddOptions { profile: FUTURE_200T, ..healthy() };
    let seen = random_reads(&options, FUTURE_200T.capacity_bytes, 1);
    within(seen.per_second, 85.0, 95.0);
}

#[test]
fn without_the_cache_a_write_that_comes_late_loses_a_turn() {
    let off = HddOptions { write_cache: false, ..healthy() };
    let rate = |depth| sequential(null(&off, FULL), OpKind::Write, depth, 64 << 10, 0, 64 << 20);
    // One every turn: 64 KiB / 8.33 ms.
    within(rate(1), 7.5, 7.9);
    assert!(rate(4) > 250.0, "queued in time, it goes on: {}", rate(4));
}

#[test]
fn a_cached_write_is_answered_at_once_until_the_cache_is_full() {
    let mut rig = Rig::new(null(&healthy(), SMALL));
    rig.write(0, 0, 4096, Persist::Flush);
    let answer = rig.alone();
    within(answer.as_millis_f64(), 0.2, 0.21);
    rig.write(0, 8, 4096, Persist::Fua);
    let medium = rig.alone();
    assert!(medium > Nanos::from_millis(1), "FUA goes to the medium: {medium:?}");

    // Many random writes: as fast as the arm puts them on the medium, sorted by position.
    let seen = random(null(&healthy(), FULL), OpKind::Write, 16, 20_000);
    assert!((250.0..600.0).contains(&seen.per_second), "{}", seen.per_second);
    let off = HddOptions { write_cache: false, ..healthy() };
    let through = random(null(&off, FULL), OpKind::Write, 16, 20_000);
    within(through.per_second, 135.0, 155.0);
}

#[test]
fn a_flush_waits_for_what_is_dirty_and_for_no_more() {
    let mut rig = Rig::new(null(&healthy(), FULL));
    rig.submit(0, Op::Flush);
    assert!(rig.alone() < Nanos::from_millis(1), "nothing is dirty");
    for i in 0..20 {
        rig.write(0, i * 1_000_003 * 8, 4096, Persist::Flush);
        rig.alone();
    }
    let began = rig.now;
    rig.submit(1, Op::Flush);
    // Writes that come later do not delay it for ever.
    let mut after = 0;
    let flushed = 'flush: loop {
        rig.write(2, (after + 50) * 1_000_003 * 8, 4096, Persist::Flush);
        for done in rig.wait() {
            if done.tag == Tag(1) {
                break 'flush rig.now;
            }
        }
        after += 1;
        assert!(after < 10_000, "a flush that never ends");
    };
    let took = flushed.since(began).as_millis_f64();
    assert!((40.0..400.0).contains(&took), "20 destages took {took} ms");
}

#[test]
fn reads_do_not_starve_a_flush_nor_the_other_way_round() {
    let mut rig = Rig::new(null(&healthy(), FULL));
    let mut draws = Draws::new(3, CHOICE, 1);
    let places = rig.hdd.geometry().blocks / 8;
    for _ in 0..100 {
        rig.write(0, draws.below(places) * 8, 4096, Persist::Flush);
        rig.alone();
    }
    rig.submit(31, Op::Flush);
    for tag in 0..8 {
        rig.read(tag, draws.below(places) * 8, 4096);
    }
    let mut reads = 0;
    'flush: loop {
        for done in rig.wait() {
            if done.tag == Tag(31) {
                break 'flush;
            }
            reads += 1;
            assert!(reads < 3_000, "reads starve the flush");
            rig.read(done.tag.0, draws.below(places) * 8, 4096);
        }
    }
    assert!(reads >= 5, "the flush starves reads: {reads} in {:?}", rig.now);
}

#[test]
fn the_cache_is_cleaned_while_nobody_looks() {
    let mut rig = Rig::new(null(&healthy(), FULL));
    for i in 0..50 {
        rig.write(0, i * 1_000_003 * 8, 4096, Persist::Flush);
        rig.alone();
    }
    assert_eq!(rig.hdd.due(), Due::Idle, "nobody waits for the cache");
    rig.now = rig.now + Nanos::from_secs(2);
    rig.submit(0, Op::Flush);
    assert!(rig.alone() < Nanos::from_millis(1), "it is clean by now");
    assert_eq!(rig.hdd.drive().stats().commands, 50);
}

#[test]
fn an_idle_drive_asks_for_nothing() {
    let mut rig = Rig::new(null(&healthy(), SMALL));
    assert_eq!(rig.hdd.due(), Due::Idle);
    assert_eq!(rig.hdd.poll(Mono(5), &mut rig.done), 0);
    rig.read(0, 0, 4096);
    rig.alone();
    assert_eq!(rig.hdd.due(), Due::Idle);
}

#[test]
fn when_it_is_polled_changes_nothing() {
    // The same arrivals, polled only when it is due, and every 50 us, as a spinning core would.
    let times = |step: Option<Nanos>| {
        let mut draws = Draws::new(11, CHOICE, 2);
        let options = HddOptions { retries: 100.0, ..HddOptions::default() };
        let mut drive = Drive::new(&options, isotherm_seam::BlockSize::B512, FULL / BLOCK, 5);
        let mut now = Mono::ZERO;
        let mut done = Vec::new();
        let mut slots = 0u32;
        for i in 0..4_000 {
            let arrival = now + Nanos(draws.below(20_000_000));
            while let Some(at) = step.map(|step| now + step).filter(|at| *at < arrival) {
                now = at;
                drive.advance(now);
            }
            now = arrival;
            drive.advance(now);
            for slot in bits(drive.timed()).filter(|&slot| drive.done_at(slot) <= now) {
                done.push((drive.done_at(slot), slot));
                slots &= !(1 << slot);
            }
            for slot in bits(!slots & drive.timed()) {
                drive.release(slot);
            }
            let slot = (!slots).trailing_zeros() as usize;
            if slot >= 32 {
                continue;
            }
            slots |= 1 << slot;
            let first = draws.below(FULL / BLOCK / 8) * 8;
            let command = match i % 7 {
                0 => Command::Flush,
                1 | 2 => Command::Write { first, count: 8, through: i % 2 == 0 },
                _ => Command::Read { first, count: 8 },
            };
            drive.submit(now, slot, command);
        }
        done
    };
    let lazy = times(None);
    assert!(lazy.len() > 3_500);
    assert_eq!(lazy, times(Some(Nanos::from_micros(50))));
    assert_eq!(lazy, times(None), "the same seed, the same times");
}

#[test]
fn another_seed_turns_another_spindle() {
    let latencies = |seed| {
        let hdd = Hdd::new(Box::new(Null::new(&Shape::new(SMALL))), &healthy(), seed).unwrap();
        random(hdd, OpKind::Read, 1, 100).latencies
    };
    assert_eq!(latencies(1), latencies(1));
    assert_ne!(latencies(1), latencies(2));
}

#[test]
fn a_slow_drive_is_as_slow_as_told() {
    let normal = random_reads(&healthy(), SMALL, 1).per_second;
    let slow = HddOptions { slow: Some(Slow::always(4.0)), ..healthy() };
    let limping = random_reads(&slow, SMALL, 1).per_second;
    within(normal / limping, 3.9, 4.1);
    let rate = sequential(null(&slow, FULL), OpKind::Read, 1, 1 << 20, 0, 100 << 20);
    within(rate, 285.0 / 4.0 * 0.97, 285.0 / 4.0);
}

#[test]
fn a_weak_region_shows_in_its_tail_only() {
    let weak = HddOptions { weak: Some((0.5, 0.1)), ..healthy() };
    let mut rig = Rig::new(null(&weak, FULL));
    let blocks = rig.hdd.geometry().blocks;
    let mut draws = Draws::new(9, CHOICE, 3);
    let mut median = |from: f64| {
        let start = (blocks as f64 * from) as u64 / 8;
        let seen = rig.keep_busy(1, 1_001, |rig, tag| {
            rig.read(tag, (start + draws.below(blocks / 200)) * 8, 4096);
        });
        (seen.ms(0.25), seen.ms(0.75))
    };
    let (_, healthy) = median(0.2);
    let (low, high) = median(0.52);
    assert!(healthy < 15.0 && low < 15.0 && high > 20.0, "{healthy} {low} {high}");
}

#[test]
fn too_small_a_backing_is_refused() {
    for profile in PROFILES.iter().filter(|profile| !profile.host_managed) {
        let least = profile.smallest_backing_bytes();
        assert!(least <= 128 << 20, "{}: {least}", profile.name);
        let open =
            |bytes| Hdd::new(Box::new(Null::new(&Shape::new(bytes))), &HddOptions::of(profile), 0);
        let refused = open(least - BLOCK).err().expect("too small");
        assert_eq!(refused, OpenCause::TooSmall { bytes: least - BLOCK, needed_bytes: least });
        assert!(open(least).is_ok());
    }
}

#[test]
fn a_host_managed_drive_is_refused_over_a_device_without_zones() {
    let memory = Box::new(Null::new(&Shape::new(SMALL)));
    let cause = Hdd::new(memory, &HddOptions::of(&HC670), 0).err().expect("no zones");
    assert!(matches!(cause, OpenCause::BadSpec { .. }), "{cause}");
}

/// A device that notes what it is asked, fails what it is told to, and takes so many at once.
struct Witness {
    memory: Memory,
    geometry: Geometry,
    seen: std::rc::Rc<std::cell::RefCell<Vec<String>>>,
    room: usize,
    fail: bool,
}

impl BlockDevice for Witness {
    fn geometry(&self) -> &Geometry {
        &self.geometry
    }
    fn info(&self) -> DeviceInfo {
        self.memory.info()
    }
    fn submit(&mut self, now: Mono, request: Request) -> Result<(), Request> {
        if self.memory.inflight() >= self.room {
            return Err(request);
        }
        self.seen.borrow_mut().push(match &request.op {
            Op::Write { persist, .. } => format!("write {persist:?}"),
            op => format!("{:?}", op.kind()),
        });
        self.memory.submit(now, request)
    }
    fn poll(&mut self, now: Mono, done: &mut Vec<Completion>) -> usize {
        let before = done.len();
        let count = self.memory.poll(now, done);
        if self.fail {
            for completion in &mut done[before..] {
                completion.result = Err(IoError::Media { lba: Lba(77) });
            }
        }
        count
    }
    fn due(&self) -> Due {
        // As a kernel would: the caller has to come and see.
        if self.memory.inflight() > 0 { Due::Event } else { Due::Idle }
    }
    fn inflight(&self) -> usize {
        self.memory.inflight()
    }
}

type Log = std::rc::Rc<std::cell::RefCell<Vec<String>>>;

fn witness(volatile_cache: bool, room: usize, fail: bool) -> (Box<Witness>, Log) {
    let memory = Memory::new(&Shape::new(SMALL)).unwrap();
    let geometry = Geometry { volatile_cache, ..memory.geometry().clone() };
    let seen = Log::default();
    (Box::new(Witness { memory, geometry, seen: Log::clone(&seen), room, fail }), seen)
}

#[test]
fn durability_is_asked_for_below_as_promised_above() {
    for (write_cache, expected) in
        [(true, ["write Flush", "Flush"]), (false, ["write Fua", "Flush"])]
    {
        let (inner, seen) = witness(true, 64, false);
        let options = HddOptions { write_cache, ..healthy() };
        let mut rig = Rig::new(Hdd::new(inner, &options, 0).unwrap());
        assert_eq!(rig.hdd.geometry().volatile_cache, write_cache);
        rig.write(0, 0, 4096, Persist::Flush);
        rig.now = rig.now + Nanos::from_millis(100);
        assert_eq!(rig.hdd.poll(rig.now, &mut rig.done), 1);
        rig.submit(1, Op::Flush);
        rig.now = rig.now + Nanos::from_millis(100);
        rig.hdd.poll(rig.now, &mut rig.done);
        rig.hdd.poll(rig.now, &mut rig.done);
        assert_eq!(rig.done.len(), 2);
        assert_eq!(*seen.borrow(), expected);
    }
}

#[test]
fn a_flush_goes_down_only_when_the_cache_is_clean() {
    let (inner, seen) = witness(true, 64, false);
    let mut rig = Rig::new(Hdd::new(inner, &healthy(), 0).unwrap());
    rig.write(0, 400_000, 4096, Persist::Flush);
    rig.now = rig.now + Nanos::from_micros(300);
    rig.hdd.poll(rig.now, &mut rig.done);
    assert_eq!(rig.done.len(), 1, "the write is answered");
    rig.submit(1, Op::Flush);
    rig.hdd.poll(rig.now, &mut rig.done);
    assert_eq!(seen.borrow().len(), 1, "not before it is on the medium");
    let Due::At(at) = rig.hdd.due() else { panic!("{:?}", rig.hdd.due()) };
    rig.now = at + Nanos::from_millis(1);
    rig.hdd.poll(rig.now, &mut rig.done);
    assert_eq!(*seen.borrow(), ["write Flush", "Flush"]);
    assert_eq!(rig.hdd.due(), Due::Event, "now it is up to the device below");
    rig.hdd.poll(rig.now, &mut rig.done);
    assert_eq!(rig.done.len(), 2);
}

#[test]
fn errors_below_come_up_in_the_drives_time() {
    let (inner, _) = witness(false, 64, true);
    let mut rig = Rig::new(Hdd::new(inner, &healthy(), 0).unwrap());
    rig.read(0, 0, 4096);
    rig.hdd.poll(rig.now, &mut rig.done);
    assert!(rig.done.is_empty(), "even an error takes the arm there");
    let done = rig.wait();
    assert_eq!(done[0].result, Err(IoError::Media { lba: Lba(77) }));
    assert!(done[0].buf.is_some() && rig.now > Mono::ZERO);
}

#[test]
fn a_device_below_that_is_full_hands_the_request_back_as_it_was() {
    let (inner, _) = witness(true, 1, false);
    let off = HddOptions { write_cache: false, ..healthy() };
    let mut rig = Rig::new(Hdd::new(inner, &off, 0).unwrap());
    rig.read(0, 0, 4096);
    let buf = rig.pool.alloc(4096).unwrap();
    let op = Op::Write { lba: Lba(8), buf, persist: Persist::Flush };
    let back = rig.hdd.submit(rig.now, Request { tag: Tag(9), op }).unwrap_err();
    assert_eq!(back.tag, Tag(9));
    assert!(matches!(back.op, Op::Write { lba: Lba(8), persist: Persist::Flush, .. }));
    // A flush is taken, and waits here until there is room below.
    rig.submit(1, Op::Flush);
    rig.now = rig.now + Nanos::from_millis(50);
    rig.hdd.poll(rig.now, &mut rig.done);
    rig.hdd.poll(rig.now, &mut rig.done);
    rig.hdd.poll(rig.now, &mut rig.done);
    assert_eq!(rig.done.len(), 2);
    assert_eq!(rig.hdd.due(), Due::Idle);
}

#[test]
fn it_keeps_the_contract_over_memory() {
    let variants = [
        HddOptions::default(),
        HddOptions { depth: 1, ..HddOptions::default() },
        HddOptions { write_cache: false, order: Order::Sptf, ..HddOptions::default() },
        HddOptions { order: Order::Fifo, retries: 1_000.0, ..HddOptions::default() },
        HddOptions { profile: FUTURE_200T, slow: Some(Slow::always(3.0)), ..healthy() },
    ];
    let pool = crate::conformance::pool();
    for (seed, options) in variants.iter().enumerate() {
        let memory = Memory::new(&Shape::new(128 << 20)).unwrap();
        let mut hdd = Hdd::new(Box::new(memory), options, seed as u64).unwrap();
        crate::conformance::run(&mut hdd, &mut Awake, &pool, seed as u64);
    }
}

/// Nothing here waits for the world.
struct Awake;

impl isotherm_seam::Unpark for Awake {
    fn unpark(&self) {}
}

impl isotherm_seam::Park for Awake {
    fn park(&mut self, _: Mono, _: Option<Mono>) {
        panic!("a modelled disk over memory needs no event");
    }
    fn unparker(&self) -> std::sync::Arc<dyn isotherm_seam::Unpark> {
        std::sync::Arc::new(Awake)
    }
}

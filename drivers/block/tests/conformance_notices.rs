//! The conformance test can fail: each of these devices breaks one rule, and is found out for
//! just that.

mod bell;

use std::collections::{BTreeMap, VecDeque};
use std::panic::{AssertUnwindSafe, catch_unwind};

use bell::Bell;
use isotherm_block::conformance::{self, Crash, Expect};
use isotherm_block::zoned::Zones;
use isotherm_block::{Delay, Memory, Shape, Zoned, delay::Latency};
use isotherm_seam::{
    BlockDevice, Completion, DeviceInfo, Domain, Draws, Due, Geometry, IoError, Lba, Mono, Nanos,
    Op, OpKind, Persist, Request, Tag, ZoneId, ZoneReport,
};

/// What a device does wrong.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Defect {
    None,
    LosesAWrite,
    WritesNextDoor,
    ReadsOneBlockTooFew,
    ChangesAWritesBuffer,
    SwallowsARequest,
    CompletesAFlushTwice,
    ChangesATag,
    KeepsABuffer,
    ShortensABuffer,
    GrowsDone,
    MiscountsPoll,
    MiscountsInflight,
    IdleWithWork,
    DueTooLate,
    TakesOneMore,
    TakesOneLess,
    HandsBackAnotherTag,
    AcceptsAMisfit,
    WritesPartOfAMisfit,
    FailsNowAndThen,
    WritesAnywhereInAZone,
    ForgetsToFinish,
    ForgetsTheOpenLimit,
    ForgetsItsPointers,
}

/// What the panic says about each.
const FOUND: &[(Defect, &str)] = &[
    (Defect::LosesAWrite, "holds"),
    (Defect::WritesNextDoor, "holds"),
    (Defect::ReadsOneBlockTooFew, "holds"),
    (Defect::ChangesAWritesBuffer, "comes back as it went"),
    (Defect::SwallowsARequest, "inflight counts what is out"),
    (Defect::CompletesAFlushTwice, "exactly once"),
    (Defect::ChangesATag, "exactly once"),
    (Defect::KeepsABuffer, "the buffer comes back"),
    (Defect::ShortensABuffer, "the buffer comes back"),
    (Defect::GrowsDone, "`done` never grows"),
    (Defect::MiscountsPoll, "poll counts what it appends"),
    (Defect::MiscountsInflight, "inflight counts what is out"),
    (Defect::IdleWithWork, "idle with"),
    (Defect::DueTooLate, "was due, and it came before"),
    (Defect::TakesOneMore, "took one more"),
    (Defect::TakesOneLess, "and refused"),
    (Defect::HandsBackAnotherTag, "handed back with its tag"),
    (Defect::AcceptsAMisfit, "Write"),
    (Defect::WritesPartOfAMisfit, "what does not fit changes nothing"),
    (Defect::FailsNowAndThen, "failed"),
    (Defect::WritesAnywhereInAZone, "NotAtWritePointer"),
    (Defect::ForgetsToFinish, "Full"),
    (Defect::ForgetsTheOpenLimit, "TooManyOpen"),
    (Defect::ForgetsItsPointers, "Empty"),
];

/// A sound device with one defect.
struct Defective {
    inner: Box<dyn BlockDevice>,
    geometry: Geometry,
    defect: Defect,
    /// Counts requests, so that a defect shows now and then.
    count: u64,
    extra: Vec<Completion>,
    kinds: BTreeMap<Tag, OpKind>,
}

impl Defective {
    fn new(defect: Defect) -> Defective {
        let memory = || Box::new(Memory::new(&Shape::new(2 << 20).with_depth(16)).unwrap());
        let zones = |open_max| Zones {
            zone_bytes: 128 << 10,
            capacity_bytes: 128 << 10,
            conventional: 1,
            open_max,
        };
        let inner: Box<dyn BlockDevice> = match defect {
            Defect::WritesAnywhereInAZone
            | Defect::ForgetsToFinish
            | Defect::ForgetsItsPointers => Box::new(Zoned::new(memory(), &zones(4)).unwrap()),
            Defect::ForgetsTheOpenLimit => Box::new(Zoned::new(memory(), &zones(0)).unwrap()),
            Defect::DueTooLate => {
                let latency = Latency::Uniform(Nanos(10), Nanos(1_000));
                Box::new(Delay::new(memory(), latency, None, 1))
            }
            _ => memory(),
        };
        let mut geometry = inner.geometry().clone();
        if defect == Defect::ForgetsTheOpenLimit {
            geometry.zones.as_mut().unwrap().open_max = 4;
        }
        if matches!(defect, Defect::TakesOneMore | Defect::HandsBackAnotherTag) {
            geometry.depth_max -= 1;
        }
        if defect == Defect::TakesOneLess {
            geometry.depth_max += 1;
        }
        Defective { inner, geometry, defect, count: 0, extra: Vec::new(), kinds: BTreeMap::new() }
    }

    /// Whether the defect shows in this request.
    fn shows(&self, defect: Defect) -> bool {
        self.defect == defect && self.count.is_multiple_of(7)
    }

    /// The request as the defect has it; `None` if it is gone.
    fn mangle(&mut self, mut request: Request) -> Option<Request> {
        let fits = self.geometry.check(&request.op).is_ok();
        let zones = self.geometry.zones;
        let lose = self.shows(Defect::LosesAWrite);
        let next_door = self.shows(Defect::WritesNextDoor);
        let anywhere = self.defect == Defect::WritesAnywhereInAZone;
        let forgets_finish = self.defect == Defect::ForgetsToFinish;
        let accepts = self.defect == Defect::AcceptsAMisfit;
        let part = self.defect == Defect::WritesPartOfAMisfit;
        let forgets = self.defect == Defect::ForgetsItsPointers;
        let answer = |request: Request, extra: &mut Vec<Completion>| {
            extra.push(request.complete(Ok(())));
            None
        };
        match &mut request.op {
            Op::Write { .. } if fits && lose => return answer(request, &mut self.extra),
            Op::Write { lba, .. } if fits && next_door => {
                lba.0 = lba.0.saturating_sub(1);
            }
            Op::Write { .. } if !fits && accepts => return answer(request, &mut self.extra),
            Op::Write { lba, .. } if !fits && part && lba.0 + 1 == self.geometry.blocks => {
                self.scribble(*lba);
            }
            Op::Write { lba, .. } if fits && anywhere => {
                let zone = zones.unwrap().zone_of(*lba);
                if zones.unwrap().is_sequential(zone) {
                    return answer(request, &mut self.extra);
                }
            }
            Op::ZoneFinish { zone } if fits && forgets_finish && zone.0 > 0 => {
                return answer(request, &mut self.extra);
            }
            Op::ZoneReport { buf, .. } if forgets && buf.len() == ZoneReport::ENTRY_BYTES => {
                let zone = ZoneId(zones.unwrap().zones - 1);
                request.op = match std::mem::replace(&mut request.op, Op::Flush) {
                    Op::ZoneReport { buf, .. } => Op::ZoneReport { zone, buf },
                    _ => unreachable!(),
                };
            }
            _ => {}
        }
        Some(request)
    }

    /// Writes the last block behind the submitter's back.
    fn scribble(&mut self, lba: Lba) {
        let pool = conformance::pool();
        let buf = pool.alloc(512).unwrap();
        let op = Op::Write { lba, buf, persist: Persist::Flush };
        self.inner.submit(Mono(0), Request { tag: Tag(0), op }).unwrap();
        let mut done = Vec::with_capacity(1);
        self.inner.poll(Mono(u64::MAX), &mut done);
        assert_eq!(done.len(), 1, "the device was idle");
    }

    fn spoil(&self, completion: &mut Completion) {
        let size = self.geometry.logical.bytes() as usize;
        let kind = self.kinds.get(&completion.tag);
        let (reads, writes) = (kind == Some(&OpKind::Read), kind == Some(&OpKind::Write));
        if let Some(buf) = completion.buf.as_mut() {
            let len = buf.len();
            match self.defect {
                Defect::ChangesAWritesBuffer if writes && len >= size => buf[size - 1] ^= 1,
                Defect::ReadsOneBlockTooFew if reads && len > size => buf[len - size..].fill(0),
                Defect::ShortensABuffer if len > size => buf.set_len(len - size),
                _ => {}
            }
        }
        match self.defect {
            Defect::ChangesATag => completion.tag.0 ^= 1,
            Defect::KeepsABuffer => completion.buf = None,
            Defect::FailsNowAndThen => completion.result = Err(IoError::TimedOut),
            _ => {}
        }
    }
}

impl BlockDevice for Defective {
    fn geometry(&self) -> &Geometry {
        &self.geometry
    }

    fn info(&self) -> DeviceInfo {
        self.inner.info().under("defective")
    }

    fn submit(&mut self, now: Mono, request: Request) -> Result<(), Request> {
        if self.defect == Defect::HandsBackAnotherTag
            && self.inner.inflight() >= self.geometry.depth_max as usize
        {
            return Err(Request { tag: Tag(request.tag.0 ^ 1), ..request });
        }
        self.count += 1;
        self.kinds.insert(request.tag, request.op.kind());
        if self.shows(Defect::SwallowsARequest) && matches!(request.op, Op::Flush) {
            return Ok(());
        }
        match self.mangle(request) {
            Some(request) => self.inner.submit(now, request),
            None => Ok(()),
        }
    }

    fn poll(&mut self, now: Mono, done: &mut Vec<Completion>) -> usize {
        let room = done.capacity() - done.len();
        if self.defect == Defect::GrowsDone && room == 0 && self.inner.inflight() > 0 {
            done.reserve(1);
        }
        let first = done.len();
        while done.len() < done.capacity() {
            let Some(completion) = self.extra.pop() else { break };
            done.push(completion);
        }
        self.inner.poll(now, done);
        if self.defect == Defect::CompletesAFlushTwice {
            for completion in done[first..].iter().filter(|c| c.buf.is_none()) {
                let tag = completion.tag;
                self.extra.push(Completion { tag, buf: None, result: completion.result });
            }
        }
        let count = done.len() - first;
        if self.count.is_multiple_of(5) {
            done[first..].iter_mut().for_each(|completion| self.spoil(completion));
        }
        if self.defect == Defect::MiscountsPoll { count / 2 } else { count }
    }

    fn due(&self) -> Due {
        match (self.defect, self.inner.due()) {
            (Defect::IdleWithWork, _) => Due::Idle,
            (Defect::DueTooLate, Due::At(time)) => Due::At(time + Nanos(50)),
            (Defect::CompletesAFlushTwice, due) => due,
            _ if !self.extra.is_empty() => Due::Now,
            (_, due) => due,
        }
    }

    fn inflight(&self) -> usize {
        let miscounted = usize::from(self.defect == Defect::MiscountsInflight && self.count > 20);
        let hidden = self.defect == Defect::CompletesAFlushTwice;
        let extra = if hidden { 0 } else { self.extra.len() };
        self.inner.inflight() + extra + miscounted
    }
}

/// Runs it, and returns what it panicked with.
fn found(run: impl FnOnce()) -> Option<String> {
    let panic = catch_unwind(AssertUnwindSafe(run)).err()?;
    let text = panic.downcast_ref::<String>().cloned();
    Some(text.or_else(|| panic.downcast_ref::<&str>().map(|s| (*s).to_owned())).unwrap())
}

fn conformance_of(mut device: impl BlockDevice) -> Option<String> {
    let expect = Expect { operations: 800, ..Expect::default() };
    let pool = conformance::pool();
    found(|| conformance::run_with(&mut device, &mut Bell::default(), &pool, 7, expect))
}

#[test]
fn a_broken_device_is_found_out() {
    assert_eq!(conformance_of(Defective::new(Defect::None)), None, "nothing is wrong with it");
    for (defect, words) in FOUND {
        let found = conformance_of(Defective::new(*defect));
        let found = found.unwrap_or_else(|| panic!("{defect:?} was not noticed"));
        assert!(found.contains(words), "{defect:?} was taken for: {found}");
    }
}

/// What a disk does wrong about power.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Lie {
    None,
    FlushDoesNothing,
    FlushForgetsOneSector,
    FuaIsIgnored,
    TearsSectors,
    LosesDurableSectors,
    ForgetsInFlight,
}

/// A disk with a volatile cache, which can lose power.
struct Volatile {
    geometry: Geometry,
    lie: Lie,
    /// What each sector durably holds; `None` is unreadable.
    medium: Vec<Option<Vec<u8>>>,
    /// What was written over it since, oldest first.
    cache: BTreeMap<usize, Vec<Vec<u8>>>,
    queue: VecDeque<Request>,
}

impl Volatile {
    fn new(lie: Lie) -> Volatile {
        let shape = Shape::new(1 << 20).with_depth(8);
        let geometry = Geometry { volatile_cache: true, ..shape.geometry() };
        let medium = vec![Some(vec![0; 4096]); 256];
        Volatile { geometry, lie, medium, cache: BTreeMap::new(), queue: VecDeque::new() }
    }

    fn cache_write(&mut self, lba: Lba, bytes: &[u8], persist: Persist) {
        for (index, sector) in bytes.chunks_exact(4096).enumerate() {
            let at = lba.0 as usize / 8 + index;
            self.cache.entry(at).or_default().push(sector.to_vec());
            if persist == Persist::Fua && self.lie != Lie::FuaIsIgnored {
                self.settle(at);
            }
        }
    }

    fn settle(&mut self, sector: usize) {
        if let Some(mut versions) = self.cache.remove(&sector) {
            self.medium[sector] = versions.pop();
        }
    }

    fn execute(&mut self, mut request: Request) -> Completion {
        if let Err(misfit) = self.geometry.check(&request.op) {
            return request.complete(Err(misfit.into()));
        }
        let result = match &mut request.op {
            Op::Read { lba, buf } => {
                assert!(buf.len() == 4096, "the crash test reads sector by sector");
                let at = lba.0 as usize / 8;
                let newest = self.cache.get(&at).and_then(|versions| versions.last());
                match newest.or(self.medium[at].as_ref()) {
                    Some(bytes) => {
                        buf.copy_from_slice(bytes);
                        Ok(())
                    }
                    None => Err(IoError::Media { lba: *lba }),
                }
            }
            Op::Write { lba, buf, persist } => {
                let (lba, persist) = (*lba, *persist);
                self.cache_write(lba, buf, persist);
                Ok(())
            }
            Op::Flush => {
                let skip = usize::from(self.lie == Lie::FlushForgetsOneSector);
                let all: Vec<usize> = self.cache.keys().copied().skip(skip).collect();
                if self.lie != Lie::FlushDoesNothing {
                    all.into_iter().for_each(|sector| self.settle(sector));
                }
                Ok(())
            }
            _ => Ok(()),
        };
        request.complete(result)
    }
}

impl BlockDevice for Volatile {
    fn geometry(&self) -> &Geometry {
        &self.geometry
    }

    fn info(&self) -> DeviceInfo {
        DeviceInfo {
            name: "volatile".into(),
            driver: format!("volatile, {:?}", self.lie),
            path: None,
            direct: None,
            notes: Vec::new(),
        }
    }

    fn submit(&mut self, _: Mono, request: Request) -> Result<(), Request> {
        if self.queue.len() >= self.geometry.depth_max as usize {
            return Err(request);
        }
        self.queue.push_back(request);
        Ok(())
    }

    fn poll(&mut self, _: Mono, done: &mut Vec<Completion>) -> usize {
        let before = done.len();
        while done.len() < done.capacity() {
            let Some(request) = self.queue.pop_front() else { break };
            let completion = self.execute(request);
            done.push(completion);
        }
        done.len() - before
    }

    fn due(&self) -> Due {
        if self.queue.is_empty() { Due::Idle } else { Due::Now }
    }

    fn inflight(&self) -> usize {
        self.queue.len()
    }
}

impl Crash for Volatile {
    fn crash(&mut self, seed: u64) {
        let mut draws = Draws::new(seed, Domain::new("test.volatile"), 0);
        if self.lie != Lie::ForgetsInFlight {
            // What was under way may have reached the cache.
            for request in std::mem::take(&mut self.queue) {
                if let Op::Write { lba, buf, .. } = &request.op {
                    self.cache_write(*lba, buf, Persist::Flush);
                }
            }
        }
        for (sector, versions) in std::mem::take(&mut self.cache) {
            self.medium[sector] = match draws.below(4) {
                0 => self.medium[sector].take(),
                1 => None,
                _ if self.lie == Lie::TearsSectors => {
                    let mut torn = versions.last().unwrap().clone();
                    torn[1024..].fill(0);
                    Some(torn)
                }
                _ => Some(versions[draws.below(versions.len() as u64) as usize].clone()),
            };
        }
        if self.lie == Lie::LosesDurableSectors {
            self.medium[draws.below(96) as usize] = None;
        }
    }
}

#[test]
fn a_disk_that_lies_about_power_is_found_out() {
    let crash = |lie: Lie| {
        let pool = conformance::pool();
        let mut device = Volatile::new(lie);
        found(|| conformance::run_crash(&mut device, &mut Bell::default(), &pool, 7))
    };
    for seed in 0..8 {
        let pool = conformance::pool();
        let mut honest = Volatile::new(Lie::None);
        conformance::run_crash(&mut honest, &mut Bell::default(), &pool, seed);
    }
    for (lie, words) in [
        // What was on the disk before the test may come back too, and is as wrong.
        (Lie::FlushDoesNothing, &["was durable", "something foreign"][..]),
        (Lie::FlushForgetsOneSector, &["was durable", "something foreign"]),
        (Lie::FuaIsIgnored, &["was durable", "something foreign"]),
        (Lie::TearsSectors, &["is torn"]),
        (Lie::LosesDurableSectors, &["was durable and is unreadable"]),
        (Lie::ForgetsInFlight, &["nothing is in flight after a crash"]),
    ] {
        let found = crash(lie).unwrap_or_else(|| panic!("{lie:?} was not noticed"));
        assert!(words.iter().any(|w| found.contains(w)), "{lie:?} was taken for: {found}");
    }
}

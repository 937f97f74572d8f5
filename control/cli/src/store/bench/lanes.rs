//! The requests that are under way, and what is counted of them.
//!
//! What must always hold: a lane asks the next thing when it has its answer; a request counts in
//! the phase in which it was asked; the clock is the core's, so virtual time measures itself.

use std::cell::{Cell, RefCell};
use std::rc::Rc;

use hdrhistogram::Histogram;
use isotherm_seam::{Domain, Draws, Mono, Nanos};
use isotherm_store::{Counters, GetError, Put, PutError, Store, World};

use super::super::meter::Traffic;
use super::super::rig::Watcher;
use super::Ops;
use super::work::Work;

const LANE: Domain = Domain::new("cli.store.bench.lane");

/// Before it is asked again where something was refused for the moment.
const PAUSE: Nanos = Nanos::from_millis(1);
/// A put that finds the disk full for so long has failed.
const FULL_MAX: Nanos = Nanos::from_secs(30);

/// How it is asked.
pub(super) struct Order {
    pub(super) lanes: u32,
    pub(super) runtime: Nanos,
    /// Part of `mixed` that is gets.
    pub(super) reads: f64,
}

/// What one phase came to.
pub(super) struct Phase {
    pub(super) ops: Ops,
    /// Shards that were put beforehand, so that there is something to get; not measured.
    pub(super) loaded: u64,
    pub(super) elapsed: Nanos,
    pub(super) tally: Tally,
    pub(super) traffic: Traffic,
    pub(super) before: Counters,
    pub(super) after: Counters,
    /// Of all threads, where the system tells.
    pub(super) cpu: Option<Nanos>,
}

/// What lanes count.
pub(super) struct Tally {
    /// Nanoseconds.
    pub(super) puts: Histogram<u64>,
    pub(super) gets: Histogram<u64>,
    pub(super) put_bytes: u64,
    pub(super) get_bytes: u64,
    /// Refusals since the disk was full; the put is asked again a moment later.
    pub(super) full: u64,
    /// Requests that failed.
    pub(super) failed: u64,
    /// Gets that gave other bytes than were put.
    pub(super) wrong: u64,
    /// The first failure in words.
    pub(super) first_failure: Option<String>,
}

impl Tally {
    fn new() -> Tally {
        let histogram = || Histogram::new_with_bounds(1, 3_600_000_000_000, 3).expect("bounds");
        Tally {
            puts: histogram(),
            gets: histogram(),
            put_bytes: 0,
            get_bytes: 0,
            full: 0,
            failed: 0,
            wrong: 0,
            first_failure: None,
        }
    }

    fn fail(&mut self, what: String) {
        self.failed += 1;
        self.first_failure.get_or_insert(what);
    }
}

/// What all lanes share.
struct Shared {
    world: World,
    store: Store,
    work: Work,
    watcher: Rc<Watcher>,
    tally: RefCell<Tally>,
    /// Shards that have been put, from the first on without a gap, when nothing is under way.
    present: Cell<u64>,
    /// The next number of those who put in order.
    next: Cell<u64>,
}

/// Runs the phases, one after the other, until one of them is stopped.
pub(super) async fn measure(
    world: &World,
    store: &Store,
    work: &Work,
    order: &Order,
    ops: &[Ops],
    watcher: &Rc<Watcher>,
) -> Vec<Phase> {
    let shared = Rc::new(Shared {
        world: world.clone(),
        store: store.clone(),
        work: work.clone(),
        watcher: Rc::clone(watcher),
        tally: RefCell::new(Tally::new()),
        present: Cell::new(0),
        next: Cell::new(0),
    });
    let mut phases = Vec::new();
    for (number, ops) in (0u64..).zip(ops.iter().copied()) {
        let mut loaded = 0;
        if ops != Ops::Put && shared.present.get() < work.shards {
            watcher.phase("putting the shards to be asked for");
            loaded = work.shards - shared.present.get();
            shared.load(order.lanes).await;
        }
        if !watcher.goes_on() {
            break;
        }
        watcher.phase(format!("measuring {}", ops.word()));
        phases.push(shared.phase(ops, number, order, loaded).await);
    }
    phases
}

impl Shared {
    /// Puts every shard that is not there yet.
    async fn load(self: &Rc<Shared>, lanes: u32) {
        self.next.set(self.present.get());
        let tasks: Vec<_> = (0..lanes)
            .map(|_| {
                let shared = Rc::clone(self);
                self.world.handle.spawn("bench.load", async move {
                    while shared.watcher.goes_on() {
                        let shard = shared.next.get();
                        if shard >= shared.work.shards {
                            return;
                        }
                        shared.next.set(shard + 1);
                        shared.put(shard, None).await;
                    }
                })
            })
            .collect();
        for task in tasks {
            task.await;
        }
        self.present.set(self.next.get().min(self.work.shards));
    }

    async fn phase(self: &Rc<Shared>, ops: Ops, number: u64, order: &Order, loaded: u64) -> Phase {
        let loading = self.tally.replace(Tally::new());
        {
            // What went wrong while it was loaded is not forgotten.
            let tally = &mut *self.tally.borrow_mut();
            (tally.failed, tally.first_failure) = (loading.failed, loading.first_failure);
        }
        self.next.set(if ops == Ops::Put { self.present.get() } else { 0 });
        let (before, traffic, cpu) =
            (self.store.status().counters, self.watcher.traffic(), cpu_time());
        let begin = self.world.handle.now();
        let end = begin + order.runtime;
        let tasks: Vec<_> = (0..order.lanes)
            .map(|lane| {
                let draws = Draws::new(self.work.seed, LANE, number << 32 | u64::from(lane));
                let shared = Rc::clone(self);
                let reads = order.reads;
                self.world.handle.spawn("bench.lane", shared.lane(ops, reads, draws, end))
            })
            .collect();
        for task in tasks {
            task.await;
        }
        let elapsed = self.world.handle.now().since(begin);
        if ops == Ops::Put {
            self.present.set(self.next.get().min(self.work.shards));
        }
        let cpu =
            cpu.zip(cpu_time()).map(|(before, after)| Nanos(after.0.saturating_sub(before.0)));
        Phase {
            ops,
            loaded,
            elapsed,
            tally: self.tally.replace(Tally::new()),
            traffic: self.watcher.traffic().since(&traffic),
            before,
            after: self.store.status().counters,
            cpu,
        }
    }

    async fn lane(self: Rc<Shared>, ops: Ops, reads: f64, mut draws: Draws, end: Mono) {
        while self.watcher.goes_on() && self.world.handle.now() < end {
            let gets = match ops {
                Ops::Put => false,
                Ops::Get => true,
                Ops::Mixed => draws.happens(reads),
            };
            if gets {
                let shard = self.work.draw(&mut draws);
                self.get(shard).await;
            } else if ops == Ops::Put {
                let shard = self.next.get();
                self.next.set(shard + 1);
                self.put(shard % self.work.shards, Some(end)).await;
            } else {
                let shard = self.work.draw(&mut draws);
                self.put(shard, Some(end)).await;
            }
        }
    }

    /// Puts a shard; asks again, until the end, where the disk is full for the moment.
    async fn put(&self, shard: u64, end: Option<Mono>) {
        let len = self.work.sizes.of(shard);
        let handle = &self.world.handle;
        let begin = handle.now();
        loop {
            let Ok(mut buf) = self.store.buffer(len as usize) else {
                handle.sleep(PAUSE).await;
                continue;
            };
            buf.piece_mut(0)[..8].copy_from_slice(&shard.to_le_bytes());
            match self.store.put(Put::new(self.work.key(shard)), buf).await {
                Ok(_) => {
                    let tally = &mut *self.tally.borrow_mut();
                    tally.puts.saturating_record(handle.now().since(begin).0);
                    tally.put_bytes += u64::from(len);
                    return;
                }
                Err(PutError::Full) => {
                    self.tally.borrow_mut().full += 1;
                    let now = handle.now();
                    if !self.watcher.goes_on() || end.is_some_and(|end| now >= end) {
                        return;
                    }
                    if now.since(begin) > FULL_MAX {
                        let what = format!("put of {}: full for 30 s", self.work.key(shard));
                        return self.tally.borrow_mut().fail(what);
                    }
                    handle.sleep(PAUSE).await;
                }
                Err(error) => {
                    let what = format!("put of {}: {error}", self.work.key(shard));
                    self.tally.borrow_mut().fail(what);
                    return handle.sleep(PAUSE).await;
                }
            }
        }
    }

    async fn get(&self, shard: u64) {
        let handle = &self.world.handle;
        let begin = handle.now();
        let answer = loop {
            match self.store.read(self.work.key(shard)).await {
                Err(GetError::Buffer(_)) => handle.sleep(PAUSE).await,
                answer => break answer,
            }
        };
        let tally = &mut *self.tally.borrow_mut();
        match answer {
            Ok(bytes) => {
                tally.gets.saturating_record(handle.now().since(begin).0);
                tally.get_bytes += bytes.len() as u64;
                let begins = bytes.pieces().next().is_some_and(|p| p[..8] == shard.to_le_bytes());
                if bytes.len() != self.work.sizes.of(shard) as usize || !begins {
                    tally.wrong += 1;
                    tally.fail(format!("get of {}: wrong bytes", self.work.key(shard)));
                }
            }
            Err(error) => tally.fail(format!("get of {}: {error}", self.work.key(shard))),
        }
    }
}

/// Processor time of all threads of this process.
fn cpu_time() -> Option<Nanos> {
    let mut total = 0;
    for task in std::fs::read_dir("/proc/self/task").ok()? {
        let text = std::fs::read_to_string(task.ok()?.path().join("schedstat")).ok()?;
        total += text.split_whitespace().next()?.parse::<u64>().ok()?;
    }
    Some(Nanos(total))
}

//! A load under way: objects are put, a schedule is run, objects are deleted.
//!
//! ```text
//! fill ─> pass (policy A) ─> pass (policy B) ─> ... ─> clear
//!          │ for each operation of the schedule:
//!          │   sleep until its time ─> wait for a place ─> a task of its own ─> next
//! ```
//!
//! What must always hold: an operation has its time from the schedule, and its response time counts
//! from there, however late it was sent. As many operations are under way as there are places;
//! those that come on top wait, are late and are counted so; those that could not be sent before
//! the end are counted as unsent. Nothing is left out silently. Every byte that is read is checked,
//! after the clock was read. The same code runs in real and in virtual time.

use std::cell::{Cell, RefCell};
use std::ops::Range;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use isotherm_reactor::Handle;
use isotherm_seam::{Mono, Nanos};

use crate::content;
use crate::ledger::Ledger;
use crate::meter::{Meter, Sight};
use crate::objects::{ObjectId, Objects, Trouble};
use crate::places::Places;
use crate::plan::{Part, Plan};
use crate::schedule::{Act, Operation, Schedule};
use crate::tally::{Kind, Moments, Tally};

/// How a load is run.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct RunConfig {
    /// Operations under way at once.
    pub under_way_max: usize,
    /// Objects put, or deleted, at once before and after the passes.
    pub fill_at_once: usize,
    /// How long the last operations of a pass are waited for.
    pub drain: Nanos,
}

impl Default for RunConfig {
    /// 256 under way, 8 for the objects; 20 s: twice the time that a client gives an operation.
    fn default() -> RunConfig {
        RunConfig { under_way_max: 256, fill_at_once: 8, drain: Nanos::from_secs(20) }
    }
}

/// Between two looks at the stop flag.
const TICK: Nanos = Nanos::from_millis(50);
/// How long operations under way are waited for after a stop.
const STOP_PATIENCE: Nanos = Nanos::from_secs(2);
/// How often a put before the passes is tried, and the pause between.
const FILL_TRIES: u32 = 5;
const FILL_PAUSE: Nanos = Nanos::from_millis(500);

/// The objects could not be put, and there is nothing to measure.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum FillError {
    /// It was stopped.
    #[error("stopped before all objects were put")]
    Stopped,
    /// An object was refused again and again.
    #[error("{object} could not be put: {trouble}")]
    Refused {
        /// Which object.
        object: ObjectId,
        /// Why, the last time.
        trouble: Trouble,
    },
}

/// What came of a pass.
#[derive(Clone, Debug)]
pub struct Pass {
    /// The policy that it ran with.
    pub policy: String,
    /// When it began.
    pub start: Mono,
    /// How long was counted: less than planned where it was stopped.
    pub counted: Nanos,
    /// It was stopped before its time.
    pub was_stopped: bool,
    /// By [`Kind`].
    pub kinds: [Tally; 3],
    /// Deletes whose time came while there was nothing to delete.
    pub idle_deletes: u64,
    /// Operations that had not come to an end when they were given up.
    pub unfinished: u64,
    /// Reads that gave other bytes than were put, or nothing although they were put.
    pub wrong: u64,
    /// The first of these.
    pub told: Vec<String>,
}

impl Pass {
    /// The operations of one kind.
    pub fn kind(&self, kind: Kind) -> &Tally {
        &self.kinds[kind as usize]
    }
}

/// What came of reading every object once.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Check {
    /// Objects that were read and are what was put, byte by byte.
    pub right: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Objects that gave other bytes, or nothing although they were put.
    pub wrong: u64,
    /// Objects that could not be read.
    pub failed: u64,
    /// The first of both, with why.
    pub told: Vec<String>,
}

/// Objects of a check that are told one by one.
const CHECK_TOLD_MAX: usize = 20;

struct Shared<O: Objects> {
    handle: Handle,
    objects: O,
    plan: Plan,
    config: RunConfig,
    ledger: RefCell<Ledger>,
    meter: RefCell<Meter>,
    places: Places,
    /// Objects put or deleted outside of passes.
    moved: Cell<u64>,
    stop: Arc<AtomicBool>,
}

/// A load. Clones are handles to the same one.
pub struct Runner<O: Objects> {
    shared: Rc<Shared<O>>,
}

impl<O: Objects> Clone for Runner<O> {
    fn clone(&self) -> Runner<O> {
        Runner { shared: Rc::clone(&self.shared) }
    }
}

impl<O: Objects + 'static> Runner<O> {
    /// A load of a plan that was checked. It ends early when `stop` is raised.
    pub fn new(
        handle: &Handle,
        objects: O,
        plan: Plan,
        config: RunConfig,
        stop: Arc<AtomicBool>,
    ) -> Runner<O> {
        let shared = Shared {
            handle: handle.clone(),
            objects,
            ledger: RefCell::new(Ledger::new(plan.objects)),
            meter: RefCell::new(Meter::new(&plan, handle.now())),
            places: Places::new(handle, config.under_way_max.max(1)),
            moved: Cell::new(0),
            plan,
            config,
            stop,
        };
        Runner { shared: Rc::new(shared) }
    }

    /// How the pass goes; rates are of the time since this was last asked.
    pub fn look(&self) -> Sight {
        let shared = &self.shared;
        shared.meter.borrow_mut().look(shared.handle.now(), shared.places.taken())
    }

    /// How many objects were put so far, or deleted, outside of passes.
    pub fn moved(&self) -> u64 {
        self.shared.moved.get()
    }

    /// Puts all objects.
    pub async fn fill(&self) -> Result<(), FillError> {
        self.shared.moved.set(0);
        let next = Rc::new(Cell::new(0));
        let error = Rc::new(Cell::new(None));
        let work = || {
            let (shared, next) = (Rc::clone(&self.shared), Rc::clone(&next));
            let error = Rc::clone(&error);
            self.shared.handle.spawn("fill", async move {
                while next.get() < shared.plan.objects && error.get().is_none() {
                    let slot = next.replace(next.get() + 1);
                    if let Err(why) = shared.fill_one(slot).await {
                        error.set(error.get().or(Some(why)));
                    }
                }
            })
        };
        let workers: Vec<_> = (0..self.shared.config.fill_at_once.max(1)).map(|_| work()).collect();
        for worker in workers {
            worker.await;
        }
        error.get().map_or(Ok(()), Err)
    }

    /// Runs the schedule with a policy.
    pub async fn pass(&self, policy: &O::Policy) -> Pass {
        let shared = &self.shared;
        let start = shared.handle.now();
        *shared.meter.borrow_mut() = Meter::new(&shared.plan, start);
        let end = start + shared.plan.whole();
        let mut stopped_at = None;
        let mut is_over = false;
        for operation in Schedule::new(&shared.plan) {
            let intended = start + operation.at;
            if stopped_at.is_none() && !is_over && !shared.wait_until(intended).await {
                stopped_at = Some(shared.handle.now());
            }
            if let Some(stopped_at) = stopped_at {
                if intended > stopped_at {
                    break;
                }
                is_over = true;
            }
            let place = if is_over { None } else { shared.place(end).await };
            match place {
                Some(place) => shared.send(operation, intended, place, policy),
                None => {
                    is_over = true;
                    if shared.stop.load(Ordering::Relaxed) {
                        stopped_at = stopped_at.or(Some(shared.handle.now()));
                    }
                    shared.meter.borrow_mut().unsent(kind_of(operation.act), intended);
                }
            }
        }
        if stopped_at.is_none() && !is_over && !shared.wait_until(end).await {
            stopped_at = Some(shared.handle.now());
        }
        let unfinished = shared.drain().await;
        let meter = shared.meter.borrow();
        let until = stopped_at.map_or(meter.until, |at| at.min(meter.until));
        Pass {
            policy: policy.to_string(),
            start,
            counted: until.since(meter.from),
            was_stopped: stopped_at.is_some(),
            kinds: meter.kinds.clone(),
            idle_deletes: meter.idle_deletes,
            unfinished: unfinished as u64,
            wrong: meter.wrong,
            told: meter.told.clone(),
        }
    }

    /// Reads every object whole, once, and holds it against what was put. A stop ends it early.
    pub async fn check(&self, policy: &O::Policy) -> Check {
        self.shared.moved.set(0);
        let next = Rc::new(Cell::new(0));
        let check: Rc<RefCell<Check>> = Rc::default();
        let work = || {
            let (shared, next) = (Rc::clone(&self.shared), Rc::clone(&next));
            let (check, policy) = (Rc::clone(&check), policy.clone());
            self.shared.handle.spawn("check", async move {
                while next.get() < shared.plan.objects && !shared.is_stopped() {
                    let slot = next.replace(next.get() + 1);
                    shared.check_one(slot, &policy, &check).await;
                }
            })
        };
        let workers: Vec<_> = (0..self.shared.config.fill_at_once.max(1)).map(|_| work()).collect();
        for worker in workers {
            worker.await;
        }
        check.take()
    }

    /// Deletes everything that was put; tells how many could not be deleted.
    pub async fn clear(&self) -> u64 {
        self.shared.moved.set(0);
        self.shared.ledger.borrow_mut().doom_all();
        let failed: Rc<RefCell<Vec<ObjectId>>> = Rc::default();
        let work = || {
            let (shared, failed) = (Rc::clone(&self.shared), Rc::clone(&failed));
            self.shared.handle.spawn("clear", async move {
                loop {
                    let doomed = shared.ledger.borrow_mut().take_doomed();
                    let Some(object) = doomed else { return };
                    match shared.objects.delete(object).await {
                        Ok(()) => shared.moved.set(shared.moved.get() + 1),
                        Err(_) => failed.borrow_mut().push(object),
                    }
                }
            })
        };
        let workers: Vec<_> = (0..self.shared.config.fill_at_once.max(1)).map(|_| work()).collect();
        for worker in workers {
            worker.await;
        }
        let failed = failed.take();
        for object in &failed {
            self.shared.ledger.borrow_mut().still_there(*object);
        }
        failed.len() as u64
    }
}

fn kind_of(act: Act) -> Kind {
    match act {
        Act::Read { .. } => Kind::Read,
        Act::Write { .. } => Kind::Write,
        Act::Delete => Kind::Delete,
    }
}

impl<O: Objects + 'static> Shared<O> {
    fn is_stopped(&self) -> bool {
        self.stop.load(Ordering::Relaxed)
    }

    fn len_bytes(&self, slot: u64) -> u64 {
        self.plan.sizes.of(self.plan.seed, slot)
    }

    async fn fill_one(&self, slot: u64) -> Result<(), FillError> {
        let mut tries = 0;
        loop {
            if self.is_stopped() {
                return Err(FillError::Stopped);
            }
            let object = self.ledger.borrow_mut().begin_write(slot);
            let bytes = content::fill(self.plan.seed, object, self.len_bytes(slot));
            match self.objects.put(object, bytes).await {
                Ok(()) => {
                    self.ledger.borrow_mut().wrote(object);
                    self.moved.set(self.moved.get() + 1);
                    return Ok(());
                }
                Err(trouble) => {
                    tries += 1;
                    if tries == FILL_TRIES {
                        return Err(FillError::Refused { object, trouble });
                    }
                    self.handle.sleep(FILL_PAUSE).await;
                }
            }
        }
    }

    async fn check_one(&self, slot: u64, policy: &O::Policy, check: &RefCell<Check>) {
        let Some(object) = self.ledger.borrow_mut().begin_read(slot) else { return };
        let range = 0..self.len_bytes(slot);
        let result = self.objects.get(object, range.clone(), policy).await;
        self.ledger.borrow_mut().end_read(object);
        self.moved.set(self.moved.get() + 1);
        let check = &mut *check.borrow_mut();
        let told = match result {
            Ok(bytes) => match content::check(self.plan.seed, object, &range, &bytes) {
                Ok(()) => {
                    check.right += 1;
                    check.bytes += bytes.len() as u64;
                    return;
                }
                Err(wrong) => {
                    check.wrong += 1;
                    wrong.to_string()
                }
            },
            Err(trouble) => {
                if trouble.is_broken_promise() {
                    check.wrong += 1;
                } else {
                    check.failed += 1;
                }
                trouble.to_string()
            }
        };
        if check.told.len() < CHECK_TOLD_MAX {
            check.told.push(format!("{object}: {told}"));
        }
    }

    /// Sleeps until then; false if it was stopped before.
    async fn wait_until(&self, at: Mono) -> bool {
        loop {
            if self.is_stopped() {
                return false;
            }
            let now = self.handle.now();
            if now >= at {
                return true;
            }
            self.handle.sleep_until(at.min(now + TICK)).await;
        }
    }

    /// A place for an operation, as soon as there is one. None if it can't be sent any more: the end
    /// has come and all places are taken, or the run was stopped.
    async fn place(&self, end: Mono) -> Option<usize> {
        loop {
            if self.is_stopped() {
                return None;
            }
            if let Some(place) = self.places.take() {
                return Some(place);
            }
            if self.handle.now() > end {
                return None;
            }
            // Either way it is looked at again.
            let _ = self.handle.timeout(TICK, self.places.changed()).await;
        }
    }

    fn send(
        self: &Rc<Self>,
        operation: Operation,
        intended: Mono,
        place: usize,
        policy: &O::Policy,
    ) {
        let (shared, policy) = (Rc::clone(self), policy.clone());
        let task = self.handle.try_spawn("operation", async move {
            shared.operate(operation, intended, &policy).await;
            shared.places.give(place);
        });
        match task {
            Ok(task) => self.places.set(place, task),
            // The core is full of others' tasks: this one is never sent, and says so.
            Err(_) => {
                self.places.give(place);
                self.meter.borrow_mut().unsent(kind_of(operation.act), intended);
            }
        }
    }

    async fn operate(&self, operation: Operation, intended: Mono, policy: &O::Policy) {
        match operation.act {
            Act::Read { slot, draw } => {
                let object = self.ledger.borrow_mut().begin_read(slot);
                let object = object.expect("a pass begins with all objects put");
                self.read(object, draw, intended, policy).await;
                self.ledger.borrow_mut().end_read(object);
            }
            Act::Write { slot } => {
                let object = self.ledger.borrow_mut().begin_write(slot);
                let len_bytes = self.len_bytes(slot);
                let bytes = content::fill(self.plan.seed, object, len_bytes);
                let begun = self.handle.now();
                let result = self.objects.put(object, bytes).await;
                let at = Moments { intended, begun, done: self.handle.now() };
                if result.is_ok() {
                    self.ledger.borrow_mut().wrote(object);
                }
                self.meter.borrow_mut().record(Kind::Write, &at, result.map(|()| len_bytes));
            }
            Act::Delete => {
                let doomed = self.ledger.borrow_mut().take_doomed();
                let Some(object) = doomed else {
                    self.meter.borrow_mut().idle_deletes += u64::from(self.counts(intended));
                    return;
                };
                let begun = self.handle.now();
                let result = self.objects.delete(object).await;
                let at = Moments { intended, begun, done: self.handle.now() };
                if result.is_err() {
                    self.ledger.borrow_mut().still_there(object);
                }
                self.meter.borrow_mut().record(Kind::Delete, &at, result.map(|()| 0));
            }
        }
    }

    async fn read(&self, object: ObjectId, draw: u64, intended: Mono, policy: &O::Policy) {
        let range = self.range(object.slot, draw);
        let begun = self.handle.now();
        let result = self.objects.get(object, range.clone(), policy).await;
        let at = Moments { intended, begun, done: self.handle.now() };
        let outcome = result.as_ref().map(|bytes| bytes.len() as u64).map_err(|trouble| *trouble);
        let mut meter = self.meter.borrow_mut();
        match result {
            Ok(bytes) => {
                if let Err(wrong) = content::check(self.plan.seed, object, &range, &bytes) {
                    meter.wrong(object, &wrong.to_string());
                }
            }
            Err(trouble) if trouble.is_broken_promise() => {
                meter.wrong(object, &trouble.to_string());
            }
            Err(_) => {}
        }
        meter.record(Kind::Read, &at, outcome);
    }

    /// The bytes of an object that a read asks for.
    fn range(&self, slot: u64, draw: u64) -> Range<u64> {
        let len_bytes = self.len_bytes(slot);
        let below = |bound: u64| ((u128::from(draw) * u128::from(bound)) >> 64) as u64;
        match self.plan.part {
            Part::Whole => 0..len_bytes,
            Part::Cell if len_bytes == 0 => 0..0,
            Part::Cell => self.objects.cell(len_bytes, below(len_bytes)),
            Part::Bytes(bytes) => {
                let from = below(len_bytes.div_ceil(bytes)) * bytes;
                from..(from + bytes).min(len_bytes)
            }
        }
    }

    fn counts(&self, intended: Mono) -> bool {
        intended >= self.meter.borrow().from
    }

    /// Waits for the last operations; ends those that take too long and tells how many.
    async fn drain(&self) -> usize {
        let patience = if self.is_stopped() { STOP_PATIENCE } else { self.config.drain };
        let mut until = self.handle.now() + patience;
        while self.places.taken() > 0 && self.handle.now() < until {
            let _ = self.handle.timeout(TICK, self.places.changed()).await;
            if self.is_stopped() {
                until = until.min(self.handle.now() + STOP_PATIENCE);
            }
        }
        self.places.end()
    }
}

//! One core: the loop that turns its disks, timers, mailboxes and tasks.
//!
//! What must always hold: a reactor is an object. It belongs to one thread, but a thread may
//! hold hundreds and turn them in any order: nothing of it is global or thread-local. It takes
//! time from its [`Clock`] and sleeps in its [`Park`], so the same loop runs on a ring and in
//! virtual time.
//!
//! ```text
//! turn: reap every disk -> sources -> timers -> mailboxes -> each task that is ready, once
//! rest: if no task is ready: spin or park until something is due
//! ```
//!
//! Devices hand what was submitted to the kernel when they are polled or parked on: once a turn.

use std::cell::{Cell, RefCell};
use std::future::Future;
use std::rc::Rc;

use isotherm_seam::{BlockDevice, Clock, Completion, Domain, Draws, Due, Mono, Nanos, Park};

use crate::beacon::Beacon;
use crate::core::Core;
use crate::idle::{Idle, Rest};
use crate::task::{Task, Tasks, WakeRef};
use crate::{Counters, Disk, Handle, Mailbox, Sender, Stall};

/// Completions taken from one disk in one turn.
const REAP_MAX: usize = 256;

const ORDER: Domain = Domain::new("reactor.order");

/// How a reactor is made.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ReactorConfig {
    /// Tasks it has room for.
    pub tasks_max: u32,
    /// The processor is this reactor's alone, so it may spin. In virtual time it must not be:
    /// time would stand still.
    pub exclusive: bool,
    /// It spins for a completion that it expects within this time.
    pub spin_max: Nanos,
    /// A task that holds the core for longer is reported.
    pub stall_after: Nanos,
    /// How a sleep is to gather several completions; `None` wakes for each.
    pub batch: Option<Batch>,
    /// In which order ready tasks run.
    pub order: Order,
}

/// A sleep that gathers completions: fewer wake-ups, each a little later. For throughput; what
/// wakes the core from another thread may then be up to `patience` late as well.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Batch {
    /// It sleeps until so many have come, or all that are in flight if those are fewer,
    pub events: u32,
    /// or until this time has passed and at least one has come.
    pub patience: Nanos,
}

/// In which order ready tasks run.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Order {
    /// As they became ready.
    Fifo,
    /// By chance, from this seed: for simulation, where no order may be relied on.
    Seeded(u64),
}

impl Default for ReactorConfig {
    /// 4,096 tasks on a shared core, in order. Spinning up to 20 µs: about what a sleep and a
    /// wake cost. A stall is 10 ms: most of a disk's service time.
    fn default() -> ReactorConfig {
        ReactorConfig {
            tasks_max: 4096,
            exclusive: false,
            spin_max: Nanos::from_micros(20),
            stall_after: Nanos::from_millis(10),
            batch: None,
            order: Order::Fifo,
        }
    }
}

/// One core.
pub struct Reactor<P, C> {
    handle: Handle,
    park: P,
    clock: C,
    idle: Idle,
    stall_after: Nanos,
    batch: Option<Batch>,
    chance: Option<Draws>,
    /// Since when time is not accounted for, and whether it was spent well.
    mark: Mono,
    worked: bool,
    /// The core's time was read since anything took long.
    is_fresh: bool,
    done: Vec<Completion>,
    foreign: Vec<WakeRef>,
}

impl<P: Park, C: Clock> Reactor<P, C> {
    /// A core that sleeps in `park` and reads `clock`.
    pub fn new(park: P, clock: C, config: ReactorConfig) -> Reactor<P, C> {
        let now = clock.mono();
        let core = Core {
            now: Cell::new(now),
            tasks: Tasks::new(config.tasks_max),
            timers: RefCell::default(),
            ports: RefCell::default(),
            sources: RefCell::default(),
            inboxes: RefCell::default(),
            beacon: Beacon::new(config.tasks_max, park.unparker()),
            counters: RefCell::default(),
            stalls: RefCell::default(),
            over: Cell::new(false),
            disks: Cell::new(0),
        };
        Reactor {
            handle: Handle { core: Rc::new(core) },
            park,
            clock,
            idle: Idle::new(config.exclusive, config.spin_max),
            stall_after: config.stall_after,
            batch: config.batch,
            chance: match config.order {
                Order::Fifo => None,
                Order::Seeded(seed) => Some(Draws::new(seed, ORDER, 0)),
            },
            mark: now,
            worked: false,
            is_fresh: false,
            done: Vec::with_capacity(REAP_MAX),
            foreign: Vec::new(),
        }
    }

    /// The core as its tasks use it.
    pub fn handle(&self) -> &Handle {
        &self.handle
    }

    /// See [`Handle::spawn`].
    pub fn spawn<T: 'static>(
        &self,
        name: &'static str,
        future: impl Future<Output = T> + 'static,
    ) -> Task<T> {
        self.handle.spawn(name, future)
    }

    /// See [`Handle::attach`].
    pub fn attach(&self, device: Box<dyn BlockDevice>) -> Disk {
        self.handle.attach(device)
    }

    /// See [`Handle::mailbox`].
    pub fn mailbox<T: Send + 'static>(&self, capacity: usize) -> (Sender<T>, Mailbox<T>) {
        self.handle.mailbox(capacity)
    }

    /// See [`Handle::counters`].
    pub fn counters(&self) -> Counters {
        self.handle.counters()
    }

    /// See [`Handle::take_stalls`].
    pub fn take_stalls(&self) -> Vec<Stall> {
        self.handle.take_stalls()
    }

    /// What it sleeps in.
    pub fn park_mut(&mut self) -> &mut P {
        &mut self.park
    }

    /// Runs until this future is done, sleeping in between.
    pub fn run<T: 'static>(&mut self, future: impl Future<Output = T> + 'static) -> T {
        let mut task = self.spawn("main", future);
        loop {
            self.go();
            if let Some(value) = task.try_take() {
                return value;
            }
            self.rest();
        }
    }

    /// After a turn: sleeps until there is something to do, or spins where that is near.
    pub fn rest(&mut self) {
        if self.core().tasks.ready() > 0 {
            return;
        }
        let now = self.core().now.get();
        let due = self.outside_due();
        let timer = self.core().timers.borrow().next();
        match self.idle.rest(now, due, timer) {
            Rest::Turn => {}
            Rest::Spin => {
                self.core().counters.borrow_mut().spins += 1;
                std::hint::spin_loop();
            }
            Rest::Park(until) => {
                self.is_fresh = false;
                self.sleep(until);
            }
        }
    }

    /// One turn, without sleep. Returns whether there was anything to do.
    pub fn turn(&mut self) -> bool {
        // Who turns it by hand may have let time pass.
        self.is_fresh = false;
        self.go()
    }

    fn go(&mut self) -> bool {
        let core = Rc::clone(&self.handle.core);
        // The clock was read after the last task, if one ran: that was moments ago.
        let now = if self.is_fresh { core.now.get() } else { self.clock.mono() };
        self.account(now);
        core.now.set(now);

        let completions = self.reap(&core, now);
        let completions = completions + Self::turn_sources(&core, now);
        if completions > 0 {
            self.idle.completed(now);
        }
        let mut timers = 0;
        loop {
            let fired = core.timers.borrow_mut().fire(now);
            let Some(wake) = fired else { break };
            timers += 1;
            if let Some(wake) = wake {
                core.wake(wake);
            }
        }
        for inbox in core.inboxes.borrow().iter() {
            if let Some(WakeRef::Local(task)) = self.keep_foreign(inbox.deliver()) {
                core.tasks.wake(task);
            }
        }
        let mut wakes = 0;
        if core.beacon.board.is_raised() {
            core.beacon.board.drain(|task| {
                wakes += 1;
                core.tasks.wake(task as u32);
            });
        }
        for wake in self.foreign.drain(..) {
            core.wake(wake);
        }

        let polls = self.run_ready(&core);

        let counters = &mut *core.counters.borrow_mut();
        counters.turns += 1;
        counters.completions += completions as u64;
        counters.timers += timers;
        counters.wakes += wakes;
        counters.polls += polls;
        self.is_fresh = polls > 0;
        self.worked = completions > 0 || polls > 0;
        self.worked
    }

    /// When a turn can next be of use. A sleep until then would be wrong where other threads
    /// send to this core: that is for [`Reactor::rest`].
    pub fn due(&self) -> Due {
        let core = self.core();
        if core.tasks.ready() > 0 || core.has_mail() {
            return Due::Now;
        }
        let timer = core.timers.borrow().next().map_or(Due::Idle, Due::At);
        self.outside_due().min(timer)
    }

    fn core(&self) -> &Core {
        &self.handle.core
    }

    fn reap(&mut self, core: &Core, now: Mono) -> usize {
        let (done, foreign) = (&mut self.done, &mut self.foreign);
        core.ports.borrow().iter().map(|port| port.turn(now, done, foreign)).sum()
    }

    fn turn_sources(core: &Core, now: Mono) -> usize {
        let mut events = 0;
        let mut index = 0;
        // Not under a borrow: whom a source wakes may add another.
        loop {
            let source = core.sources.borrow().get(index).cloned();
            let Some(source) = source else { return events };
            events += source.turn(now);
            index += 1;
        }
    }

    fn keep_foreign(&mut self, wake: Option<WakeRef>) -> Option<WakeRef> {
        match wake {
            Some(WakeRef::Foreign(waker)) => {
                self.foreign.push(WakeRef::Foreign(waker));
                None
            }
            other => other,
        }
    }

    /// Runs each task that is ready now, once: what they wake has its turn after the disks'.
    fn run_ready(&mut self, core: &Core) -> u64 {
        let mut polls = 0;
        let mut before = core.now.get();
        for _ in 0..core.tasks.ready() {
            let Some(polled) = core.tasks.poll_one(self.chance.as_mut()) else { continue };
            polls += 1;
            let after = self.clock.mono();
            core.now.set(after);
            if after.since(before) > self.stall_after {
                let stall = Stall { task: polled.name, at: after, held: after.since(before) };
                core.stalls.borrow_mut().add(stall);
                core.counters.borrow_mut().stalls += 1;
            }
            before = after;
        }
        polls
    }

    /// When a disk or another source next has something.
    fn outside_due(&self) -> Due {
        let disks = self.core().ports.borrow().iter().map(|port| port.due()).min();
        let sources = self.core().sources.borrow().iter().map(|source| source.due()).min();
        disks.into_iter().chain(sources).min().unwrap_or(Due::Idle)
    }

    fn sleep(&mut self, until: Option<Mono>) {
        let now = self.clock.mono();
        self.account(now);
        let core = Rc::clone(&self.handle.core);
        let park = &mut self.park;
        let sleep = || match self.batch {
            Some(Batch { events, patience }) => {
                let inflight: usize = core.ports.borrow().iter().map(|port| port.inflight()).sum();
                park.park_batch(now, until, events.min(inflight as u32), patience);
            }
            None => park.park(now, until),
        };
        if core.beacon.handshake.park(|| core.has_mail(), sleep) {
            core.counters.borrow_mut().parks += 1;
            self.worked = false;
            self.account(self.clock.mono());
        }
    }

    /// Books the time since the last call.
    fn account(&mut self, now: Mono) {
        let length = now.since(self.mark).0;
        self.mark = now;
        let counters = &mut *self.core().counters.borrow_mut();
        if self.worked {
            counters.busy_ns += length;
        } else {
            counters.idle_ns += length;
        }
    }
}

impl<P, C> Drop for Reactor<P, C> {
    /// Drops every task, then the disks that nobody else holds a handle to.
    fn drop(&mut self) {
        let core = &self.handle.core;
        core.over.set(true);
        core.tasks.clear();
        let ports = core.ports.take();
        drop(ports);
        let sources = core.sources.take();
        drop(sources);
        let inboxes = core.inboxes.take();
        drop(inboxes);
    }
}

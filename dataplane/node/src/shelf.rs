//! One disk of a core: being opened, open, or why not; and what its requests may hold at once.
//!
//! What must always hold: a disk that is stuck holds no more than its share of requests and of
//! payload, so its siblings have theirs; it says so and is asked no more until it moves.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;

use isotherm_reactor::{Disk, Handle};
use isotherm_seam::{Key, Mono, Nanos};
use isotherm_store::sched::{Class as DiskClass, SchedStats};
use isotherm_store::{RecoveryReport, Status, Store};
use isotherm_wire::{DiskUuid, Doubt, Failure};

use crate::Tally;
use crate::doubt::Doubted;

/// A disk of a node.
pub(crate) struct Shelf {
    pub(crate) uuid: DiskUuid,
    pub(crate) name: String,
    pub(crate) state: RefCell<State>,
    pub(crate) tally: RefCell<Tally>,
    pub(crate) doubted: Cell<Doubted>,
    /// `None` of one that could not be opened as a device.
    disk: Option<Disk>,
    /// Answers that only a damaged index gives, since it was last opened.
    index_faults: Cell<u32>,
    /// When it was last opened again for those.
    reopened: Cell<Option<Mono>>,
    /// Tombstones that need not be held from a moment on.
    releases: RefCell<VecDeque<(Mono, Key)>>,
    /// Requests under way.
    requests: Cell<u32>,
    /// Reads that are reserved and not granted.
    reserved: Cell<u32>,
    /// Payload bytes that they hold or will.
    held_bytes: Cell<u64>,
    /// When it last gave something back, or began to be asked.
    moved: Cell<Mono>,
    limits: Limits,
    handle: Handle,
}

/// Released tombstones that wait: 40 bytes each.
const RELEASES_MAX: usize = 100_000;

/// Reservations for each request that a disk may have: they hold no payload, and most of them are
/// served elsewhere.
const RESERVATIONS: u32 = 4;

/// A disk that gives so many answers that speak for a damaged index is opened again, which reads
/// the index; and not sooner than this after the last time.
const INDEX_FAULTS_MAX: u32 = 3;
const REOPEN_EVERY: Nanos = Nanos::from_secs(600);

/// What one disk's requests may hold at once.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Limits {
    pub(crate) requests: u32,
    pub(crate) bytes: u64,
    /// See [`crate::NodeConfig::stuck_after`].
    pub(crate) stuck_after: Nanos,
}

pub(crate) enum State {
    Opening,
    Open(Store, RecoveryReport),
    Failed(String),
    Closed,
}

/// A disk as a report has it.
#[derive(Clone, Debug)]
pub struct ShelfReport {
    /// The disk's own number.
    pub uuid: DiskUuid,
    /// What the node's owner calls it.
    pub name: String,
    /// How it is.
    pub state: ShelfState,
    /// Whether it may have lost what it had acknowledged.
    pub doubt: Doubt,
    /// Released tombstones that are held a while longer.
    pub releases: usize,
    /// How long it has given nothing back although something waits, if that is long.
    pub stuck: Option<Nanos>,
    /// What was asked of it.
    pub tally: Tally,
    /// Requests under way.
    pub requests: u32,
    /// Reads that are reserved and not granted, here or in the disk's queue.
    pub reserved: u32,
    /// How long a read would wait now.
    pub expected_wait: Nanos,
    /// Time that the disk has worked since it was opened.
    pub disk_time: Nanos,
    /// Of that, for appends and what belongs to them.
    pub append_time: Nanos,
}

/// How a disk is.
#[derive(Clone, PartialEq, Debug)]
pub enum ShelfState {
    /// Being opened.
    Opening,
    /// Open: what it holds, and how it was found when it was opened.
    Open(Box<(Status, RecoveryReport)>),
    /// It could not be opened, and why.
    Failed(String),
    /// Closed in good order.
    Closed,
}

impl Shelf {
    pub(crate) fn new(
        handle: &Handle,
        uuid: DiskUuid,
        name: String,
        disk: Option<Disk>,
        limits: Limits,
    ) -> Shelf {
        Shelf {
            uuid,
            name,
            state: RefCell::new(State::Opening),
            tally: RefCell::default(),
            doubted: Cell::default(),
            disk,
            index_faults: Cell::new(0),
            reopened: Cell::new(None),
            releases: RefCell::default(),
            requests: Cell::new(0),
            reserved: Cell::new(0),
            held_bytes: Cell::new(0),
            moved: Cell::new(Mono::ZERO),
            limits,
            handle: handle.clone(),
        }
    }

    /// The store, if it is open.
    pub(crate) fn store(&self) -> Result<Store, Failure> {
        match &*self.state.borrow() {
            State::Open(store, _) => Ok(store.clone()),
            State::Opening | State::Failed(_) => Err(Failure::NotOpen),
            State::Closed => Err(Failure::Stopping),
        }
    }

    /// Its device.
    pub(crate) fn disk(&self) -> Option<&Disk> {
        self.disk.as_ref()
    }

    /// Requests under way.
    pub(crate) fn requests(&self) -> u32 {
        self.requests.get()
    }

    /// It gave an answer that only a damaged index gives. True if it is to be opened again now.
    pub(crate) fn index_fault(&self) -> bool {
        let now = self.handle.now();
        self.index_faults.set(self.index_faults.get().saturating_add(1));
        let is_early = self.reopened.get().is_some_and(|last| now.since(last) < REOPEN_EVERY);
        let is_open = matches!(*self.state.borrow(), State::Open(..));
        if self.index_faults.get() < INDEX_FAULTS_MAX || is_early || !is_open {
            return false;
        }
        self.index_faults.set(0);
        self.reopened.set(Some(now));
        true
    }

    /// Room for one more request that holds so many bytes, until the claim is dropped.
    pub(crate) fn admit(&self, store: &Store, bytes: u64) -> Result<Claim<'_>, Failure> {
        let now = self.handle.now();
        if let Some(expected) = self.stuck_for(now) {
            return Err(Failure::Busy { expected });
        }
        if self.requests.get() == 0 {
            self.moved.set(now);
        }
        let requests = self.requests.get() + 1;
        let held_bytes = self.held_bytes.get() + bytes;
        if requests > self.limits.requests || held_bytes > self.limits.bytes {
            let expected = store.expected_wait(DiskClass::ForegroundRead);
            return Err(Failure::Busy { expected });
        }
        self.requests.set(requests);
        self.held_bytes.set(held_bytes);
        Ok(Claim { shelf: self, bytes })
    }

    /// The core that it is on.
    pub(crate) fn handle(&self) -> &Handle {
        &self.handle
    }

    /// Room for one more reservation, until it is granted or given up.
    pub(crate) fn reserve(&self, store: &Store) -> Result<Waits<'_>, Failure> {
        let reserved = self.reserved.get() + 1;
        if reserved > self.limits.requests.saturating_mul(RESERVATIONS) {
            let expected = store.expected_wait(DiskClass::LateRead);
            return Err(Failure::Busy { expected });
        }
        self.reserved.set(reserved);
        Ok(Waits { shelf: self })
    }

    /// How long it has given nothing back although something waits; `None` while that is not long.
    fn stuck_for(&self, now: Mono) -> Option<Nanos> {
        let still = now.since(self.moved.get());
        (self.requests.get() > 0 && still > self.limits.stuck_after).then_some(still)
    }

    /// Every member has the tombstone. It is held a while longer nevertheless, so that a put that
    /// is still on its way finds it; what there is no room for is released after the next repair.
    pub(crate) fn release(&self, key: Key, at: Mono) {
        let releases = &mut *self.releases.borrow_mut();
        if releases.len() < RELEASES_MAX {
            releases.push_back((at, key));
        }
    }

    /// Releases what is due.
    pub(crate) fn release_due(&self, store: &Store, now: Mono) {
        let releases = &mut *self.releases.borrow_mut();
        while let Some((_, key)) = releases.pop_front_if(|(at, _)| *at <= now) {
            store.release(key);
        }
    }

    pub(crate) fn report(&self) -> ShelfReport {
        let mut sched = SchedStats::default();
        let (state, expected_wait) = match &*self.state.borrow() {
            State::Opening => (ShelfState::Opening, Nanos::ZERO),
            State::Open(store, recovery) => {
                sched = store.sched_stats();
                (
                    ShelfState::Open(Box::new((store.status(), recovery.clone()))),
                    store.expected_wait(DiskClass::ForegroundRead),
                )
            }
            State::Failed(why) => (ShelfState::Failed(why.clone()), Nanos::ZERO),
            State::Closed => (ShelfState::Closed, Nanos::ZERO),
        };
        ShelfReport {
            uuid: self.uuid,
            name: self.name.clone(),
            state,
            doubt: self.doubted.get().doubt,
            releases: self.releases.borrow().len(),
            stuck: self.stuck_for(self.handle.now()),
            tally: self.tally.borrow().clone(),
            requests: self.requests.get(),
            reserved: self.reserved.get().max(sched.of(DiskClass::LateRead).waiting),
            expected_wait,
            disk_time: sched.disk_time(),
            append_time: sched.of(DiskClass::Append).disk_time,
        }
    }
}

/// A reservation's place: it holds no payload.
pub(crate) struct Waits<'a> {
    shelf: &'a Shelf,
}

impl Drop for Waits<'_> {
    fn drop(&mut self) {
        self.shelf.reserved.set(self.shelf.reserved.get() - 1);
    }
}

/// A request's share of a disk.
pub(crate) struct Claim<'a> {
    shelf: &'a Shelf,
    bytes: u64,
}

impl Drop for Claim<'_> {
    fn drop(&mut self) {
        self.shelf.moved.set(self.shelf.handle.now());
        self.shelf.requests.set(self.shelf.requests.get() - 1);
        self.shelf.held_bytes.set(self.shelf.held_bytes.get() - self.bytes);
    }
}

//! Sessions come, requests are served, all ends in good order.
//!
//! ```text
//! accept ─> session ─┬─ request ─> a task ─> disk ─> answer
//!                    └─ told: greetings
//! stop: "go away" ─> requests under way are answered ─> stores closed ─> sessions closed
//! ```
//!
//! What must always hold: requests of one session and of one disk are bounded; each is answered by
//! its deadline, whatever its disk does; a stopped node has answered what it took, or refused it.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::rc::Rc;
use std::task::Poll;

use isotherm_reactor::{Disk, Handle};
use isotherm_seam::Nanos;
use isotherm_store::{OpenError, Options, ScannedDisk, Store, World};
use isotherm_transport::{Connection, Frame, Network, Ticket};
use isotherm_wire::{
    Answer, Ask, DiskUuid, Doubt, Failure, Given, Request, ShardInfo, Told, VERSION,
};

use crate::doubt;
use crate::planted::{Bug, Planted};
use crate::reserve::{self, Reservations};
use crate::serve::{Arrived, Outcome, frame, serve};
use crate::shelf::{Limits, Shelf, ShelfReport, State};
use crate::tally::verb_of;

/// How a node is made.
#[derive(Clone, Debug)]
pub struct NodeConfig {
    /// How its stores are opened.
    pub store: Options,
    /// Requests of one disk that are under way at once.
    pub requests_max: u32,
    /// Payload bytes that those of one disk hold at once: its share of the core's buffers.
    pub held_bytes_max: u64,
    /// A tombstone that was released is held so much longer: more than a request can be on its
    /// way, so that a repair that began before the delete finds it.
    pub release_after: Nanos,
    /// A disk that has given nothing back for so long, and has something to give, is stuck: it
    /// takes no more requests until it moves.
    pub stuck_after: Nanos,
    /// Of its cluster map.
    pub map_version: u64,
    /// How long a stop waits for requests under way.
    pub stop_patience: Nanos,
    /// A deliberate bug.
    pub planted: Planted,
}

impl Default for NodeConfig {
    /// 256 requests a disk: two seconds of its time. 16 MiB of payload.
    fn default() -> NodeConfig {
        NodeConfig {
            store: Options::default(),
            requests_max: 256,
            held_bytes_max: 16 << 20,
            release_after: Nanos::from_secs(60),
            stuck_after: Nanos::from_secs(5),
            map_version: 0,
            stop_patience: Nanos::from_secs(10),
            planted: Planted::default(),
        }
    }
}

/// One core of a node. Clones are handles to the same one.
#[derive(Clone)]
pub struct Node {
    inner: Rc<Inner>,
}

struct Inner {
    world: World,
    network: Rc<dyn Network>,
    config: NodeConfig,
    shelves: RefCell<BTreeMap<DiskUuid, Rc<Shelf>>>,
    /// Sessions that are open, by number.
    sessions: RefCell<BTreeMap<u64, Session>>,
    next_session: Cell<u64>,
    /// Requests under way, over all disks.
    requests: Cell<u32>,
    stopping: Cell<bool>,
    refused: Cell<u64>,
}

/// Who asks, and what it has reserved. Clones are handles to the same one.
#[derive(Clone)]
struct Session {
    connection: Connection,
    reservations: Rc<Reservations>,
}

/// One core of a node as a report has it.
#[derive(Clone, Debug)]
pub struct NodeReport {
    /// Its disks.
    pub disks: Vec<ShelfReport>,
    /// Sessions that are open.
    pub sessions: usize,
    /// Requests under way.
    pub requests: u32,
    /// Requests that were refused because they made no sense, or the core had no room.
    pub refused: u64,
    /// It is being stopped.
    pub stopping: bool,
}

impl Node {
    /// A core without disks that takes sessions from now on.
    pub fn new(world: World, network: Rc<dyn Network>, config: NodeConfig) -> Node {
        let node = Node {
            inner: Rc::new(Inner {
                world,
                network,
                config,
                shelves: RefCell::default(),
                sessions: RefCell::default(),
                next_session: Cell::new(0),
                requests: Cell::new(0),
                stopping: Cell::new(false),
                refused: Cell::new(0),
            }),
        };
        let inner = Rc::clone(&node.inner);
        node.handle().spawn("accept", async move { inner.accept().await });
        node
    }

    fn handle(&self) -> &Handle {
        &self.inner.world.handle
    }

    /// Gives it a disk that was formatted with this number. It is opened in the background, side
    /// by side with others; until then its requests are refused.
    pub fn add_disk(&self, uuid: DiskUuid, name: &str, disk: Disk) {
        let config = &self.inner.config;
        let limits = Limits {
            requests: config.requests_max,
            bytes: config.held_bytes_max,
            stuck_after: config.stuck_after,
        };
        let name = name.to_owned();
        let shelf = Shelf::new(self.handle(), uuid, name, Some(disk.clone()), limits);
        let shelf = Rc::new(shelf);
        self.inner.shelves.borrow_mut().insert(uuid, Rc::clone(&shelf));
        let inner = Rc::clone(&self.inner);
        self.handle().spawn("open", async move {
            let state = match inner.open(&shelf, &disk).await {
                Ok(state) => state,
                Err(error) => State::Failed(error.to_string()),
            };
            *shelf.state.borrow_mut() = state;
        });
    }

    /// Gives it a disk that could not even be opened as a device, so that reports name it.
    pub fn add_failed(&self, uuid: DiskUuid, name: &str, why: &str) {
        let limits = Limits { requests: 0, bytes: 0, stuck_after: Nanos::ZERO };
        let shelf = Rc::new(Shelf::new(self.handle(), uuid, name.to_owned(), None, limits));
        *shelf.state.borrow_mut() = State::Failed(why.to_owned());
        self.inner.shelves.borrow_mut().insert(uuid, shelf);
    }

    /// Whether no disk is still being opened.
    pub fn is_settled(&self) -> bool {
        let shelves = self.inner.shelves.borrow();
        !shelves.values().any(|shelf| matches!(*shelf.state.borrow(), State::Opening))
    }

    /// How it is.
    pub fn report(&self) -> NodeReport {
        let inner = &self.inner;
        NodeReport {
            disks: inner.shelves.borrow().values().map(|shelf| shelf.report()).collect(),
            sessions: inner.sessions.borrow().len(),
            requests: inner.requests.get(),
            refused: inner.refused.get(),
            stopping: inner.stopping.get(),
        }
    }

    /// Stops: takes no more requests, answers those under way, closes its disks. A disk that does
    /// not end within the patience is left as a power cut would leave it.
    pub async fn stop(&self) {
        let inner = &self.inner;
        if inner.stopping.replace(true) {
            return;
        }
        for session in inner.sessions.borrow().values() {
            session.connection.tell(&Told::GoAway.encode());
            session.reservations.end();
        }
        let handle = self.handle();
        let until = handle.now() + inner.config.stop_patience;
        while inner.requests.get() > 0 && handle.now() < until {
            handle.sleep(Nanos::from_millis(1)).await;
        }
        let mut closing = Vec::new();
        for shelf in inner.shelves.borrow().values() {
            let state = std::mem::replace(&mut *shelf.state.borrow_mut(), State::Closed);
            match state {
                State::Open(store, _) => {
                    let patience = inner.config.stop_patience;
                    let close = handle.timeout(patience, store.close());
                    closing.push(handle.spawn("close", async move { close.await.is_ok() }));
                }
                State::Failed(why) => *shelf.state.borrow_mut() = State::Failed(why),
                State::Opening | State::Closed => {}
            }
        }
        for task in closing {
            task.await;
        }
        let sessions = std::mem::take(&mut *inner.sessions.borrow_mut());
        for session in sessions.values() {
            session.connection.close();
        }
    }
}

/// A disk that is opened again while its node runs, and can't be read then, is tried so often.
const OPENINGS_MAX: u32 = 10;
const OPENING_EVERY: Nanos = Nanos::from_secs(10);

impl Inner {
    /// Opens a disk. What is on one whose index is damaged its records say: all of it is read.
    async fn open(&self, shelf: &Shelf, disk: &Disk) -> Result<State, OpenError> {
        let (world, options) = (&self.world, &self.config.store);
        let opened = match Store::open(world, disk, options.clone()).await {
            Err(OpenError::Index | OpenError::NoCheckpoint) => {
                let scanned = ScannedDisk::scan(world, disk).await?;
                scanned.recover_by_full_scan(options.clone()).await?.start().await
            }
            opened => opened,
        };
        let (store, report) = opened?;
        let found = store.status().uuid;
        if found != shelf.uuid {
            let _ = store.close().await;
            let found = isotherm_store::uuid_text(&found);
            return Ok(State::Failed(format!("another disk is in its place: {found}")));
        }
        shelf.doubted.set(doubt::weigh(&store, &report).await);
        Ok(State::Open(store, report))
    }

    /// What a request was answered says that a run of the index can't be read: listings leave this
    /// disk out, and some deletes fail, until the index is written anew.
    fn look_at_index(self: &Rc<Inner>, shelf: &Rc<Shelf>, ask: &Ask, outcome: &Outcome) {
        let is_fault = match (ask, outcome) {
            (Ask::List { .. }, Err(Failure::Io | Failure::Damaged)) => true,
            // A shard that is damaged can be replaced and deleted, if the index has it.
            (Ask::Put { .. } | Ask::Delete { .. }, Err(Failure::Damaged)) => true,
            _ => false,
        };
        if is_fault && shelf.index_fault() {
            let (inner, shelf) = (Rc::clone(self), Rc::clone(shelf));
            let reopen = async move { inner.reopen(&shelf).await };
            let _ = self.world.handle.try_spawn("reopen", reopen);
        }
    }

    /// Ends the store of a disk and opens it again. Meanwhile its requests are refused.
    async fn reopen(&self, shelf: &Shelf) {
        let (handle, patience) = (&self.world.handle, self.config.stop_patience);
        let Some(disk) = shelf.disk() else { return };
        let state = std::mem::replace(&mut *shelf.state.borrow_mut(), State::Opening);
        let State::Open(store, _) = state else {
            *shelf.state.borrow_mut() = state;
            return;
        };
        // With such an index it can't be closed in good order, but nothing is under way then.
        let is_over = handle.timeout(patience, store.close()).await.is_ok();
        let until = handle.now() + patience;
        let is_busy = || shelf.requests() > 0 || disk.inflight() + disk.waiting() > 0;
        while is_busy() && handle.now() < until {
            handle.sleep(Nanos::from_millis(1)).await;
        }
        if !is_over || is_busy() {
            let why = "its index is damaged, and it does not come to rest: start its node anew";
            *shelf.state.borrow_mut() = State::Failed(why.to_owned());
            return;
        }
        for tries in 1.. {
            match self.open(shelf, disk).await {
                Ok(state) => return *shelf.state.borrow_mut() = state,
                Err(error @ OpenError::Walk(_)) if tries < OPENINGS_MAX => {
                    let why = error.to_string();
                    *shelf.state.borrow_mut() = State::Failed(why);
                    handle.sleep(OPENING_EVERY).await;
                }
                Err(error) => {
                    let why = error.to_string();
                    return *shelf.state.borrow_mut() = State::Failed(why);
                }
            }
        }
    }

    async fn accept(self: Rc<Inner>) {
        loop {
            let connection = std::future::poll_fn(|cx| self.network.poll_accept(cx)).await;
            let number = self.next_session.get();
            self.next_session.set(number + 1);
            let inner = Rc::clone(&self);
            let session = Session { connection, reservations: Rc::default() };
            let connection = session.connection.clone();
            let kept = session.clone();
            let serve = async move { inner.session(number, session).await };
            let has_room =
                !self.stopping.get() && self.world.handle.try_spawn("session", serve).is_ok();
            if has_room {
                self.sessions.borrow_mut().insert(number, kept);
            } else {
                self.refused.set(self.refused.get() + 1);
                connection.close();
            }
        }
    }

    async fn session(self: &Rc<Inner>, number: u64, session: Session) {
        let Session { connection, reservations } = &session;
        connection.tell(&Told::hello(self.config.map_version).encode());
        let mut told = Vec::new();
        loop {
            // `None` for a told message.
            let event = std::future::poll_fn(|cx| {
                if let Poll::Ready(told) = connection.poll_told(cx, &mut told) {
                    return Poll::Ready(told.map(|()| None));
                }
                let request = connection.poll_request(cx);
                request.map(|request| request.map(Some))
            });
            match event.await {
                Ok(Some((ticket, frame))) => self.begin(&session, ticket, frame),
                Ok(None) => {
                    if !self.hear(reservations, &told) {
                        connection.close();
                    }
                    told.clear();
                }
                Err(_) => break,
            }
        }
        reservations.end();
        self.sessions.borrow_mut().remove(&number);
    }

    /// Takes a told message; false if there is nothing to say to such a peer.
    fn hear(&self, reservations: &Reservations, told: &[u8]) -> bool {
        match Told::decode(told) {
            Ok(
                told @ (Told::Grant { .. }
                | Told::Park { .. }
                | Told::Wake { .. }
                | Told::Drop { .. }),
            ) => {
                reservations.hear(&told);
                true
            }
            Ok(Told::Hello { least, newest, .. }) => Told::agreed(least, newest).is_some(),
            // What disks say, and what says nothing to a node.
            Ok(
                Told::GoAway
                | Told::MapNews { .. }
                | Told::Claim { .. }
                | Told::Begun { .. }
                | Told::Waits { .. }
                | Told::Unknown { .. },
            ) => true,
            Err(_) => false,
        }
    }

    /// Starts on a request, or refuses it at once.
    fn begin(self: &Rc<Inner>, session: &Session, ticket: Ticket, frame: Frame) {
        let connection = &session.connection;
        let (inner, session) = (Rc::clone(self), session.clone());
        let request = async move { inner.request(session, ticket, frame).await };
        if self.world.handle.try_spawn("request", request).is_err() {
            self.refused.set(self.refused.get() + 1);
            connection.refuse(ticket);
        }
    }

    async fn request(self: Rc<Inner>, session: Session, ticket: Ticket, asked: Frame) {
        let Session { connection, reservations } = session;
        let now = self.world.handle.now();
        let (request, envelope) = match Request::decode(&asked.header) {
            Ok(request) => request,
            Err(_) => {
                self.refused.set(self.refused.get() + 1);
                let answer = Answer::failed(VERSION, Failure::BadRequest);
                return connection.answer(ticket, Frame::bare(answer.encode(0, 0)));
            }
        };
        let version = request.version;
        let failed = |failure| frame(version, Doubt::None, Err(failure));
        if self.stopping.get() {
            return connection.answer(ticket, failed(Failure::Stopping));
        }
        let Some(verb) = verb_of(&request.ask) else {
            return connection.answer(ticket, frame(version, Doubt::None, Ok(Default::default())));
        };
        let shelf = self.shelves.borrow().get(&request.disk).cloned();
        let Some(shelf) = shelf else {
            return connection.answer(ticket, failed(Failure::WrongDisk));
        };
        let store = match shelf.store() {
            Ok(store) => store,
            Err(failure) => return connection.answer(ticket, failed(failure)),
        };
        if self.config.planted.has(Bug::AckBeforeDurable)
            && let Ask::Put { key, .. } = request.ask
        {
            let given =
                Given { shard: ShardInfo { key, ..Default::default() }, ..Default::default() };
            let serving = async move {
                let arrived = Arrived { now, release_at: now };
                let _ = serve(&shelf, &store, &request, &envelope, asked.body, arrived).await;
            };
            let _ = self.world.handle.try_spawn("planted", serving);
            return connection
                .answer(ticket, frame(version, Doubt::None, Ok((given, Default::default()))));
        }
        self.requests.set(self.requests.get() + 1);
        shelf.release_due(&store, now);
        let release_at = now + self.config.release_after;
        let arrived = Arrived { now, release_at };
        let serving = async {
            match reserve::asked(&request, now) {
                Some(_) if doubt::names_own(&request.ask) => Some(Err(Failure::BadRequest)),
                Some(reserved) => {
                    let planted = self.config.planted;
                    reserve::serve(
                        &shelf,
                        &store,
                        &reservations,
                        &connection,
                        ticket,
                        reserved,
                        planted,
                    )
                    .await
                }
                None => Some(serve(&shelf, &store, &request, &envelope, asked.body, arrived).await),
            }
        };
        let mut serving = std::pin::pin!(serving);
        let in_time = match request.deadline_us {
            0 => Ok(serving.as_mut().await),
            length => {
                let length = Nanos::from_micros(u64::from(length));
                self.world.handle.timeout(length, serving.as_mut()).await
            }
        };
        let planted = self.config.planted;
        if !(matches!(in_time, Ok(Some(Err(_)))) && planted.has(Bug::FailureUncounted)) {
            self.requests.set(self.requests.get() - 1);
        }
        let Ok(outcome) = in_time else {
            // Nobody waits any more. What it holds it holds until the disk lets go, so that a disk
            // that does not is asked no more than it was.
            shelf.tally.borrow_mut().failed(Failure::Late);
            connection.answer(ticket, failed(Failure::Late));
            let _ = serving.await;
            return;
        };
        let Some(outcome) = outcome else {
            shelf.tally.borrow_mut().dropped += 1;
            return connection.refuse(ticket);
        };
        let mut tally = shelf.tally.borrow_mut();
        if !connection.is_wanted(ticket) {
            tally.unwanted += 1;
            if planted.has(Bug::BufferLeaked)
                && let Ok((_, body)) = outcome
            {
                std::mem::forget(body);
                return;
            }
        }
        self.look_at_index(&shelf, &request.ask, &outcome);
        match &outcome {
            Ok(_) => tally.done(verb, self.world.handle.now().since(now)),
            Err(failure) => tally.failed(*failure),
        }
        drop(tally);
        let doubt = shelf.doubted.get().doubt;
        connection.answer(ticket, frame(version, doubt, outcome));
    }
}

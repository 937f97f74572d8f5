//! A read that is steered: what a policy says is done, and what comes of it is told to the policy.
//!
//! ```text
//! begin ─> policy ─> acts ─> calls and told messages ─> claims, answers, alarms ─> policy ─> ...
//! ```
//!
//! What must always hold: a read ends with enough cells, or when nothing is left that could be
//! asked; what it still has under way then is taken back. A claim is answered at once, or the
//! reservation is dropped.

use std::cell::RefCell;
use std::collections::{BTreeSet, VecDeque};
use std::future::Future;
use std::ops::Range;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

use isotherm_placement::DiskNo;
use isotherm_reactor::Sleep;
use isotherm_seam::{Mono, Nanos};
use isotherm_transport::Body;
use isotherm_wire::{Ask, Begins, Doubt, Failure, Told};

use crate::ask::{Fault, Terms};
use crate::client::Inner;
use crate::error::ClientError;
use crate::layout::StripeRef;
use crate::links::Link;
use crate::policy::{Act, CellView, Event, Is, Policy, View};
use crate::read::{Piece, Reading};

/// A probe that takes longer is not waited for.
const PROBE_PATIENCE: Nanos = Nanos::from_millis(5);
/// Whoever has not said by then whether he begins at once is taken to wait.
const OFFER_PATIENCE: Nanos = Nanos::from_millis(5);

const NEVER: Mono = Mono(u64::MAX);

/// What a disk says of a reservation.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Heard {
    Claimed,
    Begun,
    Waits,
}

/// What disks said of the reservations of one read, in order, and who waits for it.
#[derive(Default)]
pub(crate) struct Inbox {
    heard: RefCell<VecDeque<(usize, Heard)>>,
    waker: RefCell<Option<Waker>>,
}

impl Inbox {
    pub(crate) fn hear(&self, cell: usize, heard: Heard) {
        self.heard.borrow_mut().push_back((cell, heard));
        if let Some(waker) = self.waker.borrow_mut().take() {
            waker.wake();
        }
    }

    fn poll(&self, cx: &mut Context<'_>) -> Option<(usize, Heard)> {
        let heard = self.heard.borrow_mut().pop_front();
        if heard.is_none() {
            *self.waker.borrow_mut() = Some(cx.waker().clone());
        }
        heard
    }
}

/// What comes of one call.
enum Outcome {
    Cell(Result<Body, Fault>),
    Probe(Nanos),
}

type Running<'a> = Pin<Box<dyn Future<Output = Outcome> + 'a>>;

/// One cell's part of a read.
struct Lane<'a> {
    disk: Option<DiskNo>,
    running: Option<Running<'a>>,
    /// Of a reservation: where it is, and by which number.
    reserved: Option<Reservation>,
    began: Mono,
    /// Since when nothing but the disk's own time is waited for, and when that is long.
    granted: Option<Mono>,
    slow_at: Mono,
    /// It was reserved in vain: from then on it is asked for as such.
    is_plain: bool,
}

/// A reservation of this client. Whatever becomes of the read, the disk hears of its end.
struct Reservation {
    link: Link,
    number: u64,
    /// An answer is coming: there is nothing to be taken back by a message.
    is_granted: bool,
    /// The disk passes it over, and finds out by itself that nobody waits for it any more.
    is_parked: bool,
}

impl Drop for Reservation {
    fn drop(&mut self) {
        self.link.claims.borrow_mut().remove(&self.number);
        if !self.is_granted && !self.is_parked {
            self.tell(&Told::Drop { number: self.number });
        }
    }
}

impl Reservation {
    /// Where more waits to be sent than the session keeps, the disk finds out by itself.
    fn tell(&self, message: &Told) {
        let _ = self.link.connection.tell(&message.encode());
    }
}

/// A read under way.
struct Steering<'a> {
    inner: &'a Inner,
    stripe: &'a StripeRef,
    columns: Range<u64>,
    terms: Terms,
    policy: &'static dyn Policy,
    view: View,
    lanes: Vec<Lane<'a>>,
    inbox: Rc<Inbox>,
    began: Mono,
    /// Rings when something may be slow, or earlier.
    alarm: Sleep,
    alarm_at: Mono,
    /// When the read as a whole is slow.
    slow_at: Mono,
    reading: Reading<'a>,
}

enum Step {
    Cell(usize, Outcome),
    Heard(usize, Heard),
    Alarm,
}

impl Inner {
    /// Reads these columns of so many cells as are needed, whichever a policy chooses. `without`
    /// are cells that are not to be used.
    pub(crate) async fn steer<'a>(
        &'a self,
        policy: &'static dyn Policy,
        stripe: &'a StripeRef,
        columns: Range<u64>,
        without: &BTreeSet<usize>,
        terms: Terms,
    ) -> Result<Reading<'a>, ClientError> {
        let now = self.handle.now();
        let view = |cell: usize| {
            let disk = self.member(stripe.group, stripe.position(cell));
            let Some(disk) = disk.filter(|_| !without.contains(&cell)) else {
                return (CellView::new(Is::Failed, true, Nanos::ZERO), None);
            };
            let addr = self.map.borrow().address(disk);
            let is_avoided = self.links.is_silent(disk)
                || addr.is_some_and(|addr| self.links.is_unsure(addr))
                || self.links.doubt(disk) != Doubt::None
                || self.paces.borrow().is_slow(disk, now);
            let load = self.loads.borrow().expected(disk, now);
            (CellView::new(Is::Idle, is_avoided, load), Some(disk))
        };
        let (cells, disks): (Vec<_>, Vec<_>) = (0..stripe.cells()).map(view).unzip();
        let lane = |disk| Lane {
            disk,
            running: None,
            reserved: None,
            began: now,
            granted: None,
            slow_at: NEVER,
            is_plain: false,
        };
        let lanes: Vec<Lane<'_>> = disks.into_iter().map(lane).collect();
        self.look_at_slow(stripe, &columns, &lanes, terms);
        let is_still = self.stillness.borrow().offers(&mut self.draws.borrow_mut());
        let mut steering = Steering {
            inner: self,
            stripe,
            columns,
            terms,
            policy,
            view: View::new(stripe.needed(), is_still, cells),
            lanes,
            inbox: Rc::default(),
            alarm: self.handle.sleep(self.hedge_after()),
            alarm_at: now + self.hedge_after(),
            slow_at: now + self.hedge_after(),
            began: now,
            reading: self.reading(stripe),
        };
        steering.run().await?;
        if steering.is_degraded() {
            self.count(|counters| counters.read_degraded += 1);
        }
        self.patience.borrow_mut().took(self.handle.now().since(now));
        let empty = self.reading(stripe);
        Ok(std::mem::replace(&mut steering.reading, empty))
    }
}

impl Inner {
    /// A cell of a slow disk that is looked at again, for nobody.
    fn look_at_slow(
        &self,
        stripe: &StripeRef,
        columns: &Range<u64>,
        lanes: &[Lane<'_>],
        terms: Terms,
    ) {
        let now = self.handle.now();
        for (cell, lane) in lanes.iter().enumerate() {
            let Some(disk) = lane.disk else { continue };
            if self.paces.borrow_mut().looks(disk, now) {
                let (stripe, columns) = (*stripe, columns.clone());
                self.in_background("look", move |inner| async move {
                    let result = inner.fetch(&stripe, cell, columns, terms).await;
                    let now_then = inner.handle.now();
                    if result.is_ok() {
                        inner.paces.borrow_mut().served(disk, now_then.since(now), now_then);
                    }
                });
            }
        }
    }
}

impl<'a> Steering<'a> {
    async fn run(&mut self) -> Result<(), ClientError> {
        self.decide(Event::Begin);
        if self.lanes.iter().any(|lane| lane.reserved.is_some()) {
            // How long it waits for claims says nothing; what counts is the time from a grant.
            self.slow_at = self.began + self.inner.config.hedge_after;
        }
        while self.reading.have.len() < self.stripe.needed() {
            let is_alive = self.lanes.iter().any(|lane| lane.running.is_some());
            if !is_alive {
                return Err(self.reading.why());
            }
            let step = std::future::poll_fn(|cx| self.poll(cx)).await;
            self.take(step)?;
        }
        Ok(())
    }

    /// Whether a cell of the data could not be had: not only did others come first.
    fn is_degraded(&self) -> bool {
        let is_lost = |cell| self.view.is_avoided(cell) || self.view.is(cell) == Is::Failed;
        let is_there = |cell| self.reading.have.contains_key(&cell);
        !self.stripe.is_copies()
            && (0..self.stripe.needed()).any(|cell| is_lost(cell) && !is_there(cell))
    }

    /// The alarm is to ring by then.
    fn set_alarm(&mut self, at: Mono) {
        if at < self.alarm_at {
            self.alarm_at = at;
            self.alarm = self.inner.handle.sleep(at.since(self.inner.handle.now()));
        }
    }

    /// From now on nothing but the disk's own time is waited for.
    fn granted(&mut self, cell: usize) {
        let now = self.inner.handle.now();
        let patience = self.inner.config.hedge_after;
        let slow_at = now + self.inner.paces.borrow().slow_after().min(patience);
        self.lanes[cell].granted = Some(now);
        self.lanes[cell].slow_at = slow_at;
        self.view.set(cell, Is::Coming);
        self.set_alarm(slow_at);
    }

    /// The alarm has rung: for how long the slowest of what is slow has been waited for, if
    /// anything is.
    fn rung(&mut self) -> Option<Nanos> {
        let now = self.inner.handle.now();
        let later = now + self.inner.config.hedge_after;
        let mut waited = None;
        let mut next = later;
        for lane in &mut self.lanes {
            let Some(granted) = lane.granted else { continue };
            if lane.slow_at <= now {
                lane.slow_at = later;
                waited = waited.max(Some(now.since(granted)));
            }
            next = next.min(lane.slow_at);
        }
        if self.slow_at <= now {
            self.slow_at = later;
            waited = waited.or(Some(now.since(self.began)));
        }
        if self.view.count(Is::Offered) > 0 {
            next = next.min(self.began + OFFER_PATIENCE);
        }
        self.alarm_at = NEVER;
        self.set_alarm(next.min(self.slow_at));
        waited
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Step> {
        // A claim that is answered late costs an arm its time.
        if let Some((cell, heard)) = self.inbox.poll(cx) {
            return Poll::Ready(Step::Heard(cell, heard));
        }
        for (cell, lane) in self.lanes.iter_mut().enumerate() {
            if let Some(running) = &mut lane.running
                && let Poll::Ready(outcome) = running.as_mut().poll(cx)
            {
                lane.running = None;
                return Poll::Ready(Step::Cell(cell, outcome));
            }
        }
        Pin::new(&mut self.alarm).poll(cx).map(|()| Step::Alarm)
    }

    fn take(&mut self, step: Step) -> Result<(), ClientError> {
        match step {
            Step::Heard(cell, heard) => self.heard(cell, heard),
            Step::Cell(cell, Outcome::Probe(wait)) => {
                self.view.probed(cell, wait);
                self.decide(Event::Probed);
            }
            Step::Cell(cell, Outcome::Cell(result)) => self.arrived(cell, result)?,
            Step::Alarm => {
                self.end_offers();
                let Some(waited) = self.rung() else { return Ok(()) };
                // The first ones are within the budget; after that the read must go on.
                let allowed = waited >= self.inner.config.hedge_after
                    || self.inner.patience.borrow_mut().spend(1.0);
                let most = self.stripe.cells() - self.stripe.needed();
                if allowed && self.view.spare < most {
                    self.view.spare += 1;
                    self.inner.count(|counters| counters.hedged += 1);
                    self.decide(Event::Slow);
                }
            }
        }
        Ok(())
    }

    fn heard(&mut self, cell: usize, heard: Heard) {
        let lane = &mut self.lanes[cell];
        let Some(reserved) = &mut lane.reserved else { return };
        let was_offered = self.view.is(cell) == Is::Offered;
        match heard {
            Heard::Begun => {
                (reserved.is_granted, reserved.is_parked) = (true, false);
                self.granted(cell);
                self.inner.stillness.borrow_mut().offered(true);
                self.decide(Event::Begun(cell));
            }
            Heard::Waits if was_offered => self.waits(cell),
            Heard::Waits => {}
            Heard::Claimed => {
                if reserved.is_granted {
                    // It is tied: it has begun.
                    self.granted(cell);
                } else if was_offered {
                    // An older node does not know offers.
                    self.waits(cell);
                }
                self.decide(Event::Claimed(cell));
            }
        }
    }

    /// What was offered could not begin at once.
    fn waits(&mut self, cell: usize) {
        self.view.set(cell, Is::Reserved);
        self.inner.stillness.borrow_mut().offered(false);
        self.decide(Event::Waits(cell));
    }

    /// Offers of which nothing was heard for too long are none any more.
    fn end_offers(&mut self) {
        if self.inner.handle.now() < self.began + OFFER_PATIENCE {
            return;
        }
        for cell in 0..self.lanes.len() {
            if self.view.is(cell) == Is::Offered {
                if let Some(disk) = self.lanes[cell].disk {
                    self.inner.not_heard_of(disk);
                }
                self.waits(cell);
            }
        }
    }

    fn arrived(&mut self, cell: usize, result: Result<Body, Fault>) -> Result<(), ClientError> {
        let lane = &mut self.lanes[cell];
        if let Some(reserved) = &mut lane.reserved {
            // It was answered: nothing is left there.
            reserved.is_granted = true;
        }
        let was_reserved = lane.reserved.take().is_some();
        let granted = lane.granted.take();
        if let Some(disk) = lane.disk {
            let now = self.inner.handle.now();
            if let Some(granted) = granted.filter(|_| result.is_ok()) {
                self.inner.paces.borrow_mut().served(disk, now.since(granted), now);
            }
            self.inner.loads.borrow_mut().ended(disk, now.since(lane.began), now);
        }
        match result {
            Ok(bytes) => {
                let columns = self.columns.clone();
                self.reading.have.insert(cell, Piece { columns, bytes });
                self.view.set(cell, Is::Have);
                self.decide(Event::Arrived);
            }
            Err(Fault::Failed(Failure::Deleted)) => return Err(ClientError::Deleted),
            // Its claims were not answered in time, as this client was busy. The disk is well.
            Err(Fault::Failed(Failure::Late)) if was_reserved => {
                self.lanes[cell].is_plain = true;
                self.view.set(cell, Is::Idle);
                self.decide(Event::Failed);
            }
            Err(fault) => {
                if fault.is_loss() && fault != Fault::Failed(Failure::NotFound) {
                    self.inner.count(|counters| counters.cells_bad += 1);
                }
                self.reading.faults.insert(cell, fault);
                self.view.set(cell, Is::Failed);
                self.decide(Event::Failed);
            }
        }
        Ok(())
    }

    /// Asks the policy and does what it says.
    fn decide(&mut self, event: Event) {
        let mut acts = self.inner.acts.take();
        self.policy.on(event, &self.view, &mut self.inner.draws.borrow_mut(), &mut acts);
        for act in acts.drain(..) {
            self.act(act);
        }
        self.inner.acts.replace(acts);
    }

    fn act(&mut self, act: Act) {
        match act {
            Act::Get(cell) => self.get(cell),
            Act::Reserve(cell) => self.reserve(cell, Begins::Granted),
            Act::Offer(cell) => {
                self.reserve(cell, Begins::AtOnce);
                self.set_alarm(self.began + OFFER_PATIENCE);
            }
            Act::Tie(cell) => self.reserve(cell, Begins::Claimed),
            Act::Probe(cell) => {
                let Some(disk) = self.lanes[cell].disk else { return };
                let (inner, terms) = (self.inner, self.terms);
                self.lanes[cell].running = Some(Box::pin(async move {
                    Outcome::Probe(inner.expected_wait(disk, PROBE_PATIENCE, terms).await)
                }));
                self.view.set(cell, Is::Probing);
            }
            Act::Grant(cell) => {
                if let Some(reserved) = &mut self.lanes[cell].reserved {
                    reserved.is_granted = true;
                    reserved.tell(&Told::Grant { number: reserved.number });
                    self.granted(cell);
                }
            }
            Act::Park(cell) => self.tell(cell, Is::Parked, |number| Told::Park { number }),
            Act::Wake(cell) => self.tell(cell, Is::Reserved, |number| Told::Wake { number }),
            Act::Drop(cell) => {
                let lane = &mut self.lanes[cell];
                if let Some(reserved) = &mut lane.reserved {
                    reserved.is_granted = false;
                }
                (lane.running, lane.reserved) = (None, None);
                self.view.set(cell, Is::Idle);
            }
        }
    }

    fn tell(&mut self, cell: usize, is: Is, message: impl Fn(u64) -> Told) {
        if let Some(reserved) = &mut self.lanes[cell].reserved {
            reserved.is_parked = is == Is::Parked;
            reserved.tell(&message(reserved.number));
            self.view.set(cell, is);
        }
    }

    fn get(&mut self, cell: usize) {
        let (inner, stripe, terms) = (self.inner, self.stripe, self.terms);
        let columns = self.columns.clone();
        self.began(cell);
        self.lanes[cell].running = Some(Box::pin(async move {
            Outcome::Cell(inner.fetch(stripe, cell, columns, terms).await)
        }));
        self.view.set(cell, Is::Coming);
    }

    fn reserve(&mut self, cell: usize, begins: Begins) {
        let Some(disk) = self.lanes[cell].disk else { return };
        let link = self.inner.link_of(disk).filter(Link::takes_reservations);
        let Some(link) = link.filter(|_| !self.lanes[cell].is_plain) else {
            // Who can't be asked late is asked at once, but for no more than is needed.
            if self.view.missing() > 0 {
                self.get(cell);
            }
            return;
        };
        let number = link.reserve(&self.inbox, cell);
        let (inner, stripe, terms) = (self.inner, self.stripe, self.terms);
        let ask = Ask::Reserve {
            key: stripe.key(cell),
            range: stripe.range(&self.columns),
            number,
            needed: stripe.needed() as u16,
            holders: stripe.cells() as u16,
            begins,
        };
        let columns = self.columns.clone();
        let is = if begins == Begins::AtOnce { Is::Offered } else { Is::Reserved };
        self.began(cell);
        let lane = &mut self.lanes[cell];
        let (is_granted, is_parked) = (begins == Begins::Claimed, false);
        lane.reserved = Some(Reservation { link, number, is_granted, is_parked });
        lane.running = Some(Box::pin(async move {
            Outcome::Cell(inner.fetch_by(ask, stripe, cell, columns, terms).await)
        }));
        self.view.set(cell, is);
    }

    fn began(&mut self, cell: usize) {
        let lane = &mut self.lanes[cell];
        lane.began = self.inner.handle.now();
        if let Some(disk) = lane.disk {
            self.inner.loads.borrow_mut().began(disk);
        }
    }
}

impl Drop for Steering<'_> {
    fn drop(&mut self) {
        for lane in &mut self.lanes {
            if lane.running.take().is_some()
                && let Some(disk) = lane.disk
            {
                self.inner.loads.borrow_mut().dropped(disk);
                if let Some(granted) = lane.granted {
                    let now = self.inner.handle.now();
                    self.inner.paces.borrow_mut().given_up(disk, now.since(granted), now);
                }
            }
            // Tied ones that are not needed any more are taken back like others.
            if let Some(reserved) = &mut lane.reserved {
                reserved.is_granted = false;
            }
        }
    }
}

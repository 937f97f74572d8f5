//! Reads that are reserved here and at other disks: claimed when the arm is about to come to
//! them, served when the caller says so.
//!
//! What must always hold: a reservation ends with its session, its deadline, its caller's word or
//! three claims without an answer, whichever comes first; until it is granted it holds no payload.
//! Of one session no more than a few wait at the arm of a disk: the others stand in line behind
//! these, so that who reserves a flood waits for itself.
//!
//! ```text
//! reserve ─> in line ─> at the arm ─ claim ─> granted ─> read
//!           (of its session)  ├─ park ─> passed over; its place at the arm is the next one's
//!                             └─ the arm stands still, and it is to begin at once ─> read
//! ```

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, VecDeque};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

use isotherm_reactor::{Handle, Sleep};
use isotherm_seam::{Mono, Nanos};
use isotherm_store::{Get, GetError, Reserved, Store};
use isotherm_transport::{Connection, Ticket};
use isotherm_wire::{Ask, Begins, DiskUuid, Failure, Request, Told};

use crate::convert::get_failure;
use crate::planted::{Bug, Planted};
use crate::serve::{Outcome, deadline, given_shard};
use crate::shelf::Shelf;

/// Reservations of one session that wait at the arm of one disk. With eight to choose from, most of
/// what the order of seeks can gain is gained; and one who floods a disk is ahead of another by
/// eight reads at most.
const AT_THE_ARM_MAX: u32 = 8;
/// What is parked is looked at so often: nothing is said of one that its caller gave up.
const PARKED_LOOK: Nanos = Nanos::from_millis(100);

/// Reservations of one session, by their numbers.
#[derive(Default)]
pub(crate) struct Reservations {
    held: RefCell<BTreeMap<u64, Rc<Held>>>,
    lines: RefCell<BTreeMap<DiskUuid, Rc<Line>>>,
}

/// One reservation, until it is granted or dropped.
struct Held {
    number: u64,
    ticket: Ticket,
    reserved: RefCell<Option<Reserved>>,
    /// That it waits at the arm.
    place: RefCell<Option<Place>>,
    is_parked: Cell<bool>,
    decided: Cell<Option<Decision>>,
    waker: RefCell<Option<Waker>>,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Decision {
    Grant,
    Drop,
}

/// What one session has reserved of one disk.
#[derive(Default)]
struct Line {
    at_the_arm: Cell<u32>,
    waiting: RefCell<VecDeque<Rc<Held>>>,
}

impl Line {
    /// Who comes now has to stand in line.
    fn is_full(&self) -> bool {
        self.at_the_arm.get() >= AT_THE_ARM_MAX || !self.waiting.borrow().is_empty()
    }
}

/// A place at the arm, until it is dropped.
struct Place(Rc<Line>);

impl Drop for Place {
    fn drop(&mut self) {
        self.0.at_the_arm.set(self.0.at_the_arm.get() - 1);
        if let Some(next) = self.0.waiting.borrow().front() {
            next.wake();
        }
    }
}

impl Reservations {
    /// Hears what the caller says of one of them. Of one that ended in the meantime there is
    /// nothing to be said.
    pub(crate) fn hear(&self, told: &Told) {
        let (Told::Grant { number }
        | Told::Park { number }
        | Told::Wake { number }
        | Told::Drop { number }) = told
        else {
            return;
        };
        let Some(held) = self.held.borrow().get(number).cloned() else { return };
        match told {
            Told::Grant { .. } => held.decide(Decision::Grant),
            Told::Drop { .. } => held.decide(Decision::Drop),
            Told::Park { .. } => {
                held.is_parked.set(true);
                if let Some(reserved) = &*held.reserved.borrow() {
                    reserved.park();
                }
                drop(held.place.take());
                held.wake();
            }
            _ => {
                held.is_parked.set(false);
                if let Some(reserved) = &*held.reserved.borrow() {
                    reserved.wake();
                }
            }
        }
    }

    /// The session is over: nobody waits for any of them.
    pub(crate) fn end(&self) {
        for held in std::mem::take(&mut *self.held.borrow_mut()).into_values() {
            held.decide(Decision::Drop);
        }
    }

    fn line(&self, disk: DiskUuid) -> Rc<Line> {
        Rc::clone(self.lines.borrow_mut().entry(disk).or_default())
    }
}

impl Held {
    fn decide(&self, decision: Decision) {
        self.decided.set(Some(decision));
        self.wake();
    }

    fn wake(&self) {
        if let Some(waker) = self.waker.borrow_mut().take() {
            waker.wake();
        }
    }

    fn waits(&self, cx: &Context<'_>) {
        *self.waker.borrow_mut() = Some(cx.waker().clone());
    }
}

/// A reservation as it was asked for.
pub(crate) struct Asked {
    pub(crate) get: Get,
    pub(crate) number: u64,
    /// That it will be served here.
    pub(crate) chance: f32,
    pub(crate) begins: Begins,
}

/// What a request reserves, if it does.
pub(crate) fn asked(request: &Request, now: Mono) -> Option<Asked> {
    let Ask::Reserve { key, range, number, needed, holders, begins } = &request.ask else {
        return None;
    };
    let get = Get { key: *key, range: range.clone(), deadline: deadline(request, now) };
    let chance = f32::from(*needed) / f32::from(*holders);
    Some(Asked { get, number: *number, chance, begins: *begins })
}

/// Serves a reservation; `None` when nobody waits for it any more.
pub(crate) async fn serve(
    shelf: &Shelf,
    store: &Store,
    reservations: &Reservations,
    connection: &Connection,
    ticket: Ticket,
    mut asked: Asked,
    planted: Planted,
) -> Option<Outcome> {
    let waits = match shelf.reserve(store) {
        Ok(waits) => waits,
        Err(failure) => return Some(Err(failure)),
    };
    let number = asked.number;
    if reservations.held.borrow().contains_key(&number) {
        return Some(Err(Failure::BadRequest));
    }
    let held = Rc::new(Held {
        number,
        ticket,
        reserved: RefCell::default(),
        place: RefCell::default(),
        is_parked: Cell::new(false),
        decided: Cell::new(None),
        waker: RefCell::default(),
    });
    let listed = Listed { reservations, held };
    let held = &listed.held;
    let line = reservations.line(shelf.uuid);
    let bytes = asked.get.range.as_ref().map_or(0, |range| u64::from(range.end - range.start));
    reservations.held.borrow_mut().insert(number, Rc::clone(held));
    if asked.begins == Begins::AtOnce && line.is_full() {
        connection.tell(&Told::Waits { number }.encode());
        asked.begins = Begins::Granted;
    }
    if enter(held, &line).await == Some(Decision::Drop) || !connection.is_wanted(ticket) {
        return None;
    }
    match store.reserve(asked.get, asked.chance).await {
        Ok(reserved) => {
            if held.is_parked.get() {
                reserved.park();
                drop(held.place.take());
            }
            *held.reserved.borrow_mut() = Some(reserved);
        }
        Err(error) => return Some(Err(get_failure(error))),
    }
    let decision = wait(held, shelf.handle(), connection, asked.begins).await;
    let reserved = held.reserved.take();
    drop(held.place.take());
    drop(listed);
    if planted.has(Bug::ReservationKept) && decision == Ok(Decision::Drop) {
        std::mem::forget(waits);
    } else {
        drop(waits);
    }
    match (decision, reserved) {
        (Ok(Decision::Grant), Some(reserved)) => {
            let _claim = match shelf.admit(store, bytes) {
                Ok(claim) => claim,
                Err(failure) => return Some(Err(failure)),
            };
            let shard = reserved.grant().await.map_err(get_failure);
            Some(shard.map(|shard| given_shard(shelf, shard)))
        }
        (Err(error), _) => Some(Err(get_failure(error))),
        (Ok(Decision::Drop), _) | (_, None) => None,
    }
}

/// A reservation that can be spoken of.
struct Listed<'a> {
    reservations: &'a Reservations,
    held: Rc<Held>,
}

impl Drop for Listed<'_> {
    fn drop(&mut self) {
        let held = &mut *self.reservations.held.borrow_mut();
        // A later one may have its number by now, when this one's session was ended.
        if held.get(&self.held.number).is_some_and(|other| Rc::ptr_eq(other, &self.held)) {
            held.remove(&self.held.number);
        }
    }
}

/// Stands in line until there is a place at the arm, or it is decided upon.
async fn enter(held: &Rc<Held>, line: &Rc<Line>) -> Option<Decision> {
    line.waiting.borrow_mut().push_back(Rc::clone(held));
    let _standing = Standing { held, line };
    std::future::poll_fn(|cx| {
        if let Some(decision) = held.decided.get() {
            return Poll::Ready(Some(decision));
        }
        let is_first = line.waiting.borrow().front().is_some_and(|front| Rc::ptr_eq(front, held));
        if is_first && line.at_the_arm.get() < AT_THE_ARM_MAX {
            line.at_the_arm.set(line.at_the_arm.get() + 1);
            *held.place.borrow_mut() = Some(Place(Rc::clone(line)));
            return Poll::Ready(None);
        }
        held.waits(cx);
        Poll::Pending
    })
    .await
}

/// One that stands in line, until it is dropped.
struct Standing<'a> {
    held: &'a Rc<Held>,
    line: &'a Rc<Line>,
}

impl Drop for Standing<'_> {
    fn drop(&mut self) {
        let mut waiting = self.line.waiting.borrow_mut();
        match waiting.front().is_some_and(|front| Rc::ptr_eq(front, self.held)) {
            true => drop(waiting.pop_front()),
            false => waiting.retain(|other| !Rc::ptr_eq(other, self.held)),
        }
        if let Some(next) = waiting.front() {
            next.wake();
        }
    }
}

/// Claims it whenever its turn comes, until it is decided upon.
async fn wait(
    held: &Held,
    handle: &Handle,
    connection: &Connection,
    begins: Begins,
) -> Result<Decision, GetError> {
    let mut look: Option<Sleep> = None;
    let tell = |message: Told| connection.tell(&message.encode());
    let number = held.number;
    let mut is_first = begins == Begins::AtOnce;
    std::future::poll_fn(|cx| {
        if let Some(decision) = held.decided.get() {
            return Poll::Ready(Ok(decision));
        }
        held.waits(cx);
        if !held.is_parked.get() {
            look = None;
        } else {
            let sleep = look.get_or_insert_with(|| handle.sleep(PARKED_LOOK));
            if Pin::new(sleep).poll(cx).is_ready() {
                if !connection.is_wanted(held.ticket) {
                    return Poll::Ready(Ok(Decision::Drop));
                }
                let next = look.insert(handle.sleep(PARKED_LOOK));
                let _ = Pin::new(next).poll(cx);
            }
        }
        let reserved = &mut *held.reserved.borrow_mut();
        let Some(reserved) = reserved else { return Poll::Ready(Ok(Decision::Drop)) };
        loop {
            let is_first = std::mem::replace(&mut is_first, false);
            match reserved.poll_claim(cx) {
                Poll::Pending => {
                    if is_first {
                        tell(Told::Waits { number });
                    }
                    return Poll::Pending;
                }
                Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
                Poll::Ready(Ok(())) if !connection.is_wanted(held.ticket) => {
                    return Poll::Ready(Ok(Decision::Drop));
                }
                // The arm has nothing better to do.
                Poll::Ready(Ok(())) if is_first => {
                    tell(Told::Begun { number });
                    return Poll::Ready(Ok(Decision::Grant));
                }
                Poll::Ready(Ok(())) => {
                    // What can't be told is not answered, and counts as such.
                    tell(Told::Claim { number });
                    if begins == Begins::Claimed {
                        return Poll::Ready(Ok(Decision::Grant));
                    }
                }
            }
        }
    })
    .await
}

#[cfg(test)]
mod tests {
    use super::*;

    fn held(number: u64) -> Rc<Held> {
        Rc::new(Held {
            number,
            ticket: Ticket(number),
            reserved: RefCell::default(),
            place: RefCell::default(),
            is_parked: Cell::new(false),
            decided: Cell::new(None),
            waker: RefCell::default(),
        })
    }

    /// Those at the arm are few, the others follow in their order, and who is dropped in line keeps
    /// nobody behind it.
    #[test]
    fn few_wait_at_the_arm_and_the_others_in_line() {
        let line = Rc::new(Line::default());
        let all: Vec<Rc<Held>> = (0..20).map(held).collect();
        let mut cx = Context::from_waker(Waker::noop());
        let mut entering: Vec<_> = all.iter().map(|held| Box::pin(enter(held, &line))).collect();
        let mut are_in = Vec::new();
        let mut poll = |at: usize| {
            let polled = entering[at].as_mut().poll(&mut cx);
            if polled == Poll::Ready(None) {
                are_in.push(at);
            }
            polled
        };
        for at in 0..20 {
            let is_in = poll(at).is_ready();
            assert_eq!(is_in, at < AT_THE_ARM_MAX as usize, "{at}");
        }
        // Nobody passes those before it, and one that is dropped is gone.
        all[8].decide(Decision::Drop);
        drop(all[3].place.take());
        assert_eq!(poll(10), Poll::Pending);
        assert_eq!(poll(8), Poll::Ready(Some(Decision::Drop)));
        assert_eq!(poll(10), Poll::Pending);
        assert_eq!(poll(9), Poll::Ready(None));
        assert_eq!(poll(10), Poll::Pending);
        drop(all[0].place.take());
        assert_eq!(poll(10), Poll::Ready(None));
        assert_eq!(are_in, [0, 1, 2, 3, 4, 5, 6, 7, 9, 10]);
        assert_eq!(line.at_the_arm.get(), AT_THE_ARM_MAX);
    }
}

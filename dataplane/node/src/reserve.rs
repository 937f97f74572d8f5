//! Reads that are reserved here and at other disks: claimed when the arm is about to come to
//! them, served when the caller says so.
//!
//! What must always hold: a reservation ends with its session, its deadline, its caller's word or
//! three claims without an answer, whichever comes first; until it is granted it holds no payload.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::rc::Rc;
use std::task::{Poll, Waker};

use isotherm_seam::Mono;
use isotherm_store::{Get, GetError, Reserved, Store};
use isotherm_transport::{Connection, Ticket};
use isotherm_wire::{Ask, Failure, Request, Told};

use crate::convert::get_failure;
use crate::planted::{Bug, Planted};
use crate::serve::{Outcome, deadline, given_shard};
use crate::shelf::Shelf;

/// Reservations of one session, by their numbers.
#[derive(Default)]
pub(crate) struct Reservations {
    held: RefCell<BTreeMap<u64, Rc<Held>>>,
}

/// One reservation, until it is granted or dropped.
struct Held {
    reserved: RefCell<Option<Reserved>>,
    decided: Cell<Option<Decision>>,
    waker: RefCell<Option<Waker>>,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Decision {
    Grant,
    Drop,
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
            _ => {
                if let Some(reserved) = &*held.reserved.borrow() {
                    if matches!(told, Told::Park { .. }) {
                        reserved.park()
                    } else {
                        reserved.wake()
                    }
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
}

impl Held {
    fn decide(&self, decision: Decision) {
        self.decided.set(Some(decision));
        if let Some(waker) = self.waker.borrow_mut().take() {
            waker.wake();
        }
    }
}

/// A reservation as it was asked for.
pub(crate) struct Asked {
    pub(crate) get: Get,
    pub(crate) number: u64,
    /// That it will be served here.
    pub(crate) chance: f32,
    pub(crate) tied: bool,
}

/// What a request reserves, if it does.
pub(crate) fn asked(request: &Request, now: Mono) -> Option<Asked> {
    let Ask::Reserve { key, range, number, needed, holders, tied } = &request.ask else {
        return None;
    };
    let get = Get { key: *key, range: range.clone(), deadline: deadline(request, now) };
    let chance = f32::from(*needed) / f32::from(*holders);
    Some(Asked { get, number: *number, chance, tied: *tied })
}

/// Serves a reservation; `None` when nobody waits for it any more.
pub(crate) async fn serve(
    shelf: &Shelf,
    store: &Store,
    reservations: &Reservations,
    connection: &Connection,
    ticket: Ticket,
    asked: Asked,
    planted: Planted,
) -> Option<Outcome> {
    let Asked { get, number, chance, tied } = asked;
    let bytes = get.range.as_ref().map_or(0, |range| u64::from(range.end - range.start));
    let waits = match shelf.reserve(store) {
        Ok(waits) => waits,
        Err(failure) => return Some(Err(failure)),
    };
    let reserved = match store.reserve(get, chance).await {
        Ok(reserved) => reserved,
        Err(error) => return Some(Err(get_failure(error))),
    };
    let held = Rc::new(Held {
        reserved: RefCell::new(Some(reserved)),
        decided: Cell::new(None),
        waker: RefCell::default(),
    });
    if reservations.held.borrow().contains_key(&number) {
        return Some(Err(Failure::BadRequest));
    }
    reservations.held.borrow_mut().insert(number, Rc::clone(&held));
    let decision = wait(&held, number, connection, ticket, tied).await;
    reservations.held.borrow_mut().remove(&number);
    let reserved = held.reserved.take();
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

/// Claims it whenever its turn comes, until it is decided upon.
async fn wait(
    held: &Held,
    number: u64,
    connection: &Connection,
    ticket: Ticket,
    tied: bool,
) -> Result<Decision, GetError> {
    std::future::poll_fn(|cx| {
        if let Some(decision) = held.decided.get() {
            return Poll::Ready(Ok(decision));
        }
        *held.waker.borrow_mut() = Some(cx.waker().clone());
        let reserved = &mut *held.reserved.borrow_mut();
        let Some(reserved) = reserved else { return Poll::Ready(Ok(Decision::Drop)) };
        loop {
            match reserved.poll_claim(cx) {
                Poll::Pending => return Poll::Pending,
                Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
                Poll::Ready(Ok(())) if !connection.is_wanted(ticket) => {
                    return Poll::Ready(Ok(Decision::Drop));
                }
                Poll::Ready(Ok(())) => {
                    // What can't be told is not answered, and counts as such.
                    connection.tell(&Told::Claim { number }.encode());
                    if tied {
                        return Poll::Ready(Ok(Decision::Grant));
                    }
                }
            }
        }
    })
    .await
}

//! A get that is reserved here and at other disks, and served by whichever comes to it first.
//!
//! What must always hold: a reservation holds no buffer and costs no disk time until it is
//! granted; what is given in the end is what a get would have given.

use std::rc::Rc;
use std::task::{Context, Poll};

use crate::api::{Get, GetError};
use crate::core::Core;
use crate::get::Span;
use crate::medium::Medium;
use crate::payload::Shard;
use crate::sched::{QueueError, Reservation};
use crate::store::Store;

/// A get that waits for its turn. Dropping it gives it up.
#[must_use = "a reservation that is dropped is given up"]
pub struct Reserved {
    core: Rc<Core>,
    get: Get,
    span: Span,
    reservation: Reservation,
}

impl Store {
    /// Reserves a get. `chance`, 0 to 1: that this disk is the one that serves it, by which its
    /// share of the queue is estimated. Errors are those of a get.
    pub async fn reserve(&self, get: Get, chance: f32) -> Result<Reserved, GetError> {
        let core = Rc::clone(&self.core);
        let span = core.span_of(&get).await?;
        let reservation = core
            .medium
            .reserve(
                get.deadline,
                span.place.extent,
                span.place.block + span.from,
                span.to - span.from,
                chance,
            )
            .map_err(gone)?;
        Ok(Reserved { core, get, span, reservation })
    }
}

impl Reserved {
    /// Ready when the arm is about to come to it: grant it, park it or drop it. An error once it
    /// is gone: its deadline passed, or three claims were not answered.
    pub fn poll_claim(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), GetError>> {
        self.reservation.poll_claim(cx).map_err(gone)
    }

    /// Reads it as soon as the arm is free. Also before it was claimed.
    pub async fn grant(self) -> Result<Shard, GetError> {
        let Reserved { core, get, span, reservation } = self;
        let buf = core.span_buffer(&span)?;
        let (result, buf) = Medium::granted(reservation, buf).await;
        core.check_shard(&get, &span, result, buf)
    }

    /// It is not wanted for now: not claimed until it is woken.
    pub fn park(&self) {
        self.reservation.park();
    }

    /// It is wanted after all.
    pub fn wake(&self) {
        self.reservation.wake();
    }
}

fn gone(error: QueueError) -> GetError {
    match error {
        QueueError::Io(error) => GetError::Io(error),
        QueueError::Busy { expected } => GetError::Busy { expected },
        QueueError::Late { .. } => GetError::Late,
    }
}

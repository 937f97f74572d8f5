//! The task that fetches answers and hands over what is next.
//!
//! What must always hold: it runs when a request in the device completes, when one is offered
//! that may have to wait, and when time alone makes something due; it ends with its queue.

use std::future::Future;
use std::pin::Pin;
use std::rc::Weak;
use std::task::Poll;

use isotherm_reactor::{Handle, Sleep};
use isotherm_seam::Mono;

use super::queue::Inner;

pub(super) async fn run(handle: Handle, queue: Weak<Inner>) {
    let mut timer: Option<(Mono, Sleep)> = None;
    std::future::poll_fn(|cx| {
        loop {
            let Some(inner) = queue.upgrade() else { return Poll::Ready(()) };
            let due = inner.turn(cx);
            drop(inner);
            match (due, &timer) {
                (None, _) => timer = None,
                // One that rings too early costs a turn, and is often right again by then.
                (Some(due), Some((at, _))) if *at <= due => {}
                (Some(due), _) => timer = Some((due, handle.sleep_until(due))),
            }
            let Some((_, sleep)) = &mut timer else { return Poll::Pending };
            if Pin::new(sleep).poll(cx).is_pending() {
                return Poll::Pending;
            }
            timer = None;
        }
    })
    .await;
}

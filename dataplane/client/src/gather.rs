//! Several futures at once, each with a number, in one task: what a read of many cells waits for.
//!
//! What must always hold: a future that is dropped before its end is abandoned, so whoever waits
//! at the other end learns of it.

use std::future::Future;
use std::pin::Pin;
use std::task::Poll;

type Running<'a, T> = Pin<Box<dyn Future<Output = T> + 'a>>;

/// Futures under way.
pub(crate) struct Gather<'a, T> {
    running: Vec<(usize, Running<'a, T>)>,
}

impl<'a, T> Gather<'a, T> {
    pub(crate) fn new() -> Gather<'a, T> {
        Gather { running: Vec::new() }
    }

    pub(crate) fn add(&mut self, number: usize, future: impl Future<Output = T> + 'a) {
        self.running.push((number, Box::pin(future)));
    }

    pub(crate) fn len(&self) -> usize {
        self.running.len()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.running.is_empty()
    }

    /// Whether none but this one is under way.
    pub(crate) fn is_only(&self, number: usize) -> bool {
        self.running.iter().all(|(running, _)| *running == number)
    }

    pub(crate) fn has(&self, number: usize) -> bool {
        self.running.iter().any(|(running, _)| *running == number)
    }

    /// The next one that ends, with its number; `None` when none is under way.
    pub(crate) async fn next(&mut self) -> Option<(usize, T)> {
        std::future::poll_fn(|cx| {
            if self.running.is_empty() {
                return Poll::Ready(None);
            }
            for at in 0..self.running.len() {
                let (number, future) = &mut self.running[at];
                if let Poll::Ready(value) = future.as_mut().poll(cx) {
                    let number = *number;
                    drop(self.running.swap_remove(at));
                    return Poll::Ready(Some((number, value)));
                }
            }
            Poll::Pending
        })
        .await
    }
}

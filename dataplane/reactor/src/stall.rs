//! Tasks that hold the core too long, by name.

use std::collections::VecDeque;

use isotherm_seam::{Mono, Nanos};

/// Reports kept until somebody takes them.
const STALLS_KEPT: usize = 64;

/// A task that held its core too long in one go.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Stall {
    /// Its name.
    pub task: &'static str,
    /// When it let go.
    pub at: Mono,
    /// How long it held the core.
    pub held: Nanos,
}

/// The latest reports, none of them taken yet.
#[derive(Default)]
pub(crate) struct Stalls(VecDeque<Stall>);

impl Stalls {
    pub(crate) fn add(&mut self, stall: Stall) {
        if self.0.len() == STALLS_KEPT {
            self.0.pop_front();
        }
        self.0.push_back(stall);
    }

    pub(crate) fn take(&mut self) -> Vec<Stall> {
        self.0.drain(..).collect()
    }
}

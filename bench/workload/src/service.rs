//! Which file of a job comes next: fio's `file_service_type`.
//!
//! What must always hold: the number is below the count; with `sequential` a file is gone through
//! before the next one begins, with all others each is served so many requests in a row.

use isotherm_seam::Domain;

use crate::FastRng;
use crate::law::{Law, Ranks};

const SERVICE: Domain = Domain::new("workload.service");

/// How files take turns.
#[derive(Clone, PartialEq, Debug)]
pub struct ServicePlan {
    /// The order.
    pub turn: Turn,
    /// Requests to a file before the next one's turn.
    pub ios: u64,
}

/// The order of files.
#[derive(Clone, PartialEq, Debug)]
pub enum Turn {
    /// One after the other, and again from the first.
    RoundRobin,
    /// Each to its end, then the next.
    Sequential,
    /// Any, by a law.
    Random(Law),
}

impl Default for ServicePlan {
    fn default() -> ServicePlan {
        ServicePlan { turn: Turn::RoundRobin, ios: 1 }
    }
}

/// The turns of the files of one lane.
#[derive(Clone, Debug)]
pub struct Service {
    count: usize,
    ios: u64,
    now: usize,
    /// Requests that the file still has of its turn.
    left: u64,
    draws: Draws,
}

#[derive(Clone, Debug)]
enum Draws {
    Next,
    ToItsEnd,
    Even(FastRng),
    Ranked(Box<Ranks>),
}

impl Service {
    /// The turns of `count` files. With [`Turn::Sequential`] a turn is told to be over with
    /// [`Service::pass`].
    pub fn new(plan: &ServicePlan, count: usize, seed: u64) -> Service {
        assert!(count > 0, "a lane has a file");
        let draws = match &plan.turn {
            Turn::RoundRobin => Draws::Next,
            Turn::Sequential => Draws::ToItsEnd,
            Turn::Random(law) => match Ranks::new(law, count as u64, 1, seed) {
                Some(ranks) => Draws::Ranked(Box::new(ranks)),
                None => Draws::Even(FastRng::new(seed, SERVICE, 0)),
            },
        };
        let mut service = Service { count, ios: plan.ios.max(1), now: count - 1, left: 0, draws };
        service.pass();
        service
    }

    /// The file whose turn it is.
    #[inline]
    pub fn file(&self) -> usize {
        self.now
    }

    /// It was served a request.
    #[inline]
    pub fn served(&mut self) {
        if matches!(self.draws, Draws::ToItsEnd) {
            return;
        }
        self.left -= 1;
        if self.left == 0 {
            self.pass();
        }
    }

    /// Whether a file is gone through before the next one begins.
    pub fn is_sequential(&self) -> bool {
        matches!(self.draws, Draws::ToItsEnd)
    }

    /// The turn of this file is over.
    pub fn pass(&mut self) {
        self.left = self.ios;
        self.now = match &mut self.draws {
            Draws::Next | Draws::ToItsEnd if self.now + 1 == self.count => 0,
            Draws::Next | Draws::ToItsEnd => self.now + 1,
            Draws::Even(rng) => rng.below(self.count as u64) as usize,
            Draws::Ranked(ranks) => ranks.next() as usize,
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn turns(turn: Turn, ios: u64, count: usize, served: usize) -> Vec<usize> {
        let mut service = Service::new(&ServicePlan { turn, ios }, count, 5);
        (0..served)
            .map(|_| {
                let file = service.file();
                service.served();
                file
            })
            .collect()
    }

    #[test]
    fn files_take_turns_of_so_many_requests() {
        assert_eq!(turns(Turn::RoundRobin, 1, 3, 7), [0, 1, 2, 0, 1, 2, 0]);
        assert_eq!(turns(Turn::RoundRobin, 2, 3, 7), [0, 0, 1, 1, 2, 2, 0]);
        assert_eq!(turns(Turn::Sequential, 1, 3, 4), [0; 4]);
        let mut service = Service::new(&ServicePlan { turn: Turn::Sequential, ios: 1 }, 2, 0);
        service.pass();
        assert_eq!((service.file(), service.is_sequential()), (1, true));
    }

    #[test]
    fn any_file_may_come_next() {
        let even = turns(Turn::Random(Law::Even), 1, 4, 4_000);
        let count = |of: &[usize], file| of.iter().filter(|&&f| f == file).count();
        assert!((0..4).all(|file| (850..1150).contains(&count(&even, file))));
        let zipf = Law::Zipf { theta: 1.1, center: None };
        let ranked = turns(Turn::Random(zipf), 1, 4, 4_000);
        let most = (0..4).map(|file| count(&ranked, file)).max();
        assert!(most > Some(1_600), "{most:?}");
    }
}

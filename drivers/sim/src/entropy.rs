//! Chance that replays: a counter per (domain, entity) under one seed.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;

use isotherm_seam::{Domain, Entropy, draw};

/// Keyed chance. Clones share the counters.
#[derive(Clone, Debug)]
pub struct SimEntropy {
    seed: u64,
    counters: Rc<RefCell<BTreeMap<(Domain, u64), u64>>>,
}

impl SimEntropy {
    /// Every counter at zero.
    #[must_use]
    pub fn new(seed: u64) -> SimEntropy {
        SimEntropy { seed, counters: Rc::default() }
    }
}

impl Entropy for SimEntropy {
    fn next_u64(&self, domain: Domain, entity: u64) -> u64 {
        let mut counters = self.counters.borrow_mut();
        let counter = counters.entry((domain, entity)).or_insert(0);
        let value = draw(self.seed, domain, entity, *counter);
        *counter += 1;
        value
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: Domain = Domain::new("test.a");
    const B: Domain = Domain::new("test.b");

    #[test]
    fn one_stream_does_not_disturb_another() {
        let (quiet, busy) = (SimEntropy::new(3), SimEntropy::new(3));
        let alone: Vec<u64> = (0..5).map(|_| quiet.next_u64(A, 1)).collect();
        let among: Vec<u64> = (0..5)
            .map(|_| {
                busy.next_u64(B, 1);
                busy.next_u64(A, 2);
                busy.next_u64(A, 1)
            })
            .collect();
        assert_eq!(alone, among);
        assert!(alone.windows(2).all(|w| w[0] != w[1]));
    }
}

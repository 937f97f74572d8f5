//! What requests that nobody has taken yet may hold, over all connections of an endpoint.
//!
//! What must always hold: no more than the budget is held, however many peers send however much;
//! one connection holds a quarter of it at most, so that one greedy peer does not shut the others
//! out; what is held is given back when the request is handed over or cut, whatever the way.
//!
//! ```text
//! header of a request ─> claim of its whole length ─┬─> kept ─> handed over, or cut: given back
//!                                                   └─ no room: refused before its body is kept
//! ```
//!
//! The claim is made with the header and for the whole body: a request that would find no room
//! for its end is refused at its beginning, before it has cost the network anything.

use std::cell::Cell;
use std::rc::Rc;

/// The part of the budget that one connection may hold.
const SHARE: u64 = 4;

/// The budget of one endpoint.
pub(crate) struct Budget {
    max_bytes: u64,
    held_bytes: Cell<u64>,
}

/// What one connection holds of it.
pub(crate) struct Account {
    budget: Rc<Budget>,
    held_bytes: Rc<Cell<u64>>,
}

/// Room for one request, until it is dropped.
pub(crate) struct Claim {
    budget: Rc<Budget>,
    account: Rc<Cell<u64>>,
    bytes: u64,
}

impl Budget {
    pub(crate) fn new(max_bytes: u64) -> Rc<Budget> {
        Rc::new(Budget { max_bytes, held_bytes: Cell::new(0) })
    }

    pub(crate) fn held_bytes(&self) -> u64 {
        self.held_bytes.get()
    }

    pub(crate) fn account(self: &Rc<Budget>) -> Account {
        Account { budget: Rc::clone(self), held_bytes: Rc::default() }
    }
}

impl Account {
    /// Room for so many bytes. A connection that holds nothing gets its first request whatever
    /// its share: otherwise a small budget would take no long request at all.
    pub(crate) fn claim(&self, bytes: u64) -> Option<Claim> {
        let (all, own) = (self.budget.held_bytes.get(), self.held_bytes.get());
        let has_share = own == 0 || own + bytes <= self.budget.max_bytes / SHARE;
        if !has_share || all + bytes > self.budget.max_bytes {
            return None;
        }
        self.budget.held_bytes.set(all + bytes);
        self.held_bytes.set(own + bytes);
        let (budget, account) = (Rc::clone(&self.budget), Rc::clone(&self.held_bytes));
        Some(Claim { budget, account, bytes })
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        for held in [&self.budget.held_bytes, &*self.account] {
            held.set(held.get().checked_sub(self.bytes).expect("it was claimed"));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_connection_has_its_share_and_all_together_the_budget() {
        let budget = Budget::new(1000);
        let accounts: Vec<Account> = (0..6).map(|_| budget.account()).collect();
        let first = accounts[0].claim(200).unwrap();
        assert!(accounts[0].claim(51).is_none(), "more than a quarter");
        let rest = accounts[0].claim(50).unwrap();
        let others: Vec<Claim> =
            accounts[1..4].iter().map(|account| account.claim(250).unwrap()).collect();
        assert!(accounts[4].claim(1).is_none(), "all is held");
        drop((first, rest));
        assert_eq!(budget.held_bytes(), 750);
        assert!(accounts[5].claim(251).is_none(), "no room for it now");
        drop(others);
        assert!(accounts[5].claim(251).is_some(), "its first may be longer than its share");
        assert!(accounts[4].claim(1001).is_none(), "longer than the budget");
        assert!(accounts[4].claim(600).is_some());
        assert_eq!(budget.held_bytes(), 0);
    }
}

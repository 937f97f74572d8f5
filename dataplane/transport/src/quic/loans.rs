//! Pool buffers that are on their way out: lent to the connection instead of copied.
//!
//! What must always hold: a buffer goes back to its pool when the last byte of it is acknowledged
//! or its stream is cut, on the core that it belongs to; what is lent at a time is bounded, so
//! that peers that do not acknowledge can't hold a whole pool. Beyond the bound bytes are copied.
//!
//! ```text
//! IoBuf ──lend──> claim, kept here
//!           └───> Loan, the owner of the bytes ──(dropped with its last slice)──> returned ──> reunited
//! ```

use std::cell::{Cell, RefCell};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use isotherm_seam::{BufClaim, IoBuf, LentBuf};

use crate::Ticket;
use crate::quic::slots::Slots;

/// Bytes of buffers lent at a time by one endpoint.
const LENT_BYTES_MAX: usize = 32 << 20;

/// The loans of one endpoint.
#[derive(Default)]
pub(crate) struct Loans {
    claims: RefCell<Slots<(BufClaim, usize)>>,
    lent_bytes: Cell<usize>,
    returns: Arc<Returns>,
}

/// What came back. The owner of bytes may be dropped on any thread, as far as its type goes.
#[derive(Default)]
struct Returns {
    count: AtomicUsize,
    bufs: Mutex<Vec<(Ticket, LentBuf)>>,
}

struct Loan {
    /// `None` only while it is dropped.
    lent: Option<LentBuf>,
    ticket: Ticket,
    home: Arc<Returns>,
}

impl AsRef<[u8]> for Loan {
    fn as_ref(&self) -> &[u8] {
        self.lent.as_deref().expect("the bytes are there until the drop")
    }
}

impl Drop for Loan {
    fn drop(&mut self) {
        if let Some(lent) = self.lent.take() {
            self.home.bufs.lock().expect("nobody panics with it").push((self.ticket, lent));
            self.home.count.fetch_add(1, Ordering::Release);
        }
    }
}

impl Loans {
    /// The buffer's bytes, or the buffer back where enough is lent already.
    pub(crate) fn lend(&self, buf: IoBuf) -> Result<Bytes, IoBuf> {
        let size = buf.capacity();
        if self.lent_bytes.get() + size > LENT_BYTES_MAX {
            return Err(buf);
        }
        self.lent_bytes.set(self.lent_bytes.get() + size);
        let (claim, lent) = buf.lend();
        let ticket = self.claims.borrow_mut().insert((claim, size));
        Ok(Bytes::from_owner(Loan { lent: Some(lent), ticket, home: Arc::clone(&self.returns) }))
    }

    /// Gives back to their pools what came back.
    pub(crate) fn reclaim(&self) {
        if self.returns.count.load(Ordering::Acquire) == 0 {
            return;
        }
        let mut bufs = self.returns.bufs.lock().expect("nobody panics with it");
        self.returns.count.store(0, Ordering::Relaxed);
        for (ticket, lent) in bufs.drain(..) {
            let claim = self.claims.borrow_mut().remove(ticket);
            let (claim, size) = claim.expect("each loan comes back once");
            self.lent_bytes.set(self.lent_bytes.get() - size);
            drop(claim.reunite(lent));
        }
    }
}

#[cfg(test)]
mod tests {
    use isotherm_seam::{BufPool, PoolLayout};

    use super::*;

    #[test]
    fn a_buffer_comes_back_with_the_last_slice_of_it() {
        let pool = BufPool::new(&PoolLayout::uniform(4096, 2)).unwrap();
        let loans = Loans::default();
        let mut buf = pool.alloc(4096).unwrap();
        buf.fill(7);
        let bytes = loans.lend(buf).unwrap();
        let slice = bytes.slice(10..20);
        drop(bytes);
        loans.reclaim();
        assert_eq!((pool.free_count(), &slice[..]), (1, &[7; 10][..]));
        drop(slice);
        assert_eq!(pool.free_count(), 1, "not before it is reclaimed");
        loans.reclaim();
        assert_eq!((pool.free_count(), loans.lent_bytes.get()), (2, 0));
    }

    #[test]
    fn no_more_is_lent_than_the_bound() {
        let pool = BufPool::new(&PoolLayout::uniform(1 << 20, 33)).unwrap();
        let loans = Loans::default();
        let lent: Vec<Bytes> =
            (0..32).map(|_| loans.lend(pool.alloc(1 << 20).unwrap()).unwrap()).collect();
        let buf = loans.lend(pool.alloc(1 << 20).unwrap()).unwrap_err();
        drop(lent);
        loans.reclaim();
        assert!(loans.lend(buf).is_ok());
        loans.reclaim();
        assert_eq!(pool.free_count(), 33);
    }
}

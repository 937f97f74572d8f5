//! An object is deleted: tombstones on so many members that no reader finds enough cells without
//! meeting one.
//!
//! Of k + m cells at least m + 1 must have a tombstone, so that fewer than k are left: of copies
//! that is every one. A tombstone is kept until all members have theirs; then they are released,
//! and the nodes hold them a while longer. Of a client that died before it said so, the next repair
//! finds a delete that is everywhere, and says it.
//!
//! What must always hold: a delete that was acknowledged stays, whatever comes back; one that was
//! not is finished by saying it again. A long object loses its stripes first and its manifest
//! last, so that a delete that was cut off can go on where it was.

use std::collections::{BTreeMap, VecDeque};

use isotherm_placement::DiskNo;
use isotherm_seam::{Key, Nanos};
use isotherm_transport::Body;
use isotherm_wire::{Ask, Class as Work, Entry, Failure};

use crate::ask::{Fault, Terms};
use crate::client::{Client, Inner};
use crate::error::ClientError;
use crate::gather::Gather;
use crate::layout::StripeRef;
use crate::locator::{Class, Locator};
use crate::planted::Bug;

impl Client {
    /// Deletes an object. One that is deleted already, or was never there, counts as deleted.
    pub async fn delete(&self, locator: &Locator) -> Result<(), ClientError> {
        let inner = &self.inner;
        if locator.class == Class::Manifest {
            match inner.read_manifest(locator).await {
                Ok(manifest) => {
                    for number in 0..manifest.stripes.len() {
                        let stripe = inner.stripe_of(locator, &manifest, number as u32);
                        inner.delete_stripe(&stripe, inner.terms(Work::Foreground)).await?;
                    }
                }
                // Its stripes went before it did.
                Err(ClientError::Deleted | ClientError::NotFound) => {}
                Err(error) => return Err(error),
            }
        }
        let stripe = inner.only_stripe(locator)?;
        inner.delete_stripe(&stripe, inner.terms(Work::Foreground)).await
    }

    /// Waits until holders have been told of every delete that is everywhere: for those who are
    /// about to end. What they are not told a later repair tells them.
    pub async fn settle_deletes(&self) {
        while self.inner.releases.borrow().runs {
            self.inner.handle.sleep(Nanos::from_millis(1)).await;
        }
    }

    /// Deletes whatever there is of an object whose locator is lost, such as what a put left that
    /// never came to its end: `entries` are those that a listing shows of it.
    pub async fn delete_id(
        &self,
        object: u128,
        entries: &[(DiskNo, Entry)],
    ) -> Result<(), ClientError> {
        let inner = &self.inner;
        let terms = inner.terms(Work::Foreground);
        let mut deletes = Gather::new();
        let mut done = 0;
        let mine = entries.iter().filter(|(_, entry)| entry.key.object == object);
        let mut needed = 0;
        for (disk, entry) in mine.filter(|(_, entry)| !entry.is_tombstone) {
            needed += 1;
            let ask = Ask::Delete { key: entry.key, epoch: 0, hold: false };
            deletes.add(needed, inner.ask(*disk, ask, Body::Empty, 0, terms));
        }
        while let Some((_, result)) = deletes.next().await {
            done += usize::from(result.is_ok());
        }
        if done == needed { Ok(()) } else { Err(ClientError::Unfinished { done, needed }) }
    }
}

impl Inner {
    /// Deletes the cells of a stripe, or the copies.
    pub(crate) async fn delete_stripe(
        &self,
        stripe: &StripeRef,
        terms: Terms,
    ) -> Result<(), ClientError> {
        let cells = stripe.cells();
        let needed = cells - stripe.needed() + usize::from(!self.has(Bug::DeleteLeavesOne));
        let cell_terms = self.cell_terms(terms);
        let mut deletes = Gather::new();
        let mut keys: BTreeMap<usize, (DiskNo, Key)> = BTreeMap::new();
        for cell in 0..cells {
            let key = stripe.key(cell);
            let Some(disk) = self.member(stripe.group, key.position) else { continue };
            keys.insert(cell, (disk, key));
            let ask = Ask::Delete { key, epoch: 0, hold: true };
            deletes.add(cell, self.ask(disk, ask, Body::Empty, 0, cell_terms));
        }
        let mut done = 0;
        while let Some((_, result)) = deletes.next().await {
            match result {
                Ok(_) => done += 1,
                Err(Fault::Silent | Fault::Failed(_) | Fault::Foreign) => {}
            }
        }
        if done < needed {
            return Err(ClientError::Unfinished { done, needed });
        }
        if done == cells {
            self.release(keys);
        }
        Ok(())
    }

    /// Somebody has the tombstone. What is told to who reads it: *deleted* only if so many have no cell
    /// that no later read can find it. While a delete is under way that is not so, and it is finished
    /// first: or one reader would be told that it is gone, and the next one be given it.
    pub(crate) async fn settle_delete(&self, stripe: &StripeRef, terms: Terms) -> ClientError {
        let needed = stripe.cells() - stripe.needed() + 1;
        let cell_terms = self.cell_terms(terms);
        let mut asks = Gather::new();
        for cell in 0..stripe.cells() {
            let key = stripe.key(cell);
            let disk = self.member(stripe.group, key.position);
            // Whoever is known not to answer is not waited for.
            if let Some(disk) = disk.filter(|&disk| !self.links.is_silent(disk)) {
                asks.add(cell, self.ask(disk, Ask::Stat { key }, Body::Empty, 0, cell_terms));
            }
        }
        if asks.len() < needed {
            return ClientError::Unavailable { reached: 0, needed };
        }
        let mut gone = 0;
        while let Some((_, result)) = asks.next().await {
            let is_gone = |failure| matches!(failure, Failure::Deleted | Failure::NotFound);
            gone += usize::from(matches!(result, Err(Fault::Failed(why)) if is_gone(why)));
            if gone >= needed {
                return ClientError::Deleted;
            }
        }
        match self.delete_stripe(stripe, terms).await {
            Ok(()) => ClientError::Deleted,
            Err(_) => ClientError::Unavailable { reached: gone, needed },
        }
    }

    /// Everybody has the tombstone: nobody need keep it for the others. One task says so for all
    /// deletes.
    fn release(&self, keys: BTreeMap<usize, (DiskNo, Key)>) {
        let releases = &mut *self.releases.borrow_mut();
        if releases.waiting.len() >= RELEASES_MAX {
            // Those tombstones stay until a repair finds them.
            return;
        }
        releases.waiting.push_back(keys.into_values().collect());
        if !releases.runs {
            releases.runs =
                self.in_background("release", |inner| async move { inner.release_all().await });
        }
    }

    async fn release_all(&self) {
        loop {
            let next = self.releases.borrow_mut().waiting.pop_front();
            let Some(keys) = next else { break };
            for (disk, key) in keys {
                let terms = self.terms(Work::Repair);
                let _ = self.ask(disk, Ask::Release { key }, Body::Empty, 0, terms).await;
            }
        }
        self.releases.borrow_mut().runs = false;
    }
}

/// Deletes whose tombstones wait to be released.
#[derive(Default)]
pub(crate) struct Releases {
    waiting: VecDeque<Vec<(DiskNo, Key)>>,
    /// The task is there.
    runs: bool,
}

/// At most so many: a hundred bytes each.
const RELEASES_MAX: usize = 100_000;

//! What disks give that may have lost a tombstone.
//!
//! What must always hold: what was read from a disk that found harm is given away only if so many
//! members that did not have it too, or have been compared since, that no acknowledged delete can
//! have been missed; or if every member was asked and none has a tombstone. A delete has m + 1
//! tombstones at least, so that of k members that are to be trusted one has it.
//!
//! Of a disk that was just not stopped in good order there is no reason to believe this. A copy, or
//! a part of a stripe, that comes from such disks alone is given away when another member has its
//! cell too, but it is not withheld when no other can be asked: a copy is what is left when others
//! are gone.
//!
//! Tombstones don't last for ever. When disks that found harm have cells, and a member that is to be
//! trusted and was given its cell has none, the stripe was deleted so long ago that the others have
//! dropped their tombstones, and was forgotten where the harm is: [`Inner::is_forgotten`].
//!
//! A healthy cluster pays nothing for it: no disk is in doubt, nobody is asked twice.

use isotherm_placement::{DiskNo, DiskState};
use isotherm_transport::Body;
use isotherm_wire::{Ask, Class as Work, Doubt, Failure};

use crate::ask::{Fault, Terms};
use crate::client::{Client, Inner};
use crate::error::{ClientError, Refusal};
use crate::forgotten::{Testimony, Verdict, Word, judge};
use crate::gather::Gather;
use crate::layout::StripeRef;

/// A disk that says that it may have lost something.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct DoubtedDisk {
    /// The disk.
    pub disk: DiskNo,
    /// Why.
    pub doubt: Doubt,
    /// Of this doubt: the next start of its node gives another.
    number: u64,
}

impl Client {
    /// Asks every disk of the map whether it is in doubt. One that does not answer is not among
    /// them.
    pub async fn doubted_disks(&self) -> Vec<DoubtedDisk> {
        let inner = &self.inner;
        let disks: Vec<DiskNo> = inner.map.borrow().disks.iter().map(|disk| disk.no).collect();
        let mut doubted = Vec::new();
        for disk in disks.into_iter().filter(|&disk| inner.is_in_use(disk)) {
            let terms = inner.terms(Work::Foreground);
            if let Ok((given, _)) = inner.ask(disk, Ask::Status, Body::Empty, 0, terms).await {
                let doubt = inner.links.doubt(disk);
                if doubt != Doubt::None {
                    doubted.push(DoubtedDisk { disk, doubt, number: given.shard.sequence });
                }
            }
        }
        doubted
    }

    /// What was last heard of a disk.
    pub fn doubt_of(&self, disk: DiskNo) -> Doubt {
        self.inner.links.doubt(disk)
    }

    /// Ends a disk's doubt: since it was told of, all that the disk holds was compared with every
    /// other member ([`Client::repair`], nothing left for later).
    ///
    /// # Errors
    /// `Failure::Late` if the disk was opened anew since.
    pub async fn vouch(&self, doubted: &DoubtedDisk) -> Result<(), Refusal> {
        let terms = self.inner.terms(Work::Repair);
        let ask = Ask::Vouch { number: doubted.number };
        match self.inner.ask(doubted.disk, ask, Body::Empty, 0, terms).await {
            Ok(_) => Ok(()),
            Err(Fault::Silent) => Err(Refusal::Unreachable),
            Err(Fault::Failed(failure)) => Err(Refusal::Failed(failure)),
            Err(Fault::Foreign) => Err(Refusal::Failed(Failure::BadRequest)),
        }
    }
}

impl Inner {
    /// Whether a disk counts among those that hold something: one that was given up for good is
    /// not waited for.
    pub(crate) fn is_in_use(&self, disk: DiskNo) -> bool {
        self.map.borrow().disk(disk).is_some_and(|disk| disk.state != DiskState::Out)
    }

    /// The doubt of the disk that holds a cell.
    pub(crate) fn doubt_of_cell(&self, stripe: &StripeRef, cell: usize) -> Doubt {
        let disk = self.member(stripe.group, stripe.position(cell));
        disk.map_or(Doubt::None, |disk| self.links.doubt(disk))
    }

    /// Whether what was made from these cells may be given away.
    pub(crate) async fn confirm(
        &self,
        stripe: &StripeRef,
        read: &[usize],
        terms: Terms,
    ) -> Result<(), ClientError> {
        let are = |is: fn(Doubt) -> bool| {
            read.iter().filter(|&&cell| is(self.doubt_of_cell(stripe, cell))).count()
        };
        let (sure, harmed) = (are(|it| it == Doubt::None), are(|it| it == Doubt::Harmed));
        let trusted = read.len() - harmed;
        let result = if harmed > 0 && trusted < stripe.needed() {
            self.ask_the_others(stripe, read, trusted, terms).await
        } else if sure == 0 && (stripe.is_copies() || read.len() < stripe.needed()) {
            self.ask_another(stripe, read, terms).await
        } else {
            return Ok(());
        };
        self.count(|counters| counters.asked_twice += 1);
        if result == Err(ClientError::Deleted) {
            // Finished where it was forgotten.
            self.mend(stripe);
        }
        result
    }

    /// All members that gave nothing yet, until enough of them can be trusted.
    async fn ask_the_others(
        &self,
        stripe: &StripeRef,
        read: &[usize],
        mut trusted: usize,
        terms: Terms,
    ) -> Result<(), ClientError> {
        let mut asks = Gather::new();
        for cell in (0..stripe.cells()).filter(|cell| !read.contains(cell)) {
            asks.add(cell, self.ask_whether(stripe, cell, terms));
        }
        let (mut has_gap, mut is_absent) = (false, false);
        while let Some((cell, result)) = asks.next().await {
            match result {
                Ok(true) if self.doubt_of_cell(stripe, cell) < Doubt::Harmed => {
                    trusted += 1;
                    if trusted >= stripe.needed() {
                        return Ok(());
                    }
                }
                Ok(has) => is_absent |= !has,
                Err(Fault::Failed(Failure::Deleted)) => return Err(ClientError::Deleted),
                Err(_) => has_gap = true,
            }
        }
        let forgotten = match (has_gap, trusted == 0 && is_absent) {
            (true, _) => None,
            (false, true) => self.is_forgotten(stripe, terms).await,
            (false, false) => Some(false),
        };
        match forgotten {
            Some(false) => Ok(()),
            Some(true) => Err(ClientError::Deleted),
            None => Err(ClientError::Unavailable { reached: trusted, needed: stripe.needed() }),
        }
    }

    /// Whether what is left of a stripe was deleted long ago ([`judge`]). `None` if that can't be
    /// said now.
    pub(crate) async fn is_forgotten(&self, stripe: &StripeRef, terms: Terms) -> Option<bool> {
        // Before the members: a repair gives the member its cell first, and drops the note then. In the
        // other order both could be missed.
        let notes = self.notes(stripe).await;
        let mut members = Vec::with_capacity(stripe.cells());
        let mut asks = Gather::new();
        for cell in 0..stripe.cells() {
            let key = stripe.key(cell);
            let since = self.since(stripe.group, key.position);
            members.push(Testimony { word: Word::Out, is_trusted: false, since });
            let disk = self.member(stripe.group, key.position);
            if let Some(disk) = disk.filter(|&disk| self.is_in_use(disk)) {
                asks.add(cell, self.ask(disk, Ask::Stat { key }, Body::Empty, 0, terms));
            }
        }
        while let Some((cell, result)) = asks.next().await {
            members[cell].is_trusted = self.doubt_of_cell(stripe, cell) < Doubt::Harmed;
            members[cell].word = match result {
                Ok((given, _)) => Word::Has { epoch: given.shard.epoch },
                Err(Fault::Failed(Failure::Io | Failure::Damaged)) => Word::Unreadable,
                Err(Fault::Failed(Failure::NotFound)) => Word::Absent,
                Err(Fault::Failed(Failure::Deleted)) => Word::Deleted,
                Err(_) => Word::Silent,
            };
        }
        match judge(&members) {
            Verdict::Deleted => Some(true),
            Verdict::NotDeleted => Some(false),
            Verdict::Unknown => None,
            Verdict::DeletedUnlessNoted => Some(notes?.is_empty()),
        }
    }

    /// Other members one after the other, as far as they answer, until one has its cell.
    async fn ask_another(
        &self,
        stripe: &StripeRef,
        read: &[usize],
        terms: Terms,
    ) -> Result<(), ClientError> {
        for cell in (0..stripe.cells()).filter(|cell| !read.contains(cell)) {
            let disk = self.member(stripe.group, stripe.position(cell));
            if disk.is_none_or(|disk| self.links.is_silent(disk)) {
                continue;
            }
            match self.ask_whether(stripe, cell, terms).await {
                Ok(true) if self.doubt_of_cell(stripe, cell) < Doubt::Harmed => break,
                Err(Fault::Failed(Failure::Deleted)) => return Err(ClientError::Deleted),
                Ok(_) | Err(_) => {}
            }
        }
        Ok(())
    }

    /// Whether a member has its cell and no tombstone; what was given up for good has nothing. One
    /// that has it damaged has it: of a tombstone the index alone says that it is there.
    async fn ask_whether(
        &self,
        stripe: &StripeRef,
        cell: usize,
        terms: Terms,
    ) -> Result<bool, Fault> {
        let key = stripe.key(cell);
        let disk = self.member(stripe.group, key.position).ok_or(Fault::Silent)?;
        if !self.is_in_use(disk) {
            return Ok(false);
        }
        let terms = self.cell_terms(terms);
        match self.ask(disk, Ask::Stat { key }, Body::Empty, 0, terms).await {
            Ok(_) | Err(Fault::Failed(Failure::Io | Failure::Damaged)) => Ok(true),
            Err(Fault::Failed(Failure::NotFound)) => Ok(false),
            Err(fault) => Err(fault),
        }
    }
}

//! Cells that are missing or damaged are made again from the others.
//!
//! ```text
//! ask every member ─┬─ one says "deleted" ─> the delete is finished everywhere
//!                   ├─ too few answer ─────> later
//!                   ├─ all well ───────────> notes are dropped
//!                   └─ some bad ─> read k ─> rebuild ─> put ─> notes are dropped
//! ```
//!
//! What must always hold: nothing is put back before so many members have said that it is not
//! deleted that no acknowledged delete can have been missed; what is put has the CRC that the
//! stripe's referrer knows, where one is at hand, and the epoch under which the stripe was put,
//! which tells who was given a cell of it ([`crate::forgotten`]).

use std::collections::BTreeMap;

use bytes::Bytes;
use isotherm_placement::{DiskNo, GroupId};
use isotherm_seam::{Key, Mono};
use isotherm_transport::Body;
use isotherm_wire::{Ask, Class as Work, Doubt, Entry, Failure, ShardInfo};

use crate::ask::{Fault, Terms};
use crate::client::{Client, Inner};
use crate::error::ClientError;
use crate::gather::Gather;
use crate::layout::{NOTE, StripeRef};
use crate::list::ListedObject;
use crate::note;
use crate::policy::ReadPolicy;
use crate::put::code;

/// What became of a stripe.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Healed {
    /// Nothing was wrong with it.
    Well,
    /// So many cells were put again; it is whole.
    Mended {
        /// Cells.
        cells: usize,
    },
    /// It was deleted; the tombstones that were missing are there now.
    Deleted,
    /// Fewer cells than are needed were ever put or are left: the remains of a put that was cut
    /// off, or a loss.
    Remains {
        /// Cells that are there.
        cells: usize,
    },
    /// Too few members answer. Later.
    Later,
}

/// What repair did.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct RepairReport {
    /// Stripes and sets of copies that were looked at.
    pub stripes: u64,
    /// Of these, with nothing wrong.
    pub well: u64,
    /// Made whole.
    pub mended: u64,
    /// Cells that were put again.
    pub cells_mended: u64,
    /// Deletes that were finished.
    pub deleted: u64,
    /// Not enough is left, or was ever there, to read them.
    pub remains: u64,
    /// Left for later, because disks don't answer.
    pub later: u64,
}

impl RepairReport {
    /// Adds what became of a stripe.
    pub fn add(&mut self, healed: Healed) {
        self.stripes += 1;
        match healed {
            Healed::Well => self.well += 1,
            Healed::Mended { cells } => {
                self.mended += 1;
                self.cells_mended += cells as u64;
            }
            Healed::Deleted => self.deleted += 1,
            Healed::Remains { .. } => self.remains += 1,
            Healed::Later => self.later += 1,
        }
    }
}

impl RepairReport {
    /// Adds another report.
    pub fn join(&mut self, other: RepairReport) {
        self.stripes += other.stripes;
        self.well += other.well;
        self.mended += other.mended;
        self.cells_mended += other.cells_mended;
        self.deleted += other.deleted;
        self.remains += other.remains;
        self.later += other.later;
    }
}

/// Repair notes of a stripe, and where they lie.
type Notes = Vec<(DiskNo, Key)>;

/// What is known of a stripe that is repaired, and how it is looked at.
#[derive(Clone, Copy)]
struct Seen<'a> {
    /// Cells are read whole.
    deep: bool,
    /// Its notes, if they are known: else all members are asked for them, where they have served.
    notes: Option<&'a Notes>,
    /// Whatever was being put when it was seen is there by then, or never will be.
    puts_end: Mono,
}

impl Client {
    /// Repairs all that one group holds of one object, as a listing shows it. `deep` reads every
    /// cell whole instead of asking for it.
    pub async fn repair(&self, listed: &ListedObject, deep: bool) -> RepairReport {
        let inner = &self.inner;
        let mut report = RepairReport::default();
        let mut stripes: BTreeMap<u32, Vec<(DiskNo, Key)>> = BTreeMap::new();
        // The tombstone of a note is about nothing: alone it would wait for its stripe for ever.
        let is_spent = |entry: &Entry| entry.is_tombstone && entry.key.position & NOTE != 0;
        for (disk, entry) in listed.entries.iter().filter(|(_, entry)| !is_spent(entry)) {
            stripes.entry(entry.key.stripe).or_default().push((*disk, entry.key));
        }
        let puts_end = listed.seen + inner.config.deadline;
        for (number, entries) in stripes {
            let what = (listed.group, listed.object, number);
            report.add(inner.repair_listed(what, &entries, puts_end, deep).await);
        }
        report
    }
}

impl Inner {
    /// Repairs a stripe of which only a listing is known: what it is like is asked of its cells,
    /// or of a note. A put of which something was seen has ended by `puts_end`.
    async fn repair_listed(
        &self,
        (group, object, number): (GroupId, u128, u32),
        entries: &[(DiskNo, Key)],
        puts_end: Mono,
        deep: bool,
    ) -> Healed {
        let terms = self.terms(Work::Repair);
        let group_scheme = self.map.borrow().scheme;
        let notes: Notes =
            entries.iter().filter(|(_, key)| key.position & NOTE != 0).copied().collect();
        for &(disk, key) in &notes {
            let get = Ask::Get { key, range: None };
            if let Ok((_, body)) = self.ask(disk, get, Body::Empty, 0, terms).await
                && let Some(stripe) = note::decode(key, &body.to_vec(), group_scheme)
            {
                let seen = Seen { deep, notes: Some(&notes), puts_end };
                return self.repair_stripe(&stripe, seen, terms).await;
            }
        }
        let mut shard = None;
        let (mut any_deleted, mut is_harmed) = (false, false);
        for &(disk, key) in entries.iter().filter(|(_, key)| key.position & NOTE == 0) {
            match self.ask(disk, Ask::Stat { key }, Body::Empty, 0, terms).await {
                Ok((given, _)) => {
                    shard = Some(given.shard);
                    break;
                }
                Err(Fault::Failed(Failure::Deleted)) => any_deleted = true,
                Err(fault) => is_harmed |= fault.is_loss(),
            }
        }
        let stripe = match shard {
            Some(ShardInfo { codec, len_bytes, .. }) => {
                let cell = u64::from(len_bytes);
                let len = cell * group_scheme.data_cells() as u64;
                if codec == isotherm_erasure::CodecId::Replication as u8 {
                    StripeRef::copies(group, object, number, cell, group_scheme, None)
                } else {
                    StripeRef {
                        cell_bytes: cell,
                        ..StripeRef::coded(group, object, number, len, group_scheme, None)
                    }
                }
            }
            // Nothing but tombstones: finish the delete at every position of the group. Or nothing but
            // what is harmed: if no other member has anything, there is nothing to wait for.
            None if any_deleted || is_harmed => {
                StripeRef::coded(group, object, number, 64, group_scheme, None)
            }
            None => return Healed::Later,
        };
        let seen = Seen { deep, notes: Some(&notes), puts_end };
        self.repair_stripe(&stripe, seen, terms).await
    }

    /// Repairs a stripe, or copies.
    async fn repair_stripe(&self, stripe: &StripeRef, seen: Seen<'_>, mut terms: Terms) -> Healed {
        let Seen { deep, notes, puts_end } = seen;
        let mut asks = Gather::new();
        for cell in 0..stripe.cells() {
            let key = stripe.key(cell);
            let Some(disk) = self.member(stripe.group, key.position) else { continue };
            let ask = if deep { Ask::Verify { key } } else { Ask::Stat { key } };
            asks.add(cell, self.ask(disk, ask, Body::Empty, 0, terms));
        }
        let (mut good, mut bad, mut deleted) = (Vec::new(), Vec::new(), false);
        let (mut is_absent, mut trusted) = (0, 0);
        // Of those that are to be trusted.
        let (mut sure_good, mut sure_absent) = (0, 0);
        let mut epoch: Option<u64> = None;
        while let Some((cell, result)) = asks.next().await {
            let is_sure = usize::from(self.doubt_of_cell(stripe, cell) < Doubt::Harmed);
            match &result {
                Ok(_) => (trusted, sure_good) = (trusted + is_sure, sure_good + is_sure),
                Err(Fault::Failed(Failure::NotFound)) => {
                    (trusted, sure_absent) = (trusted + is_sure, sure_absent + is_sure);
                }
                Err(fault) if fault.is_loss() => trusted += is_sure,
                Err(_) => {}
            }
            match result {
                Ok((given, _)) if is_cell(stripe, cell, &given.shard) => {
                    epoch = epoch.into_iter().chain([given.shard.epoch]).min();
                    good.push(cell);
                }
                Ok(_) => bad.push(cell),
                Err(Fault::Failed(Failure::Deleted)) => deleted = true,
                Err(fault) if fault.is_loss() => {
                    is_absent += usize::from(fault == Fault::Failed(Failure::NotFound));
                    bad.push(cell);
                }
                Err(_) => {}
            }
        }
        let has_cells = good.len() + bad.len() > is_absent;
        if !deleted && has_cells && sure_good == 0 && sure_absent > 0 {
            // A put that is under way looks the same: one has its cell and one has none yet.
            self.handle.sleep(puts_end.since(self.handle.now())).await;
            terms = self.terms(terms.class);
            match self.is_forgotten(stripe, terms).await {
                Some(forgotten) => deleted = forgotten,
                None => return Healed::Later,
            }
        }
        if deleted {
            return match self.delete_stripe(stripe, terms).await {
                Ok(()) => {
                    self.drop_notes(stripe, notes, terms).await;
                    Healed::Deleted
                }
                Err(_) => Healed::Later,
            };
        }
        // An acknowledged delete has more tombstones than are hidden by those who did not answer;
        // one that may have lost its tombstone is as good as silent, but for the last word.
        let answered = good.len() + bad.len();
        let hidden = (0..stripe.cells()).any(|cell| {
            let disk = self.member(stripe.group, stripe.position(cell));
            let is_known = good.contains(&cell) || bad.contains(&cell);
            !is_known && disk.is_some_and(|disk| self.is_in_use(disk))
        });
        if answered < stripe.needed() || trusted < stripe.needed() && hidden {
            return Healed::Later;
        }
        if is_absent == stripe.cells() {
            // Deleted so long ago that even the tombstones are gone; what is left is a note.
            self.drop_notes(stripe, notes, terms).await;
            return Healed::Deleted;
        }
        if good.len() < stripe.needed() {
            let may_come = stripe.cells() - answered;
            return match good.len() + may_come < stripe.needed() || is_absent > 0 {
                true => Healed::Remains { cells: good.len() },
                false => Healed::Later,
            };
        }
        if bad.is_empty() {
            if answered == stripe.cells() {
                self.drop_notes(stripe, notes, terms).await;
                return Healed::Well;
            }
            return Healed::Later;
        }
        let epoch = epoch.unwrap_or_else(|| self.epoch(stripe.group));
        let all_answered = answered == stripe.cells();
        self.rebuild_cells(stripe, &bad, epoch, all_answered, notes, terms).await
    }

    async fn rebuild_cells(
        &self,
        stripe: &StripeRef,
        bad: &[usize],
        epoch: u64,
        all_answered: bool,
        notes: Option<&Notes>,
        terms: Terms,
    ) -> Healed {
        let range = 0..stripe.len_bytes;
        let Ok(bytes) = Box::pin(self.read_stripe(stripe, range, ReadPolicy::Direct, terms)).await
        else {
            return Healed::Later;
        };
        let coded = code(&self.codecs, stripe, Bytes::from(bytes));
        if stripe.crc.is_some_and(|crc| crc != coded.crc) {
            return Healed::Later;
        }
        let prefix = coded.prefix(stripe);
        let mut puts = Gather::new();
        for &cell in bad {
            puts.add(cell, self.store(stripe, cell, &coded, &prefix, epoch, terms));
        }
        let mut mended = 0;
        while let Some((_, result)) = puts.next().await {
            mended += usize::from(result.is_ok());
        }
        drop(puts);
        self.count(|counters| counters.cells_mended += mended as u64);
        if mended < bad.len() {
            return Healed::Later;
        }
        if all_answered {
            self.drop_notes(stripe, notes, terms).await;
        }
        Healed::Mended { cells: mended }
    }

    /// The epoch under which a stripe was put, as its other cells have it.
    async fn put_epoch(&self, stripe: &StripeRef, wrong: usize, terms: Terms) -> Option<u64> {
        let mut asks = Gather::new();
        for cell in (0..stripe.cells()).filter(|&cell| cell != wrong) {
            let key = stripe.key(cell);
            let Some(disk) = self.member(stripe.group, key.position) else { continue };
            asks.add(cell, self.ask(disk, Ask::Stat { key }, Body::Empty, 0, terms));
        }
        let mut epoch: Option<u64> = None;
        while let Some((_, result)) = asks.next().await {
            epoch = epoch.into_iter().chain(result.ok().map(|(given, _)| given.shard.epoch)).min();
        }
        epoch
    }

    /// Every cell is there: the notes have served. One that was left since a listing has told of
    /// the others stays until the next repair.
    async fn drop_notes(&self, stripe: &StripeRef, notes: Option<&Notes>, terms: Terms) {
        let asked;
        let notes = match notes {
            Some(notes) => notes,
            None => {
                let Ok((notes, _)) = self.list_notes(stripe).await else { return };
                asked = notes.into_iter().map(|(disk, entry)| (disk, entry.key)).collect();
                &asked
            }
        };
        for &(disk, key) in notes {
            let ask = Ask::Delete { key, epoch: 0, hold: false };
            let _ = self.ask(disk, ask, Body::Empty, 0, terms).await;
        }
    }

    /// The notes of a stripe; `None` if a member does not say which it has.
    pub(crate) async fn notes(&self, stripe: &StripeRef) -> Option<Vec<(DiskNo, Entry)>> {
        let (notes, all_answered) = self.list_notes(stripe).await.ok()?;
        all_answered.then_some(notes)
    }

    async fn list_notes(
        &self,
        stripe: &StripeRef,
    ) -> Result<(Vec<(DiskNo, Entry)>, bool), ClientError> {
        let first = Key {
            group: stripe.group.0,
            object: stripe.object,
            stripe: stripe.stripe,
            position: NOTE,
        };
        let last = Key { position: u16::MAX, ..first };
        let page = self.list_range(first, last, usize::MAX).await?;
        let notes = page.objects.iter().flat_map(|object| &object.entries);
        let notes = notes.filter(|(_, entry)| !entry.is_tombstone).copied();
        Ok((notes.collect(), page.silent.is_empty()))
    }

    /// Repairs in the background a stripe in which a read has found something wrong.
    pub(crate) fn mend(&self, stripe: &StripeRef) {
        self.mend_with(stripe, None);
    }

    /// As [`Inner::mend`], for a cell that is whole for itself and yet not the stripe's: it is
    /// taken away first.
    pub(crate) fn mend_cell(&self, stripe: &StripeRef, cell: usize) {
        self.mend_with(stripe, Some(cell));
    }

    fn mend_with(&self, stripe: &StripeRef, wrong: Option<usize>) {
        let name = (stripe.group.0, stripe.object, stripe.stripe);
        if !self.config.repairs_on_read || !self.mending.borrow_mut().insert(name) {
            return;
        }
        let (stripe, terms) = (*stripe, self.terms(Work::Repair));
        let begun = self.in_background("mend", move |inner| async move {
            match wrong {
                Some(cell) => {
                    if let Some(epoch) = inner.put_epoch(&stripe, cell, terms).await {
                        inner.rebuild_cells(&stripe, &[cell], epoch, false, None, terms).await;
                    }
                }
                None => {
                    // Who reads it has its locator: its put has ended.
                    let seen = Seen { deep: false, notes: None, puts_end: inner.handle.now() };
                    inner.repair_stripe(&stripe, seen, terms).await;
                }
            }
            inner.mending.borrow_mut().remove(&name);
        });
        if !begun {
            self.mending.borrow_mut().remove(&name);
        }
    }
}

/// Whether a record is the cell that it should be.
fn is_cell(stripe: &StripeRef, cell: usize, shard: &ShardInfo) -> bool {
    shard.key == stripe.key(cell)
        && shard.codec == stripe.codec_id()
        && u64::from(shard.len_bytes) == stripe.cell_bytes
}

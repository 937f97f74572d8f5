//! A stripe is read: from its data cells where they answer, from others where they don't.
//!
//! ```text
//! the columns that are wanted ─> their data cells ─┬─ all there ─────────────────────> bytes
//!                                                  └─ one bad, or slow ─> k others ─> decoded
//! ```
//!
//! What must always hold: bytes that are given are those that were put: each cell is checked by
//! itself, and a stripe that is read whole against the CRC that its referrer keeps; where these
//! differ the cells are tried in turn until they agree. A cell that says "deleted" ends the read.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use std::rc::Rc;
use std::task::Poll;

use isotherm_erasure::Lost;
use isotherm_seam::Nanos;
use isotherm_transport::Body;
use isotherm_wire::{Doubt, Failure, crc32c, crc32c_combine};

use crate::ask::{Fault, Terms};
use crate::client::Inner;
use crate::codecs::Codecs;
use crate::error::ClientError;
use crate::gather::Gather;
use crate::layout::StripeRef;
use crate::planted::Bug;
use crate::policy::ReadPolicy;

/// Columns of one cell that were read.
pub(crate) struct Piece {
    pub(crate) columns: Range<u64>,
    pub(crate) bytes: Body,
}

/// What is known of a stripe while it is read.
pub(crate) struct Reading<'a> {
    pub(crate) stripe: &'a StripeRef,
    pub(crate) have: BTreeMap<usize, Piece>,
    pub(crate) faults: BTreeMap<usize, Fault>,
    /// A deliberate bug.
    pub(crate) takes_wrong_columns: bool,
    codecs: Rc<Codecs>,
}

/// What one event of a read is.
enum Event {
    Cell(usize, Range<u64>, Result<Body, Fault>),
    Slow,
}

/// Numbers of [`Gather`]: cells have their own, the alarm this one.
const ALARM: usize = usize::MAX;

impl Inner {
    /// Bytes of a stripe, within its length.
    pub(crate) async fn read_stripe(
        &self,
        stripe: &StripeRef,
        range: Range<u64>,
        policy: ReadPolicy,
        terms: Terms,
    ) -> Result<Vec<u8>, ClientError> {
        match self.read_there(stripe, range, policy, terms).await {
            Err(ClientError::Deleted) => Err(self.settle_delete(stripe, terms).await),
            result => result,
        }
    }

    /// Bytes of a stripe; `Deleted` if a single member says so.
    async fn read_there(
        &self,
        stripe: &StripeRef,
        range: Range<u64>,
        policy: ReadPolicy,
        terms: Terms,
    ) -> Result<Vec<u8>, ClientError> {
        debug_assert!(range.start <= range.end && range.end <= stripe.len_bytes);
        if range.is_empty() {
            return self.read_nothing(stripe, terms).await.map(|()| Vec::new());
        }
        self.count(|counters| counters.stripes_read += 1);
        let mut wanted = self.wanted(stripe, &range);
        // Of a few cells there is no choice but by decoding them from others.
        let has_choice = stripe.is_copies() || wanted.len() >= stripe.needed();
        let without = BTreeSet::new();
        let reading = match policy.steers().filter(|_| has_choice) {
            Some(policy) => {
                let columns = union(wanted.values());
                let reading = self.steer(policy, stripe, columns, &without, terms).await?;
                if stripe.is_copies() {
                    wanted =
                        reading.have.keys().map(|&copy| (copy, range.clone())).take(1).collect();
                }
                reading
            }
            None => match policy {
                ReadPolicy::Late => self.read_few(stripe, &wanted, terms).await?,
                _ => self.gather_cells(stripe, &wanted, &without, terms).await?,
            },
        };
        let bytes = reading.assemble(&wanted)?;
        let is_whole = range == (0..stripe.len_bytes);
        self.note_faults(&reading);
        if is_whole && let Some(crc) = stripe.crc {
            let found = reading.crc_of_data(&wanted, &bytes);
            if found != crc {
                return self.read_around(stripe, &range, terms).await;
            }
        }
        self.confirm(stripe, &reading.cells_read(), terms).await?;
        Ok(bytes)
    }

    /// Reads fewer cells than are needed to decode: from their own disks, and where one of these
    /// takes longer than nearly all such reads do, from the first of the others that come to it,
    /// as far as the budget allows: that costs `k` reads for one.
    async fn read_few<'a>(
        &'a self,
        stripe: &'a StripeRef,
        wanted: &BTreeMap<usize, Range<u64>>,
        terms: Terms,
    ) -> Result<Reading<'a>, ClientError> {
        let began = self.handle.now();
        let is_slow = |cell: &usize| {
            let disk = self.member(stripe.group, stripe.position(*cell));
            disk.is_some_and(|disk| self.paces.borrow().is_slow(disk, began))
        };
        let patience = match wanted.keys().any(is_slow) {
            true => Nanos::ZERO,
            false => self.patience_few.borrow().slow_after(),
        };
        let nothing = BTreeSet::new();
        let mut own = std::pin::pin!(self.gather_cells(stripe, wanted, &nothing, terms));
        let in_time = self.handle.timeout(patience, own.as_mut()).await;
        if let Ok(result) = in_time {
            self.patience_few.borrow_mut().took(self.handle.now().since(began));
            return result;
        }
        if !self.patience_few.borrow_mut().spend(stripe.needed() as f64) {
            let result = own.await;
            self.patience_few.borrow_mut().took(self.handle.now().since(began));
            return result;
        }
        self.count(|counters| counters.hedged += 1);
        let columns = union(wanted.values());
        let without: BTreeSet<usize> = wanted.keys().copied().collect();
        let policy = ReadPolicy::Late.steers().expect("it steers");
        let mut others = std::pin::pin!(self.steer(policy, stripe, columns, &without, terms));
        let (mut own_failed, mut others_failed) = (None, None);
        let result = std::future::poll_fn(|cx| {
            if own_failed.is_none()
                && let Poll::Ready(result) = own.as_mut().poll(cx)
            {
                match result {
                    Err(error) if error != ClientError::Deleted => own_failed = Some(error),
                    result => return Poll::Ready(result),
                }
            }
            if others_failed.is_none()
                && let Poll::Ready(result) = others.as_mut().poll(cx)
            {
                match result {
                    Err(error) if error != ClientError::Deleted => others_failed = Some(error),
                    result => return Poll::Ready(result),
                }
            }
            match (&mut own_failed, &others_failed) {
                (own @ Some(_), Some(_)) => Poll::Ready(Err(own.take().expect("it failed"))),
                _ => Poll::Pending,
            }
        })
        .await;
        self.patience_few.borrow_mut().took(self.handle.now().since(began));
        result
    }

    /// There is nothing to read, but whether the object is there is asked.
    async fn read_nothing(&self, stripe: &StripeRef, terms: Terms) -> Result<(), ClientError> {
        let reading = self
            .gather_cells(stripe, &BTreeMap::from([(0, 0..0)]), &BTreeSet::new(), terms)
            .await?;
        self.note_faults(&reading);
        self.confirm(stripe, &reading.cells_read(), terms).await
    }

    /// Which columns of which cells hold a range. For copies any one will do: the first that is
    /// not known to be silent or in doubt, from a random one on.
    fn wanted(&self, stripe: &StripeRef, range: &Range<u64>) -> BTreeMap<usize, Range<u64>> {
        if stripe.is_copies() {
            let start = self.draws.borrow_mut().below(stripe.cells() as u64) as usize;
            let order = (0..stripe.cells()).map(|i| (start + i) % stripe.cells());
            let cell = order.min_by_key(|&cell| self.rank(stripe, cell)).unwrap_or(start);
            return BTreeMap::from([(cell, range.clone())]);
        }
        let cell_bytes = stripe.cell_bytes;
        // Of a short stripe the last data cells are nothing but padding. Who reads all of it reads
        // them too: of fewer cells than are needed none may have heard of a delete.
        let is_whole = *range == (0..stripe.len_bytes);
        let end = if is_whole { stripe.needed() as u64 } else { range.end.div_ceil(cell_bytes) };
        (range.start / cell_bytes..end)
            .map(|cell| {
                let base = cell * cell_bytes;
                let from = range.start.max(base) - base;
                // The whole of the last cell, padding too: its CRC covers it.
                let until = match range.end == stripe.len_bytes {
                    true => cell_bytes,
                    false => range.end.min(base + cell_bytes) - base,
                };
                (cell as usize, from..until)
            })
            .collect()
    }

    /// A stripe of which nothing is known yet.
    pub(crate) fn reading<'a>(&self, stripe: &'a StripeRef) -> Reading<'a> {
        let takes_wrong_columns = self.has(Bug::WrongColumns);
        Reading {
            stripe,
            have: BTreeMap::new(),
            faults: BTreeMap::new(),
            takes_wrong_columns,
            codecs: Rc::clone(&self.codecs),
        }
    }

    /// Reads until what is wanted is there or can be decoded. `without` are cells that are not to
    /// be used.
    async fn gather_cells<'a>(
        &self,
        stripe: &'a StripeRef,
        wanted: &BTreeMap<usize, Range<u64>>,
        without: &BTreeSet<usize>,
        terms: Terms,
    ) -> Result<Reading<'a>, ClientError> {
        let mut reading = self.reading(stripe);
        let mut running: Gather<'_, Event> = Gather::new();
        let mut asked: BTreeMap<usize, Range<u64>> = BTreeMap::new();
        let ask = |cell: usize, columns: Range<u64>| async move {
            let result = self.fetch(stripe, cell, columns.clone(), terms).await;
            Event::Cell(cell, columns, result)
        };
        // Disks that are known not to answer are asked last, if at all.
        let shunned = self.shunned_cells(stripe);
        let asks = |cell: &usize| !without.contains(cell) && !shunned.contains(cell);
        for (&cell, columns) in wanted.iter().filter(|(cell, _)| asks(cell)) {
            asked.insert(cell, columns.clone());
            running.add(cell, ask(cell, columns.clone()));
        }
        let hedge = self.handle.sleep(self.config.hedge_after);
        running.add(ALARM, async move {
            hedge.await;
            Event::Slow
        });
        let mut is_slow = false;
        loop {
            if reading.is_enough(wanted) {
                break;
            }
            let others = wanted
                .keys()
                .any(|cell| reading.faults.contains_key(cell) || !asks(cell) || is_slow);
            if others {
                // Columns that every helper must give.
                let columns = reading.missing_columns(wanted);
                let covers = |have: &Range<u64>| covers(have, &columns);
                let ready = reading.have.values().filter(|piece| covers(&piece.columns)).count();
                // Those that are slow are not counted on.
                let coming = asked
                    .iter()
                    .filter(|(cell, have)| {
                        running.has(**cell)
                            && covers(have)
                            && !(is_slow && wanted.contains_key(cell))
                    })
                    .count();
                let mut need = stripe.needed().saturating_sub(ready + coming);
                for cell in self.helpers(stripe) {
                    if need == 0 {
                        break;
                    }
                    let is_used = asked.get(&cell).is_some_and(covers);
                    if is_used || reading.faults.contains_key(&cell) || without.contains(&cell) {
                        continue;
                    }
                    // Cells that are being read for other columns are read again, whole columns.
                    asked.insert(cell, columns.clone());
                    running.add(cell, ask(cell, columns.clone()));
                    need -= 1;
                }
            }
            match running.next().await {
                Some((_, Event::Slow)) => {
                    is_slow = true;
                    self.count(|counters| counters.hedged += 1);
                }
                Some((_, Event::Cell(cell, columns, Ok(bytes)))) => {
                    let better = reading.have.get(&cell).is_none_or(|piece| {
                        piece.columns.end - piece.columns.start < columns.end - columns.start
                    });
                    if better {
                        reading.have.insert(cell, Piece { columns, bytes });
                    }
                }
                Some((_, Event::Cell(_, _, Err(Fault::Failed(Failure::Deleted))))) => {
                    return Err(ClientError::Deleted);
                }
                Some((_, Event::Cell(cell, _, Err(fault)))) => {
                    if fault.is_loss() && fault != Fault::Failed(Failure::NotFound) {
                        self.count(|counters| counters.cells_bad += 1);
                    }
                    reading.faults.insert(cell, fault);
                    let is_absent = fault == Fault::Failed(Failure::NotFound);
                    if is_absent && stripe.is_copies() && self.has(Bug::AbsenceBelieved) {
                        return Err(ClientError::NotFound);
                    }
                }
                None => return Err(reading.why()),
            }
            if running.has(ALARM) && running.is_only(ALARM) && !reading.is_enough(wanted) {
                // Nothing but the alarm is left: whatever can be asked has been.
                let all_asked = self.helpers(stripe).all(|cell| {
                    reading.faults.contains_key(&cell)
                        || reading.have.contains_key(&cell)
                        || without.contains(&cell)
                });
                if all_asked {
                    return Err(reading.why());
                }
            }
        }
        if wanted.keys().any(|cell| !reading.have.contains_key(cell)) {
            self.count(|counters| counters.read_degraded += 1);
        }
        Ok(reading)
    }

    /// Cells whose disks don't answer, as far as enough others are left.
    fn shunned_cells(&self, stripe: &StripeRef) -> BTreeSet<usize> {
        let silent = (0..stripe.cells()).filter(|&cell| {
            let disk = self.member(stripe.group, stripe.position(cell));
            disk.is_some_and(|disk| self.links.is_silent(disk))
        });
        silent.take(stripe.cells() - stripe.needed()).collect()
    }

    /// Cells in the order in which they are asked to help: those whose disks speak first, of these
    /// the ones that are in no doubt.
    fn helpers(&self, stripe: &StripeRef) -> impl Iterator<Item = usize> + use<> {
        let mut cells: Vec<usize> = (0..stripe.cells()).collect();
        cells.sort_by_key(|&cell| self.rank(stripe, cell));
        cells.into_iter()
    }

    /// The lower, the rather is a cell asked for.
    fn rank(&self, stripe: &StripeRef, cell: usize) -> (bool, Doubt) {
        let disk = self.member(stripe.group, stripe.position(cell));
        disk.map_or((true, Doubt::None), |disk| {
            (self.links.is_silent(disk), self.links.doubt(disk))
        })
    }

    /// The stripe's CRC is not what its referrer says: one of the cells is another than it claims.
    /// Each in turn is left out.
    async fn read_around(
        &self,
        stripe: &StripeRef,
        range: &Range<u64>,
        terms: Terms,
    ) -> Result<Vec<u8>, ClientError> {
        for suspect in 0..stripe.cells() {
            let without = BTreeSet::from([suspect]);
            let wanted = match stripe.is_copies() {
                true => BTreeMap::from([((suspect + 1) % stripe.cells(), range.clone())]),
                false => self.wanted(stripe, range),
            };
            let Ok(reading) = self.gather_cells(stripe, &wanted, &without, terms).await else {
                continue;
            };
            let bytes = reading.assemble(&wanted)?;
            if Some(reading.crc_of_data(&wanted, &bytes)) == stripe.crc {
                self.confirm(stripe, &reading.cells_read(), terms).await?;
                self.count(|counters| counters.cells_bad += 1);
                self.mend_cell(stripe, suspect);
                return Ok(bytes);
            }
        }
        Err(ClientError::Corrupt { stripe: stripe.stripe })
    }

    fn note_faults(&self, reading: &Reading<'_>) {
        if reading.faults.values().any(|fault| fault.is_loss()) {
            self.mend(reading.stripe);
        }
    }
}

impl Reading<'_> {
    fn cells_read(&self) -> Vec<usize> {
        self.have.keys().copied().collect()
    }

    fn is_enough(&self, wanted: &BTreeMap<usize, Range<u64>>) -> bool {
        let has = |(cell, columns): (&usize, &Range<u64>)| {
            self.have.get(cell).is_some_and(|piece| covers(&piece.columns, columns))
        };
        wanted.iter().all(has) || {
            let columns = self.missing_columns(wanted);
            self.have.values().filter(|piece| covers(&piece.columns, &columns)).count()
                >= self.stripe.needed()
        }
    }

    /// The columns of which something is wanted and not there.
    fn missing_columns(&self, wanted: &BTreeMap<usize, Range<u64>>) -> Range<u64> {
        let missing = wanted.iter().filter(|(cell, columns)| {
            !self.have.get(cell).is_some_and(|piece| covers(&piece.columns, columns))
        });
        union(missing.map(|(_, columns)| columns))
    }

    /// What is wanted, in order, without the padding.
    fn assemble(&self, wanted: &BTreeMap<usize, Range<u64>>) -> Result<Vec<u8>, ClientError> {
        let rebuilt = self.rebuild(wanted)?;
        let stripe = self.stripe;
        let len: u64 = wanted.values().map(|columns| columns.end - columns.start).sum();
        let mut out = Vec::with_capacity(len as usize);
        for (&cell, columns) in wanted {
            // Padding is not the object's.
            let base = if stripe.is_copies() { 0 } else { cell as u64 * stripe.cell_bytes };
            let end = columns.end.min(stripe.len_bytes.saturating_sub(base)).max(columns.start);
            match (rebuilt.get(&cell), self.have.get(&cell)) {
                (Some((from, bytes)), _) => {
                    out.extend_from_slice(
                        &bytes[(columns.start - from) as usize..(end - from) as usize],
                    );
                }
                (None, Some(piece)) => {
                    let from = columns.start - piece.columns.start;
                    copy(&piece.bytes, from..from + (end - columns.start), &mut out);
                }
                (None, None) => unreachable!("what is not there was rebuilt"),
            }
        }
        Ok(out)
    }

    /// The wanted cells that are not there, from k that are.
    fn rebuild(
        &self,
        wanted: &BTreeMap<usize, Range<u64>>,
    ) -> Result<BTreeMap<usize, (u64, Vec<u8>)>, ClientError> {
        let is_there = |cell: &usize| {
            self.have.get(cell).is_some_and(|piece| covers(&piece.columns, &wanted[cell]))
        };
        let missing: Vec<usize> = wanted.keys().copied().filter(|cell| !is_there(cell)).collect();
        if missing.is_empty() {
            return Ok(BTreeMap::new());
        }
        let columns = self.missing_columns(wanted);
        let len = columns.end - columns.start;
        let helpers = self.have.iter().filter(|(_, piece)| covers(&piece.columns, &columns));
        let helpers: BTreeMap<usize, Cow<'_, [u8]>> = helpers
            .take(self.stripe.needed())
            .map(|(&cell, piece)| {
                let mut from = columns.start - piece.columns.start;
                if self.takes_wrong_columns {
                    from = 0;
                }
                (cell, in_one_piece(&piece.bytes, from..from + len))
            })
            .collect();
        if self.stripe.is_copies() {
            let copy = helpers.into_values().next().expect("one copy is enough").into_owned();
            return Ok(missing
                .into_iter()
                .map(|cell| (cell, (columns.start, copy.clone())))
                .collect());
        }
        let survivors: Vec<Option<&[u8]>> =
            (0..self.stripe.cells()).map(|cell| helpers.get(&cell).map(AsRef::as_ref)).collect();
        let mut out: Vec<Vec<u8>> = vec![vec![0; len as usize]; missing.len()];
        let mut lost: Vec<Lost<'_>> =
            missing.iter().zip(&mut out).map(|(&cell, bytes)| Lost { cell, bytes }).collect();
        self.codecs
            .with(self.stripe.descriptor(len), |codec| codec.reconstruct(&survivors, &mut lost))
            .map_err(|_| self.why())?;
        Ok(missing
            .into_iter()
            .zip(out)
            .map(|(cell, bytes)| (cell, (columns.start, bytes)))
            .collect())
    }

    /// CRC of the data cells with their padding, given the bytes of the whole stripe.
    fn crc_of_data(&self, wanted: &BTreeMap<usize, Range<u64>>, bytes: &[u8]) -> u32 {
        if self.stripe.is_copies() {
            return crc32c(bytes);
        }
        debug_assert!(wanted.len() <= self.stripe.needed());
        let padding = self.stripe.cell_bytes * self.stripe.needed() as u64 - bytes.len() as u64;
        let zeros = crc32c(&vec![0; padding as usize]);
        crc32c_combine(crc32c(bytes), zeros, padding)
    }

    /// Why it can't be read.
    pub(crate) fn why(&self) -> ClientError {
        let (cells, needed) = (self.stripe.cells(), self.stripe.needed());
        let count = |is: fn(&Fault) -> bool| self.faults.values().filter(|f| is(f)).count();
        let absent = count(|fault| *fault == Fault::Failed(Failure::NotFound));
        let lost = count(|fault| fault.is_loss());
        if absent > cells - needed && self.have.is_empty() {
            return ClientError::NotFound;
        }
        if lost > cells - needed {
            return ClientError::Lost { stripe: self.stripe.stripe, lost, cells, needed };
        }
        let busy = self.faults.values().filter_map(|fault| match fault {
            Fault::Failed(Failure::Busy { expected }) => Some(*expected),
            _ => None,
        });
        match busy.min() {
            Some(expected) => ClientError::Busy { expected },
            None => ClientError::Unavailable { reached: self.have.len(), needed },
        }
    }
}

/// The least range that covers all of them.
fn union<'a>(ranges: impl IntoIterator<Item = &'a Range<u64>>) -> Range<u64> {
    let ranges = ranges.into_iter().cloned();
    ranges.reduce(|a, b| a.start.min(b.start)..a.end.max(b.end)).unwrap_or(0..0)
}

fn covers(have: &Range<u64>, want: &Range<u64>) -> bool {
    have.start <= want.start && want.end <= have.end
}

/// A range of a body: as it lies there, where it is not split.
fn in_one_piece(body: &Body, range: Range<u64>) -> Cow<'_, [u8]> {
    let mut pieces = body.pieces();
    if let (Some(piece), None) = (pieces.next(), pieces.next()) {
        return Cow::Borrowed(&piece[range.start as usize..range.end as usize]);
    }
    let mut bytes = Vec::with_capacity((range.end - range.start) as usize);
    copy(body, range, &mut bytes);
    Cow::Owned(bytes)
}

/// Copies a range of a body.
fn copy(body: &Body, range: Range<u64>, out: &mut Vec<u8>) {
    let mut at = 0;
    for piece in body.pieces() {
        let end = at + piece.len() as u64;
        let from = range.start.clamp(at, end) - at;
        let until = range.end.clamp(at, end) - at;
        out.extend_from_slice(&piece[from as usize..until as usize]);
        at = end;
    }
}

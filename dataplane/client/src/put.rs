//! An object is put: cut, coded, spread, acknowledged.
//!
//! ```text
//! bytes ─> stripe ─> cells ─> CRCs ─> a group ─> every member ─┬─ all durable ─────────────> done
//!                                       ^                      ├─ one missing ─> 2 notes ──> done
//!                                       └── another group <────┴─ more missing ─> swept
//! ```
//!
//! What must always hold: nothing is acknowledged before all its cells are durable, or all but one
//! and a note of that one on two members. A locator is given only for an object that is whole.

use bytes::{Bytes, BytesMut};
use isotherm_erasure::Scheme;
use isotherm_placement::{DiskNo, GroupId};
use isotherm_seam::Nanos;
use isotherm_transport::Body;
use isotherm_wire::{Ask, Class as Work, crc32c, crc32c_combine};

use crate::ask::{Fault, Terms};
use crate::client::{Client, Inner};
use crate::codecs::Codecs;
use crate::error::{ClientError, Refusal};
use crate::gather::Gather;
use crate::layout::{MANIFEST_STRIPE, StripeRef, class_from, stripe_bytes};
use crate::locator::{Class, Locator};
use crate::manifest::{Manifest, STRIPES_MAX, Stripe};
use crate::note;
use crate::planted::Bug;

/// Draws that look for a group that was not tried yet.
const DRAWS: usize = 16;

impl Client {
    /// Keeps an object under a number from [`Client::new_id`] and gives the locator by which it
    /// is found. It is durable when the locator comes.
    ///
    /// # Errors
    /// After [`ClientError::Late`] the object may be there in part: put it under a new number, and
    /// delete this one.
    pub async fn put(&self, object: u128, bytes: Bytes) -> Result<Locator, ClientError> {
        let mut upload = self.upload(object);
        upload.write(bytes).await?;
        upload.finish().await
    }

    /// Begins an object whose bytes come piece by piece.
    pub fn upload(&self, object: u128) -> Upload {
        let scheme = self.inner.map.borrow().scheme;
        Upload {
            client: self.clone(),
            object,
            scheme,
            len_bytes: 0,
            pending: BytesMut::new(),
            stripes: Vec::new(),
            running: Gather::new(),
            failed: None,
        }
    }
}

/// An object on its way in. Dropped before [`Upload::finish`], it leaves cells that nobody refers
/// to: [`Client::list`] shows them, [`Client::delete_id`] sweeps them.
pub struct Upload {
    client: Client,
    object: u128,
    scheme: Scheme,
    len_bytes: u64,
    /// What does not fill a stripe yet.
    pending: BytesMut,
    /// Where each stripe is, once it is.
    stripes: Vec<Option<Stripe>>,
    running: Gather<'static, Result<Stripe, ClientError>>,
    failed: Option<ClientError>,
}

impl Upload {
    /// Takes the next bytes. Waits while as many stripes are under way as may be.
    pub async fn write(&mut self, mut bytes: Bytes) -> Result<(), ClientError> {
        let stripe = stripe_bytes(self.scheme) as usize;
        self.len_bytes += bytes.len() as u64;
        loop {
            let max_bytes = STRIPES_MAX as u64 * stripe as u64;
            if self.len_bytes > max_bytes {
                return Err(ClientError::TooLong { max_bytes });
            }
            // A stripe is sent when there is more behind it: one alone needs no manifest.
            if self.pending.len() + bytes.len() <= stripe {
                self.pending.extend_from_slice(&bytes);
                return Ok(());
            }
            let whole = match self.pending.is_empty() {
                true => bytes.split_to(stripe),
                false => {
                    let rest = bytes.split_to(stripe - self.pending.len());
                    self.pending.extend_from_slice(&rest);
                    self.pending.split().freeze()
                }
            };
            self.send(whole).await?;
        }
    }

    /// Puts what is left, and the manifest if there is one.
    pub async fn finish(mut self) -> Result<Locator, ClientError> {
        let inner = std::rc::Rc::clone(&self.client.inner);
        let striped_from = inner.config.striped_from_bytes;
        let class = class_from(self.len_bytes, self.scheme, striped_from);
        let last = self.pending.split().freeze();
        let (object, len_bytes, scheme) = (self.object, self.len_bytes, self.scheme);
        let locator = |group, crc| Locator {
            object,
            class,
            len_bytes,
            group,
            data_cells: scheme.data_cells() as u16,
            parity_cells: scheme.parity_cells() as u16,
            crc,
        };
        if class != Class::Manifest {
            let copies = class == Class::Replicas;
            let stripe = inner.put_stripe(self.object, 0, last, self.scheme, copies).await?;
            return Ok(locator(stripe.group, stripe.crc));
        }
        self.send(last).await?;
        while !self.running.is_empty() {
            self.land().await?;
        }
        let stripes = self.stripes.iter().map(|stripe| stripe.expect("all have landed")).collect();
        let manifest = Manifest {
            len_bytes: self.len_bytes,
            stripe_bytes: stripe_bytes(self.scheme),
            stripes,
        };
        let bytes = Bytes::from(manifest.encode());
        let kept = inner.put_stripe(self.object, MANIFEST_STRIPE, bytes, self.scheme, true).await?;
        Ok(locator(kept.group, kept.crc))
    }

    async fn send(&mut self, bytes: Bytes) -> Result<(), ClientError> {
        while self.stripes_running() >= self.client.inner.config.stripes_at_once.max(1) {
            self.land().await?;
        }
        let number = self.stripes.len();
        self.stripes.push(None);
        let inner = std::rc::Rc::clone(&self.client.inner);
        let (object, scheme) = (self.object, self.scheme);
        // As a task, so that it goes on while the caller gets the next bytes.
        let task = inner.handle.clone().try_spawn("put stripe", async move {
            inner.put_stripe(object, number as u32, bytes, scheme, false).await
        });
        match task {
            Ok(task) => self.running.add(number, task),
            Err(future) => self.running.add(number, future),
        }
        Ok(())
    }

    fn stripes_running(&self) -> usize {
        self.stripes.iter().filter(|stripe| stripe.is_none()).count()
    }

    async fn land(&mut self) -> Result<(), ClientError> {
        if let Some((number, result)) = self.running.next().await {
            match result {
                Ok(stripe) => self.stripes[number] = Some(stripe),
                Err(error) => self.failed = Some(error),
            }
        }
        self.failed.map_or(Ok(()), Err)
    }
}

/// The cells of a stripe, ready to be sent.
pub(crate) struct Coded {
    pub(crate) cells: Vec<Bytes>,
    pub(crate) crcs: Vec<u32>,
    /// Of the data cells, one after the other.
    pub(crate) crc: u32,
}

impl Coded {
    /// The CRCs as they go before each payload; nothing for copies.
    pub(crate) fn prefix(&self, stripe: &StripeRef) -> Bytes {
        match stripe.is_copies() {
            true => Bytes::new(),
            false => self.crcs.iter().flat_map(|crc| crc.to_le_bytes()).collect(),
        }
    }
}

/// Cuts and codes the bytes of a stripe, and checks the parity that came out.
pub(crate) fn code(codecs: &Codecs, stripe: &StripeRef, bytes: Bytes) -> Coded {
    if stripe.is_copies() {
        let crc = crc32c(&bytes);
        let cells = vec![bytes; stripe.cells()];
        return Coded { crcs: vec![crc; cells.len()], cells, crc };
    }
    let cell_bytes = stripe.cell_bytes as usize;
    let padded_bytes = cell_bytes * stripe.needed();
    let mut padded = bytes;
    if padded.len() < padded_bytes {
        let mut longer = BytesMut::zeroed(padded_bytes);
        longer[..padded.len()].copy_from_slice(&padded);
        padded = longer.freeze();
    }
    let data: Vec<Bytes> = (0..stripe.needed())
        .map(|cell| padded.slice(cell * cell_bytes..(cell + 1) * cell_bytes))
        .collect();
    let mut parity = vec![vec![0u8; cell_bytes]; stripe.scheme.parity_cells()];
    let sources: Vec<&[u8]> = data.iter().map(|cell| &cell[..]).collect();
    codecs.with(stripe.descriptor(stripe.cell_bytes), |codec| {
        let mut targets: Vec<&mut [u8]> = parity.iter_mut().map(Vec::as_mut_slice).collect();
        codec.encode(&sources, &mut targets).expect("cells of the codec's shape");
        let made: Vec<&[u8]> = parity.iter().map(Vec::as_slice).collect();
        codec.verify(&sources, &made).expect("the parity that was just made");
    });
    let cells: Vec<Bytes> = data.into_iter().chain(parity.into_iter().map(Bytes::from)).collect();
    let crcs: Vec<u32> = cells.iter().map(|cell| crc32c(cell)).collect();
    let crc = crcs[1..stripe.needed()]
        .iter()
        .fold(crcs[0], |sum, &crc| crc32c_combine(sum, crc, stripe.cell_bytes));
    Coded { cells, crcs, crc }
}

impl Inner {
    /// Puts a stripe, or copies, into the best group that takes it.
    pub(crate) async fn put_stripe(
        &self,
        object: u128,
        stripe: u32,
        bytes: Bytes,
        scheme: Scheme,
        copies: bool,
    ) -> Result<Stripe, ClientError> {
        let terms = self.terms(Work::Foreground);
        let len_bytes = bytes.len() as u64;
        let refer = |group, crc| match copies {
            true => StripeRef::copies(group, object, stripe, len_bytes, scheme, crc),
            false => StripeRef::coded(group, object, stripe, len_bytes, scheme, crc),
        };
        let coded = code(&self.codecs, &refer(GroupId(0), None), bytes);
        let mut why = Refusal::NoDisks;
        // Never one group twice: what sweeps the first attempt would find the second one's cells.
        let mut tried = Vec::new();
        while tried.len() < self.config.groups_tried.max(1) as usize {
            let avoided = if self.has(Bug::GroupAgain) { &[][..] } else { &tried };
            let Some(group) = self.choose_group(avoided) else { break };
            tried.push(group);
            let stripe = refer(group, Some(coded.crc));
            match self.put_cells(&stripe, &coded, terms).await {
                Ok(()) => {
                    self.count(|counters| counters.stripes_put += 1);
                    return Ok(Stripe { group, crc: coded.crc });
                }
                Err(Fault::Silent) => why = Refusal::Unreachable,
                Err(Fault::Failed(failure)) => why = Refusal::Failed(failure),
                Err(Fault::Foreign) => why = Refusal::Failed(isotherm_wire::Failure::BadRequest),
            }
            self.count(|counters| counters.groups_walked += 1);
            if terms.until <= self.handle.now() {
                return Err(ClientError::Late);
            }
        }
        Err(match why {
            Refusal::Failed(isotherm_wire::Failure::Busy { expected }) => {
                ClientError::Busy { expected }
            }
            Refusal::Failed(isotherm_wire::Failure::Deleted) => ClientError::Deleted,
            why => ClientError::NoGroup { why },
        })
    }

    fn choose_group(&self, tried: &[GroupId]) -> Option<GroupId> {
        let map = std::rc::Rc::clone(&self.map.borrow());
        let now = self.handle.now();
        let sick = |disk: DiskNo| self.links.is_sick(disk, now);
        let draws = &mut *self.draws.borrow_mut();
        let load = |_| self.load();
        let has_room = |group: &GroupId| {
            let members = map.group(*group).map_or(&[][..], |group| &group.members);
            !members.iter().any(|&disk| self.links.is_full(disk, now))
        };
        let is_new = |group: &GroupId| !tried.contains(group);
        // One missing cell is what a note is for, but not of a member that is full. Where no group
        // has so few sick members, those that were avoided are asked after all: they may be back.
        for _ in 0..DRAWS {
            let group = map.choose_group(draws, &sick, &load, 1);
            if group.is_some_and(|group| is_new(&group) && has_room(&group)) {
                return group;
            }
        }
        (0..DRAWS).find_map(|_| map.choose_group(draws, &|_| false, &load, 0).filter(is_new))
    }

    /// Puts the cells of a stripe on the members of its group.
    async fn put_cells(
        &self,
        stripe: &StripeRef,
        coded: &Coded,
        terms: Terms,
    ) -> Result<(), Fault> {
        let patience = self.handle.now() + self.config.cell_patience;
        let cell_terms = Terms { until: patience.min(terms.until), ..terms };
        let prefix = coded.prefix(stripe);
        let mut puts = Gather::new();
        let (shunned, epoch) = (self.shunned(stripe), self.epoch(stripe.group));
        for cell in (0..stripe.cells()).filter(|&cell| shunned != Some(cell)) {
            puts.add(cell, self.store(stripe, cell, coded, &prefix, epoch, cell_terms));
        }
        let mut kept = Vec::with_capacity(stripe.cells());
        let mut missing: Vec<_> = shunned.into_iter().map(|cell| (cell, Fault::Silent)).collect();
        while let Some((cell, result)) = puts.next().await {
            if self.has(Bug::AckTooFew) && kept.len() == stripe.needed() {
                return Ok(());
            }
            match result {
                Ok(()) => kept.push(cell),
                Err(fault) => missing.push((cell, fault)),
            }
            if missing.len() > 1 {
                break;
            }
        }
        drop(puts);
        let fault = match missing[..] {
            [] => return Ok(()),
            // A note waits for a member that comes back. One that is full does not take its cell then.
            [(cell, fault)] if !fault.is_full() && (!stripe.is_copies() || kept.len() >= 2) => {
                let note_terms = Terms { until: terms.until.max(patience), ..terms };
                if self.put_notes(stripe, cell, coded.crc, &kept, note_terms).await {
                    self.count(|counters| counters.put_with_note += 1);
                    if self.has(Bug::AcknowledgedSwept) {
                        self.sweep(stripe);
                    }
                    return Ok(());
                }
                fault
            }
            [(_, fault), ..] => fault,
        };
        self.sweep(stripe);
        Err(fault)
    }

    /// The cell whose disk is known not to take it now, if there is just one: it is left out at
    /// once, instead of after the wait that would show it once more.
    fn shunned(&self, stripe: &StripeRef) -> Option<usize> {
        let now = self.handle.now();
        let mut sick = (0..stripe.cells()).filter(|&cell| {
            let disk = self.member(stripe.group, stripe.position(cell));
            disk.is_none_or(|disk| self.links.is_sick(disk, now) && !self.links.is_full(disk, now))
        });
        let first = sick.next();
        first.filter(|_| sick.next().is_none())
    }

    /// Leaves a note of a missing cell on two members that keep another cell; false if that can't
    /// be done.
    async fn put_notes(
        &self,
        stripe: &StripeRef,
        cell: usize,
        crc: u32,
        kept: &[usize],
        terms: Terms,
    ) -> bool {
        let (key, epoch) = (note::key(stripe, cell), self.epoch(stripe.group));
        let ask = Ask::Put { key, epoch, codec: note::NOTE_CODEC, expires_s: 0, cells: 0 };
        let bytes = Bytes::from(note::encode(stripe, cell, crc));
        let body_crc = crc32c(&bytes);
        let mut members =
            kept.iter().filter_map(|&cell| self.member(stripe.group, stripe.position(cell)));
        let mut puts = Gather::new();
        let mut durable = 0;
        loop {
            while durable + puts.len() < note::NOTE_COPIES
                && let Some(disk) = members.next()
            {
                let body = Body::from(bytes.clone());
                puts.add(0, self.store_shard(disk, ask.clone(), body, body_crc, terms));
            }
            match puts.next().await {
                Some((_, Ok(()))) => durable += 1,
                Some((_, Err(_))) => {}
                None => return durable >= note::NOTE_COPIES,
            }
        }
    }

    /// Removes, as far as it can be done, the cells of a stripe that was given up. Nobody has been
    /// told of them.
    fn sweep(&self, stripe: &StripeRef) {
        for cell in 0..stripe.cells() {
            let key = stripe.key(cell);
            let Some(disk) = self.member(stripe.group, key.position) else { continue };
            let ask = Ask::Delete { key, epoch: 0, hold: false };
            let until = self.handle.now() + Nanos::from_secs(30);
            let terms = Terms { class: Work::Repair, until };
            self.in_background("sweep", move |inner| async move {
                let _ = inner.ask(disk, ask, Body::Empty, 0, terms).await;
            });
        }
    }
}

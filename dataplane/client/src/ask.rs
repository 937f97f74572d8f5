//! One question to one disk, and an answer that is checked.
//!
//! What must always hold: a payload that is handed on has its CRC, and its record says that it is
//! what was asked for: of that key, that codec and that length. Anything else is a fault of that
//! cell, never an answer.

use std::ops::Range;

use bytes::Bytes;
use isotherm_placement::DiskNo;
use isotherm_seam::{Mono, Nanos};
use isotherm_transport::{Body, CallError, Frame, PeerAddr};
use isotherm_wire::{Answer, Ask, Class, Failure, Given, Request, crc32c_combine};

use crate::client::Inner;
use crate::layout::StripeRef;
use crate::links::Link;
use crate::put::Coded;

/// Between two questions to a disk that does not answer, and how long each waits.
const PROBE_EVERY: Nanos = Nanos::from_millis(500);
const PROBE_PATIENCE: Nanos = Nanos::from_secs(2);
/// How long a disk may take to say that it is there: the node says it, whatever the disk does.
const CHECK_PATIENCE: Nanos = Nanos::from_millis(500);

/// Why a disk gave nothing.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Fault {
    /// It could not be reached, or not in time. Whether it did what was asked is not known.
    Silent,
    /// It said so.
    Failed(Failure),
    /// It gave something else.
    Foreign,
}

impl Fault {
    /// The cell is not there, or not as it was put: it must be rebuilt.
    pub(crate) fn is_loss(self) -> bool {
        matches!(
            self,
            Fault::Failed(Failure::NotFound | Failure::Io | Failure::Damaged) | Fault::Foreign
        )
    }

    /// The disk won't take any write soon: not just this one.
    fn refuses_writes(self) -> bool {
        self.is_full() || matches!(self, Fault::Failed(Failure::Fenced | Failure::Retired))
    }

    /// The disk is well and has no room.
    pub(crate) fn is_full(self) -> bool {
        matches!(self, Fault::Failed(Failure::Full | Failure::IndexFull))
    }
}

/// A question's circumstances.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Terms {
    pub(crate) class: Class,
    /// When the answer is of no use any more.
    pub(crate) until: Mono,
}

impl Inner {
    /// Asks a disk.
    pub(crate) async fn ask(
        &self,
        disk: DiskNo,
        ask: Ask,
        body: Body,
        body_crc: u32,
        terms: Terms,
    ) -> Result<(Given, Body), Fault> {
        let now = self.handle.now();
        let Some((uuid, peer)) = self.peer_of(disk) else { return Err(Fault::Silent) };
        let left = terms.until.since(now);
        if left == Nanos::ZERO {
            return Err(Fault::Silent);
        }
        let is_write = matches!(ask, Ask::Put { .. });
        // Of a reservation that is not claimed nothing is to be heard.
        let is_reserved = matches!(ask, Ask::Reserve { .. });
        if !is_reserved && self.links.asked(disk, now) {
            self.check(disk);
        }
        let link = self.links.to(peer);
        let request = Request {
            version: link.version(),
            class: terms.class,
            deadline_us: u32::try_from(left.0 / 1000).unwrap_or(u32::MAX).max(1),
            ..Request::new(uuid, ask)
        };
        let header = request.encode(body.len() as u32, body_crc);
        let call = link.connection.call(Frame { header, body });
        let answer = match self.handle.timeout(left, call).await {
            Ok(Ok(frame)) => frame,
            Ok(Err(CallError::Refused)) => return Err(Fault::Failed(Failure::NoBuffer)),
            Ok(Err(CallError::Closed(_) | CallError::Garbled(_))) | Err(_) => {
                if !is_reserved && self.links.silent(disk) {
                    self.probe(disk);
                }
                return Err(Fault::Silent);
            }
        };
        self.links.answered(disk);
        let Ok((answer_head, envelope)) = Answer::decode(&answer.header) else {
            return Err(Fault::Foreign);
        };
        let Answer { outcome, doubt, .. } = answer_head;
        // What the disk itself says, not the node in its place.
        if matches!(outcome, Ok(_) | Err(Failure::NotFound | Failure::Deleted)) {
            self.links.doubted(disk, doubt);
        }
        match outcome {
            Ok(_) if answer.body.crc() != envelope.body_crc => Err(Fault::Foreign),
            Ok(given) => {
                if is_write {
                    self.links.takes_writes(disk);
                }
                Ok((given, answer.body))
            }
            Err(failure) => {
                let fault = Fault::Failed(failure);
                if fault.refuses_writes() {
                    self.links.refuses_writes(disk, fault.is_full(), self.handle.now());
                }
                Err(fault)
            }
        }
    }

    /// A disk has not said what it should have by now. If that goes on it is asked whether it is there.
    pub(crate) fn not_heard_of(&self, disk: DiskNo) {
        if self.links.asked(disk, self.handle.now()) {
            self.check(disk);
        }
    }

    /// Asks a disk whether it is there. If it is not it counts as silent from then on.
    fn check(&self, disk: DiskNo) {
        let (weak, handle) = (self.myself.clone(), self.handle.clone());
        // Without room for a task the next one who asks finds out.
        let _ = self.handle.try_spawn("check", async move {
            let Some(inner) = weak.upgrade() else { return };
            let until = handle.now() + CHECK_PATIENCE;
            let terms = Terms { class: Class::Foreground, until };
            let _ = Box::pin(inner.ask(disk, Ask::Status, Body::Empty, 0, terms)).await;
        });
    }

    /// Asks a disk that has fallen silent again and again, until it answers: so that nobody who
    /// waits has to find out.
    fn probe(&self, disk: DiskNo) {
        let (weak, handle) = (self.myself.clone(), self.handle.clone());
        let begun = handle.clone().try_spawn("probe", async move {
            loop {
                handle.sleep(PROBE_EVERY).await;
                let Some(inner) = weak.upgrade() else { return };
                if !inner.links.is_silent(disk) {
                    return;
                }
                let until = handle.now() + PROBE_PATIENCE;
                let terms = Terms { class: Class::Foreground, until };
                // An answer of any kind ends the silence.
                let _ = Box::pin(inner.ask(disk, Ask::Status, Body::Empty, 0, terms)).await;
            }
        });
        if begun.is_err() {
            // No room for a task: the next one who asks finds out.
            self.links.answered(disk);
        }
    }

    /// Asks for a cell, or for some columns of it.
    pub(crate) async fn fetch(
        &self,
        stripe: &StripeRef,
        cell: usize,
        columns: Range<u64>,
        terms: Terms,
    ) -> Result<Body, Fault> {
        let ask = Ask::Get { key: stripe.key(cell), range: stripe.range(&columns) };
        self.fetch_by(ask, stripe, cell, columns, terms).await
    }

    /// The same in the words of this request.
    pub(crate) async fn fetch_by(
        &self,
        ask: Ask,
        stripe: &StripeRef,
        cell: usize,
        columns: Range<u64>,
        terms: Terms,
    ) -> Result<Body, Fault> {
        let key = stripe.key(cell);
        let disk = self.member(stripe.group, key.position).ok_or(Fault::Silent)?;
        let (given, body) = self.ask(disk, ask, Body::Empty, 0, terms).await?;
        let is_it = given.shard.key == key
            && given.shard.codec == stripe.codec_id()
            && u64::from(given.shard.len_bytes) == stripe.cell_bytes
            && u64::from(given.from) == columns.start
            && body.len() as u64 == columns.end - columns.start;
        if is_it { Ok(body) } else { Err(Fault::Foreign) }
    }

    /// How long a read of a disk would wait, as it says itself; for ever if it does not.
    pub(crate) async fn expected_wait(&self, disk: DiskNo, patience: Nanos, terms: Terms) -> Nanos {
        let asked = self.ask(disk, Ask::Status, Body::Empty, 0, terms);
        match self.handle.timeout(patience, asked).await {
            Ok(Ok((given, _))) => given.expected,
            _ => Nanos(u64::MAX),
        }
    }

    /// The connection to a disk.
    pub(crate) fn link_of(&self, disk: DiskNo) -> Option<Link> {
        let (_, peer) = self.peer_of(disk)?;
        Some(self.links.to(peer))
    }

    /// A read that takes longer is slow.
    pub(crate) fn hedge_after(&self) -> Nanos {
        self.patience.borrow().slow_after().min(self.config.hedge_after)
    }

    /// Puts a cell, under the epoch of the stripe's put. `crcs` are those of all cells of the
    /// stripe, empty for copies.
    pub(crate) async fn store(
        &self,
        stripe: &StripeRef,
        cell: usize,
        coded: &Coded,
        crcs: &Bytes,
        epoch: u64,
        terms: Terms,
    ) -> Result<(), Fault> {
        let key = stripe.key(cell);
        let (payload, crc) = (coded.cells[cell].clone(), coded.crcs[cell]);
        let cells = (crcs.len() / 4) as u32;
        let body_crc = match cells {
            0 => crc,
            _ => crc32c_combine(isotherm_wire::crc32c(crcs), crc, payload.len() as u64),
        };
        let chunks = [crcs.clone(), payload];
        let chunks = chunks.into_iter().filter(|chunk| !chunk.is_empty()).collect();
        let disk = self.member(stripe.group, key.position).ok_or(Fault::Silent)?;
        let ask = Ask::Put { key, epoch, codec: stripe.codec_id(), expires_s: 0, cells };
        self.store_shard(disk, ask, Body::Chunks(chunks), body_crc, terms).await
    }

    /// Puts a shard of any kind: a note is on a disk that need not be the one that its position
    /// names.
    pub(crate) async fn store_shard(
        &self,
        disk: DiskNo,
        ask: Ask,
        body: Body,
        body_crc: u32,
        terms: Terms,
    ) -> Result<(), Fault> {
        let Ask::Put { key, .. } = ask else { unreachable!("a put") };
        let (given, _) = self.ask(disk, ask, body, body_crc, terms).await?;
        if given.shard.key == key { Ok(()) } else { Err(Fault::Foreign) }
    }

    /// The disk at a position of a group.
    pub(crate) fn member(
        &self,
        group: isotherm_placement::GroupId,
        position: u16,
    ) -> Option<DiskNo> {
        self.map.borrow().group(group)?.members.get(usize::from(position)).copied()
    }

    pub(crate) fn epoch(&self, group: isotherm_placement::GroupId) -> u64 {
        self.map.borrow().group(group).map_or(0, |group| group.epoch)
    }

    /// From which epoch on a member has its part of what was put; none is ever as late as that of
    /// what is no member.
    pub(crate) fn since(&self, group: isotherm_placement::GroupId, position: u16) -> u64 {
        let map = self.map.borrow();
        let since = map.group(group).and_then(|group| group.since.get(usize::from(position)));
        since.copied().unwrap_or(u64::MAX)
    }

    fn peer_of(&self, disk: DiskNo) -> Option<(isotherm_wire::DiskUuid, PeerAddr)> {
        let map = self.map.borrow();
        let addr = map.address(disk)?;
        let disk = map.disk(disk)?;
        let name = map.node(disk.node)?.name.clone();
        Some((disk.uuid, PeerAddr { addr, name }))
    }
}

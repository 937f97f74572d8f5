//! One request: from the wire to the store and back.
//!
//! ```text
//! header ─> request ─> disk? room? ─> store ─> answer, its body in the buffer that was read
//!                         └ no: a failure that says what to do
//! ```
//!
//! What must always hold: the body of a put has its CRC before the store is told that it has, and
//! the store checks the payload itself against what the sender knows of it; the body of an answer
//! carries its CRC to the end.

use std::cell::Cell;

use isotherm_seam::{Mono, Nanos};
use isotherm_store::sched::Class as DiskClass;
use isotherm_store::{Delete, Get, PAYLOAD_MAX, Put, PutBuf, Shard, Store};
use isotherm_transport::{Body, Frame, SPANS_MAX};
use isotherm_wire::{
    Answer, Ask, DiskState, Doubt, Entry, Envelope, Failure, Given, Request, ShardInfo, crc32c,
    crc32c_combine, encode_entries,
};

use crate::convert::{disk_class, get_failure, info, put_failure};
use crate::doubt::{self, Doubted};
use crate::shelf::Shelf;

/// What a request was answered, and the payload with it.
pub(crate) type Outcome = Result<(Given, Body), Failure>;

/// When a request came.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Arrived {
    pub(crate) now: Mono,
    /// When a tombstone that it releases need not be held any more.
    pub(crate) release_at: Mono,
}

/// Serves a request of a disk that is open.
pub(crate) async fn serve(
    shelf: &Shelf,
    store: &Store,
    request: &Request,
    envelope: &Envelope,
    body: Body,
    arrived: Arrived,
) -> Outcome {
    let now = arrived.now;
    if doubt::names_own(&request.ask) {
        return Err(Failure::BadRequest);
    }
    match &request.ask {
        Ask::Ping => Ok((Given::default(), Body::Empty)),
        Ask::Put { key, epoch, codec, expires_s, cells } => {
            let _claim = shelf.admit(store, u64::from(envelope.body_bytes))?;
            let (buf, crc) = payload(store, *cells, key.position, envelope, &body)?;
            drop(body);
            let len = buf.len() as u64;
            let put = Put {
                key: *key,
                epoch: *epoch,
                codec: *codec,
                crc: Some(crc),
                expires_s: *expires_s,
                vital: false,
            };
            let identity = store.put(put, buf).await.map_err(put_failure)?;
            shelf.tally.borrow_mut().taken_bytes += len;
            Ok((given(info(&identity)), Body::Empty))
        }
        Ask::Get { key, range } => {
            let expected = match range {
                Some(range) => u64::from(range.end - range.start),
                None => 0,
            };
            let _claim = shelf.admit(store, expected)?;
            let get = Get { key: *key, range: range.clone(), deadline: deadline(request, now) };
            let shard = store.get_for(disk_class(request.class), get).await.map_err(get_failure)?;
            Ok(given_shard(shelf, shard))
        }
        Ask::Reserve { .. } => Err(Failure::BadRequest),
        Ask::Delete { key, epoch, hold } => {
            let _claim = shelf.admit(store, 0)?;
            let delete = Delete { key: *key, epoch: *epoch, hold: *hold };
            store.delete(delete).await.map_err(put_failure)?;
            Ok((Given::default(), Body::Empty))
        }
        Ask::Release { key } => {
            shelf.release(*key, arrived.release_at);
            Ok((Given::default(), Body::Empty))
        }
        Ask::Stat { key } => {
            let _claim = shelf.admit(store, 0)?;
            let identity = store.stat(*key).await.map_err(get_failure)?;
            Ok((given(info(&identity)), Body::Empty))
        }
        Ask::Verify { key } => {
            let _claim = shelf.admit(store, u64::from(PAYLOAD_MAX))?;
            let get = Get { key: *key, range: None, deadline: deadline(request, now) };
            let shard = store.get_for(disk_class(request.class), get).await.map_err(get_failure)?;
            Ok((given(info(shard.identity())), Body::Empty))
        }
        Ask::List { from, to, limit } => {
            let _claim = shelf.admit(store, 0)?;
            let page = store.list(*from, *to, *limit as usize).await.map_err(get_failure)?;
            let entries = page.entries.iter().filter(|listed| !doubt::is_own(&listed.key));
            let entries = entries.map(|listed| Entry {
                key: listed.key,
                is_tombstone: listed.is_tombstone,
                at_s: listed.at_s,
                sequence: listed.sequence,
            });
            let body = Body::from(encode_entries(entries));
            Ok((Given { next: page.next, ..Given::default() }, body))
        }
        Ask::Scrub => {
            let _claim = shelf.admit(store, 0)?;
            let report = store.scrub_step().await.map_err(get_failure)?;
            let entries = report
                .damaged
                .iter()
                .filter(|key| !doubt::is_own(key))
                .map(|key| Entry { key: *key, is_tombstone: false, at_s: 0, sequence: 0 });
            Ok((Given::default(), Body::from(encode_entries(entries))))
        }
        Ask::Status => {
            let sequence = shelf.doubted.get().number;
            let given = given(ShardInfo { sequence, ..ShardInfo::default() });
            let given = Given { expected: store.expected_wait(DiskClass::ForegroundRead), ..given };
            Ok((given, Body::from(disk_state(store).encode())))
        }
        Ask::Vouch { number } => {
            let doubted = shelf.doubted.get();
            if doubted.number != *number {
                // It was opened again since.
                return Err(Failure::Late);
            }
            if doubted.doubt != Doubt::None {
                doubt::end(store).await.map_err(put_failure)?;
                shelf.doubted.set(Doubted { doubt: Doubt::None, ..doubted });
            }
            Ok((Given::default(), Body::Empty))
        }
    }
}

/// An answer as it goes out.
pub(crate) fn frame(version: u8, doubt: Doubt, outcome: Outcome) -> Frame {
    match outcome {
        Ok((given, body)) => {
            let answer = Answer::ok(version, given).doubted(doubt);
            Frame { header: answer.encode(body.len() as u32, body.crc()), body }
        }
        Err(failure) => Frame::bare(Answer::failed(version, failure).doubted(doubt).encode(0, 0)),
    }
}

fn given(shard: ShardInfo) -> Given {
    Given { shard, ..Given::default() }
}

/// A shard as it goes out.
pub(crate) fn given_shard(shelf: &Shelf, shard: Shard) -> (Given, Body) {
    shelf.tally.borrow_mut().given_bytes += shard.len() as u64;
    let given = Given { from: shard.range().start, ..given(info(shard.identity())) };
    (given, shard_body(shard))
}

pub(crate) fn deadline(request: &Request, now: Mono) -> Option<Mono> {
    let length = Nanos::from_micros(u64::from(request.deadline_us));
    (request.deadline_us > 0).then(|| now + length)
}

/// The payload of a put in a buffer of the store, and the CRC that it must have.
///
/// With the CRCs of all cells before it the payload's own is one of them; that of the body is then
/// known from both without reading the payload, which the store does.
fn payload(
    store: &Store,
    cells: u32,
    position: u16,
    envelope: &Envelope,
    body: &Body,
) -> Result<(PutBuf, u32), Failure> {
    let cells_bytes = cells as usize * 4;
    let len = envelope.body_bytes as usize - cells_bytes;
    if len > store.payload_max() as usize {
        return Err(Failure::TooLong);
    }
    let mut buf = store.buffer(len).map_err(|_| Failure::NoBuffer)?;
    let mut prefix = Vec::with_capacity(cells_bytes);
    let (segment, at) = (Cell::new(0), Cell::new(0));
    for mut piece in body.pieces() {
        if prefix.len() < cells_bytes {
            let (front, rest) = piece.split_at(piece.len().min(cells_bytes - prefix.len()));
            prefix.extend_from_slice(front);
            piece = rest;
        }
        while !piece.is_empty() {
            let to = &mut buf.piece_mut(segment.get())[at.get()..];
            let (front, rest) = piece.split_at(piece.len().min(to.len()));
            to[..front.len()].copy_from_slice(front);
            at.set(at.get() + front.len());
            if front.len() == to.len() {
                segment.set(segment.get() + 1);
                at.set(0);
            }
            piece = rest;
        }
    }
    if cells == 0 {
        return Ok((buf, envelope.body_crc));
    }
    let crcs: Vec<u32> = prefix
        .chunks_exact(4)
        .map(|bytes| u32::from_le_bytes(bytes.try_into().expect("4 bytes")))
        .collect();
    let crc = *crcs.get(usize::from(position)).ok_or(Failure::BadRequest)?;
    if crc32c_combine(crc32c(&prefix), crc, len as u64) != envelope.body_crc {
        return Err(Failure::Mismatch);
    }
    buf.set_cells(&crcs);
    Ok((buf, crc))
}

fn shard_body(shard: Shard) -> Body {
    let (buf, spans) = shard.into_parts();
    let mut out = [(0, 0); SPANS_MAX];
    let mut used = 0;
    for span in spans {
        out[used] = (span.start, span.end);
        used += 1;
    }
    match used {
        0 => Body::Empty,
        _ => Body::Buffer(buf, out),
    }
}

fn disk_state(store: &Store) -> DiskState {
    let status = store.status();
    let counts = &status.extents;
    let all = counts.meta
        + counts.free
        + counts.open
        + counts.sealed
        + counts.dead
        + counts.offline
        + counts.suspect;
    DiskState {
        capacity_bytes: u64::from(all) * status.extent_bytes,
        free_bytes: u64::from(status.room_extents) * status.extent_bytes,
        live_bytes: status.live_bytes,
        shards: status.entries,
        shards_room: status.entries_left,
        is_fenced: status.fenced,
        is_retired: status.retired,
    }
}

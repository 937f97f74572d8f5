//! One message on a stream: how it goes out and how it comes in.
//!
//! ```text
//! | header, 128 bytes | body, as long as the header says | FIN |
//! ```
//!
//! What must always hold: a message that is not whole never looks whole. Its sender says FIN only
//! behind its last byte and resets the stream otherwise; its reader believes no byte before the
//! header is checked, and hands over nothing before FIN.

use bytes::Bytes;
use isotherm_wire::{Envelope, HEADER_BYTES, HeaderBytes, WireError};
use quinn_proto::{ReadError, RecvStream, SendStream, WriteError};

use crate::quic::loans::Loans;
use crate::{Body, Frame};

/// Pieces that a pool buffer is copied in. Longer ones would each be mapped and unmapped by the
/// allocator.
const COPY_BYTES: usize = 64 << 10;

/// From this length on a pool buffer is lent: copying less than this is cheaper than a loan.
const WORTH_LENDING: usize = 8 << 10;

/// A message on its way out.
#[derive(Default)]
pub(crate) struct Outgoing {
    chunks: Vec<Bytes>,
    /// Chunks that were taken whole.
    sent: usize,
    /// What is not yet in `chunks`.
    rest: Option<Rest>,
}

struct Rest {
    body: Body,
    piece: usize,
    at: usize,
}

/// What became of a write.
#[derive(PartialEq, Eq, Debug)]
pub(crate) enum Sent {
    /// All of it, FIN included.
    Whole,
    /// There is no room now: an event says when there is.
    Blocked,
    /// The peer does not want it.
    Stopped,
}

impl Outgoing {
    pub(crate) fn new(frame: Frame, loans: &Loans) -> Outgoing {
        let header = frame.header;
        match frame.body {
            Body::Empty => {
                Outgoing { chunks: vec![Bytes::copy_from_slice(&header)], ..Outgoing::default() }
            }
            Body::Chunks(mut chunks) => {
                chunks.retain(|chunk| !chunk.is_empty());
                chunks.insert(0, Bytes::copy_from_slice(&header));
                Outgoing { chunks, ..Outgoing::default() }
            }
            Body::Buffer(buf, spans) => {
                let len: usize = spans.iter().map(|(from, to)| (to - from) as usize).sum();
                let lent = if len >= WORTH_LENDING { loans.lend(buf) } else { Err(buf) };
                let buf = match lent {
                    Ok(bytes) => {
                        let mut chunks = Vec::with_capacity(1 + spans.len());
                        chunks.push(Bytes::copy_from_slice(&header));
                        let spans = spans.iter().filter(|(from, to)| from < to);
                        chunks.extend(
                            spans.map(|&(from, to)| bytes.slice(from as usize..to as usize)),
                        );
                        return Outgoing { chunks, ..Outgoing::default() };
                    }
                    Err(buf) => buf,
                };
                let body = Body::Buffer(buf, spans);
                let mut rest = Rest { body, piece: 0, at: 0 };
                let mut first = Vec::with_capacity(HEADER_BYTES + rest.body.len().min(COPY_BYTES));
                first.extend_from_slice(&header);
                rest.copy(&mut first);
                Outgoing { chunks: vec![first.into()], sent: 0, rest: Some(rest) }
            }
        }
    }

    /// Writes as much as there is room for.
    pub(crate) fn pump(&mut self, stream: &mut SendStream<'_>) -> Sent {
        loop {
            if self.sent == self.chunks.len() {
                let mut next = Vec::new();
                if let Some(rest) = &mut self.rest {
                    rest.copy(&mut next);
                }
                if next.is_empty() {
                    self.rest = None;
                    return if stream.finish().is_ok() { Sent::Whole } else { Sent::Stopped };
                }
                self.chunks.clear();
                self.chunks.push(next.into());
                self.sent = 0;
            }
            match stream.write_chunks(&mut self.chunks[self.sent..]) {
                Ok(written) => self.sent += written.chunks,
                Err(WriteError::Blocked) => return Sent::Blocked,
                Err(WriteError::Stopped(_) | WriteError::ClosedStream) => return Sent::Stopped,
            }
        }
    }
}

impl Rest {
    /// Appends the next bytes of the body, `COPY_BYTES` at most; none once all were copied.
    fn copy(&mut self, into: &mut Vec<u8>) {
        let mut room = COPY_BYTES;
        let left = self.body.pieces().skip(self.piece).map(<[u8]>::len).sum::<usize>() - self.at;
        into.reserve(left.min(room));
        while room > 0 {
            let Some(piece) = self.body.pieces().nth(self.piece) else { return };
            let part = &piece[self.at..];
            let count = part.len().min(room);
            into.extend_from_slice(&part[..count]);
            room -= count;
            self.at += count;
            if self.at == piece.len() {
                self.piece += 1;
                self.at = 0;
            }
        }
    }
}

/// A message on its way in.
pub(crate) struct Incoming {
    header: HeaderBytes,
    header_len: usize,
    /// Length of the body, once the header is known.
    body_bytes: Option<usize>,
    body: Vec<Bytes>,
    /// Bytes of the body that are still to come, once the header is known.
    missing: Option<usize>,
}

/// What became of a read.
#[derive(Debug)]
pub(crate) enum Read {
    /// More is to come.
    Pending,
    /// All is there.
    Whole,
    /// The peer cut it.
    Reset,
    /// It is not a message.
    Garbled(WireError),
}

impl Incoming {
    pub(crate) fn new() -> Incoming {
        Incoming {
            header: [0; HEADER_BYTES],
            header_len: 0,
            body_bytes: None,
            body: Vec::new(),
            missing: None,
        }
    }

    /// Reads what is there. The second value: the peer must be told of room that came free.
    pub(crate) fn pump(&mut self, mut stream: RecvStream<'_>) -> (Read, bool) {
        // An event may come for a stream that was read to its end.
        let Ok(mut chunks) = stream.read(true) else { return (Read::Pending, false) };
        let read = loop {
            match chunks.next(usize::MAX) {
                Ok(Some(chunk)) => {
                    if let Err(error) = self.take(chunk.bytes) {
                        break Read::Garbled(error);
                    }
                }
                Ok(None) if self.missing == Some(0) => break Read::Whole,
                Ok(None) if self.missing.is_some() => break Read::Garbled(WireError::Body),
                Ok(None) => break Read::Garbled(WireError::HeaderCrc),
                Err(ReadError::Blocked) => break Read::Pending,
                Err(ReadError::Reset(_)) => break Read::Reset,
            }
        };
        (read, chunks.finalize().should_transmit())
    }

    fn take(&mut self, mut bytes: Bytes) -> Result<(), WireError> {
        if self.missing.is_none() {
            let count = bytes.len().min(HEADER_BYTES - self.header_len);
            let head = bytes.split_to(count);
            self.header[self.header_len..][..count].copy_from_slice(&head);
            self.header_len += count;
            if self.header_len < HEADER_BYTES {
                return Ok(());
            }
            self.body_bytes = Some(Envelope::read(&self.header)?.body_bytes as usize);
            self.missing = self.body_bytes;
        }
        if bytes.is_empty() {
            return Ok(());
        }
        let missing = self.missing.expect("the header is there");
        self.missing = Some(missing.checked_sub(bytes.len()).ok_or(WireError::Body)?);
        self.body.push(bytes);
        Ok(())
    }

    /// Length of the whole message, once its header is there.
    pub(crate) fn len_bytes(&self) -> Option<u64> {
        let body_bytes = self.body_bytes?;
        Some((HEADER_BYTES + body_bytes) as u64)
    }

    /// The message, once it is whole.
    pub(crate) fn into_frame(self) -> Frame {
        debug_assert_eq!(self.missing, Some(0));
        let body = if self.body.is_empty() { Body::Empty } else { Body::Chunks(self.body) };
        Frame { header: self.header, body }
    }
}

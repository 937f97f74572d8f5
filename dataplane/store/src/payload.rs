//! Payloads on their way in and out: one pool buffer each, laid out as the record is on disk.
//!
//! What must always hold: a payload is written once, by its sender, to where it will go to the
//! disk from; the check blocks in between belong to the store. One block behind the record is
//! left for the mark of its batch, so that a large record and its mark are one write.

use std::ops::Range;

use isotherm_seam::{BufPool, IoBuf, PoolExhausted};

use crate::BLOCK_BYTES;
use crate::api::Identity;
use crate::layout::{Block, SEGMENT_BYTES, Shape};

/// Segments of the longest payload.
const SPANS: usize = crate::PAYLOAD_MAX.div_ceil(SEGMENT_BYTES as u32) as usize;

/// A payload to put.
pub struct PutBuf {
    pub(crate) buf: IoBuf,
    pub(crate) shape: Shape,
}

impl PutBuf {
    /// Bytes of a pool buffer for a payload of so many bytes.
    pub fn buffer_bytes(payload_bytes: usize) -> usize {
        let shape = Shape { payload_bytes: payload_bytes as u32 };
        (shape.blocks() as usize + 1) * BLOCK_BYTES
    }

    /// A buffer for a payload of `len_bytes`. What it holds is whatever was there before.
    pub(crate) fn new(pool: &BufPool, len_bytes: u32) -> Result<PutBuf, PoolExhausted> {
        Ok(PutBuf::over(pool.alloc(PutBuf::buffer_bytes(len_bytes as usize))?, len_bytes))
    }

    /// The same in a buffer that is long enough.
    pub(crate) fn over(mut buf: IoBuf, len_bytes: u32) -> PutBuf {
        let shape = Shape { payload_bytes: len_bytes };
        buf.set_len(PutBuf::buffer_bytes(len_bytes as usize));
        Block::over_mut(&mut buf[..BLOCK_BYTES]).clear_cells();
        // Padding goes to the disk: zero, not somebody's old bytes.
        let end = shape.blocks() as usize * BLOCK_BYTES;
        buf[shape.payload_at(shape.segments() - 1).end..end].fill(0);
        PutBuf { buf, shape }
    }

    /// Length of the payload.
    pub fn len(&self) -> usize {
        self.shape.payload_bytes as usize
    }

    /// Whether the payload has no bytes.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The pieces that the payload goes into, in order: 256 KiB each but the last.
    pub fn pieces(&self) -> impl Iterator<Item = &[u8]> {
        (0..self.shape.segments()).map(|segment| &self.buf[self.shape.payload_at(segment)])
    }

    /// One of the pieces, to be filled.
    pub fn piece_mut(&mut self, segment: usize) -> &mut [u8] {
        let at = self.shape.payload_at(segment as u32);
        &mut self.buf[at]
    }

    /// Copies the payload in. Panics unless it has the right length.
    pub fn fill(&mut self, payload: &[u8]) {
        assert_eq!(payload.len(), self.len(), "as long as was asked for");
        for (segment, piece) in payload.chunks(SEGMENT_BYTES).enumerate() {
            self.piece_mut(segment).copy_from_slice(piece);
        }
    }

    /// Notes the CRCs of all cells of the stripe beside the payload.
    pub fn set_cells(&mut self, crcs: &[u32]) {
        Block::over_mut(&mut self.buf[..BLOCK_BYTES]).set_cells(crcs);
    }
}

/// A payload, or a range of one, as it was read and checked.
pub struct Shard {
    pub(crate) buf: IoBuf,
    pub(crate) identity: Identity,
    pub(crate) shape: Shape,
    /// The segment whose check block the buffer begins with.
    pub(crate) first: u32,
    /// Bytes of the payload.
    pub(crate) range: Range<u32>,
}

impl Shard {
    /// What the record says of itself.
    pub fn identity(&self) -> &Identity {
        &self.identity
    }

    /// Which bytes of the payload these are.
    pub fn range(&self) -> Range<u32> {
        self.range.clone()
    }

    /// How many bytes.
    pub fn len(&self) -> usize {
        (self.range.end - self.range.start) as usize
    }

    /// Whether these are none.
    pub fn is_empty(&self) -> bool {
        self.range.is_empty()
    }

    /// The bytes, in order, as they lie in the buffer.
    pub fn pieces(&self) -> impl Iterator<Item = &[u8]> {
        let from = self.range.start as usize / SEGMENT_BYTES;
        let to = (self.range.end as usize).div_ceil(SEGMENT_BYTES);
        (from..to).map(move |segment| {
            let base = segment * SEGMENT_BYTES;
            let start = (self.range.start as usize).max(base) - base;
            let end = (self.range.end as usize).min(base + SEGMENT_BYTES) - base;
            let at = self.shape.payload_at(segment as u32).start
                - self.shape.segment_block(self.first) as usize * BLOCK_BYTES;
            &self.buf[at + start..at + end]
        })
    }

    /// The buffer, and which bytes of it are the payload's, in order: at most one span a segment.
    pub fn into_parts(self) -> (IoBuf, impl Iterator<Item = Range<u32>>) {
        let base = self.buf.as_ptr() as usize;
        let mut spans = [const { 0..0 }; SPANS];
        for (span, piece) in spans.iter_mut().zip(self.pieces()) {
            let from = (piece.as_ptr() as usize - base) as u32;
            *span = from..from + piece.len() as u32;
        }
        (self.buf, spans.into_iter().filter(|span| !span.is_empty()))
    }

    /// A copy of the bytes.
    pub fn to_vec(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(self.len());
        self.pieces().for_each(|piece| out.extend_from_slice(piece));
        out
    }

    /// The CRCs of all cells of the stripe, where they were noted and the first segment was read.
    pub fn cells(&self) -> Vec<u32> {
        if self.first > 0 {
            return Vec::new();
        }
        Block::over(&self.buf[..BLOCK_BYTES]).cells().collect()
    }
}

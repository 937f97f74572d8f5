//! Batches: items laid out one behind another, with a mark at the end that makes them count.
//!
//! ```text
//! | head of the extent, if it is the first | record | record | tombstones | mark |
//! ```
//!
//! What must always hold: a batch lies in one extent, behind all before it, and its mark is its
//! last block. A long record is a batch of its own, written from its own buffer.

use isotherm_seam::IoBuf;

use super::item::{Body, Item};
use super::lane::UnderWay;
use crate::core::Core;
use crate::extents::Taker;
use crate::layout::{
    Block, ExtentHead, Kind, Mark, Origin, RecordHead, Shape, TOMBS_MAX, Tomb, Tombs,
};
use crate::payload::PutBuf;
use crate::{BLOCK_BYTES, Bug, ExtentId, Place};

/// A batch under way.
pub(crate) struct Batch {
    pub(super) lane: usize,
    pub(super) extent: ExtentId,
    pub(super) first: u32,
    pub(super) end: u32,
    pub(super) items: Vec<(Item, Place, u64)>,
    pub(super) direct: bool,
    /// Only for a planted bug: the mark that is written too late.
    pub(super) late_mark: Option<(u32, IoBuf)>,
}

impl Core {
    /// Takes items off the queue and lays them out: the batch, and what to write where.
    pub(super) fn form_batch(&self, lane: usize) -> Option<(Batch, Vec<(u32, IoBuf)>)> {
        let now_s = self.world.wall_s();
        let state = &mut *self.state.borrow_mut();
        let own = &mut state.lanes.lanes[lane];
        let direct = own.queue.front()?.is_direct();
        let open = own.open.as_mut().expect("room was made");
        let first = open.end;
        let needs_buf = !direct || first == 0;
        let mut buf = match needs_buf {
            true => Some(state.batch_bufs.pop()?),
            false => None,
        };
        let mut writer = Writer {
            uuid: self.uuid,
            extent: open.extent,
            incarnation: open.incarnation,
            durable: open.durable,
            at: first,
            heads: 0,
            records: 0,
        };
        let mut writes = Vec::with_capacity(2);
        let mut items = Vec::new();
        if first == 0 {
            let stream = Some(own.aim.stream());
            let expires_day = own.aim.expires_day();
            let head = ExtentHead { stream, opened_s: now_s, expires_day };
            let buf = buf.as_mut().expect("taken above");
            buf.set_len(BLOCK_BYTES);
            head.write(Block::over_mut(buf));
            writer.seal(Block::over_mut(buf), 0);
        }
        let mut late_mark = None;
        if direct {
            if let Some(buf) = buf.take() {
                writes.push((first, buf));
            }
            let mut item = own.queue.pop_front().expect("seen above");
            let sequence = item.number(&mut state.next_sequence);
            let place = writer.place(item.blocks(), false);
            let mut record = item.write_record(&mut writer, sequence);
            let len = record.len();
            record.set_len(len + BLOCK_BYTES);
            writer.mark(first, Block::over_mut(&mut record[len..]));
            writes.push((place.block, record));
            items.push((item, place, sequence));
        } else {
            let mut out = buf.take().expect("taken above");
            let mut used = if first == 0 { BLOCK_BYTES } else { 0 };
            let mut tombs = Vec::new();
            let mut tombs_blocks = 0u32;
            while let Some(front) = own.queue.front() {
                let is_tomb = matches!(front.body, Body::Tomb(_));
                let blocks = match is_tomb {
                    true => u32::from(tombs.len() % TOMBS_MAX == 0),
                    false => front.blocks(),
                };
                let may =
                    front.taker() != Taker::Put || open.for_puts || self.has(Bug::ReserveIgnored);
                // The mark, and the tombstones gathered so far, go behind.
                let behind = tombs_blocks + 1;
                let room = writer.at + blocks + behind <= self.medium.cut.extent_blocks
                    && used + (blocks + behind) as usize * BLOCK_BYTES <= out.capacity();
                if front.is_direct() || !may || !room {
                    break;
                }
                let mut item = own.queue.pop_front().expect("seen above");
                let sequence = item.number(&mut state.next_sequence);
                if is_tomb {
                    tombs_blocks += blocks;
                    tombs.push((item, sequence));
                    continue;
                }
                let place = writer.place(blocks, false);
                let len = blocks as usize * BLOCK_BYTES;
                out.set_len(used + len);
                item.copy_record(&mut writer, sequence, &mut out[used..used + len]);
                used += len;
                items.push((item, place, sequence));
            }
            while !tombs.is_empty() {
                let chunk: Vec<(Item, u64)> = tombs.drain(..tombs.len().min(TOMBS_MAX)).collect();
                let rows: Vec<Tomb> = chunk.iter().map(|(item, _)| item.tomb()).collect();
                let place = writer.place(1, true);
                out.set_len(used + BLOCK_BYTES);
                let block = Block::over_mut(&mut out[used..used + BLOCK_BYTES]);
                Tombs::write(&rows, block);
                writer.seal(block, rows[0].sequence);
                writer.records += 1;
                used += BLOCK_BYTES;
                items.extend(chunk.into_iter().map(|(item, sequence)| (item, place, sequence)));
            }
            assert!(!items.is_empty(), "room was made for the first item");
            out.set_len(used + BLOCK_BYTES);
            writer.mark(first, Block::over_mut(&mut out[used..used + BLOCK_BYTES]));
            if self.has(Bug::AckBeforeMark)
                && let Ok(mut mark) = self.world.pool.alloc(BLOCK_BYTES)
            {
                mark.copy_from_slice(&out[used..used + BLOCK_BYTES]);
                out.set_len(used);
                late_mark = Some((writer.at - 1, mark));
            }
            writes.push((first, out));
        }
        open.end = writer.at;
        open.under_way.push_back(UnderWay::new(writer.at));
        match direct {
            true => own.direct += 1,
            false => own.batches += 1,
        }
        own.writing += 1;
        let newest = items.iter().map(|(item, ..)| item.at_s()).max().unwrap_or(0);
        let row = state.extents.row_mut(writer.extent);
        row.newest_s = row.newest_s.max(newest);
        let batch =
            Batch { lane, extent: writer.extent, first, end: writer.at, items, direct, late_mark };
        Some((batch, writes))
    }
}

/// Where a batch is being laid out.
pub(super) struct Writer {
    uuid: [u8; 16],
    extent: ExtentId,
    incarnation: u64,
    durable: u32,
    at: u32,
    heads: u32,
    records: u32,
}

impl Writer {
    fn place(&self, blocks: u32, dead: bool) -> Place {
        Place { extent: self.extent, block: self.at, blocks: blocks as u16, dead }
    }

    /// Seals the check block of the next block and moves on by that one block.
    fn seal(&mut self, block: &mut Block, sequence: u64) {
        let origin = Origin {
            uuid: self.uuid,
            extent: self.extent,
            block: self.at,
            incarnation: self.incarnation,
        };
        block.seal(&origin, sequence, self.durable);
        self.heads = Mark::chain(self.heads, block.crc());
        self.at += 1;
    }

    fn mark(&mut self, first_block: u32, block: &mut Block) {
        let mark = Mark { first_block, records: self.records, heads_crc: self.heads };
        mark.write(block);
        self.seal(block, 0);
    }

    /// Writes the check blocks of a record.
    pub(super) fn record(
        &mut self,
        kind: Kind,
        head: &RecordHead,
        shape: Shape,
        sequence: u64,
        bytes: &mut [u8],
    ) {
        let start = self.at;
        for segment in 0..shape.segments() {
            let at = shape.segment_block(segment) as usize * BLOCK_BYTES;
            let (block, payload) = bytes[at..].split_at_mut(BLOCK_BYTES);
            let block = Block::over_mut(block);
            let payload = &payload[..shape.segment_bytes(segment) as usize];
            head.write(kind, shape, segment, payload, block);
            self.at = start + shape.segment_block(segment);
            self.seal(block, sequence);
        }
        self.at = start + shape.blocks();
        self.records += 1;
    }
}

impl Batch {
    /// The buffer of its one large record is back.
    pub(super) fn give_back(&mut self, mut buf: IoBuf) {
        let (item, place, _) = &mut self.items[0];
        let shape = item.shape;
        buf.set_len((u32::from(place.blocks) + 1) as usize * BLOCK_BYTES);
        *item.record().2 = Some(PutBuf { buf, shape });
    }
}

//! Reading an extent from end to end: what in it is committed, and where it is damaged.
//!
//! What must always hold:
//! - A record is committed if the mark of its batch is sound, or if a later block of this life of
//!   the extent says that it was durable. Nothing else is; and a sector that can't be read, or
//!   anything else that is not a check block, ends nothing: the walk goes on block by block.
//! - Damage in front of what is known to be durable is a *hole*: something that was acknowledged
//!   may have been there. Damage behind it is a torn tail.
//! - Only a sound check block says how far to go on.

use isotherm_seam::{IoBuf, IoError, Nanos, PoolExhausted};

use super::again::OneByOne;
use crate::core::World;
use crate::layout::{
    Block, ExtentHead, Kind, Mark, Origin, RecordHead, Shape, Stream, Tomb, Tombs,
};
use crate::medium::Medium;
use crate::record::ReadRecord;
use crate::{BLOCK_BYTES, Bug, ExtentId, Place, Planted};

/// A committed record.
pub(crate) struct FoundRecord {
    pub(crate) place: Place,
    /// The life of its extent.
    pub(crate) incarnation: u64,
    pub(crate) sequence: u64,
    pub(crate) what: What,
}

/// What was found.
pub(crate) enum What {
    Shard(RecordHead),
    Tomb(Tomb),
}

/// Blocks of an extent that should hold something and do not.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Hole {
    /// The extent.
    pub extent: ExtentId,
    /// The first block,
    pub block: u32,
    /// and how many.
    pub blocks: u32,
}

/// What was found in an extent.
#[derive(Default)]
pub(crate) struct Walked {
    pub(crate) records: Vec<FoundRecord>,
    pub(crate) holes: Vec<Hole>,
    /// Blocks of this life behind what was committed.
    pub(crate) torn: u32,
    /// One behind the last block of this life.
    pub(crate) end: u32,
    pub(crate) newest_s: u32,
    pub(crate) stream: Option<Stream>,
    /// Blocks that can't be read.
    pub(crate) unreadable: u32,
    /// The greatest sequence seen, committed or not.
    pub(crate) sequence_max: u64,
    /// Index chunks were found.
    pub(crate) chunks: u32,
    /// Batches with a sound mark that are not what it says.
    pub(crate) broken: Vec<Hole>,
}

impl Walked {
    /// Nothing of this life is there.
    pub(crate) fn is_empty(&self) -> bool {
        self.end == 0
    }

    /// Nothing is there that counts, and nothing that could not be read.
    pub(crate) fn holds_nothing(&self) -> bool {
        self.records.is_empty()
            && self.holes.is_empty()
            && self.broken.is_empty()
            && self.unreadable == 0
    }
}

/// How often a walk asks for a buffer, 200 µs apart: for a second.
const BUFFER_TRIES: u32 = 5000;

/// Reads windows of an extent.
pub(crate) struct Walker<'a> {
    pub(crate) world: &'a World,
    pub(crate) medium: &'a Medium,
    pub(crate) uuid: [u8; 16],
    pub(crate) planted: Planted,
    pub(crate) window_blocks: u32,
}

/// A window of an extent in memory.
struct Window {
    buf: IoBuf,
    first: u32,
    blocks: u32,
    /// By block: it could not be read.
    bad: Vec<bool>,
}

impl Window {
    fn holds(&self, block: u32, blocks: u32) -> bool {
        block >= self.first && block + blocks <= self.first + self.blocks
    }

    fn is_bad(&self, block: u32) -> bool {
        self.bad[(block - self.first) as usize]
    }

    fn bytes(&self, block: u32, blocks: u32) -> &[u8] {
        let at = (block - self.first) as usize * BLOCK_BYTES;
        &self.buf[at..at + blocks as usize * BLOCK_BYTES]
    }
}

/// Where a walk stands.
pub(crate) struct Cursor {
    pub(crate) extent: ExtentId,
    pub(crate) incarnation: u64,
    /// The next block.
    pub(crate) at: u32,
    pub(crate) limit: u32,
    window: Option<Window>,
}

impl Cursor {
    pub(crate) fn new(extent: ExtentId, incarnation: u64, limit: u32) -> Cursor {
        Cursor { extent, incarnation, at: 0, limit, window: None }
    }

    /// The check blocks of the piece that was found last, each with its checksum.
    fn heads(&self, found: &Found) -> Vec<(u32, u32)> {
        let window = self.window.as_ref().expect("it was read");
        let crc_at = |at: u32| {
            let is_read = window.holds(at, 1) && !window.is_bad(at);
            is_read.then(|| (at, Block::over(window.bytes(at, 1)).crc()))
        };
        match &found.what {
            Piece::Bad | Piece::Junk => Vec::new(),
            Piece::Head(_) | Piece::Mark(_) | Piece::Tombs(_) => {
                crc_at(found.at).into_iter().collect()
            }
            Piece::Record { shape, .. } => (0..shape.segments())
                .filter_map(|segment| crc_at(found.at + shape.segment_block(segment)))
                .collect(),
        }
    }

    /// The bytes of the piece that was found last.
    pub(crate) fn bytes(&self, found: &Found) -> &[u8] {
        self.window.as_ref().expect("it was read").bytes(found.at, found.blocks)
    }
}

/// A piece of an extent.
pub(crate) struct Found {
    /// Its first block,
    pub(crate) at: u32,
    /// and how many.
    pub(crate) blocks: u32,
    pub(crate) sequence: u64,
    pub(crate) durable: u32,
    pub(crate) what: Piece,
}

/// What a piece is.
pub(crate) enum Piece {
    /// Can't be read.
    Bad,
    /// No sound block of this life.
    Junk,
    Head(ExtentHead),
    Mark(Mark),
    Tombs(Vec<Tomb>),
    /// A shard or a chunk of the index, and whether all of it is unharmed.
    Record {
        kind: Kind,
        head: RecordHead,
        shape: Shape,
        whole: bool,
        unreadable: u32,
    },
}

/// Reading failed for a reason that is no property of the medium.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum WalkError {
    /// The device.
    #[error("the disk can't be read: {0}")]
    Io(#[from] IoError),
    /// The pool.
    #[error(transparent)]
    Buffer(#[from] PoolExhausted),
}

impl Walker<'_> {
    /// The greatest incarnation of any sound block of this disk in an extent.
    pub(crate) async fn lives(
        &self,
        extent: ExtentId,
        limit: u32,
    ) -> Result<Option<u64>, WalkError> {
        let mut greatest = None;
        let mut at = 0;
        let mut buf = None;
        while at < limit {
            let window = self.read(extent, at, limit, buf.take()).await?;
            for block in at..at + window.blocks {
                let Ok((own, _)) = Block::check(window.bytes(block, 1)) else { continue };
                let origin = own.origin();
                let here =
                    origin.uuid == self.uuid && origin.extent == extent && origin.block == block;
                if here && !window.is_bad(block) {
                    greatest = greatest.max(Some(origin.incarnation));
                }
            }
            at += window.blocks;
            buf = Some(window.buf);
        }
        Ok(greatest)
    }

    /// A buffer for a window; waits a while for one, as clients may hold them all.
    async fn window_buf(&self) -> Result<IoBuf, PoolExhausted> {
        let len = self.window_blocks as usize * BLOCK_BYTES;
        for _ in 0..BUFFER_TRIES {
            match self.world.pool.alloc(len) {
                Err(PoolExhausted::NoBuffer) => {
                    self.world.handle.sleep(Nanos::from_micros(200)).await;
                }
                result => return result,
            }
        }
        Err(PoolExhausted::NoBuffer)
    }

    async fn read(
        &self,
        extent: ExtentId,
        first: u32,
        limit: u32,
        buf: Option<IoBuf>,
    ) -> Result<Window, WalkError> {
        let blocks = self.window_blocks.min(limit - first);
        let mut buf = match buf {
            Some(buf) => buf,
            None => self.window_buf().await?,
        };
        buf.set_len(blocks as usize * BLOCK_BYTES);
        let (result, mut buf) = self.medium.read(extent, first, buf).await;
        let mut bad = vec![false; blocks as usize];
        match result {
            Ok(()) => {}
            Err(IoError::Media { .. } | IoError::TimedOut | IoError::Zone(_)) => {
                // Somewhere in here: one block at a time.
                let mut alone = OneByOne::default();
                for block in 0..blocks {
                    let (result, single) =
                        alone.read(self.world, self.medium, extent, first + block).await?;
                    let at = block as usize * BLOCK_BYTES;
                    match result {
                        Ok(()) => buf[at..at + BLOCK_BYTES].copy_from_slice(&single),
                        // Where a write failed a zone may end earlier than was thought.
                        Err(IoError::Media { .. } | IoError::TimedOut | IoError::Zone(_)) => {
                            bad[block as usize] = true;
                        }
                        Err(error) => return Err(error.into()),
                    }
                }
            }
            Err(error) => return Err(error.into()),
        }
        Ok(Window { buf, first, blocks, bad })
    }

    /// Walks blocks of an extent, as far as they are of this life, from the start of a batch on.
    /// It gives up when the first `probe_blocks` have nothing of this life.
    pub(crate) async fn walk(
        &self,
        extent: ExtentId,
        incarnation: u64,
        blocks: std::ops::Range<u32>,
        probe_blocks: u32,
    ) -> Result<Walked, WalkError> {
        let limit = blocks.end;
        let mut walked = Walked::default();
        let mut pending: Vec<FoundRecord> = Vec::new();
        let mut damage: Vec<(u32, u32)> = Vec::new();
        // The check blocks since the last mark: where, and the checksum.
        let mut heads: Vec<(u32, u32)> = Vec::new();
        let mut durable = 0;
        let mut cursor = Cursor { extent, incarnation, at: blocks.start, limit, window: None };
        loop {
            if walked.is_empty() && cursor.at >= probe_blocks {
                return Ok(walked);
            }
            let Some(piece) = self.next(&mut cursor).await? else { break };
            let at = piece.at;
            if !matches!(piece.what, Piece::Mark(_)) {
                heads.extend(cursor.heads(&piece));
            }
            if !matches!(piece.what, Piece::Bad | Piece::Junk) {
                durable = piece.durable.max(durable);
                walked.sequence_max = walked.sequence_max.max(piece.sequence);
                walked.end = walked.end.max(at + piece.blocks);
            }
            match piece.what {
                Piece::Bad => {
                    walked.unreadable += 1;
                    if self.planted.has(Bug::StopAtMediaError) {
                        break;
                    }
                    push_damage(&mut damage, at, 1);
                }
                Piece::Junk => push_damage(&mut damage, at, piece.blocks),
                Piece::Head(head) => walked.stream = walked.stream.or(head.stream),
                Piece::Mark(mark) => {
                    let own = heads.iter().filter(|(block, _)| *block >= mark.first_block);
                    let heads_crc = own.fold(0, |heads, (_, crc)| Mark::chain(heads, *crc));
                    let (first, blocks) = (mark.first_block, at - mark.first_block);
                    let is_harmed = damage.iter().any(|(block, count)| block + count > first);
                    // What is whole in a harmed batch counts all the same. But where nothing is
                    // harmed and the checksums are others, this is not the mark of these records.
                    if heads_crc == mark.heads_crc || is_harmed {
                        walked.commit(&mut pending, |place| place.block >= first);
                    }
                    if heads_crc != mark.heads_crc {
                        walked.broken.push(Hole { extent, block: first, blocks });
                    }
                    heads.clear();
                }
                Piece::Tombs(tombs) => {
                    let place = Place { extent, block: at, blocks: 1, dead: true };
                    for tomb in tombs {
                        let sequence = tomb.sequence;
                        walked.sequence_max = walked.sequence_max.max(sequence);
                        let what = What::Tomb(tomb);
                        pending.push(FoundRecord { place, incarnation, sequence, what });
                    }
                }
                Piece::Record { kind, head, whole, unreadable, .. } => {
                    walked.unreadable += unreadable;
                    if !whole && !self.planted.has(Bug::TornTail) {
                        // Its length is verified, but what lies within may be anything.
                        push_damage(&mut damage, at, piece.blocks);
                    } else if kind == Kind::Run {
                        walked.chunks += 1;
                    } else {
                        let blocks = piece.blocks as u16;
                        let place = Place { extent, block: at, blocks, dead: false };
                        let (sequence, what) = (piece.sequence, What::Shard(head));
                        pending.push(FoundRecord { place, incarnation, sequence, what });
                    }
                }
            }
        }
        if self.planted.has(Bug::TornTail) {
            durable = limit;
        }
        walked.commit(&mut pending, |place| place.block + u32::from(place.blocks) <= durable);
        walked.torn = pending.len() as u32;
        for (block, blocks) in damage {
            if block < durable {
                walked.holes.push(Hole { extent, block, blocks: blocks.min(durable - block) });
            }
        }
        Ok(walked)
    }

    /// The next piece of an extent, and on by that. `None` at the end.
    pub(crate) async fn next(&self, cursor: &mut Cursor) -> Result<Option<Found>, WalkError> {
        let Cursor { extent, incarnation, at, limit, .. } = *cursor;
        if at >= limit {
            return Ok(None);
        }
        if !cursor.window.as_ref().is_some_and(|window| window.holds(at, 1)) {
            let buf = cursor.window.take().map(|window| window.buf);
            cursor.window = Some(self.read(extent, at, limit, buf).await?);
        }
        let window = cursor.window.as_ref().expect("read above");
        let mut found = Found { at, blocks: 1, sequence: 0, durable: 0, what: Piece::Junk };
        cursor.at = at + 1;
        if window.is_bad(at) {
            found.what = Piece::Bad;
            return Ok(Some(found));
        }
        let origin = Origin { uuid: self.uuid, extent, block: at, incarnation };
        let Some((block, kind)) = self.own_block(window.bytes(at, 1), &origin) else {
            return Ok(Some(found));
        };
        let (sequence, durable) = (block.sequence(), block.durable());
        let what = match kind {
            Kind::Head => ExtentHead::read(block).ok().map(Piece::Head),
            Kind::Mark => Mark::read(block).ok().map(Piece::Mark),
            Kind::Tombs => Tombs::read(block).ok().map(|tombs| Piece::Tombs(tombs.collect())),
            Kind::Data | Kind::Run => {
                let record = RecordHead::read(block).ok().filter(|(_, shape)| {
                    // Of a later segment the first one is damaged; nothing crosses the end.
                    block.segment().0 == 0 && at + shape.blocks() <= limit
                });
                match record {
                    None => None,
                    Some((head, shape)) => {
                        let blocks = shape.blocks();
                        if !window.holds(at, blocks) && blocks <= self.window_blocks {
                            let buf = cursor.window.take().map(|window| window.buf);
                            cursor.window = Some(self.read(extent, at, limit, buf).await?);
                        }
                        let window = cursor.window.as_ref().expect("read above");
                        let held = window.holds(at, blocks);
                        let unreadable = (at..at + blocks)
                            .filter(|block| window.holds(*block, 1) && window.is_bad(*block))
                            .count() as u32;
                        let whole = held
                            && unreadable == 0
                            && self.is_whole(window.bytes(at, blocks), &origin, kind);
                        found.blocks = blocks;
                        cursor.at = at + blocks;
                        Some(Piece::Record { kind, head, shape, whole, unreadable })
                    }
                }
            }
            Kind::Checkpoint => None,
        };
        if let Some(what) = what {
            (found.what, found.sequence, found.durable) = (what, sequence, durable);
        }
        Ok(Some(found))
    }

    fn own_block<'b>(&self, bytes: &'b [u8], origin: &Origin) -> Option<(&'b Block, Kind)> {
        let (block, kind) = Block::check(bytes).ok()?;
        let any_life = self.planted.has(Bug::StaleIncarnation);
        match block.check_origin(origin) {
            Ok(()) => Some((block, kind)),
            Err(crate::layout::BlockError::Stale) if any_life => Some((block, kind)),
            Err(_) => None,
        }
    }

    fn is_whole(&self, bytes: &[u8], origin: &Origin, kind: Kind) -> bool {
        let any_life = self.planted.has(Bug::StaleIncarnation);
        let record = ReadRecord::new(bytes, origin, kind, 0, any_life);
        record.is_ok_and(|record| record.check_whole().is_ok())
    }
}

impl Walked {
    fn commit(&mut self, pending: &mut Vec<FoundRecord>, is_committed: impl Fn(&Place) -> bool) {
        let mut rest = Vec::new();
        for record in pending.drain(..) {
            if is_committed(&record.place) {
                let at_s = match &record.what {
                    What::Shard(head) => head.put_s,
                    What::Tomb(tomb) => tomb.deleted_s,
                };
                self.newest_s = self.newest_s.max(at_s);
                self.records.push(record);
            } else {
                rest.push(record);
            }
        }
        *pending = rest;
    }
}

fn push_damage(damage: &mut Vec<(u32, u32)>, block: u32, blocks: u32) {
    match damage.last_mut() {
        Some((first, count)) if *first + *count == block => *count += blocks,
        _ => damage.push((block, blocks)),
    }
}

//! The blocks of an extent, one by one, as they are.
//!
//! What must always hold: every block of the range is told, each once; a block is never told to
//! be more than its checksum vouches for. Only a sound check block says what lies behind it.

use std::ops::Range;

use isotherm_seam::{IoBuf, IoError};

use crate::layout::{
    Block, BlockError, CRC_BYTES, ExtentHead, Kind, Mark, Origin, RecordHead, Segments, Shape,
    Tomb, Tombs,
};
use crate::recovery::{ScannedDisk, WalkError};
use crate::{BLOCK_BYTES, ExtentId};

/// Blocks that are read at once.
const WINDOW_BLOCKS: u32 = 65;

/// One or more blocks that belong together.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Dumped {
    /// The first one within the extent.
    pub block: u32,
    /// How many.
    pub blocks: u32,
    /// What they are.
    pub meaning: Meaning,
}

/// What blocks are.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Meaning {
    /// Can't be read.
    Unreadable,
    /// Zeros.
    Zero,
    /// No check block: payload whose own check block is not in front of it, or foreign bytes.
    Bytes,
    /// Has the magic of a check block and is none.
    Broken(BlockError),
    /// A sound check block.
    Block {
        /// What it stands for.
        kind: Kind,
        /// Where it says that it lies, and in which life of the extent.
        origin: Origin,
        /// `Foreign` or `Misplaced` where that is not here.
        stray: Option<BlockError>,
        /// The number of its change.
        sequence: u64,
        /// Blocks of the extent that were durable when it was written.
        durable: u32,
        /// Its checksum.
        crc: u32,
        /// What its body says.
        body: Result<Sound, BlockError>,
    },
}

/// What the body of a sound check block says.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Sound {
    /// A segment of a shard, of an index chunk or of a checkpoint.
    Segment {
        /// What the record says of itself.
        head: Box<RecordHead>,
        /// Its lengths.
        shape: Shape,
        /// Which segment this is.
        segment: u32,
        /// The payload behind it.
        payload: PayloadState,
        /// CRCs of the cells of the stripe that stand here.
        cells: u32,
    },
    /// Tombstones.
    Tombs(Vec<Tomb>),
    /// The end of a batch.
    Mark(Mark),
    /// The head of an extent, or what says that it was emptied.
    Head(ExtentHead),
}

/// How the payload of a segment is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum PayloadState {
    /// It has its checksums.
    Whole,
    /// It has not, from this 64 KiB unit on.
    Damaged {
        /// The first unit whose checksum is wrong.
        unit: u32,
    },
    /// Part of it can't be read.
    Unreadable,
    /// It would go beyond the end of the extent.
    Cut,
}

/// Blocks of an extent, told one after the other.
pub struct Dump<'a> {
    disk: &'a ScannedDisk,
    extent: ExtentId,
    at: u32,
    end: u32,
    window: Option<Window>,
}

struct Window {
    buf: IoBuf,
    first: u32,
    /// By block: it could not be read.
    bad: Vec<bool>,
}

impl Window {
    fn holds(&self, blocks: &Range<u32>) -> bool {
        blocks.start >= self.first && blocks.end <= self.first + self.bad.len() as u32
    }

    fn bytes(&self, blocks: Range<u32>) -> &[u8] {
        let at = |block: u32| (block - self.first) as usize * BLOCK_BYTES;
        &self.buf[at(blocks.start)..at(blocks.end)]
    }

    fn is_bad(&self, blocks: Range<u32>) -> bool {
        let at = |block: u32| (block - self.first) as usize;
        self.bad[at(blocks.start)..at(blocks.end)].contains(&true)
    }
}

impl ScannedDisk {
    /// Tells the blocks of an extent, of which there must be so many.
    pub fn dump(&self, extent: ExtentId, blocks: Range<u32>) -> Dump<'_> {
        let cut = self.cut();
        assert!(extent.0 < cut.extents && blocks.end <= cut.extent_blocks, "on this disk");
        Dump { disk: self, extent, at: blocks.start, end: blocks.end, window: None }
    }

    /// The bytes of a block; `None` if it can't be read.
    pub async fn block_bytes(
        &self,
        extent: ExtentId,
        block: u32,
    ) -> Result<Option<Vec<u8>>, WalkError> {
        let mut dump = self.dump(extent, block..block + 1);
        dump.load(block..block + 1).await?;
        let window = dump.window.as_ref().expect("just loaded");
        let is_bad = window.is_bad(block..block + 1);
        Ok((!is_bad).then(|| window.bytes(block..block + 1).to_vec()))
    }
}

impl Dump<'_> {
    /// The next block, or several that belong together. Of a record the payload behind a check
    /// block is read and checked too, also if it goes beyond the range.
    pub async fn next(&mut self) -> Result<Option<Dumped>, WalkError> {
        if self.at >= self.end {
            return Ok(None);
        }
        let block = self.at;
        self.load(block..block + 1).await?;
        let window = self.window.as_ref().expect("just loaded");
        if window.is_bad(block..block + 1) {
            return Ok(Some(self.tell(block, 1, Meaning::Unreadable)));
        }
        let bytes = window.bytes(block..block + 1);
        let (kind, segment_bytes) = match Block::check(bytes) {
            Ok((own, kind)) => (kind, own.segment_bytes()),
            Err(BlockError::NoMagic) => {
                let meaning =
                    if bytes.iter().all(|b| *b == 0) { Meaning::Zero } else { Meaning::Bytes };
                return Ok(Some(self.tell_row(block, meaning)));
            }
            Err(error) => return Ok(Some(self.tell(block, 1, Meaning::Broken(error)))),
        };
        let is_segment = matches!(kind, Kind::Data | Kind::Run | Kind::Checkpoint);
        let behind = if is_segment { segment_bytes.div_ceil(BLOCK_BYTES as u32) } else { 0 };
        let fits = block + 1 + behind <= self.disk.cut().extent_blocks;
        let blocks = if fits { 1 + behind } else { 1 };
        self.load(block..block + blocks).await?;
        let meaning = self.meaning(block, blocks, fits);
        let told = if matches!(&meaning, Meaning::Block { body: Ok(_), .. }) { blocks } else { 1 };
        Ok(Some(self.tell(block, told, meaning)))
    }

    fn meaning(&self, at: u32, blocks: u32, fits: bool) -> Meaning {
        let window = self.window.as_ref().expect("just loaded");
        let (block, kind) = match Block::check(window.bytes(at..at + 1)) {
            Ok(sound) => sound,
            Err(error) => return Meaning::Broken(error),
        };
        let origin = block.origin();
        let here = Origin { uuid: self.disk.uuid(), extent: self.extent, block: at, ..origin };
        let body = match kind {
            Kind::Tombs => Tombs::read(block).map(|tombs| Sound::Tombs(tombs.collect())),
            Kind::Mark => Mark::read(block).map(Sound::Mark),
            Kind::Head => ExtentHead::read(block).map(Sound::Head),
            Kind::Data | Kind::Run | Kind::Checkpoint => {
                RecordHead::read(block).map(|(head, shape)| Sound::Segment {
                    head: Box::new(head),
                    shape,
                    segment: block.segment().0,
                    payload: match fits {
                        true => payload_state(block, window, at + 1..at + blocks),
                        false => PayloadState::Cut,
                    },
                    cells: block.cells().count() as u32,
                })
            }
        };
        Meaning::Block {
            kind,
            origin,
            stray: block.check_origin(&here).err(),
            sequence: block.sequence(),
            durable: block.durable(),
            crc: block.crc(),
            body,
        }
    }

    fn tell(&mut self, block: u32, blocks: u32, meaning: Meaning) -> Dumped {
        self.at = block + blocks;
        Dumped { block, blocks, meaning }
    }

    /// As many of the same as are in the window.
    fn tell_row(&mut self, block: u32, meaning: Meaning) -> Dumped {
        let window = self.window.as_ref().expect("just loaded");
        let end = self.end.min(window.first + window.bad.len() as u32);
        let is_same = |block: &u32| {
            let bytes = window.bytes(*block..*block + 1);
            let zero = bytes.iter().all(|b| *b == 0);
            let plain = matches!(Block::check(bytes), Err(BlockError::NoMagic));
            !window.is_bad(*block..*block + 1) && plain && zero == (meaning == Meaning::Zero)
        };
        let blocks = (block..end).take_while(is_same).count() as u32;
        self.tell(block, blocks, meaning)
    }

    /// Makes sure that these blocks are in the window.
    async fn load(&mut self, blocks: Range<u32>) -> Result<(), WalkError> {
        if self.window.as_ref().is_some_and(|window| window.holds(&blocks)) {
            return Ok(());
        }
        let (world, medium) = self.disk.tools();
        let most = medium.io_bytes_max() / BLOCK_BYTES as u32;
        let wanted = WINDOW_BLOCKS.max(blocks.end - blocks.start).min(most);
        let end = (blocks.start + wanted).min(medium.cut.extent_blocks).max(blocks.end);
        let count = end - blocks.start;
        let buf = match self.window.take().map(|window| window.buf) {
            Some(mut buf) if buf.capacity() >= count as usize * BLOCK_BYTES => {
                buf.set_len(count as usize * BLOCK_BYTES);
                buf
            }
            other => {
                drop(other);
                world.pool.alloc(count as usize * BLOCK_BYTES)?
            }
        };
        let (result, mut buf) = medium.read(self.extent, blocks.start, buf).await;
        let mut bad = vec![false; count as usize];
        match result {
            Ok(()) => {}
            Err(IoError::Gone) => return Err(IoError::Gone.into()),
            Err(_) => {
                for (at, bad) in (0..count).zip(&mut bad) {
                    let single = world.pool.alloc(BLOCK_BYTES)?;
                    let (result, single) =
                        medium.read(self.extent, blocks.start + at, single).await;
                    let own = &mut buf[at as usize * BLOCK_BYTES..][..BLOCK_BYTES];
                    match result {
                        Ok(()) => own.copy_from_slice(&single),
                        Err(_) => *bad = true,
                    }
                }
            }
        }
        self.window = Some(Window { buf, first: blocks.start, bad });
        Ok(())
    }
}

fn payload_state(block: &Block, window: &Window, blocks: Range<u32>) -> PayloadState {
    if window.is_bad(blocks.clone()) {
        return PayloadState::Unreadable;
    }
    let payload = window.bytes(blocks);
    let units = (block.segment_bytes() as usize).div_ceil(CRC_BYTES);
    let damaged = (0..units).find(|unit| !Segments::check_units(block, payload, *unit, unit + 1));
    damaged.map_or(PayloadState::Whole, |unit| PayloadState::Damaged { unit: unit as u32 })
}

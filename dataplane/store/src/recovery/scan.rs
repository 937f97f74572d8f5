//! Finding the checkpoints of a disk.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;

use isotherm_reactor::Disk;
use isotherm_seam::{IoBuf, IoError, PoolExhausted, ZoneReport};

use super::again::{OneByOne, read_block};
use super::ahead::read_area;
use super::walk::WalkError;
use crate::core::World;
use crate::layout::{Block, Checkpoint, CheckpointError, Kind, Part, RecordHead, Segments, Shape};
use crate::medium::{Cut, Medium, Unfit};
use crate::{BLOCK_BYTES, ExtentId};

/// Why a disk can't be opened as a store.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum OpenError {
    /// Nothing on it says that it is one.
    #[error("the disk holds no store: format it first, if nothing else on it is wanted")]
    NotAStore,
    /// It is one, but its size is not what it was.
    #[error("the store was made for {recorded} extents, the disk has room for {found}")]
    Resized {
        /// When it was made.
        recorded: u32,
        /// Now.
        found: u32,
    },
    /// Every checkpoint is damaged.
    #[error("no checkpoint of the disk is whole: recover it by a full scan")]
    NoCheckpoint,
    /// The index can't be read.
    #[error("a run of the index is damaged: recover the disk by a full scan")]
    Index,
    /// Written by a later version.
    #[error("the disk was written by a later version of this program: {0}")]
    Version(CheckpointError),
    /// The disk can't hold a store.
    #[error(transparent)]
    Unfit(#[from] Unfit),
    /// Reading failed.
    #[error(transparent)]
    Walk(#[from] WalkError),
    /// Writing the first checkpoint failed.
    #[error("the first checkpoint could not be written: {0}")]
    Start(crate::PutError),
}

impl From<IoError> for OpenError {
    fn from(error: IoError) -> OpenError {
        OpenError::Walk(error.into())
    }
}

impl From<PoolExhausted> for OpenError {
    fn from(error: PoolExhausted) -> OpenError {
        OpenError::Walk(error.into())
    }
}

/// A disk whose checkpoints were found.
pub struct ScannedDisk {
    pub(super) world: World,
    pub(super) medium: Medium,
    pub(super) uuid: [u8; 16],
    /// The newest first.
    pub(super) checkpoints: Vec<Found>,
    /// The greatest checkpoint number of which any part was seen.
    pub(super) number_max: u64,
    /// The greatest number of a durable checkpoint that any part seen was written behind.
    pub(super) follows_max: u64,
    /// Newer checkpoints that unreadable blocks may hide: none, one, or nobody knows.
    pub(super) hidden: Hidden,
}

/// How many checkpoints newer than all that were found there may be.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Hidden {
    None,
    One,
    More,
}

/// A whole checkpoint.
pub(super) struct Found {
    pub(super) checkpoint: Checkpoint,
    /// In which of the meta extents, and where.
    pub(super) turn: usize,
    pub(super) blocks: Range<u32>,
}

/// What one meta extent holds.
#[derive(Default)]
struct MetaRead {
    uuid: Option<[u8; 16]>,
    found: Vec<Found>,
    number_max: u64,
    follows_max: u64,
    version: Option<CheckpointError>,
    unreadable: BTreeSet<u32>,
}

impl MetaRead {
    /// Whether the next checkpoint behind those that were found may be there and can't be read:
    /// it would begin where the last one ends, or at the start.
    fn hides(&self) -> bool {
        let last = self.found.iter().max_by_key(|found| found.checkpoint.number);
        let next = last.map_or(0, |found| found.blocks.end);
        self.unreadable.contains(&next) || self.unreadable.contains(&0)
    }
}

impl ScannedDisk {
    /// Reads the meta extents. `NotAStore` if nothing in them says that this is a store, nor, on a
    /// zoned disk, anything in the others.
    pub async fn scan(world: &World, disk: &Disk) -> Result<ScannedDisk, OpenError> {
        let cut = find_cut(world, disk).await?;
        let medium = Medium::new(disk, cut);
        let mut uuid = None;
        let mut checkpoints = Vec::new();
        let (mut number_max, mut follows_max) = (0, 0);
        let mut version = None;
        let mut hides = [false; 2];
        for (turn, hides) in hides.iter_mut().enumerate() {
            let read = read_meta(world, &medium, turn).await?;
            *hides = read.hides();
            number_max = number_max.max(read.number_max);
            follows_max = follows_max.max(read.follows_max);
            uuid = uuid.or(read.uuid);
            version = version.or(read.version);
            checkpoints.extend(read.found);
        }
        if uuid.is_none() && cut.zoned {
            uuid = find_name(world, &medium).await?;
        }
        let uuid = uuid.ok_or(OpenError::NotAStore)?;
        if let (true, Some(version)) = (checkpoints.is_empty(), version) {
            return Err(OpenError::Version(version));
        }
        checkpoints.retain(|found: &Found| found.checkpoint.uuid == uuid);
        checkpoints.sort_by_key(|found| std::cmp::Reverse(found.checkpoint.number));
        if let Some(newest) = checkpoints.first() {
            let recorded = newest.checkpoint.extents.len() as u32;
            if recorded > cut.extents {
                return Err(OpenError::Resized { recorded, found: cut.extents });
            }
        }
        // They are written to the two in turn: behind one that is hidden the next would be seen,
        // unless it is hidden too.
        let hidden = match (hides, checkpoints.first()) {
            ([true, true], _) => Hidden::More,
            ([false, false], _) => Hidden::None,
            (_, newest) if newest.is_some_and(|newest| hides[newest.turn]) => Hidden::None,
            _ => Hidden::One,
        };
        Ok(ScannedDisk {
            world: world.clone(),
            medium,
            uuid,
            checkpoints,
            number_max,
            follows_max,
            hidden,
        })
    }

    /// What tools read it with.
    pub(crate) fn tools(&self) -> (&World, &Medium) {
        (&self.world, &self.medium)
    }

    /// The disk's own name.
    pub fn uuid(&self) -> [u8; 16] {
        self.uuid
    }

    /// How it is cut into extents.
    pub fn cut(&self) -> Cut {
        self.medium.cut
    }

    /// The whole checkpoints, the newest first.
    pub fn checkpoints(&self) -> impl Iterator<Item = &Checkpoint> {
        self.checkpoints.iter().map(|found| &found.checkpoint)
    }
}

/// Blocks of a meta extent that are looked at for what says how the disk is cut.
const LOOK_BLOCKS: u32 = 16;

/// How the store on a disk is cut. On a conventional disk the first block says it; if that is
/// damaged, the other meta extent is looked for where it would be for each usual extent size.
async fn find_cut(world: &World, disk: &Disk) -> Result<Cut, OpenError> {
    let geometry = disk.geometry();
    if geometry.zones.is_some() {
        return Ok(Cut::new(geometry, None)?);
    }
    let mut buf = world.pool.alloc(BLOCK_BYTES)?;
    let per_block = BLOCK_BYTES as u64 / u64::from(geometry.logical.bytes());
    for candidate in std::iter::once(None).chain((4..=16).rev().map(|shift| Some(1u32 << shift))) {
        let (at, extent) = match candidate {
            None => (0, ExtentId(0)),
            Some(blocks) => {
                let Ok(cut) = Cut::new(geometry, Some(blocks)) else { continue };
                let extent = cut.meta()[1];
                (u64::from(extent.0) * cut.stride_blocks, extent)
            }
        };
        // The first block may be torn; a checkpoint behind it says the same.
        for block in 0..LOOK_BLOCKS {
            let lba = isotherm_seam::Lba((at + u64::from(block)) * per_block);
            let (result, back) = disk.read(lba, buf).await;
            buf = back;
            match result {
                Ok(()) => {}
                Err(IoError::Media { .. } | IoError::TimedOut) => continue,
                Err(error) => return Err(error.into()),
            }
            let Ok((own, Kind::Checkpoint)) = Block::check(&buf) else { continue };
            let origin = own.origin();
            if origin.extent != extent || origin.block != block {
                continue;
            }
            // The head of a checkpoint's record says the extent size where others say an expiry.
            let Ok((head, _)) = RecordHead::read(own) else { continue };
            if let Ok(cut) = Cut::new(geometry, Some(head.expires_s)) {
                return Ok(cut);
            }
        }
    }
    Err(OpenError::NotAStore)
}

/// Written zones that are looked at for the name of a store.
const LOOK_ZONES: u32 = 64;

/// The name of a store of which no checkpoint is left: a zone is forgotten as a whole, so that both
/// may be gone, and to call such a disk empty would invite to make it so. Formatting resets all
/// zones, so whatever begins one is of the present store.
async fn find_name(world: &World, medium: &Medium) -> Result<Option<[u8; 16]>, OpenError> {
    let mut looks = LOOK_ZONES;
    for extent in (0..medium.cut.extents).map(ExtentId) {
        if looks == 0 {
            break;
        }
        if written_blocks(world, medium, extent).await? == 0 {
            continue;
        }
        looks -= 1;
        let (result, buf) = read_block(world, medium, extent, 0).await?;
        match result {
            Ok(()) => {}
            Err(IoError::Media { .. } | IoError::TimedOut | IoError::Zone(_)) => continue,
            Err(error) => return Err(error.into()),
        }
        let Ok((block, Kind::Head)) = Block::check(&buf) else { continue };
        let origin = block.origin();
        if origin.extent == extent && origin.block == 0 {
            return Ok(Some(origin.uuid));
        }
    }
    Ok(None)
}

/// Reads the used part of a meta extent.
async fn read_meta(world: &World, medium: &Medium, turn: usize) -> Result<MetaRead, OpenError> {
    let extent = medium.cut.meta()[turn];
    let mut limit = medium.cut.extent_blocks;
    if medium.cut.zoned {
        limit = limit.min(written_blocks(world, medium, extent).await?);
    }
    let mut read = MetaRead::default();
    let mut parts: BTreeMap<u64, Parts> = BTreeMap::new();
    let mut at = 0;
    let mut quiet = 0;
    let window = super::recover::window_blocks(medium);
    // What is usually there at once, with several reads in flight.
    let usual = medium.cut.meta_blocks();
    let mut have = 0..usual.min(limit);
    let area = read_usual(world, medium, extent, have.clone(), &mut read.unreadable).await?;
    let mut buf: Option<IoBuf> = None;
    // Beyond the usual size only as long as there is something.
    while at < limit && (at < usual || quiet < usual) {
        if !have.contains(&at) {
            (buf, have) = read_window(
                world,
                medium,
                extent,
                at,
                window.min(limit - at),
                buf,
                &mut read.unreadable,
            )
            .await?;
        }
        let bytes: &[u8] = buf.as_deref().unwrap_or(&area);
        let offset = (at - have.start) as usize * BLOCK_BYTES;
        let Some(block) = meta_block(&bytes[offset..offset + BLOCK_BYTES], extent, at) else {
            at += 1;
            quiet += 1;
            continue;
        };
        quiet = 0;
        read.uuid = read.uuid.or(Some(block.origin().uuid));
        let number = block.sequence();
        read.number_max = read.number_max.max(number);
        let Ok((head, shape)) = RecordHead::read(block) else {
            at += 1;
            continue;
        };
        read.follows_max = read.follows_max.max(head.epoch);
        let blocks = shape.blocks();
        let part = Part::from_key(&head.key).filter(|part| part.number == number);
        let (Some(part), true) = (part, block.segment().0 == 0 && at + blocks <= limit) else {
            at += 1;
            continue;
        };
        if at + blocks > have.end {
            (buf, have) = read_window(
                world,
                medium,
                extent,
                at,
                blocks.max(window.min(limit - at)),
                buf,
                &mut read.unreadable,
            )
            .await?;
        }
        let bytes: &[u8] = buf.as_deref().unwrap_or(&area);
        let offset = (at - have.start) as usize * BLOCK_BYTES;
        let record = &bytes[offset..offset + blocks as usize * BLOCK_BYTES];
        match part_payload(record, extent, at, shape, number) {
            Some(payload) => {
                parts.entry(number).or_default().add(part, payload, at..at + blocks);
                at += blocks;
            }
            None => at += 1,
        }
    }
    for (_, parts) in parts {
        let Some((bytes, blocks)) = parts.whole() else { continue };
        match Checkpoint::decode(&bytes) {
            Ok(checkpoint) => read.found.push(Found { checkpoint, turn, blocks }),
            Err(error @ CheckpointError::Version(_)) => read.version = Some(error),
            Err(_) => {}
        }
    }
    Ok(read)
}

/// Whether these blocks are one whole part of a checkpoint that lies there.
pub(crate) fn is_whole_part(record: &[u8], extent: ExtentId, at: u32, number: u64) -> bool {
    let Some(block) = meta_block(&record[..BLOCK_BYTES], extent, at) else { return false };
    let Ok((_, shape)) = RecordHead::read(block) else { return false };
    shape.blocks() as usize * BLOCK_BYTES == record.len()
        && part_payload(record, extent, at, shape, number).is_some()
}

/// A sound block of a checkpoint that lies there.
fn meta_block(bytes: &[u8], extent: ExtentId, at: u32) -> Option<&Block> {
    let (block, kind) = Block::check(bytes).ok()?;
    let origin = block.origin();
    let here = kind == Kind::Checkpoint && origin.extent == extent && origin.block == at;
    here.then_some(block)
}

/// The payload of a part, if all of it is whole.
fn part_payload(
    record: &[u8],
    extent: ExtentId,
    at: u32,
    shape: Shape,
    number: u64,
) -> Option<Vec<u8>> {
    let mut payload = Vec::with_capacity(shape.payload_bytes as usize);
    for segment in 0..shape.segments() {
        let ahead = shape.segment_block(segment);
        let (head, rest) = record[ahead as usize * BLOCK_BYTES..].split_at(BLOCK_BYTES);
        let block = meta_block(head, extent, at + ahead)?;
        let len = shape.segment_bytes(segment) as usize;
        let units = len.div_ceil(crate::layout::CRC_BYTES);
        let whole = block.sequence() == number
            && block.segment() == (segment, shape.segments())
            && block.segment_bytes() as usize == len
            && Segments::check_units(block, rest, 0, units);
        if !whole {
            return None;
        }
        payload.extend_from_slice(&rest[..len]);
    }
    Some(payload)
}

/// Blocks of a meta extent; zeros stand for what can't be read.
async fn read_usual(
    world: &World,
    medium: &Medium,
    extent: ExtentId,
    blocks: Range<u32>,
    unreadable: &mut BTreeSet<u32>,
) -> Result<Vec<u8>, OpenError> {
    let len = (blocks.end - blocks.start) as usize * BLOCK_BYTES;
    // From the heap, which has memory at hand for the small areas of small disks.
    let mut area = vec![0; len];
    for bad in read_area(world, medium, extent, blocks.start, &mut area).await? {
        let own = &mut area[bad.start as usize * BLOCK_BYTES..bad.end as usize * BLOCK_BYTES];
        read_alone(world, medium, extent, blocks.start + bad.start, own, unreadable).await?;
    }
    Ok(area)
}

async fn read_window(
    world: &World,
    medium: &Medium,
    extent: ExtentId,
    at: u32,
    blocks: u32,
    buf: Option<IoBuf>,
    unreadable: &mut BTreeSet<u32>,
) -> Result<(Option<IoBuf>, Range<u32>), OpenError> {
    let len = blocks as usize * BLOCK_BYTES;
    let mut buf = match buf {
        Some(buf) if buf.capacity() >= len => buf,
        other => {
            drop(other);
            world.pool.alloc(len)?
        }
    };
    buf.set_len(len);
    let (result, mut buf) = medium.read(extent, at, buf).await;
    match result {
        Ok(()) => {}
        Err(IoError::Media { .. } | IoError::TimedOut) => {
            read_alone(world, medium, extent, at, &mut buf, unreadable).await?;
        }
        Err(error) => return Err(error.into()),
    }
    Ok((Some(buf), at..at + blocks))
}

/// Reads blocks that could not be read with others one by one; zeros stand for what can't be read.
async fn read_alone(
    world: &World,
    medium: &Medium,
    extent: ExtentId,
    first: u32,
    bytes: &mut [u8],
    unreadable: &mut BTreeSet<u32>,
) -> Result<(), OpenError> {
    let mut alone = OneByOne::default();
    for (block, own) in (first..).zip(bytes.chunks_exact_mut(BLOCK_BYTES)) {
        let (result, single) = alone.read(world, medium, extent, block).await?;
        match result {
            Ok(()) => own.copy_from_slice(&single),
            Err(_) => {
                unreadable.insert(block);
                own.fill(0);
            }
        }
    }
    Ok(())
}

/// Blocks of a zone in front of its write pointer.
pub(crate) async fn written_blocks(
    world: &World,
    medium: &Medium,
    extent: ExtentId,
) -> Result<u32, OpenError> {
    let buf = world.pool.alloc(ZoneReport::ENTRY_BYTES)?;
    let (result, buf) = medium.zone_report(extent, buf).await;
    result?;
    let zone = ZoneReport::get(&buf, 0);
    let blocks = zone.write_pointer.0.saturating_sub(zone.start.0);
    let full = zone.state == isotherm_seam::ZoneState::Full;
    let blocks = if full { zone.capacity_blocks } else { blocks.min(zone.capacity_blocks) };
    Ok((blocks / medium.blocks_per_block()) as u32)
}

/// The parts of one checkpoint, and the blocks that they take.
#[derive(Default)]
struct Parts {
    parts: BTreeMap<u32, Vec<u8>>,
    count: u32,
    blocks: Option<Range<u32>>,
}

impl Parts {
    fn add(&mut self, part: Part, payload: Vec<u8>, blocks: Range<u32>) {
        self.count = part.parts;
        self.parts.insert(part.part, payload);
        self.blocks = Some(match self.blocks.take() {
            Some(own) => own.start.min(blocks.start)..own.end.max(blocks.end),
            None => blocks,
        });
    }

    fn whole(self) -> Option<(Vec<u8>, Range<u32>)> {
        let is_whole =
            self.parts.len() as u32 == self.count && self.parts.keys().copied().eq(0..self.count);
        let blocks = self.blocks.filter(|_| is_whole)?;
        Some((self.parts.into_values().flatten().collect(), blocks))
    }
}

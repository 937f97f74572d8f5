//! Making a disk an empty store, and writing checkpoints.
//!
//! What must always hold: a disk that holds a store is made another only by who says so, and
//! never under the same name: what is left of the old one must not count again.

use isotherm_reactor::Disk;
use isotherm_seam::{IoBuf, IoError, PoolExhausted};

use super::scan::{OpenError, ScannedDisk};
use super::walk::WalkError;
use crate::core::World;
use crate::layout::{
    Block, Checkpoint, ExtentRow, Kills, Kind, Origin, Part, RecordHead, Shape, State, Stream,
};
use crate::medium::{Cut, META_BLOCKS_MOST, Medium, Unfit};
use crate::payload::PutBuf;
use crate::{BLOCK_BYTES, ExtentId};

/// How a disk is made a store.
#[derive(Clone, Debug)]
pub struct FormatOptions {
    /// The disk's own name; every store has another.
    pub uuid: [u8; 16],
    /// Blocks of an extent, 16 to 65,536; a zoned disk has its own.
    pub extent_blocks: Option<u32>,
    /// Longest payload; what fits if it is not said.
    pub payload_max: Option<u32>,
    /// Also if the disk holds a store already: what is in it is lost.
    pub force: bool,
    /// Calibration to be kept with the disk.
    pub profile: Vec<u8>,
}

impl FormatOptions {
    /// With everything else by default.
    pub fn new(uuid: [u8; 16]) -> FormatOptions {
        FormatOptions {
            uuid,
            extent_blocks: None,
            payload_max: None,
            force: false,
            profile: Vec::new(),
        }
    }
}

/// Why a disk was not made a store. Nothing was written unless the last one says so.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum FormatError {
    /// It can't be one.
    #[error("the disk can't hold a store: {0}")]
    Unfit(#[from] Unfit),
    /// It is one.
    #[error("the disk holds a store already, {}: its shards would be lost", uuid_text(uuid))]
    Occupied {
        /// The name of that store.
        uuid: [u8; 16],
    },
    /// The longest payload is more than a record can be there, or none at all.
    #[error("the longest payload can be 4,096 to {most} bytes here")]
    PayloadMax {
        /// The most.
        most: u32,
    },
    /// No buffer.
    #[error(transparent)]
    Buffer(#[from] PoolExhausted),
    /// Reading or writing failed; the disk may be half made.
    #[error("the disk could not be read or written: {0}")]
    Io(#[from] IoError),
}

/// A disk's name as people write it.
pub fn uuid_text(uuid: &[u8; 16]) -> String {
    uuid.iter().map(|byte| format!("{byte:02x}")).collect()
}
/// Makes a disk an empty store. Refuses one that holds a store, unless it is told to.
pub async fn format(
    world: &World,
    disk: &Disk,
    options: &FormatOptions,
) -> Result<(), FormatError> {
    let cut = Cut::new(disk.geometry(), options.extent_blocks)?;
    let medium = Medium::new(disk, cut);
    let most = cut.payload_max(disk.geometry().io_bytes_max);
    let payload_max = options.payload_max.unwrap_or(most);
    if most < 4096 || payload_max > most || payload_max < 4096 {
        return Err(FormatError::PayloadMax { most });
    }
    {
        match ScannedDisk::scan(world, disk).await {
            // Under its old name what is left of a store would count again.
            Ok(scanned) if !options.force || scanned.uuid == options.uuid => {
                return Err(FormatError::Occupied { uuid: scanned.uuid });
            }
            Err(OpenError::Version(_) | OpenError::Resized { .. }) if !options.force => {
                return Err(FormatError::Occupied { uuid: [0; 16] });
            }
            Err(OpenError::Walk(WalkError::Io(error))) => return Err(error.into()),
            Err(OpenError::Walk(WalkError::Buffer(why))) => return Err(why.into()),
            Ok(_) | Err(_) => {}
        }
    }
    let row = |extent| ExtentRow {
        incarnation: 0,
        written: 0,
        state: if cut.meta().contains(&extent) { State::Meta } else { State::Free },
        stream: Stream::Fresh,
        suspect: false,
        newest_s: 0,
        verified_s: 0,
    };
    // Nothing that an earlier store left may count: its zones are reset, those with its checkpoints
    // last, so that what is left of a disk without any is never a store given up. On a conventional
    // disk its blocks have another name, and where checkpoints are looked for nothing stays.
    if cut.zoned {
        let (meta, others): (Vec<_>, Vec<_>) =
            (0..cut.extents).map(ExtentId).partition(|extent| cut.meta().contains(extent));
        for extent in others.into_iter().chain(meta) {
            medium.zone_reset(extent).await?;
        }
    } else {
        for extent in cut.meta() {
            wipe(world, &medium, extent).await?;
        }
    }
    let checkpoint = Checkpoint {
        uuid: options.uuid,
        extent_blocks: cut.extent_blocks,
        payload_max,
        number: 1,
        clean: true,
        retired: false,
        next_sequence: 1,
        next_incarnation: 2,
        written_s: world.wall_s(),
        formatted_s: world.wall_s(),
        extents: (0..cut.extents).map(|extent| row(ExtentId(extent))).collect(),
        runs: Vec::new(),
        profile: options.profile.clone(),
    };
    let buf = world.pool.alloc(PutBuf::buffer_bytes(payload_max as usize))?;
    write_checkpoint(buf, &medium, &checkpoint, 0, 0, 0).await.0?;
    medium.flush().await?;
    Ok(())
}

/// Writes zeros where checkpoints may be looked for, however the disk was cut before.
async fn wipe(world: &World, medium: &Medium, extent: ExtentId) -> Result<(), FormatError> {
    let limit = META_BLOCKS_MOST.min(medium.cut.extent_blocks);
    let window = super::recover::window_blocks(medium);
    let mut at = 0;
    let mut buf = world.pool.alloc(window as usize * BLOCK_BYTES)?;
    buf.fill(0);
    while at < limit {
        let blocks = window.min(limit - at);
        buf.set_len(blocks as usize * BLOCK_BYTES);
        let (result, back) = medium.write(extent, at, buf).await;
        result?;
        buf = back;
        at += blocks;
    }
    Ok(())
}

/// Writes a checkpoint's parts to a meta extent from a block on; returns where it ends. `follows`
/// is the number of the durable one before it; `buf` has room for the longest record, and is given
/// back.
pub(crate) async fn write_checkpoint(
    mut buf: IoBuf,
    medium: &Medium,
    checkpoint: &Checkpoint,
    follows: u64,
    turn: usize,
    mut at: u32,
) -> (Result<u32, IoError>, IoBuf) {
    let bytes = checkpoint.encode();
    let number = checkpoint.number;
    let part_bytes = checkpoint.payload_max as usize;
    let parts = bytes.len().div_ceil(part_bytes) as u32;
    let meta = medium.cut.meta()[turn];
    for (part, payload) in bytes.chunks(part_bytes).enumerate() {
        let mut own = PutBuf::over(buf, payload.len() as u32);
        own.fill(payload);
        let head = RecordHead {
            key: Part { number, part: part as u32, parts }.to_key(),
            epoch: follows,
            codec: 0,
            put_s: checkpoint.written_s,
            // The extent size, so that one block of a checkpoint says how the disk is cut.
            expires_s: checkpoint.extent_blocks,
            kills: Kills::default(),
            supersedes: None,
        };
        let shape = own.shape;
        let mut record = own.buf;
        record.set_len(shape.blocks() as usize * BLOCK_BYTES);
        for segment in 0..shape.segments() {
            let start = shape.segment_block(segment) as usize * BLOCK_BYTES;
            let (block, rest) = record[start..].split_at_mut(BLOCK_BYTES);
            let payload = &rest[..shape.segment_bytes(segment) as usize];
            let block = Block::over_mut(block);
            head.write(Kind::Checkpoint, shape, segment, payload, block);
            let origin = Origin {
                uuid: checkpoint.uuid,
                extent: meta,
                block: at + shape.segment_block(segment),
                incarnation: number,
            };
            block.seal(&origin, number, at);
        }
        let (result, back) = medium.write(meta, at, record).await;
        if let Err(error) = result {
            return (Err(error), back);
        }
        buf = back;
        at += shape.blocks();
    }
    (Ok(at), buf)
}

/// Blocks that a checkpoint of so many bytes takes.
pub(crate) fn checkpoint_blocks(bytes: usize, payload_max: u32) -> u32 {
    let whole = (bytes / payload_max as usize) as u32;
    let rest = (bytes % payload_max as usize) as u32;
    let rest_blocks = if rest > 0 { Shape { payload_bytes: rest }.blocks() } else { 0 };
    whole * Shape { payload_bytes: payload_max }.blocks() + rest_blocks
}

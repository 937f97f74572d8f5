//! The disk as the store sees it: extents of blocks.
//!
//! What must always hold: nothing outside an extent's writable blocks is addressed, and every
//! transfer is whole blocks.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

use isotherm_reactor::{Disk, Transfer};
use isotherm_seam::{Geometry, IoBuf, IoError, Lba, Mono, Persist, ZoneId};

use crate::layout::{Shape, State};
use crate::sched::{Class, DiskQueue, QueueError, QueuedTransfer, Reservation};
use crate::{BLOCK_BYTES, ExtentId, Place};

/// Extents of a conventional disk, by convention: 256 MiB.
pub const EXTENT_BLOCKS_DEFAULT: u32 = 65_536;

/// Longest payload of a shard.
pub const PAYLOAD_MAX: u32 = 1 << 20;

/// How a disk is cut into extents.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Cut {
    /// Blocks from the start of one extent to the next.
    pub stride_blocks: u64,
    /// Writable blocks of each.
    pub extent_blocks: u32,
    /// How many.
    pub extents: u32,
    /// Each is a zone that is written at its write pointer and reset as a whole.
    pub zoned: bool,
    /// The first so many zones are conventional and are not used as extents are.
    pub conventional: u32,
}

/// Why a disk can't hold a store.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum Unfit {
    /// Blocks of more than 4 KiB, or zones that are no whole number of blocks.
    #[error("its blocks are larger than 4 KiB, or its zones are not made of whole ones")]
    Blocks,
    /// Too few extents.
    #[error("{extents} extents of {extent_blocks} blocks are too few: at least {least} are needed")]
    TooSmall {
        /// So many fit.
        extents: u32,
        /// Of so many blocks of 4 KiB.
        extent_blocks: u32,
        /// So many are needed.
        least: u32,
    },
    /// The extent size is out of range, or no power of two: where checkpoints lie could not be
    /// guessed when the first is damaged.
    #[error("an extent has 16 to 65,536 blocks of 4 KiB, a power of two but where zones decide")]
    ExtentBlocks,
    /// Conventional zones in front: not supported yet.
    #[error("its first zones are conventional, which is not supported")]
    Conventional,
    /// Requests are too short for a record.
    #[error("the device takes at most {io_bytes_max} bytes at once, too few for a record")]
    Requests {
        /// What it takes.
        io_bytes_max: u32,
    },
}

/// Extents that a disk must have at least: two for checkpoints, the reserve, one for each
/// stream and some to work with.
pub const EXTENTS_LEAST: u32 = 16;

/// The least and the most of an extent that checkpoints are usually in.
const META_BLOCKS_LEAST: u32 = 128;
pub(crate) const META_BLOCKS_MOST: u32 = 8192;

impl Cut {
    /// Cuts a disk; `extent_blocks` is for conventional ones, a zoned one has its own.
    pub fn new(geometry: &Geometry, extent_blocks: Option<u32>) -> Result<Cut, Unfit> {
        let logical = u64::from(geometry.logical.bytes());
        if logical > BLOCK_BYTES as u64 || geometry.physical.bytes() > BLOCK_BYTES as u32 {
            return Err(Unfit::Blocks);
        }
        let per_block = BLOCK_BYTES as u64 / logical;
        let cut = match &geometry.zones {
            Some(zones) => {
                if zones.conventional > 0 {
                    return Err(Unfit::Conventional);
                }
                if zones.zone_blocks % per_block != 0 {
                    return Err(Unfit::Blocks);
                }
                let writable = zones.capacity_blocks / per_block;
                Cut {
                    stride_blocks: zones.zone_blocks / per_block,
                    extent_blocks: u32::try_from(writable).map_err(|_| Unfit::ExtentBlocks)?,
                    extents: zones.zones.min(Place::EXTENTS_MAX),
                    zoned: true,
                    conventional: 0,
                }
            }
            None => {
                let extent_blocks = extent_blocks.unwrap_or(EXTENT_BLOCKS_DEFAULT);
                let extents = geometry.blocks / per_block / u64::from(extent_blocks.max(1));
                Cut {
                    stride_blocks: u64::from(extent_blocks),
                    extent_blocks,
                    extents: extents.min(u64::from(Place::EXTENTS_MAX)) as u32,
                    zoned: false,
                    conventional: 0,
                }
            }
        };
        let is_usual = cut.zoned || cut.extent_blocks.is_power_of_two();
        if !(16..=Place::EXTENT_BLOCKS_MAX).contains(&cut.extent_blocks) || !is_usual {
            return Err(Unfit::ExtentBlocks);
        }
        if cut.extents < EXTENTS_LEAST {
            return Err(Unfit::TooSmall {
                extents: cut.extents,
                extent_blocks: cut.extent_blocks,
                least: EXTENTS_LEAST,
            });
        }
        Ok(cut)
    }

    /// The two extents that hold checkpoints: the first one and the middle one, far apart.
    pub fn meta(&self) -> [ExtentId; 2] {
        [ExtentId(0), ExtentId(self.extents / 2)]
    }

    /// Blocks of a meta extent that are used before the other turn begins again: 32 MiB of an extent
    /// of 256 MiB and an eighth of a smaller one, so that recovery reads little. Longer checkpoints
    /// take what they need.
    pub(crate) fn meta_blocks(&self) -> u32 {
        let eighth = self.extent_blocks / 8;
        eighth.clamp(META_BLOCKS_LEAST, META_BLOCKS_MOST).min(self.extent_blocks)
    }

    /// The longest payload that an extent and a request can hold: a record with the extent's
    /// head and a mark fits half an extent.
    pub fn payload_max(&self, io_bytes_max: u32) -> u32 {
        let request = (io_bytes_max / BLOCK_BYTES as u32).saturating_sub(2);
        let blocks = (self.extent_blocks / 2 - 2).min(request);
        let mut payload = (blocks * BLOCK_BYTES as u32).min(PAYLOAD_MAX);
        while payload > 0 && (Shape { payload_bytes: payload }).blocks() > blocks {
            payload -= BLOCK_BYTES as u32;
        }
        payload
    }

    fn is_within(&self, extent: ExtentId, block: u32, blocks: u32) -> bool {
        extent.0 < self.extents
            && block.checked_add(blocks).is_some_and(|end| end <= self.extent_blocks)
    }
}

/// The disk, cut into extents, on behalf of one class of work.
#[derive(Clone)]
pub(crate) struct Medium {
    disk: Disk,
    /// Before a store is running there is nothing to schedule.
    queue: Option<DiskQueue>,
    class: Class,
    pub(crate) cut: Cut,
    blocks_per_block: u64,
    pub(crate) volatile_cache: bool,
}

impl Medium {
    pub(crate) fn new(disk: &Disk, cut: Cut) -> Medium {
        let geometry = disk.geometry();
        Medium {
            disk: disk.clone(),
            queue: None,
            class: Class::Throughput,
            cut,
            blocks_per_block: BLOCK_BYTES as u64 / u64::from(geometry.logical.bytes()),
            volatile_cache: geometry.volatile_cache,
        }
    }

    /// The same disk behind a queue.
    pub(crate) fn queued(&self, queue: DiskQueue) -> Medium {
        Medium { queue: Some(queue), ..self.clone() }
    }

    /// The same disk for another class of work.
    pub(crate) fn for_class(&self, class: Class) -> Medium {
        Medium { class, ..self.clone() }
    }

    pub(crate) fn disk(&self) -> &Disk {
        &self.disk
    }

    /// The queue of a running store.
    pub(crate) fn queue(&self) -> &DiskQueue {
        self.queue.as_ref().expect("a running store has one")
    }

    pub(crate) fn lba(&self, extent: ExtentId, block: u32) -> Lba {
        let block = u64::from(extent.0) * self.cut.stride_blocks + u64::from(block);
        Lba(block * self.blocks_per_block)
    }

    pub(crate) fn blocks_per_block(&self) -> u64 {
        self.blocks_per_block
    }

    pub(crate) fn io_bytes_max(&self) -> u32 {
        self.disk.geometry().io_bytes_max
    }

    /// Reserves a read of so many blocks of a running store's disk.
    pub(crate) fn reserve(
        &self,
        deadline: Option<Mono>,
        extent: ExtentId,
        block: u32,
        blocks: u32,
        chance: f32,
    ) -> Result<Reservation, QueueError> {
        self.check(extent, block, blocks as usize * BLOCK_BYTES);
        let lba = self.lba(extent, block);
        let blocks = u64::from(blocks) * self.blocks_per_block;
        self.queue().reserve(deadline, lba, blocks, chance)
    }

    /// The answer to a reservation that was granted.
    pub(crate) fn granted(reservation: Reservation, buf: IoBuf) -> MediumTransfer {
        MediumTransfer::Queued(reservation.grant(buf))
    }

    /// Fills the buffer from a block on, by a deadline.
    pub(crate) fn read_by(
        &self,
        class: Class,
        deadline: Option<Mono>,
        extent: ExtentId,
        block: u32,
        buf: IoBuf,
    ) -> MediumTransfer {
        self.check(extent, block, buf.len());
        let lba = self.lba(extent, block);
        match &self.queue {
            Some(queue) => MediumTransfer::Queued(queue.read(class, deadline, lba, buf)),
            None => MediumTransfer::Direct(self.disk.read(lba, buf)),
        }
    }

    /// Fills the buffer from a block on.
    pub(crate) fn read(
        &self,
        extent: ExtentId,
        block: u32,
        buf: IoBuf,
    ) -> impl Future<Output = (Result<(), IoError>, IoBuf)> + use<> {
        self.check(extent, block, buf.len());
        let lba = self.lba(extent, block);
        plain(match &self.queue {
            Some(queue) => {
                // What a change has to read is waited for as a get is.
                let reads = match self.class {
                    Class::Append => Class::ForegroundRead,
                    class => class,
                };
                MediumTransfer::Queued(queue.read(reads, None, lba, buf))
            }
            None => MediumTransfer::Direct(self.disk.read(lba, buf)),
        })
    }

    /// Writes the buffer. Writes of one class reach the disk in the order of the calls.
    pub(crate) fn write(
        &self,
        extent: ExtentId,
        block: u32,
        buf: IoBuf,
    ) -> impl Future<Output = (Result<(), IoError>, IoBuf)> + use<> {
        self.check(extent, block, buf.len());
        let lba = self.lba(extent, block);
        let persist = Persist::Flush;
        plain(match &self.queue {
            Some(queue) => MediumTransfer::Queued(queue.write(self.class, lba, buf, persist)),
            None => MediumTransfer::Direct(self.disk.write(lba, buf, persist)),
        })
    }

    pub(crate) async fn flush(&self) -> Result<(), IoError> {
        match &self.queue {
            Some(queue) => never_refused(queue.flush().await),
            None => self.disk.flush().await,
        }
    }

    pub(crate) async fn zone_reset(&self, extent: ExtentId) -> Result<(), IoError> {
        match &self.queue {
            Some(queue) => never_refused(queue.zone_reset(ZoneId(extent.0)).await),
            None => self.disk.zone_reset(ZoneId(extent.0)).await,
        }
    }

    pub(crate) async fn zone_finish(&self, extent: ExtentId) -> Result<(), IoError> {
        match &self.queue {
            Some(queue) => never_refused(queue.zone_finish(ZoneId(extent.0)).await),
            None => self.disk.zone_finish(ZoneId(extent.0)).await,
        }
    }

    pub(crate) fn zone_report(&self, extent: ExtentId, buf: IoBuf) -> Transfer {
        self.disk.zone_report(ZoneId(extent.0), buf)
    }

    fn check(&self, extent: ExtentId, block: u32, len: usize) {
        assert!(len > 0 && len.is_multiple_of(BLOCK_BYTES), "whole blocks");
        let blocks = (len / BLOCK_BYTES) as u32;
        assert!(self.cut.is_within(extent, block, blocks), "within the extent");
    }
}

/// A transfer on its way, queued or not. It was begun when it was made.
pub(crate) enum MediumTransfer {
    Queued(QueuedTransfer),
    Direct(Transfer),
}

impl Future for MediumTransfer {
    type Output = (Result<(), QueueError>, IoBuf);

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        match &mut *self {
            MediumTransfer::Queued(queued) => Pin::new(queued).poll(cx),
            MediumTransfer::Direct(direct) => {
                Pin::new(direct).poll(cx).map(|(result, buf)| (result.map_err(QueueError::Io), buf))
            }
        }
    }
}

/// A transfer that can't be refused: it has no deadline and is not of the foreground.
async fn plain(transfer: MediumTransfer) -> (Result<(), IoError>, IoBuf) {
    let (result, buf) = transfer.await;
    (never_refused(result), buf)
}

fn never_refused(result: Result<(), QueueError>) -> Result<(), IoError> {
    result.map_err(|error| match error {
        QueueError::Io(error) => error,
        QueueError::Busy { .. } | QueueError::Late { .. } => {
            unreachable!("only reads that somebody waits for are refused")
        }
    })
}

/// Whether an extent in this state can hold what is in the index.
pub(crate) fn can_hold(state: State) -> bool {
    matches!(state, State::Open | State::Sealed)
}

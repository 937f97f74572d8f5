//! Chunks of the index, read ahead of their use.
//!
//! What must always hold: a chunk is given out only once its record was checked. What can't be
//! read ahead is read alone, so that a bad block beside a chunk costs nothing but time.
//!
//! A merge takes a chunk of this run and then one of that. On a disk with an arm each would cost
//! an access, 12 ms for 1 ms of reading. So whenever a run needs a chunk, those that lie behind
//! it are read as well, marks between them included, up to 32 MiB: 12 ms for 120 ms of reading.
//! (25 million entries are 1.2 GB, in some 18 runs: 50 such reads.) The memory is the system's own,
//! no more than a run needs, and goes back when the run has been read.

use std::collections::VecDeque;
use std::ops::Range;
use std::rc::Rc;

use isotherm_seam::{IoBuf, IoError, PoolExhausted, Region};

use super::again::PAUSES;
use super::scan::{OpenError, ScannedDisk};
use super::walk::WalkError;
use crate::core::World;
use crate::index::RunInfo;
use crate::layout::{ExtentRow, Origin};
use crate::medium::Medium;
use crate::runs::check_chunk;
use crate::{BLOCK_BYTES, ExtentId, Place};

/// Blocks that are read for a run at once.
const AHEAD_BLOCKS: u32 = 8192;
/// Reads in flight: enough that the arm goes on from one to the next.
const READS: usize = 4;

/// A run whose chunks are read ahead.
pub(super) struct Ahead {
    chunks: VecDeque<Place>,
    area: Option<Rc<Region>>,
    /// Payloads of chunks in the area that have not been given out.
    ready: VecDeque<Range<usize>>,
}

/// The payload of a chunk.
pub(super) struct AheadBytes {
    area: Rc<Region>,
    payload: Range<usize>,
}

impl AsRef<[u8]> for AheadBytes {
    fn as_ref(&self) -> &[u8] {
        &self.area[self.payload.clone()]
    }
}

impl Ahead {
    pub(super) fn new(run: &RunInfo) -> Ahead {
        Ahead {
            chunks: run.chunks.iter().map(|chunk| chunk.place).collect(),
            area: None,
            ready: VecDeque::new(),
        }
    }

    /// How many of the next chunks follow each other on the disk, with a mark between two at
    /// most, and the blocks that they take.
    fn row(&self) -> (usize, u32) {
        let first = self.chunks[0];
        let (mut count, mut end) = (0, first.block);
        for place in &self.chunks {
            let own_end = place.block + u32::from(place.blocks);
            let follows = place.extent == first.extent
                && (count == 0 || place.block == end || place.block == end + 1);
            if !follows || count > 0 && own_end - first.block > AHEAD_BLOCKS {
                break;
            }
            (count, end) = (count + 1, own_end);
        }
        (count, end - first.block)
    }
}

impl ScannedDisk {
    /// The next chunk of a run. The one before it is not in use any more.
    pub(super) async fn next_chunk(
        &self,
        run: &mut Ahead,
        rows: &[ExtentRow],
    ) -> Result<AheadBytes, OpenError> {
        if run.ready.is_empty() {
            let (count, blocks) = run.row();
            match self.read_row(run, count, blocks, rows).await {
                Err(OpenError::Index) => self.read_alone(run, rows).await?,
                result => result?,
            }
        }
        let payload = run.ready.pop_front().expect("a row has at least one chunk");
        let area = run.area.as_ref().expect("it was read into");
        let area = Rc::clone(area);
        if run.chunks.is_empty() && run.ready.is_empty() {
            run.area = None;
        }
        Ok(AheadBytes { area, payload })
    }

    /// Reads the next chunk alone, and again after a while if it can't be read.
    async fn read_alone(&self, run: &mut Ahead, rows: &[ExtentRow]) -> Result<(), OpenError> {
        let blocks = u32::from(run.chunks[0].blocks);
        for pause in PAUSES {
            match self.read_row(run, 1, blocks, rows).await {
                Err(OpenError::Index) => self.world.handle.sleep(pause).await,
                result => return result,
            }
        }
        self.read_row(run, 1, blocks, rows).await
    }

    /// Reads so many chunks, which take so many blocks.
    async fn read_row(
        &self,
        run: &mut Ahead,
        count: usize,
        blocks: u32,
        rows: &[ExtentRow],
    ) -> Result<(), OpenError> {
        if !run.chunks.iter().take(count).all(|place| self.is_inside(place, rows)) {
            return Err(OpenError::Index);
        }
        let first = run.chunks[0];
        let len = blocks as usize * BLOCK_BYTES;
        let mut own = match run.area.take() {
            Some(area) if area.len() >= len => area,
            _ => Rc::new(Region::new(len, true).map_err(|_| PoolExhausted::NoBuffer)?),
        };
        let area = Rc::get_mut(&mut own).expect("nothing of it is in use");
        let area = &mut area[..len];
        let bad = read_area(&self.world, &self.medium, first.extent, first.block, area).await?;
        if !bad.is_empty() {
            return Err(OpenError::Index);
        }
        for place in run.chunks.iter().take(count) {
            let start = (place.block - first.block) as usize * BLOCK_BYTES;
            let origin = Origin {
                uuid: self.uuid,
                extent: place.extent,
                block: place.block,
                incarnation: rows[place.extent.0 as usize].incarnation,
            };
            let record = &area[start..start + usize::from(place.blocks) * BLOCK_BYTES];
            let Some(len) = check_chunk(record, &origin) else {
                run.ready.clear();
                return Err(OpenError::Index);
            };
            run.ready.push_back(start + BLOCK_BYTES..start + BLOCK_BYTES + len);
        }
        run.area = Some(own);
        run.chunks.drain(..count);
        Ok(())
    }
}

/// Fills an area of memory from a block of an extent on, with several reads in flight. Gives back
/// which of its blocks lie in reads that failed.
pub(super) async fn read_area(
    world: &World,
    medium: &Medium,
    extent: ExtentId,
    first: u32,
    area: &mut [u8],
) -> Result<Vec<Range<u32>>, WalkError> {
    let blocks = (area.len() / BLOCK_BYTES) as u32;
    let window = super::recover::window_blocks(medium);
    let mut bad = Vec::new();
    let mut under_way = VecDeque::new();
    let mut at = 0;
    // The first read goes alone: of several at once a drive begins with the one that comes
    // under its head first, and pays turns until they are in order.
    let mut together = 1;
    while at < blocks || !under_way.is_empty() {
        if at < blocks && under_way.len() < together {
            let len = window.min(blocks - at);
            match world.pool.alloc(len as usize * BLOCK_BYTES) {
                Ok(buf) => {
                    under_way.push_back((at, medium.read(extent, first + at, buf)));
                    at += len;
                    continue;
                }
                Err(error) if under_way.is_empty() => return Err(error.into()),
                Err(_) => {}
            }
        }
        let (from, read) = under_way.pop_front().expect("otherwise one was begun");
        let (result, buf): (Result<(), IoError>, IoBuf) = read.await;
        together = READS;
        match result {
            Ok(()) => {
                let start = from as usize * BLOCK_BYTES;
                area[start..start + buf.len()].copy_from_slice(&buf);
            }
            Err(IoError::Media { .. } | IoError::TimedOut | IoError::Zone(_)) => {
                bad.push(from..from + (buf.len() / BLOCK_BYTES) as u32);
            }
            Err(error) => return Err(error.into()),
        }
    }
    Ok(bad)
}

//! Reading one block that could not be read with others.
//!
//! What must always hold: what can be read at some try is not taken for damage. A drive that gives
//! a sector up may find it the next time, and one that is asked again a moment later may have
//! moved its arm, or have ended what disturbed it; so the tries are apart, and each pause is ten
//! times as long as the one before.

use isotherm_seam::{IoBuf, IoError, Nanos, PoolExhausted};

use crate::core::World;
use crate::medium::Medium;
use crate::{BLOCK_BYTES, ExtentId};

/// Pauses before the second, the third and the last try of a block: a ninth of a second in all.
pub(crate) const PAUSES: [Nanos; 3] =
    [Nanos::from_millis(1), Nanos::from_millis(10), Nanos::from_millis(100)];
/// Tries of a block where each may take the half minute after which a request counts as lost.
const TIMED_OUT_TRIES: usize = 2;

/// So many blocks in a row that could not be read at any try are a region that is gone: the blocks
/// behind them are tried once. A surface that is gone would otherwise cost two hours an extent. With
/// every fifth try of a sound block failing for no reason, eight such blocks in a row are rarer than
/// one in 10^21.
const REGION_BLOCKS: u32 = 8;

/// Reads blocks one after the other that could not be read together.
#[derive(Default)]
pub(super) struct OneByOne {
    /// Blocks in a row that could not be read.
    lost: u32,
}

impl OneByOne {
    /// Reads the next block; the inner error is that of the last try.
    pub(super) async fn read(
        &mut self,
        world: &World,
        medium: &Medium,
        extent: ExtentId,
        block: u32,
    ) -> Result<(Result<(), IoError>, IoBuf), PoolExhausted> {
        let (result, buf) = match self.lost < REGION_BLOCKS {
            true => read_block(world, medium, extent, block).await?,
            false => medium.read(extent, block, world.pool.alloc(BLOCK_BYTES)?).await,
        };
        self.lost = if result.is_ok() { 0 } else { self.lost + 1 };
        Ok((result, buf))
    }
}

/// Reads a block; the inner error is that of the last try.
pub(crate) async fn read_block(
    world: &World,
    medium: &Medium,
    extent: ExtentId,
    block: u32,
) -> Result<(Result<(), IoError>, IoBuf), PoolExhausted> {
    let mut buf = world.pool.alloc(BLOCK_BYTES)?;
    let mut tries = 0;
    loop {
        buf.set_len(BLOCK_BYTES);
        let (result, back) = medium.read(extent, block, buf).await;
        buf = back;
        tries += 1;
        let pause = match result {
            Err(IoError::Media { .. }) => PAUSES.get(tries - 1),
            Err(IoError::TimedOut) if tries < TIMED_OUT_TRIES => PAUSES.get(tries - 1),
            _ => None,
        };
        match pause {
            Some(pause) => world.handle.sleep(*pause).await,
            None => return Ok((result, buf)),
        }
    }
}

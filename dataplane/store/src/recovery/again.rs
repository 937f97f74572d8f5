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
pub(super) const PAUSES: [Nanos; 3] =
    [Nanos::from_millis(1), Nanos::from_millis(10), Nanos::from_millis(100)];
/// Tries of a block where each may take the half minute after which a request counts as lost.
const TIMED_OUT_TRIES: usize = 2;

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

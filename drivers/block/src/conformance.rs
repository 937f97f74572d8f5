//! One test for every device: the contract of [`isotherm_seam::BlockDevice`], checked from
//! outside.
//!
//! [`run`] overwrites the device and panics where it breaks the contract; it prints its seed
//! first. It lives in the crate, not in its tests, so that drivers of other crates run it from
//! their own. Random operations are compared with a model that knows, for each block, which
//! versions it may hold. [`run_crash`] checks what is left after a loss of power.
//!
//! What must always hold: time is virtual. It jumps to whatever [`BlockDevice::due`] says, and
//! only an event of the kernel is waited for, so a device that models hours is tested in
//! milliseconds.

mod blocks;
mod crash;
mod queue;
mod random;
mod rig;
mod zones;

use isotherm_seam::{BlockDevice, BlockSize, BufPool, Park, PoolClass, PoolLayout};

pub use crash::{Crash, run_crash};

use rig::Rig;

/// What can be expected of a device beyond its geometry.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Expect {
    /// What was written is read again. Not so on `null`, and not with faults that lie.
    pub keeps_data: bool,
    /// Reads and writes may fail, as with a layer of faults. What they may *not* do then is
    /// checked all the same.
    pub fails: bool,
    /// Random operations to run.
    pub operations: u32,
}

impl Default for Expect {
    /// A device that keeps data and does not fail; 2,000 operations.
    fn default() -> Expect {
        Expect { keeps_data: true, fails: false, operations: 2_000 }
    }
}

/// Longest transfer that the tests make, in bytes; one more block where it must be too long.
const IO_BYTES: usize = 64 << 10;

/// A pool as the tests need it: 32 buffers of 64 KiB.
pub fn pool() -> BufPool {
    let classes = vec![
        PoolClass { buf_bytes: 4096, count: 32 },
        PoolClass { buf_bytes: IO_BYTES as u32, count: 32 },
    ];
    BufPool::new(&PoolLayout { classes, align: BlockSize::B4096, huge: false })
        .expect("two megabytes of memory")
}

/// Checks `device` against the contract; see [`Expect::default`]. The pool is that of [`pool`],
/// or larger.
pub fn run(device: &mut dyn BlockDevice, park: &mut dyn Park, pool: &BufPool, seed: u64) {
    run_with(device, park, pool, seed, Expect::default());
}

/// Checks `device` against the contract, as far as `expect` goes.
pub fn run_with(
    device: &mut dyn BlockDevice,
    park: &mut dyn Park,
    pool: &BufPool,
    seed: u64,
    expect: Expect,
) {
    eprintln!("conformance of {} with seed {seed}", device.info().driver);
    let free = pool.free_count();
    let mut rig = Rig::new(device, park, pool, seed, expect);
    queue::geometry_is_sane(&rig);
    queue::misfits_complete_with_their_error(&mut rig);
    queue::a_full_queue_hands_back(&mut rig);
    queue::poll_keeps_within_the_room_it_is_given(&mut rig);
    random::operations(&mut rig);
    zones::rules(&mut rig);
    zones::appends(&mut rig);
    assert!(rig.is_idle(), "every request has come back");
    assert_eq!(pool.free_count(), free, "every buffer has come back");
}

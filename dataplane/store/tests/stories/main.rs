//! What once went wrong, told as short as it can be: one test for each bug.

#[path = "../suite/mod.rs"]
mod suite;

mod fates;
mod full;
mod harm;
mod upkeep;

use isotherm_seam::{BlockSize, DiskId, Domain, Draws, Lba, ZoneGeometry, ZoneId};
use isotherm_sim::{CrashStyle, Fault, FaultRates, Sector, SimDiskConfig};
use isotherm_store::layout::Kind;
use isotherm_store::model::Model;
use isotherm_store::{
    Delete, FormatError, FormatOptions, GetError, OpenError, Options, Put, PutError, Reserve, Store,
};
use suite::plan::{content, key};
use suite::rig::{Drive, Rig};
use suite::start;

const EXTENT_BLOCKS: u32 = 16;

/// A conventional disk of the fewest and smallest extents.
fn small_disk(seed: u64) -> SimDiskConfig {
    let mut config = SimDiskConfig::new(seed, DiskId(0), u64::from(16 * EXTENT_BLOCKS));
    config.geometry.logical = BlockSize::B4096;
    config.geometry.io_bytes_max = 2 << 20;
    config.unreadable_p = 0.0;
    config
}

/// The same with a zone for each extent.
fn zoned(mut config: SimDiskConfig) -> SimDiskConfig {
    let zone_blocks = u64::from(EXTENT_BLOCKS);
    config.geometry.discard = false;
    config.geometry.zones = Some(ZoneGeometry {
        zone_blocks,
        capacity_blocks: zone_blocks,
        zones: 16,
        conventional: 0,
        open_max: 0,
    });
    config
}

fn options() -> Options {
    Options { entries_max: 4_096, changes_max: 16, batch_bytes: 160 << 10, ..Options::default() }
}

fn formatted(config: SimDiskConfig) -> Rig {
    let mut rig = Rig::new(config, true);
    let (world, disk) = (rig.world(), rig.disk().clone());
    let is_zoned = rig.disk().geometry().zones.is_some();
    let extent_blocks = (!is_zoned).then_some(EXTENT_BLOCKS);
    let format = FormatOptions { extent_blocks, ..FormatOptions::new([7; 16]) };
    rig.run(async move { isotherm_store::format(&world, &disk, &format).await })
        .expect("it ends")
        .expect("it formats");
    rig
}

fn open(rig: &mut Rig) -> Store {
    start::opened(rig, &options(), false).expect("it ends").expect("it opens")
}

async fn put(store: Store, number: u8, len: u32) -> Result<(), PutError> {
    let mut buf = store.buffer(len as usize).expect("the pool is large");
    buf.fill(&content(number, 1, len));
    store.put(Put::new(key(number)), buf).await.map(drop)
}

async fn read(store: Store, number: u8) -> Result<Vec<u8>, GetError> {
    store.read(key(number)).await.map(|shard| shard.to_vec())
}

async fn checkpoint(store: Store) -> Result<(), PutError> {
    store.checkpoint().await
}

async fn flush(store: Store) {
    store.flush().await;
}

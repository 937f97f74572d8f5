//! A disk in a file, and jobs on it, one after the other.

use std::future::Future;
use std::path::PathBuf;
use std::rc::Rc;

use isotherm_block::File;
use isotherm_host::{HostClock, ThreadPark};
use isotherm_reactor::{Disk, Reactor, ReactorConfig};
use isotherm_seam::{BlockSize, BufPool, OpenOptions, Park, PoolClass, PoolLayout};
use isotherm_store::{FormatOptions, Key, Put, Store, World};
use tempfile::TempDir;

/// Blocks of an extent here: 128 KiB.
pub(crate) const EXTENT_BLOCKS: u32 = 32;
pub(crate) const EXTENTS: u32 = 24;
pub(crate) const UUID: [u8; 16] = *b"a disk of tests!";

pub(crate) struct Rig {
    _dir: TempDir,
    pub(crate) path: PathBuf,
}

impl Rig {
    /// An empty disk.
    pub(crate) fn blank() -> Rig {
        Rig::of_bytes(&vec![0; (EXTENTS * EXTENT_BLOCKS) as usize * 4096])
    }

    /// A disk with these bytes.
    pub(crate) fn of_bytes(bytes: &[u8]) -> Rig {
        let dir = tempfile::tempdir().expect("a folder");
        let path = dir.path().join("disk");
        std::fs::write(&path, bytes).expect("a file");
        Rig { _dir: dir, path }
    }

    /// An empty store.
    pub(crate) fn formatted() -> Rig {
        let rig = Rig::blank();
        rig.run(true, |world, disk| async move {
            let options =
                FormatOptions { extent_blocks: Some(EXTENT_BLOCKS), ..FormatOptions::new(UUID) };
            isotherm_store::format(&world, &disk, &options).await.expect("it formats");
        });
        rig
    }

    /// Runs a job on the disk, which is only opened for writing if that is said.
    pub(crate) fn run<T: 'static, F: Future<Output = T> + 'static>(
        &self,
        write: bool,
        job: impl FnOnce(World, Disk) -> F,
    ) -> T {
        let park = ThreadPark::new();
        let options = OpenOptions { write, direct: false, depth: 16, create_bytes: None };
        let device = File::open(&self.path, &options, 2, park.unparker()).expect("it opens");
        let clock = HostClock::new();
        let mut core = Reactor::new(park, clock, ReactorConfig::default());
        let disk = core.attach(Box::new(device));
        let world = World { handle: core.handle().clone(), pool: pool(), clock: Rc::new(clock) };
        let job = job(world, disk);
        core.run(job)
    }

    pub(crate) fn bytes(&self) -> Vec<u8> {
        std::fs::read(&self.path).expect("the disk")
    }

    /// Inverts one byte of a block.
    pub(crate) fn harm(&self, extent: u32, block: u32, byte: usize) {
        let mut bytes = self.bytes();
        bytes[(extent * EXTENT_BLOCKS + block) as usize * 4096 + byte] ^= 0xff;
        std::fs::write(&self.path, bytes).expect("the disk");
    }
}

fn pool() -> BufPool {
    let class = |buf_bytes, count| PoolClass { buf_bytes, count };
    let layout = PoolLayout {
        classes: vec![class(16 << 10, 64), class(256 << 10, 24), class(2 << 20, 12)],
        align: BlockSize::B4096,
        huge: false,
    };
    BufPool::new(&layout).expect("memory for a pool")
}

pub(crate) fn key(object: u128) -> Key {
    Key { group: 7, object, stripe: 1, position: 2 }
}

/// What a shard of these tests holds.
pub(crate) fn payload(object: u128, len: usize) -> Vec<u8> {
    (0..len).map(|at| (at as u8).wrapping_mul(31) ^ object as u8 ^ (at >> 8) as u8).collect()
}

pub(crate) async fn put(store: &Store, object: u128, len: usize) {
    let mut buf = store.buffer(len).expect("a buffer");
    buf.fill(&payload(object, len));
    store.put(Put::new(key(object)), buf).await.expect("it is put");
}

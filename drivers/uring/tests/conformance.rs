//! The contract of block devices, checked on a ring: files, buffered, direct and in memory.
//!
//! The page cache copies bytes under a reader, so a block that is read while it is written may
//! come back half old and half new, whatever the driver does. There data is compared one request
//! at a time, and everything but data at depth.

use std::path::Path;

use isotherm_block::conformance::{self, Expect};
use isotherm_seam::{BlockDevice, OpenOptions};
use isotherm_uring::{Ring, RingConfig};

const FILE_BYTES: u64 = 4 << 20;

fn conforms(dir: &Path, options: OpenOptions, seed: u64) {
    let pool = conformance::pool();
    let mut ring = Ring::new(&RingConfig { entries: 256, pool: pool.clone() }).unwrap();
    let options = OpenOptions { write: true, create_bytes: Some(FILE_BYTES), ..options };
    let mut disk = ring.open(dir.join("disk"), &options).unwrap();
    let keeps_data = options.depth == 1 || disk.info().direct == Some(true);
    let expect = Expect { keeps_data, ..Expect::default() };
    conformance::run_with(&mut disk, &mut ring, &pool, seed, expect);
}

#[test]
fn a_buffered_file_conforms() {
    let dir = tempfile::tempdir().unwrap();
    for (seed, depth) in [(1, 16), (2, 1), (3, 31)] {
        conforms(dir.path(), OpenOptions { direct: false, depth, ..Default::default() }, seed);
    }
}

#[test]
fn a_direct_file_conforms() {
    let dir = tempfile::tempdir().unwrap();
    for (seed, depth) in [(4, 16), (5, 1)] {
        conforms(dir.path(), OpenOptions { depth, ..Default::default() }, seed);
    }
}

#[test]
fn a_file_in_memory_conforms() {
    let Ok(dir) = tempfile::tempdir_in("/dev/shm") else {
        println!("skipped: no /dev/shm to write to");
        return;
    };
    for (seed, depth) in [(6, 16), (7, 1)] {
        let options = OpenOptions { direct: false, depth, ..Default::default() };
        conforms(dir.path(), options, seed);
    }
}

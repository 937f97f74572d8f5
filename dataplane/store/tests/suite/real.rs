//! A store on a real driver, over a file or a block device.
#![allow(clippy::disallowed_methods, reason = "waits for the kernel to let go of a device")]

use std::future::Future;
use std::path::Path;
use std::rc::Rc;
use std::time::Duration;

use isotherm_block::File;
use isotherm_host::{HostClock, ThreadPark};
use isotherm_reactor::{Disk, Reactor, ReactorConfig};
use isotherm_seam::{BlockDevice, BlockSize, OpenError, OpenOptions, Park, PoolClass, PoolLayout};
use isotherm_seam::{BufPool, Clock};
use isotherm_store::{FormatOptions, World};
use isotherm_uring::{Ring, RingConfig};

/// Bytes of the disks of these tests.
pub const DISK_BYTES: u64 = 32 << 20;

/// Which driver.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Driver {
    /// pread and pwrite on threads.
    File,
    /// io_uring; where it is refused, `File`.
    Uring,
}

fn pool() -> BufPool {
    let class = |buf_bytes, count| PoolClass { buf_bytes, count };
    let layout = PoolLayout {
        classes: vec![class(64 << 10, 64), class(256 << 10, 32), class(2 << 20, 16)],
        align: BlockSize::B4096,
        huge: false,
    };
    BufPool::new(&layout).expect("memory for a pool")
}

/// Runs a job on a core that holds the disk.
pub fn on_disk<T: 'static, F: Future<Output = T> + 'static>(
    path: &Path,
    driver: Driver,
    wrap: impl FnOnce(Box<dyn BlockDevice>) -> Box<dyn BlockDevice>,
    job: impl FnOnce(World, Disk) -> F,
) -> T {
    let pool = pool();
    let options = OpenOptions { write: true, depth: 32, ..OpenOptions::default() };
    let ring = match driver {
        Driver::Uring => Ring::new(&RingConfig { entries: 256, pool: pool.clone() }).ok(),
        Driver::File => None,
    };
    match ring {
        Some(ring) => {
            let device = soon(|| ring.open(path, &options));
            run(ring, pool, wrap(Box::new(device)), job)
        }
        None => {
            let park = ThreadPark::new();
            let device = soon(|| File::open(path, &options, 4, park.unparker()));
            run(park, pool, wrap(Box::new(device)), job)
        }
    }
}

/// Opens a device that a process held which was killed: the kernel lets go of it a little later.
fn soon<D>(open: impl Fn() -> Result<D, OpenError>) -> D {
    for _ in 0..500 {
        match open() {
            Ok(device) => return device,
            Err(_) => std::thread::sleep(Duration::from_millis(10)),
        }
    }
    open().expect("the disk opens")
}

fn run<T: 'static, P: Park, F: Future<Output = T> + 'static>(
    park: P,
    pool: BufPool,
    device: Box<dyn BlockDevice>,
    job: impl FnOnce(World, Disk) -> F,
) -> T {
    let clock = HostClock::new();
    let mut core = Reactor::new(park, clock, ReactorConfig::default());
    let disk = core.attach(device);
    let clock: Rc<dyn Clock> = Rc::new(clock);
    let world = World { handle: core.handle().clone(), pool, clock };
    let job = job(world, disk);
    core.run(job)
}

/// A store on it, with extents of 256 KiB.
pub fn format(path: &Path, driver: Driver) {
    on_disk(
        path,
        driver,
        |device| device,
        |world, disk| async move {
            let options = FormatOptions {
                extent_blocks: Some(64),
                force: true,
                ..FormatOptions::new(*b"a disk of a test")
            };
            isotherm_store::format(&world, &disk, &options).await.expect("it formats");
        },
    );
}

//! A core with one disk, in virtual or in wall-clock time, and what counts what the disk is asked.

use std::cell::Cell;
use std::future::Future;
use std::rc::Rc;

use isotherm_block::{OpenContext, Spec};
use isotherm_host::{HostClock, ThreadPark};
use isotherm_reactor::{Disk, Reactor, ReactorConfig};
use isotherm_seam::{
    BlockDevice, BlockSize, BufPool, Completion, DeviceInfo, Domain, Due, Geometry, Mono, Op,
    OpenOptions, Park, PoolClass, PoolLayout, Request,
};
use isotherm_sim::{SimClock, SimPark};
use isotherm_store::{FormatOptions, Key, Options, Put, PutBuf, PutError, Store, World, format};
#[cfg(feature = "peers")]
use isotherm_uring::{Ring, RingConfig};
use nix::sys::time::TimeValLike;
use nix::time::ClockId;

/// Random draws of the loads.
pub(crate) const DRAWS: Domain = Domain::new("example.store_bars");

/// A stack of drivers.
pub(crate) fn device(spec: &str) -> Box<dyn BlockDevice> {
    let unparker = SimPark::new(SimClock::new()).unparker();
    let options = OpenOptions { write: true, ..OpenOptions::default() };
    let context = OpenContext { options, unparker, seed: 1, leaves: &mut [] };
    Spec::parse(spec).and_then(|spec| spec.open(context)).unwrap_or_else(|e| panic!("{e}"))
}

/// Buffers for so many records of each size: `small` ones of up to 16 KiB, `middle` ones of up
/// to 132 KiB, `large` ones of up to 1 MiB; in huge pages if asked for.
pub(crate) fn pool(small: u32, middle: u32, large: u32, huge: bool) -> BufPool {
    let class = |payload: usize, count| PoolClass {
        buf_bytes: PutBuf::buffer_bytes(payload) as u32,
        count,
    };
    let classes = vec![class(4 << 10, small), class(128 << 10, middle), class(1 << 20, large)];
    BufPool::new(&PoolLayout { classes, align: BlockSize::B4096, huge })
        .expect("memory for buffers")
}

/// Runs in virtual time.
pub(crate) fn simulate<T: 'static, F: Future<Output = T> + 'static>(
    device: Box<dyn BlockDevice>,
    pool: BufPool,
    task: impl FnOnce(World, Disk) -> F,
) -> T {
    let clock = SimClock::new();
    let park = SimPark::new(clock.clone());
    let mut reactor = Reactor::new(park, clock.clone(), ReactorConfig::default());
    let disk = reactor.attach(device);
    let world = World { handle: reactor.handle().clone(), pool, clock: Rc::new(clock) };
    reactor.run(task(world, disk))
}

/// Runs in wall-clock time.
pub(crate) fn host<T: 'static, F: Future<Output = T> + 'static>(
    device: Box<dyn BlockDevice>,
    pool: BufPool,
    task: impl FnOnce(World, Disk) -> F,
) -> T {
    drive(ThreadPark::new(), device, pool, task)
}

/// Runs in wall-clock time on a file or block device: by io_uring, or on threads where that is
/// refused.
#[cfg(feature = "peers")]
pub(crate) fn host_file<T: 'static, F: Future<Output = T> + 'static>(
    path: &std::path::Path,
    pool: BufPool,
    task: impl FnOnce(World, Disk) -> F,
) -> T {
    let options = OpenOptions { write: true, ..OpenOptions::default() };
    match Ring::new(&RingConfig { entries: 256, pool: pool.clone() }) {
        Ok(ring) => {
            let device = ring.open(path, &options).unwrap_or_else(|e| panic!("{e}"));
            drive(ring, Box::new(device), pool, task)
        }
        Err(_) => {
            let park = ThreadPark::new();
            let spec = Spec::parse(&format!("file:{}", path.display()));
            let context =
                OpenContext { options, unparker: park.unparker(), seed: 1, leaves: &mut [] };
            let device = spec.and_then(|spec| spec.open(context));
            drive(park, device.unwrap_or_else(|e| panic!("{e}")), pool, task)
        }
    }
}

fn drive<T: 'static, P: Park, F: Future<Output = T> + 'static>(
    park: P,
    device: Box<dyn BlockDevice>,
    pool: BufPool,
    task: impl FnOnce(World, Disk) -> F,
) -> T {
    crate::report::verbose(&format!("{:?}", device.info()));
    let clock = HostClock::new();
    let mut reactor = Reactor::new(park, clock, ReactorConfig::default());
    let disk = reactor.attach(device);
    let world = World { handle: reactor.handle().clone(), pool, clock: Rc::new(clock) };
    reactor.run(task(world, disk))
}

/// Formats the disk and opens it.
pub(crate) async fn fresh(
    world: &World,
    disk: &Disk,
    extent_blocks: u32,
    options: Options,
) -> Store {
    let format_options =
        FormatOptions { extent_blocks: Some(extent_blocks), ..FormatOptions::new([7; 16]) };
    format(world, disk, &format_options).await.expect("an empty disk");
    Store::open(world, disk, options).await.expect("it was formatted").0
}

/// The key of a number.
pub(crate) fn key(number: u64) -> Key {
    Key { group: 1, object: u128::from(number), stripe: 0, position: 0 }
}

/// Puts so many bytes, all alike, and waits until they are durable.
pub(crate) async fn put(store: &Store, number: u64, len: usize) -> Result<(), PutError> {
    let buf = store.buffer(len).map_err(PutError::Buffer)?;
    store.put(Put::new(key(number)), buf).await.map(drop)
}

/// Processor time of this thread, in seconds: what others do on the machine counts less.
pub(crate) fn cpu_s() -> f64 {
    let time = ClockId::CLOCK_THREAD_CPUTIME_ID.now().expect("every Linux has it");
    time.num_nanoseconds() as f64 / 1e9
}

/// Seconds of the clock that runs on.
pub(crate) fn wall_s(world: &World) -> f64 {
    world.clock.mono().0 as f64 / 1e9
}

/// What a device was asked to do.
#[derive(Clone, Copy, Default, Debug)]
pub(crate) struct Counts {
    pub(crate) reads: u64,
    pub(crate) writes: u64,
    pub(crate) flushes: u64,
    pub(crate) write_bytes: u64,
}

/// Counts what passes to the device below.
pub(crate) struct Counting {
    inner: Box<dyn BlockDevice>,
    counts: Rc<Cell<Counts>>,
}

impl Counting {
    pub(crate) fn over(inner: Box<dyn BlockDevice>) -> (Box<dyn BlockDevice>, Rc<Cell<Counts>>) {
        let counts = Rc::new(Cell::new(Counts::default()));
        (Box::new(Counting { inner, counts: Rc::clone(&counts) }), counts)
    }
}

impl BlockDevice for Counting {
    fn geometry(&self) -> &Geometry {
        self.inner.geometry()
    }

    fn info(&self) -> DeviceInfo {
        self.inner.info().under("counting")
    }

    fn submit(&mut self, now: Mono, request: Request) -> Result<(), Request> {
        let mut counts = self.counts.get();
        match &request.op {
            Op::Read { .. } => counts.reads += 1,
            Op::Write { buf, .. } => {
                counts.writes += 1;
                counts.write_bytes += buf.len() as u64;
            }
            Op::Flush => counts.flushes += 1,
            _ => {}
        }
        self.inner.submit(now, request)?;
        self.counts.set(counts);
        Ok(())
    }

    fn poll(&mut self, now: Mono, done: &mut Vec<Completion>) -> usize {
        self.inner.poll(now, done)
    }

    fn due(&self) -> Due {
        self.inner.due()
    }

    fn inflight(&self) -> usize {
        self.inner.inflight()
    }
}

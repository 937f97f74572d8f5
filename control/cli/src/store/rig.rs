//! A disk on a core, with somebody who watches: progress, and the end by Ctrl-C.
//!
//! What must always hold: a verb that only reads opens the disk for reading only. A job that
//! writes is never cut short; it is told to stop and ends by itself. A job that only reads is
//! given a second to tell what it found so far.

use std::cell::{Cell, RefCell};
use std::future::Future;
use std::io::IsTerminal;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::Context;
use isotherm_block::{OpenContext, Spec};
use isotherm_host::{HostClock, ThreadPark};
use isotherm_reactor::{Disk, Reactor, ReactorConfig};
use isotherm_seam::{
    BlockDevice, BlockSize, BufPool, Clock, Leaf, Mono, Nanos, OpenCause, OpenError, OpenOptions,
    Park, PoolClass, PoolLayout,
};
use isotherm_sim::{SimClock, SimPark};
use isotherm_store::offline::Progress;
use isotherm_store::{PAYLOAD_MAX, PutBuf, World};
use isotherm_uring::{Ring, RingConfig};

use super::meter::{Meter, Traffic};

/// Between two looks at the stop flag and two lines of progress.
const TICK: Nanos = Nanos::from_millis(100);
/// What a job that reads gets to end by itself.
const PATIENCE: Nanos = Nanos::from_secs(1);
/// Turns of a core in virtual time between two looks at the real clock.
const TURNS: u32 = 4096;

/// How a disk is opened.
pub(super) struct Setup {
    pub(super) write: bool,
    /// In virtual time: for models over memory.
    pub(super) virtual_time: bool,
    /// Where the chance of made-up disks comes from.
    pub(super) seed: u64,
    /// Requests of the store that are under way at once; buffers are for so many.
    pub(super) inflight: u32,
    /// A file that is made, or extended, has at least this size.
    pub(super) create_bytes: Option<u64>,
}

impl Setup {
    /// For looking.
    pub(super) fn reading() -> Setup {
        Setup { write: false, virtual_time: false, seed: 1, inflight: 1, create_bytes: None }
    }

    pub(super) fn writing() -> Setup {
        Setup { write: true, ..Setup::reading() }
    }

    /// Buffers: small ones for single blocks, and so many of each usual length of a record.
    fn pool(&self) -> Result<BufPool, isotherm_seam::RegionError> {
        let class = |buf_bytes: u32, count| PoolClass { buf_bytes, count };
        // Batches, windows of recovery and what the store itself has under way.
        let own = 24;
        let count = self.inflight * 2 + own;
        let longest = PutBuf::buffer_bytes(PAYLOAD_MAX as usize) as u32;
        BufPool::new(&PoolLayout {
            classes: vec![
                class(4 << 10, 160),
                class(16 << 10, count),
                class(80 << 10, count),
                class(272 << 10, count),
                class(longest, count),
            ],
            align: BlockSize::B4096,
            huge: self.inflight > 1,
        })
    }
}

/// Who watches a job.
pub(super) struct Watcher {
    stop: Arc<AtomicBool>,
    traffic: Rc<Cell<Traffic>>,
    phase: RefCell<String>,
    shown: bool,
    width: Cell<usize>,
}

impl Watcher {
    pub(super) fn new(phase: &str) -> anyhow::Result<Rc<Watcher>> {
        Ok(Rc::new(Watcher {
            stop: crate::stop::on_signal()?,
            traffic: Rc::default(),
            phase: RefCell::new(phase.to_owned()),
            shown: std::io::stderr().is_terminal(),
            width: Cell::new(0),
        }))
    }

    /// What is done now.
    pub(super) fn phase(&self, text: impl Into<String>) {
        *self.phase.borrow_mut() = text.into();
    }

    /// Nobody has pressed Ctrl-C.
    pub(super) fn goes_on(&self) -> bool {
        !self.stop.load(Ordering::Relaxed)
    }

    /// Takes the progress of a walk; says whether it is to go on.
    pub(super) fn at(&self, what: &str, progress: Progress) -> bool {
        self.phase(format!("{what}: {} of {} extents", progress.done, progress.extents));
        self.goes_on()
    }

    /// What went to the disk so far.
    pub(super) fn traffic(&self) -> Traffic {
        self.traffic.get()
    }

    fn show(&self) {
        if !self.shown {
            return;
        }
        let traffic = self.traffic.get();
        let read = super::words::size(traffic.read_bytes);
        let written = match traffic.write_bytes {
            0 => String::new(),
            bytes => format!(", {} written", super::words::size(bytes)),
        };
        let text = format!("{}, {read} read{written}", self.phase.borrow());
        self.width.set(self.width.get().max(text.len()));
        eprint!("\r{text:<width$}", width = self.width.get());
    }

    fn clear(&self) {
        if self.width.get() > 0 {
            eprint!("\r{:width$}\r", "", width = self.width.get());
        }
    }
}

/// Runs a job on a disk. `None` if it only reads and was cut short.
pub(super) fn run<T: 'static, F: Future<Output = T> + 'static>(
    spec: &Spec,
    setup: &Setup,
    watcher: &Rc<Watcher>,
    job: impl FnOnce(World, Disk) -> F,
) -> anyhow::Result<Option<T>> {
    let pool = setup.pool().context("no memory for the buffers")?;
    if setup.virtual_time {
        let clock = SimClock::new();
        let mut park = SimPark::new(clock.clone());
        let device = open(spec, setup, &mut park, &mut [])?;
        return Ok(drive(park, clock, pool, device, setup, watcher, job));
    }
    let clock = HostClock::new();
    let ring = match spec.path() {
        Some(_) => Ring::new(&RingConfig { entries: 256, pool: pool.clone() }),
        // ENOSYS: never asked for, as there is no path for it.
        None => Err(OpenError::new(spec.text(), OpenCause::UringRefused { errno: 38 })),
    };
    match ring {
        Ok(mut ring) => {
            let mut leaf = ring.clone();
            let device = open(spec, setup, &mut ring, &mut [&mut leaf])?;
            Ok(drive(ring, clock, pool, device, setup, watcher, job))
        }
        Err(_) => {
            let mut park = ThreadPark::new();
            let device = open(spec, setup, &mut park, &mut [])?;
            Ok(drive(park, clock, pool, device, setup, watcher, job))
        }
    }
}

fn open<'a, P: Park>(
    spec: &Spec,
    setup: &Setup,
    park: &mut P,
    leaves: &'a mut [&'a mut dyn Leaf],
) -> anyhow::Result<Box<dyn BlockDevice>> {
    let options = OpenOptions {
        write: setup.write,
        create_bytes: setup.create_bytes.filter(|_| setup.write),
        depth: (setup.inflight * 2).clamp(32, 128),
        ..OpenOptions::default()
    };
    let context = OpenContext { options, unparker: park.unparker(), seed: setup.seed, leaves };
    Ok(spec.open(context)?)
}

fn drive<T, P, C, F>(
    park: P,
    clock: C,
    pool: BufPool,
    device: Box<dyn BlockDevice>,
    setup: &Setup,
    watcher: &Rc<Watcher>,
    job: impl FnOnce(World, Disk) -> F,
) -> Option<T>
where
    T: 'static,
    P: Park,
    C: Clock + Clone + 'static,
    F: Future<Output = T> + 'static,
{
    let real = HostClock::new();
    let mut core = Reactor::new(park, clock.clone(), ReactorConfig::default());
    let disk = core.attach(Box::new(Meter::new(device, &watcher.traffic)));
    let handle = core.handle().clone();
    let mut task = core.spawn(
        "store.tool",
        job(World { handle: handle.clone(), pool, clock: Rc::new(clock) }, disk),
    );
    if !setup.virtual_time {
        let watcher = Rc::clone(watcher);
        drop(core.spawn("store.watch", async move {
            loop {
                handle.sleep(TICK).await;
                watcher.show();
            }
        }));
    }
    let mut told: Option<Mono> = None;
    let mut turns = 0u32;
    loop {
        core.turn();
        if let Some(value) = task.try_take() {
            watcher.clear();
            return Some(value);
        }
        turns = turns.wrapping_add(1);
        if setup.virtual_time && turns.is_multiple_of(TURNS) {
            watcher.show();
        }
        if !setup.write && !watcher.goes_on() {
            let now = real.mono();
            if now.since(*told.get_or_insert(now)) > PATIENCE {
                watcher.clear();
                return None;
            }
        }
        core.rest();
    }
}

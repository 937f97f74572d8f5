//! One simulated disk, one core, one store on them, and the hand that cuts the power.
//!
//! What must always hold: after a power cut nothing of the core is left but the clock and what
//! the disk keeps. When store and core are gone, every buffer is back in the pool.

use std::cell::RefCell;
use std::future::Future;
use std::rc::Rc;

use isotherm_reactor::{Disk, Order, Reactor, ReactorConfig, Task};
use isotherm_seam::{BlockSize, BufPool, Clock, Due, Mono, Nanos, PoolClass, PoolLayout};
use isotherm_sim::{CrashStyle, DiskControl, Image, SimClock, SimDisk, SimDiskConfig, SimPark};
use isotherm_store::World;
use isotherm_store::model::Model;

use super::tap::{Log, Tap};

/// Turns of the core for one step before it counts as going round in circles.
const TURNS_MAX: u32 = 2_000_000;
/// Virtual time for one step before it counts as stuck.
const STEP_MAX: Nanos = Nanos::from_secs(86_400);

thread_local! {
    /// Mapping memory costs more than a sequence: one pool serves them all.
    static POOL: RefCell<Option<BufPool>> = const { RefCell::new(None) };
}

/// The pool of this thread.
pub fn pool() -> BufPool {
    POOL.with_borrow_mut(|pool| {
        pool.get_or_insert_with(|| {
            let class = |buf_bytes, count| PoolClass { buf_bytes, count };
            let layout = PoolLayout {
                classes: vec![
                    class(12 << 10, 64),
                    class(64 << 10, 48),
                    class(256 << 10, 48),
                    class(2 << 20, 24),
                ],
                align: BlockSize::B4096,
                huge: false,
            };
            BufPool::new(&layout).expect("a pool")
        })
        .clone()
    })
}

/// After a panic: what was lost with it is not counted against others.
pub fn forget_pool() {
    POOL.with_borrow_mut(|pool| *pool = None);
}

pub struct Rig {
    pub clock: SimClock,
    pub control: DiskControl,
    pub log: Rc<RefCell<Log>>,
    pub model: Rc<Model>,
    pub pool: BufPool,
    free: usize,
    seed: u64,
    starts: u64,
    /// Sectors that power cuts have left unreadable.
    pub unreadable: u64,
    pub core: Option<Reactor<SimPark, SimClock>>,
    pub disk: Option<Disk>,
}

/// How driving the core ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Drive {
    /// Everything asked for is done.
    Done,
    /// As many requests have completed as were asked for.
    Cut,
    /// Something never ends.
    Stuck,
}

impl Rig {
    pub fn new(config: SimDiskConfig, keep_log: bool) -> Rig {
        let seed = config.seed;
        Rig::over(SimDisk::new(config), seed, Rc::default(), keep_log)
    }

    /// A rig over a disk that holds this image, with a model of what should be on it.
    pub fn with_image(config: SimDiskConfig, image: Image, model: Model) -> Rig {
        let seed = config.seed;
        Rig::over(SimDisk::with_image(config, image), seed, Rc::new(model), false)
    }

    fn over(disk: SimDisk, seed: u64, model: Rc<Model>, keep_log: bool) -> Rig {
        use isotherm_seam::BlockDevice;
        let control = disk.control();
        let log = Log::new(&control, disk.geometry(), &model, keep_log);
        let pool = pool();
        let free = pool.free_count();
        let mut rig = Rig {
            clock: SimClock::new(),
            control,
            log: Rc::new(RefCell::new(log)),
            model,
            pool,
            free,
            seed,
            starts: 0,
            unreadable: 0,
            core: None,
            disk: None,
        };
        rig.power_up(disk);
        rig
    }

    fn power_up(&mut self, disk: SimDisk) {
        self.starts += 1;
        let order = Order::Seeded(self.seed ^ self.starts << 40);
        let config = ReactorConfig { order, tasks_max: 256, ..ReactorConfig::default() };
        let core = Reactor::new(SimPark::new(self.clock.clone()), self.clock.clone(), config);
        self.disk = Some(core.handle().attach(Box::new(Tap::new(disk, &self.log))));
        self.core = Some(core);
    }

    pub fn core(&mut self) -> &mut Reactor<SimPark, SimClock> {
        self.core.as_mut().expect("powered up")
    }

    pub fn disk(&self) -> &Disk {
        self.disk.as_ref().expect("powered up")
    }

    pub fn world(&self) -> World {
        let core = self.core.as_ref().expect("powered up");
        World {
            handle: core.handle().clone(),
            pool: self.pool.clone(),
            clock: Rc::new(self.clock.clone()),
        }
    }

    pub fn now(&self) -> Mono {
        self.clock.mono()
    }

    /// Starts a task.
    pub fn spawn<T: 'static>(&mut self, what: impl Future<Output = T> + 'static) -> Task<T> {
        self.core().spawn("suite", what)
    }

    /// Runs one future to its end; `None` if it never ends.
    pub fn run<T: 'static>(&mut self, what: impl Future<Output = T> + 'static) -> Option<T> {
        let mut task = self.spawn(what);
        let mut value = None;
        let drive = self.drive(None, || {
            value = task.try_take();
            value.is_some()
        });
        if drive == Drive::Stuck { None } else { value }
    }

    /// Turns the core until `is_done`, or until so many requests have completed.
    pub fn drive(&mut self, cut: Option<u32>, mut is_done: impl FnMut() -> bool) -> Drive {
        let clock = self.clock.clone();
        let core = self.core();
        let handle = core.handle().clone();
        let first = handle.counters().completions;
        let start = clock.mono();
        for _ in 0..TURNS_MAX {
            if is_done() {
                return Drive::Done;
            }
            if cut.is_some_and(|cut| handle.counters().completions - first >= u64::from(cut)) {
                return Drive::Cut;
            }
            if !core.turn() {
                match core.due() {
                    Due::At(at) if at.since(start) < STEP_MAX => clock.advance_to(at),
                    Due::Now => {}
                    _ => return Drive::Stuck,
                }
            }
        }
        Drive::Stuck
    }

    /// Cuts the power and starts the core again. The store's handles must be gone, or go unused.
    pub fn crash(&mut self, style: CrashStyle) {
        let report = self.control.crash(style);
        self.unreadable += report.unreadable;
        self.log.borrow().remark(|| format!("power cut: {report:?}"));
        self.stop();
        self.model.crash();
        let disk = self.control.open();
        self.power_up(disk);
    }

    /// The core and its disk go away.
    fn stop(&mut self) {
        self.disk = None;
        self.core = None;
        self.log.borrow_mut().forget_stray();
    }

    /// Ends it all: are all buffers back?
    pub fn end(mut self) -> Result<(), String> {
        self.stop();
        let lost = self.free.saturating_sub(self.pool.free_count());
        if lost > 0 {
            forget_pool();
            return Err(format!("{lost} buffers never came back to the pool"));
        }
        Ok(())
    }
}

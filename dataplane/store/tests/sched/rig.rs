//! A disk under the scheduler in virtual time, and loads for it.

use std::cell::{Cell, RefCell};
use std::future::Future;
use std::rc::Rc;

use isotherm_block::{OpenContext, Spec};
use isotherm_reactor::{Handle, Order, Reactor, ReactorConfig, Task};
use isotherm_seam::{
    BlockDevice, BufPool, Domain, Draws, IoBuf, Lba, Mono, Nanos, OpenOptions, Park, PoolClass,
    PoolLayout,
};
use isotherm_sim::{SimClock, SimPark};
use isotherm_store::sched::{
    CalibrateOptions, Class, DiskProfile, DiskQueue, QueueError, SchedConfig, calibrate,
};

const LOAD: Domain = Domain::new("test.sched.load");

/// 4 KiB.
pub(crate) const SMALL: usize = 4096;

/// A healthy 24 TB drive, with the retries and recalibrations that healthy ones have.
pub(crate) const HEALTHY: &str = "hdd:exos-x24,null:24T";

/// A stack of drivers.
pub(crate) fn device(spec: &str) -> Box<dyn BlockDevice> {
    let unparker = SimPark::new(SimClock::new()).unparker();
    let options = OpenOptions { write: true, ..OpenOptions::default() };
    let context = OpenContext { options, unparker, seed: 1, leaves: &mut [] };
    Spec::parse(spec).and_then(|spec| spec.open(context)).unwrap_or_else(|e| panic!("{e}"))
}

/// One core with one disk.
pub(crate) struct Rig {
    pub(crate) reactor: Reactor<SimPark, SimClock>,
    pub(crate) load: Load,
}

/// What tasks use of it.
#[derive(Clone)]
pub(crate) struct Load {
    pub(crate) handle: Handle,
    pub(crate) queue: DiskQueue,
    pub(crate) pool: BufPool,
}

impl Rig {
    /// Over a device whose profile is measured first.
    pub(crate) fn calibrated(device: Box<dyn BlockDevice>, config: SchedConfig) -> Rig {
        Rig::new(device, None, config)
    }

    /// Over a device of this profile, or one that is measured.
    pub(crate) fn new(
        device: Box<dyn BlockDevice>,
        profile: Option<DiskProfile>,
        config: SchedConfig,
    ) -> Rig {
        Rig::turning(Order::Fifo, device, profile, config)
    }

    /// The same, whose core turns its tasks in this order.
    pub(crate) fn turning(
        order: Order,
        device: Box<dyn BlockDevice>,
        profile: Option<DiskProfile>,
        config: SchedConfig,
    ) -> Rig {
        let clock = SimClock::new();
        let park = SimPark::new(clock.clone());
        let reactor_config = ReactorConfig { order, ..ReactorConfig::default() };
        let mut reactor = Reactor::new(park, clock, reactor_config);
        let disk = reactor.attach(device);
        let layout = PoolLayout {
            huge: false,
            classes: vec![
                PoolClass { buf_bytes: SMALL as u32, count: 2048 },
                PoolClass { buf_bytes: 1 << 16, count: 160 },
                PoolClass { buf_bytes: 1 << 20, count: 64 },
            ],
            ..PoolLayout::uniform(SMALL as u32, 1)
        };
        let pool = BufPool::new(&layout).expect("memory for buffers");
        let (handle, buffers) = (reactor.handle().clone(), pool.clone());
        let queue = reactor.run(async move {
            let profile = match profile {
                Some(profile) => profile,
                None => calibrate(&handle, &disk, &buffers, CalibrateOptions::default())
                    .await
                    .expect("a healthy disk"),
            };
            DiskQueue::new(&handle, disk, profile, config)
        });
        let load = Load { handle: reactor.handle().clone(), queue, pool };
        Rig { reactor, load }
    }

    /// Runs until this load is done.
    pub(crate) fn run<T: 'static, F: Future<Output = T> + 'static>(
        &mut self,
        load: impl FnOnce(Load) -> F,
    ) -> T {
        self.reactor.run(load(self.load.clone()))
    }
}

/// What a load has seen.
#[derive(Clone, Default, Debug)]
pub(crate) struct Seen {
    /// From call to answer, sorted.
    pub(crate) latencies: Vec<Nanos>,
    pub(crate) length: Nanos,
}

impl Seen {
    pub(crate) fn per_second(&self) -> f64 {
        self.latencies.len() as f64 / self.length.as_secs_f64()
    }

    /// The latency that this fraction stays below.
    pub(crate) fn ms(&self, quantile: f64) -> f64 {
        let at = (self.latencies.len() as f64 * quantile) as usize;
        self.latencies[at.min(self.latencies.len() - 1)].as_millis_f64()
    }
}

/// A load of one kind of read.
#[derive(Clone, Copy)]
pub(crate) struct Reads {
    pub(crate) class: Class,
    pub(crate) bytes: usize,
    pub(crate) seed: u64,
}

impl Reads {
    pub(crate) fn of(class: Class) -> Reads {
        Reads { class, bytes: SMALL, seed: 1 }
    }
}

impl Load {
    pub(crate) fn buf(&self, bytes: usize) -> IoBuf {
        self.pool.alloc(bytes).expect("enough buffers for every load")
    }

    /// A random place for so many bytes.
    pub(crate) fn place(&self, bytes: usize, draws: &mut Draws) -> Lba {
        let geometry = self.queue.geometry();
        let blocks = geometry.logical.blocks_in(bytes as u64);
        Lba(draws.below(geometry.blocks / blocks) * blocks)
    }

    /// So many lanes that each keep one read in the queue, until `count` are done in all.
    pub(crate) async fn closed(self, reads: Reads, lanes: u32, count: u64) -> Seen {
        let until = Until::count(count);
        let start = self.handle.now();
        let tasks: Vec<_> = (0..lanes).map(|lane| self.lane(reads, lane, until.clone())).collect();
        gather(tasks, start, &self.handle).await
    }

    /// The same until told to stop.
    pub(crate) fn lanes(&self, reads: Reads, lanes: u32, until: &Until) -> Vec<Task<Vec<Nanos>>> {
        (0..lanes).map(|lane| self.lane(reads, lane, until.clone())).collect()
    }

    fn lane(&self, reads: Reads, lane: u32, until: Until) -> Task<Vec<Nanos>> {
        let load = self.clone();
        self.handle.spawn("lane", async move {
            let mut draws = Draws::new(reads.seed, LOAD, u64::from(lane));
            let mut buf = load.buf(reads.bytes);
            let mut latencies = Vec::new();
            while until.goes_on() {
                let lba = load.place(reads.bytes, &mut draws);
                let start = load.handle.now();
                let result;
                (result, buf) = load.queue.read(reads.class, None, lba, buf).await;
                result.expect("a healthy disk");
                latencies.push(load.handle.now().since(start));
            }
            latencies
        })
    }

    /// Reads that arrive by chance, so many a second in the mean. Those that the queue refuses or
    /// drops are not among the latencies.
    pub(crate) async fn open(
        self,
        reads: Reads,
        rate: f64,
        count: u64,
        patience: Option<Nanos>,
    ) -> Seen {
        let mut draws = Draws::new(reads.seed, LOAD, 1 << 32);
        let start = self.handle.now();
        let latencies = Rc::new(RefCell::new(Vec::new()));
        let left = Rc::new(Cell::new(count));
        let mut next = start;
        for _ in 0..count {
            next = next + Nanos::from_secs_f64(-(1.0 - draws.next_f64()).ln() / rate);
            self.handle.sleep_until(next).await;
            let lba = self.place(reads.bytes, &mut draws);
            let deadline = patience.map(|patience| next + patience);
            let read = self.queue.read(reads.class, deadline, lba, self.buf(reads.bytes));
            let (latencies, left) = (Rc::clone(&latencies), Rc::clone(&left));
            let handle = self.handle.clone();
            self.handle.spawn("read", async move {
                match read.await.0 {
                    Ok(()) => latencies.borrow_mut().push(handle.now().since(next)),
                    Err(QueueError::Busy { .. } | QueueError::Late { .. }) => {}
                    Err(QueueError::Io(error)) => panic!("a healthy disk: {error}"),
                }
                left.set(left.get() - 1);
            });
        }
        while left.get() > 0 {
            self.handle.sleep(Nanos::from_millis(10)).await;
        }
        let length = self.handle.now().since(start);
        let mut latencies = latencies.take();
        latencies.sort_unstable();
        Seen { latencies, length }
    }
}

/// When a load ends.
#[derive(Clone)]
pub(crate) struct Until {
    left: Rc<Cell<u64>>,
}

impl Until {
    pub(crate) fn count(count: u64) -> Until {
        Until { left: Rc::new(Cell::new(count)) }
    }

    pub(crate) fn stopped() -> Until {
        Until::count(u64::MAX)
    }

    pub(crate) fn stop(&self) {
        self.left.set(0);
    }

    pub(crate) fn goes_on(&self) -> bool {
        let left = self.left.get();
        self.left.set(left.saturating_sub(1));
        left > 0
    }
}

/// Waits for lanes.
pub(crate) async fn gather(tasks: Vec<Task<Vec<Nanos>>>, start: Mono, handle: &Handle) -> Seen {
    let mut latencies = Vec::new();
    for task in tasks {
        latencies.extend(task.await);
    }
    latencies.sort_unstable();
    Seen { latencies, length: handle.now().since(start) }
}

//! What no policy can beat: each cell served at once by an idle disk, the read done at its last.
//!
//! What must always hold: the disks are of the same model, filled as far, and have nothing else to
//! do; between two reads of one there is time enough for it to come to rest.

use isotherm_block::hdd::{Hdd, HddOptions};
use isotherm_seam::{
    BlockDevice, BlockSize, BufPool, Completion, Domain, Draws, Due, IoBuf, Lba, Mono, Nanos, Op,
    PoolLayout, Request, Tag, draw,
};

use crate::setup::Setup;
use crate::thin::Thin;

/// Disks of the model: their retries are drawn by their seeds.
const DISKS: u64 = 20;
/// So long a disk rests between two reads, at least.
const REST: Nanos = Nanos::from_millis(300);

/// Reads on idle disks, and the mean service.
pub(crate) struct Bound {
    latencies: Vec<Nanos>,
    pub(crate) service_ms: f64,
}

struct Idle {
    device: Hdd,
    now: Mono,
    done: Vec<Completion>,
    draws: Draws,
}

impl Idle {
    /// How long a read of a cell takes.
    fn service(&mut self, setup: &Setup, buf: &mut Option<IoBuf>) -> Nanos {
        let rest = REST.0 + self.draws.below(REST.0);
        self.now = self.now + Nanos(rest);
        // What is to be done by itself is done.
        self.device.poll(self.now, &mut self.done);
        let shift = self.device.geometry().logical.shift();
        let record = setup.record_bytes();
        let places = setup.filled_bytes() / record;
        let lba = Lba((self.draws.below(places) * record) >> shift);
        let read = Op::Read { lba, buf: buf.take().expect("it is here") };
        let request = Request { tag: Tag(0), op: read };
        assert!(self.device.submit(self.now, request).is_ok(), "it has nothing to do");
        let began = self.now;
        loop {
            self.device.poll(self.now, &mut self.done);
            if let Some(done) = self.done.pop() {
                assert!(done.result.is_ok(), "a read of an idle disk");
                *buf = done.buf;
                return self.now.since(began);
            }
            match self.device.due() {
                Due::At(at) => self.now = self.now.max(at),
                Due::Now => {}
                Due::Event | Due::Idle => unreachable!("a read is under way"),
            }
        }
    }
}

impl Bound {
    pub(crate) fn new(setup: &Setup) -> Bound {
        let layout = PoolLayout {
            align: BlockSize::B4096,
            huge: false,
            ..PoolLayout::uniform(setup.record_bytes() as u32, 2)
        };
        let pool = BufPool::new(&layout).expect("memory");
        let mut buf = Some(pool.alloc(setup.read_bytes() as usize).expect("one is free"));
        let mut disks: Vec<Idle> = (0..DISKS)
            .map(|disk| {
                let seed = draw(setup.seed, Domain::new("tails.bound"), disk, 0);
                let thin = Box::new(Thin::new(setup.disk_bytes()));
                let device = Hdd::new(thin, &HddOptions::default(), seed).expect("large enough");
                let draws = Draws::new(seed, Domain::new("tails.bound.place"), 0);
                Idle { device, now: Mono::ZERO, done: Vec::with_capacity(4), draws }
            })
            .collect();
        let mut sum = Nanos::ZERO;
        let cells = setup.bounds * setup.needed();
        let round_trip = Nanos(setup.delay.0 * 2);
        let mut latencies = Vec::with_capacity(setup.bounds as usize);
        let mut last = Nanos::ZERO;
        for cell in 0..cells {
            let took = disks[(cell % DISKS) as usize].service(setup, &mut buf);
            sum += took;
            last = last.max(took);
            if (cell + 1) % setup.needed() == 0 {
                latencies.push(std::mem::replace(&mut last, Nanos::ZERO) + round_trip);
            }
        }
        latencies.sort_unstable();
        Bound { latencies, service_ms: sum.as_millis_f64() / cells as f64 }
    }

    pub(crate) fn ms(&self, quantile: f64) -> f64 {
        crate::pass::ms(&self.latencies, quantile)
    }
}

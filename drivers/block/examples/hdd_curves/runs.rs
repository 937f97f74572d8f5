//! Runs of the modelled drive in virtual time.

use isotherm_block::hdd::{Command, DEPTH_MAX, Drive, HddOptions, Order};
use isotherm_seam::{BlockSize, Domain, Draws, Mono, Nanos};

const CHOICE: Domain = Domain::new("example.hdd_curves");
/// Where things begin; every run of this example is the same.
pub(crate) const SEED: u64 = 24;

/// What a run saw.
pub(crate) struct Seen {
    /// Requests a second.
    pub(crate) iops: f64,
    /// In order of completion.
    pub(crate) by_time: Vec<(Mono, Nanos)>,
    /// Sorted.
    pub(crate) latencies: Vec<Nanos>,
}

impl Seen {
    /// Latency that so many of the requests (0 to 1) keep below, in milliseconds.
    pub(crate) fn ms(&self, quantile: f64) -> f64 {
        let at = (self.latencies.len() as f64 * quantile) as usize;
        self.latencies[at.min(self.latencies.len() - 1)].as_millis_f64()
    }

    /// Coefficient of variation of the latency.
    pub(crate) fn variation(&self) -> f64 {
        let n = self.latencies.len() as f64;
        let mean = self.latencies.iter().map(|l| l.as_millis_f64()).sum::<f64>() / n;
        let square = self.latencies.iter().map(|l| (l.as_millis_f64() - mean).powi(2)).sum::<f64>();
        (square / n).sqrt() / mean
    }
}

/// A drive without retries, on `bytes` of backing.
pub(crate) fn drive(options: &HddOptions, bytes: u64) -> Drive {
    Drive::new(options, BlockSize::B4096, bytes >> BlockSize::B4096.shift(), SEED)
}

/// The options of a drive that orders its queue so.
pub(crate) fn ordered(order: Order) -> HddOptions {
    HddOptions { order, retries: 0.0, ..HddOptions::default() }
}

/// Keeps `depth` commands in the drive until `count` are done.
pub(crate) fn closed_loop(
    mut drive: Drive,
    depth: usize,
    count: usize,
    mut next: impl FnMut() -> Command,
) -> Seen {
    let mut began = [Mono::ZERO; DEPTH_MAX as usize];
    let mut now = Mono::ZERO;
    for slot in 0..depth {
        drive.submit(now, slot, next());
    }
    let mut by_time = Vec::with_capacity(count + depth);
    while by_time.len() < count {
        let timed = drive.timed();
        let done = (0..depth).filter(|slot| timed & 1 << slot != 0).map(|slot| drive.done_at(slot));
        now = now.max(done.chain(drive.next()).min().expect("the drive has work"));
        drive.advance(now);
        for (slot, began) in began.iter_mut().enumerate().take(depth) {
            if drive.timed() & 1 << slot != 0 && drive.done_at(slot) <= now {
                drive.release(slot);
                by_time.push((now, now.since(*began)));
                *began = now;
                drive.submit(now, slot, next());
            }
        }
    }
    let mut latencies: Vec<Nanos> = by_time.iter().map(|&(_, latency)| latency).collect();
    latencies.sort();
    Seen { iops: by_time.len() as f64 / now.since(Mono::ZERO).as_secs_f64(), by_time, latencies }
}

/// Random reads of `io_bytes` over the whole of `bytes`.
pub(crate) fn random_reads(
    options: &HddOptions,
    bytes: u64,
    io_bytes: u64,
    depth: usize,
    count: usize,
) -> Seen {
    let mut first = places(bytes, io_bytes);
    let count_blocks = io_bytes >> BlockSize::B4096.shift();
    closed_loop(drive(options, bytes), depth, count, || Command::Read {
        first: first(),
        count: count_blocks,
    })
}

/// Random writes of 4 KiB over the whole of `bytes`.
pub(crate) fn random_writes(options: &HddOptions, bytes: u64, depth: usize, count: usize) -> Seen {
    let mut first = places(bytes, 4096);
    closed_loop(drive(options, bytes), depth, count, || Command::Write {
        first: first(),
        count: 1,
        through: false,
    })
}

/// Sequential transfers of 1 MiB from a fraction of the capacity on, in 10^6 bytes a second.
pub(crate) fn sequential(
    options: &HddOptions,
    bytes: u64,
    from: f64,
    depth: usize,
    write: bool,
) -> f64 {
    const BLOCKS: u64 = 256;
    let mut first = ((bytes >> 12) as f64 * from) as u64 / BLOCKS * BLOCKS;
    let seen = closed_loop(drive(options, bytes), depth, 2_000, || {
        first += BLOCKS;
        match write {
            true => Command::Write { first: first - BLOCKS, count: BLOCKS, through: false },
            false => Command::Read { first: first - BLOCKS, count: BLOCKS },
        }
    });
    seen.iops * (BLOCKS << 12) as f64 / 1e6
}

/// Aligned places for transfers of `io_bytes`, at random.
fn places(bytes: u64, io_bytes: u64) -> impl FnMut() -> u64 {
    let mut draws = Draws::new(SEED, CHOICE, io_bytes);
    let blocks = io_bytes >> BlockSize::B4096.shift();
    let count = bytes / io_bytes;
    move || draws.below(count) * blocks
}

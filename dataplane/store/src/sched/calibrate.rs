//! Measures what a disk can do, by reading from it.
//!
//! What must always hold: nothing is written; the number of reads is bounded; a few bad sectors
//! spoil nothing. What may go wrong: others use the disk meanwhile, and it seems slower than it
//! is. So calibrate an idle disk, once, and keep the profile.

use std::cell::Cell;
use std::rc::Rc;

use isotherm_reactor::{Disk, Handle};
use isotherm_seam::{
    BufPool, Domain, Draws, IoBuf, IoError, Lba, Mono, Nanos, PoolExhausted, ZoneError,
};

use super::profile::{DiskProfile, SEEK_POINTS};

/// How thoroughly to measure. The default takes about 5 s of a rotating disk, and less than one
/// of any other.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct CalibrateOptions {
    /// Chooses the places.
    pub seed: u64,
    /// Reads at each of nine distances; at least 8.
    pub samples: u32,
    /// Reads at each depth.
    pub depth_reads: u32,
}

impl Default for CalibrateOptions {
    fn default() -> CalibrateOptions {
        CalibrateOptions { seed: 1, samples: 24, depth_reads: 160 }
    }
}

/// Why a disk could not be measured.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum CalibrateError {
    /// It answers with errors: more than one read in four.
    #[error("the disk could not be read to calibrate it: {0}")]
    Io(#[from] IoError),
    /// A disk with zones of which nothing is written yet has nothing to read. Use
    /// [`DiskProfile::nearline`] and calibrate later.
    #[error("nothing is written on the disk yet, so it can't be calibrated by reading")]
    Unwritten,
    /// The pool has no buffers.
    #[error(transparent)]
    Pool(#[from] PoolExhausted),
    /// Smaller than 16 MiB.
    #[error("a disk of {bytes} bytes is too small to calibrate")]
    TooSmall {
        /// Its size.
        bytes: u64,
    },
}

/// The smallest disk that is measured.
const BYTES_MIN: u64 = 16 << 20;

const PLACES: Domain = Domain::new("store.sched.calibrate");

const SMALL_BYTES: u64 = 4096;
/// Turns of spindles that exist, in nanoseconds: 15,000, 10,000, 7,200, 5,900 and 5,400 a minute.
const TURNS: [u64; 5] = [4_000_000, 6_000_000, 8_333_333, 10_169_492, 11_111_111];
/// Depths that are tried on a rotating disk: the greater where it gains 5 %.
const DEPTHS: [u16; 2] = [4, 8];
const GAIN: f64 = 1.05;
/// Without an arm, no less than this: what a queue holds up costs more than depth.
const FLAT_DEPTH: u16 = 32;
const FLAT_DEPTH_MAX: u16 = 128;

/// Measures a disk. `pool` lends a buffer of 1 MiB, or less where that is too long for the disk,
/// and up to 128 of 4 KiB.
pub async fn calibrate(
    handle: &Handle,
    disk: &Disk,
    pool: &BufPool,
    options: CalibrateOptions,
) -> Result<DiskProfile, CalibrateError> {
    let bytes = disk.geometry().capacity_bytes();
    if bytes < BYTES_MIN {
        return Err(CalibrateError::TooSmall { bytes });
    }
    let probe = Probe {
        handle: handle.clone(),
        disk: disk.clone(),
        small_blocks: (SMALL_BYTES >> disk.geometry().logical.shift()).max(1),
        blocks: disk.geometry().blocks,
    };
    let mut profile = DiskProfile::flat(1);
    let whole = u64::from(disk.geometry().io_bytes_max).min(1 << 20);
    let large = pool.alloc(whole as usize)?;
    let length = (bytes / 4).min(16 << 20) / whole;
    let (outer, large) = probe.rate(0, length, large).await?;
    let small = pool.alloc(probe.small_bytes())?;
    profile.outer_kb_s = outer;
    // The drive has read ahead by now: what is left of a read is the overhead.
    let (overhead, small) = probe.overhead(length * (whole >> probe.shift()), small).await?;
    profile.overhead = overhead;
    let last = probe.blocks - length * (whole >> probe.shift());
    let (inner, large) = probe.rate(last, length, large).await?;
    drop(large);
    profile.inner_kb_s = inner;
    let seeks = probe.seeks(&profile, options, small).await?;
    profile.access = seeks.access;
    profile.rotating = seeks.is_rotating();
    profile.turn = if profile.rotating { seeks.turn } else { Nanos::ZERO };
    let start = handle.now();
    // A disk that can't flush says so when it is written; here it only has no time for it.
    if disk.flush().await.is_ok() {
        profile.flush = handle.now().since(start);
    }
    let depth_max = disk.geometry().depth_max.min(u32::from(FLAT_DEPTH_MAX)) as u16;
    if profile.rotating {
        profile.depth_latency = 1;
        profile.depth_throughput = probe.rotating_depth(pool, options, depth_max).await?;
    } else {
        let depth = probe.flat_depth(pool, options, depth_max).await?;
        (profile.depth_latency, profile.depth_throughput) = (depth, depth);
    }
    debug_assert!(profile.is_possible(), "{profile:?}");
    Ok(profile)
}

#[derive(Clone)]
struct Probe {
    handle: Handle,
    disk: Disk,
    small_blocks: u64,
    blocks: u64,
}

struct Seeks {
    access: [Nanos; SEEK_POINTS],
    turn: Nanos,
}

impl Probe {
    fn shift(&self) -> u32 {
        self.disk.geometry().logical.shift()
    }

    fn small_bytes(&self) -> usize {
        (self.small_blocks << self.shift()) as usize
    }

    /// Reads and tells how long it took.
    async fn timed(&self, block: u64, buf: IoBuf) -> (Result<Nanos, IoError>, IoBuf) {
        let start = self.handle.now();
        let (result, buf) = self.disk.read(Lba(block), buf).await;
        (result.map(|()| self.handle.now().since(start)), buf)
    }

    /// Sequential rate over `count` buffers from `first` on, in 1000 bytes a second.
    async fn rate(
        &self,
        first: u64,
        count: u64,
        mut buf: IoBuf,
    ) -> Result<(u32, IoBuf), CalibrateError> {
        let blocks = buf.len() as u64 >> self.shift();
        let mut tally = Tally::default();
        let (mut bytes, mut start) = (0, None);
        for i in 0..count {
            let result;
            (result, buf) = self.timed(first + i * blocks, buf).await;
            tally.count(result)?;
            // The first one has the seek in it.
            match start {
                None => start = Some(self.handle.now()),
                Some(_) => bytes += buf.len() as u64,
            }
        }
        let ns = self.handle.now().since(start.unwrap_or(Mono::ZERO)).0.max(1);
        // Bytes a nanosecond are 10^6 times 1000 bytes a second. No disk moves 100 GB/s.
        let kb_s = (u128::from(bytes) * 1_000_000 / u128::from(ns)).clamp(1, 100_000_000);
        Ok((kb_s as u32, buf))
    }

    async fn overhead(&self, first: u64, mut buf: IoBuf) -> Result<(Nanos, IoBuf), CalibrateError> {
        let mut least = Nanos(u64::MAX);
        let mut tally = Tally::default();
        for i in 0..16 {
            let result;
            (result, buf) = self.timed(first + i * self.small_blocks, buf).await;
            if let Some(time) = tally.count(result)? {
                least = least.min(time);
            }
        }
        Ok((least, buf))
    }

    /// Access times over distance.
    async fn seeks(
        &self,
        profile: &DiskProfile,
        options: CalibrateOptions,
        mut buf: IoBuf,
    ) -> Result<Seeks, CalibrateError> {
        let mut draws = Draws::new(options.seed, PLACES, 0);
        let samples = options.samples.max(8) as usize;
        let mut times: [Vec<Nanos>; SEEK_POINTS] = Default::default();
        let mut tally = Tally::default();
        for (point, times) in times.iter_mut().enumerate() {
            let distance = (point as f64 / (SEEK_POINTS - 1) as f64).powi(2).max(1.0 / 4096.0);
            let mut radius = draws.next_f64() * (1.0 - distance);
            // The first read only brings the arm there.
            for sample in 0..=samples {
                let block = self.block_at(profile, radius, &mut draws);
                let result;
                (result, buf) = self.timed(block, buf).await;
                let time = tally.count(result)?;
                times.extend(time.filter(|_| sample > 0));
                let out = radius + distance <= 1.0;
                let both = out && radius >= distance;
                radius += if both && draws.happens(0.5) || !out { -distance } else { distance };
                radius = radius.clamp(0.0, 1.0);
            }
            times.sort_unstable();
        }
        Ok(Seeks::from(&times))
    }

    /// A block at this radius, not always the same one.
    fn block_at(&self, profile: &DiskProfile, radius: f64, draws: &mut Draws) -> u64 {
        let block = (profile.fraction_of(radius) * self.blocks as f64) as u64;
        // Another angle each time: within a thousandth of the disk, or a track or two.
        let tracks = (4u64 << 20 >> self.shift()).min(self.blocks / 32);
        let jitter = draws.below((self.blocks / 1024).max(tracks));
        let last = self.blocks - self.small_blocks;
        (block + jitter).min(last) / self.small_blocks * self.small_blocks
    }

    async fn rotating_depth(
        &self,
        pool: &BufPool,
        options: CalibrateOptions,
        depth_max: u16,
    ) -> Result<u16, CalibrateError> {
        let [shallow, deep] = DEPTHS.map(|depth| depth.min(depth_max));
        let rate = self.random_rate(pool, options, shallow).await?;
        let deeper = self.random_rate(pool, options, deep).await?;
        Ok(if deeper >= rate * GAIN { deep } else { shallow })
    }

    async fn flat_depth(
        &self,
        pool: &BufPool,
        options: CalibrateOptions,
        depth_max: u16,
    ) -> Result<u16, CalibrateError> {
        let mut depth = FLAT_DEPTH.min(depth_max);
        let mut rate = self.random_rate(pool, options, depth).await?;
        while depth * 2 <= depth_max {
            let deeper = self.random_rate(pool, options, depth * 2).await?;
            if deeper < rate * GAIN {
                break;
            }
            (depth, rate) = (depth * 2, deeper);
        }
        Ok(depth)
    }

    /// Small random reads a second with so many in the device.
    async fn random_rate(
        &self,
        pool: &BufPool,
        options: CalibrateOptions,
        depth: u16,
    ) -> Result<f64, CalibrateError> {
        let reads = options.depth_reads.max(u32::from(depth) * 4);
        let left = Rc::new(Cell::new(reads));
        let start = self.handle.now();
        let mut lanes = Vec::with_capacity(depth.into());
        for lane in 0..depth {
            let buf = pool.alloc(self.small_bytes())?;
            let draws = Draws::new(options.seed, PLACES, 1 + u64::from(lane));
            let lane = self.clone().lane(Rc::clone(&left), draws, buf);
            lanes.push(self.handle.spawn("calibrate", lane));
        }
        for lane in lanes {
            lane.await?;
        }
        let seconds = self.handle.now().since(start).as_secs_f64();
        Ok(f64::from(reads) / seconds.max(1e-9))
    }

    async fn lane(
        self,
        left: Rc<Cell<u32>>,
        mut draws: Draws,
        mut buf: IoBuf,
    ) -> Result<(), CalibrateError> {
        let mut tally = Tally::default();
        while left.get() > 0 {
            left.set(left.get() - 1);
            let block = draws.below(self.blocks / self.small_blocks) * self.small_blocks;
            let result;
            (result, buf) = self.timed(block, buf).await;
            tally.count(result)?;
        }
        Ok(())
    }
}

impl Seeks {
    /// From the sorted times at each distance.
    fn from(times: &[Vec<Nanos>; SEEK_POINTS]) -> Seeks {
        // The wait is uniform over a turn; the range of n such is short of it by 2 / (n + 1).
        let mut turns = times.each_ref().map(|times| match (times.first(), times.last()) {
            (Some(first), Some(last)) if times.len() > 1 => {
                let n = times.len() as u64;
                (*last - *first).0 * (n + 1) / (n - 1)
            }
            _ => 0,
        });
        turns.sort_unstable();
        let turn = spindle(turns[SEEK_POINTS / 2]);
        let mut access = times.each_ref().map(|times| floor(times, turn));
        // Farther is never faster: what looks so is the noise of the samples.
        for i in 1..SEEK_POINTS {
            access[i] = access[i].max(access[i - 1]);
        }
        Seeks { access, turn: Nanos(turn) }
    }

    fn is_rotating(&self) -> bool {
        let slope = self.access[SEEK_POINTS - 1].saturating_sub(self.access[1]);
        slope >= Nanos::from_micros(500) && self.turn >= Nanos::from_millis(2)
    }
}

/// A turn as spindles have them, where one is within 6 %.
fn spindle(turn_ns: u64) -> u64 {
    let near = |known: &&u64| known.abs_diff(turn_ns) * 100 <= **known * 6;
    TURNS.iter().find(near).copied().unwrap_or(turn_ns)
}

/// The least time at a distance, from times that are uniform over a turn above it: two guesses,
/// from the least and from the mean, and the middle of them.
fn floor(times: &[Nanos], turn_ns: u64) -> Nanos {
    let Some(&least) = times.first() else { return Nanos::ZERO };
    let by_least = least.0.saturating_sub(turn_ns / (times.len() as u64 + 1));
    // What took longer than a turn more met a retry.
    let sound = times.iter().filter(|time| (**time - least).0 <= turn_ns + turn_ns / 16);
    let (sum, count) = sound.fold((0, 0), |(sum, count), time| (sum + time.0, count + 1));
    let by_mean = (sum / count).saturating_sub(turn_ns / 2);
    Nanos(u64::midpoint(by_least, by_mean))
}

/// Reads, and how many of them failed.
#[derive(Default)]
struct Tally {
    reads: u32,
    failed: u32,
}

impl Tally {
    /// `None`: a bad sector, one of few.
    fn count(&mut self, result: Result<Nanos, IoError>) -> Result<Option<Nanos>, CalibrateError> {
        self.reads += 1;
        match result {
            Ok(time) => Ok(Some(time)),
            Err(IoError::Zone(ZoneError::Unwritten)) => Err(CalibrateError::Unwritten),
            Err(error @ IoError::Media { .. }) => {
                self.failed += 1;
                let too_many = self.failed > 2 && self.failed * 4 > self.reads;
                if too_many { Err(error.into()) } else { Ok(None) }
            }
            Err(error) => Err(error.into()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_turn_is_one_that_spindles_have() {
        assert_eq!(spindle(8_100_000), 8_333_333);
        assert_eq!(spindle(11_400_000), 11_111_111);
        assert_eq!(spindle(7_000_000), 7_000_000);
    }

    #[test]
    fn the_floor_is_found_under_a_uniform_wait() {
        let times: Vec<Nanos> =
            (0..24).map(|i| Nanos(5_000_000 + 8_333_333 * (2 * i + 1) / 48)).collect();
        let found = floor(&times, 8_333_333).0;
        assert!(found.abs_diff(5_000_000) < 100_000, "{found}");
        // A retry of 200 ms is not the disk's.
        let mut with_retry = times.clone();
        with_retry.push(Nanos::from_millis(205));
        assert!(floor(&with_retry, 8_333_333).0.abs_diff(5_000_000) < 100_000);
    }

    #[test]
    fn a_few_bad_sectors_spoil_nothing() {
        let bad = || Err(IoError::Media { lba: Lba(1) });
        let mut tally = Tally::default();
        assert_eq!(tally.count(bad()), Ok(None));
        assert_eq!(tally.count(Ok(Nanos(5))), Ok(Some(Nanos(5))));
        assert_eq!(tally.count(bad()), Ok(None));
        assert_eq!(tally.count(bad()), Err(IoError::Media { lba: Lba(1) }.into()));
        let mut tally = Tally::default();
        assert_eq!(tally.count(Err(IoError::Gone)), Err(IoError::Gone.into()));
        let unwritten = Err(IoError::Zone(ZoneError::Unwritten));
        assert_eq!(tally.count(unwritten), Err(CalibrateError::Unwritten));
    }
}

//! From a seat to a lane: on its core, with the devices open and everything checked.
//!
//! What must always hold: nothing is sent to a device before every device of the run is open
//! and every job fits the devices that it names; reading never opens for writing.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use isotherm_block::{Leaf, OpenContext, Spec};
use isotherm_host::ThreadPark;
use isotherm_seam::{
    BlockDevice, BufPool, Completion, IoBuf, Lba, Mono, Op, OpenCause, OpenError, OpenOptions,
    Park, Persist, PoolClass, PoolLayout, Request, Tag, Unpark,
};
use isotherm_uring::{Ring, RingConfig};
use isotherm_workload::{AddressPlan, Addresses, Content, Extent, Job};

use crate::lane::{Lane, LaneDisk, LaneOrder};
use crate::plan::{Seat, is_device};
use crate::setup::{SetupCause, SetupError};
use crate::shared::Shared;

/// Length of the writes that fill a memory before it is read, in bytes.
const FILL_BYTES: u32 = 1 << 20;

/// Room in a ring for requests in flight, if the jobs need less: 16 bytes each.
const RING_ENTRIES_MIN: u32 = 1024;

/// What one core sleeps on.
pub(crate) enum Bed {
    /// Its ring.
    Ring(Ring),
    /// Its thread: there is no ring, or none is needed.
    Thread(ThreadPark),
}

impl Park for Bed {
    fn park(&mut self, now: Mono, until: Option<Mono>) {
        match self {
            Bed::Ring(ring) => ring.park(now, until),
            Bed::Thread(thread) => thread.park(now, until),
        }
    }

    fn unparker(&self) -> Arc<dyn Unpark> {
        match self {
            Bed::Ring(ring) => ring.unparker(),
            Bed::Thread(thread) => thread.unparker(),
        }
    }
}

/// What the seats of one core open their devices with.
pub(crate) struct Drivers {
    pool: BufPool,
    ring: RingLeaf,
    unparker: Arc<dyn Unpark>,
    /// Devices that several lanes write.
    shared: BTreeMap<PathBuf, Shared>,
}

/// The core's ring as a leaf of specs, or the reason why there is none.
struct RingLeaf(Result<Ring, i32>);

impl Leaf for RingLeaf {
    fn kind(&self) -> &'static str {
        "uring"
    }

    fn open(
        &mut self,
        path: &str,
        options: &OpenOptions,
    ) -> Result<Box<dyn BlockDevice>, OpenError> {
        match &self.0 {
            Ok(ring) => Ok(Box::new(ring.open(path, options)?)),
            Err(errno) => Err(OpenError::new(path, OpenCause::UringRefused { errno: *errno })),
        }
    }
}

impl Drivers {
    /// A pool for all seats, and a ring if one of them may want it and the kernel gives one.
    /// Returns the core's notes too.
    pub(crate) fn new(seats: &[(Seat, Arc<Job>)]) -> Result<(Drivers, Bed), SetupCause> {
        let mut classes: BTreeMap<u32, u32> = BTreeMap::new();
        for (_, job) in seats {
            *classes.entry(job.block_bytes as u32).or_default() += job.depth_effective();
        }
        if seats.iter().any(|(seat, _)| seat.specs.iter().any(is_bare_memory)) {
            *classes.entry(FILL_BYTES).or_default() += 1;
        }
        let classes = classes.into_iter().map(|(buf_bytes, count)| PoolClass { buf_bytes, count });
        let layout = PoolLayout { classes: classes.collect(), ..PoolLayout::uniform(0, 0) };
        let pool = BufPool::new(&layout)?;
        let depth: u32 = seats.iter().map(|(seat, job)| seat.ring_depth(job)).sum();
        let ring = match depth {
            0 => None,
            depth => {
                let entries = depth.max(RING_ENTRIES_MIN);
                Some(Ring::new(&RingConfig { entries, pool: pool.clone() }))
            }
        };
        let (ring, bed) = match ring {
            Some(Ok(ring)) => (Ok(ring.clone()), Bed::Ring(ring)),
            Some(Err(OpenError { cause: OpenCause::UringRefused { errno }, .. })) => {
                (Err(errno), Bed::Thread(ThreadPark::new()))
            }
            Some(Err(other)) => return Err(other.into()),
            // ENOSYS: never asked for, as no spec of this core takes it.
            None => (Err(38), Bed::Thread(ThreadPark::new())),
        };
        let unparker = bed.unparker();
        Ok((Drivers { pool, ring: RingLeaf(ring), unparker, shared: BTreeMap::new() }, bed))
    }

    /// What this core could not have.
    pub(crate) fn notes(&self) -> Vec<String> {
        self.ring.0.as_ref().map_or_else(|_| Vec::new(), |ring| ring.notes().to_vec())
    }

    /// Opens the devices of a seat and makes its lane. Nothing is sent yet, except to fill a
    /// device that is memory.
    pub(crate) fn open(
        &mut self,
        seat: &Seat,
        job: &Job,
        index: usize,
    ) -> Result<Lane, SetupError> {
        let mut devices = Vec::new();
        for (number, spec) in seat.specs.iter().enumerate() {
            let device = self.open_device(seat, job, spec, number as u64);
            devices.push(device.map_err(|cause| SetupError::new(job, "filename", cause))?);
        }
        let mut order = order(job, seat.seed);
        let mut disks = Vec::new();
        let mut ios = 0u64;
        for (spec, mut device) in seat.specs.iter().zip(devices) {
            let geometry = device.geometry();
            order.depth = order.depth.min(geometry.depth_max);
            let plan = region(job, device.as_ref(), seat)?;
            ios = ios.saturating_add(budget(job, plan.units()));
            if is_bare_memory(spec) && job.pattern.reads {
                let filled = self.fill(device.as_mut(), &plan);
                filled.map_err(|cause| SetupError::new(job, "filename", cause))?;
            }
            let notes = shortfalls(job, spec, device.as_ref());
            let mut disk = LaneDisk::new(device, Addresses::new(&plan), &order);
            disk.notes = notes;
            disks.push(disk);
        }
        order.ios = job.number_ios.map_or(ios, |count| count.min(ios));
        let bufs = self.bufs(&order).map_err(|cause| SetupError::new(job, "bs", cause))?;
        Ok(Lane::new(index, (seat.job, seat.rank), order, disks, bufs))
    }

    fn open_device(
        &mut self,
        seat: &Seat,
        job: &Job,
        spec: &Spec,
        index: u64,
    ) -> Result<Box<dyn BlockDevice>, SetupCause> {
        let sharing = spec.path().and_then(|path| Some((path, *seat.shared.get(path)?)));
        if let Some(first) = sharing.and_then(|(path, _)| self.shared.get(path)) {
            return Ok(Box::new(first.another()));
        }
        let options = OpenOptions {
            write: job.pattern.writes || is_bare_memory(spec),
            direct: job.direct,
            create_bytes: create_bytes(job, spec),
            depth: sharing.map_or(job.depth_effective(), |(_, depth)| depth),
        };
        let device = spec.open(OpenContext {
            options,
            unparker: Arc::clone(&self.unparker),
            seed: seat.device_seed.wrapping_add(index),
            leaves: &mut [&mut self.ring],
        })?;
        let Some((path, _)) = sharing else { return Ok(device) };
        let first = Shared::new(device);
        let another = first.another();
        self.shared.insert(path.to_owned(), first);
        Ok(Box::new(another))
    }

    /// Buffers for the slots of a lane, filled with what does not compress.
    fn bufs(&self, order: &LaneOrder) -> Result<Vec<IoBuf>, SetupCause> {
        let content = Content::new(order.seed, 0);
        let size = isotherm_seam::BlockSize::B512;
        let mut bufs = Vec::with_capacity(order.depth as usize);
        for slot in 0..order.depth {
            let buf = self.pool.alloc(order.io_bytes as usize);
            let mut buf = buf.expect("the pool has a buffer for each slot of each seat");
            if order.read_percent < 100 {
                let sectors = u64::from(order.io_bytes) / 512;
                content.fill(size, Lba(u64::from(slot) * sectors), &mut buf);
            }
            bufs.push(buf);
        }
        Ok(bufs)
    }

    /// Writes all of a region once, so that its pages exist: reading pages that were never
    /// written is reading one page of zeros.
    fn fill(&self, device: &mut dyn BlockDevice, plan: &AddressPlan) -> Result<(), SetupCause> {
        let block = device.geometry().logical;
        let mut buf = Some(self.pool.alloc(FILL_BYTES as usize).expect("one was set aside"));
        Content::new(plan.seed, 0).fill(block, Lba(0), buf.as_mut().expect("just taken"));
        let mut done: Vec<Completion> = Vec::with_capacity(1);
        let (mut at, end) = (plan.first.0, plan.first.0 + plan.blocks);
        while at < end {
            let mut chunk = buf.take().expect("it came back");
            let blocks = block.blocks_in(u64::from(FILL_BYTES)).min(end - at);
            chunk.set_len((blocks << block.shift()) as usize);
            let op = Op::Write { lba: Lba(at), buf: chunk, persist: Persist::Flush };
            let taken = device.submit(Mono::ZERO, Request { tag: Tag(0), op });
            assert!(taken.is_ok(), "an idle device takes a request");
            while device.poll(Mono::ZERO, &mut done) == 0 {}
            let completion = done.pop().expect("just polled");
            completion
                .result
                .map_err(|_| OpenError::new(device.info().name, OpenCause::Os { errno: 5 }))?;
            buf = completion.buf;
            at += blocks;
        }
        Ok(())
    }
}

/// What a job wants of a device and does not get, or gets and may not want.
fn shortfalls(job: &Job, spec: &Spec, device: &dyn BlockDevice) -> Vec<String> {
    let mut notes = Vec::new();
    let (most, wanted) = (device.geometry().depth_max, job.depth_effective());
    if most < wanted {
        notes.push(format!("it takes {most} requests in flight instead of {wanted}"));
    }
    if !job.direct && spec.path().is_some_and(is_device) {
        notes.push(
            "direct=0: it goes through the page cache, and what is measured is partly memory"
                .to_owned(),
        );
    }
    notes
}

/// Whether a spec is memory and nothing else: there is nothing in it to protect, and it must be
/// filled before it is read.
fn is_bare_memory(spec: &Spec) -> bool {
    spec.text().starts_with("memory:")
}

fn order(job: &Job, seed: u64) -> LaneOrder {
    let read_percent = match (job.pattern.reads, job.pattern.writes) {
        (true, true) => job.read_percent,
        (true, false) => 100,
        (false, _) => 0,
    };
    let mut rate_iops = job.rate_iops;
    if !job.pattern.reads {
        rate_iops[0] = None;
    }
    if !job.pattern.writes {
        rate_iops[1] = None;
    }
    LaneOrder {
        io_bytes: job.block_bytes as u32,
        depth: job.depth_effective(),
        read_percent,
        rate_iops,
        process: job.process,
        refill: job.filling.refill.then(|| Content::new(seed, 0)),
        ios: u64::MAX,
        runtime: job.runtime,
        ramp: job.ramp,
        seed,
        results: job.results.clone(),
    }
}

/// Requests to send for a region of `ios`.
fn budget(job: &Job, ios: u64) -> u64 {
    if job.time_based {
        return u64::MAX;
    }
    let once = match job.io_size {
        None => ios,
        Some(extent) => extent.of(ios * job.block_bytes) / job.block_bytes,
    };
    once.saturating_mul(job.loops)
}

/// How large a file must be for a job that writes it.
fn create_bytes(job: &Job, spec: &Spec) -> Option<u64> {
    let path = spec.path().filter(|path| !path.starts_with("/dev"))?;
    let is_file = path.metadata().map_or(true, |meta| meta.is_file());
    match job.size {
        Some(Extent::Bytes(size)) if job.pattern.writes && is_file => Some(size + job.offset.of(0)),
        _ => None,
    }
}

/// The region of a job on a device, checked against it.
fn region(job: &Job, device: &dyn BlockDevice, seat: &Seat) -> Result<AddressPlan, SetupError> {
    let geometry = device.geometry();
    let disk = device.info().name;
    let fail = |option: &str, cause| Err(SetupError::new(job, option, cause));
    let (block, io_bytes) = (geometry.logical, job.block_bytes);
    if !block.divides(io_bytes) {
        let cause =
            SetupCause::Unaligned { what: "bs", bytes: io_bytes, block: block.bytes(), disk };
        return fail("bs", cause);
    }
    if io_bytes > u64::from(geometry.io_bytes_max) {
        let cause = SetupCause::TooLong { bytes: io_bytes, max: geometry.io_bytes_max, disk };
        return fail("bs", cause);
    }
    let capacity = geometry.capacity_bytes();
    let start = job.offset.of(capacity);
    // A percentage is brought to a whole request; a number of bytes must be one of blocks.
    let start = match job.offset {
        Extent::Percent(_) => start / io_bytes * io_bytes,
        Extent::Bytes(bytes) if !block.divides(bytes) => {
            let cause = SetupCause::Unaligned { what: "offset", bytes, block: block.bytes(), disk };
            return fail("offset", cause);
        }
        Extent::Bytes(bytes) => bytes,
    };
    // As in fio the files of a job share its size.
    let bytes = match job.size {
        None => capacity.saturating_sub(start),
        Some(Extent::Bytes(size)) => size / seat.specs.len() as u64,
        Some(extent) => extent.of(capacity).min(capacity.saturating_sub(start)),
    };
    match start.checked_add(bytes) {
        Some(end) if end <= capacity && start <= capacity => {}
        end => {
            let end = end.unwrap_or(u64::MAX);
            let option = if job.size.is_some() { "size" } else { "offset" };
            return fail(option, SetupCause::BeyondEnd { end, capacity, disk });
        }
    }
    if bytes < io_bytes {
        let option = if job.size.is_some() { "size" } else { "offset" };
        return fail(option, SetupCause::TooSmall { bytes, io_bytes, disk });
    }
    if job.pattern.writes && geometry.zones.is_some() {
        return fail("filename", SetupCause::Zoned { disk });
    }
    let skip_bytes = job.skip_bytes.unsigned_abs();
    if skip_bytes > 0 && !block.divides(skip_bytes) {
        let bytes = skip_bytes;
        let cause = SetupCause::Unaligned { what: "rw", bytes, block: block.bytes(), disk };
        return fail("rw", cause);
    }
    let io_blocks = block.blocks_in(io_bytes);
    Ok(AddressPlan {
        block_bytes: u64::from(block.bytes()),
        random: job.pattern.random,
        revisit: job.revisit,
        skip_blocks: block.blocks_in(skip_bytes) as i64 * job.skip_bytes.signum(),
        run: job.run,
        sequencer: job.sequencer,
        seed: seat.seed,
        ..AddressPlan::in_order(block.lba_of(start), io_blocks, bytes / io_bytes)
    })
}

//! From a seat to a lane: on its core, with the devices open and everything checked.
//!
//! What must always hold: nothing is sent to a device before every device of the run is open
//! and every job fits the devices that it names; reading never opens for writing.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::{fs, io};

use isotherm_block::{OpenContext, Spec};
use isotherm_host::ThreadPark;
use isotherm_seam::{
    BlockDevice, BufPool, Completion, IoBuf, Lba, Leaf, Mono, Op, OpenCause, OpenError,
    OpenOptions, Park, Persist, PoolClass, PoolLayout, Request, Tag, Unpark,
};
use isotherm_uring::{Ring, RingConfig};
use isotherm_verify::Format;
use isotherm_workload::{AddressPlan, Addresses, Content, Direction, Extent, Filling, Job};
use nix::fcntl::{PosixFadviseAdvice, posix_fadvise};

use crate::company::SteadyKey;
use crate::lane::{CheckOrder, Lane, LaneDisk, LaneOrder, LaneTrace, Rate, RuleOrder, Standing};
use crate::plan::{Seat, is_device};
use crate::region::{self, Region};
use crate::replay;
use crate::setup::{SetupCause, SetupError};
use crate::shared::Shared;
use crate::target;

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
    ring: Box<dyn Leaf>,
    /// What the ring could not have.
    notes: Vec<String>,
    unparker: Arc<dyn Unpark>,
    /// Devices that several lanes write.
    shared: BTreeMap<PathBuf, Shared>,
}

/// In place of a ring: why there is none.
struct NoRing {
    errno: i32,
}

impl Leaf for NoRing {
    fn kind(&self) -> &'static str {
        "uring"
    }

    fn open(&mut self, path: &str, _: &OpenOptions) -> Result<Box<dyn BlockDevice>, OpenError> {
        Err(OpenError::new(path, OpenCause::UringRefused { errno: self.errno }))
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
        let without = |errno| -> (Box<dyn Leaf>, Vec<String>, Bed) {
            (Box::new(NoRing { errno }), Vec::new(), Bed::Thread(ThreadPark::new()))
        };
        let (ring, notes, bed) = match ring {
            Some(Ok(ring)) => {
                let notes = ring.notes().to_vec();
                (Box::new(ring.clone()) as Box<dyn Leaf>, notes, Bed::Ring(ring))
            }
            Some(Err(OpenError { cause: OpenCause::UringRefused { errno }, .. })) => without(errno),
            Some(Err(other)) => return Err(other.into()),
            // ENOSYS: never asked for, as no spec of this core takes it.
            None => without(38),
        };
        let unparker = bed.unparker();
        Ok((Drivers { pool, ring, notes, unparker, shared: BTreeMap::new() }, bed))
    }

    /// What this core could not have.
    pub(crate) fn notes(&self) -> Vec<String> {
        self.notes.clone()
    }

    /// Opens the devices of a seat and makes its lane. Nothing is sent yet, except to fill a
    /// device that is memory.
    pub(crate) fn open(
        &mut self,
        seat: &Seat,
        job: &Job,
        standing: Standing,
        steady: SteadyKey,
    ) -> Result<Lane, SetupError> {
        let mut devices = Vec::new();
        for index in 0..seat.specs.len() {
            let behind = appended(job, &seat.specs[index]);
            let device = self.open_device(seat, job, index, behind);
            let device = device.map_err(|cause| SetupError::new(job, "filename", cause))?;
            devices.push((device, behind));
        }
        let mut order = order(job, seat, steady)?;
        let mut disks = Vec::new();
        let mut bytes = 0u64;
        for (_, (device, _)) in seat.specs.iter().zip(&devices) {
            order.depth = order.depth.min(device.geometry().depth_max);
        }
        let fixed = order.fixed();
        for (index, (mut device, behind)) in devices.into_iter().enumerate() {
            let spec = &seat.specs[index];
            let Region { plan, of_writes, bytes: own } =
                region::region(job, device.as_ref(), seat, index, behind)?;
            // What is left behind the last whole request is not asked for.
            let whole = fixed.map_or(own, |bytes| own / bytes * bytes);
            bytes = bytes.saturating_add(whole);
            if is_bare_memory(spec) && job.pattern.reads {
                let filled = self.fill(device.as_mut(), &plan);
                filled.map_err(|cause| SetupError::new(job, "filename", cause))?;
            }
            let mut notes = shortfalls(job, spec, device.as_ref());
            if let Some(Err(error)) = cached(job, spec).map(invalidate) {
                notes
                    .push(format!("what the page cache holds of it could not be dropped: {error}"));
            }
            let addresses = Addresses::new(&plan);
            let of_writes = of_writes.as_ref().map(Addresses::new);
            let mut disk = LaneDisk::new(device, addresses, of_writes, own, &order);
            disk.notes = notes;
            disks.push(disk);
        }
        (order.ios, order.bytes) = match &seat.replay {
            Some(replay) => (replay.survey.ios + replay.survey.syncs, u64::MAX),
            None => budget(job, bytes, fixed),
        };
        let bufs = self.bufs(&order).map_err(|cause| SetupError::new(job, "bs", cause))?;
        let trace = seat.replay.as_ref().map(|replay| replay::open(&replay.log, job)).transpose();
        let trace = trace.map_err(|cause| SetupError::new(job, "read_iolog", cause))?;
        Ok(Lane::new(standing, order, disks, bufs, trace.map(LaneTrace::new)))
    }

    fn open_device(
        &mut self,
        seat: &Seat,
        job: &Job,
        index: usize,
        appended: Option<u64>,
    ) -> Result<Box<dyn BlockDevice>, SetupCause> {
        let spec = &seat.specs[index];
        let sharing = spec.path().and_then(|path| Some((path, *seat.shared.get(path)?)));
        if let Some(first) = sharing.and_then(|(path, _)| self.shared.get(path)) {
            return Ok(Box::new(first.another()));
        }
        let options = OpenOptions {
            write: job.pattern.writes || is_bare_memory(spec),
            direct: job.direct,
            create_bytes: create_bytes(job, seat, index, appended),
            depth: sharing.map_or(job.depth_effective(), |(_, depth)| depth),
        };
        let device = spec.open(OpenContext {
            options,
            unparker: Arc::clone(&self.unparker),
            seed: seat.device_seed.wrapping_add(index as u64),
            leaves: &mut [self.ring.as_mut()],
        })?;
        let Some((path, _)) = sharing else { return Ok(device) };
        let first = Shared::new(device);
        let another = first.another();
        self.shared.insert(path.to_owned(), first);
        Ok(Box::new(another))
    }

    /// Buffers for the slots of a lane, filled with what does not compress.
    fn bufs(&self, order: &LaneOrder) -> Result<Vec<IoBuf>, SetupCause> {
        let mut filling = Filling::new(&order.filling, order.seed);
        let size = isotherm_seam::BlockSize::B512;
        let bytes = order.io_bytes();
        let mut bufs = Vec::with_capacity(order.depth as usize);
        for slot in 0..order.depth {
            let buf = self.pool.alloc(bytes as usize);
            let mut buf = buf.expect("the pool has a buffer for each slot of each seat");
            if order.writes() {
                let sectors = u64::from(bytes) / 512;
                filling.fill(size, Lba(u64::from(slot) * sectors), &mut buf);
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

fn order(job: &Job, seat: &Seat, steady: SteadyKey) -> Result<LaneOrder, SetupError> {
    let read_percent = match (job.pattern.reads, job.pattern.writes) {
        (true, true) => job.read_percent,
        (true, false) => 100,
        (false, _) => 0,
    };
    let used = [job.pattern.reads, job.pattern.writes];
    let rate = |direction: Direction| {
        let index = direction.index();
        let requests = job.rate_iops[index].map(Rate::Requests);
        requests.or(job.rate_bytes[index].map(Rate::Bytes)).filter(|_| used[index])
    };
    Ok(LaneOrder {
        sizes: job.sizes.clone(),
        depth: job.depth_effective(),
        read_percent,
        rates: Direction::ALL.map(rate),
        recorded: seat.replay.as_ref().is_some_and(|replay| replay.survey.timed),
        process: job.process,
        filling: job.filling.clone(),
        check: check(job, seat)?,
        persist: if job.sync.each { Persist::Fua } else { Persist::Flush },
        flush_every: job.sync.flush_every(),
        flush_at_end: job.sync.at_end || job.sync.on_close,
        ios: u64::MAX,
        bytes: u64::MAX,
        runtime: job.runtime,
        ramp: job.ramp,
        service: job.files.service.clone(),
        queue: job.queue,
        rules: RuleOrder::of(job, steady),
        seed: seat.seed,
        results: job.results.clone(),
    })
}

/// How the blocks of a seat are sealed and checked.
fn check(job: &Job, seat: &Seat) -> Result<Option<CheckOrder>, SetupError> {
    let plan = &job.check;
    // `null` keeps nothing, so nothing can be checked there; fio passes over it likewise.
    let kept = seat.specs.iter().all(|spec| !target::keeps_nothing(spec));
    let Some(kind) = plan.kind().filter(|_| kept) else { return Ok(None) };
    let shortest = job.block_bytes_min() as u32;
    let interval = plan.interval.or(region::has_several_lengths(job).then_some(shortest));
    let format = Format::new(kind, interval, plan.offset, plan.pattern.clone(), shortest)
        .map_err(|misfit| SetupError::new(job, "verify", misfit))?;
    if plan.only && job.time_based {
        return Err(SetupError::new(job, "verify_only", SetupCause::EndlessCheck));
    }
    let batch = |every| (every, plan.backlog_batch.unwrap_or(every));
    Ok(Some(CheckOrder {
        format,
        after: plan.after,
        only: plan.only,
        fatal: plan.fatal,
        pass: plan.pass,
        dump: plan.dump,
        backlog: plan.backlog.map(batch),
        thread: seat.rank as u16 + 1,
    }))
}

/// What a job is to transfer of regions of so many bytes: requests at most, and bytes at least.
fn budget(job: &Job, region_bytes: u64, fixed: Option<u64>) -> (u64, u64) {
    let ios = job.number_ios.unwrap_or(u64::MAX);
    if job.files.create_only {
        return (0, 0);
    }
    if job.time_based {
        return (ios, u64::MAX);
    }
    let once = match (job.io_size, job.size) {
        (Some(extent), _) => extent.of(region_bytes),
        // Of files that have sizes of their own, no more than the size of the job.
        (None, Some(Extent::Bytes(size))) if job.files.bytes.is_some() => region_bytes.min(size),
        (None, _) => region_bytes,
    };
    match fixed {
        Some(bytes) => (ios.min((once / bytes).saturating_mul(job.loops)), u64::MAX),
        None => (ios, once.saturating_mul(job.loops)),
    }
}

/// How large a file must be for a job that writes it.
fn create_bytes(job: &Job, seat: &Seat, index: usize, appended: Option<u64>) -> Option<u64> {
    let path = seat.specs[index].path().filter(|path| !path.starts_with("/dev"))?;
    let is_file = path.metadata().map_or(true, |meta| meta.is_file());
    let needed = region::needed_bytes(job, seat, index).filter(|_| job.pattern.writes && is_file);
    needed.map(|bytes| bytes + appended.unwrap_or(0))
}

/// Where a file ends that the job goes on behind.
fn appended(job: &Job, spec: &Spec) -> Option<u64> {
    let path = spec.path().filter(|_| job.files.append && job.pattern.writes)?;
    path.metadata().ok().filter(|meta| meta.is_file()).map(|meta| meta.len())
}

/// What the page cache may hold and is not to.
fn cached<'a>(job: &Job, spec: &'a Spec) -> Option<&'a Path> {
    spec.path().filter(|path| !job.direct && job.files.invalidate && path.exists())
}

/// Drops what the page cache holds of a file or device. What is not written back yet stays.
fn invalidate(path: &Path) -> io::Result<()> {
    let file = fs::File::open(path)?;
    let advice = PosixFadviseAdvice::POSIX_FADV_DONTNEED;
    Ok(posix_fadvise(&file, 0, 0, advice)?)
}

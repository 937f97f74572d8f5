//! Where on its devices a job works, checked against them.

use isotherm_seam::{BlockDevice, Domain, Lba, draw};
use isotherm_workload::{AddressPlan, Direction, Extent, FileSurvey, Job, SizeLaw, Strides};

use crate::plan::Seat;
use crate::setup::{SetupCause, SetupError};

const FILES: Domain = Domain::new("load.files");

/// The region of one file or device.
#[derive(Debug)]
pub(crate) struct Region {
    /// Where requests go; those of reads, if the two directions differ.
    pub(crate) plan: AddressPlan,
    /// Where writes go, if in units of their own.
    pub(crate) of_writes: Option<AddressPlan>,
    /// How long it is.
    pub(crate) bytes: u64,
}

/// How long the `index`-th of so many files of a seat is; to its end if nothing is said.
pub(crate) fn file_bytes(job: &Job, seed: u64, index: usize, count: usize) -> Option<u64> {
    let unit = job.block_bytes_min().max(1);
    match (job.files.bytes, job.size) {
        (Some((least, most)), _) if least == most => Some(least),
        (Some((least, most)), _) => {
            let drawn = least + draw(seed, FILES, index as u64, 0) % (most - least + 1);
            Some((drawn / unit * unit).max(least))
        }
        // As in fio the files of a job share its size.
        (None, Some(Extent::Bytes(size))) if count == 1 => Some(size),
        (None, Some(Extent::Bytes(size))) => Some(size / count as u64 / unit * unit),
        (None, _) => None,
    }
}

/// Where the region of a seat starts, before the device is known: of a device of `whole` bytes.
pub(crate) fn start_bytes(job: &Job, copy: u32, whole: u64) -> u64 {
    let step = job.files.offset_increment.of(whole).saturating_mul(u64::from(copy));
    let start = job.offset.of(whole).saturating_add(step);
    match job.offset {
        // As in fio, a percentage is brought up to the next whole request.
        Extent::Percent(_) => {
            let align = job.files.offset_align.unwrap_or(job.block_bytes_min()).max(1);
            start.div_ceil(align).saturating_mul(align)
        }
        Extent::Bytes(_) => start,
    }
}

/// How long the `index`-th file of a seat must be, if the job says it.
pub(crate) fn needed_bytes(job: &Job, seat: &Seat, index: usize) -> Option<u64> {
    if let Some(replay) = &seat.replay {
        return Some(replay.survey.files[index].end);
    }
    let bytes = file_bytes(job, seat.seed, index, seat.specs.len())?;
    // A start in percent is within what there is.
    Some(bytes + start_bytes(job, seat.copy, 0))
}

/// The region of a job on its `index`-th device, checked against it. `appended` is where the file
/// ended, if the job goes on behind that.
pub(crate) fn region(
    job: &Job,
    device: &dyn BlockDevice,
    seat: &Seat,
    index: usize,
    appended: Option<u64>,
) -> Result<Region, SetupError> {
    let geometry = device.geometry();
    let disk = device.info().name;
    let fail = |option: &str, cause| Err(SetupError::new(job, option, cause));
    let block = geometry.logical;
    let unaligned = |what, bytes| {
        let cause = SetupCause::Unaligned { what, bytes, block: block.bytes(), disk: disk.clone() };
        fail(what, cause)
    };
    if let Some(replay) = &seat.replay {
        return recorded(job, device, &replay.survey.files[index]);
    }
    for law in job.sizes_used() {
        if let Some(bytes) = law.misfit(|bytes| block.divides(bytes)) {
            return unaligned(size_option(job), bytes);
        }
    }
    if job.block_bytes > u64::from(geometry.io_bytes_max) {
        let (bytes, max) = (job.block_bytes, geometry.io_bytes_max);
        return fail(size_option(job), SetupCause::TooLong { bytes, max, disk });
    }
    let capacity = geometry.capacity_bytes();
    let start = start_bytes(job, seat.copy, capacity) + appended.unwrap_or(0);
    if !block.divides(start) {
        return unaligned("offset", start);
    }
    let bytes = match (file_bytes(job, seat.seed, index, seat.specs.len()), job.size) {
        (Some(bytes), _) => bytes,
        (None, Some(extent)) => extent.of(capacity).min(capacity.saturating_sub(start)),
        (None, None) => capacity.saturating_sub(start),
    };
    match start.checked_add(bytes) {
        Some(end) if end <= capacity && start <= capacity => {}
        end => {
            let end = end.unwrap_or(u64::MAX);
            return fail(length_option(job), SetupCause::BeyondEnd { end, capacity, disk });
        }
    }
    let io_bytes = job.block_bytes_min();
    if bytes < io_bytes {
        return fail(length_option(job), SetupCause::TooSmall { bytes, io_bytes, disk });
    }
    if job.pattern.writes && geometry.zones.is_some() {
        return fail("filename", SetupCause::Zoned { disk });
    }
    let skip_bytes = job.skip_bytes.unsigned_abs();
    if skip_bytes > 0 && !block.divides(skip_bytes) {
        return unaligned("rw", skip_bytes);
    }
    let mut plan = AddressPlan {
        block_bytes: u64::from(block.bytes()),
        random: job.pattern.random,
        revisit: job.revisit,
        law: job.law.clone(),
        random_percent: job.random_percent,
        skip_blocks: block.blocks_in(skip_bytes) as i64 * job.skip_bytes.signum(),
        run: job.run,
        sequencer: job.sequencer,
        seed: seat.seed,
        ..AddressPlan::in_order(block.lba_of(start), 1, block.blocks_in(bytes))
    };
    if job.is_strided() {
        let range = if job.zones.range_bytes > 0 { job.zones.range_bytes } else { job.zones.bytes };
        let gap = job.zones.gap.map_or(0, |gap| gap.of(capacity));
        let lengths = [("zonesize", job.zones.bytes), ("zonerange", range), ("zoneskip", gap)];
        for (what, bytes) in lengths {
            if !block.divides(bytes) {
                return unaligned(what, bytes);
            }
        }
        let total = capacity - start;
        plan.blocks = block.blocks_in(range.min(total));
        plan.strides = Some(Strides {
            transfer_blocks: block.blocks_in(job.zones.bytes),
            step_blocks: block.blocks_in(range.saturating_add(gap)),
            total_blocks: block.blocks_in(total),
        });
        if range < io_bytes {
            return fail("zonesize", SetupCause::TooSmall { bytes: range, io_bytes, disk });
        }
    }
    let mut plans = Vec::with_capacity(2);
    for direction in Direction::ALL {
        let used = [job.pattern.reads, job.pattern.writes][direction.index()];
        if !used {
            continue;
        }
        let least = job.sizes[direction.index()].min();
        let unit = job.align[direction.index()].unwrap_or(least);
        if !block.divides(unit) {
            return unaligned("ba", unit);
        }
        plans.push(AddressPlan {
            io_blocks: block.blocks_in(least),
            unit_blocks: block.blocks_in(unit),
            ..plan.clone()
        });
    }
    let mut plans = plans.into_iter();
    let plan = plans.next().expect("a pattern has a direction");
    let of_writes = plans.next().filter(|writes| *writes != plan);
    Ok(Region { plan, of_writes, bytes })
}

/// What a log does with a device, checked against it.
fn recorded(job: &Job, device: &dyn BlockDevice, file: &FileSurvey) -> Result<Region, SetupError> {
    let geometry = device.geometry();
    let (disk, block, capacity) = (device.info().name, geometry.logical, geometry.capacity_bytes());
    let fail = |cause| Err(SetupError::new(job, "read_iolog", cause));
    if !block.divides(file.unit) {
        let (what, bytes, block) = ("read_iolog: a length or an offset", file.unit, block.bytes());
        return fail(SetupCause::Unaligned { what, bytes, block, disk });
    }
    if file.end > capacity {
        return fail(SetupCause::BeyondEnd { end: file.end, capacity, disk });
    }
    if job.block_bytes > u64::from(geometry.io_bytes_max) {
        let (bytes, max) = (job.block_bytes, geometry.io_bytes_max);
        return fail(SetupCause::TooLong { bytes, max, disk });
    }
    if file.written_bytes > 0 && geometry.zones.is_some() {
        return fail(SetupCause::Zoned { disk });
    }
    let plan = AddressPlan::in_order(Lba(0), 1, geometry.blocks.max(1));
    Ok(Region { plan, of_writes: None, bytes: file.end })
}

/// The option that says how long requests are.
fn size_option(job: &Job) -> &'static str {
    let given = |option: &&&str| job.place(option).is_some();
    ["bssplit", "bsrange"].iter().find(given).copied().unwrap_or("bs")
}

/// The option that says how long the region is.
fn length_option(job: &Job) -> &'static str {
    let given = |option: &&&str| job.place(option).is_some();
    ["filesize", "size"].iter().find(given).copied().unwrap_or("offset")
}

/// Whether any of the lengths are drawn.
pub(crate) fn has_several_lengths(job: &Job) -> bool {
    job.sizes_used().any(|law| !matches!(law, SizeLaw::Fixed(_)))
}

//! Size, units and limits of an opened file or block device.
//!
//! What must always hold: what is promised here is what the kernel told; where it tells
//! nothing, the careful answer is taken.

use isotherm_seam::{BlockSize, Geometry, OpenCause, OpenOptions, ZoneInfo};

use crate::medium::MediumKind;
use crate::open::Opened;
use crate::queue_limits::QueueLimits;
use crate::sys;
use crate::zones::{ZoneTable, geometry_of};

/// Longest read or write: one registered buffer at most. The kernel splits what is longer than
/// the device takes.
const IO_BYTES_MAX: u32 = 1 << 30;

/// The sector that is assumed under a regular file: nearly all disks have it, and a larger
/// assumption only costs alignment.
const FILE_PHYSICAL_BYTES: u32 = 4096;

/// Zones asked for in one report when a disk is opened: 256 KiB of answer.
const ZONES_PER_REPORT: usize = 4096;

/// The geometry of `opened`, and its zones where it has some.
pub(crate) fn geometry(
    opened: &Opened,
    options: &OpenOptions,
    depth: u32,
) -> Result<(Geometry, Option<ZoneTable>), OpenCause> {
    let (logical, physical) = block_sizes(opened)?;
    let blocks = opened.len_bytes >> logical.shift();
    if blocks == 0 {
        let needed_bytes = u64::from(logical.bytes());
        return Err(OpenCause::TooSmall { bytes: opened.len_bytes, needed_bytes });
    }
    let mut geometry = Geometry {
        logical,
        physical,
        blocks,
        io_bytes_max: IO_BYTES_MAX,
        buf_align: match (opened.direct, opened.alignment) {
            (false, _) => 1,
            (true, Some((memory, _))) => memory.max(1).next_power_of_two(),
            (true, None) => logical.bytes(),
        },
        depth_max: depth,
        volatile_cache: true,
        discard: false,
        zones: None,
    };
    let MediumKind::Block { .. } = opened.kind else {
        geometry.discard = options.write && sys::can_punch_holes(&opened.file, opened.len_bytes);
        return Ok((geometry, None));
    };
    let limits = QueueLimits::of(opened.rdev);
    geometry.volatile_cache = !opened.direct || limits.write_back();
    if !limits.is_host_managed() {
        geometry.discard = options.write && limits.discards();
        return Ok((geometry, None));
    }
    if options.write && !opened.direct {
        let why = "a host-managed zoned disk is written with O_DIRECT only: the page cache would \
                   reorder its writes";
        return Err(OpenCause::BadSpec { why: why.into() });
    }
    let zones = zones(opened, &limits, &geometry)?;
    geometry.zones = Some(*zones.geometry());
    geometry.blocks = u64::from(zones.geometry().zones) * zones.geometry().zone_blocks;
    Ok((geometry, Some(zones)))
}

/// Logical and physical block.
fn block_sizes(opened: &Opened) -> Result<(BlockSize, BlockSize), OpenCause> {
    let os = |errno| OpenCause::Os { errno };
    let (logical, physical) = match opened.kind {
        MediumKind::Regular => {
            let unit = match (opened.direct, opened.alignment) {
                (false, _) => BlockSize::B512.bytes(),
                (true, Some((_, offset))) => offset,
                (true, None) => FILE_PHYSICAL_BYTES,
            };
            (unit, FILE_PHYSICAL_BYTES)
        }
        MediumKind::Block { .. } => (
            sys::logical_block_bytes(&opened.file).map_err(os)?,
            sys::physical_block_bytes(&opened.file).map_err(os)?,
        ),
    };
    // A unit that is no power of two is not a disk's.
    let size = |bytes: u32| BlockSize::new(bytes.max(512)).ok_or(OpenCause::NotStorage);
    let logical = size(logical)?;
    Ok((logical, size(physical)?.max(logical)))
}

/// All zones of a host-managed disk. What lies behind the last whole one is not used.
fn zones(
    opened: &Opened,
    limits: &QueueLimits,
    geometry: &Geometry,
) -> Result<ZoneTable, OpenCause> {
    let mut report: Vec<ZoneInfo> = Vec::new();
    let mut next = 0u64;
    while next < geometry.blocks {
        let start_bytes = next << geometry.logical.shift();
        let more = sys::report_zones(&opened.file, start_bytes, ZONES_PER_REPORT, geometry.logical)
            .map_err(|errno| OpenCause::Os { errno })?;
        let Some(last) = more.last() else { break };
        let first_start = report.first().or(more.first()).map_or(0, |zone| zone.start.0);
        let length = report
            .iter()
            .chain(&more)
            .nth(1)
            .map_or(last.capacity_blocks, |zone| zone.start.0 - first_start);
        next = last.start.0 + length.max(1);
        report.extend(more);
    }
    if let [.., before, last] = &report[..]
        && last.start.0 + (last.start.0 - before.start.0) > geometry.blocks
    {
        report.pop();
    }
    let open_max = limits.number("max_open_zones").unwrap_or(0).try_into().unwrap_or(0);
    let shape = geometry_of(&report, open_max).ok_or_else(|| OpenCause::BadSpec {
        why: "its zones are of unequal length: this driver can't number them".into(),
    })?;
    let sector_blocks = u64::from(geometry.physical.bytes() / geometry.logical.bytes());
    Ok(ZoneTable::new(shape, sector_blocks, &report))
}

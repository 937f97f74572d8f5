//! What a run cost the machine: processor time of its threads, and what the kernel counted on
//! the disks underneath.

use std::fs;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};

use isotherm_seam::Nanos;
use nix::sys::resource::{UsageWho, getrusage};
use nix::sys::time::TimeValLike;

/// Processor time and its interruptions.
#[derive(Clone, Copy, PartialEq, Debug, Default)]
pub struct CpuUse {
    /// In this program.
    pub user: Nanos,
    /// In the kernel on its behalf.
    pub system: Nanos,
    /// Times it gave up or lost its core.
    pub switches: u64,
    /// Page faults that needed I/O.
    pub major_faults: u64,
    /// Page faults that did not.
    pub minor_faults: u64,
}

impl CpuUse {
    /// Of the calling thread since it began; nothing where the system does not say.
    pub(crate) fn of_thread() -> CpuUse {
        let Ok(usage) = getrusage(UsageWho::RUSAGE_THREAD) else { return CpuUse::default() };
        let nanos = |time: nix::sys::time::TimeVal| Nanos(time.num_nanoseconds().max(0) as u64);
        let count = |n: i64| n.max(0) as u64;
        CpuUse {
            user: nanos(usage.user_time()),
            system: nanos(usage.system_time()),
            switches: count(usage.voluntary_context_switches())
                + count(usage.involuntary_context_switches()),
            major_faults: count(usage.major_page_faults()),
            minor_faults: count(usage.minor_page_faults()),
        }
    }

    /// What was used since `earlier`.
    pub(crate) fn since(&self, earlier: &CpuUse) -> CpuUse {
        CpuUse {
            user: self.user.saturating_sub(earlier.user),
            system: self.system.saturating_sub(earlier.system),
            switches: self.switches.saturating_sub(earlier.switches),
            major_faults: self.major_faults.saturating_sub(earlier.major_faults),
            minor_faults: self.minor_faults.saturating_sub(earlier.minor_faults),
        }
    }

    /// The part of it that `part` of `whole` requests stand for.
    pub(crate) fn share(&self, part: u64, whole: u64) -> CpuUse {
        let of = |n: u64| (u128::from(n) * u128::from(part) / u128::from(whole.max(1))) as u64;
        CpuUse {
            user: Nanos(of(self.user.0)),
            system: Nanos(of(self.system.0)),
            switches: of(self.switches),
            major_faults: of(self.major_faults),
            minor_faults: of(self.minor_faults),
        }
    }

    pub(crate) fn add(&mut self, other: &CpuUse) {
        self.user += other.user;
        self.system += other.system;
        self.switches += other.switches;
        self.major_faults += other.major_faults;
        self.minor_faults += other.minor_faults;
    }
}

/// The kernel's counters of one block device (Documentation/block/stat.rst).
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct DiskUse {
    /// The kernel's name.
    pub name: String,
    /// Reads completed, merged, sectors of 512 bytes, and milliseconds waited.
    pub read: [u64; 4],
    /// The same of writes.
    pub write: [u64; 4],
    /// Milliseconds during which anything was in flight.
    pub busy_ms: u64,
    /// Milliseconds that all requests together were in flight.
    pub queue_ms: u64,
}

/// Where the counters of a block device are read from.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) struct DiskCounters {
    name: String,
    stat: PathBuf,
}

impl DiskCounters {
    /// Of the block device at `path`, or under the filesystem that `path` lies on. `None` where
    /// there is none (tmpfs, a network) or the kernel does not tell.
    pub(crate) fn of(path: &Path) -> Option<DiskCounters> {
        let meta = path.metadata().ok().or_else(|| path.parent()?.metadata().ok())?;
        let number = if meta.file_type().is_block_device() { meta.rdev() } else { meta.dev() };
        let (major, minor) = (nix::sys::stat::major(number), nix::sys::stat::minor(number));
        let dir = fs::canonicalize(format!("/sys/dev/block/{major}:{minor}")).ok()?;
        // A partition counts in its disk, as in fio.
        let dir = if dir.join("partition").exists() { dir.parent()?.to_owned() } else { dir };
        let name = dir.file_name()?.to_string_lossy().into_owned();
        Some(DiskCounters { name, stat: dir.join("stat") })
    }

    pub(crate) fn read(&self) -> Option<DiskUse> {
        parse(&self.name, &fs::read_to_string(&self.stat).ok()?)
    }
}

fn parse(name: &str, stat: &str) -> Option<DiskUse> {
    let fields: Vec<u64> = stat.split_whitespace().map_while(|field| field.parse().ok()).collect();
    let [r0, r1, r2, r3, w0, w1, w2, w3, _inflight, busy_ms, queue_ms, ..] = fields[..] else {
        return None;
    };
    Some(DiskUse {
        name: name.to_owned(),
        read: [r0, r1, r2, r3],
        write: [w0, w1, w2, w3],
        busy_ms,
        queue_ms,
    })
}

impl DiskUse {
    /// What was counted since `earlier`.
    pub(crate) fn since(&self, earlier: &DiskUse) -> DiskUse {
        let less =
            |now: [u64; 4], then: [u64; 4]| core::array::from_fn(|i| now[i].wrapping_sub(then[i]));
        DiskUse {
            name: self.name.clone(),
            read: less(self.read, earlier.read),
            write: less(self.write, earlier.write),
            busy_ms: self.busy_ms.wrapping_sub(earlier.busy_ms),
            queue_ms: self.queue_ms.wrapping_sub(earlier.queue_ms),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernels_line_parses_and_subtracts() {
        let then = parse("sda", "10 1 80 5 20 2 160 7 0 9 12 0 0 0 0 0 0").unwrap();
        let now = parse("sda", "15 1 120 9 20 2 160 7 3 19 32 0 0 0 0 0 0").unwrap();
        let used = now.since(&then);
        assert_eq!((used.read, used.write), ([5, 0, 40, 4], [0; 4]));
        assert_eq!((used.busy_ms, used.queue_ms), (10, 20));
        assert_eq!(parse("sda", "1 2 3"), None);
    }

    #[test]
    fn this_thread_uses_the_processor() {
        let before = CpuUse::of_thread();
        let mut x = 1u64;
        for i in 0..30_000_000u64 {
            x = std::hint::black_box(x.wrapping_mul(i | 1));
        }
        let used = CpuUse::of_thread().since(&before);
        assert!(used.user + used.system > Nanos::ZERO);
        assert_eq!(used.share(1, 2).user.0, used.user.0 / 2);
        assert_eq!(used.share(1, 0).user, used.user, "a thread without requests is one lane's");
    }
}

//! What this process may take of the machine, and in words what it may not.
//!
//! What must always hold: a shortfall never stops anything; everything works with what can be
//! had. But whoever reads a result must be able to see what was missing, so each shortfall is a
//! sentence for people that says what it costs and what would lift it.

use std::path::{Path, PathBuf};

use nix::sys::resource::{RLIM_INFINITY, Resource, getrlimit};

use crate::mounts::{Mount, read_mounts};
use crate::root::{HostRoot, list_dir, read_text, read_u64};
use crate::{ClockSource, HostClock, Topology};

/// Capabilities (capability(7)) that lift a limit.
const CAP_IPC_LOCK: u32 = 14;
const CAP_SYS_NICE: u32 = 23;

/// A ring with its registered buffers wants about this much locked memory; below it a sentence
/// is due.
const MEMLOCK_WANTED_BYTES: u64 = 64 << 20;

/// Files that a node with 256 disks keeps open, with room to spare.
const OPEN_FILES_WANTED: u64 = 1024;

/// What this process may take.
#[derive(Clone, PartialEq, Debug)]
pub struct Limits {
    /// Logical processors that it may use.
    pub cores: usize,
    /// Cores' worth of time that its control group grants, where it is limited.
    pub cpu_quota_cores: Option<f64>,
    /// Memory that it may lock, in bytes; `None` is no limit.
    pub memlock_bytes: Option<u64>,
    /// Files that it may open; `None` is no limit.
    pub open_files: Option<u64>,
    /// The highest real-time priority that it may take; 0 is none.
    pub realtime_priority_max: u8,
    /// Huge pages to be had.
    pub huge_pages: HugePages,
    /// Whether the system lets it use io_uring.
    pub io_uring: UringPolicy,
    /// What its clock reads.
    pub clock: ClockSource,
}

/// Huge pages to be had.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct HugePages {
    /// Reserved ones of 2 MiB that nobody uses yet.
    pub free_2m: u64,
    /// Whether the kernel joins ordinary pages when asked to, or unasked.
    pub transparent: bool,
}

/// `kernel.io_uring_disabled`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum UringPolicy {
    /// Anybody may use it; a sandbox may still refuse.
    Open,
    /// Administrators and one group only.
    Privileged,
    /// Nobody.
    Disabled,
}

impl Limits {
    /// Of the calling thread on this machine.
    pub fn read() -> Limits {
        Limits::read_under(&HostRoot::real())
    }

    /// The same with the files of the machine below `root`. The limits that are no files
    /// (memory, files, priority, cores) are this process's own.
    pub fn read_under(root: &HostRoot) -> Limits {
        let capabilities = effective_capabilities(root);
        let has = |capability: u32| capabilities >> capability & 1 == 1;
        let realtime = limit(Resource::RLIMIT_RTPRIO).unwrap_or(99).min(99);
        Limits {
            cores: Topology::read().cores.len(),
            cpu_quota_cores: cpu_quota(root),
            memlock_bytes: if has(CAP_IPC_LOCK) { None } else { limit(Resource::RLIMIT_MEMLOCK) },
            open_files: limit(Resource::RLIMIT_NOFILE),
            realtime_priority_max: if has(CAP_SYS_NICE) { 99 } else { realtime as u8 },
            huge_pages: HugePages::read(root),
            io_uring: match read_u64(&root.proc.join("sys/kernel/io_uring_disabled")) {
                Some(2..) => UringPolicy::Disabled,
                Some(1) => UringPolicy::Privileged,
                _ => UringPolicy::Open,
            },
            clock: HostClock::new().source(),
        }
    }

    /// What could not be had: one sentence each, for people. Empty on a machine set up for the
    /// purpose.
    pub fn shortfalls(&self) -> Vec<String> {
        let mut said = Vec::new();
        if let Some(bytes) = self.memlock_bytes.filter(|&bytes| bytes < MEMLOCK_WANTED_BYTES) {
            said.push(format!(
                "Only {} KiB of memory may be locked (ulimit -l): buffers beyond that are not \
                 registered with the ring, which costs some CPU per I/O.",
                bytes >> 10
            ));
        }
        if let Some(files) = self.open_files.filter(|&files| files < OPEN_FILES_WANTED) {
            said.push(format!(
                "Only {files} files may be open (ulimit -n): a fleet of many disks needs more."
            ));
        }
        if self.realtime_priority_max == 0 {
            said.push(
                "No real-time priority is allowed (ulimit -r): other programs can delay a core."
                    .to_owned(),
            );
        }
        if let Some(quota) = self.cpu_quota_cores.filter(|&quota| quota < self.cores as f64) {
            said.push(format!(
                "The control group grants {quota:.2} cores' worth of time on {} cores: when it is \
                 used up, every thread stands still for the rest of the period.",
                self.cores
            ));
        }
        if self.huge_pages.free_2m == 0 {
            let instead = if self.huge_pages.transparent {
                "the kernel is asked to join ordinary pages instead"
            } else {
                "ordinary pages are used, which costs address translations"
            };
            said.push(format!("No huge pages are reserved (sysctl vm.nr_hugepages): {instead}."));
        }
        match self.io_uring {
            UringPolicy::Open => {}
            UringPolicy::Privileged => said.push(
                "io_uring is for administrators and one group only \
                 (sysctl kernel.io_uring_disabled=1): others get plain reads and writes on \
                 threads."
                    .to_owned(),
            ),
            UringPolicy::Disabled => said.push(
                "io_uring is switched off (sysctl kernel.io_uring_disabled=2): plain reads and \
                 writes on threads are used."
                    .to_owned(),
            ),
        }
        if self.clock == ClockSource::Monotonic {
            said.push(
                "The processor's cycle counter is not the kernel's clock here: each reading of \
                 the time is a call of the kernel's clock, which is slower."
                    .to_owned(),
            );
        }
        said
    }
}

impl HugePages {
    fn read(root: &HostRoot) -> HugePages {
        let mm = root.sys.join("kernel/mm");
        let transparent = read_text(&mm.join("transparent_hugepage/enabled"))
            .is_some_and(|text| text.contains("[always]") || text.contains("[madvise]"));
        let free = mm.join("hugepages/hugepages-2048kB/free_hugepages");
        HugePages { free_2m: read_u64(&free).unwrap_or(0), transparent }
    }
}

/// The soft limit; `None` is no limit.
fn limit(resource: Resource) -> Option<u64> {
    let (soft, _hard) = getrlimit(resource).expect("a resource that Linux knows");
    (soft != RLIM_INFINITY).then_some(soft)
}

fn effective_capabilities(root: &HostRoot) -> u64 {
    let status = read_text(&root.proc.join("thread-self/status")).unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("CapEff:"));
    line.and_then(|hex| u64::from_str_radix(hex.trim(), 16).ok()).unwrap_or(0)
}

/// The least quota on the way from this process's control group to the top, in cores.
fn cpu_quota(root: &HostRoot) -> Option<f64> {
    let groups = read_text(&root.proc.join("self/cgroup"))?;
    let mounts = read_mounts(root);
    groups
        .lines()
        .filter_map(|line| {
            // "0::/a/b" for version 2, "1:cpu,cpuacct:/a/b" for version 1.
            let mut fields = line.splitn(3, ':');
            let (_number, controllers, path) = (fields.next()?, fields.next()?, fields.next()?);
            let unified = controllers.is_empty();
            if !unified && !controllers.split(',').any(|name| name == "cpu") {
                return None;
            }
            let mount = mounts.iter().find(|mount| {
                let has_cpu = mount.super_options.split(',').any(|option| option == "cpu");
                mount.filesystem == if unified { "cgroup2" } else { "cgroup" }
                    && (unified || has_cpu)
            })?;
            let quota = if unified { quota_v2 } else { quota_v1 };
            least_quota(&group_dir(root, mount, path), &mount_dir(root, mount), quota)
        })
        .min_by(f64::total_cmp)
}

/// Where a group's folder is: its path counts from the root of the hierarchy, of which the mount
/// may show only a part (in a container).
fn group_dir(root: &HostRoot, mount: &Mount, path: &str) -> PathBuf {
    let shown = path.strip_prefix(mount.root.as_str()).unwrap_or(path);
    let dir = mount_dir(root, mount).join(shown.trim_start_matches('/'));
    if list_dir(&dir).is_empty() { mount_dir(root, mount) } else { dir }
}

/// A mount point below /sys, as seen under `root`.
fn mount_dir(root: &HostRoot, mount: &Mount) -> PathBuf {
    match mount.point.strip_prefix("/sys") {
        Ok(below) => root.sys.join(below),
        Err(_) => mount.point.clone(),
    }
}

fn least_quota(group: &Path, top: &Path, quota: fn(&Path) -> Option<f64>) -> Option<f64> {
    let inside = group.ancestors().take_while(|dir| dir.starts_with(top));
    inside.filter_map(quota).min_by(f64::total_cmp)
}

/// "150000 100000" is one and a half cores; "max 100000" is no limit.
fn quota_v2(dir: &Path) -> Option<f64> {
    let text = read_text(&dir.join("cpu.max"))?;
    let (quota, period) = text.split_once(' ')?;
    Some(quota.parse::<f64>().ok()? / period.parse::<f64>().ok()?)
}

/// A quota of -1 is no limit.
fn quota_v1(dir: &Path) -> Option<f64> {
    let quota = read_u64(&dir.join("cpu.cfs_quota_us"))?;
    Some(quota as f64 / read_u64(&dir.join("cpu.cfs_period_us"))? as f64)
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOTHING_MISSING: Limits = Limits {
        cores: 8,
        cpu_quota_cores: None,
        memlock_bytes: None,
        open_files: Some(1 << 20),
        realtime_priority_max: 99,
        huge_pages: HugePages { free_2m: 512, transparent: true },
        io_uring: UringPolicy::Open,
        clock: ClockSource::Tsc { hertz: 2_600_000_000 },
    };

    fn write(path: PathBuf, text: &str) {
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    }

    #[test]
    fn each_shortfall_is_one_sentence_of_its_own() {
        let all = NOTHING_MISSING;
        assert_eq!(all.shortfalls(), Vec::<String>::new());
        let none = HugePages { free_2m: 0, transparent: false };
        let cases = [
            (Limits { memlock_bytes: Some(8 << 20), ..all.clone() }, "8192 KiB"),
            (Limits { open_files: Some(256), ..all.clone() }, "256 files"),
            (Limits { realtime_priority_max: 0, ..all.clone() }, "real-time"),
            (Limits { cpu_quota_cores: Some(1.5), ..all.clone() }, "1.50 cores"),
            (Limits { huge_pages: none, ..all.clone() }, "huge pages"),
            (Limits { io_uring: UringPolicy::Privileged, ..all.clone() }, "administrators"),
            (Limits { io_uring: UringPolicy::Disabled, ..all.clone() }, "switched off"),
            (Limits { clock: ClockSource::Monotonic, ..all.clone() }, "cycle counter"),
        ];
        for (limits, expected) in cases {
            let said = limits.shortfalls();
            assert_eq!(said.len(), 1, "{said:?}");
            assert!(said[0].contains(expected) && said[0].ends_with('.'), "{said:?}");
        }
        // A quota of as many cores as there are is no shortfall.
        assert!(Limits { cpu_quota_cores: Some(8.0), ..all }.shortfalls().is_empty());
    }

    #[test]
    fn the_files_of_the_machine_are_read() {
        let dir = tempfile::tempdir().unwrap();
        let root = HostRoot::under(dir.path());
        write(root.sys.join("kernel/mm/transparent_hugepage/enabled"), "always [madvise] never\n");
        write(root.sys.join("kernel/mm/hugepages/hugepages-2048kB/free_hugepages"), "7\n");
        write(root.proc.join("sys/kernel/io_uring_disabled"), "2\n");
        let caps = 1u64 << CAP_IPC_LOCK | 1 << CAP_SYS_NICE;
        write(root.proc.join("thread-self/status"), &format!("Name:\tx\nCapEff:\t{caps:016x}\n"));
        let limits = Limits::read_under(&root);
        assert_eq!(limits.huge_pages, HugePages { free_2m: 7, transparent: true });
        assert_eq!(limits.io_uring, UringPolicy::Disabled);
        assert_eq!((limits.memlock_bytes, limits.realtime_priority_max), (None, 99));
    }

    #[test]
    fn the_least_quota_on_the_way_up_counts() {
        let dir = tempfile::tempdir().unwrap();
        let root = HostRoot::under(dir.path());
        write(root.proc.join("self/cgroup"), "0::/pod/job\n");
        write(
            root.proc.join("self/mountinfo"),
            "31 23 0:28 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw\n",
        );
        let top = root.sys.join("fs/cgroup");
        write(top.join("pod/job/cpu.max"), "max 100000\n");
        assert_eq!(cpu_quota(&root), None);
        write(top.join("pod/cpu.max"), "150000 100000\n");
        assert_eq!(cpu_quota(&root), Some(1.5));
        write(top.join("pod/job/cpu.max"), "50000 100000\n");
        assert_eq!(cpu_quota(&root), Some(0.5));
    }

    #[test]
    fn quotas_of_the_first_version_are_read_too() {
        let dir = tempfile::tempdir().unwrap();
        let root = HostRoot::under(dir.path());
        write(root.proc.join("self/cgroup"), "9:name=systemd:/\n2:cpu,cpuacct:/docker/a\n");
        write(
            root.proc.join("self/mountinfo"),
            "32 31 0:29 /docker/a /sys/fs/cgroup/cpu rw - cgroup cgroup rw,cpu,cpuacct\n",
        );
        let top = root.sys.join("fs/cgroup/cpu");
        write(top.join("cpu.cfs_quota_us"), "-1\n");
        write(top.join("cpu.cfs_period_us"), "100000\n");
        assert_eq!(cpu_quota(&root), None);
        write(top.join("cpu.cfs_quota_us"), "250000\n");
        assert_eq!(cpu_quota(&root), Some(2.5));
    }

    #[test]
    fn this_machine_can_be_read() {
        let limits = Limits::read();
        assert!(limits.cores > 0);
        println!("{limits:#?}\n{}", limits.shortfalls().join("\n"));
    }
}

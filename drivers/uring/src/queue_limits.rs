//! What the kernel's block layer says about a disk, from sysfs.
//!
//! What must always hold: a missing or unreadable attribute means the careful answer, never a
//! failure: containers hide sysfs.

use std::fs;
use std::path::PathBuf;

/// Attributes of a disk's request queue.
pub(crate) struct QueueLimits {
    dir: Option<PathBuf>,
}

impl QueueLimits {
    /// Of the block device with this device number. A partition has its disk's.
    pub(crate) fn of(rdev: u64) -> QueueLimits {
        let (major, minor) = (libc::major(rdev), libc::minor(rdev));
        let device = PathBuf::from(format!("/sys/dev/block/{major}:{minor}"));
        // The entry is a link into the tree of devices, so `..` is the disk of a partition.
        let dir = [device.join("queue"), device.join("../queue")].into_iter().find(|d| d.is_dir());
        QueueLimits { dir }
    }

    fn text(&self, name: &str) -> Option<String> {
        let text = fs::read_to_string(self.dir.as_ref()?.join(name)).ok()?;
        Some(text.trim().to_owned())
    }

    pub(crate) fn number(&self, name: &str) -> Option<u64> {
        self.text(name)?.parse().ok()
    }

    /// Whether completed writes may be lost until a flush. True where it is not known.
    pub(crate) fn write_back(&self) -> bool {
        self.text("write_cache").is_none_or(|kind| kind != "write through")
    }

    /// Whether a discard does something.
    pub(crate) fn discards(&self) -> bool {
        self.number("discard_max_bytes").is_some_and(|bytes| bytes > 0)
    }

    /// Whether it must be written zone by zone. A host-aware disk need not.
    pub(crate) fn is_host_managed(&self) -> bool {
        self.text("zoned").is_some_and(|model| model == "host-managed")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_device_that_is_not_there_gives_the_careful_answers() {
        let limits = QueueLimits::of(libc::makedev(4095, 1_048_575));
        assert!(limits.write_back());
        assert!(!limits.discards());
        assert!(!limits.is_host_managed());
        assert_eq!(limits.number("max_sectors_kb"), None);
    }
}

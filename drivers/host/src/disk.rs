//! Disks: what the kernel and udev tell about each, without opening one.
//!
//! What must always hold: a disk is described by what this machine says about it and by nothing
//! assumed; a fact that it does not tell is `None`. Nothing here needs any right: sysfs is open
//! to everybody.

#[cfg(test)]
pub(crate) mod fake;
mod link;
mod sysfs;

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

use crate::root::HostRoot;

/// A block device of the whole: no partition.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Disk {
    /// The kernel's name, such as `sda` or `nvme0n1`.
    pub name: String,
    /// Its node below /dev.
    pub path: PathBuf,
    /// What the node stands for.
    pub number: DeviceNumber,
    /// Counts up whenever another disk or medium takes this name (Linux 5.15 and later).
    pub sequence: Option<u64>,
    /// How it is attached, or what makes it up.
    pub kind: DiskKind,
    /// Its names in /dev/disk/by-id, which stay when disks are moved.
    pub by_id: Vec<String>,
    /// Who made it.
    pub vendor: Option<String>,
    /// Which model.
    pub model: Option<String>,
    /// Which piece.
    pub serial: Option<String>,
    /// Its world-wide name, such as `naa.5000c500e1f2a3b4`.
    pub wwn: Option<String>,
    /// Which firmware. For a SATA disk the kernel shows the last four characters only.
    pub firmware: Option<String>,
    /// Size in bytes; 0 where nothing is in it or set up.
    pub bytes: u64,
    /// Unit of addresses in bytes.
    pub logical_block: u32,
    /// Unit that the medium writes, in bytes.
    pub physical_block: u32,
    /// Has an arm and platters.
    pub rotational: bool,
    /// Its zones, where it has any.
    pub zones: Option<Zones>,
    /// The kernel's I/O scheduler for it.
    pub scheduler: Option<String>,
    /// Whether completed writes may be lost until a flush.
    pub write_cache: Option<WriteCache>,
    /// Commands that the disk itself takes at a time: NCQ for SATA, tagged queuing for SAS.
    pub queue_depth: Option<u32>,
    /// Speed of the link to it, as the kernel writes it.
    pub link: Option<String>,
    /// The memory node that its controller is near.
    pub node: Option<u32>,
    /// The medium can be taken out.
    pub removable: bool,
    /// Can't be written.
    pub read_only: bool,
    /// Can be told that blocks are no longer needed.
    pub discard: bool,
    /// Parts of it that work side by side (dual-actuator disks); empty where it is one.
    pub access_ranges: Vec<AccessRange>,
    /// The file that a loop device shows.
    pub backing_file: Option<PathBuf>,
    /// The name that the device mapper knows it by.
    pub mapper_name: Option<String>,
    /// Devices that it is made of (md, dm).
    pub parts: Vec<String>,
    /// In the order of their numbers.
    pub partitions: Vec<Partition>,
    /// Who uses the whole of it, partitions apart.
    pub uses: Uses,
}

/// A partition as the kernel sees it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Partition {
    /// The kernel's name, such as `sda1`.
    pub name: String,
    /// Its node below /dev.
    pub path: PathBuf,
    /// What the node stands for.
    pub number: DeviceNumber,
    /// From the start of the disk, in bytes.
    pub start_bytes: u64,
    /// Size in bytes.
    pub bytes: u64,
    /// Who uses it.
    pub uses: Uses,
}

/// Who uses a device or a file.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Uses {
    /// Where it is mounted, as far as this process can see.
    pub mounts: Vec<PathBuf>,
    /// Devices built on it: `md0`, `dm-1 (vg-home)`, `loop3`.
    pub holders: Vec<String>,
    /// It is swapped to.
    pub swap: bool,
}

/// What a device node stands for.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct DeviceNumber {
    /// The driver.
    pub major: u32,
    /// The device within it.
    pub minor: u32,
}

/// How a disk is attached, or what makes it up.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum DiskKind {
    /// SATA, also behind a SAS controller.
    Sata,
    /// SAS.
    Sas,
    /// Some other transport of SCSI.
    Scsi,
    /// NVMe.
    Nvme,
    /// A disk that a hypervisor gives (virtio, Xen).
    Virtual,
    /// USB.
    Usb,
    /// SD card or eMMC.
    Mmc,
    /// CD, DVD.
    Optical,
    /// A file shown as a disk.
    Loop,
    /// Compressed memory.
    Zram,
    /// Memory.
    Ram,
    /// The device mapper: LVM, LUKS, multipath.
    Mapper,
    /// Linux software RAID.
    Md,
    /// Over the network: nbd, rbd, drbd.
    Network,
    /// A driver in user space (ublk).
    Ublk,
    /// The kernel's null device.
    Null,
    /// Anything else.
    Other,
}

/// The zones of a disk.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Zones {
    /// Who keeps the rules.
    pub model: ZoneModel,
    /// From the start of one to the next, in bytes.
    pub zone_bytes: u64,
    /// How many.
    pub count: u64,
    /// How many may be open at once; 0 is no limit.
    pub open_max: u32,
}

/// Who keeps the rules of zones.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ZoneModel {
    /// The disk accepts writes out of order.
    HostAware,
    /// It does not.
    HostManaged,
}

/// How a disk's cache treats writes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum WriteCache {
    /// A completed write may be lost until a flush.
    Back,
    /// A completed write is on the medium.
    Through,
}

/// A part of a disk with its own actuator.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct AccessRange {
    /// From the start of the disk, in bytes.
    pub start_bytes: u64,
    /// Length in bytes.
    pub bytes: u64,
}

/// The disks of this machine, in the order of their names as people count.
pub fn read_disks() -> Vec<Disk> {
    read_disks_under(&HostRoot::real())
}

/// The disks of the machine whose file trees lie below `root`.
pub fn read_disks_under(root: &HostRoot) -> Vec<Disk> {
    sysfs::read(root)
}

impl Disk {
    /// Whether it is made of other devices, files or memory, and is no piece of hardware.
    pub fn is_made_up(&self) -> bool {
        use DiskKind::{Loop, Mapper, Md, Network, Null, Other, Ram, Ublk, Zram};
        matches!(self.kind, Loop | Mapper | Md | Network | Null | Other | Ram | Ublk | Zram)
    }

    /// The names by which a person may call it: serial number, world-wide name, names in
    /// /dev/disk/by-id.
    pub fn is_called(&self, name: &str) -> bool {
        let is = |own: &Option<String>| own.as_deref() == Some(name);
        is(&self.serial) || is(&self.wwn) || self.by_id.iter().any(|id| id == name)
    }

    /// A disk or partition by its device number: the disk it is or lies on, and the partition
    /// where it is one.
    pub fn find(disks: &[Disk], number: DeviceNumber) -> Option<(&Disk, Option<&Partition>)> {
        disks.iter().find_map(|disk| {
            if disk.number == number {
                return Some((disk, None));
            }
            let partition = disk.partitions.iter().find(|part| part.number == number)?;
            Some((disk, Some(partition)))
        })
    }
}

impl Uses {
    /// Nobody uses it.
    pub fn is_empty(&self) -> bool {
        self.mounts.is_empty() && self.holders.is_empty() && !self.swap
    }

    /// Adds the uses of a part.
    pub fn add(&mut self, other: &Uses) {
        self.mounts.extend_from_slice(&other.mounts);
        self.holders.extend_from_slice(&other.holders);
        self.swap |= other.swap;
    }
}

impl fmt::Display for Uses {
    /// `mounted on /a and /b, held by md0, swapped to`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut parts = Vec::new();
        if !self.mounts.is_empty() {
            let points: Vec<String> =
                self.mounts.iter().map(|point| point.display().to_string()).collect();
            parts.push(format!("mounted on {}", points.join(" and ")));
        }
        if !self.holders.is_empty() {
            parts.push(format!("held by {}", self.holders.join(" and ")));
        }
        if self.swap {
            parts.push("swapped to".to_owned());
        }
        f.write_str(&parts.join(", "))
    }
}

impl fmt::Display for DeviceNumber {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.major, self.minor)
    }
}

/// Not a device number: the kernel writes `8:17`.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("not a device number such as 8:17")]
pub struct NotADeviceNumber;

impl FromStr for DeviceNumber {
    type Err = NotADeviceNumber;
    fn from_str(text: &str) -> Result<DeviceNumber, NotADeviceNumber> {
        let (major, minor) = text.split_once(':').ok_or(NotADeviceNumber)?;
        let number = |text: &str| text.parse().map_err(|_| NotADeviceNumber);
        Ok(DeviceNumber { major: number(major)?, minor: number(minor)? })
    }
}

impl fmt::Display for DiskKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            DiskKind::Sata => "sata",
            DiskKind::Sas => "sas",
            DiskKind::Scsi => "scsi",
            DiskKind::Nvme => "nvme",
            DiskKind::Virtual => "virtual",
            DiskKind::Usb => "usb",
            DiskKind::Mmc => "mmc",
            DiskKind::Optical => "optical",
            DiskKind::Loop => "loop",
            DiskKind::Zram => "zram",
            DiskKind::Ram => "ram",
            DiskKind::Mapper => "mapper",
            DiskKind::Md => "md",
            DiskKind::Network => "network",
            DiskKind::Ublk => "ublk",
            DiskKind::Null => "null",
            DiskKind::Other => "other",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn device_numbers_parse_and_print() {
        assert_eq!("254:17".parse(), Ok(DeviceNumber { major: 254, minor: 17 }));
        assert_eq!("254:17".parse::<DeviceNumber>().unwrap().to_string(), "254:17");
        for bad in ["", "8", "8:", ":1", "8:x", "8:1:2"] {
            assert_eq!(bad.parse::<DeviceNumber>(), Err(NotADeviceNumber), "{bad}");
        }
    }

    #[test]
    fn uses_are_told_in_words() {
        let mut uses = Uses { mounts: vec!["/a".into()], holders: vec![], swap: false };
        assert_eq!(uses.to_string(), "mounted on /a");
        uses.add(&Uses { mounts: vec!["/b".into()], holders: vec!["md0".into()], swap: true });
        assert_eq!(uses.to_string(), "mounted on /a and /b, held by md0, swapped to");
        assert!(!uses.is_empty() && Uses::default().is_empty());
    }
}

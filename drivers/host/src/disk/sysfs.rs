//! Reads disks out of sysfs, udev's database and the kernel's lists of mounts and swaps.
//!
//! What must always hold: sizes and places in sysfs are in units of 512 bytes, whatever the
//! block size of the disk.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use super::link::{kind_of, speed_of};
use super::{AccessRange, DeviceNumber, Disk, Partition, Uses, WriteCache, ZoneModel, Zones};
use crate::mounts::{Mount, read_mounts, read_swaps};
use crate::root::{HostRoot, list_dir, read_text, read_u64};

const SECTOR_BYTES: u64 = 512;

pub(super) fn read(root: &HostRoot) -> Vec<Disk> {
    let users = Users::read(root);
    let by_id = read_by_id(root);
    let block = root.sys.join("block");
    list_dir(&block)
        .iter()
        .filter_map(|entry| read_disk(root, &block.join(entry), entry, &users, &by_id))
        .collect()
}

fn read_disk(
    root: &HostRoot,
    link: &Path,
    entry: &str,
    users: &Users,
    by_id: &BTreeMap<String, Vec<String>>,
) -> Option<Disk> {
    let dir = std::fs::canonicalize(link).ok()?;
    let number: DeviceNumber = read_text(&dir.join("dev"))?.parse().ok()?;
    if read_u64(&dir.join("hidden")) == Some(1) {
        return None; // One path of a multipath NVMe disk, which has no node.
    }
    // The kernel writes a slash in a device's name as an exclamation mark.
    let name = entry.replace('!', "/");
    let text = |path: &str| read_text(&dir.join(path));
    let value = |path: &str| read_u64(&dir.join(path));
    let flag = |path: &str| value(path) == Some(1);
    let udev = Udev::read(root, number);
    // Virtio shows the number of the PCI vendor here.
    let vendor = text("device/vendor").filter(|vendor| !vendor.starts_with("0x"));
    let kind = kind_of(&name, &dir, vendor.as_deref());
    Some(Disk {
        path: root.dev.join(&name),
        number,
        sequence: value("diskseq"),
        kind,
        by_id: by_id.get(&name).cloned().unwrap_or_default(),
        model: text("device/model").or_else(|| udev.get("ID_MODEL")),
        serial: text("device/serial")
            .or_else(|| text("serial"))
            .or_else(|| unit_serial(&dir.join("device/vpd_pg80")))
            .or_else(|| udev.get("ID_SCSI_SERIAL"))
            .or_else(|| udev.get("ID_SERIAL_SHORT")),
        wwn: text("wwid")
            .or_else(|| text("device/wwid"))
            .filter(|id| ["naa.", "eui.", "uuid."].iter().any(|kind| id.starts_with(kind)))
            .or_else(|| udev.get("ID_WWN")),
        firmware: text("device/firmware_rev")
            .or_else(|| text("device/rev"))
            .or_else(|| udev.get("ID_REVISION")),
        vendor,
        bytes: value("size").unwrap_or(0) * SECTOR_BYTES,
        logical_block: value("queue/logical_block_size").unwrap_or(SECTOR_BYTES) as u32,
        physical_block: value("queue/physical_block_size").unwrap_or(SECTOR_BYTES) as u32,
        rotational: flag("queue/rotational"),
        zones: read_zones(&dir.join("queue")),
        scheduler: text("queue/scheduler").map(|text| chosen(&text)),
        write_cache: match text("queue/write_cache").as_deref() {
            Some("write back") => Some(WriteCache::Back),
            Some("write through") => Some(WriteCache::Through),
            _ => None,
        },
        queue_depth: value("device/queue_depth").map(|depth| depth as u32),
        link: speed_of(kind, &dir),
        // -1 where the machine has one node only.
        node: dir.ancestors().find_map(|dir| read_u64(&dir.join("numa_node"))).map(|n| n as u32),
        removable: flag("removable"),
        read_only: flag("ro"),
        discard: value("queue/discard_max_bytes").is_some_and(|bytes| bytes > 0),
        access_ranges: read_access_ranges(&dir.join("queue/independent_access_ranges")),
        backing_file: text("loop/backing_file").map(PathBuf::from),
        mapper_name: text("dm/name"),
        parts: list_dir(&dir.join("slaves")),
        partitions: read_partitions(root, &dir, users),
        uses: users.of(root, number, &name, &dir),
        name,
    })
}

fn read_partitions(root: &HostRoot, dir: &Path, users: &Users) -> Vec<Partition> {
    let partition = |entry: &String| {
        let dir = dir.join(entry);
        read_u64(&dir.join("partition"))?;
        let number = read_text(&dir.join("dev"))?.parse().ok()?;
        let name = entry.replace('!', "/");
        Some(Partition {
            path: root.dev.join(&name),
            number,
            start_bytes: read_u64(&dir.join("start"))? * SECTOR_BYTES,
            bytes: read_u64(&dir.join("size"))? * SECTOR_BYTES,
            uses: users.of(root, number, &name, &dir),
            name,
        })
    };
    list_dir(dir).iter().filter_map(partition).collect()
}

fn read_zones(queue: &Path) -> Option<Zones> {
    let model = match read_text(&queue.join("zoned"))?.as_str() {
        "host-aware" => ZoneModel::HostAware,
        "host-managed" => ZoneModel::HostManaged,
        _ => return None,
    };
    Some(Zones {
        model,
        zone_bytes: read_u64(&queue.join("chunk_sectors"))? * SECTOR_BYTES,
        count: read_u64(&queue.join("nr_zones"))?,
        open_max: read_u64(&queue.join("max_open_zones")).unwrap_or(0) as u32,
    })
}

fn read_access_ranges(dir: &Path) -> Vec<AccessRange> {
    let range = |entry: &String| {
        Some(AccessRange {
            start_bytes: read_u64(&dir.join(entry).join("sector"))? * SECTOR_BYTES,
            bytes: read_u64(&dir.join(entry).join("nr_sectors"))? * SECTOR_BYTES,
        })
    };
    list_dir(dir).iter().filter_map(range).collect()
}

/// The one in brackets of `none [mq-deadline] kyber`, or the only one.
fn chosen(text: &str) -> String {
    let bracketed = text.split_once('[').and_then(|(_, rest)| rest.split_once(']'));
    bracketed.map_or(text, |(name, _)| name).to_owned()
}

/// The "unit serial number" page of SCSI: two bytes of type and page code, two of length, then
/// the text (SPC-5, 7.7.19).
fn unit_serial(path: &Path) -> Option<String> {
    let page = std::fs::read(path).ok()?;
    let len = usize::from(u16::from_be_bytes([*page.get(2)?, *page.get(3)?]));
    let text = String::from_utf8_lossy(page.get(4..4 + len)?).trim().to_owned();
    (page[1] == 0x80 && !text.is_empty()).then_some(text)
}

/// For each kernel name the links of /dev/disk/by-id that lead to it.
fn read_by_id(root: &HostRoot) -> BTreeMap<String, Vec<String>> {
    let dir = root.dev.join("disk/by-id");
    let mut names: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for link in list_dir(&dir) {
        let Ok(target) = std::fs::read_link(dir.join(&link)) else { continue };
        if let Some(name) = target.file_name() {
            names.entry(name.to_string_lossy().into_owned()).or_default().push(link);
        }
    }
    names
}

/// What udev stored about a device: lines `E:KEY=value`.
struct Udev {
    text: String,
}

impl Udev {
    fn read(root: &HostRoot, number: DeviceNumber) -> Udev {
        let text = read_text(&root.udev.join(format!("b{number}"))).unwrap_or_default();
        Udev { text }
    }

    fn get(&self, key: &str) -> Option<String> {
        let value = |line: &str| {
            let value = line.strip_prefix("E:")?.strip_prefix(key)?.strip_prefix('=')?.trim();
            (!value.is_empty()).then(|| value.to_owned())
        };
        self.text.lines().find_map(value)
    }
}

/// Who uses which device: read once for all disks.
struct Users {
    mounts: Vec<Mount>,
    swaps: Vec<PathBuf>,
}

impl Users {
    fn read(root: &HostRoot) -> Users {
        // A mount of a mapped device names it by a link; the kernel's name is behind it.
        let mut mounts = read_mounts(root);
        for mount in &mut mounts {
            mount.source = node_behind(root, &mount.source);
        }
        let swaps = read_swaps(root).iter().map(|path| node_behind(root, path)).collect();
        Users { mounts, swaps }
    }

    fn of(&self, root: &HostRoot, number: DeviceNumber, name: &str, dir: &Path) -> Uses {
        let node = node_behind(root, &Path::new("/dev").join(name));
        let is_of = |mount: &&Mount| mount.number == number || mount.source == node;
        let mut mounts: Vec<PathBuf> =
            self.mounts.iter().filter(is_of).map(|mount| mount.point.clone()).collect();
        mounts.dedup();
        let holders = list_dir(&dir.join("holders"));
        Uses {
            mounts,
            holders: holders.iter().map(|holder| described(root, holder)).collect(),
            swap: self.swaps.contains(&node),
        }
    }
}

/// A device's node, links resolved; the path itself where it is none.
fn node_behind(root: &HostRoot, path: &Path) -> PathBuf {
    let Ok(below) = path.strip_prefix("/dev") else { return path.to_owned() };
    let node = root.dev.join(below);
    std::fs::canonicalize(&node).unwrap_or(node)
}

/// `dm-1` alone says little: `dm-1 (vg-home)`.
fn described(root: &HostRoot, holder: &str) -> String {
    match read_text(&root.sys.join("block").join(holder).join("dm/name")) {
        Some(name) => format!("{holder} ({name})"),
        None => holder.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::disk::DiskKind;
    use crate::disk::fake::FakeMachine;

    fn disks() -> Vec<Disk> {
        read(&FakeMachine::new().root)
    }

    fn named<'a>(disks: &'a [Disk], name: &str) -> &'a Disk {
        disks.iter().find(|disk| disk.name == name).unwrap()
    }

    #[test]
    fn every_disk_is_found_in_order() {
        let disks = disks();
        let names: Vec<&str> = disks.iter().map(|disk| disk.name.as_str()).collect();
        assert_eq!(names, ["dm-0", "loop0", "nvme0n1", "sda", "sdb", "sdc", "vda", "zram0"]);
    }

    #[test]
    fn a_sata_disk_tells_who_it_is_and_how_it_is_attached() {
        let disks = disks();
        let disk = named(&disks, "sda");
        assert_eq!(disk.kind, DiskKind::Sata);
        assert_eq!(disk.bytes, 24_000_277_250_048);
        assert_eq!((disk.logical_block, disk.physical_block), (512, 4096));
        assert_eq!(disk.model.as_deref(), Some("ST24000NM000C-3W"));
        assert_eq!(disk.serial.as_deref(), Some("ZXA0sda"));
        assert_eq!(disk.wwn.as_deref(), Some("naa.5000c500a0000001"));
        assert_eq!(disk.firmware.as_deref(), Some("SN02"));
        assert_eq!(disk.by_id, ["ata-ST24000NM000C_ZXA0sda", "wwn-0x5000c500a0000001"]);
        assert_eq!(disk.scheduler.as_deref(), Some("mq-deadline"));
        assert_eq!(disk.write_cache, Some(WriteCache::Back));
        assert_eq!(disk.queue_depth, Some(32));
        assert_eq!(disk.link.as_deref(), Some("6.0 Gbps"));
        assert_eq!((disk.node, disk.rotational, disk.zones), (Some(1), true, None));
        assert!(disk.is_called("ZXA0sda") && disk.is_called("wwn-0x5000c500a0000001"));
        assert!(!disk.is_called("ZXA0sdb") && !disk.is_called(""));
    }

    #[test]
    fn partitions_have_their_own_users() {
        let disks = disks();
        let disk = named(&disks, "sda");
        let [first, second] = disk.partitions.as_slice() else { panic!("{:?}", disk.partitions) };
        assert_eq!((first.start_bytes, first.bytes), (1 << 20, 1 << 29));
        // The kernel calls the source of its first mount /dev/root: the number tells.
        assert_eq!(first.uses.mounts, [PathBuf::from("/")]);
        assert!(second.uses.swap && second.uses.mounts.is_empty());
        assert!(disk.uses.is_empty(), "the whole is used by nobody");
        let (found, part) = Disk::find(&disks, DeviceNumber { major: 8, minor: 2 }).unwrap();
        assert_eq!((found.name.as_str(), part.unwrap().name.as_str()), ("sda", "sda2"));
        assert_eq!(Disk::find(&disks, DeviceNumber { major: 9, minor: 9 }), None);
    }

    #[test]
    fn zones_and_actuators_are_read() {
        let disks = disks();
        let disk = named(&disks, "sdb");
        let zones = disk.zones.unwrap();
        assert_eq!((zones.model, zones.zone_bytes), (ZoneModel::HostManaged, 256 << 20));
        assert_eq!((zones.count, zones.open_max), (96_858, 128));
        assert_eq!(disk.access_ranges.len(), 2);
        assert_eq!(disk.access_ranges[1].start_bytes, disk.bytes / 2);
        assert_eq!(disk.link.as_deref(), Some("12.0 Gbit x2"));
        assert_eq!(disk.uses.holders, ["md0"]);
        assert_eq!(disk.serial.as_deref(), Some("2LKJ"), "out of udev's database");
        assert_eq!(disk.model.as_deref(), Some("WSH722"));
    }

    #[test]
    fn the_serial_page_of_scsi_is_read() {
        assert_eq!(named(&disks(), "sdc").serial.as_deref(), Some("ZXA0serial3"));
    }

    #[test]
    fn an_nvme_disk_names_its_holder_by_both_names() {
        let disks = disks();
        let disk = named(&disks, "nvme0n1");
        assert_eq!(disk.link.as_deref(), Some("8.0 GT/s PCIe x4"));
        assert_eq!(disk.firmware.as_deref(), Some("GDC5602Q"));
        assert_eq!(disk.scheduler.as_deref(), Some("none"));
        assert!(disk.discard && !disk.rotational);
        assert_eq!(disk.uses.holders, ["dm-0 (vg-home)"]);
    }

    #[test]
    fn a_mount_is_found_by_number_by_link_and_by_source() {
        let disks = disks();
        let mapped = named(&disks, "dm-0");
        assert_eq!(mapped.uses.mounts, [PathBuf::from("/home")], "once, although both match");
        assert_eq!((mapped.mapper_name.as_deref(), mapped.parts.len()), (Some("vg-home"), 1));
        // Btrfs invents a device number: only the source tells.
        assert_eq!(named(&disks, "vda").uses.mounts, [PathBuf::from("/srv data")]);
        assert_eq!(named(&disks, "vda").vendor, None, "a PCI number is no maker");
    }

    #[test]
    fn made_up_disks_are_known_as_such() {
        let disks = disks();
        let made_up: Vec<&str> =
            disks.iter().filter(|disk| disk.is_made_up()).map(|disk| disk.name.as_str()).collect();
        assert_eq!(made_up, ["dm-0", "loop0", "zram0"]);
        let file = named(&disks, "loop0").backing_file.clone().unwrap();
        assert_eq!(file, PathBuf::from("/images/a disk.img"));
        assert_eq!(named(&disks, "zram0").bytes, 0);
    }

    #[test]
    fn a_machine_without_sysfs_has_no_disks() {
        let dir = tempfile::tempdir().unwrap();
        assert!(read(&HostRoot::under(dir.path())).is_empty());
    }
}

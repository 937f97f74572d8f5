//! The link to a disk: how it is attached, and at what speed.
//!
//! What must always hold: the way to a disk is read off its folder's place in sysfs, where each
//! folder above it is a device on the way (controller, port, expander, target). Folder names are
//! the kernel's (libata, scsi_transport_sas, usb core).

use std::path::Path;

use super::DiskKind;
use crate::root::{list_dir, read_text};

/// The kind of a disk, by its name and its folder's real place.
pub(super) fn kind_of(name: &str, dir: &Path, vendor: Option<&str>) -> DiskKind {
    const BY_NAME: [(&str, DiskKind); 21] = [
        ("loop", DiskKind::Loop),
        ("zram", DiskKind::Zram),
        ("ram", DiskKind::Ram),
        ("dm-", DiskKind::Mapper),
        ("md", DiskKind::Md),
        ("nvme", DiskKind::Nvme),
        ("vd", DiskKind::Virtual),
        ("xvd", DiskKind::Virtual),
        ("sr", DiskKind::Optical),
        ("mmcblk", DiskKind::Mmc),
        ("nbd", DiskKind::Network),
        ("rbd", DiskKind::Network),
        ("drbd", DiskKind::Network),
        ("ublkb", DiskKind::Ublk),
        ("nullb", DiskKind::Null),
        ("fd", DiskKind::Other),
        ("mtdblock", DiskKind::Other),
        ("pmem", DiskKind::Other),
        ("bcache", DiskKind::Other),
        ("zd", DiskKind::Other),
        ("dasd", DiskKind::Other),
    ];
    let is_way = |word: &str| {
        dir.iter().any(|part| {
            let rest = part.to_str().and_then(|part| part.strip_prefix(word));
            rest.is_some_and(|rest| rest.starts_with(|c: char| c.is_ascii_digit()))
        })
    };
    if name.starts_with("sd") {
        return match () {
            () if is_way("usb") => DiskKind::Usb,
            () if is_way("ata") || vendor == Some("ATA") => DiskKind::Sata,
            () if is_way("end_device-") => DiskKind::Sas,
            () if is_way("virtio") => DiskKind::Virtual,
            () => DiskKind::Scsi,
        };
    }
    let named = |&&(prefix, _): &&(&str, DiskKind)| {
        name.strip_prefix(prefix).is_some_and(|rest| !rest.is_empty())
    };
    BY_NAME.iter().find(named).map_or(DiskKind::Other, |&(_, kind)| kind)
}

/// The speed of the last link before the disk, in the kernel's words.
pub(super) fn speed_of(kind: DiskKind, dir: &Path) -> Option<String> {
    let speed = match kind {
        DiskKind::Sata | DiskKind::Sas => {
            dir.ancestors().find_map(|dir| sata_speed(dir).or_else(|| sas_speed(dir)))
        }
        DiskKind::Nvme => dir.ancestors().find_map(|dir| {
            let speed = read_text(&dir.join("current_link_speed"))?;
            let width = read_text(&dir.join("current_link_width"))?;
            Some(format!("{speed} x{width}"))
        }),
        DiskKind::Usb => dir.ancestors().find_map(|dir| {
            // Interfaces and hosts have no `speed` beside a `busnum`; devices do.
            read_text(&dir.join("busnum"))?;
            Some(format!("{} Mbit/s", read_text(&dir.join("speed"))?))
        }),
        _ => None,
    };
    speed.filter(|speed| !speed.to_ascii_lowercase().contains("unknown"))
}

/// `…/ata3` holds `link3/ata_link/link3/sata_spd`.
fn sata_speed(dir: &Path) -> Option<String> {
    let port = dir.file_name()?.to_str()?.strip_prefix("ata")?;
    let link = format!("link{port}");
    read_text(&dir.join(&link).join("ata_link").join(&link).join("sata_spd"))
}

/// `…/port-0:1` holds one `phy-0:1` for each lane.
fn sas_speed(dir: &Path) -> Option<String> {
    if !dir.file_name()?.to_str()?.starts_with("port-") {
        return None;
    }
    let lanes = list_dir(dir);
    let lanes: Vec<&String> = lanes.iter().filter(|name| name.starts_with("phy-")).collect();
    let phy = lanes.first()?;
    let rate = dir.join(phy).join("sas_phy").join(phy).join("negotiated_linkrate");
    let rate = read_text(&rate)?;
    Some(if lanes.len() > 1 { format!("{rate} x{}", lanes.len()) } else { rate })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_way_tells_the_kind() {
        let pci = "/sys/devices/pci0000:00/0000:00:1f.2";
        let cases = [
            ("sda", "ata1/host0/target0:0:0/0:0:0:0/block/sda", None, DiskKind::Sata),
            ("sdb", "host1/port-1:0/end_device-1:0/target1:0:0/block/sdb", None, DiskKind::Sas),
            ("sdc", "host1/port-1:0/end_device-1:0/t/block/sdc", Some("ATA"), DiskKind::Sata),
            ("sdd", "usb1/1-1/1-1:1.0/host6/target6:0:0/block/sdd", None, DiskKind::Usb),
            ("sde", "virtio2/host2/target2:0:0/block/sde", Some("QEMU"), DiskKind::Virtual),
            ("sdf", "host3/session1/target3:0:0/block/sdf", None, DiskKind::Scsi),
            ("nvme0n1", "nvme/nvme0/nvme0n1", None, DiskKind::Nvme),
            ("vda", "virtio1/block/vda", None, DiskKind::Virtual),
            ("loop0", "block/loop0", None, DiskKind::Loop),
            ("md127", "block/md127", None, DiskKind::Md),
            ("dm-3", "block/dm-3", None, DiskKind::Mapper),
            ("ram0", "block/ram0", None, DiskKind::Ram),
            ("quux", "block/quux", None, DiskKind::Other),
        ];
        for (name, way, vendor, expected) in cases {
            assert_eq!(kind_of(name, &Path::new(pci).join(way), vendor), expected, "{name}");
        }
    }
}

//! A machine made of a folder, for tests: the sysfs, procfs and /dev of a small storage node.
//!
//! | disk    | what it is                                                      |
//! |---------|-----------------------------------------------------------------|
//! | sda     | SATA, two partitions, the first mounted, the second swapped to  |
//! | sdb     | SAS, host-managed, two actuators, member of md0                 |
//! | sdc     | SATA, free                                                      |
//! | nvme0n1 | NVMe, carries dm-0 (vg-home), which is mounted by its link name |
//! | vda     | virtio, btrfs on the whole of it, mounted                       |
//! | loop0   | shows /images/a disk.img                                        |
//! | zram0   | not set up                                                      |

use std::path::{Path, PathBuf};

use crate::root::HostRoot;

pub(crate) struct FakeMachine {
    dir: tempfile::TempDir,
    pub(crate) root: HostRoot,
}

impl FakeMachine {
    pub(crate) fn new() -> FakeMachine {
        let dir = tempfile::tempdir().unwrap();
        let machine = FakeMachine { root: HostRoot::under(dir.path()), dir };
        machine.sata("sda", 1, "8:0");
        machine.partition("sda", "sda1", "8:1", 2048, 1 << 20);
        machine.partition("sda", "sda2", "8:2", 2048 + (1 << 20), 4096);
        machine.by_id("ata-ST24000NM000C_ZXA0sda", "sda");
        machine.by_id("wwn-0x5000c500a0000001", "sda");
        machine.by_id("ata-ST24000NM000C_ZXA0sda-part1", "sda1");
        machine.sata("sdc", 3, "8:32");
        machine.sas();
        machine.nvme();
        machine.made_up();
        machine.kernel_lists();
        machine
    }

    pub(crate) fn write(&self, path: &str, text: impl AsRef<[u8]>) {
        let path = self.dir.path().join(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    }

    fn link(&self, path: &str, target: impl AsRef<Path>) {
        let path = self.dir.path().join(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::os::unix::fs::symlink(target, path).unwrap();
    }

    /// A disk's folder at `way` below sys/devices, with what every disk has; returns its path.
    fn disk(
        &self,
        name: &str,
        way: &str,
        number: &str,
        sectors: u64,
        queue: &[(&str, &str)],
    ) -> String {
        let dir = format!("sys/devices/{way}/{name}");
        self.link(&format!("sys/block/{name}"), self.dir.path().join(&dir));
        self.write(&format!("{dir}/dev"), format!("{number}\n"));
        self.write(&format!("{dir}/size"), format!("{sectors}\n"));
        self.write(&format!("{dir}/ro"), "0\n");
        self.write(&format!("{dir}/removable"), "0\n");
        for (key, value) in queue {
            self.write(&format!("{dir}/queue/{key}"), format!("{value}\n"));
        }
        std::fs::create_dir_all(self.dir.path().join(&dir).join("holders")).unwrap();
        self.write(&format!("dev/{name}"), "");
        dir
    }

    fn partition(&self, disk: &str, name: &str, number: &str, start: u64, sectors: u64) {
        let disk = std::fs::canonicalize(self.root.sys.join("block").join(disk)).unwrap();
        let dir = disk.join(name);
        std::fs::create_dir_all(dir.join("holders")).unwrap();
        for (key, value) in [
            ("partition", "1".to_owned()),
            ("dev", number.to_owned()),
            ("start", start.to_string()),
            ("size", sectors.to_string()),
        ] {
            std::fs::write(dir.join(key), value).unwrap();
        }
        self.write(&format!("dev/{name}"), "");
    }

    fn by_id(&self, link: &str, name: &str) {
        self.link(&format!("dev/disk/by-id/{link}"), PathBuf::from("../..").join(name));
    }

    fn sata(&self, name: &str, port: u32, number: &str) {
        let ata = format!("pci0000:00/0000:00:1f.2/ata{port}");
        let device = format!("{ata}/host0/target0:0:0/0:0:0:0");
        let queue = [
            ("logical_block_size", "512"),
            ("physical_block_size", "4096"),
            ("rotational", "1"),
            ("zoned", "none"),
            ("scheduler", "none [mq-deadline] kyber"),
            ("write_cache", "write back"),
        ];
        let dir = self.disk(name, &format!("{device}/block"), number, 46_875_541_504, &queue);
        self.write(
            &format!("sys/devices/{ata}/link{port}/ata_link/link{port}/sata_spd"),
            "6.0 Gbps\n",
        );
        self.write("sys/devices/pci0000:00/0000:00:1f.2/numa_node", "1\n");
        self.link(&format!("{dir}/device"), self.dir.path().join(format!("sys/devices/{device}")));
        let device = format!("sys/devices/{device}");
        self.write(&format!("{device}/vendor"), "ATA     \n");
        self.write(&format!("{device}/model"), "ST24000NM000C-3W\n");
        self.write(&format!("{device}/rev"), "SN02\n");
        self.write(&format!("{device}/queue_depth"), "32\n");
        self.write(&format!("{device}/wwid"), format!("naa.5000c500a000000{port}\n"));
        self.write(&format!("{device}/vpd_pg80"), b"\0\x80\0\x14         ZXA0serial3");
        if name == "sda" {
            self.write(&format!("{device}/serial"), "ZXA0sda\n");
        }
    }

    fn sas(&self) {
        let port = "pci0000:17/0000:18:00.0/host1/port-1:2";
        let device = format!("{port}/end_device-1:2/target1:0:2/1:0:2:0");
        let queue = [
            ("logical_block_size", "4096"),
            ("physical_block_size", "4096"),
            ("rotational", "1"),
            ("zoned", "host-managed"),
            ("chunk_sectors", "524288"),
            ("nr_zones", "96858"),
            ("max_open_zones", "128"),
            ("independent_access_ranges/0/sector", "0"),
            ("independent_access_ranges/0/nr_sectors", "25390219264"),
            ("independent_access_ranges/1/sector", "25390219264"),
            ("independent_access_ranges/1/nr_sectors", "25390219264"),
        ];
        let dir = self.disk("sdb", &format!("{device}/block"), "8:16", 50_780_438_528, &queue);
        for lane in ["phy-1:2", "phy-1:3"] {
            let phy = format!("sys/devices/{port}/{lane}/sas_phy/{lane}");
            self.write(&format!("{phy}/negotiated_linkrate"), "12.0 Gbit\n");
        }
        self.link(&format!("{dir}/device"), self.dir.path().join(format!("sys/devices/{device}")));
        self.write(&format!("sys/devices/{device}/vendor"), "WDC     \n");
        self.link(&format!("{dir}/holders/md0"), "../md0");
        self.write(
            "run/udev/data/b8:16",
            "S:disk/by-id/x\nE:ID_SCSI_SERIAL=2LKJ\nE:ID_MODEL=WSH722\n",
        );
    }

    fn nvme(&self) {
        let pci = "pci0000:00/0000:01:00.0";
        let queue =
            [("rotational", "0"), ("scheduler", "none"), ("discard_max_bytes", "2199023255040")];
        let dir =
            self.disk("nvme0n1", &format!("{pci}/nvme/nvme0"), "259:0", 7_501_476_528, &queue);
        self.write(&format!("sys/devices/{pci}/current_link_speed"), "8.0 GT/s PCIe\n");
        self.write(&format!("sys/devices/{pci}/current_link_width"), "4\n");
        let device = format!("sys/devices/{pci}/nvme/nvme0");
        self.link(&format!("{dir}/device"), self.dir.path().join(&device));
        self.write(&format!("{device}/serial"), "S64HNE0R    \n");
        self.write(&format!("{device}/firmware_rev"), "GDC5602Q\n");
        self.write(&format!("{dir}/wwid"), "eui.36344830526001080025384500000001\n");
        self.link(&format!("{dir}/holders/dm-0"), "../dm-0");
    }

    fn made_up(&self) {
        let dir = self.disk("dm-0", "virtual/block", "253:0", 8192, &[]);
        self.write(&format!("{dir}/dm/name"), "vg-home\n");
        self.link(&format!("{dir}/slaves/nvme0n1"), "../nvme0n1");
        self.link("dev/mapper/vg-home", "../dm-0");
        let dir = self.disk("loop0", "virtual/block", "7:0", 2048, &[]);
        self.write(&format!("{dir}/loop/backing_file"), "/images/a disk.img\n");
        self.disk("zram0", "virtual/block", "252:0", 0, &[]);
        let dir = self.disk("vda", "pci0000:00/0000:00:02.0/virtio1/block", "254:0", 8192, &[]);
        self.write(&format!("{dir}/serial"), "overlayblk\n");
        let device = "sys/devices/pci0000:00/0000:00:02.0/virtio1";
        self.link(&format!("{dir}/device"), self.dir.path().join(device));
        self.write(&format!("{device}/vendor"), "0x1af4\n");
    }

    fn kernel_lists(&self) {
        self.write(
            "proc/self/mountinfo",
            "22 27 0:21 / /proc rw - proc proc rw\n\
             27 1 8:1 / / rw - ext4 /dev/root rw\n\
             28 27 253:0 / /home rw - xfs /dev/mapper/vg-home rw\n\
             29 27 0:44 /vol /srv\\040data rw - btrfs /dev/vda rw\n",
        );
        self.write(
            "proc/swaps",
            "Filename Type Size Used Priority\n/dev/sda2 partition 2048 0 -2\n",
        );
    }
}

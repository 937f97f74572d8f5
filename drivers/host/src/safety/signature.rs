//! Signatures: the bytes by which partition tables, filesystems, volume managers and other
//! owners of a disk can be known.
//!
//! What must always hold: each signature is one row of [`SIGNATURES`]; a test makes an image for
//! every place of every row, so a row is tested the moment it is listed. A row errs on the safe
//! side: it may take foreign bytes for an owner (two bytes of random data match once in 65,536),
//! it must not overlook one. So no checksum is asked for, and copies count like the original.
//!
//! Places are in bytes from the start, or back from the end after rounding the size down.

/// One way to know an owner.
#[derive(Clone, Copy, Debug)]
pub struct Signature {
    /// What it is, for people.
    pub name: &'static str,
    place: Place,
    bytes: &'static [u8],
    /// Where place and bytes are written down.
    pub source: &'static str,
}

#[derive(Clone, Copy, Debug)]
enum Place {
    /// At any of these offsets.
    At(&'static [u64]),
    /// At `count` offsets, one each `step`, from `first` on.
    Row { first: u64, step: u64, count: u64 },
    /// Any of these many bytes before the end, rounded down to a multiple of `align`.
    Back { align: u64, back: &'static [u64] },
    /// A row that starts `back` bytes before the end rounded down.
    BackRow { align: u64, back: u64, step: u64, count: u64 },
}

/// What a store writes at the start of each of its blocks, and so of each disk: docs/ON-DISK.md. A
/// test of the store holds it against what a formatted disk begins with.
pub const ISOTHERM_MAGIC: &[u8; 4] = b"IsoB";

const KIB: u64 = 1 << 10;
const MIB: u64 = 1 << 20;
const GIB: u64 = 1 << 30;

const GPT: &str = "GPT partition table";
const LUKS2: &str = "LUKS2 encrypted volume";
const MD: &str = "Linux RAID member";
const ZFS: &str = "ZFS pool member";
const SWAP: &str = "swap space";
const HIBERNATION: &str = "hibernation image";
const DRBD: &str = "DRBD metadata";
const REISER: &str = "ReiserFS filesystem";
const FAT: &str = "FAT filesystem";

/// A page's last ten bytes, for pages of 4 to 64 KiB.
const PAGE_ENDS: &[u64] = &[0xff6, 0x1ff6, 0x3ff6, 0x7ff6, 0xfff6];

/// The first volume descriptors of a disc: UDF's may stand behind those of ISO 9660.
const DESCRIPTORS: &[u64] = &[32_769, 34_817, 36_865, 38_913, 40_961, 43_009, 45_057, 47_105];

const fn at(
    name: &'static str,
    places: &'static [u64],
    bytes: &'static [u8],
    source: &'static str,
) -> Signature {
    Signature { name, place: Place::At(places), bytes, source }
}

const fn back(
    name: &'static str,
    align: u64,
    back: &'static [u64],
    bytes: &'static [u8],
    source: &'static str,
) -> Signature {
    Signature { name, place: Place::Back { align, back }, bytes, source }
}

/// The 128 uberblocks of one ZFS label start 128 KiB into it; a label has 256 KiB. Two labels
/// stand at the start and two at the end.
const fn zfs_head(label: u64, bytes: &'static [u8]) -> Signature {
    let place = Place::Row { first: label * 256 * KIB + 128 * KIB, step: KIB, count: 128 };
    Signature { name: ZFS, place, bytes, source: ZFS_SOURCE }
}

const fn zfs_tail(labels_back: u64, bytes: &'static [u8]) -> Signature {
    let back = labels_back * 256 * KIB - 128 * KIB;
    let place = Place::BackRow { align: 256 * KIB, back, step: KIB, count: 128 };
    Signature { name: ZFS, place, bytes, source: ZFS_SOURCE }
}

const ZFS_SOURCE: &str = "ZFS On-Disk Specification: vdev labels, uberblock";
const ZFS_LITTLE: &[u8] = &[0x0c, 0xb1, 0xba, 0, 0, 0, 0, 0];
const ZFS_BIG: &[u8] = &[0, 0, 0, 0, 0, 0xba, 0xb1, 0x0c];

const MD_LITTLE: &[u8] = &[0xfc, 0x4e, 0x2b, 0xa9];
const MD_BIG: &[u8] = &[0xa9, 0x2b, 0x4e, 0xfc];
const MD_SOURCE: &str = "linux/raid/md_p.h: MD_SB_MAGIC";

const BCACHE: &[u8] = b"\xc6\x85\x73\xf6\x4e\x1a\x45\xca\x82\x65\xf5\x7f\x48\xba\x6d\x81";
const BCACHEFS: &[u8] = b"\xc6\x85\x73\xf6\x66\xce\x90\xa9\xd9\x6a\x60\xcf\x80\x3d\xf7\xef";

const DRBD_SOURCE: &str = "drbd-headers/drbd_meta_data.h: md_magic, be32";
const SWAP_SOURCE: &str = "linux/swap.h: union swap_header";
const SUSPEND_SOURCE: &str = "kernel/power/swap.c and uswsusp: sig[10]";
const LUKS2_SOURCE: &str = "LUKS2 On-Disk Format: binary header, copies";
const GPT_SOURCE: &str = "UEFI 2.10, 5.3.2: EFI_PART at LBA 1 and at the last LBA";

/// Everything that is known. Partition tables first, then filesystems, volumes, members.
pub const SIGNATURES: &[Signature] = &[
    at("Isotherm store", &[0], ISOTHERM_MAGIC, "docs/ON-DISK.md: check block"),
    // Partition tables.
    at(GPT, &[512, 4096], b"EFI PART", GPT_SOURCE),
    back(GPT, 512, &[512], b"EFI PART", GPT_SOURCE),
    back(GPT, 4096, &[4096], b"EFI PART", GPT_SOURCE),
    at("boot sector or MBR partition table", &[510], b"\x55\xaa", "UEFI 2.10, 5.2.1"),
    at("Apple partition map", &[512], b"PM\0\0", "Inside Macintosh: Devices, partition map"),
    at("BSD disklabel", &[512], b"\x57\x45\x56\x82", "sys/disklabel.h: DISKMAGIC"),
    at("Sun disk label", &[508], b"\xda\xbe", "linux/block/partitions/sun.c"),
    at("SGI volume header", &[0], b"\x0b\xe5\xa9\x41", "linux/block/partitions/sgi.c"),
    // Filesystems.
    at("ext2, ext3 or ext4 filesystem", &[1080], b"\x53\xef", "linux/magic.h, ext4/super.rst"),
    at("XFS filesystem", &[0], b"XFSB", "xfs_format.h: XFS_SB_MAGIC"),
    at(
        "Btrfs filesystem",
        &[64 * KIB + 64, 64 * MIB + 64, 256 * GIB + 64],
        b"_BHRfS_M",
        "btrfs.readthedocs.io, On-disk format: superblock and its copies",
    ),
    at(FAT, &[54], b"FAT12   ", "Microsoft FAT specification, 3.2"),
    at(FAT, &[54], b"FAT16   ", "Microsoft FAT specification, 3.2"),
    at(FAT, &[82], b"FAT32   ", "Microsoft FAT specification, 3.3"),
    at("exFAT filesystem", &[3], b"EXFAT   ", "Microsoft exFAT specification, 3.1.2"),
    at("NTFS filesystem", &[3], b"NTFS    ", "linux/fs/ntfs3/ntfs.h: NTFS_BOOT"),
    at("ReFS filesystem", &[3], b"ReFS\0\0\0\0", "libblkid, refs.c"),
    at("BitLocker encrypted volume", &[3], b"-FVE-FS-", "libblkid, bitlocker.c"),
    at("F2FS filesystem", &[1024, 5120], b"\x10\x20\xf5\xf2", "linux/f2fs_fs.h: F2FS_SUPER_MAGIC"),
    at("bcachefs filesystem", &[4096 + 24], BCACHEFS, "bcachefs_format.h: BCHFS_MAGIC"),
    at("bcache or old bcachefs", &[4096 + 24], BCACHE, "bcache_ondisk.h, offset of magic"),
    at("SquashFS image", &[0], b"hsqs", "linux/fs/squashfs/squashfs_fs.h"),
    at("SquashFS image", &[0], b"sqsh", "linux/fs/squashfs/squashfs_fs.h, big-endian"),
    at("EROFS image", &[1024], b"\xe2\xe1\xf5\xe0", "linux/fs/erofs/erofs_fs.h"),
    at("ISO 9660 image", &[32_769], b"CD001", "ECMA-119, 8.1.2"),
    at("UDF filesystem", DESCRIPTORS, b"BEA01", "ECMA-167, 2/8.3 and 2/9.2"),
    at("JFS filesystem", &[32_768], b"JFS1", "linux/fs/jfs/jfs_superblock.h: JFS_MAGIC"),
    at(REISER, &[8_192 + 52, 65_536 + 52], b"ReIsErFs", "linux/fs/reiserfs: REISERFS_SUPER_MAGIC"),
    at(REISER, &[65_536 + 52], b"ReIsEr2Fs", "linux/fs/reiserfs: REISER2FS_SUPER_MAGIC"),
    at(REISER, &[65_536 + 52], b"ReIsEr3Fs", "linux/fs/reiserfs: REISER2FS_JR_SUPER_MAGIC"),
    at(REISER, &[65_536], b"ReIsEr4", "libblkid, reiserfs.c"),
    at("NILFS2 filesystem", &[1024], b"\x02\0\0\0\0\0\x34\x34", "linux/nilfs2_ondisk.h"),
    at("GFS2 filesystem", &[65_536], b"\x01\x16\x19\x70", "linux/gfs2_ondisk.h: GFS2_MAGIC"),
    at("OCFS2 filesystem", &[1024, 2048, 4096, 8192], b"OCFSV2", "linux/fs/ocfs2/ocfs2_fs.h"),
    at("HFS+ filesystem", &[1024], b"H+\0\x04", "Apple TN1150: volume header"),
    at("HFS+ filesystem", &[1024], b"HX\0\x05", "Apple TN1150: volume header"),
    at("APFS container", &[32], b"NXSB", "Apple File System Reference: NX_MAGIC"),
    at("UFS filesystem", &[8_192 + 1372], b"\x54\x19\x01\0", "ufs/ffs/fs.h: FS_UFS1_MAGIC"),
    at("UFS filesystem", &[65_536 + 1372], b"\x19\x01\x54\x19", "ufs/ffs/fs.h: FS_UFS2_MAGIC"),
    at("VxFS filesystem", &[1024], b"\xf5\xfc\x01\xa5", "linux/fs/freevxfs/vxfs.h"),
    at("zonefs filesystem", &[0], b"SFOZ", "linux/magic.h: ZONEFS_MAGIC, le32"),
    at("VMFS volume", &[MIB], b"\x0d\xd0\x01\xc0", "libblkid, vmfs.c"),
    at("VMFS filesystem", &[2 * MIB], b"\x5e\xf1\xab\x2f", "libblkid, vmfs.c"),
    // Swap.
    at(SWAP, PAGE_ENDS, b"SWAPSPACE2", SWAP_SOURCE),
    at(SWAP, PAGE_ENDS, b"SWAP-SPACE", SWAP_SOURCE),
    at(HIBERNATION, PAGE_ENDS, b"S1SUSPEND\0", SUSPEND_SOURCE),
    at(HIBERNATION, PAGE_ENDS, b"S2SUSPEND\0", SUSPEND_SOURCE),
    at(HIBERNATION, PAGE_ENDS, b"ULSUSPEND\0", SUSPEND_SOURCE),
    at(HIBERNATION, PAGE_ENDS, b"LINHIB0001", SUSPEND_SOURCE),
    // Volumes and members of something larger.
    at("LVM2 physical volume", &[0, 512, 1024, 1536], b"LABELONE", "lvm2 lib/label/label.h"),
    at("LVM1 physical volume", &[0], b"HM\x01\0", "libblkid, lvm.c"),
    at("LVM1 physical volume", &[0], b"HM\x02\0", "libblkid, lvm.c"),
    back(MD, 64 * KIB, &[64 * KIB], MD_LITTLE, MD_SOURCE),
    back(MD, 64 * KIB, &[64 * KIB], MD_BIG, MD_SOURCE),
    back(MD, 4 * KIB, &[8 * KIB], MD_LITTLE, "drivers/md/md.c: super_1_load, version 1.0"),
    at(MD, &[0, 4096], MD_LITTLE, "drivers/md/md.c: super_1_load, versions 1.1 and 1.2"),
    back(
        "Intel RAID member",
        512,
        &[1024, 8192],
        b"Intel Raid ISM Cfg Sig. ",
        "libblkid, isw_raid.c",
    ),
    back(
        "DDF RAID member",
        512,
        &[512, 257 * 512],
        b"\xde\x11\xde\x11",
        "SNIA DDF: header signature, anchor and copy",
    ),
    back(
        "DDF RAID member",
        512,
        &[512, 257 * 512],
        b"\x11\xde\x11\xde",
        "SNIA DDF: header signature, anchor and copy",
    ),
    at("LUKS1 encrypted volume", &[0], b"LUKS\xba\xbe\0\x01", "LUKS1 On-Disk Format: phdr"),
    at(LUKS2, &[0], b"LUKS\xba\xbe\0\x02", LUKS2_SOURCE),
    at(
        LUKS2,
        &[0x4000, 0x8000, 0x1_0000, 0x2_0000, 0x4_0000, 0x8_0000, MIB, 2 * MIB, 4 * MIB],
        b"SKUL\xba\xbe",
        LUKS2_SOURCE,
    ),
    zfs_head(0, ZFS_LITTLE),
    zfs_head(0, ZFS_BIG),
    zfs_head(1, ZFS_LITTLE),
    zfs_head(1, ZFS_BIG),
    zfs_tail(2, ZFS_LITTLE),
    zfs_tail(2, ZFS_BIG),
    zfs_tail(1, ZFS_LITTLE),
    zfs_tail(1, ZFS_BIG),
    at("Ceph BlueStore", &[0], b"bluestore block device", "ceph src/os/bluestore: bdev label"),
    back(DRBD, 4 * KIB, &[4096 - 60], b"\x83\x74\x02\x6b", DRBD_SOURCE),
    back(DRBD, 4 * KIB, &[4096 - 60], b"\x83\x74\x02\x6c", DRBD_SOURCE),
    back(DRBD, 4 * KIB, &[4096 - 60], b"\x83\x74\x02\x6d", DRBD_SOURCE),
    at("VDO volume", &[0], b"dmvdo001", "linux/drivers/md/dm-vdo/encodings.c"),
    at(
        "Stratis pool member",
        &[516, 4612],
        b"!Stra0tis\x86\xff\x02^\x41rh",
        "Stratis Software Design",
    ),
    at("Oracle ASM disk", &[32], b"ORCLDISK", "libblkid, ocfs.c"),
    at("dm-integrity volume", &[0], b"integrt\0", "linux/drivers/md/dm-integrity.c: SB_MAGIC"),
    at("dm-verity hash tree", &[0], b"verity\0\0", "cryptsetup wiki, DMVerity"),
    at("dm-snapshot store", &[0], b"SnAp", "linux/drivers/md/dm-snap-persistent.c"),
];

impl Signature {
    /// The bytes that give it away.
    pub fn bytes(&self) -> &'static [u8] {
        self.bytes
    }

    /// Where they may stand on a disk of `size_bytes`: those offsets at which they fit.
    pub fn offsets(&self, size_bytes: u64) -> impl Iterator<Item = u64> {
        let len = self.bytes.len() as u64;
        let (start, listed, step, count) = match self.place {
            Place::At(offsets) => (0, offsets, 0, offsets.len() as u64),
            Place::Row { first, step, count } => (first, [].as_slice(), step, count),
            Place::Back { align, back } => {
                (size_bytes - size_bytes % align, back, 0, back.len() as u64)
            }
            Place::BackRow { align, back, step, count } => {
                // A row that would start before the disk has no place at all.
                match (size_bytes - size_bytes % align).checked_sub(back) {
                    Some(first) => (first, [].as_slice(), step, count),
                    None => (0, [].as_slice(), step, 0),
                }
            }
        };
        let backwards = matches!(self.place, Place::Back { .. });
        (0..count)
            .filter_map(move |i| match listed.get(i as usize) {
                Some(&back) if backwards => start.checked_sub(back),
                Some(&offset) => Some(offset),
                None => Some(start + i * step),
            })
            .filter(move |offset| offset.checked_add(len).is_some_and(|end| end <= size_bytes))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn offsets(place: Place, size_bytes: u64) -> Vec<u64> {
        let signature = Signature { name: "", place, bytes: b"12345678", source: "" };
        signature.offsets(size_bytes).collect()
    }

    #[test]
    fn places_are_where_they_should_be() {
        assert_eq!(offsets(Place::At(&[0, 4096]), 8192), [0, 4096]);
        assert_eq!(offsets(Place::Row { first: 10, step: 5, count: 3 }, 100), [10, 15, 20]);
        // 70,000 bytes are 65,536 in units of 64 KiB: the superblock starts at zero.
        assert_eq!(offsets(Place::Back { align: 65_536, back: &[65_536] }, 70_000), [0]);
        assert_eq!(offsets(Place::Back { align: 4096, back: &[8192] }, 65_536 + 100), [57_344]);
        let row = Place::BackRow { align: 100, back: 50, step: 10, count: 2 };
        assert_eq!(offsets(row, 250), [150, 160]);
    }

    #[test]
    fn what_does_not_fit_on_the_disk_has_no_place() {
        assert_eq!(offsets(Place::At(&[0, 4089, 4088]), 4096), [0, 4088]);
        assert_eq!(offsets(Place::Back { align: 4096, back: &[8192, 4096] }, 4096), [0]);
        let row = Place::BackRow { align: 100, back: 300, step: 10, count: 2 };
        assert_eq!(offsets(row, 250), [0u64; 0]);
        assert_eq!(offsets(Place::At(&[0]), 0), [0u64; 0]);
    }

    #[test]
    fn every_row_says_what_it_is_and_where_that_is_written() {
        for row in SIGNATURES {
            assert!(row.bytes.len() >= 2 && !row.name.is_empty() && !row.source.is_empty());
            assert!(row.bytes.iter().any(|&b| b != 0), "{}: a blank disk must not match", row.name);
        }
    }
}

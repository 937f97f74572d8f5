//! The safety check on real block devices. These need root and loop devices:
//! `cargo nextest run -p isotherm-host --run-ignored only`. Where something is missing they say
//! so and pass.

use std::path::{Path, PathBuf};
use std::process::Command;

use isotherm_host::safety::{Refusal, Target, inspect, may_write};
use isotherm_host::{DiskKind, read_disks};

/// A loop device over a sparse file, gone when dropped.
struct Loop {
    device: PathBuf,
    _dir: tempfile::TempDir,
}

impl Loop {
    fn new(bytes: u64, prepare: &[&str]) -> Option<Loop> {
        let dir = tempfile::tempdir().unwrap();
        let image = dir.path().join("image");
        std::fs::File::create(&image).unwrap().set_len(bytes).unwrap();
        if let Some((tool, args)) = prepare.split_first() {
            run(Command::new(tool).args(args).arg(&image))?;
        }
        let output =
            run(Command::new("losetup").args(["--find", "--show", "--partscan"]).arg(&image))?;
        Some(Loop { device: PathBuf::from(output.trim()), _dir: dir })
    }
}

impl Drop for Loop {
    fn drop(&mut self) {
        let _ = Command::new("losetup").arg("--detach").arg(&self.device).status();
    }
}

/// A mount, undone when dropped.
struct Mounted {
    point: tempfile::TempDir,
}

impl Mounted {
    fn new(device: &Path) -> Option<Mounted> {
        let point = tempfile::tempdir().unwrap();
        run(Command::new("mount").arg(device).arg(point.path()))?;
        Some(Mounted { point })
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg(self.point.path()).status();
    }
}

/// What a command printed; `None`, and the reason printed, where it can't be had.
fn run(command: &mut Command) -> Option<String> {
    let path = format!("{}:/usr/sbin:/sbin", std::env::var("PATH").unwrap_or_default());
    match command.env("PATH", path).output() {
        Ok(output) if output.status.success() => {
            Some(String::from_utf8_lossy(&output.stdout).into_owned())
        }
        Ok(output) => {
            let said = String::from_utf8_lossy(&output.stderr);
            println!("skipped: {command:?} failed here: {}", said.trim());
            None
        }
        Err(error) => {
            println!("skipped: {command:?}: {error}");
            None
        }
    }
}

fn named(path: &Path) -> Vec<String> {
    vec![path.display().to_string()]
}

#[test]
#[ignore = "needs root and a loop device"]
fn root_a_blank_device_may_be_written() {
    let Some(blank) = Loop::new(8 << 20, &[]) else { return };
    let permit = may_write(&blank.device, &[]).unwrap();
    assert!(permit.destroys().is_empty());
    assert!(permit.covers(&std::fs::File::open(&blank.device).unwrap()));
    assert!(!permit.covers(&std::fs::File::open("/dev/null").unwrap()));
    let findings = inspect(&blank.device).unwrap();
    assert_eq!(findings.bytes, 8 << 20);
    let Target::Disk(disk) = findings.target else { panic!("{:?}", findings.target) };
    assert_eq!((disk.kind, disk.bytes), (DiskKind::Loop, 8 << 20));
    let image = disk.backing_file.clone().unwrap();
    // The file below it is shown as a device: writing it would change the device.
    let refusal = may_write(&image, &named(&image)).unwrap_err();
    assert!(refusal.to_string().contains(&format!("held by {}", disk.name)), "{refusal}");
    assert!(read_disks().iter().any(|listed| listed.name == disk.name));
}

#[test]
#[ignore = "needs root, a loop device and mkfs.ext4"]
fn root_a_filesystem_is_refused_until_named_and_a_mounted_one_always() {
    let Some(disk) = Loop::new(32 << 20, &["mkfs.ext4", "-q", "-F"]) else { return };
    let refusal = may_write(&disk.device, &[]).unwrap_err();
    assert!(matches!(&refusal, Refusal::HoldsData { holds, .. } if holds[0].contains("ext4")));
    assert!(matches!(
        may_write(&disk.device, &named(Path::new("/dev/null"))),
        Err(Refusal::NotInJob { .. })
    ));
    let permit = may_write(&disk.device, &named(&disk.device)).unwrap();
    assert_eq!(permit.destroys(), ["ext2, ext3 or ext4 filesystem"]);

    let Some(mounted) = Mounted::new(&disk.device) else { return };
    let findings = inspect(&disk.device).unwrap();
    let point = std::fs::canonicalize(mounted.point.path()).unwrap();
    assert_eq!(findings.uses.mounts, [point]);
    assert!(findings.busy, "the kernel refuses exclusive use of a mounted device");
    let refusal = may_write(&disk.device, &named(&disk.device)).unwrap_err();
    assert!(matches!(refusal, Refusal::InUse { .. }), "{refusal}");
}

#[test]
#[ignore = "needs root and a loop device"]
fn root_a_device_that_somebody_holds_is_refused_though_no_list_shows_it() {
    use std::os::unix::fs::OpenOptionsExt;
    let Some(disk) = Loop::new(8 << 20, &[]) else { return };
    let holder = std::fs::OpenOptions::new()
        .read(true)
        .custom_flags(libc::O_EXCL)
        .open(&disk.device)
        .unwrap();
    let refusal = may_write(&disk.device, &named(&disk.device)).unwrap_err();
    assert!(matches!(&refusal, Refusal::InUse { by, .. } if by.contains("exclusively")));
    drop(holder);
    may_write(&disk.device, &[]).unwrap();
}

#[test]
#[ignore = "needs root, a loop device and a partitioning tool"]
fn root_a_partition_table_is_refused_and_its_partitions_are_seen() {
    let Some(disk) = Loop::new(32 << 20, &[]) else { return };
    // An MBR with one partition from sector 2048 on, 16 MiB long, type 83h (Linux).
    let mut sector = [0u8; 512];
    sector[446 + 4] = 0x83;
    sector[446 + 8..446 + 12].copy_from_slice(&2048u32.to_le_bytes());
    sector[446 + 12..446 + 16].copy_from_slice(&32_768u32.to_le_bytes());
    sector[510..].copy_from_slice(&[0x55, 0xaa]);
    use std::os::unix::fs::FileExt;
    let device = std::fs::OpenOptions::new().write(true).open(&disk.device).unwrap();
    device.write_all_at(&sector, 0).unwrap();
    device.sync_all().unwrap();
    drop(device);
    let refusal = may_write(&disk.device, &[]).unwrap_err();
    assert!(refusal.to_string().contains("MBR partition table"), "{refusal}");
    if run(Command::new("blockdev").arg("--rereadpt").arg(&disk.device)).is_none() {
        return;
    }
    let findings = inspect(&disk.device).unwrap();
    let Target::Disk(listed) = &findings.target else { panic!("{:?}", findings.target) };
    let [part] = listed.partitions.as_slice() else {
        println!("skipped: this kernel does not scan loop devices for partitions");
        return;
    };
    assert_eq!((part.start_bytes, part.bytes), (1 << 20, 16 << 20));
    assert!(findings.holdings().contains(&format!("partitions {}", part.name)));
    if !part.path.exists() {
        println!("skipped: no node for {}", part.name);
        return;
    }
    let within = inspect(&part.path).unwrap();
    assert!(matches!(&within.target, Target::Partition(_, found) if found.name == part.name));
    assert_eq!(within.bytes, 16 << 20);
    may_write(&part.path, &[]).unwrap();
}

#[test]
#[ignore = "needs root, a loop device and mkswap"]
fn root_a_device_that_is_swapped_to_is_refused_though_named() {
    let Some(disk) = Loop::new(8 << 20, &["mkswap"]) else { return };
    if run(Command::new("swapon").arg(&disk.device)).is_none() {
        return;
    }
    let outcome = may_write(&disk.device, &named(&disk.device));
    let _ = Command::new("swapoff").arg(&disk.device).status();
    let refusal = outcome.unwrap_err();
    assert!(refusal.to_string().contains("swapped to"), "{refusal}");
    may_write(&disk.device, &named(&disk.device)).unwrap();
}

//! The safety check: what stands on a disk, who uses it, and whether it may be written.
//!
//! What must always hold: a block device that holds anything known, or that could not be looked
//! at, is never written unless the user named it with `--destroy`; one that is mounted, held or
//! swapped to is never written at all. A name that fits none of the devices of the job, or more
//! than one, is an error, so that a typing mistake destroys nothing. Nothing here writes.
//!
//! Regular files are the user's to name: a file given to a job may be overwritten, as every such
//! tool does, unless it is swapped to or shown as a loop device.
//!
//! What may go wrong: between the check and the opening somebody may change the device.
//! [`WritePermit::covers`] compares what was opened with what was checked; drivers open block
//! devices exclusively, so the kernel keeps everybody else out from then on.

mod content;
mod permit;
mod signature;

use std::fs::{File, OpenOptions};
use std::io::{Seek, SeekFrom};
use std::os::unix::fs::{FileTypeExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use isotherm_seam::{OpenCause, OpenError};

use crate::disk::{DeviceNumber, Disk, Partition, Uses, read_disks_under};
use crate::mounts::read_swaps;
use crate::root::HostRoot;

pub use content::{Content, Found, Unread};
pub use permit::{Refusal, WritePermit, may_write, may_write_all};
pub use signature::{ISOTHERM_MAGIC, SIGNATURES, Signature};

/// What is known about a disk or file before it is written.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Findings {
    /// As the user wrote it.
    pub path: PathBuf,
    /// What it is.
    pub target: Target,
    /// Size in bytes.
    pub bytes: u64,
    /// What it holds; `None` where this user may not read it.
    pub content: Option<Content>,
    /// The kernel's names of its partitions.
    pub partitions: Vec<String>,
    /// Who uses it or a part of it.
    pub uses: Uses,
    /// The kernel refuses exclusive use: somebody holds it, even if `uses` does not say who.
    pub busy: bool,
    /// The device can't be written.
    pub read_only: bool,
}

/// What a path leads to.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Target {
    /// A regular file.
    File,
    /// A whole disk.
    Disk(Box<Disk>),
    /// A partition, and the disk that it lies on.
    Partition(Box<Disk>, Partition),
    /// A block device that sysfs does not tell about.
    Unlisted(DeviceNumber),
}

/// Looks at disks and files of one machine. Its list of disks is read once: make a new one
/// after something has changed.
pub struct Inspector {
    root: HostRoot,
    disks: Vec<Disk>,
}

/// Looks at one disk or file. [`Inspector`] is for many.
pub fn inspect(path: &Path) -> Result<Findings, OpenError> {
    Inspector::new().inspect(path)
}

impl Inspector {
    /// For this machine.
    pub fn new() -> Inspector {
        Inspector::under(HostRoot::real())
    }

    /// For the machine whose file trees lie below `root`.
    pub fn under(root: HostRoot) -> Inspector {
        let disks = read_disks_under(&root);
        Inspector { root, disks }
    }

    fn root(&self) -> &HostRoot {
        &self.root
    }

    /// The disks of the machine.
    pub fn disks(&self) -> &[Disk] {
        &self.disks
    }

    /// What stands on a disk or in a file, and who uses it. A device that this user may not read
    /// is no error: its content is `None`.
    pub fn inspect(&self, path: &Path) -> Result<Findings, OpenError> {
        let failed = |error: std::io::Error| {
            let errno = error.raw_os_error().unwrap_or(libc::EIO);
            OpenError::new(path.display().to_string(), OpenCause::from_errno(errno))
        };
        // Looked at before it is opened: opening a pipe would wait for its other end.
        let meta = std::fs::metadata(path).map_err(failed)?;
        let mut findings = if meta.file_type().is_block_device() {
            let (major, minor) = (libc::major(meta.rdev()), libc::minor(meta.rdev()));
            self.of_device(path, DeviceNumber { major, minor })
        } else if meta.is_file() {
            self.of_file(path, meta.len())
        } else {
            return Err(OpenError::new(path.display().to_string(), OpenCause::NotStorage));
        };
        match File::open(path) {
            Ok(mut file) => {
                // Block devices tell no size in their metadata.
                findings.bytes = file.seek(SeekFrom::End(0)).map_err(failed)?;
                findings.content = Some(content::read_content(&file, findings.bytes));
            }
            Err(error) if error.kind() == std::io::ErrorKind::PermissionDenied => {}
            Err(error) => return Err(failed(error)),
        }
        Ok(findings)
    }

    fn of_file(&self, path: &Path, bytes: u64) -> Findings {
        let real = std::fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
        let shows = |disk: &&Disk| disk.backing_file.as_ref() == Some(&real);
        let holders = self.disks.iter().filter(shows).map(|disk| disk.name.clone()).collect();
        let swap = read_swaps(&self.root).contains(&real);
        Findings {
            path: path.to_owned(),
            target: Target::File,
            bytes,
            content: None,
            partitions: Vec::new(),
            uses: Uses { mounts: Vec::new(), holders, swap },
            busy: false,
            read_only: false,
        }
    }

    fn of_device(&self, path: &Path, number: DeviceNumber) -> Findings {
        let mut findings = match Disk::find(&self.disks, number) {
            Some((disk, part)) => of_disk(disk, part),
            None => Findings {
                path: PathBuf::new(),
                target: Target::Unlisted(number),
                bytes: 0,
                content: None,
                partitions: Vec::new(),
                uses: Uses::default(),
                busy: false,
                read_only: false,
            },
        };
        path.clone_into(&mut findings.path);
        findings.busy = is_busy(path);
        findings
    }
}

impl Default for Inspector {
    fn default() -> Inspector {
        Inspector::new()
    }
}

/// What is known of a disk, or of a partition of it, without opening it.
fn of_disk(disk: &Disk, part: Option<&Partition>) -> Findings {
    let mut uses = disk.uses.clone();
    let (target, bytes, partitions) = match part {
        Some(part) => {
            uses.add(&part.uses);
            (Target::Partition(Box::new(disk.clone()), part.clone()), part.bytes, Vec::new())
        }
        None => {
            disk.partitions.iter().for_each(|part| uses.add(&part.uses));
            let names = disk.partitions.iter().map(|part| part.name.clone()).collect();
            (Target::Disk(Box::new(disk.clone())), disk.bytes, names)
        }
    };
    let path = part.map_or(&disk.path, |part| &part.path).clone();
    let read_only = disk.read_only;
    Findings { path, target, bytes, content: None, partitions, uses, busy: false, read_only }
}

/// Whether the kernel refuses exclusive use: it knows of mounts in other namespaces, of members
/// of ZFS and Btrfs, and of programs that hold the device, which no list shows. For a moment
/// this claims the device; it is opened for reading, so udev takes no notice.
fn is_busy(path: &Path) -> bool {
    let exclusive = OpenOptions::new().read(true).custom_flags(libc::O_EXCL).open(path);
    exclusive.is_err_and(|error| error.raw_os_error() == Some(libc::EBUSY))
}

impl Findings {
    /// A block device, not a file.
    pub fn is_device(&self) -> bool {
        !matches!(self.target, Target::File)
    }

    /// Somebody uses it.
    pub fn is_in_use(&self) -> bool {
        self.busy || !self.uses.is_empty()
    }

    /// Who uses it, in words; empty where nobody does.
    pub fn users(&self) -> String {
        match (self.uses.is_empty(), self.busy) {
            (true, true) => {
                "held exclusively by another program, a volume manager or a mount that can't be \
                 seen from here"
                    .to_owned()
            }
            _ => self.uses.to_string(),
        }
    }

    /// What it holds, each in words: owners, partitions, places that can't be read.
    pub fn holdings(&self) -> Vec<String> {
        let mut held = Vec::new();
        if let Some(content) = &self.content {
            held.extend(content.found.iter().map(|found| found.name.to_owned()));
        }
        if !self.partitions.is_empty() {
            held.push(format!("partitions {}", self.partitions.join(", ")));
        }
        if let Some(content) = &self.content {
            held.extend(content.unread.iter().map(|unread| {
                let cause = std::io::Error::from_raw_os_error(unread.errno);
                format!("something that can't be read at byte {}: {cause}", unread.offset_bytes)
            }));
        }
        held
    }

    /// The disk that it is or lies on.
    pub fn disk(&self) -> Option<&Disk> {
        match &self.target {
            Target::Disk(disk) | Target::Partition(disk, _) => Some(disk),
            Target::File | Target::Unlisted(_) => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::disk::fake::FakeMachine;

    #[test]
    fn a_file_is_looked_into_and_its_users_are_found() {
        let machine = FakeMachine::new();
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("disk.img");
        std::fs::write(&path, [b"XFSB".as_slice(), &[0; 4092]].concat()).unwrap();
        let look = || Inspector::under(machine.root.clone()).inspect(&path).unwrap();
        let findings = look();
        assert_eq!(
            (findings.bytes, findings.is_device(), findings.is_in_use()),
            (4096, false, false)
        );
        assert_eq!(findings.holdings(), ["XFS filesystem"]);
        let real = std::fs::canonicalize(&path).unwrap().display().to_string();
        machine.write("sys/devices/virtual/block/loop0/loop/backing_file", format!("{real}\n"));
        assert_eq!(look().users(), "held by loop0");
        machine.write("proc/swaps", format!("Filename\n{real} file 4 0 -2\n"));
        assert_eq!(look().users(), "held by loop0, swapped to");
    }

    #[test]
    fn the_whole_has_the_users_of_its_parts() {
        let inspector = Inspector::under(FakeMachine::new().root.clone());
        let disk = inspector.disks().iter().find(|disk| disk.name == "sda").unwrap();
        let whole = of_disk(disk, None);
        assert_eq!(whole.users(), "mounted on /, swapped to");
        assert_eq!(whole.holdings(), ["partitions sda1, sda2"]);
        let part = of_disk(disk, Some(&disk.partitions[1]));
        assert_eq!((part.users(), part.bytes), ("swapped to".to_owned(), 4096 * 512));
        assert_eq!(part.holdings(), [""; 0]);
        assert_eq!(part.disk().unwrap().name, "sda");
        // A partition of a disk that is used as a whole is used too.
        let mut held = disk.clone();
        held.uses.holders.push("md0".to_owned());
        assert!(of_disk(&held, Some(&disk.partitions[1])).users().contains("md0"));
    }

    #[test]
    fn what_is_no_storage_is_refused_without_opening_it() {
        let dir = tempfile::tempdir().unwrap();
        let pipe = dir.path().join("pipe");
        nix::unistd::mkfifo(&pipe, nix::sys::stat::Mode::S_IRWXU).unwrap();
        for path in [pipe.as_path(), dir.path(), Path::new("/dev/null")] {
            let error = inspect(path).unwrap_err();
            assert_eq!(error.cause, OpenCause::NotStorage, "{}", path.display());
        }
        let error = inspect(&dir.path().join("none")).unwrap_err();
        assert_eq!(error.cause, OpenCause::NotFound);
    }
}

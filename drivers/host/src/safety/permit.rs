//! Permission to write: given or refused for all devices of a job at once.
//!
//! What must always hold: there is no [`WritePermit`] without a check behind it. A job gets all
//! its permits or none, so nothing is written before the last device was looked at.

use std::fs::File;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use isotherm_seam::{OpenCause, OpenError};

use super::{Findings, Inspector, Target};
use crate::disk::Disk;
use crate::root::HostRoot;

/// Proof that a device or file was checked and may be written.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct WritePermit {
    path: PathBuf,
    destroys: Vec<String>,
    /// `None` for a file that is yet to be made.
    identity: Option<Identity>,
}

/// What the kernel tells one file or device from another by.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Identity {
    device: u64,
    inode: u64,
    /// Zero for a regular file.
    number: u64,
}

/// Why nothing may be written. In each case nothing was.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum Refusal {
    /// It could not be looked at.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// Somebody uses it. Naming it does not help.
    #[error("{}: in use ({by}): nothing was written, and --destroy does not change that; \
             unmount or detach it first", path.display())]
    InUse {
        /// The device or file.
        path: PathBuf,
        /// Who, in words.
        by: String,
    },
    /// It holds something and was not named.
    #[error("{}: holds {}: nothing was written; to overwrite it, add --destroy {call}",
            path.display(), holds.join("; "))]
    HoldsData {
        /// The device.
        path: PathBuf,
        /// What, each in words.
        holds: Vec<String>,
        /// How to name it.
        call: String,
    },
    /// This user may not read it, so nobody knows what it holds. Naming it does not help.
    #[error("{}: what it holds can't be read: nothing was written; run as a user who may read \
             it", path.display())]
    Unreadable {
        /// The device.
        path: PathBuf,
    },
    /// The device is write-protected.
    #[error("{}: write-protected", path.display())]
    ReadOnly {
        /// The device.
        path: PathBuf,
    },
    /// `--destroy` names something that the job does not write.
    #[error("--destroy {name} names none of the devices of this job ({}): nothing was written",
            paths.iter().map(|path| path.display().to_string()).collect::<Vec<_>>().join(", "))]
    NotInJob {
        /// What was named.
        name: String,
        /// What the job would write.
        paths: Vec<PathBuf>,
    },
    /// `--destroy` names more than one disk of this machine.
    #[error("--destroy {name} fits more than one disk ({}): nothing was written; name it by its \
             path", disks.join(", "))]
    Ambiguous {
        /// What was named.
        name: String,
        /// The kernel's names of the disks that it fits.
        disks: Vec<String>,
    },
}

impl From<Refusal> for OpenError {
    fn from(refusal: Refusal) -> OpenError {
        let why = refusal.to_string();
        let error = |path: &Path, cause| OpenError::new(path.display().to_string(), cause);
        match refusal {
            Refusal::Open(open) => open,
            Refusal::InUse { path, by } => error(&path, OpenCause::Busy { by }),
            Refusal::HoldsData { path, holds, .. } => {
                error(&path, OpenCause::HoldsData { what: holds.join("; ") })
            }
            Refusal::Unreadable { path } => error(&path, OpenCause::Permission),
            Refusal::ReadOnly { path } => error(&path, OpenCause::Os { errno: libc::EROFS }),
            Refusal::NotInJob { name, .. } | Refusal::Ambiguous { name, .. } => {
                OpenError::new(format!("--destroy {name}"), OpenCause::BadSpec { why })
            }
        }
    }
}

/// Whether a job may write `path`, with what the user named for destruction.
pub fn may_write(path: &Path, destroy: &[String]) -> Result<WritePermit, Refusal> {
    let mut permits = may_write_all(&[path.to_owned()], destroy)?;
    Ok(permits.pop().expect("one permit for one path"))
}

/// Whether a job may write all of `paths`. Each of `destroy` is a serial number, a world-wide
/// name, a name in /dev/disk/by-id or a path, and must name one of them.
pub fn may_write_all(paths: &[PathBuf], destroy: &[String]) -> Result<Vec<WritePermit>, Refusal> {
    Inspector::new().may_write_all(paths, destroy)
}

impl Inspector {
    /// As [`may_write_all`], on this inspector's machine.
    pub fn may_write_all(
        &self,
        paths: &[PathBuf],
        destroy: &[String],
    ) -> Result<Vec<WritePermit>, Refusal> {
        let mut checked = Vec::new();
        for path in paths {
            checked.push(self.look_at(path)?);
        }
        let findings: Vec<&Findings> = checked.iter().flatten().map(|(found, _)| found).collect();
        for name in destroy {
            check_name(name, paths, &findings, self.disks())?;
        }
        let permit = |(path, checked): (&PathBuf, Option<(Findings, Identity)>)| {
            let Some((findings, identity)) = checked else {
                return Ok(WritePermit { path: path.clone(), destroys: vec![], identity: None });
            };
            let named = destroy.iter().any(|name| names(name, path, &findings));
            judge(&findings, named)?;
            let destroys = findings.holdings();
            Ok(WritePermit { path: path.clone(), destroys, identity: Some(identity) })
        };
        paths.iter().zip(checked).map(permit).collect()
    }

    /// `None` for a file that is yet to be made.
    fn look_at(&self, path: &Path) -> Result<Option<(Findings, Identity)>, Refusal> {
        let identity = match std::fs::metadata(path) {
            Ok(meta) => Identity { device: meta.dev(), inode: meta.ino(), number: meta.rdev() },
            // A file is made where it does not exist, but not behind a link that leads nowhere,
            // nor among the devices: that is a mistyped name, and would fill the memory.
            Err(error)
                if error.kind() == std::io::ErrorKind::NotFound
                    && std::fs::symlink_metadata(path).is_err()
                    && !is_among_devices(path, self.root()) =>
            {
                return Ok(None);
            }
            Err(error) => {
                let cause = OpenCause::from_errno(error.raw_os_error().unwrap_or(libc::EIO));
                return Err(OpenError::new(path.display().to_string(), cause).into());
            }
        };
        Ok(Some((self.inspect(path)?, identity)))
    }
}

fn is_among_devices(path: &Path, root: &HostRoot) -> bool {
    let dir = path.parent().and_then(|dir| std::fs::canonicalize(dir).ok());
    dir.is_some_and(|dir| dir.starts_with(&root.dev) && !dir.starts_with(root.dev.join("shm")))
}

/// A name must fit a device of the job, and one disk of the machine.
fn check_name(
    name: &str,
    paths: &[PathBuf],
    findings: &[&Findings],
    disks: &[Disk],
) -> Result<(), Refusal> {
    let fits: Vec<String> =
        disks.iter().filter(|disk| disk.is_called(name)).map(|disk| disk.name.clone()).collect();
    if fits.len() > 1 {
        return Err(Refusal::Ambiguous { name: name.to_owned(), disks: fits });
    }
    let is_new_file = paths.iter().any(|path| Path::new(name) == path);
    if is_new_file || findings.iter().any(|findings| names(name, &findings.path, findings)) {
        return Ok(());
    }
    Err(Refusal::NotInJob { name: name.to_owned(), paths: paths.to_vec() })
}

/// Whether `name` names this device or file: by its path, a link to it, or as the disk that it
/// is or lies on is called.
fn names(name: &str, path: &Path, findings: &Findings) -> bool {
    if findings.disk().is_some_and(|disk| disk.is_called(name)) {
        return true;
    }
    if Path::new(name) == path {
        return true;
    }
    let real = |path: &Path| std::fs::canonicalize(path).ok();
    name.contains('/') && real(Path::new(name)).is_some_and(|named| Some(named) == real(path))
}

/// The rule.
fn judge(findings: &Findings, named: bool) -> Result<(), Refusal> {
    let path = findings.path.clone();
    if findings.is_in_use() {
        return Err(Refusal::InUse { path, by: findings.users() });
    }
    if !findings.is_device() {
        return Ok(());
    }
    if findings.read_only {
        return Err(Refusal::ReadOnly { path });
    }
    if findings.content.is_none() {
        return Err(Refusal::Unreadable { path });
    }
    let holds = findings.holdings();
    if holds.is_empty() || named {
        return Ok(());
    }
    Err(Refusal::HoldsData { path, holds, call: call(findings) })
}

/// How a person should name it: by the serial number, which can't be mistyped into another
/// disk's, or else by its path. A partition by its path, since the serial is the disk's.
fn call(findings: &Findings) -> String {
    match &findings.target {
        Target::Disk(disk) if !disk.is_made_up() => disk.serial.clone(),
        _ => None,
    }
    .filter(|serial| !serial.contains(char::is_whitespace))
    .unwrap_or_else(|| findings.path.display().to_string())
}

impl WritePermit {
    /// What may be written.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// What is lost by writing, each in words; empty where nothing known is.
    pub fn destroys(&self) -> &[String] {
        &self.destroys
    }

    /// Whether an opened file or device is the one that was checked. One that did not exist then
    /// must be a regular file now.
    pub fn covers(&self, file: &File) -> bool {
        let Ok(meta) = file.metadata() else { return false };
        match self.identity {
            None => meta.is_file(),
            Some(identity) => {
                identity == Identity { device: meta.dev(), inode: meta.ino(), number: meta.rdev() }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::disk::fake::FakeMachine;
    use crate::safety::{Content, Found, Unread, of_disk};

    /// What an inspector would find on a disk of the machine that holds nothing.
    fn blank(machine: &FakeMachine, name: &str) -> Findings {
        let inspector = Inspector::under(machine.root.clone());
        let disk = inspector.disks().iter().find(|disk| disk.name == name).unwrap();
        let content = Content { blank: true, ..Content::default() };
        Findings { content: Some(content), ..of_disk(disk, None) }
    }

    fn holding(mut findings: Findings, name: &'static str) -> Findings {
        let content = findings.content.as_mut().unwrap();
        content.found.push(Found { name, offset_bytes: 0 });
        findings
    }

    #[test]
    fn a_blank_free_disk_may_be_written_unnamed() {
        assert_eq!(judge(&blank(&FakeMachine::new(), "sdc"), false), Ok(()));
    }

    #[test]
    fn a_disk_that_holds_something_must_be_named() {
        let findings = holding(blank(&FakeMachine::new(), "sdc"), "XFS filesystem");
        let refusal = judge(&findings, false).unwrap_err();
        let said = refusal.to_string();
        assert!(said.contains("holds XFS filesystem") && said.contains("--destroy ZXA0serial3"));
        let OpenCause::HoldsData { what } = OpenError::from(refusal).cause else {
            panic!("{said}")
        };
        assert_eq!(what, "XFS filesystem");
        assert_eq!(judge(&findings, true), Ok(()));
    }

    #[test]
    fn partitions_and_unreadable_places_count_as_something() {
        let machine = FakeMachine::new();
        let mut parts = blank(&machine, "sdc");
        parts.partitions.push("sdc1".to_owned());
        let mut bad = blank(&machine, "sdc");
        let unread = Unread { offset_bytes: 65_536, bytes: 65_536, errno: libc::EIO };
        bad.content.as_mut().unwrap().unread.push(unread);
        for (findings, word) in [(parts, "partitions sdc1"), (bad, "at byte 65536")] {
            let said = judge(&findings, false).unwrap_err().to_string();
            assert!(said.contains(word), "{said}");
            assert_eq!(judge(&findings, true), Ok(()));
        }
    }

    #[test]
    fn naming_never_frees_a_disk_in_use() {
        let machine = FakeMachine::new();
        // Mounted and swapped to through partitions; held by md; mounted as a whole.
        for (name, word) in [("sda", "mounted on /"), ("sdb", "held by md0"), ("vda", "/srv data")]
        {
            let said = judge(&blank(&machine, name), true).unwrap_err().to_string();
            assert!(said.contains(word) && said.contains("nothing was written"), "{said}");
        }
        let mut busy = blank(&machine, "sdc");
        busy.busy = true;
        assert!(matches!(judge(&busy, true), Err(Refusal::InUse { by, .. }) if !by.is_empty()));
    }

    #[test]
    fn naming_does_not_help_where_nothing_could_be_read_or_written() {
        let machine = FakeMachine::new();
        let unknown = Findings { content: None, ..blank(&machine, "sdc") };
        assert!(matches!(judge(&unknown, true), Err(Refusal::Unreadable { .. })));
        let read_only = Findings { read_only: true, ..blank(&machine, "sdc") };
        assert!(matches!(judge(&read_only, true), Err(Refusal::ReadOnly { .. })));
    }

    #[test]
    fn a_disk_goes_by_its_serial_its_ids_and_its_paths() {
        let machine = FakeMachine::new();
        let findings = blank(&machine, "sda");
        let by_id = machine.root.dev.join("disk/by-id/ata-ST24000NM000C_ZXA0sda");
        let path = findings.path.display().to_string();
        let by_id_path = by_id.display().to_string();
        for name in
            ["ZXA0sda", "naa.5000c500a0000001", "wwn-0x5000c500a0000001", &path, &by_id_path]
        {
            assert!(names(name, &findings.path, &findings), "{name}");
        }
        let other = machine.root.dev.join("sdc").display().to_string();
        for name in ["ZXA0sd", "ZXA0serial3", "sda", "", &other] {
            assert!(!names(name, &findings.path, &findings), "{name}");
        }
    }

    #[test]
    fn a_name_outside_the_job_or_of_two_disks_is_an_error() {
        let machine = FakeMachine::new();
        let inspector = Inspector::under(machine.root.clone());
        let findings = blank(&machine, "sda");
        let paths = [findings.path.clone()];
        let check = |name, disks| check_name(name, &paths, &[&findings], disks);
        assert_eq!(check("ZXA0sda", inspector.disks()), Ok(()));
        let refusal = check("ZXA0serial3", inspector.disks()).unwrap_err();
        assert!(matches!(&refusal, Refusal::NotInJob { name, .. } if name == "ZXA0serial3"));
        let mut twins = inspector.disks().to_vec();
        let mut twin = findings.disk().unwrap().clone();
        twin.name = "sdz".to_owned();
        twins.push(twin);
        let refusal = check("ZXA0sda", &twins).unwrap_err();
        assert!(refusal.to_string().contains("sda, sdz"), "{refusal}");
        assert_eq!(check(paths[0].to_str().unwrap(), &twins), Ok(()), "a path is one device");
    }

    #[test]
    fn a_file_may_be_overwritten_and_a_new_one_made() {
        let dir = tempfile::tempdir().unwrap();
        let old = dir.path().join("old");
        std::fs::write(&old, b"XFSB and more").unwrap();
        let permit = may_write(&old, &[]).unwrap();
        assert_eq!(permit.destroys(), ["XFS filesystem"]);
        assert!(permit.covers(&File::open(&old).unwrap()));
        let new = dir.path().join("new");
        let permit = may_write(&new, &[new.display().to_string()]).unwrap();
        assert!(!permit.covers(&File::open(dir.path()).unwrap()), "a folder is no new file");
        assert!(permit.covers(&File::create(&new).unwrap()));
    }

    #[test]
    fn a_permit_covers_what_was_checked_and_nothing_else() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("file");
        std::fs::write(&path, b"one").unwrap();
        let permit = may_write(&path, &[]).unwrap();
        std::fs::rename(&path, dir.path().join("moved")).unwrap();
        std::fs::write(&path, b"two").unwrap();
        assert!(!permit.covers(&File::open(&path).unwrap()));
        assert!(permit.covers(&File::open(dir.path().join("moved")).unwrap()));
    }

    #[test]
    fn a_mistyped_device_is_not_made_as_a_file() {
        let machine = FakeMachine::new();
        let inspector = Inspector::under(machine.root.clone());
        let refusal = inspector.may_write_all(&[machine.root.dev.join("sdq")], &[]).unwrap_err();
        assert_eq!(OpenError::from(refusal).cause, OpenCause::NotFound);
        let dir = tempfile::tempdir().unwrap();
        let link = dir.path().join("my disk");
        std::os::unix::fs::symlink("/dev/no such disk", &link).unwrap();
        let refusal = may_write(&link, &[]).unwrap_err();
        assert_eq!(OpenError::from(refusal).cause, OpenCause::NotFound);
    }

    #[test]
    fn one_refusal_refuses_the_whole_job() {
        let dir = tempfile::tempdir().unwrap();
        let (good, bad) = (dir.path().join("good"), dir.path().to_owned());
        assert!(may_write_all(&[good.clone(), bad], &[]).is_err());
        assert_eq!(may_write_all(std::slice::from_ref(&good), &[]).unwrap().len(), 1);
        assert!(!good.exists(), "the check makes nothing");
        let refusal = may_write_all(&[good], &["ZXA0".to_owned()]).unwrap_err();
        assert!(matches!(refusal, Refusal::NotInJob { .. }), "{refusal}");
    }
}

//! Files that are made before anything is opened.
//!
//! What must always hold: no file that is there is written over or cut; where making one fails,
//! none is left. What will be read is filled: reading a hole is not reading a disk.

use std::fs;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use isotherm_block::{Spec, spec};
use isotherm_seam::{BlockSize, Lba};
use isotherm_workload::{Allocate, Content, Job};
use nix::fcntl::{FallocateFlags, fallocate};

use crate::setup::SetupCause;

/// What a file that is laid out to be read is filled with; any seed does.
const LAY_OUT_SEED: u64 = 0x6c61_796f_7574;
const LAY_OUT_CHUNK: usize = 1 << 20;

/// A file to be made.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct LayOut {
    pub(crate) path: PathBuf,
    pub(crate) bytes: u64,
    pub(crate) how: How,
}

/// How it is made, the weakest first.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) enum How {
    /// With holes only, as the spec of a device says it.
    Sparse,
    /// With room taken for it: of this length, or of none yet.
    Allocated { whole: bool },
    /// Written.
    Filled,
}

/// The file that a job wants and that is not there, of so many bytes if the job says how many.
/// The size may stand in the spec, which makes a sparse file; drivers make those that are
/// written.
pub(crate) fn missing(spec: &Spec, job: &Job, bytes: Option<u64>) -> Option<LayOut> {
    let path = spec.path()?;
    if path.exists() || path.starts_with("/dev") {
        return None;
    }
    let options = spec.text().rsplit_once('?').map_or("", |(_, options)| options);
    let sized = options.split(':').find_map(|option| option.strip_prefix("size="));
    if let Some(bytes) = sized.and_then(spec::parse_bytes) {
        let sparse = || LayOut { path: path.to_owned(), bytes, how: How::Sparse };
        return (!job.pattern.writes).then(sparse);
    }
    let how = if job.pattern.reads || (job.files.overwrite && !job.files.append) {
        How::Filled
    } else {
        match job.files.allocate {
            // The driver makes it of its length.
            Allocate::Nothing | Allocate::Length => return None,
            Allocate::Whole => How::Allocated { whole: true },
            Allocate::Keep => How::Allocated { whole: false },
        }
    };
    bytes.map(|bytes| LayOut { path: path.to_owned(), bytes, how })
}

impl LayOut {
    /// Makes one of two that are wanted of the same file.
    pub(crate) fn join(&mut self, other: &LayOut) {
        self.bytes = self.bytes.max(other.bytes);
        self.how = self.how.max(other.how);
    }

    /// Makes the file; none is left where that fails.
    pub(crate) fn make(&self) -> Result<(), SetupCause> {
        let outcome = match self.how {
            How::Sparse => new_file(&self.path).and_then(|file| file.set_len(self.bytes)),
            How::Allocated { whole } => self.allocate(whole),
            How::Filled => write_new(&self.path, self.bytes),
        };
        outcome.map_err(|error| {
            if error.kind() != io::ErrorKind::AlreadyExists {
                let _ = fs::remove_file(&self.path);
            }
            SetupCause::LayOut { path: self.path.clone(), kind: error.kind() }
        })
    }

    fn allocate(&self, whole: bool) -> io::Result<()> {
        let file = new_file(&self.path)?;
        let flags = match whole {
            true => FallocateFlags::empty(),
            false => FallocateFlags::FALLOC_FL_KEEP_SIZE,
        };
        let bytes = i64::try_from(self.bytes).map_err(io::Error::other)?;
        match fallocate(&file, flags, 0, bytes) {
            // As in fio, a file system that can't do it grows the file as it is written.
            Err(nix::Error::EOPNOTSUPP | nix::Error::ENOSYS) => file.set_len(self.bytes),
            outcome => Ok(outcome?),
        }
    }

    /// What is to be said about it.
    pub(crate) fn message(&self) -> Option<String> {
        let path = self.path.display();
        match self.how {
            How::Sparse => Some(format!(
                "{path} was made, sparse: reading what was never written reads no disk"
            )),
            How::Allocated { .. } => None,
            How::Filled => Some(format!("{path} was laid out, {} bytes", self.bytes)),
        }
    }
}

fn new_file(path: &Path) -> io::Result<fs::File> {
    fs::OpenOptions::new().write(true).create_new(true).open(path)
}

fn write_new(path: &Path, bytes: u64) -> io::Result<()> {
    let mut file = new_file(path)?;
    let content = Content::new(LAY_OUT_SEED, 0);
    let mut chunk = vec![0; LAY_OUT_CHUNK];
    let mut at = 0;
    while at < bytes {
        content.fill(BlockSize::B512, Lba(at / 512), &mut chunk);
        let len = chunk.len().min((bytes - at) as usize);
        file.write_all(&chunk[..len])?;
        at += len as u64;
    }
    file.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missing_file_is_laid_out_as_it_will_be_used() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("x");
        let spec = Spec::parse(path.to_str().unwrap()).unwrap();
        let mut job = Job::new("j");
        assert_eq!(missing(&spec, &job, None), None, "no size is known");
        let lay_out = missing(&spec, &job, Some(1_500_000)).unwrap();
        assert_eq!(lay_out.how, How::Filled);
        lay_out.make().unwrap();
        let bytes = fs::read(&path).unwrap();
        let content = Content::new(LAY_OUT_SEED, 0);
        let whole = bytes.len() / 512 * 512;
        assert_eq!(content.check(BlockSize::B512, Lba(0), &bytes[..whole]), Ok(()));
        assert_eq!(missing(&spec, &job, Some(1_500_000)), None);
        assert!(lay_out.make().is_err() && path.exists(), "never over a file that is there");
        fs::remove_file(&path).unwrap();
        let sized = Spec::parse(&format!("file:{}?size=1M:direct=no", path.display())).unwrap();
        let sparse = missing(&sized, &job, Some(1_500_000)).unwrap();
        assert_eq!((sparse.bytes, sparse.how), (1 << 20, How::Sparse));
        sparse.make().unwrap();
        assert_eq!(fs::metadata(&path).unwrap().len(), 1 << 20);
        fs::remove_file(&path).unwrap();
        job.pattern.writes = true;
        assert_eq!(missing(&spec, &job, Some(4096)).unwrap().how, How::Filled, "it reads too");
        job.pattern.reads = false;
        let kept = missing(&spec, &job, Some(8192)).unwrap();
        assert_eq!(kept.how, How::Allocated { whole: true });
        kept.make().unwrap();
        assert_eq!(fs::metadata(&path).unwrap().len(), 8192);
        fs::remove_file(&path).unwrap();
        job.files.allocate = Allocate::Keep;
        missing(&spec, &job, Some(8192)).unwrap().make().unwrap();
        assert_eq!(fs::metadata(&path).unwrap().len(), 0);
        fs::remove_file(&path).unwrap();
        job.files.allocate = Allocate::Nothing;
        assert_eq!(missing(&spec, &job, Some(8192)), None);
        job.files.overwrite = true;
        assert_eq!(missing(&spec, &job, Some(8192)).unwrap().how, How::Filled);
    }

    #[test]
    fn of_two_wants_the_stronger_and_longer_counts() {
        let path = PathBuf::from("x");
        let mut one = LayOut { path: path.clone(), bytes: 5, how: How::Allocated { whole: true } };
        one.join(&LayOut { path: path.clone(), bytes: 3, how: How::Filled });
        assert_eq!(one, LayOut { path, bytes: 5, how: How::Filled });
    }
}

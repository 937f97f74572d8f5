//! Opening a file or block device on a ring.
//!
//! What must always hold: nothing but a regular file or a block device is opened; a block
//! device opened for writing is opened exclusively; opening changes nothing but the length of a
//! file that the caller asked to create or extend. What was wanted and could not be had is in
//! the notes.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::{FileTypeExt, MetadataExt, OpenOptionsExt};
use std::path::Path;
use std::rc::Rc;

use isotherm_seam::{BlockDevice, DeviceInfo, Leaf, OpenCause, OpenError, OpenOptions};

use crate::disk::UringDisk;
use crate::geometry::geometry;
use crate::medium::{Medium, MediumKind};
use crate::probe::{Reads, reads_of};
use crate::qpair::Qpair;
use crate::ring::Ring;
use crate::sys;

/// As a leaf of a spec: `uring:PATH`, and a bare path.
impl Leaf for Ring {
    fn kind(&self) -> &'static str {
        "uring"
    }

    fn open(
        &mut self,
        path: &str,
        options: &OpenOptions,
    ) -> Result<Box<dyn BlockDevice>, OpenError> {
        Ok(Box::new(Ring::open(self, path, options)?))
    }
}

impl Ring {
    /// Opens a regular file or a block device on this ring.
    ///
    /// The disk's depth is `options.depth`, or less (with a note) where the ring has no more
    /// requests in flight to give. `create_bytes` needs `write`.
    pub fn open(
        &self,
        path: impl AsRef<Path>,
        options: &OpenOptions,
    ) -> Result<UringDisk, OpenError> {
        let path = path.as_ref();
        self.open_path(path, options)
            .map_err(|cause| OpenError::new(path.display().to_string(), cause))
    }

    fn open_path(&self, path: &Path, options: &OpenOptions) -> Result<UringDisk, OpenCause> {
        let core = self.core();
        let mut notes = Vec::new();
        let depth = depth(options.depth, core.depth_left(), &mut notes)?;
        let opened = Opened::new(path, options, &mut notes)?;
        let (geometry, zones) = geometry(&opened, options, depth)?;
        let reads = reads_of(&opened.file, geometry.capacity_bytes(), geometry.logical.bytes());
        let driver = describe(reads, &mut notes);
        let needs_helper =
            geometry.zones.is_some() || geometry.discard && opened.kind != MediumKind::Regular;
        let unit_bytes = if opened.direct { geometry.logical.bytes() } else { 1 };
        let direct = Some(opened.direct);
        let medium = Medium::new(opened.file, opened.kind, options.write, unit_bytes);
        let plain_reads = matches!(reads, Reads::Plain { .. });
        let index = core
            .attach(depth, needs_helper, |index| {
                Qpair::new(index, medium, geometry.logical, depth, plain_reads, zones)
            })
            .map_err(|errno| OpenCause::Os { errno })?;
        let name = path.file_name().unwrap_or(path.as_os_str()).to_string_lossy().into_owned();
        let path = Some(path.to_owned());
        let info = DeviceInfo { name, driver, path, direct, notes };
        Ok(UringDisk::new(Rc::clone(core), index, geometry, info))
    }
}

/// What a disk that wants `wanted` gets of the `left` requests in flight.
fn depth(wanted: u32, left: u32, notes: &mut Vec<String>) -> Result<u32, OpenCause> {
    let wanted = wanted.max(1);
    if left == 0 {
        let why = "this core's ring has no request left for it: the disks opened before have \
                   reserved all of them; open them less deep, or this one on another core";
        return Err(OpenCause::BadSpec { why: why.into() });
    }
    if left < wanted {
        notes.push(format!(
            "it is {left} deep instead of {wanted}: the ring has no more requests in flight"
        ));
    }
    Ok(wanted.min(left))
}

/// The driver's name with what is particular about this device, and a note if something is.
fn describe(reads: Reads, notes: &mut Vec<String>) -> String {
    match reads {
        Reads::Ring => "uring".into(),
        Reads::Plain { read_ns } => {
            notes.push(format!(
                "the kernel would punt its reads to worker threads, and one takes only {:.1} µs: \
                 the core makes them itself (pread)",
                read_ns as f64 / 1e3
            ));
            "uring (plain reads: the kernel would punt them)".into()
        }
        Reads::Punted { read_ns } => {
            notes.push(format!(
                "the kernel punts its reads to worker threads; one takes {:.1} µs by itself",
                read_ns as f64 / 1e3
            ));
            "uring (reads punted to kernel workers)".into()
        }
    }
}

/// A file or block device as it was opened.
pub(crate) struct Opened {
    pub(crate) file: File,
    pub(crate) kind: MediumKind,
    /// Number of the device, where it is one.
    pub(crate) rdev: u64,
    pub(crate) len_bytes: u64,
    pub(crate) direct: bool,
    /// What direct I/O asks of memory and of offsets, in bytes, where the kernel says.
    pub(crate) alignment: Option<(u32, u32)>,
}

impl Opened {
    fn new(
        path: &Path,
        options: &OpenOptions,
        notes: &mut Vec<String>,
    ) -> Result<Opened, OpenCause> {
        let create_bytes = options.create_bytes.filter(|_| options.write);
        // Asked before opening: to open a FIFO or a tape has effects of its own.
        let block_device = match fs::metadata(path) {
            Ok(found) if found.file_type().is_block_device() => true,
            Ok(found) if found.is_file() => false,
            Ok(_) => return Err(OpenCause::NotStorage),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                create(path, create_bytes.ok_or(OpenCause::NotFound)?)?;
                false
            }
            Err(error) => return Err(cause(error)),
        };
        let exclusive = if block_device && options.write { libc::O_EXCL } else { 0 };
        let (mut file, mut direct) = open_file(path, options, exclusive)?;
        let mut alignment = sys::direct_alignment(&file);
        if direct && alignment.is_some_and(|(_, offset)| offset == 0) {
            // Opened, and yet each transfer would fail: take it back.
            drop(file);
            let buffered = OpenOptions { direct: false, ..*options };
            (file, direct) = open_file(path, &buffered, exclusive)?;
            alignment = None;
        }
        if options.direct && !direct {
            notes.push(
                "O_DIRECT is refused here: reads and writes go through the page cache".into(),
            );
        }
        let now = file.metadata().map_err(cause)?;
        if now.file_type().is_block_device() != block_device {
            return Err(OpenCause::NotStorage); // Replaced while it was being opened.
        }
        let (kind, len_bytes) = if block_device {
            let bytes = sys::device_bytes(&file).map_err(|errno| OpenCause::Os { errno })?;
            (MediumKind::Block { bytes }, bytes)
        } else {
            let bytes = create_bytes.unwrap_or(0).max(now.len());
            if bytes > now.len() {
                file.set_len(bytes).map_err(cause)?;
            }
            (MediumKind::Regular, bytes)
        };
        let needed_bytes = options.create_bytes.unwrap_or(0);
        if len_bytes < needed_bytes {
            return Err(OpenCause::TooSmall { bytes: len_bytes, needed_bytes });
        }
        Ok(Opened { file, kind, rdev: now.rdev(), len_bytes, direct, alignment })
    }
}

/// Opens with O_DIRECT where that is wanted and the file allows it. True if it did.
fn open_file(path: &Path, options: &OpenOptions, flags: i32) -> Result<(File, bool), OpenCause> {
    let mut how = fs::OpenOptions::new();
    how.read(true).write(options.write);
    if options.direct {
        match how.custom_flags(flags | libc::O_DIRECT).open(path) {
            Ok(file) => return Ok((file, true)),
            Err(error) if error.raw_os_error() == Some(libc::EINVAL) => {}
            Err(error) => return Err(cause(error)),
        }
    }
    how.custom_flags(flags).open(path).map(|file| (file, false)).map_err(cause)
}

/// Makes a sparse file; none is left where that fails.
fn create(path: &Path, bytes: u64) -> Result<(), OpenCause> {
    // A mistyped device name must not fill the memory that /dev lives in.
    if path.parent() == Some(Path::new("/dev")) {
        return Err(OpenCause::NotFound);
    }
    let file = match fs::OpenOptions::new().write(true).create_new(true).open(path) {
        // Another thread has just made it: it is opened, and lengthened, as one that was there.
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => return Ok(()),
        made => made.map_err(cause)?,
    };
    file.set_len(bytes).map_err(|error| {
        // Best effort: what failed to be made is what gets reported.
        let _ = fs::remove_file(path);
        cause(error)
    })
}

fn cause(error: io::Error) -> OpenCause {
    OpenCause::from_errno(error.raw_os_error().unwrap_or(libc::EIO))
}

//! Opening a file or block device on a ring.
//!
//! What must always hold: nothing but a regular file or a block device is opened; a block
//! device opened for writing is opened exclusively; nothing on it is changed by opening. What
//! was wanted and could not be had is in the notes.

use std::fs::{self, File, Metadata};
use std::io;
use std::os::unix::fs::{FileTypeExt, MetadataExt, OpenOptionsExt};
use std::path::Path;
use std::rc::Rc;

use isotherm_seam::{BlockSize, DeviceInfo, Geometry, OpenCause, OpenError, OpenOptions};

use crate::disk::UringDisk;
use crate::medium::{Medium, MediumKind};
use crate::probe::{Reads, reads_of};
use crate::qpair::Qpair;
use crate::queue_limits::QueueLimits;
use crate::ring::Ring;
use crate::sys;

/// Longest read or write: one registered buffer at most. The kernel splits what is longer than
/// the device takes.
const IO_BYTES_MAX: u32 = 1 << 30;

impl Ring {
    /// Opens a regular file or a block device on this ring.
    ///
    /// The disk's depth is `options.depth`, or less (with a note) where the ring has no more
    /// requests in flight to give.
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
        let geometry = opened.geometry(options, depth)?;
        let reads = reads_of(&opened.file, geometry.capacity_bytes(), geometry.logical.bytes());
        let driver = match reads {
            Reads::Ring => "uring".to_owned(),
            Reads::Plain { read_ns } => {
                notes.push(format!(
                    "the kernel would punt its reads to worker threads and one takes only \
                     {read_ns} ns: the core makes them itself (pread)"
                ));
                "uring (plain reads: the kernel would punt them to workers)".to_owned()
            }
            Reads::Punted { read_ns } => {
                notes.push(format!(
                    "the kernel punts its reads to worker threads; one takes {} µs",
                    read_ns / 1000
                ));
                "uring (reads punted to kernel workers)".to_owned()
            }
        };
        let info = DeviceInfo {
            name: path.file_name().unwrap_or(path.as_os_str()).to_string_lossy().into_owned(),
            driver,
            path: Some(path.to_owned()),
            direct: Some(opened.direct),
            notes,
        };
        let unit_bytes = if opened.direct { geometry.logical.bytes() } else { 1 };
        let medium = Medium::new(opened.file, opened.kind, options.write, unit_bytes);
        let plain_reads = matches!(reads, Reads::Plain { .. });
        let index = core
            .attach(depth, |index| Qpair::new(index, medium, geometry.logical, depth, plain_reads));
        Ok(UringDisk::new(Rc::clone(core), index, geometry, info))
    }
}

/// What a disk that wants `wanted` gets of the `left` requests in flight.
fn depth(wanted: u32, left: u32, notes: &mut Vec<String>) -> Result<u32, OpenCause> {
    let wanted = wanted.max(1);
    if left == 0 {
        let why = "this core's ring has no request left for it: the disks opened before have \
                   reserved all of them; open it less deep, or on another core";
        return Err(OpenCause::BadSpec { why: why.into() });
    }
    if left < wanted {
        notes.push(format!(
            "it is {left} deep instead of {wanted}: the ring has no more requests in flight"
        ));
    }
    Ok(wanted.min(left))
}

/// A file as it was opened.
struct Opened {
    file: File,
    kind: MediumKind,
    rdev: u64,
    len_bytes: u64,
    direct: bool,
}

impl Opened {
    fn new(
        path: &Path,
        options: &OpenOptions,
        notes: &mut Vec<String>,
    ) -> Result<Opened, OpenCause> {
        let found = match fs::metadata(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                let bytes = options.create_bytes.ok_or(OpenCause::NotFound)?;
                create(path, bytes)?;
                fs::metadata(path).map_err(cause)?
            }
            other => other.map_err(cause)?,
        };
        if !is_storage(&found) {
            return Err(OpenCause::NotStorage);
        }
        if let Some(bytes) = options.create_bytes
            && found.is_file()
            && found.len() < bytes
        {
            let file = fs::OpenOptions::new().write(true).open(path).map_err(cause)?;
            file.set_len(bytes).map_err(cause)?;
        }
        let block = found.file_type().is_block_device();
        let exclusive = if block && options.write { libc::O_EXCL } else { 0 };
        let (file, direct) = open_file(path, options, exclusive, notes)?;
        let now = file.metadata().map_err(cause)?;
        if now.file_type() != found.file_type() || now.rdev() != found.rdev() {
            return Err(OpenCause::NotStorage); // Replaced while it was being opened.
        }
        let (kind, len_bytes) = if block {
            let bytes = sys::device_bytes(&file).map_err(OpenCause::from_errno)?;
            (MediumKind::Block { bytes }, bytes)
        } else {
            (MediumKind::Regular, now.len())
        };
        if let Some(needed_bytes) = options.create_bytes
            && len_bytes < needed_bytes
        {
            return Err(OpenCause::TooSmall { bytes: len_bytes, needed_bytes });
        }
        Ok(Opened { file, kind, rdev: now.rdev(), len_bytes, direct })
    }

    fn geometry(&self, options: &OpenOptions, depth: u32) -> Result<Geometry, OpenCause> {
        let (logical, physical, buf_align) = match self.kind {
            MediumKind::Regular => {
                let (buf, offset) = match (self.direct, sys::direct_alignment(&self.file)) {
                    (false, _) => (1, BlockSize::B512.bytes()),
                    (true, Some(told)) => told,
                    (true, None) => (4096, 4096),
                };
                (offset.max(512), offset.max(4096), buf)
            }
            MediumKind::Block { .. } => {
                let logical =
                    sys::logical_block_bytes(&self.file).map_err(OpenCause::from_errno)?;
                let physical =
                    sys::physical_block_bytes(&self.file).map_err(OpenCause::from_errno)?;
                let buf = match (self.direct, sys::direct_alignment(&self.file)) {
                    (false, _) => 1,
                    (true, Some((buf, _))) => buf,
                    (true, None) => logical,
                };
                (logical, physical.max(logical), buf)
            }
        };
        let size = |bytes| BlockSize::new(bytes).ok_or(OpenCause::Os { errno: libc::EINVAL });
        let (logical, physical) = (size(logical)?, size(physical)?);
        let blocks = self.len_bytes >> logical.shift();
        if blocks == 0 {
            let needed_bytes = u64::from(logical.bytes());
            return Err(OpenCause::TooSmall { bytes: self.len_bytes, needed_bytes });
        }
        let (volatile_cache, discard) = match self.kind {
            MediumKind::Regular => (true, sys::can_punch_holes(&self.file, self.len_bytes)),
            MediumKind::Block { .. } => {
                let limits = QueueLimits::of(self.rdev);
                (!self.direct || limits.write_back(), limits.discards())
            }
        };
        Ok(Geometry {
            logical,
            physical,
            blocks,
            io_bytes_max: IO_BYTES_MAX,
            buf_align,
            depth_max: depth,
            volatile_cache,
            discard: discard && options.write,
            zones: None,
        })
    }
}

fn is_storage(found: &Metadata) -> bool {
    found.is_file() || found.file_type().is_block_device()
}

/// Opens with O_DIRECT where that is wanted and the file allows it. True if it did.
fn open_file(
    path: &Path,
    options: &OpenOptions,
    flags: i32,
    notes: &mut Vec<String>,
) -> Result<(File, bool), OpenCause> {
    let mut how = fs::OpenOptions::new();
    how.read(true).write(options.write);
    if options.direct {
        match how.custom_flags(flags | libc::O_DIRECT).open(path) {
            Ok(file) => return Ok((file, true)),
            Err(error) if error.raw_os_error() == Some(libc::EINVAL) => notes.push(
                "O_DIRECT is refused here: it goes through the page cache, and what is measured \
                 is partly memory"
                    .into(),
            ),
            Err(error) => return Err(cause(error)),
        }
    }
    let file = how.custom_flags(flags).open(path).map_err(cause)?;
    Ok((file, false))
}

/// Makes a sparse file; none is left where that fails.
fn create(path: &Path, bytes: u64) -> Result<(), OpenCause> {
    // A mistyped device name must not fill the memory that /dev lives in.
    if path.parent() == Some(Path::new("/dev")) {
        return Err(OpenCause::NotFound);
    }
    let file = fs::OpenOptions::new().write(true).create_new(true).open(path).map_err(cause)?;
    file.set_len(bytes).map_err(|error| {
        let _ = fs::remove_file(path);
        cause(error)
    })
}

fn cause(error: io::Error) -> OpenCause {
    OpenCause::from_errno(error.raw_os_error().unwrap_or(libc::EIO))
}

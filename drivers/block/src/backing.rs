//! A file or block device, opened and asked what it can do.
//!
//! What must always hold: opening changes nothing but the length of a regular file that the
//! caller asked to create or extend. A block device opened for writing is opened exclusively,
//! so the kernel refuses one that is mounted or held. What was wanted and refused is noted.

use std::fs::{File, OpenOptions as StdOptions};
use std::io::{Seek, SeekFrom};
use std::os::unix::fs::{FileTypeExt, MetadataExt, OpenOptionsExt};
use std::path::Path;

use isotherm_seam::{BlockSize, Geometry, OpenCause, OpenOptions};

use crate::syscall;

/// An open file or block device, and what it said of itself.
pub(crate) struct Backing {
    pub(crate) file: File,
    pub(crate) about: About,
}

/// What a file or block device said of itself.
pub(crate) struct About {
    pub(crate) geometry: Geometry,
    pub(crate) block_device: bool,
    pub(crate) write: bool,
    pub(crate) direct: bool,
    pub(crate) notes: Vec<String>,
}

/// Longest transfer: the kernel cuts it into what the device takes.
const IO_BYTES_MAX: u32 = 1 << 30;

/// The sector that is assumed under a file: nearly all disks have it, and a larger assumption
/// only costs alignment.
const FILE_PHYSICAL: BlockSize = BlockSize::B4096;

impl Backing {
    /// Opens `path` as `options` say.
    pub(crate) fn open(path: &Path, options: &OpenOptions) -> Result<Backing, OpenCause> {
        let create = options.create_bytes.filter(|_| options.write);
        // Asked before opening: to open a FIFO or a tape has effects of its own.
        let block_device = match std::fs::metadata(path) {
            Ok(meta) if meta.file_type().is_block_device() => true,
            Ok(meta) if meta.is_file() => false,
            Ok(_) => return Err(OpenCause::NotStorage),
            Err(e) if e.kind() == std::io::ErrorKind::NotFound && create.is_some() => false,
            Err(e) => return Err(open_cause(&e)),
        };
        let mut notes = Vec::new();
        let (mut file, mut direct) = open_file(path, options, block_device, create.is_some())?;
        if options.direct && !direct {
            notes.push("O_DIRECT was refused: reads and writes go through the page cache".into());
        }
        if let Some(bytes) = create.filter(|_| !block_device) {
            let len = file.metadata().map_err(|e| open_cause(&e))?.len();
            if len < bytes {
                file.set_len(bytes).map_err(|e| open_cause(&e))?;
            }
        }
        let alignment = syscall::direct_alignment(&file);
        if direct && alignment == Some((0, 0)) {
            // Opened, and yet each transfer would fail: take it back.
            let buffered = OpenOptions { direct: false, ..*options };
            (file, direct) = open_file(path, &buffered, block_device, false)?;
            notes.push("O_DIRECT is not supported: I/O goes through the page cache".into());
        }
        let bytes = file.seek(SeekFrom::End(0)).map_err(|e| open_cause(&e))?;
        let (buf_align, unit) = match alignment {
            Some((memory, offset)) if direct && offset > 0 => {
                (memory.max(1).next_power_of_two(), offset)
            }
            _ if direct => (4096, 4096),
            _ => (1, 512),
        };
        let mut geometry = Geometry {
            logical: block_size(unit)?,
            physical: FILE_PHYSICAL,
            blocks: 0,
            io_bytes_max: IO_BYTES_MAX,
            buf_align,
            depth_max: options.depth.max(1),
            volatile_cache: true,
            discard: options.write,
            zones: None,
        };
        if block_device {
            let os = |errno| OpenCause::Os { errno };
            let logical = syscall::logical_block_bytes(&file).map_err(os)?;
            let physical = syscall::physical_block_bytes(&file).map_err(os)?;
            geometry.logical = block_size(logical)?;
            geometry.physical = block_size(physical)?;
            if direct && alignment.is_none() {
                geometry.buf_align = logical;
            }
            let queue = Queue::of(&file);
            geometry.volatile_cache =
                queue.setting("write_cache").as_deref() != Some("write through");
            let discard_max = queue.setting("discard_max_bytes").and_then(|s| s.parse().ok());
            geometry.discard = options.write && discard_max.unwrap_or(0u64) > 0;
            if queue.setting("zoned").as_deref() == Some("host-managed") {
                notes.push(
                    "a host-managed zoned disk: this driver does not drive zones, and the disk \
                     will refuse writes that are not at a write pointer"
                        .into(),
                );
            }
        }
        geometry.physical = geometry.physical.max(geometry.logical);
        geometry.blocks = bytes >> geometry.logical.shift();
        let needed_bytes = options.create_bytes.unwrap_or(0).max(geometry.logical.bytes().into());
        if bytes < needed_bytes {
            return Err(OpenCause::TooSmall { bytes, needed_bytes });
        }
        let write = options.write;
        Ok(Backing { file, about: About { geometry, block_device, write, direct, notes } })
    }
}

/// Opens the file, without O_DIRECT where that is refused. The second value says whether it is
/// direct.
fn open_file(
    path: &Path,
    options: &OpenOptions,
    block_device: bool,
    create: bool,
) -> Result<(File, bool), OpenCause> {
    let exclusive = if block_device && options.write { libc::O_EXCL } else { 0 };
    let open = |direct: i32| {
        StdOptions::new()
            .read(true)
            .write(options.write)
            .create(create && !block_device)
            .truncate(false)
            .custom_flags(exclusive | direct)
            .open(path)
    };
    if options.direct {
        match open(libc::O_DIRECT) {
            Ok(file) => return Ok((file, true)),
            Err(e) if e.raw_os_error() == Some(libc::EINVAL) => {}
            Err(e) => return Err(open_cause(&e)),
        }
    }
    open(0).map(|file| (file, false)).map_err(|e| open_cause(&e))
}

fn open_cause(error: &std::io::Error) -> OpenCause {
    OpenCause::from_errno(syscall::errno_of(error))
}

fn block_size(bytes: u32) -> Result<BlockSize, OpenCause> {
    // A unit below 512 is one we may exceed; one that is no power of two is not a disk.
    BlockSize::new(bytes.max(512)).ok_or(OpenCause::NotStorage)
}

/// The kernel's settings of a block device's queue, from sysfs.
struct Queue {
    folder: Option<std::path::PathBuf>,
}

impl Queue {
    fn of(file: &File) -> Queue {
        let folder = file.metadata().ok().and_then(|meta| {
            let (major, minor) = (libc::major(meta.rdev()), libc::minor(meta.rdev()));
            let device = Path::new("/sys/dev/block").join(format!("{major}:{minor}"));
            // A partition has no queue of its own: its disk does.
            let candidates = [device.join("queue"), device.join("../queue")];
            candidates.into_iter().find(|folder| folder.is_dir())
        });
        Queue { folder }
    }

    fn setting(&self, name: &str) -> Option<String> {
        let text = std::fs::read_to_string(self.folder.as_ref()?.join(name)).ok()?;
        Some(text.trim().to_owned())
    }
}

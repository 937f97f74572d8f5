//! How a device is opened, and why it could not be.

use std::fmt;

use crate::BlockDevice;

/// How a file or device is opened.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct OpenOptions {
    /// For writing too. A block device is then opened exclusively, so that the kernel refuses
    /// one that is mounted or held.
    pub write: bool,
    /// Bypass the page cache (O_DIRECT) where the file allows it; where it refuses, the device
    /// says so in its notes.
    pub direct: bool,
    /// For a regular file: create it sparse, or extend it, to this many bytes.
    pub create_bytes: Option<u64>,
    /// Requests in flight that the caller will want at most.
    pub depth: u32,
}

impl Default for OpenOptions {
    /// Reading only, direct, 128 deep.
    fn default() -> OpenOptions {
        OpenOptions { write: false, direct: true, create_bytes: None, depth: 128 }
    }
}

/// A way to open paths that comes from elsewhere, such as the ring of a core.
pub trait Leaf {
    /// Its name in a spec.
    fn kind(&self) -> &'static str;
    /// Opens a path.
    fn open(
        &mut self,
        path: &str,
        options: &OpenOptions,
    ) -> Result<Box<dyn BlockDevice>, OpenError>;
}

/// A device that could not be opened: which, and why. Nothing was changed on it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{device}: {cause}")]
pub struct OpenError {
    /// The spec or path as the user wrote it.
    pub device: String,
    /// What went wrong.
    pub cause: OpenCause,
}

impl OpenError {
    /// `device` could not be opened because of `cause`.
    pub fn new(device: impl Into<String>, cause: OpenCause) -> OpenError {
        OpenError { device: device.into(), cause }
    }
}

/// The causes that a caller can act on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum OpenCause {
    /// No such file or device.
    NotFound,
    /// The operating system refuses access: other rights are needed.
    Permission,
    /// In use: mounted, held by another driver, or opened exclusively.
    Busy {
        /// Who uses it, as far as can be told.
        by: String,
    },
    /// Holds something (a filesystem, a partition table, …) and was not named for destruction.
    HoldsData {
        /// What was found.
        what: String,
    },
    /// Neither a regular file nor a block device.
    NotStorage,
    /// Smaller than one block, or than what the layer above needs.
    TooSmall {
        /// What it has, in bytes.
        bytes: u64,
        /// What is needed, in bytes.
        needed_bytes: u64,
    },
    /// The spec string does not say what to open.
    BadSpec {
        /// What is wrong with it and what was expected.
        why: String,
    },
    /// io_uring can't be had here (`io_uring_disabled`, a seccomp filter, an old kernel).
    UringRefused {
        /// The errno of the refusal.
        errno: i32,
    },
    /// Any other answer of the operating system.
    Os {
        /// The errno.
        errno: i32,
    },
}

impl OpenCause {
    /// The cause that an errno of `open(2)` stands for.
    pub fn from_errno(errno: i32) -> OpenCause {
        match errno {
            2 | 6 | 19 => OpenCause::NotFound, // ENOENT, ENXIO, ENODEV
            1 | 13 => OpenCause::Permission,   // EPERM, EACCES
            16 => OpenCause::Busy { by: "another user of the device".into() }, // EBUSY
            _ => OpenCause::Os { errno },
        }
    }
}

impl fmt::Display for OpenCause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            OpenCause::NotFound => write!(f, "no such file or device"),
            OpenCause::Permission => write!(f, "permission denied: run as a user who may open it"),
            OpenCause::Busy { by } => write!(f, "busy: in use by {by}"),
            OpenCause::HoldsData { what } => write!(
                f,
                "holds {what}: nothing was written; to overwrite it, name it with --destroy"
            ),
            OpenCause::NotStorage => write!(f, "neither a regular file nor a block device"),
            OpenCause::TooSmall { bytes, needed_bytes } => {
                write!(f, "too small: {bytes} bytes where {needed_bytes} are needed")
            }
            OpenCause::BadSpec { why } => write!(f, "{why}"),
            OpenCause::UringRefused { errno } => write!(
                f,
                "io_uring is refused here ({}): use the file driver",
                std::io::Error::from_raw_os_error(*errno)
            ),
            OpenCause::Os { errno } => {
                write!(f, "{}", std::io::Error::from_raw_os_error(*errno))
            }
        }
    }
}

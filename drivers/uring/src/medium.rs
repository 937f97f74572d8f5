//! The open file under a disk: what it is, how it was opened, what may be done with it.

use std::fs::File;
use std::os::fd::{AsRawFd, RawFd};
use std::os::unix::fs::FileExt;
use std::sync::Arc;

use crate::qpair::Target;
use crate::sys;

/// A regular file or a block device.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum MediumKind {
    /// A file on a filesystem.
    Regular,
    /// A block device that had so many bytes when it was opened.
    Block {
        /// Its size then.
        bytes: u64,
    },
}

/// An open file under a disk.
pub(crate) struct Medium {
    file: Arc<File>,
    kind: MediumKind,
    target: Target,
    write: bool,
    unit_bytes: u32,
}

impl Medium {
    /// `unit_bytes` is what offsets must be a multiple of: 1 unless direct.
    pub(crate) fn new(file: File, kind: MediumKind, write: bool, unit_bytes: u32) -> Medium {
        let target = Target::Descriptor(file.as_raw_fd());
        Medium { file: Arc::new(file), kind, target, write, unit_bytes }
    }

    /// A share of the open file.
    pub(crate) fn share(&self) -> Arc<File> {
        Arc::clone(&self.file)
    }

    pub(crate) fn is_block_device(&self) -> bool {
        matches!(self.kind, MediumKind::Block { .. })
    }

    pub(crate) fn descriptor(&self) -> RawFd {
        self.file.as_raw_fd()
    }

    /// The ring has it in its table of files from now on.
    pub(crate) fn registered_at(&mut self, index: u32) {
        self.target = Target::Registered(index);
    }

    #[inline]
    pub(crate) fn target(&self) -> Target {
        self.target
    }

    #[inline]
    pub(crate) fn writable(&self) -> bool {
        self.write
    }

    #[inline]
    pub(crate) fn unit_bytes(&self) -> u32 {
        self.unit_bytes
    }

    /// Reads here and now. The answer is as the ring would give it: bytes, or minus an errno.
    #[inline]
    pub(crate) fn read_at(&self, buf: &mut [u8], offset_bytes: u64) -> i32 {
        match self.file.read_at(buf, offset_bytes) {
            Ok(bytes) => bytes as i32,
            Err(error) => -error.raw_os_error().unwrap_or(libc::EIO),
        }
    }

    /// Whether the device is smaller than it was: it was pulled out, or cut down. Asked only
    /// after an error.
    pub(crate) fn shrunk(&self) -> bool {
        match self.kind {
            MediumKind::Regular => false,
            MediumKind::Block { bytes } => {
                sys::device_bytes(&self.file).map_or(true, |now| now < bytes)
            }
        }
    }
}

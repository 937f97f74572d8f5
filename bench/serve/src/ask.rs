//! What the kernel asks of a disk, on its way from FUSE's thread to the one that owns the disks.

use fuser::{Errno, ReplyData, ReplyEmpty, ReplyWrite};

/// One request, with the means to answer it.
pub(crate) struct Ask {
    /// Which disk.
    pub(crate) disk: usize,
    /// What is wanted.
    pub(crate) want: Want,
}

pub(crate) enum Want {
    /// Bytes from `offset` on; at the end of the disk fewer, beyond it none.
    Read { offset: u64, len: u32, reply: ReplyData },
    /// `bytes` to `offset`.
    Write { offset: u64, bytes: Vec<u8>, reply: ReplyWrite },
    /// All answered writes durable.
    Flush { reply: ReplyEmpty },
    /// These bytes are not needed any more.
    Discard { offset: u64, len: u64, reply: ReplyEmpty },
}

impl Want {
    pub(crate) fn refuse(self, errno: Errno) {
        match self {
            Want::Read { reply, .. } => reply.error(errno),
            Want::Write { reply, .. } => reply.error(errno),
            Want::Flush { reply } | Want::Discard { reply, .. } => reply.error(errno),
        }
    }
}

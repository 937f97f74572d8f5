//! The folder of disks as FUSE sees it: one regular file per disk, as long as the disk.
//!
//! What must always hold: names, lengths and owners never change while it is mounted, so the
//! kernel may remember them for ever; reads and writes never pass through the page cache, for
//! then a program would measure memory.

use std::ffi::OsStr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use crossbeam::channel::Sender;
use fuser::{
    BsdFileFlags, Errno, FileAttr, FileHandle, FileType, Filesystem, FopenFlags, Generation,
    INodeNo, InitFlags, KernelConfig, LockOwner, OpenFlags, ReplyAttr, ReplyData, ReplyDirectory,
    ReplyEmpty, ReplyEntry, ReplyOpen, ReplyStatfs, ReplyWrite, Request, TimeOrNow, WriteFlags,
};
use isotherm_host::set_realtime;
use isotherm_seam::Unpark;
use nix::libc;

use crate::ask::{Ask, Want};

/// Longest request that the kernel sends, in bytes.
pub(crate) const IO_BYTES_MAX: u32 = 1 << 20;

/// Before all ordinary threads, and behind whoever has a reason to come first.
pub(crate) const REALTIME_PRIORITY: u8 = 1;

/// Nothing changes, so the kernel need not ask twice.
const FOREVER: Duration = Duration::from_secs(1 << 30);

/// One disk, as a file.
pub(crate) struct FileOfDisk {
    pub(crate) name: String,
    pub(crate) bytes: u64,
    /// Not in the listing: it is there to measure the way.
    pub(crate) hidden: bool,
}

pub(crate) struct Files {
    pub(crate) disks: Vec<FileOfDisk>,
    pub(crate) asks: Sender<Ask>,
    pub(crate) unparker: Arc<dyn Unpark>,
    /// Raised when the mount has ended.
    pub(crate) ended: Arc<AtomicBool>,
    pub(crate) owner: (u32, u32),
    /// Requests that may wait at once, over all disks.
    pub(crate) waiting_max: u16,
    /// The thread that serves this is to be put under real-time scheduling.
    pub(crate) realtime: AtomicBool,
}

/// Inodes: the folder is 1, the disks follow.
const FIRST_DISK: u64 = 2;

impl Files {
    fn disk_of(&self, ino: INodeNo) -> Option<usize> {
        let disk = usize::try_from(ino.0.checked_sub(FIRST_DISK)?).ok()?;
        (disk < self.disks.len()).then_some(disk)
    }

    fn attributes(&self, ino: INodeNo) -> Option<FileAttr> {
        let (kind, perm, size, nlink) = match self.disk_of(ino) {
            Some(disk) => (FileType::RegularFile, 0o600, self.disks[disk].bytes, 1),
            None if ino == INodeNo::ROOT => (FileType::Directory, 0o700, 0, 2),
            None => return None,
        };
        let then: SystemTime = UNIX_EPOCH;
        Some(FileAttr {
            ino,
            size,
            blocks: size / 512,
            atime: then,
            mtime: then,
            ctime: then,
            crtime: then,
            kind,
            perm,
            nlink,
            uid: self.owner.0,
            gid: self.owner.1,
            rdev: 0,
            blksize: 4096,
            flags: 0,
        })
    }

    fn ask(&self, ino: INodeNo, want: Want) {
        let Some(disk) = self.disk_of(ino) else { return want.refuse(Errno::EISDIR) };
        if self.realtime.load(Ordering::Relaxed) && self.realtime.swap(false, Ordering::Relaxed) {
            // There is one thread, which FUSE has started, and this is the first that we see of
            // it. Whether it may be was found out on the counter's.
            let _ = set_realtime(REALTIME_PRIORITY);
        }
        if let Err(unsent) = self.asks.send(Ask { disk, want }) {
            // The other side has gone, so the mount is about to.
            return unsent.0.want.refuse(Errno::ENODEV);
        }
        self.unparker.unpark();
    }
}

impl Filesystem for Files {
    fn init(&mut self, _: &Request, config: &mut KernelConfig) -> std::io::Result<()> {
        let wrong = |_| std::io::Error::from_raw_os_error(libc::EPROTO);
        config.set_max_write(IO_BYTES_MAX).map_err(wrong)?;
        // Its own read-ahead would be the page cache's, which is not used.
        let _ = config.set_max_readahead(IO_BYTES_MAX);
        // Direct requests of many at once count as background ones; 12 would be the default.
        let _ = config.set_max_background(self.waiting_max);
        let _ = config.set_congestion_threshold(self.waiting_max);
        let _ = config.add_capabilities(InitFlags::FUSE_ASYNC_DIO | InitFlags::FUSE_ASYNC_READ);
        Ok(())
    }

    fn destroy(&mut self) {
        self.ended.store(true, Ordering::Release);
        self.unparker.unpark();
    }

    fn lookup(&self, _: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEntry) {
        let found = self.disks.iter().position(|disk| OsStr::new(&disk.name) == name);
        let ino =
            found.filter(|_| parent == INodeNo::ROOT).map(|at| INodeNo(FIRST_DISK + at as u64));
        match ino.and_then(|ino| self.attributes(ino)) {
            Some(attributes) => reply.entry(&FOREVER, &attributes, Generation(0)),
            None => reply.error(Errno::ENOENT),
        }
    }

    fn getattr(&self, _: &Request, ino: INodeNo, _: Option<FileHandle>, reply: ReplyAttr) {
        match self.attributes(ino) {
            Some(attributes) => reply.attr(&FOREVER, &attributes),
            None => reply.error(Errno::ENOENT),
        }
    }

    fn setattr(
        &self,
        _: &Request,
        ino: INodeNo,
        mode: Option<u32>,
        uid: Option<u32>,
        gid: Option<u32>,
        size: Option<u64>,
        _: Option<TimeOrNow>,
        _: Option<TimeOrNow>,
        _: Option<SystemTime>,
        _: Option<FileHandle>,
        _: Option<SystemTime>,
        _: Option<SystemTime>,
        _: Option<SystemTime>,
        _: Option<BsdFileFlags>,
        reply: ReplyAttr,
    ) {
        let Some(attributes) = self.attributes(ino) else { return reply.error(Errno::ENOENT) };
        let resized = size.is_some_and(|size| size != attributes.size);
        if resized || mode.is_some() || uid.is_some() || gid.is_some() {
            return reply.error(Errno::EPERM);
        }
        reply.attr(&FOREVER, &attributes);
    }

    fn open(&self, _: &Request, ino: INodeNo, _: OpenFlags, reply: ReplyOpen) {
        match self.disk_of(ino) {
            Some(_) => reply.opened(
                FileHandle(0),
                FopenFlags::FOPEN_DIRECT_IO
                    | FopenFlags::FOPEN_PARALLEL_DIRECT_WRITES
                    | FopenFlags::FOPEN_NOFLUSH,
            ),
            None => reply.error(Errno::EISDIR),
        }
    }

    fn read(
        &self,
        _: &Request,
        ino: INodeNo,
        _: FileHandle,
        offset: u64,
        len: u32,
        _: OpenFlags,
        _: Option<LockOwner>,
        reply: ReplyData,
    ) {
        self.ask(ino, Want::Read { offset, len, reply });
    }

    fn write(
        &self,
        _: &Request,
        ino: INodeNo,
        _: FileHandle,
        offset: u64,
        data: &[u8],
        _: WriteFlags,
        _: OpenFlags,
        _: Option<LockOwner>,
        reply: ReplyWrite,
    ) {
        self.ask(ino, Want::Write { offset, bytes: data.to_vec(), reply });
    }

    fn flush(&self, _: &Request, _: INodeNo, _: FileHandle, _: LockOwner, reply: ReplyEmpty) {
        reply.ok();
    }

    fn fsync(&self, _: &Request, ino: INodeNo, _: FileHandle, _: bool, reply: ReplyEmpty) {
        self.ask(ino, Want::Flush { reply });
    }

    fn fallocate(
        &self,
        _: &Request,
        ino: INodeNo,
        _: FileHandle,
        offset: u64,
        len: u64,
        mode: i32,
        reply: ReplyEmpty,
    ) {
        let punch = libc::FALLOC_FL_PUNCH_HOLE | libc::FALLOC_FL_KEEP_SIZE;
        if mode != punch {
            return reply.error(Errno::EOPNOTSUPP);
        }
        self.ask(ino, Want::Discard { offset, len, reply });
    }

    fn readdir(
        &self,
        _: &Request,
        ino: INodeNo,
        _: FileHandle,
        offset: u64,
        mut reply: ReplyDirectory,
    ) {
        if ino != INodeNo::ROOT {
            return reply.error(Errno::ENOTDIR);
        }
        let folders = [".", ".."].map(|name| (INodeNo::ROOT, FileType::Directory, name));
        let files =
            self.disks.iter().enumerate().filter(|(_, disk)| !disk.hidden).map(|(at, disk)| {
                (INodeNo(FIRST_DISK + at as u64), FileType::RegularFile, disk.name.as_str())
            });
        let all = folders.into_iter().chain(files).enumerate();
        for (at, (ino, kind, name)) in all.skip(usize::try_from(offset).unwrap_or(usize::MAX)) {
            if reply.add(ino, at as u64 + 1, kind, name) {
                break;
            }
        }
        reply.ok();
    }

    fn statfs(&self, _: &Request, _: INodeNo, reply: ReplyStatfs) {
        let blocks = self.disks.iter().map(|disk| disk.bytes / 4096).sum();
        reply.statfs(blocks, 0, 0, self.disks.len() as u64, 0, 4096, 255, 4096);
    }
}

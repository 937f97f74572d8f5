//! One io_uring as the kernel hands it out: set up with what this kernel has, entered by the
//! thread that made it, files and buffers registered.
//!
//! What must always hold: memory named by a pushed entry stays valid and untouched until its
//! completion has been popped (whoever pushes guarantees it), and no more requests are in
//! flight than the completion queue holds, so that the kernel never has to park one.
#![allow(unsafe_code, reason = "island: the memory shared with the kernel")]

use std::cell::{Cell, UnsafeCell};
use std::io;
use std::os::fd::RawFd;
use std::ptr::NonNull;

use io_uring::types::{CancelBuilder, Fd, Fixed, SubmitArgs, Timespec};
use io_uring::{Builder, EnterFlags, IoUring, Submitter, cqueue, opcode, squeue};
use isotherm_seam::Nanos;

use crate::qpair::Target;

/// Sets of set-up flags, the best first, each with the note for people when it had to do.
pub(crate) const LEVELS: [Level; 5] = [
    Level { set: all_flags, note: None },
    Level {
        set: without_no_sqarray,
        note: Some("the kernel has no IORING_SETUP_NO_SQARRAY (Linux 6.6)"),
    },
    Level {
        set: cooperative,
        note: Some(
            "the kernel has no IORING_SETUP_DEFER_TASKRUN (Linux 6.1): \
             completions cost more and interrupt the core",
        ),
    },
    Level {
        set: submit_all,
        note: Some(
            "the kernel has no IORING_SETUP_COOP_TASKRUN (Linux 5.19): \
             completions cost more and interrupt the core",
        ),
    },
    Level {
        set: plain,
        note: Some(
            "the kernel has none of io_uring's set-up flags since Linux 5.18: \
             completions cost more and interrupt the core",
        ),
    },
];

/// A set of set-up flags.
pub(crate) struct Level {
    set: fn(&mut Builder),
    note: Option<&'static str>,
}

fn all_flags(builder: &mut Builder) {
    without_no_sqarray(builder);
    builder.setup_no_sqarray();
}

fn without_no_sqarray(builder: &mut Builder) {
    builder.setup_submit_all().setup_single_issuer().setup_defer_taskrun().setup_taskrun_flag();
}

fn cooperative(builder: &mut Builder) {
    builder.setup_submit_all().setup_coop_taskrun().setup_taskrun_flag();
}

fn submit_all(builder: &mut Builder) {
    builder.setup_submit_all();
}

fn plain(_: &mut Builder) {}

/// How long an entry into the kernel may sleep.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Sleep {
    /// Return when so many completions are there.
    pub(crate) events: u32,
    /// Return after so long in any case.
    pub(crate) limit: Option<Nanos>,
    /// Return after so long if at least one completion is there.
    pub(crate) patience: Option<Nanos>,
    /// The core waits for a disk (rather than for work): the kernel counts that as I/O wait.
    pub(crate) iowait: bool,
}

/// One io_uring.
pub(crate) struct RawRing {
    /// Borrows `uring`, and remembers the registered ring descriptor. Dropped first.
    submitter: Option<Submitter<'static>>,
    uring: NonNull<IoUring>,
    /// Read by the kernel when it takes the entry of an alarm.
    alarm: Box<UnsafeCell<Timespec>>,
    /// Entries into the kernel so far.
    enters: Cell<u64>,
    min_wait: bool,
    no_iowait: bool,
}

impl RawRing {
    /// A ring of `cq_entries` completions, with the best of `levels` that the kernel takes.
    /// What could not be had is added to `notes`. The errno where the kernel refuses.
    pub(crate) fn new(
        sq_entries: u32,
        cq_entries: u32,
        levels: &[Level],
        notes: &mut Vec<String>,
    ) -> Result<RawRing, i32> {
        let mut last = libc::EINVAL;
        for level in levels {
            match build(sq_entries, cq_entries, level) {
                Ok(uring) => {
                    notes.extend(level.note.map(String::from));
                    return RawRing::adopt(uring, notes);
                }
                Err(errno) if errno == libc::EINVAL => last = errno,
                Err(errno) => return Err(errno),
            }
        }
        Err(last)
    }

    fn adopt(uring: IoUring, notes: &mut Vec<String>) -> Result<RawRing, i32> {
        let params = uring.params();
        // Without these there is no sleep with a limit, no promise that a completion is never
        // lost, and (the last one stands for Linux 5.13) no bell that rings more than once.
        let needed = params.is_feature_ext_arg()
            && params.is_feature_nodrop()
            && params.is_feature_resource_tagging();
        if !needed {
            return Err(libc::ENOSYS);
        }
        let min_wait = params.is_feature_min_timeout();
        let no_iowait = params.is_feature_no_iowait();
        let uring = NonNull::from(Box::leak(Box::new(uring)));
        // SAFETY: the box lives until `drop`, which drops the submitter before it.
        let borrowed: &'static IoUring = unsafe { uring.as_ref() };
        let mut submitter = borrowed.submitter();
        if submitter.register_ring_fd().is_err() {
            notes.push("the ring's descriptor could not be registered (Linux 5.18)".into());
        }
        let alarm = Box::new(UnsafeCell::new(Timespec::new()));
        let enters = Cell::new(0);
        Ok(RawRing { submitter: Some(submitter), uring, alarm, enters, min_wait, no_iowait })
    }

    fn uring(&self) -> &IoUring {
        // SAFETY: the box lives until `drop`; all access is through `&self` on one thread
        // (`NonNull` makes RawRing neither Send nor Sync).
        unsafe { self.uring.as_ref() }
    }

    fn submitter(&self) -> &Submitter<'static> {
        self.submitter.as_ref().expect("a submitter until drop")
    }

    /// Completions that it holds.
    pub(crate) fn cq_entries(&self) -> u32 {
        self.uring().params().cq_entries()
    }

    /// Puts an entry into the submission queue; false when that is full.
    ///
    /// # Safety
    /// What the entry points to stays valid, and is not touched where the kernel writes or
    /// reads it, until the completion with its user data is popped.
    #[inline]
    pub(crate) unsafe fn push(&self, entry: &squeue::Entry) -> bool {
        // SAFETY: one thread only (see `uring`), and no other SubmissionQueue is alive: each
        // is dropped within the method that makes it.
        let mut queue = unsafe { self.uring().submission_shared() };
        // SAFETY: the caller's promise.
        unsafe { queue.push(entry) }.is_ok()
    }

    /// Pushes a request that completes with `user_data` whenever `fd` has become readable.
    pub(crate) fn push_watch(&self, fd: RawFd, user_data: u64) -> bool {
        let watch = opcode::PollAdd::new(Fd(fd), libc::POLLIN as u32).multi(true);
        // SAFETY: it points to nothing.
        unsafe { self.push(&watch.build().user_data(user_data)) }
    }

    /// Pushes a request that completes with `user_data` once, when `fd` can be written to.
    pub(crate) fn push_watch_room(&self, fd: RawFd, user_data: u64) -> bool {
        let watch = opcode::PollAdd::new(Fd(fd), libc::POLLOUT as u32);
        // SAFETY: it points to nothing.
        unsafe { self.push(&watch.build().user_data(user_data)) }
    }

    /// Pushes a request that completes with `user_data` after so long. There is one alarm at a
    /// time: the last one has completed.
    pub(crate) fn push_alarm(&self, after: Nanos, user_data: u64) -> bool {
        // SAFETY: the kernel reads the cell only when it takes the entry of an alarm, and there
        // is none underway: the last one has completed.
        unsafe { *self.alarm.get() = timespec(after) };
        let alarm = opcode::Timeout::new(self.alarm.get());
        // SAFETY: the cell lives on the heap until `drop`, which ends the ring first, and is not
        // written before this entry has completed.
        unsafe { self.push(&alarm.build().user_data(user_data)) }
    }

    /// Pushes a request to cancel all requests on a file.
    pub(crate) fn push_cancel(&self, file: Target, user_data: u64) -> bool {
        let what = match file {
            Target::Registered(index) => CancelBuilder::fd(Fixed(index)),
            Target::Descriptor(fd) => CancelBuilder::fd(Fd(fd)),
        };
        let cancel = opcode::AsyncCancel2::new(what.all());
        // SAFETY: it points to nothing.
        unsafe { self.push(&cancel.build().user_data(user_data)) }
    }

    /// Entries pushed and not yet handed to the kernel.
    #[inline]
    pub(crate) fn pending(&self) -> u32 {
        // SAFETY: as in `push`.
        unsafe { self.uring().submission_shared() }.len() as u32
    }

    /// Whether entering the kernel would make completions appear.
    #[inline]
    pub(crate) fn kernel_has_work(&self) -> bool {
        // SAFETY: as in `push`.
        let queue = unsafe { self.uring().submission_shared() };
        queue.taskrun() || queue.cq_overflow()
    }

    /// Whether a completion can be popped.
    #[inline]
    pub(crate) fn has_completions(&self) -> bool {
        // SAFETY: as in `push`, for the completion queue.
        !unsafe { self.uring().completion_shared() }.is_empty()
    }

    /// Hands every completion that is there to `take`, which must not touch the ring.
    #[inline]
    pub(crate) fn drain(&self, mut take: impl FnMut(&cqueue::Entry)) {
        // SAFETY: as in `push`; `take` gets no access to `self` in any caller.
        let queue = unsafe { self.uring().completion_shared() };
        for entry in queue {
            take(&entry);
        }
    }

    /// Hands pending entries to the kernel and lets it post what is ready. Does not sleep.
    #[inline]
    pub(crate) fn enter(&self) {
        let flags = EnterFlags::GETEVENTS.bits();
        self.count_enter();
        // SAFETY: no argument is passed; the entries are the pushers' promise.
        let result = unsafe { self.submitter().enter::<()>(self.pending(), 0, flags, None) };
        check(result);
    }

    /// Hands pending entries to the kernel and sleeps.
    pub(crate) fn enter_and_sleep(&self, sleep: Sleep) {
        let mut flags = EnterFlags::GETEVENTS;
        if self.no_iowait && !sleep.iowait {
            flags |= EnterFlags::NO_IOWAIT;
        }
        let mut events = 1;
        let mut args = SubmitArgs::new();
        let limit = sleep.limit.map(timespec);
        if let Some(limit) = &limit {
            flags |= EnterFlags::EXT_ARG;
            args = args.timespec(limit);
        }
        if let Some(patience) = sleep.patience.filter(|_| self.min_wait && sleep.events > 1) {
            flags |= EnterFlags::EXT_ARG;
            let micros = u32::try_from(patience.0.div_ceil(1000)).unwrap_or(u32::MAX);
            args = args.min_wait_usec(micros);
            events = sleep.events;
        }
        self.count_enter();
        let args = flags.contains(EnterFlags::EXT_ARG).then_some(&args);
        // SAFETY: `args` is what EXT_ARG announces, and it and `limit` outlive the call.
        let result = unsafe { self.submitter().enter(self.pending(), events, flags.bits(), args) };
        check(result);
    }

    #[inline]
    fn count_enter(&self) {
        self.enters.set(self.enters.get() + 1);
    }

    /// Entries into the kernel so far.
    pub(crate) fn enters(&self) -> u64 {
        self.enters.get()
    }

    /// Registers memory for [`io_uring::opcode::ReadFixed`] and its like.
    ///
    /// # Safety
    /// The memory stays mapped until the ring is dropped.
    pub(crate) unsafe fn register_buffers(&self, bufs: &[libc::iovec]) -> io::Result<()> {
        // SAFETY: the caller's promise.
        unsafe { self.submitter().register_buffers(bufs) }
    }

    /// Sets how many kernel threads may work on requests that end (I/O, not sockets).
    pub(crate) fn limit_workers(&self, workers: u32) -> io::Result<()> {
        self.submitter().register_iowq_max_workers(&mut [workers, 0])
    }

    /// Makes an empty table of registered files.
    pub(crate) fn register_file_table(&self, slots: usize) -> io::Result<()> {
        self.submitter().register_files(&vec![-1; slots])
    }

    /// Puts a file into the table, or takes it out (`-1`).
    pub(crate) fn register_file(&self, slot: u32, fd: RawFd) -> io::Result<()> {
        self.submitter().register_files_update(slot, &[fd]).map(drop)
    }
}

impl Drop for RawRing {
    fn drop(&mut self) {
        if let Some(mut submitter) = self.submitter.take() {
            // Now, so that the next ring finds the locked memory free: the kernel takes its
            // time with the rest. Fails only if none were registered.
            let _ = submitter.unregister_buffers();
            // Fails only if it was never registered.
            let _ = submitter.unregister_ring_fd();
        }
        // SAFETY: `uring` came from a leaked box, its only borrower was dropped above, and
        // this is its only release.
        drop(unsafe { Box::from_raw(self.uring.as_ptr()) });
    }
}

fn build(sq_entries: u32, cq_entries: u32, level: &Level) -> Result<IoUring, i32> {
    let mut builder = IoUring::builder();
    builder.setup_clamp().setup_cqsize(cq_entries).dontfork();
    (level.set)(&mut builder);
    builder.build(sq_entries).map_err(|e| e.raw_os_error().unwrap_or(libc::EIO))
}

fn timespec(length: Nanos) -> Timespec {
    Timespec::new().sec(length.0 / 1_000_000_000).nsec((length.0 % 1_000_000_000) as u32)
}

/// A refused entry is either nothing to speak of, since the entries stay pending and the next
/// entry takes them, or a bug of ours.
fn check(result: io::Result<usize>) {
    let Err(error) = result else { return };
    match error.raw_os_error() {
        // The time was up; a signal; no memory for a request, or too many completions unread.
        Some(libc::ETIME | libc::EINTR | libc::EAGAIN | libc::EBUSY | libc::ENOMEM) => {}
        _ => panic!("io_uring_enter: {error}: a ring is entered only by the thread that made it"),
    }
}

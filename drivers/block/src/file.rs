//! `file`: a file or block device by pread and pwrite on a few threads, for where io_uring is
//! refused.
//!
//! What must always hold: the bytes of a request are with one thread at a time, and come back
//! by the queue of finished work; a thread stuck in the kernel keeps them for good rather than
//! have them freed under it. Both queues are bounded by the depth, so nothing is allocated per
//! request. What may go wrong: a device that never answers holds one thread per request; the
//! others go on.
//!
//! ```text
//! core: submit -> jobs (mutex, condvar) -> thread: pread, pwrite, fdatasync, fallocate
//! core: poll   <- finished (lock-free)  <- thread, which unparks the core if it may sleep
//! ```

use std::collections::VecDeque;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use crossbeam::queue::ArrayQueue;
use isotherm_seam::{
    BlockDevice, BlockSize, BufClaim, Completion, DeviceInfo, Due, Geometry, IoError, LentBuf,
    Mono, Op, OpenCause, OpenError, OpenOptions, Persist, Request, Tag, Unpark,
};
use nix::fcntl::{FallocateFlags, fallocate};

use crate::backing::Backing;
use crate::parts::Parts;
use crate::shape::admit;
use crate::slots::Slots;
use crate::spec::{DIRECT, LeafKind, OptionHelp, SIZE, parse_bytes, parse_switch};
use crate::syscall;

pub(crate) const KIND: LeafKind = LeafKind {
    name: "file",
    summary: "a file or block device by pread and pwrite on threads",
    options: &[
        SIZE,
        DIRECT,
        OptionHelp { name: "threads", value: "4", meaning: "threads per device, 1 to 64" },
        OptionHelp {
            name: "part",
            value: "8T",
            meaning: "a longer disk goes on in PATH.1, PATH.2 and so on, each so long",
        },
    ],
    example: "file:/tmp/disk.img?size=1G:direct=no",
    path: true,
    parse: Some(|args| {
        let path = args.required("a path", |text| Some(PathBuf::from(text)))?;
        let create_bytes = args.option("size", "a size such as 1G", parse_bytes)?;
        let direct = args.option("direct", "yes or no", parse_switch)?;
        let threads = |text: &str| text.parse().ok().filter(|n| (1..=64).contains(n));
        let threads = args.option("threads", "a number from 1 to 64", threads)?;
        let whole = |text: &str| parse_bytes(text).filter(|n| *n > 0 && n.is_multiple_of(4096));
        let part_bytes = args.option("part", "a size such as 8T, of whole 4K", whole)?;
        Ok(Arc::new(move |options, unparker| {
            let options = OpenOptions {
                create_bytes: create_bytes.or(options.create_bytes),
                direct: direct.unwrap_or(options.direct),
                ..*options
            };
            let threads = threads.unwrap_or(THREADS_DEFAULT);
            let unparker = Arc::clone(unparker);
            Ok(Box::new(File::open_parts(&path, &options, part_bytes, threads, unparker)?))
        }))
    }),
};

/// Threads per device unless told otherwise: what a disk can use.
pub const THREADS_DEFAULT: u32 = 4;

/// How long a dropped device waits for threads that are in the kernel. Buffers that are not
/// back by then are leaked.
const DROP_PATIENCE: Duration = Duration::from_secs(5);

/// A file or block device driven by blocking calls on threads of its own.
pub struct File {
    geometry: Geometry,
    write: bool,
    path: PathBuf,
    direct: bool,
    notes: Vec<String>,
    shared: Arc<Shared>,
    /// What is with the threads.
    slots: Slots<Pending>,
    /// Refused at submission.
    refused: VecDeque<Completion>,
    threads: Vec<JoinHandle<()>>,
    /// How long a drop waits for the threads.
    patience: Duration,
}

struct Pending {
    tag: Tag,
    claim: Option<BufClaim>,
}

struct Shared {
    parts: Parts,
    block_device: bool,
    logical: BlockSize,
    jobs: Mutex<Jobs>,
    /// A job, or the order to stop, is there.
    work: Condvar,
    /// A thread has ended.
    ended: Condvar,
    /// As large as the depth, so never full.
    finished: ArrayQueue<Finished>,
    /// The core found nothing and may sleep: the next thread to finish wakes it.
    hungry: AtomicBool,
    unparker: Arc<dyn Unpark>,
}

struct Jobs {
    queue: VecDeque<Job>,
    stop: bool,
    threads: u32,
}

struct Job {
    slot: u32,
    work: Work,
}

enum Work {
    Read { at_bytes: u64, bytes: LentBuf },
    Write { at_bytes: u64, bytes: LentBuf, persist: Persist },
    Flush,
    Discard { at_bytes: u64, len_bytes: u64 },
}

struct Finished {
    slot: u32,
    bytes: Option<LentBuf>,
    result: Result<(), IoError>,
}

impl File {
    /// Opens `path` and starts `threads` threads (at least one, at most the depth). The
    /// `unparker` is that of the core that will poll.
    pub fn open(
        path: impl AsRef<Path>,
        options: &OpenOptions,
        threads: u32,
        unparker: Arc<dyn Unpark>,
    ) -> Result<File, OpenError> {
        let path = path.as_ref();
        File::open_parts(path, options, None, threads, unparker)
            .map_err(|cause| OpenError::new(path.display().to_string(), cause))
    }

    /// As [`File::open`]; what is beyond `part_bytes` is in further files beside `path`.
    fn open_parts(
        path: &Path,
        options: &OpenOptions,
        part_bytes: Option<u64>,
        threads: u32,
        unparker: Arc<dyn Unpark>,
    ) -> Result<File, OpenCause> {
        let mut device = File::idle(path, options, part_bytes, unparker)?;
        let depth = device.geometry.depth_max;
        device.start_threads(threads.clamp(1, depth))?;
        Ok(device)
    }

    /// Opened, without a thread.
    fn idle(
        path: &Path,
        options: &OpenOptions,
        part_bytes: Option<u64>,
        unparker: Arc<dyn Unpark>,
    ) -> Result<File, OpenCause> {
        let (about, parts) = match part_bytes {
            Some(part_bytes) => Parts::open(path, options, part_bytes)?,
            None => {
                let Backing { file, about } = Backing::open(path, options)?;
                (about, Parts::one(file))
            }
        };
        let depth = about.geometry.depth_max;
        let shared = Arc::new(Shared {
            parts,
            block_device: about.block_device,
            logical: about.geometry.logical,
            jobs: Mutex::new(Jobs {
                queue: VecDeque::with_capacity(depth as usize),
                stop: false,
                threads: 0,
            }),
            work: Condvar::new(),
            ended: Condvar::new(),
            finished: ArrayQueue::new(depth as usize),
            hungry: AtomicBool::new(false),
            unparker,
        });
        Ok(File {
            geometry: about.geometry,
            write: about.write,
            path: path.to_owned(),
            direct: about.direct,
            notes: about.notes,
            shared,
            slots: Slots::new(depth),
            refused: VecDeque::with_capacity(depth as usize),
            threads: Vec::new(),
            patience: DROP_PATIENCE,
        })
    }

    fn start_threads(&mut self, count: u32) -> Result<(), OpenCause> {
        for index in 0..count {
            let shared = Arc::clone(&self.shared);
            self.shared.lock().threads += 1;
            let thread = std::thread::Builder::new().name(format!("file-{index}"));
            match thread.spawn(move || shared.serve()) {
                Ok(handle) => self.threads.push(handle),
                Err(e) => {
                    self.shared.lock().threads -= 1;
                    return Err(OpenCause::Os { errno: e.raw_os_error().unwrap_or(libc::EAGAIN) });
                }
            }
        }
        Ok(())
    }

    /// The same, with a note for people on why this driver runs.
    #[must_use]
    pub fn with_note(mut self, note: String) -> File {
        self.notes.push(note);
        self
    }

    fn complete(&mut self, finished: Finished) -> Completion {
        let pending = self.slots.empty(finished.slot.into());
        let buf = match (pending.claim, finished.bytes) {
            (Some(claim), Some(bytes)) => Some(claim.reunite(bytes)),
            (None, None) => None,
            _ => unreachable!("bytes come back to the slot that lent them"),
        };
        Completion { tag: pending.tag, buf, result: finished.result }
    }
}

impl BlockDevice for File {
    fn geometry(&self) -> &Geometry {
        &self.geometry
    }

    fn info(&self) -> DeviceInfo {
        let name = self.path.file_name().unwrap_or(self.path.as_os_str());
        DeviceInfo {
            name: name.to_string_lossy().into_owned(),
            driver: "file".into(),
            path: Some(self.path.clone()),
            direct: Some(self.direct),
            notes: self.notes.clone(),
        }
    }

    fn submit(&mut self, _now: Mono, request: Request) -> Result<(), Request> {
        if self.inflight() >= self.geometry.depth_max as usize {
            return Err(request);
        }
        let unsupported = matches!(request.op, Op::Discard { .. }) && !self.geometry.discard;
        let admitted = match admit(&self.geometry, self.write, &request.op) {
            Ok(()) if unsupported => Err(isotherm_seam::Misfit::Unsupported.into()),
            answer => answer,
        };
        if let Err(error) = admitted {
            self.refused.push_back(request.complete(Err(error)));
            return Ok(());
        }
        let logical = self.geometry.logical;
        let (claim, work) = match request.op {
            Op::Read { lba, buf } => {
                let (claim, bytes) = buf.lend();
                (Some(claim), Work::Read { at_bytes: logical.byte_offset(lba), bytes })
            }
            Op::Write { lba, buf, persist } => {
                let (claim, bytes) = buf.lend();
                (Some(claim), Work::Write { at_bytes: logical.byte_offset(lba), bytes, persist })
            }
            Op::Flush => (None, Work::Flush),
            Op::Discard { lba, blocks } => {
                let at_bytes = logical.byte_offset(lba);
                let len_bytes = blocks << logical.shift();
                (None, Work::Discard { at_bytes, len_bytes })
            }
            Op::ZoneReport { .. } | Op::ZoneReset { .. } | Op::ZoneFinish { .. } => {
                unreachable!("a device without zones admits no zone operation")
            }
        };
        let slot = self.slots.fill(Pending { tag: request.tag, claim });
        self.shared.lock().queue.push_back(Job { slot, work });
        self.shared.work.notify_one();
        Ok(())
    }

    fn poll(&mut self, _now: Mono, done: &mut Vec<Completion>) -> usize {
        let before = done.len();
        while done.len() < done.capacity() {
            let Some(completion) = self.refused.pop_front() else { break };
            done.push(completion);
        }
        loop {
            while done.len() < done.capacity() {
                let Some(finished) = self.shared.finished.pop() else { break };
                let completion = self.complete(finished);
                done.push(completion);
            }
            if self.slots.len() == 0 || done.len() == done.capacity() {
                break;
            }
            // Announce first, look again after: what finishes before the look is found by it,
            // what finishes later finds the announcement.
            self.shared.hungry.store(true, Ordering::SeqCst);
            if self.shared.finished.is_empty() {
                break;
            }
        }
        done.len() - before
    }

    fn due(&self) -> Due {
        if !self.refused.is_empty() || !self.shared.finished.is_empty() {
            Due::Now
        } else if self.slots.len() > 0 {
            // Whoever reads `Event` may sleep next: announced and looked at as in `poll`.
            self.shared.hungry.store(true, Ordering::SeqCst);
            if self.shared.finished.is_empty() { Due::Event } else { Due::Now }
        } else {
            Due::Idle
        }
    }

    fn inflight(&self) -> usize {
        self.slots.len() + self.refused.len()
    }
}

impl Drop for File {
    fn drop(&mut self) {
        let mut jobs = self.shared.lock();
        jobs.stop = true;
        let unstarted: Vec<Job> = jobs.queue.drain(..).collect();
        self.shared.work.notify_all();
        let (jobs, _) = self
            .shared
            .ended
            .wait_timeout_while(jobs, self.patience, |jobs| jobs.threads > 0)
            .unwrap_or_else(PoisonError::into_inner);
        let ended = jobs.threads == 0;
        drop(jobs);
        // Joined, so that the file is closed when this returns and can be opened again.
        for thread in self.threads.drain(..).filter(|thread| ended || thread.is_finished()) {
            let _ = thread.join();
        }
        for job in unstarted {
            let bytes = match job.work {
                Work::Read { bytes, .. } | Work::Write { bytes, .. } => Some(bytes),
                Work::Flush | Work::Discard { .. } => None,
            };
            drop(self.complete(Finished { slot: job.slot, bytes, result: Ok(()) }));
        }
        while let Some(finished) = self.shared.finished.pop() {
            drop(self.complete(finished));
        }
        // A claim that is still here is dropped with its slot, which leaks the buffer.
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Jobs> {
        self.jobs.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What a thread does until it is told to stop.
    fn serve(&self) {
        loop {
            let mut jobs = self.lock();
            let job = loop {
                if jobs.stop {
                    jobs.threads -= 1;
                    self.ended.notify_all();
                    return;
                }
                match jobs.queue.pop_front() {
                    Some(job) => break job,
                    None => jobs = self.work.wait(jobs).unwrap_or_else(PoisonError::into_inner),
                }
            };
            drop(jobs);
            let slot = job.slot;
            let (bytes, result) = self.execute(job.work);
            let pushed = self.finished.push(Finished { slot, bytes, result });
            assert!(pushed.is_ok(), "as many slots as room for what is finished");
            if self.hungry.swap(false, Ordering::SeqCst) {
                self.unparker.unpark();
            }
        }
    }

    fn execute(&self, work: Work) -> (Option<LentBuf>, Result<(), IoError>) {
        match work {
            Work::Read { at_bytes, mut bytes } => {
                let result = transfer(self.logical, at_bytes, bytes.len(), |done| {
                    let offset = at_bytes + done as u64;
                    self.parts.read_at(&mut bytes[done..], offset)
                });
                (Some(bytes), result)
            }
            Work::Write { at_bytes, bytes, persist } => {
                let result = transfer(self.logical, at_bytes, bytes.len(), |done| {
                    let offset = at_bytes + done as u64;
                    match persist {
                        Persist::Flush => self.parts.write_at(&bytes[done..], offset),
                        Persist::Fua => self.parts.write_durably(&bytes[done..], offset),
                    }
                });
                (Some(bytes), result)
            }
            Work::Flush => {
                let start = self.logical.lba_of(0);
                let result = self.parts.sync_data();
                (None, result.map_err(|errno| IoError::from_errno(errno, start)))
            }
            Work::Discard { at_bytes, len_bytes } => {
                let lba = self.logical.lba_of(at_bytes);
                let result = self.discard(at_bytes, len_bytes);
                (None, result.map_err(|errno| IoError::from_errno(errno, lba)))
            }
        }
    }

    fn discard(&self, at_bytes: u64, len_bytes: u64) -> Result<(), i32> {
        self.parts.each(at_bytes, len_bytes, |file, at_bytes, len_bytes| {
            loop {
                let answer = if self.block_device {
                    syscall::discard(file, at_bytes, len_bytes)
                } else {
                    let hole =
                        FallocateFlags::FALLOC_FL_PUNCH_HOLE | FallocateFlags::FALLOC_FL_KEEP_SIZE;
                    let (at, len) = (at_bytes.cast_signed(), len_bytes.cast_signed());
                    fallocate(file, hole, at, len).map_err(|errno| errno as i32)
                };
                if answer != Err(libc::EINTR) {
                    return answer;
                }
            }
        })
    }
}

/// Repeats `step`, which is told how much is done and says how much more it did, until all of
/// `len_bytes` is: a short transfer is continued at a block, an interrupted one resumed.
fn transfer(
    logical: BlockSize,
    at_bytes: u64,
    len_bytes: usize,
    mut step: impl FnMut(usize) -> Result<usize, i32>,
) -> Result<(), IoError> {
    let mut done = 0;
    while done < len_bytes {
        let lba = logical.lba_of(at_bytes + done as u64);
        match step(done) {
            Ok(n) if done + n == len_bytes => return Ok(()),
            Ok(n) => {
                let block = logical.bytes() as usize;
                let whole = n - n % block;
                if whole == 0 {
                    // Less than one block is the end of a file cut short underneath us.
                    return Err(IoError::Media { lba });
                }
                done += whole;
            }
            Err(libc::EINTR) => {}
            Err(errno) => return Err(IoError::from_errno(errno, lba)),
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests;

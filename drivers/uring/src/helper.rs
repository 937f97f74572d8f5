//! The one thread of a ring that may block: ioctls that io_uring does not have.
//!
//! What must always hold: a job owns what it works on (a share of the open file, never a
//! buffer), so the ring may go away while an ioctl hangs. Each job sent comes back once, and
//! the bell rings after it.

use std::collections::VecDeque;
use std::fs::File;
use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

use isotherm_seam::{BlockSize, Unpark, ZoneInfo};

use crate::sys;
use crate::wake::Wake;

/// A handle to the thread. Dropping it lets the thread end after its current job.
pub(crate) struct Helper {
    shared: Arc<Shared>,
}

/// An ioctl to be made.
pub(crate) struct Job {
    /// Comes back with the answer.
    pub(crate) user_data: u64,
    /// The device.
    pub(crate) file: Arc<File>,
    /// What to do with it.
    pub(crate) task: Task,
}

/// What can be asked of the helper.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Task {
    /// Discard a range, in bytes.
    Discard { start_bytes: u64, len_bytes: u64 },
    /// Report so many zones from a byte offset on, in blocks of this size.
    ZoneReport { start_bytes: u64, zones: usize, block: BlockSize },
    /// Reset the zone at this range, in bytes.
    ZoneReset { start_bytes: u64, len_bytes: u64 },
    /// Finish the zone at this range, in bytes.
    ZoneFinish { start_bytes: u64, len_bytes: u64 },
}

/// A job that is done.
pub(crate) struct Answer {
    /// The job's.
    pub(crate) user_data: u64,
    /// The zones of a report (nothing otherwise), or the errno.
    pub(crate) result: Result<Vec<ZoneInfo>, i32>,
}

struct Shared {
    queue: Mutex<Queue>,
    work: Condvar,
    /// Answers wait to be fetched.
    answered: AtomicBool,
    wake: Arc<Wake>,
}

#[derive(Default)]
struct Queue {
    jobs: VecDeque<Job>,
    answers: VecDeque<Answer>,
    stop: bool,
}

impl Helper {
    /// Starts the thread.
    pub(crate) fn start(wake: Arc<Wake>) -> io::Result<Helper> {
        let shared = Arc::new(Shared {
            queue: Mutex::default(),
            work: Condvar::new(),
            answered: AtomicBool::new(false),
            wake,
        });
        let theirs = Arc::clone(&shared);
        std::thread::Builder::new().name("isotherm-ioctl".into()).spawn(move || theirs.serve())?;
        Ok(Helper { shared })
    }

    /// Makes room for so many more jobs, so that sending one allocates nothing.
    pub(crate) fn reserve(&self, jobs: usize) {
        let mut queue = self.shared.lock();
        queue.jobs.reserve(jobs);
        queue.answers.reserve(jobs);
    }

    /// Hands a job over.
    pub(crate) fn send(&self, job: Job) {
        self.shared.lock().jobs.push_back(job);
        self.shared.work.notify_one();
    }

    /// The next job that is done.
    #[inline]
    pub(crate) fn next_answer(&self) -> Option<Answer> {
        if !self.shared.answered.load(Ordering::Acquire) {
            return None;
        }
        let mut queue = self.shared.lock();
        let answer = queue.answers.pop_front();
        self.shared.answered.store(!queue.answers.is_empty(), Ordering::Release);
        answer
    }
}

impl Drop for Helper {
    fn drop(&mut self) {
        self.shared.lock().stop = true;
        self.shared.work.notify_one();
    }
}

impl Shared {
    /// A poisoned lock still guards two queues that are whole between any two calls.
    fn lock(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn serve(&self) {
        let mut queue = self.lock();
        loop {
            if queue.stop {
                return;
            }
            let Some(job) = queue.jobs.pop_front() else {
                queue = self.work.wait(queue).unwrap_or_else(PoisonError::into_inner);
                continue;
            };
            drop(queue);
            let Job { user_data, file, task } = job;
            let result = task.run(&file);
            drop(file);
            queue = self.lock();
            queue.answers.push_back(Answer { user_data, result });
            self.answered.store(true, Ordering::Release);
            self.wake.unpark();
        }
    }
}

impl Task {
    fn run(self, file: &File) -> Result<Vec<ZoneInfo>, i32> {
        match self {
            Task::Discard { start_bytes, len_bytes } => {
                sys::discard_device(file, start_bytes, len_bytes)?;
            }
            Task::ZoneReport { start_bytes, zones, block } => {
                return sys::report_zones(file, start_bytes, zones, block);
            }
            Task::ZoneReset { start_bytes, len_bytes } => {
                sys::reset_zone(file, start_bytes, len_bytes)?;
            }
            Task::ZoneFinish { start_bytes, len_bytes } => {
                sys::finish_zone(file, start_bytes, len_bytes)?;
            }
        }
        Ok(Vec::new())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_job_comes_back_once_with_its_errno() {
        let wake = Arc::new(Wake::new().unwrap());
        let helper = Helper::start(Arc::clone(&wake)).unwrap();
        helper.reserve(8);
        let file = Arc::new(File::open("/dev/null").unwrap());
        let block = BlockSize::B512;
        let tasks = [
            Task::Discard { start_bytes: 0, len_bytes: 4096 },
            Task::ZoneReport { start_bytes: 0, zones: 4, block },
            Task::ZoneReset { start_bytes: 0, len_bytes: 4096 },
            Task::ZoneFinish { start_bytes: 0, len_bytes: 4096 },
        ];
        for (user_data, task) in tasks.into_iter().enumerate() {
            let file = Arc::clone(&file);
            helper.send(Job { user_data: user_data as u64, file, task });
        }
        let mut seen = Vec::new();
        while seen.len() < tasks.len() {
            match helper.next_answer() {
                Some(answer) => {
                    assert_eq!(answer.result, Err(libc::ENOTTY), "/dev/null has no such ioctl");
                    seen.push(answer.user_data);
                }
                None => std::thread::yield_now(),
            }
        }
        assert_eq!(seen, [0, 1, 2, 3]);
        assert!(helper.next_answer().is_none());
        drop(helper);
        // The thread lets go of the file and ends.
        while Arc::strong_count(&file) > 1 || Arc::strong_count(&wake) > 1 {
            std::thread::yield_now();
        }
    }
}

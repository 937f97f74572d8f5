//! How other threads reach a core that may be asleep.
//!
//! What must always hold: whatever a thread leaves for the core (a message in a queue, a bit on
//! the board) is seen by the core before it sleeps, or ends its sleep. The argument is Dekker's:
//! each side writes its own word, then fences, then reads the other's, so at least one of them
//! sees the other.
//!
//! ```text
//! thread                      core
//! leave the message           state := PARKED
//! fence                       fence
//! state = PARKED? unpark      anything left? then stay awake, else park
//! ```
//!
//! Nothing here knows a queue, a task or a kernel, and the atomics are a parameter: so loom
//! checks this very file (tests/loom_mailbox.rs), whatever it does to other crates.

use core::sync::atomic::Ordering;

/// The atomics to build on: the standard ones, or loom's.
pub(crate) trait Atomics {
    /// A 64-bit atomic.
    type Word: Word;
    /// A lock.
    type Lock<T>: Lock<T>;
    /// A sequentially consistent fence.
    fn fence();
}

/// A 64-bit atomic.
pub(crate) trait Word {
    fn new(value: u64) -> Self;
    fn load(&self, order: Ordering) -> u64;
    fn store(&self, value: u64, order: Ordering);
    fn swap(&self, value: u64, order: Ordering) -> u64;
    fn fetch_or(&self, bits: u64, order: Ordering) -> u64;
}

/// A lock.
pub(crate) trait Lock<T> {
    fn new(value: T) -> Self;
    fn with<R>(&self, f: impl FnOnce(&mut T) -> R) -> R;
}

const AWAKE: u64 = 0;
const PARKED: u64 = 1;

/// Whether the core sleeps.
pub(crate) struct Handshake<A: Atomics> {
    state: A::Word,
}

impl<A: Atomics> Handshake<A> {
    pub(crate) fn new() -> Handshake<A> {
        Handshake { state: A::Word::new(AWAKE) }
    }

    /// From any thread, after leaving something for the core: calls `unpark` if it sleeps. Of
    /// several threads at once, one does.
    pub(crate) fn notify(&self, unpark: impl FnOnce()) {
        A::fence();
        if self.state.load(Ordering::Relaxed) == PARKED
            && self.state.swap(AWAKE, Ordering::Relaxed) == PARKED
        {
            unpark();
        }
    }

    /// On the core: sleeps by `park` unless something is `pending`. Returns whether it slept.
    pub(crate) fn park(&self, pending: impl FnOnce() -> bool, park: impl FnOnce()) -> bool {
        // A swap, not a store: it reads the AWAKE that a late `notify` of the last sleep may have
        // written, and so comes after it for every thread that sees both.
        self.state.swap(PARKED, Ordering::AcqRel);
        A::fence();
        let sleeps = !pending();
        if sleeps {
            park();
        }
        // A thread that saw PARKED meanwhile has called `unpark`, or will: the next sleep then
        // ends at once, which is allowed.
        self.state.store(AWAKE, Ordering::Relaxed);
        sleeps
    }
}

/// A bit for each task, raised by whoever wakes it from outside of the core's own bookkeeping.
///
/// It can't overflow, whoever wakes how often, and wakes of a task that is already raised cost
/// one atomic operation.
pub(crate) struct WakeBoard<A: Atomics> {
    /// Bit i of word w: task 64 w + i.
    words: Box<[A::Word]>,
    /// Bit i of word w: `words[64 w + i]` is perhaps not zero.
    summary: Box<[A::Word]>,
}

impl<A: Atomics> WakeBoard<A> {
    /// For tasks 0..`tasks`.
    pub(crate) fn new(tasks: usize) -> WakeBoard<A> {
        let zeros = |n: usize| (0..n).map(|_| A::Word::new(0)).collect();
        WakeBoard { words: zeros(tasks.div_ceil(64)), summary: zeros(tasks.div_ceil(64 * 64)) }
    }

    /// From any thread. A [`Handshake::notify`] must follow.
    pub(crate) fn raise(&self, task: usize) {
        let word = task / 64;
        if self.words[word].fetch_or(1 << (task % 64), Ordering::AcqRel) == 0 {
            // Whoever finds the word not empty relies on this by whoever found it empty.
            self.summary[word / 64].fetch_or(1 << (word % 64), Ordering::AcqRel);
        }
    }

    /// On the core: whether a drain would find anything.
    pub(crate) fn is_raised(&self) -> bool {
        self.summary.iter().any(|word| word.load(Ordering::Relaxed) != 0)
    }

    /// On the core: takes down every bit, lowest first.
    pub(crate) fn drain(&self, mut woken: impl FnMut(usize)) {
        for (group, summary) in self.summary.iter().enumerate() {
            if summary.load(Ordering::Relaxed) == 0 {
                continue;
            }
            // First the summary, then the words: a bit raised in between is found here, or
            // raises the summary again.
            for word in bits(summary.swap(0, Ordering::AcqRel)) {
                let word = group * 64 + word;
                for bit in bits(self.words[word].swap(0, Ordering::AcqRel)) {
                    woken(word * 64 + bit);
                }
            }
        }
    }
}

/// The set bits of a word, lowest first.
fn bits(mut word: u64) -> impl Iterator<Item = usize> {
    core::iter::from_fn(move || {
        let bit = word.trailing_zeros() as usize;
        word &= word.wrapping_sub(1);
        (bit < 64).then_some(bit)
    })
}

/// Those who wait for room in a full queue.
pub(crate) struct Room<A: Atomics, W> {
    /// How many wait: so that the core need not take the lock to see that none does.
    count: A::Word,
    waiting: A::Lock<Vec<W>>,
}

impl<A: Atomics, W> Room<A, W> {
    pub(crate) fn new() -> Room<A, W> {
        Room { count: A::Word::new(0), waiting: A::Lock::new(Vec::new()) }
    }

    /// From any thread that found the queue full: waits, unless `again` finds room after all.
    /// `is_same` tells a waiter that is listed already. Returns what `again` found.
    pub(crate) fn wait(
        &self,
        waiter: W,
        is_same: impl Fn(&W, &W) -> bool,
        again: impl FnOnce() -> bool,
    ) -> bool {
        self.waiting.with(|waiting| {
            if !waiting.iter().any(|other| is_same(other, &waiter)) {
                waiting.push(waiter);
            }
            self.count.store(waiting.len() as u64, Ordering::Relaxed);
        });
        A::fence();
        again()
    }

    /// On the core, after it made room: wakes all who wait. All, because one of them may have
    /// gone away, and its turn with it.
    pub(crate) fn freed(&self, wake: impl FnMut(W)) {
        A::fence();
        if self.count.load(Ordering::Relaxed) > 0 {
            let all = self.waiting.with(|waiting| {
                self.count.store(0, Ordering::Relaxed);
                core::mem::take(waiting)
            });
            all.into_iter().for_each(wake);
        }
    }
}

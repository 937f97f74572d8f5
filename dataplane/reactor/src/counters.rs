//! What a core has done so far.

/// Totals since the reactor was made. They only grow.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Counters {
    /// Turns of the loop.
    pub turns: u64,
    /// Times that a task was run.
    pub polls: u64,
    /// Requests that completed.
    pub completions: u64,
    /// Timers that fired.
    pub timers: u64,
    /// Tasks woken by something other than the core's own disks, timers and mailboxes: another
    /// thread, or a future that brings its own waker.
    pub wakes: u64,
    /// Times that the core slept.
    pub parks: u64,
    /// Times that the core took another turn where it could have slept.
    pub spins: u64,
    /// Times that a task held the core for longer than allowed.
    pub stalls: u64,
    /// Time in turns that found something to do, in nanoseconds.
    pub busy_ns: u64,
    /// Time in turns that found nothing and in `Park`, in nanoseconds. A park hands requests to
    /// the kernel before it sleeps, so what the kernel did for them at once is in here.
    pub idle_ns: u64,
}

//! Real-time priority for a reactor's thread.
//!
//! What must always hold: asked for only by the user's wish, since a real-time thread that
//! spins keeps everything else off its core.
#![allow(unsafe_code, reason = "island: sched_setscheduler(2), which nix lacks")]

/// The kernel allows this process no real-time priority (see
/// [`Limits::realtime_priority_max`](crate::Limits::realtime_priority_max)).
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error(
    "no real-time priority {priority}: {}; it takes CAP_SYS_NICE or a limit (ulimit -r)",
    std::io::Error::from_raw_os_error(*errno)
)]
pub struct RealtimeRefused {
    /// What was asked for.
    pub priority: u8,
    /// What the system said.
    pub errno: i32,
}

/// Puts the calling thread under SCHED_FIFO with `priority` 1 (low) to 99. Threads that it
/// starts do not inherit it.
pub fn set_realtime(priority: u8) -> Result<(), RealtimeRefused> {
    schedule(libc::SCHED_FIFO | libc::SCHED_RESET_ON_FORK, priority)
}

/// Puts the calling thread back under the ordinary scheduler.
pub fn set_ordinary() -> Result<(), RealtimeRefused> {
    schedule(libc::SCHED_OTHER, 0)
}

fn schedule(policy: libc::c_int, priority: u8) -> Result<(), RealtimeRefused> {
    let param = libc::sched_param { sched_priority: libc::c_int::from(priority) };
    // SAFETY: pid 0 is the calling thread; `param` lives across the call, which only reads it.
    match unsafe { libc::sched_setscheduler(0, policy, &param) } {
        0 => Ok(()),
        _ => Err(RealtimeRefused { priority, errno: nix::errno::Errno::last_raw() }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The policy of the calling thread: field 41 of its stat (proc_pid_stat(5)).
    fn policy() -> String {
        let stat = std::fs::read_to_string("/proc/thread-self/stat").unwrap();
        let after_name = stat.rsplit_once(") ").unwrap().1;
        after_name.split(' ').nth(41 - 3).unwrap().to_owned()
    }

    #[test]
    fn real_time_is_had_or_refused_in_words() {
        // On a thread of its own: the test's other threads stay ordinary.
        std::thread::scope(|scope| {
            scope.spawn(|| match set_realtime(1) {
                Ok(()) => {
                    assert_eq!(policy(), "1", "SCHED_FIFO");
                    set_ordinary().unwrap();
                    assert_eq!(policy(), "0", "SCHED_OTHER");
                }
                Err(refused) => {
                    assert_eq!(refused.errno, libc::EPERM);
                    assert!(refused.to_string().contains("CAP_SYS_NICE"), "{refused}");
                    assert_eq!(policy(), "0");
                }
            });
        });
    }

    #[test]
    fn a_priority_out_of_range_is_refused() {
        assert_eq!(set_realtime(0).unwrap_err().errno, libc::EINVAL);
        assert_eq!(set_realtime(100).unwrap_err().errno, libc::EINVAL);
    }
}

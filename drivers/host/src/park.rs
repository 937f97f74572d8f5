//! Sleep without a ring: a core that drives no io_uring waits on its thread's own parking.
//!
//! What must always hold: an `unpark` before or during `park` ends it, whatever else on this
//! thread uses the thread's parking token (a blocking channel does), for a flag of our own
//! stands beside the token. A park never outlasts its deadline by more than the kernel's wake-up
//! takes: the thread asks for a timer slack of 1 ns, where the default lets every timer be up to
//! 50 µs late.

use std::marker::PhantomData;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::Thread;
use std::time::Duration;

use isotherm_seam::{Mono, Park, Unpark};

/// The sleep of the thread that made it. It cannot be sent to another.
pub struct ThreadPark {
    bell: Arc<Bell>,
    precise: bool,
    _of_this_thread: PhantomData<*const ()>,
}

struct Bell {
    rung: AtomicBool,
    thread: Thread,
}

impl ThreadPark {
    /// For the calling thread, whose timer slack is set to 1 ns.
    pub fn new() -> ThreadPark {
        let bell = Bell { rung: AtomicBool::new(false), thread: std::thread::current() };
        let precise = nix::sys::prctl::set_timerslack(1).is_ok();
        ThreadPark { bell: Arc::new(bell), precise, _of_this_thread: PhantomData }
    }

    /// Whether the timer slack could be set. If not (a sandbox), timed sleeps end up to 50 µs
    /// late. Real-time threads have no slack in any case.
    pub fn is_precise(&self) -> bool {
        self.precise
    }
}

impl Default for ThreadPark {
    fn default() -> ThreadPark {
        ThreadPark::new()
    }
}

impl Park for ThreadPark {
    fn park(&mut self, now: Mono, until: Option<Mono>) {
        if !self.bell.rung.load(Ordering::Acquire) {
            match until {
                None => std::thread::park(),
                Some(until) if until > now => {
                    std::thread::park_timeout(Duration::from_nanos(until.since(now).0));
                }
                Some(_) => {}
            }
        }
        // A ring between here and the caller's next look at its queues stays for the next park:
        // `swap` takes what was written before the ring, and the caller looks after it.
        self.bell.rung.swap(false, Ordering::AcqRel);
    }

    fn unparker(&self) -> Arc<dyn Unpark> {
        self.bell.clone()
    }
}

impl Unpark for Bell {
    fn unpark(&self) {
        // Who finds it rung already leaves the waking to the one who rang first.
        if !self.rung.swap(true, Ordering::AcqRel) {
            self.thread.unpark();
        }
    }
}

#[cfg(test)]
mod tests {
    use isotherm_seam::Clock;

    use super::*;
    use crate::HostClock;

    const FAR: Mono = Mono(u64::MAX);

    /// Parks until the flag is up, as a reactor does: a park may end without a reason.
    fn park_until(park: &mut ThreadPark, flag: &AtomicBool) {
        while !flag.load(Ordering::Acquire) {
            park.park(HostClock::new().mono(), None);
        }
    }

    #[test]
    fn an_unpark_beforehand_is_not_lost() {
        let mut park = ThreadPark::new();
        let bell = park.unparker();
        bell.unpark();
        bell.unpark();
        park.park(Mono::ZERO, Some(FAR));
        assert!(!park.bell.rung.load(Ordering::Acquire), "one park takes all rings");
    }

    #[test]
    fn an_unpark_survives_a_stolen_token() {
        let mut park = ThreadPark::new();
        park.unparker().unpark();
        // Someone else on this thread takes the token that was meant for us.
        std::thread::park_timeout(Duration::from_secs(60));
        park.park(Mono::ZERO, Some(FAR));
    }

    #[test]
    fn another_thread_ends_the_sleep_every_time() {
        let mut park = ThreadPark::new();
        let turns = 2_000;
        let (flag, answered) = (AtomicBool::new(false), AtomicBool::new(true));
        std::thread::scope(|scope| {
            let bell = park.unparker();
            scope.spawn(|| {
                let bell = bell;
                for _ in 0..turns {
                    while !answered.swap(false, Ordering::AcqRel) {
                        std::thread::yield_now();
                    }
                    flag.store(true, Ordering::Release);
                    bell.unpark();
                }
            });
            for _ in 0..turns {
                park_until(&mut park, &flag);
                flag.store(false, Ordering::Release);
                answered.store(true, Ordering::Release);
            }
        });
    }

    #[test]
    fn a_deadline_ends_the_sleep_and_not_before() {
        let clock = HostClock::new();
        let mut park = ThreadPark::new();
        let until = clock.mono() + isotherm_seam::Nanos::from_millis(5);
        loop {
            let now = clock.mono();
            if now >= until {
                break;
            }
            park.park(now, Some(until));
        }
        park.park(clock.mono(), Some(until)); // A deadline in the past does not sleep at all.
    }

    #[test]
    fn the_timer_slack_is_set_where_the_kernel_allows() {
        let park = ThreadPark::new();
        if park.is_precise() {
            assert_eq!(nix::sys::prctl::get_timerslack(), Ok(1));
        } else {
            println!("this machine does not let a thread set its timer slack");
        }
    }
}

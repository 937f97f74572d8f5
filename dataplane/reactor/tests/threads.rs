//! Two real cores: mailboxes between threads that sleep, and disks with threads behind them.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Poll, Waker};

use isotherm_host::{HostClock, ThreadPark};
use isotherm_reactor::{Reactor, ReactorConfig, Sender};

fn reactor(exclusive: bool) -> Reactor<ThreadPark, HostClock> {
    let config = ReactorConfig { exclusive, ..ReactorConfig::default() };
    Reactor::new(ThreadPark::new(), HostClock::new(), config)
}

/// Messages go back and forth; a wake-up that is lost would hang the test.
fn ping_pong(exclusive: bool, rounds: u64, capacity: usize) {
    let (give, take) = std::sync::mpsc::channel::<Sender<u64>>();
    let (give_back, take_back) = std::sync::mpsc::channel::<Sender<u64>>();
    std::thread::scope(|scope| {
        scope.spawn(move || {
            let mut reactor = reactor(exclusive);
            let (sender, mut mailbox) = reactor.mailbox::<u64>(capacity);
            give.send(sender).unwrap();
            let answer = take_back.recv().unwrap();
            reactor.run(async move {
                while let Some(message) = mailbox.recv().await {
                    answer.send(message + 1).await.unwrap();
                }
            });
        });
        let mut reactor = reactor(exclusive);
        let (sender, mut mailbox) = reactor.mailbox::<u64>(capacity);
        give_back.send(sender).unwrap();
        let ask = take.recv().unwrap();
        let handle = reactor.handle().clone();
        reactor.run(async move {
            let sending = handle.spawn("ask", async move {
                for message in 0..rounds {
                    ask.send(message).await.unwrap();
                }
            });
            for message in 0..rounds {
                assert_eq!(mailbox.recv().await, Some(message + 1));
            }
            sending.await;
        });
    });
}

#[test]
fn messages_between_cores_are_not_lost() {
    for capacity in [1, 2, 64] {
        ping_pong(false, 20_000, capacity);
    }
}

#[test]
fn messages_between_cores_that_spin_are_not_lost() {
    ping_pong(true, 2_000, 4);
}

/// A task woken by its waker from another thread, again and again.
#[test]
fn a_waker_works_from_any_thread() {
    const STEPS: u64 = 20_000;
    let (steps, seen) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicU64::new(0)));
    let (give, take) = std::sync::mpsc::channel::<Waker>();
    std::thread::scope(|scope| {
        let (steps_there, seen_there) = (steps.clone(), seen.clone());
        scope.spawn(move || {
            let waker = take.recv().unwrap();
            for step in 1..=STEPS {
                steps_there.store(step, Ordering::Release);
                waker.wake_by_ref();
                while seen_there.load(Ordering::Acquire) < step {
                    std::hint::spin_loop();
                    std::thread::yield_now();
                }
            }
        });
        let mut reactor = reactor(false);
        let mut given = false;
        reactor.run(std::future::poll_fn(move |cx| {
            if !std::mem::replace(&mut given, true) {
                give.send(cx.waker().clone()).unwrap();
            }
            let now = steps.load(Ordering::Acquire);
            seen.store(now, Ordering::Release);
            if now == STEPS { Poll::Ready(()) } else { Poll::Pending }
        }));
    });
}

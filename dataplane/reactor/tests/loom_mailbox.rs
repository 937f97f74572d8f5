//! The sleep and wake handshake under loom: every interleaving of a few threads, with the
//! memory model's freedom, over the very source file that the reactor uses.
//!
//! `RUSTFLAGS="--cfg loom" cargo test --release -p isotherm-reactor --test loom_mailbox`
//!
//! A lost wake-up shows as a deadlock, which loom reports. What is modelled: the standard
//! atomics by loom's, the queue by a lock around a list, the kernel's sleep by a token under a
//! condition variable. What is not: crossbeam's queue itself, and the reactor around it.
#![cfg(loom)]

#[path = "../src/handshake.rs"]
#[allow(dead_code, reason = "each model uses a part of it")]
mod handshake;

use std::collections::VecDeque;

use handshake::{Atomics, Handshake, Lock, Room, WakeBoard, Word};
use loom::sync::atomic::{AtomicU64, Ordering, fence};
use loom::sync::{Arc, Condvar, Mutex};
use loom::thread;

enum Loom {}

impl Atomics for Loom {
    type Word = AtomicU64;
    type Lock<T> = Mutex<T>;
    fn fence() {
        fence(Ordering::SeqCst);
    }
}

impl Word for AtomicU64 {
    fn new(value: u64) -> AtomicU64 {
        AtomicU64::new(value)
    }
    fn load(&self, order: Ordering) -> u64 {
        self.load(order)
    }
    fn store(&self, value: u64, order: Ordering) {
        self.store(value, order);
    }
    fn swap(&self, value: u64, order: Ordering) -> u64 {
        self.swap(value, order)
    }
    fn fetch_or(&self, bits: u64, order: Ordering) -> u64 {
        self.fetch_or(bits, order)
    }
}

impl<T> Lock<T> for Mutex<T> {
    fn new(value: T) -> Mutex<T> {
        Mutex::new(value)
    }
    fn with<R>(&self, f: impl FnOnce(&mut T) -> R) -> R {
        f(&mut self.lock().unwrap())
    }
}

/// The sleep of a core: an unpark ends the current park or the next one.
struct Sleep {
    token: Mutex<bool>,
    rung: Condvar,
}

impl Sleep {
    fn new() -> Sleep {
        Sleep { token: Mutex::new(false), rung: Condvar::new() }
    }

    fn park(&self) {
        let mut token = self.token.lock().unwrap();
        while !*token {
            token = self.rung.wait(token).unwrap();
        }
        *token = false;
    }

    fn unpark(&self) {
        *self.token.lock().unwrap() = true;
        self.rung.notify_one();
    }
}

/// A queue that, like the real one, is looked into without a lock: its length is an atomic of
/// its own, stored after the message and read with no more order than the handshake gives.
struct Queue {
    messages: Mutex<VecDeque<u32>>,
    len: AtomicU64,
    capacity: usize,
}

impl Queue {
    fn new(capacity: usize) -> Queue {
        Queue { messages: Mutex::new(VecDeque::new()), len: AtomicU64::new(0), capacity }
    }

    fn push(&self, message: u32) -> bool {
        let mut messages = self.messages.lock().unwrap();
        if messages.len() == self.capacity {
            return false;
        }
        messages.push_back(message);
        self.len.store(messages.len() as u64, Ordering::Relaxed);
        true
    }

    fn pop(&self) -> Option<u32> {
        if self.is_empty() {
            return None;
        }
        let mut messages = self.messages.lock().unwrap();
        let message = messages.pop_front();
        self.len.store(messages.len() as u64, Ordering::Relaxed);
        message
    }

    fn is_empty(&self) -> bool {
        self.len.load(Ordering::Relaxed) == 0
    }

    fn is_full(&self) -> bool {
        self.len.load(Ordering::Relaxed) == self.capacity as u64
    }
}

struct World {
    handshake: Handshake<Loom>,
    sleep: Sleep,
    board: WakeBoard<Loom>,
    queue: Queue,
    room: Room<Loom, u32>,
}

impl World {
    fn new(capacity: usize) -> Arc<World> {
        Arc::new(World {
            handshake: Handshake::new(),
            sleep: Sleep::new(),
            board: WakeBoard::new(128),
            queue: Queue::new(capacity),
            room: Room::new(),
        })
    }

    fn notify(&self) {
        self.handshake.notify(|| self.sleep.unpark());
    }

    /// The core: takes so many messages, sleeping in between.
    fn receive(&self, wanted: usize) -> Vec<u32> {
        let mut messages = Vec::new();
        loop {
            messages.extend(std::iter::from_fn(|| self.queue.pop()));
            if messages.len() == wanted {
                return messages;
            }
            self.handshake.park(|| !self.queue.is_empty(), || self.sleep.park());
        }
    }
}

fn model(f: impl Fn() + Sync + Send + 'static) {
    let mut builder = loom::model::Builder::new();
    // Bugs of this kind need very few switches; without a bound the models take hours.
    builder.preemption_bound = Some(3);
    builder.check(f);
}

#[test]
fn a_message_is_never_slept_through() {
    model(|| {
        let world = World::new(4);
        let senders: Vec<_> = (0..2)
            .map(|sender| {
                let world = Arc::clone(&world);
                thread::spawn(move || {
                    assert!(world.queue.push(sender));
                    world.notify();
                })
            })
            .collect();
        let mut messages = world.receive(2);
        messages.sort_unstable();
        assert_eq!(messages, [0, 1]);
        senders.into_iter().for_each(|sender| sender.join().unwrap());
    });
}

#[test]
fn one_sender_can_send_again_and_again() {
    model(|| {
        let world = World::new(4);
        let sender = {
            let world = Arc::clone(&world);
            thread::spawn(move || {
                for message in 0..3 {
                    assert!(world.queue.push(message));
                    world.notify();
                }
            })
        };
        let messages = world.receive(3);
        assert_eq!(messages, [0, 1, 2]);
        sender.join().unwrap();
    });
}

/// Tasks 3 and 5 share a word of the board, task 70 has another.
#[test]
fn a_raised_bit_is_never_slept_through() {
    for tasks in [[3, 5], [3, 70]] {
        model(move || {
            let world = World::new(1);
            let wakers: Vec<_> = tasks
                .into_iter()
                .map(|task| {
                    let world = Arc::clone(&world);
                    thread::spawn(move || {
                        world.board.raise(task);
                        world.notify();
                    })
                })
                .collect();
            let mut woken = Vec::new();
            while woken.len() < tasks.len() {
                world.board.drain(|task| woken.push(task));
                if woken.len() < tasks.len() {
                    world.handshake.park(|| world.board.is_raised(), || world.sleep.park());
                }
            }
            woken.sort_unstable();
            assert_eq!(woken, tasks);
            wakers.into_iter().for_each(|waker| waker.join().unwrap());
        });
    }
}

/// One task woken twice: what the second wake stands for is seen after it.
#[test]
fn a_bit_raised_again_is_seen_again() {
    model(|| {
        let world = World::new(1);
        let progress = Arc::new(AtomicU64::new(0));
        let waker = {
            let (world, progress) = (Arc::clone(&world), Arc::clone(&progress));
            thread::spawn(move || {
                for step in 1..=2 {
                    progress.store(step, Ordering::Relaxed);
                    world.board.raise(9);
                    world.notify();
                }
            })
        };
        let mut seen = 0;
        while seen < 2 {
            world.board.drain(|_| seen = progress.load(Ordering::Relaxed));
            if seen < 2 {
                world.handshake.park(|| world.board.is_raised(), || world.sleep.park());
            }
        }
        waker.join().unwrap();
    });
}

#[test]
fn room_is_never_slept_through() {
    model(|| {
        let world = World::new(1);
        assert!(world.queue.push(0));
        let sender = {
            let world = Arc::clone(&world);
            thread::spawn(move || {
                // As a task of another core that finds the mailbox full: it waits to be woken.
                let mut sent = world.queue.push(1);
                while !sent {
                    sent = world.room.wait(
                        7,
                        |a, b| a == b,
                        || !world.queue.is_full() && world.queue.push(1),
                    );
                    if !sent {
                        world.sleep.park();
                    }
                }
            })
        };
        let mut messages = Vec::new();
        while messages.len() < 2 {
            match world.queue.pop() {
                Some(message) => {
                    messages.push(message);
                    world.room.freed(|who| {
                        assert_eq!(who, 7);
                        world.sleep.unpark();
                    });
                }
                // The core's own sleep is the other models' affair.
                None => thread::yield_now(),
            }
        }
        assert_eq!(messages, [0, 1]);
        sender.join().unwrap();
    });
}

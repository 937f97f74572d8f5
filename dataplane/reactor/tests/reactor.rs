//! The reactor in virtual time: tasks, timers, disks and mailboxes do what they say.

use std::cell::{Cell, RefCell};
use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::task::Poll;

use isotherm_reactor::{Batch, Elapsed, Order, Reactor, ReactorConfig, SendError, Source, Waiter};
use isotherm_seam::{
    BlockDevice, BufPool, Clock, Completion, DeviceInfo, DiskId, Due, Geometry, IoError, Lba, Mono,
    Nanos, Op, Park, Persist, PoolLayout, Request, Unpark,
};
use isotherm_sim::{Latency, SimClock, SimDisk, SimDiskConfig, SimPark};

type SimReactor = Reactor<SimPark, SimClock>;

fn reactor_with(config: ReactorConfig) -> (SimReactor, SimClock) {
    let clock = SimClock::new();
    (Reactor::new(SimPark::new(clock.clone()), clock.clone(), config), clock)
}

fn reactor() -> (SimReactor, SimClock) {
    reactor_with(ReactorConfig::default())
}

fn pool() -> BufPool {
    BufPool::new(&PoolLayout { huge: false, ..PoolLayout::uniform(4096, 64) }).unwrap()
}

/// A disk on which every request takes 100 ns.
fn disk(depth: u32) -> SimDisk {
    let each = (Nanos(100), Nanos(100));
    let mut config = SimDiskConfig::new(1, DiskId(0), 1000);
    config.latency = Latency { read: each, write: each, flush: each, bytes_per_s: 0 };
    config.geometry.depth_max = depth;
    SimDisk::new(config)
}

/// Polls futures side by side, as joining combinators do, with the waker that it is given.
async fn all<F: Future + Unpin>(futures: Vec<F>) -> Vec<F::Output> {
    let mut slots: Vec<(F, Option<F::Output>)> =
        futures.into_iter().map(|future| (future, None)).collect();
    std::future::poll_fn(|cx| {
        for (future, output) in &mut slots {
            if output.is_none()
                && let Poll::Ready(value) = Pin::new(future).poll(cx)
            {
                *output = Some(value);
            }
        }
        match slots.iter().all(|(_, output)| output.is_some()) {
            true => Poll::Ready(()),
            false => Poll::Pending,
        }
    })
    .await;
    slots.into_iter().map(|(_, output)| output.expect("all are done")).collect()
}

// Tasks.

#[test]
fn tasks_run_and_are_joined() {
    let (mut reactor, _) = reactor();
    let handle = reactor.handle().clone();
    let sum = reactor.run(async move {
        let tasks: Vec<_> = (0..10).map(|n| handle.spawn("part", async move { n })).collect();
        let mut sum = 0;
        for task in tasks {
            sum += task.await;
        }
        sum
    });
    assert_eq!(sum, 45);
    assert_eq!(reactor.handle().tasks(), 0);
}

/// Tells when it is dropped.
struct Guard(Rc<Cell<u32>>);

impl Drop for Guard {
    fn drop(&mut self) {
        self.0.set(self.0.get() + 1);
    }
}

#[test]
fn a_dropped_handle_leaves_the_task_running_and_a_cancelled_task_is_gone() {
    let (mut reactor, _) = reactor();
    let (dropped, ended) = (Rc::new(Cell::new(0)), Rc::new(Cell::new(0)));
    let job = |reactor: &SimReactor| {
        let (guard, ended) = (Guard(dropped.clone()), ended.clone());
        let handle = reactor.handle().clone();
        reactor.spawn("job", async move {
            let _guard = guard;
            handle.sleep(Nanos(10)).await;
            ended.set(ended.get() + 1);
            7
        })
    };
    drop(job(&reactor));
    let cancelled = job(&reactor);
    reactor.turn();
    assert_eq!(cancelled.cancel(), None);
    assert_eq!((dropped.get(), reactor.handle().tasks()), (1, 1));
    let handle = reactor.handle().clone();
    reactor.run(async move { handle.sleep(Nanos(20)).await });
    assert_eq!((dropped.get(), ended.get()), (2, 1));
    let mut done = job(&reactor);
    let handle = reactor.handle().clone();
    reactor.run(async move { handle.sleep(Nanos(20)).await });
    assert_eq!((done.try_take(), done.try_take()), (Some(7), None));
}

#[test]
fn a_task_may_cancel_itself_and_others_while_it_runs() {
    let (mut reactor, _) = reactor();
    let dropped = Rc::new(Cell::new(0));
    let own = Rc::new(RefCell::new(None));
    let (guard, mine) = (Guard(dropped.clone()), own.clone());
    let task = reactor.spawn("own", async move {
        let _guard = guard;
        let task: isotherm_reactor::Task<()> = mine.borrow_mut().take().expect("put there");
        task.cancel();
        std::future::pending::<()>().await;
    });
    *own.borrow_mut() = Some(task);
    reactor.turn();
    assert_eq!((dropped.get(), reactor.handle().tasks()), (1, 0));
}

#[test]
fn a_full_core_hands_the_future_back() {
    let (mut reactor, _) = reactor_with(ReactorConfig { tasks_max: 2, ..Default::default() });
    let first = reactor.spawn("first", async {});
    let _second = reactor.spawn("second", std::future::pending::<()>());
    assert!(reactor.handle().try_spawn("third", async {}).is_err());
    reactor.turn();
    drop(first);
    assert!(reactor.handle().try_spawn("third", async {}).is_ok(), "a place is free again");
}

#[test]
fn ready_tasks_run_in_order_or_by_the_seed() {
    let run = |order| {
        let (mut reactor, _) = reactor_with(ReactorConfig { order, ..Default::default() });
        let log = Rc::new(RefCell::new(Vec::new()));
        for n in 0..50 {
            let log = log.clone();
            reactor.spawn("n", async move { log.borrow_mut().push(n) });
        }
        reactor.turn();
        log.take()
    };
    assert_eq!(run(Order::Fifo), (0..50).collect::<Vec<_>>());
    assert_eq!(run(Order::Seeded(1)), run(Order::Seeded(1)));
    assert_ne!(run(Order::Seeded(1)), run(Order::Seeded(2)));
    assert_ne!(run(Order::Seeded(1)), run(Order::Fifo));
    let mut sorted = run(Order::Seeded(3));
    sorted.sort_unstable();
    assert_eq!(sorted, (0..50).collect::<Vec<_>>());
}

#[test]
fn a_task_that_yields_lets_the_others_run() {
    let (mut reactor, _) = reactor();
    let log = Rc::new(RefCell::new(Vec::new()));
    for name in ["a", "b"] {
        let (handle, log) = (reactor.handle().clone(), log.clone());
        reactor.spawn(name, async move {
            for _ in 0..2 {
                log.borrow_mut().push(name);
                handle.yield_now().await;
            }
        });
    }
    while reactor.turn() {}
    assert_eq!(*log.borrow(), ["a", "b", "a", "b"]);
}

#[test]
fn a_reactor_that_goes_drops_its_tasks_and_their_tasks() {
    /// Spawns when it is dropped.
    struct Spawner(
        isotherm_reactor::Handle,
        #[expect(dead_code, reason = "counts its drop")] Guard,
    );
    impl Drop for Spawner {
        fn drop(&mut self) {
            assert!(self.0.try_spawn("late", async {}).is_err(), "nothing starts any more");
        }
    }
    let (mut reactor, _) = reactor();
    let dropped = Rc::new(Cell::new(0));
    let handle = reactor.handle().clone();
    for _ in 0..3 {
        let spawner = Spawner(handle.clone(), Guard(dropped.clone()));
        reactor.spawn("holds", async move {
            let _spawner = spawner;
            std::future::pending::<()>().await;
        });
    }
    reactor.turn();
    drop(reactor);
    assert_eq!((dropped.get(), handle.tasks()), (3, 0));
}

// Time.

#[test]
fn sleeps_end_in_order_and_at_their_time() {
    let (mut reactor, clock) = reactor();
    let log = Rc::new(RefCell::new(Vec::new()));
    for (name, at) in [(1, 300), (2, 100), (3, 200), (4, 100)] {
        let (handle, log) = (reactor.handle().clone(), log.clone());
        reactor.spawn("sleeper", async move {
            handle.sleep(Nanos(at)).await;
            log.borrow_mut().push((name, handle.now().0));
        });
    }
    let handle = reactor.handle().clone();
    reactor.run(async move { handle.sleep_until(Mono(1_000)).await });
    assert_eq!(*log.borrow(), [(2, 100), (4, 100), (3, 200), (1, 300)]);
    assert_eq!(clock.mono(), Mono(1_000));
    assert_eq!(reactor.counters().parks, 4, "one sleep for each time that something was due");
    assert_eq!(reactor.counters().idle_ns, 1_000);
}

#[test]
fn a_time_out_drops_what_takes_too_long() {
    let (mut reactor, clock) = reactor();
    let handle = reactor.handle().clone();
    let dropped = Rc::new(Cell::new(0));
    let guard = Guard(dropped.clone());
    reactor.run(async move {
        let quick = handle.sleep(Nanos(50));
        assert_eq!(handle.timeout(Nanos(100), quick).await, Ok(()));
        let slow = handle.sleep(Nanos(500));
        let slow = async move {
            let _guard = guard;
            slow.await;
        };
        assert_eq!(handle.timeout(Nanos(100), slow).await, Err(Elapsed));
    });
    assert_eq!((clock.mono(), dropped.get()), (Mono(150), 1));
    assert_eq!(reactor.due(), Due::Idle, "sleeps that were dropped are not waited for");
}

#[test]
fn a_core_is_due_when_its_first_disk_or_timer_is() {
    let (mut reactor, _) = reactor();
    let (pool, disk) = (pool(), reactor.attach(Box::new(disk(8))));
    let read = disk.read(Lba(1), pool.alloc(4096).unwrap());
    assert_eq!(reactor.due(), Due::At(Mono(100)));
    for (length, due) in [(500, 100), (30, 30)] {
        let sleep = reactor.handle().sleep(Nanos(length));
        reactor.spawn("sleeper", sleep);
        reactor.turn();
        assert_eq!(reactor.due(), Due::At(Mono(due)));
    }
    drop(read);
    assert_eq!(reactor.due(), Due::At(Mono(30)), "what the device has taken runs on");
}

// Disks.

#[test]
fn a_disk_reads_what_was_written() {
    let (mut reactor, _) = reactor();
    let pool = pool();
    let disk = reactor.attach(Box::new(disk(8)));
    reactor.run(async move {
        let mut buf = pool.alloc(4096).unwrap();
        buf.fill(0x5a);
        let (result, mut buf) = disk.write(Lba(7), buf, Persist::Flush).await;
        result.unwrap();
        disk.flush().await.unwrap();
        buf.fill(0);
        let (result, buf) = disk.read(Lba(7), buf).await;
        result.unwrap();
        assert!(buf.iter().all(|&b| b == 0x5a));
        let (result, _) = disk.read(Lba(1000), buf).await;
        assert!(matches!(result, Err(IoError::Misfit(_))));
        disk.discard(Lba(0), 10).await.unwrap();
    });
}

#[test]
fn requests_run_side_by_side_from_the_moment_they_are_made() {
    let (mut reactor, clock) = reactor();
    let pool = pool();
    let disk = reactor.attach(Box::new(disk(8)));
    reactor.run(async move {
        let reads: Vec<_> = (0..8).map(|n| disk.read(Lba(n), pool.alloc(4096).unwrap())).collect();
        assert_eq!(disk.inflight(), 8);
        for read in reads {
            read.await.0.unwrap();
        }
    });
    assert_eq!(clock.mono(), Mono(100), "all at once, and not one after the other");
}

#[test]
fn requests_wait_for_a_full_device_in_turn() {
    let (mut reactor, clock) = reactor();
    let pool = pool();
    let disk = reactor.attach(Box::new(disk(2)));
    let log = Rc::new(RefCell::new(Vec::new()));
    for n in 0..7 {
        let (disk, pool, log) = (disk.clone(), pool.clone(), log.clone());
        let handle = reactor.handle().clone();
        reactor.spawn("reader", async move {
            disk.read(Lba(n), pool.alloc(4096).unwrap()).await.0.unwrap();
            log.borrow_mut().push((n, handle.now().0));
        });
    }
    reactor.turn();
    assert_eq!((disk.inflight(), disk.waiting()), (2, 5));
    let handle = reactor.handle().clone();
    reactor.run(async move { handle.sleep(Nanos(1_000)).await });
    let expected: Vec<(u64, u64)> = (0..7).map(|n| (n, 100 * (1 + n / 2))).collect();
    assert_eq!(*log.borrow(), expected);
    assert_eq!(clock.mono(), Mono(1_000));
}

/// A device that is full when it is told to be, as one that shares a ring may be, and notes in
/// which order requests come.
struct Moody(SimDisk, Rc<Cell<bool>>, Rc<RefCell<Vec<u64>>>);

impl BlockDevice for Moody {
    fn geometry(&self) -> &Geometry {
        self.0.geometry()
    }
    fn info(&self) -> DeviceInfo {
        self.0.info()
    }
    fn submit(&mut self, now: Mono, request: Request) -> Result<(), Request> {
        if self.1.get() {
            return Err(request);
        }
        if let Op::Read { lba, .. } = request.op {
            self.2.borrow_mut().push(lba.0);
        }
        self.0.submit(now, request)
    }
    fn poll(&mut self, now: Mono, done: &mut Vec<Completion>) -> usize {
        self.0.poll(now, done)
    }
    fn due(&self) -> Due {
        self.0.due()
    }
    fn inflight(&self) -> usize {
        self.0.inflight()
    }
}

#[test]
fn nobody_overtakes_who_waits() {
    let (mut reactor, _) = reactor();
    let (full, order) = (Rc::new(Cell::new(true)), Rc::new(RefCell::new(Vec::new())));
    let device = Moody(disk(8), full.clone(), order.clone());
    let (pool, disk) = (pool(), reactor.attach(Box::new(device)));
    let read = |lba| disk.read(Lba(lba), pool.alloc(4096).unwrap());
    let first = read(1);
    full.set(false);
    let second = read(2);
    assert_eq!((disk.inflight(), disk.waiting(), reactor.due()), (0, 2, Due::Event));
    reactor.run(async move {
        second.await.0.unwrap();
        first.await.0.unwrap();
    });
    assert_eq!(*order.borrow(), [1, 2]);
}

#[test]
fn a_dropped_future_leaves_its_io_to_run_and_gives_the_buffer_back() {
    let (mut reactor, _) = reactor();
    let pool = pool();
    let sim = disk(2);
    let control = sim.control();
    let disk = reactor.attach(Box::new(sim));
    let free = pool.free_count();
    let write = |lba, byte| {
        let mut buf = pool.alloc(4096).unwrap();
        buf.fill(byte);
        disk.write(Lba(lba), buf, Persist::Flush)
    };
    // Two in the device, two that wait for it.
    let (taken, kept, waiting, last) = (write(1, 1), write(2, 2), write(3, 3), write(4, 4));
    drop((taken, waiting));
    assert_eq!(pool.free_count(), free - 3, "the waiting one is withdrawn at once");
    let disk_of_task = disk.clone();
    reactor.run(async move {
        kept.await.0.unwrap();
        last.await.0.unwrap();
        disk_of_task.flush().await.unwrap();
    });
    assert_eq!(pool.free_count(), free);
    let mut found = [[9u8; 4096]; 4];
    for (lba, block) in (1..).zip(&mut found) {
        control.peek(Lba(lba), block).unwrap();
    }
    assert_eq!((found[0][0], found[1][0], found[3][0]), (1, 2, 4));
    assert_ne!(found[2], [3; 4096], "a withdrawn write leaves no trace");
}

#[test]
fn a_task_dropped_in_the_middle_of_its_io_harms_nobody() {
    let (mut reactor, _) = reactor();
    let (pool, disk) = (pool(), reactor.attach(Box::new(disk(4))));
    let free = pool.free_count();
    let (pool_of_task, disk_of_task) = (pool.clone(), disk.clone());
    let task = reactor.spawn("reader", async move {
        let reads: Vec<_> =
            (0..6).map(|n| disk_of_task.read(Lba(n), pool_of_task.alloc(4096).unwrap())).collect();
        all(reads).await
    });
    reactor.turn();
    assert!(task.cancel().is_none());
    assert_eq!((disk.inflight(), pool.free_count()), (4, free - 4));
    let disk_of_task = disk.clone();
    reactor.run(async move { disk_of_task.flush().await.unwrap() });
    assert_eq!((disk.inflight(), disk.waiting(), pool.free_count()), (0, 0, free));
}

#[test]
fn a_detached_disk_is_gone_for_those_who_still_hold_it() {
    let (mut reactor, _) = reactor();
    let (pool, disk) = (pool(), reactor.attach(Box::new(disk(4))));
    let read = disk.read(Lba(1), pool.alloc(4096).unwrap());
    let other = disk.clone();
    let Err(disk) = disk.detach() else { panic!("something is in flight") };
    reactor.run(async move { read.await.0.unwrap() });
    let device = disk.detach().map_err(|_| "busy").unwrap();
    assert_eq!(device.inflight(), 0);
    let result = reactor.run(async move { other.flush().await });
    assert_eq!(result, Err(IoError::Gone));
    let again = reactor.attach(device);
    assert_eq!(again.id(), DiskId(1));
    reactor.run(async move { again.flush().await.unwrap() });
}

/// A waker that is not the task's own, as joining libraries bring along.
#[test]
fn io_wakes_through_a_foreign_waker_too() {
    struct Relay(std::task::Waker);
    impl std::task::Wake for Relay {
        fn wake(self: std::sync::Arc<Self>) {
            self.0.wake_by_ref();
        }
    }
    let (mut reactor, _) = reactor();
    let (pool, disk) = (pool(), reactor.attach(Box::new(disk(4))));
    reactor.run(async move {
        let mut read = disk.read(Lba(1), pool.alloc(4096).unwrap());
        std::future::poll_fn(|cx| {
            let waker = std::sync::Arc::new(Relay(cx.waker().clone())).into();
            Pin::new(&mut read).poll(&mut std::task::Context::from_waker(&waker))
        })
        .await
        .0
        .unwrap();
    });
    assert!(reactor.counters().wakes >= 1);
}

// Mailboxes.

#[test]
fn messages_arrive_in_order_and_a_full_mailbox_hands_them_back() {
    let (mut reactor, _) = reactor();
    let (sender, mut mailbox) = reactor.mailbox::<u32>(3);
    for n in 0..3 {
        sender.try_send(n).unwrap();
    }
    assert_eq!(sender.try_send(3), Err(SendError::Full(3)));
    assert_eq!(mailbox.len(), 3);
    let received = reactor.run(async move {
        let mut received = Vec::new();
        while received.len() < 3 {
            received.extend(mailbox.recv().await);
        }
        received
    });
    assert_eq!(received, [0, 1, 2]);
    assert_eq!(sender.try_send(4), Err(SendError::Closed(4)), "the mailbox went with its task");
}

#[test]
fn a_sender_waits_for_room_and_hears_of_the_end() {
    let (mut reactor, _) = reactor();
    let (sender, mut mailbox) = reactor.mailbox::<u32>(2);
    let (slow, handle) = (sender.clone(), reactor.handle().clone());
    let sending = reactor.spawn("sender", async move {
        for n in 0..6 {
            slow.send(n).await.unwrap();
        }
        slow
    });
    let received = reactor.run(async move {
        let mut received = Vec::new();
        for _ in 0..6 {
            handle.sleep(Nanos(10)).await;
            received.extend(mailbox.recv().await);
        }
        (received, mailbox)
    });
    assert_eq!(received.0, [0, 1, 2, 3, 4, 5]);
    let slow = reactor.run(sending);
    let mut mailbox = received.1;
    drop((sender, slow));
    assert_eq!(reactor.run(async move { mailbox.recv().await }), None, "nobody can send");
}

#[test]
fn a_sender_that_waits_hears_that_the_mailbox_is_gone() {
    let (mut reactor, _) = reactor();
    let (sender, mailbox) = reactor.mailbox::<u32>(1);
    sender.try_send(0).unwrap();
    let sending = reactor.spawn("sender", async move { sender.send(1).await });
    reactor.turn();
    drop(mailbox);
    assert_eq!(reactor.run(sending), Err(isotherm_reactor::Closed(1)));
}

#[test]
fn a_receiver_that_waits_hears_that_the_last_sender_is_gone() {
    let (mut reactor, _) = reactor();
    let (sender, mut mailbox) = reactor.mailbox::<u32>(1);
    let other = sender.clone();
    let mut task = reactor.spawn("receiver", async move { mailbox.recv().await });
    reactor.turn();
    drop(sender);
    assert_eq!(reactor.due(), Due::Idle, "one is left");
    drop(other);
    assert_eq!(reactor.due(), Due::Now);
    reactor.turn();
    assert_eq!(task.try_take(), Some(None));
}

#[test]
fn a_receiver_is_woken_by_a_message_and_a_core_in_a_hand_knows_it_is_due() {
    let (mut reactor, _) = reactor();
    let (sender, mut mailbox) = reactor.mailbox::<u32>(1);
    let mut task = reactor.spawn("receiver", async move { mailbox.recv().await });
    reactor.turn();
    assert_eq!(reactor.due(), Due::Idle);
    sender.try_send(5).unwrap();
    assert_eq!(reactor.due(), Due::Now);
    reactor.turn();
    assert_eq!(task.try_take(), Some(Some(5)));
}

// Accounts.

#[test]
fn a_task_that_holds_the_core_is_named() {
    let (mut reactor, clock) =
        reactor_with(ReactorConfig { stall_after: Nanos(1_000), ..Default::default() });
    for (name, held) in [("brisk", 1_000), ("sluggish", 1_001), ("stuck", 70_000)] {
        let clock = clock.clone();
        reactor.spawn(name, async move { clock.advance(Nanos(held)) });
    }
    reactor.turn();
    let stalls = reactor.take_stalls();
    let found: Vec<(&str, u64)> = stalls.iter().map(|s| (s.task, s.held.0)).collect();
    assert_eq!(found, [("sluggish", 1_001), ("stuck", 70_000)]);
    assert_eq!(reactor.counters().stalls, 2);
    assert_eq!(reactor.take_stalls(), []);
}

#[test]
fn busy_and_idle_time_add_up() {
    let (mut reactor, clock) = reactor();
    let handle = reactor.handle().clone();
    let work = clock.clone();
    reactor.run(async move {
        work.advance(Nanos(300));
        handle.sleep(Nanos(1_000)).await;
        work.advance(Nanos(50));
        handle.yield_now().await;
    });
    let counters = reactor.counters();
    // The sleep was asked for at the time when the task was given the core.
    assert_eq!((counters.idle_ns, counters.busy_ns), (700, 350));
    assert_eq!(clock.mono(), Mono(1_050));
}

/// A park that notes how it was asked to sleep.
struct Noting(SimPark, Rc<RefCell<Vec<u32>>>);

impl Park for Noting {
    fn park(&mut self, now: Mono, until: Option<Mono>) {
        self.0.park(now, until);
    }
    fn park_batch(&mut self, now: Mono, until: Option<Mono>, events: u32, patience: Nanos) {
        assert_eq!(patience, Nanos(7));
        self.1.borrow_mut().push(events);
        self.0.park(now, until);
    }
    fn unparker(&self) -> std::sync::Arc<dyn Unpark> {
        self.0.unparker()
    }
}

#[test]
fn a_sleep_gathers_as_many_completions_as_it_may() {
    let (clock, asked) = (SimClock::new(), Rc::new(RefCell::new(Vec::new())));
    let park = Noting(SimPark::new(clock.clone()), asked.clone());
    let batch = Some(Batch { events: 4, patience: Nanos(7) });
    let config = ReactorConfig { batch, ..Default::default() };
    let mut reactor = Reactor::new(park, clock, config);
    let (pool, disk) = (pool(), reactor.attach(Box::new(disk(16))));
    reactor.run(async move {
        for depth in [6, 2] {
            let reads: Vec<_> =
                (0..depth).map(|n| disk.read(Lba(n), pool.alloc(4096).unwrap())).collect();
            for (result, _) in all(reads).await {
                result.unwrap();
            }
        }
    });
    assert_eq!(*asked.borrow(), [4, 2], "never more than are in flight");
}

/// Time that passes by being looked at, as real time does.
#[derive(Clone)]
struct Ticking(SimClock);

impl Clock for Ticking {
    fn mono(&self) -> Mono {
        self.0.advance(Nanos(100));
        self.0.mono()
    }
    fn wall(&self) -> isotherm_seam::Wall {
        self.0.wall()
    }
}

#[test]
fn a_core_of_its_own_spins_for_what_is_near_and_a_shared_one_never_does() {
    for (exclusive, sleep_us, spins) in
        [(true, 5, true), (true, 500, false), (false, 5, false), (false, 500, false)]
    {
        let clock = Ticking(SimClock::new());
        let config = ReactorConfig { exclusive, ..Default::default() };
        let mut reactor = Reactor::new(SimPark::new(clock.0.clone()), clock, config);
        let handle = reactor.handle().clone();
        reactor.run(async move { handle.sleep(Nanos::from_micros(sleep_us)).await });
        let counters = reactor.counters();
        let found = (counters.spins > 0, counters.parks > 0);
        assert_eq!(found, (spins, !spins), "exclusive {exclusive}, {sleep_us} µs");
    }
}

#[test]
fn hundreds_of_reactors_share_a_thread() {
    let clock = SimClock::new();
    let mut reactors: Vec<SimReactor> = (0..300)
        .map(|seed| {
            let config = ReactorConfig { order: Order::Seeded(seed), ..Default::default() };
            Reactor::new(SimPark::new(clock.clone()), clock.clone(), config)
        })
        .collect();
    // A ring: each passes on what it gets, after a while of its own.
    let (senders, mailboxes): (Vec<_>, Vec<_>) =
        reactors.iter().map(|reactor| reactor.mailbox::<u64>(4)).unzip();
    for (index, mut mailbox) in mailboxes.into_iter().enumerate() {
        let (next, handle) = (senders[(index + 1) % 300].clone(), reactors[index].handle().clone());
        reactors[index].spawn("pass on", async move {
            while let Some(hops) = mailbox.recv().await {
                handle.sleep(Nanos(10)).await;
                if hops > 0 {
                    next.try_send(hops - 1).unwrap();
                }
            }
        });
    }
    senders[0].try_send(1_000).unwrap();
    loop {
        let mut worked = false;
        for reactor in &mut reactors {
            worked |= reactor.turn();
        }
        let due = reactors.iter().map(|reactor| reactor.due()).min();
        match due {
            _ if worked => {}
            Some(Due::At(at)) => clock.advance_to(at),
            _ => break,
        }
    }
    assert_eq!(clock.mono(), Mono(1_001 * 10));
}

/// Brings something at a time, and whatever tasks leave with it one turn later.
struct Mill {
    at: Mono,
    arrived: Cell<u32>,
    left: Cell<u32>,
    sent: Cell<u32>,
    waiter: Waiter,
}

impl Source for Mill {
    fn turn(&self, now: Mono) -> usize {
        self.sent.set(self.sent.get() + self.left.take());
        if now < self.at || self.arrived.get() > 0 {
            return 0;
        }
        self.arrived.set(7);
        self.waiter.wake();
        1
    }

    fn due(&self) -> Due {
        match (self.left.get(), self.arrived.get()) {
            (1.., _) => Due::Now,
            (0, 0) => Due::At(self.at),
            (0, _) => Due::Idle,
        }
    }
}

#[test]
fn a_source_is_turned_wakes_who_waits_and_sends_before_the_core_sleeps() {
    let (mut reactor, clock) = reactor();
    let mill = Rc::new(Mill {
        at: Mono(500),
        arrived: Cell::new(0),
        left: Cell::new(0),
        sent: Cell::new(0),
        waiter: reactor.handle().waiter(),
    });
    reactor.handle().add_source(mill.clone());
    assert_eq!(reactor.due(), Due::At(Mono(500)));
    let handle = reactor.handle().clone();
    let task_mill = Rc::clone(&mill);
    let got = reactor.run(async move {
        let mill = task_mill;
        let arrived = std::future::poll_fn(|cx| match mill.arrived.get() {
            0 => {
                mill.waiter.wait(cx);
                Poll::Pending
            }
            arrived => Poll::Ready(arrived),
        })
        .await;
        mill.left.set(3);
        handle.sleep(Nanos(100)).await;
        (arrived, mill.sent.get())
    });
    assert_eq!((got, clock.mono()), ((7, 3), Mono(600)));
    let source: Rc<dyn Source> = mill.clone();
    mill.left.set(1);
    reactor.handle().remove_source(&source);
    reactor.turn();
    assert_eq!((mill.sent.get(), reactor.due()), (3, Due::Idle), "it is turned no longer");
}

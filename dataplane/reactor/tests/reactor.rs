//! The reactor in virtual time: tasks, timers, disks and mailboxes do what they say.

use std::cell::RefCell;
use std::rc::Rc;

use isotherm_reactor::{Reactor, ReactorConfig};
use isotherm_seam::{BufPool, Clock, DiskId, IoError, Lba, Mono, Nanos, Persist, PoolLayout};
use isotherm_sim::{SimClock, SimDisk, SimDiskConfig, SimPark};

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
}

#[test]
fn a_disk_reads_what_was_written() {
    let (mut reactor, _) = reactor();
    let pool = pool();
    let disk = reactor.attach(Box::new(SimDisk::new(SimDiskConfig::new(1, DiskId(0), 1000))));
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
    });
}

//! One seed, one run: a mixed workload on several cores, twice, event by event.
//!
//! `ISOTHERM_SEEDS=1000 cargo test --release -p isotherm-reactor --test digest` for the full
//! count; `ISOTHERM_SEED=17` for one seed alone.

use std::rc::Rc;

use isotherm_reactor::{Disk, Handle, Mailbox, Order, Reactor, ReactorConfig, Sender};
use isotherm_seam::{
    BufPool, Clock, DiskId, Domain, Draws, Due, Entropy, Lba, Mono, Nanos, Persist, PoolLayout,
};
use isotherm_sim::{
    CrashStyle, DiskControl, Fault, FaultEvent, FaultPlan, FaultRates, SimClock, SimDisk,
    SimDiskConfig, SimEntropy, SimPark, Slow, Stall, Trace, TraceEvent, hash64,
};

const SHAPE: Domain = Domain::new("test.digest.shape");
const WORK: Domain = Domain::new("test.digest.work");
const TURNS: Domain = Domain::new("test.digest.turns");

/// Kinds of events of the tasks; those of the disks are small numbers.
const WOKE: u32 = 100;
const HEARD: u32 = 101;
const TIMED_OUT: u32 = 102;

const BLOCKS: u64 = 2_000;
const END: Mono = Mono(60_000_000);
const POWER_CUT: Mono = Mono(25_000_000);

struct World {
    clock: SimClock,
    entropy: SimEntropy,
    trace: Trace,
    seed: u64,
    nodes: Vec<Node>,
    /// Changes one draw in the middle of the run, to see that the comparison sees it.
    planted: bool,
}

struct Node {
    reactor: Reactor<SimPark, SimClock>,
    disks: Vec<DiskControl>,
    sender: Sender<u64>,
}

impl World {
    fn new(seed: u64, trace: Trace, planted: bool) -> World {
        let mut draws = Draws::new(seed, SHAPE, 0);
        let mut world = World {
            clock: SimClock::new(),
            entropy: SimEntropy::new(seed),
            trace,
            seed,
            nodes: Vec::new(),
            planted,
        };
        let nodes = 2 + draws.below(3);
        let mut mailboxes = Vec::new();
        for number in 0..nodes {
            let reactor = world.reactor(number);
            let disks = (0..1 + draws.below(3))
                .map(|disk| world.disk(number as u32 * 10 + disk as u32, &mut draws))
                .collect();
            let (sender, mailbox) = reactor.mailbox(4);
            mailboxes.push(mailbox);
            world.nodes.push(Node { reactor, disks, sender });
        }
        for (number, mailbox) in mailboxes.into_iter().enumerate() {
            world.start(number, mailbox);
        }
        world
    }

    fn reactor(&self, number: u64) -> Reactor<SimPark, SimClock> {
        let order = Order::Seeded(self.seed ^ number << 32);
        let config = ReactorConfig { order, ..ReactorConfig::default() };
        Reactor::new(SimPark::new(self.clock.clone()), self.clock.clone(), config)
    }

    fn disk(&self, id: u32, draws: &mut Draws) -> DiskControl {
        let mut config = SimDiskConfig::new(self.seed, DiskId(id), BLOCKS);
        config.geometry.depth_max = 1 << draws.below(5);
        config.trace = Some(self.trace.clone());
        // Each class of faults is there in some runs only, so that none hides another.
        let mut rate = |p: f64| if draws.happens(0.5) { p } else { 0.0 };
        config.faults = FaultPlan {
            rates: FaultRates {
                read_error: rate(0.02),
                write_error: rate(0.02),
                flush_error: rate(0.02),
                time_out: 0.0,
                latent: rate(0.01),
                rot: rate(0.01),
                lost_write: rate(0.01),
                misdirected_write: rate(0.01),
                lying_flush: rate(0.05),
            },
            slow: vec![Slow {
                when: Mono(draws.below(END.0))..END,
                blocks: Some(Lba(0)..Lba(draws.below(BLOCKS))),
                factor: 20.0,
            }],
            stalls: vec![Stall {
                from: Mono(draws.below(END.0)),
                length: Nanos::from_millis(2),
                every: Some(Nanos::from_millis(15)),
            }],
            events: vec![FaultEvent {
                at: Mono(draws.below(END.0)),
                fault: Fault::Unreadable(Lba(10)..Lba(40)),
            }],
        };
        SimDisk::new(config).control()
    }

    /// Starts the tasks of a node, as after a boot.
    fn start(&mut self, number: usize, mailbox: Mailbox<u64>) {
        let node = &self.nodes[number];
        let handle = node.reactor.handle().clone();
        let layout = PoolLayout { huge: false, ..PoolLayout::uniform(8 * 4096, 64) };
        let job = Job {
            handle: handle.clone(),
            entropy: self.entropy.clone(),
            trace: self.trace.clone(),
            pool: BufPool::new(&layout).unwrap(),
            node: number as u64,
            planted: self.planted,
        };
        let job = Rc::new(job);
        let peers: Vec<Sender<u64>> = self.nodes.iter().map(|node| node.sender.clone()).collect();
        for control in &node.disks {
            let disk = handle.attach(Box::new(control.open()));
            for lane in 0..3 {
                handle.spawn("reader", Job::read(job.clone(), disk.clone(), lane));
                handle.spawn("writer", Job::write(job.clone(), disk.clone(), lane));
            }
        }
        handle.spawn("talker", Job::talk(job.clone(), peers));
        handle.spawn("listener", Job::listen(job, mailbox));
    }

    /// Turns the cores, in an order by chance, until none has anything to do; then the clock.
    fn run(&mut self) {
        let mut cut = false;
        while self.clock.mono() < END {
            if !cut && self.clock.mono() >= POWER_CUT {
                cut = true;
                self.cut_power_of_the_first();
            }
            let mut idle = true;
            let mut order: Vec<usize> = (0..self.nodes.len()).collect();
            for left in (1..order.len()).rev() {
                let with = self.entropy.next_u64(TURNS, 0) % (left as u64 + 1);
                order.swap(left, with as usize);
            }
            for number in order {
                idle &= !self.nodes[number].reactor.turn();
            }
            if idle {
                match self.nodes.iter().map(|node| node.reactor.due()).min() {
                    Some(Due::At(at)) => self.clock.advance_to(at),
                    Some(Due::Now) => {}
                    other => panic!("seed {}: nothing is due: {other:?}", self.seed),
                }
            }
        }
    }

    /// A node loses power in the middle of everything, and boots again at once.
    fn cut_power_of_the_first(&mut self) {
        for control in &self.nodes[0].disks {
            control.crash(CrashStyle::drawn(self.seed, 0));
        }
        self.nodes[0].reactor = self.reactor(1 << 20);
        let (sender, mailbox) = self.nodes[0].reactor.mailbox(4);
        self.nodes[0].sender = sender;
        self.start(0, mailbox);
    }
}

/// What the tasks of a node share.
struct Job {
    handle: Handle,
    entropy: SimEntropy,
    trace: Trace,
    pool: BufPool,
    node: u64,
    planted: bool,
}

impl Job {
    fn draw(&self, entity: u64, bound: u64) -> u64 {
        let value = self.entropy.next_u64(WORK, self.node << 8 | entity);
        let odd = self.planted && self.handle.now() > Mono(END.0 / 2);
        (value ^ u64::from(odd)) % bound
    }

    fn record(&self, kind: u32, id: u64, content: u64) {
        let at = self.handle.now();
        self.trace.record(TraceEvent { at, entity: 1_000 + self.node, kind, id, content });
    }

    async fn read(self: Rc<Job>, disk: Disk, lane: u64) {
        loop {
            let blocks = 1 + self.draw(lane, 8);
            let lba = Lba(self.draw(lane, BLOCKS - blocks));
            let buf = self.pool.alloc(blocks as usize * 4096).expect("a buffer for each lane");
            let wait = Nanos(50_000 + self.draw(lane, 400_000));
            match self.handle.timeout(wait, disk.read(lba, buf)).await {
                Ok((result, buf)) => {
                    self.record(WOKE, lba.0, result.map_or(1, |()| hash64(&buf)));
                }
                Err(_) => self.record(TIMED_OUT, lba.0, 0),
            }
            if self.draw(lane, 3) == 0 {
                self.handle.sleep(Nanos(self.draw(lane, 1_000_000))).await;
            }
        }
    }

    /// Each lane writes to blocks of its own: never two writes in flight over one.
    async fn write(self: Rc<Job>, disk: Disk, lane: u64) {
        let mut number = 0u64;
        loop {
            number += 1;
            let lba = Lba(lane + 3 * self.draw(10 + lane, BLOCKS / 3));
            let mut buf = self.pool.alloc(4096).expect("a buffer for each lane");
            for word in buf.chunks_exact_mut(8) {
                word.copy_from_slice(&(number ^ lba.0).to_le_bytes());
            }
            let persist = if self.draw(10 + lane, 5) == 0 { Persist::Fua } else { Persist::Flush };
            let (result, _) = disk.write(lba, buf, persist).await;
            self.record(WOKE, lba.0, u64::from(result.is_ok()));
            match self.draw(10 + lane, 6) {
                0 => {
                    let result = disk.flush().await;
                    self.record(WOKE, u64::MAX, u64::from(result.is_ok()));
                }
                1 => self.handle.yield_now().await,
                2 => self.handle.sleep(Nanos(self.draw(10 + lane, 500_000))).await,
                _ => {}
            }
        }
    }

    async fn talk(self: Rc<Job>, peers: Vec<Sender<u64>>) {
        for number in 0.. {
            let peer = self.draw(20, peers.len() as u64) as usize;
            let wait = Nanos(self.draw(20, 300_000));
            let sent = peers[peer].send(number);
            if self.handle.timeout(wait, sent).await.is_err() {
                self.record(TIMED_OUT, number, peer as u64);
            }
            self.handle.sleep(Nanos(self.draw(20, 60_000))).await;
        }
    }

    async fn listen(self: Rc<Job>, mut mailbox: Mailbox<u64>) {
        while let Some(message) = mailbox.recv().await {
            self.record(HEARD, message, 0);
            if self.draw(21, 4) == 0 {
                self.handle.sleep(Nanos(self.draw(21, 200_000))).await;
            }
        }
    }
}

fn run(seed: u64, trace: Trace, planted: bool) -> Trace {
    World::new(seed, trace.clone(), planted).run();
    trace
}

/// The first event in which two runs differ.
fn first_difference(seed: u64, other_is_planted: bool) -> Option<[Option<TraceEvent>; 2]> {
    let (one, two) = (run(seed, Trace::new(), false), run(seed, Trace::new(), other_is_planted));
    let stretch = one.first_difference(&two)?;
    let one = run(seed, Trace::keeping(stretch.clone()), false).kept();
    let two = run(seed, Trace::keeping(stretch), other_is_planted).kept();
    let at = (0..one.len().max(two.len())).find(|&at| one.get(at) != two.get(at));
    Some(at.map_or([None, None], |at| [one.get(at).copied(), two.get(at).copied()]))
}

fn number(name: &str) -> Option<u64> {
    let text = std::env::var(name).ok()?;
    Some(text.parse().unwrap_or_else(|_| panic!("{name}={text} is not a number")))
}

#[test]
fn two_runs_of_one_seed_are_the_same_to_the_last_event() {
    let seeds = match number("ISOTHERM_SEED") {
        Some(seed) => seed..seed + 1,
        None => 0..number("ISOTHERM_SEEDS").unwrap_or(20),
    };
    let mut events = 0;
    for seed in seeds.clone() {
        let (one, two) = (run(seed, Trace::new(), false), run(seed, Trace::new(), false));
        events += one.events();
        if one.first_difference(&two).is_some() {
            let difference = first_difference(seed, false);
            panic!(
                "seed {seed}: the runs differ, first in {difference:?}\n\
                 ISOTHERM_SEED={seed} cargo test -p isotherm-reactor --test digest"
            );
        }
    }
    println!("seeds {seeds:?}: twice the same {events} events");
}

#[test]
fn the_runs_are_worth_comparing() {
    let traces: Vec<Trace> = (0..5).map(|seed| run(seed, Trace::new(), false)).collect();
    for (seed, trace) in traces.iter().enumerate() {
        assert!(trace.events() > 2_000, "seed {seed}: only {} events", trace.events());
        for other in &traces[..seed] {
            assert_ne!(trace.digest(), other.digest(), "other seeds, other runs");
        }
    }
    let kinds = run(3, Trace::keeping(0..u64::MAX), false).kept();
    for kind in [0, 1, 2, WOKE, HEARD, TIMED_OUT] {
        assert!(kinds.iter().any(|event| event.kind == kind), "kind {kind} never happens");
    }
}

#[test]
fn a_planted_difference_is_found() {
    for seed in 0..3 {
        let [one, two] = first_difference(seed, true).expect("one bit of chance differs");
        let at = one.or(two).expect("it is in the stretch").at;
        assert!(at > Mono(END.0 / 2), "seed {seed}: found at {at:?}, before it was planted");
    }
}

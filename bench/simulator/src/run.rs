//! A plan is carried out, and everything that clients see is held against the ground truth.
//!
//! ```text
//! era: operations and troubles, each at its time
//! settle: heal ─> operations end ─> sick disks again, or replaced ─> every object is read
//!         ─> deletes that failed are said again ─> repair until nothing is left to do
//!         ─> every stripe is full ─> nothing is held any more
//! end: what each object's readers saw has an order
//! ```
//!
//! What must always hold: between two settles a fair plan harms no more than every stripe
//! survives, so whatever is lost, wrong or never ends is a bug.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use std::rc::Rc;

use bytes::Bytes;
use isotherm_client::{Client, ClientConfig, ListFrom, ReadPolicy};
use isotherm_node::NodeConfig;
use isotherm_placement::DiskNo;
use isotherm_reactor::{Handle, Task};
use isotherm_seam::{Domain, Draws, Lba, Mono, Nanos, draw};
use isotherm_sim::{Fault, FaultRates, Slow, Trace};
use isotherm_store::Options;

use crate::cluster::Cluster;
use crate::ledger::{Failure, Ledger, Tally};
use crate::operator::{self, Shared, Truth, read};
use crate::plan::{Action, Plan, What};

const RUN: Domain = Domain::new("simulator.run");

/// How long operations may take to end once all is healed.
const OPERATIONS_END: Nanos = Nanos::from_secs(300);
/// How long nodes may take to open their disks.
const NODES_OPEN: Nanos = Nanos::from_secs(120);
/// How long the work of the operator may take.
const OPERATOR_ENDS: Nanos = Nanos::from_secs(7200);
/// How often a disk is looked after in one settle: opened anew twice, then replaced.
const TENDED_MAX: u32 = 3;
/// How often a listing is asked for before a disk that gives none counts as sick, and how long the
/// operator waits in between.
const LISTINGS_MAX: u32 = 8;
const LISTING_EVERY: Nanos = Nanos::from_secs(5);
/// How long an operation may take, for each stripe and twice: a client's deadline for a stripe,
/// and what it waits for a disk beyond it.
const OPERATION_MAX: Nanos = Nanos::from_secs(15);
/// How clients choose whom they read from: by the seed. The usual way in four of ten.
const POLICIES: [ReadPolicy; 10] = [
    ReadPolicy::Direct,
    ReadPolicy::Late,
    ReadPolicy::Random,
    ReadPolicy::Direct,
    ReadPolicy::LeastLoaded,
    ReadPolicy::Probe,
    ReadPolicy::Direct,
    ReadPolicy::AllN,
    ReadPolicy::Tied,
    ReadPolicy::Direct,
];
/// From which length on objects are stripes: by the seed. Most objects are short, and would all be
/// copies.
const STRIPED_FROM: [u64; 3] = [1 << 20, 64 << 10, 512];
/// Buffers that a node may hold while nobody asks anything: its stores keep some to write with.
const BUFS_KEPT_MAX: usize = 64;

/// What a run did.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Report {
    /// Operations.
    pub tally: Tally,
    /// Faults that happened: planned ones, and those that disks had by chance.
    pub faults: u64,
    /// Events: messages or datagrams delivered, requests of disks completed, timers fired.
    pub events: u64,
    /// Datagrams delivered.
    pub datagrams: u64,
    /// Virtual time.
    pub virtual_s: f64,
    /// Cells that were made again.
    pub cells_mended: u64,
    /// Disks that could not be opened any more and were replaced at the end of an era.
    pub disks_given_up: u64,
    /// Objects whose order could not be decided.
    pub undecided: u64,
    /// Disks whose index was damaged and which their nodes opened by a full scan, counted at the end
    /// of each era.
    pub disks_scanned: u64,
    /// Objects that are lost, where a plan harms more than they survive.
    pub lost: u64,
    /// Digest of every event, if it was asked for.
    pub digest: Option<u64>,
    /// What happened to the object that was watched, and to the cluster: a line each, with the
    /// milliseconds since the beginning.
    pub story: Vec<String>,
    /// What was wrong; empty if nothing was.
    pub failures: Vec<Failure>,
}

/// What sessions between machines are made of.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Tier {
    /// A message is one event.
    #[default]
    Messages,
    /// The product's QUIC over datagrams that are lost, doubled, damaged and overtake each other.
    Quic,
}

/// How a plan is carried out.
#[derive(Clone, Debug, Default)]
pub struct RunOptions {
    /// What sessions are made of.
    pub tier: Tier,
    /// Also make a digest of every event.
    pub digest: bool,
    /// Tell the story of this object.
    pub watched: Option<u64>,
    /// A deliberate bug of the stores,
    pub store: isotherm_store::Planted,
    /// of the nodes,
    pub node: isotherm_node::Planted,
    /// or of the clients.
    pub client: isotherm_client::Planted,
}

/// What is under way on a client's machine, to be closed when it dies.
#[derive(Default)]
struct Open {
    tasks: BTreeMap<u64, Task<()>>,
    deletes: BTreeMap<u64, (u64, u64)>,
    puts: BTreeMap<u64, u64>,
}

struct Run<'a> {
    plan: &'a Plan,
    cluster: Cluster,
    ledger: Shared,
    open: Vec<Rc<RefCell<Open>>>,
    /// What is to be undone, by time and number.
    undo: BTreeMap<(Mono, u64), Undo>,
    rates: BTreeMap<(usize, usize), FaultRates>,
    report: Report,
    trace: Option<Trace>,
    /// When the last machine goes on that stands still, and the last disk is as fast as ever.
    late_until: Mono,
    /// Until when a disk is slow: two slownesses at once would multiply to hours a request.
    slow_until: BTreeMap<(u64, u64), Mono>,
    /// Disks that were harmed since all was whole.
    harmed: BTreeSet<DiskNo>,
}

#[derive(Debug)]
enum Undo {
    StartNode(usize),
    StartClient(usize),
    Mend(usize, u64, u64),
    Loss,
    Rates(usize, usize),
}

/// Carries a plan out. Stops at the first settle that finds something wrong.
#[must_use]
pub fn run(plan: &Plan, options: &RunOptions) -> Report {
    let trace = options.digest.then(Trace::new);
    let store = Options {
        entries_max: 50_000,
        changes_max: plan.setup.changes_max as usize,
        batch_bytes: 256 << 10,
        planted: options.store,
        ..Options::default()
    };
    let node = NodeConfig { store, planted: options.node, ..NodeConfig::default() };
    let client = ClientConfig {
        hedge_after: Nanos::from_millis(plan.setup.hedge_ms),
        cell_patience: Nanos::from_millis(plan.setup.patience_ms),
        planted: options.client,
        striped_from_bytes: STRIPED_FROM[plan.seed as usize % STRIPED_FROM.len()],
        read_policy: POLICIES[plan.seed as usize % POLICIES.len()],
        ..ClientConfig::default()
    };
    let cluster = Cluster::new(plan, options.tier, trace.clone(), node, client);
    let count = plan.setup.clients as usize + 1;
    let mut ledger = Ledger::new(plan.seed, cluster.world.clock().clone());
    ledger.watched = options.watched;
    let mut run = Run {
        plan,
        cluster,
        ledger: Rc::new(RefCell::new(ledger)),
        open: (0..count).map(|_| Rc::default()).collect(),
        undo: BTreeMap::new(),
        rates: BTreeMap::new(),
        report: Report::default(),
        trace,
        late_until: Mono::ZERO,
        slow_until: BTreeMap::new(),
        harmed: BTreeSet::new(),
    };
    run.ledger.borrow_mut().is_beyond = !plan.is_fair();
    run.all();
    run.finish()
}

impl Run<'_> {
    fn all(&mut self) {
        if !self.wait(NODES_OPEN, Cluster::is_settled) {
            return self.fail("start", "new nodes don't open their disks".into());
        }
        let mut base = self.cluster.now();
        for action in &self.plan.actions {
            self.go_to(base + Nanos::from_millis(action.at_ms));
            match action.what {
                What::Settle {} => {
                    self.settle();
                    base = self.cluster.now();
                }
                _ => self.act(action),
            }
            if !self.ledger.borrow().failures.is_empty() {
                return;
            }
        }
        // A plan that was cut down may have lost its last settle.
        if !matches!(self.plan.actions.last(), Some(Action { what: What::Settle {}, .. })) {
            self.settle();
        }
    }

    fn finish(mut self) -> Report {
        let has_failed = !self.ledger.borrow().failures.is_empty();
        self.report.undecided = self.ledger.borrow_mut().check_order();
        self.report.virtual_s = self.cluster.now().since(Mono::ZERO).as_secs_f64();
        self.report.datagrams = self.cluster.datagrams();
        self.report.events = self.cluster.world.events() + self.report.datagrams;
        self.report.faults += self.cluster.disk_faults();
        self.report.digest = self.trace.as_ref().map(Trace::digest);
        self.open.clear();
        if let Err(what) = self.cluster.end()
            && !has_failed
        {
            self.ledger.borrow_mut().fail("buffers", what);
        }
        let mut ledger = self.ledger.borrow_mut();
        self.report.story = std::mem::take(&mut ledger.story);
        self.report.tally = ledger.tally;
        self.report.lost = ledger.lost.len() as u64;
        self.report.failures = ledger.failures.clone();
        self.report.clone()
    }

    fn fail(&self, rule: &'static str, what: String) {
        self.ledger.borrow_mut().fail(rule, what);
    }

    /// Lets time pass, and undoes what has lasted long enough.
    fn go_to(&mut self, until: Mono) {
        while let Some((&(at, number), _)) = self.undo.first_key_value()
            && at <= until
        {
            self.cluster.world.run_until(at, |_| false);
            let undo = self.undo.remove(&(at, number)).expect("just seen");
            self.undo_one(undo);
        }
        self.cluster.world.run_until(until, |_| false);
    }

    /// Lets time pass until something is so; false if it never is.
    fn wait(&mut self, most: Nanos, mut is_so: impl FnMut(&Cluster) -> bool) -> bool {
        let until = self.cluster.now() + most;
        while !is_so(&self.cluster) {
            if self.cluster.now() >= until {
                return false;
            }
            let next = self.cluster.now() + Nanos::from_millis(50);
            self.go_to(next);
        }
        true
    }

    fn tell(&self, what: impl FnOnce() -> String) {
        self.ledger.borrow_mut().tell(what);
    }

    fn undo_one(&mut self, undo: Undo) {
        self.tell(|| format!("{undo:?} is over"));
        match undo {
            Undo::StartNode(node) => self.cluster.start_node(node),
            Undo::StartClient(client) => self.cluster.start_client(client),
            Undo::Mend(node, from, way) => self.cut(node, from, way, false),
            Undo::Loss => self.cluster.set_loss(0.0),
            Undo::Rates(node, disk) => {
                self.rates.remove(&(node, disk));
                self.cluster.disk(node, disk).set_rates(FaultRates::default());
            }
        }
    }

    fn later(&mut self, number: u64, ms: u64, undo: Undo) {
        let at = self.cluster.now() + Nanos::from_millis(ms);
        self.undo.insert((at, number), undo);
    }

    fn cut(&mut self, node: usize, from: u64, way: u64, is_cut: bool) {
        let machines = self.cluster.nodes() + self.plan.setup.clients as usize;
        let here = self.cluster.node_id(node);
        for other in (0..machines).filter(|other| from >> other & 1 == 1 && *other != node) {
            let there = crate::MachineId(other as u32);
            let ways = [(here, there), (there, here)];
            for (at, (a, b)) in ways.into_iter().enumerate() {
                if way == 0 || way == at as u64 + 1 {
                    self.cluster.cut(a, b, is_cut);
                }
            }
        }
    }

    fn act(&mut self, action: &Action) {
        let number = action.number;
        if action.what.is_fault() {
            self.report.faults += 1;
            self.tell(|| format!("{:?}", action.what));
        }
        if let Some((node, disk)) = action.what.harms_disk() {
            self.harmed.insert(self.cluster.disk_no(node as usize, disk as usize));
        }
        let nodes = self.cluster.nodes() as u64;
        let draws = || Draws::new(draw(self.plan.seed, RUN, number, 0), RUN, number);
        match action.what {
            What::Put { client, object, len } => self.put(client as usize, number, object, len),
            What::Get { client, object } => self.get(client as usize, number, object, None),
            What::Range { client, object, from, len } => {
                self.get(client as usize, number, object, Some((from, len)));
            }
            What::Delete { client, object } => self.delete(client as usize, number, object),
            What::List { client } => self.list(client as usize, number),
            What::ClientDeath { client, ms } => {
                self.kill_client(client as usize);
                self.later(number, ms, Undo::StartClient(client as usize));
            }
            What::Crash { node, style, ms } => {
                let node = (node % nodes) as usize;
                self.cluster.crash_node(node, style);
                self.later(number, ms, Undo::StartNode(node));
            }
            What::Kill { node, ms } => {
                let node = (node % nodes) as usize;
                self.cluster.kill_node(node);
                self.later(number, ms, Undo::StartNode(node));
            }
            What::Pause { node, ms } => {
                let id = self.cluster.node_id(node as usize);
                let until = self.cluster.now() + Nanos::from_millis(ms);
                self.late_until = self.late_until.max(until);
                self.cluster.world.pause(id, until);
            }
            What::Cut { node, from, way, ms } => {
                self.cut(node as usize, from, way, true);
                self.later(number, ms, Undo::Mend(node as usize, from, way));
            }
            What::Loss { per_10000, ms } => {
                self.cluster.set_loss(per_10000 as f64 / 1e4);
                self.later(number, ms, Undo::Loss);
            }
            What::Slow { node, disk, factor, ms } => {
                let now = self.cluster.now();
                if self.slow_until.get(&(node, disk)).is_some_and(|until| *until > now) {
                    return;
                }
                let when: Range<Mono> = now..now + Nanos::from_millis(ms);
                self.slow_until.insert((node, disk), when.end);
                self.late_until = self.late_until.max(when.end);
                let slow = Slow { when, blocks: None, factor: factor as f64 };
                self.cluster.disk(node as usize, disk as usize).slow_down(slow);
            }
            What::Errors { node, disk, kind, per_10000, ms } => {
                let (node, disk) = (node as usize, disk as usize);
                let rates = self.rates.entry((node, disk)).or_default();
                let p = per_10000 as f64 / 1e4;
                match kind {
                    0 => rates.read_error = p,
                    1 => rates.write_error = p / 10.0,
                    2 => rates.flush_error = p / 10.0,
                    3 => rates.latent = p / 10.0,
                    _ => rates.rot = p / 10.0,
                }
                let rates = *rates;
                self.cluster.disk(node, disk).set_rates(rates);
                self.later(number, ms, Undo::Rates(node, disk));
            }
            What::Harm { node, disk, at, blocks, kind } => {
                let first = self.cluster.used_blocks() * at / 1000 + draws().below(64);
                let range = Lba(first)..Lba(first + blocks);
                let fault = if kind == 0 { Fault::Rot(range) } else { Fault::Unreadable(range) };
                self.inject(node, disk, fault);
            }
            What::LoseWrite { node, disk } => self.inject(node, disk, Fault::LoseNextWrite),
            What::StrayWrite { node, disk, at } => {
                let to = self.cluster.used_blocks() * at / 1000 + draws().below(64);
                self.inject(node, disk, Fault::MisdirectNextWrite(Lba(to)));
            }
            What::Replace { node, disk, ms } => {
                self.cluster.kill_node(node as usize);
                self.replace(node as usize, disk as usize);
                self.later(number, ms, Undo::StartNode(node as usize));
            }
            What::Settle {} => unreachable!("not an act"),
        }
    }

    fn replace(&mut self, node: usize, disk: usize) {
        self.cluster.replace(node, disk);
        // What lay on the old one is not on this one.
        self.harmed.insert(self.cluster.disk_no(node, disk));
    }

    fn inject(&self, node: u64, disk: u64, fault: Fault) {
        self.cluster.disk(node as usize, disk as usize).inject(self.cluster.now(), fault);
    }

    fn begin(
        &mut self,
        client: usize,
        number: u64,
        stripes: u64,
        work: impl AsyncFnOnce(Client, Handle) + 'static,
    ) {
        let Some(connection) = self.cluster.client(client) else { return };
        let id = self.cluster.client_id(client);
        let handle = self.cluster.world.handle(id).expect("it has a client").clone();
        let (open, ledger) = (Rc::clone(&self.open[client]), Rc::clone(&self.ledger));
        let task = self.cluster.spawn(client, async move {
            let begun = handle.now();
            work(connection, handle.clone()).await;
            let took = handle.now().since(begun);
            if took > Nanos(OPERATION_MAX.0 * (stripes + 2)) {
                let seconds = took.as_secs_f64();
                let what = format!("operation {number} of {stripes} stripes took {seconds:.1} s");
                ledger.borrow_mut().fail("late", what);
            }
            let mut open = open.borrow_mut();
            open.deletes.remove(&number);
            open.puts.remove(&number);
        });
        match task {
            Some(task) => {
                let mut open = self.open[client].borrow_mut();
                // Those that have ended are of no use.
                open.tasks.retain(|_, task| task.try_take().is_none());
                open.tasks.insert(number, task);
            }
            None => self.fail("tasks", format!("client {client} has no room for a task")),
        }
    }

    fn put(&mut self, client: usize, number: u64, object: u64, len: u64) {
        if self.cluster.client(client).is_none() {
            return;
        }
        let ledger = Rc::clone(&self.ledger);
        ledger.borrow_mut().put_begins(object, len);
        self.open[client].borrow_mut().puts.insert(number, object);
        let stripes = self.stripes(len);
        self.begin(client, number, stripes, async move |client: Client, _| {
            let (id, bytes) = {
                let ledger = ledger.borrow();
                (ledger.id(object), Bytes::from(ledger.content(object, 0, len as usize)))
            };
            let result = client.put(id, bytes).await;
            ledger.borrow_mut().put_ends(object, result);
        });
    }

    fn get(&mut self, client: usize, number: u64, object: u64, range: Option<(u64, u64)>) {
        if self.cluster.client(client).is_none() {
            return;
        }
        let ledger = Rc::clone(&self.ledger);
        let Some((locator, call)) = ledger.borrow_mut().begins(object) else { return };
        let range = match range {
            None => 0..locator.len_bytes,
            Some((from, len)) => {
                let from = locator.len_bytes * from / 1000;
                from..(from + len).min(locator.len_bytes)
            }
        };
        let stripes = self.stripes(locator.len_bytes);
        self.begin(client, number, stripes, async move |client: Client, _| {
            read(&client, &ledger, object, locator, range, call).await;
        });
    }

    fn delete(&mut self, client: usize, number: u64, object: u64) {
        if self.cluster.client(client).is_none() {
            return;
        }
        let ledger = Rc::clone(&self.ledger);
        let Some((locator, call)) = ledger.borrow_mut().begins(object) else { return };
        ledger.borrow_mut().delete_begins(object);
        self.open[client].borrow_mut().deletes.insert(number, (object, call));
        let stripes = self.stripes(locator.len_bytes);
        self.begin(client, number, stripes, async move |client: Client, _| {
            let result = client.delete(&locator).await;
            ledger.borrow_mut().delete_ends(object, call, result);
        });
    }

    /// A listing shows every object that was there before it began, if every disk answers.
    fn list(&mut self, client: usize, number: u64) {
        if self.cluster.client(client).is_none() {
            return;
        }
        let ledger = Rc::clone(&self.ledger);
        ledger.borrow_mut().tally.begun += 1;
        // It takes as long as its pages take.
        let pages = ledger.borrow().objects.len() as u64;
        self.begin(client, number, pages, async move |client: Client, _| {
            let before = ledger.borrow().living();
            let (mut listed, mut from) = (Vec::new(), Some(ListFrom::default()));
            while let Some(at) = from {
                match client.list(at, 50).await {
                    Ok(page) if page.silent.is_empty() => {
                        listed.extend(page.objects.iter().map(|object| object.object));
                        from = page.next;
                    }
                    // What is missing may be on a disk that does not answer.
                    _ => {
                        ledger.borrow_mut().tally.failed += 1;
                        return;
                    }
                }
            }
            let mut ledger = ledger.borrow_mut();
            ledger.tally.good += 1;
            for (object, locator) in before {
                let is_there = !ledger.objects[&object].delete_called && !ledger.is_beyond;
                if is_there && !listed.contains(&locator.object) {
                    ledger.fail("listing", format!("object {object} is not listed"));
                }
            }
        });
    }

    fn stripes(&self, len: u64) -> u64 {
        len.div_ceil(self.plan.setup.data << 20)
    }

    fn kill_client(&mut self, client: usize) {
        // The machine first: its tasks end in mid-air.
        self.cluster.kill_client(client);
        let open = std::mem::take(&mut *self.open[client].borrow_mut());
        let deletes: Vec<(u64, u64)> = open.deletes.into_values().collect();
        let puts: Vec<u64> = open.puts.into_values().collect();
        self.ledger.borrow_mut().never_ends(&deletes, &puts);
    }

    fn settle(&mut self) {
        self.tell(|| "settle".into());
        // What stands still or is slow becomes well by itself; everything else is undone now.
        let late_until = self.late_until;
        self.go_to(late_until);
        for (_, undo) in std::mem::take(&mut self.undo) {
            if !matches!(undo, Undo::StartNode(_) | Undo::StartClient(_)) {
                self.undo_one(undo);
            }
        }
        self.rates.clear();
        self.cluster.heal();
        let open = self.open.clone();
        let is_quiet = |_: &Cluster| {
            open.iter().all(|open| {
                let open = open.borrow();
                open.deletes.is_empty() && open.puts.is_empty()
            })
        };
        if !self.wait(OPERATIONS_END, is_quiet) {
            let open: usize = self.open.iter().map(|open| open.borrow().puts.len()).sum();
            return self.fail("progress", format!("operations never end; {open} of them puts"));
        }
        // Longer than a session is silent, and than a client avoids a disk.
        let calm = self.cluster.now() + Nanos::from_secs(25);
        self.go_to(calm);
        self.tend_disks();
        if !self.ledger.borrow().failures.is_empty() {
            return;
        }
        let truth = Truth {
            map: self.cluster.map.clone(),
            harmed: std::mem::take(&mut self.harmed),
            is_beyond: !self.plan.is_fair(),
        };
        let ledger = Rc::clone(&self.ledger);
        let mended = self.by_operator(async move |client, handle| {
            operator::operate(&client, &handle, &ledger, &truth).await
        });
        let Some(mended) = mended else {
            return self.fail("progress", "what the operator does never ends".into());
        };
        if !self.ledger.borrow().failures.is_empty() {
            let states = self.cluster.states();
            if !states.is_empty() {
                self.fail("disks", states);
            }
            return;
        }
        self.report.cells_mended += mended;
        self.cluster.are_filled();
        let calm = self.cluster.now() + Nanos::from_secs(70);
        self.go_to(calm);
        let (requests, reserved, bufs) = self.cluster.held();
        if reserved > 0 {
            self.fail("quiet", format!("{reserved} reads are reserved while nobody asks"));
        }
        if requests > 0 {
            self.fail("quiet", format!("{requests} requests are held while nobody asks"));
        }
        if bufs > BUFS_KEPT_MAX {
            self.fail("quiet", format!("a node holds {bufs} buffers while nobody asks"));
        }
    }

    /// The operator does something; `None` if it never ends.
    fn by_operator<T: 'static>(
        &mut self,
        work: impl AsyncFnOnce(Client, Handle) -> T + 'static,
    ) -> Option<T> {
        let operator = self.cluster.operator();
        let client = self.cluster.client(operator).expect("it never dies");
        let id = self.cluster.client_id(operator);
        let handle = self.cluster.world.handle(id).expect("it never dies").clone();
        let work = async move { work(client, handle).await };
        let mut task = self.cluster.spawn(operator, work).expect("it has room");
        let mut done = None;
        self.wait(OPERATOR_ENDS, |_| {
            done = task.try_take();
            done.is_some()
        });
        done
    }

    /// Disks that take no writes, can't be opened or give no listing for long are opened anew; those
    /// that are no better then are replaced. Damage of an index is a node's own business.
    fn tend_disks(&mut self) {
        let mut tended: BTreeMap<(usize, usize), u32> = BTreeMap::new();
        loop {
            let Some(sick) = self.sick_disks() else { return };
            if sick.is_empty() {
                self.report.disks_scanned += self.cluster.scanned();
                return;
            }
            for (node, disk, why) in sick {
                self.tell(|| format!("disk {disk} of node {node} is sick: {why}"));
                self.cluster.kill_node(node);
                let times = tended.entry((node, disk)).or_default();
                *times += 1;
                let (times, no) = (*times, self.cluster.disk_no(node, disk));
                if times > TENDED_MAX {
                    return self.fail("open", format!("disk {disk} of node {node} never is well"));
                }
                if times > 1 && !self.harmed.contains(&no) {
                    let what = format!("disk {disk} of node {node} does not open: {why}");
                    return self.fail("open", what);
                }
                if times == TENDED_MAX {
                    self.replace(node, disk);
                    self.report.disks_given_up += 1;
                }
                self.cluster.start_node(node);
            }
        }
    }

    /// Disks that are not well and don't become so, and why. `None` if that can't be found out.
    fn sick_disks(&mut self) -> Option<Vec<(usize, usize, String)>> {
        let mut sick = Vec::new();
        for _ in 0..LISTINGS_MAX {
            if !self.wait(NODES_OPEN, Cluster::is_settled) {
                let states = self.cluster.states();
                self.fail("progress", format!("a node never opens its disks: {states}"));
                return None;
            }
            sick = self.cluster.sick_disks();
            if !sick.is_empty() {
                return Some(sick);
            }
            let Some(silent) =
                self.by_operator(async move |client, _| operator::silent_disks(&client).await)
            else {
                self.fail("progress", "a listing never ends".into());
                return None;
            };
            let places = silent.into_iter().filter_map(|no| self.cluster.place_of(no));
            let why = "it gives no listing";
            sick = places.map(|(node, disk)| (node, disk, why.to_owned())).collect();
            if sick.is_empty() {
                return Some(sick);
            }
            let next = self.cluster.now() + LISTING_EVERY;
            self.go_to(next);
        }
        Some(sick)
    }
}

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
use std::collections::BTreeMap;
use std::ops::Range;
use std::rc::Rc;

use bytes::Bytes;
use isotherm_client::{Client, ClientError, ListFrom, Locator, RepairReport};
use isotherm_reactor::{Handle, Task};
use isotherm_seam::{Domain, Draws, Lba, Mono, Nanos, draw};
use isotherm_sim::{Fault, FaultRates, Slow, Trace};
use isotherm_store::Options;

use crate::cluster::Cluster;
use crate::ledger::{Failure, Ledger, Tally};
use crate::plan::{Action, Plan, What};

const RUN: Domain = Domain::new("simulator.run");

/// How long operations may take to end once all is healed.
const OPERATIONS_END: Nanos = Nanos::from_secs(300);
/// How long nodes may take to open their disks.
const NODES_OPEN: Nanos = Nanos::from_secs(120);
/// How long the work of the operator may take.
const OPERATOR_ENDS: Nanos = Nanos::from_secs(7200);
/// Rounds of repair before it counts as never ending.
const REPAIRS_MAX: u32 = 8;
/// Buffers that a node may hold while nobody asks anything: its stores keep some to write with.
const BUFS_KEPT_MAX: usize = 64;

/// What a run did.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Report {
    /// Operations.
    pub tally: Tally,
    /// Faults that happened: planned ones, and those that disks had by chance.
    pub faults: u64,
    /// Events: messages delivered, requests of disks completed, timers fired.
    pub events: u64,
    /// Virtual time.
    pub virtual_s: f64,
    /// Cells that were made again.
    pub cells_mended: u64,
    /// Disks that could not be opened any more and were replaced at the end of an era.
    pub disks_given_up: u64,
    /// Objects whose order could not be decided.
    pub undecided: u64,
    /// Objects that were seen again after an acknowledged delete, in a run in which disks were
    /// harmed; see [`RunOptions::strict`].
    pub seen_again: u64,
    /// Digest of every event, if it was asked for.
    pub digest: Option<u64>,
    /// What was wrong; empty if nothing was.
    pub failures: Vec<Failure>,
}

/// How a plan is carried out.
#[derive(Clone, Debug, Default)]
pub struct RunOptions {
    /// Also make a digest of every event.
    pub digest: bool,
    /// An object that is seen again after an acknowledged delete is a failure also where disks
    /// were harmed. Otherwise it is counted: a disk that loses a tombstone to harm and starts
    /// again does not know of it, and gives its copy away until repair has come by.
    pub strict: bool,
    /// Deliberate bugs.
    pub store: isotherm_store::Planted,
}

/// What is under way on a client's machine, to be closed when it dies.
#[derive(Default)]
struct Open {
    tasks: BTreeMap<u64, Task<()>>,
    deletes: BTreeMap<u64, (u64, u64)>,
    puts: BTreeMap<u64, u64>,
}

type Shared = Rc<RefCell<Ledger>>;

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
    strict: bool,
    /// When the last machine goes on that stands still, and the last disk is as fast as ever.
    late_until: Mono,
    /// Until when a disk is slow: two slownesses at once would multiply to hours a request.
    slow_until: BTreeMap<(u64, u64), Mono>,
}

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
    let cluster = Cluster::new(plan, trace.clone(), store);
    let count = plan.setup.clients as usize + 1;
    let mut run = Run {
        plan,
        cluster,
        ledger: Rc::new(RefCell::new(Ledger::new(plan.seed))),
        open: (0..count).map(|_| Rc::default()).collect(),
        undo: BTreeMap::new(),
        rates: BTreeMap::new(),
        report: Report::default(),
        trace,
        strict: options.strict,
        late_until: Mono::ZERO,
        slow_until: BTreeMap::new(),
    };
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
        let is_harmed = self.plan.actions.iter().any(|action| action.what.harms().is_some());
        let is_strict = self.strict || !is_harmed;
        let order = self.ledger.borrow_mut().check_order(is_strict);
        (self.report.undecided, self.report.seen_again) = order;
        self.report.virtual_s = self.cluster.now().since(Mono::ZERO).as_secs_f64();
        self.report.events = self.cluster.world.events();
        self.report.faults += self.cluster.disk_faults();
        self.report.digest = self.trace.as_ref().map(Trace::digest);
        self.open.clear();
        if let Err(what) = self.cluster.end()
            && !has_failed
        {
            self.ledger.borrow_mut().fail("buffers", what);
        }
        let ledger = self.ledger.borrow();
        self.report.tally = ledger.tally;
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

    fn undo_one(&mut self, undo: Undo) {
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
        let messages = self.cluster.world.messages().clone();
        let machines = self.cluster.nodes() + self.plan.setup.clients as usize;
        let here = self.cluster.node_id(node).host();
        for other in (0..machines).filter(|other| from >> other & 1 == 1 && *other != node) {
            let there = crate::MachineId(other as u32).host();
            let ways = [(here, there), (there, here)];
            for (at, (a, b)) in ways.into_iter().enumerate() {
                if way == 0 || way == at as u64 + 1 {
                    if is_cut { messages.cut(a, b) } else { messages.mend(a, b) }
                }
            }
        }
    }

    fn act(&mut self, action: &Action) {
        let number = action.number;
        self.report.faults += u64::from(action.what.is_fault());
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
                self.cluster.replace(node as usize, disk as usize);
                self.later(number, ms, Undo::StartNode(node as usize));
            }
            What::Settle {} => unreachable!("not an act"),
        }
    }

    fn inject(&self, node: u64, disk: u64, fault: Fault) {
        self.cluster.disk(node as usize, disk as usize).inject(self.cluster.now(), fault);
    }

    fn begin(
        &mut self,
        client: usize,
        number: u64,
        work: impl AsyncFnOnce(Client, Handle) + 'static,
    ) {
        let Some(connection) = self.cluster.client(client) else { return };
        let id = self.cluster.client_id(client);
        let handle = self.cluster.world.handle(id).expect("it has a client").clone();
        let open = Rc::clone(&self.open[client]);
        let task = self.cluster.spawn(client, async move {
            work(connection, handle).await;
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
        self.begin(client, number, async move |client: Client, _| {
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
        self.begin(client, number, async move |client: Client, handle: Handle| {
            read(&client, &handle, &ledger, object, locator, range, call).await;
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
        self.begin(client, number, async move |client: Client, _| {
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
        self.begin(client, number, async move |client: Client, _| {
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
                if !listed.contains(&locator.object) && !ledger.objects[&object].delete_called {
                    ledger.fail("listing", format!("object {object} is not listed"));
                }
            }
        });
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
        let operator = self.cluster.operator();
        let client = self.cluster.client(operator).expect("it never dies");
        let id = self.cluster.client_id(operator);
        let handle = self.cluster.world.handle(id).expect("it never dies").clone();
        let ledger = Rc::clone(&self.ledger);
        let work = async move { operate(&client, &handle, &ledger).await };
        let mut task = self.cluster.spawn(operator, work).expect("it has room");
        let mut mended = None;
        let is_done = self.wait(OPERATOR_ENDS, |_| {
            mended = task.try_take();
            mended.is_some()
        });
        if !is_done {
            return self.fail("progress", "what the operator does never ends".into());
        }
        self.report.cells_mended += mended.unwrap_or(0);
        let calm = self.cluster.now() + Nanos::from_secs(70);
        self.go_to(calm);
        let (requests, bufs) = self.cluster.held();
        if requests > 0 {
            self.fail("quiet", format!("{requests} requests are held while nobody asks"));
        }
        if bufs > BUFS_KEPT_MAX {
            self.fail("quiet", format!("a node holds {bufs} buffers while nobody asks"));
        }
    }

    /// Disks that take no writes are opened again; those that can't be opened are replaced.
    fn tend_disks(&mut self) {
        for round in 0..3 {
            if !self.wait(NODES_OPEN, Cluster::is_settled) {
                let states = self.cluster.states();
                return self.fail("progress", format!("a node never opens its disks: {states}"));
            }
            let sick = self.cluster.sick_disks();
            if sick.is_empty() {
                return;
            }
            for (node, disk, why) in sick {
                self.cluster.kill_node(node);
                if why.is_some() && round > 0 {
                    let was_harmed = self
                        .plan
                        .actions
                        .iter()
                        .any(|action| action.what.harms() == Some(node as u64));
                    if !was_harmed {
                        let why = why.unwrap_or_default();
                        let what = format!("disk {disk} of node {node} does not open: {why}");
                        return self.fail("open", what);
                    }
                    self.cluster.replace(node, disk);
                    self.report.disks_given_up += 1;
                }
                self.cluster.start_node(node);
            }
        }
    }
}

async fn read(
    client: &Client,
    handle: &Handle,
    ledger: &Shared,
    object: u64,
    locator: Locator,
    range: Range<u64>,
    call: u64,
) -> bool {
    let (from, len) = (range.start, range.end - range.start);
    let result = client.get(&locator, Some(range)).await;
    let is_answer = !matches!(
        result,
        Err(ClientError::Late | ClientError::Busy { .. } | ClientError::Unavailable { .. })
    );
    let now_ms = handle.now().0 / 1_000_000;
    ledger.borrow_mut().read_ends(object, call, from, len, result, now_ms);
    is_answer
}

/// All is healed: everything acknowledged is read, what is unfinished is finished, and repaired
/// until every stripe is full. Returns how many cells were made again.
async fn operate(client: &Client, handle: &Handle, ledger: &Shared) -> u64 {
    let fail = |rule, what| ledger.borrow_mut().fail(rule, what);
    let has_failed = || !ledger.borrow().failures.is_empty();
    let living = ledger.borrow().living();
    let dying = ledger.borrow().dying();
    for &(object, locator) in &living {
        read_surely(client, handle, ledger, object, locator).await;
    }
    for &(object, locator) in &dying {
        let is_finished = ledger.borrow().objects[&object].delete_acknowledged;
        if !is_finished {
            let Some((_, call)) = ledger.borrow_mut().begins(object) else { continue };
            ledger.borrow_mut().delete_begins(object);
            let result = client.delete(&locator).await;
            if let Err(error) = result {
                fail("progress", format!("object {object} can't be deleted: {error}"));
            }
            ledger.borrow_mut().delete_ends(object, call, result);
        }
        read_surely(client, handle, ledger, object, locator).await;
    }
    if has_failed() {
        return 0;
    }
    let before = client.counters().cells_mended;
    for round in 1.. {
        let report = repair_all(client, ledger).await;
        if report.later == 0 && report.mended == 0 {
            break;
        }
        if round == REPAIRS_MAX {
            fail("repair", format!("it never ends: {report:?} in round {round}"));
            return 0;
        }
        handle.sleep(Nanos::from_secs(10)).await;
    }
    for &(object, locator) in &living {
        match client.stat(&locator).await {
            Ok(stat) if stat.bad == 0 && stat.silent == 0 => {}
            Ok(stat) => fail("repair", format!("object {object} is not whole: {stat:?}")),
            Err(error) => fail("repair", format!("object {object} can't be asked for: {error}")),
        }
    }
    // Repair has been everywhere: whatever was harmed, what is deleted is gone now.
    for &(object, locator) in &dying {
        let bytes = client.get(&locator, None).await;
        let is_gone = matches!(
            bytes,
            Err(ClientError::Deleted | ClientError::NotFound | ClientError::Lost { .. })
        );
        if !is_gone {
            let what = bytes.map(|bytes| bytes.len());
            fail("resurrection", format!("object {object} is there after a repair: {what:?}"));
        }
    }
    // What was deleted and seen as gone need not be read again in each era that follows.
    let mut ledger = ledger.borrow_mut();
    for (object, _) in dying {
        if object % 4 != 0 {
            ledger.objects.get_mut(&object).expect("just seen").locator = None;
        }
    }
    client.counters().cells_mended - before
}

/// Nothing hinders a read now: it must be answered.
async fn read_surely(
    client: &Client,
    handle: &Handle,
    ledger: &Shared,
    object: u64,
    locator: Locator,
) {
    for _ in 0..4 {
        let Some((_, call)) = ledger.borrow_mut().begins(object) else { return };
        let range = 0..locator.len_bytes;
        if read(client, handle, ledger, object, locator, range, call).await {
            return;
        }
        handle.sleep(Nanos::from_secs(5)).await;
    }
    let what = format!("object {object} can't be read though all is healed");
    ledger.borrow_mut().fail("progress", what);
}

async fn repair_all(client: &Client, ledger: &Shared) -> RepairReport {
    let mut total = RepairReport::default();
    let mut from = Some(ListFrom::default());
    while let Some(at) = from {
        let Ok(page) = client.list(at, 50).await else {
            total.later += 1;
            return total;
        };
        total.later += u64::from(!page.silent.is_empty());
        for listed in &page.objects {
            let object = ledger.borrow().object_of(listed.object);
            let Some(object) = object else {
                let what = format!("{:032x} is listed and was never put", listed.object);
                ledger.borrow_mut().fail("listing", what);
                continue;
            };
            // The remains of a put that was never acknowledged, and of attempts elsewhere.
            if ledger.borrow().objects[&object].locator.is_none() {
                if listed.cells + listed.notes > 0 {
                    let _ = client.delete_id(listed.object, &listed.entries).await;
                }
                continue;
            }
            let report = client.repair(listed, true).await;
            total.stripes += report.stripes;
            total.well += report.well;
            total.mended += report.mended;
            total.cells_mended += report.cells_mended;
            total.deleted += report.deleted;
            total.remains += report.remains;
            total.later += report.later;
        }
        from = page.next;
    }
    total
}

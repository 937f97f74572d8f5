//! Runs a plan on the store and on the model, and compares.

use std::cell::{Cell, RefCell};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::rc::Rc;

use isotherm_reactor::{Disk, Task};
use isotherm_seam::{Domain, Draws};
use isotherm_sim::{CrashStyle, FaultKind, FaultRates, Image};
use isotherm_store::layout::Kind;
use isotherm_store::model::{Model, Outcome, State};
use isotherm_store::{
    Delete, FormatOptions, Get, GetError, Identity, Key, OpenError, Options, Planted, Put,
    PutError, RecoveryReport, ScannedDisk, Store, World,
};

use super::plan::{Harm, Op, Plan, Setup, Start, Step, What, content, key};
use super::rig::{self, Drive, Rig};

const HARM: Domain = Domain::new("store.suite.harm");

/// What went wrong, at which step.
#[derive(Clone, Debug)]
pub struct Failure {
    /// Number of the step; `u64::MAX` is before the first or after the last.
    pub step: u64,
    pub what: String,
}

impl Failure {
    /// What kind of failure it is: its words, without what differs from run to run.
    pub fn kind(&self) -> String {
        let is_word = |word: &&str| !word.contains(|c: char| c.is_ascii_digit());
        let words: Vec<&str> = self.what.split(' ').filter(is_word).take(6).collect();
        words.join(" ")
    }
}

/// What a sequence has reached, to see that the suite goes everywhere.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Marks {
    pub puts: u64,
    pub crashes: u64,
    pub recoveries: u64,
    pub full_scans: u64,
    pub replayed: u64,
    pub holes: u64,
    pub torn_tails: u64,
    pub reclaimed: u64,
    pub full: u64,
    pub fenced: u64,
    pub damaged: u64,
    pub merges: u64,
    pub tombs_dropped: u64,
    pub checkpoints: u64,
    pub scrubbed: u64,
    pub lies: u64,
    pub time_outs: u64,
}

impl Marks {
    /// With names, for printing and for seeing which was never reached.
    pub fn named(&self) -> [(&'static str, u64); 17] {
        [
            ("puts", self.puts),
            ("crashes", self.crashes),
            ("recoveries", self.recoveries),
            ("full scans", self.full_scans),
            ("replays", self.replayed),
            ("holes", self.holes),
            ("torn tails", self.torn_tails),
            ("reclaims", self.reclaimed),
            ("full disk", self.full),
            ("fenced", self.fenced),
            ("damaged", self.damaged),
            ("run merges", self.merges),
            ("tombstones dropped", self.tombs_dropped),
            ("checkpoints", self.checkpoints),
            ("scrubs", self.scrubbed),
            ("lying flushes", self.lies),
            ("time-outs", self.time_outs),
        ]
    }

    fn all(&mut self) -> [&mut u64; 17] {
        [
            &mut self.puts,
            &mut self.crashes,
            &mut self.recoveries,
            &mut self.full_scans,
            &mut self.replayed,
            &mut self.holes,
            &mut self.torn_tails,
            &mut self.reclaimed,
            &mut self.full,
            &mut self.fenced,
            &mut self.damaged,
            &mut self.merges,
            &mut self.tombs_dropped,
            &mut self.checkpoints,
            &mut self.scrubbed,
            &mut self.lies,
            &mut self.time_outs,
        ]
    }

    /// Counts one more sequence: what it has reached, once each.
    pub fn count(&mut self, one: &Marks) {
        let mut one = *one;
        one.all().into_iter().for_each(|reached| *reached = (*reached).min(1));
        self.add(&one);
    }

    /// Adds the counts of other sequences.
    pub fn add(&mut self, other: &Marks) {
        let mut other = *other;
        self.all().into_iter().zip(other.all()).for_each(|(own, more)| *own += *more);
    }
}

/// Runs a plan; a panic of the store is a failure like any other.
pub fn run(plan: &Plan, planted: Planted) -> Result<Marks, Failure> {
    let step = Cell::new(u64::MAX);
    let result = catch_unwind(AssertUnwindSafe(|| Runner::run(plan, planted, &step)));
    match result {
        Ok(result) => result,
        Err(panic) => {
            rig::forget_pool();
            let what = panic.downcast_ref::<String>().map(String::as_str);
            let what = what.or(panic.downcast_ref::<&str>().copied()).unwrap_or("something");
            Err(Failure { step: step.get(), what: format!("panicked: {what}") })
        }
    }
}

/// Runs a plan and leaves the disk as it is then, unclosed: what is on it, and what should be.
pub fn leave(plan: &Plan) -> Result<(Image, Model), Failure> {
    let step = Cell::new(u64::MAX);
    let runner = Runner::through(plan, Planted::default(), &step)?;
    runner.rig.control.crash(CrashStyle::All);
    let (image, model) = (runner.rig.control.image(), Model::clone(&runner.rig.model));
    Ok((image, model))
}

/// What operations under way share.
pub struct Shared {
    pub model: Rc<Model>,
    pub marks: RefCell<Marks>,
    /// The first thing that was wrong.
    wrong: RefCell<Option<String>>,
    /// Reads may fail for no lasting reason.
    reads_fail: Cell<bool>,
    /// The disk may take no more writes: writes or flushes may fail, or have since the store was
    /// opened, or reads, by which the last checkpoint is found not to be there.
    may_be_fenced: Cell<bool>,
    /// What the store keeps of itself was harmed.
    meta_is_harmed: Rc<Cell<bool>>,
    /// The store cleans by itself, and nothing keeps it from it.
    reclaims: Cell<bool>,
    /// The disk was harmed beyond what a store promises to bear: any refusal is right, wrong
    /// bytes are not.
    pub lenient: Cell<bool>,
    /// Sequences of records, as first told.
    sequences: RefCell<Vec<(Key, u32, u64)>>,
}

impl Shared {
    pub fn new(model: &Rc<Model>) -> Rc<Shared> {
        Shared::with(model, Rc::default())
    }

    fn with(model: &Rc<Model>, meta_is_harmed: Rc<Cell<bool>>) -> Rc<Shared> {
        Rc::new(Shared {
            model: Rc::clone(model),
            meta_is_harmed,
            marks: RefCell::default(),
            wrong: RefCell::default(),
            reads_fail: Cell::new(false),
            may_be_fenced: Cell::new(false),
            reclaims: Cell::new(false),
            lenient: Cell::new(false),
            sequences: RefCell::default(),
        })
    }

    pub fn fail(&self, what: String) {
        self.wrong.borrow_mut().get_or_insert(what);
    }

    /// As [`Shared::fail`], for a refusal that harm may explain.
    fn refuse(&self, what: String) {
        if !self.lenient.get() {
            self.fail(what);
        }
    }

    fn check(&self, result: Result<(), isotherm_store::model::Wrong>) {
        if let Err(wrong) = result {
            self.fail(wrong.to_string());
        }
    }

    pub fn take_wrong(&self) -> Option<String> {
        self.wrong.borrow_mut().take()
    }

    /// Whether a change may be refused as the disk takes no more writes.
    fn may_be_fenced(&self) -> bool {
        self.may_be_fenced.get() || self.meta_is_harmed.get()
    }

    /// Whether a read of this key may fail.
    fn may_fail(&self, key: &Key) -> bool {
        self.reads_fail.get() || self.model.is_doubtful(*key)
    }
}

/// Whether an error says that the disk could not deliver, not that there is nothing.
fn is_trouble(error: &GetError) -> bool {
    matches!(error, GetError::Io(_) | GetError::Damaged { .. })
}

async fn put(shared: Rc<Shared>, store: Store, number: u8, version: u32, len: u32, expires: bool) {
    let key = key(number);
    let Ok(mut buf) = store.buffer(len as usize) else { return };
    let payload = content(number, version, len);
    buf.fill(&payload);
    let expires_s = if expires { 1_000_000_000 + 86_400 * (1 + version % 3) } else { 0 };
    let put = Put { epoch: u64::from(version), codec: number, expires_s, ..Put::new(key) };
    let mark = shared.model.begin(key, State::Live(payload));
    let result = store.put(put, buf).await;
    shared.marks.borrow_mut().puts += 1;
    let outcome = match result {
        Ok(identity) => {
            check_identity(&shared, &identity, number, version, len);
            Outcome::Done
        }
        Err(PutError::Deleted) => Outcome::Deleted,
        Err(PutError::Full) => {
            shared.marks.borrow_mut().full += 1;
            Outcome::Refused
        }
        Err(PutError::Fenced) => {
            if !shared.may_be_fenced() {
                shared.refuse(format!("{key}: fenced, although nothing failed"));
            }
            shared.marks.borrow_mut().fenced += 1;
            Outcome::Unknown
        }
        Err(PutError::Buffer(_)) => Outcome::Refused,
        Err(PutError::Read(_) | PutError::Damaged) if shared.may_fail(&key) => Outcome::Refused,
        Err(other) => {
            shared.refuse(format!("{key}: a put of {len} bytes answered {other:?}"));
            Outcome::Refused
        }
    };
    shared.check(shared.model.end(mark, outcome));
}

fn check_identity(shared: &Shared, identity: &Identity, number: u8, version: u32, len: u32) {
    let right = identity.key == key(number)
        && identity.epoch == u64::from(version)
        && identity.codec == number
        && identity.len_bytes == len
        && (1_000_000_000..4_000_000_000).contains(&identity.put_s);
    if !right {
        shared.fail(format!("version {version} of {len} bytes came back as {identity:?}"));
    }
    let mut sequences = shared.sequences.borrow_mut();
    let known = sequences.iter().find(|(key, v, _)| *key == identity.key && *v == version);
    match known {
        Some(&(.., sequence)) if sequence != identity.sequence => {
            shared.fail(format!("{identity:?} had sequence {sequence} before"));
        }
        Some(_) => {}
        None => sequences.push((identity.key, version, identity.sequence)),
    }
}

async fn delete(shared: Rc<Shared>, store: Store, number: u8, hold: bool) {
    let key = key(number);
    let mark = shared.model.begin(key, State::Dead { held: hold });
    let result = store.delete(Delete { key, epoch: 1, hold }).await;
    let outcome = match result {
        Ok(()) => Outcome::Done,
        Err(PutError::Fenced) if shared.may_be_fenced() => Outcome::Unknown,
        Err(PutError::Read(_) | PutError::Damaged) if shared.may_fail(&key) => Outcome::Refused,
        Err(PutError::Buffer(_)) => Outcome::Refused,
        // Who does not let the store clean up must do so before the disk is full.
        Err(PutError::Full) if !shared.reclaims.get() || !is_roomy(&store) => Outcome::Refused,
        Err(other) => {
            shared.refuse(format!("{key}: a delete answered {other:?}"));
            Outcome::Refused
        }
    };
    shared.check(shared.model.end(mark, outcome));
}

/// Whether the disk is so empty that the cleaner must find room: less than a quarter is live.
fn is_roomy(store: &Store) -> bool {
    let status = store.status();
    let counts = status.extents;
    let extents = counts.free + counts.open + counts.sealed + counts.dead;
    4 * status.live_bytes < u64::from(extents) * status.extent_bytes
}

/// Gets and judges; `decides` after a restart.
async fn get(shared: Rc<Shared>, store: Store, get: Get, decides: bool) {
    let key = get.key;
    let since = shared.model.watch(key);
    // A put that is acknowledged meanwhile does not help a get that began before.
    let might_fail = shared.may_fail(&key);
    let answer = store.get(get.clone()).await;
    if let Err(error) = &answer
        && is_trouble(error)
    {
        shared.marks.borrow_mut().damaged += 1;
        if !might_fail && !shared.may_fail(&key) {
            shared.fail(format!("{key}: a get answered {error}, and nothing was harmed"));
        }
        return;
    }
    if let Err(GetError::Buffer(_)) = answer {
        return;
    }
    let bytes = answer.as_ref().map(|shard| shard.to_vec());
    let told = || match &bytes {
        Ok(bytes) => format!(
            "a get of {:?} brought {} bytes {:02x?}",
            get.range,
            bytes.len(),
            &bytes[..bytes.len().min(16)]
        ),
        Err(error) => format!("a get of {:?} answered {error:?}", get.range),
    };
    let answer = bytes.as_deref().map_err(|error| **error);
    let fit = |state: &State| state.allows_get(&get, &answer);
    shared.check(if decides {
        shared.model.decide(key, told, fit)
    } else {
        shared.model.see(since, told, fit)
    });
}

async fn stat(shared: Rc<Shared>, store: Store, number: u8) {
    let key = key(number);
    let since = shared.model.watch(key);
    let might_fail = shared.may_fail(&key);
    let answer = store.stat(key).await;
    let fit = |state: &State| match (state, &answer) {
        (State::Live(payload), Ok(identity)) => {
            let version = identity.epoch as u32;
            payload.len() == identity.len_bytes as usize
                && payload[..] == content(number, version, identity.len_bytes)[..]
        }
        (state, Err(error)) => {
            state.allows_get(&Get { key, range: None, deadline: None }, &Err::<&[u8], _>(*error))
        }
        _ => false,
    };
    match &answer {
        Err(error) if is_trouble(error) => {
            if !might_fail && !shared.may_fail(&key) {
                shared.fail(format!("{key}: stat answered {error}, and nothing was harmed"));
            }
            return;
        }
        Err(GetError::Buffer(_)) => return,
        Ok(identity) => {
            check_identity(&shared, identity, number, identity.epoch as u32, identity.len_bytes);
        }
        Err(_) => {}
    }
    shared.check(shared.model.see(since, || format!("stat answered {answer:?}"), fit));
}

/// Lists a range to its end, page by page, and compares with what may be there.
async fn list(shared: Rc<Shared>, store: Store, from: Key, to: Key, limit: usize) {
    let keys: Vec<Key> = (0..super::plan::KEYS_MAX).map(key).collect();
    let marks: Vec<_> = keys.iter().map(|&key| (key, shared.model.watch(key))).collect();
    let mut listed = Vec::new();
    let mut at = Some(from);
    while let Some(start) = at {
        let page = match store.list(start, to, limit).await {
            Ok(page) => page,
            Err(error) if is_trouble(&error) => {
                if !shared.reads_fail.get() && !shared.meta_is_harmed.get() {
                    shared.refuse(format!("a list answered {error}, and nothing was harmed"));
                }
                return;
            }
            Err(GetError::Buffer(_)) => return,
            Err(other) => return shared.fail(format!("a list answered {other:?}")),
        };
        if page.entries.len() > limit || page.next.is_some_and(|next| next <= start) {
            return shared.fail(format!("a page of at most {limit} from {start} is {page:?}"));
        }
        listed.extend(page.entries.iter().map(|entry| (entry.key, entry.is_tombstone)));
        at = page.next;
    }
    let in_order = listed.windows(2).all(|pair| pair[0].0 < pair[1].0);
    if !in_order || listed.iter().any(|(key, _)| !(from..=to).contains(key)) {
        shared.fail(format!("a list from {from} to {to} is {listed:?}"));
    }
    for (key, since) in marks {
        if !(from..=to).contains(&key) {
            continue;
        }
        let seen = listed.iter().find(|(own, _)| *own == key).map(|(_, dead)| *dead);
        let told = || format!("a list shows {seen:?} (true is a tombstone)");
        shared.check(shared.model.see(since, told, |state| state.allows_listed(seen)));
    }
    if let Some((key, _)) = listed.iter().find(|(key, _)| !keys.contains(key)) {
        shared.refuse(format!("a list shows {key}, which was never put"));
    }
}

/// One operation, judged.
pub async fn perform(shared: Rc<Shared>, store: Store, op: Op) {
    match op {
        Op::Put { key, version, len, expires } => {
            put(shared, store, key, version, len, expires).await;
        }
        Op::Delete { key, hold } => delete(shared, store, key, hold).await,
        Op::Release { key: number } => {
            shared.model.let_go(key(number));
            store.release(key(number));
        }
        Op::Get { key: number } => {
            let request = Get { key: key(number), range: None, deadline: None };
            get(shared, store, request, false).await;
        }
        Op::Range { key: number, at, len } => {
            let request = Get { key: key(number), range: Some(at..at + len), deadline: None };
            get(shared, store, request, false).await;
        }
        Op::Stat { key } => stat(shared, store, key).await,
        Op::List { from, to, limit } => {
            list(shared, store, key(from), key(to), usize::from(limit)).await;
        }
        Op::Flush => store.flush().await,
        Op::Checkpoint => {
            shared.marks.borrow_mut().checkpoints += 1;
            let result = store.checkpoint().await;
            judge_upkeep(&shared, "a checkpoint", result.map(|_| ()));
        }
        Op::Reclaim => {
            let result = store.reclaim_once().await;
            judge_upkeep(&shared, "a cleaning", result.map(|_| ()));
        }
        Op::Scrub => match store.scrub_step().await {
            Ok(report) => {
                for key in report.damaged.iter().filter(|key| !shared.may_fail(key)) {
                    shared.refuse(format!("{key}: found damaged, and nothing was harmed"));
                }
                shared.marks.borrow_mut().scrubbed += u64::from(report.target.is_some());
            }
            Err(GetError::Buffer(_)) => {}
            Err(error) if is_trouble(&error) => {
                if !shared.reads_fail.get() && !shared.meta_is_harmed.get() {
                    shared.refuse(format!("a scrub answered {error}, and nothing was harmed"));
                }
            }
            Err(other) => shared.fail(format!("a scrub answered {other:?}")),
        },
        Op::Status => {
            let status = store.status();
            if status.live_bytes
                > u64::from(status.extents.sealed + status.extents.open) * status.extent_bytes
            {
                shared.fail(format!("more is live than there is: {status:?}"));
            }
        }
    }
}

/// What the store does for itself may fail where the disk does.
fn judge_upkeep(shared: &Shared, what: &str, result: Result<(), PutError>) {
    let doubt = || {
        shared.meta_is_harmed.get()
            || shared.model.known().iter().any(|key| shared.model.is_doubtful(*key))
    };
    match result {
        Ok(()) => {}
        Err(PutError::Fenced) if shared.may_be_fenced() => {}
        Err(PutError::Buffer(_)) => {}
        Err(PutError::Read(_) | PutError::Damaged) if shared.reads_fail.get() || doubt() => {}
        Err(other) => shared.refuse(format!("{what} answered {other:?}")),
    }
}

/// Reads every key that was ever used, and lists them.
pub async fn verify(shared: Rc<Shared>, store: Store) {
    for key in shared.model.known() {
        let request = Get { key, range: None, deadline: None };
        get(Rc::clone(&shared), store.clone(), request, true).await;
    }
    list(shared, store, Key::MIN, Key::MAX, 7).await;
}

/// Opens a store by one of the two ways.
pub async fn open(
    world: World,
    disk: Disk,
    options: Options,
    full_scan: bool,
) -> Result<(Store, RecoveryReport), OpenError> {
    let scanned = ScannedDisk::scan(&world, &disk).await?;
    let recovered = match full_scan {
        false => scanned.recover(options).await?,
        true => scanned.recover_by_full_scan(options).await?,
    };
    recovered.start().await
}

/// How the store of a setup is made.
pub fn options(setup: &Setup, planted: Planted) -> Options {
    Options {
        planted,
        entries_max: 4_096,
        changes_max: setup.checkpoint_entries as usize,
        batch_bytes: 160 << 10,
        reclaims: setup.auto_reclaim,
        ..Options::default()
    }
}

pub fn format_options(setup: &Setup, seed: u64) -> FormatOptions {
    let mut uuid = [0xa5; 16];
    uuid[..8].copy_from_slice(&seed.to_le_bytes());
    let extent_blocks = (!setup.zoned).then_some(setup.extent_blocks);
    FormatOptions { extent_blocks, ..FormatOptions::new(uuid) }
}

struct Runner<'a> {
    plan: &'a Plan,
    options: Options,
    store: Option<Store>,
    rig: Rig,
    shared: Rc<Shared>,
    rates: FaultRates,
    /// Faults of the disk before the store was opened.
    faults_before: u64,
    /// Flushes may have failed since.
    flushes_fail: bool,
}

impl<'a> Runner<'a> {
    fn run(plan: &'a Plan, planted: Planted, at: &Cell<u64>) -> Result<Marks, Failure> {
        let runner = Runner::through(plan, planted, at)?;
        at.set(u64::MAX);
        runner.finish().map_err(|what| Failure { step: u64::MAX, what })
    }

    /// All steps.
    fn through(plan: &'a Plan, planted: Planted, at: &Cell<u64>) -> Result<Runner<'a>, Failure> {
        let setup = &plan.setup;
        let rig = Rig::new(setup.disk(plan.seed), setup.trouble.needs_log());
        let shared = Shared::with(&rig.model, Rc::clone(&rig.log.borrow().meta_is_harmed));
        // What can't be read can't be moved, and an extent with it never gets empty.
        shared.reclaims.set(setup.auto_reclaim && !setup.trouble.harms());
        let mut runner = Runner {
            plan,
            options: options(setup, planted),
            rig,
            shared,
            store: None,
            rates: FaultRates::default(),
            faults_before: 0,
            flushes_fail: false,
        };
        runner.format().map_err(|what| Failure { step: u64::MAX, what })?;
        for step in &plan.steps {
            at.set(step.number);
            runner.step(step).map_err(|what| Failure { step: step.number, what })?;
        }
        Ok(runner)
    }

    fn format(&mut self) -> Result<(), String> {
        let (world, disk) = (self.rig.world(), self.rig.disk().clone());
        let options = format_options(&self.plan.setup, self.plan.seed);
        let done =
            self.rig.run(async move { isotherm_store::format(&world, &disk, &options).await });
        done.ok_or("format never ends")?.map_err(|error| format!("format: {error}"))?;
        self.start(&Start::default())
    }

    fn step(&mut self, step: &Step) -> Result<(), String> {
        self.rig.log.borrow().remark(|| format!("{} {:?}", step.number, step.what));
        match &step.what {
            What::Run { ops, cut } => {
                let store = self.store.as_ref().expect("it is open between steps");
                let mut tasks: Vec<Task<()>> = Vec::with_capacity(ops.len());
                let core = self.rig.core.as_ref().expect("powered up");
                for op in ops {
                    let shared = Rc::clone(&self.shared);
                    tasks.push(core.spawn("op", perform(shared, store.clone(), op.clone())));
                }
                let after = cut.as_ref().map(|cut| cut.after);
                let drive = self.rig.drive(after, || {
                    tasks.retain_mut(|task| task.try_take().is_none());
                    tasks.is_empty()
                });
                if drive == Drive::Stuck {
                    return Err(format!("{} of {ops:?} never end", tasks.len()));
                }
                self.right()?;
                drop(tasks);
                if let Some(cut) = cut {
                    self.crash(cut.style);
                    self.start(&cut.start)?;
                }
                Ok(())
            }
            What::Restart { start } => {
                self.close()?;
                self.start(start)
            }
            What::Harm(harm) => {
                self.harm(harm, step.number);
                Ok(())
            }
        }
    }

    fn right(&self) -> Result<(), String> {
        let faults = self.rig.control.faults_total() - self.faults_before;
        let status = self.store.as_ref().map(Store::status).unwrap_or_default();
        {
            let marks = &mut *self.shared.marks.borrow_mut();
            marks.merges |= status.counters.runs_merged;
            marks.tombs_dropped |= status.counters.tombs_dropped;
            marks.reclaimed |= status.counters.moved;
        }
        // The last checkpoint is harmed by one fault, and found so when it is read back.
        let is_meta_harmed = self.shared.meta_is_harmed.get();
        if status.fenced && !self.flushes_fail && !is_meta_harmed && faults < 2 {
            return Err(format!("fenced after {faults} failed requests, none of them a flush"));
        }
        self.shared.take_wrong().map_or(Ok(()), Err)
    }

    fn crash(&mut self, style: CrashStyle) {
        self.store = None;
        self.shared.marks.borrow_mut().crashes += 1;
        self.cut_power(style);
    }

    fn cut_power(&mut self, style: CrashStyle) {
        let setup = &self.plan.setup;
        if setup.trouble.lies {
            self.note_faults();
            let disk = setup.disk(0).geometry;
            let stride =
                disk.zones.map_or(u64::from(setup.extent_blocks), |zones| zones.zone_blocks);
            let extent = |block: u64| block / stride * stride..(block / stride + 1) * stride;
            self.rig.log.borrow_mut().blame_lies(extent);
        }
        self.rig.crash(style);
    }

    /// Notes which faults there were that nobody was told of.
    fn note_faults(&self) {
        let marks = &mut *self.shared.marks.borrow_mut();
        marks.lies = self.rig.log.borrow().lies;
        for fault in self.rig.control.faults() {
            marks.time_outs |= u64::from(fault.kind == FaultKind::TimedOut);
        }
    }

    fn close(&mut self) -> Result<(), String> {
        let store = self.store.take().expect("it is open between steps");
        let closed = self.rig.run(store.close()).ok_or("close never ends")?;
        judge_upkeep(&self.shared, "close", closed);
        self.right()
    }

    fn start(&mut self, start: &Start) -> Result<(), String> {
        for (after, style) in &start.again {
            let opening = self.opening(start.full_scan);
            let mut task = self.rig.spawn(opening);
            let mut opened = None;
            let drive = self.rig.drive(Some(*after), || {
                opened = task.try_take();
                opened.is_some()
            });
            if drive == Drive::Stuck {
                return Err("recovery never ends".into());
            }
            drop((task, opened));
            self.crash(*style);
        }
        if self.rates != FaultRates::default() {
            // What can't be read now must be there when it can be.
            let refused = self.open(start.full_scan)?;
            if refused.is_some() {
                // It may have got as far as to write down what it could not read as lost.
                let model = &self.shared.model;
                model.known().into_iter().for_each(|key| model.doubt(key));
                self.set_rates(FaultRates::default());
                self.cut_power(CrashStyle::All);
            }
        }
        if self.store.is_none()
            && let Some(refused) = self.open(start.full_scan)?
        {
            return Err(format!("the store does not open: {refused}"));
        }
        self.shared.may_be_fenced.set(self.rates != FaultRates::default());
        self.flushes_fail = self.rates.flush_error > 0.0;
        let store = self.store.clone().expect("just opened");
        let verified = verify(Rc::clone(&self.shared), store);
        self.rig.run(verified).ok_or("reading it all back never ends")?;
        self.right()
    }

    fn opening(
        &self,
        full_scan: bool,
    ) -> impl Future<Output = Result<(Store, RecoveryReport), OpenError>> + use<> {
        open(self.rig.world(), self.rig.disk().clone(), self.options.clone(), full_scan)
    }

    /// Opens the store; the error if it says no.
    fn open(&mut self, full_scan: bool) -> Result<Option<String>, String> {
        self.faults_before = self.rig.control.faults_total();
        let mut full_scan = full_scan;
        let opening = self.opening(full_scan);
        let mut opened = self.rig.run(opening).ok_or("recovery never ends")?;
        if let Err(OpenError::NoCheckpoint | OpenError::Index) = opened
            && (self.rig.unreadable > 0 || self.rig.control.faults_total() > 0)
        {
            // As the error says.
            full_scan = true;
            let opening = self.opening(full_scan);
            opened = self.rig.run(opening).ok_or("a full scan never ends")?;
        }
        match opened {
            Ok((store, report)) => {
                let marks = &mut *self.shared.marks.borrow_mut();
                marks.recoveries += 1;
                marks.full_scans += u64::from(full_scan);
                marks.replayed += report.records_replayed;
                marks.holes += report.holes.len() as u64;
                marks.torn_tails += report.records_torn;
                if self.shared.reads_fail.get() && report.unreadable_blocks > 0 {
                    // It could not know that they can be read at another time, and said so.
                    let model = &self.shared.model;
                    model.known().into_iter().for_each(|key| model.doubt(key));
                }
                self.store = Some(store);
                Ok(None)
            }
            Err(error) => Ok(Some(error.to_string())),
        }
    }

    fn set_rates(&mut self, rates: FaultRates) {
        self.rates = rates;
        self.rig.control.set_rates(rates);
        self.shared.reads_fail.set(rates.read_error > 0.0 || rates.time_out > 0.0);
        if rates != FaultRates::default() {
            self.shared.may_be_fenced.set(true);
        }
        self.flushes_fail |= rates.flush_error > 0.0;
    }

    fn harm(&mut self, harm: &Harm, number: u64) {
        let mut draws = Draws::new(self.plan.seed, HARM, number);
        let percent = |p: &u8| f64::from(*p) / 100.0;
        let log = Rc::clone(&self.rig.log);
        let now = self.rig.now();
        let mut pick = |blocks: Vec<u64>, unreadable: bool| {
            if !blocks.is_empty() {
                let block = blocks[draws.below(blocks.len() as u64) as usize];
                log.borrow_mut().harm(block, unreadable, draws.next_u64(), now);
            }
        };
        match harm {
            Harm::ReadErrors(p) => {
                self.set_rates(FaultRates { read_error: percent(p), ..self.rates });
            }
            Harm::WriteErrors(p) => {
                self.set_rates(FaultRates { write_error: percent(p), ..self.rates });
            }
            Harm::FlushErrors(p) => {
                self.set_rates(FaultRates { flush_error: percent(p), ..self.rates });
            }
            Harm::TimeOuts(p) => {
                self.set_rates(FaultRates { time_out: percent(p), ..self.rates });
            }
            Harm::Lie => log.borrow_mut().lie_next(),
            Harm::Well => self.set_rates(FaultRates::default()),
            Harm::Record { key: number, unreadable } => {
                let blocks = log.borrow().record(&key(*number));
                pick(blocks, *unreadable);
            }
            Harm::Log { unreadable } => {
                let kinds = [Kind::Data, Kind::Tombs, Kind::Mark, Kind::Head];
                let blocks = log.borrow().of_kinds(&kinds);
                pick(blocks, *unreadable);
            }
            Harm::Meta { unreadable } => {
                // The store promises to bear one such loss, not any number.
                if !log.borrow().meta_is_harmed.get() {
                    let blocks = log.borrow().of_kinds(&[Kind::Run, Kind::Checkpoint]);
                    pick(blocks, *unreadable);
                }
            }
            Harm::Lose => {
                if !log.borrow().meta_is_harmed.get() {
                    log.borrow_mut().lose_next();
                }
            }
            Harm::Misdirect { key: number } => {
                let blocks = log.borrow().record(&key(*number));
                if !log.borrow().meta_is_harmed.get()
                    && let Some(block) = blocks.first()
                {
                    log.borrow_mut().misdirect_next(*block);
                }
            }
        }
    }

    fn finish(mut self) -> Result<Marks, String> {
        self.set_rates(FaultRates::default());
        self.note_faults();
        let store = self.store.clone().expect("it is open between steps");
        self.rig.run(verify(Rc::clone(&self.shared), store)).ok_or("the last look never ends")?;
        self.right()?;
        self.close()?;
        let marks = *self.shared.marks.borrow();
        self.rig.end()?;
        Ok(marks)
    }
}

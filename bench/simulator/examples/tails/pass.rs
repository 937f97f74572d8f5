//! One run: reads at the times of a schedule, whatever comes of them.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::fmt::Write;
use std::rc::Rc;

use bytes::Bytes;
use isotherm_client::{Client, ClientError, Locator, ReadPolicy};
use isotherm_objects::{Act, ArrivalLaw, BurstLaw, Plan, Schedule};
use isotherm_reactor::Handle;
use isotherm_seam::{Mono, Nanos};
use isotherm_simulator::MachineId;

use crate::bound::Bound;
use crate::rig::{Rig, Worked};
use crate::setup::{APPEND_BYTES, Setup};

/// Reads of one object, of what its holders could serve: beyond that a cache in front serves them.
const CACHED_FROM: f64 = 0.25;
/// What is still under way at the end is waited for so long, and then counts as longer.
const PATIENCE: Nanos = Nanos::from_secs(20);
/// A read that failed or never ended.
const FOR_EVER: Nanos = Nanos::from_secs(60);
/// Between the deaths of two clients.
const DEATHS: Nanos = Nanos::from_secs(1);

#[derive(Default)]
struct Seen {
    latencies: Vec<Nanos>,
    failed: u64,
    /// Why what failed did, and how often: puts too.
    why: BTreeMap<String, u64>,
    under_way: u64,
}

impl Seen {
    fn failed(&mut self, what: &str, error: &ClientError) {
        *self.why.entry(format!("{what}: {error}")).or_default() += 1;
    }
}

/// A read under way; it is none any more when its machine dies.
struct UnderWay(Rc<RefCell<Seen>>);

impl Drop for UnderWay {
    fn drop(&mut self) {
        self.0.borrow_mut().under_way -= 1;
    }
}

/// What is read of an object.
#[derive(Clone, Copy)]
struct Wanted {
    slot: u64,
    locator: Locator,
    /// Where, if not all of it.
    range: Option<(u64, u64)>,
}

impl Wanted {
    fn new(setup: &Setup, slot: u64, locator: Locator, draw: u64) -> Wanted {
        let range = setup.range.map(|len| {
            let per_cell = setup.cell / len;
            let at = draw % (per_cell * setup.data_cells());
            let start = at / per_cell * setup.cell + at % per_cell * len;
            (start, start + len)
        });
        Wanted { slot, locator, range }
    }
}

/// One read, counted from when it was to begin.
fn read(
    handle: &Handle,
    client: &Client,
    policy: ReadPolicy,
    wanted: Wanted,
    at: Mono,
    seen: &Rc<RefCell<Seen>>,
) {
    let (client, clock) = (client.clone(), handle.clone());
    seen.borrow_mut().under_way += 1;
    let under_way = UnderWay(Rc::clone(seen));
    handle.spawn("read", async move {
        let range = wanted.range.map(|(from, until)| from..until);
        let len = range.as_ref().map_or(wanted.locator.len_bytes, |range| range.end - range.start);
        let got = client.get_by(policy, &wanted.locator, range).await;
        let mut seen = under_way.0.borrow_mut();
        match got {
            Ok(bytes) => {
                assert_eq!(bytes.len() as u64, len);
                let is_right = |byte: &u8| *byte == wanted.slot as u8;
                assert!(bytes.iter().step_by(997).all(is_right), "other bytes");
                seen.latencies.push(clock.now().since(at));
            }
            Err(error) => {
                seen.failed += 1;
                seen.failed("read", &error);
            }
        }
        drop(seen);
    });
}

pub(crate) fn ms(latencies: &[Nanos], quantile: f64) -> f64 {
    let at = (latencies.len() as f64 * quantile) as usize;
    latencies.get(at.min(latencies.len().max(1) - 1)).map_or(0.0, |at| at.as_millis_f64())
}

/// Reads that would hit one object too often: a bucket of a second for each object.
struct Cache {
    buckets: BTreeMap<u64, (f64, Nanos)>,
    per_s: f64,
    served: u64,
}

impl Cache {
    fn new(setup: &Setup, service_ms: f64) -> Cache {
        let capacity = setup.holders() as f64 * 1000.0 / service_ms / setup.data_cells() as f64;
        Cache { buckets: BTreeMap::new(), per_s: capacity * CACHED_FROM, served: 0 }
    }

    /// Whether a cache serves this read.
    fn serves(&mut self, slot: u64, at: Nanos) -> bool {
        let (tokens, since) = self.buckets.entry(slot).or_insert((self.per_s, Nanos::ZERO));
        *tokens = (*tokens + (at - *since).as_secs_f64() * self.per_s).min(self.per_s);
        *since = at;
        let serves = *tokens < 1.0;
        match serves {
            true => self.served += 1,
            false => *tokens -= 1.0,
        }
        serves
    }
}

/// Puts of objects of long cells, one after the other at an even pace.
struct Appends {
    gap: Option<Nanos>,
    next: Nanos,
    number: usize,
    filler: Bytes,
    failed: Rc<RefCell<u64>>,
}

impl Appends {
    fn new(setup: &Setup) -> Appends {
        let per_s = setup.appends * setup.all_disks() as f64 / setup.holders() as f64;
        let filler = Bytes::from(vec![0; (APPEND_BYTES * setup.data_cells()) as usize]);
        let gap = (per_s > 0.0).then(|| Nanos::from_secs_f64(1.0 / per_s));
        Appends { gap, next: Nanos::ZERO, number: 0, filler, failed: Rc::default() }
    }

    /// When the next one is due.
    fn due(&self) -> Option<Nanos> {
        self.gap.map(|_| self.next)
    }

    fn put(&mut self, rig: &mut Rig, seen: &Rc<RefCell<Seen>>) {
        let Some(gap) = self.gap else { return };
        self.next += gap;
        let (id, client) = rig.clients[self.number % rig.clients.len()].clone();
        self.number += 1;
        let (filler, failed) = (self.filler.clone(), Rc::clone(&self.failed));
        let seen = Rc::clone(seen);
        rig.world.handle(id).unwrap().spawn("append", async move {
            if let Err(error) = client.put(client.new_id(), filler).await {
                *failed.borrow_mut() += 1;
                seen.borrow_mut().failed("put", &error);
            }
        });
        rig.world.wake(id);
    }
}

/// A counter of each kind at the end of the warm-up.
struct Mark {
    worked: Worked,
    offered: u64,
    messages: (u64, u64),
    hedged: u64,
}

/// One run, as a line of JSON.
pub(crate) fn pass(
    setup: &Setup,
    policy: ReadPolicy,
    name: &str,
    per_disk: f64,
    bound: &Bound,
) -> String {
    let mut rig = Rig::new(setup);
    let objects = rig.fill();
    let warmup = Nanos::from_secs(setup.warmup);
    let plan = Plan {
        objects: objects.len() as u64,
        tenants: setup.tenants(),
        tenant_zipf: 0.5,
        zipf: Some(0.9),
        arrivals: ArrivalLaw::Shifting { law: BurstLaw::default() },
        rate_per_s: per_disk * setup.all_disks() as f64 / setup.needed() as f64,
        warmup,
        runtime: Nanos::from_secs(setup.seconds),
        ..Plan::new(setup.seed)
    };
    plan.check().expect("a plan that can be run");
    let start = rig.world.now();
    let seen = Rc::new(RefCell::new(Seen::default()));
    let mut cache = Cache::new(setup, bound.service_ms);
    let mut appends = Appends::new(setup);
    let mut offered = 0u64;
    let mut mark: Option<Mark> = None;
    let mut next_death = warmup;
    let events = rig.world.events();
    for operation in Schedule::new(&plan) {
        let Act::Read { slot, draw } = operation.act else { unreachable!("a plan of reads") };
        if cache.serves(slot, operation.at) {
            continue;
        }
        while let Some(at) = appends.due().filter(|at| *at <= operation.at) {
            rig.world.run_until(start + at, |_| false);
            appends.put(&mut rig, &seen);
        }
        rig.world.run_until(start + operation.at, |_| false);
        if mark.is_none() && operation.at >= warmup {
            mark = Some(Mark::new(&rig, offered));
            seen.borrow_mut().latencies.clear();
        }
        if setup.dying && operation.at >= next_death {
            let dead = (next_death.0 / DEATHS.0) as usize % rig.clients.len();
            rig.replace_client(dead);
            next_death += DEATHS;
        }
        offered += 1;
        let (id, client): &(MachineId, Client) =
            &rig.clients[(operation.number % u64::from(setup.clients)) as usize];
        let handle = rig.world.handle(*id).unwrap().clone();
        let wanted = Wanted::new(setup, slot, objects[&slot], draw);
        // A client is a machine: many reads of it at once, each a task.
        read(&handle, client, policy, wanted, start + operation.at, &seen);
        let id = *id;
        rig.world.wake(id);
    }
    let mark = mark.expect("longer than the warm-up");
    let then = Mark::new(&rig, offered);
    let events = rig.world.events() - events;
    let left = seen.borrow().under_way;
    let until = rig.world.after(PATIENCE);
    let watched = Rc::clone(&seen);
    rig.world.run_until(until, move |_| watched.borrow().under_way == 0);
    let mut seen = seen.borrow_mut();
    let unended = seen.under_way + seen.failed;
    seen.latencies.extend((0..unended).map(|_| FOR_EVER));
    seen.latencies.sort_unstable();
    let disks = setup.all_disks() as f64;
    let disk_s = setup.seconds as f64 * disks;
    let counted = (then.offered - mark.offered) as f64;
    let disk_reads = (then.worked.reads - mark.worked.reads) as f64;
    let share = |now: Nanos, before: Nanos| (now - before).as_secs_f64() / disk_s;
    let p999 = ms(&seen.latencies, 0.999);
    let mut out = String::from("{");
    let mut field = |name: &str, value: String| {
        let _ = write!(out, "\"{name}\":{value},");
    };
    field("policy", format!("\"{policy}\""));
    field("load", format!("\"{name}\""));
    field("seed", setup.seed.to_string());
    field("p50_ms", format!("{:.1}", ms(&seen.latencies, 0.5)));
    field("p99_ms", format!("{:.1}", ms(&seen.latencies, 0.99)));
    field("p999_ms", format!("{p999:.1}"));
    field("ratio", format!("{:.2}", p999 / bound.ms(0.999)));
    field("busy", format!("{:.3}", share(then.worked.time, mark.worked.time)));
    field("appends", format!("{:.3}", share(then.worked.append_time, mark.worked.append_time)));
    field("reads_per_disk_s", format!("{:.1}", disk_reads / disk_s));
    field("extra_io", format!("{:.4}", disk_reads / (counted * setup.needed() as f64) - 1.0));
    field("hedged", format!("{:.4}", (then.hedged - mark.hedged) as f64 / counted));
    field("cached", format!("{:.3}", cache.served as f64 / (cache.served + offered) as f64));
    field("failed", (seen.failed + *appends.failed.borrow()).to_string());
    field(
        "why",
        format!("{:?}", seen.why.iter().map(|(why, n)| format!("{n} {why}")).collect::<Vec<_>>()),
    );
    field("left", left.to_string());
    field("reads", counted.to_string());
    let messages = (then.messages.0 - mark.messages.0) as f64 / counted;
    let bytes = (then.messages.1 - mark.messages.1) as f64 / counted;
    field("messages_per_read", format!("{messages:.1}"));
    field("bytes_per_read", format!("{bytes:.0}"));
    let _ = write!(out, "\"events\":{events}}}");
    out
}

impl Mark {
    fn new(rig: &Rig, offered: u64) -> Mark {
        let messages = rig.world.messages().counters();
        Mark {
            worked: rig.worked(),
            offered,
            messages: (messages.arrived, messages.arrived_bytes),
            hedged: rig.hedged(),
        }
    }
}

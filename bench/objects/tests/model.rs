//! The runner over a model of a cluster, in virtual time: what it does on time, late, and when
//! things fail.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::ops::Range;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use bytes::Bytes;
use isotherm_objects::{
    ArrivalLaw, FillError, Kind, Mix, ObjectId, Objects, Part, Pass, Plan, RunConfig, Runner,
    SizeLaw, Trouble,
};
use isotherm_reactor::{Handle, Reactor, ReactorConfig};
use isotherm_seam::{Mono, Nanos};
use isotherm_sim::{SimClock, SimPark};

/// One server with a queue: it takes so long for each operation.
#[derive(Clone)]
struct Model {
    handle: Handle,
    kept: Rc<RefCell<BTreeMap<ObjectId, Bytes>>>,
    service: Nanos,
    free_at: Rc<Cell<Mono>>,
    /// Nothing is done before then: a stall.
    stalls_until: Rc<Cell<Mono>>,
    under_way: Rc<Cell<u32>>,
    under_way_max: Rc<Cell<u32>>,
    /// This read gives a wrong byte.
    rots: Option<u64>,
    reads: Rc<Cell<u64>>,
    refuses_puts: bool,
}

impl Model {
    fn new(handle: &Handle, service: Nanos) -> Model {
        Model {
            handle: handle.clone(),
            kept: Rc::default(),
            service,
            free_at: Rc::default(),
            stalls_until: Rc::default(),
            under_way: Rc::default(),
            under_way_max: Rc::default(),
            rots: None,
            reads: Rc::default(),
            refuses_puts: false,
        }
    }

    async fn serve(&self) {
        self.under_way.set(self.under_way.get() + 1);
        self.under_way_max.set(self.under_way_max.get().max(self.under_way.get()));
        let begin = self.handle.now().max(self.free_at.get()).max(self.stalls_until.get());
        self.free_at.set(begin + self.service);
        self.handle.sleep_until(begin + self.service).await;
        self.under_way.set(self.under_way.get() - 1);
    }
}

impl Objects for Model {
    type Policy = &'static str;

    async fn put(&self, object: ObjectId, bytes: Bytes) -> Result<(), Trouble> {
        self.serve().await;
        if self.refuses_puts {
            return Err(Trouble::NoRoom);
        }
        let before = self.kept.borrow_mut().insert(object, bytes);
        assert!(before.is_none(), "{object} is never put twice");
        Ok(())
    }

    async fn get(
        &self,
        object: ObjectId,
        range: Range<u64>,
        _: &&'static str,
    ) -> Result<Vec<u8>, Trouble> {
        self.serve().await;
        let read = self.reads.replace(self.reads.get() + 1);
        let kept = self.kept.borrow();
        let bytes = kept.get(&object).ok_or(Trouble::Gone)?;
        let mut bytes = bytes[range.start as usize..range.end as usize].to_vec();
        if self.rots == Some(read) {
            bytes[0] ^= 1;
        }
        Ok(bytes)
    }

    async fn delete(&self, object: ObjectId) -> Result<(), Trouble> {
        self.serve().await;
        self.kept.borrow_mut().remove(&object).map(|_| ()).ok_or(Trouble::Gone)
    }

    fn cell(&self, len_bytes: u64, at: u64) -> Range<u64> {
        let from = at / 1000 * 1000;
        from..(from + 1000).min(len_bytes)
    }
}

struct Rig {
    core: Reactor<SimPark, SimClock>,
    model: Model,
    stop: Arc<AtomicBool>,
}

impl Rig {
    fn new(service: Nanos) -> Rig {
        let clock = SimClock::new();
        let core = Reactor::new(SimPark::new(clock.clone()), clock, ReactorConfig::default());
        let model = Model::new(core.handle(), service);
        Rig { core, model, stop: Arc::default() }
    }

    fn runner(&self, plan: &Plan, config: RunConfig) -> Runner<Model> {
        plan.check().unwrap();
        let stop = Arc::clone(&self.stop);
        Runner::new(self.core.handle(), self.model.clone(), plan.clone(), config, stop)
    }

    fn pass(&mut self, plan: &Plan, config: RunConfig) -> Pass {
        let runner = self.runner(plan, config);
        self.core.run(async move {
            runner.fill().await.unwrap();
            runner.pass(&"plain").await
        })
    }
}

fn plan() -> Plan {
    Plan {
        objects: 50,
        sizes: SizeLaw::Range { min: 1, max: 5_000 },
        rate_per_s: 100.0,
        arrivals: ArrivalLaw::Constant,
        runtime: Nanos::from_secs(10),
        ..Plan::new(1)
    }
}

#[test]
fn what_keeps_up_is_on_time_and_right() {
    let mut rig = Rig::new(Nanos::from_millis(2));
    let plan = Plan { warmup: Nanos::from_secs(1), ..plan() };
    let pass = rig.pass(&plan, RunConfig::default());
    let reads = pass.kind(Kind::Read);
    assert_eq!((reads.done(), reads.failures(), reads.unsent, reads.late), (1000, 0, 0, 0));
    assert_eq!((pass.wrong, pass.unfinished, pass.was_stopped), (0, 0, false));
    assert_eq!((reads.response.min_ns(), reads.response.max_ns()), (2_000_000, 2_000_000));
    assert_eq!(pass.counted, Nanos::from_secs(10));
    assert_eq!(rig.model.under_way_max.get(), 8, "the fill; one at a time after that");
    // All of them were read whole, and their bytes were counted.
    assert!(reads.bytes > 1000 * 1500 && reads.bytes < 1000 * 3500, "{}", reads.bytes);
}

/// The heart of it: a stall of a second is felt by the hundred operations that came meanwhile.
#[test]
fn a_stall_is_felt_by_all_that_come_during_it() {
    let mut rig = Rig::new(Nanos::from_millis(1));
    let plan = plan();
    let config = RunConfig { under_way_max: 4, ..RunConfig::default() };
    let runner = rig.runner(&plan, config);
    let model = rig.model.clone();
    let pass = rig.core.run(async move {
        runner.fill().await.unwrap();
        let begin = model.handle.now() + Nanos::from_secs(3);
        let stalled = model.clone();
        model.handle.spawn("stall", async move {
            stalled.handle.sleep_until(begin).await;
            stalled.stalls_until.set(begin + Nanos::from_secs(1));
        });
        runner.pass(&"plain").await
    });
    let reads = pass.kind(Kind::Read);
    assert_eq!(reads.done(), 1000);
    // A hundred came during the stall; those that came first waited longest.
    let slow: u32 = (0..)
        .zip(reads.timeline.columns())
        .map(|(_, column)| {
            column
                .responses
                .iter()
                .filter(|(cell, _)| **cell > 8 * 13)
                .map(|(_, n)| *n)
                .sum::<u32>()
        })
        .sum();
    assert!((90..=115).contains(&slow), "{slow} took longer than some milliseconds");
    assert!((900_000_000..1_100_000_000).contains(&reads.response.max_ns()));
    // From the actual start only the four that had a place were slow: what a closed loop would tell.
    assert!(
        reads.latency.percentile_ns(99.0) < 10_000_000,
        "{}",
        reads.latency.percentile_ns(99.0)
    );
    assert!(reads.response.percentile_ns(95.0) > 400_000_000);
    assert!((85..=115).contains(&reads.late), "{}", reads.late);
    assert_eq!(rig.model.under_way_max.get(), 8, "four at once, and eight while they were put");
}

#[test]
fn what_cannot_be_sent_is_counted() {
    // A hundred a second for a server of fifty.
    let mut rig = Rig::new(Nanos::from_millis(20));
    let config = RunConfig { under_way_max: 4, ..RunConfig::default() };
    let pass = rig.pass(&plan(), config);
    let reads = pass.kind(Kind::Read);
    assert_eq!(reads.done() + reads.unsent, 1000, "none is left out");
    assert!((490..=510).contains(&reads.done()), "{}", reads.done());
    // The queue has grown to five seconds by the end.
    assert!(reads.response.max_ns() > 4_800_000_000, "{}", reads.response.max_ns());
    assert!(reads.latency.max_ns() <= 80_000_000, "four places of 20 ms each");
}

#[test]
fn a_wrong_byte_is_found_and_named() {
    let mut rig = Rig::new(Nanos::from_millis(1));
    rig.model.rots = Some(500);
    let plan = Plan { part: Part::Cell, ..plan() };
    let pass = rig.pass(&plan, RunConfig::default());
    assert_eq!(pass.wrong, 1);
    assert!(pass.told[0].contains("version 0: byte"), "{:?}", pass.told);
    let reads = pass.kind(Kind::Read);
    assert!(reads.bytes <= 1000 * 1000, "cells of 1,000 bytes: {}", reads.bytes);
}

#[test]
fn writes_replace_and_deletes_remove_what_was_replaced() {
    let mut rig = Rig::new(Nanos::from_millis(1));
    let mix = Mix { read: 70, write: 20, delete: 10 };
    let plan = Plan { mix, hot: 0.5, part: Part::Bytes(512), ..plan() };
    let runner = rig.runner(&plan, RunConfig::default());
    let again = runner.clone();
    let (first, second) = rig.core.run(async move {
        runner.fill().await.unwrap();
        (runner.pass(&"a").await, runner.pass(&"b").await)
    });
    for pass in [&first, &second] {
        assert_eq!((pass.wrong, pass.kinds.iter().map(|k| k.failures()).sum::<u64>()), (0, 0));
    }
    let count = |pass: &Pass| Kind::ALL.map(|kind| pass.kind(kind).done());
    assert_eq!(count(&first)[..2], count(&second)[..2], "the same schedule for both");
    let [_, writes, _] = count(&first);
    assert!((160..=240).contains(&writes), "{writes}");
    let deletes = count(&first)[2] + count(&second)[2];
    let kept = rig.model.kept.borrow().len() as u64;
    assert_eq!(kept, 50 + 2 * writes - deletes);
    let left = rig.core.run(async move { (again.clear().await, again.moved()) });
    assert_eq!(left, (0, kept));
    assert!(rig.model.kept.borrow().is_empty());
}

#[test]
fn a_check_reads_each_object_once_and_names_what_is_wrong() {
    let mut rig = Rig::new(Nanos::from_millis(1));
    let runner = rig.runner(&plan(), RunConfig::default());
    let model = rig.model.clone();
    let (good, bad) = rig.core.run(async move {
        runner.fill().await.unwrap();
        let good = runner.check(&"plain").await;
        model.kept.borrow_mut().remove(&ObjectId { slot: 7, version: 0 });
        let bytes = model.kept.borrow()[&ObjectId { slot: 9, version: 0 }].clone();
        let mut bytes = bytes.to_vec();
        *bytes.last_mut().unwrap() ^= 1;
        model.kept.borrow_mut().insert(ObjectId { slot: 9, version: 0 }, bytes.into());
        (good, runner.check(&"plain").await)
    });
    let bytes: u64 = (0..50).map(|slot| plan().sizes.of(plan().seed, slot)).sum();
    assert_eq!((good.right, good.bytes, good.wrong, good.failed), (50, bytes, 0, 0));
    assert_eq!((bad.right, bad.wrong, bad.failed), (48, 2, 0));
    assert!(bad.told.iter().any(|told| told.starts_with("object 7 ")), "{:?}", bad.told);
    assert!(bad.told.iter().any(|told| told.starts_with("object 9 ")), "{:?}", bad.told);
}

#[test]
fn a_stop_reports_what_there_is() {
    let mut rig = Rig::new(Nanos::from_millis(2));
    let runner = rig.runner(&plan(), RunConfig::default());
    let (handle, stop) = (rig.core.handle().clone(), Arc::clone(&rig.stop));
    let pass = rig.core.run(async move {
        runner.fill().await.unwrap();
        let timer = handle.clone();
        handle.spawn("stop", async move {
            timer.sleep(Nanos::from_secs(4)).await;
            stop.store(true, Ordering::Relaxed);
        });
        runner.pass(&"plain").await
    });
    assert!(pass.was_stopped);
    let reads = pass.kind(Kind::Read);
    assert!((399..=411).contains(&reads.done()), "{}", reads.done());
    assert!((3_900..=4_100).contains(&(pass.counted.0 / 1_000_000)), "{:?}", pass.counted);
    // One may have been due at the very moment.
    assert!(reads.unsent <= 1 && pass.unfinished == 0, "{} {}", reads.unsent, pass.unfinished);
}

#[test]
fn objects_that_cannot_be_put_are_told_of() {
    let mut rig = Rig::new(Nanos::from_millis(1));
    rig.model.refuses_puts = true;
    let runner = rig.runner(&plan(), RunConfig::default());
    let error = rig.core.run(async move { runner.fill().await }).unwrap_err();
    assert!(matches!(error, FillError::Refused { trouble: Trouble::NoRoom, .. }), "{error}");
}

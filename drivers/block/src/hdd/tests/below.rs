//! What the drive owes its caller, and what it may ask of the device below.

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;

use isotherm_seam::{
    BlockDevice, Completion, DeviceInfo, Due, Geometry, IoError, Lba, Mono, Nanos, Op, OpenCause,
    Park, Persist, Request, Tag, Unpark,
};

use super::*;
use crate::Memory;
use crate::conformance;
use crate::zoned::{Zoned, Zones};

#[test]
fn too_small_a_backing_is_refused() {
    for profile in PROFILES.iter().filter(|profile| !profile.host_managed) {
        let least = profile.smallest_backing_bytes();
        assert!(least <= 128 << 20, "{}: {least}", profile.name);
        let open =
            |bytes| Hdd::new(Box::new(Null::new(&Shape::new(bytes))), &HddOptions::of(profile), 0);
        let refused = open(least - BLOCK).err().expect("too small");
        assert_eq!(refused, OpenCause::TooSmall { bytes: least - BLOCK, needed_bytes: least });
        assert!(open(least).is_ok());
    }
}

#[test]
fn a_host_managed_drive_is_refused_over_a_device_without_zones() {
    let memory = Box::new(Null::new(&Shape::new(SMALL)));
    let cause = Hdd::new(memory, &HddOptions::of(&HC670), 0).err().expect("no zones");
    assert!(matches!(cause, OpenCause::BadSpec { .. }), "{cause}");
}

/// A device that notes what it is asked, fails what it is told to, and takes so many at once.
struct Witness {
    memory: Memory,
    geometry: Geometry,
    seen: Rc<RefCell<Vec<String>>>,
    room: usize,
    fail: bool,
}

impl BlockDevice for Witness {
    fn geometry(&self) -> &Geometry {
        &self.geometry
    }
    fn info(&self) -> DeviceInfo {
        self.memory.info()
    }
    fn submit(&mut self, now: Mono, request: Request) -> Result<(), Request> {
        if self.memory.inflight() >= self.room {
            return Err(request);
        }
        self.seen.borrow_mut().push(match &request.op {
            Op::Write { persist, .. } => format!("write {persist:?}"),
            op => format!("{:?}", op.kind()),
        });
        self.memory.submit(now, request)
    }
    fn poll(&mut self, now: Mono, done: &mut Vec<Completion>) -> usize {
        let before = done.len();
        let count = self.memory.poll(now, done);
        if self.fail {
            for completion in &mut done[before..] {
                completion.result = Err(IoError::Media { lba: Lba(77) });
            }
        }
        count
    }
    fn due(&self) -> Due {
        // As a kernel would: the caller has to come and see.
        if self.memory.inflight() > 0 { Due::Event } else { Due::Idle }
    }
    fn inflight(&self) -> usize {
        self.memory.inflight()
    }
}

type Log = Rc<RefCell<Vec<String>>>;

fn witness(volatile_cache: bool, room: usize, fail: bool) -> (Box<Witness>, Log) {
    let memory = Memory::new(&Shape::new(SMALL)).unwrap();
    let geometry = Geometry { volatile_cache, ..memory.geometry().clone() };
    let seen = Log::default();
    (Box::new(Witness { memory, geometry, seen: Log::clone(&seen), room, fail }), seen)
}

#[test]
fn durability_is_asked_for_below_as_promised_above() {
    for (write_cache, expected) in
        [(true, ["write Flush", "Flush"]), (false, ["write Fua", "Flush"])]
    {
        let (inner, seen) = witness(true, 64, false);
        let options = HddOptions { write_cache, ..healthy() };
        let mut rig = Rig::new(Hdd::new(inner, &options, 0).unwrap());
        assert_eq!(rig.hdd.geometry().volatile_cache, write_cache);
        rig.write(0, 0, 4096, Persist::Flush);
        rig.now = rig.now + Nanos::from_millis(100);
        assert_eq!(rig.hdd.poll(rig.now, &mut rig.done), 1);
        rig.submit(1, Op::Flush);
        rig.now = rig.now + Nanos::from_millis(100);
        rig.hdd.poll(rig.now, &mut rig.done);
        rig.hdd.poll(rig.now, &mut rig.done);
        assert_eq!(rig.done.len(), 2);
        assert_eq!(*seen.borrow(), expected);
    }
}

#[test]
fn a_flush_goes_down_only_when_the_cache_is_clean() {
    let (inner, seen) = witness(true, 64, false);
    let mut rig = Rig::new(Hdd::new(inner, &healthy(), 0).unwrap());
    rig.write(0, 400_000, 4096, Persist::Flush);
    rig.now = rig.now + Nanos::from_micros(300);
    rig.hdd.poll(rig.now, &mut rig.done);
    assert_eq!(rig.done.len(), 1, "the write is answered");
    rig.submit(1, Op::Flush);
    rig.hdd.poll(rig.now, &mut rig.done);
    assert_eq!(seen.borrow().len(), 1, "not before it is on the medium");
    let Due::At(at) = rig.hdd.due() else { panic!("{:?}", rig.hdd.due()) };
    rig.now = at + Nanos::from_millis(1);
    rig.hdd.poll(rig.now, &mut rig.done);
    assert_eq!(*seen.borrow(), ["write Flush", "Flush"]);
    assert_eq!(rig.hdd.due(), Due::Event, "now it is up to the device below");
    rig.hdd.poll(rig.now, &mut rig.done);
    assert_eq!(rig.done.len(), 2);
}

#[test]
fn errors_below_come_up_in_the_drives_time() {
    let (inner, _) = witness(false, 64, true);
    let mut rig = Rig::new(Hdd::new(inner, &healthy(), 0).unwrap());
    rig.read(0, 0, 4096);
    rig.hdd.poll(rig.now, &mut rig.done);
    assert!(rig.done.is_empty(), "even an error takes the arm there");
    let done = rig.wait();
    assert_eq!(done[0].result, Err(IoError::Media { lba: Lba(77) }));
    assert!(done[0].buf.is_some() && rig.now > Mono::ZERO);
}

#[test]
fn a_device_below_that_is_full_hands_the_request_back_as_it_was() {
    let (inner, _) = witness(true, 1, false);
    let off = HddOptions { write_cache: false, ..healthy() };
    let mut rig = Rig::new(Hdd::new(inner, &off, 0).unwrap());
    rig.read(0, 0, 4096);
    let buf = rig.pool.alloc(4096).unwrap();
    let op = Op::Write { lba: Lba(8), buf, persist: Persist::Flush };
    let back = rig.hdd.submit(rig.now, Request { tag: Tag(9), op }).unwrap_err();
    assert_eq!(back.tag, Tag(9));
    assert!(matches!(back.op, Op::Write { lba: Lba(8), persist: Persist::Flush, .. }));
    // A flush is taken, and waits here until there is room below.
    rig.submit(1, Op::Flush);
    rig.now = rig.now + Nanos::from_millis(50);
    rig.hdd.poll(rig.now, &mut rig.done);
    assert_eq!(rig.done.len(), 1, "the read");
    rig.hdd.poll(rig.now, &mut rig.done);
    assert_eq!(rig.done.len(), 2, "the flush");
    assert_eq!(rig.hdd.due(), Due::Idle);
}

#[test]
fn a_flush_that_finds_no_room_below_waits_for_an_event_and_does_not_spin() {
    // Somebody else fills what is below: it takes nothing, and has nothing of ours.
    let (inner, _) = witness(true, 0, false);
    let mut rig = Rig::new(Hdd::new(inner, &healthy(), 0).unwrap());
    rig.submit(0, Op::Flush);
    let Due::At(at) = rig.hdd.due() else { panic!("{:?}", rig.hdd.due()) };
    rig.now = at;
    assert_eq!(rig.hdd.poll(rig.now, &mut rig.done), 0);
    assert_eq!((rig.hdd.due(), rig.hdd.inflight()), (Due::Event, 1));
}

fn zoned(zone_bytes: u64, bytes: u64) -> Box<Zoned> {
    let zones = Zones { zone_bytes, capacity_bytes: zone_bytes, conventional: 1, open_max: 0 };
    let memory = Memory::new(&Shape::new(bytes)).unwrap();
    Box::new(Zoned::new(Box::new(memory), &zones).unwrap())
}

#[test]
fn a_host_managed_drive_has_the_zones_and_the_rules_of_what_is_below() {
    let options = HddOptions { retries: 0.0, ..HddOptions::of(&HC670) };
    let mut rig = Rig::new(Hdd::new(zoned(16 << 20, SMALL), &options, 0).unwrap());
    let zones = rig.hdd.geometry().zones.expect("zones");
    assert_eq!((zones.zones, zones.conventional), (16, 1));
    let start = zones.zone_blocks * 3;
    for (tag, lba, allowed) in [(0, start, true), (1, start + 8, true), (2, start, false)] {
        rig.write(tag, lba, 4096, Persist::Fua);
        let began = rig.now;
        let result = rig.wait()[0].result;
        assert_eq!(result.is_ok(), allowed, "{result:?}");
        let took = rig.now.since(began);
        assert_eq!(took > Nanos::from_millis(1), allowed, "a broken rule moves no arm: {took:?}");
    }
    let commands = rig.hdd.drive().stats().commands;
    assert_eq!(commands, 2);
}

#[test]
fn it_keeps_the_contract_over_zones() {
    let pool = conformance::pool();
    for write_cache in [true, false] {
        let options = HddOptions { write_cache, ..HddOptions::of(&HC670) };
        let mut hdd = Hdd::new(zoned(4 << 20, 64 << 20), &options, 7).unwrap();
        conformance::run(&mut hdd, &mut Awake, &pool, 7);
    }
}

#[test]
fn it_keeps_the_contract_over_memory() {
    let variants = [
        HddOptions::default(),
        HddOptions { depth: 1, ..HddOptions::default() },
        HddOptions { write_cache: false, order: Order::Sptf, ..HddOptions::default() },
        HddOptions { order: Order::Fifo, retries: 1_000.0, ..HddOptions::default() },
        HddOptions { profile: FUTURE_200T, slow: Some(Slow::always(3.0)), ..healthy() },
    ];
    let pool = conformance::pool();
    for (seed, options) in variants.iter().enumerate() {
        let memory = Memory::new(&Shape::new(128 << 20)).unwrap();
        let mut hdd = Hdd::new(Box::new(memory), options, seed as u64).unwrap();
        conformance::run(&mut hdd, &mut Awake, &pool, seed as u64);
    }
}

/// Nothing here waits for the world.
struct Awake;

impl Unpark for Awake {
    fn unpark(&self) {}
}

impl Park for Awake {
    fn park(&mut self, _: Mono, _: Option<Mono>) {
        panic!("a modelled disk over memory needs no event");
    }
    fn unparker(&self) -> Arc<dyn Unpark> {
        Arc::new(Awake)
    }
}

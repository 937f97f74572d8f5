//! Records what is written to any device, so that crash images can be made of real runs.
//!
//! What must always hold: the log holds requests and completions in the order in which they
//! passed the recorder, and an image made from it is one that the contract of the device allows
//! at that moment: what was flushed is there, everything else may be.
//!
//! The log is bounded: beyond its limit the oldest events become part of where it starts, and
//! images of that time can't be made any more.

use std::cell::RefCell;
use std::collections::{BTreeMap, VecDeque};
use std::ops::RangeInclusive;
use std::rc::Rc;

use isotherm_seam::{
    BlockDevice, Completion, DeviceInfo, Due, Geometry, IoError, Lba, Mono, Op, Persist, Request,
    Tag, ZoneId,
};

use crate::medium::{Discarded, InFlight, Medium};
use crate::{Image, Unsettled};

/// A layer that records writes, flushes, discards and zone operations, with their data.
pub struct Recorder {
    device: Box<dyn BlockDevice>,
    log: Rc<RefCell<Log>>,
    /// Requests in flight by slot, which is their tag below.
    slots: Vec<Option<Passing>>,
    free: Vec<u32>,
}

/// The log of a [`Recorder`]. Clones are handles to the same log.
#[derive(Clone)]
pub struct Recording {
    log: Rc<RefCell<Log>>,
}

#[derive(Clone, Copy)]
struct Passing {
    tag: Tag,
    /// Which change it is, if it is one.
    change: Option<u64>,
}

struct Log {
    /// The state before the first event held.
    start: Replay,
    /// How many events are part of `start`.
    folded: u64,
    events: VecDeque<Event>,
    changes: u64,
    data_bytes: usize,
    data_bytes_max: usize,
}

#[derive(Clone)]
enum Event {
    Submitted { change: u64, what: Change },
    Completed { change: u64, outcome: Outcome },
}

#[derive(Clone, Copy)]
enum Outcome {
    Done,
    /// Its range is unknown.
    Failed,
    /// Nothing of it reached the medium.
    Refused,
}

#[derive(Clone)]
enum Change {
    Write { lba: Lba, bytes: Rc<[u8]>, persist: Persist },
    Flush,
    Discard { lba: Lba, blocks: u64 },
    Reset(ZoneId),
    Finish(ZoneId),
}

impl Recorder {
    /// Records a device that holds `base` now; where nothing is known of it, an empty image: a
    /// sector that is not in it stands for whatever the device held. The log keeps at most
    /// `data_bytes_max` of written data.
    ///
    /// Panics if the base is of another geometry: that is a bug.
    pub fn new(
        device: Box<dyn BlockDevice>,
        base: Image,
        data_bytes_max: usize,
    ) -> (Recorder, Recording) {
        let geometry = device.geometry().clone();
        assert_eq!(base.physical(), geometry.physical, "the base is of such a device");
        assert_eq!(base.zones(), geometry.zones.as_ref(), "the base is of such a device");
        let log = Rc::new(RefCell::new(Log {
            start: Replay::new(geometry, base),
            folded: 0,
            events: VecDeque::new(),
            changes: 0,
            data_bytes: 0,
            data_bytes_max,
        }));
        let recording = Recording { log: Rc::clone(&log) };
        (Recorder { device, log, slots: Vec::new(), free: Vec::new() }, recording)
    }

    /// The device, when recording ends. Only when nothing is in flight: panics otherwise.
    pub fn into_inner(self) -> Box<dyn BlockDevice> {
        assert!(self.slots.iter().all(Option::is_none), "requests are in flight");
        self.device
    }
}

impl BlockDevice for Recorder {
    fn geometry(&self) -> &Geometry {
        self.device.geometry()
    }

    fn info(&self) -> DeviceInfo {
        self.device.info().under("record")
    }

    fn submit(&mut self, now: Mono, mut request: Request) -> Result<(), Request> {
        let tag = request.tag;
        let slot = self.free.pop().unwrap_or_else(|| {
            self.slots.push(None);
            (self.slots.len() - 1) as u32
        });
        request.tag = Tag(u64::from(slot));
        // Copied before it goes: the device owns it then. Given up if the queue is full.
        let fits = self.device.geometry().check(&request.op).is_ok();
        let what = if fits { Change::of(&request.op) } else { None };
        match self.device.submit(now, request) {
            Ok(()) => {
                let change = what.map(|what| self.log.borrow_mut().submitted(what));
                self.slots[slot as usize] = Some(Passing { tag, change });
                Ok(())
            }
            Err(mut request) => {
                request.tag = tag;
                self.free.push(slot);
                Err(request)
            }
        }
    }

    fn poll(&mut self, now: Mono, done: &mut Vec<Completion>) -> usize {
        let count = self.device.poll(now, done);
        let first = done.len() - count;
        for completion in &mut done[first..] {
            let slot = completion.tag.0 as usize;
            let passing = self.slots[slot].take().expect("the device completes each once");
            self.free.push(slot as u32);
            completion.tag = passing.tag;
            if let Some(change) = passing.change {
                self.log.borrow_mut().completed(change, completion.result);
            }
        }
        count
    }

    fn due(&self) -> Due {
        self.device.due()
    }

    fn inflight(&self) -> usize {
        self.device.inflight()
    }
}

impl Recording {
    /// The moments of which images can be made: a moment is a number of events that have
    /// passed. Submissions and completions of whatever changes the medium are events.
    #[must_use]
    pub fn moments(&self) -> RangeInclusive<u64> {
        let log = self.log.borrow();
        log.folded..=log.folded + log.events.len() as u64
    }

    /// Everything that a power cut at that moment might have decided; `None` if the log does not
    /// hold that moment.
    #[must_use]
    pub fn unsettled(&self, moment: u64) -> Option<Unsettled> {
        let log = self.log.borrow();
        let events = usize::try_from(moment.checked_sub(log.folded)?).ok()?;
        if events > log.events.len() {
            return None;
        }
        let mut replay = log.start.clone();
        for event in log.events.iter().take(events) {
            replay.apply(event);
        }
        Some(replay.unsettled())
    }

    /// Bytes of written data that the log holds.
    #[must_use]
    pub fn data_bytes(&self) -> usize {
        self.log.borrow().data_bytes
    }
}

impl Log {
    fn submitted(&mut self, what: Change) -> u64 {
        let change = self.changes;
        self.changes += 1;
        self.data_bytes += what.data_bytes();
        self.events.push_back(Event::Submitted { change, what });
        while self.data_bytes > self.data_bytes_max {
            let Some(event) = self.events.pop_front() else { break };
            if let Event::Submitted { what, .. } = &event {
                self.data_bytes -= what.data_bytes();
            }
            self.start.apply(&event);
            self.folded += 1;
        }
        change
    }

    fn completed(&mut self, change: u64, result: Result<(), IoError>) {
        let outcome = match result {
            Ok(()) => Outcome::Done,
            Err(IoError::Misfit(_) | IoError::Zone(_)) => Outcome::Refused,
            Err(_) => Outcome::Failed,
        };
        self.events.push_back(Event::Completed { change, outcome });
    }
}

impl Change {
    fn of(op: &Op) -> Option<Change> {
        Some(match op {
            Op::Write { lba, buf, persist } => {
                Change::Write { lba: *lba, bytes: Rc::from(&buf[..]), persist: *persist }
            }
            Op::Flush => Change::Flush,
            Op::Discard { lba, blocks } => Change::Discard { lba: *lba, blocks: *blocks },
            Op::ZoneReset { zone } => Change::Reset(*zone),
            Op::ZoneFinish { zone } => Change::Finish(*zone),
            Op::Read { .. } | Op::ZoneReport { .. } => return None,
        })
    }

    fn data_bytes(&self) -> usize {
        match self {
            Change::Write { bytes, .. } => bytes.len(),
            _ => 0,
        }
    }
}

/// The device as the log tells it, at one moment.
#[derive(Clone)]
struct Replay {
    medium: Medium,
    volatile_cache: bool,
    /// With the writes that a flush will cover.
    in_flight: BTreeMap<u64, (Change, u64)>,
    /// Pieces of failed writes that nothing has overwritten since, by sector.
    doubtful: BTreeMap<u64, (Lba, Rc<[u8]>)>,
}

impl Replay {
    fn new(geometry: Geometry, base: Image) -> Replay {
        Replay {
            volatile_cache: geometry.volatile_cache,
            // No device is ever unasked to write out its cache: that would hide freedom.
            medium: Medium::new(&geometry, base, usize::MAX),
            in_flight: BTreeMap::new(),
            doubtful: BTreeMap::new(),
        }
    }

    fn apply(&mut self, event: &Event) {
        match event {
            Event::Submitted { change, what } => {
                self.in_flight.insert(*change, (what.clone(), self.medium.writes()));
            }
            Event::Completed { change, outcome } => {
                let (what, covers) = self.in_flight.remove(change).expect("it was submitted");
                match (outcome, what) {
                    (Outcome::Done, what) => self.take_effect(what, covers),
                    (Outcome::Failed, Change::Write { lba, bytes, .. }) => {
                        for (sector, lba, piece) in self.medium.split(lba, &bytes) {
                            self.doubtful.insert(sector, (lba, piece.into()));
                        }
                    }
                    (Outcome::Failed | Outcome::Refused, _) => {}
                }
            }
        }
    }

    fn take_effect(&mut self, what: Change, covers: u64) {
        match what {
            Change::Write { lba, bytes, persist } => {
                let durable = persist == Persist::Fua || !self.volatile_cache;
                // The device said that it is written, so it is.
                let _ = self.medium.write(lba, &bytes, durable);
                self.medium.advance_pointer(lba, bytes.len());
                let zone = self.medium.sequential_zone(lba);
                let written = self.medium.sectors(lba, bytes.len());
                // In a sequential zone the device has shown where its pointer was.
                self.doubtful.retain(|sector, (at, _)| {
                    let behind = zone.is_some() && self.medium.sequential_zone(*at) == zone;
                    !(written.contains(sector) || behind && *sector >= written.start)
                });
            }
            Change::Flush => self.medium.flush(covers),
            // The device may do anything with them: also nothing.
            Change::Discard { lba, blocks } => {
                self.medium.discard(lba, blocks, Discarded::Unchanged);
            }
            Change::Reset(zone) => self.medium.reset(zone),
            Change::Finish(zone) => self.medium.finish(zone),
        }
    }

    fn unsettled(&self) -> Unsettled {
        let doubtful =
            self.doubtful.values().map(|(lba, bytes)| InFlight::Write { lba: *lba, bytes });
        let in_flight = self.in_flight.values().filter_map(|(what, _)| match what {
            Change::Write { lba, bytes, .. } => Some(InFlight::Write { lba: *lba, bytes }),
            Change::Reset(zone) => Some(InFlight::Reset(*zone)),
            Change::Finish(zone) => Some(InFlight::Finish(*zone)),
            Change::Flush | Change::Discard { .. } => None,
        });
        self.medium.unsettled(doubtful.chain(in_flight))
    }
}

//! Drives a device under test, and checks at each step what must hold whatever is asked.

use std::collections::BTreeMap;

use isotherm_seam::{
    BlockDevice, BufPool, Completion, Domain, Draws, Due, Geometry, IoBuf, IoError, Mono, Nanos,
    Op, OpKind, Park, Request, Tag,
};

use super::Expect;

const RIG: Domain = Domain::new("block.conformance");

/// Turns without a completion before a device counts as stuck.
const PATIENCE: u32 = 100_000;

/// How long a sleep may last: nothing but a wake-up that never comes takes so long.
const WAKE_PATIENCE: Nanos = Nanos::from_secs(20);

pub(super) struct Rig<'a> {
    device: &'a mut dyn BlockDevice,
    park: &'a mut dyn Park,
    pub(super) pool: &'a BufPool,
    pub(super) expect: Expect,
    pub(super) geometry: Geometry,
    pub(super) seed: u64,
    pub(super) draws: Draws,
    now: Mono,
    /// The kernel or a thread takes part: completions may come at any time.
    events: bool,
    done: Vec<Completion>,
    sent: BTreeMap<Tag, Sent>,
    tags: u64,
}

struct Sent {
    kind: OpKind,
    /// Where the buffer lies, and how long it is.
    buf: Option<(usize, usize)>,
}

impl<'a> Rig<'a> {
    pub(super) fn new(
        device: &'a mut dyn BlockDevice,
        park: &'a mut dyn Park,
        pool: &'a BufPool,
        seed: u64,
        expect: Expect,
    ) -> Rig<'a> {
        let geometry = device.geometry().clone();
        let events = device.info().path.is_some();
        let draws = Draws::new(seed, RIG, 0);
        Rig {
            device,
            park,
            pool,
            expect,
            geometry,
            seed,
            draws,
            now: Mono(1_000),
            events,
            done: Vec::with_capacity(8),
            sent: BTreeMap::new(),
            tags: 0,
        }
    }

    /// The same at a later time: for a device that has seen time pass.
    pub(super) fn at(mut self, now: Mono) -> Rig<'a> {
        self.now = now;
        self
    }

    pub(super) fn now(&self) -> Mono {
        self.now
    }

    /// A buffer for `blocks` logical blocks, if the pool has one left.
    pub(super) fn buf(&self, blocks: u64) -> Option<IoBuf> {
        self.pool.alloc((blocks << self.geometry.logical.shift()) as usize).ok()
    }

    pub(super) fn is_idle(&self) -> bool {
        self.sent.is_empty()
    }

    pub(super) fn inflight(&self) -> usize {
        self.sent.len()
    }

    /// Sends one operation, or gets it back from a full queue.
    pub(super) fn submit(&mut self, op: Op) -> Result<Tag, Op> {
        self.tags += 1;
        // Tags are the caller's: any 64 bits.
        let tag = Tag(self.tags.rotate_right(8) ^ self.seed);
        let sent = Sent { kind: op.kind(), buf: place(&op) };
        match self.device.submit(self.now, Request { tag, op }) {
            Ok(()) => {
                self.sent.insert(tag, sent);
                self.check_counts();
                Ok(tag)
            }
            Err(back) => {
                assert_eq!(back.tag, tag, "handed back with its tag");
                assert_eq!(back.op.kind(), sent.kind, "handed back with its operation");
                assert_eq!(place(&back.op), sent.buf, "handed back with its buffer");
                assert!(!self.sent.is_empty(), "an idle device takes a request");
                Err(back.op)
            }
        }
    }

    /// Polls once, with room for `room` completions, and checks each that comes.
    pub(super) fn poll(&mut self, room: usize) -> Vec<Completion> {
        assert!(room <= 8 && self.done.is_empty());
        // A vector that is already partly full, so that "spare capacity" is what counts.
        let filler = self.done.capacity() - room;
        let blank = || Completion { tag: Tag(0), buf: None, result: Ok(()) };
        self.done.extend((0..filler).map(|_| blank()));
        let before = (self.done.capacity(), self.done.as_ptr());
        let count = self.device.poll(self.now, &mut self.done);
        assert_eq!(before, (self.done.capacity(), self.done.as_ptr()), "`done` never grows");
        assert_eq!(count, self.done.len() - filler, "poll counts what it appends");
        let arrived: Vec<Completion> = self.done.drain(..).skip(filler).collect();
        for completion in &arrived {
            self.check_arrival(completion);
        }
        self.check_counts();
        arrived
    }

    fn check_arrival(&mut self, completion: &Completion) {
        let sent = self.sent.remove(&completion.tag).expect("a request completes exactly once");
        let came = completion.buf.as_ref().map(|buf| (buf.as_ptr() as usize, buf.len()));
        if sent.kind == OpKind::ZoneReport && completion.result.is_ok() {
            // A report sets the length.
            let start = |place: Option<(usize, usize)>| place.map(|(start, _)| start);
            assert_eq!(start(came), start(sent.buf), "the buffer comes back");
        } else {
            assert_eq!(came, sent.buf, "the buffer comes back as it went, with {sent:?}");
        }
        match completion.result {
            Ok(()) => {}
            Err(IoError::Misfit(_) | IoError::Zone(_)) => {}
            Err(error) => assert!(self.expect.fails, "{sent:?} failed: {error}"),
        }
    }

    fn check_counts(&self) {
        let out = self.sent.len();
        assert_eq!(self.device.inflight(), out, "inflight counts what is out");
        assert_eq!(self.device.due() == Due::Idle, out == 0, "idle with {out} requests in flight");
    }

    /// Lets time pass until something completes, and returns it; empty when nothing is in
    /// flight.
    pub(super) fn turn(&mut self) -> Vec<Completion> {
        // At times without a poll first: what is read off `due` must be enough to sleep on.
        let mut ask_first = self.draws.below(4) == 0;
        for _ in 0..PATIENCE {
            if !std::mem::take(&mut ask_first) {
                let room = 1 + self.draws.below(8) as usize;
                let arrived = self.poll(room);
                if !arrived.is_empty() || self.sent.is_empty() {
                    return arrived;
                }
            }
            match self.device.due() {
                Due::Idle => assert!(self.sent.is_empty(), "checked after each call"),
                Due::Now => {}
                Due::At(time) if time > self.now => {
                    if !self.events && time.0 - 1 > self.now.0 {
                        self.now = Mono(time.0 - 1);
                        let early = self.poll(8);
                        assert!(early.is_empty(), "{time:?} was due, and it came before");
                    }
                    self.now = time;
                }
                Due::At(_) => {}
                Due::Event => {
                    self.park.park(self.now, Some(self.now + WAKE_PATIENCE));
                    self.now = self.now + Nanos::from_micros(1);
                }
            }
        }
        panic!(
            "{} requests in flight and no completion comes: due {:?}",
            self.sent.len(),
            self.device.due()
        );
    }

    /// Sends one operation on an idle device and waits for its completion.
    pub(super) fn call(&mut self, op: Op) -> (Result<(), IoError>, Option<IoBuf>) {
        assert!(self.is_idle());
        let tag = self.submit(op).expect("an idle device takes a request");
        let mut arrived = self.turn();
        let completion = arrived.pop().expect("one is in flight");
        assert!(arrived.is_empty() && completion.tag == tag);
        (completion.result, completion.buf)
    }

    /// Waits for everything that is in flight.
    pub(super) fn drain(&mut self) -> Vec<Completion> {
        let mut all = Vec::new();
        while !self.is_idle() {
            all.extend(self.turn());
        }
        all
    }
}

fn place(op: &Op) -> Option<(usize, usize)> {
    match op {
        Op::Read { buf, .. } | Op::Write { buf, .. } | Op::ZoneReport { buf, .. } => {
            Some((buf.as_ptr() as usize, buf.len()))
        }
        _ => None,
    }
}

impl std::fmt::Debug for Sent {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "a {:?}", self.kind)
    }
}

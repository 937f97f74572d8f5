//! Requests of one queue: waiting with what they want, in the device, done with their answers.
//!
//! What must always hold: each request that the plan knows has its slot until its answer has
//! been fetched or nobody wants it any more, and the ticket is the slot's index; nothing is
//! allocated once as many requests have been under way as may.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, Waker};

use isotherm_reactor::{Command, Disk, Transfer};
use isotherm_seam::{IoBuf, Mono, Op};

use super::plan::{Plan, Ticket, Unanswered};
use super::queue::QueueError;

pub(super) struct State {
    pub(super) plan: Plan,
    pub(super) slots: Vec<Slot>,
    /// Tickets in the device.
    pub(super) flying: Vec<Ticket>,
    /// Requests in the device that nobody waits for.
    pub(super) orphans: u32,
    /// The pump fetches the answers, and not the futures.
    pub(super) is_pumped: bool,
    pub(super) pump: Option<Waker>,
}

/// A request. Flat, as its parts change one by one.
pub(super) struct Slot {
    pub(super) phase: Phase,
    /// Its place in `flying`.
    flies_at: u32,
    arrived: Mono,
    pub(super) op: Option<Op>,
    pub(super) running: Option<Running>,
    pub(super) answer: Option<Answer>,
    /// Kept from request to request: it is often the same task's.
    waker: Option<Waker>,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Phase {
    Free,
    Waiting,
    /// A reservation: without a buffer, and not to go before it is granted.
    Reserved,
    /// The same, its turn has come.
    Claimed,
    Flying,
    /// In the device, and nobody waits for it.
    Orphaned,
    Done,
}

pub(super) enum Running {
    Transfer(Transfer),
    Command(Command),
}

pub(super) type Answer = (Result<(), QueueError>, Option<IoBuf>);

impl State {
    pub(super) fn new(plan: Plan, waiting_max: u32, depth_max: u32) -> State {
        State {
            is_pumped: plan.profile().rotating,
            plan,
            slots: Vec::with_capacity(waiting_max as usize + depth_max as usize),
            flying: Vec::with_capacity(depth_max as usize),
            orphans: 0,
            pump: None,
        }
    }

    /// The slot of a new ticket.
    #[inline]
    pub(super) fn slot(&mut self, ticket: Ticket, now: Mono) -> &mut Slot {
        if ticket as usize == self.slots.len() {
            self.slots.push(Slot {
                phase: Phase::Free,
                flies_at: 0,
                arrived: now,
                op: None,
                running: None,
                answer: None,
                waker: None,
            });
        }
        let slot = &mut self.slots[ticket as usize];
        debug_assert!(slot.phase == Phase::Free, "a ticket names one request");
        slot.arrived = now;
        slot
    }

    #[inline]
    pub(super) fn fly(&mut self, ticket: Ticket, running: Running) {
        let slot = &mut self.slots[ticket as usize];
        slot.phase = Phase::Flying;
        slot.running = Some(running);
        slot.flies_at = self.flying.len() as u32;
        self.flying.push(ticket);
    }

    /// Gives the device what it is to have, and tells reservations that it is their turn.
    pub(super) fn hand_over(&mut self, now: Mono, disk: &Disk) -> bool {
        let mut moved = false;
        // First: the arm waited for them.
        while let Some(unanswered) = self.plan.unanswered(now) {
            if let Unanswered::Gone(ticket) = unanswered {
                self.too_late(now, ticket);
            }
        }
        while let Some(ticket) = self.plan.next(now) {
            let op = self.slots[ticket as usize].op.take().expect("it waited with its request");
            self.fly(ticket, Running::new(disk, op));
            moved = true;
        }
        while let Some(ticket) = self.plan.claim(now) {
            let slot = &mut self.slots[ticket as usize];
            slot.phase = Phase::Claimed;
            slot.wake();
        }
        moved
    }

    /// Asks after all that is in the device.
    pub(super) fn fetch(&mut self, now: Mono, cx: &mut Context<'_>) -> bool {
        let mut moved = false;
        let mut at = 0;
        while at < self.flying.len() {
            let ticket = self.flying[at];
            let slot = &mut self.slots[ticket as usize];
            let running = slot.running.as_mut().expect("it is in the device");
            let Poll::Ready(answer) = running.poll(cx) else {
                at += 1;
                continue;
            };
            moved = true;
            self.land(now, ticket);
            let slot = &mut self.slots[ticket as usize];
            if slot.phase == Phase::Orphaned {
                self.orphans -= 1;
                self.free(ticket);
            } else {
                slot.phase = Phase::Done;
                slot.answer = Some(answer);
                slot.wake();
            }
        }
        moved
    }

    /// A request has left the device.
    #[inline]
    pub(super) fn land(&mut self, now: Mono, ticket: Ticket) {
        let slot = &mut self.slots[ticket as usize];
        slot.running = None;
        let at = slot.flies_at as usize;
        self.flying.swap_remove(at);
        if let Some(&moved) = self.flying.get(at) {
            self.slots[moved as usize].flies_at = at as u32;
        }
        self.plan.done(now, ticket);
    }

    pub(super) fn too_late(&mut self, now: Mono, ticket: Ticket) {
        let slot = &mut self.slots[ticket as usize];
        let buf = slot.op.take().and_then(Op::into_buf);
        slot.phase = Phase::Done;
        slot.answer = Some((Err(QueueError::Late { waited: now.since(slot.arrived) }), buf));
        slot.wake();
    }

    #[inline]
    pub(super) fn free(&mut self, ticket: Ticket) {
        self.slots[ticket as usize].phase = Phase::Free;
        self.plan.forget(ticket);
    }

    pub(super) fn wake_pump(&self) {
        if let Some(pump) = &self.pump {
            pump.wake_by_ref();
        }
    }
}

impl Slot {
    fn wake(&self) {
        if let Some(waker) = &self.waker {
            waker.wake_by_ref();
        }
    }

    #[inline]
    pub(super) fn remember(&mut self, waker: &Waker) {
        if self.waker.as_ref().is_none_or(|known| !known.will_wake(waker)) {
            self.waker = Some(waker.clone());
        }
    }
}

impl Running {
    #[inline]
    pub(super) fn new(disk: &Disk, op: Op) -> Running {
        match op {
            Op::Read { lba, buf } => Running::Transfer(disk.read(lba, buf)),
            Op::Write { lba, buf, persist } => Running::Transfer(disk.write(lba, buf, persist)),
            Op::ZoneReport { zone, buf } => Running::Transfer(disk.zone_report(zone, buf)),
            Op::Flush => Running::Command(disk.flush()),
            Op::Discard { lba, blocks } => Running::Command(disk.discard(lba, blocks)),
            Op::ZoneReset { zone } => Running::Command(disk.zone_reset(zone)),
            Op::ZoneFinish { zone } => Running::Command(disk.zone_finish(zone)),
        }
    }

    #[inline]
    pub(super) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Answer> {
        match self {
            Running::Transfer(transfer) => Pin::new(transfer)
                .poll(cx)
                .map(|(result, buf)| (result.map_err(Into::into), Some(buf))),
            Running::Command(command) => {
                Pin::new(command).poll(cx).map(|result| (result.map_err(Into::into), None))
            }
        }
    }
}

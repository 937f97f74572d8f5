//! One disk's queue as the tasks of its core use it.
//!
//! What must always hold: a request is made when the method is called, so writes of a class
//! reach the device in the order of the calls. A request that waits is withdrawn when its
//! future is dropped; one in the device runs to its end. Nothing is allocated per request.
//!
//! Who fetches the answer? Without an arm and with nothing waiting, the request's own future
//! does, straight from the disk; otherwise the pump ([`super::pump`]) does, and wakes the
//! future. So the price of a queue is paid only where there is one.

use std::cell::RefCell;
use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};

use isotherm_reactor::{Disk, Handle};
use isotherm_seam::{BlockSize, Geometry, IoBuf, IoError, Lba, Mono, Nanos, Op, Persist, ZoneId};

use super::class::{Budget, Class, SchedConfig, Tier};
use super::plan::{Item, Kind, Plan, Ticket};
use super::profile::DiskProfile;
use super::pump;
use super::slots::{Answer, Phase, Running, State};
use super::stats::SchedStats;

/// Why a request failed.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum QueueError {
    /// The device says so.
    #[error(transparent)]
    Io(#[from] IoError),
    /// Refused at once: it would wait beyond its deadline, or too many wait. Ask another disk,
    /// or this one later.
    #[error("the disk is busy for {} ms", expected.as_millis_f64())]
    Busy {
        /// How long it would have waited.
        expected: Nanos,
    },
    /// It still waited at its deadline, and has cost no disk time.
    #[error("it waited {} ms for the disk, beyond its deadline", waited.as_millis_f64())]
    Late {
        /// How long it has waited.
        waited: Nanos,
    },
}

/// A disk with its queue. Clones are handles to the same queue.
#[derive(Clone)]
pub struct DiskQueue {
    inner: Rc<Inner>,
}

pub(super) struct Inner {
    handle: Handle,
    disk: Disk,
    block: BlockSize,
    state: RefCell<State>,
}

impl DiskQueue {
    /// A queue for a disk. It starts a task on the core, which ends with the last handle.
    ///
    /// Panics when the core has no room for a task, or if no disk can be like `profile`.
    pub fn new(
        handle: &Handle,
        disk: Disk,
        profile: DiskProfile,
        config: SchedConfig,
    ) -> DiskQueue {
        let geometry = disk.geometry();
        let block = geometry.logical;
        let plan = Plan::new(profile, config, block, geometry.blocks, geometry.depth_max);
        let state = State::new(plan, config.waiting_max, geometry.depth_max);
        let state = RefCell::new(state);
        let inner = Rc::new(Inner { handle: handle.clone(), disk, block, state });
        handle.spawn("disk pump", pump::run(handle.clone(), Rc::downgrade(&inner)));
        DiskQueue { inner }
    }

    /// The disk below. What is asked of it directly is not accounted for.
    pub fn disk(&self) -> &Disk {
        &self.inner.disk
    }

    /// Size, units and limits.
    pub fn geometry(&self) -> &Geometry {
        self.inner.disk.geometry()
    }

    /// What the queue knows of its disk.
    pub fn profile(&self) -> DiskProfile {
        *self.inner.state.borrow().plan.profile()
    }

    /// Fills the buffer from `lba` on. Reads may overtake each other.
    pub fn read(
        &self,
        class: Class,
        deadline: Option<Mono>,
        lba: Lba,
        buf: IoBuf,
    ) -> QueuedTransfer {
        QueuedTransfer(self.start(class, deadline, Op::Read { lba, buf }))
    }

    /// Reserves a read of so many blocks from `lba` on: the arm's next read is claimed before it
    /// is made, and made only when the claim is granted. `chance`: that it will be.
    pub fn reserve(
        &self,
        deadline: Option<Mono>,
        lba: Lba,
        blocks: u64,
        chance: f32,
    ) -> Result<Reservation, QueueError> {
        let now = self.inner.handle.now();
        let item = Item { class: Class::LateRead, kind: Kind::Read, lba, blocks, deadline };
        let mut borrowed = self.inner.state.borrow_mut();
        let state = &mut *borrowed;
        let ticket = state
            .plan
            .reserve(now, &item, chance)
            .map_err(|refused| QueueError::Busy { expected: refused.expected })?;
        state.slot(ticket, now).phase = Phase::Reserved;
        state.hand_over(now, &self.inner.disk);
        state.is_pumped = true;
        state.wake_pump();
        drop(borrowed);
        let inner = Rc::clone(&self.inner);
        Ok(Reservation { pending: Pending { inner, ticket, refused: None }, lba })
    }

    /// Writes the buffer at `lba`. Writes of one class reach the device in the order of the
    /// calls, and those that follow each other on the medium reach it together.
    ///
    /// Panics for a class of reads.
    pub fn write(&self, class: Class, lba: Lba, buf: IoBuf, persist: Persist) -> QueuedTransfer {
        assert!(class.tier() != Tier::Foreground, "{} is a class of reads", class.name());
        QueuedTransfer(self.start(class, None, Op::Write { lba, buf, persist }))
    }

    /// Makes all writes durable that have completed by now. In order with the appends, as are
    /// all that follow.
    pub fn flush(&self) -> QueuedCommand {
        QueuedCommand(self.start(Class::Append, None, Op::Flush))
    }

    /// The content of these blocks is no longer needed.
    pub fn discard(&self, lba: Lba, blocks: u64) -> QueuedCommand {
        QueuedCommand(self.start(Class::Append, None, Op::Discard { lba, blocks }))
    }

    /// Reports zones from `zone` on into the buffer ([`isotherm_seam::ZoneReport`]).
    pub fn zone_report(&self, zone: ZoneId, buf: IoBuf) -> QueuedTransfer {
        QueuedTransfer(self.start(Class::Append, None, Op::ZoneReport { zone, buf }))
    }

    /// Empties a zone.
    pub fn zone_reset(&self, zone: ZoneId) -> QueuedCommand {
        QueuedCommand(self.start(Class::Append, None, Op::ZoneReset { zone }))
    }

    /// Makes a zone full as it stands.
    pub fn zone_finish(&self, zone: ZoneId) -> QueuedCommand {
        QueuedCommand(self.start(Class::Append, None, Op::ZoneFinish { zone }))
    }

    /// How long a request of this class would wait for the device.
    pub fn expected_wait(&self, class: Class) -> Nanos {
        self.inner.state.borrow().plan.expected_wait(class, self.inner.handle.now())
    }

    /// What the queue has done so far.
    pub fn stats(&self) -> SchedStats {
        self.inner.state.borrow().plan.stats()
    }

    /// Gives a background class another fraction of disk time; none: only of a quiet disk.
    pub fn set_budget(&self, class: Class, fraction: f64) {
        assert!((0.0..=1.0).contains(&fraction), "a fraction of disk time: {fraction}");
        assert!(class.is_background(), "{} has no budget", class.name());
        let plan = &mut self.inner.state.borrow_mut().plan;
        plan.set_budget(class, Budget { fraction, ..plan.budget(class) });
    }

    fn start(&self, class: Class, deadline: Option<Mono>, op: Op) -> Pending {
        let now = self.inner.handle.now();
        let item = item(self.inner.block, class, deadline, &op);
        let mut borrowed = self.inner.state.borrow_mut();
        let state = &mut *borrowed;
        let pending = |ticket, refused| Pending { inner: Rc::clone(&self.inner), ticket, refused };
        if let Some(ticket) = state.plan.pass(now, &item) {
            state.slot(ticket, now);
            state.fly(ticket, Running::new(&self.inner.disk, op));
            return pending(ticket, None);
        }
        match state.plan.offer(now, &item) {
            Ok(ticket) => {
                let slot = state.slot(ticket, now);
                slot.phase = Phase::Waiting;
                slot.op = Some(op);
                state.hand_over(now, &self.inner.disk);
                state.is_pumped |= state.plan.waiting() > 0;
                if state.is_pumped {
                    state.wake_pump();
                }
                pending(ticket, None)
            }
            Err(refused) => {
                let busy = QueueError::Busy { expected: refused.expected };
                pending(FETCHED, Some((Err(busy), op.into_buf())))
            }
        }
    }
}

fn item(block: BlockSize, class: Class, deadline: Option<Mono>, op: &Op) -> Item {
    // What is not whole blocks is told by the device.
    let blocks = |buf: &IoBuf| buf.len() as u64 >> block.shift();
    let (kind, lba, blocks) = match op {
        Op::Read { lba, buf } => (Kind::Read, *lba, blocks(buf)),
        Op::Write { lba, buf, .. } => (Kind::Write, *lba, blocks(buf)),
        Op::Flush => (Kind::Flush, Lba(0), 0),
        _ => (Kind::Other, Lba(0), 0),
    };
    Item { class, kind, lba, blocks, deadline }
}

impl Drop for Inner {
    fn drop(&mut self) {
        if let Some(pump) = self.state.get_mut().pump.take() {
            pump.wake(); // It finds nothing to pump, and ends.
        }
    }
}

impl Inner {
    /// Fetches what is done and hands over what is next. When the pump is needed again.
    pub(super) fn turn(&self, cx: &mut Context<'_>) -> Option<Mono> {
        let now = self.handle.now();
        let mut borrowed = self.state.borrow_mut();
        let state = &mut *borrowed;
        if state.pump.as_ref().is_none_or(|pump| !pump.will_wake(cx.waker())) {
            state.pump = Some(cx.waker().clone());
        }
        loop {
            let mut moved = state.fetch(now, cx);
            while let Some(ticket) = state.plan.expired(now) {
                state.too_late(now, ticket);
            }
            moved |= state.hand_over(now, &self.disk);
            if !moved {
                break;
            }
        }
        let is_rotating = state.plan.profile().rotating;
        state.is_pumped = is_rotating || state.plan.waiting() > 0 || state.orphans > 0;
        state.plan.due(now)
    }
}

/// A request that has been made and whose answer has not been fetched.
struct Pending {
    inner: Rc<Inner>,
    /// [`FETCHED`] once the answer has been.
    ticket: Ticket,
    /// The answer of one that was refused at once.
    refused: Option<Answer>,
}

const FETCHED: Ticket = Ticket::MAX;

impl Pending {
    #[inline]
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Answer> {
        if self.ticket == FETCHED {
            return Poll::Ready(self.refused.take().expect("polled after it was done"));
        }
        let ticket = self.ticket;
        let mut borrowed = self.inner.state.borrow_mut();
        let state = &mut *borrowed;
        let slot = &mut state.slots[ticket as usize];
        let answer = match slot.phase {
            Phase::Done => slot.answer.take().expect("it is done"),
            Phase::Flying if !state.is_pumped => {
                slot.remember(cx.waker());
                let running = slot.running.as_mut().expect("it is in the device");
                let Poll::Ready(answer) = running.poll(cx) else { return Poll::Pending };
                state.land(self.inner.handle.now(), ticket);
                answer
            }
            Phase::Waiting | Phase::Flying => {
                slot.remember(cx.waker());
                return Poll::Pending;
            }
            Phase::Reserved | Phase::Claimed => unreachable!("a reservation has no future yet"),
            Phase::Free | Phase::Orphaned => unreachable!("its future is here"),
        };
        state.free(ticket);
        drop(borrowed);
        self.ticket = FETCHED;
        Poll::Ready(answer)
    }
}

impl Drop for Pending {
    fn drop(&mut self) {
        if self.ticket == FETCHED {
            return;
        }
        let mut borrowed = self.inner.state.borrow_mut();
        let state = &mut *borrowed;
        let slot = &mut state.slots[self.ticket as usize];
        let (op, answer) = (slot.op.take(), slot.answer.take());
        match slot.phase {
            Phase::Flying => {
                slot.phase = Phase::Orphaned;
                state.orphans += 1;
                state.is_pumped = true;
                state.wake_pump();
            }
            Phase::Waiting | Phase::Reserved | Phase::Claimed => {
                state.plan.withdraw(self.ticket);
                state.free(self.ticket);
                // The arm may have waited for it.
                state.wake_pump();
            }
            Phase::Done => state.free(self.ticket),
            Phase::Free | Phase::Orphaned => unreachable!("its future is here"),
        }
        drop(borrowed);
        // Out of the borrow: buffers go home to their pool.
        drop((op, answer));
    }
}

/// A read that was reserved. Dropping it gives it up.
#[must_use = "a reservation that is dropped is given up"]
pub struct Reservation {
    pending: Pending,
    lba: Lba,
}

impl Reservation {
    /// Ready when the arm comes to it: grant it or park it. An error when it is gone: the
    /// deadline passed, or three claims were not answered.
    pub fn poll_claim(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), QueueError>> {
        let ticket = self.pending.ticket;
        let mut borrowed = self.pending.inner.state.borrow_mut();
        let state = &mut *borrowed;
        let slot = &mut state.slots[ticket as usize];
        match slot.phase {
            Phase::Claimed => {
                slot.phase = Phase::Reserved;
                Poll::Ready(Ok(()))
            }
            Phase::Done => {
                let (result, _) = slot.answer.take().expect("it is done");
                state.free(ticket);
                drop(borrowed);
                self.pending.ticket = FETCHED;
                Poll::Ready(result)
            }
            _ => {
                slot.remember(cx.waker());
                Poll::Pending
            }
        }
    }

    /// The read is wanted from this disk: it goes as soon as the arm is free. Before the claim,
    /// too.
    pub fn grant(self, buf: IoBuf) -> QueuedTransfer {
        let Reservation { mut pending, lba } = self;
        let ticket = pending.ticket;
        let inner = Rc::clone(&pending.inner);
        let mut borrowed = inner.state.borrow_mut();
        let state = &mut *borrowed;
        let now = inner.handle.now();
        let slot = &mut state.slots[ticket as usize];
        if slot.phase == Phase::Done {
            // It went in the meantime.
            let (result, _) = slot.answer.take().expect("it is done");
            state.free(ticket);
            pending.ticket = FETCHED;
            pending.refused = Some((result, Some(buf)));
        } else {
            slot.phase = Phase::Waiting;
            slot.op = Some(Op::Read { lba, buf });
            state.plan.grant(now, ticket);
            state.hand_over(now, &inner.disk);
            state.wake_pump();
        }
        drop(borrowed);
        QueuedTransfer(pending)
    }

    /// The read is not wanted for now: the arm goes on to others.
    pub fn park(&self) {
        self.change(|plan, _, ticket| plan.park(ticket));
    }

    /// The read is wanted after all, from whichever disk is next.
    pub fn wake(&self) {
        self.change(|plan, now, ticket| plan.wake(now, ticket));
    }

    fn change(&self, change: impl FnOnce(&mut Plan, Mono, Ticket)) {
        let inner = &self.pending.inner;
        let now = inner.handle.now();
        let mut borrowed = inner.state.borrow_mut();
        let state = &mut *borrowed;
        let slot = &mut state.slots[self.pending.ticket as usize];
        if slot.phase == Phase::Done {
            return;
        }
        slot.phase = Phase::Reserved;
        change(&mut state.plan, now, self.pending.ticket);
        state.hand_over(now, &inner.disk);
        state.wake_pump();
    }
}

/// A request with a buffer: gives back the result and the buffer.
#[must_use = "the answer, and with it the buffer, comes from awaiting it"]
pub struct QueuedTransfer(Pending);

impl Future for QueuedTransfer {
    type Output = (Result<(), QueueError>, IoBuf);

    #[inline]
    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        self.0.poll(cx).map(|(result, buf)| (result, buf.expect("it was given one")))
    }
}

/// A request without a buffer.
#[must_use = "the answer comes from awaiting it"]
pub struct QueuedCommand(Pending);

impl Future for QueuedCommand {
    type Output = Result<(), QueueError>;

    #[inline]
    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        self.0.poll(cx).map(|(result, _)| result)
    }
}

#[cfg(test)]
mod tests {
    use isotherm_reactor::{Reactor, ReactorConfig};
    use isotherm_seam::{BufPool, DiskId, PoolLayout};
    use isotherm_sim::{SimClock, SimDisk, SimDiskConfig, SimPark};

    use super::*;

    /// Requests that nobody waits for leave no slot behind, whatever state they were left in.
    #[test]
    fn slots_are_used_again() {
        for profile in [DiskProfile::flat(2), DiskProfile::nearline()] {
            let clock = SimClock::new();
            let park = SimPark::new(clock.clone());
            let mut reactor = Reactor::new(park, clock, ReactorConfig::default());
            let device = SimDisk::new(SimDiskConfig::new(1, DiskId(0), 1_000));
            let disk = reactor.attach(Box::new(device));
            let queue = DiskQueue::new(reactor.handle(), disk, profile, SchedConfig::default());
            let layout = PoolLayout { huge: false, ..PoolLayout::uniform(4096, 16) };
            let pool = BufPool::new(&layout).unwrap();
            for _ in 0..100 {
                let mut reads: Vec<_> = (0..6)
                    .map(|n| {
                        let buf = pool.alloc(4096).unwrap();
                        queue.read(Class::ForegroundRead, None, Lba(n * 100), buf)
                    })
                    .collect();
                // One dropped in the device, one awaited, the others dropped as they are then.
                drop(reads.remove(0));
                reactor.run(async move { reads.swap_remove(1).await.0.unwrap() });
            }
            let last = queue.clone();
            reactor.run(async move {
                last.flush().await.unwrap();
                last.inner.handle.sleep(Nanos::from_secs(1)).await;
            });
            let state = queue.inner.state.borrow();
            assert!(state.slots.len() <= 16, "{} slots", state.slots.len());
            assert_eq!((state.flying.len(), state.orphans), (0, 0));
            assert_eq!(pool.free_count(), 16);
        }
    }
}

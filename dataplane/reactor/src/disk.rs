//! A disk as the tasks of its core use it.
//!
//! What must always hold: a request starts when its future is first polled. From the moment
//! that the device has taken it, it runs to its end whether or not the future is still there;
//! its buffer then goes back to the pool. One that still waits for a full device is withdrawn
//! when its future is dropped, and leaves no trace.

use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};

use isotherm_seam::{
    BlockDevice, Completion, DeviceInfo, DiskId, Geometry, IoBuf, IoError, Lba, Op, Persist, ZoneId,
};

use crate::core::Core;
use crate::port::Port;

/// A disk of this core. Clones are handles to the same disk.
#[derive(Clone)]
pub struct Disk {
    port: Rc<Port>,
    core: Rc<Core>,
}

impl Disk {
    pub(crate) fn new(port: Rc<Port>, core: Rc<Core>) -> Disk {
        Disk { port, core }
    }

    /// Its number on this core, in the order of attaching.
    pub fn id(&self) -> DiskId {
        self.port.id
    }

    /// Size, units and limits.
    pub fn geometry(&self) -> &Geometry {
        &self.port.geometry
    }

    /// What runs underneath.
    pub fn info(&self) -> &DeviceInfo {
        &self.port.info
    }

    /// Fills the buffer from `lba` on.
    pub fn read(&self, lba: Lba, buf: IoBuf) -> Transfer {
        Transfer(self.start(Op::Read { lba, buf }))
    }

    /// Writes the buffer at `lba`.
    pub fn write(&self, lba: Lba, buf: IoBuf, persist: Persist) -> Transfer {
        Transfer(self.start(Op::Write { lba, buf, persist }))
    }

    /// Makes all writes durable that have completed by now, that is, when this is first polled.
    pub fn flush(&self) -> Command {
        Command(self.start(Op::Flush))
    }

    /// The content of these blocks is no longer needed.
    pub fn discard(&self, lba: Lba, blocks: u64) -> Command {
        Command(self.start(Op::Discard { lba, blocks }))
    }

    /// Reports zones from `zone` on into the buffer ([`isotherm_seam::ZoneReport`]).
    pub fn zone_report(&self, zone: ZoneId, buf: IoBuf) -> Transfer {
        Transfer(self.start(Op::ZoneReport { zone, buf }))
    }

    /// Empties a zone.
    pub fn zone_reset(&self, zone: ZoneId) -> Command {
        Command(self.start(Op::ZoneReset { zone }))
    }

    /// Makes a zone full as it stands.
    pub fn zone_finish(&self, zone: ZoneId) -> Command {
        Command(self.start(Op::ZoneFinish { zone }))
    }

    /// Requests in the device.
    pub fn inflight(&self) -> usize {
        self.port.inflight()
    }

    /// Requests that wait for room in the device.
    pub fn waiting(&self) -> usize {
        self.port.waiting()
    }

    /// Takes the device away from this core: what is asked of the disk later is answered
    /// [`IoError::Gone`]. Hands the disk back while anything is in flight or waits.
    pub fn detach(self) -> Result<Box<dyn BlockDevice>, Disk> {
        match self.port.detach() {
            Some(device) => {
                self.core.ports.borrow_mut().retain(|port| !Rc::ptr_eq(port, &self.port));
                Ok(device)
            }
            None => Err(self),
        }
    }

    fn start(&self, op: Op) -> Io {
        Io { port: Rc::clone(&self.port), core: Rc::clone(&self.core), state: State::New(Some(op)) }
    }
}

/// A request in one of its states.
struct Io {
    port: Rc<Port>,
    core: Rc<Core>,
    state: State,
}

enum State {
    New(Option<Op>),
    Sent(u32),
    Over,
}

impl Io {
    #[inline]
    fn poll(&mut self, cx: &Context<'_>) -> Poll<Completion> {
        match &mut self.state {
            State::New(op) => {
                let op = op.take().expect("taken only here, and the state moves on");
                let wake = self.core.tasks.wake_ref(cx);
                match self.port.start(self.core.now.get(), op, wake) {
                    Ok(slot) => {
                        self.state = State::Sent(slot);
                        Poll::Pending
                    }
                    Err(completion) => {
                        self.state = State::Over;
                        Poll::Ready(completion)
                    }
                }
            }
            State::Sent(slot) => match self.port.finish(*slot, &self.core, cx) {
                Some(completion) => {
                    self.state = State::Over;
                    Poll::Ready(completion)
                }
                None => Poll::Pending,
            },
            State::Over => panic!("polled after it was done"),
        }
    }
}

impl Drop for Io {
    fn drop(&mut self) {
        if let State::Sent(slot) = self.state {
            self.port.abandon(slot);
        }
    }
}

/// A request with a buffer: gives back the result and the buffer.
#[must_use = "a future does nothing unless it is polled"]
pub struct Transfer(Io);

impl Future for Transfer {
    type Output = (Result<(), IoError>, IoBuf);

    #[inline]
    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        self.0.poll(cx).map(|done| (done.result, done.buf.expect("it was given one")))
    }
}

/// A request without a buffer.
#[must_use = "a future does nothing unless it is polled"]
pub struct Command(Io);

impl Future for Command {
    type Output = Result<(), IoError>;

    #[inline]
    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        self.0.poll(cx).map(|done| done.result)
    }
}

//! A disk as the tasks of its core use it.
//!
//! What must always hold: a request is made when the method is called, so requests reach the
//! device in the order of the calls, and several run side by side without being polled. From
//! the moment that the device has taken it, a request runs to its end whether or not its future
//! is still there; its buffer then goes back to the pool. One that still waits for a full
//! device is withdrawn when its future is dropped, and leaves no trace.

use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};

use isotherm_seam::{
    BlockDevice, DeviceInfo, DiskId, Geometry, IoBuf, IoError, Lba, Op, Persist, ZoneId,
};

use crate::port::{Answer, Port};

/// A disk of this core. Clones are handles to the same disk.
#[derive(Clone)]
pub struct Disk {
    port: Rc<Port>,
}

impl Disk {
    pub(crate) fn new(port: Rc<Port>) -> Disk {
        Disk { port }
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

    /// Makes all writes durable that have completed by now.
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
                let ports = &self.port.core.ports;
                ports.borrow_mut().retain(|port| !Rc::ptr_eq(port, &self.port));
                Ok(device)
            }
            None => Err(self),
        }
    }

    #[inline]
    fn start(&self, op: Op) -> Io {
        let slot = self.port.start(op);
        Io { port: Rc::clone(&self.port), slot }
    }
}

/// A request that has been made and whose answer has not been fetched.
struct Io {
    port: Rc<Port>,
    /// [`FETCHED`] once the answer has been.
    slot: u32,
}

const FETCHED: u32 = u32::MAX;

impl Io {
    #[inline]
    fn poll(&mut self, cx: &Context<'_>) -> Poll<Answer> {
        assert!(self.slot != FETCHED, "polled after it was done");
        match self.port.finish(self.slot, cx) {
            Some(answer) => {
                self.slot = FETCHED;
                Poll::Ready(answer)
            }
            None => Poll::Pending,
        }
    }
}

impl Drop for Io {
    fn drop(&mut self) {
        if self.slot != FETCHED {
            self.port.abandon(self.slot);
        }
    }
}

/// A request with a buffer: gives back the result and the buffer.
#[must_use = "the answer, and with it the buffer, comes from awaiting it"]
pub struct Transfer(Io);

impl Future for Transfer {
    type Output = (Result<(), IoError>, IoBuf);

    #[inline]
    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        self.0.poll(cx).map(|(result, buf)| (result, buf.expect("it was given one")))
    }
}

/// A request without a buffer.
#[must_use = "the answer, and with it the buffer, comes from awaiting it"]
pub struct Command(Io);

impl Future for Command {
    type Output = Result<(), IoError>;

    #[inline]
    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        self.0.poll(cx).map(|(result, _)| result)
    }
}

//! A layer that notes what reaches the device, and when.

use std::cell::RefCell;
use std::rc::Rc;

use isotherm_seam::{
    BlockDevice, Completion, DeviceInfo, Due, Geometry, Lba, Mono, Op, OpKind, Request,
};

/// A request as the device was given it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Given {
    pub(crate) at: Mono,
    pub(crate) kind: OpKind,
    pub(crate) lba: Lba,
    /// Requests that were in the device before it.
    pub(crate) inflight: usize,
}

#[derive(Clone, Default)]
pub(crate) struct Log(Rc<RefCell<Vec<Given>>>);

impl Log {
    /// All of it since the last time.
    pub(crate) fn take(&self) -> Vec<Given> {
        self.0.take()
    }
}

pub(crate) struct Watched {
    inner: Box<dyn BlockDevice>,
    log: Log,
}

impl Watched {
    pub(crate) fn over(inner: Box<dyn BlockDevice>) -> (Box<dyn BlockDevice>, Log) {
        let log = Log::default();
        (Box::new(Watched { inner, log: log.clone() }), log)
    }
}

impl BlockDevice for Watched {
    fn geometry(&self) -> &Geometry {
        self.inner.geometry()
    }

    fn info(&self) -> DeviceInfo {
        self.inner.info()
    }

    fn submit(&mut self, now: Mono, request: Request) -> Result<(), Request> {
        let inflight = self.inner.inflight();
        let kind = request.op.kind();
        let lba = match &request.op {
            Op::Read { lba, .. } | Op::Write { lba, .. } | Op::Discard { lba, .. } => *lba,
            _ => Lba(0),
        };
        self.inner.submit(now, request)?;
        self.log.0.borrow_mut().push(Given { at: now, kind, lba, inflight });
        Ok(())
    }

    fn poll(&mut self, now: Mono, done: &mut Vec<Completion>) -> usize {
        self.inner.poll(now, done)
    }

    fn due(&self) -> Due {
        self.inner.due()
    }

    fn inflight(&self) -> usize {
        self.inner.inflight()
    }
}

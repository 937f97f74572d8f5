//! A file or block device on a ring, as the block device seam wants it.

use std::rc::Rc;

use isotherm_seam::{
    BlockDevice, Completion, DeviceInfo, Due, Geometry, Misfit, Mono, Op, Request,
};

use crate::ring::Core;

/// An open file or block device. It keeps its ring alive.
///
/// Dropping it waits a bounded time for requests in flight; what the kernel does not give back
/// by then stays with the ring, buffers included, until it does.
pub struct UringDisk {
    core: Rc<Core>,
    index: u32,
    geometry: Geometry,
    info: DeviceInfo,
}

impl UringDisk {
    pub(crate) fn new(core: Rc<Core>, index: u32, geometry: Geometry, info: DeviceInfo) -> Self {
        UringDisk { core, index, geometry, info }
    }
}

impl BlockDevice for UringDisk {
    fn geometry(&self) -> &Geometry {
        &self.geometry
    }

    fn info(&self) -> DeviceInfo {
        self.info.clone()
    }

    #[inline]
    fn submit(&mut self, _now: Mono, request: Request) -> Result<(), Request> {
        let refusal = match self.geometry.check(&request.op) {
            Err(misfit) => Some(misfit),
            Ok(()) if matches!(request.op, Op::Discard { .. }) && !self.geometry.discard => {
                Some(Misfit::Unsupported)
            }
            Ok(()) => None,
        };
        self.core.submit(self.index, request, refusal.map(Into::into))
    }

    #[inline]
    fn poll(&mut self, _now: Mono, done: &mut Vec<Completion>) -> usize {
        self.core.poll(self.index, done)
    }

    fn due(&self) -> Due {
        self.core.due(self.index)
    }

    fn inflight(&self) -> usize {
        self.core.inflight(self.index)
    }
}

impl Drop for UringDisk {
    fn drop(&mut self) {
        self.core.detach(self.index);
    }
}

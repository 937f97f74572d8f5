//! Disks asked one by one: for those who look after a cluster.

use isotherm_placement::DiskNo;
use isotherm_transport::Body;
use isotherm_wire::{Ask, Class as Work, DiskState, Failure};

use crate::ask::Fault;
use crate::client::Client;
use crate::error::Refusal;

impl Client {
    /// How a disk of the map is, as its node says.
    pub async fn disk_state(&self, disk: DiskNo) -> Result<DiskState, Refusal> {
        let terms = self.inner.terms(Work::Foreground);
        match self.inner.ask(disk, Ask::Status, Body::Empty, 0, terms).await {
            Ok((_, body)) => {
                DiskState::decode(&body.to_vec()).map_err(|_| Refusal::Failed(Failure::BadRequest))
            }
            Err(Fault::Silent) => Err(Refusal::Unreachable),
            Err(Fault::Failed(failure)) => Err(Refusal::Failed(failure)),
            Err(Fault::Foreign) => Err(Refusal::Failed(Failure::BadRequest)),
        }
    }
}

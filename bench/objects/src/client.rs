//! A client of a cluster as what a load runs against.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::ops::Range;

use bytes::Bytes;
use isotherm_client::{Client, ClientError, Locator, ReadPolicy, Refusal, cell_range};
use isotherm_erasure::Scheme;
use isotherm_wire::Failure;

use crate::objects::{ObjectId, Objects, Trouble};

/// The objects of a load in a cluster. It keeps their locators, which nobody else has: what it does
/// not delete stays until somebody lists it.
pub struct ClientObjects {
    client: Client,
    scheme: Scheme,
    locators: RefCell<BTreeMap<ObjectId, Locator>>,
}

impl ClientObjects {
    /// None yet.
    pub fn new(client: Client) -> ClientObjects {
        let scheme = client.map().scheme;
        ClientObjects { client, scheme, locators: RefCell::default() }
    }

    fn locator(&self, object: ObjectId) -> Result<Locator, Trouble> {
        self.locators.borrow().get(&object).copied().ok_or(Trouble::Refused)
    }
}

impl Objects for ClientObjects {
    type Policy = ReadPolicy;

    async fn put(&self, object: ObjectId, bytes: Bytes) -> Result<(), Trouble> {
        let locator = self.client.put(self.client.new_id(), bytes).await.map_err(trouble)?;
        self.locators.borrow_mut().insert(object, locator);
        Ok(())
    }

    async fn get(
        &self,
        object: ObjectId,
        range: Range<u64>,
        policy: &ReadPolicy,
    ) -> Result<Vec<u8>, Trouble> {
        let locator = self.locator(object)?;
        self.client.get_by(*policy, &locator, Some(range)).await.map_err(trouble)
    }

    async fn delete(&self, object: ObjectId) -> Result<(), Trouble> {
        let locator = self.locator(object)?;
        self.client.delete(&locator).await.map_err(trouble)?;
        self.locators.borrow_mut().remove(&object);
        Ok(())
    }

    fn cell(&self, len_bytes: u64, at: u64) -> Range<u64> {
        cell_range(len_bytes, self.scheme, at)
    }
}

fn trouble(error: ClientError) -> Trouble {
    match error {
        ClientError::Late => Trouble::Late,
        ClientError::Busy { .. } => Trouble::Busy,
        ClientError::Unavailable { .. } => Trouble::Unavailable,
        ClientError::NoGroup { why } => match why {
            Refusal::Unreachable | Refusal::NoDisks => Trouble::Unavailable,
            Refusal::Failed(
                Failure::Full | Failure::IndexFull | Failure::Fenced | Failure::Retired,
            ) => Trouble::NoRoom,
            Refusal::Failed(_) => Trouble::Refused,
        },
        ClientError::Lost { .. } => Trouble::Lost,
        ClientError::Corrupt { .. } => Trouble::Corrupt,
        ClientError::NotFound | ClientError::Deleted => Trouble::Gone,
        ClientError::Unfinished { .. } => Trouble::Unfinished,
        ClientError::OutOfRange { .. }
        | ClientError::TooLong { .. }
        | ClientError::Locator(_)
        | ClientError::OtherCluster => Trouble::Refused,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_disk_refuses_says_whether_there_is_room() {
        let of = |why| trouble(ClientError::NoGroup { why });
        assert_eq!(of(Refusal::Failed(Failure::Full)), Trouble::NoRoom);
        assert_eq!(of(Refusal::Unreachable), Trouble::Unavailable);
        assert_eq!(of(Refusal::Failed(Failure::BadRequest)), Trouble::Refused);
        assert!(trouble(ClientError::NotFound).is_broken_promise());
        assert!(!trouble(ClientError::Late).is_broken_promise());
    }
}

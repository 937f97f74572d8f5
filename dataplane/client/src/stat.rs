//! How an object is: which of its cells are there.

use isotherm_transport::Body;
use isotherm_wire::{Ask, Class as Work, Doubt, Failure};

use crate::ask::Fault;
use crate::client::{Client, Inner};
use crate::error::ClientError;
use crate::gather::Gather;
use crate::layout::StripeRef;
use crate::locator::{Class, Locator};

/// How an object is.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct ObjectStat {
    /// Stripes, or sets of copies; a manifest counts as one.
    pub stripes: u32,
    /// Cells and copies that it should have.
    pub cells: u32,
    /// Those that are missing or damaged.
    pub bad: u32,
    /// Those whose disks don't answer.
    pub silent: u32,
    /// Further losses that its weakest stripe survives, if the silent cells are lost; negative
    /// when it could not be read then.
    pub spare: i32,
    /// When it was put, in seconds since 1970.
    pub put_s: u32,
}

impl Client {
    /// Asks every holder for its cell, which costs each a read of a block or none.
    pub async fn stat(&self, locator: &Locator) -> Result<ObjectStat, ClientError> {
        let inner = &self.inner;
        let mut stat = ObjectStat { spare: i32::MAX, ..ObjectStat::default() };
        inner.stat_stripe(&inner.only_stripe(locator)?, &mut stat).await?;
        if locator.class == Class::Manifest {
            let manifest = inner.read_manifest(locator).await?;
            for number in 0..manifest.stripes.len() {
                let stripe = inner.stripe_of(locator, &manifest, number as u32);
                inner.stat_stripe(&stripe, &mut stat).await?;
            }
        }
        Ok(stat)
    }
}

impl Inner {
    async fn stat_stripe(
        &self,
        stripe: &StripeRef,
        stat: &mut ObjectStat,
    ) -> Result<(), ClientError> {
        let terms = self.terms(Work::Foreground);
        let mut asks = Gather::new();
        for cell in 0..stripe.cells() {
            let key = stripe.key(cell);
            let disk = self.member(stripe.group, key.position).ok_or(ClientError::OtherCluster)?;
            asks.add(cell, self.ask(disk, Ask::Stat { key }, Body::Empty, 0, terms));
        }
        let (mut good, mut absent, mut trusted, mut silent) = (0, 0, 0, 0);
        while let Some((cell, result)) = asks.next().await {
            match result {
                Ok((given, _)) => {
                    good += 1;
                    trusted += usize::from(self.doubt_of_cell(stripe, cell) < Doubt::Harmed);
                    stat.put_s = stat.put_s.max(given.shard.put_s);
                }
                Err(Fault::Failed(Failure::Deleted)) => {
                    return Err(self.settle_delete(stripe, terms).await);
                }
                Err(fault) if fault.is_loss() => {
                    absent += i32::from(fault == Fault::Failed(Failure::NotFound));
                    stat.bad += 1;
                }
                Err(_) => silent += 1,
            }
        }
        stat.silent += silent;
        // As for a read: what was deleted may be known to those alone who don't answer.
        if good > 0 && trusted < stripe.needed() && silent > 0 {
            let (reached, needed) = (trusted, stripe.needed());
            return Err(ClientError::Unavailable { reached, needed });
        }
        let (cells, needed) = (stripe.cells() as i32, stripe.needed() as i32);
        if good == 0 && absent > cells - needed {
            return Err(ClientError::NotFound);
        }
        stat.stripes += 1;
        stat.cells += cells as u32;
        stat.spare = stat.spare.min(good - needed);
        Ok(())
    }
}

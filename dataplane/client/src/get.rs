//! An object is read, whole or a range of it, at once or piece by piece.

use std::ops::Range;
use std::rc::Rc;

use isotherm_wire::Class as Work;

use crate::client::{Client, Inner};
use crate::error::ClientError;
use crate::layout::{MANIFEST_STRIPE, StripeRef};
use crate::locator::{Class, Locator};
use crate::manifest::Manifest;
use crate::policy::ReadPolicy;

impl Client {
    /// The bytes of an object, or of a range of it. For objects that memory should not hold,
    /// [`Client::download`].
    pub async fn get(
        &self,
        locator: &Locator,
        range: Option<Range<u64>>,
    ) -> Result<Vec<u8>, ClientError> {
        self.get_by(self.inner.config.read_policy, locator, range).await
    }

    /// The same by a policy of its own.
    pub async fn get_by(
        &self,
        policy: ReadPolicy,
        locator: &Locator,
        range: Option<Range<u64>>,
    ) -> Result<Vec<u8>, ClientError> {
        let mut download = self.download_by(policy, locator, range).await?;
        let mut out = Vec::new();
        while let Some(bytes) = download.next().await? {
            out = match out.is_empty() {
                true => bytes,
                false => [out, bytes].concat(),
            };
        }
        Ok(out)
    }

    /// An object, or a range of it, stripe by stripe.
    pub async fn download(
        &self,
        locator: &Locator,
        range: Option<Range<u64>>,
    ) -> Result<Download, ClientError> {
        self.download_by(self.inner.config.read_policy, locator, range).await
    }

    /// The same by a policy of its own.
    pub async fn download_by(
        &self,
        policy: ReadPolicy,
        locator: &Locator,
        range: Option<Range<u64>>,
    ) -> Result<Download, ClientError> {
        let len_bytes = locator.len_bytes;
        let range = range.unwrap_or(0..len_bytes);
        if range.start > range.end || range.end > len_bytes {
            return Err(ClientError::OutOfRange { len_bytes });
        }
        let manifest = match locator.class {
            Class::Manifest => Some(self.inner.read_manifest(locator).await?),
            Class::Replicas | Class::Stripe => None,
        };
        let inner = Rc::clone(&self.inner);
        Ok(Download {
            inner,
            locator: *locator,
            policy,
            manifest,
            at: range.start,
            end: range.end,
            begun: false,
        })
    }
}

/// An object on its way out.
pub struct Download {
    inner: Rc<Inner>,
    locator: Locator,
    policy: ReadPolicy,
    manifest: Option<Manifest>,
    at: u64,
    end: u64,
    begun: bool,
}

impl Download {
    /// The next bytes: at most a stripe of them. `None` at the end.
    pub async fn next(&mut self) -> Result<Option<Vec<u8>>, ClientError> {
        // One read at least: of an object without bytes it says whether it is there.
        if self.at == self.end && self.begun {
            return Ok(None);
        }
        self.begun = true;
        let (stripe, base) =
            stripe_at(&self.inner, &self.locator, self.manifest.as_ref(), self.at)?;
        let until = self.end.min(base + stripe.len_bytes);
        let terms = self.inner.terms(Work::Foreground);
        let range = self.at - base..until - base;
        let bytes = self.inner.read_stripe(&stripe, range, self.policy, terms).await?;
        self.at = until;
        Ok((!bytes.is_empty()).then_some(bytes))
    }
}

/// The stripe that holds a byte of an object, and where in the object it begins.
fn stripe_at(
    inner: &Inner,
    locator: &Locator,
    manifest: Option<&Manifest>,
    at: u64,
) -> Result<(StripeRef, u64), ClientError> {
    let Some(manifest) = manifest else { return Ok((inner.only_stripe(locator)?, 0)) };
    let number = (at / manifest.stripe_bytes).min(manifest.stripes.len() as u64 - 1);
    let base = number * manifest.stripe_bytes;
    Ok((inner.stripe_of(locator, manifest, number as u32), base))
}

impl Inner {
    /// The stripe or the copies that a locator names: of a long object those of its manifest.
    pub(crate) fn only_stripe(&self, locator: &Locator) -> Result<StripeRef, ClientError> {
        let (group, object, crc) = (locator.group, locator.object, Some(locator.crc));
        let map = self.map.borrow();
        if map.group(group).is_none_or(|group| group.members.len() < locator.scheme().cells()) {
            return Err(ClientError::OtherCluster);
        }
        let (len, scheme) = (locator.len_bytes, locator.scheme());
        Ok(match locator.class {
            Class::Replicas => StripeRef::copies(group, object, 0, len, scheme, crc),
            Class::Stripe => StripeRef::coded(group, object, 0, len, scheme, crc),
            Class::Manifest => {
                let stripes = len.div_ceil(crate::layout::stripe_bytes(scheme));
                let len = Manifest::bytes_for(stripes);
                StripeRef::copies(group, object, MANIFEST_STRIPE, len, scheme, crc)
            }
        })
    }

    /// A stripe of a long object.
    pub(crate) fn stripe_of(
        &self,
        locator: &Locator,
        manifest: &Manifest,
        number: u32,
    ) -> StripeRef {
        let base = u64::from(number) * manifest.stripe_bytes;
        let len = manifest.stripe_bytes.min(manifest.len_bytes - base);
        let stripe = &manifest.stripes[number as usize];
        let (scheme, crc) = (locator.scheme(), Some(stripe.crc));
        StripeRef::coded(stripe.group, locator.object, number, len, scheme, crc)
    }

    /// The manifest of a long object.
    pub(crate) async fn read_manifest(&self, locator: &Locator) -> Result<Manifest, ClientError> {
        let stripe = self.only_stripe(locator)?;
        let (policy, terms) = (self.config.read_policy, self.terms(Work::Foreground));
        let bytes = self.read_stripe(&stripe, 0..stripe.len_bytes, policy, terms).await?;
        Manifest::decode(&bytes, locator.len_bytes)
            .ok_or(ClientError::Corrupt { stripe: MANIFEST_STRIPE })
    }
}

//! Who asks: tenants, a few of them large and most of them small.
//!
//! What must always hold: shares add up to one; every tenant has one object at least, and no
//! object has two.

use core::ops::Range;

/// Tenants with their parts of the demand and of the objects.
#[derive(Clone, PartialEq, Debug)]
pub(crate) struct Tenants {
    /// By tenant: of the demand, as a part of one.
    pub(crate) shares: Vec<f64>,
    /// The sums of the shares, for draws.
    sums: Vec<f64>,
    /// By tenant: where its objects end; the first begins at zero.
    ends: Vec<u64>,
}

impl Tenants {
    /// So many tenants, the k-th with a share like 1 / k^theta, over so many objects.
    pub(crate) fn new(count: u32, theta: f64, objects: u64) -> Tenants {
        assert!(count > 0 && objects >= u64::from(count), "each tenant has an object");
        let weights: Vec<f64> = (1..=count).map(|k| f64::from(k).powf(-theta)).collect();
        let whole: f64 = weights.iter().sum();
        let shares: Vec<f64> = weights.iter().map(|weight| weight / whole).collect();
        let mut sum = 0.0;
        let mut sums = Vec::with_capacity(shares.len());
        let mut ends = Vec::with_capacity(shares.len());
        // One object each, the others by share.
        let spare = (objects - u64::from(count)) as f64;
        for (index, share) in shares.iter().enumerate() {
            sum += share;
            sums.push(sum);
            ends.push(index as u64 + 1 + (spare * sum).round() as u64);
        }
        *ends.last_mut().expect("there is one") = objects;
        Tenants { shares, sums, ends }
    }

    /// The tenant of a number in [0, 1).
    pub(crate) fn at(&self, u: f64) -> u32 {
        let index = self.sums.partition_point(|&sum| sum <= u);
        index.min(self.sums.len() - 1) as u32
    }

    /// The objects of a tenant.
    pub(crate) fn slots(&self, tenant: u32) -> Range<u64> {
        let tenant = tenant as usize;
        let start = if tenant == 0 { 0 } else { self.ends[tenant - 1] };
        start..self.ends[tenant]
    }

    /// How many tenants of one size would even out as these do.
    pub(crate) fn effective(&self) -> f64 {
        1.0 / self.shares.iter().map(|share| share * share).sum::<f64>()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_follow_their_rank_and_objects_follow_shares() {
        let tenants = Tenants::new(4, 1.0, 1_000);
        let parts: Vec<f64> = tenants.shares.iter().map(|share| share * 25.0 / 12.0).collect();
        for (part, expected) in parts.iter().zip([1.0, 0.5, 1.0 / 3.0, 0.25]) {
            assert!((part - expected).abs() < 1e-12);
        }
        let mut end = 0;
        for tenant in 0..4 {
            let slots = tenants.slots(tenant);
            assert_eq!(slots.start, end);
            end = slots.end;
            let part = (slots.end - slots.start) as f64 / 1_000.0;
            assert!((part - tenants.shares[tenant as usize]).abs() < 0.01, "{slots:?}");
        }
        assert_eq!(end, 1_000);
    }

    #[test]
    fn every_tenant_has_an_object() {
        let tenants = Tenants::new(50, 2.0, 50);
        assert!(
            (0..50).all(|tenant| tenants.slots(tenant) == (tenant.into()..u64::from(tenant) + 1))
        );
    }

    #[test]
    fn draws_hit_by_share_and_the_effective_number_is_that_of_equals() {
        let tenants = Tenants::new(8, 0.0, 8);
        assert!((tenants.effective() - 8.0).abs() < 1e-9);
        assert_eq!((tenants.at(0.0), tenants.at(0.13), tenants.at(0.9999999999)), (0, 1, 7));
        let skewed = Tenants::new(8, 1.5, 8);
        assert!(skewed.effective() < 4.0, "{}", skewed.effective());
    }
}

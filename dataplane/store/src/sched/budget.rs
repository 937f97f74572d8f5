//! Disk time of the background classes: who has how much to his credit.
//!
//! What must always hold: a class that has something to do gets its fraction of disk time in
//! the long run, and where the foreground is busy no more than that; what a class does with a
//! quiet disk is not held against it for long.
//!
//! Credit grows by `fraction` for each nanosecond, and each I/O takes its disk time off it.

use isotherm_seam::{Mono, Nanos};

use super::class::{Budget, CLASSES, Class, SchedConfig};

/// Credit that a class may gather while it has nothing to do, as time of waiting.
const IDLE_MAX: Nanos = Nanos::from_secs(1);

#[derive(Clone, Copy, Debug)]
struct Account {
    budget: Budget,
    /// In nanoseconds of disk time.
    credit: f64,
    /// Disk time by weight: on a quiet disk the least goes next.
    virtual_ns: f64,
}

#[derive(Debug)]
pub(super) struct Budgets {
    accounts: [Account; CLASSES],
    /// Until when credit has been given.
    at: Mono,
    pause_max: Nanos,
    /// Virtual time of whoever went last.
    virtual_ns: f64,
}

impl Budgets {
    pub(super) fn new(config: &SchedConfig) -> Budgets {
        let accounts =
            config.budgets.map(|budget| Account { budget, credit: 0.0, virtual_ns: 0.0 });
        Budgets { accounts, at: Mono::ZERO, pause_max: config.pause_max, virtual_ns: 0.0 }
    }

    pub(super) fn set(&mut self, class: Class, budget: Budget) {
        self.accounts[class.index()].budget = budget;
    }

    pub(super) fn get(&self, class: Class) -> Budget {
        self.accounts[class.index()].budget
    }

    /// Gives each class its credit up to now. `rough` is what the next I/O of a class will cost,
    /// `None` where it has nothing to do.
    pub(super) fn accrue(&mut self, now: Mono, rough: impl Fn(Class) -> Option<Nanos>) {
        let passed = now.since(self.at).0 as f64;
        self.at = now;
        for class in Class::ALL.into_iter().filter(|class| class.is_background()) {
            let account = &mut self.accounts[class.index()];
            let fraction = account.budget.fraction;
            let most = match rough(class) {
                // Room for what makes it go even while paused, and one I/O more.
                Some(cost) => self.pause_max.0 as f64 * fraction + 2.0 * cost.0 as f64,
                None => IDLE_MAX.0 as f64 * fraction,
            };
            // What it has is not taken away when it runs out of work.
            let most = most.max(account.credit);
            account.credit = (account.credit + passed * fraction).min(most);
        }
    }

    /// A class starts to have work: it does not catch up on a quiet disk what it never asked for.
    pub(super) fn wake(&mut self, class: Class) {
        let account = &mut self.accounts[class.index()];
        account.virtual_ns = account.virtual_ns.max(self.virtual_ns);
    }

    /// An I/O begins, and will take about so long.
    pub(super) fn charge(&mut self, class: Class, estimate: Nanos) {
        let account = &mut self.accounts[class.index()];
        self.virtual_ns = self.virtual_ns.max(account.virtual_ns);
        take(account, estimate.0 as f64, self.pause_max);
    }

    /// It has taken `real`.
    pub(super) fn correct(&mut self, class: Class, estimate: Nanos, real: Nanos) {
        take(&mut self.accounts[class.index()], real.0 as f64 - estimate.0 as f64, self.pause_max);
    }

    /// For how long the class has had the credit for an I/O of this cost; `None`: not yet.
    pub(super) fn lag(&self, class: Class, cost: Nanos) -> Option<Nanos> {
        let account = &self.accounts[class.index()];
        // A nanosecond's grace, as credit is a sum of fractions.
        let over = account.credit - cost.0 as f64 + 1.0;
        let fraction = account.budget.fraction;
        (over >= 0.0 && fraction > 0.0).then(|| Nanos((over / fraction) as u64))
    }

    /// When `lag` will be `wanted`, if nothing is charged until then.
    pub(super) fn lags_at(&self, class: Class, cost: Nanos, wanted: Nanos) -> Option<Mono> {
        let account = &self.accounts[class.index()];
        let fraction = account.budget.fraction;
        if fraction <= 0.0 {
            return None;
        }
        let missing = (cost.0 as f64 - account.credit).max(0.0) / fraction;
        Some(self.at + Nanos(missing as u64 + 1) + wanted)
    }

    /// Whose turn it is on a quiet disk.
    pub(super) fn by_weight(&self, classes: impl Iterator<Item = Class>) -> Option<Class> {
        classes.min_by(|a, b| {
            let of = |class: &Class| self.accounts[class.index()].virtual_ns;
            of(a).total_cmp(&of(b))
        })
    }
}

/// Takes disk time off an account; a negative amount gives some back.
fn take(account: &mut Account, ns: f64, pause_max: Nanos) {
    // On a quiet disk a class may use much more than its fraction: it owes little of that.
    let least = -(pause_max.0 as f64 * account.budget.fraction);
    account.credit = (account.credit - ns).max(least.min(account.credit));
    account.virtual_ns += ns / account.budget.weight.max(1e-3);
}

#[cfg(test)]
mod tests {
    use super::*;

    const COST: Nanos = Nanos::from_millis(12);

    fn budgets() -> Budgets {
        Budgets::new(&SchedConfig::default())
    }

    #[test]
    fn a_class_earns_its_fraction() {
        let mut budgets = budgets();
        // 12 ms at 3 % take 400 ms.
        budgets.accrue(Mono(399_000_000), |_| Some(COST));
        assert_eq!(budgets.lag(Class::Scrub, COST), None);
        let at = budgets.lags_at(Class::Scrub, COST, Nanos::ZERO).unwrap();
        assert!((399_999_000..400_001_000).contains(&at.0), "{at:?}");
        budgets.accrue(at, |_| Some(COST));
        assert!(budgets.lag(Class::Scrub, COST).is_some());
        budgets.charge(Class::Scrub, COST);
        assert_eq!(budgets.lag(Class::Scrub, COST), None);
        // It took half of that: half the credit is back.
        budgets.correct(Class::Scrub, COST, Nanos::from_millis(6));
        assert!(budgets.lag(Class::Scrub, Nanos::from_millis(6)).is_some());
    }

    #[test]
    fn credit_and_debt_are_bounded() {
        let mut budgets = budgets();
        budgets.accrue(Mono(3_600_000_000_000), |_| None);
        // A second's worth, 30 ms, and no hour's.
        assert!(budgets.lag(Class::Scrub, Nanos::from_millis(29)).is_some());
        assert_eq!(budgets.lag(Class::Scrub, Nanos::from_millis(31)), None);
        // An hour of a quiet disk is forgotten in five seconds.
        budgets.charge(Class::Scrub, Nanos::from_secs(3600));
        let at = budgets.lags_at(Class::Scrub, COST, Nanos::ZERO).unwrap();
        assert!(at.since(Mono(3_600_000_000_000)) < Nanos::from_millis(5_500));
    }

    #[test]
    fn a_quiet_disk_is_shared_by_weight() {
        let mut budgets = budgets();
        let mut turns = [0; CLASSES];
        for _ in 0..170 {
            let both = [Class::Scrub, Class::CriticalRepair].into_iter();
            let class = budgets.by_weight(both).unwrap();
            turns[class.index()] += 1;
            budgets.charge(class, COST);
        }
        assert_eq!(turns[Class::CriticalRepair.index()], 160);
        assert_eq!(turns[Class::Scrub.index()], 10);
        // Who comes late does not get what the others got before.
        budgets.wake(Class::Throughput);
        budgets.charge(Class::Throughput, COST);
        let all = [Class::Throughput, Class::CriticalRepair].into_iter();
        assert_eq!(budgets.by_weight(all), Some(Class::CriticalRepair));
    }
}

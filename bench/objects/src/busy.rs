//! How busy every disk was, second by second: where the heat of a load went.
//!
//! What must always hold: a share is the time that a disk has worked between two looks over the
//! time between them; a disk that could not be asked has none for that stretch, and the next
//! share covers it too.

use isotherm_seam::{Mono, Nanos};

use crate::timeline;

/// Time that a disk has worked since it was opened; none where it could not be asked.
pub type Worked = Option<Nanos>;

/// The shares of all disks over a run.
#[derive(Clone, PartialEq, Debug)]
pub struct Busy {
    names: Vec<String>,
    begin: Mono,
    every: Nanos,
    /// By stretch and disk: busy time and the time that it is of.
    stretches: Vec<Vec<(Nanos, Nanos)>>,
    /// By disk: when it was last asked, and what it said.
    before: Vec<Option<(Mono, Nanos)>>,
}

impl Busy {
    /// Disks by name, over a run of this length that begins then.
    pub fn new(names: Vec<String>, begin: Mono, whole: Nanos) -> Busy {
        let every = timeline::stretch(whole).max(Nanos::from_secs(1));
        let before = vec![None; names.len()];
        Busy { names, begin, every, stretches: Vec::new(), before }
    }

    /// What the disks say now, in the order of their names.
    pub fn look(&mut self, now: Mono, worked: &[Worked]) {
        assert_eq!(worked.len(), self.names.len(), "each disk says one thing");
        let middle = |from: Mono| Nanos((from.since(self.begin).0 + now.since(self.begin).0) / 2);
        for (disk, worked) in worked.iter().enumerate() {
            let Some(worked) = *worked else { continue };
            // A node that was started anew counts from zero again.
            if let Some((at, before)) = self.before[disk]
                && worked >= before
                && now > at
            {
                let stretch = (middle(at).0 / self.every.0) as usize;
                if self.stretches.len() <= stretch {
                    let none = vec![(Nanos::ZERO, Nanos::ZERO); self.names.len()];
                    self.stretches.resize(stretch + 1, none);
                }
                let (busy, of) = &mut self.stretches[stretch][disk];
                *busy += worked - before;
                *of += now.since(at);
            }
            self.before[disk] = Some((now, worked));
        }
    }

    /// How long a stretch is.
    pub fn every(&self) -> Nanos {
        self.every
    }

    /// The disks.
    pub fn names(&self) -> &[String] {
        &self.names
    }

    /// The share of one disk in each stretch, 0 to 1; none where nothing is known.
    pub fn shares(&self, disk: usize) -> Vec<Option<f64>> {
        self.stretches
            .iter()
            .map(|disks| {
                let (busy, of) = disks[disk];
                (of > Nanos::ZERO).then(|| (busy.0 as f64 / of.0 as f64).min(1.0))
            })
            .collect()
    }

    /// The share of one disk over all that is known of it.
    pub fn share(&self, disk: usize) -> f64 {
        let sum = |of: fn(&(Nanos, Nanos)) -> Nanos| -> f64 {
            self.stretches.iter().map(|disks| of(&disks[disk]).0 as f64).sum()
        };
        let whole = sum(|(_, of)| *of);
        if whole == 0.0 { 0.0 } else { (sum(|(busy, _)| *busy) / whole).min(1.0) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(ms: u64) -> Mono {
        Mono(ms * 1_000_000)
    }

    fn ms(ms: u64) -> Worked {
        Some(Nanos::from_millis(ms))
    }

    #[test]
    fn shares_are_of_the_time_between_looks() {
        let names = vec!["a".to_owned(), "b".to_owned()];
        let mut busy = Busy::new(names, at(10_000), Nanos::from_secs(10));
        busy.look(at(10_000), &[ms(500), ms(0)]);
        busy.look(at(11_000), &[ms(750), ms(1_000)]);
        // Not heard of for a second; then it was restarted.
        busy.look(at(12_000), &[None, ms(1_100)]);
        busy.look(at(13_000), &[ms(1_750), ms(20)]);
        busy.look(at(14_000), &[ms(1_750), ms(520)]);
        assert_eq!(busy.every(), Nanos::from_secs(1));
        assert_eq!(busy.shares(0), [Some(0.25), None, Some(0.5), Some(0.0)]);
        assert_eq!(busy.shares(1), [Some(1.0), Some(0.1), None, Some(0.5)]);
        assert!((busy.share(0) - 1.25 / 4.0).abs() < 1e-9, "{}", busy.share(0));
    }
}

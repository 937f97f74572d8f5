//! Which runs to merge.
//!
//! What must always hold: only runs that are neighbours in age are merged, so that "newer" stays
//! one order; all is decided from the manifest.
//!
//! A spill is a run of level 0; eight neighbours of one level become one run of the next. So an
//! entry is written once per level and there are at most seven runs of each level between merges:
//! 25 million shards spilled by 100,000 are at level 2. And when all runs together hold a quarter
//! more entries than there are keys, all become one, so a restart never reads more than 1.25
//! entries per key.

use super::run::{CHUNK_ENTRIES_MAX, RunInfo};

/// Runs of one level that become one of the next.
pub const FAN_IN: usize = 8;

/// Runs to be merged.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Plan {
    /// The runs, newest first.
    pub ids: Vec<u64>,
    /// The level of what they become.
    pub level: u8,
    /// Whether they are the oldest: entries of what is gone hide nothing any more.
    pub drop_gone: bool,
}

/// What to merge next, of runs newest first, while the index holds so many keys; `None` if all
/// is as it should be.
pub fn plan(runs: &[RunInfo], live: u64) -> Option<Plan> {
    let planned = |from: usize, to: usize, level: u8| Plan {
        ids: runs[from..to].iter().map(|run| run.id).collect(),
        level,
        drop_gone: to == runs.len(),
    };
    let entries: u64 = runs.iter().map(|run| run.entries).sum();
    let gone: u64 = runs.iter().map(|run| run.gone).sum();
    // Up to a chunk more is no harm, and keeps a small store from being merged at each spill.
    let too_many = entries > live + (live / 4).max(CHUNK_ENTRIES_MAX as u64);
    // One run without anything gone is as short as it can be: what makes it longer than `live`
    // is not spilled yet.
    if too_many && (runs.len() > 1 || gone > 0) {
        let level = runs.iter().map(|run| run.level).max()?;
        return Some(planned(0, runs.len(), level));
    }
    let mut from = 0;
    while from < runs.len() {
        let level = runs[from].level;
        let count = runs[from..].iter().take_while(|run| run.level == level).count();
        if count >= FAN_IN {
            return Some(planned(from, from + count, level.saturating_add(1)));
        }
        from += count;
    }
    None
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use isotherm_seam::{Domain, Draws};

    use super::*;
    use crate::Key;

    /// Runs as maps of what they hold (true: gone), run by the plan.
    #[derive(Default)]
    struct Disk {
        runs: Vec<(RunInfo, BTreeMap<u64, bool>)>,
        live: BTreeMap<u64, bool>,
        next_id: u64,
        written: u64,
    }

    impl Disk {
        fn add(&mut self, at: usize, level: u8, entries: BTreeMap<u64, bool>) {
            if entries.is_empty() {
                return;
            }
            let info = RunInfo {
                id: self.next_id,
                level,
                entries: entries.len() as u64,
                gone: entries.values().filter(|&&gone| gone).count() as u64,
                first_key: Key::MIN,
                last_key: Key::MAX,
                chunks: Vec::new(),
            };
            self.next_id += 1;
            self.written += info.entries;
            self.runs.insert(at, (info, entries));
        }

        fn spill(&mut self, changes: BTreeMap<u64, bool>) {
            for (&key, &gone) in &changes {
                if gone {
                    self.live.remove(&key);
                } else {
                    self.live.insert(key, false);
                }
            }
            self.add(0, 0, changes);
            for merges in 0.. {
                assert!(merges < 10, "merging does not come to an end");
                let infos: Vec<RunInfo> = self.runs.iter().map(|(info, _)| info.clone()).collect();
                let Some(plan) = plan(&infos, self.live.len() as u64) else { break };
                let from = infos.iter().position(|run| run.id == plan.ids[0]).expect("it is there");
                let to = from + plan.ids.len();
                assert!(infos[from..to].iter().map(|run| run.id).eq(plan.ids.iter().copied()));
                assert_eq!(plan.drop_gone, to == infos.len());
                let mut merged = BTreeMap::new();
                for (_, entries) in self.runs.drain(from..to).rev() {
                    merged.extend(entries);
                }
                if plan.drop_gone {
                    merged.retain(|_, gone| !*gone);
                }
                self.add(from, plan.level, merged);
            }
        }

        fn check(&self) {
            let mut levels = BTreeMap::new();
            for (info, _) in &self.runs {
                *levels.entry(info.level).or_insert(0) += 1;
            }
            assert!(levels.values().all(|&count| count < FAN_IN), "{levels:?}");
            assert!(self.runs.is_sorted_by_key(|(info, _)| info.level), "{levels:?}");
            let entries: u64 = self.runs.iter().map(|(info, _)| info.entries).sum();
            let live = self.live.len() as u64;
            let bound = live + (live / 4).max(CHUNK_ENTRIES_MAX as u64);
            assert!(entries <= bound || self.runs.len() == 1, "{entries} entries, {live} live");
            let mut all = BTreeMap::new();
            for (_, entries) in self.runs.iter().rev() {
                all.extend(entries.iter().map(|(&key, &gone)| (key, gone)));
            }
            all.retain(|_, gone| !*gone);
            assert_eq!(all, self.live);
        }
    }

    #[test]
    fn runs_stay_few_and_short() {
        for seed in 0..4 {
            println!("seed {seed}");
            let mut draws = Draws::new(seed, Domain::new("store.index.compaction"), 0);
            let mut disk = Disk::default();
            let names = 10_000 << seed;
            let mut changes = 0;
            for spill in 0..150 {
                // At first all grows, then it shrinks, then both.
                let gone = [0.0, 0.9, 0.3][spill / 50];
                let count = 500 + draws.below(2_000);
                let changed = (0..count)
                    .map(|_| {
                        let key = draws.below(names);
                        (key, draws.happens(gone) && disk.live.contains_key(&key))
                    })
                    .collect::<BTreeMap<u64, bool>>();
                changes += changed.len() as u64;
                disk.spill(changed);
                disk.check();
            }
            let amplification = disk.written as f64 / changes as f64;
            assert!(amplification < 8.0, "each change was written {amplification} times");
        }
    }

    #[test]
    fn nothing_is_merged_that_gains_nothing() {
        assert_eq!(plan(&[], 0), None);
        let mut disk = Disk::default();
        disk.add(0, 0, (0..100_000).map(|key| (key, false)).collect());
        let mut runs = vec![disk.runs[0].0.clone()];
        assert_eq!(plan(&runs, 10), None);
        runs[0].gone = 1;
        assert_eq!(plan(&runs, 10).map(|plan| plan.drop_gone), Some(true));
    }
}

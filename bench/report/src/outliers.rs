//! Disks that are not like the others of their run.
//!
//! What must always hold: a disk is named only if it is far from its peers by their own spread
//! (robust z above 4, of the logarithm of p99) and by an effect that matters (15 % and more), of
//! five disks or more. These are the thresholds of the fleet's verdicts; one run of one workload
//! is less than those look at, so this is a hint where to look, not a verdict.

use serde_json::Value;

use crate::told;

const PEERS_MIN: usize = 5;
const Z_MIN: f64 = 4.0;
const EFFECT_MIN: f64 = 1.15;
/// Makes a median absolute deviation comparable to a standard deviation of a normal law.
const MAD_TO_SIGMA: f64 = 1.4826;
/// Disks do not agree to less than this, whatever few of them say.
const SIGMA_MIN: f64 = 0.02;

/// A disk that is slower than its peers.
#[derive(Clone, PartialEq, Debug)]
pub struct Outlier {
    /// Its place in `per_disk`.
    pub index: usize,
    /// What it is called.
    pub name: String,
    /// In which direction.
    pub direction: &'static str,
    /// Its p99, in nanoseconds.
    pub p99_ns: f64,
    /// Times the median p99 of the disks.
    pub times: f64,
    /// Robust z.
    pub z: f64,
}

/// The slow disks of a document, worst first.
pub fn outliers(document: &Value) -> Vec<Outlier> {
    let disks: Vec<&Value> = document["per_disk"].as_array().into_iter().flatten().collect();
    let mut out = Vec::new();
    let mut jobs: Vec<&Value> = disks.iter().map(|disk| &disk["jobname"]).collect();
    jobs.dedup();
    for job in jobs {
        for direction in ["read", "write", "trim"] {
            let rows = disks.iter().enumerate().filter(|(_, disk)| disk["jobname"] == *job);
            let rows: Vec<(usize, &Value, f64)> = rows
                .filter_map(|(index, disk)| {
                    let (_, family) = told(&disk[direction])?;
                    let p99 = family["percentile"]["99.000000"].as_f64()?;
                    (p99 > 0.0).then_some((index, *disk, p99))
                })
                .collect();
            if rows.len() >= PEERS_MIN {
                out.extend(slow(&rows, direction));
            }
        }
    }
    out.sort_by(|a, b| b.z.total_cmp(&a.z));
    out
}

fn slow(rows: &[(usize, &Value, f64)], direction: &'static str) -> Vec<Outlier> {
    let logs: Vec<f64> = rows.iter().map(|(_, _, p99)| p99.ln()).collect();
    let middle = median(logs.clone());
    let spread = median(logs.iter().map(|log| (log - middle).abs()).collect());
    let sigma = (spread * MAD_TO_SIGMA).max(SIGMA_MIN);
    let far = rows.iter().zip(&logs).map(|((index, disk, p99), log)| Outlier {
        index: *index,
        name: disk["name"].as_str().unwrap_or("?").to_owned(),
        direction,
        p99_ns: *p99,
        times: (log - middle).exp(),
        z: (log - middle) / sigma,
    });
    far.filter(|one| one.z > Z_MIN && one.times >= EFFECT_MIN).collect()
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    match values.len() {
        0 => 0.0,
        len if len % 2 == 1 => values[len / 2],
        len => (values[len / 2 - 1] + values[len / 2]) / 2.0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn document(p99s: &[f64]) -> Value {
        let disk = |(i, p99): (usize, &f64)| {
            json!({"jobname": "a", "name": format!("d{i}"),
                   "read": {"lat_ns": {"percentile": {"99.000000": p99}}}})
        };
        json!({"per_disk": p99s.iter().enumerate().map(disk).collect::<Vec<_>>()})
    }

    #[test]
    fn a_slow_disk_is_named_and_its_peers_are_not() {
        let found = outliers(&document(&[40e6, 42e6, 41e6, 39e6, 43e6, 120e6, 40e6]));
        let [one] = &found[..] else { panic!("{found:?}") };
        assert_eq!((one.name.as_str(), one.index, one.direction), ("d5", 5, "read"));
        assert!((2.8..3.1).contains(&one.times), "{one:?}");
    }

    #[test]
    fn like_disks_few_disks_and_small_effects_name_none() {
        assert!(outliers(&document(&[40e6, 42e6, 41e6, 39e6, 43e6])).is_empty());
        assert!(outliers(&document(&[40e6, 42e6, 400e6])).is_empty());
        assert!(outliers(&document(&[40e6, 40e6, 40e6, 40e6, 40e6, 44e6])).is_empty());
        assert!(outliers(&json!({"jobs": []})).is_empty());
    }
}

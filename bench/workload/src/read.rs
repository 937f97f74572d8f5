//! Values with a syntax of their own.
//!
//! What must always hold: a function here takes what fio 3.33 takes, and gives nothing for the
//! rest; what it gives means the same.

pub(crate) mod bytes;
pub(crate) mod sizes;
pub(crate) mod spread;

use isotherm_seam::Nanos;

use crate::{Measure, SteadyPlan, ZonePlan, list, quantity};

/// Up to three numbers for reads, writes and trims; one holds for all.
pub(crate) fn per_direction<T: Copy>(
    text: &str,
    one: impl Fn(&str) -> Option<T>,
) -> Option<[T; 2]> {
    let parts = list::directions(text)?;
    let parts: Option<Vec<T>> = parts.into_iter().map(one).collect();
    match parts?[..] {
        [all] => Some([all; 2]),
        [read, write] | [read, write, _] => Some([read, write]),
        _ => None,
    }
}

/// `5`, or `5-10`: a time, or the least and the greatest.
pub(crate) fn delay(text: &str) -> Option<(Nanos, Nanos)> {
    match text.split_once('-') {
        None => quantity::time(text).map(|time| (time, time)),
        Some((least, most)) => {
            let (least, most) = (quantity::time(least)?, quantity::time(most)?);
            (least <= most).then_some((least, most))
        }
    }
}

/// `0,2-3`: numbers of processors, ascending.
pub(crate) fn cpus(text: &str) -> Option<Vec<u32>> {
    let mut cpus = Vec::new();
    for part in text.split([',', ':']).map(str::trim) {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        let (first, last): (u32, u32) = (first.trim().parse().ok()?, last.trim().parse().ok()?);
        if first > last || last >= CPUS_MAX {
            return None;
        }
        cpus.extend(first..=last);
    }
    cpus.sort_unstable();
    cpus.dedup();
    Some(cpus)
}

const CPUS_MAX: u32 = 1 << 16;

/// Processors by the bits of a number.
pub(crate) fn cpu_mask(text: &str) -> Option<Vec<u32>> {
    let mask = quantity::bytes(text, quantity::KB_BASE).filter(|&mask| mask > 0)?;
    Some((0..64).filter(|bit| mask >> bit & 1 == 1).collect())
}

/// `iops:10%`: what is to be steady, and how steady; the times of `plan` stay.
pub(crate) fn steady(text: &str, plan: SteadyPlan) -> Option<SteadyPlan> {
    let (word, limit) = text.split_once(':')?;
    let (measure, slope) = match word {
        "iops" => (Measure::Iops, false),
        "iops_slope" => (Measure::Iops, true),
        "bw" => (Measure::Bandwidth, false),
        "bw_slope" => (Measure::Bandwidth, true),
        _ => return None,
    };
    let (number, percent) = match limit.strip_suffix('%') {
        Some(number) => (number, true),
        None => (limit, false),
    };
    let limit = match percent {
        true => number.parse::<f64>().ok(),
        // A bandwidth has a unit.
        false => number
            .parse::<f64>()
            .ok()
            .or_else(|| quantity::bytes(number, quantity::KB_BASE).map(|n| n as f64)),
    };
    let limit = limit.filter(|limit| limit.is_finite() && *limit >= 0.0)?;
    Some(SteadyPlan { measure, slope, limit, percent, ..plan })
}

/// `strided` or `none`.
pub(crate) fn zone_mode(text: &str, plan: ZonePlan) -> Option<ZonePlan> {
    match text {
        "none" => Some(ZonePlan { strided: Some(false), ..plan }),
        "strided" => Some(ZonePlan { strided: Some(true), ..plan }),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Job;

    #[test]
    fn one_number_holds_for_both_directions() {
        let read = |text| per_direction(text, |part| part.parse::<u32>().ok());
        assert_eq!(
            (read("7"), read("7,8"), read("7,8,9")),
            (Some([7, 7]), Some([7, 8]), Some([7, 8]))
        );
        assert_eq!((read("x"), read("1,2,3,4"), read("1,")), (None, None, None));
    }

    #[test]
    fn a_delay_may_be_a_range() {
        let seconds = Nanos::from_secs;
        assert_eq!(delay("5"), Some((seconds(5), seconds(5))));
        assert_eq!(delay("500ms-2"), Some((Nanos::from_millis(500), seconds(2))));
        assert_eq!((delay("3-1"), delay("x"), delay("1-")), (None, None, None));
    }

    #[test]
    fn processors_by_list_and_by_mask() {
        assert_eq!(cpus("0,2-4,3"), Some(vec![0, 2, 3, 4]));
        assert_eq!(cpu_mask("0x5"), Some(vec![0, 2]));
        assert_eq!((cpus("a"), cpus("4-2"), cpus(""), cpu_mask("0")), (None, None, None, None));
    }

    #[test]
    fn steady_states() {
        let plan = Job::new("").steady;
        let read = |text| steady(text, plan).map(|p| (p.measure, p.slope, p.limit, p.percent));
        assert_eq!(read("iops:10%"), Some((Measure::Iops, false, 10.0, true)));
        assert_eq!(read("bw_slope:0.5%"), Some((Measure::Bandwidth, true, 0.5, true)));
        assert_eq!(read("bw:2m"), Some((Measure::Bandwidth, false, 2_097_152.0, false)));
        assert_eq!(read("iops_slope:3"), Some((Measure::Iops, true, 3.0, false)));
        for bad in ["iops", "lat:3", "iops:x", "iops:-1", "iops:nan"] {
            assert_eq!(read(bad), None, "{bad}");
        }
    }
}

//! How requests spread over a region, and over files: `random_distribution` and
//! `file_service_type`.

use crate::{Extent, Law, ServicePlan, Turn, ZoneShare, quantity};

/// `zipf:1.2`, `pareto:0.2:0.5`, `zoned:60/10:40/90` and the like.
pub(crate) fn law(text: &str, kb_base: u64) -> Option<Law> {
    let (word, rest) = match text.split_once(':') {
        Some((word, rest)) => (word, Some(rest)),
        None => (text, None),
    };
    match (word, rest) {
        ("random", _) => Some(Law::Even),
        ("zoned", Some(zones)) => zoned(zones, share_of_region),
        ("zoned_abs", Some(zones)) => {
            zoned(zones, |size| quantity::bytes(size, kb_base).map(Extent::Bytes))
        }
        (word, rest) => ranked(word, rest),
    }
}

/// `zipf`, `pareto` or `normal` with their numbers, or without: fio's defaults.
fn ranked(word: &str, rest: Option<&str>) -> Option<Law> {
    let mut parts = rest.into_iter().flat_map(|rest| rest.split(':'));
    let mut number = |least: f64, most: f64| match parts.next() {
        None => Some(None),
        Some(text) => {
            let number = text.parse::<f64>().ok().filter(|n| (least..=most).contains(n));
            number.map(Some)
        }
    };
    let law = match word {
        "zipf" => {
            let theta = number(f64::MIN_POSITIVE, 1e3)?.unwrap_or(1.1);
            // At 1 the sum has no closed form.
            (theta != 1.0).then_some(())?;
            Law::Zipf { theta, center: number(0.0, 1.0)? }
        }
        "pareto" => {
            let h = number(f64::MIN_POSITIVE, 1.0 - f64::EPSILON)?.unwrap_or(0.2);
            Law::Pareto { h, center: number(0.0, 1.0)? }
        }
        "normal" | "gauss" => {
            let deviation_percent = number(0.0, 100.0)?.unwrap_or(0.0);
            Law::Normal { deviation_percent, center: number(0.0, 1.0)? }
        }
        _ => return None,
    };
    parts.next().is_none().then_some(law)
}

fn share_of_region(text: &str) -> Option<Extent> {
    text.parse::<u32>().ok().filter(|&percent| percent <= 100).map(Extent::Percent)
}

/// `60/10:40/90`. One zone may leave out its size and has what is left; the shares of the
/// requests make 100.
fn zoned(text: &str, size: impl Fn(&str) -> Option<Extent>) -> Option<Law> {
    let mut zones = Vec::new();
    for entry in text.split(':') {
        let (access, given) = entry.split_once('/')?;
        let access_percent = access.parse::<u32>().ok().filter(|&percent| percent <= 100)?;
        let given = match given {
            "" => None,
            given => Some(size(given)?),
        };
        zones.push((access_percent, given));
    }
    let percent = |zone: &Option<Extent>| match zone {
        Some(Extent::Percent(percent)) => *percent,
        _ => 0,
    };
    let used: u32 = zones.iter().map(|(_, given)| percent(given)).sum();
    let open = zones.iter().filter(|(_, given)| given.is_none()).count() as u32;
    let each = 100u32.checked_sub(used)?.checked_div(open).unwrap_or(0);
    let access: u32 = zones.iter().map(|(access, _)| access).sum();
    let share = |(access_percent, given): (u32, Option<Extent>)| ZoneShare {
        access_percent,
        size: given.unwrap_or(Extent::Percent(each)),
    };
    (access == 100).then(|| Law::Zoned(zones.into_iter().map(share).collect()))
}

/// `roundrobin:8`, `random`, `zipf:1.2` and the like.
pub(crate) fn service(text: &str) -> Option<ServicePlan> {
    let (word, rest) = match text.split_once(':') {
        Some((word, rest)) => (word, Some(rest)),
        None => (text, None),
    };
    let turn = match word {
        "roundrobin" => Turn::RoundRobin,
        "sequential" => Turn::Sequential,
        "random" => Turn::Random(Law::Even),
        word => return Some(ServicePlan { turn: Turn::Random(ranked(word, rest)?), ios: 1 }),
    };
    let ios = rest.map_or(Some(1), |rest| rest.parse().ok().filter(|&ios: &u64| ios > 0))?;
    Some(ServicePlan { turn, ios })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn laws_with_their_numbers_and_fios_defaults() {
        let read = |text| law(text, 1024);
        assert_eq!(read("random"), Some(Law::Even));
        assert_eq!(read("zipf"), Some(Law::Zipf { theta: 1.1, center: None }));
        assert_eq!(read("zipf:1.2:0.25"), Some(Law::Zipf { theta: 1.2, center: Some(0.25) }));
        assert_eq!(read("pareto:0.3"), Some(Law::Pareto { h: 0.3, center: None }));
        let normal = Law::Normal { deviation_percent: 10.0, center: Some(0.5) };
        assert_eq!(read("normal:10:0.5"), Some(normal));
        for bad in ["zipf:1", "zipf:x", "zipf:1.2:5", "pareto:1", "normal:200", "zipf:1.2:0:0", "x"]
        {
            assert_eq!(read(bad), None, "{bad}");
        }
    }

    #[test]
    fn zones_by_part_and_by_size() {
        let shares = |text: &str| -> Vec<(u32, Extent)> {
            match law(text, 1024) {
                Some(Law::Zoned(zones)) => {
                    let pair = |zone: ZoneShare| (zone.access_percent, zone.size);
                    zones.into_iter().map(pair).collect()
                }
                other => panic!("{text}: {other:?}"),
            }
        };
        let part = |access, percent| (access, Extent::Percent(percent));
        let parts = vec![part(50, 5), part(30, 15), part(20, 80)];
        assert_eq!(shares("zoned:50/5:30/15:20/80"), parts);
        assert_eq!(shares("zoned:50/5:30/15:20/"), parts, "what is left");
        let absolute = vec![(60, Extent::Bytes(20 << 30)), (40, Extent::Bytes(1 << 40))];
        assert_eq!(shares("zoned_abs:60/20g:40/1t"), absolute);
        for bad in ["zoned:50/5:30/", "zoned:50/50", "zoned:60/50:40/60", "zoned", "zoned:100"] {
            assert_eq!(law(bad, 1024), None, "{bad}");
        }
    }

    #[test]
    fn files_take_turns_by_word() {
        let plan = |turn, ios| Some(ServicePlan { turn, ios });
        assert_eq!(service("roundrobin:8"), plan(Turn::RoundRobin, 8));
        assert_eq!(service("sequential"), plan(Turn::Sequential, 1));
        assert_eq!(service("random"), plan(Turn::Random(Law::Even), 1));
        let zipf = Turn::Random(Law::Zipf { theta: 1.2, center: None });
        assert_eq!(service("zipf:1.2"), plan(zipf, 1));
        assert_eq!((service("roundrobin:0"), service("any")), (None, None));
    }
}

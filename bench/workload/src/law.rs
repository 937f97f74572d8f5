//! Where random requests go, if not evenly: few places often and most seldom, or by zones.
//!
//! What must always hold: what is drawn lies below the count; the same seed draws the same. Zipf,
//! Pareto and the normal law give ranks; as in fio the ranks are strewn over the region by a
//! permutation, since what is hot in a store does not lie side by side, and `center` says where
//! the hottest one goes. Zones keep their place.
//!
//! ```text
//! zipf    P(rank k) ~ 1 / k^theta        by inversion (Gray et al., "Quickly generating
//!                                        billion-record synthetic databases", 1994)
//! pareto  rank = count * u^(log h / log(1-h)):  a part h of the places has 1 - h of the requests
//! normal  rank around 0 with a deviation of so many percent of the count
//! ```

use isotherm_seam::{Domain, draw};

use crate::{Extent, FastRng, Shuffle};

const RANKS: Domain = Domain::new("workload.law.ranks");
const STREWN: Domain = Domain::new("workload.law.strewn");

/// How random requests are spread over a region.
#[derive(Clone, PartialEq, Debug)]
pub enum Law {
    /// Every place is as likely as another.
    Even,
    /// The k-th of the places is asked for 1 / k^theta as often as the first.
    Zipf {
        /// Not 1.
        theta: f64,
        /// Where the first of the places is, as a part of the region.
        center: Option<f64>,
    },
    /// A part `h` of the places has the part 1 - `h` of the requests.
    Pareto {
        /// Between 0 and 1.
        h: f64,
        /// Where the first of the places is, as a part of the region.
        center: Option<f64>,
    },
    /// Bell-shaped.
    Normal {
        /// The standard deviation, in percent of the region.
        deviation_percent: f64,
        /// Where the middle of the bell is, as a part of the region.
        center: Option<f64>,
    },
    /// So many percent of the requests in the first zone, so many in the next.
    Zoned(Vec<ZoneShare>),
}

/// A zone, and the part of the requests that go there.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ZoneShare {
    /// Of the requests, in percent.
    pub access_percent: u32,
    /// How long the zone is; it begins where the one before ends.
    pub size: Extent,
}

/// Draws from a law other than the even one.
#[derive(Clone, Debug)]
pub struct Ranks {
    rng: FastRng,
    count: u64,
    shape: Shape,
}

#[derive(Clone, Debug)]
enum Shape {
    Zipf(Zipf, Strewn),
    Pareto {
        power: f64,
        strewn: Strewn,
    },
    Normal {
        deviation: f64,
        strewn: Strewn,
    },
    /// Upper end of the draw, of 100, with the first and the number of places of its zone.
    Zoned(Vec<(u64, u64, u64)>),
}

/// From ranks to places.
#[derive(Clone, Debug)]
struct Strewn {
    shuffle: Shuffle,
    add: u64,
}

impl Strewn {
    fn new(count: u64, center: Option<f64>, seed: u64) -> Strewn {
        let shuffle = Shuffle::new(count, seed, 0);
        let first = shuffle.at(0);
        let add = match center {
            Some(part) => ((part * count as f64) as u64).min(count - 1) + count - first,
            None => draw(seed, STREWN, 0, 0) % count,
        };
        Strewn { shuffle, add: add % count }
    }

    #[inline]
    fn at(&self, rank: u64) -> u64 {
        let at = self.shuffle.at(rank) + self.add;
        if at >= self.shuffle.count() { at - self.shuffle.count() } else { at }
    }
}

/// What Gray's inversion needs to know of a count and an exponent.
#[derive(Clone, Debug)]
struct Zipf {
    theta: f64,
    zeta: f64,
    eta: f64,
    alpha: f64,
}

impl Zipf {
    fn new(count: u64, theta: f64) -> Zipf {
        let (zeta, two) = (generalised_harmonic(count, theta), generalised_harmonic(2, theta));
        Zipf {
            theta,
            zeta,
            eta: (1.0 - (2.0 / count as f64).powf(1.0 - theta)) / (1.0 - two / zeta),
            alpha: 1.0 / (1.0 - theta),
        }
    }

    fn rank(&self, u: f64, count: u64) -> u64 {
        let z = u * self.zeta;
        if z < 1.0 {
            0
        } else if z < 1.0 + 0.5f64.powf(self.theta) {
            1
        } else {
            (count as f64 * (self.eta * u - self.eta + 1.0).powf(self.alpha)) as u64
        }
    }
}

/// Terms summed one by one before the rest is taken for an integral.
const EXACT_TERMS: u64 = 10_000;

/// The sum of 1 / k^theta for k from 1 to `count`. Beyond the exact terms by Euler and Maclaurin:
/// the integral, half of the last term, and a correction that is below 1e-9 there.
fn generalised_harmonic(count: u64, theta: f64) -> f64 {
    let exact = count.min(EXACT_TERMS);
    let sum: f64 = (1..=exact).map(|k| (k as f64).powf(-theta)).sum();
    if count == exact {
        return sum;
    }
    let (a, b) = (exact as f64, count as f64);
    let integral = (b.powf(1.0 - theta) - a.powf(1.0 - theta)) / (1.0 - theta);
    sum + integral + (b.powf(-theta) - a.powf(-theta)) / 2.0
}

impl Ranks {
    /// Draws from `law` over `count` places of `unit_bytes` each; none for the even one.
    pub fn new(law: &Law, count: u64, unit_bytes: u64, seed: u64) -> Option<Ranks> {
        let strewn = |center: &Option<f64>| Strewn::new(count, *center, seed);
        let shape = match law {
            Law::Even => return None,
            // Gray's formula needs three places.
            Law::Zipf { theta, center } => {
                Shape::Zipf(Zipf::new(count.max(3), *theta), strewn(center))
            }
            Law::Pareto { h, center } => {
                Shape::Pareto { power: h.ln() / (1.0 - h).ln(), strewn: strewn(center) }
            }
            Law::Normal { deviation_percent, center } => {
                let deviation = (count as f64 * deviation_percent / 100.0).ceil();
                Shape::Normal { deviation, strewn: strewn(center) }
            }
            Law::Zoned(shares) => Shape::Zoned(zones(shares, count, unit_bytes)),
        };
        Some(Ranks { rng: FastRng::new(seed, RANKS, 0), count, shape })
    }

    /// The next place, below the count.
    #[inline]
    #[expect(clippy::should_implement_trait, reason = "it has no end")]
    pub fn next(&mut self) -> u64 {
        let Ranks { rng, count, shape } = self;
        match shape {
            Shape::Zipf(zipf, strewn) => {
                strewn.at(zipf.rank(rng.next_f64(), *count).min(*count - 1))
            }
            Shape::Pareto { power, strewn } => {
                let rank = (*count - 1) as f64 * rng.next_f64().powf(*power);
                strewn.at((rank as u64).min(*count - 1))
            }
            Shape::Normal { deviation, strewn } => {
                // The sum of twelve even draws has deviation 1 and is bell-shaped up to 6.
                let bell: f64 = (0..12).map(|_| rng.next_f64()).sum::<f64>() - 6.0;
                let rank = (bell * *deviation).round() as i64;
                strewn.at(rank.rem_euclid(*count as i64) as u64)
            }
            Shape::Zoned(zones) => {
                let at = rng.below(100);
                let zone = zones.iter().find(|(upto, ..)| at < *upto).or(zones.last());
                let &(_, first, places) = zone.expect("a law has a zone");
                first + rng.below(places)
            }
        }
    }
}

/// The zones of a region; what lies beyond its end is left out, and its requests go to the last.
fn zones(shares: &[ZoneShare], count: u64, unit_bytes: u64) -> Vec<(u64, u64, u64)> {
    let (mut upto, mut first) = (0, 0);
    let mut zones = Vec::with_capacity(shares.len());
    for share in shares {
        upto += u64::from(share.access_percent);
        let end = first + share.size.of(count.saturating_mul(unit_bytes)) / unit_bytes;
        let end = end.clamp(first + 1, count.max(first + 1));
        if first >= count {
            break;
        }
        zones.push((upto, first, end - first));
        first = end;
    }
    zones
}

#[cfg(test)]
mod tests {
    use super::*;

    fn drawn(law: &Law, count: u64, draws: usize) -> Vec<u64> {
        let mut ranks = Ranks::new(law, count, 4096, 7).unwrap();
        let drawn: Vec<u64> = (0..draws).map(|_| ranks.next()).collect();
        assert!(drawn.iter().all(|&at| at < count), "{law:?}");
        drawn
    }

    /// How often each place was drawn, most often first.
    fn frequencies(drawn: &[u64]) -> Vec<(usize, u64)> {
        let mut counts = std::collections::BTreeMap::new();
        drawn.iter().for_each(|&at| *counts.entry(at).or_insert(0usize) += 1);
        let mut counts: Vec<(usize, u64)> = counts.into_iter().map(|(at, n)| (n, at)).collect();
        counts.sort_unstable_by(|a, b| b.cmp(a));
        counts
    }

    #[test]
    fn the_harmonic_sum_is_that_of_its_terms() {
        for theta in [0.5, 1.1, 2.0] {
            let exact: f64 = (1..=1_000_000u64).map(|k| (k as f64).powf(-theta)).sum();
            let got = generalised_harmonic(1_000_000, theta);
            assert!((got / exact - 1.0).abs() < 1e-9, "{theta}: {got} for {exact}");
        }
    }

    #[test]
    fn zipf_keeps_the_ratio_of_ranks() {
        // fio 3.33 draws its first three of 10,240 from 4,096 places 2,164, 926 and 691 times.
        let law = Law::Zipf { theta: 1.2, center: Some(0.25) };
        let counts = frequencies(&drawn(&law, 4096, 10_240));
        assert_eq!(counts[0].1, 1024, "the first of them is where it was put");
        for (index, expected) in [2164.0, 926.0, 691.0].into_iter().enumerate() {
            let got = counts[index].0 as f64;
            // Both are draws: about four deviations of the difference.
            assert!((got - expected).abs() < 6.0 * expected.sqrt(), "{index}: {got}");
        }
        for (theta, count) in [(0.5, 100_000), (2.5, 3), (1.2, 1), (0.9, 2)] {
            drawn(&Law::Zipf { theta, center: None }, count, 1_000);
        }
    }

    #[test]
    fn pareto_gives_most_requests_to_few_places() {
        let law = Law::Pareto { h: 0.2, center: Some(0.5) };
        let counts = frequencies(&drawn(&law, 4096, 10_240));
        // fio 3.33: 3,155.
        assert!((2_800..3_500).contains(&counts[0].0), "{:?}", counts[0]);
        assert_eq!(counts[0].1, 2048);
        let hot: usize = counts.iter().take(4096 / 5).map(|c| c.0).sum();
        assert!((7_800..8_700).contains(&hot), "80 percent on a fifth: {hot}");
    }

    #[test]
    fn the_normal_law_has_its_deviation() {
        let law = Law::Normal { deviation_percent: 10.0, center: Some(0.5) };
        let counts = frequencies(&drawn(&law, 1000, 100_000));
        // The density at the middle of a bell of deviation 100 is 1 / (100 * 2.507).
        assert!((350..470).contains(&counts[0].0), "{:?}", counts[0]);
        let two_deviations: usize = counts.iter().take(400).map(|c| c.0).sum();
        assert!((95_000..97_500).contains(&two_deviations), "{two_deviations}");
    }

    #[test]
    fn zones_keep_their_place_and_share() {
        let share = |access_percent, size| ZoneShare { access_percent, size };
        let law = Law::Zoned(vec![
            share(50, Extent::Percent(5)),
            share(30, Extent::Percent(15)),
            share(20, Extent::Percent(80)),
        ]);
        let got = drawn(&law, 1000, 20_000);
        let within = |from, to| got.iter().filter(|&&at| (from..to).contains(&at)).count();
        assert!((9_600..10_400).contains(&within(0, 50)), "{}", within(0, 50));
        assert!((5_600..6_400).contains(&within(50, 200)), "{}", within(50, 200));
        let absolute = Law::Zoned(vec![
            share(60, Extent::Bytes(4096 * 10)),
            share(40, Extent::Bytes(1 << 40)),
            share(0, Extent::Bytes(4096)),
        ]);
        let got = drawn(&absolute, 100, 10_000);
        let first = got.iter().filter(|&&at| at < 10).count();
        assert!((5_700..6_300).contains(&first), "{first}");
    }
}

//! The knee: up to which offered rate a percentile of the response time stays below a limit.
//!
//! What must always hold: the rate is offered by a clock (an open loop), and the time counts from
//! the intended start, so waiting for a disk that can't keep up is seen. A point passes only if
//! what was offered was also served. One number is said only of three searches or more, with
//! their spread.
//!
//! ```text
//! closed loop at the job's depth -> the most it can do
//! 10, 25, 50, 70, 80, 90 % of that, until one fails -> halved between the last that passes and
//! the first that fails, three times: to about 1 % of the most
//! ```

use isotherm_load::Report;
use isotherm_seam::Nanos;
use isotherm_workload::{Direction, Parsed};
use serde_json::{Value, json};

use super::flags;
use super::repeat::spread;
use super::writer::Beside;

/// Searches of which one number may be said.
const SEARCHES_MIN: u32 = 3;
/// Shares of the most that are tried first.
const GRID: [f64; 6] = [0.1, 0.25, 0.5, 0.7, 0.8, 0.9];
/// Halvings of the gap.
const HALVINGS: u32 = 3;
/// How long a point is measured if the job does not say.
const POINT: Nanos = Nanos::from_millis(5_000);
/// What must be served of what is offered.
const SERVED: f64 = 0.95;

/// What is searched.
#[derive(Clone, Copy, PartialEq, Debug)]
pub(super) struct Knee {
    percent: f64,
    limit: Nanos,
}

/// One offered rate.
#[derive(Clone, Debug)]
struct Point {
    search: u32,
    offered_iops: f64,
    served_iops: f64,
    lat_ns: u64,
    rt_ns: u64,
    passes: bool,
}

/// Where a search crossed the limit, in I/Os per second.
#[derive(Clone, Copy, Debug)]
struct Crossing {
    passing: f64,
    failing: f64,
    knee: f64,
}

impl Knee {
    /// `p99=50ms`.
    pub(super) fn read(text: &str) -> Option<Knee> {
        let (percent, limit) = text.strip_prefix('p')?.split_once('=')?;
        let percent = percent.parse::<f64>().ok().filter(|p| *p > 0.0 && *p < 100.0)?;
        Some(Knee { percent, limit: flags::time(limit)? })
    }

    /// Searches so many times. `run` runs jobs. Returns the report of the last point that passed,
    /// or of the closed loop if none did, and what is to be said.
    pub(super) fn search(
        &self,
        parsed: &Parsed,
        searches: u32,
        run: &mut dyn FnMut(&Parsed) -> anyhow::Result<Report>,
    ) -> anyhow::Result<(Report, Beside)> {
        let mut timed = parsed.clone();
        for job in &mut timed.jobs {
            job.runtime.get_or_insert(POINT);
            job.time_based = true;
            job.rate_iops = Default::default();
            // Searches that all draw the same addresses would agree too well.
            job.repeatable = false;
        }
        let mut closed = run(&timed)?;
        let lanes: f64 = closed.jobs.iter().map(|job| f64::from(job.lanes)).sum();
        let most = iops(&closed) / lanes.max(1.0);
        let mut points: Vec<Point> = Vec::new();
        let mut knees = Vec::new();
        let mut shown = None;
        'searches: for search in 0..searches {
            let (mut passing, mut failing) = (0.0, 1.0);
            let mut halvings = 0;
            let mut grid = GRID.iter();
            while halvings < HALVINGS {
                let share = match grid.next().filter(|_| failing == 1.0 && halvings == 0) {
                    Some(share) => *share,
                    None => {
                        halvings += 1;
                        (passing + failing) / 2.0
                    }
                };
                let rate = (most * share).round().max(1.0) as u64;
                for job in &mut timed.jobs {
                    let used = [job.pattern.reads, job.pattern.writes];
                    let shares = [job.read_percent, 100 - job.read_percent];
                    for (index, slot) in job.rate_iops.iter_mut().enumerate() {
                        *slot = match used {
                            [true, true] if index < 2 => {
                                Some((rate * u64::from(shares[index]) / 100).max(1))
                            }
                            _ => used.get(index).copied().unwrap_or(false).then_some(rate),
                        };
                    }
                }
                let report = run(&timed)?;
                let point = self.judge(search, rate as f64 * lanes, &report);
                let interrupted = report.interrupted || report.failures().next().is_some();
                if point.passes {
                    passing = share;
                    shown = Some(report);
                } else {
                    failing = share;
                    closed = if shown.is_none() { report } else { closed };
                }
                points.push(point);
                if interrupted {
                    break 'searches;
                }
            }
            knees.push(self.between(&points, search, most * lanes));
        }
        Ok((shown.unwrap_or(closed), self.tell(&points, &knees, most * lanes)))
    }

    /// Where one search crossed the limit: the last rate that passes, the first that fails, and
    /// between them, by the response times there, the knee.
    fn between(&self, points: &[Point], search: u32, most: f64) -> Crossing {
        let of =
            |passes: bool| points.iter().filter(move |p| p.search == search && p.passes == passes);
        let by_rate = |a: &&Point, b: &&Point| a.offered_iops.total_cmp(&b.offered_iops);
        let (below, above) = (of(true).max_by(by_rate), of(false).min_by(by_rate));
        let passing = below.map_or(0.0, |point| point.offered_iops);
        let failing = above.map_or(most, |point| point.offered_iops);
        let share = match (below, above) {
            (Some(below), Some(above)) if above.rt_ns > below.rt_ns => {
                let way = (above.rt_ns - below.rt_ns) as f64;
                (self.limit.0.saturating_sub(below.rt_ns) as f64 / way).clamp(0.0, 1.0)
            }
            _ => 0.0,
        };
        Crossing { passing, failing, knee: passing + (failing - passing).max(0.0) * share }
    }

    fn judge(&self, search: u32, offered_iops: f64, report: &Report) -> Point {
        let served_iops = iops(report);
        let tallies = || report.jobs.iter().flat_map(|job| &job.tallies);
        let worst =
            |of: &dyn Fn(&isotherm_load::Tally) -> u64| tallies().map(of).max().unwrap_or(0);
        let lat_ns = worst(&|tally| tally.latencies.histogram.percentile(self.percent));
        let rt_ns = worst(&|tally| {
            tally.open_loop.as_ref().map_or(0, |open| open.response.percentile(self.percent))
        });
        let passes = rt_ns <= self.limit.0 && served_iops >= SERVED * offered_iops;
        Point { search, offered_iops, served_iops, lat_ns, rt_ns, passes }
    }

    fn tell(&self, points: &[Point], knees: &[Crossing], most: f64) -> Beside {
        let mut sorted = points.to_vec();
        sorted.sort_by(|a, b| a.offered_iops.total_cmp(&b.offered_iops));
        let mut text = format!(
            "\nOffered rate against p{} of the response time (rt, from the intended start):\n  \
             search  offered IOPS  served IOPS     lat ms      rt ms\n",
            self.percent
        );
        for point in &sorted {
            text.push_str(&format!(
                "  {:>6}  {:>12.1} {:>12.1} {:>10.2} {:>10.2}  {}\n",
                point.search + 1,
                point.offered_iops,
                point.served_iops,
                point.lat_ns as f64 / 1e6,
                point.rt_ns as f64 / 1e6,
                if point.passes { "passes" } else { "fails" }
            ));
        }
        let values: Vec<f64> = knees.iter().map(|one| one.knee).collect();
        let (least, median, greatest) = spread(&values);
        let below = knees.iter().map(|one| one.passing).fold(f64::INFINITY, f64::min);
        let above = knees.iter().map(|one| one.failing).fold(0.0, f64::max);
        let limit = self.limit.as_millis_f64();
        let crossed = points.iter().any(|point| !point.passes);
        let enough = crossed && knees.len() >= SEARCHES_MIN as usize;
        let verdict = if knees.is_empty() {
            "no knee: the search was cut short".to_owned()
        } else if !crossed {
            format!(
                "no knee: every rate up to {greatest:.1} IOPS passes; a closed loop reached {most:.1}"
            )
        } else if enough {
            format!(
                "knee: {median:.1} IOPS keep p{} below {limit} ms ({} searches: {least:.1} to \
                 {greatest:.1}); a closed loop reached {most:.1}",
                self.percent,
                knees.len()
            )
        } else {
            format!(
                "knee: somewhere between {below:.1} and {above:.1} IOPS in {} search{}; one number \
                 takes --repeat={SEARCHES_MIN} or more",
                knees.len(),
                if knees.len() == 1 { "" } else { "es" }
            )
        };
        text.push_str(&format!("  {verdict}\n"));
        let curve: Vec<Value> = sorted
            .iter()
            .map(|point| {
                json!({
                    "search": point.search + 1,
                    "offered_iops": point.offered_iops,
                    "served_iops": point.served_iops,
                    "lat_ns": point.lat_ns,
                    "rt_ns": point.rt_ns,
                    "passes": point.passes,
                })
            })
            .collect();
        let value = json!({
            "percentile": self.percent,
            "limit_ns": self.limit.0,
            "closed_loop_iops": most,
            "curve": curve,
            "searches": knees
                .iter()
                .map(|one| json!({"passes": one.passing, "fails": one.failing, "knee": one.knee}))
                .collect::<Vec<_>>(),
            "knee_iops": enough.then_some(json!({"median": median, "min": least, "max": greatest})),
            "verdict": verdict,
        });
        Beside { keys: vec![("knee", value)], text }
    }
}

fn iops(report: &Report) -> f64 {
    report.jobs.iter().flat_map(|job| Direction::ALL.map(|d| job.iops(d))).sum()
}

#[cfg(test)]
mod tests {
    use super::*;
    use isotherm_load::{Setup, TimeSource};
    use isotherm_workload::Environment;
    use std::sync::atomic::AtomicBool;

    #[test]
    fn a_knee_is_a_percentile_and_a_limit() {
        let knee = Knee::read("p99=50ms").unwrap();
        assert_eq!((knee.percent, knee.limit), (99.0, Nanos::from_millis(50)));
        assert_eq!(Knee::read("p99.9=1").unwrap().percent, 99.9);
        for bad in ["99=50ms", "p99", "p100=1s", "p99=", "p0=1s"] {
            assert_eq!(Knee::read(bad), None, "{bad}");
        }
    }

    fn search(searches: u32) -> Beside {
        let text = "[a]\nfilename=hdd:exos-x24,null:24T\nrw=randread\niodepth=16\nruntime=40\n";
        let parsed = Parsed::from_text("t.fio", text, &Environment::empty()).unwrap();
        let mut seed = 0;
        let mut run = |parsed: &Parsed| {
            seed += 1;
            let setup = Setup { time: TimeSource::Virtual, seed, ..Setup::default() };
            Ok(isotherm_load::run(parsed, &setup, &AtomicBool::new(false), &mut |_| {})?)
        };
        Knee::read("p99=90ms").unwrap().search(&parsed, searches, &mut run).unwrap().1
    }

    #[test]
    fn one_search_says_no_one_number_and_three_do() {
        let one = search(1);
        let value = &one.keys[0].1;
        assert!(value["knee_iops"].is_null(), "{value}");
        assert!(one.text.contains("one number takes --repeat=3"), "{}", one.text);
        let three = search(3);
        let value = &three.keys[0].1;
        let knee = &value["knee_iops"];
        let (least, median) = (knee["min"].as_f64().unwrap(), knee["median"].as_f64().unwrap());
        // An Exos X24 does 160 to 180 at depth 16, and less if nobody is to wait long.
        assert!(least > 20.0 && median < 180.0, "{knee}");
        assert!(knee["min"].as_f64() < knee["max"].as_f64(), "searches differ: {knee}");
        let points = value["curve"].as_array().unwrap();
        assert!(points.iter().any(|p| p["passes"] == false) && points.len() >= 15);
        // What passes lies below what fails, but for luck near the knee.
        let rates = |passes: bool| {
            let of = points.iter().filter(move |p| p["passes"] == passes);
            of.map(|p| p["offered_iops"].as_f64().unwrap())
        };
        assert!(rates(true).fold(f64::INFINITY, f64::min) < rates(false).fold(0.0, f64::max));
    }
}

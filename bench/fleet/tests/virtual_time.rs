//! All of `isotherm fleet` in virtual time, by many seeds: the same code as in real time, but for clock,
//! sleep and what holds the bytes.

use std::sync::atomic::AtomicBool;

use isotherm_fleet::{Ail, LoadConfig, Outcome, Plan, PlanConfig, Progress, Rig, document, table};
use isotherm_heat::Verdict;
use isotherm_seam::Nanos;

/// As in the command: 12 disks, 40 reads a second, 25 seconds.
const RATE: f64 = 40.0;
const SECONDS: u64 = 25;

fn demo(seed: u64, healthy: bool) -> Outcome {
    demo_watched(seed, healthy, &AtomicBool::new(false), &mut |_| {})
}

fn demo_watched(
    seed: u64,
    healthy: bool,
    stop: &AtomicBool,
    look: &mut dyn FnMut(&Progress),
) -> Outcome {
    let config = PlanConfig { seed, disks: 12, healthy, reads_per_disk: RATE * SECONDS as f64 };
    let plan = Plan::draw(&config);
    let load = LoadConfig::new(RATE, Nanos::from_secs(SECONDS), seed);
    let rig = Rig::in_memory(&plan, &load).unwrap();
    let (place, began) = (rig.place().clone(), rig.wall());
    let measured = rig.run(&load, stop, look).unwrap();
    Outcome::new(plan, place, began, measured)
}

fn wrong(seeds: std::ops::Range<u64>, healthy: bool) -> Vec<u64> {
    let wrong: Vec<u64> = seeds
        .filter(|&seed| {
            let outcome = demo(seed, healthy);
            let right = outcome.grade.is_right();
            if !right {
                println!("seed {seed}: {}{}", table::grade(&outcome), table::summary(&outcome));
            }
            !right
        })
        .collect();
    println!("wrong seeds (isotherm fleet --clock virtual --seed N): {wrong:?}");
    wrong
}

#[test]
fn the_planted_disks_are_named_and_no_others() {
    assert_eq!(wrong(0..20, false), [0u64; 0]);
}

#[test]
fn healthy_fleets_are_left_alone() {
    assert_eq!(wrong(1_000..1_010, true), [0u64; 0]);
}

/// The figures of docs/FLEET.md: `cargo test --release -p isotherm-fleet --test virtual_time --
/// --ignored --nocapture`.
#[test]
#[ignore = "minutes of fleets; prints the figures of docs/FLEET.md"]
fn thousands_of_seeds() {
    let mut margins = Margins::default();
    let mut wrong = Vec::new();
    for (first, healthy) in [(10_000, false), (20_000, true)] {
        for seed in first..first + 3_000 {
            let outcome = demo(seed, healthy);
            margins.take(&outcome);
            if !outcome.grade.is_right() {
                println!("seed {seed}: {}{}", table::grade(&outcome), table::summary(&outcome));
                wrong.push(seed);
            }
        }
        println!("{margins:?}");
    }
    assert_eq!(wrong, [0u64; 0]);
}

/// How near the thresholds the evidence came.
#[derive(Debug)]
struct Margins {
    limp_ratio_min: f64,
    limp_z_min: f64,
    region_inside_min: u64,
    region_p_max: f64,
    well_ratio_max: f64,
    well_z_max: f64,
    well_slow_reads_max: u64,
    watched: u64,
}

impl Default for Margins {
    fn default() -> Margins {
        Margins {
            limp_ratio_min: f64::INFINITY,
            limp_z_min: f64::INFINITY,
            region_inside_min: u64::MAX,
            region_p_max: 0.0,
            well_ratio_max: 0.0,
            well_z_max: 0.0,
            well_slow_reads_max: 0,
            watched: 0,
        }
    }
}

impl Margins {
    fn take(&mut self, outcome: &Outcome) {
        for (plan, judgement) in outcome.plan.disks.iter().zip(&outcome.judgements) {
            let evidence = &judgement.evidence;
            let p50 = evidence.comparisons[0];
            match plan.ail {
                Some(Ail::Limp { .. }) => {
                    self.limp_ratio_min = self.limp_ratio_min.min(p50.ratio);
                    self.limp_z_min = self.limp_z_min.min(p50.z);
                }
                Some(Ail::BadRegion { .. }) => {
                    let region = evidence.region;
                    self.region_inside_min =
                        self.region_inside_min.min(region.map_or(0, |r| r.inside));
                    self.region_p_max = self.region_p_max.max(region.map_or(1.0, |r| r.p_value));
                }
                None => {
                    self.well_ratio_max = self.well_ratio_max.max(p50.ratio);
                    self.well_z_max = self.well_z_max.max(p50.z);
                    let slow = evidence.tail.map_or(0, |tail| tail.slow_reads);
                    self.well_slow_reads_max = self.well_slow_reads_max.max(slow);
                    self.watched += u64::from(judgement.verdict == Verdict::Watch);
                }
            }
        }
    }
}

#[test]
fn one_seed_gives_one_result() {
    let texts = [7, 7, 8].map(|seed| document(&demo(seed, false)).to_string());
    assert_eq!(texts[0], texts[1]);
    assert_ne!(texts[0], texts[2]);
}

#[test]
fn the_document_has_what_readers_of_fio_look_for() {
    let outcome = demo(3, false);
    let document = document(&outcome);
    let jobs = document["jobs"].as_array().unwrap();
    assert_eq!(jobs.len(), 12);
    for job in jobs {
        let read = &job["read"];
        let iops = read["iops"].as_f64().unwrap();
        assert!((10.0..50.0).contains(&iops), "{iops}");
        for family in ["clat_ns", "lat_ns", "rt_ns"] {
            let at = |p: &str| read[family]["percentile"][p].as_u64().unwrap();
            assert!(at("50.000000") <= at("99.000000") && at("99.000000") <= at("99.900000"));
            assert_eq!(read[family]["N"], read["total_ios"]);
        }
        for key in ["rw", "iodepth", "numjobs", "bs"] {
            assert!(job["job options"][key].is_string());
        }
    }
    // Latency from the intended start is never shorter than from submission.
    let limping = outcome
        .grade
        .found
        .iter()
        .find(|d| outcome.judgements[d.0 as usize].verdict == Verdict::Slow);
    let limping = &outcome.measured.disks[limping.unwrap().0 as usize];
    assert!(limping.response(0.5) > limping.service(0.5));
    assert_eq!(document["verdict"]["right"], true);
    assert_eq!(document["plan"]["planted"].as_array().unwrap().len(), 2);
}

#[test]
fn evidence_agrees_with_the_plan() {
    let outcome = demo(11, false);
    for (disk, ail) in outcome.plan.planted() {
        let evidence = &outcome.judgements[disk.0 as usize].evidence;
        match ail {
            Ail::Limp { factor } => {
                let said = evidence.comparisons[0].ratio;
                assert!((said / factor - 1.0).abs() < 0.08, "{said} for {factor}");
            }
            Ail::BadRegion { start, length } => {
                let region = evidence.region.unwrap();
                let blocks = outcome.measured.disks[disk.0 as usize].report.blocks as f64;
                let (first, last) = (region.first.0 as f64 / blocks, region.last.0 as f64 / blocks);
                assert!(first >= start - 1e-4 && last <= start + length + 1e-4, "{region}");
                assert!(last - first > 0.5 * length, "{region} of {length}");
                assert!(region.errors_inside > 0, "{region}");
            }
        }
    }
}

#[test]
fn a_run_that_is_stopped_reports_what_it_measured() {
    let stop = AtomicBool::new(false);
    let mut looks = 0;
    let outcome = demo_watched(5, true, &stop, &mut |progress| {
        looks += 1;
        assert_eq!(progress.lanes.len(), 12);
        if progress.elapsed >= Nanos::from_secs(6) {
            stop.store(true, std::sync::atomic::Ordering::Relaxed);
        }
    });
    assert!(outcome.measured.stopped && looks == 12, "{looks} looks at two a second");
    let span = outcome.measured.span.as_secs_f64();
    assert!((6.0..6.2).contains(&span), "{span}");
    assert!(outcome.measured.disks.iter().all(|d| (150..350).contains(&d.arrived.reads)));
    assert!(outcome.grade.wronged.is_empty(), "{}", table::summary(&outcome));
    let text = table::summary(&outcome);
    assert!(text.contains("p99 not compared"), "{text}");
}

#[test]
fn a_run_that_is_stopped_at_once_accuses_nobody() {
    let outcome = demo_watched(5, false, &AtomicBool::new(true), &mut |_| {});
    assert!(outcome.measured.stopped && outcome.measured.span == Nanos::ZERO);
    assert_eq!(outcome.grade.missed.len(), 2);
    assert!(outcome.judgements.iter().all(|j| !j.verdict.is_flagged()));
    let text = table::summary(&outcome);
    assert!(text.contains("0 reads where 50 are needed"), "{text}");
    assert_eq!(document(&outcome)["jobs"][0]["read"]["iops"], 0.0);
}

#[test]
fn a_slow_disk_does_not_slow_the_load() {
    // The limping disk can't keep up with 40 reads a second when it takes more than 25 ms a
    // read: its queue fills, what comes on top is refused and counted, its peers see nothing.
    let seeds = (0..100).map(|seed| {
        Plan::draw(&PlanConfig { seed, disks: 12, healthy: false, reads_per_disk: 1_000.0 })
    });
    let heavy = |plan: &Plan| {
        plan.planted().any(|(_, ail)| matches!(ail, Ail::Limp { factor } if factor > 3.0))
    };
    let plan = seeds.into_iter().find(heavy).expect("one in six limps so much");
    let outcome = demo(plan.config.seed, false);
    for (disk, judgement) in outcome.measured.disks.iter().zip(&outcome.judgements) {
        assert!((850..1_150).contains(&disk.arrived.offered));
        if judgement.verdict == Verdict::Slow {
            assert!(disk.arrived.refused + disk.arrived.left_over > 50, "{:?}", disk.arrived);
            assert!(disk.busy_share > 0.97);
        } else if judgement.verdict == Verdict::Ok {
            assert_eq!(disk.arrived.refused, 0);
        }
    }
}

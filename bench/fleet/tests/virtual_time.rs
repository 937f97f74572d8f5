//! The whole demo in virtual time, by many seeds: the same code as in real time, but for clock,
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
    println!("wrong seeds (isotherm demo --clock virtual --seed N): {wrong:?}");
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

#[test]
#[ignore = "minutes; the figures of docs/FLEET.md"]
fn hundreds_of_seeds() {
    assert_eq!(wrong(10_000..10_500, false), [0u64; 0]);
    assert_eq!(wrong(20_000..20_500, true), [0u64; 0]);
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

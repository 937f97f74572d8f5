//! What is measured of a disk is what the disk is.

use isotherm_block::hdd::{EXOS_X24, Profile};
use isotherm_reactor::{Reactor, ReactorConfig};
use isotherm_seam::{BufPool, Nanos, PoolLayout};
use isotherm_sim::{SimClock, SimPark};
use isotherm_store::sched::{
    CalibrateError, CalibrateOptions, DiskProfile, SEEK_POINTS, calibrate,
};

use crate::rig::device;
use crate::watch::Watched;

fn measure(spec: &str, seed: u64) -> (Result<DiskProfile, CalibrateError>, f64, usize) {
    let clock = SimClock::new();
    let park = SimPark::new(clock.clone());
    let mut reactor = Reactor::new(park, clock, ReactorConfig::default());
    let (device, log) = Watched::over(device(spec));
    let disk = reactor.attach(device);
    let layout = PoolLayout { huge: false, ..PoolLayout::uniform(1 << 20, 130) };
    let pool = BufPool::new(&layout).unwrap();
    let handle = reactor.handle().clone();
    let options = CalibrateOptions { seed, ..CalibrateOptions::default() };
    let (profile, seconds) = reactor.run(async move {
        let profile = calibrate(&handle, &disk, &pool, options).await;
        (profile, handle.now().0 as f64 / 1e9)
    });
    let given = log.take();
    let kinds = [isotherm_seam::OpKind::Read, isotherm_seam::OpKind::Flush];
    assert!(given.iter().all(|given| kinds.contains(&given.kind)), "nothing is written");
    (profile, seconds, given.len())
}

/// Overhead, seek and settling by the model's own formula.
fn access(model: &Profile, point: usize) -> f64 {
    let distance = (point as f64 / (SEEK_POINTS - 1) as f64).powi(2).max(1.0 / 4096.0);
    model.overhead_ms + model.settle_ms + model.seek.time(distance).as_millis_f64()
}

#[test]
fn a_mechanical_drive_is_seen_for_what_it_is() {
    for seed in 1..6 {
        let (profile, seconds, reads) = measure("hdd:exos-x24,null:24T", seed);
        let profile = profile.unwrap();
        assert!(profile.rotating);
        assert_eq!(profile.turn, EXOS_X24.turn());
        assert_eq!((profile.depth_latency, profile.depth_throughput), (1, 8));
        assert_eq!(profile.overhead, Nanos::from_micros(200));
        let rates = (profile.outer_kb_s, profile.inner_kb_s);
        assert!((275_000..290_000).contains(&rates.0), "{rates:?}");
        assert!((130_000..142_000).contains(&rates.1), "{rates:?}");
        for (point, time) in profile.access.iter().enumerate() {
            let (measured, real) = (time.as_millis_f64(), access(&EXOS_X24, point));
            let off = (measured - real).abs();
            assert!(off < 1.0, "seed {seed}, point {point}: {measured} for {real} ms");
        }
        let mean = profile.mean_service(4096).as_millis_f64();
        assert!((10.5..11.6).contains(&mean), "seed {seed}: {mean} ms");
        assert!(seconds < 7.0 && reads < 800, "{seconds} s, {reads} reads");
        assert_eq!(DiskProfile::from_bytes(&profile.to_bytes()), Ok(profile));
    }
}

#[test]
fn a_scaled_drive_and_a_retrying_one_as_well() {
    for spec in ["hdd:exos-x24,memory:128M", "hdd:exos-x24:retries=30,null:24T"] {
        let profile = measure(spec, 1).0.unwrap();
        assert!(profile.rotating, "{spec}");
        assert_eq!(profile.turn, EXOS_X24.turn(), "{spec}");
    }
}

#[test]
fn what_has_no_arm_is_not_rotating() {
    for spec in ["memory:64M", "null:1T", "delay:5ms,memory:64M", "delay:80us-2ms,memory:64M"] {
        let (profile, seconds, _) = measure(spec, 1);
        let profile = profile.unwrap();
        assert!(!profile.rotating, "{spec}: {profile:?}");
        assert!(profile.depth_latency >= 32, "{spec}");
        assert!(seconds < 3.0, "{spec}: {seconds} s");
    }
}

#[test]
fn what_can_not_be_measured_says_why() {
    let too_small = measure("memory:8M", 1).0;
    assert_eq!(too_small, Err(CalibrateError::TooSmall { bytes: 8 << 20 }));
    let unwritten = measure("hdd:hc670,zoned:zone=4M,memory:128M", 1).0;
    assert_eq!(unwritten, Err(CalibrateError::Unwritten));
    let sick = measure("fault:eio-read=1,memory:64M", 1).0;
    assert!(matches!(sick, Err(CalibrateError::Io(_))), "{sick:?}");
    let worn = measure("fault:eio-read=0.02,memory:64M", 1).0;
    assert!(worn.is_ok(), "{worn:?}");
}

#[test]
fn it_reads_whole_blocks_of_any_disk() {
    for spec in ["memory:64M?block=4K", "memory:64M?physical=64K"] {
        assert!(measure(spec, 1).0.is_ok(), "{spec}");
    }
}

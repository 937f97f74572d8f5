//! The runner over clients, nodes and stores on modelled disks, in virtual time.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use isotherm_client::{ClientConfig, ReadPolicy};
use isotherm_objects::{
    ArrivalLaw, BurstLaw, Busy, ClientObjects, Cluster, ClusterConfig, Header, Kind, Mix, Part,
    Pass, Plan, RunConfig, Runner, SizeLaw, document,
};
use isotherm_seam::{Nanos, Wall};

fn cluster(device: &str) -> Cluster {
    let config = ClusterConfig {
        seed: 3,
        nodes: 6,
        scheme: "4+2".parse().unwrap(),
        devices: vec![device.to_owned(); 6],
        client: ClientConfig::default(),
    };
    Cluster::new(&config).unwrap()
}

fn plan() -> Plan {
    Plan {
        objects: 40,
        sizes: "lognormal:200k:1.5:4k-6m".parse().unwrap(),
        zipf: Some(0.9),
        tenants: 4,
        arrivals: ArrivalLaw::Bursty { law: BurstLaw { on_mean_s: 1.0, duty: 0.3 }, common: 0.2 },
        rate_per_s: 40.0,
        mix: Mix { read: 80, write: 15, delete: 5 },
        hot: 0.1,
        warmup: Nanos::from_secs(1),
        runtime: Nanos::from_secs(10),
        ..Plan::new(9)
    }
}

fn run(plan: &Plan, device: &str) -> (Pass, Busy) {
    run_by(ReadPolicy::Direct, plan, device)
}

fn run_by(policy: ReadPolicy, plan: &Plan, device: &str) -> (Pass, Busy) {
    let mut cluster = cluster(device);
    let objects = ClientObjects::new(cluster.client().clone());
    let stop = Arc::new(AtomicBool::new(false));
    let runner = Runner::new(&cluster.handle(), objects, plan.clone(), RunConfig::default(), stop);
    let second = Nanos::from_secs(1);
    let filled = runner.clone();
    cluster.run(second, &mut |_| {}, async move { filled.fill().await.unwrap() });
    let mut busy = Busy::new(cluster.names().to_vec(), cluster.handle().now(), plan.whole());
    let pass = runner.clone();
    let pass = cluster.run(
        second,
        &mut |cluster| busy.look(cluster.handle().now(), &cluster.worked()),
        async move { pass.pass(&policy).await },
    );
    let left = cluster.run(second, &mut |_| {}, async move { runner.clear().await });
    assert_eq!(left, 0);
    (pass, busy)
}

#[test]
fn a_bursty_mix_on_mechanical_disks_reads_what_was_put() {
    let (pass, busy) = run(&plan(), "hdd:exos-x24,memory:512M");
    assert_eq!((pass.wrong, pass.unfinished, &pass.told), (0, 0, &Vec::new()));
    let reads = pass.kind(Kind::Read);
    assert!(reads.done() > 50 && reads.failures() == 0, "{} {:?}", reads.done(), reads.failed);
    // An arm moves: no read of a disk takes less than some hundred microseconds.
    assert!(
        reads.response.percentile_ns(50.0) > 1_000_000,
        "{}",
        reads.response.percentile_ns(50.0)
    );
    let shares: Vec<f64> = (0..6).map(|disk| busy.share(disk)).collect();
    assert!(shares.iter().all(|share| (0.01..1.0).contains(share)), "{shares:?}");
    assert!(busy.shares(0).len() >= 10);

    let header = Header {
        began: Wall(0),
        time: "then".into(),
        is_virtual: true,
        target: "a test".into(),
        messages: Vec::new(),
    };
    let done = reads.done();
    let document = document(&header, &plan(), &[(pass, Some(busy))]);
    assert_eq!(document["jobs"][0]["read"]["total_ios"], done);
    assert_eq!(document["jobs"][0]["read"]["rt_ns"]["N"], done);
    let line = &document["isotherm"]["timelines"][0]["read"];
    let sum = |key: &str| -> u64 {
        line[key].as_array().unwrap().iter().map(|n| n.as_u64().unwrap()).sum()
    };
    assert_eq!(sum("ios"), done);
    assert_eq!(document["isotherm"]["disk_busy"][0]["disks"].as_array().unwrap().len(), 6);
}

#[test]
fn the_same_seed_gives_the_same_times_to_the_last_bit() {
    let plan = Plan { runtime: Nanos::from_secs(3), ..plan() };
    let [a, b] = [(); 2].map(|()| run(&plan, "hdd:exos-x24,memory:512M"));
    for kind in Kind::ALL {
        let (a, b) = (a.0.kind(kind), b.0.kind(kind));
        assert_eq!((a.done(), a.response.max_ns()), (b.done(), b.response.max_ns()));
        assert_eq!(a.timeline, b.timeline);
    }
    assert_eq!(a.1, b.1);
}

#[test]
fn a_read_of_one_cell_moves_one_arm() {
    let plan = Plan {
        sizes: SizeLaw::Fixed(4 << 20),
        mix: Mix { read: 1, write: 0, delete: 0 },
        arrivals: ArrivalLaw::Constant,
        rate_per_s: 5.0,
        runtime: Nanos::from_secs(10),
        hot: 0.0,
        ..plan()
    };
    let whole = run(&plan, "hdd:exos-x24,memory:512M");
    let cell = run(&Plan { part: Part::Cell, ..plan }, "hdd:exos-x24,memory:512M");
    assert_eq!(whole.0.kind(Kind::Read).done(), cell.0.kind(Kind::Read).done());
    assert_eq!(cell.0.kind(Kind::Read).bytes * 4, whole.0.kind(Kind::Read).bytes);
    let work = |busy: &Busy| (0..6).map(|disk| busy.share(disk)).sum::<f64>();
    let times = work(&whole.1) / work(&cell.1);
    assert!((3.0..5.0).contains(&times), "four arms against one: {times}");
}

#[test]
fn every_policy_reads_what_was_put() {
    let plan = Plan { runtime: Nanos::from_secs(3), hot: 0.3, ..plan() };
    let mut scheduled = None;
    for policy in ReadPolicy::ALL {
        let (pass, _) = run_by(policy, &plan, "hdd:exos-x24,memory:512M");
        assert_eq!((pass.wrong, pass.unfinished), (0, 0), "{policy}: {:?}", pass.told);
        let reads = pass.kind(Kind::Read);
        assert!(reads.failures() == 0 && reads.done() > 20, "{policy}: {:?}", reads.failed);
        let sent = reads.done() + reads.unsent;
        assert_eq!(*scheduled.get_or_insert(sent), sent, "{policy}: the same schedule for all");
        assert_eq!(pass.policy, policy.name());
    }
}

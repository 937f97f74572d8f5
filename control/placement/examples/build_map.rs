//! How long it takes to build a map, and how even it comes out.
//!
//! `cargo run --release -p isotherm-placement --example build_map [SEED]`
//!
//! Times are those of the processor on this thread, best and median of five.

use std::fmt::Write;

use isotherm_placement::{
    ClusterMap, Disk, DiskNo, DiskState, GroupOptions, Load, Node, NodeNo, replica_positions,
};
use isotherm_seam::{Domain, Draws};

const EXAMPLE: Domain = Domain::new("example.build_map");

fn main() {
    let seed = std::env::args().nth(1).map_or(1, |text| text.parse().expect("a seed"));
    let mut out = format!("seed {seed}; 100 groups a disk; milliseconds, best and median of 5\n\n");
    out += "| disks | nodes | racks | codec | groups | build ms | write ms | MB | read ms | choose ns \
            | share of groups, 1 is fair | partners | in common |\n\
            |---|---|---|---|---|---|---|---|---|---|---|---|---|\n";
    for (nodes, each, racks, scheme) in [
        (6, 4, None, "4+2"),
        (3, 4, None, "4+2"),
        (20, 12, Some(10), "8+3"),
        (50, 20, Some(10), "4+2"),
        (50, 20, Some(10), "10+4"),
        (50, 20, Some(25), "17+3"),
        (500, 20, Some(50), "10+4"),
    ] {
        row(&mut out, seed, nodes, each, racks, scheme);
    }
    print!("{out}");
    let scheme = "10+4".parse().expect("a codec");
    let mut sum = 0u64;
    let count = 1_000_000u64;
    let (best, _) = timed(|| {
        for object in 0..u128::from(count) {
            sum += u64::from(replica_positions(object, scheme)[0]);
        }
    });
    assert!(sum > 0, "position 0 each time");
    println!("\nreplica_positions, 5 of 14: {:.1} ns", best * 1e6 / count as f64);
}

fn row(out: &mut String, seed: u64, nodes: u32, each: u32, racks: Option<u32>, scheme: &str) {
    let (all_nodes, disks) = fleet(nodes, each, racks);
    let mut map = None;
    let build = timed(|| {
        let mut draws = Draws::new(seed, EXAMPLE, 0);
        let scheme = scheme.parse().expect("a codec");
        let options = GroupOptions::default();
        let built = ClusterMap::build(
            [1; 16],
            scheme,
            all_nodes.clone(),
            disks.clone(),
            &options,
            &mut draws,
        );
        map = Some(built.expect("enough domains"));
    });
    let map = map.expect("built");
    let mut bytes = Vec::new();
    let write = timed(|| bytes = map.to_bytes().expect("a valid map"));
    let read = timed(|| assert_eq!(ClusterMap::from_bytes(&bytes).expect("as written"), map));
    let mut draws = Draws::new(seed, EXAMPLE, 1);
    let loads: Vec<Load> =
        disks.iter().map(|_| Load { bytes: draws.next_f64(), heat: draws.next_f64() }).collect();
    let (choices, mut sum) = (100_000, 0u64);
    let choose = timed(|| {
        for _ in 0..choices {
            let load = |disk: DiskNo| loads[disk.0 as usize];
            let group = map.choose_group(&mut draws, &|_| false, &load, 1).expect("all are fine");
            sum += u64::from(group.0);
        }
    });
    assert!(sum > 0, "group 0 each time");
    let balance = map.balance();
    let (share, partners, common) = (balance.share, balance.partners, balance.common);
    let _ = writeln!(
        out,
        "| {} | {nodes} | {} | {scheme} | {} | {:.1}, {:.1} | {:.1}, {:.1} | {:.2} | {:.1}, {:.1} \
         | {:.0} | {:.3} to {:.3} | {} to {} | {} to {}, mean {:.1} |",
        disks.len(),
        racks.map_or("-".into(), |racks| racks.to_string()),
        map.groups.len(),
        build.0,
        build.1,
        write.0,
        write.1,
        bytes.len() as f64 / 1e6,
        read.0,
        read.1,
        choose.0 * 1e6 / f64::from(choices),
        share.min,
        share.max,
        partners.min,
        partners.max,
        common.min,
        common.max,
        common.mean,
    );
}

/// Milliseconds of the processor: best and median of five. The kernel counts in steps of some
/// milliseconds, so each of the five is as many runs as take 100.
fn timed(mut run: impl FnMut()) -> (f64, f64) {
    let mut all: Vec<f64> = (0..5)
        .map(|_| {
            let (before, mut runs) = (cpu_ns(), 0);
            loop {
                run();
                runs += 1;
                let ns = cpu_ns() - before;
                if ns >= 100_000_000 {
                    return ns as f64 / 1e6 / f64::from(runs);
                }
            }
        })
        .collect();
    all.sort_by(f64::total_cmp);
    (all[0], all[2])
}

/// CPU time of this thread, in nanoseconds.
fn cpu_ns() -> u64 {
    let stat = std::fs::read_to_string("/proc/thread-self/schedstat").expect("Linux");
    stat.split(' ').next().and_then(|ns| ns.parse().ok()).expect("nanoseconds on the CPU")
}

fn fleet(nodes: u32, each: u32, racks: Option<u32>) -> (Vec<Node>, Vec<Disk>) {
    let node = |no: u32| Node {
        no: NodeNo(no),
        name: format!("node-{no}"),
        rack: racks.map(|racks| format!("rack-{}", no % racks)),
        cores: (7000..7004)
            .map(|port| format!("10.0.{}.{}:{port}", no / 256, no % 256).parse().expect("fits"))
            .collect(),
        admin: None,
    };
    let disk = |no: u32| {
        let mut uuid = [0xd1; 16];
        uuid[..4].copy_from_slice(&no.to_le_bytes());
        Disk {
            no: DiskNo(no),
            uuid,
            node: NodeNo(no / each),
            core: (no % 4) as u16,
            name: format!("/dev/disk/by-id/wwn-{no}"),
            capacity_bytes: 24_000_000_000_000,
            state: DiskState::In,
        }
    };
    ((0..nodes).map(node).collect(), (0..nodes * each).map(disk).collect())
}

//! What a demo is made of, drawn from its seed before anything runs.
//!
//! What must always hold: the draw is a function of the seed and the flags; the node that will be
//! killed is not the one with the limping disk, so that this one is there to the end.

use isotherm_erasure::Scheme;
use isotherm_objects::{ArrivalLaw, Mix, Part, Plan, SizeLaw};
use isotherm_seam::{Domain, Draws, Nanos};

use crate::cluster::Emulated;

const DRAWN: Domain = Domain::new("cli.demo.drawn");

pub(super) const NODES: u32 = 6;
/// Disks of each node.
pub(super) const DISKS: u32 = 4;
const MODEL: &str = "exos-x24";
/// As small as a drive can be made that behaves like a whole one: what is put then lies all over it,
/// and every read is a movement of the arm across the disk.
const DISK_BYTES: u64 = 64 << 20;
/// Six tenths of what the disks hold, parity and all.
pub(super) const OBJECTS: u64 = 2000;
/// A stripe of four cells of 64 KiB.
pub(super) const OBJECT_BYTES: u64 = 256 << 10;
/// The limping disk takes so many times as long.
const LIMP: (f64, f64) = (2.0, 2.4);
/// This share of the reads goes to one object.
const HOT: (f64, f64) = (0.02, 0.04);

/// What the seed and the flags say.
#[derive(Clone, Debug)]
pub(super) struct Drawn {
    pub(super) seed: u64,
    /// The disk that limps, from 0, and how much; none in a healthy cluster.
    pub(super) limp: Option<(u32, f64)>,
    /// The node that is killed.
    pub(super) victim: u32,
    /// The load.
    pub(super) load: Plan,
}

impl Drawn {
    pub(super) fn new(
        seed: u64,
        objects: u64,
        rate_per_s: f64,
        runtime: Nanos,
        is_healthy: bool,
    ) -> Drawn {
        let mut draws = Draws::new(seed, DRAWN, 0);
        let between = |(low, high): (f64, f64), draws: &mut Draws| {
            // Two digits are enough to be told, and to be typed.
            ((low + (high - low) * draws.next_f64()) * 100.0).round() / 100.0
        };
        let disk = draws.below(u64::from(NODES * DISKS)) as u32;
        let factor = between(LIMP, &mut draws);
        let hot = between(HOT, &mut draws);
        let victim = (disk % NODES + 1 + draws.below(u64::from(NODES) - 1) as u32) % NODES;
        let load = Plan {
            seed,
            objects,
            sizes: SizeLaw::Fixed(OBJECT_BYTES),
            zipf: None,
            tenants: 1,
            tenant_zipf: 0.0,
            arrivals: ArrivalLaw::Poisson,
            rate_per_s,
            mix: Mix { read: 100, write: 0, delete: 0 },
            part: Part::Whole,
            hot,
            warmup: Nanos::from_secs(1),
            runtime,
        };
        Drawn { seed, limp: (!is_healthy).then_some((disk, factor)), victim, load }
    }

    pub(super) fn shape(&self) -> Emulated {
        Emulated {
            nodes: NODES,
            disks: DISKS,
            size_bytes: DISK_BYTES,
            hdd: MODEL.to_owned(),
            limp: self.limp,
            scheme: Scheme::ReedSolomon { data: 4, parity: 2 },
        }
    }

    /// The limping disk as the cluster calls it.
    pub(super) fn limping_name(&self) -> Option<String> {
        self.limp.map(|(disk, _)| format!("node{} disk{}", disk % NODES, disk / NODES))
    }

    pub(super) fn victim_name(&self) -> String {
        format!("node{}", self.victim)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn drawn(seed: u64) -> Drawn {
        Drawn::new(seed, OBJECTS, 100.0, Nanos::from_secs(10), false)
    }

    #[test]
    fn every_seed_draws_within_its_bounds_and_spares_the_limping_disk() {
        let (mut disks, mut victims) = ([0; 24], [0; 6]);
        for seed in 0..2_000 {
            let drawn = drawn(seed);
            let (disk, factor) = drawn.limp.unwrap();
            disks[disk as usize] += 1;
            victims[drawn.victim as usize] += 1;
            assert_ne!(disk % NODES, drawn.victim, "seed {seed}");
            assert!((LIMP.0..=LIMP.1).contains(&factor), "seed {seed}: {factor}");
            assert!((HOT.0..=HOT.1).contains(&drawn.load.hot), "seed {seed}: {}", drawn.load.hot);
            assert_eq!(drawn.load.check(), Ok(()));
        }
        assert!(disks.iter().all(|count| *count > 40), "{disks:?}");
        assert!(victims.iter().all(|count| *count > 250), "{victims:?}");
    }

    #[test]
    fn a_healthy_cluster_has_the_same_load() {
        let (sick, healthy) = (drawn(7), Drawn::new(7, OBJECTS, 100.0, Nanos::from_secs(10), true));
        assert_eq!((healthy.limp, healthy.limping_name()), (None, None));
        assert_eq!((healthy.load, healthy.victim), (sick.load, sick.victim));
    }
}

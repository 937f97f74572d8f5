//! The conformance test of all block devices, on simulated disks and on recorders over them.

use isotherm_block::conformance::{self, Crash, Expect};
use isotherm_block::hdd::{Hdd, HddOptions};
use isotherm_seam::{
    BlockDevice, BlockSize, Completion, DeviceInfo, DiskId, Due, Geometry, Mono, Request,
    ZoneGeometry,
};
use isotherm_sim::{
    CrashStyle, DiskControl, FaultPlan, FaultRates, Image, Latency, Recorder, SimClock, SimDisk,
    SimDiskConfig, SimPark,
};

const SEEDS: u64 = 8;

fn config(seed: u64) -> SimDiskConfig {
    SimDiskConfig::new(seed, DiskId(seed as u32 % 3), 4096)
}

fn with_512_byte_blocks(seed: u64) -> SimDiskConfig {
    let mut config = config(seed);
    config.geometry.logical = BlockSize::B512;
    config.geometry.blocks *= 8;
    config
}

fn zoned(seed: u64) -> SimDiskConfig {
    let mut config = config(seed);
    config.geometry.discard = false;
    config.geometry.zones = Some(ZoneGeometry {
        zone_blocks: 64,
        capacity_blocks: if seed.is_multiple_of(2) { 64 } else { 61 },
        zones: 64,
        conventional: if seed.is_multiple_of(2) { 2 } else { 0 },
        open_max: 4,
    });
    config
}

fn check(config: SimDiskConfig, expect: Expect) {
    let seed = config.seed;
    let mut disk = SimDisk::new(config);
    let mut park = SimPark::new(SimClock::new());
    conformance::run_with(&mut disk, &mut park, &conformance::pool(), seed, expect);
}

#[test]
fn a_disk_keeps_the_contract() {
    for seed in 0..SEEDS {
        check(config(seed), Expect::default());
        check(with_512_byte_blocks(seed), Expect::default());
        check(zoned(seed), Expect::default());
    }
}

#[test]
fn a_disk_without_latency_or_cache_keeps_the_contract() {
    for seed in 0..SEEDS {
        let mut config = config(seed);
        config.latency = Latency::NONE;
        config.geometry.volatile_cache = false;
        check(config, Expect::default());
    }
}

#[test]
fn a_disk_that_fails_keeps_what_is_left_of_the_contract() {
    let rates = FaultRates {
        read_error: 0.02,
        write_error: 0.02,
        flush_error: 0.02,
        time_out: 0.01,
        latent: 0.02,
        ..FaultRates::default()
    };
    for seed in 0..SEEDS {
        let mut config = with_512_byte_blocks(seed);
        config.faults = FaultPlan { rates, ..FaultPlan::default() };
        check(config, Expect { fails: true, ..Expect::default() });
    }
}

#[test]
fn a_recorder_changes_nothing() {
    for seed in 0..SEEDS {
        let config = if seed.is_multiple_of(2) { config(seed) } else { zoned(seed) };
        let geometry = config.geometry.clone();
        let base = Image::new(geometry.physical, config.blank, geometry.zones);
        let (mut recorder, _) = Recorder::new(Box::new(SimDisk::new(config)), base, 1 << 20);
        let mut park = SimPark::new(SimClock::new());
        conformance::run(&mut recorder, &mut park, &conformance::pool(), seed);
    }
}

/// A disk, perhaps under a layer, in a node that loses power and starts again.
struct Node {
    device: Box<dyn BlockDevice>,
    layer: fn(SimDisk) -> Box<dyn BlockDevice>,
    control: DiskControl,
    styles: Vec<CrashStyle>,
}

impl Node {
    fn new(disk: SimDisk, layer: fn(SimDisk) -> Box<dyn BlockDevice>) -> Node {
        let control = disk.control();
        Node { device: layer(disk), layer, control, styles: Vec::new() }
    }

    fn check(mut self, seed: u64) -> Vec<CrashStyle> {
        let mut park = SimPark::new(SimClock::new());
        conformance::run_crash(&mut self, &mut park, &conformance::pool(), seed);
        self.styles
    }
}

impl Crash for Node {
    fn crash(&mut self, seed: u64) {
        let style = CrashStyle::drawn(seed, 0);
        self.control.crash(style);
        self.styles.push(style);
        self.device = (self.layer)(self.control.open());
    }
}

impl BlockDevice for Node {
    fn geometry(&self) -> &Geometry {
        self.device.geometry()
    }
    fn info(&self) -> DeviceInfo {
        self.device.info()
    }
    fn submit(&mut self, now: Mono, request: Request) -> Result<(), Request> {
        self.device.submit(now, request)
    }
    fn poll(&mut self, now: Mono, done: &mut Vec<Completion>) -> usize {
        self.device.poll(now, done)
    }
    fn due(&self) -> Due {
        self.device.due()
    }
    fn inflight(&self) -> usize {
        self.device.inflight()
    }
}

#[test]
fn a_power_cut_leaves_what_the_contract_allows() {
    let mut styles = Vec::new();
    for seed in 0..4 * SEEDS {
        let mut config =
            if seed.is_multiple_of(2) { config(seed) } else { with_512_byte_blocks(seed) };
        config.geometry.volatile_cache = !seed.is_multiple_of(5);
        config.cache_versions_max = if seed.is_multiple_of(3) { 20 } else { 1 << 16 };
        let node = Node::new(SimDisk::new(config), |disk| Box::new(disk));
        styles.append(&mut node.check(seed));
    }
    for style in CrashStyle::ALL {
        assert!(styles.contains(&style), "{style:?} never came");
    }
}

/// A mechanical disk whose medium is simulated: both in virtual time.
fn mechanical(disk: SimDisk) -> Box<dyn BlockDevice> {
    Box::new(Hdd::new(Box::new(disk), &HddOptions::default(), 1).expect("large enough"))
}

#[test]
fn a_mechanical_disk_over_a_simulated_one_keeps_the_contract() {
    for seed in 0..2 {
        let medium = SimDiskConfig {
            latency: Latency::NONE,
            ..SimDiskConfig::new(seed, DiskId(0), (128 << 20) / 4096)
        };
        let mut device = mechanical(SimDisk::new(medium.clone()));
        let mut park = SimPark::new(SimClock::new());
        conformance::run(&mut *device, &mut park, &conformance::pool(), seed);
        Node::new(SimDisk::new(medium), mechanical).check(seed);
    }
}

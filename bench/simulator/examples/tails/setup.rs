//! What is asked for on the command line.

use isotherm_client::ReadPolicy;
use isotherm_seam::Nanos;

/// Part of a disk that holds cells: seeks go nearly over the whole stroke.
const FILLED: f64 = 0.6;
/// The same where appends fill it up further.
const FILLED_BEFORE_APPENDS: f64 = 0.35;
/// The smallest disk that is still like a whole one, with room for its extents.
const DISK_BYTES: u64 = 64 << 20;
/// Objects of a tenant, about.
const PER_TENANT: u64 = 20;
/// Records from this length on are in long extents.
const LONG_RECORD: u64 = 200 << 10;
/// Bytes of an extent for long records,
const LONG_EXTENT: u64 = 4 << 20;
/// and for shorter ones.
const SHORT_EXTENT: u64 = 512 << 10;
/// Bytes of an appended shard.
pub(crate) const APPEND_BYTES: u64 = 1 << 20;
/// What one takes of a disk: three fit into an extent of 4 MiB with what they say of themselves.
const APPEND_ROOM_BYTES: u64 = LONG_EXTENT / 3;
/// Part of a disk that is filled in the end where there are appends: beyond that it is cleaned all
/// the time, and then full.
const FILLED_AFTER_APPENDS: f64 = 0.75;

/// A run as it is asked for.
#[derive(Clone, Debug)]
pub(crate) struct Setup {
    pub(crate) nodes: u32,
    pub(crate) disks: u32,
    pub(crate) codec: String,
    pub(crate) cell: u64,
    pub(crate) copies: bool,
    /// Ranges of so many bytes within a cell, not whole objects.
    pub(crate) range: Option<u64>,
    pub(crate) loads: Vec<f64>,
    pub(crate) rates: Vec<f64>,
    pub(crate) clients: u32,
    pub(crate) seconds: u64,
    pub(crate) warmup: u64,
    pub(crate) seeds: Vec<u64>,
    pub(crate) seed: u64,
    pub(crate) slow: f64,
    pub(crate) dying: bool,
    pub(crate) appends: f64,
    pub(crate) delay: Nanos,
    pub(crate) hedges: u32,
    pub(crate) depth: Option<u16>,
    pub(crate) claim_ahead: Option<Nanos>,
    pub(crate) bounds: u64,
    pub(crate) policies: Vec<ReadPolicy>,
}

impl Setup {
    pub(crate) fn from_args() -> Setup {
        let mut setup = Setup {
            nodes: 20,
            disks: 5,
            codec: "10+4".to_owned(),
            cell: 65_536,
            copies: false,
            range: None,
            loads: vec![60.0],
            rates: Vec::new(),
            clients: 20,
            seconds: 120,
            warmup: 30,
            seeds: vec![1],
            seed: 1,
            slow: 1.0,
            dying: false,
            appends: 0.0,
            delay: Nanos::from_micros(100),
            hedges: 30,
            depth: None,
            claim_ahead: None,
            bounds: 200_000,
            policies: vec![ReadPolicy::Late],
        };
        let mut args = std::env::args().skip(1);
        while let Some(flag) = args.next() {
            match flag.as_str() {
                "--copies" => {
                    setup.copies = true;
                    continue;
                }
                "--dying" => {
                    setup.dying = true;
                    continue;
                }
                _ => {}
            }
            let value = args.next().unwrap_or_else(|| panic!("{flag} needs a value"));
            let number = || value.parse::<f64>().unwrap_or_else(|_| panic!("{flag} {value}"));
            let numbers = || -> Vec<f64> {
                let parts = value.split(',');
                parts.map(|n| n.parse().unwrap_or_else(|_| panic!("{flag} {value}"))).collect()
            };
            match flag.as_str() {
                "--nodes" => setup.nodes = number() as u32,
                "--disks" => setup.disks = number() as u32,
                "--codec" => setup.codec = value,
                "--cell" => setup.cell = number() as u64,
                "--range" => setup.range = Some(number() as u64),
                "--load" => setup.loads = numbers(),
                "--rate" => setup.rates = numbers(),
                "--clients" => setup.clients = number() as u32,
                "--seconds" => setup.seconds = number() as u64,
                "--warmup" => setup.warmup = number() as u64,
                "--seed" => setup.seeds = numbers().into_iter().map(|seed| seed as u64).collect(),
                "--slow" => setup.slow = number(),
                "--appends" => setup.appends = number(),
                "--delay-us" => setup.delay = Nanos::from_micros(number() as u64),
                "--hedges" => setup.hedges = number() as u32,
                "--depth" => setup.depth = Some(number() as u16),
                "--claim-ahead-us" => {
                    setup.claim_ahead = Some(Nanos::from_micros(number() as u64));
                }
                "--bounds" => setup.bounds = number() as u64,
                "--policy" => {
                    setup.policies = value
                        .split(',')
                        .map(|policy| policy.parse().unwrap_or_else(|error| panic!("{error}")))
                        .collect();
                }
                _ => panic!("unknown flag {flag}"),
            }
        }
        setup.seed = setup.seeds[0];
        setup
    }

    fn k(&self) -> u64 {
        self.codec.split('+').next().unwrap().parse().unwrap()
    }

    fn m(&self) -> u64 {
        self.codec.split('+').nth(1).unwrap().parse().unwrap()
    }

    pub(crate) fn all_disks(&self) -> u64 {
        u64::from(self.nodes) * u64::from(self.disks)
    }

    /// Cells that an object is cut into.
    pub(crate) fn data_cells(&self) -> u64 {
        if self.copies { 1 } else { self.k() }
    }

    /// Cells that a read needs.
    pub(crate) fn needed(&self) -> u64 {
        if self.range.is_some() { 1 } else { self.data_cells() }
    }

    /// Disks that have a cell of an object.
    pub(crate) fn holders(&self) -> u64 {
        if self.copies { self.m() + 1 } else { self.k() + self.m() }
    }

    pub(crate) fn object_bytes(&self) -> u64 {
        self.cell * self.data_cells()
    }

    /// What is written of a cell.
    fn record(&self, cell: u64) -> u64 {
        cell.next_multiple_of(4096) + 4096 * cell.div_ceil(256 << 10)
    }

    /// What a cell takes of a disk: a few long ones fill an extent, and the rest of it is lost.
    fn room(&self, cell: u64) -> u64 {
        match self.record(cell) {
            bytes if bytes <= LONG_RECORD => bytes,
            bytes => LONG_EXTENT / (LONG_EXTENT / bytes),
        }
    }

    /// Blocks of 4 KiB of an extent.
    pub(crate) fn extent_blocks(&self) -> u32 {
        let is_long = self.record(self.cell) > LONG_RECORD || self.appends > 0.0;
        let bytes = if is_long { LONG_EXTENT } else { SHORT_EXTENT };
        (bytes / 4096) as u32
    }

    fn appended_bytes(&self) -> u64 {
        let seconds = (self.seconds + self.warmup) as f64;
        (self.appends * seconds) as u64 * APPEND_ROOM_BYTES
    }

    pub(crate) fn disk_bytes(&self) -> u64 {
        match self.appended_bytes() {
            0 => DISK_BYTES * (self.cell >> 18).max(1),
            bytes => {
                let share = FILLED_AFTER_APPENDS - FILLED_BEFORE_APPENDS;
                DISK_BYTES + ((bytes as f64 / share) as u64 >> 22 << 22)
            }
        }
    }

    pub(crate) fn objects(&self) -> u64 {
        let bytes = DISK_BYTES * (self.cell >> 18).max(1);
        let per_disk = (bytes as f64 * FILLED) as u64 / self.room(self.cell);
        per_disk * self.all_disks() / self.holders()
    }

    /// Objects of appended shards that lie between those that are read, so that these are spread
    /// over the disk.
    pub(crate) fn ballast(&self) -> u64 {
        if self.appends == 0.0 {
            return 0;
        }
        let read = self.objects() * self.holders() / self.all_disks() * self.room(self.cell);
        let before = (self.disk_bytes() as f64 * FILLED_BEFORE_APPENDS) as u64;
        before.saturating_sub(read) / APPEND_ROOM_BYTES * self.all_disks() / self.holders()
    }

    /// What the cells that are read take of a disk, if nothing else is on it.
    pub(crate) fn filled_bytes(&self) -> u64 {
        (self.disk_bytes() as f64 * FILLED) as u64
    }

    pub(crate) fn record_bytes(&self) -> u64 {
        self.record(self.cell)
    }

    /// Bytes that a disk reads for a cell.
    pub(crate) fn read_bytes(&self) -> u64 {
        self.range.map_or(self.record_bytes(), |range| range.next_multiple_of(4096))
    }

    pub(crate) fn tenants(&self) -> u32 {
        (self.objects() / PER_TENANT).max(1) as u32
    }
}

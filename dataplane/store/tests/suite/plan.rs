//! What a sequence does: drawn from a seed, then plain data that can be printed and cut down.
//!
//! What must always hold: each step carries its own number, and whatever it draws while it runs
//! is keyed by that number; so taking a step out leaves the others as they were.

use isotherm_seam::{BlockSize, DiskId, Domain, Draws, ZoneGeometry};
use isotherm_sim::{CrashStyle, Latency, SimDiskConfig};
use isotherm_store::{BLOCK_BYTES, Key};

/// Numbers of keys are below this.
pub const KEYS_MAX: u8 = 48;

const SETUP: Domain = Domain::new("store.suite.setup");
const STEPS: Domain = Domain::new("store.suite.steps");

/// A sequence.
#[derive(Clone, Debug)]
pub struct Plan {
    pub seed: u64,
    pub setup: Setup,
    pub steps: Vec<Step>,
}

/// The disk and the store, and which kinds of trouble there are.
#[derive(Clone, Debug)]
pub struct Setup {
    pub zoned: bool,
    /// Zones hold less than their size.
    pub short_zones: bool,
    /// Blocks of 512 bytes, so that a check block can be torn.
    pub small_sectors: bool,
    pub volatile_cache: bool,
    pub cache_versions_max: usize,
    pub unreadable_p: f64,
    pub extents: u32,
    pub extent_blocks: u32,
    pub depth_max: u32,
    pub auto_reclaim: bool,
    /// Spill after so many changes.
    pub checkpoint_entries: u32,
    pub keys: u8,
    pub payload_max: u32,
    /// Puts are long and of many keys, so that the disk fills.
    pub fills: bool,
    pub trouble: Trouble,
}

/// Kinds of trouble: each is there in some sequences only, so that none hides another.
#[derive(Clone, Copy, Debug, Default)]
pub struct Trouble {
    pub crashes: bool,
    pub scans: bool,
    pub errors: bool,
    pub failing_writes: bool,
    pub rot: bool,
    pub strays: bool,
    pub time_outs: bool,
    pub lies: bool,
}

impl Trouble {
    /// Whether anything is done to the disk but for cutting its power.
    pub fn harms(&self) -> bool {
        self.fails() || self.rot || self.strays || self.lies
    }

    /// Whether requests fail.
    fn fails(&self) -> bool {
        self.errors || self.failing_writes || self.time_outs
    }

    /// Whether it matters what was written where.
    pub fn needs_log(&self) -> bool {
        self.rot || self.strays || self.lies
    }
}

/// A step and the number by which it draws.
#[derive(Clone, Debug)]
pub struct Step {
    pub number: u64,
    pub what: What,
}

#[derive(Clone, Debug)]
pub enum What {
    /// These at once; perhaps the power fails meanwhile.
    Run { ops: Vec<Op>, cut: Option<Cut> },
    /// The store is closed and opened again.
    Restart { start: Start },
    /// Something happens to the disk.
    Harm(Harm),
}

/// One operation of the store.
#[derive(Clone, Debug)]
pub enum Op {
    Put { key: u8, version: u32, len: u32, expires: bool },
    Delete { key: u8, hold: bool },
    Release { key: u8 },
    Get { key: u8 },
    Range { key: u8, at: u32, len: u32 },
    Stat { key: u8 },
    List { from: u8, to: u8, limit: u8 },
    Flush,
    Checkpoint,
    Reclaim,
    Scrub,
    Status,
}

/// A power cut after so many completions of the disk, and the start that follows.
#[derive(Clone, Debug)]
pub struct Cut {
    pub after: u32,
    pub style: CrashStyle,
    pub start: Start,
}

/// How the store is opened; the power may fail again after so many completions.
#[derive(Clone, Debug, Default)]
pub struct Start {
    pub again: Vec<(u32, CrashStyle)>,
    pub full_scan: bool,
}

#[derive(Clone, Debug)]
pub enum Harm {
    /// Of a hundred reads, so many fail, until told otherwise.
    ReadErrors(u8),
    WriteErrors(u8),
    FlushErrors(u8),
    /// Of a hundred reads and writes, so many are answered as timed out.
    TimeOuts(u8),
    /// The next flush is answered well and makes nothing durable; the one behind it is honest.
    Lie,
    /// No more errors.
    Well,
    /// A bit flips, or a sector becomes unreadable, where the newest record of a key lies: the
    /// check block or, by chance, a block behind it.
    Record {
        key: u8,
        unreadable: bool,
    },
    /// The same, in any block of the log but the newest record's.
    Log {
        unreadable: bool,
    },
    /// The same, in what the store keeps of itself: checkpoints and index runs.
    Meta {
        unreadable: bool,
    },
    /// The next write is lost.
    Lose,
    /// The next write goes to where the newest record of a key lies.
    Misdirect {
        key: u8,
    },
}

/// The key of a number: a few groups of a few objects, neighbours in order.
pub fn key(number: u8) -> Key {
    Key {
        group: u32::from(number) / 6,
        object: 0x1234_5678_0000_0000 << 32 | u128::from(number / 2 % 3),
        stripe: u32::from(number) % 2,
        position: 3,
    }
}

/// The number of a key.
pub fn key_number(key: &Key) -> u8 {
    (key.group * 6 + (key.object as u32 & 3) * 2 + key.stripe) as u8
}

/// What a put stores: a function of key and number, no two alike from 8 bytes on.
pub fn content(key: u8, version: u32, len: u32) -> std::rc::Rc<[u8]> {
    let base = (u64::from(version) << 8 | u64::from(key)).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let mut shared: std::rc::Rc<[u8]> = std::iter::repeat_n(0, len as usize).collect();
    let bytes = std::rc::Rc::get_mut(&mut shared).expect("nobody else has it yet");
    let mut words = bytes.chunks_exact_mut(8);
    let mut word = base ^ 0x1234_5678;
    for chunk in &mut words {
        word = word.wrapping_add(0xd6e8_feb8_6659_fd93) ^ base.rotate_left(17);
        chunk.copy_from_slice(&word.to_le_bytes());
    }
    let rest = words.into_remainder();
    let count = rest.len();
    rest.copy_from_slice(&base.to_le_bytes()[..count]);
    shared
}

impl Setup {
    fn draw(seed: u64) -> Setup {
        let mut draws = Draws::new(seed, SETUP, 0);
        let zoned = draws.happens(0.4);
        // Now and then extents that hold shards of several segments. A conventional disk is cut
        // in powers of two.
        let extent_blocks = match (draws.below(12), zoned) {
            (0, false) => 256,
            (0, true) => 300,
            (1, true) => 160,
            (1..5, false) => 16,
            (2..5, true) => 16 + draws.below(8) as u32,
            (5..9, _) => 32,
            (_, false) => 64,
            (_, true) => 24 + draws.below(41) as u32,
        };
        let extents = if extent_blocks > 100 { 17 } else { 16 + draws.below(16) as u32 };
        let fills = draws.happens(0.25);
        let crashes = draws.happens(0.55);
        Setup {
            zoned,
            short_zones: draws.happens(0.3),
            small_sectors: !zoned && draws.happens(0.15),
            volatile_cache: !draws.happens(0.1),
            cache_versions_max: if draws.happens(0.2) { 24 } else { 1 << 16 },
            unreadable_p: [0.0, 0.05, 0.3][draws.below(3) as usize],
            extents,
            extent_blocks,
            depth_max: 1 << draws.below(6),
            auto_reclaim: draws.happens(0.5),
            checkpoint_entries: [4, 16, 1000][draws.below(3) as usize],
            keys: if fills { 40 } else { 3 + draws.below(12) as u8 },
            payload_max: payload_max(extent_blocks),
            fills,
            trouble: Trouble {
                crashes,
                scans: draws.happens(0.3),
                errors: draws.happens(0.2),
                failing_writes: draws.happens(0.1),
                rot: draws.happens(0.15),
                strays: draws.happens(0.07),
                time_outs: draws.happens(0.05),
                lies: draws.happens(0.07),
            },
        }
    }

    /// The disk of this setup.
    pub fn disk(&self, seed: u64) -> SimDiskConfig {
        let stride = if self.short_zones { self.extent_blocks + 7 } else { self.extent_blocks };
        let stride = u64::from(if self.zoned { stride } else { self.extent_blocks });
        let blocks = stride * u64::from(self.extents);
        let mut config = SimDiskConfig::new(seed, DiskId(0), blocks);
        config.latency = Latency::default();
        config.unreadable_p = self.unreadable_p;
        config.cache_versions_max = self.cache_versions_max;
        let geometry = &mut config.geometry;
        geometry.io_bytes_max = 2 << 20;
        geometry.volatile_cache = self.volatile_cache;
        geometry.depth_max = self.depth_max;
        if self.small_sectors {
            geometry.logical = BlockSize::B512;
            geometry.physical = BlockSize::B512;
            geometry.blocks *= 8;
        }
        if self.zoned {
            geometry.discard = false;
            geometry.zones = Some(ZoneGeometry {
                zone_blocks: stride,
                capacity_blocks: u64::from(self.extent_blocks),
                zones: self.extents,
                conventional: 0,
                open_max: 0,
            });
        }
        config
    }
}

/// The longest payload of extents of this size: with check blocks, head and mark it fills half
/// of one.
pub fn payload_max(extent_blocks: u32) -> u32 {
    let blocks = extent_blocks / 2 - 2;
    let segments = blocks.div_ceil(65);
    ((blocks - segments) * BLOCK_BYTES as u32).min(1 << 20)
}

impl Plan {
    /// The sequence of a seed.
    pub fn new(seed: u64) -> Plan {
        let setup = Setup::draw(seed);
        let mut draws = Draws::new(seed, SETUP, 1);
        let wanted = 20 + draws.below(80) as usize;
        let lens = [0; KEYS_MAX as usize];
        let mut writer = Writer { setup: &setup, version: 0, seed, lens };
        let mut steps = Vec::new();
        let mut ops = 0;
        while ops < wanted {
            let number = steps.len() as u64;
            let what = writer.step(number);
            ops += match &what {
                What::Run { ops, .. } => ops.len(),
                _ => 1,
            };
            let harmed = match &what {
                What::Harm(Harm::Record { key, .. } | Harm::Misdirect { key }) => Some(*key),
                _ => None,
            };
            steps.push(Step { number, what });
            // Damage is found by who reads it.
            if let Some(key) = harmed
                && draws.happens(0.6)
            {
                let len = writer.lens[usize::from(key)].max(2) - 1;
                let reads = vec![Op::Range { key, at: 1, len }, Op::Range { key, at: 0, len: 1 }];
                ops += reads.len();
                let what = What::Run { ops: reads, cut: None };
                steps.push(Step { number: number + 1, what });
            }
        }
        Plan { seed, setup, steps }
    }

    /// How many operations it has.
    pub fn ops(&self) -> usize {
        let count = |step: &Step| match &step.what {
            What::Run { ops, .. } => ops.len(),
            _ => 1,
        };
        self.steps.iter().map(count).sum()
    }

    /// Whether the power fails in it.
    pub fn has_crash(&self) -> bool {
        self.steps.iter().any(|step| match &step.what {
            What::Run { cut, .. } => cut.is_some(),
            What::Restart { start } => !start.again.is_empty(),
            What::Harm(_) => false,
        })
    }
}

/// Writes steps.
struct Writer<'a> {
    setup: &'a Setup,
    version: u32,
    seed: u64,
    /// Length of the last put of each key.
    lens: [u32; KEYS_MAX as usize],
}

impl Writer<'_> {
    fn step(&mut self, number: u64) -> What {
        let draws = &mut Draws::new(self.seed, STEPS, number);
        let trouble = &self.setup.trouble;
        if trouble.harms() && draws.happens(0.12) {
            return What::Harm(self.harm(draws));
        }
        if draws.happens(0.05) {
            return What::Restart { start: self.start(draws) };
        }
        let count = if draws.happens(0.35) { 2 + draws.below(7) } else { 1 };
        let ops: Vec<Op> = (0..count).map(|_| self.op(draws)).collect();
        let cut = (trouble.crashes && draws.happens(0.12)).then(|| {
            let heavy = ops.iter().any(|op| matches!(op, Op::Reclaim | Op::Checkpoint));
            Cut {
                after: draws.below(if heavy { 24 } else { 8 }) as u32,
                style: CrashStyle::drawn(self.seed, number),
                start: self.start(draws),
            }
        });
        What::Run { ops, cut }
    }

    fn start(&self, draws: &mut Draws) -> Start {
        let mut again = Vec::new();
        while self.setup.trouble.crashes && again.len() < 3 && draws.happens(0.25) {
            let style = CrashStyle::ALL[draws.below(6) as usize];
            again.push((draws.below(16) as u32, style));
        }
        Start { again, full_scan: self.setup.trouble.scans && draws.happens(0.4) }
    }

    fn harm(&self, draws: &mut Draws) -> Harm {
        let trouble = &self.setup.trouble;
        let unreadable = draws.happens(0.5);
        loop {
            match draws.below(16) {
                0 | 1 if trouble.errors => return Harm::ReadErrors(2 + draws.below(30) as u8),
                2 if trouble.failing_writes => return Harm::WriteErrors(1 + draws.below(30) as u8),
                3 if trouble.failing_writes => return Harm::FlushErrors(1 + draws.below(20) as u8),
                4 if trouble.fails() => return Harm::Well,
                5..8 if trouble.rot => return Harm::Record { key: self.key(draws), unreadable },
                8 if trouble.rot => return Harm::Log { unreadable },
                9 if trouble.rot => return Harm::Meta { unreadable },
                10 if trouble.strays => return Harm::Lose,
                11 if trouble.strays => return Harm::Misdirect { key: self.key(draws) },
                12 | 13 if trouble.time_outs => return Harm::TimeOuts(1 + draws.below(6) as u8),
                14 | 15 if trouble.lies => return Harm::Lie,
                _ => {}
            }
        }
    }

    fn key(&self, draws: &mut Draws) -> u8 {
        draws.below(u64::from(self.setup.keys)) as u8
    }

    fn op(&mut self, draws: &mut Draws) -> Op {
        let key = self.key(draws);
        let chance = draws.below(100);
        let puts = if self.setup.fills { 60 } else { 42 };
        if chance < puts {
            self.version += 1;
            let len = self.len(draws);
            self.lens[usize::from(key)] = len;
            return Op::Put { key, version: self.version, len, expires: draws.happens(0.1) };
        }
        match draws.below(58) {
            0..11 => Op::Delete { key, hold: draws.happens(0.3) },
            11..15 => Op::Release { key },
            15..27 => Op::Get { key },
            27..35 => {
                let at = draws.below(u64::from(self.setup.payload_max)) as u32;
                let at = if draws.happens(0.6) { at % 6000 } else { at };
                Op::Range { key, at, len: 1 + draws.below(5000) as u32 }
            }
            35..38 => Op::Stat { key },
            38..42 => {
                let (a, b) = (self.key(draws), self.key(draws));
                Op::List { from: a.min(b), to: a.max(b), limit: 1 + draws.below(20) as u8 }
            }
            42..45 => Op::Flush,
            45..49 => Op::Checkpoint,
            49..54 => Op::Reclaim,
            54..56 => Op::Scrub,
            _ => Op::Status,
        }
    }

    fn len(&self, draws: &mut Draws) -> u32 {
        let max = u64::from(self.setup.payload_max);
        let block = BLOCK_BYTES as u64;
        let segment = 256 << 10;
        let near = |draws: &mut Draws, edge: u64| edge + draws.below(3) - 1;
        let len = match draws.below(20) {
            0 => 0,
            1..8 => 1 + draws.below(300),
            8..12 => {
                let blocks = 1 + draws.below(3);
                near(draws, blocks * block)
            }
            12..17 => draws.below(5 * block),
            17 => draws.below(max + 1),
            18 if max > segment => {
                let segments = 1 + draws.below(max / segment);
                near(draws, segments * segment)
            }
            _ => max - draws.below(2).min(max),
        };
        let len = if self.setup.fills && draws.happens(0.5) { max / 2 } else { len };
        len.min(max) as u32
    }
}

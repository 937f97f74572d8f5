//! The tables of docs/OBJECTS.md: how much arm time a get takes and how much room an object, by
//! its size and by how it is kept.
//!
//! `cargo run --release -p isotherm-block --example arm_time`
//!
//! Reads lie anywhere on the modelled drive `exos-x24`, one at a time, retries as they come. All
//! of it is in virtual time and from one seed: the same on every machine.
//!
//! A get reads one record a cell, as the store lays it out: whole blocks of payload, and a check
//! block in front of each segment. Of an object of many stripes it reads the manifest first.

use std::collections::BTreeMap;

use isotherm_block::hdd::{Command, Drive, EXOS_X24, HddOptions};
use isotherm_seam::{BlockSize, Domain, Draws, Mono};

const CHOICE: Domain = Domain::new("example.arm_time");
const SEED: u64 = 24;
/// Reads that a mean is of: its standard error is below 0.03 ms.
const READS: u64 = 40_000;

const KIB: u64 = 1 << 10;
const MIB: u64 = 1 << 20;
const BLOCK: u64 = 4 * KIB;
const SEGMENT: u64 = 256 * KIB;
const CELL_MAX: u64 = MIB;

const SIZES: [(&str, u64); 8] = [
    ("4 KiB", 4 * KIB),
    ("64 KiB", 64 * KIB),
    ("256 KiB", 256 * KIB),
    ("1 MiB", MIB),
    ("4 MiB", 4 * MIB),
    ("16 MiB", 16 * MIB),
    ("64 MiB", 64 * MIB),
    ("1 GiB", 1024 * MIB),
];

/// How many data and parity cells a stripe has.
#[derive(Clone, Copy)]
struct Codec {
    name: &'static str,
    data: u64,
    parity: u64,
}

const CODECS: [Codec; 5] = [
    Codec { name: "3 copies", data: 1, parity: 2 },
    Codec { name: "4+2", data: 4, parity: 2 },
    Codec { name: "8+3", data: 8, parity: 3 },
    Codec { name: "10+4", data: 10, parity: 4 },
    Codec { name: "17+3", data: 17, parity: 3 },
];

/// A drive is taken for full at this part of its bytes, and for busy at this part of its time.
const FULL: f64 = 0.8;
const BUSY: f64 = 0.6;
const MONTH_S: f64 = 30.0 * 86_400.0;

fn main() {
    let mut arm = Arm::default();
    println!("One read, ms:\n");
    println!("| record of | arm ms |\n|---|---:|");
    for (name, bytes) in &SIZES[..4] {
        println!("| {name} | {:.1} |", arm.read_ms(record(*bytes)));
    }

    println!("\nArm time of a get, ms, all disks together:\n");
    table(|codec, bytes| format!("{:.0}", arm.get_ms(codec, bytes, CELL_MAX)));

    println!("\nBytes on disks over bytes of the object:\n");
    table(|codec, bytes| format!("{:.2}", room(codec, bytes) as f64 / bytes as f64));

    println!("\nReads a month from which on m+1 replicas cost less of a disk than cells do:\n");
    table(|codec, bytes| {
        let replicas = Codec { data: 1, ..codec };
        let more_bytes = room(replicas, bytes) as f64 - room(codec, bytes) as f64;
        let less_ms = arm.get_ms(codec, bytes, CELL_MAX) - arm.get_ms(replicas, bytes, CELL_MAX);
        if codec.data == 1 {
            return "".into();
        }
        if more_bytes <= 0.0 {
            return "always".into();
        }
        // 1 MiB against 1 MiB a cell: what is left of the difference is rounding.
        if less_ms < 0.5 {
            return "never".into();
        }
        let of_room = more_bytes / (EXOS_X24.capacity_bytes as f64 * FULL);
        let of_time = less_ms / 1e3 / (MONTH_S * BUSY);
        format!("{:.1}", of_room / of_time)
    });

    println!("\nA 64 MiB object, 4+2, by the longest cell:\n");
    println!("| longest cell | arm ms | one read, ms | MB/s of the object an arm |");
    println!("|---|---:|---:|---:|");
    for kib in [64, 256, 1024, 4096] {
        let ms = arm.get_ms(CODECS[1], 64 * MIB, kib * KIB);
        let one = arm.read_ms(record(kib * KIB));
        println!("| {kib} KiB | {ms:.0} | {one:.1} | {:.0} |", 64.0 * MIB as f64 / 1e3 / ms);
    }
}

/// One line a size, one column a codec.
fn table(mut cell: impl FnMut(Codec, u64) -> String) {
    println!("| object | {} |", CODECS.map(|codec| codec.name).join(" | "));
    println!("|---|---:|---:|---:|---:|---:|");
    for (name, bytes) in SIZES {
        println!("| {name} | {} |", CODECS.map(|codec| cell(codec, bytes)).join(" | "));
    }
}

/// Lengths of the cells of each stripe of an object: as long as the object allows.
fn stripes(codec: Codec, bytes: u64, cell_max: u64) -> impl Iterator<Item = u64> {
    let stripe = codec.data * cell_max;
    (0..bytes.div_ceil(stripe)).map(move |at| {
        let left = (bytes - at * stripe).min(stripe);
        left.div_ceil(codec.data)
    })
}

/// Bytes of the record of a cell on its disk.
fn record(cell: u64) -> u64 {
    cell.next_multiple_of(BLOCK) + cell.div_ceil(SEGMENT) * BLOCK
}

/// Bytes of the manifest of an object, if it has one: a head, and a group and a checksum a stripe.
fn manifest(codec: Codec, bytes: u64, cell_max: u64) -> Option<u64> {
    let stripes = bytes.div_ceil(codec.data * cell_max);
    (stripes > 1).then(|| 32 + 8 * stripes)
}

/// Bytes of an object on all disks.
fn room(codec: Codec, bytes: u64) -> u64 {
    let (cells, copies) = (codec.data + codec.parity, codec.parity + 1);
    let manifest = manifest(codec, bytes, CELL_MAX).map_or(0, |bytes| record(bytes) * copies);
    stripes(codec, bytes, CELL_MAX).map(|cell| record(cell) * cells).sum::<u64>() + manifest
}

/// What the modelled drive takes for reads, by their length.
#[derive(Default)]
struct Arm {
    known: BTreeMap<u64, f64>,
}

impl Arm {
    fn get_ms(&mut self, codec: Codec, bytes: u64, cell_max: u64) -> f64 {
        let manifest = manifest(codec, bytes, cell_max);
        let manifest_ms = manifest.map_or(0.0, |bytes| self.read_ms(record(bytes)));
        let cells = stripes(codec, bytes, cell_max);
        let cells_ms: f64 = cells.map(|cell| self.read_ms(record(cell)) * codec.data as f64).sum();
        manifest_ms + cells_ms
    }

    /// Mean time of a random read, in milliseconds.
    fn read_ms(&mut self, bytes: u64) -> f64 {
        *self.known.entry(bytes).or_insert_with(|| {
            let blocks = EXOS_X24.capacity_bytes >> BlockSize::B4096.shift();
            let count = bytes / BLOCK;
            let mut drive = Drive::new(&HddOptions::default(), BlockSize::B4096, blocks, SEED);
            let mut draws = Draws::new(SEED, CHOICE, bytes);
            let mut now = Mono::ZERO;
            for _ in 0..READS {
                let first = draws.below(blocks - count + 1);
                drive.submit(now, 0, Command::Read { first, count });
                while drive.timed() & 1 == 0 || drive.done_at(0) > now {
                    let done = (drive.timed() & 1 != 0).then(|| drive.done_at(0));
                    now = done.into_iter().chain(drive.next()).min().expect("it has work");
                    drive.advance(now);
                }
                drive.release(0);
            }
            now.since(Mono::ZERO).as_millis_f64() / READS as f64
        })
    }
}

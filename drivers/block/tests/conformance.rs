//! Every kind of device, alone and stacked, against the one contract.
//!
//! `ISOTHERM_SEED=…` repeats a run; without it the seed is fixed, so that CI is stable.

mod bell;

use bell::Bell;
use isotherm_block::conformance::{self, Expect};
use isotherm_block::spec::{LAYERS, LEAVES};
use isotherm_block::{OpenContext, Spec};
use isotherm_seam::{BlockDevice, Lba, Mono, Op, OpenCause, OpenOptions, Park, Request, Tag};

/// Stacks beside the example of each kind. `DIR` stands for a folder of the test's own.
const STACKS: &[&str] = &[
    "null:1T",
    "memory:1M",
    "memory:3M?block=4K",
    "memory:16M?physical=64K",
    "file:DIR/a.img?size=8M",
    "file:DIR/a,b:c.img?size=8M:direct=no:threads=1",
    "delay:5us-2ms,memory:4M",
    "delay:0ns,null:1G?block=4K",
    "delay:100us~1ms:only=write,delay:3us,memory:4M",
    "delay:1ms,file:DIR/d.img?size=4M",
    "fault:eio-read=0.01:eio-write=0.05:eio-flush=0.1,memory:4M?block=4K",
    "fault:latent=0.05:slow=0-99/3ms:stall=0.01/20ms,memory:4M",
    "fault:lost=0.1:misdirect=0.1:flip=0.1,memory:4M",
    "fault:gone=500:eio=0.1,memory:4M",
    "fault:eio=0.02,delay:1ms-3ms,file:DIR/f.img?size=4M",
    "zoned:zone=1M:open=3,memory:16M",
    "zoned:zone=1M:cap=700K,memory:7M?block=4K",
    "zoned:zone=64K:conv=5:open=1,memory:1M",
    "delay:10us-900us,zoned:zone=1M:conv=2:open=4,memory:12M",
    "zoned:zone=1M:conv=1,delay:10us-900us,file:DIR/z.img?size=8M",
    "fault:eio=0.01,zoned:zone=1M,memory:8M",
];

/// Depths to open each stack with: alone, a few, many.
const DEPTHS: &[u32] = &[1, 3, 64];

fn seed() -> u64 {
    std::env::var("ISOTHERM_SEED").map_or(0x1507, |text| text.parse().expect("a number"))
}

fn open(spec: &str, depth: u32, park: &dyn Park, seed: u64) -> Box<dyn BlockDevice> {
    let options = OpenOptions { write: true, depth, ..OpenOptions::default() };
    let context = OpenContext { options, unparker: park.unparker(), seed, leaves: &mut [] };
    Spec::parse(spec).and_then(|spec| spec.open(context)).unwrap_or_else(|e| panic!("{e}"))
}

/// What may be expected of a stack, by the kinds in it.
fn expect(spec: &str) -> Expect {
    let has = |kind: &str| spec.split([',', ':']).any(|part| part == kind);
    Expect {
        keeps_data: !has("null") && !spec.contains("lost="),
        fails: has("fault"),
        // A flush of a real file waits for the disk underneath.
        operations: if has("file") { 300 } else { 1_500 },
    }
}

fn check(spec: &str) {
    let folder = tempfile::tempdir().expect("a temporary folder");
    check_at(&spec.replace("DIR", &folder.path().display().to_string()));
}

fn check_at(spec: &str) {
    let pool = conformance::pool();
    let free = pool.free_count();
    for (round, &depth) in DEPTHS.iter().enumerate() {
        let mut park = Bell::default();
        let seed = seed() + round as u64;
        eprintln!("{spec} at depth {depth}");
        let mut device = open(spec, depth, &park, seed);
        conformance::run_with(&mut *device, &mut park, &pool, seed, expect(spec));
        drop(device);
    }
    dropped_with_requests_in_flight(spec);
    assert_eq!(pool.free_count(), free);
}

/// A dropped device ends, and gives the buffers back or keeps them, but never both.
fn dropped_with_requests_in_flight(spec: &str) {
    let pool = conformance::pool();
    let free = pool.free_count();
    let park = Bell::default();
    let mut device = open(spec, 8, &park, 1);
    for index in 0..8 {
        let buf = pool.alloc(4096).expect("a buffer");
        let op = Op::Read { lba: Lba(0), buf };
        let request = Request { tag: Tag(index), op };
        assert!(device.submit(Mono(0), request).is_ok());
    }
    drop(device);
    assert_eq!(pool.free_count(), free, "nothing here is stuck in a kernel");
}

#[test]
fn every_stack_keeps_the_contract() {
    for spec in STACKS {
        check(spec);
    }
}

/// So a new kind is tested the moment it is listed.
#[test]
fn the_example_of_every_kind_keeps_the_contract() {
    let layers = LAYERS.iter().map(|kind| kind.example);
    // The ring is offered by its own crate, which runs this test on it.
    let leaves = LEAVES.iter().filter(|kind| kind.name != "uring").map(|kind| kind.example);
    for example in layers.chain(leaves) {
        let spec = Spec::parse(example).expect("an example parses");
        let folder = spec.path().and_then(|path| path.parent()).map(|p| p.display().to_string());
        check(&folder.map_or(example.to_owned(), |folder| example.replace(&folder, "DIR")));
    }
}

#[test]
#[ignore = "overwrites the block device that ISOTHERM_TEST_DEVICE names"]
fn a_block_device_keeps_the_contract() {
    let path = std::env::var("ISOTHERM_TEST_DEVICE").expect("ISOTHERM_TEST_DEVICE names a device");
    for stack in ["file:DEV", "file:DEV?direct=no:threads=2", "zoned:zone=1M,file:DEV"] {
        check_at(&stack.replace("DEV", &path));
    }
    let spec = Spec::parse(&format!("file:{path}")).expect("a path");
    let open = || {
        let options = OpenOptions { write: true, ..OpenOptions::default() };
        let unparker = Bell::default().unparker();
        spec.open(OpenContext { options, unparker, seed: 1, leaves: &mut [] })
    };
    let first = open().expect("free");
    let second = open().err().expect("a device is opened once for writing");
    assert!(matches!(second.cause, OpenCause::Busy { .. }), "{second}");
    drop(first);
    assert!(open().is_ok(), "free again");
}

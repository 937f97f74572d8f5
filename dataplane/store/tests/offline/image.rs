//! Kept images: a disk that an earlier version wrote must open for ever.
//!
//! What must always hold: an image, once kept, is never changed. A new version of the format
//! brings a new one. To keep one of today:
//!
//! `ISOTHERM_KEEP_IMAGE=tests/images/v1.txt cargo test -p isotherm-store --test offline keep`

use std::rc::Rc;

use isotherm_block::{Memory, Shape};
use isotherm_reactor::{Reactor, ReactorConfig};
use isotherm_seam::{BlockSize, BufPool, Lba, PoolClass, PoolLayout};
use isotherm_sim::{SimClock, SimPark};
use isotherm_store::{
    Delete, FormatOptions, GetError, Key, Options, Put, RecoveredDisk, ScannedDisk, Store, World,
};

use crate::rig::{Rig, payload};

const EXTENT_BLOCKS: u32 = 16;
const EXTENTS: u32 = 24;
const DISK_BYTES: usize = (EXTENT_BLOCKS * EXTENTS) as usize * 4096;
const V1: &str = include_str!("../images/v1.txt");

/// Blocks that are not zero, of those the rows of 16 bytes that are not zero.
fn pack(bytes: &[u8]) -> String {
    let mut text = String::from(
        "# A store as it lies on the disk. Blocks of 4096 bytes, rows of 16; what is left out is \
         zero.\n",
    );
    text.push_str(&format!("bytes {}\n", bytes.len()));
    for (number, block) in bytes.chunks(4096).enumerate() {
        if block.iter().all(|byte| *byte == 0) {
            continue;
        }
        text.push_str(&format!("block {number}\n"));
        for (row, bytes) in block.chunks(16).enumerate() {
            if bytes.iter().any(|byte| *byte != 0) {
                let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
                text.push_str(&format!("{:03x} {hex}\n", row * 16));
            }
        }
    }
    text
}

fn unpack(text: &str) -> Vec<u8> {
    let (mut bytes, mut block) = (Vec::new(), 0);
    for line in text.lines().filter(|line| !line.starts_with('#')) {
        match line.split_once(' ').expect("two words") {
            ("bytes", len) => bytes = vec![0; len.parse().expect("a number")],
            ("block", number) => block = number.parse::<usize>().expect("a number") * 4096,
            (row, hex) => {
                let at = block + usize::from_str_radix(row, 16).expect("an offset");
                for (i, byte) in bytes[at..at + 16].iter_mut().enumerate() {
                    *byte = u8::from_str_radix(&hex[2 * i..2 * i + 2], 16).expect("a byte");
                }
            }
        }
    }
    bytes
}

fn key(object: u128, position: u16) -> Key {
    Key { group: 7, object, stripe: 0, position }
}

/// What is on the disk: a small shard, one with cells, one of a second stripe, one that was
/// replaced, one that expires; and one that was deleted.
async fn fill(store: &Store) {
    let shards: [(Key, Vec<u8>); 5] = [
        (key(0x2a, 3), b"hello, disk\n".to_vec()),
        (key(0x2a, 4), payload(1, 5000)),
        (key(0x2b, 0), payload(2, 0)),
        (key(0x2c, 0), payload(3, 700)),
        (key(0x2d, 0), payload(4, 20)),
    ];
    for (number, (key, bytes)) in shards.into_iter().enumerate() {
        let mut buf = store.buffer(bytes.len()).expect("a buffer");
        buf.fill(&bytes);
        if number == 1 {
            buf.set_cells(&[0x0a0a_0a0a, 0x0b0b_0b0b, 0x0c0c_0c0c]);
        }
        let expires_s = if number == 4 { 1_100_000_000 } else { 0 };
        let put = Put { epoch: 9, codec: 1, expires_s, ..Put::new(key) };
        store.put(put, buf).await.expect("it is put");
    }
    store.checkpoint().await.expect("a checkpoint");
    let mut buf = store.buffer(900).expect("a buffer");
    buf.fill(&payload(5, 900));
    store.put(Put::new(key(0x2c, 0)), buf).await.expect("it is replaced");
    store.delete(Delete::new(key(0x2b, 0))).await.expect("it is deleted");
}

async fn look(disk: &RecoveredDisk) {
    let expected = [
        (key(0x2a, 3), b"hello, disk\n".to_vec()),
        (key(0x2a, 4), payload(1, 5000)),
        (key(0x2c, 0), payload(5, 900)),
        (key(0x2d, 0), payload(4, 20)),
    ];
    assert_eq!(disk.entries(), 5, "four shards and a tombstone");
    for (key, bytes) in &expected {
        let shard = disk.get(key, None).await.unwrap_or_else(|error| panic!("{key}: {error}"));
        assert_eq!(&shard.to_vec(), bytes, "{key}");
    }
    let cells = disk.get(&key(0x2a, 4), None).await.expect("it is there").cells();
    assert_eq!(cells, [0x0a0a_0a0a, 0x0b0b_0b0b, 0x0c0c_0c0c]);
    assert_eq!(disk.get(&key(0x2b, 0), None).await.err(), Some(GetError::Deleted));
    let checked = disk.check_records(&|_| true).await.expect("it is read");
    assert_eq!((checked.faults.len(), checked.shards, checked.tombstones), (0, 4, 1));
}

/// The disk as today's version writes it, in virtual time.
fn made() -> Vec<u8> {
    let clock = SimClock::new();
    let class = |buf_bytes, count| PoolClass { buf_bytes, count };
    let pool = BufPool::new(&PoolLayout {
        classes: vec![class(4096, 64), class(32 << 10, 64), class(2 << 20, 12)],
        align: BlockSize::B4096,
        huge: false,
    })
    .expect("memory");
    let mut core =
        Reactor::new(SimPark::new(clock.clone()), clock.clone(), ReactorConfig::default());
    let shape = Shape { logical: BlockSize::B4096, ..Shape::new(DISK_BYTES as u64) };
    let disk = core.attach(Box::new(Memory::new(&shape).expect("memory")));
    let world = World { handle: core.handle().clone(), pool, clock: Rc::new(clock) };
    core.run(async move {
        let uuid = *b"kept image no. 1";
        let options =
            FormatOptions { extent_blocks: Some(EXTENT_BLOCKS), ..FormatOptions::new(uuid) };
        isotherm_store::format(&world, &disk, &options).await.expect("it formats");
        let (store, _) = Store::open(&world, &disk, Options::default()).await.expect("it opens");
        fill(&store).await;
        store.close().await.expect("it closes");
        let mut bytes = Vec::new();
        for block in 0..u64::from(EXTENT_BLOCKS * EXTENTS) {
            let buf = world.pool.alloc(4096).expect("a buffer");
            let (result, buf) = disk.read(Lba(block), buf).await;
            result.expect("it is read");
            bytes.extend_from_slice(&buf);
        }
        bytes
    })
}

/// Checks the disk with these bytes by its checkpoints, by a full scan, and started.
fn opens(bytes: &[u8]) {
    let rig = Rig::of_bytes(bytes);
    rig.run(false, |world, disk| async move {
        let scan = async || ScannedDisk::scan(&world, &disk).await.expect("a store");
        let by_checkpoint = scan().await.recover(Options::default()).await.expect("it recovers");
        assert!(by_checkpoint.report().clean);
        look(&by_checkpoint).await;
        let by_records = scan().await.recover_by_full_scan(Options::default()).await;
        look(&by_records.expect("it recovers")).await;
        let survey = scan().await.survey(Some(&by_checkpoint), &|_| true).await.expect("read");
        assert_eq!(survey.differences, []);
    });
    rig.run(true, |world, disk| async move {
        let (store, _) = Store::open(&world, &disk, Options::default()).await.expect("it opens");
        let shard = store.read(key(0x2a, 3)).await.expect("it is there");
        assert_eq!(shard.to_vec(), b"hello, disk\n");
        store.close().await.expect("it closes");
    });
    rig.run(false, |world, disk| async move {
        let scanned = ScannedDisk::scan(&world, &disk).await.expect("a store");
        look(&scanned.recover(Options::default()).await.expect("it recovers")).await;
    });
}

#[test]
fn an_image_of_the_first_version_opens() {
    assert!(V1.len() < 200_000);
    opens(&unpack(V1));
}

#[test]
fn an_image_of_today_opens() {
    let bytes = made();
    assert_eq!(made(), bytes, "the same each time");
    assert_eq!(unpack(&pack(&bytes)), bytes, "nothing is lost in the text");
    opens(&bytes);
}

/// Writes the image of today where the variable says; does nothing without it.
#[test]
fn keep() {
    if let Some(path) = std::env::var_os("ISOTHERM_KEEP_IMAGE") {
        std::fs::write(path, pack(&made())).expect("it is written");
    }
}

/// The safety check of the drivers keeps everybody from overwriting a disk that holds a store.
#[test]
fn the_safety_check_knows_a_store() {
    for bytes in [unpack(V1), made()] {
        let rig = Rig::of_bytes(&bytes);
        let findings = isotherm_host::safety::inspect(&rig.path).expect("it is looked at");
        assert_eq!(findings.holdings(), ["Isotherm store"]);
        assert_eq!(bytes[..4], *isotherm_host::safety::ISOTHERM_MAGIC);
    }
}

/// The hexdump in docs/ON-DISK.md is of this image: each of its lines is there.
#[test]
fn the_document_shows_this_image() {
    let document = include_str!("../../../../docs/ON-DISK.md");
    let bytes = unpack(V1);
    let (mut block, mut rows) = (None, 0);
    for line in document.lines() {
        if let Some((_, at)) = line.split_once("block ").filter(|_| line.starts_with("--- ")) {
            let number = at.split_whitespace().next().expect("a number");
            block = Some(number.parse::<usize>().expect("a number") * 4096);
            continue;
        }
        let Some(start) = block else { continue };
        let words: Vec<&str> = line.split_whitespace().take(5).collect();
        let [offset, hex @ ..] = &words[..] else {
            block = None;
            continue;
        };
        let Ok(offset) = usize::from_str_radix(offset, 16) else {
            block = None;
            continue;
        };
        let at = start + offset;
        let shown: String = hex.concat();
        let there: String = bytes[at..at + 16].iter().map(|b| format!("{b:02x}")).collect();
        assert_eq!(shown, there, "{line}");
        rows += 1;
    }
    assert!(rows > 20, "only {rows} rows of the dump were found");
}

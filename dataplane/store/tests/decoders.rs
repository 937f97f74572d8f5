//! Every decoder of bytes that lie on a disk, on any bytes: no panic, and what is taken as
//! sound is within its bounds.
//!
//! Random bytes would end at the checksum, so it is made to fit, as are magic and version: what
//! remains is what a careless or hostile writer could leave. Real blocks are kept as a corpus in
//! `__fuzz__`. With a fuzzer: `cargo bolero test -p isotherm-store any_check_block`.
//!
//! `ISOTHERM_INPUTS=1000000 cargo test --release -p isotherm-store --test decoders` for more.

mod suite;

use std::collections::BTreeMap;
use std::path::Path;

use isotherm_store::index::{ChunkId, ChunkReader, RunInfo};
use isotherm_store::layout::{
    Block, Checkpoint, ExtentHead, Kind, Mark, Part, RecordHead, Segments, TOMBS_MAX, Tombs, crc32c,
};
use isotherm_store::sched::DiskProfile;
use isotherm_store::{BLOCK_BYTES, Place};

fn inputs() -> usize {
    suite::number("ISOTHERM_INPUTS").unwrap_or(20_000) as usize
}

/// A block that begins with the input, with magic, version and checksum as they must be.
fn made_sound(input: &[u8]) -> Vec<u8> {
    let mut bytes = vec![0; BLOCK_BYTES];
    let len = input.len().min(BLOCK_BYTES);
    bytes[..len].copy_from_slice(&input[..len]);
    bytes[..4].copy_from_slice(b"IsoB");
    bytes[8..10].copy_from_slice(&1u16.to_le_bytes());
    // Few of 256 numbers are kinds.
    bytes[10] = 1 + bytes[10] % 7;
    let crc = crc32c(&bytes[8..]);
    bytes[4..8].copy_from_slice(&crc.to_le_bytes());
    bytes
}

/// Reads a block by every reader, as if each kind were wanted.
fn read_all(bytes: &[u8]) {
    let Ok((block, kind)) = Block::check(bytes) else { return };
    if let Ok((head, shape)) = RecordHead::read(block) {
        assert!(shape.blocks() <= Place::BLOCKS_MAX, "{shape:?}");
        let (segment, segments) = block.segment();
        assert!(segment < segments && segments == shape.segments());
        assert!(head.kills.iter().count() <= 4);
        let _ = Part::from_key(&head.key);
        let payload = vec![0; block.segment_bytes() as usize];
        let units = payload.len().div_ceil(64 << 10);
        let _ = Segments::check_units(block, &payload, 0, units);
        assert!(block.cells().count() <= 976);
    }
    if let Ok(mark) = Mark::read(block) {
        assert!(mark.first_block <= block.origin().block);
    }
    let _ = ExtentHead::read(block);
    if let Ok(tombs) = Tombs::read(block) {
        let count = tombs.count();
        assert!((1..=TOMBS_MAX).contains(&count));
    }
    assert!(matches!(
        kind,
        Kind::Data | Kind::Tombs | Kind::Mark | Kind::Head | Kind::Run | Kind::Checkpoint
    ));
}

#[test]
fn any_check_block() {
    bolero::check!().with_iterations(inputs()).for_each(|input: &[u8]| {
        read_all(&made_sound(input));
        let mut plain = vec![0; BLOCK_BYTES];
        let len = input.len().min(BLOCK_BYTES);
        plain[..len].copy_from_slice(&input[..len]);
        read_all(&plain);
    });
}

#[test]
fn any_checkpoint() {
    bolero::check!().with_iterations(inputs()).for_each(|input: &[u8]| {
        let _ = Checkpoint::decode(input);
        let mut bytes = input.to_vec();
        if bytes.len() < 80 {
            return;
        }
        bytes[..2].copy_from_slice(&1u16.to_le_bytes());
        let crc = crc32c(&bytes[80..]);
        bytes[76..80].copy_from_slice(&crc.to_le_bytes());
        if let Ok(checkpoint) = Checkpoint::decode(&bytes) {
            assert!(checkpoint.extents.iter().all(|row| row.written <= checkpoint.extent_blocks));
            assert_eq!(checkpoint.encode().len(), bytes.len(), "nothing is ignored");
        }
    });
}

#[test]
fn any_run() {
    bolero::check!().with_iterations(inputs()).for_each(|input: &[u8]| {
        let _ = RunInfo::decode(input);
        let mut bytes = input.to_vec();
        if bytes.len() >= 2 {
            bytes[..2].copy_from_slice(&1u16.to_le_bytes());
        }
        if let Ok((run, rest)) = RunInfo::decode(&bytes) {
            assert_eq!(run.len_bytes() + rest.len(), bytes.len());
            let mut again = Vec::new();
            run.encode(&mut again);
            assert_eq!(again, bytes[..again.len()], "nothing is ignored");
        }
        if let Ok(reader) = ChunkReader::new(&bytes, ChunkId { run: 1, chunk: 0 }) {
            for entry in 0..reader.len() {
                let _ = reader.get(entry);
            }
        }
    });
}

#[test]
fn any_profile() {
    bolero::check!().with_iterations(inputs()).for_each(|input: &[u8]| {
        let mut bytes = [0; DiskProfile::BYTES];
        let len = input.len().min(bytes.len());
        bytes[..len].copy_from_slice(&input[..len]);
        bytes[..2].copy_from_slice(&1u16.to_le_bytes());
        if let Ok(profile) = DiskProfile::from_bytes(&bytes) {
            let radius = profile.radius_of(0.3);
            assert!(radius.is_finite());
            let _ = profile.access(0.5);
            assert_eq!(profile.to_bytes(), bytes, "nothing is ignored");
        }
    });
}

/// Writes the corpus anew, from disks that plans have left: blocks of each kind, checkpoints,
/// runs and chunks of runs.
#[test]
#[ignore = "writes into the source folder"]
fn keep_a_corpus() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/__fuzz__");
    let keep = |target: &str, name: String, bytes: &[u8]| {
        let folder = folder.join(target).join("corpus");
        std::fs::create_dir_all(&folder).expect("a folder");
        let end = bytes.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1);
        std::fs::write(folder.join(name), &bytes[..end]).expect("a file");
    };
    let mut kept: BTreeMap<Kind, u32> = BTreeMap::new();
    for seed in 0..40 {
        let plan = suite::plan::Plan::new(seed);
        let Ok((image, _)) = suite::run::leave(&plan) else { continue };
        if image.physical().bytes() as usize != BLOCK_BYTES {
            continue;
        }
        let read = |index: u64| {
            let mut bytes = vec![0; BLOCK_BYTES];
            image.read(index, 0, &mut bytes).then_some(bytes)
        };
        for (index, _) in image.written(0..u64::MAX) {
            let Some(bytes) = read(index) else { continue };
            let Ok((block, kind)) = Block::check(&bytes) else { continue };
            let count = kept.entry(kind).or_default();
            *count += 1;
            if *count % 50 != 1 || *count > 200 {
                continue;
            }
            let number = *count / 50;
            keep("any_check_block", format!("{kind:?}-{number}").to_lowercase(), &bytes);
            let Some(payload) = read(index + 1) else { continue };
            let payload = &payload[..(block.segment_bytes() as usize).min(BLOCK_BYTES)];
            match kind {
                Kind::Run => keep("any_run", format!("chunk-{number}"), payload),
                Kind::Checkpoint => {
                    keep("any_checkpoint", format!("checkpoint-{number}"), payload);
                    if let Ok(checkpoint) = Checkpoint::decode(payload) {
                        keep("any_run", format!("run-{number}"), &checkpoint.runs);
                    }
                }
                _ => {}
            }
        }
    }
}

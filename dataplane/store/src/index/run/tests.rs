//! The bytes of chunks and runs, and bytes that are neither.

use isotherm_seam::{Domain, Draws};

use super::*;
use crate::ExtentId;
use crate::index::{Delta, DeltaKind, Entry};

const ID: ChunkId = ChunkId { run: 0x0102_0304, chunk: 1 };

fn entry(object: u128, kind: DeltaKind, draws: &mut Draws) -> Entry {
    let place = Place {
        extent: ExtentId(draws.below(1 << 20) as u32),
        block: draws.below(1 << 16) as u32,
        blocks: draws.below(512) as u16,
        dead: kind == DeltaKind::Dead,
    };
    let (flags, wall_s) = (draws.next_u64() as u8, draws.next_u64() as u32);
    let delta = Delta { kind, flags, wall_s, place, sequence: draws.next_u64() };
    Entry { key: Key { object, ..Key::MIN }, delta }
}

fn entries(count: u64, draws: &mut Draws) -> Vec<Entry> {
    let kinds = [DeltaKind::Live, DeltaKind::Dead, DeltaKind::Gone];
    let mut object = 0;
    (0..count)
        .map(|_| {
            object += 1 + u128::from(draws.below(3));
            entry(object, kinds[draws.below(3) as usize], draws)
        })
        .collect()
}

fn chunk(entries: &[Entry], id: ChunkId) -> (Vec<u8>, ChunkWritten) {
    let mut bytes = vec![0xaa; CHUNK_BYTES_MAX];
    let mut writer = ChunkWriter::new(&mut bytes, id);
    for entry in entries {
        writer.push(entry);
    }
    let written = writer.finish().expect("entries");
    bytes.truncate(written.len_bytes);
    (bytes, written)
}

/// A run of two chunks, and their bytes.
fn run(draws: &mut Draws) -> (RunInfo, [Vec<u8>; 2]) {
    let all = entries(5, draws);
    let parts = [&all[..3], &all[3..]];
    let made = [0, 1].map(|i| chunk(parts[i], ChunkId { run: 7, chunk: i as u32 }));
    let place = |block| Place { extent: ExtentId(9), block, blocks: 2, dead: false };
    let chunks = [(made[0].1, place(4)), (made[1].1, place(6))];
    (RunInfo::new(7, 2, &chunks).expect("two chunks"), made.map(|(bytes, _)| bytes))
}

fn draws(seed: u64) -> Draws {
    println!("seed {seed}");
    Draws::new(seed, Domain::new("store.index.run"), 0)
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[test]
fn the_bytes_of_a_chunk() {
    let key = Key { group: 1, object: 2, stripe: 3, position: 4 };
    let place = Place { extent: ExtentId(5), block: 6, blocks: 7, dead: false };
    let (kind, flags) = (DeltaKind::Live, 8);
    let live = Delta { kind, flags, wall_s: 9, place, sequence: 10 };
    let (kind, place) = (DeltaKind::Dead, Place { dead: true, ..place });
    let dead = Delta { kind, place, sequence: 11, ..live };
    let next = Key { position: 5, ..key };
    let (bytes, written) =
        chunk(&[Entry { key, delta: live }, Entry { key: next, delta: dead }], ID);
    assert_eq!((written.entries, written.gone, written.len_bytes), (2, 0, 24 + 96));
    assert_eq!((written.first_key, written.last_key), (key, next));
    assert_eq!(
        hex(&bytes),
        concat!(
            "0100",
            "0000",
            "02000000",
            "0403020100000000",
            "01000000",
            "00000000",
            "00000001",
            "00000000000000000000000000000002",
            "00000003",
            "0004",
            "01",
            "08",
            "09000000",
            "0500600070000000",
            "0a00000000000000",
            "00000001",
            "00000000000000000000000000000002",
            "00000003",
            "0005",
            "02",
            "08",
            "09000000",
            "0500600070200000",
            "0b00000000000000",
        )
    );
}

#[test]
fn the_bytes_of_a_run() {
    let (first_key, last_key) = (Key { group: 1, ..Key::MIN }, Key { group: 2, ..Key::MIN });
    let place = Place { extent: ExtentId(5), block: 6, blocks: 7, dead: false };
    let chunks = vec![ChunkInfo { first_key, place, entries: 3 }];
    let run = RunInfo { id: 8, level: 1, entries: 3, gone: 2, first_key, last_key, chunks };
    let mut bytes = Vec::new();
    run.encode(&mut bytes);
    assert_eq!(bytes.len(), run.len_bytes());
    assert_eq!(
        hex(&bytes),
        concat!(
            "0100",
            "01",
            "00",
            "01000000",
            "0800000000000000",
            "0300000000000000",
            "0200000000000000",
            "00000001",
            "00000000000000000000000000000000",
            "00000000",
            "0000",
            "00000002",
            "00000000000000000000000000000000",
            "00000000",
            "0000",
            "00000000",
            "00000001",
            "00000000000000000000000000000000",
            "00000000",
            "0000",
            "0000",
            "03000000",
            "0500600070000000",
        )
    );
    bytes.push(0x77);
    assert_eq!(RunInfo::decode(&bytes), Ok((run, &[0x77][..])));
}

#[test]
fn what_is_written_is_read() {
    for seed in 0..20 {
        let draws = &mut draws(seed);
        let count = 1 + draws.below(300);
        let entries = entries(count, draws);
        let (bytes, written) = chunk(&entries, ID);
        let reader = ChunkReader::new(&bytes, ID).expect("a chunk");
        assert!(reader.iter().eq(entries.iter().copied()));
        assert_eq!(written.entries as usize, reader.len());
        let gone = entries.iter().filter(|e| e.delta.kind == DeltaKind::Gone).count();
        assert_eq!(written.gone as usize, gone);
    }
}

#[test]
fn a_full_chunk_is_a_mebibyte() {
    let draws = &mut draws(1);
    let mut bytes = vec![0; CHUNK_BYTES_MAX + 4096];
    let mut writer = ChunkWriter::new(&mut bytes, ID);
    let mut object = 0;
    while writer.has_room() {
        object += 1;
        writer.push(&entry(object, DeltaKind::Live, draws));
    }
    let written = writer.finish().expect("entries");
    assert_eq!(written.entries as usize, CHUNK_ENTRIES_MAX);
    assert!(written.len_bytes > CHUNK_BYTES_MAX - 48 && written.len_bytes <= CHUNK_BYTES_MAX);
    assert!(ChunkReader::new(&bytes[..written.len_bytes], ID).is_ok());
    assert!(ChunkWriter::new(&mut bytes, ID).finish().is_none());
}

#[test]
fn each_damage_has_its_error() {
    let draws = &mut draws(2);
    let kinds = [DeltaKind::Live, DeltaKind::Live, DeltaKind::Gone];
    let rows: Vec<Entry> = (0..3).map(|i| entry(i as u128, kinds[i], draws)).collect();
    let (good, _) = chunk(&rows, ID);
    let broken = |change: &dyn Fn(&mut Vec<u8>)| {
        let mut bytes = good.clone();
        change(&mut bytes);
        ChunkReader::new(&bytes, ID).err()
    };
    let length = |len_bytes| Some(RunError::Length { len_bytes });
    assert_eq!(broken(&|_| ()), None);
    assert_eq!(broken(&|bytes| bytes.truncate(0)), length(0));
    assert_eq!(broken(&|bytes| bytes.truncate(100)), length(100));
    assert_eq!(broken(&|bytes| bytes.truncate(24 + 96)), length(24 + 96));
    assert_eq!(broken(&|bytes| bytes.resize(CHUNK_BYTES_MAX + 1, 0)), length((1 << 20) + 1));
    assert_eq!(broken(&|bytes| bytes[0] = 2), Some(RunError::Version { found: 2 }));
    assert_eq!(broken(&|bytes| bytes[2] = 1), Some(RunError::Padding));
    assert_eq!(broken(&|bytes| bytes[20] = 1), Some(RunError::Padding));
    let found = ChunkId { chunk: 0, ..ID };
    assert_eq!(broken(&|bytes| bytes[16] = 0), Some(RunError::Other { found }));
    let row = 24 + 48;
    let kind = Some(RunError::Kind { entry: 1, found: 4 });
    assert_eq!(broken(&|bytes| bytes[row + 26] = 4), kind);
    let place = Some(RunError::Place { entry: 1 });
    assert_eq!(broken(&|bytes| bytes[row + 26] = 2), place);
    assert_eq!(broken(&|bytes| bytes[row + 32 + 6] = 1), place);
    assert_eq!(broken(&|bytes| bytes[row + 19] = 0), Some(RunError::Unsorted { entry: 1 }));
    assert_eq!(
        broken(&|bytes| {
            bytes.truncate(24);
            bytes[4] = 0;
        }),
        Some(RunError::Count)
    );
}

#[test]
fn a_chunk_is_held_against_its_run() {
    let (run, chunks) = run(&mut draws(3));
    for (number, bytes) in chunks.iter().enumerate() {
        let reader = run.chunk(number, bytes).expect("its chunk");
        assert_eq!(reader.len() as u32, run.chunks[number].entries);
        for entry in reader.iter() {
            assert_eq!(run.chunk_of(&entry.key), Some(number));
        }
        let number = number as u32;
        let found = ChunkId { run: 7, chunk: number };
        let other = run.chunk(1 - number as usize, bytes).err();
        assert_eq!(other, Some(RunError::Other { found }));
    }
    assert_eq!(run.chunk_of(&Key::MIN), None);
    assert_eq!(run.chunk_of(&Key::MAX), None);
    let mut shorter = run.clone();
    shorter.last_key = shorter.chunks[1].first_key;
    assert_eq!(shorter.chunk(1, &chunks[1]).err(), Some(RunError::Keys));
    shorter.chunks[0].entries = 2;
    assert_eq!(shorter.chunk(0, &chunks[0]).err(), Some(RunError::Count));
}

#[test]
fn no_bytes_make_a_reader_panic() {
    let mut passed = [0; 2];
    for seed in 0..300 {
        let draws = &mut Draws::new(seed, Domain::new("store.index.run"), 1);
        let (info, [bytes, _]) = run(draws);
        let id = ChunkId { run: 7, chunk: 0 };
        let mut head = Vec::new();
        info.encode(&mut head);
        for _ in 0..50 {
            let mut chunk = mutated(&bytes, draws);
            if let Ok(reader) = ChunkReader::new(&chunk, id) {
                passed[0] += 1;
                assert!(reader.iter().map(|entry| entry.key).is_sorted(), "seed {seed}");
            }
            let _ = info.chunk(0, &chunk);
            chunk.fill_with(|| draws.next_u64() as u8);
            assert!(ChunkReader::new(&chunk, id).is_err(), "seed {seed}");

            let mut head = mutated(&head, draws);
            if let Ok((run, rest)) = RunInfo::decode(&head) {
                passed[1] += 1;
                let mut again = Vec::new();
                run.encode(&mut again);
                again.extend_from_slice(rest);
                assert_eq!(again, head, "seed {seed}");
            }
            head.fill_with(|| draws.next_u64() as u8);
            assert!(RunInfo::decode(&head).is_err(), "seed {seed}");
        }
    }
    // Some changes do no harm that could be seen here: a time, a sequence, a place.
    assert!(passed.iter().all(|&count| count > 100), "{passed:?}");
}

/// A few bytes changed, or some cut off or added.
fn mutated(bytes: &[u8], draws: &mut Draws) -> Vec<u8> {
    let mut bytes = bytes.to_vec();
    for _ in 0..1 + draws.below(3) {
        let at = draws.below(bytes.len() as u64) as usize;
        match draws.below(8) {
            0 => bytes.truncate(at.max(1)),
            1 => bytes.push(draws.next_u64() as u8),
            2 => bytes[at] ^= 1 << draws.below(8),
            3 => bytes[at] = [0, 1, 0x7f, 0xff][draws.below(4) as usize],
            _ => bytes[at] = draws.next_u64() as u8,
        }
    }
    bytes
}

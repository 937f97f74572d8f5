//! The exact bytes of everything that is written: numbers once used stay what they are.
//!
//! docs/ON-DISK.md draws the same. A change here is a new version of the format, and the old
//! image in `tests/images` must still open.

use isotherm_store::index::{ChunkId, ChunkReader, ChunkWriter, Delta, DeltaKind, Entry, RunInfo};
use isotherm_store::layout::{
    Block, Checkpoint, ExtentHead, ExtentRow, Kill, Kills, Kind, Mark, Origin, Part, RecordHead,
    Shape, State, Stream, Tomb, Tombs,
};
use isotherm_store::{ExtentId, Key, Place};

/// Sixteen bytes a line; lines of zeros are left out.
fn rows(bytes: &[u8]) -> String {
    let mut text = String::new();
    for (number, row) in bytes.chunks(16).enumerate() {
        if row.iter().any(|byte| *byte != 0) {
            let words: Vec<String> =
                row.chunks(4).map(|w| w.iter().map(|b| format!("{b:02x}")).collect()).collect();
            text.push_str(&format!("{:04x} {}\n", number * 16, words.join(" ")));
        }
    }
    text
}

fn check(what: &str, bytes: &[u8], expected: &str) {
    let expected: String = expected
        .lines()
        .map(str::trim)
        .filter(|l| !l.is_empty())
        .map(|l| format!("{l}\n"))
        .collect();
    assert_eq!(rows(bytes), expected, "{what}");
}

fn key() -> Key {
    Key {
        group: 0x0102_0304,
        object: 0x1112_1314_1516_1718_191a_1b1c_1d1e_1f20,
        stripe: 0x2122_2324,
        position: 0x3132,
    }
}

fn origin() -> Origin {
    Origin {
        uuid: *b"sixteen bytes, a",
        extent: ExtentId(0x4142),
        block: 0x5152,
        incarnation: 0x6162_6364_6566_6768,
    }
}

fn place() -> Place {
    Place { extent: ExtentId(0x7_1234), block: 0x8765, blocks: 0x101, dead: false }
}

fn kills() -> Kills {
    let mut kills = Kills::default();
    kills.add(Kill { extent: ExtentId(0x91), incarnation: 0x92 });
    kills.add(Kill { extent: ExtentId(0x93), incarnation: 0x94 });
    kills
}

fn head() -> RecordHead {
    RecordHead {
        key: key(),
        epoch: 0xa1a2_a3a4_a5a6_a7a8,
        codec: 0xb1,
        put_s: 0xc1c2_c3c4,
        expires_s: 0xd1d2_d3d4,
        kills: kills(),
        supersedes: Some(place()),
    }
}

const SEQUENCE: u64 = 0xe1e2_e3e4_e5e6_e7e8;
const DURABLE: u32 = 0xf1f2;

fn block(write: impl FnOnce(&mut Block)) -> Vec<u8> {
    // What was in the buffer before must not show.
    let mut bytes = vec![0xee; 4096];
    Block::over_mut(&mut bytes).clear_cells();
    write(Block::over_mut(&mut bytes));
    Block::over_mut(&mut bytes).seal(&origin(), SEQUENCE, DURABLE);
    let (sound, _) = Block::check(&bytes).expect("what was sealed is sound");
    assert_eq!(sound.check_origin(&origin()), Ok(()));
    bytes
}

#[test]
fn a_place_has_its_bits() {
    assert_eq!(place().pack(), 0x1018_7657_1234);
    assert_eq!(Place { dead: true, ..place() }.pack(), 0x3018_7657_1234);
}

#[test]
fn a_segment_of_a_shard_has_its_bytes() {
    let payload: Vec<u8> = (0..200_000u32).map(|i| (i % 251) as u8).collect();
    let shape = Shape { payload_bytes: (256 << 10) + 200_000 };
    let bytes = block(|block| head().write(Kind::Data, shape, 1, &payload, block));
    let (read, read_shape) = RecordHead::read(Block::over(&bytes)).expect("a record");
    assert_eq!((read, read_shape), (head(), shape));
    check("data", &bytes, DATA);
}

#[test]
fn cells_stand_behind_the_head_of_the_first_segment() {
    let shape = Shape { payload_bytes: 3 };
    let bytes = block(|block| {
        block.set_cells(&[0x1111_1111, 0x2222_2222]);
        RecordHead { kills: Kills::default(), supersedes: None, ..head() }.write(
            Kind::Data,
            shape,
            0,
            b"abc",
            block,
        );
    });
    assert!(Block::over(&bytes).cells().eq([0x1111_1111, 0x2222_2222]));
    check("data with cells", &bytes, CELLS);
}

#[test]
fn tombstones_have_their_bytes() {
    let tomb = Tomb {
        key: key(),
        sequence: 0x0101_0202_0303_0404,
        epoch: 0xa1a2_a3a4_a5a6_a7a8,
        deleted_s: 0xc1c2_c3c4,
        held: true,
        born: 0x0505_0606_0707_0808,
        kills: kills(),
        supersedes: Some(place()),
    };
    let mut more = Kills::default();
    more.forget();
    let other =
        Tomb { key: Key::MIN, held: false, kills: more, supersedes: None, sequence: 9, ..tomb };
    let bytes = block(|block| Tombs::write(&[tomb, other], block));
    let read: Vec<Tomb> = Tombs::read(Block::over(&bytes)).expect("tombstones").collect();
    assert_eq!(read, [tomb, other]);
    check("tombs", &bytes, TOMBS);
}

#[test]
fn marks_and_heads_have_their_bytes() {
    let mark = Mark { first_block: 0x5101, records: 0x77, heads_crc: 0x1234_5678 };
    let bytes = block(|block| mark.write(block));
    assert_eq!(Mark::read(Block::over(&bytes)), Ok(mark));
    check("mark", &bytes, MARK);
    // h(1) = CRC32C of h(0) = 0 and the checksum of the first block.
    assert_eq!(Mark::chain(0, 0), isotherm_store::layout::crc32c(&[0; 8]));
    assert_eq!(Mark::chain(1, 2), isotherm_store::layout::crc32c(&[1, 0, 0, 0, 2, 0, 0, 0]));

    let head =
        ExtentHead { stream: Some(Stream::Cold), opened_s: 0x0a0b_0c0d, expires_day: 0x0e0f };
    let bytes = block(|block| head.write(block));
    assert_eq!(ExtentHead::read(Block::over(&bytes)), Ok(head));
    check("head", &bytes, HEAD);
    let reset = ExtentHead { stream: None, opened_s: 1, expires_day: 0 };
    let bytes = block(|block| reset.write(block));
    assert_eq!(bytes[88], 255, "an emptied extent");
}

#[test]
fn numbers_of_kinds_states_and_streams_stay() {
    let kinds = [Kind::Data, Kind::Tombs, Kind::Mark, Kind::Head, Kind::Run, Kind::Checkpoint];
    assert_eq!(kinds.map(|kind| kind as u8), [1, 2, 3, 4, 5, 6]);
    let states = [
        State::Meta,
        State::Free,
        State::Next,
        State::Open,
        State::Sealed,
        State::Dead,
        State::Offline,
    ];
    assert_eq!(states.map(|state| state as u8), [0, 1, 2, 3, 4, 5, 6]);
    assert_eq!(Stream::ALL.map(|stream| stream as u8), [0, 1, 2, 3, 4]);
    let live = |kind: DeltaKind, dead| {
        let mut bytes = [0; 24 + 48];
        let mut writer = ChunkWriter::new(&mut bytes, ChunkId { run: 1, chunk: 0 });
        let place = Place { dead, ..place() };
        let delta = Delta { kind, flags: 0, wall_s: 0, place, sequence: 0 };
        writer.push(&Entry { key: Key::MIN, delta });
        writer.finish().expect("an entry");
        bytes[24 + 26]
    };
    let kinds = [(DeltaKind::Live, false), (DeltaKind::Dead, true), (DeltaKind::Gone, false)];
    assert_eq!(kinds.map(|(kind, dead)| live(kind, dead)), [1, 2, 3]);
}

fn checkpoint() -> Checkpoint {
    let row = ExtentRow {
        incarnation: 0x6162_6364_6566_6768,
        written: 0x20,
        state: State::Sealed,
        stream: Stream::Index,
        suspect: true,
        newest_s: 0x0a0b_0c0d,
        verified_s: 0x0e0f_1011,
    };
    let free = ExtentRow { state: State::Free, written: 0, suspect: false, ..row };
    Checkpoint {
        uuid: *b"sixteen bytes, a",
        extent_blocks: 0x40,
        payload_max: 0x1_0000,
        number: 0x0102_0304_0506_0708,
        clean: true,
        retired: true,
        next_sequence: 0x1112_1314_1516_1718,
        next_incarnation: 0x2122_2324_2526_2728,
        written_s: 0x3132_3334,
        formatted_s: 0x4142_4344,
        extents: vec![row, free, free, free],
        runs: vec![0xaa; 5],
        profile: vec![0xbb; 3],
    }
}

#[test]
fn a_checkpoint_has_its_bytes() {
    let bytes = checkpoint().encode();
    assert_eq!(Checkpoint::decode(&bytes), Ok(checkpoint()));
    check("checkpoint", &bytes, CHECKPOINT);
    let part = Part { number: 5, part: 1, parts: 3 };
    let key = Key { group: 1, object: 5, stripe: 3, position: 0 };
    assert_eq!((part.to_key(), Part::from_key(&key)), (key, Some(part)));
}

#[test]
fn a_chunk_and_its_run_have_their_bytes() {
    let mut bytes = vec![0xee; 24 + 2 * 48];
    let id = ChunkId { run: 0x0102_0304_0506_0708, chunk: 0 };
    let mut writer = ChunkWriter::new(&mut bytes, id);
    let delta = Delta {
        kind: DeltaKind::Live,
        flags: 1,
        wall_s: 0xc1c2_c3c4,
        place: place(),
        sequence: SEQUENCE,
    };
    writer.push(&Entry { key: Key::MIN, delta });
    writer.push(&Entry { key: key(), delta: Delta { kind: DeltaKind::Gone, ..delta } });
    let written = writer.finish().expect("entries");
    assert_eq!(ChunkReader::new(&bytes, id).expect("a chunk").len(), 2);
    check("chunk", &bytes, CHUNK);
    let run = RunInfo::new(id.run, 2, &[(written, place())]).expect("a chunk");
    let mut bytes = Vec::new();
    run.encode(&mut bytes);
    assert_eq!(RunInfo::decode(&bytes), Ok((run, &[][..])));
    check("run", &bytes, RUN);
}

const DATA: &str = "
    0000 49736f42 7d94d9db 01000100 01000200
    0010 73697874 65656e20 62797465 732c2061
    0020 42410000 52510000 68676665 64636261
    0030 e8e7e6e5 e4e3e2e1 f2f10000 400d0700
    0040 400d0300 00000000 defcaa0d cd9e43f1
    0050 7070291c d63d51f9 01020304 11121314
    0060 15161718 191a1b1c 1d1e1f20 21222324
    0070 3132b100 c4c3c2c1 a8a7a6a5 a4a3a2a1
    0080 d4d3d2d1 00000200 91000000 92000000
    0090 00000000 93000000 94000000 00000000
    00b0 00000000 00000000 34125776 18100080
";
const CELLS: &str = "
    0000 49736f42 10e1d40d 01000100 00000100
    0010 73697874 65656e20 62797465 732c2061
    0020 42410000 52510000 68676665 64636261
    0030 e8e7e6e5 e4e3e2e1 f2f10000 03000000
    0040 03000000 00000000 b73f4b36 00000000
    0050 00000000 00000000 01020304 11121314
    0060 15161718 191a1b1c 1d1e1f20 21222324
    0070 3132b100 c4c3c2c1 a8a7a6a5 a4a3a2a1
    0080 d4d3d2d1 02000000 00000000 00000000
    00c0 11111111 22222222 00000000 00000000
";
const TOMBS: &str = "
    0000 49736f42 1ed5f3ab 01000200 00000100
    0010 73697874 65656e20 62797465 732c2061
    0020 42410000 52510000 68676665 64636261
    0030 e8e7e6e5 e4e3e2e1 f2f10000 00000000
    0050 00000000 00000000 02000000 00000000
    0060 01020304 11121314 15161718 191a1b1c
    0070 1d1e1f20 21222324 31320102 c4c3c2c1
    0080 04040303 02020101 a8a7a6a5 a4a3a2a1
    0090 08080707 06060505 91000000 92000000
    00a0 00000000 93000000 94000000 00000000
    00c0 00000000 00000000 34125776 18100080
    00e0 00000000 00000000 00000200 c4c3c2c1
    00f0 09000000 00000000 a8a7a6a5 a4a3a2a1
    0100 08080707 06060505 00000000 00000000
";
const MARK: &str = "
    0000 49736f42 116211d5 01000300 00000100
    0010 73697874 65656e20 62797465 732c2061
    0020 42410000 52510000 68676665 64636261
    0030 e8e7e6e5 e4e3e2e1 f2f10000 00000000
    0050 00000000 00000000 01510000 77000000
    0060 78563412 00000000 00000000 00000000
";
const HEAD: &str = "
    0000 49736f42 908cea8a 01000400 00000100
    0010 73697874 65656e20 62797465 732c2061
    0020 42410000 52510000 68676665 64636261
    0030 e8e7e6e5 e4e3e2e1 f2f10000 00000000
    0050 00000000 00000000 03000000 00000000
    0060 0d0c0b0a 0f0e0000 00000000 00000000
";
const CHECKPOINT: &str = "
    0000 01000101 73697874 65656e20 62797465
    0010 732c2061 40000000 04000000 00000100
    0020 08070605 04030201 18171615 14131211
    0030 28272625 24232221 34333231 44434241
    0040 04000000 05000000 03000000 e24c381e
    0050 68676665 64636261 20000000 04040100
    0060 0d0c0b0a 11100f0e 68676665 64636261
    0070 00000000 01040000 0d0c0b0a 11100f0e
    0080 68676665 64636261 00000000 01040000
    0090 0d0c0b0a 11100f0e 68676665 64636261
    00a0 00000000 01040000 0d0c0b0a 11100f0e
    00b0 aaaaaaaa aabbbbbb
";
const CHUNK: &str = "
    0000 01000000 02000000 08070605 04030201
    0030 00000101 c4c3c2c1 34125776 18100000
    0040 e8e7e6e5 e4e3e2e1 01020304 11121314
    0050 15161718 191a1b1c 1d1e1f20 21222324
    0060 31320301 c4c3c2c1 34125776 18100000
    0070 e8e7e6e5 e4e3e2e1
";
const RUN: &str = "
    0000 01000200 01000000 08070605 04030201
    0010 02000000 00000000 01000000 00000000
    0030 00000000 00000000 00000102 03041112
    0040 13141516 1718191a 1b1c1d1e 1f202122
    0050 23243132 00000000 00000000 00000000
    0070 00000000 02000000 34125776 18100000
";

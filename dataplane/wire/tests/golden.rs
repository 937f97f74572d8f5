//! The bytes of every message never change: `golden.txt` has one line for each, and what this
//! build writes is compared with it, and what is read from it with what was meant.
//!
//! A line that is there stays as it is. A new kind adds lines:
//! `cargo test -p isotherm-wire --test golden -- --ignored keep_new_lines` appends them.

mod messages;

use std::collections::BTreeMap;
use std::path::PathBuf;

use isotherm_seam::Key;
use isotherm_wire::{
    Answer, Ask, Class, DiskState, Doubt, ENTRY_BYTES, Entry, Failure, Given, HEADER_BYTES, MAGIC,
    Request, Told, VERSION, VERSION_LEAST, decode_entries, encode_entries,
};

use messages::{KEY, answers, request, requests, requests_of, told};

const VERSIONS: std::ops::RangeInclusive<u8> = VERSION_LEAST..=VERSION;

/// Of every body in these messages; nobody checks it against one here.
const BODY_CRC: u32 = 0xf1f2_f3f4;

fn file() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/golden.txt")
}

/// Every line as this build writes it: a name, and the bytes.
fn written() -> Vec<(String, Vec<u8>)> {
    let mut lines = Vec::new();
    for version in VERSIONS {
        for (name, ask, body_bytes) in requests_of(version) {
            let header = request(version, &ask).encode(body_bytes, BODY_CRC);
            lines.push((format!("request/{version}/{name}"), header.to_vec()));
        }
        for (name, outcome, body_bytes) in answers() {
            let header = answer(version, outcome).encode(body_bytes, BODY_CRC);
            lines.push((format!("answer/{version}/{name}"), header.to_vec()));
        }
        for doubt in [Doubt::Unclean, Doubt::Harmed] {
            let header = Answer::failed(version, Failure::NotFound).doubted(doubt).encode(0, 0);
            lines.push((format!("answer/{version}/doubt-{doubt:?}"), header.to_vec()));
        }
    }
    for class in Class::ALL {
        let request = Request { class, ..request(VERSION, &Ask::Status) };
        lines.push((format!("request/{VERSION}/class-{class:?}"), request.encode(0, 0).to_vec()));
    }
    // The version in a told message says who wrote it, and nobody reads it.
    for version in VERSIONS {
        for (name, message) in told() {
            let mut bytes = message.encode();
            bytes[1] = version;
            lines.push((format!("told/{version}/{name}"), bytes));
        }
    }
    lines.push(("body/entries".to_owned(), encode_entries(entries().into_iter())));
    lines.push(("body/disk-state".to_owned(), disk_state().encode()));
    lines
}

fn answer(version: u8, outcome: Result<Given, Failure>) -> Answer {
    Answer { version, doubt: Doubt::None, outcome }
}

fn entries() -> [Entry; 2] {
    let shard =
        Entry { key: KEY, is_tombstone: false, at_s: 0x0a0b_0c0d, sequence: 0x1a1b_1c1d_1e1f_2021 };
    [shard, Entry { key: Key::MAX, is_tombstone: true, ..shard }]
}

fn disk_state() -> DiskState {
    DiskState {
        capacity_bytes: 0x0102_0304_0506_0708,
        free_bytes: 0x1112_1314_1516_1718,
        live_bytes: 0x2122_2324_2526_2728,
        shards: 0x3132_3334_3536_3738,
        shards_room: 0x4142_4344_4546_4748,
        is_fenced: true,
        is_retired: false,
    }
}

/// The kept lines. Zeros at the end of a line are left out, so the length stands before it.
fn kept() -> BTreeMap<String, Vec<u8>> {
    let text = std::fs::read_to_string(file()).expect("the kept bytes");
    let line = |line: &str| {
        let mut words = line.split_whitespace();
        let mut word = || words.next().unwrap_or_else(|| panic!("a word is missing: {line}"));
        let (name, len): (_, usize) = (word().to_owned(), word().parse().expect("a length"));
        let hex = words.next().unwrap_or_default();
        let byte = |at| u8::from_str_radix(&hex[at..at + 2], 16).expect("two hex digits");
        let mut bytes: Vec<u8> = (0..hex.len()).step_by(2).map(byte).collect();
        assert!(bytes.len() <= len, "{line}");
        bytes.resize(len, 0);
        (name, bytes)
    };
    let lines = text.lines().filter(|line| !line.starts_with('#') && !line.is_empty());
    let lines: Vec<_> = lines.map(line).collect();
    let count = lines.len();
    let kept: BTreeMap<_, _> = lines.into_iter().collect();
    assert_eq!(kept.len(), count, "a name stands twice");
    kept
}

fn line(name: &str, bytes: &[u8]) -> String {
    let used = bytes.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1);
    let hex: String = bytes[..used].iter().map(|byte| format!("{byte:02x}")).collect();
    format!("{name} {} {hex}\n", bytes.len())
}

#[test]
fn every_message_has_the_bytes_that_it_had() {
    let kept = kept();
    let written = written();
    for (name, bytes) in &written {
        let kept = kept.get(name).unwrap_or_else(|| panic!("{name} has no line in golden.txt"));
        assert_eq!(line(name, bytes), line(name, kept), "the bytes of {name} changed");
    }
    assert_eq!(kept.len(), written.len(), "golden.txt has messages that nobody writes any more");
}

#[test]
fn every_kept_message_is_read_as_what_it_was() {
    let kept = kept();
    let header = |name: String| -> [u8; HEADER_BYTES] {
        kept[&name].clone().try_into().expect("a header's length")
    };
    for version in VERSIONS {
        for (name, ask, body_bytes) in requests_of(version) {
            let read = Request::decode(&header(format!("request/{version}/{name}")));
            let (read, envelope) = read.expect(name);
            assert_eq!(read, request(version, &ask), "{name}");
            assert_eq!((envelope.body_bytes, envelope.body_crc), (body_bytes, BODY_CRC));
        }
        for (name, outcome, body_bytes) in answers() {
            let read = Answer::decode(&header(format!("answer/{version}/{name}")));
            let (read, envelope) = read.expect(&name);
            assert_eq!(read, answer(version, outcome), "{name}");
            assert_eq!((envelope.body_bytes, envelope.body_crc), (body_bytes, BODY_CRC));
        }
        for (name, message) in told() {
            assert_eq!(Told::decode(&kept[&format!("told/{version}/{name}")]), Ok(message));
        }
    }
    assert_eq!(decode_entries(&kept["body/entries"]), Ok(entries().to_vec()));
    assert_eq!(DiskState::decode(&kept["body/disk-state"]), Ok(disk_state()));
}

const TOLD: [(&str, u8); 10] = [
    ("hello", 1),
    ("go-away", 2),
    ("map-news", 3),
    ("claim", 4),
    ("grant", 5),
    ("park", 6),
    ("wake", 7),
    ("drop", 8),
    ("begun", 9),
    ("waits", 10),
];

/// The numbers once more, where a person looks for them: docs/WIRE.md has the same tables.
#[test]
fn numbers_never_change() {
    let kept = kept();
    let kind = |name: &str| kept[&format!("request/2/{name}")][5];
    let numbers = [
        ("ping", 1),
        ("put", 2),
        ("get", 3),
        ("delete", 4),
        ("release", 5),
        ("stat", 6),
        ("verify", 7),
        ("list", 8),
        ("scrub", 9),
        ("status", 10),
        ("vouch", 11),
        ("reserve", 12),
    ];
    for (name, number) in numbers {
        assert_eq!(kind(name), number, "{name}");
    }
    for (number, class) in (0..).zip(["Foreground", "Critical", "Repair", "Rebalance", "Scrub"]) {
        assert_eq!(kept[&format!("request/2/class-{class}")][63], number, "{class}");
    }
    assert_eq!(kept["answer/2/nothing"][5], 0x80);
    assert_eq!(kept["answer/2/doubt-Unclean"][55], 1);
    assert_eq!(kept["answer/2/doubt-Harmed"][55], 2);
    for (number, failure) in Failure::ALL {
        assert_eq!(kept[&format!("answer/2/failure-{number}")][5], 0x80 | number, "{failure}");
    }
    assert_eq!(Failure::ALL.map(|(number, _)| number).to_vec(), (1..=18).collect::<Vec<u8>>());
    for (name, number) in TOLD {
        assert_eq!(kept[&format!("told/2/{name}")][0], number, "{name}");
    }
    assert_eq!((MAGIC, HEADER_BYTES, ENTRY_BYTES), (*b"Isth", 128, 40));
    assert_eq!(kept["body/disk-state"].len(), 48);
}

/// What a build of version 1 sends and expects: it knows no class.
#[test]
fn the_version_before_is_understood_and_answered() {
    for (name, ask, body_bytes) in requests() {
        let old = Request { class: Class::Scrub, ..request(1, &ask) };
        let header = old.encode(body_bytes, BODY_CRC);
        assert_eq!(header[63], 0, "{name}: version 1 has nothing there");
        let (read, envelope) = Request::decode(&header).expect(name);
        assert_eq!((read.version, read.class), (1, Class::Foreground), "{name}");
        assert_eq!(envelope.version, 1);
        // Even where a build of version 1 left something there.
        let mut dirty = header;
        dirty[63] = 0xee;
        let (read, _) = Request::decode(&messages::sealed(dirty)).expect(name);
        assert_eq!(read.class, Class::Foreground, "{name}");
        // In version 2 it would be a class that nobody knows.
        dirty[4] = 2;
        assert!(Request::decode(&messages::sealed(dirty)).is_err(), "{name}");
    }
    for (name, outcome, body_bytes) in answers() {
        let header = answer(1, outcome).encode(body_bytes, BODY_CRC);
        assert_eq!(header[4], 1, "{name}: an answer is of its request's version");
        assert_eq!(Answer::decode(&header).expect(&name).0, answer(1, outcome));
    }
}

#[test]
fn peers_agree_on_the_newest_that_both_speak() {
    assert_eq!(Told::agreed(1, 1), Some(1));
    assert_eq!(Told::agreed(1, 2), Some(2));
    assert_eq!(Told::agreed(2, 3), Some(2), "a later build, one version on");
    assert_eq!(Told::agreed(3, 4), None, "two versions on");
    assert_eq!(Told::agreed(0, 0), None);
    let Told::Hello { least, newest, map_version } = Told::hello(7) else { panic!("a greeting") };
    assert_eq!((least, newest, map_version), (VERSION_LEAST, VERSION, 7));
}

#[test]
#[ignore = "writes into the source folder"]
fn keep_new_lines() {
    let mut text = std::fs::read_to_string(file()).unwrap_or_else(|_| {
        "# Messages as they are on the wire: a name, the length, the bytes in hexadecimal.\n\
         # Zeros at the end are left out. A line never changes; see golden.rs.\n"
            .to_owned()
    });
    for (name, bytes) in written() {
        if !text.lines().any(|line| line.split(' ').next() == Some(&name)) {
            text.push_str(&line(&name, &bytes));
        }
    }
    std::fs::write(file(), text).expect("the kept bytes");
}

//! What the tests of the wire share: one message of every kind, and random ones.

#![allow(dead_code, unreachable_pub, reason = "each test uses its part")]

use isotherm_seam::{Domain, Draws, Key, Nanos};
use isotherm_wire::{
    Answer, Ask, BODY_BYTES_MAX, Begins, Class, DiskState, Doubt, Entry, Failure, Given,
    HEADER_BYTES, HeaderBytes, LIST_LIMIT_MAX, Request, ShardInfo, Told, crc32c,
};

/// A number from the environment.
pub fn number(name: &str) -> Option<u64> {
    let text = std::env::var(name).ok()?;
    Some(text.parse().unwrap_or_else(|_| panic!("{name}={text} is not a number")))
}

/// Draws for one test. The seed is told, so that a failure can be run again.
pub fn draws(test: &'static str) -> Draws {
    let seed = number("ISOTHERM_SEED").unwrap_or(1);
    println!("ISOTHERM_SEED={seed} cargo test -p isotherm-wire {test}");
    Draws::new(seed, Domain::new("wire.tests"), 0)
}

/// A key with a different number in each of its bytes.
pub const KEY: Key = Key {
    group: 0x0102_0304,
    object: 0x1112_1314_1516_1718_191a_1b1c_1d1e_1f20,
    stripe: 0x2122_2324,
    position: 0x3132,
};

/// Every kind of request, each field with a number of its own. The names stay.
pub fn requests() -> Vec<(&'static str, Ask, u32)> {
    let epoch = 0x4142_4344_4546_4748;
    let to = Key { group: 0x0506_0708, ..KEY };
    let put = |expires_s, cells| Ask::Put { key: KEY, epoch, codec: 0x51, expires_s, cells };
    vec![
        ("ping", Ask::Ping, 0),
        ("put", put(0x6162_6364, 6), 4120),
        ("put-copy", put(0, 0), 4096),
        ("put-empty", put(0, 0), 0),
        ("get", Ask::Get { key: KEY, range: None }, 0),
        ("get-range", Ask::Get { key: KEY, range: Some(0x7172..0x8182_8384) }, 0),
        ("get-no-bytes", Ask::Get { key: KEY, range: Some(0..0) }, 0),
        ("delete", Ask::Delete { key: KEY, epoch, hold: false }, 0),
        ("delete-hold", Ask::Delete { key: KEY, epoch, hold: true }, 0),
        ("release", Ask::Release { key: KEY }, 0),
        ("stat", Ask::Stat { key: KEY }, 0),
        ("verify", Ask::Verify { key: KEY }, 0),
        ("list", Ask::List { from: KEY, to, limit: 1000 }, 0),
        ("scrub", Ask::Scrub, 0),
        ("status", Ask::Status, 0),
        ("vouch", Ask::Vouch { number: epoch }, 0),
    ]
}

/// The same of a version, with what came with it.
pub fn requests_of(version: u8) -> Vec<(&'static str, Ask, u32)> {
    let mut all = requests();
    if version >= 2 {
        let reserve = |range, begins| Ask::Reserve {
            key: KEY,
            range,
            number: 0x4142_4344_4546_4748,
            needed: 0x0a0b,
            holders: 0x0e0f,
            begins,
        };
        all.push(("reserve", reserve(None, Begins::Granted), 0));
        all.push(("reserve-range", reserve(Some(0x7172..0x8182_8384), Begins::Granted), 0));
        all.push(("reserve-tied", reserve(None, Begins::Claimed), 0));
        all.push(("reserve-at-once", reserve(None, Begins::AtOnce), 0));
    }
    all
}

/// A request around one of [`requests`].
pub fn request(version: u8, ask: &Ask) -> Request {
    let disk = std::array::from_fn(|at| 0xa0 + at as u8);
    let class = if version == 1 { Class::Foreground } else { Class::Repair };
    Request { version, class, deadline_us: 0x9192_9394, disk, ask: ask.clone() }
}

/// Every kind of answer: the good ones, then every failure.
pub fn answers() -> Vec<(String, Result<Given, Failure>, u32)> {
    let shard = ShardInfo {
        key: KEY,
        epoch: 0x4142_4344_4546_4748,
        codec: 0x51,
        len_bytes: 0x000b_0c0d,
        sequence: 0xb1b2_b3b4_b5b6_b7b8,
        put_s: 0xc1c2_c3c4,
    };
    let next = Some(Key { group: 0x0506_0708, ..KEY });
    let good = [
        ("nothing", Given::default(), 0),
        ("shard", Given { shard, ..Given::default() }, 0),
        ("payload", Given { shard, from: 0xd1d2_d3d4, ..Given::default() }, 4096),
        ("page", Given { next, ..Given::default() }, 80),
        ("last-page", Given::default(), 40),
    ];
    let good = good.map(|(name, given, body)| (name.to_owned(), Ok(given), body));
    let failed = Failure::ALL.map(|(number, failure)| {
        let failure = match failure {
            Failure::Busy { .. } => Failure::Busy { expected: Nanos(0x0123_4567 * 1000) },
            failure => failure,
        };
        (format!("failure-{number}"), Err(failure), 0)
    });
    good.into_iter().chain(failed).collect()
}

/// Every kind of told message.
pub fn told() -> [(&'static str, Told); 10] {
    let map_version = 0xe1e2_e3e4_e5e6_e7e8;
    [
        ("hello", Told::Hello { least: 1, newest: 2, map_version }),
        ("go-away", Told::GoAway),
        ("map-news", Told::MapNews { map_version }),
        ("claim", Told::Claim { number: map_version }),
        ("grant", Told::Grant { number: map_version }),
        ("park", Told::Park { number: map_version }),
        ("wake", Told::Wake { number: map_version }),
        ("drop", Told::Drop { number: map_version }),
        ("begun", Told::Begun { number: map_version }),
        ("waits", Told::Waits { number: map_version }),
    ]
}

pub fn random_key(draws: &mut Draws) -> Key {
    // Small and extreme numbers are where fields meet.
    match draws.below(8) {
        0 => Key::MIN,
        1 => Key::MAX,
        _ => Key {
            group: draws.next_u64() as u32,
            object: u128::from(draws.next_u64()) << 64 | u128::from(draws.next_u64()),
            stripe: draws.next_u64() as u32,
            position: draws.next_u64() as u16,
        },
    }
}

/// A number of any size: few bits as often as many.
pub fn random_number(draws: &mut Draws) -> u64 {
    let shift = draws.below(65) as u32;
    draws.next_u64().checked_shr(shift).unwrap_or(0)
}

/// A request that somebody could send, and the length of its body.
pub fn random_request(draws: &mut Draws) -> (Request, u32) {
    let key = random_key(draws);
    let epoch = random_number(draws);
    let mut body_bytes = 0;
    let version = 1 + draws.below(2) as u8;
    let ask = match draws.below(if version == 1 { 11 } else { 12 }) {
        11 => {
            let (a, b) = (random_number(draws) as u32, random_number(draws) as u32);
            let range = draws.happens(0.5).then_some(a.min(b)..a.max(b));
            let holders = 1 + draws.below(u64::from(u16::MAX)) as u16;
            let needed = 1 + draws.below(u64::from(holders)) as u16;
            let begins = [Begins::Granted, Begins::AtOnce, Begins::Claimed];
            let (number, begins) = (random_number(draws), begins[draws.below(3) as usize]);
            Ask::Reserve { key, range, number, needed, holders, begins }
        }
        0 => Ask::Ping,
        1 => {
            let cells = draws.below(257) as u32;
            let payload = draws.below((BODY_BYTES_MAX - 1024 + 1) as u64) as u32;
            body_bytes = cells * 4 + payload;
            let (codec, expires_s) = (draws.next_u64() as u8, random_number(draws) as u32);
            Ask::Put { key, epoch, codec, expires_s, cells }
        }
        2 => {
            let (a, b) = (random_number(draws) as u32, random_number(draws) as u32);
            Ask::Get { key, range: draws.happens(0.5).then_some(a.min(b)..a.max(b)) }
        }
        3 => Ask::Delete { key, epoch, hold: draws.happens(0.5) },
        4 => Ask::Release { key },
        5 => Ask::Stat { key },
        6 => Ask::Verify { key },
        7 => {
            let limit = 1 + draws.below(u64::from(LIST_LIMIT_MAX)) as u32;
            Ask::List { from: key, to: random_key(draws), limit }
        }
        8 => Ask::Scrub,
        9 => Ask::Vouch { number: random_number(draws) },
        _ => Ask::Status,
    };
    let class = match version {
        1 => Class::Foreground,
        _ => Class::ALL[draws.below(Class::ALL.len() as u64) as usize],
    };
    let mut disk = [0; 16];
    disk[..8].copy_from_slice(&draws.next_u64().to_le_bytes());
    disk[8..].copy_from_slice(&draws.next_u64().to_le_bytes());
    let deadline_us = random_number(draws) as u32;
    (Request { version, class, deadline_us, disk, ask }, body_bytes)
}

/// An answer that somebody could send, and the length of its body.
pub fn random_answer(draws: &mut Draws) -> (Answer, u32) {
    let version = 1 + draws.below(2) as u8;
    if draws.happens(0.4) {
        let at = draws.below(Failure::ALL.len() as u64) as usize;
        let failure = match Failure::ALL[at].1 {
            // To the microsecond, and no more than can be said.
            Failure::Busy { .. } => {
                Failure::Busy { expected: Nanos(random_number(draws) / 1000 * 1000) }
            }
            failure => failure,
        };
        let doubt = Doubt::from_number(draws.below(3) as u8);
        return (Answer::failed(version, failure).doubted(doubt), 0);
    }
    let shard = ShardInfo {
        key: random_key(draws),
        epoch: random_number(draws),
        codec: draws.next_u64() as u8,
        len_bytes: random_number(draws) as u32,
        sequence: random_number(draws),
        put_s: random_number(draws) as u32,
    };
    let next = draws.happens(0.5).then(|| random_key(draws));
    let expected = Nanos(random_number(draws) / 1000 * 1000);
    let given = Given { shard, from: random_number(draws) as u32, next, expected };
    let doubt = Doubt::from_number(draws.below(3) as u8);
    (Answer::ok(version, given).doubted(doubt), draws.below(BODY_BYTES_MAX as u64 + 1) as u32)
}

/// Any message that can be told by this build.
pub fn random_told(draws: &mut Draws) -> Told {
    let map_version = random_number(draws);
    let number = map_version;
    match draws.below(11) {
        0 => {
            let (a, b) = (draws.next_u64() as u8, draws.next_u64() as u8);
            Told::Hello { least: a.min(b), newest: a.max(b), map_version }
        }
        1 => Told::GoAway,
        2 => Told::MapNews { map_version },
        3 => Told::Claim { number },
        4 => Told::Grant { number },
        5 => Told::Park { number },
        6 => Told::Wake { number },
        7 => Told::Drop { number },
        8 => Told::Begun { number },
        9 => Told::Waits { number },
        _ => Told::Unknown { kind: 11 + draws.below(245) as u8 },
    }
}

pub fn random_entries(draws: &mut Draws) -> Vec<Entry> {
    let count = draws.below(100);
    let mut entry = || Entry {
        key: random_key(draws),
        is_tombstone: draws.happens(0.2),
        at_s: random_number(draws) as u32,
        sequence: random_number(draws),
    };
    (0..count).map(|_| entry()).collect()
}

pub fn random_state(draws: &mut Draws) -> DiskState {
    DiskState {
        capacity_bytes: random_number(draws),
        free_bytes: random_number(draws),
        live_bytes: random_number(draws),
        shards: random_number(draws),
        shards_room: random_number(draws),
        is_fenced: draws.happens(0.5),
        is_retired: draws.happens(0.5),
    }
}

/// A header whose checksum fits whatever else it says.
pub fn sealed(mut header: HeaderBytes) -> HeaderBytes {
    header[8..12].fill(0);
    let crc = crc32c(&header);
    header[8..12].copy_from_slice(&crc.to_le_bytes());
    header
}

/// A header that begins with the input.
pub fn header_of(input: &[u8]) -> HeaderBytes {
    let mut header = [0; HEADER_BYTES];
    let len = input.len().min(HEADER_BYTES);
    header[..len].copy_from_slice(&input[..len]);
    header
}

//! Every decoder of bytes from another machine, on any bytes: an error or a message, no panic, and
//! no more memory than the bytes account for.
//!
//! Random bytes would end at the checksum, so it is made to fit, as are magic and version: what
//! remains is what a careless or hostile peer could send. Messages of every kind are kept as a
//! corpus in `__fuzz__`. With a fuzzer: `cargo bolero test -p isotherm-wire any_header`.
//!
//! `ISOTHERM_INPUTS=10000000 cargo test --release -p isotherm-wire --test decoders` for more.

mod messages;

use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};

use isotherm_wire::{
    Answer, Ask, BODY_BYTES_MAX, DiskState, Doubt, ENTRY_BYTES, Entry, Envelope, HEADER_BYTES,
    HeaderBytes, LIST_LIMIT_MAX, MAGIC, Request, Told, VERSION, VERSION_LEAST, WireError,
    decode_entries, encode_entries,
};

use messages::{draws, header_of, number, sealed};

fn inputs() -> usize {
    number("ISOTHERM_INPUTS").unwrap_or(50_000) as usize
}

// What a header is read into owns no memory of its own, so a header can't make a decoder take any.
const _: () = assert!(!std::mem::needs_drop::<(Request, Envelope)>());
const _: () = assert!(!std::mem::needs_drop::<(Answer, Envelope)>());
const _: () = assert!(!std::mem::needs_drop::<Result<Told, WireError>>());
const _: () = assert!(!std::mem::needs_drop::<Result<DiskState, WireError>>());
// An entry in memory is larger than on the wire, by its alignment.
const _: () = assert!(size_of::<Entry>() <= 2 * ENTRY_BYTES);

/// Magic, version and checksum as they must be; one kind in two is a request's.
fn made_sound(input: &[u8]) -> HeaderBytes {
    let mut header = header_of(input);
    header[..4].copy_from_slice(&MAGIC);
    header[4] = VERSION_LEAST + header[4] % (VERSION - VERSION_LEAST + 1);
    // Few of 256 numbers are kinds.
    header[5] = (header[5] & 0x80) | ((header[5] & 0x7f) % 20);
    // Few have flags, and most have no body, so that one bit of a field that nobody reads decides.
    if header[16] & 1 == 0 {
        header[6] &= 3;
        header[7] = 0;
    }
    match header[16] & 2 {
        0 => header[12..16].fill(0),
        // Up to one and a half times what is allowed.
        _ => {
            header[14] %= ((BODY_BYTES_MAX * 3 / 2) >> 16) as u8;
            header[15] = 0;
        }
    }
    sealed(header)
}

/// Reads a header by every decoder; what is taken is within bounds, and means the same when it
/// is written again. How many took it.
fn read_all(header: &HeaderBytes) -> usize {
    let envelope = Envelope::read(header);
    let mut taken = 0;
    if let Ok((request, read)) = Request::decode(header) {
        taken += 1;
        assert_eq!(envelope, Ok(read));
        assert!(read.body_bytes as usize <= BODY_BYTES_MAX);
        match &request.ask {
            Ask::Put { cells, .. } => assert!(*cells <= 256 && cells * 4 <= read.body_bytes),
            Ask::Get { range: Some(range), .. } => assert!(range.start <= range.end),
            Ask::List { limit, .. } => assert!((1..=LIST_LIMIT_MAX).contains(limit)),
            _ => {}
        }
        if !matches!(request.ask, Ask::Put { .. }) {
            assert_eq!(read.body_bytes, 0, "only a put has a body");
        }
        let again = request.encode(read.body_bytes, read.body_crc);
        assert_eq!(Request::decode(&again), Ok((request, read)));
    }
    if let Ok((answer, read)) = Answer::decode(header) {
        taken += 1;
        assert_eq!(envelope, Ok(read));
        assert!(answer.outcome.is_ok() || read.body_bytes == 0, "a failure has no body");
        let again = answer.encode(read.body_bytes, read.body_crc);
        assert_eq!(Answer::decode(&again), Ok((answer, read)));
    }
    assert!(taken <= 1, "a request and an answer at once");
    taken
}

#[test]
fn any_header() {
    let (seen, taken) = (AtomicUsize::new(0), AtomicUsize::new(0));
    bolero::check!().with_iterations(inputs()).for_each(|input: &[u8]| {
        seen.fetch_add(1, Ordering::Relaxed);
        taken.fetch_add(read_all(&made_sound(input)), Ordering::Relaxed);
        read_all(&sealed(header_of(input)));
        read_all(&header_of(input));
    });
    let (seen, taken) = (seen.into_inner(), taken.into_inner());
    assert!(taken > seen / 20, "{taken} of {seen} were messages: this looks at checksums alone");
}

#[test]
fn any_told() {
    bolero::check!().with_iterations(inputs()).for_each(|input: &[u8]| {
        let mut known = input.to_vec();
        if let Some(kind) = known.first_mut() {
            *kind %= 5;
        }
        for bytes in [input, &known] {
            if let Ok(told) = Told::decode(bytes) {
                if let Told::Hello { least, newest, .. } = told {
                    assert!(least <= newest);
                    let agreed = Told::agreed(least, newest);
                    assert!(agreed.is_none_or(|version| {
                        (least..=newest).contains(&version)
                            && (VERSION_LEAST..=VERSION).contains(&version)
                    }));
                }
                assert_eq!(Told::decode(&told.encode()), Ok(told));
            }
        }
    });
}

#[test]
fn any_body() {
    bolero::check!().with_iterations(inputs()).for_each(|input: &[u8]| {
        let whole = input.len() - input.len() % ENTRY_BYTES;
        let mut page = input[..whole].to_vec();
        for tombstone in page.iter_mut().skip(26).step_by(ENTRY_BYTES) {
            // Mostly one of those that can be.
            *tombstone %= 3;
        }
        for bytes in [input, &page] {
            if let Ok(entries) = decode_entries(bytes) {
                assert_eq!(entries.len() * ENTRY_BYTES, bytes.len(), "nothing is ignored");
                let taken = entries.capacity() * size_of::<Entry>();
                assert!(taken <= 4 * bytes.len() + 512, "{taken} bytes for {}", bytes.len());
                let again = encode_entries(entries.iter().copied());
                assert_eq!(decode_entries(&again), Ok(entries));
            }
        }
        let mut state = [0; 48];
        let len = input.len().min(state.len());
        state[..len].copy_from_slice(&input[..len]);
        state[40] %= 3;
        state[41] %= 3;
        for bytes in [input, &state] {
            if let Ok(state) = DiskState::decode(bytes) {
                assert_eq!(DiskState::decode(&state.encode()), Ok(state));
            }
        }
    });
}

/// Sound messages, a little changed, with a checksum that fits: what a peer with a bug sends.
#[test]
fn changed_messages() {
    let mut draws = draws("changed_messages");
    let (mut taken, mut refused) = (0, 0);
    for _ in 0..inputs() {
        let mut header = match draws.happens(0.5) {
            true => {
                let (request, body_bytes) = messages::random_request(&mut draws);
                request.encode(body_bytes, draws.next_u64() as u32)
            }
            false => {
                let (answer, body_bytes) = messages::random_answer(&mut draws);
                answer.encode(body_bytes, draws.next_u64() as u32)
            }
        };
        for _ in 0..1 + draws.below(4) {
            // The front decides most, so half of the changes are there.
            let end = if draws.happens(0.5) { 20 } else { HEADER_BYTES };
            let at = 4 + draws.below(end as u64 - 4) as usize;
            match draws.below(4) {
                0 => header[at] ^= 1 << draws.below(8),
                1 => header[at] = 0,
                2 => header[at] = 0xff,
                _ => {
                    let from = draws.below(HEADER_BYTES as u64) as usize;
                    let len = 1 + draws.below((HEADER_BYTES - at.max(from)) as u64) as usize;
                    header.copy_within(from..from + len, at);
                }
            }
        }
        header[..4].copy_from_slice(&MAGIC);
        match read_all(&sealed(header)) {
            0 => refused += 1,
            _ => taken += 1,
        }
    }
    // Both happen, or the changes are not what they should be.
    let least = inputs() / 20;
    assert!(taken > least && refused > least, "{taken} taken, {refused} refused");
}

/// Writes the corpus anew: a message of every kind.
#[test]
#[ignore = "writes into the source folder"]
fn keep_a_corpus() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/__fuzz__");
    let keep = |target: &str, name: &str, bytes: &[u8]| {
        let folder = folder.join(target).join("corpus");
        std::fs::create_dir_all(&folder).expect("a folder");
        std::fs::write(folder.join(name), bytes).expect("a file");
    };
    for (name, ask, body_bytes) in messages::requests() {
        let header = messages::request(VERSION, &ask).encode(body_bytes, 0);
        keep("any_header", &format!("request-{name}"), &header);
    }
    for (name, outcome, body_bytes) in messages::answers() {
        let header = Answer { version: VERSION, doubt: Doubt::None, outcome }.encode(body_bytes, 0);
        keep("any_header", &format!("answer-{name}"), &header);
    }
    for (name, message) in messages::told() {
        keep("any_told", name, &message.encode());
    }
    let mut draws = draws("keep_a_corpus");
    for number in 0..4 {
        let entries: Vec<Entry> =
            messages::random_entries(&mut draws).into_iter().take(number * 2).collect();
        keep("any_body", &format!("page-{number}"), &encode_entries(entries.into_iter()));
        let state = messages::random_state(&mut draws).encode();
        keep("any_body", &format!("state-{number}"), &state);
    }
}

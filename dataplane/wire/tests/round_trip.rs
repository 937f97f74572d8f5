//! Whatever is written is read as it was meant, and whatever of it was changed on the way is
//! refused.

mod messages;

use isotherm_wire::{
    Answer, DiskState, HEADER_BYTES, Request, Told, WireError, decode_entries, encode_entries,
};

use messages::{draws, number};

fn rounds() -> u64 {
    number("ISOTHERM_INPUTS").unwrap_or(50_000)
}

#[test]
fn a_request_is_read_as_it_was_written() {
    let mut draws = draws("a_request_is_read_as_it_was_written");
    for _ in 0..rounds() {
        let (request, body_bytes) = messages::random_request(&mut draws);
        let body_crc = draws.next_u64() as u32;
        let header = request.encode(body_bytes, body_crc);
        let (read, envelope) = Request::decode(&header).expect("what was just written");
        assert_eq!(read, request);
        assert_eq!(envelope.version, request.version);
        assert_eq!((envelope.body_bytes, envelope.body_crc), (body_bytes, body_crc));
        assert!(matches!(Answer::decode(&header), Err(WireError::Kind { .. })), "not an answer");
    }
}

#[test]
fn an_answer_is_read_as_it_was_written() {
    let mut draws = draws("an_answer_is_read_as_it_was_written");
    for _ in 0..rounds() {
        let (answer, body_bytes) = messages::random_answer(&mut draws);
        let body_crc = draws.next_u64() as u32;
        let header = answer.encode(body_bytes, body_crc);
        let (read, envelope) = Answer::decode(&header).expect("what was just written");
        assert_eq!(read, answer);
        assert_eq!((envelope.body_bytes, envelope.body_crc), (body_bytes, body_crc));
        let as_request = Request::decode(&header);
        assert!(as_request.is_err(), "an answer is no request: {as_request:?}");
    }
}

#[test]
fn told_messages_and_bodies_are_read_as_they_were_written() {
    let mut draws = draws("told_messages_and_bodies_are_read_as_they_were_written");
    for _ in 0..rounds() / 10 {
        let told = messages::random_told(&mut draws);
        let mut bytes = told.encode();
        assert_eq!(Told::decode(&bytes), Ok(told.clone()));
        bytes.push(9);
        assert_eq!(Told::decode(&bytes), Ok(told), "what a later version appends");

        let entries = messages::random_entries(&mut draws);
        let mut body = encode_entries(entries.iter().copied());
        assert_eq!(decode_entries(&body).as_ref(), Ok(&entries));
        if body.pop().is_some() {
            assert_eq!(decode_entries(&body), Err(WireError::Body), "cut");
        }

        let state = messages::random_state(&mut draws);
        let mut body = state.encode();
        assert_eq!(DiskState::decode(&body), Ok(state));
        body.push(1);
        assert_eq!(DiskState::decode(&body), Ok(state), "what a later version appends");
        body.truncate(47);
        assert_eq!(DiskState::decode(&body), Err(WireError::Body), "cut");
    }
}

/// Every told message is whole or refused, wherever it is cut.
#[test]
fn a_told_message_that_was_cut_is_refused() {
    for (name, message) in messages::told() {
        let bytes = message.encode();
        for len in 0..bytes.len() {
            assert!(Told::decode(&bytes[..len]).is_err(), "{name}, {len} bytes of it");
        }
    }
}

#[test]
fn a_header_with_any_changed_byte_is_refused() {
    let mut draws = draws("a_header_with_any_changed_byte_is_refused");
    for _ in 0..rounds() / 50 {
        let (request, body_bytes) = messages::random_request(&mut draws);
        let (answer, answer_bytes) = messages::random_answer(&mut draws);
        let headers = [request.encode(body_bytes, 1), answer.encode(answer_bytes, 2)];
        for header in headers {
            for at in 0..HEADER_BYTES {
                let mut changed = header;
                changed[at] ^= 1 + draws.below(255) as u8;
                let error = if at < 4 { WireError::Magic } else { WireError::HeaderCrc };
                assert_eq!(Request::decode(&changed), Err(error));
                assert_eq!(Answer::decode(&changed), Err(error));
            }
        }
    }
}

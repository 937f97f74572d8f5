//! What the two sides tell each other: one stream for each direction, ahead of all others.
//!
//! ```text
//! | length, 2 bytes LE | message, 1 to TOLD_BYTES_MAX bytes | length | message | ...
//! ```
//!
//! What must always hold: messages arrive in the order of their telling; what a peer does not
//! take up is bounded on both sides.

use std::collections::VecDeque;

use crate::TOLD_BYTES_MAX;

/// What is kept for a peer that does not take it, and of a peer that nobody listens to.
const KEPT_BYTES: usize = 64 << 10;

/// The peer broke the rule of the stream.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct BadLength;

/// Messages to be told.
#[derive(Default)]
pub(crate) struct Outbox(VecDeque<u8>);

impl Outbox {
    /// False when too much is waiting already.
    pub(crate) fn push(&mut self, message: &[u8]) -> bool {
        assert!((1..=TOLD_BYTES_MAX).contains(&message.len()), "a message that can be told");
        if self.0.len() + 2 + message.len() > KEPT_BYTES {
            return false;
        }
        self.0.extend((message.len() as u16).to_le_bytes());
        self.0.extend(message);
        true
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The bytes that go first.
    pub(crate) fn front(&self) -> &[u8] {
        self.0.as_slices().0
    }

    pub(crate) fn took(&mut self, bytes: usize) {
        self.0.drain(..bytes);
    }
}

/// Messages that were told.
#[derive(Default)]
pub(crate) struct Inbox(VecDeque<u8>);

impl Inbox {
    pub(crate) fn push(&mut self, bytes: &[u8]) {
        self.0.extend(bytes);
    }

    /// How many bytes may be read from the stream now.
    pub(crate) fn room(&self) -> usize {
        KEPT_BYTES.saturating_sub(self.0.len())
    }

    /// The next whole message, appended to `into`.
    pub(crate) fn pop(&mut self, into: &mut Vec<u8>) -> Result<bool, BadLength> {
        let (Some(&low), Some(&high)) = (self.0.front(), self.0.get(1)) else { return Ok(false) };
        let len = usize::from(u16::from_le_bytes([low, high]));
        if !(1..=TOLD_BYTES_MAX).contains(&len) {
            return Err(BadLength);
        }
        if self.0.len() < 2 + len {
            return Ok(false);
        }
        self.0.drain(..2);
        into.extend(self.0.drain(..len));
        Ok(true)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_come_out_as_they_went_in_however_they_are_cut() {
        let mut out = Outbox::default();
        for len in [1, 7, TOLD_BYTES_MAX] {
            assert!(out.push(&vec![len as u8; len]));
        }
        let mut inbox = Inbox::default();
        let mut got = Vec::new();
        while !out.is_empty() {
            let count = out.front().len().min(3);
            let piece = out.front()[..count].to_vec();
            inbox.push(&piece);
            out.took(count);
            let mut message = Vec::new();
            if inbox.pop(&mut message).unwrap() {
                got.push(message.len());
                assert!(message.iter().all(|&b| b == message.len() as u8));
            }
        }
        assert_eq!(got, [1, 7, TOLD_BYTES_MAX]);
    }

    #[test]
    fn what_nobody_takes_is_bounded_and_bad_lengths_are_seen() {
        let mut out = Outbox::default();
        let mut count = 0;
        while out.push(&[0; TOLD_BYTES_MAX]) {
            count += 1;
        }
        assert_eq!(count, KEPT_BYTES / (TOLD_BYTES_MAX + 2));
        for bad in [[0, 0], [1, 1]] {
            let mut inbox = Inbox::default();
            inbox.push(&bad);
            assert_eq!(inbox.pop(&mut Vec::new()), Err(BadLength));
        }
    }
}

//! A pattern of bytes, some of which say where the buffer belongs.

/// Bytes that are repeated from the start of each buffer.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Pattern {
    bytes: Vec<u8>,
    /// Where in `bytes` the place of the buffer stands, fio's `%o`: eight bytes, the least first,
    /// cut off at the end of the pattern.
    places: Vec<usize>,
}

impl Pattern {
    /// `bytes` over and over, at `places` in them the place of the buffer. Panics if `bytes` is
    /// empty or a place lies outside.
    pub fn new(bytes: Vec<u8>, places: Vec<usize>) -> Pattern {
        assert!(!bytes.is_empty() && places.iter().all(|place| *place < bytes.len()));
        Pattern { bytes, places }
    }

    /// Its bytes in a buffer at `offset` of the device.
    fn at(&self, offset: u64) -> Vec<u8> {
        let mut bytes = self.bytes.clone();
        for &place in &self.places {
            let end = bytes.len().min(place + 8);
            bytes[place..end].copy_from_slice(&offset.to_le_bytes()[..end - place]);
        }
        bytes
    }

    /// Lays it over a buffer that goes to `offset`.
    pub(crate) fn lay(&self, offset: u64, buf: &mut [u8]) {
        let bytes = self.at(offset);
        for part in buf.chunks_mut(bytes.len()) {
            part.copy_from_slice(&bytes[..part.len()]);
        }
    }

    /// The first byte in `data`, which begins `within` bytes into a buffer from `offset`, that is
    /// not of the pattern: its index in `data`, what it is, what it was to be.
    pub(crate) fn odd(&self, offset: u64, within: usize, data: &[u8]) -> Option<(usize, u8, u8)> {
        let bytes = self.at(offset);
        let wanted = bytes.iter().cycle().skip(within % bytes.len());
        let mut pairs = data.iter().zip(wanted).enumerate();
        pairs.find(|(_, (found, wanted))| found != wanted).map(|(at, (f, w))| (at, *f, *w))
    }
}

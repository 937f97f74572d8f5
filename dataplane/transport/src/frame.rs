//! One message: a header of fixed length and a body that is never copied to be passed on.

use bytes::Bytes;
use isotherm_seam::IoBuf;
use isotherm_wire::{BODY_BYTES_MAX, Envelope, HEADER_BYTES, HeaderBytes, WireError};

/// A message as it is handed to a session, and as a session hands it over.
///
/// A session checks that the header is whole ([`Envelope::read`]) and that the body has the
/// length that it announces; what the fields mean, and the CRC of the body, is for those who
/// read them.
pub struct Frame {
    /// The header, sealed.
    pub header: HeaderBytes,
    /// The body.
    pub body: Body,
}

/// Spans of one buffer that a body may consist of: a shard's payload lies in up to four
/// segments, and the CRCs of its stripe's cells may come before it.
pub const SPANS_MAX: usize = 6;

/// The bytes behind a header.
#[derive(Default)]
pub enum Body {
    /// None.
    #[default]
    Empty,
    /// As they came from the network, or as a client has them: in order.
    Chunks(Vec<Bytes>),
    /// Parts of a buffer of the core's pool, in order: bytes `.0` up to `.1`. Unused spans are
    /// empty.
    Buffer(IoBuf, [(u32, u32); SPANS_MAX]),
}

impl Frame {
    /// A message without a body.
    pub fn bare(header: HeaderBytes) -> Frame {
        Frame { header, body: Body::Empty }
    }

    /// Whether header and body fit each other.
    pub fn check(&self) -> Result<Envelope, WireError> {
        let envelope = Envelope::read(&self.header)?;
        if envelope.body_bytes as usize != self.body.len() {
            return Err(WireError::Body);
        }
        Ok(envelope)
    }

    /// Bytes on the wire.
    pub fn len_bytes(&self) -> usize {
        HEADER_BYTES + self.body.len()
    }
}

impl Body {
    /// How many bytes.
    pub fn len(&self) -> usize {
        match self {
            Body::Empty => 0,
            Body::Chunks(chunks) => chunks.iter().map(Bytes::len).sum(),
            Body::Buffer(_, spans) => spans.iter().map(|(from, to)| (to - from) as usize).sum(),
        }
    }

    /// Whether these are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The bytes, piece by piece.
    pub fn pieces(&self) -> impl Iterator<Item = &[u8]> {
        let (chunks, spans) = match self {
            Body::Empty => (&[][..], None),
            Body::Chunks(chunks) => (&chunks[..], None),
            Body::Buffer(buf, spans) => (&[][..], Some((buf, spans))),
        };
        let from_buffer = spans.into_iter().flat_map(|(buf, spans)| {
            spans.iter().map(move |&(from, to)| &buf[from as usize..to as usize])
        });
        chunks.iter().map(|chunk| &chunk[..]).chain(from_buffer).filter(|piece| !piece.is_empty())
    }

    /// A copy of the bytes.
    pub fn to_vec(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(self.len());
        self.pieces().for_each(|piece| out.extend_from_slice(piece));
        out
    }

    /// CRC32C of the bytes.
    pub fn crc(&self) -> u32 {
        isotherm_wire::crc32c_of(self.pieces())
    }
}

impl From<Bytes> for Body {
    fn from(bytes: Bytes) -> Body {
        assert!(bytes.len() <= BODY_BYTES_MAX, "longer than a body may be");
        if bytes.is_empty() { Body::Empty } else { Body::Chunks(vec![bytes]) }
    }
}

impl From<Vec<u8>> for Body {
    fn from(bytes: Vec<u8>) -> Body {
        Body::from(Bytes::from(bytes))
    }
}

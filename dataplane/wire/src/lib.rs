//! Every byte that crosses machines. docs/WIRE.md draws them for another engineer.
//!
//! What must always hold: nothing of a message is believed before its checksum is; a decoder
//! gives an error or a message, never a panic, and takes no more memory than the message has
//! bytes; one version back is understood.
//!
//! | file          | what it holds                                             |
//! |---------------|-----------------------------------------------------------|
//! | `envelope.rs` | the front of every header: version, kind, lengths, CRCs   |

mod envelope;

pub use envelope::{
    BODY_BYTES_MAX, Envelope, HEADER_BYTES, HeaderBytes, MAGIC, VERSION, VERSION_LEAST, WireError,
    crc32c, crc32c_of,
};

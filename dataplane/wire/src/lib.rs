//! Every byte that crosses machines. docs/WIRE.md draws them for another engineer.
//!
//! What must always hold: nothing of a message is believed before its checksum is; a decoder
//! gives an error or a message, never a panic, and takes no more memory than the message has
//! bytes; one version back is understood.
//!
//! | file          | what it holds                                             |
//! |---------------|-----------------------------------------------------------|
//! | `envelope.rs` | the front of every header: version, kind, lengths, CRCs   |
//! | `request.rs`  | [`Request`]: what is asked of a disk                      |
//! | `answer.rs`   | [`Answer`]: what it answers                               |
//! | `bodies.rs`   | a page of a listing, the state of a disk                  |
//! | `told.rs`     | [`Told`]: short messages that do not wait behind payload  |

mod answer;
mod bodies;
mod envelope;
mod request;
mod told;

pub use answer::{Answer, Doubt, Failure, Given, ShardInfo};
pub use bodies::{DiskState, ENTRY_BYTES, Entry, decode_entries, encode_entries};
pub use envelope::{
    BODY_BYTES_MAX, Envelope, HEADER_BYTES, HeaderBytes, MAGIC, VERSION, VERSION_LEAST, WireError,
    crc32c, crc32c_combine, crc32c_of,
};
pub use request::{Ask, Begins, Class, DiskUuid, LIST_LIMIT_MAX, Request};
pub use told::Told;

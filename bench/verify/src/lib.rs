//! What fio's `verify` writes into blocks, byte for byte: fio checks what was written here, and
//! here is checked what fio wrote.
//!
//! A buffer is cut into *intervals*. Each begins with a header: where it is to be, which write it
//! came with, how it is checked. A digest of the rest of the interval follows:
//!
//! ```text
//! | header, 40 bytes | digest, by kind | data ...                         | next interval
//! ```
//!
//! With an offset, header and digest change places with the data that stands there. A pattern lies
//! over the whole buffer, under the headers; the kind [`Kind::Pattern`] has no headers at all.
//!
//! What must always hold: [`Format::check`] accepts what [`Format::seal`] made at the same place,
//! and names the first thing that is wrong with anything else. The layout is of version 3.33.

mod digest;
mod format;
mod header;
mod kind;
mod pattern;

pub use format::{Blemish, Flaw, Format, Misfit};
pub use header::Stamp;
pub use kind::Kind;
pub use pattern::Pattern;

//! Calls between machines: whole messages, each on its own, over whatever carries them.
//!
//! | file         | what it holds                                                       |
//! |--------------|---------------------------------------------------------------------|
//! | `frame.rs`   | [`Frame`]: a header and a body                                      |
//! | `session.rs` | [`Session`], [`Network`]: what nodes and clients see of a connection |
//! | `local.rs`   | [`LocalHub`]: sessions within one core                              |

mod frame;
mod local;
mod session;

pub use frame::{Body, Frame, SPANS_MAX};
pub use local::{LocalHub, LocalNetwork};
pub use session::{
    Call, CallError, Closed, Connection, Network, PeerAddr, Session, TOLD_BYTES_MAX, Ticket,
};

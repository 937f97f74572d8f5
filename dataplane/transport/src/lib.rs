//! Calls between machines: whole messages, each on its own, over whatever carries them.
//!
//! | file         | what it holds                                                       |
//! |--------------|---------------------------------------------------------------------|
//! | `frame.rs`   | [`Frame`]: a header and a body                                      |
//! | `session.rs` | [`Session`], [`Network`]: what nodes and clients see of a connection |
//! | `ca.rs`      | [`Ca`]: the cluster's own certificate authority                     |
//! | `tls.rs`     | [`TlsIdentity`]: who we are and whom we trust                       |
//! | `quic/`      | [`quic::Quic`]: sessions over QUIC                                  |
//! | `conformance.rs` | what every network keeps, as one run                            |
//! | `local.rs`   | [`LocalHub`]: sessions within one core                              |

mod ca;
pub mod conformance;
mod frame;
mod local;
pub mod quic;
mod session;
mod tls;

pub use ca::{Ca, CaError, Leaf, LeafRequest};
pub use frame::{Body, Frame, SPANS_MAX};
pub use local::{LocalHub, LocalNetwork};
pub use session::{
    Call, CallError, Closed, Connection, Network, PeerAddr, Session, TOLD_BYTES_MAX, Ticket,
};
pub use tls::{Identities, IdentityError, PROTOCOLS, TlsIdentity};

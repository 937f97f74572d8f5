//! Sessions over QUIC: quinn-proto driven by a core, over any [`isotherm_seam::Datagram`].
//!
//! | file          | what it holds                                                        |
//! |---------------|----------------------------------------------------------------------|
//! | `config.rs`   | [`QuicConfig`]: settings, with docs/TRANSPORT.md for the reasons     |
//! | `endpoint.rs` | [`Quic`]: the socket, its connections, the turn that drives them     |
//! | `link.rs`     | one connection: its calls, requests, and end                         |
//! | `message.rs`  | a header and a body on a stream                                      |
//! | `budget.rs`   | what requests may hold that nobody has taken yet                      |
//! | `loans.rs`    | pool buffers that go out without a copy                              |
//! | `told.rs`     | the ordered stream that overtakes them                               |
//! | `slots.rs`    | numbers of calls                                                     |
//! | `chance.rs`   | [`NodeKeys`]; connection ids from the seam's chance                  |
//! | `null.rs`     | a stand-in for TLS                                                   |
//! | `counters.rs` | [`QuicCounters`]                                                     |

mod budget;
mod chance;
mod config;
mod counters;
mod endpoint;
mod link;
mod loans;
mod message;
mod null;
mod slots;
mod told;

use std::any::Any;

use rustls::pki_types::CertificateDer;

pub use chance::NodeKeys;
pub use config::{Crypto, QuicConfig};
pub use counters::QuicCounters;
pub use endpoint::Quic;

/// The peer's name, from what its handshake has shown.
fn name_of_identity(identity: &dyn Any) -> Option<String> {
    if let Some(null::NullName(name)) = identity.downcast_ref() {
        return Some(name.clone());
    }
    let chain: &Vec<CertificateDer<'static>> = identity.downcast_ref()?;
    crate::tls::name_of(chain.first()?)
}

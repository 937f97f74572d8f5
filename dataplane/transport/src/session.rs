//! A connection to one peer, as nodes and clients use it, whatever carries it.
//!
//! What must always hold:
//! - A call is answered once: with the whole answer of the peer, or with an error. A request that
//!   was cut on its way is never handed over as whole, nor an answer.
//! - After an error the peer may or may not have done what was asked.
//! - Who abandons a call no longer pays for it: what was not yet sent is not sent, and the peer
//!   learns that nobody waits ([`Session::is_wanted`]).
//! - Told messages arrive in the order of their telling and never behind the payload of a call;
//!   they are lost only with the session.
//! - A session that is closed, by either side or by silence, ends every call on it.
//!
//! Two things keep this: QUIC (`quic/`), on real sockets and on simulated ones, and the simulator's
//! own messages, which are faster. The conformance test holds both to it.

use std::future::Future;
use std::net::SocketAddr;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};

use isotherm_wire::WireError;

use crate::Frame;

/// The longest message that can be told.
pub const TOLD_BYTES_MAX: usize = 256;

/// Where a peer is, and who it must prove to be.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct PeerAddr {
    /// One UDP port of one core of it.
    pub addr: SocketAddr,
    /// The name in its certificate.
    pub name: String,
}

/// A call on a session, for either side. Numbers are the session's own and are used again.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Ticket(pub u64);

/// Why a call has no answer.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum CallError {
    /// The session is over, or never came to be.
    #[error(transparent)]
    Closed(#[from] Closed),
    /// The peer took the request and gave it up: it has no room, or could not read it.
    #[error("the peer gave the call up")]
    Refused,
    /// The answer is not a message of ours.
    #[error("the answer can't be read: {0}")]
    Garbled(WireError),
}

/// Why a session is over.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum Closed {
    /// This side closed it.
    #[error("closed here")]
    Here,
    /// The peer closed it.
    #[error("closed by the peer")]
    ByPeer,
    /// Nothing was heard of the peer for as long as the idle time-out says, or no connection
    /// came about within the time for a handshake.
    #[error("the peer does not answer")]
    Silent,
    /// The peer lost its memory: it was started anew.
    #[error("the peer has restarted")]
    Reset,
    /// The certificate of the peer is not from our authority, has expired, or has another name;
    /// or the peer thinks so of ours.
    #[error("the peer could not be trusted, or does not trust us")]
    Untrusted,
    /// The peer speaks another protocol or another version of it.
    #[error("the peer speaks another protocol")]
    Protocol,
    /// The endpoint takes no more sessions.
    #[error("the endpoint is full")]
    Full,
}

/// One connection. The promises stand in this module's documentation.
///
/// One task waits in each `poll_` method (for `poll_answer`: for each ticket) at a time; a later
/// one takes its place.
pub trait Session {
    /// Who is at the other end. The name is as the certificate has it; empty while the handshake
    /// of an outgoing session goes on, and where there are no certificates.
    fn peer(&self) -> PeerAddr;

    /// Starts a call. Also before the handshake is done: it then waits for it.
    fn call(&self, request: Frame) -> Ticket;

    /// The answer to a call of this side. The ticket is void once it has come.
    fn poll_answer(&self, ticket: Ticket, cx: &mut Context<'_>) -> Poll<Result<Frame, CallError>>;

    /// Nobody waits for the answer any more. The ticket is void.
    fn abandon(&self, ticket: Ticket);

    /// The next whole request of the peer.
    fn poll_request(&self, cx: &mut Context<'_>) -> Poll<Result<(Ticket, Frame), Closed>>;

    /// Whether the peer still waits for the answer to this request.
    fn is_wanted(&self, ticket: Ticket) -> bool;

    /// Answers a request. The ticket is void; an answer that nobody waits for goes nowhere.
    fn answer(&self, ticket: Ticket, answer: Frame);

    /// Gives a request up without an answer. The ticket is void.
    fn refuse(&self, ticket: Ticket);

    /// Tells the peer a short message, of 1 to [`TOLD_BYTES_MAX`] bytes, that overtakes payload.
    /// False when more is waiting to be sent than the session keeps, or it is over: the message
    /// was not taken.
    fn tell(&self, message: &[u8]) -> bool;

    /// The next message that the peer told, appended to `into`.
    fn poll_told(&self, cx: &mut Context<'_>, into: &mut Vec<u8>) -> Poll<Result<(), Closed>>;

    /// Ready once the handshake is done and the peer is who it should be.
    fn poll_ready(&self, cx: &mut Context<'_>) -> Poll<Result<(), Closed>>;

    /// Why it is over, once it is.
    fn closed(&self) -> Option<Closed>;

    /// Ends it: calls end with [`Closed::Here`], the peer is told.
    fn close(&self);
}

/// Where sessions come from: one endpoint of one core.
pub trait Network {
    /// A session to a peer. It is there at once and its calls wait for the handshake; why it
    /// failed, if it did, is what they answer.
    fn dial(&self, to: &PeerAddr) -> Connection;

    /// The next session that a peer has dialled, its handshake done.
    fn poll_accept(&self, cx: &mut Context<'_>) -> Poll<Connection>;

    /// The address that peers dial.
    fn local(&self) -> SocketAddr;
}

/// A handle to a session. Clones are handles to the same one; it stays open until closed.
#[derive(Clone)]
pub struct Connection(Rc<dyn Session>);

impl Connection {
    /// Over a session.
    pub fn new(session: Rc<dyn Session>) -> Connection {
        Connection(session)
    }

    /// Calls the peer. The request is on its way at once; dropping the future abandons it.
    pub fn call(&self, request: Frame) -> Call {
        let ticket = self.0.call(request);
        Call { session: Rc::clone(&self.0), ticket: Some(ticket) }
    }

    /// The next request of the peer.
    pub async fn request(&self) -> Result<(Ticket, Frame), Closed> {
        std::future::poll_fn(|cx| self.0.poll_request(cx)).await
    }

    /// The next message that the peer told, appended to `into`.
    pub async fn told(&self, into: &mut Vec<u8>) -> Result<(), Closed> {
        std::future::poll_fn(|cx| self.0.poll_told(cx, into)).await
    }

    /// Waits for the handshake.
    pub async fn ready(&self) -> Result<(), Closed> {
        std::future::poll_fn(|cx| self.0.poll_ready(cx)).await
    }
}

impl std::ops::Deref for Connection {
    type Target = dyn Session;

    fn deref(&self) -> &(dyn Session + 'static) {
        &*self.0
    }
}

/// A call that was started.
#[must_use = "a call whose future is dropped is abandoned"]
pub struct Call {
    session: Rc<dyn Session>,
    ticket: Option<Ticket>,
}

impl Future for Call {
    type Output = Result<Frame, CallError>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let ticket = self.ticket.expect("polled after it was done");
        let answer = self.session.poll_answer(ticket, cx);
        if answer.is_ready() {
            self.ticket = None;
        }
        answer
    }
}

impl Drop for Call {
    fn drop(&mut self) {
        if let Some(ticket) = self.ticket {
            self.session.abandon(ticket);
        }
    }
}

//! What an endpoint has done so far.

/// Counts since the endpoint was opened.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct QuicCounters {
    /// Datagrams received, junk included.
    pub datagrams_in: u64,
    /// Datagrams sent.
    pub datagrams_out: u64,
    /// Bytes received.
    pub bytes_in: u64,
    /// Bytes sent.
    pub bytes_out: u64,
    /// Calls of the socket that brought something.
    pub receives: u64,
    /// Calls of the socket that took something.
    pub sends: u64,
    /// Times the socket had no room.
    pub sends_full: u64,
    /// Datagrams that the host could not send.
    pub sends_unreachable: u64,
    /// Datagrams that led to nothing: not QUIC, for no connection, or refused unread.
    pub junk: u64,
    /// Handshakes completed, by either side.
    pub handshakes: u64,
    /// Handshakes that failed: certificates.
    pub refused_untrusted: u64,
    /// Handshakes that failed: another protocol or version.
    pub refused_protocol: u64,
    /// Handshakes that failed: the peer fell silent.
    pub refused_silent: u64,
    /// Incoming handshakes turned away: as many connections as the endpoint takes.
    pub refused_full: u64,
    /// Incoming handshakes ignored: too many are half-open.
    pub ignored_half_open: u64,
    /// Peers asked to show that they receive at their address.
    pub retries: u64,
    /// Connections lost: the peer closed them.
    pub lost_closed: u64,
    /// Connections lost: silence.
    pub lost_silent: u64,
    /// Connections lost: the peer was started anew.
    pub lost_reset: u64,
    /// Connections lost: the peer broke the protocol.
    pub lost_protocol: u64,
    /// Connections ended because driving them panicked.
    pub panics: u64,
    /// Requests that could not be read.
    pub garbled: u64,
    /// Requests refused because too many bytes were held already.
    pub refused_held: u64,
    /// Streams that a peer cut.
    pub streams_reset: u64,
    /// Packets declared lost.
    pub packets_lost: u64,
    /// Calls made.
    pub calls: u64,
    /// Requests handed over.
    pub requests: u64,
    /// Bytes that requests hold now which nobody has taken.
    pub held_bytes: u64,
    /// Connections now.
    pub connections: u64,
    /// Incoming handshakes now under way.
    pub half_open: u64,
}

/// What one connection adds to these; counted there, because sessions count too.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub(crate) struct LinkCounters {
    pub(crate) calls: u64,
    pub(crate) requests: u64,
}

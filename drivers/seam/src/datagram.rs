//! The datagram seam: one UDP socket of one core, real or simulated.
//!
//! # Contract
//!
//! 1. **Unreliable.** A datagram that was taken may be lost, delayed, doubled, or overtaken by
//!    later ones. One that arrives has the length that was sent, and almost always its bytes.
//! 2. **No call blocks.** `send` without room hands the datagram back ([`SendRefused::Full`]); it
//!    is sent again after [`Datagram::due`] says so or a turn later.
//! 3. **Segments.** One `send` may carry several datagrams to one address: all of `segment_bytes`
//!    but for the last, which may be shorter. One `recv` may bring several of one sender likewise.
//!    More than [`DatagramLimits::send_bytes_max`] in one `send` is a bug of the caller: the
//!    kernel would drop all of it without a word.
//! 4. **Time.** A socket that models time moves only when it is told the time; a real one ignores
//!    `now`. [`Datagram::due`] says how long its core may sleep: a real socket wakes the core when
//!    a datagram comes.

use std::io::IoSliceMut;
use std::net::{IpAddr, SocketAddr};

use crate::{Due, Mono};

/// One socket. The contract stands in this module's documentation.
pub trait Datagram {
    /// The address that others send to.
    fn local(&self) -> SocketAddr;

    /// What one call may carry. May shrink while the socket is open (the kernel refuses segments
    /// on some paths), so it is asked before each batch.
    fn limits(&self) -> DatagramLimits;

    /// Sends one datagram or several of one length.
    fn send(&mut self, now: Mono, transmit: &Transmit<'_>) -> Result<(), SendRefused>;

    /// Receives one datagram, or several of one length, into the front of `buf`, which has at
    /// least [`DatagramLimits::recv_bytes_max`]. `None`: nothing is there.
    fn recv(&mut self, now: Mono, buf: &mut [u8]) -> Option<Received>;

    /// Receives several times at once, each into the front of a buffer of its own, in their
    /// order; what came is appended to `received`. Returns how many buffers were filled: with
    /// fewer than all, nothing more is there. A real socket saves a system call for each.
    fn recv_batch(
        &mut self,
        now: Mono,
        bufs: &mut [IoSliceMut<'_>],
        received: &mut Vec<Received>,
    ) -> usize {
        for (count, buf) in bufs.iter_mut().enumerate() {
            let Some(one) = self.recv(now, buf) else { return count };
            received.push(one);
        }
        bufs.len()
    }

    /// When the next `recv` can be of use; [`Due::Event`] when only the network can say.
    fn due(&self) -> Due;
}

/// What one call of a socket may carry.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct DatagramLimits {
    /// Datagrams in one `send`.
    pub send_segments_max: usize,
    /// Bytes in one `send`, over all its datagrams.
    pub send_bytes_max: usize,
    /// Bytes that one `recv` may bring, over all its datagrams.
    pub recv_bytes_max: usize,
}

/// Explicit congestion notification: the two bits of the IP header (RFC 3168).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub enum Ecn {
    /// ECT(1).
    Ect1 = 0b01,
    /// ECT(0).
    Ect0 = 0b10,
    /// A router on the way was congested.
    Ce = 0b11,
}

impl Ecn {
    /// From the two low bits; `None` where the sender does not take part.
    pub fn from_bits(bits: u8) -> Option<Ecn> {
        match bits & 0b11 {
            0b01 => Some(Ecn::Ect1),
            0b10 => Some(Ecn::Ect0),
            0b11 => Some(Ecn::Ce),
            _ => None,
        }
    }
}

/// What is to be sent.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Transmit<'a> {
    /// Where to.
    pub to: SocketAddr,
    /// From which of the host's addresses; `None` leaves it to the host.
    pub from_ip: Option<IpAddr>,
    /// Marking.
    pub ecn: Option<Ecn>,
    /// One datagram, or several behind each other.
    pub contents: &'a [u8],
    /// The length of each of several datagrams; `None` for one.
    pub segment_bytes: Option<usize>,
}

/// What has arrived.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Received {
    /// Who sent it.
    pub from: SocketAddr,
    /// To which of the host's addresses, where that is known.
    pub to_ip: Option<IpAddr>,
    /// Marking.
    pub ecn: Option<Ecn>,
    /// Bytes in the buffer.
    pub len_bytes: usize,
    /// Length of each datagram but the last.
    pub stride_bytes: usize,
}

/// Why nothing was sent.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum SendRefused {
    /// The socket's buffer is full: the network is slower than its user. Later.
    #[error("the socket has no room now")]
    Full,
    /// This datagram can't be sent: no route, a firewall, an address of another family. Others
    /// may be. It counts as lost.
    #[error("the host can't send there: errno {errno}")]
    Unreachable {
        /// What the host said.
        errno: i32,
    },
}

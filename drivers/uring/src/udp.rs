//! A UDP socket whose core sleeps in a ring, as the datagram seam wants it.
//!
//! Datagrams are moved by `sendmsg` and `recvmmsg` (quinn-udp: several datagrams in one call both
//! ways, ECN marks, the address that a datagram came to); the ring only tells when there is
//! something to read or room to write. So an idle look costs no system call, and the core sleeps
//! in the one place where it waits for its disks as well.
//!
//! What must always hold:
//! - one `send` never has more than 65,000 bytes: the kernel refuses a longer one whole;
//! - a datagram is read until the kernel has no more, before readiness is given up: the ring
//!   tells when data comes, not that it lies there;
//! - segments that the kernel or the network card refuses are sent one by one from then on, and
//!   [`Datagram::limits`] says so.
//!
//! There is no variant without a ring: where io_uring is refused no node runs, and the tools that
//! run there (the bench on `host::ThreadPark`) need no network.

use std::io::{self, IoSliceMut};
use std::net::{SocketAddr, UdpSocket};
use std::os::fd::AsRawFd;
use std::rc::Rc;

use isotherm_seam::{
    Datagram, DatagramLimits, Due, Ecn, Mono, OpenCause, OpenError, Received, SendRefused, Transmit,
};
use nix::sys::socket::{setsockopt, sockopt};
use quinn_udp::{BATCH_SIZE, EcnCodepoint, RecvMeta, UdpSockRef, UdpSocketState};

use crate::Ring;
use crate::ring::Core;
use crate::watch::Side;

/// Most bytes of one `send`. UDP over IPv4 carries 65,507 at most, and segments count as one
/// datagram until the last moment: ten of 8,972 bytes are refused with EMSGSIZE.
pub(crate) const SEND_BYTES_MAX: usize = 65_000;

/// What one `recv` may bring: the kernel gathers segments of one sender up to this.
const RECV_BYTES_MAX: usize = 65_536;

/// Socket buffers that are asked for. At 20 Gb/s 8 MiB last for 3 ms: longer than a core is busy
/// with anything else.
const SOCKET_BUFFER_BYTES: usize = 8 << 20;

/// Errors of one read that are skipped: each belongs to one datagram.
const READ_ERRORS_MAX: usize = 16;

/// An open UDP socket. It keeps its ring alive.
pub struct Udp {
    core: Rc<Core>,
    watch: u32,
    socket: UdpSocket,
    state: UdpSocketState,
    local: SocketAddr,
    metas: [RecvMeta; BATCH_SIZE],
    notes: Vec<String>,
}

impl Ring {
    /// Opens a UDP socket on this address; port 0 takes any free one.
    pub fn udp(&self, addr: SocketAddr) -> Result<Udp, OpenError> {
        Udp::open(Rc::clone(self.core()), addr).map_err(|error| {
            let cause = match error.raw_os_error() {
                Some(libc::EADDRINUSE) => OpenCause::Busy { by: "another socket".into() },
                Some(errno) => OpenCause::from_errno(errno),
                None => OpenCause::Os { errno: libc::EIO },
            };
            OpenError::new(format!("udp {addr}"), cause)
        })
    }
}

impl Udp {
    fn open(core: Rc<Core>, addr: SocketAddr) -> io::Result<Udp> {
        let socket = UdpSocket::bind(addr)?;
        let state = UdpSocketState::new(UdpSockRef::from(&socket))?;
        let local = socket.local_addr()?;
        let mut notes = Vec::new();
        raise_buffers(&socket, &state, &mut notes)?;
        if state.max_gso_segments() == 1 {
            notes.push("the kernel sends one datagram a call (UDP_SEGMENT: Linux 4.18)".into());
        }
        if state.gro_segments() == 1 {
            notes.push("the kernel receives one datagram a buffer (UDP_GRO: Linux 5.0)".into());
        }
        let full = || io::Error::from_raw_os_error(libc::ENOBUFS);
        let watch = core.watch(socket.as_raw_fd()).ok_or_else(full)?;
        let metas = [RecvMeta::default(); BATCH_SIZE];
        Ok(Udp { core, watch, socket, state, local, metas, notes })
    }

    /// What was wanted and could not be had, one sentence each, for people.
    pub fn notes(&self) -> &[String] {
        &self.notes
    }

    /// Bytes of the kernel's buffers for receiving and for sending.
    pub fn buffer_bytes(&self) -> (usize, usize) {
        let size = |bytes: io::Result<usize>| bytes.unwrap_or(0);
        (
            size(self.state.recv_buffer_size(UdpSockRef::from(&self.socket))),
            size(self.state.send_buffer_size(UdpSockRef::from(&self.socket))),
        )
    }

    /// Whether no router may cut its datagrams into pieces, so that larger ones may be tried.
    pub fn probes_paths(&self) -> bool {
        !self.state.may_fragment()
    }

    fn send_one(&self, transmit: &Transmit<'_>) -> io::Result<()> {
        let segments = transmit.segment_bytes.filter(|&bytes| bytes < transmit.contents.len());
        let ecn = transmit.ecn.and_then(|ecn| EcnCodepoint::from_bits(ecn as u8));
        let transmit = quinn_udp::Transmit {
            destination: transmit.to,
            ecn,
            contents: transmit.contents,
            segment_size: segments,
            src_ip: transmit.from_ip,
        };
        self.state.try_send(UdpSockRef::from(&self.socket), &transmit)
    }

    /// Reads into as many buffers as there are; how many were filled.
    fn read(&mut self, bufs: &mut [IoSliceMut<'_>]) -> usize {
        let bufs = match bufs.len() {
            ..=BATCH_SIZE => bufs,
            _ => &mut bufs[..BATCH_SIZE],
        };
        for _ in 0..READ_ERRORS_MAX {
            match self.state.recv(UdpSockRef::from(&self.socket), bufs, &mut self.metas) {
                Ok(count) => {
                    if count < bufs.len() {
                        self.core.socket_is_drained(self.watch);
                    }
                    return count;
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    self.core.socket_is_drained(self.watch);
                    return 0;
                }
                // What the network had to say about a datagram sent earlier: it is lost, which
                // its sender finds out by itself.
                Err(_) => {}
            }
        }
        0
    }

    fn received(meta: &RecvMeta) -> Received {
        Received {
            from: meta.addr,
            to_ip: meta.dst_ip,
            ecn: meta.ecn.and_then(|ecn| Ecn::from_bits(ecn as u8)),
            len_bytes: meta.len,
            // An empty datagram has no stride.
            stride_bytes: meta.stride.max(1),
        }
    }
}

impl Datagram for Udp {
    fn local(&self) -> SocketAddr {
        self.local
    }

    fn limits(&self) -> DatagramLimits {
        DatagramLimits {
            send_segments_max: self.state.max_gso_segments(),
            send_bytes_max: SEND_BYTES_MAX,
            recv_bytes_max: RECV_BYTES_MAX,
        }
    }

    fn send(&mut self, _now: Mono, transmit: &Transmit<'_>) -> Result<(), SendRefused> {
        assert!(transmit.contents.len() <= SEND_BYTES_MAX, "the kernel would drop all of it");
        if !self.core.is_socket_ready(self.watch, Side::Write) {
            return Err(SendRefused::Full);
        }
        self.core.socket_has_sent(self.watch);
        let may_segment = self.state.max_gso_segments() > 1;
        let several = transmit.segment_bytes.filter(|&bytes| bytes < transmit.contents.len());
        let error = match several {
            Some(bytes) if !may_segment => return self.send_singly(transmit, bytes),
            _ => match self.send_one(transmit) {
                Ok(()) => return Ok(()),
                Err(error) => error,
            },
        };
        // Segments that were refused just now are refused from now on: these go singly too.
        if let Some(bytes) = several
            && self.state.max_gso_segments() == 1
        {
            return self.send_singly(transmit, bytes);
        }
        self.refused(error)
    }

    fn recv(&mut self, _now: Mono, buf: &mut [u8]) -> Option<Received> {
        if !self.core.is_socket_ready(self.watch, Side::Read) {
            return None;
        }
        let count = self.read(&mut [IoSliceMut::new(buf)]);
        (count == 1).then(|| Udp::received(&self.metas[0]))
    }

    fn recv_batch(
        &mut self,
        _now: Mono,
        bufs: &mut [IoSliceMut<'_>],
        received: &mut Vec<Received>,
    ) -> usize {
        if !self.core.is_socket_ready(self.watch, Side::Read) {
            return 0;
        }
        let count = self.read(bufs);
        received.extend(self.metas[..count].iter().map(Udp::received));
        count
    }

    fn due(&self) -> Due {
        self.core.socket_due(self.watch)
    }
}

impl Udp {
    /// Sends each datagram of several by itself. One for which there is no room is lost with
    /// those behind it, unless it is the first: the batch was begun.
    fn send_singly(&self, transmit: &Transmit<'_>, bytes: usize) -> Result<(), SendRefused> {
        for (count, contents) in transmit.contents.chunks(bytes).enumerate() {
            let one = Transmit { contents, segment_bytes: None, ..*transmit };
            if let Err(error) = self.send_one(&one) {
                let refused = self.refused(error);
                return if count == 0 { refused } else { Ok(()) };
            }
        }
        Ok(())
    }

    fn refused(&self, error: io::Error) -> Result<(), SendRefused> {
        if error.kind() == io::ErrorKind::WouldBlock {
            self.core.socket_is_full(self.watch);
            return Err(SendRefused::Full);
        }
        Err(SendRefused::Unreachable { errno: error.raw_os_error().unwrap_or(libc::EIO) })
    }
}

impl Drop for Udp {
    fn drop(&mut self) {
        // The kernel holds the socket, and with it the port, for as long as a poll is armed.
        self.core.unwatch(self.watch);
    }
}

/// Asks for larger buffers: first as a user with rights may, then as far as the kernel's limit
/// for others goes.
fn raise_buffers(
    socket: &UdpSocket,
    state: &UdpSocketState,
    notes: &mut Vec<String>,
) -> io::Result<()> {
    if setsockopt(socket, sockopt::RcvBufForce, &SOCKET_BUFFER_BYTES).is_err() {
        state.set_recv_buffer_size(UdpSockRef::from(socket), SOCKET_BUFFER_BYTES)?;
    }
    if setsockopt(socket, sockopt::SndBufForce, &SOCKET_BUFFER_BYTES).is_err() {
        state.set_send_buffer_size(UdpSockRef::from(socket), SOCKET_BUFFER_BYTES)?;
    }
    let recv_bytes = state.recv_buffer_size(UdpSockRef::from(socket))?;
    let send_bytes = state.send_buffer_size(UdpSockRef::from(socket))?;
    // The kernel tells twice what it takes: half of it is for its own use.
    if recv_bytes.min(send_bytes) < SOCKET_BUFFER_BYTES {
        notes.push(format!(
            "the socket has buffers of {} and {} KiB instead of {} (net.core.rmem_max and \
             wmem_max): bursts may be lost",
            recv_bytes >> 10,
            send_bytes >> 10,
            SOCKET_BUFFER_BYTES >> 10,
        ));
    }
    Ok(())
}

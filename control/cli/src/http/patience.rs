//! A socket whose peer must take what it is sent.
//!
//! What must always hold: a peer that takes nothing, or hardly anything, is cut off after a while,
//! so that what is kept for it is not kept for ever; one that reads slowly but steadily is not, and
//! a pause in which there is nothing to send counts for nothing.
//!
//! ```text
//! write finds no room ─> wait begins ─┬─ all that was offered is taken, or enough of it: over
//!                                     └─ the patience ends first: an error, the connection ends
//! ```

use std::io;
use std::io::IoSlice;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::Sleep;

/// What a peer takes at least within the patience: over 30 s that is 8 KiB a second, less than a
/// bad modem does.
const TAKEN_MIN: usize = 256 << 10;

/// The socket with its patience.
pub(super) struct Patient<S> {
    socket: S,
    patience: Duration,
    wait: Option<Wait>,
}

/// A wait for room.
struct Wait {
    until: Pin<Box<Sleep>>,
    taken: usize,
}

impl<S> Patient<S> {
    pub(super) fn new(socket: S, patience: Duration) -> Patient<S> {
        Patient { socket, patience, wait: None }
    }

    /// What became of a write of so many bytes.
    fn judge(
        &mut self,
        cx: &mut Context<'_>,
        offered: usize,
        written: Poll<io::Result<usize>>,
    ) -> Poll<io::Result<usize>> {
        match written {
            Poll::Ready(Ok(count)) => {
                if let Some(wait) = &mut self.wait {
                    wait.taken += count;
                    if count == offered || wait.taken >= TAKEN_MIN {
                        self.wait = None;
                    }
                }
                Poll::Ready(Ok(count))
            }
            Poll::Ready(Err(error)) => Poll::Ready(Err(error)),
            Poll::Pending => {
                let patience = self.patience;
                let begin = || Wait { until: Box::pin(tokio::time::sleep(patience)), taken: 0 };
                ready!(self.wait.get_or_insert_with(begin).until.as_mut().poll(cx));
                Poll::Ready(Err(io::Error::from(io::ErrorKind::TimedOut)))
            }
        }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Patient<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_read(cx, buf)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Patient<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.socket).poll_write(cx, buf);
        self.judge(cx, buf.len(), written)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.socket).poll_write_vectored(cx, bufs);
        self.judge(cx, bufs.iter().map(|buf| buf.len()).sum(), written)
    }

    fn is_write_vectored(&self) -> bool {
        self.socket.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_shutdown(cx)
    }
}

//! An HTTP/1.1 server on a thread of its own: what a node tells about itself, and the gateway.
//!
//! What must always hold: connections, headers and the time that a header takes are bounded; a
//! body is passed on piece by piece, as fast as its reader takes it, and who takes hardly anything
//! is cut off (`http/patience.rs`); a stop lets what is under way come to its end, for a while, and
//! then ends the thread.

mod patience;

use std::future::Future;
use std::net::SocketAddr;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context as Cx, Poll};
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::Context;
use bytes::Bytes;
use hyper::body::{Body, Frame, Incoming, SizeHint};
use hyper::header::{CONTENT_TYPE, HeaderValue};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinSet;

use self::patience::Patient;

/// What a server allows.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits {
    /// Connections at once. Further ones wait to be taken.
    pub(crate) connections_max: usize,
    /// How long a header may take to come; also, how long a connection may be idle.
    pub(crate) header_patience: Duration,
    /// How long an answer waits for a reader that takes less than 256 KiB of it.
    pub(crate) write_patience: Duration,
    /// How long a stop waits for what is under way.
    pub(crate) stop_patience: Duration,
}

/// Bytes of a request line and its headers.
const HEADER_BYTES_MAX: usize = 16 << 10;
/// Headers of a request.
const HEADERS_MAX: usize = 64;
/// Pause after a connection could not be taken, mostly because too many files are open.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// What is answered.
pub(crate) type Answer = Response<Payload>;

/// A server that runs. It stops when this is dropped.
pub(crate) struct Server {
    addr: SocketAddr,
    stop: watch::Sender<bool>,
    thread: Option<JoinHandle<()>>,
}

impl Server {
    /// Listens, and answers every request by `answer`.
    pub(crate) fn start<F, R>(
        name: &str,
        addr: SocketAddr,
        limits: Limits,
        answer: F,
    ) -> anyhow::Result<Server>
    where
        F: Fn(Request<Incoming>) -> R + Clone + Send + 'static,
        R: Future<Output = Answer> + Send + 'static,
    {
        let listen = || {
            let listener = std::net::TcpListener::bind(addr)?;
            listener.set_nonblocking(true)?;
            let addr = listener.local_addr()?;
            std::io::Result::Ok((listener, addr))
        };
        let (listener, addr) = listen().with_context(|| format!("can't listen at {addr}"))?;
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_io()
            .enable_time()
            .build()
            .context("no runtime for HTTP")?;
        let (stop, stopped) = watch::channel(false);
        let thread = std::thread::Builder::new()
            .name(name.to_owned())
            .spawn(move || {
                runtime.block_on(async {
                    match TcpListener::from_std(listener) {
                        Ok(listener) => accept(listener, limits, stopped, answer).await,
                        Err(error) => eprintln!("isotherm: HTTP at {addr} ends: {error}"),
                    }
                });
            })
            .context("no thread for HTTP")?;
        Ok(Server { addr, stop, thread: Some(thread) })
    }

    /// Where it listens.
    pub(crate) fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// Takes no more requests, lets those under way come to their end, and waits for that.
    pub(crate) fn stop(&mut self) {
        self.stop.send_replace(true);
        if let Some(thread) = self.thread.take() {
            // Its panic was told when it happened.
            let _ = thread.join();
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.stop();
    }
}

async fn accept<F, R>(
    listener: TcpListener,
    limits: Limits,
    mut stopped: watch::Receiver<bool>,
    answer: F,
) where
    F: Fn(Request<Incoming>) -> R + Clone + Send + 'static,
    R: Future<Output = Answer> + Send + 'static,
{
    let places = Arc::new(Semaphore::new(limits.connections_max));
    let mut connections = JoinSet::new();
    loop {
        let next = async {
            let place = Arc::clone(&places).acquire_owned().await.expect("it is never closed");
            (place, listener.accept().await)
        };
        let (place, accepted) = match first(stopped.wait_for(|stop| *stop), next).await {
            First::Left(_) => break,
            First::Right(next) => next,
        };
        while connections.try_join_next().is_some() {}
        match accepted {
            Ok((stream, _)) => {
                let (answer, stopped) = (answer.clone(), stopped.clone());
                connections.spawn(async move {
                    serve(stream, limits, stopped, answer).await;
                    drop(place);
                });
            }
            Err(_) => tokio::time::sleep(ACCEPT_PAUSE).await,
        }
    }
    drop(listener);
    let ended = async { while connections.join_next().await.is_some() {} };
    // Those that don't end in time are cut off.
    let _ = tokio::time::timeout(limits.stop_patience, ended).await;
}

async fn serve<F, R>(
    stream: TcpStream,
    limits: Limits,
    mut stopped: watch::Receiver<bool>,
    answer: F,
) where
    F: Fn(Request<Incoming>) -> R,
    R: Future<Output = Answer>,
{
    // An answer is written as a whole; what is left of it must not wait for an acknowledgement.
    let _ = stream.set_nodelay(true);
    let answer = service_fn(move |request| {
        let answer = answer(request);
        async move { Ok::<_, std::convert::Infallible>(answer.await) }
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(limits.header_patience)
        .max_buf_size(HEADER_BYTES_MAX)
        .max_headers(HEADERS_MAX)
        .serve_connection(TokioIo::new(Patient::new(stream, limits.write_patience)), answer);
    let mut connection = pin!(connection);
    // What goes wrong on a connection is felt by its client, and by nobody else.
    let ended = first(connection.as_mut(), stopped.wait_for(|stop| *stop)).await;
    let is_stopped = matches!(ended, First::Right(_));
    drop(ended);
    if is_stopped {
        connection.as_mut().graceful_shutdown();
        let _ = connection.await;
    }
}

/// Which of two came first.
pub(crate) enum First<A, B> {
    Left(A),
    Right(B),
}

/// Waits for one of two; the other is dropped.
pub(crate) async fn first<A, B>(
    left: impl Future<Output = A>,
    right: impl Future<Output = B>,
) -> First<A, B> {
    let (mut left, mut right) = (pin!(left), pin!(right));
    std::future::poll_fn(|cx| match left.as_mut().poll(cx) {
        Poll::Ready(value) => Poll::Ready(First::Left(value)),
        Poll::Pending => right.as_mut().poll(cx).map(First::Right),
    })
    .await
}

/// Gives the next piece of a body.
type NextPiece = Box<dyn FnMut(&mut Cx<'_>) -> Poll<Option<Result<Bytes, CutOff>>> + Send>;

/// The body of an answer.
pub(crate) enum Payload {
    /// All of it is here.
    Whole(Bytes),
    /// It comes in pieces; so many bytes are still to come.
    Pieces {
        /// How many.
        left: u64,
        /// Where from.
        next: NextPiece,
    },
}

/// A body that can't be given to its end. The connection ends, so that it does not look whole.
#[derive(Debug, thiserror::Error)]
#[error("cut off: {0}")]
pub(crate) struct CutOff(pub(crate) String);

impl Payload {
    /// Without bytes.
    pub(crate) fn empty() -> Payload {
        Payload::Whole(Bytes::new())
    }
}

impl Body for Payload {
    type Data = Bytes;
    type Error = CutOff;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Cx<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, CutOff>>> {
        match &mut *self {
            Payload::Whole(bytes) => {
                let bytes = std::mem::take(bytes);
                Poll::Ready((!bytes.is_empty()).then(|| Ok(Frame::data(bytes))))
            }
            Payload::Pieces { left: 0, .. } => Poll::Ready(None),
            Payload::Pieces { left, next } => next(cx).map(|piece| {
                let short = || CutOff("it ended before its length".to_owned());
                Some(piece.unwrap_or_else(|| Err(short())).and_then(|bytes| {
                    *left = left
                        .checked_sub(bytes.len() as u64)
                        .ok_or_else(|| CutOff("it is longer than was said".to_owned()))?;
                    Ok(Frame::data(bytes))
                }))
            }),
        }
    }

    fn is_end_stream(&self) -> bool {
        self.size_hint().exact() == Some(0)
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(match self {
            Payload::Whole(bytes) => bytes.len() as u64,
            Payload::Pieces { left, .. } => *left,
        })
    }
}

/// An answer with a body of this type.
pub(crate) fn answer(status: StatusCode, content_type: &'static str, body: String) -> Answer {
    let mut answer = Response::new(Payload::Whole(Bytes::from(body)));
    *answer.status_mut() = status;
    answer.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    answer
}

/// An answer in JSON.
pub(crate) fn json(status: StatusCode, value: &serde_json::Value) -> Answer {
    answer(status, "application/json", format!("{value:#}\n"))
}

#[cfg(test)]
pub(crate) mod tests {
    use std::io::{Read, Write};
    use std::net::TcpStream;
    use std::sync::atomic::{AtomicBool, Ordering};

    use isotherm_host::HostClock;
    use isotherm_seam::{Clock, Nanos};

    use super::*;

    pub(crate) const LIMITS: Limits = Limits {
        connections_max: 4,
        header_patience: Duration::from_millis(300),
        write_patience: Duration::from_millis(300),
        stop_patience: Duration::from_secs(2),
    };

    /// What came back: status, headers in lower case, body.
    pub(crate) struct Reply {
        pub(crate) status: u16,
        pub(crate) head: String,
        pub(crate) body: Vec<u8>,
    }

    impl Reply {
        pub(crate) fn json(&self) -> serde_json::Value {
            serde_json::from_slice(&self.body).expect("JSON")
        }

        pub(crate) fn header(&self, name: &str) -> Option<&str> {
            self.head.lines().find_map(|line| line.strip_prefix(&format!("{name}: ")))
        }
    }

    /// One request on a connection of its own, written as it is.
    pub(crate) fn ask(addr: SocketAddr, request: &[u8]) -> Reply {
        let mut stream = TcpStream::connect(addr).expect("it listens");
        stream.set_read_timeout(Some(Duration::from_secs(30))).expect("a socket");
        stream.write_all(request).expect("it reads");
        let mut all = Vec::new();
        stream.read_to_end(&mut all).expect("it answers");
        let end = all.windows(4).position(|four| four == b"\r\n\r\n").expect("a head");
        let head = String::from_utf8(all[..end].to_vec()).expect("text").to_lowercase();
        let status = head[9..12].parse().expect("a status");
        Reply { status, head, body: all[end + 4..].to_vec() }
    }

    pub(crate) fn get(addr: SocketAddr, path: &str) -> Reply {
        ask(addr, format!("GET {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n").as_bytes())
    }

    fn server() -> Server {
        let loopback = "127.0.0.1:0".parse().unwrap();
        Server::start("http-test", loopback, LIMITS, |request: Request<Incoming>| async move {
            match request.uri().path() {
                "/slow" => tokio::time::sleep(Duration::from_millis(500)).await,
                "/short" => {
                    let mut pieces = vec![Bytes::from_static(b"abc")];
                    let next = Box::new(move |_: &mut Cx<'_>| Poll::Ready(pieces.pop().map(Ok)));
                    return Response::new(Payload::Pieces { left: 10, next });
                }
                _ => {}
            }
            answer(StatusCode::OK, "text/plain", request.uri().path().to_owned())
        })
        .unwrap()
    }

    #[test]
    fn it_answers_and_ends() {
        let mut server = server();
        let reply = get(server.addr(), "/there");
        assert_eq!((reply.status, &reply.body[..]), (200, &b"/there"[..]));
        assert_eq!(reply.header("content-length"), Some("6"));
        let addr = server.addr();
        server.stop();
        assert!(TcpStream::connect(addr).is_err(), "nobody listens any more");
    }

    #[test]
    fn a_stop_waits_for_what_is_under_way() {
        let mut server = server();
        let addr = server.addr();
        let mut stream = TcpStream::connect(addr).unwrap();
        stream.write_all(b"GET /slow HTTP/1.1\r\nhost: x\r\n\r\n").unwrap();
        // The first byte of another answer: the slow one is being served by then.
        assert_eq!(get(addr, "/quick").status, 200);
        server.stop();
        let mut reply = String::new();
        stream.read_to_string(&mut reply).unwrap();
        assert!(reply.starts_with("HTTP/1.1 200"), "{reply}");
    }

    #[test]
    fn headers_are_bounded_in_size_number_and_time() {
        let server = server();
        let addr = server.addr();
        let long = format!("GET / HTTP/1.1\r\nx: {}\r\n\r\n", "y".repeat(2 * HEADER_BYTES_MAX));
        assert_eq!(ask(addr, long.as_bytes()).status, 431);
        let many = format!("GET / HTTP/1.1\r\n{}\r\n", "a: b\r\n".repeat(HEADERS_MAX + 1));
        assert_eq!(ask(addr, many.as_bytes()).status, 431);
        // One that never ends its header, and one that says nothing: both are closed.
        for begun in ["GET / HT", ""] {
            let mut stream = TcpStream::connect(addr).unwrap();
            stream.write_all(begun.as_bytes()).unwrap();
            stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
            let mut rest = Vec::new();
            assert!(stream.read_to_end(&mut rest).is_ok(), "{begun:?}: still open");
        }
    }

    #[test]
    fn more_connections_than_places_wait_and_are_served() {
        let server = server();
        let addr = server.addr();
        // Idle ones take all places until their time is up.
        let idle: Vec<_> =
            (0..LIMITS.connections_max).map(|_| TcpStream::connect(addr).unwrap()).collect();
        assert_eq!(get(addr, "/").status, 200);
        drop(idle);
    }

    /// A server with one answer of so many bytes in pieces of 64 KiB, and whether it was dropped.
    fn server_of(bytes: u64) -> (Server, Arc<AtomicBool>) {
        struct Flag(Arc<AtomicBool>);
        impl Drop for Flag {
            fn drop(&mut self) {
                self.0.store(true, Ordering::Relaxed);
            }
        }
        let dropped = Arc::new(AtomicBool::new(false));
        let tell = Arc::clone(&dropped);
        let loopback = "127.0.0.1:0".parse().unwrap();
        let server = Server::start("http-test", loopback, LIMITS, move |_: Request<Incoming>| {
            let flag = Flag(Arc::clone(&tell));
            let piece = Bytes::from(vec![7; 64 << 10]);
            async move {
                let next = Box::new(move |_: &mut Cx<'_>| {
                    let _kept = &flag;
                    Poll::Ready(Some(Ok(piece.clone())))
                });
                Response::new(Payload::Pieces { left: bytes, next })
            }
        });
        (server.unwrap(), dropped)
    }

    #[test]
    fn who_reads_nothing_is_cut_off_and_nothing_is_kept_for_it() {
        let (server, dropped) = server_of(1 << 30);
        let clock = HostClock::new();
        let begun = clock.mono();
        let mut stream = TcpStream::connect(server.addr()).unwrap();
        stream.write_all(b"GET / HTTP/1.1\r\nhost: x\r\n\r\n").unwrap();
        let waited = || clock.mono().since(begun);
        while !dropped.load(Ordering::Relaxed) {
            assert!(waited() < Nanos::from_secs(10), "its answer is still kept");
            std::thread::yield_now();
        }
        assert!(waited() >= Nanos::from(LIMITS.write_patience), "it had no time");
        let mut read = Vec::new();
        let _ = stream.read_to_end(&mut read);
        assert!(read.len() < 1 << 30, "it ends early");
    }

    #[test]
    fn who_reads_slowly_but_steadily_gets_everything() {
        const BYTES: usize = 24 << 20;
        let (server, _) = server_of(BYTES as u64);
        let mut stream = TcpStream::connect(server.addr()).unwrap();
        stream.write_all(b"GET / HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n").unwrap();
        let clock = HostClock::new();
        let begun = clock.mono();
        let (mut read, mut buf) = (0, vec![0; 512 << 10]);
        loop {
            let count = stream.read(&mut buf).unwrap();
            if count == 0 {
                break;
            }
            read += count;
            // A part of the patience for each half MiB, many times the patience in all.
            let until = clock.mono() + Nanos::from_millis(count as u64 * 60 / (512 << 10));
            while clock.mono() < until {
                std::thread::yield_now();
            }
        }
        let waited = clock.mono().since(begun);
        assert!(read > BYTES && waited > Nanos(4 * Nanos::from(LIMITS.write_patience).0), "{read}");
    }

    #[test]
    fn a_body_that_ends_early_does_not_look_whole() {
        let server = server();
        let mut stream = TcpStream::connect(server.addr()).unwrap();
        stream.write_all(b"GET /short HTTP/1.1\r\nhost: x\r\n\r\n").unwrap();
        let mut reply = Vec::new();
        let _ = stream.read_to_end(&mut reply);
        // What was ready may have been sent or not; ten bytes were promised, and never come.
        let text = String::from_utf8_lossy(&reply);
        if let Some((header, body)) = text.split_once("\r\n\r\n") {
            assert!(header.contains("content-length: 10") && "abc".starts_with(body), "{text}");
        }
    }
}

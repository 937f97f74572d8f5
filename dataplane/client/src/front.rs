//! The client for programs that run on tokio, or on any other executor of many threads.
//!
//! ```text
//! any thread                           the client's core
//! Bridge ─────── orders, mailbox ────> a task for each operation ──> Client
//! PutStream ──── pieces, 2 at once ──> Upload
//! GetStream <─── pieces, 1 at once ─── Download
//!           <─── outcome ─────────────
//! ```
//!
//! What must always hold: the client stays on its core; whoever is slow is waited for, so memory
//! is bounded by operations and pieces, not by objects; an operation whose caller is gone is given
//! up. A put that was given up, or whose locator nobody took, is deleted again: nobody could.

use std::cell::Cell;
use std::future::Future;
use std::ops::Range;
use std::pin::pin;
use std::rc::Rc;
use std::task::{Context, Poll};

use bytes::Bytes;
use isotherm_reactor::{Mailbox, Sender};
use isotherm_seam::Nanos;
use tokio::sync::{mpsc, oneshot};

use crate::{Client, ClientError, ListFrom, Locator, ObjectPage, ObjectStat, Upload};

/// Orders that wait to be looked at.
const ORDERS: usize = 64;
/// A piece of an object on its way in, at most.
const PIECE_BYTES: usize = 1 << 20;
/// Pieces on their way in.
const PIECES_IN: usize = 2;
/// Pieces on their way out; each is a stripe at most.
const PIECES_OUT: usize = 1;

/// How a bridge is made.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct BridgeConfig {
    /// Operations at once. Each holds some stripes in memory: a put about three times four, a get
    /// about three.
    pub operations_max: usize,
    /// How long a stop waits for operations under way.
    pub stop_patience: Nanos,
}

impl Default for BridgeConfig {
    /// 32 operations; 10 s.
    fn default() -> BridgeConfig {
        BridgeConfig { operations_max: 32, stop_patience: Nanos::from_secs(10) }
    }
}

/// Why an operation over a bridge failed.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum BridgeError {
    /// What the client says.
    #[error(transparent)]
    Client(#[from] ClientError),
    /// As many operations are under way as may be: try again later.
    #[error("as many operations are under way as may be; try again")]
    Full,
    /// The client has ended. Whether what was asked was done is not known.
    #[error("the client has ended")]
    Gone,
}

/// A client that any thread can use. Clones are handles to the same one.
#[derive(Clone, Debug)]
pub struct Bridge {
    orders: Sender<Order>,
}

type Outcome<T> = oneshot::Sender<Result<T, BridgeError>>;

enum Order {
    Put(mpsc::Receiver<Piece>, Outcome<Locator>),
    Get(Locator, Option<Range<u64>>, mpsc::Sender<Result<Option<Bytes>, BridgeError>>),
    Delete(Locator, Outcome<()>),
    Stat(Locator, Outcome<ObjectStat>),
    List(ListFrom, usize, Outcome<ObjectPage>),
    Stop(oneshot::Sender<()>),
}

enum Piece {
    Bytes(Bytes),
    End,
}

impl Bridge {
    /// A bridge to a client, and what serves it: to be run on the client's core. That ends after
    /// [`Bridge::stop`], or once all handles are gone; closing the client is its owner's.
    pub fn new(
        client: &Client,
        config: BridgeConfig,
    ) -> (Bridge, impl Future<Output = ()> + use<>) {
        let (orders, mailbox) = client.inner.handle.mailbox(ORDERS);
        let pier = Pier { client: client.clone(), config, running: Rc::default() };
        (Bridge { orders }, pier.serve(mailbox))
    }

    /// Begins an object; its bytes are written piece by piece.
    pub async fn put(&self) -> Result<PutStream, BridgeError> {
        let (pieces, taken) = mpsc::channel(PIECES_IN);
        let (to, outcome) = oneshot::channel();
        self.order(Order::Put(taken, to)).await?;
        Ok(PutStream { pieces, outcome: Some(outcome) })
    }

    /// An object, or a range of it, piece by piece. Errors come with the first piece.
    pub async fn get(
        &self,
        locator: Locator,
        range: Option<Range<u64>>,
    ) -> Result<GetStream, BridgeError> {
        let (to, pieces) = mpsc::channel(PIECES_OUT);
        self.order(Order::Get(locator, range, to)).await?;
        Ok(GetStream { pieces, is_over: false })
    }

    /// See [`Client::delete`]. One that has begun goes on if this is dropped.
    pub async fn delete(&self, locator: Locator) -> Result<(), BridgeError> {
        self.ask(|to| Order::Delete(locator, to)).await
    }

    /// See [`Client::stat`].
    pub async fn stat(&self, locator: Locator) -> Result<ObjectStat, BridgeError> {
        self.ask(|to| Order::Stat(locator, to)).await
    }

    /// See [`Client::list`].
    pub async fn list(&self, from: ListFrom, limit: usize) -> Result<ObjectPage, BridgeError> {
        self.ask(|to| Order::List(from, limit, to)).await
    }

    /// Takes no more operations and waits for those under way, for as long as the patience lasts.
    pub async fn stop(&self) {
        let (done, is_done) = oneshot::channel();
        if self.order(Order::Stop(done)).await.is_ok() {
            // Dropped unsent when somebody else's stop came first: then it is over, too.
            let _ = is_done.await;
        }
    }

    async fn ask<T>(&self, order: impl FnOnce(Outcome<T>) -> Order) -> Result<T, BridgeError> {
        let (to, outcome) = oneshot::channel();
        self.order(order(to)).await?;
        outcome.await.unwrap_or(Err(BridgeError::Gone))
    }

    async fn order(&self, order: Order) -> Result<(), BridgeError> {
        self.orders.send(order).await.map_err(|_| BridgeError::Gone)
    }
}

/// An object on its way in. Dropped before [`PutStream::finish`] has given a locator, it is given
/// up, and what was kept of it is deleted.
#[derive(Debug)]
pub struct PutStream {
    pieces: mpsc::Sender<Piece>,
    outcome: Option<oneshot::Receiver<Result<Locator, BridgeError>>>,
}

impl PutStream {
    /// Gives the next bytes. Waits while the client has enough of them.
    pub async fn write(&mut self, mut bytes: Bytes) -> Result<(), BridgeError> {
        while !bytes.is_empty() {
            let piece = bytes.split_to(bytes.len().min(PIECE_BYTES));
            if self.pieces.send(Piece::Bytes(piece)).await.is_err() {
                return Err(self.outcome().await.err().unwrap_or(BridgeError::Gone));
            }
        }
        Ok(())
    }

    /// The object is whole: waits until it is durable.
    pub async fn finish(mut self) -> Result<Locator, BridgeError> {
        // If nobody takes it, the outcome says why.
        let _ = self.pieces.send(Piece::End).await;
        self.outcome().await
    }

    async fn outcome(&mut self) -> Result<Locator, BridgeError> {
        match self.outcome.take() {
            Some(outcome) => outcome.await.unwrap_or(Err(BridgeError::Gone)),
            None => Err(BridgeError::Gone),
        }
    }
}

/// An object on its way out. Dropped before its end, the rest is not read.
#[derive(Debug)]
pub struct GetStream {
    pieces: mpsc::Receiver<Result<Option<Bytes>, BridgeError>>,
    is_over: bool,
}

impl GetStream {
    /// The next bytes: a stripe of them at most. `None` at the end.
    pub async fn next(&mut self) -> Result<Option<Bytes>, BridgeError> {
        std::future::poll_fn(|cx| self.poll_next(cx)).await
    }

    /// As [`GetStream::next`].
    pub fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Result<Option<Bytes>, BridgeError>> {
        if self.is_over {
            return Poll::Ready(Ok(None));
        }
        let piece = self.pieces.poll_recv(cx);
        // Without an end the core has gone: what came is not all.
        let piece = piece.map(|piece| piece.unwrap_or(Err(BridgeError::Gone)));
        self.is_over = matches!(piece, Poll::Ready(Ok(None)));
        piece
    }
}

/// The bridge's end on the client's core.
struct Pier {
    client: Client,
    config: BridgeConfig,
    running: Rc<Cell<usize>>,
}

/// An operation's place, until it is dropped.
struct Place(Rc<Cell<usize>>);

impl Drop for Place {
    fn drop(&mut self) {
        self.0.set(self.0.get() - 1);
    }
}

impl Pier {
    async fn serve(self, mut orders: Mailbox<Order>) {
        let mut stopped = None;
        while let Some(order) = orders.recv().await {
            match order {
                Order::Stop(done) => {
                    stopped = Some(done);
                    break;
                }
                order => self.begin(order),
            }
        }
        drop(orders);
        let handle = &self.client.inner.handle;
        let until = handle.now() + self.config.stop_patience;
        while self.running.get() > 0 && handle.now() < until {
            handle.sleep(Nanos::from_millis(1)).await;
        }
        if let Some(done) = stopped {
            // Whoever asked may have gone.
            let _ = done.send(());
        }
    }

    fn begin(&self, order: Order) {
        if self.running.get() >= self.config.operations_max {
            return order.refuse();
        }
        self.running.set(self.running.get() + 1);
        let (place, client) = (Place(Rc::clone(&self.running)), self.client.clone());
        let work = async move {
            let _place = place;
            order.serve(&client).await;
        };
        // Without room for a task the order is dropped, which its caller sees as an end.
        let _ = self.client.inner.handle.try_spawn("bridge", work);
    }
}

impl Order {
    /// Nobody who has gone need hear it.
    fn refuse(self) {
        let full = BridgeError::Full;
        match self {
            Order::Put(_, to) => drop(to.send(Err(full))),
            Order::Get(.., to) => drop(to.try_send(Err(full))),
            Order::Delete(_, to) => drop(to.send(Err(full))),
            Order::Stat(_, to) => drop(to.send(Err(full))),
            Order::List(.., to) => drop(to.send(Err(full))),
            Order::Stop(_) => {}
        }
    }

    async fn serve(self, client: &Client) {
        match self {
            Order::Put(pieces, to) => put(client, pieces, to).await,
            Order::Get(locator, range, to) => {
                while_wanted(get(client, &locator, range, &to), to.closed()).await;
            }
            Order::Delete(locator, to) => {
                let _ = to.send(client.delete(&locator).await.map_err(Into::into));
            }
            Order::Stat(locator, mut to) => {
                if let Some(stat) = while_wanted(client.stat(&locator), to.closed()).await {
                    let _ = to.send(stat.map_err(Into::into));
                }
            }
            Order::List(from, limit, mut to) => {
                if let Some(page) = while_wanted(client.list(from, limit), to.closed()).await {
                    let _ = to.send(page.map_err(Into::into));
                }
            }
            Order::Stop(_) => {}
        }
    }
}

async fn put(client: &Client, mut pieces: mpsc::Receiver<Piece>, to: Outcome<Locator>) {
    let mut upload = client.upload(client.new_id());
    loop {
        match pieces.recv().await {
            Some(Piece::Bytes(bytes)) => {
                if let Err(error) = upload.write(bytes).await {
                    let _ = to.send(Err(error.into()));
                    return;
                }
            }
            Some(Piece::End) => break,
            None => return undo(client, upload).await,
        }
    }
    match upload.finish().await {
        Ok(locator) => {
            if to.send(Ok(locator)).is_err() {
                // What can't be deleted now is in the listing, without a reader.
                let _ = client.delete(&locator).await;
            }
        }
        Err(error) => drop(to.send(Err(error.into()))),
    }
}

/// Deletes what was put so far. To find it, the object is brought to an end first.
async fn undo(client: &Client, upload: Upload) {
    if let Ok(locator) = upload.finish().await {
        // As above.
        let _ = client.delete(&locator).await;
    }
}

async fn get(
    client: &Client,
    locator: &Locator,
    range: Option<Range<u64>>,
    to: &mpsc::Sender<Result<Option<Bytes>, BridgeError>>,
) {
    let give = async {
        let mut download = client.download(locator, range).await?;
        while let Some(bytes) = download.next().await? {
            if to.send(Ok(Some(Bytes::from(bytes)))).await.is_err() {
                break;
            }
        }
        Ok(None)
    };
    let last: Result<_, ClientError> = give.await;
    // Nobody may be there to hear it.
    let _ = to.send(last.map_err(Into::into)).await;
}

/// Does the work for as long as somebody waits for it.
async fn while_wanted<T>(
    work: impl Future<Output = T>,
    unwanted: impl Future<Output = ()>,
) -> Option<T> {
    let (mut work, mut unwanted) = (pin!(work), pin!(unwanted));
    std::future::poll_fn(|cx| match work.as_mut().poll(cx) {
        Poll::Ready(value) => Poll::Ready(Some(value)),
        Poll::Pending => unwanted.as_mut().poll(cx).map(|()| None),
    })
    .await
}

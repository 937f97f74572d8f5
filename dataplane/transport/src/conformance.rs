//! What every network keeps, as one run: the promises of [`Session`](crate::Session), tried.
//!
//! Each kind of network is tested by handing a pair of its endpoints to [`run`], both on one core.

use std::cell::{Cell, RefCell};
use std::future::{Future, poll_fn};
use std::rc::Rc;

use bytes::Bytes;
use isotherm_reactor::Handle;
use isotherm_seam::{BufPool, Nanos, PoolLayout};
use isotherm_wire::{BODY_BYTES_MAX, Envelope, HEADER_BYTES, VERSION};

use crate::{
    Body, CallError, Closed, Connection, Frame, Network, PeerAddr, SPANS_MAX, TOLD_BYTES_MAX,
};

/// Two endpoints of one core.
#[derive(Clone)]
pub struct Pair {
    /// Their core.
    pub core: Handle,
    /// The one that dials.
    pub near: Rc<dyn Network>,
    /// The one that is dialled.
    pub far: Rc<dyn Network>,
    /// How the far one is dialled.
    pub to_far: PeerAddr,
    /// Somewhere nobody listens.
    pub to_nobody: PeerAddr,
    /// The name that the near one shows; `None` where names are not shown.
    pub near_name: Option<String>,
}

/// Far longer than anything here takes.
const PATIENCE: Nanos = Nanos::from_secs(60);

/// A sealed message of this kind.
pub fn message(kind: u8, body: Body) -> Frame {
    let front = Envelope {
        version: VERSION,
        kind,
        flags: 0,
        body_bytes: body.len() as u32,
        body_crc: body.crc(),
    };
    let mut header = [0x5a; HEADER_BYTES];
    front.write(&mut header);
    Frame { header, body }
}

/// Bytes that tell where they belong.
pub fn pattern(len: usize, seed: u8) -> Vec<u8> {
    (0..len).map(|i| (i as u32).wrapping_mul(0x9e37_79b1).to_le_bytes()[3] ^ seed).collect()
}

/// Tries everything.
pub async fn run(pair: Pair) {
    messages_come_whole(&pair).await;
    many_calls_at_once(&pair).await;
    both_sides_call(&pair).await;
    a_buffer_of_the_pool_is_sent_and_comes_back(&pair).await;
    who_abandons_is_not_waited_for(&pair).await;
    a_dropped_call_is_abandoned(&pair).await;
    what_is_refused_is_told(&pair).await;
    what_is_told_comes_in_order(&pair).await;
    what_nobody_reads_is_not_taken_for_ever(&pair).await;
    an_end_ends_every_call(&pair).await;
    nobody_answers_for_nobody(&pair).await;
    a_name_that_is_not_theirs_is_refused(&pair).await;
}

async fn in_time<F: Future>(pair: &Pair, what: &str, future: F) -> F::Output {
    match pair.core.timeout(PATIENCE, future).await {
        Ok(value) => value,
        Err(_) => panic!("{what}: not within {PATIENCE:?}"),
    }
}

/// A session, as both sides have it.
async fn connect(pair: &Pair) -> (Connection, Connection) {
    let near = pair.near.dial(&pair.to_far);
    in_time(pair, "a handshake", near.ready()).await.expect("a handshake");
    let far = in_time(pair, "an accept", poll_fn(|cx| pair.far.poll_accept(cx))).await;
    assert_eq!(near.peer().name, pair.to_far.name);
    if let Some(name) = &pair.near_name {
        assert_eq!(&far.peer().name, name);
    }
    (near, far)
}

/// Answers every request with its own body, until the session is over.
fn serve(pair: &Pair, session: &Connection) -> isotherm_reactor::Task<usize> {
    let session = session.clone();
    pair.core.spawn("echo", async move {
        let mut count = 0;
        while let Ok((ticket, request)) = session.request().await {
            let envelope = request.check().expect("a session hands over whole messages");
            assert_eq!(request.body.crc(), envelope.body_crc);
            session.answer(ticket, message(envelope.kind + 1, request.body));
            count += 1;
        }
        count
    })
}

async fn echo(pair: &Pair, session: &Connection, len: usize, seed: u8) {
    let body = pattern(len, seed);
    let call = session.call(message(seed, Body::from(body.clone())));
    let answer = in_time(pair, "an answer", call).await.expect("an answer");
    let envelope = answer.check().expect("a whole answer");
    assert_eq!(envelope.kind, seed + 1);
    assert!(answer.body.to_vec() == body, "{len} bytes come back as they went");
}

async fn messages_come_whole(pair: &Pair) {
    let (near, far) = connect(pair).await;
    let server = serve(pair, &far);
    let sizes = [0, 1, 127, 1072, 4096, 65_537, 1 << 20, BODY_BYTES_MAX];
    for (seed, len) in sizes.into_iter().enumerate() {
        echo(pair, &near, len, seed as u8).await;
    }
    near.close();
    assert_eq!(in_time(pair, "the end", server).await, sizes.len());
    assert_eq!(far.closed(), Some(Closed::ByPeer));
}

async fn many_calls_at_once(pair: &Pair) {
    // More than a session has streams for: the rest waits for its turn.
    const CALLS: usize = 600;
    let (near, far) = connect(pair).await;
    let server = serve(pair, &far);
    let done = Rc::new(Cell::new(0));
    let tasks: Vec<_> = (0..CALLS)
        .map(|i| {
            let (pair, near, done) = (pair.clone(), near.clone(), Rc::clone(&done));
            pair.core.clone().spawn("caller", async move {
                echo(&pair, &near, i * 37 % 9000, (i % 200) as u8).await;
                done.set(done.get() + 1);
            })
        })
        .collect();
    for task in tasks {
        in_time(pair, "a call", task).await;
    }
    assert_eq!(done.get(), CALLS);
    near.close();
    assert_eq!(in_time(pair, "the end", server).await, CALLS);
}

async fn both_sides_call(pair: &Pair) {
    let (near, far) = connect(pair).await;
    let (at_near, at_far) = (serve(pair, &near), serve(pair, &far));
    for i in 0..20 {
        echo(pair, &near, 5000, i).await;
        echo(pair, &far, 7000, i).await;
    }
    far.close();
    assert_eq!(in_time(pair, "the end", at_near).await, 20);
    assert_eq!(in_time(pair, "the end", at_far).await, 20);
    assert_eq!((near.closed(), far.closed()), (Some(Closed::ByPeer), Some(Closed::Here)));
}

async fn a_buffer_of_the_pool_is_sent_and_comes_back(pair: &Pair) {
    let (near, far) = connect(pair).await;
    let pool = BufPool::new(&PoolLayout::uniform(1 << 20, 2)).expect("memory");
    let free = pool.free_count();
    for len in [10usize, 70_000, 1_000_000] {
        let mut buf = pool.alloc(1 << 20).expect("a free buffer");
        buf.copy_from_slice(&pattern(1 << 20, 3));
        let half = (len / 2) as u32;
        let mut spans = [(0, 0); SPANS_MAX];
        // Two spans with a gap between them, and an empty one.
        spans[0] = (7, 7 + half);
        spans[2] = (20 + half, 20 + 2 * half);
        let expected = [&buf[7..7 + half as usize], &buf[20 + half as usize..][..half as usize]];
        let expected = expected.concat();
        let call = near.call(message(9, Body::from(Bytes::new())));
        let (ticket, _) = in_time(pair, "a request", far.request()).await.expect("a request");
        far.answer(ticket, message(10, Body::Buffer(buf, spans)));
        let answer = in_time(pair, "an answer", call).await.expect("an answer");
        assert!(answer.body.to_vec() == expected);
        drop(answer);
        in_time(pair, "the buffer", async {
            while pool.free_count() < free {
                pair.core.sleep(Nanos::from_millis(1)).await;
            }
        })
        .await;
    }
    near.close();
}

async fn who_abandons_is_not_waited_for(pair: &Pair) {
    let (near, far) = connect(pair).await;
    let ticket = crate::Session::call(&*near, message(1, Body::from(vec![1; 100])));
    let (theirs, _) = in_time(pair, "a request", far.request()).await.expect("a request");
    assert!(far.is_wanted(theirs));
    near.abandon(ticket);
    in_time(pair, "the news", async {
        while far.is_wanted(theirs) {
            pair.core.sleep(Nanos::from_millis(1)).await;
        }
    })
    .await;
    // To answer or refuse it does no harm.
    far.answer(theirs, message(2, Body::from(vec![2; 100_000])));
    let server = serve(pair, &far);
    // Abandoned before they were sent: their streams come free again.
    for _ in 0..1000 {
        near.abandon(crate::Session::call(&*near, message(1, Body::from(vec![3; 5000]))));
    }
    echo(pair, &near, 300, 4).await;
    near.close();
    in_time(pair, "the end", server).await;
}

async fn a_dropped_call_is_abandoned(pair: &Pair) {
    let (near, far) = connect(pair).await;
    let call = near.call(message(1, Body::Empty));
    let (theirs, _) = in_time(pair, "a request", far.request()).await.expect("a request");
    drop(call);
    in_time(pair, "the news", async {
        while far.is_wanted(theirs) {
            pair.core.sleep(Nanos::from_millis(1)).await;
        }
    })
    .await;
    far.refuse(theirs);
    near.close();
}

async fn what_is_refused_is_told(pair: &Pair) {
    let (near, far) = connect(pair).await;
    for len in [0, 200_000] {
        let call = near.call(message(1, Body::from(vec![0; len])));
        let (ticket, _) = in_time(pair, "a request", far.request()).await.expect("a request");
        far.refuse(ticket);
        assert!(!far.is_wanted(ticket));
        let refused = in_time(pair, "the refusal", call).await;
        assert_eq!(refused.err(), Some(CallError::Refused));
    }
    let server = serve(pair, &far);
    echo(pair, &near, 10, 1).await;
    near.close();
    in_time(pair, "the end", server).await;
}

async fn what_is_told_comes_in_order(pair: &Pair) {
    const COUNT: u32 = 2000;
    let (near, far) = connect(pair).await;
    let server = serve(pair, &far);
    // Payload both ways meanwhile.
    let busy = {
        let (pair, near) = (pair.clone(), near.clone());
        pair.core.clone().spawn("payload", async move {
            for i in 0..20 {
                echo(&pair, &near, 300_000, i).await;
            }
        })
    };
    for (from, to) in [(&near, &far), (&far, &near)] {
        let told = {
            let (core, from) = (pair.core.clone(), from.clone());
            pair.core.spawn("tell", async move {
                for i in 0..COUNT {
                    let len = 4 + i as usize % (TOLD_BYTES_MAX - 3);
                    let mut message = pattern(len, i as u8);
                    message[..4].copy_from_slice(&i.to_le_bytes());
                    while !from.tell(&message) {
                        core.sleep(Nanos::from_micros(100)).await;
                    }
                }
            })
        };
        let mut message = vec![0xee];
        for i in 0..COUNT {
            message.truncate(1);
            in_time(pair, "a told message", to.told(&mut message)).await.expect("it is open");
            assert_eq!(message[0], 0xee, "it is appended");
            assert_eq!(message[1..5], i.to_le_bytes());
            assert_eq!(message.len() - 1, 4 + i as usize % (TOLD_BYTES_MAX - 3));
            assert_eq!(message[5..], pattern(message.len() - 1, i as u8)[4..]);
        }
        in_time(pair, "the teller", told).await;
    }
    in_time(pair, "the payload", busy).await;
    near.close();
    in_time(pair, "the end", server).await;
    assert!(!near.tell(&[1]), "nothing is told to the dead");
}

async fn what_nobody_reads_is_not_taken_for_ever(pair: &Pair) {
    let (near, far) = connect(pair).await;
    let mut taken = 0u32;
    let mut refused = 0;
    // Until it has been refused for a while.
    while refused < 50 {
        if near.tell(&[7; TOLD_BYTES_MAX]) {
            taken += 1;
            refused = 0;
            assert!(taken < 100_000, "26 MB are kept for a peer that does not read");
        } else {
            refused += 1;
            pair.core.sleep(Nanos::from_millis(1)).await;
        }
    }
    let mut message = Vec::new();
    for _ in 0..taken {
        message.clear();
        in_time(pair, "a told message", far.told(&mut message)).await.expect("it is open");
        assert_eq!(message, [7; TOLD_BYTES_MAX]);
    }
    assert!(near.tell(&[8]), "there is room again");
    message.clear();
    in_time(pair, "a told message", far.told(&mut message)).await.expect("it is open");
    assert_eq!(message, [8]);
    near.close();
}

async fn an_end_ends_every_call(pair: &Pair) {
    for by_far in [false, true] {
        let (near, far) = connect(pair).await;
        let calls: Vec<_> =
            (0..300).map(|_| near.call(message(1, Body::from(vec![0; 2000])))).collect();
        let (ticket, _) = in_time(pair, "a request", far.request()).await.expect("a request");
        let waiting = Rc::new(RefCell::new(None));
        let waiter = {
            let (near, waiting) = (near.clone(), Rc::clone(&waiting));
            pair.core.spawn("waits", async move {
                let request = near.request().await;
                *waiting.borrow_mut() = request.err();
            })
        };
        if by_far {
            far.close()
        } else {
            near.close()
        };
        let (at_near, at_far) =
            if by_far { (Closed::ByPeer, Closed::Here) } else { (Closed::Here, Closed::ByPeer) };
        for call in calls {
            let end = in_time(pair, "the end of a call", call).await;
            assert_eq!(end.err(), Some(CallError::Closed(at_near)));
        }
        in_time(pair, "who waits for requests", waiter).await;
        assert_eq!(*waiting.borrow(), Some(at_near));
        let mut told = Vec::new();
        assert_eq!(in_time(pair, "the told", near.told(&mut told)).await, Err(at_near));
        let end = async {
            loop {
                if let Err(end) = far.request().await {
                    return end;
                }
            }
        };
        assert_eq!(in_time(pair, "the other side", end).await, at_far);
        assert!(!far.is_wanted(ticket));
        far.answer(ticket, message(2, Body::Empty));
        let late = in_time(pair, "a late call", near.call(message(1, Body::Empty))).await;
        assert_eq!(late.err(), Some(CallError::Closed(at_near)));
    }
}

async fn nobody_answers_for_nobody(pair: &Pair) {
    let near = pair.near.dial(&pair.to_nobody);
    let call = near.call(message(1, Body::Empty));
    assert_eq!(in_time(pair, "silence", near.ready()).await, Err(Closed::Silent));
    let end = in_time(pair, "its call", call).await;
    assert_eq!(end.err(), Some(CallError::Closed(Closed::Silent)));
}

async fn a_name_that_is_not_theirs_is_refused(pair: &Pair) {
    let to = PeerAddr { name: "somebody-else".into(), ..pair.to_far.clone() };
    let near = pair.near.dial(&to);
    let call = near.call(message(1, Body::Empty));
    assert_eq!(in_time(pair, "the refusal", near.ready()).await, Err(Closed::Untrusted));
    let end = in_time(pair, "its call", call).await;
    assert_eq!(end.err(), Some(CallError::Closed(Closed::Untrusted)));
}

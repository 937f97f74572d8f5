//! The client's front for tokio, over a cluster: the cluster and the client have a thread and
//! virtual time of their own, the callers are on tokio in real time.

#[allow(dead_code, reason = "this test takes no machine down")]
#[path = "cluster/rig.rs"]
mod rig;

use std::sync::mpsc::sync_channel;
use std::thread::JoinHandle;
use std::time::Duration;

use bytes::Bytes;
use isotherm_client::{
    Bridge, BridgeConfig, BridgeError, Class, ClientError, ListFrom, Locator, ObjectPage,
};
use isotherm_seam::{Domain, Draws, Nanos};

use rig::Rig;

/// A cluster on a thread, until its bridge is stopped.
fn cluster(seed: u64, config: BridgeConfig) -> (Bridge, JoinHandle<()>) {
    let (tell, told) = sync_channel(1);
    let run = move || {
        let mut rig = Rig::new(seed, 6, 1, "4+2");
        let (client, handle) = (rig.client.clone(), rig.handle());
        let (bridge, serve) = Bridge::new(&client, config);
        tell.send(bridge).expect("somebody waits for it");
        // Virtual time would end where nothing is due but what other threads send: it goes on,
        // a millisecond at a time, and gives them the processor.
        let ticks = handle.clone();
        let ticker = handle.spawn("ticker", async move {
            loop {
                ticks.sleep(Nanos::from_millis(1)).await;
                std::thread::yield_now();
            }
        });
        rig.run(serve);
        ticker.cancel();
    };
    let thread = std::thread::Builder::new().name("cluster".into()).spawn(run).expect("a thread");
    (told.recv().expect("the cluster starts"), thread)
}

fn on_tokio<T>(work: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build();
    let limited = async { tokio::time::timeout(Duration::from_secs(120), work).await };
    runtime.expect("a runtime").block_on(limited).expect("it does not hang")
}

fn content(seed: u64, len: usize) -> Bytes {
    let mut draws = Draws::new(seed, Domain::new("test.content"), 0);
    let words = (0..len.div_ceil(8)).flat_map(|_| draws.next_u64().to_le_bytes());
    words.take(len).collect()
}

async fn put(bridge: &Bridge, bytes: &Bytes, piece: usize) -> Result<Locator, BridgeError> {
    let mut stream = bridge.put().await?;
    let mut rest = bytes.clone();
    while !rest.is_empty() {
        stream.write(rest.split_to(piece.min(rest.len()))).await?;
    }
    stream.finish().await
}

async fn get(
    bridge: &Bridge,
    locator: Locator,
    range: Option<std::ops::Range<u64>>,
) -> Result<Vec<u8>, BridgeError> {
    let mut stream = bridge.get(locator, range).await?;
    let mut all = Vec::new();
    while let Some(bytes) = stream.next().await? {
        all.extend_from_slice(&bytes);
    }
    assert_eq!(stream.next().await, Ok(None), "the end stays the end");
    Ok(all)
}

async fn list(bridge: &Bridge) -> ObjectPage {
    bridge.list(ListFrom::default(), 1000).await.unwrap()
}

#[test]
fn objects_go_in_and_out_from_another_thread() {
    let (bridge, thread) = cluster(1, BridgeConfig::default());
    on_tokio(async {
        for (len, piece) in [(0, 1), (1, 1), (70_000, 7), (3 << 20, 3 << 20), (9_500_000, 65_536)] {
            let bytes = content(len as u64, len);
            let locator = put(&bridge, &bytes, piece).await.unwrap();
            assert_eq!(locator.len_bytes, len as u64);
            assert!(get(&bridge, locator, None).await.unwrap() == bytes, "{len}");
            let (from, until) = (len / 3, len - len / 5);
            let part = get(&bridge, locator, Some(from as u64..until as u64)).await.unwrap();
            assert!(part == bytes[from..until], "{len}: {from}..{until}");
            let stat = bridge.stat(locator).await.unwrap();
            assert_eq!((stat.bad, stat.silent, stat.spare), (0, 0, 2));
            let beyond = get(&bridge, locator, Some(0..len as u64 + 1)).await;
            let error = ClientError::OutOfRange { len_bytes: len as u64 };
            assert_eq!(beyond, Err(BridgeError::Client(error)));
        }
        assert_eq!(list(&bridge).await.objects.len() as u32, {
            // A long object is listed for each group that it is in.
            let page = list(&bridge).await;
            let mut objects: Vec<u128> = page.objects.iter().map(|o| o.object).collect();
            objects.sort_unstable();
            objects.dedup();
            assert_eq!(objects.len(), 5);
            page.objects.len() as u32
        });
        bridge.stop().await;
        assert_eq!(bridge.put().await.err(), Some(BridgeError::Gone));
        assert_eq!(bridge.list(ListFrom::default(), 1).await, Err(BridgeError::Gone));
    });
    thread.join().unwrap();
}

#[test]
fn a_deleted_object_is_gone() {
    let (bridge, thread) = cluster(2, BridgeConfig::default());
    on_tokio(async {
        let locator = put(&bridge, &content(1, 5_000_000), 100_000).await.unwrap();
        assert_eq!(locator.class, Class::Manifest);
        bridge.delete(locator).await.unwrap();
        let error = get(&bridge, locator, None).await.unwrap_err();
        assert_eq!(error, BridgeError::Client(ClientError::Deleted));
        let error = bridge.stat(locator).await.unwrap_err();
        assert_eq!(error, BridgeError::Client(ClientError::Deleted));
        bridge.delete(locator).await.unwrap();
        bridge.stop().await;
    });
    thread.join().unwrap();
}

/// A frontend whose own client hung up drops the stream. What was kept until then must not stay:
/// nobody has its locator.
#[test]
fn a_put_that_was_given_up_leaves_nothing() {
    let (bridge, thread) = cluster(3, BridgeConfig::default());
    on_tokio(async {
        for len in [0, 1_000, 9_500_000] {
            let mut stream = bridge.put().await.unwrap();
            stream.write(content(1, len)).await.unwrap();
            drop(stream);
        }
        // Whole, but nobody waits for the locator.
        let mut stream = bridge.put().await.unwrap();
        stream.write(content(2, 6_000_000)).await.unwrap();
        let mut finish = Box::pin(stream.finish());
        std::future::poll_fn(|cx| {
            let _ = finish.as_mut().poll(cx);
            std::task::Poll::Ready(())
        })
        .await;
        drop(finish);
        let kept = put(&bridge, &content(3, 2_000_000), 50_000).await.unwrap();
        let mut left = usize::MAX;
        for _ in 0..1000 {
            let page = list(&bridge).await;
            let others = page.objects.iter().filter(|object| object.object != kept.object);
            left = others.filter(|object| object.cells > 0).count();
            if left == 0 {
                break;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        assert_eq!(left, 0, "cells that nobody can read or delete");
        assert_eq!(get(&bridge, kept, None).await.unwrap().len(), 2_000_000);
        bridge.stop().await;
    });
    thread.join().unwrap();
}

#[test]
fn operations_are_bounded_and_slow_readers_hold_no_more_than_their_piece() {
    let config = BridgeConfig { operations_max: 2, ..BridgeConfig::default() };
    let (bridge, thread) = cluster(4, config);
    on_tokio(async {
        let bytes = content(1, 20_000_000);
        let locator = put(&bridge, &bytes, 1 << 20).await.unwrap();
        // Two that nobody reads from take all places.
        let mut first = bridge.get(locator, None).await.unwrap();
        let second = bridge.get(locator, None).await.unwrap();
        let begun = first.next().await.unwrap().expect("20 MB");
        assert!(begun == bytes[..begun.len()]);
        assert_eq!(bridge.stat(locator).await, Err(BridgeError::Full));
        let mut third = bridge.get(locator, None).await.unwrap();
        assert_eq!(third.next().await, Err(BridgeError::Full));
        // A place comes free when somebody gives up.
        drop(second);
        let mut stat = bridge.stat(locator).await;
        for _ in 0..1000 {
            if stat.is_ok() {
                break;
            }
            tokio::time::sleep(Duration::from_millis(1)).await;
            stat = bridge.stat(locator).await;
        }
        assert!(stat.is_ok(), "{stat:?}");
        // The slow one gets all that is his.
        let mut all = begun.to_vec();
        while let Some(piece) = first.next().await.unwrap() {
            all.extend_from_slice(&piece);
        }
        assert!(all == bytes);
        bridge.stop().await;
    });
    thread.join().unwrap();
}

#[test]
fn a_stop_waits_for_what_is_under_way_and_no_longer_than_it_should() {
    let config = BridgeConfig { stop_patience: Nanos::from_millis(200), ..BridgeConfig::default() };
    let (bridge, thread) = cluster(5, config);
    on_tokio(async {
        // Nobody will ever write to the end of this one.
        let mut endless = bridge.put().await.unwrap();
        endless.write(content(1, 10)).await.unwrap();
        bridge.stop().await;
        bridge.stop().await;
    });
    thread.join().unwrap();
}

#[test]
fn without_handles_the_front_ends() {
    let (bridge, thread) = cluster(6, BridgeConfig::default());
    drop(bridge.clone());
    drop(bridge);
    thread.join().unwrap();
}

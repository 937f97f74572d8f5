//! The plainest use, from an empty disk to one that was closed and opened again.

use std::rc::Rc;

use isotherm_reactor::{Reactor, ReactorConfig};
use isotherm_seam::{BlockSize, BufPool, DiskId, PoolClass, PoolLayout};
use isotherm_sim::{CrashStyle, SimClock, SimDisk, SimDiskConfig, SimPark};
use isotherm_store::{
    Delete, FormatOptions, GetError, Key, Options, Put, PutBuf, PutError, ScannedDisk, Store,
    World, format,
};

fn key(object: u128) -> Key {
    Key { group: 7, object, stripe: 0, position: 1 }
}

fn bytes(len: usize, salt: u8) -> Vec<u8> {
    (0..len).map(|at| (at as u8).wrapping_mul(31) ^ salt ^ (at >> 8) as u8).collect()
}

async fn put(store: &Store, object: u128, payload: &[u8]) -> Result<(), PutError> {
    let mut buf = store.buffer(payload.len()).map_err(PutError::Buffer)?;
    buf.fill(payload);
    store.put(Put::new(key(object)), buf).await.map(drop)
}

fn pool() -> BufPool {
    let large = PutBuf::buffer_bytes(1 << 20) as u32;
    BufPool::new(&PoolLayout {
        classes: vec![
            PoolClass { buf_bytes: 16 << 10, count: 256 },
            PoolClass { buf_bytes: large, count: 24 },
        ],
        align: BlockSize::B4096,
        huge: false,
    })
    .unwrap()
}

#[test]
fn shards_survive_a_close_and_a_power_cut() {
    let clock = SimClock::new();
    let mut config = SimDiskConfig::new(1, DiskId(0), 64 * 512);
    config.geometry.io_bytes_max = 2 << 20;
    let disk = SimDisk::new(config);
    let control = disk.control();
    let mut device: Option<SimDisk> = Some(disk);
    let mut expected: Vec<(u128, Option<Vec<u8>>)> = Vec::new();
    for round in 0..4u128 {
        let mut reactor =
            Reactor::new(SimPark::new(clock.clone()), clock.clone(), ReactorConfig::default());
        let handle = reactor.handle().clone();
        let disk = handle.attach(Box::new(device.take().unwrap()));
        let world = World { handle, pool: pool(), clock: Rc::new(clock.clone()) };
        let before = expected.clone();
        let task = async move {
            if round == 0 {
                let options =
                    FormatOptions { extent_blocks: Some(512), ..FormatOptions::new([3; 16]) };
                format(&world, &disk, &options).await.unwrap();
                format(&world, &disk, &options).await.unwrap_err();
            }
            let (store, report) = if round == 3 {
                let scanned = ScannedDisk::scan(&world, &disk).await.unwrap();
                scanned
                    .recover_by_full_scan(Options::default())
                    .await
                    .unwrap()
                    .start()
                    .await
                    .unwrap()
            } else {
                Store::open(&world, &disk, Options::default()).await.unwrap()
            };
            eprintln!("round {round}: {report:?}");
            let mut now = before;
            for (object, payload) in &now {
                match (store.read(key(*object)).await, payload) {
                    (Ok(shard), Some(payload)) => assert_eq!(&shard.to_vec(), payload, "{object}"),
                    (Err(GetError::Deleted | GetError::NotFound), None) => {}
                    (got, payload) => {
                        panic!("{object}: {:?} {}", got.map(|_| ()), payload.is_some())
                    }
                }
            }
            for object in 0..20u128 {
                let len = [0, 1, 4096, 5000, 262_144, 262_145, 400_000][object as usize % 7];
                let payload = bytes(len, round as u8 ^ object as u8);
                let object = object + round * 20;
                put(&store, object, &payload).await.unwrap();
                let shard = store.read(key(object)).await.unwrap();
                assert_eq!(shard.to_vec(), payload);
                if len > 300 {
                    let range = len as u32 / 2..len as u32 - 7;
                    let part = store.read_range(key(object), range.clone()).await.unwrap();
                    assert_eq!(part.to_vec(), payload[range.start as usize..range.end as usize]);
                }
                now.push((object, Some(payload)));
            }
            let victim = round * 20 + 3;
            store.delete(Delete::new(key(victim))).await.unwrap();
            now.iter_mut().find(|(object, _)| *object == victim).unwrap().1 = None;
            // Replaced, and replaced again.
            put(&store, 5, b"again").await.unwrap();
            now.iter_mut().find(|(object, _)| *object == 5).unwrap().1 = Some(b"again".to_vec());
            let page = store.list(Key::MIN, Key::MAX, 1000).await.unwrap();
            assert_eq!(
                page.entries.iter().filter(|e| !e.is_tombstone).count(),
                now.iter().filter(|(_, p)| p.is_some()).count()
            );
            for _ in 0..3 {
                eprintln!("{:?}", store.reclaim_once().await);
            }
            let status = store.status();
            eprintln!("{status:?}");
            if round == 1 {
                store.close().await.unwrap();
            }
            now
        };
        expected = reactor.run(task);
        drop(reactor);
        if round != 1 {
            control.crash(CrashStyle::None);
        }
        device = Some(control.open());
    }
}

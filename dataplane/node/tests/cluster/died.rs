//! A client dies at every step of a put and of a delete. Whatever it left is found and swept by
//! another one, and nothing that was acknowledged is hurt.

use isotherm_client::{ClientError, ListFrom, ListedObject, Locator};
use isotherm_seam::Nanos;

use super::{check, content, get, put, repair_all};
use crate::rig::Rig;

/// Copies, one stripe, many stripes with a manifest.
const LENGTHS: [usize; 3] = [10_000, 1 << 20, (8 << 20) + 5];

fn listed(rig: &mut Rig) -> Vec<ListedObject> {
    let client = rig.client.clone();
    rig.run(async move {
        let mut objects = Vec::new();
        let mut from = Some(ListFrom::default());
        while let Some(at) = from {
            let page = client.list(at, 100).await.unwrap();
            objects.extend(page.objects);
            from = page.next;
        }
        objects
    })
}

/// Deletes all that a listing shows and that is not of an object that is kept.
fn sweep(rig: &mut Rig, kept: &[Locator]) -> usize {
    let is_kept = |object: u128| kept.iter().any(|locator| locator.object == object);
    let left: Vec<ListedObject> = listed(rig)
        .into_iter()
        .filter(|listed| !is_kept(listed.object) && listed.cells + listed.notes > 0)
        .collect();
    let client = rig.client.clone();
    let count = left.len();
    rig.run(async move {
        for listed in left {
            client.delete_id(listed.object, &listed.entries).await.unwrap();
        }
    });
    count
}

/// Nothing but what is kept is on any disk, and nothing is held for anybody.
fn check_swept(rig: &mut Rig, kept: &[Locator], free: &[usize]) {
    for listed in listed(rig) {
        let is_kept = kept.iter().any(|locator| locator.object == listed.object);
        assert!(is_kept || listed.cells + listed.notes == 0, "{listed:?}");
        assert!(is_kept || !listed.has_manifest || listed.tombstones > 0, "{listed:?}");
    }
    for &locator in kept {
        check(rig, locator);
    }
    assert_eq!(rig.idle_buffers(), free, "a buffer is held for nobody");
}

fn put_and_die(rig: &mut Rig, kept: &mut Vec<Locator>, len: usize) {
    let free = rig.idle_buffers();
    let mut remains = 0;
    for messages in 1.. {
        let done = rig.run_mortal(messages, move |client| async move {
            let object = client.new_id();
            client.put(object, content(object, len)).await
        });
        let is_done = done.is_some();
        kept.extend(done.map(Result::unwrap));
        remains += sweep(rig, kept);
        if is_done {
            // Six cells of a stripe, three copies of a manifest; a few more where a node is gone.
            assert!(messages >= 3, "{messages}");
            break;
        }
        assert!(messages < 100, "it never ends");
    }
    assert!(remains > 0, "it never left anything");
    check_swept(rig, kept, &free);
    // A repair finds nothing to put again, and what it releases is not kept for long.
    let report = repair_all(rig);
    assert_eq!((report.mended, report.later), (0, 0), "{report:?}");
    check_swept(rig, kept, &free);
}

#[test]
fn a_client_dies_at_every_step_of_a_put() {
    let mut rig = Rig::new(20, 6, 1, "4+2");
    let mut kept = vec![put(&mut rig, 5000), put(&mut rig, 3 << 20)];
    for len in LENGTHS {
        put_and_die(&mut rig, &mut kept, len);
    }
}

#[test]
fn a_client_dies_at_every_step_of_a_put_that_misses_a_machine() {
    let mut rig = Rig::new(21, 6, 1, "4+2");
    rig.kill(3);
    for len in LENGTHS {
        let mut kept = vec![put(&mut rig, 5000)];
        for messages in 1..100 {
            let done = rig.run_mortal(messages, move |client| async move {
                let object = client.new_id();
                client.put(object, content(object, len)).await
            });
            let is_done = done.is_some();
            kept.extend(done.map(Result::unwrap));
            sweep(&mut rig, &kept);
            if is_done {
                break;
            }
        }
        assert_eq!(kept.len(), 2, "it never ends");
        for &locator in &kept {
            check(&mut rig, locator);
        }
        rig.start(3, false);
        let report = repair_all(&mut rig);
        assert_eq!((report.remains, report.later), (0, 0), "{report:?}");
        sweep(&mut rig, &kept);
        let free = rig.idle_buffers();
        check_swept(&mut rig, &kept, &free);
        for locator in kept {
            let client = rig.client.clone();
            rig.run(async move { client.delete(&locator).await }).unwrap();
        }
        rig.kill(3);
    }
}

#[test]
fn a_client_dies_at_every_step_of_a_delete() {
    let mut rig = Rig::new(22, 6, 1, "4+2");
    let kept = vec![put(&mut rig, 5000), put(&mut rig, 3 << 20), put(&mut rig, 6 << 20)];
    let free = rig.idle_buffers();
    for len in LENGTHS {
        let mut gone = 0;
        for messages in 1.. {
            let locator = put(&mut rig, len);
            let done = rig
                .run_mortal(messages, move |client| async move { client.delete(&locator).await });
            // Not done: there or deleted, and never damaged.
            match get(&mut rig, locator) {
                Ok(bytes) => {
                    assert!(done.is_none(), "acknowledged, and there");
                    assert!(bytes == content(locator.object, len));
                }
                Err(ClientError::Deleted) => gone += 1,
                Err(error) => panic!("{len}, {messages} messages: {error}"),
            }
            if let Some(done) = done {
                done.unwrap();
                break;
            }
            // Who was not told so says it again.
            let client = rig.client.clone();
            rig.run(async move { client.delete(&locator).await }).unwrap();
            assert_eq!(get(&mut rig, locator), Err(ClientError::Deleted));
            assert!(messages < 100, "it never ends");
        }
        assert!(gone > 1, "{len}");
    }
    check_swept(&mut rig, &kept, &free);
    // Everything was released by somebody, and nobody holds tombstones for the dead for ever.
    let handle = rig.handle();
    rig.run(async move { handle.sleep(Nanos::from_secs(61)).await });
    assert_eq!(repair_all(&mut rig).later, 0);
}

/// The client dies behind the last tombstone and before it has told anybody that all have one.
#[test]
fn tombstones_of_a_client_that_died_are_released_by_the_next_repair() {
    let mut rig = Rig::new(23, 6, 1, "4+2");
    let locator = put(&mut rig, 10_000);
    let waiting = |rig: &Rig| -> usize {
        let nodes = rig.machines.iter().map(|machine| machine.node.as_ref().unwrap());
        nodes.flat_map(|node| node.report().disks).map(|disk| disk.releases).sum()
    };
    let done = rig.run_mortal(3, move |client| async move { client.delete(&locator).await });
    assert!(done.is_none(), "three tombstones, and no time to hear of them");
    assert_eq!(get(&mut rig, locator), Err(ClientError::Deleted));
    assert_eq!(waiting(&rig), 0);
    let report = repair_all(&mut rig);
    assert_eq!(report.deleted, 1, "{report:?}");
    let client = rig.client.clone();
    rig.run(async move { client.settle_deletes().await });
    assert!(waiting(&rig) >= 3, "{}", waiting(&rig));
    // Held for a minute more, for whoever began before.
    assert_eq!(get(&mut rig, locator), Err(ClientError::Deleted));
    let handle = rig.handle();
    rig.run(async move { handle.sleep(Nanos::from_secs(61)).await });
    listed(&mut rig);
    assert_eq!(waiting(&rig), 0, "the stores may drop them");
}

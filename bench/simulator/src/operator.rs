//! The operator: once all is healed everything acknowledged is read, what is unfinished is
//! finished, and repaired until every stripe is full.
//!
//! What must always hold: after that an object is whole and is read, or it is lost and every
//! answer says so. Of a fair plan none is lost; of others only those that the harm can have cost.

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::ops::Range;
use std::rc::Rc;

use isotherm_client::{Class, Client, ClientError, ListFrom, Locator, RepairReport};
use isotherm_placement::{ClusterMap, DiskNo, GroupId, replica_positions};
use isotherm_reactor::Handle;
use isotherm_seam::Nanos;

use crate::ledger::Ledger;

pub(crate) type Shared = Rc<RefCell<Ledger>>;

/// Rounds of repair before it counts as never ending.
const REPAIRS_MAX: u32 = 8;
/// Objects of a page when everything is listed.
const PAGE: usize = 1000;

/// What was really harmed since all was whole.
pub(crate) struct Truth {
    pub(crate) map: ClusterMap,
    pub(crate) harmed: BTreeSet<DiskNo>,
    pub(crate) is_beyond: bool,
}

impl Truth {
    /// Whether so many of an object's holders were harmed that it can't be read, or that its
    /// delete can be forgotten. One more may lack its cell: a put may leave one out.
    fn may_be_lost(&self, locator: &Locator) -> bool {
        let scheme = locator.scheme();
        let survives = scheme.tolerated_losses();
        let harmed = |group: GroupId, positions: &mut dyn Iterator<Item = usize>| {
            let members = self.map.group(group).map_or(&[][..], |group| &group.members);
            positions
                .filter(|&at| members.get(at).is_none_or(|no| self.harmed.contains(no)))
                .count()
        };
        let harmed = match locator.class {
            Class::Replicas => {
                let positions = replica_positions(locator.object, scheme);
                harmed(locator.group, &mut positions.iter().map(|&at| usize::from(at)))
            }
            Class::Stripe => harmed(locator.group, &mut (0..scheme.cells())),
            // Which groups its stripes are in only its manifest says.
            Class::Manifest => self.harmed.len(),
        };
        harmed + 1 > survives
    }
}

/// Reads a part of an object and holds it against the truth. False if the cluster gave no answer
/// in time.
pub(crate) async fn read(
    client: &Client,
    ledger: &Shared,
    object: u64,
    locator: Locator,
    range: Range<u64>,
    call: u64,
) -> bool {
    let (from, len) = (range.start, range.end - range.start);
    let result = client.get(&locator, Some(range)).await;
    let is_answer = !matches!(
        result,
        Err(ClientError::Late | ClientError::Busy { .. } | ClientError::Unavailable { .. })
    );
    ledger.borrow_mut().read_ends(object, call, from, len, result);
    is_answer
}

/// Disks that give no listing of all that they hold.
pub(crate) async fn silent_disks(client: &Client) -> BTreeSet<DiskNo> {
    let mut silent = BTreeSet::new();
    let mut from = Some(ListFrom::default());
    while let Some(at) = from {
        let Ok(page) = client.list(at, PAGE).await else { break };
        silent.extend(page.silent);
        from = page.next;
    }
    silent
}

/// All is healed: makes everything whole and checks it. Returns how many cells were made again.
pub(crate) async fn operate(
    client: &Client,
    handle: &Handle,
    ledger: &Shared,
    truth: &Truth,
) -> u64 {
    let fail = |rule, what| ledger.borrow_mut().fail(rule, what);
    let has_failed = || !ledger.borrow().failures.is_empty();
    let living = ledger.borrow().living();
    let dying = ledger.borrow().dying();
    let before = client.counters().cells_mended;
    for &(object, locator) in &living {
        read_surely(client, handle, ledger, object, locator).await;
    }
    for &(object, locator) in &dying {
        finish_delete(client, ledger, object, locator).await;
        read_surely(client, handle, ledger, object, locator).await;
    }
    check_claims(ledger, truth);
    if has_failed() {
        return 0;
    }
    let Some(seen) = repair_until_well(client, handle, ledger).await else { return 0 };
    for &(object, locator) in &living {
        check_whole(client, handle, ledger, object, locator, &seen).await;
    }
    check_claims(ledger, truth);
    // Repair has been everywhere: whatever was harmed, what is deleted is gone now.
    for &(object, locator) in &dying {
        let bytes = client.get(&locator, None).await;
        let is_gone = matches!(
            bytes,
            Err(ClientError::Deleted | ClientError::NotFound | ClientError::Lost { .. })
        );
        let may_be_back = truth.is_beyond && truth.may_be_lost(&locator);
        if !is_gone && !may_be_back {
            let what = bytes.map(|bytes| bytes.len());
            fail("resurrection", format!("object {object} is there after a repair: {what:?}"));
        } else if seen.living.contains(&object) && !may_be_back {
            fail("remains", format!("object {object} was deleted, and cells of it are left"));
        }
    }
    // What was deleted and seen as gone need not be read again in each era that follows.
    let mut ledger = ledger.borrow_mut();
    for (object, _) in dying {
        if object % 4 != 0 {
            ledger.objects.get_mut(&object).expect("just seen").locator = None;
        }
    }
    client.counters().cells_mended - before
}

/// Says a delete again that was not acknowledged.
async fn finish_delete(client: &Client, ledger: &Shared, object: u64, locator: Locator) {
    if ledger.borrow().objects[&object].delete_acknowledged {
        return;
    }
    let Some((_, call)) = ledger.borrow_mut().begins(object) else { return };
    ledger.borrow_mut().delete_begins(object);
    let result = client.delete(&locator).await;
    if let Err(error) = result {
        // Without its manifest nobody knows where the stripes of a long object are.
        let is_lost = matches!(error, ClientError::Lost { .. } | ClientError::Corrupt { .. });
        let mut ledger = ledger.borrow_mut();
        if !(is_lost && ledger.is_beyond) {
            let what = format!("object {object} can't be deleted: {error}");
            ledger.fail("progress", what);
        }
    }
    ledger.borrow_mut().delete_ends(object, call, result);
}

/// What was said to be lost must have been harmed.
fn check_claims(ledger: &Shared, truth: &Truth) {
    let ledger = &mut *ledger.borrow_mut();
    for object in std::mem::take(&mut ledger.claims) {
        let locator = ledger.objects[&object].locator.expect("it was read");
        if !ledger.lost.contains(&object) && !truth.may_be_lost(&locator) {
            let what = format!("object {object} is said to be lost, and too little was harmed");
            ledger.fail("health", what);
        }
    }
}

/// After repair an object is whole and is read, or it is lost and every answer says so.
async fn check_whole(
    client: &Client,
    handle: &Handle,
    ledger: &Shared,
    object: u64,
    locator: Locator,
    seen: &Seen,
) {
    let stat = client.stat(&locator).await;
    let is_beyond = ledger.borrow().is_beyond;
    match stat {
        Ok(stat) if stat.bad == 0 && stat.silent == 0 => {
            // Read again only where somebody could claim health for what is gone.
            if is_beyond && !is_readable(client, handle, ledger, object, locator).await {
                let what = format!("object {object} is lost, and its cells are said to be well");
                ledger.borrow_mut().fail("health", what);
            }
            return;
        }
        Ok(stat) if !is_beyond || stat.spare >= 0 || stat.silent > 0 => {
            let what = format!("object {object} is not whole: {stat:?}");
            return ledger.borrow_mut().fail("repair", what);
        }
        Ok(_) => {}
        Err(ClientError::Lost { .. } | ClientError::NotFound | ClientError::Corrupt { .. })
            if is_beyond => {}
        Err(error) => {
            let what = format!("object {object} can't be asked for: {error}");
            return ledger.borrow_mut().fail("repair", what);
        }
    }
    if is_readable(client, handle, ledger, object, locator).await {
        let what =
            format!("object {object} is read, and too few of its cells are said to be there");
        return ledger.borrow_mut().fail("health", what);
    }
    if locator.class != Class::Manifest && seen.well.contains(&object) {
        let what = format!("object {object} is lost, and repair has found it well");
        return ledger.borrow_mut().fail("health", what);
    }
    ledger.borrow_mut().lost.insert(object);
}

async fn is_readable(
    client: &Client,
    handle: &Handle,
    ledger: &Shared,
    object: u64,
    locator: Locator,
) -> bool {
    read_surely(client, handle, ledger, object, locator).await;
    !ledger.borrow().claims.contains(&object)
}

/// Nothing hinders a read now: it must be answered.
async fn read_surely(
    client: &Client,
    handle: &Handle,
    ledger: &Shared,
    object: u64,
    locator: Locator,
) {
    for _ in 0..4 {
        let Some((_, call)) = ledger.borrow_mut().begins(object) else { return };
        let range = 0..locator.len_bytes;
        if read(client, ledger, object, locator, range, call).await {
            return;
        }
        handle.sleep(Nanos::from_secs(5)).await;
    }
    let what = format!("object {object} can't be read though all is healed");
    ledger.borrow_mut().fail("progress", what);
}

/// What the last round of a repair has seen.
#[derive(Default)]
struct Seen {
    /// Objects of which there are cells where their locators say.
    living: BTreeSet<u64>,
    /// Objects with which nothing is wrong, or was.
    well: BTreeSet<u64>,
}

/// `None` if it never ends.
async fn repair_until_well(client: &Client, handle: &Handle, ledger: &Shared) -> Option<Seen> {
    for round in 1.. {
        let doubted = client.doubted_disks().await;
        let (report, seen) = repair_all(client, ledger).await;
        ledger.borrow_mut().tell(|| format!("repair, in doubt {doubted:?}: {report:?}"));
        if report.later == 0 {
            // All that they hold was compared with the others.
            for disk in &doubted {
                let vouched = client.vouch(disk).await;
                if let Err(why) = vouched {
                    let what = format!("disk {} stays in doubt: {why:?}", disk.disk.0);
                    ledger.borrow_mut().fail("doubt", what);
                }
            }
        }
        if report.later == 0 && report.mended == 0 {
            return Some(seen);
        }
        if round == REPAIRS_MAX {
            let what = format!("it never ends: {report:?} in round {round}");
            ledger.borrow_mut().fail("repair", what);
            return None;
        }
        handle.sleep(Nanos::from_secs(10)).await;
    }
    None
}

async fn repair_all(client: &Client, ledger: &Shared) -> (RepairReport, Seen) {
    let (mut total, mut seen) = (RepairReport::default(), Seen::default());
    let mut from = Some(ListFrom::default());
    while let Some(at) = from {
        let Ok(page) = client.list(at, PAGE).await else {
            total.later += 1;
            return (total, seen);
        };
        total.later += u64::from(!page.silent.is_empty());
        for listed in &page.objects {
            let object = ledger.borrow().object_of(listed.object);
            let Some(object) = object else {
                let what = format!("{:032x} is listed and was never put", listed.object);
                ledger.borrow_mut().fail("listing", what);
                continue;
            };
            // The remains of a put that was never acknowledged, and of attempts elsewhere.
            if ledger.borrow().objects[&object].locator.is_none() {
                if listed.cells + listed.notes > 0 {
                    let _ = client.delete_id(listed.object, &listed.entries).await;
                }
                continue;
            }
            // An attempt at another group may have left cells there: they take room, no more.
            let group = ledger.borrow().objects[&object].locator.map(|locator| locator.group);
            let report = client.repair(listed, true).await;
            ledger.borrow_mut().tell_of(object, || {
                let places = listed.entries.iter().map(|(disk, entry)| {
                    let is = if entry.is_tombstone { "-" } else { "+" };
                    format!("{is}{}.{}@{}", entry.key.stripe, entry.key.position, disk.0)
                });
                let places: Vec<String> = places.collect();
                format!("repair of {} in group {}: {report:?}", places.join(" "), listed.group.0)
            });
            // The listing is older than what the repair has just finished.
            if listed.cells > 0 && group == Some(listed.group) && report.deleted == 0 {
                seen.living.insert(object);
            }
            if report.well + report.mended > 0 {
                seen.well.insert(object);
            }
            total.join(report);
        }
        from = page.next;
    }
    (total, seen)
}

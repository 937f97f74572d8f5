//! What there is: the cells that disks hold, object by object, in the order of their keys.
//!
//! What must always hold: an object that lies whole between two pages of a listing is in one of
//! them; a disk that does not answer is named, so that nobody takes what is missing for deleted.

use std::collections::BTreeMap;

use isotherm_placement::{DiskNo, DiskState, GroupId};
use isotherm_seam::{Key, Mono};
use isotherm_transport::Body;
use isotherm_wire::{Ask, Class as Work, Entry, LIST_LIMIT_MAX, decode_entries};

use crate::client::{Client, Inner};
use crate::error::ClientError;
use crate::gather::Gather;
use crate::layout::{MANIFEST_STRIPE, NOTE};
use crate::planted::Bug;

/// Where a listing goes on.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Default)]
pub struct ListFrom {
    /// From this group,
    pub group: u32,
    /// from this object of it on.
    pub object: u128,
}

/// All that one group holds of one object.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ListedObject {
    /// Its number.
    pub object: u128,
    /// The group.
    pub group: GroupId,
    /// Stripes of the object of which something is here; the manifest is not counted.
    pub stripes: u32,
    /// Its manifest is here.
    pub has_manifest: bool,
    /// Cells, copies and manifest's copies that are there.
    pub cells: u32,
    /// Kept tombstones.
    pub tombstones: u32,
    /// Repair notes.
    pub notes: u32,
    /// When the latest of them was put or deleted, in seconds since 1970.
    pub latest_s: u32,
    /// What lies where.
    pub entries: Vec<(DiskNo, Entry)>,
    /// When all of it was there, on the clock of the client that asked.
    pub seen: Mono,
}

/// A page of a listing.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct ObjectPage {
    /// In the order of groups and objects.
    pub objects: Vec<ListedObject>,
    /// Where to go on; `None` at the end.
    pub next: Option<ListFrom>,
    /// Disks that gave no listing: what they hold is not counted.
    pub silent: Vec<DiskNo>,
}

impl Client {
    /// About `limit` objects from a place on: what every disk that answers holds of them.
    ///
    /// # Errors
    /// [`ClientError::Unavailable`] if no disk answers.
    pub async fn list(&self, from: ListFrom, limit: usize) -> Result<ObjectPage, ClientError> {
        let inner = &self.inner;
        let first = Key { group: from.group, object: from.object, ..Key::MIN };
        inner.list_range(first, Key::MAX, limit).await
    }

    /// What is there of one object in one group.
    pub async fn list_object(
        &self,
        group: GroupId,
        object: u128,
    ) -> Result<Option<ListedObject>, ClientError> {
        let first = Key { group: group.0, object, stripe: 0, position: 0 };
        let last = Key { stripe: u32::MAX, position: u16::MAX, ..first };
        let page = self.inner.list_range(first, last, usize::MAX).await?;
        Ok(page.objects.into_iter().next())
    }
}

impl Inner {
    /// The objects of a range of keys.
    pub(crate) async fn list_range(
        &self,
        from: Key,
        to: Key,
        limit: usize,
    ) -> Result<ObjectPage, ClientError> {
        let disks: Vec<DiskNo> = {
            let map = self.map.borrow();
            let mut disks: Vec<DiskNo> = match from.group == to.group {
                true => map.group(GroupId(from.group)).map_or(Vec::new(), |g| g.members.clone()),
                false => map.disks.iter().map(|disk| disk.no).collect(),
            };
            disks.retain(|&no| map.disk(no).is_some_and(|disk| disk.state != DiskState::Out));
            disks
        };
        let terms = self.terms(Work::Foreground);
        // A stripe has a few entries, one a disk: a page of each disk holds about as many objects
        // as are wanted.
        let entries_max = u32::try_from(limit.max(16)).unwrap_or(u32::MAX).min(LIST_LIMIT_MAX);
        let mut pages = Gather::new();
        for disk in &disks {
            let ask = Ask::List { from, to, limit: entries_max };
            pages.add(disk.0 as usize, self.ask(*disk, ask, Body::Empty, 0, terms));
        }
        let mut page = ObjectPage::default();
        let mut found: BTreeMap<(Key, DiskNo), Entry> = BTreeMap::new();
        // What lies beyond is not known of every disk.
        let mut horizon: Option<Key> = None;
        while let Some((disk, result)) = pages.next().await {
            let disk = DiskNo(disk as u32);
            let listed = result.ok().and_then(|(given, body)| {
                decode_entries(&body.to_vec()).ok().map(|entries| (given.next, entries))
            });
            let Some((next, entries)) = listed else {
                page.silent.push(disk);
                continue;
            };
            found.extend(entries.into_iter().map(|entry| ((entry.key, disk), entry)));
            horizon = match (horizon, next) {
                (Some(a), Some(b)) => Some(a.min(b)),
                (a, b) => a.or(b),
            };
        }
        if !self.has(Bug::SilenceIsNothing) && !disks.is_empty() && page.silent.len() == disks.len()
        {
            return Err(ClientError::Unavailable { reached: 0, needed: 1 });
        }
        // Whole objects only: the one that the horizon cuts is left for the next page, unless it
        // is all that there is.
        let mut next = horizon.map(|key| ListFrom { group: key.group, object: key.object });
        if next == Some(ListFrom { group: from.group, object: from.object }) {
            next = Key { stripe: u32::MAX, position: u16::MAX, ..from }
                .successor()
                .map(|key| ListFrom { group: key.group, object: key.object });
            let asked: Vec<DiskNo> =
                disks.into_iter().filter(|disk| !page.silent.contains(disk)).collect();
            let (rest, silent) = self.list_rest(from, &asked, entries_max).await;
            found.extend(rest);
            page.silent.extend(silent);
        }
        page.silent.sort_unstable();
        let seen = self.handle.now();
        if self.has(Bug::SilenceIsNothing) {
            page.silent.clear();
        }
        for ((key, disk), entry) in found {
            let at = ListFrom { group: key.group, object: key.object };
            if next.is_some_and(|next| at >= next) {
                break;
            }
            if page.objects.last().is_none_or(|o| (o.group.0, o.object) != (key.group, key.object))
            {
                if page.objects.len() >= limit {
                    next = Some(at);
                    if self.has(Bug::ListSkips) {
                        next = Some(ListFrom { object: at.object.saturating_add(1), ..at });
                    }
                    break;
                }
                page.objects.push(ListedObject::new(key, seen));
            }
            page.objects.last_mut().expect("just pushed").add(disk, entry);
        }
        page.next = next;
        Ok(page)
    }

    /// All entries of one object, however many pages they are, and the disks that did not give all
    /// of theirs.
    async fn list_rest(
        &self,
        from: Key,
        disks: &[DiskNo],
        limit: u32,
    ) -> (BTreeMap<(Key, DiskNo), Entry>, Vec<DiskNo>) {
        let to = Key { stripe: u32::MAX, position: u16::MAX, ..from };
        let (mut found, mut silent) = (BTreeMap::new(), Vec::new());
        for &disk in disks {
            let mut next = Some(from);
            while let Some(from) = next {
                let ask = Ask::List { from, to, limit };
                let terms = self.terms(Work::Foreground);
                let listed = self.ask(disk, ask, Body::Empty, 0, terms).await.ok();
                let listed = listed.and_then(|(given, body)| {
                    decode_entries(&body.to_vec()).ok().map(|entries| (given, entries))
                });
                let Some((given, entries)) = listed else {
                    silent.push(disk);
                    break;
                };
                found.extend(entries.into_iter().map(|entry| ((entry.key, disk), entry)));
                next = given.next;
            }
        }
        (found, silent)
    }
}

impl ListedObject {
    fn new(key: Key, seen: Mono) -> ListedObject {
        ListedObject {
            object: key.object,
            group: GroupId(key.group),
            stripes: 0,
            has_manifest: false,
            cells: 0,
            tombstones: 0,
            notes: 0,
            latest_s: 0,
            entries: Vec::new(),
            seen,
        }
    }

    fn add(&mut self, disk: DiskNo, entry: Entry) {
        let is_new =
            self.entries.last().is_none_or(|(_, last)| last.key.stripe != entry.key.stripe);
        if is_new && entry.key.stripe == MANIFEST_STRIPE {
            self.has_manifest = true;
        } else if is_new {
            self.stripes += 1;
        }
        match (entry.is_tombstone, entry.key.position & NOTE != 0) {
            (true, _) => self.tombstones += 1,
            (false, true) => self.notes += 1,
            (false, false) => self.cells += 1,
        }
        self.latest_s = self.latest_s.max(entry.at_s);
        self.entries.push((disk, entry));
    }
}

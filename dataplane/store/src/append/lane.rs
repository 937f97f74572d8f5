//! Lanes: what is appended together goes to one extent at a time.
//!
//! What must always hold:
//! - An extent is sealed when nothing is under way in it any more, and what counts of it is one piece
//!   from its start: batches become durable in order.
//! - A batch whose write failed may be on the disk all the same. Until all that was in it is durable
//!   somewhere else it counts as under way: a checkpoint written meanwhile must send recovery there,
//!   or it would not see what a full scan sees.

use std::collections::VecDeque;

use super::batch::Batch;
use super::item::Item;
use crate::ExtentId;
use crate::extents::{Extents, Taker};
use crate::layout::Stream;

/// Seconds of expiry that share an extent.
pub(super) const DAY_S: u32 = 86_400;
/// Expiries that have an extent at a time.
pub(super) const BUCKETS_MAX: usize = 4;

/// What a lane is for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Aim {
    /// New shards and tombstones.
    Fresh,
    /// New shards that will soon be replaced. On the disk they are fresh ones like others: only
    /// who writes them needs to know.
    Brief,
    /// New shards that expire on this day, counted from 1970.
    Expiring(u32),
    /// What the cleaner moves and is young.
    Warm,
    /// What the cleaner moves and is old.
    Cold,
    /// Chunks of index runs.
    Index,
}

impl Aim {
    pub(crate) fn stream(self) -> Stream {
        match self {
            Aim::Fresh | Aim::Brief => Stream::Fresh,
            Aim::Expiring(_) => Stream::Expiring,
            Aim::Warm => Stream::Warm,
            Aim::Cold => Stream::Cold,
            Aim::Index => Stream::Index,
        }
    }

    pub(super) fn expires_day(self) -> u32 {
        match self {
            Aim::Expiring(day) => day,
            _ => 0,
        }
    }

    /// Clients wait for what goes here.
    pub(super) fn is_for_clients(self) -> bool {
        matches!(self, Aim::Fresh | Aim::Brief | Aim::Expiring(_))
    }

    /// What is meant for one may go to the other, if the disk is so full that there is no better.
    fn is_like(self, other: Aim) -> bool {
        let is_moved = |aim| matches!(aim, Aim::Warm | Aim::Cold);
        self.is_for_clients() && other.is_for_clients() || is_moved(self) && is_moved(other)
    }
}

/// A batch under way.
pub(super) struct UnderWay {
    /// One behind its last block.
    end: u32,
    fate: Fate,
}

/// What is known of a batch under way.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Fate {
    /// Not yet answered.
    Open,
    /// Its write failed, and so many of its items are not yet durable anywhere else.
    Owed(u32),
    /// It is durable, or what it is makes no difference.
    Settled,
}

impl UnderWay {
    pub(super) fn new(end: u32) -> UnderWay {
        UnderWay { end, fate: Fate::Open }
    }
}

/// An extent that is appended to.
pub(crate) struct OpenExtent {
    pub(crate) extent: ExtentId,
    pub(super) incarnation: u64,
    /// Where the next batch begins.
    pub(super) end: u32,
    /// All before this is durable and in the index.
    pub(super) durable: u32,
    /// Batches under way, in order.
    pub(super) under_way: VecDeque<UnderWay>,
    /// Puts may go here; otherwise it was taken from the reserve.
    pub(super) for_puts: bool,
}

impl OpenExtent {
    /// Whether a record of so many blocks fits, with its mark behind it.
    pub(super) fn has_room(&self, blocks: u32, extent_blocks: u32) -> bool {
        let head = u32::from(self.end == 0);
        self.end + head + blocks < extent_blocks
    }
}

/// Appends that go to the same extent.
pub(crate) struct Lane {
    pub(super) aim: Aim,
    pub(crate) queue: VecDeque<Item>,
    pub(super) open: Option<OpenExtent>,
    /// Full extents whose last batches are under way.
    closing: Vec<OpenExtent>,
    pub(super) batches: u32,
    pub(super) direct: u32,
    /// Those of both whose writes have not been answered.
    pub(super) writing: u32,
}

/// All lanes of a store.
pub(crate) struct Lanes {
    pub(crate) lanes: Vec<Lane>,
}

impl Lanes {
    pub(crate) fn new() -> Lanes {
        let aims = [Aim::Fresh, Aim::Brief, Aim::Warm, Aim::Cold, Aim::Index];
        Lanes { lanes: aims.map(Lane::new).into() }
    }

    /// An extent that a clean stop left open goes on.
    pub(crate) fn resume(
        &mut self,
        extent: ExtentId,
        stream: Stream,
        row: &crate::layout::ExtentRow,
    ) -> bool {
        // Of two fresh ones either may go on as the brief one.
        let fits = |lane: &&mut Lane| lane.aim.stream() == stream && lane.open.is_none();
        let Some(lane) = self.lanes.iter_mut().find(fits) else {
            return false;
        };
        lane.open = Some(OpenExtent {
            extent,
            incarnation: row.incarnation,
            end: row.written,
            durable: row.written,
            under_way: VecDeque::new(),
            for_puts: false,
        });
        true
    }

    /// The lane for an aim. Where the disk is not roomy, what expires goes with the fresh, unless
    /// its day has a lane.
    pub(super) fn lane_of(&mut self, aim: Aim, is_roomy: bool) -> usize {
        if let Some(at) = self.lanes.iter().position(|lane| lane.aim == aim) {
            return at;
        }
        assert!(matches!(aim, Aim::Expiring(_)), "all others have a lane");
        let is_expiring = |lane: &Lane| matches!(lane.aim, Aim::Expiring(_));
        if is_roomy && self.lanes.iter().filter(|lane| is_expiring(lane)).count() < BUCKETS_MAX {
            self.lanes.push(Lane::new(aim));
            return self.lanes.len() - 1;
        }
        // The idle lane of the nearest past takes the new day; its extent goes on.
        let lanes = self.lanes.iter_mut().enumerate();
        let idle = lanes
            .filter(|(_, lane)| is_expiring(lane) && lane.queue.is_empty())
            .min_by_key(|(_, lane)| lane.aim.expires_day());
        match idle {
            Some((at, lane)) if is_roomy => {
                lane.aim = aim;
                at
            }
            _ => self.lane_of(Aim::Fresh, is_roomy),
        }
    }

    /// A lane gets no extent: its next item goes to one like it that has room left, if there is
    /// any. What is to be written again goes to any but that of the index: as long as its fate is not
    /// certain nothing else may be answered.
    pub(super) fn fold(&mut self, lane: usize, extent_blocks: u32) -> bool {
        let own = &self.lanes[lane];
        let Some(front) = own.queue.front() else { return false };
        let (blocks, is_put) = (front.blocks(), front.taker() == Taker::Put);
        let goes_anywhere = front.is_retried();
        let is_fit = |aim: Aim| aim.is_like(own.aim) || goes_anywhere && aim != Aim::Index;
        let other = self.lanes.iter().position(|other| {
            other.aim != own.aim
                && is_fit(other.aim)
                && other.open.as_ref().is_some_and(|open| {
                    open.has_room(blocks, extent_blocks) && (open.for_puts || !is_put)
                })
        });
        let Some(other) = other else { return false };
        let item = self.lanes[lane].queue.pop_front().expect("seen above");
        self.lanes[other].queue.push_back(item);
        true
    }

    /// What is to be written again and found no room with what is moved goes back to the fresh.
    pub(super) fn wait_among_clients(&mut self, lane: usize) {
        let item = self.lanes[lane].queue.pop_front().expect("somebody waits");
        let fresh = self.lane_of(Aim::Fresh, false);
        self.lanes[fresh].queue.push_front(item);
    }

    /// Blocks that chunks of the index may still take in their open extent.
    pub(crate) fn index_room(&self, extent_blocks: u32) -> u32 {
        let lane = self.lanes.iter().find(|lane| lane.aim == Aim::Index);
        let open = lane.and_then(|lane| lane.open.as_ref());
        open.map_or(0, |open| extent_blocks - open.end)
    }

    /// Whether nothing waits and nothing is under way.
    pub(crate) fn is_idle(&self) -> bool {
        self.lanes.iter().all(|lane| lane.queue.is_empty() && lane.batches == 0 && lane.direct == 0)
    }

    /// Something that clients wait for is being written.
    pub(super) fn clients_write(&self) -> bool {
        self.lanes.iter().any(|lane| lane.aim.is_for_clients() && lane.writing > 0)
    }

    /// Somebody appends to this extent.
    pub(crate) fn holds(&self, extent: ExtentId) -> bool {
        self.lanes
            .iter()
            .any(|lane| lane.open.iter().chain(&lane.closing).any(|open| open.extent == extent))
    }

    /// Closes the open extent of whoever appends to this one.
    pub(crate) fn close_extent(&mut self, extent: ExtentId, extents: &mut Extents) {
        for lane in &mut self.lanes {
            if lane.open.as_ref().is_some_and(|open| open.extent == extent) {
                lane.close(extents);
            }
        }
    }
}

impl Lane {
    fn new(aim: Aim) -> Lane {
        Lane {
            aim,
            queue: VecDeque::new(),
            open: None,
            closing: Vec::new(),
            batches: 0,
            direct: 0,
            writing: 0,
        }
    }

    /// Appends no more to the open extent.
    pub(super) fn close(&mut self, extents: &mut Extents) {
        if let Some(open) = self.open.take() {
            if open.under_way.is_empty() {
                extents.seal(open.extent, open.end);
            } else {
                self.closing.push(open);
            }
        }
    }

    /// A batch is no longer under way.
    pub(super) fn ended(&mut self, batch: &Batch) {
        match batch.direct {
            true => self.direct -= 1,
            false => self.batches -= 1,
        }
    }

    fn open_of(&mut self, extent: ExtentId) -> &mut OpenExtent {
        self.open
            .iter_mut()
            .chain(&mut self.closing)
            .find(|open| open.extent == extent)
            .expect("an extent stays while a batch is under way")
    }

    /// Notes what has become of the batch that ends at `end`, and what follows for its extent.
    fn note(&mut self, extent: ExtentId, end: u32, fate: Fate, extents: &mut Extents) {
        let open = self.open_of(extent);
        let at = open.under_way.iter_mut().find(|own| own.end == end).expect("it was under way");
        at.fate = fate;
        while let Some(UnderWay { end, fate: Fate::Settled }) = open.under_way.front() {
            open.durable = *end;
            open.under_way.pop_front();
        }
        extents.row_mut(extent).written = open.durable;
        let is_done = open.under_way.is_empty();
        let end = open.end;
        if let Some(at) = self.closing.iter().position(|open| open.extent == extent)
            && is_done
        {
            self.closing.swap_remove(at);
            extents.seal(extent, end);
        }
    }

    /// The batch that ends at `end` is durable, or never will be.
    pub(super) fn settle(&mut self, extent: ExtentId, end: u32, extents: &mut Extents) {
        self.note(extent, end, Fate::Settled, extents);
    }

    /// The write of the batch that ends at `end` failed: so many items must be written elsewhere
    /// before it is settled.
    pub(super) fn owe(&mut self, extent: ExtentId, end: u32, items: u32, extents: &mut Extents) {
        self.note(extent, end, Fate::Owed(items), extents);
    }
}

impl Lanes {
    /// An item of the batch that ends at `end`, whose write failed, is durable elsewhere or given up.
    pub(super) fn pay(&mut self, extent: ExtentId, end: u32, extents: &mut Extents) {
        let holds = |lane: &&mut Lane| {
            lane.open.iter().chain(&lane.closing).any(|open| open.extent == extent)
        };
        let lane = self.lanes.iter_mut().find(holds).expect("an extent stays while it is owed");
        let mut under_way = lane.open_of(extent).under_way.iter();
        let owed = under_way.find(|own| own.end == end).map(|own| own.fate);
        let fate = match owed {
            Some(Fate::Owed(1)) => Fate::Settled,
            Some(Fate::Owed(items)) => Fate::Owed(items - 1),
            Some(Fate::Open | Fate::Settled) | None => unreachable!("its items are owed"),
        };
        lane.note(extent, end, fate, extents);
    }
}

#[cfg(test)]
mod tests {
    use super::super::item::{Body, Then};
    use super::*;
    use crate::Key;
    use crate::layout::{ExtentRow, Kills, RecordHead, Shape, State};

    const EXTENT_BLOCKS: u32 = 64;

    fn lanes_with_open(aims: &[Aim], end: u32, for_puts: bool) -> Lanes {
        let mut lanes = Lanes::new();
        for (at, aim) in aims.iter().enumerate() {
            let lane = lanes.lane_of(*aim, true);
            lanes.lanes[lane].open = Some(OpenExtent {
                extent: ExtentId(at as u32),
                incarnation: 1,
                end,
                durable: end,
                under_way: VecDeque::new(),
                for_puts,
            });
        }
        lanes
    }

    fn put(payload_bytes: u32) -> Item {
        let key = Key { group: 0, object: 0, stripe: 0, position: 0 };
        let (kills, supersedes) = (Kills::default(), None);
        let head =
            RecordHead { key, epoch: 0, codec: 0, put_s: 0, expires_s: 0, kills, supersedes };
        let then = Then::Answer { slot: 0, change: 0, replaced: None };
        let body = Body::Shard { head, buf: None, vital: false };
        Item { body, shape: Shape { payload_bytes }, sequence: None, then, owed: Vec::new() }
    }

    /// Whether a put queued for one lane finds room in another.
    fn folds(lanes: &mut Lanes, aim: Aim, payload_bytes: u32) -> bool {
        let lane = lanes.lane_of(aim, true);
        lanes.lanes[lane].queue.push_back(put(payload_bytes));
        lanes.fold(lane, EXTENT_BLOCKS)
    }

    #[test]
    fn what_gets_no_extent_goes_to_a_lane_like_it() {
        let mut lanes = lanes_with_open(&[Aim::Brief], 60, true);
        assert!(folds(&mut lanes, Aim::Fresh, 4096));
        assert_eq!(lanes.lanes[lanes.lanes.len() - 4].queue.len(), 1, "queued where the brief go");
        assert!(!folds(&mut lanes, Aim::Fresh, 3 * 4096), "record and mark must fit");
    }

    #[test]
    fn clients_and_cleaner_do_not_mix() {
        let mut lanes = lanes_with_open(&[Aim::Cold, Aim::Index], 0, true);
        assert!(!folds(&mut lanes, Aim::Fresh, 4096));
        assert!(folds(&mut lanes, Aim::Warm, 4096));
    }

    #[test]
    fn puts_leave_the_reserve_alone() {
        let mut lanes = lanes_with_open(&[Aim::Brief], 0, false);
        assert!(!folds(&mut lanes, Aim::Fresh, 4096));
    }

    #[test]
    fn of_two_fresh_extents_one_goes_on_as_the_brief_one() {
        let mut lanes = Lanes::new();
        let row = ExtentRow {
            incarnation: 3,
            written: 5,
            state: State::Open,
            stream: Stream::Fresh,
            suspect: false,
            newest_s: 0,
            verified_s: 0,
        };
        assert!(lanes.resume(ExtentId(4), Stream::Fresh, &row));
        assert!(lanes.resume(ExtentId(5), Stream::Fresh, &row));
        assert!(!lanes.resume(ExtentId(6), Stream::Fresh, &row));
        assert!(lanes.holds(ExtentId(4)) && lanes.holds(ExtentId(5)));
    }

    #[test]
    fn an_extent_stays_open_until_what_failed_in_it_is_written_elsewhere() {
        let row = ExtentRow {
            incarnation: 3,
            written: 0,
            state: State::Free,
            stream: Stream::Fresh,
            suspect: false,
            newest_s: 0,
            verified_s: 0,
        };
        let mut extents = Extents::new(&[row], 4, crate::extents::Reserve::default());
        let extent = extents.take(Taker::Index, Stream::Index, false).expect("it is free");
        let mut lanes = lanes_with_open(&[Aim::Fresh], 9, true);
        let at = lanes.lane_of(Aim::Fresh, true);
        let open = lanes.lanes[at].open.as_mut().expect("made above");
        (open.extent, open.durable) = (extent, 0);
        open.under_way.extend([3, 6, 9].map(UnderWay::new));
        let lane = &mut lanes.lanes[at];
        lane.settle(extent, 3, &mut extents);
        lane.close(&mut extents);
        lane.owe(extent, 6, 2, &mut extents);
        lane.settle(extent, 9, &mut extents);
        for paid in [false, true] {
            let row = extents.row(extent);
            assert_eq!(
                (row.state, row.written),
                (State::Open, 3),
                "{paid}: recovery reads on here"
            );
            lanes.pay(extent, 6, &mut extents);
        }
        let row = extents.row(extent);
        assert_eq!((row.state, row.written), (State::Sealed, 9));
        assert!(!lanes.holds(extent));
    }
}

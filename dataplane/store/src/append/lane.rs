//! Lanes: what is appended together goes to one extent at a time.
//!
//! What must always hold: an extent is sealed when nothing is under way in it any more, and what
//! counts of it is one piece from its start: batches become durable in order.

use std::collections::VecDeque;

use super::item::Item;
use crate::ExtentId;
use crate::extents::Extents;
use crate::layout::Stream;

/// Seconds of expiry that share an extent.
pub(super) const BUCKET_S: u32 = 86_400;
/// Expiries that have an extent at a time.
pub(super) const BUCKETS_MAX: usize = 4;

/// An extent that is appended to.
pub(crate) struct OpenExtent {
    pub(crate) extent: ExtentId,
    pub(super) incarnation: u64,
    /// Where the next batch begins.
    pub(super) end: u32,
    /// All before this is durable and in the index.
    pub(super) durable: u32,
    /// Batches under way: their ends, and whether they are durable.
    pub(super) under_way: VecDeque<(u32, bool)>,
    /// Puts may go here; otherwise it was taken from the reserve.
    pub(super) for_puts: bool,
}

/// Appends that go to the same extent.
pub(crate) struct Lane {
    pub(crate) stream: Stream,
    pub(super) bucket: u32,
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
        let streams = [Stream::Fresh, Stream::Warm, Stream::Cold, Stream::Index];
        Lanes { lanes: streams.map(|stream| Lane::new(stream, 0)).into() }
    }

    /// An extent that a clean stop left open goes on.
    pub(crate) fn resume(
        &mut self,
        extent: ExtentId,
        stream: Stream,
        row: &crate::layout::ExtentRow,
    ) -> bool {
        let Some(lane) = self.lanes.iter_mut().find(|lane| lane.stream == stream) else {
            return false;
        };
        if lane.open.is_some() {
            return false;
        }
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

    pub(super) fn lane_of(&mut self, stream: Stream, bucket: u32, roomy: bool) -> usize {
        if stream == Stream::Expiring {
            let found = self
                .lanes
                .iter()
                .position(|lane| lane.stream == Stream::Expiring && lane.bucket == bucket);
            if let Some(at) = found {
                return at;
            }
            let expiring =
                || self.lanes.iter().enumerate().filter(|(_, l)| l.stream == Stream::Expiring);
            if roomy && expiring().count() < BUCKETS_MAX {
                self.lanes.push(Lane::new(stream, bucket));
                return self.lanes.len() - 1;
            }
            // The idle lane of the nearest past takes the new bucket; its extent goes on.
            let idle = expiring()
                .filter(|(_, lane)| lane.queue.is_empty())
                .min_by_key(|(_, lane)| lane.bucket)
                .map(|(at, _)| at);
            if let (true, Some(at)) = (roomy, idle) {
                self.lanes[at].bucket = bucket;
                return at;
            }
            return self.lane_of(Stream::Fresh, 0, roomy);
        }
        self.lanes.iter().position(|lane| lane.stream == stream).expect("a lane for each stream")
    }

    /// Whether nothing waits and nothing is under way.
    pub(crate) fn is_idle(&self) -> bool {
        self.lanes.iter().all(|lane| lane.queue.is_empty() && lane.batches == 0 && lane.direct == 0)
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
    fn new(stream: Stream, bucket: u32) -> Lane {
        Lane {
            stream,
            bucket,
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

    fn open_of(&mut self, extent: ExtentId) -> &mut OpenExtent {
        self.open
            .iter_mut()
            .chain(&mut self.closing)
            .find(|open| open.extent == extent)
            .expect("an extent stays while a batch is under way")
    }

    /// The batch that ends at `end` is durable, or never will be.
    pub(super) fn settle(&mut self, extent: ExtentId, end: u32, extents: &mut Extents) {
        let open = self.open_of(extent);
        let at = open.under_way.iter_mut().find(|(own, _)| *own == end).expect("it was under way");
        at.1 = true;
        while let Some((end, true)) = open.under_way.front().copied() {
            open.under_way.pop_front();
            open.durable = end;
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
}

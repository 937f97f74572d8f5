//! The extents of a disk: what each is, what lives in it, and who may take the next one.
//!
//! What must always hold:
//! - An incarnation is used once, for one extent.
//! - Of the empty extents, [`Reserve`] stay back: puts stop first, then tombstones, then the
//!   cleaner; index runs, without which nothing is freed, can take the last. Checked each time
//!   that one is taken.
//! - Whatever happens to the power, the recovery that follows finds an extent for the run of its
//!   first checkpoint: an index run takes the last empty one only while another is dead, which
//!   recovery empties before it needs any, or for a merge that gives up more. What was opened
//!   behind the last checkpoint and holds only chunks of the index is empty for recovery, and all
//!   others leave `Reserve::index` of them. Recovery itself takes the last: nothing is appended
//!   then, so that the recovery behind it has nothing to write.
//! - An extent is emptied only by way of a checkpoint: dead in one, free in the next; and it is
//!   opened only when two checkpoints have named it. So either of the last two is enough.

use std::collections::VecDeque;

use crate::layout::{ExtentRow, Kill, Kills, State, Stream};
use crate::{BLOCK_BYTES, ExtentId, Place};

/// Live bytes are counted in this unit, so that a packed tombstone counts as one.
const LIVE_UNIT: u32 = 128;
const UNITS_PER_BLOCK: u32 = BLOCK_BYTES as u32 / LIVE_UNIT;

/// Empty extents that stay back.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Reserve {
    /// For what the cleaner moves.
    pub moves: u32,
    /// On top, for index runs, and the last of them for a recovery: at least two.
    pub index: u32,
    /// On top, for tombstones.
    pub tombs: u32,
}

impl Default for Reserve {
    fn default() -> Reserve {
        Reserve { moves: 2, index: 2, tombs: 1 }
    }
}

impl Reserve {
    /// All that puts leave back.
    pub fn total(&self) -> u32 {
        self.moves + self.index + self.tombs
    }
}

/// Who takes an extent.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Taker {
    Put,
    Tomb,
    Index,
    Cleaner,
}

/// Why none can be taken.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum NoExtent {
    /// Only the reserve is left.
    Full,
    /// There are some, but a checkpoint must name them first.
    NotNamed,
}

/// One extent.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Extent {
    pub(crate) row: ExtentRow,
    /// Live units of 128 bytes.
    live: u32,
    /// Reads in flight.
    pins: u32,
    /// The checkpoint that made it dead.
    died_at: u64,
}

/// How many extents are what.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct ExtentCounts {
    /// Holding checkpoints.
    pub meta: u32,
    /// Empty, named or not.
    pub free: u32,
    /// Appended to.
    pub open: u32,
    /// Closed.
    pub sealed: u32,
    /// Empty once the next checkpoint is durable.
    pub dead: u32,
    /// Could not be emptied; tried again when a full disk needs it, and at the next start.
    pub offline: u32,
    /// A read of them failed.
    pub suspect: u32,
}

/// All extents of a disk.
pub(crate) struct Extents {
    table: Vec<Extent>,
    /// Named in a durable checkpoint, in the order of use.
    next: VecDeque<ExtentId>,
    /// Named in the last durable checkpoint only.
    named_once: Vec<ExtentId>,
    /// Named in a checkpoint that is not durable yet.
    naming: Vec<ExtentId>,
    next_incarnation: u64,
    reserve: Reserve,
    /// Sealed since somebody asked: their zones can be finished.
    just_sealed: Vec<ExtentId>,
    /// Empty extents: free and next.
    empty: u32,
    /// The last empty one is kept for a recovery.
    keeps_last: bool,
    live_units: u64,
}

/// Named extents that puts leave to others, so that a checkpoint can always be written.
const NAMED_FOR_OTHERS: usize = 3;

impl Extents {
    pub(crate) fn new(rows: &[ExtentRow], next_incarnation: u64, reserve: Reserve) -> Extents {
        let mut extents = Extents {
            table: Vec::with_capacity(rows.len()),
            next: VecDeque::new(),
            named_once: Vec::new(),
            naming: Vec::new(),
            next_incarnation,
            reserve,
            just_sealed: Vec::new(),
            empty: 0,
            keeps_last: false,
            live_units: 0,
        };
        assert!(reserve.index > 1, "one for the index and one for a recovery");
        for row in rows {
            assert!(row.state != State::Next, "recovery decides on what was named");
            extents.table.push(Extent { row: *row, live: 0, pins: 0, died_at: 0 });
            extents.empty += u32::from(matches!(row.state, State::Free | State::Next));
        }
        extents
    }

    pub(crate) fn len(&self) -> u32 {
        self.table.len() as u32
    }

    pub(crate) fn ids(&self) -> impl Iterator<Item = ExtentId> + use<> {
        (0..self.len()).map(ExtentId)
    }

    pub(crate) fn row(&self, id: ExtentId) -> &ExtentRow {
        &self.table[id.0 as usize].row
    }

    pub(crate) fn row_mut(&mut self, id: ExtentId) -> &mut ExtentRow {
        &mut self.table[id.0 as usize].row
    }

    pub(crate) fn rows(&self) -> Vec<ExtentRow> {
        self.table.iter().map(|extent| extent.row).collect()
    }

    pub(crate) fn next_incarnation(&self) -> u64 {
        self.next_incarnation
    }

    /// A number that no extent of this disk ever had.
    pub(crate) fn new_incarnation(&mut self) -> u64 {
        self.next_incarnation += 1;
        self.next_incarnation - 1
    }

    /// Leaves out numbers that were given out and never seen again.
    pub(crate) fn skip_incarnations(&mut self, count: u64) {
        self.next_incarnation += count;
    }

    /// Bytes that are live, by the index.
    pub(crate) fn live_bytes(&self) -> u64 {
        self.live_units * u64::from(LIVE_UNIT)
    }

    /// Live bytes of one extent.
    pub(crate) fn live_bytes_of(&self, id: ExtentId) -> u64 {
        u64::from(self.table[id.0 as usize].live) * u64::from(LIVE_UNIT)
    }

    pub(crate) fn empty(&self) -> u32 {
        self.empty
    }

    /// Extents that puts may still open.
    pub(crate) fn room(&self) -> u32 {
        self.empty.saturating_sub(self.reserve.total())
    }

    /// Extents of room below which the cleaner works.
    pub(crate) fn slack(&self) -> u32 {
        (self.len() / 64).clamp(2, 64)
    }

    /// Puts will soon find no extent.
    pub(crate) fn is_short(&self) -> bool {
        self.room() < self.slack()
    }

    pub(crate) fn reserve(&self) -> Reserve {
        self.reserve
    }

    /// The incarnation that an index entry or a kill of this extent must have; `None` while it
    /// is empty. What could not be emptied still has its life: a full scan finds it.
    pub(crate) fn life(&self, id: ExtentId) -> Option<u64> {
        let row = &self.table.get(id.0 as usize)?.row;
        matches!(row.state, State::Open | State::Sealed | State::Dead | State::Offline)
            .then_some(row.incarnation)
    }

    /// Whether what this kill names may still be on the disk.
    pub(crate) fn is_alive(&self, kill: &Kill) -> bool {
        self.life(kill.extent) == Some(kill.incarnation)
    }

    /// Whether anything may be left of what these kills name, for a tombstone born at `born`.
    pub(crate) fn may_hold(&self, kills: &Kills, born: u64) -> bool {
        let older =
            || self.ids().any(|id| self.life(id).is_some_and(|incarnation| incarnation < born));
        kills.iter().any(|kill| self.is_alive(&kill)) || kills.has_more() && older()
    }

    fn units(place: &Place) -> u32 {
        if place.dead { 1 } else { u32::from(place.blocks) * UNITS_PER_BLOCK }
    }

    /// The index now points here.
    pub(crate) fn add_live(&mut self, place: &Place) {
        let units = Extents::units(place);
        self.table[place.extent.0 as usize].live += units;
        self.live_units += u64::from(units);
    }

    /// The index no longer points here.
    pub(crate) fn sub_live(&mut self, place: &Place) {
        let units = Extents::units(place);
        let live = &mut self.table[place.extent.0 as usize].live;
        *live = live.checked_sub(units).expect("live data was counted when it was added");
        self.live_units -= u64::from(units);
    }

    /// For a planted bug: what is live there counts no more.
    pub(crate) fn forget_live(&mut self, id: ExtentId) {
        let live = std::mem::take(&mut self.table[id.0 as usize].live);
        self.live_units -= u64::from(live);
    }

    pub(crate) fn pin(&mut self, id: ExtentId) {
        self.table[id.0 as usize].pins += 1;
    }

    pub(crate) fn unpin(&mut self, id: ExtentId) {
        let pins = &mut self.table[id.0 as usize].pins;
        *pins = pins.checked_sub(1).expect("it was pinned");
    }

    /// Whether `taker` would get one now.
    pub(crate) fn can_take(&self, taker: Taker, ignore_reserve: bool) -> Result<(), NoExtent> {
        let Reserve { moves, index, tombs } = self.reserve;
        let (back, named) = match taker {
            Taker::Put => (moves + index + tombs, NAMED_FOR_OTHERS),
            Taker::Tomb => (moves + index, 2),
            // What it has moved is freed by checkpoints: they must find room for their runs.
            Taker::Cleaner => (index, 1),
            Taker::Index => (u32::from(self.keeps_last && !self.has_dead()), 0),
        };
        if self.empty <= back && !ignore_reserve {
            return Err(NoExtent::Full);
        }
        let is_index = taker == Taker::Index;
        if !is_index && self.next.len() <= named.min(self.empty.saturating_sub(1) as usize) {
            return Err(NoExtent::NotNamed);
        }
        Ok(())
    }

    /// Whether the last empty extent is left to the next recovery.
    pub(crate) fn keep_for_recovery(&mut self, keeps: bool) {
        self.keeps_last = keeps;
    }

    fn has_dead(&self) -> bool {
        self.table.iter().any(|extent| extent.row.state == State::Dead)
    }

    /// Opens the next named extent.
    pub(crate) fn take(
        &mut self,
        taker: Taker,
        stream: Stream,
        ignore_reserve: bool,
    ) -> Result<ExtentId, NoExtent> {
        self.can_take(taker, ignore_reserve)?;
        let id = match taker {
            Taker::Index => self.take_unnamed(),
            Taker::Put | Taker::Tomb | Taker::Cleaner => self.next.pop_front(),
        };
        let id = id.ok_or(NoExtent::NotNamed)?;
        if taker == Taker::Put && !ignore_reserve {
            assert!(self.empty > self.reserve.total(), "puts leave the reserve alone");
        }
        self.empty -= 1;
        let extent = &mut self.table[id.0 as usize];
        assert!(extent.row.state == State::Next && extent.live == 0, "an empty, named extent");
        extent.row.state = State::Open;
        extent.row.stream = stream;
        extent.row.written = 0;
        extent.row.newest_s = 0;
        Ok(id)
    }

    /// An empty extent for chunks of the index. They count by the checkpoint that is written
    /// behind them and says where they are, so their extent needs no name before.
    fn take_unnamed(&mut self) -> Option<ExtentId> {
        if let Some(at) = self.table.iter().position(|extent| extent.row.state == State::Free) {
            let incarnation = self.new_incarnation();
            let row = &mut self.table[at].row;
            (row.state, row.incarnation) = (State::Next, incarnation);
            return Some(ExtentId(at as u32));
        }
        let named = self.naming.pop().or_else(|| self.named_once.pop());
        named.or_else(|| self.next.pop_back())
    }

    /// Names empty extents until `count` are named, for the next checkpoint to tell.
    pub(crate) fn name_next(&mut self, count: usize, same_life: bool) {
        let mut at = 0;
        while self.next.len() + self.named_once.len() + self.naming.len() < 2 * count {
            let Some(offset) =
                self.table[at..].iter().position(|extent| extent.row.state == State::Free)
            else {
                break;
            };
            let id = ExtentId((at + offset) as u32);
            at = id.0 as usize + 1;
            let incarnation = match same_life {
                true => self.row(id).incarnation,
                false => self.new_incarnation(),
            };
            let row = self.row_mut(id);
            row.state = State::Next;
            row.incarnation = incarnation;
            row.written = 0;
            self.naming.push(id);
        }
    }

    /// A checkpoint is durable. What it named stays back for one more, so that an extent in use
    /// is named in both of the last two.
    pub(crate) fn names_durable(&mut self) {
        self.next.extend(self.named_once.drain(..));
        self.named_once.append(&mut self.naming);
    }

    /// Few are left that are named, and there are others.
    pub(crate) fn should_name(&self) -> bool {
        self.next.len() <= NAMED_FOR_OTHERS + 1 && self.empty as usize > self.next.len()
    }

    pub(crate) fn seal(&mut self, id: ExtentId, written: u32) {
        let row = self.row_mut(id);
        assert!(row.state == State::Open, "only an open extent is sealed");
        row.state = State::Sealed;
        row.written = written;
        self.just_sealed.push(id);
    }

    /// What was sealed since this was asked last.
    pub(crate) fn take_sealed(&mut self) -> Vec<ExtentId> {
        std::mem::take(&mut self.just_sealed)
    }

    /// Nothing in it counts any more, from checkpoint `number` on.
    pub(crate) fn kill(&mut self, id: ExtentId, number: u64) {
        let extent = &mut self.table[id.0 as usize];
        assert!(extent.row.state == State::Sealed, "only a sealed extent dies");
        assert!(extent.live == 0, "nothing live is given up");
        extent.row.state = State::Dead;
        extent.died_at = number;
    }

    /// The checkpoint that should have told of their death was never written.
    pub(crate) fn revive(&mut self, number: u64) {
        for extent in &mut self.table {
            if extent.row.state == State::Dead && extent.died_at == number {
                extent.row.state = State::Sealed;
            }
        }
    }

    /// Dead extents that may be emptied when a checkpoint is durable: an earlier one killed them,
    /// and nobody reads them.
    pub(crate) fn to_empty(&self, durable_checkpoint: u64) -> Vec<ExtentId> {
        self.ids()
            .filter(|id| {
                let extent = &self.table[id.0 as usize];
                extent.row.state == State::Dead
                    && extent.died_at < durable_checkpoint
                    && extent.pins == 0
            })
            .collect()
    }

    /// Whether the next checkpoint but one will have emptied it, for sure.
    pub(crate) fn is_to_be_emptied(&self, id: ExtentId) -> bool {
        let extent = &self.table[id.0 as usize];
        extent.row.state == State::Dead && extent.pins == 0
    }

    pub(crate) fn set_free(&mut self, id: ExtentId) {
        let extent = &mut self.table[id.0 as usize];
        assert!(extent.row.state == State::Dead && extent.pins == 0 && extent.live == 0);
        extent.row.state = State::Free;
        extent.row.suspect = false;
        extent.row.written = 0;
        extent.row.verified_s = 0;
        self.empty += 1;
    }

    /// It could not be emptied. Nothing in it counts, but it is all there for who goes by no
    /// checkpoint.
    pub(crate) fn set_offline(&mut self, id: ExtentId) {
        let extent = &mut self.table[id.0 as usize];
        assert!(extent.row.state == State::Dead && extent.live == 0);
        extent.row.state = State::Offline;
    }

    /// What could not be emptied is tried again: for as long as it is there, tombstones of what is
    /// in it must stay.
    pub(crate) fn retry_offline(&mut self) {
        for extent in &mut self.table {
            if extent.row.state == State::Offline {
                extent.row.state = State::Dead;
            }
        }
    }

    pub(crate) fn counts(&self) -> ExtentCounts {
        let mut counts = ExtentCounts::default();
        for extent in &self.table {
            *match extent.row.state {
                State::Meta => &mut counts.meta,
                State::Free | State::Next => &mut counts.free,
                State::Open => &mut counts.open,
                State::Sealed => &mut counts.sealed,
                State::Dead => &mut counts.dead,
                State::Offline => &mut counts.offline,
            } += 1;
            counts.suspect += u32::from(extent.row.suspect);
        }
        debug_assert_eq!(counts.free, self.empty);
        counts
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Empty extents, none of them named.
    fn empty(count: u32) -> Extents {
        let row = ExtentRow {
            incarnation: 0,
            written: 0,
            state: State::Free,
            stream: Stream::Fresh,
            suspect: false,
            newest_s: 0,
            verified_s: 0,
        };
        Extents::new(&vec![row; count as usize], 1, Reserve::default())
    }

    fn take(extents: &mut Extents) -> Result<ExtentId, NoExtent> {
        extents.take(Taker::Index, Stream::Index, false)
    }

    #[test]
    fn a_run_leaves_the_last_extent_to_recovery_unless_another_is_dead() {
        let mut extents = empty(3);
        extents.keep_for_recovery(true);
        let first = take(&mut extents).expect("two are left");
        take(&mut extents).expect("one is left");
        assert_eq!(take(&mut extents), Err(NoExtent::Full));
        extents.seal(first, 16);
        extents.kill(first, 7);
        take(&mut extents).expect("recovery empties the first");
        assert_eq!(take(&mut extents), Err(NoExtent::Full));
    }

    #[test]
    fn recovery_takes_the_last_extent() {
        let mut extents = empty(1);
        take(&mut extents).expect("nobody else needs it");
        assert_eq!(take(&mut extents), Err(NoExtent::Full));
    }

    #[test]
    fn what_died_by_a_checkpoint_that_was_never_written_did_not_die() {
        let mut extents = empty(2);
        let before = take(&mut extents).expect("it is free");
        let extent = take(&mut extents).expect("it is free");
        extents.seal(before, 16);
        extents.seal(extent, 16);
        extents.kill(before, 7);
        extents.kill(extent, 8);
        extents.revive(8);
        assert_eq!(extents.to_empty(9), [before]);
    }
}

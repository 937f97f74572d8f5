//! Checkpoints: the recent changes become a run, and one record says how the disk stands.
//!
//! ```text
//! freeze changes, note where each extent stands, give up empty extents, name the next
//!   -> run with the changes (index extents) -> flush
//!   -> checkpoint (meta extents, in turn)   -> flush
//!   -> empty what an earlier checkpoint gave up -> flush
//! ```
//!
//! What must always hold: a checkpoint is true of the moment when it was begun: its runs hold
//! every change in front of the positions that it notes, and recovery reads on from those. An
//! extent that it gives up holds nothing that its runs point at. The last but one is given up only
//! where the last one is whole.
//!
//! What may go wrong: a full disk has no extent for the run. As only a checkpoint gives extents back,
//! the last one is then written once more, which needs none and lets what is dead be emptied. If
//! nothing is, what could not be emptied before is tried again. If that gains nothing, many runs
//! become one, which gives up more than it takes. If there is no room beside that one, as a write
//! failed, the last checkpoint is said again with the one run for the many.

use std::ops::Range;
use std::rc::Rc;

use crate::api::PutError;
use crate::core::{CheckpointState, Core, State};
use crate::index::{Entry, RunInfo};
use crate::layout::{
    Block, Checkpoint, ExtentHead, ExtentRow, Origin, Shape, State as ExtentState, Stream,
};
use crate::medium::can_hold;
use crate::recovery::{
    NOWHERE, PAUSES, checkpoint_blocks, is_whole_part, write_checkpoint, written_blocks,
};
use crate::runs::RunWriter;
use crate::{BLOCK_BYTES, Bug, ExtentId};

impl Core {
    /// Writes a checkpoint; waits for one that is under way first. None is written behind the
    /// clean one.
    pub(crate) async fn checkpoint(self: &Rc<Core>, clean: bool) -> Result<(), PutError> {
        self.begin_checkpoint().await?;
        self.state.borrow_mut().checkpoint.wanted = false;
        let (mut merges, mut retries) = (true, true);
        let result = loop {
            let result = self.write_checkpoint(clean).await;
            if result != Err(PutError::Full) {
                break result;
            }
            // Each time that it gains something there is less to gain.
            if self.say_again().await {
                continue;
            }
            if std::mem::take(&mut retries) && self.retry_offline().await {
                continue;
            }
            if !std::mem::take(&mut merges) {
                break result;
            }
            match self.merge_for_checkpoint().await {
                // What it wrote and could not end is of no use to anybody.
                Ok(()) | Err(PutError::Full) => {}
                Err(why) => break Err(why),
            }
        };
        self.end_checkpoint();
        result
    }

    /// Waits for a checkpoint that is under way; there is no other until [`Core::end_checkpoint`].
    pub(crate) async fn begin_checkpoint(&self) -> Result<(), PutError> {
        self.progress
            .until(|| {
                let state = &mut *self.state.borrow_mut();
                if state.over {
                    return Some(Err(PutError::Closed));
                }
                (!state.checkpoint.busy).then(|| {
                    state.checkpoint.busy = true;
                    Ok(())
                })
            })
            .await
    }

    pub(crate) fn end_checkpoint(&self) {
        self.state.borrow_mut().checkpoint.busy = false;
        self.work.notify();
        self.progress.notify();
    }

    async fn write_checkpoint(self: &Rc<Core>, clean: bool) -> Result<(), PutError> {
        if self.state.borrow().fenced {
            return Err(PutError::Fenced);
        }
        let (number, mut rows, changes) = self.state.borrow_mut().note_checkpoint(self);
        let run = match self.spill(&changes).await {
            Ok(run) => run,
            Err(why) => {
                let state = &mut *self.state.borrow_mut();
                state.index.thaw();
                state.extents.revive(number);
                return Err(why);
            }
        };
        let checkpoint = {
            let state = self.state.borrow();
            if clean {
                assert!(state.lanes.is_idle(), "a clean stop leaves nothing under way");
                rows = state.extents.rows();
            }
            // Where the chunks are that were written since.
            for (row, id) in rows.iter_mut().zip(state.extents.ids()) {
                let now = state.extents.row(id);
                if now.stream == Stream::Index && can_hold(now.state) {
                    *row = *now;
                }
            }
            let runs = encode_runs(run.iter().chain(&state.runs));
            Checkpoint {
                uuid: self.uuid,
                extent_blocks: self.medium.cut.extent_blocks,
                payload_max: self.payload_max,
                number,
                clean,
                retired: state.retired,
                next_sequence: state.next_sequence,
                next_incarnation: state.extents.next_incarnation(),
                written_s: self.world.wall_s(),
                formatted_s: self.formatted_s,
                extents: rows,
                runs,
                profile: state.checkpoint.profile.clone(),
            }
        };
        if let Err(why) = self.make_durable(&checkpoint).await {
            self.state.borrow_mut().index.thaw();
            return Err(why);
        }
        {
            let state = &mut *self.state.borrow_mut();
            state.index.spilled();
            if let Some(run) = run {
                state.runs.insert(0, run);
            }
            state.extents.names_durable();
            // Its rows are some megabytes on a large disk: kept only where they may be needed.
            state.checkpoint.said = state.extents.is_short().then_some(checkpoint);
        }
        if !clean {
            self.empty_dead(number).await;
        }
        Ok(())
    }

    /// There is no extent for the run of a checkpoint, and only a checkpoint gives extents back: so
    /// the last one is written once more, which needs none. What it calls dead two have called
    /// dead then; and what it calls empty and holds nothing that lives since is of no use to anybody: no
    /// run of the last two points there. Runs that were merged since say the same as those that it named, so
    /// they are named now, and what only the old ones needed dies. False if all that gains nothing.
    async fn say_again(self: &Rc<Core>) -> bool {
        let again = {
            let state = &mut *self.state.borrow_mut();
            let Some(mut said) = state.checkpoint.said.take() else { return false };
            let number = state.checkpoint.last + 1;
            let mut gives_up = false;
            for (row, id) in said.extents.iter_mut().zip(state.extents.ids()) {
                let is_index = state.extents.row(id).stream == Stream::Index;
                let was_empty = matches!(row.state, ExtentState::Free | ExtentState::Next);
                if state.is_idle(id) && (is_index || was_empty) {
                    gives_up |= !was_empty;
                    state.extents.kill(id, if was_empty { said.number } else { number });
                }
                let now = state.extents.row(id);
                if is_index && can_hold(now.state) || now.state == ExtentState::Dead {
                    *row = *now;
                }
            }
            if !gives_up && state.extents.to_empty(said.number + 1).is_empty() {
                state.checkpoint.said = Some(said);
                return false;
            }
            state.checkpoint.last = number;
            Checkpoint {
                number,
                next_sequence: state.next_sequence,
                next_incarnation: state.extents.next_incarnation(),
                written_s: self.world.wall_s(),
                runs: encode_runs(&state.runs),
                ..said
            }
        };
        assert!(!again.clean, "nothing follows a clean stop");
        let before = self.state.borrow().checkpoint.durable;
        if self.make_durable(&again).await.is_err() {
            return false;
        }
        self.state.borrow_mut().checkpoint.said = Some(again);
        self.empty_dead(before + 1).await;
        true
    }

    async fn make_durable(self: &Rc<Core>, checkpoint: &Checkpoint) -> Result<(), PutError> {
        let len = checkpoint.len_bytes();
        if self.write_in_turn(checkpoint, len).await.is_err() || self.medium.flush().await.is_err()
        {
            self.fence();
            return Err(PutError::Fenced);
        }
        self.state.borrow_mut().checkpoint.durable = checkpoint.number;
        self.count(|counters| {
            counters.checkpoints += 1;
            counters.checkpoint_bytes += len as u64;
        });
        Ok(())
    }

    async fn spill(self: &Rc<Core>, changes: &[Entry]) -> Result<Option<RunInfo>, PutError> {
        if changes.is_empty() {
            return Ok(None);
        }
        let mut writer = RunWriter::new(self, 0);
        for entry in changes {
            if let Err(why) = writer.push(*entry).await {
                writer.abandon().await;
                return Err(why);
            }
        }
        writer.finish().await
    }

    /// Writes a checkpoint to the meta extent whose turn it is, behind the last one there. A failed
    /// write is tried once more in another place of the same extent: the other one holds the last that
    /// is durable. Where the last one here is lost by it, that other is all there is for a while, so it
    /// is read back first: a drive may have lost it without a word.
    async fn write_in_turn(self: &Rc<Core>, checkpoint: &Checkpoint, len: usize) -> Result<(), ()> {
        let blocks = checkpoint_blocks(len, self.payload_max);
        let cut = &self.medium.cut;
        let limit = cut.meta_blocks().max(blocks).min(cut.extent_blocks);
        assert!(blocks <= limit, "a checkpoint fits a meta extent");
        let (turn, durable, last, other) = {
            let CheckpointState { turn, places, durable, .. } = &self.state.borrow().checkpoint;
            (*turn, *durable, places[*turn].clone(), places[1 - turn].clone())
        };
        let fits = |at: u32| at.saturating_add(blocks) <= limit;
        // Nothing for the start, for which a zone has to be reset.
        let mut at = Some(last.end).filter(|at| fits(*at));
        loop {
            let begin = at.unwrap_or(0);
            let loses_last = match self.medium.cut.zoned {
                true => at.is_none(),
                false => begin < last.end && last.start < begin + blocks,
            };
            if loses_last && last != NOWHERE && !self.reads_back(1 - turn, durable, &other).await {
                return Err(());
            }
            if self.write_at(checkpoint, turn, at).await.is_ok() {
                self.state.borrow_mut().failures_in_row = 0;
                return Ok(());
            }
            let failures = {
                let state = &mut *self.state.borrow_mut();
                state.failures_in_row += 1;
                state.failures_in_row
            };
            if failures > 1 {
                return Err(());
            }
            at = self.behind_failed(turn, begin, blocks).await.filter(|at| fits(*at));
        }
    }

    /// Where a meta extent goes on behind a checkpoint whose write failed.
    async fn behind_failed(&self, turn: usize, at: u32, blocks: u32) -> Option<u32> {
        match self.medium.cut.zoned {
            true => {
                let meta = self.medium.cut.meta()[turn];
                written_blocks(&self.world, &self.medium, meta).await.ok()
            }
            false => Some(at + blocks),
        }
    }

    /// Whether a checkpoint can be read back whole from where it was written.
    async fn reads_back(self: &Rc<Core>, turn: usize, number: u64, place: &Range<u32>) -> bool {
        let meta = self.medium.cut.meta()[turn];
        let part_blocks = Shape { payload_bytes: self.payload_max }.blocks();
        let mut at = place.start;
        while at < place.end {
            let blocks = part_blocks.min(place.end - at);
            let mut pauses = PAUSES.iter();
            loop {
                let buf = self.own_buf(blocks as usize * BLOCK_BYTES).await;
                let (result, buf) = self.medium.read(meta, at, buf).await;
                let is_whole = result.is_ok() && is_whole_part(&buf, meta, at, number);
                self.state.borrow_mut().recycle(buf);
                if is_whole {
                    break;
                }
                // What can be read at some try is there.
                match pauses.next() {
                    Some(pause) if result.is_err() => self.world.handle.sleep(*pause).await,
                    _ => return false,
                }
            }
            at += blocks;
        }
        true
    }

    /// Writes a checkpoint from a block of a meta extent on; from the start of one that is made empty
    /// where nothing is said.
    async fn write_at(
        self: &Rc<Core>,
        checkpoint: &Checkpoint,
        turn: usize,
        at: Option<u32>,
    ) -> Result<(), ()> {
        if at.is_none() && self.medium.cut.zoned {
            let meta = self.medium.cut.meta()[turn];
            self.medium.zone_reset(meta).await.map_err(drop)?;
        }
        let at = at.unwrap_or(0);
        let follows = self.state.borrow().checkpoint.durable;
        let buf = self.record_buf(self.payload_max).await.buf;
        let (end, buf) = write_checkpoint(buf, &self.medium, checkpoint, follows, turn, at).await;
        let state = &mut *self.state.borrow_mut();
        state.recycle(buf);
        let end = end.map_err(drop)?;
        state.checkpoint.places[turn] = at..end;
        state.checkpoint.turn = 1 - turn;
        Ok(())
    }

    /// Empties the extents that an earlier checkpoint than this one gave up.
    pub(crate) async fn empty_dead(self: &Rc<Core>, number: u64) {
        let dead = self.state.borrow().extents.to_empty(number);
        if dead.is_empty() {
            return;
        }
        let mut emptied = Vec::new();
        for extent in dead {
            match self.empty(extent).await {
                Ok(()) => emptied.push(extent),
                Err(()) => self.state.borrow_mut().extents.set_offline(extent),
            }
        }
        if self.medium.flush().await.is_err() {
            return self.fence();
        }
        let state = &mut *self.state.borrow_mut();
        for extent in &emptied {
            state.extents.set_free(*extent);
        }
        self.count(|counters| counters.emptied += emptied.len() as u64);
        self.work.notify();
        self.progress.notify();
    }

    /// Tries once more to empty what could not be emptied. True if that has given room.
    async fn retry_offline(self: &Rc<Core>) -> bool {
        let (empty, durable) = {
            let state = &mut *self.state.borrow_mut();
            state.extents.retry_offline();
            (state.extents.empty(), state.checkpoint.durable)
        };
        self.empty_dead(durable).await;
        self.state.borrow().extents.empty() > empty
    }

    /// Makes sure that nothing in an extent can be taken for live again: a zone is reset, and on
    /// a conventional disk the first and the last block say that a new life has begun.
    pub(crate) async fn empty(self: &Rc<Core>, extent: ExtentId) -> Result<(), ()> {
        if self.medium.cut.zoned {
            return self.medium.zone_reset(extent).await.map_err(drop);
        }
        let incarnation = self.state.borrow_mut().extents.new_incarnation();
        for block in [0, self.medium.cut.extent_blocks - 1] {
            let mut buf = self.record_buf(0).await.buf;
            buf.set_len(BLOCK_BYTES);
            let head = ExtentHead { stream: None, opened_s: self.world.wall_s(), expires_day: 0 };
            head.write(Block::over_mut(&mut buf));
            let origin = Origin { uuid: self.uuid, extent, block, incarnation };
            Block::over_mut(&mut buf).seal(&origin, 0, 0);
            let (result, buf) = self.medium.write(extent, block, buf).await;
            self.state.borrow_mut().recycle(buf);
            result.map_err(drop)?;
        }
        Ok(())
    }

    /// The task that does what nobody waits for: checkpoints and merges. The cleaner has a task
    /// of its own, since it waits for changes that may wait for a checkpoint.
    pub(crate) async fn keeper_task(self: Rc<Core>) {
        loop {
            let (over, wanted, fenced, closing) = {
                let state = self.state.borrow();
                (state.over, state.checkpoint.wanted, state.fenced, state.closing)
            };
            if over {
                return;
            }
            // What failed is not tried again at once: the next change asks again. While the store
            // closes, what is under way may still wait for a checkpoint.
            self.state.borrow_mut().keeping = true;
            let worked = !fenced
                && (wanted && self.checkpoint(false).await.is_ok()
                    || !closing
                        && matches!(self.merge_runs(false).await, Ok(true))
                        && self.checkpoint(false).await.is_ok());
            let is_asked = {
                let state = &mut *self.state.borrow_mut();
                state.keeping = false;
                // Whoever asked while it was at work was not heard.
                state.checkpoint.wanted && !state.fenced
            };
            self.progress.notify();
            if !worked && !is_asked {
                self.chores.next().await;
            }
        }
    }
}

fn encode_runs<'a>(runs: impl IntoIterator<Item = &'a RunInfo>) -> Vec<u8> {
    let mut bytes = Vec::new();
    runs.into_iter().for_each(|run| run.encode(&mut bytes));
    bytes
}

impl State {
    /// Whether an extent holds nothing that lives: the next checkpoint gives it up.
    pub(crate) fn is_idle(&self, id: ExtentId) -> bool {
        self.extents.row(id).state == ExtentState::Sealed
            && self.extents.live_bytes_of(id) == 0
            && !self.lanes.holds(id)
    }

    /// Gives up what is idle, by checkpoint `number`.
    pub(crate) fn kill_idle(&mut self, number: u64) {
        let idle: Vec<ExtentId> = self.extents.ids().filter(|id| self.is_idle(*id)).collect();
        for id in idle {
            self.extents.kill(id, number);
        }
    }

    /// Notes how everything stands, as the next checkpoint will say it.
    fn note_checkpoint(&mut self, core: &Core) -> (u64, Vec<ExtentRow>, Vec<Entry>) {
        let number = self.checkpoint.last + 1;
        self.checkpoint.last = number;
        self.kill_idle(number);
        self.extents.name_next(core.options.named, core.has(Bug::NoNewIncarnation));
        self.index.freeze();
        (number, self.extents.rows(), self.index.memtable().frozen().collect())
    }
}

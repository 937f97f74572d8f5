//! The index on the disk: runs are written, merged and read.
//!
//! What must always hold: a chunk's extent counts it as live from the moment that the chunk is
//! durable until a manifest without its run is made.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::rc::Rc;

use isotherm_seam::IoBuf;

use crate::api::{GetError, Listed, Page, PutError};
use crate::append::{Aim, Body, Item, Then};
use crate::core::{Core, Done, Pin, State};
use crate::index::{
    ChunkId, ChunkInfo, ChunkWriter, ChunkWritten, DeltaKind, Entry, Input, Merge, Merged, Plan,
    Rows, RunInfo, RunSource, plan,
};
use crate::layout::{Kills, Kind, Origin, RecordHead, SEGMENT_BYTES, Shape, Stream};
use crate::record::ReadRecord;
use crate::store::Pending;
use crate::{BLOCK_BYTES, ExtentId, Key, Place};

/// Bytes in front of a chunk's entries, and of each entry.
const CHUNK_HEAD_BYTES: usize = 24;
const ENTRY_BYTES: usize = 48;
/// Chunks that are under way at a time.
const CHUNKS_UNDER_WAY: usize = 4;

/// A chunk as it was read. It is copied out of its buffer: a merge holds a chunk of each run, and
/// must not hold the pool.
pub(crate) struct ChunkBytes(Vec<u8>);

impl ChunkBytes {
    pub(crate) fn new(buf: &IoBuf, len: usize) -> ChunkBytes {
        ChunkBytes(buf[BLOCK_BYTES..BLOCK_BYTES + len].to_vec())
    }
}

impl AsRef<[u8]> for ChunkBytes {
    fn as_ref(&self) -> &[u8] {
        &self.0
    }
}

/// A merge that is to be made.
struct Planned {
    plan: Plan,
    runs: Vec<RunInfo>,
    /// It takes the last room that there is for the index.
    takes_last: bool,
}

/// A run on its way to the disk.
pub(crate) struct RunWriter {
    core: Rc<Core>,
    id: u64,
    level: u8,
    entries_max: usize,
    waiting: Vec<Entry>,
    under_way: VecDeque<(ChunkWritten, Pending)>,
    done: Vec<(ChunkWritten, Place)>,
    chunks: u32,
}

impl RunWriter {
    pub(crate) fn new(core: &Rc<Core>, level: u8) -> RunWriter {
        let id = {
            let state = &mut *core.state.borrow_mut();
            state.next_run += 1;
            state.next_run - 1
        };
        RunWriter {
            core: Rc::clone(core),
            id,
            level,
            entries_max: chunk_entries_max(core.payload_max),
            waiting: Vec::new(),
            under_way: VecDeque::new(),
            done: Vec::new(),
            chunks: 0,
        }
    }

    /// Appends an entry; the keys ascend.
    pub(crate) async fn push(&mut self, entry: Entry) -> Result<(), PutError> {
        self.waiting.push(entry);
        if self.waiting.len() == self.entries_max {
            self.write_chunk().await?;
        }
        Ok(())
    }

    async fn write_chunk(&mut self) -> Result<(), PutError> {
        if self.under_way.len() >= CHUNKS_UNDER_WAY {
            self.wait_one().await?;
        }
        let len = CHUNK_HEAD_BYTES + self.waiting.len() * ENTRY_BYTES;
        let mut buf = self.core.record_buf(len as u32).await;
        let id = ChunkId { run: self.id, chunk: self.chunks };
        let mut writer = ChunkWriter::new(buf.piece_mut(0), id);
        self.waiting.drain(..).for_each(|entry| writer.push(&entry));
        let written = writer.finish().expect("there are entries");
        assert_eq!(written.len_bytes, len, "the chunk is as long as was reckoned");
        self.chunks += 1;
        let slot = self.core.state.borrow_mut().answers.open();
        let head = RecordHead {
            key: Key { object: u128::from(self.id), stripe: id.chunk, ..Key::MIN },
            epoch: 0,
            codec: 0,
            put_s: self.core.world.wall_s(),
            expires_s: 0,
            kills: Kills::default(),
            supersedes: None,
        };
        let shape = buf.shape;
        let body = Body::Chunk { head, buf: Some(buf) };
        let item =
            Item { body, shape, sequence: Some(0), then: Then::Tell { slot }, owed: Vec::new() };
        self.core.enqueue(item, Aim::Index);
        self.under_way.push_back((written, Pending::new(&self.core, slot)));
        Ok(())
    }

    async fn wait_one(&mut self) -> Result<(), PutError> {
        if let Some((written, pending)) = self.under_way.pop_front() {
            match pending.await? {
                Done::Chunk(place) => self.done.push((written, place)),
                Done::Put(_) | Done::Deleted => unreachable!("the answer to a chunk"),
            }
        }
        Ok(())
    }

    /// The run will not be: its chunks count no more.
    pub(crate) async fn abandon(mut self) {
        while !self.under_way.is_empty() {
            // One that failed was never counted.
            let _ = self.wait_one().await;
        }
        let state = &mut *self.core.state.borrow_mut();
        for (_, place) in &self.done {
            state.extents.sub_live(place);
        }
    }

    /// Writes the rest. `None` if there was no entry.
    pub(crate) async fn finish(mut self) -> Result<Option<RunInfo>, PutError> {
        match self.write_rest().await {
            Ok(()) => Ok(RunInfo::new(self.id, self.level, &self.done)),
            Err(why) => {
                self.abandon().await;
                Err(why)
            }
        }
    }

    async fn write_rest(&mut self) -> Result<(), PutError> {
        if !self.waiting.is_empty() {
            self.write_chunk().await?;
        }
        while !self.under_way.is_empty() {
            self.wait_one().await?;
        }
        Ok(())
    }
}

impl State {
    /// Runs are no longer part of the manifest.
    fn forget_runs(&mut self, runs: &[RunInfo]) {
        for chunk in runs.iter().flat_map(|run| &run.chunks) {
            self.extents.sub_live(&chunk.place);
        }
    }

    /// What to merge next; everything, when old runs keep too many extents from being emptied.
    /// Without that there may be a run for each of many restarts, each in an extent of its own.
    fn merge_plan(&self, extent_blocks: u32, payload_max: u32, needs_room: bool) -> Option<Plan> {
        if let Some(plan) = plan(&self.runs, self.index.len()) {
            return Some(plan);
        }
        let extents = self
            .extents
            .ids()
            .filter(|id| {
                let row = self.extents.row(*id);
                row.stream == Stream::Index && crate::medium::can_hold(row.state)
            })
            .count() as u64;
        let needed = run_blocks(&self.runs, payload_max).div_ceil(u64::from(extent_blocks));
        // One run begins in an extent that is open already.
        let most = if needs_room { 1 + needed } else { 2 + 2 * needed };
        (extents > most && self.runs.len() > 1).then(|| Plan {
            ids: self.runs.iter().map(|run| run.id).collect(),
            level: self.runs.iter().map(|run| run.level).max().unwrap_or(0),
            drop_gone: true,
        })
    }

    /// Whether a merge of these runs may use the last room that there is for the index: with the
    /// changes of the next checkpoint it fits, and an extent comes free by it for sure.
    fn may_take_last(&self, runs: &[RunInfo], core: &Core) -> bool {
        let extent_blocks = core.medium.cut.extent_blocks;
        let changes = self.index.memtable().active_len() as u64;
        let blocks = run_blocks(runs, core.payload_max) + entry_blocks(changes, core.payload_max);
        // Behind the head of an extent.
        let empty = if self.extents.empty() > 0 { extent_blocks - 1 } else { 0 };
        let room = self.lanes.index_room(extent_blocks).max(empty);
        let mut blocks_of = BTreeMap::<ExtentId, u64>::new();
        for chunk in runs.iter().flat_map(|run| &run.chunks) {
            *blocks_of.entry(chunk.place.extent).or_default() += u64::from(chunk.place.blocks);
        }
        let comes_free = blocks_of.iter().any(|(extent, blocks)| {
            !self.lanes.holds(*extent)
                && self.extents.live_bytes_of(*extent) == blocks * BLOCK_BYTES as u64
        });
        blocks <= u64::from(room) && comes_free
    }
}

/// Entries of a chunk, at most.
fn chunk_entries_max(payload_max: u32) -> usize {
    ((payload_max as usize).min(SEGMENT_BYTES) - CHUNK_HEAD_BYTES) / ENTRY_BYTES
}

/// Blocks that these runs take as one, at most: each chunk with its head, and a mark for each.
fn run_blocks(runs: &[RunInfo], payload_max: u32) -> u64 {
    entry_blocks(runs.iter().map(|run| run.entries).sum(), payload_max)
}

/// Blocks that a run of so many entries takes, at most.
fn entry_blocks(entries: u64, payload_max: u32) -> u64 {
    let per_chunk = chunk_entries_max(payload_max) as u64;
    let blocks = |entries: u64| {
        let payload_bytes = CHUNK_HEAD_BYTES as u64 + entries * ENTRY_BYTES as u64;
        u64::from(Shape { payload_bytes: payload_bytes as u32 }.blocks()) + 1
    };
    let rest = entries % per_chunk;
    entries / per_chunk * blocks(per_chunk) + if rest > 0 { blocks(rest) } else { 0 }
}

impl Core {
    /// Merges runs if there is something to merge. True if it was done: a checkpoint should
    /// follow. `needs_room` says that nothing else would make room on the disk.
    pub(crate) async fn merge_runs(self: &Rc<Core>, needs_room: bool) -> Result<bool, PutError> {
        self.progress
            .until(|| {
                let state = &mut *self.state.borrow_mut();
                (!state.merging).then(|| state.merging = true)
            })
            .await;
        let result = self.merge_planned(needs_room).await;
        self.state.borrow_mut().merging = false;
        self.progress.notify();
        result
    }

    async fn merge_planned(self: &Rc<Core>, needs_room: bool) -> Result<bool, PutError> {
        let Some(planned) = self.plan_merge(needs_room) else { return Ok(false) };
        if !planned.takes_last {
            return self.merge(&planned.plan, &planned.runs).await;
        }
        self.begin_checkpoint().await?;
        let result = self.merge_into_last(&planned).await;
        self.end_checkpoint();
        result
    }

    fn plan_merge(&self, needs_room: bool) -> Option<Planned> {
        let state = self.state.borrow();
        let extent_blocks = self.medium.cut.extent_blocks;
        let plan = state.merge_plan(extent_blocks, self.payload_max, needs_room)?;
        let runs: Vec<RunInfo> =
            state.runs.iter().filter(|run| plan.ids.contains(&run.id)).cloned().collect();
        // A merge must leave the spills their extents.
        let extents = run_blocks(&runs, self.payload_max) / u64::from(extent_blocks) + 1;
        let spare = if needs_room { 1 } else { state.extents.reserve().moves };
        let takes_last = u64::from(state.extents.empty()) < extents + u64::from(spare);
        let may = !takes_last || needs_room && state.may_take_last(&runs, self);
        may.then_some(Planned { plan, runs, takes_last })
    }

    /// Merges runs for a checkpoint that found no room for its own, and that nobody else begins
    /// meanwhile. `Full` if there is nothing to gain.
    pub(crate) async fn merge_for_checkpoint(self: &Rc<Core>) -> Result<(), PutError> {
        // Who merges already may wait for the checkpoint.
        if std::mem::replace(&mut self.state.borrow_mut().merging, true) {
            return Err(PutError::Full);
        }
        let merged = match self.plan_merge(true) {
            Some(planned) => self.merge_into_last(&planned).await.map(drop),
            None => Err(PutError::Full),
        };
        self.state.borrow_mut().merging = false;
        self.progress.notify();
        merged
    }

    /// No checkpoint comes in between: the next one names the merged run, and gives up for it at
    /// least one extent. Until then the last is empty for a recovery, which finds only chunks in it.
    async fn merge_into_last(self: &Rc<Core>, planned: &Planned) -> Result<bool, PutError> {
        self.state.borrow_mut().extents.keep_for_recovery(false);
        let result = self.merge(&planned.plan, &planned.runs).await;
        self.state.borrow_mut().extents.keep_for_recovery(true);
        result
    }

    async fn merge(self: &Rc<Core>, plan: &Plan, runs: &[RunInfo]) -> Result<bool, PutError> {
        let mut writer = RunWriter::new(self, plan.level);
        if let Err(why) = self.merge_into(&mut writer, runs, plan.drop_gone).await {
            writer.abandon().await;
            return Err(why);
        }
        let merged = writer.finish().await?;
        let state = &mut *self.state.borrow_mut();
        let at = state.runs.iter().position(|run| run.id == plan.ids[0]).expect("it stays");
        state.runs.retain(|run| !plan.ids.contains(&run.id));
        state.forget_runs(runs);
        if let Some(merged) = merged {
            state.runs.insert(at, merged);
        }
        self.count(|counters| counters.runs_merged += runs.len() as u64);
        Ok(true)
    }

    async fn merge_into(
        self: &Rc<Core>,
        writer: &mut RunWriter,
        runs: &[RunInfo],
        drop_gone: bool,
    ) -> Result<(), PutError> {
        type Runs = Input<ChunkBytes, std::iter::Empty<Entry>>;
        let sources = runs.iter().cloned().map(|run| Runs::Run(RunSource::new(run))).collect();
        let mut merge = Merge::new(sources, drop_gone);
        loop {
            match merge.next() {
                Merged::Entry(entry) => writer.push(entry).await?,
                Merged::Contradiction(_) => return Err(PutError::Damaged),
                Merged::NeedChunk(at) => {
                    let read = async |chunk: &ChunkInfo| {
                        self.read_chunk(chunk).await.map_err(|_| PutError::Damaged)
                    };
                    merge.feed(at, read, |_| PutError::Damaged).await?;
                }
                Merged::End => return Ok(()),
            }
        }
    }

    /// Reads a chunk and checks that its record is whole.
    pub(crate) async fn read_chunk(
        self: &Rc<Core>,
        chunk: &ChunkInfo,
    ) -> Result<ChunkBytes, GetError> {
        let place = chunk.place;
        let _pin = self.pin(place.extent);
        let origin = self.origin(place.extent, place.block);
        let buf = self.own_buf(usize::from(place.blocks) * BLOCK_BYTES).await;
        let (result, buf) = self.medium.read(place.extent, place.block, buf).await;
        let bytes =
            result.map(|()| check_chunk(&buf, &origin).map(|len| ChunkBytes::new(&buf, len)));
        self.state.borrow_mut().recycle(buf);
        let failed = match bytes {
            Ok(Some(bytes)) => return Ok(bytes),
            Ok(None) => self.damaged_at(&place),
            Err(error) => GetError::Io(error),
        };
        // A merge may have made an end of the run meanwhile, and somebody else may be there now.
        let is_ours = {
            let state = self.state.borrow();
            state.runs.iter().flat_map(|run| &run.chunks).any(|own| own.place == place)
        };
        if is_ours {
            self.suspect(place.extent);
        }
        Err(failed)
    }

    /// The runs as they are now. Their extents stay as they are for as long as the pins live, also
    /// when a merge gives them up meanwhile.
    fn pinned_runs(self: &Rc<Core>) -> (Vec<RunInfo>, Vec<Pin>) {
        let runs = self.state.borrow().runs.clone();
        let extents: BTreeSet<ExtentId> =
            runs.iter().flat_map(|run| &run.chunks).map(|chunk| chunk.place.extent).collect();
        (runs, extents.into_iter().map(|extent| self.pin(extent)).collect())
    }

    /// Looks for a whole key in the runs; `None` if the newest of them that has it says that it
    /// is gone, or none has it.
    pub(crate) async fn find_in_runs(
        self: &Rc<Core>,
        key: &Key,
    ) -> Result<Option<Entry>, PutError> {
        let (runs, _pins) = self.pinned_runs();
        for run in &runs {
            let Some(at) = run.chunk_of(key) else { continue };
            let bytes = self.read_chunk(&run.chunks[at]).await.map_err(|_| PutError::Damaged)?;
            let reader = run.chunk(at, bytes.as_ref()).map_err(|_| PutError::Damaged)?;
            let at = reader.position(key);
            if let Some(entry) = (at < reader.len()).then(|| reader.get(at))
                && entry.key == *key
            {
                return Ok((entry.delta.kind != DeltaKind::Gone).then_some(entry));
            }
        }
        Ok(None)
    }

    /// A page of the keys from `from` to `to`, both included.
    pub(crate) async fn list(
        self: &Rc<Core>,
        from: Key,
        to: Key,
        limit: usize,
    ) -> Result<Page, GetError> {
        // A spill or a merge in between moves entries from one source to another: begin again.
        let version = || {
            let state = self.state.borrow();
            (state.checkpoint.durable, state.runs.iter().map(|run| run.id).max(), state.runs.len())
        };
        let mut tries = 0;
        loop {
            let before = version();
            let page = self.list_once(from, to, limit).await;
            tries += 1;
            if version() == before || tries == 16 {
                return page;
            }
        }
    }

    async fn list_once(
        self: &Rc<Core>,
        from: Key,
        to: Key,
        limit: usize,
    ) -> Result<Page, GetError> {
        let mut page = Page::default();
        self.each_entry(from, to, |entry| {
            if page.entries.len() == limit {
                page.next = Some(entry.key);
                return false;
            }
            page.entries.push(Listed {
                key: entry.key,
                is_tombstone: entry.delta.kind == DeltaKind::Dead,
                sequence: entry.delta.sequence,
                at_s: entry.delta.wall_s,
            });
            true
        })
        .await?;
        Ok(page)
    }

    /// Shows the newest entry of each key from `from` to `to` that is not gone, in order, until
    /// `show` says no.
    pub(crate) async fn each_entry(
        self: &Rc<Core>,
        from: Key,
        to: Key,
        mut show: impl FnMut(Entry) -> bool,
    ) -> Result<(), GetError> {
        let (runs, _pins) = self.pinned_runs();
        let memory = Memory { core: Rc::clone(self), next: Some(from) };
        let mut sources = vec![Input::Rows(Rows::new(memory))];
        let within = |run| Input::Run(RunSource::within(run, &from, &to));
        sources.extend(runs.into_iter().map(within));
        let mut merge = Merge::new(sources, true);
        loop {
            match merge.next() {
                Merged::End => return Ok(()),
                Merged::Contradiction(entry) => {
                    let Place { extent, block, .. } = entry.delta.place;
                    return Err(GetError::Damaged { extent, lba: self.medium.lba(extent, block) });
                }
                Merged::NeedChunk(at) => {
                    let read = async |chunk: &ChunkInfo| self.read_chunk(chunk).await;
                    merge.feed(at, read, |chunk| self.damaged_at(&chunk.place)).await?;
                }
                Merged::Entry(entry) => {
                    assert!(entry.key >= from, "sources begin at {from}");
                    if entry.key > to || !show(entry) {
                        return Ok(());
                    }
                }
            }
        }
    }
}

/// The recent changes from a key on, one at a time.
struct Memory {
    core: Rc<Core>,
    next: Option<Key>,
}

impl Iterator for Memory {
    type Item = Entry;

    fn next(&mut self) -> Option<Entry> {
        let entry = self.core.state.borrow().index.memtable().first_from(self.next?)?;
        self.next = entry.key.successor();
        Some(entry)
    }
}

/// The payload length of a sound chunk record.
pub(crate) fn check_chunk(buf: &[u8], origin: &Origin) -> Option<usize> {
    let record = ReadRecord::new(buf, origin, Kind::Run, 0, false).ok()?;
    let whole = record.shape.segments() == 1 && record.check_whole().is_ok();
    whole.then_some(record.shape.payload_bytes as usize)
}

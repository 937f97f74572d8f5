//! Random operations against the model of versions.

use std::collections::BTreeMap;
use std::ops::Range;

use isotherm_seam::{Completion, IoBuf, IoError, Lba, Misfit, Op, Persist, Tag};

use super::blocks::{Version, Window, fill, version_of};
use super::rig::Rig;

/// Bytes under test at either end of the device.
const WINDOW_BYTES: u64 = 512 << 10;

struct Run {
    windows: Vec<Window>,
    out: BTreeMap<Tag, Out>,
    versions: Version,
}

struct Out {
    window: usize,
    range: Range<usize>,
    kind: Kind,
}

enum Kind {
    /// With the oldest version that each block might hold when it was sent.
    Read(Vec<Option<Version>>),
    Write(Version),
    Discard,
    Flush,
}

/// Reads, writes, flushes and discards in flight side by side, over the blocks that may be
/// written in any order.
pub(super) fn operations(rig: &mut Rig<'_>) {
    let blocks = match &rig.geometry.zones {
        None => rig.geometry.blocks,
        Some(zones) => u64::from(zones.conventional) * zones.zone_blocks,
    };
    if blocks == 0 {
        return;
    }
    let half = (WINDOW_BYTES >> rig.geometry.logical.shift()).clamp(1, blocks);
    let mut windows = vec![Window::new(Lba(0), half)];
    if blocks > 2 * half {
        windows.push(Window::new(Lba(blocks - half), half));
    }
    let mut run = Run { windows, out: BTreeMap::new(), versions: 1 };
    for _ in 0..rig.expect.operations {
        run.one(rig);
    }
    for completion in rig.drain() {
        run.arrived(rig, completion);
    }
    run.read_all(rig);
}

impl Run {
    fn one(&mut self, rig: &mut Rig<'_>) {
        let window = rig.draws.below(self.windows.len() as u64) as usize;
        let range = self.range(rig, window);
        let lba = self.windows[window].lba(range.start);
        let choice = rig.draws.below(100);
        let (op, kind) = if choice < 45 {
            let Some(buf) = rig.buf(range.len() as u64) else { return self.turn(rig) };
            let blocks = &self.windows[window].blocks[range.clone()];
            let oldest = blocks.iter().map(|block| block.oldest).collect();
            (Op::Read { lba, buf }, Kind::Read(oldest))
        } else if choice < 85 {
            if self.busy(window, &range, false) {
                return self.turn(rig);
            }
            let Some(mut buf) = rig.buf(range.len() as u64) else { return self.turn(rig) };
            self.versions += 1;
            let size = rig.geometry.logical.bytes() as usize;
            for (index, block) in buf.chunks_exact_mut(size).enumerate() {
                fill(block, rig.seed, lba.offset(index as u64), self.versions);
            }
            let persist = if choice < 80 { Persist::Flush } else { Persist::Fua };
            (Op::Write { lba, buf, persist }, Kind::Write(self.versions))
        } else if choice < 90 {
            (Op::Flush, Kind::Flush)
        } else if choice < 94 && rig.geometry.discard {
            if self.busy(window, &range, true) {
                return self.turn(rig);
            }
            (Op::Discard { lba, blocks: range.len() as u64 }, Kind::Discard)
        } else {
            return self.turn(rig);
        };
        let mut next = op;
        let tag = loop {
            match rig.submit(next) {
                Ok(tag) => break tag,
                Err(back) => {
                    next = back;
                    self.turn(rig);
                }
            }
        };
        // A full queue may have let time pass: what a read may find starts when it is taken.
        let kind = match kind {
            Kind::Read(_) => {
                let blocks = &self.windows[window].blocks[range.clone()];
                Kind::Read(blocks.iter().map(|block| block.oldest).collect())
            }
            other => other,
        };
        for block in &mut self.windows[window].blocks[range.clone()] {
            match &kind {
                Kind::Read(_) => block.readers += 1,
                Kind::Write(version) => {
                    block.writing = true;
                    block.newest = *version;
                }
                Kind::Discard => {
                    block.writing = true;
                    block.oldest = None;
                }
                Kind::Flush => {}
            }
        }
        self.out.insert(tag, Out { window, range, kind });
    }

    /// Mostly a few blocks, at times many; never across the end of a window.
    fn range(&self, rig: &mut Rig<'_>, window: usize) -> Range<usize> {
        let count = self.windows[window].blocks.len();
        let longest = (super::IO_BYTES.min(rig.geometry.io_bytes_max as usize)
            >> rig.geometry.logical.shift())
        .clamp(1, count);
        let longest = if rig.draws.happens(0.8) { longest.min(8) } else { longest };
        let len = 1 + rig.draws.below(longest as u64) as usize;
        let start = rig.draws.below((count - len + 1) as u64) as usize;
        start..start + len
    }

    /// Whether the caller may not write (or discard) there now.
    fn busy(&self, window: usize, range: &Range<usize>, discard: bool) -> bool {
        let blocks = &self.windows[window].blocks[range.clone()];
        blocks.iter().any(|block| block.writing || discard && block.readers > 0)
    }

    fn turn(&mut self, rig: &mut Rig<'_>) {
        if rig.inflight() == 0 {
            return;
        }
        for completion in rig.turn() {
            self.arrived(rig, completion);
        }
    }

    fn arrived(&mut self, rig: &Rig<'_>, completion: Completion) {
        let out = self.out.remove(&completion.tag).expect("sent by this run");
        let Completion { buf, result, .. } = completion;
        let refused = matches!(result, Err(IoError::Misfit(_) | IoError::Zone(_)));
        let window = &mut self.windows[out.window];
        match &out.kind {
            Kind::Flush => assert!(!refused, "a flush: {result:?}"),
            Kind::Discard => {
                assert!(!refused, "a discard of a device that has them: {result:?}");
                window.blocks[out.range].iter_mut().for_each(|block| block.writing = false);
            }
            Kind::Write(version) => {
                assert!(!refused, "a write of {:?}: {result:?}", out.range);
                let buf = buf.expect("a write's buffer");
                let lba = window.lba(out.range.start);
                for (index, block) in window.blocks[out.range].iter_mut().enumerate() {
                    block.writing = false;
                    // After a failed write the block may hold either; after one that succeeded
                    // just this.
                    if result.is_ok() {
                        block.oldest = Some(*version);
                    }
                    check_unchanged(rig, &buf, index, lba, *version);
                }
            }
            Kind::Read(oldest) => {
                assert!(!refused, "a read of {:?}: {result:?}", out.range);
                let buf = buf.expect("a read's buffer");
                let first = out.range.start;
                for (index, block) in window.blocks[out.range].iter_mut().enumerate() {
                    block.readers -= 1;
                    let (true, true, Some(oldest)) =
                        (result.is_ok(), rig.expect.keeps_data, oldest[index])
                    else {
                        continue;
                    };
                    let lba = window.first.offset((first + index) as u64);
                    check_content(rig, &buf, index, lba, oldest, block.newest);
                }
            }
        }
    }

    /// At the end: every block, one by one.
    fn read_all(&mut self, rig: &mut Rig<'_>) {
        for window in 0..self.windows.len() {
            for index in 0..self.windows[window].blocks.len() {
                let block = self.windows[window].blocks[index];
                let Some(oldest) = block.oldest.filter(|_| rig.expect.keeps_data) else {
                    continue;
                };
                let lba = self.windows[window].lba(index);
                let buf = rig.buf(1).expect("a buffer");
                let (result, buf) = rig.call(Op::Read { lba, buf });
                if result.is_ok() {
                    let buf = buf.expect("a read's buffer");
                    check_content(rig, &buf, 0, lba, oldest, block.newest);
                }
                assert!(!matches!(result, Err(IoError::Misfit(Misfit::OutOfRange))));
            }
        }
    }
}

fn check_unchanged(rig: &Rig<'_>, buf: &IoBuf, index: usize, first: Lba, version: Version) {
    let size = rig.geometry.logical.bytes() as usize;
    let block = &buf[index * size..(index + 1) * size];
    let found = version_of(block, rig.seed, first.offset(index as u64));
    assert_eq!(found, Some(version), "a write's buffer comes back as it went");
}

/// Panics unless block `index` of the buffer is one of these versions of `lba`.
pub(super) fn check_content(
    rig: &Rig<'_>,
    buf: &IoBuf,
    index: usize,
    lba: Lba,
    oldest: Version,
    newest: Version,
) {
    let size = rig.geometry.logical.bytes() as usize;
    let block = &buf[index * size..(index + 1) * size];
    match version_of(block, rig.seed, lba) {
        Some(found) if (oldest..=newest).contains(&found) => {}
        found => panic!(
            "{lba} holds {found:?} where version {oldest} to {newest} was written; it starts \
             with {:02x?}",
            &block[..16]
        ),
    }
}

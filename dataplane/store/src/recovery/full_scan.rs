//! Recovery without a checkpoint: every extent is read, and only what the records say of
//! themselves is trusted.

use isotherm_seam::IoError;

use super::again::read_block;
use super::load::Recent;
use super::recover::{NOWHERE, Parts, RecoveryReport};
use super::scan::{OpenError, ScannedDisk, written_blocks};
use crate::ExtentId;
use crate::extents::Extents;
use crate::layout::{
    Block, Checkpoint, ExtentHead, ExtentRow, Kind, Origin, State as ExtentState, Stream,
};
use crate::store::Options;

impl ScannedDisk {
    pub(super) async fn full_scan(&self, options: &Options) -> Result<Parts, OpenError> {
        let mut report = RecoveryReport { full_scan: true, ..RecoveryReport::default() };
        let cut = self.medium.cut;
        let mut recent = Recent::default();
        let mut rows = Vec::new();
        let mut to_finish = Vec::new();
        let (mut sequence_max, mut incarnation_max) = (0, 1);
        for id in (0..cut.extents).map(ExtentId) {
            let mut row = ExtentRow {
                incarnation: 0,
                written: 0,
                state: ExtentState::Free,
                stream: Stream::Fresh,
                suspect: false,
                newest_s: 0,
                verified_s: 0,
            };
            if cut.meta().contains(&id) {
                row.state = ExtentState::Meta;
                rows.push(row);
                continue;
            }
            let mut limit = cut.extent_blocks;
            if cut.zoned {
                limit = limit.min(written_blocks(&self.world, &self.medium, id).await?);
            }
            let (life, floor) = self.find_life(id, limit).await?;
            incarnation_max = incarnation_max.max(floor);
            if let Some(incarnation) = life {
                row.incarnation = incarnation;
                incarnation_max = incarnation_max.max(incarnation);
                let walked = self.walker(options).walk(id, incarnation, 0..limit, u32::MAX).await?;
                row.state = ExtentState::Sealed;
                row.written = walked.end;
                row.newest_s = walked.newest_s;
                row.stream = walked.stream.unwrap_or(Stream::Fresh);
                row.suspect = walked.unreadable > 0;
                sequence_max = sequence_max.max(walked.sequence_max);
                report.take(&walked);
                recent.take(walked.records);
            } else if limit > 0 && cut.zoned {
                // Written, but nothing of it counts: emptied like any other.
                row.state = ExtentState::Sealed;
            }
            if cut.zoned && limit > 0 && limit < cut.extent_blocks {
                to_finish.push(id);
            }
            rows.push(row);
        }
        let known = self.checkpoints.first().map(|found| &found.checkpoint);
        let next_incarnation =
            known.map_or(0, |checkpoint| checkpoint.next_incarnation).max(incarnation_max + 1);
        let mut extents = Extents::new(&rows, next_incarnation, options.reserve);
        let index = self.load(&[], recent, &rows, &mut extents, &mut report, options).await?;
        let newest = self.checkpoints.first();
        Ok(Parts {
            checkpoint: Checkpoint {
                uuid: self.uuid,
                extent_blocks: cut.extent_blocks,
                payload_max: known.map_or_else(
                    || cut.payload_max(self.medium.io_bytes_max()),
                    |checkpoint| checkpoint.payload_max,
                ),
                number: self.number_max,
                clean: false,
                retired: known.is_some_and(|checkpoint| checkpoint.retired),
                next_sequence: known
                    .map_or(1, |checkpoint| checkpoint.next_sequence)
                    .max(sequence_max + 1),
                next_incarnation,
                written_s: 0,
                formatted_s: known.map_or(0, |checkpoint| checkpoint.formatted_s),
                extents: Vec::new(),
                runs: Vec::new(),
                profile: known.map_or_else(Vec::new, |checkpoint| checkpoint.profile.clone()),
            },
            extents,
            index,
            runs: Vec::new(),
            to_finish,
            to_resume: Vec::new(),
            turn: newest.map_or(1, |found| found.turn),
            place: newest.map_or(NOWHERE, |found| found.blocks.clone()),
            report,
        })
    }

    /// The present life of an extent, by what is in it, and the greatest incarnation seen.
    pub(crate) async fn find_life(
        &self,
        extent: ExtentId,
        limit: u32,
    ) -> Result<(Option<u64>, u64), OpenError> {
        if limit == 0 {
            return Ok((None, 0));
        }
        let last = self.medium.cut.extent_blocks - 1;
        let first = self.head_at(extent, 0).await?;
        let end = if last < limit { self.head_at(extent, last).await? } else { None };
        // The last block is a head only where it says that a life has ended.
        let floor = end.map_or(0, |(incarnation, _)| incarnation);
        match first {
            Some((incarnation, true)) if incarnation > floor => {
                Ok((Some(incarnation), incarnation))
            }
            _ => {
                // The head of a life is damaged, or its write failed and the end of the life
                // before it still stands there: what lies behind it tells.
                let floor = floor.max(first.map_or(0, |(incarnation, _)| incarnation));
                let seen = self.walker(&Options::default()).lives(extent, limit).await?;
                let life = seen.filter(|incarnation| *incarnation > floor);
                Ok((life, seen.unwrap_or(0).max(floor)))
            }
        }
    }

    /// The incarnation of a head there, and whether it begins a life.
    async fn head_at(
        &self,
        extent: ExtentId,
        block: u32,
    ) -> Result<Option<(u64, bool)>, OpenError> {
        let (result, buf) = read_block(&self.world, &self.medium, extent, block).await?;
        match result {
            Ok(()) => {}
            Err(IoError::Media { .. } | IoError::TimedOut | IoError::Zone(_)) => return Ok(None),
            Err(error) => return Err(error.into()),
        }
        let Ok((own, Kind::Head)) = Block::check(&buf) else { return Ok(None) };
        let incarnation = own.origin().incarnation;
        let here = Origin { uuid: self.uuid, extent, block, incarnation };
        if own.check_origin(&here).is_err() {
            return Ok(None);
        }
        Ok(ExtentHead::read(own).ok().map(|head| (incarnation, head.stream.is_some())))
    }
}

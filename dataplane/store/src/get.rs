//! Reads: one read of the disk each, and every byte checked before it is given away.
//!
//! What must always hold: no byte leaves that does not have its checksum, in a record that says
//! that it is this key's, lies here, and belongs to the present life of its extent. What fails
//! is counted and its extent is quarantined: nothing more is appended to it.

use std::rc::Rc;

use isotherm_seam::{IoBuf, IoError};

use crate::api::{Get, GetError, Identity};
use crate::core::{Core, Pin};
use crate::layout::{CRC_BYTES, Kind, Origin, RecordHead, SEGMENT_BYTES, Shape, Tomb, Tombs};
use crate::payload::Shard;
use crate::record::{ReadRecord, sound};
use crate::sched::{Class, QueueError};
use crate::{BLOCK_BYTES, Bug, ExtentId, Key, Place};

/// Where the blocks lie that a read needs. Their extent is not reused while it is held.
pub(crate) struct Span {
    pub(crate) place: Place,
    _pin: Pin,
    /// The first segment of the shard that is read.
    first: u32,
    /// Its blocks within the record.
    pub(crate) from: u32,
    pub(crate) to: u32,
}

/// Why a block could not be read as what it must be.
pub(crate) enum ReadError {
    Io(IoError),
    Buffer(isotherm_seam::PoolExhausted),
    Damaged,
}

impl Core {
    pub(crate) async fn get(self: &Rc<Core>, get: &Get) -> Result<Shard, GetError> {
        self.read_shard(Class::ForegroundRead, get).await
    }

    /// Reads a whole shard for another class of work.
    pub(crate) async fn get_as(
        self: &Rc<Core>,
        class: Class,
        key: &Key,
    ) -> Result<Shard, GetError> {
        self.read_shard(class, &Get { key: *key, range: None, deadline: None }).await
    }

    /// Reads a shard for a class of work.
    pub(crate) async fn read_shard(
        self: &Rc<Core>,
        class: Class,
        get: &Get,
    ) -> Result<Shard, GetError> {
        let span = self.span_of(get).await?;
        let buf = self.span_buffer(&span)?;
        let (extent, block) = (span.place.extent, span.place.block + span.from);
        let read = self.medium.read_by(class, get.deadline, extent, block, buf);
        let (result, buf) = read.await;
        self.check_shard(get, &span, result, buf)
    }

    /// Which blocks of the disk a read needs: from the check block of the first segment to the
    /// last CRC unit's end.
    pub(crate) async fn span_of(self: &Rc<Core>, get: &Get) -> Result<Span, GetError> {
        let place = self.find(&get.key)?;
        let pin = self.pin(place.extent);
        let Some(range) = &get.range else {
            return Ok(Span { place, _pin: pin, first: 0, from: 0, to: u32::from(place.blocks) });
        };
        // An empty range is read as the byte in front of it.
        let start = range.start.min(range.end.saturating_sub(1));
        let first = start / SEGMENT_BYTES as u32;
        let from = Shape { payload_bytes: 0 }.segment_block(first);
        let last = range.end.saturating_sub(1);
        let unit_end = (last as usize / CRC_BYTES + 1) * CRC_BYTES;
        let to = Shape { payload_bytes: unit_end as u32 }.blocks();
        if from >= u32::from(place.blocks) || range.start > range.end {
            let identity = self.stat(&get.key).await?;
            return Err(GetError::OutOfRange { len_bytes: identity.len_bytes });
        }
        Ok(Span { place, _pin: pin, first, from, to: to.min(u32::from(place.blocks)) })
    }

    pub(crate) fn span_buffer(&self, span: &Span) -> Result<IoBuf, GetError> {
        let bytes = (span.to - span.from) as usize * BLOCK_BYTES;
        self.world.pool.alloc(bytes).map_err(GetError::Buffer)
    }

    /// Checks what was read before it is given away.
    pub(crate) fn check_shard(
        self: &Rc<Core>,
        get: &Get,
        span: &Span,
        result: Result<(), QueueError>,
        buf: IoBuf,
    ) -> Result<Shard, GetError> {
        let &Span { place, first, from, .. } = span;
        match result {
            Ok(()) => {}
            Err(QueueError::Io(error)) => {
                self.suspect(place.extent);
                return Err(GetError::Io(error));
            }
            Err(QueueError::Busy { expected }) => return Err(GetError::Busy { expected }),
            Err(QueueError::Late { .. }) => return Err(GetError::Late),
        }
        let origin = self.origin(place.extent, place.block + from);
        let any_life = self.has(Bug::StaleIncarnation);
        let Ok(record) = ReadRecord::new(&buf, &origin, Kind::Data, first, any_life) else {
            self.suspect(place.extent);
            return Err(self.damaged_at(&place));
        };
        if record.head.key != get.key {
            // Another key with the same fingerprint; where the index has whole keys, damage.
            let is_certain = self.state.borrow().index.is_known_at(&get.key, place);
            return Err(if is_certain { self.damaged_at(&place) } else { GetError::NotFound });
        }
        let shape = record.shape;
        let range = match get.range.clone() {
            None => 0..shape.payload_bytes,
            Some(range) if range.end <= shape.payload_bytes => range,
            Some(_) => return Err(GetError::OutOfRange { len_bytes: shape.payload_bytes }),
        };
        let is_checked = get.range.is_some() && self.has(Bug::RangeUnchecked)
            || shape.blocks() == u32::from(place.blocks) && record.check(&range).is_ok();
        if !is_checked {
            self.suspect(place.extent);
            return Err(self.damaged_at(&place));
        }
        let identity = identity(&record.head, shape, record.sequence);
        self.count(|counters| counters.gets += 1);
        Ok(Shard { buf, identity, shape, first, range })
    }

    /// Where a shard lies, unless another key has the same fingerprint: the record tells.
    fn find(&self, key: &Key) -> Result<Place, GetError> {
        match self.state.borrow().index.place_of(key) {
            None => Err(GetError::NotFound),
            Some(place) if place.dead => Err(GetError::Deleted),
            Some(place) => Ok(place),
        }
    }

    pub(crate) async fn stat(self: &Rc<Core>, key: &Key) -> Result<Identity, GetError> {
        let place = self.find(key)?;
        match self.read_head(key, &place).await {
            Ok(Some((head, (shape, sequence)))) => Ok(identity(&head, shape, sequence)),
            Ok(None) if !self.state.borrow().index.is_known_at(key, place) => {
                Err(GetError::NotFound)
            }
            Err(ReadError::Io(error)) => Err(GetError::Io(error)),
            Err(ReadError::Buffer(why)) => Err(GetError::Buffer(why)),
            Ok(None) | Err(ReadError::Damaged) => Err(self.damaged_at(&place)),
        }
    }

    /// The head of a record; `None` if it is another key's.
    pub(crate) async fn read_head(
        self: &Rc<Core>,
        key: &Key,
        place: &Place,
    ) -> Result<Option<(RecordHead, (Shape, u64))>, ReadError> {
        let buf = self.read_block(place.extent, place.block).await?;
        let origin = self.origin(place.extent, place.block);
        match ReadRecord::new(&buf, &origin, Kind::Data, 0, self.has(Bug::StaleIncarnation)) {
            Ok(ReadRecord { head, shape, sequence, .. }) => {
                Ok((head.key == *key).then_some((head, (shape, sequence))))
            }
            Err(_) => {
                self.suspect(place.extent);
                Err(ReadError::Damaged)
            }
        }
    }

    /// The tombstone of a key; `None` if there are only those of others.
    pub(crate) async fn read_tomb(
        self: &Rc<Core>,
        key: &Key,
        place: &Place,
    ) -> Result<Option<Tomb>, ReadError> {
        let buf = self.read_block(place.extent, place.block).await?;
        let origin = self.origin(place.extent, place.block);
        let tomb = sound(&buf, &origin, Kind::Tombs, self.has(Bug::StaleIncarnation))
            .and_then(|block| Ok(Tombs::read(block)?.find(|tomb| tomb.key == *key)));
        tomb.map_err(|_| {
            self.suspect(place.extent);
            ReadError::Damaged
        })
    }

    async fn read_block(
        self: &Rc<Core>,
        extent: ExtentId,
        block: u32,
    ) -> Result<isotherm_seam::IoBuf, ReadError> {
        let _pin = self.pin(extent);
        let buf = self.world.pool.alloc(BLOCK_BYTES).map_err(ReadError::Buffer)?;
        let (result, buf) = self.medium.read(extent, block, buf).await;
        if let Err(error) = result {
            self.suspect(extent);
            return Err(ReadError::Io(error));
        }
        Ok(buf)
    }

    /// What a block there must say of itself.
    pub(crate) fn origin(&self, extent: ExtentId, block: u32) -> Origin {
        let state = self.state.borrow();
        let incarnation = state.extents.row(extent).incarnation;
        Origin { uuid: self.uuid, extent, block, incarnation }
    }

    /// What is there is not what was written.
    pub(crate) fn damaged_at(&self, place: &Place) -> GetError {
        let lba = self.medium.lba(place.extent, place.block);
        GetError::Damaged { extent: place.extent, lba }
    }

    /// A read of this extent failed: nothing more is appended to it.
    pub(crate) fn suspect(&self, extent: ExtentId) {
        self.count(|counters| counters.damaged += 1);
        let state = &mut *self.state.borrow_mut();
        state.extents.row_mut(extent).suspect = true;
        state.lanes.close_extent(extent, &mut state.extents);
    }
}

fn identity(head: &RecordHead, shape: Shape, sequence: u64) -> Identity {
    Identity {
        key: head.key,
        epoch: head.epoch,
        codec: head.codec,
        len_bytes: shape.payload_bytes,
        sequence,
        put_s: head.put_s,
    }
}

//! One disk, or one file, of a lane: where its next request goes and how long it is.

use isotherm_seam::{BlockDevice, BlockSize, Lba, Mono};
use isotherm_workload::{Addresses, Direction, FastRng, SizeLaw};

use super::LaneOrder;
use crate::Tally;

const SIZES: isotherm_seam::Domain = isotherm_seam::Domain::new("load.sizes");

/// One disk of a lane.
pub(crate) struct LaneDisk {
    pub(crate) device: Box<dyn BlockDevice>,
    /// What this lane could not have of it, one sentence each.
    pub(crate) notes: Vec<String>,
    pub(super) addresses: Addresses,
    /// Where writes go, if their units are not those of the reads.
    of_writes: Option<Box<Addresses>>,
    pub(super) block: BlockSize,
    pub(crate) tallies: [Tally; Direction::ALL.len()],
    /// By slot, the first block of a write in flight and the one behind its last. Empty where the
    /// lane never writes.
    pub(super) writing: Box<[(u64, u64)]>,
    /// Decided and not yet sent: it overlaps a write in flight, or the device was full.
    pub(super) held: Option<Next>,
    /// How long its region is, and how much of it this turn of the file has had.
    region_bytes: u64,
    turn_bytes: u64,
    lengths: FastRng,
}

/// Behind every block of a device.
pub(super) const NOT_WRITING: (u64, u64) = (u64::MAX, 0);

/// The next request.
#[derive(Clone, Copy, Debug)]
pub(super) struct Next {
    pub(super) direction: Direction,
    pub(super) lba: Lba,
    pub(super) bytes: u32,
    /// When it was to be sent; for a closed loop, when it is.
    pub(super) intended: Mono,
}

impl LaneDisk {
    /// `region_bytes` is what one pass over its region carries.
    pub(crate) fn new(
        device: Box<dyn BlockDevice>,
        addresses: Addresses,
        of_writes: Option<Addresses>,
        region_bytes: u64,
        order: &LaneOrder,
    ) -> LaneDisk {
        LaneDisk {
            block: device.geometry().logical,
            device,
            notes: Vec::new(),
            addresses,
            of_writes: of_writes.map(Box::new),
            tallies: order.opens().map(|open| Tally::new(open, false)),
            writing: vec![NOT_WRITING; if order.writes() { order.depth as usize } else { 0 }]
                .into(),
            held: None,
            region_bytes,
            turn_bytes: 0,
            lengths: FastRng::new(order.seed, SIZES, 0),
        }
    }

    /// Whether a write of these blocks would overlap one in flight.
    #[inline]
    pub(super) fn overlaps(&self, first: u64, end: u64) -> bool {
        self.writing.iter().any(|&(other, other_end)| other < end && first < other_end)
    }

    /// Where the next request in this direction goes, and how long it is.
    #[inline]
    pub(super) fn draw(&mut self, direction: Direction, order: &LaneOrder) -> (Lba, u32) {
        let addresses = match (&mut self.of_writes, direction) {
            (Some(writes), Direction::Write) => writes.as_mut(),
            _ => &mut self.addresses,
        };
        let lba = addresses.next(direction);
        let law = &order.sizes[direction.index()];
        if let SizeLaw::Fixed(bytes) = law {
            return (lba, *bytes as u32);
        }
        let room = self.block.byte_offset(Lba(addresses.room(lba)));
        let bytes = law.draw(&mut self.lengths, room);
        addresses.lengthen(direction, (bytes - law.min()) >> self.block.shift());
        (lba, bytes as u32)
    }

    /// Counts what this turn of the file has had; tells whether it was gone through.
    pub(super) fn gone_through(&mut self, bytes: u32) -> bool {
        self.turn_bytes += u64::from(bytes);
        let through = self.turn_bytes >= self.region_bytes;
        if through {
            self.turn_bytes = 0;
        }
        through
    }
}

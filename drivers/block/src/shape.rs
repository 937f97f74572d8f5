//! The shape of a device that has no hardware: what `null` and `memory` are told to look like.

use isotherm_seam::{BlockSize, Geometry, IoError, Op, OpenCause, OpenOptions};

use crate::spec::{ArgError, Args, OptionHelp, parse_block_size, parse_bytes};

/// Size and units of a made-up device. Public fields: there is nothing to protect until
/// [`Shape::geometry`] checks them.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Shape {
    /// Size in bytes; rounded down to whole logical blocks.
    pub capacity_bytes: u64,
    /// The unit of addresses and lengths.
    pub logical: BlockSize,
    /// The unit that survives a crash as a whole; raised to `logical` where it is below.
    pub physical: BlockSize,
    /// Requests it takes before it hands one back; at least 1.
    pub depth: u32,
    /// Whether it may be written.
    pub write: bool,
}

/// The options of a kind that has a shape.
pub(crate) const SHAPE_OPTIONS: &[OptionHelp] = &[
    OptionHelp { name: "block", value: "512", meaning: "logical block size, in bytes" },
    OptionHelp {
        name: "physical",
        value: "4K",
        meaning: "physical block size: what survives a crash as a whole",
    },
];

/// Longest transfer of a device without hardware: as long as a buffer can be.
const IO_BYTES_MAX: u32 = 1 << 30;

impl Shape {
    /// A writable device of `capacity_bytes`, 512-byte blocks on 4 KiB sectors (as almost all
    /// disks are), 128 deep.
    pub const fn new(capacity_bytes: u64) -> Shape {
        Shape {
            capacity_bytes,
            logical: BlockSize::B512,
            physical: BlockSize::B4096,
            depth: 128,
            write: true,
        }
    }

    /// The same, taking `depth` requests at a time.
    #[must_use]
    pub const fn with_depth(mut self, depth: u32) -> Shape {
        self.depth = depth;
        self
    }

    /// Reads `1G?block=4K:physical=4K`.
    pub(crate) fn parse(args: &Args<'_>) -> Result<Shape, ArgError> {
        const BLOCK: &str = "a power of two from 512 on, such as 4K";
        let bytes =
            args.required("a size such as 1G", |text| parse_bytes(text).filter(|b| *b > 0))?;
        let mut shape = Shape::new(bytes);
        if let Some(logical) = args.option("block", BLOCK, parse_block_size)? {
            shape.logical = logical;
        }
        if let Some(physical) = args.option("physical", BLOCK, parse_block_size)? {
            shape.physical = physical;
        }
        Ok(shape)
    }

    /// As it is to be opened; `TooSmall` where it does not hold one block.
    pub(crate) fn opened(mut self, options: &OpenOptions) -> Result<Shape, OpenCause> {
        self.depth = options.depth;
        self.write = options.write;
        let needed_bytes = options.create_bytes.unwrap_or(0).max(self.logical.bytes().into());
        if self.capacity_bytes < needed_bytes {
            return Err(OpenCause::TooSmall { bytes: self.capacity_bytes, needed_bytes });
        }
        Ok(self)
    }

    /// As the seam wants it. A completed write is as durable as the process is, so there is no
    /// volatile cache.
    pub fn geometry(&self) -> Geometry {
        Geometry {
            logical: self.logical,
            physical: self.physical.max(self.logical),
            blocks: self.capacity_bytes >> self.logical.shift(),
            io_bytes_max: IO_BYTES_MAX,
            buf_align: 1,
            depth_max: self.depth.max(1),
            volatile_cache: false,
            discard: true,
            zones: None,
        }
    }
}

/// Whether `geometry` allows `op`, and `write` the change that it makes.
#[inline]
pub(crate) fn admit(geometry: &Geometry, write: bool, op: &Op) -> Result<(), IoError> {
    geometry.check(op)?;
    match op {
        Op::Write { .. } | Op::Discard { .. } if !write => Err(IoError::ReadOnly),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use isotherm_seam::Lba;

    #[test]
    fn a_shape_holds_whole_blocks_only() {
        let geometry = Shape::new(10_000).geometry();
        assert_eq!((geometry.blocks, geometry.capacity_bytes()), (19, 9_728));
    }

    #[test]
    fn the_physical_block_is_never_below_the_logical() {
        let shape = Shape { logical: BlockSize::B4096, physical: BlockSize::B512, ..Shape::new(0) };
        assert_eq!(shape.geometry().physical, BlockSize::B4096);
    }

    #[test]
    fn a_read_only_shape_admits_no_change() {
        let geometry = Shape::new(4096).geometry();
        let discard = Op::Discard { lba: Lba(0), blocks: 1 };
        assert_eq!(admit(&geometry, true, &discard), Ok(()));
        assert_eq!(admit(&geometry, false, &discard), Err(IoError::ReadOnly));
        assert_eq!(admit(&geometry, false, &Op::Flush), Ok(()));
    }
}

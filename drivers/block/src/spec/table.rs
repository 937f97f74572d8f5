//! Every kind of layer and leaf, one line each. A new driver is one file and one line here; the
//! conformance test takes its list from these tables too.

use std::sync::Arc;

use isotherm_seam::{BlockDevice, OpenCause, OpenOptions, Unpark};

use super::args::{ArgError, Args, OptionHelp};
use crate::{delay, fault, file, hdd, memory, null, zoned};

/// A driver that stands over another.
pub struct LayerKind {
    /// As in a spec.
    pub name: &'static str,
    /// What it does, one line.
    pub summary: &'static str,
    /// What stands right behind its name, and its options.
    pub options: &'static [OptionHelp],
    /// A whole spec that uses it.
    pub example: &'static str,
    /// Reads its arguments.
    pub(crate) parse: fn(&Args<'_>) -> Result<Wrap, ArgError>,
}

/// A driver at the bottom.
pub struct LeafKind {
    /// As in a spec.
    pub name: &'static str,
    /// What it does, one line.
    pub summary: &'static str,
    /// Its options, behind the `?`.
    pub options: &'static [OptionHelp],
    /// A whole spec that uses it.
    pub example: &'static str,
    /// Whether its value is a path.
    pub(crate) path: bool,
    /// Reads its arguments; `None` for a leaf that the caller of `open` offers.
    pub(crate) parse: Option<ParseLeaf>,
}

/// Puts a layer over a device, with a seed of its own.
pub(crate) type Wrap =
    Arc<dyn Fn(Box<dyn BlockDevice>, u64) -> Result<Box<dyn BlockDevice>, OpenCause> + Send + Sync>;

/// Reads the arguments of a leaf.
pub(crate) type ParseLeaf = fn(&Args<'_>) -> Result<OpenLeaf, ArgError>;

/// Opens a leaf.
pub(crate) type OpenLeaf = Arc<
    dyn Fn(&OpenOptions, &Arc<dyn Unpark>) -> Result<Box<dyn BlockDevice>, OpenCause> + Send + Sync,
>;

/// All layers.
pub const LAYERS: &[LayerKind] = &[hdd::KIND, delay::KIND, fault::KIND, zoned::KIND];

/// All leaves.
pub const LEAVES: &[LeafKind] = &[null::KIND, memory::KIND, file::KIND, URING];

/// The driver itself is a crate of its own, and is offered by whoever has a ring.
const URING: LeafKind = LeafKind {
    name: "uring",
    summary: "a file or block device by the core's io_uring",
    options: PATH_OPTIONS,
    example: "uring:/dev/sdb",
    path: true,
    parse: None,
};

/// What every leaf with a path takes.
pub(crate) const PATH_OPTIONS: &[OptionHelp] = &[SIZE, DIRECT];

pub(crate) const SIZE: OptionHelp = OptionHelp {
    name: "size",
    value: "1G",
    meaning: "a regular file is created sparse, or extended, to this size",
};

pub(crate) const DIRECT: OptionHelp = OptionHelp {
    name: "direct",
    value: "yes|no",
    meaning: "bypass the page cache; the caller's choice where absent",
};

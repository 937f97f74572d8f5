//! A disk in virtual time, with a contract that it uses to the last letter.
//!
//! What must always hold: whatever the contract of [`BlockDevice`] leaves open is decided by the
//! seed, and as badly as it allows: completions come out of order, a read over a write in flight
//! mixes old and new blocks, a power cut keeps any part of what was not flushed. What the
//! contract forbids the caller (two writes in flight over one block) is a bug and panics.
//!
//! A [`SimDisk`] is one power-up: what the core holds. [`DiskControl`] is the world's hand on the
//! same disk: it cuts the power, opens it again, injects faults and knows the truth.

use std::cell::RefCell;
use std::ops::Range;
use std::rc::Rc;

use isotherm_seam::{
    BlockDevice, BlockSize, Completion, DeviceInfo, DiskId, Due, Geometry, IoError, Lba, Mono,
    Request,
};

use crate::drive::Drive;
use crate::{
    Blank, CrashReport, CrashStyle, Fault, FaultPlan, FaultRates, FaultRecord, Harm, Image,
    Latency, Slow, Trace, Unsettled,
};

/// How a simulated disk is made.
#[derive(Clone, Debug)]
pub struct SimDiskConfig {
    /// The seed of the run.
    pub seed: u64,
    /// Which disk of the run: part of the key of each of its draws.
    pub disk: DiskId,
    /// Size, units and limits. With zones a logical block is a physical one, and discards do
    /// nothing.
    pub geometry: Geometry,
    /// How it reads where nothing was written.
    pub blank: Blank,
    /// How long requests take.
    pub latency: Latency,
    /// What goes wrong.
    pub faults: FaultPlan,
    /// The probability that a sector that a power cut decides on ends unreadable, where the
    /// style leaves that to chance.
    pub unreadable_p: f64,
    /// Sector versions its volatile cache holds before it writes out the oldest unasked.
    pub cache_versions_max: usize,
    /// Records every completion.
    pub trace: Option<Trace>,
}

impl SimDiskConfig {
    /// A disk without faults: 4 KiB blocks, 32 deep, requests up to 1 MiB, a volatile cache,
    /// noise where nothing was written.
    #[must_use]
    pub fn new(seed: u64, disk: DiskId, blocks: u64) -> SimDiskConfig {
        SimDiskConfig {
            seed,
            disk,
            geometry: Geometry {
                logical: BlockSize::B4096,
                physical: BlockSize::B4096,
                blocks,
                io_bytes_max: 1 << 20,
                buf_align: 512,
                depth_max: 32,
                volatile_cache: true,
                discard: true,
                zones: None,
            },
            blank: Blank::Noise(seed),
            latency: Latency::default(),
            faults: FaultPlan::default(),
            unreadable_p: 0.05,
            cache_versions_max: 1 << 16,
            trace: None,
        }
    }
}

/// A simulated disk as its core holds it, from one power-up to the next power cut.
pub struct SimDisk {
    shared: Rc<Shared>,
    session: u64,
}

/// The world's hand on a simulated disk. Clones are handles to the same disk.
#[derive(Clone)]
pub struct DiskControl {
    shared: Rc<Shared>,
}

struct Shared {
    geometry: Geometry,
    disk: DiskId,
    drive: RefCell<Drive>,
}

impl SimDisk {
    /// A new disk, powered up.
    ///
    /// Panics on a geometry that no disk has: that is a bug.
    #[must_use]
    pub fn new(config: SimDiskConfig) -> SimDisk {
        let geometry = &config.geometry;
        let image = Image::new(geometry.physical, config.blank, geometry.zones);
        SimDisk::with_image(config, image)
    }

    /// A disk that holds this image, powered up: one that another disk or a [`crate::Recorder`]
    /// left behind.
    ///
    /// Panics on a geometry that no disk has, or an image of another geometry: that is a bug.
    #[must_use]
    pub fn with_image(config: SimDiskConfig, image: Image) -> SimDisk {
        let geometry = config.geometry.clone();
        let per_sector = u64::from(geometry.physical.bytes() / geometry.logical.bytes());
        assert!(geometry.physical >= geometry.logical, "a sector holds whole blocks");
        assert!(geometry.blocks.is_multiple_of(per_sector), "a disk is made of whole sectors");
        assert!(geometry.depth_max > 0 && geometry.io_bytes_max > 0, "it takes something");
        assert_eq!(geometry.physical, image.physical(), "the image is of such a disk");
        assert_eq!(geometry.zones.as_ref(), image.zones(), "the image is of such a disk");
        if let Some(zones) = &geometry.zones {
            assert!(per_sector == 1 && !geometry.discard, "as documented");
            assert!(zones.capacity_blocks <= zones.zone_blocks, "a zone holds its capacity");
            assert_eq!(u64::from(zones.zones) * zones.zone_blocks, geometry.blocks, "all zones");
        }
        let disk = config.disk;
        let drive = RefCell::new(Drive::new(config, image));
        let control = DiskControl { shared: Rc::new(Shared { geometry, disk, drive }) };
        control.open()
    }

    /// The world's hand on it.
    #[must_use]
    pub fn control(&self) -> DiskControl {
        DiskControl { shared: Rc::clone(&self.shared) }
    }
}

impl BlockDevice for SimDisk {
    fn geometry(&self) -> &Geometry {
        &self.shared.geometry
    }

    fn info(&self) -> DeviceInfo {
        DeviceInfo {
            name: format!("sim{}", self.shared.disk.0),
            driver: "sim".into(),
            path: None,
            direct: None,
            notes: Vec::new(),
        }
    }

    fn submit(&mut self, now: Mono, request: Request) -> Result<(), Request> {
        self.shared.drive.borrow_mut().submit(self.session, now, request)
    }

    fn poll(&mut self, now: Mono, done: &mut Vec<Completion>) -> usize {
        self.shared.drive.borrow_mut().poll(self.session, now, done)
    }

    fn due(&self) -> Due {
        self.shared.drive.borrow().due(self.session)
    }

    fn inflight(&self) -> usize {
        self.shared.drive.borrow().inflight(self.session)
    }
}

impl Drop for SimDisk {
    /// Closing a disk waits for what is in flight; nobody sees the answers.
    fn drop(&mut self) {
        self.shared.drive.borrow_mut().close(self.session);
    }
}

impl DiskControl {
    /// Opens the disk anew, as after a start of its node. An older [`SimDisk`] of it answers
    /// [`IoError::Gone`] from now on.
    #[must_use]
    pub fn open(&self) -> SimDisk {
        let session = self.shared.drive.borrow_mut().open();
        SimDisk { shared: Rc::clone(&self.shared), session }
    }

    /// Cuts the power of the disk and of its node: what is in flight is never answered, and its
    /// buffers go back to their pool. The disk can be opened again at once.
    pub fn crash(&self, style: CrashStyle) -> CrashReport {
        self.shared.drive.borrow_mut().crash(style)
    }

    /// Everything that a power cut now might decide.
    #[must_use]
    pub fn unsettled(&self) -> Unsettled {
        self.shared.drive.borrow().unsettled()
    }

    /// What is durable now.
    #[must_use]
    pub fn image(&self) -> Image {
        self.shared.drive.borrow().image().clone()
    }

    /// Replaces all content, as when another disk is put in its place. Only while it is closed
    /// or gone: panics otherwise.
    pub fn replace(&self, image: Image) {
        self.shared.drive.borrow_mut().replace(image);
    }

    /// Makes something happen to it now.
    pub fn inject(&self, now: Mono, fault: Fault) {
        self.shared.drive.borrow_mut().inject(now, &fault);
    }

    /// Changes what goes wrong by chance, from the next request on.
    pub fn set_rates(&self, rates: FaultRates) {
        self.shared.drive.borrow_mut().set_rates(rates);
    }

    /// Makes it slower for requests of some time and place, besides what is planned already.
    pub fn slow_down(&self, slow: Slow) {
        self.shared.drive.borrow_mut().slow_down(slow);
    }

    /// Whether it answers at all.
    #[must_use]
    pub fn is_present(&self) -> bool {
        self.shared.drive.borrow().is_present()
    }

    /// The content of blocks as a read would see it now, past all faults to come. `Media` where
    /// a sector can't be read.
    pub fn peek(&self, lba: Lba, out: &mut [u8]) -> Result<(), IoError> {
        self.shared.drive.borrow().peek(lba, out)
    }

    /// The sectors among these blocks that differ from what the owner of the disk was told, by
    /// the first block of each, until they are rewritten. A power cut may have put one right.
    /// What a lying flush lost is not known here.
    #[must_use]
    pub fn harm(&self, blocks: Range<Lba>) -> Vec<(Lba, Harm)> {
        self.shared.drive.borrow().harm(blocks)
    }

    /// The faults injected so far, oldest first, of the last 65,536.
    #[must_use]
    pub fn faults(&self) -> Vec<FaultRecord> {
        self.shared.drive.borrow().faults()
    }

    /// How many faults were injected so far.
    #[must_use]
    pub fn faults_total(&self) -> u64 {
        self.shared.drive.borrow().faults_total()
    }
}

//! The ground that a run stands on: where its disks are, by what they are driven, what time.
//!
//! What must always hold: nothing is left behind. The files are unlinked as soon as all are
//! open, before any load: from then on the kernel frees them with the process, however it ends;
//! until then the folder goes with its handle. What was wanted and could not be had is said.

use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use isotherm_block::{OpenContext, Spec};
use isotherm_heat::PeerGroup;
use isotherm_host::{HostClock, ThreadPark};
use isotherm_seam::{
    BlockDevice, BlockSize, BufPool, Clock, Domain, Leaf, OpenCause, OpenError, OpenOptions, Park,
    PoolExhausted, PoolLayout, RegionError, Unpark, Wall, draw,
};
use isotherm_sim::{SimClock, SimPark};
use isotherm_uring::{Ring, RingConfig};
use nix::sys::statvfs::statvfs;

use crate::load::{LoadConfig, Measured, Subject, run};
use crate::plan::Plan;
use crate::progress::Progress;

/// Chance inside the drivers of one disk: spindle phase, retries.
const DEVICE: Domain = Domain::new("fleet.device");

/// What each disk holds. The model scales its 24 TB to it; the files are sparse, and reads of
/// them store nothing.
const FILE_BYTES: u64 = 1 << 30;
/// In virtual time the disks are in memory, which is only touched where it is read.
const MEMORY_BYTES: u64 = 256 << 20;
/// What the folder and the tables of a dozen sparse files may take on any filesystem.
const SPACE_BYTES_MIN: u64 = 16 << 20;

/// Reads in flight over all disks, with room to spare.
const RING_ENTRIES: u32 = 4_096;

/// Which time it runs in.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum TimeKind {
    /// Real time, over files.
    Wall,
    /// Virtual time, over memory: the same code, as fast as it goes.
    Virtual,
}

/// Why there is no ground to stand on. Nothing was left behind.
#[derive(Debug, thiserror::Error)]
pub enum RigError {
    /// The folder for the files can't be used.
    #[error("{}: {error}: choose another folder with --dir", folder.display())]
    Folder {
        /// Which.
        folder: PathBuf,
        /// What the system said.
        error: io::Error,
    },
    /// Too little space there.
    #[error(
        "{}: {free_bytes} bytes free where {needed_bytes} are needed: choose another folder \
         with --dir", folder.display()
    )]
    Space {
        /// Which folder.
        folder: PathBuf,
        /// What is free.
        free_bytes: u64,
        /// What is needed.
        needed_bytes: u64,
    },
    /// A disk can't be opened.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// No memory for buffers.
    #[error("no memory for I/O buffers: {0}")]
    Memory(#[from] RegionError),
    /// Fewer buffers than reads in flight: a bug of the rig.
    #[error(transparent)]
    Pool(#[from] PoolExhausted),
}

/// Opened disks and what drives them.
pub struct Rig {
    subjects: Vec<Subject>,
    pool: BufPool,
    ground: Ground,
    place: Place,
}

enum Ground {
    Ring(HostClock, Ring),
    Threads(HostClock, ThreadPark),
    Virtual(SimClock, SimPark),
}

/// Where the disks are, for people and for the document.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Place {
    /// Which time.
    pub time: TimeKind,
    /// One sentence: where the disks are and what they take.
    pub sentence: String,
    /// The drivers that ran, from the top, each once.
    pub drivers: Vec<String>,
    /// What could not be had, one sentence each, each once.
    pub notes: Vec<String>,
}

impl Rig {
    /// Opens the disks of a plan in real time, over sparse files in a folder of their own
    /// below `parent`: by io_uring where it can be had, otherwise by pread on threads.
    pub fn on_files(plan: &Plan, load: &LoadConfig, parent: &Path) -> Result<Rig, RigError> {
        let pool = pool(plan, load)?;
        let mut notes = Vec::new();
        let mut ring = match Ring::new(&RingConfig { entries: RING_ENTRIES, pool: pool.clone() }) {
            Ok(ring) => Some(ring),
            Err(OpenError { cause, .. }) => {
                let why = match cause {
                    OpenCause::UringRefused { errno } => {
                        io::Error::from_raw_os_error(errno).to_string()
                    }
                    other => other.to_string(),
                };
                notes.push(format!(
                    "io_uring is refused here ({why}): the file driver ran, pread on threads"
                ));
                None
            }
        };
        notes.extend(ring.iter().flat_map(|ring| ring.notes().iter().cloned()));
        let threads = ThreadPark::new();
        let unparker = ring.as_ref().map_or_else(|| threads.unparker(), Park::unparker);

        let folder = Folder::new(parent, plan.disks.len() as u64)?;
        let mut leaf = ring.clone();
        let driver = if ring.is_some() { "uring" } else { "file" };
        let subjects = open_all(plan, load, &unparker, FILE_BYTES, leaf.as_mut(), |disk| {
            // The last `?` of a spec starts its options, so one of the path's own needs another.
            let path = folder.create(disk)?.display().to_string();
            Ok(format!("{driver}:{path}{}", if path.contains('?') { "?" } else { "" }))
        })?;
        let sentence = folder.unlink()?;
        let clock = HostClock::new();
        let ground = match ring.take() {
            Some(ring) => Ground::Ring(clock, ring),
            None => Ground::Threads(clock, threads),
        };
        let place = Place::of(TimeKind::Wall, sentence, notes, &subjects);
        Ok(Rig { subjects, pool, ground, place })
    }

    /// Opens the disks of a plan in virtual time, over memory.
    pub fn in_memory(plan: &Plan, load: &LoadConfig) -> Result<Rig, RigError> {
        let pool = pool(plan, load)?;
        let clock = SimClock::new();
        let park = SimPark::new(clock.clone());
        let unparker = park.unparker();
        let subjects = open_all(plan, load, &unparker, MEMORY_BYTES, None, |_| {
            Ok(format!("memory:{MEMORY_BYTES}"))
        })?;
        let sentence = format!("{} disks in memory, in virtual time", subjects.len());
        let place = Place::of(TimeKind::Virtual, sentence, Vec::new(), &subjects);
        Ok(Rig { subjects, pool, ground: Ground::Virtual(clock, park), place })
    }

    /// Where the disks are.
    pub fn place(&self) -> &Place {
        &self.place
    }

    /// The calendar's time; in virtual time a fixed day of 2001.
    pub fn wall(&self) -> Wall {
        match &self.ground {
            Ground::Ring(clock, _) | Ground::Threads(clock, _) => clock.wall(),
            Ground::Virtual(clock, _) => clock.wall(),
        }
    }

    /// Puts the load on, until it has lasted or `stop` is set.
    pub fn run(
        self,
        load: &LoadConfig,
        stop: &AtomicBool,
        look: &mut dyn FnMut(&Progress),
    ) -> Result<Measured, RigError> {
        let Rig { subjects, pool, ground, .. } = self;
        let measured = match ground {
            Ground::Ring(clock, mut park) => {
                run(&clock, &mut park, subjects, &pool, load, stop, look)
            }
            Ground::Threads(clock, mut park) => {
                run(&clock, &mut park, subjects, &pool, load, stop, look)
            }
            Ground::Virtual(clock, mut park) => {
                run(&clock, &mut park, subjects, &pool, load, stop, look)
            }
        };
        Ok(measured?)
    }
}

impl Place {
    fn of(time: TimeKind, sentence: String, mut notes: Vec<String>, subjects: &[Subject]) -> Place {
        let mut drivers = Vec::new();
        for info in subjects.iter().map(|subject| subject.device.info()) {
            // Planted layers would give the sick disks away: the bottom is what matters.
            let bottom = info.driver.rsplit(" > ").next().unwrap_or(&info.driver).to_owned();
            drivers.push(format!("hdd:exos-x24 > {bottom}"));
            notes.extend(info.notes);
        }
        for list in [&mut drivers, &mut notes] {
            let mut seen = std::collections::BTreeSet::new();
            list.retain(|line| seen.insert(line.clone()));
        }
        Place { time, sentence, drivers, notes }
    }
}

fn pool(plan: &Plan, load: &LoadConfig) -> Result<BufPool, RegionError> {
    BufPool::new(&PoolLayout::uniform(load.read_bytes, load.depth * plan.disks.len() as u32))
}

fn open_all(
    plan: &Plan,
    load: &LoadConfig,
    unparker: &Arc<dyn Unpark>,
    bytes: u64,
    mut ring: Option<&mut Ring>,
    leaf: impl Fn(u32) -> Result<String, RigError>,
) -> Result<Vec<Subject>, RigError> {
    let options =
        OpenOptions { write: false, direct: true, create_bytes: Some(bytes), depth: load.depth };
    let mut open = |spec: &str, seed: u64| -> Result<Box<dyn BlockDevice>, OpenError> {
        let unparker = Arc::clone(unparker);
        let mut leaves: Vec<&mut dyn Leaf> = Vec::new();
        if let Some(ring) = ring.as_deref_mut() {
            leaves.push(ring);
        }
        Spec::parse(spec)?.open(OpenContext { options, unparker, seed, leaves: &mut leaves })
    };
    let mut subjects = Vec::with_capacity(plan.disks.len());
    for disk in &plan.disks {
        let leaf = leaf(disk.disk.0)?;
        // The block size is the filesystem's to say, and the plan's places are in blocks.
        let block: BlockSize = open(&leaf, 0)?.geometry().logical;
        let seed = draw(plan.config.seed, DEVICE, u64::from(disk.disk.0), 0);
        let device = open(&disk.spec(&leaf, bytes, block), seed)?;
        subjects.push(Subject { device, peers: PeerGroup(0) });
    }
    Ok(subjects)
}

/// A folder of sparse files that goes with its handle.
struct Folder {
    folder: tempfile::TempDir,
    parent: PathBuf,
    files: u64,
    free_bytes: u64,
}

impl Folder {
    fn new(parent: &Path, files: u64) -> Result<Folder, RigError> {
        let fail = |error| RigError::Folder { folder: parent.to_owned(), error };
        let stat = statvfs(parent).map_err(|errno| fail(errno.into()))?;
        let free_bytes = stat.blocks_available().saturating_mul(stat.fragment_size());
        let space = |needed_bytes| {
            let folder = parent.to_owned();
            if free_bytes >= needed_bytes {
                Ok(())
            } else {
                Err(RigError::Space { folder, free_bytes, needed_bytes })
            }
        };
        space(SPACE_BYTES_MIN)?;
        let folder = tempfile::Builder::new().prefix("isotherm-fleet-").tempdir_in(parent);
        let folder = folder.map_err(fail)?;
        // Not every filesystem knows sparse files: try one.
        let probe = folder.path().join("probe");
        let file = std::fs::File::create_new(&probe).map_err(fail)?;
        file.set_len(SPACE_BYTES_MIN / 2).map_err(fail)?;
        let taken_bytes = file.metadata().map_err(fail)?.blocks() * 512;
        std::fs::remove_file(&probe).map_err(fail)?;
        if taken_bytes > SPACE_BYTES_MIN / 4 {
            space(files * FILE_BYTES + SPACE_BYTES_MIN)?;
        }
        Ok(Folder { folder, parent: parent.to_owned(), files, free_bytes })
    }

    /// Makes the file of one disk.
    fn create(&self, disk: u32) -> Result<PathBuf, RigError> {
        let path = self.folder.path().join(format!("disk-{disk:02}.img"));
        let made = std::fs::File::create_new(&path).and_then(|file| file.set_len(FILE_BYTES));
        let fail = |error| RigError::Folder { folder: self.parent.clone(), error };
        made.map_err(fail)?;
        Ok(path)
    }

    /// Removes folder and files; who has them open keeps them. Says where they were.
    fn unlink(self) -> Result<String, RigError> {
        let parent = self.parent;
        self.folder.close().map_err(|error| RigError::Folder { folder: parent.clone(), error })?;
        Ok(format!(
            "{} sparse files of {} GiB below {}, unlinked already ({:.1} GiB are free there, \
             and reading takes none of it)",
            self.files,
            FILE_BYTES >> 30,
            parent.display(),
            self.free_bytes as f64 / (1u64 << 30) as f64
        ))
    }
}

#[cfg(test)]
mod tests {
    use isotherm_seam::Nanos;

    use super::*;
    use crate::plan::PlanConfig;

    fn plan() -> Plan {
        Plan::draw(&PlanConfig { seed: 1, disks: 6, healthy: false, reads_per_disk: 1_000.0 })
    }

    #[test]
    fn files_are_gone_before_the_load_begins_and_the_load_runs() {
        let parent = tempfile::tempdir().unwrap();
        let load = LoadConfig::new(100.0, Nanos::from_millis(200), 1);
        let rig = Rig::on_files(&plan(), &load, parent.path()).unwrap();
        assert_eq!(std::fs::read_dir(parent.path()).unwrap().count(), 0, "nothing is left");
        let place = rig.place().clone();
        assert!(place.sentence.starts_with("6 sparse files of 1 GiB below "), "{place:?}");
        assert_eq!(place.drivers.len(), 1, "{place:?}");
        let ring = place.drivers[0].starts_with("hdd:exos-x24 > uring");
        assert!(ring || place.drivers[0] == "hdd:exos-x24 > file" && !place.notes.is_empty());
        let measured = rig.run(&load, &AtomicBool::new(false), &mut |_| {}).unwrap();
        assert_eq!(measured.disks.len(), 6);
        assert!(measured.disks.iter().all(|disk| disk.arrived.offered > 0));
        assert!(measured.disks.iter().any(|disk| disk.arrived.reads > 0));
    }

    #[test]
    fn a_path_may_hold_what_a_spec_is_made_of() {
        let parent = tempfile::tempdir().unwrap();
        let odd = parent.path().join("a,b:c?d=1");
        std::fs::create_dir(&odd).unwrap();
        let load = LoadConfig::new(100.0, Nanos::from_millis(1), 1);
        assert!(Rig::on_files(&plan(), &load, &odd).is_ok());
    }

    #[test]
    fn a_folder_that_can_not_be_used_is_named() {
        let load = LoadConfig::new(100.0, Nanos::from_millis(1), 1);
        let error = Rig::on_files(&plan(), &load, Path::new("/no/such/folder")).err().unwrap();
        let text = error.to_string();
        assert!(text.contains("/no/such/folder") && text.contains("--dir"), "{text}");
        let file = tempfile::NamedTempFile::new().unwrap();
        assert!(Rig::on_files(&plan(), &load, file.path()).is_err());
    }
}

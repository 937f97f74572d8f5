//! The mount, from its start to its end.
//!
//! What must always hold: all disks are open and the way is measured before anybody is told that
//! they are there; the end waits for whoever still uses a disk, and says so.

use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use crossbeam::channel::unbounded;
use fuser::{Config, MountOption, SessionACL, spawn_mount};
use isotherm_block::{OpenContext, Spec};
use isotherm_host::{HostClock, RealtimeRefused, ThreadPark, set_realtime};
use isotherm_seam::{
    BufPool, Clock, Mono, Nanos, OpenError, OpenOptions, Park, PoolClass, PoolLayout, RegionError,
};
use nix::errno::Errno;
use nix::unistd::{getegid, geteuid};

use crate::counter::{Counter, Desk};
use crate::files::{FileOfDisk, Files, IO_BYTES_MAX, REALTIME_PRIORITY};
use crate::lead;
use crate::tally::DiskTally;

/// Which disks, and where.
#[derive(Clone, Debug)]
pub struct ServeOptions {
    /// An empty folder.
    pub mount: PathBuf,
    /// By file name, the spec of each disk.
    pub disks: Vec<(String, Spec)>,
    /// Commands in a disk at once.
    pub depth: u32,
    /// Chooses what the disks do by chance.
    pub seed: u64,
    /// Other users may open the disks too; `user_allow_other` must stand in /etc/fuse.conf unless
    /// it is root who serves.
    pub allow_other: bool,
    /// Answer before any ordinary thread runs: on a busy machine the disks keep their time.
    pub realtime: bool,
}

/// Why nothing is served.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// A disk can't be opened.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// It takes writes only at write pointers, which a file can't say.
    #[error("{disk}: a zoned disk can't be offered as a file")]
    Zoned {
        /// Which.
        disk: String,
    },
    /// No memory for buffers.
    #[error("no memory for I/O buffers: {0}")]
    Memory(#[from] RegionError),
    /// The mount was refused.
    #[error(
        "{}: can't mount: {error}: it takes an empty folder, /dev/fuse, and root or fusermount3 \
         (Debian: apt install fuse3)", mount.display()
    )]
    Mount {
        /// Where.
        mount: PathBuf,
        /// What the system said.
        error: io::Error,
    },
    /// Real-time scheduling is not to be had.
    #[error(transparent)]
    Realtime(#[from] RealtimeRefused),
    /// The way could not be measured.
    #[error("can't measure the way through the kernel: {0}")]
    Lead(io::Error),
}

/// What is there to be used.
#[derive(Clone, Debug)]
pub struct Served {
    /// Each disk's file and its bytes.
    pub files: Vec<(PathBuf, u64)>,
    /// The way through the kernel: answers are given so much earlier.
    pub lead: Nanos,
}

/// What happens while it serves.
#[derive(Debug)]
pub enum Serve<'a> {
    /// The disks are there.
    Ready(&'a Served),
    /// It was told to stop, and somebody still uses a disk; tried again every second.
    Busy,
}

/// Not in the listing.
const LEAD_FILE: &str = ".way";

/// How often the order to stop is looked at.
const PATIENCE: Nanos = Nanos::from_millis(200);

/// ... and whether the way is measured.
const LOOK: Nanos = Nanos::from_millis(10);

/// Between two attempts to unmount.
const RETRY: Nanos = Nanos::from_secs(1);

/// Small requests are the rule; of long ones so many at once over all disks.
const SMALL_BYTES: u32 = 132 << 10;
const LONG_COUNT: u32 = 40;

/// Mounts the disks and serves them until `stop` is raised or the folder is unmounted. Returns
/// what each disk did, in the order of the options.
pub fn serve(
    options: &ServeOptions,
    stop: &AtomicBool,
    tell: &mut dyn FnMut(Serve<'_>),
) -> Result<Vec<DiskTally>, ServeError> {
    let park = ThreadPark::new();
    let way = Spec::parse(lead::SPEC)?;
    let specs = options.disks.iter().map(|(name, spec)| (name.as_str(), spec));
    let mut desks = Vec::new();
    let mut disks = Vec::new();
    for (index, (name, spec)) in specs.chain([(LEAD_FILE, &way)]).enumerate() {
        let device = spec.open(OpenContext {
            options: OpenOptions {
                write: true,
                direct: false,
                create_bytes: None,
                depth: options.depth,
            },
            unparker: park.unparker(),
            seed: options.seed.wrapping_add(index as u64),
            leaves: &mut [],
        })?;
        if device.geometry().zones.is_some() {
            return Err(ServeError::Zoned { disk: name.to_owned() });
        }
        let bytes = device.geometry().capacity_bytes();
        disks.push(FileOfDisk { name: name.to_owned(), bytes, hidden: name == LEAD_FILE });
        desks.push(Desk::new(device));
    }
    if options.realtime {
        set_realtime(REALTIME_PRIORITY)?;
    }
    let depth = options.depth * options.disks.len() as u32;
    let (asks_in, asks) = unbounded();
    let ended = Arc::new(AtomicBool::new(false));
    let files = Files {
        disks,
        asks: asks_in,
        unparker: park.unparker(),
        ended: Arc::clone(&ended),
        owner: (geteuid().as_raw(), getegid().as_raw()),
        realtime: AtomicBool::new(options.realtime),
        waiting_max: (2 * depth).clamp(64, u32::from(u16::MAX)) as u16,
    };
    let mut counter = Counter {
        clock: HostClock::new(),
        park,
        pool: BufPool::new(&layout(depth))?,
        asks,
        desks,
        lead: Nanos::ZERO,
        done: Vec::with_capacity(options.depth as usize),
    };
    let refused = |error| ServeError::Mount { mount: options.mount.clone(), error };
    let session = spawn_mount(files, &options.mount, &config(options)).map_err(refused)?;
    let answer = measured(&mut counter, &options.mount.join(LEAD_FILE)).map(|lead| {
        counter.lead = lead;
        let bytes = options.disks.iter().zip(&counter.desks);
        let files = bytes.map(|((name, _), desk)| (options.mount.join(name), desk.bytes()));
        tell(Serve::Ready(&Served { files: files.collect(), lead }));
    });
    if answer.is_err() {
        let _ = session.umount_and_join();
        return answer.map(|()| Vec::new());
    }
    let (mut next_try, mut said) = (Mono::ZERO, false);
    let clock = HostClock::new();
    counter.serve(PATIENCE, &mut || {
        if stop.load(Ordering::Relaxed) && clock.mono() >= next_try {
            next_try = clock.mono() + RETRY;
            if unmount(&options.mount) == Err(Errno::EBUSY) && !said {
                said = true;
                tell(Serve::Busy);
            }
        }
        ended.load(Ordering::Acquire)
    });
    let tallies = counter.desks[..options.disks.len()].iter().map(|desk| desk.tally).collect();
    // What is still asked is refused, so that the session can end.
    drop(counter);
    // The folder is unmounted already; whatever the session says of it is of no use to anybody.
    let _ = session.umount_and_join();
    Ok(tallies)
}

fn measured(counter: &mut Counter, file: &Path) -> Result<Nanos, ServeError> {
    let path = file.to_owned();
    let reader = std::thread::Builder::new().name("way".into()).spawn(move || lead::measure(&path));
    let reader = reader.map_err(ServeError::Lead)?;
    counter.serve(LOOK, &mut || reader.is_finished());
    reader.join().expect("a measurement does not panic").map_err(ServeError::Lead)
}

fn layout(depth: u32) -> PoolLayout {
    // A read may begin and end within a block, so two blocks more than the kernel asks for.
    let long = PoolClass { buf_bytes: IO_BYTES_MAX + (8 << 10), count: LONG_COUNT };
    let small = PoolClass { buf_bytes: SMALL_BYTES, count: depth.max(1) };
    PoolLayout { classes: vec![small, long], ..PoolLayout::uniform(0, 0) }
}

fn config(options: &ServeOptions) -> Config {
    let mut config = Config::default();
    config.mount_options = vec![
        MountOption::FSName("isotherm".into()),
        MountOption::Subtype("disks".into()),
        MountOption::NoSuid,
        MountOption::NoDev,
        MountOption::NoExec,
        MountOption::NoAtime,
    ];
    config.acl = if options.allow_other { SessionACL::All } else { SessionACL::Owner };
    config
}

/// Root unmounts; others have it done by the helper that mounted.
fn unmount(folder: &Path) -> Result<(), Errno> {
    match nix::mount::umount(folder) {
        Err(Errno::EPERM) => {
            let helped = Command::new("fusermount3").arg("-u").arg("-q").arg(folder).status();
            if helped.is_ok_and(|status| status.success()) { Ok(()) } else { Err(Errno::EBUSY) }
        }
        answer => answer,
    }
}

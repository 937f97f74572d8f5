//! What a run is started with, and why it could not be.

use std::path::PathBuf;

use isotherm_host::safety::Refusal;
use isotherm_seam::{Nanos, OpenError, RegionError};
use isotherm_verify::Misfit;
use isotherm_workload::{Job, Place, TraceError};

/// What a run is started with, beside its jobs.
#[derive(Clone, Debug)]
pub struct Setup {
    /// Cores to use at most; all that this process may use if not given.
    pub cores: Option<usize>,
    /// What tells the time.
    pub time: TimeSource,
    /// Where chance comes from: faults and models of made-up disks, and the addresses of jobs
    /// that do not repeat.
    pub seed: u64,
    /// How many disks of the one spec that each job names.
    pub disks: u32,
    /// Devices that may be overwritten although they hold something: serials or paths.
    pub destroy: Vec<String>,
    /// Refuse every job that writes.
    pub read_only: bool,
    /// Disks to work on in place of what the jobs name: each job runs on each of them.
    pub disk_names: Vec<String>,
    /// Whoever watches is told how each disk does.
    pub show_disks: bool,
    /// Whoever watches is given the results so far, so often.
    pub status_every: Option<Nanos>,
}

/// What tells the time.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum TimeSource {
    /// The machine's clock.
    #[default]
    Host,
    /// A clock that is turned on to whatever comes next: for disks that are models, a run takes
    /// as long as its computation, and is the same each time.
    Virtual,
}

impl Default for Setup {
    fn default() -> Setup {
        Setup {
            cores: None,
            time: TimeSource::Host,
            seed: 0,
            disks: 1,
            destroy: Vec::new(),
            read_only: false,
            disk_names: Vec::new(),
            show_disks: false,
            status_every: None,
        }
    }
}

/// Why a run could not be started. Nothing was read and, but for new files, nothing written.
#[derive(Debug, thiserror::Error)]
#[error("{}job {job}: {cause}", place.as_ref().map_or(String::new(), |place| format!("{place}: ")))]
pub struct SetupError {
    /// Where the option stands that is to blame, if it was given.
    pub place: Option<Place>,
    /// The job's name.
    pub job: String,
    /// What is wrong.
    pub cause: SetupCause,
}

impl SetupError {
    /// `cause`, for which the job's option `option` is to blame.
    pub(crate) fn new(job: &Job, option: &str, cause: impl Into<SetupCause>) -> SetupError {
        let place = job.place(option).cloned();
        SetupError { place, job: job.name.clone(), cause: cause.into() }
    }
}

/// What is wrong.
#[derive(Debug, thiserror::Error)]
pub enum SetupCause {
    /// Nothing is named to work on.
    #[error(
        "no filename: give filename=PATH, a device spec such as null:1T, or a size to make \
             a file of"
    )]
    NoTarget,
    /// A device could not be opened, or its spec not be read.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// A device may not be written.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// A job writes and was told not to.
    #[error("it writes, and --readonly was given")]
    WouldWrite,
    /// A request is not a whole number of blocks.
    #[error("{what}={bytes} is not a multiple of the {block} byte blocks of {disk}")]
    Unaligned {
        /// The option.
        what: &'static str,
        /// Its value in bytes.
        bytes: u64,
        /// The device's logical block, in bytes.
        block: u32,
        /// The device.
        disk: String,
    },
    /// A request is longer than the device takes.
    #[error("bs={bytes} is more than {disk} takes in one request ({max})")]
    TooLong {
        /// The request, in bytes.
        bytes: u64,
        /// The most, in bytes.
        max: u32,
        /// The device.
        disk: String,
    },
    /// The region does not lie within the device.
    #[error("the region ends at byte {end}, {disk} at {capacity}")]
    BeyondEnd {
        /// Where the region ends, in bytes.
        end: u64,
        /// Where the device ends, in bytes.
        capacity: u64,
        /// The device.
        disk: String,
    },
    /// The region holds not one request.
    #[error("a region of {bytes} bytes holds not one request of {io_bytes} on {disk}")]
    TooSmall {
        /// The region, in bytes.
        bytes: u64,
        /// A request, in bytes.
        io_bytes: u64,
        /// The device.
        disk: String,
    },
    /// Writing zone by zone is not built.
    #[error("{disk} is written zone by zone, which a job can't do yet; it can be read")]
    Zoned {
        /// The device.
        disk: String,
    },
    /// A file is missing, and the job may not make it.
    #[error("{} is not there, and allow_file_create=0 was given", path.display())]
    MayNotCreate {
        /// The file.
        path: PathBuf,
    },
    /// Rates of both kinds.
    #[error("a rate in bytes and one in requests exclude each other")]
    TwoRates,
    /// Blocks can't be sealed as asked.
    #[error(transparent)]
    Check(#[from] Misfit),
    /// What was written is told by drawing it again, which has no end.
    #[error("verify_only goes once through what was written: leave out time_based")]
    EndlessCheck,
    /// A log can't be opened.
    #[error("can't open the log {}: {}", log.display(), std::io::Error::from(*kind))]
    NoTrace {
        /// Which.
        log: PathBuf,
        /// What the system said.
        kind: std::io::ErrorKind,
    },
    /// A log can't be understood.
    #[error("{}: {error}", log.display())]
    Trace {
        /// Which.
        log: PathBuf,
        /// What is wrong with it.
        error: Box<TraceError>,
    },
    /// A log without a request.
    #[error("{}: there is no request in it", log.display())]
    EmptyTrace {
        /// Which.
        log: PathBuf,
    },
    /// What a log writes is not sealed.
    #[error("a log is replayed as it is: leave out verify")]
    CheckedReplay,
    /// None of the processors of a job is one of the run's.
    #[error("none of these processors is one that the program may use; see --cores")]
    NoProcessor,
    /// A mixed open loop with one rate.
    #[error("a mix of reads and writes needs a rate for both, or for neither")]
    HalfARate,
    /// Several disks are wanted of a spec that names one.
    #[error(
        "--disks {disks} of {spec:?} are one and the same: put {{}} where the number of the \
             disk goes, or use null or memory"
    )]
    SameDisk {
        /// How many are wanted.
        disks: u32,
        /// The spec.
        spec: String,
    },
    /// Disks are named both by the job and beside it.
    #[error(
        "the job names its filename, and --disks names disks too: leave out one, or write {{}} \
             into the filename where the disk goes"
    )]
    NamedTwice,
    /// A device that does not live in virtual time.
    #[error(
        "{spec:?} does not live in virtual time: that takes a model over memory, such as \
             hdd:exos-x24,null:1T"
    )]
    NotVirtual {
        /// The spec.
        spec: String,
    },
    /// A file to be read could not be made.
    #[error("can't lay out {}: {}", path.display(), std::io::Error::from(*kind))]
    LayOut {
        /// The file.
        path: PathBuf,
        /// What the system said.
        kind: std::io::ErrorKind,
    },
    /// No memory for the buffers.
    #[error(transparent)]
    Memory(#[from] RegionError),
    /// A thread of the run ended before it began.
    #[error("the thread that was to run it is gone")]
    ThreadLost,
}

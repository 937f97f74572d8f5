//! fio's own example files, run to their end.
//!
//! What must always hold: where the examples are not installed, the test says so and passes.
//! Each of them is read and run, or refused by the name of what is missing; none touches
//! anything but files in a directory of its own, and each is made so small that all of them
//! together take seconds.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;

use isotherm_load::{Report, Setup, run};
use isotherm_seam::Nanos;
use isotherm_workload::{Direction, Engine, Environment, Extent, Job, ParseCause, Parsed, SizeLaw};

/// Where Debian puts them.
const EXAMPLES: &str = "/usr/share/doc/fio/examples";

/// How many of Debian's 86 can be read: a row that is lost is seen.
const READ_AT_LEAST: usize = 32;

const SIZE_MAX: u64 = 1 << 20;
const RUNTIME_MAX: Nanos = Nanos::from_millis(400);

fn variable(name: &str) -> Option<String> {
    // Some examples want these of those who run them.
    let value = match name {
        "FIO_RW" => "randwrite",
        "FIO_IODEPTH" => "4",
        "FIO_BS" => "8k",
        _ => return None,
    };
    Some(value.to_owned())
}

/// The same job, small and in `dir`.
fn shrunk(job: &Job, dir: &Path, files: &mut BTreeMap<String, PathBuf>) -> Job {
    let mut job = job.clone();
    let longest = job.sizes_used().map(SizeLaw::max).max().unwrap_or(4096);
    let size_max = SIZE_MAX.max(longest * 4);
    let small = |extent: Extent| match extent {
        Extent::Bytes(bytes) => Extent::Bytes(bytes.min(size_max)),
        part => part,
    };
    for name in &mut job.filenames {
        let number = files.len();
        let path = files.entry(name.clone()).or_insert_with(|| dir.join(format!("file{number}")));
        *name = path.to_str().expect("it was made of text").to_owned();
    }
    job.directory = Some(dir.to_str().expect("it was made of text").to_owned());
    job.size = match job.size {
        None if job.files.bytes.is_none() => Some(Extent::Bytes(size_max)),
        size => size.map(small),
    };
    job.files.bytes = job.files.bytes.map(|(a, b)| (a.min(size_max), b.min(size_max)));
    job.files.may_create = true;
    job.io_size = job.io_size.map(small);
    job.offset = match job.offset {
        Extent::Bytes(_) => Extent::Bytes(0),
        part => part,
    };
    job.files.offset_increment = small(job.files.offset_increment);
    job.loops = job.loops.min(2);
    job.copies = job.copies.min(2);
    job.number_ios = job.number_ios.map(|count| count.min(100));
    job.runtime = Some(job.runtime.map_or(RUNTIME_MAX, |runtime| runtime.min(RUNTIME_MAX)));
    job.ramp = Nanos(job.ramp.0 / 100);
    let (least, most) = job.start.delay;
    job.start.delay = (Nanos(least.0 / 1000), Nanos(most.0 / 1000));
    job.target.window = Nanos(job.target.window.0 / 100);
    if job.steady.duration > Nanos::ZERO {
        (job.steady.duration, job.steady.ramp) = (Nanos::from_secs(1), Nanos::ZERO);
        job.runtime = Some(Nanos::from_millis(2500));
    }
    if job.is_strided() {
        (job.zones.bytes, job.zones.gap) =
            (longest * 4, job.zones.gap.map(|_| Extent::Bytes(longest)));
    }
    job
}

fn outcome(report: &Report) -> String {
    let sum = |direction: Direction| -> u64 {
        report.jobs.iter().map(|job| job.tallies[direction.index()].ios()).sum()
    };
    let results = report.jobs.len();
    let (reads, writes) = (sum(Direction::Read), sum(Direction::Write));
    format!("{results} results, {reads} reads, {writes} writes")
}

#[test]
fn examples_run_to_their_end_or_are_refused_by_name() {
    let Ok(directory) = std::fs::read_dir(EXAMPLES) else {
        println!("skipped: there are no examples in {EXAMPLES}");
        return;
    };
    let paths = directory.map(|entry| entry.unwrap().path());
    let mut paths: Vec<PathBuf> =
        paths.filter(|path| path.extension().is_some_and(|e| e == "fio")).collect();
    paths.sort();
    let environment = Environment { variable: &variable, ..Environment::empty() };
    let (mut ran, mut bad) = (0, Vec::new());
    for path in &paths {
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        let argument = path.to_str().unwrap().to_owned();
        let mut parsed = match Parsed::from_arguments(&[argument], &environment) {
            Ok(parsed) => parsed,
            Err(error) => {
                let by_name = matches!(
                    error.cause,
                    ParseCause::NotSupported { .. }
                        | ParseCause::ValueNotSupported { .. }
                        | ParseCause::UndefinedVariable { .. }
                );
                println!("{name:36} refused: {}", error.cause);
                if !by_name {
                    bad.push(format!("{name}: {error}"));
                }
                continue;
            }
        };
        let dir = tempfile::tempdir().unwrap();
        let mut files = BTreeMap::new();
        let small = parsed.jobs.iter().map(|job| shrunk(job, dir.path(), &mut files));
        parsed.jobs = small.collect();
        assert!(
            parsed.jobs.iter().all(|job| job.engine == Engine::Null || job.directory.is_some())
        );
        match run(&parsed, &Setup::default(), &AtomicBool::new(false), &mut |_| {}) {
            Ok(report) if report.failures().next().is_none() => {
                ran += 1;
                println!("{name:36} ran: {}", outcome(&report));
                if report.jobs.iter().map(|job| job.ios()).sum::<u64>() == 0 {
                    bad.push(format!("{name}: it did nothing"));
                }
            }
            Ok(report) => {
                let failures: Vec<String> = report.failures().map(ToString::to_string).collect();
                bad.push(format!("{name}: {failures:?}"));
            }
            Err(error) => bad.push(format!("{name}: {error}")),
        }
    }
    println!("{ran} of {} examples ran to their end", paths.len());
    assert!(bad.is_empty(), "{bad:#?}");
    assert!(ran >= READ_AT_LEAST || paths.len() < 86, "{ran} of them ran");
}

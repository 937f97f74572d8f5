//! Jobs that check what they and others wrote: on made-up devices, and with Debian's fio on the
//! other side. Without fio those say so and pass.

use std::path::Path;
use std::process::{Command, Output};
use std::sync::atomic::AtomicBool;

use isotherm_load::{Report, Setup, run};
use isotherm_workload::{Direction, Environment, Parsed};

fn bench(arguments: &[&str]) -> Report {
    let arguments: Vec<String> =
        ["--name=j"].iter().chain(arguments).map(|text| (*text).to_owned()).collect();
    let parsed = Parsed::from_arguments(&arguments, &Environment::empty()).unwrap();
    run(&parsed, &Setup::default(), &AtomicBool::new(false), &mut |_| {})
        .unwrap_or_else(|error| panic!("{arguments:?}: {error}"))
}

/// Reads and writes completed, and errors.
fn counts(report: &Report) -> (u64, u64, u64) {
    let job = &report.jobs[0];
    let tally = |direction: Direction| &job.disks[0].tallies[direction.index()];
    let errors = Direction::ALL.map(|direction| tally(direction).errors).iter().sum();
    (tally(Direction::Read).ios(), tally(Direction::Write).ios(), errors)
}

#[test]
fn what_was_written_is_read_back_once() {
    let cases: [(&[&str], u64); 7] = [
        (&["--rw=write", "--bs=4k", "--verify=crc32c", "--iodepth=4"], 256),
        (&["--rw=randwrite", "--bs=4k", "--verify=md5", "--verify_interval=1k"], 256),
        (&["--rw=randwrite", "--bs=8k", "--verify=pattern", "--verify_pattern=%o\"x\""], 128),
        (&["--rw=write", "--bs=4k", "--verify=meta", "--verify_backlog=10"], 256),
        (
            &[
                "--rw=randwrite",
                "--bs=4k",
                "--verify=xxhash",
                "--verify_backlog=16",
                "--verify_backlog_batch=8",
                "--iodepth=8",
            ],
            256,
        ),
        (&["--rw=write", "--bs=4k", "--verify=sha256", "--do_verify=0"], 0),
        (&["--rw=write", "--bs=4k", "--verify=sha512", "--end_fsync=1"], 256),
    ];
    for (options, checks) in cases {
        let report = bench(&[&["--filename=memory:1M", "--size=1m"], options].concat());
        let (reads, writes, errors) = counts(&report);
        let whole = if options.contains(&"--bs=8k") { 128 } else { 256 };
        assert_eq!((reads, writes, errors), (checks, whole, 0), "{options:?}");
        assert_eq!(report.failures().count(), 0, "{options:?}");
    }
}

#[test]
fn places_that_were_written_over_are_checked_as_they_were_last() {
    let report = bench(&[
        "--filename=memory:256k",
        "--size=256k",
        "--io_size=2m",
        "--norandommap",
        "--bs=4k",
        "--rw=randwrite",
        "--verify=crc64",
        "--iodepth=8",
    ]);
    let (reads, writes, errors) = counts(&report);
    assert_eq!((writes, errors), (512, 0));
    assert!((40..=64).contains(&reads), "each place once: {reads}");
    let split = bench(&[
        "--filename=memory:1M",
        "--size=1m",
        "--bssplit=4k/50:16k/50",
        "--rw=randrw",
        "--verify=md5",
        "--iodepth=4",
        "--norandommap",
    ]);
    let (_, writes, errors) = counts(&split);
    assert!(writes > 20 && errors == 0, "{writes} writes, {errors} errors");
}

#[test]
fn a_disk_that_lies_is_found_out() {
    for (lie, fatal) in [("flip=0.02", "0"), ("flip=0.02", "1"), ("lost=0.02", "0")] {
        let report = bench(&[
            &format!("--filename=fault:{lie},memory:4M"),
            "--size=4m",
            "--rw=write",
            "--bs=4k",
            "--verify=crc32c",
            &format!("--verify_fatal={fatal}"),
        ]);
        let (reads, writes, errors) = counts(&report);
        assert_eq!(writes, 1024);
        assert!(errors > 0, "{lie}");
        assert_eq!(report.failures().count(), 1, "{lie}");
        assert_eq!(reads < 1024, fatal == "1", "{lie}: the first one ends it, or all are told");
        let notes = report.jobs[0].disks[0].info.notes.join("\n");
        assert!(notes.contains("verify: 4096 bytes at byte "), "{notes}");
    }
    let passed = bench(&[
        "--filename=fault:flip=0.02,memory:4M",
        "--size=4m",
        "--rw=write",
        "--bs=4k",
        "--verify=crc32c",
        "--continue_on_error=verify",
    ]);
    assert!(counts(&passed).2 > 0);
    assert_eq!(passed.failures().count(), 0);
}

#[test]
fn an_earlier_run_is_checked_without_writing() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("f");
    let target = format!("--filename={}", file.display());
    let job = ["--size=1m", "--rw=randwrite", "--bs=4k", "--verify=crc32c", &target];
    bench(&job);
    let before = std::fs::read(&file).unwrap();
    let (reads, writes, errors) = counts(&bench(&[&job[..], &["--verify_only"]].concat()));
    assert_eq!((reads, writes, errors), (256, 0, 0));
    assert!(before == std::fs::read(&file).unwrap(), "nothing was written");
    let mut damaged = before;
    damaged[70_000] ^= 1;
    std::fs::write(&file, damaged).unwrap();
    assert_eq!(counts(&bench(&[&job[..], &["--verify_only"]].concat())).2, 1);
}

const KINDS: [&[&str]; 7] = [
    &["--verify=crc32c"],
    &["--verify=crc64"],
    &["--verify=md5"],
    &["--verify=sha256"],
    &["--verify=xxhash", "--verify_interval=512"],
    &["--verify=meta"],
    &["--verify=pattern", "--verify_pattern=0xdeadbeef%o\"abc\""],
];

fn fio(file: &Path, options: &[&str]) -> Option<Output> {
    let run = Command::new("fio")
        .arg(format!("--filename={}", file.display()))
        .args(["--name=j", "--ioengine=psync", "--size=256k", "--bs=4k", "--verify_state_save=0"])
        .args(options)
        .current_dir(file.parent().unwrap())
        .output();
    match run {
        Ok(output) => Some(output),
        Err(error) => {
            println!("skipped: fio can't be run: {error}");
            None
        }
    }
}

fn flip(file: &Path) {
    let mut bytes = std::fs::read(file).unwrap();
    // Within a header, so that `meta` covers it too.
    bytes[4096 * 9 + 17] ^= 1;
    std::fs::write(file, bytes).unwrap();
}

#[test]
fn fio_and_isotherm_check_what_the_other_wrote() {
    let dir = tempfile::tempdir().unwrap();
    for kind in KINDS {
        let file = dir.path().join("by-us");
        let target = format!("--filename={}", file.display());
        let ours = [&["--size=256k", "--bs=4k", target.as_str()], kind].concat();
        bench(&[&ours[..], &["--rw=randwrite", "--do_verify=0", "--iodepth=4"]].concat());
        let reading = [&["--rw=read"], kind].concat();
        let Some(output) = fio(&file, &reading) else { return };
        assert!(output.status.success(), "{kind:?}: {output:?}");
        flip(&file);
        assert!(!fio(&file, &reading).unwrap().status.success(), "{kind:?}");
        std::fs::remove_file(&file).unwrap();

        let output = fio(&file, &[&["--rw=randwrite", "--do_verify=0"], kind].concat()).unwrap();
        assert!(output.status.success(), "{kind:?}: {output:?}");
        let reading = [&ours[..], &["--rw=read"]].concat();
        let (reads, _, errors) = counts(&bench(&reading));
        assert_eq!((reads, errors), (64, 0), "{kind:?}");
        flip(&file);
        let report = bench(&reading);
        assert_eq!((counts(&report).2, report.failures().count()), (1, 1), "{kind:?}");
        std::fs::remove_file(&file).unwrap();
    }
}

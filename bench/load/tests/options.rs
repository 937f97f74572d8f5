//! What fio's options do to files and disks, in whole runs.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;
use std::sync::atomic::AtomicBool;

use isotherm_load::{Report, Setup, SetupError, TimeSource, run};
use isotherm_seam::Nanos;
use isotherm_workload::{Direction, Environment, Parsed};

fn go(text: &str, setup: &Setup) -> Result<Report, SetupError> {
    let parsed =
        Parsed::from_text("t.fio", text, &Environment::empty()).expect("a job that parses");
    run(&parsed, setup, &AtomicBool::new(false), &mut |_| {})
}

fn ran(text: &str) -> Report {
    go(text, &Setup::default()).unwrap()
}

fn in_virtual_time(text: &str) -> Report {
    go(text, &Setup { time: TimeSource::Virtual, seed: 11, ..Setup::default() }).unwrap()
}

fn ios(report: &Report, job: usize) -> u64 {
    report.jobs[job].ios()
}

/// The blocks of so many bytes of a file that are not zeros.
fn written(path: &Path, block: usize) -> Vec<usize> {
    let bytes = std::fs::read(path).unwrap();
    let blocks = bytes.chunks(block).enumerate();
    blocks.filter(|(_, block)| block.iter().any(|b| *b != 0)).map(|(at, _)| at).collect()
}

#[test]
fn a_job_makes_as_many_files_as_it_is_told_and_removes_them_if_it_is_told() {
    let dir = tempfile::tempdir().unwrap();
    let job = format!(
        "[a]\ndirectory={}\nnrfiles=4\nsize=256k\nrw=write\nfile_service_type=sequential\n",
        dir.path().display()
    );
    let report = ran(&job);
    assert_eq!(ios(&report, 0), 64);
    let lengths: BTreeMap<String, u64> = std::fs::read_dir(dir.path())
        .unwrap()
        .map(|entry| entry.unwrap())
        .map(|entry| (entry.file_name().into_string().unwrap(), entry.metadata().unwrap().len()))
        .collect();
    let expected: BTreeMap<String, u64> = (0..4).map(|n| (format!("a.0.{n}"), 65_536)).collect();
    assert_eq!(lengths, expected);
    assert!((0..4).all(|n| written(&dir.path().join(format!("a.0.{n}")), 4096).len() == 16));
    ran(&format!("{job}unlink=1\n"));
    assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0);
}

#[test]
fn files_have_the_lengths_they_are_told() {
    let dir = tempfile::tempdir().unwrap();
    let home = dir.path().display();
    ran(&format!("[a]\ndirectory={home}\nnrfiles=3\nfilesize=8k-64k\nrw=write\n"));
    for number in 0..3 {
        let bytes = std::fs::metadata(dir.path().join(format!("a.0.{number}"))).unwrap().len();
        assert!((8_192..=65_536).contains(&bytes) && bytes.is_multiple_of(4096), "{bytes}");
    }
    let report =
        ran(&format!("[b]\ndirectory={home}\nnrfiles=3\nfilesize=64k\nsize=100k\nrw=read\n"));
    assert_eq!(ios(&report, 0), 25, "no more than its size");
    ran(&format!("[c]\ndirectory={home}\nsize=64k\nrw=write\ncreate_only=1\n"));
    assert_eq!(std::fs::metadata(dir.path().join("c.0.0")).unwrap().len(), 65_536);
    assert!(written(&dir.path().join("c.0.0"), 4096).is_empty());
    let refused = go(
        &format!("[d]\ndirectory={home}\nsize=64k\nrw=write\nallow_file_create=0\n"),
        &Setup::default(),
    );
    assert!(refused.unwrap_err().to_string().contains("d.0.0 is not there, and allow_file_create"));
}

#[test]
fn what_is_appended_leaves_what_was_there() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("x");
    std::fs::write(&path, vec![7; 8192]).unwrap();
    let job = format!("[a]\nfilename={}\nsize=16k\nrw=write\nfile_append=1\n", path.display());
    ran(&job);
    let bytes = std::fs::read(&path).unwrap();
    assert_eq!((bytes.len(), &bytes[..8192]), (24_576, &[7; 8192][..]));
    assert_ne!(&bytes[8192..8200], &[0; 8]);
}

#[test]
fn copies_start_further_on_by_the_increment() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("x");
    let job = format!(
        "[a]\nfilename={}?size=1M\nnumjobs=3\noffset=64k\noffset_increment=128k\nio_size=8k\n\
         size=64k\nrw=write\n",
        path.display()
    );
    ran(&job);
    assert_eq!(written(&path, 4096), [16, 17, 48, 49, 80, 81]);
}

#[test]
fn zones_are_gone_through_with_gaps() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("x");
    let job = format!(
        "[a]\nfilename={}?size=1M\nrw=write\nbs=16k\nzonesize=32k\nzoneskip=96k\nnumber_ios=6\n",
        path.display()
    );
    ran(&job);
    assert_eq!(written(&path, 16_384), [0, 1, 8, 9, 16, 17]);
}

/// Both programs write the same jobs into files of their own; what is not random is the same.
#[test]
fn what_is_written_is_what_fio_writes() {
    let found = Command::new("fio").arg("--version").output().is_ok_and(|out| out.status.success());
    if !found {
        println!("skipped: fio is not installed");
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let jobs = [
        "rw=write\nbs=4k\nbuffer_pattern=\"abc\"0x01-7\n",
        "rw=randwrite\nbs=8k\nbuffer_pattern=0xdeadbeef\n",
        "rw=write\nbs=4k\nzero_buffers\noverwrite=0\n",
        "rw=write\nbs=16k\nbuffer_pattern=7\nzonemode=strided\nzonesize=32k\nzonerange=64k\n\
         zoneskip=64k\nio_size=192k\n",
        "rw=write:16k\nbs=16k\nbuffer_pattern=9\nnumber_ios=7\n",
        "rw=randwrite\nbs=4k\nba=16k\nbuffer_pattern=5\nnumber_ios=500\nnorandommap\nio_size=4m\n",
        "rw=write\nbs=4k,12k\nbuffer_pattern=3\nsize=120k\n",
        "rw=write\nbs=4k\nbuffer_pattern=3\noffset=20%\noffset_align=16k\nsize=64k\nnumber_ios=4\n",
    ];
    for (number, job) in jobs.iter().enumerate() {
        let make = |who: &str| {
            let path = dir.path().join(format!("{who}{number}"));
            std::fs::write(&path, vec![0; 1 << 20]).unwrap();
            // What a job says comes last, and so counts.
            (path.clone(), format!("[a]\nfilename={}\nsize=1m\n{job}", path.display()))
        };
        let (ours, text) = make("ours");
        ran(&text);
        let (theirs, text) = make("theirs");
        let file = dir.path().join("t.fio");
        std::fs::write(&file, text).unwrap();
        let done = Command::new("fio").arg(&file).current_dir(dir.path()).output().unwrap();
        assert!(done.status.success(), "{job}: {}", String::from_utf8_lossy(&done.stderr));
        assert!(std::fs::read(&ours).unwrap() == std::fs::read(&theirs).unwrap(), "{job}");
    }
}

#[test]
fn a_job_waits_for_another_and_for_its_delay() {
    let disk = "filename=hdd:exos-x24,null:24T\nrw=randread\n";
    let report = in_virtual_time(&format!(
        "[a]\n{disk}number_ios=100\n[b]\nwait_for=a\n{disk}number_ios=1\nstartdelay=100ms\n\
         [c]\n{disk}number_ios=1\nstartdelay=5\n"
    ));
    let took: Vec<u64> = report.jobs.iter().map(|job| job.elapsed.0 / 1_000_000).collect();
    assert!(took[0] > 500 && took[1] < 100 && took[2] < 100, "{took:?}");
    let refused = Parsed::from_text("t.fio", "[a]\nwait_for=b\n[b]\n", &Environment::empty());
    assert!(refused.unwrap_err().to_string().contains("no job before this one is called \"b\""));
}

#[test]
fn the_end_of_one_job_ends_others() {
    let disk = "filename=hdd:exos-x24,null:24T\nrw=randread\n";
    let endless = "time_based\nruntime=1h\n";
    let report = in_virtual_time(&format!(
        "[a]\n{disk}number_ios=50\nexitall\n[b]\n{disk}{endless}[c]\nstonewall\n{disk}number_ios=5\n"
    ));
    assert!(report.jobs[1].elapsed < Nanos::from_secs(3), "{:?}", report.jobs[1].elapsed);
    assert_eq!((ios(&report, 2), report.interrupted), (5, false));
    let report = in_virtual_time(&format!(
        "[a]\n{disk}number_ios=50\nexitall\nexit_what=all\n[b]\n{disk}{endless}\
         [c]\nstonewall\n{disk}number_ios=5\n"
    ));
    assert_eq!(report.jobs.len(), 2, "nothing follows");
    let bad = "filename=fault:bad=1000-1003,memory:1M\nrw=read\nexitall_on_error\n";
    let report = ran(&format!("[a]\n{bad}[b]\nfilename=null:1T\nrw=randread\n{endless}"));
    assert!(report.jobs[1].elapsed < Nanos::from_secs(20));
}

#[test]
fn flows_share_as_they_are_told() {
    // In virtual time both start at once, and neither waits for a processor.
    let disk = "filename=hdd:exos-x24,null:24T\nrw=randread\ntime_based\nruntime=60\n";
    let report = in_virtual_time(&format!("[a]\n{disk}flow=1\n[b]\n{disk}flow=3\n"));
    let share = ios(&report, 1) as f64 / ios(&report, 0) as f64;
    assert!((2.9..3.1).contains(&share), "{share}");
}

#[test]
fn errors_of_the_medium_may_be_gone_past() {
    let job = "[a]\nfilename=fault:bad=1000-1003,memory:1M\nrw=read\niodepth=4\n";
    let stopped = ran(job);
    assert!(stopped.failures().next().is_some() && ios(&stopped, 0) < 130);
    let past = ran(&format!("{job}continue_on_error=read\n"));
    assert_eq!((past.failures().count(), ios(&past, 0)), (0, 255));
    assert_eq!(past.jobs[0].tallies[Direction::Read.index()].errors, 1);
    let other = ran(&format!("{job}continue_on_error=write\n"));
    assert!(other.failures().next().is_some());
}

#[test]
fn flushes_are_counted_and_writes_may_be_durable_each() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("x");
    let job =
        |more: &str| format!("[a]\nfilename={}\nsize=64k\nrw=write\n{more}\n", path.display());
    let report = ran(&job("fsync=4\nend_fsync=1"));
    assert_eq!(report.jobs[0].syncs.as_ref().unwrap().count(), 3, "16 writes; fio has 3 too");
    assert_eq!(ios(&ran(&job("sync=dsync")), 0), 16);
}

#[test]
fn a_split_keeps_its_shares_and_its_bytes() {
    let report = ran("[a]\nfilename=null:64M\nrw=randread\nbssplit=4k/50:64k/50\niodepth=8\n");
    let tally = &report.jobs[0].tallies[0];
    assert!(tally.bytes >= 64 << 20 && tally.bytes < (64 << 20) + 65_536, "{}", tally.bytes);
    let mean = tally.bytes / tally.ios();
    assert!((32_000..37_000).contains(&mean), "{mean}");
}

#[test]
fn processors_that_are_not_there_are_refused() {
    let refused = go("[a]\nfilename=null:1M\ncpus_allowed=60000\n", &Setup::default());
    let said = refused.unwrap_err().to_string();
    assert!(said.starts_with("t.fio:3: job a: none of these processors"), "{said}");
    assert_eq!(ios(&ran("[a]\nfilename=null:1M\ncpus_allowed=0-63\n"), 0), 256);
}

#[test]
fn what_takes_all_and_gives_zeros_is_served_by_null() {
    let report = ran("[a]\nfilename=/dev/zero\nsize=1m\nrw=randread\n");
    assert_eq!((ios(&report, 0), report.jobs[0].drivers()), (256, vec!["null"]));
    assert!(report.messages.concat().contains("served by null"), "{:?}", report.messages);
}

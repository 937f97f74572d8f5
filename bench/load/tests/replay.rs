//! Logs that are replayed: in virtual time, where every time is exact, and on files.

use std::path::Path;
use std::sync::atomic::AtomicBool;

use isotherm_load::{Report, Setup, SetupError, TimeSource, run};
use isotherm_workload::{Direction, Environment, Parsed};

fn bench(arguments: &[&str], time: TimeSource) -> Result<Report, SetupError> {
    let arguments: Vec<String> =
        ["--name=j"].iter().chain(arguments).map(|text| (*text).to_owned()).collect();
    let parsed = Parsed::from_arguments(&arguments, &Environment::empty()).unwrap();
    let setup = Setup { time, ..Setup::default() };
    run(&parsed, &setup, &AtomicBool::new(false), &mut |_| {})
}

fn log(dir: &Path, text: &str) -> String {
    let path = dir.join("log");
    std::fs::write(&path, text).unwrap();
    format!("--read_iolog={}", path.display())
}

const DELAYED: &str = "delay:2ms,memory:1M";

#[test]
fn requests_go_out_at_their_times_and_lateness_is_told() {
    let dir = tempfile::tempdir().unwrap();
    // Three requests at once on a disk that is asked one at a time: 2, 4 and 6 ms.
    let text = format!(
        "fio version 3 iolog\n0 {DELAYED} add\n0 {DELAYED} open\n10000 {DELAYED} read 0 4096\n\
         10000 {DELAYED} read 8192 4096\n10000 {DELAYED} write 4096 512\n\
         10000 {DELAYED} sync 0 0\n30000 {DELAYED} read 0 4096\n30000 {DELAYED} close\n"
    );
    let log = log(dir.path(), &text);
    let report = bench(&[&log, "--iodepth=1"], TimeSource::Virtual).unwrap();
    let job = &report.jobs[0];
    let tally = |direction: Direction| &job.tallies[direction.index()];
    assert_eq!((tally(Direction::Read).ios(), tally(Direction::Write).ios()), (3, 1));
    assert_eq!((tally(Direction::Read).bytes, tally(Direction::Write).bytes), (12_288, 512));
    let write = tally(Direction::Write).open_loop.as_ref().expect("it has times");
    assert_eq!(write.late_ios, 1, "it waited for two others");
    // Within the histogram's step.
    let response = write.response.max_ns();
    assert!((5_900_000..6_200_000).contains(&response), "{response}");
    assert_eq!(job.disks[0].elapsed.0 / 1_000_000, 32);
    let fast = [&log, "--iodepth=1", "--replay_time_scale=1000"];
    let fast = bench(&fast, TimeSource::Virtual).unwrap();
    assert!(fast.jobs[0].disks[0].elapsed.0 < 12_000_000);
    let skipped = [&log, "--iodepth=4", "--replay_no_stall=1", "--replay_skip=write,sync"];
    let skipped = bench(&skipped, TimeSource::Virtual).unwrap();
    let tallies = &skipped.jobs[0].tallies;
    assert_eq!((tallies[0].ios(), tallies[1].ios()), (3, 0));
    assert!(tallies[0].open_loop.is_none(), "without times it is a closed loop");
}

#[test]
fn recorded_devices_are_mapped_and_files_are_made() {
    let dir = tempfile::tempdir().unwrap();
    let (one, two) = (dir.path().join("one"), dir.path().join("two"));
    let text = "fio version 2 iolog\n/dev/gone1 add\n/dev/gone2 add\n/dev/gone1 open\n\
                /dev/gone1 write 65536 8192\n/dev/gone2 read 0 4096\n/dev/gone1 datasync 0 0\n";
    let log = log(dir.path(), text);
    let map = [
        format!("--replay_map=/dev/gone1={}", one.display()),
        format!("--replay_map=/dev/gone2={}", two.display()),
    ];
    let report = bench(&[&log, &map[0], &map[1]], TimeSource::Host).unwrap();
    assert_eq!(report.failures().count(), 0);
    assert_eq!(std::fs::metadata(&one).unwrap().len(), 73_728);
    assert_eq!(std::fs::metadata(&two).unwrap().len(), 4096);
    let redirect = format!("--replay_redirect={}", one.display());
    let report = bench(&[&log, &redirect], TimeSource::Host).unwrap();
    assert_eq!((report.jobs[0].disks.len(), report.failures().count()), (1, 0));
}

#[test]
fn a_log_that_can_not_be_is_refused_before_anything_is_sent() {
    let dir = tempfile::tempdir().unwrap();
    let said = |text: &str, more: &str| {
        let log = log(dir.path(), text);
        bench(&[&log, more], TimeSource::Host).unwrap_err().to_string()
    };
    let head = "fio version 3 iolog\n0 memory:1M add\n";
    assert!(said("nonsense\n", "--bs=4k").contains("line 1: \"nonsense\" is not the head"));
    assert!(said(&format!("{head}1 memory:1M read 1048576 512\n"), "--bs=4k").contains("1049088"));
    assert!(said(&format!("{head}1 memory:1M read 100 512\n"), "--bs=4k").contains("4 is not"));
    assert!(said(head, "--bs=4k").contains("no request in it"));
    let good = format!("{head}1 memory:1M write 0 512\n");
    assert!(said(&good, "--verify=md5").contains("leave out verify"));
    let missing = bench(&["--read_iolog=/nowhere/log"], TimeSource::Host).unwrap_err();
    assert!(missing.to_string().contains("can't open the log /nowhere/log"), "{missing}");
}

//! Whole runs, from the text of a job to the report: bounded by numbers of requests, never by
//! the machine's time.

use std::path::Path;
use std::sync::atomic::AtomicBool;

use isotherm_load::{Report, Setup, SetupError, Style, TimeSource, run};
use isotherm_workload::{Direction, Environment, Parsed};
use serde_json::Value;

fn go(text: &str, setup: &Setup) -> Result<Report, SetupError> {
    let parsed =
        Parsed::from_text("t.fio", text, &Environment::empty()).expect("a job that parses");
    run(&parsed, setup, &AtomicBool::new(false), &mut |_| {})
}

fn ran(text: &str) -> Report {
    go(text, &Setup::default()).unwrap()
}

fn in_virtual_time() -> Setup {
    Setup { time: TimeSource::Virtual, seed: 11, ..Setup::default() }
}

fn to_json(report: &Report) -> Value {
    report.to_json(&Style::default(), false)
}

fn reads(report: &Report, job: usize) -> u64 {
    report.jobs[job].tallies[Direction::Read.index()].ios()
}

fn writes(report: &Report, job: usize) -> u64 {
    report.jobs[job].tallies[Direction::Write.index()].ios()
}

#[test]
fn a_bounded_job_sends_just_so_many_requests() {
    let report = ran("[a]\nfilename=null:1T\nrw=randread\niodepth=32\nnumber_ios=10000\n");
    assert_eq!((reads(&report, 0), writes(&report, 0)), (10_000, 0));
    let job = &report.jobs[0];
    assert_eq!(job.depths.level.iter().sum::<u64>(), 10_000);
    assert_eq!(job.tallies[0].bytes, 10_000 * 4096);
    assert_eq!((job.drivers(), report.failures().count()), (vec!["null"], 0));
}

#[test]
fn a_region_is_covered_once_and_loops_repeat_it() {
    let report = ran("[a]\nfilename=null:1M\nrw=read\nbs=64k\nloops=3\n[b]\nstonewall\n\
                      filename=null:1M\nrw=randwrite\nbs=4k\nio_size=64k\n[c]\nstonewall\n\
                      filename=null:1M\nrw=read\noffset=50%\n");
    assert_eq!((reads(&report, 0), writes(&report, 1), reads(&report, 2)), (48, 16, 128));
}

#[test]
fn a_mix_keeps_its_share() {
    let report = ran("[a]\nfilename=memory:16M\nrw=randrw\nrwmixread=70\nnumber_ios=20000\n\
                      iodepth=16\nnorandommap\nio_size=1g\n");
    assert_eq!(reads(&report, 0) + writes(&report, 0), 20_000);
    // Binomial: mean 14,000, deviation 65.
    assert!((13_600..14_400).contains(&reads(&report, 0)), "{}", reads(&report, 0));
}

#[test]
fn the_json_has_fios_keys_and_types() {
    let report = ran("[global]\nbs=8k\n[a]\nfilename=memory:4M\nrw=randrw\nnumber_ios=300\n");
    let json = to_json(&report);
    let back: Value = serde_json::from_str(&json.to_string()).unwrap();
    assert_eq!(back["global options"]["bs"], "8k");
    let job = &back["jobs"][0];
    for (key, value) in job.as_object().unwrap() {
        let float = ["usr_cpu", "sys_cpu", "latency_percentile"].contains(&key.as_str());
        assert_eq!(value.is_f64(), float, "{key}");
    }
    assert_eq!(job["job options"]["rw"], "randrw");
    assert!(job["job options"].as_object().unwrap().values().all(Value::is_string));
    let keys = [
        "jobname",
        "groupid",
        "error",
        "eta",
        "elapsed",
        "job options",
        "read",
        "write",
        "trim",
        "sync",
        "job_runtime",
        "usr_cpu",
        "sys_cpu",
        "ctx",
        "majf",
        "minf",
        "iodepth_level",
        "iodepth_submit",
        "iodepth_complete",
        "latency_ns",
        "latency_us",
        "latency_ms",
        "latency_depth",
        "latency_target",
        "latency_percentile",
        "latency_window",
        "isotherm",
    ];
    let found: Vec<&String> = job.as_object().unwrap().keys().collect();
    assert_eq!(found, keys);
    let directions = ["read", "write", "trim"].map(|name| job[name].as_object().unwrap());
    let of_fio = [
        "io_bytes",
        "io_kbytes",
        "bw_bytes",
        "bw",
        "iops",
        "runtime",
        "total_ios",
        "short_ios",
        "drop_ios",
        "slat_ns",
        "clat_ns",
        "lat_ns",
        "bw_min",
        "bw_max",
        "bw_agg",
        "bw_mean",
        "bw_dev",
        "bw_samples",
        "iops_min",
        "iops_max",
        "iops_mean",
        "iops_stddev",
        "iops_samples",
    ];
    for direction in directions {
        assert_eq!(direction.keys().collect::<Vec<_>>(), of_fio);
        let floats: Vec<&str> =
            direction.iter().filter(|(_, v)| v.is_f64()).map(|(k, _)| k.as_str()).collect();
        assert_eq!(floats, ["iops", "bw_agg", "bw_mean", "bw_dev", "iops_mean", "iops_stddev"]);
    }
    let sum =
        job["read"]["total_ios"].as_u64().unwrap() + job["write"]["total_ios"].as_u64().unwrap();
    assert_eq!(sum, 300);
    let clat = &job["read"]["clat_ns"];
    assert_eq!(clat["percentile"].as_object().unwrap().len(), 17);
    assert!(clat["percentile"]["99.000000"].as_u64() <= clat["percentile"]["99.990000"].as_u64());
    assert_eq!(clat["N"], job["read"]["total_ios"]);
    let shares = job["latency_us"].as_object().unwrap().values();
    assert!(shares.chain(job["latency_ns"].as_object().unwrap().values()).all(Value::is_f64));
    let disk = &back["per_disk"][0];
    assert_eq!((&disk["driver"], &disk["direct"]), (&Value::from("memory"), &Value::Null));
    assert!(back["disk_util"].is_array() && back["messages"].is_array());
}

#[test]
fn the_text_has_fios_line_shapes() {
    let text = ran("[a]\nfilename=memory:4M\nrw=randrw\nnumber_ios=300\n").to_string();
    for shape in [
        "a: (groupid=0, jobs=1): err= 0:",
        "  read: IOPS=",
        "  write: IOPS=",
        "    clat (",
        "     lat (",
        "     | 99.00th=[",
        "  IO depths    : 1=100.0%",
        "     issued rwts: total=",
        "Run status group 0 (all jobs):",
        "   READ: bw=",
        "  WRITE: bw=",
    ] {
        assert!(text.contains(shape), "{shape:?} in\n{text}");
    }
}

#[test]
fn copies_and_groups_are_joined_as_asked() {
    let jobs = "[a]\nfilename=null:1T\nnumjobs=3\nnumber_ios=100\n";
    assert_eq!(ran(jobs).jobs.len(), 3);
    let joined = ran(&format!(
        "{jobs}group_reporting\n[b]\nfilename=null:1T\nnumber_ios=50\n\
                               group_reporting\n[c]\nnew_group\nfilename=null:1T\nnumber_ios=7\n"
    ));
    let counts: Vec<(u32, u32, u64)> =
        joined.jobs.iter().map(|job| (job.group, job.lanes, job.ios())).collect();
    assert_eq!(counts, [(0, 4, 350), (1, 1, 7)]);
}

#[test]
fn many_disks_are_one_result_with_each_disk_in_it() {
    let setup = Setup { disks: 40, ..Setup::default() };
    let report =
        go("[a]\nfilename=null:1T\nrw=randread\niodepth=32\nnumber_ios=500\n", &setup).unwrap();
    let [job] = &report.jobs[..] else { panic!("one result") };
    assert_eq!((job.lanes, job.ios(), job.disks.len()), (40, 20_000, 40));
    assert!(job.disks.iter().all(|disk| disk.tallies[0].ios() == 500));
}

#[test]
fn disks_of_copies_are_one_row_and_many_disks_are_many() {
    let rows = |text: &str, disks: u32| {
        let report = go(text, &Setup { disks, ..Setup::default() }).unwrap();
        let document = to_json(&report);
        let ios = |row: &Value| row["read"]["total_ios"].as_u64().unwrap();
        document["per_disk"].as_array().unwrap().iter().map(ios).collect::<Vec<_>>()
    };
    let copies = "[a]\nfilename=null:1T\nnumjobs=3\nnumber_ios=100\n[b]\nfilename=null:1T\n\
                  number_ios=7\n";
    assert_eq!(rows(copies, 1), [300, 7]);
    assert_eq!(rows("[a]\nfilename=null:1T\nnumber_ios=100\n", 3), [100, 100, 100]);
}

#[test]
fn a_job_on_several_disks_takes_them_in_turn() {
    let report = ran("[a]\nfilename=null:1T\nfilename=memory:1M\nfilename=null:1T?block=4K\n\
                      rw=randread\niodepth=7\nnumber_ios=300\nsize=1536k\nio_size=1g\n");
    let counts: Vec<u64> = report.jobs[0].disks.iter().map(|d| d.tallies[0].ios()).collect();
    assert_eq!(counts, [100, 100, 100]);
}

#[test]
fn a_file_is_written_whole_and_read_back() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("disk");
    let job = format!(
        "[w]\nfilename={0}\nrw=randwrite\nsize=1m\niodepth=8\nrefill_buffers\n\
         [r]\nstonewall\nfilename={0}\nrw=read\nsize=1m\nbs=64k\niodepth=4\n",
        path.display()
    );
    let report = ran(&job);
    assert_eq!((writes(&report, 0), reads(&report, 1)), (256, 16));
    let bytes = std::fs::read(&path).unwrap();
    assert_eq!(bytes.len(), 1 << 20);
    let sectors: std::collections::BTreeSet<&[u8]> = bytes.chunks(512).collect();
    assert_eq!(sectors.len(), 2048, "each sector has content of its own");
    let disk = &report.jobs[0].disks[0];
    assert_eq!(disk.info.path.as_deref(), Some(path.as_path()));
    assert!(disk.info.driver.contains("uring") || disk.info.driver.contains("file"));
    assert_eq!(disk.info.direct, Some(false), "buffered unless direct=1, as in fio");
}

#[test]
fn plain_threads_serve_a_file_too() {
    let dir = tempfile::tempdir().unwrap();
    let job = format!(
        "[a]\ndirectory={}\nioengine=file\nrw=randrw\nsize=1m\niodepth=8\nnumber_ios=200\n",
        dir.path().display()
    );
    let report = ran(&job);
    assert_eq!(report.jobs[0].ios(), 200);
    assert_eq!(report.jobs[0].drivers(), ["file"]);
    assert!(dir.path().join("a.0.0").exists(), "named as fio names it");
}

#[test]
fn a_missing_file_is_laid_out_to_be_read_but_never_opened_for_writing() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("new");
    let job = format!("[a]\nfilename={}\nrw=randread\nsize=64k\n", path.display());
    assert_eq!(reads(&ran(&job), 0), 16);
    let mut rights = std::fs::metadata(&path).unwrap().permissions();
    rights.set_readonly(true);
    std::fs::set_permissions(&path, rights).unwrap();
    let before = std::fs::metadata(&path).unwrap().modified().unwrap();
    assert_eq!(reads(&ran(&job), 0), 16);
    assert_eq!(std::fs::metadata(&path).unwrap().modified().unwrap(), before);
}

#[test]
fn a_sized_spec_makes_its_file_for_readers_too_and_says_so() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("d{}.img");
    let job = format!("[a]\nfilename={}?size=64K\nrw=read\n", path.display());
    let report = go(&job, &Setup { disks: 2, ..Setup::default() }).unwrap();
    assert_eq!(reads(&report, 0), 32);
    assert!(report.messages.concat().contains("d1.img was made, sparse"), "{:?}", report.messages);
}

fn refusal(text: &str) -> String {
    go(text, &Setup::default()).expect_err("it must be refused").to_string()
}

#[test]
fn a_skip_leaves_holes_where_fio_does() {
    let name = format!("isotherm-load-skip-{}", std::process::id());
    let path = std::env::temp_dir().join(name);
    let written = |rw: &str| -> Vec<usize> {
        let spec = format!("file:{}?size=1M:direct=no", path.display());
        ran(&format!("[a]\nfilename={spec}\nrw={rw}\nbs=128k\nnumber_ios=4\n"));
        let bytes = std::fs::read(&path).unwrap();
        std::fs::remove_file(&path).unwrap();
        let chunks = bytes.chunks(128 << 10).enumerate();
        chunks.filter(|(_, chunk)| chunk.iter().any(|byte| *byte != 0)).map(|(at, _)| at).collect()
    };
    assert_eq!(written("write"), [0, 1, 2, 3]);
    assert_eq!(written("write:128k"), [0, 2, 4, 6]);
    assert_eq!(written("write:-256k"), [0, 4, 5, 6]);
}

#[test]
fn what_does_not_fit_is_refused_by_file_and_line() {
    let cases = [
        (
            "[a]\nfilename=null:1M\nsize=2m\n",
            "t.fio:3: job a: the region ends at byte 2097152, null at 1048576",
        ),
        (
            "[a]\nfilename=null:1M\n\noffset=1m\n",
            "t.fio:4: job a: a region of 0 bytes holds not one request of 4096 on null",
        ),
        (
            "[a]\nfilename=null:1M\nbs=1000\n",
            "t.fio:3: job a: bs=1000 is not a multiple of the 512 byte blocks of null",
        ),
        (
            "[a]\nfilename=null:1M\noffset=100\n",
            "t.fio:3: job a: offset=100 is not a multiple of the 512 byte blocks of null",
        ),
        (
            "[a]\nfilename=null:1M\nrw=write:-100\n",
            "t.fio:3: job a: rw=100 is not a multiple of the 512 byte blocks of null",
        ),
        (
            "[a]\nfilename=null:1M\nrw=randrw\nrate_iops=10,0\n",
            "t.fio:4: job a: a mix of reads and writes needs a rate for both, or for neither",
        ),
        (
            "[a]\nfilename=/dev/isotherm-does-not-exist\n",
            "t.fio:2: job a: /dev/isotherm-does-not-exist: no such file or device",
        ),
        ("[a]\nrw=read\n", "job a: no filename: give filename=PATH"),
    ];
    for (text, expected) in cases {
        let refusal = refusal(text);
        assert!(refusal.starts_with(expected), "{refusal}");
    }
    let spec = refusal("[a]\nfilename=hdd:exos-x99,null:1T\n");
    assert!(spec.starts_with("t.fio:2: job a: hdd:exos-x99,null:1T: "), "{spec}");
}

#[test]
fn a_file_that_is_too_short_to_be_read_stays_as_it_is() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("short");
    std::fs::write(&path, vec![1; 8192]).unwrap();
    let text = format!("[a]\nfilename={}\nrw=read\nsize=1m\n", path.display());
    let refusal = refusal(&text);
    assert!(refusal.contains("ends at byte 1048576, short at 8192"), "{refusal}");
    assert_eq!(std::fs::read(&path).unwrap(), vec![1; 8192]);
}

#[test]
fn a_refused_job_keeps_the_others_from_starting() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("x");
    std::fs::write(&path, vec![1; 8192]).unwrap();
    let text =
        format!("[a]\nfilename={}\nrw=write\n[b]\nfilename=null:1M\nsize=2m\n", path.display());
    assert!(refusal(&text).contains("job b"));
    assert_eq!(std::fs::read(&path).unwrap(), vec![1; 8192]);
    let read_only = Setup { read_only: true, ..Setup::default() };
    let refusal = go(&format!("[a]\nfilename={}\nrw=write\n", path.display()), &read_only);
    assert_eq!(
        refusal.unwrap_err().to_string(),
        "t.fio:3: job a: it writes, and --readonly was given"
    );
    assert_eq!(std::fs::read(&path).unwrap(), vec![1; 8192]);
}

#[test]
fn naming_a_stranger_for_destruction_is_an_error() {
    let setup = Setup { destroy: vec!["NOSUCHSERIAL".into()], ..Setup::default() };
    let refusal = go("[a]\nfilename=null:1M\nrw=read\n", &setup).unwrap_err().to_string();
    assert!(refusal.contains("--destroy NOSUCHSERIAL names none of the devices"), "{refusal}");
}

#[test]
fn a_bad_sector_ends_its_lane_with_disk_and_sector_and_not_its_neighbours() {
    let report = ran("[sick]\nfilename=fault:bad=1000-1003,memory:1M\nrw=read\niodepth=4\n\
                      [well]\nfilename=memory:1M\nrw=read\n");
    let failures: Vec<String> = report.failures().map(ToString::to_string).collect();
    let [failure] = &failures[..] else { panic!("{failures:?}") };
    assert!(failure.contains("read failed at sector 1000: "), "{failure}");
    // 125 requests of 8 blocks lie before block 1000; those in flight beside the bad one ended.
    assert!((125..=128).contains(&reads(&report, 0)), "{}", reads(&report, 0));
    assert_eq!(reads(&report, 1), 256);
    let json = to_json(&report);
    assert_eq!((&json["jobs"][0]["error"], &json["jobs"][1]["error"]), (&5.into(), &0.into()));
    assert_eq!(json["jobs"][0]["isotherm"]["failures"][0]["sector"], 1000);
    assert!(report.to_string().contains("err= 5"));
}

#[test]
fn a_device_that_disappears_leaves_what_was_measured() {
    let report = ran("[a]\nfilename=fault:gone=100,memory:1M\nrw=randread\niodepth=2\n");
    let failure = report.failures().next().unwrap().to_string();
    assert!(failure.contains("the device is gone"), "{failure}");
    assert!((90..=100).contains(&reads(&report, 0)), "{}", reads(&report, 0));
}

#[test]
fn a_run_that_is_stopped_reports_what_ran() {
    let parsed = "[a]\nfilename=null:1T\nrw=randread\ntime_based\nruntime=1h\n";
    let parsed = Parsed::from_text("t.fio", parsed, &Environment::empty()).unwrap();
    let report = run(&parsed, &Setup::default(), &AtomicBool::new(true), &mut |_| {}).unwrap();
    assert!(report.interrupted && reads(&report, 0) > 0);
    assert!(report.to_string().contains("stopped before its end"));
    assert_eq!(to_json(&report)["isotherm"]["interrupted"], true);
}

/// 4 KiB random reads on a whole Exos X24: the published 85 to 95 at depth 1.
#[test]
fn a_mechanical_disk_in_virtual_time_is_as_slow_as_it_should_be_and_always_the_same() {
    let job = "[a]\nfilename=hdd:exos-x24,null:24T\nrw=randread\nnumber_ios=2000\n";
    let one = go(job, &in_virtual_time()).unwrap();
    let iops = one.jobs[0].iops(Direction::Read);
    assert!((80.0..100.0).contains(&iops), "{iops}");
    let two = go(job, &in_virtual_time()).unwrap();
    assert_eq!(one.jobs[0].tallies, two.jobs[0].tallies);
    assert_eq!(one.jobs[0].elapsed, two.jobs[0].elapsed);
    assert_eq!(to_json(&one)["isotherm"]["time"], "virtual");
}

#[test]
fn runtime_and_ramp_count_virtual_seconds() {
    let job = "[a]\nfilename=hdd:exos-x24,null:24T\nrw=randread\ntime_based\nruntime=60\n\
               ramp_time=10\niodepth=4\n";
    let report = go(job, &in_virtual_time()).unwrap();
    let job = &report.jobs[0];
    let seconds = job.elapsed.as_secs_f64();
    assert!((60.0..61.0).contains(&seconds), "{seconds}");
    // A half second in which nothing came is no sample.
    assert!(job.rates[0].iops.samples() >= 117, "{}", job.rates[0].iops.samples());
    assert_eq!(job.depths.level[2], job.depths.level.iter().sum::<u64>(), "always 4 in flight");
}

/// Twice what the disk can do: a closed loop would see nothing of the wait.
#[test]
fn an_open_loop_counts_from_the_intended_start() {
    let job = "[a]\nfilename=hdd:exos-x24,null:24T\nrw=randread\ntime_based\nruntime=30\n\
               iodepth=1\nrate_iops=180\nrate_process=poisson\n";
    let report = go(job, &in_virtual_time()).unwrap();
    let tally = &report.jobs[0].tallies[0];
    let open = tally.open_loop.as_ref().unwrap();
    assert!(tally.latencies.mean_ns() < 15e6, "{}", tally.latencies.mean_ns());
    assert!(open.response.mean_ns() > 3e9, "{}", open.response.mean_ns());
    assert!(open.late_ios > tally.ios() / 2 && open.unsent_ios > 1000);
    // What came was sent, or counted as not sent: 5,400 arrivals, deviation 73.
    let arrived = tally.ios() + open.unsent_ios;
    assert!((5_100..5_700).contains(&arrived), "{arrived}");
    assert!(report.to_string().contains("warning: p99(rt) of its reads is"));
    let json = to_json(&report);
    assert_eq!(json["jobs"][0]["read"]["rt_ns"]["N"], tally.ios());
}

#[test]
fn an_open_loop_that_keeps_up_is_not_late() {
    let job = "[a]\nfilename=hdd:exos-x24,null:24T\nrw=randread\nnumber_ios=300\niodepth=8\n\
               rate_iops=20\n";
    let report = go(job, &in_virtual_time()).unwrap();
    let job = &report.jobs[0];
    let open = job.tallies[0].open_loop.as_ref().unwrap();
    assert_eq!((open.late_ios, open.unsent_ios, job.ios()), (0, 0, 300));
    assert!((19.5..20.5).contains(&job.iops(Direction::Read)), "{}", job.iops(Direction::Read));
}

#[test]
fn only_models_over_memory_run_in_virtual_time() {
    let refusal = go("[a]\nfilename=null:1T\n", &in_virtual_time()).unwrap_err().to_string();
    assert!(refusal.contains("does not live in virtual time"), "{refusal}");
}

#[test]
fn a_depth_beyond_the_device_is_capped_and_said() {
    let report = go(
        "[a]\nfilename=hdd:exos-x24:depth=4,null:24T\nrw=randread\nnumber_ios=200\niodepth=64\n",
        &in_virtual_time(),
    )
    .unwrap();
    assert_eq!(report.jobs[0].depth, 4);
    assert_eq!(to_json(&report)["jobs"][0]["isotherm"]["depth"], 4);
    let said = report.jobs[0].notes().concat();
    assert!(said.contains("4 requests in flight instead of 64"), "{said}");
}

#[test]
fn what_was_mapped_or_ignored_is_said() {
    let report = ran("[a]\nfilename=null:1T\nioengine=libaio\nthread\nnumber_ios=5\n\
                      [b]\nfilename=null:1T\nioengine=psync\niodepth=16\nnumber_ios=5\n");
    let said = report.messages.join("\n");
    for part in [
        "ioengine=libaio is served by io_uring",
        "t.fio:4: thread has no effect",
        "ioengine=psync is served by io_uring with one request in flight, as iodepth has no effect",
    ] {
        assert!(said.contains(part), "{part:?} in {said}");
    }
    assert!(Path::new("/").is_absolute() && report.jobs[1].depth == 1);
}

//! Our results beside those of an installed fio, Debian's 3.33: same jobs, both run. Where there
//! is no fio of that series these tests say so and pass.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::process::Command;
use std::sync::atomic::AtomicBool;

use isotherm_load::{FORMATS, Histogram, Report, Setup, Style, run};
use isotherm_workload::{Environment, Parsed};
use serde_json::Value;

/// What fio prints of a job file, run in `folder`; `None` where it is not installed.
fn fio(folder: &Path, job: &str, flags: &[&str]) -> Option<String> {
    std::fs::write(folder.join("t.fio"), job).unwrap();
    let version = Command::new("fio").arg("--version").output().ok()?;
    let version = String::from_utf8_lossy(&version.stdout).trim().to_owned();
    if version != "fio-3.33" {
        println!("skipped: written for fio 3.33, this is {version}");
        return None;
    }
    let output = Command::new("fio").args(flags).arg("t.fio").current_dir(folder).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    Some(String::from_utf8(output.stdout).unwrap())
}

fn ours(job: &str) -> Report {
    let parsed = Parsed::from_text("t.fio", job, &Environment::empty()).unwrap();
    run(&parsed, &Setup::default(), &AtomicBool::new(false), &mut |_| {}).unwrap()
}

fn written(report: &Report, format: &str, terse_version: u32) -> String {
    let style = Style { terse_version, ..Style::default() };
    let format = FORMATS.iter().find(|row| row.name == format).unwrap();
    (format.write)(report, &style)
}

/// Jobs that both run, in a folder of their own.
fn jobs(folder: &Path) -> Vec<(&'static str, String)> {
    let head = |options: &str| {
        format!("[global]\nbs=4k\nfilename={}/data\nsize=2m\n{options}", folder.display())
    };
    vec![
        ("plain", head("[a]\nrw=randread\nioengine=psync\n")),
        (
            "a mix by io_uring",
            head("ioengine=io_uring\niodepth=4\n[a]\ndescription=x\nreadwrite=randrw\n"),
        ),
        ("copies", head("[a]\nrw=randrw\nnumjobs=3\n[b]\nstonewall\nrw=write\n")),
        ("a group", head("group_reporting\n[a]\nrw=randrw\nnumjobs=3\n")),
        (
            "all percentiles",
            head("ioengine=io_uring\nlat_percentiles=1\nslat_percentiles=1\n[a]\nrw=randrw\n"),
        ),
        ("some percentiles", head("percentile_list=50:99.9:99.999\n[a]\nrw=randrw\n")),
        ("no percentiles", head("clat_percentiles=0\n[a]\nrw=randrw\n")),
        ("mixed", head("unified_rw_reporting=mixed\n[a]\nrw=randrw\n")),
        ("both", head("unified_rw_reporting=both\n[a]\nrw=randrw\n")),
        ("reduced", head("gtod_reduce=1\n[a]\nrw=randrw\n")),
        ("without clat", head("disable_clat=1\nlat_percentiles=1\n[a]\nrw=read\n")),
        ("without lat", head("disable_lat=1\ndisable_slat=1\ndisable_bw=1\n[a]\nrw=read\n")),
    ]
}

/// Paths, and the types that stand there.
type Paths = BTreeMap<String, BTreeSet<&'static str>>;

/// Every path of a document, with the type of what stands there. Names that are values (bins) are
/// stars, and entries of lists are one.
fn paths(value: &Value, at: &str, out: &mut Paths) {
    let kind = match value {
        Value::Object(map) => {
            for (key, below) in map {
                let key = if at.ends_with("/bins") { "*" } else { key };
                paths(below, &format!("{at}/{key}"), out);
            }
            "object"
        }
        Value::Array(rows) => {
            rows.iter().for_each(|row| paths(row, &format!("{at}/[]"), out));
            "list"
        }
        Value::String(_) => "text",
        Value::Number(number) if number.is_f64() => "float",
        Value::Number(_) => "integer",
        Value::Bool(_) => "truth",
        Value::Null => "nothing",
    };
    out.entry(at.to_owned()).or_default().insert(kind);
}

/// What stands in our documents beside fio's.
fn is_our_own(path: &str) -> bool {
    let roots = ["/isotherm", "/per_disk", "/messages", "/jobs/[]/isotherm"];
    roots.iter().any(|root| path == *root || path.starts_with(&format!("{root}/")))
}

#[test]
fn documents_have_fios_paths_and_types() {
    let folder = tempfile::tempdir().unwrap();
    for (name, job) in jobs(folder.path()) {
        for format in ["json", "json+"] {
            let flag = format!("--output-format={format}");
            let Some(theirs) = fio(folder.path(), &job, &[&flag]) else { return };
            let theirs: Value = serde_json::from_str(&theirs).unwrap();
            let ours: Value = serde_json::from_str(&written(&ours(&job), format, 3)).unwrap();
            let [mut wanted, mut found] = [BTreeMap::new(), BTreeMap::new()];
            paths(&theirs, "", &mut wanted);
            paths(&ours, "", &mut found);
            found.retain(|path, _| !is_our_own(path));
            // The disk underneath may be one that only one of the two finds.
            for set in [&mut wanted, &mut found] {
                set.retain(|path, _| !path.starts_with("/disk_util/"));
            }
            let differ = |a: &Paths, b: &Paths| -> Paths {
                let only = a.iter().filter(|(path, kinds)| b.get(*path) != Some(kinds));
                only.map(|(path, kinds)| (path.clone(), kinds.clone())).collect()
            };
            let (ours_only, fios_only) = (differ(&found, &wanted), differ(&wanted, &found));
            assert!(found == wanted, "{name}, {format}: ours {ours_only:?}, fio's {fios_only:?}");
            assert_eq!(
                ours["jobs"].as_array().unwrap().len(),
                theirs["jobs"].as_array().unwrap().len()
            );
            for (job, of_fio) in
                ours["jobs"].as_array().unwrap().iter().zip(theirs["jobs"].as_array().unwrap())
            {
                let keys =
                    |job: &Value| job.as_object().unwrap().keys().cloned().collect::<Vec<_>>();
                let mine: Vec<String> =
                    keys(job).into_iter().filter(|key| key != "isotherm").collect();
                assert_eq!(mine, keys(of_fio), "{name}: the order of keys");
                for key in ["jobname", "groupid", "error", "job options"] {
                    assert_eq!(job[key], of_fio[key], "{name}: {key}");
                }
                for way in ["read", "write"] {
                    assert_eq!(job[way]["total_ios"].is_null(), of_fio[way]["total_ios"].is_null());
                }
            }
        }
    }
}

/// Percentiles and bins of times that fio measured, request by request, are fio's own.
#[test]
fn percentiles_and_bins_are_fios_to_the_bucket() {
    let folder = tempfile::tempdir().unwrap();
    let job = format!(
        "[a]\nfilename={}/data\nsize=64m\nrw=randread\nioengine=io_uring\niodepth=8\n\
         number_ios=5000\nwrite_lat_log=x\npercentile_list=1:5:10:25:50:75:90:99:99.9:99.99:100\n",
        folder.path().display()
    );
    let Some(theirs) = fio(folder.path(), &job, &["--output-format=json+"]) else { return };
    let theirs: Value = serde_json::from_str(&theirs).unwrap();
    let told = &theirs["jobs"][0]["read"]["clat_ns"];
    let log = std::fs::read_to_string(folder.path().join("x_clat.1.log")).unwrap();
    let mut histogram = Histogram::new();
    for line in log.lines() {
        histogram.record(line.split(", ").nth(1).unwrap().parse().unwrap());
    }
    assert_eq!(histogram.count(), 5000);
    let bins: BTreeMap<String, u64> =
        histogram.bins().map(|(ns, count)| (ns.to_string(), count)).collect();
    let of_fio: BTreeMap<String, u64> = serde_json::from_value(told["bins"].clone()).unwrap();
    assert_eq!(bins, of_fio);
    let percentiles: BTreeMap<String, u64> =
        serde_json::from_value(told["percentile"].clone()).unwrap();
    assert_eq!(percentiles.len(), 11);
    for (percent, ns) in percentiles {
        assert_eq!(histogram.percentile(percent.parse().unwrap()), ns, "{percent}");
    }
}

/// A field as a script sees it: a number, a share, a percentile, or a word.
fn field_kind(field: &str) -> &'static str {
    let number = |text: &str| text.parse::<f64>().is_ok();
    match field.split_once("%=") {
        Some((percent, value)) if number(percent) && number(value) => "percentile",
        _ if field.strip_suffix('%').is_some_and(number) => "share",
        _ if field.parse::<u64>().is_ok() => "integer",
        _ if number(field) => "float",
        _ => "word",
    }
}

#[test]
fn terse_lines_have_fios_fields_in_fios_places() {
    let folder = tempfile::tempdir().unwrap();
    for (name, job) in jobs(folder.path()) {
        // What differs between versions shows in one mix; all jobs in fio's default.
        let versions: &[u32] = if name == "both" { &[2, 3, 4, 5] } else { &[3] };
        for &version in versions {
            let flag = format!("--terse-version={version}");
            let Some(theirs) = fio(folder.path(), &job, &["--minimal", &flag]) else { return };
            let report = ours(&job);
            // Fields of disks repeat for each, and the two may find different ones.
            let disks = report.disk_uses.len();
            let ours = written(&report, "terse", version);
            let lines = |text: &str| -> Vec<Vec<&'static str>> {
                let lines = text.lines().filter(|line| line.starts_with(&version.to_string()));
                lines.map(|line| line.split(';').map(field_kind).collect()).collect()
            };
            let (mine, wanted) = (lines(&ours), lines(&theirs));
            assert_eq!(mine.len(), wanted.len(), "{name}, version {version}");
            for (line, of_fio) in mine.iter().zip(&wanted) {
                let least = line.len().min(of_fio.len());
                assert_eq!(line[..least], of_fio[..least], "{name}, version {version}");
                if disks == 1 && name == "plain" {
                    assert_eq!(line.len(), of_fio.len(), "version {version}");
                }
            }
        }
    }
    let Some(_) = fio(folder.path(), &jobs(folder.path())[0].1, &["--minimal"]) else { return };
    let report = ours(&jobs(folder.path())[0].1);
    let fields = |version| written(&report, "terse", version).trim_end().split(';').count();
    let disks = report.disk_uses.len() * 9;
    assert_eq!((fields(3) - disks, fields(5) - disks), (121, 180));
}

/// What a line begins with, up to the first number.
fn shape(line: &str) -> String {
    let end = line.find(|c: char| c.is_ascii_digit()).unwrap_or(line.len());
    line[..end]
        .replace("nsec", "?sec")
        .replace("usec", "?sec")
        .replace("msec", "?sec")
        .trim_end()
        .to_owned()
}

#[test]
fn the_text_has_fios_lines() {
    let folder = tempfile::tempdir().unwrap();
    for (name, job) in jobs(folder.path()) {
        let Some(theirs) = fio(folder.path(), &job, &["--output-format=normal"]) else { return };
        let text = written(&ours(&job), "normal", 3);
        let mine: BTreeSet<String> = text.lines().map(shape).collect();
        // What comes before the results, and which classes of latencies there are, differ.
        let results = theirs.lines().skip_while(|line| !line.contains("(groupid="));
        for line in results {
            let wanted = shape(line);
            let by_chance = ["  lat (", "   bw (", "   iops ", "Disk stats", "  cpu"];
            if by_chance.iter().any(|start| wanted.starts_with(start)) || line.contains(": ios=") {
                continue;
            }
            assert!(mine.contains(&wanted), "{name}: {line:?} as {wanted:?} in\n{text}");
        }
    }
}

#[test]
fn logs_have_fios_names_and_columns() {
    let orders = [
        "",
        "log_offset=1\n",
        "log_avg_msec=100\n",
        "log_avg_msec=100\nlog_offset=1\nlog_max_value=1\n",
        "log_hist_msec=100\nlog_hist_coarseness=4\n",
        "log_unix_epoch=1\n",
        "per_job_logs=0\n",
    ];
    for order in orders {
        let [theirs, mine] = [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()];
        let job = |folder: &Path| {
            format!(
                "[global]\nfilename={}/data\nsize=1m\nrw=randrw\nioengine=io_uring\ntime_based\n\
                 runtime=1\nrate_iops=200\nwrite_bw_log=x\nwrite_iops_log=x\nwrite_lat_log\n\
                 write_hist_log=h\n{order}[a]\nnumjobs=2\n",
                folder.display()
            )
        };
        if fio(theirs.path(), &job(theirs.path()), &[]).is_none() {
            return;
        }
        std::fs::write(mine.path().join("data"), vec![1; 1 << 20]).unwrap();
        ours(&job(mine.path())).write_logs(mine.path()).unwrap();
        let logs = |folder: &Path| -> BTreeMap<String, String> {
            let files = std::fs::read_dir(folder).unwrap().flatten();
            let logs = files.filter(|file| file.path().extension().is_some_and(|e| e == "log"));
            logs.map(|file| {
                let name = file.file_name().to_string_lossy().into_owned();
                (name, std::fs::read_to_string(file.path()).unwrap())
            })
            .collect()
        };
        let (theirs, mine) = (logs(theirs.path()), logs(mine.path()));
        let names = |logs: &BTreeMap<String, String>| logs.keys().cloned().collect::<Vec<_>>();
        assert_eq!(names(&mine), names(&theirs), "{order}");
        for (name, text) in &theirs {
            let columns = |text: &str| text.lines().next().map(|line| line.split(", ").count());
            assert_eq!(columns(&mine[name]), columns(text), "{order}{name}");
            let first = |text: &str| -> Vec<i64> {
                let line = text.lines().next().unwrap_or("");
                line.split(", ").filter_map(|field| field.parse().ok()).collect()
            };
            if let ([at, ..], [of_fio, ..]) = (&first(&mine[name])[..], &first(text)[..]) {
                assert!((at - of_fio).abs() < 60_000, "{order}{name}: {at} and {of_fio} ms");
            }
            if order == "log_avg_msec=100\n" && name == "x_iops.1.log" {
                // 200 a second each way: all of a second, give or take its ends.
                let rows = mine[name].lines().count();
                assert!((14..=22).contains(&rows), "{rows} rows");
            }
        }
    }
}

//! `isotherm bench` as a program: whatever happens, what it leaves is a document.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};

use serde_json::Value;

fn isotherm(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_isotherm"));
    command.args(arguments);
    command
}

fn bench(arguments: &[&str]) -> Output {
    isotherm(&["bench"]).args(arguments).output().unwrap()
}

/// The one document on standard output, and nothing else.
fn document(output: &Output) -> Value {
    let text = String::from_utf8(output.stdout.clone()).unwrap();
    serde_json::from_str(&text).unwrap_or_else(|error| panic!("{error}: {text}"))
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

const JSON: &str = "--output-format=json";

#[test]
fn a_disk_that_fails_leaves_a_document_with_the_error() {
    let spec = "--filename=fault:bad=100-103,memory:1M";
    let output = bench(&["--name=a", spec, "--rw=read", JSON]);
    assert!(!output.status.success());
    let document = document(&output);
    assert_eq!(document["jobs"][0]["error"], 5);
    assert_eq!(document["jobs"][0]["isotherm"]["failures"][0]["sector"], 100);
    assert!(said(&output).contains("failed at sector 100"), "{}", said(&output));
}

#[test]
fn a_device_that_goes_leaves_a_document_of_what_ran() {
    let spec = "--filename=fault:gone=200,memory:1M";
    let output = bench(&["--name=a", spec, "--rw=randread", "--time_based", "--runtime=5", JSON]);
    assert!(!output.status.success());
    let document = document(&output);
    assert_eq!(document["jobs"][0]["error"], 19);
    assert!(document["jobs"][0]["read"]["total_ios"].as_u64().unwrap() >= 190);
}

#[test]
fn a_run_that_cannot_begin_leaves_a_document_that_says_why() {
    for arguments in [
        vec!["--name=a", "--filename=/dev/isotherm-none", "--rw=read", JSON],
        vec!["--name=a", "--iodpeth=3", JSON],
        vec!["--output-format=json+", "/no/such/job.fio"],
        vec!["--name=a", "--rw=read", "--disks=/dev/isotherm-none*", JSON],
    ] {
        let output = bench(&arguments);
        assert!(!output.status.success(), "{arguments:?}");
        let document = document(&output);
        assert_eq!(document["jobs"], serde_json::json!([]), "{arguments:?}");
        let why = document["messages"][0].as_str().unwrap();
        assert!(!why.is_empty() && said(&output).contains(why), "{why} in {}", said(&output));
    }
}

#[test]
fn an_interrupt_leaves_a_document_of_what_ran() {
    let mut child: Child = isotherm(&["bench", "--name=a", "--filename=null:1T", "--rw=randread"])
        .args(["--time_based", "--runtime=60", JSON, "--status-interval=100ms"])
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    // The first document of the run so far: it runs. Then the interrupt.
    let mut out = std::io::BufReader::new(child.stdout.take().unwrap());
    let mut first = String::new();
    std::io::BufRead::read_line(&mut out, &mut first).unwrap();
    let id = child.id().to_string();
    assert!(Command::new("kill").args(["-INT", &id]).status().unwrap().success());
    let mut rest = String::new();
    std::io::Read::read_to_string(&mut out, &mut rest).unwrap();
    assert!(!child.wait().unwrap().success());
    let text = first + &rest;
    let documents: Vec<Value> =
        serde_json::Deserializer::from_str(&text).into_iter().collect::<Result<_, _>>().unwrap();
    let last = documents.last().unwrap();
    assert!(documents.len() >= 2);
    assert_eq!(last["isotherm"]["interrupted"], true);
    assert_eq!(documents[0]["isotherm"]["interrupted"], false);
    let ios = |document: &Value| document["jobs"][0]["read"]["total_ios"].as_u64().unwrap();
    assert!(ios(last) > ios(&documents[0]) && ios(&documents[0]) > 0);
}

#[test]
fn results_that_find_no_room_go_to_standard_output() {
    if !Path::new("/dev/full").exists() {
        println!("skipped: there is no /dev/full");
        return;
    }
    let output =
        bench(&["--name=a", "--filename=null:1M", "--rw=read", JSON, "--output=/dev/full"]);
    assert!(!output.status.success());
    assert_eq!(document(&output)["jobs"][0]["read"]["total_ios"], 256);
    assert!(said(&output).contains("results go to standard output"), "{}", said(&output));
}

#[test]
fn each_line_of_json_lines_is_a_document() {
    let output = bench(&[
        "--name=a",
        "--filename=hdd:exos-x24,null:24T",
        "--rw=randread",
        "--time_based",
        "--runtime=1",
        "--status-interval=300ms",
        "--output-format=jsonl",
    ]);
    let text = String::from_utf8(output.stdout).unwrap();
    let ios: Vec<u64> = text
        .lines()
        .map(|line| serde_json::from_str::<Value>(line).unwrap())
        .map(|document| document["jobs"][0]["read"]["total_ios"].as_u64().unwrap())
        .collect();
    assert!(ios.len() >= 3 && ios.is_sorted(), "{ios:?}");
}

#[test]
fn several_formats_follow_each_other_and_logs_lie_where_they_are_wanted() {
    let folder = tempfile::tempdir().unwrap();
    let aux = format!("--aux-path={}", folder.path().display());
    let output = bench(&[
        "--name=a",
        "--filename=null:1M",
        "--rw=randrw",
        "--write_lat_log=x",
        "--write_bw_log",
        &aux,
        "--output-format=normal,terse,json",
    ]);
    assert!(output.status.success(), "{}", said(&output));
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(text.starts_with("3;isotherm-"));
    assert!(text.find("\"jobs\" : [").unwrap() < text.find("a: (groupid=0").unwrap());
    for log in ["x_lat.1.log", "x_slat.1.log", "x_clat.1.log", "a_bw.1.log"] {
        let lines = std::fs::read_to_string(folder.path().join(log)).unwrap();
        assert_eq!(lines.lines().count(), 256, "{log}");
    }
}

#[test]
fn named_disks_are_told_one_by_one() {
    let folder = tempfile::tempdir().unwrap();
    for number in 0..5 {
        std::fs::write(folder.path().join(format!("d{number}")), vec![7; 1 << 20]).unwrap();
    }
    let glob = format!("--disks={}/d*", folder.path().display());
    let output = bench(&["--name=a", &glob, "--rw=randread", JSON]);
    assert!(output.status.success(), "{}", said(&output));
    let document = document(&output);
    let disks = document["per_disk"].as_array().unwrap();
    let names: Vec<&str> = disks.iter().map(|disk| disk["name"].as_str().unwrap()).collect();
    assert_eq!(names, ["d0", "d1", "d2", "d3", "d4"]);
    for disk in disks {
        assert_eq!(disk["read"]["total_ios"], 256);
        assert!(disk["read"]["lat_ns"]["percentile"]["99.000000"].is_u64());
    }
    assert_eq!(document["jobs"][0]["read"]["total_ios"], 5 * 256);
}

#[test]
fn repeats_have_a_median_and_a_spread() {
    let output = bench(&[
        "--name=a",
        "--filename=hdd:exos-x24,null:24T",
        "--clock=virtual",
        "--rw=randread",
        "--number_ios=200",
        "--randrepeat=0",
        "--repeat=5",
        JSON,
    ]);
    let document = document(&output);
    let metrics = document["isotherm"]["repeat"]["metrics"].as_array().unwrap();
    let iops = metrics.iter().find(|row| row["metric"] == "IOPS").unwrap();
    assert_eq!(iops["values"].as_array().unwrap().len(), 5);
    let number = |key: &str| iops[key].as_f64().unwrap();
    assert!(number("min") < number("median") && number("median") < number("max"), "{iops}");
}

#[test]
fn a_link_called_fio_answers_as_fio() {
    let folder = tempfile::tempdir().unwrap();
    let link = folder.path().join("fio");
    std::os::unix::fs::symlink(env!("CARGO_BIN_EXE_isotherm"), &link).unwrap();
    let output = Command::new(&link).arg("--version").output().unwrap();
    let version = String::from_utf8(output.stdout).unwrap();
    assert!(version.starts_with("fio-3.") && version.lines().count() == 1, "{version}");
    let own = String::from_utf8(bench(&["--version"]).stdout).unwrap();
    assert!(own.starts_with("isotherm-"), "{own}");
    let output = Command::new(&link)
        .args(["--name=a", "--ioengine=null", "--size=1m", "--rw=read", "--minimal"])
        .output()
        .unwrap();
    assert!(String::from_utf8(output.stdout).unwrap().starts_with("3;fio-3."));
}

/// Of a fixed rate with one stall of a second, rt_ns shows the wait and lat_ns, which is what
/// fio reports, hides it behind one slow request.
#[test]
fn a_stall_under_a_fixed_rate_shows_in_rt_and_not_in_lat() {
    let output = bench(&[
        "--name=a",
        "--filename=fault:stall=1e-3/1s,delay:2ms,null:1T",
        "--clock=virtual",
        "--rw=randread",
        "--rate_iops=100",
        "--iodepth=1",
        "--time_based",
        "--runtime=6",
        "--norandommap",
        "--seed=1",
        JSON,
    ]);
    let document = document(&output);
    let read = &document["jobs"][0]["read"];
    let p99 = |family: &str| read[family]["percentile"]["99.000000"].as_u64().unwrap();
    assert_eq!(read["lat_ns"]["max"], 1_002_000_000, "this seed makes one stall");
    assert!(p99("rt_ns") >= 900_000_000, "{}", p99("rt_ns"));
    assert!(p99("clat_ns") < 20_000_000, "{}", p99("clat_ns"));
    assert!(read["late_ios"].as_u64().unwrap() >= 90);
    let messages = document["messages"].to_string();
    assert!(messages.contains("warning: p99(rt)"), "{messages}");
}

/// The page of a run of many disks in a browser: nothing goes wrong, charts are drawn, and every
/// number in a cell is that of the document at the place that the cell names.
#[test]
fn the_page_renders_in_a_browser_and_its_numbers_are_the_documents() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name).display().to_string();
    let mut documents = Vec::new();
    for (name, depth) in [("one", "4"), ("two", "8")] {
        let depth = format!("--iodepth={depth}");
        let output = bench(&[
            "--name=a",
            "--filename=hdd:exos-x24,null:24T",
            "--disks=12",
            "--clock=virtual",
            "--rw=randrw",
            "--time_based",
            "--runtime=20",
            &depth,
            JSON,
        ]);
        std::fs::write(path(name), &output.stdout).unwrap();
        documents.push(document(&output));
    }
    let page = path("page.html");
    let made = isotherm(&["report", &path("one"), &path("two"), "-o", &page]).output().unwrap();
    assert!(made.status.success(), "{}", said(&made));
    let profile = format!("--user-data-dir={}", path("profile"));
    let browser = Command::new("chromium")
        .args(["--headless=new", "--no-sandbox", "--disable-gpu", "--virtual-time-budget=20000"])
        .args(["--enable-logging=stderr", "--v=0", &profile, "--dump-dom"])
        .arg(format!("file://{page}"))
        .env("HOME", folder.path())
        .output();
    let output = match browser {
        Ok(output) if output.status.success() => output,
        Ok(output) => {
            println!("skipped: chromium fails here: {}", said(&output));
            return;
        }
        Err(error) => {
            println!("skipped: no chromium: {error}");
            return;
        }
    };
    let complaints: Vec<String> =
        said(&output).lines().filter(|line| line.contains("CONSOLE")).map(str::to_owned).collect();
    assert!(complaints.is_empty(), "{complaints:?}");
    let dom = String::from_utf8(output.stdout).unwrap();
    let attribute = |text: &str, name: &str| {
        let (_, rest) = text.split_once(&format!("{name}=\"")).unwrap();
        rest.split('"').next().unwrap().to_owned()
    };
    // Two heat maps and two bands of each of two documents, percentiles and two rates.
    assert_eq!(attribute(&dom, "data-drawn"), "11");
    assert!(dom.matches("<rect").count() > 1000);
    let mut cells: BTreeMap<String, usize> = BTreeMap::new();
    for cell in dom.split("<td data-document=").skip(1) {
        let cell = format!("data-document={}", cell.split('>').next().unwrap());
        let number: usize = attribute(&cell, "data-document").parse().unwrap();
        let place = attribute(&cell, "data-path");
        let value: Value = serde_json::from_str(&attribute(&cell, "data-value")).unwrap();
        let wanted = documents[number].pointer(&place).unwrap();
        assert_eq!(value.as_f64(), wanted.as_f64(), "{place}");
        *cells.entry(place.split('/').nth(1).unwrap().to_owned()).or_default() += 1;
    }
    assert!(cells["jobs"] >= 28 && cells["per_disk"] >= 2 * 12 * 2 * 7, "{cells:?}");
    assert!(dom.contains("B is ") && dom.contains("95 % interval"));
}

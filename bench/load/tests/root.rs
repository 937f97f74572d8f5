//! Jobs on real block devices. These need root and loop devices:
//! `cargo nextest run -p isotherm-load --run-ignored only`. Where something is missing they say
//! so and pass.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::AtomicBool;

use isotherm_load::{Report, Setup, SetupError, run};
use isotherm_workload::{Direction, Environment, Parsed};

const BYTES: u64 = 8 << 20;

/// A loop device over a file, gone when dropped.
struct Loop {
    device: PathBuf,
    image: PathBuf,
    _dir: tempfile::TempDir,
}

impl Loop {
    fn new(prepare: &[&str]) -> Option<Loop> {
        let dir = tempfile::tempdir().unwrap();
        let image = dir.path().join("image");
        std::fs::File::create(&image).unwrap().set_len(BYTES).unwrap();
        if let Some((tool, args)) = prepare.split_first() {
            command(Command::new(tool).args(args).arg(&image))?;
        }
        let output = command(Command::new("losetup").args(["--find", "--show"]).arg(&image))?;
        Some(Loop { device: PathBuf::from(output.trim()), image, _dir: dir })
    }
}

impl Drop for Loop {
    fn drop(&mut self) {
        let _ = Command::new("losetup").arg("--detach").arg(&self.device).status();
    }
}

/// What a command printed; `None`, and the reason printed, where it can't be had.
fn command(command: &mut Command) -> Option<String> {
    let path = format!("{}:/usr/sbin:/sbin", std::env::var("PATH").unwrap_or_default());
    match command.env("PATH", path).output() {
        Ok(output) if output.status.success() => {
            Some(String::from_utf8_lossy(&output.stdout).into_owned())
        }
        Ok(output) => {
            let said = String::from_utf8_lossy(&output.stderr);
            println!("skipped: {command:?} failed here: {}", said.trim());
            None
        }
        Err(error) => {
            println!("skipped: {command:?}: {error}");
            None
        }
    }
}

fn go(options: &str, device: &Path, destroy: &[&str]) -> Result<Report, SetupError> {
    let text = format!("[a]\nfilename={}\n{options}", device.display());
    let parsed = Parsed::from_text("t.fio", &text, &Environment::empty()).unwrap();
    let destroy = destroy.iter().map(|name| (*name).to_owned()).collect();
    let setup = Setup { destroy, ..Setup::default() };
    run(&parsed, &setup, &AtomicBool::new(false), &mut |_| {})
}

#[test]
#[ignore = "needs root and a loop device"]
fn root_a_loop_device_is_read_and_its_kernel_counters_are_reported() {
    let Some(on) = Loop::new(&[]) else { return };
    let report = go("rw=randread\ndirect=1\niodepth=16\n", &on.device, &[]).unwrap();
    let job = &report.jobs[0];
    assert_eq!(job.ios(), BYTES / 4096);
    assert_eq!(job.disks[0].info.direct, Some(true), "{:?}", job.disks[0].info);
    let name = on.device.file_name().unwrap().to_str().unwrap();
    let counted = report.disk_uses.iter().find(|disk| disk.name == name).unwrap();
    assert!(counted.read[2] >= BYTES / 512, "{counted:?}");
    let cached = go("rw=read\nnumber_ios=1\n", &on.device, &[]).unwrap();
    assert!(cached.jobs[0].notes().concat().contains("direct=0: it goes through the page cache"));
}

#[test]
#[ignore = "needs root and a loop device"]
fn root_copies_of_a_writing_job_share_a_device_that_is_held_exclusively() {
    let Some(on) = Loop::new(&[]) else { return };
    let options = "rw=randwrite\ndirect=1\niodepth=4\nnumjobs=3\ngroup_reporting\n";
    let report = go(options, &on.device, &[]).unwrap();
    let job = &report.jobs[0];
    assert_eq!(job.tallies[Direction::Write.index()].ios(), 3 * BYTES / 4096);
    assert_eq!((job.lanes, job.disks.len()), (3, 1), "one disk, whoever wrote it");
    let image = std::fs::read(&on.image).unwrap();
    assert!(image.chunks(512).all(|sector| sector.iter().any(|&byte| byte != 0)));
}

#[test]
#[ignore = "needs root and a loop device"]
fn root_a_device_that_holds_a_filesystem_is_written_only_when_named() {
    let Some(on) = Loop::new(&["mkfs.ext4", "-q", "-F"]) else { return };
    let before = std::fs::read(&on.image).unwrap();
    let write = "rw=write\nbs=64k\ndirect=1\n";
    let refusal = go(write, &on.device, &[]).unwrap_err().to_string();
    let place = format!("t.fio:2: job a: {}: holds ", on.device.display());
    assert!(refusal.starts_with(&place) && refusal.contains("ext4"), "{refusal}");
    assert!(std::fs::read(&on.image).unwrap() == before, "nothing was written");
    assert!(go("rw=read\n", &on.device, &[]).is_ok(), "reading needs no permit");
    let name = on.device.display().to_string();
    assert!(go(write, &on.device, &[&name]).unwrap().failures().next().is_none());
    assert!(std::fs::read(&on.image).unwrap() != before);
}

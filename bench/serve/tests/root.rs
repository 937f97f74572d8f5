//! Disks through a real mount. These need root and /dev/fuse:
//! `cargo nextest run -p isotherm-serve --run-ignored only`. Where something is missing they say
//! so and pass.

use std::fs::{File, OpenOptions};
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, channel};
use std::thread::JoinHandle;

use isotherm_block::Spec;
use isotherm_seam::Nanos;
use isotherm_serve::{DiskTally, Serve, ServeError, ServeOptions, serve};

/// What happened, as the test sees it.
#[derive(Debug)]
enum Event {
    Ready(Nanos),
    Busy,
}

/// Disks mounted in a folder of their own, served by a thread.
struct Mounted {
    stop: Arc<AtomicBool>,
    events: Receiver<Event>,
    thread: Option<JoinHandle<Result<Vec<DiskTally>, ServeError>>>,
    mount: tempfile::TempDir,
    lead: Nanos,
}

impl Mounted {
    /// None, and the reason printed, where nothing can be mounted.
    fn new(specs: &[&str]) -> Option<Mounted> {
        if !nix::unistd::geteuid().is_root() || !Path::new("/dev/fuse").exists() {
            println!("skipped: mounting takes root and /dev/fuse");
            return None;
        }
        let mount = tempfile::tempdir().unwrap();
        let disks = specs.iter().enumerate();
        let options = ServeOptions {
            mount: mount.path().to_owned(),
            disks: disks.map(|(at, spec)| (format!("d{at}"), Spec::parse(spec).unwrap())).collect(),
            depth: 8,
            seed: 1,
            allow_other: false,
            realtime: false,
        };
        let stop = Arc::new(AtomicBool::new(false));
        let (tell, events) = channel();
        let told = Arc::clone(&stop);
        let thread = std::thread::Builder::new().spawn(move || {
            serve(&options, &told, &mut |event| {
                let event = match event {
                    Serve::Ready(served) => Event::Ready(served.lead),
                    Serve::Busy => Event::Busy,
                };
                let _ = tell.send(event);
            })
        });
        let mut mounted =
            Mounted { stop, events, thread: Some(thread.unwrap()), mount, lead: Nanos::ZERO };
        match mounted.events.recv() {
            Ok(Event::Ready(lead)) => mounted.lead = lead,
            other => panic!("{other:?}, {:?}", mounted.end()),
        }
        Some(mounted)
    }

    fn path(&self, disk: usize) -> PathBuf {
        self.mount.path().join(format!("d{disk}"))
    }

    fn open(&self, disk: usize) -> File {
        OpenOptions::new().read(true).write(true).open(self.path(disk)).unwrap()
    }

    fn end(&mut self) -> Result<Vec<DiskTally>, ServeError> {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.take().expect("ended once").join().unwrap()
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        if self.thread.is_some() {
            let _ = self.end();
        }
    }
}

#[test]
#[ignore = "needs root"]
fn root_bytes_come_back_as_a_disk_gives_them() {
    let dir = tempfile::tempdir().unwrap();
    let backing = dir.path().join("disk");
    let spec = format!("file:{}?size=8M:part=4M", backing.display());
    let Some(mut mounted) = Mounted::new(&[&spec, "memory:4M"]) else { return };
    assert!(mounted.lead > Nanos::ZERO && mounted.lead < Nanos::from_millis(20));
    let disk = mounted.open(0);
    assert_eq!(disk.metadata().unwrap().len(), 8 << 20);
    let text: Vec<u8> = (0..251).cycle().take(2 << 20).collect();
    disk.write_all_at(&text, 3 << 20).unwrap();
    disk.sync_all().unwrap();
    let mut back = vec![0; 2 << 20];
    disk.read_exact_at(&mut back, 3 << 20).unwrap();
    assert!(back == text, "2 MiB across the seam of two parts");
    let mut few = [0; 100];
    disk.read_exact_at(&mut few, (3 << 20) + 1000).unwrap();
    assert_eq!(few[..], text[1000..1100], "a read need not be of whole blocks");
    disk.write_all_at(b"in the middle of a block", (3 << 20) + 700).unwrap();
    disk.read_exact_at(&mut few, (3 << 20) + 650).unwrap();
    assert_eq!(few[..50], text[650..700], "nor need a write");
    assert_eq!((&few[50..74], &few[74..]), (&b"in the middle of a block"[..], &text[724..750]));
    disk.write_all_at(&text[700..724], (3 << 20) + 700).unwrap();
    let beyond = disk.write_at(&text[..1024], (8 << 20) - 512).unwrap_err();
    assert_eq!(beyond.kind(), std::io::ErrorKind::StorageFull);
    assert_eq!(disk.read_at(&mut few, (8 << 20) - 40).unwrap(), 40, "the end is the end");
    assert_eq!(disk.read_at(&mut few, 8 << 20).unwrap(), 0);
    assert!(disk.set_len(1 << 20).is_err(), "a disk keeps its length");
    let names: Vec<String> = std::fs::read_dir(mounted.mount.path())
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    assert_eq!(names, ["d0", "d1"]);
    mounted.open(1).write_all_at(&text[..4096], 0).unwrap();
    drop(disk);
    let tallies = mounted.end().unwrap();
    assert_eq!((tallies[0].written_bytes, tallies[0].errors), ((2 << 20) + 48, 1));
    assert_eq!((tallies[1].writes, tallies[1].reads), (1, 0));
    let Some(mounted) = Mounted::new(&[&spec]) else { return };
    mounted.open(0).read_exact_at(&mut back, 3 << 20).unwrap();
    assert!(back == text, "and they are there in the next life");
}

#[test]
#[ignore = "needs root"]
fn root_a_disk_that_fails_says_so_and_the_others_go_on() {
    let specs = ["fault:bad=8-15,memory:1M", "memory:1M"];
    let Some(mut mounted) = Mounted::new(&specs) else { return };
    let mut buf = [0; 4096];
    let error = mounted.open(0).read_exact_at(&mut buf, 4096).unwrap_err();
    assert_eq!(error.raw_os_error(), Some(nix::errno::Errno::EIO as i32));
    mounted.open(0).read_exact_at(&mut buf, 8192).unwrap();
    mounted.open(1).read_exact_at(&mut buf, 4096).unwrap();
    assert_eq!(mounted.end().unwrap()[0].errors, 1);
}

#[test]
#[ignore = "needs root"]
fn root_the_end_waits_for_who_still_uses_a_disk() {
    let Some(mut mounted) = Mounted::new(&["memory:1M"]) else { return };
    let disk = mounted.open(0);
    mounted.stop.store(true, Ordering::Relaxed);
    assert!(matches!(mounted.events.recv(), Ok(Event::Busy)));
    let mut buf = [0; 512];
    disk.read_exact_at(&mut buf, 0).unwrap();
    drop(disk);
    assert_eq!(mounted.end().unwrap()[0].reads, 1);
}

#[test]
#[ignore = "needs root"]
fn root_a_loop_device_over_it_is_a_disk_of_24_terabytes() {
    let dir = tempfile::tempdir().unwrap();
    let backing = dir.path().join("disk");
    let spec = format!(
        "hdd:exos-x24:retries=0,file:{}?size={}:part=8T",
        backing.display(),
        24_000_000_000_000u64
    );
    let Some(mut mounted) = Mounted::new(&[&spec]) else { return };
    let attach = ["--find", "--show", "--direct-io=on"];
    let loop_of = Command::new("/sbin/losetup").args(attach).arg(mounted.path(0)).output();
    let Some(output) = loop_of.ok().filter(|output| output.status.success()) else {
        println!("skipped: no loop device can be had");
        return;
    };
    let device = String::from_utf8(output.stdout).unwrap().trim().to_owned();
    let detach = Detach(device.clone());
    let file = OpenOptions::new().read(true).write(true).open(&device).unwrap();
    let text: Vec<u8> = (0..239).cycle().take(64 << 10).collect();
    file.write_all_at(&text, 20_000_000_000_000 / 4096 * 4096).unwrap();
    file.sync_all().unwrap();
    let mut back = vec![0; 64 << 10];
    file.read_exact_at(&mut back, 20_000_000_000_000 / 4096 * 4096).unwrap();
    assert!(back == text);
    drop((file, detach));
    let tally = mounted.end().unwrap()[0];
    assert!(tally.writes > 0 && tally.flushes > 0 && tally.errors == 0, "{tally:?}");
    let taken: u64 = ["disk", "disk.1", "disk.2"]
        .iter()
        .map(|name| std::fs::metadata(dir.path().join(name)).unwrap().blocks() * 512)
        .sum();
    assert!(taken < 1 << 20, "sparse: {taken} bytes taken");
}

struct Detach(String);

impl Drop for Detach {
    fn drop(&mut self) {
        let _ = Command::new("/sbin/losetup").arg("--detach").arg(&self.0).status();
    }
}

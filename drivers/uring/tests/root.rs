//! Real block devices: loop devices, zram. Need root, so they are ignored unless asked for
//! (`cargo nextest run -p isotherm-uring --run-ignored only`); where something isn't there they
//! say so and return.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use isotherm_block::conformance;
use isotherm_seam::{
    BlockDevice, BufPool, Completion, Due, IoError, Lba, Mono, Op, OpenCause, OpenOptions, Park,
    Persist, Request, Tag,
};
use isotherm_uring::{Ring, RingConfig, UringDisk};
use nix::sys::resource::{Resource, setrlimit};
use tempfile::TempDir;

const MIB: u64 = 1 << 20;

/// Runs a program; its standard output, or why it can't be had.
fn run(program: &str, args: &[&str]) -> Result<String, String> {
    let output =
        Command::new(program).args(args).output().map_err(|error| format!("{program}: {error}"))?;
    if !output.status.success() {
        return Err(format!("{program}: {}", String::from_utf8_lossy(&output.stderr).trim()));
    }
    Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
}

/// A loop device over a sparse file, detached when dropped.
struct Loop {
    device: PathBuf,
    file: PathBuf,
    _dir: TempDir,
}

impl Loop {
    fn new(bytes: u64) -> Result<Loop, String> {
        let dir = TempDir::new().map_err(|e| e.to_string())?;
        let file = dir.path().join("backing");
        fs::File::create(&file).and_then(|f| f.set_len(bytes)).map_err(|e| e.to_string())?;
        let path = file.to_str().expect("a temporary path is text");
        let device = run("losetup", &["--find", "--show", "--direct-io=on", path])?.into();
        Ok(Loop { device, file, _dir: dir })
    }

    fn device(&self) -> &str {
        self.device.to_str().expect("a device's path is text")
    }
}

impl Drop for Loop {
    fn drop(&mut self) {
        if let Err(error) = run("losetup", &["--detach", self.device()]) {
            eprintln!("{error}");
        }
    }
}

/// A zram device of its own, removed when dropped.
struct Zram {
    number: String,
}

impl Zram {
    fn new(bytes: u64) -> Result<Zram, String> {
        let number = fs::read_to_string("/sys/class/zram-control/hot_add")
            .map_err(|e| format!("no zram device can be added: {e}"))?;
        let zram = Zram { number: number.trim().to_owned() };
        fs::write(format!("/sys/block/zram{}/disksize", zram.number), bytes.to_string())
            .map_err(|e| e.to_string())?;
        Ok(zram)
    }

    fn device(&self) -> PathBuf {
        format!("/dev/zram{}", self.number).into()
    }
}

impl Drop for Zram {
    fn drop(&mut self) {
        if let Err(error) = fs::write("/sys/class/zram-control/hot_remove", &self.number) {
            eprintln!("zram{}: {error}", self.number);
        }
    }
}

struct Bench {
    pool: BufPool,
    ring: Ring,
}

impl Bench {
    fn new() -> Bench {
        let pool = conformance::pool();
        let ring = Ring::new(&RingConfig { entries: 512, pool: pool.clone() }).unwrap();
        Bench { pool, ring }
    }

    fn open(&self, path: &Path) -> UringDisk {
        let options = OpenOptions { write: true, depth: 24, ..Default::default() };
        self.ring.open(path, &options).unwrap()
    }

    fn call(&mut self, disk: &mut UringDisk, op: Op) -> Completion {
        disk.submit(Mono::ZERO, Request { tag: Tag(1), op }).unwrap();
        let mut done = Vec::with_capacity(1);
        while disk.poll(Mono::ZERO, &mut done) == 0 {
            if disk.due() == Due::Event {
                self.ring.park(Mono::ZERO, None);
            }
        }
        done.pop().unwrap()
    }

    fn read(&mut self, disk: &mut UringDisk, lba: u64) -> Result<(), IoError> {
        let buf = self.pool.alloc(4096).unwrap();
        self.call(disk, Op::Read { lba: Lba(lba), buf }).result
    }

    fn write(&mut self, disk: &mut UringDisk, lba: u64) -> Result<(), IoError> {
        let buf = self.pool.alloc(4096).unwrap();
        let persist = Persist::Flush;
        self.call(disk, Op::Write { lba: Lba(lba), buf, persist }).result
    }
}

#[test]
#[ignore = "needs root: makes a loop device"]
fn root_a_loop_device_conforms_and_is_held_exclusively() {
    let device = match Loop::new(8 * MIB) {
        Ok(device) => device,
        Err(why) => return println!("skipped: {why}"),
    };
    let mut bench = Bench::new();
    let mut disk = bench.open(&device.device);
    let geometry = disk.geometry().clone();
    assert_eq!(geometry.capacity_bytes(), 8 * MIB);
    assert_eq!(disk.info().direct, Some(true));
    assert!(geometry.discard, "a loop device over a file punches holes");
    conformance::run(&mut disk, &mut bench.ring, &bench.pool.clone(), 11);

    let writer = OpenOptions { write: true, ..Default::default() };
    let error = bench.ring.open(&device.device, &writer).err().expect("it is held");
    assert!(matches!(error.cause, OpenCause::Busy { .. }), "{error}");
    assert!(bench.ring.open(&device.device, &OpenOptions::default()).is_ok(), "reading is free");
    let larger = OpenOptions { create_bytes: Some(9 * MIB), ..writer };
    drop(disk);
    let error = bench.ring.open(&device.device, &larger).err().expect("it is too small");
    let too_small = OpenCause::TooSmall { bytes: 8 * MIB, needed_bytes: 9 * MIB };
    assert_eq!(error.cause, too_small);
}

/// A filesystem on a loop device, thawed and unmounted when dropped.
struct Mount {
    target: TempDir,
    device: Loop,
}

impl Mount {
    fn new() -> Result<Mount, String> {
        let device = Loop::new(16 * MIB)?;
        run("mkfs.ext4", &["-q", device.device()])?;
        let target = TempDir::new().map_err(|e| e.to_string())?;
        run("mount", &[device.device(), target.path().to_str().expect("a path that is text")])?;
        Ok(Mount { target, device })
    }

    fn freeze(&self, frozen: bool) -> Result<String, String> {
        let how = if frozen { "--freeze" } else { "--unfreeze" };
        run("fsfreeze", &[how, self.target.path().to_str().expect("a path that is text")])
    }
}

impl Drop for Mount {
    fn drop(&mut self) {
        let _ = self.freeze(false); // Refused where it is not frozen.
        let target = self.target.path().to_str().expect("a path that is text");
        // A ring that ends in the background may hold a file for a moment.
        if let Err(error) = run("umount", &["--lazy", target]) {
            eprintln!("{error}");
        }
    }
}

#[test]
#[ignore = "needs root: makes a loop device and mounts it"]
fn root_a_mounted_device_is_busy() {
    let mount = match Mount::new() {
        Ok(mount) => mount,
        Err(why) => return println!("skipped: {why}"),
    };
    let bench = Bench::new();
    let options = OpenOptions { write: true, ..Default::default() };
    let error = bench.ring.open(&mount.device.device, &options).err();
    let error = error.expect("a mounted device is not opened for writing");
    assert!(matches!(error.cause, OpenCause::Busy { .. }), "{error}");
    assert!(error.to_string().starts_with(mount.device.device()), "{error}");
}

/// Requests that hang in the kernel: a disk on a frozen filesystem is written.
fn hang(bench: &mut Bench, mount: &Mount, name: &str, requests: u64) -> Result<UringDisk, String> {
    let options =
        OpenOptions { write: true, depth: 8, create_bytes: Some(MIB), ..Default::default() };
    let mut disk =
        bench.ring.open(mount.target.path().join(name), &options).map_err(|e| e.to_string())?;
    mount.freeze(true)?;
    let step = 4096 / u64::from(disk.geometry().logical.bytes());
    for tag in 0..requests {
        let buf = bench.pool.alloc(4096).unwrap();
        let op = Op::Write { lba: Lba(tag * step), buf, persist: Persist::Flush };
        disk.submit(Mono::ZERO, Request { tag: Tag(tag), op }).unwrap();
    }
    let mut done = Vec::with_capacity(8);
    bench.ring.park(Mono::ZERO, Some(Mono(20_000_000)));
    assert_eq!(disk.poll(Mono::ZERO, &mut done), 0, "the writes hang");
    Ok(disk)
}

#[test]
#[ignore = "needs root: freezes a filesystem of its own"]
fn root_a_stuck_disk_is_let_go_and_its_buffers_come_back_when_the_kernel_is_done() {
    let mut bench = Bench::new();
    let free = bench.pool.free_count();
    let stuck = Mount::new().and_then(|mount| Ok((hang(&mut bench, &mount, "f", 4)?, mount)));
    let (disk, mount) = match stuck {
        Ok(both) => both,
        Err(why) => return println!("skipped: {why}"),
    };
    drop(disk); // Ends, after a while.
    assert_eq!(bench.pool.free_count(), free - 4, "the kernel may still read them");

    let dir = TempDir::new().unwrap();
    let options = OpenOptions { write: true, create_bytes: Some(MIB), ..Default::default() };
    let mut sibling = bench.ring.open(dir.path().join("sibling"), &options).unwrap();
    assert_eq!(bench.write(&mut sibling, 0), Ok(()));
    assert_eq!(bench.call(&mut sibling, Op::Flush).result, Ok(()));

    mount.freeze(false).unwrap();
    for turn in 0.. {
        if bench.pool.free_count() == free {
            break;
        }
        assert!(turn < 1000, "the buffers come back");
        bench.ring.park(Mono::ZERO, Some(Mono(10_000_000)));
    }
}

#[test]
#[ignore = "needs root: freezes a filesystem of its own"]
fn root_a_ring_that_goes_away_with_requests_in_the_kernel_keeps_their_buffers_for_ever() {
    let mut bench = Bench::new();
    let pool = bench.pool.clone();
    let free = pool.free_count();
    let stuck = Mount::new().and_then(|mount| Ok((hang(&mut bench, &mount, "f", 3)?, mount)));
    let (disk, mount) = match stuck {
        Ok(both) => both,
        Err(why) => return println!("skipped: {why}"),
    };
    drop(bench);
    drop(disk);
    assert_eq!(pool.free_count(), free - 3, "leaked, not freed under the kernel");
    drop(mount);
    assert_eq!(pool.free_count(), free - 3);
}

#[test]
#[ignore = "needs root: makes a zram device"]
fn root_zram_is_read_by_the_core_and_conforms() {
    let zram = match Zram::new(16 * MIB) {
        Ok(zram) => zram,
        Err(why) => return println!("skipped: {why}"),
    };
    let mut bench = Bench::new();
    let mut disk = bench.open(&zram.device());
    let info = disk.info();
    assert!(info.driver.contains("plain reads"), "{}", info.driver);
    assert_eq!(info.notes.len(), 1, "{:?}", info.notes);
    conformance::run(&mut disk, &mut bench.ring, &bench.pool.clone(), 12);
}

#[test]
#[ignore = "needs root: makes a loop device"]
fn root_a_device_that_loses_its_size_is_gone() {
    let device = match Loop::new(8 * MIB) {
        Ok(device) => device,
        Err(why) => return println!("skipped: {why}"),
    };
    let mut bench = Bench::new();
    let mut disk = bench.open(&device.device);
    let last = disk.geometry().blocks - 8;
    assert_eq!(bench.write(&mut disk, last), Ok(()));

    let backing = fs::OpenOptions::new().write(true).open(&device.file).unwrap();
    backing.set_len(4 * MIB).unwrap();
    run("losetup", &["--set-capacity", device.device()]).unwrap();
    let gone = match disk.geometry().logical.bytes() {
        4096 => bench.write(&mut disk, last / 2 + 8),
        _ => bench.write(&mut disk, last),
    };
    assert_eq!(gone, Err(IoError::Gone));
    assert_eq!(bench.read(&mut disk, 0), Err(IoError::Gone), "and nothing further succeeds");

    let mut disk = {
        drop(disk);
        bench.open(&device.device)
    };
    assert_eq!(disk.geometry().capacity_bytes(), 4 * MIB);
    assert_eq!(bench.read(&mut disk, 0), Ok(()));
    backing.set_len(2 * MIB).unwrap();
    run("losetup", &["--set-capacity", device.device()]).unwrap();
    let end = disk_end(&disk);
    assert_eq!(bench.read(&mut disk, end), Err(IoError::Gone), "a read sees it too");
}

fn disk_end(disk: &UringDisk) -> u64 {
    let geometry = disk.geometry();
    geometry.blocks - u64::from(4096 / geometry.logical.bytes())
}

#[test]
#[ignore = "needs root: makes a loop device"]
fn root_a_medium_that_fails_names_the_block() {
    let device = match Loop::new(8 * MIB) {
        Ok(device) => device,
        Err(why) => return println!("skipped: {why}"),
    };
    let mut bench = Bench::new();
    let mut disk = bench.open(&device.device);
    // The backing file ends early and the device has not noticed: direct reads there fail.
    let backing = fs::OpenOptions::new().write(true).open(&device.file).unwrap();
    backing.set_len(4 * MIB).unwrap();
    let last = disk_end(&disk);
    match bench.read(&mut disk, last) {
        Err(error) => assert_eq!(error, IoError::Media { lba: Lba(last) }),
        Ok(()) => println!("skipped: this kernel reads zeros behind the end of the backing file"),
    }
    assert_eq!(bench.read(&mut disk, 0), Ok(()), "the rest goes on working");
}

/// The variable by which the test below tells its own child.
const CHILD: &str = "ISOTHERM_URING_ORDINARY_USER";

#[test]
#[ignore = "needs root: becomes an ordinary user with little lockable memory"]
fn root_an_ordinary_user_gets_what_can_be_had_and_is_told_the_rest() {
    if std::env::var_os(CHILD).is_some() {
        return ordinary_user();
    }
    use std::os::unix::process::CommandExt;
    let limit = 1 << 20;
    setrlimit(Resource::RLIMIT_MEMLOCK, limit, limit).unwrap();
    let child = Command::new(std::env::current_exe().unwrap())
        .args(["--ignored", "--exact", "--nocapture"])
        .arg("root_an_ordinary_user_gets_what_can_be_had_and_is_told_the_rest")
        .env(CHILD, "1")
        .gid(65_534)
        .uid(65_534)
        .output();
    match child {
        Ok(output) => {
            let text = String::from_utf8_lossy(&output.stdout);
            assert!(output.status.success(), "{text}{}", String::from_utf8_lossy(&output.stderr));
            assert!(text.contains("1 passed"), "{text}");
        }
        Err(error) => println!("skipped: an ordinary user can't run this test: {error}"),
    }
}

fn ordinary_user() {
    let pool = conformance::pool();
    let mut ring = Ring::new(&RingConfig { entries: 256, pool: pool.clone() }).unwrap();
    let notes = ring.notes().join("\n");
    assert!(notes.contains("memlock"), "two megabytes of buffers, one may be locked: {notes}");
    let dir = TempDir::new().unwrap();
    let options =
        OpenOptions { write: true, depth: 24, create_bytes: Some(4 * MIB), ..Default::default() };
    let mut disk = ring.open(dir.path().join("disk"), &options).unwrap();
    conformance::run(&mut disk, &mut ring, &pool, 13);
    let device = ring.open("/dev/loop0", &OpenOptions::default()).err();
    if let Some(error) = device {
        assert!(matches!(error.cause, OpenCause::Permission | OpenCause::NotFound), "{error}");
    }
}

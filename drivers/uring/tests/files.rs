//! A disk on a ring over regular files: needs no root and no device.

use std::path::PathBuf;

use isotherm_seam::{
    BlockDevice, BufPool, Completion, Due, IoBuf, IoError, Lba, Misfit, Mono, Nanos, Op, OpenCause,
    OpenOptions, Park, Persist, PoolClass, PoolLayout, Request, Tag,
};
use isotherm_uring::{Ring, RingConfig, UringDisk};
use tempfile::TempDir;

const MIB: u64 = 1 << 20;

struct Bench {
    dir: TempDir,
    ring: Ring,
}

impl Bench {
    fn new() -> Bench {
        Bench::with_entries(1024)
    }

    fn with_entries(entries: u32) -> Bench {
        let layout = PoolLayout {
            classes: vec![
                PoolClass { buf_bytes: 4096, count: 600 },
                PoolClass { buf_bytes: 65_536, count: 16 },
            ],
            ..PoolLayout::uniform(4096, 1)
        };
        let pool = BufPool::new(&layout).unwrap();
        let ring = Ring::new(&RingConfig { entries, pool }).unwrap();
        Bench { dir: TempDir::new().unwrap(), ring }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn open(&self, name: &str, bytes: u64, direct: bool) -> UringDisk {
        let options =
            OpenOptions { write: true, direct, create_bytes: Some(bytes), ..Default::default() };
        self.ring.open(self.path(name), &options).unwrap()
    }

    fn buf(&self, byte: u8, len: usize) -> IoBuf {
        let mut buf = self.ring.pool().alloc(len).unwrap();
        buf.fill(byte);
        buf
    }

    /// Waits for everything in flight.
    fn finish(&self, disk: &mut UringDisk) -> Vec<Completion> {
        let mut ring = self.ring.clone();
        let mut done = Vec::with_capacity(2048);
        while disk.inflight() > 0 {
            if disk.due() == Due::Event {
                ring.park(Mono::ZERO, None);
            }
            disk.poll(Mono::ZERO, &mut done);
        }
        done
    }

    /// One request, to its end.
    fn run(&self, disk: &mut UringDisk, op: Op) -> (Result<(), IoError>, Option<IoBuf>) {
        disk.submit(Mono::ZERO, Request { tag: Tag(77), op }).unwrap();
        let mut done = self.finish(disk);
        assert_eq!(done.len(), 1);
        let one = done.pop().unwrap();
        assert_eq!(one.tag, Tag(77));
        (one.result, one.buf)
    }

    fn write(&self, disk: &mut UringDisk, lba: u64, byte: u8, len: usize) -> Result<(), IoError> {
        let buf = self.buf(byte, len);
        self.run(disk, Op::Write { lba: Lba(lba), buf, persist: Persist::Flush }).0
    }

    fn read(&self, disk: &mut UringDisk, lba: u64, len: usize) -> Result<IoBuf, IoError> {
        let (result, buf) = self.run(disk, Op::Read { lba: Lba(lba), buf: self.buf(0xee, len) });
        result.map(|()| buf.unwrap())
    }
}

#[test]
fn what_is_written_is_read() {
    let bench = Bench::new();
    for direct in [false, true] {
        let mut disk = bench.open(&format!("direct-{direct}"), 4 * MIB, direct);
        let per_4k = 4096 / u64::from(disk.geometry().logical.bytes());
        for (i, len) in [(0u64, 4096usize), (1, 65_536), (100, 4096)] {
            bench.write(&mut disk, i * per_4k, i as u8 + 1, len).unwrap();
            let buf = bench.read(&mut disk, i * per_4k, len).unwrap();
            assert!(buf.iter().all(|&b| b == i as u8 + 1));
        }
        let buf = bench.read(&mut disk, 500 * per_4k, 4096).unwrap();
        assert!(buf.iter().all(|&b| b == 0), "a hole reads as zero");
        assert_eq!(bench.run(&mut disk, Op::Flush).0, Ok(()));
        let fua = Op::Write { lba: Lba(0), buf: bench.buf(9, 4096), persist: Persist::Fua };
        assert_eq!(bench.run(&mut disk, fua).0, Ok(()));
    }
    assert_eq!(bench.ring.pool().free_count(), 616, "every buffer came back");
}

#[test]
fn a_full_queue_hands_the_request_back_and_takes_it_after_a_completion() {
    let bench = Bench::new();
    let options =
        OpenOptions { write: true, create_bytes: Some(MIB), depth: 3, ..Default::default() };
    let mut disk = bench.ring.open(bench.path("f"), &options).unwrap();
    assert_eq!(disk.geometry().depth_max, 3);
    let read =
        |tag| Request { tag: Tag(tag), op: Op::Read { lba: Lba(0), buf: bench.buf(1, 4096) } };
    for tag in 0..3 {
        disk.submit(Mono::ZERO, read(tag)).unwrap();
    }
    let back = disk.submit(Mono::ZERO, read(3)).unwrap_err();
    assert_eq!(back.tag, Tag(3));
    let mut done = Vec::with_capacity(1);
    let mut ring = bench.ring.clone();
    while disk.poll(Mono::ZERO, &mut done) == 0 {
        ring.park(Mono::ZERO, None);
    }
    assert_eq!((done.len(), done.capacity()), (1, 1), "poll keeps to the spare capacity");
    disk.submit(Mono::ZERO, back).unwrap();
    let mut tags: Vec<u64> = bench.finish(&mut disk).iter().chain(&done).map(|c| c.tag.0).collect();
    tags.sort_unstable();
    assert_eq!(tags, [0, 1, 2, 3]);
    assert_eq!(disk.due(), Due::Idle);
}

#[test]
fn more_requests_than_the_submission_queue_holds_all_complete() {
    let bench = Bench::new();
    let options =
        OpenOptions { write: true, direct: false, create_bytes: Some(4 * MIB), depth: 512 };
    let mut disk = bench.ring.open(bench.path("f"), &options).unwrap();
    for tag in 0..512u64 {
        let op = Op::Write {
            lba: Lba(tag * 8),
            buf: bench.buf(tag as u8, 4096),
            persist: Persist::Flush,
        };
        disk.submit(Mono::ZERO, Request { tag: Tag(tag), op }).unwrap();
    }
    let done = bench.finish(&mut disk);
    assert_eq!(done.len(), 512);
    assert!(done.iter().all(|c| c.result == Ok(())));
    for tag in [0u64, 255, 256, 511] {
        let buf = bench.read(&mut disk, tag * 8, 4096).unwrap();
        assert!(buf.iter().all(|&b| b == tag as u8));
    }
}

#[test]
fn bad_requests_complete_with_what_is_wrong_and_touch_nothing() {
    let bench = Bench::new();
    let mut disk = bench.open("f", MIB, false);
    let blocks = disk.geometry().blocks;
    bench.write(&mut disk, blocks - 8, 5, 4096).unwrap();
    let misfit = |m| Err(IoError::Misfit(m));
    assert_eq!(bench.write(&mut disk, blocks - 4, 6, 4096), misfit(Misfit::OutOfRange));
    assert_eq!(bench.write(&mut disk, 0, 6, 100), misfit(Misfit::Misaligned));
    assert_eq!(bench.write(&mut disk, 0, 6, 0), misfit(Misfit::Misaligned));
    assert_eq!(bench.read(&mut disk, u64::MAX, 512).unwrap_err(), Misfit::OutOfRange.into());
    let reset = Op::ZoneReset { zone: isotherm_seam::ZoneId(0) };
    assert_eq!(bench.run(&mut disk, reset).0, misfit(Misfit::Unsupported));
    let buf = bench.read(&mut disk, blocks - 8, 4096).unwrap();
    assert!(buf.iter().all(|&b| b == 5), "the refused write reached nothing");
}

#[test]
fn a_disk_opened_for_reading_refuses_writes() {
    let bench = Bench::new();
    std::fs::write(bench.path("f"), vec![3u8; 8192]).unwrap();
    let options = OpenOptions { direct: false, ..Default::default() };
    let mut disk = bench.ring.open(bench.path("f"), &options).unwrap();
    assert_eq!(bench.write(&mut disk, 0, 1, 4096), Err(IoError::ReadOnly));
    assert!(!disk.geometry().discard);
    let discard = Op::Discard { lba: Lba(0), blocks: 8 };
    assert_eq!(bench.run(&mut disk, discard).0, Err(IoError::Misfit(Misfit::Unsupported)));
    assert!(bench.read(&mut disk, 0, 4096).unwrap().iter().all(|&b| b == 3));
}

#[test]
fn discard_punches_a_hole_in_a_file() {
    let bench = Bench::new();
    let mut disk = bench.open("f", MIB, false);
    if !disk.geometry().discard {
        println!("skipped: the filesystem of the temporary directory can't punch holes");
        return;
    }
    bench.write(&mut disk, 0, 7, 65_536).unwrap();
    let discard = Op::Discard { lba: Lba(8), blocks: 8 };
    assert_eq!(bench.run(&mut disk, discard).0, Ok(()));
    let buf = bench.read(&mut disk, 0, 16_384).unwrap();
    assert!(buf[..4096].iter().all(|&b| b == 7));
    assert!(buf[4096..8192].iter().all(|&b| b == 0), "a hole in a file reads as zero");
    assert!(buf[8192..].iter().all(|&b| b == 7));
}

#[test]
fn a_file_cut_short_under_the_disk_gives_the_first_block_that_is_missing() {
    let bench = Bench::new();
    let mut disk = bench.open("f", MIB, false);
    bench.write(&mut disk, 0, 7, 65_536).unwrap();
    let file = std::fs::OpenOptions::new().write(true).open(bench.path("f")).unwrap();
    file.set_len(8192).unwrap();
    let error = bench.read(&mut disk, 8, 65_536).unwrap_err();
    assert_eq!(error, IoError::Media { lba: Lba(16) });
    assert!(bench.read(&mut disk, 8, 4096).is_ok(), "the rest goes on working");
}

#[test]
fn what_can_not_be_opened_says_why() {
    let bench = Bench::new();
    let cause = |path: PathBuf, options: OpenOptions| {
        bench.ring.open(path, &options).err().expect("an error").cause
    };
    let plain = OpenOptions { direct: false, ..Default::default() };
    assert_eq!(cause(bench.path("none"), plain), OpenCause::NotFound);
    assert_eq!(cause(bench.dir.path().to_owned(), plain), OpenCause::NotStorage);
    assert_eq!(cause("/dev/null".into(), plain), OpenCause::NotStorage);
    std::fs::write(bench.path("small"), [0u8; 100]).unwrap();
    let small = OpenCause::TooSmall { bytes: 100, needed_bytes: 512 };
    assert_eq!(cause(bench.path("small"), plain), small);
    let create = OpenOptions { create_bytes: Some(MIB), write: true, ..plain };
    assert_eq!(cause("/dev/isotherm-no-such-disk".into(), create), OpenCause::NotFound);
}

#[test]
fn a_ring_gives_what_depth_it_has_and_says_so() {
    let bench = Bench::with_entries(40);
    let total = 64 - 16; // The completion queue is a power of two; 16 are the ring's own.
    let options =
        |depth| OpenOptions { write: true, direct: false, create_bytes: Some(MIB), depth };
    let first = bench.ring.open(bench.path("a"), &options(total - 8)).unwrap();
    assert!(first.info().notes.is_empty(), "{:?}", first.info().notes);
    let second = bench.ring.open(bench.path("b"), &options(32)).unwrap();
    assert_eq!(second.geometry().depth_max, 8);
    assert_eq!(second.info().notes.len(), 1);
    let third = bench.ring.open(bench.path("c"), &options(32)).err().unwrap();
    assert!(third.to_string().contains("no request left"), "{third}");
    drop(first);
    let third = bench.ring.open(bench.path("c"), &options(32)).unwrap();
    assert_eq!(third.geometry().depth_max, 32, "a dropped disk gives its depth back");
}

#[test]
fn a_disk_dropped_with_requests_in_flight_gives_its_buffers_back() {
    let bench = Bench::new();
    for direct in [false, true] {
        let mut disk = bench.open(&format!("direct-{direct}"), 4 * MIB, direct);
        let step = 4096 / u64::from(disk.geometry().logical.bytes());
        for i in 0..100 {
            let op =
                Op::Write { lba: Lba(i * step), buf: bench.buf(1, 4096), persist: Persist::Fua };
            disk.submit(Mono::ZERO, Request { tag: Tag(i), op }).unwrap();
        }
        drop(disk);
        assert_eq!(bench.ring.pool().free_count(), 616);
    }
}

#[test]
fn disks_outlive_the_handle_they_were_opened_on() {
    let bench = Bench::new();
    let Bench { dir, ring } = bench;
    let options =
        OpenOptions { write: true, direct: false, create_bytes: Some(MIB), ..Default::default() };
    let mut disk = ring.open(dir.path().join("f"), &options).unwrap();
    let buf = ring.pool().alloc(4096).unwrap();
    drop(ring);
    disk.submit(Mono::ZERO, Request { tag: Tag(1), op: Op::Read { lba: Lba(0), buf } }).unwrap();
    let mut done = Vec::with_capacity(1);
    while disk.poll(Mono::ZERO, &mut done) == 0 {}
    assert_eq!(done[0].result, Ok(()));
}

#[test]
fn disks_of_one_ring_reap_for_each_other() {
    let bench = Bench::with_entries(4096);
    let mut disks: Vec<UringDisk> =
        (0..24).map(|i| bench.open(&format!("f{i}"), MIB, false)).collect();
    for (i, disk) in disks.iter_mut().enumerate() {
        for k in 0..4u64 {
            let op = Op::Write {
                lba: Lba(k * 8),
                buf: bench.buf(i as u8, 4096),
                persist: Persist::Flush,
            };
            disk.submit(Mono::ZERO, Request { tag: Tag(i as u64 * 10 + k), op }).unwrap();
        }
    }
    for (i, disk) in disks.iter_mut().enumerate().rev() {
        let done = bench.finish(disk);
        assert_eq!(done.len(), 4);
        assert!(done.iter().all(|c| c.tag.0 / 10 == i as u64 && c.result == Ok(())));
    }
    for (i, disk) in disks.iter_mut().enumerate() {
        let buf = bench.read(disk, 0, 4096).unwrap();
        assert!(buf.iter().all(|&b| b == i as u8));
    }
}

#[test]
fn one_call_serves_all_disks_of_a_turn() {
    let bench = Bench::with_entries(4096);
    let mut disks: Vec<UringDisk> =
        (0..24).map(|i| bench.open(&format!("f{i}"), MIB, false)).collect();
    for disk in &mut disks {
        bench.write(disk, 0, 1, 4096).unwrap();
    }
    let mut done = Vec::with_capacity(24);
    let before = bench.ring.enters();
    for disk in &mut disks {
        for tag in 0..4 {
            let op = Op::Read { lba: Lba(0), buf: bench.buf(0, 4096) };
            disk.submit(Mono::ZERO, Request { tag: Tag(tag), op }).unwrap();
        }
    }
    assert_eq!(bench.ring.enters(), before, "submitting is no call");
    while done.len() < 96 {
        done.reserve(96);
        for disk in &mut disks {
            disk.poll(Mono::ZERO, &mut done);
        }
    }
    // One, unless the page cache lost a page in the meantime.
    let calls = bench.ring.enters() - before;
    assert!(calls < 12, "{calls} calls for 96 reads of 24 disks");
    let idle = bench.ring.enters();
    for disk in &mut disks {
        disk.poll(Mono::ZERO, &mut done);
    }
    assert_eq!(bench.ring.enters(), idle, "nothing to hand over, nothing to fetch: no call");
}

#[test]
fn buffers_of_another_pool_work_too() {
    let bench = Bench::new();
    let mut disk = bench.open("f", MIB, true);
    let other = BufPool::new(&PoolLayout::uniform(4096, 4)).unwrap();
    let mut buf = other.alloc(4096).unwrap();
    buf.fill(42);
    let op = Op::Write { lba: Lba(0), buf, persist: Persist::Flush };
    assert_eq!(bench.run(&mut disk, op).0, Ok(()));
    assert!(bench.read(&mut disk, 0, 4096).unwrap().iter().all(|&b| b == 42));
}

#[test]
fn another_thread_ends_the_sleep() {
    let bench = Bench::new();
    let mut ring = bench.ring.clone();
    let unparker = ring.unparker();
    // Before the sleep: the next park returns. Without an end this would hang.
    unparker.unpark();
    ring.park(Mono::ZERO, None);
    for _ in 0..100 {
        let (told, tell) = std::sync::mpsc::channel::<()>();
        let unparker = ring.unparker();
        std::thread::scope(|s| {
            s.spawn(move || {
                tell.recv().unwrap();
                unparker.unpark();
            });
            told.send(()).unwrap();
            ring.park(Mono::ZERO, None);
        });
    }
    // Seen by a poll first: the next park still returns.
    let mut disk = bench.open("f", MIB, false);
    unparker.unpark();
    let op = Op::Read { lba: Lba(0), buf: bench.buf(0, 4096) };
    disk.submit(Mono::ZERO, Request { tag: Tag(1), op }).unwrap();
    let mut done = Vec::with_capacity(1);
    while disk.poll(Mono::ZERO, &mut done) == 0 {}
    ring.park(Mono::ZERO, None);
    ring.park(Mono::ZERO, Some(Mono(1_000_000)));
    drop(bench);
    drop(ring);
    drop(disk);
    unparker.unpark();
}

#[test]
fn sleeping_has_an_end() {
    let bench = Bench::new();
    let mut ring = bench.ring.clone();
    ring.park(Mono(5), Some(Mono(5)));
    ring.park(Mono(5), Some(Mono(3)));
    ring.park(Mono(5), Some(Mono(1_000_005)));
    ring.park_batch(Mono(5), Some(Mono(1_000_005)), 8, Nanos::from_micros(100));
    // Far enough to be armed in the kernel; the second one shares the first one's alarm.
    ring.park(Mono(5), Some(Mono(6_000_005)));
    ring.park(Mono(5), Some(Mono(7_000_005)));
    ring.park(Mono(5), Some(Mono(8_000_005)));
    let mut disk = bench.open("f", MIB, true);
    let op = Op::Read { lba: Lba(0), buf: bench.buf(0, 4096) };
    disk.submit(Mono::ZERO, Request { tag: Tag(1), op }).unwrap();
    let mut done = Vec::with_capacity(1);
    while disk.poll(Mono::ZERO, &mut done) == 0 {
        ring.park_batch(Mono::ZERO, None, 64, Nanos::from_micros(100));
    }
    assert_eq!(done[0].result, Ok(()));
}

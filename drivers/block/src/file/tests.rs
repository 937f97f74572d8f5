use super::*;
use isotherm_seam::{BufPool, IoBuf, Lba, PoolLayout};
use std::io::Write as _;
use std::sync::atomic::AtomicU64;

/// Counts, and wakes the thread that made it.
struct Bell {
    rings: AtomicU64,
    thread: std::thread::Thread,
}

impl Unpark for Bell {
    fn unpark(&self) {
        self.rings.fetch_add(1, Ordering::SeqCst);
        self.thread.unpark();
    }
}

fn bell() -> Arc<Bell> {
    Arc::new(Bell { rings: AtomicU64::new(0), thread: std::thread::current() })
}

fn pool() -> BufPool {
    BufPool::new(&PoolLayout::uniform(65_536, 8)).unwrap()
}

const WRITE: OpenOptions = OpenOptions { write: true, direct: true, create_bytes: None, depth: 8 };

/// A file of so many bytes, each the low byte of its block's number.
fn file_of(bytes: usize) -> tempfile::NamedTempFile {
    let mut file = tempfile::NamedTempFile::new().unwrap();
    let content: Vec<u8> = (0..bytes).map(|at| (at / 512) as u8).collect();
    file.write_all(&content).unwrap();
    file
}

/// The block at a byte: filesystems differ in what O_DIRECT takes for one.
fn at(device: &File, bytes: u64) -> Lba {
    device.geometry().logical.lba_of(bytes)
}

fn open(path: &Path, options: &OpenOptions) -> Result<File, OpenCause> {
    File::open(path, options, 2, bell()).map_err(|e| e.cause)
}

fn call(device: &mut File, op: Op) -> (Result<(), IoError>, Option<IoBuf>) {
    device.submit(Mono(0), Request { tag: Tag(1), op }).unwrap();
    let mut done = Vec::with_capacity(1);
    while device.poll(Mono(0), &mut done) == 0 {
        std::thread::park();
    }
    let completion = done.pop().unwrap();
    (completion.result, completion.buf)
}

#[test]
fn what_is_no_storage_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let refused = |path: &Path, options| open(path, options).err();
    assert_eq!(refused(&folder.path().join("none"), &WRITE), Some(OpenCause::NotFound));
    assert_eq!(refused(folder.path(), &WRITE), Some(OpenCause::NotStorage));
    assert_eq!(refused(Path::new("/dev/null"), &WRITE), Some(OpenCause::NotStorage));
    let empty = file_of(0);
    let small = OpenCause::TooSmall { bytes: 0, needed_bytes: 512 };
    assert_eq!(refused(empty.path(), &OpenOptions { direct: false, ..WRITE }), Some(small));
    // To read, nothing is created or extended.
    let read = OpenOptions { write: false, create_bytes: Some(1 << 20), ..WRITE };
    assert_eq!(refused(&folder.path().join("none"), &read), Some(OpenCause::NotFound));
    let file = file_of(8192);
    let small = OpenCause::TooSmall { bytes: 8192, needed_bytes: 1 << 20 };
    assert_eq!(refused(file.path(), &read), Some(small));
    assert_eq!(file.as_file().metadata().unwrap().len(), 8192);
}

#[test]
fn a_file_is_created_sparse_and_extended_but_never_cut() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("disk.img");
    let sized = |bytes| OpenOptions { create_bytes: Some(bytes), ..WRITE };
    let capacity = |options| open(&path, &options).unwrap().geometry().capacity_bytes();
    assert_eq!(capacity(sized(1 << 30)), 1 << 30);
    let blocks = std::os::unix::fs::MetadataExt::blocks(&std::fs::metadata(&path).unwrap());
    assert!(blocks < 100, "sparse: {blocks} blocks of 512 bytes");
    assert_eq!(capacity(sized(2 << 30)), 2 << 30);
    assert_eq!(capacity(sized(1 << 20)), 2 << 30);
}

#[test]
fn a_device_opened_to_read_writes_nothing() {
    let file = file_of(65_536);
    let mut device = open(file.path(), &OpenOptions { write: false, ..WRITE }).unwrap();
    let pool = pool();
    let mut buf = pool.alloc(4096).unwrap();
    buf.fill(0xff);
    let write = Op::Write { lba: Lba(0), buf, persist: Persist::Fua };
    assert_eq!(call(&mut device, write).0, Err(IoError::ReadOnly));
    let discard = Op::Discard { lba: Lba(0), blocks: 1 };
    assert_eq!(call(&mut device, discard).0, Err(IoError::ReadOnly));
    let read = Op::Read { lba: at(&device, 4096), buf: pool.alloc(4096).unwrap() };
    let (result, buf) = call(&mut device, read);
    assert_eq!((result, buf.unwrap()[0]), (Ok(()), 8));
    let content = std::fs::read(file.path()).unwrap();
    assert!(content.iter().enumerate().all(|(at, byte)| *byte == (at / 512) as u8));
}

#[test]
fn a_file_cut_short_underneath_fails_where_it_ends() {
    let file = file_of(65_536);
    for direct in [false, true] {
        file.as_file().set_len(65_536).unwrap();
        let mut device = open(file.path(), &OpenOptions { direct, ..WRITE }).unwrap();
        file.as_file().set_len(16_384).unwrap();
        let pool = pool();
        let read = Op::Read { lba: Lba(0), buf: pool.alloc(32_768).unwrap() };
        let end = at(&device, 16_384);
        assert_eq!(call(&mut device, read).0, Err(IoError::Media { lba: end }));
        let read = Op::Read { lba: Lba(0), buf: pool.alloc(16_384).unwrap() };
        assert_eq!(call(&mut device, read).0, Ok(()));
    }
}

#[test]
fn a_discard_gives_space_back() {
    let file = file_of(1 << 20);
    let mut device = open(file.path(), &WRITE).unwrap();
    let blocks = |file: &tempfile::NamedTempFile| {
        std::os::unix::fs::MetadataExt::blocks(&file.as_file().metadata().unwrap())
    };
    call(&mut device, Op::Flush).0.unwrap();
    let before = blocks(&file);
    let count = (1 << 20) / u64::from(device.geometry().logical.bytes());
    assert_eq!(call(&mut device, Op::Discard { lba: Lba(0), blocks: count }).0, Ok(()));
    assert!(blocks(&file) + 1_000 < before, "{} of {before} blocks left", blocks(&file));
    assert_eq!(file.as_file().metadata().unwrap().len(), 1 << 20, "its length stays");
}

/// With no time-out to hide behind: a wake-up that is lost hangs this test.
#[test]
fn no_wake_up_is_lost() {
    let file = file_of(1 << 20);
    let options = OpenOptions { direct: false, depth: 4, ..WRITE };
    let bell = bell();
    let mut device = File::open(file.path(), &options, 3, Arc::clone(&bell) as _).unwrap();
    let pool = pool();
    let mut done = Vec::with_capacity(4);
    let (mut sent, mut got) = (0u64, 0u64);
    while got < 20_000 {
        // One to four in flight, so that threads race to be the one that rings.
        while device.inflight() < 1 + (sent % 4) as usize {
            let buf = pool.alloc(512).unwrap();
            let op = Op::Read { lba: Lba(sent % 2_048), buf };
            device.submit(Mono(0), Request { tag: Tag(sent), op }).unwrap();
            sent += 1;
        }
        if device.poll(Mono(0), &mut done) == 0 {
            assert_ne!(device.due(), Due::Idle);
            if device.due() == Due::Event {
                std::thread::park();
            }
        }
        for completion in done.drain(..) {
            assert_eq!(completion.result, Ok(()));
            let buf = completion.buf.unwrap();
            assert_eq!(buf[0], (completion.tag.0 % 2_048) as u8, "its own block");
            got += 1;
        }
    }
    let rings = bell.rings.load(Ordering::SeqCst);
    assert!(rings <= sent, "at most one ring a completion: {rings}");
}

/// A core polled, found all that was in flight, sent more, read `Event` and slept; as no poll
/// had found nothing, nobody woke it.
#[test]
fn a_core_that_sleeps_on_event_is_woken_without_a_poll_in_vain() {
    let file = file_of(4096);
    let options = OpenOptions { direct: false, depth: 1, ..WRITE };
    let mut device = File::open(file.path(), &options, 1, bell()).unwrap();
    let pool = pool();
    let mut done = Vec::with_capacity(1);
    for round in 0..200 {
        let op = Op::Read { lba: Lba(0), buf: pool.alloc(4096).unwrap() };
        assert!(device.submit(Mono::ZERO, Request { tag: Tag(round), op }).is_ok());
        while device.due() == Due::Event {
            std::thread::park();
        }
        assert_eq!(device.poll(Mono::ZERO, &mut done), 1);
        assert_eq!((done.pop().unwrap().tag, device.due()), (Tag(round), Due::Idle));
    }
}

#[test]
fn a_buffer_stuck_in_the_kernel_is_leaked_and_others_come_back() {
    let file = file_of(65_536);
    let mut device = File::idle(file.path(), &WRITE, None, bell()).unwrap();
    device.patience = Duration::from_millis(1);
    let pool = pool();
    let free = pool.free_count();
    for tag in 0..3 {
        let buf = pool.alloc(4096).unwrap();
        let op = Op::Read { lba: Lba(0), buf };
        device.submit(Mono(0), Request { tag: Tag(tag), op }).unwrap();
    }
    // A thread took the first and never comes back with it.
    device.shared.lock().threads += 1;
    let stuck = device.shared.lock().queue.pop_front().unwrap();
    drop(device);
    assert_eq!(pool.free_count(), free - 1, "two never started, one is lost");
    drop(pool);
    let Work::Read { mut bytes, .. } = stuck.work else { unreachable!() };
    bytes.fill(1); // Still mapped: a fault here would end the test.
}

#[test]
fn transfers_are_whole_whatever_the_kernel_does() {
    let size = BlockSize::B512;
    let run = |answers: &[Result<usize, i32>]| {
        let mut answers = answers.iter();
        let mut asked = Vec::new();
        let result = transfer(size, 1024, 2048, |done| {
            asked.push(done);
            *answers.next().expect("no more is asked than needed")
        });
        (result, asked)
    };
    assert_eq!(run(&[Ok(2048)]), (Ok(()), vec![0]));
    assert_eq!(run(&[Ok(512), Ok(1536)]), (Ok(()), vec![0, 512]));
    // Part of a block counts for nothing: an aligned transfer goes on at a block.
    assert_eq!(run(&[Ok(700), Ok(1536)]), (Ok(()), vec![0, 512]));
    assert_eq!(run(&[Err(libc::EINTR), Ok(2048)]), (Ok(()), vec![0, 0]));
    let media = |lba| Err(IoError::Media { lba: Lba(lba) });
    assert_eq!(run(&[Ok(1024), Err(libc::EIO)]), (media(4), vec![0, 1024]));
    assert_eq!(run(&[Ok(1536), Ok(0)]), (media(5), vec![0, 1536]));
    assert_eq!(run(&[Err(libc::ENODEV)]), (Err(IoError::Gone), vec![0]));
    assert_eq!(run(&[Err(libc::ENOSPC)]), (Err(IoError::NoSpace), vec![0]));
}

//! A ring that can't be had. Alone in its process: it lowers the process's limits.

use isotherm_seam::{BufPool, OpenCause, PoolLayout};
use isotherm_uring::{Ring, RingConfig};
use nix::sys::resource::{Resource, getrlimit, setrlimit};

#[test]
fn a_refused_ring_says_so_and_names_the_way_out() {
    let pool = BufPool::new(&PoolLayout::uniform(4096, 4)).unwrap();
    let (_, hard) = getrlimit(Resource::RLIMIT_NOFILE).unwrap();
    // Room for no further descriptor: the lowest free one is the number open now, or less.
    let next_free = std::fs::File::open("/dev/null").unwrap();
    let next_free = std::os::fd::AsRawFd::as_raw_fd(&next_free) as u64;
    setrlimit(Resource::RLIMIT_NOFILE, next_free, hard).unwrap();
    let error = Ring::new(&RingConfig::new(pool)).err().expect("a refusal");
    assert_eq!(error.cause, OpenCause::UringRefused { errno: libc::EMFILE });
    let text = error.to_string();
    assert!(text.contains("io_uring is refused here") && text.contains("file driver"), "{text}");
}

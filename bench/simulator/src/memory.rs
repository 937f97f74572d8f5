//! Memory that a program keeps.
//!
//! What must always hold: what a run does is the same with it and without.

use std::os::unix::process::CommandExt;
use std::process::Command;

/// What glibc is told: nothing is given back, all but the largest areas come from the heap, and that
/// is in huge pages where there are any. Simulated disks are read all over.
const TUNABLES: (&str, &str) = (
    "GLIBC_TUNABLES",
    "glibc.malloc.mmap_threshold=1073741824:glibc.malloc.trim_threshold=4294967296\
     :glibc.malloc.hugetlb=1",
);

/// Begins the program anew with memory that stays its own once it was used; to be called first.
///
/// By default glibc gives memory back to the kernel and gets it again page by page: 14 of 100
/// samples of a soak were page faults. Where somebody has told it something else already, or there
/// is another libc, nothing happens.
pub fn keep_memory() {
    let (name, value) = TUNABLES;
    if std::env::var_os(name).is_none()
        && let Ok(path) = std::env::current_exe()
    {
        // It returns only if it fails, and then all goes on as before.
        let _ = Command::new(path).args(std::env::args_os().skip(1)).env(name, value).exec();
    }
}

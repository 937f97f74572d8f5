//! How long the way through the kernel takes.
//!
//! A read of a disk that takes a fixed time takes a program longer than that: two passages
//! through the kernel, two wake-ups and a timer lie on the way. What must always hold: it is
//! measured on the mount that will serve, by reads like those to come, one at a time.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;

use isotherm_host::HostClock;
use isotherm_seam::{Clock, Nanos};

/// What the disk to measure with takes.
pub(crate) const FIXED: Nanos = Nanos::from_millis(2);

/// Its spec: no data, no arm, a fixed time.
pub(crate) const SPEC: &str = "delay:2ms,null:1G";

/// Reads to measure with: half a second of them.
const READS: u64 = 250;

const READ_BYTES: usize = 4096;

/// What a read of `file` takes beyond [`FIXED`]: the mean without the slowest and the fastest
/// tenth, for one that met a stranger's burst says nothing about the way.
pub(crate) fn measure(file: &Path) -> io::Result<Nanos> {
    let clock = HostClock::new();
    let file = File::open(file)?;
    let mut buf = [0; READ_BYTES];
    let mut beyond = Vec::with_capacity(READS as usize);
    for at in 0..READS {
        let before = clock.mono();
        file.read_exact_at(&mut buf, at * READ_BYTES as u64)?;
        beyond.push(clock.mono().since(before).saturating_sub(FIXED));
    }
    Ok(middle_mean(beyond))
}

fn middle_mean(mut times: Vec<Nanos>) -> Nanos {
    times.sort_unstable();
    let tenth = times.len() / 10;
    let middle = &times[tenth..times.len() - tenth];
    Nanos(middle.iter().map(|time| time.0).sum::<u64>() / middle.len() as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_burst_does_not_count() {
        let mut times: Vec<Nanos> = (100..118).map(Nanos).collect();
        times.extend([Nanos(0), Nanos(1_000_000)]);
        assert_eq!(middle_mean(times), Nanos(108));
    }
}

//! What a disk can do, as it was measured.
//!
//! What must always hold: times are of this disk and this machine, from `calibrate`, and never
//! of a data sheet; the seek curve never falls with distance; a profile that was kept is read
//! back the same.
//!
//! ```text
//!  0       2       4               8       10       12        16         20         24
//!  | ver   | flags | overhead ns   | latency| thru-  | turn ns | outer    | inner    |
//!  |       |       |               | depth  | put    |         | KB/s     | KB/s     |
//!  24      28                 64                                                   64
//!  | flush | access[0..9] ns, over the square root of the distance, in eighths    |
//! ```

use isotherm_seam::Nanos;
use zerocopy::little_endian::{U16, U32};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// Distances at which the access time is kept: square roots of 0, 1/8 ... 1.
pub const SEEK_POINTS: usize = 9;

/// What a disk can do.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct DiskProfile {
    /// It has an arm and a spindle.
    pub rotating: bool,
    /// Requests in the device while somebody waits for each.
    pub depth_latency: u16,
    /// Requests in the device when the rate counts.
    pub depth_throughput: u16,
    /// One turn of the spindle; zero where there is none.
    pub turn: Nanos,
    /// Controller and bus, for each request.
    pub overhead: Nanos,
    /// From one request to the first byte of the next, where the block comes by just in time:
    /// overhead, seek and settling, by the distance: `access[i]` at (i / 8)² of the stroke.
    pub access: [Nanos; SEEK_POINTS],
    /// Sequential rate at the first block, in 1000 bytes a second.
    pub outer_kb_s: u32,
    /// Sequential rate at the last block.
    pub inner_kb_s: u32,
    /// A flush with nothing to do.
    pub flush: Nanos,
}

/// Why bytes are not a profile.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum ProfileError {
    /// Written by a later program.
    #[error("disk profile version {0} is not known: calibrate the disk again")]
    Version(u16),
    /// What no disk can be.
    #[error("the disk profile is damaged: calibrate the disk again")]
    Impossible,
}

const VERSION: u16 = 1;
const ROTATING: u16 = 1;

#[derive(Clone, Copy, FromBytes, IntoBytes, KnownLayout, Immutable)]
#[repr(C)]
struct Raw {
    version: U16,
    flags: U16,
    overhead_ns: U32,
    depth_latency: U16,
    depth_throughput: U16,
    turn_ns: U32,
    outer_kb_s: U32,
    inner_kb_s: U32,
    flush_ns: U32,
    access_ns: [U32; SEEK_POINTS],
}

const _: () = assert!(size_of::<Raw>() == DiskProfile::BYTES);

impl DiskProfile {
    /// Size as kept on disk.
    pub const BYTES: usize = 64;

    /// A device without an arm that takes `depth` requests at once: memory, flash.
    pub const fn flat(depth: u16) -> DiskProfile {
        DiskProfile {
            rotating: false,
            depth_latency: depth,
            depth_throughput: depth,
            turn: Nanos::ZERO,
            overhead: Nanos::from_micros(1),
            access: [Nanos::from_micros(1); SEEK_POINTS],
            outer_kb_s: 1_000_000,
            inner_kb_s: 1_000_000,
            flush: Nanos::ZERO,
        }
    }

    /// A 7200 rpm drive of 20 TB and more: for one that can't be measured yet.
    pub fn nearline() -> DiskProfile {
        // docs/HDD-MODEL.md: overhead 0.2, settling 0.35, then min, root and line of the seek.
        let access = std::array::from_fn(|eighths| {
            let d = (eighths as f64 / 8.0).powi(2);
            Nanos::from_millis_f64(1.45 + 9.0 * d.min(0.25).sqrt() + 12.0 * (d - 0.25).max(0.0))
        });
        DiskProfile {
            rotating: true,
            depth_latency: 1,
            depth_throughput: 8,
            turn: Nanos(8_333_333),
            overhead: Nanos::from_micros(200),
            access,
            outer_kb_s: 285_000,
            inner_kb_s: 137_000,
            flush: Nanos::from_micros(200),
        }
    }

    /// As kept on disk. Times are kept up to 4.29 s.
    pub fn to_bytes(&self) -> [u8; DiskProfile::BYTES] {
        let ns = |time: Nanos| U32::new(u32::try_from(time.0).unwrap_or(u32::MAX));
        let raw = Raw {
            version: U16::new(VERSION),
            flags: U16::new(if self.rotating { ROTATING } else { 0 }),
            overhead_ns: ns(self.overhead),
            depth_latency: U16::new(self.depth_latency),
            depth_throughput: U16::new(self.depth_throughput),
            turn_ns: ns(self.turn),
            outer_kb_s: U32::new(self.outer_kb_s),
            inner_kb_s: U32::new(self.inner_kb_s),
            flush_ns: ns(self.flush),
            access_ns: self.access.map(ns),
        };
        raw.as_bytes().try_into().expect("the sizes are equal")
    }

    /// The inverse of [`DiskProfile::to_bytes`]. The bytes are those that were kept: whoever
    /// keeps them has a checksum over them.
    pub fn from_bytes(bytes: &[u8; DiskProfile::BYTES]) -> Result<DiskProfile, ProfileError> {
        let raw = Raw::read_from_bytes(bytes).expect("the sizes are equal");
        if raw.version.get() != VERSION {
            return Err(ProfileError::Version(raw.version.get()));
        }
        let ns = |time: U32| Nanos(u64::from(time.get()));
        let profile = DiskProfile {
            rotating: raw.flags.get() & ROTATING != 0,
            depth_latency: raw.depth_latency.get(),
            depth_throughput: raw.depth_throughput.get(),
            turn: ns(raw.turn_ns),
            overhead: ns(raw.overhead_ns),
            access: raw.access_ns.map(ns),
            outer_kb_s: raw.outer_kb_s.get(),
            inner_kb_s: raw.inner_kb_s.get(),
            flush: ns(raw.flush_ns),
        };
        let possible = raw.flags.get() & !ROTATING == 0 && profile.is_possible();
        if possible { Ok(profile) } else { Err(ProfileError::Impossible) }
    }

    /// Whether a disk could be like this; the scheduler relies on it.
    pub(super) fn is_possible(&self) -> bool {
        self.depth_latency > 0
            && self.depth_throughput > 0
            && self.outer_kb_s > 0
            && self.inner_kb_s > 0
            && self.access.is_sorted()
            && self.rotating == (self.turn > Nanos::ZERO)
    }

    /// Radius (0 the rim, 1 the hub) below which a fraction of the addresses lies.
    ///
    /// With the rate falling linearly to r of itself at the hub, c(x) = (x - kx²/2) / (1 - k/2)
    /// and k = 1 - r; this is its inverse.
    pub fn radius_of(&self, address_fraction: f64) -> f64 {
        let k = self.taper();
        if k < 1e-3 {
            return address_fraction;
        }
        (1.0 - (1.0 - 2.0 * k * (1.0 - k / 2.0) * address_fraction).max(0.0).sqrt()) / k
    }

    /// The inverse of [`DiskProfile::radius_of`].
    pub fn fraction_of(&self, radius: f64) -> f64 {
        let k = self.taper();
        (radius - k * radius * radius / 2.0) / (1.0 - k / 2.0)
    }

    fn taper(&self) -> f64 {
        (1.0 - f64::from(self.inner_kb_s) / f64::from(self.outer_kb_s)).clamp(0.0, 0.9)
    }

    /// The least time from one request to the first byte of another so far away.
    #[inline]
    pub fn access(&self, distance: f32) -> Nanos {
        let at = distance.clamp(0.0, 1.0).sqrt() * (SEEK_POINTS - 1) as f32;
        let low = (at as usize).min(SEEK_POINTS - 2);
        let (a, b) = (self.access[low].0, self.access[low + 1].0);
        Nanos(a + ((b - a) as f32 * (at - low as f32)) as u64)
    }

    /// Time to move so many bytes at a radius, with no seek.
    #[inline]
    pub fn transfer(&self, bytes: u64, radius: f32) -> Nanos {
        let outer = self.outer_kb_s as f32;
        let rate = outer + (self.inner_kb_s as f32 - outer) * radius;
        // 1000 bytes a second are one byte in 10^6 ns.
        Nanos((bytes as f32 * (1e6 / rate)) as u64)
    }

    /// A random read of so many bytes with nothing else queued: a mean over the disk.
    pub fn mean_service(&self, bytes: u64) -> Nanos {
        const STEPS: u32 = 32;
        let radius = |i: u32| self.radius_of((f64::from(i) + 0.5) / f64::from(STEPS)) as f32;
        let mut sum = 0;
        for from in 0..STEPS {
            for to in 0..STEPS {
                sum += self.access((radius(from) - radius(to)).abs()).0;
            }
        }
        let access = Nanos(sum / u64::from(STEPS * STEPS));
        access + Nanos(self.turn.0 / 2) + self.transfer(bytes, 0.5)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_are_pinned() {
        let bytes = DiskProfile::nearline().to_bytes();
        assert_eq!(bytes[..16], [1, 0, 1, 0, 64, 13, 3, 0, 1, 0, 8, 0, 21, 40, 127, 0]);
        // 1.45 ms is 1,450,000 = 0x162010.
        assert_eq!(bytes[28..32], [0x10, 0x20, 0x16, 0]);
        assert_eq!(DiskProfile::from_bytes(&bytes), Ok(DiskProfile::nearline()));
        let flat = DiskProfile::flat(32);
        assert_eq!(DiskProfile::from_bytes(&flat.to_bytes()), Ok(flat));
    }

    #[test]
    fn what_no_disk_can_be_is_refused() {
        let with = |at: usize, byte: u8| {
            let mut bytes = DiskProfile::nearline().to_bytes();
            bytes[at] = byte;
            DiskProfile::from_bytes(&bytes)
        };
        assert_eq!(with(0, 2), Err(ProfileError::Version(2)));
        assert_eq!(with(2, 0), Err(ProfileError::Impossible), "a turn, and not rotating");
        assert_eq!(with(8, 0), Err(ProfileError::Impossible), "depth 0");
        assert_eq!(with(30, 0xff), Err(ProfileError::Impossible), "near is slower than far");
        assert_eq!(with(3, 0x80), Err(ProfileError::Impossible), "an unknown flag");
    }

    #[test]
    fn the_mean_read_is_ninety_a_second() {
        let iops = 1.0 / DiskProfile::nearline().mean_service(4096).as_secs_f64();
        assert!((88.0..93.0).contains(&iops), "{iops}");
    }

    #[test]
    fn radius_and_address_are_inverse() {
        let profile = DiskProfile::nearline();
        for i in 0..=10 {
            let radius = f64::from(i) / 10.0;
            let back = profile.radius_of(profile.fraction_of(radius));
            assert!((back - radius).abs() < 1e-6, "{radius}: {back}");
        }
        assert_eq!(DiskProfile::flat(1).radius_of(0.3), 0.3);
    }

    #[test]
    fn farther_takes_longer() {
        let profile = DiskProfile::nearline();
        let times: Vec<Nanos> = (0..=100).map(|i| profile.access(i as f32 / 100.0)).collect();
        assert!(times.is_sorted());
        assert_eq!(times[0], Nanos::from_micros(1450));
        // The model's own formula, half a stroke: 1.45 + 4.5 + 3.
        assert!((profile.access(0.5).as_millis_f64() - 8.95).abs() < 0.1);
        // 285 KB at the rim take 1 ms.
        assert!((profile.transfer(285_000, 0.0).as_millis_f64() - 1.0).abs() < 0.001);
    }
}

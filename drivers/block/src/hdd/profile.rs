//! What a drive is made of: one row per drive, one line per constant, each with its source.
//!
//! What must always hold: a profile is about mechanics and never about how many bytes a test
//! gives it; `geometry` maps any number of bytes onto the same stroke, tracks and rotation.
//!
//! Sources are named in docs/HDD-MODEL.md: `[published]` stands in a vendor's or a researcher's
//! document, `[fit]` was chosen so that published figures come out, `[estimate]` is neither.

use isotherm_seam::{Nanos, OpKind};

use super::seek::SeekCurve;

/// One model of drive.
#[derive(Clone, PartialEq, Debug)]
pub struct Profile {
    /// What it is called in a spec string.
    pub name: &'static str,
    /// What it stands for, for people.
    pub title: &'static str,
    /// Bytes of the real drive.
    pub capacity_bytes: u64,
    /// Recording surfaces, one head each.
    pub surfaces: u32,
    /// Revolutions per minute.
    pub rpm: u32,
    /// Sustained rate at the rim, switches included, in 10^6 bytes a second.
    pub outer_mb_s: f64,
    /// Sustained rate at the hub as a fraction of that at the rim.
    pub inner_ratio: f64,
    /// How the arm moves.
    pub seek: SeekCurve,
    /// Added to each seek until the head may read, in milliseconds.
    pub settle_ms: f64,
    /// Added to that until it may write, in milliseconds.
    pub write_settle_ms: f64,
    /// From one track to the next, be it the next head or the next cylinder, in milliseconds.
    /// Tracks are skewed by just this.
    pub switch_ms: f64,
    /// Controller and bus for each command that moves the arm, in milliseconds.
    pub overhead_ms: f64,
    /// Until a command that needs no arm is answered (buffer hit, cached write), in milliseconds.
    pub answer_ms: f64,
    /// The bus, in 10^6 bytes a second.
    pub bus_mb_s: f64,
    /// How far it reads ahead of a sequential reader, in turns of the spindle.
    pub read_ahead_turns: u32,
    /// Bytes that the write cache may hold before it makes the host wait.
    pub dirty_bytes_max: u64,
    /// It takes writes only at write pointers, in zones.
    pub host_managed: bool,
}

/// The arm that all three profiles share; see docs/HDD-MODEL.md, "Seek".
const NEARLINE_ARM: SeekCurve = SeekCurve {
    min_ms: 0.9,   // [fit] so that the mean comes out; published track to track is 0.23 ms
    root_ms: 9.0,  // [fit] to random reads at depth 1
    knee: 0.25,    // [fit]
    line_ms: 12.0, // [fit] full stroke of 14.4 ms; published from 14.7 to 25 ms
};

/// Every profile there is.
pub const PROFILES: &[Profile] = &[EXOS_X24, HC670, FUTURE_200T];

/// 24 TB, conventional.
pub const EXOS_X24: Profile = Profile {
    name: "exos-x24",
    title: "24 TB CMR, Seagate Exos X24 class",
    capacity_bytes: 24_000_000_000_000,  // [published]
    surfaces: 20,                        // [published] ten platters
    rpm: 7_200,                          // [published]
    outer_mb_s: 285.0,                   // [published] "max sustained"
    inner_ratio: 0.48,                   // [estimate] Constellation.2: 84 to 163 MB/s, 0.52
    seek: NEARLINE_ARM,                  // [fit]
    settle_ms: 0.35,                     // [fit]
    write_settle_ms: 0.8,                // [published] HC310: 8.2 ms against 7.4 ms
    switch_ms: 1.0,                      // [estimate] older drives publish 1.4 to 2.6 ms
    overhead_ms: 0.2,                    // [published] Constellation.2: 7.7 ms against 7.5 ms
    answer_ms: 0.2,                      // [estimate]
    bus_mb_s: 550.0,                     // [published] 6 Gb/s SATA, less its 8b/10b coding
    read_ahead_turns: 4,                 // [estimate]
    dirty_bytes_max: 64 * 1_024 * 1_024, // [estimate] an eighth of the published 512 MB
    host_managed: false,
};

/// 26 TB, host-managed SMR.
pub const HC670: Profile = Profile {
    name: "hc670",
    title: "26 TB host-managed SMR, WD Ultrastar DC HC670 class",
    capacity_bytes: 26_000_000_000_000, // [published]
    surfaces: 20,                       // [published] ten platters
    outer_mb_s: 265.0,                  // [published] for its successor, the HC680
    host_managed: true,                 // [published]
    ..EXOS_X24
};

/// 200 TB: the same arm and spindle, many more bytes under them.
pub const FUTURE_200T: Profile = Profile {
    name: "future-200t",
    title: "200 TB, a drive to come: same arm, same spindle",
    capacity_bytes: 200_000_000_000_000, // [published] as an outlook
    // [estimate] Bits along the track grow with the cube root of the density, as most of the
    // growth goes into tracks: 285 x (200/24)^(1/3) = 578.
    outer_mb_s: 578.0,
    bus_mb_s: 1_100.0, // [published] 12 Gb/s SAS: the track is faster than SATA
    ..EXOS_X24
};

impl Profile {
    /// The profile of this name.
    pub fn named(name: &str) -> Option<&'static Profile> {
        PROFILES.iter().find(|profile| profile.name == name)
    }

    /// One turn of the spindle.
    pub fn turn(&self) -> Nanos {
        Nanos(60_000_000_000 / u64::from(self.rpm))
    }

    /// From one track to the next.
    pub fn switch(&self) -> Nanos {
        Nanos::from_millis_f64(self.switch_ms)
    }

    /// Sustained rate at a radius (0 the rim, 1 the hub), in bytes a second.
    pub fn rate_at(&self, radius: f64) -> f64 {
        self.outer_mb_s * 1e6 * (1.0 - (1.0 - self.inner_ratio) * radius)
    }

    /// Bytes of one track at a radius: what passes in a turn and a switch at the sustained rate.
    pub fn track_bytes_at(&self, radius: f64) -> f64 {
        self.rate_at(radius) * (self.turn() + self.switch()).as_secs_f64()
    }

    /// Bytes of a track, averaged over the tracks.
    pub fn track_bytes_mean(&self) -> f64 {
        self.track_bytes_at(0.5)
    }

    /// The smallest backing that the drive can be scaled to, in bytes: with fewer tracks than
    /// this it is no longer much like the whole one (docs/HDD-MODEL.md, "Scaling").
    pub fn smallest_backing_bytes(&self) -> u64 {
        const TRACKS_MIN: f64 = 24.0;
        ((self.track_bytes_mean() * TRACKS_MIN) as u64).next_multiple_of(1 << 20)
    }

    /// Radius (0 the rim, 1 the hub) below which a fraction of the capacity lies.
    ///
    /// The capacity up to radius x is (x - kx²/2) / (1 - k/2) with k = 1 - `inner_ratio`; this is
    /// its inverse. Addresses begin at the rim, so it is also the radius of an address.
    pub fn radius_of(&self, capacity_fraction: f64) -> f64 {
        let k = 1.0 - self.inner_ratio;
        if k < 1e-9 {
            return capacity_fraction;
        }
        (1.0 - (1.0 - 2.0 * k * (1.0 - k / 2.0) * capacity_fraction).max(0.0).sqrt()) / k
    }

    /// Mean time of one random transfer of `bytes` with nothing else queued, addresses uniform
    /// over the capacity. [`OpKind::Write`] is a write to the medium; all else counts as a read.
    pub fn mean_service(&self, bytes: u64, kind: OpKind) -> Nanos {
        const STEPS: u32 = 200;
        let radii: Vec<f64> =
            (0..STEPS).map(|i| self.radius_of((f64::from(i) + 0.5) / f64::from(STEPS))).collect();
        let mut ms = 0.0;
        for &from in &radii {
            for &to in &radii {
                ms += self.seek.time((from - to).abs()).as_millis_f64();
            }
        }
        let transfer: f64 = radii.iter().map(|&x| bytes as f64 / self.rate_at(x) * 1e3).sum();
        let settle = match kind {
            OpKind::Write => self.settle_ms + self.write_settle_ms,
            _ => self.settle_ms,
        };
        let steps = f64::from(STEPS);
        Nanos::from_millis_f64(
            self.overhead_ms
                + ms / (steps * steps)
                + settle
                + self.turn().as_millis_f64() / 2.0
                + transfer / steps,
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_unique_and_found() {
        for profile in PROFILES {
            assert_eq!(Profile::named(profile.name), Some(profile));
        }
        assert_eq!(Profile::named("exos"), None);
    }

    #[test]
    fn a_radius_and_the_capacity_below_it_are_inverse() {
        let k = 1.0 - EXOS_X24.inner_ratio;
        for i in 0..=100 {
            let x = f64::from(i) / 100.0;
            let capacity = (x - k * x * x / 2.0) / (1.0 - k / 2.0);
            assert!((EXOS_X24.radius_of(capacity) - x).abs() < 1e-9, "{x}");
        }
    }

    #[test]
    fn the_mean_read_is_ninety_a_second() {
        let iops = 1.0 / EXOS_X24.mean_service(4_096, OpKind::Read).as_secs_f64();
        assert!((89.0..91.5).contains(&iops), "{iops}");
    }
}

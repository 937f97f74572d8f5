//! Which faults, how often and where.

use std::ops::RangeInclusive;

use isotherm_seam::{Geometry, Nanos, OpenCause};

use crate::spec::{ArgError, Args, OptionHelp, parse_probability, parse_time};

/// What is wrong with a disk. All zero and empty by default; probabilities are per request,
/// `latent` per physical sector. Ranges are of logical blocks, both ends included.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Faults {
    /// A read fails.
    pub eio_read: f64,
    /// A write fails; a part of it, from its start, may have reached the medium.
    pub eio_write: f64,
    /// A flush fails.
    pub eio_flush: f64,
    /// Reads and writes of these blocks fail, always.
    pub bad: Vec<RangeInclusive<u64>>,
    /// So many sectors are unreadable until they are written whole.
    pub latent: f64,
    /// A read returns with one bit wrong, and says nothing.
    pub flip: f64,
    /// A write says that it is done, and never reaches the medium.
    pub lost: f64,
    /// A write lands somewhere else.
    pub misdirect: f64,
    /// With this probability a request makes the whole disk stand still for this long.
    pub stall: Option<(f64, Nanos)>,
    /// Requests for these blocks take so much longer.
    pub slow: Vec<(RangeInclusive<u64>, Nanos)>,
    /// After so many requests the disk is gone.
    pub gone: Option<u64>,
}

/// Why a device can't have these faults.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadFaults {
    /// Lost and misdirected writes would break the write pointers below.
    #[error("`lost` and `misdirect` need a device without zones: put `zoned` above `fault`")]
    Zones,
    /// A range that the device does not have.
    #[error("blocks {first}-{last} lie beyond the device's last, {end}")]
    BeyondEnd {
        /// The range's first block.
        first: u64,
        /// Its last.
        last: u64,
        /// The device's last.
        end: u64,
    },
}

impl From<BadFaults> for OpenCause {
    fn from(error: BadFaults) -> OpenCause {
        OpenCause::BadSpec { why: error.to_string() }
    }
}

const fn option(name: &'static str, value: &'static str, meaning: &'static str) -> OptionHelp {
    OptionHelp { name, value, meaning }
}

pub(super) const OPTIONS: &[OptionHelp] = &[
    option("eio", "1e-4", "a read or write fails with this probability"),
    option("eio-read", "1e-4", "the same for reads alone"),
    option("eio-write", "1e-4", "the same for writes alone"),
    option("eio-flush", "1e-4", "the same for flushes"),
    option("bad", "START-END", "these blocks can't be read or written; may be repeated"),
    option("latent", "1e-6", "so many sectors can't be read until they are rewritten"),
    option("flip", "1e-6", "a read has one bit wrong"),
    option("lost", "1e-6", "a write is acknowledged and never made"),
    option("misdirect", "1e-6", "a write lands elsewhere"),
    option("stall", "1e-4/500ms", "a request stops the whole disk for a time"),
    option("slow", "START-END/50ms", "these blocks take so much longer; may be repeated"),
    option("gone", "10000", "the disk is gone after so many requests"),
];

impl Faults {
    pub(super) fn parse(args: &Args<'_>) -> Result<Faults, ArgError> {
        const CHANCE: &str = "a probability from 0 to 1, such as 1e-4";
        const RANGE: &str = "START-END, in blocks, both included";
        args.no_value(OPTIONS)?;
        let chance = |name| args.option(name, CHANCE, parse_probability);
        let eio = chance("eio")?.unwrap_or(0.0);
        let stall = |text: &str| {
            let (chance, time) = text.split_once('/')?;
            Some((parse_probability(chance)?, parse_time(time)?))
        };
        let slow = |text: &str| {
            let (range, time) = text.split_once('/')?;
            Some((parse_range(range)?, parse_time(time)?))
        };
        Ok(Faults {
            eio_read: chance("eio-read")?.unwrap_or(eio),
            eio_write: chance("eio-write")?.unwrap_or(eio),
            eio_flush: chance("eio-flush")?.unwrap_or(0.0),
            bad: args.repeated("bad", RANGE, parse_range)?,
            latent: chance("latent")?.unwrap_or(0.0),
            flip: chance("flip")?.unwrap_or(0.0),
            lost: chance("lost")?.unwrap_or(0.0),
            misdirect: chance("misdirect")?.unwrap_or(0.0),
            stall: args.option("stall", "PROBABILITY/TIME, such as 1e-4/500ms", stall)?,
            slow: args.repeated("slow", "START-END/TIME, such as 100-199/50ms", slow)?,
            gone: args.option("gone", "a number of requests", |text| text.parse().ok())?,
        })
    }

    pub(super) fn check(&self, geometry: &Geometry) -> Result<(), BadFaults> {
        if geometry.zones.is_some() && (self.lost > 0.0 || self.misdirect > 0.0) {
            return Err(BadFaults::Zones);
        }
        let end = geometry.blocks - 1;
        let ranges = self.bad.iter().chain(self.slow.iter().map(|(range, _)| range));
        for range in ranges {
            let (first, last) = (*range.start(), *range.end());
            if last > end {
                return Err(BadFaults::BeyondEnd { first, last, end });
            }
        }
        Ok(())
    }

    /// The first bad block of a transfer, by the ranges.
    pub(super) fn first_bad(&self, first: u64, blocks: u64) -> Option<u64> {
        let last = first + blocks - 1;
        let hits = self.bad.iter().filter(|range| *range.start() <= last && *range.end() >= first);
        hits.map(|range| first.max(*range.start())).min()
    }

    /// How much longer a transfer takes, by the ranges: the worst of those that it touches.
    pub(super) fn slowness(&self, first: u64, blocks: u64) -> Nanos {
        let last = first + blocks - 1;
        let touched = |range: &RangeInclusive<u64>| *range.start() <= last && *range.end() >= first;
        let times = self.slow.iter().filter(|(range, _)| touched(range)).map(|(_, time)| *time);
        times.max().unwrap_or(Nanos::ZERO)
    }
}

fn parse_range(text: &str) -> Option<RangeInclusive<u64>> {
    let (first, last) = text.split_once('-')?;
    let (first, last) = (first.parse().ok()?, last.parse().ok()?);
    (first <= last).then_some(first..=last)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_include_both_ends() {
        let slow = vec![(5..=9, Nanos(3)), (9..=12, Nanos(7))];
        let faults = Faults { bad: vec![10..=12, 20..=20], slow, ..Faults::default() };
        assert_eq!(faults.first_bad(0, 10), None);
        assert_eq!(faults.first_bad(0, 11), Some(10));
        assert_eq!(faults.first_bad(11, 100), Some(11));
        assert_eq!(faults.first_bad(13, 7), None);
        assert_eq!(faults.first_bad(13, 8), Some(20));
        assert_eq!(faults.slowness(0, 5), Nanos(0));
        assert_eq!(faults.slowness(9, 1), Nanos(7));
    }

    #[test]
    fn ranges_read_as_people_write_them() {
        assert_eq!(parse_range("7-7"), Some(7..=7));
        for bad in ["", "7", "7-", "8-7", "a-b"] {
            assert_eq!(parse_range(bad), None, "{bad}");
        }
    }
}

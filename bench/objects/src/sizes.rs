//! How long objects are.
//!
//! What must always hold: a length lies within the bounds of its law; the length of an object
//! follows from the seed and its place alone, so that every pass of a run and every version of the
//! object have it alike.
//!
//! ```text
//! 64k                      all alike
//! 4k-1m                    evenly between two, both included
//! lognormal:256k:1.5       half of them below 256 KiB, sigma 1.5 of the natural logarithm
//! lognormal:256k:1.5:4k-64m   and none beyond these bounds: those are drawn again
//! ```

use core::fmt;
use core::str::FromStr;

use isotherm_block::spec::parse_bytes;
use isotherm_seam::{Domain, Draws};

const SIZES: Domain = Domain::new("objects.sizes");

/// Bounds of a log-normal law that names none.
const LEAST_BYTES: u64 = 1;
const MOST_BYTES: u64 = 64 << 20;
/// Draws in vain before a length is put at the bound that it lies beyond.
const DRAWS_MAX: u32 = 64;

/// The law of the lengths.
#[derive(Clone, Copy, PartialEq, Debug)]
pub enum SizeLaw {
    /// All alike.
    Fixed(u64),
    /// Evenly between two, both included.
    Range {
        /// The least.
        min: u64,
        /// The greatest.
        max: u64,
    },
    /// The logarithm is bell-shaped.
    LogNormal {
        /// Half of them are shorter.
        median: u64,
        /// The deviation of the natural logarithm.
        sigma: f64,
        /// None is shorter.
        min: u64,
        /// None is longer.
        max: u64,
    },
}

/// A text that is no law.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error(
    "sizes are written as 64k, as 4k-1m, or as lognormal:MEDIAN:SIGMA[:MIN-MAX], such as \
     lognormal:256k:1.5:4k-64m"
)]
pub struct SizeLawError;

impl SizeLaw {
    /// The length of the object at a place.
    pub fn of(&self, seed: u64, slot: u64) -> u64 {
        match *self {
            SizeLaw::Fixed(bytes) => bytes,
            SizeLaw::Range { min, max } => min + Draws::new(seed, SIZES, slot).below(max - min + 1),
            SizeLaw::LogNormal { median, sigma, min, max } => {
                let mut draws = Draws::new(seed, SIZES, slot);
                let mut bytes = 0.0;
                for _ in 0..DRAWS_MAX {
                    bytes = (median as f64 * (sigma * normal(&mut draws)).exp()).round();
                    if (min as f64..=max as f64).contains(&bytes) {
                        break;
                    }
                }
                (bytes as u64).clamp(min, max)
            }
        }
    }

    /// The longest that it gives.
    pub fn max(&self) -> u64 {
        match *self {
            SizeLaw::Fixed(bytes) => bytes,
            SizeLaw::Range { max, .. } | SizeLaw::LogNormal { max, .. } => max,
        }
    }
}

/// A draw from the normal law of mean 0 and deviation 1 (Box and Muller, 1958).
fn normal(draws: &mut Draws) -> f64 {
    // 1 - u lies in (0, 1]: its logarithm is finite.
    let radius = (-2.0 * (1.0 - draws.next_f64()).ln()).sqrt();
    radius * (core::f64::consts::TAU * draws.next_f64()).cos()
}

impl FromStr for SizeLaw {
    type Err = SizeLawError;

    fn from_str(text: &str) -> Result<SizeLaw, SizeLawError> {
        let bytes = |text: &str| parse_bytes(text).ok_or(SizeLawError);
        let range = |text: &str| {
            let (min, max) = text.split_once('-').ok_or(SizeLawError)?;
            let (min, max) = (bytes(min)?, bytes(max)?);
            if min <= max { Ok((min, max)) } else { Err(SizeLawError) }
        };
        let Some(law) = text.strip_prefix("lognormal:") else {
            if text.contains('-') {
                let (min, max) = range(text)?;
                return Ok(SizeLaw::Range { min, max });
            }
            return bytes(text).map(SizeLaw::Fixed);
        };
        let parts: Vec<&str> = law.split(':').collect();
        let (median, sigma, bounds) = match parts[..] {
            [median, sigma] => (median, sigma, None),
            [median, sigma, bounds] => (median, sigma, Some(bounds)),
            _ => return Err(SizeLawError),
        };
        let median = bytes(median)?;
        let sigma: f64 = sigma.parse().map_err(|_| SizeLawError)?;
        let (min, max) = match bounds {
            Some(bounds) => range(bounds)?,
            None => (LEAST_BYTES, MOST_BYTES.max(median)),
        };
        let is_law = sigma.is_finite() && sigma >= 0.0 && (min..=max).contains(&median);
        if is_law && median > 0 {
            Ok(SizeLaw::LogNormal { median, sigma, min, max })
        } else {
            Err(SizeLawError)
        }
    }
}

impl fmt::Display for SizeLaw {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            SizeLaw::Fixed(bytes) => write!(f, "{bytes}"),
            SizeLaw::Range { min, max } => write!(f, "{min}-{max}"),
            SizeLaw::LogNormal { median, sigma, min, max } => {
                write!(f, "lognormal:{median}:{sigma}:{min}-{max}")
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn drawn(law: &str, count: u64) -> Vec<u64> {
        let law: SizeLaw = law.parse().unwrap();
        (0..count).map(|slot| law.of(5, slot)).collect()
    }

    #[test]
    fn a_law_is_its_text() {
        for (text, law) in [
            ("64k", SizeLaw::Fixed(65_536)),
            ("4k-1m", SizeLaw::Range { min: 4096, max: 1 << 20 }),
            (
                "lognormal:256k:1.5:4k-64m",
                SizeLaw::LogNormal { median: 256 << 10, sigma: 1.5, min: 4096, max: 64 << 20 },
            ),
        ] {
            assert_eq!(text.parse(), Ok(law));
            assert_eq!(law.to_string().parse(), Ok(law));
        }
        for bad in
            ["", "much", "1m-4k", "lognormal:1m", "lognormal:1m:x", "lognormal:1m:1:2m-4m", "4k-"]
        {
            assert_eq!(bad.parse::<SizeLaw>(), Err(SizeLawError), "{bad}");
        }
    }

    #[test]
    fn a_range_is_even_and_holds_both_ends() {
        let got = drawn("10-19", 20_000);
        for bytes in 10..20 {
            // Binomial of mean 2,000: deviation 42.
            let count = got.iter().filter(|&&b| b == bytes).count();
            assert!((1_830..2_170).contains(&count), "{bytes}: {count}");
        }
    }

    #[test]
    fn a_log_normal_law_has_its_median_and_its_spread() {
        let mut got = drawn("lognormal:100k:1.5:1-1g", 40_000);
        got.sort_unstable();
        let at = |share: f64| got[(share * 40_000.0) as usize] as f64;
        // The median of 40,000 draws is known to 1.25 sigma / sqrt(n): 0.9 %.
        assert!((at(0.5) / 102_400.0 - 1.0).abs() < 0.04, "{}", at(0.5));
        // One deviation up is exp(1.5) times the median: at 84.13 %.
        assert!(((at(0.8413) / at(0.5)).ln() / 1.5 - 1.0).abs() < 0.03, "{}", at(0.8413));
    }

    #[test]
    fn bounds_hold_and_lengths_stay() {
        let got = drawn("lognormal:64k:3:32k-128k", 10_000);
        assert!(got.iter().all(|bytes| (32 << 10..=128 << 10).contains(bytes)));
        let at_bounds = got.iter().filter(|&&b| b == 32 << 10 || b == 128 << 10).count();
        assert!(at_bounds < 10, "they are drawn again, not piled up: {at_bounds}");
        assert_eq!(got, drawn("lognormal:64k:3:32k-128k", 10_000));
    }
}

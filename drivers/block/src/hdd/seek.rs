//! How long the arm takes from one radius to another.
//!
//! What must always hold: the curve never falls with distance, and is zero only for no distance.
//! The shape (a square root while the arm accelerates and brakes, a line once it coasts) is that
//! of Ruemmler and Wilkes, "An introduction to disk drive modeling", IEEE Computer 27(3), 1994.

use isotherm_seam::Nanos;

/// Seek time over distance, as a fraction of the full stroke.
///
/// ```text
/// t(0) = 0
/// t(d) = min + root x sqrt(d)                                    0 < d <= knee
/// t(d) = min + root x sqrt(knee) + line x (d - knee)          knee < d <= 1
/// ```
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct SeekCurve {
    /// The shortest seek, in milliseconds.
    pub min_ms: f64,
    /// Factor of the square root, in milliseconds.
    pub root_ms: f64,
    /// Where the line begins, as a fraction of the stroke.
    pub knee: f64,
    /// Slope of the line, in milliseconds per full stroke.
    pub line_ms: f64,
}

impl SeekCurve {
    /// Time to move the heads by `distance` (0 to 1 of the full stroke), before any settling.
    #[inline]
    pub fn time(&self, distance: f64) -> Nanos {
        if distance <= 0.0 { Nanos::ZERO } else { Nanos((self.ms(distance) * 1e6) as u64) }
    }

    #[inline]
    fn ms(&self, distance: f64) -> f64 {
        let root = self.root_ms * distance.min(self.knee).sqrt();
        self.min_ms + root + self.line_ms * (distance - self.knee).max(0.0)
    }

    /// From rim to rim.
    pub fn full_stroke(&self) -> Nanos {
        self.time(1.0)
    }

    /// Mean over two radii that are uniform over the *cylinders*: how vendors define "average
    /// seek". The density of the distance is 2(1 - d).
    pub fn vendor_mean(&self) -> Nanos {
        const STEPS: u32 = 10_000;
        let sum: f64 = (0..STEPS)
            .map(|i| (f64::from(i) + 0.5) / f64::from(STEPS))
            .map(|d| 2.0 * (1.0 - d) * self.ms(d))
            .sum();
        Nanos::from_millis_f64(sum / f64::from(STEPS))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CURVE: SeekCurve = SeekCurve { min_ms: 0.9, root_ms: 9.0, knee: 0.25, line_ms: 12.0 };

    #[test]
    fn known_points() {
        assert_eq!(CURVE.time(0.0), Nanos::ZERO);
        assert_eq!(CURVE.time(0.25), Nanos::from_micros(5_400));
        // 5.4 + 12 x 0.75
        assert_eq!(CURVE.full_stroke(), Nanos::from_micros(14_400));
    }

    #[test]
    fn farther_is_never_faster() {
        let times: Vec<Nanos> = (0..=1_000).map(|i| CURVE.time(f64::from(i) / 1e3)).collect();
        assert!(times.is_sorted());
    }

    #[test]
    fn the_vendor_mean_is_the_textbook_integral() {
        // 2(1-d) over: 0.9 + 9 sqrt(d) up to the knee, 5.4 + 12 (d - 0.25) beyond. By hand:
        // below 0.9x0.4375 + 18(2/3x0.125 - 2/5x0.03125) = 1.66875,
        // above 5.4x0.5625 + 24 x 0.75^3/6 = 3.0375 + 1.6875.
        let mean = CURVE.vendor_mean().as_millis_f64();
        assert!((mean - 6.394).abs() < 0.01, "{mean}");
    }
}

//! Times, sizes and names as people read them.

use isotherm_block::spec::parse_bytes;
use isotherm_host::HostClock;
use isotherm_seam::Clock;
use isotherm_store::layout::{Kind, State, Stream};
use isotherm_store::{Key, Place};

/// In powers of 1024, as extents are counted: `256.0 MiB`.
pub(crate) fn size(bytes: u64) -> String {
    let units = ["B", "KiB", "MiB", "GiB", "TiB", "PiB"];
    let mut value = bytes as f64;
    let mut unit = 0;
    while value >= 1023.95 && unit + 1 < units.len() {
        value /= 1024.0;
        unit += 1;
    }
    if unit == 0 { format!("{bytes} B") } else { format!("{value:.1} {}", units[unit]) }
}

/// Seconds since 1970, now.
pub(crate) fn now_s() -> u32 {
    u32::try_from((HostClock::new().wall().0 / 1_000_000_000).max(0)).unwrap_or(u32::MAX)
}

/// `2026-11-22T19:04:50Z`; a dash for zero, which stands for never.
pub(crate) fn date(at_s: u32) -> String {
    if at_s == 0 {
        return "-".to_owned();
    }
    // Days to a date, by eras of 400 years that begin on a first of March.
    let days = i64::from(at_s / 86_400) + 719_468;
    let (era, day_of_era) = (days / 146_097, days % 146_097);
    let year_of_era =
        (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted + 2) / 5 + 1;
    let month = if shifted < 10 { shifted + 3 } else { shifted - 9 };
    let year = era * 400 + year_of_era + i64::from(month <= 2);
    let of_day = at_s % 86_400;
    let (hour, minute, second) = (of_day / 3600, of_day / 60 % 60, of_day % 60);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}Z")
}

/// How long ago, in one unit: `5 s`, `3 min`, `2 h`, `40 d`.
pub(crate) fn age(at_s: u32, now_s: u32) -> String {
    if at_s == 0 {
        return "-".to_owned();
    }
    let seconds = now_s.saturating_sub(at_s);
    match seconds {
        0..120 => format!("{seconds} s"),
        120..7200 => format!("{} min", seconds / 60),
        7200..172_800 => format!("{} h", seconds / 3600),
        _ => format!("{} d", seconds / 86_400),
    }
}

/// `EXTENT:BLOCK`, as `dump` takes it.
pub(crate) fn place(place: &Place) -> String {
    format!("{}:{}", place.extent.0, place.block)
}

pub(crate) fn state(state: State) -> &'static str {
    match state {
        State::Meta => "meta",
        State::Free => "free",
        State::Next => "next",
        State::Open => "open",
        State::Sealed => "sealed",
        State::Dead => "dead",
        State::Offline => "offline",
    }
}

pub(crate) fn stream(stream: Stream) -> &'static str {
    match stream {
        Stream::Fresh => "fresh",
        Stream::Expiring => "expiring",
        Stream::Warm => "warm",
        Stream::Cold => "cold",
        Stream::Index => "index",
    }
}

pub(crate) fn kind(kind: Kind) -> &'static str {
    match kind {
        Kind::Data => "data",
        Kind::Tombs => "tombs",
        Kind::Mark => "mark",
        Kind::Head => "head",
        Kind::Run => "run",
        Kind::Checkpoint => "checkpoint",
    }
}

/// Reads a key for clap.
pub(crate) fn key(text: &str) -> Result<Key, isotherm_store::KeyParseError> {
    text.parse()
}

/// Reads a size for clap: `4k`, `1m`, `512`.
pub(crate) fn bytes(text: &str) -> Result<u64, String> {
    parse_bytes(text).ok_or_else(|| "a size such as 4K, 1M or 2G is expected".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_are_those_of_the_calendar() {
        assert_eq!(date(0), "-");
        assert_eq!(date(1_000_000_000), "2001-09-09T01:46:40Z");
        assert_eq!(date(951_782_400), "2000-02-29T00:00:00Z");
        assert_eq!(date(1_709_251_199), "2024-02-29T23:59:59Z");
        assert_eq!(date(u32::MAX), "2106-02-07T06:28:15Z");
    }

    #[test]
    fn sizes_and_ages_have_one_unit() {
        assert_eq!(size(4096), "4.0 KiB");
        assert_eq!(size(1023), "1023 B");
        assert_eq!(size(24 << 40), "24.0 TiB");
        assert_eq!(age(100, 159), "59 s");
        assert_eq!(age(1, 1 + 86_400 * 3), "3 d");
        assert_eq!(age(200, 100), "0 s");
        assert_eq!(bytes("64k"), Ok(65_536));
        assert!(bytes("much").is_err());
    }
}

//! Lengths of requests: `bsrange` and `bssplit`, and of files.

use crate::{SizeLaw, SizeShare, quantity};

/// The longest request, in bytes: it must fit the 32 bits of a device's limit.
const REQUEST_MAX: u64 = 1 << 30;

fn request(text: &str, kb_base: u64) -> Option<u64> {
    quantity::bytes(text, kb_base).filter(|bytes| (1..=REQUEST_MAX).contains(bytes))
}

fn pair(text: &str, one: impl Fn(&str) -> Option<u64>) -> Option<(u64, u64)> {
    let (a, b) = text.split_once('-').or_else(|| text.split_once(':'))?;
    let (a, b) = (one(a)?, one(b)?);
    Some((a.min(b), a.max(b)))
}

/// `4k-8k`, or one of these for each direction.
pub(crate) fn ranges(text: &str, kb_base: u64) -> Option<[Option<SizeLaw>; 2]> {
    let range = |text: &str| {
        let (min, max) = pair(text, |size| request(size, kb_base))?;
        Some(SizeLaw::Range { min, max })
    };
    for_directions(text, range)
}

/// `4k/60:64k/40`, or one of these for each direction.
pub(crate) fn splits(text: &str, kb_base: u64) -> Option<[Option<SizeLaw>; 2]> {
    for_directions(text, |text| split(text, kb_base).map(SizeLaw::Split))
}

/// One holds for all; of several, one left empty says nothing.
fn for_directions(
    text: &str,
    one: impl Fn(&str) -> Option<SizeLaw>,
) -> Option<[Option<SizeLaw>; 2]> {
    let parts: Vec<&str> = text.split(',').collect();
    let law = |part: &str| match part.is_empty() {
        true => Some(None),
        false => one(part).map(Some),
    };
    match parts[..] {
        [all] => {
            let law = one(all)?;
            Some([Some(law.clone()), Some(law)])
        }
        [read, write] => Some([law(read)?, law(write)?]),
        // The third is for trims, of which there are none.
        [read, write, trim] => law(trim).and_then(|_| Some([law(read)?, law(write)?])),
        _ => None,
    }
}

/// Where a share is not given, what is left of 100 is divided. More than 100 is none.
fn split(text: &str, kb_base: u64) -> Option<Vec<SizeShare>> {
    let mut shares = Vec::new();
    for entry in text.split(':') {
        let (size, percent) = match entry.split_once('/') {
            Some((size, percent)) if !percent.is_empty() => {
                (size, Some(percent.parse::<u32>().ok().filter(|&percent| percent <= 100)?))
            }
            Some((size, _)) => (size, None),
            None => (entry, None),
        };
        shares.push((request(size, kb_base)?, percent));
    }
    let given: u32 = shares.iter().filter_map(|(_, percent)| *percent).sum();
    let left = 100u32.checked_sub(given)?;
    let open = shares.iter().filter(|(_, percent)| percent.is_none()).count() as u32;
    let each = left.checked_div(open).unwrap_or(0);
    let share = |(bytes, percent): (u64, Option<u32>)| SizeShare {
        bytes,
        percent: percent.unwrap_or(each),
    };
    // A length without a share would be a limit that nothing reaches.
    Some(shares.into_iter().map(share).filter(|share| share.percent > 0).collect())
        .filter(|shares: &Vec<SizeShare>| !shares.is_empty())
}

/// Lengths of files: `1m`, or between two, `4k-1m`.
pub(crate) fn files(text: &str, kb_base: u64) -> Option<(u64, u64)> {
    let one = |text: &str| quantity::bytes(text, kb_base).filter(|&bytes| bytes > 0);
    match one(text) {
        Some(bytes) => Some((bytes, bytes)),
        None => pair(text, one),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shares(text: &str) -> Option<Vec<(u64, u32)>> {
        let shares = split(text, 1024)?;
        Some(shares.into_iter().map(|share| (share.bytes, share.percent)).collect())
    }

    #[test]
    fn shares_that_are_not_given_divide_the_rest() {
        assert_eq!(shares("4k/60:64k/40"), Some(vec![(4096, 60), (65_536, 40)]));
        assert_eq!(shares("4k"), Some(vec![(4096, 100)]));
        assert_eq!(shares("4k/50:8k:16k/"), Some(vec![(4096, 50), (8192, 25), (16_384, 25)]));
        assert_eq!(shares("4k/0:8k/100"), Some(vec![(8192, 100)]));
        assert_eq!(shares("512/90"), Some(vec![(512, 90)]), "the last has what is left");
        for bad in ["4k/60:8k/60", "4k/x", "x/50", "", "4k/-1", "0/100", "4k/0"] {
            assert_eq!(shares(bad), None, "{bad}");
        }
    }

    #[test]
    fn each_direction_may_have_its_own() {
        let [read, write] = splits("4k/100,8k/50:16k/50", 1024).unwrap();
        assert_eq!((read.unwrap().max(), write.unwrap().max()), (4096, 16_384));
        let [read, write] = splits(",8k", 1024).unwrap();
        assert_eq!((read, write.map(|law| law.max())), (None, Some(8192)));
        let [read, write] = ranges("8k-4k", 1024).unwrap();
        assert_eq!(read, Some(SizeLaw::Range { min: 4096, max: 8192 }));
        assert_eq!(read, write);
        assert!(ranges("4k,8k", 1024).is_none() && ranges("1k-2k,4k-8k,1k-1k", 1024).is_some());
    }

    #[test]
    fn files_have_a_length_or_a_range_of_them() {
        assert_eq!(files("1m", 1024), Some((1 << 20, 1 << 20)));
        assert_eq!(files("4k-1m", 1024), Some((4096, 1 << 20)));
        assert_eq!((files("0", 1024), files("4k-", 1024)), (None, None));
    }
}

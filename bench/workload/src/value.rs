//! From the text of a value to the job.
//!
//! What must always hold: a value is taken as fio takes it, or refused; where fio would drop a
//! part of it without a word, it is refused.

use crate::option::{Kind, Misread, OptionRow, Word};
use crate::quantity::{self, Expected};
use crate::results::PERCENTILES_MAX;
use crate::{Job, known, list};

impl OptionRow {
    /// Reads the value and gives it to the job.
    pub(crate) fn apply(&self, job: &mut Job, value: Option<&str>) -> Result<(), Refusal> {
        match (&self.kind, value) {
            (Kind::Switch(set), None) => {
                set(job, true);
                return Ok(());
            }
            (Kind::Prefix(set), None) => {
                set(job, "");
                return Ok(());
            }
            (Kind::Noted(_), _) => return Ok(()),
            _ => {}
        }
        let given = value.filter(|text| !text.trim().is_empty()).ok_or(Expected::Text)?;
        let text = given.trim();
        let base = job.kb_base;
        match self.kind {
            Kind::Noted(_) => unreachable!("dealt with above"),
            Kind::Switch(set) | Kind::Flag(set) => {
                set(job, quantity::flag(text).ok_or(Expected::Flag)?);
            }
            Kind::Text(set) | Kind::Prefix(set) => set(job, text),
            Kind::Percents(set) => set(job, percents(text)?),
            Kind::Count(min, max, set) => {
                check_blank(given)?;
                let count = quantity::bytes(text, base).filter(|n| (min..=max).contains(n));
                set(job, count.ok_or(Expected::Count { min, max })?);
            }
            Kind::Extent(set) => {
                check_blank(given)?;
                set(job, quantity::extent(text, base).ok_or(Expected::Extent)?);
            }
            Kind::Time(set) => {
                check_blank(given)?;
                set(job, quantity::time(text).ok_or(Expected::Time)?);
            }
            Kind::Micros(set) => {
                check_blank(given)?;
                set(job, quantity::micros(text).ok_or(Expected::Time)?);
            }
            Kind::Own(read, shape) => read(job, text).map_err(|misread| match misread {
                Misread::Nonsense => Refusal::Bad(Expected::Shape(shape)),
                Misread::NotBuilt => Refusal::NotSupported(Expected::Shape(shape)),
            })?,
            Kind::BlockSize(set) => {
                check_blank(given)?;
                set(job, block_sizes(text, base)?);
            }
            Kind::Rates(set) => {
                check_blank(given)?;
                set(job, rates(text, base).ok_or(Expected::Rates)?);
            }
            Kind::NotedWord(words, _) => {
                words
                    .iter()
                    .find(|word| **word == given)
                    .ok_or_else(|| Refusal::Bad(Expected::OneOf(words.to_vec())))?;
            }
            // As in fio, a blank belongs to the word, and so no word is found.
            Kind::Word(words) => self.word(words, given, Expected::OneOf)?(job),
            Kind::Pattern(words) => {
                let (word, step) = match given.split_once(':') {
                    Some((word, step)) => (word, Some(step)),
                    None => (given, None),
                };
                self.word(words, word, Expected::Pattern)?(job);
                (job.run, job.skip_bytes) = (1, 0);
                let expected = || Expected::Pattern(words.iter().map(|(word, _)| *word).collect());
                match step {
                    None => {}
                    Some(step) if job.pattern.random => {
                        // 0 is as good as 1 to fio.
                        job.run = step.trim().parse::<u64>().map_err(|_| expected())?.max(1);
                    }
                    Some(step) => {
                        job.skip_bytes = quantity::skip(step, base).ok_or_else(expected)?;
                    }
                }
            }
        }
        Ok(())
    }

    fn word(
        &self,
        words: &'static [Word],
        text: &str,
        expected: fn(Vec<&'static str>) -> Expected,
    ) -> Result<fn(&mut Job), Refusal> {
        if let Some((_, set)) = words.iter().find(|(word, _)| *word == text) {
            return Ok(*set);
        }
        let expected = expected(words.iter().map(|(word, _)| *word).collect());
        Err(match known::is_known_word(self.name, text) {
            true => Refusal::NotSupported(expected),
            false => Refusal::Bad(expected),
        })
    }
}

/// Why a value is not taken.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Refusal {
    /// It is no value of this option.
    Bad(Expected),
    /// It is one in fio only.
    NotSupported(Expected),
    /// fio would drop its unit.
    Blank,
}

impl From<Expected> for Refusal {
    fn from(expected: Expected) -> Refusal {
        Refusal::Bad(expected)
    }
}

/// fio skips a blank before a number, and then looks for the unit where the blank was.
fn check_blank(given: &str) -> Result<(), Refusal> {
    let text = given.trim();
    let plain = text.bytes().all(|byte| byte.is_ascii_digit());
    if given.starts_with(char::is_whitespace) && !plain { Err(Refusal::Blank) } else { Ok(()) }
}

fn block_sizes(text: &str, kb_base: u64) -> Result<[u64; 3], Expected> {
    // The whole request must fit the 32 bits of a device's limit.
    let one = |part: &str| match part {
        "" => Ok(None),
        size => {
            let bytes = quantity::bytes(size, kb_base).filter(|n| (1..=1 << 30).contains(n));
            bytes.map(Some).ok_or(Expected::Bytes)
        }
    };
    let parts = list::directions(text).ok_or(Expected::Bytes)?;
    let first = one(parts[0])?;
    let read = first.unwrap_or(4096);
    // What is not given is as what was given before it.
    let write = parts.get(1).map_or(Ok(None), |part| one(part))?.unwrap_or(read);
    let trim = parts.get(2).map_or(Ok(None), |part| one(part))?.unwrap_or(write);
    Ok([read, write, trim])
}

/// Numbers joined by colons, put in order, each once.
fn percents(text: &str) -> Result<Vec<f64>, Expected> {
    let expected = Expected::Percents { max: PERCENTILES_MAX };
    let one = |part: &str| {
        part.trim().parse::<f64>().ok().filter(|percent| (0.0..=100.0).contains(percent))
    };
    let percents: Option<Vec<f64>> = text.split(':').map(one).collect();
    let mut percents = percents.ok_or(expected.clone())?;
    percents.sort_by(f64::total_cmp);
    percents.dedup();
    if percents.len() > PERCENTILES_MAX { Err(expected) } else { Ok(percents) }
}

fn rates(text: &str, kb_base: u64) -> Option<[Option<u64>; 2]> {
    let one = |part: &str| match part {
        "" => Some(None),
        number => quantity::bytes(number, kb_base).map(|n| (n > 0).then_some(n)),
    };
    let parts = list::directions(text)?;
    let read = one(parts[0])?;
    // One number holds for both directions, as in fio.
    let write = parts.get(1).map_or(Some(read), |part| one(part))?;
    // A third is for trims, of which there are none.
    parts.get(2).is_none_or(|part| one(part).is_some()).then_some([read, write])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::option::find;

    #[test]
    fn rates_are_per_direction() {
        let rates = |text| rates(text, 1024);
        assert_eq!(rates("100"), Some([Some(100), Some(100)]));
        assert_eq!(rates("100,50"), Some([Some(100), Some(50)]));
        assert_eq!(rates("100:50"), Some([Some(100), Some(50)]));
        assert_eq!(rates(",50"), Some([None, Some(50)]));
        assert_eq!(rates("1k,"), Some([Some(1024), None]));
        assert_eq!(rates("1,2,3"), Some([Some(1), Some(2)]), "the third is for trims");
        assert_eq!(rates("1,2,x"), None);
        assert_eq!(rates("x"), None);
    }

    #[test]
    fn percentiles_are_put_in_order() {
        assert_eq!(percents("99:50:99.9:50"), Ok(vec![50.0, 99.0, 99.9]));
        for bad in ["", "x", "101", "-1", "50:"] {
            assert!(percents(bad).is_err(), "{bad}");
        }
        let many: Vec<String> = (1..=21).map(|n| n.to_string()).collect();
        assert!(percents(&many.join(":")).is_err() && percents(&many[1..].join(":")).is_ok());
    }

    #[test]
    fn block_sizes_are_per_direction() {
        let sizes = |text| block_sizes(text, 1024);
        assert_eq!(sizes("4k"), Ok([4096; 3]));
        assert_eq!(sizes("4k,8k"), Ok([4096, 8192, 8192]));
        assert_eq!(sizes("4k-8k"), Ok([4096, 8192, 8192]), "no range, but a list, as in fio");
        assert_eq!(sizes("1k,2k,4k"), Ok([1024, 2048, 4096]));
        assert_eq!(sizes(",8k"), Ok([4096, 8192, 8192]));
        for bad in ["0", "2g", "4k,x", "1,2,3,4"] {
            assert_eq!(sizes(bad), Err(Expected::Bytes), "{bad}");
        }
    }

    fn apply(option: &str, value: Option<&str>) -> Result<Job, Refusal> {
        let mut job = Job::new("j");
        find(option).unwrap().apply(&mut job, value).map(|()| job)
    }

    #[test]
    fn a_pattern_has_a_skip_or_a_run() {
        let step =
            |value| apply("rw", Some(value)).map(|j| (j.pattern.word(), j.run, j.skip_bytes));
        assert_eq!(step("randrw:8"), Ok(("randrw", 8, 0)));
        assert_eq!(step("randread:0"), Ok(("randread", 1, 0)));
        assert_eq!(step("write:-4k"), Ok(("write", 1, -4096)));
        assert_eq!(step("read:4kib"), Ok(("read", 1, 4000)));
        for bad in ["randread:x", "randread:4k", "read:x", "read:", "rand", "READ", " read"] {
            assert!(matches!(step(bad), Err(Refusal::Bad(Expected::Pattern(_)))), "{bad}");
        }
        assert!(matches!(step("trim:8"), Err(Refusal::NotSupported(_))));
    }

    #[test]
    fn a_switch_may_stand_alone_and_a_flag_may_not() {
        assert!(apply("time_based", None).unwrap().time_based);
        assert!(!apply("time_based", Some("0")).unwrap().time_based);
        assert!(apply("direct", Some("1")).unwrap().direct);
        assert_eq!(apply("direct", None).unwrap_err(), Refusal::Bad(Expected::Text));
        assert_eq!(apply("direct", Some("true")).unwrap_err(), Refusal::Bad(Expected::Flag));
    }

    #[test]
    fn a_blank_costs_the_unit() {
        assert_eq!(apply("iodepth", Some(" 8")).unwrap().depth, 8);
        for option in ["bs", "size", "runtime", "iodepth"] {
            assert_eq!(apply(option, Some(" 4m")).unwrap_err(), Refusal::Blank, "{option}");
        }
        assert_eq!(apply("filename", Some(" x")).unwrap().filenames, ["x"]);
    }
}

//! The tables of options: one row each, name, kind, what it does; one table for each theme.
//!
//! What must always hold: an option is in a table of [`options`] and works, or is accepted there
//! with a recorded note that it has no effect, or is refused by name. Adding one is adding a row.

mod buffers;
mod check;
mod engine;
mod files;
mod job;
mod machine;
mod pattern;
mod rate;
mod replay;
mod results;

use isotherm_seam::Nanos;

use crate::error::Near;
use crate::known;
use crate::{Extent, Job};

/// One option of a job.
pub struct OptionRow {
    /// Its name in a job file and, after `--`, on the command line.
    pub name: &'static str,
    /// Another name for it.
    pub alias: Option<&'static str>,
    /// What its value looks like and where it goes.
    pub kind: Kind,
    /// What it does, for `--help`.
    pub help: &'static str,
}

/// What an option's value looks like and where it goes.
pub enum Kind {
    /// Any text.
    Text(fn(&mut Job, &str)),
    /// On or off; on when given without a value.
    Switch(fn(&mut Job, bool)),
    /// 0 or 1; fio wants either.
    Flag(fn(&mut Job, bool)),
    /// A whole number within bounds.
    Count(u64, u64, fn(&mut Job, u64)),
    /// A size, or a part of the whole.
    Extent(fn(&mut Job, Extent)),
    /// A length of time.
    Time(fn(&mut Job, Nanos)),
    /// A length of time; a bare number is in microseconds.
    Micros(fn(&mut Job, Nanos)),
    /// What is read in a way of its own; and what it looks like.
    Own(Reader, &'static str),
    /// The block size: up to three sizes for read, write and trim.
    BlockSize(fn(&mut Job, [u64; 3])),
    /// Directions and order, with `:8` or `:-4k`.
    Pattern(&'static [Word]),
    /// I/Os per second: one number, or one for reads and one for writes.
    Rates(fn(&mut Job, [Option<u64>; 2])),
    /// Percentiles, ascending: numbers of which none is above 100.
    Percents(fn(&mut Job, Vec<f64>)),
    /// What names begin with; empty when given without a value.
    Prefix(fn(&mut Job, &str)),
    /// One of some words.
    Word(&'static [Word]),
    /// Accepted, without effect; why.
    Noted(&'static str),
    /// One of these, accepted without effect; why.
    NotedWord(&'static [&'static str], &'static str),
}

/// Reads a value into a job.
pub type Reader = fn(&mut Job, &str) -> Result<(), Misread>;

/// Why a [`Reader`] does not take a value.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Misread {
    /// It is no value of the option.
    Nonsense,
    /// It is one in fio only.
    NotBuilt,
}

/// A word and what it stands for.
pub type Word = (&'static str, fn(&mut Job));

/// The options by theme.
const THEMES: &[&[OptionRow]] = &[
    job::ROWS,
    files::ROWS,
    pattern::ROWS,
    engine::ROWS,
    rate::ROWS,
    buffers::ROWS,
    check::ROWS,
    replay::ROWS,
    results::ROWS,
    machine::ROWS,
];

/// Every option that a job may have.
pub fn options() -> impl Iterator<Item = &'static OptionRow> {
    THEMES.iter().copied().flatten()
}

const fn row(name: &'static str, kind: Kind, help: &'static str) -> OptionRow {
    OptionRow { name, alias: None, kind, help }
}

const fn also(
    name: &'static str,
    alias: &'static str,
    kind: Kind,
    help: &'static str,
) -> OptionRow {
    OptionRow { name, alias: Some(alias), kind, help }
}

/// The row of an option, by either of its names.
pub fn find(name: &str) -> Option<&'static OptionRow> {
    options().find(|row| row.name == name || row.alias == Some(name))
}

/// The name that the user may have meant, if one is near. What works comes first.
pub(crate) fn nearest(name: &str) -> Option<Near> {
    let built = options().flat_map(|row| [Some(row.name), row.alias]).flatten();
    let built = built.map(|known| (edits(name, known), false, known));
    let known = known::names().map(|known| (edits(name, known), true, known));
    built
        .chain(known)
        .min()
        // A third of the letters wrong is still a misspelling; more is another word.
        .filter(|&(edits, _, known)| edits * 3 <= known.len().max(name.len()))
        .map(|(_, missing, known)| Near { name: known, supported: !missing })
}

impl OptionRow {
    /// Why it has no effect, if it has none.
    pub fn without_effect(&self) -> Option<&'static str> {
        match self.kind {
            Kind::Noted(why) | Kind::NotedWord(_, why) => Some(why),
            _ => None,
        }
    }

    /// Whether it may stand without a value.
    pub fn value_is_optional(&self) -> bool {
        matches!(self.kind, Kind::Switch(_) | Kind::Prefix(_) | Kind::Noted(_))
    }

    /// Where fio puts it among the options of a section, which it sorts: those that others
    /// depend on come first, those that depend on others last.
    pub(crate) fn turn(&self) -> i8 {
        match self.name {
            "kb_base" | "cpus_allowed_policy" => -1,
            "filename" | "filename_format" => 1,
            _ => 0,
        }
    }
}

/// Levenshtein's distance with adjacent swaps counted as one.
fn edits(a: &str, b: &str) -> usize {
    let (a, b): (Vec<char>, Vec<char>) = (a.chars().collect(), b.chars().collect());
    let mut rows = vec![vec![0usize; b.len() + 1]; a.len() + 1];
    for i in 0..=a.len() {
        for j in 0..=b.len() {
            rows[i][j] = if i == 0 || j == 0 {
                i + j
            } else {
                let swap = i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1];
                let replace = rows[i - 1][j - 1] + usize::from(a[i - 1] != b[j - 1]);
                let best = replace.min(rows[i - 1][j] + 1).min(rows[i][j - 1] + 1);
                if swap { best.min(rows[i - 2][j - 2] + 1) } else { best }
            };
        }
    }
    rows[a.len()][b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_unique_and_not_also_refused() {
        let mut names: Vec<&str> =
            options().flat_map(|row| [Some(row.name), row.alias]).flatten().collect();
        names.extend(known::names());
        names.sort_unstable();
        let twice: Vec<&str> = names.windows(2).filter(|w| w[0] == w[1]).map(|w| w[0]).collect();
        assert!(twice.is_empty(), "{twice:?}");
    }

    #[test]
    fn a_misspelling_finds_its_option_and_another_word_does_not() {
        let near = |wrong| nearest(wrong).map(|near| (near.name, near.supported));
        let cases =
            [("iodpeth", "iodepth"), ("randrepat", "randrepeat"), ("block_size", "blocksize")];
        for (wrong, right) in cases {
            assert_eq!(near(wrong).map(|(name, _)| name), Some(right));
        }
        assert_eq!(near("verfiy"), Some(("verify", true)));
        assert_eq!(near("frobnicate"), None);
    }
}

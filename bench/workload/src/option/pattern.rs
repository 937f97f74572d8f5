//! Which requests a job makes: directions, order, sizes.

use super::{Kind, OptionRow, Word, also, row};
use crate::{Pattern, Sequencer};

/// The rows.
pub(super) const ROWS: &[OptionRow] = &[
    also("rw", "readwrite", Kind::Pattern(PATTERNS), "directions and order; randrw:8, write:-4k"),
    row(
        "rwmixread",
        Kind::Count(0, 100, |j, v| j.read_percent = v as u32),
        "reads in a mix, percent [50]",
    ),
    row(
        "rwmixwrite",
        Kind::Count(0, 100, |j, v| j.read_percent = 100 - v as u32),
        "writes in a mix, percent",
    ),
    also("bs", "blocksize", Kind::BlockSize(|j, v| j.block_sizes = v), "length of a request [4k]"),
    row("rw_sequencer", Kind::Word(SEQUENCERS), "what follows a draw with rw=randread:8"),
    row(
        "number_ios",
        Kind::Count(0, u64::MAX, |j, v| j.number_ios = (v > 0).then_some(v)),
        "stop after so many requests",
    ),
    row(
        "norandommap",
        Kind::Switch(|j, v| j.revisit = v),
        "random addresses may repeat within a pass",
    ),
    row(
        "randrepeat",
        Kind::Flag(|j, v| j.repeatable = v),
        "the same random addresses in every run [1]",
    ),
    row("randseed", Kind::Count(0, u64::MAX, |j, v| j.seed = v), "chooses the random addresses"),
    row(
        "random_generator",
        Kind::Noted(
            "addresses come from a keyed permutation, or from xoshiro256++ with norandommap",
        ),
        "",
    ),
];

const PATTERNS: &[Word] = &[
    ("read", |j| j.pattern = pattern(false, true, false)),
    ("write", |j| j.pattern = pattern(false, false, true)),
    ("randread", |j| j.pattern = pattern(true, true, false)),
    ("randwrite", |j| j.pattern = pattern(true, false, true)),
    ("rw", |j| j.pattern = pattern(false, true, true)),
    ("readwrite", |j| j.pattern = pattern(false, true, true)),
    ("randrw", |j| j.pattern = pattern(true, true, true)),
];

const SEQUENCERS: &[Word] = &[
    ("sequential", |j| j.sequencer = Sequencer::Sequential),
    ("identical", |j| j.sequencer = Sequencer::Identical),
];

const fn pattern(random: bool, reads: bool, writes: bool) -> Pattern {
    Pattern { random, reads, writes }
}

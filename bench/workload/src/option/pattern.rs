//! Which requests a job makes: directions, order, sizes.

use super::{Kind, Misread, OptionRow, Word, also, row};
use crate::{Pattern, Sequencer, read};

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
    also(
        "bsrange",
        "blocksize_range",
        Kind::Own(
            |j, v| {
                j.size_laws = read::sizes::ranges(v, j.kb_base).ok_or(Misread::Nonsense)?;
                Ok(())
            },
            "a range such as 4k-64k, or reads,writes as in 4k-8k,1m-2m",
        ),
        "length of a request, by chance",
    ),
    row(
        "bssplit",
        Kind::Own(
            |j, v| {
                j.size_laws = read::sizes::splits(v, j.kb_base).ok_or(Misread::Nonsense)?;
                Ok(())
            },
            "sizes and shares that make 100 percent, such as 4k/60:64k/40, or reads,writes",
        ),
        "length of a request, by shares",
    ),
    also(
        "ba",
        "blockalign",
        Kind::BlockSize(|j, v| j.align = [Some(v[0]), Some(v[1])]),
        "random requests start on multiples of this [shortest request]",
    ),
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
    row("softrandommap", Kind::Noted("there is no map that could be too large"), ""),
    row(
        "random_distribution",
        Kind::Own(
            |j, v| {
                j.law = read::spread::law(v, j.kb_base).ok_or(Misread::Nonsense)?;
                Ok(())
            },
            "random, zipf:1.2, pareto:0.2, normal:10 (each with :center), zoned:60/10:40/90 or \
             zoned_abs:60/20g:40/1t",
        ),
        "how random requests are spread over the region [random]",
    ),
    row(
        "percentage_random",
        Kind::Own(
            |j, v| {
                let one = |text: &str| text.parse().ok().filter(|&percent: &u32| percent <= 100);
                j.random_percent = read::per_direction(v, one).ok_or(Misread::Nonsense)?;
                Ok(())
            },
            "percent from 0 to 100, or reads,writes",
        ),
        "in random order, how many requests are drawn; the others follow on the last [100]",
    ),
    row(
        "randrepeat",
        Kind::Flag(|j, v| j.repeatable = v),
        "the same random addresses in every run [1]",
    ),
    row("allrandrepeat", Kind::Flag(|j, v| j.repeatable = v), "as randrepeat"),
    row("randseed", Kind::Count(0, u64::MAX, |j, v| j.seed = v), "chooses the random addresses"),
    row("random_generator", Kind::NotedWord(GENERATORS, GENERATED), ""),
];

const GENERATED: &str =
    "addresses come from a keyed permutation, or from xoshiro256++ with norandommap";
const GENERATORS: &[&str] = &["tausworthe", "tausworthe64", "lfsr"];

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

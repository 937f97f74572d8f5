//! Recorded I/O in place of a pattern.

use super::{Kind, Misread, OptionRow, row};
use crate::{Skip, list};

/// The rows.
pub(super) const ROWS: &[OptionRow] = &[
    row(
        "read_iolog",
        Kind::Text(|j, v| j.replay.logs = list::paths(v)),
        "replay this log of fio's (iolog, version 2 or 3); a:b are for the copies of a job in turn",
    ),
    row(
        "replay_no_stall",
        Kind::Flag(|j, v| j.replay.no_stall = v),
        "as fast as it goes, in the recorded order [0]",
    ),
    row(
        "replay_redirect",
        Kind::Text(|j, v| j.replay.redirect = (!v.is_empty()).then(|| v.to_owned())),
        "all of a log goes to this device",
    ),
    row(
        "replay_map",
        Kind::Own(
            |j, v| {
                let (from, to) = v.split_once('=').ok_or(Misread::Nonsense)?;
                j.replay.map.push((from.to_owned(), to.to_owned()));
                Ok(())
            },
            "RECORDED=DEVICE",
        ),
        "what was recorded of a device goes to this one; may be repeated (not in fio)",
    ),
    row(
        "replay_time_scale",
        Kind::Count(1, 1_000_000, |j, v| j.replay.speed_percent = v as u32),
        "speed in percent of the recorded one [100]",
    ),
    row(
        "replay_scale",
        Kind::Count(1, 1 << 30, |j, v| j.replay.shrink = v),
        "divide offsets by this [1]",
    ),
    row(
        "replay_align",
        Kind::Own(
            |j, v| {
                let align: u64 = v.parse().map_err(|_| Misread::Nonsense)?;
                if align > 0 && !align.is_power_of_two() {
                    return Err(Misread::Nonsense);
                }
                j.replay.align = align;
                Ok(())
            },
            "bytes, a power of two",
        ),
        "bring offsets down to a multiple of this",
    ),
    row(
        "replay_skip",
        Kind::Own(
            |j, v| {
                let mut skip = Skip::default();
                for word in v.split(',') {
                    match word.trim() {
                        "read" => skip.reads = true,
                        "write" => skip.writes = true,
                        "trim" => skip.trims = true,
                        "sync" => skip.syncs = true,
                        _ => return Err(Misread::Nonsense),
                    }
                }
                j.replay.skip = skip;
                Ok(())
            },
            "some of read,write,trim,sync",
        ),
        "leave these out",
    ),
    row("read_iolog_chunked", Kind::Noted("a log is never read as a whole"), ""),
];

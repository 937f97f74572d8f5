//! Whether what was written is read back and compared.

use isotherm_verify::Kind as Check;

use super::{Kind, Misread, OptionRow, row};
use crate::read;

/// The rows.
pub(super) const ROWS: &[OptionRow] = &[
    row(
        "verify",
        Kind::Own(
            |j, v| {
                j.check.kind = match v {
                    "0" => None,
                    "sha1" | "sha3-224" | "sha3-256" | "sha3-384" | "sha3-512" => {
                        return Err(Misread::NotBuilt);
                    }
                    word => Some(Check::find(word).ok_or(Misread::Nonsense)?),
                };
                Ok(())
            },
            "meta, md5, crc64, crc32, crc32c, crc16, crc7, sha256, sha512, xxhash, pattern, \
             pattern_hdr or null",
        ),
        "seal blocks with fio's headers and check them: what is read; what was written, at the end",
    ),
    row(
        "do_verify",
        Kind::Flag(|j, v| j.check.after = v),
        "read back what was written and check it [1]",
    ),
    row("verify_only", Kind::Switch(|j, v| j.check.only = v), "write nothing, only check"),
    row("verify_fatal", Kind::Flag(|j, v| j.check.fatal = v), "the first flaw ends the job [0]"),
    row(
        "verify_dump",
        Kind::Flag(|j, v| j.check.dump = v),
        "keep a flawed block as it was read, in FILE.OFFSET.received [0]",
    ),
    row(
        "verify_interval",
        Kind::Count(1, 1 << 30, |j, v| j.check.interval = Some(v as u32)),
        "a header every so many bytes [the shortest request]",
    ),
    row(
        "verify_offset",
        Kind::Count(0, 1 << 30, |j, v| j.check.offset = v as u32),
        "so many bytes from the start of an interval to its header [0]",
    ),
    row(
        "verify_pattern",
        Kind::Own(
            |j, v| {
                j.check.pattern = Some(read::bytes::placed_pattern(v)?);
                Ok(())
            },
            "as buffer_pattern; %o is the place of the block",
        ),
        "what blocks hold",
    ),
    row(
        "verify_backlog",
        Kind::Count(0, u64::MAX, |j, v| j.check.backlog = (v > 0).then_some(v)),
        "check after so many writes, not only at the end",
    ),
    row(
        "verify_backlog_batch",
        Kind::Count(0, u64::MAX, |j, v| j.check.backlog_batch = (v > 0).then_some(v)),
        "then check so many [as many as were written]",
    ),
    row("verify_async", Kind::Noted("blocks are checked by the thread that reads them"), ""),
    row("verify_async_cpus", Kind::Noted("blocks are checked by the thread that reads them"), ""),
    row("verifysort", Kind::Noted("blocks are checked in the order in which they lie"), ""),
    row("verifysort_nr", Kind::Noted("blocks are checked in the order in which they lie"), ""),
    row(
        "verify_state_save",
        Kind::Noted("a job that is stopped says how many blocks it has left unchecked"),
        "",
    ),
    row("experimental_verify", Kind::Noted("what was written is remembered by place"), ""),
];

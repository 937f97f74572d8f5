//! Where a job works: files, and the region of them.

use super::{Kind, OptionRow, also, row};

/// The rows.
pub(super) const ROWS: &[OptionRow] = &[
    row(
        "filename",
        Kind::Text(|j, v| j.filenames.push(v.into())),
        "path, a:b list of paths, or device spec; may be repeated",
    ),
    row(
        "directory",
        Kind::Text(|j, v| j.directory = Some(v.into())),
        "where relative file names start",
    ),
    row(
        "filename_format",
        Kind::Text(|j, v| j.filename_format = v.into()),
        "names of files that a job makes of its own [$jobname.$jobnum.$filenum]",
    ),
    row("size", Kind::Extent(|j, v| j.size = Some(v)), "length of the region [all of the device]"),
    also(
        "io_size",
        "io_limit",
        Kind::Extent(|j, v| j.io_size = Some(v)),
        "how much to transfer [size]",
    ),
    row("offset", Kind::Extent(|j, v| j.offset = v), "start of the region [0]"),
    row("fallocate", Kind::Noted("files are laid out by writing them"), ""),
    row("create_serialize", Kind::Noted("files are laid out one after the other"), ""),
];

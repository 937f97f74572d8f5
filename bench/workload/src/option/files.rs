//! Where a job works: files, and the region of them.

use super::{Kind, Misread, OptionRow, Word, also, row};
use crate::{Allocate, read};

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
    also(
        "nrfiles",
        "nr_files",
        Kind::Count(1, 65_536, |j, v| j.files.count = v as u32),
        "files that a job makes of its own; they share its size [1]",
    ),
    row(
        "filesize",
        Kind::Own(
            |j, v| {
                j.files.bytes = Some(read::sizes::files(v, j.kb_base).ok_or(Misread::Nonsense)?);
                Ok(())
            },
            "a size such as 1m, or a range such as 4k-1m",
        ),
        "length of each file; a range: each by chance",
    ),
    row(
        "file_service_type",
        Kind::Own(
            |j, v| {
                j.files.service = read::spread::service(v).ok_or(Misread::Nonsense)?;
                Ok(())
            },
            "one of roundrobin, sequential, random, with :8 for eight requests in a row, or zipf, \
             pareto, normal as with random_distribution",
        ),
        "how the files of a job take turns [roundrobin]",
    ),
    row("openfiles", Kind::Noted("all files of a job are open from its start to its end"), ""),
    row("size", Kind::Extent(|j, v| j.size = Some(v)), "length of the region [all of the device]"),
    also(
        "io_size",
        "io_limit",
        Kind::Extent(|j, v| j.io_size = Some(v)),
        "how much to transfer [size]",
    ),
    row("offset", Kind::Extent(|j, v| j.offset = v), "start of the region [0]"),
    row(
        "offset_increment",
        Kind::Extent(|j, v| j.files.offset_increment = v),
        "the n-th copy of the job starts n times so much further on [0]",
    ),
    row(
        "offset_align",
        Kind::Count(0, u64::MAX, |j, v| j.files.offset_align = (v > 0).then_some(v)),
        "an offset in percent is brought up to a multiple of this [shortest request]",
    ),
    row(
        "zonemode",
        Kind::Own(
            |j, v| {
                if v == "zbd" {
                    return Err(Misread::NotBuilt);
                }
                j.zones = read::zone_mode(v, j.zones).ok_or(Misread::Nonsense)?;
                Ok(())
            },
            "one of none, strided",
        ),
        "strided: go from zone to zone [strided if there is a zonesize]",
    ),
    row(
        "zonesize",
        Kind::Count(0, u64::MAX, |j, v| j.zones.bytes = v),
        "how much is transferred in a zone before the next",
    ),
    row(
        "zonerange",
        Kind::Count(0, u64::MAX, |j, v| j.zones.range_bytes = v),
        "length of a zone [zonesize]",
    ),
    row(
        "zoneskip",
        Kind::Extent(|j, v| j.zones.gap = Some(v)),
        "from the end of a zone to the start of the next [0]",
    ),
    row("fallocate", Kind::Word(ALLOCATES), "how room is taken for a new file [native]"),
    row(
        "overwrite",
        Kind::Flag(|j, v| j.files.overwrite = v),
        "have all bytes of a file written before the job writes [0]",
    ),
    row(
        "file_append",
        Kind::Flag(|j, v| j.files.append = v),
        "start behind what the file holds [0]",
    ),
    row(
        "create_only",
        Kind::Flag(|j, v| j.files.create_only = v),
        "make the files and do nothing else [0]",
    ),
    row(
        "allow_file_create",
        Kind::Flag(|j, v| j.files.may_create = v),
        "0: refuse to make a file that is missing [1]",
    ),
    row("unlink", Kind::Flag(|j, v| j.files.unlink = v), "remove the job's files at the end [0]"),
    row(
        "invalidate",
        Kind::Flag(|j, v| j.files.invalidate = v),
        "drop what the page cache holds of the files before the job starts [1]",
    ),
    also(
        "fill_device",
        "fill_fs",
        Kind::Noted(
            "a job that writes in order ends at the end of its device anyway; a file needs a size",
        ),
        "",
    ),
    row("create_on_open", Kind::Noted("files are made before the run, and opened once"), ""),
    row("create_serialize", Kind::Noted("files are laid out one after the other"), ""),
    row("create_fsync", Kind::Noted("files that are laid out are made durable, always"), ""),
    row("fadvise_hint", Kind::Noted("the page cache is not told what will come"), ""),
];

const ALLOCATES: &[Word] = &[
    ("none", |j| j.files.allocate = Allocate::Nothing),
    ("0", |j| j.files.allocate = Allocate::Nothing),
    ("native", |j| j.files.allocate = Allocate::Whole),
    ("posix", |j| j.files.allocate = Allocate::Whole),
    ("1", |j| j.files.allocate = Allocate::Whole),
    ("keep", |j| j.files.allocate = Allocate::Keep),
    ("truncate", |j| j.files.allocate = Allocate::Length),
];

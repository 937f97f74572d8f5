//! Which disks `--disks` means.
//!
//! What must always hold: nothing is opened here; a selector that finds nothing is an error, so
//! no job ever runs on no disk.

use std::path::{Path, PathBuf};

use anyhow::{Context, bail, ensure};
use isotherm_host::{Disk, DiskKind};

/// What was selected.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Selected {
    /// So many of what the job names.
    Count(u32),
    /// These.
    Names(Vec<String>),
}

/// At most so many disks in one run.
const DISKS_MAX: usize = 4096;

/// Reads a selector: a number, `@all`, `@rotational`, a pattern of paths, or a file that lists
/// disks.
pub(super) fn select(text: &str) -> anyhow::Result<Selected> {
    if let Ok(count) = text.parse::<u32>() {
        ensure!((1..=DISKS_MAX as u32).contains(&count), "--disks={text}: 1 to {DISKS_MAX}");
        return Ok(Selected::Count(count));
    }
    let names = match text {
        "@all" => of_machine(|_| true),
        "@rotational" => of_machine(|disk| disk.rotational),
        _ if text.starts_with('@') => bail!("--disks={text}: @all and @rotational are known"),
        _ if text.contains(['*', '?', '[']) => matching(Path::new(text)),
        _ if Path::new(text).is_file() => listed(text)?,
        _ => vec![text.to_owned()],
    };
    ensure!(!names.is_empty(), "--disks={text} selects no disk");
    ensure!(names.len() <= DISKS_MAX, "--disks={text} selects more than {DISKS_MAX} disks");
    Ok(Selected::Names(names))
}

/// Pieces of hardware, and what a hypervisor gives.
fn of_machine(wanted: impl Fn(&Disk) -> bool) -> Vec<String> {
    let disks = isotherm_host::read_disks();
    let real = disks.iter().filter(|disk| {
        disk.bytes > 0 && disk.kind != DiskKind::Optical && !disk.is_made_up() && wanted(disk)
    });
    real.map(|disk| disk.path.display().to_string()).collect()
}

/// One on each line; what follows a `#` is a comment.
fn listed(path: &str) -> anyhow::Result<Vec<String>> {
    let text = std::fs::read(path).with_context(|| format!("can't read the disks in {path}"))?;
    let Ok(text) = String::from_utf8(text) else {
        bail!("--disks={path} is no list of disks: it is not text");
    };
    let lines = text.lines().map(|line| line.split('#').next().unwrap_or("").trim());
    Ok(lines.filter(|line| !line.is_empty()).map(str::to_owned).collect())
}

/// Paths that exist and match, in the order of their names with numbers as numbers.
fn matching(pattern: &Path) -> Vec<String> {
    let mut found = vec![PathBuf::from(if pattern.is_absolute() { "/" } else { "" })];
    for part in pattern.components() {
        let std::path::Component::Normal(part) = part else { continue };
        let part = part.to_string_lossy();
        let mut next = Vec::new();
        for folder in &found {
            if !part.contains(['*', '?', '[']) {
                next.extend(Some(folder.join(&*part)).filter(|path| path.exists()));
                continue;
            }
            let here = if folder.as_os_str().is_empty() { Path::new(".") } else { folder };
            let Ok(entries) = std::fs::read_dir(here) else { continue };
            let names = entries.flatten().map(|entry| entry.file_name());
            let names = names.filter(|name| {
                let name = name.to_string_lossy();
                (!name.starts_with('.') || part.starts_with('.'))
                    && fits(part.as_bytes(), name.as_bytes())
            });
            next.extend(names.map(|name| folder.join(name)));
        }
        found = next;
    }
    let mut names: Vec<String> = found.iter().map(|path| path.display().to_string()).collect();
    names.sort_by_key(|name| natural(name));
    names
}

/// `sd9` before `sd10`.
fn natural(name: &str) -> Vec<(String, u64)> {
    let mut parts = Vec::new();
    let mut rest = name;
    while !rest.is_empty() {
        let digits = rest.find(|c: char| c.is_ascii_digit()).unwrap_or(rest.len());
        let (word, tail) = rest.split_at(digits);
        let end = tail.find(|c: char| !c.is_ascii_digit()).unwrap_or(tail.len());
        let (number, tail) = tail.split_at(end);
        parts.push((word.to_owned(), number.parse().unwrap_or(0)));
        rest = tail;
    }
    parts
}

/// Whether a name fits a pattern of `*`, `?`, `[a-c]` and `[!a-c]`.
fn fits(pattern: &[u8], name: &[u8]) -> bool {
    match pattern.split_first() {
        None => name.is_empty(),
        Some((b'*', rest)) => (0..=name.len()).any(|skip| fits(rest, &name[skip..])),
        Some((b'?', rest)) => !name.is_empty() && fits(rest, &name[1..]),
        Some((b'[', rest)) => match (rest.iter().position(|b| *b == b']'), name.split_first()) {
            (Some(end), Some((letter, after))) => {
                let (set, wanted) = match rest[..end].strip_prefix(b"!") {
                    Some(set) => (set, false),
                    None => (&rest[..end], true),
                };
                holds(set, *letter) == wanted && fits(&rest[end + 1..], after)
            }
            _ => false,
        },
        Some((letter, rest)) => name.first() == Some(letter) && fits(rest, &name[1..]),
    }
}

fn holds(set: &[u8], letter: u8) -> bool {
    let mut rest = set;
    loop {
        match rest {
            [from, b'-', to, tail @ ..] => {
                if (*from..=*to).contains(&letter) {
                    return true;
                }
                rest = tail;
            }
            [one, tail @ ..] => {
                if *one == letter {
                    return true;
                }
                rest = tail;
            }
            [] => return false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_fit_as_in_a_shell() {
        let cases: [(&str, &str, bool); 8] = [
            ("sd*", "sda1", true),
            ("sd?", "sda1", false),
            ("sd[a-c]", "sdb", true),
            ("sd[!a-c]", "sdb", false),
            ("sd[xz]", "sdz", true),
            ("*-part1", "ata-X-part1", true),
            ("", "a", false),
            ("a[", "a[", false),
        ];
        for (pattern, name, expected) in cases {
            assert_eq!(fits(pattern.as_bytes(), name.as_bytes()), expected, "{pattern} {name}");
        }
    }

    #[test]
    fn a_selector_is_a_number_a_pattern_a_list_or_a_path() {
        let dir = tempfile::tempdir().unwrap();
        for number in [10, 9, 1] {
            std::fs::write(dir.path().join(format!("d{number}.img")), b"x").unwrap();
        }
        let text = |path: &str| dir.path().join(path).display().to_string();
        assert_eq!(select("12").unwrap(), Selected::Count(12));
        let all = ["d1.img", "d9.img", "d10.img"].map(text).to_vec();
        assert_eq!(select(&text("d*.img")).unwrap(), Selected::Names(all));
        std::fs::write(dir.path().join("list"), "# disks\n/dev/x # the first\n\nnull:1T\n")
            .unwrap();
        let listed = vec!["/dev/x".to_owned(), "null:1T".to_owned()];
        assert_eq!(select(&text("list")).unwrap(), Selected::Names(listed));
        assert_eq!(select("/dev/none").unwrap(), Selected::Names(vec!["/dev/none".into()]));
        for bad in ["0", "5000", "@ssd", &text("none*")] {
            assert!(select(bad).is_err(), "{bad}");
        }
    }
}

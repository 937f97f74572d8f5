//! Where this machine tells about itself: sysfs, procfs, /dev and udev's database.
//!
//! What must always hold: everything this crate reads about the machine it reads below one
//! [`HostRoot`], so that a test can build a machine out of a folder. A file that is missing or
//! unreadable is `None`: kernels differ in what they tell.

use std::path::{Path, PathBuf};

/// The roots of the kernel's and udev's file trees.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct HostRoot {
    /// `/sys`.
    pub sys: PathBuf,
    /// `/proc`.
    pub proc: PathBuf,
    /// `/dev`.
    pub dev: PathBuf,
    /// `/run/udev/data`.
    pub udev: PathBuf,
}

impl HostRoot {
    /// This machine.
    pub fn real() -> HostRoot {
        HostRoot::under(Path::new("/"))
    }

    /// A machine whose file trees lie below `dir`: `dir/sys`, `dir/proc`, `dir/dev` and
    /// `dir/run/udev/data`.
    pub fn under(dir: &Path) -> HostRoot {
        HostRoot {
            sys: dir.join("sys"),
            proc: dir.join("proc"),
            dev: dir.join("dev"),
            udev: dir.join("run/udev/data"),
        }
    }
}

/// The text of a file without the white space around it; `None` where it is missing, unreadable
/// or empty.
pub(crate) fn read_text(path: &Path) -> Option<String> {
    let bytes = std::fs::read(path).ok()?;
    let text = String::from_utf8_lossy(&bytes);
    let text = text.trim_matches(|c: char| c.is_whitespace() || c == '\0');
    (!text.is_empty()).then(|| text.to_owned())
}

/// A number in a file of its own.
pub(crate) fn read_u64(path: &Path) -> Option<u64> {
    read_text(path)?.parse().ok()
}

/// Names in a folder, sorted the way people count: `sda`, `sdb`, …, `sdaa`; `nvme2n1` before
/// `nvme10n1`. Empty where it can't be read.
pub(crate) fn list_dir(path: &Path) -> Vec<String> {
    let Ok(entries) = std::fs::read_dir(path) else { return Vec::new() };
    let mut names: Vec<String> =
        entries.flatten().map(|entry| entry.file_name().to_string_lossy().into_owned()).collect();
    names.sort_by_key(|name| natural_key(name));
    names
}

/// Orders names by their first two letters (the driver), then by the length of their letters,
/// then the letters, then the value of the digits, and so on.
pub(crate) fn natural_key(name: &str) -> Vec<(String, usize, String, u64)> {
    let mut key = Vec::new();
    let mut rest = name;
    while !rest.is_empty() {
        let letters = rest.find(|c: char| c.is_ascii_digit()).unwrap_or(rest.len());
        let after = &rest[letters..];
        let digits = after.find(|c: char| !c.is_ascii_digit()).unwrap_or(after.len());
        let value = after[..digits].parse().unwrap_or(0);
        let driver = rest[..letters].chars().take(2).collect();
        key.push((driver, letters, rest[..letters].to_owned(), value));
        rest = &after[digits..];
    }
    key
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_sorted_as_people_count() {
        let mut names = ["sdaa", "nvme10n1", "sdb", "loop10", "nvme2n1", "loop2", "sda", "sda2"];
        names.sort_by_key(|name| natural_key(name));
        let sorted = ["loop2", "loop10", "nvme2n1", "nvme10n1", "sda", "sda2", "sdb", "sdaa"];
        assert_eq!(names, sorted);
    }

    #[test]
    fn text_is_trimmed_and_an_empty_file_is_none() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("model");
        std::fs::write(&path, "ST24000NM000C-3W \n").unwrap();
        assert_eq!(read_text(&path).unwrap(), "ST24000NM000C-3W");
        std::fs::write(&path, " \n").unwrap();
        assert_eq!(read_text(&path), None);
        assert_eq!(read_text(&dir.path().join("none")), None);
        assert!(list_dir(&dir.path().join("none")).is_empty());
    }
}

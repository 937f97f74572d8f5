//! What a disk or file holds, by the places where owners leave their signatures.
//!
//! What must always hold: reading changes nothing; a place that can't be read is told, and never
//! counts as empty.

use std::collections::BTreeMap;
use std::fs::File;
use std::os::unix::fs::FileExt;

use super::signature::SIGNATURES;

/// What was found on a disk or in a file.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Content {
    /// Owners, each once.
    pub found: Vec<Found>,
    /// Everything that was looked at is zero.
    pub blank: bool,
    /// Where it could not be read.
    pub unread: Vec<Unread>,
}

/// A signature that was found.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Found {
    /// What it is, for people.
    pub name: &'static str,
    /// Where its first sign stands, in bytes from the start.
    pub offset_bytes: u64,
}

/// A place that could not be read.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Unread {
    /// From the start, in bytes.
    pub offset_bytes: u64,
    /// How long.
    pub bytes: u64,
    /// What the system said.
    pub errno: i32,
}

/// Looks for every signature in `file` of `size_bytes`.
pub(super) fn read_content(file: &File, size_bytes: u64) -> Content {
    let mut pages = Pages { file, size_bytes, pages: BTreeMap::new() };
    let mut found: Vec<Found> = Vec::new();
    for row in SIGNATURES {
        for offset_bytes in row.offsets(size_bytes) {
            let known = found.iter().any(|found| found.name == row.name);
            if pages.holds(offset_bytes, row.bytes()) && !known {
                found.push(Found { name: row.name, offset_bytes });
            }
        }
    }
    let unread = pages.unread();
    let zero = pages.pages.values().flatten().all(|page| page.iter().all(|&b| b == 0));
    Content { found, blank: zero && unread.is_empty(), unread }
}

/// The parts of a file that have been looked at, in pages: the signatures crowd at its start and
/// end, so a disk is read in a few places only.
struct Pages<'a> {
    file: &'a File,
    size_bytes: u64,
    pages: BTreeMap<u64, Result<Vec<u8>, i32>>,
}

impl Pages<'_> {
    /// A bad sector makes one page unreadable and no more.
    const BYTES: u64 = 64 << 10;

    /// Whether `wanted` stands at `offset`; it may cross pages.
    fn holds(&mut self, offset: u64, wanted: &[u8]) -> bool {
        // Both pages are read in any case, so that an unreadable one is told.
        let mut matches = true;
        for (byte, at) in wanted.iter().zip(offset..) {
            let page = self.page(at / Self::BYTES);
            let within = (at % Self::BYTES) as usize;
            matches &= page.as_ref().is_ok_and(|page| page.get(within) == Some(byte));
        }
        matches
    }

    fn page(&mut self, index: u64) -> &Result<Vec<u8>, i32> {
        let (file, size) = (self.file, self.size_bytes);
        self.pages.entry(index).or_insert_with(|| {
            let start = index * Self::BYTES;
            let mut page = vec![0; Self::BYTES.min(size - start) as usize];
            match file.read_exact_at(&mut page, start) {
                Ok(()) => Ok(page),
                Err(error) => Err(error.raw_os_error().unwrap_or(libc::EIO)),
            }
        })
    }

    fn unread(&self) -> Vec<Unread> {
        let failed = self.pages.iter().filter_map(|(index, page)| {
            let offset_bytes = index * Self::BYTES;
            let bytes = Self::BYTES.min(self.size_bytes - offset_bytes);
            page.as_ref().err().map(|&errno| Unread { offset_bytes, bytes, errno })
        });
        failed.collect()
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;
    use crate::safety::signature::Signature;

    /// Beyond the last copy that Btrfs keeps, and a multiple of nothing but the sector.
    const SIZE_BYTES: u64 = (256 << 30) + (3 << 20) + 13 * 512;

    /// A sparse file with `parts` in it.
    fn image(size_bytes: u64, parts: &[(u64, &[u8])]) -> File {
        let file = tempfile::tempfile().unwrap();
        file.set_len(size_bytes).unwrap();
        for (offset, bytes) in parts {
            file.write_all_at(bytes, *offset).unwrap();
        }
        file
    }

    fn names(content: &Content) -> Vec<&'static str> {
        content.found.iter().map(|found| found.name).collect()
    }

    #[test]
    fn a_blank_image_holds_nothing() {
        for size in [0, 1, 511, 512, 4096, 65_535, 65_537, 1 << 20, SIZE_BYTES] {
            let content = read_content(&image(size, &[]), size);
            assert_eq!(content, Content { found: vec![], blank: true, unread: vec![] }, "{size}");
        }
    }

    /// First and last place of a row: all, where there are few.
    fn places(row: &Signature) -> Vec<u64> {
        let all: Vec<u64> = row.offsets(SIZE_BYTES).collect();
        assert!(!all.is_empty(), "{}", row.name);
        if all.len() > 16 { vec![all[0], all[all.len() - 1]] } else { all }
    }

    #[test]
    fn every_row_is_found_at_every_place_and_not_when_a_bit_is_off() {
        for row in SIGNATURES {
            for offset_bytes in places(row) {
                let mut bytes = row.bytes().to_vec();
                let content =
                    read_content(&image(SIZE_BYTES, &[(offset_bytes, &bytes)]), SIZE_BYTES);
                assert_eq!(content.found, [Found { name: row.name, offset_bytes }]);
                assert!(!content.blank);
                *bytes.last_mut().unwrap() ^= 0x80;
                let content =
                    read_content(&image(SIZE_BYTES, &[(offset_bytes, &bytes)]), SIZE_BYTES);
                assert_eq!(content.found, [], "{} at {offset_bytes}, with a bit off", row.name);
                assert!(!content.blank && content.unread.is_empty());
            }
        }
    }

    #[test]
    fn an_owner_is_named_once_and_all_owners_are_named() {
        let parts: [(u64, &[u8]); 4] =
            [(512, b"EFI PART"), (510, b"\x55\xaa"), ((1 << 20) - 512, b"EFI PART"), (0, b"XFSB")];
        let content = read_content(&image(1 << 20, &parts), 1 << 20);
        let expected =
            ["GPT partition table", "boot sector or MBR partition table", "XFS filesystem"];
        assert_eq!(names(&content), expected);
    }

    #[test]
    fn a_signature_that_is_cut_off_is_none() {
        assert_eq!(names(&read_content(&image(3, &[(0, b"XFS")]), 3)), [""; 0]);
        assert_eq!(names(&read_content(&image(4, &[(0, b"XFSB")]), 4)), ["XFS filesystem"]);
    }

    #[test]
    fn what_can_not_be_read_is_told_and_is_not_empty() {
        // Opened for writing only: every read is refused.
        let mut file = tempfile::NamedTempFile::new().unwrap();
        file.write_all(&[0; 4096]).unwrap();
        let file = std::fs::OpenOptions::new().write(true).open(file.path()).unwrap();
        let content = read_content(&file, 4096);
        let unread = Unread { offset_bytes: 0, bytes: 4096, errno: libc::EBADF };
        assert_eq!(content.unread, [unread]);
        assert!(!content.blank);
        // A file that is shorter than it said: the rest can't be read.
        let content = read_content(&image(70_000, &[]), 200_000);
        assert!(content.unread.iter().all(|unread| unread.offset_bytes >= 65_536));
        assert!(!content.unread.is_empty());
    }
}

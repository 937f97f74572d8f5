//! Several files end to end, as one: a disk larger than the longest file of the filesystem
//! underneath (ext4 takes 16 TiB).
//!
//! What must always hold: every part but the last is just as long as a part, so an offset says
//! which file it is in. A transfer ends at the end of its part; the caller continues it.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use isotherm_seam::{OpenCause, OpenOptions};

use crate::backing::{About, Backing};
use crate::syscall;

/// Files that hold one disk.
pub(crate) struct Parts {
    files: Vec<File>,
    /// Length of each but the last.
    part_bytes: u64,
}

impl Parts {
    /// A single file of any length.
    pub(crate) fn one(file: File) -> Parts {
        Parts { files: vec![file], part_bytes: u64::MAX }
    }

    /// `path` and, where it holds or is to hold more than `part_bytes`, its further parts:
    /// `path.1`, `path.2` and so on. What the first file said holds for all; the blocks are those
    /// of all together.
    pub(crate) fn open(
        path: &Path,
        options: &OpenOptions,
        part_bytes: u64,
    ) -> Result<(About, Parts), OpenCause> {
        let mut left = options.create_bytes;
        let mut open = |index: u32| {
            let create_bytes = left.map(|left| left.min(part_bytes));
            left = left.map(|left| left.saturating_sub(part_bytes));
            Backing::open(&part_path(path, index), &OpenOptions { create_bytes, ..*options })
        };
        let Backing { file, mut about } = open(0)?;
        let mut last_bytes = about.geometry.capacity_bytes();
        if about.block_device || last_bytes > part_bytes {
            let why = "part=… is for regular files, none of them longer than a part".to_owned();
            return Err(OpenCause::BadSpec { why });
        }
        let mut files = vec![file];
        for index in 1.. {
            let begins = u64::from(index).saturating_mul(part_bytes);
            let wanted = options.create_bytes.is_some_and(|all| all > begins);
            if last_bytes < part_bytes || !(wanted || part_path(path, index).exists()) {
                break;
            }
            let part = open(index)?;
            last_bytes = part.about.geometry.capacity_bytes();
            about.geometry.blocks += part.about.geometry.blocks;
            files.push(part.file);
        }
        Ok((about, Parts { files, part_bytes }))
    }

    /// The file that holds this offset, the offset in it, and how many of `len` bytes it holds.
    fn place(&self, offset: u64, len: usize) -> (&File, u64, usize) {
        let index = usize::try_from(offset / self.part_bytes).expect("within the disk");
        let at = offset % self.part_bytes;
        let room = usize::try_from(self.part_bytes - at).unwrap_or(usize::MAX);
        (&self.files[index], at, len.min(room))
    }

    pub(crate) fn read_at(&self, bytes: &mut [u8], offset: u64) -> Result<usize, i32> {
        let (file, at, len) = self.place(offset, bytes.len());
        file.read_at(&mut bytes[..len], at).map_err(|e| syscall::errno_of(&e))
    }

    pub(crate) fn write_at(&self, bytes: &[u8], offset: u64) -> Result<usize, i32> {
        let (file, at, len) = self.place(offset, bytes.len());
        file.write_at(&bytes[..len], at).map_err(|e| syscall::errno_of(&e))
    }

    pub(crate) fn write_durably(&self, bytes: &[u8], offset: u64) -> Result<usize, i32> {
        let (file, at, len) = self.place(offset, bytes.len());
        syscall::write_durably(file, &bytes[..len], at)
    }

    pub(crate) fn sync_data(&self) -> Result<(), i32> {
        self.files.iter().try_for_each(|file| file.sync_data().map_err(|e| syscall::errno_of(&e)))
    }

    /// Runs `discard` on each file of the range, with the offset and the length in it.
    pub(crate) fn each(
        &self,
        offset: u64,
        len_bytes: u64,
        mut discard: impl FnMut(&File, u64, u64) -> Result<(), i32>,
    ) -> Result<(), i32> {
        let mut done = 0;
        while done < len_bytes {
            let (file, at, _) = self.place(offset + done, 0);
            let len = (len_bytes - done).min(self.part_bytes - at);
            discard(file, at, len)?;
            done += len;
        }
        Ok(())
    }
}

fn part_path(path: &Path, index: u32) -> PathBuf {
    if index == 0 {
        return path.to_owned();
    }
    let mut name = path.as_os_str().to_owned();
    name.push(format!(".{index}"));
    name.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    const PART: u64 = 8192;

    fn options(create_bytes: Option<u64>) -> OpenOptions {
        OpenOptions { write: true, direct: false, create_bytes, depth: 4 }
    }

    #[test]
    fn bytes_across_the_seam_are_where_they_were_put_and_found_again() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("disk");
        let (about, parts) = Parts::open(&path, &options(Some(20_480)), PART).unwrap();
        assert_eq!(about.geometry.capacity_bytes(), 20_480);
        let text: Vec<u8> = (0..=255).cycle().take(12_288).collect();
        assert_eq!(parts.write_at(&text, 4096), Ok(4096), "it ends with its part");
        assert_eq!(parts.write_at(&text[4096..], 8192), Ok(8192));
        parts.sync_data().unwrap();
        drop(parts);
        let lengths = ["disk", "disk.1", "disk.2"]
            .map(|name| std::fs::metadata(dir.path().join(name)).unwrap().len());
        assert_eq!(lengths, [8192, 8192, 4096]);
        let (about, parts) = Parts::open(&path, &options(None), PART).unwrap();
        assert_eq!(about.geometry.capacity_bytes(), 20_480, "all parts are found again");
        let mut back = vec![0; 12_288];
        assert_eq!(parts.read_at(&mut back, 4096), Ok(4096));
        assert_eq!(parts.read_at(&mut back[4096..], 8192), Ok(8192));
        assert_eq!(back, text);
        let mut seen = Vec::new();
        let each = parts.each(4096, 12_288, |_, at, len| {
            seen.push((at, len));
            Ok(())
        });
        assert_eq!((each, seen), (Ok(()), vec![(4096, 4096), (0, 8192)]));
    }

    #[test]
    fn a_file_longer_than_a_part_is_not_taken_for_one() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("disk");
        std::fs::write(&path, vec![0; 12_288]).unwrap();
        assert!(matches!(Parts::open(&path, &options(None), PART), Err(OpenCause::BadSpec { .. })));
    }
}

//! The safety check against what real tools write: recorded bytes always, and the tools
//! themselves where this machine has them.

use std::os::unix::fs::FileExt;
use std::path::Path;
use std::process::{Command, Stdio};

use isotherm_host::safety::inspect;

fn names(path: &Path) -> Vec<&'static str> {
    let content = inspect(path).unwrap().content.unwrap();
    content.found.iter().map(|found| found.name).collect()
}

fn bytes_of(hex: &str) -> Vec<u8> {
    (0..hex.len()).step_by(2).map(|i| u8::from_str_radix(&hex[i..i + 2], 16).unwrap()).collect()
}

#[test]
fn what_real_tools_wrote_is_known() {
    let dir = tempfile::tempdir().unwrap();
    let mut seen = 0;
    for line in include_str!("images.txt").lines().filter(|line| !line.starts_with('#')) {
        let [tool, size, expected, parts] =
            line.split(" | ").collect::<Vec<_>>().try_into().expect("four columns");
        let path = dir.path().join(tool);
        let file = std::fs::File::create(&path).unwrap();
        file.set_len(size.parse().unwrap()).unwrap();
        for part in parts.split("; ") {
            let (offset, hex) = part.split_once(": ").unwrap();
            file.write_all_at(&bytes_of(hex), offset.parse().unwrap()).unwrap();
        }
        assert_eq!(names(&path).join(", "), expected, "{tool}");
        seen += 1;
    }
    assert!(seen > 20, "only {seen} images");
}

/// Makes an image with a tool, in a file of `bytes`; `None` where this machine lacks the tool.
fn made_by(tool: &str, args: &[&str], bytes: u64, path: &Path) -> Option<()> {
    std::fs::File::create(path).unwrap().set_len(bytes).unwrap();
    // Those of the administrator are not always on a user's path.
    let search = format!("{}:/usr/sbin:/sbin", std::env::var("PATH").unwrap_or_default());
    let mut command = Command::new(tool);
    command.args(args).arg(path).env("PATH", search);
    match command.stdout(Stdio::null()).stderr(Stdio::null()).status() {
        Ok(status) => {
            assert!(status.success(), "{tool} failed");
            Some(())
        }
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            println!("skipped: this machine has no {tool}");
            None
        }
        Err(error) => panic!("{tool}: {error}"),
    }
}

#[test]
fn what_the_tools_of_this_machine_write_is_known() {
    let dir = tempfile::tempdir().unwrap();
    let cases: &[(&str, &[&str], &str)] = &[
        ("mkfs.ext4", &["-q", "-F"], "ext2, ext3 or ext4 filesystem"),
        ("mkfs.xfs", &["-q"], "XFS filesystem"),
        ("mkfs.btrfs", &["-q"], "Btrfs filesystem"),
        ("mkfs.vfat", &[], "FAT filesystem"),
        ("mkswap", &[], "swap space"),
        ("sgdisk", &["-n", "1:0:+8M"], "GPT partition table"),
        ("wipefs", &[], ""),
    ];
    for (tool, args, expected) in cases {
        let path = dir.path().join(tool);
        if made_by(tool, args, 320 << 20, &path).is_none() {
            continue;
        }
        if expected.is_empty() {
            assert_eq!(names(&path), [""; 0], "{tool} writes nothing here");
        } else {
            assert!(names(&path).contains(expected), "{tool}: {:?}", names(&path));
        }
    }
}

#[test]
fn the_second_table_of_a_disk_is_known_when_the_first_is_lost() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("gpt");
    if made_by("sgdisk", &["-n", "1:0:+8M"], 64 << 20, &path).is_none() {
        return;
    }
    let file = std::fs::OpenOptions::new().write(true).open(&path).unwrap();
    file.write_all_at(&[0; 1 << 20], 0).unwrap();
    assert_eq!(names(&path), ["GPT partition table"]);
}

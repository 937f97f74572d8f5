//! What is mounted and what is swapped to, as the kernel tells it.
//!
//! What must always hold: a path is given back as it is, whatever characters it holds (the
//! kernel writes blanks, tabs, newlines and backslashes in octal). Mounts of other namespaces
//! can't be seen here: the safety check also asks the kernel for exclusive use.

use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;
use std::path::PathBuf;

use crate::DeviceNumber;
use crate::root::HostRoot;

/// One line of `/proc/self/mountinfo` (proc_pid_mountinfo(5)).
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Mount {
    /// Of the filesystem; no disk's where the filesystem invents one (btrfs).
    pub(crate) number: DeviceNumber,
    /// The folder within the filesystem that is mounted.
    pub(crate) root: String,
    pub(crate) point: PathBuf,
    pub(crate) filesystem: String,
    /// Device or other source, as it was given to mount.
    pub(crate) source: PathBuf,
    pub(crate) super_options: String,
}

/// All mounts that this process sees. Lines that do not parse are left out.
pub(crate) fn read_mounts(root: &HostRoot) -> Vec<Mount> {
    read_lines(root, "self/mountinfo").iter().filter_map(|line| parse_mount(line)).collect()
}

/// Devices and files that are swapped to (proc_swaps(5)).
pub(crate) fn read_swaps(root: &HostRoot) -> Vec<PathBuf> {
    let lines = read_lines(root, "swaps");
    let name = |line: &Vec<u8>| fields(line).first().map(|field| path_of(field));
    lines.iter().skip(1).filter_map(name).collect()
}

fn read_lines(root: &HostRoot, name: &str) -> Vec<Vec<u8>> {
    let bytes = std::fs::read(root.proc.join(name)).unwrap_or_default();
    bytes.split(|&b| b == b'\n').filter(|line| !line.is_empty()).map(<[u8]>::to_vec).collect()
}

/// `36 35 98:0 /root /point options [optional…] - type source super-options`
fn parse_mount(line: &[u8]) -> Option<Mount> {
    let fields = fields(line);
    let text = |field: &[u8]| String::from_utf8_lossy(&unescape(field)).into_owned();
    let separator = fields.iter().skip(6).position(|field| *field == b"-")? + 6;
    Some(Mount {
        number: text(fields[2]).parse().ok()?,
        root: text(fields[3]),
        point: path_of(fields[4]),
        filesystem: text(fields.get(separator + 1)?),
        source: path_of(fields.get(separator + 2)?),
        super_options: fields.get(separator + 3).map(|field| text(field)).unwrap_or_default(),
    })
}

fn fields(line: &[u8]) -> Vec<&[u8]> {
    line.split(|&b| b == b' ' || b == b'\t').filter(|field| !field.is_empty()).collect()
}

fn path_of(field: &[u8]) -> PathBuf {
    PathBuf::from(OsString::from_vec(unescape(field)))
}

/// `\040` is a blank, and so on.
fn unescape(field: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(field.len());
    let mut at = 0;
    while at < field.len() {
        match field[at..] {
            [b'\\', a @ b'0'..=b'3', b @ b'0'..=b'7', c @ b'0'..=b'7', ..] => {
                bytes.push((a - b'0') << 6 | (b - b'0') << 3 | (c - b'0'));
                at += 4;
            }
            _ => {
                bytes.push(field[at]);
                at += 1;
            }
        }
    }
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mount_is_read_with_and_without_optional_fields() {
        let line =
            b"36 35 98:0 /mnt1 /mnt\\0402 rw,noatime master:1 shared:7 - ext3 /dev/r\\134t rw,e=1";
        let mount = parse_mount(line).unwrap();
        assert_eq!(mount.number, DeviceNumber { major: 98, minor: 0 });
        assert_eq!((mount.root.as_str(), mount.filesystem.as_str()), ("/mnt1", "ext3"));
        assert_eq!(mount.point, PathBuf::from("/mnt 2"));
        assert_eq!(mount.source, PathBuf::from("/dev/r\\t"));
        assert_eq!(mount.super_options, "rw,e=1");
        let line = b"27 1 254:0 / / rw,relatime - ext4 /dev/vda rw";
        assert_eq!(parse_mount(line).unwrap().point, PathBuf::from("/"));
    }

    #[test]
    fn a_line_that_does_not_parse_is_left_out() {
        for bad in ["", "27 1 254:0 / /", "27 1 254 / / rw - ext4 a b", "27 1 254:0 / / rw - ext4"]
        {
            assert_eq!(parse_mount(bad.as_bytes()), None, "{bad}");
        }
    }

    #[test]
    fn swaps_are_read_without_the_heading() {
        let dir = tempfile::tempdir().unwrap();
        let root = HostRoot::under(dir.path());
        assert!(read_swaps(&root).is_empty());
        std::fs::create_dir(&root.proc).unwrap();
        let text = "Filename\t\t\tType\t\tSize\tUsed\tPriority\n\
                    /dev/zram0                              partition\t1024\t0\t5\n\
                    /swap\\040file                          file\t1024\t0\t-2\n";
        std::fs::write(root.proc.join("swaps"), text).unwrap();
        let swaps = read_swaps(&root);
        assert_eq!(swaps, [PathBuf::from("/dev/zram0"), PathBuf::from("/swap file")]);
    }
}

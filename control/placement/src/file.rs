//! Maps and changes as bytes: for a file, a store of metadata, a message.
//!
//! ```text
//! isotherm-map 2 5d8a3c01\n          kind, format version, CRC32C of all that follows
//! {"cluster":"…","version":7,"scheme":"4+2","nodes":[\n
//! {"no":0,"name":"node-0","cores":["10.0.0.1:7000"]},\n      one entry a line
//! …
//! ]}\n
//! ```
//!
//! JSON behind one line of text: an operator reads it with any tool (`tail -n +2 map | jq`), two
//! versions can be compared line by line, and nothing that a person or a disk has changed is
//! taken for what was written.
//!
//! What must always hold: a map is valid before it is written and after it was read. A field that
//! this version does not know is refused, not skipped: whoever added it changed where data lies,
//! and writing the map back would lose it. So a new field is a new format version.
//!
//! | version | what is different |
//! |---|---|
//! | 1 | groups don't say since when each member is one: since the epoch that they have, at the least |
//! | 2 | they do |
//!
//! All versions are read, the last one is written.

use serde::{Deserialize, Serialize};

use isotherm_erasure::{Scheme, crc32c};

use crate::change::MapDiff;
use crate::map::{ClusterMap, Disk, DiskNo, Group, GroupId, Node};
use crate::validate::MapError;

/// The format version that is written.
const FORMAT: u32 = 2;
const MAP: &str = "isotherm-map";
const DIFF: &str = "isotherm-map-change";

/// Why bytes are no map, or no change of one.
#[derive(Debug, thiserror::Error)]
pub enum FileError {
    /// The first line is not that of a map (or of a change).
    #[error("this is no {0}: the first line is missing or another")]
    Foreign(&'static str),
    /// Written in a format that this version does not know.
    #[error("format version {0} is unknown here: it was written by newer software")]
    Format(u32),
    /// Not the bytes that were written.
    #[error("damaged or edited: the checksum is {found:08x} and was {written:08x}")]
    Damaged {
        /// What the first line says.
        written: u32,
        /// That of the bytes.
        found: u32,
    },
    /// Sound bytes that make no map.
    #[error("not understood: {0}")]
    Json(#[from] serde_json::Error),
    /// The map breaks a rule.
    #[error(transparent)]
    Map(#[from] MapError),
}

/// What is in front of the lists.
#[derive(Serialize)]
struct Head<'a> {
    #[serde(with = "crate::text::hex16")]
    cluster: [u8; 16],
    version: u64,
    #[serde(with = "crate::text::scheme")]
    scheme: &'a Scheme,
}

/// The body of the file as it is read.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Body<G> {
    #[serde(with = "crate::text::hex16")]
    cluster: [u8; 16],
    version: u64,
    #[serde(with = "crate::text::scheme")]
    scheme: Scheme,
    nodes: Vec<Node>,
    disks: Vec<Disk>,
    groups: Vec<G>,
}

/// The body of a change of version 1.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Diff1 {
    #[serde(with = "crate::text::hex16")]
    cluster: [u8; 16],
    from: u64,
    to: u64,
    nodes: Vec<Node>,
    disks: Vec<Disk>,
    groups: Vec<Group1>,
}

/// A group of version 1.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Group1 {
    id: GroupId,
    epoch: u64,
    members: Vec<DiskNo>,
}

impl From<Group1> for Group {
    fn from(group: Group1) -> Group {
        let Group1 { id, epoch, members } = group;
        // Some are members for longer, and nobody knows which.
        let since = vec![epoch; members.len()];
        Group { id, epoch, members, since }
    }
}

impl ClusterMap {
    /// The map as the bytes of its file.
    ///
    /// # Errors
    /// If the map breaks a rule.
    pub fn to_bytes(&self) -> Result<Vec<u8>, MapError> {
        self.validate()?;
        let head = Head { cluster: self.cluster, version: self.version, scheme: &self.scheme };
        let mut body = json(&head);
        assert_eq!(body.pop(), Some('}'), "an object ends with its brace");
        list(&mut body, "nodes", &self.nodes);
        list(&mut body, "disks", &self.disks);
        list(&mut body, "groups", &self.groups);
        body.push_str("}\n");
        Ok(framed(MAP, &body))
    }

    /// Reads the bytes of a map file.
    ///
    /// # Errors
    /// If they are of something else, of an unknown version, damaged, or the map breaks a rule.
    pub fn from_bytes(bytes: &[u8]) -> Result<ClusterMap, FileError> {
        let map = match unframed(MAP, bytes)? {
            (1, body) => serde_json::from_slice::<Body<Group1>>(body)?.into_map(),
            (_, body) => serde_json::from_slice::<Body<Group>>(body)?.into_map(),
        };
        map.validate()?;
        Ok(map)
    }
}

impl<G: Into<Group>> Body<G> {
    fn into_map(self) -> ClusterMap {
        let Body { cluster, version, scheme, nodes, disks, groups } = self;
        let groups = groups.into_iter().map(Into::into).collect();
        ClusterMap { cluster, version, scheme, nodes, disks, groups }
    }
}

impl MapDiff {
    /// The change as bytes.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        framed(DIFF, &(json(self) + "\n"))
    }

    /// Reads the bytes of a change. Whether it is one of a map shows when it is applied.
    ///
    /// # Errors
    /// If they are of something else, of an unknown version, or damaged.
    pub fn from_bytes(bytes: &[u8]) -> Result<MapDiff, FileError> {
        let (format, body) = unframed(DIFF, bytes)?;
        if format != 1 {
            return Ok(serde_json::from_slice(body)?);
        }
        let Diff1 { cluster, from, to, nodes, disks, groups } = serde_json::from_slice(body)?;
        let groups = groups.into_iter().map(Group::from).collect();
        Ok(MapDiff { cluster, from, to, nodes, disks, groups })
    }
}

fn json(value: &impl Serialize) -> String {
    serde_json::to_string(value).expect("plain data with names as keys")
}

fn list<T: Serialize>(body: &mut String, name: &str, entries: &[T]) {
    body.push_str(&format!(",\"{name}\":["));
    for (at, entry) in entries.iter().enumerate() {
        body.push_str(if at == 0 { "\n" } else { ",\n" });
        body.push_str(&json(entry));
    }
    body.push_str("\n]");
}

fn framed(kind: &str, body: &str) -> Vec<u8> {
    format!("{kind} {FORMAT} {:08x}\n{body}", crc32c(body.as_bytes())).into_bytes()
}

/// The format version and the body.
fn unframed<'a>(kind: &'static str, bytes: &'a [u8]) -> Result<(u32, &'a [u8]), FileError> {
    let foreign = || FileError::Foreign(kind);
    let end = bytes.iter().take(64).position(|&byte| byte == b'\n').ok_or_else(foreign)?;
    let (line, body) = (&bytes[..end], &bytes[end + 1..]);
    let line = core::str::from_utf8(line).map_err(|_| foreign())?;
    let rest = line.strip_prefix(kind).and_then(|rest| rest.strip_prefix(' '));
    let (format, checksum) = rest.and_then(|rest| rest.split_once(' ')).ok_or_else(foreign)?;
    // The version first: what a later one has behind it is its own affair.
    let version: u32 = format.parse().map_err(|_| foreign())?;
    if !(1..=FORMAT).contains(&version) {
        return Err(FileError::Format(version));
    }
    let written = u32::from_str_radix(checksum, 16).map_err(|_| foreign())?;
    if format!("{version} {written:08x}") != format!("{format} {checksum}") {
        return Err(foreign());
    }
    let found = crc32c(body);
    if found != written {
        return Err(FileError::Damaged { written, found });
    }
    Ok((version, body))
}

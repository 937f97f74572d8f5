//! A node's configuration: `node.toml`.
//!
//! What must always hold: what is not understood is refused, with its place in the file; paths in
//! it are as seen from its own folder.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use anyhow::{Context, bail, ensure};
use serde::{Deserialize, Serialize};

/// `node.toml`.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct NodeToml {
    /// The node's name, as its certificate and the cluster map say it.
    pub(crate) name: String,
    /// Where the HTTP interface listens; none where absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) admin: Option<SocketAddr>,
    /// Bytes of UDP payload that the network carries.
    #[serde(default = "default_mtu")]
    pub(crate) mtu: u16,
    /// Who we are and whom we trust.
    pub(crate) tls: TlsToml,
    /// Each core with its disks.
    pub(crate) core: Vec<CoreToml>,
}

/// `[tls]`: PEM files.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct TlsToml {
    pub(crate) cert: PathBuf,
    pub(crate) key: PathBuf,
    pub(crate) roots: PathBuf,
}

/// `[[core]]`.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct CoreToml {
    /// Its UDP address, as the cluster map has it.
    pub(crate) listen: SocketAddr,
    /// The processor that it is pinned to. It is then its own, and spins where that pays.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) cpu: Option<u32>,
    /// Its disks.
    #[serde(default)]
    pub(crate) disk: Vec<DiskToml>,
}

/// `[[core.disk]]`.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct DiskToml {
    /// The number that its format gave it: 32 hexadecimal digits.
    pub(crate) uuid: String,
    /// What people call it.
    pub(crate) name: String,
    /// A path, or a stack of drivers.
    pub(crate) device: String,
    /// It is made anew at each start, and forgets with the process: `memory:` only.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub(crate) volatile: bool,
}

fn default_mtu() -> u16 {
    1452
}

impl NodeToml {
    /// Reads and checks a file.
    pub(crate) fn read(path: &Path) -> anyhow::Result<NodeToml> {
        let text = std::fs::read_to_string(path)
            .with_context(|| format!("{}: can't be read", path.display()))?;
        let config: NodeToml =
            toml::from_str(&text).with_context(|| format!("{}", path.display()))?;
        config.check().with_context(|| format!("{}", path.display()))?;
        Ok(config.seen_from(path.parent().unwrap_or(Path::new("."))))
    }

    fn check(&self) -> anyhow::Result<()> {
        ensure!(!self.core.is_empty(), "a node needs a [[core]] at least");
        ensure!((1200..=65_000).contains(&self.mtu), "mtu: 1200 to 65000 bytes");
        let mut seen = std::collections::BTreeSet::new();
        for disk in self.core.iter().flat_map(|core| &core.disk) {
            let uuid = disk.uuid()?;
            ensure!(seen.insert(uuid), "{}: two disks have the number {}", disk.name, disk.uuid);
            if disk.volatile && !disk.device.contains("memory:") {
                bail!("{}: volatile is for memory: devices; this one would be erased", disk.name);
            }
        }
        Ok(())
    }

    fn seen_from(mut self, folder: &Path) -> NodeToml {
        let tls = &mut self.tls;
        for path in [&mut tls.cert, &mut tls.key, &mut tls.roots] {
            *path = folder.join(&*path);
        }
        self
    }
}

impl DiskToml {
    pub(crate) fn uuid(&self) -> anyhow::Result<[u8; 16]> {
        ensure!(self.uuid.len() == 32, "{}: uuid: 32 hexadecimal digits", self.name);
        let number = u128::from_str_radix(&self.uuid, 16)
            .with_context(|| format!("{}: uuid: 32 hexadecimal digits", self.name))?;
        Ok(number.to_be_bytes())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const EXAMPLE: &str = r#"
name = "node0"
admin = "127.0.0.1:9000"
[tls]
cert = "cert.pem"
key = "key.pem"
roots = "../ca/roots.pem"
[[core]]
listen = "127.0.0.1:7000"
[[core.disk]]
uuid = "000102030405060708090a0b0c0d0e0f"
name = "disk0"
device = "disks/disk0.img"
"#;

    fn parse(text: &str) -> anyhow::Result<NodeToml> {
        let config: NodeToml = toml::from_str(text)?;
        config.check()?;
        Ok(config)
    }

    #[test]
    fn a_file_is_read_as_it_was_written() {
        let config = parse(EXAMPLE).unwrap();
        assert_eq!(config.mtu, 1452);
        assert_eq!(config.core[0].disk[0].uuid().unwrap()[15], 15);
        assert_eq!(parse(&toml::to_string(&config).unwrap()).unwrap(), config);
        let seen = config.seen_from(Path::new("/etc/isotherm/node0"));
        assert_eq!(seen.tls.roots, Path::new("/etc/isotherm/node0/../ca/roots.pem"));
    }

    #[test]
    fn what_is_wrong_is_named() {
        for (from, to, word) in [
            ("name = \"node0\"", "nam = \"node0\"", "nam"),
            ("000102030405060708090a0b0c0d0e0f", "xyz", "uuid"),
            ("127.0.0.1:7000", "nowhere", "socket address"),
            ("admin = \"127.0.0.1:9000\"", "mtu = 100", "mtu"),
            ("device = \"disks/disk0.img\"", "device = \"/dev/sda\"\nvolatile = true", "erased"),
        ] {
            let error = format!("{:#}", parse(&EXAMPLE.replace(from, to)).unwrap_err());
            assert!(error.contains(word), "{to}: {error}");
        }
    }
}

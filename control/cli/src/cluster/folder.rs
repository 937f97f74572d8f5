//! Where the things of a cluster lie.
//!
//! ```text
//! FOLDER/
//!   map.json                 the cluster map
//!   ca/roots.pem  ca/key.pem the authority; who has the key is the cluster
//!   client/cert.pem key.pem  for frontends
//!   node0/node.toml cert.pem key.pem log pid  disks/disk0.img ...
//! ```
//!
//! What must always hold: keys can be read by their owner alone; a file is there whole or not at
//! all.

use std::fs;
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use isotherm_placement::ClusterMap;
use isotherm_seam::Wall;
use isotherm_transport::{Ca, LeafRequest, TlsIdentity};

/// Days for which a certificate of `cluster up` holds.
pub(crate) const CERT_DAYS: u32 = 90;

/// A cluster's folder.
#[derive(Clone, Debug)]
pub(crate) struct Folder {
    pub(crate) path: PathBuf,
}

impl Folder {
    pub(crate) fn new(path: &Path) -> Folder {
        Folder { path: path.to_owned() }
    }

    pub(crate) fn map_file(&self) -> PathBuf {
        self.path.join("map.json")
    }

    pub(crate) fn node(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }

    pub(crate) fn pid_file(&self, name: &str) -> PathBuf {
        self.node(name).join("pid")
    }

    /// Whether there is a cluster in it.
    pub(crate) fn is_cluster(&self) -> bool {
        self.map_file().exists()
    }

    pub(crate) fn map(&self) -> anyhow::Result<ClusterMap> {
        let path = self.map_file();
        if !path.exists() {
            bail!(
                "{}: there is no cluster here (no map.json): `isotherm cluster up --dir FOLDER` \
                 makes one",
                self.path.display()
            );
        }
        let bytes = fs::read(&path).with_context(|| format!("{}", path.display()))?;
        ClusterMap::from_bytes(&bytes).with_context(|| format!("{}", path.display()))
    }

    pub(crate) fn write_map(&self, map: &ClusterMap) -> anyhow::Result<()> {
        write_whole(&self.map_file(), &map.to_bytes()?, false)
    }

    /// The identity that frontends use.
    pub(crate) fn client_identity(&self) -> anyhow::Result<TlsIdentity> {
        let read = |path: PathBuf| {
            fs::read(&path).with_context(|| format!("{}: can't be read", path.display()))
        };
        let client = self.path.join("client");
        let (cert, key) = (read(client.join("cert.pem"))?, read(client.join("key.pem"))?);
        let roots = read(self.path.join("ca/roots.pem"))?;
        TlsIdentity::from_pem(&cert, &key, &roots).context("the client's certificate")
    }
}

/// The authority in a folder.
pub(crate) fn read_ca(folder: &Path) -> anyhow::Result<Ca> {
    let read = |name: &str| {
        let path = folder.join(name);
        fs::read_to_string(&path).with_context(|| format!("{}: can't be read", path.display()))
    };
    Ca::load("isotherm", &read("roots.pem")?, &read("key.pem")?)
        .with_context(|| format!("{}", folder.display()))
}

/// Keeps an authority. The roots go first: a key without its root would be of no use.
pub(crate) fn write_ca(folder: &Path, ca: &Ca) -> anyhow::Result<()> {
    write_whole(&folder.join("roots.pem"), ca.roots_pem().as_bytes(), false)?;
    write_whole(&folder.join("key.pem"), ca.key_pem().as_bytes(), true)
}

/// Makes a certificate and its key in a folder.
pub(crate) fn issue(
    ca: &Ca,
    folder: &Path,
    name: &str,
    ips: &[std::net::IpAddr],
    days: u32,
    now: Wall,
) -> anyhow::Result<()> {
    let leaf = ca.issue(&LeafRequest { name, dns: &[], ips, now, days })?;
    write_whole(&folder.join("key.pem"), leaf.key_pem.as_bytes(), true)?;
    write_whole(&folder.join("cert.pem"), leaf.cert_pem.as_bytes(), false)
}

/// Writes a file beside its place and moves it there, so that no reader sees half of it.
pub(crate) fn write_whole(path: &Path, bytes: &[u8], secret: bool) -> anyhow::Result<()> {
    let write = || -> std::io::Result<()> {
        if let Some(folder) = path.parent() {
            fs::create_dir_all(folder)?;
        }
        let beside = path.with_extension("new");
        let mode = if secret { 0o600 } else { 0o644 };
        let mut file = fs::OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(true)
            .mode(mode)
            .open(&beside)?;
        file.write_all(bytes)?;
        file.sync_all()?;
        fs::rename(&beside, path)
    };
    write().with_context(|| format!("{}: can't be written", path.display()))
}

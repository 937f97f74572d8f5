//! The nodes of a folder's cluster, moved for a while to a network that can be cut.
//!
//! What must always hold: the folder's own files stay as they are. What the move needs lies in
//! `partition/` and goes with it; the disks are the same ones, so the cluster is stopped before and
//! started afterwards.

use std::fs;
use std::net::SocketAddr;

use anyhow::{Context, ensure};
use isotherm_placement::ClusterMap;

use super::folder::{Folder, write_whole};
use super::net::{Cut, NODES_MAX, Net, node_ip};
use super::{stop, up};
use crate::node::NodeToml;

/// The first core's port; each node has addresses of its own.
const PORT: u16 = 7000;

/// A cluster on a network of namespaces.
pub(super) struct Moved {
    folder: Folder,
    /// The folder's map with the addresses of this network.
    pub(super) map: ClusterMap,
    net: Net,
}

impl Moved {
    /// Stops the nodes of a folder and starts them on links of their own. The calling thread stays
    /// in the new network.
    pub(super) fn start(folder: &Folder, map: &ClusterMap) -> anyhow::Result<Moved> {
        ensure!(map.nodes.len() <= NODES_MAX, "more than {NODES_MAX} nodes");
        let net = Net::enter()?;
        let names: Vec<&str> = map.nodes.iter().map(|node| node.name.as_str()).collect();
        let left = stop(folder, &names);
        ensure!(left.is_empty(), "{} does not stop", left.join(", "));
        let mut moved = Moved { folder: folder.clone(), map: map.clone(), net };
        for number in 0..moved.map.nodes.len() {
            moved.start_node(number)?;
        }
        Ok(moved)
    }

    fn start_node(&mut self, number: usize) -> anyhow::Result<()> {
        let node = &mut self.map.nodes[number];
        let home = fs::canonicalize(self.folder.node(&node.name))?;
        let mut file = NodeToml::read(&home.join("node.toml"))?;
        for (port, (core, addr)) in (PORT..).zip(file.core.iter_mut().zip(&mut node.cores)) {
            *addr = SocketAddr::new(node_ip(number), port);
            core.listen = *addr;
        }
        let at = fs::canonicalize(&self.folder.path)?.join("partition").join(&node.name);
        let config = at.join("node.toml");
        let text = toml::to_string(&file).context("node.toml")?;
        write_whole(&config, text.as_bytes(), false)?;
        let mut command = up::node_command(&self.folder, &node.name, &config)?;
        let child = self.net.start(&mut command)?;
        up::write_pid(&self.folder, &node.name, &child)
    }

    pub(super) fn cut(&self, node: usize, cut: Cut) -> anyhow::Result<()> {
        self.net.cut(node, cut)
    }

    pub(super) fn heal(&self, node: usize, cut: Cut) -> anyhow::Result<()> {
        self.net.heal(node, cut)
    }
}

impl Drop for Moved {
    /// Stops the nodes; the network goes with them.
    fn drop(&mut self) {
        let names: Vec<&str> = self.map.nodes.iter().map(|node| node.name.as_str()).collect();
        for name in stop(&self.folder, &names) {
            eprintln!("isotherm: {name} does not stop");
        }
        let _ = fs::remove_dir_all(self.folder.path.join("partition"));
    }
}

//! Nodes in network namespaces of their own, and links that can be cut.
//!
//! ```text
//! the drill's thread, in a namespace of its own      a node's process, in its own
//!   iso0  10.77.0.1 ─────────── veth ─────────────── eth0  10.77.0.2
//!   iso1  10.77.1.1 ─────────── veth ─────────────── eth0  10.77.1.2
//! ```
//!
//! Nodes never talk to each other, so each has a link to the client and there is no bridge: what
//! is cut is just that link, in one direction or both.
//!
//! What must always hold: nothing of this outlives the processes. The namespaces have no names;
//! the kernel takes them, and the links in them, down with the last process and handle, also after
//! a failure or a kill.

use std::fs::File;
use std::io;
use std::net::{IpAddr, Ipv4Addr};
use std::process::{Child, Command};

use anyhow::{Context, bail};
use nix::errno::Errno;
use nix::sched::{CloneFlags, setns, unshare};
use nix::unistd::{Pid, gettid};

/// Addresses of a link: 10.77.N.1 is the client's, 10.77.N.2 the node's.
const NETWORK: [u8; 2] = [10, 77];
/// Nodes at most: each has a number in an address.
pub(super) const NODES_MAX: usize = 256;
/// As long as a datagram of `mtu` may be.
const LINK_MTU: &str = "65535";
/// The ends of each link, and an address that neither has.
const CLIENT_MAC: &str = "02:00:00:00:00:01";
const NODE_MAC: &str = "02:00:00:00:00:02";
const NOBODY: &str = "02:00:00:00:00:03";

/// How a link is cut.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Cut {
    /// The node's end is down: the client's packets vanish, the node can't send.
    NodeEnd,
    /// The client's end is down: it can't send, the node's packets vanish.
    ClientEnd,
    /// What the client sends vanishes; what the node sends arrives.
    ToNode,
    /// What the node sends vanishes; what the client sends arrives.
    FromNode,
}

/// The links of a cluster. Belongs to the thread that made it.
pub(super) struct Net {
    /// The thread whose namespace the client's ends are in.
    hub: Pid,
    /// The nodes' namespaces, by node.
    nodes: Vec<File>,
}

pub(super) fn node_ip(node: usize) -> IpAddr {
    address(node, 2)
}

fn client_ip(node: usize) -> IpAddr {
    address(node, 1)
}

fn address(node: usize, end: u8) -> IpAddr {
    let number = u8::try_from(node).expect("fewer than NODES_MAX");
    IpAddr::V4(Ipv4Addr::new(NETWORK[0], NETWORK[1], number, end))
}

impl Net {
    /// Takes the calling thread, and what it will start, to a new network namespace.
    pub(super) fn enter() -> anyhow::Result<Net> {
        match unshare(CloneFlags::CLONE_NEWNET) {
            Ok(()) => {}
            Err(Errno::EPERM) => bail!("network namespaces need root"),
            Err(why) => bail!("no network namespace can be made: {why}"),
        }
        Ok(Net { hub: gettid(), nodes: Vec::new() })
    }

    /// Starts a process in a namespace of its own, with a link to the client: the next node.
    pub(super) fn start(&mut self, command: &mut Command) -> anyhow::Result<Child> {
        let (node, hub) = (self.nodes.len(), self.hub.to_string());
        let (here, there) = (format!("iso{node}"), format!("{}/30", node_ip(node)));
        let started = apart(|| -> anyhow::Result<(File, Child)> {
            unshare(CloneFlags::CLONE_NEWNET).context("no network namespace can be made")?;
            ip(&["link", "set", "lo", "up"])?;
            #[rustfmt::skip]
            ip(&["link", "add", "name", "eth0", "mtu", LINK_MTU, "address", NODE_MAC, "type", "veth",
                 "peer", "name", &here, "mtu", LINK_MTU, "address", CLIENT_MAC, "netns", &hub])?;
            ip(&["addr", "add", &there, "dev", "eth0"])?;
            ip(&["link", "set", "eth0", "up"])?;
            let namespace = File::open("/proc/thread-self/ns/net").context("/proc")?;
            Ok((namespace, command.spawn().context("the node can't be started")?))
        });
        let (namespace, child) = started?;
        self.nodes.push(namespace);
        ip(&["addr", "add", &format!("{}/30", client_ip(node)), "dev", &here])?;
        ip(&["link", "set", &here, "up"])?;
        Ok(child)
    }

    pub(super) fn cut(&self, node: usize, cut: Cut) -> anyhow::Result<()> {
        let here = format!("iso{node}");
        // An entry that is wrong for good sends packets to nobody, and nobody is told.
        match cut {
            Cut::NodeEnd => self.at_node(node, &["link", "set", "eth0", "down"]),
            Cut::ClientEnd => ip(&["link", "set", &here, "down"]),
            Cut::ToNode => {
                let to = node_ip(node).to_string();
                ip(&["neigh", "replace", &to, "lladdr", NOBODY, "dev", &here, "nud", "permanent"])
            }
            Cut::FromNode => {
                let to = client_ip(node).to_string();
                let to = ["neigh", "replace", &to, "lladdr", NOBODY];
                self.at_node(node, &[&to[..], &["dev", "eth0", "nud", "permanent"]].concat())
            }
        }
    }

    /// Undoes [`Net::cut`].
    pub(super) fn heal(&self, node: usize, cut: Cut) -> anyhow::Result<()> {
        let here = format!("iso{node}");
        match cut {
            Cut::NodeEnd => self.at_node(node, &["link", "set", "eth0", "up"]),
            Cut::ClientEnd => ip(&["link", "set", &here, "up"]),
            Cut::ToNode => ip(&["neigh", "del", &node_ip(node).to_string(), "dev", &here]),
            Cut::FromNode => {
                let to = client_ip(node).to_string();
                self.at_node(node, &["neigh", "del", &to, "dev", "eth0"])
            }
        }
    }

    /// Runs `ip` in a node's namespace.
    fn at_node(&self, node: usize, arguments: &[&str]) -> anyhow::Result<()> {
        let namespace = &self.nodes[node];
        apart(|| {
            setns(namespace, CloneFlags::CLONE_NEWNET).context("the node's network namespace")?;
            ip(arguments)
        })
    }
}

/// Runs something on a thread of its own: the namespace that it goes to is its own too.
fn apart<T: Send>(job: impl FnOnce() -> T + Send) -> T {
    std::thread::scope(|scope| match scope.spawn(job).join() {
        Ok(value) => value,
        Err(panic) => std::panic::resume_unwind(panic),
    })
}

/// Runs `ip` in the calling thread's namespace.
fn ip(arguments: &[&str]) -> anyhow::Result<()> {
    // Where an ordinary user's path does not lead.
    let path = format!("{}:/usr/sbin:/sbin", std::env::var("PATH").unwrap_or_default());
    let output = match Command::new("ip").env("PATH", path).args(arguments).output() {
        Err(why) if why.kind() == io::ErrorKind::NotFound => {
            bail!("the program `ip` is missing: install iproute2")
        }
        output => output.context("ip")?,
    };
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        bail!("ip {}: {}", arguments.join(" "), said.trim());
    }
    Ok(())
}

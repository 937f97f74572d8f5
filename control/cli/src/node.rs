//! `isotherm node`: serves disks.

mod admin;
mod config;
mod core;

use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::sync_channel;
use std::time::Duration;

use anyhow::Context;
use isotherm_host::OsEntropy;
use isotherm_transport::quic::NodeKeys;
use isotherm_transport::{Identities, TlsIdentity};

pub(crate) use config::{CoreToml, DiskToml, NodeToml, TlsToml};
use core::{Core, Order, Shared};

/// Between two looks at the stop flag and the certificate's file.
const TICK: Duration = Duration::from_millis(100);
/// Looks at the certificate's file: one in so many ticks.
const TICKS_PER_LOOK: u32 = 50;

/// Serves the disks of this machine to clients, until Ctrl-C or SIGTERM.
///
/// Each core that the file names is a thread with a UDP port and disks of its own. Disks are opened
/// side by side; one that can't be is reported and its siblings serve. A new certificate is taken
/// up within seconds of its file being replaced. Stops in good order: what was taken is answered,
/// stores are closed.
#[derive(clap::Args)]
#[command(after_help = "Examples:
  isotherm node --config /etc/isotherm/node.toml
  isotherm cluster up --nodes 6 --disks 4    (writes such files, and starts the nodes)")]
pub(crate) struct NodeCommand {
    /// The node's file; docs/NODE.md explains it
    #[arg(long, value_name = "FILE")]
    config: PathBuf,
    /// Also stop when standard input ends: for a program that starts a node as a part of itself and
    /// keeps the other end open
    #[arg(long)]
    attached: bool,
}

/// Raises the flag when standard input ends.
fn stop_with_input(stop: Arc<AtomicBool>) {
    #[expect(clippy::disallowed_methods, reason = "it only waits for the end of a pipe")]
    std::thread::spawn(move || {
        // What comes is nothing to this node; an error is an end too.
        let _ = std::io::copy(&mut std::io::stdin().lock(), &mut std::io::sink());
        stop.store(true, Ordering::Relaxed);
    });
}

fn identity(config: &NodeToml) -> anyhow::Result<TlsIdentity> {
    let read = |path: &PathBuf| {
        std::fs::read(path).with_context(|| format!("{}: can't be read", path.display()))
    };
    let (cert, key, roots) =
        (read(&config.tls.cert)?, read(&config.tls.key)?, read(&config.tls.roots)?);
    TlsIdentity::from_pem(&cert, &key, &roots).context("[tls]")
}

impl NodeCommand {
    pub(crate) fn run(self) -> anyhow::Result<ExitCode> {
        let config = NodeToml::read(&self.config)?;
        let stop = crate::stop::on_signal()?;
        if self.attached {
            stop_with_input(Arc::clone(&stop));
        }
        let first = identity(&config)?;
        anyhow::ensure!(
            first.name() == config.name,
            "the certificate is for {}, the node's name is {}",
            first.name(),
            config.name
        );
        let identities = Identities::new(first);
        let keys = NodeKeys::draw(&OsEntropy::new()?);
        let shared = Shared { identities: identities.clone(), keys, mtu: config.mtu };
        let mut cores = Vec::new();
        for (number, core) in config.core.iter().enumerate() {
            cores.push(Core::start(number as u16, core, &shared)?);
        }
        for core in &cores {
            eprintln!("isotherm: {} serves at {}", config.name, core.addr);
        }
        let orders = cores.iter().map(|core| core.orders.clone()).collect();
        let serve = |addr| admin::serve(addr, config.name.clone(), orders);
        let admin = config.admin.map(serve).transpose()?;
        if let Some(admin) = &admin {
            eprintln!("isotherm: {} tells of itself at http://{}", config.name, admin.addr());
        }
        let changed = || std::fs::metadata(&config.tls.cert).and_then(|meta| meta.modified()).ok();
        let mut seen = changed();
        let mut ticks = 0u32;
        let mut ended = vec![false; cores.len()];
        while !stop.load(Ordering::Relaxed) {
            #[expect(
                clippy::disallowed_methods,
                reason = "the main thread only waits for its end"
            )]
            std::thread::sleep(TICK);
            ticks += 1;
            for (core, was_said) in cores.iter().zip(&mut ended) {
                if core.has_ended() && !std::mem::replace(was_said, true) {
                    eprintln!(
                        "isotherm: the core at {} has ended, by a bug of this program: its disks \
                         are not served any more, those of other cores are; restart the node",
                        core.addr
                    );
                }
            }
            if ticks.is_multiple_of(TICKS_PER_LOOK) && changed() != seen {
                match identity(&config) {
                    Ok(identity) => {
                        seen = changed();
                        identities.replace(identity);
                        eprintln!("isotherm: a new certificate is in use");
                    }
                    // It may be half written: looked at again.
                    Err(error) => eprintln!("isotherm: the new certificate: {error:#}"),
                }
            }
        }
        eprintln!("isotherm: stopping");
        let (done, all) = sync_channel(cores.len());
        for core in &cores {
            // A core that has ended can't be told.
            let _ = core.orders.try_send(Order::Stop(done.clone()));
        }
        drop(done);
        while all.recv().is_ok() {}
        for core in cores {
            core.join()?;
        }
        Ok(ExitCode::SUCCESS)
    }
}

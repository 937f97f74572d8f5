//! `isotherm gateway`: objects of a cluster over HTTP, for programs in any language.
//!
//! ```text
//! HTTP, tokio, one thread  <── Bridge ──>  client, QUIC, io_uring: a core of its own
//! ```
//!
//! What must always hold: an object passes through in pieces and is never held as a whole; what
//! is answered 201 is durable; a body that can't be given to its end does not look whole.
//!
//! | file        | what it holds                        |
//! |-------------|--------------------------------------|
//! | `routes.rs` | what is asked, and what is answered  |
//! | `errors.rs` | failures as HTTP has them            |
//! | `range.rs`  | the Range header                     |

mod errors;
mod range;
mod routes;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::sync_channel;
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::{Context, anyhow, bail};
use isotherm_client::{Bridge, BridgeConfig, ClientConfig};

use crate::cluster::{Folder, Link};
use crate::http::{Limits, Server};

/// Connections for each request that is served at once: most are idle, or wait for their turn.
const CONNECTIONS_PER_REQUEST: usize = 4;
/// Between two looks at the stop flag.
const TICK: Duration = Duration::from_millis(50);

/// Serves the objects of a cluster over HTTP, for programs in any language.
///
/// Prints its address and runs until Ctrl-C; what is under way then comes to its end. There is no
/// access control: whoever reaches the address may do everything.
#[derive(clap::Args)]
#[command(after_help = "Requests:
  PUT    /objects                keeps the body; answers {locator, id, len}
  GET    /objects/LOCATOR        the object; Range: bytes=0-4095 a part of it; HEAD as well
  GET    /objects/LOCATOR?stat   how it is
  DELETE /objects/LOCATOR        deletes it for good
  GET    /objects?limit=100      what there is; &from= goes on where the last answer says

Examples:
  isotherm gateway --cluster ./cluster --listen 127.0.0.1:8080
  curl -T photo.jpg http://127.0.0.1:8080/objects
  curl http://127.0.0.1:8080/objects/iso-041028... > photo.jpg")]
pub(crate) struct GatewayCommand {
    /// The cluster's folder
    #[arg(long, value_name = "FOLDER", env = "ISOTHERM_CLUSTER", default_value = "cluster")]
    cluster: PathBuf,
    /// Where it listens; port 0 takes a free one
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:0")]
    listen: SocketAddr,
    /// So many requests at once; each holds up to some 40 MB. Further ones are answered 503
    #[arg(long, value_name = "N", default_value_t = 16, value_parser = clap::value_parser!(u16).range(1..=1024))]
    requests: u16,
}

impl GatewayCommand {
    pub(crate) fn run(self) -> anyhow::Result<ExitCode> {
        let stop = crate::stop::on_signal()?;
        let requests = usize::from(self.requests);
        let config = BridgeConfig { operations_max: requests, ..BridgeConfig::default() };
        let (bridge, core) = start_core(Folder::new(&self.cluster), config)?;
        let limits = Limits {
            connections_max: requests * CONNECTIONS_PER_REQUEST,
            header_patience: Duration::from_secs(30),
            write_patience: Duration::from_secs(30),
            stop_patience: Duration::from_secs(15),
        };
        let mut server = Server::start("gateway", self.listen, limits, move |request| {
            let bridge = bridge.clone();
            async move { routes::answer(&bridge, request).await }
        })?;
        println!("http://{}", server.addr());
        while !stop.load(Ordering::Relaxed) && !core.is_finished() {
            #[expect(
                clippy::disallowed_methods,
                reason = "the main thread only waits for its end"
            )]
            std::thread::sleep(TICK);
        }
        eprintln!("isotherm: stopping");
        server.stop();
        // The server had the only handles to the bridge: its core ends now.
        if core.join().is_err() {
            bail!("the client's core panicked");
        }
        Ok(if stop.load(Ordering::Relaxed) { ExitCode::SUCCESS } else { ExitCode::FAILURE })
    }
}

/// A thread with a client of the cluster, and the bridge to it.
fn start_core(folder: Folder, config: BridgeConfig) -> anyhow::Result<(Bridge, JoinHandle<()>)> {
    let (tell, told) = sync_channel(1);
    let run = move || {
        let mut link = match Link::new(&folder, ClientConfig::default()) {
            Ok(link) => link,
            Err(error) => return drop(tell.send(Err(error))),
        };
        // It ends by its bridge, not by a flag.
        let never = Arc::new(AtomicBool::new(false));
        let _ = link.run(&never, |client| {
            let (bridge, serve) = Bridge::new(&client, config);
            let _ = tell.send(Ok(bridge));
            serve
        });
    };
    let thread = std::thread::Builder::new()
        .name("client".to_owned())
        .spawn(run)
        .context("no thread for the client")?;
    let bridge = told.recv().map_err(|_| anyhow!("the client ended while it was started"))??;
    Ok((bridge, thread))
}

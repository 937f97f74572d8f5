//! What a node tells about itself, over HTTP: for people, for health checks, for Prometheus.
//!
//! What must always hold: asking costs a core one message; a core that does not answer is told as
//! such and hides nothing of the others; nothing can be changed from here.
//!
//! | file         | what it holds                  |
//! |--------------|--------------------------------|
//! | `tables.rs`  | reports as JSON                |
//! | `metrics.rs` | reports as Prometheus reads them |

mod metrics;
mod tables;

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::mpsc::sync_channel;
use std::time::Duration;

use hyper::body::Incoming;
use hyper::header::{ALLOW, HeaderValue};
use hyper::{Method, Request, StatusCode};
use isotherm_reactor::{SendError, Sender};

use super::core::{CoreReport, Order};
use crate::http::{self, Answer, Limits, Server};

/// A core that has not answered by then is stuck.
const PATIENCE: Duration = Duration::from_secs(1);
/// Between two looks for answers.
const LOOK: Duration = Duration::from_millis(1);

const LIMITS: Limits = Limits {
    connections_max: 32,
    header_patience: Duration::from_secs(10),
    write_patience: Duration::from_secs(10),
    stop_patience: Duration::from_secs(2),
};

const INDEX: &str = "\
/health      200 if all disks are open and all cores answer, else 503
/disks       each disk: state, space, how it was found at its start, what was asked of it
/queues      what waits: requests, sessions, the expected wait of each disk
/histograms  how long gets and puts took, disk by disk
/metrics     all of it for Prometheus
";

/// The HTTP interface of a node. It ends when this is dropped.
pub(crate) struct AdminHandle {
    server: Server,
}

impl AdminHandle {
    /// Where it listens.
    pub(crate) fn addr(&self) -> SocketAddr {
        self.server.addr()
    }
}

/// What one core said.
enum Heard {
    /// How it is.
    Report(Box<CoreReport>),
    /// Nothing, for as long as anybody waits for it.
    Stuck,
    /// It has ended.
    Ended,
}

/// A node's cores at one moment, in their order.
struct Seen {
    name: String,
    cores: Vec<Heard>,
}

/// Serves what the cores of a node say of themselves.
pub(crate) fn serve(
    addr: SocketAddr,
    name: String,
    cores: Vec<Sender<Order>>,
) -> anyhow::Result<AdminHandle> {
    let source = Arc::new((name, cores));
    let server = Server::start("admin", addr, LIMITS, move |request| {
        let source = Arc::clone(&source);
        async move { answer(&source.0, &source.1, &request).await }
    })?;
    Ok(AdminHandle { server })
}

async fn answer(name: &str, cores: &[Sender<Order>], request: &Request<Incoming>) -> Answer {
    if !matches!(*request.method(), Method::GET | Method::HEAD) {
        let told = serde_json::json!({ "error": "nothing can be changed here" });
        let mut answer = http::json(StatusCode::METHOD_NOT_ALLOWED, &told);
        answer.headers_mut().insert(ALLOW, HeaderValue::from_static("GET, HEAD"));
        return answer;
    }
    let seen = async || Seen { name: name.to_owned(), cores: ask(cores).await };
    match request.uri().path() {
        "/" => http::answer(StatusCode::OK, "text/plain; charset=utf-8", INDEX.to_owned()),
        "/health" => {
            let seen = seen().await;
            let status = match seen.is_well() {
                true => StatusCode::OK,
                false => StatusCode::SERVICE_UNAVAILABLE,
            };
            http::json(status, &tables::health(&seen))
        }
        "/disks" => http::json(StatusCode::OK, &tables::disks(&seen().await)),
        "/queues" => http::json(StatusCode::OK, &tables::queues(&seen().await)),
        "/histograms" => http::json(StatusCode::OK, &tables::histograms(&seen().await)),
        "/metrics" => {
            let text = metrics::text(&seen().await);
            http::answer(StatusCode::OK, "text/plain; version=0.0.4; charset=utf-8", text)
        }
        path => {
            let told = serde_json::json!({ "error": format!("there is no {path}; see /") });
            http::json(StatusCode::NOT_FOUND, &told)
        }
    }
}

/// Asks every core at once how it is.
async fn ask(cores: &[Sender<Order>]) -> Vec<Heard> {
    let (tell, told) = sync_channel(cores.len().max(1));
    let mut heard: Vec<Heard> = cores
        .iter()
        .map(|core| match core.try_send(Order::Report(tell.clone())) {
            Ok(()) | Err(SendError::Full(_)) => Heard::Stuck,
            Err(SendError::Closed(_)) => Heard::Ended,
        })
        .collect();
    drop(tell);
    let into = &mut heard;
    let hear = async move {
        loop {
            let next = told.try_recv();
            match next {
                Ok(report) => {
                    let report: CoreReport = report;
                    let core = usize::from(report.core);
                    into[core] = Heard::Report(Box::new(report));
                }
                Err(std::sync::mpsc::TryRecvError::Empty) => tokio::time::sleep(LOOK).await,
                // Everybody has answered, or dropped the question.
                Err(std::sync::mpsc::TryRecvError::Disconnected) => break,
            }
        }
    };
    let _ = tokio::time::timeout(PATIENCE, hear).await;
    heard
}

impl Seen {
    fn reports(&self) -> impl Iterator<Item = &CoreReport> {
        self.cores.iter().filter_map(|core| match core {
            Heard::Report(report) => Some(&**report),
            Heard::Stuck | Heard::Ended => None,
        })
    }

    /// Each disk with its core.
    fn disks(&self) -> impl Iterator<Item = (u16, &isotherm_node::ShelfReport)> {
        self.reports().flat_map(|report| report.node.disks.iter().map(|disk| (report.core, disk)))
    }

    fn is_well(&self) -> bool {
        let serves = |disk: &isotherm_node::ShelfReport| {
            matches!(disk.state, isotherm_node::ShelfState::Open(_)) && disk.stuck.is_none()
        };
        self.reports().count() == self.cores.len() && self.disks().all(|(_, disk)| serves(disk))
    }
}

#[cfg(test)]
mod tests;

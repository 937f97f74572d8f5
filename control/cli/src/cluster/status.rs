//! `isotherm cluster status`: every disk, asked now.

use std::process::ExitCode;

use isotherm_client::ClientConfig;
use isotherm_seam::Nanos;
use isotherm_wire::Doubt;
use serde_json::json;

use super::link::Link;
use super::{Place, running};
use crate::store::words;

/// Asks every disk of a cluster how it is.
#[derive(clap::Args)]
pub(super) struct StatusCommand {
    #[command(flatten)]
    place: Place,
    /// As JSON
    #[arg(long)]
    json: bool,
}

impl StatusCommand {
    /// Exits with 1 if any disk is not open.
    pub(super) fn run(self) -> anyhow::Result<ExitCode> {
        let folder = self.place.folder();
        let map = folder.map()?;
        let config = ClientConfig { deadline: Nanos::from_secs(2), ..ClientConfig::default() };
        let disks: Vec<_> = map.disks.iter().map(|disk| disk.no).collect();
        let states = Link::new(&folder, config)?.finish(move |client| async move {
            let mut states = Vec::new();
            for disk in disks {
                let state = client.disk_state(disk).await;
                states.push(state.map(|state| (state, client.doubt_of(disk))));
            }
            states
        })?;
        let all_well = states.iter().all(Result::is_ok);
        let rows = map.disks.iter().zip(&states).map(|(disk, state)| {
            let node = map.node(disk.node).map_or("", |node| node.name.as_str());
            (disk, node, state)
        });
        if self.json {
            let disks: Vec<_> = rows
                .map(|(disk, node, state)| match state {
                    Ok((state, doubt)) => json!({
                        "disk": disk.no.0, "node": node, "name": disk.name, "state": "open",
                        "capacity_bytes": state.capacity_bytes,
                        "free_bytes": state.free_bytes,
                        "live_bytes": state.live_bytes,
                        "shards": state.shards,
                        "fenced": state.is_fenced,
                        "retired": state.is_retired,
                        "doubt": doubt.word(),
                    }),
                    Err(why) => json!({
                        "disk": disk.no.0, "node": node, "name": disk.name,
                        "state": why.to_string(),
                    }),
                })
                .collect();
            let nodes: Vec<_> = map
                .nodes
                .iter()
                .map(|node| {
                    let pid = running(&folder, &node.name).map(nix::unistd::Pid::as_raw);
                    json!({ "node": node.name, "addresses": node.cores, "pid": pid })
                })
                .collect();
            let told = json!({
                "codec": map.scheme.to_string(), "map_version": map.version,
                "groups": map.groups.len(), "nodes": nodes, "disks": disks,
            });
            println!("{told:#}");
        } else {
            println!(
                "codec {}, {} groups, map version {}",
                map.scheme,
                map.groups.len(),
                map.version
            );
            println!(
                "{:<8} {:<8} {:>10} {:>10} {:>9}  state",
                "node", "disk", "size", "free", "shards"
            );
            for (disk, node, state) in rows {
                match state {
                    Ok((state, doubt)) => println!(
                        "{node:<8} {:<8} {:>10} {:>10} {:>9}  {}",
                        disk.name,
                        words::size(state.capacity_bytes),
                        words::size(state.free_bytes),
                        state.shards,
                        match (state.is_fenced, state.is_retired, doubt) {
                            (true, ..) => "fenced: takes no writes after an error",
                            (_, true, _) => "being retired",
                            (.., Doubt::Harmed) => "open; may have lost deletes: `isotherm repair`",
                            _ => "open",
                        },
                    ),
                    Err(why) => println!(
                        "{node:<8} {:<8} {:>10} {:>10} {:>9}  {why}",
                        disk.name, "", "", ""
                    ),
                }
            }
        }
        Ok(if all_well { ExitCode::SUCCESS } else { ExitCode::FAILURE })
    }
}

//! The `isotherm` binary: every role and every operator's verb.
//!
//! What must always hold: standard output carries results only; progress and complaints go to
//! standard error; the exit code says whether the user got what was asked for.

mod bench;
mod ca;
mod cluster;
mod codec;
mod demo;
mod disks;
mod fleet;
mod gateway;
mod hdd;
mod http;
mod load;
mod machine;
mod node;
mod objects;
mod report;
mod stop;
mod store;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// A userspace data plane for fleets of hard disks.
#[derive(Parser)]
#[command(version, propagate_version = true, arg_required_else_help = true)]
struct Cli {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Subcommand)]
enum Verb {
    Bench(bench::BenchCommand),
    Ca(ca::CaCommand),
    Cluster(cluster::ClusterCommand),
    Codec(codec::CodecCommand),
    Demo(demo::DemoCommand),
    Disks(disks::DisksCommand),
    Fleet(fleet::FleetCommand),
    Gateway(gateway::GatewayCommand),
    Get(objects::GetCommand),
    Hdd(hdd::HddCommand),
    Load(load::LoadCommand),
    Ls(objects::LsCommand),
    Node(node::NodeCommand),
    Put(objects::PutCommand),
    Repair(objects::RepairCommand),
    Report(report::ReportCommand),
    Rm(objects::RmCommand),
    Stat(objects::StatCommand),
    Store(store::StoreCommand),
}

fn main() -> ExitCode {
    end_quietly_without_reader();
    let outcome = match as_fio() {
        Some(arguments) => bench::BenchCommand::as_fio(arguments),
        None => run(Cli::parse().verb),
    };
    match outcome {
        Ok(code) => code,
        Err(error) => {
            eprintln!("isotherm: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// Whoever reads the results may stop before their end, as `head` does. Then nobody is left to tell
/// it to: everything is undone as in any panic, but nothing is said.
fn end_quietly_without_reader() {
    let report = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |info| {
        let said = info.payload_as_str().unwrap_or_default();
        if !(said.starts_with("failed printing to stdout") && said.contains("Broken pipe")) {
            report(info);
        }
    }));
}

/// The arguments, where the program was started by a link called `fio`: scripts that know fio
/// then need no change.
fn as_fio() -> Option<Vec<String>> {
    let mut arguments = std::env::args();
    let name = arguments.next()?;
    let is_fio = std::path::Path::new(&name).file_name().is_some_and(|name| name == "fio");
    is_fio.then(|| arguments.collect())
}

fn run(verb: Verb) -> anyhow::Result<ExitCode> {
    match verb {
        Verb::Bench(command) => command.run(),
        Verb::Ca(command) => command.run(),
        Verb::Cluster(command) => command.run(),
        Verb::Codec(command) => command.run(),
        Verb::Demo(command) => command.run(),
        Verb::Disks(command) => command.run(),
        Verb::Fleet(command) => command.run(),
        Verb::Gateway(command) => command.run(),
        Verb::Get(command) => command.run(),
        Verb::Hdd(command) => command.run(),
        Verb::Load(command) => command.run(),
        Verb::Ls(command) => command.run(),
        Verb::Node(command) => command.run(),
        Verb::Put(command) => command.run(),
        Verb::Repair(command) => command.run(),
        Verb::Report(command) => command.run(),
        Verb::Rm(command) => command.run(),
        Verb::Stat(command) => command.run(),
        Verb::Store(command) => command.run(),
    }
}

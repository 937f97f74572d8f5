//! The `isotherm` binary: every role and every operator's verb.
//!
//! What must always hold: standard output carries results only; progress and complaints go to
//! standard error; the exit code says whether the user got what was asked for.

mod bench;
mod codec;
mod demo;
mod disks;
mod hdd;
mod machine;
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
    Codec(codec::CodecCommand),
    Demo(demo::DemoCommand),
    Disks(disks::DisksCommand),
    Hdd(hdd::HddCommand),
    Store(store::StoreCommand),
}

fn main() -> ExitCode {
    let outcome = match Cli::parse().verb {
        Verb::Bench(command) => command.run(),
        Verb::Codec(command) => command.run(),
        Verb::Demo(command) => command.run(),
        Verb::Disks(command) => command.run(),
        Verb::Hdd(command) => command.run(),
        Verb::Store(command) => command.run(),
    };
    match outcome {
        Ok(code) => code,
        Err(error) => {
            eprintln!("isotherm: {error:#}");
            ExitCode::FAILURE
        }
    }
}

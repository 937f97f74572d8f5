//! `isotherm codec`: what the erasure codes cost, in cells read and in processor time.
//!
//! Results go to standard output, as a table or as one JSON document; progress goes to standard
//! error.

use std::io::{IsTerminal, Write};
use std::process::ExitCode;

use anyhow::Context;
use clap::{Args, Subcommand};
use isotherm_erasure::bench::{Operation, Request, Row, StepRequest, StepRow, run, steps};
use isotherm_erasure::repair::reads;
use isotherm_erasure::{CellSet, Descriptor, Kernel, Scheme};
use isotherm_host::HostClock;
use isotherm_seam::Clock;
use serde_json::{Value, json};

/// Erasure codes: what they cost, and how fast they are here.
#[derive(Args)]
pub(crate) struct CodecCommand {
    #[command(subcommand)]
    verb: CodecVerb,
}

#[derive(Subcommand)]
enum CodecVerb {
    /// Measure the codecs on one core, side by side with reed-solomon-simd.
    Bench(BenchArgs),
    /// Measure how long a step of a 16 MiB stripe holds its core, under each codec.
    Steps(StepArgs),
    /// What each geometry costs: overhead, tolerated losses, cells read to repair one.
    Table(TableArgs),
}

#[derive(Args)]
struct BenchArgs {
    /// Geometries, such as 10+4, lrc12+2+2 or 3x [default: the six of docs/ERASURE.md].
    #[arg(long, short, value_delimiter = ',')]
    geometry: Vec<Scheme>,
    /// Cell lengths, such as 4k, 64k or 1m [default: 4k,64k,1m].
    #[arg(long, short, value_delimiter = ',', value_parser = cell_bytes)]
    cell: Vec<u32>,
    /// Operations, such as encode, encode-cold or decode [default: all].
    #[arg(long, short, value_delimiter = ',', value_parser = operation)]
    operation: Vec<Operation>,
    /// Turns of each contender; a figure is the median of its turns.
    #[arg(long, default_value_t = 15, value_parser = clap::value_parser!(u64).range(1..))]
    rounds: u64,
    /// Length of a turn in microseconds.
    #[arg(long, default_value_t = 500, value_parser = clap::value_parser!(u64).range(1..))]
    turn_us: u64,
    /// Measure the slower kernels of this processor too.
    #[arg(long)]
    all_kernels: bool,
    /// Print one JSON document.
    #[arg(long)]
    json: bool,
}

#[derive(Args)]
struct StepArgs {
    /// Geometries [default: of each codec, small and large].
    #[arg(long, short, value_delimiter = ',')]
    geometry: Vec<Scheme>,
    /// Stripes of each operation; each step counts where it was shortest.
    #[arg(long, default_value_t = 9, value_parser = clap::value_parser!(u64).range(1..))]
    rounds: u64,
    /// Measure the slower kernels of this processor too.
    #[arg(long)]
    all_kernels: bool,
    /// Print one JSON document.
    #[arg(long)]
    json: bool,
}

#[derive(Args)]
struct TableArgs {
    /// Geometries [default: those of docs/ERASURE.md].
    #[arg(long, short, value_delimiter = ',')]
    geometry: Vec<Scheme>,
    /// Print one JSON document.
    #[arg(long)]
    json: bool,
}

impl CodecCommand {
    /// Runs the verb.
    pub(crate) fn run(self) -> anyhow::Result<ExitCode> {
        match self.verb {
            CodecVerb::Bench(args) => bench(&args)?,
            CodecVerb::Steps(args) => longest_steps(&args)?,
            CodecVerb::Table(args) => table(args)?,
        }
        Ok(ExitCode::SUCCESS)
    }
}

fn bench(args: &BenchArgs) -> anyhow::Result<()> {
    let mut request = Request {
        rounds: usize::try_from(args.rounds).context("that many rounds")?,
        turn_ns: args.turn_us.saturating_mul(1000),
        all_kernels: args.all_kernels,
        ..Request::default()
    };
    if !args.geometry.is_empty() {
        request.schemes.clone_from(&args.geometry);
    }
    if !args.cell.is_empty() {
        request.cell_bytes.clone_from(&args.cell);
    }
    if !args.operation.is_empty() {
        request.operations.clone_from(&args.operation);
    }
    let clock = HostClock::new();
    let now = || clock.mono().0;
    let mut out = std::io::stdout().lock();
    if !args.json {
        writeln!(
            out,
            "{:<12} {:>8} {:<26} {:<22} {:>8} {:>8} {:>6}",
            "geometry", "cell", "operation", "contender", "GB/s", "ceiling", "of it"
        )?;
    }
    let progress = args.json && std::io::stderr().is_terminal();
    let mut broken = Ok(());
    let rows = run(&request, &now, &mut |rows| {
        if !args.json {
            broken = rows.iter().try_for_each(|row| print_row(&mut out, row));
        } else if let (true, Some(row)) = (progress, rows.first()) {
            eprintln!("{} {} {}", row.geometry, bytes_text(row.cell_bytes), row.operation);
        }
    })
    .context("no such stripe")?;
    broken?;
    if args.json {
        let rows: Vec<Value> = rows.iter().map(row_json).collect();
        let document = json!({ "kernel": Kernel::fastest().name(), "results": rows });
        writeln!(out, "{}", serde_json::to_string_pretty(&document)?)?;
    }
    Ok(())
}

fn longest_steps(args: &StepArgs) -> anyhow::Result<()> {
    let mut request = StepRequest {
        rounds: usize::try_from(args.rounds).context("that many rounds")?,
        all_kernels: args.all_kernels,
        ..StepRequest::default()
    };
    if !args.geometry.is_empty() {
        request.schemes.clone_from(&args.geometry);
    }
    let clock = HostClock::new();
    let now = || clock.mono().0;
    let mut out = std::io::stdout().lock();
    if !args.json {
        writeln!(
            out,
            "{:<12} {:>8} {:<22} {:<12} {:>6} {:>11} {:>9}",
            "geometry", "cell", "operation", "kernel", "steps", "longest/us", "worst/us"
        )?;
    }
    let mut broken = Ok(());
    let rows = steps(&request, &now, &mut |row| {
        if !args.json && broken.is_ok() {
            broken = print_step(&mut out, row);
        }
    })
    .context("no such stripe")?;
    broken?;
    if args.json {
        let rows: Vec<Value> = rows.iter().map(step_json).collect();
        writeln!(out, "{}", serde_json::to_string_pretty(&json!({ "steps": rows }))?)?;
    }
    Ok(())
}

fn print_step(out: &mut impl Write, row: &StepRow) -> std::io::Result<()> {
    writeln!(
        out,
        "{:<12} {:>8} {:<22} {:<12} {:>6} {:>11.1} {:>9.1}",
        row.geometry,
        bytes_text(row.cell_bytes),
        row.operation.name(),
        row.kernel.name(),
        row.steps,
        row.longest_us,
        row.worst_us
    )
}

fn step_json(row: &StepRow) -> Value {
    json!({
        "geometry": row.geometry,
        "cell_bytes": row.cell_bytes,
        "operation": row.operation.name(),
        "kernel": row.kernel.name(),
        "steps": row.steps,
        "longest_us": row.longest_us,
        "worst_us": row.worst_us,
    })
}

fn print_row(out: &mut impl Write, row: &Row) -> std::io::Result<()> {
    let ceiling = match row.ceiling_gb_per_s {
        Some(ceiling) => {
            format!("{ceiling:>8.2} {:>5.0}%", 100.0 * row.gb_per_s / ceiling)
        }
        None => format!("{:>8} {:>6}", "-", "-"),
    };
    writeln!(
        out,
        "{:<12} {:>8} {:<26} {:<22} {:>8.2} {ceiling}",
        row.geometry,
        bytes_text(row.cell_bytes),
        row.operation.name(),
        row.contender,
        row.gb_per_s
    )
}

fn row_json(row: &Row) -> Value {
    json!({
        "geometry": row.geometry,
        "cell_bytes": row.cell_bytes,
        "operation": row.operation.name(),
        "contender": row.contender,
        "gb_per_s": row.gb_per_s,
        "ceiling_gb_per_s": row.ceiling_gb_per_s,
    })
}

fn table(args: TableArgs) -> anyhow::Result<()> {
    let mut schemes = args.geometry;
    if schemes.is_empty() {
        let texts = ["3x", "4+2", "6+3", "8+3", "8+4", "10+4", "17+3", "lrc12+2+2", "20+8"];
        schemes = texts.iter().map(|text| text.parse()).collect::<Result<_, _>>()?;
    }
    let mut out = std::io::stdout().lock();
    let mut rows = Vec::new();
    if !args.json {
        writeln!(
            out,
            "{:<12} {:>8} {:>8} {:>16} {:>20}",
            "geometry", "codec id", "overhead", "losses tolerated", "cells read for one"
        )?;
    }
    for scheme in schemes {
        let descriptor = Descriptor::new(scheme, 4096)
            .or_else(|_| Descriptor::new(scheme, 64))
            .with_context(|| format!("{scheme} is no stripe"))?;
        let overhead = scheme.cells() as f64 / scheme.data_cells() as f64;
        let read = cells_read_for_one(&descriptor)?;
        let id = scheme.codec_id() as u8;
        if args.json {
            rows.push(json!({
                "geometry": scheme.to_string(),
                "codec_id": id,
                "overhead": overhead,
                "losses_tolerated": scheme.tolerated_losses(),
                "cells_read_for_one": read,
            }));
        } else {
            let losses = scheme.tolerated_losses();
            let name = scheme.to_string();
            writeln!(out, "{name:<12} {id:>8} {overhead:>7.2}x {losses:>16} {read:>20}")?;
        }
    }
    if args.json {
        writeln!(out, "{}", serde_json::to_string_pretty(&rows)?)?;
    }
    Ok(())
}

/// Cells read to repair the first data cell when all others survive.
fn cells_read_for_one(descriptor: &Descriptor) -> anyhow::Result<usize> {
    let scheme = descriptor.scheme();
    if scheme.cells() > CellSet::CAPACITY {
        return Ok(scheme.data_cells());
    }
    let lost: CellSet = [0].into_iter().collect();
    Ok(reads(descriptor, &CellSet::first(scheme.cells()).minus(&lost), &lost)?.disks)
}

fn operation(text: &str) -> Result<Operation, String> {
    Operation::ALL.into_iter().find(|operation| operation.name() == text).ok_or_else(|| {
        let names: Vec<&str> = Operation::ALL.iter().map(|operation| operation.name()).collect();
        format!("one of {}", names.join(", "))
    })
}

fn cell_bytes(text: &str) -> Result<u32, String> {
    let lower = text.to_ascii_lowercase();
    let (digits, factor) = match (lower.strip_suffix('k'), lower.strip_suffix('m')) {
        (Some(digits), _) => (digits, 1u32 << 10),
        (_, Some(digits)) => (digits, 1 << 20),
        _ => (lower.as_str(), 1),
    };
    let number: Option<u32> = digits.parse().ok();
    number
        .and_then(|number| number.checked_mul(factor))
        .filter(|&bytes| bytes > 0)
        .ok_or_else(|| "a length such as 512, 64k or 1m".to_owned())
}

fn bytes_text(bytes: u32) -> String {
    match bytes {
        _ if bytes.is_multiple_of(1 << 20) => format!("{}m", bytes >> 20),
        _ if bytes.is_multiple_of(1 << 10) => format!("{}k", bytes >> 10),
        _ => bytes.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_lead_back() {
        for text in ["4k", "64k", "1m", "513"] {
            assert_eq!(bytes_text(cell_bytes(text).unwrap()), text);
        }
        assert_eq!(cell_bytes("64K"), Ok(65_536));
        for text in ["", "k", "0", "4kk", "-1", "8192m"] {
            assert!(cell_bytes(text).is_err(), "{text}");
        }
    }

    #[test]
    fn every_operation_can_be_asked_for() {
        for op in Operation::ALL {
            assert_eq!(operation(op.name()), Ok(op));
        }
        assert!(operation("compress").is_err());
    }
}

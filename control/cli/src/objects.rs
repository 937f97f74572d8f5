//! `isotherm put|get|rm|stat|ls|repair`: objects of a cluster by hand.

use std::fs::File;
use std::io::{IsTerminal, Read, Write};
use std::ops::Range;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context, bail};
use bytes::Bytes;
use isotherm_client::{Client, ClientConfig, ListFrom, ListedObject, Locator, RepairReport};
use serde_json::json;

use crate::cluster::{Folder, Link};
use crate::store::words;

/// Bytes read from a file at a time.
const CHUNK_BYTES: usize = 4 << 20;

/// Where the cluster is.
#[derive(clap::Args, Clone)]
pub(crate) struct On {
    /// The cluster's folder
    #[arg(long, value_name = "FOLDER", env = "ISOTHERM_CLUSTER", default_value = "cluster")]
    cluster: PathBuf,
    /// Results as JSON
    #[arg(long)]
    json: bool,
}

impl On {
    fn link(&self) -> anyhow::Result<Link> {
        Link::new(&Folder::new(&self.cluster), ClientConfig::default())
    }
}

/// Keeps a file as an object and prints its locator.
///
/// The locator is what finds the object again: keep it. The cluster has no names.
#[derive(clap::Args)]
#[command(after_help = "Examples:
  isotherm put photo.jpg
  tar c /etc | isotherm put - --json")]
pub(crate) struct PutCommand {
    /// The file; `-` for standard input
    file: PathBuf,
    #[command(flatten)]
    on: On,
}

impl PutCommand {
    pub(crate) fn run(self) -> anyhow::Result<ExitCode> {
        let mut source: Box<dyn Read> = match self.file.as_os_str() == "-" {
            true => Box::new(std::io::stdin()),
            false => Box::new(
                File::open(&self.file).with_context(|| format!("{}", self.file.display()))?,
            ),
        };
        let mut link = self.on.link()?;
        let shown = std::io::stderr().is_terminal();
        let locator = link.finish(move |client| async move {
            let mut upload = client.upload(client.new_id());
            let mut done = 0u64;
            loop {
                let mut chunk = vec![0; CHUNK_BYTES];
                let len = read_full(&mut source, &mut chunk)?;
                chunk.truncate(len);
                upload.write(Bytes::from(chunk)).await?;
                done += len as u64;
                if shown {
                    eprint!("\r{} taken", words::size(done));
                }
                if len < CHUNK_BYTES {
                    break;
                }
            }
            let locator = upload.finish().await?;
            if shown {
                eprint!("\r{:20}\r", "");
            }
            anyhow::Ok(locator)
        })??;
        if self.on.json {
            let told = json!({
                "locator": locator.to_string(),
                "id": format!("{:032x}", locator.object),
                "len_bytes": locator.len_bytes,
            });
            println!("{told:#}");
        } else {
            println!("{locator}");
        }
        Ok(ExitCode::SUCCESS)
    }
}

/// Fills the buffer, unless the source ends before.
fn read_full(source: &mut dyn Read, buf: &mut [u8]) -> std::io::Result<usize> {
    let mut len = 0;
    while len < buf.len() {
        match source.read(&mut buf[len..]) {
            Ok(0) => break,
            Ok(more) => len += more,
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(len)
}

/// Writes an object, or a range of it, to standard output or a file.
#[derive(clap::Args)]
#[command(after_help = "Examples:
  isotherm get iso-041028... > photo.jpg
  isotherm get iso-041028... --range 1M-2M -o part")]
pub(crate) struct GetCommand {
    /// The object's locator
    locator: String,
    /// The file; standard output where absent
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
    /// Bytes FROM-UNTIL, the second one not included, such as 0-4K
    #[arg(long, value_name = "FROM-UNTIL", value_parser = parse_range)]
    range: Option<Range<u64>>,
    #[command(flatten)]
    on: On,
}

fn parse_range(text: &str) -> Result<Range<u64>, String> {
    let (from, until) = text.split_once('-').ok_or("a range such as 0-4K is expected")?;
    let range = words::bytes(from)?..words::bytes(until)?;
    if range.start > range.end { Err("the range ends before it begins".into()) } else { Ok(range) }
}

impl GetCommand {
    pub(crate) fn run(self) -> anyhow::Result<ExitCode> {
        let locator: Locator = self.locator.parse()?;
        let mut link = self.on.link()?;
        // A file appears when it is whole; what was there before stays until then.
        let beside = self.output.as_ref().map(|path| path.with_extension("part"));
        let mut sink: Box<dyn Write> = match &beside {
            Some(path) => {
                Box::new(File::create(path).with_context(|| format!("{}", path.display()))?)
            }
            None => Box::new(std::io::stdout()),
        };
        let range = self.range.clone();
        let written = link.finish(move |client| async move {
            let mut download = client.download(&locator, range).await?;
            while let Some(bytes) = download.next().await? {
                sink.write_all(&bytes)?;
            }
            sink.flush()?;
            anyhow::Ok(())
        });
        match (written.and_then(|written| written), self.output, beside) {
            (Ok(()), Some(path), Some(beside)) => std::fs::rename(beside, path)?,
            (Err(error), _, Some(beside)) => {
                let _ = std::fs::remove_file(beside);
                return Err(error);
            }
            (result, ..) => result?,
        }
        Ok(ExitCode::SUCCESS)
    }
}

/// Deletes objects for good.
#[derive(clap::Args)]
pub(crate) struct RmCommand {
    /// Their locators
    #[arg(required = true)]
    locators: Vec<String>,
    #[command(flatten)]
    on: On,
}

impl RmCommand {
    pub(crate) fn run(self) -> anyhow::Result<ExitCode> {
        let locators = self.locators.iter().map(|text| Ok(text.parse()?));
        let locators: Vec<Locator> = locators.collect::<anyhow::Result<_>>()?;
        self.on.link()?.finish(move |client| async move {
            for locator in &locators {
                client.delete(locator).await.with_context(|| locator.to_string())?;
            }
            client.settle_deletes().await;
            anyhow::Ok(())
        })??;
        Ok(ExitCode::SUCCESS)
    }
}

/// Shows how an object is: which of its cells are there, and what it still survives.
#[derive(clap::Args)]
pub(crate) struct StatCommand {
    /// Its locator
    locator: String,
    #[command(flatten)]
    on: On,
}

impl StatCommand {
    pub(crate) fn run(self) -> anyhow::Result<ExitCode> {
        let locator: Locator = self.locator.parse()?;
        let stat =
            self.on.link()?.finish(move |client| async move { client.stat(&locator).await })??;
        let class = format!("{:?}", locator.class).to_lowercase();
        if self.on.json {
            let told = json!({
                "id": format!("{:032x}", locator.object),
                "class": class,
                "codec": locator.scheme().to_string(),
                "len_bytes": locator.len_bytes,
                "stripes": stat.stripes,
                "cells": stat.cells,
                "cells_bad": stat.bad,
                "cells_silent": stat.silent,
                "survives_losses": stat.spare,
                "put_s": stat.put_s,
            });
            println!("{told:#}");
        } else {
            println!(
                "{} in {} of {} cells ({class}, {}); {} bad, {} silent; {}",
                words::size(locator.len_bytes),
                match stat.stripes {
                    1 => "1 stripe".to_owned(),
                    many => format!("{many} stripes"),
                },
                stat.cells,
                locator.scheme(),
                stat.bad,
                stat.silent,
                match stat.spare {
                    ..=-1 => "it can't be read now".to_owned(),
                    0 => "it survives no further loss".to_owned(),
                    1 => "it survives 1 further loss".to_owned(),
                    spare => format!("it survives {spare} further losses"),
                },
            );
        }
        Ok(if stat.spare < 0 { ExitCode::FAILURE } else { ExitCode::SUCCESS })
    }
}

/// Lists what disks hold, object by object: also what no locator names.
#[derive(clap::Args)]
pub(crate) struct LsCommand {
    /// So many objects at most
    #[arg(long, value_name = "N", default_value_t = 1000)]
    limit: usize,
    #[command(flatten)]
    on: On,
}

/// An object of a listing as JSON.
pub(crate) fn listed_json(object: &ListedObject) -> serde_json::Value {
    json!({
        "id": format!("{:032x}", object.object),
        "group": object.group.0,
        "stripes": object.stripes,
        "manifest": object.has_manifest,
        "cells": object.cells,
        "tombstones": object.tombstones,
        "notes": object.notes,
        "latest_s": object.latest_s,
    })
}

impl LsCommand {
    pub(crate) fn run(self) -> anyhow::Result<ExitCode> {
        let limit = self.limit;
        let page = self
            .on
            .link()?
            .finish(move |client| async move { client.list(ListFrom::default(), limit).await })??;
        if self.on.json {
            let objects: Vec<_> = page.objects.iter().map(listed_json).collect();
            let silent: Vec<u32> = page.silent.iter().map(|disk| disk.0).collect();
            println!("{:#}", json!({ "objects": objects, "silent_disks": silent }));
            return Ok(ExitCode::SUCCESS);
        }
        println!(
            "{:<32} {:>6} {:>8} {:>6} {:>6} {:>6}",
            "object", "group", "stripes", "cells", "tombs", "notes"
        );
        for object in &page.objects {
            println!(
                "{:032x} {:>6} {:>8} {:>6} {:>6} {:>6}",
                object.object,
                object.group.0,
                format!("{}{}", object.stripes, if object.has_manifest { "+m" } else { "" }),
                object.cells,
                object.tombstones,
                object.notes,
            );
        }
        for disk in &page.silent {
            eprintln!("isotherm: {disk} gave no listing: what it holds is not counted");
        }
        if page.next.is_some() {
            eprintln!("isotherm: there is more: --limit");
        }
        Ok(ExitCode::SUCCESS)
    }
}

/// Heals by hand: puts again what is missing or damaged, finishes deletes that were cut off.
#[derive(clap::Args)]
#[command(after_help = "Examples:
  isotherm repair                 asks every disk for what it holds
  isotherm repair --deep          reads every cell whole as well")]
pub(crate) struct RepairCommand {
    /// Read every cell whole, to find what is damaged and not only what is missing
    #[arg(long)]
    deep: bool,
    #[command(flatten)]
    on: On,
}

impl RepairCommand {
    pub(crate) fn run(self) -> anyhow::Result<ExitCode> {
        let deep = self.deep;
        let shown = std::io::stderr().is_terminal();
        let Walk { report, silent, doubted, vouched } = self
            .on
            .link()?
            .finish(move |client| async move { repair(&client, deep, shown).await })??;
        if self.on.json {
            let told = json!({
                "stripes": report.stripes,
                "well": report.well,
                "mended": report.mended,
                "cells_mended": report.cells_mended,
                "deletes_finished": report.deleted,
                "remains": report.remains,
                "later": report.later,
                "silent_disks": silent,
                "disks_doubted": doubted,
                "disks_vouched_for": vouched,
            });
            println!("{told:#}");
        } else {
            println!(
                "{} stripes: {} well, {} mended ({} cells), {} deletes finished, {} remains of \
                 puts that were cut off or of losses, {} left for later",
                report.stripes,
                report.well,
                report.mended,
                report.cells_mended,
                report.deleted,
                report.remains,
                report.later,
            );
            if doubted > 0 {
                println!(
                    "{vouched} of {doubted} disks that may have lost deletes were compared with \
                     the others{}",
                    if vouched < doubted { ": say it again when all disks answer" } else { "" },
                );
            }
        }
        Ok(if report.later > 0 { ExitCode::FAILURE } else { ExitCode::SUCCESS })
    }
}

/// What a repair of a whole cluster did.
pub(crate) struct Walk {
    pub(crate) report: RepairReport,
    /// Disks that gave no listing.
    pub(crate) silent: usize,
    /// Disks that may have lost a delete, before.
    doubted: usize,
    /// Of these, those that need not be doubted any more.
    vouched: usize,
}

/// Repairs all that the disks of a cluster hold. If nothing was left out, disks that were in doubt
/// have been compared with all others, and are told so.
pub(crate) async fn repair(client: &Client, deep: bool, shown: bool) -> anyhow::Result<Walk> {
    let doubted = client.doubted_disks().await;
    let mut report = RepairReport::default();
    let mut from = Some(ListFrom::default());
    let mut silent = 0;
    while let Some(at) = from {
        let page = client.list(at, 256).await?;
        silent = silent.max(page.silent.len());
        for object in &page.objects {
            report.join(client.repair(object, deep).await);
            if shown {
                eprint!("\r{} stripes, {} mended", report.stripes, report.mended);
            }
        }
        from = page.next;
    }
    if shown {
        eprint!("\r{:40}\r", "");
    }
    if report.stripes == 0 && silent > 0 {
        bail!("{silent} disks gave no listing, the others hold nothing");
    }
    let mut vouched = 0;
    if silent == 0 && report.later == 0 {
        for disk in &doubted {
            vouched += usize::from(client.vouch(disk).await.is_ok());
        }
    }
    client.settle_deletes().await;
    Ok(Walk { report, silent, doubted: doubted.len(), vouched })
}

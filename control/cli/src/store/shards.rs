//! `isotherm store put`, `get` and `rm`: single shards, by hand.
//!
//! What must always hold: `put` and `rm` answer when the change is durable and the store is
//! closed again; `get` writes nothing to the disk, and gives no byte away that does not have its
//! checksum.

use std::io::{Read, Write};
use std::ops::Range;
use std::path::PathBuf;
use std::process::ExitCode;
use std::rc::Rc;

use anyhow::{Context, anyhow, bail, ensure};
use isotherm_block::Spec;
use isotherm_reactor::Disk;
use isotherm_store::{
    Delete, GetError, Identity, Key, Options, PAYLOAD_MAX, Put, ScannedDisk, Store, World,
    uuid_text,
};
use serde_json::{Value, json};

use super::rig::{Setup, Watcher, run};
use super::{On, Recovery, explain, may_change, words};

/// Keeps a file as a shard. Writes.
///
/// A shard of the same key is replaced. The store must not be in use by a node.
#[derive(clap::Args)]
#[command(after_help = "Examples:
  isotherm store put /tmp/disk.img 7/2a/0/3 shard.bin
  echo hello | isotherm store put /tmp/disk.img 7/2a/0/4 -")]
pub(super) struct PutCommand {
    #[command(flatten)]
    on: On,
    #[command(flatten)]
    recovery: Recovery,
    /// GROUP/OBJECT/STRIPE/POSITION, the object in hexadecimal
    #[arg(value_name = "KEY", value_parser = words::key)]
    key: Key,
    /// The payload; - is standard input
    #[arg(value_name = "FILE")]
    file: PathBuf,
}

/// Reads a shard. Writes nothing to the disk.
#[derive(clap::Args)]
#[command(after_help = "Exit codes: 0 given; 1 not there, deleted, damaged, or beyond its end.

Examples:
  isotherm store get /tmp/disk.img 7/2a/0/3 -o shard.bin
  isotherm store get /tmp/disk.img 7/2a/0/3 --range 4096..8192 | xxd
  isotherm store get --json /tmp/disk.img 7/2a/0/3")]
pub(super) struct GetCommand {
    #[command(flatten)]
    on: On,
    #[command(flatten)]
    recovery: Recovery,
    /// GROUP/OBJECT/STRIPE/POSITION, the object in hexadecimal
    #[arg(value_name = "KEY", value_parser = words::key)]
    key: Key,
    /// Only these bytes of it
    #[arg(long, value_name = "A..B", value_parser = range)]
    range: Option<Range<u32>>,
    /// Write it there instead of to standard output; with --json only what it says of itself is
    /// printed
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
}

/// Deletes a shard. Writes.
///
/// One that is not there counts as deleted. The store must not be in use by a node.
#[derive(clap::Args)]
#[command(after_help = "Example:
  isotherm store rm /tmp/disk.img 7/2a/0/3")]
pub(super) struct RmCommand {
    #[command(flatten)]
    on: On,
    #[command(flatten)]
    recovery: Recovery,
    /// GROUP/OBJECT/STRIPE/POSITION, the object in hexadecimal
    #[arg(value_name = "KEY", value_parser = words::key)]
    key: Key,
}

impl PutCommand {
    pub(super) fn run(self) -> anyhow::Result<ExitCode> {
        let spec = self.on.spec()?;
        let payload = self.payload()?;
        let watcher = seen_a_store(&self.on, &spec)?;
        let (recovery, key) = (self.recovery, self.key);
        let done = run(&spec, &Setup::writing(), &watcher, move |world, disk| async move {
            let store = open(recovery, &world, &disk).await?;
            let answer = put(&store, key, &payload).await;
            store.close().await?;
            answer
        })?;
        let identity = done
            .expect("a job that writes is not cut short")
            .with_context(|| format!("{}: {key}", self.on.device))?;
        if self.on.json {
            println!("{:#}", identity_json(&identity));
        } else {
            println!("{key}: {} bytes, #{}", identity.len_bytes, identity.sequence);
        }
        Ok(ExitCode::SUCCESS)
    }

    fn payload(&self) -> anyhow::Result<Vec<u8>> {
        let mut bytes = Vec::new();
        // One byte more than can be kept tells that it is too long.
        let limit = u64::from(PAYLOAD_MAX) + 1;
        if self.file.as_os_str() == "-" {
            std::io::stdin().lock().take(limit).read_to_end(&mut bytes)?;
        } else {
            let open = std::fs::File::open(&self.file);
            let file = open.with_context(|| format!("{}", self.file.display()))?;
            file.take(limit).read_to_end(&mut bytes)?;
        }
        ensure!(
            bytes.len() <= PAYLOAD_MAX as usize,
            "{}: longer than a shard can be, {PAYLOAD_MAX} bytes",
            self.file.display()
        );
        Ok(bytes)
    }
}

async fn put(store: &Store, key: Key, payload: &[u8]) -> anyhow::Result<Identity> {
    let most = store.payload_max() as usize;
    ensure!(payload.len() <= most, "longer than a shard can be on this disk, {most} bytes");
    let mut buf = store.buffer(payload.len())?;
    buf.fill(payload);
    Ok(store.put(Put::new(key), buf).await?)
}

impl RmCommand {
    pub(super) fn run(self) -> anyhow::Result<ExitCode> {
        let spec = self.on.spec()?;
        let watcher = seen_a_store(&self.on, &spec)?;
        let (recovery, key) = (self.recovery, self.key);
        let done = run(&spec, &Setup::writing(), &watcher, move |world, disk| async move {
            let store = open(recovery, &world, &disk).await?;
            let was_there = match store.stat(key).await {
                Ok(_) => true,
                Err(GetError::NotFound | GetError::Deleted) => false,
                // It is deleted all the more.
                Err(_) => true,
            };
            let answer = store.delete(Delete::new(key)).await;
            store.close().await?;
            answer?;
            anyhow::Ok(was_there)
        })?;
        let was_there = done
            .expect("a job that writes is not cut short")
            .with_context(|| format!("{}: {key}", self.on.device))?;
        if self.on.json {
            println!("{:#}", json!({"key": key.to_string(), "was_there": was_there}));
        } else {
            println!("{key}: {}", if was_there { "deleted" } else { "was not there" });
        }
        Ok(ExitCode::SUCCESS)
    }
}

impl GetCommand {
    pub(super) fn run(self) -> anyhow::Result<ExitCode> {
        let spec = self.on.spec()?;
        let watcher = Watcher::new("reading the index")?;
        let (recovery, key, range) = (self.recovery, self.key, self.range.clone());
        let told = run(&spec, &Setup::reading(), &watcher, move |world, disk| async move {
            let disk = recovery.recover(&world, &disk).await?;
            Ok(disk.get(&key, range).await.map(|shard| (*shard.identity(), shard.to_vec())))
        })?;
        let Some(told) = told else {
            eprintln!("isotherm: stopped while the index was read");
            return Ok(ExitCode::from(130));
        };
        let got = told.map_err(|error| explain(&self.on.device, error))?;
        let (identity, bytes) = got.map_err(|error| anyhow!("{key}: {error}{}", hint(error)))?;
        match &self.output {
            Some(path) => std::fs::write(path, &bytes)
                .with_context(|| format!("can't write {}", path.display()))?,
            None if self.on.json => {}
            None => std::io::stdout().lock().write_all(&bytes)?,
        }
        if self.on.json {
            println!("{:#}", identity_json(&identity));
        }
        Ok(ExitCode::SUCCESS)
    }
}

fn hint(error: GetError) -> &'static str {
    match error {
        GetError::Io(_) | GetError::Damaged { .. } => {
            ": rebuild it from the other shards of its stripe"
        }
        GetError::NotFound => ": `isotherm store ls` lists what is there",
        _ => "",
    }
}

/// Makes sure that there is a store before anything is opened for writing: what a disk that
/// holds something else would need is not this verb.
fn seen_a_store(on: &On, spec: &Spec) -> anyhow::Result<Rc<Watcher>> {
    let watcher = Watcher::new("opening")?;
    let uuid = run(spec, &Setup::reading(), &watcher, |world, disk| async move {
        ScannedDisk::scan(&world, &disk).await.map(|scanned| scanned.uuid())
    })?;
    let Some(uuid) = uuid else { bail!("stopped: nothing was written") };
    let uuid = uuid.map_err(|error| explain(&on.device, error))?;
    may_change(spec).with_context(|| format!("store {}", uuid_text(&uuid)))?;
    Ok(watcher)
}

async fn open(recovery: Recovery, world: &World, disk: &Disk) -> anyhow::Result<Store> {
    let scanned = ScannedDisk::scan(world, disk).await?;
    let recovered = match recovery.full_scan {
        true => scanned.recover_by_full_scan(Options::default()).await,
        false => scanned.recover(Options::default()).await,
    };
    let (store, report) = recovered?.start().await?;
    isotherm_node::note_doubt(&store, &report).await;
    Ok(store)
}

fn identity_json(identity: &Identity) -> Value {
    json!({
        "key": identity.key.to_string(),
        "bytes": identity.len_bytes,
        "sequence": identity.sequence,
        "epoch": identity.epoch,
        "codec": identity.codec,
        "put_s": identity.put_s,
    })
}

/// Reads `A..B` for clap.
fn range(text: &str) -> Result<Range<u32>, String> {
    let parse = || {
        let (from, to) = text.split_once("..")?;
        let range = from.parse().ok()?..to.parse().ok()?;
        (range.start <= range.end).then_some(range)
    };
    parse().ok_or_else(|| "two numbers of bytes, such as 4096..8192, are expected".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_are_read() {
        assert_eq!(range("0..10"), Ok(0..10));
        assert_eq!(range("7..7"), Ok(7..7));
        for wrong in ["", "5", "9..3", "a..b", "1..-2", "1..2..3"] {
            assert!(range(wrong).is_err(), "{wrong}");
        }
    }
}

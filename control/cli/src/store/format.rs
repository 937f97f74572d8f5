//! `isotherm store format`: makes a disk an empty store.

use std::process::ExitCode;

use anyhow::{anyhow, ensure};
use isotherm_host::OsEntropy;
use isotherm_seam::{Domain, Entropy};
use isotherm_store::sched::{CalibrateOptions, DiskProfile, calibrate};
use isotherm_store::{BLOCK_BYTES, FormatError, FormatOptions, uuid_text};
use serde_json::json;

use super::rig::{Setup, Watcher, run};
use super::{On, may_destroy, words};

const UUID: Domain = Domain::new("cli.store.uuid");

/// Makes a disk an empty store.
///
/// Refuses a disk that holds a store or anything else that is known, unless --destroy names it.
/// A disk that is mounted, held or swapped to is refused in any case.
#[derive(clap::Args)]
#[command(after_help = "Examples:
  isotherm store format '/tmp/disk.img?size=1G'
  isotherm store format /dev/sdb --calibrate
  isotherm store format /dev/sdb --destroy ZXA01234")]
pub(super) struct FormatCommand {
    #[command(flatten)]
    on: On,
    /// Bytes of an extent: 64K to 256M; a zoned disk has its own. By default 256M, or less where
    /// the disk would not have 64 of them
    #[arg(long, value_name = "SIZE", value_parser = words::bytes)]
    extent: Option<u64>,
    /// Longest payload of a shard; by default 1M, or what fits half an extent
    #[arg(long, value_name = "SIZE", value_parser = words::bytes)]
    payload_max: Option<u64>,
    /// The disk's own name, 32 hexadecimal digits; drawn by chance where absent
    #[arg(long, value_name = "UUID")]
    uuid: Option<String>,
    /// Measure the disk first, so that its requests are well ordered: half a minute of reads
    #[arg(long)]
    calibrate: bool,
    /// This disk (its path or serial) may be overwritten although it holds something
    #[arg(long, value_name = "DISK")]
    destroy: Vec<String>,
}

impl FormatCommand {
    pub(super) fn run(self) -> anyhow::Result<ExitCode> {
        let spec = self.on.spec()?;
        let uuid = match &self.uuid {
            Some(text) => parse_uuid(text)?,
            None => drawn_uuid()?,
        };
        let payload_max = self.payload_max.map(u32::try_from).transpose()?;
        let extent_blocks = self.extent.map(extent_blocks).transpose()?;
        may_destroy(&spec, &self.destroy)?;
        let force = !self.destroy.is_empty();
        let watcher = Watcher::new("formatting")?;
        let measures = self.calibrate;
        let profile = usual_profile(&self.on.device);
        let watch = watcher.clone();
        let done = run(&spec, &Setup::writing(), &watcher, move |world, disk| async move {
            let mut options =
                FormatOptions { payload_max, force, profile, ..FormatOptions::new(uuid) };
            options.extent_blocks = match extent_blocks {
                Some(blocks) => Some(blocks),
                None => Some(usual_extent_blocks(disk.geometry().capacity_bytes())),
            };
            if measures {
                watch.phase("measuring");
                let profile =
                    calibrate(&world.handle, &disk, &world.pool, CalibrateOptions::default())
                        .await?;
                options.profile = profile.to_bytes().to_vec();
                watch.phase("formatting");
            }
            isotherm_store::format(&world, &disk, &options).await.map_err(explain)?;
            let scanned = isotherm_store::ScannedDisk::scan(&world, &disk).await?;
            let checkpoint = scanned.checkpoints().next().expect("it was just written").clone();
            anyhow::Ok((scanned.cut(), checkpoint.payload_max))
        })?;
        let (cut, payload_max) = done.expect("a job that writes is not cut short")?;
        let extent_bytes = u64::from(cut.extent_blocks) * BLOCK_BYTES as u64;
        if self.on.json {
            let told = json!({
                "uuid": uuid_text(&uuid),
                "extents": cut.extents,
                "extent_bytes": extent_bytes,
                "zoned": cut.zoned,
                "payload_bytes_max": payload_max,
            });
            println!("{told:#}");
        } else {
            println!(
                "{}: an empty store, {}\n{} extents of {}, shards of at most {payload_max} bytes",
                self.on.device,
                uuid_text(&uuid),
                cut.extents,
                words::size(extent_bytes),
            );
        }
        Ok(ExitCode::SUCCESS)
    }
}

/// Formats a disk of a cluster: a file that is made, or a device that may be overwritten.
pub(crate) fn format_disk(
    device: &str,
    uuid: [u8; 16],
    create_bytes: Option<u64>,
    destroy: &[String],
) -> anyhow::Result<()> {
    let spec = isotherm_block::Spec::parse(device)?;
    let destroy: Vec<String> = match spec.path() {
        Some(path) => {
            let named = |name: &&String| std::path::Path::new(name) == path;
            destroy.iter().filter(named).cloned().collect()
        }
        None => Vec::new(),
    };
    may_destroy(&spec, &destroy)?;
    let force = !destroy.is_empty();
    let watcher = Watcher::new("formatting")?;
    let setup = Setup { create_bytes, ..Setup::writing() };
    let profile = usual_profile(device);
    let done = run(&spec, &setup, &watcher, move |world, disk| async move {
        let bytes = disk.geometry().capacity_bytes();
        let options = FormatOptions {
            extent_blocks: Some(usual_extent_blocks(bytes)),
            force,
            profile,
            ..FormatOptions::new(uuid)
        };
        isotherm_store::format(&world, &disk, &options).await.map_err(explain)
    })?;
    done.expect("a job that writes is not cut short")
}

fn explain(error: FormatError) -> anyhow::Error {
    let hint = match error {
        FormatError::Occupied { .. } => ": to overwrite it, add --destroy with the disk's path",
        FormatError::Unfit(_) => ": see --extent",
        _ => "",
    };
    anyhow!("{error}{hint}")
}

/// What is known of a device before it was measured: that an emulated mechanical disk is one.
/// Without that its requests would be handed to it as to flash, all at once and in no order.
pub(crate) fn usual_profile(device: &str) -> Vec<u8> {
    let is_mechanical = device.split(',').any(|layer| layer.starts_with("hdd:"));
    if is_mechanical { DiskProfile::nearline().to_bytes().to_vec() } else { Vec::new() }
}

/// 256 MiB, and on small disks what gives 64 extents, so that the cleaner has room.
pub(crate) fn usual_extent_blocks(disk_bytes: u64) -> u32 {
    let mut blocks = isotherm_store::EXTENT_BLOCKS_DEFAULT;
    while blocks > 16 && disk_bytes / (u64::from(blocks) * BLOCK_BYTES as u64) < 64 {
        blocks /= 2;
    }
    blocks
}

fn extent_blocks(bytes: u64) -> anyhow::Result<u32> {
    let block = BLOCK_BYTES as u64;
    ensure!(
        bytes.is_multiple_of(block) && (16..=65_536).contains(&(bytes / block)),
        "--extent {bytes}: expected whole blocks of 4 KiB, 64K to 256M"
    );
    Ok((bytes / block) as u32)
}

/// A version 4 UUID.
pub(super) fn drawn_uuid() -> anyhow::Result<[u8; 16]> {
    let entropy = OsEntropy::new()?;
    let high = entropy.next_u64(UUID, 0) & !0xf000 | 0x4000;
    let low = entropy.next_u64(UUID, 1) & !(3 << 62) | 1 << 63;
    Ok((u128::from(high) << 64 | u128::from(low)).to_be_bytes())
}

fn parse_uuid(text: &str) -> anyhow::Result<[u8; 16]> {
    let digits: String = text.chars().filter(|c| *c != '-').collect();
    let number = u128::from_str_radix(&digits, 16).ok().filter(|_| digits.len() == 32);
    let number =
        number.ok_or_else(|| anyhow!("--uuid {text}: 32 hexadecimal digits are expected"))?;
    Ok(number.to_be_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_emulated_disk_has_an_arm_from_the_start() {
        let profile = usual_profile("fault:eio=1e-4,hdd:exos-x24,file:/tmp/d");
        assert_eq!(profile, DiskProfile::nearline().to_bytes());
        assert!(usual_profile("memory:1G").is_empty() && usual_profile("/tmp/hdd:x").is_empty());
    }

    #[test]
    fn a_small_disk_has_enough_extents() {
        assert_eq!(usual_extent_blocks(24 << 40), 65_536);
        assert_eq!(usual_extent_blocks(1 << 30), 4096);
        assert_eq!(usual_extent_blocks(1 << 20), 16);
        assert_eq!(extent_blocks(1 << 20).ok(), Some(256));
        assert!(extent_blocks(5000).is_err() && extent_blocks(1 << 30).is_err());
    }

    #[test]
    fn names_are_read_with_and_without_dashes() {
        let uuid = drawn_uuid().unwrap();
        assert_eq!((uuid[6] >> 4, uuid[8] >> 6), (4, 2));
        assert_eq!(parse_uuid(&uuid_text(&uuid)).unwrap(), uuid);
        let dashed = "12345678-9abc-4def-8123-456789abcdef";
        assert_eq!(uuid_text(&parse_uuid(dashed).unwrap()), dashed.replace('-', ""));
        assert!(parse_uuid("12").is_err());
    }
}

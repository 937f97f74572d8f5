//! `isotherm store dump`: the blocks of an extent, decoded, one line each.

use std::process::ExitCode;

use anyhow::{Context, bail, ensure};
use isotherm_store::layout::{Kill, Kills, Kind, Part, Tomb};
use isotherm_store::offline::{Dumped, Meaning, PayloadState, Sound};
use isotherm_store::{ExtentId, OpenError, ScannedDisk};
use serde_json::{Value, json};

use super::rig::{Setup, Watcher, run};
use super::{On, explain, words};

/// Prints the blocks of an extent, decoded, one line each. Writes nothing.
///
/// A record is one line for each of its segments, with the payload behind it. Of a single block
/// all fields are told; --hex adds its bytes. The meta extents are 0 and half the number of
/// extents.
#[derive(clap::Args)]
#[command(after_help = "Examples:
  isotherm store dump /dev/sdb 17
  isotherm store dump /dev/sdb 17:260 --hex
  isotherm store dump --json /tmp/disk.img 0")]
pub(super) struct DumpCommand {
    #[command(flatten)]
    on: On,
    /// Which extent, and which of its blocks
    #[arg(value_name = "EXTENT[:BLOCK]")]
    place: String,
    /// The bytes of the block too; lines of zeros are left out
    #[arg(long)]
    hex: bool,
}

impl DumpCommand {
    pub(super) fn run(self) -> anyhow::Result<ExitCode> {
        let spec = self.on.spec()?;
        let (extent, block) = parse(&self.place)?;
        if self.hex && block.is_none() {
            bail!("--hex: name one block, as in {extent}:0");
        }
        let watcher = Watcher::new("reading")?;
        let watch = watcher.clone();
        let hex = self.hex;
        let told = run(&spec, &Setup::reading(), &watcher, move |world, disk| async move {
            let scanned = ScannedDisk::scan(&world, &disk).await?;
            let cut = scanned.cut();
            let blocks = match block {
                Some(block) => block..block + 1,
                None => 0..cut.extent_blocks,
            };
            if extent >= cut.extents || blocks.end > cut.extent_blocks {
                return Ok(Err(cut));
            }
            let mut told: Vec<Dumped> = Vec::new();
            let mut dump = scanned.dump(ExtentId(extent), blocks.clone());
            while let Some(piece) = dump.next().await? {
                join(&mut told, piece);
                if !watch.goes_on() {
                    break;
                }
            }
            let bytes = match hex {
                true => scanned.block_bytes(ExtentId(extent), blocks.start).await?,
                false => None,
            };
            Ok(Ok((told, bytes)))
        })?;
        let Some(told) = told else {
            eprintln!("isotherm: stopped before anything was read");
            return Ok(ExitCode::from(130));
        };
        let told = told.map_err(|error: OpenError| explain(&self.on.device, error))?;
        let (told, bytes) = match told {
            Ok(told) => told,
            Err(cut) => bail!(
                "{}: there are extents 0 to {} of blocks 0 to {}",
                self.place,
                cut.extents - 1,
                cut.extent_blocks - 1
            ),
        };
        if self.on.json {
            let rows: Vec<Value> = told.iter().map(|piece| to_json(extent, piece)).collect();
            println!("{:#}", Value::from(rows));
        } else {
            for piece in &told {
                println!("{}", line(piece));
                if block.is_some() {
                    details(piece).iter().for_each(|detail| println!("        {detail}"));
                }
            }
            if let Some(bytes) = bytes {
                print!("{}", hexdump(&bytes));
            }
        }
        if !watcher.goes_on() {
            eprintln!("isotherm: stopped before its end");
            return Ok(ExitCode::from(130));
        }
        Ok(ExitCode::SUCCESS)
    }
}

fn parse(text: &str) -> anyhow::Result<(u32, Option<u32>)> {
    let (extent, block) = match text.split_once(':') {
        Some((extent, block)) => (extent, Some(block)),
        None => (text, None),
    };
    let number = |text: &str| {
        text.parse::<u32>().with_context(|| format!("`{text}`: EXTENT or EXTENT:BLOCK is expected"))
    };
    let block = block.map(number).transpose()?;
    ensure!(block != Some(u32::MAX), "no extent has so many blocks");
    Ok((number(extent)?, block))
}

/// Zeros and bytes of several windows are one line.
fn join(told: &mut Vec<Dumped>, piece: Dumped) {
    match told.last_mut() {
        Some(last)
            if last.meaning == piece.meaning
                && matches!(
                    piece.meaning,
                    Meaning::Zero | Meaning::Bytes | Meaning::Unreadable
                ) =>
        {
            last.blocks += piece.blocks;
        }
        _ => told.push(piece),
    }
}

fn line(piece: &Dumped) -> String {
    let at = match piece.blocks {
        1 => format!("{:>6}", piece.block),
        blocks => format!("{:>6}+{blocks}", piece.block),
    };
    let text = match &piece.meaning {
        Meaning::Unreadable => "can't be read".to_owned(),
        Meaning::Zero => "zeros".to_owned(),
        Meaning::Bytes => "bytes without a check block in front".to_owned(),
        Meaning::Broken(why) => format!("check block: {why}"),
        Meaning::Block { kind, origin, stray, sequence, body, .. } => {
            let mut text = format!("{:<10} life {:<6}", words::kind(*kind), origin.incarnation);
            match body {
                Err(why) => text.push_str(&format!(" #{sequence}  {why}")),
                Ok(sound) => text.push_str(&body_text(*kind, *sequence, sound)),
            }
            if let Some(why) = stray {
                text.push_str(&format!("  STRAY: {why} ({}:{})", origin.extent.0, origin.block));
            }
            text
        }
    };
    format!("{at:<12}{text}")
}

fn body_text(kind: Kind, sequence: u64, sound: &Sound) -> String {
    match sound {
        Sound::Segment { head, shape, segment, payload, .. } => {
            let name = match (kind, Part::from_key(&head.key)) {
                (Kind::Checkpoint, Some(part)) => {
                    format!("number {} part {} of {}", part.number, part.part, part.parts)
                }
                (Kind::Run, _) => format!("run {} chunk {}", head.key.object, head.key.stripe),
                _ => head.key.to_string(),
            };
            let crc = match payload {
                PayloadState::Whole => "crc ok".to_owned(),
                PayloadState::Damaged { unit } => format!("CRC WRONG in unit {unit}"),
                PayloadState::Unreadable => "payload CAN'T BE READ".to_owned(),
                PayloadState::Cut => "goes BEYOND the extent".to_owned(),
            };
            format!(
                " #{sequence:<6} {name}  {} bytes, segment {segment} of {}, {crc}",
                shape.payload_bytes,
                shape.segments()
            )
        }
        Sound::Tombs(tombs) => {
            let keys: Vec<String> = tombs.iter().map(|tomb| tomb.key.to_string()).collect();
            let most = tombs.iter().map(|tomb| tomb.sequence).max().unwrap_or(sequence);
            format!(" #{most:<6} {} tombstones: {}", tombs.len(), keys.join(" "))
        }
        Sound::Mark(mark) => {
            format!("  batch from block {}, {} records", mark.first_block, mark.records)
        }
        Sound::Head(head) => match head.stream {
            None => format!("  emptied {}", words::date(head.opened_s)),
            Some(stream) => {
                format!("  {}, opened {}", words::stream(stream), words::date(head.opened_s))
            }
        },
    }
}

/// What does not fit a line.
fn details(piece: &Dumped) -> Vec<String> {
    let Meaning::Block { origin, durable, crc, body, .. } = &piece.meaning else {
        return Vec::new();
    };
    let mut told = vec![
        format!("disk {}", isotherm_store::uuid_text(&origin.uuid)),
        format!("check block's own crc {crc:08x}, ok; {durable} blocks before it were durable"),
    ];
    match body {
        Ok(Sound::Segment { head, cells, .. }) => {
            let expires = words::date(head.expires_s);
            let put = words::date(head.put_s);
            told.push(format!("put {put}, expires {expires}, epoch {}", head.epoch));
            told.push(format!("codec {}, {cells} cell crcs", head.codec));
            told.push(format!("kills {}", kills(&head.kills)));
            let supersedes =
                head.supersedes.map_or("nothing".to_owned(), |place| words::place(&place));
            told.push(format!("supersedes {supersedes}"));
        }
        Ok(Sound::Tombs(tombs)) => told.extend(tombs.iter().map(tomb_text)),
        Ok(Sound::Mark(mark)) => told.push(format!("crc of heads {:08x}", mark.heads_crc)),
        Ok(Sound::Head(head)) => told.push(format!("expires on day {}", head.expires_day)),
        Err(_) => {}
    }
    told
}

fn tomb_text(tomb: &Tomb) -> String {
    format!(
        "{} #{} deleted {}, epoch {}, born {}{}, kills {}",
        tomb.key,
        tomb.sequence,
        words::date(tomb.deleted_s),
        tomb.epoch,
        tomb.born,
        if tomb.held { ", held" } else { "" },
        kills(&tomb.kills)
    )
}

fn kills(kills: &Kills) -> String {
    let named: Vec<String> = kills
        .iter()
        .map(|Kill { extent, incarnation }| format!("extent {} life {incarnation}", extent.0))
        .collect();
    match (named.is_empty(), kills.has_more()) {
        (true, false) => "nothing".to_owned(),
        (_, more) => named.join(", ") + if more { " and more" } else { "" },
    }
}

fn to_json(extent: u32, piece: &Dumped) -> Value {
    let mut row = json!({"extent": extent, "block": piece.block, "blocks": piece.blocks});
    match &piece.meaning {
        Meaning::Unreadable => row["what"] = "unreadable".into(),
        Meaning::Zero => row["what"] = "zeros".into(),
        Meaning::Bytes => row["what"] = "bytes".into(),
        Meaning::Broken(why) => {
            row["what"] = "broken".into();
            row["why"] = why.to_string().into();
        }
        Meaning::Block { kind, origin, stray, sequence, durable, crc, body } => {
            row["what"] = words::kind(*kind).into();
            row["uuid"] = isotherm_store::uuid_text(&origin.uuid).into();
            row["incarnation"] = origin.incarnation.into();
            row["sequence"] = (*sequence).into();
            row["durable_blocks"] = (*durable).into();
            row["crc"] = format!("{crc:08x}").into();
            row["stray"] = stray.map(|why| why.to_string()).into();
            match body {
                Err(why) => row["why"] = why.to_string().into(),
                Ok(sound) => row["body"] = body_json(sound),
            }
        }
    }
    row
}

fn body_json(sound: &Sound) -> Value {
    let kill_rows = |kills: &Kills| -> Vec<Value> {
        kills
            .iter()
            .map(|kill| json!({"extent": kill.extent.0, "incarnation": kill.incarnation}))
            .collect()
    };
    match sound {
        Sound::Segment { head, shape, segment, payload, cells } => json!({
            "key": head.key.to_string(),
            "epoch": head.epoch,
            "codec": head.codec,
            "put_s": head.put_s,
            "expires_s": head.expires_s,
            "payload_bytes": shape.payload_bytes,
            "segment": segment,
            "segments": shape.segments(),
            "payload": match payload {
                PayloadState::Whole => "ok",
                PayloadState::Damaged { .. } => "damaged",
                PayloadState::Unreadable => "unreadable",
                PayloadState::Cut => "cut",
            },
            "cells": cells,
            "kills": kill_rows(&head.kills),
            "kills_more": head.kills.has_more(),
            "supersedes": head.supersedes.as_ref().map(words::place),
        }),
        Sound::Tombs(tombs) => tombs
            .iter()
            .map(|tomb| {
                json!({
                    "key": tomb.key.to_string(), "sequence": tomb.sequence, "epoch": tomb.epoch,
                    "deleted_s": tomb.deleted_s, "held": tomb.held, "born": tomb.born,
                    "kills": kill_rows(&tomb.kills), "kills_more": tomb.kills.has_more(),
                    "supersedes": tomb.supersedes.as_ref().map(words::place),
                })
            })
            .collect(),
        Sound::Mark(mark) => json!({
            "first_block": mark.first_block, "records": mark.records,
            "heads_crc": format!("{:08x}", mark.heads_crc),
        }),
        Sound::Head(head) => json!({
            "stream": head.stream.map(words::stream),
            "opened_s": head.opened_s, "expires_day": head.expires_day,
        }),
    }
}

/// Sixteen bytes a line; lines of zeros are left out.
fn hexdump(bytes: &[u8]) -> String {
    let mut text = String::new();
    for (number, row) in bytes.chunks(16).enumerate() {
        if row.iter().all(|byte| *byte == 0) {
            continue;
        }
        let hex: Vec<String> = row
            .chunks(4)
            .map(|word| word.iter().map(|byte| format!("{byte:02x}")).collect())
            .collect();
        let plain = |byte: &u8| if byte.is_ascii_graphic() { *byte as char } else { '.' };
        let ascii: String = row.iter().map(plain).collect();
        text.push_str(&format!("{:04x}  {}  {ascii}\n", number * 16, hex.join(" ")));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_read() {
        assert_eq!(parse("17").unwrap(), (17, None));
        assert_eq!(parse("17:3").unwrap(), (17, Some(3)));
        for wrong in ["", "x", "1:", "1:2:3", "-1", "1:4294967295"] {
            assert!(parse(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_hexdump_leaves_zeros_out() {
        let mut bytes = [0; 64];
        bytes[..4].copy_from_slice(b"IsoB");
        bytes[63] = 0xff;
        let text = hexdump(&bytes);
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines.len(), 2);
        assert_eq!(lines[0], "0000  49736f42 00000000 00000000 00000000  IsoB............");
        assert!(lines[1].starts_with("0030  "));
    }
}

//! Debian's fio on the other side: each checks what the other wrote, and each finds the one byte
//! that was flipped. Without fio these say so and pass.

use std::path::Path;
use std::process::{Command, Output};

use isotherm_verify::{Format, Kind, Pattern, Stamp};

const BLOCK: usize = 4096;
const BLOCKS: usize = 64;

fn fio(file: &Path, rw: &str, more: &[String]) -> Option<Output> {
    let run = Command::new("fio")
        .arg(format!("--filename={}", file.display()))
        .args(["--name=j", "--ioengine=psync", "--size=256k", "--bs=4k", "--verify_fatal=1"])
        .args(["--verify_state_save=0", &format!("--rw={rw}")])
        .args(more)
        .current_dir(file.parent().unwrap())
        .output();
    match run {
        Ok(output) => Some(output),
        Err(error) => {
            println!("skipped: fio can't be run: {error}");
            None
        }
    }
}

/// Every kind alone; some with intervals, an offset, a pattern: as fio's options and as ours.
/// fio has had `pattern_hdr` since later than Debian's.
fn cases() -> Vec<(Vec<String>, Format)> {
    let alone = Kind::ALL.iter().map(|(_, kind)| *kind);
    let alone = alone.filter(|kind| !matches!(kind, Kind::Null | Kind::PatternHeader));
    let alone = alone.map(|kind| (kind, None, 0, kind.needs_pattern()));
    let more = [
        (Kind::Crc32c, Some(1024), 0, false),
        (Kind::Sha256, Some(2048), 256, false),
        (Kind::Md5, Some(1024), 100, true),
        (Kind::Meta, None, 0, true),
    ];
    let case = |(kind, interval, offset, patterned): (Kind, Option<u32>, u32, bool)| {
        let mut options = vec![format!("--verify={}", kind.word())];
        options.extend(interval.map(|bytes| format!("--verify_interval={bytes}")));
        options.extend((offset > 0).then(|| format!("--verify_offset={offset}")));
        let pattern = patterned.then(|| {
            options.push("--verify_pattern=\"abc\"%o0x7f".into());
            Pattern::new(b"abc\0\0\0\0\0\0\0\0\x7f".to_vec(), vec![3])
        });
        let format = Format::new(kind, interval, offset, pattern, BLOCK as u32).unwrap();
        (options, format)
    };
    alone.chain(more).map(case).collect()
}

fn check(format: &Format, bytes: &[u8]) -> Result<(), String> {
    for (index, block) in bytes.to_vec().chunks_mut(BLOCK).enumerate() {
        let found = format.check((index * BLOCK) as u64, None, block);
        found.map_err(|blemish| blemish.to_string())?;
    }
    Ok(())
}

/// Of these kinds not every byte is covered, in fio as here.
fn is_blind(format: &Format) -> bool {
    format.kind() == Kind::Sha512 || (format.kind() == Kind::Meta && !format.fills())
}

#[test]
fn what_fio_wrote_is_accepted_and_a_flipped_byte_is_not() {
    let dir = tempfile::tempdir().unwrap();
    for (options, format) in cases() {
        let file = dir.path().join("by-fio");
        let _ = std::fs::remove_file(&file);
        let more = [options.clone(), vec!["--do_verify=0".into()]].concat();
        let Some(output) = fio(&file, "write", &more) else { return };
        assert!(output.status.success(), "{more:?}: {output:?}");
        let mut bytes = std::fs::read(&file).unwrap();
        assert_eq!(bytes.len(), BLOCK * BLOCKS);
        check(&format, &bytes).unwrap_or_else(|said| panic!("{options:?}: {said}"));
        bytes[BLOCK * 7 + 3000] ^= 1;
        let found = check(&format, &bytes);
        assert!(found.is_err() || is_blind(&format), "{options:?}");
    }
}

#[test]
fn what_was_written_here_is_accepted_by_fio_and_a_flipped_byte_is_not() {
    let dir = tempfile::tempdir().unwrap();
    for (options, format) in cases() {
        let file = dir.path().join("by-us");
        let mut bytes: Vec<u8> = (0..BLOCK * BLOCKS).map(|i| (i * 7 % 253) as u8).collect();
        for (index, block) in bytes.chunks_mut(BLOCK).enumerate() {
            let stamp = Stamp { seed: 42, time: (1, 2), thread: 1, number: index as u16 };
            format.seal((index * BLOCK) as u64, &stamp, block);
        }
        std::fs::write(&file, &bytes).unwrap();
        let Some(output) = fio(&file, "read", &options) else { return };
        assert!(output.status.success(), "{options:?}: {output:?}");
        bytes[BLOCK * 7 + 3000] ^= 1;
        std::fs::write(&file, &bytes).unwrap();
        let Some(output) = fio(&file, "read", &options) else { return };
        assert!(!output.status.success() || is_blind(&format), "{options:?}: {output:?}");
    }
}

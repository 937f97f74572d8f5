//! Whether a disk may have lost something that it had acknowledged.
//!
//! What must always hold: a disk that found harm when it was opened says so with every answer, also
//! after later starts, until a repair has compared all that it holds with other members
//! (docs/decisions/0007-a-disk-that-was-harmed-is-doubted.md says why). It is noted before the disk
//! serves anything.
//!
//! The note is a shard of the disk's own, under a key that no object can have:
//!
//! ```text
//!  | magic 8 | doubt 1 | 0 7 |
//! ```
//!
//! It is never deleted: a put of a key whose tombstone is still there is refused, and so would be
//! the next note. Once all was compared it says that there is no doubt.

use isotherm_seam::Key;
use isotherm_store::{Delete, GetError, Put, PutError, RecoveryReport, Store};
use isotherm_wire::{Ask, Doubt};

const MAGIC: [u8; 8] = *b"IsoDbt01";
const LEN: usize = 16;

/// The group of what a node keeps on a disk for itself. No map has so many groups.
const OWN_GROUP: u32 = u32::MAX;

const KEY: Key = Key { group: OWN_GROUP, object: 1, stripe: 0, position: 0 };
/// Where it was when it was deleted in the end: a tombstone may lie there.
const OLD_KEY: Key = Key { object: 0, ..KEY };

/// Of a disk: the doubt, and the number by which it is ended. The number is that of the checkpoint
/// with which the disk was opened, so whoever has compared what was there before the last start
/// has compared too little.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) struct Doubted {
    pub(crate) doubt: Doubt,
    pub(crate) number: u64,
}

/// What recovery saw.
fn seen(report: &RecoveryReport) -> Doubt {
    let has_harm = !report.holes.is_empty() || report.unreadable_blocks > 0 || report.full_scan;
    match (has_harm, report.clean) {
        (true, _) => Doubt::Harmed,
        // A batch or a checkpoint that is not whole is what any power cut may leave.
        (false, false) => Doubt::Unclean,
        (false, true) => Doubt::None,
    }
}

/// What is to be thought of a disk that was just opened. Notes it there before it is served.
pub(crate) async fn weigh(store: &Store, report: &RecoveryReport) -> Doubted {
    let noted = noted(store).await;
    let doubt = noted.max(seen(report));
    if doubt > noted {
        // A disk that can't take even this is fenced, as a rule. It is doubted while it is open, and
        // can't be closed in good order, so it is doubted the next time too.
        let _ = note(store, doubt).await;
    }
    Doubted { doubt, number: store.status().checkpoint }
}

/// Notes on a disk what recovery saw, as a node does: for tools that open one and close it again, so
/// that the next to open it is not told that all is well.
pub async fn note_doubt(store: &Store, report: &RecoveryReport) {
    weigh(store, report).await;
}

async fn noted(store: &Store) -> Doubt {
    noted_at(store, KEY).await.max(noted_at(store, OLD_KEY).await)
}

async fn noted_at(store: &Store, key: Key) -> Doubt {
    match store.read(key).await {
        Ok(shard) => {
            let (buf, spans) = shard.into_parts();
            let mut bytes = Vec::with_capacity(LEN);
            for span in spans {
                bytes.extend_from_slice(&buf[span.start as usize..span.end as usize]);
            }
            match bytes.strip_prefix(&MAGIC) {
                Some(rest) if bytes.len() == LEN => Doubt::from_number(rest[0]),
                _ => Doubt::Harmed,
            }
        }
        Err(GetError::NotFound | GetError::Deleted) => Doubt::None,
        // It was noted, and the note has suffered.
        Err(_) => Doubt::Harmed,
    }
}

async fn note(store: &Store, doubt: Doubt) -> Result<(), PutError> {
    let mut buf = store.buffer(LEN).map_err(PutError::Buffer)?;
    let mut bytes = [0; LEN];
    bytes[..8].copy_from_slice(&MAGIC);
    bytes[8] = doubt as u8;
    buf.piece_mut(0).copy_from_slice(&bytes);
    // A full disk must be able to say so, too, and that it is over.
    store.put(Put { vital: true, ..Put::new(KEY) }, buf).await.map(|_| ())
}

/// All was compared: there is no doubt any more.
pub(crate) async fn end(store: &Store) -> Result<(), PutError> {
    if noted_at(store, KEY).await != Doubt::None {
        note(store, Doubt::None).await?;
    }
    store.delete(Delete::new(OLD_KEY)).await
}

/// Whether a key is the node's own: nobody else may name it, and listings leave it out.
pub(crate) fn is_own(key: &Key) -> bool {
    key.group == OWN_GROUP
}

/// Whether a request names a key that is the node's own.
pub(crate) fn names_own(ask: &Ask) -> bool {
    match ask {
        Ask::Put { key, .. }
        | Ask::Get { key, .. }
        | Ask::Reserve { key, .. }
        | Ask::Delete { key, .. }
        | Ask::Release { key }
        | Ask::Stat { key }
        | Ask::Verify { key } => is_own(key),
        Ask::List { .. } | Ask::Ping | Ask::Scrub | Ask::Status | Ask::Vouch { .. } => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use isotherm_store::{ExtentId, Hole};

    #[test]
    fn what_was_found_decides() {
        let clean = RecoveryReport { clean: true, ..RecoveryReport::default() };
        let cut = RecoveryReport { clean: false, ..RecoveryReport::default() };
        assert_eq!(seen(&clean), Doubt::None);
        assert_eq!(seen(&cut), Doubt::Unclean);
        let torn = RecoveryReport { records_torn: 3, checkpoint_damaged: true, ..cut.clone() };
        assert_eq!(seen(&torn), Doubt::Unclean);
        for report in [clean, cut] {
            let dark = RecoveryReport { unreadable_blocks: 1, ..report.clone() };
            assert_eq!(seen(&dark), Doubt::Harmed);
            let hole = Hole { extent: ExtentId(7), block: 3, blocks: 1 };
            let holed = RecoveryReport { holes: vec![hole], ..report.clone() };
            assert_eq!(seen(&holed), Doubt::Harmed);
            let scanned = RecoveryReport { full_scan: true, ..report };
            assert_eq!(seen(&scanned), Doubt::Harmed);
        }
    }
}

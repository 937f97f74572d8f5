//! The store's words in the wire's. One table each, so that a new cause is named in one place.

use isotherm_store::sched::Class as DiskClass;
use isotherm_store::{GetError, Identity, PutError};
use isotherm_wire::{Class, Failure, ShardInfo};

pub(crate) fn info(identity: &Identity) -> ShardInfo {
    ShardInfo {
        key: identity.key,
        epoch: identity.epoch,
        codec: identity.codec,
        len_bytes: identity.len_bytes,
        sequence: identity.sequence,
        put_s: identity.put_s,
    }
}

pub(crate) fn put_failure(error: PutError) -> Failure {
    match error {
        PutError::Full => Failure::Full,
        PutError::IndexFull => Failure::IndexFull,
        PutError::Deleted => Failure::Deleted,
        PutError::Mismatch => Failure::Mismatch,
        PutError::TooLong => Failure::TooLong,
        PutError::Fenced => Failure::Fenced,
        PutError::Busy { expected } => Failure::Busy { expected },
        PutError::Read(_) => Failure::Io,
        PutError::Damaged => Failure::Damaged,
        PutError::Buffer(_) => Failure::NoBuffer,
        PutError::Closed => Failure::Stopping,
        PutError::Retired => Failure::Retired,
    }
}

pub(crate) fn get_failure(error: GetError) -> Failure {
    match error {
        GetError::NotFound => Failure::NotFound,
        GetError::Deleted => Failure::Deleted,
        GetError::OutOfRange { .. } => Failure::OutOfRange,
        GetError::Io(_) => Failure::Io,
        GetError::Damaged { .. } => Failure::Damaged,
        GetError::Busy { expected } => Failure::Busy { expected },
        GetError::Late => Failure::Late,
        GetError::Buffer(_) => Failure::NoBuffer,
    }
}

pub(crate) fn disk_class(class: Class) -> DiskClass {
    match class {
        Class::Foreground => DiskClass::ForegroundRead,
        Class::Critical => DiskClass::CriticalRepair,
        Class::Repair => DiskClass::Repair,
        Class::Rebalance => DiskClass::Rebalance,
        Class::Scrub => DiskClass::Scrub,
    }
}

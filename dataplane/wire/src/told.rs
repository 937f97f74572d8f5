//! Short messages that must not wait behind payload, in order, either way.
//!
//! ```text
//! | kind 1 | version 1 | the kind's fields |
//! ```
//!
//! What must always hold: a message of a kind that this build does not know is passed over, so
//! that a later version may add kinds.

use crate::{VERSION, VERSION_LEAST, WireError};

/// A told message.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Told {
    /// The first message of each side: which versions it understands, and how new its cluster
    /// map is (0: it has none).
    Hello {
        /// The oldest.
        least: u8,
        /// The newest.
        newest: u8,
        /// Of its cluster map.
        map_version: u64,
    },
    /// The sender stops: start no more calls, those that run are answered.
    GoAway,
    /// The sender has this version of the cluster map by now.
    MapNews {
        /// Its version.
        map_version: u64,
    },
    /// From a disk to whoever reserved a read: its arm is about to come to it. The answer is
    /// [`Told::Grant`], [`Told::Park`] or [`Told::Drop`]; without one the arm goes on to others.
    Claim {
        /// Of the reservation.
        number: u64,
    },
    /// Serve a reserved read, whether it was claimed or not.
    Grant {
        /// Of the reservation.
        number: u64,
    },
    /// A reserved read is not to be claimed for now.
    Park {
        /// Of the reservation.
        number: u64,
    },
    /// A parked read is to be claimed again.
    Wake {
        /// Of the reservation.
        number: u64,
    },
    /// A reserved read is not wanted any more; its request is not answered.
    Drop {
        /// Of the reservation.
        number: u64,
    },
    /// From a disk: a read that was reserved to begin at once has begun.
    Begun {
        /// Of the reservation.
        number: u64,
    },
    /// From a disk: it can't begin at once, and waits to be claimed.
    Waits {
        /// Of the reservation.
        number: u64,
    },
    /// Of a kind that this build does not know.
    Unknown {
        /// Which.
        kind: u8,
    },
}

const HELLO: u8 = 1;
const GO_AWAY: u8 = 2;
const MAP_NEWS: u8 = 3;
const CLAIM: u8 = 4;
const GRANT: u8 = 5;
const PARK: u8 = 6;
const WAKE: u8 = 7;
const DROP: u8 = 8;
const BEGUN: u8 = 9;
const WAITS: u8 = 10;

impl Told {
    /// This build's greeting.
    pub fn hello(map_version: u64) -> Told {
        Told::Hello { least: VERSION_LEAST, newest: VERSION, map_version }
    }

    /// The newest version that both sides speak, if there is one.
    pub fn agreed(least: u8, newest: u8) -> Option<u8> {
        let version = newest.min(VERSION);
        (version >= least.max(VERSION_LEAST)).then_some(version)
    }

    /// Its bytes.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(16);
        let kind = match self {
            Told::Hello { .. } => HELLO,
            Told::GoAway => GO_AWAY,
            Told::MapNews { .. } => MAP_NEWS,
            Told::Claim { .. } => CLAIM,
            Told::Grant { .. } => GRANT,
            Told::Park { .. } => PARK,
            Told::Wake { .. } => WAKE,
            Told::Drop { .. } => DROP,
            Told::Begun { .. } => BEGUN,
            Told::Waits { .. } => WAITS,
            Told::Unknown { kind } => *kind,
        };
        out.extend_from_slice(&[kind, VERSION]);
        match self {
            Told::Hello { least, newest, map_version } => {
                out.extend_from_slice(&[*least, *newest]);
                out.extend_from_slice(&map_version.to_le_bytes());
            }
            Told::MapNews { map_version: number }
            | Told::Claim { number }
            | Told::Grant { number }
            | Told::Park { number }
            | Told::Wake { number }
            | Told::Drop { number }
            | Told::Begun { number }
            | Told::Waits { number } => out.extend_from_slice(&number.to_le_bytes()),
            Told::GoAway | Told::Unknown { .. } => {}
        }
        out
    }

    /// From its bytes. What a later version appends is passed over.
    pub fn decode(bytes: &[u8]) -> Result<Told, WireError> {
        let cut = WireError::Body;
        let (&kind, rest) = bytes.split_first().ok_or(cut)?;
        let (_, rest) = rest.split_first().ok_or(cut)?;
        let number = |bytes: &[u8]| match bytes.first_chunk::<8>() {
            Some(bytes) => Ok(u64::from_le_bytes(*bytes)),
            None => Err(cut),
        };
        match kind {
            HELLO => {
                let [least, newest] = *rest.first_chunk::<2>().ok_or(cut)?;
                if least > newest {
                    return Err(WireError::Field { name: "versions" });
                }
                Ok(Told::Hello { least, newest, map_version: number(&rest[2..])? })
            }
            GO_AWAY => Ok(Told::GoAway),
            MAP_NEWS => Ok(Told::MapNews { map_version: number(rest)? }),
            CLAIM => Ok(Told::Claim { number: number(rest)? }),
            GRANT => Ok(Told::Grant { number: number(rest)? }),
            PARK => Ok(Told::Park { number: number(rest)? }),
            WAKE => Ok(Told::Wake { number: number(rest)? }),
            DROP => Ok(Told::Drop { number: number(rest)? }),
            BEGUN => Ok(Told::Begun { number: number(rest)? }),
            WAITS => Ok(Told::Waits { number: number(rest)? }),
            kind => Ok(Told::Unknown { kind }),
        }
    }
}

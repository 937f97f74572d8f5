//! What a frontend links: objects in, locators out, and the other way round.
//!
//! What must always hold: an object that was acknowledged is found again by its locator for as
//! long as no more is lost than its codec survives; a byte that is given is the byte that was put;
//! an object whose delete was acknowledged does not come back. Objects don't change, and their
//! numbers are never used again: all else follows from that.
//!
//! | file          | what it holds                                                       |
//! |---------------|---------------------------------------------------------------------|
//! | `client.rs`   | [`Client`]: what a frontend holds; [`ClientConfig`]                 |
//! | `locator.rs`  | [`Locator`]: what a frontend keeps of an object                     |
//! | `layout.rs`   | how an object is cut                                                |
//! | `manifest.rs` | which group each stripe of a long object went to                    |
//! | `put.rs`      | an object in                                                        |
//! | `get.rs`      | an object out                                                       |
//! | `read.rs`     | a stripe out: from its data cells, or from others                   |
//! | `steer.rs`    | the same by a policy                                                |
//! | `policy/`     | [`ReadPolicy`]: which disks serve a read, and when that is decided  |
//! | `loads.rs`    | what was seen of disks                                              |
//! | `pace.rs`     | which disks are slower than the others                              |
//! | `codecs.rs`   | codecs that are kept                                                |
//! | `delete.rs`   | tombstones                                                          |
//! | `doubt.rs`    | what disks give that may have lost a tombstone                      |
//! | `forgotten.rs` | what was deleted so long ago that only harmed disks have it         |
//! | `disks.rs`    | disks asked one by one                                              |
//! | `list.rs`     | what there is                                                       |
//! | `stat.rs`     | how an object is                                                    |
//! | `repair.rs`   | cells made again                                                    |
//! | `note.rs`     | a cell that could not be put                                        |
//! | `ask.rs`      | one question to one disk                                            |
//! | `links.rs`    | connections, and what is known of disks                             |
//! | `gather.rs`   | several questions at once                                           |
//! | `planted.rs`  | deliberate bugs, for the simulator that must find them              |
//! | `front.rs`    | `Bridge`: the client for programs on tokio (feature `tokio`)         |
//! | `error.rs`    | [`ClientError`]                                                     |

mod ask;
mod client;
mod codecs;
mod delete;
mod disks;
mod doubt;
mod error;
mod forgotten;
#[cfg(feature = "tokio")]
mod front;
mod gather;
mod get;
mod layout;
mod links;
mod list;
mod loads;
mod locator;
mod manifest;
mod note;
mod pace;
mod planted;
mod policy;
mod put;
mod read;
mod repair;
mod stat;
mod steer;

pub use client::{Client, ClientConfig, Counters};
pub use doubt::DoubtedDisk;
pub use error::{ClientError, Refusal};
#[cfg(feature = "tokio")]
pub use front::{Bridge, BridgeConfig, BridgeError, GetStream, PutStream};
pub use get::Download;
pub use layout::{CELL_BYTES_MAX, STRIPED_FROM_BYTES, cell_range, class_of, stripe_bytes};
pub use list::{ListFrom, ListedObject, ObjectPage};
pub use locator::{Class, Locator, LocatorError};
pub use manifest::STRIPES_MAX;
pub use planted::{Bug, Planted};
pub use policy::{ReadPolicy, UnknownPolicy};
pub use put::Upload;
pub use repair::{Healed, RepairReport};
pub use stat::ObjectStat;

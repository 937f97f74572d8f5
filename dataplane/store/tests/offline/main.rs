//! Tools on a disk that no store runs on, and the bytes of the format.

mod rig;
mod tools;

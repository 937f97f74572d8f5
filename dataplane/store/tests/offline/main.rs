//! Tools on a disk that no store runs on, and the bytes of the format.

mod golden;
mod image;
mod rig;
mod tools;

//! What a simulated disk does beyond the contract of all devices: power cuts, faults, records.

mod crash;
mod faults;
mod recorder;
mod rig;

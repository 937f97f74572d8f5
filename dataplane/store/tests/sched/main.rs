//! The disk scheduler over the mechanical disk, in virtual time: the same on every machine.

mod appends;
mod budgets;
mod calibration;
mod deadlines;
mod futures;
mod random;
mod reads;
mod reserved;
mod rig;
mod watch;

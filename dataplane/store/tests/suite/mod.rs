//! What the tests of the store share: plans, the rig they run on, the comparison with the model.

#![allow(dead_code, unreachable_pub, reason = "each test uses its part")]

pub mod plan;
pub mod real;
pub mod rig;
pub mod run;
pub mod shrink;
pub mod start;
pub mod tap;

/// A number from the environment.
pub fn number(name: &str) -> Option<u64> {
    let text = std::env::var(name).ok()?;
    Some(text.parse().unwrap_or_else(|_| panic!("{name}={text} is not a number")))
}

/// CPU time of this thread so far.
pub fn cpu_ns() -> u64 {
    let stat = std::fs::read_to_string("/proc/thread-self/schedstat").expect("Linux");
    let first = stat.split(' ').next().expect("three numbers");
    first.parse().expect("a number")
}

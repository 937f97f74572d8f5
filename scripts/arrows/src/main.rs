//! Arrow check.
fn main() {}

//! What `$ncpus`, `$pagesize` and `$mb_memory` of a job file stand for on this machine.
//!
//! What must always hold: what the kernel does not tell is an error where it is read, never a
//! guess that ends up in a workload.

use std::fs;

use anyhow::{Context, anyhow};
use isotherm_workload::Machine;

/// Reads the machine from /proc and /sys.
pub(crate) fn read() -> anyhow::Result<Machine> {
    Ok(Machine {
        cpus: fact("/sys/devices/system/cpu/online", cpus)?,
        page_bytes: fact("/proc/self/smaps", |text| kibibytes(text, "KernelPageSize:"))? << 10,
        memory_mib: fact("/proc/meminfo", |text| kibibytes(text, "MemTotal:"))? >> 10,
    })
}

fn fact(path: &str, find: impl Fn(&str) -> Option<u64>) -> anyhow::Result<u64> {
    let text = fs::read_to_string(path).with_context(|| format!("can't read {path}"))?;
    find(&text).ok_or_else(|| anyhow!("{path} does not look as expected"))
}

/// How many processors a list such as `0-3,8` has.
fn cpus(list: &str) -> Option<u64> {
    let count = |range: &str| {
        let (first, last) = range.split_once('-').unwrap_or((range, range));
        let (first, last): (u64, u64) = (first.parse().ok()?, last.parse().ok()?);
        Some(last.checked_sub(first)? + 1)
    };
    list.trim().split(',').map(count).sum()
}

/// The first number behind `key`, in KiB.
fn kibibytes(text: &str, key: &str) -> Option<u64> {
    let rest = text.lines().find_map(|line| line.strip_prefix(key))?;
    rest.trim().strip_suffix(" kB")?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_of_processors_are_counted() {
        assert_eq!((cpus("0-3,8\n"), cpus("0\n"), cpus("0-1,4-5,7")), (Some(5), Some(1), Some(5)));
        assert_eq!((cpus(""), cpus("3-1"), cpus("x")), (None, None, None));
    }

    #[test]
    fn this_machine_has_all_three() {
        let machine = read().unwrap();
        assert!(machine.cpus >= 1 && machine.memory_mib > 0);
        assert!(machine.page_bytes >= 4096 && machine.page_bytes.is_power_of_two());
    }

    #[test]
    fn a_key_is_found_in_its_line() {
        let text = "Size:    132 kB\nKernelPageSize:        4 kB\n";
        assert_eq!(kibibytes(text, "KernelPageSize:"), Some(4));
        assert_eq!(kibibytes(text, "MemTotal:"), None);
    }
}

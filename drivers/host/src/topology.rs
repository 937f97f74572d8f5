//! Cores: which ones this process may use, and how they lie to each other.
//!
//! What must always hold: only cores that the kernel lets this thread use are listed, so a list
//! made on a pinned thread has one core: read it before pinning.

use std::path::Path;

use isotherm_seam::CoreId;
use nix::sys::resource::{UsageWho, getrusage};

use crate::root::{HostRoot, list_dir, read_text};

/// Cores that sched_setaffinity(2) can name through glibc's fixed set.
const CORES_MAX: u32 = 1024;

/// The cores that this process may use.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Topology {
    /// In the order of their numbers.
    pub cores: Vec<Core>,
}

/// A logical processor.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Core {
    /// Its number.
    pub id: CoreId,
    /// The memory node it lies on, where the kernel tells.
    pub node: Option<u32>,
    /// The other logical processors of the same physical core.
    pub siblings: Vec<CoreId>,
    /// Set apart at boot (isolcpus): the kernel puts nobody on it who does not ask.
    pub isolated: bool,
}

/// A thread that could not be pinned.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("core {} is not online, or this process may not use it (cpuset, taskset)", core.0)]
pub struct PinError {
    /// Where it should have gone.
    pub core: CoreId,
}

/// Binds the calling thread, and the threads that it will start, to one core.
pub fn pin(core: CoreId) -> Result<(), PinError> {
    let id = core_affinity::CoreId { id: core.0 as usize };
    if core.0 < CORES_MAX && core_affinity::set_for_current(id) {
        Ok(())
    } else {
        Err(PinError { core })
    }
}

/// How often the calling thread was taken off its core although it had more to do. Where the
/// count grows between two looks, the core is shared and spinning on it hurts the neighbour.
/// One system call.
pub fn preemptions() -> u64 {
    getrusage(UsageWho::RUSAGE_THREAD)
        .map_or(0, |usage| u64::try_from(usage.involuntary_context_switches()).unwrap_or(0))
}

impl Topology {
    /// Of this machine, as the calling thread may use it.
    pub fn read() -> Topology {
        let allowed = core_affinity::get_core_ids().unwrap_or_default();
        let allowed: Vec<CoreId> = allowed.iter().map(|core| CoreId(core.id as u32)).collect();
        Topology::read_under(&HostRoot::real(), &allowed)
    }

    /// Of the machine below `root`, limited to `allowed`.
    pub fn read_under(root: &HostRoot, allowed: &[CoreId]) -> Topology {
        let cpus = root.sys.join("devices/system/cpu");
        let isolated = read_cores(&cpus.join("isolated"));
        let mut cores: Vec<Core> = allowed
            .iter()
            .map(|&id| {
                let dir = cpus.join(format!("cpu{}", id.0));
                let mut siblings = read_cores(&dir.join("topology/thread_siblings_list"));
                siblings.retain(|&sibling| sibling != id);
                Core { id, node: node_of(&dir), siblings, isolated: isolated.contains(&id) }
            })
            .collect();
        cores.sort_by_key(|core| core.id);
        Topology { cores }
    }

    /// A hint whether a thread on this core has it to itself: it was set apart at boot, and its
    /// siblings, with which it would share the execution units, were too. Where this says no,
    /// [`preemptions`] tells what happens in fact.
    pub fn is_exclusive(&self, core: CoreId) -> bool {
        let is_isolated = |id: CoreId| self.cores.iter().any(|core| core.id == id && core.isolated);
        self.cores.iter().any(|candidate| {
            candidate.id == core
                && candidate.isolated
                && candidate.siblings.iter().all(|&sibling| is_isolated(sibling))
        })
    }

    /// Up to `count` cores to put reactors on, best first: isolated before shared ones, and one
    /// logical processor of each physical core before the second of any.
    pub fn choose(&self, count: usize) -> Vec<CoreId> {
        let mut ranked: Vec<(bool, usize, CoreId)> = self
            .cores
            .iter()
            .map(|core| {
                let earlier = |sibling: &&CoreId| {
                    **sibling < core.id && self.cores.iter().any(|other| other.id == **sibling)
                };
                (!core.isolated, core.siblings.iter().filter(earlier).count(), core.id)
            })
            .collect();
        ranked.sort();
        ranked.into_iter().map(|(_, _, id)| id).take(count).collect()
    }
}

fn node_of(cpu_dir: &Path) -> Option<u32> {
    list_dir(cpu_dir).iter().find_map(|name| name.strip_prefix("node")?.parse().ok())
}

fn read_cores(path: &Path) -> Vec<CoreId> {
    read_text(path).map(|text| parse_cores(&text)).unwrap_or_default()
}

/// The kernel's list format: `0-3,8,10-11`. What does not parse is left out.
fn parse_cores(text: &str) -> Vec<CoreId> {
    let range = |part: &str| {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        let (first, last) = (first.trim().parse().ok()?, last.trim().parse().ok()?);
        (last < CORES_MAX).then_some(first..=last)
    };
    text.split(',').filter_map(range).flatten().map(CoreId).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cores(ids: &[u32]) -> Vec<CoreId> {
        ids.iter().copied().map(CoreId).collect()
    }

    /// Two sockets of two cores of two threads each: cpu n and n+4 are siblings; 2 and 6 are
    /// isolated.
    fn machine(allowed: &[u32]) -> Topology {
        let dir = tempfile::tempdir().unwrap();
        let cpus = dir.path().join("sys/devices/system/cpu");
        for cpu in 0..8u32 {
            let topology = cpus.join(format!("cpu{cpu}/topology"));
            std::fs::create_dir_all(&topology).unwrap();
            std::fs::create_dir(cpus.join(format!("cpu{cpu}/node{}", cpu % 4 / 2))).unwrap();
            let siblings = format!("{},{}\n", cpu % 4, cpu % 4 + 4);
            std::fs::write(topology.join("thread_siblings_list"), siblings).unwrap();
        }
        std::fs::write(cpus.join("isolated"), "2,6\n").unwrap();
        Topology::read_under(&HostRoot::under(dir.path()), &cores(allowed))
    }

    #[test]
    fn lists_parse() {
        assert_eq!(parse_cores("0-2,8\n"), cores(&[0, 1, 2, 8]));
        assert_eq!(parse_cores(""), cores(&[]));
        assert_eq!(parse_cores("1,x,4000000000-4000000001"), cores(&[1]));
    }

    #[test]
    fn nodes_and_siblings_are_read() {
        let topology = machine(&[0, 1, 2, 3, 4, 5, 6, 7]);
        assert_eq!(topology.cores[3].node, Some(1));
        assert_eq!(topology.cores[5].siblings, cores(&[1]));
        assert!(topology.cores[6].isolated && !topology.cores[7].isolated);
    }

    #[test]
    fn a_core_is_exclusive_when_its_siblings_are_set_apart_too() {
        let topology = machine(&[0, 1, 2, 3, 4, 5, 6, 7]);
        assert!(topology.is_exclusive(CoreId(2)) && !topology.is_exclusive(CoreId(1)));
        assert!(!topology.is_exclusive(CoreId(99)));
        // Sibling 6 may not be used by us, so we can't tell what runs there.
        assert!(!machine(&[0, 2]).is_exclusive(CoreId(2)));
    }

    #[test]
    fn isolated_cores_come_first_and_second_threads_last() {
        let topology = machine(&[0, 1, 2, 3, 4, 5, 6, 7]);
        assert_eq!(topology.choose(8), cores(&[2, 6, 0, 1, 3, 4, 5, 7]));
        // Where the first thread of a core is not ours, the second counts as the first.
        assert_eq!(machine(&[0, 4, 5]).choose(2), cores(&[0, 5]));
    }

    #[test]
    fn a_machine_that_tells_nothing_still_has_cores() {
        let dir = tempfile::tempdir().unwrap();
        let topology = Topology::read_under(&HostRoot::under(dir.path()), &cores(&[1, 0]));
        assert_eq!(topology.choose(9), cores(&[0, 1]));
        assert_eq!(topology.cores[0].node, None);
    }

    #[test]
    fn pinning_takes_the_thread_to_the_core() {
        let topology = Topology::read();
        assert!(!topology.cores.is_empty());
        let last = topology.cores.last().unwrap().id;
        std::thread::scope(|scope| {
            scope.spawn(|| {
                pin(last).unwrap();
                assert_eq!(nix::sched::sched_getcpu(), Ok(last.0 as usize));
                assert_eq!(Topology::read().choose(9), vec![last]);
            });
        });
        assert_eq!(Topology::read(), topology, "the other threads stay free");
    }

    #[test]
    fn a_core_that_does_not_exist_is_refused() {
        for core in [CoreId(1023), CoreId(1024), CoreId(u32::MAX)] {
            assert_eq!(pin(core), Err(PinError { core }));
        }
    }

    #[test]
    fn being_preempted_is_counted() {
        // Two busy threads on one core: the kernel must take it from one of them.
        let core = Topology::read().cores[0].id;
        let busy = || {
            pin(core).unwrap();
            let before = preemptions();
            // Bounded by work, not by time: each takes far longer than the kernel lets a thread
            // run while another waits.
            let mut x = 1u64;
            for i in 0..100_000_000u64 {
                x = std::hint::black_box(x.wrapping_mul(i | 1));
            }
            preemptions() - before
        };
        let counts: Vec<u64> = std::thread::scope(|scope| {
            let threads = [scope.spawn(busy), scope.spawn(busy)];
            threads.into_iter().map(|thread| thread.join().unwrap()).collect()
        });
        assert!(counts.iter().sum::<u64>() > 0, "{counts:?}");
    }
}

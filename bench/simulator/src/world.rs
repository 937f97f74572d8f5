//! Machines in one thread on one clock.
//!
//! What must always hold: which machine is turned next is drawn from the seed; the clock moves
//! only when no machine has anything to do, and then to the earliest time that anybody waits for.
//! A machine that lost its power keeps nothing but its disks.
//!
//! ```text
//! while a machine is ready: turn one of them, by chance
//! then: clock := earliest of timers, disks, network;  the network delivers;  again
//! ```

use std::collections::BTreeSet;

use isotherm_reactor::{Handle, Order, Reactor, ReactorConfig};
use isotherm_seam::{Clock, Domain, Draws, Due, Mono, Nanos};
use isotherm_sim::{CrashStyle, DiskControl, HostId, SimClock, SimNetwork, SimPark};

use crate::MessageNetwork;

const TURN: Domain = Domain::new("simulator.turn");

/// Turns without any progress of the clock before it counts as going round in circles.
const TURNS_MAX: u64 = 5_000_000;

/// Which machine of a world; the same number as its host on the network.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct MachineId(pub u32);

impl MachineId {
    /// Its name on the network.
    #[must_use]
    pub fn host(self) -> HostId {
        HostId(self.0)
    }
}

struct Machine {
    tasks_max: u32,
    core: Option<Reactor<SimPark, SimClock>>,
    /// When a turn can next be of use, or when it goes on that stands still: as it is in
    /// [`World::dues`].
    due: Option<Mono>,
    is_ready: bool,
    is_paused: bool,
    starts: u64,
    disks: Vec<DiskControl>,
    /// Of the cores that are gone.
    events: u64,
}

/// Machines, their disks and what lies between them.
pub struct World {
    seed: u64,
    clock: SimClock,
    messages: MessageNetwork,
    datagrams: Option<SimNetwork>,
    machines: Vec<Machine>,
    ready: Vec<u32>,
    /// When each machine is next to be looked at, the earliest first.
    dues: BTreeSet<(Mono, u32)>,
    draws: Draws,
    touched: Vec<HostId>,
    delivered: u64,
    turns_here: u64,
}

impl World {
    /// A world without machines, over this network.
    #[must_use]
    pub fn new(seed: u64, clock: SimClock, messages: MessageNetwork) -> World {
        World {
            seed,
            clock,
            messages,
            datagrams: None,
            machines: Vec::new(),
            ready: Vec::new(),
            dues: BTreeSet::new(),
            draws: Draws::new(seed, TURN, 0),
            touched: Vec::new(),
            delivered: 0,
            turns_here: 0,
        }
    }

    /// Also carries datagrams. Their sockets are sources of the cores that hold them.
    pub fn set_datagrams(&mut self, network: SimNetwork) {
        self.datagrams = Some(network);
    }

    /// The clock of all machines.
    #[must_use]
    pub fn clock(&self) -> &SimClock {
        &self.clock
    }

    /// What lies between them.
    #[must_use]
    pub fn messages(&self) -> &MessageNetwork {
        &self.messages
    }

    /// The time.
    #[must_use]
    pub fn now(&self) -> Mono {
        self.clock.mono()
    }

    /// Another machine, not started yet.
    pub fn add(&mut self, tasks_max: u32) -> MachineId {
        let id = MachineId(self.machines.len() as u32);
        self.machines.push(Machine {
            tasks_max,
            core: None,
            due: None,
            is_ready: false,
            is_paused: false,
            starts: 0,
            disks: Vec::new(),
            events: 0,
        });
        id
    }

    /// A disk of a machine: a power cut of one is one of the other. It is for the machine's
    /// program to open it.
    pub fn add_disk(&mut self, id: MachineId, disk: DiskControl) {
        self.machine(id).disks.push(disk);
    }

    /// Puts another disk in the place of one.
    pub fn set_disk(&mut self, id: MachineId, index: usize, disk: DiskControl) {
        self.machine(id).disks[index] = disk;
    }

    /// The disks of a machine.
    #[must_use]
    pub fn disks(&self, id: MachineId) -> &[DiskControl] {
        &self.machines[id.0 as usize].disks
    }

    /// Powers a machine up: a core without tasks.
    ///
    /// Panics if it runs.
    pub fn start(&mut self, id: MachineId) -> Handle {
        let seed = self.seed;
        let clock = self.clock.clone();
        let machine = self.machine(id);
        assert!(machine.core.is_none(), "it runs");
        machine.starts += 1;
        let order = Order::Seeded(seed ^ u64::from(id.0) << 32 ^ machine.starts << 48);
        let config =
            ReactorConfig { order, tasks_max: machine.tasks_max, ..ReactorConfig::default() };
        let core = Reactor::new(SimPark::new(clock.clone()), clock, config);
        let handle = core.handle().clone();
        machine.core = Some(core);
        self.wake(id);
        handle
    }

    /// The core of a machine, if it runs.
    #[must_use]
    pub fn handle(&self, id: MachineId) -> Option<&Handle> {
        self.machines[id.0 as usize].core.as_ref().map(Reactor::handle)
    }

    /// Whether it runs.
    #[must_use]
    pub fn is_up(&self, id: MachineId) -> bool {
        self.machines[id.0 as usize].core.is_some()
    }

    /// Something was done to a machine from outside: it is turned.
    pub fn wake(&mut self, id: MachineId) {
        let machine = &mut self.machines[id.0 as usize];
        if machine.core.is_some() && !machine.is_paused && !machine.is_ready {
            machine.is_ready = true;
            self.ready.push(id.0);
        }
    }

    /// Cuts the power of a machine and of its disks, each of which ends in this style.
    pub fn crash(&mut self, id: MachineId, mut style: impl FnMut(usize) -> CrashStyle) {
        if !self.is_up(id) {
            return;
        }
        // First the disks and the network: what is dropped with the tasks says nothing any more.
        for (index, disk) in self.machines[id.0 as usize].disks.iter().enumerate() {
            disk.crash(style(index));
        }
        self.leave(id);
    }

    /// Ends a machine's program, as when it is killed: its disks keep what they were given.
    pub fn kill(&mut self, id: MachineId) {
        if self.is_up(id) {
            self.leave(id);
        }
    }

    fn leave(&mut self, id: MachineId) {
        self.messages.down(id.host());
        if let Some(datagrams) = &self.datagrams {
            datagrams.down(id.host());
            datagrams.up(id.host());
        }
        let machine = self.machine(id);
        let core = machine.core.take();
        let counters = core.as_ref().map(Reactor::counters).unwrap_or_default();
        machine.events += counters.completions + counters.timers;
        machine.is_paused = false;
        if std::mem::take(&mut machine.is_ready) {
            self.ready.retain(|&other| other != id.0);
        }
        self.set_due(id, None);
        drop(core);
    }

    /// A machine stands still until then.
    pub fn pause(&mut self, id: MachineId, until: Mono) {
        if !self.is_up(id) {
            return;
        }
        let machine = self.machine(id);
        machine.is_paused = true;
        if std::mem::take(&mut machine.is_ready) {
            self.ready.retain(|&other| other != id.0);
        }
        self.set_due(id, Some(until));
        self.messages.pause(id.host(), true);
    }

    /// Lets everything happen up to a time, and turns the clock there. Stops early when `is_done`
    /// says so, which is asked whenever the clock moves; true if it did.
    ///
    /// Panics when machines keep each other busy without letting time pass.
    pub fn run_until(&mut self, until: Mono, mut is_done: impl FnMut(&World) -> bool) -> bool {
        loop {
            self.settle();
            if is_done(self) {
                return true;
            }
            let next = self.next_due();
            match next.filter(|next| *next <= until) {
                Some(next) => {
                    if next > self.now() {
                        self.turns_here = 0;
                    }
                    self.clock.advance_to(next);
                    self.arrive();
                }
                None => {
                    self.clock.advance_to(until);
                    return false;
                }
            }
        }
    }

    /// Messages delivered, requests of disks completed and timers fired so far.
    #[must_use]
    pub fn events(&self) -> u64 {
        let of_cores = self.machines.iter().map(|machine| {
            let counters = machine.core.as_ref().map(Reactor::counters).unwrap_or_default();
            machine.events + counters.completions + counters.timers
        });
        self.delivered + of_cores.sum::<u64>()
    }

    fn machine(&mut self, id: MachineId) -> &mut Machine {
        &mut self.machines[id.0 as usize]
    }

    /// When a machine is next to be looked at, from now on.
    fn set_due(&mut self, id: MachineId, due: Option<Mono>) {
        let before = std::mem::replace(&mut self.machine(id).due, due);
        if before == due {
            return;
        }
        if let Some(before) = before {
            self.dues.remove(&(before, id.0));
        }
        if let Some(due) = due {
            self.dues.insert((due, id.0));
        }
    }

    /// Turns machines until none has anything to do now.
    fn settle(&mut self) {
        while !self.ready.is_empty() {
            let pick = match self.ready.len() {
                1 => 0,
                len => self.draws.below(len as u64) as usize,
            };
            let id = self.ready.swap_remove(pick);
            self.turns_here += 1;
            assert!(self.turns_here < TURNS_MAX, "machine {id} goes round in circles");
            let now = self.clock.mono();
            let machine = &mut self.machines[id as usize];
            machine.is_ready = false;
            let Some(core) = &mut machine.core else { continue };
            core.turn();
            let due = core.due();
            match due {
                Due::At(at) if at > now => self.set_due(MachineId(id), Some(at)),
                Due::Now | Due::At(_) => {
                    machine.is_ready = true;
                    self.ready.push(id);
                }
                Due::Event | Due::Idle => self.set_due(MachineId(id), None),
            }
            if let Some(datagrams) = &self.datagrams {
                for host in datagrams.take_touched() {
                    self.refresh(host);
                }
            }
        }
    }

    /// Something was sent to a socket of this machine.
    fn refresh(&mut self, host: HostId) {
        let machine = &self.machines[host.0 as usize];
        if machine.is_ready || machine.is_paused {
            return;
        }
        match machine.core.as_ref().map(Reactor::due) {
            Some(Due::At(at)) => self.set_due(MachineId(host.0), Some(at)),
            Some(Due::Now) => self.wake(MachineId(host.0)),
            Some(Due::Event | Due::Idle) | None => {}
        }
    }

    fn next_due(&self) -> Option<Mono> {
        let machines = self.dues.first().map(|(due, _)| *due);
        machines.into_iter().chain(self.messages.next()).min()
    }

    /// The clock was moved: whose time has come?
    fn arrive(&mut self) {
        let now = self.clock.mono();
        while let Some(&(due, id)) = self.dues.first()
            && due <= now
        {
            let id = MachineId(id);
            self.set_due(id, None);
            if std::mem::take(&mut self.machine(id).is_paused) {
                self.messages.pause(id.host(), false);
            }
            self.wake(id);
        }
        self.delivered += self.messages.turn();
        let mut touched = std::mem::take(&mut self.touched);
        self.messages.take_touched(&mut touched);
        for host in touched.drain(..) {
            if (host.0 as usize) < self.machines.len() {
                self.wake(MachineId(host.0));
            }
        }
        self.touched = touched;
    }

    /// A length of time from now.
    #[must_use]
    pub fn after(&self, length: Nanos) -> Mono {
        self.now() + length
    }
}

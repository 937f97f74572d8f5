//! A plan from a seed: a cluster, a workload, and some classes of trouble at some rate.
//!
//! What must always hold: the same seed gives the same plan; each class of trouble is in some
//! plans only, so that none hides another, and one plan in ten has none.

use isotherm_seam::{Domain, Draws};

use crate::cluster::EXTENT_BYTES;
use crate::plan::{Action, Plan, Setup, What};

const SETUP: Domain = Domain::new("simulator.plan.setup");
const WORK: Domain = Domain::new("simulator.plan.work");
const TROUBLE: Domain = Domain::new("simulator.plan.trouble");

/// Length of an era of a plan of full length.
const ERA_MS: u64 = 200_000;
/// Eras of a plan of full length: ten minutes together.
const ERAS: u64 = 3;
/// Before an era ends nothing new goes wrong for so long.
const CALM_MS: u64 = 5_000;
/// Bytes of objects that a plan keeps, of the room of its disks.
const FILL: f64 = 0.12;
/// In so much time of an era there is one outage and one squall, where a plan has any.
const STORM_EVERY_MS: u64 = 50_000;
/// Puts around the beginning of one, and objects that are deleted then and still asked for.
const BURST_PUTS: u64 = 14;
const BURST_DELETES: u64 = 2;

/// Classes of trouble.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Class {
    Crash,
    Kill,
    Pause,
    Cut,
    Loss,
    Slow,
    ClientDeath,
    Errors,
    Harm,
    Writes,
    Replace,
    /// Many nodes lose their power at once, in the midst of puts.
    Outage,
    /// Some nodes can't be reached, and one that can loses what it was just given.
    Squall,
}

const CLASSES: [Class; 13] = [
    Class::Crash,
    Class::Kill,
    Class::Pause,
    Class::Cut,
    Class::Loss,
    Class::Slow,
    Class::ClientDeath,
    Class::Errors,
    Class::Harm,
    Class::Writes,
    Class::Replace,
    Class::Outage,
    Class::Squall,
];

impl Class {
    fn harms(self) -> bool {
        use Class::{Errors, Harm, Replace, Squall, Writes};
        matches!(self, Errors | Harm | Writes | Replace | Squall)
    }
}

/// Puts that come close upon each other.
struct Burst {
    from_ms: u64,
    ms: u64,
}

/// Between two bounds, each doubling as likely as the next.
fn log_uniform(draws: &mut Draws, least: f64, most: f64) -> f64 {
    // A power by squaring and halving: `powf` differs from system to system in its last bit.
    let doublings = {
        let mut count = 0u32;
        while least * f64::from(1u32 << (count + 1)) < most {
            count += 1;
        }
        count
    };
    let whole = draws.below(u64::from(doublings) + 1) as u32;
    let low = least * f64::from(1u32 << whole);
    low + (low.min(most - low)).max(0.0) * draws.next_f64()
}

fn exponential_ms(draws: &mut Draws, mean_ms: f64) -> u64 {
    (isotherm_sim::exponential(draws.next_u64()) * mean_ms) as u64
}

impl Setup {
    fn drawn(draws: &mut Draws) -> Setup {
        let (data, parity) =
            [(2, 1), (2, 1), (2, 2), (3, 2), (4, 2), (4, 2)][draws.below(6) as usize];
        let least = data + parity;
        let nodes = (least + draws.below(3)).min(8);
        let disks = [1, 1, 1, 2, 2, 4][draws.below(6) as usize].min(12 / nodes).max(1);
        Setup {
            nodes,
            disks,
            data,
            parity,
            clients: 1 + draws.below(4),
            groups: 4 + draws.below(8),
            extents: 24,
            hedge_ms: [20, 100, 300][draws.below(3) as usize],
            patience_ms: [500, 2000][draws.below(2) as usize],
            changes_max: [64, 1000, 1 << 16][draws.below(3) as usize],
            delay_us: [25, 200, 2000][draws.below(3) as usize],
            jitter_us: [5, 100, 1000][draws.below(3) as usize],
        }
    }
}

impl Plan {
    /// The plan of a seed: three eras, ten minutes of work together.
    #[must_use]
    pub fn drawn(seed: u64) -> Plan {
        Plan::drawn_for(seed, ERAS, ERA_MS)
    }

    /// The plan of a seed for so many eras of such a length: another plan, with the same cluster
    /// and the same classes of trouble.
    #[must_use]
    pub fn drawn_for(seed: u64, eras: u64, era_ms: u64) -> Plan {
        Plan::drawn_within(seed, eras, era_ms, false)
    }

    /// As [`Plan::drawn_for`], with harm everywhere: more than objects survive.
    #[must_use]
    pub fn drawn_beyond(seed: u64, eras: u64, era_ms: u64) -> Plan {
        Plan::drawn_within(seed, eras, era_ms, true)
    }

    fn drawn_within(seed: u64, eras: u64, era_ms: u64, is_beyond: bool) -> Plan {
        assert!(era_ms > CALM_MS, "an era ends in calm");
        let draws = &mut Draws::new(seed, SETUP, 0);
        let setup = Setup::drawn(draws);
        let is_sunny = draws.happens(0.1);
        let mut classes: Vec<Class> =
            CLASSES.into_iter().filter(|_| draws.happens(0.5) && !is_sunny).collect();
        if is_beyond {
            classes.extend([Class::Harm, Class::Writes, Class::Replace]);
        }
        let mut writer = Writer {
            trouble_ms: log_uniform(draws, 500.0, 8_000.0),
            operation_ms: log_uniform(draws, 60.0, 110.0),
            reads: 0.3 + 0.4 * draws.next_f64(),
            long: draws.happens(0.3),
            draws: Draws::new(seed, WORK, 0),
            trouble: Draws::new(seed, TROUBLE, 0),
            era_ms,
            live: Vec::new(),
            live_bytes: 0,
            next_object: 0,
            setup: &setup,
            classes: &classes,
            is_beyond,
        };
        let mut actions = Vec::new();
        for _ in 0..eras {
            let Troubles { out: mut era, bursts } = writer.troubles();
            era.extend(writer.operations(&bursts));
            era.sort_by_key(|(at_ms, _)| *at_ms);
            era.push((era_ms, What::Settle {}));
            for (at_ms, what) in era {
                actions.push(Action { number: actions.len() as u64, at_ms, what });
            }
        }
        Plan { seed, setup, actions }
    }
}

struct Writer<'a> {
    era_ms: u64,
    /// Mean time between two troubles.
    trouble_ms: f64,
    operation_ms: f64,
    reads: f64,
    /// Objects of many stripes, too.
    long: bool,
    draws: Draws,
    trouble: Draws,
    /// Objects that were put, with their lengths, and when.
    live: Vec<(u64, u64, u64)>,
    live_bytes: u64,
    next_object: u64,
    setup: &'a Setup,
    classes: &'a [Class],
    /// Every node may be harmed.
    is_beyond: bool,
}

impl Writer<'_> {
    fn len(&mut self) -> u64 {
        let draws = &mut self.draws;
        match draws.below(1000) {
            0..20 => draws.below(8),
            20..900 => 1 << (4 + draws.below(10)) | draws.below(4096),
            900..985 => draws.below(200_000),
            985..994 => draws.below(1 << 20),
            994..999 => (1 << 20) + draws.below(self.setup.data << 20),
            _ if self.long => (self.setup.data << 20) + draws.below(self.setup.data << 21),
            _ => 1 << 20,
        }
    }

    fn operations(&mut self, bursts: &[Burst]) -> Vec<(u64, What)> {
        let mut out = Vec::new();
        let mut at_ms = 0;
        let mut bursts = bursts.iter().peekable();
        loop {
            at_ms += exponential_ms(&mut self.draws, self.operation_ms);
            while let Some(burst) = bursts.next_if(|burst| burst.from_ms <= at_ms) {
                self.burst(burst, &mut out);
            }
            if at_ms >= self.era_ms {
                return out;
            }
            self.operation(at_ms, false, &mut out);
        }
    }

    /// Puts, other operations among them, and a listing while the trouble lasts.
    fn burst(&mut self, burst: &Burst, out: &mut Vec<(u64, What)>) {
        let Burst { from_ms, ms } = *burst;
        for number in 0..BURST_PUTS + 4 {
            let at_ms = from_ms + self.draws.below(ms);
            self.operation(at_ms, number < BURST_PUTS, out);
        }
        for _ in 0..BURST_DELETES.min(self.live.len() as u64) {
            let at = self.draws.below(self.live.len() as u64) as usize;
            let (object, len, _) = self.live.remove(at);
            self.live_bytes -= len;
            let at_ms = from_ms + self.draws.below(ms);
            let client = self.draws.below(self.setup.clients);
            out.push((at_ms, What::Delete { client, object }));
            for _ in 0..3 {
                let client = self.draws.below(self.setup.clients);
                out.push((at_ms + self.draws.below(5_000), What::Get { client, object }));
            }
        }
        let client = self.draws.below(self.setup.clients);
        out.push((from_ms + ms + self.draws.below(1000), What::List { client }));
    }

    fn operation(&mut self, at_ms: u64, is_put: bool, out: &mut Vec<(u64, What)>) {
        let room = self.setup.nodes * self.setup.disks * self.setup.extents * EXTENT_BYTES;
        // A byte is kept as (k + m) / k or as m + 1.
        let room = (room as f64 * FILL / (self.setup.parity as f64 + 1.0)) as u64;
        let client = self.draws.below(self.setup.clients);
        let pick = self.draws.next_f64();
        let what = if is_put || self.live.len() < 5 || pick > self.reads + 0.25 {
            let len = self.len();
            let object = self.next_object;
            self.next_object += 1;
            self.live.push((object, len, at_ms));
            self.live_bytes += len;
            out.push((at_ms, What::Put { client, object, len }));
            if self.live_bytes < room && self.live.len() < 600 {
                return;
            }
            // One has to go for it.
            let at = self.draws.below(self.live.len() as u64 / 2) as usize;
            let (object, len, _) = self.live.remove(at);
            self.live_bytes -= len;
            What::Delete { client, object }
        } else if pick < self.reads + 0.2 {
            let at = self.draws.below(self.live.len() as u64) as usize;
            // Some are asked for often.
            let at = if self.draws.happens(0.3) { at % 8 } else { at };
            let object = self.live[at.min(self.live.len() - 1)].0;
            match self.draws.below(200) {
                // A listing asks every disk for all that it has.
                0 => What::List { client },
                1..60 => {
                    let (from, len) = (self.draws.below(1000), self.draws.below(20_000));
                    What::Range { client, object, from, len }
                }
                _ => What::Get { client, object },
            }
        } else {
            let at = self.draws.below(self.live.len() as u64) as usize;
            let object = self.live[at].0;
            // Sometimes it is deleted and still asked for.
            if !self.draws.happens(0.1) {
                let (_, len, _) = self.live.remove(at);
                self.live_bytes -= len;
            }
            What::Delete { client, object }
        };
        out.push((at_ms, what));
    }

    fn troubles(&mut self) -> Troubles {
        let mut all = Troubles::default();
        if self.classes.is_empty() {
            return all;
        }
        let (nodes, parity) = (self.setup.nodes, self.setup.parity);
        let draws = &mut self.trouble;
        // Narrow: m nodes have all the trouble. Wide: harm on m - 1, hindrance everywhere.
        // Where m is one nothing is harmed in a wide one.
        let is_narrow = draws.happens(if parity > 1 { 0.35 } else { 0.5 });
        let first = draws.below(nodes);
        let hot = |draws: &mut Draws, count: u64| (first + draws.below(count.max(1))) % nodes;
        let harmed = match (self.is_beyond, is_narrow) {
            (true, _) => nodes,
            (false, true) => parity,
            (false, false) => parity - 1,
        };
        let may_harm = harmed > 0 && self.classes.iter().any(|class| class.harms());
        let storms = self.era_ms.div_ceil(STORM_EVERY_MS);
        // Nobody is hindered but those who are harmed: no more than a stripe survives.
        let is_bound = is_narrow && may_harm && !self.is_beyond;
        for _ in 0..storms {
            let at_ms = 100 + draws.below(self.era_ms - CALM_MS);
            if self.classes.contains(&Class::Outage) && !is_bound {
                all.outage(draws, at_ms, self.setup);
            }
            let at_ms = 100 + draws.below(self.era_ms - CALM_MS);
            if self.classes.contains(&Class::Squall) && harmed > 0 {
                let ill = hot(draws, harmed);
                let of = if is_bound { first..first + parity } else { first..first + nodes };
                let others = of.map(|node| node % nodes).filter(|&node| node != ill).collect();
                all.squall(draws, at_ms, self.setup, ill, others);
            }
        }
        all.bursts.sort_unstable_by_key(|burst| burst.from_ms);
        let out = &mut all.out;
        let mut at_ms = 0;
        loop {
            at_ms += exponential_ms(draws, self.trouble_ms);
            if at_ms + CALM_MS >= self.era_ms {
                return all;
            }
            let class = self.classes[draws.below(self.classes.len() as u64) as usize];
            let any = if is_narrow { hot(draws, parity) } else { draws.below(nodes) };
            let ill = hot(draws, harmed);
            let disk = draws.below(self.setup.disks);
            let ms = exponential_ms(draws, 4_000.0) + 1;
            let what = match class {
                // A crash in the midst of much is worth more than the time it is gone for.
                Class::Crash => What::Crash { node: any, style: draws.below(1 << 30), ms },
                Class::Kill => What::Kill { node: any, ms },
                Class::Pause => What::Pause { node: any, ms: ms * 2 },
                Class::Cut => {
                    let machines = nodes + self.setup.clients;
                    let from = 1 + draws.below((1 << machines) - 1);
                    What::Cut { node: any, from, way: draws.below(3), ms: ms * 2 }
                }
                Class::Loss if is_narrow => continue,
                Class::Loss => What::Loss { per_10000: 1 + draws.below(500), ms },
                Class::Slow => {
                    let factor = 1 << (2 + draws.below(9));
                    What::Slow { node: any, disk, factor, ms: ms * 2 }
                }
                Class::ClientDeath => {
                    What::ClientDeath { client: draws.below(self.setup.clients), ms }
                }
                _ if harmed == 0 => continue,
                Class::Errors => {
                    let per_10000 = log_uniform(draws, 10.0, 2_000.0) as u64;
                    What::Errors { node: ill, disk, kind: draws.below(5), per_10000, ms }
                }
                Class::Harm => What::Harm {
                    node: ill,
                    disk,
                    at: draws.below(1000),
                    blocks: 1 + log_uniform(draws, 1.0, 500.0) as u64,
                    kind: draws.below(2),
                },
                Class::Writes if draws.happens(0.5) => What::LoseWrite { node: ill, disk },
                Class::Writes => What::StrayWrite { node: ill, disk, at: draws.below(1000) },
                // A whole disk is more work than all else.
                Class::Replace if draws.happens(if self.is_beyond { 0.5 } else { 0.9 }) => continue,
                Class::Replace => What::Replace { node: ill, disk, ms },
                Class::Outage | Class::Squall => continue,
            };
            out.push((at_ms, what));
        }
    }
}

/// What goes wrong in an era, and when much is put meanwhile.
#[derive(Default)]
struct Troubles {
    out: Vec<(u64, What)>,
    bursts: Vec<Burst>,
}

impl Troubles {
    /// More nodes than a stripe may lose are without power from one moment on, so that what was
    /// acknowledged and is not durable is gone.
    fn outage(&mut self, draws: &mut Draws, at_ms: u64, setup: &Setup) {
        let least = setup.parity + 1;
        let count = match draws.happens(0.5) {
            true => setup.nodes,
            false => least + draws.below(setup.nodes - least + 1),
        };
        let first = draws.below(setup.nodes);
        let ms = 500 + exponential_ms(draws, 3_000.0);
        // A write is durable after a millisecond; of disks that have much to do after tens of them.
        let is_busy = draws.happens(0.5);
        for at in 0..count {
            let (node, ms) = ((first + at) % setup.nodes, ms + draws.below(500));
            let style = draws.below(1 << 30);
            for disk in (0..setup.disks).filter(|_| is_busy) {
                let factor = 1 << (4 + draws.below(4));
                self.out.push((at_ms - 40, What::Slow { node, disk, factor, ms: 60 }));
            }
            self.out.push((at_ms, What::Crash { node, style, ms }));
        }
        let ms = if is_busy { 35 } else { 5 };
        self.bursts.push(Burst { from_ms: at_ms - ms, ms: ms + 1 });
    }

    /// Some of `others` can't be reached for longer than a put waits, and a disk of `ill` loses
    /// what it is given meanwhile, or is gone soon: puts that go on with fewer cells than they
    /// should are lost by it.
    fn squall(
        &mut self,
        draws: &mut Draws,
        at_ms: u64,
        setup: &Setup,
        ill: u64,
        mut others: Vec<u64>,
    ) {
        let count = (1 + draws.below(setup.parity + 1)).min(others.len() as u64);
        for _ in 0..count {
            let node = others.swap_remove(draws.below(others.len() as u64) as usize);
            let ms = setup.patience_ms + 1_000 + exponential_ms(draws, 2_000.0);
            let style = draws.below(1 << 30);
            let from = (1 << (setup.nodes + setup.clients)) - 1;
            let way = draws.below(3);
            self.out.push((
                at_ms,
                match draws.below(4) {
                    0 => What::Crash { node, style, ms },
                    1 => What::Kill { node, ms },
                    2 => What::Pause { node, ms },
                    _ => What::Cut { node, from, way, ms },
                },
            ));
        }
        let disk = draws.below(setup.disks);
        for _ in 0..3 {
            let at_ms = at_ms + draws.below(200);
            self.out.push((at_ms, What::LoseWrite { node: ill, disk }));
        }
        if draws.happens(0.3) {
            let at_ms = at_ms + setup.patience_ms + 500;
            self.out.push((at_ms, What::Replace { node: ill, disk, ms: 1_000 }));
        }
        self.bursts.push(Burst { from_ms: at_ms, ms: 200 });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plans_have_enough_to_do() {
        let plans: Vec<Plan> = (0..200).map(Plan::drawn).collect();
        let mut operations: Vec<usize> = plans.iter().map(Plan::operations).collect();
        let mut faults: Vec<usize> = plans.iter().map(Plan::faults).collect();
        operations.sort_unstable();
        faults.sort_unstable();
        assert!(operations[100] >= 5_000, "median of operations {}", operations[100]);
        assert!(faults[100] >= 100, "median of planned faults {}", faults[100]);
        let sunny = faults.iter().filter(|&&faults| faults == 0).count();
        assert!((5..=45).contains(&sunny), "{sunny} of 200 without trouble");
        for word in ["crash", "kill", "pause", "cut", "loss", "slow", "errors", "harm"] {
            let count = plans
                .iter()
                .filter(|plan| plan.actions.iter().any(|action| action.what.word() == word))
                .count();
            // Outages and squalls are made of some of these, too.
            assert!((40..=165).contains(&count), "{word} in {count} of 200");
        }
    }
}

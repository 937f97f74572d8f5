//! What happens in a run: plain data with a text of its own, drawn from a seed or read from a
//! file, and cut down when it fails.
//!
//! What must always hold: each action carries its own number, and whatever it draws while it runs
//! is keyed by that number, so taking one out leaves the others as they were. Times count from the
//! start of the era: an era ends when all is healed, which takes as long as it takes.
//!
//! ```text
//! isotherm plan 1
//! seed 17
//! setup nodes=6 disks=2 data=4 parity=2 clients=3 groups=8 extents=40 hedge_ms=300 patience_ms=2000
//! 0 120 put client=1 object=0 len=4096
//! 1 400 crash node=2 style=3 ms=5000
//! 2 9000 settle
//! ```

use std::fmt;
use std::str::FromStr;

/// A run.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Plan {
    /// All chance that is not in the plan.
    pub seed: u64,
    /// The cluster.
    pub setup: Setup,
    /// What happens, era by era, in the order of time.
    pub actions: Vec<Action>,
}

/// Makes a struct or an enum of numbers with one text for each.
macro_rules! numbers {
    ($(#[$meta:meta])* pub struct $name:ident { $($(#[$doc:meta])* $field:ident,)* }) => {
        $(#[$meta])*
        #[derive(Clone, PartialEq, Eq, Debug, Default)]
        pub struct $name { $($(#[$doc])* pub $field: u64,)* }

        impl $name {
            fn write(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                $(write!(f, concat!(" ", stringify!($field), "={}"), self.$field)?;)*
                Ok(())
            }

            fn read(words: &Words<'_>) -> Option<$name> {
                Some($name { $($field: words.number(stringify!($field))?,)* })
            }
        }
    };
    ($(#[$meta:meta])* pub enum $name:ident {
        $($(#[$doc:meta])* $variant:ident($word:literal) {
            $($(#[$field_doc:meta])* $field:ident,)*
        },)*
    }) => {
        $(#[$meta])*
        #[derive(Clone, PartialEq, Eq, Debug)]
        pub enum $name {
            $($(#[$doc])* $variant { $($(#[$field_doc])* $field: u64,)* },)*
        }

        impl $name {
            fn write(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                match self {
                    $($name::$variant { $($field,)* } => {
                        f.write_str($word)?;
                        $(write!(f, concat!(" ", stringify!($field), "={}"), $field)?;)*
                        Ok(())
                    })*
                }
            }

            fn read(word: &str, words: &Words<'_>) -> Option<$name> {
                match word {
                    $($word => {
                        let _ = words;
                        Some($name::$variant { $($field: words.number(stringify!($field))?,)* })
                    })*
                    _ => None,
                }
            }

            /// The word that it is written with.
            #[must_use]
            pub fn word(&self) -> &'static str {
                match self { $($name::$variant { .. } => $word,)* }
            }
        }
    };
}

numbers! {
    /// The cluster of a run.
    pub struct Setup {
        /// Nodes; each is a failure domain.
        nodes,
        /// Disks of each.
        disks,
        /// Data cells of a stripe.
        data,
        /// Parity cells.
        parity,
        /// Clients.
        clients,
        /// Groups of a disk.
        groups,
        /// Extents of a disk, of 4 MiB.
        extents,
        /// When a read asks further disks, in milliseconds.
        hedge_ms,
        /// How long a put waits for one disk.
        patience_ms,
        /// Changes of a store from one checkpoint to the next.
        changes_max,
        /// The least time of a message on its way, in microseconds.
        delay_us,
        /// Mean time on top of it.
        jitter_us,
    }
}

numbers! {
    /// What happens.
    pub enum What {
        /// An object is put. Its bytes follow from its number.
        Put("put") {
            /// By this client.
            client,
            /// The object; each is put once.
            object,
            /// Bytes.
            len,
        },
        /// An object is read whole.
        Get("get") {
            /// By this client.
            client,
            /// The object.
            object,
        },
        /// A part of an object is read.
        Range("range") {
            /// By this client.
            client,
            /// The object.
            object,
            /// Where it begins, in thousandths of the object.
            from,
            /// Bytes, as far as the object reaches.
            len,
        },
        /// An object is deleted.
        Delete("delete") {
            /// By this client.
            client,
            /// The object.
            object,
        },
        /// Everything is listed.
        List("list") {
            /// By this client.
            client,
        },
        /// A client's machine loses its power.
        ClientDeath("client-death") {
            /// Which.
            client,
            /// Until it is there again.
            ms,
        },
        /// A node loses its power; its disks end in the style that follows from `style`.
        Crash("crash") {
            /// Which.
            node,
            /// By what the styles of its disks are drawn.
            style,
            /// Until it is there again.
            ms,
        },
        /// A node's program is killed: its disks keep what they were given.
        Kill("kill") {
            /// Which.
            node,
            /// Until it is there again.
            ms,
        },
        /// A node stands still.
        Pause("pause") {
            /// Which.
            node,
            /// How long.
            ms,
        },
        /// A node is cut off from the machines of a mask (bit 0: the first node; the clients come
        /// after the nodes).
        Cut("cut") {
            /// Which.
            node,
            /// From these.
            from,
            /// 0: both directions; 1: what it sends; 2: what it is sent.
            way,
            /// How long.
            ms,
        },
        /// The network loses messages.
        Loss("loss") {
            /// Of ten thousand datagrams so many.
            per_10000,
            /// How long.
            ms,
        },
        /// A disk is slower.
        Slow("slow") {
            /// Of this node,
            node,
            /// this disk.
            disk,
            /// So many times.
            factor,
            /// How long.
            ms,
        },
        /// Of ten thousand requests of a disk so many fail.
        Errors("errors") {
            /// Of this node,
            node,
            /// this disk.
            disk,
            /// 0: reads, 1: writes, 2: flushes, 3: reads that find a sector unreadable, 4: reads
            /// that find a flipped bit.
            kind,
            /// How many.
            per_10000,
            /// How long.
            ms,
        },
        /// Sectors of a disk go bad.
        Harm("harm") {
            /// Of this node,
            node,
            /// this disk.
            disk,
            /// Where, in thousandths of what has been written.
            at,
            /// How many sectors.
            blocks,
            /// 0: a bit flips in each; 1: unreadable.
            kind,
        },
        /// The next write of a disk is lost, though it is acknowledged.
        LoseWrite("lose-write") {
            /// Of this node,
            node,
            /// this disk.
            disk,
        },
        /// The next write of a disk goes elsewhere.
        StrayWrite("stray-write") {
            /// Of this node,
            node,
            /// this disk.
            disk,
            /// Where to, in thousandths of what has been written.
            at,
        },
        /// A disk is gone for good; an empty one takes its place.
        Replace("replace") {
            /// Of this node,
            node,
            /// this disk.
            disk,
            /// Until the node is there again.
            ms,
        },
        /// All is healed, everything is checked and made whole: the end of an era.
        Settle("settle") {},
    }
}

/// Something that happens at a time.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Action {
    /// Its own number.
    pub number: u64,
    /// Milliseconds since the start of the era.
    pub at_ms: u64,
    /// What.
    pub what: What,
}

impl What {
    /// Whether it may cost data: the node whose it is.
    #[must_use]
    pub fn harms(&self) -> Option<u64> {
        self.harms_disk().map(|(node, _)| node)
    }

    /// Whether it may cost data: the node and which of its disks.
    #[must_use]
    pub fn harms_disk(&self) -> Option<(u64, u64)> {
        match *self {
            What::Errors { node, disk, .. }
            | What::Harm { node, disk, .. }
            | What::LoseWrite { node, disk }
            | What::StrayWrite { node, disk, .. }
            | What::Replace { node, disk, .. } => Some((node, disk)),
            _ => None,
        }
    }

    /// Whether it may keep a node from answering in time: which one; `u64::MAX` for any.
    #[must_use]
    pub fn hinders(&self) -> Option<u64> {
        match *self {
            What::Crash { node, .. }
            | What::Kill { node, .. }
            | What::Pause { node, .. }
            | What::Cut { node, .. }
            | What::Slow { node, .. } => Some(node),
            What::Loss { .. } => Some(u64::MAX),
            _ => None,
        }
    }

    /// Whether it is trouble at all.
    #[must_use]
    pub fn is_fault(&self) -> bool {
        self.harms().is_some()
            || self.hinders().is_some()
            || matches!(self, What::ClientDeath { .. })
    }

    /// Whether it is an operation of a client.
    #[must_use]
    pub fn is_operation(&self) -> bool {
        !self.is_fault() && !matches!(self, What::Settle { .. })
    }
}

impl Plan {
    /// Whether no stripe can lose more than it survives, whatever happens.
    ///
    /// With m losses to survive, an era is fair when at most m nodes are harmed and no other is
    /// hindered: a cell that a put left out was then meant for one of them. Or when at most m - 1
    /// are harmed: a put leaves out one cell at most, anywhere.
    #[must_use]
    pub fn is_fair(&self) -> bool {
        let parity = self.setup.parity as usize;
        self.actions.split(|action| matches!(action.what, What::Settle { .. })).all(|era| {
            let mut harmed: Vec<u64> = era.iter().filter_map(|a| a.what.harms()).collect();
            harmed.sort_unstable();
            harmed.dedup();
            let hindered = era.iter().filter_map(|action| action.what.hinders());
            let is_narrow = hindered.clone().all(|node| harmed.contains(&node));
            let is_quiet = hindered.count() == 0;
            harmed.is_empty()
                || harmed.len() < parity
                || harmed.len() == parity && (is_narrow || is_quiet)
        })
    }

    /// How many operations of clients.
    #[must_use]
    pub fn operations(&self) -> usize {
        self.actions.iter().filter(|action| action.what.is_operation()).count()
    }

    /// How many faults are planned.
    #[must_use]
    pub fn faults(&self) -> usize {
        self.actions.iter().filter(|action| action.what.is_fault()).count()
    }
}

/// `key=number` words of a line.
struct Words<'a>(Vec<(&'a str, u64)>);

impl Words<'_> {
    fn number(&self, name: &str) -> Option<u64> {
        self.0.iter().find(|(key, _)| *key == name).map(|(_, number)| *number)
    }
}

impl fmt::Display for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "isotherm plan 1\nseed {}\nsetup", self.seed)?;
        self.setup.write(f)?;
        for Action { number, at_ms, what } in &self.actions {
            write!(f, "\n{number} {at_ms} ")?;
            what.write(f)?;
        }
        writeln!(f)
    }
}

/// Where a text is no plan.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct PlanError {
    /// The line, from 1.
    pub line: usize,
}

impl fmt::Display for PlanError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "line {} is not a line of a plan", self.line)
    }
}

impl std::error::Error for PlanError {}

impl FromStr for Plan {
    type Err = PlanError;

    /// Lines that begin with `#` and empty ones don't count.
    fn from_str(text: &str) -> Result<Plan, PlanError> {
        let mut plan = Plan { seed: 0, setup: Setup::default(), actions: Vec::new() };
        let mut seen = 0;
        for (at, line) in text.lines().enumerate() {
            let line = line.trim();
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            plan.read_line(seen, line).ok_or(PlanError { line: at + 1 })?;
            seen += 1;
        }
        if seen < 3 { Err(PlanError { line: text.lines().count() }) } else { Ok(plan) }
    }
}

impl Plan {
    fn read_line(&mut self, seen: usize, line: &str) -> Option<()> {
        let all: Vec<&str> = line.split_whitespace().collect();
        let pair = |word: &&'_ str| {
            let (key, number) = word.split_once('=')?;
            Some((key.to_owned(), number.parse::<u64>().ok()?))
        };
        match (seen, &all[..]) {
            (0, ["isotherm", "plan", "1"]) => {}
            (1, ["seed", seed]) => self.seed = seed.parse().ok()?,
            (2, ["setup", rest @ ..]) => {
                let pairs: Vec<(String, u64)> = rest.iter().map(pair).collect::<Option<_>>()?;
                let words = Words(pairs.iter().map(|(key, n)| (&key[..], *n)).collect());
                self.setup = Setup::read(&words)?;
            }
            (3.., [number, at_ms, word, rest @ ..]) => {
                let pairs: Vec<(String, u64)> = rest.iter().map(pair).collect::<Option<_>>()?;
                let words = Words(pairs.iter().map(|(key, n)| (&key[..], *n)).collect());
                let what = What::read(word, &words)?;
                let (number, at_ms) = (number.parse().ok()?, at_ms.parse().ok()?);
                self.actions.push(Action { number, at_ms, what });
            }
            _ => return None,
        }
        Some(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_plan_is_its_text() {
        for seed in 0..20 {
            let plan = Plan::drawn(seed);
            assert_eq!(plan.to_string().parse(), Ok(plan));
        }
        let error = "isotherm plan 1\nseed 4\nsetup nodes=3\n".parse::<Plan>().unwrap_err();
        assert_eq!(error.line, 3);
    }

    #[test]
    fn every_drawn_plan_is_fair_and_more_harm_is_not() {
        for seed in 0..200 {
            assert!(Plan::drawn(seed).is_fair(), "seed {seed}");
        }
        let mut plan = Plan::drawn(1);
        plan.setup.parity = 1;
        plan.actions.clear();
        let harm = |node| What::LoseWrite { node, disk: 0 };
        plan.actions.push(Action { number: 0, at_ms: 0, what: harm(1) });
        assert!(plan.is_fair());
        let pause = What::Pause { node: 2, ms: 1 };
        plan.actions.push(Action { number: 1, at_ms: 1, what: pause });
        assert!(!plan.is_fair(), "a put may leave out a cell of node 2");
        plan.actions[1].what = harm(2);
        assert!(!plan.is_fair());
        let settle = Action { number: 2, at_ms: 1, what: What::Settle {} };
        plan.actions.insert(1, settle);
        assert!(plan.is_fair());
    }
}

//! `isotherm cluster drill`: nodes are killed, or cut off, under a load that knows what it should
//! read.
//!
//! ```text
//! round: load ─> kill -9 or stop one node ─> load goes on ─> the node again ─> repair ─> all read
//!        load ─> cut its link ────────────────────────────> the link again ─┘
//! ```
//!
//! What must always hold: the verdict is about what the cluster acknowledged and nothing else: an
//! acknowledged object is read back whole, byte by byte; one whose delete was acknowledged is not;
//! what was never answered may be either. Exit code 0 only if that holds throughout.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::process::ExitCode;
use std::rc::Rc;

use anyhow::{Context, ensure};
use bytes::Bytes;
use isotherm_client::{Client, ClientConfig, ClientError, Locator};
use isotherm_host::OsEntropy;
use isotherm_placement::ClusterMap;
use isotherm_reactor::Handle;
use isotherm_seam::{Domain, Draws, Entropy, Nanos};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::json;

use super::folder::Folder;
use super::link::Link;
use super::net::Cut;
use super::partition::Moved;
use super::{Place, running, up};
use crate::objects::repair;

const DRILL: Domain = Domain::new("cli.cluster.drill");
const CONTENT: Domain = Domain::new("cli.cluster.drill.content");

/// Operations under way at once.
const WORKERS: u64 = 4;
/// Objects kept; more are deleted.
const OBJECTS_MAX: usize = 400;
const LEN_MAX: u64 = 6 << 20;

/// Kills or freezes nodes under load, starts them again, repairs, and checks every byte.
///
/// For a cluster that `cluster up` made on this machine. Objects that were there before are not
/// touched; those of the drill are deleted at its end.
#[derive(clap::Args)]
#[command(after_help = "Examples:
  isotherm cluster up && isotherm cluster drill --rounds 10
  isotherm cluster drill --partition --rounds 20      (as root)")]
pub(super) struct DrillCommand {
    #[command(flatten)]
    place: Place,
    /// How often a node is killed, frozen, or cut off
    #[arg(long, value_name = "N", default_value_t = 10)]
    rounds: u32,
    /// Cut nodes off instead: each runs in a network namespace of its own meanwhile, and loses its
    /// link, or one direction of it. Needs root and iproute2; the nodes are stopped and started
    #[arg(long)]
    partition: bool,
    /// Seconds of load before and after each kill or cut
    #[arg(long, value_name = "SECONDS", default_value_t = 1.0)]
    load: f64,
    /// Decides what is drawn; by chance where absent
    #[arg(long, value_name = "N")]
    seed: Option<u64>,
    /// The verdict as JSON
    #[arg(long)]
    json: bool,
}

/// What the cluster has promised, and where it was found to have broken a promise.
#[derive(Default)]
struct Ledger {
    kept: BTreeMap<u128, Locator>,
    deleted: BTreeMap<u128, Locator>,
    /// A delete was asked for and not acknowledged.
    unknown: BTreeMap<u128, Locator>,
    counts: Counts,
    wrong: Vec<String>,
}

#[derive(Clone, Copy, Default)]
struct Counts {
    puts: u64,
    gets: u64,
    deletes: u64,
    /// Of these, while a node was gone.
    puts_without: u64,
    gets_without: u64,
    deletes_without: u64,
    refused: u64,
    /// Of these, gets and puts.
    gets_refused: u64,
    puts_refused: u64,
    repaired_cells: u64,
    /// The longest get that came well, and the longest put.
    get_longest: Nanos,
    put_longest: Nanos,
}

/// What is done to a node.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Harm {
    Kill,
    /// It does afterwards what it was asked before.
    Freeze,
    /// Its link is cut.
    Cut(Cut),
    /// Its link comes and goes.
    Flap(Cut),
}

/// What rounds of cuts do, in turn.
const CUTS: [Harm; 6] = [
    Harm::Cut(Cut::NodeEnd),
    Harm::Cut(Cut::ToNode),
    Harm::Cut(Cut::FromNode),
    Harm::Flap(Cut::NodeEnd),
    Harm::Cut(Cut::ClientEnd),
    Harm::Flap(Cut::FromNode),
];

/// How long a link that comes and goes stays as it is, at most.
const FLAP: Nanos = Nanos::from_millis(600);

impl DrillCommand {
    pub(super) fn run(self) -> anyhow::Result<ExitCode> {
        let folder = self.place.folder();
        let map = folder.map()?;
        ensure!(
            map.nodes.iter().all(|node| running(&folder, &node.name).is_some()),
            "not all nodes run: `isotherm cluster up` starts them"
        );
        if !self.partition {
            let verdict = self.drill(&folder, map, None);
            // However it ended, the cluster is left whole.
            up::start(&folder, &folder.map()?)?;
            return verdict;
        }
        // On a thread of its own, so that this one stays in the network where it is.
        let drill = || {
            let moved = Moved::start(&folder, &map)?;
            self.drill(&folder, moved.map.clone(), Some(Rc::new(moved)))
        };
        let verdict = std::thread::scope(|scope| match scope.spawn(drill).join() {
            Ok(verdict) => verdict,
            Err(panic) => std::panic::resume_unwind(panic),
        });
        up::start(&folder, &map)?;
        up::wait(&folder, &map, &crate::stop::on_signal()?)?;
        verdict
    }

    fn drill(
        &self,
        folder: &Folder,
        map: ClusterMap,
        moved: Option<Rc<Moved>>,
    ) -> anyhow::Result<ExitCode> {
        let seed = match self.seed {
            Some(seed) => seed,
            None => OsEntropy::new()?.next_u64(DRILL, 0),
        };
        eprintln!("isotherm: --seed {seed}");
        let mut link = Link::with_map(folder, map.clone(), ClientConfig::default())?;
        let handle = link.handle();
        let stop = crate::stop::on_signal()?;
        let ledger: Rc<RefCell<Ledger>> = Rc::default();
        let drill = Drill {
            folder: folder.clone(),
            map,
            moved,
            handle,
            ledger: Rc::clone(&ledger),
            seed,
            load: Nanos::from_secs_f64(self.load),
        };
        let rounds = self.rounds;
        let done = link.run(&stop, move |client| async move {
            drill.settle(&client).await?;
            for round in 0..rounds {
                drill.round(&client, round).await?;
                let counts = drill.ledger.borrow().counts;
                eprintln!(
                    "isotherm: round {}: {} puts, {} gets, {} deletes; {} objects checked",
                    round + 1,
                    counts.puts,
                    counts.gets,
                    counts.deletes,
                    drill.ledger.borrow().kept.len(),
                );
                if !drill.ledger.borrow().wrong.is_empty() {
                    break;
                }
            }
            drill.clear(&client).await;
            anyhow::Ok(())
        });
        drop(link);
        let was_cut = done.is_none();
        done.transpose()?;
        let ledger = ledger.borrow();
        let counts = ledger.counts;
        if self.json {
            let told = json!({
                "seed": seed, "rounds": rounds, "cut_short": was_cut,
                "puts": counts.puts, "gets": counts.gets, "deletes": counts.deletes,
                "puts_with_a_node_gone": counts.puts_without,
                "gets_with_a_node_gone": counts.gets_without,
                "deletes_with_a_node_gone": counts.deletes_without,
                "refused": counts.refused,
                "gets_refused": counts.gets_refused, "puts_refused": counts.puts_refused,
                "get_longest_ms": counts.get_longest.as_millis_f64(),
                "put_longest_ms": counts.put_longest.as_millis_f64(), "cells_repaired": counts.repaired_cells,
                "broken_promises": ledger.wrong,
            });
            println!("{told:#}");
        } else {
            println!(
                "{} puts ({} with a node gone), {} gets ({}), {} deletes ({}); refused: {} puts, \
                 {} gets, {} deletes; the longest: put {:.0} ms, get {:.0} ms; {} cells repaired",
                counts.puts,
                counts.puts_without,
                counts.gets,
                counts.gets_without,
                counts.deletes,
                counts.deletes_without,
                counts.puts_refused,
                counts.gets_refused,
                counts.refused - counts.puts_refused - counts.gets_refused,
                counts.put_longest.as_millis_f64(),
                counts.get_longest.as_millis_f64(),
                counts.repaired_cells,
            );
            for wrong in &ledger.wrong {
                println!("BROKEN: {wrong}");
            }
            if ledger.wrong.is_empty() {
                println!("nothing lost, nothing wrong, nothing back");
            }
        }
        Ok(match (was_cut, ledger.wrong.is_empty()) {
            (_, false) => ExitCode::FAILURE,
            (true, true) => ExitCode::from(130),
            (false, true) => ExitCode::SUCCESS,
        })
    }
}

struct Drill {
    folder: Folder,
    map: ClusterMap,
    /// The network, where links are cut.
    moved: Option<Rc<Moved>>,
    handle: Handle,
    ledger: Rc<RefCell<Ledger>>,
    seed: u64,
    load: Nanos,
}

/// The bytes of an object follow from its number.
fn content(object: u128, len: u64) -> Bytes {
    let mut draws = Draws::new(object as u64, CONTENT, (object >> 64) as u64);
    let mut bytes = Vec::with_capacity(len as usize + 8);
    while bytes.len() < len as usize {
        bytes.extend_from_slice(&draws.next_u64().to_le_bytes());
    }
    bytes.truncate(len as usize);
    Bytes::from(bytes)
}

impl Drill {
    async fn round(&self, client: &Client, round: u32) -> anyhow::Result<()> {
        let mut draws = Draws::new(self.seed, DRILL, u64::from(round));
        let victim = draws.below(self.map.nodes.len() as u64) as usize;
        let name = &self.map.nodes[victim].name;
        let kill_at = self.handle.now() + self.load + Nanos(draws.below(self.load.0.max(1)));
        // Time to find out that it is gone, and then to go on without it.
        let until = kill_at + ClientConfig::default().cell_patience + self.load;
        let freezes = draws.below(3) == 0;
        let harm = match (&self.moved, freezes) {
            (Some(_), _) => CUTS[round as usize % CUTS.len()],
            (None, true) => Harm::Freeze,
            (None, false) => Harm::Kill,
        };
        let workers: Vec<_> = (0..WORKERS)
            .map(|worker| {
                let draws = Draws::new(self.seed, DRILL, u64::from(round) << 8 | (worker + 1));
                let (client, ledger) = (client.clone(), Rc::clone(&self.ledger));
                let handle = self.handle.clone();
                self.handle.spawn("drill", async move {
                    work(&client, &handle, &ledger, draws, until, kill_at).await;
                })
            })
            .collect();
        self.handle.sleep_until(kill_at).await;
        match harm {
            Harm::Kill => kill(self.process(name)?, Signal::SIGKILL)?,
            Harm::Freeze => kill(self.process(name)?, Signal::SIGSTOP)?,
            Harm::Cut(cut) => self.net().cut(victim, cut)?,
            Harm::Flap(cut) => {
                while self.handle.now() < until {
                    self.net().cut(victim, cut)?;
                    self.handle.sleep(Nanos(draws.below(FLAP.0))).await;
                    self.net().heal(victim, cut)?;
                    self.handle.sleep(Nanos(draws.below(FLAP.0))).await;
                }
            }
        }
        for worker in workers {
            worker.await;
        }
        // What can be read must be right, also with the node gone.
        self.check(client, 40).await;
        match harm {
            Harm::Kill => up::start(&self.folder, &self.map)?,
            Harm::Freeze => kill(self.process(name)?, Signal::SIGCONT)?,
            Harm::Cut(cut) => self.net().heal(victim, cut)?,
            Harm::Flap(_) => {}
        }
        self.settle(client).await?;
        let walk = repair(client, false, false).await?;
        self.ledger.borrow_mut().counts.repaired_cells += walk.report.cells_mended;
        self.check(client, usize::MAX).await;
        Ok(())
    }

    fn process(&self, name: &str) -> anyhow::Result<Pid> {
        running(&self.folder, name).with_context(|| format!("{name} does not run"))
    }

    fn net(&self) -> &Moved {
        self.moved.as_ref().expect("only then links are cut")
    }

    /// Waits until every disk answers again.
    async fn settle(&self, client: &Client) -> anyhow::Result<()> {
        let until = self.handle.now() + Nanos::from_secs(60);
        for disk in &self.map.disks {
            while let Err(why) = client.disk_state(disk.no).await {
                ensure!(self.handle.now() < until, "{} does not come back: {why}", disk.no);
                self.handle.sleep(Nanos::from_millis(50)).await;
            }
        }
        Ok(())
    }

    async fn check(&self, client: &Client, limit: usize) {
        let (kept, deleted): (Vec<Locator>, Vec<Locator>) = {
            let ledger = self.ledger.borrow();
            let deleted = ledger.deleted.values().rev().take(limit);
            (ledger.kept.values().copied().take(limit).collect(), deleted.copied().collect())
        };
        for locator in kept {
            let result = client.get(&locator, None).await;
            let wrong = match result {
                Ok(bytes) if content(locator.object, locator.len_bytes) == bytes => continue,
                Ok(_) => format!("{locator}: other bytes"),
                Err(error) => format!("{locator}: {error}"),
            };
            self.ledger.borrow_mut().wrong.push(wrong);
        }
        for locator in deleted {
            if client.get(&locator, None).await.is_ok() {
                let wrong = format!("{locator}: deleted, and back");
                self.ledger.borrow_mut().wrong.push(wrong);
            }
        }
    }

    /// Deletes what the drill has put.
    async fn clear(&self, client: &Client) {
        let left: Vec<Locator> = {
            let ledger = self.ledger.borrow();
            ledger.kept.values().chain(ledger.unknown.values()).copied().collect()
        };
        for locator in left {
            // What can't be deleted is seen by `ls`.
            let _ = client.delete(&locator).await;
        }
    }
}

/// Puts, gets and deletes until the time is up.
async fn work(
    client: &Client,
    handle: &Handle,
    ledger: &RefCell<Ledger>,
    mut draws: Draws,
    until: isotherm_seam::Mono,
    kill_at: isotherm_seam::Mono,
) {
    while handle.now() < until {
        let pick = |ledger: &Ledger, draws: &mut Draws| {
            let at = draws.below(ledger.kept.len().max(1) as u64) as usize;
            ledger.kept.values().nth(at).copied()
        };
        let is_without = handle.now() > kill_at;
        let kept = ledger.borrow().kept.len();
        let dice = draws.below(100);
        if kept >= OBJECTS_MAX || (dice < 12 && kept > 20) {
            let Some(locator) = pick(&ledger.borrow(), &mut draws) else { continue };
            // From now on it may be there or not.
            ledger.borrow_mut().kept.remove(&locator.object);
            let result = client.delete(&locator).await;
            let ledger = &mut *ledger.borrow_mut();
            match result {
                Ok(()) => {
                    ledger.counts.deletes += 1;
                    ledger.counts.deletes_without += u64::from(is_without);
                    ledger.deleted.insert(locator.object, locator);
                }
                Err(_) => {
                    ledger.counts.refused += 1;
                    ledger.unknown.insert(locator.object, locator);
                }
            }
        } else if dice < 55 {
            let object = client.new_id();
            // Mostly small, sometimes of several stripes.
            let scale = 1 << (4 + draws.below(19));
            let len = 1 + draws.below(scale).min(LEN_MAX);
            let begun = handle.now();
            let result = client.put(object, content(object, len)).await;
            let ledger = &mut *ledger.borrow_mut();
            match result {
                Ok(locator) => {
                    let counts = &mut ledger.counts;
                    counts.puts += 1;
                    counts.puts_without += u64::from(is_without);
                    counts.put_longest = counts.put_longest.max(handle.now().since(begun));
                    ledger.kept.insert(object, locator);
                }
                Err(_) => {
                    ledger.counts.refused += 1;
                    ledger.counts.puts_refused += 1;
                }
            }
        } else {
            let Some(locator) = pick(&ledger.borrow(), &mut draws) else { continue };
            let begun = handle.now();
            let result = client.get(&locator, None).await;
            let ledger = &mut *ledger.borrow_mut();
            let counts = &mut ledger.counts;
            match result {
                Ok(bytes) if content(locator.object, locator.len_bytes) == bytes => {
                    counts.gets += 1;
                    counts.gets_without += u64::from(is_without);
                    counts.get_longest = counts.get_longest.max(handle.now().since(begun));
                }
                Ok(_) => ledger.wrong.push(format!("{locator}: other bytes")),
                // Another worker has begun to delete it meanwhile.
                Err(ClientError::Deleted | ClientError::NotFound)
                    if !ledger.kept.contains_key(&locator.object) => {}
                Err(ClientError::Busy { .. } | ClientError::Late) => {
                    counts.refused += 1;
                    counts.gets_refused += 1;
                }
                Err(ClientError::Unavailable { .. }) if is_without => {
                    counts.refused += 1;
                    counts.gets_refused += 1;
                }
                Err(error) => ledger.wrong.push(format!("{locator}: {error}")),
            }
        }
    }
}

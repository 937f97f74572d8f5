//! Which of the disks that could serve a read are to serve it, and when that is decided.
//!
//! What must always hold: a policy is a function of what is known of one read at the moment of an
//! event; it waits for nothing and asks nobody. As long as enough cells can be had, it goes on
//! asking for as many as are needed.
//!
//! ```text
//! event ─> policy(view) ─> acts: get, reserve, grant, park, wake, drop, probe
//! ```
//!
//! | file              | when it decides, and by what                                        |
//! |-------------------|---------------------------------------------------------------------|
//! | `random.rs`       | at once, by chance                                                  |
//! | `least_loaded.rs` | at once, by what this client saw of the disks                       |
//! | `probe.rs`        | after every disk was asked how long a read would wait               |
//! | `all_n.rs`        | never: all are asked, the first that answer win                     |
//! | `tied.rs`         | when enough of all have begun: the others are dropped               |
//! | `late.rs`         | when a disk's arm is about to come to it                            |

mod all_n;
mod late;
mod least_loaded;
mod probe;
mod random;
mod tied;

use std::fmt;
use std::str::FromStr;

use isotherm_seam::{Draws, Nanos};

/// How reads of whole stripes and of copies choose among the disks that could serve them.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub enum ReadPolicy {
    /// The data cells, which need no decoding; others when these fail or are slow. No choice by
    /// load.
    #[default]
    Direct,
    /// Any that suffice.
    Random,
    /// Those that this client has had the least trouble with of late.
    LeastLoaded,
    /// Those that say that they have the shortest queues.
    Probe,
    /// All of them; what comes first is used.
    AllN,
    /// All of them; when enough have begun the others are taken back.
    Tied,
    /// Those whose arms come to it first.
    Late,
}

impl ReadPolicy {
    /// Every policy.
    pub const ALL: [ReadPolicy; 7] = [
        ReadPolicy::Direct,
        ReadPolicy::Random,
        ReadPolicy::LeastLoaded,
        ReadPolicy::Probe,
        ReadPolicy::AllN,
        ReadPolicy::Tied,
        ReadPolicy::Late,
    ];

    /// Its name, as it is given on a command line.
    pub const fn name(self) -> &'static str {
        match self {
            ReadPolicy::Direct => "direct",
            ReadPolicy::Random => "random",
            ReadPolicy::LeastLoaded => "least-loaded",
            ReadPolicy::Probe => "probe",
            ReadPolicy::AllN => "all-n",
            ReadPolicy::Tied => "tied",
            ReadPolicy::Late => "late",
        }
    }

    /// What decides; `None` where nothing is to be decided.
    pub(crate) fn steers(self) -> Option<&'static dyn Policy> {
        Some(match self {
            ReadPolicy::Direct => return None,
            ReadPolicy::Random => &random::Random,
            ReadPolicy::LeastLoaded => &least_loaded::LeastLoaded,
            ReadPolicy::Probe => &probe::Probe,
            ReadPolicy::AllN => &all_n::AllN,
            ReadPolicy::Tied => &tied::Tied,
            ReadPolicy::Late => &late::Late,
        })
    }
}

impl fmt::Display for ReadPolicy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// It names no policy.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("no read policy is called {0:?}: there are {names}", names = ReadPolicy::ALL.map(ReadPolicy::name).join(", "))]
pub struct UnknownPolicy(String);

impl FromStr for ReadPolicy {
    type Err = UnknownPolicy;

    fn from_str(text: &str) -> Result<ReadPolicy, UnknownPolicy> {
        let found = ReadPolicy::ALL.into_iter().find(|policy| policy.name() == text);
        found.ok_or_else(|| UnknownPolicy(text.to_owned()))
    }
}

/// What is to be done about one cell.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Act {
    Get(usize),
    Reserve(usize),
    /// A reservation that begins without a grant, and says so.
    Tie(usize),
    Grant(usize),
    Park(usize),
    Wake(usize),
    Drop(usize),
    /// Ask how long a read would wait.
    Probe(usize),
}

/// What has happened.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Event {
    Begin,
    /// A probe came back, or its patience is over.
    Probed,
    Claimed(usize),
    Arrived,
    Failed,
    /// It takes longer than nearly all reads do: one cell more is to be asked for.
    Slow,
}

/// How far a cell has come.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Is {
    Idle,
    Probing,
    /// A read would wait for so long.
    Probed(Nanos),
    Reserved,
    Parked,
    /// Asked for, granted or begun: it will come if nothing goes wrong.
    Coming,
    Have,
    Failed,
}

/// A cell as a policy sees it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct CellView {
    pub(crate) is: Is,
    /// Its disk is silent, or in doubt: only where others don't suffice.
    pub(crate) is_avoided: bool,
    /// What this client expects of its disk, by what it saw of it.
    pub(crate) load: Nanos,
}

/// A read as a policy sees it.
pub(crate) struct View<'a> {
    pub(crate) needed: usize,
    /// So many more are asked for, because some are slow.
    pub(crate) spare: usize,
    pub(crate) cells: &'a [CellView],
}

/// Decides.
pub(crate) trait Policy {
    fn on(&self, event: Event, view: &View<'_>, draws: &mut Draws, acts: &mut Vec<Act>);
}

impl View<'_> {
    fn count(&self, is: impl Fn(Is) -> bool) -> usize {
        self.cells.iter().filter(|cell| is(cell.is)).count()
    }

    /// So many more cells are to be asked for.
    pub(crate) fn missing(&self) -> usize {
        let sure = self.count(|is| matches!(is, Is::Have | Is::Coming));
        (self.needed + self.spare).saturating_sub(sure)
    }

    /// The cells of which this is true, by number.
    fn that(&self, is: impl Fn(Is) -> bool) -> impl Iterator<Item = usize> {
        let cells = self.cells.iter().enumerate();
        cells.filter(move |(_, cell)| is(cell.is)).map(|(number, _)| number)
    }

    /// Cells that could be asked, in an order by chance, those to be avoided last.
    fn by_chance(&self, is: impl Fn(Is) -> bool, draws: &mut Draws) -> Vec<usize> {
        let mut cells: Vec<usize> = self.that(is).collect();
        for end in (1..cells.len()).rev() {
            cells.swap(end, draws.below(end as u64 + 1) as usize);
        }
        cells.sort_by_key(|&cell| self.cells[cell].is_avoided);
        cells
    }
}

/// A cell that nothing was asked of yet.
fn is_idle(is: Is) -> bool {
    matches!(is, Is::Idle | Is::Probed(_))
}

#[cfg(test)]
mod tests {
    use isotherm_seam::Domain;

    use super::*;

    const N: usize = 6;
    const K: usize = 4;

    fn cells() -> Vec<CellView> {
        let load = |at: usize| Nanos::from_millis(at as u64 * 7 % 6);
        (0..N).map(|at| CellView { is: Is::Idle, is_avoided: false, load: load(at) }).collect()
    }

    fn draws() -> Draws {
        Draws::new(1, Domain::new("test.policy"), 0)
    }

    /// What a policy says, done to the cells.
    fn tell(
        policy: ReadPolicy,
        event: Event,
        cells: &mut [CellView],
        draws: &mut Draws,
    ) -> Vec<Act> {
        let mut acts = Vec::new();
        let view = View { needed: K, spare: usize::from(event == Event::Slow), cells };
        policy.steers().unwrap().on(event, &view, draws, &mut acts);
        for act in &acts {
            let (cell, is) = match *act {
                Act::Get(cell) | Act::Grant(cell) => (cell, Is::Coming),
                Act::Reserve(cell) | Act::Tie(cell) | Act::Wake(cell) => (cell, Is::Reserved),
                Act::Park(cell) => (cell, Is::Parked),
                Act::Drop(cell) => (cell, Is::Idle),
                Act::Probe(cell) => (cell, Is::Probing),
            };
            cells[cell].is = is;
        }
        acts
    }

    /// A whole read by chance: claims, failures, answers in any order. However it goes, with at
    /// most `N - K` failures the read ends.
    #[test]
    fn a_read_ends_whatever_happens() {
        for policy in ReadPolicy::ALL.into_iter().filter(|policy| policy.steers().is_some()) {
            for seed in 0..500 {
                let mut draws = Draws::new(seed, Domain::new("test.policy"), 1);
                let (mut cells, mut failures) = (cells(), 0);
                for cell in &mut cells {
                    cell.is_avoided = draws.happens(0.2);
                }
                tell(policy, Event::Begin, &mut cells, &mut draws);
                let mut steps = 0;
                while cells.iter().filter(|cell| cell.is == Is::Have).count() < K {
                    steps += 1;
                    assert!(steps < 1000, "{policy} seed {seed}: {cells:?}");
                    let under_way: Vec<usize> = (0..N)
                        .filter(|&cell| {
                            matches!(cells[cell].is, Is::Probing | Is::Reserved | Is::Coming)
                        })
                        .collect();
                    assert!(
                        !under_way.is_empty(),
                        "{policy} seed {seed} waits for nothing: {cells:?}"
                    );
                    let cell = under_way[draws.below(under_way.len() as u64) as usize];
                    let fails = failures < N - K && draws.happens(0.2);
                    failures += usize::from(fails);
                    let event = match cells[cell].is {
                        _ if fails => {
                            cells[cell].is = Is::Failed;
                            Event::Failed
                        }
                        Is::Probing => {
                            cells[cell].is = Is::Probed(Nanos(draws.below(1000)));
                            Event::Probed
                        }
                        Is::Reserved => {
                            if policy == ReadPolicy::Tied {
                                cells[cell].is = Is::Coming;
                            }
                            Event::Claimed(cell)
                        }
                        _ => {
                            cells[cell].is = Is::Have;
                            Event::Arrived
                        }
                    };
                    tell(policy, event, &mut cells, &mut draws);
                }
            }
        }
    }

    #[test]
    fn late_grants_as_many_as_are_needed_and_parks_the_rest() {
        let (mut cells, mut draws) = (cells(), draws());
        let acts = tell(ReadPolicy::Late, Event::Begin, &mut cells, &mut draws);
        assert_eq!(acts, (0..N).map(Act::Reserve).collect::<Vec<_>>());
        for cell in 0..K - 1 {
            let acts = tell(ReadPolicy::Late, Event::Claimed(cell), &mut cells, &mut draws);
            assert_eq!(acts, [Act::Grant(cell)]);
        }
        let acts = tell(ReadPolicy::Late, Event::Claimed(K - 1), &mut cells, &mut draws);
        assert_eq!(acts, [Act::Grant(K - 1), Act::Park(K), Act::Park(K + 1)]);
        // One fails: those that were parked are wanted again, and the first that claims has it.
        cells[0].is = Is::Failed;
        let acts = tell(ReadPolicy::Late, Event::Failed, &mut cells, &mut draws);
        assert_eq!(acts, [Act::Wake(K), Act::Wake(K + 1)]);
        let acts = tell(ReadPolicy::Late, Event::Claimed(K + 1), &mut cells, &mut draws);
        assert_eq!(acts, [Act::Grant(K + 1), Act::Park(K)]);
        // A slow one: one more than is needed.
        let acts = tell(ReadPolicy::Late, Event::Slow, &mut cells, &mut draws);
        assert_eq!(acts, [Act::Wake(K)]);
    }

    /// What deciding costs: `cargo test --release -p isotherm-client --lib cost_of -- --ignored
    /// --nocapture`. A read of ten of fourteen cells: its beginning, a claim of each, ten cells.
    #[test]
    #[ignore = "takes the time of this machine"]
    #[expect(clippy::disallowed_methods, reason = "the processor's time is what is measured")]
    fn cost_of_the_decisions_of_a_read() {
        const ROUNDS: u32 = 200_000;
        for policy in ReadPolicy::ALL.into_iter().filter(|policy| policy.steers().is_some()) {
            let decides = policy.steers().unwrap();
            let (mut draws, mut acts) = (draws(), Vec::new());
            let mut best = f64::MAX;
            let mut decisions = 0u64;
            for _ in 0..7 {
                decisions = 0;
                let began = std::time::Instant::now();
                for _ in 0..ROUNDS {
                    let idle =
                        CellView { is: Is::Idle, is_avoided: false, load: Nanos::from_millis(1) };
                    let mut cells = [idle; 14];
                    let mut on = |event, cells: &mut [CellView; 14]| {
                        let view = View { needed: 10, spare: 0, cells };
                        decides.on(event, &view, &mut draws, &mut acts);
                        decisions += 1;
                        for act in acts.drain(..) {
                            let (cell, is) = match act {
                                Act::Get(cell) | Act::Grant(cell) => (cell, Is::Coming),
                                Act::Reserve(cell) | Act::Tie(cell) | Act::Wake(cell) => {
                                    (cell, Is::Reserved)
                                }
                                Act::Park(cell) => (cell, Is::Parked),
                                Act::Drop(cell) => (cell, Is::Idle),
                                Act::Probe(cell) => (cell, Is::Probing),
                            };
                            cells[cell].is = is;
                        }
                    };
                    on(Event::Begin, &mut cells);
                    for cell in 0..14 {
                        match cells[cell].is {
                            Is::Reserved if policy == ReadPolicy::Tied => {
                                cells[cell].is = Is::Coming;
                                on(Event::Claimed(cell), &mut cells);
                            }
                            Is::Reserved => on(Event::Claimed(cell), &mut cells),
                            Is::Probing => {
                                cells[cell].is = Is::Probed(Nanos(cell as u64));
                                on(Event::Probed, &mut cells);
                            }
                            _ => {}
                        }
                    }
                    for cell in 0..14 {
                        if cells[cell].is == Is::Coming {
                            cells[cell].is = Is::Have;
                            on(Event::Arrived, &mut cells);
                        }
                    }
                }
                best = best.min(began.elapsed().as_nanos() as f64 / f64::from(ROUNDS));
            }
            let each = decisions / u64::from(ROUNDS);
            println!("{policy}: {best:.0} ns a read for {each} decisions");
        }
    }

    #[test]
    fn the_least_loaded_are_asked_and_what_is_avoided_last() {
        let (mut cells, mut draws) = (cells(), draws());
        cells[0].is_avoided = true;
        let acts = tell(ReadPolicy::LeastLoaded, Event::Begin, &mut cells, &mut draws);
        let mut asked: Vec<usize> = acts
            .iter()
            .map(|act| if let Act::Get(cell) = act { *cell } else { panic!() })
            .collect();
        asked.sort_unstable();
        // Loads are 0, 1, 2, 3, 4, 5 ms.
        assert_eq!(asked, [1, 2, 3, 4]);
    }

    #[test]
    fn names_are_read_back() {
        for policy in ReadPolicy::ALL {
            assert_eq!(policy.name().parse(), Ok(policy));
        }
        let error = "lat".parse::<ReadPolicy>().unwrap_err().to_string();
        assert!(error.contains("least-loaded"), "{error}");
    }
}

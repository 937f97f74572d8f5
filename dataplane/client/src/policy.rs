//! Which of the disks that could serve a read are to serve it, and when that is decided.
//!
//! What must always hold: a policy is a function of what is known of one read at the moment of an
//! event; it waits for nothing and asks nobody. As long as enough cells can be had, it goes on
//! asking for as many as are needed.
//!
//! ```text
//! event ─> policy(view) ─> acts: get, reserve, offer, grant, park, wake, drop, probe
//! ```
//!
//! | file              | when it decides, and by what                                        |
//! |-------------------|---------------------------------------------------------------------|
//! | `random.rs`       | at once, by chance                                                  |
//! | `least_loaded.rs` | at once, by what this client saw of the disks                       |
//! | `probe.rs`        | after every disk was asked how long a read would wait               |
//! | `all_n.rs`        | never: all are asked, the first that answer win                     |
//! | `tied.rs`         | when enough of all have begun: the others are dropped               |
//! | `late.rs`         | when a disk's arm is about to come to it, or stands still           |

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
    /// Those whose arms come to it first; the data cells as long as arms stand still.
    #[default]
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
    /// A reservation that begins without a grant if the arm stands still, and says whether it has.
    Offer(usize),
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
    /// What was offered has begun.
    Begun(usize),
    /// What was offered could not begin at once, and is reserved like any other; or nothing was
    /// heard of it for too long.
    Waits(usize),
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
    /// Its disk has said how long a read would wait.
    Probed,
    /// Reserved, to begin at once: whether it has is not known yet.
    Offered,
    Reserved,
    Parked,
    /// Asked for, granted or begun: it will come if nothing goes wrong.
    Coming,
    Have,
    Failed,
}

/// How many of these there are.
const STATES: usize = Is::Failed as usize + 1;

/// A cell as a policy sees it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct CellView {
    is: Is,
    /// Its disk is silent, or in doubt: only where others don't suffice.
    pub(crate) is_avoided: bool,
    /// What is expected of its disk, by what this client saw of it, or by what it says.
    pub(crate) load: Nanos,
}

impl CellView {
    pub(crate) fn new(is: Is, is_avoided: bool, load: Nanos) -> CellView {
        CellView { is, is_avoided, load }
    }
}

/// A read as a policy sees it. How many cells have come how far is counted as they go, as that is
/// asked at every event.
#[derive(Clone, Debug)]
pub(crate) struct View {
    pub(crate) needed: usize,
    /// So many more are asked for, because some are slow.
    pub(crate) spare: usize,
    /// Most arms stand still, by what this client saw of late.
    pub(crate) is_still: bool,
    cells: Vec<CellView>,
    counts: [usize; STATES],
}

/// Decides.
pub(crate) trait Policy {
    fn on(&self, event: Event, view: &View, draws: &mut Draws, acts: &mut Vec<Act>);
}

impl View {
    pub(crate) fn new(needed: usize, is_still: bool, cells: Vec<CellView>) -> View {
        let mut counts = [0; STATES];
        for cell in &cells {
            counts[cell.is as usize] += 1;
        }
        View { needed, spare: 0, is_still, cells, counts }
    }

    /// How far a cell has come.
    pub(crate) fn is(&self, cell: usize) -> Is {
        self.cells[cell].is
    }

    /// Whether the disk of a cell is used only where others don't suffice.
    pub(crate) fn is_avoided(&self, cell: usize) -> bool {
        self.cells[cell].is_avoided
    }

    /// A cell has come so far.
    pub(crate) fn set(&mut self, cell: usize, is: Is) {
        let was = std::mem::replace(&mut self.cells[cell].is, is);
        self.counts[was as usize] -= 1;
        self.counts[is as usize] += 1;
    }

    /// The disk of a cell says that a read would wait so long.
    pub(crate) fn probed(&mut self, cell: usize, wait: Nanos) {
        self.cells[cell].load = wait;
        self.set(cell, Is::Probed);
    }

    /// How many have come just so far.
    pub(crate) fn count(&self, is: Is) -> usize {
        self.counts[is as usize]
    }

    /// So many more cells are to be asked for.
    pub(crate) fn missing(&self) -> usize {
        let sure = self.count(Is::Have) + self.count(Is::Coming);
        (self.needed + self.spare).saturating_sub(sure)
    }

    /// The cells that have come just so far, by number.
    pub(crate) fn that(&self, is: Is) -> impl Iterator<Item = usize> {
        // Mostly there are none.
        let cells = if self.count(is) > 0 { &self.cells[..] } else { &[] };
        let found = cells.iter().enumerate().filter(move |(_, cell)| cell.is == is);
        found.map(|(number, _)| number)
    }

    /// Whether those that are not to be avoided suffice.
    fn has_enough_good(&self) -> bool {
        self.cells.iter().filter(|cell| !cell.is_avoided).count() >= self.needed
    }

    /// Cells that nothing was asked of yet but how busy they are, in an order by chance, those to
    /// be avoided last.
    fn by_chance(&self, draws: &mut Draws) -> Vec<usize> {
        let mut cells: Vec<usize> = self.that(Is::Idle).chain(self.that(Is::Probed)).collect();
        for end in (1..cells.len()).rev() {
            cells.swap(end, draws.below(end as u64 + 1) as usize);
        }
        cells.sort_by_key(|&cell| self.cells[cell].is_avoided);
        cells
    }
}

#[cfg(test)]
mod tests {
    use isotherm_seam::Domain;

    use super::*;

    const N: usize = 6;
    const K: usize = 4;

    fn view(is_still: bool) -> View {
        let load = |at: usize| Nanos::from_millis(at as u64 * 7 % 6);
        let cell = |at| CellView { is: Is::Idle, is_avoided: false, load: load(at) };
        View::new(K, is_still, (0..N).map(cell).collect())
    }

    fn draws() -> Draws {
        Draws::new(1, Domain::new("test.policy"), 0)
    }

    /// What becomes of a cell of which this is done.
    fn after(act: Act) -> (usize, Is) {
        match act {
            Act::Get(cell) | Act::Grant(cell) => (cell, Is::Coming),
            Act::Reserve(cell) | Act::Tie(cell) | Act::Wake(cell) => (cell, Is::Reserved),
            Act::Offer(cell) => (cell, Is::Offered),
            Act::Park(cell) => (cell, Is::Parked),
            Act::Drop(cell) => (cell, Is::Idle),
            Act::Probe(cell) => (cell, Is::Probing),
        }
    }

    /// What a policy says, done to the cells.
    fn tell(policy: ReadPolicy, event: Event, view: &mut View, draws: &mut Draws) -> Vec<Act> {
        let mut acts = Vec::new();
        policy.steers().unwrap().on(event, view, draws, &mut acts);
        for (cell, is) in acts.iter().copied().map(after) {
            view.set(cell, is);
        }
        acts
    }

    /// A whole read by chance: claims, offers, failures, answers in any order. However it goes,
    /// with at most `N - K` failures the read ends, and nothing is read for nothing but where a
    /// policy says so.
    #[test]
    fn a_read_ends_whatever_happens() {
        for policy in ReadPolicy::ALL.into_iter().filter(|policy| policy.steers().is_some()) {
            for seed in 0..1000 {
                let mut draws = Draws::new(seed, Domain::new("test.policy"), 1);
                let (mut view, mut failures) = (view(seed % 2 == 0), 0);
                for cell in &mut view.cells {
                    cell.is_avoided = draws.happens(0.2);
                }
                tell(policy, Event::Begin, &mut view, &mut draws);
                let mut steps = 0;
                while view.count(Is::Have) < K {
                    steps += 1;
                    assert!(steps < 1000, "{policy} seed {seed}: {view:?}");
                    let is_under_way =
                        |is| matches!(is, Is::Probing | Is::Offered | Is::Reserved | Is::Coming);
                    let under_way: Vec<usize> =
                        (0..N).filter(|&cell| is_under_way(view.is(cell))).collect();
                    assert!(
                        !under_way.is_empty(),
                        "{policy} seed {seed} waits for nothing: {view:?}"
                    );
                    let cell = under_way[draws.below(under_way.len() as u64) as usize];
                    let fails = failures < N - K && draws.happens(0.2);
                    failures += usize::from(fails);
                    let (is, event) = match view.is(cell) {
                        _ if fails => (Is::Failed, Event::Failed),
                        Is::Probing => (Is::Probed, Event::Probed),
                        Is::Offered if draws.happens(0.5) => (Is::Coming, Event::Begun(cell)),
                        Is::Offered => (Is::Reserved, Event::Waits(cell)),
                        Is::Reserved if policy == ReadPolicy::Tied => {
                            (Is::Coming, Event::Claimed(cell))
                        }
                        Is::Reserved => (Is::Reserved, Event::Claimed(cell)),
                        _ => (Is::Have, Event::Arrived),
                    };
                    view.set(cell, is);
                    tell(policy, event, &mut view, &mut draws);
                    let counted = |is| view.cells.iter().filter(|cell| cell.is == is).count();
                    for is in [Is::Idle, Is::Offered, Is::Reserved, Is::Parked, Is::Coming] {
                        assert_eq!(view.count(is), counted(is), "{is:?}");
                    }
                    let used = [Is::Offered, Is::Coming, Is::Have].map(|is| view.count(is));
                    let is_late = policy == ReadPolicy::Late;
                    assert!(!is_late || used.iter().sum::<usize>() <= K, "{seed}: {view:?}");
                }
            }
        }
    }

    #[test]
    fn late_grants_as_many_as_are_needed_and_parks_the_rest() {
        let (mut view, mut draws) = (view(false), draws());
        let mut late = |event, view: &mut View| tell(ReadPolicy::Late, event, view, &mut draws);
        let acts = late(Event::Begin, &mut view);
        assert_eq!(acts, (0..N).map(Act::Reserve).collect::<Vec<_>>());
        for cell in 0..K - 1 {
            assert_eq!(late(Event::Claimed(cell), &mut view), [Act::Grant(cell)]);
        }
        let acts = late(Event::Claimed(K - 1), &mut view);
        assert_eq!(acts, [Act::Grant(K - 1), Act::Park(K), Act::Park(K + 1)]);
        // One fails: those that were parked are wanted again, and the first that claims has it.
        view.set(0, Is::Failed);
        let acts = late(Event::Failed, &mut view);
        assert_eq!(acts, [Act::Wake(K), Act::Wake(K + 1)]);
        let acts = late(Event::Claimed(K + 1), &mut view);
        assert_eq!(acts, [Act::Grant(K + 1), Act::Park(K)]);
        // A slow one: one more than is needed.
        view.spare = 1;
        assert_eq!(late(Event::Slow, &mut view), [Act::Wake(K)]);
    }

    #[test]
    fn late_offers_the_data_while_arms_stand_still_and_reserves_the_rest_when_one_does_not() {
        let (mut view, mut draws) = (view(true), draws());
        let mut late = |event, view: &mut View| tell(ReadPolicy::Late, event, view, &mut draws);
        let acts = late(Event::Begin, &mut view);
        assert_eq!(acts, (0..K).map(Act::Offer).collect::<Vec<_>>());
        view.set(0, Is::Coming);
        assert_eq!(late(Event::Begun(0), &mut view), []);
        view.set(1, Is::Reserved);
        let acts = late(Event::Waits(1), &mut view);
        assert_eq!(acts, [Act::Reserve(K), Act::Reserve(K + 1)]);
        // One is open, and the two of which nothing is known yet may have begun.
        let acts = late(Event::Claimed(K), &mut view);
        assert_eq!(acts, [Act::Grant(K), Act::Park(1), Act::Park(K + 1)]);
        view.set(2, Is::Coming);
        assert_eq!(late(Event::Begun(2), &mut view), []);
        view.set(3, Is::Reserved);
        assert_eq!(late(Event::Waits(3), &mut view), [Act::Wake(1), Act::Wake(K + 1)]);
        assert_eq!(
            late(Event::Claimed(1), &mut view),
            [Act::Grant(1), Act::Park(3), Act::Park(K + 1)]
        );
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
                    let mut view = View::new(10, false, vec![idle; 14]);
                    let mut on = |event, view: &mut View| {
                        decides.on(event, view, &mut draws, &mut acts);
                        decisions += 1;
                        for act in acts.drain(..) {
                            let (cell, is) = after(act);
                            view.set(cell, is);
                        }
                    };
                    on(Event::Begin, &mut view);
                    for cell in 0..14 {
                        match view.is(cell) {
                            Is::Offered => {
                                view.set(cell, Is::Coming);
                                on(Event::Begun(cell), &mut view);
                            }
                            Is::Reserved if policy == ReadPolicy::Tied => {
                                view.set(cell, Is::Coming);
                                on(Event::Claimed(cell), &mut view);
                            }
                            Is::Reserved => on(Event::Claimed(cell), &mut view),
                            Is::Probing => {
                                view.probed(cell, Nanos(cell as u64));
                                on(Event::Probed, &mut view);
                            }
                            _ => {}
                        }
                    }
                    for cell in 0..14 {
                        if view.is(cell) == Is::Coming {
                            view.set(cell, Is::Have);
                            on(Event::Arrived, &mut view);
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
        let (mut view, mut draws) = (view(false), draws());
        view.cells[0].is_avoided = true;
        let acts = tell(ReadPolicy::LeastLoaded, Event::Begin, &mut view, &mut draws);
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

//! What a frontend holds.

use std::cell::{Cell, RefCell};
use std::collections::BTreeSet;
use std::future::Future;
use std::rc::{Rc, Weak};

use isotherm_placement::{ClusterMap, Load};
use isotherm_reactor::Handle;
use isotherm_seam::{Domain, Draws, Entropy, Nanos};
use isotherm_transport::Network;
use isotherm_wire::Class;

use crate::ask::Terms;
use crate::codecs::Codecs;
use crate::delete::Releases;
use crate::layout::STRIPED_FROM_BYTES;
use crate::links::Links;
use crate::loads::{Loads, Patience, Stillness};
use crate::pace::Paces;
use crate::planted::{Bug, Planted};
use crate::policy::{Act, ReadPolicy};

const IDS: Domain = Domain::new("client.ids");
const CHOICES: Domain = Domain::new("client.choices");

/// How a client behaves.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ClientConfig {
    /// An operation that has not ended by then fails. A put or get of many stripes has as much for
    /// each of them.
    pub deadline: Nanos,
    /// How long a put waits for one disk before it goes on without it.
    pub cell_patience: Nanos,
    /// After so long a read asks other disks as well.
    pub hedge_after: Nanos,
    /// Of a thousand reads so many may do that sooner, when they take longer than 95 of 100 do.
    pub hedges_per_mille: u32,
    /// Objects from this length on are cut into stripes; shorter ones are kept in copies, which
    /// take more room and one arm movement a read.
    pub striped_from_bytes: u64,
    /// Which disks serve a read that several could serve.
    pub read_policy: ReadPolicy,
    /// Groups that a stripe is tried on before a put fails.
    pub groups_tried: u32,
    /// Stripes of one put that are under way at once.
    pub stripes_at_once: usize,
    /// What is found damaged or missing on a read is put again.
    pub repairs_on_read: bool,
    /// A deliberate bug.
    pub planted: Planted,
}

impl Default for ClientConfig {
    fn default() -> ClientConfig {
        ClientConfig {
            deadline: Nanos::from_secs(10),
            cell_patience: Nanos::from_secs(2),
            hedge_after: Nanos::from_millis(300),
            hedges_per_mille: 30,
            striped_from_bytes: STRIPED_FROM_BYTES,
            read_policy: ReadPolicy::default(),
            groups_tried: 4,
            stripes_at_once: 3,
            repairs_on_read: true,
            planted: Planted::default(),
        }
    }
}

/// A client of a cluster, on one core. Clones are handles to the same one.
#[derive(Clone)]
pub struct Client {
    pub(crate) inner: Rc<Inner>,
}

pub(crate) struct Inner {
    pub(crate) handle: Handle,
    pub(crate) links: Links,
    pub(crate) map: RefCell<Rc<ClusterMap>>,
    pub(crate) config: ClientConfig,
    pub(crate) entropy: Rc<dyn Entropy>,
    pub(crate) draws: RefCell<Draws>,
    /// Stripes that are being repaired because a read found something wrong.
    pub(crate) mending: RefCell<BTreeSet<(u32, u128, u32)>>,
    pub(crate) releases: RefCell<Releases>,
    pub(crate) loads: RefCell<Loads>,
    pub(crate) stillness: RefCell<Stillness>,
    pub(crate) patience: RefCell<Patience>,
    /// The same of reads within fewer cells than are needed to decode.
    pub(crate) patience_few: RefCell<Patience>,
    pub(crate) paces: RefCell<Paces>,
    pub(crate) codecs: Rc<Codecs>,
    /// Of the read that is being decided; kept, so that a decision allocates nothing.
    pub(crate) acts: Cell<Vec<Act>>,
    pub(crate) counters: Cell<Counters>,
    /// For what goes on after the operation that began it.
    pub(crate) myself: Weak<Inner>,
}

/// What a client has done.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Counters {
    /// Stripes and sets of copies put.
    pub stripes_put: u64,
    /// Of these, with one cell missing and a note.
    pub put_with_note: u64,
    /// Groups that were given up during a put.
    pub groups_walked: u64,
    /// Stripes and copies read.
    pub stripes_read: u64,
    /// Of these, with at least one cell rebuilt from others.
    pub read_degraded: u64,
    /// Reads that asked further disks because some were slow.
    pub hedged: u64,
    /// Cells that answered, and not with what was put.
    pub cells_bad: u64,
    /// Cells that were put again.
    pub cells_mended: u64,
    /// Reads for which others were asked too, because a disk was in doubt.
    pub asked_twice: u64,
}

impl Client {
    /// A client of the cluster that this is the map of.
    pub fn new(
        handle: &Handle,
        network: Rc<dyn Network>,
        map: ClusterMap,
        entropy: Rc<dyn Entropy>,
        config: ClientConfig,
    ) -> Client {
        let seed = entropy.next_u64(CHOICES, 0);
        Client {
            inner: Rc::new_cyclic(|myself| Inner {
                handle: handle.clone(),
                links: Links::new(handle, network),
                map: RefCell::new(Rc::new(map)),
                config,
                entropy,
                draws: RefCell::new(Draws::new(seed, CHOICES, 0)),
                mending: RefCell::default(),
                releases: RefCell::default(),
                loads: RefCell::default(),
                stillness: RefCell::default(),
                patience: RefCell::new(Patience::new(config.hedge_after, config.hedges_per_mille)),
                patience_few: RefCell::new(
                    Patience::new(config.hedge_after, config.hedges_per_mille).few(),
                ),
                paces: RefCell::default(),
                codecs: Rc::default(),
                acts: Cell::default(),
                counters: Cell::default(),
                myself: myself.clone(),
            }),
        }
    }

    /// A number that no object has.
    pub fn new_id(&self) -> u128 {
        let draw = || u128::from(self.inner.entropy.next_u64(IDS, 0));
        draw() << 64 | draw()
    }

    /// Takes a newer map. An older one is ignored.
    pub fn set_map(&self, map: ClusterMap) {
        let mut current = self.inner.map.borrow_mut();
        if map.version > current.version {
            *current = Rc::new(map);
        }
    }

    /// The map that it goes by.
    pub fn map(&self) -> Rc<ClusterMap> {
        Rc::clone(&self.inner.map.borrow())
    }

    /// What it has done.
    pub fn counters(&self) -> Counters {
        self.inner.counters.get()
    }

    /// Ends its connections. What is under way fails.
    pub fn close(&self) {
        self.inner.links.close();
    }
}

impl Inner {
    /// Whether it has a deliberate bug.
    #[inline]
    pub(crate) fn has(&self, bug: Bug) -> bool {
        self.config.planted.has(bug)
    }

    pub(crate) fn count(&self, add: impl FnOnce(&mut Counters)) {
        let mut counters = self.counters.get();
        add(&mut counters);
        self.counters.set(counters);
    }

    /// Starts what nobody waits for, if the core has room for it.
    pub(crate) fn in_background<F: Future<Output = ()> + 'static>(
        &self,
        name: &'static str,
        work: impl FnOnce(Rc<Inner>) -> F,
    ) -> bool {
        let Some(inner) = self.myself.upgrade() else { return false };
        self.handle.try_spawn(name, work(inner)).is_ok()
    }

    /// The terms of an operation that begins now.
    pub(crate) fn terms(&self, class: Class) -> Terms {
        Terms { class, until: self.handle.now() + self.config.deadline }
    }

    /// Of one cell among several: nobody waits longer for its disk than until he goes on without it.
    pub(crate) fn cell_terms(&self, terms: Terms) -> Terms {
        let patience = self.handle.now() + self.config.cell_patience;
        Terms { until: patience.min(terms.until), ..terms }
    }

    /// What is known of the load of disks: nothing yet but whether they answer.
    pub(crate) fn load(&self) -> Load {
        Load::default()
    }
}

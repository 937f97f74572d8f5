//! Where a load runs: a cluster that is asked over the network, or one in virtual time.

use std::cell::{Cell, RefCell};
use std::future::Future;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use anyhow::{Context, ensure};
use isotherm_client::{ClientConfig, ReadPolicy};
use isotherm_objects::{
    Busy, Check, ClientObjects, Cluster, ClusterConfig, FillError, Pass, Plan, RunConfig, Runner,
};
use isotherm_reactor::Handle;
use isotherm_seam::Nanos;

use super::admin::Admin;
use super::flags::{LoadCommand, limping};
use super::live::Live;
use crate::cluster::{Folder, Link};
use crate::store::words;

/// Between two looks at how it goes.
const LOOK_EVERY: Nanos = Nanos::from_secs(1);
/// Between two passes: queues of disks come to rest, and the cleaners with them.
const PAUSE: Nanos = Nanos::from_secs(1);

/// Where a load runs.
pub(crate) struct Ground {
    target: String,
    /// What the disks hold at most, all together, and what an object takes up for each byte.
    room_bytes: Option<u64>,
    kind: Kind,
}

enum Kind {
    Linked { link: Box<Link>, admin: Admin },
    Virtual(Box<Cluster>),
}

/// A load on its ground. Whatever of it runs, it is looked at meanwhile.
pub(crate) struct Course {
    plan: Plan,
    seen: Seen,
}

/// What those who run it and those who look at it share.
#[derive(Clone)]
struct Seen {
    runner: Runner<ClientObjects>,
    names: Rc<Vec<String>>,
    busy: Rc<RefCell<Option<Busy>>>,
    live: Rc<RefCell<Live>>,
    sight: Rc<Cell<Sight>>,
    objects: u64,
}

/// What is to be seen of it now.
#[derive(Clone, Copy)]
enum Sight {
    Filling,
    Passing,
    Checking,
    /// Nothing that anybody waits for.
    Clearing,
}

impl Ground {
    pub(super) fn new(command: &LoadCommand, seed: u64) -> anyhow::Result<Ground> {
        match command.simulate {
            Some((nodes, disks)) => Ground::simulated(command, nodes, disks, seed),
            None => Ground::linked(&Folder::new(&command.cluster), command.client_config()),
        }
    }

    /// The cluster in a folder.
    pub(crate) fn linked(folder: &Folder, config: ClientConfig) -> anyhow::Result<Ground> {
        let map = folder.map()?;
        let link = Link::new(folder, config)?;
        let raw_bytes: u64 = map.disks.iter().map(|disk| disk.capacity_bytes).sum();
        let scheme = map.scheme;
        Ok(Ground {
            target: format!(
                "{}: {} nodes, {} disks, {scheme}",
                folder.path.display(),
                map.nodes.len(),
                map.disks.len()
            ),
            room_bytes: Some(raw_bytes * scheme.data_cells() as u64 / scheme.cells() as u64),
            kind: Kind::Linked { link: Box::new(link), admin: Admin::start(&map)? },
        })
    }

    fn simulated(
        command: &LoadCommand,
        nodes: u32,
        disks: u32,
        seed: u64,
    ) -> anyhow::Result<Ground> {
        let mut devices = vec![command.device.clone(); (nodes * disks) as usize];
        for (disk, spec) in &command.sick {
            let device = devices.get_mut(*disk);
            *device.with_context(|| {
                format!("--sick {disk}: there are disks 0 to {}", nodes * disks - 1)
            })? = spec.clone();
        }
        for (disk, factor) in &command.limp {
            let device = devices.get_mut(*disk as usize);
            let device = device.with_context(|| {
                format!("--limp {disk}: there are disks 0 to {}", nodes * disks - 1)
            })?;
            *device = limping(device, *factor).with_context(|| {
                format!("--limp {disk}: {device} has no layer hdd:MODEL that could limp")
            })?;
        }
        let scheme: isotherm_erasure::Scheme = command.codec.parse().context("--codec")?;
        let client = command.client_config();
        let config = ClusterConfig { seed, nodes, scheme, devices, client };
        let cluster = Cluster::new(&config)?;
        Ok(Ground {
            target: format!(
                "virtual time: {nodes} nodes, {} disks ({}), {scheme}",
                nodes * disks,
                command.device
            ),
            room_bytes: None,
            kind: Kind::Virtual(Box::new(cluster)),
        })
    }

    pub(crate) fn target(&self) -> &str {
        &self.target
    }

    pub(super) fn is_virtual(&self) -> bool {
        matches!(self.kind, Kind::Virtual(_))
    }

    /// Whether the objects can be there at all.
    pub(crate) fn check(&self, plan: &Plan) -> anyhow::Result<()> {
        let Some(room_bytes) = self.room_bytes else { return Ok(()) };
        let bytes: u64 = (0..plan.objects).map(|slot| plan.sizes.of(plan.seed, slot)).sum();
        ensure!(
            bytes <= room_bytes,
            "{} objects are {} and the cluster holds {} at most: fewer (--objects) or shorter \
             (--size) ones",
            plan.objects,
            words::size(bytes),
            words::size(room_bytes)
        );
        Ok(())
    }

    /// A load that has not begun yet.
    pub(crate) fn begin(
        &self,
        plan: &Plan,
        config: RunConfig,
        live: Live,
        stop: &Arc<AtomicBool>,
    ) -> Course {
        let (handle, client, names) = match &self.kind {
            Kind::Linked { link, admin } => (link.handle(), link.client(), admin.names().to_vec()),
            Kind::Virtual(cluster) => {
                (cluster.handle(), cluster.client().clone(), cluster.names().to_vec())
            }
        };
        let objects = ClientObjects::new(client);
        let seen = Seen {
            runner: Runner::new(&handle, objects, plan.clone(), config, Arc::clone(stop)),
            names: Rc::new(names),
            busy: Rc::default(),
            live: Rc::new(RefCell::new(live)),
            sight: Rc::new(Cell::new(Sight::Filling)),
            objects: plan.objects,
        };
        Course { plan: plan.clone(), seen }
    }

    /// Puts the objects.
    pub(crate) fn fill(&mut self, course: &Course) -> Result<(), FillError> {
        course.seen.sight.set(Sight::Filling);
        let runner = course.seen.runner.clone();
        self.drive(course, async move { runner.fill().await })
    }

    /// Runs the schedule with a policy, after a rest. The pass is called `name`.
    pub(crate) fn pass(
        &mut self,
        course: &Course,
        policy: ReadPolicy,
        name: &str,
    ) -> (Pass, Option<Busy>) {
        course.seen.sight.set(Sight::Passing);
        let (seen, whole, name) = (course.seen.clone(), course.plan.whole(), name.to_owned());
        let handle = self.handle();
        self.drive(course, async move {
            handle.sleep(PAUSE).await;
            let begin = handle.now();
            *seen.busy.borrow_mut() =
                (!seen.names.is_empty()).then(|| Busy::new(seen.names.to_vec(), begin, whole));
            seen.live.borrow_mut().begin(&name, whole);
            let pass = seen.runner.pass(&policy).await;
            let busy = seen.busy.borrow_mut().take();
            (Pass { policy: name, ..pass }, busy)
        })
    }

    /// Reads every object once and compares all bytes.
    pub(crate) fn check_all(&mut self, course: &Course, policy: ReadPolicy) -> Check {
        course.seen.sight.set(Sight::Checking);
        let runner = course.seen.runner.clone();
        self.drive(course, async move { runner.check(&policy).await })
    }

    /// Deletes the objects; tells how many could not be deleted.
    pub(crate) fn clear(&mut self, course: &Course) -> u64 {
        // It ends with the process.
        if self.is_virtual() {
            return 0;
        }
        course.seen.sight.set(Sight::Clearing);
        let runner = course.seen.runner.clone();
        self.drive(course, async move { runner.clear().await })
    }

    fn handle(&self) -> Handle {
        match &self.kind {
            Kind::Linked { link, .. } => link.handle(),
            Kind::Virtual(cluster) => cluster.handle(),
        }
    }

    /// Runs a part of a load to its end. The runner itself looks at the stop flag, and ends in good
    /// order.
    fn drive<T: 'static>(&mut self, course: &Course, job: impl Future<Output = T> + 'static) -> T {
        let seen = course.seen.clone();
        let value = match &mut self.kind {
            Kind::Linked { link, admin } => {
                let (asked, timer) = (admin.asked(), link.handle());
                let is_over = Rc::new(Cell::new(false));
                let over = Rc::clone(&is_over);
                link.handle().spawn("look", async move {
                    while !over.get() {
                        timer.sleep(LOOK_EVERY).await;
                        for worked in asked.try_iter() {
                            if let Some(busy) = &mut *seen.busy.borrow_mut() {
                                busy.look(timer.now(), &worked);
                            }
                        }
                        if !over.get() {
                            seen.show();
                        }
                    }
                });
                let never = Arc::new(AtomicBool::new(false));
                let value = link.run(&never, |_| job).expect("nobody cuts it short");
                is_over.set(true);
                value
            }
            Kind::Virtual(cluster) => {
                let look = &mut |cluster: &Cluster| {
                    if let Some(busy) = &mut *seen.busy.borrow_mut() {
                        busy.look(cluster.handle().now(), &cluster.worked());
                    }
                    seen.show();
                };
                cluster.run(LOOK_EVERY, look, job)
            }
        };
        course.seen.live.borrow_mut().clear();
        value
    }
}

impl Seen {
    fn show(&self) {
        let live = &mut *self.live.borrow_mut();
        match self.sight.get() {
            Sight::Filling => live.moved(self.runner.moved(), self.objects, "put"),
            Sight::Checking => live.moved(self.runner.moved(), self.objects, "read and compared"),
            Sight::Passing => live.show(&self.runner.look()),
            Sight::Clearing => {}
        }
    }
}

//! Where a load runs: a cluster that is asked over the network, or one in virtual time.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::{Context, ensure};
use isotherm_client::{ClientConfig, ReadPolicy};
use isotherm_objects::{
    Busy, ClientObjects, Cluster, ClusterConfig, FillError, Pass, Plan, RunConfig, Runner,
};
use isotherm_reactor::Handle;
use isotherm_seam::Nanos;

use super::admin::Admin;
use super::flags::LoadCommand;
use super::live::Live;
use crate::cluster::{Folder, Link};
use crate::store::words;

/// Between two looks at how it goes.
const LOOK_EVERY: Nanos = Nanos::from_secs(1);
/// Between two passes: queues of disks come to rest, and the cleaners with them.
const PAUSE: Nanos = Nanos::from_secs(1);

/// Where a load runs.
pub(super) struct Ground {
    target: String,
    /// What the disks hold at most, all together, and what an object takes up for each byte.
    room_bytes: Option<u64>,
    kind: Kind,
}

enum Kind {
    Linked { link: Box<Link>, admin: Admin },
    Virtual(Box<Cluster>),
}

/// What came of a run.
pub(super) struct Course {
    pub(super) passes: Vec<(Pass, Option<Busy>)>,
    /// Why there was nothing to measure.
    pub(super) error: Option<FillError>,
    runner: Runner<ClientObjects>,
}

/// What the passes and those who look at them share.
#[derive(Clone)]
struct Seen {
    runner: Runner<ClientObjects>,
    names: Rc<Vec<String>>,
    busy: Rc<RefCell<Option<Busy>>>,
    live: Rc<RefCell<Live>>,
    is_filling: Rc<Cell<bool>>,
    objects: u64,
}

impl Ground {
    pub(super) fn new(command: &LoadCommand, seed: u64) -> anyhow::Result<Ground> {
        match command.simulate {
            Some((nodes, disks)) => Ground::simulated(command, nodes, disks, seed),
            None => Ground::linked(command),
        }
    }

    fn linked(command: &LoadCommand) -> anyhow::Result<Ground> {
        let folder = Folder::new(&command.cluster);
        let map = folder.map()?;
        let link = Link::new(&folder, ClientConfig::default())?;
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
        let scheme: isotherm_erasure::Scheme = command.codec.parse().context("--codec")?;
        let config =
            ClusterConfig { seed, nodes, scheme, devices, client: ClientConfig::default() };
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

    pub(super) fn target(&self) -> &str {
        &self.target
    }

    pub(super) fn is_virtual(&self) -> bool {
        matches!(self.kind, Kind::Virtual(_))
    }

    /// Whether the objects can be there at all.
    pub(super) fn check(&self, plan: &Plan) -> anyhow::Result<()> {
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

    /// Puts the objects and runs the schedule with each policy.
    pub(super) fn run(
        &mut self,
        plan: &Plan,
        policies: &[ReadPolicy],
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
        let runner = Runner::new(&handle, objects, plan.clone(), config, Arc::clone(stop));
        let seen = Seen {
            runner: runner.clone(),
            names: Rc::new(names),
            busy: Rc::default(),
            live: Rc::new(RefCell::new(live)),
            is_filling: Rc::new(Cell::new(true)),
            objects: plan.objects,
        };
        let job = passes(seen.clone(), handle.clone(), plan.clone(), policies.to_vec(), stop);
        let result = match &mut self.kind {
            Kind::Linked { link, admin } => {
                let (asked, looked) = (admin.asked(), seen.clone());
                let timer = handle.clone();
                let is_over = Rc::new(Cell::new(false));
                let over = Rc::clone(&is_over);
                handle.spawn("look", async move {
                    while !over.get() {
                        timer.sleep(LOOK_EVERY).await;
                        for worked in asked.try_iter() {
                            if let Some(busy) = &mut *looked.busy.borrow_mut() {
                                busy.look(timer.now(), &worked);
                            }
                        }
                        looked.show();
                    }
                });
                // The runner itself looks at the stop flag, and ends in good order.
                let never = Arc::new(AtomicBool::new(false));
                let result = link.run(&never, |_| job).expect("nobody cuts it short");
                is_over.set(true);
                result
            }
            Kind::Virtual(cluster) => {
                let looked = seen.clone();
                let look = &mut |cluster: &Cluster| {
                    if let Some(busy) = &mut *looked.busy.borrow_mut() {
                        busy.look(cluster.handle().now(), &cluster.worked());
                    }
                    looked.show();
                };
                cluster.run(LOOK_EVERY, look, job)
            }
        };
        seen.live.borrow_mut().clear();
        let (passes, error) = match result {
            Ok(passes) => (passes, None),
            Err(error) => (Vec::new(), Some(error)),
        };
        Course { passes, error, runner }
    }

    /// Deletes the objects; tells how many could not be deleted.
    pub(super) fn clear(&mut self, course: &Course) -> u64 {
        let runner = course.runner.clone();
        let job = async move { runner.clear().await };
        match &mut self.kind {
            Kind::Linked { link, .. } => {
                let never = Arc::new(AtomicBool::new(false));
                link.run(&never, |_| job).expect("nobody cuts it short")
            }
            // It ends with the process.
            Kind::Virtual(_) => 0,
        }
    }
}

impl Seen {
    fn show(&self) {
        let live = &mut *self.live.borrow_mut();
        if self.is_filling.get() {
            live.filling(self.runner.moved(), self.objects);
        } else {
            live.show(&self.runner.look());
        }
    }
}

async fn run_passes(
    seen: &Seen,
    handle: &Handle,
    plan: &Plan,
    policies: &[ReadPolicy],
    stop: &AtomicBool,
) -> Result<Vec<(Pass, Option<Busy>)>, FillError> {
    seen.runner.fill().await?;
    let mut passes = Vec::new();
    for policy in policies {
        handle.sleep(PAUSE).await;
        if stop.load(Ordering::Relaxed) {
            break;
        }
        let begin = handle.now();
        *seen.busy.borrow_mut() =
            (!seen.names.is_empty()).then(|| Busy::new(seen.names.to_vec(), begin, plan.whole()));
        seen.live.borrow_mut().begin(&policy.to_string(), plan.whole());
        seen.is_filling.set(false);
        let pass = seen.runner.pass(policy).await;
        let busy = seen.busy.borrow_mut().take();
        let is_stopped = pass.was_stopped;
        passes.push((pass, busy));
        if is_stopped {
            break;
        }
    }
    Ok(passes)
}

fn passes(
    seen: Seen,
    handle: Handle,
    plan: Plan,
    policies: Vec<ReadPolicy>,
    stop: &Arc<AtomicBool>,
) -> impl Future<Output = Result<Vec<(Pass, Option<Busy>)>, FillError>> + use<> {
    let stop = Arc::clone(stop);
    async move { run_passes(&seen, &handle, &plan, &policies, &stop).await }
}

//! Opens a store over what a disk was left with, and looks at everything on it.

use std::rc::Rc;

use isotherm_sim::{CrashStyle, Image, SimDiskConfig};
use isotherm_store::model::Model;
use isotherm_store::{OpenError, Options, Store};

use super::plan::Op;
use super::rig::{Drive, Rig};
use super::run::{Shared, open, perform, verify};

/// A disk with this image, powered up, with a model of what was under way when it went down.
pub fn rig_over(disk: &SimDiskConfig, image: Image, model: &Model) -> Rig {
    let model = model.clone();
    model.crash();
    Rig::with_image(disk.clone(), image, model)
}

/// Opens the store and compares all that is in it with the model; then the store must still
/// take a put, give it back, and close.
pub fn check(mut rig: Rig, options: &Options, full_scan: bool) -> Result<(), String> {
    let shared = Shared::new(&rig.model);
    let mut opening = opened(&mut rig, options, full_scan)?;
    if let Err(OpenError::NoCheckpoint | OpenError::Index) = opening {
        // Unreadable sectors in both of the places where checkpoints are: as the error says.
        opening = opened(&mut rig, options, true)?;
    }
    let store = opening.map_err(|e| format!("does not open: {e}"))?;
    let looking = verify(Rc::clone(&shared), store.clone());
    rig.run(looking).ok_or("reading it all back never ends")?;
    let put = Op::Put { key: 47, version: 1_000_000, len: 77, expires: false };
    rig.run(perform(Rc::clone(&shared), store.clone(), put)).ok_or("a put never ends")?;
    rig.run(perform(Rc::clone(&shared), store.clone(), Op::Get { key: 47 }))
        .ok_or("a get never ends")?;
    rig.run(store.close()).ok_or("close never ends")?.map_err(|e| format!("close: {e}"))?;
    shared.take_wrong().map_or(Ok(()), Err)?;
    rig.end()
}

/// Opens the store; the inner error is the store's.
pub fn opened(
    rig: &mut Rig,
    options: &Options,
    full_scan: bool,
) -> Result<Result<Store, OpenError>, String> {
    let (world, disk) = (rig.world(), rig.disk().clone());
    let opening = open(world, disk, options.clone(), full_scan);
    let opened = rig.run(opening).ok_or("recovery never ends")?;
    Ok(opened.map(|(store, _)| store))
}

/// Begins to open the store and stops after so many completions; `false` if it was open before.
pub fn begin_opening(
    rig: &mut Rig,
    options: &Options,
    full_scan: bool,
    after: u32,
) -> Result<bool, String> {
    let (world, disk) = (rig.world(), rig.disk().clone());
    let mut task = rig.spawn(open(world, disk, options.clone(), full_scan));
    let mut done = None;
    match rig.drive(Some(after), || {
        done = task.try_take();
        done.is_some()
    }) {
        Drive::Stuck => Err("recovery never ends".into()),
        Drive::Done => Ok(false),
        Drive::Cut => Ok(true),
    }
}

/// Ends a rig whose store was left half-way.
pub fn give_up(mut rig: Rig) -> Result<(), String> {
    rig.crash(CrashStyle::None);
    rig.end()
}

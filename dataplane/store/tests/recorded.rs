//! Power cuts in the middle of real runs: what a store sends to a real driver is recorded, and
//! crash images of random moments are made from the recording. Each must recover with everything
//! that had been acknowledged by then.
//!
//! `ISOTHERM_IMAGES=1000 cargo test --release -p isotherm-store --test recorded` for the full
//! count.

mod suite;

use std::cell::RefCell;
use std::path::Path;
use std::rc::Rc;

use isotherm_seam::{BlockSize, Domain, Draws, Geometry};
use isotherm_sim::{Blank, CrashStyle, Image, Recorder, Recording, Sector, SimDiskConfig};
use isotherm_store::model::{Mark, Model, Outcome, State};
use isotherm_store::{Delete, Options, Put, PutError, Store};
use suite::plan::{content, key};
use suite::real::{DISK_BYTES, Driver, format, on_disk};
use suite::run::open;
use suite::start;
use tempfile::TempDir;

/// Images where nobody says how many.
const IMAGES: u64 = if cfg!(debug_assertions) { 120 } else { 1_000 };
const RUNS: u64 = 10;
const LANES: u64 = 6;
const OPS: u64 = 25;

const WORK: Domain = Domain::new("store.recorded.work");
const CUTS: Domain = Domain::new("store.recorded.cuts");

/// What the model is told, and at which moment of the recording.
enum Told {
    Begin(u8, State),
    /// The operation of that number.
    End(usize, Outcome),
}

type History = Rc<RefCell<Vec<(u64, Told)>>>;

fn options() -> Options {
    Options { changes_max: 32, ..Options::default() }
}

async fn lane(store: Store, recording: Recording, history: History, seed: u64, lane: u64) {
    let mut draws = Draws::new(seed, WORK, lane);
    let tell = |told| history.borrow_mut().push((*recording.moments().end(), told));
    let begun = || history.borrow().iter().filter(|(_, t)| matches!(t, Told::Begin(..))).count();
    for number in 0..OPS {
        let version = (number * LANES + lane + 1) as u32;
        let number = draws.below(24) as u8;
        let id = begun();
        let result = match draws.below(20) {
            0..15 => {
                let longest = if draws.happens(0.2) { 100_000 } else { 9_000 };
                let len = draws.below(longest) as u32;
                let Ok(mut buf) = store.buffer(len as usize) else { continue };
                let payload = content(number, version, len);
                buf.fill(&payload);
                tell(Told::Begin(number, State::Live(payload)));
                store.put(Put::new(key(number)), buf).await.map(|_| ())
            }
            15..19 => {
                tell(Told::Begin(number, State::Dead { held: false }));
                store.delete(Delete::new(key(number))).await
            }
            _ => {
                let _ = store.reclaim_once().await;
                continue;
            }
        };
        let outcome = match result {
            Ok(()) => Outcome::Done,
            Err(PutError::Deleted) => Outcome::Deleted,
            Err(other) => panic!("{other}"),
        };
        tell(Told::End(id, outcome));
    }
}

/// The model as it stood at a moment.
fn model_at(history: &[(u64, Told)], moment: u64) -> Model {
    let model = Model::default();
    let mut marks: Vec<Mark> = Vec::new();
    for (_, told) in history.iter().take_while(|(at, _)| *at <= moment) {
        match told {
            Told::Begin(number, state) => marks.push(model.begin(key(*number), state.clone())),
            Told::End(id, outcome) => model.end(marks[*id], *outcome).expect("a right answer"),
        }
    }
    model
}

fn image_of(path: &Path, physical: BlockSize) -> Image {
    let mut image = Image::new(physical, Blank::Zeros, None);
    let bytes = std::fs::read(path).expect("the file");
    for (index, sector) in (0..).zip(bytes.chunks(physical.bytes() as usize)) {
        if sector.iter().any(|byte| *byte != 0) {
            image.set(index, Sector::Data(sector.into()));
        }
    }
    image
}

/// One run over a real driver, and crash images of it.
fn record(path: &Path, driver: Driver, seed: u64, images: u64) {
    format(path, driver);
    let history = History::default();
    let told = Rc::clone(&history);
    let found: Rc<RefCell<Option<(Recording, Geometry)>>> = Rc::default();
    let keep = Rc::clone(&found);
    let wrap = |device: Box<dyn isotherm_seam::BlockDevice>| {
        let geometry = device.geometry().clone();
        let base = image_of(path, geometry.physical);
        let (recorder, recording) = Recorder::new(device, base, 1 << 30);
        *keep.borrow_mut() = Some((recording, geometry));
        Box::new(recorder) as Box<dyn isotherm_seam::BlockDevice>
    };
    let recorder = Rc::clone(&found);
    on_disk(path, driver, wrap, |world, disk| async move {
        let handle = world.handle.clone();
        let (store, _) = open(world, disk, options(), false).await.expect("it opens");
        let recording = recorder.borrow().as_ref().expect("recording").0.clone();
        let lanes: Vec<_> = (0..LANES)
            .map(|number| {
                let (store, recording) = (store.clone(), recording.clone());
                handle.spawn("lane", lane(store, recording, Rc::clone(&told), seed, number))
            })
            .collect();
        for lane in lanes {
            lane.await;
        }
    });
    let (recording, mut geometry) = found.borrow_mut().take().expect("recording");
    geometry.io_bytes_max = geometry.io_bytes_max.max(2 << 20);
    let mut disk = SimDiskConfig::new(seed, isotherm_seam::DiskId(0), geometry.blocks);
    disk.geometry = geometry;
    disk.blank = Blank::Zeros;
    let mut draws = Draws::new(seed, CUTS, 0);
    let last = *recording.moments().end();
    for number in 0..images {
        let moment = draws.below(last + 1);
        let style = CrashStyle::ALL[draws.below(6) as usize];
        let unsettled = recording.unsettled(moment).expect("the log holds all of it");
        let (image, _) = unsettled.with_unreadable(0.1).crash(style, &mut draws);
        let model = model_at(&history.borrow(), moment);
        let rig = start::rig_over(&disk, image, &model);
        if let Err(what) = start::check(rig, &options(), number % 5 == 4) {
            panic!("{driver:?}, run {seed}, moment {moment} of {last}, {style:?}: {what}");
        }
    }
    println!("{driver:?}, run {seed}: {images} images of {last} moments recovered");
}

#[test]
fn images_of_real_runs_recover() {
    let dir = TempDir::new().expect("a folder");
    let images = suite::number("ISOTHERM_IMAGES").unwrap_or(IMAGES);
    for run in 0..RUNS {
        let path = dir.path().join(format!("disk{run}"));
        std::fs::File::create(&path).and_then(|file| file.set_len(DISK_BYTES)).expect("a file");
        let driver = if run % 2 == 0 { Driver::Uring } else { Driver::File };
        record(&path, driver, run, images / RUNS);
        std::fs::remove_file(path).expect("it is ours");
    }
}

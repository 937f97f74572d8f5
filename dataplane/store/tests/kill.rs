//! A process that writes to a store on a real disk is killed in the middle of it, again and
//! again: what it had acknowledged is there, and what it had not is there whole or not at all.
//!
//! The test runs itself as the victim, which tells each begin and each acknowledgement on its
//! standard output.
#![allow(clippy::disallowed_methods, reason = "it kills by the clock on the wall")]

mod suite;

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::rc::Rc;
use std::time::Duration;

use isotherm_seam::{Domain, Draws};
use isotherm_store::model::{Mark, Model, Outcome, State};
use isotherm_store::{Delete, Options, Put, PutError, Store};
use suite::plan::{content, key};
use suite::real::{DISK_BYTES, Driver, format, on_disk};
use suite::run::{Shared, open, verify};
use tempfile::TempDir;

const VICTIM: Domain = Domain::new("store.kill.victim");
const PARENT: Domain = Domain::new("store.kill.parent");

const KEYS: u64 = 40;
const LANES: u64 = 6;

fn options() -> Options {
    Options { changes_max: 64, ..Options::default() }
}

/// Puts and deletes until it is killed.
async fn lane(store: Store, seed: u64, lane: u64) {
    let mut draws = Draws::new(seed, VICTIM, lane);
    for number in 0u64.. {
        let version = ((seed << 16) + number * LANES + lane) as u32;
        let id = number * LANES + lane;
        let number = draws.below(KEYS) as u8;
        let result = if draws.happens(0.8) {
            let len = match draws.below(4) {
                0 => draws.below(200),
                1 => draws.below(100_000),
                _ => draws.below(9_000),
            } as u32;
            let Ok(mut buf) = store.buffer(len as usize) else { continue };
            buf.fill(&content(number, version, len));
            println!("put {id} {number} {version} {len}");
            store.put(Put::new(key(number)), buf).await.map(|_| ())
        } else {
            println!("delete {id} {number}");
            store.delete(Delete::new(key(number))).await
        };
        match result {
            Ok(()) => println!("done {id}"),
            Err(PutError::Deleted) => println!("deleted {id}"),
            Err(PutError::Full) => println!("full {id}"),
            Err(other) => panic!("{other}"),
        }
    }
}

/// Not a test of its own: the process that is killed.
#[test]
fn the_victim() {
    let Ok(path) = std::env::var("ISOTHERM_VICTIM_DISK") else { return };
    let seed = suite::number("ISOTHERM_VICTIM_SEED").expect("its seed");
    let driver = match std::env::var("ISOTHERM_VICTIM_DRIVER").as_deref() {
        Ok("file") => Driver::File,
        _ => Driver::Uring,
    };
    on_disk(
        Path::new(&path),
        driver,
        |device| device,
        |world, disk| async move {
            let handle = world.handle.clone();
            let (store, _) = open(world, disk, options(), false).await.expect("it opens");
            println!("open");
            let lanes: Vec<_> = (0..LANES)
                .map(|number| handle.spawn("lane", lane(store.clone(), seed, number)))
                .collect();
            for lane in lanes {
                lane.await;
            }
        },
    );
}

/// One life of the victim, as told by itself.
fn life(path: &Path, driver: Driver, seed: u64, model: &Model) -> (u64, u64) {
    let mut draws = Draws::new(seed, PARENT, 0);
    let mut victim = Command::new(std::env::current_exe().expect("this program"))
        .args(["--exact", "the_victim", "--nocapture"])
        .env("ISOTHERM_VICTIM_DISK", path)
        .env("ISOTHERM_VICTIM_SEED", seed.to_string())
        .env("ISOTHERM_VICTIM_DRIVER", if driver == Driver::File { "file" } else { "uring" })
        .stdout(Stdio::piped())
        .spawn()
        .expect("it starts");
    let mut lines = BufReader::new(victim.stdout.take().expect("piped")).lines();
    let mut lines = lines.by_ref().map(|line| line.expect("text"));
    assert!(lines.any(|line| line == "open"), "seed {seed}: the victim did not open its store");
    // Told by another thread, so that a full pipe does not hold the victim up.
    let pid = victim.id();
    let wait = Duration::from_micros(500 + draws.below(60_000));
    let killer = std::thread::spawn(move || {
        std::thread::sleep(wait);
        victim.kill().expect("it is still there");
        victim.wait().expect("it ends")
    });
    let mut marks: Vec<(u64, Mark)> = Vec::new();
    let (mut begun, mut done) = (0, 0);
    for line in lines {
        let words: Vec<&str> = line.split(' ').collect();
        let number = |at: usize| words[at].parse::<u64>().expect("a number");
        let mut end = |id: u64, outcome| {
            let at = marks.iter().position(|(own, _)| *own == id).expect("it began");
            model.end(marks.swap_remove(at).1, outcome).expect("a right answer");
        };
        match words[0] {
            "put" if words.len() == 5 => {
                let payload = content(number(2) as u8, number(3) as u32, number(4) as u32);
                let mark = model.begin(key(number(2) as u8), State::Live(payload));
                marks.push((number(1), mark));
                begun += 1;
            }
            "delete" if words.len() == 3 => {
                let mark = model.begin(key(number(2) as u8), State::Dead { held: false });
                marks.push((number(1), mark));
                begun += 1;
            }
            "done" => {
                end(number(1), Outcome::Done);
                done += 1;
            }
            "deleted" => end(number(1), Outcome::Deleted),
            "full" => end(number(1), Outcome::Refused),
            _ => {}
        }
    }
    killer.join().unwrap_or_else(|_| panic!("victim {pid} was gone before it was killed"));
    (begun, done)
}

fn rounds(path: &Path, driver: Driver, count: u64) {
    format(path, driver);
    let model = Rc::new(Model::default());
    let (mut begun, mut done) = (0, 0);
    for round in 1..=count {
        let one = life(path, driver, round, &model);
        begun += one.0;
        done += one.1;
        model.crash();
        let shared = Shared::new(&model);
        let looking = Rc::clone(&shared);
        on_disk(
            path,
            driver,
            |device| device,
            move |world, disk| async move {
                let full_scan = round % 7 == 3;
                let opened = open(world, disk, options(), full_scan).await;
                let (store, _) = opened.expect("it opens");
                verify(looking, store.clone()).await;
                if round % 2 == 0 {
                    store.close().await.expect("it closes");
                }
            },
        );
        if let Some(what) = shared.take_wrong() {
            panic!("round {round} on {}: {what}", path.display());
        }
    }
    println!("{count} kills, {driver:?}: {begun} begun, {done} acknowledged, none lost");
    assert!(done > count && begun > done, "the victims did too little to say much");
}

fn file(dir: &TempDir) -> PathBuf {
    let path = dir.path().join("disk");
    std::fs::File::create(&path).and_then(|file| file.set_len(DISK_BYTES)).expect("a file");
    path
}

#[test]
fn a_killed_process_has_lost_nothing_that_it_acknowledged() {
    let dir = TempDir::new().expect("a folder");
    let rounds_max = suite::number("ISOTHERM_ROUNDS").unwrap_or(6);
    rounds(&file(&dir), Driver::File, rounds_max);
    rounds(&file(&dir), Driver::Uring, rounds_max);
}

#[test]
#[ignore = "a minute of killing; for the root lane"]
fn root_a_hundred_kills_on_a_file() {
    let dir = TempDir::new().expect("a folder");
    rounds(&file(&dir), Driver::Uring, 100);
}

/// A loop device over a file, detached when dropped.
struct Loop(String);

impl Loop {
    fn new(file: &Path) -> Result<Loop, String> {
        let output = Command::new("losetup")
            .args(["--find", "--show", "--direct-io=on"])
            .arg(file)
            .output()
            .map_err(|error| format!("losetup: {error}"))?;
        if !output.status.success() {
            return Err(String::from_utf8_lossy(&output.stderr).trim().to_owned());
        }
        Ok(Loop(String::from_utf8_lossy(&output.stdout).trim().to_owned()))
    }
}

impl Drop for Loop {
    fn drop(&mut self) {
        let _ = Command::new("losetup").args(["--detach", &self.0]).status();
    }
}

#[test]
#[ignore = "needs root: makes a loop device"]
fn root_a_hundred_kills_on_a_loop_device() {
    let dir = TempDir::new().expect("a folder");
    let device = match Loop::new(&file(&dir)) {
        Ok(device) => device,
        Err(why) => return println!("skipped: {why}"),
    };
    rounds(Path::new(&device.0), Driver::Uring, 100);
}

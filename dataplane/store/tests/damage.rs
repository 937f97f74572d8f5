//! Disks with random damage: flipped bits, swapped, copied and lost blocks, ends cut off. A store
//! opened over one may refuse, in typed errors. It never panics and never gives a wrong byte.
//!
//! `ISOTHERM_IMAGES=100000 cargo test --release -p isotherm-store --test damage` for the full
//! count; `ISOTHERM_SEED=17` for one image alone.

mod suite;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::rc::Rc;

use isotherm_seam::{Domain, Draws};
use isotherm_sim::{Image, Sector};
use isotherm_store::layout::crc32c;
use isotherm_store::model::Model;
use isotherm_store::{BLOCK_BYTES, Planted};
use suite::plan::{Op, Plan};
use suite::run::{Shared, leave, options, perform, verify};
use suite::start;

/// Images where nobody says how many.
const IMAGES: u64 = if cfg!(debug_assertions) { 500 } else { 2_000 };
/// Plans whose disks are damaged.
const PLANS: u64 = 24;

const DAMAGE: Domain = Domain::new("store.suite.damage");

/// A disk as a plan left it.
struct Base {
    plan: Plan,
    image: Image,
    model: Model,
    written: Vec<u64>,
}

fn bases() -> Vec<Base> {
    let plans = (0..).map(Plan::new).filter(|plan| {
        let trouble = &plan.setup.trouble;
        !(trouble.rot || trouble.strays || trouble.failing_writes || trouble.errors)
    });
    plans
        .take(PLANS as usize)
        .map(|plan| {
            let (image, model) = leave(&plan).expect("a plan without faults");
            let written = image.written(0..u64::MAX).map(|(index, _)| index).collect();
            Base { plan, image, model, written }
        })
        .collect()
}

fn bytes_of(image: &Image, index: u64) -> Vec<u8> {
    let mut bytes = vec![0; image.physical().bytes() as usize];
    if !image.read(index, 0, &mut bytes) {
        bytes.fill(0xee);
    }
    bytes
}

/// Damages an image. Returns whether checksums were made to fit, so that a wrong block looks
/// right: then what it holds can't be told from what was put.
fn damage(image: &mut Image, written: &[u64], draws: &mut Draws) -> bool {
    let mut forged = false;
    let pick = |draws: &mut Draws| written[draws.below(written.len() as u64) as usize];
    let data = |bytes: Vec<u8>| Sector::Data(bytes.into());
    let scale = draws.below(6);
    for _ in 0..1 + draws.below(1 << scale) {
        let at = pick(draws);
        match draws.below(10) {
            0..3 => {
                let mut bytes = bytes_of(image, at);
                for _ in 0..1 + draws.below(8) {
                    let bit = draws.below(8 * bytes.len() as u64) as usize;
                    bytes[bit / 8] ^= 1 << (bit % 8);
                }
                image.set(at, data(bytes));
            }
            3 => {
                let other = pick(draws);
                let (one, two) = (image.sector(at).clone(), image.sector(other).clone());
                image.set(at, two);
                image.set(other, one);
            }
            4 => {
                let copy = image.sector(pick(draws)).clone();
                image.set(at, copy);
            }
            5 => image.set(at, Sector::Unreadable),
            6 => image.set(at, data(vec![0; image.physical().bytes() as usize])),
            7 => image.set(at, Sector::Noise(draws.next_u64())),
            8 if draws.happens(0.2) => {
                // The end of the disk is gone, or an extent's.
                let end = at + (1 << draws.below(12));
                for &index in written.iter().filter(|index| (at..end).contains(*index)) {
                    image.set(index, Sector::Blank);
                }
            }
            _ => {
                let mut bytes = bytes_of(image, at);
                if bytes.len() == BLOCK_BYTES && bytes.starts_with(b"IsoB") {
                    for _ in 0..1 + draws.below(3) {
                        let byte = 8 + draws.below(300) as usize;
                        bytes[byte] = match draws.below(4) {
                            0 => 0,
                            1 => 0xff,
                            _ => draws.below(256) as u8,
                        };
                    }
                    let crc = crc32c(&bytes[8..]);
                    bytes[4..8].copy_from_slice(&crc.to_le_bytes());
                    image.set(at, data(bytes));
                    forged = true;
                }
            }
        }
    }
    forged
}

/// Opens the damaged disk and uses it.
fn survive(base: &Base, seed: u64, opened: &mut u64) -> Result<(), String> {
    let mut draws = Draws::new(seed, DAMAGE, 0);
    let mut image = base.image.clone();
    let forged = damage(&mut image, &base.written, &mut draws);
    let setup = &base.plan.setup;
    let disk = setup.disk(base.plan.seed);
    let mut rig = start::rig_over(&disk, image, &base.model);
    rig.model.known().into_iter().for_each(|key| rig.model.doubt(key));
    let shared = Shared::new(&rig.model);
    shared.lenient.set(true);
    let options = options(setup, Planted::default());
    let Ok(store) = start::opened(&mut rig, &options, draws.happens(0.3))? else {
        return rig.end();
    };
    *opened += 1;
    rig.run(verify(Rc::clone(&shared), store.clone())).ok_or("reading never ends")?;
    let put = |key, version| Op::Put { key, version, len: 5_000, expires: false };
    let ops = [
        put(46, 1_000_000),
        Op::Status,
        Op::Reclaim,
        Op::Checkpoint,
        put(0, 1_000_001),
        Op::Delete { key: 1, hold: false },
        Op::Reclaim,
        Op::Get { key: 0 },
    ];
    for op in ops {
        let what = format!("{op:?} never ends");
        rig.run(perform(Rc::clone(&shared), store.clone(), op)).ok_or(what)?;
    }
    rig.run(verify(Rc::clone(&shared), store.clone())).ok_or("reading never ends")?;
    let _ = rig.run(store.close()).ok_or("close never ends")?;
    match shared.take_wrong() {
        Some(what) if !forged => Err(what),
        _ => rig.end(),
    }
}

#[test]
fn damage_is_refused_and_never_believed() {
    let bases = bases();
    let (first, count) = match suite::number("ISOTHERM_SEED") {
        Some(seed) => (seed, 1),
        None => (0, suite::number("ISOTHERM_IMAGES").unwrap_or(IMAGES)),
    };
    let mut opened = 0;
    for seed in first..first + count {
        let base = &bases[(seed % PLANS) as usize];
        let result = catch_unwind(AssertUnwindSafe(|| survive(base, seed, &mut opened)));
        let what = match result {
            Ok(Ok(())) => continue,
            Ok(Err(what)) => what,
            Err(_) => "it panicked".into(),
        };
        panic!(
            "image {seed}, of plan {}: {what}\n\
             ISOTHERM_SEED={seed} cargo test -p isotherm-store --test damage",
            base.plan.seed
        );
    }
    println!("{count} damaged disks: {opened} opened, the others were refused");
    assert!(count < 100 || opened > count / 4, "too few open to say much: {opened}");
}

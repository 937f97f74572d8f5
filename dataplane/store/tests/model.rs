//! The store and its model behind the same trait: one operation after the other, each answer
//! the same.

mod suite;

use isotherm_seam::{Domain, Draws};
use isotherm_store::model::{Model, Shards};
use isotherm_store::{Delete, Get, GetError, Key, Planted, Put, PutError};
use suite::plan::{Plan, content, key};
use suite::rig::Rig;
use suite::run::{format_options, options};
use suite::start;

const WORK: Domain = Domain::new("store.model.work");

/// An answer, as far as both must give the same.
#[derive(PartialEq, Debug)]
enum Answer {
    Done,
    Refused,
    Bytes(Result<Vec<u8>, GetError>),
    Keys(Vec<Key>),
}

/// The same operations, from the same draws, on either. A tombstone that nobody holds may be
/// there or not, so all are held, and those that are released are not used again.
async fn work(shards: impl Shards, seed: u64) -> Vec<Answer> {
    let mut draws = Draws::new(seed, WORK, 0);
    let mut answers = Vec::new();
    let done = |result: Result<(), PutError>| match result {
        Ok(()) => Answer::Done,
        Err(PutError::Deleted) => Answer::Refused,
        Err(other) => panic!("seed {seed}: {other}"),
    };
    for version in 0..60 {
        let number = draws.below(9) as u8;
        let key = key(number);
        answers.push(match draws.below(10) {
            0..4 => {
                let len = draws.below(9_000) as u32;
                done(shards.put(Put::new(key), &content(number, version, len)).await)
            }
            4 => done(shards.delete(Delete { hold: true, ..Delete::new(key) }).await),
            5..7 => Answer::Bytes(shards.get(Get { key, range: None, deadline: None }).await),
            7..9 => {
                let at = draws.below(9_000) as u32;
                let range = Some(at..at + 1 + draws.below(3_000) as u32);
                Answer::Bytes(shards.get(Get { key, range, deadline: None }).await)
            }
            _ => Answer::Keys(shards.keys(Key::MIN, Key::MAX).await.expect("nothing fails")),
        });
    }
    shards.release(key(0));
    answers
}

#[test]
fn the_model_and_the_store_answer_alike() {
    for seed in 0..40 {
        let setup = Plan::new(seed).setup;
        let mut rig = Rig::new(setup.disk(seed), false);
        let (world, disk, format) = (rig.world(), rig.disk().clone(), format_options(&setup, seed));
        rig.run(async move { isotherm_store::format(&world, &disk, &format).await })
            .expect("it ends")
            .expect("it formats");
        let options = options(&setup, Planted::default());
        let store = start::opened(&mut rig, &options, false).expect("it ends").expect("it opens");
        let real = rig.run(work(store, seed)).expect("it ends");
        let model = rig.run(work(Model::default(), seed)).expect("it ends");
        for (number, (real, model)) in real.iter().zip(&model).enumerate() {
            assert_eq!(real, model, "seed {seed}, operation {number}");
        }
    }
}

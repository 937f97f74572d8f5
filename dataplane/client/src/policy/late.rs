//! The read is reserved everywhere; whichever disk is about to come to it claims it, and as many
//! claims are granted as are needed. The others are parked, and wanted again only if one of those
//! fails. Nothing is read for nothing, and nobody's queue length is asked.
//!
//! While most arms stand still the cells that need no decoding are offered first, to begin without
//! a round trip; only when one of these has to wait the others are reserved too. What was offered
//! may have begun: it counts as granted until its disk has said that it waits.

use isotherm_seam::Draws;

use super::{Act, Event, Is, Policy, View};

pub(super) struct Late;

impl Policy for Late {
    fn on(&self, event: Event, view: &View, draws: &mut Draws, acts: &mut Vec<Act>) {
        // So many claims more are to be granted.
        let open = view.missing().saturating_sub(view.count(Is::Offered));
        match event {
            Event::Begin if view.is_still && view.has_enough_good() => {
                // Of copies any one, as they are all alike; of a stripe the data first.
                let skipped = match view.needed {
                    1 => draws.below(good(view).count() as u64) as usize,
                    _ => 0,
                };
                acts.extend(good(view).skip(skipped).take(view.needed).map(Act::Offer));
            }
            // What is avoided is left out where the others suffice.
            Event::Begin if view.has_enough_good() => acts.extend(good(view).map(Act::Reserve)),
            Event::Begin => acts.extend(view.that(Is::Idle).map(Act::Reserve)),
            Event::Claimed(cell) if open > 0 => {
                acts.push(Act::Grant(cell));
                if open == 1 {
                    let others = view.that(Is::Reserved);
                    acts.extend(others.filter(|&other| other != cell).map(Act::Park));
                }
            }
            Event::Claimed(cell) => acts.push(Act::Park(cell)),
            Event::Begun(_) if open == 0 => acts.extend(view.that(Is::Reserved).map(Act::Park)),
            Event::Waits(_) if open > 0 => {
                acts.extend(view.that(Is::Parked).map(Act::Wake));
                acts.extend(good(view).map(Act::Reserve));
            }
            Event::Failed | Event::Slow if open > view.count(Is::Reserved) => {
                acts.extend(view.that(Is::Parked).map(Act::Wake));
                acts.extend(view.that(Is::Idle).map(Act::Reserve));
            }
            _ => {}
        }
    }
}

/// Cells that nothing was asked of yet, and that are not to be avoided.
fn good(view: &View) -> impl Iterator<Item = usize> {
    view.that(Is::Idle).filter(|&cell| !view.cells[cell].is_avoided)
}

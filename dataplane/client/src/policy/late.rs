//! The read is reserved everywhere; whichever disk is about to come to it claims it, and as many
//! claims are granted as are needed. The others are parked, and wanted again only if one of those
//! fails. Nothing is read for nothing, and nobody's queue length is asked.

use isotherm_seam::Draws;

use super::{Act, Event, Is, Policy, View};

pub(super) struct Late;

impl Policy for Late {
    fn on(&self, event: Event, view: &View<'_>, _: &mut Draws, acts: &mut Vec<Act>) {
        let missing = view.missing();
        match event {
            Event::Begin => {
                // What is avoided is left out where the others suffice.
                let good = view.cells.iter().filter(|cell| !cell.is_avoided).count();
                let all = good < view.needed;
                let cells = view.that(|is| is == Is::Idle);
                acts.extend(
                    cells.filter(|&cell| all || !view.cells[cell].is_avoided).map(Act::Reserve),
                );
            }
            Event::Claimed(cell) if missing > 0 => {
                acts.push(Act::Grant(cell));
                if missing == 1 {
                    let others = view.that(|is| is == Is::Reserved);
                    acts.extend(others.filter(|&other| other != cell).map(Act::Park));
                }
            }
            Event::Claimed(cell) => acts.push(Act::Park(cell)),
            Event::Failed | Event::Slow => {
                if missing > view.count(|is| is == Is::Reserved) {
                    acts.extend(view.that(|is| is == Is::Parked).map(Act::Wake));
                    acts.extend(view.that(|is| is == Is::Idle).map(Act::Reserve));
                }
            }
            Event::Probed | Event::Arrived => {}
        }
    }
}

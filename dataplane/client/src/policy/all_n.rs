//! All are asked and what comes first is used: the shortest wait, for n / k of the disk time.

use isotherm_seam::Draws;

use super::{Act, Event, Is, Policy, View};

pub(super) struct AllN;

impl Policy for AllN {
    fn on(&self, event: Event, view: &View, _: &mut Draws, acts: &mut Vec<Act>) {
        if event == Event::Begin {
            acts.extend(view.that(Is::Idle).map(Act::Get));
        }
    }
}

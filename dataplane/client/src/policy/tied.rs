//! All are asked; each says when it begins, and when enough have begun the others are dropped.
//! What begins within a round trip of that is disk time for nothing.

use isotherm_seam::Draws;

use super::{Act, Event, Is, Policy, View};

pub(super) struct Tied;

impl Policy for Tied {
    fn on(&self, event: Event, view: &View, _: &mut Draws, acts: &mut Vec<Act>) {
        match event {
            Event::Begin => acts.extend(view.that(Is::Idle).map(Act::Tie)),
            Event::Failed | Event::Slow if view.missing() > view.count(Is::Reserved) => {
                acts.extend(view.that(Is::Idle).map(Act::Tie));
            }
            _ if view.missing() == 0 => acts.extend(view.that(Is::Reserved).map(Act::Drop)),
            _ => {}
        }
    }
}

//! Any that suffice: what every system does that does not choose.

use isotherm_seam::Draws;

use super::{Act, Event, Policy, View};

pub(super) struct Random;

impl Policy for Random {
    fn on(&self, _: Event, view: &View, draws: &mut Draws, acts: &mut Vec<Act>) {
        let wanted = view.missing();
        if wanted > 0 {
            acts.extend(view.by_chance(draws).into_iter().take(wanted).map(Act::Get));
        }
    }
}

//! Every disk is asked how long a read would wait, and those that say the least are asked for it.
//! The answers are a round trip old, and everybody hears the same.

use isotherm_seam::{Draws, Nanos};

use super::{Act, Event, Is, Policy, View};

pub(super) struct Probe;

impl Policy for Probe {
    fn on(&self, event: Event, view: &View, draws: &mut Draws, acts: &mut Vec<Act>) {
        if event == Event::Begin {
            acts.extend(view.that(Is::Idle).map(Act::Probe));
            return;
        }
        let wanted = view.missing();
        let still = view.count(Is::Probing);
        if wanted == 0 || still > 0 && event != Event::Slow {
            return;
        }
        let wait = |cell: usize| match view.cells[cell].is {
            Is::Probed => view.cells[cell].load,
            _ => Nanos(u64::MAX),
        };
        let mut cells = view.by_chance(draws);
        cells.sort_by_key(|&cell| (view.cells[cell].is_avoided, wait(cell)));
        acts.extend(cells.into_iter().take(wanted).map(Act::Get));
    }
}

//! Those that this client has had the least trouble with of late: its own requests under way, and
//! how long its last ones took. One of many clients sees little of what a disk has to do.

use isotherm_seam::Draws;

use super::{Act, Event, Policy, View};

pub(super) struct LeastLoaded;

impl Policy for LeastLoaded {
    fn on(&self, _: Event, view: &View, draws: &mut Draws, acts: &mut Vec<Act>) {
        let wanted = view.missing();
        if wanted == 0 {
            return;
        }
        // By chance among equals.
        let mut cells = view.by_chance(draws);
        cells.sort_by_key(|&cell| (view.cells[cell].is_avoided, view.cells[cell].load));
        acts.extend(cells.into_iter().take(wanted).map(Act::Get));
    }
}

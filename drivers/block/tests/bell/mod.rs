//! A sleep that ends when it is rung.

use std::sync::{Arc, Condvar, Mutex};
use std::time::Duration;

use isotherm_seam::{Mono, Park, Unpark};

/// One core's sleep.
#[derive(Default)]
pub(crate) struct Bell {
    rung: Arc<(Mutex<bool>, Condvar)>,
}

struct Rope(Arc<(Mutex<bool>, Condvar)>);

impl Park for Bell {
    fn park(&mut self, now: Mono, until: Option<Mono>) {
        let (rung, bell) = &*self.rung;
        let guard = rung.lock().expect("nobody panics with the bell");
        let patience = until.map_or(u64::MAX / 4, |until| until.since(now).0);
        let patience = Duration::from_nanos(patience);
        let (mut guard, _) =
            bell.wait_timeout_while(guard, patience, |rung| !*rung).expect("nobody panics");
        *guard = false;
    }

    fn unparker(&self) -> Arc<dyn Unpark> {
        Arc::new(Rope(Arc::clone(&self.rung)))
    }
}

impl Unpark for Rope {
    fn unpark(&self) {
        *self.0.0.lock().expect("nobody panics with the bell") = true;
        self.0.1.notify_one();
    }
}

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
        let patience = Duration::from(until.expect("nobody sleeps for ever").since(now));
        let (mut guard, timeout) =
            bell.wait_timeout_while(guard, patience, |rung| !*rung).expect("nobody panics");
        assert!(!timeout.timed_out(), "nobody rang within {patience:?}");
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

//! How a person stops a run: the first Ctrl-C asks it to end and report, a later one ends the
//! process where it stands.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use signal_hook::consts::{SIGINT, SIGTERM};

/// A second signal within this time is the same press: `timeout` and some shells signal the
/// process and then its group, and the report must survive that.
const SAME_PRESS: Duration = Duration::from_millis(500);

/// The exit code of a process that was ended by Ctrl-C, by convention.
const ENDED_BY_INTERRUPT: i32 = 130;

/// A flag that the first SIGINT or SIGTERM raises.
pub(crate) fn on_signal() -> anyhow::Result<Arc<AtomicBool>> {
    let stop = Arc::new(AtomicBool::new(false));
    let impatient = Arc::new(AtomicBool::new(false));
    for signal in [SIGINT, SIGTERM] {
        signal_hook::flag::register_conditional_shutdown(
            signal,
            ENDED_BY_INTERRUPT,
            Arc::clone(&impatient),
        )?;
        signal_hook::flag::register(signal, Arc::clone(&stop))?;
    }
    let raised = Arc::clone(&stop);
    #[expect(clippy::disallowed_methods, reason = "the binary's own thread, beside the run")]
    std::thread::spawn(move || {
        while !raised.load(Ordering::Relaxed) {
            std::thread::sleep(SAME_PRESS / 10);
        }
        std::thread::sleep(SAME_PRESS);
        impatient.store(true, Ordering::Relaxed);
    });
    Ok(stop)
}

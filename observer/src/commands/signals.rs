//! Signals that end a command or have it read its configuration again: none is lost before there is somebody to take it.

use std::thread;

use anyhow::{Context, Result};
use nix::sys::signal::{SigSet, Signal};

use crate::agent::Stop;

/// Those that end a command.
pub const ENDING: [Signal; 2] = [Signal::SIGINT, Signal::SIGTERM];

/// Signals that wait. Threads that are started meanwhile inherit that, so that the one that takes them takes all.
pub struct Held(SigSet);

impl Held {
    /// From here on they wait.
    pub fn hold(signals: impl IntoIterator<Item = Signal>) -> Result<Held> {
        let signals = SigSet::from_iter(signals);
        signals.thread_block().with_context(|| format!("cannot block {signals:?}"))?;
        Ok(Held(signals))
    }

    /// This thread takes them: first those that came meanwhile.
    pub fn release(self) -> Result<()> {
        self.0.thread_unblock().with_context(|| format!("cannot unblock {:?}", self.0))
    }

    /// Asks for the end at the first of them.
    pub fn stop_at_first(self, stop: &Stop) {
        let stop = stop.clone();
        thread::spawn(move || {
            if self.0.wait().is_ok() {
                stop.ask();
            }
        });
    }
}

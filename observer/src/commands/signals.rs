//! Signals that end the agent or have it read its configuration again: none is lost before there is somebody to take it.

use anyhow::{Context, Result};
use nix::sys::signal::{SigSet, Signal};

/// SIGINT, SIGTERM and SIGHUP, which wait. Threads that are started meanwhile inherit that.
pub struct Held(SigSet);

impl Held {
    /// From here on they wait.
    pub fn hold() -> Result<Held> {
        let signals = SigSet::from_iter([Signal::SIGINT, Signal::SIGTERM, Signal::SIGHUP]);
        signals.thread_block().context("cannot block SIGINT, SIGTERM and SIGHUP")?;
        Ok(Held(signals))
    }

    /// This thread takes them: first those that came meanwhile.
    pub fn release(self) -> Result<()> {
        self.0.thread_unblock().context("cannot take SIGINT, SIGTERM and SIGHUP")
    }
}

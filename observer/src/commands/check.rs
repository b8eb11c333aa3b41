//! `observer check`.

use std::io::{IsTerminal, stdout};
use std::process::ExitCode;

use anyhow::Result;

use crate::capture::Capture;
use crate::check::{self, Row};
use crate::host::selector::Selection;

/// Prints what the host allows. Exit code 0 if the observer can observe.
pub fn check() -> Result<ExitCode> {
    let mut rows = check::rows();
    rows.push(trial());
    print!("{}", check::render(&rows, stdout().is_terminal()));
    Ok(if check::can_observe(&rows) { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// The proof: the programs are loaded and attached, and detached again.
fn trial() -> Row {
    let started = std::time::Instant::now();
    match Capture::start(Selection::default()) {
        Ok(_) => Row::ok("kernel part", format!("loads and attaches, in {} ms", started.elapsed().as_millis())),
        Err(error) => Row::missing("kernel part", "does not load", format!("{error:#}")),
    }
}

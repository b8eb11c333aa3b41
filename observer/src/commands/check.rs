//! `observer check`.

use std::io::stdout;
use std::process::ExitCode;

use anyhow::Result;

use crate::capture::Capture;
use crate::check::{self, Look, Row};
use crate::host::selector::Selection;
use crate::logging::is_coloured;
use crate::progress::during;

/// Prints what the host allows. Exit code 0 if the observer can observe.
pub fn check() -> Result<ExitCode> {
    let rows = during("looking at this host", || {
        let mut rows = check::rows();
        rows.push(trial());
        rows
    });
    let look = Look { colour: is_coloured(&stdout()), columns: columns() };
    print!("{}", check::render(&rows, look));
    Ok(if check::can_observe(&rows) { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Of the terminal that stdout is.
fn columns() -> Option<usize> {
    let size = rustix::termios::tcgetwinsize(stdout()).ok()?;
    (size.ws_col > 0).then_some(usize::from(size.ws_col))
}

/// The proof: the programs are loaded and attached, and detached again.
fn trial() -> Row {
    let started = std::time::Instant::now();
    match Capture::start(Selection::default()) {
        Ok(_) => Row::ok("kernel part", format!("loads and attaches, in {} ms", started.elapsed().as_millis())),
        Err(error) => Row::missing("kernel part", "does not load", format!("{error:#}")),
    }
}

//! `observer replay`.

use std::io::{Write, stdout};
use std::process::ExitCode;
use std::sync::Arc;

use anyhow::Result;

use crate::cli::ReplayArgs;
use crate::metrics;
use crate::recording::{self, Options};

/// Prints the metrics that a recorded file gives.
pub fn replay(args: &ReplayArgs) -> Result<ExitCode> {
    let config = super::load(&args.config)?.sourced.config();
    let options = Options {
        datastore: args.config.datastore.clone(),
        ignored_ports: args.config.ignored_ports.clone(),
        counts_unmatched: args.config.count_unmatched,
        // The same text on every host.
        metrics: metrics::Options { node_id: Arc::default(), ..super::metrics_options(&args.config) },
        text: super::text_options(&args.config),
    };
    let text = recording::replay(&args.file, &config, &options)?;
    stdout().write_all(text.as_bytes())?;
    Ok(ExitCode::SUCCESS)
}

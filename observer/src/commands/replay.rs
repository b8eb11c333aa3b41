//! `observer replay`.

use std::io::{Write, stdout};
use std::process::ExitCode;

use anyhow::Result;

use crate::cli::ReplayArgs;
use crate::exposition::text;
use crate::recording::{self, Options};

/// Prints the metrics that a recorded file gives.
pub fn replay(args: &ReplayArgs) -> Result<ExitCode> {
    let config = super::load(&args.config)?.sourced.config();
    let options = Options {
        datastore: args.config.datastore.clone(),
        per_gateway_label: args.config.per_gateway_label,
        text: text::Options { own_metrics: !args.config.no_own_metrics },
    };
    let text = recording::replay(&args.file, &config, &options)?;
    stdout().write_all(text.as_bytes())?;
    Ok(ExitCode::SUCCESS)
}

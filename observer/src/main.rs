//! The observer's program.

use std::process::ExitCode;

use clap::Parser;
use observer::cli::Cli;

fn main() -> ExitCode {
    let cli = Cli::parse();
    // warp tells of clients' mistakes as errors of its own.
    env_logger::Builder::from_env(env_logger::Env::default().default_filter_or("info,warp=off"))
        .format_target(false)
        .init();
    observer::commands::main(cli)
}

//! The observer's program.

use std::process::ExitCode;

use clap::Parser;
use observer::cli::Cli;

fn main() -> ExitCode {
    let cli = Cli::parse();
    cli.log_format.start();
    observer::commands::main(cli)
}

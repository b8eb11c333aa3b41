//! The observer's program.

use std::process::ExitCode;

use observer::cli::Cli;

fn main() -> ExitCode {
    let cli = Cli::of_process();
    cli.log_format.start();
    observer::commands::main(cli)
}

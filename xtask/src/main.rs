//! `cargo xtask`: sets up, builds, runs, tests and measures the observer. One module a subcommand.

mod bench;
mod build;
mod demo;
mod dist;
mod fuzz;
mod instructions;
mod job;
mod project;
mod run;
mod setup;
mod signals;
mod tally;
mod test;

use std::io::{self, Write};
use std::process::ExitCode;

use anyhow::Result;
use clap::Parser;

use crate::project::Project;
use crate::signals::Interrupted;

/// Sets up, builds, runs, tests and measures the observer.
#[derive(Parser)]
#[command(bin_name = "cargo xtask", max_term_width = 100)]
enum Command {
    /// Set up, build, and measure what observing costs
    Bench(bench::Args),
    /// Call getppid many times, for `bench`
    #[command(hide = true)]
    Bystander,
    /// Set up what is missing and build target/release/observer, the kernel part inside
    Build,
    /// Set up, build, and make a tarball and a Debian package in target/dist
    Dist(dist::Args),
    /// Feed each fuzz target inputs that libFuzzer makes up
    Fuzz(fuzz::Args),
    /// Build, and count the instructions that replaying the recordings takes
    Instructions(instructions::Args),
    /// Set up, build and start the agent on this host
    Run(run::Args),
    /// Set up, then check formatting and lints, and run unit and end-to-end tests
    Test {
        /// The gateway runs at full speed for a minute instead of 10 seconds
        #[arg(long)]
        long: bool,
    },
}

fn main() -> ExitCode {
    match dispatch(Command::parse()) {
        Ok(code) => code,
        Err(error) => match error.downcast_ref::<Interrupted>() {
            Some(interrupted) => interrupted.exit_code(),
            None => {
                eprintln!("error: {error:#}");
                ExitCode::FAILURE
            }
        },
    }
}

fn dispatch(command: Command) -> Result<ExitCode> {
    signals::listen()?;
    let project = Project::here()?;
    match command {
        Command::Bench(args) => bench::bench(&project, &args),
        Command::Bystander => bench::bystander(),
        Command::Build => build::build(&project),
        Command::Dist(args) => dist::dist(&project, &args),
        Command::Fuzz(args) => fuzz::fuzz(&project, &args),
        Command::Instructions(args) => instructions::instructions(&project, &args),
        Command::Run(args) => run::run(&project, &args),
        Command::Test { long } => test::test(&project, long),
    }
}

/// Says what is done next.
fn step(what: &str) {
    say(&format!("==> {what}"));
}

/// Prints a line. A reader that has gone (`| head`) is no reason to stop half-way.
fn say(line: &str) {
    let _ = writeln!(io::stdout(), "{line}");
}

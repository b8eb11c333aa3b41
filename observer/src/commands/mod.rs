//! The subcommands.

mod check;
mod run;
mod token;

use std::process::ExitCode;

use anyhow::Result;

use crate::attribution::Attribution;
use crate::cli::{Cli, Command, ConfigArgs};
use crate::config::{Config, ConfigError};
use crate::exposition::auth::AuthError;
use crate::exposition::listen::Exposed;
use crate::exposition::plugins::StateError;
use crate::exposition::server::ListenError;
use crate::metrics::{self, Metrics};
use crate::pipeline::{self, Pipeline};

/// Exit code for what the person gave: a bad option or configuration.
const BAD_INPUT: u8 = 2;

/// Does what the command line says. Errors are printed, in one line.
pub fn main(cli: Cli) -> ExitCode {
    let result = match cli.command.unwrap_or(Command::Run(cli.run)) {
        Command::Run(args) => run::run(&args),
        Command::Check => check::check(),
        Command::Token(args) => token::token(&args),
        Command::Record(_) | Command::Replay(_) => todo!(),
    };
    result.unwrap_or_else(|error| {
        eprintln!("error: {error:#}");
        if is_bad_input(&error) { ExitCode::from(BAD_INPUT) } else { ExitCode::FAILURE }
    })
}

fn is_bad_input(error: &anyhow::Error) -> bool {
    let is_of_tls = || matches!(error.downcast_ref(), Some(ListenError::Tls(_)));
    error.is::<ConfigError>()
        || error.is::<Exposed>()
        || error.is::<AuthError>()
        || error.is::<StateError>()
        || is_of_tls()
}

/// A pipeline for this configuration.
fn pipeline(args: &ConfigArgs, config: &Config, realtime_offset_ns: u64) -> Pipeline {
    let options = pipeline::Options {
        realtime_offset_ns,
        datastore: args.datastore.clone().or_else(|| config.datastore.clone()),
        per_gateway_label: args.per_gateway_label,
    };
    let metrics = metrics::Options { per_gateway_label: args.per_gateway_label, ..metrics::Options::default() };
    Pipeline::new(options, Attribution::new(config), Metrics::new(metrics))
}

fn load(args: &ConfigArgs) -> Result<Config> {
    Ok(Config::load(args.config.as_deref(), args.kong_config.as_deref())?)
}

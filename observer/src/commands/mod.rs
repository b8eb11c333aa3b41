//! The subcommands.

mod check;
mod record;
mod replay;
mod run;

use std::process::ExitCode;

use anyhow::Result;

use crate::cli::{Cli, Command, ConfigArgs};
use crate::config::{ConfigError, Sources};
use crate::kong_admin::KongAdmin;
use crate::metrics::{self, Metrics};
use crate::pipeline::{self, Pipeline};
use crate::reload::InUse;

/// Exit code for what the person gave: a bad option or configuration.
const BAD_INPUT: u8 = 2;

/// Does what the command line says. Errors are printed, in one line.
pub fn main(cli: Cli) -> ExitCode {
    let result = match cli.command.unwrap_or(Command::Run(cli.run)) {
        Command::Run(args) => run::run(&args),
        Command::Check => check::check(),
        Command::Record(args) => record::record(&args),
        Command::Replay(args) => replay::replay(&args),
    };
    result.unwrap_or_else(|error| {
        eprintln!("error: {error:#}");
        if error.is::<ConfigError>() { ExitCode::from(BAD_INPUT) } else { ExitCode::FAILURE }
    })
}

/// A pipeline for this configuration.
fn pipeline(args: &ConfigArgs, in_use: &InUse, realtime_offset_ns: u64) -> Pipeline {
    let new = in_use.reconfiguration();
    let options =
        pipeline::Options { realtime_offset_ns, datastore: new.datastore, per_gateway_label: args.per_gateway_label };
    let metrics = metrics::Options { per_gateway_label: args.per_gateway_label, ..metrics::Options::default() };
    Pipeline::new(options, new.attribution, Metrics::new(metrics))
}

fn load(args: &ConfigArgs) -> Result<InUse> {
    let sources = Sources { own: args.config.clone(), kong: args.kong_config.clone(), nginx: args.nginx_conf.clone() };
    let mut in_use = InUse { sourced: sources.read()?, datastore: args.datastore.clone(), kong_admin_answers: None };
    if let Some(admin) = kong_admin(args) {
        let read = admin.read();
        in_use.kong_admin_answers = Some(read.is_ok());
        match read {
            Ok(config) => {
                in_use.sourced.take_kong_admin(config);
            }
            Err(error) => log::warn!("{error}; going on without it, and asking again"),
        }
    }
    Ok(in_use)
}

fn kong_admin(args: &ConfigArgs) -> Option<KongAdmin> {
    let token_file = args.kong_admin_token_file.clone();
    args.kong_admin.clone().map(|url| KongAdmin { url, token_file })
}

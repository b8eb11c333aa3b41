//! The subcommands.

mod ask;
mod check;
mod record;
mod replay;
mod run;
mod signals;
mod tail;
mod token;
mod top;

use std::process::ExitCode;
use std::sync::Arc;

use anyhow::Result;
use sha2::{Digest as _, Sha256};

use self::ask::AskError;
use crate::cli::{Cli, Command, ConfigArgs};
use crate::config::{ConfigError, Sources};
use crate::exposition::auth::AuthError;
use crate::exposition::listen::Exposed;
use crate::exposition::plugins::StateError;
use crate::exposition::server::ListenError;
use crate::exposition::text;
use crate::kong_admin::KongAdmin;
use crate::metrics::{self, Dialect, Metrics, Spoken};
use crate::pipeline::{self, Counting};
use crate::privileges::PrivilegeError;
use crate::progress;
use crate::reload::InUse;

/// Exit code for what the person gave: a bad option or configuration.
const BAD_INPUT: u8 = 2;

/// Does what the command line says. Errors are printed, in one line.
pub fn main(cli: Cli) -> ExitCode {
    let format = cli.log_format;
    let result = match cli.command.unwrap_or(Command::Run(cli.run)) {
        Command::Run(args) => run::run(&args),
        Command::Check => check::check(),
        Command::Top(args) => top::top(&args),
        Command::Tail(args) => tail::tail(&args),
        Command::Record(args) => record::record(&args),
        Command::Replay(args) => replay::replay(&args),
        Command::Token(args) => token::token(&args),
    };
    result.unwrap_or_else(|error| {
        format.tell_end(&error);
        if is_bad_input(&error) { ExitCode::from(BAD_INPUT) } else { ExitCode::FAILURE }
    })
}

fn is_bad_input(error: &anyhow::Error) -> bool {
    let is_of_tls = || matches!(error.downcast_ref(), Some(ListenError::Tls(_)));
    error.is::<ConfigError>()
        || error.is::<Exposed>()
        || error.is::<AuthError>()
        || error.is::<StateError>()
        || matches!(error.downcast_ref(), Some(AskError::Own { .. }))
        || matches!(error.downcast_ref(), Some(PrivilegeError::NoUser(_) | PrivilegeError::NotRoot))
        || is_of_tls()
}

/// What counts by this configuration.
fn counting(args: &ConfigArgs, in_use: &InUse, realtime_offset_ns: u64) -> Counting {
    let new = in_use.reconfiguration();
    let options = pipeline::Options {
        realtime_offset_ns,
        datastore: new.datastore,
        per_gateway_label: args.per_gateway_label,
        ignored_ports: args.ignored_ports.clone(),
        admin_ports: new.admin_ports,
        counts_unmatched: args.count_unmatched,
    };
    Counting::new(options, new.attribution, Metrics::new(metrics_options(args)))
}

fn metrics_options(args: &ConfigArgs) -> metrics::Options {
    let today = |spoken: &Spoken| (spoken.dialect == Dialect::Today).then_some(spoken.switches);
    metrics::Options {
        per_gateway_label: args.per_gateway_label,
        classic: args.dialects.iter().any(|spoken| spoken.dialect != Dialect::Today),
        today: args.dialects.iter().find_map(today),
        node_id: node_id(),
        ..metrics::Options::default()
    }
}

/// In the first dialect that the command line names.
fn text_options(args: &ConfigArgs) -> text::Options {
    let dialect = args.dialects.first().map(|spoken| spoken.dialect).unwrap_or_default();
    text::Options { own_metrics: !args.no_own_metrics, dialect, ..text::Options::default() }
}

/// Stands for this host in Kong 3's metrics: a UUID that tells nothing of the machine's own id (machine-id(5)).
fn node_id() -> Arc<str> {
    let machine = std::fs::read("/etc/machine-id").unwrap_or_default();
    let digest = Sha256::digest([b"observer node_id ", machine.as_slice()].concat());
    let hex: String = digest[..16].iter().map(|byte| format!("{byte:02x}")).collect();
    // RFC 9562, version 8: of our own making.
    format!("{}-{}-8{}-8{}-{}", &hex[..8], &hex[8..12], &hex[13..16], &hex[17..20], &hex[20..]).into()
}

fn load(args: &ConfigArgs) -> Result<InUse> {
    let sources = Sources { own: args.config.clone(), kong: args.kong_config.clone(), nginx: args.nginx_conf.clone() };
    let mut in_use = InUse { sourced: sources.read()?, datastore: args.datastore.clone(), kong_admin_answers: None };
    if let Some(admin) = kong_admin(args) {
        let read = progress::during("asking Kong's Admin API", || admin.read());
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
    let (token_file, ca_file) = (args.kong_admin_token_file.clone(), args.kong_admin_ca.clone());
    args.kong_admin.clone().map(|url| KongAdmin { url, token_file, ca_file })
}

//! The command line.

mod asking;
mod examples;
mod wrong;

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Parser, Subcommand};

use ipnet::IpNet;

use crate::config::Endpoint;
use crate::exposition::auth::Role;
use crate::exposition::listen::{Listen, network};
use crate::host::selector::Selector;
use crate::kong_admin::AdminUrl;
use crate::logging::LogFormat;
use crate::metrics::{Label, Spoken};
use crate::privileges::{Account, PrivilegeError};
use crate::shards::THREADS_MAX;

pub use self::asking::{AgentArgs, TailArgs, TopArgs};

/// Watches an API gateway from outside and serves its Kong metrics.
#[derive(Debug, Parser)]
#[command(version, args_conflicts_with_subcommands = true, after_help = examples::OBSERVER)]
pub struct Cli {
    /// What to do; without any, `run`
    #[command(subcommand)]
    pub command: Option<Command>,
    /// How log lines are written to stderr
    #[arg(long, value_name = "FORMAT", global = true, value_enum, default_value_t)]
    pub log_format: LogFormat,
    /// Options of `run`
    #[command(flatten)]
    pub run: RunArgs,
}

/// Subcommands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Watch the gateways on this host and serve their metrics
    #[command(after_help = examples::RUN)]
    Run(RunArgs),
    /// Show row by row what this host allows
    #[command(after_help = examples::CHECK)]
    Check,
    /// Show live what the gateways do, service by service
    Top(TopArgs),
    /// Print every exchange as it ends, like an access log; needs the role admin
    Tail(TailArgs),
    /// Write what happens to a file, without secrets
    #[command(after_help = examples::RECORD)]
    Record(RecordArgs),
    /// Print the metrics that a recorded file gives
    #[command(after_help = examples::REPLAY)]
    Replay(ReplayArgs),
    /// Give a user a new token for the metrics page, and print it once
    #[command(after_help = examples::TOKEN)]
    Token(TokenArgs),
}

/// Which gateways to watch.
#[derive(Debug, Clone, Default, Args)]
pub struct GatewayArgs {
    /// Which processes to watch: name:NAME, exe:PATH, pid:N or port:N; repeatable [default: every nginx, openresty or
    /// kong that listens on TCP]
    #[arg(long = "gateway", value_name = "SELECTOR")]
    pub gateways: Vec<Selector>,
}

/// Where services come from.
#[derive(Debug, Clone, Default, Args)]
pub struct ConfigArgs {
    /// The observer's own configuration; wins over the others
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Kong's declarative configuration (YAML or JSON, formats 1.1 to 3.0)
    #[arg(long, value_name = "FILE")]
    pub kong_config: Option<PathBuf>,
    /// Kong's Admin API, read every 5 s; Kong's declarative configuration wins over it
    #[arg(long, value_name = "URL")]
    pub kong_admin: Option<AdminUrl>,
    /// A file with the token for Kong's Admin API (Kong-Admin-Token)
    #[arg(long, value_name = "FILE", requires = "kong_admin")]
    pub kong_admin_token_file: Option<PathBuf>,
    /// The authorities that made the certificate of an https:// Admin API (PEM) [default: those that the system trusts]
    #[arg(long, value_name = "FILE", requires = "kong_admin")]
    pub kong_admin_ca: Option<PathBuf>,
    /// nginx's own configuration, its includes followed: upstreams and proxy_pass targets are services, locations routes
    #[arg(long, value_name = "FILE")]
    pub nginx_conf: Option<PathBuf>,
    /// The gateway's datastore, for kong_datastore_reachable; wins over the configuration's
    #[arg(long, value_name = "ADDR:PORT")]
    pub datastore: Option<Endpoint>,
    /// Leave out the requests to this port of the gateway (an Admin API, a status page), save in the connection states;
    /// repeatable
    #[arg(long = "ignore-port", value_name = "PORT")]
    pub ignored_ports: Vec<u16>,
    /// Count requests that no service is known for in Kong's families, too, as service=""
    #[arg(long)]
    pub count_unmatched: bool,
    /// Tell gateways apart by a label
    #[arg(long)]
    pub per_gateway_label: bool,
    /// Which version of Kong's plugin to speak: 0.1, 0.3, or 3 with some of its switches after commas
    /// (per_consumer, status_code_metrics, latency_metrics, bandwidth_metrics, upstream_health_metrics; without any, all
    /// but per_consumer). Repeatable: the first is spoken, a scrape gets another by ?dialect=VERSION
    #[arg(long = "dialect", value_name = "VERSION[,SWITCH]...", default_value = "0.1")]
    pub dialects: Vec<Spoken>,
    /// Leave out the observer's own metrics
    #[arg(long)]
    pub no_own_metrics: bool,
}

/// What is left of root once the kernel part is attached.
#[derive(Debug, Clone, Default, Args)]
pub struct PrivilegeArgs {
    /// Run as this user once everything is attached
    #[arg(long, value_name = "NAME")]
    pub user: Option<String>,
}

impl PrivilegeArgs {
    /// The user, looked up.
    pub fn account(&self) -> Result<Option<Account>, PrivilegeError> {
        self.user.as_deref().map(Account::named).transpose()
    }
}

/// Options of `run`.
#[derive(Debug, Clone, Args)]
pub struct RunArgs {
    /// The metrics page
    #[command(flatten)]
    pub surface: SurfaceArgs,
    /// Gateways
    #[command(flatten)]
    pub gateways: GatewayArgs,
    /// Services
    #[command(flatten)]
    pub config: ConfigArgs,
    /// Threads
    #[command(flatten)]
    pub threads: ThreadArgs,
    /// Privileges
    #[command(flatten)]
    pub privileges: PrivilegeArgs,
}

/// How many threads follow the connections.
#[derive(Debug, Clone, Copy, Args)]
pub struct ThreadArgs {
    /// Follow the gateways' connections with so many threads, beside the one that reads what happens: for more than some
    /// 300,000 requests a second. With 1 that one does both. The numbers are the same
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u8).range(1..=THREADS_MAX as i64))]
    pub threads: u8,
}

/// Where the metrics are served, and to whom.
#[derive(Debug, Clone, Args)]
pub struct SurfaceArgs {
    /// Where to serve the metrics, repeatable: ADDR:PORT or unix:/PATH, then rules after commas: allow=CIDR,
    /// paths=/PATH, name=HOST (each repeatable), read=open (reading takes no token), cert=FILE,key=FILE (TLS),
    /// client-ca=FILE (mutual TLS), mode=0600 (unix)
    #[arg(long, value_name = "ADDR:PORT[,RULE]...", default_value = "127.0.0.1:9542")]
    pub listen: Vec<Listen>,
    /// Serve these addresses only, on every TCP listener without an allow= of its own; repeatable
    #[arg(long, value_name = "CIDR", value_parser = network)]
    pub allow: Vec<IpNet>,
    /// Believe X-Forwarded-For from these proxies; repeatable
    #[arg(long, value_name = "CIDR", value_parser = network)]
    pub trust_proxy: Vec<IpNet>,
    /// Users and the digests of their tokens, as `observer token` writes them; then reading needs a token
    #[arg(long, value_name = "FILE")]
    pub auth_file: Option<PathBuf>,
    /// Count nothing until the plugin is enabled by `POST /plugins`
    #[arg(long)]
    pub start_disabled: bool,
    /// Where to keep what is enabled across restarts; made if there is none
    #[arg(long, value_name = "DIR")]
    pub state_dir: Option<PathBuf>,
    /// A label of the family observer_info, for queries to join with; repeatable
    #[arg(long = "label", value_name = "NAME=VALUE")]
    pub labels: Vec<Label>,
    /// Serve other hosts without users, allow-list or TLS
    #[arg(long)]
    pub insecure: bool,
}

/// Options of `token`.
#[derive(Debug, Clone, Args)]
pub struct TokenArgs {
    /// The user's name
    pub user: String,
    /// metrics (may read) or admin (may change things too)
    #[arg(long)]
    pub role: Role,
    /// The file to write to; made if there is none
    #[arg(long, value_name = "FILE")]
    pub auth_file: PathBuf,
}

/// Options of `record`.
#[derive(Debug, Clone, Args)]
pub struct RecordArgs {
    /// The file to write; it must not exist
    pub file: PathBuf,
    /// Stop after this time, as in 30s or 5m; without it at Ctrl-C
    #[arg(long = "for", value_name = "DURATION", value_parser = humantime::parse_duration)]
    pub duration: Option<Duration>,
    /// Keep header values, query strings and bodies as they are: passwords, tokens and personal data with them
    #[arg(long)]
    pub with_secrets: bool,
    /// Gateways
    #[command(flatten)]
    pub gateways: GatewayArgs,
    /// Services: values of headers that their routes ask for are kept
    #[command(flatten)]
    pub config: ConfigArgs,
    /// Privileges
    #[command(flatten)]
    pub privileges: PrivilegeArgs,
}

/// Options of `replay`.
#[derive(Debug, Clone, Args)]
pub struct ReplayArgs {
    /// The recorded file
    pub file: PathBuf,
    /// As if so many worker processes had done each what the recorded one did, at the same time; tells on stderr what that
    /// costs each thread
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..=1000))]
    pub workers: u16,
    /// Threads
    #[command(flatten)]
    pub threads: ThreadArgs,
    /// Services
    #[command(flatten)]
    pub config: ConfigArgs,
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_definition_is_sound() {
        Cli::command().debug_assert();
    }

    #[test]
    fn every_help_ends_with_examples_that_are_understood() {
        let mut command = Cli::command();
        command.build();
        let all = command.get_subcommands().filter(|command| command.get_name() != "help" && !command.is_hide_set());
        let mut lines = 0;
        for command in all.chain([&command]) {
            let name = command.get_name();
            let help = command.get_after_help().unwrap_or_else(|| panic!("{name} has no examples")).to_string();
            let examples = help.strip_prefix("Examples:\n").unwrap_or_else(|| panic!("{name}: {help}"));
            for line in examples.lines() {
                // A remark stands behind two spaces; shells take redirections and what follows &&.
                let line = line.trim_start().split("  ").next().unwrap_or_default();
                for call in line.split(" && ").map(|call| call.split(['>', '|']).next().unwrap_or_default()) {
                    Cli::try_parse_from(call.split_whitespace()).unwrap_or_else(|error| panic!("{call}: {error}"));
                    lines += 1;
                }
            }
        }
        assert!(lines > 12, "{lines}");
    }

    #[test]
    fn log_lines_are_for_people_unless_json_is_asked_for() {
        let format = |arguments: &[&str]| Cli::parse_from(arguments).log_format;
        assert_eq!(format(&["observer"]), LogFormat::Text);
        assert_eq!(format(&["observer", "--log-format", "json"]), LogFormat::Json);
        assert_eq!(format(&["observer", "check", "--log-format", "json"]), LogFormat::Json);
    }

    #[test]
    fn run_is_what_is_meant_without_a_subcommand() {
        let bare = Cli::parse_from(["observer", "--gateway", "port:80", "--listen", "[::1]:9"]);
        let named = Cli::parse_from(["observer", "run", "--gateway", "port:80", "--listen", "[::1]:9"]);
        assert!(bare.command.is_none());
        let Some(Command::Run(run)) = named.command else { panic!("no run in {named:?}") };
        assert_eq!((bare.run.surface.listen, bare.run.gateways.gateways), (run.surface.listen, run.gateways.gateways));
    }

    #[test]
    fn metrics_are_served_on_loopback_unless_told_otherwise() {
        let cli = Cli::parse_from(["observer"]);
        assert_eq!(cli.run.surface.listen, [Listen::tcp("127.0.0.1:9542".parse().unwrap())]);
    }

    #[test]
    fn a_duration_is_read() {
        let cli = Cli::parse_from(["observer", "record", "f", "--for", "1m 30s"]);
        let Some(Command::Record(record)) = cli.command else { panic!("no record in {cli:?}") };
        assert_eq!(record.duration, Some(Duration::from_secs(90)));
    }
}

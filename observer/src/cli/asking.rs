//! Options of the commands that ask an agent that runs.

use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use ipnet::IpNet;

use crate::client::Url;
use crate::exposition::listen::network;
use crate::tail::{Filter, Format, StatusFilter, Wish};

/// Which agent to ask.
#[derive(Debug, Clone, Args)]
pub struct AgentArgs {
    /// Where the observer serves: http://HOST:PORT, https://HOST:PORT or unix:/PATH
    #[arg(long, value_name = "URL", default_value = "http://127.0.0.1:9542")]
    pub url: Url,
    /// A file with a token of a user of it, as `observer token` prints one
    #[arg(long, value_name = "FILE")]
    pub token_file: Option<PathBuf>,
    /// The authorities that made the certificate of an https:// address (PEM) [default: those that the system trusts]
    #[arg(long, value_name = "FILE")]
    pub ca: Option<PathBuf>,
}

const TOP_EXAMPLES: &str = "\
Examples:
  observer top                                             the observer of this host
  observer top --url unix:/run/observer.sock
  observer top --url https://edge-1:9542 --token-file metrics.token --ca ca.pem
  observer top --once | sort -k2 -rn                       a plain table for scripts";

/// Options of `top`.
#[derive(Debug, Clone, Args)]
#[command(after_help = TOP_EXAMPLES)]
pub struct TopArgs {
    /// Which agent
    #[command(flatten)]
    pub agent: AgentArgs,
    /// Print a plain table of one interval and end
    #[arg(long)]
    pub once: bool,
    /// What the table of --once is of
    #[arg(long, value_name = "DURATION", value_parser = humantime::parse_duration, default_value = "1s", requires = "once")]
    pub interval: Duration,
}

const TAIL_EXAMPLES: &str = "\
Examples:
  observer tail --url unix:/run/observer.sock              as the observer's own user or root
  observer tail --token-file admin.token --status 5xx      with a token of the role admin
  observer tail --service orders --slower-than 200ms --client 10.0.0.0/8
  observer tail --format json -n 100 | jq .request_ms";

/// Options of `tail`.
#[derive(Debug, Clone, Args)]
#[command(after_help = TAIL_EXAMPLES)]
pub struct TailArgs {
    /// Which agent
    #[command(flatten)]
    pub agent: AgentArgs,
    /// How to print them
    #[arg(long, value_enum, default_value_t)]
    pub format: Format,
    /// Only of this service, - for those without one; repeatable
    #[arg(long = "service", value_name = "NAME")]
    pub services: Vec<String>,
    /// Only with this status (404) or class (5xx); repeatable
    #[arg(long = "status", value_name = "STATUS")]
    pub statuses: Vec<StatusFilter>,
    /// Only those that took longer, as in 200ms or 1s
    #[arg(long, value_name = "DURATION", value_parser = humantime::parse_duration)]
    pub slower_than: Option<Duration>,
    /// Only from these clients; repeatable
    #[arg(long = "client", value_name = "CIDR", value_parser = network)]
    pub clients: Vec<IpNet>,
    /// Show the queries behind the paths: they may hold tokens and personal data
    #[arg(long)]
    pub with_query: bool,
    /// End after so many
    #[arg(short = 'n', long, value_name = "COUNT")]
    pub lines: Option<u64>,
}

impl TailArgs {
    /// What to ask for.
    pub fn wish(&self) -> Wish {
        let milliseconds = |limit: Duration| u64::try_from(limit.as_millis()).unwrap_or(u64::MAX);
        Wish {
            filter: Filter {
                services: self.services.clone(),
                statuses: self.statuses.clone(),
                slower_than_ms: self.slower_than.map(milliseconds),
                clients: self.clients.clone(),
            },
            with_query: self.with_query,
        }
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use crate::cli::{Cli, Command};

    #[test]
    fn filters_are_read() {
        let arguments = "observer tail --url unix:/run/o.sock --status 5xx --status 404 --service a --slower-than 1500ms \
                         --client 10.1.2.3/8 --with-query --format combined -n 3";
        let cli = Cli::try_parse_from(arguments.split_whitespace()).unwrap();
        let Some(Command::Tail(tail)) = cli.command else { panic!("no tail in {cli:?}") };
        assert_eq!(
            tail.wish().to_query(),
            "service=a&status=5xx&status=404&slower_than_ms=1500&client=10.0.0.0%2F8&with_query=1"
        );
        for bad in ["--status 6xx", "--client x", "--slower-than 1", "--url 127.0.0.1:1", "--format xml"] {
            let arguments = ["observer", "tail"].into_iter().chain(bad.split(' '));
            assert!(Cli::try_parse_from(arguments).is_err(), "{bad}");
        }
    }
}

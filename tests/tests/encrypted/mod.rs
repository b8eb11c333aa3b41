//! A gateway whose clients speak TLS.

use std::ops::Range;

use anyhow::{Context, Result, ensure};
use observer_tests::compare::{Scope, compare};
use observer_tests::nginx::config::Config;
use observer_tests::{Agent, Client, Nginx, Request, Upstream, totals};

const VERSIONS: &str = "TLSv1.2 TLSv1.3";

/// It has one service, and both versions of TLS.
pub fn gateway(upstream: &Upstream) -> Result<Config> {
    Ok(Config::new()?.tls(VERSIONS).service("alpha", upstream.address()))
}

/// Asks for something of the service on a connection of its own.
pub fn exchange(nginx: &Nginx, path: &str) -> Result<()> {
    Client::connect(nginx.address())?.exchange(&Request::get(format!("/alpha/{path}"))).map(drop)
}

/// All that the agent counted is in these lines of the log, and nothing was lost.
pub fn check(agent: &Agent, nginx: &Nginx, lines: Range<usize>) -> Result<()> {
    let log = &nginx.log(lines.end)?[lines.clone()];
    let now = agent.settled_scrape(log.len())?;
    compare(&now, &totals::by_prefix(log), Scope::Counts)
        .with_context(|| format!("the agent's stderr:\n{}", agent.stderr()))?;
    ensure!(now.value("kong_nginx_metric_errors_total") == 0.0, "{}", now.own());
    Ok(())
}

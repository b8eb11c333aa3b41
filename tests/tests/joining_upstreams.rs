//! Requests to upstreams, retries and failures, as nginx logs them for each try.

use std::collections::BTreeMap;

use anyhow::{Result, ensure};
use observer_tests::nginx::access_log::Line;
use observer_tests::nginx::config::Config;
use observer_tests::socket::deaf_listener;
use observer_tests::wait::{alone, free_port};
use observer_tests::{Agent, Client, Request, Upstream};

const ROUNDS: usize = 12;

/// Requests by target and status. nginx logs a status of its own for a try that got no header.
fn tries(lines: &[Line]) -> BTreeMap<String, f64> {
    let mut tries = BTreeMap::new();
    for line in lines {
        for ((target, status), header) in
            line.upstream_addr.iter().zip(&line.upstream_status).zip(&line.upstream_header_ms)
        {
            let code = match (header, status) {
                (Some(_), Some(status)) => status.to_string(),
                _ => "none".to_owned(),
            };
            // With none left nginx logs the group's name.
            if target == "mixed" {
                continue;
            }
            let key = format!("code=\"{code}\",service=\"mixed\",target=\"{target}\"");
            *tries.entry(format!("observer_upstream_requests_total{{{key}}}")).or_default() += 1.0;
        }
    }
    tries
}

#[test]
fn each_try_counts_as_nginx_logs_it() -> Result<()> {
    let _alone = alone()?;
    let (first, second) = (Upstream::ipv4()?, Upstream::ipv4()?);
    let refusing = format!("127.0.0.1:{} max_fails=0", free_port()?);
    let deaf = deaf_listener()?;
    let nginx = Config::new()?
        .http("proxy_connect_timeout 150ms; proxy_next_upstream error timeout http_503 non_idempotent;")
        .upstream(
            "mixed",
            &[
                &format!("{} max_fails=0", first.address()),
                &refusing,
                &format!("{} max_fails=0", deaf.address()),
                &format!("{} max_fails=0", second.address()),
            ],
        )
        .location("/mixed/", "proxy_pass http://mixed;")
        .start()?;
    let agent = Agent::watching(&[nginx.selector()])?;
    let paths = ["bytes/10", "status/503", "status/404", "early-close", "delay/10/bytes/3000"];
    let mut client = Client::connect(nginx.address())?;
    for index in 0..ROUNDS {
        for path in paths {
            client.exchange(&Request::post(format!("/mixed/{path}"), index * 100))?;
        }
    }
    let lines = nginx.log(ROUNDS * paths.len())?;
    let now = agent.settled_scrape(lines.len())?;

    let agents: BTreeMap<String, f64> =
        now.family("observer_upstream_requests_total").map(|(key, value)| (key.to_owned(), value)).collect();
    let logged = tries(&lines);
    ensure!(agents == logged, "log {logged:#?}\nagent {agents:#?}");
    let all: f64 = logged.values().sum();
    ensure!(now.sum("observer_upstream_retries_total") == all - lines.len() as f64, "{}", now.own());
    let failed = lines.iter().filter(|line| line.status >= 500).count();
    ensure!(failed > 0 && now.sum("observer_failures_total") == failed as f64, "{failed} failed\n{}", now.own());
    let with_header = logged.iter().filter(|(key, _)| !key.contains("none")).map(|(_, count)| count).sum::<f64>();
    let waits = now.value("observer_upstream_phase_ms_count{phase=\"wait\",service=\"mixed\"}");
    ensure!(waits == with_header, "{waits} waits where {with_header} headers came");
    Ok(())
}

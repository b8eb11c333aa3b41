//! A gateway that passes bodies on by `splice`, both ways: what it writes to a client is seen whole, what it takes out of a
//! socket is not.

use std::fs;
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use observer_tests::agent_config::AgentConfig;
use observer_tests::conformance::{Case, Family, check_identity};
use observer_tests::exposition::Exposition;
use observer_tests::netstat::listens;
use observer_tests::process::Process;
use observer_tests::tools::compile;
use observer_tests::wait::{PATIENCE, free_port, until_true};
use observer_tests::{Agent, Client, Request, Upstream};

const REQUESTS: usize = 6;
/// What the upstream takes for an answer.
const DELAY_MS: usize = 20;
const IDLE: Duration = Duration::from_millis(300);

/// What the clients saw.
#[derive(Default)]
struct Seen {
    sent_bytes: usize,
    received_bytes: usize,
    time: Duration,
}

#[test]
fn conformance() -> Result<()> {
    let mut family = Family::new("bodies passed on by splice")?;
    let path = format!("/alpha/delay/{DELAY_MS}/bytes/70000");
    let (now, seen) = drive(&Request::get(&path))?;
    family.claim(Case::visible("answers").lines(REQUESTS), answers_are_seen(&now, &seen));
    let (now, _) = drive(&Request::post("/alpha/echo", 60_000))?;
    family.claim(Case::unobserved("uploads", "unseen_bytes").times(REQUESTS), uploads_are_told(&now));
    family.finish()
}

fn drive(request: &Request) -> Result<(Exposition, Seen)> {
    let folder = tempfile::tempdir()?;
    let program = compile("calls.c", &[], folder.path())?;
    let upstream = Upstream::ipv4()?;
    let config = folder.path().join("services.yaml");
    fs::write(&config, AgentConfig::new().service("alpha", upstream.address(), "/alpha").own())?;
    let (port, upstream_address) = (free_port()?, upstream.address().to_string());
    let upstream_port = upstream_address.rsplit(':').next().context("a port")?;
    let mut gateway = Process::spawn(Command::new(program).args([&port.to_string(), "proxy", upstream_port]))?;
    until_true("the program listens", PATIENCE, || {
        let ended = gateway.ended()?;
        ensure!(ended.is_none(), "it ended: {ended:?}, {}", gateway.stderr());
        listens(port)
    })?;
    let selector = format!("pid:{}", gateway.pid());
    let agent = Agent::start(&[selector], &["--config", config.to_str().context("path")?])?;
    let mut client = Client::connect(([127, 0, 0, 1], port).into())?;
    let mut seen = Seen::default();
    for _ in 0..REQUESTS {
        let began = Instant::now();
        seen.sent_bytes += request.bytes().len();
        seen.received_bytes += client.exchange(request)?.wire_bytes;
        seen.time += began.elapsed();
        // What the gateway is not busy with is no request's time.
        thread::sleep(IDLE);
    }
    drop(client);
    let ended =
        |now: &Exposition| now.sum("observer_exchanges_counted_total") + now.sum("observer_exchanges_unobserved_total");
    Ok((agent.scrape_when(|now| ended(now) >= REQUESTS as f64)?, seen))
}

fn answers_are_seen(now: &Exposition, seen: &Seen) -> Result<()> {
    check_identity(now)?;
    let value = |family: &str, kind: &str| now.value(&format!("{family}{{type=\"{kind}\",service=\"alpha\"}}"));
    ensure!(now.value("kong_http_status{code=\"200\",service=\"alpha\"}") == REQUESTS as f64, "{}", now.own());
    let bytes = (value("kong_bandwidth", "ingress"), value("kong_bandwidth", "egress"));
    ensure!(bytes == (seen.sent_bytes as f64, seen.received_bytes as f64), "{bytes:?} bytes");
    ensure!(value("kong_latency_count", "upstream") == REQUESTS as f64, "too few upstream times:\n{}", now.own());
    let times_ms = (value("kong_latency_sum", "upstream"), value("kong_latency_sum", "request"));
    let (least_ms, most_ms) = ((REQUESTS * DELAY_MS) as f64, seen.time.as_secs_f64() * 1e3);
    // Each time is cut to whole milliseconds.
    let rounding_ms = REQUESTS as f64;
    let is_within = times_ms.0 + rounding_ms >= least_ms
        && times_ms.0 <= times_ms.1 + rounding_ms
        && times_ms.1 <= most_ms + rounding_ms;
    ensure!(is_within, "{times_ms:?} ms of {least_ms} to {most_ms}");
    ensure!(now.value("kong_nginx_metric_errors_total") == 0.0, "errors:\n{}", now.own());
    Ok(())
}

fn uploads_are_told(now: &Exposition) -> Result<()> {
    check_identity(now)?;
    let told = now.value("observer_exchanges_unobserved_total{reason=\"unseen_bytes\"}");
    let counted = now.sum("kong_http_status_total");
    ensure!(told == REQUESTS as f64 && counted == 0.0, "{told} told of, {counted} counted:\n{}", now.own());
    Ok(())
}

//! Libraries and kernels as they may be: functions that nginx does not call, OpenSSL inside the program or in a root of its
//! own, probes where the record layer is not known, and those of older kernels.

use std::fs;
use std::process::Command;
use std::sync::Arc;

use anyhow::{Context, Result, ensure};
use observer_tests::agent::SINGLE_PROBES_VARIABLE;
use observer_tests::compare::{Scope, compare};
use observer_tests::exposition::Exposition;
use observer_tests::nginx::config::Config;
use observer_tests::openssl::{Handling, Linked, Server};
use observer_tests::process::Process;
use observer_tests::wait::{PATIENCE, alone, until_true};
use observer_tests::{Agent, Body, Client, Nginx, Request, Upstream, tls, totals};
use rustls::version::{TLS12, TLS13};

/// The record layer is not looked for.
const FUNCTIONS: (&str, &str) = ("OBSERVER_TEST_TLS_FUNCTIONS", "1");
/// Each probe has an event of its own, as before Linux 6.11.
const SINGLE: (&str, &str) = (SINGLE_PROBES_VARIABLE, "1");
const WAYS: [&[(&str, &str)]; 4] = [&[], &[FUNCTIONS], &[SINGLE], &[FUNCTIONS, SINGLE]];

const CHUNKED: Body = Body::Chunked { chunks: 5, chunk_bytes: 300 };

fn is_done(now: &Exposition, requests: f64) -> bool {
    now.sum("kong_http_status_total") >= requests && now.sum("observer_exchanges_open") == 0.0
}

/// Asks a server in C and checks that each request was counted, and its bytes.
fn check(server: &Server, agent: &Agent) -> Result<()> {
    check_after(server, agent, &agent.scrape()?)
}

/// The same for what comes after this.
fn check_after(server: &Server, agent: &Agent, before: &Exposition) -> Result<()> {
    let (mut requests, mut ingress, mut egress) = (0, 0, 0);
    for version in [&TLS12, &TLS13] {
        let config = Arc::new(tls::client_config(&[version], &[])?);
        let mut client = Client::connect_by_tls(server.address(), &config)?;
        for size in [0, 10, 5000, 40_000] {
            let request = Request::get(format!("/{size}"));
            let response = client.exchange(&request)?;
            ensure!(response.body.len() == size);
            requests += 1;
            ingress += request.bytes().len();
            egress += response.wire_bytes;
        }
    }
    let now = agent.scrape_when(|now| is_done(&now.since(before), f64::from(requests)))?.since(before);
    let told = |name: &str| now.value(name);
    ensure!(told("kong_http_status{code=\"200\",service=\"\"}") == f64::from(requests), "{}", now.own());
    ensure!(told("kong_bandwidth_total{type=\"ingress\"}") == ingress as f64, "{ingress}: {}", now.own());
    ensure!(told("kong_bandwidth_total{type=\"egress\"}") == egress as f64, "{egress}: {}", now.own());
    ensure!(told("kong_nginx_metric_errors_total") == 0.0, "{}", now.own());
    Ok(())
}

/// The same, probed in each way.
fn check_in_all_ways(server: &Server) -> Result<()> {
    for variables in WAYS {
        let agent = Agent::start_with(&[server.selector()], &["--count-unmatched"], variables)?;
        check(server, &agent).with_context(|| format!("{variables:?}; its stderr:\n{}", agent.stderr()))?;
    }
    Ok(())
}

#[test]
fn peeks_move_nothing_and_other_forms_of_reading_and_writing_count() -> Result<()> {
    let _alone = alone()?;
    check_in_all_ways(&Server::start(Linked::Dynamically)?)
}

#[test]
fn openssl_inside_the_program_is_read_by_its_symbols() -> Result<()> {
    let _alone = alone()?;
    check_in_all_ways(&Server::start(Linked::Statically)?)
}

/// Its record layer is another one: its functions are probed.
#[test]
fn boringssl_is_read_by_its_functions() -> Result<()> {
    let _alone = alone()?;
    for handling in [Handling::Accepting, Handling::Reading, Handling::Memory] {
        check_in_all_ways(&Server::start_with(Linked::Boring, handling)?).with_context(|| format!("{handling:?}"))?;
    }
    Ok(())
}

/// Neither shows a call on a socket within one that makes a handshake.
#[test]
fn a_connection_without_a_call_that_makes_its_handshake_is_read_all_the_same() -> Result<()> {
    let _alone = alone()?;
    for handling in [Handling::Reading, Handling::Memory] {
        check_in_all_ways(&Server::start_with(Linked::Dynamically, handling)?)
            .with_context(|| format!("{handling:?}"))?;
    }
    Ok(())
}

/// The server asks for another handshake within each request; OpenSSL's own client makes it.
#[test]
fn a_renegotiation_confuses_nothing() -> Result<()> {
    let _alone = alone()?;
    let folder = tempfile::tempdir()?;
    let requests = folder.path().join("requests");
    let request = "GET /100 HTTP/1.1\r\nHost: localhost\r\nX-Renegotiate: yes\r\n\r\n";
    fs::write(&requests, request)?;
    let server = Server::start(Linked::Dynamically)?;
    for variables in WAYS {
        let agent = Agent::start_with(&[server.selector()], &["--count-unmatched"], variables)?;
        let command =
            format!("exec openssl s_client -connect {} -tls1_2 -quiet < {}", server.address(), requests.display());
        let client = Process::spawn(Command::new("sh").args(["-c", &command]))?;
        until_true("the answer has come", PATIENCE, || Ok(client.stdout().matches('b').count() >= 100))?;
        drop(client);
        let now = agent.scrape_when(|now| is_done(now, 1.0))?;
        let told = |name: &str| now.value(name);
        ensure!(told("kong_http_status{code=\"200\",service=\"\"}") == 1.0, "{variables:?}: {}", now.own());
        ensure!(told("kong_bandwidth_total{type=\"ingress\"}") == request.len() as f64, "{}", now.own());
        ensure!(told("kong_nginx_metric_errors_total") == 0.0, "{}", now.own());
    }
    Ok(())
}

fn exchanges(nginx: &Nginx) -> Result<usize> {
    let mut client = Client::connect(nginx.address())?;
    let requests = [
        Request::get("/alpha/bytes/0"),
        Request::get("/alpha/bytes/200000"),
        Request::get("/alpha/chunked/5x700"),
        Request::post("/alpha/echo", 70_000),
        Request::new("PUT", "/alpha/echo").body(CHUNKED),
    ];
    requests.iter().try_for_each(|request| client.exchange(request).map(drop))?;
    Client::connect(nginx.address())?.exchange(&Request::get("/alpha/status/404"))?;
    Ok(requests.len() + 1)
}

fn check_nginx(nginx: &Nginx, agent: &Agent, before: usize, requests: usize) -> Result<()> {
    let log = &nginx.log(before + requests)?[before..];
    let now = agent.settled_scrape(requests)?;
    compare(&now, &totals::by_prefix(log), Scope::Counts)
        .with_context(|| format!("the agent's stderr:\n{}", agent.stderr()))?;
    ensure!(now.value("kong_nginx_metric_errors_total") == 0.0, "{}", now.own());
    Ok(())
}

#[test]
fn every_way_of_probing_counts_what_nginx_logs() -> Result<()> {
    let _alone = alone()?;
    let upstream = Upstream::tls()?;
    let nginx = Config::new()?.tls("TLSv1.2 TLSv1.3").service("alpha", upstream.address()).upstream_tls().start()?;
    let mut before = 0;
    for variables in WAYS {
        let agent = Agent::start_with(&[nginx.selector()], &[], variables)?;
        let requests = exchanges(&nginx)?;
        check_nginx(&nginx, &agent, before, requests).with_context(|| format!("{variables:?}"))?;
        before += requests;
    }
    Ok(())
}

/// What comes before the probes is told, not guessed at: each connection has one request.
#[test]
fn a_library_that_is_loaded_later_is_read_once_its_probes_are_there() -> Result<()> {
    let _alone = alone()?;
    let unread = "observer_exchanges_unobserved_total{reason=\"tls_unreadable\"}";
    for variables in [WAYS[0], WAYS[2]] {
        let server = Server::start_late()?;
        let agent = Agent::start_with(&[server.selector()], &["--count-unmatched"], variables)?;
        server.load()?;
        let mut sent = 0.0;
        until_true("a request is read", PATIENCE, || {
            let config = Arc::new(tls::client_config(&[&TLS13], &[])?);
            Client::connect_by_tls(server.address(), &config)?.exchange(&Request::get("/100"))?;
            sent += 1.0;
            Ok(agent.scrape()?.sum("kong_http_status_total") > 0.0)
        })?;
        let told = |now: &Exposition| now.sum("kong_http_status_total") + now.value(unread);
        let now = agent.scrape_when(|now| told(now) >= sent)?;
        ensure!(told(&now) == sent, "{variables:?}: {sent} sent:\n{}", now.own());
        let now = agent.scrape()?;
        check_after(&server, &agent, &now)?;
    }
    Ok(())
}

/// As in a container: the program, its loader and its libraries are copies that no path of the host's leads to.
#[test]
fn a_library_in_a_root_of_its_own_is_read() -> Result<()> {
    let _alone = alone()?;
    let server = Server::start_in_own_root()?;
    for variables in WAYS {
        let agent = Agent::start_with(&[server.selector()], &["--count-unmatched"], variables)?;
        check(&server, &agent).with_context(|| format!("{variables:?}; its stderr:\n{}", agent.stderr()))?;
    }
    Ok(())
}

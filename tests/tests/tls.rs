//! TLS libraries and handshakes in their lives: found late, replaced, reloaded, failed; what cannot be read is told.

use std::fs;
use std::path::Path;
use std::sync::Arc;

use anyhow::{Context, Result, ensure};
use observer_tests::agent::Recorder;
use observer_tests::compare::{Scope, compare};
use observer_tests::nginx::config::Config;
use observer_tests::process::Process;
use observer_tests::wait::{PATIENCE, alone, free_port, until_true};
use observer_tests::{Agent, Client, Nginx, Request, Upstream, agent, netstat, tls, totals};
use rustls::version::TLS12;

const VERSIONS: &str = "TLSv1.2 TLSv1.3";
const LIBRARIES: &str = "/usr/lib/x86_64-linux-gnu";

fn gateway(upstream: &Upstream) -> Result<Config> {
    Ok(Config::new()?.tls(VERSIONS).service("alpha", upstream.address()))
}

fn exchange(nginx: &Nginx, path: &str) -> Result<()> {
    Client::connect(nginx.address())?.exchange(&Request::get(format!("/alpha/{path}"))).map(drop)
}

/// All that the agent counted is in these lines of the log, and nothing was lost.
fn check(agent: &Agent, nginx: &Nginx, lines: std::ops::Range<usize>) -> Result<()> {
    let log = &nginx.log(lines.end)?[lines.clone()];
    let now = agent.settled_scrape(log.len())?;
    compare(&now, &totals::by_prefix(log), Scope::Counts)
        .with_context(|| format!("the agent's stderr:\n{}", agent.stderr()))?;
    ensure!(now.value("kong_nginx_metric_errors_total") == 0.0, "{}", now.own());
    Ok(())
}

#[test]
fn connections_open_before_the_agent_are_met_in_the_middle() -> Result<()> {
    let _alone = alone()?;
    let upstream = Upstream::tls()?;
    let nginx = gateway(&upstream)?.upstream_tls().start()?;
    let mut client = Client::connect(nginx.address())?;
    client.exchange(&Request::get("/alpha/bytes/100"))?;
    let mut unused = Client::connect(nginx.address())?;
    unused.tls().context("TLS")?.shake_hands()?;
    nginx.log(1)?;

    let agent = Agent::watching(&[nginx.selector()])?;
    client.exchange(&Request::get("/alpha/bytes/300"))?;
    client.exchange(&Request::post("/alpha/echo", 70_000))?;
    unused.exchange(&Request::get("/alpha/status/404"))?;
    ensure!(upstream.connections() == 1, "the upstream connection was not reused");
    check(&agent, &nginx, 1..4)
}

#[test]
fn workers_of_a_reload_are_followed() -> Result<()> {
    let _alone = alone()?;
    let upstream = Upstream::ipv4()?;
    let nginx = gateway(&upstream)?.workers(3).start()?;
    let agent = Agent::watching(&[nginx.selector()])?;
    for round in 0..3 {
        for _ in 0..10 {
            exchange(&nginx, "bytes/2000")?;
        }
        check(&agent, &nginx, 0..10 * (round + 1))?;
        nginx.reload()?;
    }
    Ok(())
}

#[test]
fn a_gateway_that_starts_later_is_read_once_its_probes_are_there() -> Result<()> {
    let _alone = alone()?;
    let folder = tempfile::tempdir()?;
    let program = folder.path().join("gw-tls-late");
    fs::copy(observer_tests::nginx::config::BINARY, &program)?;
    let agent = Agent::watching(&["name:gw-tls-late"])?;
    let upstream = Upstream::ipv4()?;
    let nginx = gateway(&upstream)?.binary(&program).start()?;
    // What came before the probes is told, not guessed at.
    let mut sent = 0.0;
    until_true("a request is read", PATIENCE, || {
        exchange(&nginx, "bytes/10")?;
        sent += 1.0;
        Ok(agent.scrape()?.sum("kong_http_status_total") > 0.0)
    })?;
    let unread = "observer_exchanges_unobserved_total{reason=\"tls_unreadable\"}";
    let told = |now: &observer_tests::exposition::Exposition| now.sum("kong_http_status_total") + now.value(unread);
    let now = agent.scrape_when(|now| told(now) >= sent)?;
    ensure!(told(&now) == sent, "{sent} sent:\n{}", now.own());
    let before = now;
    for _ in 0..20 {
        exchange(&nginx, "bytes/10")?;
    }
    let connections = 20.0;
    let read = |now: &observer_tests::exposition::Exposition| now.since(&before).sum("kong_http_status_total");
    let now = agent.scrape_when(|now| read(now) >= connections)?;
    ensure!(read(&now) == connections, "{}", now.own());
    Ok(())
}

#[test]
fn a_library_replaced_on_disk_is_read_where_it_is_mapped() -> Result<()> {
    let _alone = alone()?;
    let folder = tempfile::tempdir()?;
    for name in ["libssl.so.3", "libcrypto.so.3"] {
        fs::copy(Path::new(LIBRARIES).join(name), folder.path().join(name))?;
    }
    let upstream = Upstream::ipv4()?;
    let nginx = gateway(&upstream)?.library_path(folder.path()).start()?;
    let replace = || -> Result<()> {
        for name in ["libssl.so.3", "libcrypto.so.3"] {
            fs::copy(Path::new(LIBRARIES).join(name), folder.path().join("new"))?;
            fs::rename(folder.path().join("new"), folder.path().join(name))?;
        }
        Ok(())
    };
    replace()?;
    let maps = fs::read_to_string(format!("/proc/{}/maps", nginx.pid()))?;
    ensure!(maps.contains("libssl.so.3 (deleted)"), "the mapped library is still there");

    let agent = Agent::watching(&[nginx.selector()])?;
    exchange(&nginx, "bytes/1000")?;
    replace()?;
    exchange(&nginx, "bytes/2000")?;
    nginx.reload()?;
    exchange(&nginx, "bytes/3000")?;
    check(&agent, &nginx, 0..3)
}

#[test]
fn handshakes_are_counted_by_what_became_of_them() -> Result<()> {
    let _alone = alone()?;
    let upstream = Upstream::ipv4()?;
    let nginx = Config::new()?.tls("TLSv1.3").service("alpha", upstream.address()).start()?;
    let agent = Agent::watching(&[nginx.selector()])?;
    for _ in 0..3 {
        exchange(&nginx, "bytes/1")?;
    }
    let old = Arc::new(tls::client_config(&[&TLS12], &[])?);
    let refused = Client::connect_by_tls(nginx.address(), &old)?.tls().context("TLS")?.shake_hands();
    ensure!(refused.is_err(), "TLS 1.2 was accepted");
    // The beginning of a handshake, and then nothing more.
    let mut silent = Client::connect_plainly(nginx.address())?;
    silent.send(b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03")?;
    silent.until_read()?;
    drop(silent);

    let port = nginx.port();
    let key = |result: &str| format!("observer_tls_handshakes_total{{listener=\"{port}\",result=\"{result}\"}}");
    let now = agent.scrape_when(|now| now.sum("observer_tls_handshakes_total") >= 5.0)?;
    for (result, count) in [("done", 3.0), ("sent_protocol_version", 1.0), ("client_closed", 1.0)] {
        ensure!(now.value(&key(result)) == count, "{result}:\n{}", now.own());
    }
    ensure!(now.value(&format!("observer_tls_handshake_seconds_count{{listener=\"{port}\"}}")) == 3.0);
    check(&agent, &nginx, 0..3)
}

#[test]
fn http2_is_recognised_and_left_alone() -> Result<()> {
    const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
    const EMPTY_SETTINGS: &[u8] = &[0, 0, 0, 4, 0, 0, 0, 0, 0];
    let _alone = alone()?;
    let upstream = Upstream::ipv4()?;
    let nginx = gateway(&upstream)?.http2().start()?;
    let agent = Agent::watching(&[nginx.selector()])?;
    let config = Arc::new(tls::client_config(rustls::ALL_VERSIONS, &["h2", "http/1.1"])?);
    let mut client = Client::connect_by_tls(nginx.address(), &config)?;
    client.send(&[PREFACE, EMPTY_SETTINGS].concat())?;
    let settings = client.bytes(9)?;
    ensure!(settings[3] == 4, "no SETTINGS frame: {settings:?}");
    exchange(&nginx, "bytes/5")?;

    let now = agent.settled_scrape(1)?;
    ensure!(now.value("observer_connections_total{protocol=\"http/2\"}") == 1.0, "{}", now.own());
    ensure!(now.value("observer_connections_total{protocol=\"http/1\"}") == 1.0, "{}", now.own());
    ensure!(now.value("observer_exchanges_unobserved_total{reason=\"http2\"}") == 1.0, "{}", now.own());
    compare(&now, &totals::by_prefix(&nginx.log(1)?), Scope::Counts)
}

/// The agent's own server has no OpenSSL inside.
#[test]
fn tls_that_cannot_be_read_is_told() -> Result<()> {
    let _alone = alone()?;
    let folder = tempfile::tempdir()?;
    tls::write_certificate(folder.path())?;
    let port = free_port()?;
    let path = |name: &str| folder.path().join(name).display().to_string();
    let listen = format!("127.0.0.1:{port},cert={},key={}", path("cert.pem"), path("key.pem"));
    let server = Process::spawn(agent::command()?.args(["--listen", &listen, "--gateway", "pid:1"]))?;
    until_true("the server listens", PATIENCE, || netstat::listens(port))?;

    let agent = Agent::watching(&[format!("pid:{}", server.pid())])?;
    let config = Arc::new(tls::client_config(rustls::ALL_VERSIONS, &[])?);
    let mut client = Client::connect_by_tls((std::net::Ipv4Addr::LOCALHOST, port).into(), &config)?;
    client.exchange(&Request::get("/metrics"))?;
    let gauge = "observer_tls_unreadable_connections";
    let now = agent.scrape_when(|now| now.value(gauge) == 1.0)?;
    ensure!(now.value(gauge) == 1.0 && now.sum("kong_http_status_total") == 0.0, "{}", now.own());
    let told = agent.stderr().matches(&format!("process {} speaks TLS that cannot be read", server.pid())).count();
    ensure!(told == 1, "told {told} times:\n{}", agent.stderr());
    drop(client);
    let now = agent.scrape_when(|now| now.value(gauge) == 0.0)?;
    ensure!(now.value(gauge) == 0.0, "{}", now.own());
    ensure!(now.value("observer_exchanges_unobserved_total{reason=\"tls_unreadable\"}") == 1.0, "{}", now.own());
    Ok(())
}

#[test]
fn a_recording_has_no_secrets_of_tls() -> Result<()> {
    const SECRETS: [&str; 3] = ["secret-header", "secret-query", "quick brown"];
    let _alone = alone()?;
    let upstream = Upstream::tls()?;
    let nginx = gateway(&upstream)?.service("probe", upstream.address()).upstream_tls().start()?;
    let folder = tempfile::tempdir()?;
    let file = folder.path().join("events");
    let mut recorder = Recorder::start(&nginx.selector(), &file, &[])?;
    recorder.until_recording("/probe/", || {
        Client::connect(nginx.address())?.exchange(&Request::get("/probe/bytes/1")).map(drop)
    })?;
    let request = Request::post("/alpha/echo?token=secret-query", 500).header("Authorization", "secret-header");
    for _ in 0..20 {
        Client::connect(nginx.address())?.exchange(&request)?;
    }
    recorder.end()?;
    let bytes = fs::read(&file)?;
    for secret in SECRETS {
        ensure!(!bytes.windows(secret.len()).any(|window| window == secret.as_bytes()), "{secret} was recorded");
    }
    let replayed = agent::run(&["replay", file.to_str().context("path")?])?;
    let now = observer_tests::exposition::Exposition::parse(&replayed.stdout)?;
    ensure!(now.value("kong_http_status{code=\"200\",service=\"alpha\"}") == 20.0, "{}", now.own());
    Ok(())
}

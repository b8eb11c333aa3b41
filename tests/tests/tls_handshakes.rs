//! TLS handshakes and what became of them; what cannot be read is told; what is secret stays so.

mod encrypted;

use std::fs;
use std::sync::Arc;

use anyhow::{Context, Result, ensure};
use encrypted::{check, exchange, gateway};
use observer_tests::agent::Recorder;
use observer_tests::compare::{Scope, compare};
use observer_tests::exposition::Exposition;
use observer_tests::nginx::config::Config;
use observer_tests::process::Process;
use observer_tests::wait::{PATIENCE, alone, free_port, until_true};
use observer_tests::{Agent, Client, Request, Upstream, agent, netstat, tls, totals};
use rustls::version::TLS12;

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

/// Up to TLS 1.2 what a client refuses it says in the clear.
#[test]
fn a_handshake_that_the_client_refuses_is_counted_by_its_alert() -> Result<()> {
    let _alone = alone()?;
    let upstream = Upstream::ipv4()?;
    let nginx = Config::new()?.tls("TLSv1.2").service("alpha", upstream.address()).start()?;
    let agent = Agent::watching(&[nginx.selector()])?;
    let config = Arc::new(tls::client_config_without_trust(&TLS12)?);
    for _ in 0..2 {
        let refused = Client::connect_by_tls(nginx.address(), &config)?.tls().context("TLS")?.shake_hands();
        ensure!(refused.is_err(), "the certificate was accepted");
    }
    exchange(&nginx, "bytes/1")?;
    let port = nginx.port();
    let key = |result: &str| format!("observer_tls_handshakes_total{{listener=\"{port}\",result=\"{result}\"}}");
    let now = agent.scrape_when(|now| now.sum("observer_tls_handshakes_total") >= 3.0)?;
    for (result, count) in [("done", 1.0), ("received_unknown_ca", 2.0)] {
        ensure!(now.value(&key(result)) == count, "{result}:\n{}", now.own());
    }
    check(&agent, &nginx, 0..1)
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
    let now = Exposition::parse(&replayed.stdout)?;
    ensure!(now.value("kong_http_status{code=\"200\",service=\"alpha\"}") == 20.0, "{}", now.own());
    Ok(())
}

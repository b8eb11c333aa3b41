//! TLS libraries and connections in their lives: met in the middle, found late, replaced, reloaded.

mod encrypted;

use std::collections::BTreeSet;
use std::fs;
use std::io::Write;
use std::path::Path;
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use encrypted::{check, exchange, gateway};
use nix::sys::signal::Signal;
use observer_tests::agent::SINGLE_PROBES_VARIABLE;
use observer_tests::compare::{Scope, compare};
use observer_tests::conformance::check_identity;
use observer_tests::exposition::Exposition;
use observer_tests::process::signal_pid;
use observer_tests::traffic::Kept;
use observer_tests::wait::{PATIENCE, alone, until_true};
use observer_tests::{Agent, Client, Nginx, Request, Upstream, totals};

const LIBRARIES: &str = "/usr/lib/x86_64-linux-gnu";

const UNREAD: &str = "observer_exchanges_unobserved_total{reason=\"tls_unreadable\"}";

/// Each probe has an event of its own, as before Linux 6.11.
const SINGLE: &[(&str, &str)] = &[(SINGLE_PROBES_VARIABLE, "1")];

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

/// nginx takes no more than 1 KiB for a head. The rest of that record waits in the library until the request is let
/// through, while another connection's record has come halfway.
#[test]
fn plaintext_that_the_library_had_before_the_agent_came_is_taken_for_nobody_elses() -> Result<()> {
    let _alone = alone()?;
    let upstream = Upstream::ipv4()?;
    let nginx = gateway(&upstream)?
        .location("/alpha/late/", "auth_request /may; proxy_pass http://alpha;")
        .location(
            "= /may",
            "internal; proxy_pass_request_body off; proxy_set_header Content-Length \"\"; \
             proxy_pass http://alpha/alpha/hold/status/204;",
        )
        .start()?;
    let mut late = Client::connect(nginx.address())?;
    late.exchange(&Request::get("/alpha/bytes/1"))?;
    let mut other = Client::connect(nginx.address())?;
    other.exchange(&Request::get("/alpha/bytes/2"))?;
    late.send(&Request::post("/alpha/late/echo", 9_000).bytes())?;
    upstream.until_held(1)?;

    let agent = Agent::watching(&[nginx.selector()])?;
    let sealed = other.tls().context("TLS")?.seal(&Request::get("/alpha/bytes/3").bytes())?;
    let (first, rest) = sealed.split_at(sealed.len() / 2);
    other.tls().context("TLS")?.tcp().write_all(first)?;
    other.until_read()?;
    upstream.release();
    late.response(false)?;
    other.tls().context("TLS")?.tcp().write_all(rest)?;
    other.response(false)?;
    for client in [&mut late, &mut other] {
        client.exchange(&Request::get("/alpha/bytes/300"))?;
        client.exchange(&Request::post("/alpha/echo", 700))?;
    }
    let log = &nginx.log(8)?[3..];
    let now = agent.settled_scrape(log.len())?;
    compare(&now, &totals::by_prefix(log), Scope::Counts)?;
    ensure!(now.sum("observer_exchanges_unobserved_total") == 1.0, "{}", now.own());
    Ok(())
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

/// It takes longer until they are there, most of all while another agent's are taken out.
#[test]
fn workers_of_a_reload_are_followed_where_each_probe_has_an_event_of_its_own() -> Result<()> {
    let _alone = alone()?;
    let upstream = Upstream::ipv4()?;
    let nginx = gateway(&upstream)?.start()?;
    let agent = Agent::start_with(&[nginx.selector()], &[], SINGLE)?;
    let mut sent = 0;
    for _ in 0..4 {
        sent = until_read(&agent, &nginx, sent)?;
        sent = check_from_here(&agent, &nginx, sent, &["bytes/2000"; 10])?;
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
    let sent = until_read(&agent, &nginx, 0)?;
    check_from_here(&agent, &nginx, sent, &["bytes/10"; 20]).map(drop)
}

#[test]
fn a_library_replaced_on_disk_is_read_where_it_is_mapped() -> Result<()> {
    let _alone = alone()?;
    [&[], SINGLE].iter().try_for_each(|variables| replaced(variables).with_context(|| format!("{variables:?}")))
}

fn replaced(variables: &[(&str, &str)]) -> Result<()> {
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

    let agent = Agent::start_with(&[nginx.selector()], &[], variables)?;
    exchange(&nginx, "bytes/1000")?;
    replace()?;
    exchange(&nginx, "bytes/2000")?;
    check(&agent, &nginx, 0..2)?;
    nginx.reload()?;
    let sent = until_read(&agent, &nginx, 2)?;
    check_from_here(&agent, &nginx, sent, &["bytes/3000"]).map(drop)
}

/// Each reload comes while the workers of those before it still end. A new worker may serve before its probes are there:
/// what it did then is told, each connection has one request.
#[test]
fn twenty_reloads_within_two_seconds_lose_nothing() -> Result<()> {
    const CLIENTS: usize = 6;
    let _alone = alone()?;
    let upstream = Upstream::ipv4()?;
    let nginx = gateway(&upstream)?.workers(2).start()?;
    let agent = Agent::watching(&[nginx.selector()])?;
    let slow = Kept::start(nginx.address(), &Request::post("/alpha/delay/300/echo", 9_000).close(), CLIENTS);
    let short = Kept::start(nginx.address(), &Request::get("/alpha/bytes/300").close(), CLIENTS);
    for _ in 0..20 {
        signal_pid(nginx.pid(), Signal::SIGHUP)?;
        thread::sleep(Duration::from_millis(100));
    }
    for clients in [slow, short] {
        ensure!(clients.stop()? > 0, "no traffic");
    }
    let log = nginx.resting_log()?;
    let workers: BTreeSet<u32> = log.iter().map(|line| line.pid).collect();
    ensure!(workers.len() >= 10, "only workers {workers:?} had traffic");
    let told = |now: &Exposition| now.sum("kong_http_status_total") + now.value(UNREAD);
    let now = agent.scrape_when(|now| told(now) >= log.len() as f64)?;
    ensure!(told(&now) == log.len() as f64, "{} in the log:\n{}", log.len(), now.own());
    check_identity(&now)?;
    let lost = now.value("observer_capture_lost_total{reason=\"tls_socket_unknown\"}");
    ensure!(now.value("kong_nginx_metric_errors_total") == lost + now.value(UNREAD), "{}", now.own());
    ensure!(now.sum("kong_http_status_total") > 0.9 * log.len() as f64, "probes come late:\n{}", now.own());

    until_true("nginx has replaced its workers", PATIENCE, || Ok(nginx.all_workers()?.len() == 2))?;
    let before = now;
    for _ in 0..20 {
        exchange(&nginx, "bytes/2000")?;
    }
    let now = agent.scrape_when(|now| now.since(&before).sum("kong_http_status_total") >= 20.0)?;
    compare(&now.since(&before), &totals::by_prefix(&nginx.log(log.len() + 20)?[log.len()..]), Scope::Counts)
}

/// Asks until a request is read, once the probes of a process that began are there. What came before is told, not guessed
/// at: each connection has one request. Gives the log's length by then.
fn until_read(agent: &Agent, nginx: &Nginx, before: usize) -> Result<usize> {
    let first = agent.scrape()?;
    let mut sent = before;
    until_true("a request is read", PATIENCE, || {
        exchange(nginx, "bytes/10")?;
        sent += 1;
        Ok(agent.scrape()?.since(&first).sum("kong_http_status_total") > 0.0)
    })?;
    let told = |now: &Exposition| now.sum("kong_http_status_total") + now.value(UNREAD);
    let now = agent.scrape_when(|now| told(now) >= sent as f64)?;
    ensure!(told(&now) == sent as f64, "{sent} sent:\n{}", now.own());
    Ok(sent)
}

/// From now on all is counted as in the log. Gives the log's length.
fn check_from_here(agent: &Agent, nginx: &Nginx, before: usize, paths: &[&str]) -> Result<usize> {
    let first = agent.scrape()?;
    paths.iter().try_for_each(|path| exchange(nginx, path))?;
    let is_counted = |now: &Exposition| now.since(&first).sum("kong_http_status_total") >= paths.len() as f64;
    let now = agent.scrape_when(is_counted)?.since(&first);
    compare(&now, &totals::by_prefix(&nginx.log(before + paths.len())?[before..]), Scope::Counts)?;
    ensure!(now.value("kong_nginx_metric_errors_total") == 0.0, "{}", now.own());
    Ok(before + paths.len())
}

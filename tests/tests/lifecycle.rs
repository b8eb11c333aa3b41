//! Gateways and the agent come, go, change and die, in any order.

use std::fs;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use nix::sys::signal::Signal;
use observer_tests::compare::{Scope, compare};
use observer_tests::nginx::config::{BINARY, Config};
use observer_tests::process::{children, signal_pid};
use observer_tests::traffic::Background;
use observer_tests::wait::{PATIENCE, alone, until, until_true};
use observer_tests::{Agent, Client, Nginx, Request, Upstream, totals};
use tempfile::TempDir;

const DEFAULT_SELECTION: [&str; 0] = [];

/// A gateway program that no other process on the host runs, so that it can be selected by name or file.
struct Program {
    _folder: TempDir,
    path: PathBuf,
}

impl Program {
    fn copy_as(name: &str) -> Result<Self> {
        let folder = tempfile::tempdir()?;
        let path = folder.path().join(name);
        fs::copy(BINARY, &path)?;
        Ok(Self { _folder: folder, path })
    }
}

/// Compares all that the agent counted with nginx's whole log of `requests` lines.
fn check(agent: &Agent, nginx: &Nginx, requests: usize) -> Result<()> {
    let services = totals::by_prefix(&nginx.log(requests)?);
    compare(&agent.settled_scrape(requests)?, &services, Scope::Counts)
        .with_context(|| format!("the agent's stderr:\n{}", agent.stderr()))
}

fn request_once(nginx: &Nginx) -> Result<()> {
    Client::connect(nginx.address())?.exchange(&Request::get("/alpha/bytes/64"))?;
    Ok(())
}

#[test]
fn a_gateway_of_a_selected_name_is_watched_from_its_first_request() -> Result<()> {
    let _alone = alone()?;
    let program = Program::copy_as("gw-by-name")?;
    first_request_is_counted(&program, "name:gw-by-name")
}

#[test]
fn a_gateway_of_a_selected_file_is_watched_from_its_first_request() -> Result<()> {
    let _alone = alone()?;
    let program = Program::copy_as("gw-by-file")?;
    let selector = format!("exe:{}", program.path.display());
    first_request_is_counted(&program, &selector)
}

fn first_request_is_counted(program: &Program, selector: &str) -> Result<()> {
    let agent = Agent::watching(&[selector])?;
    let upstream = Upstream::ipv4()?;
    let nginx = Config::new()?.binary(&program.path).workers(2).service("alpha", upstream.address()).start()?;
    request_once(&nginx)?;
    check(&agent, &nginx, 1)
}

#[test]
fn the_default_selection_has_every_nginx_running_or_started_later() -> Result<()> {
    let _alone = alone()?;
    let upstream = Upstream::ipv4()?;
    let early = Config::new()?.service("default-early", upstream.address()).start()?;
    let agent = Agent::watching(&DEFAULT_SELECTION)?;
    let late = Config::new()?.service("default-late", upstream.address()).start()?;
    for (nginx, service) in [(&early, "default-early"), (&late, "default-late")] {
        Client::connect(nginx.address())?.exchange(&Request::get(format!("/{service}/")))?;
    }
    // Other gateways may run on this host: only these two services are looked at.
    let early_key = "kong_http_status{code=\"200\",service=\"default-early\"}";
    let late_key = "kong_http_status{code=\"200\",service=\"default-late\"}";
    let now = agent.scrape_when(|now| now.get(early_key).and(now.get(late_key)).is_some())?;
    assert_eq!((now.value(early_key), now.value(late_key)), (1.0, 1.0));
    assert!(now.value("observer_gateways") >= 2.0);
    Ok(())
}

#[test]
fn the_processes_that_listen_on_a_selected_port_are_watched_and_no_others() -> Result<()> {
    let _alone = alone()?;
    let upstream = Upstream::ipv4()?;
    let selected = Config::new()?.workers(2).service("alpha", upstream.address()).start()?;
    let other = Config::new()?.service("other", upstream.address()).start()?;
    let agent = Agent::watching(&[format!("port:{}", selected.port())])?;
    Client::connect(other.address())?.exchange(&Request::get("/other/"))?;
    request_once(&selected)?;
    check(&agent, &selected, 1)
}

#[test]
fn reloads_under_traffic_lose_nothing() -> Result<()> {
    let _alone = alone()?;
    let upstream = Upstream::ipv4()?;
    let nginx = Config::new()?.workers(2).service("alpha", upstream.address()).start()?;
    let agent = Agent::watching(&[nginx.selector()])?;
    let background = Background::start(nginx.address(), &Request::get("/alpha/bytes/700"), 4);
    for _ in 0..3 {
        nginx.reload()?;
        let before = background.done();
        until_true("the new workers have traffic", PATIENCE, || Ok(background.done() > before + 50))?;
    }
    let requests = background.stop()?;
    let workers: std::collections::BTreeSet<u32> = nginx.log(requests)?.iter().map(|line| line.pid).collect();
    assert!(workers.len() >= 4, "only workers {workers:?} had traffic");
    check(&agent, &nginx, requests)
}

#[test]
fn a_killed_workers_open_request_is_not_counted_and_its_successors_are() -> Result<()> {
    let _alone = alone()?;
    let upstream = Upstream::ipv4()?;
    let nginx = Config::new()?.service("alpha", upstream.address()).start()?;
    let agent = Agent::watching(&[nginx.selector()])?;
    request_once(&nginx)?;
    let mut cut = Client::connect(nginx.address())?;
    cut.send(&Request::get("/alpha/hold").bytes())?;
    upstream.until_held(1)?;
    nginx.kill_worker()?;
    assert!(cut.response(false).is_err());
    upstream.release();
    request_once(&nginx)?;
    request_once(&nginx)?;
    check(&agent, &nginx, 3)
}

#[test]
fn a_gateway_that_dies_and_comes_back_is_watched_again() -> Result<()> {
    let _alone = alone()?;
    let program = Program::copy_as("gw-that-dies")?;
    let upstream = Upstream::ipv4()?;
    let mut nginx = Config::new()?.binary(&program.path).service("alpha", upstream.address()).start()?;
    let agent = Agent::watching(&["name:gw-that-dies"])?;
    request_once(&nginx)?;
    nginx.crash()?;
    let now = agent.scrape_when(|now| now.get("kong_nginx_http_current_connections{state=\"active\"}") == Some(0.0))?;
    assert_eq!(now.value("kong_nginx_http_current_connections{state=\"active\"}"), 0.0);
    nginx.start_again()?;
    request_once(&nginx)?;
    check(&agent, &nginx, 2)
}

#[test]
fn signals_end_the_agent_under_traffic_and_the_gateway_does_not_notice() -> Result<()> {
    let _alone = alone()?;
    let upstream = Upstream::ipv4()?;
    let nginx = Config::new()?.service("alpha", upstream.address()).start()?;
    let background = Background::start(nginx.address(), &Request::get("/alpha/bytes/64"), 2);
    for signal in [Signal::SIGTERM, Signal::SIGINT] {
        let mut agent = Agent::watching(&[nginx.selector()])?;
        let now = agent.scrape_when(|now| now.sum("kong_http_status_total") > 0.0)?;
        assert!(now.sum("kong_http_status_total") > 0.0);
        // Exit code 0 within a second, or an error.
        agent.end(signal)?;
        let before = background.done();
        until_true("traffic goes on", PATIENCE, || Ok(background.done() > before + 50))?;
    }
    let requests = background.stop()?;
    assert!(nginx.log(requests)?.iter().all(|line| line.status == 200));
    Ok(())
}

#[test]
fn an_agent_that_is_told_to_end_while_it_attaches_ends_cleanly() -> Result<()> {
    let _alone = alone()?;
    for signal in [Signal::SIGTERM, Signal::SIGINT] {
        let mut agent = Agent::spawn(&["name:no-such-gw"], &[])?;
        agent.until_holding_signals()?;
        agent.end(signal)?;
    }
    Ok(())
}

#[test]
fn an_agent_that_finds_no_gateway_says_so_once_and_goes_on() -> Result<()> {
    let _alone = alone()?;
    let agent = Agent::watching(&["name:no-such-gw"])?;
    let mentions = || agent.stderr().matches("no-such-gw").count();
    until_true("the agent says that it found none", PATIENCE, || Ok(mentions() >= 1))?;
    // "Once" can only be disproved: a second is many of its searches.
    let end = Instant::now() + Duration::from_secs(1);
    until("a second has passed", PATIENCE, || {
        let now = agent.scrape()?;
        assert_eq!(now.get("observer_gateways"), Some(0.0));
        assert_eq!(now.get("kong_nginx_metric_errors_total"), Some(0.0));
        Ok((Instant::now() > end).then_some(()))
    })?;
    assert_eq!(mentions(), 1, "stderr:\n{}", agent.stderr());
    Ok(())
}

#[test]
fn a_gateway_that_stands_still_loses_no_counts() -> Result<()> {
    let _alone = alone()?;
    let upstream = Upstream::ipv4()?;
    let nginx = Config::new()?.service("alpha", upstream.address()).start()?;
    let agent = Agent::watching(&[nginx.selector()])?;
    let worker = *children(nginx.pid(), "worker process")?.first().context("no worker")?;
    signal_pid(worker, Signal::SIGSTOP)?;
    // The kernel accepts and queues for the stopped worker.
    let mut clients = Vec::new();
    for _ in 0..5 {
        let mut client = Client::connect(nginx.address())?;
        client.send(&Request::get("/alpha/bytes/10").bytes())?;
        clients.push(client);
    }
    let now = agent.scrape()?;
    assert_eq!(now.sum("kong_http_status_total"), 0.0);
    signal_pid(worker, Signal::SIGCONT)?;
    for client in &mut clients {
        client.response(false)?;
    }
    check(&agent, &nginx, 5)
}

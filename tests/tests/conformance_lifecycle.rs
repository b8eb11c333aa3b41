//! Gateways that change under load, and an observer that comes in the middle of it.

use std::collections::BTreeSet;
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use nix::sys::signal::Signal;
use observer_tests::compare::{Scope, compare};
use observer_tests::conformance::{Case, Family, check_identity, gauge_is_nginxs, gauge_is_nginxs_but_for};
use observer_tests::nginx::access_log::Line;
use observer_tests::nginx::config::Config;
use observer_tests::process::signal_pid;
use observer_tests::traffic::{Background, Kept};
use observer_tests::wait::{PATIENCE, until_true};
use observer_tests::{Agent, Nginx, Request, Upstream, totals};

const CLIENTS: usize = 8;
const KILLS: usize = 3;

fn observed(workers: usize) -> Result<(Upstream, Nginx, Agent)> {
    let upstream = Upstream::ipv4()?;
    let nginx = Config::new()?.workers(workers).service("alpha", upstream.address()).start()?;
    let agent = Agent::watching(&[nginx.selector()])?;
    Ok((upstream, nginx, agent))
}

/// All lines, and only they, are counted; whatever was not seen whole is in no other number.
fn equals_log(agent: &Agent, nginx: &Nginx, requests: usize) -> Result<()> {
    let services = totals::by_prefix(&nginx.log(requests)?);
    let now = agent.settled_scrape(requests)?;
    compare(&now, &services, Scope::Counts)?;
    check_identity(&now)?;
    ensure!(now.value("kong_nginx_metric_errors_total") == 0.0, "errors:\n{}", now.own());
    Ok(())
}

fn traffic_goes_on(background: &Background) -> Result<()> {
    let before = background.done();
    until_true("traffic goes on", PATIENCE, || Ok(background.done() > before + 100))
}

#[test]
fn gateways_that_change_under_load() -> Result<()> {
    let mut family = Family::new("reloads, binary upgrades, killed workers")?;
    family.claim(Case::visible("three reloads"), reloads());
    family.claim(Case::visible("a binary upgrade"), binary_upgrade());
    family.claim(Case::visible("a binary upgrade taken back"), upgrade_taken_back());
    family.claim(Case::visible("killed workers"), killed_workers());
    family.claim(Case::visible("twenty reloads within two seconds"), reload_storm());
    family.claim(Case::visible("a killed master, whose workers go on"), killed_master());
    family.finish()
}

fn reloads() -> Result<()> {
    let (_upstream, nginx, agent) = observed(2)?;
    let background = Background::start(nginx.address(), &Request::post("/alpha/echo", 700), CLIENTS);
    for _ in 0..3 {
        nginx.reload()?;
        traffic_goes_on(&background)?;
    }
    let requests = background.stop()?;
    equals_log(&agent, &nginx, requests)?;
    gauge_is_nginxs(&agent, &nginx)
}

/// nginx takes USR2 only once the process that started it is gone.
fn observed_daemon() -> Result<(Upstream, Nginx, Agent)> {
    let upstream = Upstream::ipv4()?;
    let nginx = Config::new()?.daemon().workers(2).service("alpha", upstream.address()).start()?;
    let agent = Agent::watching(&[nginx.selector()])?;
    Ok((upstream, nginx, agent))
}

fn binary_upgrade() -> Result<()> {
    let (_upstream, mut nginx, agent) = observed_daemon()?;
    let background = Background::start(nginx.address(), &Request::get("/alpha/bytes/900"), CLIENTS);
    traffic_goes_on(&background)?;
    let new = nginx.start_new_binary()?;
    traffic_goes_on(&background)?;
    nginx.retire_workers()?;
    traffic_goes_on(&background)?;
    nginx.hand_over(new)?;
    traffic_goes_on(&background)?;
    let requests = background.stop()?;
    equals_log(&agent, &nginx, requests)?;
    gauge_is_nginxs(&agent, &nginx)
}

fn upgrade_taken_back() -> Result<()> {
    let (_upstream, nginx, agent) = observed_daemon()?;
    let background = Background::start(nginx.address(), &Request::get("/alpha/bytes/900"), CLIENTS);
    let new = nginx.start_new_binary()?;
    traffic_goes_on(&background)?;
    signal_pid(new, Signal::SIGQUIT)?;
    until_true("the new master is gone", PATIENCE, || Ok(!std::path::Path::new(&format!("/proc/{new}")).exists()))?;
    traffic_goes_on(&background)?;
    let requests = background.stop()?;
    equals_log(&agent, &nginx, requests)?;
    gauge_is_nginxs(&agent, &nginx)
}

/// Each reload comes while the workers of those before it still end: with short, kept, and slow requests under way.
fn reload_storm() -> Result<()> {
    let (_upstream, nginx, agent) = observed(2)?;
    let slow = Kept::start(nginx.address(), &Request::post("/alpha/delay/300/echo", 9_000), CLIENTS);
    let kept = Kept::start(nginx.address(), &Request::get("/alpha/bytes/900"), CLIENTS);
    let short = Kept::start(nginx.address(), &Request::get("/alpha/bytes/300").close(), CLIENTS);
    for _ in 0..20 {
        signal_pid(nginx.pid(), Signal::SIGHUP)?;
        thread::sleep(Duration::from_millis(100));
    }
    for clients in [slow, kept, short] {
        ensure!(clients.stop()? > 0, "no traffic");
    }
    let lines = nginx.resting_log()?;
    let workers: BTreeSet<u32> = lines.iter().map(|line| line.pid).collect();
    ensure!(workers.len() >= 10, "only workers {workers:?} had traffic");
    equals_log(&agent, &nginx, lines.len())?;
    until_true("nginx has replaced its workers", PATIENCE, || Ok(nginx.all_workers()?.len() == 2))?;
    gauge_is_nginxs(&agent, &nginx)
}

/// The workers have no parent any more, and are watched all the same.
fn killed_master() -> Result<()> {
    let (_upstream, mut nginx, agent) = observed(2)?;
    let kept = Kept::start(nginx.address(), &Request::get("/alpha/bytes/900"), CLIENTS);
    until_true("there is traffic", PATIENCE, || Ok(kept.done() > 100))?;
    let orphans = nginx.kill_master()?;
    let done = kept.done();
    until_true("traffic goes on", PATIENCE, || Ok(kept.done() > done + 300))?;
    let requests = kept.stop()?;
    let counted = equals_log(&agent, &nginx, requests).and_then(|()| gauge_is_nginxs(&agent, &nginx));
    orphans.into_iter().try_for_each(|worker| signal_pid(worker, Signal::SIGKILL))?;
    counted
}

/// What a killed worker had in hand it never logs: none of it is counted unless it was answered in full, all that is logged is.
fn killed_workers() -> Result<()> {
    let (_upstream, nginx, agent) = observed(2)?;
    let kept = Kept::start(nginx.address(), &Request::get("/alpha/delay/2/bytes/333"), CLIENTS);
    for _ in 0..KILLS {
        let before = kept.done();
        until_true("traffic goes on", PATIENCE, || Ok(kept.done() > before + 100))?;
        nginx.kill_worker()?;
    }
    kept.stop()?;
    let mut lines = nginx.resting_log()?;
    let now = agent.settled_scrape(lines.len())?;
    // A worker that is killed in the call that writes an answer's last byte ends with that call: the client has the whole
    // answer, the log has nothing. All requests are alike.
    let unlogged = (now.sum("kong_http_status_total") as usize)
        .checked_sub(lines.len())
        .with_context(|| format!("fewer than the log has:\n{}", now.own()))?;
    let uncertain = now.value("observer_uncertain_total{reason=\"killed_behind_answer\"}") as usize;
    ensure!(unlogged <= uncertain && uncertain <= KILLS, "{unlogged} more than the log has:\n{}", now.own());
    lines.extend(vec![lines[0].clone(); unlogged]);
    compare(&now, &totals::by_prefix(&lines), Scope::Counts)?;
    check_identity(&now)?;
    let cut = now.value("observer_exchanges_unobserved_total{reason=\"process_ended\"}");
    ensure!(now.sum("observer_exchanges_unobserved_total") == cut, "not seen for other reasons:\n{}", now.own());
    gauge_is_nginxs_but_for(&agent, &nginx, uncertain as f64)
}

#[test]
fn an_observer_that_comes_late() -> Result<()> {
    let mut family = Family::new("the observer started under load")?;
    for (name, path) in [
        ("short exchanges", "/alpha/bytes/500"),
        ("slow exchanges", "/alpha/delay/30/bytes/500"),
        ("large exchanges", "/alpha/bytes/300000"),
        ("chunked exchanges", "/alpha/chunked/30x700"),
    ] {
        family.claim(Case::visible(name), comes_late(path, false));
        family.claim(Case::visible(format!("{name}, after one that was killed")), comes_late(path, true));
    }
    family.finish()
}

/// Exchanges that began before are never counted in a service's numbers; all that began after are. One that is killed
/// (SIGKILL) leaves the gateway unharmed, and nothing behind for its successor.
fn comes_late(path: &str, after_another: bool) -> Result<()> {
    let upstream = Upstream::ipv4()?;
    let nginx = Config::new()?.workers(2).service("alpha", upstream.address()).start()?;
    let kept = Kept::start(nginx.address(), &Request::get(path), CLIENTS);
    until_true("there is traffic", PATIENCE, || Ok(kept.done() > 50))?;
    if after_another {
        let first = Agent::watching(&[nginx.selector()])?;
        let seen = first.scrape_when(|now| now.sum("kong_http_status_total") > 50.0)?;
        ensure!(seen.sum("kong_http_status_total") > 50.0, "the first one counts nothing:\n{}", seen.own());
        first.kill()?;
    }
    let before = nginx.log_so_far()?.len();
    let agent = Agent::watching(&[nginx.selector()])?;
    let ready = nginx.log_so_far()?.len();
    let done = kept.done();
    until_true("traffic goes on", PATIENCE, || Ok(kept.done() > done + 100))?;
    let requests = kept.stop()?;
    let lines = nginx.log(requests)?;
    ensure!(lines.iter().all(|line| line.status == 200), "the gateway was harmed");
    let now = agent.settled_scrape(requests - ready)?;
    check_identity(&now)?;
    let counted = now.sum("kong_http_status_total");
    // Those that ended after the agent was ready began after it was attached, but for one a connection.
    let fewest = (requests - ready).saturating_sub(CLIENTS) as f64;
    let most = (requests - before) as f64;
    ensure!(counted >= fewest && counted <= most, "{counted} counted of {fewest} to {most}:\n{}", now.own());
    let midway = now.value("observer_exchanges_unobserved_total{reason=\"attached_midway\"}");
    let unobserved = now.sum("observer_exchanges_unobserved_total");
    ensure!(unobserved == midway && midway <= CLIENTS as f64, "not seen whole:\n{}", now.own());
    // Each counted exchange is one of the log's. nginx cuts chunks anew, so their framing differs.
    for (kind, of) in
        [("ingress", (|line| line.request_length) as fn(&Line) -> u64), ("egress", |line| line.bytes_sent)]
    {
        let shown = now.value(&format!("kong_bandwidth{{type=\"{kind}\",service=\"alpha\"}}"));
        let (least, most) = (lines.iter().map(of).min(), lines.iter().map(of).max());
        let bounds = (least.context("a line")? as f64 * counted, most.context("a line")? as f64 * counted);
        ensure!(shown >= bounds.0 && shown <= bounds.1, "{kind}: {shown} is not within {bounds:?}:\n{}", now.own());
    }
    gauge_is_nginxs(&agent, &nginx)
}

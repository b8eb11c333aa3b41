//! What was lost is told, and what was not is right: a ring that overflows, an agent that stands still, a gateway at full
//! speed.

use std::process::Command;
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use nix::sys::signal::Signal;
use observer_tests::agent::{FRESHNESS, RING_BYTES_VARIABLE};
use observer_tests::compare::{Scope, compare};
use observer_tests::conformance::{Case, Family, check_identity, gauge_is_nginxs};
use observer_tests::nginx::config::Config;
use observer_tests::process::signal_pid;
use observer_tests::traffic::Kept;
use observer_tests::wait::{PATIENCE, until_true};
use observer_tests::{Agent, Client, Nginx, Request, Upstream, totals};

const CLIENTS: usize = 16;
/// How long the gateway runs at full speed; `cargo xtask test --long` asks for a minute.
const SECONDS: &str = "OBSERVER_TESTS_SATURATION_SECONDS";

const SELF_ANSWER: &str = "return 200 'at full speed';";

#[test]
fn losses_are_told() -> Result<()> {
    let mut family = Family::new("losses")?;
    family.claim(Case::visible("a tiny ring"), tiny_ring());
    family.claim(Case::visible("an agent that stands still"), paused_agent());
    family.claim(Case::visible("connections opened and closed unseen"), opened_and_closed_unseen());
    family.finish()
}

fn tiny_ring() -> Result<()> {
    let upstream = Upstream::ipv4()?;
    let nginx = Config::new()?.workers(2).service("alpha", upstream.address()).start()?;
    let agent = Agent::start_with(&[nginx.selector()], &[], &[(RING_BYTES_VARIABLE, "32768")])?;
    recovers(&agent, &nginx, || {
        let kept = Kept::start(nginx.address(), &Request::get("/alpha/bytes/3000"), CLIENTS);
        until_true("there is traffic", PATIENCE, || Ok(kept.done() > 3_000))?;
        Ok(kept)
    })
}

fn paused_agent() -> Result<()> {
    let upstream = Upstream::ipv4()?;
    let nginx = Config::new()?.workers(2).service("alpha", upstream.address()).start()?;
    // A small ring, so that the pause can be short.
    let agent = Agent::start_with(&[nginx.selector()], &[], &[(RING_BYTES_VARIABLE, "262144")])?;
    recovers(&agent, &nginx, || {
        let kept = Kept::start(nginx.address(), &Request::post("/alpha/echo", 100), CLIENTS);
        until_true("there is traffic", PATIENCE, || Ok(kept.done() > 200))?;
        signal_pid(agent.pid(), Signal::SIGSTOP)?;
        thread::sleep(Duration::from_secs(2));
        signal_pid(agent.pid(), Signal::SIGCONT)?;
        let done = kept.done();
        until_true("traffic goes on", PATIENCE, || Ok(kept.done() > done + 500))?;
        Ok(kept)
    })
}

/// What a loss hides of connections' beginnings and ends is looked up in the kernel: the gauge is right again.
fn opened_and_closed_unseen() -> Result<()> {
    const CONNECTIONS: usize = 40;
    let upstream = Upstream::ipv4()?;
    let nginx = Config::new()?.workers(2).service("alpha", upstream.address()).start()?;
    let agent = Agent::start_with(&[nginx.selector()], &[], &[(RING_BYTES_VARIABLE, "65536")])?;
    let idle = || -> Result<Vec<Client>> {
        let connect = |_| {
            let mut client = Client::connect(nginx.address())?;
            client.exchange(&Request::get("/alpha/bytes/10"))?;
            Ok(client)
        };
        (0..CONNECTIONS).map(connect).collect()
    };
    let closed = idle()?;
    gauge_is_nginxs(&agent, &nginx)?;
    signal_pid(agent.pid(), Signal::SIGSTOP)?;
    let kept = Kept::start(nginx.address(), &Request::get("/alpha/bytes/300"), CLIENTS);
    until_true("the ring is full", PATIENCE, || Ok(kept.done() > 1_000))?;
    let opened = idle()?;
    drop(closed);
    until_true(
        "nginx has closed them",
        PATIENCE,
        || Ok(nginx.stub_status()?.active as usize <= CONNECTIONS + CLIENTS),
    )?;
    kept.stop()?;
    signal_pid(agent.pid(), Signal::SIGCONT)?;
    let lost = agent.scrape_when(|now| now.value("observer_capture_lost_total{reason=\"ring_full\"}") > 0.0)?;
    ensure!(lost.value("observer_capture_lost_total{reason=\"ring_full\"}") > 0.0, "nothing was lost");
    gauge_is_nginxs(&agent, &nginx)?;
    drop(opened);
    gauge_is_nginxs(&agent, &nginx)
}

/// The numbers are a lower bound and say so, the identity holds, and connections that live on are counted again.
fn recovers(agent: &Agent, nginx: &Nginx, load: impl FnOnce() -> Result<Kept>) -> Result<()> {
    let mut idle = Client::connect(nginx.address())?;
    idle.exchange(&Request::get("/alpha/bytes/10"))?;
    let requests = load()?.stop()? + 1;
    let lines = nginx.log(requests)?;
    let lost = agent.scrape_when(|now| now.value("observer_capture_lost_total{reason=\"ring_full\"}") > 0.0)?;
    thread::sleep(Duration::from_secs(1));
    let now = agent.scrape()?;
    ensure!(now.value("observer_capture_lost_total{reason=\"ring_full\"}") > 0.0, "nothing was lost:\n{}", lost.own());
    check_identity(&now)?;
    let errors = now.value("kong_nginx_metric_errors_total");
    ensure!(errors > 0.0, "no errors are told");
    let log = totals::of_all(&totals::by_prefix(&lines));
    for (key, bound) in [
        ("kong_http_status_total{code=\"200\"}", log.requests),
        ("kong_bandwidth_total{type=\"ingress\"}", log.ingress_bytes),
        ("kong_bandwidth_total{type=\"egress\"}", log.egress_bytes),
    ] {
        let shown = now.value(key);
        ensure!(shown > 0.0 && shown <= bound as f64, "{key}: {shown} is no lower bound of {bound}:\n{}", now.own());
    }
    // A quiet moment later every connection is in step again.
    let plan = 20;
    for _ in 0..plan {
        // The agent looks into its small ring now and then: one look, one round.
        thread::sleep(FRESHNESS);
        idle.exchange(&Request::get("/alpha/bytes/10"))?;
        Client::connect(nginx.address())?.exchange(&Request::get("/alpha/bytes/11"))?;
    }
    let lines = nginx.log(requests + 2 * plan)?.split_off(requests);
    let end = agent.scrape_when(|end| end.since(&now).sum("kong_http_status_total") >= lines.len() as f64)?;
    let grown = end.since(&now).without_zeros();
    compare(&grown, &totals::by_prefix(&lines), Scope::Counts).context("after the loss")?;
    check_identity(&end)
}

/// nginx at full speed, with default settings: not one exchange is lost. Run with a release agent; its own speed is
/// what is tested.
#[test]
fn nothing_is_lost_at_full_speed() -> Result<()> {
    let mut family = Family::new("saturation")?;
    family.claim(Case::visible("wrk, 64 connections, answered by nginx"), saturated("/own"));
    family.claim(Case::visible("wrk, 64 connections, answered by an upstream nginx"), saturated("/alpha"));
    family.finish()
}

/// So long, or as [`SECONDS`] says.
fn seconds() -> Result<u64> {
    const USUAL: u64 = 10;
    let Ok(text) = std::env::var(SECONDS) else { return Ok(USUAL) };
    text.parse().with_context(|| format!("{SECONDS} is a number of seconds, not {text:?}"))
}

fn saturated(path: &str) -> Result<()> {
    let backend = Config::new()?.location("/alpha", SELF_ANSWER).start()?;
    let nginx = Config::new()?
        .upstream("alpha", &[&backend.address()])
        .location("/alpha", "proxy_pass http://alpha;")
        .location("/own", SELF_ANSWER)
        .start()?;
    let folder = tempfile::tempdir()?;
    let file = folder.path().join("services.yaml");
    let services = observer_tests::agent_config::AgentConfig::new()
        .service("alpha", backend.address(), "/alpha")
        .service("own", "127.0.0.1:1", "/own");
    std::fs::write(&file, services.own())?;
    let agent = Agent::start(&[nginx.selector()], &["--config", file.to_str().context("path")?])?;
    let url = format!("http://{}{path}", nginx.address());
    let wrk = Command::new("wrk")
        .args(["-t1", "-c64", &format!("-d{}s", seconds()?), &url])
        .output()
        .context("wrk is needed")?;
    ensure!(wrk.status.success(), "wrk: {}", String::from_utf8_lossy(&wrk.stderr));
    // What wrk had under way at its end nginx logs with the others, or as 499.
    let lines = observer_tests::wait::until("the access log rests", PATIENCE, || {
        let before = nginx.log_so_far()?.len();
        thread::sleep(Duration::from_millis(300));
        let lines = nginx.log_so_far()?;
        Ok((lines.len() == before).then_some(lines))
    })?;
    let now = agent.settled_scrape(lines.len())?;
    check_identity(&now)?;
    let lost = now.sum("observer_capture_lost_total");
    ensure!(lost == 0.0, "{lost} records lost of {} requests:\n{}", lines.len(), now.own());
    compare(&now, &totals::by_prefix(&lines), Scope::Counts)?;
    println!("{path}: {} requests in {} s, all counted", lines.len(), seconds()?);
    Ok(())
}

//! The agent's numbers equal nginx's access log for mixed traffic over two services.

use std::fs;

use anyhow::{Context, Result};
use observer_tests::agent_config::AgentConfig;
use observer_tests::compare::{Scope, compare};
use observer_tests::nginx::config::Config;
use observer_tests::wait::alone;
use observer_tests::{Agent, Body, Request, Upstream, totals, traffic};

const REQUESTS: usize = 2_400;
const CLIENTS: usize = 8;

/// The services' names in the agent's configuration; nginx and the paths know them as `alpha` and `beta`.
const NAMES: [(&str, &str); 2] = [("alpha", "orders"), ("beta", "users")];

#[test]
fn one_worker_with_keepalive() -> Result<()> {
    mixed_traffic_equals_the_log(1, true, &[])
}

#[test]
fn one_worker_without_keepalive() -> Result<()> {
    mixed_traffic_equals_the_log(1, false, &[])
}

#[test]
fn two_workers_with_keepalive() -> Result<()> {
    mixed_traffic_equals_the_log(2, true, &[])
}

#[test]
fn two_workers_without_keepalive() -> Result<()> {
    mixed_traffic_equals_the_log(2, false, &[])
}

#[test]
fn four_workers_over_two_threads() -> Result<()> {
    mixed_traffic_equals_the_log(4, true, &["--threads", "2"])
}

#[test]
fn four_workers_without_keepalive_over_two_threads() -> Result<()> {
    mixed_traffic_equals_the_log(4, false, &["--threads", "2"])
}

fn mixed_traffic_equals_the_log(workers: usize, keepalive: bool, arguments: &[&str]) -> Result<()> {
    let _alone = alone()?;
    let (alpha, beta) = (Upstream::ipv4()?, Upstream::ipv4()?);
    let nginx = Config::new()?
        .workers(workers)
        .keepalive(keepalive)
        .service("alpha", alpha.address())
        .stripped_service("beta", beta.address())
        .start()?;

    let names =
        AgentConfig::new().service("orders", alpha.address(), "/alpha").service("users", beta.address(), "/beta");
    let folder = tempfile::tempdir()?;
    let file = folder.path().join("services.yaml");
    // Either file must do.
    let option = if workers == 1 {
        fs::write(&file, names.own())?;
        "--config"
    } else {
        fs::write(&file, names.kong())?;
        "--kong-config"
    };
    let file = file.to_str().context("path")?;
    let agent = Agent::start(&[nginx.selector()], &[&[option, file], arguments].concat())?;

    let plan: Vec<Request> = (0..REQUESTS).map(request).collect();
    traffic::run(nginx.address(), &plan, CLIENTS)?;
    let lines = nginx.log(REQUESTS)?;
    let services = totals::by_service(&lines, |line| {
        let name = NAMES.iter().find(|(path, _)| *path == line.service());
        name.map(|(_, name)| (*name).to_owned())
    });
    // The mix is what it says only if the log has all of it.
    for totals in services.values() {
        let statuses: Vec<u16> = totals.statuses.keys().copied().collect();
        assert_eq!(statuses, [200, 201, 204, 301, 304, 404, 500, 503]);
    }
    assert_eq!(totals::of_all(&services).requests, REQUESTS as u64);

    let now = agent.settled_scrape(REQUESTS)?;
    compare(&now, &services, Scope::CountsAndTimes)
        .with_context(|| format!("the agent's stderr:\n{}", agent.stderr()))?;
    assert_eq!(now.get("kong_nginx_metric_errors_total"), Some(0.0));
    Ok(())
}

/// Request `index` of the mix. 40 kinds a service, so each comes 30 times in the whole.
fn request(index: usize) -> Request {
    let service = NAMES[index % 2].0;
    let kind = index / 2 % 40;
    let to = |path: &str| format!("/{service}/{path}");
    let get = |path: &str| Request::get(to(path));
    let chunked = |chunks, chunk_bytes| Body::Chunked { chunks, chunk_bytes };
    match kind {
        0 => get("bytes/0"),
        1 => get("bytes/1"),
        2 => get("bytes/500"),
        3 => get("bytes/4096"),
        4 => get("bytes/65536"),
        5 => get("bytes/1048576"),
        6 => get("chunked/1x1"),
        7 => get("chunked/5x1000"),
        8 => get("chunked/40x4096"),
        9 => get("close-delimited/2000"),
        10 => get("headers/30/bytes/100"),
        11 => get("delay/5"),
        12 => get("delay/11/bytes/3000"),
        13 => get("delay/23/status/404"),
        14 => get("drip/5x3"),
        15 => get("status/301"),
        16 => get("status/404/bytes/100"),
        17 => get("status/500/bytes/2000"),
        18 => get("status/503/chunked/3x30"),
        19 => get("not-modified"),
        20 => Request::new("HEAD", to("bytes/5000")),
        21 => Request::new("HEAD", to("status/404/chunked/2x20")),
        22 => Request::new("DELETE", to("no-content")),
        23 => Request::new("DELETE", to("status/500")),
        24 => Request::post(to("status/201/bytes/40"), 700),
        25 => Request::post(to("echo"), 0),
        26 => Request::post(to("echo"), 1),
        27 => Request::post(to("echo"), 20_000),
        28 => Request::post(to("echo"), 1 << 20),
        29 => Request::post(to("delay/7/no-content"), 300_000),
        30 => Request::new("POST", to("echo")).body(chunked(1, 10)),
        31 => Request::new("POST", to("status/201")).body(chunked(20, 1_000)),
        32 => Request::new("PUT", to("echo")).body(chunked(0, 0)),
        33 => Request::new("PUT", to("status/503")).body(Body::Sized(5_000)),
        34 => get("bytes/700").http10(),
        35 => get("chunked/4x400").http10(),
        36 => get("bytes/300").http10().header("Connection", "keep-alive"),
        37 => Request::post(to("echo"), 900).http10(),
        38 => get("bytes/20").close(),
        _ => get("delay/3/bytes/20?secret=1").header("Cookie", &"c".repeat(3_000)),
    }
    .case(&index.to_string())
}

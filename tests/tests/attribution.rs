//! Which service a request counts for, and which requests count for none.

use std::fs;

use anyhow::{Result, ensure};
use observer_tests::agent_config::AgentConfig;
use observer_tests::exposition::Exposition;
use observer_tests::nginx::config::{BINARY, Config};
use observer_tests::wait::{PATIENCE, alone, free_port, until_true};
use observer_tests::{Agent, Client, Nginx, Request, Upstream, traffic};

fn status(now: &Exposition, code: u16, service: &str) -> f64 {
    now.value(&format!("kong_http_status{{code=\"{code}\",service=\"{service}\"}}"))
}

/// Sends each path that often, and fails for another status.
fn ask(nginx: &Nginx, paths: &[(&str, usize)], expected: u16) -> Result<()> {
    for (path, count) in paths {
        for _ in 0..*count {
            let answer = Client::connect(nginx.address())?.exchange(&Request::get(*path))?;
            ensure!(answer.status == expected, "{path}: {}", answer.status);
        }
    }
    Ok(())
}

fn sorted_out(now: &Exposition) -> f64 {
    ["counted", "filtered", "unobserved"].map(|kind| now.sum(&format!("observer_exchanges_{kind}_total"))).iter().sum()
}

/// One ingress: its virtual hosts are told by the upstream's `Host`, and two services of one host by the path before
/// the upstream's.
#[test]
fn services_behind_one_address_are_told_apart_by_host_and_path() -> Result<()> {
    let _alone = alone()?;
    let ingress = Upstream::ipv4()?;
    let at = ingress.address();
    let pass = |path: &str, host: &str| format!("proxy_pass http://{at}{path}; proxy_set_header Host {host};");
    let nginx = Config::new()?
        .location("/a/", &pass("/", "a.test"))
        .location("/b/", &pass("/", "b.test"))
        .location("/c/", &pass("/status/200/", "b.test"))
        .start()?;
    let port = at.to_string().rsplit(':').next().unwrap_or_default().to_owned();
    let hosts = format!(
        "services:\n- {{name: a, host: a.test, port: {port}}}\n- {{name: b, host: b.test, port: {port}}}\n\
         - {{name: c, host: b.test, port: {port}, path: /status}}\n\
         upstreams:\n- {{name: a.test, targets: ['{at}']}}\n- {{name: b.test, targets: ['{at}']}}\n"
    );
    let folder = tempfile::tempdir()?;
    let file = folder.path().join("services.yaml");
    fs::write(&file, hosts)?;
    let agent = Agent::start(&[nginx.selector()], &["--config", &file.display().to_string()])?;
    ask(&nginx, &[("/a/bytes/1", 2), ("/b/bytes/1", 3), ("/c/bytes/1", 4)], 200)?;
    let now = agent.settled_scrape(9)?;
    for (service, count) in [("a", 2.0), ("b", 3.0), ("c", 4.0)] {
        ensure!(status(&now, 200, service) == count, "{service}: {} of {count}", status(&now, 200, service));
    }
    Ok(())
}

#[test]
fn requests_without_a_service_are_counted_apart_or_under_an_empty_name() -> Result<()> {
    let _alone = alone()?;
    let upstream = Upstream::ipv4()?;
    for counts_unmatched in [false, true] {
        let nginx = Config::new()?.service("alpha", upstream.address()).location("/own", "return 404;").start()?;
        let arguments: &[&str] = if counts_unmatched { &["--count-unmatched"] } else { &[] };
        let agent = Agent::start(&[nginx.selector()], arguments)?;
        ask(&nginx, &[("/own", 3)], 404)?;
        ask(&nginx, &[("/alpha/bytes/1", 2)], 200)?;
        let now = agent.scrape_when(|now| sorted_out(now) >= 5.0)?;
        let expected = if counts_unmatched { (3.0, 5.0, 0.0) } else { (0.0, 2.0, 3.0) };
        let found = (
            status(&now, 404, ""),
            now.sum("kong_http_status_total"),
            now.value("observer_exchanges_filtered_total{reason=\"unattributed\"}"),
        );
        ensure!(found == expected, "--count-unmatched {counts_unmatched}: {found:?}; {}", now.own());
        ensure!(now.value("observer_unattributed_requests_total{code=\"404\"}") == 3.0);
        ensure!(status(&now, 200, "alpha") == 2.0);
    }
    Ok(())
}

/// By option, and because a configuration says so: the observer's own, and nginx's for its status page.
#[test]
fn requests_to_listeners_that_are_not_the_proxy_count_as_connections_only() -> Result<()> {
    let _alone = alone()?;
    let upstream = Upstream::ipv4()?;
    let admin = free_port()?;
    let folder = tempfile::tempdir()?;
    let file = folder.path().join("services.yaml");
    for way in ["option", "own", "nginx"] {
        let server = format!("server {{ listen 127.0.0.1:{admin}; location / {{ stub_status; }} }}");
        let nginx = Config::new()?.service("alpha", upstream.address()).http(&server).start()?;
        // A route that would take every request.
        let services = AgentConfig::new().service("alpha", upstream.address(), "/");
        let own = if way == "own" { format!("{}admin_ports: [{admin}]\n", services.own()) } else { services.own() };
        fs::write(&file, own)?;
        let (port, conf) = (admin.to_string(), nginx.conf().display().to_string());
        let config = file.display().to_string();
        let mut arguments = vec!["--config", &config];
        match way {
            "option" => arguments.extend(["--ignore-port", &port]),
            "nginx" => arguments.extend(["--nginx-conf", &conf]),
            _ => {}
        }
        let agent = Agent::start(&[nginx.selector()], &arguments)?;
        for _ in 0..4 {
            Client::connect(([127, 0, 0, 1], admin).into())?.exchange(&Request::get("/"))?;
        }
        ask(&nginx, &[("/alpha/bytes/1", 3)], 200)?;
        let now = agent.scrape_when(|now| sorted_out(now) >= 7.0)?;
        ensure!(now.value("observer_exchanges_filtered_total{reason=\"ignored_port\"}") == 4.0, "{way}: {}", now.own());
        ensure!(now.sum("kong_http_status_total") == 3.0 && now.sum("observer_unattributed_requests_total") == 0.0);
        for state in ["accepted", "total"] {
            let key = format!("kong_nginx_http_current_connections{{state=\"{state}\"}}");
            ensure!(now.value(&key) == 7.0, "{way}: {key}: {}", now.value(&key));
        }
    }
    Ok(())
}

/// Hosts come from clients here: past the limit they share one name, and the log says so once.
#[test]
fn services_beyond_the_limit_share_a_name() -> Result<()> {
    const LIMIT: usize = 1_000;
    const BEYOND: usize = 30;
    let _alone = alone()?;
    let upstream = Upstream::ipv4()?;
    let pass = format!("proxy_pass http://{}; proxy_set_header Host $arg_host;", upstream.address());
    let nginx = Config::new()?.location("/", &pass).start()?;
    let agent = Agent::watching(&[nginx.selector()])?;
    let all = LIMIT + BEYOND;
    let plan: Vec<Request> = (0..all).map(|n| Request::get(format!("/bytes/1?host=h{n}.test"))).collect();
    traffic::run(nginx.address(), &plan, 2)?;
    let now = agent.settled_scrape(all)?;
    ensure!(now.family("kong_http_status").count() == LIMIT + 1, "{}", now.family("kong_http_status").count());
    ensure!(status(&now, 200, "__other__") == BEYOND as f64);
    ensure!(now.value("observer_series_limited_total") == BEYOND as f64, "{}", now.own());
    until_true("the log says so", PATIENCE, || Ok(agent.stderr().contains("a limit of series is reached")))?;
    ensure!(agent.stderr().matches("a limit of series").count() == 1, "{}", agent.stderr());
    Ok(())
}

/// Nothing was sent there, so nothing but what was sent there before tells whose the refused request is.
#[test]
fn a_refused_request_counts_for_the_service_that_its_address_had() -> Result<()> {
    let _alone = alone()?;
    let upstream = Upstream::ipv4()?;
    let address = upstream.address().to_string();
    let pass = format!("proxy_pass http://{address}; proxy_set_header Host shop.test;");
    let nginx = Config::new()?.keepalive(false).location("/", &pass).start()?;
    let agent = Agent::watching(&[nginx.selector()])?;
    ask(&nginx, &[("/bytes/1", 2)], 200)?;
    drop(upstream);
    ask(&nginx, &[("/bytes/1", 3)], 502)?;
    let now = agent.settled_scrape(5)?;
    ensure!(status(&now, 200, "shop.test") == 2.0 && status(&now, 502, "shop.test") == 3.0, "{}", now.own());
    ensure!(now.family("kong_http_status").count() == 2);
    Ok(())
}

#[test]
fn a_gateway_that_is_started_again_keeps_its_label() -> Result<()> {
    let _alone = alone()?;
    let upstream = Upstream::ipv4()?;
    let folder = tempfile::tempdir()?;
    // A name that no other gateway of this host has.
    let binary = folder.path().join("shop-gateway");
    fs::copy(BINARY, &binary)?;
    let gateway = || Config::new()?.binary(&binary).service("alpha", upstream.address()).start();
    let (mut nginx, other) = (gateway()?, gateway()?);
    let agent = Agent::start(&["name:shop-gateway"], &["--per-gateway-label"])?;
    ask(&nginx, &[("/alpha/bytes/1", 2)], 200)?;
    nginx.crash()?;
    nginx.start_again()?;
    ask(&nginx, &[("/alpha/bytes/1", 3)], 200)?;
    ask(&other, &[("/alpha/bytes/1", 4)], 200)?;
    let now = agent.settled_scrape(9)?;
    let mut counts: Vec<f64> = now.family("kong_http_status").map(|(_, count)| count).collect();
    counts.sort_by(f64::total_cmp);
    ensure!(counts == [4.0, 5.0], "{:?}", now.family("kong_http_status").collect::<Vec<_>>());
    Ok(())
}

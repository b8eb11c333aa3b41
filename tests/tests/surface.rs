//! What the agent answers over HTTP, as the reference page has it.

use anyhow::Result;
use observer_tests::nginx::config::Config;
use observer_tests::wait::alone;
use observer_tests::{Agent, Client, Request, Upstream};

/// Families in the page's order; the datastore's is absent as none is configured.
const FAMILIES: [&str; 8] = [
    "kong_bandwidth_total",
    "kong_bandwidth",
    "kong_http_status_total",
    "kong_http_status",
    "kong_latency",
    "kong_latency_total",
    "kong_nginx_http_current_connections",
    "kong_nginx_metric_errors_total",
];

#[test]
fn the_metrics_page_has_the_plugins_headers_and_families_in_order() -> Result<()> {
    let _alone = alone()?;
    let upstream = Upstream::ipv4()?;
    let nginx = Config::new()?.service("alpha", upstream.address()).start()?;
    let agent = Agent::watching(&[nginx.selector()])?;
    Client::connect(nginx.address())?.exchange(&Request::get("/alpha/"))?;
    agent.settled_scrape(1)?;

    let response = agent.get("/metrics")?;
    assert_eq!(response.status, 200);
    assert_eq!(response.head.header("content-type"), Some("text/plain; charset=UTF-8"));
    assert_eq!(response.head.header("access-control-allow-origin"), Some("*"));
    let text = agent.text()?;
    let families: Vec<&str> = text
        .lines()
        .filter_map(|line| line.strip_prefix("# TYPE ")?.split(' ').next())
        .filter(|family| family.starts_with("kong_"))
        .collect();
    assert_eq!(families, FAMILIES);
    Ok(())
}

#[test]
fn the_root_points_to_the_metrics_and_pages_are_only_read() -> Result<()> {
    let _alone = alone()?;
    let nginx = Config::new()?.start()?;
    let agent = Agent::watching(&[nginx.selector()])?;
    assert_eq!(agent.get("/")?.body, b"Kong Prometheus exporter, visit /metrics");
    assert_eq!(agent.get("/no-such-page")?.status, 404);
    assert_eq!(agent.ask(&Request::new("HEAD", "/metrics"))?.status, 200);
    assert_eq!(agent.ask(&Request::post("/metrics", 3))?.status, 405);
    Ok(())
}

#[test]
fn several_gateways_are_warned_of_once_and_told_apart_on_request() -> Result<()> {
    let _alone = alone()?;
    let upstream = Upstream::ipv4()?;
    let start = || Config::new()?.service("alpha", upstream.address()).start();
    let (first, second) = (start()?, start()?);
    let selectors = [first.selector(), second.selector()];
    let together = Agent::watching(&selectors)?;
    let apart = Agent::start(&selectors, &["--per-gateway-label"])?;
    for nginx in [&first, &second, &second] {
        Client::connect(nginx.address())?.exchange(&Request::get("/alpha/"))?;
    }

    let key = "kong_http_status{code=\"200\",service=\"alpha\"}";
    assert_eq!(together.settled_scrape(3)?.get(key), Some(3.0));
    // The warning says what to do about it.
    let warnings = together.stderr().matches("--per-gateway-label").count();
    assert_eq!(warnings, 1, "stderr:\n{}", together.stderr());

    let now = apart.settled_scrape(3)?;
    let mut counts: Vec<f64> = now
        .family("kong_http_status")
        .inspect(|(key, _)| assert!(key.contains(",gateway=\""), "{key}"))
        .map(|(_, count)| count)
        .collect();
    counts.sort_by(f64::total_cmp);
    assert_eq!(counts, [1.0, 2.0]);
    Ok(())
}

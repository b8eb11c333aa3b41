//! Prometheus and its tools on the agent's pages.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result};
use observer_tests::agent::token;
use observer_tests::nginx::config::Config;
use observer_tests::prometheus::{Prometheus, Sample};
use observer_tests::tools::{Certificate, promtool};
use observer_tests::traffic::Background;
use observer_tests::wait::{alone, free_port};
use observer_tests::{Agent, Client, Request, Upstream};
use tempfile::TempDir;

/// Rates need two scrapes a second apart, on a busy host more.
const LIMIT: Duration = Duration::from_secs(60);

/// What the slow service takes.
const SLOW_MS: f64 = 150.0;

/// In the observer's own unit as Kong 3 has it, so that the two can be set side by side.
const PHASE: &str = "observer_upstream_phase_ms metric names should not contain abbreviated units";

/// What promtool has against each dialect: names that Kong chose, and the one that follows them.
const COMPLAINTS: [(&str, &[&str]); 3] = [
    (
        "0.1",
        &[
            "kong_bandwidth counter metrics should have \"_total\" suffix",
            "kong_http_status counter metrics should have \"_total\" suffix",
            "kong_latency_total non-counter metrics should not have \"_total\" suffix",
            PHASE,
        ],
    ),
    (
        "0.3",
        &[
            "kong_bandwidth counter metrics should have \"_total\" suffix",
            "kong_http_status counter metrics should have \"_total\" suffix",
            PHASE,
        ],
    ),
    (
        "3",
        &[
            "kong_bandwidth_bytes counter metrics should have \"_total\" suffix",
            "kong_kong_latency_ms metric names should not contain abbreviated units",
            "kong_nginx_connections_total non-counter metrics should not have \"_total\" suffix",
            "kong_nginx_requests_total non-counter metrics should not have \"_total\" suffix",
            "kong_request_latency_ms metric names should not contain abbreviated units",
            "kong_upstream_latency_ms metric names should not contain abbreviated units",
            PHASE,
        ],
    ),
];

/// How Prometheus reaches the agent.
const JOBS: [&str; 2] = ["basic", "tls"];

/// A job with basic auth, over TLS where there is a certificate to trust.
fn job(name: &str, port: u16, token: &str, trusted: Option<&Path>) -> String {
    let tls = trusted.map_or_else(String::new, |cert| {
        format!("    scheme: https\n    tls_config:\n      ca_file: {}\n", cert.display())
    });
    format!(
        "  - job_name: {name}\n    static_configs:\n      - targets: [\"127.0.0.1:{port}\"]\n    basic_auth:\n      \
         username: prometheus\n      password: {token}\n{tls}"
    )
}

/// As Prometheus asks: for OpenMetrics first.
fn open_metrics(dialect: &str) -> Request {
    let accept = "application/openmetrics-text;version=1.0.0,text/plain;q=0.5";
    Request::get(format!("/metrics?dialect={dialect}")).header("Accept", accept).close()
}

fn value(samples: &[Sample], job: &str, service: &str) -> Option<f64> {
    let is_it = |sample: &&Sample| sample.labels["job"] == job && sample.labels["service"] == service;
    samples.iter().find(is_it).map(|sample| sample.value)
}

#[test]
fn prometheus_has_rates_and_quantiles_of_both_services_by_basic_auth_and_over_tls() -> Result<()> {
    let _alone = alone()?;
    let upstream = Upstream::ipv4()?;
    let config = Config::new()?.service("alpha", upstream.address()).service("beta", upstream.address());
    let nginx = config.start()?;
    let folder = TempDir::new()?;
    let (users, certificate) = (folder.path().join("users"), Certificate::make(folder.path())?);
    let token = token("prometheus", "metrics", &users)?;
    let tls_port = free_port()?;
    let (cert, key) = (certificate.cert.display(), certificate.key.display());
    let listen = format!("127.0.0.1:{tls_port},cert={cert},key={key},paths=/metrics");
    let users = users.to_str().context("a path in UTF-8")?;
    let agent = Agent::start(&[nginx.selector()], &["--listen", &listen, "--auth-file", users])?;
    let plain = job("basic", agent.address().port(), &token, None);
    let prometheus = Prometheus::start(&(plain + &job("tls", tls_port, &token, Some(&certificate.cert))))?;

    let slow = Request::get(format!("/beta/delay/{SLOW_MS}"));
    let traffic = [
        Background::start(nginx.address(), &Request::get("/alpha/delay/20"), 1),
        Background::start(nginx.address(), &slow, 1),
    ];
    let both = |is_enough: fn(f64) -> bool| {
        move |samples: &[Sample]| {
            let all = JOBS.iter().flat_map(|job| ["alpha", "beta"].map(|service| value(samples, job, service)));
            all.into_iter().all(|value| value.is_some_and(is_enough))
        }
    };
    let rates = "sum by (job, service) (rate(kong_http_status{code=\"200\"}[15s]))";
    prometheus.query_until(rates, LIMIT, both(|rate| rate > 0.0))?;
    let quantiles =
        "histogram_quantile(0.9, sum by (job, service, le) (rate(kong_latency_bucket{type=\"request\"}[15s])))";
    let quantiles = prometheus.query_until(quantiles, LIMIT, both(f64::is_finite))?;
    for job in JOBS {
        let slow = value(&quantiles, job, "beta").context("no quantile")?;
        // The bucket that 150 ms fall into begins at 100 ms.
        assert!(slow >= 100.0, "{job}: {slow} ms of {SLOW_MS}");
    }
    let up = prometheus.query("up")?;
    assert_eq!(up.len(), JOBS.len());
    assert!(up.iter().all(|sample| sample.value == 1.0), "{up:?}");
    let types = prometheus.query("count by (job) ({__name__=~\"kong_.+\"})")?;
    assert!(types.iter().all(|sample| sample.value > 30.0), "{types:?}");
    traffic.into_iter().try_for_each(|background| background.stop().map(drop))?;
    // Every scrape had its token.
    assert!(!agent.stderr().contains(&token));
    Ok(())
}

#[test]
fn promtool_complains_of_kongs_names_and_one_like_them_alone() -> Result<()> {
    let _alone = alone()?;
    let upstream = Upstream::ipv4()?;
    let nginx = Config::new()?.service("alpha", upstream.address()).start()?;
    let dialects = ["--dialect", "0.1", "--dialect", "0.3", "--dialect", "3"];
    let agent = Agent::start(&[nginx.selector()], &dialects)?;
    for target in ["/alpha/", "/alpha/status/404", "/alpha/delay/5"] {
        Client::connect(nginx.address())?.exchange(&Request::get(target))?;
    }
    agent.settled_scrape(3)?;
    for (dialect, expected) in COMPLAINTS {
        let page = String::from_utf8(agent.get(&format!("/metrics?dialect={dialect}"))?.body)?;
        assert!(page.contains("observer_") && page.contains("process_"), "the own families are on the page too");
        assert_eq!(promtool(&page)?, *expected, "dialect {dialect}");
        // promtool reads the older format alone; Prometheus reads both, in the test below.
        let open = String::from_utf8(agent.ask(&open_metrics(dialect))?.body)?;
        let unread = "error while linting: text format parsing error in line 2: unknown metric type \"unknown\"";
        assert_eq!(promtool(&open)?, [unread], "dialect {dialect} in OpenMetrics");
    }
    Ok(())
}

#[test]
fn prometheus_reads_open_metrics_of_every_dialect_as_it_reads_text() -> Result<()> {
    let _alone = alone()?;
    let upstream = Upstream::ipv4()?;
    let nginx = Config::new()?.service("alpha", upstream.address()).start()?;
    let dialects = ["--dialect", "0.1", "--dialect", "0.3", "--dialect", "3"];
    let agent = Agent::start(&[nginx.selector()], &dialects)?;
    for target in ["/alpha/", "/alpha/status/404", "/alpha/delay/5"] {
        Client::connect(nginx.address())?.exchange(&Request::get(target))?;
    }
    agent.settled_scrape(3)?;
    let mut jobs = String::new();
    for (dialect, _) in COMPLAINTS {
        let port = agent.address().port();
        jobs += &format!(
            "  - job_name: \"{dialect}\"\n    static_configs:\n      - targets: [\"127.0.0.1:{port}\"]\n    params:\n      \
             dialect: [\"{dialect}\"]\n"
        );
        let open = agent.ask(&open_metrics(dialect))?;
        let kind = open.head.header("content-type").unwrap_or_default();
        assert!(kind.starts_with("application/openmetrics-text; version=1.0.0"), "{kind}");
        assert!(open.body.ends_with(b"\n# EOF\n"));
    }
    let prometheus = Prometheus::start(&jobs)?;
    for (series, job) in [
        ("kong_http_status{code=\"404\"}", "0.1"),
        ("kong_http_status_total{code=\"404\"}", "0.1"),
        ("kong_latency_count{type=\"request\"}", "0.3"),
        ("kong_http_requests_total{code=\"404\"}", "3"),
        ("kong_request_latency_ms_bucket{le=\"+Inf\"}", "3"),
        ("observer_exchanges_counted_total", "3"),
    ] {
        let of_job =
            |samples: &[Sample]| samples.iter().any(|sample| sample.labels["job"] == job && sample.value > 0.0);
        prometheus.query_until(series, LIMIT, of_job)?;
    }
    let up = prometheus.query("up")?;
    assert!(up.len() == COMPLAINTS.len() && up.iter().all(|sample| sample.value == 1.0), "{up:?}");
    Ok(())
}

//! The families of Kong 3's plugin.

use std::sync::Arc;

use super::measured;
use crate::exposition::text;
use crate::metrics::{
    ConnectionGauge, Dialect, MAX_STATUSES, Measured, Metrics, Options, Source, Switches, TargetHealth,
};

/// A page in the dialect of Kong 3.
fn today(metrics: &Metrics) -> String {
    let options = text::Options { own_metrics: false, dialect: Dialect::Today, ..text::Options::default() };
    text::encode(metrics.registry().gather(), options)
}

fn speaking_today(switches: Switches) -> Metrics {
    Metrics::new(Options { classic: false, today: Some(switches), node_id: Arc::from("n"), ..Options::default() })
}

#[test]
fn kong_3_counts_by_route_and_source() {
    let mut metrics = speaking_today(Switches::ALL);
    let routed = Measured { route: Some(Arc::from("r")), ..measured("a", 200) };
    metrics.count(&routed);
    metrics.count(&Measured { source: Source::Kong, upstream_ms: None, ..routed.clone() });
    metrics.count(&measured("a", 404));
    metrics.connections(&ConnectionGauge { accepted: 3, total: 7, ..Default::default() });
    let page = today(&metrics);
    for line in [
        "# TYPE kong_http_requests_total counter",
        r#"kong_http_requests_total{service="a",route="r",code="200",source="service",workspace="default",consumer=""} 1"#,
        r#"kong_http_requests_total{service="a",route="r",code="200",source="kong",workspace="default",consumer=""} 1"#,
        r#"kong_http_requests_total{service="a",route="",code="404",source="service",workspace="default",consumer=""} 1"#,
        r#"kong_bandwidth_bytes{service="a",route="r",direction="egress",workspace="default",consumer=""} 200"#,
        r#"kong_bandwidth_bytes{service="a",route="r",direction="ingress",workspace="default",consumer=""} 20"#,
        r#"kong_kong_latency_ms_bucket{service="a",route="r",workspace="default",le="2"} 2"#,
        r#"kong_upstream_latency_ms_bucket{service="a",route="r",workspace="default",le="25"} 1"#,
        r#"kong_request_latency_ms_bucket{service="a",route="r",workspace="default",le="60000"} 2"#,
        r#"kong_request_latency_ms_sum{service="a",route="r",workspace="default"} 10"#,
        "# TYPE kong_nginx_connections_total gauge",
        r#"kong_nginx_connections_total{node_id="n",subsystem="http",state="accepted"} 3"#,
        r#"kong_nginx_connections_total{node_id="n",subsystem="http",state="total"} 7"#,
        "# HELP kong_nginx_requests_total Number of requests total",
        r#"kong_nginx_requests_total{node_id="n",subsystem="http"} 7"#,
        "kong_nginx_metric_errors_total 0",
    ] {
        assert!(page.lines().any(|found| found == line), "{line} in\n{page}");
    }
    for absent in ["kong_http_status", "kong_bandwidth{", "\nkong_latency", "current_connections", "kong_node_info"] {
        assert!(!page.contains(absent), "{absent} in\n{page}");
    }
}

#[test]
fn switches_leave_families_out() {
    let none = Switches::NONE;
    for (switches, family) in [
        (none, "none"),
        (Switches { status_codes: true, ..none }, "kong_http_requests_total"),
        (Switches { latency: true, ..none }, "kong_request_latency_ms"),
        (Switches { bandwidth: true, ..none }, "kong_bandwidth_bytes"),
    ] {
        let mut metrics = speaking_today(switches);
        metrics.count(&measured("a", 200));
        let page = today(&metrics);
        for other in ["kong_http_requests_total", "kong_request_latency_ms", "kong_bandwidth_bytes"] {
            assert_eq!(page.contains(other), other == family, "{other} in\n{page}");
        }
    }
}

#[test]
fn routes_and_statuses_past_the_limits_share_one_name_in_kong_3() {
    let options = Options { classic: false, today: Some(Switches::ALL), max_services: 1, ..Options::default() };
    let mut metrics = Metrics::new(options);
    for route in ["r", "s", "t", "u"] {
        metrics.count(&Measured { route: Some(Arc::from(route)), ..measured("a", 200) });
    }
    assert_eq!(metrics.limited(), 2);
    let page = today(&metrics);
    assert!(
        page.contains(r#"service="__other__",route="",code="200",source="service",workspace="default",consumer=""} 2"#)
    );
    assert!(!page.contains(r#"route="t""#), "{page}");
    let most = u16::try_from(MAX_STATUSES).unwrap();
    for code in 0..most + 2 {
        metrics.count(&Measured { route: Some(Arc::from("r")), ..measured("a", 300 + code) });
    }
    assert_eq!(metrics.limited(), 2 + 3);
}

#[test]
fn both_dialects_count_beside_each_other_and_the_older_leaves_out_the_sums() {
    let mut metrics = Metrics::new(Options { today: Some(Switches::ALL), ..Options::default() });
    metrics.count(&measured("a", 200));
    let page = |dialect| {
        let options = text::Options { own_metrics: false, dialect, ..text::Options::default() };
        text::encode(metrics.registry().gather(), options)
    };
    assert!(page(Dialect::First).contains("kong_http_status_total{code=\"200\"} 1\n"));
    assert!(page(Dialect::Third).contains("kong_http_status{code=\"200\",service=\"a\"} 1\n"));
    assert!(page(Dialect::Today).contains("kong_http_requests_total{"));
    for (dialect, absent) in [
        (Dialect::First, "kong_http_requests_total"),
        (Dialect::Third, "kong_http_status_total"),
        (Dialect::Third, "kong_latency_total"),
        (Dialect::Third, "kong_bandwidth_total"),
        (Dialect::Third, "kong_http_requests_total"),
        (Dialect::Today, "kong_http_status"),
    ] {
        assert!(!page(dialect).contains(absent), "{dialect}: {absent}");
    }
    // None of them is the observer's own.
    let own = text::encode(metrics.registry().gather(), text::Options::default());
    assert!(!own.contains("kong_http_requests_total"));
}

#[test]
fn consumers_are_told_apart_by_their_switch_alone() {
    let of = |consumer| Measured { consumer: Some(Arc::from(consumer)), ..measured("a", 200) };
    for (switches, expected) in [(Switches::ALL, ["ann", "bob"].as_slice()), (Switches::FAMILIES, &[""])] {
        let mut metrics = speaking_today(switches);
        assert_eq!(metrics.tells_consumers(), switches.per_consumer);
        metrics.count(&of("ann"));
        metrics.count(&of("bob"));
        let page = today(&metrics);
        for family in ["kong_http_requests_total", "kong_bandwidth_bytes"] {
            let lines: Vec<&str> = page.lines().filter(|line| line.starts_with(&format!("{family}{{"))).collect();
            for consumer in expected {
                let label = format!("consumer=\"{consumer}\"");
                assert!(lines.iter().any(|line| line.contains(&label)), "{label} in {lines:?}");
            }
            let kinds = if family == "kong_bandwidth_bytes" { 2 } else { 1 };
            assert_eq!(lines.len(), kinds * expected.len(), "{lines:?}");
        }
        // The histograms have no such label.
        assert!(page.contains("kong_request_latency_ms_count{service=\"a\",route=\"\",workspace=\"default\"} 2\n"));
    }
}

#[test]
fn consumers_past_the_limit_or_with_endless_names_share_one_name() {
    let options = Options { classic: false, today: Some(Switches::ALL), max_consumers: 2, ..Options::default() };
    let mut metrics = Metrics::new(options);
    let endless = "x".repeat(1_000);
    for consumer in [endless.as_str(), "ann", "", "bob", "eve", "dan", "ann", ""] {
        metrics.count(&Measured { consumer: Some(Arc::from(consumer)), ..measured("a", 200) });
    }
    assert_eq!(metrics.limited(), 3);
    let page = today(&metrics);
    for (consumer, count) in [("ann", 2), ("bob", 1), ("", 2), ("__other__", 3)] {
        let line = format!("workspace=\"default\",consumer=\"{consumer}\"}} {count}");
        assert!(page.lines().any(|found| found.ends_with(&line)), "{line} in\n{page}");
    }
    assert!(!page.contains("eve") && !page.contains(&endless));
}

#[test]
fn kong_itself_is_told_of_once_its_admin_api_has_answered() {
    let metrics = speaking_today(Switches::ALL);
    let node = metrics.kong_node().unwrap();
    assert!(node.tells_health());
    node.version("3.9.1".into());
    let target = |address: &str, state: &str| TargetHealth {
        upstream: "pool".into(),
        target: "a.example:80".into(),
        address: address.into(),
        state: state.into(),
    };
    node.targets(vec![target("10.0.0.1:80", "unhealthy"), target("", "dns_error")]);
    let page = today(&metrics);
    for line in [
        "# HELP kong_node_info Kong Node metadata information",
        r#"kong_node_info{node_id="n",version="3.9.1"} 1"#,
        "# HELP kong_upstream_target_health Health status of targets of upstream. \
         States = healthchecks_off|healthy|unhealthy|dns_error, value is 1 when state is populated.",
        r#"kong_upstream_target_health{upstream="pool",target="a.example:80",address="10.0.0.1:80",state="unhealthy",subsystem="http"} 1"#,
        r#"kong_upstream_target_health{upstream="pool",target="a.example:80",address="10.0.0.1:80",state="healthy",subsystem="http"} 0"#,
        r#"kong_upstream_target_health{upstream="pool",target="a.example:80",address="",state="dns_error",subsystem="http"} 1"#,
    ] {
        assert!(page.lines().any(|found| found == line), "{line} in\n{page}");
    }
    assert_eq!(page.matches("\nkong_upstream_target_health{").count(), 8);
    node.targets(Vec::new());
    assert!(!today(&metrics).contains("kong_upstream_target_health"));
    assert!(Metrics::new(Options::default()).kong_node().is_none());
}

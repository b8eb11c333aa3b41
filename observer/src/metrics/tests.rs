use std::sync::Arc;

use super::{Dialect, MAX_GATEWAYS, MAX_STATUSES, Measured, Metrics, OTHER, Options, Source, Switches, TargetHealth};
use crate::exposition::text;

fn measured(service: &str, status: u16) -> Measured {
    Measured {
        service: Arc::from(service),
        gateway: None,
        route: None,
        source: Source::Service,
        consumer: None,
        status,
        request_bytes: 10,
        response_bytes: 100,
        request_ms: 5,
        upstream_ms: Some(3),
        kong_ms: 2,
    }
}

/// The printed value of a series, none where it is not printed.
fn value(metrics: &Metrics, key: &str) -> Option<u64> {
    text::encode(&metrics.registry().gather(), text::Options::default())
        .lines()
        .find_map(|line| line.strip_prefix(key)?.strip_prefix(' ')?.parse().ok())
}

#[test]
fn totals_are_the_sums_over_services() {
    let mut metrics = Metrics::new(Options::default());
    metrics.count(&measured("a", 200));
    metrics.count(&measured("a", 200));
    metrics.count(&measured("b", 200));
    let of = |key: &str| value(&metrics, key);
    assert_eq!(of("kong_http_status{code=\"200\",service=\"a\"}"), Some(2));
    assert_eq!(of("kong_http_status{code=\"200\",service=\"b\"}"), Some(1));
    assert_eq!(of("kong_http_status_total{code=\"200\"}"), Some(3));
    assert_eq!(of("kong_bandwidth_total{type=\"egress\"}"), Some(300));
    assert_eq!(of("kong_bandwidth_total{type=\"ingress\"}"), Some(30));
    assert_eq!(of("kong_latency_total_sum{type=\"request\"}"), Some(15));
    assert_eq!(of("kong_latency_total_sum{type=\"upstream\"}"), Some(9));
    assert_eq!(of("kong_latency_total_sum{type=\"kong\"}"), Some(6));
    assert_eq!(of("kong_latency_total_count{type=\"kong\"}"), Some(3));
}

#[test]
fn a_reply_of_the_gateway_itself_has_no_upstream_time() {
    let mut metrics = Metrics::new(Options::default());
    metrics.count(&Measured { upstream_ms: None, ..measured("a", 401) });
    let of = |key: &str| value(&metrics, key);
    assert_eq!(of("kong_latency_total_count{type=\"request\"}"), Some(1));
    assert_eq!(of("kong_latency_total_count{type=\"upstream\"}"), None);
}

#[test]
fn services_past_the_limit_share_one_name() {
    let mut metrics = Metrics::new(Options { max_services: 2, ..Options::default() });
    for service in ["a", "b", "c", "d", "a"] {
        metrics.count(&measured(service, 200));
    }
    let of = |service: &str| {
        let key = format!("kong_http_status{{code=\"200\",service=\"{service}\"}}");
        value(&metrics, &key)
    };
    assert_eq!(of("a"), Some(2));
    assert_eq!(of("b"), Some(1));
    assert_eq!(of("c"), None);
    assert_eq!(of(OTHER), Some(2));
    assert_eq!(metrics.limited(), 2);
    assert_eq!(value(&metrics, "observer_series_limited_total"), Some(2));
    assert_eq!(value(&metrics, "kong_http_status_total{code=\"200\"}"), Some(5));
}

#[test]
fn a_service_named_like_the_overflow_makes_no_second_series() {
    let mut metrics = Metrics::new(Options { max_services: 1, ..Options::default() });
    metrics.count(&measured(OTHER, 200));
    metrics.count(&measured("a", 200));
    metrics.count(&measured("b", 200));
    let page = text::encode(&metrics.registry().gather(), text::Options::default());
    let other = format!("kong_http_status{{code=\"200\",service=\"{OTHER}\"}}");
    assert_eq!(page.matches(&other).count(), 1);
    assert_eq!(value(&metrics, &other), Some(2));
}

#[test]
fn status_codes_past_the_limit_share_one_code() {
    let mut metrics = Metrics::new(Options::default());
    let most = u16::try_from(MAX_STATUSES).unwrap();
    for code in 0..most + 3 {
        metrics.count(&measured("a", 200 + code));
    }
    let of = |code: &str| {
        let key = format!("kong_http_status{{code=\"{code}\",service=\"a\"}}");
        value(&metrics, &key)
    };
    assert_eq!(of(&(200 + most - 1).to_string()), Some(1));
    assert_eq!(of(&(200 + most).to_string()), None);
    assert_eq!(of(OTHER), Some(3));
    assert_eq!(metrics.limited(), 3);
}

/// Joined without a separator, the values of these pairs are equal.
#[test]
fn label_values_that_join_to_the_same_text_stay_apart() {
    let mut metrics = Metrics::new(Options { per_gateway_label: true, ..Options::default() });
    for (service, gateway) in [("ab", "c"), ("a", "bc")] {
        metrics.count(&Measured { gateway: Some(Arc::from(gateway)), ..measured(service, 200) });
    }
    metrics.count(&Measured { gateway: Some(Arc::from("g")), ..measured("9x", 40) });
    metrics.count(&Measured { gateway: Some(Arc::from("g")), ..measured("x", 409) });
    for key in [
        "kong_http_status{code=\"200\",service=\"ab\",gateway=\"c\"}",
        "kong_http_status{code=\"200\",service=\"a\",gateway=\"bc\"}",
        "kong_http_status{code=\"40\",service=\"9x\",gateway=\"g\"}",
        "kong_http_status{code=\"409\",service=\"x\",gateway=\"g\"}",
    ] {
        assert_eq!(value(&metrics, key), Some(1), "{key}");
    }
}

#[test]
fn without_the_label_gateways_add_up() {
    let mut metrics = Metrics::new(Options::default());
    for gateway in ["g", "h"] {
        metrics.count(&Measured { gateway: Some(Arc::from(gateway)), ..measured("a", 200) });
    }
    let key = "kong_http_status{code=\"200\",service=\"a\"}";
    assert_eq!(value(&metrics, key), Some(2));
}

#[test]
fn gateways_past_the_limit_share_one_name() {
    let mut metrics = Metrics::new(Options { per_gateway_label: true, ..Options::default() });
    for gateway in 0..MAX_GATEWAYS + 2 {
        metrics.count(&Measured { gateway: Some(Arc::from(format!("g{gateway}"))), ..measured("a", 200) });
    }
    let of = |gateway: &str| {
        let key = format!("kong_http_status_total{{code=\"200\",gateway=\"{gateway}\"}}");
        value(&metrics, &key)
    };
    assert_eq!(of("g0"), Some(1));
    assert_eq!(of(OTHER), Some(2));
    assert_eq!(metrics.limited(), 2);
}

#[test]
fn errors_are_the_sum_of_what_was_lost_and_left_unobserved() {
    let metrics = Metrics::new(Options::default());
    metrics.lost("ring_full", 7);
    metrics.unobserved("gap", 2);
    metrics.unobserved("attached_midway", 1);
    metrics.filtered("admin_port", 40);
    let of = |key: &str| value(&metrics, key);
    assert_eq!(of("kong_nginx_metric_errors_total"), Some(10));
    assert_eq!(of("observer_capture_lost_total{reason=\"ring_full\"}"), Some(7));
    assert_eq!(of("observer_exchanges_unobserved_total{reason=\"gap\"}"), Some(2));
    assert_eq!(of("observer_exchanges_filtered_total{reason=\"admin_port\"}"), Some(40));
}

#[test]
fn each_own_counter_feeds_its_family() {
    let metrics = Metrics::new(Options::default());
    metrics.unattributed(404);
    metrics.internal();
    metrics.inferred("client_closed_first");
    metrics.begun();
    metrics.begun();
    metrics.counted();
    metrics.pairs("thread");
    metrics.gateways(3);
    for (key, expected) in [
        ("observer_unattributed_requests_total{code=\"404\"}", 1),
        ("observer_internal_requests_total", 1),
        ("observer_inferred_total{rule=\"client_closed_first\"}", 1),
        ("observer_exchanges_begun_total", 2),
        ("observer_exchanges_counted_total", 1),
        ("observer_pairs_total{evidence=\"thread\"}", 1),
        ("observer_gateways", 3),
    ] {
        assert_eq!(value(&metrics, key), Some(expected), "{key}");
    }
}

#[test]
fn the_datastore_family_comes_and_goes() {
    let metrics = Metrics::new(Options::default());
    let seen = || value(&metrics, "kong_datastore_reachable");
    assert_eq!(seen(), None);
    metrics.datastore(Some(true));
    assert_eq!(seen(), Some(1));
    metrics.datastore(Some(false));
    assert_eq!(seen(), Some(0));
    metrics.datastore(None);
    assert_eq!(seen(), None);
}

/// A page in the dialect of Kong 3.
fn today(metrics: &Metrics) -> String {
    let options = text::Options { own_metrics: false, dialect: Dialect::Today, ..text::Options::default() };
    text::encode(&metrics.registry().gather(), options)
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
    metrics.connections(&super::ConnectionGauge { accepted: 3, total: 7, ..Default::default() });
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
        text::encode(&metrics.registry().gather(), options)
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
    let own = text::encode(&metrics.registry().gather(), text::Options::default());
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

mod today;
mod view;

use std::sync::Arc;

use super::{MAX_GATEWAYS, MAX_STATUSES, Measured, Metrics, OTHER, Options, Source};
use crate::exposition::text;
use crate::snapshot::Gateway;

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
    text::encode(metrics.registry().gather(), text::Options::default())
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
    let page = text::encode(metrics.registry().gather(), text::Options::default());
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
    metrics.pair(crate::pairing::Evidence::WayBack, 1);
    metrics.gateways(vec![Gateway::default(); 3]);
    for (key, expected) in [
        ("observer_unattributed_requests_total{code=\"404\"}", 1),
        ("observer_internal_requests_total", 1),
        ("observer_inferred_total{rule=\"client_closed_first\"}", 1),
        ("observer_exchanges_begun_total", 2),
        ("observer_exchanges_counted_total", 1),
        ("observer_pairs_total{evidence=\"way_back\"}", 1),
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

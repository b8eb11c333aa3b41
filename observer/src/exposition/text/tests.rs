use std::sync::Arc;

use prometheus::core::Collector;
use prometheus::{Gauge, HistogramOpts, HistogramVec, IntCounter, IntCounterVec, IntGaugeVec, Opts};

use super::{Format, Options, PIECE_BYTES, PIECE_ROOM_BYTES, Page, encode};
use crate::event::Endpoint;
use crate::metrics::{self, ConnectionGauge, Dialect, Measured, Metrics, Registry, Source, Try};

const KONG_ONLY: Options = Options { own_metrics: false, dialect: Dialect::First, format: Format::Text };

fn page(metrics: &Metrics) -> String {
    encode(metrics.registry().gather(), KONG_ONLY)
}

fn measured(service: &str) -> Measured {
    Measured {
        service: Arc::from(service),
        gateway: None,
        route: None,
        source: Source::Service,
        consumer: None,
        status: 301,
        request_bytes: 127,
        response_bytes: 638,
        request_ms: 264,
        upstream_ms: Some(263),
        kong_ms: 1,
    }
}

/// Adds what the plugin's documentation shows: two requests that its sums, its first buckets and
/// kong = request - upstream determine but for a few milliseconds.
fn add_the_documented_requests(metrics: &mut Metrics) {
    metrics.count(&measured("google"));
    metrics.count(&Measured {
        response_bytes: 639,
        request_ms: 2408,
        upstream_ms: Some(264),
        kong_ms: 2144,
        ..measured("google")
    });
    metrics.connections(&ConnectionGauge {
        accepted: 8,
        active: 1,
        handled: 8,
        total: 8,
        writing: 1,
        ..ConnectionGauge::default()
    });
    metrics.datastore(Some(true));
}

/// `page.txt` is the documentation's output. The bucket lines that it elides stand there for every bound between the
/// line before and `+Inf`, with the number of the two requests at or below the bound.
#[test]
fn the_documented_requests_print_the_documented_page() {
    let mut metrics = Metrics::new(metrics::Options::default());
    add_the_documented_requests(&mut metrics);
    assert_eq!(page(&metrics), include_str!("../page.txt"));
}

#[test]
fn own_families_follow_kong_families_unless_left_out() {
    let mut metrics = Metrics::new(metrics::Options::default());
    add_the_documented_requests(&mut metrics);
    metrics.filtered("ignored port", 2);
    let both = encode(metrics.registry().gather(), Options::default());
    let own = both.strip_prefix(include_str!("../page.txt")).expect("Kong's families come first");
    assert!(own.starts_with("# HELP observer_"));
    assert!(own.contains(
        "\n# TYPE observer_exchanges_filtered_total counter\n\
         observer_exchanges_filtered_total{reason=\"ignored port\"} 2\n"
    ));
    assert!(!own.contains("kong_bandwidth"));
}

#[test]
fn a_fresh_start_shows_connections_and_errors_only() {
    let metrics = Metrics::new(metrics::Options::default());
    let expected = "\
# HELP kong_nginx_http_current_connections Number of HTTP connections
# TYPE kong_nginx_http_current_connections gauge
kong_nginx_http_current_connections{state=\"accepted\"} 0
kong_nginx_http_current_connections{state=\"active\"} 0
kong_nginx_http_current_connections{state=\"handled\"} 0
kong_nginx_http_current_connections{state=\"reading\"} 0
kong_nginx_http_current_connections{state=\"total\"} 0
kong_nginx_http_current_connections{state=\"waiting\"} 0
kong_nginx_http_current_connections{state=\"writing\"} 0
# HELP kong_nginx_metric_errors_total Number of nginx-lua-prometheus errors
# TYPE kong_nginx_metric_errors_total counter
kong_nginx_metric_errors_total 0
";
    assert_eq!(page(&metrics), expected);
}

#[test]
fn what_never_happened_is_not_printed() {
    let mut metrics = Metrics::new(metrics::Options::default());
    metrics.count(&Measured {
        status: 499,
        response_bytes: 0,
        upstream_ms: None,
        request_ms: 0,
        kong_ms: 0,
        ..measured("google")
    });
    let page = page(&metrics);
    assert!(page.contains("kong_bandwidth{type=\"ingress\",service=\"google\"} 127\n"));
    assert!(!page.contains("egress"));
    assert!(!page.contains("upstream\""));
    assert!(page.contains("kong_latency_sum{type=\"kong\",service=\"google\"} 0\n"));
    assert!(page.contains("kong_latency_bucket{type=\"kong\",service=\"google\",le=\"00001.0\"} 1\n"));
}

#[test]
fn a_value_above_the_last_bound_shows_in_inf_only() {
    let mut metrics = Metrics::new(metrics::Options::default());
    metrics.count(&Measured { upstream_ms: Some(60_001), ..measured("slow") });
    let page = page(&metrics);
    let buckets: Vec<&str> =
        page.lines().filter(|line| line.starts_with("kong_latency_bucket{type=\"upstream\"")).collect();
    assert_eq!(buckets, ["kong_latency_bucket{type=\"upstream\",service=\"slow\",le=\"+Inf\"} 1"]);
}

#[test]
fn a_bound_holds_values_up_to_and_with_itself() {
    let mut metrics = Metrics::new(metrics::Options::default());
    metrics.count(&Measured { upstream_ms: Some(300), ..measured("edge") });
    let page = page(&metrics);
    assert!(page.contains("{type=\"upstream\",service=\"edge\",le=\"00300.0\"} 1\n"));
    assert!(!page.contains("{type=\"upstream\",service=\"edge\",le=\"00200.0\"}"));
}

#[test]
fn series_stand_in_byte_order_of_their_printed_keys() {
    let mut metrics = Metrics::new(metrics::Options::default());
    for service in ["a-b", "b", "a", "a!", "é", "B"] {
        metrics.count(&measured(service));
    }
    metrics.count(&Measured { status: 200, ..measured("b") });
    let page = page(&metrics);
    let statuses: Vec<&str> = page.lines().filter(|line| line.starts_with("kong_http_status{")).collect();
    // The closing quote stands after `!` and before `-`.
    assert_eq!(
        statuses,
        [
            "kong_http_status{code=\"200\",service=\"b\"} 1",
            "kong_http_status{code=\"301\",service=\"B\"} 1",
            "kong_http_status{code=\"301\",service=\"a!\"} 1",
            "kong_http_status{code=\"301\",service=\"a\"} 1",
            "kong_http_status{code=\"301\",service=\"a-b\"} 1",
            "kong_http_status{code=\"301\",service=\"b\"} 1",
            "kong_http_status{code=\"301\",service=\"é\"} 1",
        ]
    );
}

/// The plugin sorts one list of all keys, with `Inf` in place of `+Inf`.
#[test]
fn all_lines_together_are_in_the_order_of_the_plugin() {
    let mut metrics = Metrics::new(metrics::Options::default());
    add_the_documented_requests(&mut metrics);
    for service in ["a\"b", "a", "a\\", "zz"] {
        metrics.count(&measured(service));
    }
    let keys: Vec<String> = page(&metrics)
        .lines()
        .filter(|line| !line.starts_with('#'))
        .map(|line| line.rsplit_once(' ').unwrap().0.replace("+Inf", "Inf"))
        .collect();
    assert!(keys.len() > 300);
    assert!(keys.is_sorted());
}

#[test]
fn label_values_are_escaped_and_stay_utf_8() {
    let mut metrics = Metrics::new(metrics::Options::default());
    metrics.count(&measured("a\"b\\c\nd é\u{fffd}"));
    let expected = "kong_http_status{code=\"301\",service=\"a\\\"b\\\\c\\nd é\u{fffd}\"} 1\n".to_owned();
    assert!(page(&metrics).contains(&expected));
}

#[test]
fn the_gateway_stands_last_but_for_the_bound() {
    let mut metrics = Metrics::new(metrics::Options { per_gateway_label: true, ..metrics::Options::default() });
    metrics.count(&Measured { gateway: Some(Arc::from("edge")), ..measured("google") });
    metrics.connections(&ConnectionGauge { gateway: Some(Arc::from("edge")), active: 3, ..ConnectionGauge::default() });
    let page = page(&metrics);
    for line in [
        "kong_bandwidth_total{type=\"egress\",gateway=\"edge\"} 638\n",
        "kong_bandwidth{type=\"egress\",service=\"google\",gateway=\"edge\"} 638\n",
        "kong_http_status{code=\"301\",service=\"google\",gateway=\"edge\"} 1\n",
        "{type=\"kong\",service=\"google\",gateway=\"edge\",le=\"00001.0\"} 1\n",
        "kong_nginx_http_current_connections{state=\"active\",gateway=\"edge\"} 3\n",
        "\nkong_nginx_metric_errors_total 0\n",
    ] {
        assert!(page.contains(line), "{line} in\n{page}");
    }
}

#[test]
fn numbers_have_no_needless_point_and_no_exponent() {
    let registry = Registry::new();
    let values = [
        ("a", 0.0),
        ("b", 2145.0),
        ("c", 0.25),
        ("d", -3.0),
        ("e", 9_007_199_254_740_992.0),
        ("f", 1e21),
        ("g", f64::INFINITY),
        ("h", f64::NEG_INFINITY),
        ("i", f64::NAN),
    ];
    for (name, value) in values {
        let gauge = Gauge::new(name, "A number").unwrap();
        gauge.set(value);
        registry.register(Box::new(gauge)).unwrap();
    }
    let page = encode(registry.gather(), Options::default());
    let lines: Vec<&str> = page.lines().filter(|line| !line.starts_with('#')).collect();
    let expected = [
        "a 0",
        "b 2145",
        "c 0.25",
        "d -3",
        "e 9007199254740992",
        "f 1000000000000000000000",
        "g +Inf",
        "h -Inf",
        "i NaN",
    ];
    assert_eq!(lines, expected);
}

#[test]
fn counters_are_exact_up_to_two_to_the_53() {
    let mut metrics = Metrics::new(metrics::Options::default());
    let most = 1 << 53;
    metrics.count(&Measured { response_bytes: most - 1, ..measured("big") });
    let line = "kong_bandwidth{type=\"egress\",service=\"big\"}";
    assert!(page(&metrics).contains(&format!("{line} 9007199254740991\n")));
    metrics.count(&Measured { response_bytes: 1, ..measured("big") });
    assert!(page(&metrics).contains(&format!("{line} 9007199254740992\n")));
}

#[test]
fn plain_histograms_print_every_bucket_and_the_bound_as_it_is() {
    let registry = Registry::new();
    let opts = HistogramOpts::new("observer_queue_ms", "Waiting\nto \"read\" \\ accept").buckets(vec![0.5, 10.0]);
    let histogram = HistogramVec::new(opts, &["stage"]).unwrap();
    histogram.with_label_values(&["read"]).observe(2.5);
    registry.register(Box::new(histogram)).unwrap();
    let expected = "\
# HELP observer_queue_ms Waiting\\nto \"read\" \\\\ accept
# TYPE observer_queue_ms histogram
observer_queue_ms_bucket{stage=\"read\",le=\"0.5\"} 0
observer_queue_ms_bucket{stage=\"read\",le=\"10\"} 1
observer_queue_ms_bucket{stage=\"read\",le=\"+Inf\"} 1
observer_queue_ms_count{stage=\"read\"} 1
observer_queue_ms_sum{stage=\"read\"} 2.5
";
    assert_eq!(encode(registry.gather(), Options::default()), expected);
}

#[test]
fn own_counters_show_from_zero_with_labels_by_name() {
    let registry = Registry::new();
    let opts = Opts::new("observer_x_total", "X").const_label("zone", "1").const_label("area", "2");
    let counter = IntCounter::with_opts(opts).unwrap();
    registry.register(Box::new(counter)).unwrap();
    let page = encode(registry.gather(), Options::default());
    assert!(page.ends_with("observer_x_total{area=\"2\",zone=\"1\"} 0\n"));
}

/// The same series with the same values, whatever the format.
#[test]
fn open_metrics_has_the_same_series_with_types_that_fit_it() {
    let mut metrics = Metrics::new(metrics::Options { today: Some(metrics::Switches::ALL), ..Default::default() });
    add_the_documented_requests(&mut metrics);
    for dialect in [Dialect::First, Dialect::Third, Dialect::Today] {
        let [text, open] = [Format::Text, Format::OpenMetrics]
            .map(|format| encode(metrics.registry().gather(), Options { dialect, format, own_metrics: true }));
        let samples = |page: &str| {
            let mut lines: Vec<String> =
                page.lines().filter(|line| !line.starts_with('#')).map(str::to_owned).collect();
            lines.sort();
            lines
        };
        assert_eq!(samples(&text), samples(&open));
        assert!(open.ends_with("\n# EOF\n"));
        check_open(&open);
    }
    let open = encode(metrics.registry().gather(), Options { format: Format::OpenMetrics, ..KONG_ONLY });
    for line in [
        "# TYPE kong_bandwidth unknown",
        "# TYPE kong_bandwidth_total unknown",
        "# TYPE kong_http_status unknown",
        "# TYPE kong_nginx_metric_errors counter",
        "# TYPE kong_latency histogram",
    ] {
        assert!(open.lines().any(|found| found == line), "{line} in\n{open}");
    }
}

/// What OpenMetrics asks of names: a counter's series end in `_total`, those of other types bear the family's name,
/// and no two families share one.
fn check_open(page: &str) {
    let (mut family, mut kind) = ("", "");
    let mut seen = std::collections::HashSet::new();
    for line in page.lines() {
        if let Some(rest) = line.strip_prefix("# TYPE ") {
            (family, kind) = rest.split_once(' ').unwrap();
            assert!(seen.insert(family), "{family} stands twice");
        } else if !line.starts_with('#') {
            let name = line.split(['{', ' ']).next().unwrap();
            let part = name.strip_prefix(family).expect(name);
            match kind {
                "counter" => assert_eq!(part, "_total", "{line}"),
                "histogram" => assert!(["_bucket", "_count", "_sum"].contains(&part), "{line}"),
                "gauge" | "unknown" => assert_eq!(part, "", "{line}"),
                other => panic!("type {other}"),
            }
        }
    }
}

#[test]
fn in_open_metrics_the_lines_of_a_histograms_series_stand_together() {
    let mut metrics = Metrics::new(metrics::Options::default());
    add_the_documented_requests(&mut metrics);
    let open = encode(metrics.registry().gather(), Options { format: Format::OpenMetrics, ..KONG_ONLY });
    let kong = r#"kong_latency_count{type="kong",service="google"} 2"#;
    let request = r#"kong_latency_bucket{type="request",service="google",le="00300.0"} 1"#;
    assert!(open.find(kong).unwrap() < open.find(request).unwrap());
    let sum = "kong_latency_sum{type=\"kong\",service=\"google\"} 2145\nkong_latency_bucket{type=\"request\"";
    assert!(open.contains(sum), "{open}");
}

#[test]
fn a_long_page_comes_in_pieces_of_whole_lines() {
    let mut metrics = Metrics::new(metrics::Options::default());
    (0..300).for_each(|n| metrics.count(&measured(&format!("service-{n}"))));
    let pieces: Vec<String> = Page::new(metrics.registry().gather(), Options::default()).collect();
    let (last, others) = pieces.split_last().unwrap();
    assert!(others.len() > 10 && !last.is_empty(), "{} and {}", others.len(), last.len());
    for piece in others {
        assert!((PIECE_BYTES..PIECE_BYTES + PIECE_ROOM_BYTES).contains(&piece.len()), "{}", piece.len());
    }
    assert!(pieces.iter().all(|piece| piece.ends_with('\n')));
    assert_eq!(pieces.concat(), encode(metrics.registry().gather(), Options::default()));
}

#[test]
fn a_page_is_of_the_moment_in_which_it_was_gathered() {
    let mut metrics = Metrics::new(metrics::Options::default());
    add_the_documented_requests(&mut metrics);
    let gathered = metrics.registry().gather();
    metrics.count(&measured("google"));
    metrics.count(&measured("another"));
    metrics.lost("ring_full", 1);
    assert_eq!(encode(gathered, KONG_ONLY), include_str!("../page.txt"));
    let after = page(&metrics);
    assert!(after.contains("kong_http_status{code=\"301\",service=\"google\"} 3\n"), "{after}");
    assert!(after.contains("kong_http_status{code=\"301\",service=\"another\"} 1\n"), "{after}");
}

/// The same tries, counted by the crate's own metrics.
#[test]
fn families_with_many_series_print_as_those_of_the_crate_do() {
    let mut metrics = Metrics::new(metrics::Options::default());
    let crates = Registry::new();
    let bounds = [1.0, 2.0, 5.0, 10.0, 25.0, 50.0, 100.0, 250.0, 500.0, 1000.0, 5000.0, 30000.0];
    let phase = HistogramOpts::new(
        "observer_upstream_phase_ms",
        "Milliseconds that a request to an upstream spent connecting, sending, waiting for the header and receiving",
    );
    let phase = HistogramVec::new(phase.buckets(bounds.to_vec()), &["service", "phase"]).unwrap();
    let in_a_row = Opts::new(
        "observer_upstream_failures_in_a_row",
        "Requests to an upstream without a whole answer, or with a status of 500 and above, since the last good one",
    );
    let in_a_row = IntGaugeVec::new(in_a_row, &["service", "target"]).unwrap();
    let requests = Opts::new(
        "observer_upstream_requests_total",
        "Requests that the gateway made to an upstream to answer a client's, by status code, or none without an answer",
    );
    let requests = IntCounterVec::new(requests, &["service", "target", "code"]).unwrap();
    let all: [Box<dyn Collector>; 3] =
        [Box::new(phase.clone()), Box::new(in_a_row.clone()), Box::new(requests.clone())];
    all.into_iter().for_each(|family| crates.register(family).unwrap());

    let target = Endpoint::Ip(([127, 0, 0, 1], 80).into());
    for (service, status, ms) in [("b", 200, 3), ("a\"\\\n", 502, 40_000), ("b", 503, 30), ("b", 200, 0), ("é", 0, 1)]
    {
        let phases_us = [Some(ms * 1_000), None, Some(ms * 1_000 + 125), None];
        let one = Try { target: &target, status, is_broken: status == 0, phases_us };
        metrics.tried(&service.into(), std::iter::once(one));
        phase.with_label_values(&[service, "connect"]).observe(ms as f64);
        phase.with_label_values(&[service, "wait"]).observe(ms as f64 + 0.125);
        let in_a_row = in_a_row.with_label_values(&[service, "127.0.0.1:80"]);
        if status == 200 {
            in_a_row.set(0)
        } else {
            in_a_row.inc()
        }
        let code = if status == 0 { "none".to_owned() } else { status.to_string() };
        requests.with_label_values(&[service, "127.0.0.1:80", &code]).inc();
    }
    for format in [Format::Text, Format::OpenMetrics] {
        let options = Options { format, ..Options::default() };
        let [own, crates] = [metrics.registry(), &crates].map(|registry| encode(registry.gather(), options));
        let own: String = own.split_inclusive('\n').filter(|line| line.contains("observer_upstream_")).collect();
        assert_eq!(own, crates.trim_end_matches("# EOF\n"));
    }
}

//! The metrics' formats and dialects, and nginx's status.

use std::io::{Read, Write};

use flate2::read::GzDecoder;

use super::fill;
use super::harness::{Setup, ask, connect, served, served_at};
use crate::metrics::{ConnectionGauge, Dialect};
use crate::snapshot::Snapshot;

const OPEN: &str = "Accept: application/openmetrics-text;version=1.0.0,text/plain;q=0.5\r\n";

#[test]
fn open_metrics_comes_to_those_who_prefer_it() {
    let served = served(1);
    let open = served.ask_with("GET /metrics", OPEN);
    assert!(open.has("Content-Type: application/openmetrics-text; version=1.0.0; charset=utf-8"), "{}", open.head);
    assert!(open.has("Access-Control-Allow-Origin: *"), "{}", open.head);
    assert!(open.body.ends_with("# EOF\n"), "{}", open.body);
    let text = served.ask_with("GET /metrics", "Accept: */*\r\n");
    assert!(text.has("Content-Type: text/plain; charset=UTF-8"), "{}", text.head);
    assert!(!text.body.contains("EOF"));
}

#[test]
fn gzip_comes_to_those_who_take_it_and_is_the_same_text() {
    let mut served = served(1);
    fill(&mut served.metrics);
    let plain = served.ask("GET /metrics");
    assert!(!plain.head.contains("Content-Encoding"));
    let mut stream = connect(served.addresses[0]);
    let request = b"GET /metrics HTTP/1.1\r\nHost: x\r\nAccept-Encoding: gzip\r\nConnection: close\r\n\r\n";
    stream.write_all(request).unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).unwrap();
    let end = answer.windows(4).position(|window| window == b"\r\n\r\n").unwrap();
    let head = String::from_utf8(answer[..end].to_vec()).unwrap();
    for line in ["Content-Encoding: gzip", "Content-Type: text/plain; charset=UTF-8", "Vary: Accept, Accept-Encoding"] {
        assert!(head.lines().any(|found| found == line), "{head}");
    }
    let compressed = &answer[end + 4..];
    assert!(compressed.len() * 10 < plain.body.len(), "{} of {}", compressed.len(), plain.body.len());
    let mut text = String::new();
    GzDecoder::new(compressed).read_to_string(&mut text).unwrap();
    assert_eq!(text, plain.body);
    let head = served.ask_with("HEAD /metrics", "Accept-Encoding: gzip\r\n");
    assert!(head.has(&format!("Content-Length: {}", compressed.len())), "{}", head.head);
}

#[test]
fn a_scrape_asks_for_another_dialect_that_is_spoken() {
    let served = Setup { dialects: vec![Dialect::Third, Dialect::Today], ..Setup::default() }.serve();
    let has_today = |path: &str| {
        let answer = served.ask(&format!("GET {path}"));
        assert_eq!(answer.code(), 200, "{path}");
        answer.body.contains("kong_nginx_connections_total")
    };
    served.metrics.unattributed(404);
    assert!(!has_today("/metrics"));
    assert!(!has_today("/metrics?dialect=0.3"));
    let mut served_metrics = served.metrics;
    served_metrics.connections(&ConnectionGauge::default());
    let today = ask(served.addresses[0], "GET /metrics?x=1&dialect=3");
    assert!(today.body.contains("kong_nginx_connections_total"), "{}", today.body);
    for other in ["0.1", "4", ""] {
        let refused = ask(served.addresses[0], &format!("GET /metrics?dialect={other}"));
        assert_eq!(refused.status(), "HTTP/1.1 400 Bad Request", "{other}");
        assert!(refused.body.contains("0.3, 3"), "{}", refused.body);
    }
}

const EMPTY_STATUS: &str =
    "Active connections: 0 \nserver accepts handled requests\n 0 0 0 \nReading: 0 Writing: 0 Waiting: 0 \n";

#[test]
fn nginx_status_is_for_this_host_unless_listed() {
    let served = served(1);
    let answer = served.ask("GET /nginx_status");
    assert_eq!((answer.code(), answer.body.as_str()), (200, EMPTY_STATUS));
    assert!(!answer.head.contains("Access-Control"), "{}", answer.head);
    assert_eq!(served.ask_with("GET /nginx_status", "X-Forwarded-For: 127.0.0.1\r\n").code(), 404);
    assert_eq!(served.ask("POST /nginx_status").code(), 405);

    let wide = served_at("0.0.0.0:0");
    let port = wide.addresses[0].port();
    assert_eq!(ask(super::harness::loopback(port), "GET /nginx_status").code(), 404);
    let listed = served_at("0.0.0.0:0,paths=/nginx_status");
    let address = super::harness::loopback(listed.addresses[0].port());
    assert_eq!(ask(address, "GET /nginx_status").body, EMPTY_STATUS);
    assert_eq!(ask(address, "GET /metrics").code(), 404);
}

#[test]
fn a_snapshot_is_the_metrics_as_json_by_the_same_rules() {
    let mut served = served(1);
    fill(&mut served.metrics);
    let answer = served.ask("GET /snapshot");
    assert_eq!(answer.code(), 200, "{}", answer.body);
    for line in ["Content-Type: application/json; charset=utf-8", "Cache-Control: no-store"] {
        assert!(answer.has(line), "{}", answer.head);
    }
    let read: Snapshot = serde_json::from_str(&answer.body).unwrap();
    assert_eq!((read.version.as_str(), read.enabled), (env!("CARGO_PKG_VERSION"), true));
    assert!(read.time_ms >= read.started_ms as f64 && read.observer.resident_bytes > 0, "{read:?}");
    assert_eq!(read.services, served.metrics.view().snapshot().services);
    assert!(!read.services.is_empty());
    assert_eq!(served.ask("POST /snapshot").code(), 405);
    let gzip = served.ask_with("HEAD /snapshot", "Accept-Encoding: gzip\r\n");
    assert!(gzip.has("Content-Encoding: gzip"), "{}", gzip.head);
    // A gateway passes it on like the metrics, and nothing else.
    for (path, code) in [("/metrics", 200), ("/snapshot", 200), ("/plugins", 404)] {
        assert_eq!(served.ask_with(&format!("GET {path}"), "X-Forwarded-For: 10.0.0.1\r\n").code(), code, "{path}");
    }
    assert_eq!(served_at("127.0.0.1:0,paths=/metrics").ask("GET /snapshot").code(), 404);
    let off = Setup { start_disabled: true, ..Setup::default() }.serve().ask("GET /snapshot");
    assert!(!serde_json::from_str::<Snapshot>(&off.body).unwrap().enabled);
}

mod auth;
mod harness;
mod limits;
mod metrics;
mod plugins;
mod rules;
mod tail;
mod tls;
mod ui;

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use super::{Access, GRACE, ListenError, Readiness, bind};
use crate::exposition::listen::Listen;
use crate::exposition::text;
use crate::metrics::Metrics;
use harness::{ask, connect, loopback, served};

#[test]
fn metrics_come_with_the_headers_of_the_page() {
    let served = served(1);
    let answer = served.ask("GET /metrics");
    assert_eq!(answer.status(), "HTTP/1.1 200 OK");
    assert!(answer.head.contains("\r\nContent-Type: text/plain; charset=UTF-8\r\n"), "{}", answer.head);
    assert!(answer.head.contains("\r\nAccess-Control-Allow-Origin: *\r\n"), "{}", answer.head);
    let text = text::encode(
        served.metrics.registry().gather(),
        text::Options { own_metrics: false, ..text::Options::default() },
    );
    assert_eq!(answer.body, text);
}

#[test]
fn each_scrape_is_fresh_and_a_query_does_not_matter() {
    let served = served(1);
    assert!(served.ask("GET /metrics").body.contains("kong_nginx_metric_errors_total 0\n"));
    served.metrics.lost("ring_full", 5);
    assert!(served.ask("GET /metrics?x=1").body.contains("kong_nginx_metric_errors_total 5\n"));
}

#[test]
fn head_has_the_length_and_no_body() {
    let served = served(1);
    let get = served.ask("GET /metrics");
    let head = served.ask("HEAD /metrics");
    assert_eq!(head.status(), "HTTP/1.1 200 OK");
    assert!(head.has(&format!("Content-Length: {}", get.body.len())));
    assert!(head.has("Content-Type: text/plain; charset=UTF-8"));
    assert!(head.has("Access-Control-Allow-Origin: *"));
    assert_eq!(head.body, "");
}

#[test]
fn other_methods_are_refused_with_those_allowed() {
    let served = served(1);
    for path in ["/metrics", "/ready", "/"] {
        for method in ["POST", "PUT", "DELETE", "PATCH", "OPTIONS", "TRACE", "BREW"] {
            let answer = served.ask(&format!("{method} {path}"));
            assert_eq!(answer.status(), "HTTP/1.1 405 Method Not Allowed");
            assert!(answer.has("Allow: GET, HEAD"), "{}", answer.head);
        }
    }
}

#[test]
fn unknown_paths_are_told_where_the_metrics_are() {
    let served = served(1);
    for line in ["GET /metric", "POST /metrics/", "GET //metrics"] {
        let answer = served.ask(line);
        assert_eq!(answer.status(), "HTTP/1.1 404 Not Found", "{line}");
        assert!(answer.body.contains("/metrics"));
        assert!(!answer.head.contains("Access-Control"));
    }
}

#[test]
fn the_root_points_to_the_metrics() {
    let answer = served(1).ask("GET /");
    assert_eq!(answer.status(), "HTTP/1.1 200 OK");
    assert_eq!(answer.body, "Kong Prometheus exporter, visit /metrics");
    assert!(!answer.head.contains("Access-Control"));
}

#[test]
fn healthy_waits_for_the_first_look_too_and_tells_nothing_else() {
    let served = served(1);
    assert_eq!(served.ask("GET /healthy").code(), 503);
    served.readiness.send(Readiness::Ready).unwrap();
    let after = served.ask("GET /healthy");
    assert_eq!((after.code(), after.body.as_str()), (200, "healthy"));
    assert_eq!(served.ask("POST /healthy").code(), 405);
}

#[test]
fn ready_says_what_it_waits_for_until_told() {
    let served = served(1);
    let before = served.ask("GET /ready");
    assert_eq!(before.status(), "HTTP/1.1 503 Service Unavailable");
    assert_eq!(before.body, "not ready, waiting for the first scan");
    served.readiness.send(Readiness::Ready).unwrap();
    let after = served.ask("GET /ready");
    assert_eq!(after.status(), "HTTP/1.1 200 OK");
    assert_eq!(after.body, "ready");
}

#[test]
fn every_listener_serves() {
    let served = served(2);
    for &address in &served.addresses {
        let answer = ask(address, "GET /metrics");
        assert_eq!(answer.status(), "HTTP/1.1 200 OK");
    }
}

#[test]
fn requests_follow_each_other_on_one_connection() {
    let served = served(1);
    let mut stream = served.connect();
    let request = "GET / HTTP/1.1\r\nHost: x\r\n\r\nGET /ready HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n";
    stream.write_all(request.as_bytes()).unwrap();
    let mut answers = String::new();
    stream.read_to_string(&mut answers).unwrap();
    assert!(answers.starts_with("HTTP/1.1 200 OK\r\n"));
    assert!(answers.contains("visit /metricsHTTP/1.1 503 "));
}

/// Whether the server ends the connection before the last chunk of the answer.
fn is_cut_short(mut stream: TcpStream) -> bool {
    let mut taken = Vec::new();
    // What both socket buffers hold still comes, then an end or a reset.
    let _ = stream.read_to_end(&mut taken);
    let text = String::from_utf8_lossy(&taken);
    let (head, body) = text.split_once("\r\n\r\n").expect("a whole head");
    assert!(head.lines().any(|line| line == "Transfer-Encoding: chunked"), "{head}");
    !body.ends_with("\r\n0\r\n\r\n")
}

/// Some 10 MB of text, more than both socket buffers take.
pub(super) fn fill(metrics: &mut Metrics) {
    for service in 0..900 {
        metrics.count(&crate::metrics::Measured {
            service: format!("service-{service}-{}", "x".repeat(100)).into(),
            gateway: None,
            route: None,
            source: crate::metrics::Source::Service,
            consumer: None,
            status: 200,
            request_bytes: 1,
            response_bytes: 1,
            request_ms: 1,
            upstream_ms: Some(1),
            kong_ms: 0,
        });
    }
}

#[test]
fn garbage_ends_its_connection_and_nothing_else() {
    let served = served(1);
    let mut stream = served.connect();
    stream.write_all(b"\x16\x03\x01\x02\0garbage\r\n\r\n").unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).unwrap();
    assert!(!answer.starts_with(b"HTTP/1.1 200"));
    assert_eq!(served.ask("GET /metrics").status(), "HTTP/1.1 200 OK");
}

#[test]
fn a_shutdown_with_nothing_under_way_does_not_use_up_the_grace() {
    let served = served(2);
    for &address in &served.addresses {
        ask(address, "GET /");
    }
    let start = Instant::now();
    served.stop.send(()).unwrap();
    served.runtime.block_on(served.server).unwrap();
    assert!(start.elapsed() < GRACE);
}

#[test]
fn shutdown_is_prompt_with_an_idle_and_a_half_sent_request() {
    let served = served(2);
    let _idle = served.connect();
    let mut half = connect(served.addresses[1]);
    half.write_all(b"GET /metrics HTTP/1.1\r\nHos").unwrap();
    // An answer on each listener shows that the connections before it were accepted.
    for &address in &served.addresses {
        ask(address, "GET /");
    }
    let start = Instant::now();
    served.stop.send(()).unwrap();
    served.runtime.block_on(served.server).unwrap();
    drop(served.runtime);
    assert!(start.elapsed() < Duration::from_secs(1));
    for address in served.addresses {
        assert!(TcpStream::connect(address).is_err());
    }
}

#[test]
fn a_reader_that_never_reads_does_not_hold_up_the_shutdown() {
    let mut served = served(1);
    fill(&mut served.metrics);
    let mut slow = served.connect();
    slow.write_all(b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n").unwrap();
    // The answer has begun.
    slow.peek(&mut [0]).unwrap();
    let start = Instant::now();
    served.stop.send(()).unwrap();
    served.runtime.block_on(served.server).unwrap();
    assert!(start.elapsed() >= GRACE, "the answer was still under way");
    assert!(start.elapsed() < Duration::from_secs(1));
    assert!(is_cut_short(slow));
}

#[test]
fn a_taken_port_is_named_with_what_to_do() {
    let taken = std::net::TcpListener::bind(loopback(0)).unwrap();
    let address = taken.local_addr().unwrap();
    let error = bind(&[Listen::tcp(loopback(0)), Listen::tcp(address)], &Access::default()).err().unwrap();
    assert!(matches!(&error, ListenError::Taken(a) if *a == address.to_string()));
    let message = error.to_string();
    assert!(message.contains(&address.to_string()), "{message}");
    assert!(message.contains("taken"), "{message}");
    assert!(message.contains("--listen"), "{message}");
}

#[test]
fn an_address_of_another_host_is_named_with_what_to_do() {
    // A documentation address (RFC 5737), which no host has.
    let address: SocketAddr = "192.0.2.1:0".parse().unwrap();
    let error = bind(&[Listen::tcp(address)], &Access::default()).err().unwrap();
    assert!(matches!(&error, ListenError::Foreign(a) if *a == address.to_string()));
    assert!(error.to_string().contains("--listen"));
}

//! What listeners let in.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;

use super::super::{Access, ListenError, bind};
use super::harness::{Setup, ask, exchange, served_at};
use crate::exposition::listen::Listen;

const GET: &[u8] = b"GET /metrics HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";

#[test]
fn strangers_get_the_pages_refusal_on_every_path() {
    let served = served_at("127.0.0.1:0,allow=10.0.0.0/24");
    for line in ["GET /metrics", "GET /", "GET /ready", "GET /nowhere", "POST /metrics"] {
        let answer = served.ask(line);
        assert_eq!(answer.status(), "HTTP/1.1 403 Forbidden", "{line}");
        assert!(answer.has("Content-Type: application/json; charset=utf-8"), "{}", answer.head);
        assert!(!answer.head.contains("Access-Control"), "{}", answer.head);
        assert_eq!(answer.body, r#"{"message":"Your IP address is not allowed"}"#);
    }
    assert_eq!(served.ask_with("GET /metrics", "X-Forwarded-For: 10.0.0.5\r\n").code(), 403);
}

#[test]
fn each_listener_has_its_own_rules() {
    let access = Access { allow: vec!["10.0.0.0/8".parse().unwrap()], ..Access::default() };
    let listen = ["127.0.0.1:0", "127.0.0.1:0,allow=127.0.0.1", "[::1]:0,allow=::1,paths=/metrics"].map(str::to_owned);
    let served = Setup { listen: listen.into(), access, ..Setup::default() }.serve();
    let [common, own, six] = served.addresses[..] else { unreachable!() };
    assert_eq!(ask(common, "GET /metrics").code(), 403);
    assert_eq!(ask(own, "GET /metrics").code(), 200);
    assert_eq!(ask(own, "GET /ready").code(), 503);
    assert_eq!(ask(six, "GET /metrics").code(), 200);
    assert_eq!(ask(six, "GET /ready").code(), 404);
    assert_eq!(ask(six, "GET /").code(), 404);
}

#[test]
fn a_trusted_proxys_word_decides() {
    let access = Access { allow: vec!["10.0.0.0/8".parse().unwrap()], trusted: vec!["127.0.0.1/32".parse().unwrap()] };
    let served = Setup { access, ..Setup::default() }.serve();
    assert_eq!(served.ask_with("GET /metrics", "X-Forwarded-For: 10.0.0.5\r\n").code(), 200);
    assert_eq!(served.ask_with("GET /metrics", "X-Forwarded-For: 10.0.0.5, 192.0.2.1\r\n").code(), 403);
    assert_eq!(served.ask("GET /metrics").code(), 403);
}

/// The page's route in the gateway leads to the metrics; what its path lets through besides stays shut.
#[test]
fn through_a_gateway_only_the_metrics_are_open() {
    let served = served_at("127.0.0.1:0");
    for header in
        ["X-Forwarded-For: 192.0.2.1\r\n", "Forwarded: for=192.0.2.1\r\n", "X-Real-IP: 192.0.2.1\r\n", "Via: kong\r\n"]
    {
        assert_eq!(served.ask_with("GET /metrics", header).code(), 200);
        for path in ["/", "/ready", "/metrics/../ready", "/metrics/..%2fready", "/metrics/", "//ready"] {
            assert_eq!(served.ask_with(&format!("GET {path}"), header).code(), 404, "{path} {header}");
        }
    }
}

#[test]
fn a_unix_socket_has_its_mode_and_goes_with_the_server() {
    let dir = tempfile::tempdir().unwrap();
    for (option, mode) in [("", 0o600), (",mode=0666", 0o666)] {
        let path = dir.path().join("observer.sock");
        let served = served_at(format!("unix:{}{option}", path.display()));
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o7777, mode);
        assert_eq!(exchange(UnixStream::connect(&path).unwrap(), GET).code(), 200);
        served.stop.send(()).unwrap();
        served.runtime.block_on(served.server).unwrap();
        assert!(!path.exists());
    }
}

#[test]
fn a_dead_observers_socket_is_taken_over_and_a_living_ones_is_not() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("observer.sock");
    let listen: Listen = format!("unix:{}", path.display()).parse().unwrap();
    // The file of a listener outlives it.
    drop(std::os::unix::net::UnixListener::bind(&path).unwrap());
    let first = bind(std::slice::from_ref(&listen), &Access::default()).unwrap();
    let second = bind(std::slice::from_ref(&listen), &Access::default()).err().unwrap();
    assert!(matches!(second, ListenError::Taken(_)), "{second}");
    drop(first);
    fs::write(&path, "precious").unwrap();
    let error = bind(&[listen], &Access::default()).err().unwrap();
    assert!(matches!(error, ListenError::NoSocket(_)), "{error}");
    assert_eq!(fs::read(&path).unwrap(), b"precious");
}

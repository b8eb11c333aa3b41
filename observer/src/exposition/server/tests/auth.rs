//! Reading with tokens.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use super::harness::{Served, Setup, ask};
use crate::exposition::auth::{Role, add};

struct Case {
    _dir: tempfile::TempDir,
    served: Served,
    token: String,
}

fn case() -> Case {
    let dir = tempfile::tempdir().unwrap();
    let file: PathBuf = dir.path().join("users");
    let token = add(&file, "prometheus", Role::Metrics).unwrap().reveal().to_owned();
    let served = Setup { auth_file: Some(&file), own_metrics: true, ..Setup::default() }.serve();
    Case { _dir: dir, served, token }
}

#[test]
fn the_metrics_need_a_token_and_root_and_readiness_none() {
    let case = case();
    let refused = case.served.ask("GET /metrics");
    assert_eq!(refused.status(), "HTTP/1.1 401 Unauthorized");
    assert!(refused.has("Content-Type: application/json; charset=utf-8"), "{}", refused.head);
    assert!(refused.head.contains("\r\nWww-Authenticate: Basic realm="), "{}", refused.head);
    assert!(refused.body.starts_with("{\"message\":\""), "{}", refused.body);
    assert_eq!(case.served.ask("GET /").code(), 200);
    assert_eq!(case.served.ask("GET /ready").code(), 503);
    assert_eq!(case.served.ask("GET /healthy").code(), 503);
    // Through a gateway nothing is open.
    assert_eq!(case.served.ask_with("GET /ready", "Via: kong\r\n").code(), 401);
    assert_eq!(case.served.ask_with("GET /healthy", "Via: kong\r\n").code(), 401);

    let line = format!("Kong-Admin-Token: {}\r\n", case.token);
    let answer = case.served.ask_with("GET /metrics", &line);
    assert_eq!(answer.code(), 200);
    assert!(answer.body.contains("observer_auth_failures_total{reason=\"missing\"} 3\n"), "{}", answer.body);
    assert_eq!(case.served.ask_with("HEAD /metrics", &line).code(), 200);
    assert_eq!(case.served.ask_with("GET /metrics?x=1", &line).code(), 200);
    // A query is no place for a token.
    assert_eq!(case.served.ask(&format!("GET /metrics?token={}", case.token)).code(), 401);
}

#[test]
fn a_listener_may_leave_reading_open_and_changes_closed() {
    let dir = tempfile::tempdir().unwrap();
    let file: PathBuf = dir.path().join("users");
    let token = add(&file, "admin", Role::Admin).unwrap().reveal().to_owned();
    let listen = vec!["127.0.0.1:0,read=open".into(), "127.0.0.1:0".into()];
    let served = Setup { listen, auth_file: Some(&file), ..Setup::default() }.serve();
    assert_eq!(served.ask("GET /metrics").code(), 200);
    assert_eq!(served.ask("GET /plugins").code(), 200);
    assert_eq!(served.ask_with("GET /plugins", "Via: kong\r\n").code(), 404);
    assert_eq!(ask(served.addresses[1], "GET /metrics").code(), 401);
    let delete = |line: &str| served.ask_with("DELETE /plugins/x", line);
    assert_eq!(delete("").code(), 401);
    assert_eq!(delete(&format!("Kong-Admin-Token: {token}\r\n")).code(), 404);
}

#[test]
fn wrong_tokens_wait_longer_each_time_and_right_ones_do_not() {
    let case = case();
    let wrong = || {
        let began = Instant::now();
        let answer = case.served.ask_with("GET /metrics", "Authorization: Bearer wrong\r\n");
        assert_eq!(answer.code(), 401);
        assert!(!answer.body.contains("wrong"), "{}", answer.body);
        began.elapsed()
    };
    let waits: Vec<Duration> = (0..3).map(|_| wrong()).collect();
    for (wait, least) in waits.iter().zip([100, 200, 400]) {
        assert!(*wait >= Duration::from_millis(least), "{waits:?}");
    }
    let began = Instant::now();
    let line = format!("Authorization: Bearer {}\r\n", case.token);
    assert_eq!(case.served.ask_with("GET /metrics", &line).code(), 200);
    assert!(began.elapsed() < Duration::from_millis(400));
}

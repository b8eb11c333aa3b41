//! The page for people: what is sent, where, and to whom.

use std::io::Read;
use std::net::SocketAddr;

use flate2::read::GzDecoder;

use super::harness::{Served, Setup, ask, exchange_bytes, loopback, served, served_at};
use crate::exposition::auth::{Role, add};

const BEHIND_A_GATEWAY: &str = "X-Forwarded-For: 192.0.2.1\r\n";

#[test]
fn the_page_comes_with_a_strict_policy_and_may_not_be_framed_or_sniffed() {
    let served = served(1);
    for path in ["/ui/", "/ui/app.js", "/ui/style.css", "/ui/icon.svg", "/ui/snapshot"] {
        let answer = served.ask(&format!("GET {path}"));
        assert_eq!(answer.code(), 200, "{path}");
        let policy = answer.head.lines().find_map(|line| line.strip_prefix("Content-Security-Policy: ")).unwrap();
        let rules: Vec<&str> = policy.split("; ").collect();
        for rule in ["default-src 'none'", "script-src 'self'", "style-src 'self'", "frame-ancestors 'none'"] {
            assert!(rules.contains(&rule), "{policy}");
        }
        assert!(!policy.contains("unsafe") && !policy.contains("http") && !policy.contains('*'), "{policy}");
        for line in [
            "X-Content-Type-Options: nosniff",
            "X-Frame-Options: DENY",
            "Referrer-Policy: no-referrer",
            "Cross-Origin-Resource-Policy: same-origin",
        ] {
            assert!(answer.has(line), "{line}: {}", answer.head);
        }
        assert!(!answer.head.contains("Access-Control"), "{}", answer.head);
    }
}

#[test]
fn files_have_their_types() {
    let served = served(1);
    for (path, kind) in [
        ("/ui/", "text/html; charset=utf-8"),
        ("/ui/app.js", "text/javascript; charset=utf-8"),
        ("/ui/uplot.css", "text/css; charset=utf-8"),
        ("/ui/icon.svg", "image/svg+xml"),
        ("/ui/uplot-license.txt", "text/plain; charset=utf-8"),
        ("/ui/snapshot", "application/json; charset=utf-8"),
    ] {
        let answer = served.ask(&format!("GET {path}"));
        assert!(answer.has(&format!("Content-Type: {kind}")), "{path}: {}", answer.head);
    }
}

#[test]
fn without_the_slash_the_client_is_sent_on_by_an_address_that_holds_behind_any_prefix() {
    let answer = served(1).ask("GET /ui");
    assert_eq!(answer.code(), 308);
    assert!(answer.has("Location: ui/"), "{}", answer.head);
}

#[test]
fn a_file_is_compressed_for_those_who_take_it() {
    let served = served(1);
    let plain = served.ask("GET /ui/app.js");
    let request = b"GET /ui/app.js HTTP/1.1\r\nHost: x\r\nAccept-Encoding: gzip, br\r\nConnection: close\r\n\r\n";
    let (head, body) = exchange_bytes(served.connect(), request);
    assert!(head.contains("\r\nContent-Encoding: gzip\r\n"), "{head}");
    assert!(head.contains("\r\nVary: Accept-Encoding\r\n"), "{head}");
    let mut unpacked = String::new();
    GzDecoder::new(&body[..]).read_to_string(&mut unpacked).unwrap();
    assert_eq!(unpacked, plain.body);
}

#[test]
fn a_file_that_the_client_has_already_is_not_sent_again() {
    let served = served(1);
    let first = served.ask("GET /ui/app.js");
    assert!(first.has("Cache-Control: no-cache"), "{}", first.head);
    let tag = first.head.lines().find_map(|line| line.strip_prefix("Etag: ")).unwrap();
    for value in [tag.to_owned(), format!("\"other\", {tag}"), format!("W/{tag}")] {
        let again = served.ask_with("GET /ui/app.js", &format!("If-None-Match: {value}\r\n"));
        assert_eq!((again.code(), again.body.as_str()), (304, ""), "{value}");
    }
    // The compressed one is another one.
    let other = served.ask_with("GET /ui/app.js", "If-None-Match: \"other\"\r\n");
    assert_eq!((other.code(), other.body), (200, first.body.clone()));
}

#[test]
fn the_page_can_only_be_read_and_knows_only_its_own_files() {
    let served = served(1);
    for method in ["POST", "PUT", "PATCH", "DELETE"] {
        for path in ["/ui", "/ui/", "/ui/snapshot"] {
            assert_eq!(served.ask(&format!("{method} {path}")).code(), 405, "{method} {path}");
        }
    }
    for path in ["/uix", "/ui/nothing", "/ui//", "/ui/../metrics", "/ui/%2e%2e/metrics", "/a/ui/", "/ui/snapshot/"] {
        assert_eq!(served.ask(&format!("GET {path}")).code(), 404, "{path}");
    }
    let head = served.ask("HEAD /ui/");
    assert_eq!((head.code(), head.body.as_str()), (200, ""));
}

/// Asks a listener that is not one on loopback only.
fn off_loopback(options: &str, line: &str) -> u16 {
    let served = served_at(format!("0.0.0.0:0{options}"));
    ask(SocketAddr::new(loopback(0).ip(), served.addresses[0].port()), line).code()
}

#[test]
fn off_the_loopback_there_is_a_page_only_where_the_listener_lists_it() {
    for path in ["/ui", "/ui/", "/ui/app.js", "/ui/snapshot"] {
        assert_eq!(off_loopback("", &format!("GET {path}")), 404, "{path}");
        assert_eq!(off_loopback(",allow=127.0.0.0/8", &format!("GET {path}")), 404, "{path}");
        assert_eq!(off_loopback(",paths=/metrics", &format!("GET {path}")), 404, "{path}");
    }
    assert_eq!(off_loopback("", "GET /metrics"), 200);
    for path in ["/ui/", "/ui/app.js", "/ui/snapshot"] {
        assert_eq!(off_loopback(",paths=/ui", &format!("GET {path}")), 200, "{path}");
    }
    assert_eq!(off_loopback(",paths=/ui", "GET /metrics"), 404);
}

#[test]
fn a_loopback_listener_with_paths_has_the_page_only_among_them() {
    let served = served_at("127.0.0.1:0,paths=/metrics");
    assert_eq!(served.ask("GET /ui/").code(), 404);
    assert_eq!(served.ask("GET /ui/snapshot").code(), 404);
}

#[test]
fn through_a_gateway_the_page_is_open_only_where_it_is_listed() {
    let closed = served(1);
    let listed = served_at("127.0.0.1:0,paths=/ui");
    for path in ["/ui", "/ui/", "/ui/app.js", "/ui/snapshot"] {
        let through = |served: &Served| served.ask_with(&format!("GET {path}"), BEHIND_A_GATEWAY).code();
        assert_eq!(through(&closed), 404, "{path}");
        assert_ne!(through(&listed), 404, "{path}");
    }
}

#[test]
fn a_prefix_that_the_gateway_leaves_in_place_is_listed_with_the_page() {
    let served = served_at("127.0.0.1:0,paths=/a/monitor/ui,paths=/metrics");
    for path in ["/a/monitor/ui/", "/a/monitor/ui/app.js", "/a/monitor/ui/snapshot"] {
        assert_eq!(served.ask_with(&format!("GET {path}"), BEHIND_A_GATEWAY).code(), 200, "{path}");
    }
    assert!(served.ask("GET /a/monitor/ui").has("Location: ui/"));
    for path in ["/ui/", "/a/monitor/", "/monitor/ui/", "/a/monitor/snapshot", "/a/monitor/metrics", "/a/monitor/uix/"]
    {
        assert_eq!(served.ask(&format!("GET {path}")).code(), 404, "{path}");
    }
}

#[test]
fn where_there_are_users_the_page_takes_the_token_that_the_metrics_take() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("users");
    let token = add(&file, "oncall", Role::Metrics).unwrap().reveal().to_owned();
    let served = Setup { auth_file: Some(&file), ..Setup::default() }.serve();
    let line = format!("Kong-Admin-Token: {token}\r\n");
    for path in ["/ui/", "/ui/app.js", "/ui/snapshot"] {
        let refused = served.ask(&format!("GET {path}"));
        assert_eq!(refused.code(), 401, "{path}");
        // A browser asks for user and token then.
        assert!(refused.head.contains("\r\nWww-Authenticate: Basic realm="), "{}", refused.head);
        assert_eq!(served.ask_with(&format!("GET {path}"), &line).code(), 200, "{path}");
    }
}

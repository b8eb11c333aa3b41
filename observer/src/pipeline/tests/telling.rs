//! Exchanges one by one.

use super::script::{GATEWAY, ORDERS, Script, answer};
use crate::tail::{Detail, Entry, Wanted};

const ASKED: &str = "GET /orders/1?token=secret HTTP/1.1\r\nHost: h\r\nCookie: a=b\r\n\r\n";

/// A script to which somebody listens.
fn told(detail: Detail) -> (Script, Wanted) {
    let (mut script, wanted) = (Script::new(), Wanted::default());
    script.pipeline.counting.tell(wanted.clone());
    wanted.set(Some(detail));
    (script, wanted)
}

/// One exchange with the orders' upstream.
fn exchange(script: &mut Script) {
    let client = script.accepts_from(1, GATEWAY, "10.0.0.7:20000");
    script.reads(2, client, ASKED);
    let upstream = script.connected(3, ORDERS);
    script.writes(3, upstream, ASKED);
    script.reads(8, upstream, answer(200, "abc"));
    script.writes(10, client, answer(200, "abc"));
}

#[test]
fn an_exchange_is_told_with_its_measures_and_without_its_secrets() {
    let (mut script, _) = told(Detail::Path);
    exchange(&mut script);
    let entries = script.pipeline.counting.take_entries();
    let response_bytes = answer(200, "abc").len() as u64;
    let expected = Entry {
        time_ms: 10.0,
        gateway: "nginx".into(),
        client: "10.0.0.7".parse().ok(),
        method: "GET".into(),
        path: "/orders/1".into(),
        query: None,
        minor: 1,
        status: 200,
        service: Some("orders".into()),
        route: None,
        target: Some(ORDERS.into()),
        request_bytes: ASKED.len() as u64,
        response_bytes,
        body_bytes: 3,
        request_ms: 8,
        upstream_ms: Some(5),
        kong_ms: 3,
        retries: 0,
        failed_by: None,
    };
    assert_eq!(entries, [expected]);
    let text = serde_json::to_string(&entries).unwrap();
    assert!(!text.contains("secret") && !text.contains("a=b"), "{text}");
    assert!(script.pipeline.counting.take_entries().is_empty(), "it is told once");
}

#[test]
fn a_query_is_told_to_those_who_ask_for_it() {
    let (mut script, _) = told(Detail::Query);
    exchange(&mut script);
    assert_eq!(script.pipeline.counting.take_entries()[0].query.as_deref(), Some("token=secret"));
}

#[test]
fn nothing_is_kept_while_nobody_listens() {
    let (mut script, wanted) = told(Detail::Path);
    wanted.set(None);
    exchange(&mut script);
    assert!(script.pipeline.counting.take_entries().is_empty());
    wanted.set(Some(Detail::Path));
    exchange(&mut script);
    assert_eq!(script.pipeline.counting.take_entries().len(), 1);
}

#[test]
fn one_without_a_service_is_told_too() {
    let (mut script, _) = told(Detail::Path);
    let client = script.accepts(1);
    script.reads(2, client, "GET /nowhere HTTP/1.0\r\n\r\n");
    script.writes(3, client, answer(404, ""));
    let entries = script.pipeline.counting.take_entries();
    assert_eq!((entries.len(), &*entries[0].path, entries[0].status, entries[0].minor), (1, "/nowhere", 404, 0));
    assert_eq!((&entries[0].service, &entries[0].target), (&None, &None));
    assert_eq!(script.sum("observer_unattributed_requests_total"), 1);
    assert_eq!(script.sum("kong_http_status_total"), 0);
}

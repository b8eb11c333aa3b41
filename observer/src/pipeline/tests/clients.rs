//! Clients' exchanges: who answers, who goes, what is counted.

use super::script::{MS, ORDERS, Script, USERS, WORKER, answer, get};
use crate::event::{Direction, Event, Lost, ProcessChange, TcpState};

#[test]
fn a_gateways_own_reply_counts_where_its_route_is_known() {
    let mut script = Script::new();
    let client = script.accepts(1);
    script.reads(1, client, get("/orders/secret"));
    script.writes(4, client, answer(401, ""));
    script.reads(5, client, get("/nowhere"));
    script.writes(6, client, answer(404, ""));
    assert_eq!(script.told(), ["orders: 401 x1, 40+38 bytes, 3+-=3 ms", "unattributed: 404 x1"]);
}

#[test]
fn a_client_that_closed_its_half_still_gets_its_answer() {
    let mut script = Script::new();
    let client = script.accepts(1);
    script.reads(1, client, get("/orders"));
    script.turns(2, client, TcpState::Established, TcpState::CloseWait);
    script.reads_end(2, client);
    script.writes(5, client, answer(200, ""));
    script.turns(6, client, TcpState::CloseWait, TcpState::LastAck);
    assert_eq!(script.told(), ["orders: 200 x1, 33+38 bytes, 4+-=4 ms"]);
    assert_eq!(script.gauge(), [0, 0, 0, 0]);
}

#[test]
fn a_body_that_only_the_gateway_threw_away_is_no_ingress() {
    let mut script = Script::new();
    let client = script.accepts(1);
    script.reads(1, client, "POST /orders HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\n0123456789");
    script.writes(4, client, answer(401, ""));
    assert_eq!(script.told(), ["orders: 401 x1, 54+38 bytes, 3+-=3 ms"]);
}

/// nginx 1.22 logs what it read of a body that it waited for (400 and 408), but not of one that it did not want (444).
#[test]
fn a_body_that_the_gateway_waited_for_is_ingress() {
    let upload = "POST /orders HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\n01234";
    let mut script = Script::new();
    let gone = script.accepts(1);
    script.reads(1, gone, upload);
    script.peer_closes(4, gone);
    assert_eq!(script.told(), ["orders: 400 x1, 59+0 bytes, 3+-=3 ms", "inferred: client_closed_in_body x1"]);
    let mut script = Script::new();
    let slow = script.accepts(1);
    script.reads(1, slow, upload);
    script.gateway_closes(1001, slow);
    assert_eq!(script.told(), ["orders: 408 x1, 59+0 bytes, 1000+-=1000 ms", "inferred: body_timeout x1"]);
    let mut script = Script::new();
    let unwanted = script.accepts(1);
    script.reads(1, unwanted, upload);
    script.gateway_closes(1, unwanted);
    assert_eq!(script.told(), ["orders: 444 x1, 54+0 bytes, 0+-=0 ms", "inferred: closed_unanswered x1"]);
}

#[test]
fn a_client_that_goes_while_an_upstream_works_is_a_499_of_its_service() {
    let mut script = Script::new();
    let client = script.accepts(1);
    script.reads(1, client, get("/elsewhere"));
    let upstream = script.connected(2, ORDERS);
    script.writes(2, upstream, get("/elsewhere"));
    script.turns(502, client, TcpState::Established, TcpState::CloseWait);
    script.gateway_closes(502, upstream);
    script.turns_with(502, client, TcpState::CloseWait, TcpState::LastAck, true);
    script.turns_with(502, client, TcpState::LastAck, TcpState::Close, true);
    let expected = ["orders: 499 x1, 36+0 bytes, 501+-=501 ms", "inferred: client_closed_waiting x1"];
    assert_eq!(script.told(), expected);
}

#[test]
fn a_body_that_was_passed_on_is_ingress() {
    let mut script = Script::new();
    let client = script.accepts(1);
    let post = "POST /orders HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\n0123456789";
    script.reads(1, client, post);
    let upstream = script.connected(2, ORDERS);
    script.writes(2, upstream, post);
    script.reads(8, upstream, answer(201, ""));
    script.writes(9, client, answer(201, ""));
    assert_eq!(script.told(), ["orders: 201 x1, 64+38 bytes, 2+6=8 ms"]);
}

#[test]
fn the_gauge_follows_a_connections_phases() {
    let mut script = Script::new();
    assert_eq!(script.gauge(), [0, 0, 0, 0]);
    let client = script.accepts(1);
    assert_eq!(script.gauge(), [1, 0, 0, 1], "accepted: waiting");
    script.reads(2, client, "GET /orders HT");
    assert_eq!(script.gauge(), [1, 1, 0, 0], "within the head: reading");
    script.reads(3, client, "TP/1.1\r\nHost: x\r\n\r\n");
    assert_eq!(script.gauge(), [1, 0, 1, 0], "from the head on: writing");
    let other = script.accepts(4);
    assert_eq!(script.gauge(), [2, 0, 1, 1]);
    script.writes(5, client, answer(200, ""));
    assert_eq!(script.gauge(), [2, 0, 0, 2], "answered: waiting again");
    script.peer_closes(6, client);
    assert_eq!(script.gauge(), [1, 0, 0, 1]);
    script.gateway_closes(7, other);
    assert_eq!(script.gauge(), [0, 0, 0, 0]);
    let counter = |state| script.value(&format!("kong_nginx_http_current_connections{{state=\"{state}\"}}"));
    assert_eq!(["accepted", "handled", "total"].map(counter), [Some(2), Some(2), Some(1)]);
}

#[test]
fn a_connection_that_ends_within_a_phase_leaves_it() {
    for (bytes, phase) in [("GET /orders HT".to_owned(), [1, 1, 0, 0]), (get("/orders"), [1, 0, 1, 0])] {
        let mut script = Script::new();
        let client = script.accepts(1);
        script.reads(2, client, bytes);
        script.peer_resets(3, client);
        assert_eq!(script.gauge(), phase, "the gateway still has it");
        script.closes_reset(4, client);
        assert_eq!(script.gauge(), [0, 0, 0, 0]);
        assert!(script.pipeline.tracking.connections.is_empty());
    }
}

#[test]
fn a_reset_whose_close_is_lost_ends_the_connection_after_a_while() {
    let mut script = Script::new();
    let client = script.accepts(1);
    script.reads(2, client, get("/orders"));
    script.peer_resets(5, client);
    script.handle(&Event::Tick(300_000 * MS));
    assert_eq!(script.gauge(), [1, 0, 1, 0]);
    script.handle(&Event::Tick(301_005 * MS));
    assert_eq!(script.gauge(), [0, 0, 0, 0]);
    assert_eq!(script.told(), ["orders: 499 x1, 33+0 bytes, 3+-=3 ms", "inferred: client_closed_waiting x1"]);
    assert!(script.pipeline.tracking.connections.is_empty());
    script.closes_reset(300_006, client);
    assert_eq!(script.gauge(), [0, 0, 0, 0]);
}

#[test]
fn records_lost_in_the_kernel_are_errors_by_reason() {
    let mut script = Script::new();
    script.handle(&Event::Lost(Lost { time_ns: 1, reason: "ring_full".into(), count: 3 }));
    script.handle(&Event::Lost(Lost { time_ns: 1, reason: "unheard of".into(), count: 2 }));
    assert_eq!(script.value("observer_capture_lost_total{reason=\"ring_full\"}"), Some(3));
    assert_eq!(script.value("observer_capture_lost_total{reason=\"other\"}"), Some(2));
    assert_eq!(script.value("kong_nginx_metric_errors_total"), Some(5));
}

#[test]
fn an_exchange_with_a_gap_is_unobserved_and_an_error() {
    let mut script = Script::new();
    let client = script.accepts(1);
    script.reads(1, client, get("/orders"));
    script.loses(client, Direction::Sent, 10);
    script.writes(2, client, answer(200, ""));
    script.reads(3, client, get("/orders"));
    script.writes(4, client, answer(200, ""));
    assert_eq!(script.told(), ["orders: 200 x1, 33+38 bytes, 1+-=1 ms", "unobserved: records_lost x1"]);
    assert_eq!(script.value("kong_nginx_metric_errors_total"), Some(1));
}

/// nginx subtracts times that were cut to whole milliseconds of the wall clock.
#[test]
fn milliseconds_are_cut_as_the_wall_clock_cuts_them() {
    for (offset_ns, from_ns, to_ns, expected) in [
        (0, 1_000_000, 1_999_999, 0),
        (0, 1_999_999, 2_000_000, 1),
        (1, 1_999_999, 2_000_000, 0),
        (500_000, 1_499_999, 1_500_000, 1),
        (1_700_000_000_123_456_789, 5_000_000, 7_000_000, 2),
        (999_999, 1_000_000, 1_000_001, 1),
    ] {
        let options = crate::pipeline::Options { realtime_offset_ns: offset_ns, ..Default::default() };
        let config = "services: [{name: orders, url: 'http://10.1.0.1:8080', routes: [{paths: [/orders]}]}]";
        let mut script = Script::with(config, options);
        script.starts(10, "nginx", super::script::GATEWAY);
        script.thread = 10;
        let client = script.accepts(0);
        let (request, response) = (get("/orders"), answer(200, ""));
        script.calls(from_ns, client, Direction::Received, request.len() as i32, request.as_bytes());
        script.calls(to_ns, client, Direction::Sent, response.len() as i32, response.as_bytes());
        let case = format!("{from_ns} to {to_ns} at {offset_ns}");
        assert_eq!(script.told(), [format!("orders: 200 x1, 33+38 bytes, {expected}+-={expected} ms")], "{case}");
    }
}

#[test]
fn a_request_that_the_gateway_never_took_up_is_filtered() {
    let mut script = Script::new();
    let client = script.accepts(1);
    script.reads(1, client, get("/orders") + &get("/orders"));
    script.writes(2, client, "HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
    script.gateway_closes(2, client);
    assert_eq!(script.told(), ["orders: 200 x1, 33+57 bytes, 1+-=1 ms", "filtered: never_read x1"]);
    assert_eq!(script.gauge(), [0, 0, 0, 0]);
    assert_eq!(script.value("kong_nginx_http_current_connections{state=\"total\"}"), Some(1));
}

/// Only what it does next would show that it has logged the request.
#[test]
fn an_answer_that_its_process_did_not_survive_is_uncertain() {
    const UNCERTAIN: &str = "observer_uncertain_total{reason=\"killed_behind_answer\"}";
    for (is_last, close) in [(true, ""), (false, ""), (true, "Connection: close\r\n")] {
        let mut script = Script::new();
        let (answered, other) = (script.accepts(1), script.accepts(1));
        script.reads(1, answered, get("/orders"));
        script.writes(2, answered, answer(200, "").replace("\r\n\r\n", &format!("\r\n{close}\r\n")));
        if !is_last {
            script.reads(3, other, get("/orders"));
        }
        script.process(4, WORKER, ProcessChange::Exited);
        assert_eq!(script.sum("kong_http_status_total"), 1);
        assert_eq!(script.value(UNCERTAIN), is_last.then_some(1));
    }
}

/// nginx logs a request behind all that it does for it.
#[test]
fn an_answer_is_not_counted_whose_process_ended_within_what_came_behind() {
    let mut script = Script::new();
    let (copied, early) = (script.accepts(1), script.accepts(1));
    script.reads(1, copied, get("/orders"));
    let asked = script.connected(1, ORDERS);
    let copy = script.connected(1, USERS);
    script.writes(2, asked, get("/orders"));
    script.writes(2, copy, get("/copies"));
    script.reads(5, asked, answer(200, ""));
    script.writes(6, copied, answer(200, ""));
    script.reads(7, early, "POST /orders HTTP/1.1\r\nHost: x\r\nContent-Length: 50\r\n\r\nsome");
    script.writes(8, early, answer(401, ""));
    script.process(9, WORKER, ProcessChange::Exited);
    assert_eq!(script.told(), ["unobserved: process_ended x2"]);
}

//! How connections end, and what an exchange is that they cut off.

use super::super::Phase;
use super::wire::{Wire, get, ok};
use crate::event::{Data, Direction, Origin, Role, TcpState};

const ECONNRESET: i32 = 104;

#[test]
fn an_idle_connection_ends_without_an_exchange() {
    for closes in [Wire::client_closes, Wire::gateway_closes] {
        let mut wire = Wire::client();
        wire.reads(1, get("/a"));
        wire.writes(2, ok(""));
        wire.over();
        closes(&mut wire, 9);
        assert_eq!(wire.over(), [""; 0]);
        assert_eq!(wire.phase(), Phase::Waiting);
    }
}

#[test]
fn a_reset_between_requests_is_no_exchange() {
    let mut wire = Wire::client();
    wire.reads(1, get("/a"));
    wire.writes(2, ok(""));
    wire.over();
    wire.turns(3, TcpState::Close);
    wire.fails(3, Direction::Received, ECONNRESET);
    assert!(wire.closes_reset(3));
    assert_eq!(wire.over(), [""; 0]);
}

#[test]
fn a_half_closed_client_still_gets_its_answer() {
    let mut wire = Wire::client();
    wire.reads(1, get("/a"));
    wire.turns(2, TcpState::CloseWait);
    wire.reads_end(3);
    wire.writes(7, ok(""));
    wire.turns(8, TcpState::LastAck);
    assert_eq!(wire.over(), ["GET /a 28+38 bytes 1-7 ms: 200"]);
}

#[test]
fn an_answer_cut_off_counts_with_what_was_written() {
    let mut wire = Wire::client();
    wire.reads(1, get("/a"));
    wire.writes(2, "HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\nabc");
    wire.fails(5, Direction::Sent, ECONNRESET);
    wire.turns(5, TcpState::Close);
    assert_eq!(wire.over(), [""; 0], "the gateway still has it");
    wire.closes_reset(5);
    assert_eq!(wire.over(), ["GET /a 28+44 bytes 1-5 ms: 200"]);
}

/// nginx 1.22 logs `$request_time` 0.501 for a 499 after half a second, 0.995 for a 408 after a second.
#[test]
fn an_unanswered_exchange_lasts_until_the_connection_ends() {
    let whole = get("/a");
    for (request, over) in [
        (&whole[..], "GET /a 28+0 bytes 1-501 ms: 499 client_closed_waiting"),
        ("POST /a HTTP/1.1\r\nContent-Length: 9\r\n\r\nx", "POST /a 40+0 bytes 1-501 ms: 400 client_closed_in_body"),
        ("GET", "- - 3+0 bytes 1-501 ms: 400 client_closed_in_head"),
    ] {
        let mut wire = Wire::client();
        wire.reads(1, request);
        wire.client_closes(501);
        assert_eq!(wire.over(), [over]);
    }
    for (request, over) in [
        ("POST /a HTTP/1.1\r\nContent-Length: 9\r\n\r\nx", "POST /a 40+0 bytes 1-5001 ms: 408 body_timeout"),
        ("GET", "- - 3+0 bytes 1-5001 ms: 408 head_timeout"),
    ] {
        let mut wire = Wire::client();
        wire.reads(1, request);
        wire.gateway_closes(5001);
        assert_eq!(wire.over(), [over]);
    }
}

const UPLOAD: &str = "POST /a HTTP/1.1\r\nContent-Length: 9\r\n\r\n";

/// nginx 1.22 logs 400 with 25 bytes sent.
#[test]
fn an_interim_response_is_no_answer() {
    let mut wire = Wire::client();
    wire.reads(1, UPLOAD);
    wire.writes(1, "HTTP/1.1 100 Continue\r\n\r\n");
    wire.reads(2, "x");
    wire.client_closes(3);
    assert_eq!(wire.over(), ["POST /a 40+25 bytes 1-3 ms: 400 client_closed_in_body"]);
}

#[test]
fn a_part_of_a_head_behind_an_interim_response_tells_no_status() {
    let mut wire = Wire::client();
    wire.reads(1, UPLOAD);
    wire.writes(1, "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 20");
    wire.gateway_closes(3);
    assert_eq!(wire.over(), ["POST /a 39+36 bytes 1-3 ms: unobserved boundary_not_sampled"]);
}

/// nginx 1.22: 444 at once, 408 after `client_body_timeout` without a byte.
#[test]
fn a_gateway_that_closes_at_once_did_not_wait_for_the_body() {
    for (closed_ms, over) in [
        (2, "POST /a 39+0 bytes 1-2 ms: 444 closed_unanswered"),
        (1001, "POST /a 39+0 bytes 1-1001 ms: 408 body_timeout"),
    ] {
        let mut wire = Wire::client();
        wire.reads(1, UPLOAD);
        wire.gateway_closes(closed_ms);
        assert_eq!(wire.over(), [over]);
    }
}

/// Closing with bytes left unread resets the connection (`tcp_close`).
#[test]
fn a_reset_is_the_gateways_if_the_socket_was_closed() {
    let mut by_peer = Wire::client();
    by_peer.reads(1, get("/a"));
    assert!(!by_peer.turns_with(2, TcpState::Close, false), "the gateway still has it");
    assert!(by_peer.closes_reset(2));
    assert_eq!(by_peer.over(), ["GET /a 28+0 bytes 1-2 ms: 499 client_closed_waiting"]);
    let mut by_gateway = Wire::client();
    by_gateway.reads(1, get("/a"));
    by_gateway.turns_with(2, TcpState::Close, true);
    assert_eq!(by_gateway.over(), ["GET /a 28+0 bytes 1-2 ms: 444 closed_unanswered"]);
}

/// What had arrived before the reset can be read all the same.
#[test]
fn a_request_is_read_behind_a_reset_and_ends_when_the_gateway_closes() {
    let mut wire = Wire::client();
    wire.turns(1, TcpState::Close);
    wire.reads(2, get("/a"));
    wire.fails(3, Direction::Sent, ECONNRESET);
    assert_eq!(wire.over(), [""; 0]);
    wire.closes_reset(4);
    assert_eq!(wire.over(), ["GET /a 28+0 bytes 2-4 ms: 499 client_closed_waiting"]);
}

#[test]
fn a_connection_found_half_closed_was_closed_by_its_peer() {
    let mut wire = Wire::new(Role::Client, Origin::Scan);
    wire.reads(1, get("/a"));
    wire.turns(2, TcpState::LastAck);
    assert_eq!(wire.over(), ["GET /a 28+0 bytes 1-2 ms: 499 client_closed_waiting"]);
}

const CLOSING: &str = "HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n";

/// nginx 1.22 logs one line, with `$request_time` 0.201: it lingers for what the client sent too much.
#[test]
fn what_is_behind_an_answer_that_closes_is_no_request() {
    let mut wire = Wire::client();
    wire.reads(1, get("/a") + &get("/b") + &get("/c"));
    wire.writes(2, CLOSING);
    assert_eq!(wire.over(), ["GET /b 28+0 bytes 1-1 ms: not taken", "GET /c 28+0 bytes 1-1 ms: not taken"]);
    assert!(!wire.turns(2, TcpState::FinWait));
    wire.reads(3, get("/d"));
    assert_eq!(wire.over(), [""; 0]);
    wire.turns_with(202, TcpState::Close, true);
    assert_eq!(wire.over(), ["GET /a 28+57 bytes 1-202 ms: 200"]);
}

#[test]
fn an_answer_behind_the_one_that_closes_is_out_of_step() {
    let mut wire = Wire::client();
    wire.reads(1, get("/a") + &get("/b"));
    wire.writes(2, CLOSING);
    wire.writes(5, ok(""));
    wire.gateway_closes(9);
    let expected = [
        "GET /b 28+0 bytes 1-1 ms: not taken",
        "GET /a 28+57 bytes 1-2 ms: unobserved out_of_step",
        "stray: out_of_step",
    ];
    assert_eq!(wire.over(), expected);
}

/// nginx 1.22 logs one line each.
#[test]
fn what_is_behind_an_unanswered_request_is_no_request() {
    for (closes, first) in [
        (Wire::client_closes as fn(&mut Wire, u64), "499 client_closed_waiting"),
        (Wire::gateway_closes, "444 closed_unanswered"),
    ] {
        let mut wire = Wire::client();
        wire.reads(1, get("/a") + &get("/b"));
        closes(&mut wire, 9);
        let expected = [&format!("GET /a 28+0 bytes 1-9 ms: {first}"), "GET /b 28+0 bytes 1-1 ms: not taken"];
        assert_eq!(wire.over(), expected);
    }
}

#[test]
fn a_request_behind_an_answer_that_keeps_the_connection_is_one() {
    let mut wire = Wire::client();
    wire.reads(1, get("/a") + &get("/b"));
    wire.writes(2, ok(""));
    wire.gateway_closes(2);
    assert_eq!(wire.over(), ["GET /a 28+38 bytes 1-2 ms: 200", "GET /b 28+0 bytes 2-2 ms: 444 closed_unanswered"]);
}

#[test]
fn a_process_that_ends_leaves_its_exchanges_unobserved() {
    let mut wire = Wire::client();
    wire.reads(1, get("/a"));
    wire.connection.process_ended(&mut wire.moments);
    assert_eq!(wire.over(), ["GET /a 28+0 bytes 1-1 ms: unobserved process_ended"]);
    wire.turns(2, TcpState::Close);
    assert_eq!(wire.over(), [""; 0]);
}

#[test]
fn an_answer_to_a_client_that_is_gone_counts_with_the_status_that_the_failed_call_shows() {
    for (sample, expected) in [
        ("HTTP/1.1 200", "GET /a 28+0 bytes 1-4 ms: 200"),
        ("HTTP/1.1 101", "GET /a 28+0 bytes 1-4 ms: 101"),
        // Another answer would have followed, or it is none.
        ("HTTP/1.1 100", "GET /a 28+0 bytes 1-4 ms: 499 client_closed_waiting"),
        ("<html>\r\n<hea", "GET /a 28+0 bytes 1-4 ms: 499 client_closed_waiting"),
        ("", "GET /a 28+0 bytes 1-4 ms: 499 client_closed_waiting"),
    ] {
        let mut wire = Wire::client();
        // The second one is never looked at.
        wire.reads(1, get("/a") + &get("/b"));
        wire.turns(2, TcpState::Close);
        wire.call(Data { sample: sample.as_bytes(), ..wire.data(3, Direction::Sent, -ECONNRESET) });
        assert!(wire.closes_reset(4));
        assert_eq!(wire.over(), [expected, "GET /b 28+0 bytes 1-1 ms: not taken"], "{sample}");
    }
}

#[test]
fn a_call_that_fails_within_an_answer_changes_nothing_in_its_status() {
    let mut wire = Wire::client();
    wire.reads(1, get("/a"));
    wire.writes(2, "HTTP/1.1 404 Not Found\r\nContent-Length: 9\r\n\r\nabc");
    wire.turns(3, TcpState::Close);
    wire.call(Data { sample: b"HTTP/1.1 200", ..wire.data(3, Direction::Sent, -ECONNRESET) });
    wire.closes_reset(4);
    assert_eq!(wire.over(), ["GET /a 28+48 bytes 1-4 ms: 404"]);
}

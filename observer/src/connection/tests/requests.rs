//! One request after another, and many at once.

use super::super::{Moment, Phase};
use super::wire::{Wire, get, ok};
use crate::event::{Origin, Role};
use crate::exchange::ExchangeId;

#[test]
fn kept_alive_exchanges_are_timed_and_measured_each_for_itself() {
    let mut wire = Wire::client();
    for (at, target) in [(5, "/a"), (100, "/bc")] {
        wire.reads(at, get(target));
        assert_eq!(wire.phase(), Phase::Writing);
        wire.writes(at + 7, ok("abc"));
        assert_eq!(wire.phase(), Phase::Waiting);
    }
    assert_eq!(wire.over(), ["GET /a 28+41 bytes 5-12 ms: 200", "GET /bc 29+41 bytes 100-107 ms: 200"]);
}

#[test]
fn pipelined_requests_begin_when_the_one_before_is_done() {
    for requests in 2..=50 {
        let mut wire = Wire::client();
        let all: String = (0..requests).map(|number| get(&format!("/{number:02}"))).collect();
        wire.reads(10, all);
        let mut expected = Vec::new();
        for number in 0..requests {
            let (began, ended) = (10 + number * 3, 10 + (number + 1) * 3);
            wire.writes(ended, ok("abc"));
            expected.push(format!("GET /{number:02} 29+41 bytes {began}-{ended} ms: 200"));
        }
        assert_eq!(wire.over(), expected, "{requests} requests");
        assert_eq!(wire.phase(), Phase::Waiting);
    }
}

#[test]
fn pipelined_requests_may_be_answered_in_one_write() {
    let mut wire = Wire::client();
    wire.reads(1, get("/a") + &get("/b"));
    wire.writes(4, ok("abc") + &ok(""));
    assert_eq!(wire.over(), ["GET /a 28+41 bytes 1-4 ms: 200", "GET /b 28+38 bytes 4-4 ms: 200"]);
}

#[test]
fn a_request_read_late_begins_with_its_own_first_byte() {
    let mut wire = Wire::client();
    wire.reads(1, get("/a") + "GET /b HT");
    wire.writes(2, ok(""));
    wire.reads(30, "TP/1.1\r\nHost: x\r\n\r\n");
    wire.writes(35, ok(""));
    assert_eq!(wire.over(), ["GET /a 28+38 bytes 1-2 ms: 200", "GET /b 28+38 bytes 2-35 ms: 200"]);
}

/// Requests and responses with every kind of body. One byte behind the second request is a blank line.
fn mixed() -> (String, String) {
    let requests = [
        "GET /a HTTP/1.1\r\nHost: x\r\n\r\n",
        "POST /b HTTP/1.1\r\nContent-Length: 11\r\n\r\nHTTP/1.1 2\r\n",
        "PUT /c HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n4;x=\"y\"\r\nGET \r\n1A\r\nabcdefghijklmnopqrstuvwxyz\r\n0\r\nT: u\r\n\r\n",
        "HEAD /d HTTP/1.1\r\n\r\n",
        "DELETE /e HTTP/1.1\r\nExpect: 100-continue\r\n\r\n",
    ];
    let responses = [
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n",
        "HTTP/1.1 304 Not Modified\r\nContent-Length: 500\r\n\r\n",
        "HTTP/1.1 201 Created\r\nContent-Length: 4\r\n\r\n\r\n\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n",
        "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\nHTTP/1.1 204 No Content\r\n\r\n",
    ];
    (requests.concat(), responses.concat())
}

/// The lines without their times.
fn without_times(lines: Vec<String>) -> Vec<String> {
    let bytes = |line: &str| line.split(" bytes ").next().map(str::to_owned);
    let verdict = |line: &str| line.rsplit(": ").next().map(str::to_owned);
    lines.iter().map(|line| format!("{} {}", bytes(line).unwrap(), verdict(line).unwrap())).collect()
}

fn expected() -> [&'static str; 5] {
    ["GET /a 28+60 200", "POST /b 51+50 304", "PUT /c 105+47 201", "HEAD /d 20+41 200", "DELETE /e 44+92 204"]
}

#[test]
fn the_same_exchanges_come_out_of_streams_split_at_every_byte() {
    let (requests, responses) = mixed();
    for split in 0..=requests.len() {
        let mut wire = Wire::client();
        wire.reads(0, &requests[..split]);
        wire.reads(1, &requests[split..]);
        wire.writes(2, &responses);
        assert_eq!(without_times(wire.over()), expected(), "requests split at {split}");
    }
    for split in 0..=responses.len() {
        let mut wire = Wire::client();
        wire.reads(0, &requests);
        wire.writes(1, &responses[..split]);
        wire.writes(2, &responses[split..]);
        assert_eq!(without_times(wire.over()), expected(), "responses split at {split}");
    }
}

#[test]
fn the_same_exchanges_come_out_of_streams_byte_by_byte() {
    let (requests, responses) = mixed();
    let mut wire = Wire::client();
    requests.as_bytes().chunks(1).for_each(|byte| wire.reads(0, byte));
    responses.as_bytes().chunks(1).for_each(|byte| wire.writes(1, byte));
    assert_eq!(without_times(wire.over()), expected());
}

#[test]
fn a_gateways_own_requests_are_the_same_the_other_way_round() {
    let (requests, responses) = mixed();
    let mut wire = Wire::new(Role::Upstream, Origin::Beginning);
    wire.writes(1, &requests);
    wire.reads(2, &responses);
    assert_eq!(without_times(wire.over()), expected());
}

#[test]
fn blank_lines_before_a_request_are_no_bytes_of_it() {
    let mut wire = Wire::client();
    wire.reads(1, format!("\r\n{}\r\n\n{}", get("/a"), get("/b")));
    wire.writes(2, ok("") + &ok(""));
    assert_eq!(wire.over(), ["GET /a 28+38 bytes 1-2 ms: 200", "GET /b 28+38 bytes 2-2 ms: 200"]);
}

/// nginx 1.22 logs `$request_time` 0.500 for a request half a second behind its blank line.
#[test]
fn a_blank_line_starts_the_clock_of_the_request_behind_it() {
    let mut wire = Wire::client();
    wire.reads(1, get("/a") + "\r\n");
    wire.writes(2, ok(""));
    assert_eq!(wire.phase(), Phase::Reading);
    wire.reads(500, "\r\n");
    wire.reads(502, get("/b"));
    wire.writes(503, ok(""));
    assert_eq!(wire.over(), ["GET /a 28+38 bytes 1-2 ms: 200", "GET /b 28+38 bytes 2-503 ms: 200"]);
}

/// nginx 1.22 logs 400 with `$request_time` 0.304.
#[test]
fn a_blank_line_without_a_request_is_a_head_cut_off() {
    let mut wire = Wire::client();
    wire.reads(1, "\r\n");
    wire.client_closes(305);
    assert_eq!(wire.over(), ["- - 0+0 bytes 1-305 ms: 400 client_closed_in_head"]);
}

#[test]
fn moments_come_in_the_order_in_which_they_happened() {
    let mut wire = Wire::client();
    wire.reads(1, "POST /a HTTP/1.1\r\nContent-Length: 2\r\n\r\nxx");
    wire.writes(2, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n");
    wire.writes(3, "yy");
    let [Moment::Begun(0), Moment::RequestHead(0), Moment::RequestEnd(0), Moment::ResponseHead(0), last] =
        &wire.moments.told[..]
    else {
        panic!("other moments: {:?}", wire.moments)
    };
    assert!(matches!(last, Moment::Ended(exchange, _) if exchange.id == ExchangeId { socket: 1, number: 0 }));
}

#[test]
fn a_malformed_head_ends_with_its_answer() {
    let mut wire = Wire::client();
    wire.reads(1, get("/a") + "G\0T / HTTP/1.1\r\n\r\nleft over");
    wire.writes(2, ok(""));
    wire.writes(3, "HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
    wire.gateway_closes(4);
    let over = wire.over();
    assert_eq!((over.len(), &*over[0]), (2, "GET /a 28+38 bytes 1-2 ms: 200"));
    assert!(over[1].starts_with("- - ") && over[1].ends_with(": 400"), "{over:?}");
}

#[test]
fn a_head_that_is_answered_before_it_is_complete_counts_with_its_answer() {
    let mut wire = Wire::client();
    wire.reads(1, "GET /too-long");
    assert_eq!(wire.phase(), Phase::Reading);
    wire.writes(5, "HTTP/1.1 414 URI Too Long\r\nContent-Length: 2\r\nConnection: close\r\n\r\nno");
    wire.gateway_closes(6);
    let over = wire.over();
    assert!(over[0].starts_with("- - 13+") && over[0].ends_with(": 414"), "{over:?}");
}

#[test]
fn what_comes_behind_a_malformed_head_before_its_answer_is_no_request() {
    let mut wire = Wire::client();
    wire.reads(1, "G\0T / HTTP/1.1\r\n\r\n");
    wire.reads(2, get("/a"));
    wire.writes(3, "HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n");
    let over = wire.over();
    assert!(over.len() == 1 && over[0].starts_with("- - ") && over[0].ends_with(": 400"), "{over:?}");
}

use std::sync::Arc;

use super::*;
use crate::exchange::{Attempt, BodyReads, ExchangeId};
use crate::http::head::Side;

fn answered(request: &str, response: &str) -> Exchange {
    let mut exchange = Exchange::new(ExchangeId { socket: 1, number: 0 }, 0);
    exchange.request.head = Some(Arc::new(Head::parse(Side::Request, request.as_bytes()).unwrap()));
    exchange.request.head_bytes = request.len() as u64;
    exchange.request.bytes = request.len() as u64;
    exchange.response.head = Some(Arc::new(Head::parse(Side::Response, response.as_bytes()).unwrap()));
    exchange
}

fn refuses(status: u16, request: &str) -> bool {
    is_refused(&answered(request, &format!("HTTP/1.1 {status} X\r\nConnection: close\r\n\r\n")))
}

#[test]
fn a_head_that_nginx_does_not_take_has_no_route() {
    for head in [
        "get / HTTP/1.1\r\nHost: a\r\n\r\n",
        "GET / HTTP/1.1\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a\r\nX : b\r\n\r\n",
        "GET /%zz HTTP/1.1\r\nHost: a\r\n\r\n",
        "GET /a/../../b HTTP/1.1\r\nHost: a\r\n\r\n",
        "GET http://u:p@a/b HTTP/1.1\r\nHost: a\r\n\r\n",
        "GET http:///b HTTP/1.1\r\nHost: a\r\n\r\n",
        "GET http://a:b/ HTTP/1.1\r\nHost: a\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a\r\n: b\r\n\r\n",
        "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\nContent-Length: 0\r\n\r\n",
        "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\nTransfer-Encoding: chunked\r\n\r\n",
    ] {
        assert!(refuses(400, head), "{head:?}");
    }
    assert!(refuses(405, "TRACE / HTTP/1.1\r\nHost: a\r\n\r\n"));
    assert!(refuses(501, "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: zip\r\n\r\n"));
    assert!(refuses(414, "GET / HTTP/1.1\r\nHost: a\r\n\r\n"));
}

#[test]
fn a_route_may_answer_a_good_head_with_the_same_status() {
    for head in [
        "GET http://[::1]:80/a HTTP/1.1\r\nHost: a\r\n\r\n",
        "GET HTTP://A.b-c:80?d HTTP/1.1\r\nHost: a\r\n\r\n",
        "GET /a/../b%20c?d=%zz HTTP/1.1\r\nHost: a:80\r\n\r\n",
        "GET / HTTP/1.0\r\n\r\n",
        "GET http://a/b HTTP/1.1\r\nHost: a\r\nX-Odd:b\r\n\r\n",
        "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n",
    ] {
        assert!(!refuses(400, head), "{head:?}");
    }
    assert!(!refuses(405, "DELETE / HTTP/1.1\r\nHost: a\r\n\r\n"));
}

#[test]
fn a_head_is_too_large_when_its_lines_do_not_fit_nginx_usual_buffers() {
    let head = |lines: usize, length: usize| {
        let lines = format!("X: {}\r\n", "l".repeat(length)).repeat(lines);
        format!("GET / HTTP/1.1\r\nHost: a\r\n{lines}\r\n")
    };
    for (lines, length) in [(1, 8_100), (4, 5_000), (4, 8_100), (80, 360)] {
        assert!(!refuses(400, &head(lines, length)), "{lines} of {length}");
    }
    for (lines, length) in [(1, 8_200), (5, 5_000), (9, 4_500), (1_001, 1)] {
        assert!(refuses(400, &head(lines, length)), "{lines} of {length}");
    }
}

/// `$request_length` without the head of 56 bytes, of a request with a body of 5,000 that the gateway answered itself.
fn answered_with_body(status: u16, body_reads: BodyReads) -> (u64, Known) {
    let head = "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n";
    let mut exchange = answered(head, &format!("HTTP/1.1 {status} X\r\n\r\n"));
    exchange.request.bytes += 5_000;
    exchange.body_reads = body_reads;
    let (bytes, known) = request_bytes(&exchange, None);
    (bytes - head.len() as u64, known)
}

#[test]
fn a_body_that_the_gateway_answers_itself_is_taken_for_thrown_away_and_told() {
    let mut exchange = answered("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\n", "HTTP/1.1 200 OK\r\n\r\n");
    let head_bytes = exchange.request.head_bytes;
    assert_eq!(request_bytes(&exchange, None), (head_bytes, Known::Told));
    exchange.request.bytes += 5;
    assert_eq!(request_bytes(&exchange, None), (head_bytes, Known::Uncertain(Uncertain::DiscardedBody)));
    assert_eq!(request_bytes(&exchange, Some(Rule::BodyTimeout)), (head_bytes + 5, Known::Told));
}

#[test]
fn what_is_read_behind_the_gateways_own_answer_for_a_failed_upstream_is_thrown_away() {
    let head = "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 9000\r\n\r\n";
    let mut exchange = answered(head, "HTTP/1.1 502 Bad Gateway\r\n\r\n");
    exchange.request.bytes += 9_000;
    exchange.body_reads.bytes_at_answer = exchange.request.head_bytes + 4_000;
    exchange.attempts.push(attempt("/", 1, 2, 0));
    assert_eq!(request_bytes(&exchange, None), (exchange.request.head_bytes + 4_000, Known::Told));
    exchange.attempts[0].answer.status = 502;
    assert_eq!(request_bytes(&exchange, None), (exchange.request.head_bytes + 9_000, Known::Told));
}

#[test]
fn what_is_read_behind_the_answer_of_an_upstream_that_did_not_wait_is_thrown_away() {
    let mut exchange = answered("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 9000\r\n\r\n", "HTTP/1.1 413 X\r\n\r\n");
    exchange.request.bytes += 9_000;
    exchange.attempts.push(attempt("/", 1, 2, 413));
    exchange.body_reads.bytes_at_last_write = exchange.request.head_bytes + 10;
    assert_eq!(request_bytes(&exchange, None).0, exchange.request.bytes, "it may still be read");
    exchange.response.is_complete = true;
    assert!(lingers_behind(&exchange));
    assert_eq!(request_bytes(&exchange, None), (exchange.request.head_bytes + 10, Known::Told));
}

#[test]
fn the_calls_that_read_a_body_may_tell_who_wanted_it() {
    let thrown_away = (0, Known::Inferred(BodyRule::ThrownAway));
    let as_discard = BodyReads { has_own_calls: true, is_as_discard: true, ..BodyReads::default() };
    assert_eq!(answered_with_body(200, as_discard), thrown_away);
    // One call like those that throw away may come by chance, one unlike them cannot.
    let by_handler = BodyReads { is_beyond_discard: true, bytes_at_answer: 3_056, ..as_discard };
    assert_eq!(answered_with_body(200, by_handler), (3_000, Known::Inferred(BodyRule::ReadByHandler)));
}

#[test]
fn a_body_answered_before_its_end_was_not_waited_for_unless_its_chunks_were_refused() {
    let thrown_away = (0, Known::Inferred(BodyRule::ThrownAway));
    let with_the_head = BodyReads { answered_within: true, bytes_at_answer: 1_000, ..BodyReads::default() };
    let later = BodyReads { has_own_calls: true, ..with_the_head };
    assert_eq!(answered_with_body(413, with_the_head), thrown_away);
    assert_eq!(answered_with_body(200, later), thrown_away);
    assert_eq!(answered_with_body(400, later), (0, Known::Uncertain(Uncertain::DiscardedBody)));
    assert_eq!(answered_with_body(413, later), thrown_away);
    let lingering = BodyReads { lingers_within: true, ..later };
    assert_eq!(answered_with_body(413, lingering), (944, Known::Inferred(BodyRule::ReadByHandler)));
}

#[test]
fn an_error_page_tells_its_status() {
    assert_eq!(page_status(b"<html>\r\n<head><title>404 Not Found</title></head>"), Some(404));
    assert_eq!(page_status(b"<html>\r\n<head><title>Welcome</title></head>"), None);
    assert_eq!(page_status(b"hello"), None);
}

/// An attempt from `began_ns` to `ended_ns` that got `status` with a body of 10 bytes, or nothing at all (0).
fn attempt(path: &str, began_ns: u64, ended_ns: u64, status: u16) -> Attempt {
    let header_ns = (status > 0).then_some(ended_ns);
    let id = ExchangeId { socket: 2, number: began_ns };
    Attempt {
        ended_ns: Some(ended_ns),
        asked: Some(Arc::new(Head::parse(Side::Request, format!("GET {path} HTTP/1.1\r\n\r\n").as_bytes()).unwrap())),
        answer: crate::exchange::Answer { header_ns, status, content_length: Some(10), ..Default::default() },
        ..Attempt::new(id, crate::event::Endpoint::Ip("10.0.0.9:80".parse().unwrap()), began_ns)
    }
}

/// The beginnings of those attempts that are tries, of a request for `/a` that was answered with `status`.
fn tries(status: u16, attempts: Vec<Attempt>) -> Vec<u64> {
    let response = format!("HTTP/1.1 {status} X\r\nContent-Length: 153\r\n\r\n");
    let mut exchange = answered("GET /a HTTP/1.1\r\nHost: a\r\n\r\n", &response);
    exchange.response.head_ns = Some(100);
    exchange.attempts = attempts;
    exchange.tries().map(|attempt| attempt.began_ns).collect()
}

#[test]
fn a_retry_is_a_try_whatever_became_of_the_one_before() {
    assert_eq!(
        tries(200, vec![attempt("/a", 1, 5, 0), attempt("/a", 6, 9, 503), attempt("/a", 10, 20, 200)]),
        [1, 6, 10]
    );
}

#[test]
fn a_copy_that_goes_out_beside_the_try_is_none() {
    assert_eq!(tries(200, vec![attempt("/a", 1, 50, 200), attempt("/a", 2, 20, 200)]), [1]);
}

#[test]
fn leave_asked_for_is_no_try_granted_or_denied() {
    assert_eq!(tries(200, vec![attempt("/leave", 1, 5, 204), attempt("/a", 6, 9, 200)]), [6]);
    assert!(tries(200, vec![attempt("/leave", 1, 5, 204)]).is_empty(), "a file behind it");
    assert!(tries(403, vec![attempt("/leave", 1, 5, 403)]).is_empty());
    assert_eq!(tries(403, vec![attempt("/a", 1, 5, 403)]), [1], "the upstream's own refusal");
}

#[test]
fn what_begins_behind_the_answer_is_no_try() {
    assert_eq!(tries(502, vec![attempt("/a", 1, 5, 0), attempt("/a", 101, 120, 200)]), [1]);
}

#[test]
fn a_redirect_from_the_upstream_was_a_try() {
    let mut first = attempt("/a", 1, 5, 200);
    first.answer.is_redirect = true;
    assert_eq!(tries(200, vec![first, attempt("/b", 6, 9, 200)]), [1, 6]);
}

#[test]
fn what_does_not_begin_with_a_status_line_is_told_once_its_line_is_whole() {
    for line in [
        "HTTP/1.1 99 x\r\n",
        "HTTP/1.1 1000 x\r\n",
        "HTTP/1.1 2O0 OK\r\n",
        "HTTP/1.1 200OK\r\n",
        "ICY 200 OK\r\n",
        "\r\n",
    ] {
        assert!(!may_begin_a_status_line(line.as_bytes()), "{line:?}");
    }
    for line in
        ["HTTP/1.1 200\r\n", "HTTP/1.1 200 \n", "HTTP/1.9  403.1 x\r\n", "HTTP/2.0 200 OK\r\n", "HTTP/1.1 2O", "HT", ""]
    {
        assert!(may_begin_a_status_line(line.as_bytes()), "{line:?}");
    }
    assert!(!may_begin_a_status_line(b"plain text"));
}

#[test]
fn an_upstreams_head_with_a_bad_line_is_no_answer() {
    let answer = |line: &str| {
        let exchange = answered("GET / HTTP/1.1\r\nHost: a\r\n\r\n", &format!("HTTP/1.1 200 OK\r\n{line}\r\n\r\n"));
        exchange.answer().status
    };
    assert_eq!((answer("X: a"), answer("X : a"), answer("X: a\r\n b")), (200, 0, 0));
}

#[test]
fn a_body_that_was_read_for_an_upstream_counts_though_none_was_asked() {
    let mut exchange = answered("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 500\r\n\r\n", "HTTP/1.1 200 OK\r\n\r\n");
    exchange.response.head = None;
    exchange.request.bytes += 500;
    exchange.request.is_complete = true;
    assert_eq!(request_bytes(&exchange, Some(Rule::ClosedWaiting)), (exchange.request.bytes, Known::Told));
    assert_eq!(request_bytes(&exchange, Some(Rule::ClosedUnanswered)), (exchange.request.head_bytes, Known::Told));
}

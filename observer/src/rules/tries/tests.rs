use super::*;
use crate::event::Endpoint;
use crate::exchange::ExchangeId;
use crate::http::head::{Head, Side};

fn head(side: Side, text: &str) -> Head {
    Head::parse(side, text.as_bytes()).unwrap()
}

/// Whether an upstream's answer, asked for at `path`, was none to a request for `/shop/a?b=c`.
fn aside(path: &str, answer: &str, response: &str) -> Option<Aside> {
    let mut upstream = Exchange::new(ExchangeId { socket: 2, number: 0 }, 0);
    upstream.response.head = Some(head(Side::Response, &format!("HTTP/1.1 {answer}\r\n\r\n")).into());
    let mut exchange = Exchange::new(ExchangeId { socket: 1, number: 0 }, 0);
    exchange.request.head = Some(head(Side::Request, "GET /shop/a?b=c HTTP/1.1\r\nHost: x\r\n\r\n").into());
    exchange.response.head = Some(head(Side::Response, &format!("HTTP/1.1 {response}\r\n\r\n")).into());
    let mut attempt = Attempt::new(upstream.id, Endpoint::Unix([].into()), 0);
    attempt.asked = Some(head(Side::Request, &format!("GET {path} HTTP/1.1\r\nHost: up\r\n\r\n")).into());
    attempt.answer = upstream.answer();
    super::aside(&exchange, &attempt)
}

/// What upstreams answer here.
const ANSWER: &str = "200 OK\r\nServer: up\r\nContent-Type: text/html\r\nContent-Length: 5";

#[test]
fn an_answer_that_was_passed_on_is_none_that_was_asked_for_aside() {
    let tagged = "200 OK\r\nETag: \"a\"\r\nLast-Modified: x\r\nCache-Control: private\r\nContent-Type: text/html\r\nContent-Length: 5";
    for (what, path, answer, response) in [
        ("as it is", "/shop/a", ANSWER, "200 OK\r\nServer: nginx\r\nContent-Type: text/html\r\nContent-Length: 5"),
        ("rewritten", "/elsewhere", ANSWER, "200 OK\r\nContent-Type: text/html; charset=utf-8\r\nContent-Length: 5"),
        ("without a type", "/elsewhere", "200 OK\r\nContent-Length: 5", "200 OK\r\nContent-Length: 5"),
        (
            "in chunks",
            "/elsewhere",
            "200 OK\r\nContent-Type: text/html\r\nTransfer-Encoding: chunked",
            "200 OK\r\nContent-Type: text/html\r\nTransfer-Encoding: chunked",
        ),
        ("changed", "/v2/a", ANSWER, "200 OK\r\nContent-Type: text/html\r\nTransfer-Encoding: chunked"),
        (
            "rewritten and changed",
            "/elsewhere",
            tagged,
            "200 OK\r\nETag: W/\"a\"\r\nCache-Control: private\r\nContent-Type: text/html\r\nTransfer-Encoding: chunked",
        ),
        ("with another status", "/a", ANSWER, "207 OK\r\nContent-Type: text/html\r\nTransfer-Encoding: chunked"),
        ("made smaller by a filter", "/a", ANSWER, "200 OK\r\nContent-Type: text/html\r\nContent-Length: 3"),
        ("made another document of", "/a", ANSWER, "200 OK\r\nContent-Type: text/xml\r\nTransfer-Encoding: chunked"),
        ("a range", "/elsewhere", tagged, "206 OK\r\nETag: \"a\"\r\nLast-Modified: x\r\nContent-Length: 1"),
        ("not modified", "/elsewhere", tagged, "304 OK\r\nETag: \"a\"\r\nLast-Modified: x"),
        (
            "a slice",
            "/elsewhere",
            "206 OK\r\nContent-Range: bytes 0-4/9\r\nContent-Length: 5",
            "200 OK\r\nContent-Length: 9",
        ),
        ("not satisfiable", "/a", ANSWER, "416 X\r\nContent-Type: text/html\r\nContent-Length: 197"),
        ("not taken", "/a", ANSWER, "500 X\r\nContent-Type: text/html\r\nContent-Length: 170"),
        ("sent elsewhere", "/b", "200 OK\r\nX-Accel-Redirect: /c\r\nContent-Length: 5", "200 OK\r\nContent-Length: 9"),
        ("refused, another answered", "/b", "404 X\r\nContent-Length: 5", "200 OK\r\nContent-Length: 9"),
    ] {
        assert_eq!(aside(path, answer, response), None, "{what}");
    }
}

#[test]
fn an_answer_that_nothing_of_came_back_was_asked_for_aside() {
    let json = "200 OK\r\nContent-Type: application/json\r\nContent-Length: 16";
    for (what, path, answer, response) in [
        ("another length", "/sub", ANSWER, "200 OK\r\nContent-Type: text/html\r\nContent-Length: 3000"),
        ("another length and type", "/a", json, "200 OK\r\nContent-Type: text/html\r\nContent-Length: 9"),
        ("another type", "/sub", json, "200 OK\r\nContent-Type: text/html\r\nTransfer-Encoding: chunked"),
        ("a type where there was none", "/sub", "200 OK\r\nContent-Length: 5", "200 OK\r\nContent-Type: text/html"),
        (
            "a length where there was none",
            "/sub",
            "200 OK\r\nTransfer-Encoding: chunked\r\nContent-Type: text/html",
            "200 OK\r\nContent-Type: text/html\r\nContent-Length: 9",
        ),
        (
            "refused in spite of it",
            "/introspect",
            json,
            "401 X\r\nContent-Type: application/json\r\nContent-Length: 26",
        ),
        ("a file not modified", "/sub", ANSWER, "304 OK\r\nETag: \"b\"\r\nLast-Modified: y"),
        ("an error of the gateway's", "/sub", ANSWER, "503 X\r\nContent-Type: text/html\r\nContent-Length: 190"),
        (
            "other fields",
            "/sub",
            "200 OK\r\nX-User: a\r\nCache-Control: private\r\nContent-Type: text/html\r\nContent-Length: 5",
            "200 OK\r\nContent-Type: text/html\r\nTransfer-Encoding: chunked",
        ),
    ] {
        assert_eq!(aside(path, answer, response), Some(Aside::Told), "{what}");
    }
}

#[test]
fn an_answer_of_the_same_kind_that_was_asked_for_elsewhere_is_taken_for_one_asked_for_aside() {
    let chunks = "200 OK\r\nContent-Type: text/html\r\nTransfer-Encoding: chunked";
    assert_eq!(aside("/sub", ANSWER, chunks), Some(Aside::Inferred));
    assert_eq!(aside("/sub", ANSWER, &format!("{chunks}\r\nContent-Encoding: gzip")), None, "its length had to go");
}

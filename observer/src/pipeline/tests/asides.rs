//! Upstreams that a gateway asks within a request and does not pass on: subrequests, and sockets of Lua's.

use super::script::{ORDERS, Script, USERS, answer, get};
use crate::event::Cookie;

fn page(text: &str) -> String {
    format!("HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: {}\r\n\r\n{text}", text.len())
}

fn chunked_page(text: &str) -> String {
    let (head, length) = ("HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\n", text.len());
    format!("{head}Transfer-Encoding: chunked\r\n\r\n{length:x}\r\n{text}\r\n0\r\n\r\n")
}

/// A client's request, and the connection on which the gateway asked for something else within it.
fn asked_aside() -> (Script, Cookie, Cookie) {
    let mut script = Script::new();
    let client = script.accepts(1);
    script.reads(1, client, get("/orders/7"));
    let asked = script.connected(2, USERS);
    script.writes(2, asked, get("/sub"));
    script.reads(20, asked, page("hello"));
    (script, client, asked)
}

#[test]
fn an_answer_of_the_gateways_own_has_no_upstream_whomever_it_asked() {
    let (mut script, client, asked) = asked_aside();
    script.writes(21, client, chunked_page("200hello"));
    script.reads(31, client, get("/orders/8"));
    script.writes(32, asked, get("/sub"));
    script.reads(40, asked, page("hello"));
    script.writes(41, client, page("granted, a file"));
    assert_eq!(script.told(), ["orders: 200 x2, 70+171 bytes, 30+-=30 ms", "inferred: asked_aside x1"]);
}

#[test]
fn a_body_is_not_counted_for_an_upstream_that_was_asked_for_something_else() {
    let mut script = Script::new();
    let client = script.accepts(1);
    script.reads(1, client, "POST /orders/7 HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\nabcde");
    let asked = script.connected(2, USERS);
    script.writes(2, asked, "POST /sub HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\nhi");
    script.reads(20, asked, page("hello"));
    script.writes(21, client, page("done"));
    assert_eq!(script.told(), ["orders: 200 x1, 55+68 bytes, 20+-=20 ms"]);
    assert_eq!(script.value("observer_uncertain_total{reason=\"discarded_body\"}"), Some(1));
}

#[test]
fn what_is_asked_in_front_of_the_upstream_is_not_waited_for_as_one() {
    let (mut script, client, _) = asked_aside();
    let upstream = script.connected(21, ORDERS);
    script.writes(21, upstream, get("/orders/7"));
    script.reads(30, upstream, answer(200, "abc"));
    script.writes(31, client, answer(200, "abc"));
    assert_eq!(script.told(), ["orders: 200 x1, 35+41 bytes, 21+9=30 ms"]);
}

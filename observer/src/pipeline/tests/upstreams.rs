//! Upstream exchanges and the clients' that they are made for.

use std::sync::Arc;

use super::script::{ORDERS, Script, USERS, answer, get};
use crate::event::{Direction, Endpoint, Origin, Role, TcpState};

/// Asks on a new connection and takes the answer; the connection stays.
fn asks(script: &mut Script, at: u64, upstream: &str, target: &str, took: u64) -> u64 {
    let socket = script.connected(at, upstream);
    asks_on(script, at, socket, target, took);
    socket
}

pub fn asks_on(script: &mut Script, at: u64, socket: u64, target: &str, took: u64) {
    script.writes(at, socket, get(target));
    script.reads(at + took, socket, answer(200, "abc"));
}

#[test]
fn two_services_are_told_apart_by_their_upstreams() {
    let mut script = Script::new();
    let client = script.accepts(1);
    for (at, upstream, target) in [(1, ORDERS, "/orders/1"), (101, USERS, "/users/1"), (201, USERS, "/elsewhere")] {
        script.reads(at, client, get(target));
        asks(&mut script, at + 1, upstream, target, 10);
        script.writes(at + 13, client, answer(200, "abc"));
    }
    let expected = ["orders: 200 x1, 35+41 bytes, 3+10=13 ms", "users: 200 x2, 70+82 bytes, 6+20=26 ms"];
    assert_eq!(script.told(), expected);
    assert_eq!(script.value("observer_pairs_total{evidence=\"thread_order\"}"), Some(3));
}

#[test]
fn a_kept_upstream_connection_is_used_again() {
    let mut script = Script::new();
    let client = script.accepts(1);
    script.reads(1, client, get("/orders/1"));
    let upstream = asks(&mut script, 2, ORDERS, "/orders/1", 10);
    script.writes(12, client, answer(200, "abc"));
    script.reads(50, client, get("/orders/2"));
    asks_on(&mut script, 53, upstream, "/orders/2", 20);
    script.writes(80, client, answer(200, "abc"));
    assert_eq!(script.told(), ["orders: 200 x2, 70+82 bytes, 11+30=41 ms"]);
}

#[test]
fn requests_side_by_side_on_one_thread_keep_their_own_upstreams() {
    let mut script = Script::new();
    let (a, b) = (script.accepts(1), script.accepts(1));
    script.reads(10, a, get("/orders"));
    let to_orders = script.connected(11, ORDERS);
    script.writes(11, to_orders, get("/orders"));
    script.reads(20, b, get("/users"));
    let to_users = script.connected(21, USERS);
    script.writes(21, to_users, get("/users"));
    script.reads(31, to_users, answer(200, ""));
    script.writes(31, b, answer(200, ""));
    script.reads(61, to_orders, answer(200, ""));
    script.writes(61, a, answer(200, ""));
    let expected = ["orders: 200 x1, 33+38 bytes, 1+50=51 ms", "users: 200 x1, 32+38 bytes, 1+10=11 ms"];
    assert_eq!(script.told(), expected);
}

/// One read brings them all, but a gateway goes from one to the next.
#[test]
fn pipelined_requests_keep_their_own_upstreams() {
    let mut script = Script::new();
    let client = script.accepts(1);
    script.reads(1, client, get("/orders") + &get("/users") + &get("/orders"));
    for (at, upstream) in [(2, ORDERS), (12, USERS), (22, ORDERS)] {
        asks(&mut script, at, upstream, "/stripped", 5);
        script.writes(at + 9, client, answer(200, "abc"));
    }
    let expected = ["orders: 200 x2, 66+82 bytes, 10+10=20 ms", "users: 200 x1, 32+41 bytes, 5+5=10 ms"];
    assert_eq!(script.told(), expected);
}

#[test]
fn the_next_pipelined_request_is_worked_on_once_the_one_before_is_answered() {
    let mut script = Script::new();
    let (a, b) = (script.accepts(1), script.accepts(1));
    script.reads(1, a, get("/orders/1") + &get("/orders/2"));
    let first = script.connected(1, ORDERS);
    script.writes(1, first, get("/stripped/1"));
    script.reads(2, b, get("/users"));
    let other = script.connected(2, USERS);
    script.writes(2, other, get("/stripped"));
    script.reads(10, first, answer(200, ""));
    script.writes(10, a, answer(200, ""));
    asks(&mut script, 11, ORDERS, "/stripped/2", 10);
    script.writes(21, a, answer(200, "abc"));
    script.reads(30, other, answer(200, ""));
    script.writes(30, b, answer(200, ""));
    let expected = ["orders: 200 x2, 70+79 bytes, 1+19=20 ms", "users: 200 x1, 32+38 bytes, 0+28=28 ms"];
    assert_eq!(script.told(), expected);
}

/// The body of one comes in while the other is asked for.
#[test]
fn an_interim_response_does_not_end_the_wait_for_an_upstream() {
    let mut script = Script::new();
    let (a, b) = (script.accepts(1), script.accepts(1));
    let head = "POST /orders HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: 4\r\n\r\n";
    script.reads(1, a, head);
    script.writes(1, a, "HTTP/1.1 100 Continue\r\n\r\n");
    script.reads(2, b, get("/users"));
    let to_users = script.connected(3, USERS);
    script.writes(3, to_users, get("/stripped"));
    script.reads(5, a, "body");
    let to_orders = script.connected(6, ORDERS);
    script.writes(6, to_orders, "POST /other HTTP/1.1\r\nHost: x\r\nContent-Length: 4\r\n\r\nbody");
    script.reads(8, to_orders, answer(201, ""));
    script.writes(9, a, answer(201, ""));
    script.reads(10, to_users, answer(200, ""));
    script.writes(11, b, answer(200, ""));
    let expected = ["orders: 201 x1, 79+63 bytes, 6+2=8 ms", "users: 200 x1, 32+38 bytes, 2+7=9 ms"];
    assert_eq!(script.told(), expected);
}

#[test]
fn a_refused_connect_is_an_upstream_without_a_request() {
    let mut script = Script::new();
    let client = script.accepts(1);
    script.reads(1, client, get("/elsewhere"));
    let upstream = script.connects(2, ORDERS);
    script.turns_with(3, upstream, TcpState::SynSent, TcpState::Close, false);
    script.writes(5, client, answer(502, ""));
    assert_eq!(script.told(), ["orders: 502 x1, 36+38 bytes, 4+-=4 ms"]);
}

#[test]
fn a_connect_that_times_out_is_waited_for_until_it_is_given_up() {
    let mut script = Script::new();
    let client = script.accepts(1);
    script.reads(1, client, get("/elsewhere"));
    let upstream = script.connects(2, ORDERS);
    script.turns(3002, upstream, TcpState::SynSent, TcpState::Close);
    script.writes(3002, client, answer(504, ""));
    assert_eq!(script.told(), ["orders: 504 x1, 36+38 bytes, 3001+-=3001 ms"]);
}

#[test]
fn an_upstream_that_never_answers_is_waited_for_until_it_is_given_up() {
    let mut script = Script::new();
    let client = script.accepts(1);
    script.reads(1, client, get("/elsewhere"));
    let upstream = script.connected(2, ORDERS);
    script.writes(2, upstream, get("/elsewhere"));
    script.gateway_closes(702, upstream);
    script.writes(702, client, answer(504, ""));
    assert_eq!(script.told(), ["orders: 504 x1, 36+38 bytes, 701+-=701 ms"]);
}

/// nginx logs a time to the header for each try that got one, and `-` for the refused one.
#[test]
fn a_retry_is_one_request_and_its_upstream_time_is_that_of_the_tries_with_a_header() {
    let mut script = Script::new();
    let client = script.accepts(1);
    script.reads(1, client, get("/users/7"));
    let first = script.connected(2, ORDERS);
    script.writes(2, first, get("/users/7"));
    script.reads(30, first, answer(502, ""));
    script.gateway_closes(30, first);
    let second = script.connects(30, ORDERS);
    script.turns_with(40, second, TcpState::SynSent, TcpState::Close, false);
    let third = asks(&mut script, 40, USERS, "/users/7", 60);
    script.writes(101, client, answer(200, "abc"));
    script.gateway_closes(101, third);
    assert_eq!(script.told(), ["users: 200 x1, 34+41 bytes, 12+88=100 ms"]);
}

/// What a thread does next it does for the exchange whose upstream it heard of last.
#[test]
fn a_retry_belongs_to_its_request_although_the_thread_read_another() {
    type Fails = fn(&mut Script, u64);
    let answers: Fails = |script, first| {
        script.reads(30, first, answer(502, ""));
        script.gateway_closes(30, first);
    };
    let ends: Fails = |script, first| {
        script.reads_end(30, first);
        script.gateway_closes(30, first);
    };
    let is_given_up: Fails = |script, first| script.gateway_closes(30, first);
    let is_reset: Fails = |script, first| {
        script.peer_resets(30, first);
        script.closes_reset(30, first);
    };
    // From the beginning of each try that got a header to that header.
    for (fails, latency) in
        [(answers, "3+38=41"), (ends, "31+10=41"), (is_given_up, "31+10=41"), (is_reset, "31+10=41")]
    {
        let mut script = Script::new();
        let (client, other) = (script.accepts(1), script.accepts(1));
        script.reads(1, client, get("/orders/7"));
        let first = script.connected(2, ORDERS);
        script.writes(2, first, get("/stripped/7"));
        script.reads(3, other, get("/local"));
        let busy = script.connected(4, "10.9.9.9:80");
        script.writes(4, busy, get("/other"));
        fails(&mut script, first);
        asks(&mut script, 31, USERS, "/stripped/7", 10);
        script.writes(42, client, answer(200, "abc"));
        assert_eq!(script.told(), [format!("users: 200 x1, 35+41 bytes, {latency} ms")]);
    }
}

#[test]
fn a_refused_connect_is_followed_by_its_own_retry() {
    let mut script = Script::new();
    let (client, other) = (script.accepts(1), script.accepts(1));
    script.reads(1, client, get("/orders/7"));
    let first = script.connects(2, ORDERS);
    script.reads(3, other, get("/local"));
    let busy = script.connected(4, "10.9.9.9:80");
    script.writes(4, busy, get("/other"));
    script.turns_with(30, first, TcpState::SynSent, TcpState::Close, false);
    asks(&mut script, 31, USERS, "/stripped/7", 10);
    script.writes(42, client, answer(200, "abc"));
    assert_eq!(script.told(), ["users: 200 x1, 35+41 bytes, 31+10=41 ms"]);
}

#[test]
fn a_unix_upstream_is_known_by_its_path() {
    let mut script = Script::new();
    let client = script.accepts(1);
    script.reads(1, client, get("/elsewhere"));
    let path: Arc<[u8]> = b"/run/app.sock"[..].into();
    let unnamed = Endpoint::Unix([].into());
    let upstream = script.opened(2, Role::Upstream, Origin::Midway, unnamed, Endpoint::Unix(path));
    asks_on(&mut script, 2, upstream, "/", 10);
    script.writes(12, client, answer(200, "abc"));
    assert_eq!(script.told(), ["local: 200 x1, 36+41 bytes, 1+10=11 ms"]);
}

#[test]
fn an_upstream_nobody_configured_is_named_by_its_host() {
    let mut script = Script::new();
    let client = script.accepts(1);
    script.reads(1, client, get("/elsewhere"));
    asks(&mut script, 2, "10.9.9.9:80", "/", 10);
    script.writes(12, client, answer(200, "abc"));
    assert_eq!(script.told(), ["x: 200 x1, 36+41 bytes, 1+10=11 ms"]);
}

#[test]
fn an_upstream_request_for_no_client_is_nobodys() {
    let mut script = Script::new();
    asks(&mut script, 2, ORDERS, "/health", 10);
    // Nobody was answered with it when the thread turns to something else.
    let client = script.accepts(20);
    script.reads(20, client, get("/health"));
    assert_eq!(script.told(), [""; 0]);
    assert_eq!(script.value("observer_pairs_total{evidence=\"orphan\"}"), Some(1));
}

#[test]
fn a_response_lost_upstream_leaves_the_clients_exchange_whole() {
    let mut script = Script::new();
    let client = script.accepts(1);
    script.reads(1, client, get("/orders/1"));
    let upstream = script.connected(2, ORDERS);
    script.writes(2, upstream, get("/orders/1"));
    script.loses(upstream, Direction::Received, 38);
    script.writes(12, client, answer(200, ""));
    script.reads(20, client, get("/orders/2"));
    asks_on(&mut script, 21, upstream, "/orders/2", 5);
    script.writes(27, client, answer(200, ""));
    assert_eq!(script.value("kong_http_status{code=\"200\",service=\"orders\"}"), Some(2));
}

/// Kong asks its database or Redis within a request, too.
#[test]
fn a_server_that_is_not_asked_in_http_is_no_upstream() {
    const REDIS: &str = "10.0.0.6:6379";
    let mut script = Script::new();
    let client = script.accepts(1);
    script.reads(1, client, get("/orders"));
    let redis = script.connected(2, REDIS);
    script.writes(2, redis, "*2\r\n$3\r\nGET\r\n$3\r\nkey\r\n");
    script.reads(20, redis, "$-1\r\n");
    asks(&mut script, 21, ORDERS, "/orders", 10);
    script.writes(32, client, answer(200, "abc"));
    script.reads(40, client, get("/users"));
    let database = script.connected(41, "10.0.0.5:5432");
    script.writes(41, database, b"\0\0\0\x08\x04\xd2\x16\x2f");
    script.reads(45, database, "N");
    script.writes(50, client, answer(401, ""));
    let expected = ["orders: 200 x1, 33+41 bytes, 21+10=31 ms", "users: 401 x1, 32+38 bytes, 10+-=10 ms"];
    assert_eq!(script.told(), expected);
}

#[test]
fn a_server_that_is_asked_over_tls_is_an_upstream() {
    let mut script = Script::new();
    let client = script.accepts(1);
    script.reads(1, client, get("/elsewhere"));
    let upstream = script.connected(2, ORDERS);
    script.writes(2, upstream, b"\x16\x03\x01\x00\x05hello");
    script.reads(20, upstream, b"\x16\x03\x03\x00\x05hello");
    script.gateway_closes(30, upstream);
    script.writes(30, client, answer(200, ""));
    assert_eq!(script.told(), ["orders: 200 x1, 36+38 bytes, 29+-=29 ms"]);
}

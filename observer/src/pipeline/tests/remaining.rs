//! Connections whose end nobody told of.

use super::script::{GATEWAY, MS, ORDERS, Script, WORKER, answer, get};
use crate::event::{Cookie, Event, ProcessChange, Remaining, TcpState};

/// The namespace of [`Script`]'s sockets has these, and no others.
fn look(script: &mut Script, at_ms: u64, sockets: &[Cookie]) {
    let remaining = Remaining { time_ns: at_ms * MS, network: 1, range: (0, Cookie::MAX), sockets: sockets.to_vec() };
    script.handle(&Event::Remaining(remaining));
}

#[test]
fn a_connection_that_two_looks_miss_is_over() {
    let mut script = Script::new();
    let (gone, kept) = (script.accepts(0), script.accepts(0));
    script.reads(1, gone, get("/orders/a"));
    script.writes(2, gone, answer(200, "x"));
    assert_eq!(script.gauge(), [2, 0, 0, 2]);
    look(&mut script, 5_000, &[kept]);
    assert_eq!(script.gauge(), [2, 0, 0, 2]);
    look(&mut script, 7_000, &[kept]);
    assert_eq!(script.gauge(), [1, 0, 0, 1]);
    assert_eq!(script.told(), ["orders: 200 x1, 35+39 bytes, 1+-=1 ms"]);
}

#[test]
fn a_connection_missed_once_lives_on() {
    let mut script = Script::new();
    let client = script.accepts(0);
    for at_ms in [5_000, 9_000, 13_000] {
        look(&mut script, at_ms, &[]);
        look(&mut script, at_ms + 2_000, &[client]);
    }
    assert_eq!(script.gauge(), [1, 0, 0, 1]);
}

#[test]
fn what_was_under_way_is_unobserved_whatever_was_answered() {
    let mut script = Script::new();
    let (waiting, closing) = (script.accepts(0), script.accepts(0));
    script.reads(1, waiting, get("/orders/a"));
    let upstream = script.connected(2, ORDERS);
    script.writes(3, upstream, get("/orders/a"));
    script.reads(1, closing, get("/orders/b"));
    script.writes(2, closing, "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 0\r\n\r\n");
    assert_eq!(script.gauge(), [2, 0, 2, 0]);
    look(&mut script, 5_000, &[]);
    look(&mut script, 7_000, &[]);
    assert_eq!(script.gauge(), [0, 0, 0, 0]);
    assert_eq!(script.told(), ["unobserved: records_lost x2"]);
}

#[test]
fn an_upstream_that_is_gone_ends_the_try_when_it_was_heard_of_last() {
    let mut script = Script::new();
    let client = script.accepts(0);
    script.reads(1, client, get("/orders/a"));
    let upstream = script.connected(2, ORDERS);
    script.writes(3, upstream, get("/orders/a"));
    look(&mut script, 5_000, &[client]);
    look(&mut script, 7_000, &[client]);
    script.writes(7_010, client, answer(504, "x"));
    assert_eq!(script.told(), ["orders: 504 x1, 35+39 bytes, 7009+-=7009 ms"]);
}

#[test]
fn young_reset_and_foreign_connections_are_not_missed() {
    let mut script = Script::new();
    let (young, reset) = (script.accepts(4_500), script.accepts(0));
    script.peer_resets(10, reset);
    look(&mut script, 5_000, &[]);
    look(&mut script, 5_400, &[]);
    let elsewhere = Remaining { time_ns: 9_000 * MS, network: 2, range: (0, Cookie::MAX), sockets: vec![] };
    let below = Remaining { network: 1, range: (0, young.min(reset) - 1), ..elsewhere.clone() };
    for remaining in [&elsewhere, &elsewhere, &below, &below] {
        script.handle(&Event::Remaining(remaining.clone()));
    }
    assert_eq!(script.gauge(), [2, 0, 0, 2]);
    script.turns_with(9_100, reset, TcpState::Close, TcpState::Close, true);
    assert_eq!(script.gauge(), [1, 0, 0, 1]);
}

#[test]
fn a_killed_workers_connections_stay_counted_as_nginx_counts_them() {
    let mut script = Script::new();
    script.thread = WORKER;
    let client = script.accepts_from(0, GATEWAY, "10.0.0.7:4000");
    script.reads(1, client, get("/orders/a"));
    script.process(2, WORKER, ProcessChange::Exited);
    look(&mut script, 5_000, &[]);
    look(&mut script, 7_000, &[]);
    assert_eq!(script.gauge()[0], 1);
}

//! Copies of a request (`mirror`), and what looks like one.

use super::script::{MS, ORDERS, Script, USERS, answer, get};
use crate::event::{Cookie, Event, TcpState};

#[test]
fn a_request_ends_with_the_last_of_its_copies() {
    let mut script = Script::new();
    let client = script.accepts(1);
    script.reads(1, client, get("/orders/7"));
    let asked = script.connected(1, ORDERS);
    let copy = script.connected(1, USERS);
    script.writes(2, asked, get("/orders/7"));
    script.writes(2, copy, get("/copies"));
    script.reads(5, asked, answer(200, ""));
    script.writes(6, client, answer(200, ""));
    assert!(script.told().is_empty());
    script.reads(90, copy, answer(204, ""));
    script.handle(&Event::Tick(100 * MS));
    assert_eq!(script.told(), ["orders: 200 x1, 35+38 bytes, 85+4=89 ms"]);
}

/// The copy goes to a host that takes its time to accept.
fn answered_while_a_copy_connects() -> (Script, Cookie) {
    let mut script = Script::new();
    let client = script.accepts(0);
    script.reads(1, client, get("/orders"));
    let asked = script.connected(1, ORDERS);
    let copy = script.connects(1, USERS);
    script.writes(2, asked, get("/orders"));
    script.reads(3, asked, answer(200, "abc"));
    script.writes(3, client, answer(200, "abc"));
    (script, copy)
}

#[test]
fn a_request_waits_for_a_copy_that_is_not_asked_for_yet() {
    let (mut script, copy) = answered_while_a_copy_connects();
    script.turns(4, copy, TcpState::SynSent, TcpState::Established);
    script.writes(4, copy, get("/copies"));
    script.reads(101, copy, answer(204, ""));
    script.handle(&Event::Tick(110 * MS));
    assert_eq!(script.told(), ["orders: 200 x1, 33+41 bytes, 98+2=100 ms"]);
    assert_eq!(script.value("observer_pairs_total{evidence=\"thread_order\"}"), Some(2));
}

#[test]
fn a_request_ends_with_a_copy_whose_upstream_is_not_there() {
    let (mut script, copy) = answered_while_a_copy_connects();
    script.refuses(40, copy);
    script.handle(&Event::Tick(50 * MS));
    assert_eq!(script.told(), ["orders: 200 x1, 33+41 bytes, 37+2=39 ms"]);
}

/// Its connect came right after another client's request was read, as that of a retry does.
#[test]
fn a_connect_that_turns_out_to_be_for_another_client_holds_nobody_up() {
    let mut script = Script::new();
    let (orders, users) = (script.accepts(0), script.accepts(0));
    script.reads(1, users, get("/users/of-another"));
    let gone = script.connects(1, USERS);
    script.reads(2, orders, get("/orders"));
    let asked = script.connected(2, ORDERS);
    script.refuses(2, gone);
    script.reads(3, orders, "");
    let again = script.connects(3, USERS);
    script.writes(3, asked, get("/orders"));
    script.reads(4, asked, answer(200, "abc"));
    script.writes(4, orders, answer(200, "abc"));
    script.turns(60, again, TcpState::SynSent, TcpState::Established);
    script.writes(60, again, get("/users/of-another"));
    script.reads(90, again, answer(200, ""));
    script.writes(90, users, answer(200, ""));
    script.handle(&Event::Tick(100 * MS));
    let expected = ["orders: 200 x1, 33+41 bytes, 0+2=2 ms", "users: 200 x1, 43+38 bytes, 2+87=89 ms"];
    assert_eq!(script.told(), expected);
}

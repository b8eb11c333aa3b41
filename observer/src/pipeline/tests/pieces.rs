//! Messages whose first bytes come in a call of their own.

use super::script::{ORDERS, Script, answer, get};
use crate::event::TcpState;

#[test]
fn an_answer_in_two_writes_leaves_the_thread_with_the_request_read_last() {
    let mut script = Script::new();
    let (one, other) = (script.accepts(1), script.accepts(1));
    script.reads(1, one, get("/elsewhere"));
    script.reads(2, other, get("/elsewhere"));
    let not_found = answer(404, "");
    script.writes(3, one, &not_found[..5]);
    script.writes(3, one, &not_found[5..]);
    let upstream = script.connects(4, ORDERS);
    script.turns(5, upstream, TcpState::SynSent, TcpState::Close);
    script.writes(6, other, answer(502, ""));
    assert_eq!(script.told(), ["orders: 502 x1, 36+38 bytes, 4+-=4 ms", "unattributed: 404 x1"]);
}

#[test]
fn the_first_byte_alone_speaks_against_no_upstream() {
    for byte in ["G", "\x16"] {
        let mut script = Script::new();
        let client = script.accepts(1);
        script.reads(1, client, get("/elsewhere"));
        let upstream = script.connected(2, ORDERS);
        script.writes(2, upstream, byte);
        script.peer_closes(30, upstream);
        script.writes(30, client, answer(502, ""));
        assert_eq!(script.told(), ["orders: 502 x1, 36+38 bytes, 29+-=29 ms"]);
    }
}

#[test]
fn what_turns_out_to_be_no_request_speaks_against_an_upstream() {
    for [first, second] in [["PING", "\r\n"], ["AUTH", "x"], ["*", "1\r\n$4\r\nPING\r\n"]] {
        let mut script = Script::new();
        let client = script.accepts(1);
        script.reads(1, client, get("/users"));
        let server = script.connected(2, ORDERS);
        script.writes(2, server, first);
        script.writes(3, server, second);
        script.reads(20, server, "+PONG\r\n");
        script.writes(30, client, answer(401, ""));
        assert_eq!(script.told(), ["users: 401 x1, 32+38 bytes, 29+-=29 ms"]);
    }
}

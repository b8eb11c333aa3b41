//! How connections end, and what an exchange is that they cut off.

use super::super::Phase;
use super::wire::{Wire, get, ok};
use crate::event::{Direction, TcpState};

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
fn a_process_that_ends_leaves_its_exchanges_unobserved() {
    let mut wire = Wire::client();
    wire.reads(1, get("/a"));
    wire.connection.process_ended(&mut wire.moments);
    assert_eq!(wire.over(), ["GET /a 28+0 bytes 1-1 ms: unobserved process_ended"]);
    wire.turns(2, TcpState::Close);
    assert_eq!(wire.over(), [""; 0]);
}

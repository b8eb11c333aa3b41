//! Records that never came, and connections met in the middle.

use super::wire::{Wire, get, ok};
use crate::event::{Call, Data, Direction, Origin, Role};

#[test]
fn a_lost_request_leaves_a_stray_and_the_next_is_in_step() {
    let mut wire = Wire::client();
    wire.reads(1, get("/a"));
    wire.writes(2, ok(""));
    wire.loses(Direction::Received, 28);
    wire.writes(4, ok(""));
    wire.reads(5, get("/c"));
    wire.writes(6, ok(""));
    let expected = ["GET /a 28+38 bytes 1-2 ms: 200", "stray: out_of_step", "GET /c 28+38 bytes 5-6 ms: 200"];
    assert_eq!(wire.over(), expected);
}

#[test]
fn a_lost_response_loses_what_was_open_and_not_the_next() {
    let mut wire = Wire::client();
    wire.reads(1, get("/a"));
    wire.loses(Direction::Sent, 38);
    wire.reads(5, get("/b"));
    wire.writes(6, ok(""));
    wire.reads(7, get("/c"));
    wire.writes(8, ok(""));
    let expected = [
        "GET /a 28+0 bytes 1-1 ms: unobserved records_lost",
        "GET /b 28+38 bytes 5-6 ms: 200",
        "GET /c 28+38 bytes 7-8 ms: 200",
    ];
    assert_eq!(wire.over(), expected);
}

#[test]
fn bytes_lost_within_a_body_lose_the_exchange() {
    let mut wire = Wire::client();
    wire.reads(1, "POST /a HTTP/1.1\r\nContent-Length: 30\r\n\r\n");
    wire.loses(Direction::Received, 10);
    wire.reads(2, "01234567890123456789");
    wire.writes(3, ok(""));
    wire.reads(4, get("/b"));
    wire.writes(5, ok(""));
    let expected = ["POST /a 40+0 bytes 1-1 ms: unobserved records_lost", "GET /b 28+38 bytes 4-5 ms: 200"];
    assert_eq!(wire.over(), expected);
}

#[test]
fn all_pipelined_exchanges_are_lost_with_a_gap_among_their_responses() {
    let mut wire = Wire::client();
    wire.reads(1, get("/a") + &get("/b") + &get("/c"));
    wire.loses(Direction::Sent, 38);
    wire.writes(3, ok(""));
    wire.writes(4, ok(""));
    let over = wire.over();
    assert_eq!(over.len(), 3);
    assert!(over.iter().all(|line| line.ends_with("unobserved records_lost")), "{over:?}");
    wire.reads(5, get("/d"));
    wire.writes(6, ok(""));
    assert_eq!(wire.over(), ["GET /d 28+38 bytes 5-6 ms: 200"]);
}

#[test]
fn bytes_that_left_the_socket_unseen_are_their_own_reason() {
    let mut wire = Wire::client();
    wire.reads(1, "POST /a HTTP/1.1\r\nContent-Length: 30\r\n\r\n");
    let data = wire.data(2, Direction::Received, 10);
    wire.call(Data { offset: data.offset + 20, unseen_bytes: 20, sample: b"0123456789", ..data });
    assert_eq!(wire.over(), ["POST /a 40+0 bytes 1-1 ms: unobserved unseen_bytes"]);
}

#[test]
fn bytes_that_left_the_socket_unseen_before_the_gateway_closed_are_that_reason_too() {
    let mut wire = Wire::client();
    wire.reads(1, "POST /a HTTP/1.1\r\nContent-Length: 30\r\n\r\n");
    wire.writes(2, ok(""));
    wire.closes_with_unseen(3, 30);
    assert_eq!(wire.over(), ["POST /a 40+38 bytes 1-2 ms: unobserved unseen_bytes"]);
}

#[test]
fn calls_that_hide_their_bytes_tell_of_one_exchange_a_turn() {
    let mut wire = Wire::client();
    for at_ms in [1, 3, 5] {
        for (direction, at_ms) in [(Direction::Received, at_ms), (Direction::Sent, at_ms + 1)] {
            wire.call(Data { call: Call::Unsampled, ..wire.data(at_ms, direction, 40) });
        }
    }
    wire.reads(7, get("/a"));
    wire.writes(8, ok(""));
    wire.client_closes(9);
    let over = wire.over();
    assert_eq!(over.len(), 4, "{over:?}");
    assert!(over[..3].iter().all(|line| line.ends_with("unobserved unsampled_call")), "{over:?}");
}

#[test]
fn a_connection_met_in_a_response_tells_of_one_stray_exchange() {
    for origin in [Origin::Midway, Origin::Scan] {
        let mut wire = Wire::new(Role::Client, origin);
        wire.writes(1, "the rest of a body");
        wire.writes(2, "and more");
        assert_eq!(wire.over(), ["stray: attached_midway"]);
        wire.reads(3, get("/a"));
        wire.writes(4, ok(""));
        assert_eq!(wire.over(), ["GET /a 28+38 bytes 3-4 ms: 200"]);
    }
}

#[test]
fn a_connection_met_in_a_request_body_tells_of_one_stray_exchange() {
    let mut wire = Wire::new(Role::Client, Origin::Midway);
    wire.reads(1, "{\"rest\": 1}");
    wire.reads(2, "more of it");
    wire.writes(3, ok(""));
    wire.reads(4, get("/a"));
    wire.writes(5, ok(""));
    assert_eq!(wire.over(), ["stray: attached_midway", "GET /a 28+38 bytes 4-5 ms: 200"]);
}

#[test]
fn an_idle_connection_found_by_a_scan_is_in_step_from_its_first_request_on() {
    let mut wire = Wire::new(Role::Client, Origin::Scan);
    wire.reads(1, get("/a"));
    wire.writes(2, ok(""));
    assert_eq!(wire.over(), ["GET /a 28+38 bytes 1-2 ms: 200"]);
}

#[test]
fn a_record_with_impossible_numbers_is_taken_as_far_as_it_goes() {
    let mut wire = Wire::client();
    let (request, data) = (get("/a"), wire.data(1, Direction::Received, 3));
    wire.call(Data { sample: request.as_bytes(), ..data });
    assert_eq!(wire.connection.exchange(0).unwrap().request.bytes, 3, "never more than the call moved");
    wire.connection.data(&Data { offset: u64::MAX, ..wire.data(2, Direction::Received, 5) }, &mut wire.moments);
    assert_eq!(wire.over(), ["- - 3+0 bytes 1-1 ms: unobserved records_lost"]);
}

/// Without the record of the answer, the close would look like nginx's 444 or 499.
#[test]
fn no_status_is_inferred_where_a_record_is_missing_before_the_close() {
    for closes in [Wire::client_closes, Wire::gateway_closes] {
        let mut wire = Wire::client();
        wire.reads(1, get("/a"));
        wire.loses(Direction::Sent, 38);
        closes(&mut wire, 3);
        assert_eq!(wire.over(), ["GET /a 28+0 bytes 1-3 ms: unobserved records_lost"]);
    }
}

#[test]
fn no_answer_counts_as_cut_off_where_a_record_is_missing_before_the_close() {
    let mut wire = Wire::client();
    wire.reads(1, get("/a"));
    wire.writes(2, "HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n");
    wire.loses(Direction::Sent, 1000);
    wire.gateway_closes(3);
    assert_eq!(wire.over(), ["GET /a 28+41 bytes 1-3 ms: unobserved records_lost"]);
}

#[test]
fn a_loss_that_was_made_good_does_not_taint_the_close() {
    let mut wire = Wire::client();
    wire.reads(1, get("/a"));
    wire.loses(Direction::Sent, 38);
    wire.reads(3, get("/b"));
    wire.writes(4, ok(""));
    wire.over();
    wire.reads(5, get("/c"));
    wire.client_closes(7);
    assert_eq!(wire.over(), ["GET /c 28+0 bytes 5-7 ms: 499 client_closed_waiting"]);
}

#[test]
fn records_of_a_scanned_connection_are_numbered_from_the_first_that_comes() {
    let mut wire = Wire::new(Role::Client, Origin::Scan);
    wire.call(Data { sequence: 41, sample: get("/a").as_bytes(), ..wire.data(1, Direction::Received, 28) });
    wire.client_closes(3);
    assert_eq!(wire.over(), ["GET /a 28+0 bytes 1-3 ms: 499 client_closed_waiting"]);
}

#[test]
fn a_malformed_answer_loses_what_is_open() {
    let mut wire = Wire::client();
    wire.reads(1, get("/a") + &get("/b") + &get("/c"));
    wire.writes(2, "HTTP/1.x 200 OK\r\n\r\nand its body");
    wire.writes(3, ok(""));
    wire.writes(4, ok(""));
    let over = wire.over();
    assert_eq!(over.len(), 3);
    assert!(over.iter().all(|line| line.ends_with("unobserved out_of_step")), "whose are they? {over:?}");
    wire.reads(5, get("/d"));
    wire.writes(6, ok(""));
    assert_eq!(wire.over(), ["GET /d 28+38 bytes 5-6 ms: 200"]);
}

/// The first byte of a request alone does not look like one, and the rest of it looks like another.
#[test]
fn the_rest_of_a_request_met_midway_is_no_request() {
    let mut wire = Wire::new(Role::Client, Origin::Midway);
    wire.reads(1, "G");
    wire.reads(2, "ET /a HTTP/1.1\r\nHost: x\r\n\r\n");
    wire.writes(3, ok(""));
    wire.reads(4, get("/b"));
    wire.writes(5, ok(""));
    assert_eq!(wire.over(), ["stray: attached_midway", "GET /b 28+38 bytes 4-5 ms: 200"]);
}

#[test]
fn more_requests_ahead_than_there_is_room_for_give_the_connection_up() {
    let mut wire = Wire::client();
    let many = get("/").repeat(600);
    wire.reads(1, &many);
    wire.reads(2, &many);
    for _ in 0..1200 {
        wire.writes(3, ok(""));
        wire.reads(4, get("/late"));
    }
    let over = wire.over();
    assert!(over.iter().all(|line| line.contains("table_full")), "no answer is anyone's: {:?}", over.last());
    assert_eq!(over.len(), 1024 + 1);
}

#[test]
fn a_connection_that_outlives_a_process_is_in_step_at_the_next_request() {
    let mut wire = Wire::client();
    wire.reads(1, get("/a"));
    wire.writes(2, "HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n");
    wire.connection.process_ended(&mut wire.moments);
    wire.writes(3, "123456789");
    wire.reads(4, get("/b"));
    wire.writes(5, ok(""));
    let expected = ["GET /a 28+38 bytes 1-2 ms: unobserved process_ended", "GET /b 28+38 bytes 4-5 ms: 200"];
    assert_eq!(wire.over(), expected);
}

//! Ciphertext, plaintext, and what is no HTTP/1.

use super::wire::{MS, Wire, get, ok};
use crate::event::{Data, Direction, Handshake, HandshakeStep, Layer, Origin, Role, TcpState};

const CLIENT_HELLO: &[u8] = b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03";
const SERVER_HELLO: &[u8] = b"\x16\x03\x03\x00\x7a\x02\x00\x00\x76\x03\x03";
const RECORD: &[u8] = b"\x17\x03\x03\x00\x20abcdefgh";
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
const SETTINGS: &[u8] = b"\0\0\x12\x04\0\0\0\0\0\0\x03\0\0\0\x80";

/// A connection whose plaintext is told of.
struct Tls {
    wire: Wire,
    received: u64,
    sent: u64,
    sequence: u32,
}

impl Tls {
    fn over(wire: Wire) -> Self {
        Tls { wire, received: 0, sent: 0, sequence: 0 }
    }

    fn moves(&mut self, at_ms: u64, direction: Direction, bytes: &[u8]) {
        let result = i32::try_from(bytes.len()).unwrap();
        let offset = match direction {
            Direction::Received => &mut self.received,
            Direction::Sent => &mut self.sent,
        };
        let data = Data {
            layer: Layer::Tls,
            offset: *offset,
            sequence: self.sequence,
            sample: bytes,
            ..self.wire.data(at_ms, direction, result)
        };
        *offset += bytes.len() as u64;
        self.sequence += 1;
        self.wire.connection.data(&data, &mut self.wire.moments);
    }

    fn reads(&mut self, at_ms: u64, bytes: impl AsRef<[u8]>) {
        self.moves(at_ms, Direction::Received, bytes.as_ref());
    }

    fn writes(&mut self, at_ms: u64, bytes: impl AsRef<[u8]>) {
        self.moves(at_ms, Direction::Sent, bytes.as_ref());
    }

    fn steps(&mut self, at_ms: u64, step: HandshakeStep) {
        let (sequence, time_ns) = (self.sequence, at_ms * MS);
        self.sequence += 1;
        let handshake = Handshake { time_ns, socket: 1, sequence, process: 7, thread: 7, began_ns: MS, step };
        self.wire.connection.handshake(&handshake, &mut self.wire.moments);
    }
}

/// A record of application data, and an encrypted alert.
#[test]
fn nothing_tells_the_status_of_an_answer_that_could_not_be_sent_any_more() {
    for (bytes, expected) in [(69, "unobserved boundary_not_sampled"), (19, "499 client_closed_waiting")] {
        let mut tls = Tls::over(Wire::client());
        tls.steps(2, HandshakeStep::Begun);
        tls.steps(3, HandshakeStep::Done);
        tls.reads(5, get("/a"));
        tls.wire.turns(6, TcpState::Close);
        let record = [0x17, 3, 3, 0, bytes];
        tls.wire.call(Data { sample: &record, ..tls.wire.data(7, Direction::Sent, -104) });
        tls.wire.closes_reset(8);
        assert_eq!(tls.wire.over(), [format!("GET /a 28+0 bytes 5-8 ms: {expected}")]);
    }
}

#[test]
fn plaintext_is_read_with_bytes_and_times_of_its_own() {
    let mut tls = Tls::over(Wire::client());
    tls.steps(2, HandshakeStep::Begun);
    tls.steps(3, HandshakeStep::Done);
    tls.reads(5, get("/a"));
    tls.writes(9, ok("abc"));
    assert_eq!(tls.wire.over(), ["GET /a 28+41 bytes 5-9 ms: 200"]);
    assert!(tls.wire.connection.is_tls());
}

#[test]
fn the_sockets_own_calls_tell_of_the_end_alone() {
    let mut tls = Tls::over(Wire::client());
    tls.reads(5, get("/a"));
    tls.wire.reads(6, RECORD);
    tls.wire.writes(6, RECORD);
    tls.wire.reads_end(7);
    tls.wire.client_closes(8);
    assert_eq!(tls.wire.over(), ["GET /a 28+0 bytes 5-8 ms: 499 client_closed_waiting"]);
}

#[test]
fn a_gap_in_the_plaintext_is_told() {
    let mut tls = Tls::over(Wire::client());
    tls.reads(1, "POST /a HTTP/1.1\r\nContent-Length: 30\r\n\r\n");
    tls.received += 10;
    tls.reads(2, "0123456789");
    assert_eq!(tls.wire.over(), ["POST /a 40+0 bytes 1-1 ms: unobserved records_lost"]);
}

#[test]
fn plaintext_of_a_connection_met_in_the_middle_is_in_step_at_a_request() {
    let mut tls = Tls::over(Wire::new(Role::Client, Origin::Midway));
    tls.writes(1, "the rest of a body");
    tls.reads(2, get("/b"));
    tls.writes(3, ok(""));
    assert_eq!(tls.wire.over(), ["stray: attached_midway", "GET /b 28+38 bytes 2-3 ms: 200"]);
}

#[test]
fn tls_without_plaintext_is_told_once_and_not_read() {
    let mut wire = Wire::client();
    wire.reads(1, CLIENT_HELLO);
    wire.writes(2, SERVER_HELLO);
    wire.reads(3, RECORD);
    wire.writes(4, RECORD);
    wire.client_closes(5);
    assert_eq!(wire.over(), ["carries Encrypted", "- - 11+0 bytes 1-1 ms: unobserved tls_unreadable"]);
}

#[test]
fn tls_met_in_the_middle_is_known_by_its_records() {
    let mut wire = Wire::new(Role::Client, Origin::Scan);
    wire.writes(1, RECORD);
    wire.reads(2, RECORD);
    assert_eq!(wire.over(), ["carries Encrypted", "stray: tls_unreadable"]);
}

#[test]
fn plaintext_that_begins_late_is_read_from_its_first_request() {
    let mut wire = Wire::client();
    wire.reads(1, CLIENT_HELLO);
    wire.writes(2, SERVER_HELLO);
    let mut tls = Tls::over(wire);
    tls.reads(3, get("/late"));
    tls.writes(4, ok(""));
    let expected =
        ["carries Encrypted", "- - 11+0 bytes 1-1 ms: not taken", "carries Http1", "GET /late 31+38 bytes 3-4 ms: 200"];
    assert_eq!(tls.wire.over(), expected);
}

#[test]
fn a_requests_ciphertext_comes_before_its_plaintext() {
    let mut wire = Wire::client();
    wire.reads(1, CLIENT_HELLO);
    wire.writes(2, SERVER_HELLO);
    wire.reads(3, RECORD);
    wire.writes(4, RECORD);
    wire.reads(5, RECORD);
    let mut tls = Tls::over(wire);
    tls.reads(5, get("/a"));
    tls.writes(6, ok(""));
    let expected =
        ["carries Encrypted", "- - 11+0 bytes 1-1 ms: not taken", "carries Http1", "GET /a 28+38 bytes 5-6 ms: 200"];
    assert_eq!(tls.wire.over(), expected);
}

#[test]
fn plaintext_that_begins_with_an_answer_has_missed_one_request() {
    let mut wire = Wire::client();
    wire.reads(1, CLIENT_HELLO);
    wire.writes(2, SERVER_HELLO);
    wire.reads(3, RECORD);
    let mut tls = Tls::over(wire);
    tls.writes(4, ok(""));
    tls.reads(5, get("/b"));
    tls.writes(6, ok(""));
    let expected = [
        "carries Encrypted",
        "- - 11+0 bytes 1-1 ms: unobserved tls_unreadable",
        "carries Http1",
        "GET /b 28+38 bytes 5-6 ms: 200",
    ];
    assert_eq!(tls.wire.over(), expected);
}

#[test]
fn plaintext_behind_a_request_that_was_missed_has_missed_one() {
    let mut wire = Wire::client();
    wire.reads(1, CLIENT_HELLO);
    wire.writes(2, SERVER_HELLO);
    wire.reads(3, RECORD);
    wire.writes(4, RECORD);
    assert_eq!(wire.over(), ["carries Encrypted"]);
    wire.reads(5, RECORD);
    wire.writes(6, RECORD);
    let mut tls = Tls::over(wire);
    tls.reads(7, get("/b"));
    tls.writes(8, ok(""));
    let expected =
        ["- - 11+0 bytes 1-1 ms: unobserved tls_unreadable", "carries Http1", "GET /b 28+38 bytes 7-8 ms: 200"];
    assert_eq!(tls.wire.over(), expected);
}

#[test]
fn a_handshake_whose_plaintext_follows_was_no_request() {
    let mut wire = Wire::client();
    wire.reads(1, CLIENT_HELLO);
    let mut tls = Tls::over(wire);
    tls.steps(2, HandshakeStep::Done);
    tls.reads(3, get("/a"));
    tls.writes(4, ok(""));
    let expected = ["- - 11+0 bytes 1-1 ms: not taken", "GET /a 28+38 bytes 3-4 ms: 200"];
    assert_eq!(tls.wire.over(), expected);
}

#[test]
fn tls_to_a_plain_port_is_a_bad_request() {
    let mut wire = Wire::client();
    wire.reads(1, CLIENT_HELLO);
    wire.writes(2, "HTTP/1.1 400 Bad Request\r\nConnection: close\r\nContent-Length: 0\r\n\r\n");
    wire.gateway_closes(3);
    assert_eq!(wire.over(), ["- - 11+66 bytes 1-3 ms: 400"]);
}

#[test]
fn http2_is_told_by_what_was_agreed_on() {
    let mut tls = Tls::over(Wire::client());
    tls.steps(1, HandshakeStep::Begun);
    tls.steps(2, HandshakeStep::Protocol(b"h2"[..].into()));
    tls.writes(3, SETTINGS);
    tls.reads(4, PREFACE);
    assert_eq!(tls.wire.over(), ["carries Http2", "stray: http2"]);
    let mut other = Tls::over(Wire::client());
    other.steps(2, HandshakeStep::Protocol(b"http/1.1"[..].into()));
    other.reads(4, get("/a"));
    other.writes(5, ok(""));
    assert_eq!(other.wire.over(), ["GET /a 28+38 bytes 4-5 ms: 200"]);
}

#[test]
fn http2_is_told_by_its_preface_once_it_is_answered() {
    let mut tls = Tls::over(Wire::client());
    tls.reads(1, PREFACE);
    tls.writes(2, SETTINGS);
    assert_eq!(tls.wire.over(), ["carries Http2", "- - 24+0 bytes 1-1 ms: unobserved http2"]);
    let mut server_first = Tls::over(Wire::client());
    server_first.writes(1, SETTINGS);
    server_first.reads(2, PREFACE);
    assert_eq!(server_first.wire.over(), ["carries Http2", "stray: http2"]);
}

#[test]
fn a_preface_that_is_refused_is_a_request() {
    let mut wire = Wire::client();
    wire.reads(1, PREFACE);
    wire.writes(2, "HTTP/1.1 400 Bad Request\r\nConnection: close\r\nContent-Length: 0\r\n\r\n");
    wire.gateway_closes(3);
    assert_eq!(wire.over().last().map(|line| line.ends_with("400")), Some(true));
}

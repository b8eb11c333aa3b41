//! Bodies: large, hidden, endless, early answered, and tunnels.

use super::super::Phase;
use super::wire::{Wire, get, ok};
use crate::event::{Call, Data, Direction, Origin, Role, TcpState};

#[test]
fn a_large_body_is_measured_by_its_length() {
    let mut wire = Wire::client();
    wire.reads_hidden(1, "POST /up HTTP/1.1\r\nContent-Length: 100000\r\n\r\n0123", 49_996, b"tail");
    wire.reads_hidden(2, "", 50_000, b"tail");
    wire.writes_hidden(9, "HTTP/1.1 200 OK\r\nContent-Length: 70000\r\n\r\n", 70_000, b"");
    assert_eq!(wire.over(), ["POST /up 100045+70042 bytes 1-9 ms: 200"]);
}

#[test]
fn what_follows_a_hidden_body_in_its_call_is_not_known_and_not_guessed() {
    let mut wire = Wire::client();
    let head = "POST /up HTTP/1.1\r\nContent-Length: 10000\r\n\r\n";
    wire.reads_hidden(1, head, 10_000 + 28, b"x\r\n\r\n");
    wire.writes(2, ok(""));
    wire.writes(3, ok(""));
    assert_eq!(wire.over(), ["POST /up 10044+38 bytes 1-2 ms: 200"]);
    // Whether those bytes were one request or more shows by what comes next.
    wire.reads(4, get("/b"));
    assert_eq!(wire.over(), ["- - 28+38 bytes 2-3 ms: unobserved boundary_not_sampled"]);
    wire.writes(5, ok(""));
    assert_eq!(wire.over(), ["GET /b 28+38 bytes 4-5 ms: 200"]);
}

#[test]
fn two_answers_to_hidden_requests_leave_neither_counted() {
    let mut wire = Wire::client();
    let head = "POST /up HTTP/1.1\r\nContent-Length: 10000\r\n\r\n";
    wire.reads_hidden(1, head, 10_000 + 56, b"x\r\n\r\n");
    wire.writes(2, ok("") + &ok("") + &ok(""));
    let expected = [
        "POST /up 10044+38 bytes 1-2 ms: 200",
        "- - 56+38 bytes 2-2 ms: unobserved boundary_not_sampled",
        "stray: boundary_not_sampled",
    ];
    assert_eq!(wire.over(), expected);
    wire.reads(4, get("/b"));
    wire.writes(5, ok(""));
    assert_eq!(wire.over(), ["GET /b 28+38 bytes 4-5 ms: 200"]);
}

#[test]
fn a_hidden_chunked_body_ends_where_its_last_bytes_show_it() {
    let mut wire = Wire::client();
    let head = "PUT /up HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n8\r\n12345678\r\n";
    wire.reads_hidden(1, head, 9000, b"abcdefgh");
    wire.reads_hidden(2, "", 5000, b"\n\r\n0\r\n\r\n");
    assert!(wire.connection.exchange(0).unwrap().request.is_complete);
    wire.writes_hidden(3, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", 4000, b"\n\r\n0\r\n\r\n");
    assert_eq!(wire.over(), [format!("PUT /up {}+4047 bytes 1-3 ms: 200", head.len() + 14_000)]);
}

#[test]
fn a_response_whose_end_is_hidden_ends_with_the_next_request() {
    let mut wire = Wire::client();
    wire.reads(1, get("/a"));
    wire.writes_hidden(2, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nz", 8000, b"");
    wire.writes_hidden(6, "", 500, b"");
    assert_eq!(wire.over(), [""; 0]);
    assert_eq!(wire.phase(), Phase::Writing);
    wire.reads(20, get("/b"));
    assert_eq!(wire.over(), ["GET /a 28+8548 bytes 1-6 ms: 200"]);
    wire.writes(21, ok(""));
    assert_eq!(wire.over(), ["GET /b 28+38 bytes 20-21 ms: 200"]);
}

#[test]
fn a_response_whose_end_is_hidden_ends_with_the_connection() {
    let mut wire = Wire::client();
    wire.reads(1, get("/a"));
    wire.writes_hidden(2, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nz", 8000, b"");
    wire.client_closes(30);
    assert_eq!(wire.over(), ["GET /a 28+8048 bytes 1-2 ms: 200"]);
}

#[test]
fn a_response_without_length_ends_with_the_connection() {
    let mut wire = Wire::client();
    wire.reads(1, "GET /a HTTP/1.0\r\n\r\n");
    wire.writes(2, "HTTP/1.1 200 OK\r\n\r\nHTTP/1.1 ");
    wire.writes(5, "HTTP/1.1 404 in a body\r\n\r\n");
    // The gateway closes when it has seen the upstream's end.
    wire.gateway_closes(6);
    assert_eq!(wire.over(), ["GET /a 19+54 bytes 1-6 ms: 200"]);
}

#[test]
fn an_upstreams_response_without_length_ends_with_its_stream() {
    let mut wire = Wire::new(Role::Upstream, Origin::Beginning);
    wire.writes(1, get("/a"));
    wire.reads(2, "HTTP/1.0 200 OK\r\n\r\nabc");
    wire.turns(3, TcpState::CloseWait);
    wire.reads_end(4);
    assert_eq!(wire.over(), ["GET /a 28+22 bytes 0-4 ms: 200"]);
}

#[test]
fn a_file_sent_without_user_memory_is_measured_by_its_length() {
    let mut wire = Wire::client();
    wire.reads(1, get("/a"));
    wire.writes(2, "HTTP/1.1 200 OK\r\nContent-Length: 5000\r\n\r\n");
    wire.call(Data { call: Call::Pages, ..wire.data(3, Direction::Sent, 5000) });
    assert_eq!(wire.over(), ["GET /a 28+5041 bytes 1-3 ms: 200"]);
}

#[test]
fn bytes_of_an_unknown_call_within_a_body_do_no_harm() {
    let mut wire = Wire::client();
    wire.reads(1, "PUT /a HTTP/1.1\r\nContent-Length: 9\r\n\r\n");
    wire.call(Data { call: Call::Unsampled, ..wire.data(2, Direction::Received, 9) });
    wire.writes(3, ok(""));
    assert_eq!(wire.over(), ["PUT /a 47+38 bytes 1-3 ms: 200"]);
}

#[test]
fn a_head_moved_by_an_unknown_call_is_not_observed() {
    let mut wire = Wire::client();
    wire.call(Data { call: Call::Unsampled, ..wire.data(1, Direction::Received, 28) });
    wire.writes(2, ok(""));
    wire.reads(3, get("/a"));
    assert_eq!(wire.over(), ["- - 28+38 bytes 1-2 ms: unobserved unsampled_call"]);
    wire.call(Data { call: Call::Unsampled, ..wire.data(4, Direction::Sent, 38) });
    wire.reads(9, get("/b"));
    assert_eq!(wire.over(), ["GET /a 28+38 bytes 3-4 ms: unobserved unsampled_call"]);
    wire.writes(10, ok(""));
    assert_eq!(wire.over(), ["GET /b 28+38 bytes 9-10 ms: 200"]);
}

#[test]
fn an_early_response_waits_for_the_rest_of_the_body() {
    let mut wire = Wire::client();
    wire.reads(1, "POST /a HTTP/1.1\r\nContent-Length: 20\r\n\r\n0123");
    wire.writes(2, "HTTP/1.1 413 Too Large\r\nContent-Length: 0\r\n\r\n");
    assert_eq!((wire.over().len(), wire.phase()), (0, Phase::Writing));
    wire.reads(8, format!("4567890123456789{}", get("/b")));
    wire.writes(9, ok(""));
    assert_eq!(wire.over(), ["POST /a 60+45 bytes 1-8 ms: 413", "GET /b 28+38 bytes 8-9 ms: 200"]);
}

#[test]
fn an_unread_body_is_read_away_while_the_gateway_lingers() {
    let mut wire = Wire::client();
    wire.reads(1, "POST /a HTTP/1.1\r\nContent-Length: 200\r\n\r\n0123");
    wire.writes(2, "HTTP/1.1 413 Too Large\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
    assert!(!wire.turns(3, TcpState::FinWait), "the gateway is not done with it");
    wire.reads(500, "456789");
    assert_eq!(wire.over(), [""; 0]);
    assert!(wire.turns_with(2502, TcpState::Close, true));
    assert_eq!(wire.over(), ["POST /a 51+64 bytes 1-2502 ms: 413"]);
}

#[test]
fn a_lingering_gateway_is_done_at_the_end_of_the_stream() {
    let mut wire = Wire::client();
    wire.reads(1, "POST /a HTTP/1.1\r\nContent-Length: 200\r\n\r\n0123");
    wire.writes(2, "HTTP/1.1 413 Too Large\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
    wire.turns(3, TcpState::FinWait);
    wire.reads_end(70);
    assert_eq!(wire.over(), ["POST /a 45+64 bytes 1-70 ms: 413"]);
}

const UPGRADE: &str = "GET /ws HTTP/1.1\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n";
const SWITCHED: &str = "HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\n\r\n";

#[test]
fn of_a_tunnel_the_handshake_is_ingress_and_all_bytes_are_egress() {
    let mut wire = Wire::client();
    wire.reads(1, UPGRADE);
    wire.writes(2, SWITCHED);
    wire.reads(3, "\x01GET / HTTP/1.1\r\n\r\n");
    wire.writes(4, "HTTP/1.1 200 OK\r\n\r\n");
    wire.reads_hidden(5, "", 70_000, b"");
    wire.writes_hidden(6, "", 900, b"");
    assert_eq!((wire.over().len(), wire.phase()), (0, Phase::Writing));
    wire.gateway_closes(60);
    let egress = SWITCHED.len() + 19 + 900;
    assert_eq!(wire.over(), [format!("GET /ws {}+{egress} bytes 1-60 ms: 101", UPGRADE.len())]);
}

#[test]
fn bytes_sent_ahead_of_the_answer_belong_to_the_tunnel() {
    let mut wire = Wire::client();
    wire.reads(1, UPGRADE.to_owned() + "\x01\x02GET / HTTP/1.1\r\n");
    wire.writes(2, SWITCHED);
    assert_eq!(wire.over().len(), 1, "what looked like a request was none");
    wire.reads(3, "\x03");
    wire.client_closes(4);
    let expected = format!("GET /ws {}+{} bytes 1-4 ms: 101", UPGRADE.len(), SWITCHED.len());
    assert_eq!(wire.over(), [expected]);
}

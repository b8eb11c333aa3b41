//! TLS handshakes by listener, and connections that are not read.

use super::script::{MS, Script, WORKER, answer, get};
use crate::event::{Cookie, Direction, Event, Handshake, HandshakeStep, TcpState};

const CLIENT_HELLO: &[u8] = b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc";
const SERVER_HELLO: &[u8] = b"\x16\x03\x03\x00\x7a\x02\x00\x00\x76";

fn step(script: &mut Script, at_ms: u64, socket: Cookie, step: HandshakeStep) {
    let (time_ns, began_ns) = (at_ms * MS, MS);
    let handshake = Handshake { time_ns, socket, sequence: 0, process: WORKER, thread: WORKER, began_ns, step };
    script.handle(&Event::Handshake(handshake));
}

fn unreadable(script: &mut Script) -> Option<u64> {
    script.handle(&Event::Tick(0));
    script.value("observer_tls_unreadable_connections")
}

fn handshakes(script: &Script, result: &str) -> Option<u64> {
    script.value(&format!("observer_tls_handshakes_total{{listener=\"80\",result=\"{result}\"}}"))
}

#[test]
fn a_handshake_that_is_done_has_a_time() {
    let mut script = Script::new();
    let client = script.accepts(1);
    step(&mut script, 1, client, HandshakeStep::Begun);
    step(&mut script, 4, client, HandshakeStep::Done);
    script.peer_closes(9, client);
    assert_eq!(handshakes(&script, "done"), Some(1));
    assert_eq!(script.value("observer_tls_handshake_seconds_count{listener=\"80\"}"), Some(1));
    assert_eq!(script.value("observer_tls_handshake_seconds_bucket{listener=\"80\",le=\"0.002\"}"), Some(0));
    assert_eq!(script.value("observer_tls_handshake_seconds_bucket{listener=\"80\",le=\"0.005\"}"), Some(1));
}

#[test]
fn a_handshake_fails_for_its_first_alert_or_for_whoever_closed() {
    let mut script = Script::new();
    let alerts = [(Direction::Sent, 70), (Direction::Received, 48), (Direction::Received, 200)];
    for (direction, description) in alerts {
        let client = script.accepts(1);
        step(&mut script, 1, client, HandshakeStep::Begun);
        step(&mut script, 2, client, HandshakeStep::Alert { direction, description });
        step(&mut script, 2, client, HandshakeStep::Alert { direction: Direction::Sent, description: 10 });
        script.gateway_closes(3, client);
    }
    let client = script.accepts(1);
    step(&mut script, 1, client, HandshakeStep::Begun);
    script.peer_closes(3, client);
    let client = script.accepts(1);
    step(&mut script, 1, client, HandshakeStep::Begun);
    script.gateway_closes(3, client);
    let results = ["sent_protocol_version", "received_unknown_ca", "received_alert", "client_closed", "gateway_closed"];
    for result in results {
        assert_eq!(handshakes(&script, result), Some(1), "{result}");
    }
    assert_eq!(script.value("observer_exchanges_begun_total"), Some(0));
}

#[test]
fn connections_that_cannot_be_read_are_counted_while_they_are_open() {
    let mut script = Script::new();
    let clients = [script.accepts(1), script.accepts(1)];
    for client in clients {
        script.reads(2, client, CLIENT_HELLO);
        script.writes(3, client, SERVER_HELLO);
    }
    assert_eq!(unreadable(&mut script), Some(2));
    // As far as can be told, these were handshakes.
    assert_eq!(script.value("observer_exchanges_unobserved_total{reason=\"tls_unreadable\"}"), None);
    script.peer_closes(5, clients[0]);
    assert_eq!(unreadable(&mut script), Some(1));
    script.turns_with(6, clients[1], TcpState::Established, TcpState::Close, true);
    assert_eq!(unreadable(&mut script), Some(0));
    assert_eq!(script.value("observer_exchanges_unobserved_total{reason=\"tls_unreadable\"}"), Some(2));
}

#[test]
fn a_connection_counts_once_by_its_protocol() {
    let mut script = Script::new();
    let client = script.accepts(1);
    for at_ms in [2, 4] {
        script.reads(at_ms, client, get("/orders"));
        script.writes(at_ms + 1, client, answer(200, ""));
    }
    let other = script.accepts(1);
    step(&mut script, 2, other, HandshakeStep::Protocol(b"h2"[..].into()));
    assert_eq!(script.value("observer_connections_total{protocol=\"http/1\"}"), Some(1));
    assert_eq!(script.value("observer_connections_total{protocol=\"http/2\"}"), Some(1));
    assert_eq!(script.value("observer_exchanges_unobserved_total{reason=\"http2\"}"), Some(1));
}

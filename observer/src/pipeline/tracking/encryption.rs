//! TLS handshakes, and connections whose exchanges are not read.

use crate::connection::{Carried, Connection, OpenHandshake};
use crate::event::{Cookie, Direction, Handshake, HandshakeStep, Nanoseconds, Role};

use super::Tracking;
use crate::pipeline::fact::Fact;

/// Alerts that end a handshake (RFC 8446, section 6, and RFC 5246, section 7.2), as a result's label; of others the
/// number is not told.
const ALERTS: [(u8, &str, &str); 18] = [
    (10, "sent_unexpected_message", "received_unexpected_message"),
    (20, "sent_bad_record_mac", "received_bad_record_mac"),
    (40, "sent_handshake_failure", "received_handshake_failure"),
    (42, "sent_bad_certificate", "received_bad_certificate"),
    (43, "sent_unsupported_certificate", "received_unsupported_certificate"),
    (44, "sent_certificate_revoked", "received_certificate_revoked"),
    (45, "sent_certificate_expired", "received_certificate_expired"),
    (46, "sent_certificate_unknown", "received_certificate_unknown"),
    (47, "sent_illegal_parameter", "received_illegal_parameter"),
    (48, "sent_unknown_ca", "received_unknown_ca"),
    (50, "sent_decode_error", "received_decode_error"),
    (51, "sent_decrypt_error", "received_decrypt_error"),
    (70, "sent_protocol_version", "received_protocol_version"),
    (71, "sent_insufficient_security", "received_insufficient_security"),
    (80, "sent_internal_error", "received_internal_error"),
    (112, "sent_unrecognized_name", "received_unrecognized_name"),
    (116, "sent_certificate_required", "received_certificate_required"),
    (120, "sent_no_application_protocol", "received_no_application_protocol"),
];

impl Tracking {
    pub(super) fn handshake(&mut self, handshake: &Handshake) {
        let mut moments = self.moments.take().unwrap_or_default();
        if let Some(connection) = self.connections.get_mut(&handshake.socket) {
            connection.handshake(handshake, &mut moments);
            if handshake.step == HandshakeStep::Done {
                self.handshake_done(handshake.socket, handshake.time_ns);
            }
            self.moments_of(handshake.socket, &mut moments);
        }
        self.moments = Some(moments);
    }

    fn handshake_done(&mut self, socket: Cookie, time_ns: Nanoseconds) {
        let Some(connection) = self.connections.get_mut(&socket) else { return };
        let open = connection.handshake.take();
        if let (Some(open), Some(listener)) = (open, listener(connection)) {
            let took_ns = time_ns.saturating_sub(open.began_ns);
            self.facts.push(Fact::Handshake { listener, result: "done", took_ns: Some(took_ns) });
        }
    }

    /// A connection ended: a handshake that was still under way on it failed.
    pub(super) fn handshake_ended(&mut self, socket: Cookie) {
        let Some(connection) = self.connections.get_mut(&socket) else { return };
        if let (Some(open), Some(listener)) = (connection.handshake.take(), listener(connection)) {
            let result = failure(&open, connection.has_peer_closed());
            self.facts.push(Fact::Handshake { listener, result, took_ns: None });
        }
    }

    /// A connection's bytes are, or are no longer, such as are read.
    pub(super) fn carries(&mut self, socket: Cookie, carried: Carried) {
        let Some(connection) = self.connections.get_mut(&socket) else { return };
        let before = std::mem::replace(&mut connection.carried, carried);
        self.facts.push(Fact::Carries { before, now: carried, process: connection.process });
        if carried == Carried::Http2 && connection.opened.role == Role::Client {
            self.facts.push(Fact::Protocol("http/2"));
        }
    }
}

/// The port that a client's connection came in by.
fn listener(connection: &Connection) -> Option<u16> {
    (connection.opened.role == Role::Client).then(|| connection.opened.local.ip())?.map(|local| local.port())
}

fn failure(open: &OpenHandshake, has_peer_closed: bool) -> &'static str {
    match open.alert {
        Some((direction, description)) => {
            let known = ALERTS.iter().find(|(number, ..)| *number == description);
            match (direction, known) {
                (Direction::Sent, known) => known.map_or("sent_alert", |(_, sent, _)| sent),
                (Direction::Received, known) => known.map_or("received_alert", |(.., received)| received),
            }
        }
        None if has_peer_closed => "client_closed",
        None => "gateway_closed",
    }
}

//! Sockets: what they are, their states, and the TLS handshakes on them.

use std::net::{IpAddr, SocketAddr};

use observer_ebpf::limits::{PROTOCOL_BYTES, UNIX_PATH_BYTES};
use observer_ebpf::record::{self, Header, direction, handshake, kind, role};
use zerocopy::IntoBytes;

use super::{DecodeError, own, take};
use crate::event::{Direction, Endpoint, Handshake, HandshakeStep, Opened, Origin, Role, StateChange};

const AF_UNIX: u16 = 1;
const AF_INET: u16 = 2;
const AF_INET6: u16 = 10;
pub(super) const SYN_SENT: u8 = 2;
/// `sk_shutdown` after a close (include/net/sock.h).
const SHUTDOWN_MASK: u8 = 3;

pub(super) fn decode_opened(bytes: &[u8]) -> Result<Opened, DecodeError> {
    let (record, _) = take::<record::Opened>(bytes)?;
    let unknown = DecodeError::Unknown { kind: record.header.kind };
    let path = record.path.get(..record.path_bytes as usize).ok_or(unknown)?;
    let role = match record.role {
        role::ACCEPTED => Role::Client,
        role::CONNECTED => Role::Upstream,
        role::LISTENING => Role::Listener,
        _ => return Err(unknown),
    };
    let (local, remote) = match record.family {
        AF_INET | AF_INET6 => {
            let is_v4 = record.family == AF_INET;
            (
                Endpoint::from_bytes(is_v4, record.local, record.local_port),
                Endpoint::from_bytes(is_v4, record.remote, record.remote_port),
            )
        }
        AF_UNIX => unix_ends(role, path),
        _ => return Err(unknown),
    };
    Ok(Opened {
        time_ns: record.header.time_ns,
        socket: record.header.socket,
        sequence: record.header.sequence,
        process: record.header.process_id,
        thread: record.header.thread_id,
        network: record.network,
        role,
        origin: match (record.header.kind, role) {
            (own::SCANNED, _) => Origin::Scan,
            (_, Role::Listener) => Origin::Beginning,
            // An accept is seen in no task, a connect before its handshake.
            (_, Role::Client) if record.header.process_id == 0 => Origin::Beginning,
            (_, Role::Upstream) if record.state == SYN_SENT => Origin::Beginning,
            _ => Origin::Midway,
        },
        state: record.state,
        local,
        remote,
    })
}

/// Only the listening end of a UNIX connection has a path.
fn unix_ends(role: Role, path: &[u8]) -> (Endpoint, Endpoint) {
    let end = match path {
        // An abstract name may hold zeros, a path ends at the first.
        [0, ..] | [] => path,
        _ => path.split(|&byte| byte == 0).next().unwrap_or_default(),
    };
    let (named, unnamed) = (Endpoint::Unix(end.into()), Endpoint::Unix([].into()));
    match role {
        Role::Client | Role::Listener => (named, unnamed),
        Role::Upstream => (unnamed, named),
    }
}

pub(super) fn encode_opened(opened: &Opened, to: &mut Vec<u8>) {
    let mut record = record::Opened {
        header: Header {
            kind: if opened.origin == Origin::Scan { own::SCANNED } else { kind::OPENED },
            sequence: opened.sequence,
            socket: opened.socket,
            time_ns: opened.time_ns,
            process_id: opened.process,
            thread_id: opened.thread,
            ..Header::default()
        },
        family: AF_UNIX,
        local_port: 0,
        remote_port: 0,
        role: match opened.role {
            Role::Client => role::ACCEPTED,
            Role::Upstream => role::CONNECTED,
            Role::Listener => role::LISTENING,
        },
        state: opened.state,
        network: opened.network,
        path_bytes: 0,
        local: [0; 16],
        remote: [0; 16],
        path: [0; UNIX_PATH_BYTES],
        reserved: 0,
    };
    match (&opened.local, &opened.remote) {
        (Endpoint::Ip(local), Endpoint::Ip(remote)) => {
            let is_v4 = local.is_ipv4() && remote.is_ipv4();
            record.family = if is_v4 { AF_INET } else { AF_INET6 };
            (record.local, record.local_port) = address_bytes(is_v4, local);
            (record.remote, record.remote_port) = address_bytes(is_v4, remote);
        }
        (Endpoint::Unix(local), Endpoint::Unix(remote)) => {
            let path = if local.is_empty() { remote } else { local };
            let bytes = path.len().min(UNIX_PATH_BYTES);
            record.path[..bytes].copy_from_slice(&path[..bytes]);
            record.path_bytes = bytes as u32;
        }
        _ => {}
    }
    to.extend_from_slice(record.as_bytes());
}

fn address_bytes(is_v4: bool, address: &SocketAddr) -> ([u8; 16], u16) {
    let mut bytes = [0; 16];
    match address.ip() {
        IpAddr::V4(ip) if is_v4 => bytes[..4].copy_from_slice(&ip.octets()),
        IpAddr::V4(ip) => bytes = ip.to_ipv6_mapped().octets(),
        IpAddr::V6(ip) => bytes = ip.octets(),
    }
    (bytes, address.port())
}

pub(super) fn state_change(record: record::StateChange) -> StateChange {
    StateChange {
        time_ns: record.header.time_ns,
        socket: record.header.socket,
        sequence: record.header.sequence,
        old: record.old.into(),
        new: record.new.into(),
        local_port: record.local_port,
        local: record.local,
        error: record.error,
        is_closed: record.shutdown == SHUTDOWN_MASK,
        unseen_bytes: record.unseen_bytes,
    }
}

pub(super) fn state_record(state: &StateChange) -> record::StateChange {
    record::StateChange {
        header: Header {
            kind: kind::STATE,
            sequence: state.sequence,
            socket: state.socket,
            time_ns: state.time_ns,
            ..Header::default()
        },
        old: state.old.into(),
        new: state.new.into(),
        local_port: state.local_port,
        error: state.error,
        local: state.local,
        shutdown: if state.is_closed { SHUTDOWN_MASK } else { 0 },
        reserved: [0; 3],
        unseen_bytes: state.unseen_bytes,
    }
}

pub(super) fn decode_handshake(bytes: &[u8]) -> Result<Handshake, DecodeError> {
    let (record, _) = take::<record::Handshake>(bytes)?;
    let unknown = DecodeError::Unknown { kind: kind::HANDSHAKE };
    let step = match record.what {
        handshake::BEGUN => HandshakeStep::Begun,
        handshake::DONE => HandshakeStep::Done,
        handshake::ALERT => HandshakeStep::Alert {
            direction: match record.direction {
                direction::RECEIVED => Direction::Received,
                direction::SENT => Direction::Sent,
                _ => return Err(unknown),
            },
            description: record.alert,
        },
        handshake::ALPN => {
            let name = record.protocol.get(..usize::from(record.protocol_bytes)).ok_or(unknown)?;
            HandshakeStep::Protocol(name.into())
        }
        _ => return Err(unknown),
    };
    Ok(Handshake {
        time_ns: record.header.time_ns,
        socket: record.header.socket,
        sequence: record.header.sequence,
        process: record.header.process_id,
        thread: record.header.thread_id,
        began_ns: record.began_ns,
        step,
    })
}

pub(super) fn handshake_record(event: &Handshake) -> record::Handshake {
    let mut record = record::Handshake {
        header: Header {
            kind: kind::HANDSHAKE,
            sequence: event.sequence,
            socket: event.socket,
            time_ns: event.time_ns,
            process_id: event.process,
            thread_id: event.thread,
            ..Header::default()
        },
        began_ns: event.began_ns,
        what: handshake::BEGUN,
        direction: 0,
        alert: 0,
        protocol_bytes: 0,
        protocol: [0; PROTOCOL_BYTES],
        reserved: 0,
    };
    match &event.step {
        HandshakeStep::Begun => {}
        HandshakeStep::Done => record.what = handshake::DONE,
        HandshakeStep::Alert { direction, description } => {
            record.what = handshake::ALERT;
            record.direction = match direction {
                Direction::Received => direction::RECEIVED,
                Direction::Sent => direction::SENT,
            };
            record.alert = *description;
        }
        HandshakeStep::Protocol(name) => {
            let bytes = name.len().min(PROTOCOL_BYTES);
            record.what = handshake::ALPN;
            record.protocol[..bytes].copy_from_slice(&name[..bytes]);
            record.protocol_bytes = bytes as u8;
        }
    }
    record
}

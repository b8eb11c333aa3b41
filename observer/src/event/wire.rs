//! Events as bytes: the kernel's records as they are, and the agent's own events in the same manner.
//!
//! Decoding trusts no length: a record that is too short or speaks of an unknown kind is an error, never a panic.

use std::mem::offset_of;
use std::net::{IpAddr, SocketAddr};
use std::str::Utf8Chunk;
use std::sync::Arc;

use observer_ebpf::limits::{NAME_BYTES, PROTOCOL_BYTES, TAIL_BYTES, UNIX_PATH_BYTES};
use observer_ebpf::record::{self, Header, call, direction, handshake, kind, layer, process, role};
use thiserror::Error;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use super::{
    Call, Data, Datagram, Direction, Endpoint, Event, Handshake, HandshakeStep, Layer, Lost, Opened, Origin, Process,
    ProcessChange, Remaining, Resolved, Role, StateChange,
};

/// Kinds of the agent's own events; the kernel's kinds are small numbers.
mod own {
    pub const SCANNED: u8 = 64;
    pub const FOUND: u8 = 65;
    pub const LOST: u8 = 66;
    pub const RESOLVED: u8 = 67;
    pub const READY: u8 = 68;
    pub const TICK: u8 = 69;
    pub const REMAINING: u8 = 70;
    /// [`RESOLVED`] with the network namespace before it.
    pub const RESOLVED_THERE: u8 = 71;
}

const AF_UNIX: u16 = 1;
const AF_INET: u16 = 2;
const AF_INET6: u16 = 10;
const SYN_SENT: u8 = 2;
/// `sk_shutdown` after a close (include/net/sock.h).
const SHUTDOWN_MASK: u8 = 3;

/// A record that is none.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
pub enum DecodeError {
    /// Fewer bytes than its kind has.
    #[error("a record of kind {kind} is cut short at {bytes} bytes")]
    Short {
        /// Its first byte.
        kind: u8,
        /// Its length.
        bytes: usize,
    },
    /// A kind, family, role or direction that this version does not know.
    #[error("a record of kind {kind} holds a value that this version does not know")]
    Unknown {
        /// Its first byte.
        kind: u8,
    },
}

impl<'a> Event<'a> {
    /// Reads one record.
    pub fn decode(bytes: &'a [u8]) -> Result<Self, DecodeError> {
        let kind = *bytes.first().ok_or(DecodeError::Short { kind: 0, bytes: 0 })?;
        match kind {
            kind::DATA => decode_data(bytes).map(Event::Data),
            kind::DATAGRAM => decode_datagram(bytes).map(Event::Datagram),
            kind::OPENED | own::SCANNED => decode_opened(bytes).map(Event::Opened),
            kind::STATE => take::<record::StateChange>(bytes).map(|(state, _)| Event::State(state_change(state))),
            kind::HANDSHAKE => decode_handshake(bytes).map(Event::Handshake),
            kind::PROCESS => decode_process(bytes).map(Event::Process),
            own::FOUND | own::LOST | own::RESOLVED | own::RESOLVED_THERE | own::READY | own::TICK => decode_own(bytes),
            own::REMAINING => decode_remaining(bytes).map(Event::Remaining),
            _ => Err(DecodeError::Unknown { kind }),
        }
    }

    /// Appends the event as [`Event::decode`] reads it.
    pub fn encode(&self, to: &mut Vec<u8>) {
        match self {
            Event::Data(data) => encode_data(data, to),
            Event::Datagram(datagram) => encode_datagram(datagram, to),
            Event::Opened(opened) => encode_opened(opened, to),
            Event::State(state) => to.extend_from_slice(state_record(state).as_bytes()),
            Event::Handshake(handshake) => to.extend_from_slice(handshake_record(handshake).as_bytes()),
            Event::Process(process) => encode_process(process, to),
            Event::Lost(lost) => {
                put_header(own::LOST, lost.time_ns, 0, to);
                to.extend_from_slice(&lost.count.to_ne_bytes());
                to.extend_from_slice(lost.reason.as_bytes());
            }
            Event::Resolved(resolved) => encode_resolved(resolved, to),
            Event::Remaining(remaining) => encode_remaining(remaining, to),
            Event::Ready(time_ns) => put_header(own::READY, *time_ns, 0, to),
            Event::Tick(time_ns) => put_header(own::TICK, *time_ns, 0, to),
        }
    }
}

fn take<T: FromBytes + KnownLayout + Immutable>(bytes: &[u8]) -> Result<(T, &[u8]), DecodeError> {
    T::read_from_prefix(bytes)
        .map_err(|_| DecodeError::Short { kind: bytes.first().copied().unwrap_or(0), bytes: bytes.len() })
}

fn decode_data(bytes: &[u8]) -> Result<Data<'_>, DecodeError> {
    let (record, rest) = take::<record::Data>(bytes)?;
    let tail = &bytes[offset_of!(record::Data, tail)..];
    let unknown = DecodeError::Unknown { kind: kind::DATA };
    let sample =
        rest.get(..record.sample_bytes as usize).ok_or(DecodeError::Short { kind: kind::DATA, bytes: bytes.len() })?;
    Ok(Data {
        time_ns: record.header.time_ns,
        socket: record.header.socket,
        sequence: record.header.sequence,
        process: record.header.process_id,
        thread: record.header.thread_id,
        direction: match record.direction {
            direction::RECEIVED => Direction::Received,
            direction::SENT => Direction::Sent,
            _ => return Err(unknown),
        },
        call: match record.call {
            call::BUFFER => Call::Buffer,
            call::PAGES => Call::Pages,
            _ => Call::Unsampled,
        },
        layer: match record.layer {
            layer::SOCKET => Layer::Socket,
            layer::TLS => Layer::Tls,
            _ => return Err(unknown),
        },
        offset: record.offset,
        result: record.result,
        unseen_bytes: record.unseen_bytes,
        sample,
        tail: tail[..TAIL_BYTES].get(..usize::from(record.tail_bytes)).ok_or(unknown)?,
    })
}

fn encode_data(data: &Data<'_>, to: &mut Vec<u8>) {
    let mut tail = [0; TAIL_BYTES];
    let tail_bytes = data.tail.len().min(TAIL_BYTES);
    tail[..tail_bytes].copy_from_slice(&data.tail[..tail_bytes]);
    let record = record::Data {
        header: Header {
            kind: kind::DATA,
            sequence: data.sequence,
            socket: data.socket,
            time_ns: data.time_ns,
            process_id: data.process,
            thread_id: data.thread,
            ..Header::default()
        },
        offset: data.offset,
        result: data.result,
        sample_bytes: data.sample.len() as u32,
        direction: match data.direction {
            Direction::Received => direction::RECEIVED,
            Direction::Sent => direction::SENT,
        },
        call: match data.call {
            Call::Buffer => call::BUFFER,
            Call::Pages => call::PAGES,
            Call::Unsampled => call::UNKNOWN,
        },
        tail_bytes: tail_bytes as u8,
        layer: match data.layer {
            Layer::Socket => layer::SOCKET,
            Layer::Tls => layer::TLS,
        },
        unseen_bytes: data.unseen_bytes,
        tail,
    };
    to.extend_from_slice(record.as_bytes());
    to.extend_from_slice(data.sample);
}

fn decode_datagram(bytes: &[u8]) -> Result<Datagram<'_>, DecodeError> {
    let (record, rest) = take::<record::Datagram>(bytes)?;
    let short = DecodeError::Short { kind: kind::DATAGRAM, bytes: bytes.len() };
    Ok(Datagram {
        time_ns: record.header.time_ns,
        socket: record.header.socket,
        sequence: record.header.sequence,
        process: record.header.process_id,
        thread: record.header.thread_id,
        network: record.network,
        sample: rest.get(..record.sample_bytes as usize).ok_or(short)?,
    })
}

fn encode_datagram(datagram: &Datagram<'_>, to: &mut Vec<u8>) {
    let header = Header {
        kind: kind::DATAGRAM,
        sequence: datagram.sequence,
        socket: datagram.socket,
        time_ns: datagram.time_ns,
        process_id: datagram.process,
        thread_id: datagram.thread,
        ..Header::default()
    };
    let sample_bytes = datagram.sample.len() as u32;
    to.extend_from_slice(record::Datagram { header, network: datagram.network, sample_bytes }.as_bytes());
    to.extend_from_slice(datagram.sample);
}

fn decode_opened(bytes: &[u8]) -> Result<Opened, DecodeError> {
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

fn encode_opened(opened: &Opened, to: &mut Vec<u8>) {
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

fn state_change(record: record::StateChange) -> StateChange {
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

fn state_record(state: &StateChange) -> record::StateChange {
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

fn decode_handshake(bytes: &[u8]) -> Result<Handshake, DecodeError> {
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

fn handshake_record(event: &Handshake) -> record::Handshake {
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

fn decode_process(bytes: &[u8]) -> Result<Process, DecodeError> {
    let (record, _) = take::<record::Process>(bytes)?;
    let change = match record.what {
        process::FORKED => ProcessChange::Forked { parent: record.parent_id },
        process::EXECUTED => ProcessChange::Executed { name: name(&record.name), watched: record.header.process != 0 },
        process::EXITED => ProcessChange::Exited,
        _ => return Err(DecodeError::Unknown { kind: kind::PROCESS }),
    };
    Ok(Process { time_ns: record.header.time_ns, process: record.header.process_id, change })
}

fn encode_process(event: &Process, to: &mut Vec<u8>) {
    let mut record = record::Process {
        header: Header { kind: kind::PROCESS, time_ns: event.time_ns, process_id: event.process, ..Header::default() },
        what: process::EXITED,
        reserved: [0; 3],
        parent_id: 0,
        name: [0; NAME_BYTES],
    };
    match &event.change {
        ProcessChange::Found { root, name } => {
            put_header(own::FOUND, event.time_ns, event.process, to);
            to.extend_from_slice(&root.to_ne_bytes());
            to.extend_from_slice(name.as_bytes());
            return;
        }
        ProcessChange::Forked { parent } => {
            record.what = process::FORKED;
            record.parent_id = *parent;
        }
        ProcessChange::Executed { name, watched } => {
            record.what = process::EXECUTED;
            record.header.process = u8::from(*watched);
            let bytes = name.len().min(NAME_BYTES - 1);
            record.name[..bytes].copy_from_slice(&name.as_bytes()[..bytes]);
        }
        ProcessChange::Exited => {}
    }
    to.extend_from_slice(record.as_bytes());
}

/// A name has as many bytes as its record says: what is no UTF-8 becomes one `?` a byte, so that it fits a record again.
fn name(bytes: &[u8; NAME_BYTES]) -> Arc<str> {
    let bytes = &bytes[..NAME_BYTES - 1];
    let end = bytes.iter().position(|&byte| byte == 0).unwrap_or(bytes.len());
    let valid = |chunk: Utf8Chunk<'_>| chunk.valid().to_owned() + &"?".repeat(chunk.invalid().len());
    bytes[..end].utf8_chunks().map(valid).collect::<String>().into()
}

fn put_header(kind: u8, time_ns: u64, process_id: u32, to: &mut Vec<u8>) {
    let header = Header { kind, time_ns, process_id, ..Header::default() };
    to.extend_from_slice(header.as_bytes());
}

fn decode_own(bytes: &[u8]) -> Result<Event<'_>, DecodeError> {
    let (header, rest) = take::<Header>(bytes)?;
    let time_ns = header.time_ns;
    let short = DecodeError::Short { kind: header.kind, bytes: bytes.len() };
    let text = |bytes: &[u8]| Arc::<str>::from(String::from_utf8_lossy(bytes));
    Ok(match header.kind {
        own::FOUND => {
            let (root, rest) = rest.split_first_chunk().ok_or(short)?;
            let change = ProcessChange::Found { root: u32::from_ne_bytes(*root), name: text(rest) };
            Event::Process(Process { time_ns, process: header.process_id, change })
        }
        own::LOST => {
            let (count, rest) = rest.split_first_chunk().ok_or(short)?;
            Event::Lost(Lost { time_ns, reason: text(rest), count: u64::from_ne_bytes(*count) })
        }
        own::RESOLVED | own::RESOLVED_THERE => {
            let (network, rest) = match header.kind {
                own::RESOLVED => (0, rest),
                _ => rest.split_first_chunk().map(|(inode, rest)| (u32::from_ne_bytes(*inode), rest)).ok_or(short)?,
            };
            let (&count, mut rest) = rest.split_first().ok_or(short)?;
            let mut addresses = Vec::new();
            for _ in 0..count {
                let (address, after) = rest.split_first_chunk::<16>().ok_or(short)?;
                addresses.push(std::net::Ipv6Addr::from(*address).to_canonical());
                rest = after;
            }
            Event::Resolved(Resolved { time_ns, name: text(rest), network, addresses })
        }
        own::READY => Event::Ready(time_ns),
        own::TICK => Event::Tick(time_ns),
        kind => return Err(DecodeError::Unknown { kind }),
    })
}

fn encode_remaining(remaining: &Remaining, to: &mut Vec<u8>) {
    put_header(own::REMAINING, remaining.time_ns, 0, to);
    let (first, last) = remaining.range;
    to.extend_from_slice(&u64::from(remaining.network).to_ne_bytes());
    [first, last].iter().chain(&remaining.sockets).for_each(|word| to.extend_from_slice(&word.to_ne_bytes()));
}

fn decode_remaining(bytes: &[u8]) -> Result<Remaining, DecodeError> {
    let (header, rest) = take::<Header>(bytes)?;
    let short = DecodeError::Short { kind: header.kind, bytes: bytes.len() };
    let (words, []) = rest.as_chunks::<8>() else { return Err(short) };
    let mut words = words.iter().map(|word| u64::from_ne_bytes(*word));
    let mut next = || words.next().ok_or(short);
    let (network, first, last) = (next()?, next()?, next()?);
    let network = u32::try_from(network).map_err(|_| DecodeError::Unknown { kind: header.kind })?;
    let mut sockets: Vec<u64> = words.collect();
    // A damaged recording may have them in any order.
    sockets.sort_unstable();
    Ok(Remaining { time_ns: header.time_ns, network, range: (first, last), sockets })
}

fn encode_resolved(resolved: &Resolved, to: &mut Vec<u8>) {
    if resolved.network == 0 {
        put_header(own::RESOLVED, resolved.time_ns, 0, to);
    } else {
        put_header(own::RESOLVED_THERE, resolved.time_ns, 0, to);
        to.extend_from_slice(&resolved.network.to_ne_bytes());
    }
    let count = resolved.addresses.len().min(usize::from(u8::MAX));
    to.push(count as u8);
    for address in &resolved.addresses[..count] {
        let bytes = match address {
            IpAddr::V4(ip) => ip.to_ipv6_mapped().octets(),
            IpAddr::V6(ip) => ip.octets(),
        };
        to.extend_from_slice(&bytes);
    }
    to.extend_from_slice(resolved.name.as_bytes());
}

#[cfg(test)]
mod tests;

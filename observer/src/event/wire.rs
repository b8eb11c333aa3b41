//! Events as bytes: the kernel's records as they are, and the agent's own events in the same manner.
//!
//! Decoding trusts no length: a record that is too short or speaks of an unknown kind is an error, never a panic.

mod calls;
mod own;
mod sockets;
#[cfg(test)]
mod tests;

use observer_ebpf::record::{self, Header, kind};
use thiserror::Error;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use super::Event;
use calls::{decode_data, decode_datagram, encode_data, encode_datagram};
use own::{decode_own, decode_process, decode_remaining, encode_process, encode_remaining, encode_resolved};
use sockets::{decode_handshake, decode_opened, encode_opened, handshake_record, state_change, state_record};

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

fn put_header(kind: u8, time_ns: u64, process_id: u32, to: &mut Vec<u8>) {
    let header = Header { kind, time_ns, process_id, ..Header::default() };
    to.extend_from_slice(header.as_bytes());
}

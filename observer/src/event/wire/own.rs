//! Processes, and what the agent itself tells.

use std::net::IpAddr;
use std::str::Utf8Chunk;
use std::sync::Arc;

use observer_ebpf::limits::NAME_BYTES;
use observer_ebpf::record::{self, Header, kind, process};
use zerocopy::IntoBytes;

use super::{DecodeError, put_header, take};
use crate::event::{Event, Lost, Process, ProcessChange, Remaining, Resolved};

// Kinds of the agent's own events; the kernel's kinds are small numbers.
pub const SCANNED: u8 = 64;
pub const FOUND: u8 = 65;
pub const LOST: u8 = 66;
pub const RESOLVED: u8 = 67;
pub const READY: u8 = 68;
pub const TICK: u8 = 69;
pub const REMAINING: u8 = 70;
/// [`RESOLVED`] with the network namespace before it.
pub const RESOLVED_THERE: u8 = 71;

pub(super) fn decode_process(bytes: &[u8]) -> Result<Process, DecodeError> {
    let (record, _) = take::<record::Process>(bytes)?;
    let change = match record.what {
        process::FORKED => ProcessChange::Forked { parent: record.parent_id },
        process::EXECUTED => ProcessChange::Executed { name: name(&record.name), watched: record.header.process != 0 },
        process::EXITED => ProcessChange::Exited,
        _ => return Err(DecodeError::Unknown { kind: kind::PROCESS }),
    };
    Ok(Process { time_ns: record.header.time_ns, process: record.header.process_id, change })
}

pub(super) fn encode_process(event: &Process, to: &mut Vec<u8>) {
    let mut record = record::Process {
        header: Header { kind: kind::PROCESS, time_ns: event.time_ns, process_id: event.process, ..Header::default() },
        what: process::EXITED,
        reserved: [0; 3],
        parent_id: 0,
        name: [0; NAME_BYTES],
    };
    match &event.change {
        ProcessChange::Found { root, name } => {
            put_header(FOUND, event.time_ns, event.process, to);
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

pub(super) fn decode_own(bytes: &[u8]) -> Result<Event<'_>, DecodeError> {
    let (header, rest) = take::<Header>(bytes)?;
    let time_ns = header.time_ns;
    let short = DecodeError::Short { kind: header.kind, bytes: bytes.len() };
    let text = |bytes: &[u8]| Arc::<str>::from(String::from_utf8_lossy(bytes));
    Ok(match header.kind {
        FOUND => {
            let (root, rest) = rest.split_first_chunk().ok_or(short)?;
            let change = ProcessChange::Found { root: u32::from_ne_bytes(*root), name: text(rest) };
            Event::Process(Process { time_ns, process: header.process_id, change })
        }
        LOST => {
            let (count, rest) = rest.split_first_chunk().ok_or(short)?;
            Event::Lost(Lost { time_ns, reason: text(rest), count: u64::from_ne_bytes(*count) })
        }
        RESOLVED | RESOLVED_THERE => {
            let (network, rest) = match header.kind {
                RESOLVED => (0, rest),
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
        READY => Event::Ready(time_ns),
        TICK => Event::Tick(time_ns),
        kind => return Err(DecodeError::Unknown { kind }),
    })
}

pub(super) fn encode_remaining(remaining: &Remaining, to: &mut Vec<u8>) {
    put_header(REMAINING, remaining.time_ns, 0, to);
    let (first, last) = remaining.range;
    to.extend_from_slice(&u64::from(remaining.network).to_ne_bytes());
    [first, last].iter().chain(&remaining.sockets).for_each(|word| to.extend_from_slice(&word.to_ne_bytes()));
}

pub(super) fn decode_remaining(bytes: &[u8]) -> Result<Remaining, DecodeError> {
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

pub(super) fn encode_resolved(resolved: &Resolved, to: &mut Vec<u8>) {
    if resolved.network == 0 {
        put_header(RESOLVED, resolved.time_ns, 0, to);
    } else {
        put_header(RESOLVED_THERE, resolved.time_ns, 0, to);
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

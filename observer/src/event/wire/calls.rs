//! Calls that moved bytes.

use std::mem::offset_of;

use observer_ebpf::limits::TAIL_BYTES;
use observer_ebpf::record::{self, Header, call, direction, kind, layer};
use zerocopy::IntoBytes;

use super::{DecodeError, take};
use crate::event::{Call, Data, Datagram, Direction, Layer};

pub(super) fn decode_data(bytes: &[u8]) -> Result<Data<'_>, DecodeError> {
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

pub(super) fn encode_data(data: &Data<'_>, to: &mut Vec<u8>) {
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

pub(super) fn decode_datagram(bytes: &[u8]) -> Result<Datagram<'_>, DecodeError> {
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

pub(super) fn encode_datagram(datagram: &Datagram<'_>, to: &mut Vec<u8>) {
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

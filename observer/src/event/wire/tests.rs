use std::mem::offset_of;

use observer_ebpf::limits::NAME_BYTES;
use observer_ebpf::record::process;

use super::sockets::SYN_SENT;
use super::*;
use crate::event::{
    Call, Data, Datagram, Direction, Endpoint, Handshake, HandshakeStep, Layer, Lost, Opened, Origin, Process,
    ProcessChange, Remaining, Resolved, Role, StateChange, TcpState,
};

fn round_trip(event: &Event<'_>) {
    let mut bytes = Vec::new();
    event.encode(&mut bytes);
    assert_eq!(Event::decode(&bytes).as_ref(), Ok(event));
    for length in 0..bytes.len() {
        // Cut short it may be an error or a shorter name, never a panic.
        let _ = Event::decode(&bytes[..length]);
    }
}

fn opened(role: Role, origin: Origin, local: Endpoint, remote: Endpoint) -> Event<'static> {
    let state = if role == Role::Upstream && origin == Origin::Beginning { SYN_SENT } else { 1 };
    let process = if role == Role::Client && origin == Origin::Beginning { 0 } else { 17 };
    Event::Opened(Opened {
        time_ns: 5,
        socket: 9,
        sequence: 3,
        process,
        thread: process,
        network: 4_026_531_840,
        role,
        origin,
        state,
        local,
        remote,
    })
}

fn ip(text: &str) -> Endpoint {
    Endpoint::Ip(text.parse().unwrap())
}

fn unix(path: &[u8]) -> Endpoint {
    Endpoint::Unix(path.into())
}

#[test]
fn opened_sockets_survive_encoding() {
    round_trip(&opened(Role::Client, Origin::Beginning, ip("10.0.0.1:80"), ip("10.0.0.2:4000")));
    round_trip(&opened(Role::Upstream, Origin::Beginning, ip("[fd00::1]:0"), ip("[fd00::2]:81")));
    round_trip(&opened(Role::Upstream, Origin::Midway, unix(b""), unix(b"/run/a.sock")));
    round_trip(&opened(Role::Client, Origin::Scan, unix(b"\0abstract\0x"), unix(b"")));
    round_trip(&opened(Role::Listener, Origin::Beginning, ip("0.0.0.0:80"), ip("0.0.0.0:0")));
}

#[test]
fn a_mapped_address_reads_as_ipv4() {
    let bytes = std::net::Ipv4Addr::new(10, 1, 2, 3).to_ipv6_mapped().octets();
    assert_eq!(Endpoint::from_bytes(false, bytes, 80), ip("10.1.2.3:80"));
}

#[test]
fn data_survives_encoding() {
    let data = Data {
        time_ns: 1,
        socket: 2,
        sequence: 3,
        process: 4,
        thread: 5,
        direction: Direction::Sent,
        call: Call::Buffer,
        layer: Layer::Socket,
        offset: 1 << 40,
        result: 5000,
        unseen_bytes: 7,
        sample: b"HTTP/1.1 200 OK",
        tail: b"\r\n0\r\n\r\n",
    };
    round_trip(&Event::Data(data));
    round_trip(&Event::Data(Data { layer: Layer::Tls, ..data }));
    round_trip(&Event::Data(Data { result: -104, sample: b"", tail: b"", direction: Direction::Received, ..data }));
}

#[test]
fn the_other_events_survive_encoding() {
    let process = |change| Event::Process(Process { time_ns: 1, process: 2, change });
    round_trip(&process(ProcessChange::Forked { parent: 7 }));
    round_trip(&process(ProcessChange::Executed { name: "nginx".into(), watched: true }));
    round_trip(&process(ProcessChange::Exited));
    round_trip(&process(ProcessChange::Found { root: 1, name: "nginx".into() }));
    round_trip(&Event::Lost(Lost { time_ns: 1, reason: "ring_full".into(), count: 12 }));
    let addresses = vec!["10.0.0.1".parse().unwrap(), "fd00::1".parse().unwrap()];
    for network in [0, 4_026_531_840] {
        let (name, addresses) = ("shop.test".into(), addresses.clone());
        round_trip(&Event::Resolved(Resolved { time_ns: 1, name, network, addresses }));
    }
    let sample = b"\0\x01\x81\x80";
    let datagram = Datagram { time_ns: 1, socket: 2, sequence: 3, process: 4, thread: 5, network: 6, sample };
    round_trip(&Event::Datagram(datagram));
    round_trip(&Event::Remaining(Remaining {
        time_ns: 1,
        network: 2,
        range: (3, u64::MAX),
        sockets: vec![3, 5, 1 << 60],
    }));
    round_trip(&Event::Ready(3));
    round_trip(&Event::Tick(4));
    round_trip(&Event::State(StateChange {
        time_ns: 1,
        socket: 2,
        sequence: 3,
        old: TcpState::SynSent,
        new: TcpState::Other(11),
        local_port: 80,
        local: [1; 16],
        error: 111,
        is_closed: true,
        unseen_bytes: 5,
    }));
}

/// Any process may name itself so (`PR_SET_NAME`).
#[test]
fn a_name_that_is_no_utf_8_survives_encoding() {
    for name in [&b"ngin\xff"[..], &[0xa7; NAME_BYTES], "αβγδεζηθ".as_bytes()] {
        let event = Process { time_ns: 1, process: 2, change: ProcessChange::Exited };
        let mut bytes = Vec::new();
        Event::Process(event).encode(&mut bytes);
        bytes[offset_of!(record::Process, what)] = process::EXECUTED;
        let at = offset_of!(record::Process, name);
        bytes[at..at + name.len()].copy_from_slice(name);
        let event = Event::decode(&bytes).unwrap();
        round_trip(&event);
        let Event::Process(Process { change: ProcessChange::Executed { name: read, .. }, .. }) = event else {
            panic!()
        };
        assert_eq!(read.len(), name.len().min(NAME_BYTES - 1));
    }
}

#[test]
fn steps_of_a_handshake_survive_encoding() {
    let alert = HandshakeStep::Alert { direction: Direction::Sent, description: 70 };
    for step in [HandshakeStep::Begun, HandshakeStep::Done, alert, HandshakeStep::Protocol(b"h2"[..].into())] {
        let (time_ns, began_ns) = (7, 3);
        round_trip(&Event::Handshake(Handshake {
            time_ns,
            socket: 2,
            sequence: 3,
            process: 4,
            thread: 5,
            began_ns,
            step,
        }));
    }
}

#[test]
fn a_sample_longer_than_its_record_is_refused() {
    let mut bytes = Vec::new();
    let data = Data {
        time_ns: 1,
        socket: 2,
        sequence: 3,
        process: 4,
        thread: 5,
        direction: Direction::Sent,
        call: Call::Buffer,
        layer: Layer::Socket,
        offset: 0,
        result: 4,
        unseen_bytes: 0,
        sample: b"abcd",
        tail: b"",
    };
    Event::Data(data).encode(&mut bytes);
    bytes.pop();
    assert_eq!(Event::decode(&bytes), Err(DecodeError::Short { kind: kind::DATA, bytes: bytes.len() }));
}

#[test]
fn unknown_kinds_and_values_are_refused() {
    assert_eq!(Event::decode(&[200]), Err(DecodeError::Unknown { kind: 200 }));
    assert_eq!(Event::decode(&[]), Err(DecodeError::Short { kind: 0, bytes: 0 }));
    let mut bytes = Vec::new();
    opened(Role::Client, Origin::Scan, ip("1.2.3.4:5"), ip("1.2.3.4:6")).encode(&mut bytes);
    bytes[offset_of!(record::Opened, family)] = 99;
    assert_eq!(Event::decode(&bytes), Err(DecodeError::Unknown { kind: own::SCANNED }));
}

//! Any events in any order: nothing panics, and the identity holds after each.

use std::collections::HashSet;

use proptest::collection::vec;
use proptest::prelude::*;

use super::script::{GATEWAY, ORDERS, Script, USERS, ip};
use crate::event::{
    Call, Data, Direction, Endpoint, Event, Handshake, HandshakeStep, Layer, Lost, Opened, Origin, Process,
    ProcessChange, Resolved, Role, StateChange, TcpState,
};
use crate::exposition::text;

/// Whole messages, pieces of messages, and bytes that are none.
const PIECES: [&[u8]; 25] = [
    b"GET /orders HTTP/1.1\r\nHost: x\r\n\r\n",
    b"GET /users HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n",
    b"HEAD /orders HTTP/1.0\r\n\r\n",
    b"POST /orders HTTP/1.1\r\nContent-Length: 8\r\n\r\n",
    b"PUT /users HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n",
    b"GET /ws HTTP/1.1\r\nConnection: upgrade\r\nUpgrade: w\r\n\r\n",
    b"CONNECT x:1 HTTP/1.1\r\n\r\n",
    b"GET /cut HTTP/1.1\r\nHo",
    b"st: x\r\n\r\n",
    b"12345678",
    b"5\r\nabcde\r\n",
    b"0\r\n\r\n",
    b"\r\n",
    b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n",
    b"HTTP/1.1 200 OK\r\nContent-Length: 8\r\n\r\n",
    b"HTTP/1.1 502 Bad Gateway\r\nTransfer-Encoding: chunked\r\n\r\n",
    b"HTTP/1.0 404 Not Found\r\n\r\n",
    b"HTTP/1.1 304 Not Modified\r\nContent-Length: 8\r\n\r\n",
    b"HTTP/1.1 100 Continue\r\n\r\n",
    b"HTTP/1.1 101 Switching Protocols\r\n\r\n",
    b"\x16\x03\x01\x02\x00\x01\x00\n\n",
    b"\x17\x03\x03\x00\x05hello",
    b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    b"\0\0\0\x04\0\0\0\0\0",
    b"",
];

/// A few sockets and processes, so that the events meet.
fn socket() -> impl Strategy<Value = u64> {
    2..9_u64
}

fn process() -> impl Strategy<Value = u32> {
    prop_oneof![6 => Just(11), 2 => 9..13_u32, 1 => Just(0)]
}

fn end() -> impl Strategy<Value = Endpoint> {
    prop_oneof![
        Just(ip(GATEWAY)),
        Just(ip(ORDERS)),
        Just(ip(USERS)),
        Just(ip("10.0.0.7:4000")),
        Just(ip("0.0.0.0:0")),
        Just(ip("[::1]:80")),
        Just(Endpoint::Unix([].into())),
        Just(Endpoint::Unix(b"/run/app.sock"[..].into())),
    ]
}

fn opened() -> impl Strategy<Value = Event<'static>> {
    let role = prop_oneof![4 => Just(Role::Client), 3 => Just(Role::Upstream), 1 => Just(Role::Listener)];
    let origin = prop_oneof![4 => Just(Origin::Beginning), 1 => Just(Origin::Midway), 1 => Just(Origin::Scan)];
    let ends = prop_oneof![3 => Just((ip(GATEWAY), ip("10.0.0.7:4000"))), 2 => (end(), end())];
    (socket(), process(), role, origin, ends, any::<u8>()).prop_map(|(socket, process, role, origin, ends, state)| {
        Event::Opened(Opened {
            time_ns: 0,
            socket,
            sequence: 0,
            process,
            thread: process,
            network: 1,
            role,
            origin,
            state,
            local: ends.0,
            remote: ends.1,
        })
    })
}

#[derive(Clone, Debug)]
enum Offset {
    InStep,
    Jump(u64),
    Any(u64),
}

/// A call; the test sets the time, and the offset where it is in step.
fn data() -> impl Strategy<Value = (Data<'static>, Offset)> {
    let direction = prop_oneof![Just(Direction::Received), Just(Direction::Sent)];
    let call = prop_oneof![8 => Just(Call::Buffer), 1 => Just(Call::Pages), 1 => Just(Call::Unsampled)];
    let offset = prop_oneof![
        30 => Just(Offset::InStep),
        2 => (1..100_u64).prop_map(Offset::Jump),
        1 => prop_oneof![any::<u64>(), Just(u64::MAX)].prop_map(Offset::Any),
    ];
    let result = prop_oneof![20 => Just(None), 2 => Just(Some(0)), 2 => any::<i32>().prop_map(Some)];
    let hidden = prop_oneof![6 => Just(0), 1 => 0..5000_i32];
    let tail = prop_oneof![Just(&b""[..]), Just(&b"\n\r\n0\r\n\r\n"[..])];
    let sample = proptest::sample::select(&PIECES[..]);
    let unseen_bytes = prop_oneof![9 => Just(0), 1 => any::<u32>()];
    let layer = prop_oneof![5 => Just(Layer::Socket), 1 => Just(Layer::Tls)];
    (socket(), process(), direction, call, offset, result, (hidden, tail, sample, unseen_bytes, layer)).prop_map(
        |(socket, process, direction, call, offset, result, (hidden, tail, sample, unseen_bytes, layer))| {
            let result = result.unwrap_or(sample.len() as i32 + hidden);
            let data = Data {
                time_ns: 0,
                socket,
                sequence: 0,
                process,
                thread: process,
                direction,
                call,
                layer,
                offset: 0,
                result,
                unseen_bytes,
                sample,
                tail,
            };
            (data, offset)
        },
    )
}

fn state() -> impl Strategy<Value = Event<'static>> {
    let tcp = || prop_oneof![any::<u8>(), 1..12_u8].prop_map(TcpState::from);
    (socket(), tcp(), tcp(), any::<bool>(), any::<u32>()).prop_map(|(socket, old, new, is_closed, sequence)| {
        let (local, local_port, error) = ([0; 16], 80, 0);
        Event::State(StateChange {
            time_ns: 0,
            socket,
            sequence,
            old,
            new,
            local_port,
            local,
            error,
            is_closed,
            unseen_bytes: 0,
        })
    })
}

fn handshake() -> impl Strategy<Value = Event<'static>> {
    let direction = prop_oneof![Just(Direction::Received), Just(Direction::Sent)];
    let step = prop_oneof![
        3 => Just(HandshakeStep::Begun),
        3 => Just(HandshakeStep::Done),
        1 => (direction, any::<u8>()).prop_map(|(direction, description)| HandshakeStep::Alert { direction, description }),
        1 => Just(HandshakeStep::Protocol(b"h2"[..].into())),
    ];
    (socket(), process(), any::<u32>(), any::<u64>(), step).prop_map(|(socket, process, sequence, began_ns, step)| {
        Event::Handshake(Handshake { time_ns: 0, socket, sequence, process, thread: process, began_ns, step })
    })
}

fn other() -> impl Strategy<Value = Event<'static>> {
    let name = || prop_oneof![Just("nginx"), Just("kong")].prop_map(std::sync::Arc::<str>::from);
    let change = prop_oneof![
        (process(), name()).prop_map(|(root, name)| ProcessChange::Found { root, name }),
        process().prop_map(|parent| ProcessChange::Forked { parent }),
        (name(), any::<bool>()).prop_map(|(name, watched)| ProcessChange::Executed { name, watched }),
        Just(ProcessChange::Exited),
    ];
    prop_oneof![
        (process(), change).prop_map(|(process, change)| Event::Process(Process { time_ns: 0, process, change })),
        any::<u32>().prop_map(|count| Event::Lost(Lost {
            time_ns: 0,
            reason: "ring_full".into(),
            count: count.into()
        })),
        Just(Event::Resolved(Resolved { time_ns: 0, name: "x".into(), network: 0, addresses: Vec::new() })),
        Just(Event::Tick(0)),
    ]
}

#[derive(Clone, Debug)]
enum Step {
    Data(Data<'static>, Offset),
    Event(Event<'static>),
}

fn step() -> impl Strategy<Value = (u64, Step)> {
    let time = prop_oneof![9 => 0..10_000_000_u64, 1 => any::<u64>()];
    let step = prop_oneof![
        3 => opened().prop_map(Step::Event),
        16 => data().prop_map(|(data, offset)| Step::Data(data, offset)),
        3 => state().prop_map(Step::Event),
        1 => handshake().prop_map(Step::Event),
        1 => other().prop_map(Step::Event),
    ];
    (time, step)
}

/// Plays the steps; the identity is checked after each.
fn play(steps: &[(u64, Step)]) -> String {
    let mut script = Script::new();
    let mut streams = std::collections::HashMap::<(u64, bool), u64>::new();
    let mut now = 0_u64;
    for (time, step) in steps {
        now = now.wrapping_add(*time);
        match step {
            Step::Event(event) => script.handle(&at(now, event.clone())),
            Step::Data(data, offset) => {
                let stream = streams.entry((data.socket, data.direction == Direction::Sent)).or_default();
                let offset = match offset {
                    Offset::InStep => *stream,
                    Offset::Jump(bytes) => stream.wrapping_add(*bytes),
                    Offset::Any(offset) => *offset,
                };
                *stream = offset.wrapping_add(u64::try_from(data.result).unwrap_or(0));
                script.handle(&Event::Data(Data { time_ns: now, offset, ..*data }));
            }
        }
        let mut given = HashSet::new();
        let exchanges = script.pipeline.tracking.connections.values().flat_map(|connection| connection.exchanges());
        for attempt in exchanges.flat_map(|exchange| &exchange.attempts) {
            assert!(given.insert(attempt.id), "{:?} is given twice", attempt.id);
        }
        let [active, reading, writing, waiting] = script.gauge();
        assert_eq!(active, reading + writing + waiting);
    }
    script.page(text::Options::default())
}

fn at(now: u64, event: Event<'static>) -> Event<'static> {
    match event {
        Event::Opened(opened) => Event::Opened(Opened { time_ns: now, ..opened }),
        Event::State(change) => Event::State(StateChange { time_ns: now, ..change }),
        Event::Handshake(handshake) => Event::Handshake(Handshake { time_ns: now, ..handshake }),
        Event::Process(process) => Event::Process(Process { time_ns: now, ..process }),
        other => other,
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 100, ..ProptestConfig::default() })]

    #[test]
    fn the_identity_holds_whatever_comes(steps in vec(step(), 1..60)) {
        let page = play(&steps);
        prop_assert_eq!(play(&steps), page, "the same events give the same page");
    }
}

//! A script played to a pipeline: the events that the kernel part would write.

use std::net::SocketAddr;

use observer::connection::{Connection, Moment};
use observer::event::{
    Call, Cookie, Data, Direction, Endpoint, Event, Lost, Opened, Origin, Process, ProcessChange, Resolved, Role,
    StateChange, TcpState,
};
use observer::exchange::Ending;
use observer::pipeline::Pipeline;

use super::script::{Observed, SLOTS, Step, Turn};
use crate::told::{self, LOCAL, ORDERS, Told, USERS};

const MASTER: u32 = 10;
const GATEWAY: &str = "10.0.0.1:80";
const GATEWAY_PATH: &[u8] = b"/run/gateway.sock";
const LISTENERS: u64 = 2;
const MS: u64 = 1_000_000;
const TAIL_BYTES: usize = 8;

/// What the bytes of all connections are by themselves.
#[derive(Clone, Copy, Debug)]
pub struct Traffic {
    /// Each connection is in step all along, and each head is one.
    pub is_sound: bool,
    /// There are bytes of protocols that are not HTTP.
    pub has_tunnels: bool,
}

impl Traffic {
    fn take(&mut self, moment: &Moment) {
        match moment {
            Moment::Stray(_) | Moment::Ended(_, Ending::Lost(_)) => self.is_sound = false,
            Moment::Ended(exchange, _) => {
                let (request, response) = (&exchange.request, &exchange.response);
                // Bare answers and HTTP/0.9 are told by how calls begin.
                let is_bare = response.is_bare || exchange.is_simple();
                let is_method = exchange.method().bytes().all(|byte| byte.is_ascii_uppercase());
                self.is_sound &= is_method && !(request.is_malformed || response.is_malformed || is_bare);
                self.has_tunnels |= exchange.is_upgraded;
            }
            Moment::Begun(_) | Moment::RequestHead(_) | Moment::RequestEnd(_) | Moment::ResponseHead(_) => {}
        }
    }
}

/// How a script is observed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// All of it.
    Whole,
    /// All of it, each call in pieces of so many bytes.
    Pieces(usize),
    /// As it says.
    AsTold,
}

/// Plays a script to its end, and then ends all connections and processes. Tells too what traffic it was.
pub fn play(script: &[Step], way: Way) -> (Told, Traffic) {
    let mut world = World::new(way);
    for step in script {
        world.step(step);
    }
    Told::by(&mut world.pipeline).holds();
    (0..SLOTS).for_each(|slot| world.close(slot));
    (0..world.workers.len()).for_each(|worker| world.exit(worker));
    let told = Told::by(&mut world.pipeline);
    told.holds();
    (told, world.traffic)
}

struct World {
    way: Way,
    pipeline: Pipeline,
    now: u64,
    workers: [u32; 2],
    next_process: u32,
    next_cookie: Cookie,
    slots: [Option<Socket>; SLOTS],
    traffic: Traffic,
    moments: Vec<Moment>,
}

struct Socket {
    opened: Opened,
    /// What its bytes are by themselves.
    connection: Connection,
    /// Records that are still to come before the observer does.
    late: u8,
    state: TcpState,
    /// Nothing more is read.
    is_at_end: bool,
    worker: usize,
    sequence: u32,
    received: u64,
    sent: u64,
}

impl World {
    fn new(way: Way) -> Self {
        let mut world = World {
            way,
            pipeline: told::pipeline(),
            now: MS,
            workers: [11, 12],
            next_process: 13,
            next_cookie: LISTENERS + 1,
            slots: [const { None }; SLOTS],
            traffic: Traffic { is_sound: true, has_tunnels: false },
            moments: Vec::new(),
        };
        world.process(MASTER, ProcessChange::Found { root: MASTER, name: "nginx".into() });
        world.process(11, ProcessChange::Forked { parent: MASTER });
        world.process(12, ProcessChange::Forked { parent: MASTER });
        let ends = [(ip(GATEWAY), ip("0.0.0.0:0")), (unix(GATEWAY_PATH), unix(b""))];
        for (socket, (local, remote)) in (1..=LISTENERS).zip(ends) {
            let (role, origin) = (Role::Listener, Origin::Scan);
            let listener = Opened { socket, role, origin, local, remote, ..world.opened(MASTER, 10) };
            world.pipeline.handle(&Event::Opened(listener));
        }
        world
    }

    fn step(&mut self, step: &Step) {
        match step {
            Step::Open { slot, worker, upstream, late, is_scanned } => {
                self.close(*slot);
                let late = if self.way == Way::AsTold { *late } else { 0 };
                self.open(*slot, *worker, *upstream, late, *is_scanned);
            }
            Step::Bytes { slot, is_asked, bytes, observed } => self.bytes(*slot, *is_asked, &bytes.0, *observed),
            Step::Result(slot, result, observed) => {
                let result = (*result, Direction::Received);
                self.call(*slot, result, b"", b"", Call::Buffer, 0, *observed == Observed::Lost);
            }
            Step::State(slot, turn, observed) => self.turn(*slot, *turn, *observed == Observed::Lost),
            Step::Time(ms) => self.now += ms * MS,
            Step::Exit(slot) => {
                let worker = slot % self.workers.len();
                self.exit(worker);
                self.workers[worker] = self.next_process;
                self.next_process += 1;
                self.process(self.workers[worker], ProcessChange::Forked { parent: MASTER });
            }
            Step::Aside(what) => self.aside(*what),
            Step::Odd(record) => {
                if self.way == Way::AsTold
                    && let Ok(event) = Event::decode(record)
                {
                    self.pipeline.handle(&event);
                }
            }
        }
    }

    fn opened(&self, process: u32, state: u8) -> Opened {
        Opened {
            time_ns: self.now,
            socket: 0,
            sequence: 0,
            process,
            thread: process,
            network: 1,
            role: Role::Client,
            origin: Origin::Beginning,
            state,
            local: ip(GATEWAY),
            remote: ip(GATEWAY),
        }
    }

    fn open(&mut self, slot: usize, worker: usize, upstream: usize, late: u8, is_scanned: bool) {
        let socket = self.next_cookie;
        self.next_cookie += 1;
        let (is_client, is_unix) = (slot.is_multiple_of(2), slot >= SLOTS - 2);
        let client = || Endpoint::Ip(SocketAddr::from(([10, 0, 0, 7], 1024 + (socket % 60_000) as u16)));
        let (local, remote) = match (is_client, is_unix) {
            (true, false) => (ip(GATEWAY), client()),
            (true, true) => (unix(GATEWAY_PATH), unix(b"")),
            (false, false) => (ip("0.0.0.0:0"), ip([ORDERS, USERS][upstream])),
            (false, true) => (unix(b""), unix(LOCAL)),
        };
        let process = self.workers[worker];
        // An accept is seen in no task; of a UNIX socket the first call is what shows it.
        let is_accept = is_client && !is_unix && late == 0;
        let is_connect = !is_client && !is_unix;
        let opened = Opened {
            socket,
            role: if is_client { Role::Client } else { Role::Upstream },
            origin: match (late, is_scanned) {
                (0, _) => Origin::Beginning,
                (_, false) => Origin::Midway,
                (_, true) => Origin::Scan,
            },
            local,
            remote,
            ..self.opened(if is_accept { 0 } else { process }, if is_connect && late == 0 { 2 } else { 1 })
        };
        if late == 0 {
            self.pipeline.handle(&Event::Opened(opened.clone()));
        }
        let state = if is_connect { TcpState::SynSent } else { TcpState::Established };
        let connection = Connection::new(opened.clone(), 0);
        self.slots[slot] = Some(Socket {
            opened,
            connection,
            late,
            state,
            is_at_end: false,
            worker,
            sequence: 1,
            received: 0,
            sent: 0,
        });
        if is_connect {
            self.turn(slot, Turn::Established, false);
        }
    }

    fn bytes(&mut self, slot: usize, is_asked: bool, bytes: &[u8], observed: Observed) {
        let is_client = slot.is_multiple_of(2);
        let direction = if is_asked == is_client { Direction::Received } else { Direction::Sent };
        let moved = |bytes: &[u8]| (bytes.len() as i32, direction);
        if bytes.is_empty() {
            return;
        }
        match (self.way, observed) {
            (Way::Pieces(length), _) => {
                for piece in bytes.chunks(length) {
                    self.call(slot, moved(piece), piece, b"", Call::Buffer, 0, false);
                }
            }
            (Way::Whole, _) | (Way::AsTold, Observed::Whole) => {
                self.call(slot, moved(bytes), bytes, b"", Call::Buffer, 0, false);
            }
            (Way::AsTold, Observed::Sampled(count)) => {
                let sample = &bytes[..count.min(bytes.len())];
                let tail = if sample.len() == bytes.len() { b"" } else { last(bytes) };
                self.call(slot, moved(bytes), sample, tail, Call::Buffer, 0, false);
            }
            (Way::AsTold, Observed::Pages) => self.call(slot, moved(bytes), b"", b"", Call::Pages, 0, false),
            (Way::AsTold, Observed::Unsampled) => self.call(slot, moved(bytes), b"", b"", Call::Unsampled, 0, false),
            (Way::AsTold, Observed::Unseen(count)) => {
                let (unseen, bytes) = bytes.split_at(count.min(bytes.len() - 1));
                self.call(slot, moved(bytes), bytes, b"", Call::Buffer, unseen.len(), false);
            }
            (Way::AsTold, Observed::Lost) => self.call(slot, moved(bytes), b"", b"", Call::Buffer, 0, true),
        }
    }

    #[expect(clippy::too_many_arguments, reason = "a record's fields")]
    fn call(
        &mut self,
        slot: usize,
        (result, direction): (i32, Direction),
        sample: &[u8],
        tail: &[u8],
        call: Call,
        unseen: usize,
        is_lost: bool,
    ) {
        let Some(socket) = self.seen(slot, true) else { return };
        let process = self.workers[self.slots[slot].as_ref().map_or(0, |socket| socket.worker)];
        let Some(state) = &mut self.slots[slot] else { return };
        if state.is_at_end && direction == Direction::Received {
            return;
        }
        state.is_at_end = result <= 0;
        let stream = match direction {
            Direction::Received => &mut state.received,
            Direction::Sent => &mut state.sent,
        };
        let offset = *stream + unseen as u64;
        *stream = offset + u64::try_from(result).unwrap_or(0);
        let sequence = state.sequence;
        state.sequence += 1;
        if is_lost && self.way == Way::AsTold {
            return;
        }
        let data = Data {
            time_ns: self.now,
            socket,
            sequence,
            process,
            thread: process,
            direction,
            call,
            offset,
            result,
            unseen_bytes: unseen as u32,
            sample,
            tail,
        };
        self.pipeline.handle(&Event::Data(data));
        state.connection.data(&data, &mut self.moments);
        self.moments.drain(..).for_each(|moment| self.traffic.take(&moment));
    }

    /// The slot's socket, once the observer sees what happens on it.
    fn seen(&mut self, slot: usize, opens: bool) -> Option<Cookie> {
        if self.slots[slot].is_none() {
            if !opens {
                return None;
            }
            self.open(slot, 0, slot / 2 % 2, 0, false);
        }
        let (now, socket) = (self.now, self.slots[slot].as_mut()?);
        if socket.late > 0 {
            socket.late -= 1;
            if socket.late == 0 {
                socket.opened.time_ns = now;
                self.pipeline.handle(&Event::Opened(socket.opened.clone()));
            }
            return None;
        }
        Some(socket.opened.socket)
    }

    fn turn(&mut self, slot: usize, turn: Turn, is_lost: bool) {
        let Some(state) = &self.slots[slot] else { return };
        if matches!(state.opened.local, Endpoint::Unix(_)) {
            return;
        }
        let (new, is_closed) = match (turn, state.state) {
            (Turn::Established, TcpState::SynSent) => (TcpState::Established, false),
            (Turn::PeerEnds, TcpState::Established) => (TcpState::CloseWait, false),
            (Turn::GatewayEnds, TcpState::Established) => (TcpState::FinWait, false),
            (Turn::GatewayCloses, TcpState::Established) => (TcpState::FinWait, true),
            (Turn::GatewayCloses, TcpState::CloseWait) => (TcpState::LastAck, true),
            (Turn::Closed, TcpState::SynSent) => (TcpState::Close, false),
            (Turn::Closed, old) => (TcpState::Close, matches!(old, TcpState::FinWait | TcpState::LastAck)),
            _ => return,
        };
        self.state(slot, new, is_closed, is_lost);
    }

    fn state(&mut self, slot: usize, new: TcpState, is_closed: bool, is_lost: bool) {
        let seen = self.seen(slot, false);
        let (time_ns, way) = (self.now, self.way);
        let Some(state) = &mut self.slots[slot] else { return };
        let old = std::mem::replace(&mut state.state, new);
        if let Some(socket) = seen {
            let sequence = state.sequence;
            state.sequence += 1;
            if !(is_lost && way == Way::AsTold) {
                let (local, local_port) = ([10, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0], 40_000 + slot as u16);
                let change =
                    StateChange { time_ns, socket, sequence, old, new, local_port, local, error: 0, is_closed };
                self.pipeline.handle(&Event::State(change));
                state.connection.state(&change, &mut self.moments);
                self.moments.drain(..).for_each(|moment| self.traffic.take(&moment));
            }
        }
        if new == TcpState::Close {
            self.slots[slot] = None;
        }
    }

    fn close(&mut self, slot: usize) {
        self.turn(slot, Turn::GatewayCloses, false);
        self.turn(slot, Turn::Closed, false);
        self.slots[slot] = None;
    }

    fn exit(&mut self, worker: usize) {
        self.process(self.workers[worker], ProcessChange::Exited);
        for slot in 0..SLOTS {
            if self.slots[slot].as_ref().is_some_and(|socket| socket.worker == worker) {
                self.close(slot);
            }
        }
    }

    fn process(&mut self, process: u32, change: ProcessChange) {
        self.pipeline.handle(&Event::Process(Process { time_ns: self.now, process, change }));
    }

    fn aside(&mut self, what: u8) {
        let time_ns = self.now;
        self.pipeline.handle(&match what {
            0..3 => Event::Tick(time_ns),
            3 => Event::Ready(time_ns),
            4 => Event::Lost(Lost { time_ns, reason: "ring_full".into(), count: 1 }),
            _ => Event::Resolved(Resolved { time_ns, name: "x".into(), addresses: Vec::new() }),
        });
    }
}

fn last(bytes: &[u8]) -> &[u8] {
    &bytes[bytes.len().saturating_sub(TAIL_BYTES)..]
}

fn ip(address: &str) -> Endpoint {
    Endpoint::Ip(address.parse().expect("an address"))
}

fn unix(path: &[u8]) -> Endpoint {
    Endpoint::Unix(path.into())
}

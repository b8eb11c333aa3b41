//! A script played to a pipeline: the events that the kernel part would write.

use std::net::SocketAddr;

use observer::connection::{Connection, Moments};
use observer::event::{
    Cookie, Direction, Endpoint, Event, Lost, Opened, Origin, Process, ProcessChange, Resolved, Role, StateChange,
    TcpState,
};
use observer::pipeline::{Following, Pipeline};

use super::calls::Moved;
use super::script::{Observed, SLOTS, Step, Turn};
use super::traffic::Traffic;
use crate::told::{self, LOCAL, ORDERS, Told, USERS};

const MASTER: u32 = 10;
const GATEWAY: &str = "10.0.0.1:80";
const GATEWAY_PATH: &[u8] = b"/run/gateway.sock";
const LISTENERS: u64 = 2;
const MS: u64 = 1_000_000;

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

pub(super) struct World {
    pub(super) way: Way,
    pub(super) pipeline: Pipeline,
    pub(super) now: u64,
    pub(super) workers: [u32; 2],
    next_process: u32,
    next_cookie: Cookie,
    pub(super) slots: [Option<Socket>; SLOTS],
    pub(super) traffic: Traffic,
    pub(super) moments: Moments,
}

pub(super) struct Socket {
    pub(super) opened: Opened,
    /// What its bytes are by themselves.
    pub(super) connection: Connection,
    /// Records that are still to come before the observer does.
    pub(super) late: u8,
    pub(super) state: TcpState,
    /// Nothing more is read.
    pub(super) is_at_end: bool,
    /// The gateway has closed it.
    pub(super) is_closed: bool,
    pub(super) worker: usize,
    pub(super) sequence: u32,
    pub(super) received: u64,
    pub(super) sent: u64,
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
            traffic: Traffic::default(),
            moments: Moments::default(),
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
                let is_lost = *observed == Observed::Lost;
                self.call(*slot, Moved { is_lost, ..Moved::new(Direction::Received, *result) });
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
            is_closed: false,
            worker,
            sequence: 1,
            received: 0,
            sent: 0,
        });
        if is_connect {
            self.turn(slot, Turn::Established, false);
        }
    }

    /// The slot's socket, once the observer sees what happens on it.
    pub(super) fn seen(&mut self, slot: usize, opens: bool) -> Option<Cookie> {
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
        state.is_closed |= is_closed;
        if let Some(socket) = seen {
            let sequence = state.sequence;
            state.sequence += 1;
            if !(is_lost && way == Way::AsTold) {
                let (local, local_port) = ([10, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0], 40_000 + slot as u16);
                let change = StateChange {
                    time_ns,
                    socket,
                    sequence,
                    old,
                    new,
                    local_port,
                    local,
                    error: 0,
                    is_closed,
                    unseen_bytes: 0,
                };
                self.pipeline.handle(&Event::State(change));
                state.connection.state(&change, &mut self.moments);
                self.moments.told.drain(..).for_each(|moment| self.traffic.take(&moment));
            }
        }
        if new == TcpState::Close {
            self.slots[slot] = None;
        }
    }

    fn close(&mut self, slot: usize) {
        self.turn(slot, Turn::GatewayCloses, false);
        self.turn(slot, Turn::Closed, false);
        if let Some(socket) = self.slots[slot].take() {
            socket.connection.exchanges().for_each(|exchange| self.traffic.take_exchange(exchange));
        }
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
            _ => Event::Resolved(Resolved { time_ns, name: "x".into(), network: 0, addresses: Vec::new() }),
        });
    }
}

fn ip(address: &str) -> Endpoint {
    Endpoint::Ip(address.parse().expect("an address"))
}

fn unix(path: &[u8]) -> Endpoint {
    Endpoint::Unix(path.into())
}

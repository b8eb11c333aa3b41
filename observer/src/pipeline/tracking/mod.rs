//! Follows connections and joins their exchanges: events in, [`Fact`]s out. What it keeps belongs to single connections,
//! threads and processes, and no process has to do with another one's: so several of these may share the processes out.

mod clients;
mod encryption;
mod joining;
mod journal;
mod moving;
mod names;
mod upstreams;

use rustc_hash::FxHashMap;

use crate::connection::{Carried, Connection, Moments};
use crate::event::{
    Cookie, Data, Direction, Event, Nanoseconds, Opened, Process, ProcessChange, Remaining, Role, StateChange, TcpState,
};
use crate::exchange::{Exchange, Unobserved};
use crate::gateways::Gateways;
use crate::pairing::{Pairing, Touch};
use crate::resets::Resets;

use super::fact::{Ends, Fact, Facts, UpstreamFact};

pub use journal::Pair;
pub use moving::Moved;

use joining::Held;
use journal::Journal;
use names::NameServers;

/// Connections kept at once. Each takes about 600 bytes while nothing is under way on it.
pub const CONNECTIONS_MAX: usize = 262_144;

/// Connections over UNIX sockets kept at once: what closes them is not seen, so the oldest idle ones make room. More than
/// all workers' keepalive pools together.
pub const UNIX_CONNECTIONS_MAX: usize = 4096;

/// How connections are followed.
#[derive(Clone, Debug)]
pub struct Options {
    /// Connections kept at once; [`CONNECTIONS_MAX`] by default.
    pub connections_max: usize,
    /// Tell what is said to upstreams, one of which may be the datastore.
    pub tells_talk: bool,
    /// Keep whom Kong names to upstreams.
    pub keeps_consumers: bool,
}

impl Default for Options {
    fn default() -> Self {
        Options { connections_max: CONNECTIONS_MAX, tells_talk: false, keeps_consumers: false }
    }
}

/// Connections, what is under way on them, and what threads are at.
pub struct Tracking {
    options: Options,
    gateways: Gateways,
    pub(super) connections: FxHashMap<Cookie, Connection>,
    /// Connections over UNIX sockets, oldest first, and some that are gone.
    pub(super) unix: Vec<Cookie>,
    resets: Resets,
    pairing: Pairing,
    pub(super) name_servers: NameServers,
    held: Vec<Held>,
    journal: Option<Journal>,
    /// Out while a call is looked at; large, so that it is not moved itself.
    moments: Option<Box<Moments>>,
    facts: Facts,
}

impl Tracking {
    /// Nothing is followed yet.
    pub fn new(options: Options) -> Self {
        Tracking {
            options,
            gateways: Gateways::default(),
            connections: FxHashMap::default(),
            unix: Vec::new(),
            resets: Resets::default(),
            pairing: Pairing::default(),
            name_servers: NameServers::default(),
            held: Vec::new(),
            journal: None,
            moments: None,
            facts: Facts::default(),
        }
    }

    /// Takes one event.
    pub fn handle(&mut self, event: &Event<'_>) {
        match event {
            Event::Data(data) => self.data(data),
            Event::Datagram(datagram) => {
                // Any of the clients that wait for a name may be next.
                self.touch(datagram.thread, Touch::Elsewhere);
                names::datagram(datagram, &mut self.facts);
            }
            Event::State(change) => self.state(change),
            Event::Handshake(handshake) => self.handshake(handshake),
            Event::Opened(opened) => self.opened(opened),
            Event::Process(process) => self.process(process),
            Event::Remaining(remaining) => self.remaining(remaining),
            Event::Ready(time_ns) | Event::Tick(time_ns) => self.time_went_by(*time_ns),
            Event::Lost(_) | Event::Resolved(_) => {}
        }
    }

    /// What came to light, for the caller to take out.
    pub fn facts(&mut self) -> &mut Facts {
        &mut self.facts
    }

    /// Takes an exchange that was counted, for its memory.
    pub fn reuse(&mut self, exchange: Box<Exchange>) {
        self.moments.get_or_insert_default().give_back(exchange);
    }

    /// Clients' exchanges under way: begun, and neither counted nor filtered nor unobserved yet.
    pub fn open_exchanges(&self) -> usize {
        let clients = self.connections.values().filter(|connection| connection.opened.role == Role::Client);
        clients.map(|connection| connection.exchanges().count()).sum()
    }

    /// Another datastore is looked for, or none any more.
    pub fn look_for_datastore(&mut self, is_there: bool) {
        self.options.tells_talk = is_there;
        let upstreams = self.connections.values().filter(|connection| connection.opened.role == Role::Upstream);
        let ends = upstreams.map(|connection| Ends::of(&connection.opened));
        ends.for_each(|ends| self.facts.push(Fact::Upstream(ends, UpstreamFact::Stands)));
    }

    /// Keeps the pairs one by one from here on.
    pub fn keep_pairs(&mut self) {
        self.journal.get_or_insert_default();
    }

    /// The pairs of the exchanges that are over, since they were asked for last.
    pub fn take_pairs(&mut self) -> Vec<Pair> {
        self.journal.as_mut().map(|journal| std::mem::take(&mut journal.pairs)).unwrap_or_default()
    }

    fn opened(&mut self, opened: &Opened) {
        if opened.role == Role::Listener {
            return self.gateways.listening(opened);
        }
        let Some((role, gateway)) = self.gateways.side(opened) else { return };
        if self.connections.contains_key(&opened.socket) {
            return;
        }
        if self.connections.len() >= self.options.connections_max {
            return self.stray(Unobserved::TableFull);
        }
        let mut connection = Connection::new(Opened { role, ..opened.clone() }, gateway);
        match role {
            Role::Upstream => self.upstream_opened(&mut connection),
            Role::Client | Role::Listener => self.client_opened(&connection),
        }
        let is_unix = connection.is_unix();
        self.connections.insert(opened.socket, connection);
        if is_unix {
            self.make_room_for_unix(opened.socket);
        }
    }

    /// A quarter at once, so that the look at all of them is seldom.
    fn make_room_for_unix(&mut self, newest: Cookie) {
        self.unix.push(newest);
        if self.unix.len() <= UNIX_CONNECTIONS_MAX {
            return;
        }
        let mut unix = std::mem::take(&mut self.unix);
        unix.retain(|socket| self.connections.contains_key(socket));
        let mut surplus = unix.len().saturating_sub(UNIX_CONNECTIONS_MAX * 3 / 4);
        unix.retain(|&socket| {
            let is_idle = self.connections.get(&socket).is_some_and(|idle| idle.exchanges().next().is_none());
            let is_dropped = is_idle && surplus > 0;
            if is_dropped {
                surplus -= 1;
                self.forget(socket);
            }
            !is_dropped
        });
        self.unix = unix;
    }

    /// Takes a connection out. What was counted of it as open is not any more.
    fn remove(&mut self, socket: Cookie) -> Option<Connection> {
        self.handshake_ended(socket);
        let connection = self.connections.remove(&socket)?;
        if connection.opened.role == Role::Client || connection.carried == Carried::Encrypted {
            self.facts.push(Fact::Gone { socket, carried: connection.carried });
        }
        Some(connection)
    }

    /// What a connection told that is not about bytes of its own.
    fn moments_of(&mut self, socket: Cookie, moments: &mut Moments) {
        match self.connections.get(&socket).map(|connection| connection.opened.role) {
            Some(Role::Upstream) => self.upstream_moments(socket, 0, moments),
            Some(Role::Client | Role::Listener) => self.client_moments(socket, None, moments),
            None => {}
        }
    }

    fn forget(&mut self, socket: Cookie) {
        self.client_closed(socket);
        if let Some(connection) = self.remove(socket)
            && connection.opened.role == Role::Upstream
        {
            self.facts.push(Fact::Upstream(Ends::of(&connection.opened), UpstreamFact::Closed));
        }
    }

    fn data(&mut self, data: &Data<'_>) {
        self.look_at_held(data);
        let mut moments = self.moments.take().unwrap_or_default();
        if let Some(connection) = self.connections.get_mut(&data.socket) {
            let is_fresh = connection.connected_ns.is_some();
            connection.data(data, &mut moments);
            match connection.opened.role {
                Role::Upstream => {
                    if self.options.tells_talk {
                        self.facts.push(Fact::Talked(connection.opened.remote.clone(), data.result));
                    }
                    self.name_servers.data(&connection.opened, data, &mut self.facts);
                    if data.direction == Direction::Received {
                        self.upstream_touched(data, false);
                    }
                    self.upstream_moments(data.socket, data.thread, &mut moments);
                    self.upstream_spoken_to(data);
                    if data.direction == Direction::Sent && is_fresh {
                        self.upstream_touched(data, is_fresh);
                    }
                }
                Role::Client | Role::Listener => self.client_moments(data.socket, Some(data), &mut moments),
            }
            let may_be_over_unseen = !self.unix.is_empty();
            if may_be_over_unseen && self.connections.get(&data.socket).is_some_and(Connection::is_over_unseen) {
                self.forget(data.socket);
            }
        }
        self.moments = Some(moments);
    }

    fn state(&mut self, change: &StateChange) {
        if change.old == TcpState::Listen {
            self.gateways.stopped_listening(change.socket);
        }
        let mut moments = self.moments.take().unwrap_or_default();
        if let Some(connection) = self.connections.get_mut(&change.socket) {
            let is_done = connection.state(change, &mut moments);
            match connection.opened.role {
                Role::Upstream => {
                    self.upstream_moments(change.socket, 0, &mut moments);
                    self.upstream_state(change);
                }
                Role::Client | Role::Listener => {
                    self.client_moments(change.socket, None, &mut moments);
                    if is_done {
                        self.client_closed(change.socket);
                    }
                }
            }
            if change.is_reset() {
                self.resets.hold(change);
            } else if change.new == TcpState::Close {
                self.remove(change.socket);
            }
        }
        self.moments = Some(moments);
    }

    /// It is that late: ends the connections whose closes must have been lost.
    pub fn it_is(&mut self, now_ns: Nanoseconds) {
        let mut overdue = Vec::new();
        while let Some(close) = self.resets.overdue(now_ns, |socket| self.connections.contains_key(&socket)) {
            overdue.push(close);
        }
        overdue.sort_by_key(|close| close.socket);
        for close in overdue {
            self.facts.about(close.socket);
            self.state(&close);
        }
    }

    /// Ends the connections that the kernel has no more: the records of their ends were lost, or, over UNIX sockets, there
    /// are none.
    fn remaining(&mut self, remaining: &Remaining) {
        let is_gone =
            |(&socket, connection): (&Cookie, &mut Connection)| connection.is_gone(remaining).then_some(socket);
        let mut gone: Vec<Cookie> = self.connections.iter_mut().filter_map(is_gone).collect();
        // The table's order is nobody's business.
        gone.sort_unstable();
        for socket in gone {
            let Some(connection) = self.connections.get_mut(&socket) else { continue };
            self.facts.about(socket);
            let mut moments = Moments::default();
            let time_ns = connection.vanish(&mut moments);
            if connection.opened.role == Role::Client {
                self.client_moments(socket, None, &mut moments);
            }
            self.state(&StateChange::made_up_close(socket, time_ns));
        }
    }

    fn process(&mut self, process: &Process) {
        if process.change == ProcessChange::Exited {
            self.process_ended(process.process);
        }
        self.gateways.process(process);
    }

    /// Exchanges of a process that ended end with it, before the kernel closes its sockets.
    fn process_ended(&mut self, process: u32) {
        let of_process = self.connections.iter().filter(|(_, connection)| connection.process == process);
        let mut sockets: Vec<Cookie> = of_process.map(|(&socket, _)| socket).collect();
        // A client's exchange ends before the upstreams' that it still waits for.
        sockets.sort_unstable_by_key(|socket| (self.connections[socket].opened.role != Role::Client, *socket));
        self.look_at_last_answer(&sockets);
        for socket in sockets {
            let mut moments = Moments::default();
            let Some(connection) = self.connections.get_mut(&socket) else { continue };
            connection.process_ended(&mut moments);
            // nginx counts connections in memory that its workers share: those of a worker that was killed are counted as
            // they stood for as long as the master lives.
            let is_counted_on = connection.opened.role == Role::Client;
            connection.is_closed |= is_counted_on;
            self.moments_of(socket, &mut moments);
            if self.connections.get(&socket).is_some_and(Connection::is_unix) {
                self.forget(socket);
            }
        }
        self.pairing.thread_ended(process);
    }

    /// What a process does behind an answer shows that it has logged it; one that ended did nothing more.
    fn look_at_last_answer(&mut self, sockets: &[Cookie]) {
        let of_process = sockets.iter().filter_map(|socket| self.connections.get(socket));
        let last = of_process.max_by_key(|connection| connection.last_call_ns);
        if let Some(last) = last.filter(|last| last.has_just_answered()) {
            self.facts.push(Fact::KilledBehindAnswer(last.opened.socket));
        }
    }

    fn stray(&mut self, reason: Unobserved) {
        self.facts.push(Fact::Stray(reason));
    }
}

//! The pipeline: events in, metrics out. Plain code without clock, task, socket or lock, so that a recorded file of events
//! always gives the same text.

mod clients;
mod datastore;
mod enabled;
mod encryption;
mod gauge;
mod internal;
mod joining;
mod journal;
mod names;
mod telling;
#[cfg(test)]
mod tests;
mod upstreams;

use observer_ebpf::tables::Loss;
use rustc_hash::{FxHashMap, FxHashSet};

use crate::attribution::Attribution;
use crate::config::{Endpoint as Address, ServiceKey};
use crate::connection::{Carried, Connection, Moment};
use crate::event::{
    Cookie, Data, Direction, Event, Nanoseconds, Opened, Process, ProcessChange, Remaining, Role, StateChange, TcpState,
};
use crate::exchange::Unobserved;
use crate::gateways::Gateways;
use crate::metrics::Metrics;
use crate::pairing::{Pairing, Touch};
use crate::resets::Resets;
use crate::rules::Uncertain;

pub use enabled::Enabled;
pub use journal::Pair;

use datastore::Datastore;
use gauge::Gauge;
use internal::Internal;
use joining::Held;
use journal::Journal;
use names::NameServers;
use telling::Telling;

/// Connections kept at once. Each takes about 600 bytes while nothing is under way on it.
pub const CONNECTIONS_MAX: usize = 262_144;

/// Connections over UNIX sockets kept at once: what closes them is not seen, so the oldest idle ones make room. More than
/// all workers' keepalive pools together.
pub const UNIX_CONNECTIONS_MAX: usize = 4096;

/// How the pipeline is set up.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// What to add to `CLOCK_MONOTONIC` for `CLOCK_REALTIME`, in ns: nginx cuts its times to whole milliseconds of it.
    pub realtime_offset_ns: u64,
    /// The datastore whose reachability is told.
    pub datastore: Option<Address>,
    /// Tell gateways apart.
    pub per_gateway_label: bool,
    /// Listeners whose requests count in no `kong_` family but the connection states.
    pub ignored_ports: Vec<u16>,
    /// The same, as the configuration says.
    pub admin_ports: Vec<u16>,
    /// Requests without a service appear in `kong_` families as `service=""`.
    pub counts_unmatched: bool,
}

/// What a new configuration changes.
pub struct Reconfiguration {
    /// Services and routes; what names resolved to so far is taken over.
    pub attribution: Attribution,
    /// The datastore.
    pub datastore: Option<Address>,
    /// What the services can be called by, for who enables them one by one.
    pub services: Vec<ServiceKey>,
    /// Listeners that are not the proxy's.
    pub admin_ports: Vec<u16>,
}

impl std::fmt::Debug for Reconfiguration {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Reconfiguration").field("datastore", &self.datastore).finish_non_exhaustive()
    }
}

impl Reconfiguration {
    /// Host names whose addresses are wanted.
    pub fn names(&self) -> Vec<String> {
        let datastore = self.datastore.as_ref().and_then(datastore::name_of);
        self.attribution.names().chain(datastore).map(str::to_owned).collect()
    }
}

/// From events to metrics.
pub struct Pipeline {
    options: Options,
    enabled: Enabled,
    gateways: Gateways,
    connections: FxHashMap<Cookie, Connection>,
    /// Connections over UNIX sockets, oldest first, and some that are gone.
    unix: Vec<Cookie>,
    resets: Resets,
    pairing: Pairing,
    attribution: Attribution,
    internal: Internal,
    name_servers: NameServers,
    datastore: Datastore,
    gauge: Gauge,
    /// Clients' exchanges under way.
    open: usize,
    metrics: Metrics,
    /// Open connections whose TLS cannot be read.
    unreadable: u64,
    /// Processes that have such connections, and those of them that were given out.
    unread_processes: FxHashSet<u32>,
    told_unread: FxHashSet<u32>,
    held: Vec<Held>,
    journal: Option<Journal>,
    telling: Telling,
    moments: Vec<Moment>,
}

impl Pipeline {
    /// A pipeline that has seen nothing yet.
    pub fn new(options: Options, attribution: Attribution, metrics: Metrics) -> Self {
        Pipeline {
            datastore: Datastore::new(options.datastore.clone()),
            gauge: Gauge::new(options.per_gateway_label),
            options,
            enabled: Enabled::default(),
            gateways: Gateways::default(),
            connections: FxHashMap::default(),
            unix: Vec::new(),
            resets: Resets::default(),
            pairing: Pairing::default(),
            attribution,
            internal: Internal::default(),
            name_servers: NameServers::default(),
            open: 0,
            metrics,
            unreadable: 0,
            unread_processes: FxHashSet::default(),
            told_unread: FxHashSet::default(),
            held: Vec::new(),
            journal: None,
            telling: Telling::default(),
            moments: Vec::new(),
        }
    }

    /// The metrics so far.
    pub fn metrics(&self) -> &Metrics {
        &self.metrics
    }

    /// Host names whose addresses are wanted.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.attribution.names().chain(self.datastore.name())
    }

    /// Gateways that run now.
    pub fn gateways(&self) -> usize {
        self.gateways.alive()
    }

    /// Clients' exchanges under way: begun, and neither counted nor filtered nor unobserved yet.
    pub fn open_exchanges(&self) -> usize {
        let clients = self.connections.values().filter(|connection| connection.opened.role == Role::Client);
        clients.map(|connection| connection.exchanges().count()).sum()
    }

    /// Goes on with another configuration. Exchanges under way are attributed by it when they end; no count is lost.
    pub fn reconfigure(&mut self, new: Reconfiguration) {
        let mut attribution = new.attribution;
        attribution.take_over(&mut self.attribution);
        self.attribution = attribution;
        self.options.admin_ports = new.admin_ports;
        if self.options.datastore == new.datastore {
            return;
        }
        self.datastore = Datastore::new(new.datastore.clone());
        let upstreams = self.connections.values().filter(|connection| connection.opened.role == Role::Upstream);
        upstreams.for_each(|connection| self.datastore.found(&connection.opened));
        self.options.datastore = new.datastore;
    }

    /// Counts from now on what is enabled; what was counted stays.
    pub fn enable(&mut self, enabled: Enabled) {
        self.enabled = enabled;
    }

    /// Takes one event.
    pub fn handle(&mut self, event: &Event<'_>) {
        self.end_overdue(event.time_ns());
        match event {
            Event::Data(data) => self.data(data),
            Event::Datagram(datagram) => {
                // Any of the clients that wait for a name may be next.
                self.touch(datagram.thread, Touch::Elsewhere);
                self.name_servers.datagram(datagram, &mut self.attribution);
            }
            Event::State(change) => self.state(change),
            Event::Handshake(handshake) => self.handshake(handshake),
            Event::Opened(opened) => self.opened(opened),
            Event::Process(process) => self.process(process),
            Event::Lost(lost) => {
                let reason = Loss::ALL.iter().map(|loss| loss.name()).find(|name| **name == *lost.reason);
                self.metrics.lost(reason.unwrap_or("other"), lost.count);
            }
            Event::Resolved(resolved) => {
                self.attribution.resolved(resolved.network, &resolved.name, &resolved.addresses);
                self.datastore.resolved(resolved.network, &resolved.name, &resolved.addresses);
            }
            Event::Remaining(remaining) => self.remaining(remaining),
            Event::Ready(time_ns) | Event::Tick(time_ns) => {
                self.time_went_by(*time_ns);
                self.publish();
            }
        }
    }

    /// Keeps the pairs one by one from here on.
    pub fn keep_pairs(&mut self) {
        self.journal.get_or_insert_default();
    }

    /// The pairs of the exchanges that are over, since they were asked for last.
    pub fn take_pairs(&mut self) -> Vec<Pair> {
        self.journal.as_mut().map(|journal| std::mem::take(&mut journal.pairs)).unwrap_or_default()
    }

    /// Brings the gauges up to date. Counters are so at once.
    pub fn publish(&mut self) {
        self.gauge.publish(&self.gateways, &mut self.metrics);
        self.metrics.open(self.open);
        self.metrics.unreadable(self.unreadable);
        if let Some(running) = self.gateways.changed() {
            self.metrics.gateways(running);
        }
        self.metrics.datastore(self.datastore.is_reachable());
    }

    fn opened(&mut self, opened: &Opened) {
        if opened.role == Role::Listener {
            return self.gateways.listening(opened);
        }
        let Some((role, gateway)) = self.gateways.side(opened) else { return };
        if self.connections.contains_key(&opened.socket) {
            return;
        }
        if self.connections.len() >= CONNECTIONS_MAX {
            return self.stray(Unobserved::TableFull);
        }
        let mut connection = Connection::new(Opened { role, ..opened.clone() }, gateway);
        match role {
            Role::Upstream => self.upstream_opened(&mut connection),
            Role::Client | Role::Listener => self.client_opened(&mut connection),
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
        self.unreadable -= u64::from(connection.carried == Carried::Encrypted);
        Some(connection)
    }

    /// What a connection told that is not about bytes of its own.
    fn moments_of(&mut self, socket: Cookie, moments: &mut Vec<Moment>) {
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
            self.internal.upstream_closed(&connection.opened);
            self.datastore.closed(&connection.opened, false);
        }
    }

    fn data(&mut self, data: &Data<'_>) {
        self.look_at_held(data);
        let mut moments = std::mem::take(&mut self.moments);
        if let Some(connection) = self.connections.get_mut(&data.socket) {
            let is_fresh = connection.connected_ns.is_some();
            connection.data(data, &mut moments);
            match connection.opened.role {
                Role::Upstream => {
                    self.datastore.talked(&connection.opened.remote, data.result);
                    self.name_servers.data(&connection.opened, data, &mut self.attribution);
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
        self.moments = moments;
    }

    fn state(&mut self, change: &StateChange) {
        if change.old == TcpState::Listen {
            self.gateways.stopped_listening(change.socket);
        }
        let mut moments = std::mem::take(&mut self.moments);
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
        self.moments = moments;
    }

    fn end_overdue(&mut self, now_ns: Nanoseconds) {
        while let Some(close) = self.resets.overdue(now_ns, |socket| self.connections.contains_key(&socket)) {
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
            let mut moments = Vec::new();
            let time_ns = connection.vanish(&mut moments);
            if connection.opened.role == Role::Client {
                self.client_moments(socket, None, &mut moments);
            }
            self.state(&StateChange::made_up_close(socket, time_ns));
        }
    }

    fn process(&mut self, process: &Process) {
        if process.change == ProcessChange::Exited {
            self.told_unread.remove(&process.process);
            self.process_ended(process.process);
        }
        let gateway = self.gateways.of_process(process.process);
        self.gateways.process(process);
        if let Some(gateway) = gateway
            && !self.gateways.is_running(gateway)
        {
            self.gauge.ended(gateway);
        }
    }

    /// Exchanges of a process that ended end with it, before the kernel closes its sockets.
    fn process_ended(&mut self, process: u32) {
        let of_process = self.connections.iter().filter(|(_, connection)| connection.process == process);
        let mut sockets: Vec<Cookie> = of_process.map(|(&socket, _)| socket).collect();
        // A client's exchange ends before the upstreams' that it still waits for.
        sockets.sort_unstable_by_key(|socket| (self.connections[socket].opened.role != Role::Client, *socket));
        self.look_at_last_answer(&sockets);
        for socket in sockets {
            let mut moments = Vec::new();
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
    fn look_at_last_answer(&self, sockets: &[Cookie]) {
        let of_process = sockets.iter().filter_map(|socket| self.connections.get(socket));
        let last = of_process.max_by_key(|connection| connection.last_call_ns);
        if last.is_some_and(|last| last.has_just_answered() && !last.is_internal) {
            self.metrics.uncertain(Uncertain::KilledBehindAnswer.name());
        }
    }

    /// An exchange of which only the end was seen, or nothing but that it was.
    fn stray(&self, reason: Unobserved) {
        self.metrics.begun();
        self.metrics.unobserved(reason.name(), 1);
    }
}

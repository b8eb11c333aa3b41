//! Counts what came to light: facts in, metrics out. What has to do with several processes at once is here: who runs where,
//! names and services, the connection states, and the metrics themselves.

mod clients;
mod datastore;
mod enabled;
mod encryption;
mod exchanges;
mod gauge;
mod internal;
mod telling;

use observer_ebpf::tables::Loss;

use crate::attribution::Attribution;
use crate::event::{Cookie, Event, Lost, Origin, Process, ProcessChange, Role, TcpState};
use crate::exchange::{Exchange, Unobserved};
use crate::gateways::{GatewayId, Gateways};
use crate::metrics::Metrics;
use crate::rules::Uncertain;

use super::fact::{ClientFact, Ends, Fact, UpstreamFact};

use super::tracking::{self, CONNECTIONS_MAX};
use super::{Options, Reconfiguration};

pub(super) use datastore::name_of;
pub use enabled::Enabled;

use clients::Clients;
use datastore::Datastore;
use encryption::Unreadable;
use gauge::Gauge;
use internal::Internal;
use telling::Telling;

/// From facts to metrics.
pub struct Counting {
    options: Options,
    enabled: Enabled,
    gateways: Gateways,
    attribution: Attribution,
    internal: Internal,
    clients: Clients,
    datastore: Datastore,
    gauge: Gauge,
    /// Clients' exchanges under way.
    open: usize,
    unreadable: Unreadable,
    telling: Telling,
    metrics: Metrics,
}

impl Counting {
    /// Nothing is counted yet.
    pub fn new(options: Options, attribution: Attribution, metrics: Metrics) -> Self {
        Counting {
            datastore: Datastore::new(options.datastore.clone()),
            gauge: Gauge::new(options.per_gateway_label),
            options,
            enabled: Enabled::default(),
            gateways: Gateways::default(),
            attribution,
            internal: Internal::default(),
            clients: Clients::default(),
            open: 0,
            unreadable: Unreadable::default(),
            telling: Telling::default(),
            metrics,
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

    /// Whether a datastore is looked for.
    pub fn has_datastore(&self) -> bool {
        self.options.datastore.is_some()
    }

    /// How connections are to be followed for it, by so many.
    pub fn tracking(&self, share: usize) -> tracking::Options {
        tracking::Options {
            connections_max: CONNECTIONS_MAX / share,
            tells_talk: self.has_datastore(),
            keeps_consumers: self.metrics.tells_consumers(),
        }
    }

    /// Goes on with another configuration. Exchanges under way are attributed by it when they end; no count is lost. Returns
    /// whether another datastore is looked for: which connections there are to it is to be told then.
    pub fn reconfigure(&mut self, new: Reconfiguration) -> bool {
        let mut attribution = new.attribution;
        attribution.take_over(&mut self.attribution);
        self.attribution = attribution;
        self.options.admin_ports = new.admin_ports;
        if self.options.datastore == new.datastore {
            return false;
        }
        self.datastore = Datastore::new(new.datastore.clone());
        self.options.datastore = new.datastore;
        true
    }

    /// Counts from now on what is enabled; what was counted stays.
    pub fn enable(&mut self, enabled: Enabled) {
        self.enabled = enabled;
    }

    /// Processes whose TLS turned out unreadable and that were not given out yet.
    pub fn take_unread_processes(&mut self) -> Vec<u32> {
        self.unreadable.take_processes()
    }

    /// Brings the gauges up to date. Counters are so at once.
    pub fn publish(&mut self) {
        self.gauge.publish(&self.gateways, &mut self.metrics);
        self.metrics.open(self.open);
        self.metrics.unreadable(self.unreadable.connections());
        if let Some(running) = self.gateways.changed() {
            self.metrics.gateways(running);
        }
        self.metrics.datastore(self.datastore.is_reachable());
    }

    /// Takes an event that has to do with more than a connection, behind the facts that came of it.
    pub fn handle(&mut self, event: &Event<'_>) {
        match event {
            Event::Opened(opened) if opened.role == Role::Listener => self.gateways.listening(opened),
            Event::State(change) if change.old == TcpState::Listen => self.gateways.stopped_listening(change.socket),
            Event::Process(process) => self.process(process),
            Event::Lost(lost) => self.lost(lost),
            Event::Resolved(resolved) => {
                self.attribution.resolved(resolved.network, &resolved.name, &resolved.addresses);
                self.datastore.resolved(resolved.network, &resolved.name, &resolved.addresses);
            }
            Event::Ready(_) | Event::Tick(_) => self.publish(),
            Event::Opened(_)
            | Event::State(_)
            | Event::Data(_)
            | Event::Datagram(_)
            | Event::Handshake(_)
            | Event::Remaining(_) => {}
        }
    }

    /// Counts one fact. Gives an exchange back that is over with it.
    pub fn take(&mut self, fact: Fact) -> Option<Box<Exchange>> {
        match fact {
            Fact::Client { socket, gateway, what } => self.client(socket, gateway, what),
            Fact::Upstream(ends, what) => self.upstream(&ends, what),
            Fact::Ended { exchange, ending, entrance } => {
                self.ended(&exchange, ending, entrance);
                return Some(exchange);
            }
            Fact::Stray(reason) => self.stray(reason),
            Fact::KilledBehindAnswer(socket) => {
                if !self.clients.is_internal(socket) {
                    self.metrics.uncertain(Uncertain::KilledBehindAnswer.name());
                }
            }
            Fact::Paired(evidence, exchanges) => self.metrics.pair(evidence, exchanges),
            Fact::Protocol(protocol) => self.metrics.protocol(protocol),
            Fact::Carries { before, now, process } => self.unreadable.carries(before, now, process),
            Fact::Gone { socket, carried } => {
                self.clients.gone(socket);
                self.unreadable.gone(carried);
            }
            Fact::Handshake { listener, result, took_ns } => {
                self.metrics.handshake(&listener.to_string(), result, took_ns);
            }
            Fact::Talked(remote, result) => self.datastore.talked(&remote, result),
            Fact::Answered { network, answer, time_ns } => self.attribution.answered(network, &answer, time_ns),
        }
        None
    }

    fn client(&mut self, socket: Cookie, gateway: GatewayId, what: ClientFact) {
        match what {
            ClientFact::Opened(ends, origin) => {
                if !self.clients.opened(socket, origin, ends, &self.internal) {
                    self.gauge.opened(gateway, origin == Origin::Beginning);
                }
            }
            ClientFact::Begun(phase) => {
                self.metrics.begun();
                self.open += 1;
                if self.clients.turned_out_internal(socket, &self.internal) {
                    self.gauge.closed(gateway, phase);
                }
                if !self.clients.is_internal(socket) {
                    self.gauge.requested(gateway);
                }
            }
            ClientFact::Moved(from, to) if !self.clients.is_internal(socket) => self.gauge.moved(gateway, from, to),
            ClientFact::Closed(phase) if !self.clients.is_internal(socket) => self.gauge.closed(gateway, phase),
            ClientFact::Moved(..) | ClientFact::Closed(_) => {}
        }
    }

    fn upstream(&mut self, ends: &Ends, what: UpstreamFact) {
        match what {
            UpstreamFact::Opened(origin) => {
                self.internal.upstream_opened(ends);
                if origin != Origin::Beginning {
                    self.datastore.found(&ends.remote);
                }
            }
            UpstreamFact::Connected => {
                self.internal.upstream_opened(ends);
                self.datastore.connected(&ends.remote);
            }
            UpstreamFact::Failed | UpstreamFact::Closed => {
                self.datastore.closed(&ends.remote, matches!(what, UpstreamFact::Failed));
                self.internal.upstream_closed(ends);
            }
            UpstreamFact::Stands => self.datastore.found(&ends.remote),
        }
    }

    fn stray(&mut self, reason: Unobserved) {
        self.metrics.begun();
        self.metrics.unobserved(reason.name(), 1);
    }

    fn lost(&mut self, lost: &Lost) {
        let reason = Loss::ALL.iter().map(|loss| loss.name()).find(|name| **name == *lost.reason);
        self.metrics.lost(reason.unwrap_or("other"), lost.count);
    }

    fn process(&mut self, process: &Process) {
        if process.change == ProcessChange::Exited {
            self.unreadable.process_ended(process.process);
        }
        let gateway = self.gateways.of_process(process.process);
        self.gateways.process(process);
        if let Some(gateway) = gateway
            && !self.gateways.is_running(gateway)
        {
            self.gauge.ended(gateway);
        }
    }
}

//! What becomes of the clients' exchanges.

use std::net::SocketAddr;
use std::sync::Arc;

use crate::attribution::{Attributed, Peer, RequestFacts, Scheme, UpstreamFacts};
use crate::connection::{Connection, Moment};
use crate::event::{Cookie, Endpoint, Nanoseconds, Origin, Role};
use crate::exchange::{Attempt, Ending, Exchange};
use crate::gateways::GatewayId;
use crate::metrics::{Measured, Source};
use crate::rules::{self, Known};
use crate::verdict::{Rule, Verdict};

use super::Pipeline;

/// By what way a request came in.
#[derive(Clone, Copy)]
struct Entrance {
    network: u32,
    local: Option<SocketAddr>,
    scheme: Scheme,
}

impl Pipeline {
    pub(super) fn client_opened(&mut self, connection: &mut Connection) {
        connection.is_internal = self.internal.is_internal(&connection.opened);
        if !connection.is_internal {
            let is_new = connection.opened.origin == Origin::Beginning;
            self.gauge.opened(connection.gateway, is_new);
        }
    }

    pub(super) fn client_closed(&mut self, socket: Cookie) {
        if let Some(connection) = self.connections.get_mut(&socket)
            && connection.opened.role == Role::Client
            && !connection.is_internal
            && !connection.is_closed
        {
            connection.is_closed = true;
            self.gauge.closed(connection.gateway, connection.phase);
        }
    }

    /// `worker` is the thread that turned to the client just now, or 0.
    pub(super) fn client_moments(&mut self, socket: Cookie, worker: u32, moments: &mut Vec<Moment>) {
        for moment in moments.drain(..) {
            match moment {
                Moment::Begun(_) => self.client_begun(socket),
                Moment::RequestHead(number) => {
                    self.speaks_http1(socket);
                    self.client_waits(socket, number);
                }
                Moment::RequestEnd(_) | Moment::ResponseHead(_) => {}
                Moment::Ended(exchange, ending) => self.client_ended(socket, &exchange, ending),
                Moment::Stray(reason) => self.stray(reason),
                Moment::Carries(carried) => self.carries(socket, carried),
            }
        }
        let Some(connection) = self.connections.get_mut(&socket) else { return };
        if worker != 0 {
            self.pairing.client_read(worker, socket);
        }
        if !connection.is_internal && !connection.is_closed {
            let phase = connection.current_phase();
            self.gauge.moved(connection.gateway, connection.phase, phase);
            connection.phase = phase;
        }
    }

    fn client_begun(&mut self, socket: Cookie) {
        self.metrics.begun();
        self.open += 1;
        if let Some(connection) = self.connections.get_mut(&socket)
            && !connection.is_internal
        {
            self.gauge.requested(connection.gateway);
        }
    }

    fn client_waits(&mut self, socket: Cookie, number: u64) {
        if let Some(connection) = self.connections.get(&socket)
            && let Some(exchange) = connection.exchange(number)
            && let Some(head) = &exchange.request.head
        {
            self.pairing.client_waits(connection.process, head.target(), exchange.id);
        }
    }

    fn client_ended(&mut self, socket: Cookie, exchange: &Exchange, ending: Ending) {
        self.open = self.open.saturating_sub(1);
        let Some(connection) = self.connections.get(&socket) else { return };
        let (gateway, is_internal) = (connection.gateway, connection.is_internal);
        let entrance = Entrance {
            network: connection.opened.network,
            local: connection.opened.local.ip(),
            scheme: if connection.is_tls() { Scheme::Https } else { Scheme::Http },
        };
        if let Some(head) = &exchange.request.head {
            self.pairing.client_done(connection.process, head.target(), exchange.id);
        }
        if is_internal {
            self.metrics.internal();
            self.metrics.filtered("internal", 1);
            return;
        }
        match Verdict::of(exchange, ending) {
            Verdict::Unobserved(_) | Verdict::Counted { .. } if self.is_ignored(entrance) => {
                self.metrics.filtered("ignored_port", 1);
            }
            Verdict::Unobserved(reason) => self.metrics.unobserved(reason.name(), 1),
            Verdict::NeverRead => {
                self.metrics.filtered("never_read", 1);
                self.gauge.retracted(gateway);
            }
            Verdict::Counted { status, rule } => {
                if let Some(rule) = rule {
                    self.metrics.inferred(rule.name());
                }
                self.count(exchange, status, rule, gateway, entrance);
            }
        }
    }

    fn count(&mut self, exchange: &Exchange, status: u16, rule: Option<Rule>, gateway: GatewayId, entrance: Entrance) {
        let attributed = self.attribute(exchange, entrance);
        let service = match &attributed {
            Attributed::Service { service, .. } => Some(&**service),
            Attributed::Unattributed => None,
        };
        if !self.enabled.counts(service) {
            return self.metrics.filtered("disabled", 1);
        }
        let (service, route) = match attributed {
            Attributed::Service { service, route } => (service, route),
            Attributed::Unattributed => {
                self.metrics.unattributed(status);
                if !self.options.counts_unmatched {
                    return self.metrics.filtered("unattributed", 1);
                }
                (Arc::default(), None)
            }
        };
        self.metrics.counted();
        let (request_bytes, known) = rules::request_bytes(exchange, rule);
        match known {
            Known::Told => {}
            Known::Inferred(rule) => self.metrics.inferred(rule.name()),
            Known::Uncertain(reason) => self.metrics.uncertain(reason.name()),
        }
        let measured = Measured { request_bytes, route, ..self.measure(exchange, status, gateway, service) };
        self.metrics.count(&measured);
    }

    fn is_ignored(&self, entrance: Entrance) -> bool {
        let is_at = |ports: &[u16]| entrance.local.is_some_and(|local| ports.contains(&local.port()));
        is_at(&self.options.ignored_ports) || is_at(&self.options.admin_ports)
    }

    fn measure(&self, exchange: &Exchange, status: u16, gateway: GatewayId, service: Arc<str>) -> Measured {
        let began_ns = exchange.request.began_ns.unwrap_or_default();
        let request_ms = self.milliseconds(began_ns, exchange.ended_ns());
        let waits = exchange.upstream_waits().map(|(from, to)| self.milliseconds(from, to));
        let upstream_ms = waits.reduce(|sum, wait| sum + wait);
        Measured {
            service,
            gateway: self.options.per_gateway_label.then(|| self.gateways.label(gateway)),
            route: None,
            source: if exchange.tries().next_back().is_some_and(|attempt| attempt.answer.header_ns.is_some()) {
                Source::Service
            } else {
                Source::Kong
            },
            consumer: exchange.attempts.last().and_then(|attempt| attempt.consumer.as_deref()).map(Arc::from),
            status,
            request_bytes: exchange.request.bytes,
            response_bytes: exchange.response.bytes,
            request_ms,
            upstream_ms,
            kong_ms: request_ms.saturating_sub(upstream_ms.unwrap_or(0)),
        }
    }

    /// As nginx takes the difference of two times that were cut to whole milliseconds (`ngx_http_variable_request_time`).
    fn milliseconds(&self, from: Nanoseconds, to: Nanoseconds) -> u64 {
        let cut = |time: Nanoseconds| time.wrapping_add(self.options.realtime_offset_ns) / 1_000_000;
        cut(to).saturating_sub(cut(from))
    }

    fn attribute(&mut self, exchange: &Exchange, entrance: Entrance) -> Attributed {
        let Some(head) = exchange.request.head.as_deref() else {
            return Attributed::Unattributed;
        };
        if rules::is_refused(exchange) {
            return Attributed::Unattributed;
        }
        let headers = |name: &str| head.header(name);
        let request = RequestFacts {
            method: head.method(),
            local: entrance.local,
            scheme: entrance.scheme,
            host: head.host(),
            path: head.path(),
            sni: None,
            headers: &headers,
        };
        match exchange.tries().next_back() {
            None => self.attribution.attribute(&request, None),
            Some(attempt) => with_peer(attempt, |peer| {
                let (host, path) = (attempt.host.as_deref(), attempt.path.as_deref());
                let upstream = UpstreamFacts { network: entrance.network, time_ns: attempt.began_ns, peer, host, path };
                self.attribution.attribute(&request, Some(&upstream))
            }),
        }
    }
}

/// An abstract name has a zero in front, in configurations an `@`.
fn with_peer<T>(attempt: &Attempt, use_it: impl FnOnce(Peer<'_>) -> T) -> T {
    match &attempt.peer {
        Endpoint::Ip(address) => use_it(Peer::Ip(*address)),
        Endpoint::Unix(path) => match path.as_ref() {
            [0, name @ ..] => use_it(Peer::Unix(&[b"@", name].concat())),
            path => use_it(Peer::Unix(path)),
        },
    }
}

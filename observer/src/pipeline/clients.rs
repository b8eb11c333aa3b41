//! What becomes of the clients' exchanges.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use crate::attribution::{Attributed, Peer, RequestFacts, Scheme, UpstreamFacts};
use crate::connection::{Connection, Moment};
use crate::event::{Cookie, Data, Direction, Endpoint, Nanoseconds, Origin, Role};
use crate::exchange::{Attempt, Ending, Exchange, Times};
use crate::gateways::GatewayId;
use crate::metrics::{Measured, Source, Try};
use crate::pairing::Touch;
use crate::rules::{self, Known};
use crate::verdict::{Rule, Verdict};

use super::Pipeline;
use super::telling::Told;

/// By what way a request came in.
#[derive(Clone, Copy)]
struct Entrance {
    network: u32,
    client: Option<IpAddr>,
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

    /// `call` is the one that moved bytes just now, if one did.
    pub(super) fn client_moments(&mut self, socket: Cookie, call: Option<&Data<'_>>, moments: &mut Vec<Moment>) {
        let thread = call.map_or(0, |call| call.thread);
        let mut answered = None;
        for moment in moments.drain(..) {
            match moment {
                Moment::Begun(_) => self.client_begun(socket),
                Moment::RequestHead(number) => self.client_waits(socket, number),
                Moment::RequestEnd(_) => {}
                Moment::ResponseHead(number) => {
                    answered = Some(number);
                    self.client_answered(socket, number, thread);
                }
                Moment::Ended(mut exchange, ending) => {
                    // One that was answered in one call is out of its connection before its head is told of.
                    if answered == Some(exchange.id.number) && exchange.waits_by.is_some() {
                        self.join(&mut exchange, thread);
                    }
                    let is_gateway_done = exchange.response.head.is_some() && ending != Ending::WithProcess;
                    if ending == Ending::Complete || is_gateway_done {
                        self.give_back(&mut exchange);
                    }
                    self.client_ended(socket, &mut exchange, ending);
                }
                Moment::Stray(reason) => self.stray(reason),
                Moment::Carries(carried) => self.carries(socket, carried),
            }
        }
        let Some(connection) = self.connections.get_mut(&socket) else { return };
        if !connection.is_internal && !connection.is_closed {
            let phase = connection.current_phase();
            self.gauge.moved(connection.gateway, connection.phase, phase);
            connection.phase = phase;
        }
        if let Some(call) = call {
            let touch = client_touch(connection, call, || self.pairing.touched(call.thread));
            self.touch(call.thread, touch);
        }
    }

    fn client_begun(&mut self, socket: Cookie) {
        self.metrics.begun();
        self.open += 1;
        let Some(connection) = self.connections.get_mut(&socket) else { return };
        // A scan may have found the gateway's end before the other gateway's.
        if !connection.is_internal
            && connection.opened.origin != Origin::Beginning
            && self.internal.is_internal(&connection.opened)
        {
            connection.is_internal = true;
            self.gauge.closed(connection.gateway, connection.phase);
        }
        if !connection.is_internal {
            self.gauge.requested(connection.gateway);
        }
    }

    fn client_waits(&mut self, socket: Cookie, number: u64) {
        if let Some(connection) = self.connections.get_mut(&socket) {
            if !std::mem::replace(&mut connection.is_protocol_told, true) {
                self.metrics.protocol("http/1");
            }
            let process = connection.process;
            if let Some(exchange) = connection.exchange_mut(number)
                && let Some(head) = &exchange.request.head
            {
                exchange.waits_by = Some(self.pairing.client_waits(process, head, exchange.id));
            }
        }
    }

    pub(super) fn client_waits_no_more(&mut self, exchange: &mut Exchange) {
        if let Some(keys) = exchange.waits_by.take() {
            self.pairing.client_done(&keys, exchange.id);
        }
    }

    fn client_ended(&mut self, socket: Cookie, exchange: &mut Exchange, ending: Ending) {
        self.open = self.open.saturating_sub(1);
        self.client_waits_no_more(exchange);
        self.count_pairs(exchange);
        let Some(connection) = self.connections.get(&socket) else { return };
        let (gateway, is_internal) = (connection.gateway, connection.is_internal);
        let entrance = Entrance {
            network: connection.opened.network,
            client: connection.opened.remote.ip().map(|remote| remote.ip()),
            local: connection.opened.local.ip(),
            scheme: if connection.is_tls() { Scheme::Https } else { Scheme::Http },
        };
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
                self.count(exchange, (status, rule, ending), gateway, entrance);
            }
        }
    }

    fn count(
        &mut self,
        exchange: &Exchange,
        (status, rule, ending): (u16, Option<Rule>, Ending),
        gateway: GatewayId,
        entrance: Entrance,
    ) {
        let attributed = self.attribute(exchange, entrance);
        let service = match &attributed {
            Attributed::Service { service, .. } => Some(&**service),
            Attributed::Unattributed => None,
        };
        let has_service = service.is_some();
        if !self.enabled.counts(service) {
            return self.metrics.filtered("disabled", 1);
        }
        let is_left_out = !has_service && !self.options.counts_unmatched;
        if !has_service {
            self.metrics.unattributed(status);
        }
        if is_left_out {
            self.metrics.filtered("unattributed", 1);
            if !self.is_told() {
                return;
            }
        }
        let (request_bytes, known) = rules::request_bytes(exchange, rule);
        let measured = Measured { request_bytes, ..self.measure(exchange, status, gateway, attributed) };
        let culprit = rules::culprit(exchange, status, rule, ending);
        self.tell_of(&measured, &Told { exchange, gateway, client: entrance.client, culprit, has_service });
        if is_left_out {
            return;
        }
        self.metrics.counted();
        match known {
            Known::Told => {}
            Known::Inferred(rule) => self.metrics.inferred(rule.name()),
            Known::Uncertain(reason) => self.metrics.uncertain(reason.name()),
        }
        self.metrics.count(&measured);
        self.metrics.tried(&measured.service, exchange.tries().map(measured_try));
        if let Some(culprit) = culprit {
            self.metrics.failed(&measured.service, culprit);
        }
    }

    fn is_ignored(&self, entrance: Entrance) -> bool {
        let is_at = |ports: &[u16]| entrance.local.is_some_and(|local| ports.contains(&local.port()));
        is_at(&self.options.ignored_ports) || is_at(&self.options.admin_ports)
    }

    fn measure(&self, exchange: &Exchange, status: u16, gateway: GatewayId, attributed: Attributed) -> Measured {
        let (service, route) = match attributed {
            Attributed::Service { service, route } => (service, route),
            Attributed::Unattributed => (Arc::default(), None),
        };
        let began_ns = exchange.request.began_ns.unwrap_or_default();
        let request_ms = self.milliseconds(began_ns, exchange.ended_ns());
        let waits = exchange.upstream_waits().map(|(from, to)| self.milliseconds(from, to));
        let upstream_ms = waits.reduce(|sum, wait| sum + wait);
        Measured {
            service,
            gateway: self.options.per_gateway_label.then(|| self.gateways.label(gateway)),
            route,
            source: if exchange.tries().next_back().is_some_and(|attempt| attempt.answer.header_ns.is_some()) {
                Source::Service
            } else {
                Source::Kong
            },
            consumer: exchange.tries().next_back().and_then(|attempt| attempt.consumer.as_deref()).map(Arc::from),
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
                // One that was refused was not told whom the request is for; those before it were.
                let asked = exchange.tries().rev().find(|attempt| attempt.path.is_some()).unwrap_or(attempt);
                let (host, path) =
                    (asked.host.as_deref().map(|host| &**host), asked.path.as_deref().map(|path| &**path));
                let upstream = UpstreamFacts { network: entrance.network, time_ns: attempt.began_ns, peer, host, path };
                self.attribution.attribute(&request, Some(&upstream))
            }),
        }
    }
}

/// A thread that answers one client stays with another's request that it read meanwhile.
fn client_touch(connection: &Connection, call: &Data<'_>, before: impl FnOnce() -> Option<Touch>) -> Touch {
    if call.direction != Direction::Sent {
        return Touch::Client(call.socket);
    }
    // Within a head that takes several calls, what was read before them still counts.
    let oldest = connection.exchanges().next().map(|open| &open.response);
    let is_within_head = oldest.is_some_and(|response| response.began_ns.is_some() && response.head.is_none());
    let is_asked = || connection.exchanges().any(|open| open.response.head.is_none());
    match before() {
        Some(before) if is_within_head => before,
        Some(before @ Touch::Client(_)) if !is_asked() => before,
        _ => Touch::Client(call.socket),
    }
}

fn measured_try(attempt: &Attempt) -> Try<'_> {
    let Times { connected_ns, asked_ns, sent_ns, received_ns } = attempt.times;
    let header_ns = attempt.answer.header_ns;
    // Microseconds are as exact as anything here.
    let between = |from: Option<u64>, to: Option<u64>| Some(to?.saturating_sub(from?) / 1_000);
    Try {
        target: &attempt.peer,
        status: attempt.answer.status,
        is_broken: attempt.failure.is_some(),
        phases_us: [
            between(connected_ns.and(Some(attempt.began_ns)), connected_ns),
            between(asked_ns, sent_ns),
            between(sent_ns.min(header_ns), header_ns),
            between(header_ns, received_ns),
        ],
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

//! What the clients' exchanges count as.

use std::sync::Arc;

use crate::attribution::{Attributed, Peer, RequestFacts, Scheme, UpstreamFacts};
use crate::event::{Endpoint, Nanoseconds};
use crate::exchange::{Aside, Attempt, Ending, Exchange, Times};
use crate::gateways::GatewayId;
use crate::metrics::{Measured, Source, Try};
use crate::rules::{self, Known};
use crate::verdict::{Rule, Verdict};

use super::Counting;
use super::telling::Told;
use crate::pipeline::fact::Entrance;

impl Counting {
    pub(super) fn ended(&mut self, exchange: &Exchange, ending: Ending, entrance: Entrance) {
        self.open = self.open.saturating_sub(1);
        if self.clients.is_internal(exchange.id.socket) {
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
                self.gauge.retracted(entrance.gateway);
            }
            Verdict::Counted { status, rule } => {
                if let Some(rule) = rule {
                    self.metrics.inferred(rule.name());
                }
                self.count(exchange, (status, rule, ending), entrance);
            }
        }
    }

    fn count(&mut self, exchange: &Exchange, (status, rule, ending): (u16, Option<Rule>, Ending), entrance: Entrance) {
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
        let measured = Measured { request_bytes, ..self.measure(exchange, status, entrance.gateway, attributed) };
        let culprit = rules::culprit(exchange, status, rule, ending);
        self.tell_of(&measured, &Told { exchange, entrance, culprit, has_service });
        if is_left_out {
            return;
        }
        self.metrics.counted();
        match known {
            Known::Told => {}
            Known::Inferred(rule) => self.metrics.inferred(rule.name()),
            Known::Uncertain(reason) => self.metrics.uncertain(reason.name()),
        }
        if exchange.attempts.iter().any(|attempt| attempt.aside == Some(Aside::Inferred)) {
            self.metrics.inferred(rules::ASIDE);
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
            scheme: if entrance.is_tls { Scheme::Https } else { Scheme::Http },
            host: head.host(),
            path: head.path(),
            sni: None,
            headers: &headers,
        };
        match exchange.tries().next_back() {
            None => self.attribution.attribute(&request, None),
            Some(attempt) => with_peer(attempt, |peer| {
                // One that was refused was not told whom the request is for; those before it were.
                let asked = exchange.tries().rev().find(|attempt| attempt.is_asked()).unwrap_or(attempt);
                let (host, path) = (asked.host(), asked.path());
                let upstream = UpstreamFacts { network: entrance.network, time_ns: attempt.began_ns, peer, host, path };
                self.attribution.attribute(&request, Some(&upstream))
            }),
        }
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

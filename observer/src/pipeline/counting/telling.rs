//! Exchanges one by one, for those who listen.

use crate::exchange::Exchange;
use crate::metrics::{Culprit, Measured};
use crate::tail::{Entry, Wanted};

use super::Counting;
use crate::pipeline::fact::Entrance;

/// What of an exchange is known besides its measures.
pub(super) struct Told<'a> {
    pub(super) exchange: &'a Exchange,
    pub(super) entrance: Entrance,
    pub(super) culprit: Option<Culprit>,
    pub(super) has_service: bool,
}

/// Whether anybody listens, and what was not handed over yet.
#[derive(Default)]
pub(super) struct Telling {
    wanted: Wanted,
    entries: Vec<Entry>,
}

impl Counting {
    /// Keeps the exchanges that end from here on, as long as somebody wants them.
    pub fn tell(&mut self, wanted: Wanted) {
        self.telling.wanted = wanted;
    }

    /// What was kept since this was called last, in the order in which it ended.
    pub fn take_entries(&mut self) -> Vec<Entry> {
        std::mem::take(&mut self.telling.entries)
    }

    /// Whether anybody listens.
    pub(super) fn is_told(&self) -> bool {
        self.telling.wanted.detail().is_some()
    }

    pub(super) fn tell_of(&mut self, measured: &Measured, told: &Told<'_>) {
        let Some(detail) = self.telling.wanted.detail() else { return };
        let exchange = told.exchange;
        let head = exchange.request.head.as_deref();
        let ended_ns = exchange.ended_ns().wrapping_add(self.options.realtime_offset_ns);
        let mut entry = Entry {
            // Whole microseconds fit a float.
            time_ms: (ended_ns / 1_000) as f64 / 1e3,
            gateway: self.gateways.label(told.entrance.gateway),
            client: told.entrance.client,
            method: exchange.method().to_owned(),
            path: String::new(),
            query: None,
            minor: head.map_or(0, |head| head.minor),
            status: measured.status,
            service: told.has_service.then(|| measured.service.clone()),
            route: measured.route.clone(),
            target: exchange.tries().next_back().map(|attempt| attempt.peer.to_string()),
            request_bytes: measured.request_bytes,
            response_bytes: measured.response_bytes,
            body_bytes: exchange.response.bytes.saturating_sub(exchange.response.head_bytes),
            request_ms: measured.request_ms,
            upstream_ms: measured.upstream_ms,
            kong_ms: measured.kong_ms,
            retries: exchange.tries().count().saturating_sub(1),
            failed_by: told.culprit.map(|culprit| culprit.name().to_owned()),
        };
        if let Some(head) = head {
            entry.set_target(head.path(), head.target(), detail);
        }
        self.telling.entries.push(entry);
    }
}

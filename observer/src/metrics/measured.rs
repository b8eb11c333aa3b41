//! What the metrics take in: measured exchanges, and the connections' states.

use std::sync::Arc;

/// One exchange with a service, measured.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Measured {
    /// The service's name, or its host where it has none.
    pub service: Arc<str>,
    /// The gateway; read only with [`super::Options::per_gateway_label`].
    pub gateway: Option<Arc<str>>,
    /// The route's name, where it has one and could be told.
    pub route: Option<Arc<str>>,
    /// Who answered.
    pub source: Source,
    /// The consumer that the gateway named to the upstream; read only with [`super::Switches::per_consumer`].
    pub consumer: Option<Arc<str>>,
    /// Status code of the response.
    pub status: u16,
    /// Request line, headers and body as read (nginx's `$request_length`).
    pub request_bytes: u64,
    /// Status line, headers and body as written (nginx's `$bytes_sent`).
    pub response_bytes: u64,
    /// First byte of the request to last byte of the response (nginx's `$request_time`), in milliseconds.
    pub request_ms: u64,
    /// Waiting for the upstream's response header over all tries, in milliseconds; none where no upstream was asked.
    pub upstream_ms: Option<u64>,
    /// The gateway's share, in milliseconds: request less upstream, not below 0.
    pub kong_ms: u64,
}

/// Who made a response.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Source {
    /// The service's upstream.
    Service,
    /// The gateway itself.
    Kong,
}

impl Source {
    /// As Kong 3 names it.
    pub(super) fn name(self) -> &'static str {
        match self {
            Source::Service => "service",
            Source::Kong => "kong",
        }
    }
}

/// The client connections of a gateway, named as in nginx's `stub_status`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ConnectionGauge {
    /// The gateway; read only with [`super::Options::per_gateway_label`].
    pub gateway: Option<Arc<str>>,
    /// Connections accepted since the start.
    pub accepted: u64,
    /// Connections open now.
    pub active: u64,
    /// Connections handled since the start.
    pub handled: u64,
    /// Open connections whose request header is incomplete.
    pub reading: u64,
    /// Requests, not connections, since the start.
    pub total: u64,
    /// Open connections with no request under way.
    pub waiting: u64,
    /// Open connections from the end of the request's header to the end of its response.
    pub writing: u64,
}

impl ConnectionGauge {
    pub(super) fn states(&self) -> [(&'static str, u64); 7] {
        [
            ("accepted", self.accepted),
            ("active", self.active),
            ("handled", self.handled),
            ("reading", self.reading),
            ("total", self.total),
            ("waiting", self.waiting),
            ("writing", self.writing),
        ]
    }
}

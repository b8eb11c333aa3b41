//! What the agent's counters must say, summed from an access log.

use std::collections::BTreeMap;

use crate::nginx::access_log::Line;

/// Sums over the requests of one service.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Totals {
    /// All of them.
    pub requests: u64,
    /// By status.
    pub statuses: BTreeMap<u16, u64>,
    /// `$request_length`, bytes.
    pub ingress_bytes: u64,
    /// `$bytes_sent`.
    pub egress_bytes: u64,
    /// `$request_time`.
    pub request_ms: f64,
    /// Those whose upstream sent a header.
    pub upstream_requests: u64,
    /// `$upstream_header_time`, summed over the tries of each.
    pub upstream_ms: f64,
}

impl Totals {
    /// Adds one request.
    pub fn add(&mut self, line: &Line) {
        self.requests += 1;
        *self.statuses.entry(line.status).or_default() += 1;
        self.ingress_bytes += line.request_length;
        self.egress_bytes += line.bytes_sent;
        self.request_ms += line.request_ms;
        if let Some(upstream_ms) = line.upstream_ms() {
            self.upstream_requests += 1;
            self.upstream_ms += upstream_ms;
        }
    }

    fn merge(&mut self, other: &Self) {
        self.requests += other.requests;
        for (status, count) in &other.statuses {
            *self.statuses.entry(*status).or_default() += count;
        }
        self.ingress_bytes += other.ingress_bytes;
        self.egress_bytes += other.egress_bytes;
        self.request_ms += other.request_ms;
        self.upstream_requests += other.upstream_requests;
        self.upstream_ms += other.upstream_ms;
    }
}

/// Totals by service.
pub type Services = BTreeMap<String, Totals>;

/// Sums `lines` by the service that `service_of` names; those it gives `None` for belong to none.
pub fn by_service<'a>(
    lines: impl IntoIterator<Item = &'a Line>,
    service_of: impl Fn(&Line) -> Option<String>,
) -> Services {
    let mut services = Services::new();
    for line in lines {
        if let Some(service) = service_of(line) {
            services.entry(service).or_default().add(line);
        }
    }
    services
}

/// Sums `lines` by the first segment of their path, the service in [`crate::nginx::config::Config::service`].
pub fn by_prefix<'a>(lines: impl IntoIterator<Item = &'a Line>) -> Services {
    by_service(lines, |line| Some(line.service().to_owned()))
}

/// Sums over all services.
pub fn of_all(services: &Services) -> Totals {
    let mut all = Totals::default();
    for totals in services.values() {
        all.merge(totals);
    }
    all
}

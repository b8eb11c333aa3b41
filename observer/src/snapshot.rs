//! What the metrics were at a moment, as `GET /snapshot` hands it out and `observer top` reads it.
//!
//! Counters only grow until the agent restarts, which a new [`Snapshot::started_ms`] tells. Rates and quantiles are for the
//! reader to compute, from two snapshots. What is missing when it is read is 0 or empty, so that older and newer programs
//! understand each other.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// Counts by a label's value.
pub type Counts = BTreeMap<String, u64>;

/// The numbers at one moment.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Snapshot {
    /// The observer's version.
    pub version: String,
    /// The host's name.
    pub host: String,
    /// When it was made, in milliseconds since 1970.
    pub time_ms: f64,
    /// When the agent started, in milliseconds since 1970.
    pub started_ms: u64,
    /// Whether anything is counted, see `POST /plugins`.
    pub enabled: bool,
    /// The gateways that run.
    pub gateways: Vec<Gateway>,
    /// Their clients' connections.
    pub connections: Connections,
    /// Upper bounds of all latencies' buckets in milliseconds. One more bucket follows them, without a bound.
    pub latency_bounds_ms: Vec<f64>,
    /// By name.
    pub services: Vec<Service>,
    /// Requests seen whole whose service nothing tells, by status.
    pub unattributed: Counts,
    /// What was not seen, left out, or decided by a rule.
    pub loss: Loss,
    /// What the agent itself takes.
    pub observer: Cost,
}

/// One gateway.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Gateway {
    /// As in the label `gateway`.
    pub name: String,
    /// Its first process.
    pub pid: u32,
    /// Its processes besides the first; 1 where that is alone.
    pub workers: usize,
}

/// Connections by state, as nginx's `stub_status` has them, all gateways added up.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Connections {
    /// Open.
    pub active: u64,
    /// Open, within a request's head.
    pub reading: u64,
    /// Open, from the end of a request's head to the end of its response.
    pub writing: u64,
    /// Open without a request.
    pub waiting: u64,
    /// Since the start.
    pub accepted: u64,
    /// Since the start.
    pub handled: u64,
    /// Requests, not connections, since the start.
    pub total: u64,
}

/// One service's numbers, all gateways and routes added up.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Service {
    /// Empty for the requests without a service, where they are counted at all (`--count-unmatched`).
    pub name: String,
    /// Requests by status code.
    pub codes: Counts,
    /// Bytes.
    pub bandwidth: Bandwidth,
    /// Times.
    pub latency: Latency,
    /// Upstreams that were asked, by address.
    pub targets: Vec<Target>,
    /// Requests to an upstream after the first one for the same client's request.
    pub retries: u64,
    /// Failed exchanges by who broke them: client, gateway, upstream, network.
    pub failures: Counts,
}

/// Bytes with heads and framing.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Bandwidth {
    /// Read from clients.
    pub ingress: u64,
    /// Written to clients.
    pub egress: u64,
}

/// The three times of Kong.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Latency {
    /// From the request's first byte to the response's last.
    pub request: Histogram,
    /// Waiting for the upstream's response header.
    pub upstream: Histogram,
    /// The rest.
    pub kong: Histogram,
}

/// A histogram of milliseconds.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Histogram {
    /// Of all values.
    pub sum: f64,
    /// Values.
    pub count: u64,
    /// Values up to each of [`Snapshot::latency_bounds_ms`], then all of them; empty before the first value.
    pub buckets: Vec<u64>,
}

/// An upstream of a service.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Target {
    /// Its address.
    pub target: String,
    /// Requests to it by status code, `none` without an answer.
    pub codes: Counts,
    /// Since its last good answer.
    pub failures_in_a_row: u64,
}

/// How whole the numbers are.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Loss {
    /// `kong_nginx_metric_errors_total`: at 0 nothing was lost.
    pub errors: u64,
    /// Exchanges that could not be followed, by reason.
    pub unobserved: Counts,
    /// Exchanges left out on purpose, by reason.
    pub filtered: Counts,
    /// Exchanges of which a rule decided something, by rule.
    pub inferred: Counts,
    /// Exchanges counted with a documented default, by reason.
    pub uncertain: Counts,
    /// Records that the kernel part could not deliver, by reason.
    pub records: Counts,
}

/// What the agent takes of the host.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Cost {
    /// `process_cpu_seconds_total`.
    pub cpu_seconds: f64,
    /// `process_resident_memory_bytes`.
    pub resident_bytes: u64,
}

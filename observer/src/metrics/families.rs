//! The families of Kong's plugin, version 0.1.0, and of Kong 3 (`TODAY_`): names, HELP texts (typos included) and label order as its
//! documentation prints them.

use prometheus::core::Desc;

use super::dialect::Dialect;

/// One metric family: what is printed on its HELP line, and its labels in print order.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Family {
    /// Full name, `kong_` included.
    pub name: &'static str,
    /// HELP text, unescaped.
    pub help: &'static str,
    /// Upper bounds in milliseconds, of histograms; `+Inf` follows them.
    pub bounds: &'static [f64],
    /// Label names in print order. `gateway` follows them where it is switched on, `le` is always last.
    pub labels: &'static [&'static str],
}

/// The label that tells gateways apart, after a family's own labels.
pub const GATEWAY_LABEL: &str = "gateway";

/// Upper bounds of every latency histogram of 0.1, in milliseconds; `+Inf` follows them.
pub const LATENCY_BOUNDS_MS: [f64; 26] = [
    1.0, 2.0, 5.0, 7.0, 10.0, 15.0, 20.0, 25.0, 30.0, 40.0, 50.0, 60.0, 70.0, 80.0, 90.0, 100.0, 200.0, 300.0, 400.0,
    500.0, 1000.0, 2000.0, 5000.0, 10000.0, 30000.0, 60000.0,
];

/// `kong_bandwidth_total`.
pub const BANDWIDTH_TOTAL: Family = Family {
    name: "kong_bandwidth_total",
    help: "Total bandwidth in bytes for all proxied requests in Kong",
    bounds: &[],
    labels: &["type"],
};

/// `kong_bandwidth`.
pub const BANDWIDTH: Family = Family {
    name: "kong_bandwidth",
    help: "Total bandwidth in bytes consumed per service in Kong",
    bounds: &[],
    labels: &["type", "service"],
};

/// `kong_datastore_reachable`.
pub const DATASTORE_REACHABLE: Family = Family {
    name: "kong_datastore_reachable",
    help: "Datastore reachable from Kong, 0 is unreachable",
    bounds: &[],
    labels: &[],
};

/// `kong_http_status_total`.
pub const HTTP_STATUS_TOTAL: Family = Family {
    name: "kong_http_status_total",
    help: "HTTP status codes aggreggated across all services in Kong",
    bounds: &[],
    labels: &["code"],
};

/// `kong_http_status`.
pub const HTTP_STATUS: Family = Family {
    name: "kong_http_status",
    help: "HTTP status codes per service in Kong",
    bounds: &[],
    labels: &["code", "service"],
};

/// `kong_latency`.
pub const LATENCY: Family = Family {
    name: "kong_latency",
    help: "Latency added by Kong, total request time and upstream latency for each service in Kong",
    bounds: &LATENCY_BOUNDS_MS,
    labels: &["type", "service"],
};

/// `kong_latency_total`.
pub const LATENCY_TOTAL: Family = Family {
    name: "kong_latency_total",
    help: "Latency added by Kong, total request time and upstream latency aggreggated across all services in Kong",
    bounds: &LATENCY_BOUNDS_MS,
    labels: &["type"],
};

/// `kong_nginx_http_current_connections`.
pub const CONNECTIONS: Family = Family {
    name: "kong_nginx_http_current_connections",
    help: "Number of HTTP connections",
    bounds: &[],
    labels: &["state"],
};

/// `kong_nginx_metric_errors_total`.
pub const METRIC_ERRORS: Family = Family {
    name: "kong_nginx_metric_errors_total",
    help: "Number of nginx-lua-prometheus errors",
    bounds: &[],
    labels: &[],
};

/// Upper bounds of Kong 3's histogram of its own latency, in milliseconds.
pub const TODAY_KONG_BOUNDS_MS: [f64; 17] =
    [1.0, 2.0, 5.0, 7.0, 10.0, 15.0, 20.0, 30.0, 50.0, 75.0, 100.0, 200.0, 500.0, 750.0, 1000.0, 3000.0, 6000.0];

/// Upper bounds of Kong 3's other histograms, in milliseconds.
pub const TODAY_BOUNDS_MS: [f64; 13] =
    [25.0, 50.0, 80.0, 100.0, 250.0, 400.0, 700.0, 1000.0, 2000.0, 5000.0, 10000.0, 30000.0, 60000.0];

/// `kong_http_requests_total`.
pub const TODAY_REQUESTS: Family = Family {
    name: "kong_http_requests_total",
    help: "HTTP status codes per consumer/service/route in Kong",
    bounds: &[],
    labels: &["service", "route", "code", "source", "workspace", "consumer"],
};

/// `kong_bandwidth_bytes`.
pub const TODAY_BANDWIDTH: Family = Family {
    name: "kong_bandwidth_bytes",
    help: "Total bandwidth (ingress/egress) throughput in bytes",
    bounds: &[],
    labels: &["service", "route", "direction", "workspace", "consumer"],
};

/// `kong_kong_latency_ms`.
pub const TODAY_KONG_LATENCY: Family = Family {
    name: "kong_kong_latency_ms",
    help: "Latency added by Kong and enabled plugins for each service/route in Kong",
    bounds: &TODAY_KONG_BOUNDS_MS,
    labels: &["service", "route", "workspace"],
};

/// `kong_upstream_latency_ms`.
pub const TODAY_UPSTREAM_LATENCY: Family = Family {
    name: "kong_upstream_latency_ms",
    help: "Latency added by upstream response for each service/route in Kong",
    bounds: &TODAY_BOUNDS_MS,
    labels: &["service", "route", "workspace"],
};

/// `kong_request_latency_ms`.
pub const TODAY_REQUEST_LATENCY: Family = Family {
    name: "kong_request_latency_ms",
    help: "Total latency incurred during requests for each service/route in Kong",
    bounds: &TODAY_BOUNDS_MS,
    labels: &["service", "route", "workspace"],
};

/// `kong_nginx_connections_total`, a gauge.
pub const TODAY_CONNECTIONS: Family = Family {
    name: "kong_nginx_connections_total",
    help: "Number of connections by subsystem",
    bounds: &[],
    labels: &["node_id", "subsystem", "state"],
};

/// `kong_nginx_requests_total`, a gauge.
pub const TODAY_NGINX_REQUESTS: Family = Family {
    name: "kong_nginx_requests_total",
    help: "Number of requests total",
    bounds: &[],
    labels: &["node_id", "subsystem"],
};

/// `kong_node_info`.
pub const TODAY_NODE_INFO: Family = Family {
    name: "kong_node_info",
    help: "Kong Node metadata information",
    bounds: &[],
    labels: &["node_id", "version"],
};

/// `kong_upstream_target_health`.
pub const TODAY_TARGET_HEALTH: Family = Family {
    name: "kong_upstream_target_health",
    help: "Health status of targets of upstream. States = healthchecks_off|healthy|unhealthy|dns_error, \
           value is 1 when state is populated.",
    bounds: &[],
    labels: &["upstream", "target", "address", "state", "subsystem"],
};

/// Families of every dialect.
const COMMON: [&Family; 2] = [&DATASTORE_REACHABLE, &METRIC_ERRORS];
const SUMS: [&Family; 3] = [&BANDWIDTH_TOTAL, &HTTP_STATUS_TOTAL, &LATENCY_TOTAL];
const CLASSIC: [&Family; 4] = [&BANDWIDTH, &HTTP_STATUS, &LATENCY, &CONNECTIONS];
const TODAY: [&Family; 9] = [
    &TODAY_REQUESTS,
    &TODAY_BANDWIDTH,
    &TODAY_KONG_LATENCY,
    &TODAY_UPSTREAM_LATENCY,
    &TODAY_REQUEST_LATENCY,
    &TODAY_CONNECTIONS,
    &TODAY_NGINX_REQUESTS,
    &TODAY_NODE_INFO,
    &TODAY_TARGET_HEALTH,
];

/// The Kong family of this full name in a dialect, if it is one.
pub fn of(dialect: Dialect, name: &str) -> Option<&'static Family> {
    let own: [&[&Family]; 2] = match dialect {
        Dialect::First => [&CLASSIC, &SUMS],
        Dialect::Third => [&CLASSIC, &[]],
        Dialect::Today => [&TODAY, &[]],
    };
    own.into_iter().flatten().chain(&COMMON).find(|family| family.name == name).copied()
}

/// The Kong family of this full name in any dialect, if it is one.
pub fn named(name: &str) -> Option<&'static Family> {
    [Dialect::First, Dialect::Today].into_iter().find_map(|dialect| of(dialect, name))
}

impl Family {
    /// Label names in print order, `gateway` appended where it is switched on.
    pub(super) fn label_names(&self, per_gateway: bool) -> Vec<&'static str> {
        let gateway = per_gateway.then_some(GATEWAY_LABEL);
        self.labels.iter().copied().chain(gateway).collect()
    }

    pub(super) fn desc(&self, labels: &[&'static str]) -> Desc {
        Desc::new(
            self.name.to_owned(),
            self.help.to_owned(),
            labels.iter().map(|label| (*label).to_owned()).collect(),
            Default::default(),
        )
        .expect("the family's name and labels are valid")
    }
}

//! The families of Kong's plugin, version 0.1.0: names, HELP texts (typos included) and label order as its
//! documentation prints them.

use prometheus::core::Desc;

/// One metric family: what is printed on its HELP line, and its labels in print order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Family {
    /// Full name, `kong_` included.
    pub name: &'static str,
    /// HELP text, unescaped.
    pub help: &'static str,
    /// Label names in print order. `gateway` follows them where it is switched on, `le` is always last.
    pub labels: &'static [&'static str],
}

/// The label that tells gateways apart, after a family's own labels.
pub const GATEWAY_LABEL: &str = "gateway";

/// Upper bounds of every latency histogram, in milliseconds; `+Inf` follows them.
pub const LATENCY_BOUNDS_MS: [f64; 26] = [
    1.0, 2.0, 5.0, 7.0, 10.0, 15.0, 20.0, 25.0, 30.0, 40.0, 50.0, 60.0, 70.0, 80.0, 90.0, 100.0, 200.0, 300.0, 400.0,
    500.0, 1000.0, 2000.0, 5000.0, 10000.0, 30000.0, 60000.0,
];

/// `kong_bandwidth_total`.
pub const BANDWIDTH_TOTAL: Family = Family {
    name: "kong_bandwidth_total",
    help: "Total bandwidth in bytes for all proxied requests in Kong",
    labels: &["type"],
};

/// `kong_bandwidth`.
pub const BANDWIDTH: Family = Family {
    name: "kong_bandwidth",
    help: "Total bandwidth in bytes consumed per service in Kong",
    labels: &["type", "service"],
};

/// `kong_datastore_reachable`.
pub const DATASTORE_REACHABLE: Family =
    Family { name: "kong_datastore_reachable", help: "Datastore reachable from Kong, 0 is unreachable", labels: &[] };

/// `kong_http_status_total`.
pub const HTTP_STATUS_TOTAL: Family = Family {
    name: "kong_http_status_total",
    help: "HTTP status codes aggreggated across all services in Kong",
    labels: &["code"],
};

/// `kong_http_status`.
pub const HTTP_STATUS: Family =
    Family { name: "kong_http_status", help: "HTTP status codes per service in Kong", labels: &["code", "service"] };

/// `kong_latency`.
pub const LATENCY: Family = Family {
    name: "kong_latency",
    help: "Latency added by Kong, total request time and upstream latency for each service in Kong",
    labels: &["type", "service"],
};

/// `kong_latency_total`.
pub const LATENCY_TOTAL: Family = Family {
    name: "kong_latency_total",
    help: "Latency added by Kong, total request time and upstream latency aggreggated across all services in Kong",
    labels: &["type"],
};

/// `kong_nginx_http_current_connections`.
pub const CONNECTIONS: Family =
    Family { name: "kong_nginx_http_current_connections", help: "Number of HTTP connections", labels: &["state"] };

/// `kong_nginx_metric_errors_total`.
pub const METRIC_ERRORS: Family =
    Family { name: "kong_nginx_metric_errors_total", help: "Number of nginx-lua-prometheus errors", labels: &[] };

const ALL: [&Family; 9] = [
    &BANDWIDTH_TOTAL,
    &BANDWIDTH,
    &DATASTORE_REACHABLE,
    &HTTP_STATUS_TOTAL,
    &HTTP_STATUS,
    &LATENCY,
    &LATENCY_TOTAL,
    &CONNECTIONS,
    &METRIC_ERRORS,
];

/// The Kong family of this full name, if it is one.
pub fn kong(name: &str) -> Option<&'static Family> {
    ALL.into_iter().find(|family| family.name == name)
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

//! What the code's own descriptions do not tell: unit, source, and when a number is a lower bound.

/// One family.
pub(super) struct Family {
    pub(super) name: &'static str,
    /// The heading that it stands below.
    pub(super) group: &'static str,
    pub(super) unit: &'static str,
    /// What it is made of.
    pub(super) source: &'static str,
    /// When it tells less than there was; empty where it does not.
    pub(super) bound: &'static str,
}

pub(super) const INTRODUCTION: &str = "\
# Reading the numbers

Written by `cargo run --package observer-reference -- metrics` out of the agent's own descriptions; a test compares the two. Each family: its HELP
text, type, unit, labels, where the number comes from, and when it is a lower bound.

While `kong_nginx_metric_errors_total` is at 0 nothing was lost and every number is whole. Above 0 it says how much is missing, and
`observer_capture_lost_total` and `observer_exchanges_unobserved_total` say why. What was not seen whole is never guessed at: at any time

```text
observer_exchanges_begun_total = observer_exchanges_counted_total + observer_exchanges_filtered_total
                               + observer_exchanges_unobserved_total + observer_exchanges_open
```

The label `service` is `__other__` past 1,000 services, as much as `observer_series_limited_total` says; `code` past 100 statuses of a service.
`--per-gateway-label` adds the label `gateway` to Kong's families of exchanges and connections.
";

/// Headings, and what stands below each.
pub(super) const GROUPS: &[(&str, &str)] = &[
    (CLASSIC, "Dialects `0.1` (the default) and `0.3`, which lacks the three families of sums that end in `_total`."),
    (TODAY, "Dialect `3`."),
    (ALL, "In every dialect."),
    (
        UPSTREAM,
        "From the requests that the gateway made to answer its clients': subrequests and Lua's own calls are in none of them.",
    ),
    (OWN, "What was seen, what was left out and why, what was lost."),
    (
        PROCESS,
        "The observer's process, as every Prometheus client library tells of its own. From /proc/self, at each scrape.",
    ),
];

const CLASSIC: &str = "Kong's plugin, version 0.1";
const TODAY: &str = "Kong's plugin, as of Kong 3";
const ALL: &str = "Kong's plugin, in every version";
const UPSTREAM: &str = "Upstreams and failures";
const OWN: &str = "The observer's own";
const PROCESS: &str = "The process";

/// Of whatever counts exchanges.
const LOST: &str = "by the exchanges that `observer_exchanges_unobserved_total` counts";
const RECORDS_LOST: &str = "while records are lost (`observer_capture_lost_total`)";

const BYTES: &str = "requests' bytes as the gateway read them (`$request_length`) and responses' as it wrote them (`$bytes_sent`), of TLS the plaintext";
const STATUS: &str =
    "the status line that the gateway wrote; by a named rule where none was written (`observer_inferred_total`)";
const LATENCY: &str = "the socket calls' times: request from its first read to its last write (`$request_time`), upstream from connect or first write to the response's header, over all tries (`$upstream_header_time`), kong the rest";

const fn family(
    group: &'static str,
    name: &'static str,
    unit: &'static str,
    source: &'static str,
    bound: &'static str,
) -> Family {
    Family { name, group, unit, source, bound }
}

pub(super) const FAMILIES: &[Family] = &[
    family(CLASSIC, "kong_bandwidth", "bytes", BYTES, LOST),
    family(CLASSIC, "kong_bandwidth_total", "bytes", BYTES, LOST),
    family(CLASSIC, "kong_http_status", "requests", STATUS, LOST),
    family(CLASSIC, "kong_http_status_total", "requests", STATUS, LOST),
    family(CLASSIC, "kong_latency", "milliseconds", LATENCY, LOST),
    family(CLASSIC, "kong_latency_total", "milliseconds", LATENCY, LOST),
    family(
        CLASSIC,
        "kong_nginx_http_current_connections",
        "connections; of the state `total` requests",
        "clients' connections, open ones found by a look at the host's sockets at the start; states as in nginx's `stub_status`",
        "of connections that were open and idle before the start where the kernel lists no sockets (`observer check`)",
    ),
    family(TODAY, "kong_http_requests_total", "requests", STATUS, LOST),
    family(TODAY, "kong_bandwidth_bytes", "bytes", BYTES, LOST),
    family(TODAY, "kong_kong_latency_ms", "milliseconds", LATENCY, LOST),
    family(TODAY, "kong_upstream_latency_ms", "milliseconds", LATENCY, LOST),
    family(TODAY, "kong_request_latency_ms", "milliseconds", LATENCY, LOST),
    family(
        TODAY,
        "kong_nginx_connections_total",
        "connections; of the state `total` requests",
        "as `kong_nginx_http_current_connections`",
        "as there",
    ),
    family(TODAY, "kong_nginx_requests_total", "requests", "requests read from clients since the start", RECORDS_LOST),
    family(TODAY, "kong_node_info", "1", "Kong's Admin API (`--kong-admin`); absent without it", ""),
    family(
        TODAY,
        "kong_upstream_target_health",
        "1 for the state that holds, else 0",
        "Kong's Admin API (`--kong-admin`): what Kong's balancer believes; absent without it, and while it is away",
        "",
    ),
    family(
        ALL,
        "kong_datastore_reachable",
        "1 or 0",
        "the gateway's own connects to the address that `--datastore` or the configuration names; absent without one",
        "",
    ),
    family(
        ALL,
        "kong_nginx_metric_errors_total",
        "records and exchanges",
        "the sum of `observer_capture_lost_total` and `observer_exchanges_unobserved_total`",
        "",
    ),
    family(
        UPSTREAM,
        "observer_upstream_requests_total",
        "requests",
        "upstream exchanges joined to a counted exchange; `code` is `none` without an answer",
        "by the pairs with the evidence `ambiguous` or `orphan` (`observer_pairs_total`)",
    ),
    family(
        UPSTREAM,
        "observer_upstream_retries_total",
        "requests",
        "upstream exchanges after the first one for the same client's request",
        "as `observer_upstream_requests_total`",
    ),
    family(
        UPSTREAM,
        "observer_upstream_failures_in_a_row",
        "requests",
        "upstream exchanges without a whole answer or with a status of 500 and above, since the last good one; 0 is healthy",
        "as `observer_upstream_requests_total`",
    ),
    family(
        UPSTREAM,
        "observer_upstream_phase_ms",
        "milliseconds",
        "times of the calls on the upstream's connection: connect, first to last write, last write to header, header to last read",
        "as `observer_upstream_requests_total`",
    ),
    family(
        UPSTREAM,
        "observer_failures_total",
        "exchanges",
        "who closed, refused, kept silent or answered with an error first: client, gateway, upstream, network",
        LOST,
    ),
    family(
        OWN,
        "observer_exchanges_begun_total",
        "exchanges",
        "the first byte of a request on a client's connection",
        RECORDS_LOST,
    ),
    family(OWN, "observer_exchanges_open", "exchanges", "exchanges begun and not over", ""),
    family(
        OWN,
        "observer_exchanges_counted_total",
        "exchanges",
        "exchanges seen whole, with or without a service",
        LOST,
    ),
    family(
        OWN,
        "observer_exchanges_filtered_total",
        "exchanges",
        "exchanges left out on purpose: to ports that are not the proxy, between observed gateways, of no known service, while disabled",
        "",
    ),
    family(
        OWN,
        "observer_exchanges_unobserved_total",
        "exchanges",
        "exchanges whose begin, end or boundary was not seen: attached midway, lost records, calls without a sample, unreadable TLS, HTTP/2",
        RECORDS_LOST,
    ),
    family(
        OWN,
        "observer_capture_lost_total",
        "records",
        "the kernel part's own count: ring full, table full, copy failed",
        "",
    ),
    family(
        OWN,
        "observer_unattributed_requests_total",
        "requests",
        "exchanges seen whole whose service nothing tells; `--count-unmatched` shows them in Kong's families too",
        LOST,
    ),
    family(
        OWN,
        "observer_internal_requests_total",
        "requests",
        "exchanges whose client is another observed gateway of this host",
        LOST,
    ),
    family(
        OWN,
        "observer_inferred_total",
        "exchanges",
        "exchanges of which a rule told what no byte did, as nginx logs it: the status (499 for a client that left, 408, 400, and 444 where the gateway closed unanswered, though nginx makes the same calls for `return 499`), whether a handler read a body (`body_read_by_handler`, `body_thrown_away`), or that an upstream's answer was asked for within the request and not passed on (`asked_aside`)",
        "",
    ),
    family(
        OWN,
        "observer_uncertain_total",
        "exchanges",
        "`discarded_body`: nginx counts a body that it answered itself if a handler asked for it, taken as if none had; `killed_behind_answer`: a worker was killed right behind an answer, taken as if it had logged it",
        "",
    ),
    family(
        OWN,
        "observer_pairs_total",
        "upstream exchanges",
        "what decided whose an upstream exchange is: an id, the thread's order, the way back, content; `ambiguous` fitted several clients, `orphan` none",
        RECORDS_LOST,
    ),
    family(OWN, "observer_connections_total", "connections", "the first bytes of a client's connection", RECORDS_LOST),
    family(
        OWN,
        "observer_tls_handshakes_total",
        "handshakes",
        "calls into the gateway's TLS library; `listener` is the port, `result` done or the reason",
        "by the handshakes of connections in `observer_tls_unreadable_connections`",
    ),
    family(
        OWN,
        "observer_tls_handshake_seconds",
        "seconds",
        "the first call for the handshake to the one that ended it",
        "as `observer_tls_handshakes_total`",
    ),
    family(
        OWN,
        "observer_tls_unreadable_connections",
        "connections",
        "open connections with TLS where no probe sits: a library without OpenSSL's functions, or a worker's first milliseconds",
        "",
    ),
    family(
        OWN,
        "observer_info",
        "1",
        "the program, and `--label`: `* on (instance) group_left (node) observer_info` brings a label to any query",
        "",
    ),
    family(OWN, "observer_gateways", "gateways", "processes that are selected and listen, with their workers", ""),
    family(
        OWN,
        "observer_series_limited_total",
        "exchanges",
        "exchanges that a limit of series put under `__other__`",
        "",
    ),
    family(
        OWN,
        "observer_config_age_seconds",
        "seconds",
        "the time since a source of services was last read well or found unchanged",
        "",
    ),
    family(
        OWN,
        "observer_tail_lost_total",
        "exchanges",
        "what a reader of `observer tail` was too slow for, over all readers; nothing else lacks them",
        "",
    ),
    family(
        OWN,
        "observer_auth_failures_total",
        "requests",
        "requests to the observer's own pages, with `--auth-file`",
        "",
    ),
    family(
        PROCESS,
        "process_cpu_seconds_total",
        "seconds",
        "/proc/self/stat; the kernel part's time is in the gateway's",
        "",
    ),
    family(PROCESS, "process_max_fds", "descriptors", "/proc/self/limits", ""),
    family(PROCESS, "process_open_fds", "descriptors", "/proc/self/fd", ""),
    family(
        PROCESS,
        "process_resident_memory_bytes",
        "bytes",
        "/proc/self/stat; the ring counts twice, as it is mapped twice",
        "",
    ),
    family(PROCESS, "process_start_time_seconds", "seconds since 1970", "/proc/self/stat", ""),
    family(PROCESS, "process_threads", "threads", "/proc/self/stat", ""),
    family(PROCESS, "process_virtual_memory_bytes", "bytes", "/proc/self/stat", ""),
];

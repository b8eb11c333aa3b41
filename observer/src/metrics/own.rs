//! The observer's own families: what it saw, what it left out and why, what it lost.

use std::cell::OnceCell;
use std::time::Duration;

use prometheus::{HistogramOpts, HistogramVec, IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Opts};

use super::cells::Counter;
use super::families::Family;
use super::registry::Registry;
use super::series::Series;
use crate::pairing::Evidence;

/// Upper bounds: from a resumption on one machine to a round trip over a bad line.
const HANDSHAKE_SECONDS: [f64; 12] = [0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.25, 0.5, 1.0, 5.0];

const BEGUN: Family = Family {
    name: "observer_exchanges_begun_total",
    help: "Exchanges begun; equals counted plus filtered plus unobserved plus those still open",
    bounds: &[],
    labels: &[],
};
const COUNTED: Family = Family {
    name: "observer_exchanges_counted_total",
    help: "Exchanges seen whole and counted, with or without a service",
    bounds: &[],
    labels: &[],
};
const PAIRS: Family = Family {
    name: "observer_pairs_total",
    help: "Upstream exchanges joined to a client's exchange, by the evidence that decided it, or to none",
    bounds: &[],
    labels: &["evidence"],
};

pub(super) struct Own {
    pub(super) unattributed: IntCounterVec,
    pub(super) internal: IntCounter,
    pub(super) inferred: IntCounterVec,
    pub(super) uncertain: IntCounterVec,
    pub(super) begun: Counter,
    pub(super) open: IntGauge,
    pub(super) counted: Counter,
    pub(super) filtered: IntCounterVec,
    pub(super) unobserved: IntCounterVec,
    pub(super) lost: IntCounterVec,
    pub(super) protocols: IntCounterVec,
    pub(super) handshakes: IntCounterVec,
    pub(super) handshake_seconds: HistogramVec,
    pub(super) unreadable: IntGauge,
    pairs: Series<Counter>,
    pair_handles: [OnceCell<Counter>; Evidence::ALL.len()],
    pub(super) gateways: IntGauge,
    pub(super) limited: IntCounter,
    pub(super) config_ages: IntGaugeVec,
}

/// Sets `observer_config_age_seconds`; it may be set from another thread than the pipeline's.
#[derive(Clone, Debug)]
pub struct ConfigAges(pub(super) IntGaugeVec);

impl ConfigAges {
    /// How long ago, in whole seconds, `source` was last known to say what the observer goes by.
    pub fn set(&self, source: &str, age: Duration) {
        let seconds = i64::try_from(age.as_secs()).unwrap_or(i64::MAX);
        self.0.with_label_values(&[source]).set(seconds);
    }
}

impl Own {
    pub(super) fn new(registry: &Registry) -> Own {
        let one = |name, help| register(registry, IntCounter::new(name, help));
        let by = |label, name, help| register(registry, IntCounterVec::new(Opts::new(name, help), &[label]));
        Own {
            unattributed: by(
                "code",
                "observer_unattributed_requests_total",
                "Requests whose service is unknown, by status code; they are in no kong_ family",
            ),
            internal: one(
                "observer_internal_requests_total",
                "Requests from one observed gateway to another on this host; they are in no kong_ family",
            ),
            inferred: by(
                "rule",
                "observer_inferred_total",
                "Exchanges of which no bytes told the status or the length, decided by a named rule for the gateway",
            ),
            uncertain: by(
                "reason",
                "observer_uncertain_total",
                "Exchanges counted with a documented default for what no byte and no rule tells, by reason",
            ),
            begun: Series::register(&BEGUN, false, registry).add(&[]),
            open: register(registry, IntGauge::new("observer_exchanges_open", "Exchanges under way")),
            counted: Series::register(&COUNTED, false, registry).add(&[]),
            filtered: by(
                "reason",
                "observer_exchanges_filtered_total",
                "Exchanges seen whole and left out on purpose, by reason",
            ),
            unobserved: by(
                "reason",
                "observer_exchanges_unobserved_total",
                "Exchanges that could not be followed to their end and are in no other count, by reason",
            ),
            lost: by(
                "reason",
                "observer_capture_lost_total",
                "Records that the kernel part could not deliver, by reason; above 0 the other counts are lower bounds",
            ),
            pairs: Series::register(&PAIRS, false, registry),
            protocols: by(
                "protocol",
                "observer_connections_total",
                "Clients' connections by the protocol that they turned out to speak",
            ),
            handshakes: register(
                registry,
                IntCounterVec::new(
                    Opts::new(
                        "observer_tls_handshakes_total",
                        "TLS handshakes with clients that ended, by the listener's port and by what became of them",
                    ),
                    &["listener", "result"],
                ),
            ),
            handshake_seconds: register(
                registry,
                HistogramVec::new(
                    HistogramOpts::new(
                        "observer_tls_handshake_seconds",
                        "Seconds from the first call for a client's TLS handshake to its end, of those done",
                    )
                    .buckets(HANDSHAKE_SECONDS.to_vec()),
                    &["listener"],
                ),
            ),
            unreadable: register(
                registry,
                IntGauge::new(
                    "observer_tls_unreadable_connections",
                    "Open connections whose TLS cannot be read, as no probe sits where their plaintext is",
                ),
            ),
            pair_handles: Default::default(),
            gateways: register(registry, IntGauge::new("observer_gateways", "Gateways being observed")),
            limited: one(
                "observer_series_limited_total",
                "Exchanges counted under the label value __other__ because a family's series limit was reached",
            ),
            config_ages: register(
                registry,
                IntGaugeVec::new(
                    Opts::new(
                        "observer_config_age_seconds",
                        "Seconds since a source of the configuration was last read well or found unchanged, by source",
                    ),
                    &["source"],
                ),
            ),
        }
    }
}

impl Own {
    pub(super) fn pair(&self, evidence: Evidence) -> &Counter {
        self.pair_handles[evidence as usize].get_or_init(|| self.pairs.add(&[evidence.name()]))
    }
}

/// Registers a metric whose name and labels are constants of this crate.
pub(super) fn register<C>(registry: &Registry, metric: prometheus::Result<C>) -> C
where
    C: prometheus::core::Collector + Clone + 'static,
{
    let metric = metric.expect("the metric's name and labels are valid");
    registry.register(Box::new(metric.clone())).expect("each family is registered once");
    metric
}

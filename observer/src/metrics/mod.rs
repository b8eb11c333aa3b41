//! Metrics: what the exchanges add up to.
//!
//! The pipeline owns [`Metrics`] and adds to it; whoever serves the numbers holds a clone of the [`Registry`] and
//! reads it at any time. Both sides are atomics: neither waits for the other, save for the moment in which a list of
//! new series changes hands. Families with few series are of the `prometheus` crate.

mod cells;
mod dialect;
pub mod families;
mod info;
mod kong;
mod labels;
mod measured;
mod node;
mod own;
mod process;
mod reading;
mod registry;
mod series;
#[cfg(test)]
mod tests;
mod today;
mod upstreams;
mod view;

use std::sync::{Arc, PoisonError};
use std::time::Duration;

use prometheus::{IntCounter, IntGauge, IntGaugeVec, Opts};

use families::{CONNECTIONS, DATASTORE_REACHABLE, METRIC_ERRORS};
use kong::{Exchanges, PerGateway};
use own::{Own, register};
use today::Today;
use upstreams::Upstreams;

use crate::pairing::Evidence;
use crate::snapshot::Gateway;

pub use dialect::{Dialect, NotADialect, Spoken, Switches};
pub use info::{Label, NotALabel, register_info};
pub use labels::{Labels, push_escaped};
pub use measured::{ConnectionGauge, Measured, Source};
pub use node::{KongNode, TargetHealth};
pub use process::ProcessMetrics;
pub use reading::{Histograms, Reading, Values};
pub use registry::Registry;

pub use own::ConfigAges;
pub use upstreams::{Culprit, MAX_TARGETS, PHASES, Try};
pub use view::View;

/// Services that get their own series, over all gateways; about 4.5 KiB each (measured with one status and one upstream). The rest share [`OTHER`].
pub const MAX_SERVICES: usize = 1_000;
/// Status codes that get their own series, for each service. IANA lists 63, gateways add a dozen.
pub const MAX_STATUSES: usize = 100;
/// Values of the label `gateway`. The rest share [`OTHER`].
pub const MAX_GATEWAYS: usize = 64;
/// The label value of everything beyond a limit.
pub const OTHER: &str = "__other__";

/// How the families are laid out.
#[derive(Debug, Clone)]
pub struct Options {
    /// Adds the label `gateway`, last, to Kong's families of exchanges and connections.
    pub per_gateway_label: bool,
    /// Services with their own series; [`MAX_SERVICES`] by default.
    pub max_services: usize,
    /// Has the families of the dialects 0.1 and 0.3 in the registry. What they count is counted anyway, for [`View`].
    pub classic: bool,
    /// Counts for Kong 3.
    pub today: Option<Switches>,
    /// The label `node_id` of Kong 3.
    pub node_id: Arc<str>,
    /// Consumers with their own series, over all services and routes; 10,000 by default, about 1 KiB each.
    pub max_consumers: usize,
}

impl Default for Options {
    fn default() -> Options {
        Options {
            per_gateway_label: false,
            max_services: MAX_SERVICES,
            classic: true,
            today: None,
            node_id: Arc::default(),
            max_consumers: today::MAX_CONSUMERS,
        }
    }
}

/// All families, and the handles of the series met so far.
pub struct Metrics {
    registry: Registry,
    exchanges: Exchanges,
    is_classic: bool,
    today: Option<Today>,
    node: Option<KongNode>,
    connections: IntGaugeVec,
    connection_handles: PerGateway<[IntGauge; 7]>,
    datastore: IntGaugeVec,
    errors: IntCounter,
    own: Own,
    upstreams: Upstreams,
    running: view::Gateways,
}

impl Metrics {
    /// All families at their start: without `per_gateway_label` the connection states at 0, errors at 0, no
    /// exchange and no datastore.
    pub fn new(options: Options) -> Metrics {
        let (registry, unprinted) = (Registry::new(), Registry::new());
        let per_gateway = options.per_gateway_label;
        let mut metrics = Metrics {
            exchanges: Exchanges::new(
                if options.classic { &registry } else { &unprinted },
                per_gateway,
                options.max_services,
            ),
            is_classic: options.classic,
            today: options.today.map(|switches| {
                let limits = today::Limits { services: options.max_services, consumers: options.max_consumers };
                Today::new(&registry, per_gateway, limits, options.node_id.clone(), switches)
            }),
            node: options
                .today
                .map(|switches| KongNode::register(&registry, options.node_id.clone(), switches.upstream_health)),
            connections: register(
                &registry,
                IntGaugeVec::new(Opts::new(CONNECTIONS.name, CONNECTIONS.help), &CONNECTIONS.label_names(per_gateway)),
            ),
            connection_handles: PerGateway::new(per_gateway),
            // A vector without labels has one series or none.
            datastore: register(
                &registry,
                IntGaugeVec::new(
                    Opts::new(DATASTORE_REACHABLE.name, DATASTORE_REACHABLE.help),
                    DATASTORE_REACHABLE.labels,
                ),
            ),
            errors: register(&registry, IntCounter::new(METRIC_ERRORS.name, METRIC_ERRORS.help)),
            own: Own::new(&registry),
            upstreams: Upstreams::new(&registry),
            running: view::Gateways::default(),
            registry,
        };
        if !per_gateway {
            metrics.connections(&ConnectionGauge::default());
        }
        metrics
    }

    /// The registry to gather from; clones share the families.
    pub fn registry(&self) -> &Registry {
        &self.registry
    }

    /// The numbers for whoever shows them another way than a scrape does; clones share the families.
    pub fn view(&self) -> View {
        View::of(self)
    }

    /// Adds one exchange to Kong's families. [`Metrics::counted`] is for the caller to call, once for each exchange
    /// with or without a service.
    pub fn count(&mut self, measured: &Measured) {
        // Not `&&`: each counts for itself.
        let is_within = (self.exchanges.count(measured) | !self.is_classic)
            & self.today.as_mut().is_none_or(|today| today.count(measured));
        if !is_within {
            self.own.limited.inc();
        }
    }

    /// The requests to upstreams that were made to answer one client's, in their order: `observer_upstream_*`.
    pub fn tried<'a>(&mut self, service: &Arc<str>, tries: impl Iterator<Item = Try<'a>>) {
        self.upstreams.tried(service, tries);
    }

    /// A counted exchange failed: `observer_failures_total`.
    pub fn failed(&mut self, service: &Arc<str>, by: Culprit) {
        self.upstreams.failed(service, by);
    }

    /// An exchange seen whole whose service nothing tells: `observer_unattributed_requests_total`.
    pub fn unattributed(&self, status: u16) {
        let code = status.to_string();
        self.own.unattributed.with_label_values(&[code]).inc();
    }

    /// An exchange between two observed gateways of this host: `observer_internal_requests_total`.
    pub fn internal(&self) {
        self.own.internal.inc();
    }

    /// A status decided by `rule` instead of bytes: `observer_inferred_total`.
    pub fn inferred(&self, rule: &'static str) {
        self.own.inferred.with_label_values(&[rule]).inc();
    }

    /// A number that is a documented default, as nothing at the sockets tells it: `observer_uncertain_total`.
    pub fn uncertain(&self, reason: &'static str) {
        self.own.uncertain.with_label_values(&[reason]).inc();
    }

    /// An exchange begun: `observer_exchanges_begun_total`. At any time begun = counted + filtered + unobserved +
    /// open ones.
    pub fn begun(&self) {
        self.own.begun.inc();
    }

    /// An exchange seen whole and counted: `observer_exchanges_counted_total`.
    pub fn counted(&self) {
        self.own.counted.inc();
    }

    /// Exchanges left out on purpose: `observer_exchanges_filtered_total`.
    pub fn filtered(&self, reason: &'static str, exchanges: u64) {
        let counter = self.own.filtered.with_label_values(&[reason]);
        counter.inc_by(exchanges);
    }

    /// Exchanges that could not be followed: `observer_exchanges_unobserved_total`.
    ///
    /// `kong_nginx_metric_errors_total` is everything the observer lost: the sum of this family and of
    /// `observer_capture_lost_total` over their reasons. It counts losses, not exchanges that are missing: a record
    /// lost in the kernel and the exchange that broke for want of it are two. At 0 nothing was lost.
    pub fn unobserved(&self, reason: &'static str, exchanges: u64) {
        let counter = self.own.unobserved.with_label_values(&[reason]);
        counter.inc_by(exchanges);
        self.errors.inc_by(exchanges);
    }

    /// Records (never bytes) that the kernel part could not deliver: `observer_capture_lost_total`, and errors as
    /// told at [`Metrics::unobserved`].
    pub fn lost(&self, reason: &'static str, records: u64) {
        let counter = self.own.lost.with_label_values(&[reason]);
        counter.inc_by(records);
        self.errors.inc_by(records);
    }

    /// Upstream exchanges joined to a client's exchange, or to none: `observer_pairs_total`.
    pub fn pair(&self, evidence: Evidence, exchanges: u64) {
        self.own.pair(evidence).inc_by(exchanges);
    }

    /// Sets the connection states of one gateway, or of all where they are not told apart.
    pub fn connections(&mut self, gauge: &ConnectionGauge) {
        let family = &self.connections;
        let handles = self.connection_handles.entry(&gauge.gateway, |gateway| state_handles(family, gateway));
        for (handle, (_, value)) in handles.iter().zip(gauge.states()) {
            handle.set(i64::try_from(value).unwrap_or(i64::MAX));
        }
        if let Some(today) = &self.today {
            today.connections(gauge, self.connection_handles.label(&gauge.gateway));
        }
    }

    /// Sets `kong_datastore_reachable`; with none, the family is absent.
    pub fn datastore(&self, reachable: Option<bool>) {
        match reachable {
            Some(up) => {
                let gauge = self.datastore.with_label_values::<&str>(&[]);
                gauge.set(i64::from(up));
            }
            None => self.datastore.reset(),
        }
    }

    /// Sets `observer_exchanges_open`.
    pub fn open(&self, exchanges: usize) {
        self.own.open.set(i64::try_from(exchanges).unwrap_or(i64::MAX));
    }

    /// A TLS handshake on a client's connection ended after so long: `observer_tls_handshakes_total`, and its time if it
    /// was done: `observer_tls_handshake_seconds`.
    pub fn handshake(&self, listener: &str, result: &str, took_ns: Option<u64>) {
        self.own.handshakes.with_label_values(&[listener, result]).inc();
        if let Some(took_ns) = took_ns {
            let seconds = Duration::from_nanos(took_ns).as_secs_f64();
            self.own.handshake_seconds.with_label_values(&[listener]).observe(seconds);
        }
    }

    /// A client's connection turned out to speak this: `observer_connections_total`.
    pub fn protocol(&self, protocol: &'static str) {
        self.own.protocols.with_label_values(&[protocol]).inc();
    }

    /// Sets `observer_tls_unreadable_connections`.
    pub fn unreadable(&self, connections: u64) {
        self.own.unreadable.set(i64::try_from(connections).unwrap_or(i64::MAX));
    }

    /// Sets `observer_gateways`, and which they are.
    pub fn gateways(&self, running: Vec<Gateway>) {
        self.own.gateways.set(i64::try_from(running.len()).unwrap_or(i64::MAX));
        *self.running.write().unwrap_or_else(PoisonError::into_inner) = running;
    }

    /// The gauge of the configuration's age, for whoever reads the configuration.
    pub fn config_ages(&self) -> ConfigAges {
        ConfigAges(self.own.config_ages.clone())
    }

    /// What Kong's Admin API says of Kong itself, for whoever reads it; with Kong 3's dialect only.
    pub fn kong_node(&self) -> Option<KongNode> {
        self.node.clone()
    }

    /// Whether [`Measured::consumer`] is read.
    pub fn tells_consumers(&self) -> bool {
        self.today.as_ref().is_some_and(Today::tells_consumers)
    }

    /// Exchanges that a series limit put under [`OTHER`] so far, for a warning at the first.
    pub fn limited(&self) -> u64 {
        self.own.limited.get()
    }
}

fn state_handles(family: &IntGaugeVec, gateway: Option<&str>) -> [IntGauge; 7] {
    ConnectionGauge::default().states().map(|(state, _)| {
        let values: Vec<&str> = std::iter::once(state).chain(gateway).collect();
        family.with_label_values(&values)
    })
}

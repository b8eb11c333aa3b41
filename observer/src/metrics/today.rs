//! What one exchange adds to the families of Kong 3's plugin.

use std::collections::hash_map::Entry;
use std::sync::Arc;

use prometheus::{IntGauge, IntGaugeVec, Opts};
use rustc_hash::FxHashMap;

use super::cells::{Counter, Histogram, THOUSANDTHS};
use super::dialect::Switches;
use super::families::{self, Family};
use super::kong::PerGateway;
use super::own::register;
use super::registry::Registry;
use super::series::Series;
use super::{ConnectionGauge, MAX_STATUSES, Measured, OTHER, Source};

/// Kong's only workspace outside the Enterprise edition.
const WORKSPACE: &str = "default";

/// The label `consumer` of requests without one, and of all where consumers are not told apart.
const NO_CONSUMER: &str = "";

/// Services and their routes with series of their own, for each service that may have some.
const ROUTES_PER_SERVICE: usize = 2;

/// Consumers with series of their own, counted anew for each route: their names come from requests.
pub(super) const MAX_CONSUMERS: usize = 10_000;

/// A longer consumer's name is no name; Kong's own are UUIDs, or chosen by people.
const CONSUMER_BYTES_MAX: usize = 256;

/// The families of Kong 3, with the handles of every series they have met.
pub(super) struct Today {
    requests: Option<Series<Counter>>,
    bandwidth: Option<Series<Counter>>,
    latency: Option<Latency>,
    connections: IntGaugeVec,
    nginx_requests: IntGaugeVec,
    node_id: Arc<str>,
    gateways: PerGateway<Gateway>,
    routes: usize,
    max_routes: usize,
    tells_consumers: bool,
    consumers: usize,
    max_consumers: usize,
}

struct Latency {
    kong: Series<Histogram>,
    upstream: Series<Histogram>,
    request: Series<Histogram>,
}

/// A service and one of its routes.
type Route = (Arc<str>, Option<Arc<str>>);

struct Gateway {
    label: Option<Arc<str>>,
    routes: FxHashMap<Route, Handles>,
    other: Option<Handles>,
}

impl Today {
    pub(super) fn new(
        registry: &Registry,
        per_gateway: bool,
        limits: Limits,
        node_id: Arc<str>,
        switches: Switches,
    ) -> Today {
        use families::{TODAY_BANDWIDTH, TODAY_CONNECTIONS, TODAY_KONG_LATENCY, TODAY_NGINX_REQUESTS};
        use families::{TODAY_REQUEST_LATENCY, TODAY_REQUESTS, TODAY_UPSTREAM_LATENCY};
        let counter = |family: &'static Family| Series::register(family, per_gateway, registry);
        let histogram = |family: &'static Family| Series::register(family, per_gateway, registry);
        let gauge = |family: &'static Family| {
            let labels = family.label_names(per_gateway);
            register(registry, IntGaugeVec::new(Opts::new(family.name, family.help), &labels))
        };
        Today {
            requests: switches.status_codes.then(|| counter(&TODAY_REQUESTS)),
            bandwidth: switches.bandwidth.then(|| counter(&TODAY_BANDWIDTH)),
            latency: switches.latency.then(|| Latency {
                kong: histogram(&TODAY_KONG_LATENCY),
                upstream: histogram(&TODAY_UPSTREAM_LATENCY),
                request: histogram(&TODAY_REQUEST_LATENCY),
            }),
            connections: gauge(&TODAY_CONNECTIONS),
            nginx_requests: gauge(&TODAY_NGINX_REQUESTS),
            node_id,
            gateways: PerGateway::new(per_gateway),
            routes: 0,
            max_routes: limits.services.saturating_mul(ROUTES_PER_SERVICE),
            tells_consumers: switches.per_consumer,
            consumers: 0,
            max_consumers: limits.consumers,
        }
    }

    /// Whether the label `consumer` is wanted.
    pub(super) fn tells_consumers(&self) -> bool {
        self.tells_consumers
    }

    /// Adds one exchange; false when a limit put it under [`OTHER`].
    pub(super) fn count(&mut self, measured: &Measured) -> bool {
        let families = Families { requests: &self.requests, bandwidth: &self.bandwidth, latency: &self.latency };
        let gateway = self.gateways.entry(&measured.gateway, |label| Gateway {
            label: label.map(Arc::from),
            routes: FxHashMap::default(),
            other: None,
        });
        let named = gateway.label.as_deref() != Some(OTHER);
        let label = gateway.label.as_deref();
        let key = (Arc::clone(&measured.service), measured.route.clone());
        let has_room = self.routes < self.max_routes && *measured.service != *OTHER;
        let (handles, is_listed) = match gateway.routes.entry(key) {
            Entry::Occupied(known) => (known.into_mut(), true),
            Entry::Vacant(new) if has_room => {
                self.routes += 1;
                let (service, route) = new.key();
                let handles = Handles::new(families, service, route.as_deref().unwrap_or_default(), label);
                (new.insert(handles), true)
            }
            Entry::Vacant(_) => (gateway.other.get_or_insert_with(|| Handles::new(families, OTHER, "", label)), false),
        };
        handles.time(measured);
        let consumer = measured.consumer.as_deref().filter(|_| self.tells_consumers).unwrap_or(NO_CONSUMER);
        let (consumer, is_told) = handles.consumer(families, consumer, &mut self.consumers, self.max_consumers);
        consumer.add(families, measured) && is_listed && is_told && named
    }

    /// Sets the connection states and the requests.
    pub(super) fn connections(&self, gauge: &ConnectionGauge, gateway: Option<&str>) {
        let set = |handle: IntGauge, value: u64| handle.set(i64::try_from(value).unwrap_or(i64::MAX));
        let node = [&*self.node_id, "http"];
        for (state, value) in gauge.states() {
            let labels: Vec<&str> = node.into_iter().chain([state]).chain(gateway).collect();
            set(self.connections.with_label_values(&labels), value);
        }
        let labels: Vec<&str> = node.into_iter().chain(gateway).collect();
        set(self.nginx_requests.with_label_values(&labels), gauge.total);
    }
}

/// The families that exchanges feed, as far as they are switched on.
#[derive(Clone, Copy)]
struct Families<'a> {
    requests: &'a Option<Series<Counter>>,
    bandwidth: &'a Option<Series<Counter>>,
    latency: &'a Option<Latency>,
}

/// How many may have series of their own.
#[derive(Clone, Copy)]
pub(super) struct Limits {
    pub(super) services: usize,
    pub(super) consumers: usize,
}

/// The labels that all series of a service's route share.
struct Labels {
    service: Box<str>,
    route: Box<str>,
    gateway: Option<Box<str>>,
}

/// The series of one service's route, found once.
struct Handles {
    labels: Arc<Labels>,
    /// The gateway's, the upstream's, the whole request's.
    latency: Option<[Histogram; 3]>,
    consumers: FxHashMap<Box<str>, Consumer>,
}

impl Handles {
    fn new(families: Families<'_>, service: &str, route: &str, gateway: Option<&str>) -> Handles {
        let time = |series: &Series<Histogram>| {
            series.add(&[service, route, WORKSPACE].into_iter().chain(gateway).collect::<Vec<_>>())
        };
        Handles {
            labels: Arc::new(Labels { service: service.into(), route: route.into(), gateway: gateway.map(Box::from) }),
            latency: families.latency.as_ref().map(|all| [&all.kong, &all.upstream, &all.request].map(time)),
            consumers: FxHashMap::default(),
        }
    }

    fn time(&self, measured: &Measured) {
        let Some([kong, upstream, request]) = &self.latency else { return };
        kong.observe(measured.kong_ms * THOUSANDTHS);
        request.observe(measured.request_ms * THOUSANDTHS);
        if let Some(upstream_ms) = measured.upstream_ms {
            upstream.observe(upstream_ms * THOUSANDTHS);
        }
    }

    /// The series of a consumer, or those of [`OTHER`] and false where there are `most` named ones already.
    fn consumer(
        &mut self,
        families: Families<'_>,
        name: &str,
        named: &mut usize,
        most: usize,
    ) -> (&mut Consumer, bool) {
        let is_known = self.consumers.contains_key(name);
        let has_room = *named < most && name.len() <= CONSUMER_BYTES_MAX;
        let is_told = is_known || has_room || name == NO_CONSUMER;
        let name = if is_told { name } else { OTHER };
        if !is_known && is_told && name != NO_CONSUMER {
            *named += 1;
        }
        let labels = &self.labels;
        let made = || Consumer::new(families, Arc::clone(labels), name);
        (self.consumers.entry(name.into()).or_insert_with(made), is_told)
    }
}

/// The series of one consumer's requests of one service's route.
struct Consumer {
    labels: Arc<Labels>,
    name: Box<str>,
    /// Ingress and egress.
    bandwidth: Option<[Counter; 2]>,
    requests: FxHashMap<(u16, Source), Counter>,
    other_requests: Option<Counter>,
}

impl Consumer {
    fn new(families: Families<'_>, labels: Arc<Labels>, name: &str) -> Consumer {
        let bytes = |series: &Series<Counter>, direction| {
            let values = [&*labels.service, &*labels.route, direction, WORKSPACE, name];
            series.add(&values.into_iter().chain(labels.gateway.as_deref()).collect::<Vec<_>>())
        };
        Consumer {
            bandwidth: families.bandwidth.as_ref().map(|series| ["ingress", "egress"].map(|way| bytes(series, way))),
            labels,
            name: name.into(),
            requests: FxHashMap::default(),
            other_requests: None,
        }
    }

    /// False when its status was one too many.
    fn add(&mut self, families: Families<'_>, measured: &Measured) -> bool {
        if let Some([ingress, egress]) = &self.bandwidth {
            ingress.inc_by(measured.request_bytes);
            egress.inc_by(measured.response_bytes);
        }
        families.requests.as_ref().is_none_or(|series| self.request(series, measured))
    }

    fn request(&mut self, series: &Series<Counter>, measured: &Measured) -> bool {
        let key = (measured.status, measured.source);
        if let Some(counter) = self.requests.get(&key) {
            counter.inc();
            return true;
        }
        let Labels { service, route, gateway } = &*self.labels;
        let add = |code: &str, source: &str| {
            let labels = [service, route, code, source, WORKSPACE, &*self.name];
            series.add(&labels.into_iter().chain(gateway.as_deref()).collect::<Vec<_>>())
        };
        if self.requests.len() >= MAX_STATUSES {
            self.other_requests.get_or_insert_with(|| add(OTHER, "")).inc();
            return false;
        }
        let counter = add(&measured.status.to_string(), measured.source.name());
        counter.inc();
        self.requests.insert(key, counter);
        true
    }
}

//! What one exchange adds to the families of Kong 3's plugin.

use std::sync::Arc;

use prometheus::{Histogram, IntCounter, IntGauge, IntGaugeVec, Opts, Registry};
use rustc_hash::FxHashMap;

use super::dialect::Switches;
use super::families::{self, Family};
use super::kong::PerGateway;
use super::own::register;
use super::series::Series;
use super::{ConnectionGauge, MAX_STATUSES, Measured, OTHER, Source};

/// Kong's only workspace outside the Enterprise edition.
const WORKSPACE: &str = "default";

/// Consumers are told apart on request only.
const NO_CONSUMER: &str = "";

/// Services and their routes with series of their own, for each service that may have some.
const ROUTES_PER_SERVICE: usize = 2;

/// The families of Kong 3, with the handles of every series they have met.
pub(super) struct Today {
    requests: Option<Series<IntCounter>>,
    bandwidth: Option<Series<IntCounter>>,
    latency: Option<Latency>,
    connections: IntGaugeVec,
    nginx_requests: IntGaugeVec,
    node_id: Arc<str>,
    gateways: PerGateway<Gateway>,
    routes: usize,
    max_routes: usize,
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
        max_services: usize,
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
            max_routes: max_services.saturating_mul(ROUTES_PER_SERVICE),
        }
    }

    /// Adds one exchange; false when a limit put it under [`OTHER`].
    pub(super) fn count(&mut self, measured: &Measured) -> bool {
        let families = (&self.requests, &self.bandwidth, &self.latency);
        let gateway = self.gateways.entry(&measured.gateway, |label| Gateway {
            label: label.map(Arc::from),
            routes: FxHashMap::default(),
            other: None,
        });
        let named = gateway.label.as_deref() != Some(OTHER);
        let label = gateway.label.as_deref();
        let key = (Arc::clone(&measured.service), measured.route.clone());
        if let Some(handles) = gateway.routes.get_mut(&key) {
            return handles.add(families.0.as_ref(), measured) && named;
        }
        if self.routes < self.max_routes && *measured.service != *OTHER {
            self.routes += 1;
            let mut handles = Handles::new(families, &key.0, key.1.as_deref().unwrap_or_default(), label);
            let within = handles.add(families.0.as_ref(), measured);
            gateway.routes.insert(key, handles);
            return within && named;
        }
        let other = gateway.other.get_or_insert_with(|| Handles::new(families, OTHER, "", label));
        other.add(families.0.as_ref(), measured);
        false
    }

    /// Sets the connection states and the requests. Kong 3 has no state `total`.
    pub(super) fn connections(&self, gauge: &ConnectionGauge, gateway: Option<&str>) {
        let set = |handle: IntGauge, value: u64| handle.set(i64::try_from(value).unwrap_or(i64::MAX));
        let node = [&*self.node_id, "http"];
        for (state, value) in gauge.states().into_iter().filter(|(state, _)| *state != "total") {
            let labels: Vec<&str> = node.into_iter().chain([state]).chain(gateway).collect();
            set(self.connections.with_label_values(&labels), value);
        }
        let labels: Vec<&str> = node.into_iter().chain(gateway).collect();
        set(self.nginx_requests.with_label_values(&labels), gauge.total);
    }
}

type Families<'a> = (&'a Option<Series<IntCounter>>, &'a Option<Series<IntCounter>>, &'a Option<Latency>);

/// The series of one service's route, found once.
struct Handles {
    labels: Box<[Box<str>; 2]>,
    gateway: Option<Box<str>>,
    /// Ingress and egress.
    bandwidth: Option<[IntCounter; 2]>,
    /// The gateway's, the upstream's, the whole request's.
    latency: Option<[Histogram; 3]>,
    requests: FxHashMap<(u16, Source), IntCounter>,
    other_requests: Option<IntCounter>,
}

impl Handles {
    fn new((_, bandwidth, latency): Families<'_>, service: &str, route: &str, gateway: Option<&str>) -> Handles {
        let bytes = |series: &Series<IntCounter>, direction| {
            let labels = [service, route, direction, WORKSPACE, NO_CONSUMER];
            series.add(&labels.into_iter().chain(gateway).collect::<Vec<_>>())
        };
        let time = |series: &Series<Histogram>| {
            series.add(&[service, route, WORKSPACE].into_iter().chain(gateway).collect::<Vec<_>>())
        };
        Handles {
            labels: Box::new([service.into(), route.into()]),
            gateway: gateway.map(Box::from),
            bandwidth: bandwidth.as_ref().map(|series| ["ingress", "egress"].map(|way| bytes(series, way))),
            latency: latency.as_ref().map(|all| [&all.kong, &all.upstream, &all.request].map(time)),
            requests: FxHashMap::default(),
            other_requests: None,
        }
    }

    /// False when its status was one too many.
    fn add(&mut self, requests: Option<&Series<IntCounter>>, measured: &Measured) -> bool {
        if let Some([ingress, egress]) = &self.bandwidth {
            ingress.inc_by(measured.request_bytes);
            egress.inc_by(measured.response_bytes);
        }
        if let Some([kong, upstream, request]) = &self.latency {
            kong.observe(measured.kong_ms as f64);
            request.observe(measured.request_ms as f64);
            if let Some(upstream_ms) = measured.upstream_ms {
                upstream.observe(upstream_ms as f64);
            }
        }
        requests.is_none_or(|series| self.request(series, measured))
    }

    fn request(&mut self, series: &Series<IntCounter>, measured: &Measured) -> bool {
        let key = (measured.status, measured.source);
        if let Some(counter) = self.requests.get(&key) {
            counter.inc();
            return true;
        }
        let [service, route] = &*self.labels;
        let add = |code: &str, source: &str| {
            let labels = [&**service, &**route, code, source, WORKSPACE, NO_CONSUMER];
            series.add(&labels.into_iter().chain(self.gateway.as_deref()).collect::<Vec<_>>())
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

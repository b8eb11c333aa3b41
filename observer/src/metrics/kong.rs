//! What one exchange adds to Kong's families.

use std::sync::Arc;

use rustc_hash::FxHashMap;

use super::cells::{Counter, Histogram, THOUSANDTHS};
use super::families::{self, Family};
use super::registry::Registry;
use super::series::Series;
use super::{MAX_GATEWAYS, MAX_STATUSES, Measured, OTHER};

/// The families that exchanges feed, with the handles of every series they have met.
pub(super) struct Exchanges {
    all: Level,
    each: Level,
    gateways: PerGateway<Gateway>,
    services: usize,
    max_services: usize,
}

impl Exchanges {
    pub(super) fn new(registry: &Registry, per_gateway: bool, max_services: usize) -> Exchanges {
        use families::*;
        let level = |bandwidth, status, latency| Level::register(registry, per_gateway, [bandwidth, status, latency]);
        Exchanges {
            all: level(&BANDWIDTH_TOTAL, &HTTP_STATUS_TOTAL, &LATENCY_TOTAL),
            each: level(&BANDWIDTH, &HTTP_STATUS, &LATENCY),
            gateways: PerGateway::new(per_gateway),
            services: 0,
            max_services,
        }
    }

    /// The families of single services.
    pub(super) fn each(&self) -> &Level {
        &self.each
    }

    /// Adds one exchange; false when a limit put it under [`OTHER`].
    pub(super) fn count(&mut self, measured: &Measured) -> bool {
        let (all, each) = (&self.all, &self.each);
        let gateway = self.gateways.entry(&measured.gateway, |label| Gateway {
            label: label.map(Arc::from),
            all: Handles::new(all, None, label),
            other: None,
            services: FxHashMap::default(),
        });
        let named = gateway.label.as_deref() != Some(OTHER);
        let listed = gateway.all.add(measured) && named;

        if let Some(service) = gateway.services.get_mut(&measured.service) {
            return service.add(measured) && listed;
        }
        let label = gateway.label.as_deref();
        if self.services < self.max_services && *measured.service != *OTHER {
            self.services += 1;
            let mut service = Handles::new(each, Some(&measured.service), label);
            let within = service.add(measured) && listed;
            gateway.services.insert(Arc::clone(&measured.service), service);
            return within;
        }
        gateway.other.get_or_insert_with(|| Handles::new(each, Some(OTHER), label)).add(measured);
        false
    }
}

/// One value for each gateway, or a single one where gateways are not told apart.
pub(super) struct PerGateway<T> {
    labelled: bool,
    values: FxHashMap<Option<Arc<str>>, T>,
}

impl<T> PerGateway<T> {
    pub(super) fn new(labelled: bool) -> PerGateway<T> {
        PerGateway { labelled, values: FxHashMap::default() }
    }

    /// The gateway's value, made by `make` from the gateway's label value (none where there is no label) at first
    /// sight. Past [`MAX_GATEWAYS`] the rest share the one of [`OTHER`].
    pub(super) fn entry(&mut self, gateway: &Option<Arc<str>>, make: impl FnOnce(Option<&str>) -> T) -> &mut T {
        if !self.labelled {
            return self.values.entry(None).or_insert_with(|| make(None));
        }
        let full = self.values.len() >= MAX_GATEWAYS;
        let key = match gateway {
            known if self.values.contains_key(known) => known.clone(),
            _ if full => Some(Arc::from(OTHER)),
            new => new.clone(),
        };
        let label = key.clone();
        self.values.entry(key).or_insert_with(|| make(Some(label.as_deref().unwrap_or_default())))
    }
}

impl<T> PerGateway<T> {
    /// The label value of a gateway that has an entry; none where gateways are not told apart.
    pub(super) fn label<'a>(&self, gateway: &'a Option<Arc<str>>) -> Option<&'a str> {
        let is_known = self.values.contains_key(gateway);
        self.labelled.then(|| if is_known { gateway.as_deref().unwrap_or_default() } else { OTHER })
    }
}

struct Gateway {
    label: Option<Arc<str>>,
    all: Handles,
    other: Option<Handles>,
    services: FxHashMap<Arc<str>, Handles>,
}

/// The three families of one level: all services together, or each for itself.
pub(super) struct Level {
    pub(super) bandwidth: Series<Counter>,
    pub(super) status: Series<Counter>,
    pub(super) latency: Series<Histogram>,
}

impl Level {
    fn register(registry: &Registry, per_gateway: bool, [bandwidth, status, latency]: [&'static Family; 3]) -> Level {
        Level {
            bandwidth: Series::register(bandwidth, per_gateway, registry),
            status: Series::register(status, per_gateway, registry),
            latency: Series::register(latency, per_gateway, registry),
        }
    }
}

/// One service's series, found once.
struct Handles {
    ingress: Counter,
    egress: Counter,
    kong: Histogram,
    request: Histogram,
    upstream: Histogram,
    statuses: Statuses,
}

impl Handles {
    fn new(level: &Level, service: Option<&str>, gateway: Option<&str>) -> Handles {
        let tail: Vec<&str> = service.into_iter().chain(gateway).collect();
        let bandwidth = |kind| level.bandwidth.add(&with_tail(kind, &tail));
        let latency = |kind| level.latency.add(&with_tail(kind, &tail));
        Handles {
            ingress: bandwidth("ingress"),
            egress: bandwidth("egress"),
            kong: latency("kong"),
            request: latency("request"),
            upstream: latency("upstream"),
            statuses: Statuses::new(&level.status, &tail),
        }
    }

    /// Adds one exchange; false when its status was one too many.
    fn add(&mut self, measured: &Measured) -> bool {
        self.ingress.inc_by(measured.request_bytes);
        self.egress.inc_by(measured.response_bytes);
        self.kong.observe(measured.kong_ms * THOUSANDTHS);
        self.request.observe(measured.request_ms * THOUSANDTHS);
        if let Some(upstream_ms) = measured.upstream_ms {
            self.upstream.observe(upstream_ms * THOUSANDTHS);
        }
        self.statuses.add(measured.status)
    }
}

/// The counters of one service's status codes.
struct Statuses {
    series: Series<Counter>,
    tail: Box<[Box<str>]>,
    codes: FxHashMap<u16, Counter>,
    other: Option<Counter>,
}

impl Statuses {
    fn new(series: &Series<Counter>, tail: &[&str]) -> Statuses {
        Statuses {
            series: series.clone(),
            tail: tail.iter().map(|value| Box::from(*value)).collect(),
            codes: FxHashMap::default(),
            other: None,
        }
    }

    fn add(&mut self, code: u16) -> bool {
        if let Some(counter) = self.codes.get(&code) {
            counter.inc();
            return true;
        }
        if self.codes.len() >= MAX_STATUSES {
            let (series, tail) = (&self.series, &self.tail);
            self.other.get_or_insert_with(|| new_status(series, OTHER, tail)).inc();
            return false;
        }
        let counter = new_status(&self.series, &code.to_string(), &self.tail);
        counter.inc();
        self.codes.insert(code, counter);
        true
    }
}

fn new_status(series: &Series<Counter>, code: &str, tail: &[Box<str>]) -> Counter {
    let tail: Vec<&str> = tail.iter().map(AsRef::as_ref).collect();
    series.add(&with_tail(code, &tail))
}

fn with_tail<'a>(first: &'a str, tail: &[&'a str]) -> Vec<&'a str> {
    std::iter::once(first).chain(tail.iter().copied()).collect()
}

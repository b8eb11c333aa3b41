//! What the tries of counted exchanges add up to, by service and by the upstream that was asked.

use std::collections::hash_map::Entry;
use std::sync::Arc;

use rustc_hash::FxHashMap;

use super::cells::{Counter, Gauge, Histogram};
use super::families::Family;
use super::registry::Registry;
use super::series::Series;
use super::{MAX_SERVICES, MAX_STATUSES, OTHER};
use crate::event::Endpoint;

/// Upstreams with series of their own, over all services. The rest share [`OTHER`].
pub const MAX_TARGETS: usize = 4_000;

/// Upper bounds in milliseconds.
const PHASE_BOUNDS_MS: [f64; 12] = [1.0, 2.0, 5.0, 10.0, 25.0, 50.0, 100.0, 250.0, 500.0, 1000.0, 5000.0, 30000.0];

const REQUESTS: Family = Family {
    name: "observer_upstream_requests_total",
    help: "Requests that the gateway made to an upstream to answer a client's, by status code, or none without an answer",
    bounds: &[],
    labels: &["service", "target", "code"],
};
const RETRIES: Family = Family {
    name: "observer_upstream_retries_total",
    help: "Requests to an upstream after the first one for the same client's request",
    bounds: &[],
    labels: &["service"],
};
const FAILURES_IN_A_ROW: Family = Family {
    name: "observer_upstream_failures_in_a_row",
    help: "Requests to an upstream without a whole answer, or with a status of 500 and above, since the last good one",
    bounds: &[],
    labels: &["service", "target"],
};
const PHASE_MS: Family = Family {
    name: "observer_upstream_phase_ms",
    help: "Milliseconds that a request to an upstream spent connecting, sending, waiting for the header and receiving",
    bounds: &PHASE_BOUNDS_MS,
    labels: &["service", "phase"],
};
const FAILURES: Family = Family {
    name: "observer_failures_total",
    help: "Exchanges that failed, by who broke them",
    bounds: &[],
    labels: &["service", "by"],
};

/// One request to an upstream.
#[derive(Clone, Debug, PartialEq)]
pub struct Try<'a> {
    /// Whom the gateway asked.
    pub target: &'a Endpoint,
    /// The answer's status, 0 without one.
    pub status: u16,
    /// No whole answer came.
    pub is_broken: bool,
    /// Microseconds of each phase that there was, by the order of [`PHASES`].
    pub phases_us: [Option<u64>; PHASES.len()],
}

/// The values of the label `phase`.
pub const PHASES: [&str; 4] = ["connect", "send", "wait", "receive"];

/// Who broke an exchange.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Culprit {
    /// The client closed first, or did not send its request in time.
    Client,
    /// The gateway answered with an error of its own, or closed without an answer.
    Gateway,
    /// The upstream refused, closed, kept silent or answered with an error.
    Upstream,
    /// A connect to the upstream led nowhere.
    Network,
}

impl Culprit {
    /// As a label's value.
    pub const fn name(self) -> &'static str {
        match self {
            Culprit::Client => "client",
            Culprit::Gateway => "gateway",
            Culprit::Upstream => "upstream",
            Culprit::Network => "network",
        }
    }
}

pub(super) struct Upstreams {
    pub(super) families: Families,
    services: Services,
    targets: usize,
}

/// By name, found by one look-up.
#[derive(Default)]
struct Services {
    all: Vec<Service>,
    by_name: FxHashMap<Arc<str>, usize>,
}

pub(super) struct Families {
    pub(super) requests: Series<Counter>,
    pub(super) retries: Series<Counter>,
    pub(super) failures_in_a_row: Series<Gauge>,
    phase_ms: Series<Histogram>,
    pub(super) failures: Series<Counter>,
}

struct Service {
    name: Arc<str>,
    targets: Targets,
    retries: Option<Counter>,
    phases: [Option<Histogram>; PHASES.len()],
    failures: FxHashMap<Culprit, Counter>,
}

/// The upstreams of one service.
#[derive(Default)]
struct Targets {
    listed: FxHashMap<Endpoint, Target>,
    other: Option<Target>,
}

struct Target {
    label: Box<str>,
    codes: FxHashMap<Option<u16>, Counter>,
    failures_in_a_row: Gauge,
}

impl Upstreams {
    pub(super) fn new(registry: &Registry) -> Self {
        Upstreams {
            families: Families {
                requests: Series::register(&REQUESTS, false, registry),
                retries: Series::register(&RETRIES, false, registry),
                failures_in_a_row: Series::register(&FAILURES_IN_A_ROW, false, registry),
                phase_ms: Series::register(&PHASE_MS, false, registry),
                failures: Series::register(&FAILURES, false, registry),
            },
            services: Services::default(),
            targets: 0,
        }
    }

    /// Adds the tries for one client's request, in their order.
    pub(super) fn tried<'a>(&mut self, service: &Arc<str>, tries: impl Iterator<Item = Try<'a>>) {
        let Service { name, targets, retries, phases, .. } = self.services.named(service);
        for (index, one) in tries.enumerate() {
            targets.of(one.target, name, &mut self.targets, &self.families).add(&one, name, &self.families);
            for (phase, us) in one.phases_us.iter().enumerate().filter_map(|(phase, us)| Some((phase, (*us)?))) {
                let add = || self.families.phase_ms.add(&[name, PHASES[phase]]);
                // The bounds are in milliseconds.
                phases[phase].get_or_insert_with(add).observe(us);
            }
            if index > 0 {
                retries.get_or_insert_with(|| self.families.retries.add(&[name])).inc();
            }
        }
    }

    /// An exchange failed.
    pub(super) fn failed(&mut self, service: &Arc<str>, by: Culprit) {
        let service = self.services.named(service);
        let name = &service.name;
        let add = || self.families.failures.add(&[name, by.name()]);
        service.failures.entry(by).or_insert_with(add).inc();
    }
}

impl Services {
    fn named(&mut self, name: &Arc<str>) -> &mut Service {
        let at = match self.by_name.get(name) {
            Some(&at) => at,
            None => self.add(name),
        };
        &mut self.all[at]
    }

    fn add(&mut self, name: &Arc<str>) -> usize {
        let name = if self.all.len() >= MAX_SERVICES { OTHER.into() } else { name.clone() };
        let (all, new) = (&mut self.all, name.clone());
        *self.by_name.entry(name).or_insert_with(|| {
            all.push(Service::new(new));
            all.len() - 1
        })
    }
}

impl Service {
    fn new(name: Arc<str>) -> Self {
        Service {
            name,
            targets: Targets::default(),
            retries: None,
            phases: Default::default(),
            failures: FxHashMap::default(),
        }
    }
}

impl Targets {
    fn of(&mut self, target: &Endpoint, service: &str, listed: &mut usize, families: &Families) -> &mut Target {
        match self.listed.entry(target.clone()) {
            Entry::Occupied(known) => known.into_mut(),
            Entry::Vacant(new) if *listed < MAX_TARGETS => {
                *listed += 1;
                let label = new.key().to_string();
                new.insert(Target::new(label, service, families))
            }
            Entry::Vacant(_) => self.other.get_or_insert_with(|| Target::new(OTHER.to_owned(), service, families)),
        }
    }
}

impl Target {
    fn new(label: String, service: &str, families: &Families) -> Self {
        Target {
            failures_in_a_row: families.failures_in_a_row.add(&[service, &label]),
            label: label.into(),
            codes: FxHashMap::default(),
        }
    }

    fn add(&mut self, one: &Try<'_>, service: &str, families: &Families) {
        let code =
            Some(one.status).filter(|code| self.codes.len() < MAX_STATUSES || self.codes.contains_key(&Some(*code)));
        let label = &self.label;
        let add = || match code {
            Some(0) => families.requests.add(&[service, label, "none"]),
            Some(code) => families.requests.add(&[service, label, &code.to_string()]),
            None => families.requests.add(&[service, label, OTHER]),
        };
        self.codes.entry(code).or_insert_with(add).inc();
        if one.is_broken || one.status >= 500 {
            self.failures_in_a_row.inc();
        } else {
            self.failures_in_a_row.set(0);
        }
    }
}

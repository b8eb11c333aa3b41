//! The metrics as a [`Snapshot`]: the same series that a scrape prints, whatever dialects are spoken.

use std::collections::BTreeMap;
use std::sync::{Arc, PoisonError, RwLock};

use prometheus::core::Collector;
use prometheus::proto::{self, Metric};
use prometheus::{IntCounter, IntCounterVec, IntGauge, IntGaugeVec};

use super::Metrics;
use super::cells::{Counter, Histogram};
use super::families::LATENCY_BOUNDS_MS;
use super::series::Series;
use crate::snapshot::{self, Connections, Counts, Gateway, Loss, Service, Snapshot, Target};

/// The gateways that run, as the pipeline tells them.
pub(super) type Gateways = Arc<RwLock<Vec<Gateway>>>;

/// Reads the metrics at any time, from any thread, without a wait for the pipeline.
#[derive(Clone)]
pub struct View {
    bandwidth: Series<Counter>,
    status: Series<Counter>,
    latency: Series<Histogram>,
    requests: Series<Counter>,
    retries: Series<Counter>,
    failures_in_a_row: Series<IntGauge>,
    failures: Series<Counter>,
    connections: IntGaugeVec,
    unattributed: IntCounterVec,
    errors: IntCounter,
    unobserved: IntCounterVec,
    filtered: IntCounterVec,
    inferred: IntCounterVec,
    uncertain: IntCounterVec,
    records: IntCounterVec,
    gateways: Gateways,
}

impl View {
    pub(super) fn of(metrics: &Metrics) -> View {
        let (each, upstreams, own) = (metrics.exchanges.each(), &metrics.upstreams.families, &metrics.own);
        View {
            bandwidth: each.bandwidth.clone(),
            status: each.status.clone(),
            latency: each.latency.clone(),
            requests: upstreams.requests.clone(),
            retries: upstreams.retries.clone(),
            failures_in_a_row: upstreams.failures_in_a_row.clone(),
            failures: upstreams.failures.clone(),
            connections: metrics.connections.clone(),
            unattributed: own.unattributed.clone(),
            errors: metrics.errors.clone(),
            unobserved: own.unobserved.clone(),
            filtered: own.filtered.clone(),
            inferred: own.inferred.clone(),
            uncertain: own.uncertain.clone(),
            records: own.lost.clone(),
            gateways: metrics.running.clone(),
        }
    }

    /// The numbers now. What is not the metrics' is left at its default: version, host, times, the process's cost.
    pub fn snapshot(&self) -> Snapshot {
        Snapshot {
            gateways: self.gateways.read().unwrap_or_else(PoisonError::into_inner).clone(),
            connections: self.connections(),
            latency_bounds_ms: LATENCY_BOUNDS_MS.to_vec(),
            services: self.services(),
            unattributed: counts(&self.unattributed, "code"),
            loss: Loss {
                errors: self.errors.get(),
                unobserved: counts(&self.unobserved, "reason"),
                filtered: counts(&self.filtered, "reason"),
                inferred: counts(&self.inferred, "rule"),
                uncertain: counts(&self.uncertain, "reason"),
                records: counts(&self.records, "reason"),
            },
            ..Snapshot::default()
        }
    }

    fn connections(&self) -> Connections {
        let mut states = Counts::new();
        each(&self.connections, |metric| {
            *states.entry(label(metric, "state").to_owned()).or_default() += gauge(metric);
        });
        let state = |name: &str| states.get(name).copied().unwrap_or(0);
        Connections {
            active: state("active"),
            reading: state("reading"),
            writing: state("writing"),
            waiting: state("waiting"),
            accepted: state("accepted"),
            handled: state("handled"),
            total: state("total"),
        }
    }

    fn services(&self) -> Vec<Service> {
        let mut services = Services::default();
        each(&self.bandwidth, |metric| {
            let bandwidth = &mut services.of(metric).bandwidth;
            match label(metric, "type") {
                "ingress" => bandwidth.ingress += counter(metric),
                _ => bandwidth.egress += counter(metric),
            }
        });
        each(&self.status, |metric| add(&mut services.of(metric).codes, metric, "code"));
        each(&self.latency, |metric| {
            let latency = &mut services.of(metric).latency;
            let histogram = match label(metric, "type") {
                "request" => &mut latency.request,
                "upstream" => &mut latency.upstream,
                _ => &mut latency.kong,
            };
            add_histogram(histogram, metric.get_histogram());
        });
        each(&self.retries, |metric| services.of(metric).retries += counter(metric));
        each(&self.failures, |metric| add(&mut services.of(metric).failures, metric, "by"));
        each(&self.requests, |metric| add(&mut services.target(metric).codes, metric, "code"));
        each(&self.failures_in_a_row, |metric| services.target(metric).failures_in_a_row += gauge(metric));
        services.into_vec()
    }
}

/// Services by name, each with its targets by address.
#[derive(Default)]
struct Services(BTreeMap<String, (Service, BTreeMap<String, Target>)>);

impl Services {
    fn entry(&mut self, metric: &Metric) -> &mut (Service, BTreeMap<String, Target>) {
        let name = label(metric, "service");
        if !self.0.contains_key(name) {
            self.0.insert(name.to_owned(), (Service { name: name.to_owned(), ..Service::default() }, BTreeMap::new()));
        }
        self.0.get_mut(name).expect("it was put there")
    }

    fn of(&mut self, metric: &Metric) -> &mut Service {
        &mut self.entry(metric).0
    }

    fn target(&mut self, metric: &Metric) -> &mut Target {
        let target = label(metric, "target");
        let made = || Target { target: target.to_owned(), ..Target::default() };
        self.entry(metric).1.entry(target.to_owned()).or_insert_with(made)
    }

    fn into_vec(self) -> Vec<Service> {
        let whole = |(service, targets): (Service, BTreeMap<String, Target>)| Service {
            targets: targets.into_values().collect(),
            ..service
        };
        self.0.into_values().map(whole).collect()
    }
}

/// A counter's value came from a whole number, and goes back to it.
fn counter(metric: &Metric) -> u64 {
    metric.get_counter().get_value() as u64
}

/// Casts saturate: below 0 there is nothing.
fn gauge(metric: &Metric) -> u64 {
    metric.get_gauge().get_value() as u64
}

fn label<'a>(metric: &'a Metric, name: &str) -> &'a str {
    metric.get_label().iter().find(|pair| pair.name() == name).map_or("", |pair| pair.value())
}

fn each(family: &impl Collector, mut take: impl FnMut(&Metric)) {
    for family in family.collect() {
        family.get_metric().iter().for_each(&mut take);
    }
}

fn counts(family: &IntCounterVec, name: &str) -> Counts {
    let mut counts = Counts::new();
    each(family, |metric| add(&mut counts, metric, name));
    counts
}

/// A series before its first increment is not told, as on the page.
fn add(counts: &mut Counts, metric: &Metric, name: &str) {
    let value = counter(metric);
    if value > 0 {
        *counts.entry(label(metric, name).to_owned()).or_default() += value;
    }
}

fn add_histogram(sum: &mut snapshot::Histogram, one: &proto::Histogram) {
    if one.get_sample_count() == 0 {
        return;
    }
    sum.sum += one.get_sample_sum();
    sum.count += one.get_sample_count();
    sum.buckets.resize(LATENCY_BOUNDS_MS.len() + 1, 0);
    let bounded = one.get_bucket().iter().map(|bucket| bucket.cumulative_count());
    let all = bounded.chain(std::iter::once(one.get_sample_count()));
    sum.buckets.iter_mut().zip(all).for_each(|(bucket, count)| *bucket += count);
}

//! The metrics as a [`Snapshot`]: the same series that a scrape prints, whatever dialects are spoken.

use std::collections::BTreeMap;
use std::sync::{Arc, PoisonError, RwLock};

use prometheus::core::Collector;
use prometheus::{IntCounter, IntCounterVec, IntGaugeVec};

use super::Metrics;
use super::cells::{Counter, Gauge, Histogram};
use super::families::LATENCY_BOUNDS_MS;
use super::labels::Labels;
use super::reading::{Histograms, Reading, Values};
use super::series::{Readable, Series};
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
    failures_in_a_row: Series<Gauge>,
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
        each_few(&self.connections, |labels, value| {
            *states.entry(labels.value("state").into_owned()).or_default() += value;
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
        each(&self.bandwidth, |labels, value| {
            let bandwidth = &mut services.of(labels).bandwidth;
            match &*labels.value("type") {
                "ingress" => bandwidth.ingress += value,
                _ => bandwidth.egress += value,
            }
        });
        each(&self.status, |labels, value| add(&mut services.of(labels).codes, labels, "code", value));
        each_histogram(&self.latency, |labels, histograms, at| {
            let latency = &mut services.of(labels).latency;
            let histogram = match &*labels.value("type") {
                "request" => &mut latency.request,
                "upstream" => &mut latency.upstream,
                _ => &mut latency.kong,
            };
            add_histogram(histogram, histograms, at);
        });
        each(&self.retries, |labels, value| services.of(labels).retries += value);
        each(&self.failures, |labels, value| add(&mut services.of(labels).failures, labels, "by", value));
        each(&self.requests, |labels, value| add(&mut services.target(labels).codes, labels, "code", value));
        each(&self.failures_in_a_row, |labels, value| services.target(labels).failures_in_a_row += value);
        services.into_vec()
    }
}

/// Services by name, each with its targets by address.
#[derive(Default)]
struct Services(BTreeMap<String, (Service, BTreeMap<String, Target>)>);

impl Services {
    fn entry(&mut self, labels: &Labels) -> &mut (Service, BTreeMap<String, Target>) {
        let name = labels.value("service");
        if !self.0.contains_key(&*name) {
            let service = Service { name: name.clone().into_owned(), ..Service::default() };
            self.0.insert(service.name.clone(), (service, BTreeMap::new()));
        }
        self.0.get_mut(&*name).expect("it was put there")
    }

    fn of(&mut self, labels: &Labels) -> &mut Service {
        &mut self.entry(labels).0
    }

    fn target(&mut self, labels: &Labels) -> &mut Target {
        let target = labels.value("target").into_owned();
        let made = Target { target: target.clone(), ..Target::default() };
        self.entry(labels).1.entry(target).or_insert(made)
    }

    fn into_vec(self) -> Vec<Service> {
        let whole = |(service, targets): (Service, BTreeMap<String, Target>)| Service {
            targets: targets.into_values().collect(),
            ..service
        };
        self.0.into_values().map(whole).collect()
    }
}

/// The values came from whole numbers, and go back to them. Casts saturate: below 0 there is nothing.
fn each_number(reading: &Reading, mut take: impl FnMut(&Labels, u64)) {
    reading.numbers().for_each(|(labels, value)| take(labels, value as u64));
}

fn each(family: &impl Readable, take: impl FnMut(&Labels, u64)) {
    each_number(&family.read(), take);
}

fn each_few(family: &impl Collector, mut take: impl FnMut(&Labels, u64)) {
    family.collect().iter().for_each(|family| each_number(&Reading::of(family), &mut take));
}

fn each_histogram(family: &Series<Histogram>, mut take: impl FnMut(&Labels, &Histograms, usize)) {
    let reading = family.read();
    if let Values::Histograms(histograms) = &reading.values {
        reading.labels.iter().enumerate().for_each(|(at, labels)| take(labels, histograms, at));
    }
}

fn counts(family: &IntCounterVec, name: &str) -> Counts {
    let mut counts = Counts::new();
    each_few(family, |labels, value| add(&mut counts, labels, name, value));
    counts
}

/// A series before its first increment is not told, as on the page.
fn add(counts: &mut Counts, labels: &Labels, name: &str, value: u64) {
    if value > 0 {
        *counts.entry(labels.value(name).into_owned()).or_default() += value;
    }
}

fn add_histogram(sum: &mut snapshot::Histogram, histograms: &Histograms, at: usize) {
    if histograms.count(at) == 0 {
        return;
    }
    sum.sum += histograms.sum(at);
    sum.count += histograms.count(at);
    sum.buckets.resize(LATENCY_BOUNDS_MS.len() + 1, 0);
    sum.buckets.iter_mut().zip(histograms.counts(at)).for_each(|(bucket, count)| *bucket += count);
}

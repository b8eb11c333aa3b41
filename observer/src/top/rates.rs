//! What happened between two snapshots. Plain computing.

use std::collections::BTreeMap;

use super::quantile::{Quantile, quantile};
use crate::snapshot::{Connections, Counts, Gateway, Histogram, Service, Snapshot, Target};

/// The quantiles that are shown.
pub const QUANTILES: [f64; 3] = [0.5, 0.9, 0.99];

/// Everything that is shown of a time.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Rates {
    /// The agent's version and its host.
    pub agent: (String, String),
    /// Seconds since the agent's start.
    pub up_s: f64,
    /// Seconds that the rates are of.
    pub seconds: f64,
    /// Whether anything is counted.
    pub enabled: bool,
    /// Gateways that run.
    pub gateways: Vec<Gateway>,
    /// Connections now.
    pub connections: Connections,
    /// Connections accepted per second.
    pub accepted: f64,
    /// Requests per second with a service.
    pub requests: f64,
    /// Requests per second without one.
    pub unattributed: f64,
    /// What was lost since the start, and how much of it in this time.
    pub errors: (u64, u64),
    /// Why, since the start, the most first.
    pub reasons: Vec<(String, u64)>,
    /// Share of one CPU that the agent took.
    pub cpu: f64,
    /// Bytes of memory that it has.
    pub resident_bytes: u64,
    /// Upper bounds of the buckets.
    pub bounds_ms: Vec<f64>,
    /// Service by service, by name.
    pub rows: Vec<Row>,
}

/// One service.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Row {
    /// Its name.
    pub name: String,
    /// Requests per second.
    pub requests: f64,
    /// Shares of the classes 1xx to 5xx, 0 to 1; all 0 without a request.
    pub classes: [f64; 5],
    /// The gateway's, the upstream's, the whole request's.
    pub latencies: [Times; 3],
    /// Bytes per second read from clients.
    pub ingress: f64,
    /// Bytes per second written to clients.
    pub egress: f64,
    /// Failed exchanges per second.
    pub failures: f64,
    /// By who broke them, in this time.
    pub failures_by: Counts,
    /// Further tries per second.
    pub retries: f64,
    /// By status: since the start, and per second.
    pub codes: Vec<(String, u64, f64)>,
    /// Upstreams.
    pub targets: Vec<TargetRow>,
}

/// One kind of latency in this time.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Times {
    /// By the order of [`QUANTILES`]; none without a value.
    pub quantiles: [Option<Quantile>; QUANTILES.len()],
    /// Values in each bucket, not cumulative; the last has no bound.
    pub buckets: Vec<u64>,
}

/// One upstream of a service.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct TargetRow {
    /// Its address.
    pub target: String,
    /// Requests to it per second.
    pub requests: f64,
    /// Share of those without an answer, or with a status of 500 and above.
    pub bad: f64,
    /// Since its last good answer.
    pub failures_in_a_row: u64,
}

impl Rates {
    /// From `before` to `now`. When the agent was started in between, from its start; then everything was 0.
    pub fn between(before: &Snapshot, now: &Snapshot) -> Rates {
        let started = Snapshot { time_ms: now.started_ms as f64, ..Snapshot::default() };
        let before = if before.started_ms == now.started_ms { before } else { &started };
        let seconds = ((now.time_ms - before.time_ms) / 1e3).max(0.0);
        let over = Span { seconds };
        let olds: BTreeMap<&str, &Service> = before.services.iter().map(|one| (one.name.as_str(), one)).collect();
        let none = Service::default();
        let rows = now.services.iter();
        let rows = rows.map(|new| over.row(olds.get(new.name.as_str()).unwrap_or(&&none), new, &now.latency_bounds_ms));
        let rows: Vec<Row> = rows.collect();
        let mut reasons: Vec<(String, u64)> =
            now.loss.unobserved.iter().chain(&now.loss.records).map(|(name, count)| (name.clone(), *count)).collect();
        reasons.sort_by(|a, b| b.1.cmp(&a.1).then_with(|| a.0.cmp(&b.0)));
        Rates {
            agent: (now.version.clone(), now.host.clone()),
            up_s: (now.time_ms - now.started_ms as f64) / 1e3,
            seconds,
            enabled: now.enabled,
            gateways: now.gateways.clone(),
            connections: now.connections.clone(),
            accepted: over.rate(before.connections.accepted, now.connections.accepted),
            requests: rows.iter().map(|row| row.requests).sum(),
            unattributed: over.rate(sum(&before.unattributed), sum(&now.unattributed)),
            errors: (now.loss.errors, now.loss.errors.saturating_sub(before.loss.errors)),
            reasons,
            cpu: over.per_second((now.observer.cpu_seconds - before.observer.cpu_seconds).max(0.0)),
            resident_bytes: now.observer.resident_bytes,
            bounds_ms: now.latency_bounds_ms.clone(),
            rows,
        }
    }
}

fn sum(counts: &Counts) -> u64 {
    counts.values().sum()
}

/// A time that numbers grow in.
struct Span {
    seconds: f64,
}

impl Span {
    fn per_second(&self, grown: f64) -> f64 {
        if self.seconds > 0.0 { grown / self.seconds } else { 0.0 }
    }

    fn rate(&self, before: u64, now: u64) -> f64 {
        self.per_second(now.saturating_sub(before) as f64)
    }

    fn row(&self, old: &Service, new: &Service, bounds: &[f64]) -> Row {
        let codes = grown(&old.codes, &new.codes);
        let all = sum(&codes);
        let mut classes = [0.0; 5];
        for (code, count) in &codes {
            let digit = code.bytes().next().unwrap_or_default();
            if let Some(class) = digit.checked_sub(b'1').and_then(|class| classes.get_mut(usize::from(class))) {
                *class += *count as f64 / all.max(1) as f64;
            }
        }
        let failures_by = grown(&old.failures, &new.failures);
        let (was, is) = (&old.latency, &new.latency);
        let times = |old: &Histogram, new: &Histogram| Times::between(old, new, bounds);
        Row {
            name: new.name.clone(),
            requests: self.per_second(all as f64),
            classes,
            latencies: [
                times(&was.kong, &is.kong),
                times(&was.upstream, &is.upstream),
                times(&was.request, &is.request),
            ],
            ingress: self.rate(old.bandwidth.ingress, new.bandwidth.ingress),
            egress: self.rate(old.bandwidth.egress, new.bandwidth.egress),
            failures: self.per_second(sum(&failures_by) as f64),
            failures_by: failures_by.into_iter().filter(|(_, count)| *count > 0).collect(),
            retries: self.rate(old.retries, new.retries),
            codes: new
                .codes
                .iter()
                .map(|(code, total)| (code.clone(), *total, self.per_second(codes[code] as f64)))
                .collect(),
            targets: new.targets.iter().map(|target| self.target(old, target)).collect(),
        }
    }

    fn target(&self, old: &Service, new: &Target) -> TargetRow {
        let old = old.targets.iter().find(|old| old.target == new.target);
        let codes = grown(old.map_or(&Counts::new(), |old| &old.codes), &new.codes);
        let all = sum(&codes);
        let is_bad = |code: &str| !matches!(code.as_bytes(), [b'1'..=b'4', ..]);
        let bad: u64 = codes.iter().filter(|(code, _)| is_bad(code)).map(|(_, count)| count).sum();
        TargetRow {
            target: new.target.clone(),
            requests: self.per_second(all as f64),
            bad: bad as f64 / all.max(1) as f64,
            failures_in_a_row: new.failures_in_a_row,
        }
    }
}

fn grown(old: &Counts, new: &Counts) -> Counts {
    let since = |(key, count): (&String, &u64)| (key.clone(), count.saturating_sub(old.get(key).copied().unwrap_or(0)));
    new.iter().map(since).collect()
}

impl Times {
    /// The highest quantile, for comparisons; below 0 without a value.
    pub fn highest(&self) -> f64 {
        match self.quantiles[QUANTILES.len() - 1] {
            None => -1.0,
            Some(Quantile::At(ms)) => ms,
            Some(Quantile::Above(_)) => f64::INFINITY,
        }
    }

    fn between(old: &Histogram, new: &Histogram, bounds: &[f64]) -> Times {
        let before = |at: usize| old.buckets.get(at).copied().unwrap_or(0);
        let cumulative: Vec<u64> =
            new.buckets.iter().enumerate().map(|(at, count)| count.saturating_sub(before(at))).collect();
        let below = |at: usize| at.checked_sub(1).map_or(0, |at| cumulative[at]);
        Times {
            quantiles: QUANTILES.map(|q| quantile(q, bounds, &cumulative)),
            buckets: (0..cumulative.len()).map(|at| cumulative[at].saturating_sub(below(at))).collect(),
        }
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::snapshot::{Bandwidth, Cost, Latency, Loss};

    fn counts(pairs: &[(&str, u64)]) -> Counts {
        pairs.iter().map(|(key, count)| ((*key).to_owned(), *count)).collect()
    }

    fn histogram(buckets: [u64; 4]) -> Histogram {
        Histogram { sum: 0.0, count: buckets[3], buckets: buckets.to_vec() }
    }

    /// After so many seconds with ten requests in each, half of them bad in the first of `times`.
    pub fn snapshot(seconds: u64) -> Snapshot {
        let all = seconds * 10;
        let service = |name: &str, share: u64| Service {
            name: name.to_owned(),
            codes: counts(&[("200", all - share), ("503", share)]),
            bandwidth: Bandwidth { ingress: all * 100, egress: all * 2_000 },
            latency: Latency {
                request: histogram([0, all / 2, all, all]),
                upstream: histogram([all / 2, all, all, all]),
                kong: histogram([all, all, all, all]),
            },
            targets: vec![Target {
                target: "10.0.0.1:80".into(),
                codes: counts(&[("200", all - share), ("none", share)]),
                failures_in_a_row: share,
            }],
            retries: seconds,
            failures: counts(&[("upstream", share)]),
        };
        Snapshot {
            version: "0.1.0".into(),
            host: "edge-1".into(),
            time_ms: 1_000_000.0 + seconds as f64 * 1e3,
            started_ms: 1_000_000,
            enabled: true,
            gateways: vec![Gateway { name: "nginx".into(), pid: 123, workers: 2 }],
            connections: Connections {
                active: 6,
                reading: 1,
                writing: 2,
                waiting: 3,
                accepted: all,
                ..Default::default()
            },
            latency_bounds_ms: vec![1.0, 10.0, 100.0],
            services: vec![service("orders", 0), service("users", all / 2)],
            unattributed: counts(&[("404", seconds * 2)]),
            loss: Loss {
                errors: seconds,
                unobserved: counts(&[("http2", seconds)]),
                records: counts(&[("ring_full", 0)]),
                ..Loss::default()
            },
            observer: Cost { cpu_seconds: seconds as f64 * 0.05, resident_bytes: 26 << 20 },
        }
    }

    #[test]
    fn rates_are_of_the_time_between() {
        let rates = Rates::between(&snapshot(10), &snapshot(14));
        assert_eq!((rates.seconds, rates.up_s, rates.requests, rates.accepted), (4.0, 14.0, 20.0, 10.0));
        assert_eq!((rates.unattributed, rates.errors), (2.0, (14, 4)));
        assert_eq!(rates.reasons, [("http2".to_owned(), 14), ("ring_full".to_owned(), 0)]);
        assert!((rates.cpu - 0.05).abs() < 1e-9, "{}", rates.cpu);
        let users = &rates.rows[1];
        assert_eq!((users.requests, users.classes), (10.0, [0.0, 0.5, 0.0, 0.0, 0.5]));
        assert_eq!((users.ingress, users.egress, users.failures, users.retries), (1_000.0, 20_000.0, 5.0, 1.0));
        assert_eq!(users.codes, [("200".to_owned(), 70, 5.0), ("503".to_owned(), 70, 5.0)]);
        assert_eq!(users.failures_by, counts(&[("upstream", 20)]));
        let target = &users.targets[0];
        assert_eq!((target.requests, target.bad, target.failures_in_a_row), (10.0, 0.5, 70));
        let [kong, upstream, request] = &users.latencies;
        assert_eq!((&kong.buckets, &request.buckets), (&vec![40, 0, 0, 0], &vec![0, 20, 20, 0]));
        assert_eq!(upstream.quantiles[0], Some(Quantile::At(1.0)));
        assert_eq!(request.quantiles[1], Some(Quantile::At(82.0)));
    }

    #[test]
    fn a_new_service_counts_from_nothing_and_a_restarted_agent_from_its_start() {
        let mut before = snapshot(10);
        before.services.remove(1);
        assert_eq!(Rates::between(&before, &snapshot(11)).rows[1].requests, 110.0);
        let restarted = Snapshot { started_ms: 1_000_001, ..snapshot(2) };
        let rates = Rates::between(&snapshot(1_000), &restarted);
        assert_eq!((rates.seconds, rates.rows[0].requests), (1.999, 20.0 / 1.999));
    }

    #[test]
    fn no_time_and_no_traffic_give_no_rates() {
        let now = snapshot(10);
        let rates = Rates::between(&now, &now);
        let row = &rates.rows[1];
        assert_eq!((rates.requests, row.requests, row.classes, row.targets[0].bad), (0.0, 0.0, [0.0; 5], 0.0));
        assert_eq!(row.latencies[2].quantiles, [None; 3]);
        assert_eq!(Rates::between(&Snapshot::default(), &Snapshot::default()), Rates::default());
    }
}

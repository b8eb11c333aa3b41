//! The metrics as a snapshot.

use std::sync::Arc;

use super::measured;
use crate::event::Endpoint;
use crate::metrics::families::LATENCY_BOUNDS_MS;
use crate::metrics::{ConnectionGauge, Culprit, Measured, Metrics, OTHER, Options, PHASES, Switches, Try};
use crate::snapshot::{Bandwidth, Connections, Counts, Gateway, Service, Snapshot};

fn counts(pairs: &[(&str, u64)]) -> Counts {
    pairs.iter().map(|(key, count)| ((*key).to_owned(), *count)).collect()
}

fn service<'a>(snapshot: &'a Snapshot, name: &str) -> &'a Service {
    snapshot.services.iter().find(|service| service.name == name).unwrap()
}

fn asked<'a>(target: &'a Endpoint, status: u16) -> Try<'a> {
    Try { target, status, is_broken: status == 0, phases_us: [None; PHASES.len()] }
}

#[test]
fn a_service_has_its_statuses_bytes_times_and_targets() {
    let mut metrics = Metrics::new(Options::default());
    metrics.count(&measured("a", 200));
    metrics.count(&Measured { request_ms: 70_000, upstream_ms: None, kong_ms: 70_000, ..measured("a", 504) });
    metrics.count(&measured("b", 200));
    let (one, two) = ("10.0.0.1:80", "10.0.0.2:80");
    let (first, second) = (Endpoint::Ip(one.parse().unwrap()), Endpoint::Ip(two.parse().unwrap()));
    let name = Arc::from("a");
    metrics.tried(&name, [asked(&first, 0), asked(&second, 200)].into_iter());
    metrics.failed(&name, Culprit::Upstream);

    let snapshot = metrics.view().snapshot();
    assert_eq!(snapshot.services.iter().map(|service| &*service.name).collect::<Vec<_>>(), ["a", "b"]);
    let a = service(&snapshot, "a");
    assert_eq!(a.codes, counts(&[("200", 1), ("504", 1)]));
    assert_eq!(a.bandwidth, Bandwidth { ingress: 20, egress: 200 });
    assert_eq!((a.retries, &a.failures), (1, &counts(&[("upstream", 1)])));
    let targets: Vec<_> = a.targets.iter().map(|one| (&*one.target, &one.codes, one.failures_in_a_row)).collect();
    assert_eq!(targets, [(one, &counts(&[("none", 1)]), 1), (two, &counts(&[("200", 1)]), 0)]);
    let (request, upstream) = (&a.latency.request, &a.latency.upstream);
    assert_eq!((request.count, request.sum, upstream.count, upstream.sum), (2, 70_005.0, 1, 3.0));
    // 5 ms lies at the bound of the third bucket, 70 s behind the last.
    let expected =
        |below: usize, last: u64| [vec![0; below], vec![1; LATENCY_BOUNDS_MS.len() - below], vec![last]].concat();
    assert_eq!((&request.buckets, &upstream.buckets), (&expected(2, 2), &expected(2, 1)));
    assert_eq!(snapshot.latency_bounds_ms, LATENCY_BOUNDS_MS);
}

#[test]
fn gateways_are_added_up_where_the_page_tells_them_apart() {
    let mut metrics = Metrics::new(Options { per_gateway_label: true, ..Options::default() });
    for gateway in ["g", "h"].map(|name| Some(Arc::from(name))) {
        metrics.count(&Measured { gateway: gateway.clone(), ..measured("a", 200) });
        metrics.connections(&ConnectionGauge { gateway, active: 3, waiting: 2, total: 7, ..Default::default() });
    }
    let running = vec![Gateway { name: "g".into(), pid: 7, workers: 2 }];
    metrics.gateways(running.clone());
    let snapshot = metrics.view().snapshot();
    assert_eq!(snapshot.gateways, running);
    assert_eq!(snapshot.connections, Connections { active: 6, waiting: 4, total: 14, ..Connections::default() });
    let a = service(&snapshot, "a");
    assert_eq!((&a.codes, a.latency.kong.count), (&counts(&[("200", 2)]), 2));
    assert_eq!(a.latency.kong.buckets.last(), Some(&2));
}

#[test]
fn what_was_lost_is_told_by_reason() {
    let metrics = Metrics::new(Options::default());
    metrics.unobserved("http2", 2);
    metrics.lost("ring_full", 3);
    metrics.filtered("internal", 4);
    metrics.inferred("head_timeout");
    metrics.uncertain("discarded");
    metrics.unattributed(404);
    let snapshot = metrics.view().snapshot();
    let loss = &snapshot.loss;
    assert_eq!((loss.errors, &loss.unobserved), (5, &counts(&[("http2", 2)])));
    assert_eq!((&loss.records, &loss.filtered), (&counts(&[("ring_full", 3)]), &counts(&[("internal", 4)])));
    assert_eq!((&loss.inferred, &loss.uncertain), (&counts(&[("head_timeout", 1)]), &counts(&[("discarded", 1)])));
    assert_eq!(snapshot.unattributed, counts(&[("404", 1)]));
    assert!(snapshot.services.is_empty());
}

#[test]
fn the_dialects_do_not_matter() {
    let snapshot_of = |options: Options| {
        let mut metrics = Metrics::new(options);
        metrics.count(&measured("a", 200));
        metrics.count(&measured("b", 200));
        metrics.view().snapshot()
    };
    let limited = Options { max_services: 1, ..Options::default() };
    let first = snapshot_of(limited.clone());
    assert_eq!(first.services.iter().map(|service| &*service.name).collect::<Vec<_>>(), [OTHER, "a"]);
    assert_eq!(first, snapshot_of(Options { classic: false, today: Some(Switches::NONE), ..limited }));
}

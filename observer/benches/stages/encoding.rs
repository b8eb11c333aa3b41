//! A page of metrics.

use std::hint::black_box;
use std::sync::Arc;

use criterion::Criterion;
use observer::exposition::text;
use observer::metrics::{Measured, Metrics, Options, Source};

pub fn bench(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("encoding");
    let mut metrics = Metrics::new(Options::default());
    for n in 0..200 {
        metrics.count(&measured(n));
    }
    group.bench_function("page_of_200_services", |bencher| {
        bencher.iter(|| black_box(text::encode(metrics.registry().gather(), text::Options::default())));
    });
    let one = measured(17);
    group.bench_function("one_exchange_counted", |bencher| bencher.iter(|| metrics.count(black_box(&one))));
}

fn measured(service: u64) -> Measured {
    Measured {
        service: Arc::from(format!("s{service}")),
        gateway: None,
        route: None,
        source: Source::Service,
        consumer: None,
        status: 200,
        request_bytes: 120,
        response_bytes: 900,
        request_ms: service,
        upstream_ms: Some(service / 2),
        kong_ms: service - service / 2,
    }
}

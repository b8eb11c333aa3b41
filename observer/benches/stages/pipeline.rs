//! The whole way from an event to the metrics.

use std::hint::black_box;

use criterion::{BatchSize, Criterion, Throughput};
use observer::attribution::Attribution;
use observer::config::Config;
use observer::metrics::{self, Metrics};
use observer::pipeline::{Options, Pipeline};

use super::{events, recorded};

pub fn bench(criterion: &mut Criterion) {
    let records = recorded("kept_connections.rec");
    let events = events(&records);
    let config = Config::default();
    let fresh = || {
        let metrics = Metrics::new(metrics::Options::default());
        Pipeline::new(Options::default(), Attribution::new(&config), metrics)
    };
    let mut group = criterion.benchmark_group("pipeline");
    group.throughput(Throughput::Elements(events.len() as u64));
    group.bench_function("recorded_events", |bencher| {
        let play = |mut pipeline: Pipeline| {
            events.iter().for_each(|event| pipeline.handle(black_box(event)));
            pipeline
        };
        bencher.iter_batched(fresh, play, BatchSize::LargeInput);
    });
}

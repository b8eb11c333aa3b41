//! The whole way from an event to the metrics: of one worker, and of sixteen at once.

use std::hint::black_box;

use criterion::{BatchSize, BenchmarkId, Criterion, Throughput};
use observer::attribution::Attribution;
use observer::config::Config;
use observer::event::Event;
use observer::metrics::{self, Metrics};
use observer::pipeline::{Following, Options, Pipeline};
use observer::recording::Workers;

use super::{events, recorded};

pub fn bench(criterion: &mut Criterion) {
    let records = recorded("kept_connections.rec");
    let recorded = events(&records);
    let config = Config::default();
    let fresh = || {
        let metrics = Metrics::new(metrics::Options::default());
        Pipeline::new(Options::default(), Attribution::new(&config), metrics)
    };
    let mut group = criterion.benchmark_group("pipeline");
    for workers in [1, 16] {
        let mut events: Vec<Event<'_>> = Vec::new();
        recorded.iter().for_each(|event| Workers::new(workers).each(event, |event| events.push(event.clone())));
        group.throughput(Throughput::Elements(events.len() as u64));
        group.bench_function(BenchmarkId::new("workers", workers), |bencher| {
            let play = |mut pipeline: Pipeline| {
                events.iter().for_each(|event| pipeline.handle(black_box(event)));
                pipeline
            };
            bencher.iter_batched(fresh, play, BatchSize::LargeInput);
        });
    }
}

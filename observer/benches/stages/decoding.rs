//! Records as events.

use std::hint::black_box;

use criterion::{Criterion, Throughput};
use observer::event::Event;

use super::recorded;

pub fn bench(criterion: &mut Criterion) {
    let records = recorded("kept_connections.rec");
    let mut group = criterion.benchmark_group("decoding");
    group.throughput(Throughput::Elements(records.len() as u64));
    group.bench_function("records", |bencher| {
        bencher.iter(|| {
            for record in &records {
                black_box(Event::decode(black_box(record)).expect("a sound record"));
            }
        });
    });
}

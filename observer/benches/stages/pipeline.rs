//! The whole way from an event to the metrics: of one worker, and of sixteen at once.

use std::hint::black_box;

use criterion::{BatchSize, BenchmarkId, Criterion, Throughput};
use observer::attribution::Attribution;
use observer::config::Config;
use observer::event::{Data, Event, Opened, Process, ProcessChange, StateChange};
use observer::metrics::{self, Metrics};
use observer::pipeline::{Following, Options, Pipeline};

use super::{events, recorded};

/// Kept apart by these from those of other workers.
const SOCKETS: u64 = 1 << 48;
const PROCESSES: u32 = 10_000_000;

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
        // Each event comes from all of them in turn, as from as many gateways under the same load.
        let events: Vec<Event<'_>> =
            recorded.iter().flat_map(|event| (0..workers).map(|worker| of_worker(event, worker))).collect();
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

/// What happens in one worker happens likewise in another.
fn of_worker<'a>(event: &Event<'a>, worker: u32) -> Event<'a> {
    let socket = |socket: u64| socket + u64::from(worker) * SOCKETS;
    // None stays none.
    let task = |id: u32| if id == 0 { 0 } else { id + worker * PROCESSES };
    match event.clone() {
        Event::Data(data) => Event::Data(Data {
            socket: socket(data.socket),
            process: task(data.process),
            thread: task(data.thread),
            ..data
        }),
        Event::Opened(opened) => Event::Opened(Opened {
            socket: socket(opened.socket),
            process: task(opened.process),
            thread: task(opened.thread),
            ..opened
        }),
        Event::State(change) => Event::State(StateChange { socket: socket(change.socket), ..change }),
        Event::Process(Process { time_ns, process, change }) => {
            let change = match change {
                ProcessChange::Found { root, name } => ProcessChange::Found { root: task(root), name },
                ProcessChange::Forked { parent } => ProcessChange::Forked { parent: task(parent) },
                ProcessChange::Executed { .. } | ProcessChange::Exited => change,
            };
            Event::Process(Process { time_ns, process: task(process), change })
        }
        other => other,
    }
}

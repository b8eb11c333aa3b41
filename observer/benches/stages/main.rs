//! What each stage of the way costs by itself: `cargo xtask bench --criterion`.

mod attribution;
mod decoding;
mod encoding;
mod http1;
mod joining;
mod pipeline;

use std::path::PathBuf;
use std::time::Duration;

use criterion::Criterion;
use observer::event::Event;
use observer::recording::Reader;

/// The events of a recording in the repository, each as its bytes.
fn recorded(name: &str) -> Vec<Vec<u8>> {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/recordings").join(name);
    let mut recording = Reader::open(&path).expect("the recording is there");
    let mut events = Vec::new();
    while let Some(event) = recording.read().expect("the recording is sound") {
        let mut bytes = Vec::new();
        event.encode(&mut bytes);
        events.push(bytes);
    }
    events
}

/// Those of bytes that [`recorded`] gave.
fn events(bytes: &[Vec<u8>]) -> Vec<Event<'_>> {
    bytes.iter().map(|event| Event::decode(event).expect("a sound event")).collect()
}

/// Short: all of them together in half a minute.
fn short() -> Criterion {
    Criterion::default()
        .warm_up_time(Duration::from_millis(500))
        .measurement_time(Duration::from_secs(1))
        .sample_size(20)
}

fn main() {
    let mut criterion = short().configure_from_args();
    let stages: [fn(&mut Criterion); 6] =
        [decoding::bench, http1::bench, joining::bench, attribution::bench, encoding::bench, pipeline::bench];
    stages.iter().for_each(|bench| bench(&mut criterion));
    criterion.final_summary();
}

//! What is fuzzed. A target takes any bytes and panics if something that must hold does not.
//!
//! `cargo xtask fuzz` runs the targets under libFuzzer; the unit tests of this package replay the seeds and every input
//! that ever failed.

pub mod decoder;
pub mod http1;
pub mod pipeline;
pub mod records;
pub mod seeds;
mod told;

/// A target.
#[derive(Clone, Copy, Debug)]
pub struct Target {
    /// Its name, which its program and its folder of failed inputs have too.
    pub name: &'static str,
    /// Takes any bytes; panics if they show a fault.
    pub run: fn(&[u8]),
    /// Inputs to start from.
    pub seeds: fn() -> Vec<Vec<u8>>,
}

/// All targets.
pub const TARGETS: [Target; 4] = [
    Target { name: "decoder", run: decoder::run, seeds: seeds::decoder },
    Target { name: "http1", run: http1::run, seeds: seeds::http1 },
    Target { name: "records", run: records::run, seeds: seeds::records },
    Target { name: "pipeline", run: pipeline::run, seeds: seeds::pipeline },
];

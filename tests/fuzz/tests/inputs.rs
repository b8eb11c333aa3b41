//! Every target takes its seeds, and every input that ever failed.

use std::fs;
use std::path::Path;

use observer_fuzz::{TARGETS, Target};

fn target(name: &str) -> Target {
    TARGETS.into_iter().find(|target| target.name == name).unwrap()
}

fn takes_its_seeds(name: &str) {
    let seeds = (target(name).seeds)();
    assert!(seeds.len() > 5, "{} seeds", seeds.len());
    seeds.iter().for_each(|seed| (target(name).run)(seed));
}

#[test]
fn the_decoder_takes_its_seeds() {
    takes_its_seeds("decoder");
}

#[test]
fn the_http1_machine_takes_its_seeds() {
    takes_its_seeds("http1");
}

#[test]
fn the_pipeline_takes_its_seeds() {
    takes_its_seeds("pipeline");
}

#[test]
fn recorded_records_are_taken() {
    takes_its_seeds("records");
}

#[test]
fn what_failed_once_fails_no_more() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("crashers");
    for entry in fs::read_dir(&folder).unwrap() {
        let entry = entry.unwrap();
        let target = target(entry.file_name().to_str().unwrap());
        for input in fs::read_dir(entry.path()).unwrap() {
            let input = input.unwrap().path();
            eprintln!("{}", input.display());
            (target.run)(&fs::read(input).unwrap());
        }
    }
}

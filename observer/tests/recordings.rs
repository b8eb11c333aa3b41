//! Recordings of real nginx traffic: each replays to the same text every time, and to what nginx's log beside it says.
//!
//! `cargo run -p observer-tests --example make_recordings -- observer/tests/recordings` makes them anew.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use observer::config::Config;
use observer::exposition::text;
use observer::recording::{Options, replay};

fn recordings() -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/recordings");
    let mut files: Vec<PathBuf> = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.retain(|file| file.extension().is_some_and(|extension| extension == "rec"));
    files.sort();
    files
}

fn text_of(file: &Path) -> String {
    let options =
        Options { text: text::Options { own_metrics: false, ..text::Options::default() }, ..Options::default() };
    replay(file, &Config::default(), &options).unwrap()
}

/// Requests, and bytes both ways, by series as the exposition prints them.
fn sums_of(log: &str) -> BTreeMap<String, u64> {
    let mut sums = BTreeMap::new();
    for line in log.lines() {
        let [service, status, request_bytes, response_bytes] = line.split(' ').collect::<Vec<_>>()[..] else {
            panic!("no line of a log: {line}");
        };
        let mut add = |series: String, value: &str| *sums.entry(series).or_default() += value.parse::<u64>().unwrap();
        add(format!("kong_http_status{{code=\"{status}\",service=\"{service}\"}}"), "1");
        add(format!("kong_bandwidth{{type=\"ingress\",service=\"{service}\"}}"), request_bytes);
        add(format!("kong_bandwidth{{type=\"egress\",service=\"{service}\"}}"), response_bytes);
    }
    sums
}

fn series_of(text: &str) -> BTreeMap<String, u64> {
    let is_compared = |line: &&str| line.starts_with("kong_http_status{") || line.starts_with("kong_bandwidth{");
    text.lines()
        .filter(is_compared)
        .filter(|line| !line.contains("service=\"probe\""))
        .map(|line| line.rsplit_once(' ').unwrap())
        .map(|(series, value)| (series.to_owned(), value.parse().unwrap()))
        .collect()
}

#[test]
fn there_are_five_and_more() {
    assert!(recordings().len() >= 5);
}

#[test]
fn each_gives_its_text_every_time() {
    for file in recordings() {
        let expected = fs::read_to_string(file.with_extension("txt")).unwrap();
        for _ in 0..2 {
            assert!(text_of(&file) == expected, "{}: another text", file.display());
        }
    }
}

#[test]
fn each_gives_its_text_over_any_number_of_threads() {
    for file in recordings() {
        for workers in [1, 16] {
            let text = |threads| replay(&file, &Config::default(), &Options { threads, workers, ..Options::default() });
            let of_one = text(1).unwrap();
            for threads in [2, 3, 4] {
                assert!(text(threads).unwrap() == of_one, "{}: {workers} workers, {threads} threads", file.display());
            }
        }
    }
}

#[test]
fn sixteen_workers_count_sixteen_times_what_one_does() {
    for file in recordings() {
        let series = |workers| {
            let options = Options { workers, threads: 2, ..Options::default() };
            series_of(&replay(&file, &Config::default(), &options).unwrap())
        };
        let sixteen_times: BTreeMap<String, u64> =
            series(1).into_iter().map(|(key, value)| (key, value * 16)).collect();
        assert_eq!(series(16), sixteen_times, "{}", file.display());
    }
}

#[test]
fn each_equals_the_gateways_log() {
    for file in recordings() {
        let log = fs::read_to_string(file.with_extension("log")).unwrap();
        assert!(!log.is_empty(), "{}", file.display());
        assert_eq!(series_of(&text_of(&file)), sums_of(&log), "{}", file.display());
    }
}

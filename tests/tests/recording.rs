//! `record` and `replay`: private, masked, repeatable, and equal to what a live agent counts.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use anyhow::{Context, Result, ensure};
use observer_tests::agent::{self, Recorder};
use observer_tests::compare::{MILLISECOND, tolerance_ms};
use observer_tests::exposition::Exposition;
use observer_tests::nginx::config::Config;
use observer_tests::wait::alone;
use observer_tests::{Agent, Body, Client, Nginx, Request, Upstream};

/// Parts of the traffic that must not be in a masked file. The last is in every scripted body.
const SECRETS: [&str; 4] = ["secret-header", "secret-cookie", "secret-query", "quick brown"];

const SERVICE: &str = "service=\"recorded\"";
const REQUESTS: usize = 60;

/// Two services: `recorded` has the test's traffic, `probe` tells when a recorder is at work.
fn gateway(upstream: &Upstream) -> Result<Nginx> {
    Config::new()?.service("recorded", upstream.address()).service("probe", upstream.address()).start()
}

/// Starts a recorder and returns once its file has a probe's request.
fn recorder(nginx: &Nginx, file: &Path, arguments: &[&str]) -> Result<Recorder> {
    let mut recorder = Recorder::start(&nginx.selector(), file, arguments)?;
    recorder.until_recording("/probe/", || {
        Client::connect(nginx.address())?.exchange(&Request::get("/probe/bytes/1"))?;
        Ok(())
    })?;
    Ok(recorder)
}

fn traffic(nginx: &Nginx) -> Result<()> {
    let chunked = Body::Chunked { chunks: 3, chunk_bytes: 200 };
    let mut client = Client::connect(nginx.address())?;
    for index in 0..REQUESTS {
        let to = |path: &str| format!("/recorded/{path}?token=secret-query-{index}");
        let request = match index % 6 {
            0 => Request::get(to("bytes/300")),
            1 => Request::post(to("echo"), 200),
            2 => Request::new("PUT", to("status/201/chunked/4x100")).body(chunked),
            3 => Request::get(to("status/404")),
            4 => Request::new("HEAD", to("bytes/5000")),
            _ => Request::get(to("delay/3/bytes/100000")),
        };
        let request = request.header("Authorization", "Bearer secret-header").header("Cookie", "session=secret-cookie");
        client.exchange(&request)?;
    }
    Ok(())
}

fn replay(file: &Path) -> Result<String> {
    let finished = agent::run(&["replay", file.to_str().context("path")?])?;
    ensure!(finished.code == Some(0), "{finished:?}");
    Ok(finished.stdout)
}

fn contains(file: &Path, text: &str) -> Result<bool> {
    let bytes = fs::read(file)?;
    Ok(bytes.windows(text.len()).any(|window| window == text.as_bytes()))
}

#[test]
fn a_replay_is_the_same_every_time_and_equals_the_live_agent() -> Result<()> {
    let _alone = alone()?;
    let upstream = Upstream::ipv4()?;
    let nginx = gateway(&upstream)?;
    let agent = Agent::watching(&[nginx.selector()])?;
    let folder = tempfile::tempdir()?;
    let file = folder.path().join("events");
    let mut recorder = recorder(&nginx, &file, &[])?;
    traffic(&nginx)?;

    let status = |now: &Exposition| -> f64 {
        let series = now.family("kong_http_status");
        let ours = series.filter(|(key, _)| key.contains(SERVICE));
        ours.map(|(_, value)| value).sum()
    };
    let live = agent.scrape_when(|now| status(now) >= REQUESTS as f64)?;
    recorder.end()?;
    let text = replay(&file)?;
    assert_eq!(text, replay(&file)?);

    let replayed = Exposition::parse(&text)?;
    assert_eq!(status(&replayed), REQUESTS as f64);
    for family in ["kong_http_status", "kong_bandwidth", "kong_latency_count"] {
        let ours = |exposition: &Exposition| -> Vec<(String, f64)> {
            let series = exposition.family(family);
            let ours = series.filter(|(key, _)| key.contains(SERVICE));
            ours.map(|(key, value)| (key.to_owned(), value)).collect()
        };
        assert_eq!(ours(&live), ours(&replayed), "{family}");
    }
    // Two programs took the times, each its own.
    for (key, live_ms) in live.family("kong_latency_sum") {
        if key.contains(SERVICE) {
            let difference_ms = (live_ms - replayed.value(key)).abs();
            assert!(difference_ms <= tolerance_ms(REQUESTS as u64, MILLISECOND), "{key}");
        }
    }
    Ok(())
}

#[test]
fn a_recording_is_private_and_masked() -> Result<()> {
    let _alone = alone()?;
    let upstream = Upstream::ipv4()?;
    let nginx = gateway(&upstream)?;
    let folder = tempfile::tempdir()?;
    let file = folder.path().join("events");
    let mut recorder = recorder(&nginx, &file, &[])?;
    traffic(&nginx)?;
    nginx_has_logged(&nginx)?;
    recorder.end()?;

    let mode = fs::metadata(&file)?.permissions().mode() & 0o777;
    assert_eq!(mode, 0o600, "{mode:o}");
    // What it must have, so that the rest means something.
    assert!(contains(&file, "/recorded/delay/3/bytes/100000")?);
    for secret in SECRETS {
        assert!(!contains(&file, secret)?, "{secret} is in the recording");
    }
    Ok(())
}

#[test]
fn secrets_are_kept_on_request_with_a_word_about_it() -> Result<()> {
    let _alone = alone()?;
    let upstream = Upstream::ipv4()?;
    let nginx = gateway(&upstream)?;
    let folder = tempfile::tempdir()?;
    let file = folder.path().join("events");
    let mut recorder = recorder(&nginx, &file, &["--with-secrets"])?;
    traffic(&nginx)?;
    nginx_has_logged(&nginx)?;
    recorder.end()?;

    for secret in SECRETS {
        assert!(contains(&file, secret)?, "{secret} is not in the recording");
    }
    let said = recorder.stderr().to_lowercase();
    assert!(said.contains("secret"), "{said}");
    let mode = fs::metadata(&file)?.permissions().mode() & 0o777;
    assert_eq!(mode, 0o600, "{mode:o}");
    Ok(())
}

#[test]
fn a_recording_cut_short_is_refused_by_its_name() -> Result<()> {
    let _alone = alone()?;
    let upstream = Upstream::ipv4()?;
    let nginx = gateway(&upstream)?;
    let folder = tempfile::tempdir()?;
    let file = folder.path().join("events");
    let mut recorder = recorder(&nginx, &file, &[])?;
    traffic(&nginx)?;
    nginx_has_logged(&nginx)?;
    recorder.end()?;

    let bytes = fs::read(&file)?;
    let cut = folder.path().join("cut");
    for length in [1, 7, bytes.len() / 2, bytes.len() - 1] {
        fs::write(&cut, &bytes[..length])?;
        let finished = agent::run(&["replay", cut.to_str().context("path")?])?;
        assert!(!finished.stderr.contains("panicked"), "{finished:?}");
        assert_ne!(finished.code, Some(0), "cut at {length}: {finished:?}");
        assert!(finished.stderr.contains("cut"), "{finished:?}");
    }
    Ok(())
}

#[test]
fn a_recording_ends_by_itself_after_its_time() -> Result<()> {
    let _alone = alone()?;
    let upstream = Upstream::ipv4()?;
    let nginx = gateway(&upstream)?;
    let folder = tempfile::tempdir()?;
    let file = folder.path().join("events");
    let selector = nginx.selector();
    let path = file.to_str().context("path")?;
    let finished = agent::run(&["record", path, "--for", "500ms", "--gateway", &selector])?;
    assert_eq!(finished.code, Some(0), "{finished:?}");
    let replayed = Exposition::parse(&replay(&file)?)?;
    assert_eq!(replayed.sum("kong_http_status_total"), 0.0);
    Ok(())
}

/// The gateway is done with every request; its last writes are older than its log lines.
fn nginx_has_logged(nginx: &Nginx) -> Result<()> {
    observer_tests::wait::until_true("all is logged", observer_tests::wait::PATIENCE, || {
        let lines = nginx.log_so_far()?;
        let ours = lines.iter().filter(|line| line.service() == "recorded");
        Ok(ours.count() == REQUESTS)
    })
}

//! What a person sees first: help, progress, errors, colours, and log lines for machines.

use std::process::Command;

use anyhow::{Context, Result, ensure};
use nix::sys::signal::Signal;
use observer_tests::agent::{binary, finish, run};
use observer_tests::nginx::config::Config;
use observer_tests::wait::{PATIENCE, alone, until_true};
use observer_tests::{Agent, Nginx, Upstream};
use serde_json::Value;
use tempfile::TempDir;

/// What a shell's line shows on a terminal of 100 columns.
fn on_terminal(line: &str, variables: &[(&str, &str)]) -> Result<String> {
    let line = format!("stty cols 100; {line}");
    let mut script = Command::new("script");
    script.args(["--quiet", "--return", "--command", &line, "/dev/null"]);
    // A person's terminal knows colours, whatever the one that the tests run in.
    script.env_remove("NO_COLOR").env("TERM", "xterm").envs(variables.iter().copied());
    Ok(finish(&mut script)?.stdout)
}

fn program() -> Result<String> {
    Ok(binary()?.to_str().context("a path in UTF-8")?.to_owned())
}

fn gateway(upstream: &Upstream) -> Result<Nginx> {
    Config::new()?.service("alpha", upstream.address()).start()
}

/// Each line of JSON, with all that it must have.
fn lines(text: &str) -> Result<Vec<Value>> {
    let read = |line: &str| -> Result<Value> {
        let read: Value = serde_json::from_str(line).with_context(|| format!("{line:?} is no JSON"))?;
        for field in ["time", "level", "module", "message"] {
            ensure!(read[field].as_str().is_some_and(|value| !value.is_empty()), "{line} has no {field}");
        }
        Ok(read)
    };
    text.lines().map(read).collect()
}

#[test]
fn every_log_line_is_an_object_where_that_is_asked_for() -> Result<()> {
    let _alone = alone()?;
    let upstream = Upstream::ipv4()?;
    let nginx = gateway(&upstream)?;
    let mut agent = Agent::start(&[nginx.selector()], &["--log-format", "json", "--kong-admin", "http://127.0.0.1:1"])?;
    agent.end(Signal::SIGTERM)?;
    let read = lines(&agent.stderr())?;
    let has = |level: &str, part: &str| {
        read.iter()
            .any(|line| line["level"] == level && line["message"].as_str().is_some_and(|text| text.contains(part)))
    };
    ensure!(has("info", "attached;") && has("warn", "127.0.0.1:1"), "{read:#?}");
    Ok(())
}

#[test]
fn an_error_is_one_line_in_either_format() -> Result<()> {
    let _alone = alone()?;
    for arguments in [
        &["--config", "/no/such/file"][..],
        &["replay", "/no/such/file"],
        &["record", "/no/such/folder/file"],
        &["--listen", "192.0.2.1:1"],
        &["--listen", "0.0.0.0:0"],
        &["--listen", "nowhere"],
        &["--no-such-option"],
        &["record"],
    ] {
        let text = run(arguments)?;
        ensure!(text.code != Some(0) && text.stderr.lines().count() == 1, "{arguments:?}: {}", text.stderr);
        ensure!(text.stderr.starts_with("error: "), "{arguments:?}: {}", text.stderr);
        let mut of_json = arguments.to_vec();
        of_json.extend(["--log-format", "json"]);
        let json = run(&of_json)?;
        let read = lines(&json.stderr)?;
        let [line] = read.as_slice() else { panic!("{arguments:?}: {}", json.stderr) };
        ensure!(line["level"] == "error" && json.code == text.code, "{line}");
        let message = line["message"].as_str().context("no message")?;
        ensure!(text.stderr == format!("error: {message}\n"), "{message} is not {}", text.stderr);
    }
    Ok(())
}

#[test]
fn colours_and_folded_lines_are_for_terminals() -> Result<()> {
    let _alone = alone()?;
    let program = program()?;
    let seen = on_terminal(&format!("{program} check"), &[])?;
    ensure!(seen.contains("\x1b[32mok"), "no colour on a terminal: {seen}");
    let rows: Vec<&str> = seen.lines().take_while(|line| !line.trim().is_empty()).collect();
    ensure!(rows.len() > 20, "{seen}");
    // Words of their own length (paths) are not broken.
    let long = rows.iter().filter(|row| row.replace("\x1b[32m", "").replace("\x1b[0m", "").trim_end().len() > 100);
    ensure!(long.clone().all(|row| row.contains('/')), "{:#?}", long.collect::<Vec<_>>());
    ensure!(seen.contains("This host can be observed"), "{seen}");

    for unwanted in [
        on_terminal(&format!("{program} check"), &[("NO_COLOR", "1")])?,
        on_terminal(&format!("{program} check | cat"), &[])?,
        run(&["check"])?.stdout,
        run(&["--config", "/no/such/file"])?.stderr,
    ] {
        ensure!(!unwanted.contains('\x1b'), "{unwanted}");
    }
    let error = on_terminal(&format!("{program} --config /no/such/file"), &[])?;
    ensure!(error.contains("\x1b[1;31merror:\x1b[0m "), "{error}");
    Ok(())
}

#[test]
fn a_recording_tells_how_far_it_is() -> Result<()> {
    let _alone = alone()?;
    let upstream = Upstream::ipv4()?;
    let nginx = gateway(&upstream)?;
    let folder = TempDir::new()?;
    let record = |file: &str| {
        let file = folder.path().join(file);
        Ok::<_, anyhow::Error>(format!(
            "{} record {} --for 2s --gateway {}",
            program()?,
            file.display(),
            nginx.selector()
        ))
    };
    let seen = on_terminal(&record("one")?, &[])?;
    ensure!(seen.contains("\r\x1b[Krecording until 2s are over; "), "{seen:?}");
    // Without a terminal in a log line of its own, and at the end.
    let logged = finish(Command::new("sh").args(["-c", &record("two")?]))?;
    ensure!(logged.stderr.contains("INFO ") && logged.stderr.contains("recording until 2s"), "{}", logged.stderr);
    let last = logged.stderr.lines().last().context("nothing was told")?;
    ensure!(last.contains("/two has ") && last.ends_with(" KiB"), "{last}");
    Ok(())
}

#[test]
fn health_and_readiness_are_open_to_probes_and_tell_nothing_else() -> Result<()> {
    let _alone = alone()?;
    let upstream = Upstream::ipv4()?;
    let nginx = gateway(&upstream)?;
    let folder = TempDir::new()?;
    let users = folder.path().join("users");
    observer_tests::agent::token("me", "metrics", &users)?;
    let agent = Agent::start(&[nginx.selector()], &["--auth-file", users.to_str().context("a path in UTF-8")?])?;
    ensure!(agent.get("/metrics")?.status == 401);
    for (path, body) in [("/ready", "ready"), ("/healthy", "healthy")] {
        until_true(path, PATIENCE, || Ok(agent.get(path)?.status == 200))?;
        ensure!(agent.get(path)?.body == body.as_bytes(), "{path}");
    }
    Ok(())
}

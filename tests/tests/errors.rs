//! What the agent says and how it exits when it cannot do what it was asked.

use std::fs;
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context, Result};
use observer_tests::agent::{self, Finished};
use observer_tests::wait::alone;
use tempfile::TempDir;

/// Exit code for a wrong command line or configuration.
const USAGE: i32 = 2;

/// Checks that a call failed with a message that has all of `parts`, and not with a panic.
fn assert_message(finished: &Finished, parts: &[&str]) {
    assert_ne!(finished.code, Some(0), "{finished:?}");
    assert!(finished.code.is_some(), "ended by a signal: {finished:?}");
    assert!(!finished.stderr.contains("panicked"), "{finished:?}");
    for part in parts {
        assert!(finished.stderr.contains(part), "{part:?} is not in the message: {finished:?}");
    }
}

fn assert_usage(finished: &Finished, parts: &[&str]) {
    assert_message(finished, parts);
    assert_eq!(finished.code, Some(USAGE), "{finished:?}");
}

/// A file of the given text in a folder of its own.
struct Scratch {
    _folder: TempDir,
    path: PathBuf,
}

impl Scratch {
    fn file(name: &str, content: &[u8]) -> Result<Self> {
        let folder = tempfile::tempdir()?;
        let path = folder.path().join(name);
        fs::write(&path, content)?;
        Ok(Self { _folder: folder, path })
    }

    fn path(&self) -> Result<&str> {
        self.path.to_str().context("path")
    }
}

#[test]
fn a_taken_port_is_named() -> Result<()> {
    let _alone = alone()?;
    let holder = TcpListener::bind("127.0.0.1:0")?;
    let address = holder.local_addr()?.to_string();
    let finished = agent::run(&["--listen", &address])?;
    assert_message(&finished, &[&address, "--listen"]);
    Ok(())
}

#[test]
fn a_wrong_selector_is_answered_with_the_right_forms() -> Result<()> {
    let _alone = alone()?;
    for selector in ["process:nginx", "nginx", "pid:zero", "port:70000", "name:"] {
        let finished = agent::run(&["--gateway", selector])?;
        assert_usage(&finished, &[selector, "name:", "exe:", "pid:", "port:"]);
    }
    Ok(())
}

#[test]
fn unknown_options_and_addresses_are_refused() -> Result<()> {
    let _alone = alone()?;
    assert_usage(&agent::run(&["--no-such-option"])?, &["--no-such-option"]);
    assert_usage(&agent::run(&["--listen", "nowhere"])?, &["nowhere"]);
    assert_usage(&agent::run(&["--datastore", "nowhere"])?, &["nowhere"]);
    assert_usage(&agent::run(&["record"])?, &["FILE"]);
    assert_usage(&agent::run(&["record", "f", "--for", "soon"])?, &["soon"]);
    Ok(())
}

#[test]
fn a_missing_configuration_file_is_named() -> Result<()> {
    let _alone = alone()?;
    for option in ["--config", "--kong-config"] {
        let finished = agent::run(&[option, "/no/such/file.yaml"])?;
        assert_usage(&finished, &["/no/such/file.yaml"]);
    }
    Ok(())
}

#[test]
fn an_unknown_key_is_named_with_its_file_and_line() -> Result<()> {
    let _alone = alone()?;
    let services = "services:\n- name: orders\n  url: http://127.0.0.1:1\n  colour: red\n";
    let kong = format!("_format_version: \"1.1\"\n{services}");
    for (option, text, line) in [("--config", services, ":4"), ("--kong-config", &kong, ":5")] {
        let file = Scratch::file("services.yaml", text.as_bytes())?;
        let finished = agent::run(&[option, file.path()?])?;
        let place = format!("{}{line}", file.path()?);
        assert_usage(&finished, &[&place, "colour"]);
    }
    Ok(())
}

#[test]
fn bad_values_and_bad_yaml_are_named_with_their_file_and_line() -> Result<()> {
    let _alone = alone()?;
    let cases = [
        ("services:\n- name: orders\n  port: many\n  host: h\n", ":3", "port"),
        ("services:\n- name: orders\n  url: [1, 2]\n", ":3", "url"),
        ("services:\n- name: [unclosed\n", "", "YAML"),
    ];
    for (text, line, part) in cases {
        let file = Scratch::file("services.yaml", text.as_bytes())?;
        let finished = agent::run(&["--config", file.path()?])?;
        let place = format!("{}{line}", file.path()?);
        assert_usage(&finished, &[&place, part]);
    }
    Ok(())
}

#[test]
fn a_file_that_is_no_recording_is_refused() -> Result<()> {
    let _alone = alone()?;
    for content in [&b""[..], b"not a recording\n", &[0; 4096], &[0xff; 4096]] {
        let file = Scratch::file("events", content)?;
        let finished = agent::run(&["replay", file.path()?])?;
        assert_message(&finished, &[file.path()?]);
        assert_eq!(finished.stdout, "", "{finished:?}");
    }
    let finished = agent::run(&["replay", "/no/such/recording"])?;
    assert_message(&finished, &["/no/such/recording"]);
    Ok(())
}

#[test]
fn a_recording_that_cannot_be_written_is_named() -> Result<()> {
    let _alone = alone()?;
    let finished = agent::run(&["record", "/no/such/folder/events", "--for", "1s"])?;
    assert_message(&finished, &["/no/such/folder/events"]);
    Ok(())
}

/// The agent's program where every user can run it.
fn for_everyone() -> Result<Scratch> {
    let scratch = Scratch::file("observer", &fs::read(agent::binary()?)?)?;
    let folder = scratch.path.parent().context("folder")?;
    for path in [folder, &scratch.path] {
        fs::set_permissions(path, fs::Permissions::from_mode(0o755))?;
    }
    Ok(scratch)
}

#[test]
fn without_root_it_says_what_is_needed() -> Result<()> {
    let _alone = alone()?;
    let program = for_everyone()?;
    for arguments in [&["--listen", "127.0.0.1:0"][..], &["check"]] {
        let finished = agent::finish(
            Command::new("setpriv")
                .args(["--reuid=65534", "--regid=65534", "--clear-groups"])
                .arg(&program.path)
                .args(arguments),
        )?;
        assert_ne!(finished.code, Some(0), "{finished:?}");
        assert!(!finished.stderr.contains("panicked"), "{finished:?}");
        let said = format!("{}{}", finished.stdout, finished.stderr).to_lowercase();
        assert!(said.contains("root") || said.contains("sudo"), "{finished:?}");
    }
    Ok(())
}

#[test]
fn without_its_capabilities_it_names_one() -> Result<()> {
    let _alone = alone()?;
    let finished = agent::finish(
        Command::new("setpriv")
            .args(["--bounding-set", "-bpf,-perfmon,-sys_admin"])
            .arg(agent::binary()?)
            .args(["--listen", "127.0.0.1:0"]),
    )?;
    assert_message(&finished, &["CAP_"]);
    Ok(())
}

#[test]
fn check_passes_on_a_host_that_can_be_observed() -> Result<()> {
    let _alone = alone()?;
    let finished = agent::run(&["check"])?;
    assert_eq!(finished.code, Some(0), "{finished:?}");
    for row in ["kernel", "BTF", "lockdown", "sock_recv_length", "sock_send_length"] {
        assert!(finished.stdout.contains(row), "{row} is not in {finished:?}");
    }
    Ok(())
}

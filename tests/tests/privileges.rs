//! What the agent may still do once it is attached, as the kernel tells it.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;

use anyhow::{Context, Result, ensure};
use observer_tests::agent::{command, finish, run};
use observer_tests::nginx::config::Config;
use observer_tests::wait::{PATIENCE, alone, until_true};
use observer_tests::{Agent, Client, Nginx, Request, Upstream};
use tempfile::TempDir;

/// Bits of `CapEff` (`include/uapi/linux/capability.h`).
const DAC_READ_SEARCH: u64 = 1 << 2;
const SYS_PTRACE: u64 = 1 << 19;
const PERFMON: u64 = 1 << 38;
const CHECKPOINT_RESTORE: u64 = 1 << 40;

/// What the pipeline's thread keeps for good.
const FOLLOWING: u64 = DAC_READ_SEARCH | SYS_PTRACE | PERFMON | CHECKPOINT_RESTORE;

/// Debian's user without rights.
const NOBODY: &str = "65534\t65534\t65534\t65534";

/// `/proc/PID/task/TID/status` of every thread: its fields by their names.
fn threads(pid: u32) -> Result<Vec<BTreeMap<String, String>>> {
    let mut threads = Vec::new();
    for task in fs::read_dir(format!("/proc/{pid}/task"))? {
        // A thread may end meanwhile.
        let Ok(status) = fs::read_to_string(task?.path().join("status")) else { continue };
        let fields = status.lines().filter_map(|line| line.split_once(':'));
        threads.push(fields.map(|(name, value)| (name.to_owned(), value.trim().to_owned())).collect());
    }
    ensure!(threads.len() > 3, "too few threads to be the agent's: {threads:?}");
    Ok(threads)
}

fn hex(thread: &BTreeMap<String, String>, field: &str) -> Result<u64> {
    Ok(u64::from_str_radix(&thread[field], 16)?)
}

/// Fails unless every thread is confined, and has no more capabilities than its work takes.
fn check_threads(agent: &Agent) -> Result<()> {
    for thread in threads(agent.pid())? {
        let name = &thread["Name"];
        let allowed = match name.as_str() {
            "pipeline" => FOLLOWING,
            name if name.starts_with("tokio") => 0,
            _ => DAC_READ_SEARCH,
        };
        for set in ["CapEff", "CapPrm"] {
            ensure!(hex(&thread, set)? == allowed, "{set} of {name} is {}, not {allowed:x}", thread[set]);
        }
        for set in ["CapInh", "CapBnd", "CapAmb"] {
            ensure!(hex(&thread, set)? == 0, "{set} of {name} is {}", thread[set]);
        }
        ensure!(thread["NoNewPrivs"] == "1", "{name} may gain privileges");
        ensure!(thread["Seccomp"] == "2", "{name} has no filter of system calls");
    }
    Ok(())
}

fn gateway(upstream: &Upstream) -> Result<Nginx> {
    Config::new()?.service("alpha", upstream.address()).start()
}

fn counts_one(agent: &Agent, nginx: &Nginx) -> Result<()> {
    Client::connect(nginx.address())?.exchange(&Request::get("/alpha/"))?;
    let scrape = agent.settled_scrape(1)?;
    let key = "kong_http_status{code=\"200\",service=\"alpha\"}";
    ensure!(scrape.get(key) == Some(1.0), "{key} is {:?}:\n{}", scrape.get(key), scrape.own());
    Ok(())
}

#[test]
fn every_thread_keeps_only_what_its_work_takes() -> Result<()> {
    let _alone = alone()?;
    let upstream = Upstream::ipv4()?;
    let nginx = gateway(&upstream)?;
    let agent = Agent::watching(&[nginx.selector()])?;
    check_threads(&agent)?;
    counts_one(&agent, &nginx)
}

#[test]
fn another_user_takes_over_and_follows_gateways_as_before() -> Result<()> {
    let _alone = alone()?;
    let upstream = Upstream::ipv4()?;
    let nginx = gateway(&upstream)?;
    let folder = TempDir::new()?;
    // The folder's own way must be open to the user.
    fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755))?;
    let state = folder.path().join("state");
    let state_argument = state.to_str().context("a path in UTF-8")?;
    let agent = Agent::start(&[nginx.selector()], &["--user", "nobody", "--state-dir", state_argument])?;
    check_threads(&agent)?;
    for thread in threads(agent.pid())? {
        assert_eq!(thread["Uid"], NOBODY, "{}", thread["Name"]);
        assert_eq!(thread["Gid"], NOBODY, "{}", thread["Name"]);
        assert_eq!(thread["Groups"], "", "{}", thread["Name"]);
    }
    assert_eq!(fs::metadata(&state)?.uid(), 65534, "the state is the user's own");
    // Gateways that come and go are followed by a user who may not see them.
    nginx.reload()?;
    counts_one(&agent, &nginx)?;
    assert!(!agent.stderr().contains("WARN"), "{}", agent.stderr());
    Ok(())
}

#[test]
fn nobody_else_looks_into_the_agents_memory() -> Result<()> {
    let _alone = alone()?;
    let nginx = Config::new()?.start()?;
    let agent = Agent::start(&[nginx.selector()], &["--user", "nobody"])?;
    // Files under /proc/PID belong to root where a process is not dumpable (proc(5)), else to its user.
    assert_eq!(fs::metadata(format!("/proc/{}/environ", agent.pid()))?.uid(), 0);
    let same_user = finish(std::process::Command::new("setpriv").args([
        "--reuid=65534",
        "--regid=65534",
        "--clear-groups",
        "cat",
        &format!("/proc/{}/environ", agent.pid()),
    ]))?;
    assert_ne!(same_user.code, Some(0), "another process of the user read it");
    assert!(same_user.stderr.contains("Permission denied"), "{}", same_user.stderr);
    Ok(())
}

#[test]
fn an_unknown_user_is_refused_with_what_to_do() -> Result<()> {
    let refused = run(&["--listen", "127.0.0.1:0", "--user", "nobody-of-this-name"])?;
    assert_eq!(refused.code, Some(2));
    assert!(refused.stderr.contains("useradd"), "{}", refused.stderr);
    Ok(())
}

#[test]
fn only_root_becomes_another_user() -> Result<()> {
    let folder = TempDir::new()?;
    let copy = folder.path().join("observer");
    fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755))?;
    fs::copy(observer_tests::agent::binary()?, &copy)?;
    let mut as_nobody = std::process::Command::new("setpriv");
    as_nobody.args(["--reuid=65534", "--regid=65534", "--clear-groups"]).arg(&copy);
    let refused = finish(as_nobody.args(["--listen", "127.0.0.1:0", "--user", "daemon"]))?;
    assert_eq!(refused.code, Some(2), "{}", refused.stderr);
    assert!(refused.stderr.contains("only root"), "{}", refused.stderr);
    Ok(())
}

#[test]
fn a_recorder_gives_up_as_much() -> Result<()> {
    let _alone = alone()?;
    let nginx = Config::new()?.start()?;
    let folder = TempDir::new()?;
    let file = folder.path().join("traffic.rec");
    let mut recorder = command()?;
    recorder.arg("record").arg(&file).args(["--gateway", &nginx.selector(), "--user", "nobody"]);
    let recorder = observer_tests::process::Process::spawn(&mut recorder)?;
    let status = format!("/proc/{}/status", recorder.pid());
    until_true("the recorder has given up root", PATIENCE, || {
        let status = fs::read_to_string(&status)?;
        Ok(has_line(&status, "Seccomp:\t2") && has_line(&status, &format!("Uid:\t{NOBODY}")))
    })
    .with_context(|| recorder.stderr())?;
    assert!(Path::new(&file).exists());
    Ok(())
}

#[test]
fn no_program_calls_a_helper_that_writes_to_processes_or_packets() -> Result<()> {
    let checked = run(&["check"])?;
    let row = checked.stdout.lines().find(|line| line.contains("BPF helpers used")).context("no such row")?;
    assert!(row.starts_with("ok "), "{row}");
    let (_, called) = row.split_once("BPF helpers used").context("a row")?;
    let (called, _) = called.split_once(';').with_context(|| format!("the program has no kernel part: {row}"))?;
    let called: Vec<&str> = called.split(',').map(str::trim).collect();
    // It does its work, so it reads.
    assert!(called.contains(&"probe_read_user") && called.contains(&"ringbuf_reserve"), "{called:?}");
    for writer in
        ["probe_write_user", "store_bytes", "override_return", "send_signal", "sockopt", "helper", "kernel function"]
    {
        assert!(called.iter().all(|name| !name.contains(writer)), "{writer} in {called:?}");
    }
    Ok(())
}

fn has_line(text: &str, line: &str) -> bool {
    text.lines().any(|found| found == line)
}

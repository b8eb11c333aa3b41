//! The agent under test.

use std::fs;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use nix::sys::signal::Signal;

use crate::client::{Client, Response};
use crate::exposition::Exposition;
use crate::netstat;
use crate::process::Process;
use crate::request::Request;
use crate::wait::{PATIENCE, free_port, until, until_true};

/// An exchange is in a scrape made this long after its last byte was written.
pub const FRESHNESS: Duration = Duration::from_millis(100);

/// SIGTERM and SIGINT end the agent within this.
pub const END_LIMIT: Duration = Duration::from_secs(1);

/// Makes the kernel part's ring smaller, so that it overflows.
pub const RING_BYTES_VARIABLE: &str = "OBSERVER_TEST_RING_BYTES";

/// Gives each probe an event of its own, as before Linux 6.11.
pub const SINGLE_PROBES_VARIABLE: &str = "OBSERVER_TEST_SINGLE_PROBES";

/// A running agent. Dropping it ends it by SIGTERM, and fails the test if that takes long or is not clean.
#[derive(Debug)]
pub struct Agent {
    process: Process,
    listen: SocketAddr,
    is_killed: bool,
}

impl Agent {
    /// Starts one that watches what the selectors say, and waits until it is ready.
    pub fn watching<S: AsRef<str>>(selectors: &[S]) -> Result<Self> {
        Self::start(selectors, &[])
    }

    /// The same, with further arguments.
    pub fn start<S: AsRef<str>>(selectors: &[S], arguments: &[&str]) -> Result<Self> {
        let mut agent = Self::spawn(selectors, arguments)?;
        agent.until_ready()?;
        Ok(agent)
    }

    /// The same, with further variables of the environment.
    pub fn start_with<S: AsRef<str>>(selectors: &[S], arguments: &[&str], variables: &[(&str, &str)]) -> Result<Self> {
        let mut agent = Self::spawn_with(selectors, arguments, variables)?;
        agent.until_ready()?;
        Ok(agent)
    }

    /// Starts one without waiting.
    pub fn spawn<S: AsRef<str>>(selectors: &[S], arguments: &[&str]) -> Result<Self> {
        Self::spawn_with(selectors, arguments, &[])
    }

    fn spawn_with<S: AsRef<str>>(selectors: &[S], arguments: &[&str], variables: &[(&str, &str)]) -> Result<Self> {
        let listen = SocketAddr::from((Ipv4Addr::LOCALHOST, free_port()?));
        let mut command = command()?;
        command.envs(variables.iter().copied());
        command.arg("--listen").arg(listen.to_string());
        for selector in selectors {
            command.args(["--gateway", selector.as_ref()]);
        }
        command.args(arguments);
        Ok(Self { process: Process::spawn(&mut command)?, listen, is_killed: false })
    }

    /// Waits for `/ready` to answer 200: attached, first scan done. Error at once if the agent ends.
    pub fn until_ready(&mut self) -> Result<()> {
        until_true("the agent is ready", PATIENCE, || {
            let ended = self.process.ended()?;
            ensure!(ended.is_none(), "the agent ended at once: {ended:?}");
            if !netstat::listens(self.listen.port())? {
                return Ok(false);
            }
            match self.get("/ready")?.status {
                200 => Ok(true),
                503 => Ok(false),
                other => bail!("/ready answered {other}"),
            }
        })
        .with_context(|| format!("the agent's stderr:\n{}", self.stderr()))
    }

    /// The agent's answer to a GET of `path`.
    pub fn get(&self, path: &str) -> Result<Response> {
        self.ask(&Request::get(path).close())
    }

    /// The agent's answer to `request`.
    pub fn ask(&self, request: &Request) -> Result<Response> {
        Client::connect(self.listen)?
            .exchange(request)
            .with_context(|| format!("{request:?} to the agent, whose stderr is:\n{}", self.stderr()))
    }

    /// The exposition's text, now.
    pub fn text(&self) -> Result<String> {
        let response = self.get("/metrics")?;
        ensure!(response.status == 200, "/metrics answered {}", response.status);
        Ok(String::from_utf8(response.body)?)
    }

    /// The exposition, now.
    pub fn scrape(&self) -> Result<Exposition> {
        Exposition::parse(&self.text()?)
    }

    /// The exposition once `kong_http_status_total` has `requests` requests, or when they do not come in time; and
    /// then once more, so that requests counted twice or late show as well. For the comparison to judge.
    pub fn settled_scrape(&self, requests: usize) -> Result<Exposition> {
        self.scrape_when(|now| now.sum("kong_http_status_total") >= requests as f64)
    }

    /// As [`Agent::settled_scrape`], for any condition.
    pub fn scrape_when(&self, condition: impl Fn(&Exposition) -> bool) -> Result<Exposition> {
        // The scrape that shows what is missing says more than an error about time.
        let _ = until("the agent has counted all", PATIENCE, || Ok(condition(&self.scrape()?).then_some(())));
        thread::sleep(FRESHNESS);
        self.scrape()
    }

    /// Where it serves without TLS.
    pub fn address(&self) -> SocketAddr {
        self.listen
    }

    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.process.pid()
    }

    /// What it wrote to stderr until now.
    pub fn stderr(&self) -> String {
        self.process.stderr()
    }

    /// Waits until it holds signals back for later: from the first moments of its start on.
    pub fn until_holding_signals(&mut self) -> Result<()> {
        let status = format!("/proc/{}/status", self.pid());
        until_true("the agent holds signals back", PATIENCE, || {
            let ended = self.process.ended()?;
            ensure!(ended.is_none(), "the agent ended at once: {ended:?}");
            let status = fs::read_to_string(&status)?;
            let held = status.lines().find_map(|line| line.strip_prefix("SigBlk:")).context("no SigBlk")?;
            Ok(u64::from_str_radix(held.trim(), 16)? != 0)
        })
    }

    /// Ends it by `signal`. Error unless it exits with code 0 within its limit.
    pub fn end(&mut self, signal: Signal) -> Result<()> {
        let status = self.process.end(signal, END_LIMIT)?;
        ensure!(status.success(), "the agent ended with {status} on {signal}; its stderr:\n{}", self.stderr());
        Ok(())
    }

    /// Kills it (SIGKILL), as if it had crashed.
    pub fn kill(mut self) -> Result<()> {
        self.is_killed = true;
        // The kernel takes its programs out first.
        self.process.end(Signal::SIGKILL, PATIENCE).map(drop)
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        if self.is_killed {
            return;
        }
        let ended = self.end(Signal::SIGTERM);
        if thread::panicking() {
            eprintln!("the agent's stderr:\n{}", self.stderr());
        } else if let Err(error) = ended {
            panic!("{error:#}");
        }
    }
}

/// A running `observer record`. Dropping it kills it.
#[derive(Debug)]
pub struct Recorder {
    process: Process,
    file: PathBuf,
}

impl Recorder {
    /// Starts one for the gateway that `selector` names.
    pub fn start(selector: &str, file: &Path, arguments: &[&str]) -> Result<Self> {
        let mut command = command()?;
        command.arg("record").arg(file);
        command.args(["--gateway", selector]).args(arguments);
        Ok(Self { process: Process::spawn(&mut command)?, file: file.to_owned() })
    }

    /// Calls `probe` until its traffic, known by `mark`, is in the file: all later traffic will be, too.
    pub fn until_recording(&mut self, mark: &str, probe: impl Fn() -> Result<()>) -> Result<()> {
        until_true("the recorder records", PATIENCE, || {
            let ended = self.process.ended()?;
            ensure!(ended.is_none(), "the recorder ended at once: {ended:?}");
            probe()?;
            let bytes = fs::read(&self.file).unwrap_or_default();
            Ok(bytes.windows(mark.len()).any(|window| window == mark.as_bytes()))
        })
        .with_context(|| format!("the recorder's stderr:\n{}", self.stderr()))
    }

    /// Ends it by SIGINT. Error unless it exits with code 0 within [`END_LIMIT`].
    pub fn end(&mut self) -> Result<()> {
        let status = self.process.end(Signal::SIGINT, END_LIMIT)?;
        ensure!(status.success(), "the recorder ended with {status}; its stderr:\n{}", self.stderr());
        Ok(())
    }

    /// What it wrote to stderr until now.
    pub fn stderr(&self) -> String {
        self.process.stderr()
    }
}

/// A call of the agent that ended by itself.
#[derive(Debug)]
pub struct Finished {
    /// Exit code; `None` when a signal ended it.
    pub code: Option<i32>,
    /// All of stdout.
    pub stdout: String,
    /// All of stderr.
    pub stderr: String,
}

/// Runs the agent with `arguments` to its end. Error if it does not end by itself.
pub fn run(arguments: &[&str]) -> Result<Finished> {
    finish(command()?.args(arguments))
}

/// A new token for `user` in the file, as `observer token` prints it.
pub fn token(user: &str, role: &str, file: &Path) -> Result<String> {
    let made = finish(command()?.args(["token", user, "--role", role, "--auth-file"]).arg(file))?;
    ensure!(made.code == Some(0), "no token: {}", made.stderr);
    Ok(made.stdout.trim().to_owned())
}

/// Runs `command` to its end. Error if it does not end by itself within [`PATIENCE`].
pub fn finish(command: &mut Command) -> Result<Finished> {
    let mut process = Process::spawn(command)?;
    let status = process.wait(PATIENCE)?;
    Ok(Finished { code: status.code(), stdout: process.stdout(), stderr: process.stderr() })
}

/// A call of the agent's program, to be given arguments.
pub fn command() -> Result<Command> {
    Ok(Command::new(binary()?))
}

/// The agent's program: `$OBSERVER_BIN`, else the workspace's release build. Error when there is none.
pub fn binary() -> Result<PathBuf> {
    let workspace = concat!(env!("CARGO_MANIFEST_DIR"), "/..");
    let built = || PathBuf::from(workspace).join("target/release/observer");
    let path = std::env::var_os("OBSERVER_BIN").map_or_else(built, PathBuf::from);
    ensure!(path.is_file(), "no agent at {}: `cargo xtask test` builds it and runs these tests", path.display());
    Ok(path)
}

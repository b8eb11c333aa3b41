//! A real nginx with its own folder, ports and logs.

pub mod access_log;
pub mod config;
pub mod stub_status;

use std::fs;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use nix::sys::signal::Signal;
use tempfile::TempDir;

use crate::netstat;
use crate::process::{Process, children, signal_pid};
use crate::wait::{PATIENCE, until, until_true};
use access_log::Line;
use config::Config;
use stub_status::StubStatus;

const WORKER_TITLE: &str = "nginx: worker process";
const SHUTTING_DOWN_TITLE: &str = "nginx: worker process is shutting down";
const END_LIMIT: Duration = Duration::from_secs(5);

/// A running nginx: master and workers. Dropping it ends all of them.
#[derive(Debug)]
pub struct Nginx {
    config: Config,
    prefix: TempDir,
    master: Process,
}

impl Nginx {
    pub(super) fn start(config: Config) -> Result<Self> {
        let prefix = TempDir::new()?;
        fs::create_dir(prefix.path().join("files"))?;
        fs::write(prefix.path().join("nginx.conf"), config.text())?;
        let master = spawn(&config, prefix.path())?;
        let mut nginx = Self { config, prefix, master };
        nginx.until_serving()?;
        Ok(nginx)
    }

    /// The main server on IPv4.
    pub fn address(&self) -> SocketAddr {
        (Ipv4Addr::LOCALHOST, self.config.port).into()
    }

    /// The main server on IPv6.
    pub fn address_v6(&self) -> SocketAddr {
        (Ipv6Addr::LOCALHOST, self.config.port).into()
    }

    /// The main server's port, on both.
    pub fn port(&self) -> u16 {
        self.config.port
    }

    /// The master's process id.
    pub fn pid(&self) -> u32 {
        self.master.pid()
    }

    /// The selector that makes an agent watch this nginx and no other.
    pub fn selector(&self) -> String {
        format!("pid:{}", self.pid())
    }

    /// The folder of the files that it serves itself (`root`).
    pub fn files(&self) -> PathBuf {
        self.prefix.path().join("files")
    }

    /// Its configuration file.
    pub fn conf(&self) -> PathBuf {
        self.prefix.path().join("nginx.conf")
    }

    /// Process ids of the workers that accept connections.
    pub fn workers(&self) -> Result<Vec<u32>> {
        let mut workers = children(self.pid(), WORKER_TITLE)?;
        let leaving = children(self.pid(), SHUTTING_DOWN_TITLE)?;
        workers.retain(|pid| !leaving.contains(pid));
        Ok(workers)
    }

    /// Reloads (HUP) and waits until new workers serve and the old ones are gone, which they are only when their
    /// requests have ended.
    pub fn reload(&self) -> Result<()> {
        let old = children(self.pid(), WORKER_TITLE)?;
        self.master.signal(Signal::SIGHUP)?;
        until_true("nginx has replaced its workers", PATIENCE, || {
            let all = children(self.pid(), WORKER_TITLE)?;
            let is_new = all.iter().all(|pid| !old.contains(pid));
            Ok(is_new && self.workers()?.len() == self.config.workers)
        })
        .with_context(|| self.diagnosis())
    }

    /// Kills one worker (SIGKILL) and waits until the master has replaced it. Gives the killed one's id.
    pub fn kill_worker(&self) -> Result<u32> {
        let workers = self.workers()?;
        let victim = *workers.first().context("no worker to kill")?;
        signal_pid(victim, Signal::SIGKILL)?;
        until_true("nginx has replaced the killed worker", PATIENCE, || {
            let now = self.workers()?;
            Ok(now.len() == self.config.workers && !now.contains(&victim))
        })?;
        Ok(victim)
    }

    /// Kills master and workers (SIGKILL), as if the gateway had crashed.
    pub fn crash(&mut self) -> Result<()> {
        let workers = children(self.pid(), WORKER_TITLE)?;
        self.master.end(Signal::SIGKILL, END_LIMIT)?;
        for worker in workers {
            signal_pid(worker, Signal::SIGKILL)?;
        }
        until_true("the port is free", PATIENCE, || Ok(!netstat::listens(self.config.port)?))
    }

    /// Starts it again after [`Nginx::crash`], same ports and logs, as a new process.
    pub fn start_again(&mut self) -> Result<()> {
        self.master = spawn(&self.config, self.prefix.path())?;
        self.until_serving()
    }

    /// The whole access log once it has `expected` lines: nginx writes a line when its request has ended, a little
    /// after the client has the response. Error for fewer within [`PATIENCE`], or for more.
    pub fn log(&self, expected: usize) -> Result<Vec<Line>> {
        let lines = until("the access log is complete", PATIENCE, || {
            let lines = self.log_so_far()?;
            Ok((lines.len() >= expected).then_some(lines))
        })
        .with_context(|| format!("{expected} lines expected; {}", self.diagnosis()))?;
        ensure!(
            lines.len() == expected,
            "{} access log lines where {expected} were expected:\n{lines:#?}",
            lines.len()
        );
        Ok(lines)
    }

    /// The lines that are in the access log now.
    pub fn log_so_far(&self) -> Result<Vec<Line>> {
        let text = fs::read(self.prefix.path().join("access.log"))?;
        access_log::parse(&String::from_utf8_lossy(&text))
    }

    /// nginx's own counts, without the connection that asks for them; see [`stub_status`].
    pub fn stub_status(&self) -> Result<StubStatus> {
        stub_status::ask((Ipv4Addr::LOCALHOST, self.config.status_port).into())
    }

    /// The error log, for messages.
    pub fn error_log(&self) -> String {
        fs::read_to_string(self.prefix.path().join("error.log")).unwrap_or_default()
    }

    fn until_serving(&mut self) -> Result<()> {
        let port = self.config.port;
        let limit = format!("nginx listens on {port} with its workers");
        until_true(&limit, PATIENCE, || {
            let ended = self.master.ended()?;
            ensure!(ended.is_none(), "nginx ended at once; {}", self.diagnosis());
            Ok(netstat::listens(port)? && self.workers()?.len() == self.config.workers)
        })
    }

    fn diagnosis(&self) -> String {
        format!("nginx's stderr:\n{}nginx's error log:\n{}", self.master.stderr(), self.error_log())
    }
}

impl Drop for Nginx {
    fn drop(&mut self) {
        let workers = children(self.pid(), WORKER_TITLE).unwrap_or_default();
        if let Err(error) = self.master.end(Signal::SIGTERM, END_LIMIT) {
            eprintln!("nginx: {error:#}");
            for worker in workers {
                let _ = signal_pid(worker, Signal::SIGKILL);
            }
        }
    }
}

fn spawn(config: &Config, prefix: &Path) -> Result<Process> {
    let mut command = Command::new(&config.binary);
    command.arg("-p").arg(prefix).args(["-c", "nginx.conf", "-e", "error.log"]);
    Process::spawn(&mut command).context("nginx is needed: `cargo xtask test` installs it")
}

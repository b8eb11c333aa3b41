//! A real nginx with its own folder, ports and logs.

pub mod access_log;
pub mod config;
pub mod lua;
pub mod stub_status;

use std::fs;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use nix::sys::signal::Signal;
use tempfile::TempDir;

use crate::process::{Process, children, signal_pid, time_not_idle};
use crate::tls;
use crate::wait::{PATIENCE, until, until_true};
use crate::{namespace, netstat};
use access_log::Line;
use config::Config;
use stub_status::StubStatus;

const MASTER_TITLE: &str = "nginx: master process";
const WORKER_TITLE: &str = "nginx: worker process";
const SHUTTING_DOWN_TITLE: &str = "nginx: worker process is shutting down";
const END_LIMIT: Duration = Duration::from_secs(5);

/// A running nginx: master and workers. Dropping it ends all of them.
#[derive(Debug)]
pub struct Nginx {
    config: Config,
    prefix: TempDir,
    master: Process,
    /// The master where it is no child of ours: a daemon, in other namespaces, or the new one after a binary upgrade.
    /// Ended by its id.
    elsewhere: Option<u32>,
}

impl Nginx {
    pub(super) fn start(config: Config) -> Result<Self> {
        let prefix = TempDir::new()?;
        fs::create_dir(prefix.path().join("files"))?;
        fs::write(prefix.path().join("nginx.conf"), config.text())?;
        if config.tls.is_some() {
            tls::write_certificate(prefix.path())?;
            tls::speak_on(config.port, true);
        }
        let master = spawn(&config, prefix.path())?;
        let mut nginx = Self { config, prefix, master, elsewhere: None };
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

    /// The stub_status server's port.
    pub fn status_port(&self) -> u16 {
        self.config.status_port
    }

    /// The master's process id.
    pub fn pid(&self) -> u32 {
        self.elsewhere.unwrap_or_else(|| self.master.pid())
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

    /// The same, and of those that are shutting down.
    pub fn all_workers(&self) -> Result<Vec<u32>> {
        children(self.pid(), WORKER_TITLE)
    }

    /// How long the workers that run now have not been idle, all together: whatever happened in between, no pass of an
    /// event loop lasted longer than what this has grown by. (A worker that waits for a disk is idle here.)
    pub fn time_not_idle(&self) -> Result<Duration> {
        Ok(self.workers()?.into_iter().map(time_not_idle).sum())
    }

    /// Reloads (HUP) and waits until new workers serve and the old ones are gone, which they are only when their
    /// requests have ended.
    pub fn reload(&self) -> Result<()> {
        let old = children(self.pid(), WORKER_TITLE)?;
        signal_pid(self.pid(), Signal::SIGHUP)?;
        until_true("nginx has replaced its workers", PATIENCE, || {
            let all = children(self.pid(), WORKER_TITLE)?;
            let is_new = all.iter().all(|pid| !old.contains(pid));
            Ok(is_new && self.workers()?.len() == self.config.workers)
        })
        .with_context(|| self.diagnosis())
    }

    /// Starts a new master of the same program beside the running one (USR2), and waits until its workers serve, too.
    /// Gives its process id.
    pub fn start_new_binary(&self) -> Result<u32> {
        signal_pid(self.pid(), Signal::SIGUSR2)?;
        until("the new master has its workers", PATIENCE, || {
            for child in children(self.pid(), MASTER_TITLE)? {
                if children(child, WORKER_TITLE)?.len() == self.config.workers {
                    return Ok(Some(child));
                }
            }
            Ok(None)
        })
        .with_context(|| self.diagnosis())
    }

    /// Has the master end its workers gracefully and stay (WINCH), and waits until they are gone.
    pub fn retire_workers(&self) -> Result<()> {
        signal_pid(self.pid(), Signal::SIGWINCH)?;
        until_true("the old workers are gone", PATIENCE, || Ok(children(self.pid(), WORKER_TITLE)?.is_empty()))
            .with_context(|| self.diagnosis())
    }

    /// Ends the old master (QUIT); the new one is this nginx from then on.
    pub fn hand_over(&mut self, new: u32) -> Result<()> {
        let old = self.elsewhere.replace(new).context("only a daemon hands over")?;
        signal_pid(old, Signal::SIGQUIT)?;
        until_true("the old master is gone", PATIENCE, || Ok(!Path::new(&format!("/proc/{old}")).exists()))
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

    /// Kills the master alone (SIGKILL). Gives its workers, which go on without it until they are ended by their ids.
    pub fn kill_master(&mut self) -> Result<Vec<u32>> {
        let workers = self.workers()?;
        self.master.end(Signal::SIGKILL, END_LIMIT)?;
        Ok(workers)
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

    /// The lines of the access log once no more are added: nobody asks nginx any more.
    pub fn resting_log(&self) -> Result<Vec<Line>> {
        until("the access log rests", PATIENCE, || {
            let before = self.log_so_far()?.len();
            thread::sleep(Duration::from_millis(400));
            let lines = self.log_so_far()?;
            Ok((lines.len() == before).then_some(lines))
        })
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
            if self.config.is_daemon {
                let id = fs::read_to_string(self.prefix.path().join("nginx.pid")).unwrap_or_default();
                self.elsewhere = id.trim().parse().ok();
                ensure!(ended.is_none_or(|status| status.success()), "nginx ended; {}", self.diagnosis());
                if ended.is_none() || self.elsewhere.is_none() {
                    return Ok(false);
                }
            } else {
                ensure!(ended.is_none(), "nginx ended at once; {}", self.diagnosis());
            }
            if self.config.within.is_some() {
                self.elsewhere = children(self.master.pid(), MASTER_TITLE)?.first().copied();
            }
            let listens = match self.config.within {
                Some(pid) => namespace::enter(pid, || netstat::listens(port))?,
                None => netstat::listens(port)?,
            };
            Ok(listens && self.workers()?.len() == self.config.workers)
        })
    }

    fn diagnosis(&self) -> String {
        format!("nginx's stderr:\n{}nginx's error log:\n{}", self.master.stderr(), self.error_log())
    }
}

impl Drop for Nginx {
    fn drop(&mut self) {
        tls::speak_on(self.config.port, false);
        let workers = children(self.pid(), WORKER_TITLE).unwrap_or_default();
        if let Some(master) = self.elsewhere {
            let _ = signal_pid(master, Signal::SIGTERM);
        }
        if let Err(error) = self.master.end(Signal::SIGTERM, END_LIMIT) {
            eprintln!("nginx: {error:#}");
            for worker in workers {
                let _ = signal_pid(worker, Signal::SIGKILL);
            }
        }
    }
}

fn spawn(config: &Config, prefix: &Path) -> Result<Process> {
    let mut command = match config.within {
        Some(pid) => namespace::command(pid, &config.binary),
        None => Command::new(&config.binary),
    };
    command.arg("-p").arg(prefix).args(["-c", "nginx.conf", "-e", "error.log"]);
    if let Some(folder) = &config.library_path {
        command.env("LD_LIBRARY_PATH", folder);
    }
    Process::spawn(&mut command).context("nginx is needed: `cargo xtask test` installs it")
}

//! A network, process ids and mounts of their own, as a container has them.

use std::fs::File;
use std::path::Path;
use std::process::Command;
use std::thread;

use anyhow::{Context, Result, anyhow, ensure};
use nix::sched::{CloneFlags, setns};

use crate::process::{Process, children};
use crate::wait::{PATIENCE, until};

/// Namespaces that live as long as this. Whatever runs in them is killed when it is dropped.
#[derive(Debug)]
pub struct Namespace {
    _process: Process,
    pid: u32,
}

impl Namespace {
    /// Namespaces with nothing but a loopback, where `files` stand in place of others: (own file, its place).
    pub fn new(files: &[(&Path, &str)]) -> Result<Self> {
        let mut script = "ip link set lo up".to_owned();
        for (own, place) in files {
            script += &format!(" && mount --bind '{}' '{place}'", own.display());
        }
        script += " && echo up && exec sleep infinity";
        let mut command = Command::new("unshare");
        command.args(["--net", "--pid", "--mount", "--fork", "--mount-proc", "--kill-child", "sh", "-c", &script]);
        let mut process = Process::spawn(&mut command)?;
        let pid = until("the namespaces are there", PATIENCE, || {
            let ended = process.ended()?;
            ensure!(ended.is_none(), "unshare ended; `ip` and root are needed; its stderr:\n{}", process.stderr());
            let children = children(process.pid(), "sleep")?;
            Ok(children.first().copied().filter(|_| process.stdout() == "up\n"))
        })?;
        Ok(Self { _process: process, pid })
    }

    /// Does `work` in the network.
    pub fn enter<T: Send>(&self, work: impl FnOnce() -> Result<T> + Send) -> Result<T> {
        enter(self.pid, work)
    }

    /// A process in it, as the host numbers it.
    pub fn pid(&self) -> u32 {
        self.pid
    }
}

/// Does `work` in the network of a process.
pub fn enter<T: Send>(pid: u32, work: impl FnOnce() -> Result<T> + Send) -> Result<T> {
    let network = File::open(format!("/proc/{pid}/ns/net")).context("the namespaces are gone")?;
    thread::scope(|scope| {
        let thread = scope.spawn(move || {
            setns(network, CloneFlags::CLONE_NEWNET).context("enter the network; root is needed")?;
            work()
        });
        thread.join().map_err(|_| anyhow!("the work in the network panicked"))?
    })
}

/// A call of a program in all namespaces of a process.
pub fn command(pid: u32, program: &Path) -> Command {
    let mut command = Command::new("nsenter");
    command.args(["--target", &pid.to_string(), "--net", "--pid", "--mount", "--"]).arg(program);
    command
}

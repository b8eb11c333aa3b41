//! A child process that is ended by its handle and whose output is kept in files.

use std::fs::{self, File};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tempfile::TempDir;

use crate::wait::until;

/// A running program. Dropping it kills it.
#[derive(Debug)]
pub struct Process {
    child: Child,
    program: String,
    output: TempDir,
}

impl Process {
    /// Starts `command` without input.
    pub fn spawn(command: &mut Command) -> Result<Self> {
        let output = TempDir::new()?;
        let program = command.get_program().to_string_lossy().into_owned();
        // Files, not pipes: a grandchild that keeps a pipe open would block whoever reads it to its end.
        let child = command
            .stdin(Stdio::null())
            .stdout(File::create(output.path().join("stdout"))?)
            .stderr(File::create(output.path().join("stderr"))?)
            .spawn()
            .with_context(|| format!("start {program}"))?;
        Ok(Self { child, program, output })
    }

    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// The exit status, when it has ended.
    pub fn ended(&mut self) -> Result<Option<ExitStatus>> {
        Ok(self.child.try_wait()?)
    }

    /// Waits for the end. Error after `limit`, with what it wrote to stderr; it then still runs.
    pub fn wait(&mut self, limit: Duration) -> Result<ExitStatus> {
        until(&format!("{} ends", self.program), limit, || Ok(self.child.try_wait()?))
            .with_context(|| format!("its stderr:\n{}", self.stderr()))
    }

    /// Sends `signal` and waits for the end; kills it when that takes longer than `limit`, which is an error.
    pub fn end(&mut self, signal: Signal, limit: Duration) -> Result<ExitStatus> {
        if let Some(status) = self.ended()? {
            return Ok(status);
        }
        self.signal(signal)?;
        match self.wait(limit) {
            Ok(status) => Ok(status),
            Err(error) => {
                self.child.kill()?;
                self.child.wait()?;
                bail!("killed, as {signal} did not end it: {error:#}")
            }
        }
    }

    /// Sends `signal` to it alone.
    pub fn signal(&self, signal: Signal) -> Result<()> {
        signal_pid(self.pid(), signal)
    }

    /// All it wrote to stdout until now.
    pub fn stdout(&self) -> String {
        self.written("stdout")
    }

    /// All it wrote to stderr until now.
    pub fn stderr(&self) -> String {
        self.written("stderr")
    }

    fn written(&self, stream: &str) -> String {
        let bytes = fs::read(self.output.path().join(stream)).unwrap_or_default();
        String::from_utf8_lossy(&bytes).into_owned()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if matches!(self.child.try_wait(), Ok(None)) {
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
    }
}

/// Lets this process have so many files open at once. Error if it may not.
pub fn allow_open_files(count: u64) -> Result<()> {
    let (soft, hard) = getrlimit(Resource::RLIMIT_NOFILE)?;
    ensure!(hard >= count, "only {hard} files may be open: raise `ulimit -Hn` to {count}");
    Ok(setrlimit(Resource::RLIMIT_NOFILE, soft.max(count), hard)?)
}

/// Sends `signal` to the process `pid`.
pub fn signal_pid(pid: u32, signal: Signal) -> Result<()> {
    let pid = Pid::from_raw(i32::try_from(pid)?);
    kill(pid, signal).with_context(|| format!("send {signal} to {pid}"))
}

/// The children of process `pid` whose command line contains `title`, in ascending order.
pub fn children(pid: u32, title: &str) -> Result<Vec<u32>> {
    let mut found = Vec::new();
    for entry in fs::read_dir("/proc")? {
        let path = entry?.path();
        let Some(child) = path.file_name().and_then(|name| name.to_str()?.parse().ok()) else {
            continue;
        };
        // A process may end between the listing and these reads.
        let (Ok(stat), Ok(command_line)) = (fs::read_to_string(path.join("stat")), fs::read(path.join("cmdline")))
        else {
            continue;
        };
        let is_titled = String::from_utf8_lossy(&command_line).contains(title);
        if is_titled && parent_in(&stat) == Some(pid) {
            found.push(child);
        }
    }
    found.sort_unstable();
    Ok(found)
}

/// How long a process of one thread has run or waited for a processor (`/proc/PID/schedstat`, both first fields). Zero when
/// it is gone.
pub fn time_not_idle(pid: u32) -> Duration {
    let text = fs::read_to_string(format!("/proc/{pid}/schedstat")).unwrap_or_default();
    let nanoseconds = text.split_whitespace().take(2).filter_map(|field| field.parse::<u64>().ok()).sum();
    Duration::from_nanos(nanoseconds)
}

/// How long a process of one thread has waited for a processor, and how often it got one (`/proc/PID/schedstat`, second
/// and third field).
pub fn waits(pid: u32) -> (Duration, u32) {
    let text = fs::read_to_string(format!("/proc/{pid}/schedstat")).unwrap_or_default();
    let mut fields = text.split_whitespace().skip(1).map(|field| field.parse::<u64>().unwrap_or(0));
    let (waited, times) = (fields.next().unwrap_or(0), fields.next().unwrap_or(0));
    (Duration::from_nanos(waited), u32::try_from(times).unwrap_or(u32::MAX))
}

/// proc(5): the command's name is in parentheses and may hold any character; state and parent follow it.
fn parent_in(stat: &str) -> Option<u32> {
    let (_, after_name) = stat.rsplit_once(')')?;
    after_name.split_whitespace().nth(1)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wait::PATIENCE;

    #[test]
    fn output_and_exit_code_are_kept() -> Result<()> {
        let mut process = Process::spawn(Command::new("sh").args(["-c", "echo out; echo err >&2; exit 3"]))?;
        assert_eq!(process.wait(PATIENCE)?.code(), Some(3));
        assert_eq!((process.stdout().as_str(), process.stderr().as_str()), ("out\n", "err\n"));
        Ok(())
    }

    #[test]
    fn what_a_process_works_it_is_not_idle() {
        let before = time_not_idle(std::process::id());
        let started = std::time::Instant::now();
        while started.elapsed() < Duration::from_millis(30) {
            std::hint::black_box(0);
        }
        // The field is of the first thread, and this test need not be on it.
        assert!(time_not_idle(std::process::id()) >= before && !before.is_zero());
        assert_eq!(time_not_idle(u32::MAX), Duration::ZERO);
    }

    #[test]
    fn one_that_ignores_the_signal_is_killed_and_reported() -> Result<()> {
        let mut process =
            Process::spawn(Command::new("sh").args(["-c", "trap '' TERM; echo set; while :; do sleep 0.01; done"]))?;
        until("the trap is set", PATIENCE, || Ok((process.stdout() == "set\n").then_some(())))?;
        assert!(process.end(Signal::SIGTERM, Duration::from_millis(50)).is_err());
        assert!(process.ended()?.is_some());
        Ok(())
    }
}

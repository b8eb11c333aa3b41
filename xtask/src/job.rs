//! Runs other programs: shown or quiet, stopped by signals, without input.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Seek};
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use nix::errno::Errno;
use nix::sys::signal::{Signal, killpg};
use nix::sys::wait::{Id, WaitPidFlag, WaitStatus, waitid};
use nix::unistd::Pid;

use crate::signals::{self, Stop};

/// A running program. One that nobody waits for is killed.
pub struct Job {
    child: Child,
    reaped: bool,
}

impl Job {
    /// Starts a program in a process group of its own. Give it its standard input before.
    pub fn start(command: &mut Command, stop: Stop) -> Result<Self> {
        let child = signals::spawn(command.process_group(0), stop)?;
        Ok(Self { child, reaped: false })
    }

    /// Waits until the program ends.
    pub fn wait(mut self) -> Result<ExitStatus> {
        self.ended(WaitPidFlag::empty())?;
        self.reaped = true;
        signals::reap(&mut self.child, Child::wait).context("cannot wait for a program")
    }

    /// The program's process id, which is its group's too.
    pub fn pid(&self) -> Pid {
        signals::pid(&self.child)
    }

    /// Asks the program to end, by SIGTERM to its group, and kills the group when it takes longer than `patience`.
    pub fn end(self, patience: Duration) -> Result<()> {
        // Fails only when it has ended already.
        let _ = killpg(self.pid(), Signal::SIGTERM);
        let deadline = Instant::now() + patience;
        while !self.has_ended()? && Instant::now() < deadline {
            thread::sleep(Duration::from_millis(1));
        }
        Ok(())
    }

    /// Whether the program has ended. Does not wait.
    pub fn has_ended(&self) -> Result<bool> {
        self.ended(WaitPidFlag::WNOHANG)
    }

    fn ended(&self, flags: WaitPidFlag) -> Result<bool> {
        let pid = signals::pid(&self.child);
        loop {
            match waitid(Id::Pid(pid), flags | WaitPidFlag::WEXITED | WaitPidFlag::WNOWAIT) {
                Ok(status) => return Ok(status != WaitStatus::StillAlive),
                Err(Errno::EINTR) => {}
                Err(error) => return Err(error).context("cannot wait for a program"),
            }
        }
    }
}

impl Drop for Job {
    fn drop(&mut self) {
        if !self.reaped {
            // Both fail only when it has ended already.
            let _ = killpg(signals::pid(&self.child), Signal::SIGKILL);
            let _ = self.ended(WaitPidFlag::empty());
            let _ = signals::reap(&mut self.child, Child::wait);
        }
    }
}

/// Runs a program to its end, its output as it comes. `what` names it in the error.
pub fn shown(command: &mut Command, what: &str) -> Result<()> {
    let status = Job::start(command.stdin(Stdio::null()), Stop::Group)?.wait()?;
    succeeded(status, what)
}

/// Runs a program to its end and shows its output only when it fails. `what` names it in the error.
pub fn quiet(command: &mut Command, stop: Stop, what: &str) -> Result<()> {
    let mut log = tempfile::tempfile().context("cannot make a file in the temporary folder")?;
    command.stdout(log.try_clone()?).stderr(log.try_clone()?);
    let status = Job::start(command, stop)?.wait()?;
    if !status.success() && signals::check().is_ok() {
        show(&mut log)?;
    }
    succeeded(status, what)
}

/// Runs a program to its end and gives each line of its standard output as it comes, without the line's end.
pub fn lines(command: &mut Command, mut each: impl FnMut(&str)) -> Result<ExitStatus> {
    command.stdin(Stdio::null()).stdout(Stdio::piped());
    let mut job = Job::start(command, Stop::Group)?;
    let stdout = job.child.stdout.take().context("no pipe to the program")?;
    let lines = read_lines(stdout);
    let mut ended = false;
    loop {
        match lines.recv_timeout(if ended { LAST_LINES } else { Duration::from_millis(200) }) {
            Ok(line) => each(&line),
            // A process that the program left behind may hold the pipe open for good.
            Err(RecvTimeoutError::Timeout) if ended => break,
            Err(RecvTimeoutError::Timeout) => ended = job.has_ended()?,
            Err(RecvTimeoutError::Disconnected) => break,
        }
    }
    let status = job.wait()?;
    signals::check()?;
    Ok(status)
}

/// What a short program prints, or nothing when it cannot be run or fails.
pub fn answer(command: &mut Command) -> Option<String> {
    let output = command.stdin(Stdio::null()).output().ok()?;
    let text = String::from_utf8(output.stdout).ok()?;
    output.status.success().then_some(text)
}

/// On a busy host the last lines come this long after the program's end: most programs print to a pipe only then.
const LAST_LINES: Duration = Duration::from_secs(1);

fn succeeded(status: ExitStatus, what: &str) -> Result<()> {
    signals::check()?;
    if !status.success() {
        bail!("{what} failed ({status}); its messages are above");
    }
    Ok(())
}

fn show(log: &mut File) -> Result<()> {
    log.rewind()?;
    io::copy(log, &mut io::stderr())?;
    Ok(())
}

fn read_lines(stdout: impl io::Read + Send + 'static) -> Receiver<String> {
    let (sender, lines) = mpsc::channel();
    thread::spawn(move || {
        let mut stdout = BufReader::new(stdout);
        let mut line = Vec::new();
        while stdout.read_until(b'\n', &mut line).is_ok_and(|n| n > 0) {
            let text = String::from_utf8_lossy(&line);
            if sender.send(text.trim_end_matches('\n').to_owned()).is_err() {
                return;
            }
            line.clear();
        }
    });
    lines
}

#[cfg(test)]
mod tests {
    use nix::sys::signal::kill;

    use super::*;

    #[test]
    fn a_job_that_nobody_waits_for_ends() {
        let mut sleep = Command::new("sleep");
        let job = Job::start(sleep.arg("60"), Stop::Group).unwrap();
        let pid = signals::pid(&job.child);
        assert!(!job.has_ended().unwrap());
        drop(job);
        assert_eq!(kill(pid, None), Err(Errno::ESRCH));
    }

    #[test]
    fn a_program_that_does_not_listen_is_killed_with_its_children() {
        let mut shell = Command::new("sh");
        shell.args(["-c", "trap '' TERM; sleep 60 & echo $!; wait; wait"]).stdout(Stdio::piped());
        let mut job = Job::start(&mut shell, Stop::Group).unwrap();
        let mut line = String::new();
        BufReader::new(job.child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let child = Pid::from_raw(line.trim().parse().unwrap());
        job.end(Duration::from_millis(50)).unwrap();
        let deadline = Instant::now() + Duration::from_secs(5);
        // The child is init's to reap.
        while kill(child, None).is_ok() && Instant::now() < deadline {
            let state = std::fs::read_to_string(format!("/proc/{child}/stat")).unwrap_or_default();
            if state.contains(") Z ") {
                return;
            }
        }
        assert_eq!(kill(child, None), Err(Errno::ESRCH));
    }

    #[test]
    fn lines_come_whole_and_with_the_exit_status() {
        let mut seen = Vec::new();
        let status = lines(Command::new("sh").args(["-c", "printf 'one\\ntwo\\nthree'; exit 3"]), |line| {
            seen.push(line.to_owned())
        })
        .unwrap();
        assert_eq!(seen, ["one", "two", "three"]);
        assert_eq!(status.code(), Some(3));
    }

    #[test]
    fn a_process_left_behind_with_the_pipe_does_not_hold_up() {
        let mut left = None;
        let status =
            lines(Command::new("sh").args(["-c", "sleep 20 & echo $!"]), |line| left = line.parse().ok()).unwrap();
        let left = Pid::from_raw(left.unwrap());
        kill(left, Signal::SIGKILL).expect("it still runs: nobody waited for it");
        assert!(status.success());
    }

    #[test]
    fn a_failing_program_is_named() {
        let error = quiet(Command::new("sh").args(["-c", "exit 7"]), Stop::Group, "the example").unwrap_err();
        assert_eq!(error.to_string(), "the example failed (exit status: 7); its messages are above");
    }
}

//! Ctrl-C and its kin: forwarded to the running jobs, so that each ends in order and xtask last.
//!
//! Every job has a process group of its own. So a terminal's Ctrl-C reaches xtask alone, exactly as `kill` does, and no
//! job gets a signal twice.

use std::error::Error;
use std::fmt;
use std::fs;
use std::process::{Child, Command, ExitCode};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use nix::sys::signal::{Signal, kill, killpg};
use nix::unistd::Pid;
use signal_hook::consts::{SIGHUP, SIGINT, SIGQUIT, SIGTERM};
use signal_hook::iterator::Signals;

/// What a signal to xtask does to a job.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stop {
    /// It goes to the job's whole group; one that comes a second later or more kills the group.
    Group,
    /// SIGINT to the job alone, however often: apt-get then ends after the `dpkg` at work, which must not be disturbed.
    AptGet,
}

/// The error of whatever a signal ended.
#[derive(Clone, Copy, Debug)]
pub struct Interrupted(Signal);

impl Interrupted {
    /// The shell's custom: 128 and the signal's number.
    pub fn exit_code(self) -> ExitCode {
        ExitCode::from(128 + u8::try_from(self.0 as i32).unwrap_or(0))
    }
}

impl fmt::Display for Interrupted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ended by {}", self.0)
    }
}

impl Error for Interrupted {}

/// Starts to listen. Without this a signal ends xtask alone.
pub fn listen() -> Result<()> {
    let mut heard = vec![SIGINT, SIGTERM, SIGQUIT];
    if !hangup_ignored() {
        heard.push(SIGHUP);
    }
    let mut signals = Signals::new(heard).context("cannot listen for signals; try again")?;
    thread::spawn(move || {
        for number in signals.forever() {
            if let Ok(signal) = Signal::try_from(number) {
                forward(signal);
            }
        }
    });
    Ok(())
}

/// Fails when a signal has come.
pub fn check() -> Result<(), Interrupted> {
    lock().check()
}

/// Starts a job that signals are forwarded to until `reap`.
pub fn spawn(command: &mut Command, stop: Stop) -> Result<Child> {
    let mut state = lock();
    state.check()?;
    let child = command.spawn().with_context(|| format!("cannot start {}", command.get_program().display()))?;
    state.jobs.push((pid(&child), stop));
    Ok(child)
}

/// Forgets a job that has ended, and takes its exit status by `wait` before its id can be given anew.
pub fn reap<T>(child: &mut Child, wait: impl FnOnce(&mut Child) -> T) -> T {
    let mut state = lock();
    let ended = pid(child);
    state.jobs.retain(|(job, _)| *job != ended);
    wait(child)
}

/// The process id as nix has it.
pub fn pid(child: &Child) -> Pid {
    Pid::from_raw(i32::try_from(child.id()).expect("Linux process ids are positive i32"))
}

struct State {
    received: Option<(Signal, Instant)>,
    jobs: Vec<(Pid, Stop)>,
}

impl State {
    fn check(&self) -> Result<(), Interrupted> {
        match self.received {
            Some((signal, _)) => Err(Interrupted(signal)),
            None => Ok(()),
        }
    }
}

static STATE: Mutex<State> = Mutex::new(State { received: None, jobs: Vec::new() });

/// `timeout` and some shells send a signal twice at once; a person who presses Ctrl-C again takes longer.
const SECOND_THOUGHT: Duration = Duration::from_secs(1);

fn lock() -> MutexGuard<'static, State> {
    STATE.lock().unwrap_or_else(PoisonError::into_inner)
}

fn forward(signal: Signal) {
    let mut state = lock();
    let sent = match state.received {
        // A hang-up means something else to daemons, and SIGQUIT a core file.
        None if signal == Signal::SIGINT => Signal::SIGINT,
        None => Signal::SIGTERM,
        Some((_, first)) if first.elapsed() < SECOND_THOUGHT => return,
        Some(_) => Signal::SIGKILL,
    };
    state.received.get_or_insert((signal, Instant::now()));
    for (job, stop) in &state.jobs {
        // It fails only for a job that has just ended.
        let _ = match stop {
            Stop::Group => killpg(*job, sent),
            Stop::AptGet => kill(*job, Signal::SIGINT),
        };
    }
}

/// Whether xtask was started by `nohup`, and is meant to outlive its terminal.
fn hangup_ignored() -> bool {
    fs::read_to_string("/proc/self/status").is_ok_and(|status| ignores_hangup(&status))
}

fn ignores_hangup(status: &str) -> bool {
    status
        .lines()
        .find_map(|line| line.strip_prefix("SigIgn:"))
        .and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok())
        .is_some_and(|mask| mask & 1 << (SIGHUP - 1) != 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_ignored_hangup_is_the_first_bit_of_the_mask() {
        assert!(ignores_hangup("Name:\tx\nSigIgn:\t0000000000000001\n"));
        assert!(!ignores_hangup("Name:\tx\nSigIgn:\t0000000000001000\n"));
        assert!(!ignores_hangup("Name:\tx\n"));
    }
}

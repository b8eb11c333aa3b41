//! A debugger's view of a process: breakpoints at addresses, and the registers when one is hit (x86-64).

use std::collections::HashMap;
use std::ffi::c_void;

use anyhow::{Context, Result, bail};
use nix::libc::user_regs_struct;
use nix::sys::ptrace::{self, Options};
use nix::sys::signal::{self, Signal};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::Pid;

const INT3: u8 = 0xcc;

/// A process of one thread under the debugger. Dropping it lets it go. Only the thread that made it may use it.
#[derive(Debug)]
pub struct Debugged {
    pid: Pid,
    /// The first byte of each breakpoint's instruction.
    replaced: HashMap<u64, u8>,
}

/// A breakpoint that was hit; the instruction there has not run yet.
#[derive(Debug, Clone, Copy)]
pub struct Hit {
    /// Where.
    pub address: u64,
    /// With what.
    pub registers: user_regs_struct,
}

impl Debugged {
    /// Stops a running process.
    pub fn attach(pid: u32) -> Result<Self> {
        let pid = Pid::from_raw(pid.cast_signed());
        ptrace::seize(pid, Options::empty()).context("debug the gateway; the tests need root")?;
        ptrace::interrupt(pid)?;
        waitpid(pid, Some(WaitPidFlag::__WALL))?;
        Ok(Self { pid, replaced: HashMap::new() })
    }

    /// Puts a breakpoint at an address, if there is none.
    pub fn break_at(&mut self, address: u64) -> Result<()> {
        if !self.replaced.contains_key(&address) {
            let replaced = self.swap(address, INT3)?;
            self.replaced.insert(address, replaced);
        }
        Ok(())
    }

    /// The word at an address.
    pub fn word(&self, address: u64) -> Result<u64> {
        Ok(ptrace::read(self.pid, address as *mut c_void)?.cast_unsigned())
    }

    /// Lets the stopped process run.
    pub fn go_on(&self) -> Result<()> {
        Ok(ptrace::cont(self.pid, None)?)
    }

    /// Waits until it stops: at a breakpoint, or for a signal, which is passed on.
    pub fn hit(&self) -> Result<Option<Hit>> {
        match waitpid(self.pid, Some(WaitPidFlag::__WALL))? {
            WaitStatus::Stopped(_, Signal::SIGTRAP) => {
                let registers = ptrace::getregs(self.pid)?;
                Ok(Some(Hit { address: registers.rip - 1, registers }))
            }
            WaitStatus::Stopped(_, signal) => {
                ptrace::cont(self.pid, signal)?;
                Ok(None)
            }
            WaitStatus::PtraceEvent(..) => {
                ptrace::cont(self.pid, None)?;
                Ok(None)
            }
            other => bail!("the gateway's worker: {other:?}"),
        }
    }

    /// Lets the stopped process run to the end of its next such system calls, one after the other, and kills it there.
    pub fn kill_behind(&mut self, system_calls: &[i64]) -> Result<()> {
        ptrace::setoptions(self.pid, Options::PTRACE_O_TRACESYSGOOD)?;
        let mut awaited = system_calls.iter().copied().peekable();
        let mut is_within = false;
        loop {
            ptrace::syscall(self.pid, None)?;
            match waitpid(self.pid, Some(WaitPidFlag::__WALL))? {
                WaitStatus::PtraceSyscall(_) => is_within = !is_within,
                WaitStatus::Stopped(..) => continue,
                other => bail!("the gateway's worker: {other:?}"),
            }
            if !is_within {
                awaited.next_if_eq(&ptrace::getregs(self.pid)?.orig_rax.cast_signed());
            }
            if awaited.peek().is_none() {
                signal::kill(self.pid, Signal::SIGKILL)?;
                waitpid(self.pid, Some(WaitPidFlag::__WALL))?;
                return Ok(());
            }
        }
    }

    /// Runs the instruction of the breakpoint that was hit, and goes on.
    pub fn pass(&mut self, hit: &Hit) -> Result<()> {
        let replaced = *self.replaced.get(&hit.address).context("a breakpoint that nobody has put there")?;
        self.swap(hit.address, replaced)?;
        let mut registers = hit.registers;
        registers.rip = hit.address;
        ptrace::setregs(self.pid, registers)?;
        ptrace::step(self.pid, None)?;
        waitpid(self.pid, Some(WaitPidFlag::__WALL))?;
        self.swap(hit.address, INT3)?;
        self.go_on()
    }

    /// Writes a byte and gives the one that was there.
    fn swap(&self, address: u64, byte: u8) -> Result<u8> {
        let word = self.word(address)?;
        let [before, rest @ ..] = word.to_le_bytes();
        let mut bytes = [byte; 8];
        bytes[1..].copy_from_slice(&rest);
        ptrace::write(self.pid, address as *mut c_void, i64::from_le_bytes(bytes))?;
        Ok(before)
    }

    fn let_go(&mut self) -> Result<()> {
        match ptrace::interrupt(self.pid) {
            // It was killed.
            Err(nix::errno::Errno::ESRCH) => return Ok(()),
            interrupted => interrupted?,
        }
        let stopped = waitpid(self.pid, Some(WaitPidFlag::__WALL))?;
        if let WaitStatus::Stopped(_, Signal::SIGTRAP) = stopped {
            // It had reached a breakpoint before it was interrupted.
            let mut registers = ptrace::getregs(self.pid)?;
            if self.replaced.contains_key(&(registers.rip - 1)) {
                registers.rip -= 1;
                ptrace::setregs(self.pid, registers)?;
            }
        }
        for (&address, &byte) in &self.replaced {
            self.swap(address, byte)?;
        }
        Ok(ptrace::detach(self.pid, None)?)
    }
}

impl Drop for Debugged {
    fn drop(&mut self) {
        if let Err(error) = self.let_go() {
            eprintln!("the debugger: {error:#}");
        }
    }
}

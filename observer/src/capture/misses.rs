//! Runs of the programs that the kernel left out: a program does not run within itself, as for an interrupt's packet
//! (`bpf_prog_inc_misses_counter`). For changes of sockets' states a second program steps in.

use std::fs::File;
use std::os::fd::{AsFd, AsRawFd};
use std::os::unix::fs::FileExt;

use anyhow::{Context, Result};
use aya::Ebpf;
use aya::maps::{MapData, PerCpuArray};
use observer_ebpf::tables::runs;

/// The program that steps in. Where it is left out itself, the first one ran.
const SECOND: &str = "inet_sock_set_state_within";

const FIELD: &str = "recursion_misses:";

/// What the kernel tells of each program. The files are opened as long as that is allowed.
pub struct Misses {
    programs: Vec<File>,
    state_runs: PerCpuArray<MapData, u64>,
    told: u64,
}

impl Misses {
    /// Of the programs that are loaded.
    pub fn of(programs: &mut Ebpf) -> Result<Self> {
        let runs = programs.take_map("STATE_RUNS").context("the kernel object lacks the table STATE_RUNS")?;
        let loaded = programs.programs().filter(|(name, _)| *name != SECOND);
        let loaded = loaded.filter_map(|(_, program)| program.fd().ok());
        let open = |descriptor: i32| {
            let path = format!("/proc/self/fdinfo/{descriptor}");
            File::open(&path).with_context(|| format!("cannot open {path}: is /proc mounted?"))
        };
        let programs = loaded.map(|program| open(program.as_fd().as_raw_fd())).collect::<Result<_>>()?;
        Ok(Misses { programs, state_runs: PerCpuArray::try_from(runs)?, told: 0 })
    }

    /// How many there were since the last call.
    pub fn since_last(&mut self) -> u64 {
        let missed: u64 = self.programs.iter().map(missed).sum();
        // Read behind them: a change that comes between the two is told of by the next call, if it is missed.
        let now = missed.saturating_sub(self.taken_over()).max(self.told);
        now - std::mem::replace(&mut self.told, now)
    }

    fn taken_over(&self) -> u64 {
        self.state_runs.get(&runs::TAKEN_OVER, 0).map_or(0, |counts| counts.iter().sum())
    }
}

fn missed(program: &File) -> u64 {
    let mut text = [0; 1024];
    let length = program.read_at(&mut text, 0).unwrap_or(0);
    parse(&String::from_utf8_lossy(&text[..length]))
}

/// Kernels before 5.12 do not tell.
fn parse(text: &str) -> u64 {
    let told = text.lines().find_map(|line| line.strip_prefix(FIELD));
    told.and_then(|number| number.trim().parse().ok()).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_programs_misses_are_among_what_the_kernel_tells_of_it() {
        let text =
            "pos:\t0\nflags:\t02000002\nprog_type:\t26\nrun_cnt:\t0\nrecursion_misses:\t12\nverified_insns:\t9\n";
        assert_eq!(parse(text), 12);
        assert_eq!(parse("pos:\t0\n"), 0);
    }
}

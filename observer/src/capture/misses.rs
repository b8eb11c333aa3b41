//! Runs of the programs that the kernel left out: a program does not run within itself, as for an interrupt's packet
//! (`bpf_prog_inc_misses_counter`).

use std::fs::File;
use std::os::fd::{AsFd, AsRawFd};
use std::os::unix::fs::FileExt;

use anyhow::{Context, Result};
use aya::Ebpf;

const FIELD: &str = "recursion_misses:";

/// What the kernel tells of each program. The files are opened as long as that is allowed.
pub struct Misses {
    programs: Vec<File>,
    told: u64,
}

impl Misses {
    /// Of the programs that are loaded.
    pub fn of(programs: &Ebpf) -> Result<Self> {
        let loaded = programs.programs().filter_map(|(_, program)| program.fd().ok());
        let open = |descriptor: i32| {
            let path = format!("/proc/self/fdinfo/{descriptor}");
            File::open(&path).with_context(|| format!("cannot open {path}: is /proc mounted?"))
        };
        let programs = loaded.map(|program| open(program.as_fd().as_raw_fd())).collect::<Result<_>>()?;
        Ok(Misses { programs, told: 0 })
    }

    /// How many there were since the last call.
    pub fn since_last(&mut self) -> u64 {
        let now = self.programs.iter().map(missed).sum();
        now - std::mem::replace(&mut self.told, now).min(now)
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

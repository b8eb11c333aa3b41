//! bpf-linker: the project's own, installed into the target folder, or the person's.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};

use super::packages;
use crate::job::{self, answer};
use crate::project::{Project, find_program, quiet_unless_terminal};
use crate::step;

/// Finds the linker for a compiler with this LLVM, or for Debian's if there is none yet: the project's own; or the
/// person's, where that compiler is too new for our own, or the packages to build our own are missing.
pub fn find(project: &Project, llvm_major: Option<u32>) -> Option<PathBuf> {
    if llvm_major.is_some_and(|major| major > LLVM_MAJOR) {
        return of_the_person();
    }
    let own = project.tools().join("bin/bpf-linker");
    if version(&own).is_some_and(|version| version == VERSION) {
        return Some(own);
    }
    if packages::missing(packages::BPF_LINKER).is_ok_and(|missing| missing.is_empty()) {
        return None;
    }
    of_the_person()
}

/// The bpf-linker in `PATH`, if it is as new as the project's.
pub fn of_the_person() -> Option<PathBuf> {
    let linker = find_program("bpf-linker")?;
    let new_enough = minor(&version(&linker)?)? >= minor(VERSION)?;
    new_enough.then_some(linker)
}

/// Builds the project's own linker. Takes about 40 s.
pub fn install(project: &Project) -> Result<PathBuf> {
    let llvm = LLVM_MAJOR;
    step(&format!("bpf-linker {VERSION}: building it with LLVM {llvm} into {}", project.tools().display()));
    let build = project.tools().join("build");
    let mut cargo = project.cargo("install");
    quiet_unless_terminal(&mut cargo)
        .args(["bpf-linker", "--version", VERSION, "--locked", "--force"])
        .args(["--no-default-features", "--features"])
        .arg(format!("llvm-{llvm}"))
        .arg("--root")
        .arg(project.tools())
        .env("CARGO_TARGET_DIR", &build)
        .env("LLVM_PREFIX", format!("/usr/lib/llvm-{llvm}"));
    job::shown(&mut cargo, "`cargo install bpf-linker`")?;
    fs::remove_dir_all(&build).with_context(|| format!("cannot remove {}", build.display()))?;
    Ok(project.tools().join("bin/bpf-linker"))
}

/// The LLVM that the project's own is built with. It reads what compilers up to this LLVM write.
pub const LLVM_MAJOR: u32 = 22;

const VERSION: &str = "0.13.0";

/// Asks the program itself: one whose LLVM library has gone does not answer.
fn version(linker: &Path) -> Option<String> {
    let answer = answer(Command::new(linker).arg("--version"))?;
    Some(answer.strip_prefix("bpf-linker ")?.trim().to_owned())
}

fn minor(version: &str) -> Option<(u32, u32)> {
    let mut numbers = version.split('.').map(|number| number.parse().ok());
    Some((numbers.next()??, numbers.next()??))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn linkers_compare_by_number_not_by_letter() {
        assert!(minor("0.13.0") > minor("0.9.15"));
        assert!(minor("1.0.0-rc1") > minor("0.13.0"));
        assert_eq!(minor("new"), None);
    }
}

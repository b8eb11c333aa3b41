//! Finds what building, the demo and the tests need, and sets up what is missing.

mod cargo_fuzz;
mod linker;
mod nginx_lua;
mod packages;
mod policy;
mod toolchain;

use std::path::PathBuf;
use std::time::Instant;

use anyhow::{Context, Result};

pub use self::cargo_fuzz::on_nightly;
pub use self::nginx_lua::NginxLua;
use self::packages::Package;
pub use self::toolchain::Toolchain;
use crate::project::Project;
use crate::step;

/// What is to be set up for. Each includes building.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// Building the kernel part and the agent.
    Build,
    /// A gateway to look at.
    Demo,
    /// The benchmarks.
    Bench,
    /// The end-to-end tests, and lints for the kernel part.
    Test,
}

/// What the kernel part is built with.
pub struct Ready {
    /// The compiler, with a core for BPF.
    pub toolchain: Toolchain,
    /// The file of bpf-linker.
    pub linker: PathBuf,
}

/// Sets up what is missing.
pub fn prepare(project: &Project, purpose: Purpose) -> Result<Ready> {
    let start = Instant::now();
    policy::recover()?;
    let toolchain = Toolchain::detect();
    let linker = linker::find(project, toolchain.as_ref().map(Toolchain::llvm_major));
    let missing = packages::missing(&wanted(purpose, toolchain.as_ref(), linker.is_some()))?;
    if missing.is_empty() && toolchain.is_some() && linker.is_some() {
        let elapsed = start.elapsed().as_secs_f64();
        step(&format!("set-up: everything is there ({elapsed:.1} s)"));
    }

    packages::install(&missing)?;
    let toolchain = toolchain
        .or_else(Toolchain::detect)
        .with_context(|| format!("no compiler for BPF, though its packages are installed: {}", packages::ELSEWHERE))?;
    let linker = match linker {
        Some(linker) => linker,
        None => linker::install(project)?,
    };
    Ok(Ready { toolchain, linker })
}

/// Installs what measuring an agent needs that was built elsewhere.
pub fn prepare_bench_only() -> Result<()> {
    policy::recover()?;
    packages::install(&packages::missing(packages::BENCH)?)
}

/// Installs what fuzzing needs, and gives a cargo-fuzz where there is a nightly compiler for it.
pub fn prepare_fuzz(project: &Project) -> Result<Option<PathBuf>> {
    policy::recover()?;
    packages::install(&packages::missing(packages::FUZZ)?)?;
    cargo_fuzz::prepare(project)
}

fn wanted(purpose: Purpose, toolchain: Option<&Toolchain>, has_linker: bool) -> Vec<Package> {
    let mut wanted = match purpose {
        Purpose::Build => Vec::new(),
        Purpose::Demo => packages::DEMO.to_vec(),
        Purpose::Bench => packages::BENCH.to_vec(),
        Purpose::Test => packages::TEST.to_vec(),
    };
    if toolchain.is_none() {
        wanted.extend(packages::BPF_CORE);
    }
    if purpose == Purpose::Test && toolchain.is_none_or(Toolchain::is_debian) {
        wanted.extend(packages::BPF_LINTS);
    }
    if !has_linker {
        wanted.extend(packages::BPF_LINKER);
    }
    wanted
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fresh_host_needs_compiler_and_linker_for_every_purpose() {
        for purpose in [Purpose::Build, Purpose::Demo, Purpose::Bench, Purpose::Test] {
            let names = packages::names(&wanted(purpose, None, false));
            assert!(names.contains(&"libstd-rust-web-dev-bpf"), "{purpose:?}");
            assert!(names.contains(&"llvm-22-dev"), "{purpose:?}");
        }
    }

    #[test]
    fn a_host_that_has_both_needs_what_the_purpose_uses() {
        let nightly = Toolchain::example_nightly();
        let names = |purpose| packages::names(&wanted(purpose, Some(&nightly), true));
        assert!(names(Purpose::Build).is_empty());
        assert_eq!(names(Purpose::Demo), ["nginx"]);
        assert!(!names(Purpose::Test).contains(&"rust-web-clippy"));
    }
}

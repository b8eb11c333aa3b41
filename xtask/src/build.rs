//! `cargo xtask build`: the agent in release, the kernel object inside.

use std::process::ExitCode;

use anyhow::Result;

use crate::job;
use crate::project::{Project, quiet_unless_terminal};
use crate::setup::{self, Purpose, Ready};
use crate::step;

/// Sets up and builds both parts.
pub fn build(project: &Project) -> Result<ExitCode> {
    let ready = setup::prepare(project, Purpose::Build)?;
    kernel_part(project, &ready)?;
    agent(project)?;
    step(&format!("built {}", project.agent().display()));
    Ok(ExitCode::SUCCESS)
}

/// Builds the kernel part, which every build of the agent embeds.
pub fn kernel_part(project: &Project, ready: &Ready) -> Result<()> {
    let toolchain = &ready.toolchain;
    step(&format!("kernel part: building with {}", toolchain.describe()));
    let mut cargo = toolchain.cargo(project, &ready.linker, "build");
    quiet_unless_terminal(&mut cargo).args(["--bin", "observer-kernel"]);
    job::shown(&mut cargo, "building the kernel part")
}

/// Builds the agent in release.
pub fn agent(project: &Project) -> Result<()> {
    step("agent: building in release");
    let mut cargo = project.cargo("build");
    quiet_unless_terminal(&mut cargo).args(["--locked", "--release", "--package", "observer"]);
    job::shown(&mut cargo, "building the agent")
}

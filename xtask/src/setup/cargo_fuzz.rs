//! cargo-fuzz: the project's own, installed into the target folder, or the person's. It needs a nightly compiler.

use std::ffi::OsStr;
use std::fs;
use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context, Result};

use crate::job::{self, answer};
use crate::project::{Project, find_program, quiet_unless_terminal};
use crate::step;

/// Finds cargo-fuzz, or builds the project's own. None without a nightly compiler.
pub fn prepare(project: &Project) -> Result<Option<PathBuf>> {
    if answer(on_nightly("rustc").arg("--version")).is_none() {
        return Ok(None);
    }
    let own = project.tools().join("bin/cargo-fuzz");
    if own.is_file() {
        return Ok(Some(own));
    }
    match find_program("cargo-fuzz") {
        Some(found) => Ok(Some(found)),
        None => install(project).map(|()| Some(own)),
    }
}

/// A program of rustup's nightly, or one that calls its cargo.
pub fn on_nightly(program: impl AsRef<OsStr>) -> Command {
    let mut command = Command::new("rustup");
    // `cargo xtask` runs in the environment of another cargo.
    command.args(["run", "nightly"]).arg(program).env_remove("CARGO");
    command
}

fn install(project: &Project) -> Result<()> {
    step(&format!("cargo-fuzz {VERSION}: building it into {}", project.tools().display()));
    let build = project.tools().join("build");
    let mut cargo = project.cargo("install");
    quiet_unless_terminal(&mut cargo)
        .args(["cargo-fuzz", "--version", VERSION, "--locked", "--force", "--root"])
        .arg(project.tools())
        .env("CARGO_TARGET_DIR", &build);
    job::shown(&mut cargo, "`cargo install cargo-fuzz`")?;
    fs::remove_dir_all(&build).with_context(|| format!("cannot remove {}", build.display()))
}

const VERSION: &str = "0.13.2";

//! `cargo xtask dist`: a tarball and a Debian package of the agent, its pages, its unit and what is deployed beside it.

mod debian;
mod tree;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

use anyhow::{Context, Result};

use crate::project::{Project, quiet_unless_terminal};
use crate::setup::{self, Purpose};
use crate::{build, job, say, step};
use tree::Tree;

/// Options of `cargo xtask dist`.
#[derive(clap::Args)]
pub struct Args {
    /// Where to put the packages [default: target/dist]
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
    /// Package this agent instead of building one
    #[arg(long, value_name = "FILE")]
    agent: Option<PathBuf>,
}

/// What goes into the packages.
struct Parts {
    agent: PathBuf,
    /// Man pages, one a subcommand.
    man: PathBuf,
    /// Completions for three shells.
    completions: PathBuf,
    /// The workspace's root: unit, configuration, documentation.
    root: PathBuf,
}

/// Builds both and prints where they are.
pub fn dist(project: &Project, args: &Args) -> Result<ExitCode> {
    let agent = match &args.agent {
        Some(agent) => fs::canonicalize(agent)
            .with_context(|| format!("no agent at {}: `cargo xtask build` makes one", agent.display()))?,
        None => {
            let ready = setup::prepare(project, Purpose::Build)?;
            build::kernel_part(project, &ready)?;
            build::agent(project)?;
            project.agent()
        }
    };
    let out = args.out.clone().unwrap_or_else(|| project.target.join("dist"));
    fs::create_dir_all(&out).with_context(|| format!("cannot make {}; choose another by --out", out.display()))?;
    let work = tempfile::tempdir_in(&out).context("cannot make a folder for the parts")?;
    let within = |name: &str| work.path().join(name);
    let parts = Parts { agent, man: within("man"), completions: within("completions"), root: project.root.clone() };
    let is_optimised = args.agent.is_none();
    step("man pages and completions: writing");
    reference(project, is_optimised, "man", &parts.man)?;
    reference(project, is_optimised, "completions", &parts.completions)?;

    step("packages: building");
    let tarball = tarball(&parts, work.path(), &out)?;
    let package = debian::package(&parts, &within("debian"), &out)?;
    for made in [tarball, package] {
        say(&made.display().to_string());
    }
    Ok(ExitCode::SUCCESS)
}

/// The workspace's version.
const VERSION: &str = env!("CARGO_PKG_VERSION");

/// In the profile in which the agent is built already.
fn reference(project: &Project, is_optimised: bool, what: &str, folder: &Path) -> Result<()> {
    let mut cargo = project.cargo("run");
    quiet_unless_terminal(&mut cargo).args(["--locked", "--package", "observer-reference"]);
    if is_optimised {
        cargo.arg("--release");
    }
    job::shown(cargo.args(["--", what]).arg(folder), "writing man pages and completions")
}

/// Everything in one folder, to be unpacked anywhere.
fn tarball(parts: &Parts, work: &Path, out: &Path) -> Result<PathBuf> {
    let name = format!("observer-{VERSION}-{}-linux", std::env::consts::ARCH);
    let tree = Tree::new(&work.join("tarball").join(&name))?;
    tree.program(&parts.agent, "observer")?;
    tree.file(&parts.root.join("README.md"), "README.md")?;
    for folder in ["docs", "deploy"] {
        tree.folder(&parts.root.join(folder), folder)?;
    }
    tree.folder(&parts.man, "man")?;
    tree.folder(&parts.completions, "completions")?;
    let file = out.join(format!("{name}.tar.gz"));
    let mut tar = Command::new("tar");
    tar.args(["--create", "--gzip", "--sort=name", "--owner=0", "--group=0", "--numeric-owner", "--file"]).arg(&file);
    tar.arg("--directory").arg(work.join("tarball")).arg(&name);
    job::shown(&mut tar, "`tar`")?;
    Ok(file)
}

//! `cargo xtask test`: everything that must hold before a change is merged.

use std::process::{Command, ExitCode};

use anyhow::{Context, Result, bail};
use nix::unistd::Uid;

use crate::project::{Project, quiet_unless_terminal};
use crate::setup::{self, NginxLua, Purpose, Ready};
use crate::signals::Interrupted;
use crate::tally::Tally;
use crate::{build, instructions, job, say, step};

/// Runs all checks, also after one has failed. `long`: the gateway runs at full speed for a minute. The last line printed is `N passed, N failed`, over all tests.
pub fn test(project: &Project, long: bool) -> Result<ExitCode> {
    let ready = setup::prepare(project, Purpose::Test)?;
    build::kernel_part(project, &ready)?;

    let mut checks = Checks::default();
    checks.run("formatting", |_| formatting(project))?;
    checks.run("lints", |_| lints(project))?;
    checks.run("lints of the kernel part", |_| kernel_lints(project, &ready))?;
    checks.run("unit tests", |tally| unit_tests(project, tally))?;
    checks.run("instructions of a replay", |_| {
        build::agent(project)?;
        instructions::check(project)
    })?;
    checks.run("end-to-end tests", |tally| end_to_end(project, long, tally))?;

    if !checks.failed.is_empty() {
        step(&format!("failed: {}", checks.failed.join(", ")));
    }
    say(&checks.tally.to_string());
    Ok(match checks.failed.as_slice() {
        [] => ExitCode::SUCCESS,
        _ => ExitCode::FAILURE,
    })
}

#[derive(Default)]
struct Checks {
    tally: Tally,
    failed: Vec<&'static str>,
}

impl Checks {
    /// Notes a failure and goes on; only a signal ends the whole.
    fn run(&mut self, name: &'static str, check: impl FnOnce(&mut Tally) -> Result<()>) -> Result<()> {
        step(name);
        let Err(error) = check(&mut self.tally) else {
            return Ok(());
        };
        if error.is::<Interrupted>() {
            return Err(error);
        }
        eprintln!("error: {name}: {error:#}");
        self.failed.push(name);
        Ok(())
    }
}

fn formatting(project: &Project) -> Result<()> {
    require_component(project, "rustfmt", "fmt")?;
    let mut cargo = project.cargo("fmt");
    job::shown(cargo.args(["--all", "--check"]), "`cargo fmt --all --check` (to put it right: `cargo fmt --all`)")
}

fn lints(project: &Project) -> Result<()> {
    require_component(project, "clippy", "clippy")?;
    let mut cargo = project.cargo("clippy");
    quiet_unless_terminal(&mut cargo)
        .args(["--locked", "--workspace", "--all-targets"])
        .args(["--", "--deny", "warnings"]);
    job::shown(&mut cargo, "`cargo clippy`")
}

/// Clippy for the BPF target; where the compiler came without clippy, the compiler's own lints.
fn kernel_lints(project: &Project, ready: &Ready) -> Result<()> {
    let Ready { toolchain, linker } = ready;
    let mut cargo = toolchain.clippy(project, linker).unwrap_or_else(|| {
        step("lints of the kernel part: without clippy, which this nightly lacks");
        let mut rustc = toolchain.cargo(project, linker, "rustc");
        rustc.args(["--bin", "observer-kernel"]);
        rustc
    });
    quiet_unless_terminal(&mut cargo).args(["--", "--deny", "warnings"]);
    job::shown(&mut cargo, "checking the kernel part")
}

fn unit_tests(project: &Project, tally: &mut Tally) -> Result<()> {
    let tests = || {
        let mut cargo = project.cargo("test");
        cargo.arg("--locked");
        cargo
    };
    build_then_count(tests, &[], tally)
}

/// The tests themselves are built without optimisation: what they measure is the agent.
fn end_to_end(project: &Project, long: bool, tally: &mut Tally) -> Result<()> {
    build::agent(project)?;
    if !Uid::effective().is_root() {
        bail!("they need root: run `sudo -E env \"PATH=$PATH\" cargo xtask test`");
    }
    let lua = NginxLua::prepare(&project.tools())?;
    let tests = || {
        let mut cargo = project.cargo("test");
        cargo.args(["--locked", "--package", "observer-tests"]).env("OBSERVER_BIN", project.agent());
        if long {
            cargo.env("OBSERVER_TESTS_SATURATION_SECONDS", "60");
        }
        cargo.env("OBSERVER_TEST_NGINX_LUA", lua.root());
        cargo
    };
    // They compare latencies with the gateway's own: one gateway at a time.
    build_then_count(tests, &["--", "--test-threads=1"], tally)
}

/// Builds apart from running: `cargo test --quiet` would not name the tests.
fn build_then_count(tests: impl Fn() -> Command, args: &[&str], tally: &mut Tally) -> Result<()> {
    let mut build = tests();
    quiet_unless_terminal(&mut build).arg("--no-run");
    job::shown(&mut build, "building the tests")?;
    let mut run = tests();
    let status = job::lines(run.arg("--no-fail-fast").args(args), |line| {
        say(line);
        tally.add_line(line);
    })?;
    if !status.success() {
        bail!("`cargo test` failed; its messages are above");
    }
    Ok(())
}

fn require_component(project: &Project, component: &str, subcommand: &str) -> Result<()> {
    job::answer(project.cargo(subcommand).arg("--version"))
        .map(drop)
        .with_context(|| format!("not installed: run `rustup component add {component}`"))
}

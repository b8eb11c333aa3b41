//! `cargo xtask fuzz`: libFuzzer on each target for a while. A failing input is kept as a unit test's.
//!
//! With a nightly compiler cargo-fuzz builds the programs, with the address sanitizer. Without one the stable compiler
//! builds the same programs, instrumented likewise, but without a sanitizer.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};

use anyhow::{Context, Result, bail};

use crate::job::{self, Job};
use crate::project::{Project, quiet_unless_terminal};
use crate::signals::{self, Stop};
use crate::{say, setup, step};

const TARGETS: [&str; 4] = ["decoder", "http1", "records", "pipeline"];

/// Options of `cargo xtask fuzz`.
#[derive(clap::Args)]
pub struct Args {
    /// How long each target runs
    #[arg(long, value_name = "N", default_value_t = 60, value_parser = clap::value_parser!(u32).range(1..))]
    seconds: u32,
    /// Run only these [default: all]
    #[arg(value_name = "TARGET", value_parser = TARGETS)]
    targets: Vec<String>,
}

/// Runs the targets one after the other, also after one has failed.
pub fn fuzz(project: &Project, args: &Args) -> Result<ExitCode> {
    let harness = Harness::build(project)?;
    harness.write_seeds()?;
    let targets = if args.targets.is_empty() { TARGETS.map(str::to_owned).to_vec() } else { args.targets.clone() };
    let mut failed = Vec::new();
    for target in &targets {
        step(&format!("{target}: {} s", args.seconds));
        if !harness.run(target, args.seconds)? {
            failed.push(target.as_str());
        }
    }
    if failed.is_empty() {
        step("nothing found");
        return Ok(ExitCode::SUCCESS);
    }
    step(&format!(
        "failed: {}; the inputs are in {}, and `cargo test -p observer-fuzz` replays them",
        failed.join(", "),
        harness.crashers("").display()
    ));
    Ok(ExitCode::FAILURE)
}

/// Where the programs are, and how they were built.
struct Harness<'a> {
    project: &'a Project,
    /// The folder of the programs.
    programs: PathBuf,
}

impl<'a> Harness<'a> {
    fn build(project: &'a Project) -> Result<Self> {
        let host = host()?;
        let build = project.target.join("fuzz");
        let (mut command, target_dir) = match setup::prepare_fuzz(project)? {
            Some(cargo_fuzz) => {
                step("fuzzing: building with cargo-fuzz and the nightly compiler");
                (nightly_build(project, &cargo_fuzz), build.join("nightly"))
            }
            None => {
                step(
                    "fuzzing: cargo-fuzz needs a nightly compiler and there is none (`rustup toolchain install \
                     nightly`): building the same programs with the stable one, without a sanitizer",
                );
                (stable_build(project, &host), build.join("stable"))
            }
        };
        // An agent without its kernel part: it is not run here.
        command.arg("--target-dir").arg(&target_dir).env("OBSERVER_KERNEL_OBJECT", "");
        job::shown(&mut command, "building the fuzz targets")?;
        Ok(Harness { project, programs: target_dir.join(host).join("release") })
    }

    /// libFuzzer adds to the corpus what reaches new code, so that the next run goes on from there.
    fn corpus(&self, target: &str) -> PathBuf {
        self.project.target.join("fuzz/corpus").join(target)
    }

    fn crashers(&self, target: &str) -> PathBuf {
        self.project.root.join("tests/fuzz/crashers").join(target)
    }

    fn write_seeds(&self) -> Result<()> {
        let mut cargo = self.project.cargo("run");
        if !self.project.kernel_object().is_file() {
            cargo.env("OBSERVER_KERNEL_OBJECT", "");
        }
        quiet_unless_terminal(&mut cargo).args(["--locked", "--package", "observer-fuzz", "--"]).arg(self.corpus(""));
        job::shown(&mut cargo, "writing the seeds")
    }

    /// Returns whether the target held.
    fn run(&self, target: &str, seconds: u32) -> Result<bool> {
        let crashers = self.crashers(target);
        fs::create_dir_all(&crashers).with_context(|| format!("cannot make {}", crashers.display()))?;
        let log = self.project.target.join("fuzz").join(format!("{target}.log"));
        let file = File::create(&log).with_context(|| format!("cannot write {}", log.display()))?;
        let mut command = Command::new(self.programs.join(target));
        command
            .arg(format!("-max_total_time={seconds}"))
            .arg(format!("-artifact_prefix={}/", crashers.display()))
            .args(["-max_len=4096", "-timeout=20", "-report_slow_units=20", "-print_final_stats=1"])
            .arg(self.corpus(target))
            .stdin(Stdio::null())
            .stdout(file.try_clone()?)
            .stderr(file);
        let status = Job::start(&mut command, Stop::Group)?.wait()?;
        signals::check()?;
        // Fails where an input is kept.
        let _ = fs::remove_dir(&crashers);
        let text = String::from_utf8_lossy(&fs::read(&log)?).into_owned();
        if !status.success() {
            text.lines().filter(|line| is_worth_showing(line)).for_each(say);
        }
        say(&format!("{}; all of its output: {}", summary(&text), log.display()));
        Ok(status.success())
    }
}

fn nightly_build(project: &Project, cargo_fuzz: &Path) -> Command {
    let mut command = setup::on_nightly(cargo_fuzz);
    command.arg("build").arg("--fuzz-dir").arg(project.root.join(PACKAGE)).current_dir(&project.root);
    command
}

fn stable_build(project: &Project, host: &str) -> Command {
    let mut command = project.cargo("build");
    // Flags are for the host's programs only where the target is named: build scripts go without.
    quiet_unless_terminal(&mut command)
        .args(["--release", "--target", host, "--manifest-path"])
        .arg(project.root.join(PACKAGE).join("Cargo.toml"))
        .env("RUSTFLAGS", INSTRUMENTED.join(" "))
        .env_remove("CARGO_ENCODED_RUSTFLAGS");
    command
}

/// The package of the programs, a workspace of its own.
const PACKAGE: &str = "tests/fuzz/libfuzzer";

/// What libFuzzer goes by: counters on every edge, and the operands of comparisons (clang's SanitizerCoverage).
const INSTRUMENTED: [&str; 7] = [
    "-Cpasses=sancov-module",
    "-Cllvm-args=-sanitizer-coverage-level=4",
    "-Cllvm-args=-sanitizer-coverage-inline-8bit-counters",
    "-Cllvm-args=-sanitizer-coverage-pc-table",
    "-Cllvm-args=-sanitizer-coverage-trace-compares",
    "--cfg",
    "fuzzing",
];

fn host() -> Result<String> {
    let version = job::answer(Command::new("rustc").arg("-vV")).context("no rustc in PATH; install Rust by rustup")?;
    match version.lines().find_map(|line| line.strip_prefix("host: ")) {
        Some(host) => Ok(host.to_owned()),
        None => bail!("`rustc -vV` names no host; install Rust by rustup"),
    }
}

/// All but libFuzzer's notes on its progress.
fn is_worth_showing(line: &str) -> bool {
    let is_note = line.starts_with(['#', '"']) || line.starts_with("INFO:") || line.starts_with("WARNING: Failed");
    !is_note && !line.starts_with("stat::")
}

/// What libFuzzer's own count says.
fn summary(log: &str) -> String {
    let runs = log
        .lines()
        .find_map(|line| line.strip_prefix("stat::number_of_executed_units:"))
        .unwrap_or("an unknown number of");
    let reached = log.lines().rev().find_map(|line| line.split_once(" cov: ")?.1.split(' ').next());
    format!("{} runs, {} edges reached", runs.trim(), reached.unwrap_or("no"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn runs_and_edges_are_read_from_the_log() {
        let log = "INFO: Seed: 1\n#2\tINITED cov: 12 ft: 3 corp: 1/1b\n#9\tDONE   cov: 352 ft: 1970 corp: 5/6b\n\
            Done 948403 runs in 21 second(s)\nstat::number_of_executed_units: 948403\n";
        assert_eq!(summary(log), "948403 runs, 352 edges reached");
        assert_eq!(summary(""), "an unknown number of runs, no edges reached");
    }

    #[test]
    fn a_panic_is_shown_and_progress_is_not() {
        let log = "#9\tNEW    cov: 1\nthread panicked at x\nINFO: y\nstat::z: 1\nSUMMARY: libFuzzer: deadly signal";
        let shown: Vec<&str> = log.lines().filter(|line| is_worth_showing(line)).collect();
        assert_eq!(shown, ["thread panicked at x", "SUMMARY: libFuzzer: deadly signal"]);
    }
}

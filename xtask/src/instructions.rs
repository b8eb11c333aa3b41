//! `cargo xtask instructions`: how many instructions the agent takes to replay the recordings in the repository.
//!
//! Times tell little on a busy machine; this number is the same every time, for one compiler. So a slowdown shows where no
//! benchmark could.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};

use anyhow::{Context, Result, bail, ensure};

use crate::project::{Project, find_program};
use crate::setup::{self, Purpose};
use crate::{build, job, say, step};

/// Options of `cargo xtask instructions`.
#[derive(clap::Args)]
pub struct Args {
    /// Keep the number as the one that this compiler's builds are compared with
    #[arg(long)]
    write: bool,
}

/// Beyond this share of the kept number, either way, the number has changed.
const TOLERANCE: f64 = 0.05;

/// A recording's header, and what stands behind its last event: observer/src/recording/file.rs.
const HEADER_BYTES: usize = 96;
const END: [u8; 4] = [0; 4];

const HEADING: &str = "# Instructions that `observer replay` takes on the recordings here, by the compiler that built it.\n\
    # Written by `cargo xtask instructions --write`, compared by `cargo xtask test`.\n";

/// Builds the agent, counts, and compares or keeps the number.
pub fn instructions(project: &Project, args: &Args) -> Result<ExitCode> {
    let ready = setup::prepare(project, Purpose::Test)?;
    build::kernel_part(project, &ready)?;
    build::agent(project)?;
    if !args.write {
        check(project)?;
        return Ok(ExitCode::SUCCESS);
    }
    let (compiler, count) = (compiler()?, count(project)?);
    let file = figures(project);
    let text = fs::read_to_string(&file).unwrap_or_default();
    fs::write(&file, with_figure(&text, &compiler, count))
        .with_context(|| format!("cannot write {}", file.display()))?;
    step(&format!("instructions: {count} is kept for {compiler} in {}", file.display()));
    Ok(ExitCode::SUCCESS)
}

/// Counts with the built agent. Error if the number is not the one that is kept for this compiler; with another compiler
/// it is only told.
pub fn check(project: &Project) -> Result<()> {
    let file = figures(project);
    let text = fs::read_to_string(&file).with_context(|| format!("cannot read {}", file.display()))?;
    let (compiler, count) = (compiler()?, count(project)?);
    say(&judge(figure(&text, &compiler)?, count, &compiler)?);
    Ok(())
}

/// What is to be said; an error if the number has changed.
fn judge(kept: Option<u64>, count: u64, compiler: &str) -> Result<String> {
    let Some(kept) = kept else {
        return Ok(format!(
            "instructions of `replay`: {count}; none are kept for {compiler} yet, `cargo xtask instructions --write` does"
        ));
    };
    let change = count as f64 / kept as f64 - 1.0;
    let told = format!("instructions of `replay`: {count}, {:+.1} % on the {kept} that are kept", change * 100.0);
    if change.abs() > TOLERANCE {
        let advice = if change > 0.0 { "find out by callgrind what costs more" } else { "well done" };
        bail!("{told}: {advice}; if it is to stay so, run `cargo xtask instructions --write`");
    }
    Ok(told)
}

fn recordings(project: &Project) -> PathBuf {
    project.root.join("observer/tests/recordings")
}

fn figures(project: &Project) -> PathBuf {
    recordings(project).join("instructions")
}

/// Compiler and processor: another one of either makes other instructions.
fn compiler() -> Result<String> {
    let version = job::answer(Command::new("rustc").arg("--version")).context("cannot run `rustc --version`")?;
    Ok(format!("{} {}", std::env::consts::ARCH, version.trim()))
}

/// Over all recordings, without what the agent takes to start.
fn count(project: &Project) -> Result<u64> {
    let valgrind = find_program("valgrind").context("no valgrind; install it, or run `cargo xtask test` as root")?;
    let folder = recordings(project);
    let list = fs::read_dir(&folder).with_context(|| format!("cannot list {}", folder.display()))?;
    let mut files = list.map(|entry| Ok(entry?.path())).collect::<Result<Vec<_>>>()?;
    files.retain(|file| file.extension().is_some_and(|extension| extension == "rec"));
    let first = files.first().with_context(|| format!("{} has no recordings", folder.display()))?;
    let recording = fs::read(first).with_context(|| format!("cannot read {}", first.display()))?;
    let empty = tempfile::NamedTempFile::new().context("cannot make a file in the temporary folder")?;
    let header = recording.get(..HEADER_BYTES).context("a recording has no header")?;
    fs::write(empty.path(), [header, &END].concat()).context("cannot write an empty recording")?;
    let replay = |file: &Path| replay(&valgrind, &project.agent(), file);
    let start = replay(empty.path())?;
    files.iter().map(|file| Ok(replay(file)?.saturating_sub(start))).sum()
}

fn replay(valgrind: &Path, agent: &Path, recording: &Path) -> Result<u64> {
    let mut command = Command::new(valgrind);
    command.args(["--tool=callgrind", "--callgrind-out-file=/dev/null"]).arg(agent).arg("replay").arg(recording);
    let output = command.stdin(Stdio::null()).output().context("cannot run valgrind")?;
    crate::signals::check()?;
    let messages = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "`observer replay` failed under valgrind: {messages}");
    collected(&messages).with_context(|| format!("valgrind tells no number of instructions: {messages}"))
}

/// `==7== Collected : 12345`.
fn collected(messages: &str) -> Option<u64> {
    messages.lines().find_map(|line| line.split_once("Collected :")?.1.trim().parse().ok())
}

/// The number that is kept for a compiler.
fn figure(text: &str, compiler: &str) -> Result<Option<u64>> {
    let Some(line) = text.lines().find(|line| line.ends_with(compiler)) else { return Ok(None) };
    let number = line.strip_suffix(compiler).unwrap_or_default().trim();
    let number = number.parse().with_context(|| format!("`{line}` is no number and a compiler"))?;
    Ok(Some(number))
}

fn with_figure(text: &str, compiler: &str, count: u64) -> String {
    let others = text.lines().filter(|line| !line.starts_with('#') && !line.ends_with(compiler));
    let mut lines: Vec<String> = others.map(str::to_owned).collect();
    lines.push(format!("{count} {compiler}"));
    lines.sort_by(|a, b| a.split_once(' ').map(|(_, a)| a).cmp(&b.split_once(' ').map(|(_, b)| b)));
    format!("{HEADING}{}\n", lines.join("\n"))
}

#[cfg(test)]
mod tests {
    use super::*;

    const OLD: &str = "x86_64 rustc 1.92.0 (ded5c06cf 2025-12-08)";
    const NEW: &str = "x86_64 rustc 1.95.0 (59807616e 2026-04-14)";

    #[test]
    fn each_compiler_has_a_number_of_its_own() {
        let text = with_figure(&with_figure("", NEW, 500), OLD, 700);
        assert!(text.starts_with(HEADING) && text.ends_with(&format!("700 {OLD}\n500 {NEW}\n")), "{text}");
        let text = with_figure(&text, OLD, 600);
        assert_eq!((figure(&text, OLD).unwrap(), figure(&text, NEW).unwrap()), (Some(600), Some(500)));
        assert_eq!(figure(&text, "x86_64 rustc 1.99.0").unwrap(), None);
        assert!(figure(&format!("many {NEW}"), NEW).unwrap_err().to_string().contains("many"));
    }

    #[test]
    fn one_in_twenty_more_or_less_is_a_change() {
        for count in [951, 1000, 1049] {
            assert!(judge(Some(1000), count, NEW).unwrap().contains(&count.to_string()));
        }
        for count in [940, 1060] {
            let error = judge(Some(1000), count, NEW).unwrap_err().to_string();
            assert!(error.contains("--write"), "{error}");
        }
    }

    #[test]
    fn a_compiler_without_a_number_is_told_how_to_keep_one() {
        let told = judge(None, 1000, NEW).unwrap();
        assert!(told.contains("1000") && told.contains(NEW) && told.contains("--write"), "{told}");
    }

    #[test]
    fn the_number_is_found_among_valgrinds_messages() {
        let messages = "==7== Events    : Ir\n==7== Collected : 9194846186\n==7== \n==7== I   refs:  9,194,846,186\n";
        assert_eq!(collected(messages), Some(9_194_846_186));
        assert_eq!(collected("==7== Command: ./observer\n"), None);
    }
}

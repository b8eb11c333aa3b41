//! `cargo xtask bench`: what observing costs, as a table with limits and verdicts, a file with every run, and a picture.

mod agent;
mod attribution;
mod bystander;
mod gateway_cpu;
mod json;
mod machine;
mod memory;
mod picture;
mod publish;
mod readings;
mod replay;
mod report;
mod row;
mod scale;
mod scrape;
mod stage;
mod start;
mod stats;
mod wrk;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Instant;

use anyhow::{Context, Result, bail};
use nix::unistd::Uid;
use tempfile::TempDir;

pub use self::bystander::bystander;
use self::machine::Machine;
use self::report::Part;
use self::row::{Family, Spec};
use crate::project::{Project, quiet_unless_terminal};
use crate::setup::{self, Purpose};
use crate::signals::Interrupted;
use crate::{build, job, say, step};

/// Options of `cargo xtask bench`.
#[derive(clap::Args)]
pub struct Args {
    /// Measure only this row; repeatable [default: all]
    #[arg(long = "row", value_name = "NAME")]
    rows: Vec<String>,
    /// How many pairs of runs, with and without; below 6 nothing is decided
    #[arg(long, value_name = "N", default_value_t = 15, value_parser = clap::value_parser!(u16).range(1..=200))]
    pairs: u16,
    /// Where to write every run; the picture goes beside it [default: bench.json in the target folder]
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Measure this agent in place of the project's own, as it is: to compare two builds
    #[arg(long, value_name = "FILE")]
    agent: Option<PathBuf>,
    /// Measure each stage of the agent by itself instead, with Criterion
    #[arg(long, conflicts_with_all = ["rows", "json", "agent", "publish"])]
    criterion: bool,
    /// Put the table into README.md and the picture into docs/bench.svg; all rows are measured
    #[arg(long, conflicts_with_all = ["rows", "agent"])]
    publish: bool,
}

/// What the families measure with.
pub struct Bench {
    /// The agent's program.
    pub agent: PathBuf,
    /// How many pairs.
    pub pairs: usize,
    /// Where the project keeps tools that it fetched.
    pub tools: PathBuf,
    folder: TempDir,
}

impl Bench {
    /// An empty folder for one stage.
    pub fn folder(&self, name: &str) -> Result<PathBuf> {
        let folder = self.folder.path().join(name);
        if folder.exists() {
            fs::remove_dir_all(&folder).with_context(|| format!("cannot empty {}", folder.display()))?;
        }
        fs::create_dir(&folder).with_context(|| format!("cannot make {}", folder.display()))?;
        Ok(folder)
    }
}

const FAMILIES: &[Family] = &[
    gateway_cpu::PLAIN,
    gateway_cpu::LUA,
    gateway_cpu::TLS,
    memory::MEMORY,
    start::START,
    scrape::SCRAPE,
    bystander::BYSTANDER,
    replay::REPLAY,
    attribution::ATTRIBUTION,
];

/// Sets up, builds and measures. Exit code 1 if a row could not be measured, whatever the verdicts.
pub fn bench(project: &Project, args: &Args) -> Result<ExitCode> {
    if args.criterion {
        return stages(project);
    }
    let families = families(&args.rows)?;
    if !Uid::effective().is_root() {
        bail!("the agent needs root: run `sudo -E env \"PATH=$PATH\" cargo xtask bench`");
    }
    let agent = agent(project, args)?;
    // Not in the temporary folder, which may be memory: the recording is large.
    fs::create_dir_all(&project.target).with_context(|| format!("cannot make {}", project.target.display()))?;
    let folder =
        TempDir::with_prefix_in("bench-", &project.target).context("cannot make a folder in the target folder")?;
    let bench = Bench { agent, pairs: args.pairs.into(), tools: project.tools(), folder };
    let machine = Machine::here(&bench.agent);
    step(&format!("bench: {}", machine.describe()));

    let start = Instant::now();
    let parts = families.into_iter().map(|family| measure(&bench, family)).collect::<Result<Vec<_>>>()?;
    let wanted = |spec: &Spec| args.rows.is_empty() || args.rows.iter().any(|row| row == spec.name);
    let table = report::table(&parts, wanted);
    say(&table);
    for note in parts.iter().filter_map(|part| part.findings.as_ref().ok()).flat_map(|findings| &findings.notes) {
        say(note);
    }
    let file = args.json.clone().unwrap_or_else(|| project.target.join("bench.json"));
    let json = report::json(&machine, bench.pairs, &parts, wanted);
    fs::write(&file, format!("{json}\n")).with_context(|| format!("cannot write {}", file.display()))?;
    let picture = draw(&parts, &machine, &file.with_extension("svg"))?;
    if args.publish {
        publish::publish(project, &machine.describe(), &table, picture.as_deref())?;
    }
    step(&format!("bench: {:.0} s; every run is in {}", start.elapsed().as_secs_f64(), file.display()));
    let failed = parts.iter().any(|part| part.findings.is_err());
    Ok(if failed { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

/// The families that have a wanted row, all of them without any.
fn families(rows: &[String]) -> Result<Vec<&'static Family>> {
    let names: Vec<&str> = FAMILIES.iter().flat_map(|family| family.rows).map(|row| row.name).collect();
    if let Some(unknown) = rows.iter().find(|row| !names.contains(&row.as_str())) {
        bail!("no row is called {unknown}; the rows are {}", names.join(", "));
    }
    let wanted = |family: &&Family| rows.is_empty() || family.rows.iter().any(|row| rows.iter().any(|r| r == row.name));
    Ok(FAMILIES.iter().filter(wanted).collect())
}

fn agent(project: &Project, args: &Args) -> Result<PathBuf> {
    if let Some(agent) = &args.agent {
        setup::prepare_bench_only()?;
        return agent.canonicalize().with_context(|| format!("no agent at {}", agent.display()));
    }
    let ready = setup::prepare(project, Purpose::Bench)?;
    build::kernel_part(project, &ready)?;
    build::agent(project)?;
    Ok(project.agent())
}

/// Only a signal ends the whole.
fn measure(bench: &Bench, family: &'static Family) -> Result<Part> {
    let names: Vec<&str> = family.rows.iter().map(|row| row.name).collect();
    step(&format!("bench: {}", names.join(", ")));
    let (start, before) = (Instant::now(), readings::load_average());
    let findings = match (family.measure)(bench) {
        Err(error) if error.is::<Interrupted>() => return Err(error),
        findings => findings.map_err(|error| format!("{error:#}")),
    };
    if let Err(why) = &findings {
        crate::signals::check()?;
        eprintln!("error: {}: {why}", family.name);
    }
    let seconds = start.elapsed().as_secs_f64();
    step(&format!("bench: {} took {seconds:.0} s", family.name));
    Ok(Part { family, findings, seconds, load: [before, readings::load_average()] })
}

/// Each stage of the agent by itself: observer/benches/stages.
fn stages(project: &Project) -> Result<ExitCode> {
    let mut cargo = project.cargo("bench");
    quiet_unless_terminal(&mut cargo).args(["--locked", "--package", "observer", "--bench", "stages"]);
    job::shown(&mut cargo, "`cargo bench`")?;
    Ok(ExitCode::SUCCESS)
}

/// Returns the picture, if there is anything to show.
fn draw(parts: &[Part], machine: &Machine, file: &Path) -> Result<Option<String>> {
    let stages = parts.iter().filter_map(|part| part.findings.as_ref().ok()).flat_map(|f| f.stages.clone());
    let picture = picture::stages(
        "CPU per request by stage, nginx at full speed",
        &machine.describe(),
        &stages.collect::<Vec<_>>(),
    );
    let Some(picture) = picture else { return Ok(None) };
    fs::write(file, &picture).with_context(|| format!("cannot write {}", file.display()))?;
    step(&format!("bench: the picture is {}", file.display()));
    Ok(Some(picture))
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn a_row_brings_its_family_and_no_other() {
        let names = |rows: &[&str]| -> Vec<&str> {
            let rows: Vec<String> = rows.iter().map(|row| (*row).to_owned()).collect();
            families(&rows).unwrap().iter().map(|family| family.name).collect()
        };
        assert_eq!(names(&["lost", "nginx-plain"]), ["nginx"]);
        assert_eq!(names(&[]).len(), FAMILIES.len());
    }

    #[test]
    fn an_unknown_row_is_answered_with_those_there_are() {
        let error = families(&["nope".into()]).unwrap_err().to_string();
        assert!(error.contains("nope") && error.contains("scrape-1000"), "{error}");
    }

    #[test]
    fn no_two_rows_have_one_name() {
        let names: Vec<&str> = FAMILIES.iter().flat_map(|family| family.rows).map(|row| row.name).collect();
        assert_eq!(names.iter().collect::<HashSet<_>>().len(), names.len());
    }
}

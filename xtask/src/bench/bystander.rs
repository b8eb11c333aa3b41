//! What a process pays that has nothing to do with a gateway.

use std::hint::black_box;
use std::process::{Command, ExitCode};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use nix::time::{ClockId, clock_gettime};
use nix::unistd::getppid;

use super::Bench;
use super::agent::Agent;
use super::row::{Family, Findings, Run, Spec, Unit};
use super::stage::{Kind, Stage};
use super::stats::Judge;
use crate::{job, say, signals};

/// A loop of the cheapest system call.
pub const BYSTANDER: Family = Family {
    name: "bystander",
    rows: &[Spec {
        name: "bystander",
        title: "a bystander's getppid loop",
        limit: 1.03,
        unit: Unit::Ratio,
        judge: Judge::Median,
    }],
    measure,
};

/// Calls in one stretch: some 10 ms.
const CALLS: u32 = 100_000;

/// Stretches in one run. The fastest counts: what else the host does can only add to it.
const STRETCHES: u32 = 20;

const BARE: &str = "bare";
const OBSERVED: &str = "observed";

/// Calls getppid in a loop and prints the CPU time of the fastest stretch in ns.
pub fn bystander() -> Result<ExitCode> {
    let mut fastest = Duration::MAX;
    for _ in 0..STRETCHES {
        let before = cpu_time()?;
        for _ in 0..CALLS {
            black_box(getppid());
        }
        fastest = fastest.min(cpu_time()?.saturating_sub(before));
    }
    say(&fastest.as_nanos().to_string());
    Ok(ExitCode::SUCCESS)
}

fn cpu_time() -> Result<Duration> {
    Ok(clock_gettime(ClockId::CLOCK_PROCESS_CPUTIME_ID).context("no clock of this process's CPU time")?.into())
}

fn measure(bench: &Bench) -> Result<Findings> {
    let folder = bench.folder("bystander")?;
    let stage = Stage::start(&folder, Kind::Plain, 16)?;
    let mut findings = Findings::default();
    for round in 0..bench.pairs {
        let arms = if round % 2 == 0 { [BARE, OBSERVED] } else { [OBSERVED, BARE] };
        for arm in arms {
            signals::check()?;
            let agent = match arm {
                BARE => None,
                _ => Some(Agent::start(&bench.agent, &folder, &stage.selector(), &stage.services(1))?),
            };
            let readings = vec![("call_ns", loop_once()?)];
            agent.map_or(Ok(()), Agent::end)?;
            findings.runs.push(Run { round, arm, readings });
        }
    }
    findings.measured("bystander", findings.ratios(OBSERVED, BARE, |run| run.reading("call_ns")));
    Ok(findings)
}

/// CPU time of one call in ns, in a process of its own: neither xtask nor the agent's child.
fn loop_once() -> Result<f64> {
    let xtask = std::env::current_exe().context("cannot find xtask's own program")?;
    let mut line = String::new();
    let status = job::lines(Command::new(xtask).arg("bystander"), |text| text.clone_into(&mut line))?;
    ensure!(status.success(), "the bystander failed ({status})");
    let nanoseconds: f64 = line.parse().with_context(|| format!("the bystander prints {line:?}, which is no time"))?;
    Ok(nanoseconds / f64::from(CALLS))
}

//! The agent with nothing to do: how soon it is there, what it holds, what it uses.

use std::thread;
use std::time::{Duration, Instant};

use anyhow::Result;

use super::Bench;
use super::agent::{Agent, SETTLED};
use super::readings::{Resident, bpf_maps_mib};
use super::row::{Family, Findings, Run, Spec, Unit};
use super::stage::{Kind, Stage};
use super::stats::Judge;
use crate::signals;

/// Starts, then rest.
pub const START: Family = Family {
    name: "start",
    rows: &[
        Spec {
            name: "start",
            title: "from start to attached (`/ready` answers 200)",
            limit: 300.0,
            unit: Unit::Milliseconds,
            judge: Judge::Median,
        },
        Spec {
            name: "memory-rest",
            title: "agent's resident memory, at rest",
            limit: 32.0,
            unit: Unit::Mebibytes,
            judge: Judge::Worst,
        },
        Spec {
            name: "memory-maps",
            title: "BPF maps and ring",
            limit: 32.0,
            unit: Unit::Mebibytes,
            judge: Judge::Worst,
        },
        Spec {
            name: "idle",
            title: "agent's CPU without traffic, share of a core",
            limit: 0.002,
            unit: Unit::Percent,
            judge: Judge::Median,
        },
    ],
    measure,
};

/// Long against the agent's pauses of some 20 ms, and against the kernel's ticks.
const WINDOW: Duration = Duration::from_secs(1);

fn measure(bench: &Bench) -> Result<Findings> {
    let folder = bench.folder("start")?;
    let stage = Stage::start(&folder, Kind::Plain, 16)?;
    let mut findings = Findings::default();
    for round in 0..bench.pairs {
        signals::check()?;
        let agent = Agent::start(&bench.agent, &folder, &stage.selector(), &stage.services(1))?;
        thread::sleep(SETTLED);
        let memory = Resident::of(agent.pid())?;
        let maps = bpf_maps_mib(agent.pid())?;
        let (start, before) = (Instant::now(), agent.times()?);
        thread::sleep(WINDOW);
        let idle_cpu = (agent.times()? - before).cpu_ns as f64;
        let readings = vec![
            ("until_ready_ms", agent.until_ready().as_secs_f64() * 1e3),
            ("resident_mib", memory.now_mib),
            ("anonymous_mib", memory.anonymous_mib),
            ("maps_mib", maps),
            ("idle_cpu_ns", idle_cpu),
            ("idle_wall_ns", start.elapsed().as_nanos() as f64),
        ];
        agent.end()?;
        findings.runs.push(Run { round, arm: "at rest", readings });
    }
    let each = |name: &str| findings.each("at rest", |run| run.reading(name));
    let rows = [
        ("start", each("until_ready_ms")),
        ("memory-rest", each("resident_mib")),
        ("memory-maps", each("maps_mib")),
        ("idle", findings.each("at rest", |run| run.per("idle_cpu_ns", "idle_wall_ns"))),
    ];
    for (row, values) in rows {
        findings.measured(row, values);
    }
    Ok(findings)
}

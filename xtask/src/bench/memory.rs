//! What the agent holds when it has much to hold.

use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use nix::sys::resource::{Resource, getrlimit, setrlimit};

use super::Bench;
use super::agent::{Agent, SETTLED};
use super::readings::{Resident, bpf_maps_mib};
use super::row::{Family, Findings, Run, Spec, Unit};
use super::stage::{Kind, Stage};
use super::stats::Judge;
use super::wrk::Load;
use crate::signals;

/// 10,000 connections and 1,000 services.
pub const MEMORY: Family = Family {
    name: "memory",
    rows: &[Spec {
        name: "memory-loaded",
        title: "agent's resident memory, at its greatest: 10,000 connections, 1,000 services",
        limit: 64.0,
        unit: Unit::Mebibytes,
        judge: Judge::Worst,
    }],
    measure,
};

/// Each of the 10,000 connections asks about once a second: the number is what matters here, and the host stays usable.
const LOAD: Load = Load { connections: 2_500, seconds: 5, services: 1_000, delay_ms: 1_000, is_tls: false };

/// Loads beside each other, and the time between their starts: more connections at once than a listener's backlog of
/// 4,096 end in resets.
const LOADS: u32 = 4;
const LOAD_INTERVAL: Duration = Duration::from_millis(500);

/// Descriptors of the gateway, which has the most: clients, upstreams, and its own.
const OPEN_FILES: u64 = 16_000;

/// The worst is judged, and runs differ little.
const ROUNDS_MAX: usize = 3;

fn measure(bench: &Bench) -> Result<Findings> {
    allow_open_files()?;
    let mut findings = Findings::default();
    for round in 0..bench.pairs.min(ROUNDS_MAX) {
        signals::check()?;
        let folder = bench.folder("memory")?;
        let stage = Stage::start(&folder, Kind::Plain, LOADS * LOAD.connections)?;
        let agent = Agent::start(&bench.agent, &folder, &stage.selector(), &stage.services(LOAD.services))?;
        let (requests, connections) = run_and_watch(&stage, &folder, &agent)?;
        thread::sleep(SETTLED);
        let services = agent.scrape()?.services("kong_http_status");
        ensure!(services == LOAD.services, "the agent tells {services} services of {}", LOAD.services);
        let memory = Resident::of(agent.pid())?;
        let readings = vec![
            ("requests", requests as f64),
            ("connections", connections),
            ("resident_mib", memory.now_mib),
            ("peak_resident_mib", memory.peak_mib),
            ("anonymous_mib", memory.anonymous_mib),
            ("maps_mib", bpf_maps_mib(agent.pid())?),
        ];
        agent.end()?;
        findings.runs.push(Run { round, arm: "loaded", readings });
    }
    findings.measured("memory-loaded", findings.each("loaded", |run| run.reading("peak_resident_mib")));
    Ok(findings)
}

/// Runs the loads. Returns how many requests were answered, and how many client connections the agent saw open at once.
fn run_and_watch(stage: &Stage, folder: &Path, agent: &Agent) -> Result<(u64, f64)> {
    let mut connections = 0.0_f64;
    let requests = thread::scope(|scope| {
        let mut loads = Vec::new();
        for _ in 0..LOADS {
            loads.push(scope.spawn(|| LOAD.run(stage.gateway(), folder)));
            thread::sleep(LOAD_INTERVAL);
        }
        let start = Instant::now();
        while !loads.iter().all(|load| load.is_finished()) && start.elapsed() < Duration::from_secs(60) {
            thread::sleep(Duration::from_millis(500));
            if let Ok(metrics) = agent.scrape() {
                let active = metrics.sum_where("kong_nginx_http_current_connections", "state=\"active\"");
                connections = connections.max(active);
            }
        }
        loads.into_iter().try_fold(0, |requests, load| {
            let served = load.join().unwrap_or_else(|_| bail!("a load's thread panicked; its message is above"))?;
            anyhow::Ok(requests + served.requests)
        })
    })?;
    let wanted = f64::from(LOADS * LOAD.connections);
    ensure!(connections >= wanted * 0.99, "the agent saw {connections} connections open at once, of {wanted}");
    Ok((requests, connections))
}

/// nginx and wrk inherit the limit.
fn allow_open_files() -> Result<()> {
    let (soft, hard) = getrlimit(Resource::RLIMIT_NOFILE).context("cannot read the limit of open files")?;
    ensure!(hard >= OPEN_FILES, "only {hard} files may be open; run `ulimit -Hn {OPEN_FILES}` as root, and again");
    if soft < OPEN_FILES {
        setrlimit(Resource::RLIMIT_NOFILE, OPEN_FILES, hard).context("cannot raise the limit of open files")?;
    }
    Ok(())
}

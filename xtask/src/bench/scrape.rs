//! What a scrape takes, and what the gateway's clients feel of it.

use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};

use super::Bench;
use super::agent::{Agent, SETTLED, fetch};
use super::row::{Family, Findings, Run, Spec, Unit};
use super::stage::{Kind, Stage};
use super::stats::Judge;
use super::wrk::Load;
use crate::signals;

/// Scrapes alone, and beside a load.
pub const SCRAPE: Family = Family {
    name: "scrape",
    rows: &[
        Spec {
            name: "scrape-p99",
            title: "gateway's p99 while 200 services are scraped every 200 ms, to quiet",
            limit: 1.05,
            unit: Unit::Ratio,
            judge: Judge::Median,
        },
        Spec {
            name: "scrape-delay",
            title: "its worker's run delay per request, likewise",
            limit: 1.05,
            unit: Unit::Ratio,
            judge: Judge::Median,
        },
        Spec {
            name: "scrape-200",
            title: "one scrape of 200 services",
            limit: 5.0,
            unit: Unit::Milliseconds,
            judge: Judge::Median,
        },
        Spec {
            name: "scrape-1000",
            title: "one scrape of 1,000 services",
            limit: 20.0,
            unit: Unit::Milliseconds,
            judge: Judge::Median,
        },
    ],
    measure,
};

const FEW: usize = 200;
const MANY: usize = 1_000;
const INTERVAL: Duration = Duration::from_millis(200);

const QUIET: &str = "quiet";
const SCRAPED: &str = "scraped";
const ONE_OF_FEW: &str = "one scrape of 200";
const ONE_OF_MANY: &str = "one scrape of 1,000";

/// A tail tells of stalls only where the load leaves the host room: at full speed it tells of the queue.
const PACED: Load = Load { delay_ms: 1, services: FEW, ..Load::FULL };

fn measure(bench: &Bench) -> Result<Findings> {
    let folder = bench.folder("scrape")?;
    let stage = Stage::start(&folder, Kind::Plain, PACED.connections)?;
    let mut findings = Findings::default();

    let agent = with_services(bench, &stage, &folder, FEW)?;
    scrapes(bench, &agent, ONE_OF_FEW, &mut findings)?;
    for round in 0..bench.pairs {
        let arms = if round % 2 == 0 { [QUIET, SCRAPED] } else { [SCRAPED, QUIET] };
        for arm in arms {
            signals::check()?;
            findings.runs.push(paced(&stage, &folder, &agent, round, arm)?);
        }
    }
    agent.end()?;

    let agent = with_services(bench, &stage, &folder, MANY)?;
    scrapes(bench, &agent, ONE_OF_MANY, &mut findings)?;
    agent.end()?;

    findings.measured("scrape-p99", findings.ratios(SCRAPED, QUIET, |run| run.reading("p99_us")));
    findings.measured("scrape-delay", findings.ratios(SCRAPED, QUIET, |run| run.per("gateway_delay_ns", "requests")));
    findings.measured("scrape-200", findings.each(ONE_OF_FEW, |run| run.reading("scrape_ms")));
    findings.measured("scrape-1000", findings.each(ONE_OF_MANY, |run| run.reading("scrape_ms")));
    Ok(findings)
}

/// An agent whose page has the series of so many services.
fn with_services(bench: &Bench, stage: &Stage, folder: &Path, services: usize) -> Result<Agent> {
    let agent = Agent::start(&bench.agent, folder, &stage.selector(), &stage.services(services))?;
    Load { services, seconds: 1, ..Load::FULL }.run(stage.gateway(), folder)?;
    thread::sleep(SETTLED);
    let seen = agent.scrape()?.services("kong_http_status");
    ensure!(seen == services, "the agent tells {seen} services of {services}");
    Ok(agent)
}

/// Single scrapes of an agent that is otherwise left alone.
fn scrapes(bench: &Bench, agent: &Agent, arm: &'static str, findings: &mut Findings) -> Result<()> {
    // The first one finds cold caches, and buffers that have not grown yet, here and there.
    let mut page = fetch(agent.address(), "/metrics", Vec::new())?;
    for round in 0..bench.pairs {
        signals::check()?;
        thread::sleep(Duration::from_millis(50));
        let (before, start) = (agent.times()?, Instant::now());
        page = fetch(agent.address(), "/metrics", page)?;
        let taken = start.elapsed();
        let cpu = agent.times()? - before;
        let readings = vec![
            ("scrape_ms", taken.as_secs_f64() * 1e3),
            ("agent_cpu_ns", cpu.cpu_ns as f64),
            ("page_bytes", page.len() as f64),
        ];
        findings.runs.push(Run { round, arm, readings });
    }
    Ok(())
}

fn paced(stage: &Stage, folder: &Path, agent: &Agent, round: usize, arm: &'static str) -> Result<Run> {
    let before = stage.worker_times()?;
    let ending = AtomicBool::new(false);
    let scrapes = AtomicU64::new(0);
    let served = thread::scope(|scope| {
        if arm == SCRAPED {
            scope.spawn(|| scrape_until(&ending, agent, &scrapes));
        }
        let served = PACED.run(stage.gateway(), folder);
        ending.store(true, Ordering::Relaxed);
        served
    })?;
    let gateway = stage.worker_times()? - before;
    let scrapes = scrapes.into_inner();
    let due = u64::from(PACED.seconds) * 1_000 / INTERVAL.as_millis() as u64;
    ensure!(arm == QUIET || scrapes * 2 >= due, "only {scrapes} scrapes of {due} were answered in time");
    let readings = vec![
        ("requests", served.requests as f64),
        ("p99_us", served.p99_us),
        ("gateway_cpu_ns", gateway.cpu_ns as f64),
        ("gateway_delay_ns", gateway.delay_ns as f64),
        ("scrapes", scrapes as f64),
    ];
    Ok(Run { round, arm, readings })
}

fn scrape_until(ending: &AtomicBool, agent: &Agent, scrapes: &AtomicU64) {
    let mut due = Instant::now();
    let mut page = Vec::new();
    while !ending.load(Ordering::Relaxed) {
        // One that fails is missing in the count.
        let Ok(answer) = fetch(agent.address(), "/metrics", page) else { return };
        scrapes.fetch_add(u64::from(answer.starts_with(b"HTTP/1.0 200 ")), Ordering::Relaxed);
        page = answer;
        due += INTERVAL;
        thread::sleep(due.saturating_duration_since(Instant::now()));
    }
}

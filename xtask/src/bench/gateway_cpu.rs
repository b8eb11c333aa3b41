//! What the gateway pays for being observed, what the agent pays for observing it at full speed, and what it misses.

use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::Result;

use super::Bench;
use super::agent::{Agent, NOTHING, SETTLED};
use super::row::{Family, Findings, Outcome, Run, Spec, Unit};
use super::stage::{Kind, Stage};
use super::stats::{Judge, estimate};
use super::wrk::Load;
use crate::setup::NginxLua;
use crate::signals;

/// nginx that only proxies: the worst case.
pub const PLAIN: Family = Family {
    name: "nginx",
    rows: &[
        Spec {
            name: "nginx-plain",
            title: "gateway CPU per request: nginx, HTTP, keepalive, 49 bytes, 1 worker",
            limit: 1.08,
            unit: Unit::Ratio,
            judge: Judge::Median,
        },
        Spec {
            name: "agent-cpu",
            title: "agent's own CPU per request, nginx at full speed",
            limit: 2.0,
            unit: Unit::Microseconds,
            judge: Judge::Median,
        },
        Spec {
            name: "agent-share",
            title: "the same, as a share of the gateway's",
            limit: 0.15,
            unit: Unit::Percent,
            judge: Judge::Median,
        },
        Spec {
            name: "lost",
            title: "exchanges lost or counted wrongly at full speed, default settings",
            limit: 0.0,
            unit: Unit::Count,
            judge: Judge::Worst,
        },
    ],
    measure: plain,
};

/// nginx with Lua that works as much as Kong does.
pub const LUA: Family = Family {
    name: "lua",
    rows: &[Spec {
        name: "gateway-25us",
        title: "gateway CPU per request: 25 µs of nginx with Lua",
        limit: 1.05,
        unit: Unit::Ratio,
        judge: Judge::Median,
    }],
    measure: lua,
};

/// nginx with TLS, and another one that has mapped the same library and is not observed.
pub const TLS: Family = Family {
    name: "tls",
    rows: &[
        Spec {
            name: "nginx-tls",
            title: "gateway CPU per request: nginx, TLS 1.3, keepalive",
            limit: 1.30,
            unit: Unit::Ratio,
            judge: Judge::Median,
        },
        Spec {
            name: "bystander-tls",
            title: "CPU per request of another nginx with TLS, not observed",
            limit: 1.03,
            unit: Unit::Ratio,
            judge: Judge::Median,
        },
    ],
    measure: tls,
};

const BARE: &str = "bare";
const IDLE: &str = "hooks attached, nothing selected";
const FULL: &str = "observed";

/// What the Lua gateway is to cost without the observer.
const LUA_TARGET_US: f64 = 25.0;

/// How far from that the runs may be, and where calibrating ends.
const LUA_TOLERANCE: f64 = 0.2;
const CLOSE_ENOUGH: f64 = 0.05;

fn plain(bench: &Bench) -> Result<Findings> {
    let folder = bench.folder("plain")?;
    let stage = Stage::start(&folder, Kind::Plain, Load::FULL.connections)?;
    let mut findings =
        Findings { runs: rounds(bench, Scene::of(&stage), &folder, &[BARE, IDLE, FULL])?, ..Findings::default() };
    let gateway_us = |run: &Run| run.per("gateway_cpu_ns", "requests") / 1e3;
    let agent_us = |run: &Run| run.per("agent_cpu_ns", "requests") / 1e3;
    findings.measured("nginx-plain", findings.ratios(FULL, BARE, gateway_us));
    findings.measured("agent-cpu", findings.each(FULL, agent_us));
    findings.measured("agent-share", findings.each(FULL, |run| run.per("agent_cpu_ns", "gateway_cpu_ns")));
    findings.measured("lost", findings.each(FULL, lost));
    for arm in [BARE, IDLE, FULL] {
        findings.stages.push((arm, findings.each(arm, gateway_us)));
    }
    findings.stages.push(("the agent itself", findings.each(FULL, agent_us)));
    let idle = estimate(&findings.ratios(IDLE, BARE, gateway_us)).map_or(f64::NAN, |estimate| estimate.median);
    findings.notes.push(format!("nginx: hooks attached with nothing selected cost {idle:.3} of bare"));
    Ok(findings)
}

fn tls(bench: &Bench) -> Result<Findings> {
    let load = Load { is_tls: true, ..Load::FULL };
    let folders = [bench.folder("tls")?, bench.folder("tls-bystander")?];
    let observed = Stage::start(&folders[0], Kind::Tls, load.connections)?;
    let bystander = Stage::start(&folders[1], Kind::Tls, load.connections)?;
    let gateway_us = |run: &Run| run.per("gateway_cpu_ns", "requests") / 1e3;
    let runs = |loaded| rounds(bench, Scene { loaded, observed: &observed, load }, &folders[0], &[BARE, FULL]);
    let beside = Findings { runs: runs(&bystander)?, ..Findings::default() };
    let mut findings = Findings { runs: runs(&observed)?, ..Findings::default() };
    findings.measured("nginx-tls", findings.ratios(FULL, BARE, gateway_us));
    findings.measured("bystander-tls", beside.ratios(FULL, BARE, gateway_us));
    let missed = estimate(&findings.each(FULL, lost)).map_or(f64::NAN, |estimate| estimate.median);
    findings.notes.push(format!("TLS: {missed} exchanges lost or counted wrongly at full speed, in the median"));
    Ok(findings)
}

fn lua(bench: &Bench) -> Result<Findings> {
    let folder = bench.folder("lua")?;
    let modules = NginxLua::prepare(&bench.tools)?;
    let stage = Stage::start(&folder, Kind::Lua(&modules), Load::FULL.connections)?;
    let iterations = calibrate(&stage, &folder)?;
    let mut findings =
        Findings { runs: rounds(bench, Scene::of(&stage), &folder, &[BARE, FULL])?, ..Findings::default() };
    let gateway_us = |run: &Run| run.per("gateway_cpu_ns", "requests") / 1e3;
    let bare = estimate(&findings.each(BARE, gateway_us)).map_or(f64::NAN, |estimate| estimate.median);
    if (bare / LUA_TARGET_US - 1.0).abs() <= LUA_TOLERANCE {
        findings.measured("gateway-25us", findings.ratios(FULL, BARE, gateway_us));
    } else {
        let why = format!("the gateway took {bare:.1} µs a request; run it again when the machine is quiet");
        findings.outcomes.push(("gateway-25us", Outcome::Undecided(why)));
    }
    findings.notes.push(format!("Lua gateway: {iterations} iterations and {bare:.1} µs of CPU a request when bare"));
    Ok(findings)
}

/// Sets how long the gateway's Lua works, and says how many iterations came closest.
fn calibrate(stage: &Stage, folder: &Path) -> Result<u64> {
    let cost = |iterations: u64| -> Result<f64> {
        signals::check()?;
        stage.set_busy(iterations)?;
        Ok(load(Scene::of(stage), folder, None, 0, BARE)?.per("gateway_cpu_ns", "requests") / 1e3)
    };
    let idle = cost(0)?;
    if idle >= LUA_TARGET_US {
        // It may be slow for the moment; whether the runs were near enough is judged behind them.
        return Ok(0);
    }
    let mut iterations = 500;
    let mut closest = (f64::INFINITY, iterations);
    // Straight-line estimates: the first may be far off, the others correct it.
    for _ in 0..4 {
        let now = cost(iterations)?;
        let off = (now / LUA_TARGET_US - 1.0).abs();
        closest = if off < closest.0 { (off, iterations) } else { closest };
        if off < CLOSE_ENOUGH {
            break;
        }
        iterations = next_guess(idle, now, iterations);
    }
    stage.set_busy(closest.1)?;
    Ok(closest.1)
}

/// How many iterations reach the target on the straight line through two costs in µs: at none, and at so many. Noise
/// may have turned the line around: the guess grows tenfold at most.
fn next_guess(idle: f64, now: f64, iterations: u64) -> u64 {
    let slope = (now - idle).max(0.1) / iterations as f64;
    (((LUA_TARGET_US - idle) / slope) as u64).clamp(1, iterations * 10)
}

/// Who is put under which load, and who is observed meanwhile.
#[derive(Clone, Copy)]
struct Scene<'a> {
    loaded: &'a Stage,
    observed: &'a Stage,
    load: Load,
}

impl<'a> Scene<'a> {
    fn of(stage: &'a Stage) -> Self {
        Scene { loaded: stage, observed: stage, load: Load::FULL }
    }
}

/// Runs all arms in each round, forwards and backwards in turn, so that a drift of the machine falls on all alike.
fn rounds(bench: &Bench, scene: Scene<'_>, folder: &Path, arms: &[&'static str]) -> Result<Vec<Run>> {
    // Connections and caches warm up unmeasured.
    Load { seconds: 1, ..scene.load }.run(scene.loaded.gateway(), folder)?;
    let mut runs = Vec::new();
    for round in 0..bench.pairs {
        let mut arms = arms.to_vec();
        if round % 2 == 1 {
            arms.reverse();
        }
        for arm in arms {
            signals::check()?;
            let selector = match arm {
                BARE => None,
                IDLE => Some(NOTHING.to_owned()),
                _ => Some(scene.observed.selector()),
            };
            let agent = selector
                .map(|selector| Agent::start(&bench.agent, folder, &selector, &scene.observed.services(1)))
                .transpose()?;
            runs.push(load(scene, folder, agent, round, arm)?);
        }
    }
    Ok(runs)
}

/// One run of the load. Ends the agent.
fn load(scene: Scene<'_>, folder: &Path, agent: Option<Agent>, round: usize, arm: &'static str) -> Result<Run> {
    let stage = scene.loaded;
    let agent_before = agent.as_ref().map(Agent::times).transpose()?;
    let before = stage.worker_times()?;
    let served = scene.load.run(stage.gateway(), folder)?;
    thread::sleep(SETTLED);
    let gateway = stage.worker_times()? - before;
    let mut readings = vec![
        ("requests", served.requests as f64),
        ("requests_per_second", served.per_second),
        ("p99_us", served.p99_us),
        ("gateway_cpu_ns", gateway.cpu_ns as f64),
        ("gateway_delay_ns", gateway.delay_ns as f64),
    ];
    if let Some((agent, before)) = agent.zip(agent_before) {
        readings.push(("agent_cpu_ns", (agent.times()? - before).cpu_ns as f64));
        if arm == FULL && std::ptr::eq(scene.loaded, scene.observed) {
            readings.extend(counts(&agent, served.requests as f64)?);
        }
        agent.end()?;
    }
    Ok(Run { round, arm, readings })
}

/// What the agent says of a load of so many responses, once it has counted as many, or has had its time.
fn counts(agent: &Agent, requests: f64) -> Result<[(&'static str, f64); 4]> {
    let deadline = Instant::now() + Duration::from_secs(2);
    let mut metrics = agent.scrape()?;
    while metrics.sum("kong_http_status_total") < requests && Instant::now() < deadline {
        thread::sleep(Duration::from_millis(50));
        metrics = agent.scrape()?;
    }
    // The kernel's losses are asked for once a second.
    thread::sleep(Duration::from_millis(1_100));
    metrics = agent.scrape()?;
    Ok([
        ("counted", metrics.sum("kong_http_status_total")),
        ("counted_200", metrics.sum_where("kong_http_status", "code=\"200\",service=\"s0000\"")),
        ("unobserved", metrics.sum("observer_exchanges_unobserved_total")),
        ("capture_lost", metrics.sum("observer_capture_lost_total")),
    ])
}

/// Exchanges that are missing, not followed, or counted though they were not there. wrk leaves at the end without the
/// answers that are under way, at most one a connection, and does not count them; the gateway serves or drops them.
fn lost(run: &Run) -> f64 {
    let requests = run.reading("requests");
    // A reading that is missing stays NaN through clamp; max would make it a 0.
    let missing = (requests - run.reading("counted_200")).clamp(0.0, f64::MAX);
    let invented = (run.reading("counted") - requests - f64::from(Load::FULL.connections)).clamp(0.0, f64::MAX);
    missing + invented + run.reading("unobserved") + run.reading("capture_lost")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn loss(requests: f64, counted: f64, counted_200: f64, unobserved: f64, capture_lost: f64) -> f64 {
        let readings = vec![
            ("requests", requests),
            ("counted", counted),
            ("counted_200", counted_200),
            ("unobserved", unobserved),
            ("capture_lost", capture_lost),
        ];
        lost(&Run { round: 0, arm: FULL, readings })
    }

    #[test]
    fn the_next_guess_lies_on_the_line_and_not_far_away() {
        assert_eq!(next_guess(15.0, 20.0, 500), 1_000);
        assert_eq!(next_guess(15.0, 35.0, 500), 250);
        assert_eq!(next_guess(15.0, 14.0, 500), 5_000);
    }

    #[test]
    fn requests_under_way_at_the_end_are_no_loss() {
        assert_eq!(loss(1000.0, 1000.0, 1000.0, 0.0, 0.0), 0.0);
        assert_eq!(loss(1000.0, 1016.0, 1010.0, 0.0, 0.0), 0.0);
    }

    #[test]
    fn missing_invented_unfollowed_and_lost_all_count() {
        assert_eq!(loss(1000.0, 998.0, 998.0, 0.0, 0.0), 2.0);
        assert_eq!(loss(1000.0, 1020.0, 1000.0, 0.0, 0.0), 4.0);
        assert_eq!(loss(1000.0, 1000.0, 1000.0, 5.0, 7.0), 12.0);
        assert!(loss(1000.0, 1000.0, 1000.0, f64::NAN, 0.0).is_nan());
        assert!(loss(1000.0, 1000.0, f64::NAN, 0.0, 0.0).is_nan());
    }
}

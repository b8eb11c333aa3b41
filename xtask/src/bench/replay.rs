//! The pipeline alone: a recording of many requests, replayed.

use std::fs::{self, File};
use std::io::{BufReader, Read};
use std::path::Path;
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use nix::sys::resource::{UsageWho, getrusage};
use nix::sys::signal::{Signal, kill};
use nix::sys::time::TimeValLike;

use super::Bench;
use super::agent::{Metrics, SETTLED};
use super::row::{Family, Findings, Outcome, Run, Spec, Unit};
use super::scale;
use super::stage::{Kind, Stage};
use super::stats::Judge;
use super::wrk::Load;
use crate::job::{self, Job};
use crate::signals::{self, Stop};

/// `observer record`, then `observer replay`.
pub const REPLAY: Family = Family {
    name: "replay",
    rows: &[
        Spec {
            name: "replay",
            title: "pipeline alone: `replay` of 1,000,000 requests, CPU per event",
            limit: 0.35,
            unit: Unit::Microseconds,
            judge: Judge::Median,
        },
        scale::SCALE,
    ],
    measure,
};

const REQUESTS: u64 = 1_000_000;

/// A slow machine gets no endless recording, nor a full disk.
const LOADS_MAX: u32 = 60;

/// The recording's header; the form of the file is told in observer/src/recording/file.rs.
pub const HEADER_BYTES: u64 = 96;

/// Services that the attribution tells apart.
const SERVICES: usize = 200;

fn measure(bench: &Bench) -> Result<Findings> {
    let folder = bench.folder("replay")?;
    let stage = Stage::start(&folder, Kind::Plain, Load::FULL.connections)?;
    let recording = folder.join("requests.rec");
    let config = folder.join("observer.yaml");
    fs::write(&config, stage.services(SERVICES)).with_context(|| format!("cannot write {}", config.display()))?;
    let Some(requests) = record(bench, &stage, &folder, &recording)? else {
        let why = Outcome::Undecided("this agent has no working `record` yet".into());
        let outcomes = vec![("replay", why.clone()), (scale::SCALE.name, why)];
        return Ok(Findings { outcomes, ..Findings::default() });
    };
    let events =
        count_events(&recording).with_context(|| format!("cannot count the events of {}", recording.display()))?;
    let first = folder.join("first.rec");
    scale::cut(&recording, &first)?;
    let mut findings = Findings::default();
    for round in 0..bench.pairs {
        signals::check()?;
        let (cpu_ns, counted) = replay(bench, &recording, &config)?;
        ensure!(counted >= requests as f64, "`observer replay` counts {counted} requests of {requests}");
        let readings = vec![("cpu_ns", cpu_ns), ("events", events as f64), ("requests", counted)];
        findings.runs.push(Run { round, arm: "replay", readings });
        scale::measure(bench, round, &first, &config, &mut findings)?;
    }
    let per_event = findings.each("replay", |run| run.per("cpu_ns", "events") / 1e3);
    findings.notes.push(format!("replay: {:.1} events a request", events as f64 / requests as f64));
    findings.measured("replay", per_event);
    scale::conclude(&mut findings);
    Ok(findings)
}

/// Records until there are enough requests, and says how many there were; `None` if the agent cannot record.
fn record(bench: &Bench, stage: &Stage, folder: &Path, recording: &Path) -> Result<Option<u64>> {
    let mut command = Command::new(&bench.agent);
    command.arg("record").arg(recording).args(["--gateway", &stage.selector()]);
    let log = folder.join("record.log");
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(File::create(&log)?);
    let job = Job::start(&mut command, Stop::Group)?;
    // It is attached once its file grows beyond the header, which what the gateway has open makes it do.
    let deadline = Instant::now() + Duration::from_secs(10);
    while fs::metadata(recording).map_or(0, |file| file.len()) <= HEADER_BYTES {
        signals::check()?;
        if job.has_ended()? {
            return Ok(None);
        }
        ensure!(Instant::now() < deadline, "`observer record` writes nothing; its messages: {}", read(&log));
        Load { seconds: 1, ..Load::FULL }.run(stage.gateway(), folder)?;
    }
    let mut requests = 0;
    for _ in 0..LOADS_MAX {
        let load = Load { services: SERVICES, ..Load::FULL };
        requests += load.run(stage.gateway(), folder)?.requests;
        if requests >= REQUESTS {
            thread::sleep(SETTLED);
            // SIGINT is how a recording is ended in order.
            kill(job.pid(), Signal::SIGINT).context("`observer record` has ended on its own")?;
            let status = job.wait()?;
            ensure!(status.success(), "`observer record` failed ({status}): {}", read(&log));
            return Ok(Some(requests));
        }
    }
    bail!("only {requests} requests in {LOADS_MAX} loads; run it again when the machine is quiet")
}

fn read(log: &Path) -> String {
    fs::read_to_string(log).unwrap_or_default().trim_end().to_owned()
}

/// CPU time of one replay in ns, and the requests it counted.
fn replay(bench: &Bench, recording: &Path, config: &Path) -> Result<(f64, f64)> {
    let mut command = Command::new(&bench.agent);
    command.arg("replay").arg(recording).arg("--config").arg(config);
    let before = children_cpu_ns()?;
    let mut text = String::new();
    let status = job::lines(&mut command, |line| {
        text += line;
        text.push('\n');
    })?;
    ensure!(status.success(), "`observer replay` failed ({status})");
    Ok(((children_cpu_ns()? - before) as f64, Metrics(text).sum("kong_http_status_total")))
}

/// CPU time of all children that were waited for.
fn children_cpu_ns() -> Result<i64> {
    let usage = getrusage(UsageWho::RUSAGE_CHILDREN).context("cannot read the children's CPU time")?;
    Ok(usage.user_time().num_nanoseconds() + usage.system_time().num_nanoseconds())
}

/// Counts the events of a whole recording by their lengths.
fn count_events(recording: &Path) -> Result<u64> {
    let mut file = BufReader::with_capacity(1 << 20, File::open(recording)?);
    file.seek_relative(HEADER_BYTES as i64)?;
    let mut events = 0;
    loop {
        let mut length = [0; 4];
        file.read_exact(&mut length).context("it is cut short, or its form has changed")?;
        match u32::from_ne_bytes(length) {
            0 => return Ok(events),
            length => file.seek_relative(length.into())?,
        }
        events += 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_are_counted_up_to_the_closing_zero() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("a.rec");
        let mut bytes = vec![7; HEADER_BYTES as usize];
        for length in [3_u32, 5] {
            bytes.extend(length.to_ne_bytes());
            bytes.extend(vec![1; length as usize]);
        }
        fs::write(&file, &bytes).unwrap();
        assert!(count_events(&file).is_err());
        bytes.extend(0_u32.to_ne_bytes());
        fs::write(&file, &bytes).unwrap();
        assert_eq!(count_events(&file).unwrap(), 2);
    }
}

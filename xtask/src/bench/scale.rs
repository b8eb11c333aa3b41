//! The pipeline alone with what a large gateway does: a recording as if 16 workers had done it, over several threads.

use std::fs::{self, File};
use std::io::{BufReader, Read};
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, ensure};

use super::Bench;
use super::agent::Metrics;
use super::replay::HEADER_BYTES;
use super::row::{Findings, Run, Spec, Unit};
use super::stats::{Judge, estimate};
use crate::job;

/// A large gateway: its workers, ...
const WORKERS: u16 = 16;

/// ... and the requests a second of each.
const REQUESTS_PER_WORKER: f64 = 30_000.0;

/// Threads that follow connections, and the arms' names.
const THREADS: [(u8, &str); 3] = [(1, "scale-1"), (2, "scale-2"), (3, "scale-3")];

/// Of the recording, for one worker: as many as a second or two of the 16 workers' doing.
const EVENTS: u64 = 100_000;

/// What the busiest thread is busy with, of a processor's time.
pub const SCALE: Spec = Spec {
    name: "scale",
    title: "`replay --workers 16 --threads 3` at 30,000 requests/s each: the busiest thread's share of a processor",
    limit: 1.0,
    unit: Unit::Percent,
    judge: Judge::Median,
};

/// Writes the first events of a recording as one of its own.
pub fn cut(recording: &Path, to: &Path) -> Result<()> {
    let mut from = BufReader::with_capacity(1 << 20, File::open(recording)?);
    let mut bytes = vec![0; HEADER_BYTES as usize];
    from.read_exact(&mut bytes).context("the recording is cut short")?;
    for _ in 0..EVENTS {
        let mut length = [0; 4];
        from.read_exact(&mut length).context("the recording is cut short, or its form has changed")?;
        let event_bytes = u64::from(u32::from_ne_bytes(length));
        if event_bytes == 0 {
            break;
        }
        bytes.extend(length);
        (&mut from).take(event_bytes).read_to_end(&mut bytes)?;
    }
    bytes.extend([0; 4]);
    fs::write(to, bytes).with_context(|| format!("cannot write {}", to.display()))
}

/// One replay with each number of threads.
pub fn measure(bench: &Bench, round: usize, recording: &Path, config: &Path, findings: &mut Findings) -> Result<()> {
    for (threads, arm) in THREADS {
        let log = recording.with_extension("log");
        let mut command = Command::new(&bench.agent);
        command.arg("replay").arg(recording).arg("--config").arg(config);
        command.args(["--workers", &WORKERS.to_string(), "--threads", &threads.to_string()]);
        command.stderr(File::create(&log)?);
        let mut text = String::new();
        let status = job::lines(&mut command, |line| {
            text += line;
            text.push('\n');
        })?;
        let told = fs::read_to_string(&log).unwrap_or_default();
        ensure!(status.success(), "`observer replay` failed ({status}): {told}");
        let times = cpu_times(&told)?;
        let requests = Metrics(text).sum("kong_http_status_total");
        ensure!(requests > 0.0, "`observer replay` counts no requests of {}", recording.display());
        let (reader, followers) = times.split_first().context("the agent tells of no thread")?;
        let follower = followers.iter().copied().fold(0.0, f64::max);
        let readings = vec![("reader_ns", *reader), ("follower_ns", follower), ("requests", requests)];
        findings.runs.push(Run { round, arm, readings });
    }
    Ok(())
}

/// Puts the row and what a reader should know into the findings.
pub fn conclude(findings: &mut Findings) {
    let share = |run: &Run| busiest_ns(run) * f64::from(WORKERS) * REQUESTS_PER_WORKER / 1e9;
    for (threads, arm) in THREADS {
        let median = |value: &dyn Fn(&Run) -> f64| {
            estimate(&findings.each(arm, value)).map_or(f64::NAN, |estimate| estimate.median)
        };
        let note = format!(
            "scale: with --threads {threads} the thread that reads and counts takes {:.2} µs a request, one that follows \
             connections {:.2} µs: {:.0} requests a second; 16 workers with 30,000 each take {:.0} % of the busiest \
             thread's processor",
            median(&|run| run.per("reader_ns", "requests") / 1e3),
            median(&|run| run.per("follower_ns", "requests") / 1e3),
            median(&|run| 1e9 / busiest_ns(run)),
            median(&share) * 100.0
        );
        findings.notes.push(note);
    }
    let (_, last) = THREADS[THREADS.len() - 1];
    findings.measured(SCALE.name, findings.each(last, share));
}

/// Per request.
fn busiest_ns(run: &Run) -> f64 {
    run.per("reader_ns", "requests").max(run.per("follower_ns", "requests"))
}

/// Of lines such as `shard-0: 12 ns of CPU time`; the first is the thread's that reads.
fn cpu_times(told: &str) -> Result<Vec<f64>> {
    let lines = told.lines().filter_map(|line| line.strip_suffix(" ns of CPU time")?.rsplit_once(": "));
    lines.map(|(_, ns)| ns.parse().with_context(|| format!("no CPU time: {ns}"))).collect()
}

#[cfg(test)]
mod tests {
    use super::super::row::Outcome;
    use super::*;

    #[test]
    fn the_first_events_are_a_recording_of_their_own() {
        let folder = tempfile::tempdir().unwrap();
        let (whole, part) = (folder.path().join("whole.rec"), folder.path().join("part.rec"));
        let mut bytes = vec![7; HEADER_BYTES as usize];
        let append = |event: &[u8], to: &mut Vec<u8>| {
            to.extend(u32::try_from(event.len()).unwrap().to_ne_bytes());
            to.extend(event);
        };
        (0..EVENTS).for_each(|event| append(&event.to_ne_bytes(), &mut bytes));
        let first = bytes.len();
        append(b"one too many", &mut bytes);
        bytes.extend([0; 4]);
        fs::write(&whole, &bytes).unwrap();
        cut(&whole, &part).unwrap();
        assert_eq!(fs::read(&part).unwrap(), [&bytes[..first], &[0; 4]].concat());
        cut(&part, &whole).unwrap();
        assert_eq!(fs::read(&whole).unwrap(), fs::read(&part).unwrap(), "a short one stays whole");
    }

    #[test]
    fn the_busiest_thread_decides() {
        let mut findings = Findings::default();
        for (_, arm) in THREADS {
            let readings = vec![("reader_ns", 2e9), ("follower_ns", 1e9), ("requests", 1e6)];
            findings.runs.push(Run { round: 0, arm, readings });
        }
        conclude(&mut findings);
        assert_eq!(findings.outcomes, [("scale", Outcome::Measured(vec![0.96]))]);
        assert!(findings.notes[1].contains("500000 requests a second"), "{}", findings.notes[1]);
    }

    #[test]
    fn each_thread_tells_its_time() {
        let told = "12 events\nobserver: 30 ns of CPU time\nshard-0: 7 ns of CPU time\n";
        assert_eq!(cpu_times(told).unwrap(), [30.0, 7.0]);
    }
}

//! `observer replay`.

use std::fs;
use std::io::{Write, stderr, stdout};
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use anyhow::Result;

use crate::cli::ReplayArgs;
use crate::metrics;
use crate::progress::Progress;
use crate::recording::{self, Options, Replayed};

/// Prints the metrics that a recorded file gives.
pub fn replay(args: &ReplayArgs) -> Result<ExitCode> {
    let config = super::load(&args.config)?.sourced.config();
    let bytes_read = Arc::new(AtomicU64::new(0));
    let options = Options {
        datastore: args.config.datastore.clone(),
        ignored_ports: args.config.ignored_ports.clone(),
        counts_unmatched: args.config.count_unmatched,
        // The same text on every host.
        metrics: metrics::Options { node_id: Arc::default(), ..super::metrics_options(&args.config) },
        text: super::text_options(&args.config),
        threads: args.threads.threads.into(),
        workers: args.workers,
        bytes_read: Arc::clone(&bytes_read),
    };
    let bytes = fs::metadata(&args.file).map_or(0, |file| file.len());
    let progress = Progress::start(move || {
        let read = bytes_read.load(Ordering::Relaxed);
        format!("replaying: {} of {} MiB", read >> 20, bytes >> 20)
    });
    let replayed = recording::replay_and_tell(&args.file, &config, &options);
    drop(progress);
    let Replayed { text, events, threads } = replayed?;
    stdout().write_all(text.as_bytes())?;
    if args.workers > 1 {
        tell_costs(events, &threads)?;
    }
    Ok(ExitCode::SUCCESS)
}

/// One line a thread: what a program reads, too.
fn tell_costs(events: u64, threads: &[(String, u64)]) -> Result<()> {
    let mut to = stderr().lock();
    writeln!(to, "{events} events")?;
    for (name, cpu_ns) in threads {
        writeln!(to, "{name}: {cpu_ns} ns of CPU time")?;
    }
    Ok(())
}

//! `observer record`.

use std::fs;
use std::process::ExitCode;
use std::sync::mpsc::channel;
use std::thread;

use anyhow::{Context, Result};
use nix::sys::signal::{SigSet, Signal};

use crate::agent::{self, Inbox, Sink, Stop};
use crate::capture::realtime_offset_ns;
use crate::cli::RecordArgs;
use crate::event::Event;
use crate::host::selector::Selection;
use crate::recording::{Header, Masker, RecordingError, Writer};
use crate::resolver;

/// Records until the time is over, SIGINT or SIGTERM.
pub fn record(args: &RecordArgs) -> Result<ExitCode> {
    let configured = super::load(&args.config)?.reconfiguration();
    let kernel_release = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default().trim().to_owned();
    let header = Header { is_masked: !args.with_secrets, realtime_offset_ns: realtime_offset_ns(), kernel_release };
    let mut file = File {
        writer: Writer::create(&args.file, &header)?,
        masker: (!args.with_secrets).then(|| Masker::new(configured.attribution.header_names())),
        failure: None,
    };
    if args.with_secrets {
        log::warn!(
            "secrets are kept in header values, query strings and bodies: whoever reads the file reads passwords and tokens"
        );
    }
    let stop = Stop::default();
    stop_by_signal(&stop)?;
    if let Some(duration) = args.duration {
        let stop = stop.clone();
        thread::spawn(move || {
            thread::sleep(duration);
            stop.ask();
        });
    }
    let (sender, notices) = channel();
    let (_resolver, first_names) = resolver::start(configured.attribution.names().map(str::to_owned).collect(), sender);
    let selection = Selection::new(args.gateways.gateways.clone());
    agent::observe(&selection, &Inbox { notices, first_names }, &mut file, &stop, || {})?;
    file.writer.finish()?;
    Ok(ExitCode::SUCCESS)
}

/// Both signals are taken by a thread that waits for them; every thread started later inherits that they are blocked.
fn stop_by_signal(stop: &Stop) -> Result<()> {
    let signals = SigSet::from_iter([Signal::SIGINT, Signal::SIGTERM]);
    signals.thread_block().context("cannot block SIGINT and SIGTERM")?;
    let stop = stop.clone();
    thread::spawn(move || {
        if signals.wait().is_ok() {
            stop.ask();
        }
    });
    Ok(())
}

struct File {
    writer: Writer,
    masker: Option<Masker>,
    failure: Option<RecordingError>,
}

impl Sink for File {
    fn take(&mut self, event: &Event<'_>) {
        if self.failure.is_none() {
            let written = match &mut self.masker {
                Some(masker) => self.writer.write(&masker.mask(event)),
                None => self.writer.write(event),
            };
            self.failure = written.err();
        }
    }

    fn round(&mut self) -> Result<()> {
        match self.failure.take() {
            Some(failure) => Err(failure.into()),
            None => Ok(self.writer.flush()?),
        }
    }

    fn gateways(&self) -> Option<usize> {
        None
    }
}

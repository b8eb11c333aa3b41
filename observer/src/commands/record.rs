//! `observer record`.

use std::fs;
use std::path::Path;
use std::process::ExitCode;
use std::sync::mpsc::channel;
use std::thread;
use std::time::Duration;

use anyhow::Result;

use super::signals::{self, Held};
use crate::agent::{self, Inbox, Sink, Stop};
use crate::capture::{Capture, realtime_offset_ns};
use crate::cli::RecordArgs;
use crate::event::Event;
use crate::host::selector::Selection;
use crate::priority;
use crate::privileges;
use crate::progress::{Progress, during};
use crate::recording::{Header, Masker, RecordingError, Writer};
use crate::resolver;

/// Records until the time is over, SIGINT or SIGTERM.
pub fn record(args: &RecordArgs) -> Result<ExitCode> {
    let account = args.privileges.account()?;
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
    let selection = Selection::new(args.gateways.gateways.clone());
    let capture = during("attaching the kernel part", || Capture::start(selection.clone()))?;
    let usual_priority = priority::raise();
    privileges::give_up(account.as_ref())?;
    let signals = Held::hold(signals::ENDING)?;
    let stop = Stop::default();
    let (inbox, given) = channel();
    thread::scope(|scope| -> Result<()> {
        // Gone with this closure, however it ends: then nobody waits for it.
        let inbox = inbox;
        let observing = scope.spawn({
            let (file, stop) = (&mut file, &stop);
            let selection = &selection;
            move || {
                let Ok(inbox) = given.recv() else { return Ok(()) };
                agent::observe(capture, selection, &inbox, file, stop, || {})
            }
        });
        usual_priority.restore();
        privileges::keep_reading_files()?;
        signals.stop_at_first(&stop);
        stop_by_time(&stop, args.duration);
        let _progress = Progress::start(state(&args.file, args.duration));
        let (sender, notices) = channel();
        let names = configured.attribution.names().map(str::to_owned).collect();
        let (resolver, first_names) = resolver::start(names, sender);
        // A thread that has ended tells why by its result.
        let _ = inbox.send(Inbox { notices, first_names, resolver });
        observing.join().map_err(|_| anyhow::anyhow!("the recording thread panicked; its message is above"))?
    })?;
    file.writer.finish()?;
    log::info!("{}", recorded(&args.file));
    Ok(ExitCode::SUCCESS)
}

fn state(file: &Path, duration: Option<Duration>) -> impl Fn() -> String + Send + 'static {
    let file = file.to_owned();
    let until =
        duration.map_or_else(|| "Ctrl-C".into(), |time| format!("{} are over", humantime::format_duration(time)));
    move || format!("recording until {until}; {}", recorded(&file))
}

fn recorded(file: &Path) -> String {
    let bytes = fs::metadata(file).map_or(0, |file| file.len());
    format!("{} has {} KiB", file.display(), bytes.div_ceil(1024))
}

fn stop_by_time(stop: &Stop, duration: Option<Duration>) {
    let Some(duration) = duration else { return };
    let stop = stop.clone();
    thread::spawn(move || {
        thread::sleep(duration);
        stop.ask();
    });
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

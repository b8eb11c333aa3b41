//! A recording's events through a fresh pipeline.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use super::workers::Workers;
use super::{Reader, RecordingError};
use crate::attribution::Attribution;
use crate::config::{Config, Endpoint};
use crate::exposition::text;
use crate::metrics::{self, Metrics};
use crate::pipeline::{self, Counting, Following, Pair, Pipeline};
use crate::shards;

/// How a recording is replayed.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// The datastore, in place of the configuration's.
    pub datastore: Option<Endpoint>,
    /// Listeners whose requests are left out.
    pub ignored_ports: Vec<u16>,
    /// Count requests without a service as `service=""`, too.
    pub counts_unmatched: bool,
    /// How the families are laid out.
    pub metrics: metrics::Options,
    /// What the text has.
    pub text: text::Options,
    /// Threads that follow connections; 0 and 1 stand for the one that reads the recording.
    pub threads: usize,
    /// As if so many worker processes had done each what the recorded one did, at the same time; 0 stands for 1.
    pub workers: u16,
    /// Bytes of the file that were read so far, for whoever waits.
    pub bytes_read: Arc<AtomicU64>,
}

/// What a recording gives.
#[derive(Debug)]
pub struct Replayed {
    /// The exposition text after its last event: the same for the same file and configuration, whatever the threads.
    pub text: String,
    /// Events, those of all workers.
    pub events: u64,
    /// CPU time of each thread by its name, in ns: the one that read the recording, then those that followed connections.
    pub threads: Vec<(String, u64)>,
}

/// The exposition text after a recording's last event: the same for the same file and configuration.
///
/// # Errors
/// If the file is no recording, cut short or damaged. Nothing is told then.
pub fn replay(path: &Path, config: &Config, options: &Options) -> Result<String, RecordingError> {
    Ok(replay_and_tell(path, config, options)?.text)
}

/// The same, with what it took.
///
/// # Errors
/// As for [`replay`]; also if a thread cannot be started.
pub fn replay_and_tell(path: &Path, config: &Config, options: &Options) -> Result<Replayed, RecordingError> {
    let reader = Reader::open(path)?;
    let counting = counting(&reader, config, options);
    let mut following = shards::following(counting, options.threads, || {})
        .map_err(|error| RecordingError::Threads { reason: error.to_string() })?;
    let events = play(reader, options, &mut *following)?;
    following.publish();
    let text = text::encode(following.counting().metrics().registry().gather(), options.text);
    Ok(Replayed { text, events, threads: shards::cpu_times() })
}

/// Which client exchanges were joined to which upstream exchanges, of all that were over with the recording's last event.
///
/// # Errors
/// As for [`replay`].
pub fn pairs(path: &Path, config: &Config) -> Result<Vec<Pair>, RecordingError> {
    let (reader, options) = (Reader::open(path)?, Options::default());
    let mut pipeline = Pipeline::of(counting(&reader, config, &options));
    pipeline.keep_pairs();
    play(reader, &options, &mut pipeline)?;
    Ok(pipeline.take_pairs())
}

fn counting(recording: &Reader, config: &Config, options: &Options) -> Counting {
    let pipeline_options = pipeline::Options {
        realtime_offset_ns: recording.header().realtime_offset_ns,
        datastore: options.datastore.clone().or_else(|| config.datastore.clone()),
        per_gateway_label: options.metrics.per_gateway_label,
        ignored_ports: options.ignored_ports.clone(),
        admin_ports: config.admin_ports.clone(),
        counts_unmatched: options.counts_unmatched,
    };
    Counting::new(pipeline_options, Attribution::new(config), Metrics::new(options.metrics.clone()))
}

/// Returns how many events there were.
fn play(mut recording: Reader, options: &Options, following: &mut dyn Following) -> Result<u64, RecordingError> {
    let (workers, mut events) = (Workers::new(options.workers), 0);
    while let Some(event) = recording.read()? {
        workers.each(&event, |event| {
            events += 1;
            following.handle(event);
        });
        options.bytes_read.store(recording.offset(), Ordering::Relaxed);
    }
    following.end_all_held();
    Ok(events)
}

//! A recording's events through a fresh pipeline.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use super::{Reader, RecordingError};
use crate::attribution::Attribution;
use crate::config::{Config, Endpoint};
use crate::exposition::text;
use crate::metrics::{self, Metrics};
use crate::pipeline::{self, Following, Pair, Pipeline};

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
    /// Bytes of the file that were read so far, for whoever waits.
    pub bytes_read: Arc<AtomicU64>,
}

/// The exposition text after a recording's last event: the same for the same file and configuration.
///
/// # Errors
/// If the file is no recording, cut short or damaged. Nothing is told then.
pub fn replay(path: &Path, config: &Config, options: &Options) -> Result<String, RecordingError> {
    let mut pipeline = play(path, config, options, |_| {})?;
    pipeline.publish();
    Ok(text::encode(pipeline.metrics().registry().gather(), options.text))
}

/// Which client exchanges were joined to which upstream exchanges, of all that were over with the recording's last event.
///
/// # Errors
/// As for [`replay`].
pub fn pairs(path: &Path, config: &Config) -> Result<Vec<Pair>, RecordingError> {
    let mut pipeline = play(path, config, &Options::default(), Pipeline::keep_pairs)?;
    Ok(pipeline.take_pairs())
}

fn play(
    path: &Path,
    config: &Config,
    options: &Options,
    prepare: impl FnOnce(&mut Pipeline),
) -> Result<Pipeline, RecordingError> {
    let mut recording = Reader::open(path)?;
    let pipeline_options = pipeline::Options {
        realtime_offset_ns: recording.header().realtime_offset_ns,
        datastore: options.datastore.clone().or_else(|| config.datastore.clone()),
        per_gateway_label: options.metrics.per_gateway_label,
        ignored_ports: options.ignored_ports.clone(),
        admin_ports: config.admin_ports.clone(),
        counts_unmatched: options.counts_unmatched,
    };
    let metrics = Metrics::new(options.metrics.clone());
    let mut pipeline = Pipeline::new(pipeline_options, Attribution::new(config), metrics);
    prepare(&mut pipeline);
    while let Some(event) = recording.read()? {
        pipeline.handle(&event);
        options.bytes_read.store(recording.offset(), Ordering::Relaxed);
    }
    pipeline.end_all_held();
    Ok(pipeline)
}

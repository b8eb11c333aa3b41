//! Files of events: a recording replays to the same text every time.
//!
//! A recording is private (mode 0600) and, unless asked otherwise, masked: of the traffic it has what the pipeline
//! reads and nothing more.

mod error;
mod file;
mod head;
mod kept;
mod mask;
mod replay;
mod sample;
mod workers;

pub use error::{Damage, RecordingError};
pub use file::{Header, RECORD_BYTES_MAX, Reader, Writer};
pub use mask::{Masker, SOCKETS_MAX};
pub use replay::{Options, Replayed, pairs, replay, replay_and_tell};
pub use workers::Workers;

//! What can be wrong with a recording, and what to do about it.

use std::io;

use thiserror::Error;

use super::file::VERSION;
use crate::event::DecodeError;

/// Why a recording cannot be written or read. `file` is its name as given, `offset` a byte's place in it.
#[derive(Debug, Error)]
#[expect(missing_docs, reason = "each variant's text says it")]
pub enum RecordingError {
    #[error("cannot start a thread: {reason}; take fewer with --threads")]
    Threads { reason: String },
    #[error("{file}: exists already; remove it or choose another name")]
    Exists { file: String },
    #[error("{file}: cannot be created: {reason}; choose a folder that this user may write to")]
    Create { file: String, reason: io::Error },
    #[error("{file}: cannot be written: {reason}; make room or choose a file elsewhere, then record again")]
    Write { file: String, reason: io::Error },
    #[error("{file}: an event of {bytes} bytes does not fit a recording; please report this")]
    EventTooLong { file: String, bytes: usize },
    #[error("{file}: cannot be opened: {reason}; give the path of a recording that this user may read")]
    Open { file: String, reason: io::Error },
    #[error("{file}: cannot be read at byte {offset}: {reason}; copy it to another disk and try again")]
    Read { file: String, offset: u64, reason: io::Error },
    #[error("{file}: is no recording (byte {offset}); give a file that `observer record` wrote")]
    NotARecording { file: String, offset: u64 },
    #[error("{file}: has the other byte order (byte {offset}); replay it on a machine like the one that recorded it")]
    ByteOrder { file: String, offset: u64 },
    #[error(
        "{file}: is of version {version} (byte {offset}), this program reads version {VERSION}; \
         replay it with the program that recorded it"
    )]
    Version { file: String, offset: u64, version: u16 },
    #[error("{file}: is cut short at byte {offset}; record again and let the recording end by itself or by Ctrl-C")]
    Cut { file: String, offset: u64 },
    #[error("{file}: is damaged at byte {offset}: {what}; take another copy or record again")]
    Damaged { file: String, offset: u64, what: Damage },
}

/// How a recording is damaged.
#[derive(Debug, Error)]
#[expect(missing_docs, reason = "each variant's text says it")]
pub enum Damage {
    #[error("an event has {bytes} bytes, more than any can have")]
    TooLong { bytes: u32 },
    #[error(transparent)]
    Event(#[from] DecodeError),
    #[error("bytes follow its end")]
    BytesBehindEnd,
}

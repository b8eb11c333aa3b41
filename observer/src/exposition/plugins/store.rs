//! The state file: `plugins.json` in the state directory.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::{PLUGINS_MAX, Plugin};
use crate::privileges::Account;

/// Why the state cannot be kept or taken up again.
#[derive(Debug, thiserror::Error)]
pub enum StateError {
    /// The kernel's answer.
    #[error("cannot {what} {path}: {reason}; give a directory that this user may write to with --state-dir DIR",
            path = .path.display())]
    Io {
        /// What was tried.
        what: &'static str,
        /// With what.
        path: PathBuf,
        /// The kernel's answer.
        reason: io::Error,
    },
    /// It is not what the observer writes.
    #[error("{path} is not the observer's state: {reason}; remove it to start anew", path = .path.display())]
    Content {
        /// The file.
        path: PathBuf,
        /// Where and why.
        reason: serde_json::Error,
    },
    /// The kernel gives no random numbers.
    #[error("the kernel gives no random numbers: {0}; try again later")]
    Random(getrandom::Error),
}

/// The contents of the file.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct State {
    plugins: Vec<Plugin>,
}

/// Where the state is kept.
pub(super) struct Store {
    directory: PathBuf,
}

impl Store {
    /// Makes the directory if there is none, for its owner alone.
    pub(super) fn open(directory: &Path) -> Result<Store, StateError> {
        let made = DirBuilder::new().recursive(true).mode(0o700).create(directory);
        made.map_err(|reason| StateError::Io { what: "make", path: directory.to_owned(), reason })?;
        Ok(Store { directory: directory.to_owned() })
    }

    /// The directory and the file.
    pub(super) fn give_to(&self, account: &Account) -> Result<(), StateError> {
        [self.directory.clone(), self.file()].into_iter().try_for_each(|path| {
            account.own(&path).map_err(|reason| StateError::Io { what: "change the owner of", path, reason })
        })
    }

    /// `None` where nothing was kept yet.
    pub(super) fn load(&self) -> Result<Option<Vec<Plugin>>, StateError> {
        let path = self.file();
        let text = match fs::read(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(reason) => return Err(StateError::Io { what: "read", path, reason }),
        };
        let state: State = serde_json::from_slice(&text).map_err(|reason| StateError::Content { path, reason })?;
        Ok(Some(state.plugins.into_iter().take(PLUGINS_MAX).collect()))
    }

    /// Replaces the file as a whole, and waits until the disk has it.
    pub(super) fn save(&self, plugins: &[Plugin]) -> Result<(), StateError> {
        let path = self.file();
        let new = path.with_extension("json.new");
        let text = serde_json::to_vec(&State { plugins: plugins.to_vec() });
        let text = text.map_err(|reason| StateError::Content { path: path.clone(), reason })?;
        let write = || -> io::Result<()> {
            let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&new)?;
            file.write_all(&text)?;
            file.sync_all()?;
            fs::rename(&new, &path)?;
            File::open(&self.directory)?.sync_all()
        };
        write().map_err(|reason| StateError::Io { what: "write", path: path.clone(), reason })
    }

    fn file(&self) -> PathBuf {
        self.directory.join("plugins.json")
    }
}

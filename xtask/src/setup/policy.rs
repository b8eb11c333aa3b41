//! Keeps packages from starting services while they are installed.
//!
//! Debian asks `/usr/sbin/policy-rc.d` before it starts or restarts a service (invoke-rc.d(8)); exit status 101 forbids
//! it. What the host had there is moved aside and moved back, so content, mode and owner stay as they were.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{ErrorKind, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use nix::unistd::Uid;

/// While it lives no service starts or restarts on behalf of a package.
pub struct Guard {
    places: Places,
    lock: File,
    lifted: bool,
}

/// Forbids services to start. Waits for another xtask that does the same.
pub fn forbid_services() -> Result<Guard> {
    Guard::new(Places::of_the_host())
}

/// Puts right what an xtask left that was killed during an installation.
pub fn recover() -> Result<()> {
    if !Uid::effective().is_root() {
        return Ok(());
    }
    let places = Places::of_the_host();
    if !places.left_behind() {
        return Ok(());
    }
    match open_lock(&places.lock)?.try_lock() {
        Ok(()) => places.restore(),
        // Another xtask, or the apt-get it started, is at work and needs it.
        Err(TryLockError::WouldBlock) => Ok(()),
        Err(TryLockError::Error(error)) => Err(error).with_context(|| format!("cannot lock {}", places.lock.display())),
    }
}

impl Guard {
    fn new(places: Places) -> Result<Self> {
        let lock = open_lock(&places.lock)?;
        lock.lock().with_context(|| format!("cannot lock {}", places.lock.display()))?;
        places.restore()?;
        let guard = Self { places, lock, lifted: false };
        guard.places.forbid()?;
        Ok(guard)
    }

    /// The lock, to be inherited by apt-get: it holds as long as apt-get or a process below it runs, even without xtask.
    pub fn lock(&self) -> Result<File> {
        self.lock.try_clone().context("cannot share the lock")
    }

    /// Ends it and says whether that worked, which dropping cannot.
    pub fn lift(mut self) -> Result<()> {
        self.lifted = true;
        self.places.restore()
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        if !self.lifted
            && let Err(error) = self.places.restore()
        {
            eprintln!("warning: {error:#}");
        }
    }
}

const FORBID: &str = "#!/bin/sh\n\
    # Placed by the observer's `cargo xtask` while it installs packages: their services are not to start.\n\
    exit 101\n";

/// The files that are touched.
struct Places {
    policy: PathBuf,
    /// The host's own policy meanwhile.
    aside: PathBuf,
    /// Ours before it is complete.
    draft: PathBuf,
    lock: PathBuf,
}

impl Places {
    fn of_the_host() -> Self {
        Self::new(Path::new("/usr/sbin"), Path::new("/run"))
    }

    fn new(folder: &Path, locks: &Path) -> Self {
        Self {
            policy: folder.join("policy-rc.d"),
            aside: folder.join("policy-rc.d.before-observer-xtask"),
            draft: folder.join("policy-rc.d.of-observer-xtask"),
            lock: locks.join("observer-xtask-packages.lock"),
        }
    }

    fn forbid(&self) -> Result<()> {
        let cannot = || format!("cannot write {}", self.policy.display());
        let mut draft = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(true)
            .mode(0o755)
            .open(&self.draft)
            .with_context(cannot)?;
        draft.write_all(FORBID.as_bytes()).with_context(cannot)?;
        drop(draft);
        rename_if_there(&self.policy, &self.aside)?;
        fs::rename(&self.draft, &self.policy).with_context(cannot)
    }

    fn left_behind(&self) -> bool {
        is_there(&self.aside) || is_there(&self.draft) || self.is_ours()
    }

    fn is_ours(&self) -> bool {
        fs::read(&self.policy).is_ok_and(|content| content == FORBID.as_bytes())
    }

    /// Brings back the state before `forbid`, from wherever that was interrupted.
    fn restore(&self) -> Result<()> {
        if is_there(&self.aside) {
            rename_if_there(&self.aside, &self.policy)?;
        } else if self.is_ours() {
            remove_if_there(&self.policy)?;
        }
        remove_if_there(&self.draft)
    }
}

fn open_lock(path: &Path) -> Result<File> {
    OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .open(path)
        .with_context(|| format!("cannot open {}", path.display()))
}

/// A dangling link is there too.
fn is_there(path: &Path) -> bool {
    path.symlink_metadata().is_ok()
}

fn rename_if_there(from: &Path, to: &Path) -> Result<()> {
    match fs::rename(from, to) {
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
        renamed => {
            renamed.with_context(|| format!("cannot rename {} to {}; do it by hand", from.display(), to.display()))
        }
    }
}

fn remove_if_there(path: &Path) -> Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
        removed => removed.with_context(|| format!("cannot remove {}; do it by hand", path.display())),
    }
}

#[cfg(test)]
mod tests;

//! A folder that becomes a package, whatever the umask.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use crate::job;

const PROGRAM: u32 = 0o755;
const FILE: u32 = 0o644;

/// A folder in the making.
pub(super) struct Tree(PathBuf);

impl Tree {
    /// Makes it.
    pub(super) fn new(folder: &Path) -> Result<Tree> {
        let tree = Tree(folder.to_owned());
        make(&tree.0)?;
        Ok(tree)
    }

    /// Copies a program to a path of the tree.
    pub(super) fn program(&self, from: &Path, to: &str) -> Result<()> {
        self.copy(from, to, PROGRAM)
    }

    /// Copies a file to a path of the tree.
    pub(super) fn file(&self, from: &Path, to: &str) -> Result<()> {
        self.copy(from, to, FILE)
    }

    /// Copies all files of a folder, and of those below.
    pub(super) fn folder(&self, from: &Path, to: &str) -> Result<()> {
        for entry in entries(from)? {
            let name = entry.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
            let to = format!("{to}/{name}");
            if entry.is_dir() { self.folder(&entry, &to)? } else { self.file(&entry, &to)? }
        }
        Ok(())
    }

    /// Copies a file and compresses it, without name and time, so that it is the same each time.
    pub(super) fn compressed(&self, from: &Path, to: &str) -> Result<()> {
        self.file(from, to)?;
        job::shown(std::process::Command::new("gzip").args(["-9", "--no-name"]).arg(self.0.join(to)), "`gzip`")?;
        Ok(())
    }

    /// Writes a file.
    pub(super) fn text(&self, to: &str, text: &str, is_program: bool) -> Result<()> {
        let path = self.place(to)?;
        fs::write(&path, text).with_context(|| format!("cannot write {}", path.display()))?;
        set_mode(&path, if is_program { PROGRAM } else { FILE })
    }

    /// What all files take, in KiB, each counted as whole ones.
    pub(super) fn kib(&self) -> Result<u64> {
        size(&self.0)
    }

    fn copy(&self, from: &Path, to: &str, mode: u32) -> Result<()> {
        let path = self.place(to)?;
        fs::copy(from, &path).with_context(|| format!("cannot copy {} to {}", from.display(), path.display()))?;
        set_mode(&path, mode)
    }

    fn place(&self, to: &str) -> Result<PathBuf> {
        let path = self.0.join(to);
        let mut missing: Vec<&Path> = path.ancestors().skip(1).take_while(|folder| !folder.exists()).collect();
        while let Some(folder) = missing.pop() {
            make(folder)?;
        }
        Ok(path)
    }
}

/// What is in a folder, in the order of names.
pub(super) fn entries(folder: &Path) -> Result<Vec<PathBuf>> {
    let listed = fs::read_dir(folder).with_context(|| format!("cannot list {}", folder.display()))?;
    let mut entries = listed.map(|entry| Ok(entry?.path())).collect::<Result<Vec<_>>>()?;
    entries.sort();
    Ok(entries)
}

fn make(folder: &Path) -> Result<()> {
    fs::create_dir_all(folder).with_context(|| format!("cannot make {}", folder.display()))?;
    set_mode(folder, PROGRAM)
}

fn set_mode(path: &Path, mode: u32) -> Result<()> {
    fs::set_permissions(path, Permissions::from_mode(mode))
        .with_context(|| format!("cannot set the mode of {}", path.display()))
}

fn size(folder: &Path) -> Result<u64> {
    entries(folder)?.iter().try_fold(0, |sum, entry| {
        Ok(sum + if entry.is_dir() { size(entry)? } else { fs::metadata(entry)?.len().div_ceil(1024) })
    })
}
